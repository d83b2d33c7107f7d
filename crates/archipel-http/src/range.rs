//! Byte ranges (RFC 9110 section 14).
//!
//! Owns the parsing of `Range` and `Content-Range` and the choice between all, some and none. Must never touch the content.

use std::fmt::Write as _;

use http::HeaderValue;
use http::header::{self, HeaderMap};
use http::method::Method;
use smallvec::SmallVec;

use crate::list;

/// A `Range` field longer than this is ignored, in bytes.
pub const RANGE_FIELD_BYTES_MAX: usize = 4096;

/// One range as asked for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// `first-` or `first-last`
    From {
        /// The first byte's position.
        first: u64,
        /// The last byte's position; `None` for the end.
        last: Option<u64>,
    },
    /// `-count`: the last so many bytes
    Suffix {
        /// How many.
        count: u64,
    },
}

/// The ranges of one request.
pub type RangeSpecs = SmallVec<[RangeSpec; 2]>;

/// Bytes `first` to `last`, both included.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte's position.
    pub first: u64,
    /// The last byte's position, never before `first`.
    pub last: u64,
}

impl ByteRange {
    /// How many bytes; saturates at the greatest number.
    pub fn len(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// Never: a range has at least one byte.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Whether all of `other` lies in it.
    pub fn contains(&self, other: &ByteRange) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// `bytes first-last/complete`, with `*` for an unknown length.
    pub fn content_range(&self, complete: Option<u64>) -> HeaderValue {
        let mut text = String::with_capacity(48);
        // Writing to a String cannot fail.
        let _ = match complete {
            Some(length) => write!(text, "bytes {}-{}/{length}", self.first, self.last),
            None => write!(text, "bytes {}-{}/*", self.first, self.last),
        };
        ascii_value(&text)
    }
}

/// `bytes */complete`, for a 416.
pub fn unsatisfied_content_range(complete: u64) -> HeaderValue {
    ascii_value(&format!("bytes */{complete}"))
}

fn ascii_value(text: &str) -> HeaderValue {
    // Digits and ASCII punctuation only.
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Why a `Range` field is ignored and the whole is served.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum RangeIgnored {
    /// There is none, or the method is not GET.
    None,
    /// Another unit than bytes.
    Unit,
    /// Not a range set, or several fields.
    Malformed,
    /// More ranges than the policy allows, or a field that is too long.
    TooMany,
    /// Ranges that overlap or are out of order so that serving them would cost more than the whole.
    Absurd,
    /// All ranges together are the whole.
    Whole,
}

impl RangeIgnored {
    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            RangeIgnored::None => "none",
            RangeIgnored::Unit => "unit",
            RangeIgnored::Malformed => "malformed",
            RangeIgnored::TooMany => "too_many",
            RangeIgnored::Absurd => "absurd",
            RangeIgnored::Whole => "whole",
        }
    }
}

/// What to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeOutcome {
    /// Everything: 200.
    Full(RangeIgnored),
    /// These: 206, `multipart/byteranges` when there is more than one.
    Partial(SmallVec<[ByteRange; 2]>),
    /// None of them exists: 416.
    Unsatisfiable,
}

/// Parses the `Range` of a request. `ranges_max` is how many ranges one request may ask for.
pub fn parse_range(method: &Method, headers: &HeaderMap, ranges_max: usize) -> Result<RangeSpecs, RangeIgnored> {
    if *method != Method::GET {
        return Err(RangeIgnored::None);
    }
    let mut lines = headers.get_all(header::RANGE).into_iter();
    let value = lines.next().ok_or(RangeIgnored::None)?;
    if lines.next().is_some() {
        return Err(RangeIgnored::Malformed);
    }
    parse_range_value(value.as_bytes(), ranges_max)
}

/// Parses the value of a `Range` field.
pub fn parse_range_value(value: &[u8], ranges_max: usize) -> Result<RangeSpecs, RangeIgnored> {
    if value.len() > RANGE_FIELD_BYTES_MAX {
        return Err(RangeIgnored::TooMany);
    }
    let equals = memchr::memchr(b'=', value).ok_or(RangeIgnored::Malformed)?;
    let (unit, set) = value.split_at(equals);
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return Err(RangeIgnored::Unit);
    }
    let mut specs = RangeSpecs::new();
    for member in list::members(set.get(1..).unwrap_or_default()) {
        if specs.len() >= ranges_max {
            return Err(RangeIgnored::TooMany);
        }
        specs.push(range_spec(member).ok_or(RangeIgnored::Malformed)?);
    }
    if specs.is_empty() { Err(RangeIgnored::Malformed) } else { Ok(specs) }
}

fn range_spec(member: &[u8]) -> Option<RangeSpec> {
    let dash = memchr::memchr(b'-', member)?;
    let (first, last) = member.split_at(dash);
    let last = last.get(1..)?;
    if first.is_empty() {
        return Some(RangeSpec::Suffix { count: position(last)? });
    }
    let first = position(first)?;
    let last = if last.is_empty() { None } else { Some(position(last)?) };
    match last {
        Some(last) if last < first => None,
        _ => Some(RangeSpec::From { first, last }),
    }
}

