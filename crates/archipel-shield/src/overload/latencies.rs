//! How long replies took, of one window: counts in buckets that grow with the value, so that adding one is one addition.

use std::sync::atomic::{AtomicU32, Ordering};

/// Buckets to each doubling of the latency: what is read from them is right to a few per cent.
const PER_OCTAVE_BITS: u32 = 3;
/// Latencies below this many microseconds are one bucket.
const FLOOR_BITS: u32 = 4;
/// Latencies of 2^27 us (134 s) and more are one bucket.
const CEILING_BITS: u32 = 27;

const BUCKETS: usize = ((CEILING_BITS - FLOOR_BITS) << PER_OCTAVE_BITS) as usize;

/// Counts of latencies. Several threads may add to it; one reads and empties it.
#[derive(Debug)]
pub struct Latencies([AtomicU32; BUCKETS]);

/// The lower quartile of some latencies: a quarter of them is below it. Where everything waits, it rises like the median; where most
/// requests wait for news and some are answered at once, it stays with these, while the median would jump between the two.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quartile {
    /// How many there were.
    pub count: u32,
    /// The quartile, in microseconds.
    pub us: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU32::new(0)))
    }
}

fn bucket(us: u64) -> usize {
    let us = us.clamp(1 << FLOOR_BITS, (1 << CEILING_BITS) - 1);
    let octave = us.ilog2();
    let part = (us >> (octave - PER_OCTAVE_BITS)) & ((1 << PER_OCTAVE_BITS) - 1);
    (((octave - FLOOR_BITS) as usize) << PER_OCTAVE_BITS) + part as usize
}

/// The least value of a bucket, in microseconds.
fn least(bucket: usize) -> f64 {
    let octave = FLOOR_BITS + (bucket >> PER_OCTAVE_BITS) as u32;
    let part = (bucket & ((1 << PER_OCTAVE_BITS) - 1)) as f64;
    (1u64 << octave) as f64 * (1.0 + part / f64::from(1 << PER_OCTAVE_BITS))
}

impl Latencies {
    /// Adds one, in microseconds.
    pub fn observe(&self, us: u64) {
        self.0[bucket(us)].fetch_add(1, Ordering::Relaxed);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.iter().fold(0, |sum, bucket| sum.saturating_add(bucket.load(Ordering::Relaxed)))
    }

    /// The lower quartile of what there is, which is forgotten.
    pub fn take(&self) -> Quartile {
        let counts: [u32; BUCKETS] = std::array::from_fn(|at| self.0[at].swap(0, Ordering::Relaxed));
        let count = counts.iter().fold(0, |sum: u32, n| sum.saturating_add(*n));
        let quarter = f64::from(count) / 4.0;
        let mut below = 0.0;
        for (at, n) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            let n = f64::from(*n);
            if below + n >= quarter {
                let us = least(at) + (least(at + 1) - least(at)) * ((quarter - below) / n);
                return Quartile { count, us };
            }
            below += n;
        }
        Quartile::default()
    }
}
