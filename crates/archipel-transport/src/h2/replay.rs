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
