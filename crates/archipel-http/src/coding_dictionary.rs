//! Compression dictionary transport (RFC 9842): an earlier response that a later one is coded against.
//!
//! Owns the fields `Use-As-Dictionary` and `Available-Dictionary` and the frame of `dcz`. Must never match paths: which
//! dictionary fits which request is the client's to find out, which names the one that it chose by its hash.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

use crate::list;

/// `Use-As-Dictionary`
pub const USE_AS_DICTIONARY: HeaderName = HeaderName::from_static("use-as-dictionary");
/// `Available-Dictionary`
pub const AVAILABLE_DICTIONARY: HeaderName = HeaderName::from_static("available-dictionary");

/// A field longer than this is ignored, in bytes.
const FIELD_BYTES_MAX: usize = 4096;
/// The first bytes of `dcz`: a zstd frame to be skipped, 32 bytes long (RFC 9842 section 5).
const DCZ_MAGIC: [u8; 8] = [0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0];

/// A SHA-256 hash.
pub type Sha256 = [u8; 32];

/// Whether a response says that its content is to be used as a dictionary, raw (RFC 9842 section 2.1).
pub fn is_dictionary(response: &HeaderMap) -> bool {
    let Some(value) = single(response, &USE_AS_DICTIONARY) else { return false };
    let Ok(fields) = Parser::new(value).parse::<Dictionary>() else { return false };
    let item = |key: &str| match fields.get(key) {
        Some(ListEntry::Item(item)) => Some(&item.bare_item),
        _ => None,
    };
    let matches = matches!(item("match"), Some(BareItem::String(text)) if !text.as_str().is_empty());
    let raw = match item("type") {
        None => !fields.contains_key("type"),
        Some(BareItem::Token(token)) => token.as_str() == "raw",
        Some(_) => false,
    };
    matches && raw
}

/// The dictionary that a client has and would use, by its hash.
pub fn available(request: &HeaderMap) -> Option<Sha256> {
    let item: Item = Parser::new(single(request, &AVAILABLE_DICTIONARY)?).parse().ok()?;
    match &item.bare_item {
        BareItem::ByteSequence(hash) => hash.as_slice().try_into().ok(),
        _ => None,
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut lines = headers.get_all(name).into_iter();
    let value = lines.next()?.as_bytes();
    (lines.next().is_none() && value.len() <= FIELD_BYTES_MAX).then_some(value)
}

/// Whether a text is a path pattern that this edge can both match and announce: a path with `*` for any characters.
pub fn is_pattern(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~!$&\',;=@%*".contains(&byte);
    text.starts_with('/') && text.len() <= 1024 && text.bytes().all(plain)
}

/// Whether a path matches a pattern ([`is_pattern`]).
pub fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| path.strip_prefix(first)) else { return false };
    let mut last = None;
    // What stands between two stars is taken where it comes first; what stands behind the last one must be the end.
    for part in parts {
        if let Some(middle) = last.replace(part) {
            match rest.find(middle) {
                Some(at) => rest = rest.get(at + middle.len()..).unwrap_or_default(),
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |end| rest.ends_with(end))
}

/// The `Use-As-Dictionary` of a response whose path matches a pattern.
pub fn announce(pattern: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("match=\"{pattern}\"")).ok()
}

/// What stands before the zstd stream of `dcz`.
pub fn dcz_prefix(hash: &Sha256) -> [u8; 40] {
    let mut prefix = [0; 40];
    for (slot, byte) in prefix.iter_mut().zip(DCZ_MAGIC.iter().chain(hash)) {
        *slot = *byte;
    }
    prefix
}

/// Adds `Available-Dictionary` to `Vary`, unless it is there: behind `Accept-Encoding`.
pub fn vary_by_dictionary(response: &mut HeaderMap) {
    let covers = |member: &[u8]| member == b"*" || member.eq_ignore_ascii_case(b"available-dictionary");
    if !list::field_members(response, header::VARY).any(covers) {
        response.append(header::VARY, HeaderValue::from_static("Available-Dictionary"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: HeaderName, value: &str) -> HeaderMap {
        std::iter::once((name, value.parse().unwrap())).collect()
    }

    #[test]
    fn dictionaries() {
        let check = |value: &str, expected| {
            assert_eq!(is_dictionary(&one(USE_AS_DICTIONARY, value)), expected, "{value}");
        };
        check("match=\"/app/*/main.js\"", true);
        check("match=\"/a\", match-dest=(\"script\"), id=\"x\", type=raw", true);
        check("match=\"/a\", type=brotli", false);
        check("match=\"/a\", type=\"raw\"", false);
        check("match=\"/a\", type=(raw)", false);
        check("match=\"\"", false);
        check("match=/a", false);
        check("id=\"x\"", false);
        check("match=\"/a", false);
        check(&format!("match=\"/{}\"", "a".repeat(5000)), false);
    }

    #[test]
    fn the_dictionary_of_a_client() {
        let check = |value: &str, expected| {
            assert_eq!(available(&one(AVAILABLE_DICTIONARY, value)).is_some(), expected, "{value}");
        };
        check(":pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=:", true);
        check(":pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=:;a=1", true);
        check(":pZGm:", false);
        check("pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=", false);
        check("\"x\"", false);
        check("", false);
        let hash = available(&one(AVAILABLE_DICTIONARY, ":AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=:")).unwrap();
        assert_eq!(dcz_prefix(&hash)[..12], [0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0, 0, 1, 2, 3]);
    }

    #[test]
    fn patterns() {
        let check = |pattern: &str, path: &str, expected| {
            assert!(is_pattern(pattern));
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        };
        check("/a", "/a", true);
        check("/a", "/ab", false);
        check("/*", "/", true);
        check("/*", "/a/b", true);
        check("/js/app.*.js", "/js/app.1.js", true);
        check("/js/app.*.js", "/js/app..js", true);
        check("/js/app.*.js", "/js/app.js", false);
        check("/js/app.*.js", "/js/app.1.css", false);
        check("/a*b*c", "/aXbYbZc", true);
        check("/a*b*c", "/acb", false);
        check("/a*b*c", "/abc", true);
        check("/a**", "/a", true);
        for bad in ["", "a", "/a?b", "/:id", "/(a)", "/{a}", "/a\"", "/\\", "/a b", "/a+"] {
            assert!(!is_pattern(bad), "{bad}");
        }
        assert_eq!(announce("/a*").unwrap(), "match=\"/a*\"");
        assert!(is_dictionary(&one(USE_AS_DICTIONARY, announce("/a*").unwrap().to_str().unwrap())));
    }
}
