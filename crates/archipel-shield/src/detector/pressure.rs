//! How an origin and its zone bear the traffic, from what was counted of the requests that were passed on.
//!
//! A jammed origin answers nothing, and what does not end is in no figure of what ended. So what is on its way counts as well: by
//! Little's law, requests under way divided by the rate of replies are how long a reply takes.

use super::TICK_MS;
use super::trigger::Health;

/// Classes of the time to an origin's first byte: four an octave, from half a millisecond to 29 seconds.
pub const LATENCIES: usize = 64;

/// The class of a time in microseconds.
#[must_use]
pub fn latency_class(us: u64) -> usize {
    // In parts of an eighth of a millisecond, so that the lowest octave has four classes, too.
    let Some(octave) = (us >> 9).checked_ilog2() else { return 0 };
    let quarter = (us >> (7 + octave)) & 3;
    (octave as usize * 4 + quarter as usize + 1).min(LATENCIES - 1)
}

/// The upper end of a class in milliseconds.
fn latency_ms(class: usize) -> f64 {
    let Some(above) = class.checked_sub(1) else { return 0.512 };
    0.512 * ((above / 4) as f64).exp2() * (1.25 + 0.25 * (above % 4) as f64)
}

/// What was counted of the requests to a zone's origins in a tick.
#[derive(Clone, Debug, PartialEq)]
pub struct OriginCounts {
    /// Requests sent.
    pub asked: u64,
    /// Requests that came to an end: replies, and failures.
    pub answered: u64,
    /// Replies that are errors of the origin's own (5xx), and replies that did not come.
    pub errors: u64,
    /// Requests not sent, as the origin had as many as it may have.
    pub limited: u64,
    /// Requests on their way now.
    pub under_way: u64,
    /// Replies by [`latency_class`].
    pub latency: [u32; LATENCIES],
}

impl Default for OriginCounts {
    fn default() -> Self {
        Self { asked: 0, answered: 0, errors: 0, limited: 0, under_way: 0, latency: [0; LATENCIES] }
    }
}

/// A usual time below this counts as this, in milliseconds: a tenfold of nothing is no pressure.
const USUAL_MS_MIN: f64 = 10.0;
/// Replies without which nothing is said about their times, and about errors.
const REPLIES_MIN: f64 = 20.0;
/// Requests on their way that may be chance.
const UNDER_WAY_MIN: u64 = 20;
/// What a tick leaves of the recent ones, at least: most of what counts is of the last second.
const RECENT_KEPT: f64 = 0.5;
/// Replies that are recent at least, however long ago: the 95th percentile of fewer is one reply's chance.
const RECENT_MIN: f64 = 100.0;
/// What a calm tick leaves of the usual ones: half is gone after twelve minutes.
const USUAL_KEPT: f64 = 0.9995;

/// What is remembered of an origin's replies.
#[derive(Clone, Debug, Default)]
pub struct Pressure {
    recent: Replies,
    usual: Replies,
    /// What the last tick left of the recent ones.
    kept: f64,
}

#[derive(Clone, Debug)]
struct Replies {
    latency: [f64; LATENCIES],
    answered: f64,
    errors: f64,
}

impl Default for Replies {
    fn default() -> Self {
        Self { latency: [0.0; LATENCIES], answered: 0.0, errors: 0.0 }
    }
}

impl Replies {
    fn add(&mut self, kept: f64, counts: &OriginCounts) {
        for (sum, count) in self.latency.iter_mut().zip(counts.latency) {
            *sum = *sum * kept + f64::from(count);
        }
        self.answered = self.answered * kept + counts.answered as f64;
        self.errors = self.errors * kept + counts.errors as f64;
    }

    /// The time that 95 % of the replies stayed below, in milliseconds.
    fn p95_ms(&self) -> Option<f64> {
        let all: f64 = self.latency.iter().sum();
        let mut below = 0.0;
        let class = self.latency.iter().position(|count| {
            below += count;
            below >= all * 0.95
        })?;
        (all >= REPLIES_MIN).then(|| latency_ms(class))
    }
}

