//! Logs: the shared one, and one for each zone that has a quota of the disk, so that what such a zone writes makes its own files go.
//!
//! Within a log the oldest file goes first, so that what a record replaced is gone before the record. An object is in its zone's log
//! alone: a zone that gets a quota, or loses it, begins with nothing on the disk, and what it had is noted as gone, or removed with its
//! files, before anything of it is written to the other log.
//!
//! Must never let a zone's files exceed its quota, nor take more from the others than the promise in `quota` says.

use super::segment::Segment;
use super::writer::{Active, Replaced, WriteFailure, Writer};
use super::{QUOTA_SEGMENTS, SEGMENT_BYTES_MIN_OF_ZONE};
use crate::quota::Line;
use crate::stats::count;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Which log: the slot of the zone's line, 0 for the shared one.
pub(crate) type LogId = u16;

/// The log of zones without a quota.
pub(crate) const SHARED: LogId = 0;

/// Files in the order in which they are reclaimed, and the one that is being written.
pub(crate) struct Log {
    /// Segments with a name, the active one and unfinished solos apart.
    pub(crate) order: VecDeque<u32>,
    pub(crate) active: Option<Active>,
    /// Bytes of its segments.
    pub(crate) segment_bytes: u64,
    /// The zone whose it is.
    pub(crate) line: Option<Arc<Line>>,
}

impl Log {
    pub(crate) fn new(line: Option<Arc<Line>>, segment_bytes: u64) -> Self {
        let mut log = Self { order: VecDeque::new(), active: None, segment_bytes, line };
        log.fit(segment_bytes);
        log
    }

    /// Makes the next segments as large as its quota allows, and at most so large.
    fn fit(&mut self, segment_bytes: u64) {
        if let Some(quota) = self.line.as_ref().and_then(|line| line.disk.bytes_max()) {
            self.segment_bytes = segment_bytes_of(quota, segment_bytes);
        }
    }
}

/// Bytes of a segment of a zone with this quota, on a disk with segments of so many.
pub(crate) fn segment_bytes_of(quota: u64, segment_bytes: u64) -> u64 {
    (quota / QUOTA_SEGMENTS).clamp(SEGMENT_BYTES_MIN_OF_ZONE, segment_bytes) & !4095
}

impl<M> Writer<M> {
    /// The log that a zone's objects are written to.
    pub(crate) fn log_of(&self, zone: u32) -> LogId {
        let slot = self.shelf.quotas.of(zone).slot;
        if self.logs.contains_key(&slot) { slot } else { SHARED }
    }

    /// The log that a note about an object goes to: where the object is.
    pub(crate) fn log_of_note(&self, replaced: Replaced) -> LogId {
        if self.logs.contains_key(&replaced.slot) { replaced.slot } else { SHARED }
    }

    pub(crate) fn log(&mut self, id: LogId) -> &mut Log {
        let segment_bytes = self.segment_bytes;
        let id = if self.logs.contains_key(&id) { id } else { SHARED };
        self.logs.entry(id).or_insert_with(|| Log::new(None, segment_bytes))
    }

    /// The line that the files of a log count for.
    pub(crate) fn owner(&mut self, id: LogId) -> Option<Arc<Line>> {
        self.log(id).line.clone()
    }

    /// Takes so many bytes for a file of a log, of the zone's quota and of the disk, making room for them.
    pub(crate) fn take_space(&mut self, id: LogId, bytes: u64) -> Result<(), WriteFailure> {
        self.fit_quota(id, bytes)?;
        while !self.shelf.space.take(bytes) {
            if !self.make_room() {
                return Err(WriteFailure::NoRoom);
            }
        }
        Ok(())
    }

    /// Makes room in a zone's quota for so many bytes more.
    pub(crate) fn fit_quota(&mut self, id: LogId, bytes: u64) -> Result<(), WriteFailure> {
        let Some(line) = self.owner(id) else { return Ok(()) };
        let Some(most) = line.disk.bytes_max() else { return Ok(()) };
        while line.disk.bytes().saturating_add(bytes) > most {
            if bytes > most || !self.make_room_in(id) {
                line.disk.count_refused();
                return Err(WriteFailure::NoRoom);
            }
        }
        Ok(())
    }

    /// Frees some bytes of the log that uses the most for its quota; `false` where nothing is left to free.
    pub(crate) fn make_room(&mut self) -> bool {
        if self.cut_slow_readers(self.shelf.space.bytes_max() / super::reclaim::DOOMED_PART) {
            return true;
        }
        let quoted = self.shelf.quotas.disk();
        let own: u64 = quoted.lines.iter().map(|line| line.disk.bytes()).sum();
        let shared = self.shelf.space.used().saturating_sub(own);
        let victim = quoted.victim(shared, |line| &line.disk).map_or(SHARED, |line| line.slot);
        if self.make_room_in(victim) || self.make_room_in(SHARED) {
            return true;
        }
        let all: Vec<LogId> = self.logs.keys().copied().collect();
        all.into_iter().any(|id| self.make_room_in(id)) || self.cut_slow_readers(0)
    }

