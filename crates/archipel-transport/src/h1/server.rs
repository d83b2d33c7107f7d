//! The life of one HTTP/1 connection from a client.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use archipel_http::target;
use bytes::Bytes;
use http::{Method, Version};
use tokio::time::Instant;

use super::conn::{HeadEvent, Shared};
use super::head::RequestHead;
use super::send::{After, SendContext, is_head, send_reply};
use crate::body::{Kind, RequestBody};
use crate::conn::{Conn, Scheme};
use crate::env::{Drain, ServerSettings, TransportStats, count};
use crate::interim::{Interim, InterimHttp1};
use crate::io::Io;
use crate::message::{Handler, Request};
use crate::refusal::Refusal;
use crate::tunnel::{self, Duplex, Rewound};

/// Bytes read away after the last reply, so that the close does not destroy it on its way (RFC 9112 section 9.6).
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// Time for that.
const LINGER: Duration = Duration::from_secs(2);

/// What a connection shares with the others of its node.
pub(crate) struct ConnEnv<'a> {
    pub(crate) settings: &'a ServerSettings,
    pub(crate) stats: &'a TransportStats,
    pub(crate) drain: &'a Drain,
}

/// Serves requests on a connection until either side has had enough.
///
/// Returns the stream where the client turned out to speak HTTP/2 by prior knowledge (RFC 9113 section 3.3).
pub(crate) async fn serve<H: Handler>(
    shared: &Arc<Shared>,
    conn: &Arc<Conn>,
    handler: &H,
    env: &ConnEnv<'_>,
) -> Option<(Io, Bytes)> {
    let mut registered = false;
    loop {
        let event = poll_fn(|cx| {
            if !registered {
                env.drain.register(conn.id, cx.waker());
                registered = true;
            }
            let ends_idle = env.drain.ends_idle();
            shared.lock().poll_head(cx, &env.settings.head, env.settings.request_head, ends_idle)
        })
        .await;
        // Each boxed, so that a connection that waits holds the state of none of them: 10 KiB less for each.
        let after = match event {
            HeadEvent::Closed => break,
            HeadEvent::Preface => {
                env.drain.forget(conn.id);
                return Some(shared.lock().take_io());
            }
            HeadEvent::Refused(refusal) => Box::pin(refuse(shared, conn, handler, env, refusal)).await,
            HeadEvent::Head(head) => Box::pin(exchange(shared, conn, handler, env, head)).await,
        };
        match after {
            After::KeepAlive => shared.lock().set_idle(env.settings.keep_alive),
            After::Close => {
                Box::pin(linger(shared)).await;
                break;
            }
            After::Abort => break,
            After::Tunnel(origin) => {
                Box::pin(run_tunnel(shared, origin, env)).await;
                break;
            }
        }
    }
    env.drain.forget(conn.id);
    None
}

async fn refuse<H: Handler>(
    shared: &Arc<Shared>,
    conn: &Arc<Conn>,
    handler: &H,
    env: &ConnEnv<'_>,
    refusal: Refusal,
) -> After {
    env.stats.refused(refusal);
    let (mut reply, mut exchange) = handler.refuse(conn, refusal);
    let ctx = SendContext {
        head_request: false,
        version: Version::HTTP_11,
        keep_alive: false,
        trailers_accepted: false,
        send_progress: env.settings.send_progress,
    };
    send_reply(shared, &mut reply, &mut exchange, ctx).await
}

async fn exchange<H: Handler>(
    shared: &Arc<Shared>,
    conn: &Arc<Conn>,
    handler: &H,
    env: &ConnEnv<'_>,
    head: Box<RequestHead>,
) -> After {
    let count_before = conn.count_request();
    let head_request = is_head(&head.method);
    let version = head.version;
    let trailers_accepted = head.trailers_accepted;
    let wants_keep_alive = head.keep_alive;
    let request = match into_request(shared, conn, *head) {
        Ok(request) => request,
        Err(refusal) => return Box::pin(refuse(shared, conn, handler, env, refusal)).await,
    };
    // Boxed, so that a connection that waits for its next request holds none of the pipeline's state.
    let mut answering = Box::pin(handler.handle(conn.clone(), request));
    let answered = poll_fn(|cx| poll_answer(cx, &mut answering, shared)).await;
    drop(answering);
    let Some((mut reply, mut exchange)) = answered else { return After::Abort };
    let settings = env.settings;
    let keep_alive = wants_keep_alive
        && count_before + 1 < settings.requests_per_connection_max
        && !env.drain.is_draining()
        && shared.lock().drainable(settings.drain_body_bytes_max);
    let ctx =
        SendContext { head_request, version, keep_alive, trailers_accepted, send_progress: settings.send_progress };
    let after = send_reply(shared, &mut reply, &mut exchange, ctx).await;
    drop(exchange);
    match after {
        After::KeepAlive if !drain_body(shared, settings.drain_body_bytes_max).await => After::Close,
        after => after,
    }
}