impl Pressure {
    /// One tick. `passed` are the requests of the zone that nothing held off.
    pub fn tick(&mut self, passed: u64, origin: &OriginCounts, node_pressed: bool) -> Health {
        self.kept = (1.0 - origin.answered as f64 / RECENT_MIN).max(RECENT_KEPT);
        self.recent.add(self.kept, origin);
        let enough = self.recent.answered >= REPLIES_MIN;
        let missed = origin.asked as f64 / passed.max(1) as f64;
        Health {
            origin_limited: origin.limited > 0,
            origin_errors: if enough { self.recent.errors / self.recent.answered } else { 0.0 },
            origin_slowness: self.slowness(origin),
            node_pressed,
            hit_ratio: (1.0 - missed).clamp(0.0, 1.0),
        }
    }

    fn slowness(&self, origin: &OriginCounts) -> f64 {
        let Some(usual) = self.usual.p95_ms() else { return 1.0 };
        let usual = usual.max(USUAL_MS_MIN);
        let ended = self.recent.p95_ms().unwrap_or(0.0);
        // Of the last ticks, with the same weights, so that a tick without a reply is no infinity.
        let per_ms = (self.recent.answered * (1.0 - self.kept)).max(0.5) / TICK_MS as f64;
        let under_way = if origin.under_way >= UNDER_WAY_MIN { origin.under_way as f64 / per_ms } else { 0.0 };
        (ended.max(under_way) / usual).max(1.0)
    }

    /// The tick was a calm one: its replies are what is usual.
    pub fn learn(&mut self, origin: &OriginCounts) {
        self.usual.add(USUAL_KEPT, origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_times_rise() {
        let mut last = 0;
        for us in [0, 100, 511, 512, 723, 724, 1_024, 1_500, 2_048, 10_000, 100_000, 1_000_000, 20_000_000, u64::MAX] {
            let class = latency_class(us);
            assert!(class >= last && class < LATENCIES, "{us}: {class}");
            last = class;
            // A time is never above the end of its class, but for the last one.
            assert!(class == LATENCIES - 1 || us as f64 / 1000.0 <= latency_ms(class), "{us}: {class}");
        }
        assert_eq!(last, LATENCIES - 1);
    }

    fn counts(asked: u64, answered: u64, us: u64) -> OriginCounts {
        let mut counts = OriginCounts { asked, answered, ..OriginCounts::default() };
        counts.latency[latency_class(us)] = answered as u32;
        counts
    }

    #[track_caller]
    fn check(now: &OriginCounts, holds: impl Fn(&Health) -> bool) {
        let mut pressure = Pressure::default();
        for _ in 0..100 {
            pressure.tick(250, &counts(100, 100, 15_000), false);
            pressure.learn(&counts(100, 100, 15_000));
        }
        pressure.tick(250, now, false);
        let health = pressure.tick(250, now, false);
        assert!(holds(&health), "{health:?}");
    }

    #[test]
    fn what_presses_an_origin() {
        check(&counts(100, 100, 15_000), |health| health.origin_slowness < 1.5 && health.bears_it());
        check(&counts(100, 100, 90_000), |health| health.origin_slowness >= 2.0);
        check(&OriginCounts { errors: 30, ..counts(100, 100, 15_000) }, |health| health.origin_errors > 0.1);
        check(&OriginCounts { limited: 1, ..counts(100, 100, 15_000) }, |health| health.origin_limited);
        // It answers nothing at all any more.
        check(&OriginCounts { under_way: 900, ..counts(400, 0, 0) }, |health| health.origin_slowness >= 2.0);
        check(&OriginCounts { errors: 1, ..counts(2, 2, 15_000) }, |health| health.origin_errors < 0.05);
        check(&counts(240, 240, 15_000), |health| !health.bears_it());
    }
}
