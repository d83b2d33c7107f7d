//! The parser: a Pratt parser over the lexer that makes the typed syntax tree. It knows the types of all fields and functions,
//! so that the first thing that is wrong is told where it stands.
//!
//! ```text
//! or < xor < and < not < comparison
//! ```

mod comparison;
mod operand;

use crate::ast::{Chain, Logic, LogicKind, Operand, Span};
use crate::diagnostic::{Code, Diagnostic};
use crate::field::{Field, Phase};
use crate::functions::Function;
use crate::lexer::Lexer;
use crate::limits::{EXPRESSION_BYTES_MAX, NESTING_MAX, NODES_MAX};
use crate::value::Type;

pub(crate) type Parsed<T> = Result<T, Diagnostic>;

/// What an expression is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose {
    /// The phase in which it is evaluated.
    pub phase: Phase,
    /// Whether it makes a value for a rewrite or a redirect, not a decision.
    pub values: bool,
}

/// Anything: a decision, or a value that no operator has made into one.
#[derive(Debug)]
pub(crate) enum Part {
    Logic(Logic),
    Operand(Operand),
}

pub(crate) struct Parser<'a> {
    pub(crate) lexer: Lexer<'a>,
    purpose: Purpose,
    nesting: usize,
    nodes: usize,
    regexes: usize,
    /// Functions that may be used once, and where they were.
    once: Vec<(Function, Span)>,
    /// Fields that the expression names.
    pub(crate) fields: Vec<Field>,
}

impl<'a> Parser<'a> {
    pub fn new(text: &'a str, purpose: Purpose) -> Parsed<Self> {
        if text.len() > EXPRESSION_BYTES_MAX {
            let message = format!("the expression is longer than {EXPRESSION_BYTES_MAX} bytes");
            return Err(Diagnostic::new(Code::TooLarge, 0..0, message));
        }
        if text.trim().is_empty() {
            return Err(Diagnostic::new(Code::Empty, 0..0, "the expression is empty"));
        }
        let lexer = Lexer::new(text);
        Ok(Self { lexer, purpose, nesting: 0, nodes: 0, regexes: 0, once: Vec::new(), fields: Vec::new() })
    }

    /// A decision, and nothing behind it.
    pub fn filter(&mut self) -> Parsed<Logic> {
        let part = self.part(None)?;
        let logic = self.decision(part)?;
        self.end()?;
        self.single(logic)
    }

    pub(crate) fn end(&mut self) -> Parsed<()> {
        if self.lexer.peek().is_none() {
            return Ok(());
        }
        let span = self.lexer.next_span();
        let error = Diagnostic::new(Code::Unexpected, span, "expected an operator or the end of the expression");
        Err(match &self.lexer.text[std::ops::Range::from(span)] {
            ")" => Diagnostic { message: "this parenthesis was never opened".into(), ..error },
            word => match operator_hint(word) {
                Some(help) => Diagnostic { code: Code::UnknownOperator, ..error.help(help) },
                None => error.help("expressions are joined by `and`, `or`, `xor`"),
            },
        })
    }

    /// Refuses an array of decisions where one is needed.
    pub(crate) fn single(&self, logic: Logic) -> Parsed<Logic> {
        if !logic.each {
            return Ok(logic);
        }
        let message = "this is a comparison for each element; whether any or all of them must hold is not said";
        Err(Diagnostic::new(Code::LooseEach, logic.span, message).help("write `any(...)` or `all(...)` around it"))
    }

    /// An expression whose operators bind tighter than `outer`.
    pub(crate) fn part(&mut self, outer: Option<Chain>) -> Parsed<Part> {
        let mut left = self.prefix()?;
        while let Some((chain, sign)) = self.chain_ahead() {
            if outer.is_some_and(|outer| chain <= outer) {
                break;
            }
            let first = self.decision(left)?;
            self.lexer.at += sign.len();
            let right = self.part(Some(chain))?;
            let right = self.decision(right)?;
            left = Part::Logic(self.joined(chain, first, right)?);
        }
        Ok(left)
    }

    fn chain_ahead(&mut self) -> Option<(Chain, &'static str)> {
        self.lexer.skip_space();
        for (sign, chain) in [("&&", Chain::And), ("^^", Chain::Xor), ("||", Chain::Or)] {
            if self.lexer.rest().starts_with(sign) {
                return Some((chain, sign));
            }
        }
        match self.lexer.peek_word() {
            "and" => Some((Chain::And, "and")),
            "xor" => Some((Chain::Xor, "xor")),
            "or" => Some((Chain::Or, "or")),
            _ => None,
        }
    }

    fn joined(&mut self, chain: Chain, left: Logic, right: Logic) -> Parsed<Logic> {
        self.node(right.span)?;
        let span = left.span.to(right.span);
        if left.each != right.each {
            let message = "one side is a comparison for each element, the other is not";
            return Err(Diagnostic::new(Code::LooseEach, span, message).help("put `any(...)` around the former"));
        }
        if left.each && source(&left) != source(&right) {
            let message = "comparisons for each element can only be joined where `[*]` stands behind the same array";
            return Err(Diagnostic::new(Code::DifferentArrays, span, message));
        }
        let each = left.each;
        let parts = match left {
            Logic { kind: LogicKind::Chain(same, mut parts), .. } if same == chain && !parts.is_empty() => {
                parts.push(right);
                parts
            }
            left => vec![left, right],
        };
        Ok(Logic { kind: LogicKind::Chain(chain, parts), span, each })
    }

