use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Waker};

use archipel_transport::body::RequestBody;
use archipel_transport::conn::{Protocol, Scheme};
use archipel_transport::interim::Interim;
use bytes::{Bytes, BytesMut};
use http::Version;
use http_body::Body;

use super::checksum::Crc32;
use super::events::{self, EVENTS_MAX, Events};
use super::websocket::{Echo, MESSAGE_BYTES_MAX};
use super::*;

/// Tue, 18 Nov 2025 11:20:00 GMT
const STARTED: UnixSeconds = UnixSeconds(1_763_464_800);
const STARTED_TEXT: &str = "Tue, 18 Nov 2025 11:20:00 GMT";
const WORDS_MAX: usize = 4 << 20;

/// A reply, its body read to the end.
struct Got {
    status: u16,
    fields: HeaderMap,
    body: Bytes,
    /// The length that the head tells.
    told: Option<u64>,
    tunnel: bool,
}

impl Got {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn site() -> Sample {
    let mut site = Sample::new(STARTED);
    site.assets = site.assets.at_once();
    site
}

fn request(method: &str, target: &str, fields: &[(&'static str, &str)], body: &[u8]) -> Request {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    Request {
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        version: Version::HTTP_11,
        scheme: Scheme::Http,
        authority: Some(Bytes::from_static(b"sample.test")),
        target: Bytes::copy_from_slice(target.as_bytes()),
        upgrade: headers.get("upgrade").map(|value| Bytes::copy_from_slice(value.as_bytes())),
        headers,
        body: if body.is_empty() { RequestBody::empty() } else { RequestBody::full(Bytes::copy_from_slice(body)) },
        interim: Interim::Discard,
        head_bytes: 0,
    }
}

async fn read(body: ReplyBody) -> Bytes {
    match body {
        ReplyBody::Full(bytes) => bytes,
        ReplyBody::Stream { mut body, .. } => {
            let mut whole = BytesMut::new();
            while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                whole.extend_from_slice(frame.unwrap().data_ref().unwrap());
                assert!(whole.len() <= WORDS_MAX, "a test reads more than it should");
            }
            whole.freeze()
        }
        _ => Bytes::new(),
    }
}

async fn ask_with(site: &Sample, request: Request) -> Got {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let conn = Conn::new(1, address, address, address, None, Protocol::Http1);
    let (reply, _) = site.handle(conn, request).await;
    let mut fields = reply.headers().into_owned();
    fields.extend(reply.added.iter().map(|(name, value)| (name.clone(), value.clone())));
    let told = reply.body.len();
    let tunnel = matches!(reply.body, ReplyBody::Tunnel(_));
    Got { status: reply.status.as_u16(), fields, told, tunnel, body: read(reply.body).await }
}

async fn ask(method: &str, target: &str, fields: &[(&'static str, &str)], body: &[u8]) -> Got {
    ask_with(&site(), request(method, target, fields, body)).await
}

async fn get(target: &str) -> Got {
    ask("GET", target, &[], b"").await
}

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Path, status, type, Cache-Control.
const PATHS: &[(&str, u16, &str, &str)] = &[
    ("/", 200, HTML, "public, max-age=60, stale-while-revalidate=30"),
    ("/?visit=1", 200, HTML, "public, max-age=60, stale-while-revalidate=30"),
    ("/style.css", 200, "text/css; charset=utf-8", "public, max-age=3600"),
    ("/app.js", 200, "text/javascript; charset=utf-8", "public, max-age=3600"),
    ("/logo.svg", 200, "image/svg+xml", "public, max-age=3600"),
    ("/islands.webp", 200, "image/webp", "public, max-age=3600"),
    ("/favicon.ico", 200, "image/x-icon", "public, max-age=3600"),
    ("/hello.txt", 200, TEXT, "public, max-age=3600"),
    ("/robots.txt", 200, TEXT, "public, max-age=3600"),
    ("/api/products", 200, JSON, "public, max-age=30"),
    ("/api/time", 200, JSON, "no-store"),
    ("/api/echo", 200, JSON, "no-store"),
    ("/slow?ms=0", 200, TEXT, "public, max-age=60"),
    ("/slow?ms=soon", 400, TEXT, "no-store"),
    ("/large?mb=1", 200, "application/octet-stream", "public, max-age=3600"),
    ("/large?mb=-1", 400, TEXT, "no-store"),
    ("/upload", 200, HTML, "public, max-age=60"),
    ("/private", 200, TEXT, "private, max-age=60"),
    ("/cookie", 200, TEXT, "public, max-age=60"),
    ("/vary", 200, TEXT, "public, max-age=60"),
    ("/redirect", 302, TEXT, "public, max-age=60"),
    ("/old", 200, TEXT, "public, max-age=1, stale-if-error=300"),
    ("/early", 200, HTML, "no-store"),
    ("/error/500", 500, HTML, "no-store"),
    ("/error/503", 503, HTML, "no-store"),
    ("/error/418", 418, HTML, "no-store"),
    ("/error/200", 404, HTML, "public, max-age=10"),
    ("/error/", 404, HTML, "public, max-age=10"),
    ("/nothing", 404, HTML, "public, max-age=10"),
    ("/style.css/", 404, HTML, "public, max-age=10"),
    ("/ws", 426, TEXT, "no-store"),
];

#[tokio::test]
async fn each_path_has_its_status_type_and_lifetime() {
    for (target, status, content_type, cache_control) in PATHS {
        let got = get(target).await;
        let seen = (got.status, got.field("content-type"), got.field("cache-control"));
        assert_eq!(seen, (*status, *content_type, *cache_control), "{target}");
        assert_eq!(got.field("x-content-type-options"), "nosniff", "{target}");
        assert_eq!(got.told, Some(got.body.len() as u64), "{target}");
    }
}

#[tokio::test]
async fn head_has_the_fields_of_get_and_no_body() {
    for (target, ..) in PATHS.iter().filter(|(target, ..)| *target != "/ws") {
        let (mut get, mut head) = (get(target).await, ask("HEAD", target, &[], b"").await);
        for fields in [&mut get.fields, &mut head.fields] {
            fields.remove("set-cookie");
        }
        assert_eq!((head.status, &head.fields), (get.status, &get.fields), "{target}");
        assert!(head.body.is_empty(), "{target}");
        // What is dated or repeats the method is as long as the moment makes it.
        if !target.starts_with("/api/") {
            assert_eq!(head.told, get.told, "{target}");
        }
    }
    let events = ask("HEAD", "/events", &[], b"").await;
    assert_eq!((events.status, events.told), (200, None));
}

#[tokio::test]
async fn answers_are_numbered() {
    let site = site();
    for number in ["1", "2", "3"] {
        let got = ask_with(&site, request("GET", "/hello.txt", &[], b"")).await;
        assert_eq!(got.field("sample-answer"), number);
    }
}

#[tokio::test]
async fn methods() {
    let cases = [
        ("POST", "/", 405, "GET, HEAD, OPTIONS"),
        ("DELETE", "/api/products", 405, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/", 204, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "*", 204, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/upload", 204, "GET, HEAD, OPTIONS, POST, PUT"),
        ("DELETE", "/upload", 405, "GET, HEAD, OPTIONS, POST, PUT"),
        ("POST", "/ws", 405, "CONNECT, GET, OPTIONS"),
        ("POST", "/nothing", 404, ""),
        ("BREW", "/api/echo", 200, ""),
        ("OPTIONS", "/api/echo", 200, ""),
        ("CONNECT", "other.test:443", 404, ""),
    ];
    for (method, target, status, allow) in cases {
        let got = ask(method, target, &[], b"").await;
        assert_eq!((got.status, got.field("allow")), (status, allow), "{method} {target}");
    }
}

#[tokio::test]
async fn preconditions() {
    let etag = get("/hello.txt").await.field("etag").to_owned();
    assert!(etag.starts_with('"'), "{etag}");
    let weak = format!("W/{etag}");
    let either = format!("\"other\", {etag}");
    let cases: &[(&str, &str, &str, u16)] = &[
        ("GET", "if-none-match", &etag, 304),
        ("HEAD", "if-none-match", &etag, 304),
        ("GET", "if-none-match", &weak, 304),
        ("GET", "if-none-match", &either, 304),
        ("GET", "if-none-match", "*", 304),
        ("GET", "if-none-match", "\"other\"", 200),
        ("GET", "if-match", &etag, 200),
        ("GET", "if-match", "\"other\"", 412),
        ("GET", "if-modified-since", STARTED_TEXT, 304),
        ("GET", "if-modified-since", "Tue, 18 Nov 2025 11:19:59 GMT", 200),
        ("GET", "if-unmodified-since", "Tue, 18 Nov 2025 11:19:59 GMT", 412),
        ("GET", "if-modified-since", "yesterday", 200),
    ];
    for (method, name, value, status) in cases {
        let got = ask(method, "/hello.txt", &[(name, value)], b"").await;
        assert_eq!(got.status, *status, "{method} {name}: {value}");
        if got.status == 304 {
            assert_eq!(got.field("etag"), etag);
            assert_eq!(got.field("cache-control"), "public, max-age=3600");
            assert_eq!(got.field("last-modified"), STARTED_TEXT);
            assert!(got.body.is_empty() && !got.fields.contains_key("content-type"));
        }
    }
    let products = get("/api/products").await;
    let again = ask("GET", "/api/products", &[("if-none-match", products.field("etag"))], b"").await;
    assert_eq!(again.status, 304);
}

async fn check_range(target: &str, fields: &[(&'static str, &str)], status: u16, content_range: &str) {
    let whole = get(target).await;
    let got = ask("GET", target, fields, b"").await;
    assert_eq!((got.status, got.field("content-range")), (status, content_range), "{target} {fields:?}");
    match status {
        206 => {
            let (first, last) = content_range[6..].split_once('/').unwrap().0.split_once('-').unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            assert_eq!(got.body, whole.body[first..=last], "{target} {fields:?}");
            assert_eq!(got.told, Some((last - first + 1) as u64));
            assert_eq!(got.field("etag"), whole.field("etag"));
        }
        200 => assert_eq!(got.body, whole.body),
        _ => assert_eq!(got.field("cache-control"), "no-store"),
    }
}

#[tokio::test]
async fn single_ranges() {
    let large = "/large?mb=1";
    let cases: &[(&str, u16, &str)] = &[
        ("bytes=0-0", 206, "bytes 0-0/1048576"),
        ("bytes=1000-1999", 206, "bytes 1000-1999/1048576"),
        ("bytes=65530-65545", 206, "bytes 65530-65545/1048576"),
        ("bytes=-5", 206, "bytes 1048571-1048575/1048576"),
        ("bytes=1048570-9999999999", 206, "bytes 1048570-1048575/1048576"),
        ("bytes=0-", 206, "bytes 0-1048575/1048576"),
        ("bytes=1048576-", 416, "bytes */1048576"),
        ("bytes=-0", 416, "bytes */1048576"),
        ("bytes=0-0,5-6", 200, ""),
        ("bytes=9-1", 200, ""),
        ("lines=0-1", 200, ""),
    ];
    for (range, status, content_range) in cases {
        check_range(large, &[("range", range)], *status, content_range).await;
    }
    check_range("/hello.txt", &[("range", "bytes=6-9")], 206, "bytes 6-9/30").await;
    check_range(large, &[("range", "bytes=0-9"), ("if-range", "\"large-1-1\"")], 206, "bytes 0-9/1048576").await;
    check_range(large, &[("range", "bytes=0-9"), ("if-range", "\"large-1-2\"")], 200, "").await;
    let head = ask("HEAD", large, &[("range", "bytes=0-9")], b"").await;
    assert_eq!((head.status, head.told, head.field("accept-ranges")), (200, Some(1 << 20), "bytes"));
}

#[tokio::test]
async fn large_is_bounded_and_every_size_begins_alike() {
    assert_eq!(ask("HEAD", "/large", &[], b"").await.told, Some(64 << 20));
    let bounded = ask("HEAD", "/large?mb=99999", &[], b"").await;
    assert_eq!((bounded.told, bounded.field("etag")), (Some(1 << 30), "\"large-1-1024\""));
    assert_eq!(bounded.field("content-disposition"), "attachment; filename=\"archipel-1024mb.bin\"");
    assert_eq!(get("/large?mb=0").await.told, Some(0));
    let (one, two) = (get("/large?mb=1").await, get("/large?mb=2").await);
    assert_eq!(one.body, two.body[..1 << 20]);
    let whole = large::piece(0, 1000);
    for start in 0..40 {
        for end in start..60 {
            assert_eq!(large::piece(start, end), whole[start as usize..end as usize]);
        }
    }
}

#[test]
fn slowness_is_bounded() {
    let cases: [(&[u8], Result<u64, ()>); 7] = [
        (b"", Ok(800)),
        (b"ms=5", Ok(5)),
        (b"visit=x&ms=5&ms=6", Ok(5)),
        (b"ms=99999999", Ok(10_000)),
        (b"xms=5", Ok(800)),
        (b"ms=", Err(())),
        (b"ms=18446744073709551616", Err(())),
    ];
    for (query, expected) in cases {
        assert_eq!(delay::bounded_ms(query).map_err(drop), expected, "{}", String::from_utf8_lossy(query));
    }
}

#[tokio::test]
async fn echo_masks_secrets_and_counts_the_body() {
    let fields = [
        ("authorization", "Bearer secret"),
        ("cookie", "id=secret"),
        ("proxy-authorization", "Basic secret"),
        ("x-one", "1"),
        ("x-two", "a"),
        ("x-two", "b"),
    ];
    let got = ask("PATCH", "/api/echo?a=<b>", &fields, b"12345").await;
    assert!(!got.text().contains("secret"), "{}", got.text());
    let echo = got.json();
    assert_eq!(echo["method"], "PATCH");
    assert_eq!(echo["target"], "/api/echo?a=<b>");
    assert_eq!(echo["version"], "HTTP/1.1");
    assert_eq!(echo["authority"], "sample.test");
    assert_eq!(echo["body_bytes"], 5);
    assert_eq!(echo["headers"]["authorization"], "(masked)");
    assert_eq!(echo["headers"]["x-one"], "1");
    assert_eq!(echo["headers"]["x-two"], serde_json::json!(["a", "b"]));
}

#[tokio::test]
async fn time_is_told_twice_and_alike() {
    let at = std::time::UNIX_EPOCH + Duration::from_millis(1_763_464_800_123);
    let reply = api::time(at);
    let json: serde_json::Value = serde_json::from_slice(&read(reply.body).await).unwrap();
    assert_eq!(json, serde_json::json!({"http_date": STARTED_TEXT, "unix_ms": 1_763_464_800_123_u64}));
}

#[tokio::test]
async fn uploads_are_counted_and_summed() {
    for method in ["POST", "PUT"] {
        let got = ask(method, "/upload", &[("content-type", "text/plain")], b"123456789").await;
        let expected = serde_json::json!({"bytes": 9, "crc32": "cbf43926", "content_type": "text/plain"});
        assert_eq!((got.status, got.json()), (200, expected));
        assert_eq!((got.field("content-type"), got.field("cache-control")), (JSON, "no-store"));
    }
    let nothing = ask("POST", "/upload", &[], b"").await.json();
    assert_eq!(nothing, serde_json::json!({"bytes": 0, "crc32": "00000000", "content_type": null}));
    let browser = [("accept", "text/html,application/xhtml+xml;q=0.9"), ("content-type", "a/<script>&\"'")];
    let page = ask("POST", "/upload", &browser, b"123456789").await;
    assert_eq!(page.field("content-type"), HTML);
    assert!(page.text().contains("9 bytes of a/&lt;script&gt;&amp;&quot;&#39; arrived"), "{}", page.text());
}

#[test]
fn the_checksum_does_not_depend_on_the_pieces() {
    let bytes: Vec<u8> = (0..200_u32).map(|n| (n * 7 % 251) as u8).collect();
    let mut whole = Crc32::default();
    whole.update(&bytes);
    for cut in 0..bytes.len() {
        let mut pieces = Crc32::default();
        pieces.update(&bytes[..cut]);
        pieces.update(&bytes[cut..]);
        assert_eq!(pieces.value(), whole.value(), "cut at {cut}");
    }
}

#[tokio::test]
async fn greetings() {
    let cases = [
        ("", "en"),
        ("fr", "fr"),
        ("DE-at", "de"),
        ("es-MX, es;q=0.9, en;q=0.8", "es"),
        ("en;q=0.5, de;q=0.9", "de"),
        ("it, fr;q=0.3, de;q=0.2", "fr"),
        ("it, *", "en"),
        ("de;q=0", "en"),
        ("de; q=0.7 , fr; q=0.700", "de"),
        ("de;q=x, fr;q=0.2", "fr"),
        ("frisian", "en"),
        (";;;,,,", "en"),
    ];
    for (accepted, language) in cases {
        let got = ask("GET", "/vary", &[("accept-language", accepted)], b"").await;
        assert_eq!(got.field("content-language"), language, "{accepted}");
        assert_eq!(got.field("vary"), "accept-language");
    }
    assert_eq!(get("/vary").await.text(), "Hello, and welcome.\n");
    assert_eq!(ask("GET", "/vary", &[("accept-language", "fr")], b"").await.text(), "Bonjour et bienvenue.\n");
}

#[tokio::test]
async fn what_may_not_be_shared() {
    assert!(get("/cookie").await.field("set-cookie").starts_with("sample="));
    assert_eq!(get("/redirect").await.field("location"), "/hello.txt");
    assert_eq!(get("/error/503").await.field("retry-after"), "30");
    assert_eq!(get("/error/500").await.field("retry-after"), "");
    let failed = ask("GET", "/old?visit=1", &[("sample-fail", "1")], b"").await;
    assert_eq!((failed.status, failed.field("cache-control")), (503, "no-store"));
}

#[tokio::test]
async fn events_come_at_once_and_end() {
    let got = events::reply();
    assert_eq!(got.headers()["content-type"], "text/event-stream; charset=utf-8");
    let ReplyBody::Stream { mut body, len: None } = got.body else { panic!("events are a stream without length") };
    // A tick is due at once, but the runtime's clock must have been looked at.
    let first = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await.unwrap().unwrap();
    assert!(first.data_ref().unwrap().starts_with(b"retry: 3000\nid: 1\ndata: {"));
    let second = body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop()));
    assert!(second.is_pending(), "the second event waits for its second");

    let mut quick = Events::new(Duration::from_millis(1));
    let mut texts = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut quick).poll_frame(cx)).await {
        texts.push(String::from_utf8(frame.unwrap().data_ref().unwrap().to_vec()).unwrap());
    }
    assert_eq!(texts.len(), EVENTS_MAX as usize + 1);
    assert!(texts[59].starts_with("id: 60\n"), "{}", texts[59]);
    assert_eq!(texts[60], events::END);
    assert_eq!(events::event(2, 5), "id: 2\ndata: {\"number\":2,\"of\":60,\"unix_ms\":5}\n\n");
}

#[tokio::test]
async fn websocket_handshakes() {
    let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let (upgrade, version) = (("upgrade", "WebSocket"), ("sec-websocket-version", "13"));
    let good = ask("GET", "/ws", &[upgrade, version, key], b"").await;
    assert_eq!((good.status, good.tunnel), (101, true));
    // The example of RFC 6455 section 1.3.
    assert_eq!(good.field("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(good.field("upgrade"), "websocket");
    let extended = ask("CONNECT", "/ws", &[upgrade, version], b"").await;
    assert_eq!((extended.status, extended.tunnel), (200, true));
    let bad: [(&[(&'static str, &str)], u16); 5] = [
        (&[version, key], 426),
        (&[("upgrade", "h2c"), version, key], 426),
        (&[upgrade, ("sec-websocket-version", "8"), key], 426),
        (&[upgrade, version], 400),
        (&[upgrade, version, ("sec-websocket-key", "short")], 400),
    ];
    for (fields, status) in bad {
        let got = ask("GET", "/ws", fields, b"").await;
        assert_eq!((got.status, got.tunnel), (status, false), "{fields:?}");
        assert_eq!(got.field("sec-websocket-version"), if status == 426 { "13" } else { "" });
    }
}

/// A frame of a client, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> BytesMut {
    let mut frame = BytesMut::from(&[first][..]);
    match payload.len() {
        length @ 0..126 => frame.extend_from_slice(&[0x80 | length as u8]),
        length @ 126..65536 => {
            frame.extend_from_slice(&[0x80 | 126]);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.extend_from_slice(&[0x80 | 127]);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn check_talk(what: &str, said: &[u8], ended: bool, heard: &[u8]) {
    for step in [1, 3, said.len()] {
        let mut echo = Echo::new();
        let mut end = false;
        let mut answer = Vec::new();
        for piece in said.chunks(step) {
            end = echo.hear(BytesMut::from(piece));
            answer.extend(echo.said());
            if end {
                break;
            }
        }
        assert_eq!((answer.as_slice(), end), (heard, ended), "{what}, {step} bytes at a time");
    }
}

#[test]
fn websocket_talk() {
    // RFC 6455 section 5.7: a masked text.
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    check_talk("text", &hello, false, b"\x81\x05Hello");
    let two = [hello, hello].concat();
    check_talk("two texts", &two, false, b"\x81\x05Hello\x81\x05Hello");
    check_talk("binary", &frame(0x82, &[0, 255]), false, &[0x82, 2, 0, 255]);
    let split = [&frame(0x01, b"Hel")[..], &frame(0x80, b"lo")[..]].concat();
    check_talk("fragments", &split, false, b"\x81\x05Hello");
    check_talk("ping", &frame(0x89, b"Hi"), false, b"\x8a\x02Hi");
    check_talk("close", &frame(0x88, &[0x03, 0xe8]), true, &[0x88, 2, 0x03, 0xe8]);
    check_talk("unmasked", b"\x81\x05Hello", true, &[0x88, 2, 0x03, 0xea]);
    check_talk("not UTF-8", &frame(0x81, &[0xff]), true, &[0x88, 2, 0x03, 0xef]);
    check_talk("reserved bit", &frame(0xc1, b"Hello"), true, &[0x88, 2, 0x03, 0xea]);
}

#[test]
fn websocket_messages_are_bounded() {
    let mut echo = Echo::new();
    assert!(!echo.hear(frame(0x82, &vec![7; MESSAGE_BYTES_MAX])));
    assert_eq!(echo.said().len(), MESSAGE_BYTES_MAX + 10);
    assert!(echo.hear(frame(0x82, &vec![7; MESSAGE_BYTES_MAX + 1])));
    assert_eq!(echo.said(), [0x88, 2, 0x03, 0xf1]);
}

#[test]
fn the_pages_need_nothing_from_elsewhere_and_nothing_inline() {
    let index = pages::document(include_bytes!("assets/index.html"));
    let upload = pages::document(include_bytes!("assets/upload.html"));
    for page in [&index, &upload] {
        for banned in ["style=\"", "onclick=", "onload=", "<style", "src=\"http", "href=\"http", "<!-- page -->"] {
            assert!(!page.contains(banned), "{banned}");
        }
        for (name, quoted) in [("href", page.split("href=\"").skip(1)), ("src", page.split("src=\"").skip(1))] {
            for address in quoted.map(|rest| rest.split('"').next().unwrap()) {
                let known = address == "#main"
                    || address == "/nothing"
                    || route::find(&Method::GET, route::split(address.as_bytes()).0) != Ok(Route::Missing);
                assert!(known, "{name}={address} leads nowhere");
            }
        }
    }
    let script = include_str!("assets/app.js");
    for id in script.split("at(\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(index.contains(&format!("id=\"{id}\"")), "the script looks for #{id}");
    }
    for text in [script, include_str!("assets/style.css")] {
        assert!(!text.contains("//cdn") && !text.contains("https://") && !text.contains("url("));
    }
}
