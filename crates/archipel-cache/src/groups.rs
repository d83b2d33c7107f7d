//! What purges name: hosts, URLs, prefixes, tags and cache groups, each as a number that fits a record.
//!
//! Owns how the numbers are made. They are kept on disk and replayed by other nodes: they must never depend on a seed, a
//! process or a version. They are not secret, and need not be: two names of one number are purged together, which costs a fetch.

use crate::key::UrlParts;
use archipel_http::stable_hash::StableHasher;

/// Tags and cache groups that an object is stored with; one with more is covered by every purge of a tag in its zone.
pub const TAGS_MAX: usize = 256;
/// Path segments that a prefix may name; a longer one is purged as the prefix of this many, which covers more.
pub const PREFIX_SEGMENTS_MAX: u8 = 31;

/// Stands for "tags that are not kept": such an object is covered by every purge of a tag in its zone.
pub(crate) const UNKEPT_TAGS: u64 = u64::MAX;

/// The groups that a stored response belongs to, beside its key and its zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// See [`purge_group`].
    pub host: u64,
    /// See [`url_group`].
    pub url: u64,
    /// See [`tag_group`] and [`cache_group`]; at most [`TAGS_MAX`], or the one of [`Groups::with_tags`] that stands for more.
    pub tags: Box<[u64]>,
}

impl Groups {
    /// Those that follow from the key alone.
    pub fn of(url: &UrlParts<'_>) -> Self {
        Self { host: purge_group(url.authority), url: url_group(url), tags: Box::default() }
    }

    /// The same with tags. More than [`TAGS_MAX`], or `unkept` ones (refused by their parser), are replaced by a mark that every
    /// purge of a tag in the zone covers: more is purged, never less. The flag tells that this happened, to be counted.
    #[must_use]
    pub fn with_tags(mut self, tags: impl IntoIterator<Item = u64>, unkept: bool) -> (Self, bool) {
        // Twice as many as are kept are read, as some may be the same.
        let mut tags = tags.into_iter();
        let mut kept: Vec<u64> = tags.by_ref().take(2 * TAGS_MAX).collect();
        kept.sort_unstable();
        kept.dedup();
        let unkept = unkept || tags.next().is_some();
        let full = unkept || kept.len() > TAGS_MAX || kept.last() == Some(&UNKEPT_TAGS);
        if full {
            kept = vec![UNKEPT_TAGS];
        }
        self.tags = kept.into();
        (self, full)
    }
}

/// The number of a host, in its canonical form with a port that is not the scheme's default.
pub fn purge_group(authority: &str) -> u64 {
    number("host", &[authority])
}

/// The number of a URL whatever else is in the key: all device classes, slices, codings of it.
pub fn url_group(url: &UrlParts<'_>) -> u64 {
    number("url", &[url.scheme, url.authority, url.path_and_query])
}

/// The number of a tag (`Surrogate-Key`, `Cache-Tag`) in its zone. Case does not count.
pub fn tag_group(zone: u32, tag: &[u8]) -> u64 {
    let mut hasher = StableHasher::new("tag");
    hasher.write_field(&zone.to_le_bytes());
    hasher.write_field(&tag.to_ascii_lowercase());
    not_reserved(hasher.finish())
}

/// The number of a cache group of an origin (RFC 9875 section 2: of one scheme, host and port) in its zone.
pub fn cache_group(zone: u32, scheme: &str, authority: &str, group: &str) -> u64 {
    let mut hasher = StableHasher::new("cache group");
    hasher.write_field(&zone.to_le_bytes());
    [scheme, authority, group].iter().for_each(|field| hasher.write_field(field.as_bytes()));
    not_reserved(hasher.finish())
}

fn number(purpose: &str, fields: &[&str]) -> u64 {
    let mut hasher = StableHasher::new(purpose);
    fields.iter().for_each(|field| hasher.write_field(field.as_bytes()));
    hasher.finish()
}

fn not_reserved(number: u64) -> u64 {
    if number == UNKEPT_TAGS { 0 } else { number }
}

/// A host and the first whole segments of a path: `a.example/docs/en` covers `/docs/en`, `/docs/en/`, `/docs/en/x` and
/// `/docs/en?x`, not `/docs/english`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrefixGroup {
    /// The number of host and segments.
    pub hash: u64,
    /// How many segments; 1 to [`PREFIX_SEGMENTS_MAX`].
    pub segments: u8,
}

