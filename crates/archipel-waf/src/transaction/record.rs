//! What is kept of a rule that matched.

use std::ops::Range;

use crate::builtin;
use crate::program::{About, Rule, RuleIndex, RuleSet};

use super::evaluate::Run;
use super::state::State;
use super::values::{EMPTY, ValueId};

/// Matches that one transaction records; further ones count in scores but are not listed.
pub const MATCHES_MAX: usize = 1000;

/// Names of what one rule found that are kept of it.
pub const TARGETS_MAX: usize = 16;

/// A rule that matched.
#[derive(Debug, Clone)]
pub(super) struct Matched {
    rule: RuleIndex,
    message: Range<usize>,
    data: Range<usize>,
    severity: Option<u8>,
    name: ValueId,
    value: ValueId,
    interrupted: bool,
    targets: Range<usize>,
    all_targets: bool,
}

impl Run<'_> {
    /// Records a rule all of whose chain matched.
    pub(super) fn record(&mut self, index: RuleIndex, rule: &Rule) {
        let Some(about) = rule.about.as_deref() else { return };
        let set = self.set;
        let link = last_word(set, index, |about| about.severity.is_some());
        let severity = about.severity.or(link.and_then(|about| about.severity));
        if let Some(severity) = severity {
            self.state.highest_severity = self.state.highest_severity.min(severity);
        }
        if !rule.logged || self.state.matches.len() >= MATCHES_MAX {
            return;
        }
        let msg = about.msg.as_ref().or_else(|| last_word(set, index, |a| a.msg.is_some())?.msg.as_ref());
        let logdata =
            about.logdata.as_ref().or_else(|| last_word(set, index, |a| a.logdata.is_some())?.logdata.as_ref());
        let mut texts = std::mem::take(&mut self.state.texts);
        let start = texts.len();
        if let Some(msg) = msg {
            self.expand(msg, index, &mut texts);
        }
        let middle = texts.len();
        if let Some(logdata) = logdata {
            self.expand(logdata, index, &mut texts);
        }
        let end = texts.len();
        self.state.texts = texts;
        let (name, value) = self.state.matched.last().map_or((EMPTY, EMPTY), |matched| (matched.name, matched.value));
        let interrupted = self.state.interruption.as_ref().is_some_and(|by| by.rule == Some(rule.id));
        let (targets, all_targets) = self.targets_found();
        self.state.matches.push(Matched {
            rule: index,
            message: start..middle,
            data: middle..end,
            severity,
            name,
            value,
            interrupted,
            targets,
            all_targets,
        });
    }

    /// Keeps the names of what the first link of the rule found, which is what an exclusion can take from it: all of it, or of that what
    /// the last link picked (`MATCHED_VARS`). False where not all of it is kept.
    fn targets_found(&mut self) -> (Range<usize>, bool) {
        let state = &mut *self.state;
        let start = state.targets.len();
        let (first, last) = (&state.matched[..self.found_first], &state.matched[self.found_last..]);
        let picked = last.iter().any(|found| state.values.get(found.name).starts_with(PICKED[0]));
        let found = if self.found_last > 0 && picked { last } else { first };
        for found in found {
            let mut name = state.values.get(found.name);
            while let Some(own) = PICKED.iter().find_map(|prefix| name.strip_prefix(*prefix)) {
                name = own;
            }
            let Some(name) = excludable(name) else {
                state.targets.truncate(start);
                return (start..start, true);
            };
            let name = name.to_vec();
            let id = state.values.intern(&name);
            if state.targets[start..].contains(&id) {
                continue;
            }
            if state.targets.len() - start == TARGETS_MAX {
                return (start..state.targets.len(), false);
            }
            state.targets.push(id);
        }
        (start..state.targets.len(), true)
    }
}

/// What stands before the names of what earlier links found.
const PICKED: [&[u8]; 2] = [b"MATCHED_VARS:", b"MATCHED_VARS_NAMES:"];

/// What an exclusion calls the value of this name. `None` where leaving it out would not stop the rule, or would mean nothing to who
/// reads it: what rules keep for themselves, and numbers of values.
fn excludable(name: &[u8]) -> Option<&[u8]> {
    let name = builtin::origin(name);
    (!name.starts_with(b"&") && !name.starts_with(b"TX:")).then_some(name)
}

/// What a later link of the chain says where its first rule says nothing.
fn last_word(set: &RuleSet, index: RuleIndex, says: impl Fn(&About) -> bool) -> Option<&About> {
    let mut at = index as usize;
    let mut last = None;
    while set.rules[at].chained {
        at += 1;
        last = set.rules[at].about.as_deref().filter(|about| says(about)).or(last);
    }
    last
}

/// A rule that matched, with what it says of it.
#[derive(Clone, Copy)]
pub struct Match<'a> {
    rule: &'a Rule,
    state: &'a State,
    matched: &'a Matched,
}

impl std::fmt::Debug for Match<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Match")
            .field("id", &self.id())
            .field("message", &String::from_utf8_lossy(self.message()))
            .field("variable", &String::from_utf8_lossy(self.variable()))
            .finish_non_exhaustive()
    }
}

impl<'a> Match<'a> {
    pub(super) fn new(set: &'a RuleSet, state: &'a State, matched: &'a Matched) -> Self {
        Self { rule: &set.rules[matched.rule as usize], state, matched }
    }

    /// The rule's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.rule.id
    }

    /// The phase, 1 to 5.
    #[must_use]
    pub fn phase(&self) -> u8 {
        self.rule.phase + 1
    }

    /// `msg`, expanded.
    #[must_use]
    pub fn message(&self) -> &'a [u8] {
        &self.state.texts[self.matched.message.clone()]
    }

    /// `logdata`, expanded. It is the client's text: mask and escape it.
    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        &self.state.texts[self.matched.data.clone()]
    }

    /// 0 (emergency) to 7 (debug), where the rule has one.
    #[must_use]
    pub fn severity(&self) -> Option<u8> {
        self.matched.severity
    }

    /// `tag`s, as written.
    pub fn tags(&self) -> impl Iterator<Item = &'a [u8]> {
        self.rule.about.iter().flat_map(|about| about.tags.iter().map(|tag| &**tag))
    }

    /// What matched last: `ARGS:name`.
    #[must_use]
    pub fn variable(&self) -> &'a [u8] {
        self.state.value(self.matched.name)
    }

    /// Its value as the operator saw it. It is the client's text: mask and escape it.
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        self.state.value(self.matched.value)
    }

    /// What an exclusion has to name so that the rule does not match: `ARGS:name`, of a chain what its first link looks at. None where
    /// only the whole rule can be excluded.
    pub fn targets(&self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        self.state.targets[self.matched.targets.clone()].iter().map(|id| self.state.value(*id))
    }

    /// Whether [`targets`](Self::targets) are all of them, and not the first [`TARGETS_MAX`].
    #[must_use]
    pub fn has_all_targets(&self) -> bool {
        self.matched.all_targets
    }

    /// Whether this rule interrupted the transaction.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.matched.interrupted
    }

    /// The file and the line of the rule.
    #[must_use]
    pub fn place(&self) -> (&'a str, u32) {
        self.rule.about.as_ref().map_or(("", 0), |about| (about.file.as_deref().unwrap_or(""), about.line))
    }
}
