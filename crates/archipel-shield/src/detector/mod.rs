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
mod distinct;
mod feature;
mod persist;
mod pressure;
mod rule;
mod sample;
pub mod signature;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod trigger;

pub use baseline::{Baseline, HOURS};
pub use distinct::Distinct;
pub use feature::{FEATURES, Feature, Features, Part};
pub use pressure::{LATENCIES, OriginCounts, Pressure, latency_class};
pub use rule::{Action, Attribute, Decision, Rule, Rules, Stage, Undecided};
pub use sample::{Sample, Sampler, TICK_SAMPLES_MAX, merge, place_in_sample};
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
    /// All, in order.
    pub const ALL: &'static [State] =
        &[State::Calm, State::FlashCrowd, State::Suspicious, State::Mitigating, State::Unrecognised];

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
    /// Why there is alarm, or was lately.
    alarm: Option<Alarm>,
    /// What was usual when suspicion began.
    frozen: Option<Baseline>,
    attack: Vec<Sample>,
    attack_rps: f64,
    calm_ticks: u32,
    crowd_ticks: u32,
    /// Searches in a row that explained nothing of what there was too much of.
    unexplained: u32,
    /// Until when each address gets its share and no more.
    sharing_until_ms: Option<u64>,
    next_rule: u64,
    random: u64,
}

/// Ticks without a reason for alarm after which suspicion ends.
const CALM_TICKS: u32 = 10;

/// Ticks after which a crowd that is borne is what is usual: an hour.
const CROWD_TICKS: u32 = 7_200;

/// Searches without a result after which addresses get shares.
const UNEXPLAINED_MIN: u32 = 2;

