use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::*;
use crate::h2::encode;
use crate::h2::stream::Gone;

fn limits() -> Http2Limits {
    Http2Limits { streams_max: 4, header_list_bytes_max: 1024, resets_max: 5, control_frames_max: 8 }
}

/// `GET http://a/`
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];
/// `POST http://a/` with `Content-Length: 5`
const POST_5: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'a', 0x0f, 0x0d, 1, b'5'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&frame::head(payload.len(), kind, flags, stream)[..], payload].concat()
}

fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flags | flag::END_HEADERS, stream, block)
}

fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_settings(&mut out, pairs);
    out
}

fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

/// A connection whose greetings are exchanged.
fn greeted() -> Inner {
    let mut inner = Inner::new(limits());
    let (used, opened) = inner.feed(&[PREFACE, &settings(&[])].concat());
    assert!(used == PREFACE.len() + 9 && opened.is_none());
    sent(&mut inner);
    inner
}

/// The frames that wait to be written, taken away: kind, flags, stream, payload.
fn sent(inner: &mut Inner) -> Vec<(u8, u8, u32, Vec<u8>)> {
    struct Sink(Vec<u8>);
    impl tokio::io::AsyncWrite for Sink {
        fn poll_write(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            self.0.extend_from_slice(buf);
            Poll::Ready(Ok(buf.len()))
        }
        fn poll_flush(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
    let mut sink = Sink(Vec::new());
    let _ = inner.out.poll_write(&mut sink, &mut cx(), &mut false);
    let mut rest = &sink.0[..];
    let mut frames = Vec::new();
    while let Some(head) = Head::parse(rest) {
        frames.push((head.kind, head.flags, head.stream, rest[9..9 + head.length].to_vec()));
        rest = &rest[9 + head.length..];
    }
    assert!(rest.is_empty());
    frames
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Opens a stream.
#[track_caller]
fn open(inner: &mut Inner, stream: u32, flags: u8, block: &[u8]) -> Key {
    let input = headers(stream, flags, block);
    let (used, opened) = inner.feed(&input);
    assert_eq!(used, input.len());
    opened.expect("a request").key
}

/// What a connection says to `frames` sent one after the other: `None` nothing, else the stream and the code.
#[track_caller]
fn check(frames: &[Vec<u8>], expected: Option<(u32, Code)>) {
    let mut inner = greeted();
    let mut told = None;
    for bytes in frames {
        // In two pieces: what is cut must be read alike.
        let (first, second) = bytes.split_at(bytes.len() / 2);
        let (used, opened) = inner.feed(first);
        assert!(opened.is_none());
        let whole = [&first[used..], second].concat();
        inner.feed(&whole);
        for (kind, _, stream, payload) in sent(&mut inner) {
            match kind {
                kind::RST_STREAM => told = Some((stream, u32::from_be_bytes(*payload.first_chunk().expect("a code")))),
                kind::GOAWAY => told = Some((0, u32::from_be_bytes(*payload.last_chunk().expect("a code")))),
                _ => {}
            }
        }
    }
    assert_eq!(told, expected.map(|(stream, code)| (stream, code.0)));
}

const END: u8 = flag::END_STREAM;

#[test]
fn faults_of_streams_and_of_connections() {
    let data = |stream, flags, payload: &[u8]| frame(kind::DATA, flags, stream, payload);
    let reset = |stream| frame(kind::RST_STREAM, 0, stream, &8u32.to_be_bytes());
    let connection = |code| Some((0, code));
    check(&[headers(1, END, GET)], None);
    check(&[headers(1, 0, POST_5), data(1, END, b"hello")], None);
    check(&[headers(1, 0, POST_5), data(1, END, b"hell")], Some((1, Code::PROTOCOL_ERROR)));
    check(&[headers(1, 0, POST_5), data(1, 0, b"hello!")], Some((1, Code::PROTOCOL_ERROR)));
    check(&[headers(1, END, POST_5)], Some((1, Code::PROTOCOL_ERROR)));
    check(&[headers(1, END, GET), data(1, 0, b"x")], Some((1, Code::STREAM_CLOSED)));
    check(&[headers(1, 0, GET), reset(1), data(1, 0, b"x")], Some((1, Code::STREAM_CLOSED)));
    check(&[headers(1, 0, GET), reset(1), headers(1, END, GET)], Some((1, Code::STREAM_CLOSED)));
    check(&[headers(2, END, GET)], connection(Code::PROTOCOL_ERROR));
    check(&[headers(5, END, GET), headers(3, END, GET)], connection(Code::PROTOCOL_ERROR));
    check(&[data(1, 0, b"x")], connection(Code::PROTOCOL_ERROR));
    check(&[reset(1)], connection(Code::PROTOCOL_ERROR));
    check(&[window(1, 1)], connection(Code::PROTOCOL_ERROR));
    check(&[headers(1, 0, GET), window(1, 0)], Some((1, Code::PROTOCOL_ERROR)));
    check(&[headers(1, 0, GET), window(1, 0x7fff_ffff)], Some((1, Code::FLOW_CONTROL_ERROR)));
    check(&[window(0, 0x7fff_ffff)], connection(Code::FLOW_CONTROL_ERROR));
    check(&[settings(&[(4, 1 << 31)])], connection(Code::FLOW_CONTROL_ERROR));
    check(&[settings(&[(5, 100)])], connection(Code::PROTOCOL_ERROR));
    check(&[headers(1, END, &[0x80])], connection(Code::COMPRESSION_ERROR));
    check(&[frame(kind::PUSH_PROMISE, 0, 1, b"")], connection(Code::PROTOCOL_ERROR));
    check(&[frame(kind::PING, 0, 0, b"1234567")], connection(Code::FRAME_SIZE_ERROR));
    check(&[frame(kind::CONTINUATION, 4, 1, b"")], connection(Code::PROTOCOL_ERROR));
    check(&[frame(kind::HEADERS, 0, 1, GET), headers(3, END, GET)], connection(Code::PROTOCOL_ERROR));
    check(&[frame(99, 0, 7, b"whatever")], None);
}

#[test]
fn trailers_end_a_request_or_break_it() {
    let trailers = |flags, block: &[u8]| [headers(1, 0, GET), headers(1, flags, block)];
    check(&trailers(END, &[0x00, 1, b'a', 1, b'b']), None);
    check(&trailers(0, &[0x00, 1, b'a', 1, b'b']), Some((1, Code::PROTOCOL_ERROR)));
    check(&trailers(END, &[0x82]), Some((1, Code::PROTOCOL_ERROR)));
    check(&trailers(END, &[0x00, 1, b'A', 1, b'b']), Some((1, Code::PROTOCOL_ERROR)));
}

#[test]
fn requests_that_are_malformed() {
    let refused: [&[u8]; 9] = [
        &[0x86, 0x84, 0x41, 1, b'a'],
        &[0x82, 0x84, 0x41, 1, b'a'],
        &[0x82, 0x86, 0x41, 1, b'a'],
        &[0x82, 0x82, 0x86, 0x84, 0x41, 1, b'a'],
        &[0x82, 0x86, 0x84, 0x00, 1, b'x', 1, b'y', 0x41, 1, b'a'],
        &[0x82, 0x86, 0x84, 0x41, 1, b'a', 0x00, 2, b't', b'e', 1, b'x'],
        &[0x82, 0x86, 0x84, 0x41, 1, b'a', 0x0f, 0x2a, 7, b'c', b'h', b'u', b'n', b'k', b'e', b'd'],
        &[0x82, 0x86, 0x84, 0x88, 0x41, 1, b'a'],
        &[0x82, 0x86, 0x44, 0, 0x41, 1, b'a'],
    ];
    for block in refused {
        check(&[headers(1, END, block)], Some((1, Code::PROTOCOL_ERROR)));
    }
}

#[test]
fn floods_end_the_connection() {
    let calm = Some((0, Code::ENHANCE_YOUR_CALM));
    for (bytes, allowed) in [
        (frame(kind::PING, 0, 0, b"12345678"), 8),
        // The greeting was one of them.
        (settings(&[]), 7),
        (frame(kind::PRIORITY, 0, 9, &[0; 5]), 8),
        (frame(0x42, 0, 0, b""), 8),
    ] {
        let taken = allowed - usize::from(bytes[3] != kind::SETTINGS);
        check(&vec![bytes.clone(); taken], None);
        check(&vec![bytes; taken + 2], calm);
    }
    let empty = frame(kind::DATA, 0, 1, b"");
    check(&[vec![headers(1, 0, GET)], vec![empty; 8]].concat(), calm);
    // Padding gives back what it takes of the windows: it is as empty.
    for padding in [&[0][..], &[3, 0, 0, 0]] {
        let padded = frame(kind::DATA, flag::PADDED, 1, padding);
        check(&[vec![headers(1, 0, GET)], vec![padded; 8]].concat(), calm);
    }
    let reset = |i| frame(kind::RST_STREAM, 0, i, &8u32.to_be_bytes());
    let rapid: Vec<_> = (0..6).flat_map(|i| [headers(1 + 2 * i, END, GET), reset(1 + 2 * i)]).collect();
    check(&rapid, calm);
    let made: Vec<_> = (0..6).flat_map(|i| [headers(1 + 2 * i, 0, GET), window(1 + 2 * i, 0)]).collect();
    check(&made, calm);
    let endless = vec![frame(kind::CONTINUATION, 0, 1, b""); 17];
    check(&[vec![frame(kind::HEADERS, 0, 1, GET)], endless].concat(), calm);
    let large = frame(kind::CONTINUATION, 0, 1, &[0; 2048]);
    check(&[frame(kind::HEADERS, 0, 1, GET), large], calm);
    // Little on the wire, much once decoded: an entry of 100 bytes, and 40 references to it.
    let bomb = [GET, &[0x40, 1, b'x', 67], &[b'y'; 67], &[0xbe; 40]].concat();
    check(&[headers(1, END, &bomb)], calm);
}

#[test]
fn a_little_too_large_is_a_request_to_refuse() {
    let mut inner = greeted();
    let large = [GET, &[0x40, 1, b'x', 67], &[b'y'; 67], &[0xbe; 12]].concat();
    let (_, opened) = inner.feed(&headers(1, END, &large));
    let opened = opened.expect("a request");
    assert!(opened.head.headers.len() < 10 && inner.failed.is_none());
}

#[test]
fn streams_beyond_the_limit_are_refused_until_others_end() {
    let mut inner = greeted();
    let keys: Vec<Key> = (0..4).map(|i| open(&mut inner, 1 + 2 * i, END, GET)).collect();
    inner.feed(&headers(9, END, GET));
    assert_eq!(sent(&mut inner), [(kind::RST_STREAM, 0, 9, Code::REFUSED_STREAM.0.to_be_bytes().to_vec())]);
    assert_eq!(inner.send_head(keys[2], true, |out| out.push(0x89)), Ok(()));
    open(&mut inner, 11, END, GET);
}

#[test]
fn bodies_go_at_the_pace_of_the_windows() {
    let mut inner = greeted();
    inner.feed(&settings(&[(4, 10)]));
    let (a, b) = (open(&mut inner, 1, END, GET), open(&mut inner, 3, END, GET));
    sent(&mut inner);
    for key in [a, b] {
        inner.send_head(key, false, |out| out.push(0x88)).expect("a stream");
    }
    let mut data = Bytes::from(vec![1; 25]);
    assert_eq!(inner.poll_send(a, &mut data, true, &mut cx()), Poll::Ready(Ok(10)));
    assert_eq!(inner.poll_send(a, &mut data, true, &mut cx()), Poll::Pending);
    inner.feed(&window(1, 3));
    assert_eq!(inner.poll_send(a, &mut data, true, &mut cx()), Poll::Ready(Ok(3)));
    // Section 6.9.2: the window falls below zero, and what is allowed then is not yet enough.
    inner.feed(&settings(&[(4, 5)]));
    inner.feed(&window(1, 5));
    assert_eq!(inner.poll_send(a, &mut data, true, &mut cx()), Poll::Pending);
    inner.feed(&window(1, 100));
    assert_eq!(inner.poll_send(a, &mut data, true, &mut cx()), Poll::Ready(Ok(12)));
    assert_eq!(inner.poll_send(a, &mut data, true, &mut cx()), Poll::Ready(Err(Gone)));
    let frames: Vec<_> = sent(&mut inner).into_iter().filter(|f| f.0 == kind::DATA).map(|f| (f.1, f.3.len())).collect();
    assert_eq!(frames, [(0, 10), (0, 3), (END, 12)]);
}

#[test]
fn the_window_of_the_connection_holds_all_streams_up() {
    let mut inner = greeted();
    inner.feed(&settings(&[(4, 1 << 20)]));
    let (a, b) = (open(&mut inner, 1, END, GET), open(&mut inner, 3, END, GET));
    let mut left = 65_535;
    while left > 0 {
        sent(&mut inner);
        let mut data = Bytes::from(vec![0; 20_000]);
        let Poll::Ready(Ok(n)) = inner.poll_send(a, &mut data, false, &mut cx()) else { panic!("no window") };
        left -= n;
    }
    let mut data = Bytes::from_static(b"abc");
    for key in [a, b, b] {
        assert_eq!(inner.poll_send(key, &mut data, true, &mut cx()), Poll::Pending);
    }
    assert_eq!(inner.waiting, [b, a], "each waits once, whoever got nothing first");
    inner.feed(&window(0, 2));
    assert!(inner.waiting.is_empty());
    assert_eq!(inner.poll_send(b, &mut data, true, &mut cx()), Poll::Ready(Ok(2)));
}

#[test]
fn a_client_that_does_not_read_is_not_read() {
    let mut inner = greeted();
    inner.feed(&settings(&[(4, 1 << 20)]));
    inner.feed(&window(0, 1 << 20));
    let a = open(&mut inner, 1, END, GET);
    let mut data = Bytes::from(vec![0; 1 << 20]);
    while inner.poll_send(a, &mut data, true, &mut cx()).is_ready() {}
    assert!(inner.out.len() < OUT_BYTES_MAX + 2 * PAYLOAD_BYTES_MAX);
    let ping = frame(kind::PING, 0, 0, b"12345678");
    assert!(matches!(inner.feed(&ping), (0, None)), "no room for the answer");
    sent(&mut inner);
    assert_eq!(inner.feed(&ping).0, ping.len());
}

#[test]
fn windows_open_as_bodies_are_read() {
    let mut inner = greeted();
    let a = open(&mut inner, 1, 0, GET);
    let piece = vec![7; PAYLOAD_BYTES_MAX];
    for _ in 0..STREAM_WINDOW_BYTES as usize / PAYLOAD_BYTES_MAX {
        inner.feed(&frame(kind::DATA, 0, 1, &piece));
    }
    assert!(sent(&mut inner).is_empty() && inner.failed.is_none(), "nobody has read anything");
    let mut read = 0;
    while let Poll::Ready(Some(Ok(frame))) = inner.poll_receive(a, 10_000, &mut cx()) {
        read += frame.data_ref().expect("data").len();
    }
    assert_eq!(read, STREAM_WINDOW_BYTES as usize);
    let told: u32 = sent(&mut inner)
        .iter()
        .filter(|f| f.0 == kind::WINDOW_UPDATE && f.2 == 1)
        .map(|f| u32::from_be_bytes(*f.3.first_chunk().expect("a number")))
        .sum();
    assert!(told >= STREAM_WINDOW_BYTES / 2);
    inner.feed(&frame(kind::DATA, flag::PADDED, 1, b"\x02abcd"));
    let Poll::Ready(Some(Ok(piece))) = inner.poll_receive(a, 100, &mut cx()) else { panic!("no data") };
    assert_eq!(piece.into_data().expect("data"), "ab");
}

#[test]
fn more_than_the_window_is_a_fault() {
    let mut inner = greeted();
    open(&mut inner, 1, 0, GET);
    let piece = vec![7; PAYLOAD_BYTES_MAX];
    for _ in 0..=STREAM_WINDOW_BYTES as usize / PAYLOAD_BYTES_MAX {
        inner.feed(&frame(kind::DATA, 0, 1, &piece));
    }
    assert_eq!(sent(&mut inner)[0].3, Code::FLOW_CONTROL_ERROR.0.to_be_bytes());
}

/// The window of the connection must come back whatever becomes of the bytes: else it closes for good.
#[test]
fn the_connection_gets_back_what_nobody_reads() {
    let mut inner = greeted();
    let piece = vec![7; PAYLOAD_BYTES_MAX];
    let streams = 2 * CONNECTION_WINDOW_BYTES as usize / PAYLOAD_BYTES_MAX / 3;
    for i in 0..streams as u32 {
        inner.resets = Meter::resets(&limits());
        let key = open(&mut inner, 1 + 2 * i, 0, GET);
        let data = frame(kind::DATA, 0, key.id, &piece);
        inner.feed(&data);
        match i % 3 {
            0 => drop(inner.feed(&frame(kind::RST_STREAM, 0, key.id, &8u32.to_be_bytes()))),
            1 => inner.reset(key, Code::CANCEL),
            _ => {}
        }
        // Two more than anybody may: after a reset they are nobody's, before it they are unread.
        inner.feed(&data);
        inner.feed(&data);
        let unread = inner.streams.remove(key).expect("the stream").received.len();
        inner.credit(unread);
    }
    let told: u32 = sent(&mut inner)
        .iter()
        .filter(|f| f.0 == kind::WINDOW_UPDATE && f.2 == 0)
        .map(|f| u32::from_be_bytes(*f.3.first_chunk().expect("a number")))
        .sum();
    assert_eq!(told + inner.recv_owed, (3 * streams * PAYLOAD_BYTES_MAX) as u32);
    assert!(inner.failed.is_none());
}

#[test]
fn going_in_good_order() {
    let mut inner = greeted();
    open(&mut inner, 1, END, GET);
    inner.go();
    let told = sent(&mut inner);
    assert!(told[0].0 == kind::GOAWAY && told[0].3 == [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    // What the client sent before it heard of it is served.
    let on_its_way = open(&mut inner, 3, END, GET);
    inner.feed(&frame(kind::PING, flag::ACK, 0, &told[1].3));
    assert_eq!(sent(&mut inner)[0].3, [0, 0, 0, 3, 0, 0, 0, 0]);
    let late = headers(5, END, GET);
    assert!(matches!(inner.feed(&late), (n, None) if n == late.len()));
    assert!(!inner.is_done());
    let first = inner.streams.key_of(1).expect("a stream");
    for key in [first, on_its_way] {
        inner.streams.remove(key);
    }
    assert!(inner.is_done());
}

/// RFC 9113 section 5.1: what was on its way when we reset a stream is ignored, until the client shows that it knows.
#[test]
fn what_comes_for_a_stream_that_we_have_reset() {
    let mut inner = greeted();
    let key = open(&mut inner, 1, 0, GET);
    inner.reset(key, Code::NO_ERROR);
    let data = frame(kind::DATA, 0, 1, b"abc");
    for gone in [false, true] {
        inner.feed(&data);
        assert_eq!(sent(&mut inner).len(), usize::from(!gone), "nothing but the reset itself");
        inner.streams.remove(key);
    }
    inner.feed(&[frame(kind::RST_STREAM, 0, 1, &8u32.to_be_bytes()), data].concat());
    assert_eq!(sent(&mut inner), [(kind::RST_STREAM, 0, 1, Code::STREAM_CLOSED.0.to_be_bytes().to_vec())]);
}

#[test]
fn interim_responses_come_before_the_final_one_only() {
    let mut inner = greeted();
    let key = open(&mut inner, 1, END, GET);
    inner.send_interim(key, StatusCode::EARLY_HINTS, &HeaderMap::new());
    inner.send_head(key, true, |out| out.push(0x88)).expect("a stream");
    inner.send_interim(key, StatusCode::EARLY_HINTS, &HeaderMap::new());
    let frames = sent(&mut inner);
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[0].3, [encode::NO_TABLE, 0x08, 3, b'1', b'0', b'3'], "the table is given up once");
    assert_eq!(frames[1].3, [0x88]);
}

#[test]
fn a_name_finds_its_own_stream_or_none() {
    let mut inner = greeted();
    let old = open(&mut inner, 1, END, GET);
    inner.streams.remove(old);
    let new = open(&mut inner, 3, END, GET);
    assert!(inner.streams.get(old).is_none() && inner.streams.get(new).is_some());
    assert_eq!(inner.send_head(old, true, |_| {}), Err(Gone));
    assert!(matches!(inner.poll_receive(old, 1, &mut cx()), Poll::Ready(Some(Err(_)))));
}

/// What is sent to a stream that waits, in the order in which the tasks of the streams run.
#[test]
fn large_replies_share_the_connection() {
    let mut inner = greeted();
    inner.feed(&[settings(&[(4, 1 << 30)]), window(0, 1 << 30)].concat());
    let keys: Vec<Key> = (0..3).map(|i| open(&mut inner, 1 + 2 * i, END, GET)).collect();
    let mut sent_of = [0; 3];
    for round in 0..9 {
        sent(&mut inner);
        let order: Vec<Key> = if round == 0 { keys.clone() } else { inner.waiting.iter().copied().collect() };
        assert_eq!(order.len(), 3, "all wait");
        inner.wake_waiting();
        for key in order {
            let of = keys.iter().position(|k| *k == key).expect("a stream");
            let mut data = Bytes::from(vec![0; 1 << 20]);
            while let Poll::Ready(Ok(n)) = inner.poll_send(key, &mut data, false, &mut cx()) {
                sent_of[of] += n;
            }
        }
    }
    assert_eq!(sent_of[0], sent_of[1]);
    assert_eq!(sent_of[0], sent_of[2]);
}

/// Streams that are reset while they wait leave nothing behind, however long the window stays closed.
#[test]
fn whoever_is_gone_does_not_wait() {
    let shared = std::sync::Arc::new(Shared::new(limits()));
    *shared.lock() = greeted();
    shared.lock().send_window = 0;
    for i in 0..3 {
        let mut inner = shared.lock();
        inner.feed(&settings(&[(4, 100)]));
        let key = open(&mut inner, 1 + 2 * i, END, GET);
        let task = crate::h2::stream::StreamTask::new(shared.clone(), key);
        assert_eq!(inner.poll_send(key, &mut Bytes::from_static(b"abc"), true, &mut cx()), Poll::Pending);
        assert_eq!((inner.waiting.len(), inner.unserved), (1, 1));
        inner.feed(&frame(kind::RST_STREAM, 0, key.id, &8u32.to_be_bytes()));
        drop(inner);
        drop(task);
        let inner = shared.lock();
        assert_eq!((inner.waiting.len(), inner.unserved), (0, 0));
    }
}

/// RFC 9113 section 6.8: the last stream of a GOAWAY never rises.
#[test]
fn an_error_after_the_last_word_names_no_later_stream() {
    let mut inner = greeted();
    open(&mut inner, 1, END, GET);
    inner.go();
    inner.say_last();
    inner.feed(&headers(3, END, GET));
    sent(&mut inner);
    inner.feed(&frame(kind::PING, 0, 0, b""));
    assert_eq!(sent(&mut inner)[0].3, [0, 0, 0, 1, 0, 0, 0, Code::FRAME_SIZE_ERROR.0 as u8]);
}
