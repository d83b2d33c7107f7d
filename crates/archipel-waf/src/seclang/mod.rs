//! The language: files to directives. Nothing here knows what a rule does; that is `program`'s.

mod directive;
mod lines;
mod rule;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use directive::{Directive, IdRange, RuleSelector, Setting, parse_id_ranges};
pub(crate) use rule::{ActionText, OperatorText, RuleText, Selector, TargetText, parse_targets};

use lines::Lines;

/// Files that may include each other before the chain is refused.
pub const INCLUDE_DEPTH_MAX: u32 = 16;
/// Directives of one rule set.
pub const DIRECTIVES_MAX: usize = 100_000;
/// Errors that one load reports; what follows would be consequences of these.
pub const ERRORS_MAX: usize = 100;

/// A configuration text and the name that errors give it.
#[derive(Debug, Clone)]
pub struct Source {
    /// What errors call it, and what relative file names in it are relative to: usually its path.
    pub name: String,
    /// Its bytes.
    pub text: Vec<u8>,
}

/// Where `Include` and the operators that read files (`pmFromFile`, `ipMatchFromFile`) get them from.
pub trait Files {
    /// The bytes of the file that `from` calls `name`. The error is a short sentence.
    fn read(&self, from: &str, name: &str) -> Result<Vec<u8>, String>;

    /// The files that `from` includes with `pattern`, in the order in which they are to be read. A pattern that names nothing
    /// is an error.
    fn expand(&self, from: &str, pattern: &str) -> Result<Vec<String>, String> {
        let _ = from;
        Ok(vec![pattern.to_owned()])
    }
}

/// No files: every `Include` and every operator that reads one is refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _from: &str, name: &str) -> Result<Vec<u8>, String> {
        Err(format!("no files are available here, so not `{name}` either"))
    }
}

/// Something wrong in a rule file (the operator's fault), or a warning about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct Error {
    /// Name of the source.
    pub file: Arc<str>,
    /// Line on which the directive begins, from 1.
    pub line: u32,
    /// What is wrong with it.
    pub message: String,
}

/// Where a directive stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub file: Arc<str>,
    pub line: u32,
}

impl Place {
    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        Error { file: Arc::clone(&self.file), line: self.line, message: message.into() }
    }
}

/// All directives of `sources` in order, with `Include`s in their places. All errors are reported, up to [`ERRORS_MAX`].
pub(crate) fn parse(sources: &[Source], files: &dyn Files) -> (Vec<(Place, Directive)>, Vec<Error>) {
    let mut parsed = Parsed::default();
    for source in sources {
        parsed.source(&source.name, &source.text, files, 0);
    }
    (parsed.directives, parsed.errors)
}

#[derive(Default)]
struct Parsed {
    directives: Vec<(Place, Directive)>,
    errors: Vec<Error>,
}

impl Parsed {
    fn source(&mut self, name: &str, text: &[u8], files: &dyn Files, depth: u32) {
        let file: Arc<str> = Arc::from(name);
        for (line, text) in Lines::new(text) {
            if self.errors.len() >= ERRORS_MAX || self.directives.len() >= DIRECTIVES_MAX {
                return;
            }
            let place = Place { file: Arc::clone(&file), line };
            match directive::parse(&text) {
                Ok(Directive::Include(pattern)) => self.include(&place, &pattern, files, depth),
                Ok(directive) => self.directives.push((place, directive)),
                Err(message) => self.errors.push(place.error(message)),
            }
        }
        if self.directives.len() >= DIRECTIVES_MAX {
            let place = Place { file, line: 0 };
            self.errors.push(place.error(format!("more than {DIRECTIVES_MAX} directives")));
        }
    }

    fn include(&mut self, place: &Place, pattern: &str, files: &dyn Files, depth: u32) {
        if depth >= INCLUDE_DEPTH_MAX {
            self.errors.push(place.error(format!("files include each other more than {INCLUDE_DEPTH_MAX} deep")));
            return;
        }
        let names = match files.expand(&place.file, pattern) {
            Ok(names) => names,
            Err(message) => return self.errors.push(place.error(message)),
        };
        for name in names {
            match files.read(&place.file, &name) {
                Ok(text) => self.source(&name, &text, files, depth + 1),
                Err(message) => self.errors.push(place.error(message)),
            }
        }
    }
}
