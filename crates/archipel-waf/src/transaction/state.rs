//! What a transaction knows.

use crate::body::{BodyError, Parser};
use crate::operator::Captures;
use crate::prefilter::Prefilter;
use crate::program::{Allow, Mode, Processor, RuleIndex, RuleSet, SCALARS, STORES, Store, Variable, scalar};

use super::record::Matched;
use super::tx::Tx;
use super::values::{EMPTY, NONE, ValueId, Values};
use super::{Budget, Interruption};

/// A named value of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: ValueId,
    pub value: ValueId,
}

/// A value that matched, by the full name of what it belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct MatchedValue {
    /// `ARGS:name`.
    pub name: ValueId,
    pub value: ValueId,
}

/// What an element is called; rendered only where it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    None,
    Value(ValueId),
    /// A numbered `TX` variable.
    Tx(u32),
}

/// A value that an operator is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Value(ValueId),
    Number(i64),
}

/// An element of a rule's targets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub variable: Variable,
    pub name: Name,
    pub content: Content,
    pub counted: bool,
}

/// The prefilter's answer for a probe.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ProbeState {
    /// The epoch in which it was asked.
    pub epoch: u32,
    /// Whether anything may match.
    pub any: bool,
}

/// What a transaction has used of its budget.
#[derive(Debug, Default)]
pub(super) struct Spent {
    pub budget: Option<Budget>,
    pub micros: u64,
    pub bytes: u64,
    pub exhausted: bool,
    pub stopped: Vec<(u64, u32)>,
}

/// Values that the operator of the link that is evaluated did not match: one that stands there again is not looked at again.
#[derive(Debug, Default)]
pub(super) struct Missed {
    /// By value, the link for which it was noted.
    links: Vec<u32>,
    link: u32,
}

impl Missed {
    /// Forgets them, for another link.
    pub(super) fn clear(&mut self) {
        self.link = self.link.wrapping_add(1);
        if self.link == 0 {
            self.links.clear();
            self.link = 1;
        }
    }

    #[inline]
    pub(super) fn has(&self, value: ValueId) -> bool {
        self.links.get(value as usize) == Some(&self.link)
    }

    #[inline]
    pub(super) fn note(&mut self, value: ValueId) {
        let place = value as usize;
        if place >= self.links.len() {
            self.links.resize(place + 1, 0);
        }
        self.links[place] = self.link;
    }
}

/// A body as far as it was taken.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub bytes: usize,
    pub bytes_max: usize,
    pub kept: Vec<u8>,
    pub begun: bool,
    pub access: bool,
    /// It goes on behind what was taken.
    pub truncated: bool,
    /// The limit over which parts of it were not told.
    pub left_out: Option<&'static str>,
}

/// All of it. What is not reset by [`State::begin`] is memory.
#[derive(Debug, Default)]
pub(super) struct State {
    pub values: Values,
    pub scalars: Vec<ValueId>,
    pub lists: [Vec<Entry>; STORES],
    /// `ARGS` before this one came with the query, and those before the second with it or a form.
    pub query_arguments: usize,
    pub form_arguments: usize,
    pub arguments_bytes: usize,
    pub files_bytes: u64,
    pub tx: Tx,
    pub matched: Vec<MatchedValue>,
    pub highest_severity: u8,

    pub mode: Mode,
    pub began_micros: u64,
    pub now_micros: u64,
    pub epoch: u32,
    pub probes: Vec<ProbeState>,
    /// Rows of `probe_words` words.
    pub probe_rows: Vec<u64>,
    pub probe_words: usize,
    pub unfiltered: bool,

    pub removed: Vec<u64>,
    pub any_removed: bool,
    /// `ctl:ruleRemoveTarget...` that were executed: the rule and the place among its acts.
    pub removals: Vec<(RuleIndex, u32)>,
    pub allowed: Option<Allow>,
    pub interruption: Option<Interruption>,
    pub record_keys: [Option<Vec<u8>>; crate::program::RECORDS],

    pub request: Body,
    pub response: Body,
    pub processor: Option<Processor>,
    pub processor_forced: bool,
    pub force_request_body: bool,
    pub parser: Option<Parser>,
    /// What the query or the cookies exceed.
    pub head_error: Option<BodyError>,
    /// Why some of the request was not read.
    pub fault: Option<&'static str>,

    pub matches: Vec<Matched>,
    pub texts: Vec<u8>,
    /// Names of what the rules found that matched.
    pub targets: Vec<ValueId>,
    pub spent: Spent,

    pub items: Vec<Item>,
    pub missed: Missed,
    pub captures: Captures,
    pub text: Vec<u8>,
    pub rendered: Vec<u8>,
}

/// Severity while no rule matched.
const NO_SEVERITY: u8 = 255;

