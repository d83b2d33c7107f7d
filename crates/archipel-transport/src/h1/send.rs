//! Sends one reply on an HTTP/1 connection: head and as much body as is there in one write, the rest as it comes.

use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use archipel_http::fields::Fields as _;
use bytes::{Buf, Bytes};
use http::header::DATE;
use http::{HeaderMap, Method, StatusCode, Version};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::conn::{Inner, Shared};
use super::encode;
use super::scratch::with_head_buffer;
use crate::message::{Delivery, End, Reply, ReplyBody, ReplyFields, StreamBody, poll_frame};
use crate::tunnel::Duplex;

/// Segments handed to the kernel in one write.
const SLICES_MAX: usize = 16;

/// What the reply needs to know of its request and connection.
#[derive(Clone, Copy)]
pub(crate) struct SendContext {
    pub(crate) head_request: bool,
    pub(crate) version: Version,
    pub(crate) keep_alive: bool,
    pub(crate) trailers_accepted: bool,
    pub(crate) send_progress: Duration,
}

/// What follows a reply.
pub(crate) enum After {
    KeepAlive,
    Close,
    /// Close so that the peer notices: the reply is not whole.
    Abort,
    Tunnel(Box<dyn Duplex>),
}

/// Bytes of a body that are in memory.
pub(crate) enum Source {
    None,
    One(Bytes),
    Many { segments: Arc<[Bytes]>, index: usize, offset: usize, left: u64 },
}

impl Source {
    fn many(segments: Arc<[Bytes]>, skip: u64, len: u64) -> Self {
        let (mut index, mut skip) = (0, skip);
        while let Some(segment) = segments.get(index) {
            if skip < segment.len() as u64 {
                break;
            }
            skip -= segment.len() as u64;
            index += 1;
        }
        Source::Many { segments, index, offset: usize::try_from(skip).unwrap_or(usize::MAX), left: len }
    }

    fn is_empty(&self) -> bool {
        match self {
            Source::None => true,
            Source::One(bytes) => bytes.is_empty(),
            Source::Many { left, .. } => *left == 0,
        }
    }

    fn slices<'a>(&'a self, out: &mut SmallVec<[IoSlice<'a>; SLICES_MAX + 1]>) {
        match self {
            Source::None => {}
            Source::One(bytes) => out.push(IoSlice::new(bytes)),
            Source::Many { segments, index, offset, left } => {
                let (mut offset, mut left) = (*offset, *left);
                for segment in segments[*index..].iter().take(SLICES_MAX) {
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(segment.len() - offset);
                    if n == 0 {
                        break;
                    }
                    out.push(IoSlice::new(&segment[offset..offset + n]));
                    left -= n as u64;
                    offset = 0;
                }
            }
        }
    }

    fn advance(&mut self, mut n: usize) {
        match self {
            Source::None => {}
            Source::One(bytes) => bytes.advance(n),
            Source::Many { segments, index, offset, left } => {
                *left -= n as u64;
                while n > 0 {
                    let here = (segments[*index].len() - *offset).min(n);
                    *offset += here;
                    n -= here;
                    if *offset == segments[*index].len() {
                        *index += 1;
                        *offset = 0;
                    }
                }
            }
        }
    }
}

/// How the body is delimited on this connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delimit {
    Nothing,
    Length(u64),
    Chunked,
    Close,
}

fn delimit(reply: &Reply, ctx: &SendContext) -> Delimit {
    let bodiless = reply.status.is_informational() || matches!(reply.status, StatusCode::NO_CONTENT);
    if bodiless || matches!(reply.body, ReplyBody::Tunnel(_)) {
        return Delimit::Nothing;
    }
    match reply.body.len() {
        // 304 has no body; a length of zero would be read as that of the representation.
        Some(0) if reply.status == StatusCode::NOT_MODIFIED => Delimit::Nothing,
        Some(length) => Delimit::Length(length),
        None if ctx.head_request => Delimit::Nothing,
        None if ctx.version == Version::HTTP_11 => Delimit::Chunked,
        None => Delimit::Close,
    }
}

