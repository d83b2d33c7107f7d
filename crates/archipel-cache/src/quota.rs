//! What each zone has in the cache, and how much it may have.
//!
//! Owns a line for each zone: bytes and objects in memory and on disk, their bounds, and the choice of whose object goes where a tier
//! is full. A zone with a quota has queues of its own, so that what it stores takes the place of its own objects alone; the others
//! share what is left.
//!
//! # The promise
//! A tier of `B` bytes whose zones have quotas of together `Q` leaves `max(B - Q, B / 8)` to the zones without one: their quota together.
//! Where the tier is full, the one whose use is the greatest part of its quota gives something up. So nobody is pushed below its quota
//! by others as long as `Q <= B * 7/8`, and otherwise not below the same part of its quota as everybody else.
//!
//! Must never hold a lock while anything else does something: lines are counted with atomics.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

type Hashed = foldhash::fast::RandomState;

/// Zones that are counted apart. Those that come later share the first line, and have no quota until a restart.
pub(crate) const ZONES_MAX: usize = 16_384;
/// The part of a tier that zones without a quota have at least, however large the quotas are: one in this many.
const SHARED_PART: u64 = 8;

/// Shards of the memory tier, for each of which a line says what is in it.
pub(crate) const SHARDS: usize = 64;

/// The quotas of one zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneQuota {
    /// The zone's number.
    pub zone: u32,
    /// Bytes of memory, index included; 0 for none of its own.
    pub memory_bytes_max: u64,
    /// Bytes on the disk; 0 for none of its own.
    pub disk_bytes_max: u64,
}

/// What a zone has in the cache at one moment, and what its quotas cost it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ZoneUse {
    /// The zone's number; 0 for all those that are not counted apart.
    pub zone: u32,
    /// In memory.
    pub memory: TierUse,
    /// On the disk.
    pub disk: TierUse,
}

/// What a zone has in one tier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TierUse {
    /// Bytes, overhead included.
    pub bytes: u64,
    /// Objects.
    pub objects: u64,
    /// The quota in bytes; 0 for none of its own.
    pub bytes_max: u64,
    /// Objects evicted as the zone was at its quota.
    pub evicted_quota: u64,
    /// Objects not stored as they, or what has to stay, are too large for the quota.
    pub refused_quota: u64,
}

impl ZoneUse {
    /// Adds what another zone has.
    pub fn add(&mut self, other: &Self) {
        for (to, from) in [(&mut self.memory, &other.memory), (&mut self.disk, &other.disk)] {
            to.bytes += from.bytes;
            to.objects += from.objects;
            to.bytes_max += from.bytes_max;
            to.evicted_quota += from.evicted_quota;
            to.refused_quota += from.refused_quota;
        }
    }
}

/// One zone's part of one tier.
#[derive(Debug, Default)]
pub(crate) struct Share {
    bytes: AtomicU64,
    objects: AtomicU64,
    /// 0 for no quota.
    bytes_max: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
}

