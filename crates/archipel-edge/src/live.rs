//! The configuration in force, compiled for use: what a request of one moment sees of its zone.

use std::collections::HashMap;
use std::sync::Arc;

use archipel_config::{CidrSet, ClientAddressHeader, OriginHost, Snapshot, Zone, ZoneOrigin};
use archipel_http::Policy;
use archipel_http::forwarding::AddressSource;
use archipel_http::policy::EdgeTtl;
use archipel_transport::origin::OriginProtocol;
use archipel_transport::tls::client::{OriginAlpn, OriginTls, OriginTlsConfigError, OriginTrust, TrustRoots};
use http::{HeaderName, HeaderValue};
use thiserror::Error;

use crate::cache::codings::ZoneCodings;
use crate::cache::rules::{self, Rules};
use crate::firewall::Firewall;
use crate::firewall::managed::{LiveManaged, RuleSets};
use crate::geo::{Geo, GeoError};
use crate::overload::{Guards, OriginGuard};
use crate::phases::Phases;
use crate::purge::{Token, TokenError};
use crate::rule_files::RuleFilesError;
use crate::shield::limits::Allowance;
use crate::shield::rates::Rates;
use crate::shield::{Shield, ZoneShield};

/// A configuration that cannot be put to use although its documents are right.
#[derive(Debug, Error)]
pub enum LiveError {
    /// TLS towards an origin.
    #[error("zone {zone}: TLS to the origin: {source}")]
    OriginTls {
        /// The zone's name.
        zone: String,
        /// What is wrong.
        source: OriginTlsConfigError,
    },
    /// The managed rules of a zone.
    #[error("zone {zone}: firewall.managed: {source}")]
    Managed {
        /// The zone's name.
        zone: String,
        /// What is wrong.
        source: RuleFilesError,
    },
    /// The token of a zone for the PURGE method.
    #[error("zone {zone}: purge.token_file: {source}")]
    ZoneToken {
        /// The zone's name.
        zone: String,
        /// What is wrong.
        source: TokenError,
    },
    /// The token for purging over the admin listener.
    #[error("admin.purge_token_file: {0}")]
    AdminToken(TokenError),
    /// A database of places or networks.
    #[error("geo: {0}")]
    Geo(#[from] GeoError),
    /// The node's name cannot stand in CDN-Loop and Via.
    #[error("the node's name {0:?} cannot be used in CDN-Loop: set `name` to letters, digits, dots and hyphens")]
    Name(String),
}

/// A snapshot with what the edge derives from it.
pub struct Live {
    /// The configuration.
    pub snapshot: Arc<Snapshot>,
    zones: HashMap<u32, Arc<LiveZone>, foldhash::fast::FixedState>,
    /// This node in CDN-Loop (RFC 8586).
    pub cdn_loop: HeaderValue,
    /// Where the client's address stands in requests of trusted peers.
    pub address_source: AddressSource,
    /// What a purge over the admin listener has to bring.
    pub(crate) purge_token: Option<Token>,
    /// Where addresses are.
    pub(crate) geo: Geo,
    /// The rule sets of the zones' managed rules.
    pub(crate) rule_sets: Arc<RuleSets>,
    /// What each address and network may ask of all zones together.
    pub(crate) allowance: Allowance,
    /// What origins are spared.
    pub(crate) guards: Arc<Guards>,
    /// What the shield keeps of zones, over all configurations.
    pub(crate) shield: Arc<Shield>,
}

/// A zone with what the edge derives from it.
pub struct LiveZone {
    /// The configuration.
    pub zone: Arc<Zone>,
    /// Cache policy, where no rule says otherwise.
    pub policy: Policy,
    /// Content codings.
    pub(crate) codings: ZoneCodings,
    /// The cache rules, where there are any.
    pub(crate) rules: Option<Rules>,
    /// The firewall, where it can do anything.
    pub(crate) firewall: Option<Box<Firewall>>,
    /// The managed rules, where they are on.
    pub(crate) managed: Option<Box<LiveManaged>>,
    /// The rules that change requests and replies.
    pub(crate) phases: Phases,
    /// Largest object that is stored in one piece, in bytes.
    pub object_bytes_max: u64,
    /// How large objects are stored.
    pub slicing: Slicing,
    /// The origin.
    pub origin: Arc<LiveOrigin>,
    /// What a PURGE request has to bring.
    pub(crate) purge_token: Option<Token>,
    /// What each address and network may ask of the zone.
    pub(crate) allowance: Allowance,
    /// The rate limits, where there are any.
    pub(crate) rates: Option<Box<Rates>>,
    /// The shield, unless it is off.
    pub(crate) shield: Option<Arc<ZoneShield>>,
}

/// When and how objects are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slicing {
    /// Bytes of a slice; 0 where nothing is cut.
    pub slice_bytes: u64,
    /// Bytes of the smallest object that is cut.
    pub object_bytes_min: u64,
}

