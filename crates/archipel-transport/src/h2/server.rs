//! The life of one HTTP/2 connection from a client.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, Response, Version};
use tokio::time::Instant;

use super::guard::{Guarded, Verdict};
use super::send::{StreamContext, send_reply};
use crate::body::{Kind, RequestBody};
use crate::conn::Conn;
use crate::env::{ServerSettings, count};
use crate::interim::{Interim, InterimHttp2, InterimQueue};
use crate::io::Io;
use crate::listen::Server;
use crate::message::{End, Handler, Request};
use crate::refusal::Refusal;
use crate::timer::LazyTimer;
use crate::tunnel::Rewound;

/// Bytes that a client may send on one stream before they are read.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Bytes that a client may send on all streams before they are read.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes of replies buffered a stream.
const SEND_BUFFER_BYTES_MAX: usize = 256 * 1024;
/// How long a connection that is told to go may take over it.
const GOODBYE: Duration = Duration::from_secs(5);

type Wire = Guarded<Rewound<Io>>;

fn builder(settings: &ServerSettings) -> h2::server::Builder {
    let limits = &settings.http2;
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(limits.streams_max)
        // Twice our own limit: what is a little over gets a recorded 431, what is far over ends the connection in `h2`.
        .max_header_list_size(limits.header_list_bytes_max.saturating_mul(2))
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .max_concurrent_reset_streams(32)
        .max_pending_accept_reset_streams(limits.resets_max as usize)
        .max_local_error_reset_streams(Some(limits.resets_max as usize))
        .enable_connect_protocol();
    builder
}

/// Serves streams on `io`. `initial` are bytes read already (the preface, by prior knowledge).
pub(crate) async fn serve<H: Handler>(
    io: Io,
    initial: Bytes,
    conn: Arc<Conn>,
    server: Arc<Server<H>>,
    settings: Arc<ServerSettings>,
) {
    let (wire, verdict) = Guarded::new(Rewound::new(initial, io), &settings.http2);
    let handshake = builder(&settings).handshake(wire);
    let Ok(Ok(mut connection)) = tokio::time::timeout(settings.request_head, handshake).await else { return };
    let mut life = Life { idle: LazyTimer::default(), last: Instant::now(), draining: false, alive: Arc::new(()) };
    life.idle.set(life.last + settings.keep_alive);
    let mut registered = false;
    loop {
        let event = poll_fn(|cx| {
            if !registered {
                server.drain.register(conn.id, cx.waker());
                registered = true;
            }
            poll_event(cx, &mut connection, &verdict, &server, &settings, &mut life)
        })
        .await;
        match event {
            Event::Stream(request, respond) => {
                if conn.count_request() + 1 >= settings.requests_per_connection_max && !life.draining {
                    life.draining = true;
                    connection.graceful_shutdown();
                }
                start_stream(*request, respond, &conn, &server, &settings, life.alive.clone());
            }
            Event::Closed => break,
            Event::Flood => {
                count(&server.stats.http2_floods);
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                let _ = tokio::time::timeout(GOODBYE, poll_fn(|cx| connection.poll_closed(cx))).await;
                break;
            }
            Event::Idle => {
                connection.graceful_shutdown();
                let _ = tokio::time::timeout(GOODBYE, poll_fn(|cx| connection.poll_closed(cx))).await;
                break;
            }
        }
    }
    server.drain.forget(conn.id);
}

struct Life {
    idle: LazyTimer,
    last: Instant,
    draining: bool,
    /// Cloned into each stream's task: more than one reference means that streams are open.
    alive: Arc<()>,
}

enum Event {
    Stream(Box<HttpRequest<RecvStream>>, SendResponse<Bytes>),
    Closed,
    Flood,
    Idle,
}

