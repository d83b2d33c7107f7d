//! Partial content in a cache (RFC 9111 sections 3.3 and 3.4): storing a 206, answering from it, combining several.
//!
//! Owns the arithmetic of which bytes are there. Must never combine bytes that do not share a strong validator, and never hold
//! the bytes.

use http::HeaderValue;
use http::header::{self, HeaderMap};
use http::method::Method;
use http::status::StatusCode;
use smallvec::SmallVec;

use crate::date::UnixSeconds;
use crate::policy::Policy;
use crate::range::{self, ByteRange, ContentRange, RangeSpec, RangeSpecs};
use crate::sink::FieldSink;
use crate::storage::{self, NotStored, Storable, StoreRequest};
use crate::stored::StoredMeta;
use crate::validate;

/// How many separate pieces of one response are kept; a piece more is not stored.
pub const SEGMENTS_MAX: usize = 64;

/// A part of a representation, as one 206 brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The bytes that it holds.
    pub range: ByteRange,
    /// The length of the whole, where the origin knows it.
    pub complete: Option<u64>,
    /// What the request asked for.
    pub asked: RangeSpecs,
    /// Whether it reaches to the end of the whole, by the origin's word.
    pub to_the_end: bool,
}

/// How a request is answered from a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartAnswer {
    /// Where the answer begins within the part's content, in bytes.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
    /// Its `Content-Range`.
    pub content_range: HeaderValue,
}

/// Decides whether a 206 may be stored as a part: like [`storage::may_store`] for a 200, and it must be a single range with a
/// valid `Content-Range`. Everything else about ranges is [`NotStored::Partial`].
pub fn may_store_part(
    request: &StoreRequest<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    policy: &Policy,
    response_time: UnixSeconds,
) -> Result<(Storable, Part), NotStored> {
    if status != StatusCode::PARTIAL_CONTENT || *request.method != Method::GET {
        return Err(NotStored::Partial);
    }
    let asked = range::parse_range(request.method, request.headers, policy.ranges_max);
    let mut lines = headers.get_all(header::CONTENT_RANGE).into_iter();
    let (Ok(asked), Some(value), None) = (asked, lines.next(), lines.next()) else {
        return Err(NotStored::Partial);
    };
    let Some(ContentRange::Bytes { range, complete }) = range::parse_content_range(value.as_bytes()) else {
        return Err(NotStored::Partial);
    };
    let storable = storage::may_store_final(request, status, headers, policy, response_time)?;
    let to_the_end = complete.is_some_and(|complete| range.last.checked_add(1) == Some(complete));
    Ok((storable, Part { range, complete, asked, to_the_end }))
}

impl Part {
    /// The part when so many bytes have come: fewer than stated are counted as they are, for the content is then incomplete
    /// (RFC 9111 section 3.3). `None` for no byte and for more than stated.
    pub fn received(mut self, bytes: u64) -> Option<Part> {
        let last = self.range.first.checked_add(bytes.checked_sub(1)?)?;
        if last > self.range.last {
            return None;
        }
        self.range.last = last;
        Some(self)
    }

    /// How the part answers a range request; `None` where it lacks bytes that are asked for.
    ///
    /// The very request that the part answered is answered again in the same way, even where the origin sent fewer bytes than
    /// were asked for; and so is a request for all bytes from one within the part on, where that is what the part was meant to
    /// hold (a 206 says itself what it holds, RFC 9110 section 15.3.7). Otherwise one range is answered, all of which must be
    /// there.
    pub fn answer(&self, specs: &[RangeSpec]) -> Option<PartAnswer> {
        let wanted = match specs {
            asked if asked == self.asked.as_slice() => self.range,
            [RangeSpec::From { first, last: None }] if self.to_the_end && *first <= self.range.last => {
                ByteRange { first: *first, last: self.range.last }
            }
            [spec] => self.resolve(*spec)?,
            _ => return None,
        };
        self.range.contains(&wanted).then(|| PartAnswer {
            offset: wanted.first - self.range.first,
            len: wanted.len(),
            content_range: wanted.content_range(self.complete),
        })
    }

