//! A list of conditions in the order of the document, behind an index: those that cannot hold for a request are not evaluated.

use std::sync::Arc;

use archipel_config::{Condition, ValueExpression};
use archipel_rules::{Field, Fields, Filter, Formula, RuleIndex, Value};

/// A text that a rule makes.
pub(crate) struct Made {
    formula: Arc<Formula>,
    reads_body: bool,
}

impl Made {
    /// `None` for what was not compiled, which is not part of a snapshot.
    pub(crate) fn new(expression: &ValueExpression) -> Option<Self> {
        Some(Self { formula: expression.compiled()?, reads_body: reads_body(expression.fields()) })
    }

    /// Whether it looks at the request's body.
    pub(crate) fn reads_body(&self) -> bool {
        self.reads_body
    }

    /// The text for a request.
    pub(crate) fn value<'a>(&'a self, view: &'a dyn Fields) -> Value<'a> {
        self.formula.value(view)
    }
}

/// Conditions in order. A rule without one holds always.
pub(crate) struct RuleSet {
    index: RuleIndex,
    /// The number that each condition of the index has among the rules, in order.
    places: Box<[usize]>,
    /// The numbers of the rules that hold always, in order.
    always: Box<[usize]>,
    reads_body: bool,
}

/// Whether one of the fields is of the request's body.
fn reads_body(fields: &[Field]) -> bool {
    fields.iter().any(|field| field.name().starts_with("http.request.body"))
}

impl RuleSet {
    /// Those of a phase; `None` where there are none.
    pub(crate) fn new(conditions: Vec<&Condition>) -> Option<Self> {
        Self::with_always(conditions.into_iter().map(Some).collect())
    }

    /// The same, some of which hold always.
    pub(crate) fn with_always(conditions: Vec<Option<&Condition>>) -> Option<Self> {
        if conditions.is_empty() {
            return None;
        }
        let (mut filters, mut places, mut always) = (Vec::new(), Vec::new(), Vec::new());
        let mut reads = false;
        for (at, condition) in conditions.into_iter().enumerate() {
            match condition {
                None => always.push(at),
                // What is part of a snapshot is compiled.
                Some(condition) => {
                    reads |= reads_body(condition.fields());
                    if let Some(filter) = condition.compiled() {
                        filters.push(Filter::clone(&filter));
                        places.push(at);
                    }
                }
            }
        }
        Some(Self { index: RuleIndex::new(filters), places: places.into(), always: always.into(), reads_body: reads })
    }

    /// Whether one of them looks at the request's body.
    pub(crate) fn reads_body(&self) -> bool {
        self.reads_body
    }

    /// The first at or after `from` that holds.
    pub(crate) fn first_from(&self, from: usize, view: &dyn Fields) -> Option<usize> {
        let begin = self.places.partition_point(|place| *place < from);
        let found = self.index.first_from(begin, view).and_then(|at| self.places.get(at).copied());
        let always = self.always.get(self.always.partition_point(|place| *place < from)).copied();
        match (found, always) {
            (Some(found), Some(always)) => Some(found.min(always)),
            (found, always) => found.or(always),
        }
    }
}
