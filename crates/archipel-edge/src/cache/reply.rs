//! What an origin's reply, or its failure, means for the store and for the client.

use std::ops::ControlFlow;
use std::sync::Arc;

use archipel_cache::{Body, Head, LeaderGuard, Stored};
use archipel_http::deception;
use archipel_http::fields::Fields as _;
use archipel_http::no_vary_search::NoVarySearch;
use archipel_http::policy::{BrowserTtl, SetCookie};
use archipel_http::range::ByteRange;
use archipel_http::reuse::{self, OriginFailure};
use archipel_http::storage::{self, NotStored, Storable, StoreRequest};
use archipel_http::stored::StoredMeta;
use archipel_http::targeted::ResponseControl;
use archipel_http::validate::{self, HeadEffect};
use archipel_http::{UnixSeconds, hop, invalidation};
use archipel_transport::message::{FrozenFields, Reply, ReplyBody, ReplyFields};
use archipel_transport::origin::{OriginError, OriginReply};
use archipel_transport::received::ReceivedFields;
use bytes::Bytes;
use http::header::{AGE, DATE, ETAG, LAST_MODIFIED, SET_COOKIE, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::deliver::{self, Served};
use super::slices_fetch::streamed;
use super::{Form, Kind, Meta, Plan, codings, disk, fill, key_of, key_ref, parts, slices, stand_in};
use crate::clock::SystemTime;
use crate::error_page::{self, Failure};
use crate::exchange::{CacheResult, Exchange, unix};
use crate::firewall::managed;
use crate::live::LiveZone;
use crate::origin;
use crate::purge;
use crate::reasons;
use crate::route::Route;

/// Until when a key is remembered as uncacheable, in seconds: requests for it are not held up for each other.
pub(super) fn hit_for_miss_until(ex: &Exchange, zone: &LiveZone) -> u64 {
    u64::try_from(ex.now().0).unwrap_or(0) + zone.zone.cache.hit_for_miss.as_secs()
}

/// Turns what came from the origin into the reply to the client, and stores what may be stored.
pub(crate) async fn on_reply(
    ex: &mut Exchange,
    route: &Route,
    mut plan: Plan,
    fetched: Result<OriginReply, OriginError>,
) -> ControlFlow<Reply, Reply> {
    let zone = route.zone.clone();
    let validated = plan.validates().is_some();
    if let Some(answer) = answer_to_condition(&fetched).filter(|_| validated) {
        ex.count(reasons::REVALIDATIONS, answer);
    }
    let mut reply = match fetched {
        Ok(reply) => reply,
        Err(error) => return ControlFlow::Break(failed_leading(ex, &zone, plan, error)),
    };
    if invalidation::invalidates(&ex.asked.method, reply.status) {
        purge::invalidate(ex, &zone, reply.status, &reply.headers);
    }
    if reply.status == StatusCode::NOT_MODIFIED && validated {
        match revalidated(ex, &zone, &mut plan, &reply) {
            Some(answer) => return ControlFlow::Continue(answer),
            // The 304 speaks of something else than what is stored (RFC 9111 section 4.3.4): ask again, without condition.
            None => match asked_again(ex, route, &mut plan).await? {
                Ok(again) => reply = again,
                Err(error) => return ControlFlow::Break(failed_leading(ex, &zone, plan, error)),
            },
        }
    }
    if let Some(answer) =
        stand_in::for_error(ex, &zone, &mut plan, (OriginFailure::Status(reply.status), "origin_error"))
    {
        return ControlFlow::Continue(answer);
    }
    let (mut plan, reply) = match parts::on_reply(ex, &zone, plan, reply) {
        ControlFlow::Break(answer) => return ControlFlow::Continue(answer),
        ControlFlow::Continue(going_on) => going_on,
    };
    let whole = matches!(plan.kind, Kind::Whole(_)) && ex.asked.method == Method::GET;
    if !whole && may_be_stored_post(ex, &zone, &reply) {
        // What this request itself has just made invalid is older than its reply.
        plan.stamp = ex.worker.node.store.stamp();
    } else if !whole {
        head_effect(ex, &zone, &plan, &reply);
        return ControlFlow::Continue(pass(ex, &zone, plan, reply, None));
    }
    // Asked first, and of the fields as they came: what is not stored needs no map of them.
    if let Some(reason) = permits_storing(ex, &zone, &reply).err().map(|why| why.as_str()).or(ex.unjudged) {
        return ControlFlow::Continue(pass(ex, &zone, plan, reply, Some(reason)));
    }
    let now = unix(SystemTime::now());
    let len = reply.body.len();
    let sliced = slices::applies(&zone, &plan, reply.status, &reply.headers, len);
    let too_large = |meta: &StoredMeta| {
        len.is_some_and(|n| n > object_bytes_max(ex, &zone)) && !(sliced && archipel_http::slices::may_slice(meta))
    };
    let decided = match storage::may_store(&asked(ex), reply.status, &reply.headers, ex.policy(&zone), now) {
        Ok(storable) if too_large(&storable.meta) => Err(NotStored::TooLarge.as_str()),
        Ok(_) if deceives(ex, &zone, &reply.headers) => Err("content_type_mismatch"),
        Ok(storable) => Ok(storable),
        Err(reason) => Err(reason.as_str()),
    };
    ControlFlow::Continue(match decided {
        Ok(storable) => store(ex, &zone, plan, reply, storable, sliced),
        Err(reason) => pass(ex, &zone, plan, reply, Some(reason)),
    })
}

/// Asks the origin once more, for the whole and without a condition.
async fn asked_again(
    ex: &mut Exchange,
    route: &Route,
    plan: &mut Plan,
) -> ControlFlow<Reply, Result<OriginReply, OriginError>> {
    ex.count(reasons::REVALIDATIONS, "other_response");
    plan.kind = Kind::Whole(None);
    let again = origin::request(ex, route, plan);
    ControlFlow::Continue(match Box::pin(origin::fetch(ex, route, plan, again)).await {
        Ok(mut again) => {
            managed::inspect_anew(ex, &mut again).await?;
            Ok(again)
        }
        Err(error) => Err(error),
    })
}

/// What can be said against storing a reply before its freshness is looked at.
fn permits_storing(ex: &Exchange, zone: &LiveZone, reply: &OriginReply) -> Result<(), NotStored> {
    let (asked, policy) = (asked(ex), ex.policy(zone));
    match &reply.headers {
        ReceivedFields::Lines(lines) => storage::permits_storing(&asked, reply.status, &**lines, policy),
        ReceivedFields::Map(map) => storage::permits_storing(&asked, reply.status, map, policy),
    }
}

/// The request as the decision on storing sees it.
pub(super) fn asked(ex: &Exchange) -> StoreRequest<'_> {
    StoreRequest {
        method: &ex.asked.method,
        headers: &ex.asked.headers,
        scheme: ex.asked.scheme,
        host: &ex.asked.authority,
        path_and_query: &ex.asked.path_and_query,
        request_time: ex.now(),
    }
}

