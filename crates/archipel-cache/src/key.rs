//! Primary cache keys as the store sees them: a hash to find by and a text to be sure by.
//!
//! Must never build the text: what a key consists of is the zone's policy.

use foldhash::{SharedSeed, quality::FoldHasher};
use std::hash::Hasher;

/// A primary cache key, borrowed for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRef<'a> {
    /// 128-bit hash of `text`, made with one [`KeyHasher`] for the life of the store. Only finds; never proves.
    pub hash: u128,
    /// The whole key: scheme, host, path, query and whatever the zone adds. Compared on each lookup, so that two keys of equal hash
    /// can displace but never answer for each other.
    pub text: &'a str,
    /// The zone's number, for purges by zone.
    pub zone: u32,
    /// A hash of the host name (see [`KeyHasher::group`]), for purges by host.
    pub host: u64,
}

/// Hashes key texts with a secret, so that a client cannot choose keys that fall into one place.
#[derive(Debug, Clone)]
pub struct KeyHasher {
    low: SharedSeed,
    high: SharedSeed,
}

impl KeyHasher {
    /// A hasher with the given secret: random for each process, or kept with the disk tier's index.
    pub fn new(seed: u128) -> Self {
        let (low, high) = (seed as u64, (seed >> 64) as u64);
        Self {
            low: SharedSeed::from_u64(low),
            high: SharedSeed::from_u64(high ^ 0x9e37_79b9_7f4a_7c15),
        }
    }

    /// The 128-bit hash of a key text.
    pub fn hash(&self, text: &str) -> u128 {
        let high = half(&self.high, text.as_bytes());
        u128::from(half(&self.low, text.as_bytes())) | (u128::from(high) << 64)
    }

    /// The 64-bit hash of the name of a purge group, such as a host.
    pub fn group(&self, name: &str) -> u64 {
        half(&self.low, name.as_bytes())
    }

    /// The key for one call.
    pub fn key<'a>(&self, text: &'a str, zone: u32, host: &str) -> KeyRef<'a> {
        KeyRef {
            hash: self.hash(text),
            text,
            zone,
            host: self.group(host),
        }
    }
}

fn half(seed: &SharedSeed, bytes: &[u8]) -> u64 {
    let mut hasher = FoldHasher::with_seed(0x517c_c1b7_2722_0a95, seed);
    hasher.write(bytes);
    hasher.write_usize(bytes.len());
    hasher.finish()
}
