//! The body of a request, read on demand: nobody reads ahead of whoever uses it, which is the back-pressure.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;

use crate::h1::conn::Shared;
use crate::refusal::Refusal;

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// The peer closed or reset before the end that it had announced.
    #[error("the body ended before its announced end")]
    Truncated,
    /// The peer sent nothing for too long.
    #[error("no bytes arrived for too long")]
    TimedOut,
    /// The bytes are not framed as announced.
    #[error("the body's framing is malformed")]
    Malformed(Refusal),
    /// More bytes than `body_bytes_max`.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// The connection failed.
    #[error("the connection failed")]
    Io(std::io::ErrorKind),
    /// The producer of the body gave up.
    #[error("the body was abandoned")]
    Abandoned,
}

/// How far a body is, also for those who do not have it any more.
#[derive(Debug, Default)]
pub struct BodyMeter {
    bytes: AtomicU64,
    ended: OnceLock<Instant>,
}

impl BodyMeter {
    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// When all of it had been read, or it failed.
    pub fn ended(&self) -> Option<Instant> {
        self.ended.get().copied()
    }
}

pub(crate) enum Kind {
    Empty,
    Full(Option<Bytes>),
    Http1(Arc<Shared>),
    Http2(crate::h2::stream::UploadBody),
}

/// A request's body. Not reading it is allowed: the transport drains a little or closes.
pub struct RequestBody {
    kind: Kind,
    /// What is announced to come, where known.
    length: Option<u64>,
    received: u64,
    bytes_max: u64,
    done: bool,
    meter: Option<Arc<BodyMeter>>,
    /// What was read before anybody took it.
    ahead: Option<Box<Ahead>>,
}

/// The beginning of a body that was looked at, and waits for whoever takes the body.
#[derive(Default)]
struct Ahead {
    data: Joined,
    trailers: Option<HeaderMap>,
}

/// Pieces put together as they come. Each by itself would hold on to the buffer that it was cut from: a body of single bytes would
/// take many times its length.
#[derive(Default)]
struct Joined {
    /// The only one, as long as it is that.
    single: Bytes,
    several: Vec<u8>,
}

impl Joined {
    fn len(&self) -> usize {
        self.single.len() + self.several.len()
    }

    fn push(&mut self, piece: Bytes) {
        if self.len() == 0 {
            self.single = piece;
            return;
        }
        self.several.extend_from_slice(&std::mem::take(&mut self.single));
        self.several.extend_from_slice(&piece);
    }

    /// All of it, which is then a single piece.
    fn bytes(&mut self) -> Bytes {
        if !self.several.is_empty() {
            self.single = std::mem::take(&mut self.several).into();
        }
        self.single.clone()
    }
}

/// The beginning of a body, as [`RequestBody::peek`] gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peeked {
    /// The bytes.
    pub content: Bytes,
    /// Whether the body goes on behind them.
    pub truncated: bool,
}

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        Self::of(Kind::Empty, Some(0))
    }

    /// A body that is in memory.
    pub fn full(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        Self::of(Kind::Full(Some(bytes)), Some(length))
    }

    pub(crate) fn of(kind: Kind, length: Option<u64>) -> Self {
        let done = matches!(kind, Kind::Empty);
        Self { kind, length, received: 0, bytes_max: u64::MAX, done, meter: None, ahead: None }
    }

    /// Whether there is certainly no body.
    pub fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Empty)
    }

    /// The announced length in bytes; `None` for chunked and for HTTP/2 without Content-Length.
    pub fn announced_length(&self) -> Option<u64> {
        self.length
    }

    /// Bytes read so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How far it is, for later; `None` where there is no body.
    pub fn meter(&mut self) -> Option<Arc<BodyMeter>> {
        (!self.is_empty()).then(|| self.meter.get_or_insert_default().clone())
    }

    /// Reading past this many bytes fails with [`BodyError::TooLarge`].
    pub fn limit(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    /// Whether the client waits for 100 (Continue) before it sends the body.
    pub fn awaits_continue(&self) -> bool {
        match &self.kind {
            Kind::Http1(conn) => conn.lock().awaits_continue(),
            Kind::Http2(body) => body.awaits_continue(),
            _ => false,
        }
    }

    /// The next piece, `None` at the end. Trailers come as the last frame.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(frame) = self.take_ahead() {
            return Poll::Ready(Some(Ok(frame)));
        }
        self.poll_fresh(cx)
    }

    fn take_ahead(&mut self) -> Option<Frame<Bytes>> {
        let ahead = self.ahead.as_mut()?;
        let data = std::mem::take(&mut ahead.data).bytes();
        let frame = if data.is_empty() { ahead.trailers.take().map(Frame::trailers) } else { Some(Frame::data(data)) };
        if ahead.trailers.is_none() {
            self.ahead = None;
        }
        frame
    }

    /// Reads the beginning of the body and leaves the body as if nobody had: whoever takes it gets all of it. At most `bytes_max`
    /// bytes are given; what one more piece brought beyond them is kept for the taker. Once for a body.
    ///
    /// # Errors
    /// What reading gave, [`BodyError::TooLarge`] beyond the body's own limit.
    pub async fn peek(&mut self, bytes_max: usize) -> Result<Peeked, BodyError> {
        let mut ahead = self.ahead.take().unwrap_or_default();
        while ahead.data.len() <= bytes_max {
            let Some(frame) = std::future::poll_fn(|cx| self.poll_fresh(cx)).await else { break };
            match frame?.into_data() {
                Ok(data) => ahead.data.push(data),
                Err(frame) => ahead.trailers = frame.into_trailers().ok(),
            }
        }
        let mut content = ahead.data.bytes();
        let truncated = content.len() > bytes_max;
        content.truncate(bytes_max);
        self.ahead = Some(ahead).filter(|ahead| ahead.data.len() > 0 || ahead.trailers.is_some());
        Ok(Peeked { content, truncated })
    }

    fn poll_fresh(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let polled = match &mut self.kind {
            Kind::Empty => return Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b)))),
            Kind::Http1(conn) => conn.lock().poll_body(cx),
            Kind::Http2(body) => body.poll_next(cx),
        };
        match std::task::ready!(polled) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.received += data.len() as u64;
                    if let Some(meter) = &self.meter {
                        meter.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
                        if self.length.is_some_and(|length| self.received >= length) {
                            meter.ended.get_or_init(Instant::now);
                        }
                    }
                    if self.received > self.bytes_max {
                        self.done = true;
                        return Poll::Ready(Some(Err(BodyError::TooLarge)));
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            other => {
                self.done = true;
                if let Some(meter) = &self.meter {
                    meter.ended.get_or_init(Instant::now);
                }
                Poll::Ready(other)
            }
        }
    }

    /// Reads the whole body into memory, up to `bytes_max`.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] past the limit, or what reading gave.
    pub async fn collect(mut self, bytes_max: usize) -> Result<(Bytes, Option<HeaderMap>), BodyError> {
        self.limit(bytes_max as u64);
        let mut whole = Vec::new();
        let mut trailers = None;
        while let Some(frame) = std::future::poll_fn(|cx| self.poll_next(cx)).await {
            match frame?.into_data() {
                Ok(data) => whole.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Ok((Bytes::from(whole), trailers))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.get_mut().poll_next(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.done && self.ahead.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let waiting = self.ahead.as_ref().map_or(0, |ahead| ahead.data.len() as u64);
        self.length.map_or_else(SizeHint::default, |n| SizeHint::with_exact(n.saturating_sub(self.received) + waiting))
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