/// Largest object that is stored in one piece for this request, in bytes.
pub(super) fn object_bytes_max(ex: &Exchange, zone: &LiveZone) -> u64 {
    zone.object_bytes_max.min(ex.policy(zone).object_bytes_max)
}

/// Whether a reply does not fit the name that it was asked for by, where the zone looks at that.
pub(super) fn deceives(ex: &Exchange, zone: &LiveZone, headers: &HeaderMap) -> bool {
    ex.policy(zone).deception_guard && deception::deceives(ex.asked.path(), headers)
}

/// How an origin answered the question whether a stored response still holds; a 304 is counted for what it comes to.
fn answer_to_condition(fetched: &Result<OriginReply, OriginError>) -> Option<&'static str> {
    match fetched {
        Err(_) => Some("unreachable"),
        Ok(reply) if reply.status == StatusCode::NOT_MODIFIED => None,
        Ok(reply) if reuse::is_stale_if_error_status(reply.status) => Some("error"),
        Ok(_) => Some("replaced"),
    }
}

/// A reply to POST that says how long it is fresh and that it is what a GET would give (RFC 9110 section 9.3.3).
fn may_be_stored_post(ex: &Exchange, zone: &LiveZone, reply: &OriginReply) -> bool {
    zone.zone.cache.enabled
        && ex.policy(zone).store_post
        && ex.asked.method == Method::POST
        && ex.asked.upgrade.is_none()
        && reply.status.is_success()
        && reply.headers.has(&http::header::CONTENT_LOCATION)
        // A body that still streams may have the request's own body behind it, which belongs to the connection.
        && matches!(reply.body, ReplyBody::Full(_) | ReplyBody::Empty)
}

