//! Evaluation: walks the compiled form with the fields of one request. It cannot fail: what is missing is nil, and comparing
//! nil gives false.

use std::ops::ControlFlow;

use smallvec::SmallVec;

use super::{ArgumentNode, CallNode, Node, NodeKind, Source, SourceBase, Vector, VectorKind};
use crate::ast::{Chain, Literal, Quantifier, Step};
use crate::field::{Fields, load};
use crate::limits::VALUE_BYTES_MAX;
use crate::value::{Array, Value};

/// Decisions for each element; most arrays are short.
pub(crate) type Decisions = SmallVec<[bool; 16]>;

impl Node {
    /// Whether it holds.
    pub fn holds(&self, fields: &dyn Fields) -> bool {
        match &self.kind {
            NodeKind::Chain(Chain::And, parts) => parts.iter().all(|part| part.holds(fields)),
            NodeKind::Chain(Chain::Or, parts) => parts.iter().any(|part| part.holds(fields)),
            NodeKind::Chain(Chain::Xor, parts) => parts.iter().fold(false, |odd, part| odd ^ part.holds(fields)),
            NodeKind::Not(inner) => !inner.holds(fields),
            NodeKind::Truth(source) => matches!(source.value(fields), Value::Bool(true)),
            NodeKind::Test(source, check) => check.holds(&source.value(fields)),
            NodeKind::Quantified(Quantifier::Any, vector) => vector.any(fields),
            NodeKind::Quantified(Quantifier::All, vector) => vector.all(fields),
        }
    }
}

impl Vector {
    fn any(&self, fields: &dyn Fields) -> bool {
        let mut found = false;
        match &self.kind {
            VectorKind::Truth(source) => {
                source.visit(fields, &mut |value| {
                    found = matches!(value, Value::Bool(true));
                    if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                });
                found
            }
            VectorKind::Test(source, check) => {
                source.visit(fields, &mut |value| {
                    found = check.holds(&value);
                    if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                });
                found
            }
            VectorKind::Chain(..) | VectorKind::Not(_) => self.each(fields).contains(&true),
        }
    }

