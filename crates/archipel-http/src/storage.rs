//! Whether a response may be stored, and which of its fields (RFC 9111 section 3).
//!
//! Owns the storage decision and its reasons. Must never decide about reuse: see [`crate::reuse`].

use http::header::{self, HeaderMap};
use http::method::Method;
use http::status::StatusCode;

use crate::cache_control::{CacheControl, RequestDirectives};
use crate::date::UnixSeconds;
use crate::fields::Fields;
use crate::freshness::{self, LifetimeBasis};
use crate::hop;
use crate::invalidation;
use crate::policy::{Policy, SetCookie};
use crate::reuse;
use crate::stored::StoredMeta;
use crate::target::Scheme;
use crate::targeted::ResponseControl;
use crate::vary::VarySpec;

/// What storing needs to know about the request.
#[derive(Copy, Clone, Debug)]
pub struct StoreRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The header fields as the client sent them: preconditions and `Authorization` included.
    pub headers: &'a HeaderMap,
    /// The scheme of the target.
    pub scheme: Scheme,
    /// The canonical host of the target, with a port that is not the scheme's default.
    pub host: &'a str,
    /// The canonical path and query of the target.
    pub path_and_query: &'a str,
    /// When the request was sent to the origin.
    pub request_time: UnixSeconds,
}

/// A response that may be stored.
#[derive(Clone, Debug)]
pub struct Storable {
    /// The facts for reuse.
    pub meta: StoredMeta,
    /// The directives, for [`retain_storable_fields`].
    pub control: ResponseControl,
}

/// Why a response is not stored.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum NotStored {
    /// The method's responses are not stored.
    Method,
    /// A POST response that does not state that it is what a GET would give.
    PostNotGet,
    /// The request said `no-store`.
    RequestNoStore,
    /// An interim response.
    Interim,
    /// A 304, which freshens but is not stored.
    NotModified,
    /// A 206 or 416, or another reply about ranges. A 206 may be stored as a part: [`crate::partial::may_store_part`].
    Partial,
    /// A 412, which speaks about this request's preconditions.
    Precondition,
    /// The status' specification forbids it (428, 429, 431, 511: RFC 6585).
    StatusForbids,
    /// `must-understand` with a status that this cache does not know.
    StatusNotUnderstood,
    /// `no-store`
    NoStore,
    /// `private`
    Private,
    /// A request with `Authorization` and a response that does not permit sharing (RFC 9111 section 3.5).
    Authorization,
    /// `Set-Cookie`, and the zone does not share those.
    SetCookie,
    /// `Vary: *`
    VaryAny,
    /// The status is not heuristically cacheable and nothing states freshness.
    NoExplicitFreshness,
    /// Never fresh and without a validator: could never be used.
    Useless,
    /// Longer than the zone's limit.
    TooLarge,
}

impl NotStored {
    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            NotStored::Method => "method",
            NotStored::PostNotGet => "post_not_get",
            NotStored::RequestNoStore => "request_no_store",
            NotStored::Interim => "interim",
            NotStored::NotModified => "not_modified",
            NotStored::Partial => "partial",
            NotStored::Precondition => "precondition",
            NotStored::StatusForbids => "status_forbids",
            NotStored::StatusNotUnderstood => "status_not_understood",
            NotStored::NoStore => "no_store",
            NotStored::Private => "private",
            NotStored::Authorization => "authorization",
            NotStored::SetCookie => "set_cookie",
            NotStored::VaryAny => "vary_any",
            NotStored::NoExplicitFreshness => "no_explicit_freshness",
            NotStored::Useless => "useless",
            NotStored::TooLarge => "too_large",
        }
    }
}

/// Decides whether a response may be stored, by RFC 9111 section 3 and the zone's policy.
///
/// `headers` are the response's fields as received, before hop-by-hop fields are removed. `response_time` is when they were
/// received.
pub fn may_store(
    request: &StoreRequest<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    policy: &Policy,
    response_time: UnixSeconds,
) -> Result<Storable, NotStored> {
    check_status(status)?;
    may_store_final(request, status, headers, policy, response_time)
}

/// What [`may_store`] refuses before it looks at freshness, from fields in whatever form: most replies that are not stored
/// need no map of their fields.
pub fn permits_storing(
    request: &StoreRequest<'_>,
    status: StatusCode,
    headers: &impl Fields,
    policy: &Policy,
) -> Result<(), NotStored> {
    check_status(status)?;
    check_permission(request, status, headers, policy).map(|_| ())
}

