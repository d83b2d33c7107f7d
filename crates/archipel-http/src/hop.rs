//! Hop-by-hop fields (RFC 9110 section 7.6.1): what a proxy takes out before it passes a message on.
//!
//! Owns the list, the fields that `Connection` may not name, and the detection of upgrades. Must never touch the body's
//! framing: `Content-Length` and the coding are the transport's.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::status::StatusCode;
use smallvec::SmallVec;

use crate::list;
use crate::sink::FieldSink;

/// How many fields a `Connection` field may name; the members behind are not looked at.
pub const CONNECTION_OPTIONS_MAX: usize = 32;

/// Fields for all recipients, which a sender must not name in `Connection` (RFC 9110 section 7.6.1). Stripping them would let a
/// client take out what Archipel sets or trusts, or what the origin's decision rests on.
const PROTECTED: &[&str] = &[
    "accept-encoding",
    "age",
    "archipel-cdn-cache-control",
    "authorization",
    "cache-control",
    "cdn-cache-control",
    "cdn-loop",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "origin",
    "pragma",
    "proxy-status",
    "range",
    "set-cookie",
    "strict-transport-security",
    "surrogate-control",
    "traceparent",
    "tracestate",
    "true-client-ip",
    "vary",
    "via",
    "www-authenticate",
    "x-real-ip",
    "x-request-id",
];

/// Prefixes of fields that `Connection` may not name either.
const PROTECTED_PREFIXES: [&str; 4] = ["x-forwarded-", "archipel-", "cf-", "access-control-"];

/// Whether `Connection` may not take this field out.
pub fn is_protected(name: &HeaderName) -> bool {
    let name = name.as_str();
    PROTECTED.binary_search(&name).is_ok() || PROTECTED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Takes the hop-by-hop fields out of a message: the known ones and those that `Connection` names, protected ones excepted.
///
/// `TE` stays as `trailers` where that is a member, for a proxy that passes trailers on (RFC 9110 section 10.1.4); it goes
/// otherwise. `Proxy-Authorization` and `Proxy-Authenticate` go: this proxy is not the one they speak to.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Looking at each name once is cheaper than looking up each name that may not stay.
    let mut going: SmallVec<[HeaderName; 4]> = headers.keys().filter(|name| is_hop_by_hop(name)).cloned().collect();
    if going.is_empty() {
        return;
    }
    let trailers = headers.contains_key(header::TE) && accepts_trailers(headers);
    if headers.contains_key(header::CONNECTION) {
        going.extend(connection_options(headers).into_iter().filter(|name| !is_protected(name)));
    }
    for name in &going {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Hands on a message's end-to-end fields, in one pass: what [`remove_hop_by_hop`] leaves, without the fields that `drop`
/// picks out.
pub fn end_to_end(headers: &HeaderMap, drop: impl Fn(&HeaderName) -> bool, to: &mut impl FieldSink) {
    let listed = if headers.contains_key(header::CONNECTION) { connection_options(headers) } else { SmallVec::new() };
    for (name, value) in headers {
        let goes = is_hop_by_hop(name) || drop(name) || (listed.contains(name) && !is_protected(name));
        if !goes {
            to.put(name, value);
        }
    }
    if headers.contains_key(header::TE) && accepts_trailers(headers) {
        to.put(&header::TE, &HeaderValue::from_static("trailers"));
    }
}

/// Whether a field never goes beyond one connection, whatever `Connection` says.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    is_hop_by_hop_name(name.as_str().as_bytes())
}

/// The same for a name in lower case.
pub fn is_hop_by_hop_name(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"keep-alive"
            | b"proxy-connection"
            | b"transfer-encoding"
            | b"upgrade"
            | b"trailer"
            | b"te"
            | b"http2-settings"
            | b"proxy-authorization"
            | b"proxy-authenticate"
            | b"proxy-authentication-info"
    )
}

/// The field names that `Connection` lists, `close` and `keep-alive` included, at most [`CONNECTION_OPTIONS_MAX`].
pub fn connection_options(headers: &HeaderMap) -> SmallVec<[HeaderName; 4]> {
    list::field_members(headers, header::CONNECTION)
        .take(CONNECTION_OPTIONS_MAX)
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .collect()
}

/// Whether `TE` says that trailers are accepted.
pub fn accepts_trailers(headers: &HeaderMap) -> bool {
    list::contains_token(headers, header::TE, b"trailers")
}

