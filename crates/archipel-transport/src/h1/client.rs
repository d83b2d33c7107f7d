//! One HTTP/1.1 connection to an origin, driven by the task of the exchange that uses it: no task and no channel between.
//! Upload and reply move at the same time, so that an origin may answer before it has read everything.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::header::{EXPECT, HOST, TE};
use http::{HeaderMap, Method, StatusCode, Version};
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::chunked::{Decoder, Step};
use super::encode;
use super::head::{self, BadResponse, Framing, ResponseHead};
use super::link::Http1Link;
use super::scratch::{with_head_buffer, with_read_buffer};
use crate::body::{BodyError, RequestBody};
use crate::interim::Interim;
use crate::io::Io;
use crate::message::ReplyBody;
use crate::origin::{OriginError, OriginReply, OriginRequest, OriginTimeouts, Recycle, SendFailed};
use crate::refusal::Refusal;
use crate::timer::LazyTimer;
use crate::tunnel::Rewound;

/// Bytes of a response head.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Interim responses to one request.
const INTERIM_MAX: u32 = 32;

enum Upload {
    Done,
    /// Held until 100 (Continue) or the deadline.
    Held(RequestBody),
    Sending {
        body: RequestBody,
        chunked: bool,
    },
    /// The origin stopped taking it, or it was given up: the connection ends with this exchange.
    Stopped,
}

/// An exchange under way on a connection.
struct Active {
    io: Io,
    timer: LazyTimer,
    opened: Instant,
    /// When the exchange began, until its first turn.
    begun: Option<Instant>,
    exchanges: u32,
    rbuf: BytesMut,
    out: BytesMut,
    data: Bytes,
    upload: Upload,
    timeouts: OriginTimeouts,
    head_seen: usize,
    /// The origin takes no more bytes; it may have replied all the same.
    write_failed: bool,
}

impl Active {
    fn new(link: Http1Link, timeouts: OriginTimeouts) -> Self {
        Self {
            io: link.io,
            timer: link.timer,
            opened: link.opened,
            begun: link.taken,
            exchanges: link.exchanges,
            rbuf: BytesMut::new(),
            out: BytesMut::new(),
            data: Bytes::new(),
            upload: Upload::Done,
            timeouts,
            head_seen: 0,
            write_failed: false,
        }
    }

    fn into_link(self) -> Http1Link {
        let mut timer = self.timer;
        timer.clear();
        Http1Link { io: self.io, timer, opened: self.opened, taken: None, exchanges: self.exchanges + 1 }
    }

