//! The tier as the store sees it: what is offered to the disk and what is found on it.
//!
//! Must never read or write a file but through the shelf and the writer's queue.

use super::admission::Lately;
use super::breaker::{Breaker, BreakerLimits};
use super::files::{Files, SystemFiles};
use super::format::{Header, index_key, variant_tag};
use super::head;
use super::index::{Place, Places};
use super::logs::segment_bytes_of;
use super::pool::{Pool, Waited};
use super::queue::{Job, Queue};
use super::recover::Known;
use super::run;
use super::seed;
use super::segment::Space;
use super::shelf::{Opened, OpenedBody, Phase, ReadFailure, Shelf, ShelfParts};
use super::stats::DiskCounts;
use super::writer::{Replaced, Writer};
use super::{Codec, DiskOptions};
use crate::body::Body;
use crate::key::{KeyRef, KeyText};
use crate::purge::{PurgeKind, PurgeStamp};
use crate::stats::count;
use crate::store::Store;
use crate::stored::{Head, Stored};
use bytes::Bytes;
use http::HeaderMap;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// Keys that are remembered of late: at most 4 MiB, and no more than objects of 4 KiB on the disk.
const LATELY_KEYS_MAX: u64 = 1 << 20;
const LATELY_OBJECT_BYTES: u64 = 4 << 10;
/// Of a key with more variants than this only the heads are read until one fits: who asks for what is not among them must not make
/// all of their bodies be read.
const WHOLE_VARIANTS_MAX: usize = 4;
/// A reply that has begun waits this many times as long for the disk as a request does: it cannot go to the origin instead.
const BODY_WAITS: u32 = 10;
/// The longest pause between two trials of a disk that fails.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What a lookup found.
#[derive(Debug)]
pub enum DiskLookup<M> {
    /// The newest variant that was picked.
    Found(Found<M>),
    /// Something that may fit, and must be waited for.
    Cold,
    /// Nothing that fits. `other_variants`: something of the key.
    Missing {
        /// The key has objects, of other variants.
        other_variants: bool,
    },
}

/// An object found on the disk.
#[derive(Debug)]
pub struct Found<M> {
    pub(crate) stored: Arc<Stored<M>>,
    pub(crate) soft_purged: bool,
    /// It is small enough to go into memory.
    pub(crate) promotable: Option<Promotable>,
}

/// What it takes to keep an object in memory that was read into a buffer of the tier's.
#[derive(Debug)]
pub(crate) struct Promotable {
    pub(crate) place: Place,
    /// It was used since it was written or last spared.
    pub(crate) was_used: bool,
    header: Header,
    meta: Bytes,
}

/// A disk tier. It opens its folder in the background; until then, and while the disk fails, it finds nothing and takes nothing.
#[derive(Debug)]
pub struct DiskTier<M> {
    shelf: Arc<Shelf>,
    codec: Arc<dyn Codec<M>>,
    queue: Arc<Queue<M>>,
    lately: Lately,
    options: DiskOptions,
    next_number: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<M: Send + Sync + 'static> DiskTier<M> {
    pub(crate) fn start(
        options: DiskOptions,
        codec: Arc<dyn Codec<M>>,
        seed: (u64, u64),
        memory: &Arc<Store<M>>,
    ) -> Self {
        Self::start_on(Arc::new(SystemFiles), options, codec, seed, memory)
    }

