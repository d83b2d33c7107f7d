//! `firewall suggest`: from what the managed rules found to exclusions that an operator can paste. Pure: events in, text out.
//!
//! It cannot know which findings were mistakes. It says how many visitors made each, and leaves out what few made: what many visitors
//! send alike to one place is more often a form than an attack.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

/// A finding of a managed rule, with one of the things that an exclusion could name of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Zone.
    pub zone: String,
    /// Number of the managed rule.
    pub rule: String,
    /// What the rule is for.
    pub description: String,
    /// What it looked at, such as `ARGS:comment`; nothing where only the whole rule can be excluded.
    pub target: Option<String>,
    /// Path, without the query.
    pub path: String,
    /// The visitor.
    pub client: String,
    /// The request.
    pub request: String,
}

/// An exclusion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// Zone.
    pub zone: String,
    /// Numbers of the rules.
    pub rules: Vec<String>,
    /// What they are not to look at; nothing where they look at all of a request.
    pub target: Option<String>,
    /// Path, `*` for any characters.
    pub path: String,
    /// Requests with a finding that it would have spared.
    pub requests: usize,
    /// Visitors who made them.
    pub clients: usize,
    /// What the rules are for.
    pub descriptions: Vec<String>,
}

/// Paths that are named one by one; of more, their common beginning is named.
const PATHS_MAX: usize = 3;

/// Exclusions for what at least `clients_min` visitors made, those that spare most first.
pub fn suggest(seen: &[Seen], clients_min: usize) -> Vec<Suggestion> {
    // By what was looked at first: one parameter that many rules mistake is one exclusion. Rules that are excluded as a whole have only
    // their own places in common.
    let mut groups: BTreeMap<(&str, Option<&str>, &str), Vec<&Seen>> = BTreeMap::new();
    for event in seen.iter().filter(|event| is_detection(&event.rule)) {
        let alone = if event.target.is_none() { &*event.rule } else { "" };
        groups.entry((&event.zone, event.target.as_deref(), alone)).or_default().push(event);
    }
    let mut suggestions = Vec::new();
    for ((zone, target, _), events) in groups {
        for (path, events) in by_path(&events) {
            let distinct = |of: fn(&Seen) -> &String| events.iter().map(|event| of(event)).collect::<BTreeSet<_>>();
            let clients = distinct(|event| &event.client).len();
            if clients < clients_min {
                continue;
            }
            suggestions.push(Suggestion {
                zone: zone.to_owned(),
                rules: distinct(|event| &event.rule).into_iter().cloned().collect(),
                target: target.map(str::to_owned),
                path,
                requests: distinct(|event| &event.request).len(),
                clients,
                descriptions: distinct(|event| &event.description)
                    .into_iter()
                    .filter(|text| !text.is_empty())
                    .cloned()
                    .collect(),
            });
        }
    }
    suggestions.sort_by(|a, b| a.zone.cmp(&b.zone).then(b.requests.cmp(&a.requests)));
    suggestions
}

/// Whether a rule looks for something. Those that decide by the score and report it (949, 959 and 980 of the Core Rule Set, the last of
/// the built-in rules) say what others found.
fn is_detection(rule: &str) -> bool {
    let reports = rule.len() == 6 && matches!(rule.get(..3), Some("949" | "959" | "980"));
    !reports && rule != "8100900"
}

/// Longest path that an event keeps whole, in bytes: one as long may have been cut.
const PATH_BYTES_MAX: usize = 256;

/// A path of an event as the pattern of an exclusion: what patterns have no sign for is percent-encoded, and of a path that may have
/// been cut the rest is left open.
fn as_pattern(path: &str) -> String {
    let cut = path.len() >= PATH_BYTES_MAX;
    let mut kept = path.as_bytes();
    // An escape may have been cut, too.
    if let Some(at) = kept.iter().rposition(|byte| *byte == b'%').filter(|at| cut && at + 3 > kept.len()) {
        kept = &kept[..at];
    }
    let mut pattern = String::new();
    for byte in kept {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"/-_.~!$&',;=@%".contains(byte) => pattern.push(char::from(*byte)),
            byte => drop(write!(pattern, "%{byte:02X}")),
        }
    }
    if cut {
        pattern.push('*');
    }
    pattern
}

