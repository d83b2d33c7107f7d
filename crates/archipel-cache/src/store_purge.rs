//! The store's purges: each writes one record, whatever is stored.

use crate::groups::{Groups, PrefixGroup, url_group};
use crate::journal::Journal;
use crate::key::{KeyRef, KeyText};
use crate::purge::{PurgeKind, PurgeStamp, Purged, PurgesSince, Scope, WindowLost};
use crate::purge_log::{PurgeTable, Unwritten};
use crate::stats::count;
use crate::store::Store;
use crate::stored::Head;
use std::io;

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

    /// The strongest purge of a key, its URL, prefixes, host and zone, of these tags, or of everything, after a stamp. For what is
    /// not in memory: a fetch under way (its tags are known once its head is there), an object on disk.
    pub fn purged_since<K: KeyText + ?Sized>(
        &self,
        key: &KeyRef<'_, K>,
        tags: &[u64],
        stamp: PurgeStamp,
    ) -> Option<PurgeKind> {
        if self.log.stamp() <= stamp {
            return None;
        }
        let groups = Groups { tags: tags.into(), ..Groups::of(&key.text.url()) };
        self.log.since(key, &groups, stamp)
    }

    /// [`Store::purged_since`] of a response whose head is there, after its own stamp.
    pub fn purged(&self, head: &Head<M>) -> Option<PurgeKind> {
        self.log.since(&head.key_ref(), &head.groups, head.stamp)
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
        let written = match self.log.take_unwritten(all) {
            Unwritten::Records(records) if records.is_empty() => Ok(()),
            Unwritten::Records(records) => journal.append(&records),
            Unwritten::All(table) => journal.rewrite(&table),
        };
        match written {
            Ok(()) => Ok(durable),
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
