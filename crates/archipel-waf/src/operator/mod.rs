//! Operators: what compares a value with the argument of a rule.
//!
//! An operator is compiled once from its name and argument. Where the argument has macros it is known only when the rule is
//! evaluated: [`evaluate`] does that for what is cheap, [`RxCache`] for regular expressions. Negation is the caller's.

mod captures;
mod compare;
mod error;
mod ip;
pub mod libinjection;
mod pm;
mod requirement;
#[cfg(test)]
mod requirement_tests;
mod rx;
#[cfg(test)]
mod tests;
mod validate;
mod verify;

use std::borrow::Cow;

use memchr::memmem;

pub use captures::Captures;
pub use error::{LimitExceeded, OperatorError};
pub use pm::PM_WORDS_MAX;
pub use requirement::Requirement;
pub use rx::{
    RX_BACKTRACK_MAX, RX_CACHE_BYTES_MAX, RX_CACHED_MAX, RX_PATTERN_BYTES_MAX, RX_PROGRAM_BYTES_MAX, RxCache,
};

use crate::byte_set::ByteSet;
use compare::{Comparison, Text};

/// The largest data file that `pmFromFile` and `ipMatchFromFile` take, in bytes.
pub const DATA_FILE_BYTES_MAX: usize = 16 << 20;

/// Where the files come from that rules name. The caller resolves names against the file of the rule.
pub trait DataFiles {
    /// The contents of the file called `name`, or why there are none, for a person to read.
    fn read(&self, name: &str) -> Result<Cow<'_, [u8]>, String>;
}

/// No file exists.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl DataFiles for NoFiles {
    fn read(&self, _name: &str) -> Result<Cow<'_, [u8]>, String> {
        Err("no files are at hand here".to_owned())
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal $(| $other:literal)*,)*) => {
        /// An operator's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The operator called `name`, whatever its case.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                $(if name.eq_ignore_ascii_case($name) $(|| name.eq_ignore_ascii_case($other))* {
                    return Some(Self::$variant);
                })*
                None
            }

            /// The name as the reference manual spells it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// The value begins with the argument.
    BeginsWith = "beginsWith",
    /// The argument is somewhere in the value.
    Contains = "contains",
    /// The argument is somewhere in the value, with no ASCII letter beside it.
    ContainsWord = "containsWord",
    /// libinjection takes the value for SQL.
    DetectSqli = "detectSQLi",
    /// libinjection takes the value for script.
    DetectXss = "detectXSS",
    /// The value ends with the argument.
    EndsWith = "endsWith",
    /// The numbers are equal.
    Eq = "eq",
    /// Refused: needs a fuzzy hash library.
    FuzzyHash = "fuzzyHash",
    /// The value's number is greater or equal.
    Ge = "ge",
    /// Refused: needs a database of places.
    GeoLookup = "geoLookup",
    /// Refused: asks a service that ended.
    GsbLookup = "gsbLookup",
    /// The value's number is greater.
    Gt = "gt",
    /// Refused: runs a program.
    InspectFile = "inspectFile",
    /// The value is an address in one of the networks of the argument.
    IpMatch = "ipMatch",
    /// The value is an address in one of the networks of a file.
    IpMatchFromFile = "ipMatchFromFile" | "ipMatchF",
    /// The value's number is less or equal.
    Le = "le",
    /// The value's number is less.
    Lt = "lt",
    /// Nothing.
    NoMatch = "noMatch",
    /// One of the words of the argument is somewhere in the value, whatever its case.
    Pm = "pm",
    /// One of the lines of a file is somewhere in the value, whatever its case.
    PmFromFile = "pmFromFile" | "pmf",
    /// Refused: asks the DNS while a request waits.
    Rbl = "rbl",
    /// Refused: never did anything in ModSecurity 3.
    Rsub = "rsub",
    /// The regular expression matches.
    Rx = "rx",
    /// As `rx`, going on behind each match; the captures of all are kept, as far as there is room.
    RxGlobal = "rxGlobal",
    /// The value is the argument.
    Streq = "streq",
    /// The argument is somewhere in the value.
    StrMatch = "strmatch",
    /// Everything.
    UnconditionalMatch = "unconditionalMatch",
    /// The value has a byte outside of the ranges of the argument.
    ValidateByteRange = "validateByteRange",
    /// Refused: needs an XML document type.
    ValidateDtd = "validateDTD",
    /// Refused: part of ModSecurity 2's hash engine.
    ValidateHash = "validateHash",
    /// Refused: needs an XML schema.
    ValidateSchema = "validateSchema",
    /// A percent sign is not followed by two hexadecimal digits.
    ValidateUrlEncoding = "validateUrlEncoding",
    /// The value is not UTF-8.
    ValidateUtf8Encoding = "validateUtf8Encoding",
    /// What the regular expression finds is a payment card number.
    VerifyCc = "verifyCC",
    /// What the regular expression finds is a Brazilian tax number.
    VerifyCpf = "verifyCPF",
    /// What the regular expression finds is a US social security number.
    VerifySsn = "verifySSN",
    /// What the regular expression finds is an Austrian social security number.
    VerifySvnr = "verifySVNR",
    /// The value is somewhere in the argument.
    Within = "within",
}

