//! What a visitor's browser is told about keeping a reply.
//!
//! Owns the rewriting of `Cache-Control` and `Expires` at delivery. What is stored, and what caches behind this one are told by
//! `s-maxage` and targeted fields, stays as the origin said it.

use http::HeaderValue;
use http::header::{self, HeaderMap};
use http::status::StatusCode;

use crate::cache_control::CacheControl;
use crate::date::DELTA_SECONDS_MAX;
use crate::fields::Fields;
use crate::list;
use crate::policy::BrowserTtl;

/// Rewrites `max-age` of a reply that is `age` seconds old, and takes `Expires` out.
///
/// The browser counts a reply's `Age` against its `max-age` (RFC 9111 section 4.2), so the age is added: the reply is fresh for the
/// rule's time from now on. Replies with `no-store`, `no-cache` or `private` are about one visitor and stay as they are, and so do
/// errors.
pub fn rewrite(status: StatusCode, headers: &mut HeaderMap, ttl: BrowserTtl, age: u32) {
    if !applies(status, headers, ttl) {
        return;
    }
    let (BrowserTtl::Default(seconds) | BrowserTtl::Override(seconds)) = ttl else { return };
    let seconds = seconds.saturating_add(age).min(DELTA_SECONDS_MAX);
    let mut text = Vec::with_capacity(64);
    for member in list::field_members(headers, header::CACHE_CONTROL) {
        let name = member.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        if !name.eq_ignore_ascii_case(b"max-age") {
            text.extend_from_slice(member);
            text.extend_from_slice(b", ");
        }
    }
    text.extend_from_slice(format!("max-age={seconds}").as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&text) {
        headers.insert(header::CACHE_CONTROL, value);
        headers.remove(header::EXPIRES);
    }
}

/// Whether [`rewrite`] would change anything: tells without copying the fields.
pub fn applies(status: StatusCode, headers: &impl Fields, ttl: BrowserTtl) -> bool {
    if ttl == BrowserTtl::Respect || status.is_client_error() || status.is_server_error() {
        return false;
    }
    let control = CacheControl::from_headers(headers);
    if control.no_store || control.no_cache || control.private {
        return false;
    }
    let stated = control.max_age.is_some() || headers.has(&header::EXPIRES);
    matches!(ttl, BrowserTtl::Override(_)) || !stated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ttl: BrowserTtl, fields: &[(&'static str, &str)], expected: &[(&str, &str)]) {
        check_status(StatusCode::OK, ttl, fields, expected);
    }

    #[track_caller]
    fn check_status(status: StatusCode, ttl: BrowserTtl, fields: &[(&'static str, &str)], expected: &[(&str, &str)]) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let before = headers.clone();
        let applies = applies(status, &headers, ttl);
        rewrite(status, &mut headers, ttl, 7);
        assert_eq!(applies, headers != before, "{fields:?}");
        let found: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(found, expected, "{ttl:?} {fields:?}");
    }

    #[test]
    fn table() {
        use BrowserTtl::{Default, Override, Respect};
        let cc = "cache-control";
        let (ten, seventeen) = (("cache-control", "max-age=10"), ("cache-control", "max-age=17"));
        check(Respect, &[ten], &[ten]);
        check(Default(10), &[ten], &[ten]);
        check(Default(10), &[], &[seventeen]);
        check(Default(10), &[(cc, "s-maxage=60")], &[(cc, "s-maxage=60, max-age=17")]);
        check(Default(10), &[("expires", "0")], &[("expires", "0")]);
        check(Override(10), &[("expires", "0")], &[seventeen]);
        check(
            Override(10),
            &[(cc, "public, Max-Age = 3, s-maxage=60"), (cc, "immutable")],
            &[(cc, "public, s-maxage=60, immutable, max-age=17")],
        );
        check(Override(0), &[ten], &[(cc, "max-age=7")]);
        check(Override(u32::MAX), &[ten], &[(cc, "max-age=2147483648")]);
        for told in ["no-store", "no-cache, max-age=1", "private, max-age=1"] {
            check(Override(10), &[(cc, told)], &[(cc, told)]);
        }
        check(Override(10), &[(cc, "private=\"x\", max-age=1")], &[(cc, "private=\"x\", max-age=17")]);
        check_status(StatusCode::NOT_FOUND, Override(10), &[ten], &[ten]);
        check_status(StatusCode::NOT_MODIFIED, Override(10), &[ten], &[seventeen]);
    }
}
