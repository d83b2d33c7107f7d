//! Tables for `coding`.

use super::*;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

const ALL: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

#[track_caller]
fn check_choice(lines: &[&str], expected: &str) {
    let mut request = HeaderMap::new();
    for line in lines {
        request.append("accept-encoding", line.parse().unwrap());
    }
    let choice = Accepted::of(&request).choose(&ALL);
    assert_eq!(choice.map_or("identity", Coding::as_str), expected, "{lines:?}");
}

#[test]
fn choices() {
    check_choice(&[], "identity");
    check_choice(&[""], "identity");
    check_choice(&["gzip"], "gzip");
    check_choice(&["x-gzip"], "gzip");
    check_choice(&["X-GZip"], "gzip");
    check_choice(&["gzip, deflate, br"], "br");
    check_choice(&["gzip, deflate, br, zstd"], "br");
    check_choice(&["gzip, deflate", "zstd"], "zstd");
    check_choice(&["gzip;q=1, br;q=0.9"], "gzip");
    check_choice(&["gzip;q=0.5,br;q=0.5 , zstd;q=0.501"], "zstd");
    check_choice(&["deflate, compress"], "identity");
    check_choice(&["identity"], "identity");
    check_choice(&["identity, gzip"], "gzip");
    check_choice(&["identity;q=0.9, gzip;q=0.5"], "identity");
    check_choice(&["identity;q=0.5, gzip;q=1.0"], "gzip");
    check_choice(&["identity;q=0"], "identity");
    check_choice(&["identity;q=0, gzip;q=0"], "identity");
    check_choice(&["*"], "br");
    check_choice(&["*;q=0"], "identity");
    check_choice(&["*;q=0, gzip"], "gzip");
    check_choice(&["br;q=0, *"], "zstd");
    check_choice(&["gzip;q=0"], "identity");
    check_choice(&["gzip;q=0, gzip"], "identity");
    check_choice(&["gzip;q=0.001"], "gzip");
    check_choice(&["gzip;q=1.001"], "identity");
    check_choice(&["gzip;q=high, br"], "br");
    check_choice(&["gzip;level=9, br"], "br");
    check_choice(&["gzip\"", "\"br, zstd"], "zstd");
    check_choice(&["dcb, dcz"], "identity");
    let many = format!("{}gzip", "a, ".repeat(ACCEPT_ENCODING_MEMBERS_MAX));
    check_choice(&[&many], "identity");
    assert!(Accepted::of(&headers(&[("accept-encoding", "gzip, dcz")])).accepts_dictionary());
    assert!(!Accepted::of(&headers(&[("accept-encoding", "gzip, dcz;q=0, *")])).accepts_dictionary());
}

#[test]
fn what_is_asked_of_the_origin() {
    assert_eq!(accept_encoding(&[]), None);
    assert_eq!(accept_encoding(&[Coding::Brotli, Coding::Gzip]).unwrap(), "br, gzip");
}

#[test]
fn content_codings() {
    let check = |value: &str, expected| {
        assert_eq!(ContentCoding::of(&headers(&[("content-encoding", value)])), expected, "{value}");
    };
    assert_eq!(ContentCoding::of(&HeaderMap::new()), ContentCoding::None);
    check("", ContentCoding::None);
    check("identity", ContentCoding::None);
    check("GZIP", ContentCoding::One(Coding::Gzip));
    check("x-gzip", ContentCoding::One(Coding::Gzip));
    check("gzip, identity", ContentCoding::One(Coding::Gzip));
    check("gzip, gzip", ContentCoding::Other);
    check("br, gzip", ContentCoding::Other);
    check("deflate", ContentCoding::Other);
    check("aes128gcm", ContentCoding::Other);
}

#[test]
fn media_types() {
    let types = MediaTypes::new(["text/*", "application/json", "*+xml"].map(Box::from));
    let check = |value: &str, expected| {
        assert_eq!(types.contains(value.as_bytes()), expected, "{value}");
    };
    check("text/html; charset=utf-8", true);
    check("Text/HTML", true);
    check(" text/css ;a=b", true);
    check("text/event-stream", false);
    check("application/json", true);
    check("application/json5", false);
    check("application/ld+json", false);
    check("image/svg+xml", true);
    check("IMAGE/SVG+XML;x", true);
    check("image/png", false);
    check("", false);
    check("text", false);
    let named = MediaTypes::new(["text/event-stream".into()]);
    assert!(named.contains(b"text/event-stream;charset=utf-8"));
    for (text, good) in [
        ("text/html", true),
        ("text/*", true),
        ("*+json", true),
        ("*/*", false),
        ("*", false),
        ("text", false),
        ("text/", false),
        ("text/html; q=1", false),
        ("*+", false),
    ] {
        assert_eq!(MediaTypes::is_pattern(text), good, "{text}");
    }
}