fn poll_event<H: Handler>(
    cx: &mut Context<'_>,
    connection: &mut Connection<Wire, Bytes>,
    verdict: &Verdict,
    server: &Server<H>,
    settings: &ServerSettings,
    life: &mut Life,
) -> Poll<Event> {
    if server.drain.is_draining() && !life.draining {
        life.draining = true;
        connection.graceful_shutdown();
        // A client that does not answer the GOAWAY does not hold the process up.
        life.idle.set(Instant::now() + GOODBYE);
    }
    let accepted = connection.poll_accept(cx);
    if verdict.flooded() {
        return Poll::Ready(Event::Flood);
    }
    match accepted {
        Poll::Ready(Some(Ok((request, respond)))) => {
            life.last = Instant::now();
            Poll::Ready(Event::Stream(Box::new(request), respond))
        }
        Poll::Ready(Some(Err(error))) => {
            if error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                count(&server.stats.http2_floods);
            }
            Poll::Ready(Event::Closed)
        }
        Poll::Ready(None) => Poll::Ready(Event::Closed),
        Poll::Pending => {
            std::task::ready!(life.idle.poll_expired(cx));
            let busy = Arc::strong_count(&life.alive) > 1;
            if life.draining && !busy {
                return Poll::Ready(Event::Closed);
            }
            let until = if busy { Instant::now() } else { life.last } + settings.keep_alive;
            if !busy && until <= Instant::now() {
                return Poll::Ready(Event::Idle);
            }
            life.idle.set(until);
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }
}

fn start_stream<H: Handler>(
    request: HttpRequest<RecvStream>,
    respond: SendResponse<Bytes>,
    conn: &Arc<Conn>,
    server: &Arc<Server<H>>,
    settings: &Arc<ServerSettings>,
    alive: Arc<()>,
) {
    let (conn, server, settings) = (conn.clone(), server.clone(), settings.clone());
    let mut task = Box::pin(async move {
        stream(request, respond, conn, server, settings).await;
        drop(alive);
    });
    // A hit answers at once: it is not worth a task.
    if task.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending() {
        tokio::spawn(task);
    }
}

async fn stream<H: Handler>(
    request: HttpRequest<RecvStream>,
    mut respond: SendResponse<Bytes>,
    conn: Arc<Conn>,
    server: Arc<Server<H>>,
    settings: Arc<ServerSettings>,
) {
    let queue = InterimQueue::default();
    let head_request = request.method() == Method::HEAD;
    let converted = convert(request, &conn, &settings, &queue);
    let (reply, mut exchange, tunnel) = match converted {
        Err(refusal) => {
            server.stats.refused(refusal);
            let (reply, exchange) = server.handler.refuse(&conn, refusal);
            (reply, exchange, None)
        }
        Ok((request, tunnel)) => {
            let mut answering = Box::pin(server.handler.handle(conn, request));
            let answered = poll_fn(|cx| poll_answer(cx, &mut answering, &mut respond, &queue)).await;
            let Some((reply, exchange)) = answered else { return };
            send_interim(&mut respond, &queue);
            (reply, exchange, tunnel)
        }
    };
    let ctx = StreamContext {
        head_request,
        send_progress: settings.send_progress,
        upgrade_idle: settings.upgrade_idle,
        tunnel,
    };
    if send_reply(&mut respond, reply, &mut exchange, ctx).await == End::ClientStalled {
        count(&server.stats.send_stalls);
    }
}

fn poll_answer<F: Future>(
    cx: &mut Context<'_>,
    answering: &mut Pin<Box<F>>,
    respond: &mut SendResponse<Bytes>,
    queue: &InterimQueue,
) -> Poll<Option<F::Output>> {
    if let Poll::Ready(answer) = answering.as_mut().poll(cx) {
        return Poll::Ready(Some(answer));
    }
    send_interim(respond, queue);
    respond.poll_reset(cx).map(|_| None)
}

fn send_interim(respond: &mut SendResponse<Bytes>, queue: &InterimQueue) {
    for (status, headers) in queue.take() {
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        let _ = respond.send_informational(response);
    }
}

type Converted = (Request, Option<RecvStream>);

