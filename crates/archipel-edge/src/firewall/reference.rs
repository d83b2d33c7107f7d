//! What expressions can read and call, for people and programs.

use std::fmt::Write as _;

use archipel_rules::{Field, Function, Phase, Place};
use serde_json::json;

/// The fields and functions of the rules language as text.
pub fn rules_reference_text() -> String {
    let mut text = "Fields\n".to_owned();
    // Writing to a String cannot fail.
    for spec in Field::all() {
        let when = if spec.phase == Phase::Response { ", of the reply" } else { "" };
        let known = if spec.edge { "" } else { ", always its default here" };
        let _ = writeln!(text, "  {} ({}{when}{known})\n      {}", spec.name, spec.kind, spec.summary);
    }
    text.push_str("\nFunctions\n");
    for spec in Function::all() {
        let _ = writeln!(text, "  {}{}\n      {}", spec.signature, place(spec.place), spec.summary);
    }
    text
}

fn place(place: Place) -> &'static str {
    match place {
        Place::Everywhere => "",
        Place::Values => " (only where a value is made)",
        Place::Nowhere => " (not here)",
    }
}

/// The same as JSON.
pub fn rules_reference_json() -> serde_json::Value {
    let field = |spec: &archipel_rules::FieldSpec| {
        json!({
            "name": spec.name,
            "type": spec.kind.to_string(),
            "phase": if spec.phase == Phase::Response { "response" } else { "request" },
            "known": spec.edge,
            "summary": spec.summary,
        })
    };
    let function = |spec: &archipel_rules::FunctionSpec| {
        json!({
            "name": spec.name,
            "signature": spec.signature,
            "everywhere": spec.place == Place::Everywhere,
            "supported": spec.place != Place::Nowhere,
            "summary": spec.summary,
        })
    };
    json!({
        "fields": Field::all().iter().map(field).collect::<Vec<_>>(),
        "functions": Function::all().iter().map(function).collect::<Vec<_>>(),
    })
}

/// The same in Markdown.
#[cfg(test)]
fn markdown() -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let mut text = "\n| Field | Type | Known | |\n|---|---|---|---|\n".to_owned();
    for spec in Field::all() {
        let known = match (spec.edge, spec.phase) {
            (false, _) => "no",
            (true, Phase::Request) => "yes",
            (true, Phase::Response) => "in replies",
        };
        let _ = writeln!(text, "| `{}` | {} | {known} | {} |", spec.name, spec.kind, cell(spec.summary));
    }
    text.push_str("\n| Function | |\n|---|---|\n");
    for spec in Function::all() {
        let _ = writeln!(text, "| `{}`{} | {} |", cell(spec.signature), place(spec.place), cell(spec.summary));
    }
    text.push_str("\n| Code | |\n|---|---|\n");
    for code in archipel_rules::Code::ALL {
        let _ = writeln!(text, "| {code} | {} |", cell(code.summary()));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rules.md");

    /// With `UPDATE_DOCS=1` in the environment the reference is written anew instead of compared.
    #[test]
    fn the_reference_is_current() {
        let page = std::fs::read_to_string(PAGE).expect("docs/rules.md");
        let (before, rest) = page.split_once("<!-- reference: start -->\n").expect("the start marker");
        let (between, after) = rest.split_once("<!-- reference: end -->").expect("the end marker");
        let current = super::markdown();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            let page = format!("{before}<!-- reference: start -->\n{current}<!-- reference: end -->{after}");
            std::fs::write(PAGE, page).expect("docs/rules.md");
        } else {
            assert!(between == current, "docs/rules.md is out of date: run UPDATE_DOCS=1 cargo test -p archipel-edge");
        }
    }
}
