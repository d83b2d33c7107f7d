//! How many requests an origin works on at a time: as many as it answers about as fast as ever.
//!
//! Replies are looked at in windows of a quarter of a second or more. The latency of a window (its lower quartile) is compared with a
//! baseline, that of a long time; where it is more than [`TOLERANCE`] times that, and the origin has about as much to do as the limit allows,
//! the limit falls, else it rises. This is the gradient of Netflix's `concurrency-limits` (Gradient2). What is added:
//!
//! - The baseline rises quickly only while the limit has nothing to do with the latency. Else a flood would become the norm.
//! - An origin that is slower for another reason (a new release, a slow database) does not become faster with less to do. Where the limit
//!   falls and the latency does not, the latency is taken for the norm, and the limit rises again.
//! - An origin that was met in a flood has no norm to compare with. While the limit binds for long it is now and then lowered a little;
//!   where as much is answered as before, and faster, it stays there. Nothing is ever lowered to the minimum to find out.
//! - An origin from which nothing comes at all is slower than anything.

use std::time::Duration;

use super::{Latencies, Quartile};

/// How many times the baseline the latency may be.
const TOLERANCE: f64 = 2.0;
/// Replies in a window below which its latency says nothing.
const REPLIES_MIN: u32 = 10;
/// The same where two windows are compared for how much was answered.
const COMPARED_MIN: f64 = 30.0;
/// A window with fewer replies goes on, but not for longer than this.
const WINDOW_MAX: Duration = Duration::from_secs(5);
/// Share of the way to its target that the limit goes in one window.
const SMOOTHING: f64 = 0.5;
/// The most that the limit grows in a window while it has never been too high.
const STARTING_GROWTH: f64 = 1.5;
/// Time constants, in seconds, of the baseline: rising while the limit does not bind, falling, rising while it binds, and rising
/// at the minimum, which is granted whatever comes of it.
const RISE_FREE: f64 = 30.0;
const FALL: f64 = 5.0;
const RISE_BOUND: f64 = 600.0;
const RISE_AT_MIN: f64 = 10.0;
/// A fall is looked at when this share of what was in flight is left; where the origin then works on this share or less of what it worked
/// on, a latency of this share or more of what it was does not depend on that.
const LESS_IN_FLIGHT: f64 = 0.6;
const LESS_WORKED_ON: f64 = 0.75;
const STILL_AS_SLOW: f64 = 0.9;
/// Share of failures at which the limit falls, and to what share of itself.
const FAILING: f64 = 0.1;
const BACKOFF: f64 = 0.9;
/// Silence for which the origin counts as stalled: this, or this many times the baseline where that is more.
const STALL_MIN: Duration = Duration::from_secs(3);
const STALL_TIMES: f64 = 8.0;
/// Windows for which the limit binds before less is tried; twice as many after each time in vain.
const TRY_AFTER: u32 = 40;
const TRY_AFTER_MAX: u32 = 320;
/// What is tried: this share of the limit, for so many windows, of which those but the first count.
const TRY_SHARE: f64 = 0.75;
const TRY_WINDOWS: u32 = 8;
/// It is worth it where this share is still answered, in this share of the time.
const TRY_ANSWERED: f64 = 0.93;
const TRY_FASTER: f64 = 0.9;

/// Between what the limit stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The least; at least 1.
    pub min: u32,
    /// The most; not below the least.
    pub max: u32,
}

/// What an origin had to do since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that it works on now.
    pub in_flight: u32,
    /// The most that it worked on.
    pub peak: u32,
    /// Requests that failed, or were answered with a word that there is too much to do.
    pub failed: u32,
}

/// A steady state: what was answered in a second, and how fast.
#[derive(Clone, Copy, Debug)]
struct Pace {
    per_second: f64,
    us: f64,
}

impl Pace {
    /// How many requests the origin worked on while it answered these (Little's law). Other than what is in flight, it is of the same
    /// time as their latency.
    fn concurrency(&self) -> f64 {
        self.per_second * self.us / 1e6
    }
}

/// The limit falls, stage by stage.
#[derive(Clone, Copy, Debug)]
struct Fall {
    /// Where it began: the limit, and whether it had fallen before.
    limit: f64,
    had_fallen: bool,
    /// The most that was in flight when this stage began, and what came of it.
    peak: f64,
    pace: Pace,
    /// From when on replies are to requests that were sent with less in flight; until then it is waited.
    effect: Option<Duration>,
}

/// Less is being tried.
#[derive(Clone, Copy, Debug)]
struct Trial {
    limit: f64,
    before: Pace,
    windows: u32,
    answered: f64,
    seconds: f64,
    us: f64,
}

