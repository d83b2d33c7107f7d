//! What an origin's reply, or its failure, means for the store and for the client.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::SystemTime;

use archipel_cache::{Body, Head, KeyRef, LeaderGuard, PurgeKind, Stored};
use archipel_http::reuse::{self, OriginFailure};
use archipel_http::storage::{self, NotStored, Storable, StoreRequest};
use archipel_http::stored::StoredMeta;
use archipel_http::targeted::ResponseControl;
use archipel_http::validate::{self, HeadEffect};
use archipel_http::{hop, invalidation};
use archipel_transport::message::{FrozenFields, Reply, ReplyBody, ReplyFields};
use archipel_transport::origin::{OriginError, OriginReply};
use bytes::Bytes;
use http::header::{AGE, ETAG, LAST_MODIFIED, UPGRADE};
use http::{HeaderMap, Method, StatusCode};

use super::deliver::{self, Served};
use super::{Kind, Meta, Plan, codings, fill, key_of};
use crate::error_page::{self, Failure};
use crate::exchange::{CacheResult, Exchange, unix};
use crate::live::LiveZone;
use crate::origin;
use crate::route::Route;

/// How long a key is remembered as uncacheable, in seconds: requests for it are not held up for each other.
const HIT_FOR_MISS_SECONDS: u64 = 10;

/// Turns what came from the origin into the reply to the client, and stores what may be stored.
pub(crate) async fn on_reply(
    ex: &mut Exchange,
    route: &Route,
    mut plan: Plan,
    fetched: Result<OriginReply, OriginError>,
) -> ControlFlow<Reply, Reply> {
    let zone = route.zone.clone();
    let mut reply = match fetched {
        Ok(reply) => reply,
        Err(error) => return ControlFlow::Break(failed(ex, &zone, plan, &error)),
    };
    invalidate(ex, &zone, &reply);
    if reply.status == StatusCode::NOT_MODIFIED && plan.validates().is_some() {
        match revalidated(ex, &zone, &mut plan, &reply) {
            Some(answer) => return ControlFlow::Continue(answer),
            // The 304 speaks of something else than what is stored (RFC 9111 section 4.3.4): ask again, without condition.
            None => {
                plan.kind = Kind::Whole(None);
                let again = origin::request(ex, route, &plan);
                match origin::fetch(ex, route, again).await {
                    Ok(again) => reply = again,
                    Err(error) => return ControlFlow::Break(failed(ex, &zone, plan, &error)),
                }
            }
        }
    }
    if let Some(answer) = stale_for_error(ex, &zone, &mut plan, OriginFailure::Status(reply.status)) {
        return ControlFlow::Continue(answer);
    }
    let whole = matches!(plan.kind, Kind::Whole(_)) && ex.asked.method == Method::GET;
    if !whole && may_be_stored_post(ex, &zone, &reply) {
        // What this request itself has just made invalid is older than its reply.
        plan.stamp = ex.worker.node.store.stamp();
    } else if !whole {
        head_effect(ex, &zone, &plan, &reply);
        return ControlFlow::Continue(pass(ex, &zone, plan, reply, None));
    }
    let now = unix(SystemTime::now());
    let request_time = ex.now();
    let asked = StoreRequest {
        method: &ex.asked.method,
        headers: &ex.asked.headers,
        scheme: ex.asked.scheme,
        host: &ex.asked.authority,
        path_and_query: &ex.asked.path_and_query,
        request_time,
    };
    let too_large = reply.body.len().is_some_and(|n| n > zone.policy.object_bytes_max);
    let decided = match storage::may_store(&asked, reply.status, &reply.headers, &zone.policy, now) {
        Ok(_) if too_large => Err(NotStored::TooLarge.as_str()),
        Ok(_) if deceives(ex.asked.path(), &reply.headers) => Err("content_type_mismatch"),
        Ok(storable) => Ok(storable),
        Err(reason) => Err(reason.as_str()),
    };
    ControlFlow::Continue(match decided {
        Ok(storable) => store(ex, &zone, plan, reply, storable),
        Err(reason) => pass(ex, &zone, plan, reply, Some(reason)),
    })
}

