//! Wildcard patterns: `*` stands for any bytes, everything else for itself, and the whole value must match. Also the
//! replacement texts with `${1}`. Matching is linear in the value: every piece is searched once, from where the last ended.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem;

use crate::limits::{REPLACEMENT_REFERENCES_MAX, WILDCARD_STARS_MAX};

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Wildcard {
    start: Box<[u8]>,
    /// The pieces between two stars.
    middle: Box<[memmem::Finder<'static>]>,
    end: Box<[u8]>,
    /// Whether there is a star at all.
    star: bool,
    strict: bool,
}

/// Why a pattern cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WildcardError {
    #[error("two stars in a row are not allowed: one stands for any text already")]
    TwoStars,
    #[error("a backslash must be followed by `*` or another backslash")]
    Escape,
    #[error("there are more than {WILDCARD_STARS_MAX} stars")]
    TooManyStars,
}

/// The longest value that is compared without case on the stack.
const STACK_BYTES: usize = 256;

impl Wildcard {
    /// Compiles a pattern. Unless `strict`, ASCII letters match without regard to case.
    pub fn new(pattern: &[u8], strict: bool) -> Result<Self, WildcardError> {
        let mut pieces = vec![Vec::new()];
        let mut bytes = pattern.iter().copied();
        let mut after_star = false;
        while let Some(byte) = bytes.next() {
            if byte == b'*' {
                if std::mem::replace(&mut after_star, true) {
                    return Err(WildcardError::TwoStars);
                }
                pieces.push(Vec::new());
                continue;
            }
            after_star = false;
            let literal = match byte {
                b'\\' => bytes.next().filter(|next| matches!(next, b'*' | b'\\')).ok_or(WildcardError::Escape)?,
                other => other,
            };
            let literal = if strict { literal } else { literal.to_ascii_lowercase() };
            if let Some(piece) = pieces.last_mut() {
                piece.push(literal);
            }
        }
        if pieces.len() > WILDCARD_STARS_MAX + 1 {
            return Err(WildcardError::TooManyStars);
        }
        let star = pieces.len() > 1;
        let end = if star { pieces.pop().unwrap_or_default() } else { Vec::new() };
        let middle = pieces.drain(1..).map(|piece| memmem::Finder::new(&piece).into_owned()).collect();
        let start = pieces.pop().unwrap_or_default();
        Ok(Self { start: start.into(), middle, end: end.into(), star, strict })
    }

    /// How many stars it has.
    pub fn stars(&self) -> usize {
        if self.star { self.middle.len() + 1 } else { 0 }
    }

    /// Whether letters match with regard to case.
    pub fn strict(&self) -> bool {
        self.strict
    }

    /// What every match begins with, in small letters unless strict.
    pub fn start(&self) -> &[u8] {
        &self.start
    }

    /// What every match ends with, in small letters unless strict; empty without a star.
    pub fn end(&self) -> &[u8] {
        &self.end
    }

    /// The pieces between stars, which every match holds.
    pub fn middle(&self) -> impl Iterator<Item = &[u8]> {
        self.middle.iter().map(memmem::Finder::needle)
    }

    /// Whether it has a star, so that a match may be longer than its pieces.
    pub fn has_star(&self) -> bool {
        self.star
    }

    /// Whether all of `value` matches.
    pub fn matches(&self, value: &[u8]) -> bool {
        self.with_case(value, |value| self.find(value, |_| ()))
    }

    /// What each star stands for in `value`, with the shortest text for the first stars; `None` without a match.
    pub fn captures(&self, value: &[u8]) -> Option<Vec<Range<usize>>> {
        let mut captures = Vec::with_capacity(self.stars());
        self.with_case(value, |value| self.find(value, |range| captures.push(range))).then_some(captures)
    }

    fn with_case<T>(&self, value: &[u8], then: impl FnOnce(&[u8]) -> T) -> T {
        if self.strict || !value.iter().any(u8::is_ascii_uppercase) {
            return then(value);
        }
        if let Some(buffer) = [0; STACK_BYTES].get_mut(..value.len()) {
            buffer.copy_from_slice(value);
            buffer.make_ascii_lowercase();
            return then(buffer);
        }
        then(&value.to_ascii_lowercase())
    }

    fn find(&self, value: &[u8], mut capture: impl FnMut(Range<usize>)) -> bool {
        if !self.star {
            return value == &*self.start;
        }
        let ends = value.len().checked_sub(self.end.len()).filter(|end| *end >= self.start.len());
        let Some(end) = ends else { return false };
        if !value.starts_with(&self.start) || !value.ends_with(&self.end) {
            return false;
        }
        let mut at = self.start.len();
        for piece in &self.middle {
            let Some(found) = piece.find(&value[at..end]) else { return false };
            capture(at..at + found);
            at += found + piece.needle().len();
        }
        capture(at..end);
        true
    }
}

/// A replacement text: literal pieces and references to groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replacement {
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Group(usize),
}

/// Why a replacement text cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplacementError {
    #[error("`$` must be followed by `{{` and the number of a group, as in `${{1}}`, or by another `$`")]
    Dollar,
    #[error("there are more than {REPLACEMENT_REFERENCES_MAX} references to groups")]
    TooManyReferences,
}

impl Replacement {
    /// Reads `${1}` and `$$`.
    pub fn new(text: &[u8]) -> Result<Self, ReplacementError> {
        let (mut parts, mut open, mut rest) = (Vec::new(), Vec::new(), text);
        let mut references = 0;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            if byte != b'$' {
                open.push(byte);
                continue;
            }
            match after {
                [b'$', after @ ..] => {
                    open.push(b'$');
                    rest = after;
                }
                [b'{', after @ ..] => {
                    let end = after.iter().position(|byte| *byte == b'}').ok_or(ReplacementError::Dollar)?;
                    let digits = std::str::from_utf8(&after[..end]).map_err(|_| ReplacementError::Dollar)?;
                    let plain = !digits.is_empty() && digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_digit());
                    let group = digits.parse().ok().filter(|_| plain).ok_or(ReplacementError::Dollar)?;
                    parts.push(Part::Text(std::mem::take(&mut open).into()));
                    parts.push(Part::Group(group));
                    references += 1;
                    rest = &after[end + 1..];
                }
                _ => return Err(ReplacementError::Dollar),
            }
        }
        if references > REPLACEMENT_REFERENCES_MAX {
            return Err(ReplacementError::TooManyReferences);
        }
        parts.push(Part::Text(open.into()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self { parts: parts.into() })
    }

    /// The highest group that it refers to.
    pub fn group_max(&self) -> usize {
        let group = |part: &Part| if let Part::Group(group) = part { *group } else { 0 };
        self.parts.iter().map(group).max().unwrap_or(0)
    }

    /// Appends it to `out`; `group` gives the text of a group, and nothing for one that took no part.
    pub fn append<'a>(&self, out: &mut Vec<u8>, group: impl Fn(usize) -> Cow<'a, [u8]>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Group(number) => out.extend_from_slice(&group(*number)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
