//! Purging what is stored, by what an operator can name; and what a stored response can be named by.
//!
//! - this module: from names to the store's scopes, and the tags and groups of responses;
//! - [`hosts`]: which zone had each host before;
//! - [`keeper`]: the thread that keeps the journal;
//! - [`method`]: the PURGE method;
//! - [`token`]: the secrets that allow it.
//!
//! Must never purge less than was asked for.

mod hosts;
mod keeper;
mod method;
mod token;

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use archipel_cache::{
    Groups, KeyText as _, PurgeKind, PurgeRecord, Scope, WindowLost, cache_group, purge_group, tag_group,
};
use archipel_config::{HttpUrl, Snapshot};
use archipel_http::fields::Fields;
use archipel_http::groups::{self, CACHE_GROUP_INVALIDATION, CACHE_GROUPS};
use archipel_http::invalidation;
use archipel_http::key::CacheKey;
use archipel_http::surrogate_key::{self, CACHE_TAG, SURROGATE_KEY, TAG_BYTES_MAX};
use archipel_http::target::{self, Scheme};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cache::{equivalents, key_of};
use crate::exchange::Exchange;
use crate::live::LiveZone;
use crate::metrics::metric;
use crate::node::Node;

use hosts::Hosts;
pub(crate) use hosts::HostsFile;
pub(crate) use keeper::Keeper;
pub(crate) use method::{explain, stage};
pub(crate) use token::Token;
pub use token::{TokenError, bearer as bearer_token};

/// Purges in one call.
pub const PURGES_PER_CALL_MAX: usize = 1_000;
/// Records in one answer of [`Node::purges_since`].
pub const PURGE_RECORDS_MAX: usize = 10_000;

/// What to purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purge {
    /// Everything that is stored under a URL, in all variants.
    Url(String),
    /// Everything of a host (with a port that is not the scheme's default).
    Host(String),
    /// Everything of a host and the beginning of a path, in whole segments: `shop.example/docs` covers `/docs`, `/docs/x` and
    /// `/docs?x`, not `/docsx`. No scheme, no query.
    Prefix(String),
    /// Everything that has a tag (`Surrogate-Key`, `Cache-Tag`) in a zone. Case does not count.
    Tag {
        /// The zone's name.
        zone: String,
        /// The tag.
        tag: String,
    },
    /// Everything of a zone.
    Zone(String),
    /// Everything.
    Everything,
}

impl fmt::Display for Purge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "{url}"),
            Self::Host(host) => write!(f, "everything of host {host}"),
            Self::Prefix(prefix) => write!(f, "everything below {prefix}"),
            Self::Tag { zone, tag } => write!(f, "everything of zone {zone} with tag {tag}"),
            Self::Zone(zone) => write!(f, "everything of zone {zone}"),
            Self::Everything => f.write_str("everything"),
        }
    }
}

/// What a purge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeReport {
    /// Its number: later purges have greater ones.
    pub sequence: u64,
    /// Objects removed from memory at once; others go when they are next looked at.
    pub objects: usize,
}

/// What the purges of one call did. They are in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgesMade {
    /// One for each that was asked for.
    pub reports: Vec<PurgeReport>,
    /// Why a crash could make the node forget them; `None` where they are on the disk.
    pub not_durable: Option<String>,
}

impl PurgesMade {
    /// The number of the last.
    pub fn sequence(&self) -> u64 {
        self.reports.iter().map(|report| report.sequence).max().unwrap_or(0)
    }

    /// Objects removed from memory at once.
    pub fn objects(&self) -> usize {
        self.reports.iter().map(|report| report.objects).sum()
    }
}

