//! Sends one reply on an HTTP/2 stream, at the pace of the client's window.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderValue, Response, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::message::{Delivery, End, Reply, ReplyBody, ReplyFields, StreamBody, poll_frame};
use crate::timer::LazyTimer;
use crate::tunnel::{self, Duplex};

/// A body up to this size is handed to `h2` whole where the window does not allow it yet: it is shared with the store
/// or small, and streams are bounded.
const HAND_OVER_BYTES_MAX: usize = 16 * 1024;

fn head_of(reply: &mut Reply) -> Response<()> {
    let fields = std::mem::replace(&mut reply.fields, ReplyFields::Owned(http::HeaderMap::new()));
    let mut headers = match fields {
        ReplyFields::Owned(map) => map,
        ReplyFields::Frozen(frozen) => frozen.map.clone(),
    };
    for (name, value) in reply.added.drain(..) {
        headers.append(name, value);
    }
    if !headers.contains_key(DATE)
        && let Ok(date) = HeaderValue::from_bytes(&crate::date::now())
    {
        headers.insert(DATE, date);
    }
    let bodiless = matches!(reply.status, StatusCode::NO_CONTENT | StatusCode::SWITCHING_PROTOCOLS);
    let told = reply.body.len().filter(|n| !bodiless && (*n > 0 || reply.status != StatusCode::NOT_MODIFIED));
    headers.remove(CONTENT_LENGTH);
    if let Some(length) = told {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    for hop in [http::header::CONNECTION, http::header::TRANSFER_ENCODING, http::header::UPGRADE] {
        headers.remove(hop);
    }
    let mut response = Response::new(());
    *response.version_mut() = Version::HTTP_2;
    // RFC 8441 section 5: a tunnel is accepted by 200, not by 101.
    *response.status_mut() =
        if reply.status == StatusCode::SWITCHING_PROTOCOLS { StatusCode::OK } else { reply.status };
    *response.headers_mut() = headers;
    response
}

/// What the sender of a reply needs besides the reply.
pub(crate) struct StreamContext {
    pub(crate) head_request: bool,
    pub(crate) send_progress: Duration,
    pub(crate) upgrade_idle: Duration,
    /// The receiving half of an extended CONNECT.
    pub(crate) tunnel: Option<RecvStream>,
}

/// Sends `reply` and tells `exchange` how it went.
pub(crate) async fn send_reply<X: Delivery>(
    respond: &mut h2::server::SendResponse<Bytes>,
    mut reply: Reply,
    exchange: &mut X,
    ctx: StreamContext,
) -> End {
    let response = head_of(&mut reply);
    exchange.head_sent();
    let body = if ctx.head_request { ReplyBody::Empty } else { reply.body };
    let ended = body.len() == Some(0) || matches!(body, ReplyBody::Omitted { .. });
    let Ok(mut stream) = respond.send_response(response, ended) else {
        exchange.ended(End::ClientGone);
        return End::ClientGone;
    };
    let end = match body {
        _ if ended => End::Complete,
        ReplyBody::Full(bytes) => send_all(&mut stream, bytes, true, exchange, ctx.send_progress).await,
        ReplyBody::Segments { segments, skip, len } => {
            send_segments(&mut stream, &segments, skip, len, exchange, ctx.send_progress).await
        }
        ReplyBody::Stream { body, len } => send_stream(&mut stream, body, len, exchange, ctx.send_progress).await,
        ReplyBody::Tunnel(origin) => run_tunnel(stream, ctx.tunnel, origin, exchange, ctx.upgrade_idle).await,
        ReplyBody::Empty | ReplyBody::Omitted { .. } => End::Complete,
    };
    if end == End::ClientStalled || end == End::BodyFailed {
        respond.send_reset(if end == End::BodyFailed { Reason::INTERNAL_ERROR } else { Reason::CANCEL });
    }
    exchange.ended(end);
    end
}

async fn send_segments<X: Delivery>(
    stream: &mut SendStream<Bytes>,
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
    stream: &mut SendStream<Bytes>,
    mut body: StreamBody,
    len: Option<u64>,
    exchange: &mut X,
    stall: Duration,
) -> End {
    let mut left = len;
    loop {
        let next = std::future::poll_fn(|cx| {
            if let Poll::Ready(frame) = poll_frame(&mut body, cx) {
                return Poll::Ready(Some(frame));
            }
            // The client may reset the stream while the next piece is awaited.
            stream.poll_reset(cx).map(|_| None)
        })
        .await;
        let Some(next) = next else { return End::ClientGone };
        let frame = match next {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return End::BodyFailed,
            None if left.is_some_and(|n| n > 0) => return End::BodyFailed,
            None => return if stream.send_data(Bytes::new(), true).is_ok() { End::Complete } else { End::ClientGone },
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
                return if stream.send_trailers(trailers).is_ok() { End::Complete } else { End::ClientGone };
            }
        }
    }
}

