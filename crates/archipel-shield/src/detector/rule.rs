//! Mitigation rules: what they match, what they do, how long they live.

use std::fmt;

use super::Settings;
use super::feature::{Feature, Features};
use super::signature::Signature;
use super::trigger::Alarm;

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Refuse.
    Block,
    /// Ask for proof of a human being.
    Challenge,
}

impl Action {
    /// The word in status pages and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Block => "block",
            Action::Challenge => "challenge",
        }
    }
}

/// A feature and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// The feature.
    pub feature: Feature,
    /// Its value.
    pub value: u32,
}

/// Where a rule is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It acts.
    Active,
    /// It only counts what it would match: if that is much, it acts again.
    Probation,
}

/// The operator's word on a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It acts, and stays, whatever it matches.
    Pin,
    /// It never acts, and what it matches is no attack.
    Veto,
}

impl Decision {
    /// The word in status pages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Pin => "pin",
            Decision::Veto => "veto",
        }
    }
}

/// A mitigation rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its number, which no other rule of this detector ever has.
    pub id: u64,
    /// All of these hold for what it matches.
    pub attributes: Vec<Attribute>,
    /// The values of the attributes as people read them, in the same order; empty until the rule has matched a request.
    pub words: Vec<Box<str>>,
    /// A request that it matched, as people read it; empty until there is one.
    pub example: Box<str>,
    /// What it does.
    pub action: Action,
    /// Where it is in its life.
    pub stage: Stage,
    /// Why it was looked for.
    pub alarm: Alarm,
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
    /// The operator's word.
    pub decision: Option<Decision>,
}

impl Rule {
    /// Whether a request has all of its attributes.
    #[must_use]
    pub fn holds(&self, features: &Features) -> bool {
        self.attributes.iter().all(|attribute| features.get(attribute.feature) == attribute.value)
    }

    /// Whether it does something now.
    #[must_use]
    pub fn acts(&self) -> bool {
        match self.decision {
            Some(decision) => decision == Decision::Pin,
            None => self.stage == Stage::Active,
        }
    }

    /// Where it is in its life, in a word.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match (self.decision, self.stage) {
            (Some(Decision::Pin), _) => "pinned",
            (Some(Decision::Veto), _) => "vetoed",
            (None, Stage::Active) => "active",
            (None, Stage::Probation) => "probation",
        }
    }

    /// Bytes of memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        let words: usize = self.words.iter().map(|word| word.len() + size_of::<Box<str>>()).sum();
        size_of::<Self>() + self.attributes.len() * size_of::<Attribute>() + words + self.example.len()
    }

    /// What it matches, in words.
    #[must_use]
    pub fn matches_in_words(&self) -> String {
        let one = |(at, attribute): (usize, &Attribute)| {
            let feature = attribute.feature.as_str();
            match self.words.get(at) {
                Some(value) => format!("{feature} {value}"),
                // Until it has met a request.
                None => format!("{feature} #{:08x}", attribute.value),
            }
        };
        self.attributes.iter().enumerate().map(one).collect::<Vec<_>>().join(", and ")
    }
}

/// What it matched and why, as a sentence for people.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} what has {}; made when {}: {:.0} requests a second more than usual had it, {:.1} % of all that had it; of usual requests it would hit {:.2} %",
            match self.action {
                Action::Block => "blocks",
                Action::Challenge => "challenges",
            },
            self.matches_in_words(),
            self.alarm.in_words(),
            self.excess_rps,
            self.precision * 100.0,
            self.baseline_share * 100.0,
        )
    }
}

/// The rules of a zone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub(super) rules: Vec<Rule>,
}

/// Share of its first rate at which a rule still matches much.
const MUCH: f64 = 0.05;

/// Why the operator's word on a rule is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// There is no such rule.
    NoRule,
    /// As many rules as there may be are pinned or vetoed.
    TooMany,
}

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

    /// Whether a request is none that a signature is looked for in: a rule holds it off, or the operator has said that it is no attack.
    pub(super) fn explains(&self, features: &Features) -> bool {
        let settled = |rule: &&Rule| rule.acts() || rule.decision == Some(Decision::Veto);
        self.rules.iter().filter(settled).any(|rule| rule.holds(features))
    }

    /// Whether a rule holds off an attack now; one that the operator keeps for a next one does not count.
    pub(super) fn any_active(&self, now_ms: u64, settings: &Settings) -> bool {
        let at_work = |rule: &Rule| match rule.decision {
            None => rule.stage == Stage::Active,
            Some(Decision::Pin) => now_ms.saturating_sub(rule.matched_ms) < settings.hold_ms,
            Some(Decision::Veto) => false,
        };
        self.rules.iter().any(at_work)
    }

    /// Takes a signature as a rule. False where it is one already, or there are too many: the one that has been quiet for longest goes
    /// if it is on probation.
    pub(super) fn take(&mut self, rule: Rule, rules_max: usize) -> bool {
        if let Some(known) = self.rules.iter_mut().find(|known| known.attributes == rule.attributes) {
            known.stage = Stage::Active;
            known.matched_ms = rule.born_ms;
            return false;
        }
        if self.rules.iter().filter(|rule| rule.decision.is_none()).count() >= rules_max {
            let quiet = self.rules.iter().enumerate().filter(|(_, rule)| !rule.acts() && rule.decision.is_none());
            let Some((at, _)) = quiet.min_by_key(|(_, rule)| rule.matched_ms) else { return false };
            self.rules.remove(at);
        }
        self.rules.push(rule);
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
        self.rules.retain(|rule| rule.decision.is_some() || now_ms.saturating_sub(rule.matched_ms) < end);
    }

    pub(super) fn decide(&mut self, id: u64, decision: Option<Decision>, rules_max: usize) -> Result<(), Undecided> {
        let decided = self.rules.iter().filter(|rule| rule.decision.is_some() && rule.id != id).count();
        let rule = self.rules.iter_mut().find(|rule| rule.id == id).ok_or(Undecided::NoRule)?;
        if decision.is_some() && decided >= rules_max {
            return Err(Undecided::TooMany);
        }
        rule.decision = decision;
        Ok(())
    }
}

impl Rule {
    /// A rule made of a signature.
    pub(super) fn new(id: u64, now_ms: u64, signature: Signature, action: Action, alarm: Alarm) -> Self {
        Self {
            id,
            attributes: signature.attributes,
            words: Vec::new(),
            example: Box::default(),
            action,
            stage: Stage::Active,
            alarm,
            born_ms: now_ms,
            matched_ms: now_ms,
            matched: 0,
            precision: signature.precision,
            baseline_share: signature.baseline_share,
            usual_rps: signature.usual_rps,
            excess_rps: signature.excess_rps,
            decision: None,
        }
    }
}