/// A reply to POST that says how long it is fresh and that it is what a GET would give (RFC 9110 section 9.3.3).
fn may_be_stored_post(ex: &Exchange, zone: &LiveZone, reply: &OriginReply) -> bool {
    zone.zone.cache.enabled
        && zone.policy.store_post
        && ex.asked.method == Method::POST
        && ex.asked.upgrade.is_none()
        && reply.status.is_success()
        && reply.headers.contains_key(http::header::CONTENT_LOCATION)
        // A body that still streams may have the request's own body behind it, which belongs to the connection.
        && matches!(reply.body, ReplyBody::Full(_) | ReplyBody::Empty)
}

/// Extensions of files that are never pages.
const STATIC: [&str; 22] = [
    "css", "js", "mjs", "map", "png", "jpg", "jpeg", "gif", "webp", "avif", "svg", "ico", "woff", "woff2", "ttf",
    "otf", "mp3", "mp4", "webm", "pdf", "zip", "gz",
];

/// Cache deception: a page about a person, asked for under a name that looks like a static file
/// (`/account/x.css` where the origin ignores the end of the path). A page under such a name is not stored.
fn deceives(path: &str, headers: &HeaderMap) -> bool {
    let extension = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, extension)| extension);
    let looks_static = extension.is_some_and(|found| STATIC.iter().any(|known| known.eq_ignore_ascii_case(found)));
    let is_page = || {
        let content_type = headers.get(http::header::CONTENT_TYPE).map_or(&b""[..], |v| v.as_bytes());
        let essence = content_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        essence.eq_ignore_ascii_case(b"text/html") || essence.eq_ignore_ascii_case(b"application/xhtml+xml")
    };
    looks_static && is_page()
}