/// An origin ready to be connected to.
#[derive(Debug)]
pub struct LiveOrigin {
    /// Name to resolve.
    pub host: Box<str>,
    /// Port.
    pub port: u16,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// TLS, where the URL says https.
    pub tls: Option<OriginTls>,
    /// Protocol to speak.
    pub protocol: OriginProtocol,
    /// Host to send; `None`: the visitor's.
    pub authority: Option<HeaderValue>,
    /// `host:port`, the name in logs and in Proxy-Status.
    pub name: Box<str>,
    /// Which pool its connections belong to: equal only where connections may be shared.
    pub pool: u64,
    /// What it is spared.
    pub(crate) guard: Arc<OriginGuard>,
}

impl LiveZone {
    /// All forms that a canonical path and query can take in the cache keys of this zone: for what purges by URL.
    pub(crate) fn key_targets(&self, path_and_query: &str) -> Vec<Box<str>> {
        match &self.rules {
            Some(rules) => rules.targets(self, path_and_query),
            None if self.zone.cache.ignore_query => vec![path_and_query.split('?').next().unwrap_or("/").into()],
            None => vec![path_and_query.into()],
        }
    }
}

impl Live {
    /// Compiles a snapshot.
    ///
    /// # Errors
    /// The first [`LiveError`].
    pub fn new(snapshot: Arc<Snapshot>) -> Result<Self, LiveError> {
        Self::with(snapshot, None)
    }

    /// Compiles a snapshot that comes after this one, and keeps what both have in common.
    ///
    /// # Errors
    /// The first [`LiveError`].
    pub(crate) fn successor(&self, snapshot: Arc<Snapshot>) -> Result<Self, LiveError> {
        self.guards.forget_unused();
        Self::with(snapshot, Some(self))
    }

