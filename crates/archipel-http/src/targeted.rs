//! Which field governs a response's caching: a targeted one (RFC 9213) or `Cache-Control`.
//!
//! Owns the order of the fields and the strict structured-field parsing of the targeted ones. Must never fall back inside a
//! field: one that does not parse is as if absent.

use http::header::HeaderName;
use http::status::StatusCode;
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::cache_control::{CacheControl, push_field_names};
use crate::date::DELTA_SECONDS_MAX;
use crate::fields::Fields;
use crate::policy::{EdgeTtl, Policy, TargetedFields};
use crate::surrogate;

/// `Archipel-CDN-Cache-Control`: meant for Archipel alone.
pub const ARCHIPEL_CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("archipel-cdn-cache-control");
/// `CDN-Cache-Control` (RFC 9213 section 3).
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
/// `Surrogate-Control` (Edge Architecture Specification).
pub const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

/// A targeted field longer than this over all its lines is ignored, in bytes.
pub const TARGETED_FIELD_BYTES_MAX: usize = 4096;

/// The field that a response's directives came from.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlSource {
    /// `Archipel-CDN-Cache-Control`
    ArchipelCdnCacheControl,
    /// `CDN-Cache-Control`
    CdnCacheControl,
    /// `Surrogate-Control`
    SurrogateControl,
    /// `Cache-Control`, also when there is none
    #[default]
    CacheControl,
}

impl ControlSource {
    /// Whether the field is targeted, so that `Cache-Control` and `Expires` are ignored (RFC 9213 section 2.2).
    pub fn is_targeted(self) -> bool {
        self != ControlSource::CacheControl
    }

    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            ControlSource::ArchipelCdnCacheControl => "archipel_cdn_cache_control",
            ControlSource::CdnCacheControl => "cdn_cache_control",
            ControlSource::SurrogateControl => "surrogate_control",
            ControlSource::CacheControl => "cache_control",
        }
    }
}

/// The directives that govern a response, and where they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseControl {
    /// The directives.
    pub directives: CacheControl,
    /// Their field.
    pub source: ControlSource,
}

impl ResponseControl {
    /// Reads the first valid, non-empty field: `Archipel-CDN-Cache-Control`, `CDN-Cache-Control`, `Surrogate-Control`,
    /// `Cache-Control`. The first three as far as `targeted` admits them.
    pub fn from_headers(headers: &impl Fields, targeted: &TargetedFields) -> ResponseControl {
        let found = |directives, source| ResponseControl { directives, source };
        if targeted.archipel
            && let Some(directives) = read_dictionary(headers, &ARCHIPEL_CDN_CACHE_CONTROL)
        {
            return found(directives, ControlSource::ArchipelCdnCacheControl);
        }
        if targeted.cdn
            && let Some(directives) = read_dictionary(headers, &CDN_CACHE_CONTROL)
        {
            return found(directives, ControlSource::CdnCacheControl);
        }
        if targeted.surrogate
            && let Some(directives) = surrogate::from_headers(headers)
        {
            return found(directives, ControlSource::SurrogateControl);
        }
        found(CacheControl::from_headers(headers), ControlSource::CacheControl)
    }

    /// [`ResponseControl::from_headers`] for a response with this status, without the directives that the policy disregards
    /// because its rule overrides what the origin says.
    pub fn under(policy: &Policy, status: StatusCode, headers: &impl Fields) -> ResponseControl {
        let mut control = ResponseControl::from_headers(headers, &policy.targeted);
        if matches!(policy.edge_ttl_of(status), EdgeTtl::Override(_)) {
            let directives = &mut control.directives;
            directives.no_store &= !policy.disregard.no_store;
            directives.private &= !policy.disregard.private;
            directives.no_cache &= !policy.disregard.no_cache;
        }
        control
    }
}

fn read_dictionary(headers: &impl Fields, name: &HeaderName) -> Option<CacheControl> {
    let mut lines = headers.values_of(name);
    let first = lines.next()?;
    let Some(second) = lines.next() else {
        return parse_targeted(first);
    };
    let mut joined = first.to_vec();
    for line in std::iter::once(second).chain(lines) {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line);
        if joined.len() > TARGETED_FIELD_BYTES_MAX {
            return None;
        }
    }
    parse_targeted(&joined)
}

/// Parses a targeted field's value as a dictionary. `None` where it is empty, no dictionary, or gives a directive that this
/// cache acts on a value of the wrong type (RFC 9213 section 2.1): the field is then ignored.
pub fn parse_targeted(value: &[u8]) -> Option<CacheControl> {
    if value.len() > TARGETED_FIELD_BYTES_MAX {
        return None;
    }
    let dictionary: Dictionary = Parser::new(value).parse().ok()?;
    if dictionary.is_empty() {
        return None;
    }
    let mut control = CacheControl::default();
    for (key, entry) in &dictionary {
        apply(&mut control, key.as_str(), entry)?;
    }
    Some(control)
}