/// No reply to a request that others may wait for: something stale where that is allowed, else the error, of which they hear.
fn failed_leading(ex: &mut Exchange, zone: &Arc<LiveZone>, mut plan: Plan, error: OriginError) -> Reply {
    if let Some(answer) = stand_in::for_failure(ex, zone, &mut plan, &error) {
        return answer;
    }
    let error = Arc::new(error);
    if let Some(guard) = plan.lead.take().filter(|_| !matches!(*error, OriginError::RequestBody(_))) {
        guard.fail(error.clone());
    }
    no_reply(ex, zone, &plan, &error)
}

/// No reply, to a request that nobody waits for.
pub(super) fn failed(ex: &mut Exchange, zone: &Arc<LiveZone>, mut plan: Plan, error: &OriginError) -> Reply {
    match stand_in::for_failure(ex, zone, &mut plan, error) {
        Some(answer) => answer,
        None => no_reply(ex, zone, &plan, error),
    }
}

fn no_reply(ex: &mut Exchange, zone: &LiveZone, plan: &Plan, error: &OriginError) -> Reply {
    tracing::debug!(zone = &*zone.zone.name, %error, "no reply from the origin");
    let failure = Failure::origin(error);
    if failure.proxy.is_some() {
        ex.worker.metrics.labelled.count("origin_errors", failure.reason);
    }
    ex.note("origin", "failed", || error.to_string());
    let mut reply = error_page::reply(ex, &failure);
    if plan.why != archipel_http::cache_status::Forward::Bypass || zone.zone.cache.enabled {
        let served = Served {
            result: if ex.cache == CacheResult::Bypass { CacheResult::Bypass } else { CacheResult::Uncacheable },
            forward: Some(plan.why),
            forward_status: None,
            is_stored: false,
            collapsed: plan.collapsed,
            detail: None,
        };
        deliver::mark(ex, zone, &mut reply, &served, None);
        ex.reason = Some(failure.reason);
    }
    reply
}

/// 304 to our own condition: the stored response lives on with new fields. `None` where the 304 speaks of another.
fn revalidated(ex: &mut Exchange, zone: &Arc<LiveZone>, plan: &mut Plan, reply: &OriginReply) -> Option<Reply> {
    let stored = plan.stale()?.clone();
    if !validate::selects_stored(&reply.headers, &stored.meta.facts) {
        return None;
    }
    let fresh = freshened(ex, zone, &stored, &reply.headers);
    if let Err(reason) = storage::may_freshen(stored.status, &reply.headers, ex.policy(zone)) {
        ex.count(reasons::REVALIDATIONS, "confirmed_for_one");
        ex.worker.node.store.remove(&stored);
        return Some(confirmed_for_one(ex, zone, plan, &stored, fresh, reason.as_str()));
    }
    if let Some(reason) = ex.unjudged {
        ex.count(reasons::REVALIDATIONS, "confirmed_unjudged");
        return Some(confirmed_for_one(ex, zone, plan, &stored, fresh, reason));
    }
    ex.count(reasons::REVALIDATIONS, "confirmed");
    let node = &ex.worker.node;
    let kept = disk::renew(&node.store, &stored, fresh(plan.stamp)).unwrap_or(stored);
    if let Some(guard) = plan.lead.take() {
        guard.publish_stored(&kept);
    }
    let served = Served {
        result: CacheResult::Revalidated,
        forward: Some(plan.why),
        forward_status: Some(StatusCode::NOT_MODIFIED.as_u16()),
        is_stored: true,
        collapsed: plan.collapsed,
        detail: None,
    };
    let age = kept.meta.facts.current_age(unix(SystemTime::now()));
    Some(deliver::stored(ex, zone, &kept, age, &served))
}

