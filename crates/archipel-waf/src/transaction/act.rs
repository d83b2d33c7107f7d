//! What rules do when they match.

use crate::program::{
    Act, Change, Ctl, Disruptive, Mode, Place, Processor, Record, Rule, RuleIndex, SetVar, Store, Test, Text, Variable,
    integer, scalar,
};

use super::evaluate::{Flow, Run};
use super::state::{Content, Item, MatchedValue, Name};
use super::values::ValueId;
use super::{Action, Interruption};

/// Values that `MATCHED_VARS` may have at a time; further ones count as matches but are not listed.
pub(super) const MATCHED_VARS_MAX: usize = 4096;

/// Groups of a regex that become `TX:0` to `TX:9`.
const CAPTURES: u32 = 10;

impl Run<'_> {
    /// What each match of a link does at once: captures, `MATCHED_*`, `setvar`.
    pub(super) fn matched(&mut self, index: RuleIndex, rule: &Rule, item: &Item, value: ValueId) {
        if rule.captures && !rule.negated && matches!(rule.test, Test::Operator(_) | Test::Dynamic(..)) {
            self.keep_captures(value);
        }
        if self.state.matched.len() < MATCHED_VARS_MAX {
            let name = self.full_name(item);
            self.state.matched.push(MatchedValue { name, value });
        }
        self.set_vars(index, rule);
    }

    pub(super) fn set_vars(&mut self, index: RuleIndex, rule: &Rule) {
        for set in &rule.sets {
            self.set_var(index, set);
        }
    }

    fn keep_captures(&mut self, value: ValueId) {
        let mut buffer = std::mem::take(&mut self.state.rendered);
        for group in 0..CAPTURES {
            buffer.clear();
            let state = &mut *self.state;
            let text = state.values.get(value);
            let content = state.captures.get(group as usize, text).map(|captured| buffer.extend_from_slice(captured));
            let content = content.map(|()| Content::Value(state.values.intern(&buffer)));
            state.tx.set(group, content);
        }
        self.state.rendered = buffer;
    }

    /// `ARGS:name`, as logs and `MATCHED_VAR_NAME` have it.
    fn full_name(&mut self, item: &Item) -> ValueId {
        let mut buffer = std::mem::take(&mut self.state.rendered);
        buffer.clear();
        if item.counted {
            buffer.push(b'&');
        }
        buffer.extend_from_slice(item.variable.name().as_bytes());
        let name = match item.name {
            Name::None => match item.variable {
                Variable::List { store: Store::XmlText, .. } => Some(&b"/*"[..]),
                Variable::List { store: Store::XmlAttributes, .. } => Some(&b"//@*"[..]),
                _ => None,
            },
            Name::Value(name) => Some(self.state.values.get(name)),
            Name::Tx(number) => Some(self.set.tx_names.name(number)),
        };
        if let Some(name) = name {
            buffer.push(b':');
            buffer.extend_from_slice(name);
        }
        let id = self.state.values.intern(&buffer);
        self.state.rendered = buffer;
        id
    }

    fn set_var(&mut self, index: RuleIndex, set: &SetVar) {
        let number = |content: Option<Content>, run: &Self| content.map_or(0, |content| run.state.number(content));
        let content = match &set.change {
            Change::Unset => None,
            Change::Number(number) => Some(Content::Number(*number)),
            Change::Set(text) => {
                let mut out = std::mem::take(&mut self.state.text);
                out.clear();
                self.expand(text, index, &mut out);
                let id = self.state.values.intern(&out);
                self.state.text = out;
                Some(Content::Value(id))
            }
            Change::Add(by) => {
                let by = self.number_of(by, index);
                let before = self.read(index, &set.place);
                Some(Content::Number(number(before, self).saturating_add(by)))
            }
            Change::Subtract(by) => {
                let by = self.number_of(by, index);
                let before = self.read(index, &set.place);
                Some(Content::Number(number(before, self).saturating_sub(by)))
            }
        };
        self.write(index, &set.place, content);
    }

    /// The name of a variable that a rule puts together: in lower case, and as it is.
    fn dynamic_name(&mut self, index: RuleIndex, name: &Text) -> (ValueId, ValueId) {
        let mut out = std::mem::take(&mut self.state.text);
        out.clear();
        self.expand(name, index, &mut out);
        let own = self.state.values.intern(&out);
        out.make_ascii_lowercase();
        let lower = self.state.values.intern(&out);
        self.state.text = out;
        (lower, own)
    }

    fn read(&mut self, index: RuleIndex, place: &Place) -> Option<Content> {
        match place {
            Place::Tx(number) => self.state.tx.get(*number),
            Place::TxNamed(name) => {
                let (lower, _) = self.dynamic_name(index, name);
                match self.set.tx_names.find(self.state.values.get(lower)) {
                    Some(number) => self.state.tx.get(number),
                    None => self.state.tx.get_dynamic(lower),
                }
            }
            Place::Record(record, name) => {
                let (lower, _) = self.dynamic_name(index, name);
                let name = self.state.values.get(lower).to_vec();
                let mut found = None;
                self.each_record(*record, |run, own, value| {
                    if found.is_none() && own.eq_ignore_ascii_case(&name) {
                        found = Some(Content::Value(run.state.values.intern(value)));
                    }
                });
                found
            }
        }
    }

    fn write(&mut self, index: RuleIndex, place: &Place, content: Option<Content>) {
        match place {
            Place::Tx(number) => self.state.tx.set(*number, content),
            Place::TxNamed(name) => {
                let (lower, own) = self.dynamic_name(index, name);
                match self.set.tx_names.find(self.state.values.get(lower)) {
                    Some(number) => self.state.tx.set(number, content),
                    None => self.state.tx.set_dynamic(lower, own, content),
                }
            }
            Place::Record(record, name) => {
                let (lower, _) = self.dynamic_name(index, name);
                let content = content.map(|content| self.state.intern(content));
                let Some(key) = &self.state.record_keys[*record as usize] else { return };
                let (name, value) = (self.state.values.get(lower), content.map(|id| self.state.values.get(id)));
                self.set.records.set(*record, key, name, value, self.clock.unix_micros());
            }
        }
    }

    /// What a rule does when all of its chain matched.
    pub(super) fn acts(&mut self, index: RuleIndex, rule: &Rule) {
        for (at, act) in rule.acts.iter().enumerate() {
            match act {
                Act::Skip(rules) => self.flow = Flow::Skip(*rules),
                Act::SkipAfter(step) => self.flow = Flow::To(*step),
                Act::Init(record, key) => self.init(*record, key, index),
                Act::Expire(place, seconds) => self.expire(place, seconds, index),
                Act::Ctl(ctl) => self.ctl(ctl, index, at as u32),
            }
        }
        if let Some(disruptive) = &rule.disruptive {
            self.disrupt(index, rule, disruptive);
        }
    }

    fn init(&mut self, record: Record, key: &Text, index: RuleIndex) {
        let mut out = Vec::new();
        self.expand(key, index, &mut out);
        let place = match record {
            Record::Session => Some(scalar::SESSIONID),
            Record::User => Some(scalar::USERID),
            _ => None,
        };
        if let Some(place) = place {
            self.state.set_scalar(place, &out);
            self.state.touch();
        }
        self.state.record_keys[record as usize] = Some(out);
    }

    fn expire(&mut self, place: &Place, seconds: &Text, index: RuleIndex) {
        let mut out = Vec::new();
        self.expand(seconds, index, &mut out);
        let seconds = u64::try_from(integer(&out)).unwrap_or(0);
        // A variable of a transaction lives no longer than the transaction.
        let Place::Record(record, name) = place else { return };
        let (lower, _) = self.dynamic_name(index, name);
        let Some(key) = &self.state.record_keys[*record as usize] else { return };
        self.set.records.expire(*record, key, self.state.values.get(lower), seconds, self.clock.unix_micros());
    }

    fn ctl(&mut self, ctl: &Ctl, index: RuleIndex, act: u32) {
        let state = &mut *self.state;
        match ctl {
            Ctl::Engine(mode) => state.mode = *mode,
            Ctl::RequestBodyAccess(on) => state.request.access = *on,
            // A guess is for where nothing is known.
            Ctl::RequestBodyProcessor(Processor::Guess) if state.processor.is_some() => {}
            Ctl::RequestBodyProcessor(processor) => {
                state.processor = Some(*processor);
                state.set_scalar(scalar::REQBODY_PROCESSOR, processor.name());
                state.touch();
            }
            Ctl::ForceRequestBodyVariable(on) => state.force_request_body = *on,
            Ctl::RequestBodyBytesMax(max) => state.request.bytes_max = *max,
            Ctl::ResponseBodyAccess(on) => state.response.access = *on,
            Ctl::ResponseBodyBytesMax(max) => state.response.bytes_max = *max,
            Ctl::RemoveRules(rules) => state.remove(rules),
            Ctl::RemoveTarget(_) => state.removals.push((index, act)),
        }
    }

    fn disrupt(&mut self, index: RuleIndex, rule: &Rule, disruptive: &Disruptive) {
        let set = self.set;
        let (disruptive, status) = match disruptive {
            Disruptive::Block => {
                let (default, status) = &set.defaults[usize::from(rule.phase)];
                (default, rule.status.or(*status))
            }
            own => (own, rule.status),
        };
        let status_or = |default| status.unwrap_or(default);
        let (status, action) = match disruptive {
            Disruptive::Pass | Disruptive::Block => return,
            Disruptive::Allow(allow) => {
                if self.state.mode == Mode::On {
                    self.state.allowed = Some(*allow);
                }
                return;
            }
            Disruptive::Deny => (status_or(403), Action::Deny),
            Disruptive::Drop => (status_or(403), Action::Drop),
            Disruptive::Redirect(to) => {
                let mut out = Vec::new();
                self.expand(to, index, &mut out);
                (status.filter(|status| (301..=307).contains(status)).unwrap_or(302), Action::Redirect(out))
            }
        };
        // In the logging phase the reply is gone.
        if self.state.mode == Mode::On && rule.phase < 4 {
            self.state.interruption = Some(Interruption { rule: Some(rule.id), status, action });
        }
    }
}
