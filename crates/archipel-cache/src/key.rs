//! Primary cache keys as the store sees them: a hash to find by and a text to be sure by.
//!
//! Must never build a key from a request: what it consists of is the policy's (`archipel-http`).

use archipel_http::key::CacheKey;

/// The parts of a key's URL, for purges that name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlParts<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The canonical host, with a port that is not the scheme's default.
    pub authority: &'a str,
    /// The path and, behind `?`, the query, as they are in the key.
    pub path_and_query: &'a str,
}

impl<'a> UrlParts<'a> {
    /// The path alone.
    pub fn path(&self) -> &'a str {
        self.path_and_query.split('?').next().unwrap_or(self.path_and_query)
    }
}

/// A key's text, which a lookup compares and only an insert or a new flight builds.
pub trait KeyText {
    /// Whether `text` is this key's text.
    fn matches_text(&self, text: &str) -> bool;
    /// The text, to be kept.
    fn to_text(&self) -> Box<str>;
    /// The URL in it.
    fn url(&self) -> UrlParts<'_>;
}

impl KeyText for str {
    fn matches_text(&self, text: &str) -> bool {
        self == text
    }

    fn to_text(&self) -> Box<str> {
        self.into()
    }

    /// From a text as [`CacheKey::text`] makes it: `7 https://host/path?query`, perhaps a space and more.
    fn url(&self) -> UrlParts<'_> {
        let url = self.split(' ').nth(1).unwrap_or(self);
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (authority, path_and_query) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        UrlParts { scheme, authority, path_and_query }
    }
}

impl KeyText for CacheKey<'_> {
    fn matches_text(&self, text: &str) -> bool {
        CacheKey::matches_text(self, text)
    }

    fn to_text(&self) -> Box<str> {
        self.text()
    }

    fn url(&self) -> UrlParts<'_> {
        UrlParts { scheme: self.scheme.as_str(), authority: self.host, path_and_query: self.path_and_query }
    }
}

/// A primary cache key, borrowed for one call.
#[derive(Debug)]
pub struct KeyRef<'a, K: KeyText + ?Sized = str> {
    /// 128-bit hash of the key under a seed that clients do not know. Only finds; never proves.
    pub hash: u128,
    /// The whole key: scheme, host, path, query and whatever the zone adds. Compared on each lookup, so that two keys of equal hash
    /// can displace but never answer for each other.
    pub text: &'a K,
    /// The zone's number, for purges by zone.
    pub zone: u32,
}

impl<'a> KeyRef<'a, CacheKey<'a>> {
    /// The key that the policy made, hashed under the store's seed.
    pub fn new(key: &'a CacheKey<'a>, seed: (u64, u64)) -> Self {
        Self { hash: key.hash(seed), text: key, zone: key.zone }
    }
}

impl<K: KeyText + ?Sized> Clone for KeyRef<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: KeyText + ?Sized> Copy for KeyRef<'_, K> {}

#[cfg(test)]
mod tests {
    use super::*;
    use archipel_http::target::Scheme;

    #[test]
    fn a_policy_key_finds_its_text_and_its_url() {
        for (path_and_query, extra, path) in
            [("/b", "", "/b"), ("/b/c?d=/e", "", "/b/c"), ("/", "device=mobile x", "/")]
        {
            let key = CacheKey { zone: 3, scheme: Scheme::Https, host: "a.example:81", path_and_query, extra };
            let made = KeyRef::new(&key, (1, 2));
            assert_eq!((made.zone, made.hash), (3, key.hash((1, 2))));
            assert!(made.text.matches_text(&made.text.to_text()));
            assert!(!made.text.matches_text("3 https://a.example:81/z"));
            assert_eq!((made.text.to_text().url(), made.text.url().path()), (made.text.url(), path));
        }
    }
}
