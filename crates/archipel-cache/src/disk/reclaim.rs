//! Making room: the oldest segment goes whole; what was used since it was written is spared, within bounds.
//!
//! First in, first out with a second chance (as S3-FIFO's main queue, Yang et al., SOSP 2023): a scan fills segments whose objects
//! nobody asks for again, and those go without anything being copied. An object counts as used if it was read from disk or if memory,
//! which answers in the disk's place, holds it.
//!
//! Must never spare more than a quarter of a segment: else the disk would be busy copying.

use super::format::{self, Entry, Kind};
use super::index::Place;
use super::logs::LogId;
use super::recover::read_footer;
use super::segment::Segment;
use super::shelf::check_record;
use super::writer::Writer;
use crate::stats::count;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The part of a segment's bytes that may be spared: one in this many.
const SPARED_PART: u64 = 4;
/// The part of all bytes that readers of reclaimed segments may hold: one in this many.
pub(crate) const DOOMED_PART: u64 = 8;

impl<M> Writer<M> {
    pub(crate) fn spare_solo(&mut self, segment: &Arc<Segment>) -> bool {
        let Ok(len) = segment.file.len() else { return false };
        let Some([entry]) = read_footer(&*segment.file, len).as_deref().and_then(|all| all.as_array()).copied() else {
            return false;
        };
        let key = format::index_key(entry.hash);
        let at = Place::at_of(entry.at, true);
        let used = self.shelf.index.holds(key, segment.id, at).is_some_and(|place| place.uses > 0);
        if used {
            self.shelf.index.spared(key, segment.id);
            count(&self.shelf.stats.spared);
        }
        used
    }

    /// Takes the bytes of reclaimed segments from their readers, the oldest first, while they hold more than `bytes_max`. Says
    /// whether anything was freed.
    pub(crate) fn cut_slow_readers(&mut self, bytes_max: u64) -> bool {
        let mut freed = self.release_read();
        let held = |doomed: &VecDeque<Arc<Segment>>| -> u64 { doomed.iter().map(|segment| segment.taken()).sum() };
        while held(&self.doomed) > bytes_max {
            let Some(segment) = self.doomed.pop_front() else { break };
            segment.cut_off();
            count(&self.shelf.stats.readers_cut);
            freed = true;
        }
        freed
    }

    /// Lets go of reclaimed segments that nobody reads any more. Says whether anything was freed.
    pub(crate) fn release_read(&mut self) -> bool {
        let before = self.doomed.len();
        self.doomed.retain(|segment| Arc::strong_count(segment) > 1);
        self.doomed.len() < before
    }

    /// Takes a segment away, after copying what is spared.
    pub(crate) fn reclaim(&mut self, log: LogId, segment: Arc<Segment>) {
        let id = segment.id;
        let entries = segment.file.len().ok().and_then(|len| read_footer(&*segment.file, len));
        let Some(entries) = entries else {
            // It was not ended, or cannot be read: the index knows what was in it.
            let gone = self.shelf.index.remove_segment(id);
            self.evicted(log, gone);
            return self.take_away(segment);
        };
        let mut budget = if segment.solo { 0 } else { segment.taken() / SPARED_PART };
        for entry in entries.iter().filter(|entry| entry.kind == Kind::Object) {
            let key = format::index_key(entry.hash);
            let at = Place::at_of(entry.at, segment.solo);
            let Some(place) = self.shelf.index.holds(key, id, at) else { continue };
            let is_used = place.uses > 0 || self.memory.upgrade().is_some_and(|store| store.holds(entry.hash));
            if is_used && u64::from(entry.bytes) <= budget && self.copy(log, &segment, entry) {
                budget -= u64::from(entry.bytes);
                count(&self.shelf.stats.spared);
            } else if self.shelf.index.remove(key, id, at) {
                self.evicted(log, 1);
            }
        }
        self.take_away(segment);
    }

    /// Copies a record into the active segment, if it fits there. Its every byte is verified on the way.
    fn copy(&mut self, log: LogId, from: &Segment, entry: &Entry) -> bool {
        let bytes = u64::from(entry.bytes);
        let to = self.log(log);
        if !to.active.as_ref().is_some_and(|active| active.fits(bytes)) {
            return false;
        }
        let mut record = vec![0; entry.bytes as usize];
        if from.file.read(&mut record, entry.at, false).is_err() {
            return false;
        }
        let Some(header) = check_record(&record).filter(|header| header.hash == entry.hash) else {
            count(&self.shelf.stats.errors_verify);
            return false;
        };
        let Ok(copied) = self.append(log, &header, &[&record], bytes) else {
            return false;
        };
        let to = self.log(log).active.as_ref().map_or(0, |active| active.segment.id);
        let key = format::index_key(entry.hash);
        self.shelf.index.moved(key, (from.id, entry.at as u32), (to, copied.at as u32))
    }

    /// Objects left with their segment.
    fn evicted(&mut self, log: LogId, objects: usize) {
        self.shelf.stats.evictions.fetch_add(objects as u64, Ordering::Relaxed);
        if let Some(line) = self.owner(log) {
            line.disk.count_evicted(objects);
        }
    }

    pub(crate) fn take_away(&mut self, segment: Arc<Segment>) {
        self.shelf.segments.remove(segment.id);
        segment.disown();
        if let Err(error) = segment.unlink(&*self.shelf.files) {
            self.note_error(&error);
            // It must not be found by the next start, whoever reads it now.
            segment.cut_off();
        }
        count(&self.shelf.stats.segments_reclaimed);
        if Arc::strong_count(&segment) > 1 {
            self.doomed.push_back(segment);
        }
    }
}
