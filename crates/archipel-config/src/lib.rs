//! Configuration of a node and its zones: documents become either diagnostics, all at once, or a compiled [`Snapshot`].
//!
//! Three shapes follow each other: the tree of a document (`tree`), the checked settings (`node`, `zone`: each setting is
//! described once, and parsing, defaults, JSON Schema and reference derive from it), and the snapshot that requests see.
//!
//! This crate never opens a socket, knows no clock and no async runtime, and touches files in `load` only.

mod cache;
mod check;
mod check_cache;
mod check_rules;
mod cidr;
mod compile;
mod diagnostic;
mod firewall;
mod host;
mod kind;
mod lists;
mod load;
mod managed;
mod node;
mod overload;
mod phases;
mod quoted;
mod rate_limits;
mod redirect_list;
mod reference;
mod render;
mod settings;
mod shield;
mod snapshot;
mod suggest;
mod tree;
mod units;
mod url;
mod zone;

#[cfg(test)]
mod derive_tests;
#[cfg(test)]
mod load_tests;
#[cfg(test)]
mod tests;

pub use cache::{
    AlwaysOnlineMode, CACHE_RULES_MAX, CacheKeyParts, CacheRule, CacheWhen, Directive, QueryMode, SetCookieMode,
    TtlMode, ZoneCache,
};
pub use cidr::{Cidr, CidrError, CidrSet};
pub use compile::{ERROR_PAGE_BYTES_MAX, HOSTS_MAX, SingleOrigin, ZONES_MAX};
pub use diagnostic::{
    Code, DIAGNOSTICS_MAX, Diagnostic, Diagnostics, Position, Related, SNIPPET_CHARS_MAX, Severity, Span,
};
pub use firewall::{
    ACCESS_RULES_MAX, AccessAction, AccessRule, FIREWALL_RULES_MAX, FirewallAction, FirewallMode, FirewallRule, Skip,
    ZoneFirewall,
};
pub use host::{HOST_BYTES_MAX, HOST_LABEL_BYTES_MAX, HostError, HostPattern, normalise as normalise_host};
pub use kind::LIST_ENTRIES_MAX;
pub use kind::characteristic::{By, CHARACTERISTICS_MAX, Characteristic};
pub use kind::expression::{Condition, ValueExpression};
pub use kind::managed::{RuleRange, Target};
pub use kind::rule::{FieldTest, Presence, RULE_ENTRIES_MAX, RULE_TEXT_BYTES_MAX, StatusRange};
pub use lists::{LIST_FILE_BYTES_MAX, LIST_FILE_ENTRIES_MAX, LISTS_MAX, ListKind, ListValues, Lists, NamedList};
pub use managed::{EXCLUSIONS_MAX, FailPolicy, LongerBodies, ManagedExclusion, ManagedRules, RuleSetName};
pub use node::{
    AccessLog, Admin, CERTIFICATES_MAX, CertificateFiles, ClientAddressHeader, LISTENERS_MAX, Listener, Log, NodeCache,
    NodeCacheDisk, NodeCompression, NodeConfig, NodeFirewall, NodeGeo, NodeLimits, NodeTls, Timeouts, TlsVersion,
    Traces, Trust,
};
pub use overload::{OriginBreaker, OriginConcurrency};
pub use phases::{
    CustomErrorRule, HeaderChange, HeaderOperation, PHASE_RULES_MAX, REDIRECT_STATUSES, RULE_HEADERS_MAX, RedirectRule,
    ResponseHeadersRule, RewriteRule, RouteRule, SettingsRule,
};
pub use rate_limits::{RATE_LIMITS_MAX, RateLimitAction, RateLimitRule};
pub use redirect_list::{RedirectFound, RedirectList};
pub use reference::{schema_json, settings_markdown, settings_table};
pub use settings::{Group, Setting};
pub use shield::{NodeShield, NodeShieldKernel, ShieldMode, ShieldSets, ZoneShield};
pub use snapshot::{ErrorPageKind, ErrorPages, Snapshot, Zone, ZonePhases, zone_id};
pub use tree::{DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX, Node, Table, Value};
pub use url::{HttpUrl, Scheme};
pub use zone::{
    BackgroundLevels, CodingLevels, Dictionaries, DictionaryRule, ErrorPageFiles, OriginHost, ZoneCompression,
    ZoneConfig, ZoneHeaders, ZoneLimits, ZoneOrigin, ZonePurge, ZoneTls,
};
