//! Where each object is: 32 bytes an object in a list, found through a table of 4-byte places.
//!
//! Both grow without doubling an object's own bytes: 38 to 48 bytes an object, whatever their number.
//!
//! Must never hold a shard's lock while a file is read or written.

use super::format::{ENTRY_BYTES, Entry, SOLO_ALIGN, index_key};
use crate::quota::Quotas;
use crate::shard::has_extra;
use archipel_http::key::{plain_hash, url_half};
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shards of the index. A power of two.
const SHARDS: usize = 64;
/// Uses that are remembered for an object.
const USES_MAX: u8 = 3;

/// One object's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) key: u64,
    pub(crate) segment: u32,
    /// Where in the segment; in a solo, in units of [`SOLO_ALIGN`].
    pub(crate) at: u32,
    /// Bytes of the record; in a solo, of its header, meta and table.
    pub(crate) bytes: u32,
    pub(crate) variant: u32,
    /// Seconds since the epoch.
    pub(crate) stored_at: u32,
    /// Number of the zone's line among the quotas.
    pub(crate) zone: u16,
    /// Times it was used since it was written or last spared.
    pub(crate) uses: u8,
    flags: u8,
}

/// Its zone adds something to its key: it is among the [`Extras`].
const EXTRA: u8 = 1;
/// Its file is all its zone's, and counted as a whole.
const OWN_FILE: u8 = 2;

impl Place {
    /// `slot`: of the zone's line among the quotas. `own_file`: nothing of other zones is in its file.
    pub(crate) fn new(entry: &Entry, segment: u32, solo: bool, slot: u16, own_file: bool) -> Self {
        let flags = if has_extra(entry.hash) { EXTRA } else { 0 } | if own_file { OWN_FILE } else { 0 };
        Self {
            key: index_key(entry.hash),
            segment,
            at: Self::at_of(entry.at, solo),
            bytes: entry.bytes,
            variant: entry.variant,
            stored_at: entry.stored_at,
            zone: slot,
            uses: 0,
            flags,
        }
    }

    fn is_extra(&self) -> bool {
        self.flags & EXTRA != 0
    }

    /// Whether its file is all its zone's.
    pub(crate) fn is_in_own_file(&self) -> bool {
        self.flags & OWN_FILE != 0
    }

    /// Bytes that count for its zone: of a file that is all the zone's, nothing beside that file.
    fn counted_bytes(&self) -> u64 {
        if self.is_in_own_file() { 0 } else { u64::from(self.bytes) + ENTRY_BYTES as u64 }
    }

    /// An offset as places keep it.
    pub(crate) fn at_of(at: u64, solo: bool) -> u32 {
        u32::try_from(if solo { at / SOLO_ALIGN } else { at }).unwrap_or(u32::MAX)
    }

    /// Whether it is the same record.
    fn is_at(&self, segment: u32, at: u32) -> bool {
        self.segment == segment && self.at == at
    }
}

/// A key's places, newest first.
pub(crate) type Places = SmallVec<[Place; 2]>;

#[derive(Debug, Default)]
struct Shard {
    places: Vec<Place>,
    table: HashTable<u32>,
}

/// Which keys belong to one URL, of those to which their zone adds something: places keep one half of a hash only.
#[derive(Debug, Default)]
struct Extras {
    /// By a place's key: the half of its URL, and how many places there are.
    urls: HashMap<u64, (u64, u32), foldhash::fast::RandomState>,
    /// The same the other way round.
    keys: BTreeSet<(u64, u64)>,
}

impl Extras {
    fn add(&mut self, hash: u128) {
        let (url, key) = (url_half(hash), index_key(hash));
        self.urls.entry(key).or_insert((url, 0)).1 += 1;
        self.keys.insert((url, key));
    }

    fn remove(&mut self, key: u64) {
        let Some((url, places)) = self.urls.get_mut(&key) else { return };
        *places -= 1;
        if *places == 0 {
            self.keys.remove(&(*url, key));
            self.urls.remove(&key);
        }
    }

    fn of(&self, url: u64) -> Vec<u64> {
        self.keys.range((url, 0)..=(url, u64::MAX)).map(|(_, key)| *key).collect()
    }

    /// Bytes of memory, as near as the standard library's collections let one tell.
    fn memory_bytes(&self) -> usize {
        self.urls.capacity() * (size_of::<(u64, (u64, u32))>() + 1) + self.keys.len() * size_of::<(u64, u64)>() * 3 / 2
    }
}

/// The index.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Box<[Mutex<Shard>; SHARDS]>,
    /// Before a shard's lock where something comes, after it where something goes: a key of a place is always among them.
    extras: Mutex<Extras>,
    quotas: Arc<Quotas>,
}

