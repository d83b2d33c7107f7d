//! What can match at all: literals of all operators, looked for in one pass over a value, and the bytes that occur in it.
//!
//! It is sound: an operator that it rules out does not match. That rests on [`Requirement`], which says what every match of
//! an operator contains; a value without it cannot match. It is an optimisation and nothing else: a transaction with it switched
//! off decides the same.

mod scan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::byte_set::ByteSet;
use crate::operator::{Operator, Requirement};

pub(crate) use scan::Hits;

/// Longest literal that is looked for: what is longer is cut, which keeps the automaton small and rules out hardly less.
const LITERAL_BYTES_MAX: usize = 12;

/// The prefilter of a rule set.
#[derive(Debug)]
pub(crate) struct Prefilter {
    automaton: Option<AhoCorasick>,
    /// For each pattern, the filtered operators that ask for it: ranges of `askers`.
    patterns: Vec<(u32, u32)>,
    askers: Vec<u32>,
    /// For each filtered operator.
    demands: Vec<Demand>,
    /// Filtered operators without literals: judged by bytes alone.
    bytes_only: Vec<u32>,
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

/// Bytes of all literals up to which the automaton is a table that is read once a byte; above, it is the smaller kind.
const TABLE_LITERAL_BYTES_MAX: usize = 48 << 10;

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
        self.automaton.as_ref().map_or(0, AhoCorasick::memory_usage)
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
        let bytes: usize = literals.iter().map(|(literal, _)| literal.len()).sum();
        let kind = if bytes <= TABLE_LITERAL_BYTES_MAX { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(kind))
            .build(literals.iter().map(|(literal, _)| literal))
            .ok();
        // Without an automaton nothing is ruled out by literals: slower, and as right.
        let bytes_only = if automaton.is_some() { self.bytes_only } else { (0..self.demands.len() as u32).collect() };
        Prefilter { automaton, patterns, askers, demands: self.demands, bytes_only, bits }
    }
}