fn convert(
    request: HttpRequest<RecvStream>,
    conn: &Conn,
    settings: &ServerSettings,
    queue: &InterimQueue,
) -> Result<Converted, Refusal> {
    let (mut parts, stream) = request.into_parts();
    let head_bytes = check_fields(&parts.headers, &parts.uri, settings)?;
    let authority = authority(&parts.uri, &mut parts.headers)?;
    join_cookies(&mut parts.headers);
    let upgrade = protocol(&parts.extensions)?;
    let continue_owed = crate::h1::head::expectation(&parts.headers)?.then(|| queue.clone());
    let length = crate::h1::head::content_length(&parts.headers).ok_or(Refusal::BadContentLength)?;
    parts.headers.remove(CONTENT_LENGTH);
    let tunnel = upgrade.is_some() && parts.method == Method::CONNECT;
    let ended = stream.is_end_stream();
    let (body, tunnel) = match (tunnel, ended) {
        (true, _) => (RequestBody::empty(), Some(stream)),
        (false, true) => (RequestBody::empty(), None),
        (false, false) => {
            let kind = Kind::Http2 {
                stream,
                data_done: false,
                stall: LazyTimer::default(),
                stall_max: settings.body_progress,
                continue_owed,
            };
            (RequestBody::of(kind, length), None)
        }
    };
    let target = match parts.uri.path_and_query() {
        Some(target) => Bytes::copy_from_slice(target.as_str().as_bytes()),
        None => authority.clone().unwrap_or_default(),
    };
    let request = Request {
        method: parts.method,
        version: Version::HTTP_2,
        scheme: conn.scheme(),
        authority,
        target,
        headers: parts.headers,
        body,
        upgrade,
        interim: Interim::Http2(InterimHttp2(queue.clone())),
        head_bytes,
    };
    Ok((request, tunnel))
}

/// The `:protocol` of an extended CONNECT. It becomes a field of an HTTP/1.1 message: nothing but a token may pass.
fn protocol(extensions: &http::Extensions) -> Result<Option<Bytes>, Refusal> {
    let Some(protocol) = extensions.get::<h2::ext::Protocol>() else { return Ok(None) };
    let protocol = protocol.as_str().as_bytes();
    if !crate::h1::head::is_tunnel_protocol(protocol) {
        return Err(Refusal::MalformedFields);
    }
    Ok(Some(Bytes::copy_from_slice(protocol)))
}

/// Our own limits on the field section; the sizes are those of RFC 9113 section 6.5.2.
fn check_fields(headers: &HeaderMap, uri: &http::Uri, settings: &ServerSettings) -> Result<u32, Refusal> {
    let target = uri.path_and_query().map_or(0, |t| t.as_str().len());
    if target > settings.head.uri_bytes_max {
        return Err(Refusal::UriTooLong);
    }
    if headers.len() > settings.head.fields_max {
        return Err(Refusal::TooManyFields);
    }
    let bytes = headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 32).sum::<usize>() + target + 32;
    if bytes > settings.http2.header_list_bytes_max as usize {
        return Err(Refusal::HeadTooLarge);
    }
    Ok(u32::try_from(bytes).unwrap_or(u32::MAX))
}

/// `:authority` and Host must agree (RFC 9113 section 8.3.1); one of them is enough.
fn authority(uri: &http::Uri, headers: &mut HeaderMap) -> Result<Option<Bytes>, Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().cloned();
    if hosts.next().is_some() {
        return Err(Refusal::BadHost);
    }
    let told = uri.authority().map(|a| Bytes::copy_from_slice(a.as_str().as_bytes()));
    match (&told, &host) {
        (Some(told), Some(host)) if !told.eq_ignore_ascii_case(host.as_bytes()) => return Err(Refusal::BadHost),
        (Some(told), None) => {
            let value = HeaderValue::from_maybe_shared(told.clone()).map_err(|_| Refusal::BadHost)?;
            headers.insert(HOST, value);
        }
        _ => {}
    }
    Ok(told.or_else(|| host.map(|h| Bytes::copy_from_slice(h.as_bytes()))))
}

/// RFC 9113 section 8.2.3: crumbs are one field again before they leave HTTP/2.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let joined = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, value);
    }
}
