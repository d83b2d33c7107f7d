//! The state of one HTTP/1 connection from a client: bytes in, bytes out, and where the body of the current request stands.
//! Only the connection's own task polls it; the lock is for the borrow checker and never contended.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::chunked::{Decoder, Step};
use super::encode;
use super::head::{self, Framing, HeadLimits, RequestHead};
use super::scratch::with_read_buffer;
use crate::body::BodyError;
use crate::env::ServerSettings;
use crate::io::Io;
use crate::refusal::Refusal;
use crate::timer::LazyTimer;

/// Bytes of pipelined requests that are read ahead while an exchange runs.
const READ_AHEAD_BYTES_MAX: usize = 64 * 1024;

/// A connection's state, shared between its task and the body of its current request.
pub struct Shared(Mutex<Inner>);

impl Shared {
    /// The state of a new connection; `initial` are bytes read already. The first request has as long as a handshake,
    /// later ones have the keep-alive time.
    pub(crate) fn begin(io: Io, initial: &[u8], settings: &ServerSettings) -> Arc<Self> {
        let mut inner = Inner::new(io, initial, settings.body_progress);
        inner.set_idle(settings.request_head);
        Arc::new(Self(Mutex::new(inner)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while it was held is caught further up and ends the connection: the state is only dropped after that.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the body of the current request stands.
enum BodyState {
    Done,
    Length(u64),
    Chunked(Decoder),
    /// Malformed, truncated or timed out: the connection is not usable for another request.
    Broken,
}

pub(crate) struct Inner {
    io: Io,
    /// Bytes read and not yet used. Unallocated while the connection is idle.
    rbuf: BytesMut,
    /// Bytes to write that the socket has not taken yet.
    out: BytesMut,
    body: BodyState,
    continue_owed: bool,
    continue_wanted: bool,
    eof: bool,
    /// No request was read yet.
    fresh: bool,
    head_seen: usize,
    timer: LazyTimer,
    body_progress: Duration,
}

/// What came of waiting for a head.
pub(crate) enum HeadEvent {
    Head(Box<RequestHead>),
    /// The peer closed, or was idle for long enough, between requests.
    Closed,
    /// The first bytes are the HTTP/2 preface.
    Preface,
    Refused(Refusal),
}

/// What an HTTP/2 client says first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Inner {
    fn new(io: Io, initial: &[u8], body_progress: Duration) -> Self {
        Self {
            io,
            rbuf: BytesMut::from(initial),
            out: BytesMut::new(),
            body: BodyState::Done,
            continue_owed: false,
            continue_wanted: false,
            eof: false,
            fresh: true,
            head_seen: 0,
            timer: LazyTimer::default(),
            body_progress,
        }
    }

    /// Reads once. With nothing buffered, `direct` may use the bytes in place and says how many remain to be kept.
    fn poll_read_some(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let (io, rbuf) = (&mut self.io, &mut self.rbuf);
        with_read_buffer(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(io).poll_read(cx, &mut buf))?;
            rbuf.extend_from_slice(buf.filled());
            Poll::Ready(Ok(buf.filled().len()))
        })
    }

    /// Waits for the next head. `idle` until its first byte, `request_head` from there on.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        limits: &HeadLimits,
        request_head: Duration,
        ends_idle: bool,
    ) -> Poll<HeadEvent> {
        if let Poll::Ready(Err(_)) = self.poll_flush_out(cx) {
            return Poll::Ready(HeadEvent::Closed);
        }
        loop {
            if self.rbuf.starts_with(PREFACE) && self.fresh {
                return Poll::Ready(HeadEvent::Preface);
            }
            if self.fresh && !self.rbuf.is_empty() && PREFACE.starts_with(&self.rbuf) {
                self.head_seen = self.rbuf.len();
            } else if !self.rbuf.is_empty() {
                match head::take_request(&mut self.rbuf, self.head_seen, limits) {
                    Ok(Some(head)) => return Poll::Ready(self.begin(head)),
                    Ok(None) if self.head_seen == 0 => self.timer.set(Instant::now() + request_head),
                    Ok(None) => {}
                    Err(refusal) => return Poll::Ready(HeadEvent::Refused(refusal)),
                }
                self.head_seen = self.rbuf.len().max(1);
            }
            match self.poll_read_some(cx) {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => {
                    self.eof = true;
                    let partial = self.rbuf.iter().any(|b| !b.is_ascii_whitespace());
                    let event = if partial { HeadEvent::Refused(Refusal::MalformedHead) } else { HeadEvent::Closed };
                    return Poll::Ready(event);
                }
                Poll::Ready(Ok(_)) => {}
                // Only once nothing is there to read: a request that has arrived is answered.
                Poll::Pending if ends_idle && self.rbuf.is_empty() => return Poll::Ready(HeadEvent::Closed),
                Poll::Pending => {
                    ready!(self.timer.poll_expired(cx));
                    self.timer.clear();
                    let event =
                        if self.head_seen > 0 { HeadEvent::Refused(Refusal::HeadTimeout) } else { HeadEvent::Closed };
                    return Poll::Ready(event);
                }
            }
        }
    }

