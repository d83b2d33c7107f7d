//! The purge journal: the records of the purge table in a file, so that nothing purged comes back after a crash.
//!
//! A file of 64-byte slots, little-endian: a header, then one record a slot, each with a checksum. Slots never straddle a sector.
//! Purges are appended; where the file has grown to `journal_bytes_max` it is written anew from the table, beside the old one, and
//! renamed over it.
//!
//! Owns the form and the file. Must never fail a start, and never read damage as "nothing was purged": where a purge may be
//! missing, everything that is older counts as purged.

use crate::groups::PrefixGroup;
use crate::purge::{PurgeKind, PurgeRecord, Scope};
use crate::purge_log::PurgeTable;
use archipel_http::stable_hash::StableHasher;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Bytes of a slot.
const SLOT: usize = 64;
const MAGIC: [u8; 8] = *b"ARCHPURG";
const VERSION: u16 = 1;
/// Larger numbers are no sequence: JSON readers would round them.
const SEQUENCE_MAX: u64 = (1 << 53) - 1;
/// Numbers that a start leaves out: purges that were made and never written may have had them.
const START_GAP: u64 = 1 << 16;
/// A file longer than this many times `journal_bytes_max` was not written here, and is not read.
const OVERSIZE: u64 = 4;

/// What a journal says at a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// What the purge table is made of.
    pub table: PurgeTable,
    /// In which state the journal was.
    pub state: JournalState,
}

/// In which state a journal was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalState {
    /// There was none: whatever is stored from before counts as purged.
    Missing,
    /// All records were read.
    Whole,
    /// All but a record at the end that was being written, and never acknowledged.
    Torn,
    /// A record cannot be read: whatever is stored from before counts as purged.
    Damaged,
}

impl JournalState {
    /// The word for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Whole => "whole",
            Self::Torn => "torn",
            Self::Damaged => "damaged",
        }
    }
}

/// Reads a journal's bytes. `now_micros` (microseconds since the epoch) is where a sequence begins that cannot go on from another:
/// beyond all numbers that were ever given, as no node makes a million purges a second.
pub fn decode(bytes: &[u8], now_micros: u64) -> Recovered {
    let fresh = now_micros.clamp(START_GAP, SEQUENCE_MAX / 2);
    let (slots, rest) = bytes.as_chunks::<SLOT>();
    let written = slots.iter().rposition(|slot| slot.iter().any(|byte| *byte != 0)).map_or(0, |last| last + 1);
    let torn = !rest.is_empty() || written < slots.len();
    let (slots, _) = slots.split_at(written);
    let mut records: Vec<PurgeRecord> = Vec::with_capacity(slots.len());
    let mut floor = None;
    let mut damaged = false;
    let mut last = 0;
    for (at, slot) in slots.iter().enumerate() {
        let read = match (at, Slot::read(slot)) {
            (0, Some(Slot::Header { floor: found, sequence })) => {
                floor = Some(found);
                Some(sequence)
            }
            (1.., Some(Slot::Start { sequence })) => Some(sequence),
            (1.., Some(Slot::Record(record))) => {
                records.push(record);
                Some(record.sequence)
            }
            _ => None,
        };
        damaged |= read.is_none();
        last = last.max(read.unwrap_or(0));
    }
    let sequence = (last + START_GAP + slots.len() as u64).max(fresh);
    let restarted = |state| Recovered { table: PurgeTable { sequence, floor: sequence, records: Vec::new() }, state };
    match floor {
        _ if bytes.is_empty() => restarted(JournalState::Missing),
        Some(floor) if !damaged => {
            // A node that handed over may have written behind its successor.
            records.sort_by_key(|record| record.sequence);
            let state = if torn { JournalState::Torn } else { JournalState::Whole };
            Recovered { table: PurgeTable { sequence, floor, records }, state }
        }
        _ => restarted(JournalState::Damaged),
    }
}

