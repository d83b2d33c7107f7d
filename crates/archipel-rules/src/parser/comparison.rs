//! Comparisons: an operand, an operator, and the literal on its right, whose form depends on both.

use super::{Parsed, Parser, Part, operator_hint};
use crate::ast::{Comparison, Literal, Logic, LogicKind, Operand, Span, Test};
use crate::diagnostic::{Code, Diagnostic};
use crate::limits::{REGEXES_MAX, SET_ITEMS_MAX};
use crate::regexes::Regex;
use crate::sets::{AddressSet, IntSet};
use crate::value::Type;
use crate::wildcard::Wildcard;

/// An operator between a value and a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Compare(Comparison),
    Contains,
    Matches,
    Wildcard { strict: bool },
    In,
}

impl Parser<'_> {
    /// An operand, and the comparison behind it if there is one.
    pub(super) fn comparison(&mut self) -> Parsed<Part> {
        let operand = match self.operand()? {
            Part::Operand(operand) => operand,
            logic => return Ok(logic),
        };
        let Some((operator, span)) = self.operator() else { return Ok(Part::Operand(operand)) };
        self.node(span)?;
        let test = self.test(&operand, operator, span)?;
        let each = operand.each();
        let span = Span::new(operand.span.start as usize, self.lexer.at);
        Ok(Part::Logic(Logic { kind: LogicKind::Compare(operand, test), span, each }))
    }

    fn operator(&mut self) -> Option<(Operator, Span)> {
        use Comparison::{Eq, Ge, Gt, Le, Lt, Ne};
        const SIGNS: &[(&str, Operator)] = &[
            ("==", Operator::Compare(Eq)),
            ("!=", Operator::Compare(Ne)),
            ("<=", Operator::Compare(Le)),
            (">=", Operator::Compare(Ge)),
            ("<", Operator::Compare(Lt)),
            (">", Operator::Compare(Gt)),
            ("~", Operator::Matches),
        ];
        const WORDS: &[(&str, Operator)] = &[
            ("eq", Operator::Compare(Eq)),
            ("ne", Operator::Compare(Ne)),
            ("lt", Operator::Compare(Lt)),
            ("le", Operator::Compare(Le)),
            ("gt", Operator::Compare(Gt)),
            ("ge", Operator::Compare(Ge)),
            ("contains", Operator::Contains),
            ("matches", Operator::Matches),
            ("wildcard", Operator::Wildcard { strict: false }),
            ("in", Operator::In),
        ];
        self.lexer.skip_space();
        let start = self.lexer.at;
        let sign = SIGNS.iter().find(|(sign, _)| self.lexer.rest().starts_with(sign));
        let found = sign.or_else(|| WORDS.iter().find(|(word, _)| self.lexer.peek_word() == *word));
        if let Some((text, operator)) = found {
            self.lexer.at += text.len();
            return Some((*operator, Span::new(start, self.lexer.at)));
        }
        if self.lexer.take_word("strict") {
            if self.lexer.take_word("wildcard") {
                return Some((Operator::Wildcard { strict: true }, Span::new(start, self.lexer.at)));
            }
            self.lexer.at = start;
        }
        None
    }

    fn test(&mut self, operand: &Operand, operator: Operator, span: Span) -> Parsed<Test> {
        match (operand.kind, operator) {
            (Type::Bytes, Operator::Compare(comparison)) => {
                let text = self.lexer.string()?;
                Ok(Test::Compare(comparison, Literal::Bytes(text.bytes.into())))
            }
            (Type::Int, Operator::Compare(comparison)) => {
                Ok(Test::Compare(comparison, Literal::Int(self.int_literal()?)))
            }
            (Type::Ip, Operator::Compare(comparison @ (Comparison::Eq | Comparison::Ne))) => {
                Ok(Test::Compare(comparison, Literal::Ip(self.lexer.address()?.0)))
            }
            (Type::Bytes, Operator::Contains) => Ok(Test::Contains(self.lexer.string()?.bytes.into())),
            (Type::Bytes, Operator::Matches) => self.regex(),
            (Type::Bytes, Operator::Wildcard { strict }) => self.wildcard(strict),
            (Type::Bytes | Type::Int | Type::Ip, Operator::In) => self.set(operand.kind),
            (kind, _) => Err(wrong_operator(kind, operand, span, &self.lexer.text[std::ops::Range::from(span)])),
        }
    }

    fn int_literal(&mut self) -> Parsed<i64> {
        if self.lexer.at_string() {
            let span = self.lexer.next_span();
            return Err(Diagnostic::new(Code::WrongType, span, "a number stands without quotes"));
        }
        self.lexer.number().map(|(number, _)| number)
    }

    fn regex(&mut self) -> Parsed<Test> {
        let (pattern, span) = self.lexer.regex_string()?;
        self.count_regex(span)?;
        Regex::new(&pattern).map(Test::Matches).map_err(|error| error.at(span))
    }

    pub(crate) fn count_regex(&mut self, span: Span) -> Parsed<()> {
        self.regexes += 1;
        if self.regexes <= REGEXES_MAX {
            return Ok(());
        }
        let message = format!("the expression has more than {REGEXES_MAX} regular expressions");
        Err(Diagnostic::new(Code::TooLarge, span, message))
    }

    fn wildcard(&mut self, strict: bool) -> Parsed<Test> {
        let text = self.lexer.string()?;
        Wildcard::new(&text.bytes, strict)
            .map(|wildcard| Test::Wildcard(Box::new(wildcard)))
            .map_err(|error| Diagnostic::new(Code::BadWildcard, text.span, error.to_string()))
    }

    /// `{...}` or `$list`.
    fn set(&mut self, kind: Type) -> Parsed<Test> {
        if self.lexer.take("$") {
            return self.list();
        }
        if !self.lexer.take("{") {
            let span = self.lexer.next_span();
            let help = match kind {
                Type::Bytes => "sets are written {\"a\" \"b\"}",
                Type::Int => "sets are written {1 2 10..20}",
                _ => "sets are written {192.0.2.0/24 198.51.100.1}",
            };
            return Err(Diagnostic::new(Code::Unexpected, span, "expected a set or a list").help(help));
        }
        let open = self.lexer.at - 1;
        match kind {
            Type::Int => Ok(Test::InInts(IntSet::new(self.items(open, Self::int_range)?))),
            Type::Ip => {
                let ranges = self.items(open, |parser| parser.lexer.address_range())?;
                Ok(Test::InAddresses(AddressSet::new(ranges)))
            }
            _ => {
                let texts = self.items(open, |parser| parser.lexer.string().map(|text| text.bytes.into()))?;
                Ok(Test::InTexts(texts))
            }
        }
    }

    fn items<T>(&mut self, open: usize, read: impl Fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = Vec::new();
        while !self.lexer.take("}") {
            if items.len() == SET_ITEMS_MAX {
                let message = format!("a set has at most {SET_ITEMS_MAX} elements");
                let help = "keep them in a list and refer to it as `$name`";
                return Err(Diagnostic::new(Code::TooLarge, self.lexer.next_span(), message).help(help));
            }
            match self.lexer.peek() {
                None => {
                    return Err(Diagnostic::new(Code::Unexpected, open..open + 1, "this set is never closed"));
                }
                Some(b',' | b';') => {
                    let message = "elements of a set are separated by spaces";
                    return Err(Diagnostic::new(Code::Unexpected, self.lexer.next_span(), message));
                }
                Some(_) => items.push(read(self)?),
            }
        }
        if items.is_empty() {
            return Err(Diagnostic::new(Code::Empty, open..self.lexer.at, "this set is empty"));
        }
        Ok(items)
    }

    fn int_range(&mut self) -> Parsed<(i64, i64)> {
        let (first, span) = self.lexer.number()?;
        if !self.lexer.rest().starts_with("..") {
            return Ok((first, first));
        }
        self.lexer.at += 2;
        let (last, end) = self.lexer.number()?;
        if last < first {
            return Err(Diagnostic::new(Code::BadRange, span.to(end), "the range ends before it begins"));
        }
        Ok((first, last))
    }

    fn list(&mut self) -> Parsed<Test> {
        let start = self.lexer.at - 1;
        let rest = self.lexer.rest();
        let inside = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_.".contains(letter);
        let end = rest.find(|letter| !inside(letter)).unwrap_or(rest.len());
        let name = &rest[..end];
        self.lexer.at += end;
        let span = Span::new(start, self.lexer.at);
        if name.is_empty() || name.starts_with('.') || name.ends_with('.') {
            let message = "expected the name of a list: small letters, digits and `_`";
            return Err(Diagnostic::new(Code::Unexpected, span, message));
        }
        Ok(Test::InList { name: name.into(), span })
    }

    /// A value stands where a decision is needed, and no operator follows.
    pub(super) fn operator_missing(&mut self, kind: Type) -> Diagnostic {
        let span = self.lexer.next_span();
        let word = &self.lexer.text[std::ops::Range::from(span)];
        if let Some(help) = operator_hint(word) {
            return Diagnostic::new(Code::UnknownOperator, span, format!("there is no operator `{word}`")).help(help);
        }
        let error = Diagnostic::new(Code::Unexpected, span, "expected a comparison operator");
        match kind {
            Type::Bytes => error.help("for a String: eq ne lt le gt ge contains matches in wildcard `strict wildcard`"),
            Type::Int => error.help("for an Integer: eq ne lt le gt ge in"),
            Type::Ip => error.help("for an IP address: eq ne in"),
            Type::Map(_) | Type::MapOfArrays(_) => error.help("a map is compared by key: field[\"name\"]"),
            _ => error.help("an array is compared by element: field[0], or any(field[*] eq ...)"),
        }
    }
}

fn wrong_operator(kind: Type, operand: &Operand, span: Span, sign: &str) -> Diagnostic {
    let message = format!("`{sign}` cannot be used with a value of type {kind}");
    let error = Diagnostic::new(Code::OperatorType, span, message);
    match kind {
        Type::Bool => error.help("a Boolean stands alone: `ssl` or `not ssl`"),
        Type::Ip => error.help("addresses have `eq`, `ne` and `in`"),
        Type::Int => error.help("numbers have `eq`, `ne`, `lt`, `le`, `gt`, `ge` and `in`"),
        Type::Map(_) | Type::MapOfArrays(_) => error.help("a map is compared by key: field[\"name\"]"),
        _ if operand.each() => error.help("one more `[*]` or position is needed"),
        _ => error.help("an array is compared by element: field[0], or any(field[*] eq ...)"),
    }
}
