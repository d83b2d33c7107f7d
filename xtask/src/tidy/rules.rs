//! The rules that are judged file by file: lengths, banned calls, module headers, names. Pure: text in, findings out.

use super::source::{Line, Source, has_word};
use super::{Finding, House};

/// Lines a function may have, signature and closing brace included.
pub const FUNCTION_LINES_MAX: usize = 70;
/// Lines a file may have, tests apart.
pub const FILE_LINES_MAX: usize = 600;

/// Something that exceeds a length; it may be on the allow-list.
#[derive(Debug, PartialEq, Eq)]
pub struct Length {
    /// `path` or `path::function`.
    pub place: String,
    /// Line to point at, from 1.
    pub line: usize,
    /// Measured lines.
    pub lines: usize,
    /// The limit it exceeds.
    pub lines_max: usize,
}

/// A call that production code must not make.
struct Ban {
    /// What is looked for in the code.
    needle: &'static str,
    /// The rule's name.
    rule: &'static str,
    /// What to do instead.
    advice: &'static str,
    /// Where it applies.
    applies: fn(&House) -> bool,
    /// A comment that allows it, on the same line or above.
    excuse: Option<&'static str>,
    /// Whether tests are exempt.
    tests_exempt: bool,
}

const INVARIANT: Option<&str> = Some("INVARIANT:");
const PANICS: &str =
    "return an error; where only a broken invariant can get here, say which in an `// INVARIANT:` comment above";

// Names that a search for open ends would find are put together here.
const BANS: &[Ban] = &[
    ban(".unwrap()", "no-unwrap", PANICS, House::hears_hostile_bytes, INVARIANT, true),
    ban(".expect(", "no-unwrap", PANICS, House::hears_hostile_bytes, INVARIANT, true),
    ban("panic!(", "no-panic", PANICS, House::hears_hostile_bytes, INVARIANT, true),
    ban("unreachable!(", "no-panic", PANICS, House::hears_hostile_bytes, INVARIANT, true),
    ban("println!(", "no-print", "use `tracing`, or return the text", House::is_library, None, true),
    ban("eprintln!(", "no-print", "use `tracing`, or return the text", House::is_library, None, true),
    ban(
        "thread::sleep",
        "no-sleep",
        "wait for the event, or take the clock as an argument",
        House::not_xtask,
        None,
        false,
    ),
    ban(concat!("to", "do!("), "no-stub", "finish it", House::always, None, false),
    ban(concat!("unimpl", "emented!("), "no-stub", "finish it", House::always, None, false),
    ban("dbg!(", "no-stub", "remove it", House::always, None, false),
    ban(
        concat!("#[ig", "nore"),
        "no-ignored-test",
        "make the test dependable or delete it",
        House::always,
        None,
        false,
    ),
    ban("process::exit", "no-exit", "return an error to `main`", House::is_library, None, false),
    ban("Instant::now", "no-clock", "take the time as an argument", House::is_pure, None, true),
    ban("SystemTime::now", "no-clock", "take the time as an argument", House::is_pure, None, true),
    ban("std::net::Tcp", "no-socket", "floors 1 and 2 know no sockets", House::is_pure, None, true),
    ban("std::net::Udp", "no-socket", "floors 1 and 2 know no sockets", House::is_pure, None, true),
    ban("mem::transmute", "no-transmute", "find a safe way", House::always, None, false),
];

const fn ban(
    needle: &'static str,
    rule: &'static str,
    advice: &'static str,
    applies: fn(&House) -> bool,
    excuse: Option<&'static str>,
    tests_exempt: bool,
) -> Ban {
    Ban { needle, rule, advice, applies, excuse, tests_exempt }
}

/// Words that no identifier may contain, and the term of the field to use.
const WORDS: &[(&str, &str)] = &[("backend", "origin"), ("blacklist", "deny list"), ("whitelist", "allow list")];

/// Everything wrong with `source` except its lengths.
#[must_use]
pub fn judge(source: &Source, house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A test module says in the module beside it what it tests.
    if !source.test_file {
        header(source, &mut findings);
    }
    for (index, line) in source.lines.iter().enumerate() {
        banned_calls(source, house, index, line, &mut findings);
        words(source, index, line, &mut findings);
        if line.test {
            test_manners(source, index, line, &mut findings);
        }
    }
    findings
}

