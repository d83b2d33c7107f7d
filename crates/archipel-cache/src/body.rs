//! Complete bodies: immutable segments shared by every reader.
//!
//! Must never change after it was made: that is what lets readers hold it without a lock.

use crate::disk::{DiskBody, DiskReadError, DiskStream};
use bytes::Bytes;
use http::HeaderMap;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Segments shorter than this are joined when a body is completed: a handle and an allocation cost about 64 bytes each.
const SEGMENT_BYTES_MIN: usize = 16 * 1024;
/// Joined segments are at most this long, so that a reader's write stays one send buffer.
const SEGMENT_BYTES_MAX: usize = 64 * 1024;

/// A complete stored body with its trailer fields. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Body {
    segments: Segments,
    len: u64,
    /// The bytes are in a buffer of the disk tier's, which wants it back soon.
    lent: bool,
    trailers: Option<Arc<HeaderMap>>,
}

/// Most objects are one segment, which then costs no list.
#[derive(Debug, Clone, Default)]
enum Segments {
    #[default]
    None,
    One(Bytes),
    Many(Arc<[Bytes]>),
    /// Not in memory at all.
    Disk(DiskBody),
}

impl Body {
    /// A body of one piece. The bytes are kept as given: pass a buffer of their own, not a slice of a larger one.
    pub fn from_bytes(bytes: Bytes) -> Self {
        let len = bytes.len() as u64;
        let segments = if bytes.is_empty() { Segments::None } else { Segments::One(bytes) };
        Self { segments, len, lent: false, trailers: None }
    }

    /// A body of many pieces, small ones joined.
    pub(crate) fn from_segments(segments: &[Bytes], trailers: Option<Arc<HeaderMap>>) -> Self {
        let joined = join_small(segments);
        let len = joined.iter().map(|segment| segment.len() as u64).sum();
        let segments = match joined.len() {
            0 => Segments::None,
            1 => joined.into_iter().next().map_or(Segments::None, Segments::One),
            _ => Segments::Many(joined.into()),
        };
        Self { segments, len, lent: false, trailers }
    }

    /// A body of one piece in a buffer of the disk tier's: to be sent, not to be kept.
    pub(crate) fn lent(bytes: Bytes) -> Self {
        Self { lent: !bytes.is_empty(), ..Self::from_bytes(bytes) }
    }

    /// Whether it is in a buffer of the disk tier's.
    pub(crate) fn is_lent(&self) -> bool {
        self.lent
    }

    /// The same body to be kept: what is lent is copied, everything else shared.
    pub(crate) fn to_kept(&self) -> Self {
        match &self.segments {
            Segments::One(bytes) if self.lent => {
                Self { trailers: self.trailers.clone(), ..Self::from_bytes(Bytes::copy_from_slice(bytes)) }
            }
            _ => self.clone(),
        }
    }

    /// A body that stays on the disk.
    pub(crate) fn disk(body: DiskBody) -> Self {
        let len = body.len();
        let segments = if len == 0 { Segments::None } else { Segments::Disk(body) };
        Self { segments, len, lent: false, trailers: None }
    }

    /// The same body with these trailer fields.
    pub(crate) fn with_trailers(self, trailers: Option<HeaderMap>) -> Self {
        Self { trailers: trailers.map(Arc::new), ..self }
    }

    /// The body, where it is not in memory: then it has no pieces here, and is read with [`DiskBody::stream`].
    pub fn on_disk(&self) -> Option<&DiskBody> {
        match &self.segments {
            Segments::Disk(body) => Some(body),
            _ => None,
        }
    }

    /// Bytes in the body.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in order, none empty; `None` where the body is [on disk](Body::on_disk).
    pub fn in_memory(&self) -> Option<&[Bytes]> {
        self.on_disk().is_none().then(|| self.segments())
    }

    /// Reads a part of the body, wherever it is; a range that ends behind the body ends with it.
    pub fn reader(&self, range: Range<u64>) -> BodyReader {
        match self.on_disk() {
            Some(body) => BodyReader::OnDisk(body.stream(range)),
            None => BodyReader::InMemory(self.cursor(range)),
        }
    }

    /// The pieces in order, none empty; none at all where it is on disk, hence not for those outside.
    pub(crate) fn segments(&self) -> &[Bytes] {
        match &self.segments {
            Segments::None | Segments::Disk(_) => &[],
            Segments::One(segment) => std::slice::from_ref(segment),
            Segments::Many(segments) => segments,
        }
    }