impl Share {
    /// Takes bytes, if the quota leaves so many.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let most = self.bytes_max().unwrap_or(u64::MAX);
        let room = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= most);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }

    /// Takes bytes whatever the quota is: for what is there already.
    pub(crate) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn came(&self, objects: usize) {
        self.objects.fetch_add(objects as u64, Ordering::Relaxed);
    }

    pub(crate) fn left(&self, objects: usize) {
        self.objects.fetch_sub(objects as u64, Ordering::Relaxed);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_max(&self) -> Option<u64> {
        Some(self.bytes_max.load(Ordering::Relaxed)).filter(|most| *most > 0)
    }

    /// Whether it holds more than its quota, which was lowered.
    pub(crate) fn is_over(&self) -> bool {
        self.bytes_max().is_some_and(|most| self.bytes() > most)
    }

    pub(crate) fn count_evicted(&self, objects: usize) {
        self.evicted.fetch_add(objects as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> TierUse {
        TierUse {
            bytes: self.bytes(),
            objects: self.objects.load(Ordering::Relaxed),
            bytes_max: self.bytes_max().unwrap_or(0),
            evicted_quota: self.evicted.load(Ordering::Relaxed),
            refused_quota: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// One zone.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) zone: u32,
    /// Among the lines; what an index of the disk keeps with each object.
    pub(crate) slot: u16,
    pub(crate) memory: Share,
    pub(crate) disk: Share,
    /// Bytes of the zone's own queues in each shard, to find what may go without the shards' locks.
    pub(crate) held: Box<[AtomicU64; SHARDS]>,
}

impl Line {
    fn new(zone: u32, slot: u16) -> Arc<Self> {
        let held = Box::new(std::array::from_fn(|_| AtomicU64::new(0)));
        Arc::new(Self { zone, slot, memory: Share::default(), disk: Share::default(), held })
    }
}

/// The zones of a tier that have a quota.
#[derive(Debug, Default)]
pub(crate) struct Quoted {
    pub(crate) lines: Vec<Arc<Line>>,
    /// Bytes that are left to the others.
    pub(crate) shared_bytes_max: u64,
}

impl Quoted {
    fn new(lines: Vec<Arc<Line>>, tier_bytes_max: u64, share: fn(&Line) -> &Share) -> Self {
        let quotas = lines.iter().filter_map(|line| share(line).bytes_max()).fold(0, u64::saturating_add);
        let shared_bytes_max = tier_bytes_max.saturating_sub(quotas).max(tier_bytes_max / SHARED_PART).max(1);
        Self { lines, shared_bytes_max }
    }

    /// Whose object goes where the tier is full: the zone whose use is the greatest part of its quota. `None`: one of those that share
    /// what is left, of which they use `shared_bytes`.
    pub(crate) fn victim(&self, shared_bytes: u64, share: fn(&Line) -> &Share) -> Option<&Arc<Line>> {
        // Nearly always, as the quotas fit.
        if self.lines.is_empty() || shared_bytes >= self.shared_bytes_max {
            return None;
        }
        let part = |bytes: u64, most: u64| u128::from(bytes) * u128::from(u32::MAX) / u128::from(most.max(1));
        let of_line = |line: &&Arc<Line>| part(share(line).bytes(), share(line).bytes_max().unwrap_or(u64::MAX));
        let most = self.lines.iter().max_by_key(of_line)?;
        (of_line(&most) > part(shared_bytes, self.shared_bytes_max)).then_some(most)
    }
}

#[derive(Debug)]
struct Table {
    slots: HashMap<u32, u16, Hashed>,
    lines: Vec<Arc<Line>>,
    memory: Arc<Quoted>,
    disk: Arc<Quoted>,
}

/// All zones.
#[derive(Debug)]
pub(crate) struct Quotas {
    table: RwLock<Table>,
    /// Bytes of memory in the queues of zones with a quota.
    pub(crate) own_memory: AtomicU64,
}

impl Default for Quotas {
    fn default() -> Self {
        let table = Table {
            slots: HashMap::default(),
            lines: vec![Line::new(0, 0)],
            memory: Arc::default(),
            disk: Arc::default(),
        };
        Self { table: RwLock::new(table), own_memory: AtomicU64::new(0) }
    }
}

impl Quotas {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A zone's line, which it has from then on.
    pub(crate) fn of(&self, zone: u32) -> Arc<Line> {
        let table = self.read();
        let known = table.slots.get(&zone).and_then(|slot| table.lines.get(usize::from(*slot))).cloned();
        drop(table);
        known.unwrap_or_else(|| self.add(zone))
    }

    /// The line of a slot.
    pub(crate) fn at(&self, slot: u16) -> Option<Arc<Line>> {
        self.read().lines.get(usize::from(slot)).cloned()
    }

    fn add(&self, zone: u32) -> Arc<Line> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = table.slots.get(&zone).and_then(|slot| table.lines.get(usize::from(*slot))) {
            return Arc::clone(line);
        }
        let full = table.lines.len() > ZONES_MAX;
        let slot = if full { 0 } else { table.lines.len() as u16 };
        let line = Line::new(zone, slot);
        if full {
            return table.lines.first().cloned().unwrap_or(line);
        }
        table.lines.push(Arc::clone(&line));
        table.slots.insert(zone, slot);
        line
    }

    /// Puts other quotas in force, for tiers of so many bytes. Zones that are not named have none.
    pub(crate) fn set(&self, quotas: &[ZoneQuota], memory_bytes_max: u64, disk_bytes_max: u64) {
        let quoted: Vec<(Arc<Line>, &ZoneQuota)> = quotas.iter().map(|quota| (self.of(quota.zone), quota)).collect();
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for line in &table.lines {
            // Whom the first line stands for is not known.
            let quota = quoted.iter().find(|(other, _)| Arc::ptr_eq(other, line)).filter(|_| line.slot > 0);
            let (memory, disk) = quota.map_or((0, 0), |(_, quota)| (quota.memory_bytes_max, quota.disk_bytes_max));
            line.memory.bytes_max.store(memory, Ordering::Relaxed);
            line.disk.bytes_max.store(disk, Ordering::Relaxed);
        }
        if quoted.iter().any(|(line, _)| line.slot == 0) {
            tracing::error!(
                zones_max = ZONES_MAX,
                "too many zones came and went: some of their cache quotas hold after a restart only"
            );
        }
        let with = |share: fn(&Line) -> &Share, most| {
            let lines = table.lines.iter().filter(|line| share(line).bytes_max().is_some()).cloned().collect();
            Arc::new(Quoted::new(lines, most, share))
        };
        let (memory, disk) = (with(|line| &line.memory, memory_bytes_max), with(|line| &line.disk, disk_bytes_max));
        (table.memory, table.disk) = (memory, disk);
    }

    pub(crate) fn memory(&self) -> Arc<Quoted> {
        Arc::clone(&self.read().memory)
    }

    pub(crate) fn disk(&self) -> Arc<Quoted> {
        Arc::clone(&self.read().disk)
    }

    /// What every zone has that ever had anything.
    pub(crate) fn uses(&self) -> Vec<ZoneUse> {
        let of = |line: &Arc<Line>| ZoneUse { zone: line.zone, memory: line.memory.now(), disk: line.disk.now() };
        self.read().lines.iter().map(of).filter(|of| *of != ZoneUse { zone: of.zone, ..ZoneUse::default() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(zone: u32, memory_bytes_max: u64) -> ZoneQuota {
        ZoneQuota { zone, memory_bytes_max, disk_bytes_max: 0 }
    }

    #[track_caller]
    fn check(quotas: &[(u32, u64)], used: &[(u32, u64)], shared_bytes: u64, expected: Option<u32>) {
        let table = Quotas::default();
        let all: Vec<ZoneQuota> = quotas.iter().map(|(zone, most)| quota(*zone, *most)).collect();
        table.set(&all, 1_000, 0);
        used.iter().for_each(|(zone, bytes)| table.of(*zone).memory.add(*bytes));
        let victim = table.memory().victim(shared_bytes, |line| &line.memory).map(|line| line.zone);
        assert_eq!(victim, expected, "{quotas:?} {used:?} {shared_bytes}");
    }

    #[test]
    fn who_uses_the_greatest_part_of_its_quota_gives_something_up() {
        check(&[], &[], 1_000, None);
        check(&[(1, 300), (2, 200)], &[(1, 300), (2, 200)], 500, None);
        check(&[(1, 300), (2, 200)], &[(1, 100), (2, 200)], 700, None);
        // A quota that was lowered.
        check(&[(1, 300), (2, 200)], &[(1, 500), (2, 100)], 400, Some(1));
        // More is promised than there is: all give up the same part.
        check(&[(1, 1_000), (2, 500)], &[(1, 700), (2, 200)], 80, Some(1));
        check(&[(1, 1_000), (2, 500)], &[(1, 500), (2, 400)], 80, Some(2));
        check(&[(1, 1_000), (2, 500)], &[(1, 500), (2, 250)], 125, None);
    }

    #[test]
    fn a_share_is_never_more_than_its_quota() {
        let table = Quotas::default();
        table.set(&[quota(7, 100)], 1_000, 0);
        let line = table.of(7);
        assert!(line.memory.take(100) && !line.memory.take(1) && !line.memory.take(u64::MAX));
        table.set(&[quota(7, 60)], 1_000, 0);
        assert!(line.memory.is_over() && !line.memory.take(0));
        line.memory.give_back(50);
        assert!(!line.memory.is_over() && line.memory.take(10) && !line.memory.take(1));
        table.set(&[], 1_000, 0);
        assert!(line.memory.take(10_000), "no quota any more");
        assert!(table.memory().lines.is_empty());
    }

    #[test]
    fn zones_beyond_the_bound_share_a_line() {
        let table = Quotas::default();
        for zone in 1..=ZONES_MAX as u32 + 10 {
            table.of(zone).memory.add(1);
        }
        assert_eq!(table.of(ZONES_MAX as u32 + 5).slot, 0);
        assert_eq!(table.at(0).unwrap().memory.bytes(), 10);
        table.set(&[quota(ZONES_MAX as u32 + 5, 5)], 1_000, 0);
        assert!(table.at(0).unwrap().memory.take(100), "others must not be bound by its quota");
        assert_eq!(table.uses().len(), ZONES_MAX + 1);
    }
}
