//! `cargo xtask conformance`: the cache's own conformance set, which covers what http-tests/cache-tests lacks. It is the scenario
//! files `conformance-GROUP-NAME.txt` of the end-to-end tests; here they are run alone and counted by group.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use archipel_testkit::case::{Case, Form};

use crate::process;

/// Where the files are.
const FOLDER: &str = "crates/archipel/tests/cases/conformance";
const PREFIX: &str = "conformance-";
/// A run takes about a minute after building.
const RUN_SECONDS_MAX: u64 = 1200;

/// What each group is about, in the order of the table.
const GROUPS: &[(&str, &str)] = &[
    ("status", "Cache-Status: grammar, words, order of members (RFC 9211)"),
    ("fresh", "lifetimes, statuses, must-understand, no-cache (RFC 9111)"),
    ("targeted", "CDN-Cache-Control and its kin, Surrogate-Control (RFC 9213)"),
    ("age", "Age arithmetic on hits and after 304 (RFC 9111 section 4.2.3)"),
    ("stale", "stale-while-revalidate, stale-if-error, a lost origin (RFC 5861)"),
    ("vary", "variants: several fields, absent and empty, newest, changed by 304"),
    ("key", "no cross-hit by host, zone, port, scheme, path; equal targets"),
    ("cookie", "Set-Cookie refused, kept, stripped, named by private"),
    ("authorization", "which directives share a reply to credentials"),
    ("head", "HEAD from a stored GET, freshening, what shows a change"),
    ("range", "parts of stored responses, several, If-Range"),
    ("part", "partial content kept, and what is never joined"),
    ("condition", "visitors' conditions and ours"),
    ("field", "what is stored of the fields, what a 304 changes"),
    ("interim", "102 and 103 on a miss"),
    ("trailer", "trailers stored and sent again"),
    ("post", "replies to POST kept for GET"),
    ("collapse", "who waits for whom, and what they are told"),
    ("request", "request directives, obeyed and not (RFC 9111 section 5.2.1)"),
    ("invalidate", "unsafe methods (RFC 9111 section 4.4)"),
    ("groups", "cache groups (RFC 9875)"),
    ("search", "No-Vary-Search"),
    ("deception", "pages under the names of static files"),
];

/// Scenarios of one group: HTTP/1.1 and HTTP/2.
type Counts = [usize; 2];

fn group_of(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)?.split('-').next()
}

fn counted(root: &Path) -> Result<BTreeMap<String, Counts>> {
    let mut groups: BTreeMap<String, Counts> = BTreeMap::new();
    for case in Case::read_all(&root.join(FOLDER))? {
        let group = group_of(&case.name).with_context(|| format!("{} is not named {PREFIX}GROUP-NAME", case.name))?;
        ensure!(
            GROUPS.iter().any(|(known, _)| *known == group),
            "{}: say in xtask/src/conformance.rs what the group `{group}` is about",
            case.name
        );
        let counts = groups.entry(group.to_owned()).or_default();
        for form in &case.forms {
            counts[usize::from(*form == Form::H2)] += 1;
        }
    }
    Ok(groups)
}

/// The table of groups for the documents.
///
/// # Errors
/// A file that cannot be read, or whose group nobody has described.
pub fn markdown(root: &Path) -> Result<String> {
    let groups = counted(root)?;
    let mut text = "| group | about | HTTP/1.1 | HTTP/2 |\n|---|---|---|---|\n".to_owned();
    let mut sums = [0; 2];
    for (group, about) in GROUPS {
        let Some([one, two]) = groups.get(*group) else { continue };
        let _ = writeln!(text, "| {group} | {about} | {one} | {two} |");
        sums = [sums[0] + one, sums[1] + two];
    }
    let _ = writeln!(text, "| all | | {} | {} |", sums[0], sums[1]);
    Ok(text)
}

/// Runs the set and prints the table.
///
/// # Errors
/// A scenario that does not pass, or anything that keeps the set from running.
pub fn run(root: &Path) -> Result<()> {
    let groups = counted(root)?;
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["test", "--quiet", "--package", "archipel", "--test", "e2e", "--", PREFIX];
    let mut command = Command::new(program);
    command.current_dir(root).args(arguments).stderr(Stdio::inherit());
    let text = process::output("the end-to-end tests", &mut command, Duration::from_secs(RUN_SECONDS_MAX))?;
    let results: Vec<(&str, bool)> = text.lines().filter_map(verdict).collect();
    println!("{:<15} {:>9} {:>9}", "group", "HTTP/1.1", "HTTP/2");
    let (mut passed, mut all) = (0, 0);
    for (group, _) in GROUPS {
        let Some(counts) = groups.get(*group) else { continue };
        let of = |form: &str| {
            let found =
                results.iter().filter(|(name, good)| *good && group_of(name) == Some(group) && name.ends_with(form));
            found.count()
        };
        let good = [of(".h1"), of(".h2")];
        println!("{group:<15} {:>4}/{:<4} {:>4}/{:<4}", good[0], counts[0], good[1], counts[1]);
        passed += good[0] + good[1];
        all += counts[0] + counts[1];
    }
    let failed: Vec<&str> = results.iter().filter(|(_, good)| !good).map(|(name, _)| *name).collect();
    if passed != all {
        println!("\n{text}");
    }
    println!("{}", serde_json::json!({"command": "conformance", "passed": passed, "all": all, "failed": failed}));
    ensure!(passed == all, "conformance: {passed} of {all} scenarios");
    Ok(())
}

/// `test NAME ... ok (12 ms)`.
fn verdict(line: &str) -> Option<(&str, bool)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ")?;
    name.starts_with(PREFIX).then(|| (name, rest.starts_with("ok")))
}

#[cfg(test)]
mod tests {
    use super::{group_of, verdict};

    #[test]
    fn lines_are_read() {
        assert_eq!(verdict("test conformance-age-x.h2 ... ok (3 ms)"), Some(("conformance-age-x.h2", true)));
        assert_eq!(verdict("test conformance-age-x.h1 ... FAILED (3 ms)"), Some(("conformance-age-x.h1", false)));
        assert_eq!(verdict("test vary.h1 ... ok (3 ms)"), None);
        assert_eq!(group_of("conformance-age-x.h2"), Some("age"));
    }
}
