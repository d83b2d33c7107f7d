//! `Cache-Control` of requests and responses (RFC 9111 section 5.2), parsed leniently over all lines.
//!
//! Owns the directives' syntax and what duplicates and nonsense mean: always the more careful reading. Must never decide
//! about storage or reuse.

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderName};

use crate::date::DELTA_SECONDS_MAX;
use crate::fields::Fields;
use crate::list;

/// How many field names `no-cache="..."` or `private="..."` may list; with more the directive counts as unqualified.
pub const DIRECTIVE_FIELDS_MAX: usize = 32;

/// The response directives that a shared cache acts on.
///
/// Durations are in seconds, at most [`DELTA_SECONDS_MAX`]. A `max-age` or `s-maxage` that is no number, is negative or is
/// stated twice with different values is 0: stale (RFC 9111 section 4.2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// `public`
    pub public: bool,
    /// `private` without field names
    pub private: bool,
    /// `no-store`
    pub no_store: bool,
    /// `no-cache` without field names
    pub no_cache: bool,
    /// `must-revalidate`
    pub must_revalidate: bool,
    /// `proxy-revalidate`
    pub proxy_revalidate: bool,
    /// `must-understand`
    pub must_understand: bool,
    /// `no-transform`
    pub no_transform: bool,
    /// `immutable` (RFC 8246)
    pub immutable: bool,
    /// `max-age`
    pub max_age: Option<u32>,
    /// `s-maxage`
    pub s_maxage: Option<u32>,
    /// `stale-while-revalidate` (RFC 5861)
    pub stale_while_revalidate: Option<u32>,
    /// `stale-if-error` (RFC 5861)
    pub stale_if_error: Option<u32>,
    /// The names in `no-cache="..."`
    pub no_cache_fields: Vec<HeaderName>,
    /// The names in `private="..."`
    pub private_fields: Vec<HeaderName>,
}

/// The request directives (RFC 9111 section 5.2.1, RFC 5861 section 4).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// `no-cache`, also by `Pragma: no-cache` where there is no `Cache-Control` (RFC 9111 section 5.4)
    pub no_cache: bool,
    /// `no-store`
    pub no_store: bool,
    /// `no-transform`
    pub no_transform: bool,
    /// `only-if-cached`
    pub only_if_cached: bool,
    /// `max-age`
    pub max_age: Option<u32>,
    /// `min-fresh`
    pub min_fresh: Option<u32>,
    /// `max-stale`; without a value it is [`DELTA_SECONDS_MAX`]
    pub max_stale: Option<u32>,
    /// `stale-if-error`
    pub stale_if_error: Option<u32>,
}

/// One directive as written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Directive<'a> {
    name: &'a [u8],
    value: Value<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value<'a> {
    None,
    Token(&'a [u8]),
    Quoted(Cow<'a, [u8]>),
    Malformed,
}

impl CacheControl {
    /// Reads all `Cache-Control` lines of a response.
    pub fn from_headers(headers: &impl Fields) -> CacheControl {
        let mut control = CacheControl::default();
        for member in list::members_of(headers, &header::CACHE_CONTROL) {
            control.apply(&directive(member));
        }
        control
    }

    /// Reads one field value.
    pub fn parse(value: &[u8]) -> CacheControl {
        let mut control = CacheControl::default();
        for member in list::members(value) {
            control.apply(&directive(member));
        }
        control
    }

    fn apply(&mut self, directive: &Directive<'_>) {
        let Some(name) = lowercase(directive.name) else {
            return;
        };
        match name.as_bytes() {
            b"public" => self.public = true,
            b"private" => apply_fields(&directive.value, &mut self.private, &mut self.private_fields),
            b"no-cache" => apply_fields(&directive.value, &mut self.no_cache, &mut self.no_cache_fields),
            b"no-store" => self.no_store = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"no-transform" => self.no_transform = true,
            b"immutable" => self.immutable = true,
            b"max-age" => stale_if_unclear(&mut self.max_age, &directive.value),
            b"s-maxage" => stale_if_unclear(&mut self.s_maxage, &directive.value),
            b"stale-while-revalidate" => least(&mut self.stale_while_revalidate, &directive.value),
            b"stale-if-error" => least(&mut self.stale_if_error, &directive.value),
            _ => {}
        }
    }

    /// Whether a lifetime is stated here.
    pub fn has_explicit_lifetime(&self) -> bool {
        self.max_age.is_some() || self.s_maxage.is_some()
    }
}

impl RequestDirectives {
    /// Reads `Cache-Control` and `Pragma` of a request. Costs two look-ups where neither is there.
    pub fn from_headers(headers: &HeaderMap) -> RequestDirectives {
        let mut directives = RequestDirectives::default();
        if headers.contains_key(header::CACHE_CONTROL) {
            for member in list::field_members(headers, header::CACHE_CONTROL) {
                directives.apply(&directive(member));
            }
        } else if headers.contains_key(header::PRAGMA) {
            directives.no_cache = list::contains_token(headers, header::PRAGMA, b"no-cache");
        }
        directives
    }

    fn apply(&mut self, directive: &Directive<'_>) {
        let Some(name) = lowercase(directive.name) else {
            return;
        };
        match name.as_bytes() {
            b"no-cache" => self.no_cache = true,
            b"no-store" => self.no_store = true,
            b"no-transform" => self.no_transform = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => least(&mut self.max_age, &directive.value),
            b"min-fresh" => {
                if let Some(seconds) = delta(&directive.value) {
                    self.min_fresh = Some(self.min_fresh.map_or(seconds, |other| other.max(seconds)));
                }
            }
            b"max-stale" if directive.value == Value::None => {
                self.max_stale = Some(self.max_stale.unwrap_or(DELTA_SECONDS_MAX));
            }
            b"max-stale" => least(&mut self.max_stale, &directive.value),
            b"stale-if-error" => least(&mut self.stale_if_error, &directive.value),
            _ => {}
        }
    }
}

/// Parses delta-seconds (RFC 9111 section 1.2.2): digits only, saturating at [`DELTA_SECONDS_MAX`].
pub fn delta_seconds(value: &[u8]) -> Option<u32> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds =
        value.iter().fold(0_u64, |sum, byte| (sum * 10 + u64::from(byte - b'0')).min(u64::from(DELTA_SECONDS_MAX)));
    Some(seconds as u32)
}

