//! The one thread that writes: appends records, ends segments, and hands out room.
//!
//! Objects go, one behind the other, into the active segment; large ones and those that come in pieces get a file of their own. Nothing
//! is synced but an ended segment: after a crash of the machine checksums tell what arrived, and a record that did not is a miss.
//!
//! Must never be waited for by a request.

use super::format::{self, BLOCK_BYTES, Entry, Header, Kind, START_BYTES, Start, TAIL_BYTES};
use super::head;
use super::index::Place;
use super::logs::{Log, LogId, SHARED};
use super::recover::{self, entry_of, record_bytes_max};
use super::segment::Segment;
use super::shelf::Shelf;
use super::solo::Solo;
use super::{Codec, DiskOptions};
use crate::purge::{PurgeKind, PurgeStamp};
use crate::stats::count;
use crate::store::Store;
use crate::stored::{Head, Stored};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// Why something was not written.
#[derive(Debug)]
pub(crate) enum WriteFailure {
    /// The codec keeps no such meta, or it is too large.
    Unfit,
    /// It was purged before it was written.
    Purged,
    /// No room can be made.
    NoRoom,
    /// The disk failed.
    Failed(io::Error),
}

impl From<io::Error> for WriteFailure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// That the object of a key's variant is not valid any more: the index key, and the variant's tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Replaced {
    pub(crate) key: u64,
    pub(crate) variant: u32,
    /// Of the zone's line among the quotas: the note goes to its log.
    pub(crate) slot: u16,
}

impl Replaced {
    pub(crate) fn of(place: &Place) -> Self {
        Self { key: place.key, variant: place.variant, slot: place.zone }
    }
}

/// A segment that is being written.
pub(crate) struct Active {
    pub(crate) segment: Arc<Segment>,
    /// Where the next record begins.
    pub(crate) at: u64,
    pub(crate) entries: Vec<Entry>,
    pub(crate) bytes_max: u64,
}

impl Active {
    /// Whether a record of so many bytes fits, its line in the footer included.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        let footer = (self.entries.len() + 1) * format::ENTRY_BYTES + TAIL_BYTES;
        self.at + bytes + footer as u64 <= self.bytes_max
    }
}

/// What the writer thread owns.
pub(crate) struct Writer<M> {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) codec: Arc<dyn Codec<M>>,
    pub(crate) memory: Weak<Store<M>>,
    pub(crate) options: DiskOptions,
    pub(crate) seed_print: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) last_id: u32,
    /// Solos that were completed, or renewed, on this disk; see [`Entry::epoch`].
    pub(crate) epoch: u32,
    pub(crate) logs: BTreeMap<LogId, Log>,
    pub(crate) solos: HashMap<u64, Solo<M>>,
    /// Reclaimed segments that somebody reads still, the oldest first. Held until they are read, so that it is this thread that waits
    /// while the system frees a large file's blocks.
    pub(crate) doomed: VecDeque<Arc<Segment>>,
    /// Replaced objects of which the disk could not be told yet.
    pub(crate) replaced: HashSet<Replaced>,
}

impl<M> Writer<M> {
    /// Whether a purge, or an invalidation since a number at which it was valid, forbids to write a response.
    pub(crate) fn purged(&self, head: &Head<M>, valid: PurgeStamp) -> Option<PurgeKind> {
        self.memory.upgrade().and_then(|store| store.outdated(head, valid))
    }

    pub(crate) fn next_start(&mut self, log: LogId, solo: bool) -> Start {
        // At the last one there is a file already, and no other is made.
        self.last_id = self.last_id.saturating_add(1);
        let zone = self.owner(log).map(|line| line.zone);
        Start { solo, id: self.last_id, seed_print: self.seed_print, zone }
    }

