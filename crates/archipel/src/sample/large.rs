//! `/large`: a download of any size that is the same every time, can be taken in ranges, and is never in memory.
//! Owns the formula of its bytes; must never hold more of them than one piece.

use std::pin::Pin;
use std::task::{Context, Poll};

use archipel_transport::body::BodyError;
use archipel_transport::message::Reply;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, ETAG, HeaderValue, LAST_MODIFIED};
use http_body::{Body, Frame, SizeHint};

use super::content::{Content, Source};
use super::{reply, route};

/// Size without `?mb=`, in MiB.
const LARGE_DEFAULT_MB: u64 = 64;
/// The largest size, in MiB; who asks for more gets this.
const LARGE_MB_MAX: u64 = 1024;
/// Bytes made at a time.
const PIECE_BYTES: u64 = 64 * 1024;

const MIB: u64 = 1024 * 1024;

/// The content that `?mb=` asks for, or the reply to a query that makes no sense.
pub(super) fn content(query: &[u8], modified: &HeaderValue) -> Result<Content, Box<Reply>> {
    let mb = route::number(query, "mb", LARGE_DEFAULT_MB)
        .map_err(|wrong| Box::new(reply::text(StatusCode::BAD_REQUEST, reply::NO_STORE, wrong)))?
        .min(LARGE_MB_MAX);
    let mut fields = reply::fields("application/octet-stream", "public, max-age=3600");
    let texts = [
        (ETAG, format!("\"large-1-{mb}\"")),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"archipel-{mb}mb.bin\"")),
    ];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::from_str(&text) {
            fields.insert(name, value);
        }
    }
    fields.insert(LAST_MODIFIED, modified.clone());
    Ok(Content { fields, source: Source::Generated(mb * MIB) })
}

/// The eight bytes at `8 * index`, by the finaliser of SplitMix64: cheap, and nothing that a compressor could shrink.
fn word(index: u64) -> [u8; 8] {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()
}

/// Bytes `start` to before `end` of the endless sequence that every size is a beginning of.
pub(super) fn piece(start: u64, end: u64) -> Bytes {
    let length = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
    let skip = usize::from((start % 8) as u8);
    let mut made = Vec::with_capacity(length.saturating_add(16));
    for index in start / 8..end.div_ceil(8) {
        made.extend_from_slice(&word(index));
    }
    Bytes::from(made).slice(skip..skip + length)
}

/// A body that makes its bytes when they are asked for.
pub(super) struct Generated {
    at: u64,
    end: u64,
}

impl Generated {
    /// Bytes `start` to before `end`.
    pub(super) fn new(start: u64, end: u64) -> Self {
        Self { at: start, end }
    }
}

impl Body for Generated {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.at >= self.end {
            return Poll::Ready(None);
        }
        // Pieces end at multiples of their size, whatever the range begins with.
        let end = (self.at / PIECE_BYTES + 1).saturating_mul(PIECE_BYTES).min(self.end);
        let made = piece(self.at, end);
        self.at = end;
        Poll::Ready(Some(Ok(Frame::data(made))))
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end.saturating_sub(self.at))
    }
}
