//! Replies made from stored responses.

use std::sync::Arc;

use archipel_cache::{FillReader, Stored};
use archipel_http::browser;
use archipel_http::cache_status::{CACHE_STATUS, CacheStatus, Forward};
use archipel_http::range::{self, ByteRange, RangeOutcome};
use archipel_http::validate::{self, Precondition, Scope};
use archipel_transport::message::{Reply, ReplyBody, ReplyFields};
use bytes::Bytes;
use http::header::{ACCEPT_RANGES, AGE, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};

use super::{Meta, codings};
use crate::body::{FillBody, TrailedBody};
use crate::error_page::PROXY_NAME;
use crate::exchange::{CacheResult, Exchange};
use crate::live::LiveZone;

/// How a response came to be served, for the log and Cache-Status.
pub(crate) struct Served {
    pub(crate) result: CacheResult,
    pub(crate) forward: Option<Forward>,
    pub(crate) forward_status: Option<u16>,
    pub(crate) is_stored: bool,
    pub(crate) collapsed: bool,
    pub(crate) detail: Option<&'static str>,
}

impl Served {
    /// From the store alone.
    pub(crate) fn stored(result: CacheResult) -> Self {
        Self { result, forward: None, forward_status: None, is_stored: false, collapsed: false, detail: None }
    }

    /// With what another request was fetching.
    pub(crate) fn collapsed(why: Forward) -> Self {
        Self {
            result: CacheResult::Collapsed,
            forward: Some(why),
            forward_status: None,
            is_stored: true,
            collapsed: true,
            detail: None,
        }
    }
}

/// Adds Cache-Status, where the zone shows it, and writes the result into the exchange.
pub(crate) fn mark(ex: &mut Exchange, zone: &LiveZone, reply: &mut Reply, served: &Served, ttl: Option<i64>) {
    ex.cache = served.result;
    if served.result.is_hit() {
        ex.reason = None;
    }
    if !zone.zone.cache.cache_status {
        return;
    }
    let status = CacheStatus {
        cache: PROXY_NAME,
        forward: served.forward,
        forward_status: served.forward_status,
        ttl,
        stored: served.is_stored,
        collapsed: served.collapsed,
        key: None,
        detail: served.detail,
    };
    reply.add(CACHE_STATUS, status.to_header_value());
}

/// A reply made from a complete stored response.
pub(crate) fn stored(
    ex: &mut Exchange,
    zone: &LiveZone,
    stored: &Arc<Stored<Meta>>,
    age: u32,
    served: &Served,
) -> Reply {
    if let Some(reply) = codings::stored(ex, zone, stored, age, served) {
        return reply;
    }
    let meta = &stored.meta;
    let mut reply = frozen(stored.status, meta);
    let headers = &ex.asked.headers;
    // Two field look-ups decide for most requests that nothing below concerns them.
    if may_have_preconditions(ex)
        && validate::evaluate(&ex.asked.method, headers, &meta.facts, Scope::Cache) == Precondition::NotModified
        && stored.status == StatusCode::OK
    {
        not_modified(&mut reply, meta);
    } else if ex.asked.method == Method::HEAD {
        reply.body = ReplyBody::Omitted { len: Some(stored.body().len()) };
    } else if stored.status == StatusCode::OK && headers.contains_key(http::header::RANGE) {
        ranged(ex, zone, stored, &mut reply);
    } else {
        reply.body = whole_of(stored);
    }
    finish(ex, zone, reply, meta, age, served)
}

/// A reply made from a response that is still coming in.
pub(crate) fn filling(
    ex: &mut Exchange,
    zone: &LiveZone,
    reader: FillReader<Meta>,
    len: Option<u64>,
    served: &Served,
) -> Reply {
    let reader = match codings::filling(ex, zone, reader, served) {
        Ok(reply) => return reply,
        Err(reader) => reader,
    };
    let head = reader.head().clone();
    let meta = &head.meta;
    let mut reply = frozen(head.status, meta);
    let not_changed = may_have_preconditions(ex)
        && head.status == StatusCode::OK
        && validate::evaluate(&ex.asked.method, &ex.asked.headers, &meta.facts, Scope::Cache)
            == Precondition::NotModified;
    if not_changed {
        not_modified(&mut reply, meta);
    } else if ex.asked.method == Method::HEAD {
        reply.body = ReplyBody::Omitted { len };
    } else {
        reply.body = ReplyBody::Stream { body: Box::pin(FillBody::new(reader)), len };
    }
    let age = meta.facts.current_age(ex.now());
    finish(ex, zone, reply, meta, age, served)
}

pub(super) fn frozen(status: StatusCode, meta: &Meta) -> Reply {
    let mut reply = Reply::new(status);
    reply.fields = ReplyFields::Frozen(meta.fields.clone());
    reply
}

pub(super) fn may_have_preconditions(ex: &Exchange) -> bool {
    use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
    ex.asked.headers.contains_key(IF_NONE_MATCH) || ex.asked.headers.contains_key(IF_MODIFIED_SINCE)
}

