//! Operands: fields, calls with their arguments, and the index steps behind them.

use super::{Parsed, Parser, Part};
use crate::ast::{Argument, ArgumentKind, Base, Call, Literal, Logic, LogicKind, Operand, Quantifier, Span, Step};
use crate::builtins::Builtin;
use crate::diagnostic::{Code, Diagnostic, suggestion};
use crate::field::{ALIASES, Field};
use crate::functions::{Function, check_call};
use crate::limits::{ARGUMENTS_MAX, INDEXES_MAX};
use crate::value::Type;

impl Parser<'_> {
    /// A field or a call with its index steps; `any()` and `all()` make a decision.
    pub(super) fn operand(&mut self) -> Parsed<Part> {
        let Some((name, span)) = self.lexer.name() else { return Err(self.no_operand()) };
        self.node(span)?;
        let call = self.lexer.rest().trim_start().starts_with('(');
        let function = Function::named(name).filter(|_| call);
        let (base, kind) = match function {
            Some(Function::Any) => return self.quantified(Quantifier::Any, span).map(Part::Logic),
            Some(Function::All) => return self.quantified(Quantifier::All, span).map(Part::Logic),
            Some(function) => self.call(function, span)?,
            None => (Base::Field(self.field(name, span, call)?), Type::Bool),
        };
        let kind = if let Base::Field(field) = base { field.kind() } else { kind };
        self.steps(base, kind, span).map(Part::Operand)
    }

    fn no_operand(&mut self) -> Diagnostic {
        let span = self.lexer.next_span();
        let error = Diagnostic::new(Code::Unexpected, span, "expected a field or a function");
        match self.lexer.peek() {
            None => {
                Diagnostic { message: "the expression ends where a field or a function is expected".into(), ..error }
            }
            Some(b'"' | b'0'..=b'9') => error.help("the field stands on the left: `http.host eq \"example.com\"`"),
            Some(b'$') => error.help("lists stand behind `in`: `ip.src in $name`"),
            Some(_) => error,
        }
    }

    fn field(&mut self, name: &str, span: Span, call: bool) -> Parsed<Field> {
        let Some(field) = Field::named(name).filter(|_| !call) else { return Err(unknown(name, span, call)) };
        if field.spec().phase > self.purpose.phase {
            let message = format!("`{name}` has no value before there is a response");
            let help = "rules that look at responses run in a phase of their own";
            return Err(Diagnostic::new(Code::WrongPhase, span, message).help(help));
        }
        self.fields.push(field);
        Ok(field)
    }

    fn quantified(&mut self, quantifier: Quantifier, name: Span) -> Parsed<Logic> {
        let word = if quantifier == Quantifier::Any { "any" } else { "all" };
        self.open(word)?;
        let inner = self.nested(|parser| parser.part(None))?;
        let inner = self.decision(inner)?;
        self.close(word, name)?;
        if !inner.each {
            let message = format!("`{word}()` needs an array of Booleans, this is one Boolean");
            let help = format!("compare each element: `{word}(http.request.headers.names[*] eq \"x-name\")`");
            return Err(Diagnostic::new(Code::WrongType, inner.span, message).help(help));
        }
        let span = Span::new(name.start as usize, self.lexer.at);
        Ok(Logic { kind: LogicKind::Quantified(quantifier, Box::new(inner)), span, each: false })
    }

    fn open(&mut self, name: &str) -> Parsed<()> {
        if self.lexer.take("(") {
            return Ok(());
        }
        let message = format!("expected `(` behind `{name}`");
        Err(Diagnostic::new(Code::Unexpected, self.lexer.next_span(), message))
    }

    fn close(&mut self, name: &str, at: Span) -> Parsed<()> {
        if self.lexer.take(")") {
            return Ok(());
        }
        if self.lexer.peek().is_none() {
            return Err(Diagnostic::new(Code::Unexpected, at, format!("the call of `{name}()` is never closed")));
        }
        let span = self.lexer.next_span();
        let error = Diagnostic::new(Code::Unexpected, span, "expected `,` or `)`");
        Err(match super::operator_hint(&self.lexer.text[std::ops::Range::from(span)]) {
            Some(help) => error.help(help),
            None => error,
        })
    }

    fn call(&mut self, function: Function, name: Span) -> Parsed<(Base, Type)> {
        self.open(function.name())?;
        let mut arguments = Vec::new();
        if self.lexer.peek() != Some(b')') {
            loop {
                if arguments.len() == ARGUMENTS_MAX {
                    let message = format!("a call has at most {ARGUMENTS_MAX} arguments");
                    return Err(Diagnostic::new(Code::TooLarge, self.lexer.next_span(), message));
                }
                arguments.push(self.nested(Self::argument)?);
                if !self.lexer.take(",") {
                    break;
                }
            }
        }
        self.close(function.name(), name)?;
        let span = Span::new(name.start as usize, self.lexer.at);
        let returns = check_call(function, &arguments, self.purpose.values, span)?;
        self.once(function, name)?;
        let each = arguments.first().is_some_and(Argument::each);
        let call = Call { function, arguments, each, span };
        // Patterns and replacements are tried here, so that what is wrong is told here.
        Builtin::new(&call)?;
        let kind = if each { returns.array() } else { Some(returns) };
        let kind = kind.ok_or_else(|| Diagnostic::new(Code::WrongType, span, "arrays are nested too deeply"))?;
        Ok((Base::Call(Box::new(call)), kind))
    }

    /// `regex_replace()` and `wildcard_replace()` may be used once, and not together.
    fn once(&mut self, function: Function, span: Span) -> Parsed<()> {
        if !function.only_once() {
            return Ok(());
        }
        if let Some((other, _)) = self.once.first() {
            let (name, other) = (function.name(), other.name());
            let message = match name == other {
                true => format!("`{name}()` can only be used once in an expression"),
                false => format!("`{name}()` and `{other}()` cannot be used in the same expression"),
            };
            return Err(Diagnostic::new(Code::TooManyUses, span, message));
        }
        self.once.push((function, span));
        Ok(())
    }

    pub(crate) fn argument(&mut self) -> Parsed<Argument> {
        if self.lexer.at_string() {
            let text = self.lexer.string()?;
            let literal = Literal::Bytes(text.bytes.into());
            return Ok(Argument { kind: ArgumentKind::Literal(literal), span: text.span });
        }
        if matches!(self.lexer.peek(), Some(b'0'..=b'9' | b'-' | b':')) {
            let (literal, span) = self.lexer.number_or_address()?;
            return Ok(Argument { kind: ArgumentKind::Literal(literal), span });
        }
        Ok(match self.part(None)? {
            Part::Operand(operand) => Argument { span: operand.span, kind: ArgumentKind::Operand(operand) },
            Part::Logic(logic) => Argument { span: logic.span, kind: ArgumentKind::Logic(logic) },
        })
    }

    /// `["key"]`, `[0]` and `[*]` behind a value.
    fn steps(&mut self, base: Base, mut kind: Type, start: Span) -> Parsed<Operand> {
        let mut steps = Vec::new();
        loop {
            let open = self.lexer.at;
            if !self.lexer.rest().starts_with('[') {
                break;
            }
            self.lexer.at += 1;
            let step = self.step()?;
            if !self.lexer.take("]") {
                return Err(Diagnostic::new(Code::Unexpected, self.lexer.next_span(), "expected `]`"));
            }
            let span = Span::new(open, self.lexer.at);
            kind = step_kind(kind, &step, span)?;
            steps.push(step);
            if steps.len() > INDEXES_MAX {
                let message = format!("there are more than {INDEXES_MAX} index steps");
                return Err(Diagnostic::new(Code::TooLarge, span, message));
            }
        }
        let span = Span::new(start.start as usize, self.lexer.at);
        // Elements of elements are visited one by one, so that the result is one flat array.
        if steps.contains(&Step::Each) && kind.is_map() {
            return Err(Diagnostic::new(Code::BadIndex, span, "each element is a map: a key must follow"));
        }
        Ok(Operand { base, steps, kind, span })
    }

    fn step(&mut self) -> Parsed<Step> {
        if self.lexer.take("*") {
            return Ok(Step::Each);
        }
        if self.lexer.at_string() {
            return Ok(Step::Key(self.lexer.string()?.bytes.into()));
        }
        if !matches!(self.lexer.peek(), Some(b'0'..=b'9' | b'-')) {
            let span = self.lexer.next_span();
            let message = "expected a number, a key in quotes or `*`";
            return Err(Diagnostic::new(Code::Unexpected, span, message));
        }
        let (number, span) = self.lexer.number()?;
        usize::try_from(number)
            .map(Step::At)
            .map_err(|_| Diagnostic::new(Code::BadIndex, span, "positions count from 0"))
    }
}

