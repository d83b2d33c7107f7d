//! A table of token buckets that is never larger than it was made, and never stops limiting.
//!
//! A key has eight places where its bucket can be. Where all are taken by others, the bucket that is fullest goes: whoever it
//! belongs to has asked for least of late, and loses nothing, or little, by being new again. So a flood of new keys pushes out other
//! new keys, and those that are being limited stay limited.

use std::sync::atomic::{AtomicU64, Ordering};

/// Places of a key.
const WAYS: usize = 8;

/// Parts of a token that are counted.
const UNIT: u64 = 1_000;

/// Most tokens of a bucket.
pub const BURST_MAX: u32 = 4_000_000;

/// How much a bucket allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Tokens a second that come in.
    pub per_second: f64,
    /// Tokens that it holds: what may be taken at once after a pause. At most [`BURST_MAX`].
    pub burst: u32,
}

/// What came of taking a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// There was one; so many are left.
    Granted {
        /// Whole tokens left.
        left: u32,
    },
    /// There was none; the next one comes in so many milliseconds.
    Refused {
        /// Milliseconds.
        wait_ms: u64,
    },
}

/// One place: whose bucket it is (0: nobody's), and its state.
#[derive(Debug, Default)]
struct Slot {
    key: AtomicU64,
    /// Parts of tokens in the upper 32 bits, milliseconds of the last change (mod 2^32) in the lower.
    state: AtomicU64,
}

/// A table of token buckets.
///
/// Threads may race for a place: then one key's token is charged to another's bucket, once. Nothing else can go wrong, so nothing
/// is locked.
#[derive(Debug)]
pub struct Buckets {
    sets: Box<[[Slot; WAYS]]>,
    rate: Rate,
    evicted_full: AtomicU64,
    evicted_limited: AtomicU64,
}

/// What a table had to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketCounts {
    /// Full buckets, by which nobody lost anything.
    pub evicted_full: u64,
    /// Buckets that were not full: their keys got tokens that they had spent.
    pub evicted_limited: u64,
}

fn pack(parts: u64, now: u32) -> u64 {
    parts << 32 | u64::from(now)
}

impl Buckets {
    /// A table for at least `keys` keys, 16 bytes each, rounded up to a power of two.
    #[must_use]
    pub fn new(keys: usize, rate: Rate) -> Self {
        let sets = keys.div_ceil(WAYS).next_power_of_two();
        let rate = Rate { burst: rate.burst.clamp(1, BURST_MAX), ..rate };
        let sets = (0..sets).map(|_| Default::default()).collect();
        Self { sets, rate, evicted_full: AtomicU64::new(0), evicted_limited: AtomicU64::new(0) }
    }

    /// Bytes of memory, which never change.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.sets)
    }

    /// What it had to forget.
    #[must_use]
    pub fn counts(&self) -> BucketCounts {
        BucketCounts {
            evicted_full: self.evicted_full.load(Ordering::Relaxed),
            evicted_limited: self.evicted_limited.load(Ordering::Relaxed),
        }
    }

    fn capacity(&self) -> u64 {
        u64::from(self.rate.burst) * UNIT
    }

    /// What a bucket has at `now`.
    fn filled(&self, state: u64, now: u32) -> u64 {
        let elapsed = now.wrapping_sub(state as u32);
        // A clock of another worker may be a little behind; more than half of the range is that, not 25 days.
        let elapsed = if elapsed > u32::MAX / 2 { 0 } else { elapsed };
        let gained = f64::from(elapsed) * self.rate.per_second * UNIT as f64 / 1000.0;
        // The cast saturates.
        (state >> 32).saturating_add(gained as u64).min(self.capacity())
    }

    /// Takes a token of a key's bucket. `key` is a hash that clients cannot foresee; `now_ms` may come from any clock that all
    /// callers share.
    pub fn take(&self, key: u64, now_ms: u64) -> Taken {
        let key = key.max(1);
        let now = now_ms as u32;
        let slot = self.place(key, now);
        let mut state = slot.state.load(Ordering::Relaxed);
        loop {
            let held = self.filled(state, now);
            if held < UNIT {
                let missing = (UNIT - held) as f64 / UNIT as f64;
                let wait = missing / self.rate.per_second.max(f64::MIN_POSITIVE) * 1000.0;
                return Taken::Refused { wait_ms: (wait.ceil() as u64).max(1) };
            }
            let next = pack(held - UNIT, now);
            match slot.state.compare_exchange_weak(state, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Taken::Granted { left: u32::try_from((held - UNIT) / UNIT).unwrap_or(u32::MAX) },
                Err(seen) => state = seen,
            }
        }
    }

    /// The place of a key, which becomes its own where it was another's.
    fn place(&self, key: u64, now: u32) -> &Slot {
        // The low bits choose the set; all of them tell keys apart.
        let set = &self.sets[key as usize & (self.sets.len() - 1)];
        if let Some(own) = set.iter().find(|slot| slot.key.load(Ordering::Relaxed) == key) {
            return own;
        }
        let held = |slot: &Slot| match slot.key.load(Ordering::Relaxed) {
            0 => u64::MAX,
            _ => self.filled(slot.state.load(Ordering::Relaxed), now),
        };
        // The set is never empty.
        let fullest = set.iter().max_by_key(|slot| held(slot)).unwrap_or(&set[0]);
        match held(fullest) {
            u64::MAX => {}
            held if held == self.capacity() => drop(self.evicted_full.fetch_add(1, Ordering::Relaxed)),
            _ => drop(self.evicted_limited.fetch_add(1, Ordering::Relaxed)),
        }
        fullest.state.store(pack(self.capacity(), now), Ordering::Relaxed);
        fullest.key.store(key, Ordering::Relaxed);
        fullest
    }
}
