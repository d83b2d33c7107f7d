//! The compiled form: a tree of few kinds of nodes in which everything that does not depend on the request is worked out
//! (searchers, automata, sets, lists). Evaluating it neither allocates nor copies, unless a function makes a new text.

mod compile;
mod eval;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use memchr::memmem;

use crate::ast::{Chain, Comparison, Literal, Quantifier, Span, Step};
use crate::builtins::Builtin;
use crate::field::Field;
use crate::list::List;
use crate::regexes::Regex;
use crate::sets::{AddressSet, IntSet};
use crate::value::Value;
use crate::wildcard::Wildcard;

pub(crate) use compile::{argument, decision};
pub(crate) use eval::descend;

/// A decision.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub kind: NodeKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum NodeKind {
    Chain(Chain, Box<[Node]>),
    Not(Box<Node>),
    Truth(Source),
    Test(Source, Check),
    Quantified(Quantifier, Box<Vector>),
}

/// Decisions for each element of an array.
#[derive(Clone, Debug)]
pub(crate) struct Vector {
    pub kind: VectorKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum VectorKind {
    Chain(Chain, Box<[Vector]>),
    Not(Box<Vector>),
    Truth(Source),
    Test(Source, Check),
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub base: SourceBase,
    pub steps: Box<[Step]>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum SourceBase {
    Field(Field),
    Call(Box<CallNode>),
}

/// A call whose literal arguments are part of the builtin.
#[derive(Clone, Debug)]
pub(crate) struct CallNode {
    pub builtin: Builtin,
    /// The first argument, which `[*]` may make many.
    pub first: ArgumentNode,
    pub rest: Box<[ArgumentNode]>,
    pub each: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum ArgumentNode {
    Literal(Literal),
    Source(Source),
    Decision(Node),
}

/// What a value is compared with.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    Bytes(Comparison, Box<[u8]>),
    Int(Comparison, i64),
    /// Whether it is the address (or, with `false`, whether it is another).
    Ip(bool, IpAddr),
    Contains(Box<memmem::Finder<'static>>),
    Matches(Regex),
    Wildcard(Box<Wildcard>),
    InInts(IntSet),
    InAddresses(AddressSet),
    InTexts(Arc<HashSet<Box<[u8]>>>),
    InList(Arc<List>),
}

impl Check {
    /// Whether the value passes; nil, and a value of another type, never does.
    #[inline]
    pub fn holds(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Bytes(Comparison::Eq, literal), Value::Bytes(bytes)) => **bytes == **literal,
            (Self::Bytes(comparison, literal), Value::Bytes(bytes)) => comparison.holds((**bytes).cmp(literal)),
            (Self::Int(comparison, literal), Value::Int(number)) => comparison.holds(number.cmp(literal)),
            (Self::Ip(same, literal), Value::Ip(address)) => (address.to_canonical() == *literal) == *same,
            (Self::Contains(finder), Value::Bytes(bytes)) => finder.find(bytes).is_some(),
            (Self::Matches(regex), Value::Bytes(bytes)) => regex.is_match(bytes),
            (Self::Wildcard(wildcard), Value::Bytes(bytes)) => wildcard.matches(bytes),
            (Self::InInts(set), Value::Int(number)) => set.contains(*number),
            (Self::InAddresses(set), Value::Ip(address)) => set.contains(*address),
            (Self::InTexts(set), Value::Bytes(bytes)) => set.contains(&**bytes),
            (Self::InList(list), value) => list.contains(value),
            _ => false,
        }
    }
}