    pub(crate) fn start_on(
        files: Arc<dyn Files>,
        options: DiskOptions,
        codec: Arc<dyn Codec<M>>,
        seed: (u64, u64),
        memory: &Arc<Store<M>>,
    ) -> Self {
        let sequence = memory.stamp().sequence();
        let limits = BreakerLimits { failures_max: options.failures_max, pause: options.pause, pause_max: PAUSE_MAX };
        let shelf = Arc::new(Shelf::new(ShelfParts {
            files,
            folder: options.folder.clone(),
            space: Space::new(options.bytes_max),
            pool: Pool::start(options.threads, options.reads_waiting_max, options.ahead_bytes_max),
            breaker: Breaker::new(limits),
            quotas: Arc::clone(&memory.quotas),
            body_wait: options.read_wait.saturating_mul(BODY_WAITS),
        }));
        let queue = Arc::new(Queue::new(options.queue_bytes_max));
        let writer = Writer {
            shelf: Arc::clone(&shelf),
            codec: Arc::clone(&codec),
            memory: Arc::downgrade(memory),
            segment_bytes: options.segment_bytes(),
            seed_print: seed::print_of(seed),
            options: options.clone(),
            last_id: 0,
            epoch: 0,
            logs: BTreeMap::new(),
            solos: HashMap::new(),
            doomed: VecDeque::new(),
            replaced: HashSet::new(),
        };
        let jobs = Arc::clone(&queue);
        let known = Known { seed_print: writer.seed_print, sequence, variants_max: options.variants_max };
        let breaker = Breaker::new(limits);
        let thread = std::thread::Builder::new()
            .name("disk-writer".to_owned())
            .spawn(move || run::run(writer, &jobs, breaker, known));
        if let Err(error) = &thread {
            tracing::error!(%error, "the disk tier is off: its thread cannot be started");
            shelf.advance(Phase::Closed);
            queue.close();
        }
        let thread = Mutex::new(thread.ok());
        let next_number = AtomicU64::new(0);
        let lately = Lately::new((options.bytes_max / LATELY_OBJECT_BYTES).min(LATELY_KEYS_MAX) as usize);
        Self { shelf, codec, queue, lately, options, next_number, thread }
    }
}

impl<M> DiskTier<M> {
    /// Its bounds.
    pub fn options(&self) -> &DiskOptions {
        &self.options
    }

    /// Whether its thread has ended.
    #[cfg(test)]
    pub(crate) fn is_closed(&self) -> bool {
        self.shelf.phase() == Phase::Closed
    }

    #[cfg(test)]
    pub(crate) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Whether it finds objects now.
    pub fn is_readable(&self) -> bool {
        self.shelf.is_readable()
    }

    /// Whether it takes objects now.
    pub fn is_writable(&self) -> bool {
        self.shelf.is_writable()
    }

    /// All counters and gauges now. Takes each shard's lock in turn: for metrics, not for requests.
    pub fn counts(&self) -> DiskCounts {
        let mut counts = self.shelf.stats.counts();
        counts.entries = self.shelf.index.len() as u64;
        counts.bytes = self.shelf.space.used();
        counts.segments = self.shelf.segments.len() as u64;
        counts.index_bytes = self.shelf.index.memory_bytes();
        counts.queue_bytes = self.queue.bytes();
        counts.readable = u64::from(self.is_readable());
        counts.writable = u64::from(self.is_writable());
        counts
    }

    /// The least purge stamp of any object on the disk: older purges concern none of them. `None` while the disk is not known.
    pub fn oldest_stamp(&self) -> Option<u64> {
        (self.shelf.phase() == Phase::Ready).then(|| self.shelf.segments.oldest_stamp().unwrap_or(u64::MAX))
    }

    pub(crate) fn has(&self, hash: u128) -> bool {
        self.is_readable() && !self.shelf.index.find(index_key(hash)).is_empty()
    }

    /// Looks for an object without waiting. `purged` compares with the purges, `pick` with the request.
    pub(crate) fn look<K: KeyText + ?Sized>(
        &self,
        key: &KeyRef<'_, K>,
        purged: impl Fn(&Head<M>) -> Option<PurgeKind>,
        mut pick: impl FnMut(&Stored<M>) -> bool,
    ) -> DiskLookup<M> {
        if !self.is_readable() {
            return DiskLookup::Missing { other_variants: false };
        }
        let places = self.shelf.index.find(index_key(key.hash));
        for place in &places {
            if places.len() > WHOLE_VARIANTS_MAX {
                match self.shelf.open(place, true, true) {
                    Ok(opened) if self.may_fit(key, &opened, &mut pick) => {}
                    Err(ReadFailure::Cold) => return DiskLookup::Cold,
                    _ => continue,
                }
            }
            match self.shelf.open(place, true, false) {
                Ok(opened) => {
                    if let Some(found) = self.judge(key, place, opened, &purged, &mut pick) {
                        count(&self.shelf.stats.hits);
                        return DiskLookup::Found(found);
                    }
                }
                Err(ReadFailure::Cold) => return DiskLookup::Cold,
                Err(_) => {}
            }
        }
        count(&self.shelf.stats.misses);
        // What was purged, or could not be read, is out of the index by now.
        DiskLookup::Missing { other_variants: !places.is_empty() && self.has(key.hash) }
    }

