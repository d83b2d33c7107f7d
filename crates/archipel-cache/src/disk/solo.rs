//! Objects in a file of their own: those that come in pieces, and those too large for a segment. Their fields stand behind the body.
//!
//! Must never hold more of a body than what could make a small object.

use super::format::{self, Entry, HEADER_BYTES, Header, SOLO_ALIGN, SOLO_BLOCK_BYTES, START_BYTES};
use super::head;
use super::logs::LogId;
use super::recover::entry_of;
use super::segment::Segment;
use super::shelf::WHOLE_BYTES_MAX;
use super::writer::{Blocks, Replaced, WriteFailure, Writer, is_full};
use crate::body::Body;
use crate::purge::PurgeStamp;
use crate::stats::count;
use crate::stored::{Head, Stored};
use bytes::Bytes;
use http::HeaderMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of renewed fields behind a body, and the part of the body's bytes that they may have if that is more: one in this many. The
/// object is fetched anew then, or one that is validated with each request would grow without end.
const RENEWALS_BYTES_MAX: u64 = 1 << 20;
const RENEWALS_PART: u64 = 4;

/// An object that is being written.
pub(crate) struct Solo<M> {
    head: Arc<Head<M>>,
    /// The first bytes, as long as the object may turn out to be small: then it is written like any other.
    held: Vec<Bytes>,
    held_bytes: u64,
    /// Made once it is not small.
    file: Option<SoloFile>,
    failed: bool,
}

struct SoloFile {
    segment: Arc<Segment>,
    blocks: Blocks,
    nonce: u64,
    body_bytes: u64,
}

impl<M> Solo<M> {
    pub(crate) fn new(head: Arc<Head<M>>) -> Self {
        Self { head, held: Vec::new(), held_bytes: 0, file: None, failed: false }
    }

    pub(crate) fn zone(&self) -> u32 {
        self.head.zone
    }
}

impl<M> Writer<M> {
    /// A piece of an object that comes in pieces.
    pub(crate) fn piece(&mut self, number: u64, bytes: Bytes) -> Result<(), WriteFailure> {
        let Some(mut solo) = self.solos.remove(&number) else {
            return Ok(());
        };
        if solo.failed {
            self.solos.insert(number, solo);
            return Ok(());
        }
        match self.solo_append(&mut solo, bytes) {
            Ok(()) => {
                self.solos.insert(number, solo);
                Ok(())
            }
            Err(failure) => {
                let head = Arc::clone(&solo.head);
                self.solo_abandon(solo);
                self.solos.insert(number, Solo { failed: true, ..Solo::new(head) });
                Err(failure)
            }
        }
    }

    pub(crate) fn solo_append(&mut self, solo: &mut Solo<M>, bytes: Bytes) -> Result<(), WriteFailure> {
        if solo.file.is_none() {
            solo.held_bytes += bytes.len() as u64;
            solo.held.push(bytes);
            if solo.held_bytes <= u64::from(WHOLE_BYTES_MAX) {
                return Ok(());
            }
            solo.file = Some(self.open_solo(solo.zone())?);
            return std::mem::take(&mut solo.held).into_iter().try_for_each(|bytes| self.write_piece(solo, bytes));
        }
        self.write_piece(solo, bytes)
    }

    /// One that is not small.
    pub(crate) fn solo_in_file(&mut self, head: Arc<Head<M>>) -> Result<Solo<M>, WriteFailure> {
        Ok(Solo { file: Some(self.open_solo(head.zone)?), ..Solo::new(head) })
    }

