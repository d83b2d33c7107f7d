//! `Surrogate-Control` (Edge Architecture Specification, W3C note of 4 August 2001, section 2.2).
//!
//! Owns that field's own syntax: `max-age=fresh+stale`, `no-store`, `no-store-remote`, `content="..."`, and `;token` targeting.
//! Must never read it as `Cache-Control`: it has neither `no-cache` nor `private`.

use crate::cache_control::{CacheControl, delta_seconds};
use crate::fields::Fields;
use crate::list;
use crate::targeted::SURROGATE_CONTROL;

/// The device token that a directive may be aimed at with `;archipel`.
pub const DEVICE_TOKEN: &[u8] = b"archipel";

/// Reads the field. `None` where it states nothing about caching: then the next field governs.
///
/// A directive aimed at another surrogate (`max-age=60;other`) is skipped. One aimed at this surrogate beats an untargeted one.
/// The extension in `max-age=600+30` is time to serve stale while revalidating. A malformed `max-age` is 0: stale.
pub fn from_headers(headers: &impl Fields) -> Option<CacheControl> {
    if !headers.has(&SURROGATE_CONTROL) {
        return None;
    }
    let mut general = None;
    let mut targeted = None;
    for member in list::members_of(headers, &SURROGATE_CONTROL) {
        let mut parts = member.splitn(2, |byte| *byte == b';').map(list::trim);
        let directive = parts.next().unwrap_or_default();
        match parts.next() {
            None => apply(&mut general, directive),
            Some(token) if token.eq_ignore_ascii_case(DEVICE_TOKEN) => apply(&mut targeted, directive),
            Some(_) => {}
        }
    }
    targeted.or(general)
}

fn apply(slot: &mut Option<CacheControl>, directive: &[u8]) {
    let split = directive.iter().position(|byte| *byte == b'=').unwrap_or(directive.len());
    let (name, value) = directive.split_at(split);
    let value = value.get(1..).unwrap_or_default();
    if name.eq_ignore_ascii_case(b"no-store") || name.eq_ignore_ascii_case(b"no-store-remote") {
        slot.get_or_insert_default().no_store = true;
    } else if name.eq_ignore_ascii_case(b"max-age") {
        let control = slot.get_or_insert_default();
        let plus = value.iter().position(|byte| *byte == b'+').unwrap_or(value.len());
        let (fresh, stale) = value.split_at(plus);
        let fresh = delta_seconds(fresh).unwrap_or(0);
        control.max_age = match control.max_age {
            Some(other) if other != fresh => Some(0),
            _ => Some(fresh),
        };
        if let Some(stale) = stale.get(1..).and_then(delta_seconds) {
            control.stale_while_revalidate = Some(stale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderMap;

    #[track_caller]
    fn check(value: &str, expected: Option<CacheControl>) {
        let mut headers = HeaderMap::new();
        headers.append(SURROGATE_CONTROL, value.parse().unwrap());
        assert_eq!(from_headers(&headers), expected, "{value}");
    }

    #[test]
    fn directives() {
        let base = CacheControl::default();
        check("", None);
        check("content=\"ESI/1.0\"", None);
        check("no-store", Some(CacheControl { no_store: true, ..base.clone() }));
        check("no-store-remote", Some(CacheControl { no_store: true, ..base.clone() }));
        check("max-age=3600", Some(CacheControl { max_age: Some(3600), ..base.clone() }));
        let extended = CacheControl { max_age: Some(3600), stale_while_revalidate: Some(600), ..base.clone() };
        check("max-age=3600+600, content=\"ESI/1.0, x\"", Some(extended));
        check("max-age=60;other", None);
        check("max-age=60;archipel, max-age=5", Some(CacheControl { max_age: Some(60), ..base.clone() }));
        check("max-age=60;other, max-age=5", Some(CacheControl { max_age: Some(5), ..base.clone() }));
        check("max-age=x", Some(CacheControl { max_age: Some(0), ..base.clone() }));
        check("max-age=1, max-age=2", Some(CacheControl { max_age: Some(0), ..base }));
    }
}
