//! A connection without a socket, for the fuzz target: what a client sends, in pieces, and what it is told.

use http::StatusCode;

use super::conn::Shared;
use super::frame::Code;
use crate::env::Http2Limits;
use crate::message::Reply;

/// What became of a connection's bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Requests that arrived whole.
    pub requests: usize,
    /// The error code that ended the connection.
    pub failed: Option<u32>,
    /// Bytes queued for the client.
    pub answers: usize,
    /// Bytes that are kept because more must come.
    pub kept: usize,
}

/// Plays the bytes of a client in pieces of `piece` bytes. Every other request is answered at once.
pub fn replay(input: &[u8], piece: usize) -> Replayed {
    let limits = Http2Limits { streams_max: 8, header_list_bytes_max: 2048, resets_max: 20, control_frames_max: 40 };
    let shared = Shared::new(limits);
    let mut inner = shared.lock();
    let mut kept = Vec::new();
    let mut requests = 0;
    for bytes in input.chunks(piece.max(1)) {
        kept.extend_from_slice(bytes);
        loop {
            let (used, opened) = inner.feed(&kept);
            kept.drain(..used);
            let Some(opened) = opened else { break };
            requests += 1;
            if requests % 2 == 0 {
                let reply = Reply::new(StatusCode::NO_CONTENT);
                let sent = inner.send_head(opened.key, true, |out| super::encode::write_head(out, &reply));
                assert!(sent.is_ok(), "a stream that was just opened takes its reply");
                inner.streams.remove(opened.key);
            }
        }
    }
    let failed = inner.failed.map(|Code(code)| code);
    Replayed { requests, failed, answers: inner.out.len(), kept: kept.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h2::frame::{self, PREFACE, flag, kind};

    /// Requests with and without bodies, trailers, padding, CONTINUATION, and the frames around them.
    fn session() -> Vec<u8> {
        let frame = |kind, flags, stream, payload: &[u8]| {
            [&frame::head(payload.len(), kind, flags, stream)[..], payload].concat()
        };
        let get = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        [
            PREFACE.to_vec(),
            frame(kind::SETTINGS, 0, 0, b"\0\x04\0\0\0\x0a\0\x05\0\0\x40\0"),
            frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, get),
            frame(kind::HEADERS, 0, 3, &get[..5]),
            frame(kind::CONTINUATION, flag::END_HEADERS, 3, &get[5..]),
            frame(kind::DATA, flag::PADDED, 3, b"\x01helx"),
            frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 3, b"\0\x01a\x01b"),
            frame(kind::PING, 0, 0, b"12345678"),
            frame(kind::WINDOW_UPDATE, 0, 0, b"\0\x01\0\0"),
            frame(kind::HEADERS, flag::END_HEADERS | flag::PRIORITY, 5, b"\0\0\0\0\x10\x83\x86\x84\xbe\x0f\x0d\x015"),
            frame(kind::DATA, flag::END_STREAM, 5, b"hello"),
            frame(kind::RST_STREAM, 0, 5, &[0, 0, 0, 8]),
            frame(kind::GOAWAY, 0, 0, &[0; 8]),
        ]
        .concat()
    }

    #[test]
    fn a_session_as_it_should_be() {
        let replayed = replay(&session(), usize::MAX);
        assert_eq!((replayed.requests, replayed.failed, replayed.kept), (3, None, 0));
    }

    /// Damaged in every way that one byte can be, and read in pieces.
    #[test]
    fn pieces_do_not_matter() {
        let good = session();
        for at in PREFACE.len()..good.len() {
            for change in [0x01, 0x04, 0x08, 0x20, 0x7f, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= change;
                let whole = replay(&bytes, usize::MAX);
                for piece in [1, 13] {
                    assert_eq!(replay(&bytes, piece), whole, "byte {at} changed by {change:#x}");
                }
            }
        }
    }
}
