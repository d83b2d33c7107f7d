//! The origin stage: the request as the origin gets it, and the reply to it or the named reason why there is none.

use std::time::Instant;

use archipel_http::forwarding::{self, ForwardedClient};
use archipel_http::sink::FieldSink;
use archipel_http::{hop, reuse};
use archipel_transport::body::{BodyMeter, RequestBody};
use archipel_transport::h1::encode::FieldLines;
use archipel_transport::origin::{OriginError, OriginProtocol, OriginReply, OriginRequest};
use base64::Engine as _;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, EXPECT, HOST, HeaderName, VIA};
use http::{HeaderMap, HeaderValue, Method, Version};

use crate::cache::{Plan, codings};
use crate::exchange::Exchange;
use crate::overload::Permit;
use crate::route::Route;
use crate::shield::UnderWay;

const SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const SEC_WEBSOCKET_VERSION: HeaderName = HeaderName::from_static("sec-websocket-version");

/// Room for the lines of a request's fields: most requests need no more.
const LINES_BYTES: usize = 1024;

/// The request for the origin. Takes the body out of the exchange.
pub(crate) fn request(ex: &mut Exchange, route: &Route, plan: &Plan) -> OriginRequest {
    let (mut method, mut upgrade) = (ex.asked.method.clone(), ex.asked.upgrade.clone());
    let connects = method == Method::CONNECT;
    let codings = codings::Asked::new(ex, &route.zone, plan);
    let (mut headers, mut lines) = (HeaderMap::new(), FieldLines::default());
    if connects || route.origin.protocol == OriginProtocol::Http2 {
        headers.reserve(ex.asked.headers.len() + 8);
        write_fields(ex, route, (plan, &codings), &mut headers);
    } else {
        lines = FieldLines::with_capacity(LINES_BYTES);
        write_fields(ex, route, (plan, &codings), &mut lines);
    }
    if connects {
        // An extended CONNECT (RFC 8441) becomes the HTTP/1.1 handshake that it stands for.
        method = Method::GET;
        websocket_handshake(&mut headers, upgrade.as_deref());
    } else if let Some(asked) = &upgrade
        && method != Method::GET
    {
        tracing::debug!(?asked, "an upgrade with another method than GET is ignored");
        upgrade = None;
    }
    let visitor = || HeaderValue::try_from(&*ex.asked.authority).unwrap_or_else(|_| HeaderValue::from_static(""));
    OriginRequest {
        method,
        scheme: route.origin.scheme,
        authority: route.origin.authority.clone().unwrap_or_else(visitor),
        target: bytes::Bytes::copy_from_slice(ex.asked.path_and_query.as_bytes()),
        headers,
        lines,
        upgrade,
        body: std::mem::replace(&mut ex.asked.body, RequestBody::empty()),
    }
}

/// The fields for the origin: the client's end-to-end fields, the conditions under which something stored is asked for,
/// and what tells the origin of this hop.
fn write_fields(ex: &Exchange, route: &Route, (plan, codings): (&Plan, &codings::Asked), to: &mut impl FieldSink) {
    let settings = &route.zone.zone.headers;
    let peer = ex.conn.as_ref().map_or(ex.client, |conn| conn.client_ip());
    let (trusted, safe, whole) =
        (ex.live.trusted().contains(peer), ex.asked.method.is_safe(), plan.has_own_conditions());
    let dropped = |name: &HeaderName| {
        matches!(*name, HOST | CONTENT_LENGTH | EXPECT)
            || *name == settings.request_id
            || (whole && reuse::is_conditional(name))
            || codings.replaces(name)
            || (!trusted && is_forgery(name, safe) && !ex.sets_field(name))
            || ex.ruling.as_ref().is_some_and(|ruling| ruling.tells(name))
    };
    hop::end_to_end(&ex.asked.headers, dropped, to);
    plan.write_conditions(to);
    codings.write(to);
    if settings.via {
        to.put(&VIA, &via(ex.asked.version));
    }
    to.put(&forwarding::CDN_LOOP, &ex.live.cdn_loop);
    to.put_text(&settings.request_id, std::str::from_utf8(&ex.id_text()).unwrap_or_default());
    if settings.forwarded_for {
        let client = ForwardedClient { peer, scheme: ex.asked.scheme, host: &ex.asked.authority };
        forwarding::write_x_forwarded(&ex.asked.headers, &client, trusted, to);
    }
    if let Some(ruling) = &ex.ruling {
        ruling.tell_origin(&ex.asked.headers, to);
    }
}

/// This hop in `Via` (RFC 9110 section 7.6.3).
pub(crate) fn via(received: Version) -> HeaderValue {
    HeaderValue::from_static(match received {
        Version::HTTP_10 => "1.0 archipel",
        Version::HTTP_2 => "2 archipel",
        Version::HTTP_3 => "3 archipel",
        _ => "1.1 archipel",
    })
}

/// Fields by which proxies tell origins where a request came from and what it was, or by which frameworks are told to
/// take it for another one. From a client they are forgeries; and as they are not in the cache key, what an origin makes
/// of them would be served to everybody. With an unsafe method the second group stays: nothing of its reply is stored,
/// and some interfaces need it. Underscores make no difference: to what speaks CGI or WSGI they are the same name.
fn is_forgery(name: &HeaderName, safe: bool) -> bool {
    let name = name.as_str();
    match name.contains('_') {
        true => is_forged(&name.replace('_', "-"), safe),
        false => is_forged(name, safe),
    }
}