    fn with(snapshot: Arc<Snapshot>, before: Option<&Self>) -> Result<Self, LiveError> {
        let rule_sets = before.map(|before| before.rule_sets.clone()).unwrap_or_default();
        let new_guards = || Arc::new(Guards::new(snapshot.node.workers));
        let guards = before.map_or_else(new_guards, |before| before.guards.clone());
        let shield = before.map(|before| before.shield.clone()).unwrap_or_default();
        let name = snapshot.node.name.clone();
        let cdn_loop = archipel_http::forwarding::cdn_loop_value(&name).ok_or(LiveError::Name(name))?;
        let mut roots = Roots { system: None, guards: &guards };
        let mut zones = HashMap::default();
        for zone in &snapshot.zones {
            let origin_tls = |source| LiveError::OriginTls { zone: zone.name.to_string(), source };
            let mut phases = Phases::new(zone, |origin| roots.origin(origin)).map_err(origin_tls)?;
            let may_switch = phases.settings.as_ref().is_some_and(|settings| settings.sets_firewall_mode());
            let firewall = Firewall::new(zone, may_switch).map(Box::new);
            let rates_before = before.and_then(|before| before.zones.get(&zone.id)?.rates.as_deref());
            let rates = Rates::new(zone, rates_before).map(Box::new);
            phases.reads_body |= firewall.as_ref().is_some_and(|firewall| firewall.reads_body())
                || rates.as_ref().is_some_and(|rates| rates.reads_body);
            let managed = rule_sets
                .managed(&zone.firewall.managed, zone.firewall.mode, may_switch, &snapshot.node)
                .map_err(|source| LiveError::Managed { zone: zone.name.to_string(), source })?;
            let live = LiveZone {
                zone: zone.clone(),
                firewall,
                managed: managed.map(Box::new),
                phases,
                codings: ZoneCodings::new(zone),
                policy: policy_of(zone, snapshot.node.cache.storable_bytes_max()),
                rules: Rules::new(zone),
                object_bytes_max: object_bytes_max(zone, snapshot.node.cache.storable_bytes_max()),
                slicing: slicing_of(zone, snapshot.node.cache.object_bytes_max),
                origin: Arc::new(roots.origin(&zone.origin).map_err(origin_tls)?),
                purge_token: zone_token(zone)?,
                rates,
                allowance: {
                    let limits = &zone.shield;
                    let address = (limits.address_rate, limits.address_burst);
                    Allowance::new(address, (limits.network_rate, limits.network_burst))
                },
                shield: shield.zone(zone),
            };
            zones.insert(zone.id, Arc::new(live));
        }
        let address_source = address_source(snapshot.node.trust.client_address_header);
        let file = snapshot.node.admin.purge_token_file.as_deref();
        let purge_token = file.map(Token::read).transpose().map_err(LiveError::AdminToken)?;
        let geo = Geo::open(&snapshot.node.geo)?;
        let limits = &snapshot.node.shield;
        let address = (limits.address_rate, limits.address_burst);
        let allowance = Allowance::new(address, (limits.network_rate, limits.network_burst));
        Ok(Self { snapshot, zones, cdn_loop, address_source, purge_token, geo, rule_sets, allowance, guards, shield })
    }

    /// The zone of a host.
    pub fn zone_for_host(&self, host: &str) -> Option<&Arc<LiveZone>> {
        self.zones.get(&self.snapshot.zone_for_host(host)?.id)
    }

    /// The peers whose word on the client's address counts.
    pub fn trusted(&self) -> &CidrSet {
        &self.snapshot.node.trust.client_address_from
    }

    /// The zone of that name.
    pub fn zone_by_name(&self, name: &str) -> Option<&Arc<LiveZone>> {
        self.zones.get(&self.snapshot.zone_by_name(name)?.id)
    }
}

fn zone_token(zone: &Zone) -> Result<Option<Token>, LiveError> {
    let file = zone.purge.token_file.as_deref().filter(|_| zone.purge.method);
    file.map(Token::read).transpose().map_err(|source| LiveError::ZoneToken { zone: zone.name.to_string(), source })
}

fn address_source(header: ClientAddressHeader) -> AddressSource {
    match header {
        ClientAddressHeader::XForwardedFor => AddressSource::XForwardedFor,
        ClientAddressHeader::Forwarded => AddressSource::Forwarded,
        other => AddressSource::Single(HeaderName::from_static(other.as_str())),
    }
}

fn policy_of(zone: &Zone, node_object_bytes_max: u64) -> Policy {
    let cache = &zone.cache;
    let base = if cache.honour_request_directives { Policy::neutral() } else { Policy::edge() };
    let optional = |d: std::time::Duration| (!d.is_zero()).then(|| rules::seconds(d));
    Policy {
        honour_request_directives: cache.honour_request_directives,
        set_cookie: rules::set_cookie(cache.set_cookie),
        edge_ttl: optional(cache.default_ttl).map_or(EdgeTtl::Respect, EdgeTtl::Default),
        error_seconds_max: cache.error_ttl_max.map(rules::seconds),
        always_online: rules::always_online(cache.always_online, rules::seconds(cache.always_online_max)),
        deception_guard: cache.deception_guard,
        stale_if_error_default_seconds: optional(cache.stale_if_error),
        stale_while_revalidate_default_seconds: optional(cache.stale_while_revalidate),
        stale_if_unreachable_seconds: optional(cache.stale_if_unreachable),
        object_bytes_max: match (cache.object_bytes_max, cache.slice_bytes) {
            // What is stored in slices is bounded by the zone's own limit alone.
            (0, 1..) => u64::MAX,
            (own, 1..) => own,
            (_, 0) => object_bytes_max(zone, node_object_bytes_max),
        },
        ..base
    }
}

