//! The control socket: HTTP/1.1 with JSON over a Unix socket in the state folder, for the commands of the same user.
//!
//! Owns the words of the protocol, which both sides share, and who may connect (the socket has mode 0600). Must never be
//! served on a network address: it has no authentication of its own.

pub mod client;
pub mod handover;
pub mod purge;
pub mod server;

use std::net::IpAddr;
use std::path::PathBuf;

use archipel_edge::{Decide, OriginStatus, TierStored};
use serde::{Deserialize, Serialize};

/// Largest request body on the control socket in bytes.
pub const CONTROL_BODY_BYTES_MAX: u64 = 1 << 20;

/// `POST /purge`: all that is named is purged, or nothing is.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PurgeCall {
    /// These URLs.
    pub urls: Vec<String>,
    /// Everything of these hosts.
    pub hosts: Vec<String>,
    /// Everything of a host and the beginning of a path: `host/path`.
    pub prefixes: Vec<String>,
    /// Everything of these zones.
    pub zones: Vec<String>,
    /// Everything with these tags.
    pub tags: Vec<TagCall>,
    /// Everything.
    pub everything: bool,
    /// Make stale instead of removing.
    pub soft: bool,
}

/// A tag of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagCall {
    /// The zone's name.
    pub zone: String,
    /// The tag.
    pub tag: String,
}

/// Answer to `POST /purge`: the purges are in force.
#[derive(Debug, Serialize, Deserialize)]
pub struct PurgeAnswer {
    /// The number of the last purge.
    pub sequence: u64,
    /// Objects that were removed from memory at once; others go when they are next looked at.
    pub objects: usize,
    /// Whether the purges hold over a crash of the node.
    pub durable: bool,
    /// Why they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What was done, a line for each thing purged.
    pub lines: Vec<String>,
}

/// `POST /explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainCall {
    /// Method.
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// Header fields in order.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Address of the visitor.
    #[serde(default)]
    pub client: Option<IpAddr>,
}

/// Answer to `POST /explain`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExplainAnswer {
    /// For people.
    pub text: String,
    /// For programs.
    pub explanation: serde_json::Value,
}

/// Answer to `POST /cache/inspect`, which takes an [`ExplainCall`].
#[derive(Debug, Serialize, Deserialize)]
pub struct InspectAnswer {
    /// For people.
    pub text: String,
    /// For programs.
    pub inspection: serde_json::Value,
}

/// `POST /firewall/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsCall {
    /// Only of this zone.
    #[serde(default)]
    pub zone: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// Answer to `POST /firewall/events`, the newest first.
#[derive(Debug, Serialize, Deserialize)]
pub struct EventsAnswer {
    /// For people.
    pub lines: Vec<String>,
    /// For programs.
    pub events: serde_json::Value,
}

/// `POST /shield/status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShieldCall {
    /// Only this zone.
    pub zone: Option<String>,
}

/// `POST /shield/decide`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShieldDecideCall {
    /// The rule: `zone/number`.
    pub rule: String,
    /// What is said of it.
    pub decide: Decide,
}

/// Answer to `POST /shield/status`, and to `POST /shield/decide`, which tells of the rule alone.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShieldAnswer {
    /// For people.
    pub text: String,
    /// For programs.
    pub status: serde_json::Value,
    /// Why a restart would forget what was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// `POST /firewall/limits`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsCall {
    /// Only of this zone.
    #[serde(default)]
    pub zone: Option<String>,
}

/// Answer to `POST /firewall/limits`, in the order of the documents.
#[derive(Debug, Serialize, Deserialize)]
pub struct LimitsAnswer {
    /// For people.
    pub lines: Vec<String>,
    /// For programs.
    pub limits: serde_json::Value,
}

/// Answer to `POST /reload`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReloadAnswer {
    /// Whether the new configuration is in force; if not, the old one is.
    pub ok: bool,
    /// The number of the configuration in force.
    pub generation: u64,
    /// Errors and warnings, for people.
    pub report: String,
    /// The same, for programs.
    pub diagnostics: serde_json::Value,
    /// Settings that differ and take effect with the next start.
    pub needs_restart: Vec<String>,
}

/// Answer to `GET /status`.
#[derive(Debug, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// `starting`, `serving` or `draining`.
    pub phase: String,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// The number of the configuration in force.
    pub generation: u64,
    /// What is served: a folder, an origin, or the sample site.
    pub source: String,
    /// Addresses.
    pub listeners: Vec<ListenerAnswer>,
    /// The admin listener.
    pub admin: Option<String>,
    /// Worker threads.
    pub workers: usize,
    /// Zones.
    pub zones: usize,
    /// Open connections of visitors.
    pub connections_open: u64,
    /// Requests since the start.
    pub requests: u64,
    /// Of these answered from the cache.
    pub hits: u64,
    /// Of these refused or failed by the edge.
    pub refused: u64,
    /// What zones have in the cache; those with most come first. Without a name: zones that are no longer configured.
    #[serde(default)]
    pub cache: Vec<ZoneCacheAnswer>,
    /// How the origins stand that were ever asked for something.
    #[serde(default)]
    pub origins: Vec<OriginStatus>,
}

/// What a zone has in the cache.
#[derive(Debug, Serialize, Deserialize)]
pub struct ZoneCacheAnswer {
    /// Its name.
    pub zone: String,
    /// In memory.
    pub memory: TierStored,
    /// On the disk.
    pub disk: TierStored,
}

/// One listener, also in the readiness line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerAnswer {
    /// IP address and port.
    pub address: String,
    /// Whether connections start with TLS.
    pub tls: bool,
}

/// `POST /handover`: where the successor waits for the listening sockets.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandoverCall {
    /// A Unix socket on which the successor accepts one connection.
    pub receiver: PathBuf,
}

/// Answer to `POST /handover`.
#[derive(Debug, Serialize, Deserialize)]
pub struct HandoverAnswer {
    /// Process id of the one that hands over.
    pub pid: u32,
    /// How many sockets were sent.
    pub sockets: usize,
}

/// What every refused call answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// What is wrong and what to do.
    pub error: String,
}
