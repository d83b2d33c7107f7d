//! What can go wrong with an operator.

use super::Kind;

/// Why an operator cannot be compiled. The fault is the rule's author's; a retry does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// No operator has this name.
    #[error("there is no operator @{name}")]
    Unknown {
        /// The name as written.
        name: String,
    },
    /// The operator is known and not offered.
    #[error("@{name} is not offered: {reason}")]
    Refused {
        /// The operator.
        name: &'static str,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// The argument is not what the operator takes.
    #[error("the argument of @{name}: {message}")]
    Argument {
        /// The operator.
        name: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A file cannot be read.
    #[error("the file {file} of @{name}: {reason}")]
    File {
        /// The operator.
        name: &'static str,
        /// The file, as the rule names it.
        file: String,
        /// Why.
        reason: String,
    },
}

impl OperatorError {
    pub(super) fn unknown(name: &str) -> Self {
        Self::Unknown { name: name.to_owned() }
    }

    pub(super) fn argument(kind: Kind, message: impl Into<String>) -> Self {
        Self::Argument { name: kind.name(), message: message.into() }
    }
}

/// An expression took more steps than [`RX_BACKTRACK_MAX`](super::RX_BACKTRACK_MAX): whether it matches is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the expression took too many steps")]
pub struct LimitExceeded;