    fn write_piece(&mut self, solo: &mut Solo<M>, bytes: Bytes) -> Result<(), WriteFailure> {
        let Some(file) = &mut solo.file else {
            return Err(WriteFailure::NoRoom);
        };
        let end = START_BYTES + file.body_bytes + bytes.len() as u64;
        let log = self.log_of(solo.head.zone);
        if let Some(line) = self.owner(log)
            && line.disk.bytes_max().is_some_and(|most| end > most / super::QUOTA_OBJECT_PART)
        {
            // It would push out most of what its zone has.
            line.disk.count_refused();
            return Err(WriteFailure::NoRoom);
        }
        if end > file.segment.taken() {
            self.grow_to(log, &file.segment, end)?;
        }
        file.segment.file.write(&[&bytes], START_BYTES + file.body_bytes)?;
        file.blocks.update(&bytes);
        file.body_bytes += bytes.len() as u64;
        self.shelf.stats.written_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn open_solo(&mut self, zone: u32) -> Result<SoloFile, WriteFailure> {
        let log = self.log_of(zone);
        let taken = self.solo_step(log);
        self.take_space(log, taken)?;
        let start = self.next_start(log, true);
        let shelf = &self.shelf;
        // Whatever its log is, it is its zone's alone.
        let owner = Some(shelf.quotas.of(zone));
        let made = Segment::create(&*shelf.files, &shelf.folder, start, &shelf.space, owner, taken);
        if let Err(error) = &made
            && is_full(error)
        {
            self.make_room();
        }
        let segment = Arc::new(made?);
        let nonce = u64::from(segment.id) << 32;
        Ok(SoloFile { segment, blocks: Blocks::new(nonce, SOLO_BLOCK_BYTES), nonce, body_bytes: 0 })
    }

    /// How much a solo takes at a time.
    fn solo_step(&mut self, log: LogId) -> u64 {
        (self.log(log).segment_bytes / 4).max(1 << 16)
    }

    fn grow_to(&mut self, log: LogId, segment: &Segment, end: u64) -> Result<(), WriteFailure> {
        let before = segment.taken();
        let more = (end - before).next_multiple_of(self.solo_step(log));
        self.fit_quota(log, more)?;
        while !segment.grow(more) {
            if !self.make_room() {
                return Err(WriteFailure::NoRoom);
            }
        }
        Ok(segment.file.allocate(before, more)?)
    }

    /// An object that came in pieces is complete.
    pub(crate) fn finish(&mut self, number: u64, trailers: Option<&HeaderMap>) -> Result<(), WriteFailure> {
        let Some(solo) = self.solos.remove(&number) else {
            return Ok(());
        };
        let head = Arc::clone(&solo.head);
        self.solo_finish(solo, trailers, head.stamp)?;
        if let Some(store) = self.memory.upgrade() {
            // Memory answers in the disk's place: it must not do so with what came before.
            store.forget_older(&head);
        }
        Ok(())
    }

    /// Writes what stands behind the body and makes the object known.
    pub(crate) fn solo_finish(
        &mut self,
        mut solo: Solo<M>,
        trailers: Option<&HeaderMap>,
        valid: PurgeStamp,
    ) -> Result<(), WriteFailure> {
        if solo.failed {
            return Ok(());
        }
        if solo.file.is_none() {
            let body = Body::from_segments(&solo.held, trailers.cloned().map(Arc::new));
            return self.put(&Stored::from_shared(solo.head, body), valid);
        }
        let Some(SoloFile { segment, blocks, nonce, body_bytes }) = solo.file.take() else {
            return Err(WriteFailure::NoRoom);
        };
        let head = Arc::clone(&solo.head);
        let written = self.finish_file((&head, valid), trailers, &segment, blocks, (nonce, body_bytes));
        if written.is_err() {
            self.shelf.segments.remove(segment.id);
            if segment.unlink(&*self.shelf.files).is_err() {
                segment.cut_off();
            }
        } else {
            let log = self.log_of(head.zone);
            self.log(log).order.push_back(segment.id);
        }
        written
    }

    fn next_epoch(&mut self) -> u32 {
        // At the last one the order of what is written at the same time is lost, after four billion solos.
        self.epoch = self.epoch.saturating_add(1);
        self.epoch
    }

    fn finish_file(
        &mut self,
        (head, valid): (&Head<M>, PurgeStamp),
        trailers: Option<&HeaderMap>,
        segment: &Arc<Segment>,
        blocks: Blocks,
        (nonce, body_bytes): (u64, u64),
    ) -> Result<(), WriteFailure> {
        if self.purged(head, valid).is_some() {
            return Err(WriteFailure::Purged);
        }
        let meta = head::encode(head, trailers, &*self.codec).ok_or(WriteFailure::Unfit)?;
        let header = head::header(head, nonce, self.next_epoch(), &meta, body_bytes);
        let table = blocks.finish();
        let entry = self.write_behind(segment, START_BYTES + body_bytes, &header, &meta, &table)?;
        if let Err(error) = segment.file.sync() {
            self.note_error(&error);
        }
        self.shelf.segments.insert(segment);
        self.enter(&entry, (segment.id, true), head, valid)
    }

    /// Record and footer of a solo behind `at`; the file ends with them.
    fn write_behind(
        &mut self,
        segment: &Segment,
        at: u64,
        header: &Header,
        meta: &[u8],
        table: &[u8],
    ) -> Result<Entry, WriteFailure> {
        let at = at.next_multiple_of(SOLO_ALIGN);
        let bytes = (HEADER_BYTES + meta.len() + table.len()) as u64;
        let entry = entry_of(header, at, u32::try_from(bytes).map_err(|_| WriteFailure::Unfit)?);
        let footer = format::encode_footer(&[entry]);
        let end = at + bytes + footer.len() as u64;
        if end > segment.taken() {
            let log = self.log_of(header.zone);
            self.grow_to(log, segment, end)?;
        }
        segment.file.write(&[&header.encode(meta), meta, table, &footer], at)?;
        segment.shrink(end)?;
        segment.note_stamp(entry.stamp);
        Ok(entry)
    }

    /// Renewed fields are written behind the old ones; the body stays where it is.
    pub(crate) fn renew_solo(
        &mut self,
        stored: &Stored<M>,
        segment: &Arc<Segment>,
        header: &Header,
        meta: &[u8],
        sums: &[u32],
    ) -> Result<(), WriteFailure> {
        let table: Vec<u8> = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        let at = segment.taken();
        let most = RENEWALS_BYTES_MAX.max(header.body_bytes / RENEWALS_PART);
        if at.saturating_sub(header.body_bytes) > most {
            self.shelf.index.remove_variant(format::index_key(header.hash), header.variant);
            let (key, slot) = (format::index_key(header.hash), self.shelf.quotas.of(header.zone).slot);
            self.note_replaced(Replaced { key, variant: header.variant, slot });
            return Err(WriteFailure::Unfit);
        }
        let header = Header { epoch: self.next_epoch(), ..*header };
        let entry = self.write_behind(segment, at, &header, meta, &table)?;
        count(&self.shelf.stats.renewals);
        self.enter(&entry, (segment.id, true), stored, stored.stamp)
    }

    /// Removes what was written of an object.
    pub(crate) fn solo_abandon(&mut self, solo: Solo<M>) {
        if let Some(file) = solo.file
            && file.segment.unlink(&*self.shelf.files).is_err()
        {
            file.segment.cut_off();
        }
    }
}
