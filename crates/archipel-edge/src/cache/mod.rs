//! The cache stage. Policy comes from `archipel-http`, storage and collapsing from `archipel-cache`; here they meet.
//!
//! - this module: what is looked up, and what follows from what was found;
//! - [`join`]: waiting for another request's fetch instead of fetching;
//! - [`reply`]: what an origin's reply means for the store and for the client;
//! - [`fill`]: bodies on their way into the store, and revalidation in the background;
//! - [`parts`]: replies to range requests, stored as parts;
//! - [`slices`]: large objects in slices;
//! - [`rules`]: what the zone's rules change for a request: policy, key, bypass;
//! - [`stand_in`]: what answers where the origin does not;
//! - [`equivalents`]: stored responses that answer other queries too;
//! - [`disk`], [`codec`]: the disk tier, and what the policy keeps as bytes on it;
//! - [`deliver`]: replies made from stored responses: ranges, preconditions, `Age`, `Cache-Status`;
//! - [`marks`]: `Cache-Status` values that are the same request after request;
//! - [`codings`]: forms of responses: gzip, br, zstd, or decoded.
//!
//! Must never read bytes from a socket or decide what a field means.

pub(crate) mod codec;
pub(crate) mod codings;
mod deliver;
pub(crate) mod disk;
pub(crate) mod equivalents;
mod fill;
mod join;
mod marks;
mod parts;
mod reply;
pub(crate) mod rules;
mod slices;
mod slices_body;
mod slices_fetch;
mod stand_in;

use std::ops::ControlFlow;
use std::sync::Arc;

use archipel_cache::{KeyRef, LeaderGuard, Lookup, PurgeStamp, Stored};
use archipel_http::cache_status::Forward;
use archipel_http::key::CacheKey;
use archipel_http::partial::{self, Part};
use archipel_http::range::{ByteRange, RangeSpec};
use archipel_http::reuse::{self, Bypass, Reuse, Revalidate};
use archipel_http::sink::FieldSink;
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
    /// What of the response the object is.
    pub(crate) form: Form,
    /// What it can be made into, or what it was made of.
    pub(crate) forms: codings::Forms,
}

/// What of a response a stored object is.
#[derive(Debug)]
pub(crate) enum Form {
    /// All of it.
    Whole,
    /// The head and a part of the content, as a 206 brought it.
    Part(Box<Part>),
    /// The head; the content is in slices.
    Sliced(Box<slices::Sliced>),
    /// One slice; answers no request by itself.
    Slice,
}

impl Meta {
    /// The length of the complete content of a stored response, where it is known.
    fn complete(&self, body: &archipel_cache::Body) -> Option<u64> {
        match &self.form {
            Form::Whole | Form::Slice => Some(body.len()),
            Form::Part(part) => part.complete,
            Form::Sliced(sliced) => Some(sliced.grid.length()),
        }
    }
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
    /// The disk may have something, and has to be waited for.
    cold: bool,
    /// What came of a range that this plan asked for before.
    ranges: Ranges,
}

/// Whether the origin answers a request for a range with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ranges {
    NotAsked,
    Answered,
    Ignored,
}

enum Kind {
    /// Past the cache.
    Bypass,
    /// To the origin as the client asked it (HEAD, Range): what is stored may be freshened, a part may be stored.
    AsAsked(Option<Arc<Stored<Meta>>>),
    /// For the whole response, which is stored if it may be.
    Whole(Option<Arc<Stored<Meta>>>),
    /// For the slices that the client's range touches, with nothing known of the response.
    Probe(RangeSpec),
    /// For these bytes of a response of which others are there already.
    Piece(Box<StoredMeta>, ByteRange, Option<u64>),
    /// Not to the origin yet: this sliced response answers, some of it has to be fetched.
    Slices(Arc<Stored<Meta>>, u32, Served),
}

impl Plan {
    fn new(kind: Kind, why: Forward, stamp: PurgeStamp) -> Self {
        Self { kind, why, stamp, lead: None, collapsed: false, ranges: Ranges::NotAsked, cold: false }
    }

    /// A plan that begins now.
    fn of(kind: Kind, ex: &Exchange) -> Self {
        Self::new(kind, Forward::UriMiss, ex.worker.node.store.stamp())
    }

    /// The stored response that the request should validate.
    pub(crate) fn validates(&self) -> Option<&StoredMeta> {
        match &self.kind {
            Kind::Whole(Some(stored)) if stored.meta.facts.has_validator() => Some(&stored.meta.facts),
            _ => None,
        }
    }

    /// Whether the client's own preconditions and range stay out of the request: they could be answered with 304 or 206, which is
    /// not what is to be stored.
    pub(crate) fn has_own_conditions(&self) -> bool {
        matches!(self.kind, Kind::Whole(_) | Kind::Probe(_) | Kind::Piece(..))
    }

