//! HTTP/2 to an origin: one connection, many exchanges; a task drives the connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderValue, Method, Request as HttpRequest, StatusCode, Uri, Version};
use http_body::{Body, Frame};
use tokio::time::{Instant, timeout};

use crate::body::{BodyError, RequestBody};
use crate::interim::Interim;
use crate::io::Io;
use crate::message::ReplyBody;
use crate::origin::{OriginError, OriginReply, OriginRequest, OriginTimeouts, SendFailed};
use crate::timer::LazyTimer;

/// Bytes that an origin may send on one stream before they are read.
const STREAM_WINDOW_BYTES: u32 = 512 * 1024;
/// Bytes that an origin may send on all streams before they are read.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Decoded bytes of a response's field section.
const RESPONSE_FIELDS_BYTES_MAX: u32 = 64 * 1024;

/// A handle on a connection; clones share it.
#[derive(Clone)]
pub struct Http2Link {
    send: SendRequest<Bytes>,
    closed: Arc<AtomicBool>,
}

impl Http2Link {
    /// Whether the connection is still up.
    pub fn is_usable(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }
}

/// Opens HTTP/2 on `io`.
pub(crate) async fn connect(io: Io) -> Result<Http2Link, OriginError> {
    let (send, connection) = h2::client::Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(RESPONSE_FIELDS_BYTES_MAX)
        .handshake(io)
        .await
        .map_err(|error| OriginError::Http2(error.to_string()))?;
    let closed = Arc::new(AtomicBool::new(false));
    let flag = closed.clone();
    tokio::spawn(async move {
        let _ = connection.await;
        flag.store(true, Ordering::Relaxed);
    });
    Ok(Http2Link { send, closed })
}

fn head_of(request: &OriginRequest) -> Result<HttpRequest<()>, OriginError> {
    let bad = |_| OriginError::Http2("the request cannot be expressed in HTTP/2".to_owned());
    let target = std::str::from_utf8(&request.target).unwrap_or("/");
    let authority = request.authority.to_str().unwrap_or_default();
    let uri = if target == "*" {
        format!("{}://{authority}", request.scheme)
    } else {
        format!("{}://{authority}{target}", request.scheme)
    };
    let mut head = HttpRequest::new(());
    *head.version_mut() = Version::HTTP_2;
    *head.method_mut() = request.method.clone();
    *head.uri_mut() = uri.parse::<Uri>().map_err(bad)?;
    *head.headers_mut() = request.headers.clone();
    head.headers_mut().remove(EXPECT);
    if let Some(length) = request.body.announced_length().filter(|n| *n > 0) {
        head.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Some(protocol) = &request.upgrade {
        *head.method_mut() = Method::CONNECT;
        let protocol = std::str::from_utf8(protocol).unwrap_or_default();
        head.extensions_mut().insert(h2::ext::Protocol::from(protocol));
    }
    Ok(head)
}

/// Sends a request and waits for the final head.
pub(crate) async fn send(
    link: Http2Link,
    mut request: OriginRequest,
    timeouts: OriginTimeouts,
    interim: &Interim,
) -> Result<OriginReply, SendFailed> {
    let fail = |error| SendFailed { error, unsent: None, never_sent: false };
    let head = head_of(&request).map_err(fail)?;
    let mut send = match timeout(timeouts.first_byte, link.send.clone().ready()).await {
        Ok(Ok(send)) => send,
        // The connection ended before the request touched it.
        Ok(Err(_)) => {
            return Err(SendFailed {
                error: OriginError::Terminated,
                unsent: Some(Box::new(request)),
                never_sent: true,
            });
        }
        Err(_) => return Err(fail(OriginError::LimitReached)),
    };
    let no_body = request.body.is_empty() && request.upgrade.is_none();
    let (response, stream) = match send.send_request(head, no_body) {
        Ok(sent) => sent,
        Err(error) => return Err(fail(OriginError::Http2(error.to_string()))),
    };
    let body = std::mem::replace(&mut request.body, RequestBody::empty());
    let mut exchange = Exchange {
        response,
        upload: (!no_body && request.upgrade.is_none()).then(|| Upload {
            body,
            stream: None,
            pending: Bytes::new(),
            moved: false,
        }),
        timer: LazyTimer::default(),
        timeouts,
    };
    let mut tunnel = None;
    match &mut exchange.upload {
        Some(upload) => upload.stream = Some(stream),
        None => tunnel = request.upgrade.is_some().then_some(stream),
    }
    let response = match poll_fn(|cx| exchange.poll(cx, interim)).await {
        Ok(response) => response,
        Err(error) => {
            let refused = matches!(&error, OriginError::Http2(text) if text == REFUSED);
            let unsent = (refused && no_body).then(|| Box::new(request));
            return Err(SendFailed { error, unsent, never_sent: refused });
        }
    };
    Ok(reply(response, &request.method, exchange.upload, tunnel, timeouts))
}

/// RFC 9113 section 8.7: REFUSED_STREAM guarantees that nothing was processed.
const REFUSED: &str = "stream refused";

fn reply(
    response: http::Response<RecvStream>,
    method: &Method,
    upload: Option<Upload>,
    tunnel: Option<SendStream<Bytes>>,
    timeouts: OriginTimeouts,
) -> OriginReply {
    let (parts, stream) = response.into_parts();
    let mut headers = parts.headers;
    let told = crate::h1::head::content_length(&headers).flatten();
    headers.remove(CONTENT_LENGTH);
    let mut status = parts.status;
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let body = if let Some(send) = tunnel.filter(|_| status.is_success()) {
        status = StatusCode::SWITCHING_PROTOCOLS;
        ReplyBody::Tunnel(Box::new(super::duplex::H2Duplex::new(send, stream)))
    } else if *method == Method::HEAD {
        ReplyBody::Omitted { len: told }
    } else if bodiless || (stream.is_end_stream() && upload.is_none()) {
        ReplyBody::Empty
    } else {
        let body = ReplyStream { stream, upload, data_done: false, timer: LazyTimer::default(), timeouts };
        ReplyBody::Stream { body: Box::pin(body), len: told }
    };
    OriginReply { status, version: Version::HTTP_2, headers: headers.into(), body }
}

struct Upload {
    body: RequestBody,
    stream: Option<SendStream<Bytes>>,
    pending: Bytes,
    /// Bytes were handed over since somebody last asked.
    moved: bool,
}

impl Upload {
    /// Ready when the whole body is handed over or the origin wants no more.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(())) };
        loop {
            while !self.pending.is_empty() {
                stream.reserve_capacity(self.pending.len());
                let capacity = match stream.capacity() {
                    0 => match std::task::ready!(stream.poll_capacity(cx)) {
                        Some(Ok(n)) => n,
                        _ => return self.stop(),
                    },
                    n => n,
                };
                let n = capacity.min(self.pending.len());
                if n == 0 {
                    return Poll::Pending;
                }
                if stream.send_data(self.pending.split_to(n), false).is_err() {
                    return self.stop();
                }
                self.moved = true;
            }
            match std::task::ready!(self.body.poll_next(cx)) {
                None => {
                    let _ = stream.send_data(Bytes::new(), true);
                    return self.stop();
                }
                Some(Err(error)) => {
                    stream.send_reset(h2::Reason::CANCEL);
                    self.stream = None;
                    return Poll::Ready(Err(error));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.pending = data,
                    Err(frame) => {
                        let _ = stream.send_trailers(frame.into_trailers().unwrap_or_default());
                        return self.stop();
                    }
                },
            }
        }
    }

    fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    fn stop(&mut self) -> Poll<Result<(), BodyError>> {
        self.stream = None;
        Poll::Ready(Ok(()))
    }
}

