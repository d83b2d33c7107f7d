//! Trying an expression on a request: what each part of it comes to, and what it read.

use std::fmt;
use std::sync::Arc;

use archipel_config::ListValues;
use archipel_rules::{
    Diagnostic, Expression, Fields as _, Filter, Formula, Lists, Phase, Type, Value, ValueExpression,
};
use archipel_transport::body::{Peeked, RequestBody};
use bytes::Bytes;
use serde::Serialize;

use super::View;
use crate::exchange::Exchange;
use crate::explain::{self, ExplainRequest};
use crate::live::LiveZone;
use crate::node::Node;
use crate::zone;

/// What an expression came to.
#[derive(Clone, Debug, Serialize)]
pub struct RuleTest {
    /// Whether it holds; of an expression that makes a value, whether there is one.
    pub holds: bool,
    /// The value of the whole.
    pub value: String,
    /// The parts, the whole first, each before its own.
    pub parts: Vec<PartValue>,
    /// The fields that it reads, with their values.
    pub fields: Vec<FieldValue>,
}

/// A part of an expression.
#[derive(Clone, Debug, Serialize)]
pub struct PartValue {
    /// How deep it is; the whole has 0.
    pub depth: usize,
    /// Its text.
    pub text: String,
    /// Its value, as the language writes it.
    pub value: String,
}

/// A field that an expression reads.
#[derive(Clone, Debug, Serialize)]
pub struct FieldValue {
    /// The field.
    pub name: &'static str,
    /// Its type.
    pub kind: String,
    /// Its value, as the language writes it.
    pub value: String,
}

/// Longest value that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 400;

impl fmt::Display for RuleTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            self.parts.iter().map(|part| part.depth * 2 + part.value.chars().count()).max().unwrap_or(0).min(40);
        for part in &self.parts {
            let value = format!("{:1$}{2}", "", part.depth * 2, part.value);
            writeln!(f, "{value:<width$}   {}", part.text)?;
        }
        if !self.fields.is_empty() {
            writeln!(f, "\nfields")?;
        }
        for field in &self.fields {
            writeln!(f, "  {} ({}) = {}", field.name, field.kind, field.value)?;
        }
        writeln!(f, "\n{}", self.value)
    }
}

/// An expression of either kind.
enum Either {
    Decides(Expression, Filter),
    Makes(ValueExpression, Formula),
}

impl Node {
    /// Evaluates an expression for a request, with the lists of the zone that the request is for, or of the one named.
    ///
    /// # Errors
    /// What is wrong with the expression, shown in its text; or with the request, or that there is no such zone.
    pub fn test_rule(
        self: &Arc<Self>,
        text: &str,
        zone: Option<&str>,
        request: &ExplainRequest,
        body: Vec<u8>,
    ) -> Result<RuleTest, String> {
        let mut ex = explain::imagine(self, request)?;
        ex.asked.body = RequestBody::full(Bytes::from(body.clone()));
        let misdirected = zone::stage(&mut ex).is_break();
        let live = match zone {
            Some(name) => {
                Some(ex.live.zone_by_name(name).cloned().ok_or_else(|| format!("there is no zone `{name}`"))?)
            }
            None if misdirected => {
                let reason = ex.reason.unwrap_or("refused");
                return Err(format!("the request would be refused before any rule sees it: {reason}"));
            }
            None => ex.zone.clone(),
        };
        let lists = live.as_ref().map(|zone| lists(zone)).unwrap_or_default();
        let expression = parse(text, &lists).map_err(|diagnostic| diagnostic.render(text))?;
        peek(&mut ex, live.as_deref(), &body);
        Ok(evaluate(&ex, &expression, text))
    }
}

fn lists(zone: &LiveZone) -> Lists {
    let mut lists = Lists::new();
    for (name, list) in &zone.zone.lists {
        if let ListValues::Values(list) = &**list {
            lists.insert(name, list.clone());
        }
    }
    lists
}

/// What rules see of the body.
fn peek(ex: &mut Exchange, zone: Option<&LiveZone>, body: &[u8]) {
    let bytes_max = zone.map_or(body.len(), |zone| zone.zone.firewall.body_bytes_max);
    let content = Bytes::copy_from_slice(&body[..body.len().min(bytes_max)]);
    ex.decided().body = Some(Peeked { truncated: content.len() < body.len(), content });
}

/// Reads an expression that decides; where it has another type, one that makes a value.
fn parse(text: &str, lists: &Lists) -> Result<Either, Diagnostic> {
    match ValueExpression::parse(text, Phase::Response) {
        Ok(made) if made.kind() != Type::Bool => {
            let formula = Formula::compile(&made, lists)?;
            Ok(Either::Makes(made, formula))
        }
        _ => {
            let expression = Expression::parse_in(text, Phase::Response)?;
            let filter = Filter::compile(&expression, lists)?;
            Ok(Either::Decides(expression, filter))
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn shown(value: &Value<'_>) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

fn evaluate(ex: &Exchange, expression: &Either, text: &str) -> RuleTest {
    let view = View::request(ex);
    let (parts, fields, holds, value) = match expression {
        Either::Decides(expression, filter) => {
            let part = |part: archipel_rules::Explained<'_>| PartValue {
                depth: part.depth,
                text: one_line(text.get(part.span).unwrap_or_default()),
                value: shown(&part.value),
            };
            let parts = filter.explain(&view).into_iter().map(part).collect();
            let holds = filter.matches(&view);
            (parts, expression.fields(), holds, holds.to_string())
        }
        Either::Makes(expression, formula) => {
            let value = formula.value(&view);
            let whole = PartValue { depth: 0, text: one_line(text), value: shown(&value) };
            (vec![whole], expression.fields(), !value.is_nil(), shown(&value))
        }
    };
    let field = |field: &archipel_rules::Field| {
        let value = view.field(*field);
        let value = if value.is_nil() { field.default_value() } else { value };
        FieldValue { name: field.name(), kind: field.kind().to_string(), value: shown(&value) }
    };
    RuleTest { holds, value, parts, fields: fields.iter().map(field).collect() }
}