fn apply(control: &mut CacheControl, key: &str, entry: &ListEntry) -> Option<()> {
    match key {
        "public" => control.public = flag(entry)?,
        "no-store" => control.no_store = flag(entry)?,
        "must-revalidate" => control.must_revalidate = flag(entry)?,
        "proxy-revalidate" => control.proxy_revalidate = flag(entry)?,
        "must-understand" => control.must_understand = flag(entry)?,
        "no-transform" => control.no_transform = flag(entry)?,
        "immutable" => control.immutable = flag(entry)?,
        "max-age" => control.max_age = Some(seconds(entry)?),
        "s-maxage" => control.s_maxage = Some(seconds(entry)?),
        "stale-while-revalidate" => control.stale_while_revalidate = Some(seconds(entry)?),
        "stale-if-error" => control.stale_if_error = Some(seconds(entry)?),
        "no-cache" => flag_or_fields(entry, &mut control.no_cache, &mut control.no_cache_fields)?,
        "private" => flag_or_fields(entry, &mut control.private, &mut control.private_fields)?,
        _ => {}
    }
    Some(())
}

fn bare(entry: &ListEntry) -> Option<&BareItem> {
    match entry {
        ListEntry::Item(item) => Some(&item.bare_item),
        ListEntry::InnerList(_) => None,
    }
}

fn flag(entry: &ListEntry) -> Option<bool> {
    match bare(entry)? {
        BareItem::Boolean(value) => Some(*value),
        _ => None,
    }
}

fn seconds(entry: &ListEntry) -> Option<u32> {
    match bare(entry)? {
        BareItem::Integer(value) => Some(i64::from(*value).clamp(0, i64::from(DELTA_SECONDS_MAX)) as u32),
        _ => None,
    }
}

fn flag_or_fields(entry: &ListEntry, unqualified: &mut bool, fields: &mut Vec<HeaderName>) -> Option<()> {
    match bare(entry)? {
        BareItem::Boolean(value) => *unqualified = *value,
        BareItem::String(names) => *unqualified = !push_field_names(names.as_str().as_bytes(), fields),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderMap;

    const ALL: TargetedFields = TargetedFields { archipel: true, cdn: true, surrogate: true };

    #[track_caller]
    fn check(fields: &[(&'static str, &str)], source: ControlSource, expected: CacheControl) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let control = ResponseControl::from_headers(&headers, &ALL);
        assert_eq!((control.source, control.directives), (source, expected), "{fields:?}");
    }

    fn max_age(seconds: u32) -> CacheControl {
        CacheControl { max_age: Some(seconds), ..CacheControl::default() }
    }

    #[test]
    fn the_most_specific_valid_field_governs() {
        use ControlSource as S;
        let cc = ("cache-control", "max-age=1");
        check(&[cc], S::CacheControl, max_age(1));
        check(&[cc, ("surrogate-control", "max-age=2")], S::SurrogateControl, max_age(2));
        check(
            &[cc, ("surrogate-control", "max-age=2"), ("cdn-cache-control", "max-age=3")],
            S::CdnCacheControl,
            max_age(3),
        );
        check(
            &[cc, ("cdn-cache-control", "max-age=3"), ("archipel-cdn-cache-control", "max-age=4")],
            S::ArchipelCdnCacheControl,
            max_age(4),
        );
        check(
            &[cc, ("cdn-cache-control", "max-age=3"), ("archipel-cdn-cache-control", "((")],
            S::CdnCacheControl,
            max_age(3),
        );
    }

    #[test]
    fn invalid_targeted_fields_are_ignored() {
        for value in [
            "",
            "max-age=10000, &&&&&",
            "max-age=\"10000\"",
            "max-age=1.5",
            "max-age",
            "max-age =100",
            "max-age= 100",
            "MaX-aGe=3600",
            "max-age=(1 2)",
            "no-store=1",
            "private=1",
            "max-age=1000000000000000",
        ] {
            check(
                &[("cache-control", "no-store"), ("cdn-cache-control", value)],
                ControlSource::CacheControl,
                CacheControl { no_store: true, ..CacheControl::default() },
            );
        }
    }

    #[test]
    fn values() {
        let cdn = |value, expected| check(&[("cdn-cache-control", value)], ControlSource::CdnCacheControl, expected);
        cdn("foobar, max-age=3600", max_age(3600));
        cdn("max-age=2147483648", max_age(2_147_483_648));
        cdn("max-age=99999999999", max_age(2_147_483_648));
        cdn("max-age=-5", max_age(0));
        cdn("max-age=1, max-age=7;x=y", max_age(7));
        cdn("no-store=?0, max-age=3", max_age(3));
        cdn("private", CacheControl { private: true, ..CacheControl::default() });
        cdn(
            "no-cache=\"a\"",
            CacheControl { no_cache_fields: vec![HeaderName::from_static("a")], ..CacheControl::default() },
        );
        let two = [("cdn-cache-control", "max-age=9"), ("cdn-cache-control", "s-maxage=4")];
        check(&two, ControlSource::CdnCacheControl, CacheControl { s_maxage: Some(4), ..max_age(9) });
    }
}
