//! The typed syntax tree: what the parser makes once every name, type and argument is right. Each node knows its place in the
//! text. Knows nothing about how it is evaluated.

use std::net::IpAddr;
use std::ops::Range;

use crate::field::Field;
use crate::functions::Function;
use crate::regexes::Regex;
use crate::sets::{AddressSet, IntSet};
use crate::value::Type;
use crate::wildcard::Wildcard;

/// A range of bytes of the expression's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// Texts are far shorter than 4 GiB.
    pub fn new(start: usize, end: usize) -> Self {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: place(start), end: place(end) }
    }

    pub fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end }
    }
}

impl From<Span> for Range<usize> {
    fn from(span: Span) -> Self {
        span.start as usize..span.end as usize
    }
}

/// A Boolean, or an array of them where `each` is set (inside of `any()` and `all()`).
#[derive(Clone, Debug)]
pub(crate) struct Logic {
    pub kind: LogicKind,
    pub span: Span,
    pub each: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum LogicKind {
    /// Two or more parts in a row with the same operator.
    Chain(Chain, Vec<Logic>),
    Not(Box<Logic>),
    /// A Boolean value as it stands.
    Truth(Operand),
    Compare(Operand, Test),
    Quantified(Quantifier, Box<Logic>),
}

/// What joins the parts of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Chain {
    Or,
    Xor,
    And,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    Any,
    All,
}

/// A field or a call, and the index steps behind it.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub base: Base,
    pub steps: Vec<Step>,
    /// Type of what is compared: of each element where there is a `[*]`.
    pub kind: Type,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum Base {
    Field(Field),
    Call(Box<Call>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    At(usize),
    Key(Box<[u8]>),
    Each,
}

impl Operand {
    /// Whether it stands for many values.
    pub fn each(&self) -> bool {
        self.steps.contains(&Step::Each)
    }
}

/// A call of a function. With a `[*]` in its first argument it is done once for each element, and gives an array.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub function: Function,
    pub arguments: Vec<Argument>,
    pub each: bool,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Argument {
    pub kind: ArgumentKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum ArgumentKind {
    Literal(Literal),
    Operand(Operand),
    Logic(Logic),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Literal {
    Int(i64),
    Bytes(Box<[u8]>),
    Ip(IpAddr),
}

impl Literal {
    pub fn kind(&self) -> Type {
        match self {
            Self::Int(_) => Type::Int,
            Self::Bytes(_) => Type::Bytes,
            Self::Ip(_) => Type::Ip,
        }
    }
}

/// `eq`, `ne`, `lt`, `le`, `gt`, `ge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Comparison {
    pub fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Eq => ordering.is_eq(),
            Self::Ne => ordering.is_ne(),
            Self::Lt => ordering.is_lt(),
            Self::Le => ordering.is_le(),
            Self::Gt => ordering.is_gt(),
            Self::Ge => ordering.is_ge(),
        }
    }
}

/// An operator and what stands on its right.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    Compare(Comparison, Literal),
    Contains(Box<[u8]>),
    Matches(Regex),
    Wildcard(Box<Wildcard>),
    InInts(IntSet),
    InAddresses(AddressSet),
    InTexts(Vec<Box<[u8]>>),
    InList { name: Box<str>, span: Span },
}
