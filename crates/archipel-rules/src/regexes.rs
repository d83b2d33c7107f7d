//! Regular expressions: over bytes, Unicode only where `(?u)` asks for it, in linear time, with bounded size.

use regex_automata::meta;
use regex_automata::util::captures::Captures;
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind};

use crate::ast::Span;
use crate::diagnostic::{Code, Diagnostic};
use crate::limits::{REGEX_CACHE_BYTES_MAX, REGEX_NESTING_MAX, REGEX_PROGRAM_BYTES_MAX};

/// A compiled regular expression; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Regex {
    inner: meta::Regex,
    pattern: std::sync::Arc<str>,
}

/// Why a regular expression cannot be used, in the engine's words.
#[derive(Debug)]
pub(crate) struct RegexError(String);

impl RegexError {
    pub fn at(self, span: Span) -> Diagnostic {
        Diagnostic::new(Code::BadRegex, span, self.0)
    }
}

/// How patterns are read: bytes, not characters, as Cloudflare's engine has it.
pub(crate) fn syntax_config() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false).nest_limit(REGEX_NESTING_MAX)
}

impl Regex {
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let config = meta::Config::new()
            .match_kind(MatchKind::LeftmostFirst)
            .utf8_empty(false)
            // Ahead-of-time automata can grow without proportion; the lazy one is as fast and bounded.
            .dfa(false)
            .onepass(false)
            .nfa_size_limit(Some(REGEX_PROGRAM_BYTES_MAX))
            .hybrid_cache_capacity(REGEX_CACHE_BYTES_MAX);
        let built = meta::Builder::new().configure(config).syntax(syntax_config()).build(pattern);
        match built {
            Ok(inner) => Ok(Self { inner, pattern: pattern.into() }),
            Err(error) => Err(RegexError(explain(&error))),
        }
    }

    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// How many groups it has, the whole match not counted.
    pub fn groups(&self) -> usize {
        self.inner.captures_len().saturating_sub(1)
    }

    pub fn is_match(&self, value: &[u8]) -> bool {
        self.inner.is_match(value)
    }

    /// The groups of the first match; `None` without one.
    pub fn captures(&self, value: &[u8]) -> Option<Captures> {
        let mut captures = self.inner.create_captures();
        self.inner.search_captures(&Input::new(value), &mut captures);
        captures.is_match().then_some(captures)
    }
}

fn explain(error: &meta::BuildError) -> String {
    if let Some(bytes_max) = error.size_limit() {
        return format!("the compiled regular expression is larger than {bytes_max} bytes");
    }
    let Some(syntax) = error.syntax_error() else { return format!("the regular expression cannot be used: {error}") };
    // The engine draws the pattern and a caret of its own; its last line says what is wrong.
    let text = syntax.to_string();
    let last = text.lines().last().unwrap_or(&text);
    format!("the regular expression is wrong: {}", last.trim_start_matches("error: "))
}
