//! Macros.

use crate::program::{Number, Piece, Reference, RuleIndex, Text, Variable, integer};

use super::evaluate::Run;
use super::state::Content;

/// Bytes that one text may have when its macros are expanded; the rest is cut off.
pub(super) const EXPANDED_BYTES_MAX: usize = 64 << 10;

impl Run<'_> {
    /// Appends `text` with its macros expanded to `out`.
    pub(super) fn expand(&mut self, text: &Text, rule: RuleIndex, out: &mut Vec<u8>) {
        let from = out.len();
        self.expand_pieces(text, rule, out);
        out.truncate(from + EXPANDED_BYTES_MAX);
        self.pending += (out.len() - from) as u64;
    }

    fn expand_pieces(&mut self, text: &Text, rule: RuleIndex, out: &mut Vec<u8>) {
        let from = out.len();
        for piece in &text.pieces {
            match piece {
                Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                Piece::Macro(reference) => match self.resolve(reference, rule) {
                    Some(Content::Value(id)) => out.extend_from_slice(self.state.values.get(id)),
                    Some(Content::Number(number)) => {
                        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
                    }
                    None => {}
                },
            }
            if out.len() - from > EXPANDED_BYTES_MAX {
                return;
            }
        }
    }

    /// The first value of what a macro names.
    pub(super) fn resolve(&mut self, reference: &Reference, rule: RuleIndex) -> Option<Content> {
        match reference {
            Reference::Tx(number) => self.state.tx.get(*number),
            Reference::Variable(variable) => self.first(*variable, rule),
            Reference::Element(Variable::List { store, names, origin }, name) => {
                let state = &*self.state;
                let mut entries = state.entries(*store, *origin).iter();
                let found = entries.find(|entry| state.values.get(entry.name).eq_ignore_ascii_case(name))?;
                Some(Content::Value(if *names { found.name } else { found.value }))
            }
            Reference::Element(Variable::Record(record), name) => {
                let mut first = None;
                self.each_record(*record, |run, own, value| {
                    if first.is_none() && own.eq_ignore_ascii_case(name) {
                        first = Some(Content::Value(run.state.values.intern(value)));
                    }
                });
                first
            }
            Reference::Element(Variable::MatchedVars | Variable::MatchedVarsNames, name) => {
                let state = &*self.state;
                let found = state.matched.iter().find(|m| state.values.get(m.name).eq_ignore_ascii_case(name))?;
                Some(Content::Value(found.value))
            }
            Reference::Element(..) => None,
        }
    }

    fn first(&mut self, variable: Variable, rule: RuleIndex) -> Option<Content> {
        match variable {
            Variable::List { store, names, origin } => {
                let entry = self.state.entries(store, origin).first()?;
                Some(Content::Value(if names { entry.name } else { entry.value }))
            }
            Variable::Tx => self.state.tx.numbered().next().map(|(_, content)| content),
            Variable::MatchedVars => self.single(Variable::MatchedVar, rule),
            Variable::MatchedVarsNames => self.single(Variable::MatchedVarName, rule),
            Variable::Record(_) => None,
            _ => self.single(variable, rule),
        }
    }

    /// What a numeric argument comes to.
    pub(super) fn number_of(&mut self, number: &Number, rule: RuleIndex) -> i64 {
        let text = match number {
            Number::Constant(number) => return *number,
            Number::Text(text) => text,
        };
        if let Some(reference) = text.single() {
            return self.resolve(reference, rule).map_or(0, |content| self.state.number(content));
        }
        let mut out = std::mem::take(&mut self.state.text);
        out.clear();
        self.expand(text, rule, &mut out);
        let number = integer(&out);
        self.state.text = out;
        number
    }
}