/// [`may_store`] without the check of the status, for a 206 that [`crate::partial`] takes.
pub(crate) fn may_store_final(
    request: &StoreRequest<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    policy: &Policy,
    response_time: UnixSeconds,
) -> Result<Storable, NotStored> {
    let control = check_permission(request, status, headers, policy)?;
    let meta = StoredMeta::with_control(status, headers, &control, policy, request.request_time, response_time);
    if meta.vary == VarySpec::Any {
        return Err(NotStored::VaryAny);
    }
    check_freshness(request.method, status, &control.directives, &meta, policy)?;
    if content_length(headers).is_some_and(|length| length > policy.object_bytes_max) {
        return Err(NotStored::TooLarge);
    }
    Ok(Storable { meta, control })
}

/// Whether a stored response with this status may take on the fields of a 304 or HEAD reply: the update is held to what storing
/// is held to, or a cookie or a `private` that comes with it would be served to everybody.
///
/// # Errors
/// Why not: the stored response must go, and the reply is for its own client alone.
pub fn may_freshen(status: StatusCode, update: &HeaderMap, policy: &Policy) -> Result<(), NotStored> {
    let control = ResponseControl::under(policy, status, update);
    let directives = &control.directives;
    // A 304 without any directive repeats none of the permissions that the stored response was given.
    if directives.no_store {
        return Err(NotStored::NoStore);
    }
    if directives.private && directives.private_fields.is_empty() {
        return Err(NotStored::Private);
    }
    if policy.set_cookie == SetCookie::Refuse && update.contains_key(header::SET_COOKIE) {
        return Err(NotStored::SetCookie);
    }
    if VarySpec::under(&policy.vary, update) == VarySpec::Any {
        return Err(NotStored::VaryAny);
    }
    Ok(())
}

/// Whether the content of a reply may be kept beside what is stored of the same representation (RFC 9111 section 3.4): whoever
/// asked for it may have got it for themselves alone.
///
/// # Errors
/// Why not: the reply is for its own client alone. What is stored may stay.
pub fn may_add(
    request: &StoreRequest<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    policy: &Policy,
) -> Result<(), NotStored> {
    may_freshen(status, headers, policy)?;
    if policy.honour_request_directives && RequestDirectives::from_headers(request.headers).no_store {
        return Err(NotStored::RequestNoStore);
    }
    let control = ResponseControl::under(policy, status, headers);
    let is_shared = may_share(&control.directives) || !request.headers.contains_key(header::AUTHORIZATION);
    if is_shared { Ok(()) } else { Err(NotStored::Authorization) }
}

/// Whether a response permits that others get it than who asked with `Authorization` (RFC 9111 section 3.5).
fn may_share(control: &CacheControl) -> bool {
    control.public || control.s_maxage.is_some() || control.must_revalidate
}

fn check_status(status: StatusCode) -> Result<(), NotStored> {
    match status.as_u16() {
        100..=199 => Err(NotStored::Interim),
        206 | 416 => Err(NotStored::Partial),
        304 => Err(NotStored::NotModified),
        412 => Err(NotStored::Precondition),
        428 | 429 | 431 | 511 => Err(NotStored::StatusForbids),
        _ => Ok(()),
    }
}

fn check_permission(
    request: &StoreRequest<'_>,
    status: StatusCode,
    headers: &impl Fields,
    policy: &Policy,
) -> Result<ResponseControl, NotStored> {
    check_method(request, headers, policy)?;
    if policy.honour_request_directives && RequestDirectives::from_headers(request.headers).no_store {
        return Err(NotStored::RequestNoStore);
    }
    let control = ResponseControl::under(policy, status, headers);
    check_directives(request, status, headers, &control.directives, policy)?;
    Ok(control)
}

fn check_method(request: &StoreRequest<'_>, headers: &impl Fields, policy: &Policy) -> Result<(), NotStored> {
    if *request.method == Method::GET {
        return Ok(());
    }
    if *request.method != Method::POST || !policy.store_post {
        return Err(NotStored::Method);
    }
    // RFC 9110 section 9.3.3: explicit freshness (checked later) and a Content-Location equal to the target.
    let mut locations = headers.values_of(&header::CONTENT_LOCATION);
    let (Some(location), None) = (locations.next(), locations.next()) else {
        return Err(NotStored::PostNotGet);
    };
    let resolved = invalidation::same_origin_target(request.scheme, request.host, request.path_and_query, location);
    match resolved {
        Some(target) if target == request.path_and_query => Ok(()),
        _ => Err(NotStored::PostNotGet),
    }
}

