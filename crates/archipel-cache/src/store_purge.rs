//! The store's purges: each writes one record, whatever is stored.

use crate::groups::{Groups, PrefixGroup, url_group};
use crate::journal::Journal;
use crate::key::{KeyRef, KeyText};
use crate::purge::{PurgeKind, PurgeStamp, Purged, PurgesSince, Scope, WindowLost};
use crate::purge_log::{PurgeTable, Unwritten};
use crate::shard::{Left, Shard};
use crate::stats::count;
use crate::store::Store;
use crate::stored::Head;
use archipel_http::key::{plain_hash, url_half};
use std::io;
use std::sync::atomic::Ordering;

impl<M> Store<M> {
    /// Where the purge sequence stands: take it before a fetch begins.
    pub fn stamp(&self) -> PurgeStamp {
        self.log.stamp()
    }

    /// Purges what a scope covers, in constant time: stored objects are compared with the record when they are next looked up.
    /// Except for [`Scope::Everything`], only objects of `zone` are covered.
    pub fn purge(&self, zone: u32, scope: Scope, kind: PurgeKind) -> Purged {
        let recorded = self.log.record(zone, scope, kind);
        let by_key = matches!(scope, Scope::Key(_) | Scope::Url(_));
        count(if by_key { &self.stats.purges_key } else { &self.stats.purges_scope });
        if recorded.overflowed {
            count(&self.stats.purge_scopes_overflows);
        }
        Purged { sequence: recorded.sequence, objects: 0 }
    }

    /// A visitor's unsafe request succeeded (RFC 9111 section 4.4): removes whatever is stored under a key's URL in its zone, in
    /// memory and on disk, and lets nothing be stored that is being fetched for it. `key` is the one to which the zone adds nothing.
    ///
    /// No record is kept: however many visitors make, nothing else is concerned. What the disk had is noted there, by its writer,
    /// before long. While another process takes over, which has its own copies, it is a purge and reaches it by the journal.
    pub fn invalidate_url<K: KeyText + ?Sized>(&self, key: &KeyRef<'_, K>) -> Purged {
        let url = url_half(key.hash);
        let purged = self.invalidate(key, plain_hash(url), |shard, before| shard.remove_url(url, before));
        if self.hands_over.load(Ordering::Relaxed) {
            self.purge(key.zone, Scope::Url(url_group(&key.text.url())), PurgeKind::Hard);
        }
        purged
    }

    /// [`Store::invalidate_url`] of one key alone.
    pub fn invalidate_key<K: KeyText + ?Sized>(&self, key: &KeyRef<'_, K>) -> Purged {
        let purged = self.invalidate(key, key.hash, |shard, before| shard.remove_key(key.hash, before));
        if self.hands_over.load(Ordering::Relaxed) {
            self.purge(key.zone, Scope::Key(key.hash), PurgeKind::Hard);
        }
        purged
    }

    fn invalidate<K: KeyText + ?Sized>(
        &self,
        key: &KeyRef<'_, K>,
        hash: u128,
        remove: impl Fn(&mut Shard<M>, PurgeStamp) -> Left<M>,
    ) -> Purged {
        let slice = self.slice(hash);
        let mut shard = slice.lock();
        // The number is given under the lock: what is in memory at a later number was not made invalid before it.
        let recorded = self.log.invalidate(key.zone, hash);
        let before = PurgeStamp(recorded.sequence);
        let left = remove(&mut shard, before);
        self.settle(slice, shard, &left);
        let mut objects = left.len();
        if let Some(disk) = self.disk() {
            let on_disk = disk.invalidate(hash);
            // What was on its way from there to memory is there now, or will find that it is not on the disk any more.
            let mut shard = slice.lock();
            let left = remove(&mut shard, before);
            self.settle(slice, shard, &left);
            objects += left.len();
            self.stats.invalidated.fetch_add(on_disk as u64, Ordering::Relaxed);
        }
        count(&self.stats.invalidations);
        self.stats.invalidated.fetch_add(objects as u64, Ordering::Relaxed);
        if recorded.overflowed {
            count(&self.stats.invalidations_overflows);
        }
        Purged { sequence: recorded.sequence, objects }
    }