    /// Writes an object that is in memory.
    pub(crate) fn put(&mut self, stored: &Stored<M>, valid: PurgeStamp) -> Result<(), WriteFailure> {
        if self.purged(stored, valid).is_some() {
            return Err(WriteFailure::Purged);
        }
        let trailers = stored.body().trailers().map(|fields| &**fields);
        let meta = head::encode(stored, trailers, &*self.codec).ok_or(WriteFailure::Unfit)?;
        let mut header = head::header(stored, 0, self.epoch, &meta, stored.body().len());
        let bytes = header.record_bytes().ok_or(WriteFailure::Unfit)?;
        let log = self.log_of(stored.zone);
        if bytes > record_bytes_max(self.log(log).segment_bytes) {
            return self.put_solo(stored, valid);
        }
        let at = self.place_for(log, bytes)?;
        header.nonce = u64::from(at.0) << 32 | at.1;
        let table = table(header.nonce, stored.body().segments());
        let head = header.encode(&meta);
        let padding = [0; 8];
        let used = head.len() + meta.len() + table.len();
        let padding = padding.get(..(bytes - used as u64 - header.body_bytes) as usize).unwrap_or_default();
        let mut parts: Vec<&[u8]> = vec![&head, &meta, &table];
        parts.extend(stored.body().segments().iter().map(|segment| &**segment));
        parts.push(padding);
        let entry = self.append(log, &header, &parts, bytes)?;
        self.enter(&entry, (at.0, false), stored, valid)
    }

    /// An object too large for a segment, in a file of its own.
    fn put_solo(&mut self, stored: &Stored<M>, valid: PurgeStamp) -> Result<(), WriteFailure> {
        let mut solo = self.solo_in_file(Arc::clone(stored.head()))?;
        for segment in stored.body().segments() {
            if let Err(failure) = self.solo_append(&mut solo, segment.clone()) {
                self.solo_abandon(solo);
                return Err(failure);
            }
        }
        self.solo_finish(solo, stored.body().trailers().map(|fields| &**fields), valid)
    }

    /// Makes the index tell of a record, unless it was purged or made invalid meanwhile. The next start finds the record, and then the purge
    /// that covers it, or the note that says the same.
    pub(crate) fn enter(
        &mut self,
        entry: &Entry,
        (segment, solo): (u32, bool),
        head: &Head<M>,
        valid: PurgeStamp,
    ) -> Result<(), WriteFailure> {
        let line = self.shelf.quotas.of(head.zone);
        let own_file = solo || self.logs.contains_key(&line.slot);
        let place = Place::new(entry, segment, solo, line.slot, own_file);
        let refused = || self.purged(head, valid).is_some();
        let trimmed = self.shelf.index.insert(place, entry.hash, self.options.variants_max, refused);
        let Some(trimmed) = trimmed else {
            self.note_replaced(Replaced::of(&place));
            return Err(WriteFailure::Purged);
        };
        self.shelf.stats.evicted_variants_max.fetch_add(trimmed as u64, Ordering::Relaxed);
        count(&self.shelf.stats.writes);
        Ok(())
    }

    /// Notes that an object is not valid any more, so that the next start does not find it. Where that fails it is tried again.
    pub(crate) fn note_replaced(&mut self, replaced: Replaced) {
        if !self.shelf.writes_off.load(Ordering::Relaxed) && self.write_replaced(replaced).is_ok() {
            return;
        }
        self.replaced.insert(replaced);
        if self.replaced.len() > self.options.replaced_max {
            tracing::error!("too much was replaced while the disk tier's disk fails: what is on it is dropped");
            self.clear();
        }
    }

    /// Takes the notes that wait for a disk that works.
    pub(crate) fn take_waiting(&mut self) -> Vec<Replaced> {
        self.replaced.drain().collect()
    }

    pub(crate) fn write_replaced(&mut self, replaced: Replaced) -> Result<(), WriteFailure> {
        let mut header = Header {
            kind: Kind::Replaced,
            nonce: 0,
            // The index keeps half of the hash, and it is all that opening compares.
            hash: u128::from(replaced.key),
            stamp: 0,
            stored_at: 0,
            body_bytes: 0,
            meta_bytes: 0,
            variant: replaced.variant,
            zone: 0,
            epoch: self.epoch,
        };
        let bytes = header.record_bytes().ok_or(WriteFailure::Unfit)?;
        let log = self.log_of_note(replaced);
        let at = self.place_for(log, bytes)?;
        header.nonce = u64::from(at.0) << 32 | at.1;
        self.append(log, &header, &[&header.encode(&[])], bytes).map(drop)
    }