/// The hash under which the table keeps a key, itself a keyed hash. The shard comes from bits that the table's slot and tag do not use.
fn spread(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Shard {
    fn find(&self, key: u64, wanted: impl Fn(&Place) -> bool) -> Option<u32> {
        let is_it = |slot: &u32| self.places.get(*slot as usize).is_some_and(|place| place.key == key && wanted(place));
        self.table.find(spread(key), is_it).copied()
    }

    fn add(&mut self, place: Place) {
        let slot = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        if self.places.len() == self.places.capacity() {
            self.places.reserve_exact(self.places.len() / 8 + 8);
        }
        self.places.push(place);
        let places = &self.places;
        let hasher = |slot: &u32| places.get(*slot as usize).map_or(0, |place| spread(place.key));
        self.table.insert_unique(spread(place.key), slot, hasher);
    }

    /// Takes a slot out; the last one moves into its place.
    fn take(&mut self, slot: u32) -> Option<Place> {
        let place = *self.places.get(slot as usize)?;
        self.table.find_entry(spread(place.key), |other| *other == slot).ok()?.remove();
        let last = (self.places.len() - 1) as u32;
        let moved = *self.places.last()?;
        self.places.swap_remove(slot as usize);
        if last != slot
            && let Some(other) = self.table.find_mut(spread(moved.key), |other| *other == last)
        {
            *other = slot;
        }
        if self.places.len() * 4 < self.places.capacity() && self.places.capacity() > 256 {
            self.places.shrink_to(self.places.len() * 2);
            let places = &self.places;
            let hasher = |slot: &u32| places.get(*slot as usize).map_or(0, |place| spread(place.key));
            self.table.shrink_to(places.len() * 2, hasher);
        }
        Some(place)
    }

    fn take_all(&mut self, key: u64, wanted: impl Fn(&Place) -> bool) -> Places {
        let mut taken = Places::new();
        while let Some(place) = self.find(key, &wanted).and_then(|slot| self.take(slot)) {
            taken.push(place);
        }
        taken
    }
}

impl Index {
    pub(crate) fn new(quotas: Arc<Quotas>) -> Self {
        Self { shards: Box::new(std::array::from_fn(|_| Mutex::default())), extras: Mutex::default(), quotas }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        // Nothing that could panic runs between two consistent states.
        self.shards[(key >> 40) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn each_shard(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Objects.
    pub(crate) fn len(&self) -> usize {
        self.each_shard().map(|shard| shard.places.len()).sum()
    }

    /// Bytes of memory that it holds.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let bytes = |shard: MutexGuard<'_, Shard>| {
            shard.places.capacity() * size_of::<Place>() + shard.table.allocation_size() + size_of::<Shard>()
        };
        let shards: u64 = self.each_shard().map(|shard| bytes(shard) as u64).sum();
        shards + self.extras().memory_bytes() as u64
    }

    fn extras(&self) -> MutexGuard<'_, Extras> {
        self.extras.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a change: these places are in no shard any more.
    fn left(&self, places: &[Place]) {
        if places.iter().any(Place::is_extra) {
            let mut extras = self.extras();
            places.iter().filter(|place| place.is_extra()).for_each(|place| extras.remove(place.key));
        }
        for place in places {
            if let Some(line) = self.quotas.at(place.zone) {
                line.disk.left(1);
                line.disk.give_back(place.counted_bytes());
            }
        }
    }

    /// Begins a change: this place will be in a shard, or [`Index::left`].
    fn coming(&self, place: &Place, hash: u128) {
        if place.is_extra() {
            self.extras().add(hash);
        }
        if let Some(line) = self.quotas.at(place.zone) {
            line.disk.came(1);
            line.disk.add(place.counted_bytes());
        }
    }

    /// A key's places, newest first.
    pub(crate) fn find(&self, key: u64) -> Places {
        let shard = self.shard(key);
        let slots = shard.table.iter_hash(spread(key));
        let mut places: Places = slots
            .filter_map(|slot| shard.places.get(*slot as usize))
            .filter(|place| place.key == key)
            .copied()
            .collect();
        drop(shard);
        if places.len() > 1 {
            places.sort_unstable_by_key(|place| std::cmp::Reverse((place.stored_at, place.segment, place.at)));
        }
        places
    }

    /// Counts a use of a record; `None` where it is not there any more.
    pub(crate) fn used(&self, place: &Place) -> Option<u8> {
        let mut shard = self.shard(place.key);
        let slot = shard.find(place.key, |other| other.is_at(place.segment, place.at))?;
        let found = shard.places.get_mut(slot as usize)?;
        let before = found.uses;
        found.uses = (before + 1).min(USES_MAX);
        Some(before)
    }

    /// Whether a record is where it was.
    pub(crate) fn holds(&self, key: u64, segment: u32, at: u32) -> Option<Place> {
        let shard = self.shard(key);
        let slot = shard.find(key, |other| other.is_at(segment, at))?;
        shard.places.get(slot as usize).copied()
    }

    /// Puts a record in, in place of one of its key and variant, unless `refused` says otherwise under the lock. Beyond `variants_max`
    /// the key's oldest goes. `hash` is the whole hash of the key. Returns how many went for that.
    pub(crate) fn insert(
        &self,
        place: Place,
        hash: u128,
        variants_max: usize,
        refused: impl FnOnce() -> bool,
    ) -> Option<usize> {
        self.coming(&place, hash);
        let mut shard = self.shard(place.key);
        if refused() {
            drop(shard);
            self.left(&[place]);
            return None;
        }
        let mut taken = shard.take_all(place.key, |other| other.variant == place.variant);
        let mut trimmed = 0;
        loop {
            let oldest = shard
                .table
                .iter_hash(spread(place.key))
                .filter_map(|slot| Some((*slot, shard.places.get(*slot as usize)?)))
                .filter(|(_, other)| other.key == place.key);
            let (count, oldest) =
                oldest.fold((0, None), |(count, least): (usize, Option<(u32, u32)>), (slot, other)| {
                    (count + 1, Some(least.map_or((other.stored_at, slot), |least| least.min((other.stored_at, slot)))))
                });
            match oldest {
                Some((_, slot)) if count >= variants_max.max(1) => {
                    taken.extend(shard.take(slot));
                    trimmed += 1;
                }
                _ => break,
            }
        }
        shard.add(place);
        drop(shard);
        self.left(&taken);
        Some(trimmed)
    }

    /// Moves a record that was copied, unless it is not there any more.
    pub(crate) fn moved(&self, key: u64, from: (u32, u32), to: (u32, u32)) -> bool {
        let mut shard = self.shard(key);
        let Some(slot) = shard.find(key, |other| other.is_at(from.0, from.1)) else {
            return false;
        };
        if let Some(place) = shard.places.get_mut(slot as usize) {
            (place.segment, place.at, place.uses) = (to.0, to.1, 0);
        }
        true
    }

    /// The uses of a record are forgotten: it was spared once.
    pub(crate) fn spared(&self, key: u64, segment: u32) {
        let mut shard = self.shard(key);
        let slot = shard.find(key, |other| other.segment == segment);
        if let Some(place) = slot.and_then(|slot| shard.places.get_mut(slot as usize)) {
            place.uses = 0;
        }
    }

    /// Takes one record out.
    pub(crate) fn remove(&self, key: u64, segment: u32, at: u32) -> bool {
        !self.take(key, |other| other.is_at(segment, at)).is_empty()
    }

    /// Takes out the record of a variant.
    pub(crate) fn remove_variant(&self, key: u64, variant: u32) -> bool {
        !self.take(key, |other| other.variant == variant).is_empty()
    }

    /// Takes out the records of a key; where its hash is that of its URL alone, those of all keys of the URL.
    pub(crate) fn take_hash(&self, hash: u128) -> Vec<Place> {
        let url = url_half(hash);
        let extras = if plain_hash(url) == hash { self.extras().of(url) } else { Vec::new() };
        let keys = std::iter::once(index_key(hash)).chain(extras);
        keys.flat_map(|key| self.take(key, |_| true)).collect()
    }

    fn take(&self, key: u64, wanted: impl Fn(&Place) -> bool) -> Places {
        let taken = self.shard(key).take_all(key, wanted);
        self.left(&taken);
        taken
    }

    /// Takes out everything of a segment: where its own list cannot be read.
    pub(crate) fn remove_segment(&self, segment: u32) -> usize {
        self.take_where(|place| place.segment == segment).len()
    }

    /// Takes out some places. Walks over all of them.
    pub(crate) fn take_where(&self, wanted: impl Fn(&Place) -> bool) -> Vec<Place> {
        let mut all = Vec::new();
        for shard in self.shards.iter() {
            let mut taken = Places::new();
            {
                let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                let keys: Vec<u64> = shard.places.iter().filter(|place| wanted(place)).map(|place| place.key).collect();
                keys.into_iter().for_each(|key| taken.extend(shard.take_all(key, &wanted)));
            }
            self.left(&taken);
            all.extend(taken);
        }
        all
    }

    /// What each place counts for its zone: the slot, and bytes.
    #[cfg(test)]
    pub(crate) fn counted(&self) -> Vec<(u16, u64)> {
        let of = |shard: MutexGuard<'_, Shard>| -> Vec<(u16, u64)> {
            shard.places.iter().map(|place| (place.zone, place.counted_bytes())).collect()
        };
        self.each_shard().flat_map(of).collect()
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for shard in self.shards.iter() {
            let gone = std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            self.left(&gone.places);
        }
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