/// A 304 whose fields may not be shared: the stored body with them goes to this client.
fn confirmed_for_one(
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    plan: &mut Plan,
    stored: &Arc<Stored<Meta>>,
    fresh: impl FnOnce(archipel_cache::PurgeStamp) -> Head<Meta>,
    reason: &'static str,
) -> Reply {
    if let Some(guard) = plan.lead.take() {
        guard.publish_uncacheable(None);
    }
    let mut head = fresh(plan.stamp);
    head.meta.forms.keep_alone();
    let own = Arc::new(Stored::new(head, stored.body().clone()));
    let served = Served {
        result: CacheResult::Uncacheable,
        forward: Some(plan.why),
        forward_status: Some(StatusCode::NOT_MODIFIED.as_u16()),
        is_stored: false,
        collapsed: plan.collapsed,
        detail: Some(reason),
    };
    ex.reason = Some(reason);
    ex.count(reasons::NOT_STORED, reason);
    let age = own.meta.facts.current_age(unix(SystemTime::now()));
    deliver::stored(ex, zone, &own, age, &served)
}

/// The head of a stored response with the fields of a 304 or HEAD reply (RFC 9111 section 3.2).
fn freshened(
    ex: &Exchange,
    zone: &LiveZone,
    stored: &Stored<Meta>,
    update: &HeaderMap,
) -> impl FnOnce(archipel_cache::PurgeStamp) -> Head<Meta> + use<> {
    let control = ResponseControl::under(ex.policy(zone), stored.status, update);
    let mut headers = stored.meta.fields.to_map();
    validate::freshen(&mut headers, update, &control.directives);
    if ex.policy(zone).set_cookie == SetCookie::Strip {
        headers.remove(SET_COOKIE);
    }
    if let Some(age) = update.get(AGE) {
        headers.insert(AGE, age.clone());
    }
    let now = unix(SystemTime::now());
    if !update.contains_key(DATE) {
        // Not that of the reply before: what was confirmed just now would count as old.
        headers.insert(DATE, received(now));
    }
    let mut facts = StoredMeta::build(stored.status, &headers, ex.policy(zone), ex.now(), now);
    headers.remove(AGE);
    let length = stored.meta.complete(stored.body());
    let forms = codings::describe(ex, zone, stored.status, &mut headers, &mut facts, length, Some(&stored.meta));
    let form = match &stored.meta.form {
        Form::Sliced(sliced) => Form::Sliced(sliced.clone()),
        _ => Form::Whole,
    };
    head(ex, zone, stored.status, &headers, (facts, form, forms), Some(&stored.groups))
}

