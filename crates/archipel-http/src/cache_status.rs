//! The `Cache-Status` field (RFC 9211).
//!
//! Owns its words and its syntax. Must never decide what happened.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::structured::ItemWriter;

/// `Cache-Status`
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a request went towards the origin (RFC 9211 section 2.2).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Forward {
    /// The cache was configured not to handle it.
    Bypass,
    /// The method's semantics require it.
    Method,
    /// Nothing is stored for the URI.
    UriMiss,
    /// Something is stored for the URI, but no variant matches.
    VaryMiss,
    /// Nothing stored could be used, and it is not said why.
    Miss,
    /// Something fresh is stored, but the request asks for more.
    Request,
    /// What is stored is stale.
    Stale,
    /// What is stored lacks some of the bytes.
    Partial,
}

impl Forward {
    /// The word of RFC 9211, also for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Forward::Bypass => "bypass",
            Forward::Method => "method",
            Forward::UriMiss => "uri-miss",
            Forward::VaryMiss => "vary-miss",
            Forward::Miss => "miss",
            Forward::Request => "request",
            Forward::Stale => "stale",
            Forward::Partial => "partial",
        }
    }
}

/// What this cache did with a request: one member of the field.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheStatus<'a> {
    /// The cache's name.
    pub cache: &'a str,
    /// `None` for a hit.
    pub forward: Option<Forward>,
    /// The status that the origin's reply had, where it differs from the one sent.
    pub forward_status: Option<u16>,
    /// Remaining freshness in seconds, negative when stale.
    pub ttl: Option<i64>,
    /// Whether the response was stored.
    pub stored: bool,
    /// Whether the request waited for another one's reply.
    pub collapsed: bool,
    /// The cache key.
    pub key: Option<&'a str>,
    /// A reason, a word of ours.
    pub detail: Option<&'a str>,
}

impl CacheStatus<'_> {
    /// The member as a field value. What a string cannot hold is replaced, so it is always valid.
    pub fn to_header_value(&self) -> HeaderValue {
        let mut item = ItemWriter::new(self.cache);
        match self.forward {
            None => item.flag("hit", true),
            Some(forward) => {
                item.token("fwd", forward.as_str());
                item.integer("fwd-status", self.forward_status.map(i64::from));
                item.flag("stored", self.stored);
                item.flag("collapsed", self.collapsed);
            }
        }
        item.integer("ttl", self.ttl);
        item.string("key", self.key);
        item.token_or_string("detail", self.detail);
        item.finish()
    }

    /// Adds the member behind those of caches nearer to the origin (RFC 9211 section 2).
    pub fn append_to(&self, headers: &mut HeaderMap) {
        headers.append(CACHE_STATUS, self.to_header_value());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: CacheStatus<'_>, expected: &str) {
        let value = status.to_header_value();
        assert_eq!(value, expected);
        let list: sfv::List = sfv::Parser::new(value.as_bytes()).parse().unwrap();
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn members() {
        let base = CacheStatus { cache: "Archipel", ..CacheStatus::default() };
        check(CacheStatus { ttl: Some(30), ..base }, "Archipel; hit; ttl=30");
        check(
            CacheStatus { ttl: Some(-4), detail: Some("stale_while_revalidate"), ..base },
            "Archipel; hit; ttl=-4; detail=stale_while_revalidate",
        );
        check(
            CacheStatus { forward: Some(Forward::UriMiss), stored: true, collapsed: true, ..base },
            "Archipel; fwd=uri-miss; stored; collapsed",
        );
        check(
            CacheStatus {
                forward: Some(Forward::Stale),
                forward_status: Some(304),
                ttl: Some(7),
                key: Some("/a\"b"),
                ..base
            },
            "Archipel; fwd=stale; fwd-status=304; ttl=7; key=\"/a\\\"b\"",
        );
        check(CacheStatus { cache: "my cache", ..base }, "\"my cache\"; hit");
    }

    #[test]
    fn nearer_caches_stay_in_front() {
        let mut headers = HeaderMap::new();
        headers.append(CACHE_STATUS, HeaderValue::from_static("Origin; hit"));
        CacheStatus { cache: "A", ..CacheStatus::default() }.append_to(&mut headers);
        let all: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
        assert_eq!(all, ["Origin; hit", "A; hit"]);
    }
}
