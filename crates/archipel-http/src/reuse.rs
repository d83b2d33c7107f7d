//! Whether and how a stored response answers a request (RFC 9111 section 4, RFC 5861, RFC 8246).
//!
//! Owns the reuse decision, stale service on errors, and the conditional request to the origin. The caller has matched the key
//! and the variant ([`crate::vary`]). Must never evaluate the client's preconditions: see [`crate::validate`].

use http::header::{self, HeaderMap, HeaderName};
use http::method::Method;
use http::status::StatusCode;

use crate::cache_control::RequestDirectives;
use crate::date::UnixSeconds;
use crate::policy::{AlwaysOnline, Policy};
use crate::sink::FieldSink;
use crate::stored::StoredMeta;

/// What to do with a stored response.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Serve it. `age` is the value of `Age`.
    Fresh {
        /// Seconds.
        age: u32,
    },
    /// Serve it although stale: the client's `max-stale` permits it.
    Stale {
        /// Seconds.
        age: u32,
    },
    /// Serve it and validate in the background (RFC 5861 section 3).
    StaleWhileRevalidate {
        /// Seconds.
        age: u32,
    },
    /// Ask the origin first.
    Revalidate(Revalidate),
    /// The client wants no contact with the origin and this response cannot be used: 504 (RFC 9111 section 5.2.1.7).
    OnlyIfCached,
}

/// Why the origin has to be asked.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Revalidate {
    /// The response is stale.
    Stale,
    /// The response says `no-cache`.
    NoCache,
    /// The request says `no-cache`.
    RequestNoCache,
    /// The response is older than the request's `max-age`.
    RequestMaxAge,
    /// The response is not fresh for as long as the request's `min-fresh`.
    RequestMinFresh,
}

impl Revalidate {
    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Revalidate::Stale => "stale",
            Revalidate::NoCache => "no_cache",
            Revalidate::RequestNoCache => "request_no_cache",
            Revalidate::RequestMaxAge => "request_max_age",
            Revalidate::RequestMinFresh => "request_min_fresh",
        }
    }
}

impl Reuse {
    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reuse::Fresh { .. } => "fresh",
            Reuse::Stale { .. } => "stale",
            Reuse::StaleWhileRevalidate { .. } => "stale_while_revalidate",
            Reuse::Revalidate(_) => "revalidate",
            Reuse::OnlyIfCached => "only_if_cached",
        }
    }
}

/// Why a request is not looked up in the cache at all.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bypass {
    /// Neither GET nor HEAD.
    Method,
    /// The request asks to upgrade the connection.
    Upgrade,
}

impl Bypass {
    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Bypass::Method => "method",
            Bypass::Upgrade => "upgrade",
        }
    }
}

/// Whether a request may be answered from the cache.
pub fn may_look_up(method: &Method, headers: &HeaderMap) -> Result<(), Bypass> {
    if *method != Method::GET && *method != Method::HEAD {
        return Err(Bypass::Method);
    }
    if headers.contains_key(header::UPGRADE) && crate::hop::upgrade_protocol(headers).is_some() {
        return Err(Bypass::Upgrade);
    }
    Ok(())
}

/// The request's directives as far as the policy obeys them.
pub fn request_directives(headers: &HeaderMap, policy: &Policy) -> RequestDirectives {
    if policy.honour_request_directives {
        RequestDirectives::from_headers(headers)
    } else {
        RequestDirectives::default()
    }
}

/// Whether a request that finds nothing stored is answered with 504 rather than forwarded (`only-if-cached`).
pub fn is_only_if_cached(headers: &HeaderMap, policy: &Policy) -> bool {
    request_directives(headers, policy).only_if_cached
}

/// Decides what to do with a stored response whose key and variant match the request.
pub fn decide(headers: &HeaderMap, meta: &StoredMeta, policy: &Policy, now: UnixSeconds) -> Reuse {
    let request = request_directives(headers, policy);
    decide_with(&request, meta, now)
}

/// [`decide`] with directives that are parsed already; default ones mean a request without any.
pub fn decide_with(request: &RequestDirectives, meta: &StoredMeta, now: UnixSeconds) -> Reuse {
    let age = meta.current_age(now);
    let reason = match reason_to_ask(request, meta, age) {
        None => return Reuse::Fresh { age },
        Some(reason) => reason,
    };
    // A client that names how fresh a response must be does not take a stale one.
    if reason == Revalidate::Stale && !meta.forbids_stale() && request.min_fresh.is_none() {
        let stale_for = age.saturating_sub(meta.lifetime.seconds);
        if stale_for < meta.stale_while_revalidate {
            return Reuse::StaleWhileRevalidate { age };
        }
        if request.max_stale.is_some_and(|max| stale_for <= max) {
            return Reuse::Stale { age };
        }
    }
    if request.only_if_cached {
        return Reuse::OnlyIfCached;
    }
    Reuse::Revalidate(reason)
}

fn reason_to_ask(request: &RequestDirectives, meta: &StoredMeta, age: u32) -> Option<Revalidate> {
    if meta.no_cache {
        return Some(Revalidate::NoCache);
    }
    if request.no_cache {
        return Some(Revalidate::RequestNoCache);
    }
    let fresh_for = meta.lifetime.seconds.saturating_sub(age);
    let fresh = fresh_for > 0;
    // A reload of what is fresh and immutable need not reach the origin (RFC 8246 section 2).
    let reload_of_immutable = fresh && meta.immutable && request.max_age == Some(0);
    if let Some(max_age) = request.max_age
        && !reload_of_immutable
        && (age > max_age || max_age == 0)
    {
        return Some(Revalidate::RequestMaxAge);
    }
    if request.min_fresh.is_some_and(|min| fresh_for < min) && fresh {
        return Some(Revalidate::RequestMinFresh);
    }
    (!fresh).then_some(Revalidate::Stale)
}