impl Kind {
    /// Why this operator is refused, if it is.
    #[must_use]
    pub const fn refusal(self) -> Option<&'static str> {
        Some(match self {
            Self::FuzzyHash => "it needs ssdeep; compare exact digests of t:sha1 with @pm instead",
            Self::GeoLookup => "countries are matched in the rules language, with ip.src.country",
            Self::GsbLookup => "Google ended the service that it asks",
            Self::InspectFile => "it runs a program for each request",
            Self::Rbl => "it asks the DNS while the request waits; load the list with @ipMatchFromFile instead",
            Self::Rsub => "ModSecurity 3 has the name only and matches always",
            Self::ValidateDtd | Self::ValidateSchema => "XML is read without documents that it names",
            Self::ValidateHash => "it belongs to the hash engine of ModSecurity 2, which 3 does not have",
            _ => return None,
        })
    }

    /// Whether [`evaluate`] takes it.
    #[must_use]
    pub const fn is_cheap(self) -> bool {
        self.text().is_some() || self.comparison().is_some()
    }

    const fn text(self) -> Option<Text> {
        Some(match self {
            Self::BeginsWith => Text::BeginsWith,
            Self::Contains | Self::StrMatch => Text::Contains,
            Self::ContainsWord => Text::ContainsWord,
            Self::EndsWith => Text::EndsWith,
            Self::Streq => Text::Equals,
            Self::Within => Text::Within,
            _ => return None,
        })
    }

    const fn comparison(self) -> Option<Comparison> {
        Some(match self {
            Self::Eq => Comparison::Eq,
            Self::Ge => Comparison::Ge,
            Self::Gt => Comparison::Gt,
            Self::Le => Comparison::Le,
            Self::Lt => Comparison::Lt,
            _ => return None,
        })
    }
}

/// Evaluates an operator whose argument had macros, with `argument` after their expansion. `None` where the operator needs to be
/// compiled ([`Kind::is_cheap`]).
#[must_use]
pub fn evaluate(kind: Kind, argument: &[u8], value: &[u8]) -> Option<bool> {
    if let Some(text) = kind.text() {
        Some(text.matches(argument, value))
    } else {
        kind.comparison().map(|comparison| comparison.matches(argument, value))
    }
}

