//! Which path is answered by what, and by which methods. The only place where the site's paths are listed. Must never
//! look at fields or bodies.

use http::{Method, StatusCode};

use super::assets;

/// What answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// An embedded file, by its place in the table.
    Asset(usize),
    Time,
    Echo,
    Slow,
    Large,
    Events,
    WebSocket,
    Upload,
    Error(StatusCode),
    Private,
    Cookie,
    Vary,
    Redirect,
    Old,
    Early,
    Missing,
}

const READ: &str = "GET, HEAD, OPTIONS";
const READ_AND_SEND: &str = "GET, HEAD, OPTIONS, POST, PUT";
const TUNNEL: &str = "CONNECT, GET, OPTIONS";

/// Path and query of a target in origin-form.
pub(super) fn split(target: &[u8]) -> (&[u8], &[u8]) {
    match target.iter().position(|byte| *byte == b'?') {
        Some(at) => {
            let (path, query) = target.split_at(at);
            (path, query.strip_prefix(b"?").unwrap_or(query))
        }
        None => (target, b""),
    }
}

/// Finds what answers, or says which methods would have been right.
pub(super) fn find(method: &Method, path: &[u8]) -> Result<Route, &'static str> {
    let route = by_path(path);
    let allowed = match route {
        Route::Echo => return Ok(route),
        Route::Upload => READ_AND_SEND,
        Route::WebSocket => TUNNEL,
        _ => READ,
    };
    let known = *method != Method::OPTIONS && allowed.split(", ").any(|one| one == method.as_str());
    if known || (route == Route::Missing && *method != Method::OPTIONS) { Ok(route) } else { Err(allowed) }
}

fn by_path(path: &[u8]) -> Route {
    match path {
        b"/api/time" => Route::Time,
        b"/api/echo" => Route::Echo,
        b"/slow" => Route::Slow,
        b"/large" => Route::Large,
        b"/events" => Route::Events,
        b"/ws" => Route::WebSocket,
        b"/upload" => Route::Upload,
        b"/private" => Route::Private,
        b"/cookie" => Route::Cookie,
        b"/vary" => Route::Vary,
        b"/redirect" => Route::Redirect,
        b"/old" => Route::Old,
        b"/early" => Route::Early,
        _ => match path.strip_prefix(b"/error/") {
            Some(status) => error_status(status).map_or(Route::Missing, Route::Error),
            None => assets::position(path).map_or(Route::Missing, Route::Asset),
        },
    }
}

/// A status of the classes 4xx and 5xx.
fn error_status(digits: &[u8]) -> Option<StatusCode> {
    let status = StatusCode::from_bytes(digits).ok()?;
    (status.is_client_error() || status.is_server_error()).then_some(status)
}

/// The number that `name` has in a query, or `default` where it is not given. The error names what was wrong with it.
pub(super) fn number(query: &[u8], name: &str, default: u64) -> Result<u64, String> {
    for pair in query.split(|byte| *byte == b'&') {
        let Some(value) = pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) else { continue };
        let digits = std::str::from_utf8(value).unwrap_or_default();
        return digits.parse().map_err(|_| format!("{name} must be a whole number.\n"));
    }
    Ok(default)
}