/// The functions and the file that are longer than allowed.
#[must_use]
pub fn lengths(source: &Source) -> Vec<Length> {
    let mut found = Vec::new();
    for function in source.functions() {
        let lines = function.end - function.start + 1;
        if lines > FUNCTION_LINES_MAX && !source.lines[function.start].test {
            let place = format!("{}::{}", source.path, function.name);
            found.push(Length { place, line: function.start + 1, lines, lines_max: FUNCTION_LINES_MAX });
        }
    }
    let lines = source.lines.iter().filter(|line| !line.test).count();
    if lines > FILE_LINES_MAX {
        found.push(Length { place: source.path.clone(), line: 1, lines, lines_max: FILE_LINES_MAX });
    }
    found
}

fn header(source: &Source, findings: &mut Vec<Finding>) {
    // Attributes such as `#![no_main]` may stand first.
    let first = source.lines.iter().find(|line| !line.comment.is_empty() || !line.code.trim().is_empty());
    let good = first.is_some_and(|line| line.comment.starts_with("//!") || line.code.trim_start().starts_with("#!["));
    let named = source.lines.iter().any(|line| line.comment.starts_with("//!"));
    if !(good && named) {
        let advice = "begin the module with `//!`: what it owns and what it must never do";
        findings.push(Finding::new(&source.path, 1, "module-header", "no `//!` at the top", advice));
    }
}

fn banned_calls(source: &Source, house: &House, index: usize, line: &Line, findings: &mut Vec<Finding>) {
    for ban in BANS {
        let skipped = !(ban.applies)(house) || (ban.tests_exempt && line.test);
        if skipped || !calls(&line.code, ban.needle) || excused(source, index, ban.excuse) {
            continue;
        }
        let what = format!("`{}` is banned here", ban.needle);
        findings.push(Finding::new(&source.path, index + 1, ban.rule, &what, ban.advice));
    }
}

/// Whether `code` holds `needle`, not as the tail of a longer name (`eprintln!` is not `println!`).
fn calls(code: &str, needle: &str) -> bool {
    code.match_indices(needle).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let starts_word = needle.starts_with(|first: char| first.is_alphanumeric());
        !(starts_word && before.is_some_and(|last| last.is_alphanumeric() || last == '_'))
    })
}

/// Whether the excuse stands in a comment on this line, or in the comments right above the statement.
fn excused(source: &Source, index: usize, excuse: Option<&str>) -> bool {
    const LINES_ABOVE_MAX: usize = 8;
    let Some(excuse) = excuse else { return false };
    if source.lines[index].comment.contains(excuse) {
        return true;
    }
    let mut statement_open = true;
    for line in source.lines[..index].iter().rev().take(LINES_ABOVE_MAX) {
        if line.comment.contains(excuse) {
            return true;
        }
        let code = line.code.trim();
        let comment_only = code.is_empty() && !line.comment.is_empty();
        // A call chain over several lines has its comment above its first line.
        statement_open = statement_open && !code.ends_with([';', '{', '}']);
        if !(comment_only || (statement_open && !code.is_empty())) {
            return false;
        }
    }
    false
}

fn words(source: &Source, index: usize, line: &Line, findings: &mut Vec<Finding>) {
    let lower = line.code.to_lowercase();
    for (word, term) in WORDS {
        if lower.contains(word) {
            let what = format!("`{word}` in a name");
            findings.push(Finding::new(&source.path, index + 1, "names", &what, &format!("the term is `{term}`")));
        }
    }
}

fn test_manners(source: &Source, index: usize, line: &Line, findings: &mut Vec<Finding>) {
    if line.code.contains("time::sleep") {
        let advice = "wait for the event, or use the virtual clock";
        findings.push(Finding::new(&source.path, index + 1, "no-sleep", "a test sleeps", advice));
    }
    let opens = ["bind(", "connect(", "listen("].iter().any(|call| line.code.contains(call));
    if opens && fixed_port(&line.strings) {
        let advice = "bind 127.0.0.1:0 and ask for the address";
        findings.push(Finding::new(&source.path, index + 1, "no-fixed-port", "a test uses a fixed port", advice));
    }
    if has_word(&line.code, "0.0.0.0") || (opens && line.strings.contains("0.0.0.0")) {
        let advice = "tests stay on 127.0.0.1";
        findings.push(Finding::new(&source.path, index + 1, "no-fixed-port", "a test listens beyond loopback", advice));
    }
}

