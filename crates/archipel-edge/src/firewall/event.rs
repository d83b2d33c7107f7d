//! What the firewall did, or would have done: the last events of each worker, for `archipel firewall events`.
//!
//! Owns what an event tells, and what it must not: a value is cut, and what is secret by its name is masked. Custom and managed rules
//! use the same type.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use archipel_config::FirewallMode;
use serde::Serialize;

use crate::access_log::TimeText;
use crate::exchange::Exchange;

/// Longest text from a client that an event keeps, in bytes; the rest is cut.
const EVENT_TEXT_BYTES_MAX: usize = 256;

/// Longest matched value that an event keeps, in bytes; the rest is cut.
const EVENT_VALUE_BYTES_MAX: usize = 96;

macro_rules! sources {
    ($($(#[doc = $doc:literal])+ $name:ident $word:literal;)+) => {
        /// Which part of the firewall an event is of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Source { $($(#[doc = $doc])+ $name,)+ }

        impl Source {
            /// The word in events and metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Source::$name => $word,)+ }
            }
        }
    };
}

sources! {
    /// An access rule.
    Access "access";
    /// A custom rule.
    Custom "custom";
    /// A rate limit.
    RateLimit "rate_limit";
    /// A managed rule.
    Managed "managed";
}

impl Serialize for Source {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What an exclusion has to name so that a managed rule does not find what it found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Targets {
    /// Names such as `ARGS:comment`; none where only the whole rule can be excluded.
    #[serde(rename = "targets", skip_serializing_if = "<[_]>::is_empty")]
    pub names: Box<[Box<str>]>,
    /// There were more.
    #[serde(rename = "targets_cut", skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// What events of the managed rules have besides.
#[derive(Clone, Debug, Default, Serialize)]
pub struct More {
    /// What an exclusion could name of the finding.
    #[serde(flatten)]
    pub targets: Targets,
    /// What else was found in the request, and left no event of its own.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub further: Box<[Further]>,
    /// How many more findings there were.
    #[serde(skip_serializing_if = "is_zero")]
    pub unlisted: usize,
}

/// A finding without an event of its own.
#[derive(Clone, Debug, Serialize)]
pub struct Further {
    /// The rule's id.
    pub rule: Box<str>,
    /// What the rule is for.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: Box<str>,
    /// What matched.
    pub field: Box<str>,
    /// What an exclusion could name of it.
    #[serde(flatten)]
    pub targets: Targets,
}

impl Targets {
    /// These names, as they may be kept.
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a [u8]>, cut: bool) -> Self {
        Self { names: names.map(|name| shown(&String::from_utf8_lossy(name))).collect(), cut }
    }
}

impl Further {
    /// A finding, as it may be kept.
    pub(crate) fn new(rule: String, description: &str, field: &str, targets: Targets) -> Self {
        Self { rule: rule.into(), description: shown(description), field: shown(field), targets }
    }
}

/// What a rule found, before it is tied to an exchange.
#[derive(Debug)]
pub(crate) struct Finding<'a> {
    /// Which part of the firewall.
    pub(crate) source: Source,
    /// The rule's id.
    pub(crate) rule: &'a str,
    /// What the rule is for.
    pub(crate) description: &'a str,
    /// What the rule does: `block`, `managed_challenge`, `log`, `skip`, `allow`, ...
    pub(crate) action: &'static str,
    /// What matched, with its value; see [`masked`].
    pub(crate) matched: Option<(&'a str, String)>,
    /// The score of the managed rules.
    pub(crate) score: Option<u32>,
    /// What else there is to say of a finding of the managed rules.
    pub(crate) more: More,
}

/// One event.
#[derive(Clone, Debug, Serialize)]
pub struct FirewallEvent {
    /// When the request came, milliseconds since the epoch.
    pub time_ms: u64,
    /// Zone.
    pub zone: Box<str>,
    /// Which part of the firewall.
    pub source: Source,
    /// The rule's id.
    pub rule: Box<str>,
    /// What the rule is for.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: Box<str>,
    /// What the rule does.
    pub action: &'static str,
    /// `block`: it was done. `log`: it would have been.
    pub mode: &'static str,
    /// The client's address.
    pub client: IpAddr,
    /// Its country.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<Box<str>>,
    /// Method.
    pub method: Box<str>,
    /// Host and port.
    pub host: Box<str>,
    /// Path, without the query.
    pub path: Box<str>,
    /// Request id, as in the access log.
    pub request_id: Box<str>,
    /// What matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Box<str>>,
    /// Its value, cut and masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<str>>,
    /// The score of the managed rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<u32>,
    /// What else there is to say of a finding of the managed rules.
    #[serde(flatten)]
    pub more: More,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl fmt::Display for FirewallEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut time = TimeText::default();
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(self.time_ms);
        let would = if self.mode == "log" && !matches!(self.action, "log" | "skip" | "allow") { "would " } else { "" };
        write!(
            f,
            "{} {} {would}{} by {} rule {}",
            time.of(at),
            self.zone,
            self.action,
            self.source.as_str(),
            self.rule
        )?;
        if !self.description.is_empty() {
            write!(f, " ({})", self.description)?;
        }
        write!(f, ": {}", self.client)?;
        if let Some(country) = &self.country {
            write!(f, " ({country})")?;
        }
        write!(f, " {} {}{}", self.method, self.host, self.path)?;
        if let (Some(field), Some(value)) = (&self.field, &self.value) {
            write!(f, ", {field} = {value}")?;
        }
        if let Some(score) = self.score {
            write!(f, ", score {score}")?;
        }
        let further = self.more.further.len() + self.more.unlisted;
        if further > 0 {
            write!(f, ", {further} further findings")?;
        }
        write!(f, ", request {}", self.request_id)
    }
}

/// Records what a rule found: in the ring, in the metrics, and in an explanation.
pub(crate) fn record(ex: &mut Exchange, finding: Finding<'_>, mode: FirewallMode) {
    let Some(zone) = ex.zone.clone() else { return };
    ex.note("firewall", finding.action, || {
        let what = if mode == FirewallMode::Log { "would, in block mode: " } else { "" };
        let about = if finding.description.is_empty() { String::new() } else { format!(", {}", finding.description) };
        format!("{what}{} rule {}{about}", finding.source.as_str(), finding.rule)
    });
    // Nobody sent what is only explained. What the edge asked in the background is for the visitor who made it ask.
    if ex.conn.is_none() && ex.verdicts.is_some() {
        return;
    }
    let mode = if mode == FirewallMode::Log { "log" } else { "block" };
    ex.worker.metrics.firewall.count((zone.zone.id, finding.source, finding.action, mode));
    let request_id = ex.id_text();
    let country = ex.live.geo.knows_countries().then(|| ex.live.geo.place(ex.client).country().into());
    let (field, value) = finding.matched.as_ref().map(|(field, value)| (shown(field), value.as_str().into())).unzip();
    let event = FirewallEvent {
        time_ms: milliseconds(ex.times.wall),
        zone: (&*zone.zone.name).into(),
        source: finding.source,
        rule: finding.rule.into(),
        description: shown(finding.description),
        action: finding.action,
        mode,
        client: ex.client,
        country,
        method: shown(ex.asked.method.as_str()),
        host: shown(&ex.asked.authority),
        // As the rules saw it: before rewrites.
        path: shown(ex.asked.visitor_target().split('?').next().unwrap_or("/")),
        request_id: std::str::from_utf8(&request_id).unwrap_or_default().into(),
        field,
        value,
        score: finding.score,
        more: finding.more,
    };
    ex.worker.metrics.firewall.push(event, ex.live.snapshot.node.firewall.events_max);
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The beginning of a text, not in the middle of a character.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Parts of names whose values are secrets, wherever they stand in the name: credentials, and what stands for a visitor.
const SECRETS: [&str; 14] = [
    "cookie",
    "authoriz",
    "passw",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "sess",
    "jwt",
    "api_key",
    "apikey",
    "access_key",
    "accesskey",
    "credential",
];
/// Shorter ones, which are words of their own there.
const SECRET_WORDS: [&str; 7] = ["pass", "pin", "otp", "sid", "auth", "sig", "signature"];

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    SECRETS.iter().any(|secret| name.contains(secret))
        || name.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|word| SECRET_WORDS.contains(&word))
}

