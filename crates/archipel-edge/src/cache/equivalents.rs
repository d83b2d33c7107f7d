//! Stored responses that answer requests with other queries than their own, because they say so (`No-Vary-Search`).
//!
//! Owns a bounded index from a target without its query to the targets of such responses. The index only suggests: what it
//! names is looked up in the store like anything else, and its own field is asked again, so that a purge, an eviction or a newer
//! response needs no word here. Entries whose response is gone go when they are met. Must never answer by itself.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use archipel_cache::{KeyRef, Lookup, PurgeKind, Purged, Stored};
use archipel_http::fields::Fields;
use archipel_http::key::CacheKey;
use archipel_http::no_vary_search::NoVarySearch;
use smallvec::SmallVec;

use super::Meta;
use crate::live::LiveZone;
use crate::node::Node;

/// Targets (without query) in the index; the oldest goes.
pub(crate) const EQUIVALENT_PATHS_MAX: usize = 65_536;
/// Bytes of memory of the index; the oldest target goes.
pub(crate) const EQUIVALENT_BYTES_MAX: usize = 32 << 20;
/// Responses of one target that are remembered, and tried; the oldest goes.
pub(crate) const EQUIVALENTS_PER_PATH_MAX: usize = 16;

/// Shards of the index.
const SHARDS: usize = 16;

/// Bytes of memory for each entry beside its texts, and for each target.
const ENTRY_BYTES: usize = 160;

/// The index.
pub(crate) struct Equivalents {
    shards: [Mutex<Shard>; SHARDS],
    /// Targets in it: while there are none, a miss costs one load.
    paths: AtomicUsize,
}

#[derive(Default)]
struct Shard {
    paths: HashMap<u128, Path, foldhash::fast::RandomState>,
    /// Hashes in the order they came; names also what went since.
    order: VecDeque<(u128, u64)>,
    made: u64,
    /// Bytes of memory of all entries.
    bytes: usize,
}

struct Path {
    number: u64,
    /// The newest last.
    known: SmallVec<[Known; 2]>,
}

#[derive(Clone)]
struct Known {
    rule: Arc<NoVarySearch>,
    target: Arc<str>,
    extra: Arc<str>,
}

impl Known {
    fn bytes(&self) -> usize {
        self.rule.heap_bytes() + self.target.len() + self.extra.len() + ENTRY_BYTES
    }

    fn is(&self, target: &str, extra: &str) -> bool {
        *self.target == *target && *self.extra == *extra
    }
}

fn query(target: &str) -> Option<&str> {
    target.split_once('?').map(|(_, query)| query)
}

fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

fn hash(key: &CacheKey<'_>, seed: (u64, u64)) -> u128 {
    // Without what the zone adds: a purge by URL means all of it.
    CacheKey { path_and_query: path(key.path_and_query), extra: "", ..*key }.hash(seed)
}

