//! Large representations in slices: equal pieces that are fetched, stored and evicted each by itself.
//!
//! Owns the arithmetic, when slicing is right, and what a reply to the request for some slices is worth. Must never let bytes of two
//! representations meet: slices belong to one strong entity tag and one length (RFC 9111 section 3.4).

use http::header::{self, HeaderMap};
use http::status::StatusCode;

use crate::key::{plain_hash, url_half};
use crate::partial::may_combine;
use crate::range::{self, ByteRange, ContentRange, RangeSpec};
use crate::siphash::KeyHasher;
use crate::storage;
use crate::stored::StoredMeta;
use crate::validate;

/// Slices of one representation; a longer one is not sliced.
pub const SLICES_MAX: u64 = 1 << 24;

/// How a representation is cut: the last slice may be shorter.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    slice_bytes: u64,
    length: u64,
}

impl Grid {
    /// The grid of a representation of `length` bytes; `None` where there is nothing to cut, or more than [`SLICES_MAX`] slices.
    pub fn new(slice_bytes: u64, length: u64) -> Option<Grid> {
        let fits = slice_bytes > 0 && length > 0 && length.div_ceil(slice_bytes) <= SLICES_MAX;
        fits.then_some(Grid { slice_bytes, length })
    }

    /// Bytes of the representation.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of each slice but the last.
    pub fn slice_bytes(&self) -> u64 {
        self.slice_bytes
    }

    /// How many slices.
    pub fn count(&self) -> u64 {
        self.length.div_ceil(self.slice_bytes)
    }

    /// The slice that holds a byte.
    pub fn slice_of(&self, byte: u64) -> u64 {
        byte / self.slice_bytes
    }

    /// The bytes of slices `first` to `last`.
    pub fn range(&self, first: u64, last: u64) -> ByteRange {
        let end = last.saturating_add(1).saturating_mul(self.slice_bytes).min(self.length);
        ByteRange { first: first.saturating_mul(self.slice_bytes), last: end.saturating_sub(1) }
    }

    /// The first slice that begins at or behind a byte.
    pub fn next_start(&self, byte: u64) -> u64 {
        byte.div_ceil(self.slice_bytes)
    }
}

/// What to ask an origin for where nothing is known of the representation yet: the range that a client wants, widened to the
/// bounds of slices. `None` for the last so many bytes, whose slices are known only with the length.
pub fn widened(spec: RangeSpec, slice_bytes: u64) -> Option<RangeSpec> {
    let RangeSpec::From { first, last } = spec else { return None };
    let first = first.checked_div(slice_bytes)?.checked_mul(slice_bytes)?;
    let last = last.and_then(|last| (last / slice_bytes).checked_add(1)?.checked_mul(slice_bytes)?.checked_sub(1));
    Some(RangeSpec::From { first, last })
}

/// Whether a response may be cut: it has a strong entity tag.
pub fn may_slice(meta: &StoredMeta) -> bool {
    meta.etag.as_ref().is_some_and(|etag| validate::is_strong(etag.as_bytes()))
}

/// What sets a sliced representation apart from all others of its key: slices are found under it alone. `sequence` is where
/// the purges stood when its fetch began, so that what a purge took away is not found again under the same entity tag.
pub fn identity(seed: (u64, u64), etag: &[u8], variant: &[u8], grid: &Grid, sequence: u64) -> u128 {
    let mut hasher = KeyHasher::new(seed);
    hasher.write(b"slices:");
    hasher.write_field(etag);
    hasher.write_field(variant);
    for number in [grid.slice_bytes, grid.length, sequence] {
        hasher.write(&number.to_le_bytes());
    }
    hasher.finish()
}

/// The hash and the text of the key of slice `number`, under the key of its representation. The hash is not one of its URL's:
/// only the representation leads to its slices, of which there may be many.
pub fn slice_key(seed: (u64, u64), key: &str, identity: u128, number: u64) -> (u128, Box<str>) {
    let text = format!("{key} slice={identity:032x}.{number}");
    let mut hasher = KeyHasher::new(seed);
    hasher.write(text.as_bytes());
    (plain_hash(url_half(hasher.finish())), text.into_boxed_str())
}

/// What the reply to the request for some slices is worth.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// These bytes of the representation that was asked for, from the first one asked for on.
    Piece(ByteRange),
    /// All of it: the origin ignored the range.
    Whole,
    /// Another representation, or none any more: what is stored of the old one is of no use.
    Changed,
    /// The origin contradicts itself.
    Contradiction,
    /// The origin fails at the moment; what is stored still holds.
    Failing,
    /// The origin refuses this one request, by what came with it or whom it came from: what is stored holds for all others.
    Denied,
}

/// Judges the reply to a request for the bytes `asked` of the sliced response `meta`.
pub fn judge(meta: &StoredMeta, grid: &Grid, asked: ByteRange, status: StatusCode, headers: &HeaderMap) -> Verdict {
    // A 206 without the tag that the 200 has breaks RFC 9110 section 15.3.7, and cannot be combined with anything.
    let same = may_combine(meta, headers);
    match status {
        StatusCode::PARTIAL_CONTENT if !same => Verdict::Changed,
        StatusCode::PARTIAL_CONTENT => match content_range(headers) {
            Some((range, Some(complete)))
                if complete == grid.length && range.first == asked.first && range.last <= asked.last =>
            {
                Verdict::Piece(range)
            }
            _ => Verdict::Contradiction,
        },
        StatusCode::OK if same => match storage::content_length(headers) {
            Some(length) if length != grid.length => Verdict::Contradiction,
            _ => Verdict::Whole,
        },
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Verdict::Failing,
        StatusCode::NOT_FOUND | StatusCode::GONE => Verdict::Changed,
        StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PRECONDITION_FAILED => Verdict::Changed,
        status if status.is_client_error() => Verdict::Denied,
        _ => Verdict::Changed,
    }
}

/// The one valid `Content-Range` of a reply, and the length of the whole where the origin knows it.
pub fn content_range(headers: &HeaderMap) -> Option<(ByteRange, Option<u64>)> {
    let mut lines = headers.get_all(header::CONTENT_RANGE).into_iter();
    let (Some(value), None) = (lines.next(), lines.next()) else { return None };
    match range::parse_content_range(value.as_bytes())? {
        ContentRange::Bytes { range, complete } => Some((range, complete)),
        ContentRange::Unsatisfied { .. } => None,
    }
}

/// Whether two responses have the same strong entity tag, so that slices of one are slices of the other.
pub fn is_same(old: &StoredMeta, new: &StoredMeta) -> bool {
    match (&old.etag, &new.etag) {
        (Some(old), Some(new)) => validate::strong_match(old.as_bytes(), new.as_bytes()),
        _ => false,
    }
}

#[cfg(test)]
#[path = "slices_tests.rs"]
mod tests;
