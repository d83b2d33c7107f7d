//! Sends one reply on an HTTP/2 stream, at the pace of the client's window.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::conn::Inner;
use super::encode;
use super::frame::Code;
use super::stream::{StreamRef, Tunnel};
use crate::message::{Delivery, End, Reply, ReplyBody, StreamBody, poll_frame};
use crate::timer::LazyTimer;
use crate::tunnel::{self, Duplex};

/// What the sender of a reply needs besides the reply.
pub(crate) struct SendContext {
    pub(crate) head_request: bool,
    pub(crate) send_progress: Duration,
    pub(crate) upgrade_idle: Duration,
    /// The stream becomes a tunnel if the reply says so (extended CONNECT).
    pub(crate) tunnel: bool,
}

/// Sends a reply and tells the exchange how that went.
pub(crate) async fn send_reply<X: Delivery>(
    stream: &StreamRef,
    reply: Reply,
    exchange: &mut X,
    ctx: SendContext,
) -> End {
    exchange.head_sent();
    let omitted = ctx.head_request || matches!(reply.body, ReplyBody::Omitted { .. });
    let ended = omitted || reply.body.is_empty();
    let queued = stream.with(|conn, key| conn.send_head(key, ended, |out| encode::write_head(out, &reply)));
    let end = match reply.body {
        _ if queued.is_err() => End::ClientGone,
        _ if ended => End::Complete,
        ReplyBody::Full(bytes) => send_all(stream, bytes, true, exchange, ctx.send_progress).await,
        ReplyBody::Segments { segments, skip, len } => {
            send_segments(stream, &segments, skip, len, exchange, ctx.send_progress).await
        }
        ReplyBody::Stream { body, len } => send_stream(stream, body, len, exchange, ctx.send_progress).await,
        ReplyBody::Tunnel(origin) if ctx.tunnel => run_tunnel(stream, origin, exchange, ctx.upgrade_idle).await,
        ReplyBody::Tunnel(_) => End::BodyFailed,
        ReplyBody::Empty | ReplyBody::Omitted { .. } => End::Complete,
    };
    match end {
        End::ClientStalled => stream.with(|conn, key| conn.reset(key, Code::CANCEL)),
        End::BodyFailed => stream.with(|conn, key| conn.reset(key, Code::INTERNAL_ERROR)),
        End::Complete | End::ClientGone => {}
    }
    exchange.ended(end);
    end
}

async fn send_segments<X: Delivery>(
    stream: &StreamRef,
    segments: &[Bytes],
    mut skip: u64,
    mut left: u64,
    exchange: &mut X,
    stall: Duration,
) -> End {
    for segment in segments {
        if skip >= segment.len() as u64 {
            skip -= segment.len() as u64;
            continue;
        }
        let from = skip as usize;
        skip = 0;
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(segment.len() - from);
        left -= n as u64;
        match send_all(stream, segment.slice(from..from + n), left == 0, exchange, stall).await {
            End::Complete if left > 0 => {}
            end => return end,
        }
    }
    if left > 0 { End::BodyFailed } else { End::Complete }
}

async fn send_stream<X: Delivery>(
    stream: &StreamRef,
    mut body: StreamBody,
    len: Option<u64>,
    exchange: &mut X,
    stall: Duration,
) -> End {
    let mut left = len;
    loop {
        let next = poll_fn(|cx| {
            if let Poll::Ready(frame) = poll_frame(&mut body, cx) {
                return Poll::Ready(Some(frame));
            }
            // The client may reset the stream while the next piece is awaited.
            stream.with(|conn, key| conn.poll_reset(key, cx)).map(|()| None)
        })
        .await;
        let Some(next) = next else { return End::ClientGone };
        let frame = match next {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return End::BodyFailed,
            None if left.is_some_and(|n| n > 0) => return End::BodyFailed,
            None => return if stream.with(Inner::send_end).is_ok() { End::Complete } else { End::ClientGone },
        };
        match frame.into_data() {
            Ok(data) => {
                if let Some(n) = &mut left {
                    match n.checked_sub(data.len() as u64) {
                        Some(rest) => *n = rest,
                        None => return End::BodyFailed,
                    }
                }
                let last = left == Some(0);
                match send_all(stream, data, last, exchange, stall).await {
                    End::Complete if last => return End::Complete,
                    End::Complete => {}
                    end => return end,
                }
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                let sent = stream.with(|conn, key| conn.send_trailers(key, &trailers));
                return if sent.is_ok() { End::Complete } else { End::ClientGone };
            }
        }
    }
}

