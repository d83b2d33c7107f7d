use super::*;
use crate::policy::{AlwaysOnline, Disregard, EdgeTtl};
use http::header::HeaderName;

const NOW: UnixSeconds = UnixSeconds(1_795_364_590);

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

/// One exchange; the rest is a GET answered with 200.
struct Case<'a> {
    method: Method,
    request: &'a [(&'static str, &'a str)],
    status: u16,
    response: &'a [(&'static str, &'a str)],
    policy: Policy,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Case { method: Method::GET, request: &[], status: 200, response: &[], policy: Policy::neutral() }
    }
}

#[track_caller]
fn check(case: Case<'_>, expected: Result<(), NotStored>) {
    let request_headers = headers(case.request);
    let request = StoreRequest {
        method: &case.method,
        headers: &request_headers,
        scheme: Scheme::Https,
        host: "a.example",
        path_and_query: "/x",
        request_time: NOW,
    };
    let status = StatusCode::from_u16(case.status).unwrap();
    let found = may_store(&request, status, &headers(case.response), &case.policy, NOW);
    assert_eq!(found.map(|_| ()), expected, "{:?} {} {:?}", case.request, case.status, case.response);
}

#[track_caller]
fn check_response(status: u16, response: &[(&'static str, &str)], expected: Result<(), NotStored>) {
    check(Case { status, response, ..Case::default() }, expected);
}

const FRESH: (&str, &str) = ("cache-control", "max-age=3600");
const ETAG: (&str, &str) = ("etag", "\"a\"");

#[test]
fn freshness_or_a_validator_is_needed() {
    check_response(200, &[], Err(NotStored::Useless));
    check_response(200, &[FRESH], Ok(()));
    check_response(200, &[ETAG], Ok(()));
    check_response(200, &[("cache-control", "no-cache"), ETAG], Ok(()));
    check_response(200, &[("cache-control", "no-cache, max-age=60")], Err(NotStored::Useless));
    check_response(200, &[("cache-control", "max-age=0")], Err(NotStored::Useless));
    check_response(200, &[FRESH, ("age", "7200")], Err(NotStored::Useless));
    check_response(200, &[("cache-control", "max-age=0, stale-if-error=9")], Ok(()));
    check_response(200, &[("cache-control", "max-age=0, stale-if-error=9, must-revalidate")], Err(NotStored::Useless));
    check_response(200, &[("cache-control", "max-age=0"), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")], Ok(()));
    check_response(200, &[("expires", "0")], Err(NotStored::Useless));
}

#[test]
fn statuses() {
    for status in [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599] {
        check_response(status, &[FRESH], Ok(()));
    }
    for status in [201, 202, 302, 403, 500, 502, 503, 504, 599] {
        check_response(status, &[ETAG], Err(NotStored::NoExplicitFreshness));
    }
    check_response(599, &[ETAG, ("cache-control", "public")], Ok(()));
    check_response(103, &[FRESH], Err(NotStored::Interim));
    check_response(206, &[FRESH], Err(NotStored::Partial));
    check_response(416, &[FRESH], Err(NotStored::Partial));
    check_response(304, &[FRESH], Err(NotStored::NotModified));
    check_response(412, &[FRESH], Err(NotStored::Precondition));
    for status in [428, 429, 431, 511] {
        check_response(status, &[FRESH], Err(NotStored::StatusForbids));
    }
}

#[test]
fn directives() {
    check_response(200, &[("cache-control", "max-age=9, no-store")], Err(NotStored::NoStore));
    check_response(200, &[("cache-control", "max-age=9, private")], Err(NotStored::Private));
    check_response(200, &[("cache-control", "max-age=9, private=\"set-cookie\"")], Ok(()));
    check_response(200, &[("cache-control", "max-age=9, no-store, must-understand")], Ok(()));
    check_response(
        599,
        &[("cache-control", "max-age=9, no-store, must-understand")],
        Err(NotStored::StatusNotUnderstood),
    );
    check_response(200, &[("cdn-cache-control", "max-age=9"), ("cache-control", "no-store")], Ok(()));
    check_response(200, &[("cdn-cache-control", "no-store"), FRESH], Err(NotStored::NoStore));
    check_response(200, &[("cdn-cache-control", "private"), FRESH], Err(NotStored::Private));
    check_response(
        200,
        &[("cdn-cache-control", "max-age=9, &&&"), ("cache-control", "no-store")],
        Err(NotStored::NoStore),
    );
    check_response(200, &[("surrogate-control", "no-store"), FRESH], Err(NotStored::NoStore));
    check_response(200, &[FRESH, ("vary", "a"), ("vary", "b, *")], Err(NotStored::VaryAny));
    check_response(200, &[FRESH, ("pragma", "no-cache")], Ok(()));
}

#[test]
fn requests() {
    let with = |request: &[(&'static str, &str)], response: &[(&'static str, &str)], expected| {
        check(Case { request, response, ..Case::default() }, expected)
    };
    with(&[("cache-control", "no-store")], &[FRESH], Err(NotStored::RequestNoStore));
    let edge = Case {
        request: &[("cache-control", "no-store")],
        response: &[FRESH],
        policy: Policy::edge(),
        ..Case::default()
    };
    check(edge, Ok(()));
    with(&[("range", "bytes=0-1")], &[FRESH], Ok(()));
    let authorized = &[("authorization", "x")];
    with(authorized, &[FRESH], Err(NotStored::Authorization));
    for permission in ["max-age=9, public", "max-age=9, must-revalidate", "s-maxage=9"] {
        with(authorized, &[("cache-control", permission)], Ok(()));
    }
    with(authorized, &[("cache-control", "max-age=9, proxy-revalidate")], Err(NotStored::Authorization));
    with(authorized, &[("cache-control", "public"), ("cdn-cache-control", "max-age=9")], Err(NotStored::Authorization));
}

#[test]
fn methods() {
    let with = |method: Method, response: &[(&'static str, &str)], expected| {
        check(Case { method, response, ..Case::default() }, expected)
    };
    for method in [Method::HEAD, Method::PUT, Method::OPTIONS] {
        with(method, &[FRESH], Err(NotStored::Method));
    }
    let here = ("content-location", "/x");
    with(Method::POST, &[FRESH, here], Ok(()));
    with(Method::POST, &[FRESH, ("content-location", "https://a.example/%78")], Ok(()));
    with(Method::POST, &[FRESH], Err(NotStored::PostNotGet));
    with(Method::POST, &[FRESH, ("content-location", "/y")], Err(NotStored::PostNotGet));
    with(Method::POST, &[FRESH, ("content-location", "https://b.example/x")], Err(NotStored::PostNotGet));
    with(Method::POST, &[FRESH, here, here], Err(NotStored::PostNotGet));
    with(Method::POST, &[ETAG, here], Err(NotStored::NoExplicitFreshness));
    let off = Policy { store_post: false, ..Policy::neutral() };
    check(
        Case { method: Method::POST, response: &[FRESH, here], policy: off, ..Case::default() },
        Err(NotStored::Method),
    );
}

#[test]
fn policies() {
    let with = |policy: Policy, response: &[(&'static str, &str)], expected| {
        check(Case { policy, response, ..Case::default() }, expected)
    };
    let cookie = ("set-cookie", "a=b");
    with(Policy::neutral(), &[FRESH, cookie], Ok(()));
    with(Policy::edge(), &[FRESH, cookie], Err(NotStored::SetCookie));
    with(Policy::edge(), &[("cache-control", "max-age=9, no-cache=\"set-cookie\""), cookie], Ok(()));
    with(Policy { set_cookie: SetCookie::Strip, ..Policy::edge() }, &[FRESH, cookie], Ok(()));
    let small = Policy { object_bytes_max: 10, ..Policy::neutral() };
    with(small.clone(), &[FRESH, ("content-length", "10")], Ok(()));
    with(small.clone(), &[FRESH, ("content-length", "11")], Err(NotStored::TooLarge));
    with(small, &[FRESH], Ok(()));
    with(Policy { edge_ttl: EdgeTtl::Default(60), ..Policy::neutral() }, &[], Ok(()));
    let forced = Policy { edge_ttl: EdgeTtl::Override(60), ..Policy::neutral() };
    with(forced.clone(), &[("cache-control", "max-age=0")], Ok(()));
    with(forced, &[("cache-control", "no-store")], Err(NotStored::NoStore));
}

#[test]
fn stored_fields() {
    let response = headers(&[
        ("connection", "a, cache-control"),
        ("a", "1"),
        ("b", "2"),
        ("c", "3"),
        ("d", "4"),
        ("te", "trailers"),
        ("transfer-encoding", "chunked"),
        ("proxy-authenticate", "x"),
        ("age", "3"),
        ("set-cookie", "a=b"),
        ("content-range", "foo"),
        ("cache-control", "max-age=9, no-cache=\"b\", private=\"c\""),
    ]);
    let control = CacheControl::from_headers(&response);
    let mut expected = headers(&[
        ("d", "4"),
        ("set-cookie", "a=b"),
        ("content-range", "foo"),
        ("cache-control", "max-age=9, no-cache=\"b\", private=\"c\""),
    ]);
    assert_eq!(fields_to_store(&response, &control, &Policy::neutral()), expected);
    let strip = Policy { set_cookie: SetCookie::Strip, ..Policy::neutral() };
    expected.remove(HeaderName::from_static("set-cookie"));
    assert_eq!(fields_to_store(&response, &control, &strip), expected);
}

#[test]
fn content_lengths() {
    let length = |value: &str| content_length(&headers(&[("content-length", value)]));
    assert_eq!(length("0"), Some(0));
    assert_eq!(length("1234"), Some(1234));
    assert_eq!(length("9999999999999999999"), Some(9_999_999_999_999_999_999));
    for value in ["", "-1", "+1", "1, 1", "0x1", "99999999999999999999"] {
        assert_eq!(length(value), None, "{value}");
    }
}

#[test]
fn what_an_operator_disregards() {
    let all = Disregard { no_store: true, private: true, no_cache: true };
    let over = Policy { edge_ttl: EdgeTtl::Override(60), disregard: all, ..Policy::edge() };
    let with = |policy: &Policy, status, response: &[(&'static str, &str)], expected| {
        check(Case { policy: policy.clone(), status, response, ..Case::default() }, expected)
    };
    let cc = |value| [("cache-control", value)];
    for told in ["no-store", "private", "no-cache", "no-store, private, no-cache, max-age=0"] {
        with(&over, 200, &cc(told), Ok(()));
    }
    // Only where a lifetime of the operator's takes their place.
    with(&over, 404, &cc("no-store, max-age=9"), Err(NotStored::NoStore));
    with(&Policy { edge_ttl: EdgeTtl::Default(60), ..over.clone() }, 200, &cc("private"), Err(NotStored::Private));
    let some = Policy { disregard: Disregard { no_store: true, ..Disregard::default() }, ..over.clone() };
    with(&some, 200, &cc("no-store"), Ok(()));
    with(&some, 200, &cc("no-store, private"), Err(NotStored::Private));
    // Never what protects one visitor from another by other means.
    with(&over, 200, &[("set-cookie", "a=b")], Err(NotStored::SetCookie));
    check(
        Case { policy: over.clone(), request: &[("authorization", "x")], response: &cc("private"), ..Case::default() },
        Err(NotStored::Authorization),
    );
    let update = |value| may_freshen(StatusCode::OK, &headers(&[("cache-control", value)]), &over);
    assert_eq!(update("private"), Ok(()));
    assert_eq!(may_freshen(StatusCode::NOT_FOUND, &headers(&cc("private")), &over), Err(NotStored::Private));
}

#[test]
fn what_keeps_a_site_online_is_stored() {
    let with = |always_online, status, response: &[(&'static str, &str)], expected| {
        let policy = Policy { always_online, ..Policy::edge() };
        check(Case { policy, status, response, ..Case::default() }, expected)
    };
    let useless = Err(NotStored::Useless);
    with(AlwaysOnline::Off, 200, &[], useless);
    with(AlwaysOnline::Obey(9), 200, &[], Ok(()));
    with(AlwaysOnline::Obey(9), 200, &[("cache-control", "no-cache")], useless);
    with(AlwaysOnline::Always(9), 200, &[("cache-control", "no-cache")], Ok(()));
    with(AlwaysOnline::Always(9), 200, &[("cache-control", "no-store")], Err(NotStored::NoStore));
    with(AlwaysOnline::Always(9), 500, &[("cache-control", "max-age=0")], useless);
}
