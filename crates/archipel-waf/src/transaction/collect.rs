//! From a rule's targets to the values that they name at this moment.

use crate::program::{Key, Origin, Pick, RuleField, RuleIndex, Store, TimePart, Variable};

use super::evaluate::Run;
use super::state::{Content, Entry, Item, Name, State};
use super::time::Civil;
use super::values::{EMPTY, ValueId};

impl State {
    /// The entries of a list that came from `origin`.
    pub(super) fn entries(&self, store: Store, origin: Origin) -> &[Entry] {
        let all = self.list(store);
        match origin {
            Origin::Any => all,
            Origin::Query => &all[..self.query_arguments.min(all.len())],
            Origin::Body => {
                &all[self.query_arguments.min(all.len())..self.form_arguments.clamp(self.query_arguments, all.len())]
            }
        }
    }

    /// Whether `pick` means the element called `name`.
    fn picks(&self, pick: &Pick, name: ValueId) -> bool {
        match pick {
            Pick::All => true,
            Pick::Name(own) => own.eq_ignore_ascii_case(self.values.get(name)),
            Pick::Regex(regex) => regex.regex.is_match(self.values.get(name)),
            Pick::Tx(_) => false,
        }
    }

    fn is_excluded(&self, excluded: &[Key], name: ValueId) -> bool {
        !excluded.is_empty() && excluded.iter().any(|key| key.matches(self.values.get(name)))
    }
}

impl Run<'_> {
    /// Adds to `items` what `variable` stands for.
    pub(super) fn collect(
        &mut self,
        (variable, pick, excluded): (Variable, &Pick, &[Key]),
        rule: RuleIndex,
        items: &mut Vec<Item>,
    ) {
        let item = |name, content| Item { variable, name, content, counted: false };
        match variable {
            Variable::List { store, names, origin } => {
                let unnamed = matches!(store, Store::XmlText | Store::XmlAttributes);
                let state = &*self.state;
                for entry in state.entries(store, origin) {
                    if state.picks(pick, entry.name) && !state.is_excluded(excluded, entry.name) {
                        let name = if unnamed { Name::None } else { Name::Value(entry.name) };
                        let value = if names { entry.name } else { entry.value };
                        items.push(item(name, Content::Value(value)));
                    }
                }
            }
            Variable::Scalar(place) => {
                items.push(item(Name::None, Content::Value(self.state.scalars[usize::from(place)])));
            }
            Variable::Tx => self.collect_tx(pick, excluded, items),
            Variable::MatchedVars | Variable::MatchedVarsNames => {
                let state = &*self.state;
                for matched in &state.matched {
                    if state.picks(pick, matched.name) && !state.is_excluded(excluded, matched.name) {
                        let names = variable == Variable::MatchedVarsNames;
                        let value = if names { matched.name } else { matched.value };
                        items.push(item(Name::Value(matched.name), Content::Value(value)));
                    }
                }
            }
            Variable::Record(record) => self.each_record(record, |run, name, value| {
                let content = Content::Value(run.state.values.intern(value));
                let name = run.state.values.intern(name);
                if run.state.picks(pick, name) && !run.state.is_excluded(excluded, name) {
                    items.push(item(Name::Value(name), content));
                }
            }),
            _ => items.extend(self.single(variable, rule).map(|content| item(Name::None, content))),
        }
    }

    fn collect_tx(&mut self, pick: &Pick, excluded: &[Key], items: &mut Vec<Item>) {
        let set = self.set;
        let state = &*self.state;
        let allowed = |number| !excluded.iter().any(|key: &Key| key.matches(set.tx_names.name(number)));
        let mut push = |name, content| items.push(Item { variable: Variable::Tx, name, content, counted: false });
        match pick {
            Pick::Tx(number) => {
                if let Some(content) = state.tx.get(*number) {
                    push(Name::Tx(*number), content);
                }
                return;
            }
            Pick::All => {
                for (number, content) in state.tx.numbered().filter(|(number, _)| allowed(*number)) {
                    push(Name::Tx(number), content);
                }
            }
            Pick::Regex(regex) => {
                for &number in regex.tx.iter().filter(|number| allowed(**number)) {
                    if let Some(content) = state.tx.get(number) {
                        push(Name::Tx(number), content);
                    }
                }
            }
            Pick::Name(_) => {}
        }
        for dynamic in state.tx.dynamic() {
            if let Some(content) = dynamic.content
                && state.picks(pick, dynamic.name)
                && !state.is_excluded(excluded, dynamic.name)
            {
                push(Name::Value(dynamic.name), content);
            }
        }
    }

    /// The value of a variable that has one. It is there, and perhaps empty.
    pub(super) fn single(&mut self, variable: Variable, rule: RuleIndex) -> Option<Content> {
        let state = &*self.state;
        let value = |id| Some(Content::Value(id));
        match variable {
            Variable::Scalar(place) => value(state.scalars[usize::from(place)]),
            Variable::MatchedVar => value(state.matched.last().map_or(EMPTY, |matched| matched.value)),
            Variable::MatchedVarName => value(state.matched.last().map_or(EMPTY, |matched| matched.name)),
            Variable::HighestSeverity => Some(Content::Number(i64::from(state.highest_severity))),
            Variable::Rule(field) => self.rule_field(field?, rule),
            Variable::Duration => {
                let now = self.clock.unix_micros();
                Some(Content::Number(now.saturating_sub(self.state.began_micros) as i64))
            }
            Variable::Time(part) => Some(self.time(part)),
            _ => None,
        }
    }

    fn rule_field(&mut self, field: RuleField, index: RuleIndex) -> Option<Content> {
        let rule = &self.set.rules[index as usize];
        let starter = &self.set.rules[rule.starter as usize];
        let about = rule.about.as_deref()?;
        let above = starter.about.as_deref()?;
        let text = match field {
            RuleField::Id => return Some(Content::Number(rule.id as i64)),
            RuleField::Severity => {
                return about.severity.or(above.severity).map(|severity| Content::Number(i64::from(severity)));
            }
            RuleField::Rev => {
                let rev = about.rev.as_deref().or(above.rev.as_deref())?;
                return Some(Content::Value(self.state.values.intern(rev)));
            }
            RuleField::LogData => about.logdata.as_ref().or(above.logdata.as_ref())?,
            RuleField::Msg => about.msg.as_ref().or(above.msg.as_ref())?,
        };
        // A text that names itself would have no end: what it has of macros is left out.
        let mut bytes = Vec::new();
        for piece in &text.pieces {
            if let crate::program::Piece::Bytes(piece) = piece {
                bytes.extend_from_slice(piece);
            }
        }
        Some(Content::Value(self.state.values.intern(&bytes)))
    }

    fn time(&mut self, part: TimePart) -> Content {
        let seconds = self.clock.unix_micros() / 1_000_000;
        let civil = Civil::from_unix_seconds(seconds);
        Content::Number(match part {
            TimePart::Clock => {
                let text = format!("{:02}:{:02}:{:02}", civil.hour, civil.minute, civil.second);
                return Content::Value(self.state.values.intern(text.as_bytes()));
            }
            TimePart::Day => civil.day,
            TimePart::Epoch => seconds as i64,
            TimePart::Hour => civil.hour,
            TimePart::Minute => civil.minute,
            TimePart::Month => civil.month - 1,
            TimePart::Second => civil.second,
            TimePart::Weekday => civil.weekday,
            TimePart::Year => civil.year,
        })
    }
}
