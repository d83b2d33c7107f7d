//! Preconditions of clients, and what a 304 or a HEAD reply does to a stored response.
//!
//! Owns entity-tag comparison, the precedence of RFC 9110 section 13.2.2, and freshening (RFC 9111 sections 3.2, 4.3.3 to
//! 4.3.5). Must never decide about freshness.

use http::header::{self, HeaderMap, HeaderName};
use http::method::Method;
use http::status::StatusCode;

use crate::cache_control::CacheControl;
use crate::date::{UnixSeconds, parse_http_date};
use crate::hop;
use crate::list;
use crate::storage;
use crate::stored::StoredMeta;

/// How many entity tags of one `If-Match` or `If-None-Match` are compared; those behind do not match.
pub const ENTITY_TAGS_MAX: usize = 256;

/// What a request's preconditions come to.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Serve the response, a range of it included where one is asked for and [`if_range_holds`].
    Serve,
    /// 304
    NotModified,
    /// 412
    Failed,
}

/// Which preconditions apply.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that a cache evaluates: `If-None-Match` and `If-Modified-Since` (RFC 9111 section 4.3.2).
    Cache,
    /// All, for one who answers in the origin's place.
    Origin,
}

/// Evaluates a request's preconditions against a stored response, in the order of RFC 9110 section 13.2.2.
pub fn evaluate(method: &Method, request: &HeaderMap, meta: &StoredMeta, scope: Scope) -> Precondition {
    if scope == Scope::Origin && !origin_preconditions_hold(request, meta) {
        return Precondition::Failed;
    }
    let is_read = *method == Method::GET || *method == Method::HEAD;
    if request.contains_key(header::IF_NONE_MATCH) {
        let etag = meta.etag.as_ref().map(|etag| etag.as_bytes());
        return match any_tag_matches(request, header::IF_NONE_MATCH, etag, weak_match) {
            true if is_read => Precondition::NotModified,
            true if scope == Scope::Origin => Precondition::Failed,
            _ => Precondition::Serve,
        };
    }
    if is_read
        && let Some(since) = single_date(request, header::IF_MODIFIED_SINCE, meta.response_time)
        && meta.last_modified_time.unwrap_or(meta.date) <= since
    {
        return Precondition::NotModified;
    }
    Precondition::Serve
}

fn origin_preconditions_hold(request: &HeaderMap, meta: &StoredMeta) -> bool {
    if request.contains_key(header::IF_MATCH) {
        let etag = meta.etag.as_ref().map(|etag| etag.as_bytes());
        return any_tag_matches(request, header::IF_MATCH, etag, strong_match);
    }
    match single_date(request, header::IF_UNMODIFIED_SINCE, meta.response_time) {
        Some(since) => meta.last_modified_time.is_none_or(|modified| modified <= since),
        None => true,
    }
}

/// Whether `If-Range` lets a range be served (RFC 9110 section 13.1.5); true without the field. A date must equal
/// `Last-Modified` and be strong: at least one second older than `Date`.
pub fn if_range_holds(request: &HeaderMap, meta: &StoredMeta) -> bool {
    let mut lines = request.get_all(header::IF_RANGE).into_iter();
    let Some(value) = lines.next() else {
        return true;
    };
    if lines.next().is_some() {
        return false;
    }
    let value = value.as_bytes();
    if value.first() == Some(&b'"') || value.starts_with(b"W/") {
        return meta.etag.as_ref().is_some_and(|etag| strong_match(etag.as_bytes(), value));
    }
    match (parse_http_date(value, meta.response_time), meta.last_modified_time) {
        (Some(date), Some(modified)) => date == modified && modified < meta.date,
        _ => false,
    }
}

fn single_date(request: &HeaderMap, name: HeaderName, now: UnixSeconds) -> Option<UnixSeconds> {
    let mut lines = request.get_all(name).into_iter();
    let first = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    parse_http_date(first.as_bytes(), now)
}

fn any_tag_matches(
    request: &HeaderMap,
    name: HeaderName,
    etag: Option<&[u8]>,
    matches: fn(&[u8], &[u8]) -> bool,
) -> bool {
    let mut tags = list::field_members(request, name).take(ENTITY_TAGS_MAX);
    tags.any(|tag| tag == b"*" || etag.is_some_and(|etag| matches(etag, tag)))
}