/// The limit of one origin on one worker. Times are those of one clock that never goes back, from any beginning.
#[derive(Debug)]
pub struct Limiter {
    bounds: Bounds,
    limit: f64,
    /// Latency in microseconds that counts as normal; 0 before the first.
    baseline: f64,
    /// It was too high once.
    has_fallen: bool,
    /// The limit falls.
    fall: Option<Fall>,
    trial: Option<Trial>,
    /// Windows for which the limit has bound, and how many it takes to try less.
    bound_windows: u32,
    try_after: u32,
    pace: Option<Pace>,
    window_began: Option<Duration>,
    peak: u32,
    failed: u32,
    last_reply: Duration,
    stalled_at: Duration,
}

impl Limiter {
    /// A limiter that knows nothing of its origin: a quarter of the most.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let min = bounds.min.max(1);
        let bounds = Bounds { min, max: bounds.max.max(min) };
        Self {
            bounds,
            limit: f64::from((bounds.max / 4).max(min)),
            baseline: 0.0,
            has_fallen: false,
            fall: None,
            trial: None,
            bound_windows: 0,
            try_after: TRY_AFTER,
            pace: None,
            window_began: None,
            peak: 0,
            failed: 0,
            last_reply: Duration::ZERO,
            stalled_at: Duration::ZERO,
        }
    }

    /// The limit: never below the least, never above the most.
    #[must_use]
    pub fn limit(&self) -> u32 {
        // The cast saturates.
        (self.limit.round() as u32).clamp(self.bounds.min, self.bounds.max)
    }

    /// The latency that counts as normal, in microseconds; 0 where none is known.
    #[must_use]
    pub fn baseline_us(&self) -> f64 {
        self.baseline
    }

    /// To be called four times a second. Takes `latencies` where they are enough to judge by.
    pub fn tick(&mut self, now: Duration, load: Load, latencies: &Latencies) {
        let began = *self.window_began.get_or_insert(now);
        if self.last_reply == Duration::ZERO {
            self.last_reply = now;
        }
        self.peak = self.peak.max(load.peak).max(load.in_flight);
        self.failed = self.failed.saturating_add(load.failed);
        let count = latencies.count();
        if count > 0 || load.in_flight == 0 {
            self.last_reply = now;
        } else {
            self.heed_silence(now, load.in_flight);
        }
        let elapsed = now.saturating_sub(began);
        if elapsed.is_zero() || (count < REPLIES_MIN && self.failed < REPLIES_MIN && elapsed < WINDOW_MAX) {
            return;
        }
        let quartile = latencies.take();
        let (peak, failed) = (self.peak, self.failed);
        (self.window_began, self.peak, self.failed) = (Some(now), load.in_flight, 0);
        if self.is_failing(failed, quartile.count) {
            self.back_off(peak);
        } else if quartile.count >= REPLIES_MIN {
            self.window((began, now), f64::from(peak), quartile);
        }
        self.limit = self.limit.clamp(f64::from(self.bounds.min), f64::from(self.bounds.max));
    }

    fn is_failing(&self, failed: u32, answered: u32) -> bool {
        let all = f64::from(failed) + f64::from(answered);
        all >= f64::from(REPLIES_MIN) && f64::from(failed) >= FAILING * all
    }

    fn back_off(&mut self, peak: u32) {
        (self.fall, self.trial, self.bound_windows) = (None, None, 0);
        if self.binds(f64::from(peak)) {
            self.has_fallen = true;
            self.limit *= BACKOFF;
        }
    }

    fn binds(&self, in_flight: f64) -> bool {
        in_flight * 2.0 >= self.limit
    }

    /// Nothing came although there is much to do.
    fn heed_silence(&mut self, now: Duration, in_flight: u32) {
        let silence = now.saturating_sub(self.last_reply);
        let stalled = STALL_MIN.max(Duration::from_secs_f64(self.baseline * STALL_TIMES / 1e6));
        if silence < stalled || now.saturating_sub(self.stalled_at) < STALL_MIN / 6 || !self.binds(in_flight.into()) {
            return;
        }
        self.stalled_at = now;
        self.has_fallen = true;
        (self.fall, self.trial, self.bound_windows) = (None, None, 0);
        self.limit = (self.limit * SMOOTHING).max(self.bounds.min.into());
    }

    /// One window with enough replies.
    fn window(&mut self, (began, ended): (Duration, Duration), peak: f64, Quartile { count, us }: Quartile) {
        let seconds = ended.saturating_sub(began).as_secs_f64();
        let now = Pace { per_second: f64::from(count) / seconds, us };
        if self.baseline == 0.0 {
            self.baseline = us;
        }
        if !self.binds(peak) {
            return self.free(seconds, us);
        }
        self.learn(seconds, us, if self.limit() == self.bounds.min { RISE_AT_MIN } else { RISE_BOUND });
        if self.trial.is_some() {
            return self.go_on_trying(seconds, count, us);
        }
        if self.is_waiting_for_effect((began, ended), peak, now) {
            return;
        }
        let gradient = self.gradient(us);
        if gradient < 1.0 {
            let (limit, had_fallen) = (self.limit, self.has_fallen);
            self.fall.get_or_insert(Fall { limit, had_fallen, peak, pace: now, effect: None });
            self.has_fallen = true;
        }
        let target = self.limit * gradient + self.limit.sqrt();
        let next = self.limit + SMOOTHING * (target - self.limit);
        self.limit = if self.has_fallen { next } else { self.limit * STARTING_GROWTH };
        self.consider_trial(peak, now);
    }

    fn gradient(&self, us: f64) -> f64 {
        (TOLERANCE * self.baseline / us).clamp(0.5, 1.0)
    }

    /// The limit does not bind: what is seen is what the origin is like.
    fn free(&mut self, seconds: f64, us: f64) {
        self.learn(seconds, us, RISE_FREE);
        (self.fall, self.trial, self.pace, self.bound_windows) = (None, None, None, 0);
        self.try_after = TRY_AFTER;
        let start = f64::from((self.bounds.max / 4).max(self.bounds.min));
        if self.limit < start && us <= TOLERANCE * self.baseline {
            self.limit = (self.limit + self.limit.sqrt() * SMOOTHING).min(start);
        }
    }

    fn learn(&mut self, seconds: f64, us: f64, rise: f64) {
        let constant = if us < self.baseline { FALL } else { rise };
        self.baseline += (1.0 - (-seconds / constant).exp()) * (us - self.baseline);
    }

    /// Whether it is to be seen yet what a fall has brought. Where the origin did not become faster with less to do, it is the norm that
    /// has changed.
    fn is_waiting_for_effect(&mut self, (began, ended): (Duration, Duration), peak: f64, now: Pace) -> bool {
        let Some(fall) = &mut self.fall else { return false };
        if TOLERANCE * self.baseline >= now.us {
            self.fall = None;
            return false;
        }
        let less = fall.pace.concurrency() * LESS_WORKED_ON;
        match fall.effect {
            None if peak > fall.peak * LESS_IN_FLIGHT => return false,
            // What is answered next was sent before.
            None => fall.effect = Some(ended + Duration::from_secs_f64(now.us / 1e6)),
            Some(effect) if began < effect => {}
            Some(_) if now.concurrency() <= less && now.us >= fall.pace.us * STILL_AS_SLOW => {
                self.baseline = now.us;
                (self.limit, self.has_fallen) = (fall.limit, fall.had_fallen);
                self.fall = None;
            }
            Some(_) => (fall.peak, fall.pace, fall.effect) = (peak, now, None),
        }
        true
    }

    /// After a long time at the limit, whether less would do.
    fn consider_trial(&mut self, peak: f64, now: Pace) {
        if peak < 0.9 * self.limit() as f64 {
            (self.bound_windows, self.pace) = (0, None);
            return;
        }
        self.bound_windows += 1;
        let blend = |old: f64, new: f64| old + 0.2 * (new - old);
        let before = self.pace.unwrap_or(now);
        let pace = Pace { per_second: blend(before.per_second, now.per_second), us: blend(before.us, now.us) };
        self.pace = Some(pace);
        if self.bound_windows >= self.try_after && self.limit() > self.bounds.min {
            self.trial =
                Some(Trial { limit: self.limit, before: pace, windows: 0, answered: 0.0, seconds: 0.0, us: 0.0 });
            self.limit *= TRY_SHARE;
        }
    }

    fn go_on_trying(&mut self, seconds: f64, count: u32, us: f64) {
        let Some(trial) = &mut self.trial else { return };
        trial.windows += 1;
        // The first window still has what was sent before.
        if trial.windows > 1 {
            trial.answered += f64::from(count);
            trial.seconds += seconds;
            trial.us += us * f64::from(count);
        }
        if trial.windows < TRY_WINDOWS {
            return;
        }
        let trial = *trial;
        self.trial = None;
        self.bound_windows = 0;
        let us = trial.us / trial.answered.max(1.0);
        let as_much = trial.answered >= COMPARED_MIN
            && trial.answered >= TRY_ANSWERED * trial.before.per_second * trial.seconds
            && us <= TRY_FASTER * trial.before.us;
        if as_much {
            // This is as slow as it need be.
            self.baseline = self.baseline.min(us / TOLERANCE);
            self.has_fallen = true;
            // The next step soon.
            self.try_after = TRY_AFTER;
            self.bound_windows = TRY_AFTER - TRY_WINDOWS;
            self.pace = None;
        } else {
            self.limit = self.limit.max(trial.limit);
            self.try_after = (self.try_after * 2).min(TRY_AFTER_MAX);
        }
    }
}