    fn resolve(&self, spec: RangeSpec) -> Option<ByteRange> {
        match (self.complete, spec) {
            (Some(length), spec) => spec.resolve(length),
            // Without the length only a range with both ends says which bytes it means.
            (None, RangeSpec::From { first, last: Some(last) }) => Some(ByteRange { first, last }),
            (None, _) => None,
        }
    }
}

/// What of the bytes `came` a range request means; `None` where none of them. `complete` is the length of the whole, where known.
pub fn overlap(came: ByteRange, complete: Option<u64>, spec: RangeSpec) -> Option<ByteRange> {
    let wanted = match (complete, spec) {
        (Some(complete), spec) => spec.resolve(complete)?,
        (None, RangeSpec::From { first, last }) => ByteRange { first, last: last.unwrap_or(u64::MAX) },
        (None, RangeSpec::Suffix { .. }) => return None,
    };
    let both = (wanted.first.max(came.first), wanted.last.min(came.last));
    (both.0 <= both.1).then_some(ByteRange { first: both.0, last: both.1 })
}

/// Whether a reply may be combined with a stored response: both have the same strong entity tag (RFC 9111 section 3.4).
pub fn may_combine(stored: &StoredMeta, reply: &HeaderMap) -> bool {
    match (&stored.etag, reply.get(header::ETAG)) {
        (Some(stored), Some(etag)) => validate::strong_match(stored.as_bytes(), etag.as_bytes()),
        _ => false,
    }
}

/// Writes what asks for a piece that is missing: `Range`, and `If-Range` with the stored strong entity tag, so that a changed
/// representation comes whole. False, and nothing is written, where there is no strong tag: pieces could then not be combined.
pub fn write_piece(stored: &StoredMeta, piece: ByteRange, complete: Option<u64>, to: &mut impl FieldSink) -> bool {
    let Some(etag) = stored.etag.as_ref().filter(|etag| validate::is_strong(etag.as_bytes())) else {
        return false;
    };
    let to_the_end = complete.is_some_and(|length| piece.last >= length.saturating_sub(1));
    let text =
        if to_the_end { format!("bytes={}-", piece.first) } else { format!("bytes={}-{}", piece.first, piece.last) };
    to.put_text(&header::RANGE, &text);
    to.put(&header::IF_RANGE, etag);
    true
}

/// Which bytes of a representation are there: separate pieces in order, none touching the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    pieces: SmallVec<[ByteRange; 2]>,
}

impl Segments {
    /// The pieces, in order.
    pub fn pieces(&self) -> &[ByteRange] {
        &self.pieces
    }

    /// Adds a piece, joined with those that it touches. False, and nothing is added, beyond [`SEGMENTS_MAX`] pieces.
    pub fn insert(&mut self, piece: ByteRange) -> bool {
        let touches = |other: &ByteRange| {
            other.first <= piece.last.saturating_add(1) && piece.first <= other.last.saturating_add(1)
        };
        let mut joined = piece;
        for other in self.pieces.iter().filter(|other| touches(other)) {
            joined.first = joined.first.min(other.first);
            joined.last = joined.last.max(other.last);
        }
        let kept = self.pieces.iter().filter(|other| !touches(other)).count();
        if kept >= SEGMENTS_MAX {
            return false;
        }
        self.pieces.retain(|other| !touches(other));
        let at = self.pieces.partition_point(|other| other.first < joined.first);
        self.pieces.insert(at, joined);
        true
    }

    /// Whether all bytes of the range are there.
    pub fn covers(&self, range: &ByteRange) -> bool {
        self.pieces.iter().any(|piece| piece.contains(range))
    }

    /// The pieces of `range` that are missing, in order.
    pub fn missing(&self, range: &ByteRange) -> SmallVec<[ByteRange; 2]> {
        let mut missing = SmallVec::new();
        let mut next = range.first;
        for piece in self.pieces.iter().filter(|piece| piece.last >= range.first && piece.first <= range.last) {
            if piece.first > next {
                missing.push(ByteRange { first: next, last: piece.first - 1 });
            }
            match piece.last.checked_add(1) {
                Some(behind) => next = next.max(behind),
                None => return missing,
            }
        }
        if next <= range.last {
            missing.push(ByteRange { first: next, last: range.last });
        }
        missing
    }