    /// `not`, a parenthesis, or a comparison.
    fn prefix(&mut self) -> Parsed<Part> {
        self.lexer.skip_space();
        let start = self.lexer.at;
        if self.lexer.take_word("not") || (!self.lexer.rest().starts_with("!=") && self.lexer.take("!")) {
            let inner = self.nested(Self::prefix)?;
            let inner = self.decision(inner)?;
            let (span, each) = (Span::new(start, self.lexer.at), inner.each);
            return Ok(Part::Logic(Logic { kind: LogicKind::Not(Box::new(inner)), span, each }));
        }
        if self.lexer.take("(") {
            let inner = self.nested(|parser| parser.part(None))?;
            if !self.lexer.take(")") {
                return Err(self.unclosed(start));
            }
            // A parenthesis keeps its parts together: `a and (b and c)` is no chain of three.
            return Ok(Part::Logic(self.decision(inner)?));
        }
        self.comparison()
    }

    fn unclosed(&mut self, start: usize) -> Diagnostic {
        if self.lexer.peek().is_some() {
            let span = self.lexer.next_span();
            let error = Diagnostic::new(Code::Unexpected, span, "expected an operator or `)`");
            return match operator_hint(&self.lexer.text[std::ops::Range::from(span)]) {
                Some(help) => Diagnostic { code: Code::UnknownOperator, ..error.help(help) },
                None => error,
            };
        }
        Diagnostic::new(Code::Unexpected, start..start + 1, "this parenthesis is never closed")
    }

    /// What `read` reads, one level deeper.
    pub(crate) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            let message = format!("the expression is nested more than {NESTING_MAX} levels deep");
            return Err(Diagnostic::new(Code::TooLarge, self.lexer.next_span(), message));
        }
        let result = read(self);
        self.nesting -= 1;
        result
    }

    /// Counts a part of the expression.
    pub(crate) fn node(&mut self, span: Span) -> Parsed<()> {
        self.nodes += 1;
        if self.nodes <= NODES_MAX {
            return Ok(());
        }
        let message = format!("the expression has more than {NODES_MAX} parts");
        Err(Diagnostic::new(Code::TooLarge, span, message))
    }

    /// Makes a decision of a part: a Boolean value counts as it stands.
    pub(crate) fn decision(&mut self, part: Part) -> Parsed<Logic> {
        let operand = match part {
            Part::Logic(logic) => return Ok(logic),
            Part::Operand(operand) => operand,
        };
        let span = operand.span;
        let each = operand.each();
        match operand.kind {
            Type::Bool => Ok(Logic { kind: LogicKind::Truth(operand), span, each }),
            Type::Array(crate::value::Scalar::Bool) if !each => {
                Ok(Logic { kind: LogicKind::Truth(operand), span, each: true })
            }
            kind => Err(self.operator_missing(kind)),
        }
    }
}

/// The array that the elements of a part come from.
fn source(logic: &Logic) -> Option<Vec<String>> {
    match &logic.kind {
        LogicKind::Chain(_, parts) => parts.first().and_then(source),
        LogicKind::Not(inner) => source(inner),
        LogicKind::Truth(operand) | LogicKind::Compare(operand, _) => Some(operand::array_path(operand)),
        LogicKind::Quantified(..) => None,
    }
}

/// What was probably meant by a word where an operator was expected.
pub(crate) fn operator_hint(word: &str) -> Option<String> {
    /// What people write, and what the language has.
    const MEANT: &[(&str, &str)] = &[
        ("=", "to compare, write `eq` or `==`"),
        ("===", "to compare, write `eq` or `==`"),
        ("<>", "write `ne` or `!=`"),
        ("&", "write `and` or `&&`"),
        ("|", "write `or` or `||`"),
        ("^", "write `xor` or `^^`"),
        ("starts_with", "it is a function: `starts_with(field, \"start\")`"),
        ("ends_with", "it is a function: `ends_with(field, \"end\")`"),
        ("equals", "write `eq` or `==`"),
        ("is", "write `eq` or `==`"),
        ("like", "write `wildcard` or `contains`"),
    ];
    const WORDS: &[&str] =
        &["eq", "ne", "lt", "le", "gt", "ge", "contains", "matches", "in", "wildcard", "and", "or", "xor", "not"];
    if let Some((_, help)) = MEANT.iter().find(|(written, _)| *written == word) {
        return Some((*help).to_owned());
    }
    if WORDS.contains(&word) {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    if WORDS.contains(&lower.as_str()) {
        return Some(format!("operators are written in small letters: `{lower}`"));
    }
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    crate::diagnostic::suggestion(word, WORDS.iter().copied())
}
