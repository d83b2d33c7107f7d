//! `cargo xtask tidy`: the house rules, each with a command that checks it. It reads the sources and the manifests
//! and must never change anything.

pub mod allow;
pub mod docs;
pub mod floors;
pub mod rules;
pub mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use source::Source;

/// One breach of a rule.
#[derive(Debug)]
pub struct Finding {
    /// Path from the root of the repository.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// The rule's name.
    pub rule: &'static str,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: String,
}

impl Finding {
    /// A finding at `path:line`.
    #[must_use]
    pub fn new(path: &str, line: usize, rule: &'static str, what: &str, advice: &str) -> Self {
        Self { path: path.to_owned(), line, rule, what: what.to_owned(), advice: advice.to_owned() }
    }
}

/// What the rules need to know of the crate that a file belongs to.
#[derive(Debug)]
pub struct House {
    krate: String,
    floor: Option<u8>,
}

impl House {
    /// The house of the file at `path` (from the root).
    #[must_use]
    pub fn of(path: &str) -> Self {
        let mut parts = path.split('/');
        let krate = match (parts.next(), parts.next()) {
            (Some("crates"), Some(krate)) => krate,
            (Some(folder), _) => folder,
            (None, _) => "",
        };
        Self { krate: krate.to_owned(), floor: floors::floor(krate) }
    }

    /// Every file.
    #[must_use]
    pub fn always(&self) -> bool {
        true
    }

    /// Floors 1 to 4 handle what visitors and origins send.
    #[must_use]
    pub fn hears_hostile_bytes(&self) -> bool {
        self.floor.is_some_and(|floor| floor <= 4)
    }

    /// Every crate but the program and the development tools.
    #[must_use]
    pub fn is_library(&self) -> bool {
        !matches!(self.krate.as_str(), "archipel" | "xtask" | "fuzz")
    }

    /// Floors 1 and 2.
    #[must_use]
    pub fn is_pure(&self) -> bool {
        self.floor.is_some_and(|floor| floor <= 2)
    }

    /// Every crate but xtask and fuzz, whose clocks are real.
    #[must_use]
    pub fn not_xtask(&self) -> bool {
        !matches!(self.krate.as_str(), "xtask" | "fuzz")
    }
}

/// Runs all rules on the repository at `root`.
///
/// # Errors
/// A file that cannot be read.
pub fn judge(root: &Path) -> Result<Vec<Finding>> {
    let mut sources = Vec::new();
    for folder in ["crates", "xtask", "fuzz"] {
        collect(root, &root.join(folder), &mut sources)?;
    }
    let declared: BTreeSet<String> = sources.iter().flat_map(Source::test_module_paths).collect();
    let mut findings = floors::judge(root)?;
    let mut lengths = Vec::new();
    for source in &mut sources {
        if declared.contains(&source.path) {
            source.count_as_test();
        }
        findings.extend(rules::judge(source, &House::of(&source.path)));
        lengths.extend(rules::lengths(source));
    }
    findings.extend(allow::judge(root, &lengths)?);
    findings.extend(docs::judge(root)?);
    findings.sort_by(|one, other| (&one.path, one.line).cmp(&(&other.path, other.line)));
    Ok(findings)
}

/// Runs all rules and prints what they found.
///
/// # Errors
/// Any finding, or a file that cannot be read.
pub fn run(root: &Path) -> Result<()> {
    let findings = judge(root)?;
    for finding in &findings {
        println!("{}:{}: [{}] {}: {}", finding.path, finding.line, finding.rule, finding.what, finding.advice);
    }
    println!("{}", serde_json::json!({"command": "tidy", "findings": findings.len()}));
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    Ok(())
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(());
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(root, &path, sources)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let shown = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            sources.push(Source::new(&shown, &text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_house_is_tidy() {
        let findings = super::judge(&crate::root()).expect("the repository can be read");
        let shown: Vec<String> = findings
            .iter()
            .map(|finding| {
                format!("{}:{}: [{}] {}: {}", finding.path, finding.line, finding.rule, finding.what, finding.advice)
            })
            .collect();
        assert!(shown.is_empty(), "{}", shown.join("\n"));
    }
}