/// Digits; saturates at the greatest number.
fn position(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

impl RangeSpec {
    /// The value of a `Range` field that asks for it.
    pub fn to_field(self) -> HeaderValue {
        ascii_value(&match self {
            RangeSpec::From { first, last: Some(last) } => format!("bytes={first}-{last}"),
            RangeSpec::From { first, last: None } => format!("bytes={first}-"),
            RangeSpec::Suffix { count } => format!("bytes=-{count}"),
        })
    }

    /// The bytes that this is of a content of `length` bytes; `None` where there are none.
    pub fn resolve(self, length: u64) -> Option<ByteRange> {
        let end = length.checked_sub(1)?;
        match self {
            RangeSpec::Suffix { count: 0 } => None,
            RangeSpec::Suffix { count } => Some(ByteRange { first: length.saturating_sub(count), last: end }),
            RangeSpec::From { first, .. } if first > end => None,
            RangeSpec::From { first, last } => Some(ByteRange { first, last: last.unwrap_or(end).min(end) }),
        }
    }
}

/// Decides what to serve of a content of `length` bytes (RFC 9110 section 14.2 and 15.5.17).
///
/// Ranges that overlap, or that together exceed the whole, are an attack or a mistake: the whole is served instead.
pub fn evaluate(specs: &[RangeSpec], length: u64) -> RangeOutcome {
    let ranges: SmallVec<[ByteRange; 2]> = specs.iter().filter_map(|spec| spec.resolve(length)).collect();
    match ranges.as_slice() {
        [] => RangeOutcome::Unsatisfiable,
        [_] => RangeOutcome::Partial(ranges),
        several => {
            let mut sorted: SmallVec<[ByteRange; 8]> = several.into();
            sorted.sort_unstable_by_key(|range| range.first);
            let overlapping = sorted.windows(2).any(|pair| matches!(pair, [a, b] if b.first <= a.last));
            let total = several.iter().fold(0_u64, |sum, range| sum.saturating_add(range.len()));
            if overlapping {
                RangeOutcome::Full(RangeIgnored::Absurd)
            } else if total >= length {
                RangeOutcome::Full(RangeIgnored::Whole)
            } else {
                RangeOutcome::Partial(ranges)
            }
        }
    }
}

/// A parsed `Content-Range`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ContentRange {
    /// `bytes first-last/complete`
    Bytes {
        /// The bytes.
        range: ByteRange,
        /// The length of the whole; `None` for `*`.
        complete: Option<u64>,
    },
    /// `bytes */complete`
    Unsatisfied {
        /// The length of the whole.
        complete: u64,
    },
}

/// Parses a `Content-Range` value; `None` where it is invalid (RFC 9110 section 14.4) or of another unit.
pub fn parse_content_range(value: &[u8]) -> Option<ContentRange> {
    let space = memchr::memchr(b' ', value)?;
    let (unit, rest) = value.split_at(space);
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let rest = list::trim(rest);
    let slash = memchr::memchr(b'/', rest)?;
    let (range, complete) = rest.split_at(slash);
    let complete = match complete.get(1..)? {
        b"*" => None,
        digits => Some(position(digits)?),
    };
    if range == b"*" {
        return Some(ContentRange::Unsatisfied { complete: complete? });
    }
    let dash = memchr::memchr(b'-', range)?;
    let (first, last) = range.split_at(dash);
    let range = ByteRange { first: position(first)?, last: position(last.get(1..)?)? };
    let valid = range.first <= range.last && complete.is_none_or(|complete| range.last < complete);
    valid.then_some(ContentRange::Bytes { range, complete })
}

/// The head of one part of a `multipart/byteranges` content (RFC 9110 section 14.6), CRLF before and after included.
pub fn part_head(boundary: &str, content_type: Option<&HeaderValue>, range: ByteRange, complete: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(128);
    head.extend_from_slice(b"\r\n--");
    head.extend_from_slice(boundary.as_bytes());
    if let Some(content_type) = content_type {
        head.extend_from_slice(b"\r\nContent-Type: ");
        head.extend_from_slice(content_type.as_bytes());
    }
    head.extend_from_slice(b"\r\nContent-Range: ");
    head.extend_from_slice(range.content_range(Some(complete)).as_bytes());
    head.extend_from_slice(b"\r\n\r\n");
    head
}

