//! Bodies that come from the cache crate, in the form that the transport sends.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use archipel_cache::{BodyReader, DiskReadError, FillReader};
use archipel_transport::body::BodyError;
use archipel_transport::message::StreamBody;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::time::Sleep;

use crate::cache::Meta;

/// A body that is being filled.
pub(crate) struct FillBody {
    reader: FillReader<Meta>,
    window: Option<Window>,
    trailers_sent: bool,
}

impl FillBody {
    pub(crate) fn new(reader: FillReader<Meta>) -> Self {
        Self { reader, window: None, trailers_sent: false }
    }

    /// `len` bytes of it, behind the first `skip`. The end is not awaited.
    pub(crate) fn part(reader: FillReader<Meta>, skip: u64, len: u64) -> Self {
        Self { reader, window: Some(Window { skip, left: len }), trailers_sent: false }
    }
}

/// A part of a stream of bytes.
struct Window {
    skip: u64,
    left: u64,
}

impl Window {
    /// What of the next bytes is in it.
    fn cut(&mut self, mut data: Bytes) -> Bytes {
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX).min(data.len());
        self.skip -= skip as u64;
        let mut data = data.split_off(skip);
        data.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= data.len() as u64;
        data
    }
}

/// A part of a body that streams; what is behind it is not read.
pub(crate) struct PartOf {
    body: StreamBody,
    window: Window,
}

impl PartOf {
    /// `len` bytes of `body`, behind the first `skip`.
    pub(crate) fn new(body: StreamBody, skip: u64, len: u64) -> Self {
        Self { body, window: Window { skip, left: len } }
    }
}

impl Body for PartOf {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        while this.window.left > 0 {
            match ready!(this.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let data = frame.into_data().map_or_else(|_| Bytes::new(), |data| this.window.cut(data));
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(Some(Err(BodyError::Truncated))),
            }
        }
        Poll::Ready(None)
    }
}

/// A body of one piece, as a stream.
pub(crate) struct OneFrame(Option<Bytes>);

impl OneFrame {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self(Some(bytes))
    }
}

impl Body for OneFrame {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.get_mut().0.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Body for FillBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(window) = &mut this.window {
            while window.left > 0 {
                match ready!(this.reader.poll_next(cx)) {
                    Some(Ok(data)) => {
                        let data = window.cut(data);
                        if !data.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::data(data))));
                        }
                    }
                    _ => return Poll::Ready(Some(Err(BodyError::Truncated))),
                }
            }
            return Poll::Ready(None);
        }
        if this.trailers_sent {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(this.reader.poll_next(cx)) {
            Some(Ok(data)) => Some(Ok(Frame::data(data))),
            Some(Err(_)) => Some(Err(BodyError::Truncated)),
            None => {
                this.trailers_sent = true;
                this.reader.trailers().map(|trailers| Ok(Frame::trailers((*trailers).clone())))
            }
        })
    }
}

/// A piece of a reply's body.
pub(crate) enum Part {
    /// Its own.
    Bytes(Bytes),
    /// Of a stored body, in memory or on disk.
    Stored(BodyReader),
}

impl Part {
    /// Its length.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stored(reader) => reader.remaining(),
        }
    }
}

/// A body of several pieces, with the trailer fields that came behind a stored one (RFC 9111 section 3.1).
pub(crate) struct PartsBody {
    parts: VecDeque<Part>,
    trailers: Option<Arc<HeaderMap>>,
    /// Until when the disk may take; while it is waited for.
    wait: Option<Pin<Box<Sleep>>>,
}

impl PartsBody {
    pub(crate) fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        Self { parts: parts.into_iter().collect(), trailers: None, wait: None }
    }

    pub(crate) fn with_trailers(self, trailers: Arc<HeaderMap>) -> Self {
        Self { trailers: Some(trailers), ..self }
    }
}

/// The next bytes of a stored body, or its end where the disk does not answer.
fn poll_reader(
    reader: &mut BodyReader,
    wait: &mut Option<Pin<Box<Sleep>>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, DiskReadError>>> {
    let read = reader.poll_next(cx);
    let (BodyReader::OnDisk(stream), Poll::Pending) = (&mut *reader, &read) else {
        *wait = None;
        return read;
    };
    let sleep = wait.get_or_insert_with(|| Box::pin(tokio::time::sleep(stream.read_wait())));
    ready!(sleep.as_mut().poll(cx));
    stream.waited_too_long();
    Poll::Ready(Some(Err(DiskReadError)))
}

impl Body for PartsBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            let read = match this.parts.front_mut() {
                None => {
                    let trailers = this.trailers.take();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers((*trailers).clone()))));
                }
                Some(Part::Bytes(bytes)) => (!bytes.is_empty()).then(|| Ok(std::mem::take(bytes))),
                Some(Part::Stored(reader)) => ready!(poll_reader(reader, &mut this.wait, cx)),
            };
            match read {
                Some(Ok(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Err(DiskReadError)) => return Poll::Ready(Some(Err(BodyError::Truncated))),
                None => drop(this.parts.pop_front()),
            }
        }
    }
}
