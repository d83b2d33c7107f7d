//! The zone stage: whose request this is, in canonical form, and whether it may come in this way at all.

use std::ops::ControlFlow;

use archipel_http::forwarding;
use archipel_http::target::{self, Scheme, Target};
use archipel_transport::message::Reply;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode, Version};

use crate::error_page::{self, Failure};
use crate::exchange::Exchange;

/// Times a request may pass this node before it is called a loop.
const PASSES_MAX: usize = 0;

/// Finds the zone. Breaks with 4xx where the request is malformed or misdirected, with 308 where the zone wants TLS.
pub(crate) fn stage(ex: &mut Exchange) -> ControlFlow<Reply> {
    let refused = canonical(ex).and_then(|()| find(ex)).and_then(|()| check(ex));
    if let Err(failure) = refused {
        ex.note("zone", "refused", || failure.message.clone().into_owned());
        return ControlFlow::Break(error_page::reply(ex, &failure));
    }
    if let Some(zone) = ex.zone.clone() {
        ex.note("zone", "found", || format!("zone {} for host {}", zone.zone.name, ex_host(&zone)));
        if zone.zone.tls.redirect_http && ex.asked.scheme == Scheme::Http {
            return ControlFlow::Break(redirect(ex));
        }
    }
    ControlFlow::Continue(())
}

fn ex_host(zone: &crate::live::LiveZone) -> String {
    zone.zone.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn bad(reason: &'static str, message: String) -> Failure {
    Failure::refusal(StatusCode::BAD_REQUEST, reason, message)
}

/// One canonical form for the firewall, the cache key and the origin.
fn canonical(ex: &mut Exchange) -> Result<(), Failure> {
    let asked = &mut ex.asked;
    if asked.authority.is_empty() {
        return Err(bad("no_host", "The request names no host.".to_owned()));
    }
    let host = target::parse_host(asked.authority.as_bytes())
        .map_err(|error| bad(error.as_str(), format!("The host is refused: {error}.")))?;
    let authority = host.to_text(asked.scheme);
    let host_len = host.name.len();
    let authority = (authority != *asked.authority).then(|| Box::<str>::from(authority));
    // Only HTTP/2 has an extended CONNECT (RFC 8441); with HTTP/1.1 the two together are an attempt at something.
    let tunnel = asked.method == Method::CONNECT && asked.upgrade.is_some() && asked.version == Version::HTTP_2;
    if asked.method == Method::CONNECT && !tunnel {
        let message = "CONNECT is not served: this is not a forward proxy.";
        return Err(Failure::refusal(StatusCode::METHOD_NOT_ALLOWED, "connect", message));
    }
    // The target of an extended CONNECT is that of the request it stands for (RFC 8441 section 4).
    let method = if tunnel { &Method::GET } else { &asked.method };
    let path = match target::parse_target(method, asked.path_and_query.as_bytes()) {
        Ok(Target::Origin(path)) => canonical_target(&asked.path_and_query, path.path.as_ref(), path.query),
        Ok(_) if &*asked.path_and_query == "*" => None,
        Ok(_) => return Err(bad("target_form", "The request target is refused.".to_owned())),
        Err(error) => return Err(bad(error.as_str(), format!("The request target is refused: {error}."))),
    };
    asked.host_len = host_len;
    if let Some(authority) = authority {
        asked.authority = authority;
    }
    if let Some(path) = path {
        asked.received_target = Some(std::mem::replace(&mut asked.path_and_query, path));
    }
    Ok(())
}

/// The canonical target, where it differs from what was received.
fn canonical_target(received: &str, path: &str, query: Option<&str>) -> Option<Box<str>> {
    if received.starts_with(path) && received.len() == path.len() + query.map_or(0, |q| q.len() + 1) {
        return None;
    }
    Some(match query {
        Some(query) => format!("{path}?{query}").into(),
        None => path.into(),
    })
}

fn find(ex: &mut Exchange) -> Result<(), Failure> {
    ex.zone = ex.live.zone_for_host(ex.asked.host()).cloned();
    if ex.zone.is_some() {
        return Ok(());
    }
    let message = format!("No site is served here under the name {}.", ex.asked.host());
    Err(Failure::refusal(StatusCode::MISDIRECTED_REQUEST, "unknown_host", message))
}

fn check(ex: &mut Exchange) -> Result<(), Failure> {
    let Some(zone) = &ex.zone else { return Ok(()) };
    // RFC 9110 section 7.4: a connection made for one site does not carry requests for another.
    if let Some(sni) = ex.conn.as_ref().and_then(|conn| conn.tls.as_ref()).and_then(|tls| tls.sni.as_deref())
        && sni != ex.asked.host()
        && ex.live.zone_for_host(sni).is_none_or(|other| other.zone.id != zone.zone.id)
    {
        let message = "This connection was made for another site.";
        return Err(Failure::refusal(StatusCode::MISDIRECTED_REQUEST, "sni_mismatch", message));
    }
    // It says how the body is read; each parser would take another of two (RFC 9110 section 8.3 allows one).
    if ex.asked.headers.get_all(CONTENT_TYPE).iter().nth(1).is_some() {
        return Err(bad("content_type_twice", "The request has more than one Content-Type.".to_owned()));
    }
    let cdn_id = ex.live.cdn_loop.to_str().unwrap_or_default();
    if let Err(looped) = forwarding::check_loop(&ex.asked.headers, cdn_id, PASSES_MAX) {
        let message = "The request has come round to this node again: the origin of this site is this edge.";
        return Err(Failure::refusal(StatusCode::LOOP_DETECTED, looped.as_str(), message));
    }
    let body_bytes_max = zone.zone.body_bytes_max();
    limit_body(ex, body_bytes_max)?;
    if !ex.live.trusted().is_empty() {
        let trusted = ex.live.trusted();
        ex.client =
            forwarding::client_address(ex.client, &ex.asked.headers, &ex.live.address_source, |a| trusted.contains(a));
    }
    Ok(())
}

/// Refuses a body that announces more than is allowed, and bounds one that does not announce.
pub(crate) fn limit_body(ex: &mut Exchange, body_bytes_max: u64) -> Result<(), Failure> {
    if ex.asked.body.announced_length().is_some_and(|n| n > body_bytes_max) {
        let message = format!("The request body is larger than the {body_bytes_max} bytes allowed here.");
        return Err(Failure::refusal(StatusCode::PAYLOAD_TOO_LARGE, "body_bytes_max", message));
    }
    ex.asked.body.limit(body_bytes_max);
    Ok(())
}

fn redirect(ex: &mut Exchange) -> Reply {
    let location = format!("https://{}{}", ex.asked.host(), ex.asked.path_and_query);
    ex.note("zone", "redirect", || location.clone());
    ex.reason = Some("redirect_http");
    let mut reply = Reply::new(StatusCode::PERMANENT_REDIRECT);
    if let Ok(location) = http::HeaderValue::try_from(location) {
        reply.headers_mut().insert(http::header::LOCATION, location);
    }
    reply
}
