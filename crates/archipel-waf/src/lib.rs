//! A SecLang engine: the language in which the OWASP Core Rule Set is written, as ModSecurity 3 means it.
//!
//! Owns: the parser with its file and line errors, the compiled rule set, transformations, operators, the parsers of bodies,
//! and the transaction that evaluates the phases. Must never: open a file or a socket by itself, read a clock, or know what a
//! zone is: text, addresses and time come in as arguments.

pub mod body;
pub mod builtin;
#[cfg(test)]
mod builtin_tests;
pub mod byte_set;
pub mod operator;
mod prefilter;
mod program;
#[cfg(test)]
mod random;
mod seclang;
pub mod transaction;
pub mod transform;

pub use program::{Mode, RuleSet};
pub use seclang::{Error, Files, NoFiles, Source};
pub use transaction::{Budget, Clock, Connection, Interruption, Match, Scratch, Transaction, Verdict};