    fn all(&self, fields: &dyn Fields) -> bool {
        match &self.kind {
            // A missing array of Booleans is no array of which all are true; a comparison of no elements is.
            VectorKind::Truth(source) => {
                let mut good = true;
                let there = source.visit(fields, &mut |value| {
                    good = matches!(value, Value::Bool(true));
                    if good { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
                there && good
            }
            VectorKind::Test(source, check) => {
                let mut good = true;
                source.visit(fields, &mut |value| {
                    good = check.holds(&value);
                    if good { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
                good
            }
            _ => !self.each(fields).contains(&false),
        }
    }

    /// The decision for each element.
    pub fn each(&self, fields: &dyn Fields) -> Decisions {
        let mut decisions = Decisions::new();
        match &self.kind {
            VectorKind::Truth(source) => {
                source.visit(fields, &mut |value| {
                    decisions.push(matches!(value, Value::Bool(true)));
                    ControlFlow::Continue(())
                });
            }
            VectorKind::Test(source, check) => {
                source.visit(fields, &mut |value| {
                    decisions.push(check.holds(&value));
                    ControlFlow::Continue(())
                });
            }
            VectorKind::Not(inner) => {
                decisions = inner.each(fields);
                decisions.iter_mut().for_each(|decision| *decision = !*decision);
            }
            VectorKind::Chain(chain, parts) => {
                // The parser has seen to it that all parts come from the same array.
                let mut parts = parts.iter().map(|part| part.each(fields));
                decisions = parts.next().unwrap_or_default();
                for part in parts {
                    for (one, other) in decisions.iter_mut().zip(part) {
                        *one = match chain {
                            Chain::And => *one && other,
                            Chain::Or => *one || other,
                            Chain::Xor => *one ^ other,
                        };
                    }
                }
            }
        }
        decisions
    }
}

impl Source {
    /// The value; with a `[*]`, the array of what it stands for.
    pub fn value<'a>(&'a self, fields: &'a dyn Fields) -> Value<'a> {
        let value = self.base_value(fields);
        if self.steps.is_empty() {
            return value;
        }
        if !self.steps.contains(&Step::Each) {
            return self.steps.iter().fold(value, stepped);
        }
        let mut values = Vec::new();
        let _ = descend(value, &self.steps, &mut |value| {
            values.push(value);
            ControlFlow::Continue(())
        });
        Value::Array(Array::Values(values))
    }

    fn base_value<'a>(&'a self, fields: &'a dyn Fields) -> Value<'a> {
        match &self.base {
            SourceBase::Field(field) => load(fields, *field),
            SourceBase::Call(call) => call.value(fields),
        }
    }

    /// Calls `each` with every value that it stands for, until it breaks: the elements behind `[*]`, or of the array. Tells
    /// whether there is an array at all.
    pub fn visit<'a>(&'a self, fields: &'a dyn Fields, each: &mut dyn FnMut(Value<'a>) -> ControlFlow<()>) -> bool {
        let value = self.base_value(fields);
        let split = self.steps.iter().position(|step| *step == Step::Each);
        let (before, after) = split.map_or((&*self.steps, &[][..]), |at| (&self.steps[..at], &self.steps[at + 1..]));
        let _ = match before.iter().fold(value, stepped) {
            Value::Array(array) => array.visit(&mut |value| descend(value, after, each)),
            Value::Map(map) => map.entries(&mut |_, value| descend(value, after, each)),
            _ => return false,
        };
        true
    }
}

fn stepped<'a>(value: Value<'a>, step: &Step) -> Value<'a> {
    match (value, step) {
        (Value::Array(array), Step::At(index)) => array.at(*index),
        (Value::Map(map), Step::Key(key)) => map.get(key),
        _ => Value::Nil,
    }
}

/// Follows the steps, calling `each` for every end. Behind a `[*]`, an end that is missing is nil.
pub(crate) fn descend<'a>(
    value: Value<'a>,
    steps: &[Step],
    each: &mut dyn FnMut(Value<'a>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let split = steps.iter().position(|step| *step == Step::Each);
    let (before, after) = split.map_or((steps, None), |at| (&steps[..at], Some(&steps[at + 1..])));
    let value = before.iter().fold(value, stepped);
    let Some(after) = after else { return each(value) };
    match value {
        Value::Array(array) => array.visit(&mut |value| descend(value, after, each)),
        Value::Map(map) => map.entries(&mut |_, value| descend(value, after, each)),
        _ => ControlFlow::Continue(()),
    }
}

impl CallNode {
    fn value<'a>(&'a self, fields: &'a dyn Fields) -> Value<'a> {
        let rest: SmallVec<[Value<'a>; 3]> = self.rest.iter().map(|rest| rest.value(fields)).collect();
        let ArgumentNode::Source(source) = &self.first else {
            return self.builtin.apply(self.first.value(fields), &rest, fields);
        };
        if !self.each {
            return self.builtin.apply(source.value(fields), &rest, fields);
        }
        let (mut results, mut bytes) = (Vec::new(), 0);
        let there = source.visit(fields, &mut |value| {
            let result = if bytes > VALUE_BYTES_MAX {
                fields.limit_reached("value_bytes_max");
                Value::Nil
            } else {
                self.builtin.apply(value, &rest, fields)
            };
            bytes += result.as_bytes().map_or(0, <[u8]>::len);
            results.push(result);
            ControlFlow::Continue(())
        });
        if there { Value::Array(Array::Values(results)) } else { Value::Nil }
    }
}

impl ArgumentNode {
    /// The value that it stands for.
    pub fn value<'a>(&'a self, fields: &'a dyn Fields) -> Value<'a> {
        match self {
            Self::Literal(Literal::Bytes(bytes)) => Value::text(bytes),
            Self::Literal(Literal::Int(number)) => Value::Int(*number),
            Self::Literal(Literal::Ip(address)) => Value::Ip(*address),
            Self::Source(source) => source.value(fields),
            Self::Decision(node) => Value::Bool(node.holds(fields)),
        }
    }
}