    /// The preconditions and the range that the origin is to see, where they are not the client's.
    pub(crate) fn write_conditions(&self, to: &mut impl FieldSink) {
        match &self.kind {
            Kind::Bypass | Kind::AsAsked(_) | Kind::Slices(..) => {}
            Kind::Whole(_) => {
                if let Some(meta) = self.validates() {
                    reuse::write_conditions(meta, to);
                }
            }
            Kind::Probe(range) => to.put(&RANGE, &range.to_field()),
            Kind::Piece(facts, range, complete) => {
                partial::write_piece(facts, *range, *complete, to);
            }
        }
    }

    /// Whether others may wait for what this plan fetches.
    fn is_shared(&self) -> bool {
        // What only this client asks for (a reload) is not worth another's wait, and must not be answered with less.
        self.why != Forward::Request && matches!(self.kind, Kind::Whole(_) | Kind::Probe(_))
    }

    /// Whether nothing of it is looked up or stored.
    pub(crate) fn is_bypass(&self) -> bool {
        matches!(self.kind, Kind::Bypass)
    }

    fn stale(&self) -> Option<&Arc<Stored<Meta>>> {
        match &self.kind {
            Kind::AsAsked(stored) | Kind::Whole(stored) => stored.as_ref(),
            _ => None,
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

/// A key's hash. Two halves, for the reason that [`Exchange::id`] gives.
#[derive(Clone, Copy, Debug)]
pub struct KeyHash([u64; 2]);

impl KeyHash {
    fn of(key: &KeyRef<'_, CacheKey<'_>>) -> Self {
        Self([(key.hash >> 64) as u64, key.hash as u64])
    }
}

/// An exchange's key as the store sees it. It is hashed once: nothing changes a request after its key is made.
pub(crate) fn key_ref<'a>(ex: &Exchange, key: &'a CacheKey<'a>) -> KeyRef<'a, CacheKey<'a>> {
    match ex.key_hash {
        Some(KeyHash([high, low])) => {
            KeyRef { hash: u128::from(high) << 64 | u128::from(low), text: key, zone: key.zone }
        }
        None => KeyRef::new(key, ex.worker.node.key_seed),
    }
}

/// What the store has for a request.
pub(crate) enum Found {
    /// It answers.
    Serve { stored: Arc<Stored<Meta>>, age: u32, stale: bool, refresh: bool, on_disk: bool },
    /// The origin must be asked first.
    Ask { stored: Arc<Stored<Meta>>, why: Revalidate },
    /// Nothing, and the client wants nothing from the origin.
    OnlyIfCached,
    /// Perhaps something on the disk, which has to be waited for.
    Cold,
    /// Nothing.
    Missing { other_variants: bool },
}

/// Looks into the store. Changes nothing but its statistics.
pub(crate) fn find(ex: &Exchange, zone: &LiveZone) -> Found {
    let node = &ex.worker.node;
    let own = key_of(ex, zone);
    let key = key_ref(ex, &own);
    let fits = fits(ex, zone);
    // A part is served while it is fresh; what is asked of the origin then is the part anew.
    if let Some(found) = node.store.lookup(&key, &fits).filter(|found| !found.soft_purged || !is_part(&found.stored)) {
        return judge(ex, zone, found, false);
    }
    let other_variants = match disk::look_now(node, &key, &fits) {
        disk::OnDisk::Found(found) => return judge(ex, zone, found, true),
        disk::OnDisk::Cold => return Found::Cold,
        disk::OnDisk::Missing { other_variants } => other_variants,
    };
    equivalent(ex, zone, &own, fits).unwrap_or_else(|| missing(ex, zone, other_variants))
}

/// Whether a stored object may answer an exchange's request.
fn fits<'a>(ex: &'a Exchange, zone: &'a LiveZone) -> impl Fn(&Stored<Meta>) -> bool + use<'a> {
    let (headers, policy) = (&ex.asked.headers, ex.policy(zone));
    move |stored| {
        stored.meta.facts.vary.matches(&stored.meta.vary, headers, &policy.vary)
            && stored.meta.forms.fit(&zone.zone.compression)
            && match &stored.meta.form {
                Form::Whole | Form::Sliced(_) => true,
                Form::Part(part) => parts::answers(ex, zone, &stored.meta.facts, part),
                Form::Slice => false,
            }
    }
}

fn is_part(stored: &Stored<Meta>) -> bool {
    matches!(stored.meta.form, Form::Part(_))
}

/// What follows from there being nothing.
fn missing(ex: &Exchange, zone: &LiveZone, other_variants: bool) -> Found {
    if reuse::is_only_if_cached(&ex.asked.headers, ex.policy(zone)) {
        return Found::OnlyIfCached;
    }
    let node = &ex.worker.node;
    let key = key_of(ex, zone);
    let in_memory = || node.store.variants(&key_ref(ex, &key)).iter().any(|stored| !is_part(stored));
    Found::Missing { other_variants: other_variants || in_memory() }
}

/// What follows from a stored response.
fn judge(ex: &Exchange, zone: &LiveZone, found: Lookup<Meta>, on_disk: bool) -> Found {
    let (headers, policy) = (&ex.asked.headers, ex.policy(zone));
    let stored = found.stored;
    if found.soft_purged {
        if reuse::is_only_if_cached(headers, policy) {
            return Found::OnlyIfCached;
        }
        return Found::Ask { stored, why: Revalidate::Stale };
    }
    match reuse::decide(headers, &stored.meta.facts, policy, ex.now()) {
        Reuse::Fresh { age } => Found::Serve { stored, age, stale: false, refresh: false, on_disk },
        Reuse::Stale { age } => Found::Serve { stored, age, stale: true, refresh: false, on_disk },
        Reuse::StaleWhileRevalidate { age } => Found::Serve { stored, age, stale: true, refresh: true, on_disk },
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
        Reuse::Revalidate(_) | Reuse::OnlyIfCached => None,
        _ => Some(judge(ex, zone, Lookup { stored, soft_purged: false }, false)),
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
        return ControlFlow::Continue(Plan::new(Kind::Bypass, why, ex.worker.node.store.stamp()));
    }
    ex.key_hash = Some(KeyHash::of(&key_ref(ex, &key_of(ex, &zone))));
    let found = find(ex, &zone);
    act(ex, &zone, found)
}

/// Serves what was found, or says how the origin is to be asked.
fn act(ex: &mut Exchange, zone: &Arc<LiveZone>, found: Found) -> ControlFlow<Reply, Plan> {
    let mut cold = false;
    let (kind, why) = match found {
        Found::Serve { stored, age, stale, refresh, on_disk } => {
            if stale {
                ex.count(reasons::STALE_SERVED, if refresh { "while_revalidate" } else { "max_stale" });
            }
            if refresh {
                fill::refresh(ex, zone, &stored);
            }
            ex.worker.node.store.offer_used(&stored);
            ex.note("cache", if stale { "stale" } else { "hit" }, || format!("age {age} s, key {}", stored.key));
            let mut served = Served::stored(if stale { CacheResult::Stale } else { CacheResult::Hit });
            served.detail = on_disk.then_some(disk::DISK);
            if !matches!(stored.meta.form, Form::Sliced(_)) {
                return ControlFlow::Break(deliver::stored(ex, zone, &stored, age, &served));
            }
            match slices::at_once(ex, zone, &stored, age, &served) {
                Some(reply) => return ControlFlow::Break(reply),
                None => (Kind::Slices(stored, age, served), Forward::UriMiss),
            }
        }
        Found::Cold => {
            cold = true;
            ex.note("cache", "cold", || "the disk may have it".to_owned());
            (kind_of(ex, zone, None), Forward::UriMiss)
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
            (kind_of(ex, zone, Some(stored)), forward)
        }
        Found::Missing { other_variants } => {
            let why = if other_variants { Forward::VaryMiss } else { Forward::UriMiss };
            let key = ex.verdicts.is_some().then(|| key_of(ex, zone).text());
            ex.note("cache", "miss", || format!("{}, key {}", why.as_str(), key.unwrap_or_default()));
            let reason = if other_variants { "vary_miss" } else { "uri_miss" };
            ex.reason = Some(reason);
            ex.count(reasons::FORWARDS, reason);
            (kind_of(ex, zone, None), why)
        }
    };
    let stamp = ex.worker.node.store.stamp();
    let mut plan = Plan::new(kind, why, stamp);
    plan.cold = cold;
    ControlFlow::Continue(plan)
}

fn kind_of(ex: &Exchange, zone: &LiveZone, stored: Option<Arc<Stored<Meta>>>) -> Kind {
    if stored.is_some() {
        Kind::Whole(stored)
    } else if ex.asked.method == Method::HEAD {
        Kind::AsAsked(None)
    } else if ex.asked.headers.contains_key(RANGE) {
        slices::probe(ex, zone).map_or(Kind::AsAsked(None), Kind::Probe)
    } else {
        Kind::Whole(None)
    }
}

fn only_if_cached(ex: &mut Exchange) -> Reply {
    ex.cache = CacheResult::Uncacheable;
    ex.count(reasons::FORWARDS, "only_if_cached");
    ex.note("cache", "only-if-cached", || "nothing stored can be used".to_owned());
    let message = "Nothing stored answers this request, and it asked for nothing else.";
    error_page::reply(ex, &Failure::refusal(StatusCode::GATEWAY_TIMEOUT, "only_if_cached", message))
}
