//! The allow-list of what was already too long. It may only shrink: an entry holds the exact measured length,
//! and neither a new entry nor a larger one is accepted against the committed list.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::Finding;
use super::rules::Length;

/// Where the list is, from the root.
pub const PATH: &str = "xtask/tidy-allow.txt";

/// Reads a list: `PLACE LINES` a line, `#` begins a comment.
fn parse(text: &str) -> Result<BTreeMap<String, (usize, usize)>> {
    let mut entries = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let parsed =
            line.rsplit_once(' ').and_then(|(place, lines)| Some((place.trim(), lines.parse::<usize>().ok()?)));
        let Some((place, lines)) = parsed else { bail!("{PATH}:{}: expected `PLACE LINES`", index + 1) };
        entries.insert(place.to_owned(), (lines, index + 1));
    }
    Ok(entries)
}

/// Holds the measured excesses against the list at `root`.
///
/// # Errors
/// A list that cannot be parsed.
pub fn judge(root: &Path, lengths: &[Length]) -> Result<Vec<Finding>> {
    let text = std::fs::read_to_string(root.join(PATH)).unwrap_or_default();
    let committed = committed(root);
    compare(&parse(&text)?, committed.as_deref().map(parse).transpose()?.as_ref(), lengths)
}

/// The list of the last commit; `None` outside a repository or before the first commit of the list.
fn committed(root: &Path) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(["show", &format!("HEAD:{PATH}")]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

type Entries = BTreeMap<String, (usize, usize)>;

fn compare(entries: &Entries, committed: Option<&Entries>, lengths: &[Length]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for length in lengths {
        let allowed = entries.get(&length.place).map(|(lines, _)| *lines);
        let file = length.place.split("::").next().unwrap_or_default();
        let what = format!("{} has {} lines, at most {} are allowed", length.place, length.lines, length.lines_max);
        match allowed {
            Some(allowed) if length.lines <= allowed => {}
            Some(allowed) => {
                let advice = format!("its entry in {PATH} says {allowed}, and may only shrink: split it");
                findings.push(Finding::new(file, length.line, "length", &what, &advice));
            }
            None => {
                let advice = "split it where a part has a name of its own";
                findings.push(Finding::new(file, length.line, "length", &what, advice));
            }
        }
    }
    for (place, (lines, line)) in entries {
        let measured = lengths.iter().find(|length| &length.place == place);
        match measured {
            None => findings.push(Finding::new(
                PATH,
                *line,
                "allow-list",
                &format!("{place} is within its limit"),
                "delete the entry",
            )),
            Some(length) if length.lines < *lines => {
                let what = format!("{place} has shrunk to {}", length.lines);
                findings.push(Finding::new(PATH, *line, "allow-list", &what, "write that number into the entry"));
            }
            Some(_) => {}
        }
        let before = committed.map(|committed| committed.get(place).map(|(lines, _)| *lines));
        if let Some(before) = before
            && before.is_none_or(|before| before < *lines)
        {
            findings.push(Finding::new(
                PATH,
                *line,
                "allow-list",
                &format!("the entry of {place} is new or larger"),
                "the list may only shrink",
            ));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::{compare, parse};
    use crate::tidy::rules::Length;

    fn check(list: &str, committed: Option<&str>, measured: usize, want: &[&str]) {
        let length = Length { place: "a.rs::f".into(), line: 1, lines: measured, lines_max: 70 };
        let lengths = if measured > 70 { vec![length] } else { vec![] };
        let committed = committed.map(|text| parse(text).expect("a list"));
        let findings = compare(&parse(list).expect("a list"), committed.as_ref(), &lengths).expect("a verdict");
        assert_eq!(findings.iter().map(|finding| finding.rule).collect::<Vec<_>>(), want);
    }

    #[test]
    fn the_list_only_shrinks() {
        check("", None, 80, &["length"]);
        check("a.rs::f 80 # why\n", None, 80, &[]);
        check("a.rs::f 80\n", None, 81, &["length"]);
        check("a.rs::f 80\n", None, 75, &["allow-list"]);
        check("a.rs::f 80\n", None, 60, &["allow-list"]);
        check("a.rs::f 80\n", Some(""), 80, &["allow-list"]);
        check("a.rs::f 80\n", Some("a.rs::f 79"), 80, &["allow-list"]);
        check("a.rs::f 80\n", Some("a.rs::f 81"), 80, &[]);
    }
}