/// A compiled operator.
#[derive(Debug)]
pub struct Operator {
    kind: Kind,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Always(bool),
    Text(Text, Box<[u8]>),
    Contains(Box<memmem::Finder<'static>>),
    Number(Comparison, compare::Number),
    Addresses(ip::AddressSet),
    Words(pm::Words),
    Rx(Box<rx::Rx>),
    RxGlobal(Box<rx::Rx>),
    DetectSqli,
    DetectXss,
    OutsideOf(ByteSet),
    UrlEncoding,
    Utf8Encoding,
    Verify(verify::Number, Box<rx::Rx>),
}

impl Operator {
    /// Compiles the operator called `name`, without its `@` and without negation. `files` is asked for what it names.
    pub fn compile(name: &str, argument: &[u8], files: &dyn DataFiles) -> Result<Self, OperatorError> {
        let kind = Kind::from_name(name).ok_or_else(|| OperatorError::unknown(name))?;
        Self::compile_kind(kind, argument, files)
    }

    /// As [`compile`](Self::compile), for a name that is known.
    pub fn compile_kind(kind: Kind, argument: &[u8], files: &dyn DataFiles) -> Result<Self, OperatorError> {
        if let Some(reason) = kind.refusal() {
            return Err(OperatorError::Refused { name: kind.name(), reason });
        }
        let test = match kind {
            Kind::Contains | Kind::StrMatch => Test::Contains(Box::new(memmem::Finder::new(argument).into_owned())),
            Kind::DetectSqli => Test::DetectSqli,
            Kind::DetectXss => Test::DetectXss,
            Kind::IpMatch => Test::Addresses(ip::AddressSet::parse(kind, argument)?),
            Kind::IpMatchFromFile => Test::Addresses(ip::AddressSet::parse(kind, &file(kind, argument, files)?)?),
            Kind::NoMatch => Test::Always(false),
            Kind::UnconditionalMatch => Test::Always(true),
            Kind::Pm => Test::Words(pm::Words::from_argument(kind, argument)?),
            Kind::PmFromFile => Test::Words(pm::Words::from_lines(kind, &file(kind, argument, files)?)?),
            Kind::Rx => Test::Rx(Box::new(rx::Rx::compile(kind, argument)?)),
            Kind::RxGlobal => Test::RxGlobal(Box::new(rx::Rx::compile(kind, argument)?)),
            Kind::ValidateByteRange => Test::OutsideOf(validate::byte_ranges(argument)?.complement()),
            Kind::ValidateUrlEncoding => Test::UrlEncoding,
            Kind::ValidateUtf8Encoding => Test::Utf8Encoding,
            Kind::VerifyCc => Test::Verify(verify::Number::Card, Box::new(rx::Rx::compile(kind, argument)?)),
            Kind::VerifyCpf => Test::Verify(verify::Number::Cpf, Box::new(rx::Rx::compile(kind, argument)?)),
            Kind::VerifySsn => Test::Verify(verify::Number::Ssn, Box::new(rx::Rx::compile(kind, argument)?)),
            Kind::VerifySvnr => Test::Verify(verify::Number::Svnr, Box::new(rx::Rx::compile(kind, argument)?)),
            _ => match (kind.text(), kind.comparison()) {
                (Some(text), _) => Test::Text(text, argument.into()),
                (None, Some(comparison)) => Test::Number(comparison, comparison.read(argument)),
                (None, None) => return Err(OperatorError::unknown(kind.name())),
            },
        };
        Ok(Self { kind, test })
    }