impl Equivalents {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), paths: AtomicUsize::new(0) }
    }

    fn lock(&self, hash: u128) -> MutexGuard<'_, Shard> {
        self.shards[(hash >> 96) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a response by its key; tells by name which bound made another go.
    pub(crate) fn insert(&self, key: &CacheKey<'_>, seed: (u64, u64), rule: NoVarySearch) -> Option<&'static str> {
        let hash = hash(key, seed);
        let mut shard = self.lock(hash);
        let before = shard.paths.len();
        let dropped = shard
            .insert(hash, Known { rule: Arc::new(rule), target: key.path_and_query.into(), extra: key.extra.into() });
        let after = shard.paths.len();
        self.paths.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        dropped
    }

    /// The targets of responses that said they answer this key's target too, whatever the zone adds to their keys; the newest first.
    fn of_target(&self, key: &CacheKey<'_>, seed: (u64, u64)) -> SmallVec<[Known; 2]> {
        if self.paths.load(Ordering::Relaxed) == 0 {
            return SmallVec::new();
        }
        let hash = hash(key, seed);
        let known = self.lock(hash).paths.get(&hash).map(|path| path.known.clone()).unwrap_or_default();
        let (own_path, own_query) = (path(key.path_and_query), query(key.path_and_query));
        let fits = |known: &Known| {
            *known.target != *key.path_and_query
                && path(&known.target) == own_path
                && known.rule.is_equivalent(query(&known.target), own_query)
        };
        known.into_iter().rev().filter(fits).collect()
    }

    /// Those of them whose keys differ from this one in nothing else.
    fn of(&self, key: &CacheKey<'_>, seed: (u64, u64)) -> SmallVec<[Arc<str>; 2]> {
        let known = self.of_target(key, seed).into_iter();
        known.filter(|known| *known.extra == *key.extra).map(|known| known.target).collect()
    }

    fn forget(&self, key: &CacheKey<'_>, seed: (u64, u64), target: &str) {
        let hash = hash(key, seed);
        let mut shard = self.lock(hash);
        let before = shard.paths.len();
        shard.forget(hash, target, key.extra);
        self.paths.fetch_sub(before - shard.paths.len(), Ordering::Relaxed);
    }
}

impl Path {
    fn bytes(&self) -> usize {
        self.known.iter().map(Known::bytes).sum::<usize>() + ENTRY_BYTES
    }
}

impl Shard {
    fn insert(&mut self, hash: u128, new: Known) -> Option<&'static str> {
        let mut path = match self.paths.remove(&hash) {
            Some(path) => {
                self.bytes -= path.bytes();
                path
            }
            None => {
                self.made += 1;
                self.order.push_back((hash, self.made));
                Path { number: self.made, known: SmallVec::new() }
            }
        };
        path.known.retain(|known| !known.is(&new.target, &new.extra));
        let full = path.known.len() >= EQUIVALENTS_PER_PATH_MAX;
        if full {
            path.known.remove(0);
        }
        path.known.push(new);
        self.bytes += path.bytes();
        self.paths.insert(hash, path);
        self.trim().or(full.then_some("equivalents_per_path_max"))
    }

    fn forget(&mut self, hash: u128, target: &str, extra: &str) {
        let Some(mut path) = self.paths.remove(&hash) else { return };
        self.bytes -= path.bytes();
        path.known.retain(|known| !known.is(target, extra));
        if !path.known.is_empty() {
            self.bytes += path.bytes();
            self.paths.insert(hash, path);
        }
    }

    fn trim(&mut self) -> Option<&'static str> {
        let mut dropped = None;
        loop {
            let bound = match self.order.len() > EQUIVALENT_PATHS_MAX / SHARDS {
                true => "equivalent_paths_max",
                false if self.bytes > EQUIVALENT_BYTES_MAX / SHARDS => "equivalent_bytes_max",
                false => return dropped,
            };
            let Some((hash, number)) = self.order.pop_front() else { return dropped };
            if self.paths.get(&hash).is_some_and(|path| path.number == number)
                && let Some(path) = self.paths.remove(&hash)
            {
                self.bytes -= path.bytes();
                dropped = Some(bound);
            }
        }
    }
}

/// Looks for a stored response with another query that says it answers this key too.
pub(super) fn look_up(
    node: &Node,
    key: &CacheKey<'_>,
    mut fits: impl FnMut(&Stored<Meta>) -> bool,
) -> Option<Lookup<Meta>> {
    for target in node.equivalents.of(key, node.key_seed) {
        let other = CacheKey { path_and_query: &target, ..*key };
        let Some(found) = node.store.lookup(&KeyRef::new(&other, node.key_seed), &mut fits) else {
            node.equivalents.forget(key, node.key_seed, &target);
            continue;
        };
        if says_so(&*found.stored.meta.fields, &target, key.path_and_query) {
            return Some(found);
        }
    }
    None
}

/// Whether a response itself says that its target and another differ in nothing that matters.
fn says_so(fields: &impl Fields, own: &str, other: &str) -> bool {
    NoVarySearch::from_headers(fields).is_some_and(|rule| rule.is_equivalent(query(own), query(other)))
}

/// All targets under which something may be stored that answers requests for this one: its forms in the keys of the zone, and
/// those of responses that say so themselves. For what purges by URL.
pub(crate) fn targets(node: &Node, zone: &LiveZone, key: &CacheKey<'_>) -> Vec<Box<str>> {
    let mut targets = zone.key_targets(key.path_and_query);
    for at in 0..targets.len() {
        let Some(target) = targets.get(at).cloned() else { break };
        for known in node.equivalents.of_target(&CacheKey { path_and_query: &target, ..*key }, node.key_seed) {
            if !targets.iter().any(|target| **target == *known.target) {
                targets.push((*known.target).into());
            }
        }
    }
    targets
}

