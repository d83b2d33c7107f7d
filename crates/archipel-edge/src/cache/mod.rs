//! The cache stage. Policy comes from `archipel-http`, storage and collapsing from `archipel-cache`; here they meet.
//!
//! - this module: what is looked up, and what follows from what was found;
//! - [`join`]: waiting for another request's fetch instead of fetching;
//! - [`reply`]: what an origin's reply means for the store and for the client;
//! - [`fill`]: bodies on their way into the store, and revalidation in the background;
//! - [`rules`]: what the zone's rules change for a request: policy, key, bypass;
//! - [`equivalents`]: stored responses that answer other queries too;
//! - [`deliver`]: replies made from stored responses: ranges, preconditions, `Age`, `Cache-Status`;
//! - [`codings`]: forms of responses: gzip, br, zstd, or decoded.
//!
//! Must never read bytes from a socket or decide what a field means.

pub(crate) mod codings;
mod deliver;
pub(crate) mod equivalents;
mod fill;
mod join;
mod reply;
pub(crate) mod rules;

use std::ops::ControlFlow;
use std::sync::Arc;

use archipel_cache::{KeyRef, LeaderGuard, PurgeStamp, Stored};
use archipel_http::cache_status::Forward;
use archipel_http::key::CacheKey;
use archipel_http::reuse::{self, Bypass, Reuse, Revalidate};
use archipel_http::stored::StoredMeta;
use archipel_http::vary::VaryValues;
use archipel_transport::message::{FrozenFields, Reply};
use http::header::RANGE;
use http::{Method, StatusCode};

use crate::error_page::{self, Failure};
use crate::exchange::{CacheResult, Exchange};
use crate::live::LiveZone;
use crate::reasons;

pub(crate) use deliver::Served;
pub(crate) use join::join;
pub(crate) use reply::on_reply;

/// What is kept beside each stored response.
#[derive(Debug)]
pub(crate) struct Meta {
    /// The facts for reuse.
    pub(crate) facts: StoredMeta,
    /// The request fields that selected it.
    pub(crate) vary: VaryValues,
    /// The fields, ready to be sent.
    pub(crate) fields: Arc<FrozenFields>,
    /// What it can be made into, or what it was made of.
    pub(crate) forms: codings::Forms,
}

/// What to do with a request that the store did not answer.
pub(crate) struct Plan {
    kind: Kind,
    /// Why it goes towards the origin, for Cache-Status.
    why: Forward,
    /// The purge sequence before the fetch.
    stamp: PurgeStamp,
    /// Others wait for what this request fetches.
    lead: Option<LeaderGuard<Meta>>,
    /// It waited for another one's fetch, in vain.
    collapsed: bool,
}

enum Kind {
    /// Past the cache.
    Bypass,
    /// To the origin as the client asked it (HEAD, Range): nothing of it is stored, what is stored may be freshened.
    AsAsked(Option<Arc<Stored<Meta>>>),
    /// For the whole response, which is stored if it may be.
    Whole(Option<Arc<Stored<Meta>>>),
}

impl Plan {
    fn bypass(ex: &Exchange, why: Forward) -> Self {
        Self { kind: Kind::Bypass, why, stamp: ex.worker.node.store.stamp(), lead: None, collapsed: false }
    }

    /// The stored response that the request should validate.
    pub(crate) fn validates(&self) -> Option<&StoredMeta> {
        match &self.kind {
            Kind::Whole(Some(stored)) if stored.meta.facts.has_validator() => Some(&stored.meta.facts),
            _ => None,
        }
    }

    /// Whether the origin is asked for the whole response whatever part the client wants.
    pub(crate) fn asks_for_whole(&self) -> bool {
        matches!(self.kind, Kind::Whole(_))
    }

    /// Whether nothing of it is looked up or stored.
    pub(crate) fn is_bypass(&self) -> bool {
        matches!(self.kind, Kind::Bypass)
    }

    fn stale(&self) -> Option<&Arc<Stored<Meta>>> {
        match &self.kind {
            Kind::Bypass => None,
            Kind::AsAsked(stored) | Kind::Whole(stored) => stored.as_ref(),
        }
    }
}

