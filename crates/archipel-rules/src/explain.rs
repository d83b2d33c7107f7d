//! Explaining a decision: the value of every part of an expression for one request. Nothing is cut short, so that a person sees
//! also what the decision did not depend on.

use std::fmt::Write as _;
use std::ops::Range;

use crate::expression::Filter;
use crate::field::Fields;
use crate::program::{ArgumentNode, Node, NodeKind, Source, SourceBase, Vector, VectorKind};
use crate::value::{Array, Value};

/// One part of an expression, and its value.
#[derive(Clone, Debug)]
pub struct Explained<'a> {
    /// Bytes of the expression's text.
    pub span: Range<usize>,
    /// How deep it is in the expression; the whole has 0.
    pub depth: usize,
    /// Its value.
    pub value: Value<'a>,
}

/// Longest value that is shown, in characters.
const VALUE_CHARS_MAX: usize = 200;

impl Filter {
    /// The value of every part, the whole first and each part before its own parts.
    #[must_use]
    pub fn explain<'a>(&'a self, fields: &'a dyn Fields) -> Vec<Explained<'a>> {
        let mut explainer = Explainer { fields, parts: Vec::new() };
        explainer.node(&self.node, 0);
        explainer.parts
    }

    /// [`explain`](Self::explain) as lines of text; `text` is the text that the filter was compiled from.
    ///
    /// ```text
    /// true   ssl and http.host eq "example.com"
    ///   true   ssl
    ///   true   http.host eq "example.com"
    ///     "example.com"   http.host
    /// ```
    #[must_use]
    pub fn explain_text(&self, fields: &dyn Fields, text: &str) -> String {
        let mut lines = String::new();
        for part in self.explain(fields) {
            let shown: String = part.value.to_string().chars().take(VALUE_CHARS_MAX).collect();
            let source = text.get(part.span).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
            let indent = part.depth * 2;
            let _ = writeln!(lines, "{:indent$}{shown}   {source}", "");
        }
        lines
    }
}

struct Explainer<'a> {
    fields: &'a dyn Fields,
    parts: Vec<Explained<'a>>,
}

impl<'a> Explainer<'a> {
    fn push(&mut self, span: impl Into<Range<usize>>, depth: usize, value: Value<'a>) {
        self.parts.push(Explained { span: span.into(), depth, value });
    }

    fn node(&mut self, node: &'a Node, depth: usize) {
        self.push(node.span, depth, Value::Bool(node.holds(self.fields)));
        match &node.kind {
            NodeKind::Chain(_, parts) => parts.iter().for_each(|part| self.node(part, depth + 1)),
            NodeKind::Not(inner) => self.node(inner, depth + 1),
            // The part is the value itself, which is said already.
            NodeKind::Truth(source) => self.arguments(source, depth + 1),
            NodeKind::Test(source, _) => self.source(source, depth + 1),
            NodeKind::Quantified(_, vector) => self.vector(vector, depth + 1),
        }
    }

    fn vector(&mut self, vector: &'a Vector, depth: usize) {
        let decisions = vector.each(self.fields).iter().map(|decision| Value::Bool(*decision)).collect();
        self.push(vector.span, depth, Value::Array(Array::Values(decisions)));
        match &vector.kind {
            VectorKind::Chain(_, parts) => parts.iter().for_each(|part| self.vector(part, depth + 1)),
            VectorKind::Not(inner) => self.vector(inner, depth + 1),
            VectorKind::Truth(source) => self.arguments(source, depth + 1),
            VectorKind::Test(source, _) => self.source(source, depth + 1),
        }
    }

    fn source(&mut self, source: &'a Source, depth: usize) {
        self.push(source.span, depth, source.value(self.fields));
        self.arguments(source, depth + 1);
    }

    fn arguments(&mut self, source: &'a Source, depth: usize) {
        let SourceBase::Call(call) = &source.base else { return };
        for argument in std::iter::once(&call.first).chain(&call.rest) {
            match argument {
                ArgumentNode::Literal(_) => {}
                ArgumentNode::Source(source) => self.source(source, depth),
                ArgumentNode::Decision(node) => self.node(node, depth),
            }
        }
    }
}

#[cfg(test)]
mod tests;