struct Exchange {
    response: ResponseFuture,
    upload: Option<Upload>,
    timer: LazyTimer,
    timeouts: OriginTimeouts,
}

impl Exchange {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        interim: &Interim,
    ) -> Poll<Result<http::Response<RecvStream>, OriginError>> {
        let mut uploading = false;
        if let Some(upload) = &mut self.upload {
            match upload.poll(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(OriginError::RequestBody(error))),
                Poll::Ready(Ok(())) => {}
                Poll::Pending => uploading = true,
            }
        }
        while let Poll::Ready(Some(told)) = self.response.poll_informational(cx) {
            match told {
                Ok(told) => interim.send(told.status(), told.headers()),
                Err(error) => return Poll::Ready(Err(h2_error(&error))),
            }
        }
        match Pin::new(&mut self.response).poll(cx) {
            Poll::Ready(Ok(response)) => return Poll::Ready(Ok(response)),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(h2_error(&error))),
            Poll::Pending => {}
        }
        let moved = self.upload.as_mut().is_some_and(Upload::take_moved);
        // While the client's bytes are awaited its own clock runs; while the origin takes none, this one does.
        let on_client = uploading && self.upload.as_ref().is_some_and(|upload| upload.pending.is_empty());
        if moved || on_client {
            self.timer.clear();
        }
        if on_client {
            return Poll::Pending;
        }
        if !self.timer.is_set() {
            self.timer.set(Instant::now() + self.timeouts.first_byte);
        }
        let error = if uploading { OriginError::WriteTimeout } else { OriginError::ResponseTimeout };
        self.timer.poll_expired(cx).map(|()| Err(error))
    }
}

use std::future::Future;

fn h2_error(error: &h2::Error) -> OriginError {
    if error.reason() == Some(h2::Reason::REFUSED_STREAM) {
        OriginError::Http2(REFUSED.to_owned())
    } else if error.is_io() {
        OriginError::Terminated
    } else {
        OriginError::Http2(error.to_string())
    }
}

/// A reply's body as it arrives.
struct ReplyStream {
    stream: RecvStream,
    upload: Option<Upload>,
    data_done: bool,
    timer: LazyTimer,
    timeouts: OriginTimeouts,
}

impl Body for ReplyStream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(upload) = &mut this.upload {
            let done = upload.poll(cx).is_ready();
            if upload.take_moved() {
                this.timer.clear();
            }
            if done {
                this.upload = None;
            }
        }
        if !this.data_done {
            match this.stream.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    this.timer.clear();
                    let _ = this.stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(BodyError::Truncated))),
                Poll::Ready(None) => this.data_done = true,
                Poll::Pending => return this.poll_silence(cx),
            }
        }
        match this.stream.poll_trailers(cx) {
            Poll::Ready(Ok(Some(trailers))) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Poll::Ready(Ok(None)) => Poll::Ready(None),
            Poll::Ready(Err(_)) => Poll::Ready(Some(Err(BodyError::Truncated))),
            Poll::Pending => this.poll_silence(cx),
        }
    }
}

impl ReplyStream {
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.timer.is_set() {
            self.timer.set(Instant::now() + self.timeouts.between_bytes);
        }
        self.timer.poll_expired(cx).map(|()| Some(Err(BodyError::TimedOut)))
    }
}
