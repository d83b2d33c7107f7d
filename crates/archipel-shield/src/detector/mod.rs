//! The attack detector of a zone: a pure function of what was observed and of time.
//!
//! It works on samples, not on sketches of every value and pair: a few thousand requests of a window, each with all of its features,
//! make the share of *any* conjunction known to within a percent, cost a request one comparison, and take a fixed amount of memory
//! however many addresses and values an attack has. What has to be exact, the counts, is counted.
//!
//! 1. [`Sampler`] takes a sample of each tick's requests.
//! 2. [`Detector::tick`] keeps a baseline of calm traffic. Two ticks in a row under pressure, or with several times the usual rate,
//!    freeze it.
//! 3. From then on it looks for the [`signature`]: few rules of few attributes that cover what is more than usual, and hardly
//!    anything of what is usual.
//! 4. The rules hold while they match, then watch for a while, then go.

mod baseline;
mod feature;
mod rule;
mod sample;
pub mod signature;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod trigger;

pub use baseline::{Baseline, HOURS};
pub use feature::{Feature, Features, Part};
pub use rule::{Action, Attribute, Rule, Rules, Stage};
pub use sample::{Sample, Sampler, merge};
pub use trigger::{Alarm, Counts, Health};

use signature::{Search, Signature};
use trigger::Trigger;

/// Length of a tick in milliseconds.
pub const TICK_MS: u64 = 500;

/// How the detector of a zone decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Requests a second below which volume alone is never suspicious.
    pub floor_rps: f64,
    /// How many times the usual rate is suspicious.
    pub volume_factor: f64,
    /// Rules at once.
    pub rules_max: usize,
    /// Attributes of a rule.
    pub attributes_max: usize,
    /// Least share of what a rule matches that is more than usual.
    pub precision_min: f64,
    /// Least such share from which a rule may block; below it challenges.
    pub block_precision_min: f64,
    /// Largest share of the usual requests that a rule may match.
    pub baseline_share_max: f64,
    /// The rest of the traffic, as a multiple of the usual rate, at which no further rule is looked for.
    pub rest_factor: f64,
    /// Milliseconds that a rule holds after it last matched much.
    pub hold_ms: u64,
    /// Milliseconds that it is watched then, before it goes.
    pub probation_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            floor_rps: 200.0,
            volume_factor: 3.0,
            rules_max: 8,
            attributes_max: 3,
            precision_min: 0.9,
            block_precision_min: 0.99,
            baseline_share_max: 0.01,
            rest_factor: 1.2,
            hold_ms: 60_000,
            probation_ms: 30_000,
        }
    }
}

/// What the detector thinks is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Traffic as usual: the baseline learns.
    Calm,
    /// More than usual, and everything bears it: nobody is hindered, nothing is learned.
    FlashCrowd,
    /// Something is wrong; a signature is looked for.
    Suspicious,
    /// Rules are in force.
    Mitigating,
    /// Something is wrong, and nothing sets the attack apart: those without clearance are to be challenged, or each gets a fair share.
    Unrecognised,
}

impl State {
    /// The word in status pages and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Calm => "calm",
            State::FlashCrowd => "flash_crowd",
            State::Suspicious => "suspicious",
            State::Mitigating => "mitigating",
            State::Unrecognised => "unrecognised",
        }
    }
}

/// The attack detector of one zone on one node.
#[derive(Clone, Debug)]
pub struct Detector {
    settings: Settings,
    baseline: Baseline,
    trigger: Trigger,
    rules: Rules,
    state: State,
    /// What was usual when suspicion began.
    frozen: Option<Baseline>,
    attack: Vec<Sample>,
    attack_rps: f64,
    calm_ticks: u32,
    next_rule: u64,
    random: u64,
}

/// Ticks without a reason for alarm after which suspicion ends.
const CALM_TICKS: u32 = 10;

/// Requests of suspicious traffic that a signature is looked for in.
const ATTACK_SAMPLES_MAX: usize = 4_096;

/// Fewest requests of suspicious traffic, and of usual traffic, without which no signature is looked for.
const SAMPLES_MIN: usize = 200;

