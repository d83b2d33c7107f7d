//! What is stored for a URL, why, for how long, and what the next request for it would get.
//!
//! Asks nobody and changes nothing but the statistics of the store. Must never show what a visitor sent in a cookie or as
//! credentials: stored values of such fields are masked.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use archipel_cache::{KeyRef, PurgeKind, Stored};
use archipel_http::UnixSeconds;
use archipel_http::stored::StoredMeta;
use archipel_http::vary::VarySpec;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, PROXY_AUTHORIZATION, SET_COOKIE};
use serde::Serialize;

use crate::cache::{self, Meta, key_of};
use crate::exchange::Exchange;
use crate::explain::{ExplainRequest, Verdict, evaluate};
use crate::live::LiveZone;
use crate::node::Node;

/// What stands for a value that is not shown.
const MASK: &str = "(hidden)";

/// What is stored for a URL.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The zone, where one serves the host.
    pub zone: Option<String>,
    /// The cache key.
    pub key: Option<String>,
    /// What the request that was given would get.
    pub next: NextRequest,
    /// Every stored variant, newest first.
    pub variants: Vec<Variant>,
}

/// What a request would get now.
#[derive(Clone, Debug, Serialize)]
pub struct NextRequest {
    /// `hit`, `stale`, `revalidate`, `miss`, `bypass`, `only-if-cached`, or `refused` where it would not come as far as the cache.
    pub outcome: String,
    /// Why.
    pub why: String,
}

/// One stored variant.
#[derive(Clone, Debug, Serialize)]
pub struct Variant {
    /// Where it is kept.
    pub tier: &'static str,
    /// Whether the request that was given selects it.
    pub selected: bool,
    /// Status.
    pub status: u16,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// Bytes that it takes in its tier, overhead included.
    pub weight_bytes: u64,
    /// When it was stored or last confirmed, in seconds since the epoch.
    pub stored_at: i64,
    /// How old it is, in seconds (the value of `Age`).
    pub age: u32,
    /// How long it is fresh, and for how long that still lasts.
    pub freshness: Freshness,
    /// What may be served without asking the origin after it became stale.
    pub stale: StaleUse,
    /// `ETag`
    pub etag: Option<String>,
    /// `Last-Modified`
    pub last_modified: Option<String>,
    /// The request fields that select it, with the values that it was stored for.
    pub vary: Vec<VaryField>,
    /// Its purge groups and purges since it was fetched.
    pub purge: PurgeState,
    /// Its header fields.
    pub fields: Vec<(String, String)>,
}

/// How long a variant is fresh.
#[derive(Clone, Debug, Serialize)]
pub struct Freshness {
    /// The whole lifetime in seconds.
    pub lifetime_seconds: u32,
    /// What it follows from: `s_maxage`, `max_age`, `expires`, `heuristic`, `rule` or `none`.
    pub basis: &'static str,
    /// The field whose directives count.
    pub source: &'static str,
    /// Seconds for which it is still fresh; negative: for so many it has been stale.
    pub fresh_for: i64,
    /// `no-cache`: the origin is asked for every use.
    pub no_cache: bool,
    /// `immutable`
    pub immutable: bool,
}

/// What may happen with a variant when it is stale.
#[derive(Clone, Debug, Serialize)]
pub struct StaleUse {
    /// Whether `must-revalidate`, `proxy-revalidate`, `s-maxage` or `no-cache` forbids serving it stale.
    pub forbidden: bool,
    /// Seconds after expiry for which it is served while it is revalidated in the background.
    pub while_revalidate_seconds: u32,
    /// Seconds after expiry for which it is served instead of an error of the origin.
    pub if_error_seconds: Option<u32>,
}

/// One selecting field.
#[derive(Clone, Debug, Serialize)]
pub struct VaryField {
    /// Its name.
    pub name: String,
    /// The value in its normal form; nothing where the request did not have the field.
    pub value: Option<String>,
    /// Whether the request that was given has the same.
    pub matches: bool,
}

/// How purges concern a variant.
#[derive(Clone, Debug, Serialize)]
pub struct PurgeState {
    /// The last purge before its fetch.
    pub sequence: u64,
    /// `soft` or `hard`, where a later purge covers it. A hard one is gone at the next look.
    pub purged: Option<&'static str>,
    /// Its tags and cache groups, by the numbers under which purges name them; `ffffffffffffffff` stands for those beyond what is
    /// kept, so that every purge by tag takes it.
    pub tags: Vec<String>,
}

