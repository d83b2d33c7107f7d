//! A table of token buckets that is never larger than it was made, and never stops limiting.
//!
//! A bucket is kept as the moment at which it will be full again (the virtual scheduling form of the leaky bucket, ITU-T I.371, known as
//! GCRA): one number, whatever its rate. So buckets of all kinds and rates share one table.
//!
//! A key has eight places where its bucket can be. Where all are taken by others, the bucket goes that is full, or will be first:
//! whoever it belongs to has asked for least of late, and loses nothing, or little, by being new again. So a flood of new keys pushes out
//! other new keys, and those that are being limited stay limited.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Places of a key.
const WAYS: usize = 8;

/// Most tokens of a bucket.
pub const BURST_MAX: u32 = 10_000_000;

/// How much a bucket allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds in which a token comes in.
    interval_ns: u64,
    /// Nanoseconds in which an empty bucket fills.
    depth_ns: u64,
}

impl Rate {
    /// So many tokens, at least one, come in during each stretch of time `per`; a bucket holds `burst` of them, from 1 to [`BURST_MAX`]: what
    /// may be taken at once after a pause.
    #[must_use]
    pub fn new(tokens: u32, per: Duration, burst: u32) -> Self {
        let per_ns = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        let interval_ns = per_ns / u64::from(tokens.max(1));
        Self { interval_ns, depth_ns: interval_ns.saturating_mul(burst.clamp(1, BURST_MAX).into()) }
    }

    /// The same in tokens a second.
    #[must_use]
    pub fn per_second(tokens: u32, burst: u32) -> Self {
        Self::new(tokens, Duration::from_secs(1), burst)
    }
}

/// What came of taking a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// There was one.
    Granted,
    /// There was none.
    Refused {
        /// Until the next one comes in.
        wait: Duration,
    },
}

/// One place: whose bucket it is (0: nobody's), and when it is full, in nanoseconds of the callers' clock.
#[derive(Debug, Default)]
struct Slot {
    key: AtomicU64,
    full_at: AtomicU64,
}

/// The places of a key, in two cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Set([Slot; WAYS]);

/// A table of token buckets.
///
/// Threads may race for a place: then one key's token is charged to another's bucket, once. Nothing else can go wrong, so nothing
/// is locked.
#[derive(Debug)]
pub struct Buckets {
    sets: Box<[Set]>,
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

impl Buckets {
    /// A table for at least `keys` keys, 16 bytes each, rounded up to a power of two.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let sets = keys.div_ceil(WAYS).next_power_of_two();
        let sets = (0..sets).map(|_| Set::default()).collect();
        Self { sets, evicted_full: AtomicU64::new(0), evicted_limited: AtomicU64::new(0) }
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

    /// Takes a token of a key's bucket. `key` is a hash that clients cannot foresee, of whom the budget is for and of what kind it is: one
    /// key has one rate. `now_ns` comes from a clock that all callers share; it may lag a little.
    #[inline]
    pub fn take(&self, key: u64, rate: Rate, now_ns: u64) -> Taken {
        let slot = self.place(key.max(1), now_ns);
        let mut full_at = slot.full_at.load(Ordering::Relaxed);
        loop {
            let next = full_at.max(now_ns).saturating_add(rate.interval_ns);
            let debt_ns = next - now_ns;
            if debt_ns > rate.depth_ns {
                return Taken::Refused { wait: Duration::from_nanos(debt_ns - rate.depth_ns) };
            }
            match slot.full_at.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Taken::Granted,
                Err(seen) => full_at = seen,
            }
        }
    }

    /// The place of a key, which becomes its own where it was another's.
    #[inline]
    fn place(&self, key: u64, now_ns: u64) -> &Slot {
        // The low bits choose the set; all of them tell keys apart.
        let Set(set) = &self.sets[key as usize & (self.sets.len() - 1)];
        match set.iter().find(|slot| slot.key.load(Ordering::Relaxed) == key) {
            Some(own) => own,
            None => self.claim(set, key, now_ns),
        }
    }

    fn claim<'a>(&self, set: &'a [Slot; WAYS], key: u64, now_ns: u64) -> &'a Slot {
        // A free place has never been touched: it is full since 0, and chosen before all others.
        let fullest = set.iter().min_by_key(|slot| slot.full_at.load(Ordering::Relaxed)).unwrap_or(&set[0]);
        if fullest.key.load(Ordering::Relaxed) != 0 {
            let full = fullest.full_at.load(Ordering::Relaxed) <= now_ns;
            let counter = if full { &self.evicted_full } else { &self.evicted_limited };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        fullest.full_at.store(now_ns, Ordering::Relaxed);
        fullest.key.store(key, Ordering::Relaxed);
        fullest
    }
}