    /// Nothing of the request is still to be sent, and nothing unexpected came.
    fn reusable(&self) -> bool {
        !self.write_failed
            && matches!(self.upload, Upload::Done)
            && self.out.is_empty()
            && self.data.is_empty()
            && self.rbuf.is_empty()
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.out.is_empty() || !self.data.is_empty() {
            let slices = [IoSlice::new(&self.out), IoSlice::new(&self.data)];
            let slices = if self.out.is_empty() { &slices[1..] } else { &slices[..] };
            let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))?;
            if n == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.timer.clear();
            let queued = n.min(self.out.len());
            self.out.advance(queued);
            self.data.advance(n - queued);
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Moves the upload on. Ready when there is nothing more to do for it now and ever.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.write_failed {
            return Poll::Ready(Ok(()));
        }
        loop {
            match self.poll_write_out(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    // An origin may answer and close before it has read everything: its reply is still read.
                    self.write_failed = true;
                    self.out.clear();
                    self.data.clear();
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => return Poll::Pending,
            }
            let Upload::Sending { body, chunked } = &mut self.upload else { return Poll::Ready(Ok(())) };
            let chunked = *chunked;
            match ready!(body.poll_next(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.queue_data(data, chunked),
                    Err(frame) => {
                        self.queue_end(chunked, frame.into_trailers().ok().as_ref());
                        self.upload = Upload::Done;
                    }
                },
                None => {
                    self.queue_end(chunked, None);
                    self.upload = Upload::Done;
                }
                Some(Err(error)) => {
                    self.upload = Upload::Stopped;
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    fn queue_data(&mut self, data: Bytes, chunked: bool) {
        if data.is_empty() {
            return;
        }
        if chunked {
            with_head_buffer(|buffer| {
                encode::write_chunk_size(buffer, data.len());
                self.out.extend_from_slice(buffer);
            });
            self.out.extend_from_slice(&data);
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.data = data;
        }
    }

    fn queue_end(&mut self, chunked: bool, trailers: Option<&HeaderMap>) {
        if !chunked {
            return;
        }
        with_head_buffer(|buffer| {
            buffer.extend_from_slice(b"0\r\n");
            if let Some(trailers) = trailers {
                encode::write_fields(buffer, trailers);
            }
            buffer.extend_from_slice(b"\r\n");
            self.out.extend_from_slice(buffer);
        });
    }

    fn poll_read_some(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let (io, rbuf) = (&mut self.io, &mut self.rbuf);
        with_read_buffer(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(io).poll_read(cx, &mut buf))?;
            rbuf.extend_from_slice(buf.filled());
            Poll::Ready(Ok(buf.filled().len()))
        })
    }

    /// Waits for one response head, interim ones included.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, OriginError>> {
        loop {
            if !self.rbuf.is_empty() {
                if let Some(head) = head::parse_response(&self.rbuf, self.head_seen, RESPONSE_HEAD_BYTES_MAX)? {
                    self.rbuf.advance(head.len);
                    self.head_seen = 0;
                    self.timer.clear();
                    return Poll::Ready(Ok(head));
                }
                self.head_seen = self.rbuf.len();
            }
            match self.poll_read_some(cx) {
                Poll::Ready(Ok(0)) if self.rbuf.is_empty() => return Poll::Ready(Err(OriginError::Terminated)),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(OriginError::Incomplete)),
                Poll::Ready(Ok(_)) => self.timer.clear(),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(OriginError::Terminated)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// One turn of the exchange until a head is there.
    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, OriginError>> {
        let begun = self.begun.take();
        if let Poll::Ready(Err(error)) = self.poll_upload(cx) {
            return Poll::Ready(Err(OriginError::RequestBody(error)));
        }
        if let Poll::Ready(done) = self.poll_head(cx) {
            return Poll::Ready(done);
        }
        let waiting_on_client = matches!(self.upload, Upload::Sending { .. })
            && !self.write_failed
            && self.out.is_empty()
            && self.data.is_empty();
        if waiting_on_client {
            // The client's own clock (body_progress) runs while its body is awaited.
            self.timer.clear();
            return Poll::Pending;
        }
        if !self.timer.is_set() {
            let wait = if matches!(self.upload, Upload::Held(_)) {
                self.timeouts.expect_continue
            } else {
                self.timeouts.first_byte
            };
            self.timer.set(begun.unwrap_or_else(Instant::now) + wait);
        }
        ready!(self.timer.poll_expired(cx));
        self.timer.clear();
        if self.release_upload() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let stalled = !self.out.is_empty() || !self.data.is_empty();
        Poll::Ready(Err(if stalled { OriginError::WriteTimeout } else { OriginError::ResponseTimeout }))
    }

    /// Lets a held body go.
    fn release_upload(&mut self) -> bool {
        match std::mem::replace(&mut self.upload, Upload::Done) {
            Upload::Held(body) => {
                let chunked = body.announced_length().is_none();
                self.upload = Upload::Sending { body, chunked };
                true
            }
            other => {
                self.upload = other;
                false
            }
        }
    }

    /// Whether any of the body was taken from the client.
    fn untouched_body(&mut self) -> Option<RequestBody> {
        match std::mem::replace(&mut self.upload, Upload::Stopped) {
            Upload::Done => Some(RequestBody::empty()),
            Upload::Held(body) => Some(body),
            Upload::Sending { body, .. } if body.received() == 0 => Some(body),
            Upload::Sending { .. } | Upload::Stopped => None,
        }
    }
}

fn write_request(out: &mut BytesMut, request: &OriginRequest, hold: bool) {
    with_head_buffer(|buffer| {
        buffer.extend_from_slice(request.method.as_str().as_bytes());
        buffer.push(b' ');
        buffer.extend_from_slice(&request.target);
        buffer.extend_from_slice(b" HTTP/1.1\r\n");
        encode::write_field(buffer, &HOST, &request.authority);
        encode::write_fields(buffer, &request.headers);
        buffer.extend_from_slice(request.lines.as_bytes());
        if request.lines.has_te() || request.headers.contains_key(TE) {
            // RFC 9110 section 10.1.4: TE is for the next hop only.
            buffer.extend_from_slice(b"connection: te\r\n");
        }
        if let Some(upgrade) = &request.upgrade {
            buffer.extend_from_slice(b"connection: upgrade\r\nupgrade: ");
            buffer.extend_from_slice(upgrade);
            buffer.extend_from_slice(b"\r\n");
        }
        if hold {
            buffer.extend_from_slice(b"expect: 100-continue\r\n");
        }
        match request.body.announced_length() {
            // RFC 9110 section 8.6: a method that anticipates content says that there is none.
            Some(0) if matches!(request.method, Method::POST | Method::PUT | Method::PATCH) => {
                encode::write_length(buffer, 0)
            }
            Some(0) => {}
            Some(length) => encode::write_length(buffer, length),
            None => buffer.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        buffer.extend_from_slice(b"\r\n");
        out.extend_from_slice(buffer);
    });
}

/// A request under way, until the final head is there.
struct Sending {
    active: Active,
    request: OriginRequest,
    recycle: Arc<dyn Recycle>,
    seen_interim: u32,
}

/// Sends a request and waits for the final head. No `async fn`: that would hold each argument twice.
pub(crate) fn send(
    link: Http1Link,
    mut request: OriginRequest,
    timeouts: OriginTimeouts,
    interim: &Interim,
    recycle: Arc<dyn Recycle>,
) -> impl Future<Output = Result<OriginReply, SendFailed>> + Send {
    request.headers.remove(EXPECT);
    let hold = request.body.awaits_continue();
    let mut active = Active::new(link, timeouts);
    write_request(&mut active.out, &request, hold);
    if !request.body.is_empty() {
        let body = std::mem::replace(&mut request.body, RequestBody::empty());
        let chunked = body.announced_length().is_none();
        active.upload = if hold { Upload::Held(body) } else { Upload::Sending { body, chunked } };
    }
    let mut sending = Some(Sending { active, request, recycle, seen_interim: 0 });
    std::future::poll_fn(move |cx| match &mut sending {
        // INVARIANT: taken when the future is ready, and nobody polls one that was.
        None => Poll::Pending,
        Some(under_way) => {
            let head = ready!(under_way.poll_final(cx, interim));
            sending.take().map_or(Poll::Pending, |done| Poll::Ready(done.finish(head)))
        }
    })
}

impl Sending {
    /// Passes interim heads on and waits for the one behind them.
    fn poll_final(&mut self, cx: &mut Context<'_>, interim: &Interim) -> Poll<Result<ResponseHead, OriginError>> {
        loop {
            let head = match ready!(self.active.poll_exchange(cx)) {
                Ok(head) => head,
                Err(error) => return Poll::Ready(Err(error)),
            };
            if !head.status.is_informational() || self.is_upgraded_by(&head) {
                return Poll::Ready(Ok(head));
            }
            self.seen_interim += 1;
            if self.seen_interim > INTERIM_MAX || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Poll::Ready(Err(OriginError::Interim));
            }
            if head.status == StatusCode::CONTINUE {
                self.active.release_upload();
            } else {
                interim.send(head.status, &head.headers);
            }
        }
    }

    fn is_upgraded_by(&self, head: &ResponseHead) -> bool {
        head.status == StatusCode::SWITCHING_PROTOCOLS
            && (self.request.upgrade.as_ref())
                .is_some_and(|asked| archipel_http::hop::is_upgrade_accepted(asked, head.status, &head.headers))
    }

    fn finish(mut self, head: Result<ResponseHead, OriginError>) -> Result<OriginReply, SendFailed> {
        match head {
            Err(error) => Err(failed(error, self.request, &mut self.active, self.seen_interim)),
            Ok(head) if head.status == StatusCode::SWITCHING_PROTOCOLS => Ok(upgraded(head, self.active, self.recycle)),
            Ok(head) => finish_head(head, &self.request.method, self.active, self.recycle)
                .map_err(|error| SendFailed { error: error.into(), unsent: None, never_sent: false }),
        }
    }
}

fn failed(error: OriginError, mut request: OriginRequest, active: &mut Active, seen_interim: u32) -> SendFailed {
    let nothing_came = active.rbuf.is_empty() && seen_interim == 0;
    let unsent = match (&error, active.untouched_body()) {
        (OriginError::Terminated, Some(body)) if nothing_came => {
            request.body = body;
            Some(Box::new(request))
        }
        _ => None,
    };
    SendFailed { error, unsent, never_sent: false }
}

fn upgraded(head: ResponseHead, mut active: Active, place: Arc<dyn Recycle>) -> OriginReply {
    let front = std::mem::take(&mut active.rbuf).freeze();
    OriginReply {
        status: head.status,
        version: head.version,
        headers: head.headers,
        // The tunnel keeps the connection's place among those of its origin for as long as it lives.
        body: ReplyBody::Tunnel(Box::new(Rewound::new(front, active.io).holding(place))),
    }
}

fn finish_head(
    head: ResponseHead,
    method: &Method,
    mut active: Active,
    recycle: Arc<dyn Recycle>,
) -> Result<OriginReply, BadResponse> {
    let framing = head::response_framing(&head, method)?;
    let connection = head.connection;
    let mut keep = !connection.close && (head.version == Version::HTTP_11 || connection.keep_alive);
    if matches!(active.upload, Upload::Held(_)) {
        // A final reply instead of 100: whether the origin expects the body now cannot be known (CVE-2025-32094).
        active.upload = Upload::Stopped;
        keep = false;
    }
    let body = match framing {
        Framing::Length(0) => {
            let told = head.length.flatten();
            recycle_if(active, keep, &recycle);
            if *method == Method::HEAD { ReplyBody::Omitted { len: told } } else { ReplyBody::Empty }
        }
        Framing::Length(n) if active.rbuf.len() as u64 >= n && matches!(active.upload, Upload::Done) => {
            let bytes = take(&mut active.rbuf, n as usize);
            recycle_if(active, keep, &recycle);
            ReplyBody::Full(bytes)
        }
        framing => {
            let len = if let Framing::Length(n) = framing { Some(n) } else { None };
            let state = match framing {
                Framing::Length(n) => State::Length(n),
                Framing::Chunked => State::Chunked(Decoder::default()),
                Framing::UntilClose => State::UntilClose,
            };
            let body = ReplyStream { active: Some(active), state, keep, recycle };
            ReplyBody::Stream { body: Box::pin(body), len }
        }
    };
    Ok(OriginReply { status: head.status, version: head.version, headers: head.headers, body })
}

fn recycle_if(active: Active, keep: bool, recycle: &Arc<dyn Recycle>) {
    if !active.rbuf.is_empty() {
        recycle.distrust();
    } else if keep && active.reusable() {
        recycle.recycle(active.into_link());
    }
}

enum State {
    Length(u64),
    Chunked(Decoder),
    UntilClose,
    Done,
}

/// A reply's body as it arrives; gives the connection back at its end.
struct ReplyStream {
    active: Option<Active>,
    state: State,
    keep: bool,
    recycle: Arc<dyn Recycle>,
}

impl ReplyStream {
    fn end(&mut self) {
        self.state = State::Done;
        if let Some(active) = self.active.take() {
            recycle_if(active, self.keep, &self.recycle);
        }
    }

    /// What the buffer holds of the body: `None` where more must be read.
    fn buffered(&mut self) -> Option<Result<Option<Frame<Bytes>>, BodyError>> {
        let active = self.active.as_mut()?;
        loop {
            match &mut self.state {
                State::Done => return Some(Ok(None)),
                State::UntilClose if active.rbuf.is_empty() => return None,
                State::UntilClose => return Some(Ok(Some(Frame::data(std::mem::take(&mut active.rbuf).freeze())))),
                State::Length(left) => {
                    if active.rbuf.is_empty() {
                        return None;
                    }
                    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(active.rbuf.len());
                    *left -= n as u64;
                    let done = *left == 0;
                    let data = take(&mut active.rbuf, n);
                    if done {
                        self.end();
                    }
                    return Some(Ok(Some(Frame::data(data))));
                }
                State::Chunked(decoder) => match decoder.step(&active.rbuf) {
                    Err(_) => return Some(Err(BodyError::Malformed(Refusal::MalformedChunk))),
                    Ok(Step::More) => return None,
                    Ok(Step::Skip(n)) => active.rbuf.advance(n),
                    Ok(Step::Data(n)) => {
                        decoder.consumed(n);
                        return Some(Ok(Some(Frame::data(take(&mut active.rbuf, n)))));
                    }
                    Ok(Step::End(n)) => {
                        let trailers = decoder.take_trailers();
                        active.rbuf.advance(n);
                        self.end();
                        return Some(Ok(trailers.map(Frame::trailers)));
                    }
                },
            }
        }
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BodyError>> {
        let Some(active) = self.active.as_mut() else { return Poll::Ready(Ok(false)) };
        // The request's body goes on while the reply comes (a stream in both directions).
        if let Poll::Ready(Err(_)) = active.poll_upload(cx) {
            self.keep = false;
        }
        match active.poll_read_some(cx) {
            Poll::Ready(Ok(0)) if matches!(self.state, State::UntilClose) => Poll::Ready(Ok(false)),
            Poll::Ready(Ok(0)) => Poll::Ready(Err(BodyError::Truncated)),
            Poll::Ready(Ok(_)) => {
                active.timer.clear();
                Poll::Ready(Ok(true))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(BodyError::Io(error.kind()))),
            Poll::Pending => {
                if !active.timer.is_set() {
                    active.timer.set(Instant::now() + active.timeouts.between_bytes);
                }
                ready!(active.timer.poll_expired(cx));
                Poll::Ready(Err(BodyError::TimedOut))
            }
        }
    }
}

fn take(rbuf: &mut BytesMut, n: usize) -> Bytes {
    if n == rbuf.len() { std::mem::take(rbuf).freeze() } else { rbuf.split_to(n).freeze() }
}

impl Body for ReplyStream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            match this.buffered() {
                Some(Ok(frame)) => return Poll::Ready(frame.map(Ok)),
                Some(Err(error)) => {
                    this.active = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None if this.active.is_none() => return Poll::Ready(None),
                None => {}
            }
            match ready!(this.poll_more(cx)) {
                Ok(true) => {}
                Ok(false) => {
                    this.active = None;
                    return Poll::Ready(None);
                }
                Err(error) => {
                    this.active = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}
