//! A hash that is written to disk and compared between nodes.
//!
//! Owns the function; must never change what it gives for a sequence of writes: purges recorded by one version of the program
//! are read by the next. Not secret: where a client must not know the seed, use the keyed hash of [`crate::key`].

use crate::siphash::KeyHasher;

/// 64 bits of SipHash-1-3-128 under a fixed key, fed in pieces. A clone goes on from where it was.
#[derive(Clone, Debug)]
pub struct StableHasher(KeyHasher);

impl StableHasher {
    /// A hasher for one purpose; equal content under another purpose gives another hash.
    pub fn new(purpose: &str) -> Self {
        let mut hasher = KeyHasher::new((0x6172_6368_6970_656c, 0x7374_6162_6c65_2031));
        hasher.write_field(purpose.as_bytes());
        Self(hasher)
    }

    /// More of the same field.
    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// A whole field, with its length in front: no two sequences of fields are the same stream.
    pub fn write_field(&mut self, bytes: &[u8]) {
        self.0.write_field(bytes);
    }

    /// The hash of what was written.
    pub fn finish(self) -> u64 {
        self.0.finish() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is on disks was written with these: another value, and no purge that was recorded would be found.
    #[test]
    fn values_that_are_on_disks() {
        let hash = |purpose, fields: &[&str]| {
            let mut hasher = StableHasher::new(purpose);
            fields.iter().for_each(|field| hasher.write_field(field.as_bytes()));
            hasher.finish()
        };
        let found =
            [hash("a", &[]), hash("a", &["b"]), hash("b", &["b"]), hash("a", &["b", ""]), hash("a", &["", "b"])];
        assert_eq!(
            found,
            [
                1_421_275_332_917_888_625,
                8_908_262_518_842_692_947,
                4_457_109_436_238_716_957,
                3_030_406_919_764_593_521,
                16_117_230_237_831_320_148,
            ]
        );
    }
}
