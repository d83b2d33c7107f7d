//! One shard of the index: variants by key, and the queues that decide what leaves first.
//!
//! Eviction is S3-FIFO (Yang et al., SOSP 2023): new objects wait in a small queue (a tenth of the bytes) and reach the main queue only
//! if they are asked for again, so that a scan passes through without displacing what is used. Queues are lists through one slab:
//! no allocation for each entry, removal anywhere in constant time.
//!
//! Must never free an object itself: what leaves is returned, and dropped by the caller after the lock is released.

use crate::key::KeyText;
use crate::purge::{PurgeKind, PurgeStamp};
use crate::purge_log::PurgeLog;
use crate::queues::{Ghosts, NONE, Pool, Queue};
use crate::quota::{Line, Quotas};
use crate::stored::Stored;
use archipel_http::key::{plain_hash, url_half};
use smallvec::SmallVec;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

type Hashed = foldhash::fast::RandomState;
/// Slots of one key's variants; four fit without an allocation.
type Ids = SmallVec<[u32; 4]>;
/// Objects that left a shard.
pub(crate) type Left<M> = SmallVec<[Arc<Stored<M>>; 2]>;

/// Uses that are remembered for an object.
const FREQUENCY_MAX: u8 = 3;
/// Objects that one eviction may spare before it takes one regardless: bounds the time under the lock.
const EVICT_STEPS_MAX: usize = 128;
/// Slabs shorter than this are never compacted.
const SLOTS_KEPT: usize = 64;

/// Bytes in the set of keys to which a zone adds something: nodes of a B-tree are at least half full.
const EXTRA_BYTES: u64 = 2 * size_of::<u128>() as u64 + 8;

/// Whether a key's hash is not that of its URL alone.
pub(crate) fn has_extra(hash: u128) -> bool {
    plain_hash(url_half(hash)) != hash
}

#[derive(Debug)]
struct Node<M> {
    stored: Arc<Stored<M>>,
    /// The purge log's number when this object was last compared with it.
    compared: u64,
    prev: u32,
    next: u32,
    queue: Queue,
    frequency: u8,
    soft_purged: bool,
    /// Its zone has queues of its own, and it is in them.
    own: bool,
}

impl<M> Node<M> {
    /// Compares an object with the purges recorded since it was last compared; marks it where one was soft.
    fn is_purged(&mut self, log: &PurgeLog) -> bool {
        let sequence = log.recorded();
        if self.compared == sequence {
            return false;
        }
        // What came before the last comparison has had its effect.
        let since = PurgeStamp(self.compared).max(self.stored.stamp);
        match log.since(&self.stored.key_ref(), &self.stored.groups, since) {
            Some(PurgeKind::Hard) => return true,
            Some(PurgeKind::Soft) => self.soft_purged = true,
            None => {}
        }
        self.compared = sequence;
        false
    }
}

#[derive(Debug)]
enum Slot<M> {
    Free { next: u32 },
    Used(Node<M>),
}

/// What a lookup found.
pub(crate) struct Found<M> {
    pub(crate) stored: Arc<Stored<M>>,
    pub(crate) soft_purged: bool,
}

/// What [`Shard::evict`] took.
pub(crate) struct Evicted<M> {
    pub(crate) stored: Arc<Stored<M>>,
    pub(crate) was_purged: bool,
}

#[derive(Debug)]
pub(crate) struct Shard<M> {
    /// Variants of a key, oldest first.
    keys: HashMap<u128, Ids, Hashed>,
    /// Hashes of keys to which their zone adds something, for what concerns all keys of a URL: in this order they stand together.
    extras: BTreeSet<u128>,
    slots: Vec<Slot<M>>,
    free: u32,
    live: usize,
    shared: Pool,
    /// By zone: those that have a quota.
    own: HashMap<u32, Pool, Hashed>,
    quotas: Arc<Quotas>,
    /// Which shard it is.
    number: usize,
    ghosts: Ghosts,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

impl<M> Shard<M> {
    /// Bytes of index for each object: slab slot and key slot at the slack that doubling leaves, and a remembered key.
    pub(crate) const ENTRY_BYTES: u64 = {
        let key = (size_of::<u128>() + size_of::<Ids>() + 1) * 16 / 7;
        let ghost = 2 * size_of::<u64>() + (size_of::<u64>() + 1) * 16 / 7;
        (2 * size_of::<Slot<M>>() + key + ghost) as u64
    };

