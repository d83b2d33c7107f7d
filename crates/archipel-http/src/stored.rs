//! What is worked out once when a response is stored, so that a hit costs a few comparisons.
//!
//! Owns [`StoredMeta`]. Must never hold the response itself.

use http::header::{self, HeaderMap, HeaderValue};
use http::status::StatusCode;

use crate::date::{DELTA_SECONDS_MAX, UnixSeconds, parse_http_date};
use crate::freshness::{self, Lifetime};
use crate::policy::Policy;
use crate::targeted::{ControlSource, ResponseControl};
use crate::vary::VarySpec;

/// The facts of a stored response that reuse, validation and freshening need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMeta {
    /// The status.
    pub status: StatusCode,
    /// When the response was received.
    pub response_time: UnixSeconds,
    /// How old it was by then, in seconds (RFC 9111 section 4.2.3).
    pub corrected_initial_age: u32,
    /// The freshness lifetime.
    pub lifetime: Lifetime,
    /// `Date`, or the time of receipt.
    pub date: UnixSeconds,
    /// `ETag` as received.
    pub etag: Option<HeaderValue>,
    /// `Last-Modified` as received; sent back byte for byte.
    pub last_modified: Option<HeaderValue>,
    /// `Last-Modified` as a time, where it is a valid date.
    pub last_modified_time: Option<UnixSeconds>,
    /// Whether every use needs validation (`no-cache`).
    pub no_cache: bool,
    /// Whether it is never served stale: `must-revalidate`, `proxy-revalidate`, or `s-maxage` without a permission that the
    /// policy lets win.
    pub must_revalidate: bool,
    /// `immutable` (RFC 8246)
    pub immutable: bool,
    /// `no-transform`
    pub no_transform: bool,
    /// Seconds after expiry for which it is served while being revalidated.
    pub stale_while_revalidate: u32,
    /// Seconds after expiry for which it is served instead of an error; `None` where neither response nor policy says.
    pub stale_if_error: Option<u32>,
    /// The selecting header fields.
    pub vary: VarySpec,
    /// The field that the directives came from.
    pub source: ControlSource,
}

impl StoredMeta {
    /// Works out the facts of a response. `request_time` is when the request that it answers was sent, `response_time` when its
    /// header section was received.
    pub fn build(
        status: StatusCode,
        headers: &HeaderMap,
        policy: &Policy,
        request_time: UnixSeconds,
        response_time: UnixSeconds,
    ) -> StoredMeta {
        let control = ResponseControl::under(policy, status, headers);
        StoredMeta::with_control(status, headers, &control, policy, request_time, response_time)
    }

    pub(crate) fn with_control(
        status: StatusCode,
        headers: &HeaderMap,
        control: &ResponseControl,
        policy: &Policy,
        request_time: UnixSeconds,
        response_time: UnixSeconds,
    ) -> StoredMeta {
        let date = freshness::date_value(headers, response_time);
        let directives = &control.directives;
        let states_stale = directives.stale_while_revalidate.is_some() || directives.stale_if_error.is_some();
        let s_maxage_binds =
            directives.s_maxage.is_some() && !(policy.stale_directives_override_s_maxage && states_stale);
        let last_modified = headers.get(header::LAST_MODIFIED);
        StoredMeta {
            status,
            response_time,
            corrected_initial_age: freshness::corrected_initial_age(headers, date, request_time, response_time),
            lifetime: freshness::lifetime(status, headers, control, date, policy),
            date,
            etag: headers.get(header::ETAG).cloned(),
            last_modified: last_modified.cloned(),
            last_modified_time: last_modified.and_then(|value| parse_http_date(value.as_bytes(), response_time)),
            no_cache: directives.no_cache,
            must_revalidate: directives.must_revalidate || directives.proxy_revalidate || s_maxage_binds,
            immutable: directives.immutable,
            no_transform: directives.no_transform,
            stale_while_revalidate: directives
                .stale_while_revalidate
                .or(policy.stale_while_revalidate_default_seconds)
                .unwrap_or(0),
            stale_if_error: directives.stale_if_error.or(policy.stale_if_error_default_seconds),
            vary: VarySpec::under(&policy.vary, headers),
            source: control.source,
        }
    }

    /// The current age in seconds (RFC 9111 section 4.2.3): the value of the `Age` field of a reply made from this response.
    pub fn current_age(&self, now: UnixSeconds) -> u32 {
        let resident = now.since(self.response_time);
        self.corrected_initial_age.saturating_add(resident).min(DELTA_SECONDS_MAX)
    }

    /// Whether the response is fresh (RFC 9111 section 4.2).
    pub fn is_fresh(&self, now: UnixSeconds) -> bool {
        self.lifetime.seconds > self.current_age(now)
    }

    /// Seconds that the response is still fresh; 0 when stale.
    pub fn fresh_for(&self, now: UnixSeconds) -> u32 {
        self.lifetime.seconds.saturating_sub(self.current_age(now))
    }

    /// Seconds since the response became stale; 0 when fresh.
    pub fn stale_for(&self, now: UnixSeconds) -> u32 {
        self.current_age(now).saturating_sub(self.lifetime.seconds)
    }

    /// Whether a conditional request can be made for it.
    pub fn has_validator(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }

    /// Whether `no-cache` or a `must-revalidate` of any kind forbids serving it stale (RFC 9111 section 4.2.4).
    pub fn forbids_stale(&self) -> bool {
        self.no_cache || self.must_revalidate
    }

    /// The time from which no directive lets this response be served without the origin's consent, errors included. Behind it a
    /// response without validator is of no use to anyone but a disconnected cache.
    pub fn useful_until(&self) -> UnixSeconds {
        let stale = self.stale_while_revalidate.max(self.stale_if_error.unwrap_or(0));
        let fresh = self.lifetime.seconds.saturating_sub(self.corrected_initial_age);
        let allowed = if self.forbids_stale() { 0 } else { stale };
        self.response_time.plus(fresh).plus(allowed)
    }
}
