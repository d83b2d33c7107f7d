//! The memory tier: finds, keeps, bounds and purges.
//!
//! Must never hold a shard's lock for longer than a lookup or one eviction, nor two at a time; objects are freed outside.

use crate::disk::DiskTier;
use crate::fill::{Fill, FillBudget, FillOptions, FillReader, FillWriter};
use crate::key::{KeyRef, KeyText};
use crate::purge::{PurgeKind, PurgeStamp};
use crate::purge_log::PurgeLog;
use crate::quota::{Line, Quotas, SHARDS};
use crate::shard::{Left, Shard};
use crate::stats::{CacheCounts, CacheStats, count};
use crate::stored::{Head, Stored};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Shards compared for fullness before one of them gives something up.
const VICTIMS: usize = 4;

/// The bounds of a [`Store`].
#[derive(Debug, Clone)]
pub struct StoreLimits {
    /// Bytes of memory for stored objects and their index. Default 256 MiB.
    pub memory_bytes_max: u64,
    /// Bytes of one object with its overhead. Default 16 MiB.
    pub object_bytes_max: u64,
    /// Variants of one key (RFC 9111 section 4.1); the oldest goes. Default 64.
    pub variants_max: usize,
    /// Bytes of memory that all fills in flight may keep for storing; above it, fills are only passed through. Default 256 MiB.
    pub fills_bytes_max: u64,
    /// Bytes that a fill which is only passed through holds ahead of its slowest reader. Default 1 MiB.
    pub fill_window_bytes_max: u64,
    /// Scopes (zones, hosts, prefixes, URLs, keys, tags) with a recorded purge; one more purges what is older than half the records
    /// of the zone that has the most. At least 2. Default 65,536.
    pub purge_scopes_max: usize,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 256 << 20,
            object_bytes_max: 16 << 20,
            variants_max: 64,
            fills_bytes_max: 256 << 20,
            fill_window_bytes_max: 1 << 20,
            purge_scopes_max: 65_536,
        }
    }
}

/// What [`Store::lookup`] found.
#[derive(Debug)]
pub struct Lookup<M> {
    /// The newest variant that was picked.
    pub stored: Arc<Stored<M>>,
    /// It was purged softly since it was stored or last revalidated: treat as stale.
    pub soft_purged: bool,
}

/// Why an object was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is larger than `object_bytes_max`, or than the whole memory.
    #[error("the object is larger than object_bytes_max")]
    ObjectBytesMax,
    /// Nothing more could be evicted to make room within `memory_bytes_max`.
    #[error("memory_bytes_max leaves no room")]
    MemoryBytesMax,
    /// It is larger than its zone's quota, or nothing more of the zone could be evicted.
    #[error("the zone's quota leaves no room")]
    ZoneBytesMax,
    /// It was purged after its fetch began.
    #[error("the object was purged while it was fetched")]
    Purged,
}

impl Refused {
    /// The reason as a word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ObjectBytesMax => "object_bytes_max",
            Self::MemoryBytesMax => "memory_bytes_max",
            Self::ZoneBytesMax => "zone_memory_bytes_max",
            Self::Purged => "purged",
        }
    }
}

/// The memory tier. Shared by every core; `M` is what the policy keeps with each response.
#[derive(Debug)]
pub struct Store<M> {
    pub(crate) shards: Box<[Slice<M>; SHARDS]>,
    /// Bytes reserved by stored objects; never above `memory_bytes_max`.
    bytes: AtomicU64,
    victim: AtomicUsize,
    reclaimed: Mutex<(usize, usize)>,
    pub(crate) log: PurgeLog,
    pub(crate) quotas: Arc<Quotas>,
    limits: StoreLimits,
    budget: Arc<FillBudget>,
    pub(crate) stats: Arc<CacheStats>,
    /// Another process takes over.
    pub(crate) hands_over: AtomicBool,
    /// What is below; see the module `store_disk`.
    pub(crate) disk: OnceLock<Arc<DiskTier<M>>>,
}

