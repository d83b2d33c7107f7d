//! Checks of calls: are the arguments of the right number, type and kind, and is the function allowed here. Everything that
//! can be said before a request comes is said here.

use super::{Function, Place};
use crate::ast::{Argument, ArgumentKind, Base, Literal, Operand, Span};
use crate::diagnostic::{Code, Diagnostic};
use crate::field::Field;
use crate::limits::SPLIT_PARTS_MAX;
use crate::value::{Scalar, Type};

type Checked = Result<(), Diagnostic>;

/// Checks a call and gives the type of its result (of one call, where the first argument has a `[*]`).
pub(crate) fn check_call(
    function: Function,
    arguments: &[Argument],
    values: bool,
    span: Span,
) -> Result<Type, Diagnostic> {
    allowed(function, values, span)?;
    count(function, arguments.len(), span)?;
    for argument in arguments {
        if matches!(&argument.kind, ArgumentKind::Logic(logic) if logic.each) {
            let message = "comparisons for each element can only stand in `any()` and `all()`";
            return Err(Diagnostic::new(Code::LooseEach, argument.span, message));
        }
    }
    for argument in &arguments[1..] {
        if argument.each() {
            let message = format!("`[*]` can only be used in the first argument of `{}()`", function.name());
            return Err(Diagnostic::new(Code::LooseEach, argument.span, message));
        }
    }
    let call = Checker { function, arguments };
    call.types()?;
    call.literals()?;
    Ok(function.returns(arguments[0].kind()))
}

impl Argument {
    /// Its type: of one element where there is a `[*]`.
    pub(crate) fn kind(&self) -> Type {
        match &self.kind {
            ArgumentKind::Literal(literal) => literal.kind(),
            ArgumentKind::Operand(operand) => operand.kind,
            ArgumentKind::Logic(_) => Type::Bool,
        }
    }

    pub(crate) fn each(&self) -> bool {
        matches!(&self.kind, ArgumentKind::Operand(operand) if operand.each())
    }
}

fn allowed(function: Function, values: bool, span: Span) -> Checked {
    let name = function.name();
    match function.spec().place {
        Place::Values if !values => {
            let message = format!("`{name}()` can only be used where a value is made, not in a filter");
            Err(Diagnostic::new(Code::NotHere, span, message)
                .help("it belongs in the expression of a rewrite or of a redirect's target"))
        }
        Place::Nowhere => {
            let message = format!("`{name}()` is not supported");
            Err(Diagnostic::new(Code::Unsupported, span, message).help(function.spec().summary))
        }
        Place::Values | Place::Everywhere => Ok(()),
    }
}

fn count(function: Function, given: usize, span: Span) -> Checked {
    let (least, most) = function.spec().arguments;
    if (least..=most).contains(&given) {
        return Ok(());
    }
    let name = function.name();
    let needs = match (least, most) {
        (least, most) if least == most => format!("{least}"),
        (least, most) if most == super::MANY => format!("at least {least}"),
        (least, most) => format!("{least} to {most}"),
    };
    let noun = if needs == "1" { "argument" } else { "arguments" };
    let message = format!("`{name}()` takes {needs} {noun}, {given} are given");
    Err(Diagnostic::new(Code::ArgumentCount, span, message).help(function.spec().signature))
}

struct Checker<'a> {
    function: Function,
    arguments: &'a [Argument],
}

