//! The store with its disk tier: what is offered to it, and what is found in it.
//!
//! Must never hold a shard's lock while it calls the tier. The lock of a shard's offers is held instead: the tier has no way back to it.

use crate::disk::{Codec, DiskLookup, DiskOptions, DiskTier, DiskWriter, Found, Promotable};
use crate::key::{KeyRef, KeyText};
use crate::purge::PurgeStamp;
use crate::store::{Coming, Lookup, Store};
use crate::stored::{Head, Stored};
use std::sync::Arc;

impl<M: Send + Sync + 'static> Store<M> {
    /// Puts a disk tier below the memory, once. It opens in the background. `seed` is the seed of the keys' hashes. What lies in the
    /// folder and was fetched after purges that this store does not know is dropped: restore the purges before.
    pub fn open_disk(self: &Arc<Self>, options: DiskOptions, codec: Arc<dyn Codec<M>>, seed: (u64, u64)) {
        self.disk.get_or_init(|| Arc::new(DiskTier::start(options, codec, seed, self)));
    }
}

impl<M> Store<M> {
    /// The disk tier, if there is one.
    pub fn disk(&self) -> Option<&Arc<DiskTier<M>>> {
        self.disk.get()
    }

    /// Looks on the disk for what memory does not have, without waiting for it. `pick` only compares, and never calls the store.
    pub fn lookup_disk<K: KeyText + ?Sized>(
        &self,
        key: &KeyRef<'_, K>,
        pick: impl FnMut(&Stored<M>) -> bool,
    ) -> DiskLookup<M> {
        match self.disk() {
            Some(disk) => disk.look(key, |head| self.purged(head), pick),
            None => DiskLookup::Missing { other_variants: false },
        }
    }

    /// [`Store::lookup_disk`] after [`DiskLookup::Cold`]: waits for the disk. Bound it with [`DiskOptions::read_wait`], and say so
    /// with [`Store::disk_waited_too_long`] where that passes.
    pub async fn lookup_disk_waiting<K: KeyText + ?Sized>(
        &self,
        key: &KeyRef<'_, K>,
        pick: impl FnMut(&Stored<M>) -> bool,
    ) -> Option<Lookup<M>> {
        let disk = self.disk()?;
        let found = disk.look_and_wait(key, |head| self.purged(head), pick).await;
        found.map(|found| self.use_found(found))
    }

    /// Whether the disk has something of a key with this hash, perhaps purged.
    pub fn has_on_disk(&self, hash: u128) -> bool {
        self.disk().is_some_and(|disk| disk.has(hash))
    }

    /// The wait for a lookup on the disk was given up.
    pub fn disk_waited_too_long(&self) {
        if let Some(disk) = self.disk() {
            disk.waited_too_long();
        }
    }

    /// What was found on the disk, to be served; taken into memory where it is asked for often enough.
    pub fn use_found(&self, found: Found<M>) -> Lookup<M> {
        let Found { stored, soft_purged, promotable } = found;
        let promoted = promotable.filter(|_| !soft_purged).and_then(|found| self.promote(&stored, &found));
        Lookup { stored: promoted.unwrap_or(stored), soft_purged }
    }

    fn promote(&self, stored: &Stored<M>, found: &Promotable) -> Option<Arc<Stored<M>>> {
        let disk = self.disk().filter(|_| self.is_worth_memory(stored, found.was_used))?;
        let own = Arc::new(disk.copy_of(stored, found)?);
        self.insert_in_memory(&own, Coming::Promoted).ok()?;
        disk.count_promotion();
        // Replaced since it was read: what replaced it must not be replaced by it.
        if !disk.is_still_at(&found.place) {
            self.remove_from_memory(&own);
        }
        Some(own)
    }

    /// A response in memory was used: it goes to the disk, too, if it is not there.
    pub fn offer_used(&self, stored: &Arc<Stored<M>>) {
        if !stored.is_on_disk()
            && let Some(disk) = self.disk()
            && let Some(valid) = self.valid_in_memory(stored)
        {
            disk.offer_used(stored, valid);
        }
    }

    /// Begins an object that is too large for memory; `None` where the disk does not take it either.
    pub fn start_on_disk(&self, head: &Arc<Head<M>>, length: Option<u64>) -> Option<DiskWriter<M>> {
        self.disk()?.begin(head, length)
    }

    /// A response was stored, or would have been if it fitted, and was valid at `valid`.
    pub(crate) fn offer_new(&self, stored: &Arc<Stored<M>>, valid: PurgeStamp) {
        if let Some(disk) = self.disk() {
            disk.offer_new(stored, valid);
        }
    }

    pub(crate) fn renew_on_disk(&self, stored: &Arc<Stored<M>>) {
        if let Some(disk) = self.disk() {
            disk.renew(stored);
        }
    }

    pub(crate) fn remove_on_disk(&self, stored: &Stored<M>) -> bool {
        self.disk().is_some_and(|disk| disk.remove(stored))
    }
}