    /// Segment and offset for the next record of a log; ends the active segment where it does not fit.
    pub(crate) fn place_for(&mut self, log: LogId, bytes: u64) -> Result<(u32, u64), WriteFailure> {
        if self.log(log).active.as_ref().is_some_and(|active| !active.fits(bytes)) {
            self.seal(log);
        }
        if self.log(log).active.is_none() {
            self.open_segment(log)?;
        }
        let active = self.log(log).active.as_ref().ok_or(WriteFailure::NoRoom)?;
        Ok((active.segment.id, active.at))
    }

    /// Appends a record where [`Writer::place_for`] said.
    pub(crate) fn append(
        &mut self,
        log: LogId,
        header: &Header,
        parts: &[&[u8]],
        bytes: u64,
    ) -> Result<Entry, WriteFailure> {
        let active = self.log(log).active.as_mut().ok_or(WriteFailure::NoRoom)?;
        if let Err(error) = active.segment.file.write(parts, active.at) {
            // What follows a torn record would never be found again: this segment ends in front of it.
            self.seal(log);
            return Err(error.into());
        }
        let entry = entry_of(header, active.at, u32::try_from(bytes).unwrap_or(u32::MAX));
        active.entries.push(entry);
        if header.kind == Kind::Object {
            active.segment.note_stamp(header.stamp);
        }
        active.at += bytes;
        self.shelf.stats.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(entry)
    }

    /// Begins a segment, after making room for it and, where the bounds allow, for what is spared from the oldest.
    fn open_segment(&mut self, log: LogId) -> Result<(), WriteFailure> {
        let bytes_max = self.log(log).segment_bytes;
        self.take_space(log, bytes_max)?;
        let (start, owner) = (self.next_start(log, false), self.owner(log));
        let shelf = &self.shelf;
        let made = Segment::create(&*shelf.files, &shelf.folder, start, &shelf.space, owner, bytes_max);
        if let Err(error) = &made
            && is_full(error)
        {
            // Somebody else fills the disk: what is ours makes room.
            self.make_room();
        }
        let segment = Arc::new(made?);
        self.shelf.segments.insert(&segment);
        self.log(log).active = Some(Active { segment, at: START_BYTES, entries: Vec::new(), bytes_max });
        // One segment stays free, so that what is spared has a place to be copied to.
        if log != SHARED {
            let _ = self.fit_quota(log, bytes_max);
        }
        let space = Arc::clone(&self.shelf.space);
        while space.used() + self.segment_bytes > space.bytes_max()
            && self.logs.values().any(|log| !log.order.is_empty())
        {
            if !self.make_room() {
                break;
            }
        }
        Ok(())
    }

    /// Ends the active segment of a log.
    pub(crate) fn seal(&mut self, log: LogId) {
        let Some(active) = self.log(log).active.take() else { return };
        let Active { segment, at, entries, .. } = active;
        if entries.is_empty() {
            return self.take_away(segment);
        }
        let footer = format::encode_footer(&entries);
        // Behind the footer there must be nothing, or it is not found; without one, the next start reads record by record.
        let ended = segment.file.write(&[&footer], at).and_then(|()| segment.shrink(at + footer.len() as u64));
        if let Err(error) = ended.and_then(|()| segment.file.sync()) {
            self.note_error(&error);
        }
        self.log(log).order.push_back(segment.id);
    }

    /// Ends all that is being written.
    pub(crate) fn seal_all(&mut self) {
        let all: Vec<LogId> = self.logs.keys().copied().collect();
        all.into_iter().for_each(|log| self.seal(log));
    }

    /// Forgets everything, on the disk too.
    pub(crate) fn clear(&mut self) {
        self.shelf.index.clear();
        self.replaced.clear();
        for log in self.logs.values_mut() {
            log.active = None;
            log.order.clear();
        }
        let solos: Vec<u64> = self.solos.keys().copied().collect();
        for number in solos {
            if let Some(solo) = self.solos.remove(&number) {
                self.solo_abandon(solo);
            }
        }
        for segment in self.shelf.segments.clear() {
            segment.disown();
            if let Err(error) = segment.unlink(&*self.shelf.files) {
                self.note_error(&error);
                // It must not be found again.
                segment.cut_off();
            }
            self.doomed.push_back(segment);
        }
        self.release_read();
    }