impl Node {
    /// Shows what is stored for the URL of a request, and what that request would get.
    ///
    /// # Errors
    /// Where the request cannot be understood: says which part.
    pub fn inspect(self: &Arc<Self>, request: &ExplainRequest) -> Result<Inspection, String> {
        let (ex, answered) = evaluate(self, request)?;
        let Some(zone) = ex.zone.clone() else {
            return Ok(Inspection { zone: None, key: None, next: next(&ex, answered), variants: Vec::new() });
        };
        let key = key_of(&ex, &zone);
        let at = KeyRef::new(&key, self.key_seed);
        let picked = match cache::find(&ex, &zone) {
            cache::Found::Serve { stored, .. } | cache::Found::Ask { stored, .. } => Some(stored),
            cache::Found::OnlyIfCached | cache::Found::Missing { .. } | cache::Found::Cold => None,
        };
        let variants = self.store.variants(&at);
        let shown = |stored: &Arc<Stored<Meta>>| {
            let purged = self.store.purged(stored);
            let selected = picked.as_ref().is_some_and(|picked| Arc::ptr_eq(picked, stored));
            Variant { selected, ..variant("memory", stored, purged, &ex, &zone) }
        };
        // Of what is only on the disk, the one that answers is shown.
        let on_disk = picked.iter().filter(|picked| !variants.iter().any(|other| Arc::ptr_eq(picked, other)));
        let from_disk = |stored: &Arc<Stored<Meta>>| {
            let purged = self.store.purged(stored);
            Variant { selected: true, ..variant(cache::disk::DISK, stored, purged, &ex, &zone) }
        };
        Ok(Inspection {
            zone: Some(zone.zone.name.to_string()),
            key: Some(shown_key(&key.text())),
            next: next(&ex, answered),
            variants: on_disk.map(from_disk).chain(variants.iter().map(shown)).collect(),
        })
    }
}

/// The outcome, in the words of the stages that decided.
fn next(ex: &Exchange, answered: bool) -> NextRequest {
    let verdicts = ex.verdicts.as_deref().unwrap_or_default();
    let of = |stage: &str| verdicts.iter().rfind(|verdict: &&Verdict| verdict.stage == stage);
    match of("cache") {
        Some(verdict) => NextRequest { outcome: verdict.verdict.to_owned(), why: verdict.detail.clone() },
        None => {
            let last = verdicts.last();
            let why =
                last.map_or_else(String::new, |last| format!("{}: {}, {}", last.stage, last.verdict, last.detail));
            NextRequest { outcome: if answered { "refused" } else { "unknown" }.to_owned(), why }
        }
    }
}

/// A key with what a zone adds from cookies and credentials left out: everything behind the target is the zone's addition.
fn shown_key(key: &str) -> String {
    let mut parts = key.splitn(3, ' ');
    let zone_and_target = [parts.next(), parts.next()].into_iter().flatten().collect::<Vec<_>>().join(" ");
    match parts.next() {
        Some(added) => format!("{zone_and_target} {}", masked_addition(added)),
        None => zone_and_target,
    }
}

fn masked_addition(added: &str) -> &str {
    let names = [&COOKIE, &AUTHORIZATION, &PROXY_AUTHORIZATION];
    let lower = added.to_ascii_lowercase();
    if names.iter().any(|name| lower.contains(name.as_str())) { MASK } else { added }
}

fn variant(
    tier: &'static str,
    stored: &Stored<Meta>,
    purged: Option<PurgeKind>,
    ex: &Exchange,
    zone: &LiveZone,
) -> Variant {
    let facts = &stored.meta.facts;
    let now = ex.now();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Variant {
        tier,
        selected: false,
        status: stored.status.as_u16(),
        body_bytes: stored.body().len(),
        weight_bytes: stored.weight(),
        stored_at: facts.response_time.0,
        age: facts.current_age(now),
        freshness: freshness(facts, now),
        stale: StaleUse {
            forbidden: facts.forbids_stale(),
            while_revalidate_seconds: facts.stale_while_revalidate,
            if_error_seconds: facts.stale_if_error,
        },
        etag: facts.etag.as_ref().map(text),
        last_modified: facts.last_modified.as_ref().map(text),
        vary: vary(stored, ex, zone),
        purge: PurgeState {
            sequence: stored.stamp.sequence(),
            purged: purged.map(|kind| match kind {
                PurgeKind::Soft => "soft",
                PurgeKind::Hard => "hard",
            }),
            tags: stored.groups.tags.iter().map(|tag| format!("{tag:016x}")).collect(),
        },
        fields: stored
            .meta
            .fields
            .to_map()
            .iter()
            .map(|(name, value)| (name.to_string(), shown(name, value.as_bytes())))
            .collect(),
    }
}

fn freshness(facts: &StoredMeta, now: UnixSeconds) -> Freshness {
    Freshness {
        lifetime_seconds: facts.lifetime.seconds,
        basis: facts.lifetime.basis.as_str(),
        source: facts.source.as_str(),
        fresh_for: i64::from(facts.lifetime.seconds) - i64::from(facts.current_age(now)),
        no_cache: facts.no_cache,
        immutable: facts.immutable,
    }
}

