//! A stream as its task sees it: the body that comes in, the reply that goes out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::conn::{Inner, Shared};
use super::encode;
use super::frame::{self, Code, flag, kind};
use super::streams::{Key, Stream, register};
use crate::body::BodyError;
use crate::timer::LazyTimer;

/// Bytes of a body that are handed out at once.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// The stream cannot be written to any more: it is reset, or its connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

impl Inner {
    fn sending(&mut self, key: Key) -> Result<&mut Stream, Gone> {
        self.streams.get(key).filter(|stream| stream.reset.is_none() && !stream.send_closed).ok_or(Gone)
    }

    fn write_section(&mut self, key: Key, end: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let first = !std::mem::replace(&mut self.section_sent, true);
        let frame_bytes_max = self.frame_bytes_max;
        frame::write_fields(self.out.tail(), key.id, end, frame_bytes_max, |out| {
            if first {
                out.push(encode::NO_TABLE);
            }
            write(out);
        });
        self.wake_task();
    }

    /// Queues the head of the reply.
    pub(crate) fn send_head(&mut self, key: Key, end: bool, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Gone> {
        let stream = self.sending(key)?;
        stream.head_sent = true;
        stream.send_closed = end;
        self.write_section(key, end, write);
        Ok(())
    }

    /// Queues trailers, which end the stream.
    pub(crate) fn send_trailers(&mut self, key: Key, trailers: &HeaderMap) -> Result<(), Gone> {
        self.sending(key)?.send_closed = true;
        self.write_section(key, true, |out| encode::write_map(out, trailers));
        Ok(())
    }

    /// Queues an interim response, unless the final one is sent or the client does not read.
    pub(crate) fn send_interim(&mut self, key: Key, status: StatusCode, fields: &HeaderMap) {
        if self.has_room() && self.sending(key).is_ok_and(|stream| !stream.head_sent) {
            self.write_section(key, false, |out| encode::write_interim(out, status, fields));
        }
    }

    /// Ends our side of the stream.
    pub(crate) fn send_end(&mut self, key: Key) -> Result<(), Gone> {
        self.sending(key)?.send_closed = true;
        self.out.tail().extend_from_slice(&frame::head(0, kind::DATA, flag::END_STREAM, key.id));
        self.wake_task();
        Ok(())
    }

    /// Queues a frame's worth of `data` as the windows allow; `end` with the last of it. Returns the bytes taken.
    pub(crate) fn poll_send(
        &mut self,
        key: Key,
        data: &mut Bytes,
        end: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Gone>> {
        let (window, room, frame_bytes_max) = (self.send_window, self.has_room(), self.frame_bytes_max);
        let Ok(stream) = self.sending(key) else { return Poll::Ready(Err(Gone)) };
        let allowed = stream.send_window.min(window).min(frame_bytes_max as i64);
        if allowed <= 0 || !room {
            register(&mut stream.writer, cx.waker());
            // A stream that its own window holds up does not wait for the connection.
            if stream.send_window > 0 && !std::mem::replace(&mut stream.queued, true) {
                let served = stream.served;
                self.wait(key, served);
            }
            return Poll::Pending;
        }
        let piece = data.split_to(data.len().min(allowed as usize));
        let n = piece.len();
        let last = end && data.is_empty();
        stream.send_window -= n as i64;
        (stream.send_closed, stream.served) = (last, true);
        self.send_window -= n as i64;
        self.body_bytes += n as u64;
        let flags = if last { flag::END_STREAM } else { 0 };
        self.out.tail().extend_from_slice(&frame::head(n, kind::DATA, flags, key.id));
        self.out.push(piece);
        self.wake_task();
        Poll::Ready(Ok(n))
    }

    /// Takes a place in the queue of those that wait for the connection: whoever was sent nothing goes before those that
    /// were, or a large reply would hold up all others until it has ended.
    fn wait(&mut self, key: Key, served: bool) {
        if served {
            self.waiting.push_back(key);
        } else {
            self.waiting.insert(self.unserved, key);
            self.unserved += 1;
        }
    }

    /// Where a stream waits for the connection and not for its own window: how much of bodies was sent on that so far.
    pub(crate) fn waits_for_others(&mut self, key: Key) -> Option<u64> {
        let bytes = self.body_bytes;
        self.sending(key).is_ok_and(|stream| stream.send_window > 0).then_some(bytes)
    }

    /// Ready once the client has reset the stream, or it has ended otherwise.
    pub(crate) fn poll_gone(&mut self, key: Key, cx: &mut Context<'_>) -> Poll<()> {
        match self.streams.get(key).filter(|stream| stream.reset.is_none()) {
            None => Poll::Ready(()),
            Some(stream) => {
                register(&mut stream.writer, cx.waker());
                Poll::Pending
            }
        }
    }

    /// Ready once nobody waits for the reply any more.
    pub(crate) fn poll_reset(&mut self, key: Key, cx: &mut Context<'_>) -> Poll<()> {
        match self.sending(key) {
            Err(Gone) => Poll::Ready(()),
            Ok(stream) => {
                register(&mut stream.writer, cx.waker());
                Poll::Pending
            }
        }
    }

    /// The next piece of what the client sends, then its trailers.
    pub(crate) fn poll_receive(
        &mut self,
        key: Key,
        bytes_max: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let truncated = Poll::Ready(Some(Err(BodyError::Truncated)));
        let Some(stream) = self.streams.get(key).filter(|stream| stream.reset.is_none()) else { return truncated };
        if stream.received.is_empty() {
            if stream.recv_closed {
                return Poll::Ready(stream.trailers.take().map(|trailers| Ok(Frame::trailers(allowed(trailers)))));
            }
            register(&mut stream.reader, cx.waker());
            return Poll::Pending;
        }
        let n = stream.received.len().min(bytes_max);
        let whole = n == stream.received.len();
        let taken = &mut stream.received;
        let piece = if whole { std::mem::take(taken) } else { taken.split_to(n) }.freeze();
        // The window opens as the bytes are taken: the reader's pace is the sender's.
        if let Some(bytes) = stream.owe(n) {
            frame::write_window(self.out.tail(), key.id, bytes);
            self.wake_task();
        }
        self.credit(n);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    /// Nobody reads what the client still sends.
    fn discard(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key) {
            stream.discards = true;
            let unread = std::mem::take(&mut stream.received).len();
            self.credit(unread);
        }
    }

    /// The stream's task is over.
    fn release(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key) {
            // RFC 9113 section 8.1: the reply is whole, and the rest of the request is not wanted.
            let code = if stream.send_closed { Code::NO_ERROR } else { Code::INTERNAL_ERROR };
            self.reset(key, code);
        }
        if let Some(stream) = self.streams.remove(key) {
            self.credit(stream.received.len());
            if stream.queued
                && let Some(at) = self.waiting.iter().position(|waiting| *waiting == key)
            {
                self.waiting.remove(at);
                self.unserved -= usize::from(at < self.unserved);
            }
        }
        if self.streams.is_empty() {
            self.wake_task();
        }
    }
}

fn allowed(trailers: HeaderMap) -> HeaderMap {
    trailers
        .iter()
        .filter(|(name, _)| crate::h1::chunked::is_allowed_trailer(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Finds a stream for as long as it is there.
#[derive(Clone)]
pub(crate) struct StreamRef {
    shared: Arc<Shared>,
    key: Key,
}

impl StreamRef {
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Inner, Key) -> R) -> R {
        f(&mut self.shared.lock(), self.key)
    }
}

/// The task's hold on its stream: the stream ends with it.
pub(crate) struct StreamTask(StreamRef);

impl StreamTask {
    pub(crate) fn new(shared: Arc<Shared>, key: Key) -> Self {
        Self(StreamRef { shared, key })
    }

    pub(crate) fn stream(&self) -> &StreamRef {
        &self.0
    }
}

impl Drop for StreamTask {
    fn drop(&mut self) {
        self.0.with(Inner::release);
    }
}

/// The body of a request.
pub(crate) struct UploadBody {
    stream: StreamRef,
    stall: LazyTimer,
    stall_max: Duration,
    /// The client waits for 100 (Continue).
    continue_owed: bool,
}

impl UploadBody {
    pub(crate) fn new(stream: StreamRef, stall_max: Duration, continue_owed: bool) -> Self {
        Self { stream, stall: LazyTimer::default(), stall_max, continue_owed }
    }

    pub(crate) fn awaits_continue(&self) -> bool {
        self.continue_owed
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if std::mem::take(&mut self.continue_owed) {
            self.stream.with(|conn, key| conn.send_interim(key, StatusCode::CONTINUE, &HeaderMap::new()));
        }
        if let Poll::Ready(frame) = self.stream.with(|conn, key| conn.poll_receive(key, PIECE_BYTES_MAX, cx)) {
            self.stall.clear();
            return Poll::Ready(frame);
        }
        if !self.stall.is_set() {
            self.stall.set(Instant::now() + self.stall_max);
        }
        self.stall.poll_expired(cx).map(|()| Some(Err(BodyError::TimedOut)))
    }
}

impl Drop for UploadBody {
    fn drop(&mut self) {
        self.stream.with(Inner::discard);
    }
}

/// A stream as a byte stream: the client's end of a tunnel.
pub(crate) struct Tunnel(StreamRef);

impl Tunnel {
    pub(crate) fn new(stream: StreamRef) -> Self {
        Self(stream)
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let received = ready!(self.0.with(|conn, key| conn.poll_receive(key, buf.remaining(), cx)));
        match received.map(|received| received.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                buf.put_slice(&data);
                Poll::Ready(Ok(()))
            }
            Some(Err(_)) => Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into())),
            // The end; trailers have no place in a tunnel.
            Some(Ok(Err(_))) | None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let gone = |Gone| std::io::ErrorKind::ConnectionReset.into();
        let mut data = Bytes::copy_from_slice(buf);
        self.0.with(|conn, key| conn.poll_send(key, &mut data, false, cx)).map_err(gone)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let _ = self.0.with(Inner::send_end);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.0.with(Inner::discard);
    }
}