/// The key of an exchange's target in its zone.
pub(crate) fn key_of<'a>(ex: &'a Exchange, zone: &LiveZone) -> CacheKey<'a> {
    let as_asked = if zone.zone.cache.ignore_query { ex.asked.path() } else { &ex.asked.path_and_query };
    let (path_and_query, extra) = match &ex.ruling {
        None => (as_asked, ""),
        // Where the rules leave the target as received they have looked at `ignore_query` too.
        Some(ruling) => (ruling.target.as_deref().unwrap_or(&ex.asked.path_and_query), &*ruling.extra),
    };
    CacheKey { zone: zone.zone.id, scheme: ex.asked.scheme, host: &ex.asked.authority, path_and_query, extra }
}

/// What the store has for a request.
pub(crate) enum Found {
    /// It answers.
    Serve { stored: Arc<Stored<Meta>>, age: u32, stale: bool, refresh: bool },
    /// The origin must be asked first.
    Ask { stored: Arc<Stored<Meta>>, why: Revalidate },
    /// Nothing, and the client wants nothing from the origin.
    OnlyIfCached,
    /// Nothing.
    Missing { other_variants: bool },
}

/// Looks into the store. Changes nothing but its statistics.
pub(crate) fn find(ex: &Exchange, zone: &LiveZone) -> Found {
    let node = &ex.worker.node;
    let own = key_of(ex, zone);
    let key = KeyRef::new(&own, node.key_seed);
    let headers = &ex.asked.headers;
    let policy = ex.policy(zone);
    let fits = |stored: &Stored<Meta>| {
        stored.meta.facts.vary.matches(&stored.meta.vary, headers, &policy.vary)
            && stored.meta.forms.fit(&zone.zone.compression)
    };
    let Some(found) = node.store.lookup(&key, fits) else {
        if let Some(found) = equivalent(ex, zone, &own, fits) {
            return found;
        }
        if reuse::is_only_if_cached(headers, policy) {
            return Found::OnlyIfCached;
        }
        return Found::Missing { other_variants: !node.store.variants(&key).is_empty() };
    };
    let stored = found.stored;
    if found.soft_purged {
        if reuse::is_only_if_cached(headers, policy) {
            return Found::OnlyIfCached;
        }
        return Found::Ask { stored, why: Revalidate::Stale };
    }
    match reuse::decide(headers, &stored.meta.facts, policy, ex.now()) {
        Reuse::Fresh { age } => Found::Serve { stored, age, stale: false, refresh: false },
        Reuse::Stale { age } => Found::Serve { stored, age, stale: true, refresh: false },
        Reuse::StaleWhileRevalidate { age } => Found::Serve { stored, age, stale: true, refresh: true },
        Reuse::Revalidate(why) => Found::Ask { stored, why },
        Reuse::OnlyIfCached => Found::OnlyIfCached,
    }
}

/// A stored response with another query that says it answers this request too, where it can be served as it stands. One that has
/// to be validated first is no better than a fetch of what was asked for.
fn equivalent(
    ex: &Exchange,
    zone: &LiveZone,
    key: &CacheKey<'_>,
    fits: impl FnMut(&Stored<Meta>) -> bool,
) -> Option<Found> {
    if !zone.zone.cache.no_vary_search {
        return None;
    }
    let found = equivalents::look_up(&ex.worker.node, key, fits)?;
    let stored = found.stored;
    if found.soft_purged {
        return None;
    }
    match reuse::decide(&ex.asked.headers, &stored.meta.facts, ex.policy(zone), ex.now()) {
        Reuse::Fresh { age } => Some(Found::Serve { stored, age, stale: false, refresh: false }),
        Reuse::Stale { age } => Some(Found::Serve { stored, age, stale: true, refresh: false }),
        Reuse::StaleWhileRevalidate { age } => Some(Found::Serve { stored, age, stale: true, refresh: true }),
        Reuse::Revalidate(_) | Reuse::OnlyIfCached => None,
    }
}

