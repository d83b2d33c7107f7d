use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::*;

/// Reads until `end` was read, or the stream ends.
async fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.windows(end.len()).any(|window| window == end) {
        if stream.read_buf(&mut read).await.unwrap() == 0 {
            break;
        }
    }
    read
}

/// Sends `request` to a server of its own, and checks that what comes back has each of `parts`, in their order.
async fn check(request: &[u8], parts: &[&str]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, async move {
        let _ = stopped.await;
    }));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let read = read_until(&mut stream, parts.last().unwrap().as_bytes()).await;
    let text = String::from_utf8_lossy(&read);
    let mut rest = &*text;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is not in {rest:?} of {text:?}"));
        rest = &rest[at + part.len()..];
    }
    drop(stop);
    server.await.unwrap();
}

#[tokio::test]
async fn one_connection_after_another() {
    let request = b"GET /hello.txt HTTP/1.1\r\nHost: a\r\n\r\nHEAD /hello.txt HTTP/1.1\r\nHost: a\r\n\r\n\
        GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let length = "content-length: 30";
    let parts = ["HTTP/1.1 200 OK\r\n", "date: ", length, "\r\n\r\nHello from the sample origin.\nHTTP/1.1 200 OK\r\n"];
    let more = [length, "\r\n\r\nHTTP/1.1 404 Not Found\r\n", "</html>"];
    check(request, &[&parts[..], &more[..]].concat()).await;
}

#[tokio::test]
async fn early_hints_come_before_the_page() {
    let request = b"GET /early HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let hints = ["HTTP/1.1 103 Early Hints\r\n", "link: </style.css>; rel=preload; as=style\r\n"];
    check(request, &[&hints[..], &["\r\n\r\nHTTP/1.1 200 OK\r\n", "You were hinted", "</html>"]].concat()).await;
}

#[tokio::test]
async fn a_chunked_upload_that_waits_for_leave() {
    let request = b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n\
        4\r\n1234\r\n5\r\n56789\r\n0\r\n\r\n";
    check(request, &["200 OK\r\n", "\"bytes\": 9", "\"crc32\": \"cbf43926\"", "}\n"]).await;
}

#[tokio::test]
async fn a_websocket_says_back_and_closes() {
    let mut request = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    // A masked "Hello" and a masked close without a code.
    request.extend([0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    request.extend([0x88, 0x80, 0, 0, 0, 0]);
    let accept = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    check(&request, &["HTTP/1.1 101 Switching Protocols\r\n", accept, "\r\n\r\n", "\u{5}Hello"]).await;
}

#[tokio::test]
async fn events_are_sent_at_once() {
    let request = b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n";
    check(request, &["200 OK\r\n", "text/event-stream", "transfer-encoding: chunked", "id: 1\n", "\n\n"]).await;
}

#[tokio::test]
async fn what_is_not_http_is_told_so() {
    let parts = ["HTTP/1.1 400 Bad Request\r\n", "content-type: text/plain", "connection: close", "\r\n\r\n", ".\n"];
    check(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", &parts).await;
}
