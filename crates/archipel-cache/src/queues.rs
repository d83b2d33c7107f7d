//! The queues of a shard: those that zones share, those of zones with a quota, and the keys that left of late.
//!
//! Must never hold an object: queues are numbers of slots.

use crate::quota::Line;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

type Hashed = foldhash::fast::RandomState;

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;
/// The small queue's share of the bytes: one part in this many.
const SMALL_PART: u64 = 10;

/// Which of a pool's queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    Small,
    Main,
}

/// A list through the slots of a shard, and what its objects weigh.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) head: u32,
    pub(crate) tail: u32,
    pub(crate) bytes: u64,
}

impl List {
    const EMPTY: Self = Self { head: NONE, tail: NONE, bytes: 0 };
}

/// The two queues of a zone that has a quota, or of all those that have none.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) small: List,
    pub(crate) main: List,
    /// Whose they are; `None` for those that are shared.
    pub(crate) line: Option<Arc<Line>>,
}

impl Pool {
    pub(crate) fn new(line: Option<Arc<Line>>) -> Self {
        Self { small: List::EMPTY, main: List::EMPTY, line }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.small.bytes + self.main.bytes
    }

    pub(crate) fn list(&mut self, queue: Queue) -> &mut List {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }

    /// Which queue gives up its last, and that.
    pub(crate) fn last(&self) -> (u32, bool) {
        let full = self.small.bytes.saturating_mul(SMALL_PART) >= self.bytes();
        let from_small = self.small.tail != NONE && (full || self.main.tail == NONE);
        (if from_small { self.small.tail } else { self.main.tail }, from_small)
    }
}

/// Keys evicted lately from the small queue: one that returns was worth keeping.
#[derive(Debug, Default)]
pub(crate) struct Ghosts {
    order: VecDeque<u64>,
    present: HashSet<u64, Hashed>,
}

impl Ghosts {
    pub(crate) fn insert(&mut self, hash: u128, keys_max: usize) {
        if self.present.insert(hash as u64) {
            self.order.push_back(hash as u64);
        }
        while self.order.len() > keys_max {
            if let Some(old) = self.order.pop_front() {
                self.present.remove(&old);
            }
        }
    }

    pub(crate) fn shrink_to(&mut self, keys: usize) {
        self.order.shrink_to(keys);
        self.present.shrink_to(keys);
    }

    pub(crate) fn holds(&self, hash: u128) -> bool {
        self.present.contains(&(hash as u64))
    }

    /// Its place in the order stays taken until it is reached; that only makes the memory a little shorter.
    pub(crate) fn take(&mut self, hash: u128) -> bool {
        self.present.remove(&(hash as u64))
    }
}