fn write_head(out: &mut Vec<u8>, reply: &Reply, delimit: Delimit, close: bool, ctx: &SendContext) {
    encode::write_status(out, reply.status);
    match &reply.fields {
        ReplyFields::Owned(map) => encode::write_fields(out, map),
        ReplyFields::Frozen(frozen) => out.extend_from_slice(frozen.lines()),
        ReplyFields::Received(lines) => out.extend_from_slice(lines.as_bytes()),
    }
    for (name, value) in &reply.added {
        encode::write_field(out, name, value);
    }
    if !reply.has(&DATE) {
        out.extend_from_slice(b"date: ");
        out.extend_from_slice(&crate::date::now());
        out.extend_from_slice(b"\r\n");
    }
    match delimit {
        Delimit::Nothing | Delimit::Close => {}
        Delimit::Length(length) => encode::write_length(out, length),
        Delimit::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if reply.status == StatusCode::SWITCHING_PROTOCOLS {
        out.extend_from_slice(b"connection: upgrade\r\n");
    } else if close {
        out.extend_from_slice(b"connection: close\r\n");
    } else if ctx.version == Version::HTTP_10 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Sends `reply` and tells `exchange` how it went.
pub(crate) async fn send_reply<X: Delivery>(
    shared: &Shared,
    reply: &mut Reply,
    exchange: &mut X,
    ctx: SendContext,
) -> After {
    let delimit = delimit(reply, &ctx);
    let close = reply.close || !ctx.keep_alive || delimit == Delimit::Close;
    exchange.head_sent();
    // What is left of a clock for the request's body is not the reply's.
    shared.lock().timer().clear();
    let body = std::mem::replace(&mut reply.body, ReplyBody::Empty);
    let (mut source, stream, tunnel) = match body {
        ReplyBody::Full(bytes) if !ctx.head_request && delimit != Delimit::Nothing => (Source::One(bytes), None, None),
        ReplyBody::Segments { segments, skip, len } if !ctx.head_request => {
            (Source::many(segments, skip, len), None, None)
        }
        ReplyBody::Stream { body, .. } if !ctx.head_request && delimit != Delimit::Nothing => {
            (Source::None, Some(body), None)
        }
        ReplyBody::Tunnel(tunnel) => (Source::None, None, Some(tunnel)),
        _ => (Source::None, None, None),
    };
    let mut head = Some((reply, delimit, close));
    let end = match stream {
        None => poll_all(shared, &mut head, &mut source, exchange, &ctx).await,
        // Boxed, so that a reply that is in memory does not carry the room for it.
        Some(body) => Box::pin(stream_body(shared, head, body, delimit, exchange, &ctx)).await,
    };
    exchange.ended(end);
    match (end, tunnel) {
        (End::Complete, Some(tunnel)) => After::Tunnel(tunnel),
        (End::Complete, None) if close => After::Close,
        (End::Complete, None) => After::KeepAlive,
        _ => {
            if delimit == Delimit::Close {
                shared.lock().reset_on_close();
            }
            After::Abort
        }
    }
}

/// Mutable for the sake of `Send`: a reply's body is no `Sync`.
type PendingHead<'a> = Option<(&'a mut Reply, Delimit, bool)>;

/// Writes the head (if it is still to be written), the queue and `source` to the end.
async fn poll_all<X: Delivery>(
    shared: &Shared,
    head: &mut PendingHead<'_>,
    source: &mut Source,
    exchange: &mut X,
    ctx: &SendContext,
) -> End {
    std::future::poll_fn(|cx| poll_write(cx, &mut shared.lock(), head, source, exchange, ctx)).await
}

fn poll_write<X: Delivery>(
    cx: &mut Context<'_>,
    inner: &mut Inner,
    head: &mut PendingHead<'_>,
    source: &mut Source,
    exchange: &mut X,
    ctx: &SendContext,
) -> Poll<End> {
    if let Some((reply, delimit, close)) = head.take() {
        let first = with_head_buffer(|buffer| {
            write_head(buffer, reply, delimit, close, ctx);
            poll_first(cx, inner, buffer, source, exchange)
        });
        if first.is_err() {
            return Poll::Ready(End::ClientGone);
        }
    }
    while inner.has_queued() || !source.is_empty() {
        let polled = {
            let mut slices = SmallVec::new();
            source.slices(&mut slices);
            inner.poll_write_slices(cx, &slices)
        };
        match polled {
            Poll::Ready(Ok(n)) => {
                inner.timer().clear();
                if n > 0 {
                    source.advance(n);
                    exchange.body_sent(n as u64);
                }
            }
            Poll::Ready(Err(_)) => return Poll::Ready(End::ClientGone),
            Poll::Pending => return poll_stalled(cx, inner, ctx),
        }
    }
    match inner.poll_flush_io(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(End::Complete),
        Poll::Ready(Err(_)) => Poll::Ready(End::ClientGone),
        Poll::Pending => poll_stalled(cx, inner, ctx),
    }
}

/// The common case in one system call; what the socket does not take of the head is queued.
fn poll_first<X: Delivery>(
    cx: &mut Context<'_>,
    inner: &mut Inner,
    head: &[u8],
    source: &mut Source,
    exchange: &mut X,
) -> Result<(), ()> {
    if inner.has_queued() {
        inner.queue(head);
        return Ok(());
    }
    let mut slices: SmallVec<[IoSlice<'_>; SLICES_MAX + 1]> = SmallVec::new();
    slices.push(IoSlice::new(head));
    source.slices(&mut slices);
    let written = match inner.poll_write_slices(cx, &slices) {
        Poll::Ready(Ok(n)) => n,
        Poll::Ready(Err(_)) => return Err(()),
        Poll::Pending => 0,
    };
    drop(slices);
    if written < head.len() {
        inner.queue(&head[written..]);
    } else if written > head.len() {
        source.advance(written - head.len());
        exchange.body_sent((written - head.len()) as u64);
    }
    Ok(())
}

fn poll_stalled(cx: &mut Context<'_>, inner: &mut Inner, ctx: &SendContext) -> Poll<End> {
    if !inner.timer().is_set() {
        inner.timer().set(Instant::now() + ctx.send_progress);
    }
    ready!(inner.timer().poll_expired(cx));
    inner.timer().clear();
    Poll::Ready(End::ClientStalled)
}

async fn stream_body<X: Delivery>(
    shared: &Shared,
    mut head: PendingHead<'_>,
    mut body: StreamBody,
    delimit: Delimit,
    exchange: &mut X,
    ctx: &SendContext,
) -> End {
    let mut left = if let Delimit::Length(n) = delimit { n } else { u64::MAX };
    let mut chunks = 0u64;
    loop {
        let next = std::future::poll_fn(|cx| poll_next(cx, shared, &mut head, &mut body, exchange, ctx)).await;
        let frame = match next {
            Next::Frame(frame) => frame,
            Next::End => return finish(shared, &mut head, delimit, left, chunks, None, exchange, ctx).await,
            Next::Failed => {
                // What is queued of the head still goes out: the client sees which reply broke.
                return End::BodyFailed;
            }
            Next::Stopped(end) => return end,
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                let trailers = frame.into_trailers().ok().filter(|_| ctx.trailers_accepted);
                return finish(shared, &mut head, delimit, left, chunks, trailers, exchange, ctx).await;
            }
        };
        if data.is_empty() {
            continue;
        }
        if data.len() as u64 > left {
            return End::BodyFailed;
        }
        left -= data.len() as u64;
        let mut source = Source::One(data);
        if delimit == Delimit::Chunked {
            queue_chunk(shared, &mut head, &source, chunks, ctx);
            chunks += 1;
        }
        match poll_all(shared, &mut head, &mut source, exchange, ctx).await {
            End::Complete => {}
            end => return end,
        }
    }
}

enum Next {
    Frame(http_body::Frame<Bytes>),
    End,
    Failed,
    Stopped(End),
}

fn poll_next<X: Delivery>(
    cx: &mut Context<'_>,
    shared: &Shared,
    head: &mut PendingHead<'_>,
    body: &mut StreamBody,
    exchange: &mut X,
    ctx: &SendContext,
) -> Poll<Next> {
    match poll_frame(body, cx) {
        Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Next::Frame(frame)),
        Poll::Ready(Some(Err(_))) => return Poll::Ready(Next::Failed),
        Poll::Ready(None) => return Poll::Ready(Next::End),
        Poll::Pending => {}
    }
    let mut inner = shared.lock();
    // Nothing to send yet: what is known goes out now (an event stream's head must not wait for its first event).
    if head.is_some() || inner.has_queued() {
        match poll_write(cx, &mut inner, head, &mut Source::None, exchange, ctx) {
            Poll::Ready(End::Complete) => {}
            Poll::Ready(end) => return Poll::Ready(Next::Stopped(end)),
            Poll::Pending => return Poll::Pending,
        }
    }
    inner.poll_gone(cx).map(|()| Next::Stopped(End::ClientGone))
}