/// How long addresses get shares after that was last needed, in milliseconds.
const SHARING_MS: u64 = 10_000;

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
            alarm: None,
            frozen: None,
            attack: Vec::new(),
            attack_rps: 0.0,
            calm_ticks: 0,
            crowd_ticks: 0,
            unexplained: 0,
            sharing_until_ms: None,
            next_rule: 1,
            random: seed | 1,
        }
    }

    /// What it thinks.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Why there is alarm; nothing while there is none.
    #[must_use]
    pub fn alarm(&self) -> Option<Alarm> {
        self.alarm.filter(|_| self.state != State::Calm)
    }

    /// The rules in force and those on probation.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What is usual.
    #[must_use]
    pub fn baseline(&self) -> &Baseline {
        &self.baseline
    }

    /// Requests a second that are usual at this hour; nothing while too little is known.
    #[must_use]
    pub fn usual_rps(&self, now_ms: u64) -> Option<f64> {
        self.frozen.as_ref().unwrap_or(&self.baseline).usual_rps(now_ms)
    }

    /// Whether enough is known of usual traffic to look for a signature.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.baseline.samples().len() >= SAMPLES_MIN
    }

    /// Requests a second that all addresses share while nothing else sets an attack apart that the origin does not bear.
    #[must_use]
    pub fn sharing_rps(&self, now_ms: u64) -> Option<f64> {
        self.sharing_until_ms.map(|_| self.bearable_rps(now_ms))
    }

    /// Requests a second that are no reason to do anything.
    fn bearable_rps(&self, now_ms: u64) -> f64 {
        let usual = self.usual_rps(now_ms).unwrap_or(self.settings.floor_rps / self.settings.volume_factor);
        self.settings.rest_factor * usual
    }

    /// The operator's word on a rule; `None` takes it back, and the rule lives as it finds.
    ///
    /// # Errors
    /// [`Undecided`].
    pub fn decide(&mut self, rule: u64, decision: Option<Decision>) -> Result<(), Undecided> {
        self.rules.decide(rule, decision, self.settings.rules_max)
    }

    /// What the values of a rule's attributes are called, in their order, and a request that it matched.
    pub fn name(&mut self, rule: u64, words: Vec<Box<str>>, example: Box<str>) {
        if let Some(rule) = self.rules.rules.iter_mut().find(|known| known.id == rule) {
            (rule.words, rule.example) = (words, example);
        }
    }

    /// Forgets half of the requests that it knows as usual, any half: for a node that has no more memory for them.
    pub fn forget_half(&mut self) {
        self.baseline.halve(&mut self.random);
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.baseline.bytes()
            + self.frozen.as_ref().map_or(0, Baseline::bytes)
            + self.attack.capacity() * size_of::<Sample>()
            + self.rules.rules.iter().map(Rule::bytes).sum::<usize>()
    }

    /// One tick: what was counted, and the sample that was taken. `now_ms` is Unix time in milliseconds; ticks come in order.
    pub fn tick(&mut self, now_ms: u64, counts: &Counts, samples: &[Sample]) -> State {
        let per_second = |requests: u64| requests as f64 * 1000.0 / TICK_MS as f64;
        let rps = per_second(counts.requests);
        // What no rule holds off; the sample is of it.
        let rest_rps = per_second(counts.requests.saturating_sub(counts.held_off));
        let usual = self.baseline.usual_rps(now_ms);
        let fresh = self.trigger.tick(&self.settings, usual, rps, counts);
        self.share(now_ms, rest_rps);
        // What shares keep from the origin makes no alarm, and is there all the same.
        let alarm = fresh.or(self.alarm.filter(|_| self.sharing_until_ms.is_some()));
        self.rules.age(now_ms, &self.settings, &counts.matched);
        match alarm {
            None => self.calm(now_ms, rest_rps, if counts.unusual { None } else { Some(samples) }),
            Some(Alarm::Volume) if counts.health.bears_it() && self.frozen.is_none() => {
                self.crowd(now_ms, rest_rps, if counts.unusual { None } else { Some(samples) });
            }
            Some(alarm) => self.alarmed(now_ms, alarm, rest_rps, samples),
        }
        self.state
    }

    /// Ends the shares where there was no need of them for a while.
    fn share(&mut self, now_ms: u64, rest_rps: f64) {
        let bearable = self.bearable_rps(now_ms);
        let Some(until) = &mut self.sharing_until_ms else { return };
        if rest_rps > bearable {
            *until = now_ms + SHARING_MS;
        } else if now_ms >= *until {
            self.sharing_until_ms = None;
        }
    }

    fn calm(&mut self, now_ms: u64, rps: f64, samples: Option<&[Sample]>) {
        self.calm_ticks = self.calm_ticks.saturating_add(1);
        self.crowd_ticks = 0;
        if self.frozen.is_none() || self.calm_ticks >= CALM_TICKS {
            // While rules hold an attack off, what comes in is not what is usual.
            if self.rules.any_active(now_ms, &self.settings) {
                self.state = State::Mitigating;
                return;
            }
            self.frozen = None;
            self.alarm = None;
            self.attack = Vec::new();
            self.state = State::Calm;
            if let Some(samples) = samples.filter(|_| !self.trigger.is_warming()) {
                self.baseline.learn(now_ms, rps, samples, &mut self.random);
            }
        }
    }

    fn crowd(&mut self, now_ms: u64, rps: f64, samples: Option<&[Sample]>) {
        if self.state != State::FlashCrowd {
            self.baseline.distrust();
        }
        self.state = State::FlashCrowd;
        self.alarm = Some(Alarm::Volume);
        self.crowd_ticks = self.crowd_ticks.saturating_add(1);
        if let Some(samples) = samples.filter(|_| self.crowd_ticks >= CROWD_TICKS) {
            self.baseline.learn(now_ms, rps, samples, &mut self.random);
        }
    }

    fn alarmed(&mut self, now_ms: u64, alarm: Alarm, rps: f64, samples: &[Sample]) {
        (self.calm_ticks, self.crowd_ticks) = (0, 0);
        self.alarm = Some(alarm);
        if self.frozen.is_none() {
            self.baseline.distrust();
            self.frozen = Some(self.baseline.clone());
            self.attack.clear();
        }
        self.take(rps, samples);
        let mut unexplained = false;
        if let Some(found) = self.search(now_ms) {
            unexplained = found.is_empty();
            for signature in found {
                self.adopt(now_ms, alarm, signature);
            }
        }
        self.unexplained = if unexplained { self.unexplained.saturating_add(1) } else { 0 };
        // More than usual that the origin bears is nobody's loss, and a node that has no time left gains nothing by counting.
        if self.unexplained >= UNEXPLAINED_MIN && alarm == Alarm::Origin && self.sharing_until_ms.is_none() {
            self.sharing_until_ms = Some(now_ms + SHARING_MS);
        }
        self.state = match self.rules.any_active(now_ms, &self.settings) {
            true => State::Mitigating,
            false if unexplained => State::Unrecognised,
            false => State::Suspicious,
        };
    }

    /// Looks for signatures in what no rule explains. Nothing where too little is known, or where there is no more than usual:
    /// whatever is wrong then, it is not that somebody sends too much.
    fn search(&self, now_ms: u64) -> Option<Vec<Signature>> {
        let frozen = self.frozen.as_ref()?;
        let known = self.attack.len() >= SAMPLES_MIN && frozen.samples().len() >= SAMPLES_MIN;
        if !known || self.attack_rps <= self.bearable_rps(now_ms) {
            return None;
        }
        let usual_rps = self.bearable_rps(now_ms) / self.settings.rest_factor;
        let (settings, attack, usual) = (&self.settings, &self.attack, frozen.samples());
        Some(Search { settings, attack, attack_rps: self.attack_rps, usual, usual_rps }.run())
    }

    /// Keeps the newest requests that are to be explained. `rps` is the rate of what the sample is of.
    fn take(&mut self, rps: f64, samples: &[Sample]) {
        let rest = samples.iter().filter(|sample| !self.rules.explains(&sample.features)).copied();
        let before = self.attack.len();
        self.attack.extend(rest);
        let taken = self.attack.len() - before;
        self.attack_rps = if samples.is_empty() { 0.0 } else { rps * taken as f64 / samples.len() as f64 };
        if self.attack.len() > ATTACK_SAMPLES_MAX {
            self.attack.drain(..self.attack.len() - ATTACK_SAMPLES_MAX);
        }
    }

    fn adopt(&mut self, now_ms: u64, alarm: Alarm, signature: Signature) {
        let action =
            if signature.precision >= self.settings.block_precision_min { Action::Block } else { Action::Challenge };
        let rule = Rule::new(self.next_rule, now_ms, signature, action, alarm);
        if self.rules.take(rule, self.settings.rules_max) {
            self.next_rule += 1;
            // What the new rule holds off is explained.
            let rules = &self.rules;
            self.attack.retain(|sample| !rules.explains(&sample.features));
        }
    }
}

/// The next of a sequence of numbers that look random (splitmix64; Steele, Lea and Flood 2014).
pub fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
