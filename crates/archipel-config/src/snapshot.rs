//! The compiled configuration: what every request of one moment sees.
//!
//! Owns the choice of a zone by host. Never changes once it is shared; a new configuration is a new snapshot.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;

use crate::cache::ZoneCache;
use crate::firewall::ZoneFirewall;
use crate::host::{HOST_BYTES_MAX, HostPattern};
use crate::lists::{Lists, NamedList};
use crate::node::NodeConfig;
use crate::phases::{CustomErrorRule, RedirectRule, ResponseHeadersRule, RewriteRule, RouteRule, SettingsRule};
use crate::rate_limits::RateLimitRule;
use crate::shield::{ShieldSets, ZoneShield};
use crate::zone::{ErrorPageFiles, ZoneCompression, ZoneHeaders, ZoneLimits, ZoneOrigin, ZonePurge, ZoneTls};

/// Everything that the configuration says, checked and ready for use.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts the configurations of this process; set by whoever loads. 1 for the first.
    pub generation: u64,
    /// The node's settings. Paths are settled; `listeners` is never empty.
    pub node: NodeConfig,
    /// Whom the shield knows by the operator's word.
    pub shield: ShieldSets,
    /// The zones, in the order of their names.
    pub zones: Vec<Arc<Zone>>,
    pub(crate) index: HostIndex,
}

impl Snapshot {
    /// The zone that answers for a host: by its exact name, else by the longest wildcard, else the zone of `*`.
    ///
    /// The host is given without a port, IPv6 literals in brackets. Upper case and one trailing dot do not matter.
    /// Allocates nothing.
    pub fn zone_for_host(&self, host: &str) -> Option<&Arc<Zone>> {
        self.index.find(host).and_then(|at| self.zones.get(at))
    }

    /// The zone of this name.
    pub fn zone_by_name(&self, name: &str) -> Option<&Arc<Zone>> {
        self.zones.iter().find(|zone| &*zone.name == name)
    }
}

/// One zone, ready for use.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Zone {
    /// Number derived from the name: the same in every process and for ever.
    pub id: u32,
    /// Name: the document's, without folder and extension.
    pub name: Arc<str>,
    /// The hosts it answers for.
    pub hosts: Vec<HostPattern>,
    /// The origin.
    pub origin: ZoneOrigin,
    /// The cache.
    pub cache: ZoneCache,
    /// Content codings.
    pub compression: ZoneCompression,
    /// TLS towards visitors; `certificate` and `key` are both there or both absent.
    pub tls: ZoneTls,
    /// Limits of a request; see [`Zone::body_bytes_max`].
    pub limits: ZoneLimits,
    /// Header fields that the edge adds.
    pub headers: ZoneHeaders,
    /// Purging by requests, and tags.
    pub purge: ZonePurge,
    /// Denial-of-service protection.
    pub shield: ZoneShield,
    /// The firewall.
    pub firewall: ZoneFirewall,
    /// `[[rate_limits]]`
    pub rate_limits: Vec<RateLimitRule>,
    /// Rules that change requests and replies.
    pub phases: ZonePhases,
    /// The lists that rules of the zone may name: its own, and the node's.
    pub lists: Lists,
    /// Error pages, read.
    pub error_pages: ErrorPages,
    pub(crate) error_page_files: ErrorPageFiles,
    pub(crate) named_lists: Vec<NamedList>,
}

/// The rules of a zone that change requests and replies, in the order in which the phases come.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ZonePhases {
    /// `[[settings_rules]]`
    pub settings: Vec<SettingsRule>,
    /// `[[redirects]]`
    pub redirects: Vec<RedirectRule>,
    /// `[[rewrites]]`
    pub rewrites: Vec<RewriteRule>,
    /// `[[routes]]`
    pub routes: Vec<RouteRule>,
    /// `[[custom_errors]]`
    pub custom_errors: Vec<CustomErrorRule>,
    /// The bodies of `custom_errors`, read, in the same order.
    pub custom_error_bodies: Vec<Bytes>,
    /// `[[response_headers]]`
    pub response_headers: Vec<ResponseHeadersRule>,
}

impl Zone {
    /// Largest request body, `u64::MAX` for no limit.
    pub fn body_bytes_max(&self) -> u64 {
        if self.limits.body_bytes_max == 0 { u64::MAX } else { self.limits.body_bytes_max }
    }
}

/// The stable number of a zone: 32-bit FNV-1a of its name. Two zones with one number are refused when loading.
pub fn zone_id(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// What an error page is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorPageKind {
    /// No connection to the origin.
    OriginUnreachable,
    /// The origin did not answer in time.
    OriginTimeout,
    /// The origin's reply cannot be passed on.
    OriginBadReply,
    /// The request breaks a limit or a rule.
    Refused,
    /// The edge itself failed or is overloaded.
    Internal,
}

/// The error pages of a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPages {
    pub(crate) default: Option<Bytes>,
    pub(crate) by_kind: [Option<Bytes>; 5],
}

impl ErrorPages {
    /// The page for a kind: its own, else the zone's default. HTML; nothing where the edge's own page is to be used.
    pub fn get(&self, kind: ErrorPageKind) -> Option<&Bytes> {
        // The discriminants are the five indices of the array.
        self.by_kind[kind as usize].as_ref().or(self.default.as_ref())
    }
}

/// Finds the place of a zone by host.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostIndex {
    // A fixed seed is safe: only the operator puts names in, visitors can only look up.
    exact: HashMap<Box<str>, usize, FixedState>,
    wildcard: HashMap<Box<str>, usize, FixedState>,
    any: Option<usize>,
}

impl HostIndex {
    /// Adds a pattern for the zone at a place; gives back the place that has it already.
    pub fn insert(&mut self, pattern: &HostPattern, at: usize) -> Option<usize> {
        let (map, name) = match pattern {
            HostPattern::Any => match self.any {
                Some(other) => return Some(other),
                None => {
                    self.any = Some(at);
                    return None;
                }
            },
            HostPattern::Wildcard(suffix) => (&mut self.wildcard, suffix),
            HostPattern::Exact(name) => (&mut self.exact, name),
        };
        if let Some(other) = map.get(name) {
            return Some(*other);
        }
        map.insert(name.clone(), at);
        None
    }

    fn find(&self, host: &str) -> Option<usize> {
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let mut lower = [0u8; HOST_BYTES_MAX];
            // A longer text is no host name, so only `*` can answer for it.
            let Some(slot) = lower.get_mut(..host.len()) else {
                return self.any;
            };
            slot.copy_from_slice(host.as_bytes());
            slot.make_ascii_lowercase();
            return std::str::from_utf8(slot).map_or(self.any, |host| self.find_normal(host));
        }
        self.find_normal(host)
    }

    fn find_normal(&self, host: &str) -> Option<usize> {
        if let Some(at) = self.exact.get(host) {
            return Some(*at);
        }
        if self.wildcard.is_empty() || host.len() > HOST_BYTES_MAX {
            return self.any;
        }
        // From the left, so that the longest suffix is found first. The name before the dot must not be empty.
        let mut rest = host;
        while let Some((label, suffix)) = rest.split_once('.') {
            if !label.is_empty()
                && let Some(at) = self.wildcard.get(suffix)
            {
                return Some(*at);
            }
            rest = suffix;
        }
        self.any
    }
}