    /// Whether the whole of `complete` bytes is there.
    pub fn is_complete(&self, complete: u64) -> bool {
        match complete.checked_sub(1) {
            Some(last) => self.covers(&ByteRange { first: 0, last }),
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Scheme;

    const NOW: UnixSeconds = UnixSeconds(1_795_364_590);

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn store(range: &str, response: &[(&'static str, &str)]) -> Result<Part, NotStored> {
        let request_headers = headers(&[("range", range)]);
        let request = StoreRequest {
            method: &Method::GET,
            headers: &request_headers,
            scheme: Scheme::Https,
            host: "a.example",
            path_and_query: "/x",
            request_time: NOW,
        };
        let status = StatusCode::PARTIAL_CONTENT;
        may_store_part(&request, status, &headers(response), &Policy::neutral(), NOW).map(|(_, part)| part)
    }

    const FRESH: (&str, &str) = ("cache-control", "max-age=9");

    #[test]
    fn what_is_stored() {
        let part = store("bytes=-5", &[FRESH, ("content-range", "bytes 5-9/10")]).unwrap();
        assert_eq!((part.range, part.complete), (ByteRange { first: 5, last: 9 }, Some(10)));
        let refused =
            |range, response: &[(&'static str, &str)], reason| assert_eq!(store(range, response), Err(reason));
        refused("bytes=-5", &[FRESH], NotStored::Partial);
        refused("bytes=-5", &[FRESH, ("content-range", "bytes 9-5/10")], NotStored::Partial);
        refused("bytes=-5", &[FRESH, ("content-range", "bytes */10")], NotStored::Partial);
        refused("items=1", &[FRESH, ("content-range", "bytes 5-9/10")], NotStored::Partial);
        refused("bytes=-5", &[("cache-control", "no-store"), ("content-range", "bytes 5-9/10")], NotStored::NoStore);
        refused("bytes=-5", &[("content-range", "bytes 5-9/10")], NotStored::Useless);
    }

    #[test]
    fn what_came_is_what_counts() {
        let part = || store("bytes=-5", &[FRESH, ("content-range", "bytes 4-9/10")]).unwrap();
        assert_eq!(part().received(6).unwrap().range, ByteRange { first: 4, last: 9 });
        assert_eq!(part().received(5).unwrap().range, ByteRange { first: 4, last: 8 });
        assert_eq!(part().received(7), None);
        assert_eq!(part().received(0), None);
    }

    #[track_caller]
    fn check_answer(part: &Part, range: &str, expected: Option<(u64, u64, &str)>) {
        let specs = range::parse_range_value(range.as_bytes(), 4).unwrap();
        let found = part.answer(&specs);
        let found = found.as_ref().map(|a| (a.offset, a.len, a.content_range.to_str().unwrap()));
        assert_eq!(found, expected, "{range}");
    }

    #[test]
    fn answers() {
        let part = store("bytes=-5", &[FRESH, ("content-range", "bytes 4-9/10")]).unwrap();
        check_answer(&part, "bytes=6-8", Some((2, 3, "bytes 6-8/10")));
        check_answer(&part, "bytes=6-", Some((2, 4, "bytes 6-9/10")));
        check_answer(&part, "bytes=-1", Some((5, 1, "bytes 9-9/10")));
        check_answer(&part, "bytes=3-8", None);
        check_answer(&part, "bytes=6-7,8-9", None);
        check_answer(&part, "bytes=10-", None);
        let short = part.clone().received(5).unwrap();
        check_answer(&short, "bytes=6-8", Some((2, 3, "bytes 6-8/10")));
        check_answer(&short, "bytes=6-", Some((2, 3, "bytes 6-8/10")));
        check_answer(&short, "bytes=9-", None);
        check_answer(&short, "bytes=-1", None);
        check_answer(&short, "bytes=-5", Some((0, 5, "bytes 4-8/10")));
        let unknown = Part { complete: None, to_the_end: false, ..part };
        check_answer(&unknown, "bytes=6-8", Some((2, 3, "bytes 6-8/*")));
        check_answer(&unknown, "bytes=6-", None);
        check_answer(&unknown, "bytes=-1", None);
    }

    #[track_caller]
    fn check_overlap(asked: &str, complete: Option<u64>, expected: Option<(u64, u64)>) {
        let spec = range::parse_range_value(asked.as_bytes(), 1).unwrap()[0];
        let expected = expected.map(|(first, last)| ByteRange { first, last });
        assert_eq!(overlap(ByteRange { first: 10, last: 19 }, complete, spec), expected, "{asked}");
    }

    #[test]
    fn overlaps() {
        check_overlap("bytes=12-14", Some(30), Some((12, 14)));
        check_overlap("bytes=5-14", Some(30), Some((10, 14)));
        check_overlap("bytes=15-", Some(30), Some((15, 19)));
        check_overlap("bytes=15-", None, Some((15, 19)));
        check_overlap("bytes=-15", Some(30), Some((15, 19)));
        check_overlap("bytes=-15", None, None);
        check_overlap("bytes=20-", Some(20), None);
        check_overlap("bytes=20-25", Some(30), None);
        check_overlap("bytes=0-9", None, None);
    }

    #[test]
    fn combining_needs_a_strong_validator() {
        let meta =
            |etag: &str| StoredMeta::build(StatusCode::OK, &headers(&[("etag", etag)]), &Policy::neutral(), NOW, NOW);
        let piece = ByteRange { first: 5, last: 9 };
        let written = |etag: &str, complete| {
            let mut request = HeaderMap::new();
            write_piece(&meta(etag), piece, complete, &mut request).then_some(request)
        };
        assert_eq!(written("\"a\"", Some(10)), Some(headers(&[("range", "bytes=5-"), ("if-range", "\"a\"")])));
        assert_eq!(written("\"a\"", Some(11)), Some(headers(&[("range", "bytes=5-9"), ("if-range", "\"a\"")])));
        assert_eq!(written("W/\"a\"", None), None);
        assert!(may_combine(&meta("\"a\""), &headers(&[("etag", "\"a\"")])));
        assert!(!may_combine(&meta("\"a\""), &headers(&[("etag", "\"b\"")])));
        assert!(!may_combine(&meta("W/\"a\""), &headers(&[("etag", "W/\"a\"")])));
        assert!(!may_combine(&meta("\"a\""), &HeaderMap::new()));
    }

    #[test]
    fn segments() {
        let range = |first, last| ByteRange { first, last };
        let mut segments = Segments::default();
        assert!(segments.insert(range(10, 19)));
        assert!(segments.insert(range(30, 39)));
        assert!(segments.insert(range(0, 4)));
        assert_eq!(segments.pieces(), [range(0, 4), range(10, 19), range(30, 39)]);
        assert_eq!(segments.missing(&range(0, 49)).as_slice(), [range(5, 9), range(20, 29), range(40, 49)]);
        assert_eq!(segments.missing(&range(12, 15)).as_slice(), []);
        assert_eq!(segments.missing(&range(15, 25)).as_slice(), [range(20, 25)]);
        assert!(segments.insert(range(5, 9)));
        assert!(segments.insert(range(15, 35)));
        assert_eq!(segments.pieces(), [range(0, 39)]);
        assert!(segments.covers(&range(3, 39)) && !segments.covers(&range(3, 40)));
        assert!(segments.is_complete(40) && !segments.is_complete(41) && segments.is_complete(0));
        let mut many = Segments::default();
        for n in 0..SEGMENTS_MAX as u64 {
            assert!(many.insert(range(n * 10, n * 10 + 1)));
        }
        assert!(!many.insert(range(9999, 9999)));
        assert!(many.insert(range(2, 9)));
        assert!(many.insert(range(0, u64::MAX)));
        assert_eq!(many.pieces(), [range(0, u64::MAX)]);
        assert_eq!(many.missing(&range(5, u64::MAX)).as_slice(), []);
    }
}
