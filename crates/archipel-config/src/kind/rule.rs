//! Kinds of the conditions and parts of cache rules: patterns, names, tests of fields, lifetimes by status.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use archipel_http::path_pattern::{PATTERN_BYTES_MAX, PathPattern, STARS_MAX};
use archipel_http::query::NamePattern;
use archipel_http::target;
use http::HeaderName;
use serde_json::json;

use super::network::{entries, write_list};
use super::{DAY, Kind, Time, malformed, quote, wrong_type};
use crate::diagnostic::{Code, Problem};
use crate::tree::{Node, Value};
use crate::units;

/// Longest list in a cache rule: each request of the zone is compared with it.
pub const RULE_ENTRIES_MAX: usize = 256;

/// Longest name or value in a cache rule, in bytes.
pub const RULE_TEXT_BYTES_MAX: usize = 256;

/// A list of texts with a meaning each, at most [`RULE_ENTRIES_MAX`], none twice.
pub(crate) struct Texts<T: 'static> {
    parse: fn(&str) -> Result<T, Problem>,
    name: &'static str,
    allowed: &'static str,
}

impl<T: fmt::Display> Kind<Vec<T>> for Texts<T> {
    fn read(&self, node: &Node) -> Result<Vec<T>, Vec<Problem>> {
        if let Value::List(list) = &node.value
            && list.len() > RULE_ENTRIES_MAX
        {
            let message = format!("has {} entries, at most {RULE_ENTRIES_MAX} are allowed", list.len());
            return Err(vec![Problem::error(Code::TooMany, message)]);
        }
        let mut seen = HashSet::new();
        entries(node, "a list of texts", |text| {
            let value = (self.parse)(text)?;
            if !seen.insert(value.to_string()) {
                return Err(Problem::error(Code::Duplicate, format!("holds {} twice", quote(text))));
            }
            Ok(value)
        })
    }

    fn write(&self, value: &Vec<T>) -> Option<String> {
        Some(write_list(value.iter()))
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn allowed(&self) -> String {
        self.allowed.to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true, "maxItems": RULE_ENTRIES_MAX})
    }
}

fn bad(text: &str, what: &str, help: impl Into<String>) -> Problem {
    Problem::error(Code::Malformed, format!("holds {}, which {what}", quote(text))).help(help)
}

/// Patterns of paths.
pub(crate) const PATHS: Texts<PathPattern> =
    Texts { parse: parse_path, name: "paths", allowed: "list of paths, `*` for anything" };

fn parse_path(text: &str) -> Result<PathPattern, Problem> {
    if !text.starts_with(['/', '*']) {
        return Err(bad(
            text,
            "begins with neither `/` nor `*`",
            format!("did you mean {}?", quote(&format!("/{text}"))),
        ));
    }
    if let Some((path, _)) = text.split_once('?') {
        let help = format!("write {} here, and the query's parameters in `query`", quote(path));
        return Err(bad(text, "has a query", help));
    }
    // With a slash in front everything is a path; a pattern may begin with `*`.
    let rooted = format!("/{text}");
    let whole = if text.starts_with('/') { text } else { &rooted };
    let canonical = target::canonical_path(whole.as_bytes())
        .map_err(|error| bad(text, "is no path", format!("a path like this is refused: {error}")))?;
    let canonical = if text.starts_with('/') { &*canonical } else { canonical.trim_start_matches('/') };
    if canonical != text {
        let help = format!("paths are compared in canonical form: did you mean {}?", quote(canonical));
        return Err(bad(text, "is not in canonical form", help));
    }
    PathPattern::new(text).ok_or_else(|| {
        let help = format!("at most {PATTERN_BYTES_MAX} bytes and {STARS_MAX} `*` are allowed");
        bad(text, "is too long", help)
    })
}

/// File extensions, kept in lower case.
pub(crate) const EXTENSIONS: Texts<Box<str>> =
    Texts { parse: parse_extension, name: "extensions", allowed: "list of extensions without dot" };

