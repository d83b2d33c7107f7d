//! Kinds of expressions of the rules language: parsed when a document is read, so that what is wrong is told at its place in the text.

use std::fmt;
use std::sync::{Arc, OnceLock};

use archipel_rules::{Diagnostic, Expression, Field, Filter, Formula, Lists, Phase};
use serde_json::json;

use super::{Kind, quote, text};
use crate::diagnostic::{Code, Problem};
use crate::tree::Node;

/// An expression that decides, as it stands in a document.
#[derive(Clone)]
pub struct Condition(Arc<Parsed<Expression, Filter>>);

/// An expression that makes a text, as it stands in a document.
#[derive(Clone)]
pub struct ValueExpression(Arc<Parsed<archipel_rules::ValueExpression, Formula>>);

/// An expression, and its compiled form once the lists are known that it may name.
struct Parsed<E, C> {
    expression: E,
    compiled: OnceLock<Arc<C>>,
}

macro_rules! expression {
    ($name:ident, $compiled:ident) => {
        impl $name {
            /// The text.
            pub fn text(&self) -> &str {
                self.0.expression.text()
            }

            /// The fields that it reads, each once.
            pub fn fields(&self) -> &[Field] {
                self.0.expression.fields()
            }

            /// The compiled form; there for what is part of a snapshot.
            pub fn compiled(&self) -> Option<Arc<$compiled>> {
                self.0.compiled.get().cloned()
            }

            /// Compiles it, with the lists that it may name.
            pub(crate) fn compile(&self, lists: &Lists) -> Result<(), Problem> {
                let compiled = $compiled::compile(&self.0.expression, lists).map_err(problem)?;
                // The first stays: a document is compiled once.
                let _ = self.0.compiled.set(Arc::new(compiled));
                Ok(())
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.text() == other.text()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.text()).finish()
            }
        }
    };
}

expression!(Condition, Filter);
expression!(ValueExpression, Formula);

impl ValueExpression {
    /// Reads an expression about the request that makes a value of any type.
    pub(crate) fn of_request(text: &str) -> Result<Self, Problem> {
        let expression = archipel_rules::ValueExpression::parse(text, Phase::Request).map_err(problem)?;
        Ok(Self(Arc::new(Parsed { expression, compiled: OnceLock::new() })))
    }
}

/// A diagnostic of the language as a problem of the setting that holds the text.
fn problem(diagnostic: Diagnostic) -> Problem {
    let problem = Problem::error(Code::Expression, format!("is no expression: {}", diagnostic.message));
    let help = match diagnostic.help {
        Some(help) => format!("{help} ({})", diagnostic.code),
        None => format!("see {} in docs/rules.md", diagnostic.code),
    };
    problem.help(help).within(diagnostic.span)
}

/// What an expression of a setting may read.
#[derive(Clone, Copy)]
pub(crate) enum Reads {
    /// The request without its body.
    Head,
    /// The request.
    Request,
    /// The request and the reply to it.
    Response,
}

impl Reads {
    fn phase(self) -> Phase {
        match self {
            Self::Head | Self::Request => Phase::Request,
            Self::Response => Phase::Response,
        }
    }

    fn check(self, fields: &[Field]) -> Result<(), Vec<Problem>> {
        let body = fields.iter().find(|field| field.name().starts_with("http.request.body"));
        match (self, body) {
            (Self::Head, Some(field)) => {
                let message = format!("reads `{}`, which is not known yet where this rule is evaluated", field.name());
                Err(vec![Problem::error(Code::Expression, message)])
            }
            _ => Ok(()),
        }
    }
}

/// Expressions that decide.
pub(crate) struct Conditions(Reads);

impl Conditions {
    /// About the request without its body.
    pub(crate) const HEAD: Self = Self(Reads::Head);
    /// About the request.
    pub(crate) const REQUEST: Self = Self(Reads::Request);
    /// About the request and the reply.
    pub(crate) const RESPONSE: Self = Self(Reads::Response);
}

/// Expressions that make a text.
pub(crate) struct Values(Reads);

impl Values {
    /// Of the request.
    pub(crate) const REQUEST: Self = Self(Reads::Request);
    /// Of the request and the reply.
    pub(crate) const RESPONSE: Self = Self(Reads::Response);
}

fn parsed<E, C>(expression: Result<E, Diagnostic>) -> Result<Arc<Parsed<E, C>>, Vec<Problem>> {
    let expression = expression.map_err(|diagnostic| vec![problem(diagnostic)])?;
    Ok(Arc::new(Parsed { expression, compiled: OnceLock::new() }))
}

macro_rules! kind {
    ($kind:ident, $value:ident, $parse:expr, $allowed:literal) => {
        impl Kind<$value> for $kind {
            fn read(&self, node: &Node) -> Result<$value, Vec<Problem>> {
                let parse: fn(&str, Phase) -> Result<_, Diagnostic> = $parse;
                let value = $value(parsed(parse(text(node, "a text")?, self.0.phase()))?);
                self.0.check(value.fields())?;
                Ok(value)
            }

            fn write(&self, value: &$value) -> Option<String> {
                Some(quote(value.text()))
            }

            fn name(&self) -> &'static str {
                "expression"
            }

            fn allowed(&self) -> String {
                $allowed.to_owned()
            }

            fn schema(&self) -> serde_json::Value {
                json!({"type": "string", "minLength": 1, "maxLength": archipel_rules::limits::EXPRESSION_BYTES_MAX})
            }
        }
    };
}

kind!(Conditions, Condition, Expression::parse_in, "expression of the rules language that is true or false");
kind!(
    Values,
    ValueExpression,
    archipel_rules::ValueExpression::parse_text,
    "expression of the rules language that makes a text"
);
