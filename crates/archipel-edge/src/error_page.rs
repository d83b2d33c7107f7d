//! What a visitor sees when the edge answers by itself: whose fault it is, whether trying again helps, and the id to
//! quote. A zone may replace each kind of page.

use std::borrow::Cow;

use archipel_config::ErrorPageKind;
use archipel_http::proxy_status::{Fault, ProxyError, ProxyStatus};
use archipel_transport::message::{Reply, ReplyBody};
use archipel_transport::origin::OriginError;
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use crate::exchange::Exchange;

/// Why the edge answers by itself.
#[derive(Debug)]
pub struct Failure {
    /// The status.
    pub status: StatusCode,
    /// The named reason in log and metrics.
    pub reason: &'static str,
    /// One or two sentences for the visitor. Never holds what an origin or a client sent, but for host names.
    pub message: Cow<'static, str>,
    /// Which page of the zone stands for it.
    pub kind: ErrorPageKind,
    /// Whose fault it is.
    pub fault: Fault,
    /// Whether trying again may help.
    pub retry_helps: bool,
    /// The error in RFC 9209's words, where the origin is concerned.
    pub proxy: Option<ProxyError>,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u32>,
}

impl Failure {
    /// A request that is refused.
    pub fn refusal(status: StatusCode, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
            kind: ErrorPageKind::Refused,
            fault: Fault::Client,
            retry_helps: false,
            proxy: None,
            retry_after: None,
        }
    }

    /// A fault of our own.
    pub fn internal(reason: &'static str) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            reason,
            message: "This edge failed to handle the request. The operator has been given the details.".into(),
            kind: ErrorPageKind::Internal,
            fault: Fault::Edge,
            retry_helps: true,
            proxy: Some(ProxyError::ProxyInternalError),
            retry_after: None,
        }
    }

    /// An origin that gave no usable reply.
    pub fn origin(error: &OriginError) -> Self {
        if let OriginError::RequestBody(_) = error {
            let reason =
                if error.status() == StatusCode::PAYLOAD_TOO_LARGE { "body_bytes_max" } else { "request_body" };
            return Self::refusal(error.status(), reason, format!("The request body could not be read: {error}."));
        }
        if let Some(failure) = Self::not_sent(error) {
            return failure;
        }
        let word = error.proxy_status();
        let proxy =
            ProxyError::ALL.iter().copied().find(|e| e.as_str() == word).unwrap_or(ProxyError::ProxyInternalError);
        let (kind, message) = match error.status() {
            StatusCode::GATEWAY_TIMEOUT => {
                (ErrorPageKind::OriginTimeout, "The site's own server took too long to answer.")
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                (ErrorPageKind::OriginUnreachable, "The site's own server is busy: all connections to it are in use.")
            }
            _ if is_bad_reply(error) => {
                (ErrorPageKind::OriginBadReply, "The site's own server sent an answer that cannot be understood.")
            }
            _ => (ErrorPageKind::OriginUnreachable, "The site's own server cannot be reached."),
        };
        Self {
            status: error.status(),
            reason: proxy.as_str(),
            message: message.into(),
            kind,
            fault: proxy.fault(),
            retry_helps: proxy.retry_helps(),
            proxy: Some(proxy),
            retry_after: (error.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
        }
    }
}

/// `Retry-After` of a request that was not sent as too much is asked for, in seconds: not the same for all, so that they do not all
/// come back at once.
const RETRY_AFTER_SPREAD: u64 = 4;

impl Failure {
    /// A request that was not sent to its origin, to spare it.
    fn not_sent(error: &OriginError) -> Option<Self> {
        let (reason, proxy, message, retry_after) = match error {
            OriginError::LeftAlone(wait) => (
                "origin_down",
                ProxyError::DestinationUnavailable,
                "The site's own server does not answer at the moment. It is asked again shortly.",
                wait.as_secs() + 1,
            ),
            OriginError::Overloaded => (
                "origin_overloaded",
                ProxyError::ConnectionLimitReached,
                "The site's own server has more to do than it can at the moment.",
                1 + crate::node::random() % RETRY_AFTER_SPREAD,
            ),
            _ => return None,
        };
        Some(Self {
            status: error.status(),
            reason,
            message: message.into(),
            kind: ErrorPageKind::OriginUnreachable,
            fault: Fault::Origin,
            retry_helps: true,
            proxy: Some(proxy),
            retry_after: Some(u32::try_from(retry_after).unwrap_or(u32::MAX)),
        })
    }
}

