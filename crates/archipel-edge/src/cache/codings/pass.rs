//! Replies that are not stored, coded or decoded as they go through.
//!
//! Must never keep back a byte while the origin is silent, or end well what did not.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use archipel_cache::BodyReader;
use archipel_codings::Step;
use archipel_http::coding::{self, Accepted, ContentCoding};
use archipel_transport::body::BodyError;
use archipel_transport::message::{Reply, ReplyBody, StreamBody};
use bytes::{Buf, Bytes};
use http::header::VARY;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Body, Frame};

use super::coder::{Coder, CoderError};
use super::make::{AT_ONCE_BYTES_MAX, GATHERED_BYTES_MIN, count, failed};
use super::{Form, Place};
use crate::exchange::Exchange;
use crate::live::LiveZone;
use crate::worker::Worker;

/// Steps without output before others get their turn.
const STEPS_MAX: u32 = 8;

/// Brings a reply that goes through into the form that its client accepts.
pub(in crate::cache) fn pass(ex: &Exchange, zone: &LiveZone, reply: &mut Reply) {
    if !zone.zone.compression.enabled {
        return;
    }
    if reply.status == StatusCode::NOT_MODIFIED {
        return coding::weaken_for(&ex.asked.headers, reply.headers_mut());
    }
    let Some(form) = form(ex, zone, reply) else { return };
    let body = std::mem::replace(&mut reply.body, ReplyBody::Empty);
    match coded(ex, zone, form, body) {
        Ok(body) => {
            reply.body = body;
            ex.worker.metrics.coded_replies.add(1);
            coding::recode(reply.headers_mut(), form.coding());
        }
        Err(body) => {
            reply.body = body;
            vary(reply);
        }
    }
}

/// The form that the client is to be sent, where it is another. Where it is not, `Vary` says that there are several.
fn form(ex: &Exchange, zone: &LiveZone, reply: &mut Reply) -> Option<Form> {
    let (settings, request) = (&zone.zone.compression, &ex.asked.headers);
    if let ContentCoding::One(coding) = ContentCoding::of(reply) {
        // What the visitor asked for in its own words is the origin's business.
        let whole = coding::may_change(reply.status, reply) != Err(coding::NotCoded::Status);
        if !ex.origin_asked_alike || !settings.decode || !whole {
            return None;
        }
        if Accepted::of(request).accepts(coding) {
            vary(reply);
            return None;
        }
        return Some(Form::Decoded(coding));
    }
    if settings.passed_codings.is_empty() || ex.overrides().compression == Some(false) {
        return None;
    }
    coding::may_code(reply.status, reply, reply.body.len(), &zone.codings.rules).ok()?;
    let chosen = Accepted::of(request).choose(&settings.passed_codings).filter(|_| !coding::forbids_transform(request));
    if chosen.is_none() {
        vary(reply);
    }
    chosen.map(Form::Coded)
}

