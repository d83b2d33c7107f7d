//! Primary cache keys as the store sees them: a hash to find by and a text to be sure by.
//!
//! Must never build a key from a request: what it consists of is the policy's (`archipel-http`).

use archipel_http::key::CacheKey;
use std::hash::BuildHasher;

/// A key's text, which a lookup compares and only an insert or a new flight builds.
pub trait KeyText {
    /// Whether `text` is this key's text.
    fn matches_text(&self, text: &str) -> bool;
    /// The text, to be kept.
    fn to_text(&self) -> Box<str>;
}

impl KeyText for str {
    fn matches_text(&self, text: &str) -> bool {
        self == text
    }

    fn to_text(&self) -> Box<str> {
        self.into()
    }
}

impl KeyText for CacheKey<'_> {
    fn matches_text(&self, text: &str) -> bool {
        CacheKey::matches_text(self, text)
    }

    fn to_text(&self) -> Box<str> {
        self.text()
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
    /// The host's [`purge_group`], for purges by host.
    pub host: u64,
}

impl<'a> KeyRef<'a, CacheKey<'a>> {
    /// The key that the policy made, hashed under the store's seed.
    pub fn new(key: &'a CacheKey<'a>, seed: (u64, u64)) -> Self {
        Self { hash: key.hash(seed), text: key, zone: key.zone, host: purge_group(key.host) }
    }
}

impl<K: KeyText + ?Sized> Clone for KeyRef<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: KeyText + ?Sized> Copy for KeyRef<'_, K> {}

/// The number of a purge group, such as a host name in its canonical form. Not secret: two names of one number are purged together.
pub fn purge_group(name: &str) -> u64 {
    foldhash::quality::FixedState::with_seed(0x6172_6368_6970_656c).hash_one(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use archipel_http::target::Scheme;

    #[test]
    fn a_policy_key_finds_its_text() {
        let key = CacheKey { zone: 3, scheme: Scheme::Https, host: "a.example", path_and_query: "/b", extra: "" };
        let made = KeyRef::new(&key, (1, 2));
        assert_eq!((made.zone, made.host, made.hash), (3, purge_group("a.example"), key.hash((1, 2))));
        assert!(made.text.matches_text(&made.text.to_text()));
        assert!(!made.text.matches_text("3 https://a.example/c"));
        assert_ne!(purge_group("a.example"), purge_group("b.example"));
    }
}