fn is_bad_reply(error: &OriginError) -> bool {
    matches!(
        error,
        OriginError::BadResponse(_) | OriginError::Incomplete | OriginError::Interim | OriginError::Http2(_)
    )
}

/// Words a reply. The exchange is marked as refused for this reason.
pub fn reply(ex: &mut Exchange, failure: &Failure) -> Reply {
    ex.refused = true;
    ex.reason = Some(failure.reason);
    let mut reply = Reply::new(failure.status);
    let page = ex.zone.as_ref().and_then(|zone| zone.zone.error_pages.get(failure.kind).cloned());
    let (content_type, body) = match page {
        Some(page) => (HeaderValue::from_static("text/html; charset=utf-8"), page),
        None if wants_html(ex) => (HeaderValue::from_static("text/html; charset=utf-8"), html(ex, failure)),
        None => (HeaderValue::from_static("text/plain; charset=utf-8"), plain(ex, failure)),
    };
    let proxy_status = ex.zone.as_ref().is_none_or(|zone| zone.zone.headers.proxy_status);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = failure.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if proxy_status && let Some(error) = failure.proxy {
        let status = ProxyStatus { proxy: PROXY_NAME, error: Some(error), ..ProxyStatus::default() };
        status.append_to(headers);
    }
    reply.body = ReplyBody::Full(body);
    // What could not be understood may be half of something else (RFC 9112 section 11.2).
    reply.close = failure.status == StatusCode::BAD_REQUEST;
    reply
}

/// This software in `Via`, `Cache-Status` and `Proxy-Status`.
pub(crate) const PROXY_NAME: &str = "archipel";

fn wants_html(ex: &Exchange) -> bool {
    ex.asked.headers.get(ACCEPT).is_some_and(|accept| memchr::memmem::find(accept.as_bytes(), b"text/html").is_some())
}

fn whose(fault: Fault) -> &'static str {
    match fault {
        Fault::Client => "The request cannot be served as it was sent.",
        Fault::Edge => "The fault is this edge's.",
        Fault::Origin => "The fault is behind this edge, at the site's own server.",
        Fault::Operator => "The fault is in this site's set-up.",
    }
}

fn advice(failure: &Failure) -> &'static str {
    if failure.retry_helps { "Trying again in a moment may help." } else { "Trying again will not help." }
}

fn plain(ex: &Exchange, failure: &Failure) -> Bytes {
    let id = ex.id_text();
    let id = std::str::from_utf8(&id).unwrap_or_default();
    let reason = failure.status.canonical_reason().unwrap_or_default();
    Bytes::from(format!(
        "{} {reason}\n{}\n{} {}\nreason: {}\nrequest: {id}\n",
        failure.status.as_u16(),
        failure.message,
        whose(failure.fault),
        advice(failure),
        failure.reason
    ))
}

fn html(ex: &Exchange, failure: &Failure) -> Bytes {
    let id = ex.id_text();
    let id = std::str::from_utf8(&id).unwrap_or_default();
    let title = failure.status.canonical_reason().unwrap_or("Error");
    Bytes::from(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{status} {title}</title><style>{CSS}</style></head>\
<body><main><p class=\"code\">{status}</p><h1>{title}</h1><p>{message}</p><p>{whose} {advice}</p>\
<dl><dt>Reason</dt><dd>{reason}</dd><dt>Request</dt><dd>{id}</dd></dl></main></body></html>\n",
        status = failure.status.as_u16(),
        message = escape(&failure.message),
        whose = whose(failure.fault),
        advice = advice(failure),
        reason = failure.reason,
    ))
}

const CSS: &str = ":root{color-scheme:light dark;--b:#f6f8fa;--f:#1b2733;--m:#51606e;--a:#0b6e99}\
@media(prefers-color-scheme:dark){:root{--b:#10171e;--f:#e4ebf1;--m:#9aa9b6;--a:#5cc3ee}}\
*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--b);color:var(--f);\
font:17px/1.55 system-ui,sans-serif}main{max-width:34rem;padding:2rem}.code{margin:0;font-size:4rem;font-weight:700;color:var(--a);line-height:1}\
h1{margin:.3rem 0 1rem;font-size:1.5rem}p{margin:.4rem 0}dl{margin:1.5rem 0 0;display:grid;grid-template-columns:auto 1fr;gap:.2rem 1rem;\
color:var(--m);font-size:.85rem}dt{font-weight:600}dd{margin:0;font-family:ui-monospace,monospace;overflow-wrap:anywhere}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