    /// Looks for an object, and waits for the disk where it must.
    pub(crate) async fn look_and_wait<K: KeyText + ?Sized>(
        &self,
        key: &KeyRef<'_, K>,
        purged: impl Fn(&Head<M>) -> Option<PurgeKind>,
        mut pick: impl FnMut(&Stored<M>) -> bool,
    ) -> Option<Found<M>> {
        let places: Places =
            if self.is_readable() { self.shelf.index.find(index_key(key.hash)) } else { Places::new() };
        let many = places.len() > WHOLE_VARIANTS_MAX;
        for place in places {
            if many {
                match self.open_waiting(place, true)?.await {
                    Some(Ok(opened)) if self.may_fit(key, &opened, &mut pick) => {}
                    _ => continue,
                }
            }
            if let Some(Ok(opened)) = self.open_waiting(place, false)?.await
                && let Some(found) = self.judge(key, &place, opened, &purged, &mut pick)
            {
                count(&self.shelf.stats.hits);
                return Some(found);
            }
        }
        count(&self.shelf.stats.misses);
        None
    }

    /// Has a record opened by a reader thread; `None` where too many wait already.
    fn open_waiting(&self, place: Place, head_only: bool) -> Option<Waited<Result<Opened, ReadFailure>>> {
        let shelf = Arc::clone(&self.shelf);
        let waited = self.shelf.pool.submit(true, move || shelf.open(&place, false, head_only));
        if waited.is_none() {
            count(&self.shelf.stats.dropped_reads_max);
        }
        waited
    }

    /// Whether a head that was read is worth the rest.
    fn may_fit<K: KeyText + ?Sized>(
        &self,
        key: &KeyRef<'_, K>,
        opened: &Opened,
        pick: &mut impl FnMut(&Stored<M>) -> bool,
    ) -> bool {
        let Opened { header, meta, body } = opened;
        let Some((head, _)) = head::decode(header, meta.clone(), &*self.codec) else {
            // For who reads it again, and counts that.
            return true;
        };
        let body = match body {
            OpenedBody::Whole(bytes) => Body::lent(bytes.clone()),
            OpenedBody::OnDisk(body) => Body::disk(body.clone()),
        };
        head.hash == key.hash && key.text.matches_text(&head.key) && pick(&Stored::from_disk(head, body))
    }

    /// A lookup waited for the disk as long as it should: counts like a failure of the disk.
    pub(crate) fn waited_too_long(&self) {
        count(&self.shelf.stats.dropped_read_wait);
        self.shelf.read_failed(&io::ErrorKind::TimedOut.into());
    }

    fn judge<K: KeyText + ?Sized>(
        &self,
        key: &KeyRef<'_, K>,
        place: &Place,
        opened: Opened,
        purged: impl Fn(&Head<M>) -> Option<PurgeKind>,
        pick: &mut impl FnMut(&Stored<M>) -> bool,
    ) -> Option<Found<M>> {
        let Opened { header, meta, body } = opened;
        let Some((head, trailers)) = head::decode(&header, meta.clone(), &*self.codec) else {
            // The checksum held: another version's, or a fault of ours.
            count(&self.shelf.stats.errors_verify);
            self.shelf.lose(place);
            return None;
        };
        if head.hash != key.hash || !key.text.matches_text(&head.key) {
            return None;
        }
        let purge = purged(&head);
        if purge == Some(PurgeKind::Hard) {
            count(&self.shelf.stats.purged);
            self.shelf.index.remove(place.key, place.segment, place.at);
            return None;
        }
        let (body, is_small) = match body {
            OpenedBody::Whole(bytes) => (Body::lent(bytes), true),
            OpenedBody::OnDisk(body) => (Body::disk(body), false),
        };
        let stored = Stored::from_disk(head, body.with_trailers(trailers));
        if !pick(&stored) {
            return None;
        }
        let before = self.shelf.index.used(place).filter(|_| is_small);
        let promotable = before.map(|uses| Promotable { place: *place, was_used: uses > 0, header, meta });
        Some(Found { stored: Arc::new(stored), soft_purged: purge.is_some(), promotable })
    }

