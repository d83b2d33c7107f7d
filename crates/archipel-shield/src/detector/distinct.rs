//! How many different addresses there were: HyperLogLog (Flajolet, Fusy, Gandouet, Meunier 2007), 1 KiB, whatever their number.

use std::sync::atomic::{AtomicU8, Ordering};

/// Registers. The standard error is 1.04 / sqrt(1,024) = 3.3 %.
const REGISTERS: usize = 1_024;

/// Counts different numbers. Threads share it without a lock.
#[derive(Debug)]
pub struct Distinct(Box<[AtomicU8; REGISTERS]>);

impl Default for Distinct {
    fn default() -> Self {
        Self(Box::new([const { AtomicU8::new(0) }; REGISTERS]))
    }
}

impl Distinct {
    /// Notices a number, which is a hash.
    pub fn add(&self, hash: u64) {
        let register = &self.0[hash as usize % REGISTERS];
        // The ten bits that chose the register are no part of the run.
        let run = ((hash >> 10).leading_zeros() - 10 + 1) as u8;
        // Nearly always it is known: no write, so that the line stays shared.
        if register.load(Ordering::Relaxed) < run {
            register.fetch_max(run, Ordering::Relaxed);
        }
    }

    /// How many there were, give or take 3 %.
    #[must_use]
    pub fn estimate(&self) -> u64 {
        let (mut sum, mut empty) = (0.0, 0_u32);
        for register in self.0.iter() {
            let run = register.load(Ordering::Relaxed);
            sum += (-f64::from(run)).exp2();
            empty += u32::from(run == 0);
        }
        let registers = REGISTERS as f64;
        let raw = 0.7213 / (1.0 + 1.079 / registers) * registers * registers / sum;
        // Few ones are counted by the registers that are still empty.
        let few = raw <= 2.5 * registers && empty > 0;
        (if few { registers * (registers / f64::from(empty)).ln() } else { raw }).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::next_random;
    use super::Distinct;

    #[test]
    fn estimates_are_near() {
        for wanted in [0_u64, 1, 10, 500, 5_000, 1_000_000] {
            let distinct = Distinct::default();
            let mut random = 7;
            for _ in 0..wanted {
                let hash = next_random(&mut random);
                distinct.add(hash);
                distinct.add(hash);
            }
            let found = distinct.estimate();
            assert!(found.abs_diff(wanted) * 10 <= wanted, "{wanted}: {found}");
        }
    }
}