/// The `Date` of a reply that came without (RFC 9110 section 6.6.1): when it came.
pub(super) fn received(now: UnixSeconds) -> HeaderValue {
    HeaderValue::from_bytes(&now.format()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

pub(super) fn head(
    ex: &Exchange,
    zone: &LiveZone,
    status: StatusCode,
    headers: &HeaderMap,
    (mut facts, form, forms): (StoredMeta, Form, codings::Forms),
    renewed: Option<&archipel_cache::Groups>,
) -> impl FnOnce(archipel_cache::PurgeStamp) -> Head<Meta> + use<> {
    let node = &ex.worker.node;
    let key = key_of(ex, zone);
    let at = key_ref(ex, &key);
    let (hash, zone_id, groups) = (at.hash, at.zone, purge::groups_of(ex, &key, headers, renewed));
    let text = key.text();
    let vary = facts.vary.select(&ex.asked.headers, headers, &ex.policy(zone).vary);
    let variant: Box<[u8]> = match facts.vary.fields() {
        [] => Box::default(),
        _ => Box::from(facts.vary.variant_hash(&ex.asked.headers, &ex.policy(zone).vary, node.key_seed).to_le_bytes()),
    };
    let fields = Arc::new(FrozenFields::new(&purge::for_visitors(zone, headers)));
    // The facts hold validators: those of the frozen fields, so that the network buffer is let go.
    facts.etag = fields.value(&ETAG);
    facts.last_modified = fields.value(&LAST_MODIFIED);
    let meta_bytes = fields.heap_bytes() + vary.heap_bytes();
    let stored_at = u64::try_from(facts.response_time.0).unwrap_or(0);
    move |stamp| Head {
        hash,
        key: text,
        zone: zone_id,
        groups,
        stamp,
        status,
        headers: HeaderMap::new(),
        frozen_head: Bytes::new(),
        variant,
        stored_at,
        meta: Meta { facts, vary, fields, form, forms },
        meta_bytes,
    }
}

/// A response that may be stored: into the store, and to whoever waits for it.
fn store(
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    mut plan: Plan,
    reply: OriginReply,
    mut storable: Storable,
    sliced: bool,
) -> Reply {
    let mut headers = storage::fields_to_store(&reply.headers, &storable.control.directives, ex.policy(zone));
    headers.entry(DATE).or_insert_with(|| received(storable.meta.response_time));
    if zone.zone.headers.via {
        headers.append(http::header::VIA, origin::via(reply.version));
    }
    let length = reply.body.len();
    let forms = codings::describe(ex, zone, reply.status, &mut headers, &mut storable.meta, length, None);
    let head = head(ex, zone, reply.status, &headers, (storable.meta, Form::Whole, forms), None)(plan.stamp);
    let node = ex.worker.node.clone();
    learn_equivalent(ex, zone, &headers);
    let served = Served::miss(&plan);
    ex.note("cache", "store", || format!("fresh for {} s", head.meta.facts.lifetime.seconds));
    let lead = plan.lead.take();
    forget_uncacheable(ex, zone);
    if let Some(length) = reply.body.len().filter(|_| sliced)
        && let Some(sliced) = slices::cut(ex, zone, &plan, &head.meta.facts, &head.variant, length)
    {
        let range = ByteRange { first: 0, last: length - 1 };
        let arriving = slices::Arriving { body: streamed(reply.body), range, lead };
        return slices::store(ex, zone, head, sliced, arriving, &served);
    }
    match fill::in_memory(reply.body) {
        Ok(bytes) => {
            let body = Body::from_bytes(Bytes::copy_from_slice(&bytes));
            let stored = Arc::new(Stored::new(head, body));
            publish(&node.store, stored, lead, ex, zone, &served)
        }
        Err(body) => {
            let len = body.len();
            let ReplyBody::Stream { body, .. } = body else {
                return error_page::reply(ex, &Failure::internal("body_form"));
            };
            let rest = fill::Rest::of(ex, zone, &head, len);
            let (writer, reader) = node.store.start_fill(head, len, true);
            let object_bytes_max = object_bytes_max(ex, zone);
            tokio::spawn(fill::pump(body, writer, lead, node.store.clone(), object_bytes_max, rest));
            deliver::filling(ex, zone, reader, len, &served)
        }
    }
}

/// Notes that what is being stored answers other queries too, where it says so.
fn learn_equivalent(ex: &Exchange, zone: &LiveZone, headers: &HeaderMap) {
    let node = &ex.worker.node;
    if zone.zone.cache.no_vary_search
        && let Some(rule) = NoVarySearch::from_headers(headers)
        && let Some(bound) = node.equivalents.insert(&key_of(ex, zone), node.key_seed, rule)
    {
        ex.worker.metrics.labelled.count("cache_equivalents_dropped", bound);
    }
}

fn publish(
    store: &archipel_cache::Store<Meta>,
    stored: Arc<Stored<Meta>>,
    lead: Option<LeaderGuard<Meta>>,
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    served: &Served,
) -> Reply {
    // A refusal (purged meanwhile, no room) is counted by the store; the response is served all the same.
    let _ = store.insert_shared(&stored);
    if let Some(guard) = lead {
        guard.publish_stored(&stored);
    }
    let age = stored.meta.facts.current_age(unix(SystemTime::now()));
    deliver::stored(ex, zone, &stored, age, served)
}

pub(super) fn forget_uncacheable(ex: &Exchange, zone: &LiveZone) {
    let key = key_of(ex, zone);
    let node = &ex.worker.node;
    node.flights.forget_uncacheable(&key_ref(ex, &key));
}

/// What a HEAD reply says about a stored GET response (RFC 9111 section 4.3.5).
fn head_effect(ex: &Exchange, zone: &LiveZone, plan: &Plan, reply: &OriginReply) {
    if ex.asked.method != Method::HEAD || matches!(plan.kind, Kind::Bypass) {
        return;
    }
    let Some(stored) = plan.stale() else { return };
    let node = &ex.worker.node;
    let mut headers = reply.headers.clone();
    if let ReplyBody::Omitted { len: Some(len) } = reply.body {
        headers.insert(http::header::CONTENT_LENGTH, http::HeaderValue::from(len));
    }
    match validate::head_effect(reply.status, &headers, &stored.meta.facts, stored.meta.complete(stored.body())) {
        HeadEffect::Freshen if storage::may_freshen(stored.status, &headers, ex.policy(zone)).is_err() => {
            node.store.remove(stored);
        }
        HeadEffect::Freshen if ex.unjudged.is_some() => {}
        HeadEffect::Freshen => {
            let _ = disk::renew(&node.store, stored, freshened(ex, zone, stored, &reply.headers)(plan.stamp));
        }
        HeadEffect::Invalidate => {
            node.store.remove(stored);
        }
        HeadEffect::Ignore => {}
    }
}

/// The fields of a reply that is passed on: as they came, where none of them is for this hop or for this edge alone.
fn fields_for_visitors(zone: &LiveZone, status: StatusCode, received: ReceivedFields) -> ReplyFields {
    let tagged = purge::has_hidden_tags(zone, &received);
    let mut headers = match received.into_end_to_end() {
        Ok(lines) if !tagged => return ReplyFields::Received(lines),
        Ok(lines) => ReceivedFields::Lines(lines).into_map(),
        Err(map) => map,
    };
    if tagged {
        purge::hide_tags(&mut headers);
    }
    let upgrade = headers.get(UPGRADE).filter(|_| status == StatusCode::SWITCHING_PROTOCOLS).cloned();
    hop::remove_hop_by_hop(&mut headers);
    if let Some(upgrade) = upgrade {
        headers.insert(UPGRADE, upgrade);
    }
    ReplyFields::Owned(headers)
}

/// A reply that is not stored goes through as it is, hop-by-hop fields excepted.
pub(super) fn pass(
    ex: &mut Exchange,
    zone: &LiveZone,
    mut plan: Plan,
    reply: OriginReply,
    reason: Option<&'static str>,
) -> Reply {
    if let Some(guard) = plan.lead.take() {
        // An error is no property of the resource, nor is a range that does not exist: the next request tries again.
        // Nor is whom the managed rules pass by.
        let remembered = !reply.status.is_server_error()
            && reply.status != StatusCode::RANGE_NOT_SATISFIABLE
            && ex.unjudged.is_none();
        guard.publish_uncacheable(remembered.then(|| hit_for_miss_until(ex, zone)));
    }
    let mut out = Reply::new(reply.status);
    out.fields = fields_for_visitors(zone, reply.status, reply.headers);
    if zone.zone.headers.via {
        out.add(http::header::VIA, origin::via(reply.version));
    }
    out.body = reply.body;
    codings::pass(ex, zone, &mut out);
    let bypassed = matches!(plan.kind, Kind::Bypass);
    // Not stored, but by nobody's wish: a part, or more than fits.
    let storable = matches!(reason, None | Some("too_large" | "partial"));
    if !bypassed && storable && ex.policy(zone).browser_ttl != BrowserTtl::Respect {
        let age = archipel_http::freshness::age_field(&out.headers()).unwrap_or(0);
        deliver::for_browser(ex, zone, &mut out, age);
    }
    let as_asked = match plan.kind {
        Kind::AsAsked(_) if ex.asked.method == Method::HEAD => Some("head_request"),
        Kind::AsAsked(_) => Some("range_request"),
        _ => None,
    };
    if let Some(reason) = reason.or(as_asked) {
        ex.reason = Some(reason);
        ex.count(reasons::NOT_STORED, reason);
        ex.note("cache", "not stored", || reason.to_owned());
    }
    let served = Served {
        result: if bypassed { CacheResult::Bypass } else { CacheResult::Uncacheable },
        forward: Some(plan.why),
        forward_status: None,
        is_stored: false,
        collapsed: plan.collapsed,
        detail: reason,
    };
    deliver::mark(ex, zone, &mut out, &served, None);
    out
}
