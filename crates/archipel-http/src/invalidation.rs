//! What an unsafe request makes invalid (RFC 9111 section 4.4).
//!
//! Owns the decision and the resolution of `Location` and `Content-Location`. Must never name a resource of another origin:
//! one site could otherwise empty another's cache.

use std::borrow::Cow;

use http::header::{self, HeaderMap};
use http::method::Method;
use http::status::StatusCode;

use crate::target::{self, Scheme, Target};

/// Whether the method is safe (RFC 9110 section 9.2.1). Unknown methods are not.
pub fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// Whether the reply to a request makes stored responses invalid: an unsafe method and a status 2xx or 3xx.
pub fn invalidates(method: &Method, status: StatusCode) -> bool {
    !is_safe(method) && (status.is_success() || status.is_redirection())
}

/// The paths and queries that the reply makes invalid beside the target itself: those of `Location` and `Content-Location`,
/// where they are of the same origin. At most two, canonical.
pub fn also_invalidated(
    scheme: Scheme,
    host: &str,
    path_and_query: &str,
    reply: &HeaderMap,
) -> impl Iterator<Item = String> {
    [header::LOCATION, header::CONTENT_LOCATION].into_iter().filter_map(move |name| {
        let reference = reply.get(name)?.as_bytes();
        let target = same_origin_target(scheme, host, path_and_query, reference)?;
        (target != path_and_query).then_some(target)
    })
}

/// Resolves a URI reference against a target (RFC 3986 section 5.2) and returns its canonical path and query, where scheme and
/// host are the target's own. `host` is canonical, without the default port; a fragment is dropped.
pub fn same_origin_target(scheme: Scheme, host: &str, path_and_query: &str, reference: &[u8]) -> Option<String> {
    let end = memchr::memchr(b'#', reference).unwrap_or(reference.len());
    let reference = reference.get(..end)?;
    if has_scheme(reference) {
        return absolute_target(scheme, host, reference);
    }
    if reference.starts_with(b"//") {
        let absolute = [scheme.as_str().as_bytes(), b":", reference].concat();
        return absolute_target(scheme, host, &absolute);
    }
    let base_path = path_and_query.split('?').next().unwrap_or(path_and_query);
    let text = std::str::from_utf8(reference).ok()?;
    let resolved: Cow<'_, str> = if text.is_empty() {
        Cow::Borrowed(path_and_query)
    } else if text.starts_with('/') {
        Cow::Borrowed(text)
    } else if text.starts_with('?') {
        Cow::Owned(format!("{base_path}{text}"))
    } else {
        let directory = base_path.rfind('/').map_or("/", |slash| base_path.get(..=slash).unwrap_or("/"));
        Cow::Owned(format!("{directory}{text}"))
    };
    let parsed = target::parse_path_and_query(resolved.as_bytes()).ok()?;
    Some(parsed.to_text().into_owned())
}

/// Whether a reference begins with a scheme (RFC 3986 section 4.2): a colon before any slash, query or fragment.
fn has_scheme(reference: &[u8]) -> bool {
    let end = reference.iter().position(|byte| matches!(byte, b':' | b'/' | b'?'));
    end.is_some_and(|end| end > 0 && reference.get(end) == Some(&b':'))
}

fn absolute_target(scheme: Scheme, host: &str, reference: &[u8]) -> Option<String> {
    match target::parse_target(&Method::GET, reference).ok()? {
        Target::Absolute { scheme: found, host: authority, path } if found == scheme => {
            (authority.to_text(scheme) == host).then(|| path.to_text().into_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reference: &str, expected: Option<&str>) {
        let found = same_origin_target(Scheme::Https, "a.example", "/x/y?z=1", reference.as_bytes());
        assert_eq!(found.as_deref(), expected, "{reference}");
    }

    #[test]
    fn resolves_references_of_the_same_origin() {
        check("", Some("/x/y?z=1"));
        check("#top", Some("/x/y?z=1"));
        check("/b", Some("/b"));
        check("/b#f", Some("/b"));
        check("c", Some("/x/c"));
        check("../c?d", Some("/c?d"));
        check("?q=2", Some("/x/y?q=2"));
        check("https://A.example:443/%7eb", Some("/~b"));
        check("//a.example/b", Some("/b"));
        check("https://a.example", Some("/"));
        check("d:e", None);
        check("./d:e", Some("/x/d:e"));
        check("http://a.example/b", None);
        check("https://a.example:8443/b", None);
        check("https://b.example/b", None);
        check("//b.example/b", None);
        check("https://u@a.example/b", None);
        check("/b c", None);
    }

    #[test]
    fn which_replies_invalidate() {
        let other = Method::from_bytes(b"M-SEARCH").unwrap();
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, other] {
            assert!(invalidates(&method, StatusCode::OK), "{method}");
            assert!(invalidates(&method, StatusCode::SEE_OTHER), "{method}");
            assert!(!invalidates(&method, StatusCode::NOT_FOUND), "{method}");
            assert!(!invalidates(&method, StatusCode::INTERNAL_SERVER_ERROR), "{method}");
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
            assert!(!invalidates(&method, StatusCode::OK), "{method}");
        }
    }

    #[test]
    fn locations_of_the_same_origin_are_invalidated_too() {
        let mut reply = HeaderMap::new();
        reply.insert("location", "/l".parse().unwrap());
        reply.insert("content-location", "https://b.example/".parse().unwrap());
        let found: Vec<_> = also_invalidated(Scheme::Https, "a.example", "/x", &reply).collect();
        assert_eq!(found, ["/l"]);
        reply.insert("content-location", "c?d".parse().unwrap());
        reply.insert("location", "x".parse().unwrap());
        let found: Vec<_> = also_invalidated(Scheme::Https, "a.example", "/x", &reply).collect();
        assert_eq!(found, ["/c?d"]);
    }
}