    /// New fields for an object whose body is on the disk: a small tail for a solo, a copy for others.
    pub(crate) fn renew(&mut self, stored: &Stored<M>) -> Result<(), WriteFailure> {
        let Some(body) = stored.body().on_disk() else {
            return self.put(stored, stored.stamp);
        };
        if self.purged(stored, stored.stamp).is_some() {
            return Err(WriteFailure::Purged);
        }
        let place = *body.place();
        if self.shelf.index.holds(place.key, place.segment, place.at).is_none() {
            return Err(WriteFailure::Purged);
        }
        let trailers = stored.body().trailers().map(|fields| &**fields);
        let meta = head::encode(stored, trailers, &*self.codec).ok_or(WriteFailure::Unfit)?;
        let layout = body.layout();
        let mut header = head::header(stored, layout.nonce, self.epoch, &meta, layout.len);
        if body.segment().solo {
            return self.renew_solo(stored, body.segment(), &header, &meta, &layout.sums);
        }
        let bytes = header.record_bytes().ok_or(WriteFailure::Unfit)?;
        let mut content = Vec::with_capacity(layout.len as usize);
        while (content.len() as u64) < layout.len {
            match body.read(content.len() as u64, layout.len, false) {
                Ok(piece) => content.extend_from_slice(&piece),
                Err(_) => return Err(WriteFailure::Unfit),
            }
        }
        let log = self.log_of(stored.zone);
        let at = self.place_for(log, bytes)?;
        header.nonce = u64::from(at.0) << 32 | at.1;
        content.resize((bytes - header.head_bytes(BLOCK_BYTES).unwrap_or(0)) as usize, 0);
        let body_bytes = header.body_bytes as usize;
        let table = table(header.nonce, &[Bytes::copy_from_slice(content.get(..body_bytes).unwrap_or_default())]);
        let entry = self.append(log, &header, &[&header.encode(&meta), &meta, &table, &content], bytes)?;
        count(&self.shelf.stats.renewals);
        self.enter(&entry, (at.0, false), stored, stored.stamp)
    }

    /// What opening the folder gave becomes the writer's.
    pub(crate) fn resume(&mut self, recovered: &recover::Recovered) {
        self.last_id = recovered.last_id;
        self.epoch = recovered.last_epoch;
        self.resume_logs(&recovered.order);
    }

    /// Counts a failed change.
    pub(crate) fn note_error(&self, error: &io::Error) {
        let stats = &self.shelf.stats;
        count(if is_full(error) { &stats.errors_full } else { &stats.errors_write });
    }
}

/// Whether an error says that the disk, a quota or a limit on files is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// The checksums of a body's blocks.
fn table(nonce: u64, segments: &[Bytes]) -> Vec<u8> {
    let mut blocks = Blocks::new(nonce, BLOCK_BYTES);
    segments.iter().for_each(|segment| blocks.update(segment));
    blocks.finish()
}

/// Checksums of blocks, made while the bytes come.
pub(crate) struct Blocks {
    nonce: u64,
    block_bytes: u64,
    filled: u64,
    hasher: crc32fast::Hasher,
    table: Vec<u8>,
}

impl Blocks {
    pub(crate) fn new(nonce: u64, block_bytes: u64) -> Self {
        let hasher = format::block_hasher(nonce, 0);
        Self { nonce, block_bytes, filled: 0, hasher, table: Vec::new() }
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(self.block_bytes - self.filled).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.hasher.update(now);
            self.filled += now.len() as u64;
            if self.filled == self.block_bytes {
                self.end_block();
            }
            bytes = rest;
        }
    }

    fn end_block(&mut self) {
        let next = format::block_hasher(self.nonce, self.table.len() as u64 / 4 + 1);
        let done = std::mem::replace(&mut self.hasher, next);
        self.table.extend_from_slice(&done.finalize().to_le_bytes());
        self.filled = 0;
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            self.end_block();
        }
        self.table
    }
}
