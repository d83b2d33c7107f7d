//! How often each key was seen in a sliding window, for more keys than there is room for.
//!
//! Each key has eight places for exact counts. While any of them is free, or idle for a whole window, what a key is told is exact. Where
//! all are taken, the keys that were counted most have them, and the others share a [sketch](super::sketch), whose error is bounded. A key
//! that the sketch counts more often than a place's key takes its place: so whoever comes near a limit is counted exactly from then on
//! (on top of what the sketch made of it before), and whoever is limited keeps its place. Nothing ever stops counting.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::sketch::Sketch;
use super::window::{Grid, Slot};

/// Places of a key.
const WAYS: usize = 8;

/// Parts of the table, each with a lock of its own, so that workers seldom meet.
const SHARDS: usize = 16;

/// Fewest keys with exact counts.
pub const KEYS_MIN: usize = SHARDS * WAYS;

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Most that may be counted of a key in a period.
    pub requests: u32,
    /// How long a key is refused from the first refusal on; zero until its count allows one more.
    pub mitigation: Duration,
}

/// How a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is refused. Nothing was counted then.
    pub refused: bool,
    /// Whether it was not refused before: where a refusal lasts, it begins here.
    pub begins: bool,
    /// How many more there may be.
    pub left: u32,
    /// Until it is refused no longer, or until there may be more than `left`; zero where nothing is counted.
    pub wait: Duration,
}

/// What the counters did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterCounts {
    /// Counted.
    pub counted: u64,
    /// Refused.
    pub refused: u64,
    /// Exact counts that became the sketch's, as their place was taken.
    pub evicted: u64,
    /// Answers that were the sketch's: not exact.
    pub estimated: u64,
    /// Keys that are refused only while their count is too high, as there was no place to remember for how long.
    pub unremembered: u64,
    /// Keys that have, or had, a place which nobody else has taken since.
    pub keys: u64,
    /// Bytes of memory.
    pub bytes: u64,
}

/// A part of the keys.
#[derive(Debug, Default)]
struct Shard {
    slots: Box<[Slot]>,
    sketch: Option<Box<Sketch>>,
    counts: CounterCounts,
}

/// Counters of one rule. Memory is taken with the first key of each sixteenth of all, and for the sketch when it is first needed.
#[derive(Debug)]
pub struct Counters {
    shards: [Mutex<Shard>; SHARDS],
    grid: Grid,
    slots_per_shard: usize,
}

/// Where a key is counted.
enum Place {
    /// Exactly, in this slot of its shard.
    Slot(usize),
    /// By the sketch, with this estimate.
    Sketch(u64),
}

impl Counters {
    /// For a period, with room for at least `keys` exact counts, 64 bytes each; once that is too little, for a sketch of 48 bytes for each of
    /// them besides.
    #[must_use]
    pub fn new(period: Duration, keys: usize) -> Self {
        let slots_per_shard = keys.max(KEYS_MIN).div_ceil(SHARDS).next_power_of_two();
        let period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        Self { shards: Default::default(), grid: Grid::new(period_ms), slots_per_shard }
    }