impl Checker<'_> {
    fn types(&self) -> Checked {
        use Function::*;
        match self.function {
            Any | All | BitSlice | IsJwtPresent | IsJwtValid => Ok(()),
            Cidr | Cidr6 => self.is(0, Type::Ip).and_then(|()| self.rest(1, Type::Int)),
            Concat => self.concat(),
            EndsWith | StartsWith | RemoveBytes => self.rest(0, Type::Bytes).and_then(|()| self.variable(0)),
            DecodeBase64 | UrlDecode | WildcardReplace => self.rest(0, Type::Bytes).and_then(|()| self.variable(0)),
            EncodeBase64 | Lower | Upper | Sha256 | Uuidv4 | RegexReplace => self.rest(0, Type::Bytes),
            HasKey => self.has_key(),
            HasValue => self.has_value(),
            IsTimedHmacValidV0 => self.timed_hmac(),
            Join => self.is(0, Type::Array(Scalar::Bytes)).and_then(|()| self.is(1, Type::Bytes)),
            Len => self.one_of(0, "a String or an Array", |kind| kind == Type::Bytes || kind.is_array()),
            LookupJsonInteger | LookupJsonString => self.lookup(),
            RemoveQueryArgs => self.rest(0, Type::Bytes).and_then(|()| self.query_field()),
            Split => {
                self.is(0, Type::Bytes)?;
                self.is(1, Type::Bytes)?;
                self.is(2, Type::Int)
            }
            Substring => {
                self.is(0, Type::Bytes)?;
                self.variable(0)?;
                self.rest(1, Type::Int)
            }
            ToString => self.one_of(0, "an Integer, a Boolean or an IP address", |kind| {
                matches!(kind, Type::Int | Type::Bool | Type::Ip)
            }),
        }
    }

    fn literals(&self) -> Checked {
        use Function::*;
        match self.function {
            Cidr => self.number(1, 1, 32).and_then(|()| self.number(2, 1, 128)),
            Cidr6 => self.number(1, 1, 128),
            EncodeBase64 => self.flags(1, "up"),
            UrlDecode => self.flags(1, "ru"),
            IsTimedHmacValidV0 => {
                self.text(0)?;
                self.number(2, 1, i64::from(u32::MAX))?;
                self.number(4, 0, 1024)?;
                self.flags(5, "s")
            }
            Split => {
                if self.text(1)?.is_some_and(<[u8]>::is_empty) {
                    return Err(self.bad(1, "the separator must not be empty"));
                }
                self.number(2, 1, SPLIT_PARTS_MAX)
            }
            RegexReplace | WildcardReplace => {
                self.text(1)?;
                self.text(2)?;
                self.flags(3, "s")
            }
            _ => Ok(()),
        }
    }

    fn name(&self) -> &'static str {
        self.function.name()
    }

    fn bad(&self, at: usize, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Code::BadArgument, self.arguments[at].span, message).help(self.function.spec().signature)
    }

    fn one_of(&self, at: usize, wanted: &str, fits: impl Fn(Type) -> bool) -> Checked {
        let argument = &self.arguments[at];
        let kind = argument.kind();
        if fits(kind) {
            return Ok(());
        }
        let message = format!("argument {} of `{}()` must be {wanted}, this is {kind}", at + 1, self.name());
        let error = Diagnostic::new(Code::WrongType, argument.span, message);
        let each = kind.element().is_some_and(&fits) && at == 0 && !argument.each();
        Err(if each {
            error.help("for each element, put `[*]` behind it")
        } else {
            error.help(self.function.spec().signature)
        })
    }

    fn is(&self, at: usize, kind: Type) -> Checked {
        self.one_of(at, &format!("of type {kind}"), |given| given == kind)
    }

    fn rest(&self, from: usize, kind: Type) -> Checked {
        (from..self.arguments.len()).try_for_each(|at| self.is(at, kind))
    }

    /// The argument must be no literal.
    fn variable(&self, at: usize) -> Checked {
        match self.arguments[at].kind {
            ArgumentKind::Literal(_) => {
                let message = format!("argument {} of `{}()` must be a field, not a literal", at + 1, self.name());
                Err(self.bad(at, message))
            }
            _ => Ok(()),
        }
    }

    fn concat(&self) -> Checked {
        self.one_of(0, "a String or an Array", |kind| kind == Type::Bytes || kind.is_array())?;
        let kind = self.arguments[0].kind();
        self.rest(1, kind)
    }

    fn has_key(&self) -> Checked {
        self.one_of(0, "a Map", Type::is_map)?;
        self.is(1, Type::Bytes)
    }

    fn has_value(&self) -> Checked {
        let simple = |kind: Type| kind.element().is_some_and(|element| element.scalar().is_some());
        self.one_of(0, "an Array or a Map of simple values", simple)?;
        match self.arguments[0].kind().element() {
            Some(element) => self.is(1, element),
            None => Ok(()),
        }
    }

    fn timed_hmac(&self) -> Checked {
        for (at, kind) in [Type::Bytes, Type::Bytes, Type::Int, Type::Int, Type::Int, Type::Bytes].iter().enumerate() {
            if at < self.arguments.len() {
                self.is(at, *kind)?;
            }
        }
        self.variable(1)
    }

    fn lookup(&self) -> Checked {
        self.is(0, Type::Bytes)?;
        self.variable(0)?;
        for at in 1..self.arguments.len() {
            self.one_of(at, "a String or an Integer", |kind| matches!(kind, Type::Bytes | Type::Int))?;
            if self.literal(at).is_some_and(|literal| matches!(literal, Literal::Int(..=-1))) {
                return Err(self.bad(at, "positions count from 0"));
            }
        }
        Ok(())
    }

    fn query_field(&self) -> Checked {
        let fields = [Field::HttpRequestUriQuery, Field::RawHttpRequestUriQuery];
        let good = matches!(
            &self.arguments[0].kind,
            ArgumentKind::Operand(Operand { base: Base::Field(field), steps, .. })
                if fields.contains(field) && steps.is_empty()
        );
        if good {
            return Ok(());
        }
        let message = format!("`{}()` works on `{}` or `{}`", self.name(), fields[0].name(), fields[1].name());
        Err(self.bad(0, message))
    }

    fn literal(&self, at: usize) -> Option<&Literal> {
        match &self.arguments.get(at)?.kind {
            ArgumentKind::Literal(literal) => Some(literal),
            _ => None,
        }
    }

    fn must_be_literal(&self, at: usize) -> Diagnostic {
        self.bad(at, format!("argument {} of `{}()` must be a literal", at + 1, self.name()))
    }

    /// The literal text at `at`, if there is such an argument.
    fn text(&self, at: usize) -> Result<Option<&[u8]>, Diagnostic> {
        match self.literal(at) {
            Some(Literal::Bytes(text)) => Ok(Some(text)),
            _ if at >= self.arguments.len() => Ok(None),
            _ => Err(self.must_be_literal(at)),
        }
    }

    fn number(&self, at: usize, least: i64, most: i64) -> Checked {
        match self.literal(at) {
            Some(Literal::Int(number)) if (least..=most).contains(number) => Ok(()),
            Some(_) => Err(self.bad(at, format!("this must be a number from {least} to {most}"))),
            None if at >= self.arguments.len() => Ok(()),
            None => Err(self.must_be_literal(at)),
        }
    }

    fn flags(&self, at: usize, known: &str) -> Checked {
        let Some(flags) = self.text(at)? else { return Ok(()) };
        match flags.iter().find(|flag| !known.as_bytes().contains(flag)) {
            None => Ok(()),
            Some(flag) => {
                let known: Vec<String> = known.chars().map(|flag| format!("`{flag}`")).collect();
                let message = format!("unknown flag `{}`: there is {}", flag.escape_ascii(), known.join(" and "));
                Err(self.bad(at, message))
            }
        }
    }
}