/// No reply: something stale where that is allowed, else the error.
fn failed(ex: &mut Exchange, zone: &LiveZone, mut plan: Plan, error: &OriginError) -> Reply {
    if !matches!(error, OriginError::RequestBody(_))
        && let Some(answer) = stale_for_error(ex, zone, &mut plan, OriginFailure::Unreachable)
    {
        return answer;
    }
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

/// A stored response that may stand in for a failure (RFC 9111 section 4.2.4, RFC 5861 section 4).
fn stale_for_error(ex: &mut Exchange, zone: &LiveZone, plan: &mut Plan, failure: OriginFailure) -> Option<Reply> {
    let stored = plan.stale()?.clone();
    let now = unix(SystemTime::now());
    let age =
        reuse::may_serve_stale_on_error(&ex.asked.headers, &stored.meta.facts, failure, &zone.policy, now).ok()?;
    if let Some(guard) = plan.lead.take() {
        guard.publish_stored(&stored);
    }
    let (forward_status, detail) = match failure {
        OriginFailure::Status(status) => (Some(status.as_u16()), "origin_error"),
        OriginFailure::Unreachable => (None, "origin_unreachable"),
    };
    let served = Served {
        result: CacheResult::Stale,
        forward: Some(plan.why),
        forward_status,
        is_stored: false,
        collapsed: plan.collapsed,
        detail: Some(detail),
    };
    Some(deliver::stored(ex, zone, &stored, age, &served))
}

/// An unsafe method that succeeded makes what is stored invalid (RFC 9111 section 4.4).
fn invalidate(ex: &Exchange, zone: &LiveZone, reply: &OriginReply) {
    if !invalidation::invalidates(&ex.asked.method, reply.status) {
        return;
    }
    let node = &ex.worker.node;
    let key = key_of(ex, zone);
    node.store.purge_key(&KeyRef::new(&key, node.key_seed), PurgeKind::Hard);
    let others =
        invalidation::also_invalidated(ex.asked.scheme, &ex.asked.authority, &ex.asked.path_and_query, &reply.headers);
    for target in others {
        let mut key = key_of(ex, zone);
        key.path_and_query =
            if zone.zone.cache.ignore_query { target.split('?').next().unwrap_or("/") } else { &target };
        node.store.purge_key(&KeyRef::new(&key, node.key_seed), PurgeKind::Hard);
    }
}

/// 304 to our own condition: the stored response lives on with new fields. `None` where the 304 speaks of another.
fn revalidated(ex: &mut Exchange, zone: &LiveZone, plan: &mut Plan, reply: &OriginReply) -> Option<Reply> {
    let stored = plan.stale()?.clone();
    if !validate::selects_stored(&reply.headers, &stored.meta.facts) {
        return None;
    }
    let fresh = freshened(ex, zone, &stored, &reply.headers);
    if let Err(reason) = storage::may_freshen(&reply.headers, &zone.policy) {
        return Some(confirmed_for_one(ex, zone, plan, &stored, fresh, reason));
    }
    let node = &ex.worker.node;
    let kept = node.store.replace(&stored, fresh(plan.stamp)).unwrap_or(stored);
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

/// A 304 whose fields may not be shared: the stored body with them goes to this client, and out of the store.
fn confirmed_for_one(
    ex: &mut Exchange,
    zone: &LiveZone,
    plan: &mut Plan,
    stored: &Arc<Stored<Meta>>,
    fresh: impl FnOnce(archipel_cache::PurgeStamp) -> Head<Meta>,
    reason: NotStored,
) -> Reply {
    ex.worker.node.store.remove(stored);
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
        detail: Some(reason.as_str()),
    };
    ex.reason = Some(reason.as_str());
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
    let control = ResponseControl::from_headers(update, &zone.policy.targeted);
    let mut headers = stored.meta.fields.map.clone();
    validate::freshen(&mut headers, update, &control.directives);
    if let Some(age) = update.get(AGE) {
        headers.insert(AGE, age.clone());
    }
    let mut facts = StoredMeta::build(stored.status, &headers, &zone.policy, ex.now(), unix(SystemTime::now()));
    headers.remove(AGE);
    let length = Some(stored.body().len());
    let forms = codings::describe(ex, zone, stored.status, &mut headers, &mut facts, length, Some(&stored.meta));
    head(ex, zone, stored.status, &headers, facts, forms)
}

fn head(
    ex: &Exchange,
    zone: &LiveZone,
    status: StatusCode,
    headers: &HeaderMap,
    mut facts: StoredMeta,
    forms: codings::Forms,
) -> impl FnOnce(archipel_cache::PurgeStamp) -> Head<Meta> + use<> {
    let node = &ex.worker.node;
    let key = key_of(ex, zone);
    let at = KeyRef::new(&key, node.key_seed);
    let (hash, zone_id, host) = (at.hash, at.zone, at.host);
    let text = key.text();
    let vary = facts.vary.select(&ex.asked.headers, headers);
    let variant: Box<[u8]> = match facts.vary.fields() {
        [] => Box::default(),
        _ => Box::from(facts.vary.variant_hash(&ex.asked.headers, node.key_seed).to_le_bytes()),
    };
    let fields = Arc::new(FrozenFields::new(headers));
    // The facts hold validators: those of the frozen fields, so that the network buffer is let go.
    facts.etag = fields.map.get(ETAG).cloned();
    facts.last_modified = fields.map.get(LAST_MODIFIED).cloned();
    let meta_bytes = fields.heap_bytes() + vary.heap_bytes();
    let stored_at = u64::try_from(facts.response_time.0).unwrap_or(0);
    move |stamp| Head {
        hash,
        key: text,
        zone: zone_id,
        host,
        stamp,
        status,
        headers: HeaderMap::new(),
        frozen_head: Bytes::new(),
        variant,
        stored_at,
        meta: Meta { facts, vary, fields, forms },
        meta_bytes,
    }
}

/// A response that may be stored: into the store, and to whoever waits for it.
fn store(ex: &mut Exchange, zone: &Arc<LiveZone>, mut plan: Plan, reply: OriginReply, mut storable: Storable) -> Reply {
    let mut headers = storage::fields_to_store(&reply.headers, &storable.control.directives, &zone.policy);
    if zone.zone.headers.via {
        headers.append(http::header::VIA, origin::via(reply.version));
    }
    let length = reply.body.len();
    let forms = codings::describe(ex, zone, reply.status, &mut headers, &mut storable.meta, length, None);
    let head = head(ex, zone, reply.status, &headers, storable.meta, forms)(plan.stamp);
    let node = ex.worker.node.clone();
    let served = Served {
        result: CacheResult::Miss,
        forward: Some(plan.why),
        forward_status: None,
        is_stored: true,
        collapsed: plan.collapsed,
        detail: None,
    };
    ex.note("cache", "store", || format!("fresh for {} s", head.meta.facts.lifetime.seconds));
    let lead = plan.lead.take();
    forget_uncacheable(ex, zone);
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
            let (writer, reader) = node.store.start_fill(head, len, true);
            let filling = lead.map(|guard| guard.publish_fill(writer.fill()));
            let object_bytes_max = zone.policy.object_bytes_max;
            tokio::spawn(fill::pump(body, writer, filling, node.store.clone(), object_bytes_max));
            deliver::filling(ex, zone, reader, len, &served)
        }
    }
}