fn vary(stored: &Stored<Meta>, ex: &Exchange, zone: &LiveZone) -> Vec<VaryField> {
    let VarySpec::Fields(names) = &stored.meta.facts.vary else {
        return Vec::new();
    };
    let values = stored.meta.vary.values();
    let all_match = stored.meta.facts.vary.matches(&stored.meta.vary, &ex.asked.headers, &ex.policy(zone).vary);
    let field = |(name, value): (&HeaderName, Option<&[u8]>)| VaryField {
        name: name.to_string(),
        value: value.map(|value| shown(name, value)),
        // A language may match by preference although the texts differ.
        matches: all_match || archipel_http::vary::normalise(&ex.asked.headers, name).as_deref() == value,
    };
    names.iter().zip(values).map(field).collect()
}

fn shown(name: &HeaderName, value: &[u8]) -> String {
    if [COOKIE, SET_COOKIE, AUTHORIZATION, PROXY_AUTHORIZATION].contains(name) {
        return MASK.to_owned();
    }
    String::from_utf8_lossy(value).into_owned()
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(zone), Some(key)) = (&self.zone, &self.key) {
            writeln!(f, "zone          {zone}\nkey           {key}")?;
        }
        writeln!(f, "next request  {}: {}", self.next.outcome, self.next.why)?;
        match self.variants.len() {
            0 => writeln!(f, "stored        nothing")?,
            1 => writeln!(f, "stored        1 variant")?,
            many => writeln!(f, "stored        {many} variants, newest first")?,
        }
        for (at, variant) in self.variants.iter().enumerate() {
            write!(f, "\n{}", variant.to_text(at + 1))?;
        }
        Ok(())
    }
}

/// Seconds for people.
fn seconds(n: u64) -> String {
    let (days, hours, minutes) = (n / 86_400, n / 3_600 % 24, n / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{n} s"),
        (0, 0, _) => format!("{n} s ({minutes} min)"),
        (0, _, _) => format!("{n} s ({hours} h {minutes} min)"),
        _ => format!("{n} s ({days} d {hours} h)"),
    }
}

impl Variant {
    fn to_text(&self, number: usize) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {name:<13} {value}");
        };
        let selected = if self.selected { ", selected by this request" } else { "" };
        line(&format!("variant {number}"), &format!("{} in {}{selected}", self.status, self.tier));
        let sizes = format!("{} bytes of body, {} with its overhead", self.body_bytes, self.weight_bytes);
        line("size", &sizes);
        let stored = String::from_utf8_lossy(&UnixSeconds(self.stored_at).format()).into_owned();
        line("stored", &format!("{stored}; age {}", seconds(u64::from(self.age))));
        line("freshness", &self.freshness.to_text());
        line("when stale", &self.stale.to_text());
        let validators = [("ETag", &self.etag), ("Last-Modified", &self.last_modified)];
        let found: Vec<String> = validators
            .iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name} {value}")))
            .collect();
        line("validators", &if found.is_empty() { "none: asked for anew".to_owned() } else { found.join(", ") });
        for field in &self.vary {
            let value = field.value.as_deref().unwrap_or("(absent)");
            let note = if field.matches { "" } else { "; this request differs" };
            line("varies by", &format!("{}: {value}{note}", field.name));
        }
        let purged = self.purge.purged.map_or_else(String::new, |kind| format!("; purged since, {kind}"));
        let tags = match self.purge.tags.len() {
            0 => String::new(),
            many => format!("; tags and cache groups: {many}"),
        };
        line("purge", &format!("fetched after purge {}{tags}{purged}", self.purge.sequence));
        text
    }
}

impl Freshness {
    fn to_text(&self) -> String {
        let basis = match self.basis {
            "none" => "nothing states or suggests one".to_owned(),
            "heuristic" => "a share of the time since Last-Modified".to_owned(),
            "rule" => "the zone's setting".to_owned(),
            "expires" => "Expires".to_owned(),
            word => format!("{} of {}", word.replace('_', "-"), self.source.replace('_', "-")),
        };
        let left = match u64::try_from(self.fresh_for) {
            Ok(0) | Err(_) => format!("stale for {}", seconds(self.fresh_for.unsigned_abs())),
            Ok(left) => format!("fresh for {} more", seconds(left)),
        };
        let mut text = format!("{left}; lifetime {}, from {basis}", seconds(u64::from(self.lifetime_seconds)));
        if self.no_cache {
            text.push_str("; no-cache: asked about for every use");
        }
        if self.immutable {
            text.push_str("; immutable");
        }
        text
    }
}

impl StaleUse {
    fn to_text(&self) -> String {
        if self.forbidden {
            return "never served".to_owned();
        }
        let revalidate = match self.while_revalidate_seconds {
            0 => "not served while it is revalidated".to_owned(),
            n => format!("served for {} while it is revalidated", seconds(u64::from(n))),
        };
        let error = match self.if_error_seconds {
            None | Some(0) => "not for an error of the origin".to_owned(),
            Some(n) => format!("for {} instead of an error of the origin", seconds(u64::from(n))),
        };
        format!("{revalidate}; {error}")
    }
}