/// A journal's bytes for a table.
pub fn encode(table: &PurgeTable) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SLOT * (table.records.len() + 1));
    bytes.extend_from_slice(&Slot::Header { floor: table.floor, sequence: table.sequence }.write());
    table.records.iter().for_each(|record| bytes.extend_from_slice(&Slot::Record(*record).write()));
    bytes
}

#[derive(Debug, Clone, Copy)]
enum Slot {
    Header {
        floor: u64,
        sequence: u64,
    },
    /// A start of the node: where its sequence began.
    Start {
        sequence: u64,
    },
    Record(PurgeRecord),
}

/// The byte that tells what a slot is; 0 is none, so that bytes never written are nothing.
const HEADER: u8 = 1;
const START: u8 = 2;
const RECORD: u8 = 3;

impl Slot {
    /// `tag, kind, scope, segments, zone (4), sequence (8), hash (16), magic or floor (8), version (2), 0 ..., checksum (8)`.
    fn write(&self) -> [u8; SLOT] {
        let mut slot = [0; SLOT];
        let mut put = |at: usize, bytes: &[u8]| {
            for (to, from) in slot.iter_mut().skip(at).zip(bytes) {
                *to = *from;
            }
        };
        put(40, &VERSION.to_le_bytes());
        match self {
            Self::Header { floor, sequence } => {
                put(0, &[HEADER]);
                put(8, &sequence.to_le_bytes());
                put(16, &MAGIC);
                put(32, &floor.to_le_bytes());
            }
            Self::Start { sequence } => {
                put(0, &[START]);
                put(8, &sequence.to_le_bytes());
            }
            Self::Record(PurgeRecord { sequence, kind, zone, scope }) => {
                let (word, segments, hash) = words(*scope);
                put(0, &[RECORD, u8::from(*kind == PurgeKind::Hard), word, segments]);
                put(4, &zone.to_le_bytes());
                put(8, &sequence.to_le_bytes());
                put(16, &hash.to_le_bytes());
            }
        }
        let sum = checksum(&slot);
        put_checksum(&mut slot, sum);
        slot
    }

    fn read(slot: &[u8; SLOT]) -> Option<Self> {
        if take::<8>(slot, 56)? != checksum(slot).to_le_bytes() || u16::from_le_bytes(take(slot, 40)?) != VERSION {
            return None;
        }
        let sequence = u64::from_le_bytes(take(slot, 8)?);
        let [tag, kind, word, segments] = take(slot, 0)?;
        let floor = u64::from_le_bytes(take(slot, 32)?);
        let read = match tag {
            HEADER if take::<8>(slot, 16)? == MAGIC && floor <= sequence => Self::Header { floor, sequence },
            START => Self::Start { sequence },
            RECORD => {
                let kind = match kind {
                    0 => PurgeKind::Soft,
                    1 => PurgeKind::Hard,
                    _ => return None,
                };
                let scope = scope(word, segments, u128::from_le_bytes(take(slot, 16)?))?;
                let zone = u32::from_le_bytes(take(slot, 4)?);
                Self::Record(PurgeRecord { sequence, kind, zone, scope })
            }
            _ => return None,
        };
        (sequence <= SEQUENCE_MAX - 2 * START_GAP).then_some(read)
    }
}

fn take<const N: usize>(slot: &[u8; SLOT], at: usize) -> Option<[u8; N]> {
    slot.get(at..)?.first_chunk::<N>().copied()
}

fn checksum(slot: &[u8; SLOT]) -> u64 {
    let mut hasher = StableHasher::new("purge journal");
    hasher.write(slot.get(..SLOT - 8).unwrap_or_default());
    hasher.finish()
}

fn put_checksum(slot: &mut [u8; SLOT], sum: u64) {
    for (to, from) in slot.iter_mut().skip(SLOT - 8).zip(sum.to_le_bytes()) {
        *to = from;
    }
}

