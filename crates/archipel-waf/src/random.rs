//! Random values for tests, the same for the same seed.

/// Marsaglia's xorshift generator.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub(crate) const fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    /// Up to `count` of `pieces` in a row, with now and then a byte changed.
    pub(crate) fn value(&mut self, pieces: &[&[u8]], count: usize) -> Vec<u8> {
        let mut value = Vec::new();
        for _ in 0..self.below(count + 1) {
            value.extend_from_slice(pieces[self.below(pieces.len())]);
        }
        if !value.is_empty() && self.below(4) == 0 {
            let at = self.below(value.len());
            value[at] = self.below(256) as u8;
        }
        value
    }
}
