//! Replies made from stored responses.

use std::sync::Arc;

use archipel_cache::{FillReader, Stored};
use archipel_http::browser;
use archipel_http::cache_status::{CACHE_STATUS, CacheStatus, Forward};
use archipel_http::range::{self, ByteRange, RangeOutcome};
use archipel_http::validate::{self, Precondition, Scope};
use archipel_transport::message::{Reply, ReplyBody, ReplyFields};
use bytes::Bytes;
use http::header::{ACCEPT_RANGES, AGE, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderValue, Method, StatusCode};

use super::{Form, Meta, codings, disk, marks, parts, slices};
use crate::body::{FillBody, Part, PartsBody};
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

    /// Fetched, and stored.
    pub(super) fn miss(plan: &super::Plan) -> Self {
        Self {
            result: CacheResult::Miss,
            forward: Some(plan.why),
            forward_status: None,
            is_stored: true,
            collapsed: plan.collapsed,
            detail: None,
        }
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
    ex.tier = served.detail.filter(|detail| *detail == disk::DISK);
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
    reply.add(CACHE_STATUS, marks::value(status));
}

/// A reply made from a stored response.
pub(super) fn stored(
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    stored: &Arc<Stored<Meta>>,
    age: u32,
    served: &Served,
) -> Reply {
    if let Some(reply) = codings::stored(ex, zone, stored, age, served) {
        return reply;
    }
    let meta = &stored.meta;
    match &meta.form {
        Form::Whole | Form::Slice => {}
        Form::Part(part) => return parts::stored(ex, zone, stored, part, age, served),
        Form::Sliced(_) => return slices::lazily(ex, zone, stored, (None, None), served),
    }
    let mut reply = frozen(stored.status, meta);
    let length = stored.body().len();
    match shape(ex, zone, &mut reply, meta, Some(length), true) {
        Content::None => {}
        Content::Whole => reply.body = whole_of(stored),
        Content::Pieces(pieces) => reply.body = body_of_pieces(stored, &pieces),
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
    if let Form::Part(part) = &meta.form {
        return parts::filling(ex, zone, reader, part, served);
    }
    let mut reply = frozen(head.status, meta);
    match shape(ex, zone, &mut reply, meta, len, false) {
        Content::None => {}
        content => {
            let part = match &content {
                Content::Pieces(pieces) => pieces.first(),
                _ => None,
            };
            let (body, len) = match part {
                Some(Piece::Bytes(range)) => (FillBody::part(reader, range.first, range.len()), Some(range.len())),
                _ => (FillBody::new(reader), len),
            };
            reply.body = ReplyBody::Stream { body: Box::pin(body), len };
        }
    }
    let age = meta.facts.current_age(ex.now());
    finish(ex, zone, reply, meta, age, served)
}

pub(super) fn frozen(status: StatusCode, meta: &Meta) -> Reply {
    let mut reply = Reply::new(status);
    reply.fields = ReplyFields::Frozen(meta.fields.clone());
    reply
}

/// What of a response's content goes into a reply.
pub(super) enum Content {
    /// Nothing more than the reply has.
    None,
    /// All of it.
    Whole,
    /// One range, or several with text between them.
    Pieces(Vec<Piece>),
}

/// A piece of a reply's body.
pub(super) enum Piece {
    /// Bytes of the content, by position.
    Bytes(ByteRange),
    /// What stands between ranges.
    Text(Bytes),
}

/// Whether the client's preconditions find that it has the response already: then the reply is turned into a 304.
pub(super) fn is_not_modified(ex: &Exchange, reply: &mut Reply, meta: &Meta) -> bool {
    // Two field look-ups decide for most requests that nothing here concerns them.
    let not_modified = may_have_preconditions(ex)
        && validate::evaluate(&ex.asked.method, &ex.asked.headers, &meta.facts, Scope::Cache)
            == Precondition::NotModified;
    if not_modified {
        reply.status = StatusCode::NOT_MODIFIED;
        reply.fields = ReplyFields::Owned(validate::not_modified_fields(meta.fields.to_map()));
        reply.body = ReplyBody::Empty;
    }
    not_modified
}

/// Turns the reply with a complete response's fields into the one that the request asks for (304, 206, 416, or as it is) and tells
/// which content belongs to it. `length` is the content's, where known. Without `several`, a request for several ranges gets all.
pub(super) fn shape(
    ex: &Exchange,
    zone: &LiveZone,
    reply: &mut Reply,
    meta: &Meta,
    length: Option<u64>,
    several: bool,
) -> Content {
    let (ok, headers) = (reply.status == StatusCode::OK, &ex.asked.headers);
    if ok && is_not_modified(ex, reply, meta) {
        return Content::None;
    }
    if ex.asked.method == Method::HEAD {
        reply.body = ReplyBody::Omitted { len: length };
        return Content::None;
    }
    let Some(length) = length.filter(|_| ok && headers.contains_key(RANGE)) else { return Content::Whole };
    if !validate::if_range_holds(headers, &meta.facts) {
        return Content::Whole;
    }
    let outcome = match range::parse_range(&ex.asked.method, headers, ex.policy(zone).ranges_max) {
        Ok(specs) => range::evaluate(&specs, length),
        Err(ignored) => RangeOutcome::Full(ignored),
    };
    let content = match outcome {
        RangeOutcome::Full(_) => Content::Whole,
        RangeOutcome::Unsatisfiable => {
            reply.status = StatusCode::RANGE_NOT_SATISFIABLE;
            let headers = reply.headers_mut();
            headers.insert(CONTENT_RANGE, range::unsatisfied_content_range(length));
            headers.remove(CONTENT_TYPE);
            Content::None
        }
        RangeOutcome::Partial(ranges) => match ranges.as_slice() {
            [only] => {
                reply.status = StatusCode::PARTIAL_CONTENT;
                reply.headers_mut().insert(CONTENT_RANGE, only.content_range(Some(length)));
                Content::Pieces(vec![Piece::Bytes(*only)])
            }
            ranges if several => Content::Pieces(multipart(ex, meta, ranges, length, reply)),
            _ => Content::Whole,
        },
    };
    reply.headers_mut().entry(ACCEPT_RANGES).or_insert(HeaderValue::from_static("bytes"));
    content
}

fn may_have_preconditions(ex: &Exchange) -> bool {
    use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
    ex.asked.headers.contains_key(IF_NONE_MATCH) || ex.asked.headers.contains_key(IF_MODIFIED_SINCE)
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
    if browser::applies(reply.status, reply, ttl) {
        browser::rewrite(reply.status, reply.headers_mut(), ttl, age);
    }
}

/// A whole stored body, with its trailers where it has some: in chunks then, as only these have a place for them.
pub(super) fn whole_of(stored: &Stored<Meta>) -> ReplyBody {
    let body = stored.body();
    match body.trailers() {
        None => body_of(stored, 0, body.len()),
        Some(trailers) => {
            let parts = PartsBody::new([Part::Stored(body.reader(0..body.len()))]).with_trailers(trailers.clone());
            ReplyBody::Stream { body: Box::pin(parts), len: None }
        }
    }
}

/// A part of a stored body.
pub(super) fn body_of(stored: &Stored<Meta>, first: u64, len: u64) -> ReplyBody {
    let body = stored.body();
    if len == 0 {
        return ReplyBody::Empty;
    }
    match (body.in_memory(), body.list()) {
        (Some(_), Some(segments)) => ReplyBody::Segments { segments: segments.clone(), skip: first, len },
        // One piece: a range within it is a slice of it.
        (Some([only]), None) => {
            let to = (first + len).min(only.len() as u64) as usize;
            ReplyBody::Full(only.slice((first as usize).min(to)..to))
        }
        _ => {
            let parts = PartsBody::new([Part::Stored(body.reader(first..first + len))]);
            ReplyBody::Stream { body: Box::pin(parts), len: Some(len) }
        }
    }
}

fn body_of_pieces(stored: &Stored<Meta>, pieces: &[Piece]) -> ReplyBody {
    if let [Piece::Bytes(range)] = pieces {
        return body_of(stored, range.first, range.len());
    }
    let parts = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => Part::Bytes(text.clone()),
        Piece::Bytes(range) => Part::Stored(stored.body().reader(range.first..range.last + 1)),
    });
    let parts: Vec<Part> = parts.collect();
    let len = parts.iter().map(Part::len).sum();
    ReplyBody::Stream { body: Box::pin(PartsBody::new(parts)), len: Some(len) }
}

/// Several ranges (RFC 9110 section 14.6). The boundary is the request's id: it cannot be foreseen by who wrote the body.
fn multipart(ex: &Exchange, meta: &Meta, ranges: &[ByteRange], length: u64, reply: &mut Reply) -> Vec<Piece> {
    let id = ex.id_text();
    let boundary = std::str::from_utf8(&id).unwrap_or_default();
    let content_type = meta.fields.value(&CONTENT_TYPE);
    let mut pieces = Vec::with_capacity(2 * ranges.len() + 1);
    for range in ranges {
        pieces.push(Piece::Text(Bytes::from(range::part_head(boundary, content_type.as_ref(), *range, length))));
        pieces.push(Piece::Bytes(*range));
    }
    pieces.push(Piece::Text(Bytes::from(range::part_tail(boundary))));
    reply.status = StatusCode::PARTIAL_CONTENT;
    if let Ok(value) = HeaderValue::try_from(format!("multipart/byteranges; boundary={boundary}")) {
        reply.headers_mut().insert(CONTENT_TYPE, value);
    }
    pieces
}