fn words(scope: Scope) -> (u8, u8, u128) {
    match scope {
        Scope::Everything => (0, 0, 0),
        Scope::Zone => (1, 0, 0),
        Scope::Host(hash) => (2, 0, hash.into()),
        Scope::Prefix(PrefixGroup { hash, segments }) => (3, segments, hash.into()),
        Scope::Url(hash) => (4, 0, hash.into()),
        Scope::Key(hash) => (5, 0, hash),
        Scope::Tag(hash) => (6, 0, hash.into()),
    }
}

fn scope(word: u8, segments: u8, hash: u128) -> Option<Scope> {
    let short = || u64::try_from(hash).ok();
    Some(match word {
        0 => Scope::Everything,
        1 => Scope::Zone,
        2 => Scope::Host(short()?),
        3 if (1..=crate::groups::PREFIX_SEGMENTS_MAX).contains(&segments) => {
            Scope::Prefix(PrefixGroup { hash: short()?, segments })
        }
        4 => Scope::Url(short()?),
        5 => Scope::Key(hash),
        6 => Scope::Tag(short()?),
        _ => return None,
    })
}

/// What is known of the process before.
#[derive(Debug)]
struct Before {
    /// Its last record that was taken up.
    seen: u64,
    /// Where this process's numbers begin; its own are all below.
    start: u64,
    /// The file when it was last looked through: device, inode, length.
    looked: Option<(u64, u64, u64)>,
    /// What it appended to a file that was written anew meanwhile.
    missed: Vec<PurgeRecord>,
}

impl Before {
    /// Records of that process in a journal's bytes that were not taken up yet.
    fn take_from(&mut self, bytes: &[u8]) -> Vec<PurgeRecord> {
        let (slots, _) = bytes.as_chunks::<SLOT>();
        let records = slots.iter().filter_map(|slot| match Slot::read(slot) {
            Some(Slot::Record(record)) => Some(record),
            _ => None,
        });
        let is_new = |record: &PurgeRecord| record.sequence > self.seen && record.sequence < self.start;
        let foreign: Vec<PurgeRecord> = records.filter(is_new).collect();
        self.seen = foreign.iter().map(|record| record.sequence).max().unwrap_or(self.seen);
        foreign
    }
}

/// What tells one file from another of its name.
fn place_of(found: Option<std::fs::Metadata>) -> Option<(u64, u64)> {
    found.map(|found| (found.dev(), found.ino()))
}

/// The file. Every call may take as long as the disk does: not for a thread that serves.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// `None` where it has to be written anew.
    file: Option<File>,
    bytes: u64,
    bytes_max: u64,
    /// Another process has taken over: only what it would otherwise not know is appended.
    retired: bool,
    /// Another process may still write: that before this one.
    before: Option<Before>,
}

impl Journal {
    /// Opens the journal at `path` and reads it. Never fails: where the file cannot be read the error is told, everything older
    /// counts as purged, and the next write makes a new file. The first write is due at once: until then a crash forgets that this
    /// start happened.
    pub fn open(path: &Path, bytes_max: u64, now_micros: u64) -> (Self, Recovered, Option<io::Error>) {
        let mut journal = Self { path: path.to_owned(), file: None, bytes: 0, bytes_max, retired: false, before: None };
        let (bytes, problem) = match journal.read() {
            Ok(bytes) => (bytes, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), None),
            // Not empty: it is not missing.
            Err(error) => (vec![0], Some(error)),
        };
        let recovered = decode(&bytes, now_micros);
        if recovered.state == JournalState::Whole {
            journal.file = journal.reopen().ok();
            journal.bytes = bytes.len() as u64;
        }
        (journal, recovered, problem)
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let file = File::open(&self.path)?;
        let most = self.bytes_max.saturating_mul(OVERSIZE);
        if file.metadata()?.len() > most {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {most} bytes")));
        }
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn reopen(&self) -> io::Result<File> {
        OpenOptions::new().append(true).open(&self.path)
    }

    /// The process before this one goes on for a while, and may purge: its records are taken up as they come.
    pub fn follow(&mut self, recovered: &Recovered) {
        let seen = recovered.table.records.last().map_or(0, |record| record.sequence);
        self.before = Some(Before { seen, start: recovered.table.sequence, looked: None, missed: Vec::new() });
    }