    /// Frees the oldest file of a log; `false` where it has none, but for the one that is being written.
    fn make_room_in(&mut self, id: LogId) -> bool {
        // Every solo may be spared once in a round.
        let mut chances = self.log(id).order.len();
        while let Some(number) = self.log(id).order.pop_front() {
            let Some(segment) = self.shelf.segments.get(number) else { continue };
            if segment.solo && chances > 0 && self.spare_solo(&segment) {
                chances -= 1;
                self.log(id).order.push_back(number);
                continue;
            }
            self.reclaim(id, segment);
            return true;
        }
        false
    }

    /// Other zones have a quota, or other quotas are in force.
    pub(crate) fn take_quotas(&mut self) {
        let lines = self.shelf.quotas.disk().lines.clone();
        let gone: Vec<LogId> = self
            .logs
            .keys()
            .copied()
            .filter(|id| *id != SHARED && !lines.iter().any(|line| line.slot == *id))
            .collect();
        let came: Vec<Arc<Line>> = lines.iter().filter(|line| !self.logs.contains_key(&line.slot)).cloned().collect();
        if !gone.is_empty() || !came.is_empty() {
            let moves = |zone: u32, slot: u16| gone.contains(&slot) || came.iter().any(|line| line.zone == zone);
            self.abandon_solos(|line| moves(line.zone, line.slot));
        }
        gone.into_iter().for_each(|id| self.end_log(id));
        if !came.is_empty() {
            self.leave_shared(&came);
        }
        let segment_bytes = self.segment_bytes;
        for line in came {
            self.logs.insert(line.slot, Log::new(Some(line), segment_bytes));
        }
        for line in &lines {
            self.log(line.slot).fit(segment_bytes);
            while line.disk.is_over() && self.make_room_in(line.slot) {}
            if line.disk.is_over() {
                // What is left is what is being written.
                self.seal(line.slot);
                while line.disk.is_over() && self.make_room_in(line.slot) {}
            }
        }
    }

    fn abandon_solos(&mut self, of: impl Fn(&Line) -> bool) {
        let lines = &self.shelf.quotas;
        let numbers = self.solos.iter().filter(|(_, solo)| of(&lines.of(solo.zone())));
        let numbers: Vec<u64> = numbers.map(|(number, _)| *number).collect();
        for number in numbers {
            if let Some(solo) = self.solos.remove(&number) {
                self.solo_abandon(solo);
            }
        }
    }

    /// A zone has no quota any more: its files go.
    fn end_log(&mut self, id: LogId) {
        self.seal(id);
        let Some(log) = self.logs.remove(&id) else { return };
        self.shelf.index.take_where(|place| place.zone == id);
        let files = log.order.into_iter().filter_map(|number| self.shelf.segments.get(number));
        files.collect::<Vec<_>>().into_iter().for_each(|segment| self.take_away(segment));
    }

    /// Zones have a quota from now on: what they have in the shared log is noted there as gone, and their files go.
    pub(crate) fn leave_shared(&mut self, lines: &[Arc<Line>]) {
        let is_of = |slot: u16| lines.iter().any(|line| line.slot == slot);
        for place in self.shelf.index.take_where(|place| is_of(place.zone)) {
            if !place.is_in_own_file() {
                self.note_replaced(Replaced { slot: SHARED, ..Replaced::of(&place) });
            }
        }
        self.drop_solos(lines);
    }

    /// What opening the folder gave is handed to its logs. What is in a log that its zone does not write to any more goes.
    pub(crate) fn resume_logs(&mut self, order: &[u32]) {
        let lines = self.shelf.quotas.disk().lines.clone();
        let by_zone: BTreeMap<u32, Arc<Line>> = lines.iter().map(|line| (line.zone, Arc::clone(line))).collect();
        self.logs = std::iter::once((SHARED, Log::new(None, self.segment_bytes)))
            .chain(lines.iter().map(|line| (line.slot, Log::new(Some(Arc::clone(line)), self.segment_bytes))))
            .collect();
        for number in order {
            let Some(segment) = self.shelf.segments.get(*number) else { continue };
            let slot = segment.log_zone.map_or(Some(SHARED), |zone| by_zone.get(&zone).map(|line| line.slot));
            match slot {
                Some(slot) => self.log(slot).order.push_back(*number),
                None => {
                    let id = segment.id;
                    self.shelf.index.remove_segment(id);
                    count(&self.shelf.stats.recovered_dropped);
                    self.take_away(segment);
                }
            }
        }
        let in_shared = |place: &super::index::Place| {
            let of_zone = lines.iter().any(|line| line.slot == place.zone);
            of_zone && self.shelf.segments.get(place.segment).is_some_and(|segment| segment.log_zone.is_none())
        };
        for place in self.shelf.index.take_where(in_shared) {
            if !place.is_in_own_file() {
                self.note_replaced(Replaced { slot: SHARED, ..Replaced::of(&place) });
            }
        }
        self.drop_solos(&lines);
    }

    /// Files of these zones alone that are in the shared log go, whether the index tells of them or not.
    fn drop_solos(&mut self, lines: &[Arc<Line>]) {
        let order = self.log(SHARED).order.clone();
        let files = order.into_iter().filter_map(|number| self.shelf.segments.get(number));
        let solos: Vec<Arc<Segment>> = files.filter(|file| lines.iter().any(|line| file.is_of(line.zone))).collect();
        solos.into_iter().for_each(|segment| self.take_away(segment));
    }
}