    /// Which operator it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// An estimate of the bytes that it holds on the heap, without what expressions keep as they are used.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.test {
            Test::Text(_, text) => text.len(),
            Test::Contains(finder) => finder.needle().len(),
            Test::Words(words) => words.bytes(),
            Test::Rx(rx) | Test::RxGlobal(rx) | Test::Verify(_, rx) => rx.bytes(),
            _ => 0,
        }
    }

    /// Whether the operator matches `value`. What it captures is put into `captures`, which is emptied first. An expression that
    /// exceeded its budget did not match; [`try_matches`](Self::try_matches) tells.
    #[must_use]
    pub fn matches(&self, value: &[u8], captures: Option<&mut Captures>) -> bool {
        self.try_matches(value, captures).unwrap_or(false)
    }

    /// As [`matches`](Self::matches); an error where an expression with look-around or back-references took too many steps.
    pub fn try_matches(&self, value: &[u8], mut captures: Option<&mut Captures>) -> Result<bool, LimitExceeded> {
        if let Some(captures) = captures.as_deref_mut() {
            captures.clear();
        }
        Ok(match &self.test {
            Test::Always(answer) => *answer,
            Test::Text(text, argument) => text.matches(argument, value),
            Test::Contains(finder) => finder.find(value).is_some(),
            Test::Number(comparison, number) => comparison.holds(value, *number),
            Test::Addresses(set) => set.contains(value),
            Test::Words(words) => words.matches(value, captures),
            Test::Rx(rx) => return rx.matches(value, captures),
            Test::RxGlobal(rx) => return rx.matches_all(value, captures),
            Test::DetectSqli => match libinjection::detect_sqli(value) {
                Some(fingerprint) => {
                    if let Some(captures) = captures {
                        captures.set_text(fingerprint.as_bytes());
                    }
                    true
                }
                None => false,
            },
            Test::DetectXss => {
                let is_xss = libinjection::detect_xss(value);
                if let (true, Some(captures)) = (is_xss, captures) {
                    captures.set(0, 0..value.len());
                }
                is_xss
            }
            Test::OutsideOf(outside) => value.iter().any(|&byte| outside.contains(byte)),
            Test::UrlEncoding => validate::has_bad_percent(value),
            Test::Utf8Encoding => std::str::from_utf8(value).is_err(),
            Test::Verify(number, rx) => return verify::matches(*number, rx, value, captures),
        })
    }

    /// What a value must have to be matched; `None` where nothing is known. Sound: what it turns away would not match.
    #[must_use]
    pub fn requirement(&self) -> Option<Requirement> {
        let requirement = match &self.test {
            Test::Always(true) | Test::Number(..) | Test::Addresses(_) => return None,
            Test::Always(false) => Requirement::one_of(ByteSet::EMPTY),
            Test::Text(Text::Within, _) => return None,
            Test::Text(_, argument) => Requirement::literal(argument),
            Test::Contains(finder) => Requirement::literal(finder.needle()),
            Test::Words(words) => words.requirement(),
            Test::Rx(rx) | Test::RxGlobal(rx) | Test::Verify(_, rx) => rx.requirement().clone(),
            Test::DetectSqli => Requirement::one_of(libinjection::SQLI_TRIGGER),
            Test::DetectXss => Requirement::one_of(libinjection::XSS_TRIGGER),
            Test::OutsideOf(outside) => Requirement::one_of(*outside),
            Test::UrlEncoding => Requirement::one_of(ByteSet::from_members(b"%")),
            Test::Utf8Encoding => Requirement::one_of(ByteSet::range(0x80, 0xff)),
        };
        (!requirement.is_trivial()).then_some(requirement)
    }
}

/// The contents of the file that `argument` names.
fn file<'a>(kind: Kind, argument: &[u8], files: &'a dyn DataFiles) -> Result<Cow<'a, [u8]>, OperatorError> {
    let name = std::str::from_utf8(argument.trim_ascii())
        .map_err(|_| OperatorError::argument(kind, "the name of the file is not UTF-8"))?;
    if name.starts_with("https://") {
        return Err(OperatorError::argument(kind, "files are read from disk, not fetched"));
    }
    let error = |reason| OperatorError::File { name: kind.name(), file: name.to_owned(), reason };
    let contents = files.read(name).map_err(error)?;
    if contents.len() > DATA_FILE_BYTES_MAX {
        return Err(error(format!("it is larger than {DATA_FILE_BYTES_MAX} bytes")));
    }
    Ok(contents)
}
