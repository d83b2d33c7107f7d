//! The loop over the rules of a phase.

use crate::operator;
use crate::program::{Mode, Node, Pick, Rule, RuleIndex, RuleSet, Target, Test, Variable};

use super::Clock;
use super::state::{Content, Item, Name, State};
use super::values::ValueId;

/// Bytes that operators look at between two looks at the clock.
const CLOCK_BYTES: u64 = 32 << 10;

/// What one element of a rule's targets counts as where its operator need not look at it: it costs its time, too.
const ITEM_BYTES: u64 = 16;

/// Where evaluation goes on after a rule that matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Skip(u32),
    To(u32),
}

/// A phase that is evaluated.
pub(super) struct Run<'a> {
    pub set: &'a RuleSet,
    pub state: &'a mut State,
    pub clock: &'a dyn Clock,
    pub flow: Flow,
    /// Bytes looked at since the clock was.
    pub pending: u64,
    /// Microseconds of the rule that is evaluated.
    rule_micros: u64,
    /// Values that its first link found, and where those of its last link begin.
    pub found_first: usize,
    pub found_last: usize,
}

impl<'a> Run<'a> {
    pub(super) fn new(set: &'a RuleSet, state: &'a mut State, clock: &'a dyn Clock) -> Self {
        Self { set, state, clock, flow: Flow::Next, pending: 0, rule_micros: 0, found_first: 0, found_last: 0 }
    }

    /// Evaluates the rules of a phase.
    pub(super) fn phase(&mut self, phase: u8) {
        self.state.now_micros = self.clock.unix_micros();
        let set = self.set;
        let steps = &set.phases[usize::from(phase)];
        let mut at = 0;
        while let Some(&index) = steps.get(at) {
            at += 1;
            if self.state.is_removed(index) || !self.rule(index, &set.rules[index as usize]) {
                continue;
            }
            match std::mem::replace(&mut self.flow, Flow::Next) {
                Flow::Next => {}
                Flow::Skip(rules) => at += rules as usize,
                Flow::To(step) => at = at.max(step as usize),
            }
            let ended = self.state.interruption.is_some() && phase != 4;
            if ended || self.state.allowed.is_some() || self.state.mode == Mode::Off {
                break;
            }
        }
        self.look_at_clock();
    }

    fn rule(&mut self, index: RuleIndex, rule: &Rule) -> bool {
        if !self.may_match(rule) || (self.state.spent.exhausted && !rule.cheap) {
            return false;
        }
        self.state.matched.clear();
        self.rule_micros = 0;
        if !self.link(index, rule) {
            return false;
        }
        self.record(index, rule);
        true
    }

    /// A rule, or a link, with what follows it in its chain.
    fn link(&mut self, index: RuleIndex, rule: &Rule) -> bool {
        self.found_last = self.state.matched.len();
        let matched = if rule.targets.is_empty() {
            self.set_vars(index, rule);
            true
        } else {
            self.targets(index, rule)
        };
        if !matched {
            return false;
        }
        if rule.starter == index {
            self.found_first = self.state.matched.len();
        }
        if rule.chained {
            let next = index + 1;
            let set = self.set;
            if !self.link(next, &set.rules[next as usize]) {
                return false;
            }
        }
        self.acts(index, rule);
        true
    }

    /// Whether the prefilter leaves a rule anything to do.
    fn may_match(&mut self, rule: &Rule) -> bool {
        let (Some(probes), Test::Operator(operator)) = (&rule.probes, &rule.test) else { return true };
        if self.state.unfiltered {
            return true;
        }
        let Some(bit) = self.set.prefilter(rule.side).bit(*operator) else { return true };
        let (word, mask) = (bit as usize / 64, 1 << (bit % 64));
        let words = self.state.probe_words;
        probes.iter().any(|&probe| self.ask(probe) && self.state.probe_rows[probe as usize * words + word] & mask != 0)
    }

    /// Asks the prefilter about all values of a probe, once an epoch; whether anything may match.
    #[inline]
    fn ask(&mut self, probe: u32) -> bool {
        let known = self.state.probes[probe as usize];
        if known.epoch == self.state.epoch { known.any } else { self.ask_anew(probe) }
    }

