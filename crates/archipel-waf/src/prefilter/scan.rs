//! Asking the prefilter about one value.

use crate::byte_set::ByteSet;

use super::{Demand, Prefilter};

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
        if let Some(automaton) = &self.automaton {
            for found in automaton.find_overlapping_iter(text) {
                let pattern = found.pattern().as_usize();
                if std::mem::replace(&mut hits.patterns[pattern], hits.scan) == hits.scan {
                    continue;
                }
                let (start, end) = self.patterns[pattern];
                for &bit in &self.askers[start as usize..end as usize] {
                    if self.demands[bit as usize].holds(text, bytes) {
                        hits.set(from, bit);
                    }
                }
            }
        }
        for &bit in &self.bytes_only {
            if self.demands[bit as usize].holds(text, bytes) {
                hits.set(from, bit);
            }
        }
        if hits.rows.len() == from { 0 } else { (from / hits.words) as u32 }
    }
}
