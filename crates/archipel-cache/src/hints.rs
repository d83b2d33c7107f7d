//! Keys whose response was uncacheable a moment ago (hit-for-miss): requests for them do not queue behind each other.
//!
//! Must never prevent storing: a mark only lets a request go alone.

use std::collections::{HashMap, VecDeque};

/// A bounded table of marks with expiry; the oldest goes first.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    until: HashMap<u128, u64, foldhash::fast::RandomState>,
    order: VecDeque<u128>,
}

impl Hints {
    /// Whether a key is marked at `now` (seconds).
    pub(crate) fn is_marked(&mut self, hash: u128, now: u64) -> bool {
        match self.until.get(&hash) {
            None => false,
            Some(until) if now < *until => true,
            Some(_) => {
                self.until.remove(&hash);
                false
            }
        }
    }

    /// Marks a key until a time in seconds; tells whether another's mark had to go.
    pub(crate) fn mark(&mut self, hash: u128, until: u64, hints_max: usize) -> bool {
        if self.until.insert(hash, until).is_none() {
            self.order.push_back(hash);
        }
        let mut dropped = false;
        // The order may name keys that expired, or one key twice; it is what is bounded.
        while self.order.len() > hints_max {
            let Some(old) = self.order.pop_front() else {
                break;
            };
            dropped |= self.until.remove(&old).is_some();
        }
        dropped
    }

    pub(crate) fn forget(&mut self, hash: u128) {
        self.until.remove(&hash);
    }
}
