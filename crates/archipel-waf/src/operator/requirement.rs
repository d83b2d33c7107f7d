//! What a value must have for an operator to match it at all.

use memchr::memmem;

use crate::byte_set::ByteSet;

/// Conditions that every value fulfils which an operator matches. They turn most values away without the operator being asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requirement {
    /// One of these is in the value after its ASCII letters were turned to lower case. Empty: no such condition.
    pub literals: Vec<Box<[u8]>>,
    /// The value has a byte of each of these sets.
    pub bytes: Vec<ByteSet>,
    /// The value is at least this long, in bytes.
    pub length_min: usize,
}

/// How many sets of bytes are kept.
const SETS_MAX: usize = 4;

impl Requirement {
    /// A value must have a byte of `set`.
    #[must_use]
    pub fn one_of(set: ByteSet) -> Self {
        Self { literals: Vec::new(), bytes: vec![set], length_min: 1 }
    }

    /// A value must contain `text`.
    #[must_use]
    pub fn literal(text: &[u8]) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        let mut requirement = Self {
            literals: vec![text.to_ascii_lowercase().into()],
            bytes: text.iter().map(|&byte| ByteSet::EMPTY.with(byte)).collect(),
            length_min: text.len(),
        };
        requirement.keep_rarest();
        requirement
    }

    /// A value must contain one of `words`, which are in lower case, after being turned to lower case.
    #[must_use]
    pub fn any_of(words: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let words: Vec<Box<[u8]>> = words.into_iter().map(Into::into).collect();
        let length_min = words.iter().map(|word| word.len()).min().unwrap_or(0);
        if length_min == 0 {
            return Self::default();
        }
        // Of each word, the rarest byte.
        let mut set = ByteSet::EMPTY;
        for word in &words {
            if let Some(&byte) = word.iter().min_by(|a, b| frequency(**a).total_cmp(&frequency(**b))) {
                set.insert(byte);
                set.insert(byte.to_ascii_uppercase());
            }
        }
        Self { literals: words, bytes: vec![set], length_min }
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_trivial(&self) -> bool {
        self.literals.is_empty() && self.bytes.is_empty() && self.length_min == 0
    }

    /// Whether `value`, of which `present` is the set of bytes, could be matched. The engine answers this for all operators at once;
    /// this is the definition.
    #[must_use]
    pub fn allows(&self, value: &[u8], present: &ByteSet) -> bool {
        if value.len() < self.length_min || !self.bytes.iter().all(|set| set.intersects(present)) {
            return false;
        }
        if self.literals.is_empty() {
            return true;
        }
        let lower = value.to_ascii_lowercase();
        self.literals.iter().any(|literal| memmem::find(&lower, literal).is_some())
    }

    /// Leaves out what contains another of the literals: whoever has it has that one as well.
    pub(super) fn drop_redundant(&mut self) {
        // Every literal is compared with every other.
        const COMPARED_MAX: usize = 256;
        if self.literals.len() > COMPARED_MAX {
            return;
        }
        let literals = std::mem::take(&mut self.literals);
        let is_redundant = |literal: &[u8]| {
            literals.iter().any(|other| other.len() < literal.len() && memmem::find(literal, other).is_some())
        };
        self.literals = literals.iter().filter(|literal| !is_redundant(literal)).cloned().collect();
    }

    /// Keeps the sets that turn most values away.
    pub(super) fn keep_rarest(&mut self) {
        self.bytes.sort_by(|a, b| set_frequency(a).total_cmp(&set_frequency(b)));
        self.bytes.dedup();
        self.bytes.truncate(SETS_MAX);
        self.bytes.retain(|set| *set != ByteSet::ALL);
    }
}

/// How often `byte` comes in what visitors send, as a share. A guess is enough: it decides what is worth asking, not what is true.
pub(super) fn frequency(byte: u8) -> f64 {
    match byte {
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 0.05,
        b'a'..=b'z' => 0.02,
        b' ' => 0.08,
        b'0'..=b'9' => 0.02,
        b'A'..=b'Z' => 0.005,
        b'/' | b'.' | b'-' | b'_' | b'"' | b',' | b':' | b'=' => 0.01,
        b'(' | b')' | b'\'' | b'%' | b'&' | b'?' | b';' | b'\n' | b'\r' | b'+' => 0.003,
        0x80..=0xff => 0.0005,
        0..=0x1f | 0x7f => 0.0001,
        _ => 0.001,
    }
}

/// The share of bytes that are in `set`.
pub(super) fn set_frequency(set: &ByteSet) -> f64 {
    set.iter().map(frequency).sum()
}