    /// The same object in memory of its own.
    pub(crate) fn copy_of(&self, stored: &Stored<M>, found: &Promotable) -> Option<Stored<M>> {
        let (head, trailers) = head::decode(&found.header, Bytes::copy_from_slice(&found.meta), &*self.codec)?;
        Some(Stored::from_disk(head, stored.body().to_kept().with_trailers(trailers)))
    }

    /// Whether a record is still where it was read.
    pub(crate) fn is_still_at(&self, place: &Place) -> bool {
        self.shelf.index.holds(place.key, place.segment, place.at).is_some()
    }

    pub(crate) fn count_promotion(&self) {
        count(&self.shelf.stats.promotions);
    }

    /// Other quotas are in force.
    pub(crate) fn set_quotas(&self) {
        self.queue.push(Job::Quotas);
    }

    /// Whether a zone has room, so that nothing has to leave for what comes. What reclaims stays below two free segments.
    fn has_room(&self, zone: u32) -> bool {
        let line = self.shelf.quotas.of(zone);
        if let Some(quota) = line.disk.bytes_max() {
            let segment = segment_bytes_of(quota, self.options.segment_bytes());
            return quota.saturating_sub(line.disk.bytes()) > 2 * segment;
        }
        let free = self.shelf.space.bytes_max().saturating_sub(self.shelf.space.used());
        free > 2 * self.options.segment_bytes()
    }

    /// A response was stored in memory, or would have been if it fitted: what the disk has of it is outdated, and it may be worth a
    /// place there. It was valid at `valid`.
    pub(crate) fn offer_new(&self, stored: &Arc<Stored<M>>, valid: PurgeStamp) {
        if self.shelf.phase() == Phase::Closed {
            return;
        }
        let key = index_key(stored.hash);
        let was_there = self.outdate(key, stored);
        // Remembered in any case, so that the second request is known as one.
        let seen = self.lately.seen(key);
        let admitted = self.has_room(stored.zone) || was_there || seen;
        if !admitted {
            count(&self.shelf.stats.refused_once);
            return;
        }
        self.put(stored, valid);
    }

    /// A response in memory was asked for that is not on the disk, and was valid at `valid`.
    pub(crate) fn offer_used(&self, stored: &Arc<Stored<M>>, valid: PurgeStamp) {
        self.put(stored, valid);
    }

    fn put(&self, stored: &Arc<Stored<M>>, valid: PurgeStamp) {
        if !self.may_write(stored.body().len()) {
            return;
        }
        if self.queue.push(Job::Put(Arc::clone(stored), valid)) {
            stored.set_on_disk();
        } else {
            count(&self.shelf.stats.dropped_queue_bytes_max);
        }
    }

    fn may_write(&self, body_bytes: u64) -> bool {
        if !self.is_writable() {
            count(&self.shelf.stats.dropped_off);
            return false;
        }
        if body_bytes > self.options.object_bytes_max {
            count(&self.shelf.stats.refused_object_bytes_max);
            return false;
        }
        true
    }

    /// A 304 renewed the fields of an object whose body is on the disk.
    pub(crate) fn renew(&self, stored: &Arc<Stored<M>>) {
        if self.may_write(stored.body().len()) && !self.queue.push(Job::Renew(Arc::clone(stored))) {
            count(&self.shelf.stats.dropped_queue_bytes_max);
        }
    }

    /// Removes one object.
    pub(crate) fn remove(&self, stored: &Stored<M>) -> bool {
        self.outdate(index_key(stored.hash), stored)
    }

    /// A key, or with the hash of a plain one all keys of its URL, was made invalid: what the index has of it goes, and the disk is told.
    /// What comes into the index after this is refused there, by the number that the invalidation has. Returns how many objects went.
    pub(crate) fn invalidate(&self, hash: u128) -> usize {
        // Asked first: who opens the folder looks at the queue once more when everything is in the index.
        let opening = self.shelf.phase() == Phase::Opening;
        let gone = self.shelf.index.take_hash(hash);
        for place in &gone {
            self.note_replaced(Replaced::of(place), true);
        }
        if opening && !self.queue.push(Job::Invalidated(hash)) && self.shelf.phase() != Phase::Closed {
            self.clear();
        }
        gone.len()
    }