    fn ask_anew(&mut self, probe: u32) -> bool {
        let set = self.set;
        let asked = &set.probes[probe as usize];
        let words = self.state.probe_words;
        let row = probe as usize * words..(probe as usize + 1) * words;
        let mut items = std::mem::take(&mut self.state.items);
        items.clear();
        self.collect((asked.variable, &asked.pick, &[]), 0, &mut items);
        let state = &mut *self.state;
        let mut any = false;
        for item in &items {
            let value = state.intern(item.content);
            let value = state.values.at(&set.chains, value, asked.node);
            self.pending += ITEM_BYTES;
            for (at, word) in state.values.hits(set, asked.side, value).iter().enumerate() {
                let own = &mut state.probe_rows[row.start + at];
                *own = if any { *own | word } else { *word };
            }
            any = true;
        }
        let any = any
            && state.probe_rows[row.start..row.start + set.prefilter(asked.side).words()].iter().any(|word| *word != 0);
        state.probes[probe as usize] = super::state::ProbeState { epoch: state.epoch, any };
        state.items = items;
        any
    }

    /// All targets of a rule; whether any value matched.
    fn targets(&mut self, index: RuleIndex, rule: &Rule) -> bool {
        if let [Target { variable: Variable::Tx, pick: Pick::Tx(number), counted, .. }] = &*rule.targets
            && let Test::Number(comparison, right) = &rule.test
            && (rule.node == 0 && rule.steps.is_none())
        {
            // What most rules that steer others are: it pays to go straight.
            let content = self.state.tx.get(*number);
            let content = if *counted { Some(Content::Number(i64::from(content.is_some()))) } else { content };
            let Some(content) = content else { return false };
            let right = self.number_of(right, index);
            let holds = comparison.holds(self.state.number(content), right) != rule.negated;
            if holds {
                let item = Item { variable: Variable::Tx, name: Name::Tx(*number), content, counted: *counted };
                let value = self.state.intern(content);
                self.matched(index, rule, &item, value);
            }
            return holds;
        }
        let mut any = false;
        self.state.missed.clear();
        let mut items = std::mem::take(&mut self.state.items);
        for target in &rule.targets {
            items.clear();
            self.collect((target.variable, &target.pick, &target.excluded), index, &mut items);
            if rule.starter == index && !self.state.removals.is_empty() {
                self.take_out(index, &mut items);
            }
            if target.counted {
                let content = Content::Number(items.len() as i64);
                items.clear();
                let name = match &target.pick {
                    Pick::Name(name) => Name::Value(self.state.values.intern(name)),
                    Pick::Tx(number) => Name::Tx(*number),
                    Pick::All | Pick::Regex(_) => Name::None,
                };
                items.push(Item { variable: target.variable, name, content, counted: true });
            }
            for item in &items {
                self.pending += ITEM_BYTES;
                any |= self.item(index, rule, item);
                if self.is_over_budget(rule) {
                    self.state.items = items;
                    return any;
                }
            }
        }
        self.state.items = items;
        any
    }

    /// Takes out what `ctl:ruleRemoveTarget...` said.
    fn take_out(&mut self, index: RuleIndex, items: &mut Vec<Item>) {
        let set = self.set;
        for &(rule, act) in &self.state.removals {
            let crate::program::Act::Ctl(crate::program::Ctl::RemoveTarget(removal)) =
                &set.rules[rule as usize].acts[act as usize]
            else {
                continue;
            };
            if removal.rules.binary_search(&index).is_err() {
                continue;
            }
            items.retain(|item| {
                item.variable != removal.variable
                    || removal.key.as_ref().is_some_and(|key| match item.name {
                        Name::Value(name) => !key.matches(self.state.values.get(name)),
                        Name::Tx(number) => !key.matches(set.tx_names.name(number)),
                        Name::None => true,
                    })
            });
        }
    }

    /// One value, through all steps of `multiMatch` where there are.
    fn item(&mut self, index: RuleIndex, rule: &Rule, item: &Item) -> bool {
        let Some(steps) = &rule.steps else { return self.at_node(index, rule, item, rule.node, None).0 };
        let (mut any, mut before) = (false, None);
        for &node in steps {
            let (matched, value) = self.at_node(index, rule, item, node, before);
            any |= matched;
            before = Some(value);
        }
        any
    }