impl PrefixGroup {
    /// The prefix of a host and a canonical path; slashes at its end do not count. `None` where the path has no segment: purge
    /// the host. The second value tells that the path had more than [`PREFIX_SEGMENTS_MAX`].
    pub fn new(authority: &str, path: &str) -> Option<(Self, bool)> {
        let path = path.trim_end_matches('/');
        let mut prefixes = prefixes(authority, path);
        let found = prefixes.by_ref().take(PREFIX_SEGMENTS_MAX.into()).last()?;
        Some((found, prefixes.next().is_some()))
    }
}

/// The prefixes of a path, shortest first, as long as a prefix can be.
pub(crate) fn prefixes<'a>(authority: &str, path: &'a str) -> impl Iterator<Item = PrefixGroup> + use<'a> {
    let mut hasher = StableHasher::new("prefix");
    hasher.write_field(authority.as_bytes());
    let segments = path.strip_prefix('/').into_iter().flat_map(|path| path.split('/'));
    (1..=u8::MAX).zip(segments).map(move |(segments, segment)| {
        hasher.write_field(segment.as_bytes());
        PrefixGroup { hash: hasher.clone().finish(), segments }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn covers(prefix: (&str, &str), url: (&str, &str), expected: bool) {
        let (prefix, _) = PrefixGroup::new(prefix.0, prefix.1).unwrap();
        assert_eq!(prefixes(url.0, url.1).any(|other| other == prefix), expected, "{prefix:?} {url:?}");
    }

    #[test]
    fn prefixes_end_at_segments() {
        let docs = ("a.example", "/docs/en");
        for (path, expected) in [
            ("/docs/en", true),
            ("/docs/en/", true),
            ("/docs/en/x/y.html", true),
            ("/docs/english", false),
            ("/docs", false),
            ("/docs/", false),
            ("/", false),
            ("/en/docs", false),
            ("//docs/en", false),
            ("/docs//en", false),
        ] {
            covers(docs, ("a.example", path), expected);
            covers(("a.example", "/docs/en/"), ("a.example", path), expected);
            covers(docs, ("a.example:8080", path), false);
        }
        covers(("a.example:8080", "/docs"), ("a.example:8080", "/docs/x"), true);
        covers(("a", "/b"), ("a/b", "/c"), false);
        assert_eq!(PrefixGroup::new("a.example", "/"), None);
        assert_eq!(PrefixGroup::new("a.example", ""), None);
        assert_eq!(PrefixGroup::new("a.example", "//"), None);
    }

    #[test]
    fn a_prefix_that_is_too_deep_covers_more() {
        let deep = "/x".repeat(40);
        let (prefix, cut) = PrefixGroup::new("a.example", &deep).unwrap();
        assert_eq!((prefix.segments, cut), (PREFIX_SEGMENTS_MAX, true));
        covers(("a.example", &deep), ("a.example", &"/x".repeat(31)), true);
        covers(("a.example", &deep), ("a.example", &deep), true);
        covers(("a.example", &deep), ("a.example", &"/x".repeat(30)), false);
        let (_, cut) = PrefixGroup::new("a.example", &"/x".repeat(31)).unwrap();
        assert!(!cut);
    }

    #[test]
    fn tags_belong_to_their_zone_and_have_no_case() {
        assert_eq!(tag_group(1, b"Item-7"), tag_group(1, b"item-7"));
        assert_ne!(tag_group(1, b"item-7"), tag_group(2, b"item-7"));
        assert_ne!(tag_group(1, b"item-7"), tag_group(1, b"item-70"));
        let group = cache_group(1, "https", "a.example", "g");
        for other in [
            cache_group(2, "https", "a.example", "g"),
            cache_group(1, "http", "a.example", "g"),
            cache_group(1, "https", "b.example", "g"),
            cache_group(1, "https", "a.example", "G"),
            tag_group(1, b"g"),
        ] {
            assert_ne!(group, other);
        }
    }

    #[test]
    fn too_many_tags_are_one_mark() {
        let url = UrlParts { scheme: "https", authority: "a.example", path_and_query: "/" };
        let tags = |count: u64, unkept| {
            let (groups, full) = Groups::of(&url).with_tags(0..count, unkept);
            (groups.tags.len(), groups.tags.last().copied() == Some(UNKEPT_TAGS), full)
        };
        assert_eq!(tags(0, false), (0, false, false));
        assert_eq!(tags(256, false), (256, false, false));
        assert_eq!(tags(257, false), (1, true, true));
        assert_eq!(tags(2, true), (1, true, true));
        assert_eq!(&*Groups::of(&url).with_tags([3, 1, 3], false).0.tags, [1, 3]);
    }
}
