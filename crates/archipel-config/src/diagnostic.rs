//! Diagnostics: what is wrong with a document, where, and what to do about it.
//!
//! Owns the table of codes, which is a public interface (a code never changes its meaning), and the list that collects
//! problems. Knows nothing about any particular setting, and never prints: see `render` for the text.

use std::fmt;
use std::ops::Range;

use serde::{Serialize, Serializer};

use crate::tree::Source;

/// Most diagnostics that one load keeps; what comes after is only counted.
pub const DIAGNOSTICS_MAX: usize = 200;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal;)+) => {
        /// What kind of problem a [`Diagnostic`] reports. The text form (`C012`) is stable across releases.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Code] = &[$(Code::$variant),+];

            /// The stable text form, such as `C012`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text),+ }
            }

            /// One sentence that says what the code stands for.
            pub fn summary(self) -> &'static str {
                match self { $(Code::$variant => concat!($($doc),+).trim_ascii()),+ }
            }
        }
    };
}

codes! {
    /// The document is not valid TOML.
    TomlSyntax = "C001";
    /// The document is not valid JSON, or a JSON object holds a key twice.
    JsonSyntax = "C002";
    /// A document or a file that it names is larger than allowed.
    TooLarge = "C003";
    /// A file or directory cannot be read, or is not UTF-8 text.
    Unreadable = "C004";
    /// A document's name says neither node nor zone.
    UnknownDocument = "C005";
    /// The same document is given twice, such as node.toml and node.json.
    DocumentTwice = "C006";
    /// There is nothing to load.
    NoDocuments = "C007";
    /// No setting of this name exists here.
    UnknownKey = "C010";
    /// The value has another type than the setting.
    WrongType = "C011";
    /// The value lies outside the setting's bounds.
    OutOfRange = "C012";
    /// The value is none of the setting's words.
    UnknownWord = "C013";
    /// The text of the value cannot be understood.
    Malformed = "C014";
    /// The same entry stands twice in a list.
    Duplicate = "C015";
    /// A setting without a default is not given.
    Missing = "C016";
    /// A list has more entries, or a value is nested deeper, than allowed.
    TooMany = "C017";
    /// An expression of the rules language is wrong.
    Expression = "C018";
    /// A host name cannot be used.
    BadHost = "C020";
    /// The same host belongs to two zones.
    HostInTwoZones = "C021";
    /// A zone's name cannot be used, or has the same stable number as another zone's.
    BadZoneName = "C022";
    /// Two listeners use the same address.
    ListenerTwice = "C030";
    /// The setting opens something to the world that has to be allowed explicitly.
    Exposed = "C031";
    /// Two settings only work together, and one is missing.
    Incomplete = "C032";
    /// A file that a setting names does not exist or cannot be read.
    FileMissing = "C033";
    /// Two settings contradict each other.
    Contradiction = "C034";
    /// The setting is valid but has no effect here.
    NoEffect = "C035";
    /// The configuration has no zone, so that every request is refused.
    NoZones = "C036";
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How bad a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration works, but probably not as meant.
    Warning,
}

/// A place in a text: both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// A range of a document's text, with the source line needed to show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// First character.
    pub start: Position,
    /// Just after the last character.
    pub end: Position,
    /// The text of the first line, without its line end, at most [`SNIPPET_CHARS_MAX`] characters from the start of the
    /// line or around the place.
    pub text: String,
    /// How many characters of the line were left out before `text`.
    pub text_offset: usize,
}

/// Most characters of a source line that a diagnostic carries.
pub const SNIPPET_CHARS_MAX: usize = 160;

/// A second place that a diagnostic speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    /// Document, as it was named when loading.
    pub file: String,
    /// Place in it; JSON documents have none.
    pub span: Option<Span>,
    /// What is there.
    pub message: String,
}

/// One problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Kind of problem.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// Document, as it was named when loading.
    pub file: String,
    /// Place in the document; JSON documents have none.
    pub span: Option<Span>,
    /// Dotted path of the setting (`origin.url`), empty where the whole document is meant.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// A second place, such as the first use of something that may be used once.
    pub related: Option<Related>,
}

/// A list of diagnostics, in the order of documents and lines. Holds at most [`DIAGNOSTICS_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    dropped: usize,
    errors: usize,
}

impl Diagnostics {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one; once [`DIAGNOSTICS_MAX`] are held it is only counted.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            self.errors += 1;
        }
        if self.list.len() >= DIAGNOSTICS_MAX {
            self.dropped += 1;
        } else {
            self.list.push(diagnostic);
        }
    }

    /// Adds a problem of a document. Working out its place costs a pass over the text, so it is not done for a problem that
    /// is only counted.
    pub(crate) fn report(&mut self, source: &Source, path: &str, span: Option<Range<usize>>, problem: Problem) {
        if self.is_full() {
            self.errors += usize::from(problem.severity == Severity::Error);
            self.dropped += 1;
        } else {
            self.push(source.diagnostic(path, span, problem));
        }
    }

    /// True once further diagnostics are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= DIAGNOSTICS_MAX
    }

    /// Sorts by document and place, those without a place first; stable for the rest.
    pub(crate) fn sort(&mut self) {
        self.list.sort_by(|a, b| {
            let place = |d: &Diagnostic| d.span.as_ref().map(|span| (span.start.line, span.start.column));
            (&a.file, place(a)).cmp(&(&b.file, place(b)))
        });
    }

    /// True if the configuration cannot be used.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many errors were found, counting those beyond the limit.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// How many diagnostics were found but not kept.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// True if nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many diagnostics are kept.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The kept diagnostics.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// A problem before it is tied to a document: what a check of one value returns.
#[derive(Debug)]
pub(crate) struct Problem {
    pub code: Code,
    pub severity: Severity,
    pub message: String,
    pub help: Option<String>,
    /// Narrower than the value itself, such as one entry of a list.
    pub span: Option<Range<usize>>,
    /// Bytes of the text that the value holds, where the value is a text and the problem lies inside of it.
    pub within: Option<Range<usize>>,
    pub related: Option<Box<Related>>,
}

impl Problem {
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            help: None,
            span: None,
            within: None,
            related: None,
        }
    }

    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn at(mut self, span: Option<Range<usize>>) -> Self {
        self.span = span.or(self.span);
        self
    }

    pub fn within(mut self, range: Range<usize>) -> Self {
        self.within = Some(range);
        self
    }

    pub fn related(mut self, related: Related) -> Self {
        self.related = Some(Box::new(related));
        self
    }
}