/// Why a request is not looked up.
fn bypass(ex: &Exchange, zone: &LiveZone) -> Option<(&'static str, Forward)> {
    if !zone.zone.cache.enabled {
        return Some(("cache_off", Forward::Bypass));
    }
    if ex.asked.upgrade.is_some() {
        return Some((Bypass::Upgrade.as_str(), Forward::Bypass));
    }
    if let Err(bypass) = reuse::may_look_up(&ex.asked.method, &ex.asked.headers) {
        let why = if bypass == Bypass::Method { Forward::Method } else { Forward::Bypass };
        return Some((bypass.as_str(), why));
    }
    if let Some(reason) = ex.ruling.as_ref().and_then(|ruling| ruling.bypass) {
        return Some((reason, Forward::Bypass));
    }
    // A GET with content: what the content means is not in the key (the "fat GET" of cache poisoning).
    (!ex.asked.body.is_empty()).then_some(("request_content", Forward::Bypass))
}

/// Answers from the store, or says how the origin is to be asked.
pub(crate) fn look_up(ex: &mut Exchange) -> ControlFlow<Reply, Plan> {
    let Some(zone) = ex.zone.clone() else {
        return ControlFlow::Break(error_page::reply(ex, &Failure::internal("no_zone")));
    };
    rules::evaluate(ex, &zone);
    if let Some((reason, why)) = bypass(ex, &zone) {
        ex.cache = CacheResult::Bypass;
        ex.reason = Some(reason);
        ex.count(reasons::BYPASSES, reason);
        ex.note("cache", "bypass", || reason.to_owned());
        return ControlFlow::Continue(Plan::bypass(ex, why));
    }
    let (kind, why) = match find(ex, &zone) {
        Found::Serve { stored, age, stale, refresh } => {
            if stale {
                ex.count(reasons::STALE_SERVED, if refresh { "while_revalidate" } else { "max_stale" });
            }
            if refresh {
                fill::refresh(ex, &zone, &stored);
            }
            ex.note("cache", if stale { "stale" } else { "hit" }, || format!("age {age} s, key {}", stored.key));
            let served = Served::stored(if stale { CacheResult::Stale } else { CacheResult::Hit });
            return ControlFlow::Break(deliver::stored(ex, &zone, &stored, age, &served));
        }
        Found::OnlyIfCached => return ControlFlow::Break(only_if_cached(ex)),
        Found::Ask { stored, why } => {
            ex.note("cache", "revalidate", || format!("{}, key {}", why.as_str(), stored.key));
            let forward = match why {
                Revalidate::Stale | Revalidate::NoCache => Forward::Stale,
                _ => Forward::Request,
            };
            ex.reason = Some(why.as_str());
            ex.count(reasons::FORWARDS, why.as_str());
            (kind_of(ex, Some(stored)), forward)
        }
        Found::Missing { other_variants } => {
            let why = if other_variants { Forward::VaryMiss } else { Forward::UriMiss };
            let key = ex.verdicts.is_some().then(|| key_of(ex, &zone).text());
            ex.note("cache", "miss", || format!("{}, key {}", why.as_str(), key.unwrap_or_default()));
            let reason = if other_variants { "vary_miss" } else { "uri_miss" };
            ex.reason = Some(reason);
            ex.count(reasons::FORWARDS, reason);
            (kind_of(ex, None), why)
        }
    };
    let stamp = ex.worker.node.store.stamp();
    ControlFlow::Continue(Plan { kind, why, stamp, lead: None, collapsed: false })
}

fn kind_of(ex: &Exchange, stored: Option<Arc<Stored<Meta>>>) -> Kind {
    let partial = ex.asked.headers.contains_key(RANGE);
    let head_miss = ex.asked.method == Method::HEAD && stored.is_none();
    if head_miss || (partial && stored.is_none()) { Kind::AsAsked(None) } else { Kind::Whole(stored) }
}

fn only_if_cached(ex: &mut Exchange) -> Reply {
    ex.cache = CacheResult::Uncacheable;
    ex.count(reasons::FORWARDS, "only_if_cached");
    ex.note("cache", "only-if-cached", || "nothing stored can be used".to_owned());
    let message = "Nothing stored answers this request, and it asked for nothing else.";
    error_page::reply(ex, &Failure::refusal(StatusCode::GATEWAY_TIMEOUT, "only_if_cached", message))
}