#[track_caller]
fn check_may_code(status: u16, fields: &[(&'static str, &str)], length: Option<u64>, expected: Result<(), NotCoded>) {
    let rules = CodingRules { types: MediaTypes::new(["text/html".into()]), bytes_min: 100, bytes_max: 1000 };
    let mut response = headers(&[("content-type", "text/html")]);
    response.extend(headers(fields));
    let status = StatusCode::from_u16(status).unwrap();
    assert_eq!(may_code(status, &response, length, &rules), expected, "{status} {fields:?} {length:?}");
}

#[test]
fn what_may_be_coded() {
    check_may_code(200, &[], None, Ok(()));
    check_may_code(200, &[], Some(100), Ok(()));
    check_may_code(404, &[], Some(1000), Ok(()));
    check_may_code(200, &[("content-encoding", "identity")], None, Ok(()));
    check_may_code(200, &[], Some(99), Err(NotCoded::BytesMin));
    check_may_code(200, &[], Some(1001), Err(NotCoded::BytesMax));
    for status in [101, 204, 205, 206, 304] {
        check_may_code(status, &[], None, Err(NotCoded::Status));
    }
    check_may_code(416, &[("content-range", "bytes */10")], None, Err(NotCoded::Status));
    check_may_code(200, &[("content-encoding", "gzip")], None, Err(NotCoded::Coded));
    check_may_code(200, &[("content-encoding", "unheard-of")], None, Err(NotCoded::Coded));
    check_may_code(200, &[("cache-control", "max-age=1, No-Transform")], None, Err(NotCoded::NoTransform));
    check_may_code(200, &[("signature-input", "a=()")], None, Err(NotCoded::Signed));
    check_may_code(200, &[("content-type", "image/png")], None, Err(NotCoded::Type));
}

#[test]
fn fields_of_a_coded_response() {
    let mut response = headers(&[
        ("etag", "\"v1\""),
        ("content-length", "10"),
        ("accept-ranges", "bytes"),
        ("content-md5", "x"),
        ("digest", "x"),
        ("content-digest", "x"),
        ("repr-digest", "x"),
        ("vary", "Origin"),
        ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
    ]);
    recode(&mut response, Some(Coding::Brotli));
    let expected = headers(&[
        ("etag", "W/\"v1\""),
        ("vary", "Origin"),
        ("vary", "Accept-Encoding"),
        ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("content-encoding", "br"),
    ]);
    assert_eq!(response.len(), expected.len());
    for name in expected.keys() {
        assert!(response.get_all(name).iter().eq(expected.get_all(name)), "{name}");
    }
    let again = response.clone();
    recode(&mut response, Some(Coding::Brotli));
    assert_eq!(response, again);
    recode(&mut response, None);
    assert!(!response.contains_key("content-encoding"));
    let mut any = headers(&[("vary", "*")]);
    vary_by_accept_encoding(&mut any);
    assert_eq!(any.len(), 1);
}

#[test]
fn tags_towards_the_origin() {
    let check = |value: &str, expected: Option<&str>| {
        let restored = restored_if_match(&headers(&[("if-match", value)]));
        assert_eq!(restored.as_ref().map(|value| value.to_str().unwrap()), expected, "{value}");
    };
    check("W/\"a\"", Some("\"a\""));
    check("\"a\", W/\"b\"", Some("\"a\", \"b\""));
    check("W/\"a\"b\"", Some("W/\"a\"b\""));
    check("*", None);
    check("\"W/\"", Some("\"W/\""));
    check("\"a\"", None);
    assert_eq!(restored_if_match(&HeaderMap::new()), None);
}

#[test]
fn tags_of_a_304_that_goes_through() {
    let check = |named: &str, etag: &str, expected: &str| {
        let mut reply = headers(&[("etag", etag)]);
        weaken_for(&headers(&[("if-none-match", named)]), &mut reply);
        assert_eq!(reply["etag"], expected, "{named}");
    };
    check("W/\"a\"", "\"a\"", "W/\"a\"");
    check("\"a\"", "\"a\"", "\"a\"");
    check("W/\"a\", \"a\"", "\"a\"", "\"a\"");
    check("W/\"b\"", "\"a\"", "\"a\"");
    check("*", "\"a\"", "\"a\"");
}

#[test]
fn ranges_of_the_bytes_that_the_client_holds() {
    let response = headers(&[("etag", "\"v1\""), ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")]);
    let now = crate::UnixSeconds(1_800_000_000);
    let meta = StoredMeta::build(StatusCode::OK, &response, &crate::Policy::edge(), now, now);
    let check = |fields: &[(&'static str, &str)], expected| {
        assert_eq!(may_serve_ranges(&headers(fields), &meta), expected, "{fields:?}");
    };
    check(&[], true);
    check(&[("if-range", "\"v1\"")], true);
    check(&[("if-range", "W/\"v1\"")], false);
    check(&[("if-range", "\"v2\"")], false);
    check(&[("if-range", "Thu, 01 Jan 2026 00:00:00 GMT")], false);
    check(&[("if-range", "\"v1\""), ("if-range", "\"v1\"")], false);
}