    /// Most bytes of memory that it ever takes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        SHARDS * (self.slots_per_shard * size_of::<Slot>() + Sketch::bytes(self.slots_per_shard))
    }

    /// What it did.
    #[must_use]
    pub fn counts(&self) -> CounterCounts {
        let mut sum = CounterCounts::default();
        for shard in &self.shards {
            let shard = lock(shard);
            let CounterCounts { counted, refused, evicted, estimated, unremembered, keys, .. } = shard.counts;
            sum.counted += counted;
            sum.refused += refused;
            sum.evicted += evicted;
            sum.estimated += estimated;
            sum.unremembered += unremembered;
            sum.keys += keys;
            let sketch = shard.sketch.as_ref().map_or(0, |_| Sketch::bytes(self.slots_per_shard));
            sum.bytes += (size_of_val(&*shard.slots) + sketch) as u64;
        }
        sum
    }

    /// How many keys with a place are at their limit, or refused. Looks at all of them.
    #[must_use]
    pub fn limited(&self, limit: &Limit, now_ms: u64) -> u64 {
        let slice = self.grid.slice(now_ms);
        let refused = |slot: &Slot| {
            let mut slot = *slot;
            slot.advance(slice);
            slot.key != 0 && slot.judge(self.grid, limit, now_ms).refused
        };
        self.shards.iter().map(|shard| lock(shard).slots.iter().filter(|slot| refused(slot)).count() as u64).sum()
    }

    /// The shard of a key, with what belongs to it: its key is never 0.
    fn shard(&self, key: u64) -> (MutexGuard<'_, Shard>, u64) {
        let mut shard = lock(&self.shards[(key >> 60) as usize % SHARDS]);
        if shard.slots.is_empty() {
            shard.slots = vec![Slot::default(); self.slots_per_shard].into();
        }
        (shard, key.max(1))
    }

    /// Counts a key, unless it has reached its limit. `key` is a hash that clients cannot foresee; `now_ms` comes from a clock that all callers
    /// share, and may lag a little.
    pub fn ask(&self, key: u64, limit: &Limit, now_ms: u64) -> Standing {
        let (mut shard, key) = self.shard(key);
        let slice = self.grid.slice(now_ms);
        let standing = match shard.place(key, slice, now_ms) {
            Place::Slot(at) => {
                let slot = &mut shard.slots[at];
                let standing = slot.judge(self.grid, limit, now_ms);
                if standing.refused { standing } else { slot.count(self.grid, limit, now_ms) }
            }
            Place::Sketch(estimate) if estimate >= u64::from(limit.requests) => shard.unremembered(self.grid, limit),
            Place::Sketch(_) => estimated(shard.add_to_sketch(key, slice, 1), self.grid, limit),
        };
        shard.counts.refused += u64::from(standing.refused);
        shard.counts.counted += u64::from(!standing.refused);
        standing
    }

    /// How a key stands, where it is known later whether it counts. A refusal that lasts begins here too.
    pub fn check(&self, key: u64, limit: &Limit, now_ms: u64) -> Standing {
        let (mut shard, key) = self.shard(key);
        let slice = self.grid.slice(now_ms);
        let standing = match shard.find(key, slice) {
            Place::Slot(at) => shard.slots[at].judge(self.grid, limit, now_ms),
            // Whoever was not counted up to the limit needs no place.
            Place::Sketch(estimate) if estimate < u64::from(limit.requests) => estimated(estimate, self.grid, limit),
            Place::Sketch(estimate) => match shard.take_place(key, estimate, slice, now_ms) {
                Some(at) => shard.slots[at].judge(self.grid, limit, now_ms),
                None => shard.unremembered(self.grid, limit),
            },
        };
        shard.counts.refused += u64::from(standing.refused);
        standing
    }

    /// Counts a key whatever its limit is.
    pub fn add(&self, key: u64, now_ms: u64) {
        let (mut shard, key) = self.shard(key);
        let slice = self.grid.slice(now_ms);
        match shard.place(key, slice, now_ms) {
            Place::Slot(at) => shard.slots[at].add(1),
            Place::Sketch(_) => drop(shard.add_to_sketch(key, slice, 1)),
        }
        shard.counts.counted += 1;
    }

    /// How a key stands. Changes nothing, and is not counted.
    #[must_use]
    pub fn peek(&self, key: u64, limit: &Limit, now_ms: u64) -> Standing {
        let (mut shard, key) = self.shard(key);
        match shard.find(key, self.grid.slice(now_ms)) {
            Place::Slot(at) => {
                let mut copy = shard.slots[at];
                copy.judge(self.grid, limit, now_ms)
            }
            Place::Sketch(estimate) => {
                Standing { refused: estimate >= u64::from(limit.requests), ..estimated(estimate, self.grid, limit) }
            }
        }
    }
}

