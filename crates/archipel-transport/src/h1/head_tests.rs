use super::*;

#[test]
fn httparse_takes_only_bytes_that_a_field_value_may_hold() {
    for byte in 0..=u8::MAX {
        let mut wire = b"HTTP/1.1 200 OK\r\na: x".to_vec();
        wire.extend_from_slice(&[byte, b'y']);
        wire.extend_from_slice(b"\r\n\r\n");
        let mut slots = [httparse::EMPTY_HEADER; 4];
        let mut parsed = httparse::Response::new(&mut slots);
        let Ok(httparse::Status::Complete(_)) = parsed.parse(&wire) else { continue };
        for field in parsed.headers.iter() {
            assert!(HeaderValue::from_bytes(field.value).is_ok(), "byte {byte:#x}");
        }
    }
}

/// A reply's names are not checked a second time where no map is made of them.
#[test]
fn httparse_takes_only_names_that_a_map_takes() {
    // A line feed alone would end the head.
    for byte in (0..=u8::MAX).filter(|byte| *byte != b'\n') {
        for before in ["", "a"] {
            let mut wire = format!("HTTP/1.1 200 OK\r\n{before}").into_bytes();
            wire.extend_from_slice(&[byte, b':', b'x']);
            wire.extend_from_slice(b"\r\n\r\n");
            let Ok(Some(head)) = parse_response(&wire, 0, 8192) else { continue };
            assert_eq!(head.headers.len(), 1, "byte {byte:#x}");
        }
    }
    assert_eq!(parse_response(b"HTTP/1.1 200 OK\r\n: x\r\n\r\n", 0, 8192).err(), Some(BadResponse::Malformed));
}

#[track_caller]
fn check_response(fields: &str, method: Method, expected: Result<Framing, BadResponse>) {
    let wire = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    let head = parse_response(wire.as_bytes(), 0, 8192).unwrap().unwrap();
    assert_eq!(response_framing(&head, &method), expected, "{fields:?}");
    for framing in ["content-length", "transfer-encoding"] {
        assert!(!head.headers.contains_key(framing), "{fields:?}");
    }
}

#[test]
fn replies_are_framed_in_one_way_or_not_at_all() {
    let bad = Err(BadResponse::Framing);
    for (fields, expected) in [
        ("", Ok(Framing::UntilClose)),
        ("Content-Length: 5\r\n", Ok(Framing::Length(5))),
        ("Content-Length: 5\r\ncontent-length: 5\r\n", Ok(Framing::Length(5))),
        ("Content-Length: 5\r\nContent-Length: 05\r\n", bad),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", bad),
        ("Content-Length: 5, 5\r\n", bad),
        ("Content-Length: +5\r\n", bad),
        ("Content-Length:\r\n", bad),
        ("Transfer-Encoding: Chunked\r\n", Ok(Framing::Chunked)),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", bad),
        ("Transfer-Encoding: gzip, chunked\r\n", bad),
        ("Transfer-Encoding: gzip\r\n", bad),
        ("Transfer-Encoding: xchunked\r\n", bad),
        ("Transfer-Encoding: identity\r\n", Ok(Framing::UntilClose)),
        ("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", bad),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", bad),
        ("Transfer-Encoding: chunked\r\nContent-Length: x\r\n", bad),
    ] {
        check_response(fields, Method::GET, expected);
        check_response(fields, Method::HEAD, Ok(Framing::Length(0)));
    }
    let old = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let head = parse_response(old, 0, 8192).unwrap().unwrap();
    assert_eq!(response_framing(&head, &Method::GET), bad);
}

#[test]
fn a_connection_field_that_names_others_stays() {
    for (value, close, kept) in [
        ("close", true, false),
        ("Keep-Alive", false, false),
        ("keep-alive, CLOSE", true, false),
        ("close, x-hop", true, true),
        ("upgrade", false, true),
        ("", false, true),
    ] {
        let wire = format!("HTTP/1.1 200 OK\r\nConnection: {value}\r\nX-Hop: 1\r\n\r\n");
        let head = parse_response(wire.as_bytes(), 0, 8192).unwrap().unwrap();
        assert_eq!(head.connection.close, close, "{value:?}");
        assert_eq!(head.headers.contains_key("connection"), kept, "{value:?}");
    }
}