    /// From now on another process serves, too: what visitors invalidate here has to reach it by the journal.
    pub fn hand_over(&self) {
        self.hands_over.store(true, Ordering::Relaxed);
    }

    /// Purges all variants of a key, and what is being fetched for it. What is in memory goes at once.
    pub fn purge_key<K: KeyText + ?Sized>(&self, key: &KeyRef<'_, K>, kind: PurgeKind) -> Purged {
        let purged = self.purge(key.zone, Scope::Key(key.hash), kind);
        self.purge_now(key, kind, purged.sequence)
    }

    /// Purges a key's URL: whatever is stored under it, in whatever keys. What is in memory under `key` itself goes at once.
    pub fn purge_url<K: KeyText + ?Sized>(&self, key: &KeyRef<'_, K>, kind: PurgeKind) -> Purged {
        let purged = self.purge(key.zone, Scope::Url(url_group(&key.text.url())), kind);
        self.purge_now(key, kind, purged.sequence)
    }

    /// Purges a zone.
    pub fn purge_zone(&self, zone: u32, kind: PurgeKind) -> Purged {
        self.purge(zone, Scope::Zone, kind)
    }

    /// Purges a host of a zone; see [`purge_group`](crate::purge_group).
    pub fn purge_host(&self, zone: u32, host: u64, kind: PurgeKind) -> Purged {
        self.purge(zone, Scope::Host(host), kind)
    }

    /// Purges a host of a zone and the beginning of a path (whole segments; slashes at its end do not count).
    pub fn purge_prefix(&self, zone: u32, authority: &str, path: &str, kind: PurgeKind) -> Purged {
        match PrefixGroup::new(authority, path) {
            None => self.purge_host(zone, crate::groups::purge_group(authority), kind),
            Some((prefix, cut)) => {
                if cut {
                    count(&self.stats.prefix_segments_max);
                }
                self.purge(zone, Scope::Prefix(prefix), kind)
            }
        }
    }

    /// Purges a tag or cache group; see [`tag_group`](crate::tag_group) and [`cache_group`](crate::cache_group).
    pub fn purge_tag(&self, zone: u32, tag: u64, kind: PurgeKind) -> Purged {
        self.purge(zone, Scope::Tag(tag), kind)
    }

    /// Purges everything.
    pub fn purge_all(&self, kind: PurgeKind) -> Purged {
        self.purge(0, Scope::Everything, kind)
    }

    fn purge_now<K: KeyText + ?Sized>(&self, key: &KeyRef<'_, K>, kind: PurgeKind, sequence: u64) -> Purged {
        let slice = self.slice(key.hash);
        let mut shard = slice.lock();
        let (objects, left) = shard.purge_key(key.hash, key.text, kind, PurgeStamp(sequence));
        self.settle(slice, shard, &left);
        Purged { sequence, objects }
    }

    /// The strongest purge of a key, its URL, prefixes, host and zone, of these tags, or of everything, or its invalidation, after a
    /// stamp. For a fetch under way (its tags are known once its head is there), never for what is stored.
    pub fn purged_since<K: KeyText + ?Sized>(
        &self,
        key: &KeyRef<'_, K>,
        tags: &[u64],
        stamp: PurgeStamp,
    ) -> Option<PurgeKind> {
        if self.log.stamp() <= stamp {
            return None;
        }
        if self.log.is_invalidated(key.zone, key.hash, stamp) {
            return Some(PurgeKind::Hard);
        }
        let groups = Groups { tags: tags.into(), ..Groups::of(&key.text.url()) };
        self.log.since(key, &groups, stamp)
    }

