//! The documents: what is written by a program stands between markers, which must be paired, and links to files of
//! the repository must lead somewhere. It must never rewrite a document.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Finding;

/// Judges README.md and its neighbours, and everything under docs/.
///
/// # Errors
/// A document that cannot be read.
pub fn judge(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in documents(root) {
        let shown = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path)?;
        findings.extend(markers(&shown, &text));
        for (name, body) in derivations(root)? {
            findings.extend(derived(&shown, &text, name, &body));
        }
        let folder = path.parent().unwrap_or(root);
        findings.extend(links(&shown, &text, |target| folder.join(target).exists()));
    }
    Ok(findings)
}

/// What derives from the code, by the name of its markers: the settings table, the groups of the conformance set, and
/// what the firewall blocks and libmodsecurity does not, or the other way round.
fn derivations(root: &Path) -> Result<[(&'static str, String); 3]> {
    Ok([
        ("settings", archipel_config::settings_markdown()),
        ("conformance", crate::conformance::markdown(root)?),
        ("waf-differences", crate::waf::compare::markdown(root)?),
    ])
}

/// What stands between the markers of `name` is what its source says.
fn derived(shown: &str, text: &str, name: &str, body: &str) -> Option<Finding> {
    let line = text.lines().position(|line| line.trim() == format!("<!-- begin: {name} -->"))?;
    let current = replace(text, name, body);
    let advice = "run `cargo xtask docs`";
    let what = format!("what `{name}` derives from has changed");
    (current != text).then(|| Finding::new(shown, line + 1, "docs-markers", &what, advice))
}

/// `cargo xtask docs`: writes what derives from the code into the documents that have markers for it.
///
/// # Errors
/// A document that cannot be read or written.
pub fn write(root: &Path) -> Result<()> {
    let derivations = derivations(root)?;
    for path in documents(root) {
        let text = std::fs::read_to_string(&path)?;
        let mut current = text.clone();
        for (name, body) in &derivations {
            if text.contains(&format!("<!-- begin: {name} -->")) {
                current = replace(&current, name, body);
            }
        }
        if current != text {
            std::fs::write(&path, current)?;
            println!("{}", path.display());
        }
    }
    Ok(())
}

fn documents(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in [root.to_owned(), root.join("docs")] {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        found.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    found.sort();
    found
}

/// `<!-- begin: NAME -->` and `<!-- end: NAME -->` come in pairs and do not nest.
fn markers(shown: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut open: Option<(&str, usize)> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let name = |word: &str| line.strip_prefix(&format!("<!-- {word}: "))?.strip_suffix(" -->");
        if let Some(begun) = line.starts_with("<!-- begin: ").then(|| name_of(line, "begin")).flatten() {
            if let Some((other, _)) = open {
                let what = format!("`{begun}` begins inside `{other}`");
                findings.push(Finding::new(shown, index + 1, "docs-markers", &what, "end the first one before"));
            }
            open = Some((begun, index + 1));
        }
        if name("end").is_some() {
            let ended = name_of(line, "end");
            if open.map(|(begun, _)| begun) != ended {
                let what = format!("`{}` ends without a beginning", ended.unwrap_or_default());
                findings.push(Finding::new(
                    shown,
                    index + 1,
                    "docs-markers",
                    &what,
                    "write `<!-- begin: NAME -->` before",
                ));
            }
            open = None;
        }
    }
    if let Some((begun, line)) = open {
        let what = format!("`{begun}` never ends");
        findings.push(Finding::new(shown, line, "docs-markers", &what, "write `<!-- end: NAME -->` after it"));
    }
    findings
}

fn name_of<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.strip_prefix("<!-- ")?.strip_prefix(word)?.strip_prefix(": ")?.strip_suffix(" -->")
}

/// Links of the form `](path)` lead to something that exists.
fn links(shown: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        for part in line.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") || exists(file) {
                continue;
            }
            let what = format!("the link to `{file}` leads nowhere");
            findings.push(Finding::new(
                shown,
                index + 1,
                "docs-links",
                &what,
                "mend the path, relative to the document",
            ));
        }
    }
    findings
}

/// Puts `body` between the markers of `name` in the document `text`, or appends both.
#[must_use]
pub fn replace(text: &str, name: &str, body: &str) -> String {
    let (begin, end) = (format!("<!-- begin: {name} -->"), format!("<!-- end: {name} -->"));
    let block = format!("{begin}\n{}\n{end}", body.trim_end());
    match (text.find(&begin), text.find(&end)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{block}{}", &text[..from], &text[to + end.len()..])
        }
        _ if text.trim().is_empty() => format!("{block}\n"),
        _ => format!("{}\n\n{block}\n", text.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::{links, markers, replace};

    #[test]
    fn markers_are_paired() {
        assert!(markers("a.md", "<!-- begin: a -->\nx\n<!-- end: a -->\n").is_empty());
        assert_eq!(markers("a.md", "<!-- begin: a -->\n").len(), 1);
        assert_eq!(markers("a.md", "<!-- end: a -->\n").len(), 1);
        assert_eq!(markers("a.md", "<!-- begin: a -->\n<!-- end: b -->\n").len(), 1);
    }

    #[test]
    fn links_lead_somewhere() {
        let exists = |path: &str| path == "there.md";
        assert!(links("a.md", "[a](there.md#x) [b](https://example.org) [c](#d)", exists).is_empty());
        assert_eq!(links("a.md", "[a](gone.md)", exists).len(), 1);
        assert!(links("a.md", "```\nx[1](gone)\n```", exists).is_empty());
    }

    #[test]
    fn a_block_is_replaced() {
        let once = replace("# A\n", "t", "one");
        assert_eq!(once, "# A\n\n<!-- begin: t -->\none\n<!-- end: t -->\n");
        assert_eq!(replace(&once, "t", "two\n"), once.replace("one", "two"));
    }
}
