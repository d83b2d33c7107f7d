//! Lists of words, for `pm` and `pmFromFile`.

use std::collections::HashSet;

use aho_corasick::{AhoCorasick, MatchKind};

use super::{Captures, Kind, OperatorError, Requirement};
use crate::transform::is_space;

/// How many words one operator takes.
pub const PM_WORDS_MAX: usize = 200_000;

/// Words that are looked for all at once, whatever the case of ASCII letters. Of several, the one that ends first counts, and of
/// those that end together, the longest.
#[derive(Debug)]
pub(super) struct Words {
    automaton: AhoCorasick,
    words: Vec<Box<[u8]>>,
}

impl Words {
    /// The words of the argument of `pm`: separated by white space, perhaps in double quotes, with bytes in hexadecimal between
    /// bars (`|41 42|` is not allowed, `|4142|` is). What does not follow that form is taken as it is.
    pub(super) fn from_argument(kind: Kind, argument: &[u8]) -> Result<Self, OperatorError> {
        let unescaped = unescape(argument);
        let text = unescaped.as_deref().unwrap_or(argument);
        let words = text.split(|&byte| is_space(byte)).filter(|word| !word.is_empty());
        Self::new(kind, words)
    }

    /// One phrase a line, spaces included, but for comments and empty lines.
    pub(super) fn from_lines(kind: Kind, text: &[u8]) -> Result<Self, OperatorError> {
        let lines = text.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        Self::new(
            kind,
            lines.filter(|line| !line.is_empty() && line.iter().find(|&&byte| !is_space(byte)) != Some(&b'#')),
        )
    }

    fn new<'a>(kind: Kind, words: impl Iterator<Item = &'a [u8]>) -> Result<Self, OperatorError> {
        let mut seen = HashSet::new();
        let words: Vec<Box<[u8]>> =
            words.filter(|word| seen.insert(word.to_ascii_lowercase())).map(Box::from).take(PM_WORDS_MAX + 1).collect();
        if words.len() > PM_WORDS_MAX {
            return Err(OperatorError::argument(kind, format!("more than {PM_WORDS_MAX} words")));
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(&words)
            .map_err(|error| OperatorError::argument(kind, error.to_string()))?;
        Ok(Self { automaton, words })
    }

    pub(super) fn matches(&self, value: &[u8], captures: Option<&mut Captures>) -> bool {
        let Some(captures) = captures else { return self.automaton.is_match(value) };
        let Some(found) = self.automaton.find(value) else { return false };
        captures.set_text(&self.words[found.pattern().as_usize()]);
        true
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        let words: usize = self.words.iter().map(|word| word.len() + size_of::<Box<[u8]>>()).sum();
        self.automaton.memory_usage() + words
    }

    pub(super) fn requirement(&self) -> Requirement {
        if self.words.is_empty() {
            return Requirement::one_of(crate::byte_set::ByteSet::EMPTY);
        }
        Requirement::any_of(self.words.iter().map(|word| word.to_ascii_lowercase()))
    }
}

/// Takes the quotes off, and reads escapes and bytes in hexadecimal. `None` where the form is not kept.
fn unescape(argument: &[u8]) -> Option<Vec<u8>> {
    let start = argument.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    let text = match &argument[start..] {
        [b'"', inner @ .., b'"'] => inner,
        text => text,
    };
    if text.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let (mut is_binary, mut is_escaped) = (false, false);
    let mut high = None;
    for &byte in text {
        if byte == b'|' {
            is_binary = !is_binary;
        } else if !is_escaped && byte == b'\\' {
            is_escaped = true;
        } else if is_binary {
            let digit = char::from(byte).to_digit(16)? as u8;
            high = match high {
                Some(high) => {
                    out.push(high << 4 | digit);
                    None
                }
                None => Some(digit),
            };
        } else if is_escaped {
            if !matches!(byte, b':' | b';' | b'\\' | b'"') {
                return None;
            }
            out.push(byte);
            is_escaped = false;
        } else {
            out.push(byte);
        }
    }
    Some(out)
}