/// The end of a `multipart/byteranges` content.
pub fn part_tail(boundary: &str) -> Vec<u8> {
    [b"\r\n--", boundary.as_bytes(), b"--\r\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(value: &str, length: u64) -> RangeOutcome {
        match parse_range_value(value.as_bytes(), 4) {
            Ok(specs) => evaluate(&specs, length),
            Err(reason) => RangeOutcome::Full(reason),
        }
    }

    #[track_caller]
    fn check(value: &str, expected: &[(u64, u64)]) {
        let ranges = expected.iter().map(|(first, last)| ByteRange { first: *first, last: *last });
        assert_eq!(outcome(value, 10), RangeOutcome::Partial(ranges.collect()), "{value}");
    }

    #[track_caller]
    fn check_full(value: &str, reason: RangeIgnored) {
        assert_eq!(outcome(value, 10), RangeOutcome::Full(reason), "{value}");
    }

    #[test]
    fn served_ranges() {
        check("bytes=0-1", &[(0, 1)]);
        check("Bytes=0-1", &[(0, 1)]);
        check("bytes=1-", &[(1, 9)]);
        check("bytes=-1", &[(9, 9)]);
        check("bytes=-99", &[(0, 9)]);
        check("bytes=5-99", &[(5, 9)]);
        check("bytes=0-", &[(0, 9)]);
        check("bytes=0-99999999999999999999999999", &[(0, 9)]);
        check("bytes= 0-1 , ,4-5", &[(0, 1), (4, 5)]);
        check("bytes=4-5,0-1", &[(4, 5), (0, 1)]);
        check("bytes=0-1,50-", &[(0, 1)]);
        assert_eq!(outcome("bytes=10-", 10), RangeOutcome::Unsatisfiable);
        assert_eq!(outcome("bytes=-0", 10), RangeOutcome::Unsatisfiable);
        assert_eq!(outcome("bytes=0-", 0), RangeOutcome::Unsatisfiable);
    }

    #[test]
    fn ignored_ranges() {
        check_full("", RangeIgnored::Malformed);
        check_full("bytes", RangeIgnored::Malformed);
        check_full("bytes=", RangeIgnored::Malformed);
        check_full("bytes=a-b", RangeIgnored::Malformed);
        check_full("bytes=5-3", RangeIgnored::Malformed);
        check_full("bytes=-", RangeIgnored::Malformed);
        check_full("bytes=0-1;x", RangeIgnored::Malformed);
        check_full("bytes=+1-2", RangeIgnored::Malformed);
        check_full("items=0-1", RangeIgnored::Unit);
        check_full("bytes=0-0,1-1,2-2,3-3,4-4", RangeIgnored::TooMany);
        check_full("bytes=0-5,3-8", RangeIgnored::Absurd);
        check_full("bytes=0-,0-,0-", RangeIgnored::Absurd);
        check_full("bytes=0-4,5-9", RangeIgnored::Whole);
        let many = format!("bytes={}", "0-1,".repeat(2000));
        check_full(&many, RangeIgnored::TooMany);
    }

    #[test]
    fn asked_for_again() {
        for text in ["bytes=0-1", "bytes=5-", "bytes=-7"] {
            assert_eq!(parse_range_value(text.as_bytes(), 1).unwrap()[0].to_field(), text);
        }
    }

    #[test]
    fn the_field() {
        let mut headers = HeaderMap::new();
        assert_eq!(parse_range(&Method::GET, &headers, 4), Err(RangeIgnored::None));
        headers.append("range", "bytes=0-1".parse().unwrap());
        assert!(parse_range(&Method::GET, &headers, 4).is_ok());
        assert_eq!(parse_range(&Method::HEAD, &headers, 4), Err(RangeIgnored::None));
        headers.append("range", "bytes=3-4".parse().unwrap());
        assert_eq!(parse_range(&Method::GET, &headers, 4), Err(RangeIgnored::Malformed));
    }

    #[track_caller]
    fn check_content_range(value: &str, expected: Option<(u64, u64, Option<u64>)>) {
        let expected =
            expected.map(|(first, last, complete)| ContentRange::Bytes { range: ByteRange { first, last }, complete });
        assert_eq!(parse_content_range(value.as_bytes()), expected, "{value}");
    }

    #[test]
    fn content_ranges() {
        check_content_range("bytes 4-9/10", Some((4, 9, Some(10))));
        check_content_range("bytes 4-9/*", Some((4, 9, None)));
        check_content_range("bytes 4-10/10", None);
        check_content_range("bytes 9-4/10", None);
        check_content_range("bytes 4-9", None);
        check_content_range("bytes */*", None);
        check_content_range("items 4-9/10", None);
        check_content_range("bytes=4-9/10", None);
        assert_eq!(parse_content_range(b"bytes */10"), Some(ContentRange::Unsatisfied { complete: 10 }));
        let range = ByteRange { first: 4, last: 9 };
        assert_eq!(range.content_range(Some(10)), "bytes 4-9/10");
        assert_eq!(range.content_range(None), "bytes 4-9/*");
        assert_eq!(unsatisfied_content_range(10), "bytes */10");
        assert_eq!(range.len(), 6);
        assert_eq!(ByteRange { first: 0, last: u64::MAX }.len(), u64::MAX);
    }

    #[test]
    fn multipart() {
        let head = part_head("B", Some(&HeaderValue::from_static("a/b")), ByteRange { first: 0, last: 1 }, 10);
        assert_eq!(head, b"\r\n--B\r\nContent-Type: a/b\r\nContent-Range: bytes 0-1/10\r\n\r\n");
        assert_eq!(part_tail("B"), b"\r\n--B--\r\n");
    }
}
