//! The test origin: every request gets an empty 200, and a POST to `/reflect` the reply that its JSON describes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::message::Message;

/// A reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Its status code.
    pub status: u16,
    /// Its header fields.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// What the origin answers.
#[must_use]
pub fn reply(request: &Message) -> Reply {
    let path = request.target.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    if request.method == b"POST" && (path == b"/reflect" || path.starts_with(b"/reflect/")) {
        let reply = serde_json::from_slice(&request.body).ok().and_then(|specification| reflected(&specification));
        return complete(reply.unwrap_or_else(|| Reply {
            status: 400,
            headers: Vec::new(),
            body: b"Invalid JSON in request body".to_vec(),
        }));
    }
    complete(Reply { status: 200, ..Reply::default() })
}

fn reflected(specification: &Value) -> Option<Reply> {
    let text = |key: &str| specification.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut headers = Vec::new();
    for (name, value) in specification.get("headers").and_then(Value::as_object).into_iter().flatten() {
        headers.push((name.clone(), value.as_str()?.to_owned()));
    }
    let body = match text("body") {
        "" => BASE64.decode(text("encodedBody")).ok()?,
        body => body.as_bytes().to_vec(),
    };
    let status = specification.get("status").and_then(Value::as_u64).filter(|&status| status != 0).unwrap_or(200);
    Some(Reply { status: u16::try_from(status).ok()?, headers, body })
}

/// The fields that every origin adds. Text is called text, so that the firewall looks at it.
fn complete(mut reply: Reply) -> Reply {
    let is_typed = reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if !is_typed && !reply.body.is_empty() {
        reply.headers.push(("Content-Type".to_owned(), "text/plain; charset=utf-8".to_owned()));
    }
    reply.headers.push(("Content-Length".to_owned(), reply.body.len().to_string()));
    reply
}
