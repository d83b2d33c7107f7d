//! The two kinds of expressions, and their compiled forms: an [`Expression`] decides and becomes a [`Filter`]; a
//! [`ValueExpression`] makes a value and becomes a [`Formula`].

use std::fmt;
use std::ops::Range;

use crate::ast::{Argument, ArgumentKind, Literal, Logic};
use crate::diagnostic::{Code, Diagnostic};
use crate::field::{Field, Fields, Phase};
use crate::list::Lists;
use crate::parser::{Parsed, Parser, Part, Purpose};
use crate::program::{ArgumentNode, Node, argument, decision};
use crate::value::{Type, Value};

/// An expression that decides: `http.host eq "example.com" and ip.src in $office`.
#[derive(Clone)]
pub struct Expression {
    text: Box<str>,
    pub(crate) logic: Logic,
    fields: Box<[Field]>,
}

impl Expression {
    /// Reads an expression about a request, where fields of the response are an error.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, Diagnostic> {
        Self::parse_in(text, Phase::Request)
    }

    /// Reads an expression for a phase.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse_in(text: &str, phase: Phase) -> Result<Self, Diagnostic> {
        let (logic, fields) = parsed(text, Purpose { phase, values: false }, |parser| parser.filter())?;
        Ok(Self { text: text.into(), logic, fields })
    }

    /// The text that was read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The fields that it names, each once.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

/// An expression that makes a value for a rewrite or the target of a redirect: `concat("/new", http.request.uri.path)`.
#[derive(Clone)]
pub struct ValueExpression {
    text: Box<str>,
    argument: Argument,
    kind: Type,
    fields: Box<[Field]>,
}

impl ValueExpression {
    /// Reads an expression that makes a value.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &str, phase: Phase) -> Result<Self, Diagnostic> {
        let (argument, fields) = parsed(text, Purpose { phase, values: true }, |parser| parser.value())?;
        let kind = argument.kind();
        Ok(Self { text: text.into(), argument, kind, fields })
    }

    /// Reads an expression that makes a text.
    ///
    /// # Errors
    /// The first thing that is wrong, or an expression of another type.
    pub fn parse_text(text: &str, phase: Phase) -> Result<Self, Diagnostic> {
        let parsed = Self::parse(text, phase)?;
        if parsed.kind == Type::Bytes {
            return Ok(parsed);
        }
        let message = format!("a String is needed here, this is of type {}", parsed.kind);
        let error = Diagnostic::new(Code::WrongType, parsed.argument.span, message);
        Err(match parsed.kind {
            Type::Int | Type::Bool | Type::Ip => error.help("`to_string(...)` makes it one"),
            _ => error,
        })
    }

    /// The text that was read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The fields that it names, each once.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The type of the value that it makes.
    #[must_use]
    pub fn kind(&self) -> Type {
        self.kind
    }
}

impl fmt::Debug for ValueExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValueExpression").field(&self.text).finish()
    }
}

impl Parser<'_> {
    /// A value, and nothing behind it.
    fn value(&mut self) -> Parsed<Argument> {
        let start = self.lexer.peek();
        let argument = if self.lexer.at_string() || matches!(start, Some(b'0'..=b'9' | b'-')) {
            self.argument()?
        } else {
            match self.part(None)? {
                Part::Logic(logic) => {
                    let logic = self.single(logic)?;
                    Argument { span: logic.span, kind: ArgumentKind::Logic(logic) }
                }
                Part::Operand(operand) if operand.each() => {
                    let message = "`[*]` stands for many values, one is needed here";
                    return Err(Diagnostic::new(Code::LooseEach, operand.span, message));
                }
                Part::Operand(operand) => Argument { span: operand.span, kind: ArgumentKind::Operand(operand) },
            }
        };
        self.end()?;
        Ok(argument)
    }
}

/// What `read` makes of the text, and the fields that it names.
fn parsed<T>(
    text: &str,
    purpose: Purpose,
    read: impl FnOnce(&mut Parser<'_>) -> Parsed<T>,
) -> Result<(T, Box<[Field]>), Diagnostic> {
    let parse = || {
        let mut parser = Parser::new(text, purpose)?;
        let result = read(&mut parser)?;
        let mut fields = parser.fields;
        fields.sort_unstable();
        fields.dedup();
        Ok((result, fields.into()))
    };
    parse().map_err(|error| settled(error, text))
}

/// Moves the ends of the span into the text and between characters.
fn settled(mut error: Diagnostic, text: &str) -> Diagnostic {
    let between = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let Range { start, end } = error.span;
    error.span = between(start)..between(end.max(start));
    error
}

/// A compiled expression. Cheap to evaluate, and shared between threads.
#[derive(Clone, Debug)]
pub struct Filter {
    pub(crate) node: Node,
}

impl Filter {
    /// Compiles an expression. The lists that it names are looked up once, here; their items may be replaced later.
    ///
    /// # Errors
    /// A list that does not exist, or holds values of another type.
    pub fn compile(expression: &Expression, lists: &Lists) -> Result<Self, Diagnostic> {
        Ok(Self { node: decision(&expression.logic, lists)? })
    }

    /// Whether it holds for a request.
    #[must_use]
    pub fn matches(&self, fields: &dyn Fields) -> bool {
        self.node.holds(fields)
    }
}

/// A compiled expression that makes a value.
#[derive(Clone, Debug)]
pub struct Formula {
    node: ArgumentNode,
}

impl Formula {
    /// Compiles an expression.
    ///
    /// # Errors
    /// A list that does not exist, or holds values of another type.
    pub fn compile(expression: &ValueExpression, lists: &Lists) -> Result<Self, Diagnostic> {
        Ok(Self { node: argument(&expression.argument, lists)? })
    }

    /// A formula for a text that is always the same.
    #[must_use]
    pub fn constant(text: &[u8]) -> Self {
        Self { node: ArgumentNode::Literal(Literal::Bytes(text.into())) }
    }

    /// The value for a request; nil where a part is missing that the value cannot do without.
    #[must_use]
    pub fn value<'a>(&'a self, fields: &'a dyn Fields) -> Value<'a> {
        self.node.value(fields)
    }
}

#[cfg(test)]
mod tests;
