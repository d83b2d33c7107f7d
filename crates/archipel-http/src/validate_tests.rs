use super::*;
use crate::policy::Policy;

const NOW: UnixSeconds = UnixSeconds(1_795_364_590);

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn at(offset: i64) -> String {
    String::from_utf8(UnixSeconds(NOW.0 + offset).format().to_vec()).unwrap()
}

fn meta(response: &[(&'static str, &str)]) -> StoredMeta {
    StoredMeta::build(StatusCode::OK, &headers(response), &Policy::neutral(), NOW, NOW)
}

#[track_caller]
fn check(response: &[(&'static str, &str)], request: &[(&'static str, &str)], expected: Precondition) {
    check_with(&Method::GET, Scope::Origin, response, request, expected);
}

#[track_caller]
fn check_with(
    method: &Method,
    scope: Scope,
    response: &[(&'static str, &str)],
    request: &[(&'static str, &str)],
    expected: Precondition,
) {
    let found = evaluate(method, &headers(request), &meta(response), scope);
    assert_eq!(found, expected, "{response:?} {request:?}");
}

use Precondition::{Failed, NotModified, Serve};

#[test]
fn if_none_match() {
    let strong = &[("etag", "\"abcdef\"")];
    let weak = &[("etag", "W/\"abcdef\"")];
    check(strong, &[("if-none-match", "\"abcdef\"")], NotModified);
    check(strong, &[("if-none-match", "W/\"abcdef\"")], NotModified);
    check(weak, &[("if-none-match", "\"abcdef\"")], NotModified);
    check(weak, &[("if-none-match", "W/\"abcdef\"")], NotModified);
    check(strong, &[("if-none-match", "\"1234\", \"abcdef\", \"5678\"")], NotModified);
    check(strong, &[("if-none-match", "\"a,b\", \"abcdef\"")], NotModified);
    check(strong, &[("if-none-match", "\"1234\""), ("if-none-match", "\"abcdef\"")], NotModified);
    check(strong, &[("if-none-match", "*")], NotModified);
    check(&[], &[("if-none-match", "*")], NotModified);
    check(&[], &[("if-none-match", "\"abcdef\"")], Serve);
    check(strong, &[("if-none-match", "\"abcdef\"x")], Serve);
    check(strong, &[("if-none-match", "abcdef")], Serve);
    check(&[("etag", "abcdef")], &[("if-none-match", "abcdef")], NotModified);
    check(strong, &[("if-none-match", "\"ABCDEF\"")], Serve);
    check_with(&Method::HEAD, Scope::Cache, strong, &[("if-none-match", "\"abcdef\"")], NotModified);
    check_with(&Method::PUT, Scope::Origin, strong, &[("if-none-match", "\"abcdef\"")], Failed);
    check_with(&Method::PUT, Scope::Cache, strong, &[("if-none-match", "\"abcdef\"")], Serve);
}

#[test]
fn if_modified_since() {
    let modified = at(-3000);
    let response = &[("last-modified", modified.as_str())];
    let since = |offset| at(offset);
    check(response, &[("if-modified-since", &since(-3000))], NotModified);
    check(response, &[("if-modified-since", &since(-2000))], NotModified);
    check(response, &[("if-modified-since", &since(-4000))], Serve);
    check(response, &[("if-modified-since", "yesterday")], Serve);
    check(response, &[("if-modified-since", &since(0)), ("if-modified-since", &since(0))], Serve);
    check_with(&Method::PUT, Scope::Cache, response, &[("if-modified-since", &since(0))], Serve);
    // Without Last-Modified it is Date that counts, and without Date the time of receipt (RFC 9111 section 4.3.2).
    let dated = at(-100);
    check(&[("date", &dated)], &[("if-modified-since", &since(-100))], NotModified);
    check(&[("date", &dated)], &[("if-modified-since", &since(-101))], Serve);
    check(&[], &[("if-modified-since", &since(0))], NotModified);
    check(&[], &[("if-modified-since", &since(-1))], Serve);
    // If-None-Match takes precedence, both ways.
    let both = &[("last-modified", modified.as_str()), ("etag", "\"a\"")];
    check(both, &[("if-none-match", "\"a\""), ("if-modified-since", &since(-9000))], NotModified);
    check(both, &[("if-none-match", "\"b\""), ("if-modified-since", &since(0))], Serve);
}

#[test]
fn preconditions_of_the_origin() {
    let modified = at(-3000);
    let response = &[("last-modified", modified.as_str()), ("etag", "\"a\"")];
    check(response, &[("if-match", "\"a\"")], Serve);
    check(response, &[("if-match", "\"b\", \"a\"")], Serve);
    check(response, &[("if-match", "*")], Serve);
    check(response, &[("if-match", "\"b\"")], Failed);
    check(response, &[("if-match", "W/\"a\"")], Failed);
    check(&[("etag", "W/\"a\"")], &[("if-match", "W/\"a\"")], Failed);
    check(response, &[("if-unmodified-since", &at(-3000))], Serve);
    check(response, &[("if-unmodified-since", &at(-3001))], Failed);
    check(response, &[("if-match", "\"a\""), ("if-unmodified-since", &at(-9000))], Serve);
    check(response, &[("if-match", "\"b\""), ("if-none-match", "\"a\"")], Failed);
    check(&[("etag", "\"a\"")], &[("if-unmodified-since", &at(-9000))], Serve);
    check_with(&Method::GET, Scope::Cache, response, &[("if-match", "\"b\"")], Serve);
    check_with(&Method::GET, Scope::Cache, response, &[("if-match", "\"b\""), ("if-none-match", "\"a\"")], NotModified);
}

#[track_caller]
fn check_if_range(response: &[(&'static str, &str)], value: &str, expected: bool) {
    let request = headers(&[("if-range", value)]);
    assert_eq!(if_range_holds(&request, &meta(response)), expected, "{response:?} {value}");
}

#[test]
fn if_range() {
    assert!(if_range_holds(&HeaderMap::new(), &meta(&[])));
    check_if_range(&[("etag", "\"a\"")], "\"a\"", true);
    check_if_range(&[("etag", "\"a\"")], "\"b\"", false);
    check_if_range(&[("etag", "W/\"a\"")], "W/\"a\"", false);
    check_if_range(&[], "\"a\"", false);
    let modified = at(-3000);
    let now = at(0);
    let response = &[("last-modified", modified.as_str()), ("date", now.as_str())];
    check_if_range(response, &modified, true);
    check_if_range(response, &at(-2999), false);
    check_if_range(response, "foo", false);
    let just_now = &[("last-modified", now.as_str()), ("date", now.as_str())];
    check_if_range(just_now, &now, false);
    let twice = headers(&[("if-range", "\"a\""), ("if-range", "\"a\"")]);
    assert!(!if_range_holds(&twice, &meta(&[("etag", "\"a\"")])));
}

#[track_caller]
fn check_selects(stored: &[(&'static str, &str)], reply: &[(&'static str, &str)], expected: bool) {
    assert_eq!(selects_stored(&headers(reply), &meta(stored)), expected, "{stored:?} {reply:?}");
}

#[test]
fn which_response_a_304_speaks_about() {
    let (early, late) = (at(-3000), at(-2000));
    check_selects(&[("etag", "\"a\"")], &[("etag", "\"a\"")], true);
    check_selects(&[("etag", "\"a\"")], &[("etag", "\"b\"")], false);
    check_selects(&[("etag", "W/\"a\"")], &[("etag", "\"a\"")], false);
    check_selects(&[("etag", "\"a\"")], &[("etag", "W/\"a\"")], true);
    check_selects(&[("etag", "\"a\"")], &[], true);
    check_selects(&[], &[("etag", "\"a\"")], false);
    check_selects(&[("last-modified", &early)], &[("last-modified", &early)], true);
    check_selects(&[("last-modified", &early)], &[("last-modified", &late)], false);
    check_selects(
        &[("etag", "\"a\""), ("last-modified", &early)],
        &[("etag", "\"a\""), ("last-modified", &late)],
        true,
    );
    check_selects(&[("etag", "\"a\"")], &[("last-modified", &late)], true);
}

#[test]
fn freshening_replaces_fields() {
    let mut stored = headers(&[
        ("a", "1"),
        ("a", "2"),
        ("b", "1"),
        ("c", "1"),
        ("content-length", "36"),
        ("content-encoding", "gzip"),
        ("content-type", "text/plain"),
        ("date", "old"),
    ]);
    let reply = headers(&[
        ("a", "3"),
        ("a", "4"),
        ("connection", "x"),
        ("x", "1"),
        ("content-length", "0"),
        ("content-encoding", "br"),
        ("content-range", "bytes 0-1/2"),
        ("content-type", "text/html"),
        ("transfer-encoding", "chunked"),
        ("age", "9"),
        ("date", "new"),
        ("c", "2"),
        ("cache-control", "max-age=9, no-cache=\"c\""),
    ]);
    freshen(&mut stored, &reply, &CacheControl::from_headers(&reply));
    let expected = headers(&[
        ("a", "3"),
        ("a", "4"),
        ("b", "1"),
        ("content-length", "36"),
        ("content-encoding", "gzip"),
        ("content-type", "text/html"),
        ("date", "new"),
        ("cache-control", "max-age=9, no-cache=\"c\""),
    ]);
    assert_eq!(stored, expected);
}

#[test]
fn head_replies() {
    let check = |reply: &[(&'static str, &str)], expected| {
        let stored = meta(&[("etag", "\"a\"")]);
        assert_eq!(head_effect(StatusCode::OK, &headers(reply), &stored, Some(10)), expected, "{reply:?}");
    };
    check(&[], HeadEffect::Freshen);
    check(&[("etag", "\"a\""), ("content-length", "10")], HeadEffect::Freshen);
    check(&[("etag", "\"b\"")], HeadEffect::Invalidate);
    check(&[("content-length", "11")], HeadEffect::Invalidate);
    check(&[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")], HeadEffect::Invalidate);
    let gone = head_effect(StatusCode::GONE, &HeaderMap::new(), &meta(&[]), None);
    assert_eq!(gone, HeadEffect::Ignore);
}

#[test]
fn a_304_describes_no_content() {
    let stored =
        headers(&[("etag", "\"a\""), ("content-length", "3"), ("content-type", "a/b"), ("vary", "x"), ("b", "1")]);
    let expected = headers(&[("etag", "\"a\""), ("vary", "x"), ("b", "1")]);
    assert_eq!(not_modified_fields(stored), expected);
}