/// Sends `data` as the window opens.
async fn send_all<X: Delivery>(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    end: bool,
    exchange: &mut X,
    stall: Duration,
) -> End {
    if data.len() <= HAND_OVER_BYTES_MAX && end {
        let n = data.len() as u64;
        if stream.send_data(data, true).is_err() {
            return End::ClientGone;
        }
        exchange.body_sent(n);
        return End::Complete;
    }
    let mut timer = LazyTimer::default();
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let capacity = std::future::poll_fn(|cx| poll_capacity(stream, &mut timer, stall, cx)).await;
        let n = match capacity {
            Ok(n) => n.min(data.len()),
            Err(end) => return end,
        };
        let piece = data.split_to(n);
        if stream.send_data(piece, end && data.is_empty()).is_err() {
            return End::ClientGone;
        }
        exchange.body_sent(n as u64);
    }
    End::Complete
}

fn poll_capacity(
    stream: &mut SendStream<Bytes>,
    timer: &mut LazyTimer,
    stall: Duration,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, End>> {
    let ready = stream.capacity();
    if ready > 0 {
        timer.clear();
        return Poll::Ready(Ok(ready));
    }
    match stream.poll_capacity(cx) {
        Poll::Ready(Some(Ok(n))) if n > 0 => {
            timer.clear();
            return Poll::Ready(Ok(n));
        }
        Poll::Ready(Some(Ok(_))) => {}
        Poll::Ready(_) => return Poll::Ready(Err(End::ClientGone)),
        Poll::Pending => {}
    }
    if !timer.is_set() {
        timer.set(Instant::now() + stall);
    }
    timer.poll_expired(cx).map(|()| Err(End::ClientStalled))
}

async fn run_tunnel<X: Delivery>(
    send: SendStream<Bytes>,
    recv: Option<RecvStream>,
    mut origin: Box<dyn Duplex>,
    exchange: &mut X,
    idle: Duration,
) -> End {
    let Some(recv) = recv else { return End::BodyFailed };
    let mut client = H2Duplex::new(send, recv);
    let sent = tunnel::join(&mut client, &mut *origin, idle).await;
    exchange.body_sent(sent);
    End::Complete
}

/// An HTTP/2 stream as a byte stream.
pub(crate) struct H2Duplex {
    send: SendStream<Bytes>,
    recv: RecvStream,
    front: Bytes,
}

impl H2Duplex {
    pub(crate) fn new(send: SendStream<Bytes>, recv: RecvStream) -> Self {
        Self { send, recv, front: Bytes::new() }
    }
}

impl AsyncRead for H2Duplex {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.front.is_empty() {
            match ready!(this.recv.poll_data(cx)) {
                Some(Ok(data)) => this.front = data,
                Some(Err(_)) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                None => return Poll::Ready(Ok(())),
            }
        }
        let n = this.front.len().min(buf.remaining());
        buf.put_slice(&this.front[..n]);
        this.front.advance(n);
        let _ = this.recv.flow_control().release_capacity(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Duplex {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let gone = || io::Error::from(io::ErrorKind::ConnectionReset);
        this.send.reserve_capacity(buf.len());
        let n = match this.send.capacity() {
            0 => ready!(this.send.poll_capacity(cx)).ok_or_else(gone)?.map_err(|_| gone())?,
            n => n,
        };
        let n = n.min(buf.len());
        this.send.send_data(Bytes::copy_from_slice(&buf[..n]), false).map_err(|_| gone())?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = self.get_mut().send.send_data(Bytes::new(), true);
        Poll::Ready(Ok(()))
    }
}
