//! Asking the prefilter about one value.

use aho_corasick::Anchored;
use aho_corasick::automaton::Automaton;

use crate::byte_set::ByteSet;

use super::{Demand, Literals, Prefilter};

/// Words of [`Prefilter::by_byte`]'s rows that are put together at a time.
const WORDS_TOGETHER: usize = 4;

/// Answers for the values of one transaction.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    /// Rows of [`Prefilter::words`] words; row 0 is empty.
    rows: Vec<u64>,
    words: usize,
    /// For each pattern the scan that saw it last.
    patterns: Vec<u32>,
    scan: u32,
}

impl Hits {
    pub(crate) fn clear(&mut self, prefilter: &Prefilter) {
        self.words = prefilter.words();
        self.rows.clear();
        self.rows.resize(self.words, 0);
        if self.patterns.len() != prefilter.patterns.len() || self.scan > u32::MAX / 2 {
            self.patterns = vec![0; prefilter.patterns.len()];
            self.scan = 0;
        }
    }

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        self.rows.capacity() * size_of::<u64>() + self.patterns.capacity() * size_of::<u32>()
    }

    #[inline]
    pub(crate) fn row(&self, row: u32) -> &[u64] {
        &self.rows[row as usize * self.words..][..self.words]
    }

    /// Sets a bit of the row that is being made, which begins where `from` says.
    fn set(&mut self, from: usize, bit: u32) {
        if self.rows.len() == from {
            self.rows.resize(from + self.words, 0);
        }
        self.rows[from + bit as usize / 64] |= 1 << (bit % 64);
    }
}

impl Demand {
    fn holds(&self, text: &[u8], bytes: &ByteSet) -> bool {
        text.len() >= self.length_min && self.bytes.iter().all(|set| set.intersects(bytes))
    }
}

impl Prefilter {
    /// Looks at `text`, which consists of `bytes`, and returns the row of the operators that it may match.
    pub(crate) fn scan(&self, text: &[u8], bytes: &ByteSet, hits: &mut Hits) -> u32 {
        hits.scan += 1;
        let from = hits.rows.len();
        match &self.literals {
            Literals::None => {}
            Literals::Table(table) => self.find(table, text, bytes, from, hits),
            Literals::Small(nfa) => self.find(nfa, text, bytes, from, hits),
        }
        self.judge_bytes(text, bytes, from, hits);
        if hits.rows.len() == from { 0 } else { (from / hits.words) as u32 }
    }

    /// Finds all literals, also those within others. Each is looked into once.
    fn find(&self, automaton: &impl Automaton, text: &[u8], bytes: &ByteSet, from: usize, hits: &mut Hits) {
        // The automaton is made for searches that begin anywhere.
        let Ok(mut state) = automaton.start_state(Anchored::No) else { return };
        for &byte in text {
            state = automaton.next_state(Anchored::No, state, byte);
            if automaton.is_special(state) && automaton.is_match(state) {
                for at in 0..automaton.match_len(state) {
                    self.found(automaton.match_pattern(state, at).as_usize(), text, bytes, from, hits);
                }
            }
        }
    }

    fn found(&self, pattern: usize, text: &[u8], bytes: &ByteSet, from: usize, hits: &mut Hits) {
        if std::mem::replace(&mut hits.patterns[pattern], hits.scan) == hits.scan {
            return;
        }
        let (start, end) = self.patterns[pattern];
        for &bit in &self.askers[start as usize..end as usize] {
            if self.demands[bit as usize].holds(text, bytes) {
                hits.set(from, bit);
            }
        }
    }

    /// The operators that ask for bytes only.
    fn judge_bytes(&self, text: &[u8], bytes: &ByteSet, from: usize, hits: &mut Hits) {
        let words = self.bytes_only.len().div_ceil(64);
        for first in (0..words).step_by(WORDS_TOGETHER) {
            let mut left = [0_u64; WORDS_TOGETHER];
            for byte in bytes.iter() {
                let row = &self.by_byte[usize::from(byte) * words..][first..words];
                left.iter_mut().zip(row).for_each(|(left, word)| *left |= word);
            }
            for (at, mut left) in left.into_iter().enumerate() {
                while left != 0 {
                    let bit = self.bytes_only[(first + at) * 64 + left.trailing_zeros() as usize];
                    left &= left - 1;
                    if self.demands[bit as usize].holds(text, bytes) {
                        hits.set(from, bit);
                    }
                }
            }
        }
    }
}