/// What a key is told that the sketch counts.
fn estimated(estimate: u64, grid: Grid, limit: &Limit) -> Standing {
    let left = u64::from(limit.requests).saturating_sub(estimate);
    let wait = if estimate == 0 { Duration::ZERO } else { grid.window() };
    Standing { refused: false, begins: false, left: left.try_into().unwrap_or(u32::MAX), wait }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    /// Whether the key may go on; where not, a refusal begins.
    fn judge(&mut self, grid: Grid, limit: &Limit, now_ms: u64) -> Standing {
        let (sum, requests) = (self.sum(), u64::from(limit.requests));
        let lasts = !limit.mitigation.is_zero();
        let known = self.until_ms > now_ms;
        if (lasts && known) || sum >= requests {
            if !known {
                // Without a time of its own, a refusal is known for as long as what led to it counts.
                let lasts_for = if lasts { limit.mitigation } else { grid.window() };
                self.until_ms = now_ms.saturating_add(u64::try_from(lasts_for.as_millis()).unwrap_or(u64::MAX));
            }
            let wait_ms = match lasts {
                true => self.until_ms - now_ms,
                false => self.wait_ms(grid, requests.saturating_sub(1), now_ms),
            };
            return Standing { refused: true, begins: !known, left: 0, wait: Duration::from_millis(wait_ms) };
        }
        let wait = Duration::from_millis(self.wait_ms(grid, sum.saturating_sub(1), now_ms));
        let left = (requests - sum).try_into().unwrap_or(u32::MAX);
        Standing { refused: false, begins: false, left, wait }
    }

    fn count(&mut self, grid: Grid, limit: &Limit, now_ms: u64) -> Standing {
        self.add(1);
        let sum = self.sum();
        let left = u64::from(limit.requests).saturating_sub(sum).try_into().unwrap_or(u32::MAX);
        let wait = Duration::from_millis(self.wait_ms(grid, sum - 1, now_ms));
        Standing { refused: false, begins: false, left, wait }
    }
}

impl Shard {
    fn set(&self, key: u64) -> std::ops::Range<usize> {
        // The low bits choose the set, the highest the shard.
        let begin = key as usize & (self.slots.len() / WAYS - 1);
        begin * WAYS..(begin + 1) * WAYS
    }

    /// Where a key is counted already. What was never counted has an estimate of 0.
    fn find(&mut self, key: u64, slice: u32) -> Place {
        let mut set = self.set(key);
        if let Some(at) = set.find(|at| self.slots[*at].key == key) {
            self.slots[at].advance(slice);
            return Place::Slot(at);
        }
        Place::Sketch(self.estimate(key, slice))
    }

    /// Where a key is to be counted.
    fn place(&mut self, key: u64, slice: u32, now_ms: u64) -> Place {
        match self.find(key, slice) {
            Place::Sketch(estimate) => match self.take_place(key, estimate, slice, now_ms) {
                Some(at) => Place::Slot(at),
                None => {
                    self.counts.estimated += 1;
                    Place::Sketch(estimate)
                }
            },
            place => place,
        }
    }

    /// Takes a place for a key that the sketch counts so often: a free one, an idle one, or that of the key that was counted least, if that
    /// is less. Limited keys keep theirs.
    fn take_place(&mut self, key: u64, estimate: u64, slice: u32, now_ms: u64) -> Option<usize> {
        let set = self.set(key);
        for slot in &mut self.slots[set.clone()] {
            slot.advance(slice);
        }
        let open = set.filter(|at| self.slots[*at].until_ms <= now_ms);
        let at =
            open.clone().find(|at| self.slots[*at].key == 0).or_else(|| open.min_by_key(|at| self.slots[*at].sum()))?;
        let (displaced, sum) = (self.slots[at].key, self.slots[at].sum());
        if sum > 0 {
            if estimate <= sum {
                return None;
            }
            // The sketch knows already what the key came with.
            let missing = sum.saturating_sub(self.estimate(displaced, slice));
            self.add_to_sketch(displaced, slice, missing.try_into().unwrap_or(u32::MAX));
            self.counts.evicted += 1;
        }
        self.counts.keys += u64::from(displaced == 0);
        self.slots[at] = Slot::new(key, slice);
        self.slots[at].add(estimate.try_into().unwrap_or(u32::MAX));
        Some(at)
    }

    fn estimate(&mut self, key: u64, slice: u32) -> u64 {
        let Some(sketch) = &mut self.sketch else { return 0 };
        sketch.advance(slice);
        sketch.estimate(key)
    }

    /// Counts a key in the sketch, and gives what it makes of it then.
    fn add_to_sketch(&mut self, key: u64, slice: u32, n: u32) -> u64 {
        let width = self.slots.len();
        let sketch = self.sketch.get_or_insert_with(|| Box::new(Sketch::new(width, slice)));
        sketch.advance(slice);
        sketch.add(key, n);
        sketch.estimate(key)
    }

    /// A key that the sketch counts up to its limit, while all places belong to others of which more is known.
    fn unremembered(&mut self, grid: Grid, limit: &Limit) -> Standing {
        self.counts.unremembered += 1;
        Standing { refused: true, begins: false, left: 0, wait: limit.mitigation.max(grid.window()) }
    }
}
