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
    (0..count as u64)
        .map(|i| {
            let at = offset + i;
            let mut word = Chance::new(seed ^ (at / 8));
            (word.next_u64() >> ((at % 8) * 8)) as u8
        })
        .collect()
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
        assert_eq!(whole[123..200], pattern(3, 123, 77)[..]);
    }

    #[test]
    fn clock_moves_when_told() {
        let mut clock = VirtualClock::default();
        clock.advance(Duration::from_secs(3));
        assert_eq!(clock.now(), Duration::from_secs(3));
    }
}