/// What comes into the store, and hence what may have happened to it on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coming {
    /// From the origin: it may be invalid since its fetch began.
    Fetched,
    /// Made of something stored, which alone leads to it.
    Derived,
    /// From the disk, where it is stored: only if memory has none of its key and variant.
    Promoted,
}

/// A shard beside others in memory: aligned so that cores working on neighbours do not share a cache line.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Slice<M> {
    shard: Mutex<Shard<M>>,
    /// Held from a change until the disk is offered what changed, so that it is told in the order of the changes. Before the shard's.
    offers: Mutex<()>,
    /// Bytes of what zones without a quota have in it as of its last change, to choose a victim without its lock.
    bytes: AtomicU64,
}

impl<M> Slice<M> {
    #[cfg(test)]
    pub(crate) fn held(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Shard<M>> {
        // Only a caller's `pick` could panic under the lock, and it runs between complete changes.
        self.shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Store<M> {
    /// Bytes of index for each object, beside [`Stored::weight`].
    pub const ENTRY_BYTES: u64 = Shard::<M>::ENTRY_BYTES;

    /// An empty store.
    pub fn new(limits: StoreLimits) -> Self {
        let stats = Arc::new(CacheStats::default());
        let quotas = Arc::new(Quotas::default());
        let slice = |number| Slice {
            shard: Mutex::new(Shard::new(number, Arc::clone(&quotas))),
            offers: Mutex::default(),
            bytes: AtomicU64::new(0),
        };
        Self {
            shards: Box::new(std::array::from_fn(slice)),
            bytes: AtomicU64::new(0),
            victim: AtomicUsize::new(0),
            reclaimed: Mutex::new((0, 0)),
            log: PurgeLog::new(limits.purge_scopes_max),
            quotas,
            budget: Arc::new(FillBudget::new(limits.fills_bytes_max, Arc::clone(&stats))),
            limits,
            stats,
            hands_over: AtomicBool::new(false),
            disk: OnceLock::new(),
        }
    }

    /// The bounds it was made with.
    pub fn limits(&self) -> &StoreLimits {
        &self.limits
    }

    /// The counters shared by the store, its fills and its flights.
    pub fn stats(&self) -> &Arc<CacheStats> {
        &self.stats
    }

    /// All counters and gauges now. Takes each shard's lock in turn: for metrics, not for requests.
    pub fn counts(&self) -> CacheCounts {
        let mut counts = self.stats.counts();
        for slice in self.shards.iter() {
            let shard = slice.lock();
            counts.hits += shard.hits;
            counts.misses += shard.misses;
            counts.entries += shard.len() as u64;
        }
        counts.bytes = self.bytes();
        counts.fills_bytes = self.budget.used();
        counts.purge_scopes = self.log.len() as u64;
        counts
    }

    /// Bytes of memory reserved for stored objects now; never above `memory_bytes_max`.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The newest variant of a key that `pick` accepts. `pick` runs under a lock: it only compares, and never calls the store.
    pub fn lookup<K: KeyText + ?Sized>(
        &self,
        key: &KeyRef<'_, K>,
        pick: impl FnMut(&Stored<M>) -> bool,
    ) -> Option<Lookup<M>> {
        let slice = self.slice(key.hash);
        let mut left = Left::new();
        let mut shard = slice.lock();
        let found = shard.lookup((key.hash, key.text), &self.log, &mut left, pick);
        if !left.is_empty() {
            self.settle(slice, shard, &left);
            self.stats.purged_reclaimed.fetch_add(left.len() as u64, Ordering::Relaxed);
        }
        found.map(|found| Lookup { stored: found.stored, soft_purged: found.soft_purged })
    }

    /// All variants of a key, newest first, without counting a use: for inspection.
    pub fn variants<K: KeyText + ?Sized>(&self, key: &KeyRef<'_, K>) -> Vec<Arc<Stored<M>>> {
        self.slice(key.hash).lock().all(key.hash, key.text)
    }

    /// Begins a body that is read while it fills; see [`Fill::start`]. `length` is the declared Content-Length.
    pub fn start_fill(
        &self,
        head: Head<M>,
        length: Option<u64>,
        keep_without_readers: bool,
    ) -> (FillWriter<M>, FillReader<M>) {
        let options = FillOptions {
            object_bytes_max: self.limits.object_bytes_max,
            window_bytes_max: self.limits.fill_window_bytes_max,
            length,
            keep_without_readers,
        };
        Fill::start(head, options, Arc::clone(&self.budget))
    }

    /// Stores a response, in place of one of the same key and variant.
    ///
    /// # Errors
    /// [`Refused`], by name and counted; the store is then as it was, except that older objects may have been evicted.
    pub fn insert(&self, stored: Stored<M>) -> Result<Arc<Stored<M>>, Refused> {
        let stored = Arc::new(stored);
        self.insert_shared(&stored)?;
        Ok(stored)
    }

    /// [`Store::insert`] of a response that is served whether it is stored or not.
    ///
    /// # Errors
    /// As [`Store::insert`].
    pub fn insert_shared(&self, stored: &Arc<Stored<M>>) -> Result<(), Refused> {
        self.insert_coming(stored, Coming::Fetched)
    }

    /// [`Store::insert_shared`] of a form that was made of a stored response, under a key that only this one leads to: where that was
    /// made invalid meanwhile, nothing is.
    ///
    /// # Errors
    /// As [`Store::insert`].
    pub fn insert_derived(&self, stored: &Arc<Stored<M>>) -> Result<(), Refused> {
        self.insert_coming(stored, Coming::Derived)
    }

    fn insert_coming(&self, stored: &Arc<Stored<M>>, coming: Coming) -> Result<(), Refused> {
        if stored.body().on_disk().is_some() {
            // Its place is the disk; only its fields may be new.
            self.renew_on_disk(stored);
            return Ok(());
        }
        let _order = self.order(stored.hash);
        let inserted = self.insert_in_memory(stored, coming);
        if inserted != Err(Refused::Purged) {
            if inserted.is_err() {
                self.forget_older(stored);
            }
            // What memory took was valid then; what it did not take is as good as its fetch.
            self.offer_new(stored, inserted.unwrap_or(stored.stamp));
        }
        inserted.map(drop)
    }

    /// The order in which the disk is offered what changes in a shard.
    fn order(&self, hash: u128) -> Option<MutexGuard<'_, ()>> {
        self.disk()?;
        Some(self.slice(hash).offers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stores a response in memory alone. Returns a number at which it was valid.
    pub(crate) fn insert_in_memory(&self, stored: &Arc<Stored<M>>, coming: Coming) -> Result<PurgeStamp, Refused> {
        debug_assert!(!stored.body().is_lent(), "the buffer would not come back");
        let cost = Shard::cost(stored);
        self.reserve(stored, cost)?;
        let slice = self.slice(stored.hash);
        let mut shard = slice.lock();
        let valid = self.log.stamp();
        let (compared, purged) = self.compare(stored, coming);
        if purged == Some(PurgeKind::Hard) {
            drop(shard);
            return Err(self.refuse_purged(stored, cost));
        }
        if coming == Coming::Promoted && shard.has_variant(stored) {
            drop(shard);
            self.give_back(stored, cost);
            return Ok(valid);
        }
        let mut left = shard.insert(Arc::clone(stored), compared, purged.is_some());
        let trimmed = shard.trim_variants(stored.hash, self.limits.variants_max.max(1));
        self.stats.evicted_variants_max.fetch_add(trimmed.len() as u64, Ordering::Relaxed);
        left.extend(trimmed);
        self.quotas.of(stored.zone).memory.came(1);
        self.settle(slice, shard, &left);
        count(&self.stats.inserts);
        Ok(valid)
    }

    /// Renews a stored response after a 304 (RFC 9111 section 4.3.4): the new head, the same body shared. Where the old one was evicted
    /// meanwhile, stores the new one.
    ///
    /// # Errors
    /// As [`Store::insert`]; the old response then stays, unless it was purged.
    pub fn replace(&self, old: &Arc<Stored<M>>, head: Head<M>) -> Result<Arc<Stored<M>>, Refused> {
        self.renew(old, head, true)
    }

    /// [`Store::replace`] where the old head is as good on the disk as the new one: where it is there, nothing is written. Never for a
    /// head that purges cover differently.
    ///
    /// # Errors
    /// As [`Store::replace`].
    pub fn replace_in_memory(&self, old: &Arc<Stored<M>>, head: Head<M>) -> Result<Arc<Stored<M>>, Refused> {
        self.renew(old, head, !old.is_on_disk())
    }

    fn renew(&self, old: &Arc<Stored<M>>, head: Head<M>, offers: bool) -> Result<Arc<Stored<M>>, Refused> {
        let stored = Stored::new(head, old.body().to_kept());
        if !offers {
            stored.set_on_disk();
        }
        if !offers && stored.body().on_disk().is_some() {
            return Ok(Arc::new(stored));
        }
        if stored.body().on_disk().is_some() {
            return self.insert(stored);
        }
        let order = self.order(stored.hash);
        let (before, cost) = (Shard::cost(old), Shard::cost(&stored));
        let more = cost.saturating_sub(before);
        self.reserve(&stored, more)?;
        let slice = self.slice(stored.hash);
        let mut shard = slice.lock();
        let place = if old.hash == stored.hash && old.key == stored.key { shard.find(old) } else { None };
        let Some(id) = place else {
            drop((shard, order));
            self.give_back(&stored, more);
            return self.insert(stored);
        };
        let valid = self.log.stamp();
        let (compared, purged) = self.compare(&stored, Coming::Fetched);
        if purged == Some(PurgeKind::Hard) {
            drop(shard);
            return Err(self.refuse_purged(&stored, more));
        }
        let stored = Arc::new(stored);
        let left = shard.replace(id, Arc::clone(&stored), compared, purged.is_some());
        self.quotas.of(stored.zone).memory.came(1);
        // Only the difference was reserved above, so the rest of the new object's bytes are the old one's.
        self.settle_keeping(slice, shard, &left, cost - more);
        count(&self.stats.replaced);
        if offers {
            self.offer_new(&stored, valid);
        }
        drop(order);
        Ok(stored)
    }

    /// Removes one stored response, if it is stored still.
    pub fn remove(&self, stored: &Arc<Stored<M>>) -> bool {
        let on_disk = self.remove_on_disk(stored);
        self.remove_from_memory(stored) || on_disk
    }

    pub(crate) fn remove_from_memory(&self, stored: &Arc<Stored<M>>) -> bool {
        let slice = self.slice(stored.hash);
        let mut shard = slice.lock();
        let left: Left<M> = shard.find(stored).and_then(|id| shard.remove(id)).into_iter().collect();
        let removed = !left.is_empty();
        self.settle(slice, shard, &left);
        removed
    }

    /// Removes from memory what a response that is not kept there takes the place of: of its key and variant, and not newer.
    pub(crate) fn forget_older(&self, head: &Head<M>) {
        let slice = self.slice(head.hash);
        let mut shard = slice.lock();
        let old = shard.all(head.hash, &*head.key).into_iter();
        let mut old = old.filter(|old| old.variant == head.variant && old.stored_at <= head.stored_at);
        let left: Left<M> =
            old.next().and_then(|old| shard.find(&old)).and_then(|id| shard.remove(id)).into_iter().collect();
        self.settle(slice, shard, &left);
    }

    /// Gives purged objects' memory back: looks at up to `slots` objects, going on where the last call stopped. Returns how many were
    /// removed. Optional (lookups and evictions do it as well): call it now and then after a large purge.
    pub fn reclaim(&self, slots: usize) -> usize {
        let mut at = self.reclaimed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slice) = self.shards.get(at.0 % SHARDS) else {
            return 0;
        };
        let mut shard = slice.lock();
        let (next, left) = shard.reclaim(at.1, slots, &self.log);
        *at = next.map_or(((at.0 + 1) % SHARDS, 0), |slot| (at.0, slot));
        self.settle(slice, shard, &left);
        self.stats.purged_reclaimed.fetch_add(left.len() as u64, Ordering::Relaxed);
        left.len()
    }

    /// Whether what was found below is worth a place in memory: it was used before and there is room, or it was asked for so lately
    /// that memory would have kept it since.
    pub(crate) fn is_worth_memory(&self, stored: &Stored<M>, was_used: bool) -> bool {
        let (cost, line) = (Shard::cost(stored), self.quotas.of(stored.zone));
        let quota = line.memory.bytes_max().unwrap_or(u64::MAX);
        if cost > self.limits.object_bytes_max.min(self.limits.memory_bytes_max).min(quota) {
            return false;
        }
        let has_room = self.bytes() + cost <= self.limits.memory_bytes_max && line.memory.bytes() + cost <= quota;
        if has_room { was_used } else { self.slice(stored.hash).lock().returns(stored.hash) }
    }

    /// Whether something of a key with this hash is in memory.
    pub(crate) fn holds(&self, hash: u128) -> bool {
        self.slice(hash).lock().holds(hash)
    }

    pub(crate) fn slice(&self, hash: u128) -> &Slice<M> {
        // The map inside uses other bits, hashed again.
        &self.shards[(hash >> 64) as usize % SHARDS]
    }

    /// What was purged since a response's fetch began, and the number up to which that is known. Under the shard's lock: what is made
    /// invalid after this is removed after the insert.
    fn compare(&self, stored: &Stored<M>, coming: Coming) -> (u64, Option<PurgeKind>) {
        // The number first: what is recorded after it is compared at the next look.
        let compared = self.log.recorded();
        let purged = match coming {
            Coming::Fetched => self.outdated(stored, stored.stamp),
            Coming::Derived | Coming::Promoted => self.purged(stored),
        };
        (compared, purged)
    }

    /// A number at which a response in memory was valid; `None` where it is not there any more.
    pub(crate) fn valid_in_memory(&self, stored: &Arc<Stored<M>>) -> Option<PurgeStamp> {
        let shard = self.slice(stored.hash).lock();
        shard.find(stored).map(|_| self.log.stamp())
    }

    /// Gives back what was reserved for an object that is not stored after all.
    fn give_back(&self, stored: &Stored<M>, reserved: u64) {
        self.quotas.of(stored.zone).memory.give_back(reserved);
        self.bytes.fetch_sub(reserved, Ordering::Relaxed);
    }

    fn refuse_purged(&self, stored: &Stored<M>, reserved: u64) -> Refused {
        self.give_back(stored, reserved);
        count(&self.stats.refused_purged);
        Refused::Purged
    }

    /// Ends a change of a shard: notes its size, releases the lock, gives back the bytes of what left. The objects themselves are
    /// freed by the caller, with no lock held.
    pub(crate) fn settle(&self, slice: &Slice<M>, shard: MutexGuard<'_, Shard<M>>, left: &Left<M>) {
        self.settle_keeping(slice, shard, left, 0);
    }

    /// [`Store::settle`], with `kept` bytes passing from what left to what took its place.
    fn settle_keeping(&self, slice: &Slice<M>, mut shard: MutexGuard<'_, Shard<M>>, left: &Left<M>, kept: u64) {
        if !left.is_empty() {
            shard.compact();
        }
        slice.bytes.store(shard.shared_bytes(), Ordering::Relaxed);
        drop(shard);
        let mut bytes = 0;
        for stored in left {
            let (cost, line) = (Shard::cost(stored), self.quotas.of(stored.zone));
            line.memory.give_back(cost);
            line.memory.left(1);
            bytes += cost;
        }
        if kept > 0
            && let Some(stored) = left.first()
        {
            self.quotas.of(stored.zone).memory.add(kept.min(bytes));
        }
        self.bytes.fetch_sub(bytes.saturating_sub(kept), Ordering::Relaxed);
    }

    /// Reserves `bytes` for an object, in its zone's quota and in memory, evicting others until they fit.
    fn reserve(&self, stored: &Stored<M>, bytes: u64) -> Result<(), Refused> {
        let most = self.limits.object_bytes_max.min(self.limits.memory_bytes_max);
        if Shard::cost(stored) > most {
            count(&self.stats.refused_object_bytes_max);
            return Err(Refused::ObjectBytesMax);
        }
        let line = self.quotas.of(stored.zone);
        self.reserve_of_zone(&line, stored, bytes)?;
        loop {
            let room = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limits.memory_bytes_max);
            if self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok() {
                return Ok(());
            }
            if !self.make_room(stored.hash, bytes) {
                line.memory.give_back(bytes);
                count(&self.stats.refused_memory_bytes_max);
                return Err(Refused::MemoryBytesMax);
            }
        }
    }

    fn reserve_of_zone(&self, line: &Line, stored: &Stored<M>, bytes: u64) -> Result<(), Refused> {
        // What can never fit must not push out everything else of its zone.
        let fits = line.memory.bytes_max().is_none_or(|most| Shard::cost(stored) <= most);
        while fits && !line.memory.take(bytes) {
            if !self.evict_of_zone(line, stored.hash) {
                return Err(self.refuse_for_zone(line));
            }
            line.memory.count_evicted(1);
            count(&self.stats.evicted_zone_bytes_max);
        }
        if fits { Ok(()) } else { Err(self.refuse_for_zone(line)) }
    }

    fn refuse_for_zone(&self, line: &Line) -> Refused {
        line.memory.count_refused();
        count(&self.stats.refused_zone_bytes_max);
        Refused::ZoneBytesMax
    }

    /// Evicts one object of those that use the most for their quota.
    fn make_room(&self, hash: u128, bytes: u64) -> bool {
        let quoted = self.quotas.memory();
        let own = self.quotas.own_memory.load(Ordering::Relaxed);
        let victim = quoted.victim(self.bytes().saturating_sub(own), |line| &line.memory);
        let gone = match victim {
            Some(line) => self.evict_of_zone(line, hash) || self.evict_shared(hash, bytes),
            None => self.evict_shared(hash, bytes),
        };
        // What was counted may have moved meanwhile.
        gone || quoted.lines.iter().any(|line| self.evict_of_zone(line, hash))
    }

    /// Evicts one object of zones without a quota: from the fullest of a few shards, or from any that has one. What is worth a place on
    /// disk was offered when it was stored, or when it was used.
    fn evict_shared(&self, hash: u128, bytes: u64) -> bool {
        self.evict_where(hash, bytes, None, |at| self.shards[at].bytes.load(Ordering::Relaxed))
    }

    /// Evicts one object of a zone that has a quota.
    pub(crate) fn evict_of_zone(&self, line: &Line, hash: u128) -> bool {
        self.evict_where(hash, 1, Some(line.zone), |at| line.held[at].load(Ordering::Relaxed))
    }

    fn evict_where(&self, hash: u128, bytes: u64, own: Option<u32>, held: impl Fn(usize) -> u64) -> bool {
        let first = self.victim.fetch_add(VICTIMS - 1, Ordering::Relaxed);
        let home = (hash >> 64) as usize % SHARDS;
        let some = (0..VICTIMS - 1).map(|step| (first + step) % SHARDS).chain([home]);
        let some = some.max_by_key(|at| held(*at)).unwrap_or(home);
        // A few large objects leave most shards empty: what is small and alone in its shard must not go for each of them.
        let fullest = if held(some) < bytes { (0..SHARDS).max_by_key(|at| held(*at)).unwrap_or(some) } else { some };
        std::iter::once(fullest).chain(0..SHARDS).any(|at| held(at) > 0 && self.evict_from(at, own))
    }

    fn evict_from(&self, at: usize, own: Option<u32>) -> bool {
        let slice = &self.shards[at];
        let mut shard = slice.lock();
        let Some(evicted) = shard.evict(own, &self.log) else {
            return false;
        };
        let left: Left<M> = std::iter::once(evicted.stored).collect();
        self.settle(slice, shard, &left);
        count(if evicted.was_purged { &self.stats.purged_reclaimed } else { &self.stats.evictions });
        true
    }
}
