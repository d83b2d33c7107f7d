//! Regular expressions: PCRE's syntax on an engine that takes linear time.
//!
//! ModSecurity 3 compiles with `PCRE_DOTALL | PCRE_MULTILINE`, on bytes: a dot matches every byte, `^` and `$` match at line feeds
//! (2 has `PCRE_DOLLAR_ENDONLY` in place of the latter), classes are ASCII. Here too. Patterns with look-around, back-references,
//! atomic groups or possessive quantifiers cannot be matched in linear time: they backtrack, with a budget of steps.
//!
//! One difference stays: with PCRE `^` does not match behind a line feed that ends the value.

mod pcre;
mod requirement;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use regex_automata::meta;
use regex_automata::util::captures::Captures as Groups;
use regex_automata::{Anchored, Input};

use super::{Captures, Kind, LimitExceeded, OperatorError, Requirement};

/// The longest pattern, in bytes.
pub const RX_PATTERN_BYTES_MAX: usize = 64 << 10;
/// The largest compiled program, in bytes of heap.
pub const RX_PROGRAM_BYTES_MAX: usize = 32 << 20;
/// What the lazily built automaton of one expression may take for each thread that uses it, in bytes.
pub const RX_CACHE_BYTES_MAX: usize = 1 << 20;
/// How many steps an expression may take that backtracks.
pub const RX_BACKTRACK_MAX: usize = 100_000;
/// How many expressions an [`RxCache`] keeps.
pub const RX_CACHED_MAX: usize = 64;

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Rx {
    engine: Engine,
    requirement: Requirement,
}

#[derive(Debug)]
enum Engine {
    /// The empty pattern, which ModSecurity does not compile: it matches and captures nothing.
    Empty,
    Linear(meta::Regex),
    Backtracking(fancy_regex::Regex),
}

impl Rx {
    pub(super) fn compile(kind: Kind, pattern: &[u8]) -> Result<Self, OperatorError> {
        if pattern.is_empty() {
            return Ok(Self { engine: Engine::Empty, requirement: Requirement::default() });
        }
        let error = |message: String| OperatorError::argument(kind, message);
        if pattern.len() > RX_PATTERN_BYTES_MAX {
            return Err(error(format!("the pattern is longer than {RX_PATTERN_BYTES_MAX} bytes")));
        }
        let translated = pcre::translate(pattern).map_err(|problem| error(problem.to_string()))?;
        let hir = regex_syntax::ParserBuilder::new()
            .utf8(false)
            .unicode(false)
            .multi_line(true)
            .dot_matches_new_line(true)
            .build()
            .parse(&translated.relaxed)
            .map_err(|problem| error(problem.to_string()))?;
        let requirement = requirement::of(&hir);
        let engine = match translated.exact {
            None => Engine::Linear(linear(&hir).map_err(|problem| error(problem.to_string()))?),
            Some(exact) => Engine::Backtracking(backtracking(exact).map_err(|problem| error(problem.to_string()))?),
        };
        Ok(Self { engine, requirement })
    }

    /// Bytes that it holds, without the caches that it builds as it is used. Of a backtracking one only the text is known.
    pub(super) fn bytes(&self) -> usize {
        match &self.engine {
            Engine::Empty => 0,
            Engine::Linear(regex) => regex.memory_usage(),
            Engine::Backtracking(regex) => regex.as_str().len(),
        }
    }

    pub(super) const fn requirement(&self) -> &Requirement {
        &self.requirement
    }

    pub(super) fn matches(&self, value: &[u8], captures: Option<&mut Captures>) -> Result<bool, LimitExceeded> {
        match (&self.engine, captures) {
            (Engine::Empty, _) => Ok(true),
            (Engine::Linear(regex), None) => Ok(regex.is_match(value)),
            (Engine::Linear(regex), Some(captures)) => {
                // Finding the groups costs several times more than finding none.
                if !regex.is_match(value) {
                    return Ok(false);
                }
                let mut groups = regex.create_captures();
                regex.captures(value, &mut groups);
                keep(&groups, 0, captures);
                Ok(true)
            }
            (Engine::Backtracking(regex), None) => regex.is_match(value).map_err(|_| LimitExceeded),
            (Engine::Backtracking(regex), Some(captures)) => {
                let Some(groups) = regex.captures(value).map_err(|_| LimitExceeded)? else { return Ok(false) };
                for (group, found) in groups.iter().enumerate() {
                    if let Some(found) = found {
                        captures.set(group, found.start()..found.end());
                    }
                }
                Ok(true)
            }
        }
    }

