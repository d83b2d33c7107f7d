//! What visitors' unsafe requests made invalid of late (RFC 9111 section 4.4), for fetches that were under way then.
//!
//! What is stored is removed at once, in memory and on disk; only what was fetched before and comes after must be told. So each zone
//! remembers its last invalidations, and where it has more, a floor: fetches that began below it are not stored. Visitors can make as
//! many as they like: it costs their zone the storing of fetches that outlast [`WINDOW_MAX`] of them, and nothing that is stored.
//!
//! Must never be asked about a stored object, nor be kept over a restart: no fetch outlives a process.

use crate::purge::PurgeStamp;
use archipel_http::key::{plain_hash, url_half};
use std::collections::{HashMap, VecDeque};

type Hashed = foldhash::fast::RandomState;

/// Invalidations that a zone remembers. About 1 MiB.
const WINDOW_MAX: usize = 16_384;
/// Invalidations that all zones remember; beyond, a zone gives up its own for its next ones.
const WINDOWS_MAX: usize = 16 * WINDOW_MAX;

#[derive(Debug, Default)]
struct Window {
    /// The last invalidation of a key, or of all keys of a URL under the hash of its plain one.
    keys: HashMap<u128, u64, Hashed>,
    /// In the order in which they were made; some were made again since.
    order: VecDeque<(u128, u64)>,
    /// The last one that was forgotten.
    floor: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Invalidations {
    zones: HashMap<u32, Window, Hashed>,
    /// Of all windows' `order`.
    len: usize,
}

impl Invalidations {
    /// Remembers one; tells whether another was forgotten for it.
    pub(crate) fn record(&mut self, zone: u32, hash: u128, sequence: u64) -> bool {
        let window = self.zones.entry(zone).or_default();
        window.keys.insert(hash, sequence);
        window.order.push_back((hash, sequence));
        self.len += 1;
        let full = window.order.len() > WINDOW_MAX || self.len > WINDOWS_MAX;
        if full && let Some((hash, sequence)) = window.order.pop_front() {
            self.len -= 1;
            if window.keys.get(&hash) == Some(&sequence) {
                window.keys.remove(&hash);
                window.floor = sequence;
            }
        }
        full
    }

    /// Whether what a fetch of a key brings is, or may be, invalid by now.
    pub(crate) fn since(&self, zone: u32, hash: u128, stamp: PurgeStamp) -> bool {
        let Some(window) = self.zones.get(&zone) else { return false };
        let later = |hash: u128| window.keys.get(&hash).is_some_and(|sequence| *sequence > stamp.0);
        window.floor > stamp.0 || later(hash) || later(plain_hash(url_half(hash)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(number: u64) -> u128 {
        plain_hash(number)
    }

    #[test]
    fn a_fetch_is_told_what_came_after_it_began() {
        let mut made = Invalidations::default();
        assert!(!made.record(1, url(7), 5));
        let key = u128::from(7_u64) << 64 | 99;
        for (zone, hash, stamp, expected) in [
            (1, url(7), 4, true),
            (1, url(7), 5, false),
            (1, key, 4, true),
            (1, url(8), 4, false),
            (2, url(7), 4, false),
        ] {
            assert_eq!(made.since(zone, hash, PurgeStamp(stamp)), expected, "{zone} {hash:x} {stamp}");
        }
        made.record(1, key, 6);
        assert!(made.since(1, key, PurgeStamp(5)) && !made.since(1, url(7), PurgeStamp(5)), "one key alone");
    }

    #[test]
    fn a_flood_costs_its_own_zone_the_fetches_that_outlast_it() {
        let mut made = Invalidations::default();
        made.record(2, url(1), 1);
        let last = WINDOW_MAX as u64 + 11;
        let forgotten = (2..=last).filter(|number| made.record(1, url(*number), *number)).count();
        assert_eq!(forgotten, 10);
        assert!(made.since(1, url(u64::MAX), PurgeStamp(10)) && !made.since(1, url(u64::MAX), PurgeStamp(11)));
        assert!(made.since(1, url(12), PurgeStamp(11)) && made.since(1, url(last), PurgeStamp(last - 1)));
        assert!(!made.since(2, url(5), PurgeStamp(1)) && made.since(2, url(1), PurgeStamp(0)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut made = Invalidations::default();
        let mut sequence = 0;
        for zone in 0..40 {
            for number in 0..WINDOW_MAX as u64 {
                sequence += 1;
                made.record(zone, url(number), sequence);
            }
        }
        assert!(made.len <= WINDOWS_MAX);
        assert_eq!(made.len, made.zones.values().map(|window| window.order.len()).sum::<usize>());
        assert!(made.since(39, url(3), PurgeStamp(sequence - 1)), "forgotten, hence all that began before");
        assert!(made.zones.values().all(|window| window.keys.len() <= window.order.len()));
    }

    #[test]
    fn one_that_is_made_again_is_not_forgotten_with_its_first() {
        let mut made = Invalidations::default();
        for sequence in 1..=2 * WINDOW_MAX as u64 {
            made.record(1, url(7), sequence);
        }
        assert!(!made.since(1, url(8), PurgeStamp(0)), "nothing was forgotten that is not known still");
        assert!(made.since(1, url(7), PurgeStamp(2 * WINDOW_MAX as u64 - 1)));
    }
}
