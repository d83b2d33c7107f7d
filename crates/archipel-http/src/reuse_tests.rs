use super::*;

const NOW: UnixSeconds = UnixSeconds(1_795_364_590);

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn meta(cache_control: &str, policy: &Policy) -> StoredMeta {
    let response = headers(&[("cache-control", cache_control)]);
    StoredMeta::build(StatusCode::OK, &response, policy, NOW, NOW)
}

/// A response stored with these directives, asked for `elapsed` seconds later by a request with those.
#[track_caller]
fn check(response: &str, elapsed: u32, request: &str, expected: Reuse) {
    check_with(&Policy::neutral(), response, elapsed, request, expected);
}

#[track_caller]
fn check_with(policy: &Policy, response: &str, elapsed: u32, request: &str, expected: Reuse) {
    let request_headers = headers(&[("cache-control", request)]);
    let found = decide(&request_headers, &meta(response, policy), policy, NOW.plus(elapsed));
    assert_eq!(found, expected, "{response} after {elapsed} s for {request}");
}

const ASK: fn(Revalidate) -> Reuse = Reuse::Revalidate;

#[test]
fn fresh_and_stale() {
    check("max-age=10", 0, "", Reuse::Fresh { age: 0 });
    check("max-age=10", 9, "nothing-to-see-here", Reuse::Fresh { age: 9 });
    check("max-age=10", 10, "", ASK(Revalidate::Stale));
    check("max-age=0", 0, "", ASK(Revalidate::Stale));
    check("max-age=10, no-cache", 1, "", ASK(Revalidate::NoCache));
    check("max-age=10, no-cache=\"a\"", 1, "", Reuse::Fresh { age: 1 });
    check("max-age=10, must-revalidate", 1, "", Reuse::Fresh { age: 1 });
    check("s-maxage=10, max-age=1", 5, "", Reuse::Fresh { age: 5 });
    check("max-age=2147483648", u32::MAX, "", ASK(Revalidate::Stale));
}

#[test]
fn age_counts() {
    let response = headers(&[("cache-control", "max-age=100"), ("age", "30")]);
    let meta = StoredMeta::build(StatusCode::OK, &response, &Policy::neutral(), NOW, NOW);
    let at = |elapsed| decide(&HeaderMap::new(), &meta, &Policy::neutral(), NOW.plus(elapsed));
    assert_eq!(at(3), Reuse::Fresh { age: 33 });
    assert_eq!(at(70), ASK(Revalidate::Stale));
    assert_eq!(meta.fresh_for(NOW.plus(3)), 67);
    assert_eq!(meta.stale_for(NOW.plus(75)), 5);
}

#[test]
fn stale_while_revalidate() {
    let served = |age| Reuse::StaleWhileRevalidate { age };
    check("max-age=1, stale-while-revalidate=5", 3, "", served(3));
    check("max-age=1, stale-while-revalidate=5", 6, "", ASK(Revalidate::Stale));
    check("max-age=1, stale-while-revalidate=5", 3, "only-if-cached", served(3));
    check("max-age=1, stale-while-revalidate=5", 3, "no-cache", ASK(Revalidate::RequestNoCache));
    check("max-age=1, stale-while-revalidate=5", 3, "max-age=1", ASK(Revalidate::RequestMaxAge));
    check("max-age=1, stale-while-revalidate=5", 3, "min-fresh=1", ASK(Revalidate::Stale));
    check("max-age=1, stale-while-revalidate=5, must-revalidate", 3, "", ASK(Revalidate::Stale));
    check("max-age=1, stale-while-revalidate=5, proxy-revalidate", 3, "", ASK(Revalidate::Stale));
    check("max-age=1, stale-while-revalidate=5, no-cache", 3, "", ASK(Revalidate::NoCache));
    check("s-maxage=1, stale-while-revalidate=5", 3, "", ASK(Revalidate::Stale));
    check_with(&Policy::edge(), "s-maxage=1, stale-while-revalidate=5", 3, "", served(3));
    check_with(&Policy::edge(), "s-maxage=1, stale-while-revalidate=5, must-revalidate", 3, "", ASK(Revalidate::Stale));
    let default = Policy { stale_while_revalidate_default_seconds: Some(9), ..Policy::neutral() };
    check_with(&default, "max-age=1", 3, "", served(3));
    check_with(&default, "max-age=1, stale-while-revalidate=0", 3, "", ASK(Revalidate::Stale));
    check_with(&default, "s-maxage=1", 3, "", ASK(Revalidate::Stale));
}

