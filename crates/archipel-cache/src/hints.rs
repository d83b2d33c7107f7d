//! Keys whose response was uncacheable a moment ago (hit-for-miss): requests for them do not queue behind each other.
//!
//! Must never prevent storing: a mark only lets a request go alone.

use std::collections::{HashMap, VecDeque};

/// A bounded table of marks with expiry; the oldest goes first.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    marks: HashMap<u128, Mark, foldhash::fast::RandomState>,
    /// Marks as they were made; names also what expired since.
    order: VecDeque<(u128, u64)>,
    made: u64,
}

#[derive(Debug)]
struct Mark {
    until: u64,
    number: u64,
}

impl Hints {
    /// Whether a key is marked at `now` (seconds).
    pub(crate) fn is_marked(&mut self, hash: u128, now: u64) -> bool {
        match self.marks.get(&hash) {
            None => false,
            Some(mark) if now < mark.until => true,
            Some(_) => {
                self.marks.remove(&hash);
                false
            }
        }
    }

    /// Marks a key until a time in seconds; tells whether another's mark had to go.
    pub(crate) fn mark(&mut self, hash: u128, until: u64, hints_max: usize) -> bool {
        match self.marks.get_mut(&hash) {
            Some(mark) => mark.until = until,
            None => {
                self.made += 1;
                self.marks.insert(hash, Mark { until, number: self.made });
                self.order.push_back((hash, self.made));
            }
        }
        let mut dropped = false;
        while self.order.len() > hints_max {
            let Some((old, number)) = self.order.pop_front() else { break };
            if self.marks.get(&old).is_some_and(|mark| mark.number == number) {
                self.marks.remove(&old);
                dropped = true;
            }
        }
        dropped
    }

    pub(crate) fn forget(&mut self, hash: u128) {
        self.marks.remove(&hash);
    }
}