fn step_kind(kind: Type, step: &Step, span: Span) -> Parsed<Type> {
    let element = kind.element();
    match (step, element) {
        (Step::Each, Some(element)) => Ok(element),
        (Step::At(_), Some(element)) if kind.is_array() => Ok(element),
        (Step::Key(_), Some(element)) if kind.is_map() => Ok(element),
        (Step::At(_), Some(_)) => {
            Err(Diagnostic::new(Code::BadIndex, span, format!("a {kind} has keys, not positions"))
                .help("keys stand in quotes: [\"name\"]"))
        }
        (Step::Key(_), Some(_)) => {
            Err(Diagnostic::new(Code::BadIndex, span, format!("an {kind} has positions, not keys")))
        }
        (_, None) => Err(Diagnostic::new(Code::BadIndex, span, format!("a value of type {kind} cannot be indexed"))),
    }
}

fn unknown(name: &str, span: Span, call: bool) -> Diagnostic {
    let fields = || Field::all().iter().map(|spec| spec.name).chain(ALIASES.iter().map(|(name, _)| *name));
    let functions = || Function::all().iter().map(|spec| spec.name);
    if call {
        let error = Diagnostic::new(Code::UnknownFunction, span, format!("there is no function `{name}()`"));
        return match (suggestion(name, functions()), Field::named(name)) {
            (_, Some(_)) => Diagnostic { message: format!("`{name}` is a field, not a function"), ..error },
            (Some(help), None) => error.help(help),
            (None, None) => error,
        };
    }
    if Function::named(name).is_some() {
        let message = format!("`{name}` is a function: its arguments stand in parentheses");
        return Diagnostic::new(Code::Unexpected, span, message)
            .help(Function::named(name).map_or("", |f| f.spec().signature));
    }
    let error = Diagnostic::new(Code::UnknownField, span, format!("there is no field `{name}`"));
    match suggestion(name, fields()) {
        Some(help) => error.help(help),
        None => error,
    }
}

/// Names the array whose elements an operand stands for, for comparing it with another's.
pub(super) fn array_path(operand: &Operand) -> Vec<String> {
    let mut path = match &operand.base {
        Base::Field(field) => vec![field.name().to_owned()],
        // A call for each element has as many results as there were elements.
        Base::Call(call) if call.each => match &call.arguments[0].kind {
            ArgumentKind::Operand(operand) => return array_path(operand),
            _ => Vec::new(),
        },
        Base::Call(call) => vec![format!(
            "{}{:?}",
            call.function.name(),
            call.arguments.iter().map(|a| format!("{:?}", a.kind)).collect::<Vec<_>>()
        )],
    };
    path.extend(operand.steps.iter().take_while(|step| **step != Step::Each).map(|step| format!("{step:?}")));
    path
}