    pub(crate) fn new(number: usize, quotas: Arc<Quotas>) -> Self {
        Self {
            keys: HashMap::default(),
            extras: BTreeSet::new(),
            slots: Vec::new(),
            free: NONE,
            live: 0,
            shared: Pool::new(None),
            own: HashMap::default(),
            quotas,
            number,
            ghosts: Ghosts::default(),
            hits: 0,
            misses: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Bytes of what zones without a quota have here.
    pub(crate) fn shared_bytes(&self) -> u64 {
        self.shared.bytes()
    }

    /// Gives queues of their own to these zones, and to no others. What is stored keeps its order.
    pub(crate) fn set_own(&mut self, lines: &[Arc<Line>]) {
        let kept = |zone: &u32| lines.iter().any(|line| line.zone == *zone);
        let gone: Vec<u32> = self.own.keys().filter(|zone| !kept(zone)).copied().collect();
        for zone in gone {
            self.move_all(Some(zone), |_| true, false);
            self.own.remove(&zone);
        }
        let new: Vec<&Arc<Line>> = lines.iter().filter(|line| !self.own.contains_key(&line.zone)).collect();
        if new.is_empty() {
            return;
        }
        let zones: HashSet<u32, Hashed> = new.iter().map(|line| line.zone).collect();
        self.own.extend(new.into_iter().map(|line| (line.zone, Pool::new(Some(Arc::clone(line))))));
        self.move_all(None, |zone| zones.contains(&zone), true);
    }

    /// Moves objects of some zones from one pool's queues to the same queues of those that are their own, or of the shared.
    fn move_all(&mut self, from: Option<u32>, of: impl Fn(u32) -> bool, own: bool) {
        for queue in [Queue::Small, Queue::Main] {
            // From the last on, as each goes to the front.
            let mut id = self.pool(from).list(queue).tail;
            while let Some(node) = self.node(id) {
                let (at, before, zone, cost) = (id, node.prev, node.stored.zone, Self::cost(&node.stored));
                if of(zone) && self.unlink(at).is_some() {
                    if let Some(node) = self.node_mut(at) {
                        node.own = own;
                    }
                    self.link(at, queue, cost);
                }
                id = before;
            }
        }
    }

    /// The queues of a zone of its own, or the shared ones.
    fn pool(&mut self, own: Option<u32>) -> &mut Pool {
        match own.and_then(|zone| self.own.get_mut(&zone)) {
            Some(pool) => pool,
            None => &mut self.shared,
        }
    }

    pub(crate) fn cost(stored: &Stored<M>) -> u64 {
        let extra = if has_extra(stored.hash) { EXTRA_BYTES } else { 0 };
        stored.weight() + Self::ENTRY_BYTES + extra
    }

    fn node(&self, id: u32) -> Option<&Node<M>> {
        match self.slots.get(id as usize) {
            Some(Slot::Used(node)) => Some(node),
            _ => None,
        }
    }

    fn node_mut(&mut self, id: u32) -> Option<&mut Node<M>> {
        match self.slots.get_mut(id as usize) {
            Some(Slot::Used(node)) => Some(node),
            _ => None,
        }
    }

    /// The slots of a key's variants, oldest first; none where the hash is another key's.
    fn variants<K: KeyText + ?Sized>(&self, hash: u128, text: &K) -> Ids {
        let Some(ids) = self.keys.get(&hash) else {
            return SmallVec::new();
        };
        match ids.first().and_then(|id| self.node(*id)) {
            Some(node) if text.matches_text(&node.stored.key) => ids.clone(),
            _ => SmallVec::new(),
        }
    }

    /// All variants of a key, newest first, purged ones too.
    pub(crate) fn all<K: KeyText + ?Sized>(&self, hash: u128, text: &K) -> Vec<Arc<Stored<M>>> {
        let ids = self.variants(hash, text);
        ids.iter().rev().filter_map(|id| self.node(*id)).map(|node| Arc::clone(&node.stored)).collect()
    }

    /// Whether something of a key with this hash is stored.
    pub(crate) fn holds(&self, hash: u128) -> bool {
        self.keys.contains_key(&hash)
    }

    /// Whether an object of the same key and variant is stored.
    pub(crate) fn has_variant(&self, stored: &Stored<M>) -> bool {
        self.variants(stored.hash, &*stored.key).into_iter().any(|id| self.is_variant(id, &stored.variant))
    }

    pub(crate) fn lookup<K: KeyText + ?Sized>(
        &mut self,
        (hash, text): (u128, &K),
        log: &PurgeLog,
        left: &mut Left<M>,
        mut pick: impl FnMut(&Stored<M>) -> bool,
    ) -> Option<Found<M>> {
        let mut purged = Ids::new();
        let mut found = None;
        for id in self.keys.get(&hash).into_iter().flatten().rev() {
            let Some(Slot::Used(node)) = self.slots.get_mut(*id as usize) else {
                continue;
            };
            if !text.matches_text(&node.stored.key) {
                break;
            }
            if node.is_purged(log) {
                purged.push(*id);
            } else if pick(&node.stored) {
                node.frequency = (node.frequency + 1).min(FREQUENCY_MAX);
                found = Some(Found { stored: Arc::clone(&node.stored), soft_purged: node.soft_purged });
                break;
            }
        }
        // Only after the last `pick`, which is the caller's code: a panic in it then leaves nothing half done.
        left.extend(purged.into_iter().filter_map(|id| self.remove(id)));
        *(if found.is_some() { &mut self.hits } else { &mut self.misses }) += 1;
        found
    }

    fn is_purged(&mut self, id: u32, log: &PurgeLog) -> bool {
        self.node_mut(id).is_some_and(|node| node.is_purged(log))
    }

    /// The oldest stamp from which on an object here has to be compared with purges.
    pub(crate) fn oldest(&self) -> Option<PurgeStamp> {
        let since = |slot: &Slot<M>| match slot {
            Slot::Used(node) => Some(PurgeStamp(node.compared).max(node.stored.stamp)),
            Slot::Free { .. } => None,
        };
        self.slots.iter().filter_map(since).min()
    }

    /// Stores an object, in place of one of the same variant. The caller has checked that it was not purged meanwhile (hard).
    pub(crate) fn insert(&mut self, stored: Arc<Stored<M>>, compared: u64, soft_purged: bool) -> Left<M> {
        let mut left = Left::new();
        let (hash, cost) = (stored.hash, Self::cost(&stored));
        let others = self.keys.contains_key(&hash) && self.variants(hash, &*stored.key).is_empty();
        if others {
            // Another key of the same hash: one of them has to go, or a lookup would be ambiguous.
            left = self.remove_key(hash, PurgeStamp(u64::MAX));
        }
        let same = self.variants(hash, &*stored.key).into_iter().find(|id| self.is_variant(*id, &stored.variant));
        if let Some(id) = same {
            left.extend(self.swap(id, stored, compared, soft_purged));
            return left;
        }
        let queue = if self.ghosts.take(hash) { Queue::Main } else { Queue::Small };
        let own = self.own.contains_key(&stored.zone);
        let node = Node { stored, compared, prev: NONE, next: NONE, queue, frequency: 0, soft_purged, own };
        let id = self.allocate(node);
        self.link(id, queue, cost);
        self.keys.entry(hash).or_default().push(id);
        if has_extra(hash) {
            self.extras.insert(hash);
        }
        left
    }

    /// Whether an object that is not here was here, or was asked for, as lately as memory would have kept it; otherwise this is
    /// remembered as the time. Promoting what returns later than that only pushes out what returns sooner.
    pub(crate) fn returns(&mut self, hash: u128) -> bool {
        let returns = self.ghosts.holds(hash);
        if !returns {
            self.ghosts.insert(hash, self.live + SLOTS_KEPT);
        }
        returns
    }

    fn is_variant(&self, id: u32, variant: &[u8]) -> bool {
        self.node(id).is_some_and(|node| *node.stored.variant == *variant)
    }

    /// Removes the oldest variants of a key beyond a count.
    pub(crate) fn trim_variants(&mut self, hash: u128, variants_max: usize) -> Left<M> {
        let mut left = Left::new();
        while let Some(ids) = self.keys.get(&hash).filter(|ids| ids.len() > variants_max) {
            let Some(id) = ids.first().copied() else {
                break;
            };
            left.extend(self.remove(id));
        }
        left
    }

    /// Puts an object in another's place, keeping its rank in the queues; it becomes its key's newest variant.
    fn swap(&mut self, id: u32, stored: Arc<Stored<M>>, compared: u64, soft_purged: bool) -> Option<Arc<Stored<M>>> {
        let (hash, cost) = (stored.hash, Self::cost(&stored));
        let node = self.node_mut(id)?;
        let old = std::mem::replace(&mut node.stored, stored);
        (node.compared, node.soft_purged) = (compared, soft_purged);
        let (queue, own) = (node.queue, node.own.then_some(node.stored.zone));
        self.grow(own, queue, cost);
        self.shrink(own, queue, Self::cost(&old));
        if let Some(ids) = self.keys.get_mut(&hash) {
            ids.retain(|other| *other != id);
            ids.push(id);
        }
        Some(old)
    }

    /// Where an object is stored still.
    pub(crate) fn find(&self, stored: &Arc<Stored<M>>) -> Option<u32> {
        let is_it = |id: &u32| self.node(*id).is_some_and(|node| Arc::ptr_eq(&node.stored, stored));
        self.variants(stored.hash, &*stored.key).into_iter().find(is_it)
    }

    /// Puts `stored` in the place of the object in slot `id`; another of its variant leaves too.
    pub(crate) fn replace(&mut self, id: u32, stored: Arc<Stored<M>>, compared: u64, soft_purged: bool) -> Left<M> {
        let ids = self.variants(stored.hash, &*stored.key);
        let twin = ids.into_iter().find(|other| *other != id && self.is_variant(*other, &stored.variant));
        let mut left: Left<M> = self.swap(id, stored, compared, soft_purged).into_iter().collect();
        left.extend(twin.and_then(|twin| self.remove(twin)));
        left
    }

    /// Gives a key's objects the effect of a purge that is recorded, so that they need not be looked up for it.
    pub(crate) fn purge_key<K: KeyText + ?Sized>(
        &mut self,
        hash: u128,
        text: &K,
        kind: PurgeKind,
        purged: PurgeStamp,
    ) -> (usize, Left<M>) {
        let mut objects = 0;
        let mut left = Left::new();
        for id in self.variants(hash, text) {
            let Some(node) = self.node_mut(id).filter(|node| node.stored.stamp < purged) else {
                continue;
            };
            objects += 1;
            match kind {
                PurgeKind::Hard => left.extend(self.remove(id)),
                PurgeKind::Soft => node.soft_purged = true,
            }
        }
        (objects, left)
    }

    /// Removes what was fetched before a number for any key of a URL, whatever its zone adds.
    pub(crate) fn remove_url(&mut self, url: u64, before: PurgeStamp) -> Left<M> {
        let first = u128::from(url) << 64;
        let extras: Vec<u128> = self.extras.range(first..=first | u128::from(u64::MAX)).copied().collect();
        let keys = std::iter::once(plain_hash(url)).chain(extras);
        keys.flat_map(|hash| self.remove_key(hash, before)).collect()
    }

    /// Removes the variants of a key that were fetched before a number.
    pub(crate) fn remove_key(&mut self, hash: u128, before: PurgeStamp) -> Left<M> {
        let ids = self.keys.get(&hash).cloned().unwrap_or_default();
        let is_older = |id: &u32| self.node(*id).is_some_and(|node| node.stored.stamp < before);
        let older: Ids = ids.into_iter().filter(is_older).collect();
        older.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    pub(crate) fn remove(&mut self, id: u32) -> Option<Arc<Stored<M>>> {
        self.unlink(id)?;
        let freed = std::mem::replace(self.slots.get_mut(id as usize)?, Slot::Free { next: self.free });
        self.free = id;
        self.live -= 1;
        let Slot::Used(node) = freed else { return None };
        let hash = node.stored.hash;
        if let Some(ids) = self.keys.get_mut(&hash) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.keys.remove(&hash);
                if has_extra(hash) {
                    self.extras.remove(&hash);
                }
            }
        }
        Some(node.stored)
    }

    /// Removes the object that is worth least, of a zone that has queues of its own or of those that share; `None` where there is none.
    pub(crate) fn evict(&mut self, own: Option<u32>, log: &PurgeLog) -> Option<Evicted<M>> {
        if own.is_some_and(|zone| !self.own.contains_key(&zone)) {
            return None;
        }
        for step in 0..=EVICT_STEPS_MAX {
            let (id, from_small) = self.pool(own).last();
            let was_purged = self.is_purged(id, log);
            let node = self.node_mut(id)?;
            let hash = node.stored.hash;
            // Asked for more than once while it waited, or since it was last spared.
            let spare = node.frequency > u8::from(from_small) && !was_purged && step < EVICT_STEPS_MAX;
            if spare {
                node.frequency = if from_small { 0 } else { node.frequency - 1 };
                let cost = Self::cost(&node.stored);
                self.unlink(id)?;
                self.link(id, Queue::Main, cost);
                continue;
            }
            let stored = self.remove(id)?;
            if from_small && !was_purged {
                self.ghosts.insert(hash, self.live + SLOTS_KEPT);
            }
            return Some(Evicted { stored, was_purged });
        }
        None
    }

    /// Removes purged objects among `slots` slots from `from`; tells where to go on, `None` at the end.
    pub(crate) fn reclaim(&mut self, from: usize, slots: usize, log: &PurgeLog) -> (Option<usize>, Left<M>) {
        let until = from.saturating_add(slots).min(self.slots.len());
        let mut left = Left::new();
        for id in from..until {
            let id = id as u32;
            if self.is_purged(id, log) {
                left.extend(self.remove(id));
            }
        }
        ((until < self.slots.len()).then_some(until), left)
    }

    fn allocate(&mut self, node: Node<M>) -> u32 {
        self.live += 1;
        let id = self.free;
        match self.slots.get_mut(id as usize) {
            Some(slot) => {
                if let Slot::Free { next } = slot {
                    self.free = *next;
                }
                *slot = Slot::Used(node);
                id
            }
            None => {
                self.slots.push(Slot::Used(node));
                (self.slots.len() - 1) as u32
            }
        }
    }

    /// A queue has more bytes.
    fn grow(&mut self, own: Option<u32>, queue: Queue, bytes: u64) {
        let number = self.number;
        let pool = self.pool(own);
        pool.list(queue).bytes += bytes;
        if let Some(line) = &pool.line {
            line.held[number].store(pool.bytes(), Ordering::Relaxed);
            self.quotas.own_memory.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// A queue has fewer bytes.
    fn shrink(&mut self, own: Option<u32>, queue: Queue, bytes: u64) {
        let number = self.number;
        let pool = self.pool(own);
        let list = pool.list(queue);
        list.bytes = list.bytes.saturating_sub(bytes);
        if let Some(line) = &pool.line {
            line.held[number].store(pool.bytes(), Ordering::Relaxed);
            self.quotas.own_memory.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn link(&mut self, id: u32, queue: Queue, cost: u64) {
        let own = self.node(id).filter(|node| node.own).map(|node| node.stored.zone);
        self.grow(own, queue, cost);
        let list = self.pool(own).list(queue);
        let next = std::mem::replace(&mut list.head, id);
        if next == NONE {
            list.tail = id;
        }
        if let Some(node) = self.node_mut(next) {
            node.prev = id;
        }
        if let Some(node) = self.node_mut(id) {
            (node.prev, node.next, node.queue) = (NONE, next, queue);
        }
    }

    fn unlink(&mut self, id: u32) -> Option<()> {
        let node = self.node(id)?;
        let (prev, next, queue, cost) = (node.prev, node.next, node.queue, Self::cost(&node.stored));
        let own = node.own.then_some(node.stored.zone);
        match self.node_mut(prev) {
            Some(node) => node.next = next,
            None => self.pool(own).list(queue).head = next,
        }
        match self.node_mut(next) {
            Some(node) => node.prev = prev,
            None => self.pool(own).list(queue).tail = prev,
        }
        self.shrink(own, queue, cost);
        Some(())
    }

    /// Gives index memory back once three quarters of it are unused; slot numbers change.
    pub(crate) fn compact(&mut self) {
        if self.slots.len() <= SLOTS_KEPT || self.live * 4 > self.slots.len() {
            return;
        }
        let mut moved = vec![NONE; self.slots.len()];
        let mut next_id = 0;
        for (slot, to) in self.slots.iter().zip(&mut moved) {
            if matches!(slot, Slot::Used(_)) {
                *to = next_id;
                next_id += 1;
            }
        }
        let at = |id: u32| moved.get(id as usize).copied().unwrap_or(NONE);
        self.slots.retain(|slot| matches!(slot, Slot::Used(_)));
        self.slots.shrink_to(self.live * 2);
        self.free = NONE;
        for slot in &mut self.slots {
            if let Slot::Used(node) = slot {
                (node.prev, node.next) = (at(node.prev), at(node.next));
            }
        }
        for pool in self.own.values_mut().chain([&mut self.shared]) {
            for list in [&mut pool.small, &mut pool.main] {
                (list.head, list.tail) = (at(list.head), at(list.tail));
            }
        }
        self.keys.values_mut().flatten().for_each(|id| *id = at(*id));
        self.keys.shrink_to(self.live * 2);
        self.ghosts.shrink_to(self.live * 2);
    }
}
