//! What derives from the tables of fields, functions and diagnostics: the reference in Markdown.

use std::fmt::Write as _;

use crate::diagnostic::Code;
use crate::field::{ALIASES, Field, FieldSpec, Phase};
use crate::functions::{Function, Place};
use crate::value::Type;

/// The reference of fields, functions and diagnostics in Markdown.
#[must_use]
pub fn reference_markdown() -> String {
    let mut text = String::from("### Fields\n\n");
    text.push_str("| Field | Type | Default | Known to the edge | What it is |\n|---|---|---|---|---|\n");
    for spec in Field::all() {
        let known = match (spec.edge, spec.phase) {
            (true, Phase::Request) => "yes",
            (true, Phase::Response) => "with the response",
            (false, _) => "no",
        };
        let row = (spec.name, cell(&spec.kind.to_string()), default(spec), known, cell(spec.summary));
        let _ = writeln!(text, "| `{}` | {} | {} | {} | {} |", row.0, row.1, row.2, row.3, row.4);
    }
    text.push_str("\nOld names that are still read: ");
    let aliases: Vec<String> = ALIASES.iter().map(|(old, field)| format!("`{old}` (`{}`)", field.name())).collect();
    let _ = writeln!(text, "{}.\n", aliases.join(", "));
    text.push_str("### Functions\n\n| Function | Where | What it does |\n|---|---|---|\n");
    for spec in Function::all() {
        let place = match spec.place {
            Place::Everywhere => "everywhere",
            Place::Values => "rewrites and redirects",
            Place::Nowhere => "refused",
        };
        let signature = spec.signature.replace('|', "\\|");
        let _ = writeln!(text, "| `{signature}` | {place} | {} |", cell(spec.summary));
    }
    text.push_str("\n### Diagnostics\n\n| Code | What it stands for |\n|---|---|\n");
    for code in Code::ALL {
        let _ = writeln!(text, "| `{code}` | {} |", cell(code.summary()));
    }
    text
}

fn default(spec: &FieldSpec) -> String {
    match spec.kind {
        Type::Bool => "`false`".to_owned(),
        Type::Int => format!("`{}`", spec.default),
        Type::Bytes => "`\"\"`".to_owned(),
        Type::Ip => "nil".to_owned(),
        Type::Array(_) | Type::ArrayOfArrays(_) | Type::Map(_) | Type::MapOfArrays(_) => "empty".to_owned(),
    }
}

/// Text inside of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "\\<")
}
