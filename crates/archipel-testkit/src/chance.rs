//! Deterministic randomness and time for tests.
//!
//! Must never read the system clock or the system's randomness: a failing test is replayed from its seed alone.

use std::time::Duration;

/// A seeded generator (SplitMix64): the same seed gives the same numbers on every machine.
#[derive(Debug, Clone)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// A generator that starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}

/// A clock that moves only when told to; time is counted from the clock's own start.
#[derive(Debug, Clone, Default)]
pub struct VirtualClock {
    elapsed: Duration,
}

impl VirtualClock {
    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.elapsed
    }

    /// Moves the clock forward.
    pub fn advance(&mut self, by: Duration) {
        self.elapsed += by;
    }
}

/// `count` bytes that a receiver can check piecewise: the byte at `offset` depends on nothing but `offset` and `seed`.
pub fn pattern(seed: u64, offset: u64, count: usize) -> Vec<u8> {
    // Whole words are made and the ends cut off: a word at a time keeps this cheap in a debug build.
    let lead = (offset % 8) as usize;
    let words = (lead + count).div_ceil(8) as u64;
    let mut bytes = Vec::with_capacity(words as usize * 8);
    for word in offset / 8..offset / 8 + words {
        bytes.extend_from_slice(&Chance::new(seed ^ word).next_u64().to_le_bytes());
    }
    bytes.truncate(lead + count);
    bytes.drain(..lead);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_numbers() {
        let (mut a, mut b) = (Chance::new(7), Chance::new(7));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
        assert_ne!(Chance::new(1).next_u64(), Chance::new(2).next_u64());
        assert_eq!(Chance::new(0).below(0), 0);
    }

    #[test]
    fn pattern_is_seekable() {
        let whole = pattern(3, 0, 1000);
        for (offset, count) in [(123, 77), (0, 8), (7, 1), (8, 0), (999, 1)] {
            assert_eq!(whole[offset..offset + count], pattern(3, offset as u64, count)[..], "{offset} {count}");
        }
    }

    #[test]
    fn clock_moves_when_told() {
        let mut clock = VirtualClock::default();
        clock.advance(Duration::from_secs(3));
        assert_eq!(clock.now(), Duration::from_secs(3));
    }
}
