//! Replies of the common kinds. Owns their fields; must never decide which reply is due.

use archipel_transport::message::{Reply, ReplyBody};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";

pub(super) const NO_STORE: &str = "no-store";

/// Everything comes from the site itself: no inline script or style, no foreign resource, no frame.
const PAGE_POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The fields that describe content.
pub(super) fn fields(content_type: &'static str, cache_control: &'static str) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(8);
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if content_type == HTML {
        fields.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    }
    fields
}

/// A reply whose content is at hand.
pub(super) fn full(
    status: StatusCode,
    content_type: &'static str,
    cache_control: &'static str,
    content: impl Into<Bytes>,
) -> Reply {
    let mut reply = Reply::new(status);
    *reply.headers_mut() = fields(content_type, cache_control);
    reply.body = ReplyBody::Full(content.into());
    reply
}

/// Plain text.
pub(super) fn text(status: StatusCode, cache_control: &'static str, content: impl Into<Bytes>) -> Reply {
    full(status, TEXT, cache_control, content)
}

/// JSON with a line feed at its end, for those who read it on a terminal.
pub(super) fn json(status: StatusCode, cache_control: &'static str, value: &impl Serialize) -> Reply {
    match serde_json::to_vec_pretty(value) {
        Ok(mut content) => {
            content.push(b'\n');
            full(status, JSON, cache_control, content)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, NO_STORE, format!("{error}\n")),
    }
}