/// A purge that names nothing.
#[derive(Debug, Error)]
pub enum PurgeError {
    /// Not a URL.
    #[error("the URL {message}; {help}")]
    Url {
        /// What is wrong.
        message: String,
        /// What to write.
        help: String,
    },
    /// Not a target.
    #[error("is refused: {0}")]
    Target(#[from] target::TargetError),
    /// Not a prefix.
    #[error("is no prefix: write host/path, without scheme, query and fragment")]
    Prefix,
    /// Not a tag.
    #[error("is no tag: 1 to {TAG_BYTES_MAX} bytes without commas, control characters and spaces around it")]
    Tag,
    /// No zone serves that host.
    #[error("no zone serves the host {0:?}; `archipel config show` lists them")]
    UnknownHost(String),
    /// No such zone.
    #[error("there is no zone {0:?}; `archipel config show` lists them")]
    UnknownZone(String),
}

/// A purge whose names were found.
enum Named {
    Scope {
        zone: u32,
        scope: Scope,
    },
    /// Without a port a name is that of both default ports.
    Hosts {
        zone: u32,
        groups: [u64; 2],
    },
    Prefixes {
        zone: u32,
        authorities: [String; 2],
        path: String,
    },
    Url {
        zone: Arc<LiveZone>,
        scheme: Scheme,
        authority: String,
        target: String,
    },
}

impl Node {
    /// Purges, all or nothing, and waits until the purges are on the disk. Blocks: not for a thread that serves. Soft: what they
    /// cover counts as stale from now on; otherwise it is gone.
    ///
    /// # Errors
    /// Which ones name nothing, and why; nothing is purged then.
    pub fn purge(&self, what: &[Purge], soft: bool) -> Result<PurgesMade, Vec<(Purge, PurgeError)>> {
        let kind = if soft { PurgeKind::Soft } else { PurgeKind::Hard };
        let mut named = Vec::with_capacity(what.len());
        let mut problems = Vec::new();
        for purge in what {
            match self.named(purge) {
                Ok(one) => named.push(one),
                Err(error) => problems.push((purge.clone(), error)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let reports: Vec<PurgeReport> = named.iter().map(|named| self.purge_named(named, kind)).collect();
        for (purge, report) in what.iter().zip(&reports) {
            tracing::info!(sequence = report.sequence, soft, what = %purge, "purged");
        }
        let mut made = PurgesMade { reports, not_durable: None };
        made.not_durable = match self.purges.get() {
            Some(keeper) => keeper.wait(made.sequence()).err(),
            None => Some("this node keeps no purge journal".to_owned()),
        };
        Ok(made)
    }

    fn named(&self, what: &Purge) -> Result<Named, PurgeError> {
        let live = self.live();
        let zone_named = |name: &str| match live.zone_by_name(name) {
            Some(zone) => Ok(zone.zone.id),
            None => Err(PurgeError::UnknownZone(name.to_owned())),
        };
        let zone_of = |host: &str| match live.zone_for_host(host) {
            Some(zone) => Ok(zone.clone()),
            None => Err(PurgeError::UnknownHost(host.to_owned())),
        };
        match what {
            Purge::Url(url) => url_named(url, &zone_of),
            Purge::Host(host) => {
                let parsed = target::parse_host(host.as_bytes())?;
                let zone = zone_of(&parsed.name)?.zone.id;
                let groups = [Scheme::Http, Scheme::Https].map(|scheme| purge_group(&parsed.to_text(scheme)));
                Ok(Named::Hosts { zone, groups })
            }
            Purge::Prefix(prefix) => {
                let (host, path) = prefix.split_at(prefix.find('/').unwrap_or(prefix.len()));
                if host.is_empty() || prefix.contains("://") || prefix.contains(['?', '#']) {
                    return Err(PurgeError::Prefix);
                }
                let parsed = target::parse_host(host.as_bytes())?;
                let zone = zone_of(&parsed.name)?.zone.id;
                let path = if path.is_empty() { "/" } else { path };
                let path = target::canonical_path(path.as_bytes())?.into_owned();
                let authorities = [Scheme::Http, Scheme::Https].map(|scheme| parsed.to_text(scheme).into_owned());
                Ok(Named::Prefixes { zone, authorities, path })
            }
            Purge::Tag { zone, tag } => {
                let zone = zone_named(zone)?;
                if !surrogate_key::is_tag(tag.as_bytes()) {
                    return Err(PurgeError::Tag);
                }
                Ok(Named::Scope { zone, scope: Scope::Tag(tag_group(zone, tag.as_bytes())) })
            }
            Purge::Zone(name) => Ok(Named::Scope { zone: zone_named(name)?, scope: Scope::Zone }),
            Purge::Everything => Ok(Named::Scope { zone: 0, scope: Scope::Everything }),
        }
    }

    fn purge_named(&self, named: &Named, kind: PurgeKind) -> PurgeReport {
        let store = &self.store;
        let purged = match named {
            Named::Scope { zone, scope } => store.purge(*zone, *scope, kind),
            Named::Hosts { zone, groups: [http, https] } => {
                if http != https {
                    store.purge_host(*zone, *http, kind);
                }
                store.purge_host(*zone, *https, kind)
            }
            Named::Prefixes { zone, authorities: [http, https], path } => {
                if http != https {
                    store.purge_prefix(*zone, http, path, kind);
                }
                store.purge_prefix(*zone, https, path, kind)
            }
            Named::Url { zone, scheme, authority, target } => {
                let id = zone.zone.id;
                let key = CacheKey { zone: id, scheme: *scheme, host: authority, path_and_query: target, extra: "" };
                equivalents::purge(self, zone, &key, kind)
            }
        };
        PurgeReport { sequence: purged.sequence, objects: purged.objects }
    }

    /// Opens the purge journal in the state folder and takes up what it holds. Before anything is served; once. `follows`: another
    /// process with this state folder still serves for a while; what it purges is purged here too.
    pub fn open_purges(&self, state_dir: &Path, follows: bool) {
        self.purges.get_or_init(|| Keeper::start(&self.store, state_dir, follows));
        let file = self.hosts.get_or_init(|| HostsFile::new(state_dir));
        match file.read() {
            Ok(Some(before)) => self.purge_moved(&before),
            Ok(None) => self.remember_hosts(0),
            Err(error) => {
                tracing::error!(%error, "which zone had each host cannot be read: whatever was stored before counts as purged");
                self.remember_hosts(self.store.purge_all(PurgeKind::Hard).sequence);
            }
        }
    }

    /// Keeps which zone has each host, once the purges up to a number are on the disk: what is not kept is purged again at the next
    /// start. In a thread of its own, as the disk may take its time.
    fn remember_hosts(&self, after: u64) {
        let (Some(file), Some(keeper)) = (self.hosts.get(), self.purges.get()) else { return };
        let (file, kept, hosts) = (file.clone(), keeper.waiting(), Hosts::of(&self.snapshot()));
        let remember = move || {
            let kept = if after == 0 { Ok(()) } else { kept.wait(after) };
            if let Err(error) = kept.and_then(|()| file.write(&hosts).map_err(|error| error.to_string())) {
                tracing::warn!(%error, "which zone has each host could not be kept: the zones that took one over are purged again at the next start");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("hosts".to_owned()).spawn(remember) {
            tracing::warn!(%error, "no thread to keep which zone has each host");
        }
    }

    /// Another process serves from now on and keeps the purge journal: this one only appends to it, also what visitors make invalid.
    pub fn retire_purges(&self) {
        self.store.hand_over();
        if let Some(keeper) = self.purges.get() {
            keeper.retire();
        }
    }

    /// A purge covers its own zone. A zone that takes a host over from another may have had it before, and must not find what was
    /// purged while the other had it: it begins with an empty cache.
    pub(crate) fn purge_moved_since(&self, before: &Snapshot) {
        self.purge_moved(&Hosts::of(before));
    }

    fn purge_moved(&self, before: &Hosts) {
        let snapshot = self.snapshot();
        let mut last = 0;
        for id in Hosts::of(&snapshot).taken_over(before) {
            let name = snapshot.zones.iter().find(|zone| zone.id == id).map(|zone| zone.name.to_string());
            tracing::info!(zone = name, "a host changed its zone: what the zone had is purged");
            last = self.store.purge_zone(id, PurgeKind::Hard).sequence;
        }
        self.remember_hosts(last);
    }

    /// Purges after a number, oldest first, at most [`PURGE_RECORDS_MAX`], for other nodes to make as well.
    ///
    /// # Errors
    /// [`WindowLost`]: some are known no more.
    pub fn purges_since(&self, after: u64, records_max: usize) -> Result<PurgesSinceReport, WindowLost> {
        let since = self.store.purges_since(after, records_max.min(PURGE_RECORDS_MAX))?;
        let snapshot = self.snapshot();
        let name_of = |id: u32| snapshot.zones.iter().find(|zone| zone.id == id).map(|zone| zone.name.to_string());
        let purges = since.records.iter().map(|record| PurgeRecordReport::new(record, name_of(record.zone)));
        Ok(PurgesSinceReport { sequence: since.sequence, more: since.more, purges: purges.collect() })
    }

    /// Whether this is the token for purging over the admin listener; `None` where there is none.
    pub fn is_purge_token(&self, given: &[u8]) -> Option<bool> {
        self.live().purge_token.as_ref().map(|token| token.is(given))
    }
}

/// The URL under which it is stored.
fn url_named(url: &str, zone_of: &dyn Fn(&str) -> Result<Arc<LiveZone>, PurgeError>) -> Result<Named, PurgeError> {
    let (before_query, query) = match url.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (url, None),
    };
    let parsed =
        HttpUrl::parse(before_query).map_err(|error| PurgeError::Url { message: error.message, help: error.help })?;
    let scheme = if parsed.is_https() { Scheme::Https } else { Scheme::Http };
    let zone = zone_of(&parsed.host)?;
    let mut target = target::canonical_path(parsed.path.as_bytes())?.into_owned();
    if let Some(query) = query {
        target.push('?');
        target.push_str(target::check_query(query.as_bytes())?);
    }
    Ok(Named::Url { zone, scheme, authority: parsed.authority().to_string(), target })
}

/// Purges after a number, as the admin listener and the control socket answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PurgesSinceReport {
    /// Where the sequence stands.
    pub sequence: u64,
    /// There are more after the last one.
    pub more: bool,
    /// The purges, oldest first; of one scope only the last.
    pub purges: Vec<PurgeRecordReport>,
}

/// One purge, as it is told to others. Names are kept as numbers that are the same on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PurgeRecordReport {
    /// Its number.
    pub sequence: u64,
    /// Whether what it covers counts as stale and is not gone.
    pub soft: bool,
    /// `everything`, `zone`, `host`, `prefix`, `url`, `key` or `tag`.
    pub scope: &'static str,
    /// The zone's number.
    pub zone: u32,
    /// The zone's name, where it is configured.
    pub zone_name: Option<String>,
    /// The number of what is covered, in hexadecimal digits.
    pub group: Option<String>,
    /// Segments of a prefix.
    pub segments: Option<u8>,
}

impl PurgeRecordReport {
    fn new(record: &PurgeRecord, zone_name: Option<String>) -> Self {
        let (group, segments) = match record.scope {
            Scope::Everything | Scope::Zone => (None, None),
            Scope::Host(hash) | Scope::Url(hash) | Scope::Tag(hash) => (Some(format!("{hash:016x}")), None),
            Scope::Prefix(prefix) => (Some(format!("{:016x}", prefix.hash)), Some(prefix.segments)),
            Scope::Key(hash) => (Some(format!("{hash:032x}")), None),
        };
        let (sequence, soft, scope) = (record.sequence, record.kind == PurgeKind::Soft, record.scope.as_str());
        Self { sequence, soft, scope, zone: record.zone, zone_name, group, segments }
    }
}

/// The journal's part of the metrics page.
pub(crate) fn metrics(page: &mut String, keeper: Option<&Keeper>) {
    let values = keeper.map(|keeper| keeper.counts().values()).unwrap_or_default();
    let rows = [
        ("archipel_purge_journal_works", "gauge", "1 while purges reach the disk."),
        ("archipel_purge_journal_bytes", "gauge", "Size of the purge journal."),
        ("archipel_purge_journal_failures_total", "counter", "Writes of the purge journal that failed."),
    ];
    for ((name, kind, help), value) in rows.into_iter().zip(values) {
        metric(page, name, kind, help, &[("", value)]);
    }
}

/// What purges may name a response by that is about to be stored: its URL and host, its tags, its cache groups. A response that
/// is renewed by a 304 keeps the tags it had: the 304 need not repeat them.
pub(crate) fn groups_of(ex: &Exchange, key: &CacheKey<'_>, headers: &HeaderMap, renewed: Option<&Groups>) -> Groups {
    let tags = surrogate_key::parse_tags(headers);
    let cache_groups = groups::parse_groups(headers, &CACHE_GROUPS);
    let (scheme, host) = (key.scheme.as_str(), key.host);
    let numbers = tags.tags.iter().map(|tag| tag_group(key.zone, tag));
    let numbers = numbers.chain(cache_groups.iter().map(|group| cache_group(key.zone, scheme, host, group)));
    let numbers = numbers.chain(renewed.into_iter().flat_map(|groups| groups.tags.iter().copied()));
    let (groups, unkept) = Groups::of(&key.url()).with_tags(numbers, tags.incomplete);
    if unkept {
        ex.worker.node.store.count_unkept_tags();
    }
    groups
}

/// The fields of a response as visitors get them: without the tags, where the zone does not keep them.
pub(crate) fn for_visitors<'a>(zone: &LiveZone, headers: &'a HeaderMap) -> Cow<'a, HeaderMap> {
    if !has_hidden_tags(zone, headers) {
        return Cow::Borrowed(headers);
    }
    let mut headers = headers.clone();
    hide_tags(&mut headers);
    Cow::Owned(headers)
}

/// Whether there are tags among the fields that visitors do not see.
pub(crate) fn has_hidden_tags(zone: &LiveZone, headers: &impl Fields) -> bool {
    !zone.zone.purge.keep_tags && (headers.has(&SURROGATE_KEY) || headers.has(&CACHE_TAG))
}

/// Takes the tags out.
pub(crate) fn hide_tags(headers: &mut HeaderMap) {
    headers.remove(SURROGATE_KEY);
    headers.remove(CACHE_TAG);
}

/// An unsafe method that succeeded makes invalid what is stored for its target, for what the reply points at (RFC 9111 section 4.4),
/// and for the cache groups that the reply names (RFC 9875 section 3).
pub(crate) fn invalidate(ex: &Exchange, zone: &LiveZone, status: StatusCode, reply: &HeaderMap) {
    if !invalidation::invalidates(&ex.asked.method, status) {
        return;
    }
    let node = &ex.worker.node;
    let key = CacheKey { path_and_query: &ex.asked.path_and_query, ..key_of(ex, zone) };
    equivalents::invalidate(node, zone, &key);
    let others = invalidation::also_invalidated(ex.asked.scheme, &ex.asked.authority, &ex.asked.path_and_query, reply);
    for target in others {
        equivalents::invalidate(node, zone, &CacheKey { path_and_query: &target, ..key });
    }
    for group in groups::parse_groups(reply, &CACHE_GROUP_INVALIDATION) {
        let group = cache_group(key.zone, key.scheme.as_str(), key.host, &group);
        node.store.purge_tag(key.zone, group, PurgeKind::Hard);
    }
}
