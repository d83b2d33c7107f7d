//! The small answers of the site: JSON, and one path for each way in which a reply may or may not be stored.
//! Must never repeat a secret that a request carries.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use archipel_http::{UnixSeconds, list};
use archipel_transport::body::{BodyError, RequestBody};
use archipel_transport::message::{Reply, Request};
use http::header::{
    ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_LANGUAGE, COOKIE, HeaderName, HeaderValue, LOCATION, PROXY_AUTHORIZATION,
    SET_COOKIE, VARY,
};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use super::reply::{self, NO_STORE};

/// Fields whose values are not echoed.
const MASKED: [HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];
/// What stands in their place.
const MASK: &str = "(masked)";
/// What makes `/old` fail, whatever its value. Not part of a cache key, so that the same stored response is asked for.
const FAIL: HeaderName = HeaderName::from_static("sample-fail");

#[derive(Serialize)]
struct Time {
    http_date: String,
    unix_ms: u64,
}

/// `/api/time`: never stored.
pub(super) fn time(now: SystemTime) -> Reply {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = UnixSeconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let http_date = String::from_utf8_lossy(&seconds.format()).into_owned();
    let unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    reply::json(StatusCode::OK, NO_STORE, &Time { http_date, unix_ms })
}

#[derive(Serialize)]
struct Echo<'a> {
    method: &'a str,
    target: String,
    version: String,
    authority: Option<String>,
    headers: BTreeMap<&'a str, Values>,
    body_bytes: u64,
}

/// `/api/echo`: what arrived here, so that one sees what was added on the way. Any method.
pub(super) async fn echo(mut request: Request) -> Reply {
    let body_bytes = match count(&mut request.body).await {
        Ok(bytes) => bytes,
        Err(error) => return broken_body(error),
    };
    let echo = Echo {
        method: request.method.as_str(),
        target: String::from_utf8_lossy(&request.target).into_owned(),
        version: format!("{:?}", request.version),
        authority: request.authority.as_deref().map(|name| String::from_utf8_lossy(name).into_owned()),
        headers: shown(&request.headers),
        body_bytes,
    };
    reply::json(StatusCode::OK, NO_STORE, &echo)
}

/// The values of a field: a text, or a list where it has several lines.
#[derive(Serialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Many(Vec<String>),
}

fn shown(headers: &HeaderMap) -> BTreeMap<&str, Values> {
    let value = |name: &HeaderName, value: &HeaderValue| {
        if MASKED.contains(name) { MASK.to_owned() } else { String::from_utf8_lossy(value.as_bytes()).into_owned() }
    };
    let field = |name: &'_ HeaderName| {
        let mut lines: Vec<String> = headers.get_all(name).iter().map(|line| value(name, line)).collect();
        if lines.len() == 1 { Values::One(lines.remove(0)) } else { Values::Many(lines) }
    };
    headers.keys().map(|name| (name.as_str(), field(name))).collect()
}

async fn count(body: &mut RequestBody) -> Result<u64, BodyError> {
    while let Some(frame) = std::future::poll_fn(|cx| body.poll_next(cx)).await {
        frame?;
    }
    Ok(body.received())
}

/// The reply to a body that did not arrive whole.
pub(super) fn broken_body(error: BodyError) -> Reply {
    let mut reply = reply::text(StatusCode::BAD_REQUEST, NO_STORE, format!("The body is not whole: {error}.\n"));
    reply.close = true;
    reply
}

/// `/private`: for this visitor's own cache only.
pub(super) fn private() -> Reply {
    reply::text(StatusCode::OK, "private, max-age=60", "This is for you alone: no shared cache may keep it.\n")
}

/// `/cookie`: says that it may be stored, and sets a cookie that must not be given to the next visitor.
pub(super) fn cookie(number: u64) -> Reply {
    let mut reply = reply::text(StatusCode::OK, "public, max-age=60", "You have a cookie now.\n");
    let cookie = format!("sample={number}; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        reply.headers_mut().insert(SET_COOKIE, value);
    }
    reply
}

/// `/redirect`: a redirect that may be stored.
pub(super) fn redirect() -> Reply {
    let mut reply = reply::text(StatusCode::FOUND, "public, max-age=60", "It is at /hello.txt.\n");
    reply.headers_mut().insert(LOCATION, HeaderValue::from_static("/hello.txt"));
    reply
}

/// `/old`: fresh for a second, and may be served for five minutes when the origin fails (RFC 5861 section 4), which it does
/// when the request has a `Sample-Fail` field.
pub(super) fn old(headers: &HeaderMap) -> Reply {
    if headers.contains_key(FAIL) {
        return reply::text(StatusCode::SERVICE_UNAVAILABLE, NO_STORE, "The origin fails, as it was asked to.\n");
    }
    let stored = "public, max-age=1, stale-if-error=300";
    reply::text(StatusCode::OK, stored, "This may be served for a while after the origin has failed.\n")
}

/// The languages that `/vary` speaks, the first being the one for everybody else.
const GREETINGS: [(&str, &str); 4] = [
    ("en", "Hello, and welcome.\n"),
    ("fr", "Bonjour et bienvenue.\n"),
    ("de", "Hallo und willkommen.\n"),
    ("es", "Hola y bienvenidos.\n"),
];

/// `/vary`: one greeting a language, chosen by `Accept-Language` and stored for each.
pub(super) fn greeting(headers: &HeaderMap) -> Reply {
    let (language, text) = preferred(headers);
    let mut reply = reply::text(StatusCode::OK, "public, max-age=60", text);
    reply.headers_mut().insert(VARY, HeaderValue::from_static("accept-language"));
    reply.headers_mut().insert(CONTENT_LANGUAGE, HeaderValue::from_static(language));
    reply
}

/// The greeting whose language has the greatest weight (RFC 9110 section 12.5.4); of equal ones that which is named first.
fn preferred(headers: &HeaderMap) -> (&'static str, &'static str) {
    let [mut best, ..] = GREETINGS;
    let mut best_weight = 0;
    for member in list::field_members(headers, ACCEPT_LANGUAGE) {
        let mut parts = member.split(|byte| *byte == b';').map(list::trim);
        let range = parts.next().unwrap_or_default();
        let primary = range.split(|byte| *byte == b'-').next().unwrap_or_default();
        let weight = parts.find_map(weight).unwrap_or(1000);
        let spoken = GREETINGS.iter().find(|(language, _)| primary.eq_ignore_ascii_case(language.as_bytes()));
        if let Some(greeting) = spoken
            && weight > best_weight
        {
            (best, best_weight) = (*greeting, weight);
        }
    }
    best
}

/// A weight in thousandths (RFC 9110 section 12.4.2), 0 where it is malformed; `None` where the parameter is not a weight.
fn weight(parameter: &[u8]) -> Option<u32> {
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let weight: f32 = std::str::from_utf8(value).unwrap_or_default().parse().unwrap_or(0.0);
    Some((weight.clamp(0.0, 1.0) * 1000.0) as u32)
}