    fn begin(&mut self, head: RequestHead) -> HeadEvent {
        if self.rbuf.is_empty() {
            self.rbuf = BytesMut::new();
        }
        self.head_seen = 0;
        self.fresh = false;
        self.timer.clear();
        self.continue_owed = head.expects_continue && self.rbuf.is_empty();
        self.continue_wanted = head.expects_continue;
        self.body = match head.framing {
            Framing::Length(0) | Framing::UntilClose => BodyState::Done,
            Framing::Length(n) => BodyState::Length(n),
            Framing::Chunked => BodyState::Chunked(Decoder::default()),
        };
        HeadEvent::Head(Box::new(head))
    }

    /// Starts the idle clock between two requests.
    pub(crate) fn set_idle(&mut self, keep_alive: Duration) {
        self.timer.set(Instant::now() + keep_alive);
    }

    pub(crate) fn awaits_continue(&self) -> bool {
        self.continue_wanted && self.continue_owed
    }

    pub(crate) fn body_done(&self) -> bool {
        matches!(self.body, BodyState::Done)
    }

    pub(crate) fn eof(&self) -> bool {
        self.eof
    }

    /// Whether what is left of the request's body could be read away cheaply, so that the connection can be kept.
    pub(crate) fn drainable(&self, bytes_max: u64) -> bool {
        match &self.body {
            BodyState::Done => true,
            // The client may or may not send the body now: there is no telling where the next request begins.
            _ if self.continue_owed => false,
            BodyState::Length(left) => *left <= bytes_max,
            BodyState::Chunked(_) => true,
            BodyState::Broken => false,
        }
    }

    pub(crate) fn queue_interim(&mut self, status: StatusCode, headers: &HeaderMap) {
        let mut head = Vec::with_capacity(64);
        encode::write_status(&mut head, status);
        encode::write_fields(&mut head, headers);
        head.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(&head);
    }

