//! The store's quotas: how much of it each zone may have.

use crate::quota::{ZoneQuota, ZoneUse};
use crate::stats::count;
use crate::store::Store;

impl<M> Store<M> {
    /// Puts quotas in force, of a disk tier of `disk_bytes_max` bytes if there is one; zones that are not named have none. What a zone has beyond a quota that is new or lower leaves with what it
    /// stores next, and with [`Store::shrink_zones`]. Takes each shard's lock in turn, for a walk over its objects where other zones
    /// than before have a quota of memory: for a change of the configuration.
    pub fn set_quotas(&self, quotas: &[ZoneQuota], disk_bytes_max: u64) {
        self.quotas.set(quotas, self.limits().memory_bytes_max, disk_bytes_max);
        let quoted = self.quotas.memory();
        for slice in self.shards.iter() {
            let mut shard = slice.lock();
            shard.set_own(&quoted.lines);
            self.settle(slice, shard, &Default::default());
        }
        if let Some(disk) = self.disk() {
            disk.set_quotas();
        }
    }

    /// Evicts up to `objects` from memory of zones that have more than their quota since that was lowered. Returns how many: call it now
    /// and then.
    pub fn shrink_zones(&self, objects: usize) -> usize {
        let quoted = self.quotas.memory();
        let mut gone = 0;
        for line in quoted.lines.iter().filter(|line| line.memory.is_over()) {
            while gone < objects && line.memory.is_over() && self.evict_of_zone(line, 0) {
                line.memory.count_evicted(1);
                count(&self.stats.evicted_zone_bytes_max);
                gone += 1;
            }
        }
        gone
    }

    /// What each zone has in memory and on the disk, and its quotas.
    pub fn zone_uses(&self) -> Vec<ZoneUse> {
        self.quotas.uses()
    }
}