fn by_path<'a>(events: &[&'a Seen]) -> Vec<(String, Vec<&'a Seen>)> {
    let mut paths: BTreeMap<&str, Vec<&'a Seen>> = BTreeMap::new();
    for event in events {
        paths.entry(&event.path).or_default().push(event);
    }
    if paths.len() <= PATHS_MAX {
        return paths.into_iter().map(|(path, events)| (as_pattern(path), events)).collect();
    }
    let common = paths.keys().copied().reduce(common_beginning).unwrap_or("/");
    // Whole segments: what begins alike by chance is not one place.
    let folder = common.rfind('/').map_or("/", |at| &common[..=at]);
    vec![(format!("{}*", as_pattern(folder).trim_end_matches('*')), events.to_vec())]
}

fn common_beginning<'a>(a: &'a str, b: &str) -> &'a str {
    let bytes = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let mut end = bytes;
    while !a.is_char_boundary(end) {
        end -= 1;
    }
    &a[..end]
}

/// The suggestions as they stand in a zone's document.
pub fn to_toml(suggestions: &[Suggestion]) -> String {
    let mut text = String::new();
    let mut zone = None;
    for suggestion in suggestions {
        if zone != Some(&suggestion.zone) {
            zone = Some(&suggestion.zone);
            let _ = writeln!(text, "# zones/{}.toml", suggestion.zone);
        }
        let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let (requests, clients) = (plural(suggestion.requests, "request"), plural(suggestion.clients, "visitor"));
        let _ = writeln!(text, "\n# {requests} from {clients}: {}", suggestion.descriptions.join("; "));
        let rules = suggestion.rules.iter().map(|rule| quoted(rule)).collect::<Vec<_>>().join(", ");
        let _ =
            writeln!(text, "[[firewall.managed.exclusions]]\nrules = [{rules}]\npath = {}", quoted(&suggestion.path));
        if let Some(target) = &suggestion.target {
            let _ = writeln!(text, "target = {}", quoted(target));
        }
    }
    text
}

/// A TOML string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => drop(write!(quoted, "\\u{:04X}", u32::from(control))),
            plain => quoted.push(plain),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(rule: &str, target: &str, path: &str, client: &str) -> Seen {
        Seen {
            zone: "shop".to_owned(),
            rule: rule.to_owned(),
            description: format!("rule {rule}"),
            target: (!target.is_empty()).then(|| target.to_owned()),
            path: path.to_owned(),
            client: client.to_owned(),
            request: format!("{client} {path}"),
        }
    }

    #[test]
    fn one_parameter_is_one_exclusion() {
        let events = [
            seen("942100", "ARGS:comment", "/post", "192.0.2.1"),
            seen("942200", "ARGS:comment", "/post", "192.0.2.2"),
            seen("949110", "TX:blocking_inbound_anomaly_score", "/post", "192.0.2.2"),
            seen("941100", "ARGS:q", "/search", "192.0.2.9"),
        ];
        let text = to_toml(&suggest(&events, 2));
        let expected = "# zones/shop.toml\n\n# 2 requests from 2 visitors: rule 942100; rule 942200\n\
                        [[firewall.managed.exclusions]]\nrules = [\"942100\", \"942200\"]\npath = \"/post\"\n\
                        target = \"ARGS:comment\"\n";
        assert_eq!(text, expected);
        assert_eq!(suggest(&events, 1).len(), 2, "with one visitor enough, the search counts as well");
    }

    #[test]
    fn many_paths_are_their_common_folder() {
        let events: Vec<Seen> =
            (0..5).map(|n| seen("942100", "ARGS:body", &format!("/wiki/page-{n}"), &format!("192.0.2.{n}"))).collect();
        assert_eq!(suggest(&events, 2)[0].path, "/wiki/*");
        let apart: Vec<Seen> = (0..5).map(|n| seen("942100", "", &format!("/{n}"), &format!("192.0.2.{n}"))).collect();
        assert_eq!((&*suggest(&apart, 2)[0].path, &suggest(&apart, 2)[0].target), ("/*", &None));
    }

    #[test]
    fn text_from_visitors_stays_a_string() {
        let events = [seen("942100", "ARGS:a\"b\\", "/x\n", "192.0.2.1")];
        let text = to_toml(&suggest(&events, 1));
        assert!(text.contains(r#"path = "/x%0A""#) && text.contains(r#"target = "ARGS:a\"b\\""#), "{text}");
    }

    #[test]
    fn paths_are_patterns_of_themselves() {
        for (path, pattern) in [
            ("/a%20b/c", "/a%20b/c"),
            ("/a+(b):*", "/a%2B%28b%29%3A%2A"),
            (&format!("/{}%2", "x".repeat(253)), &format!("/{}*", "x".repeat(253))),
            (&format!("/{}%20", "x".repeat(252)), &format!("/{}%20*", "x".repeat(252))),
        ] {
            assert_eq!(as_pattern(path), pattern);
        }
    }
}
