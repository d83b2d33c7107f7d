//! Bodies that stay on the disk while they are sent: read in pieces, each verified, one piece ahead at most.
//!
//! Must never hold more of a body than two pieces for one reader.

use super::format::{self, BLOCK_BYTES};
use super::index::Place;
use super::pool::Waited;
use super::segment::Segment;
use super::shelf::{ReadFailure, Shelf};
use crate::stats::count;
use bytes::Bytes;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// What is read at once, as long as few are reading.
const PIECE_BYTES: u64 = 256 << 10;

/// A body that could not be read to its end. What was sent of it was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored body cannot be read any further")]
pub struct DiskReadError;

/// Where a body lies, and the checksums of its blocks.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) at: u64,
    pub(crate) len: u64,
    pub(crate) block_bytes: u64,
    pub(crate) nonce: u64,
    pub(crate) sums: Box<[u32]>,
}

/// A complete body on the disk. Cloning shares it. It can be read as long as it is held, also after its object was evicted.
#[derive(Debug, Clone)]
pub struct DiskBody(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shelf: Arc<Shelf>,
    segment: Arc<Segment>,
    place: Place,
    layout: Layout,
}

impl DiskBody {
    pub(crate) fn new(shelf: Arc<Shelf>, segment: Arc<Segment>, place: Place, layout: Layout) -> Self {
        Self(Arc::new(Inner { shelf, segment, place, layout }))
    }

    /// Bytes in the body.
    pub fn len(&self) -> u64 {
        self.0.layout.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads a part of it; a range that ends behind the body ends with it.
    pub fn stream(&self, range: Range<u64>) -> DiskStream {
        let end = range.end.min(self.len());
        DiskStream { body: self.clone(), at: range.start.min(end), end, ahead: None, failed: false }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.0.place
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.0.segment
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.0.layout
    }

    pub(crate) fn heap_bytes(&self) -> u64 {
        (size_of::<Inner>() + size_of_val(&*self.0.layout.sums)) as u64
    }

    /// Reads and verifies the blocks around `at`, up to the end of the piece, and returns those bytes from `at` on.
    pub(crate) fn read(&self, at: u64, end: u64, cached: bool) -> Result<Bytes, ReadFailure> {
        let Layout { len, block_bytes, nonce, ref sums, .. } = self.0.layout;
        let buffers = self.0.shelf.pool.buffers();
        let piece = if buffers.are_scarce() { BLOCK_BYTES.max(block_bytes) } else { PIECE_BYTES };
        let first = at / block_bytes;
        let start = first * block_bytes;
        let wanted = end.min(start + piece).div_ceil(block_bytes) * block_bytes;
        let until = wanted.min(len);
        let bytes = (until - start) as usize;
        let read = buffers.filled(bytes, |buffer| {
            self.0.segment.file.read(buffer, self.0.layout.at + start, cached)?;
            let sums = sums.get(first as usize..).unwrap_or_default();
            let mut blocks = buffer.chunks(block_bytes as usize).enumerate();
            let all = blocks.all(|(index, block)| {
                sums.get(index).is_some_and(|sum| format::block_sum(nonce, first + index as u64, block) == *sum)
            });
            if all { Ok(()) } else { Err(ReadFailure::Corrupt) }
        });
        let read = read.map_err(|failure| if self.0.segment.is_cut() { ReadFailure::Gone } else { failure });
        self.0.shelf.note(&read, cached, bytes as u64);
        if matches!(read, Err(ReadFailure::Corrupt | ReadFailure::Failed(_))) {
            self.0.shelf.lose(&self.0.place);
        }
        Ok(read?.slice((at - start) as usize..(end.min(until) - start) as usize))
    }
}

/// Reads a [`DiskBody`] piece by piece. A piece that is in memory is read at once, others by a reader thread; while one of those is
/// being sent, the next is fetched.
#[derive(Debug)]
#[must_use = "a stream reads nothing until it is polled"]
pub struct DiskStream {
    body: DiskBody,
    at: u64,
    end: u64,
    ahead: Option<Waited<Result<Bytes, ReadFailure>>>,
    failed: bool,
}

impl DiskStream {
    /// Bytes still to come.
    pub fn remaining(&self) -> u64 {
        self.end - self.at
    }

    /// How long the next bytes may be waited for. Bound the wait by it, and say so with [`DiskStream::waited_too_long`].
    pub fn read_wait(&self) -> Duration {
        self.body.0.shelf.body_wait
    }

    /// The wait for the next bytes was given up: the body ends with an error, and it counts like a failure of the disk.
    pub fn waited_too_long(&mut self) {
        self.failed = true;
        self.ahead = None;
        count(&self.body.0.shelf.stats.dropped_body_wait);
        self.body.0.shelf.read_failed(&std::io::ErrorKind::TimedOut.into());
    }

    fn fetch(&self, at: u64) -> Option<Waited<Result<Bytes, ReadFailure>>> {
        let (body, end) = (self.body.clone(), self.end);
        self.body.0.shelf.pool.submit(false, move || body.read(at, end, false))
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`DiskReadError`] where the disk fails or what it gives is not what was written; again and again then.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, DiskReadError>>> {
        if self.failed {
            return Poll::Ready(Some(Err(DiskReadError)));
        }
        if self.at >= self.end {
            return Poll::Ready(None);
        }
        if self.ahead.is_none() {
            match self.body.read(self.at, self.end, true) {
                Ok(bytes) => {
                    self.at += bytes.len() as u64;
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Err(ReadFailure::Cold) => self.ahead = self.fetch(self.at),
                Err(_) => return self.fail(),
            }
        }
        let Some(waited) = &mut self.ahead else {
            return self.fail();
        };
        let read = ready!(Pin::new(waited).poll(cx));
        self.ahead = None;
        let Some(Ok(bytes)) = read else {
            return self.fail();
        };
        self.at += bytes.len() as u64;
        if self.at < self.end && !self.body.0.shelf.pool.buffers().are_scarce() {
            self.ahead = self.fetch(self.at);
        }
        Poll::Ready(Some(Ok(bytes)))
    }

    fn fail(&mut self) -> Poll<Option<Result<Bytes, DiskReadError>>> {
        self.failed = true;
        Poll::Ready(Some(Err(DiskReadError)))
    }
}
