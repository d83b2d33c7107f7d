//! Diagnostics: what is wrong with an expression, where, and what to do about it.
//!
//! Owns the table of codes, which is a public interface (a code never changes its meaning), and how a problem is shown. Never
//! prints.

use std::fmt::{self, Write as _};
use std::ops::Range;

macro_rules! codes {
    ($(#[doc = $doc:literal] $variant:ident = $text:literal;)+) => {
        /// What kind of problem a [`Diagnostic`] tells. The text form (`R001`) is stable across releases.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $doc] $variant,)+
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Code] = &[$(Code::$variant),+];

            /// The stable text form, such as `R001`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text),+ }
            }

            /// One sentence that says what the code stands for.
            #[must_use]
            pub fn summary(self) -> &'static str {
                match self { $(Code::$variant => $doc.trim_ascii()),+ }
            }
        }
    };
}

codes! {
    /// Something else was expected at this place.
    Unexpected = "R001";
    /// The expression is empty.
    Empty = "R002";
    /// The expression is longer, deeper or has more parts than allowed.
    TooLarge = "R003";
    /// There is no field of this name.
    UnknownField = "R010";
    /// There is no function of this name.
    UnknownFunction = "R011";
    /// There is no list of this name.
    UnknownList = "R012";
    /// There is no operator of this name.
    UnknownOperator = "R013";
    /// The operator cannot be used with a value of this type.
    OperatorType = "R020";
    /// The value has another type than what is needed here.
    WrongType = "R021";
    /// An index is used on something that cannot be indexed so.
    BadIndex = "R022";
    /// `[*]` is used where nothing takes its results.
    LooseEach = "R023";
    /// Parts that are combined element by element come from different arrays.
    DifferentArrays = "R024";
    /// A string literal does not end, or holds an escape that does not exist.
    BadString = "R030";
    /// A number cannot be read.
    BadNumber = "R031";
    /// An address or a range of addresses cannot be read.
    BadAddress = "R032";
    /// A range ends before it begins.
    BadRange = "R033";
    /// A regular expression cannot be compiled.
    BadRegex = "R034";
    /// A wildcard pattern cannot be used.
    BadWildcard = "R035";
    /// A function has too few or too many arguments.
    ArgumentCount = "R040";
    /// An argument cannot be used for this function.
    BadArgument = "R041";
    /// The function cannot be used in this kind of expression.
    NotHere = "R042";
    /// The function may not be used once more in the same expression.
    TooManyUses = "R043";
    /// The field has no value in this phase.
    WrongPhase = "R044";
    /// The function exists elsewhere, but not here.
    Unsupported = "R045";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One problem of an expression. Only the first is told: what follows it is rarely meant as it is read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Diagnostic {
    /// Kind of problem.
    pub code: Code,
    /// Bytes of the expression's text that it is about; may be empty, and lies between characters.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Longest piece of a line that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 100;

impl Diagnostic {
    pub(crate) fn new(code: Code, span: impl Into<Range<usize>>, message: impl Into<String>) -> Self {
        Self { code, span: span.into(), message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Line and column (in characters) of its begin in `text`, from 1.
    #[must_use]
    pub fn position(&self, text: &str) -> (usize, usize) {
        let before = text.get(..self.span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The problem as a person reads it: message, the line with a caret below the place, what to do. `text` is the text that
    /// was parsed. Ends with a line end.
    ///
    /// ```text
    /// error[R010]: there is no field `http.hots`
    ///  --> 1:1
    ///   | http.hots eq "example.com"
    ///   | ^^^^^^^^^
    ///   = help: did you mean `http.host`?
    /// ```
    #[must_use]
    pub fn render(&self, text: &str) -> String {
        let (line, column) = self.position(text);
        let mut shown = format!("error[{}]: {}\n --> {line}:{column}\n", self.code, self.message);
        let source = text.lines().nth(line - 1).unwrap_or("");
        let skipped = (column - 1).saturating_sub(SHOWN_CHARS_MAX / 2);
        let piece: String = source.chars().skip(skipped).take(SHOWN_CHARS_MAX).map(printable).collect();
        let dots = if skipped > 0 { "..." } else { "" };
        let marked =
            text.get(self.span.clone()).map_or(0, |marked| marked.lines().next().unwrap_or("").chars().count());
        let indent = dots.len() + column - 1 - skipped;
        let room = (SHOWN_CHARS_MAX + dots.len()).saturating_sub(indent).max(1);
        let carets = "^".repeat(marked.clamp(1, room));
        let _ = writeln!(shown, "  | {dots}{piece}\n  | {:indent$}{carets}", "");
        if let Some(help) = &self.help {
            let _ = writeln!(shown, "  = help: {help}");
        }
        shown
    }
}

fn printable(letter: char) -> char {
    if letter.is_control() { ' ' } else { letter }
}

/// `did you mean ...?`, where a name is near enough to one that exists.
pub(crate) fn suggestion<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    /// Longest name that is compared.
    const NAME_BYTES_MAX: usize = 80;
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let plain = name.to_ascii_lowercase();
    let distance_max = (plain.len() / 4).max(1);
    let near = names.into_iter().map(|known| (strsim::osa_distance(&plain, known), known));
    let nearest = near.filter(|(distance, _)| *distance <= distance_max).min_by_key(|(distance, _)| *distance);
    nearest.map(|(_, known)| format!("did you mean `{known}`?"))
}

#[cfg(test)]
mod tests;