fn poll_answer<F: Future>(
    cx: &mut Context<'_>,
    answering: &mut std::pin::Pin<Box<F>>,
    shared: &Shared,
) -> Poll<Option<F::Output>> {
    if let Poll::Ready(answer) = answering.as_mut().poll(cx) {
        return Poll::Ready(Some(answer));
    }
    let mut inner = shared.lock();
    if let Poll::Ready(Err(_)) = inner.poll_flush_out(cx) {
        return Poll::Ready(None);
    }
    inner.poll_gone(cx).map(|()| None)
}

fn into_request(shared: &Arc<Shared>, conn: &Conn, head: RequestHead) -> Result<Request, Refusal> {
    let mut request = Request {
        scheme: conn.scheme(),
        authority: head.host,
        target: head.target,
        version: head.version,
        body: request_body(shared, head.framing),
        interim: if head.version == Version::HTTP_11 {
            Interim::Http1(InterimHttp1(shared.clone()))
        } else {
            Interim::Discard
        },
        upgrade: head.upgrade,
        head_bytes: u32::try_from(head.len).unwrap_or(u32::MAX),
        headers: head.headers,
        method: head.method,
    };
    if request.method != Method::CONNECT && !request.target.starts_with(b"/") && &request.target[..] != b"*" {
        absolute_form(&mut request)?;
    }
    Ok(request)
}

fn request_body(shared: &Arc<Shared>, framing: super::head::Framing) -> RequestBody {
    use super::head::Framing;
    match framing {
        Framing::Length(0) | Framing::UntilClose => RequestBody::empty(),
        Framing::Length(n) => RequestBody::of(Kind::Http1(shared.clone()), Some(n)),
        Framing::Chunked => RequestBody::of(Kind::Http1(shared.clone()), None),
    }
}

/// RFC 9112 section 3.2.2: the authority of an absolute-form target wins over Host, and here they must agree:
/// what is routed by one and filtered by the other is how requests are smuggled past filters.
fn absolute_form(request: &mut Request) -> Result<(), Refusal> {
    let target = request.target.clone();
    let (scheme, rest) = if let Some(rest) = strip_prefix_ignore_case(&target, b"http://") {
        (Scheme::Http, rest)
    } else if let Some(rest) = strip_prefix_ignore_case(&target, b"https://") {
        (Scheme::Https, rest)
    } else {
        return Err(Refusal::MalformedHead);
    };
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // What came in plain text is no https request, whatever it says (RFC 9110 section 4.3.3).
    if scheme == Scheme::Https && request.scheme == Scheme::Http {
        return Err(Refusal::BadHost);
    }
    if authority.is_empty() || authority.contains(&b'@') {
        return Err(Refusal::BadHost);
    }
    if let Some(host) = &request.authority
        && !same_host(host, authority, scheme)
    {
        return Err(Refusal::BadHost);
    }
    request.authority = Some(target.slice_ref(authority));
    request.target = match path.first() {
        Some(b'/') => target.slice_ref(path),
        Some(b'?') => Bytes::from([b"/", path].concat()),
        None if request.method == Method::OPTIONS => Bytes::from_static(b"*"),
        None => Bytes::from_static(b"/"),
        Some(_) => return Err(Refusal::MalformedHead),
    };
    Ok(())
}

fn same_host(a: &[u8], b: &[u8], scheme: Scheme) -> bool {
    let scheme = if scheme == Scheme::Https { target::Scheme::Https } else { target::Scheme::Http };
    match (target::parse_host(a), target::parse_host(b)) {
        (Ok(a), Ok(b)) => a.is_same(&b, scheme),
        _ => false,
    }
}

fn strip_prefix_ignore_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Reads away what the handler left of the request's body. False where the connection cannot be kept.
async fn drain_body(shared: &Shared, bytes_max: u64) -> bool {
    if shared.lock().body_done() {
        return !shared.lock().eof();
    }
    let mut drained = 0;
    loop {
        match poll_fn(|cx| shared.lock().poll_body(cx)).await {
            None => return true,
            Some(Ok(frame)) => drained += frame.data_ref().map_or(0, Bytes::len) as u64,
            Some(Err(_)) => return false,
        }
        if drained > bytes_max {
            return false;
        }
    }
}

/// Closes so that the reply arrives even where the peer is still sending.
async fn linger(shared: &Shared) {
    let deadline = Instant::now() + LINGER;
    let mut shut = false;
    let mut dropped = 0;
    let lingering = poll_fn(|cx| {
        let mut inner = shared.lock();
        if !shut {
            std::task::ready!(inner.poll_flush_out(cx)).ok();
            std::task::ready!(inner.poll_shutdown(cx)).ok();
            shut = true;
        }
        if inner.eof() {
            return Poll::Ready(());
        }
        loop {
            match std::task::ready!(inner.poll_discard(cx)) {
                0 => return Poll::Ready(()),
                n => dropped += n,
            }
            if dropped > LINGER_BYTES_MAX {
                return Poll::Ready(());
            }
        }
    });
    let _ = tokio::time::timeout_at(deadline, lingering).await;
}

async fn run_tunnel(shared: &Shared, mut origin: Box<dyn Duplex>, env: &ConnEnv<'_>) {
    count(&env.stats.tunnels);
    let (io, front) = shared.lock().take_io();
    let mut client = Rewound::new(front, io);
    tunnel::join(&mut client, &mut *origin, env.settings.upgrade_idle).await;
}