impl State {
    /// Makes it that of a new transaction.
    pub(super) fn begin(&mut self, set: &RuleSet, now_micros: u64, budget: Budget) {
        self.values.clear(&set.chains, &set.prefilters);
        self.scalars.clear();
        self.scalars.resize(SCALARS.len(), EMPTY);
        self.lists.iter_mut().for_each(Vec::clear);
        (self.query_arguments, self.form_arguments, self.arguments_bytes, self.files_bytes) = (0, 0, 0, 0);
        self.tx.clear(set.tx_names.len());
        self.matched.clear();
        self.highest_severity = NO_SEVERITY;
        self.mode = set.settings.mode;
        (self.began_micros, self.now_micros) = (now_micros, now_micros);
        self.reset_probes(set);
        self.removed.clear();
        self.removed.resize(set.rules.len().div_ceil(64), 0);
        self.any_removed = false;
        self.removals.clear();
        self.allowed = None;
        self.interruption = None;
        self.record_keys = Default::default();
        let settings = &set.settings;
        self.request.begin(settings.request_body, settings.request_body_bytes_max);
        self.response.begin(settings.response_body, settings.response_body_bytes_max);
        (self.processor, self.processor_forced, self.force_request_body) = (None, false, false);
        (self.parser, self.head_error, self.fault) = (None, None, None);
        self.matches.clear();
        self.texts.clear();
        self.targets.clear();
        self.spent.begin(budget);
        for place in [scalar::MSC_PCRE_ERROR, scalar::MSC_PCRE_LIMITS_EXCEEDED, scalar::URLENCODED_ERROR] {
            self.set_scalar(place, b"0");
        }
        self.set_scalar(scalar::WEBAPPID, &settings.web_app_id);
    }

    fn reset_probes(&mut self, set: &RuleSet) {
        self.unfiltered = false;
        self.epoch = self.epoch.wrapping_add(1);
        if self.probes.len() != set.probes.len() || self.epoch == 0 {
            self.epoch = 1;
            self.probes.clear();
            self.probes.resize(set.probes.len(), ProbeState::default());
        }
        let words = set.prefilters.iter().map(Prefilter::words).max().unwrap_or(0);
        self.probe_words = words;
        self.probe_rows.resize(set.probes.len() * words, 0);
    }

    /// Says that values changed that the prefilter was asked about.
    pub(super) fn touch(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.probes.iter_mut().for_each(|probe| probe.epoch = 0);
            self.epoch = 1;
        }
    }

    pub(super) fn set_scalar(&mut self, place: u8, value: &[u8]) {
        self.scalars[usize::from(place)] = self.values.intern(value);
    }

    pub(super) fn set_flag(&mut self, place: u8, on: bool) {
        self.set_scalar(place, if on { b"1" } else { b"0" });
    }

    pub(super) fn set_number(&mut self, place: u8, number: u64) {
        let mut buffer = itoa::Buffer::new();
        self.set_scalar(place, buffer.format(number).as_bytes());
    }

    pub(super) fn list(&self, store: Store) -> &[Entry] {
        &self.lists[store as usize]
    }

    pub(super) fn add(&mut self, store: Store, name: &[u8], value: &[u8]) {
        let entry = Entry { name: self.values.intern(name), value: self.values.intern(value) };
        self.lists[store as usize].push(entry);
    }

    /// The first value in a list that is called `name`, in any case.
    pub(super) fn first(&self, store: Store, name: &[u8]) -> Option<ValueId> {
        let named = |entry: &&Entry| self.values.get(entry.name).eq_ignore_ascii_case(name);
        self.list(store).iter().find(named).map(|entry| entry.value)
    }

    pub(super) fn is_removed(&self, rule: RuleIndex) -> bool {
        self.any_removed && self.removed[rule as usize / 64] & (1 << (rule % 64)) != 0
    }

    pub(super) fn remove(&mut self, rules: &[RuleIndex]) {
        for &rule in rules {
            self.removed[rule as usize / 64] |= 1 << (rule % 64);
            self.any_removed = true;
        }
    }

    /// Bytes of memory that large requests leave in it.
    pub(super) fn memory(&self) -> usize {
        self.values.memory() + self.request.kept.capacity() + self.response.kept.capacity() + self.texts.capacity()
    }

    /// A value's bytes, where it is one.
    pub(super) fn value(&self, id: ValueId) -> &[u8] {
        if id == NONE { b"" } else { self.values.get(id) }
    }
}

impl Body {
    fn begin(&mut self, access: bool, bytes_max: usize) {
        self.kept.clear();
        let kept = std::mem::take(&mut self.kept);
        *self = Self { bytes_max, kept, access, ..Self::default() };
    }
}

impl Spent {
    fn begin(&mut self, budget: Budget) {
        self.stopped.clear();
        (self.budget, self.micros, self.bytes, self.exhausted) = (Some(budget), 0, 0, false);
    }
}
