//! From the syntax tree to the compiled form. Nothing can go wrong here but a list that does not exist or holds another type:
//! everything else was checked when the text was parsed.

use super::{ArgumentNode, CallNode, Check, Node, NodeKind, Source, SourceBase, Vector, VectorKind};
use crate::ast::{Argument, ArgumentKind, Base, Comparison, Literal, Logic, LogicKind, Operand, Span, Test};
use crate::builtins::Builtin;
use crate::diagnostic::{Code, Diagnostic, suggestion};
use crate::list::Lists;
use crate::value::Type;

type Compiled<T> = Result<T, Diagnostic>;

/// Compiles a decision.
pub(crate) fn decision(logic: &Logic, lists: &Lists) -> Compiled<Node> {
    let kind = match &logic.kind {
        LogicKind::Chain(chain, parts) => {
            NodeKind::Chain(*chain, parts.iter().map(|part| decision(part, lists)).collect::<Compiled<_>>()?)
        }
        LogicKind::Not(inner) => NodeKind::Not(Box::new(decision(inner, lists)?)),
        LogicKind::Truth(operand) => NodeKind::Truth(source(operand, lists)?),
        LogicKind::Compare(operand, test) => NodeKind::Test(source(operand, lists)?, check(test, operand.kind, lists)?),
        LogicKind::Quantified(quantifier, inner) => NodeKind::Quantified(*quantifier, Box::new(vector(inner, lists)?)),
    };
    Ok(Node { kind, span: logic.span })
}

fn vector(logic: &Logic, lists: &Lists) -> Compiled<Vector> {
    let kind = match &logic.kind {
        LogicKind::Chain(chain, parts) => {
            VectorKind::Chain(*chain, parts.iter().map(|part| vector(part, lists)).collect::<Compiled<_>>()?)
        }
        LogicKind::Not(inner) => VectorKind::Not(Box::new(vector(inner, lists)?)),
        LogicKind::Truth(operand) => VectorKind::Truth(source(operand, lists)?),
        LogicKind::Compare(operand, test) => {
            VectorKind::Test(source(operand, lists)?, check(test, operand.kind, lists)?)
        }
        // One decision is no array of them: the parser has refused it.
        LogicKind::Quantified(..) => {
            return Err(Diagnostic::new(Code::WrongType, logic.span, "this is one Boolean, not an array of them"));
        }
    };
    Ok(Vector { kind, span: logic.span })
}

fn source(operand: &Operand, lists: &Lists) -> Compiled<Source> {
    let base = match &operand.base {
        Base::Field(field) => SourceBase::Field(*field),
        Base::Call(call) => {
            let (first, rest) = match &*call.arguments {
                [first, rest @ ..] => (argument(first, lists)?, rest),
                [] => return Err(Diagnostic::new(Code::ArgumentCount, call.span, "a call needs an argument")),
            };
            let builtin = Builtin::new(call)?;
            let rest = rest.iter().map(|rest| argument(rest, lists)).collect::<Compiled<_>>()?;
            SourceBase::Call(Box::new(CallNode { builtin, first, rest, each: call.each }))
        }
    };
    Ok(Source { base, steps: operand.steps.clone().into(), span: operand.span })
}

/// Compiles an argument, or the whole of an expression that makes a value.
pub(crate) fn argument(argument: &Argument, lists: &Lists) -> Compiled<ArgumentNode> {
    Ok(match &argument.kind {
        ArgumentKind::Literal(literal) => ArgumentNode::Literal(literal.clone()),
        ArgumentKind::Operand(operand) => ArgumentNode::Source(source(operand, lists)?),
        ArgumentKind::Logic(logic) => ArgumentNode::Decision(decision(logic, lists)?),
    })
}

fn check(test: &Test, kind: Type, lists: &Lists) -> Compiled<Check> {
    Ok(match test {
        Test::Compare(comparison, Literal::Bytes(bytes)) => Check::Bytes(*comparison, bytes.clone()),
        Test::Compare(comparison, Literal::Int(number)) => Check::Int(*comparison, *number),
        Test::Compare(comparison, Literal::Ip(address)) => Check::Ip(*comparison == Comparison::Eq, *address),
        Test::Contains(bytes) => Check::Contains(Box::new(memchr::memmem::Finder::new(&**bytes).into_owned())),
        Test::Matches(regex) => Check::Matches(regex.clone()),
        Test::Wildcard(wildcard) => Check::Wildcard(wildcard.clone()),
        Test::InInts(set) => Check::InInts(set.clone()),
        Test::InAddresses(set) => Check::InAddresses(set.clone()),
        Test::InTexts(texts) => Check::InTexts(std::sync::Arc::new(texts.iter().cloned().collect())),
        Test::InList { name, span } => Check::InList(list(name, *span, kind, lists)?),
    })
}

fn list(name: &str, span: Span, kind: Type, lists: &Lists) -> Compiled<std::sync::Arc<crate::list::List>> {
    let Some(list) = lists.get(name) else {
        let error = Diagnostic::new(Code::UnknownList, span, format!("there is no list `${name}`"));
        return Err(match suggestion(name, lists.names()) {
            Some(help) => error.help(help.replacen('`', "`$", 1)),
            None => error,
        });
    };
    if list.kind().of_values() != kind {
        let message =
            format!("the list `${name}` is compared with values of type {}, this is {kind}", list.kind().of_values());
        return Err(Diagnostic::new(Code::WrongType, span, message));
    }
    Ok(list.clone())
}