pub(super) fn not_modified(reply: &mut Reply, meta: &Meta) {
    reply.status = StatusCode::NOT_MODIFIED;
    reply.fields = ReplyFields::Owned(validate::not_modified_fields(&meta.fields.map));
    reply.body = ReplyBody::Empty;
}

pub(super) fn finish(
    ex: &mut Exchange,
    zone: &LiveZone,
    mut reply: Reply,
    meta: &Meta,
    age: u32,
    served: &Served,
) -> Reply {
    for_browser(ex, zone, &mut reply, age);
    reply.add(AGE, HeaderValue::from(age));
    let ttl = i64::from(meta.facts.lifetime.seconds) - i64::from(age);
    mark(ex, zone, &mut reply, served, Some(ttl));
    reply
}

/// Tells the visitor's browser how long to keep a reply, where the zone's rules say so.
pub(super) fn for_browser(ex: &Exchange, zone: &LiveZone, reply: &mut Reply, age: u32) {
    let ttl = ex.policy(zone).browser_ttl;
    if browser::applies(reply.status, reply.headers(), ttl) {
        browser::rewrite(reply.status, reply.headers_mut(), ttl, age);
    }
}

/// A whole stored body, with its trailers where it has some: in chunks then, as only these have a place for them.
pub(super) fn whole_of(stored: &Stored<Meta>) -> ReplyBody {
    let body = stored.body();
    match body.trailers() {
        None => body_of(stored, 0, body.len()),
        Some(trailers) => {
            let trailed = TrailedBody::new(body.cursor(0..body.len()), trailers.clone());
            ReplyBody::Stream { body: Box::pin(trailed), len: None }
        }
    }
}

/// A part of a stored body.
fn body_of(stored: &Stored<Meta>, first: u64, len: u64) -> ReplyBody {
    let body = stored.body();
    if len == 0 {
        return ReplyBody::Empty;
    }
    match body.list() {
        Some(segments) => ReplyBody::Segments { segments: segments.clone(), skip: first, len },
        None => {
            let mut pieces = body.cursor(first..first + len);
            ReplyBody::Full(pieces.next().unwrap_or_default())
        }
    }
}

fn ranged(ex: &Exchange, zone: &LiveZone, stored: &Stored<Meta>, reply: &mut Reply) {
    let length = stored.body().len();
    let whole = body_of(stored, 0, length);
    let headers = &ex.asked.headers;
    if !validate::if_range_holds(headers, &stored.meta.facts) {
        reply.body = whole;
        return;
    }
    let Ok(specs) = range::parse_range(&ex.asked.method, headers, zone.policy.ranges_max) else {
        reply.body = whole;
        return;
    };
    match range::evaluate(&specs, length) {
        RangeOutcome::Full(_) => reply.body = whole,
        RangeOutcome::Unsatisfiable => {
            reply.status = StatusCode::RANGE_NOT_SATISFIABLE;
            let headers = reply.headers_mut();
            headers.insert(CONTENT_RANGE, range::unsatisfied_content_range(length));
            headers.remove(CONTENT_TYPE);
            reply.body = ReplyBody::Empty;
        }
        RangeOutcome::Partial(ranges) => match ranges.as_slice() {
            [only] => {
                reply.status = StatusCode::PARTIAL_CONTENT;
                reply.headers_mut().insert(CONTENT_RANGE, only.content_range(Some(length)));
                reply.body = body_of(stored, only.first, only.len());
            }
            several => multipart(ex, stored, several, reply),
        },
    }
    reply.headers_mut().entry(ACCEPT_RANGES).or_insert(HeaderValue::from_static("bytes"));
}

/// Several ranges (RFC 9110 section 14.6). The boundary is the request's id: it cannot be foreseen by who wrote the body.
fn multipart(ex: &Exchange, stored: &Stored<Meta>, ranges: &[ByteRange], reply: &mut Reply) {
    let id = ex.id_text();
    let boundary = std::str::from_utf8(&id).unwrap_or_default();
    let content_type = stored.meta.fields.map.get(CONTENT_TYPE).cloned();
    let length = stored.body().len();
    let mut segments: Vec<Bytes> = Vec::new();
    for range in ranges {
        segments.push(Bytes::from(range::part_head(boundary, content_type.as_ref(), *range, length)));
        segments.extend(stored.body().cursor(range.first..range.last + 1));
    }
    segments.push(Bytes::from(range::part_tail(boundary)));
    let len = segments.iter().map(|s| s.len() as u64).sum();
    reply.status = StatusCode::PARTIAL_CONTENT;
    if let Ok(value) = HeaderValue::try_from(format!("multipart/byteranges; boundary={boundary}")) {
        reply.headers_mut().insert(CONTENT_TYPE, value);
    }
    reply.body = ReplyBody::Segments { segments: segments.into(), skip: 0, len };
}