fn parse_extension(text: &str) -> Result<Box<str>, Problem> {
    let plain = text.trim_start_matches(['*', '.']);
    if plain != text && !plain.is_empty() {
        return Err(bad(text, "begins with a dot", format!("did you mean {}?", quote(plain))));
    }
    let shape = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if text.is_empty() || text.len() > 32 || !shape {
        return Err(bad(
            text,
            "is no extension",
            "write it without dot, such as \"css\"; only what follows the last dot counts",
        ));
    }
    Ok(text.to_ascii_lowercase().into())
}

/// Names of parameters or cookies, which may end with `*`.
pub(crate) const NAMES: Texts<NamePattern> =
    Texts { parse: parse_name, name: "names", allowed: "list of names; `*` at the end for anything" };

fn parse_name(text: &str) -> Result<NamePattern, Problem> {
    if text.contains(['%', '&', '=', '+']) {
        return Err(bad(text, "holds a character of the encoding", "write the name decoded, and without a value"));
    }
    if text.len() > RULE_TEXT_BYTES_MAX {
        return Err(bad(text, "is too long", format!("at most {RULE_TEXT_BYTES_MAX} bytes are allowed")));
    }
    NamePattern::parse(text).ok_or_else(|| bad(text, "is no name", "`*` may stand at the end only"))
}

/// Names of cookies.
pub(crate) const COOKIES: Texts<Box<str>> =
    Texts { parse: parse_cookie, name: "names", allowed: "list of cookie names" };

fn parse_cookie(text: &str) -> Result<Box<str>, Problem> {
    // A cookie's name is a token (RFC 6265 section 4.1.1), as a field's name is.
    if HeaderName::from_bytes(text.as_bytes()).is_err() || text.contains(['*', '%']) || text.len() > RULE_TEXT_BYTES_MAX
    {
        return Err(bad(text, "is no cookie name", "write one name, without a value; here no `*` is possible"));
    }
    Ok(text.into())
}

/// Header fields that may be in the key.
pub(crate) const KEY_FIELDS: Texts<HeaderName> =
    Texts { parse: parse_key_field, name: "headers", allowed: "list of request field names" };

fn parse_key_field(text: &str) -> Result<HeaderName, Problem> {
    let name = parse_field(text)?;
    let instead = match name.as_str() {
        "cookie" => "name the cookies that count in `cookies`",
        "host" => "the host is in every key",
        "connection" | "content-length" | "transfer-encoding" | "te" | "trailer" | "upgrade" | "keep-alive" => {
            "it belongs to the connection, not to the request"
        }
        "range" | "if-range" | "if-match" | "if-none-match" | "if-modified-since" | "if-unmodified-since" => {
            "ranges and preconditions are answered from one stored reply"
        }
        "cache-control" | "pragma" => "see `honour_request_directives`",
        _ => return Ok(name),
    };
    Err(bad(text, "cannot be in the key", instead))
}

/// Names of header fields.
pub(crate) const FIELDS: Texts<HeaderName> =
    Texts { parse: parse_field, name: "headers", allowed: "list of header field names" };

fn parse_field(text: &str) -> Result<HeaderName, Problem> {
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| bad(text, "is no header field name", "write a name such as \"accept-language\""))
}

/// Ids of rules.
pub(crate) const RULE_IDS: Texts<Box<str>> =
    Texts { parse: parse_rule_id, name: "names", allowed: "list of ids of rules" };

fn parse_rule_id(text: &str) -> Result<Box<str>, Problem> {
    let shape = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if text.is_empty() || text.len() > 64 || !shape {
        return Err(bad(text, "is no id", "write the `id` of a rule: letters, digits, `-`, `_` and `.`"));
    }
    Ok(text.into())
}

/// Names of lists.
pub(crate) const LIST_NAMES: Texts<Box<str>> =
    Texts { parse: parse_list_name, name: "names", allowed: "list of names of `[[lists]]`" };

