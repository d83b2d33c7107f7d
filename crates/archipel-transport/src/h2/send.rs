//! Sends one reply on an HTTP/2 stream, at the pace of the client's window.

use std::future::poll_fn;
use std::task::{Context, Poll};
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
    let mut timer = LazyTimer::default();
    while !data.is_empty() {
        match poll_fn(|cx| poll_piece(stream, &mut data, end, &mut timer, stall, cx)).await {
            Ok(n) => exchange.body_sent(n as u64),
            Err(end) => return end,
        }
    }
    End::Complete
}

fn poll_piece(
    stream: &StreamRef,
    data: &mut Bytes,
    end: bool,
    timer: &mut LazyTimer,
    stall: Duration,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, End>> {
    if let Poll::Ready(sent) = stream.with(|conn, key| conn.poll_send(key, data, end, cx)) {
        timer.clear();
        return Poll::Ready(sent.map_err(|_| End::ClientGone));
    }
    if !timer.is_set() {
        timer.set(Instant::now() + stall);
    }
    timer.poll_expired(cx).map(|()| Err(End::ClientStalled))
}

async fn run_tunnel<X: Delivery>(
    stream: &StreamRef,
    mut origin: Box<dyn Duplex>,
    exchange: &mut X,
    idle: Duration,
) -> End {
    let mut client = Tunnel::new(stream.clone());
    let sent = tunnel::join(&mut client, &mut *origin, idle).await;
    exchange.body_sent(sent);
    // RFC 8441 section 5: what a reset is to TCP. A tunnel that both sides have ended is not open any more.
    stream.with(|conn, key| conn.reset(key, Code::CANCEL));
    End::Complete
}
