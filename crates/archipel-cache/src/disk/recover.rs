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
        let mut opened = Vec::new();
        // From the newest, so that what is over the bound is the oldest.
        let mut is_full = false;
        for id in ids.into_iter().rev() {
            match open(shelf, id, known.seed_print) {
                // What is older than one that went may be what that one replaced.
                Ok(_) if is_full => recovered.discard(shelf, id, OVER_BOUND),
                Ok(found) => opened.push(found),
                Err(Useless(why)) => {
                    is_full |= why == OVER_BOUND;
                    recovered.discard(shelf, id, why);
                }
            }
        }
        for (segment, entries) in opened.into_iter().rev() {
            let segment = Arc::new(segment);
            recovered.order.push(segment.id);
            recovered.last_id = recovered.last_id.max(segment.id);
            shelf.segments.insert(&segment);
            for entry in entries {
                recovered.apply(shelf, &segment, &entry, known);
            }
        }
        Ok(recovered)
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
                let place = Place::new(entry, segment.id, segment.solo);
                shelf.index.insert(place, known.variants_max, || false);
            }
        }
    }
}

fn open(shelf: &Shelf, id: u32, seed_print: u64) -> Result<(Segment, Vec<Entry>), Useless> {
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
    if len > shelf.space.bytes_max() {
        // Nothing is allocated by what such a file says of itself.
        return Err(Useless(OVER_BOUND));
    }
    let footer = read_footer(&*file, len);
    let (entries, end) = match footer {
        Some(entries) => (entries, len),
        None if start.solo => return Err(Useless("it was never completed")),
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
    if !shelf.space.take(end + footer.len() as u64) {
        return Err(Useless(OVER_BOUND));
    }
    let segment = Segment::opened(file, path, start, &shelf.space, end + footer.len() as u64);
    if !footer.is_empty() {
        // Ended now, so that the next start need not read it again. Where that fails, it will.
        let ended = segment.file.truncate(end).and_then(|()| segment.file.write(&[&footer], end));
        if let Err(error) = ended {
            tracing::warn!(folder = %shelf.folder.display(), %error, "a segment of the disk tier cannot be ended");
        }
    }
    Ok((segment, entries))
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
    }
}

/// The largest record of a segment of so many bytes: more goes into a file of its own.
pub(crate) fn record_bytes_max(segment_bytes: u64) -> u64 {
    (segment_bytes / 4).max(BLOCK_BYTES)
}
