//! What derives from the settings table: the JSON Schema, the Markdown reference, and the effective configuration.

use std::fmt::Write as _;

use serde_json::json;

use crate::node::NodeConfig;
use crate::settings::{Group, Header, Section, groups};
use crate::snapshot::Snapshot;
use crate::zone::ZoneConfig;

/// The settings of both documents: first of `node.toml`, then of `zones/<name>.toml`.
pub fn settings_table() -> (Vec<Group>, Vec<Group>) {
    (groups::<NodeConfig>(), groups::<ZoneConfig>())
}

/// JSON Schema (draft 2020-12) of both documents: `#/$defs/node` and `#/$defs/zone`, and as a whole an object with
/// `node` and `zones`.
pub fn schema_json() -> String {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Archipel configuration",
        "type": "object",
        "properties": {
            "node": {"$ref": "#/$defs/node"},
            "zones": {"type": "object", "additionalProperties": {"$ref": "#/$defs/zone"}},
        },
        "additionalProperties": false,
        "$defs": {"node": NodeConfig::schema(), "zone": ZoneConfig::schema()},
    });
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// The reference of all settings in Markdown.
pub fn settings_markdown() -> String {
    let (node, zone) = settings_table();
    let mut text = String::new();
    for (title, groups) in [("node.toml", node), ("zones/\\<name>.toml", zone)] {
        let _ = writeln!(text, "## {title}\n");
        for group in &groups {
            write_group(&mut text, group);
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn write_group(text: &mut String, group: &Group) {
    match (group.path.as_str(), group.list) {
        ("", _) => {}
        (path, true) => drop(writeln!(text, "### `[[{path}]]`\n")),
        (path, false) => drop(writeln!(text, "### `[{path}]`\n")),
    }
    let _ = writeln!(text, "{}\n", cell(&group.help));
    if group.settings.is_empty() {
        return;
    }
    let _ = writeln!(text, "| Setting | Kind | Default | Allowed | What it does |\n|---|---|---|---|---|");
    for setting in &group.settings {
        let name = setting.path.rsplit('.').next().unwrap_or(&setting.path);
        let default = match &setting.default {
            Some(default) => format!("`{default}`"),
            None if setting.required => "**required**".to_owned(),
            None => "not set".to_owned(),
        };
        let _ = writeln!(
            text,
            "| `{name}` | {} | {default} | {} | {} |",
            setting.kind,
            cell(&setting.allowed),
            cell(&setting.help)
        );
    }
    text.push('\n');
}

/// Text inside a table: no line ends, no column marks, and doc links as plain words.
fn cell(text: &str) -> String {
    let mut cell = text.replace('|', "\\|").replace("<name>", "\\<name>").replace("`zones/\\<name>", "`zones/<name>");
    cell.retain(|c| c != '\n');
    cell
}

impl Snapshot {
    /// The effective configuration: every setting of every document with the value that holds, defaults included. It loads
    /// again to the same configuration. Private keys are named by their files, so it holds no secret.
    pub fn effective_documents(&self) -> Vec<(String, String)> {
        let mut text = String::new();
        self.node.write("", Header::Top, &mut text);
        let mut documents = vec![("node.toml".to_owned(), text)];
        for zone in &self.zones {
            let mut config = ZoneConfig::new(zone.hosts.clone(), zone.origin.clone());
            config.cache = zone.cache.clone();
            config.compression = zone.compression.clone();
            config.tls = zone.tls.clone();
            config.limits = zone.limits.clone();
            config.headers = zone.headers.clone();
            config.purge = zone.purge.clone();
            config.error_pages = zone.error_page_files.clone();
            config.firewall = zone.firewall.clone();
            config.shield = zone.shield.clone();
            config.lists = zone.named_lists.clone();
            config.settings_rules = zone.phases.settings.clone();
            config.redirects = zone.phases.redirects.clone();
            config.rewrites = zone.phases.rewrites.clone();
            config.routes = zone.phases.routes.clone();
            config.response_headers = zone.phases.response_headers.clone();
            config.custom_errors = zone.phases.custom_errors.clone();
            let mut text = String::new();
            config.write("", Header::Top, &mut text);
            documents.push((format!("zones/{}.toml", zone.name), text));
        }
        documents
    }

    /// [`Snapshot::effective_documents`] as one text, each document after a comment with its name.
    pub fn render_effective(&self) -> String {
        let documents = self.effective_documents();
        let parts = documents.iter().map(|(name, text)| format!("# {name}\n{text}"));
        parts.collect::<Vec<_>>().join("\n")
    }
}