/// Whether a literal on the line is `127.0.0.1:PORT` or `localhost:PORT` with a port other than 0.
fn fixed_port(strings: &str) -> bool {
    ["127.0.0.1:", "localhost:", "[::1]:"].iter().any(|host| {
        strings
            .match_indices(host)
            .any(|(at, _)| strings[at + host.len()..].starts_with(|digit: char| digit.is_ascii_digit() && digit != '0'))
    })
}

#[cfg(test)]
mod tests {
    use super::{Source, judge, lengths};
    use crate::tidy::House;

    /// Judges `text` as a file of `krate` and compares `rule:line` of every finding.
    fn check(krate: &str, text: &str, want: &[&str]) {
        let source = Source::new(&format!("crates/{krate}/src/a.rs"), text);
        let house = House::of(&source.path);
        let got: Vec<String> =
            judge(&source, &house).iter().map(|finding| format!("{}:{}", finding.rule, finding.line)).collect();
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn banned_calls() {
        check("archipel-http", "//! M.\nfn a() { b.unwrap(); }\n", &["no-unwrap:2"]);
        check("archipel-http", "//! M.\nfn a() { b.unwrap_or(1); }\n", &[]);
        check("archipel-http", "//! M.\n// INVARIANT: checked above.\nlet a = b.expect(\"c\");\n", &[]);
        check("archipel-http", "//! M.\n// INVARIANT: yes.\nlet a = b\n    .c()\n    .expect(\"c\");\n", &[]);
        check("archipel-http", "//! M.\n// INVARIANT: yes.\nlet a = b;\na.unwrap();\n", &["no-unwrap:4"]);
        check("archipel", "//! M.\nfn a() { b.unwrap(); println!(); }\n", &[]);
        check("archipel-cache", "//! M.\nfn a() { println!(); eprintln!(); }\n", &["no-print:2", "no-print:2"]);
        check("archipel-http", "//! M.\n#[cfg(test)]\nmod tests {\n    fn a() { b.unwrap(); }\n}\n", &[]);
        check("archipel-edge", concat!("//! M.\nfn a() { to", "do!() }\n"), &["no-stub:2"]);
        check("archipel-config", "//! M.\nlet now = Instant::now();\n", &["no-clock:2"]);
        check("archipel-transport", "//! M.\nlet now = Instant::now();\n", &[]);
        check("archipel-http", "//! M.\nlet a = \"b.unwrap()\"; // c.unwrap()\n", &[]);
    }

    #[test]
    fn headers_and_names() {
        check("archipel-http", "fn a() {}\n", &["module-header:1"]);
        check("archipel-http", "// Not a header.\n//! M.\n", &["module-header:1"]);
        check("archipel-http", "//! M.\nlet my_backend = 1; // backend\n", &["names:2"]);
    }

    #[test]
    fn tests_have_manners() {
        let wrap = |body: &str| format!("//! M.\n#[cfg(test)]\nmod tests {{\n{body}\n}}\n");
        check("archipel-edge", &wrap("tokio::time::sleep(d).await;"), &["no-sleep:4"]);
        check("archipel-edge", &wrap("TcpListener::bind(\"127.0.0.1:8080\");"), &["no-fixed-port:4"]);
        check("archipel-edge", &wrap("TcpListener::bind(\"127.0.0.1:0\");"), &[]);
        check("archipel-edge", &wrap("parse(\"127.0.0.1:8080\");"), &[]);
    }

    #[test]
    fn lengths_leave_tests_apart() {
        let long = format!("fn a() {{\n{}}}\n", "    b();\n".repeat(69));
        let source = Source::new("crates/archipel-http/src/a.rs", &long);
        assert_eq!(lengths(&source).len(), 1);
        let tests = Source::new("crates/archipel-http/src/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{long}}}\n"));
        assert!(lengths(&tests).is_empty());
        let file = Source::new("crates/archipel-http/src/a.rs", &"const A: u8 = 1;\n".repeat(601));
        assert_eq!(lengths(&file)[0].lines, 601);
    }
}
