//! The purge sequence and its table of records.
//!
//! Must never forget a purge that could still concern a stored object: where something is forgotten, what is older counts as purged.

use crate::groups::{Groups, PrefixGroup, UNKEPT_TAGS, prefixes};
use crate::invalidations::Invalidations;
use crate::key::{KeyRef, KeyText};
use crate::purge::{Marks, PurgeKind, PurgeRecord, PurgeStamp, PurgesSince, Scope, WindowLost};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

type Hashed = foldhash::fast::RandomState;

/// Records that wait for the journal; one more, and the journal is written anew from the table.
pub(crate) const UNWRITTEN_MAX: usize = 4_096;
/// Numbers that may be given before the journal is told where the sequence stands: half of those that a start leaves out.
const AHEAD_MAX: u64 = 1 << 15;

/// Everything that a journal has to hold: what a table is made of again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PurgeTable {
    /// Where the sequence stands.
    pub sequence: u64,
    /// Whatever has an older stamp than this counts as purged.
    pub floor: u64,
    /// The records, oldest first.
    pub records: Vec<PurgeRecord>,
}

/// What the journal lacks.
#[derive(Debug)]
pub(crate) enum Unwritten {
    /// These, in order.
    Records(Vec<PurgeRecord>),
    /// All of it.
    All(PurgeTable),
}

/// What a purge found when it was recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recorded {
    pub(crate) sequence: u64,
    /// The table was full: older objects of a zone, or all older ones, were purged with it; or, of an invalidation, fetches that began
    /// before an older one are not stored.
    pub(crate) overflowed: bool,
}

#[derive(Debug)]
pub(crate) struct PurgeLog {
    /// The last number that was given, to a purge or an invalidation.
    sequence: AtomicU64,
    /// Number of the last purge: an object that was compared at this number needs no comparison. Stored once the record is made.
    recorded: AtomicU64,
    /// The number that the journal was last told.
    told: AtomicU64,
    table: RwLock<Table>,
    scopes_max: usize,
}

#[derive(Debug, Default)]
struct Table {
    all: Marks,
    /// What is older was forgotten.
    floor: u64,
    zones: HashMap<u32, ZoneMarks, Hashed>,
    /// By zone and scope: no zone purges another's.
    scopes: HashMap<(u32, Scope), Marks, Hashed>,
    /// Bit n: a prefix of n segments is among the scopes.
    prefix_segments: u32,
    unwritten: Option<Vec<PurgeRecord>>,
    /// The journal lacks more than `unwritten` says.
    unwritten_lost: bool,
    /// What is no record, as it concerns nothing that is stored.
    invalidations: Invalidations,
}

#[derive(Debug, Default)]
struct ZoneMarks {
    zone: Marks,
    /// Of any tag, for objects whose tags are not kept.
    any_tag: Marks,
    /// How many of the scopes are this zone's.
    scopes: usize,
}

impl Table {
    fn len(&self) -> usize {
        self.scopes.len() + self.zones.len()
    }

    fn apply(&mut self, record: &PurgeRecord) {
        let PurgeRecord { sequence, kind, zone, scope } = *record;
        match scope {
            Scope::Everything => {
                self.all.raise(kind, sequence);
                if kind == PurgeKind::Hard {
                    // It covers whatever the records made before it cover.
                    self.clear_scopes();
                }
                return;
            }
            Scope::Zone => return self.zones.entry(zone).or_default().zone.raise(kind, sequence),
            Scope::Tag(_) => self.zones.entry(zone).or_default().any_tag.raise(kind, sequence),
            Scope::Prefix(prefix) => self.prefix_segments |= bit(prefix),
            Scope::Host(_) | Scope::Url(_) | Scope::Key(_) => {}
        }
        let of_zone = self.zones.entry(zone).or_default();
        let marks = self.scopes.entry((zone, scope)).or_insert_with(|| {
            of_zone.scopes += 1;
            Marks::default()
        });
        marks.raise(kind, sequence);
    }

    fn clear_scopes(&mut self) {
        self.scopes.clear();
        self.zones.clear();
        self.prefix_segments = 0;
    }

    /// Forgets the older half of the records of the zone that has the most: what is older in that zone counts as purged.
    fn make_room(&mut self, sequence: u64) {
        let most = self.zones.iter().max_by_key(|(_, zone)| zone.scopes).map(|(id, zone)| (*id, zone.scopes));
        let Some((zone, _)) = most.filter(|(_, count)| *count > 1) else {
            // Hardly a record beside zones: what is older counts as purged everywhere.
            self.clear_scopes();
            self.all.raise(PurgeKind::Hard, sequence);
            return;
        };
        let of_zone = self.scopes.iter().filter(|((other, _), _)| *other == zone);
        let mut numbers: Vec<u64> = of_zone.map(|(_, marks)| marks.last()).collect();
        numbers.sort_unstable();
        let forgotten = numbers.get(numbers.len() / 2).copied().unwrap_or(sequence);
        self.scopes.retain(|(other, _), marks| *other != zone || marks.last() > forgotten);
        self.recount();
        self.zones.entry(zone).or_default().zone.raise(PurgeKind::Hard, forgotten);
    }