    /// One value at one node, unless it is the one that was there `before`.
    fn at_node(
        &mut self,
        index: RuleIndex,
        rule: &Rule,
        item: &Item,
        node: Node,
        before: Option<ValueId>,
    ) -> (bool, ValueId) {
        if let (Content::Number(left), Test::Number(comparison, right), 0, None) =
            (item.content, &rule.test, node, &rule.steps)
        {
            let right = self.number_of(right, index);
            let holds = comparison.holds(left, right) != rule.negated;
            let value = if holds { self.state.intern(item.content) } else { 0 };
            if holds {
                self.matched(index, rule, item, value);
            }
            return (holds, value);
        }
        let value = self.state.intern(item.content);
        let value = self.state.values.at(&self.set.chains, value, node);
        if before == Some(value) {
            return (false, value);
        }
        let holds = self.test(index, rule, value) != rule.negated;
        if holds {
            self.matched(index, rule, item, value);
        }
        (holds, value)
    }

    /// Whether the operator, not negated, matches a value.
    fn test(&mut self, index: RuleIndex, rule: &Rule, value: ValueId) -> bool {
        match &rule.test {
            Test::Always => true,
            Test::Never => false,
            Test::Number(comparison, right) => {
                let right = self.number_of(right, index);
                comparison.holds(self.state.number(Content::Value(value)), right)
            }
            Test::Operator(operator) => {
                let set = self.set;
                let state = &mut *self.state;
                if rule.probes.is_some()
                    && !state.unfiltered
                    && let Some(bit) = set.prefilter(rule.side).bit(*operator)
                    && state.values.hits(set, rule.side, value)[bit as usize / 64] & (1 << (bit % 64)) == 0
                {
                    return false;
                }
                self.pending += 1;
                if state.missed.has(value) {
                    return false;
                }
                let text = state.values.get(value);
                self.pending += text.len() as u64;
                let captures = rule.captures.then_some(&mut state.captures);
                let matched = set.operators[*operator as usize].matches(text, captures);
                if !matched {
                    state.missed.note(value);
                }
                matched
            }
            Test::Dynamic(kind, argument) => {
                let mut out = std::mem::take(&mut self.state.text);
                out.clear();
                self.expand(argument, index, &mut out);
                let set = self.set;
                let state = &mut *self.state;
                let text = state.values.get(value);
                self.pending += (1 + text.len() + out.len()) as u64;
                let captures = rule.captures.then_some(&mut state.captures);
                // A regex that does not compile matches nothing, as in ModSecurity.
                let matched = operator::evaluate(*kind, &out, text)
                    .unwrap_or_else(|| set.expressions.matches(&out, text, captures).unwrap_or(false));
                self.state.text = out;
                matched
            }
        }
    }

    /// Whether the rule, or all of the transaction, is over its budget; counts and reports it.
    #[inline]
    fn is_over_budget(&mut self, rule: &Rule) -> bool {
        self.pending >= CLOCK_BYTES && self.measure(rule)
    }

    fn measure(&mut self, rule: &Rule) -> bool {
        self.rule_micros += self.look_at_clock();
        let Some(budget) = self.state.spent.budget else { return false };
        let (kept, transformed) = self.state.values.costs();
        let spent = &mut self.state.spent;
        spent.exhausted |= spent.micros > budget.micros_max
            || spent.bytes + transformed > budget.bytes_max
            || kept > budget.value_bytes_max;
        if !spent.exhausted && self.rule_micros <= budget.rule_micros_max {
            return false;
        }
        match spent.stopped.iter_mut().find(|(id, _)| *id == rule.id) {
            Some((_, times)) => *times += 1,
            None => spent.stopped.push((rule.id, 1)),
        }
        true
    }

    /// Adds to what was spent; returns the microseconds since the last time.
    fn look_at_clock(&mut self) -> u64 {
        let now = self.clock.unix_micros();
        let micros = now.saturating_sub(self.state.now_micros);
        self.state.now_micros = now;
        self.state.spent.micros += micros;
        self.state.spent.bytes += std::mem::take(&mut self.pending);
        micros
    }
}
