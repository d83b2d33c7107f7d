//! The origin stage: the request as the origin gets it, and the reply to it or the named reason why there is none.

use std::net::IpAddr;
use std::time::Instant;

use archipel_http::forwarding::{self, ForwardedClient};
use archipel_http::{hop, reuse};
use archipel_transport::body::RequestBody;
use archipel_transport::origin::{OriginError, OriginReply, OriginRequest};
use base64::Engine as _;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, EXPECT, HOST, HeaderName, VIA};
use http::{HeaderMap, HeaderValue, Method, Version};

use crate::cache::{Plan, codings};
use crate::exchange::Exchange;
use crate::route::Route;

const SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const SEC_WEBSOCKET_VERSION: HeaderName = HeaderName::from_static("sec-websocket-version");

/// The request for the origin. Takes the body out of the exchange.
pub(crate) fn request(ex: &mut Exchange, route: &Route, plan: &Plan) -> OriginRequest {
    let peer = ex.conn.as_ref().map_or(ex.client, |conn| conn.client_ip());
    let (trusted, safe) = (ex.live.trusted().contains(peer), ex.asked.method.is_safe());
    let mut headers = hop::end_to_end(&ex.asked.headers, |name| {
        matches!(*name, HOST | CONTENT_LENGTH | EXPECT) || (!trusted && is_forgery(name, safe))
    });
    match plan.validates() {
        Some(meta) => reuse::make_conditional(&mut headers, meta),
        None if plan.asks_for_whole() => reuse::make_unconditional(&mut headers),
        None => {}
    }
    codings::ask(ex, &route.zone, plan, &mut headers);
    forward_fields(ex, route, peer, trusted, &mut headers);
    let (mut method, mut upgrade) = (ex.asked.method.clone(), ex.asked.upgrade.clone());
    if method == Method::CONNECT {
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
        scheme: route.zone.origin.scheme,
        authority: route.zone.origin.authority.clone().unwrap_or_else(visitor),
        target: bytes::Bytes::copy_from_slice(ex.asked.path_and_query.as_bytes()),
        headers,
        upgrade,
        body: std::mem::replace(&mut ex.asked.body, RequestBody::empty()),
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
/// and some interfaces need it.
fn is_forgery(name: &HeaderName, safe: bool) -> bool {
    match name.as_str() {
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
        | "x-original-host" => true,
        "x-original-url" | "x-rewrite-url" | "x-http-method-override" | "x-http-method" | "x-method-override" => safe,
        _ => false,
    }
}

fn forward_fields(ex: &Exchange, route: &Route, peer: IpAddr, trusted: bool, headers: &mut HeaderMap) {
    let settings = &route.zone.zone.headers;
    if settings.via {
        headers.append(VIA, via(ex.asked.version));
    }
    forwarding::append_cdn_loop(headers, &ex.live.cdn_loop);
    if let Ok(id) = HeaderValue::from_bytes(&ex.id_text()) {
        headers.insert(settings.request_id.clone(), id);
    }
    if settings.forwarded_for {
        let client = ForwardedClient { peer, scheme: ex.asked.scheme, host: &ex.asked.authority };
        forwarding::write_x_forwarded(headers, &client, trusted);
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

/// Sends the request. Sends it again only where nothing of it can have been acted upon: the method is idempotent, the
/// connection was an old one that broke before a byte of reply came, and no byte of the body was taken.
pub(crate) async fn fetch(
    ex: &mut Exchange,
    route: &Route,
    mut request: OriginRequest,
) -> Result<OriginReply, OriginError> {
    #[cfg(test)]
    if let Some(reply) = crate::model_tests::origin_reply(&request) {
        return reply;
    }
    let worker = ex.worker.clone();
    ex.times.origin_asked = Some(Instant::now());
    let mut retries = 0;
    loop {
        worker.metrics.origin_requests.add(1);
        let fresh = retries > 0;
        // A connection that carried something before may have ended without our hearing of it.
        let taken = worker.pool.take(&route.zone.origin, route.limits, fresh).await?;
        let idempotent = is_idempotent(&request.method);
        let may_repeat = taken.reused && retries < route.retries_max;
        let failed = match taken.link.send(request, route.timeouts, &ex.asked.interim, taken.ticket).await {
            Ok(reply) => {
                ex.times.origin_replied = Some(Instant::now());
                ex.origin_status = Some(reply.status);
                return Ok(reply);
            }
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
                    worker.pool.forget_http2(route.zone.origin.pool);
                }
                return Err(failed.error);
            }
        }
    }
}