impl Detector {
    /// A detector that has seen nothing. `seed` decides what is sampled: the same seed and the same observations give the same
    /// decisions.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            baseline: Baseline::new(),
            trigger: Trigger::default(),
            rules: Rules::default(),
            state: State::Calm,
            frozen: None,
            attack: Vec::new(),
            attack_rps: 0.0,
            calm_ticks: 0,
            next_rule: 1,
            random: seed | 1,
        }
    }

    /// What it thinks.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The rules in force and those on probation.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Requests a second that are usual at this hour; nothing while too little is known.
    #[must_use]
    pub fn usual_rps(&self, now_ms: u64) -> Option<f64> {
        self.baseline.usual_rps(now_ms)
    }

    /// The operator's word on a rule: it stays until it is taken back (`Some(true)`), never acts (`Some(false)`), or lives as it
    /// finds (`None`). False where there is no such rule.
    pub fn decide(&mut self, rule: u64, pinned: Option<bool>) -> bool {
        self.rules.decide(rule, pinned)
    }

    /// One tick: what was counted, and the sample that was taken. `now_ms` is Unix time in milliseconds; ticks come in order.
    pub fn tick(&mut self, now_ms: u64, counts: &Counts, samples: &[Sample]) -> State {
        let rps = counts.requests as f64 * 1000.0 / TICK_MS as f64;
        let usual = self.baseline.usual_rps(now_ms);
        let alarm = self.trigger.tick(&self.settings, usual, rps, counts);
        self.rules.age(now_ms, &self.settings, &counts.matched);
        match alarm {
            None => self.calm(now_ms, rps, samples),
            Some(Alarm::Volume) if counts.health.bears_it() && self.frozen.is_none() => {
                self.state = State::FlashCrowd;
            }
            Some(_) => self.alarmed(now_ms, rps, samples),
        }
        self.state
    }

    fn calm(&mut self, now_ms: u64, rps: f64, samples: &[Sample]) {
        self.calm_ticks = self.calm_ticks.saturating_add(1);
        if self.frozen.is_none() || self.calm_ticks >= CALM_TICKS {
            // While rules hold an attack off, what comes in is not what is usual.
            if self.rules.any_active() {
                self.state = State::Mitigating;
                return;
            }
            self.frozen = None;
            self.attack.clear();
            self.state = State::Calm;
            if !self.trigger.is_warming() {
                self.baseline.learn(now_ms, rps, samples, &mut self.random);
            }
        }
    }

    fn alarmed(&mut self, now_ms: u64, rps: f64, samples: &[Sample]) {
        self.calm_ticks = 0;
        if self.frozen.is_none() {
            self.frozen = Some(self.baseline.clone());
            self.attack.clear();
        }
        self.take(rps, samples);
        let Some(frozen) = &self.frozen else { return };
        if self.attack.len() < SAMPLES_MIN || frozen.samples().len() < SAMPLES_MIN {
            self.state = if self.rules.any_active() { State::Mitigating } else { State::Suspicious };
            return;
        }
        let usual_rps = frozen.usual_rps(now_ms).unwrap_or(self.settings.floor_rps / self.settings.volume_factor);
        if self.attack_rps <= self.settings.rest_factor * usual_rps {
            // There is no more than usual: whatever is wrong, it is not that somebody sends too much.
            self.state = if self.rules.any_active() { State::Mitigating } else { State::Suspicious };
            return;
        }
        let search = Search {
            settings: &self.settings,
            attack: &self.attack,
            attack_rps: self.attack_rps,
            usual: frozen.samples(),
            usual_rps,
        };
        let found = search.run();
        let any = !found.is_empty();
        for signature in found {
            self.adopt(now_ms, signature);
        }
        self.state = if any || self.rules.any_active() { State::Mitigating } else { State::Unrecognised };
    }

    /// Keeps the newest requests that no rule holds off: what is to be explained.
    fn take(&mut self, rps: f64, samples: &[Sample]) {
        let rest: Vec<Sample> =
            samples.iter().filter(|sample| self.rules.active(&sample.features).is_none()).copied().collect();
        self.attack_rps = if samples.is_empty() { 0.0 } else { rps * rest.len() as f64 / samples.len() as f64 };
        self.attack.extend(rest);
        if self.attack.len() > ATTACK_SAMPLES_MAX {
            self.attack.drain(..self.attack.len() - ATTACK_SAMPLES_MAX);
        }
    }

    fn adopt(&mut self, now_ms: u64, signature: Signature) {
        let action =
            if signature.precision >= self.settings.block_precision_min { Action::Block } else { Action::Challenge };
        if self.rules.take(self.next_rule, now_ms, signature, action, self.settings.rules_max) {
            self.next_rule += 1;
            // What the new rule holds off is explained.
            let rules = &self.rules;
            self.attack.retain(|sample| rules.active(&sample.features).is_none());
        }
    }
}

/// The next of a sequence of numbers that look random (splitmix64; Steele, Lea and Flood 2014).
pub(crate) fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