/// A line of its own: no map has to be made of the origin's lines for it.
fn vary(reply: &mut Reply) {
    if !coding::varies_by_accept_encoding(reply) {
        reply.add(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// The body in that form; the body as it was where it stays so.
fn coded(ex: &Exchange, zone: &LiveZone, form: Form, body: ReplyBody) -> Result<ReplyBody, ReplyBody> {
    let length = body.len();
    let stream: StreamBody = match body {
        ReplyBody::Omitted { .. } => return Ok(ReplyBody::Omitted { len: None }),
        ReplyBody::Full(bytes) if matches!(form, Form::Coded(_)) && bytes.len() as u64 <= AT_ONCE_BYTES_MAX => {
            return at_once(ex, zone, form, bytes);
        }
        ReplyBody::Full(_) | ReplyBody::Stream { .. } => {
            let Some(place) = Place::take(ex) else { return Err(body) };
            let coder = match Coder::new(form, zone, length) {
                Ok(coder) => coder,
                Err(error) => {
                    failed(&ex.worker, error);
                    return Err(body);
                }
            };
            let stream = match body {
                ReplyBody::Stream { body, .. } => body,
                ReplyBody::Full(bytes) => Box::pin(One(Some(bytes))),
                other => return Err(other),
            };
            Box::pin(CodedBody::new(stream, coder, place, ex.worker.clone()))
        }
        other => return Err(other),
    };
    Ok(ReplyBody::Stream { body: stream, len: None })
}

fn at_once(ex: &Exchange, zone: &LiveZone, form: Form, bytes: Bytes) -> Result<ReplyBody, ReplyBody> {
    let coder = Coder::new(form, zone, Some(bytes.len() as u64));
    match coder.and_then(|coder| coder.whole(std::iter::once(&bytes[..]))) {
        Ok(made) if made.len() < bytes.len() => {
            count(&ex.worker, bytes.len() as u64, made.len() as u64);
            Ok(ReplyBody::Full(Bytes::from(made)))
        }
        Ok(_) => Err(ReplyBody::Full(bytes)),
        Err(error) => {
            failed(&ex.worker, error);
            Err(ReplyBody::Full(bytes))
        }
    }
}

/// A body that is all there.
struct One(Option<Bytes>);

impl Body for One {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A stored body as a stream.
pub(super) struct Pieces(pub(super) BodyReader);

impl Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let read = ready!(self.0.poll_next(cx));
        Poll::Ready(read.map(|bytes| bytes.map(Frame::data).map_err(|_| BodyError::Truncated)))
    }
}

/// A body in another form, made as it is read.
pub(super) struct CodedBody {
    source: StreamBody,
    /// `None` once it ended.
    coder: Option<Coder>,
    input: Bytes,
    /// The coder may give more without more input.
    more: bool,
    /// The coder may hold something back.
    held: bool,
    out: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// The source failed; what came before goes out first.
    failed: Option<BodyError>,
    worker: Arc<Worker>,
    taken: u64,
    given: u64,
    _place: Place,
}

impl CodedBody {
    pub(super) fn new(source: StreamBody, coder: Coder, place: Place, worker: Arc<Worker>) -> Self {
        Self {
            source,
            coder: Some(coder),
            input: Bytes::new(),
            more: false,
            held: false,
            out: Vec::new(),
            trailers: None,
            failed: None,
            worker,
            taken: 0,
            given: 0,
            _place: place,
        }
    }

    fn emit(&mut self) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.given += self.out.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(std::mem::take(&mut self.out))))))
    }

    fn fail(&mut self, error: CoderError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        failed(&self.worker, error);
        self.coder = None;
        Poll::Ready(Some(Err(BodyError::Abandoned)))
    }

    /// Works off the input; tells whether there is something to emit.
    fn work(&mut self) -> Result<bool, CoderError> {
        let Some(coder) = &mut self.coder else { return Ok(false) };
        let mut input = &self.input[..];
        self.more = coder.step(&mut input, &mut self.out)? == Step::Piece;
        let used = self.input.len() - input.len();
        self.input.advance(used);
        Ok(self.out.len() >= GATHERED_BYTES_MIN)
    }

    fn end(&mut self) -> Result<(), CoderError> {
        if let Some(coder) = self.coder.take() {
            coder.finish(&mut self.out)?;
            count(&self.worker, self.taken, self.given + self.out.len() as u64);
        }
        Ok(())
    }
}

impl Body for CodedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let mut steps = 0;
        loop {
            if let Some(error) = this.failed.take() {
                return Poll::Ready(Some(Err(error)));
            }
            if this.coder.is_none() {
                let trailers = this.trailers.take().filter(|trailers| !trailers.is_empty());
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
            while this.more || !this.input.is_empty() {
                match this.work() {
                    Ok(true) => return this.emit(),
                    Ok(false) => {}
                    Err(error) => return this.fail(error),
                }
                steps += 1;
                if steps >= STEPS_MAX {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            match this.source.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        this.taken += data.len() as u64;
                        this.held = true;
                        this.input = data;
                    }
                    Err(frame) => {
                        let mut trailers = frame.into_trailers().unwrap_or_default();
                        coding::remove_digests(&mut trailers);
                        this.trailers = Some(trailers);
                    }
                },
                Poll::Ready(Some(Err(error))) => {
                    this.failed = Some(error);
                    if let Some(Err(error)) = this.coder.take().map(|mut coder| coder.flush(&mut this.out)) {
                        return this.fail(error);
                    }
                    if !this.out.is_empty() {
                        return this.emit();
                    }
                }
                Poll::Ready(None) => {
                    if let Err(error) = this.end() {
                        return this.fail(error);
                    }
                    if !this.out.is_empty() {
                        return this.emit();
                    }
                }
                Poll::Pending => {
                    let flushed = match &mut this.coder {
                        Some(coder) if std::mem::take(&mut this.held) => coder.flush(&mut this.out),
                        _ => Ok(()),
                    };
                    return match flushed {
                        Err(error) => this.fail(error),
                        Ok(()) if this.out.is_empty() => Poll::Pending,
                        Ok(()) => this.emit(),
                    };
                }
            }
        }
    }
}