/// The protocol that a request asks to upgrade to: `Connection: upgrade` and exactly one `Upgrade` member.
pub fn upgrade_protocol(headers: &HeaderMap) -> Option<&[u8]> {
    if !list::contains_token(headers, header::CONNECTION, b"upgrade") {
        return None;
    }
    let mut protocols = list::field_members(headers, header::UPGRADE);
    let protocol = protocols.next()?;
    protocols.next().is_none().then_some(protocol)
}

/// Whether a request asks for a WebSocket by an HTTP/1.1 upgrade (RFC 6455 section 4.1).
pub fn is_websocket_upgrade(headers: &HeaderMap) -> bool {
    upgrade_protocol(headers).is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
}

/// Whether a reply accepts the upgrade that the request asked for: status 101 and the same protocol.
pub fn is_upgrade_accepted(asked: &[u8], status: StatusCode, reply: &HeaderMap) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS
        && upgrade_protocol(reply).is_some_and(|protocol| protocol.eq_ignore_ascii_case(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[track_caller]
    fn check(fields: &[(&'static str, &str)], expected: &[(&'static str, &str)]) {
        let mut found = headers(fields);
        remove_hop_by_hop(&mut found);
        assert_eq!(found, headers(expected), "{fields:?}");
    }

    #[test]
    fn one_pass_leaves_what_removal_leaves() {
        let cases: [&[(&str, &str)]; 5] = [
            &[("accept", "a"), ("connection", "close, x-a, cookie"), ("x-a", "1"), ("cookie", "c")],
            &[("te", "trailers, deflate"), ("trailer", "x"), ("via", "1.1 a"), ("via", "1.1 b")],
            &[("te", "gzip"), ("proxy-authorization", "p"), ("upgrade", "h2c"), ("http2-settings", "s")],
            &[
                ("keep-alive", "5"),
                ("proxy-connection", "x"),
                ("transfer-encoding", "chunked"),
                ("x-forwarded-for", "1"),
            ],
            &[],
        ];
        for case in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in case {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            let mut copied = HeaderMap::new();
            end_to_end(&headers, |_| false, &mut copied);
            remove_hop_by_hop(&mut headers);
            assert_eq!(copied, headers, "{case:?}");
        }
    }

    #[test]
    fn the_list_is_sorted() {
        assert!(PROTECTED.is_sorted());
    }

    #[test]
    fn removes_known_and_listed_fields() {
        check(&[("connection", "a, b"), ("a", "1"), ("b", "2"), ("c", "3")], &[("c", "3")]);
        check(&[("connection", "a"), ("connection", "B"), ("a", "1"), ("b", "2")], &[]);
        check(
            &[
                ("connection", "close"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAA"),
                ("trailer", "x"),
                ("proxy-authorization", "x"),
                ("proxy-authenticate", "x"),
                ("proxy-authentication-info", "x"),
                ("te", "gzip"),
                ("accept", "*/*"),
            ],
            &[("accept", "*/*")],
        );
        check(&[("te", "gzip, Trailers")], &[("te", "trailers")]);
    }

    #[test]
    fn connection_cannot_strip_what_is_trusted() {
        let fields = [
            ("authorization", "x"),
            ("x-forwarded-for", "192.0.2.1"),
            ("cookie", "a=b"),
            ("cache-control", "no-store"),
            ("archipel-zone", "1"),
            ("host", "a.example"),
        ];
        let mut with_connection = fields.to_vec();
        let all = "X-Forwarded-For, Authorization, cookie, Cache-Control, archipel-zone, host, close";
        with_connection.push(("connection", all));
        check(&with_connection, &fields);
    }

    #[test]
    fn upgrades() {
        let asked = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")]);
        assert!(is_websocket_upgrade(&asked));
        assert!(is_upgrade_accepted(b"websocket", StatusCode::SWITCHING_PROTOCOLS, &asked));
        assert!(!is_upgrade_accepted(b"websocket", StatusCode::OK, &asked));
        assert!(!is_upgrade_accepted(b"h2c", StatusCode::SWITCHING_PROTOCOLS, &asked));
        assert_eq!(upgrade_protocol(&headers(&[("upgrade", "websocket")])), None);
        assert_eq!(upgrade_protocol(&headers(&[("connection", "upgrade"), ("upgrade", "a, b")])), None);
        assert_eq!(upgrade_protocol(&headers(&[("connection", "upgrade")])), None);
    }
}