fn object_bytes_max(zone: &Zone, node_object_bytes_max: u64) -> u64 {
    match zone.cache.object_bytes_max {
        0 => node_object_bytes_max,
        own => own.min(node_object_bytes_max),
    }
}

/// Slices shorter than this would cost more in overhead than they save, in bytes.
const SLICE_BYTES_MIN: u64 = 4 << 10;

fn slicing_of(zone: &Zone, node_object_bytes_max: u64) -> Slicing {
    let cache = &zone.cache;
    let slice_bytes = match cache.slice_bytes {
        0 => 0,
        // A slice is stored as an object, with the overhead of one.
        wanted => wanted.min(node_object_bytes_max / 2).max(SLICE_BYTES_MIN),
    };
    Slicing { slice_bytes, object_bytes_min: cache.sliced_bytes_min.min(object_bytes_max(zone, node_object_bytes_max)) }
}

/// System roots are read once for all zones of a snapshot.
struct Roots<'a> {
    system: Option<TrustRoots>,
    guards: &'a Guards,
}

impl Roots<'_> {
    fn origin(&mut self, origin: &ZoneOrigin) -> Result<LiveOrigin, OriginTlsConfigError> {
        let tls = if origin.url.is_https() { Some(self.tls(origin)?) } else { None };
        let authority = match &origin.host {
            OriginHost::Visitor => None,
            OriginHost::Origin => HeaderValue::try_from(origin.url.authority()).ok(),
            OriginHost::Literal(host) => Some(host.clone()),
        };
        let name = format!("{}:{}", origin.url.host, origin.url.port);
        Ok(LiveOrigin {
            host: origin.url.host_name().into(),
            port: origin.url.port,
            scheme: if tls.is_some() { "https" } else { "http" },
            tls,
            protocol: if origin.http2 { OriginProtocol::Http2 } else { OriginProtocol::Http1 },
            authority,
            pool: pool_of(origin),
            guard: self.guards.of(pool_of(origin), origin),
            name: name.into(),
        })
    }

    fn tls(&mut self, origin: &ZoneOrigin) -> Result<OriginTls, OriginTlsConfigError> {
        let trust = if !origin.tls_verify {
            OriginTrust::DangerouslyUnverified
        } else if let Some(file) = &origin.tls_ca_file {
            OriginTrust::Roots(TrustRoots::file(file)?)
        } else {
            let roots = match &self.system {
                Some(roots) => roots.clone(),
                None => self.system.insert(TrustRoots::system()?).clone(),
            };
            OriginTrust::Roots(roots)
        };
        let alpn = if origin.http2 { OriginAlpn::H2OrH1 } else { OriginAlpn::H1 };
        let name = origin.tls_server_name.as_deref().unwrap_or_else(|| origin.url.host_name());
        OriginTls::new(&trust, alpn, name)
    }
}

/// Connections are shared by zones that name the same origin in the same way.
fn pool_of(origin: &ZoneOrigin) -> u64 {
    use std::hash::{BuildHasher, Hash, Hasher};
    let mut hasher = foldhash::quality::FixedState::with_seed(0x706f_6f6c).build_hasher();
    origin.url.hash(&mut hasher);
    (origin.tls_verify, &origin.tls_server_name, &origin.tls_ca_file, origin.http2).hash(&mut hasher);
    hasher.finish()
}