fn parse_list_name(text: &str) -> Result<Box<str>, Problem> {
    let shape = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if text.is_empty() || text.len() > 50 || !shape {
        return Err(bad(
            text,
            "is no name of a list",
            "write the `name` of a list: lower-case letters, digits and `_`",
        ));
    }
    Ok(text.into())
}

/// Languages.
pub(crate) const LANGUAGES: Texts<Box<str>> =
    Texts { parse: parse_language, name: "languages", allowed: "list of language tags, the usual one first" };

fn parse_language(text: &str) -> Result<Box<str>, Problem> {
    let shape = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if text.len() > 35 || !text.split('-').all(shape) {
        return Err(bad(text, "is no language tag", "write a tag such as \"en\" or \"pt-BR\""));
    }
    Ok(text.to_ascii_lowercase().into())
}

/// A test of something that a request has by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTest {
    /// Which names.
    pub name: NamePattern,
    /// What about it.
    pub test: Presence,
}

/// What a [`FieldTest`] asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// There is one.
    Present,
    /// There is none.
    Absent,
    /// There is one with this value.
    Equals(Box<str>),
}

impl fmt::Display for FieldTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.test {
            Presence::Present => write!(f, "{}", self.name),
            Presence::Absent => write!(f, "!{}", self.name),
            Presence::Equals(value) => write!(f, "{}={value}", self.name),
        }
    }
}

/// Tests of parameters or cookies.
pub(crate) const TESTS: Texts<FieldTest> =
    Texts { parse: parse_test, name: "tests", allowed: "list of `name`, `beginning*`, `name=value` or `!name`" };

/// Tests of header fields: names in any case, without `*`.
pub(crate) const FIELD_TESTS: Texts<FieldTest> =
    Texts { parse: parse_field_test, name: "tests", allowed: "list of `name`, `name=value` or `!name`" };

fn parse_test(text: &str) -> Result<FieldTest, Problem> {
    let (name, test) = match (text.strip_prefix('!'), text.split_once('=')) {
        (Some(name), _) => (name, Presence::Absent),
        (None, Some((name, value))) => (name, Presence::Equals(value.into())),
        (None, None) => (text, Presence::Present),
    };
    if text.len() > RULE_TEXT_BYTES_MAX {
        return Err(bad(text, "is too long", format!("at most {RULE_TEXT_BYTES_MAX} bytes are allowed")));
    }
    match NamePattern::parse(name) {
        Some(name) => Ok(FieldTest { name, test }),
        None => Err(bad(text, "is no test", "write \"name\", \"beginning*\", \"name=value\" or \"!name\"")),
    }
}

fn parse_field_test(text: &str) -> Result<FieldTest, Problem> {
    let lower = match text.split_once('=') {
        Some((name, value)) => format!("{}={value}", name.to_ascii_lowercase()),
        None => text.to_ascii_lowercase(),
    };
    let test = parse_test(&lower)?;
    let name = test.name.to_string();
    if HeaderName::from_bytes(name.as_bytes()).is_err() || name.contains('*') {
        return Err(bad(text, "names no header field", "write \"name\", \"name=value\" or \"!name\""));
    }
    Ok(test)
}