    /// The object of a key's variant is not valid any more, where the index has it, will have it once the folder is open, or once what
    /// waits is written. Returns whether it has it.
    fn outdate(&self, key: u64, head: &Head<M>) -> bool {
        let variant = variant_tag(&head.variant);
        // Asked first: what enters the index after that finds the note behind it in the queue.
        let may_come = self.shelf.phase() == Phase::Opening || self.queue.bytes() > 0;
        let was_there = self.shelf.index.remove_variant(key, variant);
        if was_there || may_come {
            let slot = self.shelf.quotas.of(head.zone).slot;
            self.note_replaced(Replaced { key, variant, slot }, was_there);
        }
        was_there
    }

    fn note_replaced(&self, replaced: Replaced, was_there: bool) {
        let pushed = self.queue.push(Job::Replaced { replaced, was_there });
        if !pushed && self.shelf.phase() != Phase::Closed {
            self.clear();
        }
    }

    /// More was replaced or made invalid than can be noted.
    fn clear(&self) {
        tracing::error!("too much was replaced while the disk tier's disk fails: what is on it is dropped");
        self.shelf.index.clear();
        self.queue.push(Job::Clear);
    }

    /// Begins an object that comes in pieces and is not kept in memory; `None` where the disk does not take it.
    pub(crate) fn begin(self: &Arc<Self>, head: &Arc<Head<M>>, length: Option<u64>) -> Option<DiskWriter<M>> {
        let seen = self.lately.seen(index_key(head.hash));
        if !(self.has_room(head.zone) || seen) {
            count(&self.shelf.stats.refused_once);
            return None;
        }
        if !self.may_write(length.unwrap_or(0)) {
            return None;
        }
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        if !self.queue.push(Job::Begin { number, head: Arc::clone(head) }) {
            count(&self.shelf.stats.dropped_queue_bytes_max);
            return None;
        }
        Some(DiskWriter { tier: Arc::clone(self), number, bytes: 0, is_open: true })
    }

    /// Waits until the folder is open and everything that was offered before is on the disk or dropped: for tests and examples. Blocks
    /// the thread.
    pub fn flush(&self) {
        let (done, wait) = mpsc::channel();
        if self.queue.push(Job::Flush(done)) {
            let _ = wait.recv();
        }
    }

    /// Writes what waits, ends the segment and gives the folder to the next process. What is being sent goes on. Blocks the thread for
    /// as long as the disk takes.
    pub fn close(&self) {
        self.queue.push(Job::Close);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl<M> Drop for DiskTier<M> {
    fn drop(&mut self) {
        self.queue.push(Job::Close);
        // The writer may be who drops this, through the last handle of the store: it cannot wait for itself.
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
        self.shelf.pool.close();
    }
}

/// The writing end of an object that goes to the disk in pieces. Dropped before [`DiskWriter::finish`], nothing of it stays.
#[derive(Debug)]
#[must_use = "dropping the writer abandons the object"]
pub struct DiskWriter<M> {
    tier: Arc<DiskTier<M>>,
    number: u64,
    bytes: u64,
    is_open: bool,
}

impl<M> DiskWriter<M> {
    /// Adds bytes, which are kept as given until they are written. `false` where the object is given up: it is too large, or the disk
    /// does not keep up.
    pub fn append(&mut self, bytes: Bytes) -> bool {
        self.bytes += bytes.len() as u64;
        if !self.is_open {
            return false;
        }
        let stats = &self.tier.shelf.stats;
        if self.bytes > self.tier.options.object_bytes_max {
            count(&stats.refused_object_bytes_max);
            self.abandon();
        } else if !self.tier.queue.push(Job::Piece { number: self.number, bytes }) {
            count(&stats.dropped_queue_bytes_max);
            self.abandon();
        }
        self.is_open
    }

    /// The object is complete.
    pub fn finish(mut self, trailers: Option<Arc<HeaderMap>>) {
        if std::mem::replace(&mut self.is_open, false) {
            self.tier.queue.push(Job::Finish { number: self.number, trailers });
        }
    }

    fn abandon(&mut self) {
        if std::mem::replace(&mut self.is_open, false) {
            self.tier.queue.push(Job::Abandon { number: self.number });
        }
    }
}

impl<M> Drop for DiskWriter<M> {
    fn drop(&mut self) {
        self.abandon();
    }
}
