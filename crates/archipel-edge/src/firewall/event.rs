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
    /// A managed rule.
    Managed "managed";
}

impl Serialize for Source {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
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
        write!(f, ", request {}", self.request_id)
    }
}

/// Records what a rule found: in the ring, in the metrics, and in an explanation.
pub(crate) fn record(ex: &mut Exchange, finding: &Finding<'_>, mode: FirewallMode) {
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
    let (field, value) =
        finding.matched.as_ref().map(|(field, value)| ((*field).into(), value.as_str().into())).unzip();
    let event = FirewallEvent {
        time_ms: milliseconds(ex.times.wall),
        zone: (&*zone.zone.name).into(),
        source: finding.source,
        rule: finding.rule.into(),
        description: finding.description.into(),
        action: finding.action,
        mode,
        client: ex.client,
        country,
        method: cut(ex.asked.method.as_str(), EVENT_TEXT_BYTES_MAX).into(),
        host: cut(&ex.asked.authority, EVENT_TEXT_BYTES_MAX).into(),
        path: cut(ex.asked.path(), EVENT_TEXT_BYTES_MAX).into(),
        request_id: std::str::from_utf8(&request_id).unwrap_or_default().into(),
        field,
        value,
        score: finding.score,
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

/// Parts of names whose values are secrets: credentials, and what stands for a visitor.
const SECRETS: [&str; 12] = [
    "cookie",
    "authorization",
    "passw",
    "passwd",
    "pwd",
    "secret",
    "token",
    "session",
    "jwt",
    "api_key",
    "apikey",
    "credential",
];

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    SECRETS.iter().any(|secret| name.contains(secret))
}

/// A target or a query in which the values of secret parameters are left out.
fn without_secrets(target: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(target.len());
    for part in target.split_inclusive(|byte| matches!(byte, b'?' | b'&')) {
        let secret = memchr::memchr(b'=', part).filter(|at| is_secret(&String::from_utf8_lossy(&part[..*at])));
        match secret {
            Some(at) => {
                kept.extend_from_slice(&part[..=at]);
                kept.extend_from_slice(b"***");
                kept.extend(part.last().filter(|byte| matches!(byte, b'?' | b'&')));
            }
            None => kept.extend_from_slice(part),
        }
    }
    kept
}

/// A matched value as it may be kept and shown: cut, with what is not printable escaped; only its length where the name of the field
/// says that it is a secret.
pub(crate) fn masked(field: &str, value: &[u8]) -> String {
    if is_secret(field) {
        return format!("({} bytes, masked)", value.len());
    }
    let value = if field.contains("uri") { &*without_secrets(value) } else { value };
    let mut text = String::new();
    for byte in value.iter().take(EVENT_VALUE_BYTES_MAX) {
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
        ] {
            assert_eq!(masked(field, b"hunter2"), "(7 bytes, masked)", "{field}");
        }
        let long = masked("ARGS:q", &[b'a'; 10_000]);
        assert!(long.ends_with("... (10000 bytes)") && long.len() < 200, "{long}");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("aä", 2), "a");
        assert_eq!(cut("aä", 3), "aä");
    }
}