    /// The strongest purge of a stored response after its own stamp.
    pub fn purged(&self, head: &Head<M>) -> Option<PurgeKind> {
        self.log.since(&head.key_ref(), &head.groups, head.stamp)
    }

    /// [`Store::purged_since`] of a response that is being fetched and whose head is there, after its own stamp. `valid` is a number at
    /// which it was known not to be invalid, if it was stored since.
    pub fn outdated(&self, head: &Head<M>, valid: PurgeStamp) -> Option<PurgeKind> {
        if self.log.is_invalidated(head.zone, head.hash, head.stamp.max(valid)) {
            return Some(PurgeKind::Hard);
        }
        self.purged(head)
    }

    /// Counts an object whose tags are too many to be kept.
    pub fn count_unkept_tags(&self) {
        count(&self.stats.tags_max);
    }

    /// Takes up what a journal held, before anything is stored. From now on purges wait for [`Store::persist_purges`].
    pub fn restore_purges(&self, table: &PurgeTable) {
        self.log.restore(table);
    }

    /// All that is recorded, as a journal holds it.
    pub fn purge_table(&self) -> PurgeTable {
        self.log.table()
    }

    /// Whether purges wait for [`Store::persist_purges`].
    pub fn has_unwritten_purges(&self) -> bool {
        self.log.has_unwritten()
    }

    /// Brings the journal up to date; returns the number up to which purges are on the disk.
    ///
    /// # Errors
    /// The disk's. The purges are in force, and written with the next call that succeeds; a crash before that forgets them.
    pub fn persist_purges(&self, journal: &mut Journal) -> io::Result<PurgeStamp> {
        for record in journal.take_foreign() {
            // Under a number of this process: what it has stored since it began may be older than the purge.
            self.purge(record.zone, record.scope, record.kind);
        }
        // What is recorded from here on is at most more than this promises.
        let durable = self.log.stamp();
        let all = journal.wants_all(crate::purge_log::UNWRITTEN_MAX);
        let ahead = self.log.is_ahead();
        let written = match self.log.take_unwritten(all) {
            Unwritten::Records(records) => {
                let appended = if records.is_empty() { Ok(()) } else { journal.append(&records) };
                // Invalidations take numbers and leave no record.
                appended.and_then(|()| if ahead { journal.append_start(durable.sequence()) } else { Ok(()) })
            }
            Unwritten::All(table) => journal.rewrite(&table),
        };
        match written {
            Ok(()) => {
                if ahead {
                    self.log.was_told(durable);
                }
                Ok(durable)
            }
            Err(error) => {
                self.log.not_written();
                Err(error)
            }
        }
    }

    /// Purges after a number, for another node to make as well: at most `records_max`, oldest first.
    ///
    /// # Errors
    /// [`WindowLost`] where some of them were forgotten: the other node has to purge everything.
    pub fn purges_since(&self, after: u64, records_max: usize) -> Result<PurgesSince, WindowLost> {
        self.log.purges_since(after, records_max)
    }

    /// The oldest stamp from which on anything in memory or on disk has to be compared with purges; the sequence where there is
    /// nothing, 0 while it is not known what is on the disk. Takes each shard's lock in turn for as long as a walk over its objects
    /// takes: for [`Store::compact_purges`], now and then.
    pub fn oldest_stamp(&self) -> PurgeStamp {
        let sequence = self.stamp();
        let now = self.disk().map_or(sequence, |disk| PurgeStamp(disk.oldest_stamp().unwrap_or(0)).min(sequence));
        self.shards.iter().filter_map(|slice| slice.lock().oldest()).min().map_or(now, |oldest| oldest.min(now))
    }

    /// Forgets the records of purges up to `floor`: the oldest stamp that anything stored, in memory or on disk, still has. Whatever
    /// has an older one counts as purged. Takes time by the number of records. Returns how many scopes were forgotten.
    pub fn compact_purges(&self, floor: PurgeStamp) -> usize {
        self.log.compact(floor)
    }
}