#[test]
fn request_directives_are_honoured_or_not() {
    check("max-age=10", 3, "no-cache", ASK(Revalidate::RequestNoCache));
    check("max-age=10", 3, "max-age=0", ASK(Revalidate::RequestMaxAge));
    check("max-age=10", 0, "max-age=0", ASK(Revalidate::RequestMaxAge));
    check("max-age=10", 3, "max-age=2", ASK(Revalidate::RequestMaxAge));
    check("max-age=10", 3, "max-age=3", Reuse::Fresh { age: 3 });
    check("max-age=10", 3, "min-fresh=7", Reuse::Fresh { age: 3 });
    check("max-age=10", 3, "min-fresh=8", ASK(Revalidate::RequestMinFresh));
    check("max-age=10", 15, "max-stale", Reuse::Stale { age: 15 });
    check("max-age=10", 15, "max-stale=5", Reuse::Stale { age: 15 });
    check("max-age=10", 16, "max-stale=5", ASK(Revalidate::Stale));
    check("max-age=10, must-revalidate", 15, "max-stale", ASK(Revalidate::Stale));
    check("s-maxage=10", 15, "max-stale", ASK(Revalidate::Stale));
    check("max-age=10", 15, "only-if-cached", Reuse::OnlyIfCached);
    check("max-age=10", 5, "only-if-cached", Reuse::Fresh { age: 5 });
    check("max-age=10", 5, "no-store", Reuse::Fresh { age: 5 });
    check("max-age=10, immutable", 3, "max-age=0", Reuse::Fresh { age: 3 });
    check("max-age=10, immutable", 3, "no-cache", ASK(Revalidate::RequestNoCache));
    check("max-age=10, immutable", 12, "max-age=0", ASK(Revalidate::RequestMaxAge));
    for request in ["no-cache", "max-age=0", "min-fresh=60", "only-if-cached"] {
        check_with(&Policy::edge(), "max-age=10", 3, request, Reuse::Fresh { age: 3 });
    }
    check_with(&Policy::edge(), "max-age=10", 15, "max-stale", ASK(Revalidate::Stale));
    assert!(is_only_if_cached(&headers(&[("cache-control", "only-if-cached")]), &Policy::neutral()));
    assert!(!is_only_if_cached(&headers(&[("cache-control", "only-if-cached")]), &Policy::edge()));
}

#[track_caller]
fn check_error(
    policy: &Policy,
    response: &str,
    elapsed: u32,
    status: Option<u16>,
    expected: Result<u32, StaleRefused>,
) {
    check_error_for(policy, response, elapsed, status, "", expected);
}

#[track_caller]
fn check_error_for(
    policy: &Policy,
    response: &str,
    elapsed: u32,
    status: Option<u16>,
    request: &str,
    expected: Result<u32, StaleRefused>,
) {
    let failure = match status {
        None => OriginFailure::Unreachable,
        Some(status) => OriginFailure::Status(StatusCode::from_u16(status).unwrap()),
    };
    let request = headers(&[("cache-control", request)]);
    let found = may_serve_stale_on_error(&request, &meta(response, policy), failure, policy, NOW.plus(elapsed));
    assert_eq!(found, expected, "{response} after {elapsed} s on {status:?}");
}

#[test]
fn stale_on_error() {
    use StaleRefused as R;
    let neutral = &Policy::neutral();
    check_error(neutral, "max-age=2", 5, None, Ok(5));
    check_error(neutral, "max-age=2", 5, Some(503), Err(R::NotPermitted));
    check_error(neutral, "max-age=2, stale-if-error=60", 5, Some(503), Ok(5));
    check_error(neutral, "max-age=2, stale-if-error=60", 5, Some(500), Ok(5));
    check_error(neutral, "max-age=2, stale-if-error=60", 5, Some(404), Err(R::NotAnError));
    check_error(neutral, "max-age=2, stale-if-error=60", 63, Some(503), Err(R::TooOld));
    check_error(neutral, "max-age=2, stale-if-error=60", 63, None, Ok(63));
    for forbidden in ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=2"] {
        check_error(neutral, &format!("max-age=2, stale-if-error=60, {forbidden}"), 5, None, Err(R::Forbidden));
        check_error(neutral, &format!("max-age=2, {forbidden}"), 5, None, Err(R::Forbidden));
    }
    check_error_for(neutral, "max-age=2", 5, Some(503), "stale-if-error=60", Ok(5));
    check_error_for(neutral, "max-age=2", 5, None, "no-cache", Err(R::Request));
    check_error(&Policy::edge(), "s-maxage=2, stale-if-error=60", 5, Some(503), Ok(5));
    check_error(&Policy::edge(), "max-age=2", 86_403, None, Err(R::TooOld));
    let default = Policy { stale_if_error_default_seconds: Some(30), ..Policy::neutral() };
    check_error(&default, "max-age=2", 5, Some(503), Ok(5));
    check_error(&default, "max-age=2, stale-if-error=1", 5, Some(503), Err(R::TooOld));
    let never = Policy { stale_if_unreachable_seconds: None, ..Policy::neutral() };
    check_error(&never, "max-age=2", 5, None, Err(R::NotPermitted));
}

