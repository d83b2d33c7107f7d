//! Tests of what derives from the settings table: the reference in docs/configuration.md, the JSON Schema, the defaults.

use std::fs;
use std::path::{Path, PathBuf};

use crate::*;

const START: &str = "<!-- settings: start -->\n";
const END: &str = "<!-- settings: end -->";

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md")
}

/// The text before, between and after the markers of the reference.
fn split(text: &str) -> (&str, &str, &str) {
    let (before, rest) = text.split_once(START).expect("the start marker");
    let (between, after) = rest.split_once(END).expect("the end marker");
    (before, between, after)
}

/// With `UPDATE_DOCS=1` in the environment the reference is written anew instead of compared.
#[test]
fn the_reference_is_current() {
    let text = fs::read_to_string(reference()).expect("docs/configuration.md");
    let (before, between, after) = split(&text);
    let current = format!("\n{}\n", settings_markdown());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(reference(), format!("{before}{START}{current}{END}{after}")).expect("docs/configuration.md");
    } else {
        assert!(
            between == current,
            "docs/configuration.md is out of date: run UPDATE_DOCS=1 cargo test -p archipel-config"
        );
    }
}

/// The blocks of TOML in a page whose first line names a document are one example; it must load without a warning.
#[test]
fn the_examples_in_the_documentation_load() {
    check_example("configuration.md", 2);
    check_example("caching.md", 1);
    check_example("firewall.md", 1);
}

fn check_example(page: &str, documents_min: usize) {
    let text = fs::read_to_string(reference().with_file_name(page)).expect(page);
    let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block);
    let documents: Vec<(&str, &str)> = blocks
        .filter_map(|block| {
            let name = block.lines().next()?.strip_prefix("# ")?;
            (name == "node.toml" || name.starts_with("zones/")).then_some((name, block))
        })
        .collect();
    assert!(documents.len() >= documents_min, "{documents:?}");
    let (_, warnings) = Snapshot::from_documents(&documents).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(warnings.is_empty(), "{warnings}");
}

#[test]
fn the_codes_are_in_the_documentation() {
    let text = fs::read_to_string(reference()).expect("docs/configuration.md");
    for code in Code::ALL {
        let row = format!("| {code} | {} |", code.summary());
        assert!(text.contains(&row), "docs/configuration.md lacks: {row}");
    }
}

/// Walks a schema along a dotted path.
fn find<'a>(schema: &'a serde_json::Value, path: &str) -> Option<&'a serde_json::Value> {
    path.split('.').try_fold(schema, |schema, key| {
        let schema = schema.get("items").unwrap_or(schema);
        schema.get("properties")?.get(key)
    })
}

#[test]
fn the_schema_knows_every_setting() {
    let schema: serde_json::Value = serde_json::from_str(&schema_json()).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let (node, zone) = settings_table();
    let mut count = 0;
    for (document, groups) in [("node", node), ("zone", zone)] {
        let root = &schema["$defs"][document];
        for setting in groups.iter().flat_map(|group| &group.settings) {
            let found = find(root, &setting.path).unwrap_or_else(|| panic!("no schema for {}", setting.path));
            assert_eq!(found["description"], setting.help.as_str(), "{}", setting.path);
            assert_eq!(found.get("default").is_some(), setting.default.is_some(), "{}", setting.path);
            count += 1;
        }
    }
    assert!(count > 80, "{count}");
    assert_eq!(schema["$defs"]["zone"]["required"], serde_json::json!(["hosts", "origin"]));
    assert_eq!(find(&schema["$defs"]["node"], "limits.workers"), None);
    assert_eq!(
        find(&schema["$defs"]["node"], "tls.min_version").map(|s| s["enum"].clone()),
        Some(serde_json::json!(["1.2", "1.3"]))
    );
    assert_eq!(schema["$defs"]["node"]["additionalProperties"], false);
}

/// Every default is a value that the setting itself would take, so that writing it down changes nothing.
#[test]
fn defaults_are_allowed() {
    let (node, zone) = settings_table();
    let write = |groups: &[Group]| -> String {
        // What stands in a list, or below one, has no place of its own in a document.
        let listed = |path: &str| {
            groups.iter().any(|g| {
                g.list && path.strip_prefix(&*g.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        let settings = groups.iter().filter(|group| !listed(&group.path)).flat_map(|group| &group.settings);
        settings.filter_map(|s| s.default.as_ref().map(|default| format!("{} = {default}\n", s.path))).collect()
    };
    let zone = format!("hosts = [\"*\"]\norigin.url = \"http://o\"\n{}", write(&zone));
    let short = "hosts = [\"*\"]\norigin.url = \"http://o\"\n";
    let (written, warnings) =
        Snapshot::from_documents(&[("node.toml", write(&node).as_str()), ("zones/a.toml", &zone)])
            .unwrap_or_else(|problems| panic!("{problems}"));
    // What has no effect is said even where the value is the default, because it was written.
    assert!(warnings.iter().all(|warning| warning.code == Code::NoEffect), "{warnings}");
    let (left_out, _) =
        Snapshot::from_documents(&[("zones/a.toml", short)]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(written.render_effective().replace("32MiB", "0B"), left_out.render_effective().replace("32MiB", "0B"));
}

#[test]
fn every_setting_is_described() {
    let (node, zone) = settings_table();
    for setting in node.iter().chain(&zone).flat_map(|group| &group.settings) {
        assert!(setting.help.ends_with('.'), "{}: {}", setting.path, setting.help);
        assert!(setting.required || setting.default.is_some() || !setting.allowed.is_empty(), "{}", setting.path);
    }
}

/// Hostile documents: cut, spliced and with bytes changed. Nothing may panic.
#[test]
fn broken_documents_never_panic() {
    let text = fs::read_to_string(reference()).expect("docs/configuration.md");
    let example = text
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block)
        .collect::<String>();
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move |bound: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(bound.max(1)).unwrap_or(1)).unwrap_or(0)
    };
    let alphabet: Vec<char> = "\"'[]{}=.#,\n\\ -0aü\u{202e}\u{0}".chars().collect();
    for _ in 0..500 {
        let mut chars: Vec<char> = example.chars().collect();
        chars.truncate(1 + next(chars.len()));
        for _ in 0..next(8) {
            let at = next(chars.len());
            chars[at] = alphabet[next(alphabet.len())];
        }
        let text: String = chars.into_iter().collect();
        for name in ["node.toml", "zones/a.toml", "node.json"] {
            let shown = match Snapshot::from_documents(&[(name, text.as_str())]) {
                Ok((_, warnings)) => warnings.render(true),
                Err(problems) => problems.render(true),
            };
            assert!(!shown.contains('\u{202e}'));
        }
    }
}