    /// The next piece of the request's body.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.continue_owed {
            self.continue_owed = false;
            if self.rbuf.is_empty() {
                self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
        }
        let _ = self.poll_flush_out(cx);
        loop {
            match self.take_buffered() {
                Ok(Some(frame)) => {
                    self.timer.clear();
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(None) if self.body_done() => {
                    self.timer.clear();
                    return Poll::Ready(None);
                }
                Ok(None) => {}
                Err(error) => {
                    self.body = BodyState::Broken;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            if let Err(error) = ready!(self.poll_more_body(cx)) {
                self.body = BodyState::Broken;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    fn poll_more_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self.poll_read_some(cx) {
            Poll::Ready(Ok(0)) => {
                self.eof = true;
                Poll::Ready(Err(BodyError::Truncated))
            }
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => {
                self.eof = true;
                Poll::Ready(Err(BodyError::Io(error.kind())))
            }
            Poll::Pending => {
                if !self.timer.is_set() {
                    self.timer.set(Instant::now() + self.body_progress);
                }
                ready!(self.timer.poll_expired(cx));
                Poll::Ready(Err(BodyError::TimedOut))
            }
        }
    }

    /// A piece of the body from what is buffered; `None` where more must be read or the body is done.
    fn take_buffered(&mut self) -> Result<Option<Frame<Bytes>>, BodyError> {
        loop {
            match &mut self.body {
                BodyState::Done => return Ok(None),
                BodyState::Broken => return Err(BodyError::Abandoned),
                BodyState::Length(left) => {
                    if self.rbuf.is_empty() {
                        return Ok(None);
                    }
                    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(self.rbuf.len());
                    *left -= n as u64;
                    if *left == 0 {
                        self.body = BodyState::Done;
                    }
                    return Ok(Some(Frame::data(self.take(n))));
                }
                BodyState::Chunked(decoder) => match decoder.step(&self.rbuf) {
                    Err(_) => return Err(BodyError::Malformed(Refusal::MalformedChunk)),
                    Ok(Step::More) => return Ok(None),
                    Ok(Step::Skip(n)) => self.rbuf.advance(n),
                    Ok(Step::Data(n)) => {
                        decoder.consumed(n);
                        return Ok(Some(Frame::data(self.take(n))));
                    }
                    Ok(Step::End(n)) => {
                        let trailers = decoder.take_trailers();
                        self.rbuf.advance(n);
                        self.body = BodyState::Done;
                        return Ok(trailers.map(Frame::trailers));
                    }
                },
            }
        }
    }

    fn take(&mut self, n: usize) -> Bytes {
        if n == self.rbuf.len() { std::mem::take(&mut self.rbuf).freeze() } else { self.rbuf.split_to(n).freeze() }
    }

    /// Ready when the client has gone while its request is being worked on. Reads ahead pipelined requests, bounded.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.body_done() {
            return Poll::Pending;
        }
        while self.rbuf.len() < READ_AHEAD_BYTES_MAX {
            match ready!(self.poll_read_some(cx)) {
                Ok(0) | Err(_) => {
                    self.eof = true;
                    return Poll::Ready(());
                }
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// Writes what is queued in `out`.
    pub(crate) fn poll_flush_out(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.out.is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))?;
            if n == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(n);
        }
        self.out = BytesMut::new();
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Queues bytes behind what is queued already.
    pub(crate) fn queue(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Writes the queue, then `slices`, as far as the socket takes them in one call. Returns bytes taken of `slices`.
    pub(crate) fn poll_write_slices(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        if self.out.is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))?;
            return if n == 0 { Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())) } else { Poll::Ready(Ok(n)) };
        }
        let mut all: smallvec::SmallVec<[IoSlice<'_>; 18]> = smallvec::smallvec![IoSlice::new(&self.out)];
        all.extend(slices.iter().map(|s| IoSlice::new(s)));
        let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &all))?;
        drop(all);
        if n == 0 {
            return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
        }
        let queued = n.min(self.out.len());
        self.out.advance(queued);
        Poll::Ready(Ok(n - queued))
    }

    pub(crate) fn has_queued(&self) -> bool {
        !self.out.is_empty()
    }

    pub(crate) fn poll_flush_io(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    pub(crate) fn timer(&mut self) -> &mut LazyTimer {
        &mut self.timer
    }

    /// Half of an orderly close: tells the peer that nothing more comes.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Reads and drops, for the other half of an orderly close. Ready(0) at the end.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        self.rbuf = BytesMut::new();
        let n = ready!(self.poll_read_some(cx)).unwrap_or(0);
        self.rbuf = BytesMut::new();
        Poll::Ready(n)
    }

    /// Makes the close a reset, so that a body that only the close delimits cannot be taken for complete.
    pub(crate) fn reset_on_close(&mut self) {
        if let Io::Tcp(stream) = &self.io {
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// The stream and the bytes read from it but not used, for a tunnel. What is left here is an empty stream.
    pub(crate) fn take_io(&mut self) -> (Io, Bytes) {
        let io = std::mem::replace(&mut self.io, Io::Other(Box::new(tokio::io::empty())));
        (io, std::mem::take(&mut self.rbuf).freeze())
    }
}