#[track_caller]
fn request(fields: &str) -> Result<RequestHead, Refusal> {
    let wire = format!("POST / HTTP/1.1\r\n{fields}\r\n");
    let limits = HeadLimits { head_bytes_max: 8192, fields_max: 32, uri_bytes_max: 1024 };
    parse_request(wire.as_bytes(), 0, &limits).map(Option::unwrap)
}

#[test]
fn requests_are_framed_in_one_way_or_refused() {
    for (fields, expected) in [
        ("", Ok(Framing::Length(0))),
        ("Content-Length: 3\r\n", Ok(Framing::Length(3))),
        ("Content-Length: 3\r\nContent-Length: 3\r\n", Ok(Framing::Length(3))),
        ("Content-Length: 3\r\nContent-Length: 4\r\n", Err(Refusal::BadContentLength)),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", Err(Refusal::ConflictingFraming)),
        ("Content-Length: x\r\nTransfer-Encoding: chunked\r\n", Err(Refusal::BadContentLength)),
        ("Transfer-Encoding: chunked\r\n", Ok(Framing::Chunked)),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", Err(Refusal::BadTransferEncoding)),
        ("Transfer-Encoding: identity\r\n", Err(Refusal::BadTransferEncoding)),
        ("Expect: 100-continue\r\nExpect: 100-continue\r\n", Err(Refusal::BadExpectation)),
        ("Expect: tea\r\n", Err(Refusal::BadExpectation)),
        ("Host: b\r\n", Err(Refusal::BadHost)),
    ] {
        let found = request(&format!("Host: a\r\n{fields}")).map(|head| head.framing);
        assert_eq!(found, expected, "{fields:?}");
    }
    assert_eq!(request("").err(), Some(Refusal::BadHost));
    assert_eq!(request("Host:\r\n").err(), Some(Refusal::BadHost));
}

#[test]
fn what_a_request_tells_of_its_connection() {
    let head = request("host: a.example\r\nTE: gzip, Trailers\r\nConnection: TE\r\nconnection: Close\r\n").unwrap();
    assert_eq!(head.host.as_deref(), Some(&b"a.example"[..]));
    assert!(head.trailers_accepted && !head.keep_alive);
    assert!(head.headers.contains_key("connection") && head.headers.contains_key("host"));
    let upgrade = |fields: &str| request(&format!("Host: a\r\n{fields}")).unwrap().upgrade;
    assert_eq!(upgrade("Upgrade: websocket\r\nConnection: upgrade\r\n").as_deref(), Some(&b"websocket"[..]));
    assert_eq!(upgrade("Upgrade: websocket\r\n"), None);
    assert_eq!(upgrade("Upgrade: websocket\r\nUpgrade: x\r\nConnection: upgrade\r\n"), None);
    assert_eq!(upgrade("Upgrade: h2c\r\nConnection: upgrade\r\n"), None);
    assert_eq!(upgrade("Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 1\r\n"), None);
}

#[test]
fn versions_that_are_not_spoken() {
    for (version, expected) in [
        ("HTTP/1.2", Refusal::UnsupportedVersion),
        ("HTTP/2.0", Refusal::UnsupportedVersion),
        ("HTTP/9.9", Refusal::UnsupportedVersion),
        ("HTTP/0.9", Refusal::MalformedHead),
        ("HTTP/0.8", Refusal::MalformedHead),
        ("HTTP/1.10", Refusal::MalformedHead),
        ("JUNK/1.0", Refusal::MalformedHead),
        ("1.1", Refusal::MalformedHead),
        ("a HTTP/1.1", Refusal::MalformedHead),
    ] {
        let wire = format!("GET / {version}\r\nHost: a\r\n\r\n");
        let limits = HeadLimits { head_bytes_max: 8192, fields_max: 32, uri_bytes_max: 1024 };
        assert_eq!(parse_request(wire.as_bytes(), 0, &limits).err(), Some(expected), "{version}");
    }
}
