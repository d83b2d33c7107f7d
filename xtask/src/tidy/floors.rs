//! The floors of the house, read from the manifests: which crate may depend on which, and who may name what.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::Finding;

/// Each crate's floor. A crate may depend only on crates of lower floors.
const FLOORS: &[(&str, u8)] = &[
    ("archipel-http", 1),
    ("archipel-codings", 1),
    ("archipel-rules", 1),
    ("archipel-waf", 1),
    ("archipel-config", 2),
    ("archipel-transport", 3),
    ("archipel-cache", 3),
    ("archipel-shield", 3),
    ("archipel-verify", 3),
    ("archipel-edge", 4),
    ("archipel", 5),
];

/// Crates for development: nothing but tests may depend on them, and they may depend on anything.
const DEVELOPMENT: &[&str] = &["archipel-testkit", "xtask"];

/// Protocol engines, which only the transport may name.
const ENGINES: &[&str] =
    &["h2", "h3", "h3-quinn", "hyper", "hyper-util", "quinn", "rustls", "tokio-rustls", "tokio-quiche"];
/// The one crate that may name the engines.
const ENGINE_OWNER: &str = "archipel-transport";

/// What floors 1 and 2 must not know: clocks, sockets and randomness come in as arguments.
const IMPURE: &[&str] =
    &["tokio", "mio", "socket2", "rustix", "libc", "async-std", "smol", "rand", "getrandom", "fastrand"];

/// The floor of a crate; `None` for one that is not on the list.
#[must_use]
pub fn floor(krate: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == krate).map(|(_, floor)| *floor)
}

/// Judges every manifest of the workspace at `root`.
///
/// # Errors
/// A manifest that cannot be read or parsed.
pub fn judge(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut folders: Vec<_> = std::fs::read_dir(root.join("crates"))?.collect::<Result<_, _>>()?;
    folders.sort_by_key(std::fs::DirEntry::path);
    for folder in folders {
        let path = folder.path().join("Cargo.toml");
        if path.is_file() {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let shown = format!("crates/{}/Cargo.toml", folder.file_name().to_string_lossy());
            findings.extend(judge_manifest(&shown, &text)?);
        }
    }
    Ok(findings)
}

fn judge_manifest(shown: &str, text: &str) -> Result<Vec<Finding>> {
    let manifest: toml::Table = toml::from_str(text).with_context(|| shown.to_owned())?;
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    let name = name.unwrap_or_default().to_owned();
    let mut findings = Vec::new();
    let mut report = |dependency: &str, what: String, advice: &str| {
        let line = text.lines().position(|line| names_dependency(line, dependency)).map_or(1, |at| at + 1);
        findings.push(Finding::new(shown, line, "floors", &what, advice));
    };
    if DEVELOPMENT.contains(&name.as_str()) {
        return Ok(findings);
    }
    let Some(own) = floor(&name) else {
        report(
            "name",
            format!("`{name}` has no floor"),
            "give it one in xtask/src/tidy/floors.rs and in ARCHITECTURE.md",
        );
        return Ok(findings);
    };
    for dependency in dependencies(&manifest) {
        let dependency = dependency.as_str();
        if let Some(other) = floor(dependency)
            && other >= own
        {
            let what = format!("`{name}` (floor {own}) depends on `{dependency}` (floor {other})");
            report(
                dependency,
                what,
                "a crate imports only lower floors: move the code down, or pass it in as an argument",
            );
        }
        if DEVELOPMENT.contains(&dependency) {
            report(dependency, format!("`{name}` ships `{dependency}`"), "name it under [dev-dependencies]");
        }
        if ENGINES.contains(&dependency) && name != ENGINE_OWNER {
            report(
                dependency,
                format!("`{name}` names `{dependency}`"),
                "only archipel-transport may: ask it for what is missing",
            );
        }
        if own <= 2 && IMPURE.contains(&dependency) {
            let advice = "floors 1 and 2 know no clock, socket or randomness: take it as an argument";
            report(dependency, format!("`{name}` names `{dependency}`"), advice);
        }
    }
    Ok(findings)
}

fn names_dependency(line: &str, dependency: &str) -> bool {
    line.strip_prefix(dependency).is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
}

/// The names of all dependencies that are shipped or run while building, targets' own included.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut take = |table: Option<&toml::Value>| {
        for key in ["dependencies", "build-dependencies"] {
            let list = table.and_then(|table| table.get(key)).and_then(toml::Value::as_table);
            for (name, value) in list.into_iter().flatten() {
                let package = value.get("package").and_then(toml::Value::as_str);
                found.insert(package.unwrap_or(name).to_owned());
            }
        }
    };
    take(Some(&toml::Value::Table(manifest.clone())));
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    for target in targets.into_iter().flatten().map(|(_, target)| target) {
        take(Some(target));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::judge_manifest;

    fn check(name: &str, body: &str, want: &[usize]) {
        let text = format!("[package]\nname = \"{name}\"\n{body}");
        let findings = judge_manifest("Cargo.toml", &text).expect("a manifest");
        assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), want, "{text}: {findings:?}");
    }

    #[test]
    fn floors_hold() {
        check("archipel-edge", "[dependencies]\narchipel-cache.workspace = true\n", &[]);
        check("archipel-cache", "[dependencies]\narchipel-edge.workspace = true\n", &[4]);
        check("archipel-cache", "[dependencies]\narchipel-transport.workspace = true\n", &[4]);
        check("archipel-http", "[dependencies]\ntokio = \"1\"\n", &[4]);
        check("archipel-http", "[dev-dependencies]\ntokio = \"1\"\n", &[]);
        check("archipel-edge", "[dependencies]\nh2 = \"1\"\n", &[4]);
        check("archipel-transport", "[dependencies]\nh2 = \"1\"\n", &[]);
        check(
            "archipel-edge",
            "[target.'cfg(unix)'.dependencies]\nx = { package = \"hyper\", version = \"1\" }\n",
            &[1],
        );
        check("archipel", "[dependencies]\narchipel-testkit.workspace = true\n", &[4]);
        check("archipel-testkit", "[dependencies]\nh2 = \"1\"\n", &[]);
        check("archipel-new", "", &[2]);
    }
}
