//! What the shield keeps of a zone: counters and samples of each worker, the rules in force, the detector. It outlives reloads.
//!
//! A request of a calm zone costs two additions on lines of its worker's own; only what gets into the sample takes a lock, which
//! nobody else holds but the ticker, for as long as it takes to carry a vector away.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use archipel_shield::detector::{
    Action, Attribute, Distinct, LATENCIES, OriginCounts, Rule, Rules, Sample, latency_class, next_random,
    place_in_sample,
};
use archipel_transport::origin::OriginError;

use super::features::Looking;
use super::watch::Watch;
use crate::exchange::Exchange;

/// What a request of the zone meets besides the sampling, as bits of [`ZoneShield::posture`].
pub(super) const RULES: u8 = 1;

/// The shield of a zone.
pub(crate) struct ZoneShield {
    pub(super) name: Box<str>,
    /// What the stage has to do at all; 0 in a calm zone.
    posture: AtomicU8,
    rules: ArcSwap<Vec<Arc<LiveRule>>>,
    shards: Box<[Shard]>,
    /// Of the hashes of features: the node's.
    seed: Arc<AtomicU64>,
    watch: Mutex<Watch>,
}

/// What one worker counts of a zone. On cache lines of its own.
#[repr(align(128))]
struct Shard {
    /// Requests of this tick that no rule held off, or would have: the sample is of them.
    passed: AtomicU64,
    /// Requests of this tick that a rule held off, or would have.
    held: AtomicU64,
    blocked: AtomicU64,
    challenged: AtomicU64,
    /// Requests that a rule would have held off, in log mode.
    would: AtomicU64,
    /// State of the numbers that decide what is sampled.
    random: AtomicU64,
    asked: AtomicU64,
    answered: AtomicU64,
    errors: AtomicU64,
    limited: AtomicU64,
    latency: [AtomicU32; LATENCIES],
    samples: Mutex<Vec<Sample>>,
}

impl Shard {
    fn new(random: u64) -> Self {
        Self {
            passed: AtomicU64::default(),
            held: AtomicU64::default(),
            blocked: AtomicU64::default(),
            challenged: AtomicU64::default(),
            would: AtomicU64::default(),
            random: AtomicU64::new(random),
            asked: AtomicU64::default(),
            answered: AtomicU64::default(),
            errors: AtomicU64::default(),
            limited: AtomicU64::default(),
            latency: std::array::from_fn(|_| AtomicU32::default()),
            samples: Mutex::default(),
        }
    }
}

/// What all workers counted of a tick.
#[derive(Default)]
pub(super) struct Ticked {
    pub(super) passed: u64,
    pub(super) held: u64,
    pub(super) blocked: u64,
    pub(super) challenged: u64,
    pub(super) would: u64,
    pub(super) origin: OriginCounts,
    /// By worker: how many passed, and the sample of them.
    pub(super) samples: Vec<(u64, Vec<Sample>)>,
}

/// A mitigation rule, as the stage sees it.
pub(crate) struct LiveRule {
    pub(super) id: u64,
    /// `zone/number`.
    pub(super) name: Box<str>,
    attributes: Box<[Attribute]>,
    pub(super) action: Action,
    pub(super) acts: bool,
    pub(super) counts: Arc<RuleCounts>,
}

/// What a rule has met.
#[derive(Default)]
pub(super) struct RuleCounts {
    /// Requests since the last tick.
    pub(super) matched: AtomicU64,
    /// Addresses that they came from.
    pub(super) addresses: Distinct,
    /// Its values as people read them, and the first request that it matched.
    pub(super) words: OnceLock<(Vec<Box<str>>, Box<str>)>,
}

impl LiveRule {
    pub(super) fn new(zone: &str, rule: &Rule, counts: Arc<RuleCounts>) -> Self {
        Self {
            id: rule.id,
            name: format!("{zone}/{}", rule.id).into(),
            attributes: rule.attributes.clone().into(),
            action: rule.action,
            acts: rule.acts(),
            counts,
        }
    }

    fn holds(&self, looking: &mut Looking<'_>) -> bool {
        self.attributes.iter().all(|attribute| looking.value(attribute.feature) == attribute.value)
    }

    fn count(&self, looking: &Looking<'_>) {
        self.counts.matched.fetch_add(1, Ordering::Relaxed);
        self.counts.addresses.add(looking.address());
        self.counts.words.get_or_init(|| {
            let words = self.attributes.iter().map(|of| looking.word(of.feature)).collect();
            (words, looking.in_words())
        });
    }

    /// Whether another does the same to the same.
    pub(super) fn is(&self, rule: &Rule) -> bool {
        self.id == rule.id && self.acts == rule.acts() && self.action == rule.action
    }
}

impl ZoneShield {
    pub(super) fn new(name: &str, workers: usize, seed: Arc<AtomicU64>) -> Self {
        let shard = |_| Shard::new(crate::node::random());
        Self {
            name: name.into(),
            posture: AtomicU8::new(0),
            rules: ArcSwap::default(),
            shards: (0..workers.max(1)).map(shard).collect(),
            seed,
            watch: Mutex::default(),
        }
    }

    fn shard(&self, ex: &Exchange) -> &Shard {
        // More threads than there were to be share.
        &self.shards[ex.worker.number % self.shards.len()]
    }

