//! What can match at all: literals of all operators, looked for in one pass over a value, and the bytes that occur in it.
//!
//! It is sound: an operator that it rules out does not match. That rests on [`Requirement`], which says what every match of
//! an operator contains; a value without it cannot match. It is an optimisation and nothing else: a transaction with it switched
//! off decides the same.

mod scan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use aho_corasick::automaton::Automaton as _;
use aho_corasick::nfa::{contiguous, noncontiguous};
use aho_corasick::{MatchKind, dfa};

use crate::byte_set::ByteSet;
use crate::operator::{Operator, Requirement};

pub(crate) use scan::Hits;

/// Longest literal that is looked for: what is longer is cut, which keeps the automaton small and rules out hardly less.
const LITERAL_BYTES_MAX: usize = 8;

/// What of an exchange a value belongs to: rules for one are not asked about the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response,
}

/// The prefilter of a rule set for one side.
#[derive(Debug)]
pub(crate) struct Prefilter {
    literals: Literals,
    /// For each pattern, the filtered operators that ask for it: ranges of `askers`.
    patterns: Vec<(u32, u32)>,
    askers: Vec<u32>,
    /// For each filtered operator.
    demands: Vec<Demand>,
    /// Filtered operators without literals, judged by bytes alone: those without any condition of that kind first.
    bytes_only: Vec<u32>,
    /// For each byte a row of bits: the members of `bytes_only` in whose first set the byte is.
    by_byte: Vec<u64>,
    /// For each operator its bit, or `u32::MAX`.
    bits: Vec<u32>,
}

/// What an operator demands of a value.
#[derive(Debug, Clone, Default)]
struct Demand {
    /// Of each of these sets a byte must occur.
    bytes: Box<[ByteSet]>,
    /// The least length of a value that can match.
    length_min: usize,
}

/// Bytes of an automaton that is a table, read once a byte. One that would be larger takes the small form: for the Core Rule Set's
/// 9 MiB of tables it was not slower, since what limits it is how much of it the caches hold.
const TABLE_BYTES_MAX: usize = 1 << 20;

/// The automaton that finds literals.
#[derive(Debug)]
enum Literals {
    None,
    Table(dfa::DFA),
    Small(contiguous::NFA),
}

impl Literals {
    /// The automaton for literals in lower case; `None` where the library has an objection to them.
    fn new(literals: &[(Vec<u8>, Vec<u32>)]) -> Option<Self> {
        if literals.is_empty() {
            return Some(Self::None);
        }
        let literals = literals.iter().map(|(literal, _)| literal);
        let mut builder = noncontiguous::Builder::new();
        let nfa = builder.ascii_case_insensitive(true).match_kind(MatchKind::Standard).build(literals).ok()?;
        let table = dfa::Builder::new().build_from_noncontiguous(&nfa).ok();
        if let Some(table) = table.filter(|table| table.memory_usage() <= TABLE_BYTES_MAX) {
            return Some(Self::Table(table));
        }
        contiguous::Builder::new().build_from_noncontiguous(&nfa).ok().map(Self::Small)
    }

    fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Table(table) => table.memory_usage(),
            Self::Small(nfa) => nfa.memory_usage(),
        }
    }
}

impl Prefilter {
    /// The prefilter for those of `operators` that are marked in `filtered` and say what they demand.
    pub(crate) fn new(operators: &[Operator], filtered: &[bool]) -> Self {
        let mut build = Build::default();
        let mut bits = vec![u32::MAX; operators.len()];
        for (at, operator) in operators.iter().enumerate().filter(|(at, _)| filtered[*at]) {
            if let Some(requirement) = operator.requirement() {
                bits[at] = build.add(&requirement);
            }
        }
        build.finish(bits)
    }

    /// The bit of an operator in the answers; `None` where it always has to be asked itself.
    pub(crate) fn bit(&self, operator: u32) -> Option<u32> {
        self.bits.get(operator as usize).copied().filter(|&bit| bit != u32::MAX)
    }

    /// Words of one answer.
    pub(crate) fn words(&self) -> usize {
        self.demands.len().div_ceil(64)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.literals.bytes()
            + self.by_byte.capacity() * size_of::<u64>()
            + self.patterns.capacity() * size_of::<(u32, u32)>()
            + (self.askers.capacity() + self.bits.capacity()) * size_of::<u32>()
            + self.demands.iter().map(|d| size_of::<Demand>() + size_of_val(&*d.bytes)).sum::<usize>()
    }
}

#[derive(Default)]
struct Build {
    literals: HashMap<Vec<u8>, Vec<u32>>,
    demands: Vec<Demand>,
    bytes_only: Vec<u32>,
}

impl Build {
    fn add(&mut self, requirement: &Requirement) -> u32 {
        let bit = self.demands.len() as u32;
        let bytes = requirement.bytes.clone().into();
        self.demands.push(Demand { bytes, length_min: requirement.length_min });
        if requirement.literals.is_empty() {
            self.bytes_only.push(bit);
        }
        for literal in &requirement.literals {
            let cut = literal[..literal.len().min(LITERAL_BYTES_MAX)].to_ascii_lowercase();
            let askers = self.literals.entry(cut).or_default();
            if askers.last() != Some(&bit) {
                askers.push(bit);
            }
        }
        bit
    }

    fn finish(self, bits: Vec<u32>) -> Prefilter {
        let mut literals: Vec<(Vec<u8>, Vec<u32>)> = self.literals.into_iter().collect();
        literals.sort();
        let (mut patterns, mut askers) = (Vec::new(), Vec::new());
        for (_, asking) in &literals {
            patterns.push((askers.len() as u32, (askers.len() + asking.len()) as u32));
            askers.extend_from_slice(asking);
        }
        let automaton = Literals::new(&literals);
        // Without an automaton nothing is ruled out by literals: slower, and as right.
        let all = || (0..self.demands.len() as u32).collect();
        let bytes_only: Vec<u32> = if automaton.is_some() { self.bytes_only } else { all() };
        let by_byte = by_byte(&self.demands, &bytes_only);
        let literals = automaton.unwrap_or(Literals::None);
        Prefilter { literals, patterns, askers, demands: self.demands, bytes_only, by_byte, bits }
    }
}

/// The rows of [`Prefilter::by_byte`]. An operator without a set is in all of them.
fn by_byte(demands: &[Demand], bytes_only: &[u32]) -> Vec<u64> {
    let words = bytes_only.len().div_ceil(64);
    let mut rows = vec![0; 256 * words];
    for (at, &bit) in bytes_only.iter().enumerate() {
        let set = demands[bit as usize].bytes.first().copied().unwrap_or(ByteSet::ALL);
        for byte in set.iter() {
            rows[usize::from(byte) * words + at / 64] |= 1 << (at % 64);
        }
    }
    rows
}
