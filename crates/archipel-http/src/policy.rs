//! What a zone may choose where the RFCs leave a choice.
//!
//! Owns the knobs; must never decide anything: each knob is read where its decision is made.

use std::sync::Arc;

use http::header::HeaderName;
use http::status::StatusCode;

use crate::date::DELTA_SECONDS_MAX;

/// The choices that hold for one request. Plain data, and cheap to copy: lists are shared.
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
    /// The freshness that a response gets, by rule of the operator; see [`Policy::edge_ttl_of`].
    pub edge_ttl: EdgeTtl,
    /// The same by status, which comes before [`Policy::edge_ttl`].
    pub status_ttl: StatusTtls,
    /// The greatest freshness lifetime of a response with a status of 400 or more, in seconds, whoever states it.
    pub error_seconds_max: Option<u32>,
    /// Directives of the origin that do not count where the operator's rule overrides the lifetime.
    pub disregard: Disregard,
    /// What the visitor's browser is told.
    pub browser_ttl: BrowserTtl,
    /// Per cent of the time since `Last-Modified` that a response without explicit freshness is fresh (RFC 9111 section 4.2.2).
    pub heuristic_percent: u8,
    /// The greatest heuristic freshness lifetime, in seconds.
    pub heuristic_seconds_max: u32,
    /// Serve stale for so many seconds after expiry when the origin cannot be reached and the response does not forbid it
    /// (RFC 9111 section 4.2.4 allows that to a disconnected cache). `None`: never.
    pub stale_if_unreachable_seconds: Option<u32>,
    /// A `stale-if-error` for responses that state none and forbid nothing, in seconds. `None`: only where the origin says so.
    pub stale_if_error_default_seconds: Option<u32>,
    /// Whether the last good response stands in for a failing origin however old it is.
    pub always_online: AlwaysOnline,
    /// A `stale-while-revalidate` for responses that state none and forbid nothing, in seconds.
    pub stale_while_revalidate_default_seconds: Option<u32>,
    /// Whether `stale-while-revalidate` or `stale-if-error` beside `s-maxage` permits what `s-maxage` alone forbids. RFC 9111
    /// section 5.2.2.10 lets `s-maxage` imply `proxy-revalidate`; most origins that send both mean the explicit permission.
    pub stale_directives_override_s_maxage: bool,
    /// Objects with a longer content are not stored, in bytes.
    pub object_bytes_max: u64,
    /// Whether a response whose content type does not fit the extension in its path is not stored ([`crate::deception`]).
    pub deception_guard: bool,
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

/// Lifetimes by status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusTtls {
    /// Whether they hold whatever the response states, or only where it states nothing.
    pub overrides: bool,
    /// The narrowest range first: the first that holds a status decides.
    pub entries: Arc<[StatusTtl]>,
}

/// The lifetime of responses with certain statuses.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct StatusTtl {
    /// The first status.
    pub first: u16,
    /// The last.
    pub last: u16,
    /// Seconds.
    pub seconds: u32,
}

/// Which directives of the origin do not count.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Disregard {
    /// `no-store`
    pub no_store: bool,
    /// `private`
    pub private: bool,
    /// `no-cache`
    pub no_cache: bool,
}

/// What the visitor's browser is told about keeping a reply ([`crate::browser`]).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum BrowserTtl {
    /// What the origin says.
    #[default]
    Respect,
    /// So many seconds where the response says nothing.
    Default(u32),
    /// So many seconds.
    Override(u32),
}

/// Whether the last good response stands in for an origin that is unreachable or replies with 5xx.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum AlwaysOnline {
    /// As other rules permit.
    #[default]
    Off,
    /// Up to so many seconds after its end, where `must-revalidate` and the like do not forbid it.
    Obey(u32),
    /// Up to so many seconds after its end, whatever the response says.
    Always(u32),
}

/// How selecting header fields are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaryRules {
    /// Fields in `Vary` that do not count.
    pub ignore: Arc<[HeaderName]>,
    /// Where there are any, `Accept-Language` is compared by which of these languages it prefers.
    pub languages: Arc<[Box<str>]>,
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
            status_ttl: StatusTtls::default(),
            error_seconds_max: None,
            disregard: Disregard::default(),
            browser_ttl: BrowserTtl::Respect,
            heuristic_percent: 10,
            heuristic_seconds_max: 86_400,
            stale_if_unreachable_seconds: Some(DELTA_SECONDS_MAX),
            stale_if_error_default_seconds: None,
            always_online: AlwaysOnline::Off,
            stale_while_revalidate_default_seconds: None,
            stale_directives_override_s_maxage: false,
            object_bytes_max: u64::MAX,
            deception_guard: false,
            vary: VaryRules { select_language: true, ..VaryRules::exact() },
            ranges_max: 16,
        }
    }

    /// The operator's word on the lifetime of a response with this status.
    ///
    /// Without an entry for the status, [`Policy::edge_ttl`] holds for what may be kept without being asked to (RFC 9110 section
    /// 15.1) and is no error: a redirect to a login page or an error is kept only by its own word or an entry of its own.
    pub fn edge_ttl_of(&self, status: StatusCode) -> EdgeTtl {
        let code = status.as_u16();
        if let Some(entry) = self.status_ttl.entries.iter().find(|entry| (entry.first..=entry.last).contains(&code)) {
            let overrides = self.status_ttl.overrides;
            return if overrides { EdgeTtl::Override(entry.seconds) } else { EdgeTtl::Default(entry.seconds) };
        }
        let covered = code < 400 && crate::freshness::is_heuristically_cacheable(status);
        if covered { self.edge_ttl } else { EdgeTtl::Respect }
    }

    /// What a site behind an edge expects: visitors cannot force a fetch, cookies are not shared.
    pub fn edge() -> Policy {
        Policy {
            honour_request_directives: false,
            set_cookie: SetCookie::Refuse,
            stale_if_unreachable_seconds: Some(86_400),
            stale_directives_override_s_maxage: true,
            deception_guard: true,
            ..Policy::neutral()
        }
    }
}

impl VaryRules {
    /// Every field counts, and is compared by itself.
    pub fn exact() -> VaryRules {
        VaryRules { ignore: Arc::from([]), languages: Arc::from([]), select_language: false }
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::edge()
    }
}
