//! The embedded files of the site: bytes, types, how long they may be cached, and how slow the origin pretends to be with
//! each. Must never read a file at run time.

use std::time::Duration;

use archipel_http::UnixSeconds;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{ETAG, HeaderValue, LAST_MODIFIED};

use super::checksum::Crc32;
use super::content::{Content, Source};
use super::{pages, reply};

const HOUR: &str = "public, max-age=3600";

/// An embedded file as it is listed.
struct Listed {
    path: &'static str,
    content_type: &'static str,
    cache_control: &'static str,
    /// What an origin with a database and a long way to it would take, in milliseconds: without it, a hit and a miss on one
    /// machine look alike.
    pace_ms: u64,
    bytes: &'static [u8],
}

const LISTED: [Listed; 9] = [
    Listed {
        path: "/",
        content_type: reply::HTML,
        cache_control: "public, max-age=60, stale-while-revalidate=30",
        pace_ms: 120,
        bytes: include_bytes!("assets/index.html"),
    },
    Listed {
        path: "/style.css",
        content_type: "text/css; charset=utf-8",
        cache_control: HOUR,
        pace_ms: 40,
        bytes: include_bytes!("assets/style.css"),
    },
    Listed {
        path: "/app.js",
        content_type: "text/javascript; charset=utf-8",
        cache_control: HOUR,
        pace_ms: 40,
        bytes: include_bytes!("assets/app.js"),
    },
    Listed {
        path: "/logo.svg",
        content_type: "image/svg+xml",
        cache_control: HOUR,
        pace_ms: 40,
        bytes: include_bytes!("assets/logo.svg"),
    },
    Listed {
        path: "/islands.webp",
        content_type: "image/webp",
        cache_control: HOUR,
        pace_ms: 250,
        bytes: include_bytes!("assets/islands.webp"),
    },
    Listed {
        path: "/favicon.ico",
        content_type: "image/x-icon",
        cache_control: HOUR,
        pace_ms: 0,
        bytes: include_bytes!("assets/favicon.ico"),
    },
    Listed {
        path: "/api/products",
        content_type: reply::JSON,
        cache_control: "public, max-age=30",
        pace_ms: 400,
        bytes: include_bytes!("assets/products.json"),
    },
    Listed {
        path: "/hello.txt",
        content_type: reply::TEXT,
        cache_control: HOUR,
        pace_ms: 0,
        bytes: b"Hello from the sample origin.\n",
    },
    Listed {
        path: "/robots.txt",
        content_type: reply::TEXT,
        cache_control: HOUR,
        pace_ms: 0,
        bytes: b"User-agent: *\nDisallow: /\n",
    },
];

/// The place of a path in the table.
pub(super) fn position(path: &[u8]) -> Option<usize> {
    LISTED.iter().position(|listed| listed.path.as_bytes() == path)
}

/// One file, ready to be served.
pub(super) struct Asset {
    fields: HeaderMap,
    bytes: Bytes,
    pub(super) pace: Duration,
}

impl Asset {
    fn new(listed: &Listed, modified: &HeaderValue) -> Self {
        let bytes = match listed.content_type {
            reply::HTML => Bytes::from(pages::document(listed.bytes)),
            _ => Bytes::from_static(listed.bytes),
        };
        let mut fields = reply::fields(listed.content_type, listed.cache_control);
        fields.insert(ETAG, tag(&bytes));
        fields.insert(LAST_MODIFIED, modified.clone());
        Self { fields, bytes, pace: Duration::from_millis(listed.pace_ms) }
    }

    /// Its content, for one answer.
    pub(super) fn content(&self) -> Content {
        Content { fields: self.fields.clone(), source: Source::Embedded(self.bytes.clone()) }
    }
}

/// A strong entity tag: a checksum and the length. Nobody gains by making two versions of the sample site collide.
fn tag(bytes: &[u8]) -> HeaderValue {
    let mut checksum = Crc32::default();
    checksum.update(bytes);
    let text = format!("\"{:08x}-{:x}\"", checksum.value(), bytes.len());
    // Hexadecimal digits between quotes are always a field value.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// All files, ready to be served.
pub(super) struct Assets {
    ready: [Asset; LISTED.len()],
    modified: HeaderValue,
}

impl Assets {
    /// The files, last modified at `modified`.
    pub(super) fn new(modified: UnixSeconds) -> Self {
        let modified = modified.to_header_value();
        Self { ready: LISTED.each_ref().map(|listed| Asset::new(listed, &modified)), modified }
    }

    /// The file at a place that [`position`] gave.
    pub(super) fn get(&self, index: usize) -> &Asset {
        // INVARIANT: indices come from `position`, which looks in a table of the same length.
        &self.ready[index]
    }

    /// The same files without the pretended slowness.
    #[cfg(test)]
    pub(super) fn at_once(mut self) -> Self {
        for asset in &mut self.ready {
            asset.pace = Duration::ZERO;
        }
        self
    }

    /// `Last-Modified` of everything on the site.
    pub(super) fn modified(&self) -> &HeaderValue {
        &self.modified
    }
}
