//! Opening a folder: what is on it becomes the index again.
//!
//! A segment that was ended is read from its footer alone. One that was not is read record by record up to the first that is not
//! whole, and ended there. What cannot be used (another version, another key seed, garbage, more than the bounds allow) is removed,
//! counted and named in the log.
//!
//! Must never fail for what it finds in a file: only the folder itself can be unusable.

use super::files::DiskFile;
use super::format::{self, BLOCK_BYTES, Entry, HEADER_BYTES, Header, Kind, START_BYTES, Start, TAIL_BYTES};
use super::index::Place;
use super::segment::{self, Segment};
use super::shelf::{Shelf, check_record};
use crate::stats::count;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why files go that are over the bound.
const OVER_BOUND: &str = "bytes_max is less than what the folder holds";

/// A file that cannot be used, and why in words for the log.
struct Useless(&'static str);

/// What a folder gave.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The segments from the oldest to the newest.
    pub(crate) order: Vec<u32>,
    /// The greatest number in use.
    pub(crate) last_id: u32,
    /// The last epoch of any record.
    pub(crate) last_epoch: u32,
    /// Objects that are newer than the purge sequence, whose journal was lost then.
    pub(crate) unknown_stamps: u64,
}

/// What is known before a folder is read.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) seed_print: u64,
    /// The purge sequence: an object that is newer was fetched after purges that were lost.
    pub(crate) sequence: u64,
    pub(crate) variants_max: usize,
}

impl Recovered {
    /// Reads the folder of `shelf` into its index.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub(crate) fn read(shelf: &Shelf, known: &Known) -> io::Result<Self> {
        let mut ids: Vec<u32> =
            shelf.files.names(&shelf.folder)?.iter().filter_map(|name| segment::id_of(name)).collect();
        ids.sort_unstable();
        let mut recovered = Self::default();
        let (mut opened, mut is_full) = (Vec::new(), false);
        for id in ids {
            match open(shelf, id, known.seed_print) {
                Ok(found) => opened.push(found),
                Err(Useless(why)) => {
                    // What it replaced is not known.
                    is_full |= why == OVER_BOUND;
                    recovered.discard(shelf, id, why);
                }
            }
        }
        let taken = recovered.admit(shelf, opened, is_full);
        let mut order = Vec::with_capacity(taken.iter().map(|(_, entries)| entries.len()).sum());
        for (segment, entries) in taken {
            let segment = Arc::new(segment);
            recovered.order.push(segment.id);
            recovered.last_id = recovered.last_id.max(segment.id);
            shelf.segments.insert(&segment);
            order.extend(entries.into_iter().map(|entry| (segment.id, segment.solo, entry)));
        }
        // Stable, and in order already where no file was written beside another.
        order.sort_by_key(|(id, solo, entry)| (entry.epoch, !solo, *id, entry.at));
        for (id, _, entry) in order {
            recovered.last_epoch = recovered.last_epoch.max(entry.epoch);
            if let Some(segment) = shelf.segments.get(id) {
                recovered.apply(shelf, &segment, &entry, known);
            }
        }
        Ok(recovered)
    }

    /// Takes the space for files, the newest first, so that what is over the bound is the oldest. Returns them from the oldest on.
    fn admit(&mut self, shelf: &Shelf, mut opened: Vec<Opened>, mut is_full: bool) -> Vec<(Segment, Vec<Entry>)> {
        // By what was written last: what is in a file may replace what is in any that ended before.
        opened
            .sort_by_key(|file| (file.entries.iter().map(|entry| entry.epoch).max(), !file.start.solo, file.start.id));
        let mut taken = Vec::new();
        for file in opened.into_iter().rev() {
            let id = file.start.id;
            // What is older than one that went may be what that one replaced.
            is_full = is_full || !shelf.space.take(file.bytes());
            match is_full {
                true => self.discard(shelf, id, OVER_BOUND),
                false => taken.push(file.ended(shelf)),
            }
        }
        taken.reverse();
        taken
    }

    fn discard(&mut self, shelf: &Shelf, id: u32, why: &'static str) {
        let path = segment::path_of(&shelf.folder, id);
        count(&shelf.stats.recovered_dropped);
        match shelf.files.remove(&path) {
            Ok(()) => tracing::warn!(file = %path.display(), "a file of the disk tier was removed: {why}"),
            Err(error) => {
                // Its number stays taken. That of a file that is gone does not: it may have been any.
                self.last_id = self.last_id.max(id);
                tracing::error!(
                    file = %path.display(), %error,
                    "a file of the disk tier cannot be used ({why}) nor removed; remove it by hand, it takes space"
                );
            }
        }
    }

    fn apply(&mut self, shelf: &Shelf, segment: &Segment, entry: &Entry, known: &Known) {
        let key = format::index_key(entry.hash);
        match entry.kind {
            Kind::Replaced => drop(shelf.index.remove_variant(key, entry.variant)),
            Kind::Object if entry.stamp > known.sequence => self.unknown_stamps += 1,
            Kind::Object => {
                segment.note_stamp(entry.stamp);
                let slot = shelf.quotas.of(entry.zone).slot;
                let own_file = segment.solo || segment.log_zone.is_some();
                let place = Place::new(entry, segment.id, segment.solo, slot, own_file);
                shelf.index.insert(place, entry.hash, known.variants_max, || false);
            }
        }
    }
}