fn check_directives(
    request: &StoreRequest<'_>,
    status: StatusCode,
    headers: &impl Fields,
    control: &CacheControl,
    policy: &Policy,
) -> Result<(), NotStored> {
    // `must-understand` takes the place of `no-store` where the status is understood (RFC 9111 section 5.2.2.3).
    if control.must_understand && !is_understood(status) {
        return Err(NotStored::StatusNotUnderstood);
    }
    if control.no_store && !control.must_understand {
        return Err(NotStored::NoStore);
    }
    if control.private {
        return Err(NotStored::Private);
    }
    if request.headers.contains_key(header::AUTHORIZATION) && !may_share(control) {
        return Err(NotStored::Authorization);
    }
    let cookie_field_kept = headers.has(&header::SET_COOKIE)
        && !control.no_cache_fields.contains(&header::SET_COOKIE)
        && !control.private_fields.contains(&header::SET_COOKIE);
    if cookie_field_kept && policy.set_cookie == SetCookie::Refuse {
        return Err(NotStored::SetCookie);
    }
    Ok(())
}

fn check_freshness(
    method: &Method,
    status: StatusCode,
    control: &CacheControl,
    meta: &StoredMeta,
    policy: &Policy,
) -> Result<(), NotStored> {
    let explicit = meta.lifetime.basis.is_explicit();
    // The response has to say it: a zone's default lifetime is meant for what GET gives.
    if *method == Method::POST && (!explicit || meta.lifetime.basis == LifetimeBasis::Rule) {
        return Err(NotStored::NoExplicitFreshness);
    }
    let storable = explicit || control.public || freshness::is_heuristically_cacheable(status);
    if !storable {
        return Err(NotStored::NoExplicitFreshness);
    }
    let may_be_served_stale =
        !meta.forbids_stale() && (meta.stale_while_revalidate > 0 || meta.stale_if_error.is_some_and(|s| s > 0));
    let ever_fresh = !meta.no_cache && meta.lifetime.seconds > meta.corrected_initial_age;
    let keeps_site_online = reuse::may_stand_in(meta, policy).is_some();
    if ever_fresh || may_be_served_stale || keeps_site_online || meta.has_validator() {
        Ok(())
    } else {
        Err(NotStored::Useless)
    }
}

/// Whether this cache knows what the status means for caching, as `must-understand` asks (RFC 9111 section 5.2.2.3).
pub fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203
            | 204
            | 300
            | 301
            | 302
            | 303
            | 307
            | 308
            | 400
            | 401
            | 403
            | 404
            | 405
            | 406
            | 410
            | 414
            | 421
            | 451
            | 500
            | 501
            | 502
            | 503
            | 504
    )
}

/// The content's length, where one valid `Content-Length` states it.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CONTENT_LENGTH)?.as_bytes();
    let digits = !value.is_empty() && value.len() <= 19 && value.iter().all(u8::is_ascii_digit);
    digits.then(|| value.iter().fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0')))
}

/// Takes out of a response what is not stored (RFC 9111 section 3.1): hop-by-hop fields, those that a qualified `no-cache` or
/// `private` names, `Age` (the stored facts hold it), `Set-Cookie` where the policy strips it.
pub fn retain_storable_fields(headers: &mut HeaderMap, control: &CacheControl, policy: &Policy) {
    hop::remove_hop_by_hop(headers);
    headers.remove(header::TE);
    headers.remove(header::AGE);
    for name in control.no_cache_fields.iter().chain(&control.private_fields) {
        headers.remove(name);
    }
    if policy.set_cookie == SetCookie::Strip {
        headers.remove(header::SET_COOKIE);
    }
}

/// A copy of the fields that are stored: see [`retain_storable_fields`].
pub fn fields_to_store(headers: &HeaderMap, control: &CacheControl, policy: &Policy) -> HeaderMap {
    let mut stored = headers.clone();
    retain_storable_fields(&mut stored, control, policy);
    stored
}

#[cfg(test)]
#[path = "storage_tests.rs"]
mod tests;