    /// Whether there is a process before this one.
    pub fn follows(&self) -> bool {
        self.before.is_some()
    }

    /// What the process before has purged since this was asked last.
    pub fn take_foreign(&mut self) -> Vec<PurgeRecord> {
        let Some(before) = &mut self.before else { return Vec::new() };
        let mut foreign = std::mem::take(&mut before.missed);
        let looked = std::fs::metadata(&self.path).ok().map(|found| (found.dev(), found.ino(), found.len()));
        if looked == before.looked {
            return foreign;
        }
        // Where it cannot be read now, it is looked through the next time.
        let Ok(bytes) = self.read() else { return foreign };
        if let Some(before) = &mut self.before {
            before.looked = looked;
            foreign.extend(before.take_from(&bytes));
        }
        foreign
    }

    /// From now on another process keeps the file: only append to it.
    pub fn retire(&mut self) {
        self.retired = true;
    }

    /// Whether the next write, of so many records, has to be of everything: there is no file, or it is full.
    pub fn wants_all(&mut self, records: usize) -> bool {
        let there = std::fs::metadata(&self.path).ok();
        let here = self.file.as_ref().and_then(|file| file.metadata().ok());
        if place_of(there.clone()) != place_of(here) && (self.file.is_some() || self.retired) {
            // A process that takes over or hands over has written it anew.
            self.file = self.reopen().ok();
        }
        self.bytes = there.map_or(0, |found| found.len());
        let full = self.bytes.saturating_add((records * SLOT) as u64) > self.bytes_max;
        !self.retired && (full || self.file.is_none())
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends where a start begins its sequence.
    ///
    /// # Errors
    /// The disk's; the next write has to be of everything.
    pub fn append_start(&mut self, sequence: u64) -> io::Result<()> {
        self.append_slots(&Slot::Start { sequence }.write())
    }

    /// Appends records; they are on the disk when this returns.
    ///
    /// # Errors
    /// The disk's; the next write has to be of everything.
    pub fn append(&mut self, records: &[PurgeRecord]) -> io::Result<()> {
        let bytes: Vec<u8> = records.iter().flat_map(|record| Slot::Record(*record).write()).collect();
        self.append_slots(&bytes)
    }

    fn append_slots(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(mut file) = self.file.take() else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the journal is not open"));
        };
        file.write_all(bytes)?;
        file.sync_data()?;
        if place_of(file.metadata().ok()) != place_of(std::fs::metadata(&self.path).ok()) {
            // Another process has written it anew meanwhile, perhaps without these.
            file = self.reopen()?;
            file.write_all(bytes)?;
            file.sync_data()?;
        }
        self.bytes += bytes.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    /// Writes the journal anew from a table; it is on the disk, under its name, when this returns.
    ///
    /// # Errors
    /// The disk's; the old file is then as it was.
    pub fn rewrite(&mut self, table: &PurgeTable) -> io::Result<()> {
        if self.retired {
            return self.append(&table.records);
        }
        let bytes = encode(table);
        let beside = self.path.with_extension(format!("new-{}", std::process::id()));
        self.file = None;
        let replaced = File::open(&self.path).ok().filter(|_| self.before.is_some());
        let written = self.write_beside(&beside, &bytes);
        if written.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        written?;
        self.file = Some(self.reopen()?);
        self.bytes = bytes.len() as u64;
        let mut appended = Vec::new();
        if let (Some(before), Some(replaced)) = (&mut self.before, replaced) {
            // What the process before has appended since it was looked through is in the old file alone.
            let read = replaced.take(self.bytes_max.saturating_mul(OVERSIZE)).read_to_end(&mut appended);
            if read.is_ok() {
                before.missed = before.take_from(&appended);
            }
        }
        Ok(())
    }

    fn write_beside(&self, beside: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(beside, &self.path)?;
        // The name is on the disk only with its folder.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}
