//! Mitigation rules: what they match, what they do, how long they live.

use super::Settings;
use super::feature::{Feature, Features};
use super::signature::Signature;

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Refuse.
    Block,
    /// Ask for proof of a human being.
    Challenge,
}

/// A feature and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// The feature.
    pub feature: Feature,
    /// Its value.
    pub value: u64,
}

/// Where a rule is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It acts.
    Active,
    /// It only counts what it would match: if that is much, it acts again.
    Probation,
}

/// A mitigation rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its number, which no other rule of this detector ever has.
    pub id: u64,
    /// All of these hold for what it matches.
    pub attributes: Vec<Attribute>,
    /// What it does.
    pub action: Action,
    /// Where it is in its life.
    pub stage: Stage,
    /// When it was made, Unix milliseconds.
    pub born_ms: u64,
    /// When it last matched much.
    pub matched_ms: u64,
    /// Requests that it matched.
    pub matched: u64,
    /// Share of what it matches that is more than usual, when it was made.
    pub precision: f64,
    /// Share of the usual requests that it would have matched.
    pub baseline_share: f64,
    /// Usual requests a second that it would have matched.
    pub usual_rps: f64,
    /// Requests a second more than usual that it matched when it was made.
    pub excess_rps: f64,
    /// The operator's word: it stays (true), it never acts (false).
    pub pinned: Option<bool>,
}

impl Rule {
    fn holds(&self, features: &Features) -> bool {
        self.attributes.iter().all(|attribute| features.get(attribute.feature) == attribute.value)
    }

    fn acts(&self) -> bool {
        match self.pinned {
            Some(acts) => acts,
            None => self.stage == Stage::Active,
        }
    }
}

/// The rules of a zone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// Share of its first rate at which a rule still matches much.
const MUCH: f64 = 0.05;

impl Rules {
    /// All, the oldest first.
    #[must_use]
    pub fn all(&self) -> &[Rule] {
        &self.rules
    }

    /// The first rule that acts on a request.
    #[must_use]
    pub fn active(&self, features: &Features) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.acts() && rule.holds(features))
    }

    /// The first rule that matches a request, whether it acts or not, for counting.
    #[must_use]
    pub fn matching(&self, features: &Features) -> Option<&Rule> {
        self.active(features).or_else(|| self.rules.iter().find(|rule| rule.holds(features)))
    }

    pub(super) fn any_active(&self) -> bool {
        self.rules.iter().any(Rule::acts)
    }

    /// Takes a signature as a rule. False where it is one already, or there are too many: the one that has been quiet for longest goes
    /// if it is on probation.
    pub(super) fn take(
        &mut self,
        id: u64,
        now_ms: u64,
        signature: Signature,
        action: Action,
        rules_max: usize,
    ) -> bool {
        if let Some(known) = self.rules.iter_mut().find(|rule| rule.attributes == signature.attributes) {
            known.stage = Stage::Active;
            known.matched_ms = now_ms;
            return false;
        }
        if self.rules.len() >= rules_max {
            let quiet = self.rules.iter().enumerate().filter(|(_, rule)| !rule.acts() && rule.pinned.is_none());
            let Some((at, _)) = quiet.min_by_key(|(_, rule)| rule.matched_ms) else { return false };
            self.rules.remove(at);
        }
        self.rules.push(Rule {
            id,
            attributes: signature.attributes,
            action,
            stage: Stage::Active,
            born_ms: now_ms,
            matched_ms: now_ms,
            matched: 0,
            precision: signature.precision,
            baseline_share: signature.baseline_share,
            usual_rps: signature.usual_rps,
            excess_rps: signature.excess_rps,
            pinned: None,
        });
        true
    }

    /// One tick older, with what each matched in it.
    pub(super) fn age(&mut self, now_ms: u64, settings: &Settings, matched: &[(u64, u64)]) {
        for rule in &mut self.rules {
            let count: u64 = matched.iter().filter(|(id, _)| *id == rule.id).map(|(_, count)| count).sum();
            rule.matched += count;
            // What is usual does not keep a rule alive.
            let much_rps = (rule.excess_rps * MUCH).max(2.0 * rule.usual_rps);
            let much = (much_rps * super::TICK_MS as f64 / 1000.0).max(1.0);
            if count as f64 >= much {
                rule.matched_ms = now_ms;
                rule.stage = Stage::Active;
            } else if now_ms.saturating_sub(rule.matched_ms) >= settings.hold_ms {
                rule.stage = Stage::Probation;
            }
        }
        let end = settings.hold_ms + settings.probation_ms;
        self.rules.retain(|rule| rule.pinned.is_some() || now_ms.saturating_sub(rule.matched_ms) < end);
    }

    pub(super) fn decide(&mut self, id: u64, pinned: Option<bool>) -> bool {
        let found = self.rules.iter_mut().find(|rule| rule.id == id);
        found.map(|rule| rule.pinned = pinned).is_some()
    }
}