/// What went wrong with the origin.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OriginFailure {
    /// No usable reply: connection refused, reset, timed out, malformed.
    Unreachable,
    /// A reply with this status.
    Status(StatusCode),
}

/// Why a stale response may not stand in for an error.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum StaleRefused {
    /// `no-cache`, `must-revalidate`, `proxy-revalidate` or `s-maxage` forbids it (RFC 9111 section 4.2.4).
    Forbidden,
    /// The status is none of 500, 502, 503, 504 (RFC 5861 section 4).
    NotAnError,
    /// Nobody permits it.
    NotPermitted,
    /// Stale for longer than permitted.
    TooOld,
    /// The request asks for a validated response.
    Request,
}

impl StaleRefused {
    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            StaleRefused::Forbidden => "forbidden",
            StaleRefused::NotAnError => "not_an_error",
            StaleRefused::NotPermitted => "not_permitted",
            StaleRefused::TooOld => "too_old",
            StaleRefused::Request => "request",
        }
    }
}

/// Whether a stored response may stand in for a failure of the origin; `Ok` holds its age in seconds.
///
/// The response's own `stale-if-error` rules, then the request's, then the policy: its default where the origin replied with
/// an error, its limit for a disconnected cache where the origin gave no reply.
pub fn may_serve_stale_on_error(
    headers: &HeaderMap,
    meta: &StoredMeta,
    failure: OriginFailure,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<u32, StaleRefused> {
    if let OriginFailure::Status(status) = failure
        && !is_stale_if_error_status(status)
    {
        return Err(StaleRefused::NotAnError);
    }
    if meta.forbids_stale() {
        return Err(StaleRefused::Forbidden);
    }
    let request = request_directives(headers, policy);
    if request.no_cache {
        return Err(StaleRefused::Request);
    }
    let unreachable = match failure {
        OriginFailure::Unreachable => policy.stale_if_unreachable_seconds,
        OriginFailure::Status(_) => None,
    };
    let permitted = meta.stale_if_error.into_iter().chain(request.stale_if_error).chain(unreachable).max();
    let permitted = permitted.ok_or(StaleRefused::NotPermitted)?;
    let age = meta.current_age(now);
    if age.saturating_sub(meta.lifetime.seconds) > permitted {
        return Err(StaleRefused::TooOld);
    }
    Ok(age)
}

/// Whether the last good response stands in for a failure of the origin because its zone is always online; `Ok` holds its age in
/// seconds. To be asked where [`may_serve_stale_on_error`] says no.
pub fn may_serve_always_online(
    headers: &HeaderMap,
    meta: &StoredMeta,
    failure: OriginFailure,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<u32, StaleRefused> {
    if let OriginFailure::Status(status) = failure
        && !status.is_server_error()
    {
        return Err(StaleRefused::NotAnError);
    }
    if policy.always_online == AlwaysOnline::Off {
        return Err(StaleRefused::NotPermitted);
    }
    let permitted = may_stand_in(meta, policy).ok_or(StaleRefused::Forbidden)?;
    if request_directives(headers, policy).no_cache {
        return Err(StaleRefused::Request);
    }
    let age = meta.current_age(now);
    if age.saturating_sub(meta.lifetime.seconds) > permitted {
        return Err(StaleRefused::TooOld);
    }
    Ok(age)
}

/// For how many seconds after its end a stored response keeps its zone online: `None` where it may not, or is an error itself.
pub(crate) fn may_stand_in(meta: &StoredMeta, policy: &Policy) -> Option<u32> {
    match policy.always_online {
        _ if meta.status.is_server_error() => None,
        AlwaysOnline::Obey(seconds) if !meta.forbids_stale() => Some(seconds),
        AlwaysOnline::Always(seconds) => Some(seconds),
        AlwaysOnline::Off | AlwaysOnline::Obey(_) => None,
    }
}

/// The statuses that count as errors for `stale-if-error` (RFC 5861 section 4).
pub fn is_stale_if_error_status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// Turns a request into the one that validates a stored response (RFC 9111 section 4.3.1): the client's preconditions and
/// `Range` go, the stored validators come. Where the response has no validator the request asks for all of it anew.
pub fn make_conditional(headers: &mut HeaderMap, meta: &StoredMeta) {
    make_unconditional(headers);
    write_conditions(meta, headers);
}

/// Takes the preconditions and the range out of a request, so that the reply can be stored whole.
pub fn make_unconditional(headers: &mut HeaderMap) {
    for name in [
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::IF_RANGE,
        header::RANGE,
    ] {
        headers.remove(name);
    }
}

/// The conditions under which a stored response is asked for again: whether it is still the one.
pub fn write_conditions(meta: &StoredMeta, to: &mut impl FieldSink) {
    if let Some(etag) = &meta.etag {
        to.put(&header::IF_NONE_MATCH, etag);
    }
    if let Some(last_modified) = &meta.last_modified {
        to.put(&header::IF_MODIFIED_SINCE, last_modified);
    }
}

/// Whether a field is a precondition or the range of a request: left out where the reply is to be stored whole.
pub fn is_conditional(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::IF_MATCH
            | header::IF_NONE_MATCH
            | header::IF_MODIFIED_SINCE
            | header::IF_UNMODIFIED_SINCE
            | header::IF_RANGE
            | header::RANGE
    )
}

#[cfg(test)]
#[path = "reuse_tests.rs"]
mod tests;