/// A file that can be used.
struct Opened {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    start: Start,
    entries: Vec<Entry>,
    /// Where the records end; behind it a footer is to be written.
    end: u64,
    footer: Vec<u8>,
}

impl Opened {
    fn bytes(&self) -> u64 {
        self.end + self.footer.len() as u64
    }

    /// As a segment, for which the space was taken.
    fn ended(self, shelf: &Shelf) -> (Segment, Vec<Entry>) {
        let bytes = self.bytes();
        let Self { file, path, start, entries, end, footer } = self;
        let zone = if start.solo { entries.first().map(|entry| entry.zone) } else { start.zone };
        let owner = zone.map(|zone| shelf.quotas.of(zone));
        let segment = Segment::opened(file, path, start, &shelf.space, owner, bytes);
        if !footer.is_empty() {
            // Ended now, so that the next start need not read it again. Where that fails, it will.
            let ended = segment.file.truncate(end).and_then(|()| segment.file.write(&[&footer], end));
            if let Err(error) = ended {
                tracing::warn!(folder = %shelf.folder.display(), %error, "a segment of the disk tier cannot be ended");
            }
        }
        (segment, entries)
    }
}

fn open(shelf: &Shelf, id: u32, seed_print: u64) -> Result<Opened, Useless> {
    const UNREADABLE: Useless = Useless("it cannot be read");
    let path = segment::path_of(&shelf.folder, id);
    let file = shelf.files.open(&path).map_err(|_| UNREADABLE)?;
    let len = file.len().map_err(|_| UNREADABLE)?;
    let mut start = [0; START_BYTES as usize];
    file.read(&mut start, 0, false).map_err(|_| UNREADABLE)?;
    let start = Start::decode(&start).ok_or(Useless("it is of another version or none of ours"))?;
    if start.id != id {
        return Err(Useless("it was copied from another place"));
    }
    if start.seed_print != seed_print {
        return Err(Useless("its keys were made with another seed; the file key.seed was lost or replaced"));
    }
    let footer = read_footer(&*file, len);
    let (entries, end) = match footer {
        Some(entries) => (entries, len),
        None if start.solo => return Err(Useless("it was never completed")),
        // Nothing is allocated by what such a file says of itself.
        None if len > shelf.space.bytes_max() => return Err(Useless(OVER_BOUND)),
        None => {
            count(&shelf.stats.recovered_scanned);
            scan(&*file, len)
        }
    };
    if entries.is_empty() {
        return Err(Useless("nothing in it is whole"));
    }
    let whole = entries.iter().all(|entry| entry.at.checked_add(u64::from(entry.bytes)).is_some_and(|to| to <= end));
    if !whole || (!start.solo && end > u64::from(u32::MAX)) {
        return Err(Useless("its list does not fit it"));
    }
    let footer = if end < len { format::encode_footer(&entries) } else { Vec::new() };
    Ok(Opened { file, path, start, entries, end, footer })
}

/// The entries of a file that was ended.
pub(crate) fn read_footer(file: &dyn DiskFile, len: u64) -> Option<Vec<Entry>> {
    let tail_at = len.checked_sub(TAIL_BYTES as u64)?;
    let mut tail = [0; TAIL_BYTES];
    file.read(&mut tail, tail_at, false).ok()?;
    let (bytes, crc) = format::decode_tail(&tail)?;
    let at = tail_at.checked_sub(bytes).filter(|at| *at >= START_BYTES)?;
    let mut entries = vec![0; usize::try_from(bytes).ok()?];
    file.read(&mut entries, at, false).ok()?;
    format::decode_entries(&entries, crc)
}

/// The whole records of a file that was not ended, and where they end.
fn scan(file: &dyn DiskFile, len: u64) -> (Vec<Entry>, u64) {
    let (mut entries, mut at) = (Vec::new(), START_BYTES);
    let mut bytes = Vec::new();
    while let Some(entry) = scan_one(file, at, len, &mut bytes) {
        at += u64::from(entry.bytes);
        entries.push(entry);
    }
    (entries, at)
}

fn scan_one(file: &dyn DiskFile, at: u64, len: u64, bytes: &mut Vec<u8>) -> Option<Entry> {
    bytes.resize(HEADER_BYTES, 0);
    file.read(bytes, at, false).ok()?;
    let whole = Header::peek(bytes)?.record_bytes()?;
    if at.checked_add(whole)? > len {
        return None;
    }
    bytes.resize(usize::try_from(whole).ok()?, 0);
    file.read(bytes, at, false).ok()?;
    let header = check_record(bytes)?;
    Some(entry_of(&header, at, u32::try_from(whole).ok()?))
}

/// The footer's entry of a record.
pub(crate) fn entry_of(header: &Header, at: u64, bytes: u32) -> Entry {
    Entry {
        kind: header.kind,
        hash: header.hash,
        stamp: header.stamp,
        at,
        bytes,
        variant: header.variant,
        stored_at: u32::try_from(header.stored_at).unwrap_or(u32::MAX),
        zone: header.zone,
        epoch: header.epoch,
    }
}

/// The largest record of a segment of so many bytes: more goes into a file of its own.
pub(crate) fn record_bytes_max(segment_bytes: u64) -> u64 {
    (segment_bytes / 4).max(BLOCK_BYTES)
}