/// Sends `data` as the windows open.
async fn send_all<X: Delivery>(
    stream: &StreamRef,
    mut data: Bytes,
    end: bool,
    exchange: &mut X,
    stall: Duration,
) -> End {
    if data.is_empty() {
        let sent = if end { stream.with(Inner::send_end) } else { Ok(()) };
        return if sent.is_ok() { End::Complete } else { End::ClientGone };
    }
    let mut patience = Patience { timer: LazyTimer::default(), others: None, stall };
    while !data.is_empty() {
        match poll_fn(|cx| poll_piece(stream, &mut data, end, &mut patience, cx)).await {
            Ok(n) => exchange.body_sent(n as u64),
            Err(end) => return end,
        }
    }
    End::Complete
}

/// How long a stream waits until its client counts as one that takes nothing.
struct Patience {
    timer: LazyTimer,
    /// What the connection had sent of bodies when the timer was set, if it was the connection that held the stream up.
    others: Option<u64>,
    stall: Duration,
}

impl Patience {
    fn poll(&mut self, stream: &StreamRef, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.timer.is_set() {
                ready!(self.timer.poll_expired(cx));
                // A client that takes the other replies is slow, not stalled: this one has its turn.
                let others = stream.with(Inner::waits_for_others);
                if others.is_none() || others == self.others {
                    return Poll::Ready(());
                }
            }
            self.others = stream.with(Inner::waits_for_others);
            self.timer.set(Instant::now() + self.stall);
        }
    }
}

fn poll_piece(
    stream: &StreamRef,
    data: &mut Bytes,
    end: bool,
    patience: &mut Patience,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, End>> {
    if let Poll::Ready(sent) = stream.with(|conn, key| conn.poll_send(key, data, end, cx)) {
        patience.timer.clear();
        return Poll::Ready(sent.map_err(|_| End::ClientGone));
    }
    patience.poll(stream, cx).map(|()| Err(End::ClientStalled))
}

async fn run_tunnel<X: Delivery>(
    stream: &StreamRef,
    mut origin: Box<dyn Duplex>,
    exchange: &mut X,
    idle: Duration,
) -> End {
    let mut client = Tunnel::new(stream.clone());
    let sent = {
        let mut joined = pin!(tunnel::join(&mut client, &mut *origin, idle));
        poll_fn(|cx| {
            if let Poll::Ready(sent) = joined.as_mut().poll(cx) {
                return Poll::Ready(sent);
            }
            // The client may go while only the origin's word is awaited.
            stream.with(|conn, key| conn.poll_gone(key, cx)).map(|()| 0)
        })
        .await
    };
    exchange.body_sent(sent);
    // RFC 8441 section 5: what a reset is to TCP. A tunnel that both sides have ended is not open any more.
    stream.with(|conn, key| conn.reset(key, Code::CANCEL));
    End::Complete
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::env::Http2Limits;
    use crate::h2::conn::Shared;
    use crate::h2::frame::{self, PREFACE, flag, kind};
    use crate::h2::stream::StreamTask;

    /// A stream whose client has a window of `window` bytes for it.
    fn stream(window: u32) -> StreamTask {
        let limits = Http2Limits { streams_max: 4, header_list_bytes_max: 1024, resets_max: 5, control_frames_max: 8 };
        let shared = Arc::new(Shared::new(limits));
        let mut input = PREFACE.to_vec();
        frame::write_settings(&mut input, &[(frame::setting::INITIAL_WINDOW, window)]);
        let get = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
        input.extend(frame::head(get.len(), kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1));
        input.extend(get);
        let (_, opened) = shared.lock().feed(&input);
        StreamTask::new(shared, opened.expect("a request").key)
    }

    #[tokio::test]
    async fn a_stream_that_waits_for_others_is_not_stalled() {
        for (window, waits) in [(0, None), (10, Some(7))] {
            let task = stream(window);
            let stream = task.stream();
            let mut patience = Patience { timer: LazyTimer::default(), others: None, stall: Duration::from_millis(1) };
            let mut first = true;
            // Another stream is sent something after the timer was set, and then no more.
            poll_fn(|cx| {
                let polled = patience.poll(stream, cx);
                if std::mem::take(&mut first) && polled.is_pending() {
                    stream.with(|conn, _| conn.body_bytes += 7);
                }
                polled
            })
            .await;
            assert_eq!(patience.others, waits, "what it knew of the others when it gave up");
        }
    }
}
