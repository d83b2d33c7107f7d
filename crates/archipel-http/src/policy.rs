//! What a zone may choose where the RFCs leave a choice.
//!
//! Owns the knobs; must never decide anything: each knob is read where its decision is made.

use crate::date::DELTA_SECONDS_MAX;

/// The choices of one zone. Plain data: copied into the compiled zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether request `Cache-Control` and `Pragma` are obeyed (RFC 9111 section 5.2.1). Off, visitors cannot make the edge
    /// ask the origin.
    pub honour_request_directives: bool,
    /// Which targeted fields are read before `Cache-Control` (RFC 9213).
    pub targeted: TargetedFields,
    /// What `Set-Cookie` in a response means for storing.
    pub set_cookie: SetCookie,
    /// Whether a POST response with explicit freshness and a matching `Content-Location` is stored for later GETs (RFC 9110
    /// section 9.3.3).
    pub store_post: bool,
    /// The freshness that a response gets, by rule of the operator.
    pub edge_ttl: EdgeTtl,
    /// Per cent of the time since `Last-Modified` that a response without explicit freshness is fresh (RFC 9111 section 4.2.2).
    pub heuristic_percent: u8,
    /// The greatest heuristic freshness lifetime, in seconds.
    pub heuristic_seconds_max: u32,
    /// Serve stale for so many seconds after expiry when the origin cannot be reached and the response does not forbid it
    /// (RFC 9111 section 4.2.4 allows that to a disconnected cache). `None`: never.
    pub stale_if_unreachable_seconds: Option<u32>,
    /// A `stale-if-error` for responses that state none and forbid nothing, in seconds. `None`: only where the origin says so.
    pub stale_if_error_default_seconds: Option<u32>,
    /// A `stale-while-revalidate` for responses that state none and forbid nothing, in seconds.
    pub stale_while_revalidate_default_seconds: Option<u32>,
    /// Whether `stale-while-revalidate` or `stale-if-error` beside `s-maxage` permits what `s-maxage` alone forbids. RFC 9111
    /// section 5.2.2.10 lets `s-maxage` imply `proxy-revalidate`; most origins that send both mean the explicit permission.
    pub stale_directives_override_s_maxage: bool,
    /// Objects with a longer content are not stored, in bytes.
    pub object_bytes_max: u64,
    /// How selecting header fields are compared.
    pub vary: VaryRules,
    /// How many ranges one request may ask for; more are ignored and the whole is served.
    pub ranges_max: usize,
}

/// Which targeted cache-control fields are read, most specific first (RFC 9213 section 2.2).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TargetedFields {
    /// `Archipel-CDN-Cache-Control`
    pub archipel: bool,
    /// `CDN-Cache-Control`
    pub cdn: bool,
    /// `Surrogate-Control` (Edge Architecture Specification)
    pub surrogate: bool,
}

/// What `Set-Cookie` in a response means for storing.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum SetCookie {
    /// Stored like any field, as RFC 9111 section 7.3 has it.
    Store,
    /// Stored without the `Set-Cookie` field.
    Strip,
    /// The response is not stored.
    Refuse,
}

/// The operator's word on freshness.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum EdgeTtl {
    /// The response decides.
    Respect,
    /// So many seconds where the response states no explicit freshness.
    Default(u32),
    /// So many seconds whatever lifetime the response states. It never overrides `no-store`, `private` or `no-cache`.
    Override(u32),
}

/// How selecting header fields are compared.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct VaryRules {
    /// Whether a stored response whose `Content-Language` is what the request prefers above all else matches, whatever the
    /// other languages in `Accept-Language`.
    pub select_language: bool,
}

impl Policy {
    /// What the RFCs say and nothing else: no operator's defaults, request directives obeyed.
    pub fn neutral() -> Policy {
        Policy {
            honour_request_directives: true,
            targeted: TargetedFields { archipel: true, cdn: true, surrogate: true },
            set_cookie: SetCookie::Store,
            store_post: true,
            edge_ttl: EdgeTtl::Respect,
            heuristic_percent: 10,
            heuristic_seconds_max: 86_400,
            stale_if_unreachable_seconds: Some(DELTA_SECONDS_MAX),
            stale_if_error_default_seconds: None,
            stale_while_revalidate_default_seconds: None,
            stale_directives_override_s_maxage: false,
            object_bytes_max: u64::MAX,
            vary: VaryRules { select_language: true },
            ranges_max: 16,
        }
    }

    /// What a site behind an edge expects: visitors cannot force a fetch, cookies are not shared.
    pub fn edge() -> Policy {
        Policy {
            honour_request_directives: false,
            set_cookie: SetCookie::Refuse,
            stale_if_unreachable_seconds: Some(86_400),
            stale_directives_override_s_maxage: true,
            ..Policy::neutral()
        }
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::edge()
    }
}
