//! The words of SQL and the fingerprints of injections.

use std::sync::LazyLock;

use hashbrown::{HashMap, HashSet};
use libinjectionrs::sqli::sqli_data;

/// The kinds of tokens, as the letters of fingerprints.
pub(super) mod kind {
    pub(crate) const KEYWORD: u8 = b'k';
    pub(crate) const UNION: u8 = b'U';
    pub(crate) const EXPRESSION: u8 = b'E';
    pub(crate) const SQL_TYPE: u8 = b't';
    pub(crate) const FUNCTION: u8 = b'f';
    pub(crate) const BAREWORD: u8 = b'n';
    pub(crate) const NUMBER: u8 = b'1';
    pub(crate) const VARIABLE: u8 = b'v';
    pub(crate) const STRING: u8 = b's';
    pub(crate) const OPERATOR: u8 = b'o';
    pub(crate) const LOGIC: u8 = b'&';
    pub(crate) const COMMENT: u8 = b'c';
    pub(crate) const COLLATE: u8 = b'A';
    pub(crate) const TSQL: u8 = b'T';
    pub(crate) const UNKNOWN: u8 = b'?';
    /// What databases read in different ways: never harmless.
    pub(crate) const EVIL: u8 = b'X';
}

/// A token keeps this many bytes of its value.
pub(super) const VALUE_MAX: usize = 31;

/// A word in upper case, padded; the last byte is its length.
type Key = [u8; VALUE_MAX + 1];

/// The tables of the crate `libinjectionrs`, for quick look-up.
pub(super) struct Tables {
    words: HashMap<Key, (u8, &'static [u8]), foldhash::fast::FixedState>,
    fingerprints: HashSet<u64, foldhash::fast::FixedState>,
    /// By the first and last byte of a word: a bit for each length that such words have.
    lengths: Box<[u32; 1024]>,
}

impl Tables {
    pub(super) fn get() -> &'static Self {
        static TABLES: LazyLock<Tables> = LazyLock::new(Tables::new);
        &TABLES
    }

    fn new() -> Self {
        let mut tables =
            Self { words: HashMap::default(), fingerprints: HashSet::default(), lengths: Box::new([0; 1024]) };
        for keyword in sqli_data::SQL_KEYWORDS {
            let word = keyword.word.as_bytes();
            match word {
                // Fingerprints are in the same table, behind a zero, which begins no word.
                [b'0', kinds @ ..] if keyword.token_type == b'F' => {
                    tables.fingerprints.insert(fingerprint_key(kinds));
                }
                _ => {
                    let (Some(&first), Some(&last)) = (word.first(), word.last()) else { continue };
                    if word.len() <= VALUE_MAX {
                        tables.lengths[filter_index(first, last)] |= 1 << word.len();
                        tables.words.insert(key(&[word]), (keyword.token_type, word));
                    }
                }
            }
        }
        tables
    }

    /// What kind `word` is, whatever its case.
    #[inline]
    pub(super) fn kind(&self, word: &[u8]) -> Option<u8> {
        let (&first, &last) = (word.first()?, word.last()?);
        if !self.may_have(first, last, word.len()) {
            return None;
        }
        self.words.get(&key(&[word])).map(|&(kind, _)| kind)
    }

    /// What kind the words `a` and `b` are with a space between them, and how the table spells them.
    #[inline]
    pub(super) fn phrase(&self, a: &[u8], b: &[u8]) -> Option<(u8, &'static [u8])> {
        // A word of no bytes is possible (an empty pair of backticks), and begins or ends no phrase.
        let (&first, &last) = (a.first()?, b.last()?);
        if !self.may_have(first, last, a.len() + 1 + b.len()) {
            return None;
        }
        self.words.get(&key(&[a, b" ", b])).copied()
    }

    #[inline]
    fn may_have(&self, first: u8, last: u8, length: usize) -> bool {
        length <= VALUE_MAX && self.lengths[filter_index(first, last)] & (1 << length) != 0
    }

    /// Whether tokens of these `kinds` are an injection.
    #[inline]
    pub(super) fn is_fingerprint(&self, kinds: &[u8]) -> bool {
        self.fingerprints.contains(&fingerprint_key(kinds))
    }
}

/// Upper and lower case have the same lowest five bits.
#[inline]
fn filter_index(first: u8, last: u8) -> usize {
    usize::from(first & 31) << 5 | usize::from(last & 31)
}

#[inline]
fn key(parts: &[&[u8]]) -> Key {
    let mut key = [0; VALUE_MAX + 1];
    let mut length = 0;
    for part in parts {
        key[length..length + part.len()].copy_from_slice(part);
        length += part.len();
    }
    key.make_ascii_uppercase();
    key[VALUE_MAX] = length as u8;
    key
}

/// Fingerprints do not tell upper from lower case.
#[inline]
fn fingerprint_key(kinds: &[u8]) -> u64 {
    kinds.iter().fold(0, |key, kind| key << 8 | u64::from(kind.to_ascii_uppercase()))
}
