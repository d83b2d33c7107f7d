//! libinjection: whether a value reads as SQL or as script.
//!
//! The method and the tables are Nick Galbreath's libinjection (BSD-3-Clause, see LICENSE-libinjection beside this file). The code is
//! written anew for speed: tokens are slices of the value, words are looked up in a table that rejects most of them by three of
//! their bytes, and contexts are left out in which a value cannot be what is looked for. The verdicts are the C library's; the
//! words and fingerprints come from the crate `libinjectionrs`, to which tests compare the whole.

mod fold;
mod html;
mod scan;
#[cfg(test)]
mod tests;
mod words;
mod xss;

use crate::byte_set::ByteSet;
use fold::{Folder, Token};
use scan::{Dialect, Scanner};
use words::{Tables, kind};

pub use xss::detect_xss;

/// A value without any of these bytes is no SQL injection: it is at most two numbers and a word, of which no fingerprint
/// counts.
pub const SQLI_TRIGGER: ByteSet = ByteSet::range(b'0', b'9')
    .union(ByteSet::range(b'A', b'Z'))
    .union(ByteSet::range(b'a', b'z'))
    .union(ByteSet::range(0x80, 0x9f))
    .union(ByteSet::range(0xa1, 0xff))
    .with(b'_')
    .complement();

/// A value without any of these bytes has neither a tag nor an attribute with a value.
pub const XSS_TRIGGER: ByteSet = ByteSet::from_members(b"<=");

/// How many tokens a fingerprint has at most.
const TOKENS_MAX: usize = 5;

/// The kinds of the tokens of a value that was taken for SQL injection, at most five.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    bytes: [u8; TOKENS_MAX],
    length: u8,
}

impl Fingerprint {
    /// The kinds, one byte each.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// The fingerprint of `value`, if it reads as SQL injection: as it is, or behind an open quote.
#[must_use]
pub fn detect_sqli(value: &[u8]) -> Option<Fingerprint> {
    if !value.iter().any(|&byte| SQLI_TRIGGER.contains(byte)) {
        return None;
    }
    let tables = Tables::get();
    let try_both = |quote: u8| {
        let (found, is_ambiguous) = examine(value, quote, Dialect::Ansi, tables);
        match found {
            None if is_ambiguous => examine(value, quote, Dialect::MySql, tables).0,
            found => found,
        }
    };
    if let Some(found) = try_both(0) {
        return Some(found);
    }
    if memchr::memchr(b'\'', value).is_some()
        && let Some(found) = try_both(b'\'')
    {
        return Some(found);
    }
    if memchr::memchr(b'"', value).is_some() {
        return examine(value, b'"', Dialect::MySql, tables).0;
    }
    None
}

/// The fingerprint of `value` in one context, if it is one of an injection, and whether MySQL could read `value` differently.
fn examine(value: &[u8], quote: u8, dialect: Dialect, tables: &Tables) -> (Option<Fingerprint>, bool) {
    let mut folder = Folder::new(Scanner::new(value, quote, dialect, tables));
    let length = folder.fold();
    if let Some(last) = length.checked_sub(1).filter(|&last| last > 1).map(|last| &mut folder.tokens[last])
        && last.is_open_tick()
    {
        // PHP takes an empty backtick at the end for a comment.
        last.kind = kind::COMMENT;
    }
    let tokens = &folder.tokens[..length];
    let mut fingerprint = Fingerprint { bytes: [0; TOKENS_MAX], length: length.min(TOKENS_MAX) as u8 };
    if tokens.iter().any(|token| token.kind == kind::EVIL) {
        fingerprint = Fingerprint { bytes: [kind::EVIL, 0, 0, 0, 0], length: 1 };
    } else {
        for (byte, token) in fingerprint.bytes.iter_mut().zip(tokens) {
            *byte = token.kind;
        }
    }
    let scanner = &folder.scanner;
    let is_ambiguous = scanner.saw_dashes || scanner.saw_hash;
    let kinds = fingerprint.as_bytes();
    let is_sqli = tables.is_fingerprint(kinds) && !is_harmless(value, kinds, tokens, scanner.count);
    (is_sqli.then_some(fingerprint), is_ambiguous)
}

/// Whether a value whose fingerprint is one of an injection reads as plain text all the same. `count` is how many tokens there were
/// before folding.
fn is_harmless(value: &[u8], kinds: &[u8], tokens: &[Token<'_>], count: usize) -> bool {
    if kinds.len() > 1 && kinds.last() == Some(&kind::COMMENT) && memchr::memmem::find(value, b"sp_password").is_some()
    {
        // The audit log of SQL Server leaves out statements with this word.
        return false;
    }
    match *kinds {
        [_, _] => is_harmless_pair(value, tokens, count),
        [b's', b'o' | b'&', b's'] => {
            // Only `foo' + 'bar` counts, with the quotes inside.
            let (first, last) = (&tokens[0], &tokens[2]);
            !(first.open == 0 && last.close == 0 && first.close == last.open)
        }
        [b's', b'&', b'n'] | [b'n', b'&', b'1'] | [b'1', b'&', b'1' | b'v' | b's'] => count == 3,
        [_, kind::KEYWORD, _] => !tokens[1]
            .value
            .get(..4)
            .is_some_and(|start| tokens[1].value.len() >= 5 && start.eq_ignore_ascii_case(b"INTO")),
        _ => false,
    }
}

fn is_harmless_pair(value: &[u8], tokens: &[Token<'_>], count: usize) -> bool {
    let (first, second) = (&tokens[0], &tokens[1]);
    if second.kind == kind::UNION {
        return count == 2;
    }
    let mark = second.value.first().copied();
    if mark == Some(b'#') {
        return true;
    }
    if second.kind == kind::COMMENT {
        if first.kind == kind::BAREWORD && mark != Some(b'/') {
            return true;
        }
        if first.kind == kind::NUMBER {
            if mark == Some(b'/') || count > 2 {
                return false;
            }
            // What follows the number tells `1234 --` from what only looks like base64.
            let after = value.get(first.value.len()..).unwrap_or_default();
            return !(after.first().is_none_or(|&byte| byte <= b' ' || byte >= 0x80)
                || after.starts_with(b"/*")
                || after.starts_with(b"--"));
        }
    }
    // `1--` at the end counts, `1-- foo` does not.
    second.value.len() > 2 && mark == Some(b'-')
}
