//! The transform stage at delivery: what every reply carries, whoever made it.

use archipel_transport::message::Reply;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::exchange::{CacheResult, Exchange};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Adds the request id and, where the zone asks for it, the timing.
pub(crate) fn on_deliver(ex: &mut Exchange, mut reply: Reply) -> Reply {
    let name = ex.zone.as_ref().map_or(REQUEST_ID, |zone| zone.zone.headers.request_id.clone());
    if let Ok(id) = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&ex.id_text())) {
        reply.add(name, id);
    }
    let asked = ex.overrides().server_timing;
    if asked.unwrap_or_else(|| ex.zone.as_ref().is_some_and(|zone| zone.zone.headers.server_timing)) {
        reply.add(SERVER_TIMING, timing(ex));
    }
    ex.status = Some(reply.status);
    ex.note("transform", "deliver", || format!("status {}", reply.status.as_u16()));
    reply
}

fn timing(ex: &Exchange) -> HeaderValue {
    let milliseconds = |us: u128| us as f64 / 1000.0;
    let edge = milliseconds(ex.times.begun.elapsed().as_micros());
    let origin =
        ex.times.origin_asked.zip(ex.times.origin_replied).map(|(a, b)| milliseconds(b.duration_since(a).as_micros()));
    let cache = if ex.cache == CacheResult::None { "none" } else { ex.cache.as_str() };
    let text = match origin {
        Some(origin) => format!("edge;dur={edge:.3}, origin;dur={origin:.3}, cache;desc={cache}"),
        None => format!("edge;dur={edge:.3}, cache;desc={cache}"),
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("edge"))
}
