//! The search for what sets an attack apart from usual traffic: a greedy cover by conjunctions of few attributes.
//!
//! For a conjunction, `attack` is its rate in what is suspicious and `usual` its rate in the baseline. Its excess is what there is
//! more of; its precision is the share of the excess in what it matches now. Each request of both samples is one bit in the set of
//! each attribute, so a conjunction is an intersection of bit sets, and thousands are tried in a millisecond.

use super::Settings;
use super::feature::{Feature, Part};
use super::rule::Attribute;
use super::sample::Sample;

/// What one search looks at.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// How it decides.
    pub settings: &'a Settings,
    /// What is suspicious.
    pub attack: &'a [Sample],
    /// Its rate, requests a second.
    pub attack_rps: f64,
    /// What is usual.
    pub usual: &'a [Sample],
    /// Its rate, requests a second.
    pub usual_rps: f64,
}

/// What sets (part of) an attack apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// All of these hold.
    pub attributes: Vec<Attribute>,
    /// Share of what it matches that is more than usual.
    pub precision: f64,
    /// Share of usual requests that it matches.
    pub baseline_share: f64,
    /// Usual requests a second that it matches.
    pub usual_rps: f64,
    /// Requests a second more than usual that it matches.
    pub excess_rps: f64,
}

/// Values of one feature that are tried: those with the largest excess.
const VALUES_MAX: usize = 8;

/// Conjunctions of one length that are made longer: those with the largest excess.
const BEAM: usize = 64;

/// Least share of the suspicious requests that a rule must match to be worth it.
const SUPPORT_MIN: f64 = 0.02;

/// Fewest suspicious requests of the sample that a rule must match.
const COUNT_MIN: f64 = 24.0;

/// Standard deviations that a count must be above what is usual: thousands of conjunctions are tried, and some are rare by chance.
const DEVIATIONS_MIN: f64 = 6.0;

/// How many times its usual share what a rule says of the client must have: a crowd of people has the clients that people have.
const CLIENT_LIFT_MIN: f64 = 2.0;

/// A set of requests.
#[derive(Clone)]
struct Bits(Vec<u64>);

impl Bits {
    fn of(len: usize, has: impl Fn(usize) -> bool) -> Self {
        let mut words = vec![0; len.div_ceil(64)];
        for at in (0..len).filter(|at| has(*at)) {
            words[at / 64] |= 1 << (at % 64);
        }
        Self(words)
    }

    fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    fn remove(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a &= !b);
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

#[derive(Clone)]
struct Candidate {
    attributes: Vec<Attribute>,
    attack: Bits,
    usual: Bits,
}

impl Search<'_> {
    /// The signatures, the most telling first; none where nothing sets the excess apart.
    #[must_use]
    pub fn run(&self) -> Vec<Signature> {
        let mut left = Bits::of(self.attack.len(), |_| true);
        let mut found = Vec::new();
        let all = f64::from(left.count()).max(1.0);
        while found.len() < self.settings.rules_max {
            let rest = self.attack_rps * f64::from(left.count()) / all;
            if rest <= self.settings.rest_factor * self.usual_rps {
                break;
            }
            let Some((signature, matched)) = self.best(&left) else { break };
            left.remove(&matched);
            found.push(signature);
        }
        found
    }

    /// The conjunction that covers most of the excess that is left, of those that may become rules.
    fn best(&self, left: &Bits) -> Option<(Signature, Bits)> {
        let singles = self.singles(left);
        let mut level: Vec<Candidate> = singles.clone();
        let mut best: Option<(Signature, Bits, f64)> = None;
        for length in 1..=self.settings.attributes_max {
            for candidate in &level {
                let Some(signature) = self.acceptable(candidate, left) else { continue };
                // A longer rule has to be worth it: it is one that a slight change of the attack gets around.
                let worth = signature.excess_rps * 0.9_f64.powi(i32::try_from(length).unwrap_or(1));
                if best.as_ref().is_none_or(|(_, _, most)| worth > *most) {
                    best = Some((signature, candidate.attack.clone(), worth));
                }
            }
            if length < self.settings.attributes_max {
                level = self.longer(level, &singles, left);
            }
        }
        best.map(|(signature, matched, _)| (signature, matched))
    }

