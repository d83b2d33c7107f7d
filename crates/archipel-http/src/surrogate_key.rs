//! Tags that an origin gives its responses, to purge them by: `Surrogate-Key` (words between spaces, as Fastly and Varnish read it)
//! and `Cache-Tag` (a list between commas, as Cloudflare and Akamai read it).
//!
//! Owns their parsing. Must never leave a tag out in silence: whoever is told that not all were kept has to purge more.

use http::header::{HeaderMap, HeaderName};

use crate::list;

/// `Surrogate-Key`: tags between spaces.
pub const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// `Cache-Tag`: tags between commas.
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// Tags that one response may have, over both fields.
pub const TAGS_MAX: usize = 256;
/// The longest tag, in bytes.
pub const TAG_BYTES_MAX: usize = 1_024;

/// The tags of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags<'a> {
    /// Those that were kept, as they were written; their case does not count.
    pub tags: Vec<&'a [u8]>,
    /// Some were not: there were more than [`TAGS_MAX`], or one was longer than [`TAG_BYTES_MAX`].
    pub incomplete: bool,
}

/// Reads both fields. A quote has no meaning in either.
pub fn parse_tags(headers: &HeaderMap) -> Tags<'_> {
    let words = headers.get_all(SURROGATE_KEY).into_iter().flat_map(|line| line.as_bytes().split(|b| is_space(*b)));
    let members = headers.get_all(CACHE_TAG).into_iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
    let mut tags = Tags::default();
    for tag in words.chain(members.map(list::trim)).filter(|tag| !tag.is_empty()) {
        if tags.tags.len() < TAGS_MAX && tag.len() <= TAG_BYTES_MAX {
            tags.tags.push(tag);
        } else {
            tags.incomplete = true;
            break;
        }
    }
    tags
}

/// Whether a text can be a tag of either field: 1 to [`TAG_BYTES_MAX`] bytes that a field value may have, without commas and without
/// spaces around it.
pub fn is_tag(tag: &[u8]) -> bool {
    let bytes_fit = tag.iter().all(|byte| !matches!(byte, 0..=8 | 10..=31 | 127 | b','));
    !tag.is_empty() && tag.len() <= TAG_BYTES_MAX && bytes_fit && list::trim(tag) == tag
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fields: &[(&'static str, &str)], expected: &[&str], incomplete: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let found = parse_tags(&headers);
        let tags: Vec<_> = found.tags.iter().map(|tag| String::from_utf8_lossy(tag)).collect();
        assert_eq!(
            (tags, found.incomplete),
            (expected.iter().map(|tag| (*tag).into()).collect(), incomplete),
            "{fields:?}"
        );
    }

    #[test]
    fn fields() {
        check(&[], &[], false);
        check(&[("surrogate-key", "a  b\tc,d ")], &["a", "b", "c,d"], false);
        check(&[("cache-tag", "a, b c ,,\"d\",")], &["a", "b c", "\"d\""], false);
        check(&[("cache-tag", "a"), ("surrogate-key", "b"), ("cache-tag", "c")], &["b", "a", "c"], false);
        check(&[("cache-tag", " , ,")], &[], false);
        let many = "t ".repeat(TAGS_MAX);
        check(&[("surrogate-key", &many)], &["t"; TAGS_MAX], false);
        check(&[("surrogate-key", &many), ("cache-tag", "u")], &["t"; TAGS_MAX], true);
        let long = "x".repeat(TAG_BYTES_MAX);
        check(&[("cache-tag", &format!("a,{long}"))], &["a", &long], false);
        check(&[("cache-tag", &format!("a,{long}x,b"))], &["a"], true);
    }

    #[test]
    fn names_of_tags() {
        for good in ["a", "product-42", "a b", "é", "x\ty"] {
            assert!(is_tag(good.as_bytes()), "{good}");
        }
        for bad in ["", " a", "a ", "a,b", "a\nb", "\0", "\t"] {
            assert!(!is_tag(bad.as_bytes()), "{bad:?}");
        }
        assert!(is_tag(&[b'x'; TAG_BYTES_MAX]) && !is_tag(&[b'x'; TAG_BYTES_MAX + 1]));
    }
}