    /// The list of pieces, shared; `None` where there is at most one.
    pub fn list(&self) -> Option<&Arc<[Bytes]>> {
        match &self.segments {
            Segments::Many(segments) => Some(segments),
            _ => None,
        }
    }

    /// The trailer fields that followed the body (RFC 9110 section 6.5), kept apart from the header fields (RFC 9111 section 3.1).
    pub fn trailers(&self) -> Option<&Arc<HeaderMap>> {
        self.trailers.as_ref()
    }

    /// [`Body::reader`] of a body that is in memory.
    pub(crate) fn cursor(&self, range: Range<u64>) -> BodyCursor {
        let (mut index, mut skip) = (0, range.start.min(self.len));
        let left = range.end.min(self.len).saturating_sub(skip);
        for segment in self.segments() {
            let len = segment.len() as u64;
            if skip < len {
                break;
            }
            skip -= len;
            index += 1;
        }
        BodyCursor { segments: self.segments.clone(), index, skip: skip as usize, left }
    }

    /// Bytes of memory behind this handle, the segment list and allocator overhead included.
    pub(crate) fn heap_bytes(&self) -> u64 {
        let each = crate::stored::ALLOCATION_BYTES + BYTES_SHARED;
        let list = match &self.segments {
            Segments::Many(segments) => segments.len() * size_of::<Bytes>() + crate::stored::ALLOCATION_BYTES,
            Segments::Disk(body) => return body.heap_bytes(),
            _ => 0,
        };
        let trailers = self.trailers.as_deref().map_or(0, crate::stored::headers_heap_bytes);
        self.len + (self.segments().len() * each + list + trailers) as u64
    }
}

/// What `Bytes` allocates beside its buffer once a handle is cloned.
const BYTES_SHARED: usize = 24 + 16;

fn join_small(segments: &[Bytes]) -> Vec<Bytes> {
    let mut out: Vec<Bytes> = Vec::with_capacity(segments.len().min(1024));
    let mut rest = segments;
    while let Some((first, _)) = rest.split_first() {
        let (mut count, mut bytes) = (0, 0);
        for segment in rest {
            let small = segment.len() < SEGMENT_BYTES_MIN || bytes < SEGMENT_BYTES_MIN;
            if count > 0 && (!small || bytes + segment.len() > SEGMENT_BYTES_MAX) {
                break;
            }
            count += 1;
            bytes += segment.len();
        }
        let (run, after) = rest.split_at(count);
        match bytes {
            0 => {}
            _ if count == 1 => out.push(first.clone()),
            _ => {
                let mut joined = Vec::with_capacity(bytes);
                run.iter().for_each(|segment| joined.extend_from_slice(segment));
                out.push(joined.into());
            }
        }
        rest = after;
    }
    out
}

/// An owned position in a [`Body`], in memory or on disk.
#[derive(Debug)]
pub enum BodyReader {
    /// Everything is there already: it never waits nor fails.
    InMemory(BodyCursor),
    /// Read while it is sent.
    OnDisk(DiskStream),
}

impl BodyReader {
    /// Bytes still to come.
    pub fn remaining(&self) -> u64 {
        match self {
            Self::InMemory(cursor) => cursor.remaining(),
            Self::OnDisk(stream) => stream.remaining(),
        }
    }

    /// The next bytes, none of them empty; `None` at the end.
    ///
    /// # Errors
    /// [`DiskReadError`] where a body on disk cannot be read any further; again and again then.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, DiskReadError>>> {
        match self {
            Self::InMemory(cursor) => Poll::Ready(cursor.next().map(Ok)),
            Self::OnDisk(stream) => stream.poll_next(cx),
        }
    }
}

/// An owned position in a body in memory; yields the rest piece by piece without copying.
#[derive(Debug, Clone)]
pub struct BodyCursor {
    segments: Segments,
    index: usize,
    skip: usize,
    left: u64,
}

impl BodyCursor {
    /// Bytes still to come.
    pub fn remaining(&self) -> u64 {
        self.left
    }
}

impl Iterator for BodyCursor {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let segment = match &self.segments {
            Segments::None | Segments::Disk(_) => None,
            Segments::One(segment) => (self.index == 0).then_some(segment),
            Segments::Many(segments) => segments.get(self.index),
        }?;
        let end = segment.len().min(self.skip.saturating_add(usize::try_from(self.left).unwrap_or(usize::MAX)));
        let piece = segment.slice(self.skip..end);
        self.left -= piece.len() as u64;
        self.index += 1;
        self.skip = 0;
        Some(piece)
    }
}