    pub(super) fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rule that acts on a request, which is counted for the rule that it meets first.
    pub(super) fn judge(&self, ex: &Exchange) -> Option<Arc<LiveRule>> {
        if self.posture.load(Ordering::Relaxed) & RULES == 0 {
            return None;
        }
        let rules = self.rules.load();
        let mut looking = Looking::new(ex, self.seed.load(Ordering::Relaxed));
        let acting = rules.iter().find(|rule| rule.acts && rule.holds(&mut looking));
        let met = acting.or_else(|| rules.iter().find(|rule| !rule.acts && rule.holds(&mut looking)))?;
        // Nobody sent what is only explained.
        if ex.conn.is_some() {
            met.count(&looking);
        }
        acting.cloned()
    }

    /// Counts a request that a rule acts on, or, in log mode, would act on.
    pub(super) fn count_held(&self, ex: &Exchange, action: Option<Action>) {
        let shard = self.shard(ex);
        shard.held.fetch_add(1, Ordering::Relaxed);
        let of_action = match action {
            Some(Action::Block) => &shard.blocked,
            Some(Action::Challenge) => &shard.challenged,
            None => &shard.would,
        };
        of_action.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that no rule acts on, and samples it.
    pub(super) fn observe(&self, ex: &Exchange) {
        let shard = self.shard(ex);
        let nth = shard.passed.fetch_add(1, Ordering::Relaxed) + 1;
        // One worker writes: two that share a shard may take the same number twice, which does no harm.
        let mut random = shard.random.load(Ordering::Relaxed);
        let drawn = next_random(&mut random);
        shard.random.store(random, Ordering::Relaxed);
        let Some(place) = place_in_sample(nth, drawn) else { return };
        let sample = Looking::new(ex, self.seed.load(Ordering::Relaxed)).sample();
        let mut samples = shard.samples.lock().unwrap_or_else(PoisonError::into_inner);
        match samples.get_mut(place) {
            Some(slot) => *slot = sample,
            None => samples.push(sample),
        }
    }

    /// Takes what was counted since it was last taken.
    pub(super) fn take(&self) -> Ticked {
        let mut ticked = Ticked::default();
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        for shard in &self.shards {
            let passed = take(&shard.passed);
            ticked.passed += passed;
            ticked.held += take(&shard.held);
            ticked.blocked += take(&shard.blocked);
            ticked.challenged += take(&shard.challenged);
            ticked.would += take(&shard.would);
            let origin = &mut ticked.origin;
            origin.asked += take(&shard.asked);
            origin.answered += take(&shard.answered);
            origin.errors += take(&shard.errors);
            origin.limited += take(&shard.limited);
            for (sum, count) in origin.latency.iter_mut().zip(&shard.latency) {
                *sum += count.swap(0, Ordering::Relaxed);
            }
            let samples = std::mem::take(&mut *shard.samples.lock().unwrap_or_else(PoisonError::into_inner));
            ticked.samples.push((passed, samples));
        }
        ticked
    }

    /// The rules as they are published, with what they have met.
    pub(super) fn rules(&self) -> Arc<Vec<Arc<LiveRule>>> {
        self.rules.load_full()
    }

    /// Puts rules in force for all workers. What one has met already goes on.
    pub(super) fn publish(&self, rules: &Rules) {
        let known = self.rules.load();
        if known.len() == rules.all().len() && known.iter().zip(rules.all()).all(|(live, rule)| live.is(rule)) {
            return;
        }
        let live = |rule: &Rule| {
            let before = known.iter().find(|live| live.id == rule.id).map(|live| live.counts.clone());
            Arc::new(LiveRule::new(&self.name, rule, before.unwrap_or_default()))
        };
        let live: Vec<_> = rules.all().iter().map(live).collect();
        let posture = if live.is_empty() { 0 } else { RULES };
        self.rules.store(Arc::new(live));
        self.posture.store(posture, Ordering::Release);
    }

    /// Bytes of memory, besides what the detector takes.
    pub(super) fn bytes(&self) -> usize {
        let samples = |shard: &Shard| shard.samples.lock().unwrap_or_else(PoisonError::into_inner).capacity();
        let sampled: usize = self.shards.iter().map(samples).sum();
        let rules = self.rules.load().len() * (size_of::<LiveRule>() + size_of::<RuleCounts>() + 2_048);
        size_of_val(&*self.shards) + sampled * size_of::<Sample>() + rules
    }
}

/// A request on its way to an origin: how it ends is counted, also where nobody waits for it any more.
pub(crate) struct UnderWay {
    zone: Option<(Arc<ZoneShield>, usize)>,
}

impl UnderWay {
    pub(crate) fn begin(ex: &Exchange) -> Self {
        let zone = ex.zone.as_ref().and_then(|zone| zone.shield.clone());
        let zone = zone.map(|zone| {
            let at = ex.worker.number % zone.shards.len();
            zone.shards[at].asked.fetch_add(1, Ordering::Relaxed);
            (zone, at)
        });
        Self { zone }
    }

    /// The origin has answered, with an error of its own or not.
    pub(crate) fn replied(self, after: std::time::Duration, is_error: bool) {
        let Some((zone, at)) = &self.zone else { return };
        let us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        zone.shards[*at].latency[latency_class(us)].fetch_add(1, Ordering::Relaxed);
        zone.shards[*at].errors.fetch_add(u64::from(is_error), Ordering::Relaxed);
    }

    /// There is no answer.
    pub(crate) fn failed(self, error: &OriginError) {
        let Some((zone, at)) = &self.zone else { return };
        let counter = match error {
            OriginError::LimitReached | OriginError::Overloaded => &zone.shards[*at].limited,
            // The client's own fault.
            OriginError::RequestBody(_) => return,
            _ => &zone.shards[*at].errors,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some((zone, at)) = &self.zone {
            zone.shards[*at].answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}