/// Weak comparison (RFC 9110 section 8.8.3.2): the opaque parts are equal, weak or not.
pub fn weak_match(a: &[u8], b: &[u8]) -> bool {
    let opaque = |tag| <[u8]>::strip_prefix(tag, b"W/").unwrap_or(tag);
    opaque(a) == opaque(b)
}

/// Strong comparison: equal, both well-formed and neither weak.
pub fn strong_match(a: &[u8], b: &[u8]) -> bool {
    a == b && is_strong(a)
}

/// Whether the entity tag is well-formed and strong.
pub fn is_strong(tag: &[u8]) -> bool {
    matches!(tag, [b'"', inner @ .., b'"'] if !inner.contains(&b'"'))
}

/// Whether a 304 that answers our own conditional request speaks about the stored response (RFC 9111 section 4.3.4).
///
/// With a strong entity tag it must be the stored one. Weak validators must correspond. Without any validator it is taken to
/// speak about the one response whose validators were sent. Otherwise the 304 must not be used: ask again without condition.
pub fn selects_stored(reply: &HeaderMap, meta: &StoredMeta) -> bool {
    if let Some(etag) = reply.get(header::ETAG) {
        let stored = meta.etag.as_ref().map(|stored| stored.as_bytes());
        let etag = etag.as_bytes();
        return stored.is_some_and(|stored| if is_strong(etag) { stored == etag } else { weak_match(stored, etag) });
    }
    match (reply.get(header::LAST_MODIFIED), &meta.last_modified) {
        (Some(modified), Some(stored)) => {
            let time = parse_http_date(modified.as_bytes(), meta.response_time);
            modified == stored || (time.is_some() && time == meta.last_modified_time)
        }
        _ => true,
    }
}

/// Fields that a 304 or HEAD reply does not change: they describe the stored bytes (RFC 9111 section 3.2).
const NOT_UPDATED: [&str; 4] = ["content-length", "content-encoding", "content-range", "content-digest"];

/// Updates stored fields from a 304 or a HEAD reply (RFC 9111 section 3.2): every field of the reply replaces all stored lines
/// of its name, hop-by-hop fields, [`Age`](header::AGE) and those that describe the stored bytes excepted. Then the facts are to
/// be worked out anew with [`StoredMeta::build`].
pub fn freshen(stored: &mut HeaderMap, reply: &HeaderMap, control: &CacheControl) {
    let mut update = reply.clone();
    hop::remove_hop_by_hop(&mut update);
    update.remove(header::TE);
    update.remove(header::AGE);
    for name in control.no_cache_fields.iter().chain(&control.private_fields) {
        update.remove(name);
        stored.remove(name);
    }
    for name in NOT_UPDATED {
        update.remove(name);
    }
    for name in update.keys() {
        let mut values = update.get_all(name).into_iter();
        if let Some(first) = values.next() {
            stored.insert(name.clone(), first.clone());
        }
        for value in values {
            stored.append(name.clone(), value.clone());
        }
    }
}

/// What a HEAD reply means for a stored GET response (RFC 9111 section 4.3.5).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum HeadEffect {
    /// It confirms the stored response: [`freshen`] it.
    Freshen,
    /// It shows that the stored response is outdated: treat that as stale.
    Invalidate,
    /// It says nothing.
    Ignore,
}

/// Decides what a HEAD reply means for a stored response. `stored_length` is the length of the stored content in bytes.
pub fn head_effect(status: StatusCode, reply: &HeaderMap, meta: &StoredMeta, stored_length: Option<u64>) -> HeadEffect {
    if status != StatusCode::OK || meta.status != StatusCode::OK {
        return HeadEffect::Ignore;
    }
    let same_etag = match (reply.get(header::ETAG), &meta.etag) {
        (Some(etag), Some(stored)) => etag == stored,
        (None, _) => true,
        (Some(_), None) => false,
    };
    let same_date = match (reply.get(header::LAST_MODIFIED), &meta.last_modified) {
        (Some(modified), Some(stored)) => modified == stored,
        (None, _) => true,
        (Some(_), None) => false,
    };
    let same_length = match (storage::content_length(reply), stored_length) {
        (Some(length), Some(stored)) => length == stored,
        _ => true,
    };
    if same_etag && same_date && same_length { HeadEffect::Freshen } else { HeadEffect::Invalidate }
}

/// The fields of a 304 made from a stored response (RFC 9110 section 15.4.5): what a 200 would have had, without the fields that
/// describe content that is not sent.
pub fn not_modified_fields(mut stored: HeaderMap) -> HeaderMap {
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
    ] {
        stored.remove(name);
    }
    stored
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
