//! Tables for the arithmetic of slices and for what replies to requests for slices are worth.

use super::*;
use crate::policy::Policy;
use crate::{UnixSeconds, range};

const NOW: UnixSeconds = UnixSeconds(1_795_364_590);

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn meta(etag: &str) -> StoredMeta {
    StoredMeta::build(StatusCode::OK, &headers(&[("etag", etag)]), &Policy::neutral(), NOW, NOW)
}

#[test]
fn the_grid() {
    let grid = Grid::new(10, 25).unwrap();
    assert_eq!((grid.count(), grid.slice_of(9), grid.slice_of(10), grid.slice_of(24)), (3, 0, 1, 2));
    assert_eq!(grid.range(0, 0), ByteRange { first: 0, last: 9 });
    assert_eq!(grid.range(1, 2), ByteRange { first: 10, last: 24 });
    assert_eq!(grid.range(2, u64::MAX), ByteRange { first: 20, last: 24 });
    assert_eq!((grid.next_start(0), grid.next_start(1), grid.next_start(10)), (0, 1, 1));
    assert_eq!(Grid::new(10, 20).unwrap().count(), 2);
    assert_eq!(Grid::new(0, 20), None);
    assert_eq!(Grid::new(10, 0), None);
    assert_eq!(Grid::new(1, SLICES_MAX + 1), None);
    assert!(Grid::new(1 << 22, u64::MAX >> 20).is_some());
}

#[track_caller]
fn check_widened(asked: &str, expected: Option<&str>) {
    let spec = |text: &str| range::parse_range_value(text.as_bytes(), 1).unwrap()[0];
    assert_eq!(widened(spec(asked), 100), expected.map(spec), "{asked}");
}

#[test]
fn ranges_are_widened_to_slices() {
    check_widened("bytes=0-0", Some("bytes=0-99"));
    check_widened("bytes=99-100", Some("bytes=0-199"));
    check_widened("bytes=250-", Some("bytes=200-"));
    check_widened("bytes=250-299", Some("bytes=200-299"));
    check_widened("bytes=250-18446744073709551615", Some("bytes=200-"));
    check_widened("bytes=-5", None);
}

#[track_caller]
fn check(status: u16, fields: &[(&'static str, &str)], expected: Verdict) {
    let grid = Grid::new(10, 25).unwrap();
    let asked = ByteRange { first: 10, last: 24 };
    let status = StatusCode::from_u16(status).unwrap();
    assert_eq!(judge(&meta("\"a\""), &grid, asked, status, &headers(fields)), expected, "{fields:?}");
}

#[test]
fn replies_for_slices() {
    use Verdict as V;
    let (a, b, weak) = (("etag", "\"a\""), ("etag", "\"b\""), ("etag", "W/\"a\""));
    let range = |value| ("content-range", value);
    check(206, &[a, range("bytes 10-24/25")], V::Piece(ByteRange { first: 10, last: 24 }));
    check(206, &[a, range("bytes 10-19/25")], V::Piece(ByteRange { first: 10, last: 19 }));
    check(206, &[b, range("bytes 10-24/25")], V::Changed);
    check(206, &[weak, range("bytes 10-24/25")], V::Changed);
    check(206, &[range("bytes 10-24/25")], V::Changed);
    check(206, &[a, range("bytes 11-24/25")], V::Contradiction);
    check(206, &[a, range("bytes 10-25/26")], V::Contradiction);
    check(206, &[a, range("bytes 10-24/*")], V::Contradiction);
    check(206, &[a, range("bytes 10-29/25")], V::Contradiction);
    check(206, &[a, range("bytes 24-10/25")], V::Contradiction);
    check(206, &[a, range("bytes 10-24/25"), range("bytes 10-24/25")], V::Contradiction);
    check(206, &[a], V::Contradiction);
    check(200, &[a], V::Whole);
    check(200, &[a, ("content-length", "25")], V::Whole);
    check(200, &[a, ("content-length", "26")], V::Contradiction);
    check(200, &[b, ("content-length", "25")], V::Changed);
    check(200, &[], V::Changed);
    check(404, &[a], V::Changed);
    check(412, &[], V::Changed);
    check(416, &[range("bytes */5")], V::Changed);
    for denied in [400, 401, 403, 431] {
        check(denied, &[a], V::Denied);
    }
    check(503, &[], V::Failing);
    check(429, &[], V::Failing);
}

#[test]
fn what_slices_belong_to() {
    let (seed, grid) = ((1, 2), Grid::new(10, 25).unwrap());
    let base = identity(seed, b"\"a\"", b"", &grid, 7);
    assert_eq!(base, identity(seed, b"\"a\"", b"", &grid, 7));
    assert_ne!(base, identity((1, 3), b"\"a\"", b"", &grid, 7));
    assert_ne!(base, identity(seed, b"\"b\"", b"", &grid, 7));
    assert_ne!(base, identity(seed, b"\"a\"", b"v", &grid, 7));
    assert_ne!(base, identity(seed, b"\"a\"", b"", &grid, 8));
    assert_ne!(base, identity(seed, b"\"a\"", b"", &Grid::new(10, 26).unwrap(), 7));
    assert_ne!(base, identity(seed, b"\"a\"", b"", &Grid::new(11, 25).unwrap(), 7));
    let (hash, text) = slice_key(seed, "7 https://a.example/b", 255, 3);
    assert_eq!(&*text, "7 https://a.example/b slice=000000000000000000000000000000ff.3");
    assert_ne!(hash, slice_key(seed, "7 https://a.example/b", 255, 4).0);
    assert!(may_slice(&meta("\"a\"")) && !may_slice(&meta("W/\"a\"")));
    assert!(is_same(&meta("\"a\""), &meta("\"a\"")) && !is_same(&meta("\"a\""), &meta("\"b\"")));
    assert!(!is_same(&meta("W/\"a\""), &meta("W/\"a\"")));
}