#[test]
fn conditional_requests() {
    let lm = "Sun, 06 Nov 1994 08:49:37 GMT";
    let response = headers(&[("etag", "W/\"a\""), ("last-modified", lm)]);
    let meta = StoredMeta::build(StatusCode::OK, &response, &Policy::neutral(), NOW, NOW);
    let mut request = headers(&[
        ("if-none-match", "\"client\""),
        ("if-match", "\"client\""),
        ("if-unmodified-since", lm),
        ("if-range", "\"client\""),
        ("range", "bytes=0-1"),
        ("accept", "*/*"),
    ]);
    make_conditional(&mut request, &meta);
    let expected = headers(&[("if-none-match", "W/\"a\""), ("if-modified-since", lm), ("accept", "*/*")]);
    assert_eq!(request, expected);
    make_unconditional(&mut request);
    assert_eq!(request, headers(&[("accept", "*/*")]));
}

#[test]
fn what_is_looked_up() {
    let none = HeaderMap::new();
    let upgrade = headers(&[("connection", "upgrade"), ("upgrade", "websocket")]);
    assert_eq!(may_look_up(&Method::GET, &none), Ok(()));
    assert_eq!(may_look_up(&Method::HEAD, &none), Ok(()));
    assert_eq!(may_look_up(&Method::POST, &none), Err(Bypass::Method));
    assert_eq!(may_look_up(&Method::GET, &upgrade), Err(Bypass::Upgrade));
    assert_eq!(may_look_up(&Method::GET, &headers(&[("upgrade", "h2c")])), Ok(()));
}

#[test]
fn usefulness() {
    let until = |directives: &str| meta(directives, &Policy::neutral()).useful_until().0 - NOW.0;
    assert_eq!(until("max-age=10"), 10);
    assert_eq!(until("max-age=10, stale-if-error=50, stale-while-revalidate=5"), 60);
    assert_eq!(until("max-age=10, stale-if-error=50, must-revalidate"), 10);
}

#[track_caller]
fn check_online(
    policy: &Policy,
    stored: u16,
    response: &str,
    elapsed: u32,
    failure: Option<u16>,
    expected: Result<u32, StaleRefused>,
) {
    let status = |code| StatusCode::from_u16(code).unwrap();
    let failure = failure.map_or(OriginFailure::Unreachable, |code| OriginFailure::Status(status(code)));
    let response_headers = headers(&[("cache-control", response)]);
    let meta = StoredMeta::build(status(stored), &response_headers, policy, NOW, NOW);
    let found = may_serve_always_online(&HeaderMap::new(), &meta, failure, policy, NOW.plus(elapsed));
    assert_eq!(found, expected, "{stored} {response} after {elapsed} s on {failure:?}");
}

#[test]
fn always_online() {
    use StaleRefused as R;
    let with = |always_online| Policy { always_online, ..Policy::edge() };
    let (obey, always) = (&with(AlwaysOnline::Obey(100)), &with(AlwaysOnline::Always(100)));
    check_online(&Policy::edge(), 200, "max-age=2", 5, None, Err(R::NotPermitted));
    for failure in [None, Some(500), Some(501), Some(502), Some(521), Some(599)] {
        check_online(obey, 200, "max-age=2", 102, failure, Ok(102));
        check_online(obey, 200, "max-age=2", 103, failure, Err(R::TooOld));
    }
    check_online(obey, 200, "max-age=2", 5, Some(404), Err(R::NotAnError));
    check_online(obey, 404, "max-age=2", 5, Some(500), Ok(5));
    // An error stands in for no other.
    check_online(always, 503, "max-age=2", 5, Some(500), Err(R::Forbidden));
    for forbidden in ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=2"] {
        check_online(obey, 200, &format!("max-age=2, {forbidden}"), 5, None, Err(R::Forbidden));
        check_online(always, 200, &format!("max-age=2, {forbidden}"), 5, None, Ok(5));
    }
}