    /// As [`matches`](Self::matches), for all matches: the groups of each are numbered on from those before.
    pub(super) fn matches_all(&self, value: &[u8], captures: Option<&mut Captures>) -> Result<bool, LimitExceeded> {
        let Some(captures) = captures else { return self.matches(value, None) };
        let mut kept = 0;
        match &self.engine {
            Engine::Empty => return Ok(true),
            Engine::Linear(regex) => {
                for groups in regex.captures_iter(value) {
                    if kept >= Captures::GROUPS_MAX {
                        break;
                    }
                    kept += keep(&groups, kept, captures);
                }
            }
            Engine::Backtracking(regex) => {
                let mut from = 0;
                while kept < Captures::GROUPS_MAX && from <= value.len() {
                    let Some(groups) = regex.captures_from_pos(value, from).map_err(|_| LimitExceeded)? else { break };
                    let found: Vec<Option<Range<usize>>> =
                        groups.iter().map(|found| found.map(|found| found.start()..found.end())).collect();
                    let Some(whole) = found.first().cloned().flatten() else { break };
                    from = if whole.is_empty() { whole.end + 1 } else { whole.end };
                    let first = kept;
                    for range in found.into_iter().enumerate() {
                        if let (group, Some(range)) = range {
                            captures.set(first + group, range);
                            kept = first + group + 1;
                        }
                    }
                }
            }
        }
        Ok(kept > 0)
    }

    /// The first match that begins at `from` or after it.
    pub(super) fn find_at(&self, value: &[u8], from: usize) -> Result<Option<Range<usize>>, LimitExceeded> {
        match &self.engine {
            Engine::Empty => Ok(None),
            Engine::Linear(regex) => {
                Ok(regex.search(&Input::new(value).range(from..).anchored(Anchored::No)).map(|found| found.range()))
            }
            Engine::Backtracking(regex) => regex
                .find_from_pos(value, from)
                .map(|found| found.map(|found| found.start()..found.end()))
                .map_err(|_| LimitExceeded),
        }
    }
}

fn linear(hir: &regex_syntax::hir::Hir) -> Result<meta::Regex, Box<meta::BuildError>> {
    let config = meta::Config::new()
        .utf8_empty(false)
        .nfa_size_limit(Some(RX_PROGRAM_BYTES_MAX))
        .hybrid_cache_capacity(RX_CACHE_BYTES_MAX);
    meta::Builder::new().configure(config).build_from_hir(hir).map_err(Box::new)
}

fn backtracking(pattern: String) -> Result<fancy_regex::Regex, Box<fancy_regex::Error>> {
    fancy_regex::RegexOptionsBuilder::new()
        .bytes_mode(fancy_regex::BytesMode::Ascii)
        .unicode_mode(false)
        .multi_line(true)
        .dot_matches_new_line(true)
        .backtrack_limit(RX_BACKTRACK_MAX)
        .delegate_size_limit(RX_PROGRAM_BYTES_MAX)
        .build(pattern)
        .map_err(Box::new)
}

/// Keeps the groups of one match from number `first` on, and tells how many numbers they take.
fn keep(groups: &Groups, first: usize, captures: &mut Captures) -> usize {
    let mut taken = 0;
    for (group, span) in groups.iter().enumerate() {
        if let Some(span) = span {
            captures.set(first + group, span.range());
            taken = group + 1;
        }
    }
    taken
}

/// A pattern, and what it was compiled to.
type Cached = (Box<[u8]>, Arc<Rx>);

/// Expressions whose argument has macros, by what they came to: the last [`RX_CACHED_MAX`] that were used are kept compiled.
#[derive(Debug, Default)]
pub struct RxCache {
    kept: Mutex<VecDeque<Cached>>,
}

impl RxCache {
    /// Nothing is kept.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Evaluates `rx` with `pattern` on `value`. A pattern that does not compile matches nothing, as in ModSecurity, and is
    /// told as the error that it is.
    pub fn matches(
        &self,
        pattern: &[u8],
        value: &[u8],
        mut captures: Option<&mut Captures>,
    ) -> Result<bool, OperatorError> {
        if let Some(captures) = captures.as_deref_mut() {
            captures.clear();
        }
        Ok(self.get(pattern)?.matches(value, captures).unwrap_or(false))
    }

    fn get(&self, pattern: &[u8]) -> Result<Arc<Rx>, OperatorError> {
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = kept.iter().position(|(known, _)| &**known == pattern) {
                if at > 0 {
                    kept.swap(at, 0);
                }
                return Ok(Arc::clone(&kept[0].1));
            }
        }
        let rx = Arc::new(Rx::compile(Kind::Rx, pattern)?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(RX_CACHED_MAX - 1);
        kept.push_front((pattern.into(), Arc::clone(&rx)));
        Ok(rx)
    }
}
