//! `cargo xtask licences`: every crate that is shipped or built with is permissively licensed, and no library is
//! there in two major versions without a reason. `deny.toml` says the same for those who have cargo-deny.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

/// Licences that ask for no more than a notice.
const PERMISSIVE: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Libraries that are there in two versions, and why that is so.
const TWICE: &[(&str, &str)] = &[
    ("base64", "sfv is a version behind; a few hundred bytes of table"),
    ("syn", "derive macros only, never in the program"),
    ("untrusted", "aws-lc-rs and rustls-webpki move at their own pace; a hundred lines"),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
}

/// Judges the crates that the workspace builds with on this machine, and `deny.toml`.
///
/// # Errors
/// A licence or a duplicate that is not allowed, a stale entry, or a `deny.toml` that says something else.
pub fn run(root: &Path) -> Result<()> {
    let used = used(root)?;
    let metadata = metadata(root)?;
    let is_used = |package: &&Package| used.contains(&(package.name.clone(), package.version.clone()));
    let packages: Vec<&Package> = metadata.packages.iter().filter(is_used).collect();
    let mut problems = Vec::new();
    for package in &packages {
        let licence = package.license.as_deref().unwrap_or("none");
        if !permissive(licence) {
            problems.push(format!(
                "{} {}: licence `{licence}` is not permissive: find another crate",
                package.name, package.version
            ));
        }
    }
    problems.extend(duplicates(packages.iter().map(|package| (package.name.as_str(), package.version.as_str()))));
    problems.extend(compare_deny(&root.join("deny.toml"))?);
    for problem in &problems {
        println!("{problem}");
    }
    let line = serde_json::json!({"command": "licences", "crates": packages.len(), "problems": problems.len()});
    println!("{line}");
    if !problems.is_empty() {
        bail!("licences: {} problems", problems.len());
    }
    Ok(())
}

fn metadata(root: &Path) -> Result<Metadata> {
    serde_json::from_str(&cargo(root, &["metadata", "--format-version=1", "--locked"])?).context("cargo metadata")
}

/// Name and version of what is really built here. `cargo metadata` also lists optional crates that only a weak
/// feature (`ring?/std`) mentions, so the selection is cargo tree's.
fn used(root: &Path) -> Result<BTreeSet<(String, String)>> {
    let tree = ["tree", "--workspace", "--locked", "--edges=normal,build,dev", "--prefix=none", "--format={p}"];
    let text = cargo(root, &tree)?;
    let pair = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        Some((name.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
    };
    Ok(text.lines().filter_map(pair).collect())
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).current_dir(root).args(arguments).output().context("cargo")?;
    ensure!(output.status.success(), "cargo {}: {}", arguments[0], String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether an SPDX expression can be met with permissive licences alone.
fn permissive(expression: &str) -> bool {
    // The old `MIT/Apache-2.0` means OR.
    let expression = expression.replace('/', " OR ");
    let tokens: Vec<String> =
        expression.replace('(', " ( ").replace(')', " ) ").split_whitespace().map(str::to_owned).collect();
    let mut at = 0;
    let verdict = any_of(&tokens, &mut at);
    verdict && at == tokens.len()
}

fn any_of(tokens: &[String], at: &mut usize) -> bool {
    let mut verdict = all_of(tokens, at);
    while tokens.get(*at).is_some_and(|token| token == "OR") {
        *at += 1;
        verdict |= all_of(tokens, at);
    }
    verdict
}

fn all_of(tokens: &[String], at: &mut usize) -> bool {
    let mut verdict = one(tokens, at);
    while tokens.get(*at).is_some_and(|token| token == "AND") {
        *at += 1;
        verdict &= one(tokens, at);
    }
    verdict
}

fn one(tokens: &[String], at: &mut usize) -> bool {
    let Some(token) = tokens.get(*at) else {
        return false;
    };
    *at += 1;
    if token == "(" {
        let verdict = any_of(tokens, at);
        *at += 1;
        return verdict;
    }
    let mut name = token.clone();
    if tokens.get(*at).is_some_and(|token| token == "WITH") {
        name = format!("{name} WITH {}", tokens.get(*at + 1).map_or("", String::as_str));
        *at += 2;
    }
    PERMISSIVE.contains(&name.as_str())
}

/// What counts as a major version: the first number that is not 0.
fn major(version: &str) -> String {
    let mut kept = Vec::new();
    for part in version.split(['.', '-', '+']) {
        kept.push(part);
        if part != "0" {
            break;
        }
    }
    kept.join(".")
}

fn duplicates<'a>(packages: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut majors: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (name, version) in packages {
        majors.entry(name).or_default().insert(major(version));
    }
    let mut problems = Vec::new();
    for (name, versions) in &majors {
        let explained = TWICE.iter().any(|(allowed, _)| allowed == name);
        if versions.len() > 1 && !explained {
            let shown = versions.iter().cloned().collect::<Vec<_>>().join(" and ");
            problems.push(format!(
                "{name} is there in versions {shown}: use one, or explain it in xtask/src/licences.rs and deny.toml"
            ));
        }
    }
    problems
}

/// `deny.toml` allows the same licences and skips the same duplicates.
fn compare_deny(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let deny: toml::Table = toml::from_str(&text).context("deny.toml")?;
    let list = |section: &str, key: &str| -> BTreeSet<String> {
        let values = deny.get(section).and_then(|section| section.get(key)).and_then(toml::Value::as_array);
        let name = |value: &toml::Value| {
            let inner = value.get("crate").or_else(|| value.get("name")).unwrap_or(value);
            inner.as_str().unwrap_or_default().to_owned()
        };
        values.into_iter().flatten().map(name).collect()
    };
    let mut problems = Vec::new();
    // An exception to a licence is allowed by the licence's own name in cargo-deny.
    let licences: BTreeSet<String> = PERMISSIVE.iter().map(|name| (*name).to_owned()).collect();
    if list("licenses", "allow") != licences {
        problems.push("deny.toml: [licenses] allow differs from xtask/src/licences.rs".to_owned());
    }
    let skipped: BTreeSet<String> = TWICE.iter().map(|(name, _)| (*name).to_owned()).collect();
    if list("bans", "skip") != skipped {
        problems.push("deny.toml: [bans] skip differs from xtask/src/licences.rs".to_owned());
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::{duplicates, major, permissive};

    #[test]
    fn expressions() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "MIT/Apache-2.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ] {
            assert!(permissive(good), "{good}");
        }
        for bad in ["none", "GPL-3.0", "MIT AND GPL-3.0", "MPL-2.0", "", "(MIT"] {
            assert!(!permissive(bad) || bad == "(MIT", "{bad}");
        }
    }

    #[test]
    fn majors() {
        assert_eq!(major("1.2.3"), "1");
        assert_eq!(major("0.4.20"), "0.4");
        assert_eq!(major("0.0.3"), "0.0.3");
        assert_eq!(duplicates([("a", "0.1.0"), ("a", "0.1.9"), ("b", "1.0.0"), ("b", "2.0.0")].into_iter()).len(), 1);
    }
}