/// Purges all [`targets`] of a key's target.
pub(crate) fn purge(node: &Node, zone: &LiveZone, key: &CacheKey<'_>, kind: PurgeKind) -> Purged {
    let mut purged = Purged { sequence: 0, objects: 0 };
    for target in targets(node, zone, key) {
        let key = CacheKey { path_and_query: &target, ..*key };
        let one = node.store.purge_url(&KeyRef::new(&key, node.key_seed), kind);
        purged.sequence = one.sequence;
        purged.objects += one.objects;
    }
    purged
}

/// Makes all [`targets`] of a key's target invalid.
pub(crate) fn invalidate(node: &Node, zone: &LiveZone, key: &CacheKey<'_>) {
    for target in targets(node, zone, key) {
        let key = CacheKey { path_and_query: &target, extra: "", ..*key };
        node.store.invalidate_url(&KeyRef::new(&key, node.key_seed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use archipel_http::target::Scheme;

    const SEED: (u64, u64) = (5, 6);

    fn key(target: &str) -> CacheKey<'_> {
        CacheKey { zone: 1, scheme: Scheme::Https, host: "a.example", path_and_query: target, extra: "" }
    }

    fn rule(text: &str) -> NoVarySearch {
        NoVarySearch::parse(text.as_bytes()).unwrap()
    }

    fn of(index: &Equivalents, target: &str) -> Vec<String> {
        index.of(&key(target), SEED).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_found() {
        let index = Equivalents::new();
        assert!(of(&index, "/a?x=1").is_empty());
        assert_eq!(index.insert(&key("/a?x=1&id=2"), SEED, rule("params=(\"x\")")), None);
        assert_eq!(index.insert(&key("/a?x=3&id=2"), SEED, rule("params=(\"x\")")), None);
        assert_eq!(of(&index, "/a?id=2"), ["/a?x=3&id=2", "/a?x=1&id=2"]);
        assert_eq!(of(&index, "/a?x=3&id=2"), ["/a?x=1&id=2"]);
        assert!(of(&index, "/a?id=3").is_empty());
        assert!(of(&index, "/b?id=2").is_empty());
        let other_host = CacheKey { host: "b.example", ..key("/a?id=2") };
        let other_extra = CacheKey { extra: "device=mobile", ..key("/a?id=2") };
        assert!(index.of(&other_host, SEED).is_empty() && index.of(&other_extra, SEED).is_empty());
        assert_eq!(index.of_target(&other_extra, SEED).len(), 2, "a purge means all of a URL");
        assert!(index.of_target(&other_host, SEED).is_empty());
        index.forget(&key("/a?id=2"), SEED, "/a?x=3&id=2");
        index.forget(&key("/a?id=2"), SEED, "/a?x=1&id=2");
        assert!(of(&index, "/a?id=2").is_empty());
        assert_eq!(index.paths.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn bounds() {
        let index = Equivalents::new();
        let mut dropped = None;
        for n in 0..=EQUIVALENTS_PER_PATH_MAX {
            dropped = index.insert(&key(&format!("/a?x={n}")), SEED, rule("params"));
        }
        assert_eq!(dropped, Some("equivalents_per_path_max"));
        assert_eq!(of(&index, "/a").len(), EQUIVALENTS_PER_PATH_MAX);
        let mut reached = false;
        for n in 0..EQUIVALENT_PATHS_MAX * 2 {
            reached |= index.insert(&key(&format!("/{n}?x")), SEED, rule("params")) == Some("equivalent_paths_max");
        }
        let mut bytes_reached = false;
        for n in 0..1_000 {
            let long = format!("/long-{n}?{}", "x".repeat(100_000));
            bytes_reached |= index.insert(&key(&long), SEED, rule("params")) == Some("equivalent_bytes_max");
        }
        let bytes: usize = index.shards.iter().map(|shard| shard.lock().unwrap().bytes).sum();
        assert!(bytes_reached && bytes <= EQUIVALENT_BYTES_MAX, "{bytes}");
        let paths: usize = index.shards.iter().map(|shard| shard.lock().unwrap().paths.len()).sum();
        assert_eq!(paths, index.paths.load(Ordering::Relaxed));
        for shard in &index.shards {
            let shard = shard.lock().unwrap();
            assert_eq!(shard.bytes, shard.paths.values().map(Path::bytes).sum::<usize>());
        }
        assert!(reached && index.paths.load(Ordering::Relaxed) <= EQUIVALENT_PATHS_MAX);
    }
}