fn publish(
    store: &archipel_cache::Store<Meta>,
    stored: Arc<Stored<Meta>>,
    lead: Option<LeaderGuard<Meta>>,
    ex: &mut Exchange,
    zone: &LiveZone,
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

fn forget_uncacheable(ex: &Exchange, zone: &LiveZone) {
    let key = key_of(ex, zone);
    let node = &ex.worker.node;
    node.flights.forget_uncacheable(&KeyRef::new(&key, node.key_seed));
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
    match validate::head_effect(reply.status, &headers, &stored.meta.facts, Some(stored.body().len())) {
        HeadEffect::Freshen if storage::may_freshen(&headers, &zone.policy).is_err() => {
            node.store.remove(stored);
        }
        HeadEffect::Freshen => {
            let _ = node.store.replace(stored, freshened(ex, zone, stored, &reply.headers)(plan.stamp));
        }
        HeadEffect::Invalidate => {
            node.store.remove(stored);
        }
        HeadEffect::Ignore => {}
    }
}

/// A reply that is not stored goes through as it is, hop-by-hop fields excepted.
fn pass(ex: &mut Exchange, zone: &LiveZone, mut plan: Plan, reply: OriginReply, reason: Option<&'static str>) -> Reply {
    if let Some(guard) = plan.lead.take() {
        // An error is no property of the resource: the next request tries again.
        let remembered = !reply.status.is_server_error();
        let now = u64::try_from(ex.now().0).unwrap_or(0);
        guard.publish_uncacheable(remembered.then_some(now + HIT_FOR_MISS_SECONDS));
    }
    let upgrade = reply.headers.get(UPGRADE).filter(|_| reply.status == StatusCode::SWITCHING_PROTOCOLS).cloned();
    let mut headers = reply.headers;
    hop::remove_hop_by_hop(&mut headers);
    if let Some(upgrade) = upgrade {
        headers.insert(UPGRADE, upgrade);
    }
    if zone.zone.headers.via {
        headers.append(http::header::VIA, origin::via(reply.version));
    }
    let mut out = Reply::new(reply.status);
    out.fields = ReplyFields::Owned(headers);
    out.body = reply.body;
    codings::pass(ex, zone, &mut out);
    let bypassed = matches!(plan.kind, Kind::Bypass);
    let served = Served {
        result: if bypassed { CacheResult::Bypass } else { CacheResult::Uncacheable },
        forward: Some(plan.why),
        forward_status: None,
        is_stored: false,
        collapsed: plan.collapsed,
        detail: reason,
    };
    if let Some(reason) = reason {
        ex.reason = Some(reason);
        ex.note("cache", "not stored", || reason.to_owned());
    }
    deliver::mark(ex, zone, &mut out, &served, None);
    out
}
