//! Purging what is stored, by what an operator can name.

use archipel_cache::{Groups, KeyRef, KeyText as _, PurgeKind, cache_group, purge_group, tag_group};
use archipel_config::HttpUrl;
use archipel_http::groups::{self, CACHE_GROUP_INVALIDATION, CACHE_GROUPS};
use archipel_http::key::CacheKey;
use archipel_http::target::{self, Scheme};
use archipel_http::{invalidation, surrogate_key};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cache::key_of;
use crate::exchange::Exchange;
use crate::live::LiveZone;
use crate::node::Node;

/// What to purge.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purge {
    /// All variants of a URL.
    Url(String),
    /// Everything of a host (with a port that is not the scheme's default).
    Host(String),
    /// Everything of a zone.
    Zone(String),
    /// Everything.
    Everything,
}

/// What a purge did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PurgeReport {
    /// Its number: later purges have greater ones.
    pub sequence: u64,
    /// Objects removed at once; those of a host, a zone or everything go when they are next looked at.
    pub objects: usize,
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
    #[error("the URL is refused: {0}")]
    Target(#[from] target::TargetError),
    /// No zone serves that host.
    #[error("no zone serves the host {0:?}; `archipel config show` lists them")]
    UnknownHost(String),
    /// No such zone.
    #[error("there is no zone {0:?}; `archipel config show` lists them")]
    UnknownZone(String),
}

impl Node {
    /// Purges. Soft: what it covers counts as stale from now on; otherwise it is gone.
    ///
    /// # Errors
    /// [`PurgeError`]; nothing is purged then.
    pub fn purge(&self, what: &Purge, soft: bool) -> Result<PurgeReport, PurgeError> {
        let kind = if soft { PurgeKind::Soft } else { PurgeKind::Hard };
        let purged = match what {
            Purge::Url(url) => return self.purge_url(url, kind),
            Purge::Host(host) => {
                let parsed = target::parse_host(host.as_bytes())?;
                let live = self.live();
                let Some(zone) = live.zone_for_host(&parsed.name) else {
                    return Err(PurgeError::UnknownHost(host.clone()));
                };
                // With a port the group is exact; without one it is that of both default ports.
                self.store.purge_host(zone.zone.id, purge_group(&parsed.to_text(Scheme::Http)), kind);
                self.store.purge_host(zone.zone.id, purge_group(&parsed.to_text(Scheme::Https)), kind)
            }
            Purge::Zone(name) => {
                let live = self.live();
                let zone = live.zone_by_name(name).ok_or_else(|| PurgeError::UnknownZone(name.clone()))?;
                self.store.purge_zone(zone.zone.id, kind)
            }
            Purge::Everything => self.store.purge_all(kind),
        };
        Ok(PurgeReport { sequence: purged.sequence, objects: purged.objects })
    }

    fn purge_url(&self, url: &str, kind: PurgeKind) -> Result<PurgeReport, PurgeError> {
        let (before_query, query) = match url.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (url, None),
        };
        let parsed = HttpUrl::parse(before_query)
            .map_err(|error| PurgeError::Url { message: error.message, help: error.help })?;
        let scheme = if parsed.is_https() { Scheme::Https } else { Scheme::Http };
        let live = self.live();
        let zone = live.zone_for_host(&parsed.host).ok_or_else(|| PurgeError::UnknownHost(parsed.host.to_string()))?;
        let mut target = target::canonical_path(parsed.path.as_bytes())?.into_owned();
        if let Some(query) = query.filter(|_| !zone.zone.cache.ignore_query) {
            target.push('?');
            target.push_str(target::check_query(query.as_bytes())?);
        }
        let authority = parsed.authority();
        let key = CacheKey { zone: zone.zone.id, scheme, host: &authority, path_and_query: &target, extra: "" };
        let purged = self.store.purge_url(&KeyRef::new(&key, self.key_seed), kind);
        Ok(PurgeReport { sequence: purged.sequence, objects: purged.objects })
    }
}

/// What purges may name a response by that is about to be stored: its URL and host, its tags, its cache groups.
pub(crate) fn groups_of(ex: &Exchange, key: &CacheKey<'_>, headers: &HeaderMap) -> Groups {
    let tags = surrogate_key::parse_tags(headers);
    let cache_groups = groups::parse_groups(headers, &CACHE_GROUPS);
    let numbers = tags.tags.iter().map(|tag| tag_group(key.zone, tag));
    let origin = (key.scheme.as_str(), key.host);
    let numbers = numbers.chain(cache_groups.iter().map(|group| cache_group(key.zone, origin.0, origin.1, group)));
    let (groups, unkept) = Groups::of(&key.url()).with_tags(numbers, tags.incomplete);
    if unkept {
        ex.worker.node.store.count_unkept_tags();
    }
    groups
}

/// An unsafe method that succeeded makes invalid what is stored for its target, for what the reply points at (RFC 9111 section 4.4),
/// and for the cache groups that the reply names (RFC 9875 section 3).
pub(crate) fn invalidate(ex: &Exchange, zone: &LiveZone, status: StatusCode, reply: &HeaderMap) {
    if !invalidation::invalidates(&ex.asked.method, status) {
        return;
    }
    let node = &ex.worker.node;
    let key = key_of(ex, zone);
    node.store.purge_url(&KeyRef::new(&key, node.key_seed), PurgeKind::Hard);
    let others = invalidation::also_invalidated(ex.asked.scheme, &ex.asked.authority, &ex.asked.path_and_query, reply);
    for target in others {
        let mut key = key_of(ex, zone);
        key.path_and_query =
            if zone.zone.cache.ignore_query { target.split('?').next().unwrap_or("/") } else { &target };
        node.store.purge_url(&KeyRef::new(&key, node.key_seed), PurgeKind::Hard);
    }
    for group in groups::parse_groups(reply, &CACHE_GROUP_INVALIDATION) {
        let group = cache_group(key.zone, key.scheme.as_str(), key.host, &group);
        node.store.purge_tag(key.zone, group, PurgeKind::Hard);
    }
}