/// A text without the values that stand behind secret names: `name=value`, `"name": "value"`, `Name: value`, `<name>value<`.
fn without_secrets(text: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    let (mut name, mut at) = (0, 0);
    while let Some(&byte) = text.get(at) {
        kept.push(byte);
        at += 1;
        if matches!(byte, b'=' | b':' | b'>') && is_secret(&plain_name(&text[name..at - 1])) {
            let value = secret_len(&text[at..]);
            // An empty parameter looks like any other, so that nobody learns which are.
            if value > 0 || byte == b'=' {
                kept.extend_from_slice(b"***");
            }
            at += value;
            name = at;
        } else if matches!(byte, b'=' | b':' | b'>' | b'?' | b'&' | b';' | b',' | b'{' | b'[' | b'<' | b'\n') {
            name = at;
        }
    }
    kept
}

/// A name as it reads: without percent-encoding, which would hide it.
fn plain_name(name: &[u8]) -> String {
    String::from_utf8_lossy(&archipel_http::query::decode(name)).into_owned()
}

/// How long a value is that begins here: to the end of its quotes, or to what ends it where it has none.
fn secret_len(text: &[u8]) -> usize {
    let blank = text.len() - text.trim_ascii_start().len();
    let value = &text[blank..];
    let Some(quote) = value.first().filter(|byte| matches!(byte, b'"' | b'\'')) else {
        let end = value.iter().position(|byte| matches!(byte, b'&' | b';' | b',' | b'}' | b'<' | b'\n' | b'\r'));
        return end.map_or(text.len(), |end| if end == 0 { 0 } else { blank + end });
    };
    let mut at = 1;
    while let Some(byte) = value.get(at) {
        match byte {
            b'\\' => at += 2,
            byte if byte == quote => return blank + at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// A text from a client, or one that may repeat what a client sent, as a terminal may show it: cut, with what controls a terminal or
/// turns the direction of writing escaped, so that it can be no line of its own.
pub(crate) fn shown(text: &str) -> Box<str> {
    let mut shown = String::new();
    for letter in cut(text, EVENT_TEXT_BYTES_MAX).chars() {
        match letter {
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                shown.extend(letter.escape_unicode());
            }
            letter if letter.is_control() => shown.extend(letter.escape_default()),
            letter => shown.push(letter),
        }
    }
    shown.into()
}

/// A matched value as it may be kept and shown: cut, with what is not printable escaped; only its length where the name of the field
/// says that it is a secret.
pub(crate) fn masked(field: &str, value: &[u8]) -> String {
    if is_secret(field) {
        return format!("({} bytes, masked)", value.len());
    }
    // A secret that begins in what is shown is found there.
    let beginning = without_secrets(&value[..value.len().min(EVENT_VALUE_BYTES_MAX)]);
    let mut text = String::new();
    for byte in &beginning {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            // Writing to a String cannot fail.
            byte => drop(write!(text, "\\x{byte:02x}")),
        }
    }
    if value.len() > EVENT_VALUE_BYTES_MAX {
        let _ = write!(text, "... ({} bytes)", value.len());
    }
    text
}

/// What tells events apart in the metrics: zone, source, action, mode.
pub(crate) type EventKey = (u32, Source, &'static str, &'static str);

/// The events of one worker. One thread writes, so its locks are uncontended.
#[derive(Debug, Default)]
pub struct FirewallEvents {
    ring: Mutex<VecDeque<FirewallEvent>>,
    counts: Mutex<std::collections::HashMap<EventKey, u64, foldhash::fast::FixedState>>,
}

impl FirewallEvents {
    fn count(&self, key: EventKey) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(0) += 1;
    }

    fn push(&self, event: FirewallEvent, events_max: usize) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        while ring.len() >= events_max.max(1) {
            ring.pop_front();
        }
        if events_max > 0 {
            ring.push_back(event);
        }
    }

    /// The events, the oldest first.
    pub(crate) fn events(&self) -> Vec<FirewallEvent> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// How many there were of each kind.
    pub(crate) fn counts(&self) -> Vec<(EventKey, u64)> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(key, n)| (*key, *n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_masked() {
        assert_eq!(masked("http.request.uri.query", b"a=1"), "a=1");
        assert_eq!(
            masked("http.request.uri", b"/x?a=1&Token=abc&b&password=&c=2"),
            "/x?a=1&Token=***&b&password=***&c=2"
        );
        assert_eq!(masked("http.user_agent", b"x\"\\\n\xff"), "x\"\\\\\\x0a\\xff");
        for field in [
            "http.cookie",
            "REQUEST_HEADERS:Authorization",
            "ARGS:Password",
            "ARGS:new-api-key",
            "http.request.jwt.claims",
            "ARGS:PHPSESSID",
            "ARGS:pin",
            "REQUEST_HEADERS:X-Access-Key",
        ] {
            assert_eq!(masked(field, b"hunter2"), "(7 bytes, masked)", "{field}");
        }
        for (value, expected) in [
            ("{\"password\": \"a, \\\"b\", \"x\": 1}", "{\"password\":***, \"x\": 1}"),
            ("user=a&passw%6frd=b c&x=1", "user=a&passw%6frd=***&x=1"),
            ("https://a.example/?access_token=abc#x", "https://a.example/?access_token=***"),
            ("Authorization: Bearer abc def\nX: 1", "Authorization:***\\x0aX: 1"),
            ("<password>abc</password>", "<password>***</password>"),
            ("shipping=7&author=x", "shipping=7&author=x"),
        ] {
            assert_eq!(masked("http.request.body.raw", value.as_bytes()), expected);
        }
        let long = masked("ARGS:q", &[b'a'; 10_000]);
        assert!(long.ends_with("... (10000 bytes)") && long.len() < 200, "{long}");
    }

    #[test]
    fn texts_cannot_be_lines_of_their_own() {
        assert_eq!(&*shown("ARGS:x\n2026 b allow \u{1b}[2J"), "ARGS:x\\n2026 b allow \\u{1b}[2J");
        assert_eq!(&*shown("a\u{202e}b\u{2028}\u{e4}"), "a\\u{202e}b\\u{2028}\u{e4}");
        assert!(shown(&"x".repeat(4_000)).len() == EVENT_TEXT_BYTES_MAX);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("aä", 2), "a");
        assert_eq!(cut("aä", 3), "aä");
    }
}