/// The longest directive name that is acted on: `stale-while-revalidate`.
const DIRECTIVE_NAME_BYTES_MAX: usize = 22;

struct Name {
    bytes: [u8; DIRECTIVE_NAME_BYTES_MAX],
    len: usize,
}

impl Name {
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

fn lowercase(name: &[u8]) -> Option<Name> {
    let mut bytes = [0; DIRECTIVE_NAME_BYTES_MAX];
    let target = bytes.get_mut(..name.len())?;
    target.copy_from_slice(name);
    target.make_ascii_lowercase();
    Some(Name { bytes, len: name.len() })
}

fn directive(member: &[u8]) -> Directive<'_> {
    let end = member.iter().position(|byte| !list::is_token_byte(*byte)).unwrap_or(member.len());
    let (name, rest) = member.split_at(end);
    let value = match rest {
        [] => Value::None,
        [b'=', b'"', ..] => quoted_value(&rest[1..]),
        [b'=', value @ ..] if !value.is_empty() && value.iter().all(|byte| is_lenient_value_byte(*byte)) => {
            Value::Token(value)
        }
        _ => Value::Malformed,
    };
    Directive { name, value }
}

fn is_lenient_value_byte(byte: u8) -> bool {
    byte > b' ' && byte != b'"' && byte != 0x7f
}

fn quoted_value(value: &[u8]) -> Value<'_> {
    if list::quoted_len(value) != Some(value.len()) {
        return Value::Malformed;
    }
    let inner = value.get(1..value.len() - 1).unwrap_or_default();
    if !inner.contains(&b'\\') {
        return Value::Quoted(Cow::Borrowed(inner));
    }
    let mut unescaped = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        unescaped.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    Value::Quoted(Cow::Owned(unescaped))
}

fn delta(value: &Value<'_>) -> Option<u32> {
    match value {
        Value::Token(text) => delta_seconds(text),
        Value::Quoted(text) => delta_seconds(text),
        Value::None | Value::Malformed => None,
    }
}

/// For lifetimes: invalid, or stated twice and differently, is stale (RFC 9111 section 4.2.1).
fn stale_if_unclear(slot: &mut Option<u32>, value: &Value<'_>) {
    let seconds = delta(value).unwrap_or(0);
    *slot = match *slot {
        Some(other) if other != seconds => Some(0),
        _ => Some(seconds),
    };
}

/// For permissions: the smallest of several; an invalid one permits nothing.
fn least(slot: &mut Option<u32>, value: &Value<'_>) {
    let seconds = delta(value).unwrap_or(0);
    *slot = Some(slot.map_or(seconds, |other| other.min(seconds)));
}

fn apply_fields(value: &Value<'_>, unqualified: &mut bool, fields: &mut Vec<HeaderName>) {
    match value {
        Value::Quoted(names) if push_field_names(names, fields) => {}
        _ => *unqualified = true,
    }
}

