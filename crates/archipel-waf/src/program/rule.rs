//! Rules as they are evaluated.

use std::sync::Arc;

use regex_automata::meta::Regex;

use super::Mode;
use crate::prefilter::Side;

use super::chain::Node;
use super::text::Text;
use super::variable::{Record, Variable};

/// Place of a rule in the program; the links of a chain follow their starter.
pub(crate) type RuleIndex = u32;

/// Place of an operator among the distinct ones of a rule set.
pub(crate) type OperatorIndex = u32;

/// A rule, or one link of a chain.
#[derive(Debug)]
pub(crate) struct Rule {
    pub id: u64,
    /// 0 to 4.
    pub phase: u8,
    pub test: Test,
    pub negated: bool,
    pub targets: Box<[Target]>,
    /// Where it is enough to ask whether any value can match: a (target, node) pair for each target.
    pub probes: Option<Box<[u32]>>,
    /// Which prefilter judges it.
    pub side: Side,
    pub node: Node,
    /// For `multiMatch`: the nodes whose values are tested as well, in order, [`Rule::node`] being the last.
    pub steps: Option<Box<[Node]>>,
    pub captures: bool,
    pub sets: Box<[SetVar]>,
    pub acts: Box<[Act]>,
    pub disruptive: Option<Disruptive>,
    pub status: Option<u16>,
    pub logged: bool,
    pub about: Option<Box<About>>,
    /// Whether the next rule is the next link of its chain.
    pub chained: bool,
    /// The first rule of its chain.
    pub starter: RuleIndex,
    /// Whether its targets are only what rules set themselves: it stays on when the budget is used up.
    pub cheap: bool,
}

/// What a rule says of itself.
#[derive(Debug, Default)]
pub(crate) struct About {
    pub msg: Option<Text>,
    pub logdata: Option<Text>,
    pub severity: Option<u8>,
    pub rev: Option<Box<[u8]>>,
    pub tags: Box<[Box<[u8]>]>,
    pub file: Option<Arc<str>>,
    pub line: u32,
}

/// What decides whether a value matches.
#[derive(Debug)]
pub(crate) enum Test {
    Always,
    Never,
    /// Both sides are numbers.
    Number(Comparison, Number),
    Operator(OperatorIndex),
    /// The argument has macros.
    Dynamic(crate::operator::Kind, Text),
}

/// How numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "eq" => Self::Equal,
            "lt" => Self::Less,
            "le" => Self::LessOrEqual,
            "gt" => Self::Greater,
            "ge" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    pub(crate) fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// A number, or a text that is one when it is expanded.
#[derive(Debug)]
pub(crate) enum Number {
    Constant(i64),
    Text(Text),
}

/// One element of a target list, with the exclusions that apply to it.
#[derive(Debug)]
pub(crate) struct Target {
    pub variable: Variable,
    pub pick: Pick,
    pub counted: bool,
    pub excluded: Box<[Key]>,
}

/// Which elements of a collection.
#[derive(Debug, Clone)]
pub(crate) enum Pick {
    All,
    Name(Box<[u8]>),
    Tx(u32),
    Regex(Box<KeyRegex>),
}

/// A regex for names.
#[derive(Debug, Clone)]
pub(crate) struct KeyRegex {
    pub regex: Regex,
    /// The numbered `TX` names that it finds, which are known beforehand.
    pub tx: Box<[u32]>,
    pub source: Box<[u8]>,
}

/// A name, or a regex for names.
#[derive(Debug, Clone)]
pub(crate) enum Key {
    Name(Box<[u8]>),
    Regex(Regex),
}

impl Key {
    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Name(own) => own.eq_ignore_ascii_case(name),
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

/// Where `setvar` and `expirevar` write.
#[derive(Debug)]
pub(crate) enum Place {
    Tx(u32),
    TxNamed(Text),
    Record(Record, Text),
}

/// `setvar`.
#[derive(Debug)]
pub(crate) struct SetVar {
    pub place: Place,
    pub change: Change,
}

#[derive(Debug)]
pub(crate) enum Change {
    Unset,
    Number(i64),
    Set(Text),
    Add(Number),
    Subtract(Number),
}

/// What happens when a rule (with the rest of its chain) matched, in this order.
#[derive(Debug)]
pub(crate) enum Act {
    Skip(u32),
    /// To the marker's place among the steps of the phase.
    SkipAfter(u32),
    Init(Record, Text),
    Expire(Place, Text),
    Ctl(Ctl),
}

#[derive(Debug)]
pub(crate) enum Ctl {
    Engine(Mode),
    RequestBodyAccess(bool),
    RequestBodyProcessor(Processor),
    ForceRequestBodyVariable(bool),
    RequestBodyBytesMax(usize),
    ResponseBodyAccess(bool),
    ResponseBodyBytesMax(usize),
    RemoveRules(Box<[RuleIndex]>),
    RemoveTarget(Box<Removal>),
}

/// `ctl:ruleRemoveTargetBy...`.
#[derive(Debug)]
pub(crate) struct Removal {
    /// Ascending.
    pub rules: Box<[RuleIndex]>,
    pub variable: Variable,
    /// `None`: all of it.
    pub key: Option<Key>,
}

/// Body processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Processor {
    Urlencoded,
    Multipart,
    Json,
    Xml,
    /// None that a type names: what the body looks like. Archipel's own (`GUESS`).
    Guess,
}

impl Processor {
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_slice() {
            b"URLENCODED" => Self::Urlencoded,
            b"MULTIPART" => Self::Multipart,
            b"JSON" => Self::Json,
            b"XML" => Self::Xml,
            b"GUESS" => Self::Guess,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static [u8] {
        match self {
            Self::Urlencoded => b"URLENCODED",
            Self::Multipart => b"MULTIPART",
            Self::Json => b"JSON",
            Self::Xml => b"XML",
            // For rules it is none.
            Self::Guess => b"",
        }
    }
}

/// What ends a transaction, or a part of it.
#[derive(Debug, Clone)]
pub(crate) enum Disruptive {
    Pass,
    Deny,
    Drop,
    Redirect(Text),
    Allow(Allow),
    /// As `SecDefaultAction` has it for the phase.
    Block,
}

/// For how long `allow` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Allow {
    Phase,
    Request,
    All,
}

impl Rule {
    /// Bytes that it holds on the heap, regexes apart.
    pub(crate) fn bytes(&self) -> usize {
        let about = self.about.as_ref().map_or(0, |about| {
            let texts = about.msg.iter().chain(&about.logdata).map(Text::bytes).sum::<usize>();
            texts + size_of::<About>() + about.tags.iter().map(|tag| tag.len() + size_of::<Box<[u8]>>()).sum::<usize>()
        });
        about
            + self.targets.len() * size_of::<Target>()
            + self.sets.len() * size_of::<SetVar>()
            + self.acts.len() * size_of::<Act>()
    }
}