/// A range of statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatusRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl StatusRange {
    fn parse(text: &str) -> Option<StatusRange> {
        let code = |text: &str| text.parse::<u16>().ok().filter(|code| (200..=599).contains(code) && text.len() == 3);
        if let Some(class) = text.strip_suffix("xx") {
            let class = class.parse::<u16>().ok().filter(|class| (2..=5).contains(class))?;
            return Some(StatusRange { first: class * 100, last: class * 100 + 99 });
        }
        match text.split_once('-') {
            Some((first, last)) => {
                let range = StatusRange { first: code(first)?, last: code(last)? };
                (range.first <= range.last).then_some(range)
            }
            None => code(text).map(|code| StatusRange { first: code, last: code }),
        }
    }

    /// Whether two ranges share statuses although neither holds the other.
    fn crosses(self, other: StatusRange) -> bool {
        let apart = self.last < other.first || other.last < self.first;
        let holds = |a: StatusRange, b: StatusRange| a.first <= b.first && b.last <= a.last;
        !apart && !holds(self, other) && !holds(other, self)
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StatusRange { first, last } if first == last => write!(f, "{first}"),
            StatusRange { first, last } if first % 100 == 0 && *last == first + 99 => write!(f, "{}xx", first / 100),
            StatusRange { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// Lifetimes by status.
pub(crate) struct StatusTtls;

/// The kind of each lifetime.
const TTL: Time = Time(0, 365 * DAY);

impl Kind<Vec<(StatusRange, Duration)>> for StatusTtls {
    fn read(&self, node: &Node) -> Result<Vec<(StatusRange, Duration)>, Vec<Problem>> {
        let Value::Table(table) = &node.value else {
            return Err(wrong_type("a table such as { 404 = \"1m\", 5xx = \"5s\" }", node));
        };
        if table.entries.len() > RULE_ENTRIES_MAX {
            let message = format!("has {} entries, at most {RULE_ENTRIES_MAX} are allowed", table.entries.len());
            return Err(vec![Problem::error(Code::TooMany, message)]);
        }
        let mut found: Vec<(StatusRange, Duration)> = Vec::new();
        let mut problems = Vec::new();
        for entry in &table.entries {
            let Some(range) = StatusRange::parse(&entry.key) else {
                let help = "write a status from 200 to 599, a class such as 5xx, or a range such as 500-504";
                problems.push(bad(&entry.key, "is no status", help).at(entry.key_span.clone()));
                continue;
            };
            if let Some((other, _)) = found.iter().find(|(other, _)| *other == range || other.crosses(range)) {
                let message = format!("holds {range} and {other}, and which of them holds for both is unclear");
                problems.push(Problem::error(Code::Contradiction, message).at(entry.key_span.clone()));
            }
            match TTL.read(&entry.node) {
                Ok(ttl) => found.push((range, ttl)),
                Err(wrong) => problems.extend(wrong.into_iter().map(|mut problem| {
                    problem.message = format!("for {range} {}", problem.message);
                    problem.at(entry.node.span.clone())
                })),
            }
        }
        if problems.is_empty() { Ok(found) } else { Err(problems) }
    }

    fn write(&self, value: &Vec<(StatusRange, Duration)>) -> Option<String> {
        if value.is_empty() {
            return Some("{}".to_owned());
        }
        let entries = value.iter().map(|(range, ttl)| format!("{range} = {}", quote(&units::show_duration(*ttl))));
        Some(format!("{{ {} }}", entries.collect::<Vec<_>>().join(", ")))
    }

    fn name(&self) -> &'static str {
        "durations by status"
    }

    fn allowed(&self) -> String {
        "such as `{ 404 = \"1m\", 5xx = \"5s\" }`; the narrowest holds".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        let ttl = Kind::<Duration>::schema(&TTL);
        json!({"type": "object", "additionalProperties": false,
            "patternProperties": {"^([2-5]xx|[2-5][0-9][0-9](-[2-5][0-9][0-9])?)$": ttl}})
    }
}

/// A value for a list that may not be empty.
pub(crate) struct NotEmpty<K>(pub K);

impl<T, K: Kind<Vec<T>>> Kind<Vec<T>> for NotEmpty<K> {
    fn read(&self, node: &Node) -> Result<Vec<T>, Vec<Problem>> {
        let list = self.0.read(node)?;
        if list.is_empty() {
            return Err(malformed("is empty, and would never hold", "leave it out where it does not matter"));
        }
        Ok(list)
    }

    fn write(&self, value: &Vec<T>) -> Option<String> {
        self.0.write(value)
    }

    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn allowed(&self) -> String {
        self.0.allowed()
    }

    fn schema(&self) -> serde_json::Value {
        let mut schema = self.0.schema();
        if let Some(object) = schema.as_object_mut() {
            object.insert("minItems".to_owned(), json!(1));
        }
        schema
    }
}