fn is_forged(name: &str, safe: bool) -> bool {
    match name {
        "x-forwarded-for"
        | "x-forwarded-proto"
        | "x-forwarded-host"
        | "forwarded"
        | "x-forwarded"
        | "x-forwarded-by"
        | "x-forwarded-port"
        | "x-forwarded-prefix"
        | "x-forwarded-scheme"
        | "x-forwarded-server"
        | "x-forwarded-ssl"
        | "x-real-ip"
        | "true-client-ip"
        | "cf-connecting-ip"
        | "x-client-ip"
        | "x-cluster-client-ip"
        | "x-host"
        | "x-original-host"
        | "archipel-device"
        | "archipel-language" => true,
        "x-original-url" | "x-rewrite-url" | "x-http-method-override" | "x-http-method" | "x-method-override" => safe,
        _ => false,
    }
}

fn websocket_handshake(headers: &mut HeaderMap, protocol: Option<&[u8]>) {
    if !protocol.is_some_and(|p| p.eq_ignore_ascii_case(b"websocket")) {
        return;
    }
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&crate::node::random().to_le_bytes());
    nonce[8..].copy_from_slice(&crate::node::random().to_le_bytes());
    let key = base64::engine::general_purpose::STANDARD.encode(nonce);
    if let Ok(key) = HeaderValue::try_from(key) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    headers.entry(SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
    headers.remove(ACCEPT_ENCODING);
}

/// Methods that may be sent twice (RFC 9110 section 9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}

/// Sends the request, once its origin can take it.
pub(crate) async fn fetch(
    ex: &mut Exchange,
    route: &Route,
    plan: &Plan,
    request: OriginRequest,
) -> Result<OriginReply, OriginError> {
    #[cfg(test)]
    if let Some(reply) = crate::model_tests::origin_reply(&request) {
        return reply;
    }
    let under_way = UnderWay::begin(ex);
    let stands_in = |ex: &Exchange| plan.has_stand_in(ex, &route.zone);
    let mut permit = match route.origin.guard.admit(ex, stands_in).await {
        Ok(permit) => permit,
        Err(error) => {
            under_way.failed(&error);
            return Err(error);
        }
    };
    let asked = Instant::now();
    ex.times.origin_asked = Some(asked);
    let outcome = send(ex, route, request, &mut permit).await;
    match &outcome {
        Ok((reply, sent)) => {
            ex.times.origin_replied = Some(Instant::now());
            ex.origin_status = Some(reply.status);
            let whole = ex.received.as_ref().map_or(Some(*sent), |meter| meter.ended());
            permit.answered(reply.status, whole.map(|whole| whole.max(*sent)));
            under_way.replied(asked.elapsed(), reply.status.is_server_error());
        }
        Err(error) => {
            permit.failed(error);
            under_way.failed(error);
        }
    }
    outcome.map(|(reply, _)| reply)
}

/// Sends the request. Sends it again only where nothing of it can have been acted upon: the method is idempotent, the
/// connection was an old one that broke before a byte of reply came, and no byte of the body was taken. Beside the reply comes when it
/// was sent.
async fn send(
    ex: &mut Exchange,
    route: &Route,
    mut request: OriginRequest,
    permit: &mut Permit<'_>,
) -> Result<(OriginReply, Instant), OriginError> {
    let worker = ex.worker.clone();
    let mut retries = 0;
    loop {
        worker.metrics.origin_requests.add(1);
        let fresh = retries > 0;
        // A connection that carried something before may have ended without our hearing of it.
        let taken = match worker.pool.take(&route.origin, route.limits, fresh) {
            Some(taken) => taken,
            // Boxed, so that an exchange that need not connect does not carry the room for it.
            None => Box::pin(worker.pool.open(&route.origin, route.limits)).await?,
        };
        let sent = Instant::now();
        let idempotent = is_idempotent(&request.method);
        let may_repeat = taken.reused && retries < route.retries_max;
        let sending = taken.link.send(request, route.timeouts, &ex.asked.interim, taken.ticket);
        let failed = match while_whole(sending, ex.received.as_deref(), permit).await {
            Ok(reply) => return Ok((reply, sent)),
            Err(failed) => failed,
        };
        match failed.unsent {
            Some(unsent) if may_repeat && (idempotent || failed.never_sent) => {
                worker.metrics.origin_retries.add(1);
                retries += 1;
                request = *unsent;
            }
            _ => {
                if matches!(failed.error, OriginError::ResponseTimeout | OriginError::WriteTimeout) {
                    // A silent HTTP/2 connection may be a dead one: the next request opens another.
                    worker.pool.forget_http2(route.origin.pool);
                }
                return Err(failed.error);
            }
        }
    }
}

/// Waits for the head of a reply, and keeps the permit informed of whether all of the request is there.
async fn while_whole<T>(sending: impl Future<Output = T>, body: Option<&BodyMeter>, permit: &mut Permit<'_>) -> T {
    let Some(meter) = body else { return sending.await };
    let mut sending = std::pin::pin!(sending);
    std::future::poll_fn(|cx| {
        let polled = sending.as_mut().poll(cx);
        if polled.is_pending() {
            permit.is_whole(meter.ended().is_some());
        }
        polled
    })
    .await
}
