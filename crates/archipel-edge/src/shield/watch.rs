//! The tick of a zone: what its workers counted goes to the detector, what the detector says goes to the workers.

use std::sync::atomic::Ordering;

use archipel_shield::detector::{
    Counts, Decision, Detector, Health, Pressure, Rule, Settings, State, TICK_MS, Undecided, merge,
};

use super::zone::{Ticked, ZoneShield};

/// Requests that the detector is shown of a tick.
const SHOWN_MAX: usize = 2_048;

/// What the ticker keeps of a zone.
#[derive(Default)]
pub(super) struct Watch {
    /// Made with the zone's first request.
    pub(super) detector: Option<Box<Detector>>,
    pressure: Pressure,
    under_way: i64,
    pub(super) last: Figures,
    pub(super) totals: Totals,
}

/// What the last tick was like.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    /// Requests a second.
    pub(super) rps: f64,
    /// Of these, those that rules held off, or would have.
    pub(super) held_rps: f64,
    pub(super) health: Health,
}

/// Requests since the start, by what became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) blocked: u64,
    pub(super) challenged: u64,
    pub(super) would: u64,
    /// Rules that were made.
    pub(super) rules: u64,
}

/// What a tick is told from outside of the zone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    /// Unix time in milliseconds.
    pub(super) now_ms: u64,
    /// The node has no time left.
    pub(super) node_pressed: bool,
    /// Every visitor is challenged: what comes in is nobody's usual traffic.
    pub(super) under_attack: bool,
    /// Whether there is memory for a zone that was not watched.
    pub(super) may_begin: bool,
}

impl ZoneShield {
    /// One tick. False where the zone should be watched and there is no memory for it.
    pub(super) fn tick(&self, around: &Around) -> bool {
        let mut watch = self.watch();
        let watch = &mut *watch;
        let ticked = self.take();
        if watch.detector.is_none() {
            if ticked.passed + ticked.held == 0 {
                return true;
            }
            if !around.may_begin {
                return false;
            }
            let seed = crate::node::random();
            watch.detector = Some(Box::new(Detector::new(Settings::default(), seed)));
        }
        let counts = watch.counts(ticked.origin.asked, &ticked, around, self.matched());
        let samples = merge(&ticked.samples, SHOWN_MAX);
        if let Some(detector) = &mut watch.detector {
            let before = detector.state();
            let state = detector.tick(around.now_ms, &counts, &samples);
            if state == State::Calm {
                watch.pressure.learn(&ticked.origin);
            }
            watch.totals.rules += self.settle(detector, before, state);
        }
        true
    }

    /// What each rule has met since the last tick.
    fn matched(&self) -> Vec<(u64, u64)> {
        let rules = self.rules();
        rules.iter().map(|rule| (rule.id, rule.counts.matched.swap(0, Ordering::Relaxed))).collect()
    }

    /// Publishes what the detector has come to, and tells the log. The number of new rules.
    fn settle(&self, detector: &mut Detector, before: State, state: State) -> u64 {
        let live = self.rules();
        for rule in live.iter() {
            let unnamed = detector.rules().all().iter().any(|known| known.id == rule.id && known.words.is_empty());
            if let Some((words, example)) = rule.counts.words.get().filter(|_| unnamed) {
                detector.name(rule.id, words.clone(), example.clone());
            }
        }
        let zone = &*self.name;
        if before != state {
            tracing::info!(zone, before = before.as_str(), state = state.as_str(), "the shield's view of the traffic");
        }
        let (mut new, rules) = (0, detector.rules().all());
        for rule in rules.iter().filter(|rule| live.iter().all(|known| known.id != rule.id)) {
            new += 1;
            tracing::warn!(zone, rule = rule.id, "a mitigation rule: {rule}");
        }
        for gone in live.iter().filter(|known| rules.iter().all(|rule| rule.id != known.id)) {
            tracing::info!(zone, rule = gone.id, "a mitigation rule is gone: what it matched has ended");
        }
        self.publish(detector.rules());
        new
    }

    /// Takes up what was known before this process.
    pub(super) fn restore(&self, detector: Detector) {
        self.publish(detector.rules());
        self.watch().detector = Some(Box::new(detector));
    }

    /// The operator's word on a rule, in force at once.
    pub(super) fn decide(&self, rule: u64, decision: Option<Decision>) -> Result<(), Undecided> {
        let mut watch = self.watch();
        let detector = watch.detector.as_mut().ok_or(Undecided::NoRule)?;
        detector.decide(rule, decision)?;
        self.publish(detector.rules());
        Ok(())
    }
}

impl Watch {
    fn counts(&mut self, asked: u64, ticked: &Ticked, around: &Around, matched: Vec<(u64, u64)>) -> Counts {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.under_way = (self.under_way + signed(asked) - signed(ticked.origin.answered)).max(0);
        let mut origin = ticked.origin.clone();
        origin.under_way = self.under_way.unsigned_abs();
        let health = self.pressure.tick(ticked.passed, &origin, around.node_pressed);
        let rps = |requests: u64| requests as f64 * 1_000.0 / TICK_MS as f64;
        self.last = Figures { rps: rps(ticked.passed + ticked.held), held_rps: rps(ticked.held), health };
        self.totals.blocked += ticked.blocked;
        self.totals.challenged += ticked.challenged;
        self.totals.would += ticked.would;
        Counts {
            requests: ticked.passed + ticked.held,
            matched,
            held_off: ticked.held,
            shared_out: 0,
            unusual: around.under_attack,
            health,
        }
    }

    /// What the detector thinks.
    pub(super) fn state(&self) -> State {
        self.detector.as_ref().map_or(State::Calm, |detector| detector.state())
    }

    /// The mitigation rules, the oldest first.
    pub(super) fn rules(&self) -> &[Rule] {
        self.detector.as_ref().map_or(&[], |detector| detector.rules().all())
    }

    /// Bytes of memory that the detector takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.detector.as_ref().map_or(0, |detector| detector.bytes())
    }
}