/// Queues the head (once) and the header of the next chunk.
fn queue_chunk(shared: &Shared, head: &mut PendingHead<'_>, source: &Source, chunks: u64, ctx: &SendContext) {
    let Source::One(data) = source else { return };
    let mut inner = shared.lock();
    with_head_buffer(|buffer| {
        if let Some((reply, delimit, close)) = head.take() {
            write_head(buffer, reply, delimit, close, ctx);
        } else if chunks > 0 {
            buffer.extend_from_slice(b"\r\n");
        }
        encode::write_chunk_size(buffer, data.len());
        inner.queue(buffer);
    });
}

#[expect(clippy::too_many_arguments, reason = "the end of one state machine, called from two places")]
async fn finish<X: Delivery>(
    shared: &Shared,
    head: &mut PendingHead<'_>,
    delimit: Delimit,
    left: u64,
    chunks: u64,
    trailers: Option<HeaderMap>,
    exchange: &mut X,
    ctx: &SendContext,
) -> End {
    if matches!(delimit, Delimit::Length(_)) && left > 0 {
        return End::BodyFailed;
    }
    if delimit == Delimit::Chunked {
        let mut inner = shared.lock();
        with_head_buffer(|buffer| {
            if let Some((reply, delimit, close)) = head.take() {
                write_head(buffer, reply, delimit, close, ctx);
            } else if chunks > 0 {
                buffer.extend_from_slice(b"\r\n");
            }
            buffer.extend_from_slice(b"0\r\n");
            if let Some(trailers) = &trailers {
                encode::write_fields(buffer, trailers);
            }
            buffer.extend_from_slice(b"\r\n");
            inner.queue(buffer);
        });
    }
    poll_all(shared, head, &mut Source::None, exchange, ctx).await
}

/// Whether a request is a HEAD.
pub(crate) fn is_head(method: &Method) -> bool {
    *method == Method::HEAD
}
