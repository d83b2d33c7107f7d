//! When something is wrong: the origin or the node is under pressure, or there is several times the usual traffic.

use super::Settings;

/// How the zone bears its traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Health {
    /// The origin's concurrency limit was reached.
    pub origin_limited: bool,
    /// Share of the origin's replies that are errors of its own (5xx) or missing.
    pub origin_errors: f64,
    /// 95th percentile of the origin's time to first byte, over what is usual.
    pub origin_slowness: f64,
    /// The node itself has no time or memory left.
    pub node_pressed: bool,
    /// Share of the requests that the cache answered.
    pub hit_ratio: f64,
}

impl Default for Health {
    fn default() -> Self {
        Self { origin_limited: false, origin_errors: 0.0, origin_slowness: 1.0, node_pressed: false, hit_ratio: 1.0 }
    }
}

/// Share of errors from which an origin is under pressure.
const ERRORS_MAX: f64 = 0.05;
/// Slowness from which an origin is under pressure.
const SLOWNESS_MAX: f64 = 2.0;
/// Hit ratio from which a crowd is borne.
const HIT_RATIO_MIN: f64 = 0.5;

impl Health {
    fn origin_pressed(&self) -> bool {
        self.origin_limited || self.origin_errors >= ERRORS_MAX || self.origin_slowness >= SLOWNESS_MAX
    }

    /// Whether more than usual is borne: nothing is pressed, and the cache answers most.
    #[must_use]
    pub fn bears_it(&self) -> bool {
        !self.origin_pressed() && !self.node_pressed && self.hit_ratio >= HIT_RATIO_MIN
    }
}

/// What was counted in a tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Requests, those that rules held off included.
    pub requests: u64,
    /// Requests that each rule matched, by its number, those on probation included.
    pub matched: Vec<(u64, u64)>,
    /// Requests that rules held off, or would have: they are in no sample.
    pub held_off: u64,
    /// Requests that were refused as their address had had its share; they are in the sample, as no rule knows them.
    pub shared_out: u64,
    /// Whether this is nobody's usual traffic, whatever it looks like: nothing is learned of it.
    pub unusual: bool,
    /// How the zone bore it.
    pub health: Health,
}

/// Why there is alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// The origin is under pressure.
    Origin,
    /// The node is under pressure.
    Node,
    /// There is several times the usual traffic.
    Volume,
}

impl Alarm {
    /// The word in status pages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Alarm::Origin => "origin",
            Alarm::Node => "node",
            Alarm::Volume => "volume",
        }
    }

    /// What it means, as a part of a sentence.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Alarm::Origin => "the origin was under pressure",
            Alarm::Node => "the node was under pressure",
            Alarm::Volume => "there was several times the usual traffic, and the cache did not bear it",
        }
    }

    /// All, in order.
    pub const ALL: [Alarm; 3] = [Alarm::Origin, Alarm::Node, Alarm::Volume];
}

/// Ticks in a row that make an alarm.
const TICKS_MIN: u32 = 2;

#[derive(Clone, Debug, Default)]
pub(super) struct Trigger {
    ticks: u32,
}

impl Trigger {
    /// Whether this tick, and those before it, make an alarm. What rules hold off makes none.
    pub(super) fn tick(&mut self, settings: &Settings, usual: Option<f64>, rps: f64, counts: &Counts) -> Option<Alarm> {
        let held = (counts.held_off + counts.shared_out) as f64 / (counts.requests.max(1)) as f64;
        let passed_rps = rps * (1.0 - held.clamp(0.0, 1.0));
        // Where nothing is known of a zone no volume is more than usual.
        let volume = usual.is_some_and(|usual| passed_rps > (usual * settings.volume_factor).max(settings.floor_rps));
        let alarm = if counts.health.node_pressed {
            Some(Alarm::Node)
        } else if counts.health.origin_pressed() {
            Some(Alarm::Origin)
        } else {
            volume.then_some(Alarm::Volume)
        };
        self.ticks = if alarm.is_some() { self.ticks.saturating_add(1) } else { 0 };
        alarm.filter(|_| self.ticks >= TICKS_MIN)
    }

    /// A tick that may be the first of an alarm: nothing is learned of it.
    pub(super) fn is_warming(&self) -> bool {
        self.ticks > 0
    }
}
