//! Cache keys: what makes two requests ask for the same resource.
//!
//! Owns the key's parts, its hash and its text. The hash finds an entry; the text, kept in the stored object, is compared, so
//! that two URLs never share one. Must never normalise: the parts come canonical from [`crate::target`].

use std::fmt::Write as _;

use crate::siphash::KeyHasher;
use crate::target::Scheme;

/// The parts of a cache key.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct CacheKey<'a> {
    /// The zone: no two zones share an entry, whatever their hosts.
    pub zone: u32,
    /// The scheme: `http` and `https` are two resources.
    pub scheme: Scheme,
    /// The canonical host, with a port that is not the scheme's default.
    pub host: &'a str,
    /// The canonical path, which begins with `/`, with `?` and the query as received where there is one.
    pub path_and_query: &'a str,
    /// What the zone adds to the key (header, cookie, device class); empty where it adds nothing.
    pub extra: &'a str,
}

impl CacheKey<'_> {
    /// The 128-bit hash under a seed that clients do not know. Its upper half is that of zone and URL ([`url_half`]), whatever the
    /// zone adds.
    pub fn hash(&self, seed: (u64, u64)) -> u128 {
        let mut hasher = KeyHasher::new(seed);
        hasher.write(&self.zone.to_le_bytes());
        hasher.write(self.scheme.as_str().as_bytes());
        hasher.write(b":");
        hasher.write_field(self.host.as_bytes());
        hasher.write_field(self.path_and_query.as_bytes());
        let url = url_half(hasher.clone().finish());
        if self.extra.is_empty() {
            return plain_hash(url);
        }
        hasher.write_field(self.extra.as_bytes());
        u128::from(url) << 64 | u128::from(hasher.finish() as u64)
    }

    /// The key as text, to be kept with the object: `7 https://host/path?query` and, behind a space, what the zone adds.
    ///
    /// Unambiguous: neither a canonical host nor a valid path and query holds a space.
    pub fn text(&self) -> Box<str> {
        let bytes = self.host.len() + self.path_and_query.len() + self.extra.len() + 24;
        let mut text = String::with_capacity(bytes);
        // Writing to a String cannot fail.
        let _ = write!(text, "{} {}://{}{}", self.zone, self.scheme.as_str(), self.host, self.path_and_query);
        if !self.extra.is_empty() {
            text.push(' ');
            text.push_str(self.extra);
        }
        text.into_boxed_str()
    }

    /// Whether `text` is this key's [`CacheKey::text`], without building it.
    pub fn matches_text(&self, text: &str) -> bool {
        let mut rest = text.as_bytes();
        let mut digits = [0_u8; 10];
        let mut parts_match = eat(&mut rest, decimal(self.zone, &mut digits)) && eat(&mut rest, b" ");
        for part in [self.scheme.as_str(), "://", self.host, self.path_and_query] {
            parts_match = parts_match && eat(&mut rest, part.as_bytes());
        }
        if !self.extra.is_empty() {
            parts_match = parts_match && eat(&mut rest, b" ") && eat(&mut rest, self.extra.as_bytes());
        }
        parts_match && rest.is_empty()
    }
}

/// The half of a key's hash that all keys of one URL in one zone share.
pub fn url_half(hash: u128) -> u64 {
    (hash >> 64) as u64
}

/// The hash of the key to which the zone adds nothing, from the half of its URL.
pub fn plain_hash(url: u64) -> u128 {
    // The finalizer of splitmix64: a bijection, so that nothing of the half is lost in the part that a table may go by.
    let mut mixed = url ^ (url >> 30);
    mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u128::from(url) << 64 | u128::from(mixed ^ (mixed >> 31))
}

fn eat(rest: &mut &[u8], part: &[u8]) -> bool {
    match rest.strip_prefix(part) {
        Some(behind) => {
            *rest = behind;
            true
        }
        None => false,
    }
}

fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut at = digits.len();
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (number % 10) as u8;
        number /= 10;
        at -= 1;
        if number == 0 {
            break;
        }
    }
    digits.get(at..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: (u64, u64) = (1, 2);
    const KEY: CacheKey<'_> =
        CacheKey { zone: 7, scheme: Scheme::Https, host: "a.example", path_and_query: "/b?c=1", extra: "" };

    #[test]
    fn text_and_comparison() {
        let others = [
            CacheKey { zone: 70, ..KEY },
            CacheKey { zone: 0, ..KEY },
            CacheKey { zone: u32::MAX, ..KEY },
            CacheKey { scheme: Scheme::Http, ..KEY },
            CacheKey { host: "a.example:81", ..KEY },
            CacheKey { host: "b.example", ..KEY },
            CacheKey { path_and_query: "/b?c=2", ..KEY },
            CacheKey { path_and_query: "/b?c=", extra: "1", ..KEY },
            CacheKey { extra: "mobile", ..KEY },
        ];
        assert_eq!(&*KEY.text(), "7 https://a.example/b?c=1");
        assert!(KEY.matches_text(&KEY.text()));
        for other in others {
            assert!(other.matches_text(&other.text()), "{other:?}");
            assert!(!other.matches_text(&KEY.text()), "{other:?}");
            assert!(!KEY.matches_text(&other.text()), "{other:?}");
            assert_ne!(KEY.hash(SEED), other.hash(SEED), "{other:?}");
        }
        assert_ne!(KEY.hash(SEED), KEY.hash((1, 3)));
    }

    #[test]
    fn all_keys_of_a_url_share_one_half_of_their_hashes() {
        let mobile = CacheKey { extra: "mobile", ..KEY };
        assert_eq!(url_half(mobile.hash(SEED)), url_half(KEY.hash(SEED)));
        assert_eq!(plain_hash(url_half(mobile.hash(SEED))), KEY.hash(SEED));
        for other in [CacheKey { zone: 8, ..mobile }, CacheKey { path_and_query: "/b?c=2", ..mobile }] {
            assert_ne!(url_half(other.hash(SEED)), url_half(KEY.hash(SEED)), "{other:?}");
        }
    }
}