    fn recount(&mut self) {
        self.zones.values_mut().for_each(|zone| zone.scopes = 0);
        self.prefix_segments = 0;
        for (zone, scope) in self.scopes.keys() {
            self.zones.entry(*zone).or_default().scopes += 1;
            if let Scope::Prefix(prefix) = scope {
                self.prefix_segments |= bit(*prefix);
            }
        }
    }

    fn forget(&mut self, floor: u64) -> usize {
        let before = self.len();
        self.scopes.retain(|_, marks| marks.forget(floor));
        self.recount();
        self.zones.retain(|_, zone| {
            // Both are forgotten, whatever becomes of the other.
            let (whole, tags) = (zone.zone.forget(floor), zone.any_tag.forget(floor));
            whole || tags || zone.scopes > 0
        });
        self.floor = self.floor.max(floor);
        self.all.raise(PurgeKind::Hard, floor);
        before - self.len()
    }

    /// All records after a number, oldest first.
    fn records(&self, after: u64) -> Vec<PurgeRecord> {
        // What only says that older things were forgotten is the floor, not a record.
        let all = if self.all.hard > self.floor { self.all } else { Marks { hard: 0, ..self.all } };
        let zones = self.zones.iter().flat_map(|(zone, marks)| marks.zone.records(*zone, Scope::Zone));
        let scopes = self.scopes.iter().flat_map(|((zone, scope), marks)| marks.records(*zone, *scope));
        let every = all.records(0, Scope::Everything).chain(zones).chain(scopes);
        let mut records: Vec<_> = every.filter(|record| record.sequence > after).collect();
        records.sort_unstable_by_key(|record| record.sequence);
        records
    }
}

fn bit(prefix: PrefixGroup) -> u32 {
    1 << (prefix.segments % 32)
}

impl PurgeLog {
    pub(crate) fn new(scopes_max: usize) -> Self {
        let [sequence, recorded, told] = std::array::from_fn(|_| AtomicU64::new(0));
        Self { sequence, recorded, told, table: RwLock::default(), scopes_max }
    }

    /// Takes up what a journal held. From now on records wait for a journal.
    pub(crate) fn restore(&self, restored: &PurgeTable) {
        let mut table = self.write();
        table.forget(restored.floor);
        for record in &restored.records {
            self.apply(&mut table, record);
        }
        table.unwritten = Some(Vec::new());
        let sequence = restored.sequence.max(self.sequence());
        self.told.store(sequence, Ordering::SeqCst);
        self.sequence.store(sequence, Ordering::SeqCst);
        self.recorded.store(sequence, Ordering::SeqCst);
    }

    pub(crate) fn stamp(&self) -> PurgeStamp {
        PurgeStamp(self.sequence())
    }

    fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::SeqCst)
    }

    /// Number of the last purge.
    pub(crate) fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::SeqCst)
    }

    /// Gives a number to an invalidation of a key, or of all keys of a URL by the hash of its plain one: what is fetched since before it
    /// is not stored. What is stored is the caller's to remove, afterwards. Tells whether an older one was forgotten.
    pub(crate) fn invalidate(&self, zone: u32, hash: u128) -> Recorded {
        let mut table = self.write();
        let sequence = self.sequence() + 1;
        let overflowed = table.invalidations.record(zone, hash, sequence);
        self.sequence.store(sequence, Ordering::SeqCst);
        Recorded { sequence, overflowed }
    }

    /// Whether a key was invalidated, or may have been, since a fetch of it began. Never for what is stored.
    pub(crate) fn is_invalidated(&self, zone: u32, hash: u128, stamp: PurgeStamp) -> bool {
        self.sequence() > stamp.0 && self.read().invalidations.since(zone, hash, stamp)
    }

    /// Whether so many numbers were given that the journal should be told, lest the next start gives some of them again.
    pub(crate) fn is_ahead(&self) -> bool {
        self.sequence() - self.told.load(Ordering::SeqCst).min(self.sequence()) >= AHEAD_MAX
    }

    /// The journal knows of this number.
    pub(crate) fn was_told(&self, stamp: PurgeStamp) {
        self.told.fetch_max(stamp.0, Ordering::SeqCst);
    }

    /// Records a purge, in constant time; where the table is full, in the time that forgetting half a zone's records takes, once
    /// for as many purges.
    pub(crate) fn record(&self, zone: u32, scope: Scope, kind: PurgeKind) -> Recorded {
        let mut table = self.write();
        let record = PurgeRecord { sequence: self.sequence() + 1, kind, zone, scope };
        let overflowed = self.apply(&mut table, &record);
        if let Some(unwritten) = &mut table.unwritten {
            if unwritten.len() < UNWRITTEN_MAX {
                unwritten.push(record);
            } else {
                unwritten.clear();
                table.unwritten_lost = true;
            }
        }
        self.sequence.store(record.sequence, Ordering::SeqCst);
        self.recorded.store(record.sequence, Ordering::SeqCst);
        Recorded { sequence: record.sequence, overflowed }
    }

    fn apply(&self, table: &mut Table, record: &PurgeRecord) -> bool {
        let is_known = match record.scope {
            Scope::Everything => true,
            Scope::Zone => table.zones.contains_key(&record.zone),
            scope => table.scopes.contains_key(&(record.zone, scope)),
        };
        let full = !is_known && table.len() >= self.scopes_max.max(2);
        if full {
            // What begins after the last purge before this one is not concerned.
            table.make_room(record.sequence.saturating_sub(1));
        }
        table.apply(record);
        full
    }

    /// The strongest purge of what these describe after a stamp.
    pub(crate) fn since<K: KeyText + ?Sized>(
        &self,
        key: &KeyRef<'_, K>,
        groups: &Groups,
        stamp: PurgeStamp,
    ) -> Option<PurgeKind> {
        if self.recorded() <= stamp.0 {
            return None;
        }
        let table = self.read();
        let mut found = table.all.since(stamp);
        if let Some(zone) = table.zones.get(&key.zone) {
            found = found.max(zone.zone.since(stamp));
            if *groups.tags == [UNKEPT_TAGS] {
                found = found.max(zone.any_tag.since(stamp));
            }
        }
        if found == Some(PurgeKind::Hard) || table.scopes.is_empty() {
            return found;
        }
        let named = [Scope::Url(groups.url), Scope::Host(groups.host), Scope::Key(key.hash)];
        let tags = groups.tags.iter().map(|tag| Scope::Tag(*tag));
        let of = |scope: Scope| table.scopes.get(&(key.zone, scope)).and_then(|marks| marks.since(stamp));
        found = found.max(named.into_iter().chain(tags).filter_map(of).max());
        if table.prefix_segments != 0 {
            let url = key.text.url();
            let recorded = |prefix: &PrefixGroup| table.prefix_segments & bit(*prefix) != 0;
            let longest = (u32::BITS - table.prefix_segments.leading_zeros()) as usize;
            let prefixes = prefixes(url.authority, url.path()).take(longest).filter(recorded);
            found = found.max(prefixes.map(Scope::Prefix).filter_map(of).max());
        }
        found
    }

    /// Forgets the purges up to the oldest stamp that anything stored still has. Whatever has an older one counts as purged. Takes
    /// time by the number of records. Returns how many were forgotten.
    pub(crate) fn compact(&self, floor: PurgeStamp) -> usize {
        self.write().forget(floor.0.min(self.sequence()))
    }

    /// Scopes and zones with a record.
    pub(crate) fn len(&self) -> usize {
        self.read().len()
    }

    pub(crate) fn purges_since(&self, after: u64, records_max: usize) -> Result<PurgesSince, WindowLost> {
        let table = self.read();
        let sequence = self.sequence();
        if after < table.floor || after > sequence {
            return Err(WindowLost { after, floor: table.floor, sequence });
        }
        let mut records = table.records(after);
        let more = records.len() > records_max.max(1);
        records.truncate(records_max.max(1));
        Ok(PurgesSince { sequence, records, more })
    }

    pub(crate) fn table(&self) -> PurgeTable {
        let table = self.read();
        PurgeTable { sequence: self.sequence(), floor: table.floor, records: table.records(0) }
    }

    /// Takes what waits for the journal; all there is where `all` is asked for or some of it was lost.
    pub(crate) fn take_unwritten(&self, all: bool) -> Unwritten {
        let mut table = self.write();
        let records = table.unwritten.as_mut().map(std::mem::take).unwrap_or_default();
        if !(std::mem::take(&mut table.unwritten_lost) || all) {
            return Unwritten::Records(records);
        }
        let records = table.records(0);
        Unwritten::All(PurgeTable { sequence: self.sequence(), floor: table.floor, records })
    }

    /// What was taken did not reach the journal.
    pub(crate) fn not_written(&self) {
        self.write().unwritten_lost = true;
    }

    /// Whether records wait for the journal.
    pub(crate) fn has_unwritten(&self) -> bool {
        let table = self.read();
        let waits = |records: &Vec<PurgeRecord>| !records.is_empty() || self.is_ahead();
        table.unwritten_lost || table.unwritten.as_ref().is_some_and(waits)
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        // No caller's code runs under this lock.
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}
