//! `/upload`: a form, and a place that takes any number of bytes and keeps none of them. Must never collect a body; what a
//! form sends as multipart/form-data is counted raw, boundaries included.

use archipel_http::list;
use archipel_transport::body::BodyError;
use archipel_transport::message::{Reply, Request};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use serde::Serialize;

use super::checksum::Crc32;
use super::reply::{self, NO_STORE};
use super::{api, pages};

/// What is said about an upload.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Receipt {
    /// Bytes of the body.
    pub(super) bytes: u64,
    /// Their CRC-32 in hexadecimal.
    pub(super) crc32: String,
    /// Their type as stated.
    pub(super) content_type: Option<String>,
}

/// GET and HEAD: the form. POST and PUT: takes the body and answers with a receipt, as a page where the visitor is a browser.
pub(super) async fn receive(request: Request) -> Reply {
    if request.method == Method::GET || request.method == Method::HEAD {
        return pages::upload_form();
    }
    let as_page = prefers_html(&request.headers);
    match take(request).await {
        Ok(receipt) if as_page => pages::received(&receipt),
        Ok(receipt) => reply::json(StatusCode::OK, NO_STORE, &receipt),
        Err(error) => api::broken_body(error),
    }
}

async fn take(mut request: Request) -> Result<Receipt, BodyError> {
    let mut checksum = Crc32::default();
    while let Some(frame) = std::future::poll_fn(|cx| request.body.poll_next(cx)).await {
        if let Some(data) = frame?.data_ref() {
            checksum.update(data);
        }
    }
    let content_type = request.headers.get(CONTENT_TYPE);
    Ok(Receipt {
        bytes: request.body.received(),
        crc32: format!("{:08x}", checksum.value()),
        content_type: content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
    })
}

/// Whether the visitor names HTML at all: browsers that send a form do, scripts and tools do not.
fn prefers_html(headers: &HeaderMap) -> bool {
    list::field_members(headers, ACCEPT)
        .any(|range| range.get(..9).is_some_and(|t| t.eq_ignore_ascii_case(b"text/html")))
}
