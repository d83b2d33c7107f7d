//! The pages of the site that are put together here: one frame around all of them. Must never put text of a request into
//! a page unescaped.

use archipel_transport::message::Reply;
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};

use super::reply::{self, NO_STORE};
use super::upload::Receipt;

/// What stands around every page.
const FRAME: &str = include_str!("assets/frame.html");
/// Where the page goes in the frame.
const PLACE: &str = "<!-- page -->";
/// Seconds after which a 503 says that it is worth another try.
const RETRY_AFTER_SECONDS: u32 = 30;

/// A page in its frame.
pub(super) fn document(page: &[u8]) -> String {
    FRAME.replacen(PLACE, &String::from_utf8_lossy(page), 1)
}

fn message(status: StatusCode, cache_control: &'static str, title: &str, text: &str) -> Reply {
    let page = format!(
        "<section class=\"message\">\n<p class=\"status\">{}</p>\n<h1>{title}</h1>\n{text}\n\
         <p><a href=\"/\">To the start page</a></p>\n</section>\n",
        status.as_u16()
    );
    reply::full(status, reply::HTML, cache_control, document(page.as_bytes()))
}

/// 404, which may be stored for a moment.
pub(super) fn missing() -> Reply {
    let text = "<p>The sample site has no page at this address. The start page lists all that there is.</p>";
    message(StatusCode::NOT_FOUND, "public, max-age=10", "There is nothing here", text)
}

/// `/error/…`: the status that was asked for.
pub(super) fn error(status: StatusCode) -> Reply {
    let reason = status.canonical_reason().unwrap_or("An error");
    let text = "<p>The sample origin answers so because it was asked to: everything is in order.</p>";
    let mut reply = message(status, NO_STORE, reason, text);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    reply
}

/// `/early`: the page behind the early hints.
pub(super) fn early() -> Reply {
    let text = "<p>Before this page came a <code>103 Early Hints</code> response with two <code>Link</code> fields, so that \
                a browser could fetch style and script while the origin was still at work. See it with \
                <code>curl -v</code>.</p>";
    message(StatusCode::OK, NO_STORE, "You were hinted", text)
}

/// `GET /upload`: the form.
pub(super) fn upload_form() -> Reply {
    reply::full(StatusCode::OK, reply::HTML, "public, max-age=60", document(include_bytes!("assets/upload.html")))
}

/// What a browser is told about its upload.
pub(super) fn received(receipt: &Receipt) -> Reply {
    let text = format!(
        "<p>{} bytes of {} arrived. Their CRC-32 is <code>{}</code>.</p>\n\
         <p>A form wraps files in multipart/form-data, which is counted with its wrapping.</p>\n\
         <p><a href=\"/upload\">Send another</a></p>",
        receipt.bytes,
        escape(receipt.content_type.as_deref().unwrap_or("an unnamed type")),
        receipt.crc32
    );
    message(StatusCode::OK, NO_STORE, "Received", &text)
}

/// Text as it stands between tags and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
