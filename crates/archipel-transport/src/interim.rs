//! Interim (1xx) responses on their way to a client: in order, before the final reply (RFC 9110 section 15.2).

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use crate::h1::conn::Shared;
use crate::h2::stream::StreamRef;

/// Where the interim responses of one exchange go.
#[derive(Clone)]
pub enum Interim {
    /// The client cannot receive them (HTTP/1.0).
    Discard,
    #[doc(hidden)]
    Http1(InterimHttp1),
    #[doc(hidden)]
    Http2(InterimHttp2),
}

/// The HTTP/1.1 form.
#[derive(Clone)]
pub struct InterimHttp1(pub(crate) Arc<Shared>);

/// The HTTP/2 form.
#[derive(Clone)]
pub struct InterimHttp2(pub(crate) StreamRef);

impl Interim {
    /// Passes one on. 100 (Continue) is hop-by-hop and sent by the transport itself when a body is first read;
    /// 101 is never interim here. Both are ignored.
    pub fn send(&self, status: StatusCode, headers: &HeaderMap) {
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS || status == StatusCode::CONTINUE {
            return;
        }
        match self {
            Interim::Discard => {}
            Interim::Http1(conn) => conn.0.lock().queue_interim(status, headers),
            Interim::Http2(stream) => stream.0.with(|conn, key| conn.send_interim(key, status, headers)),
        }
    }
}