    fn singles(&self, left: &Bits) -> Vec<Candidate> {
        let mut singles = Vec::new();
        for feature in Feature::ALL.iter().filter(|feature| feature.part() != Part::Outcome) {
            let mut counts = std::collections::HashMap::<u32, u32, foldhash::fast::FixedState>::default();
            for (at, sample) in self.attack.iter().enumerate() {
                let value = sample.features.get(*feature);
                if value != 0 && left.0[at / 64] & (1 << (at % 64)) != 0 {
                    *counts.entry(value).or_default() += 1;
                }
            }
            let mut values: Vec<(u32, u32)> = counts.into_iter().collect();
            values.sort_by_key(|(value, count)| (std::cmp::Reverse(*count), *value));
            for (value, _) in values.into_iter().take(VALUES_MAX) {
                let attribute = Attribute { feature: *feature, value };
                let has = |sample: &Sample| sample.features.get(*feature) == value;
                singles.push(Candidate {
                    attributes: vec![attribute],
                    attack: Bits::of(self.attack.len(), |at| has(&self.attack[at])).and(left),
                    usual: Bits::of(self.usual.len(), |at| has(&self.usual[at])),
                });
            }
        }
        singles
    }

    /// The conjunctions that are one attribute longer, the most promising only.
    fn longer(&self, mut level: Vec<Candidate>, singles: &[Candidate], left: &Bits) -> Vec<Candidate> {
        level.sort_by(|a, b| self.excess(b).total_cmp(&self.excess(a)));
        level.truncate(BEAM);
        let support = SUPPORT_MIN * f64::from(left.count());
        let mut longer: Vec<Candidate> = Vec::new();
        for candidate in &level {
            for single in singles {
                // In the order of the features, so that each conjunction is made once.
                let after = candidate.attributes.last().is_some_and(|last| last.feature < single.attributes[0].feature);
                if !after {
                    continue;
                }
                let attack = candidate.attack.and(&single.attack);
                if f64::from(attack.count()) < support {
                    continue;
                }
                let attributes = candidate.attributes.iter().chain(&single.attributes).copied().collect();
                longer.push(Candidate { attributes, attack, usual: candidate.usual.and(&single.usual) });
            }
        }
        longer
    }

    fn rates(&self, candidate: &Candidate) -> (f64, f64) {
        let share = |bits: &Bits, of: usize| f64::from(bits.count()) / of.max(1) as f64;
        (
            self.attack_rps * share(&candidate.attack, self.attack.len()),
            self.usual_rps * share(&candidate.usual, self.usual.len()),
        )
    }

    fn excess(&self, candidate: &Candidate) -> f64 {
        let (attack, usual) = self.rates(candidate);
        attack - usual
    }

    fn acceptable(&self, candidate: &Candidate, left: &Bits) -> Option<Signature> {
        let (attack, usual) = self.rates(candidate);
        let support = f64::from(candidate.attack.count()) / f64::from(left.count()).max(1.0);
        let baseline_share = f64::from(candidate.usual.count()) / self.usual.len().max(1) as f64;
        let precision = if attack > 0.0 { ((attack - usual) / attack).max(0.0) } else { 0.0 };
        let count = f64::from(candidate.attack.count());
        // What of the sample would be it if everything were as usual.
        let expected = count * (usual / attack.max(f64::MIN_POSITIVE)).min(1.0);
        let good = support >= SUPPORT_MIN
            && count >= COUNT_MIN
            && is_more(count, expected)
            && precision >= self.settings.precision_min
            && baseline_share <= self.settings.baseline_share_max
            && self.client_is_more(candidate);
        good.then(|| Signature {
            attributes: candidate.attributes.clone(),
            precision,
            baseline_share,
            usual_rps: usual,
            excess_rps: attack - usual,
        })
    }

    /// Whether the clients that a conjunction speaks of are more than usual among all, whatever they ask for. Not where it speaks of
    /// none: what is asked for alone is no signature.
    fn client_is_more(&self, candidate: &Candidate) -> bool {
        let client: Vec<&Attribute> =
            candidate.attributes.iter().filter(|attribute| attribute.feature.part() == Part::Client).collect();
        if client.is_empty() {
            return false;
        }
        let holds =
            |sample: &&Sample| client.iter().all(|attribute| sample.features.get(attribute.feature) == attribute.value);
        let now = self.attack.iter().filter(holds).count() as f64;
        // One more than was seen, so that what was never seen does not count as impossible.
        let share = (self.usual.iter().filter(holds).count() + 1) as f64 / (self.usual.len() + 1) as f64;
        let expected = share * self.attack.len() as f64;
        now >= CLIENT_LIFT_MIN * expected && is_more(now, expected)
    }
}

/// Whether a count is above what was expected by more than chance explains.
fn is_more(count: f64, expected: f64) -> bool {
    count - expected >= DEVIATIONS_MIN * expected.max(1.0).sqrt()
}