/// Adds the field names of a qualified directive; false when there are none, too many, or one is no field name.
pub(crate) fn push_field_names(names: &[u8], fields: &mut Vec<HeaderName>) -> bool {
    let before = fields.len();
    for name in list::members(names) {
        match HeaderName::from_bytes(name) {
            Ok(name) if fields.len() < DIRECTIVE_FIELDS_MAX => fields.push(name),
            _ => return false,
        }
    }
    fields.len() > before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: CacheControl) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CACHE_CONTROL, line.parse().unwrap());
        }
        assert_eq!(CacheControl::from_headers(&headers), expected, "{lines:?}");
    }

    fn max_age(seconds: u32) -> CacheControl {
        CacheControl { max_age: Some(seconds), ..CacheControl::default() }
    }

    #[test]
    fn lifetimes() {
        check(&[], CacheControl::default());
        check(&["max-age=3600"], max_age(3600));
        check(&["MaX-aGe=3600"], max_age(3600));
        check(&["max-age=003600"], max_age(3600));
        check(&["max-age=\"3600\""], max_age(3600));
        check(&["foobar, max-age=3600"], max_age(3600));
        check(&["max-age=2147483647"], max_age(2_147_483_647));
        check(&["max-age=2147483648"], max_age(2_147_483_648));
        check(&["max-age=2147483649"], max_age(2_147_483_648));
        check(&["max-age=99999999999999999999999999"], max_age(2_147_483_648));
    }

    #[test]
    fn unclear_lifetimes_are_stale() {
        for value in [
            "max-age",
            "max-age=",
            "max-age=-3600",
            "max-age='3600'",
            "max-age=3600.0",
            "max-age=a3600",
            "max-age=3600a",
        ] {
            check(&[value], max_age(0));
        }
        check(&["max-age =3600"], max_age(0));
        check(&["max-age= 3600"], max_age(0));
        check(&["max-age=1800, max-age=1"], max_age(0));
        check(&["max-age=1", "max-age=1800"], max_age(0));
        check(&["max-age=60", "max-age=60"], max_age(60));
    }

    #[test]
    fn quoted_strings_hide_and_unclosed_ones_do_not() {
        check(&["extension=\"max-age=3600\", max-age=1"], max_age(1));
        check(&["max-age=1, extension=\"max-age=3600\""], max_age(1));
        check(&["a=\"x\\\", max-age=9\", max-age=1"], max_age(1));
        check(&["a=\"x, no-store"], CacheControl { no_store: true, ..CacheControl::default() });
    }

    #[test]
    fn flags_and_stale_permissions() {
        check(
            &["public, no-store=1, No-CaChE"],
            CacheControl { public: true, no_store: true, no_cache: true, ..CacheControl::default() },
        );
        check(
            &["must-revalidate, proxy-revalidate, must-understand, no-transform, immutable"],
            CacheControl {
                must_revalidate: true,
                proxy_revalidate: true,
                must_understand: true,
                no_transform: true,
                immutable: true,
                ..CacheControl::default()
            },
        );
        check(
            &["s-maxage=7, stale-while-revalidate=5, stale-while-revalidate=9, stale-if-error=x"],
            CacheControl {
                s_maxage: Some(7),
                stale_while_revalidate: Some(5),
                stale_if_error: Some(0),
                ..CacheControl::default()
            },
        );
    }

    #[test]
    fn qualified_forms() {
        let a = HeaderName::from_static("a");
        let b = HeaderName::from_static("b");
        check(&["no-cache=\"a, B\""], CacheControl { no_cache_fields: vec![a.clone(), b], ..CacheControl::default() });
        check(&["private=\"a\""], CacheControl { private_fields: vec![a.clone()], ..CacheControl::default() });
        check(&["private=\"\""], CacheControl { private: true, ..CacheControl::default() });
        check(&["no-cache=a"], CacheControl { no_cache: true, ..CacheControl::default() });
        check(
            &["no-cache=\"a\", no-cache"],
            CacheControl { no_cache: true, no_cache_fields: vec![a.clone()], ..CacheControl::default() },
        );
        check(
            &["no-cache=\"a, (\""],
            CacheControl { no_cache: true, no_cache_fields: vec![a], ..CacheControl::default() },
        );
        let many = (0..40).map(|n| format!("f{n}")).collect::<Vec<_>>().join(",");
        assert!(CacheControl::parse(format!("private=\"{many}\"").as_bytes()).private);
    }

    #[track_caller]
    fn check_request(fields: &[(&'static str, &str)], expected: RequestDirectives) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        assert_eq!(RequestDirectives::from_headers(&headers), expected, "{fields:?}");
    }

    #[test]
    fn request_directives() {
        let none = RequestDirectives::default();
        check_request(&[], none);
        check_request(&[("pragma", "foo")], none);
        check_request(&[("pragma", "no-cache")], RequestDirectives { no_cache: true, ..none });
        check_request(
            &[("pragma", "no-cache"), ("cache-control", "max-age=5")],
            RequestDirectives { max_age: Some(5), ..none },
        );
        check_request(&[("cache-control", "nothing-to-see-here")], none);
        check_request(&[("cache-control", "max-age=x")], RequestDirectives { max_age: Some(0), ..none });
        check_request(
            &[("cache-control", "max-stale")],
            RequestDirectives { max_stale: Some(DELTA_SECONDS_MAX), ..none },
        );
        check_request(&[("cache-control", "max-stale, max-stale=3")], RequestDirectives { max_stale: Some(3), ..none });
        check_request(
            &[("cache-control", "min-fresh=3, min-fresh=9")],
            RequestDirectives { min_fresh: Some(9), ..none },
        );
        check_request(
            &[
                ("cache-control", "no-cache"),
                ("cache-control", "NO-store, no-transform, only-if-cached, stale-if-error=4"),
            ],
            RequestDirectives {
                no_cache: true,
                no_store: true,
                no_transform: true,
                only_if_cached: true,
                stale_if_error: Some(4),
                ..none
            },
        );
    }
}
