//! What is on the disk and how it is read: shared by the writer, by lookups and by every body that is being sent.
//!
//! Must never return a byte that no checksum covered.

use super::breaker::Breaker;
use super::files::Files;
use super::format::{self, BLOCK_BYTES, HEADER_BYTES, Header, Kind, SOLO_ALIGN, SOLO_BLOCK_BYTES, START_BYTES};
use super::index::{Index, Place};
use super::pool::{Buffers, Pool};
use super::segment::{Segment, Segments, Space};
use super::stats::DiskStats;
use crate::disk::body::DiskBody;
use crate::quota::Quotas;
use crate::stats::count;
use bytes::Bytes;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Records up to this many bytes are read whole, with one system call.
pub(crate) const WHOLE_BYTES_MAX: u32 = 256 << 10;
/// What is read first of a larger one: its header and meta, as a rule.
const FIRST_BYTES: u32 = 4 << 10;

/// Lost records that wait to be noted on the disk; with more the disk is in no state to take notes.
const LOST_MAX: usize = 65_536;

/// What the tier is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Opening,
    Ready,
    Closed,
}

/// Why a record was not read.
#[derive(Debug)]
pub(crate) enum ReadFailure {
    /// Not in memory: a reader thread must fetch it.
    Cold,
    /// Its segment is gone.
    Gone,
    /// It is not what was written.
    Corrupt,
    /// The disk failed.
    Failed(io::Error),
}

impl From<io::Error> for ReadFailure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::Cold,
            // The file is shorter than the index says: it was cut, or lost its end.
            io::ErrorKind::UnexpectedEof => Self::Corrupt,
            _ => Self::Failed(error),
        }
    }
}

/// A record that was read: its body too, or the way to it.
pub(crate) struct Opened {
    pub(crate) header: Header,
    pub(crate) meta: Bytes,
    pub(crate) body: OpenedBody,
}

pub(crate) enum OpenedBody {
    Whole(Bytes),
    OnDisk(DiskBody),
}

/// What there is, and the means to read it.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) folder: PathBuf,
    pub(crate) index: Index,
    pub(crate) quotas: Arc<Quotas>,
    /// How long a body that is being sent waits for its next piece.
    pub(crate) body_wait: Duration,
    pub(crate) segments: Segments,
    pub(crate) space: Arc<Space>,
    pub(crate) stats: Arc<DiskStats>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) breaker: Mutex<Breaker>,
    /// The breaker is open: nothing is read.
    pub(crate) reads_off: AtomicBool,
    pub(crate) writes_off: AtomicBool,
    /// Records that must not come back although nothing took their place; the writer notes them on the disk.
    lost: Mutex<Vec<Place>>,
    phase: AtomicU8,
    started: Instant,
}

/// The parts of a new [`Shelf`].
pub(crate) struct ShelfParts {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) folder: PathBuf,
    pub(crate) space: Arc<Space>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) breaker: Breaker,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) body_wait: Duration,
}

impl Shelf {
    pub(crate) fn new(parts: ShelfParts) -> Self {
        Self {
            files: parts.files,
            folder: parts.folder,
            index: Index::new(Arc::clone(&parts.quotas)),
            quotas: parts.quotas,
            body_wait: parts.body_wait,
            segments: Segments::default(),
            space: parts.space,
            stats: Arc::default(),
            pool: parts.pool,
            breaker: Mutex::new(parts.breaker),
            reads_off: AtomicBool::new(false),
            writes_off: AtomicBool::new(false),
            lost: Mutex::default(),
            phase: AtomicU8::new(Phase::Opening as u8),
            started: Instant::now(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Opening,
            1 => Phase::Ready,
            _ => Phase::Closed,
        }
    }

    pub(crate) fn advance(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Time since the tier was made.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.phase() == Phase::Ready && !self.reads_off.load(Ordering::Relaxed)
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.phase() == Phase::Ready && !self.writes_off.load(Ordering::Relaxed)
    }

    /// Reads a record. With `cached`, only if that takes no waiting; with `head_only`, without its body.
    pub(crate) fn open(self: &Arc<Self>, place: &Place, cached: bool, head_only: bool) -> Result<Opened, ReadFailure> {
        let segment = self.segments.get(place.segment).ok_or(ReadFailure::Gone)?;
        let whole = !head_only && !segment.solo && place.bytes <= WHOLE_BYTES_MAX;
        let opened = match whole {
            true => open_whole(self.pool.buffers(), &segment, place, cached),
            false => self.open_head(&segment, place, cached),
        };
        // Whoever is cut off in the middle learns it like a reclaimed segment.
        let opened = opened.map_err(|failure| if segment.is_cut() { ReadFailure::Gone } else { failure });
        let most = if whole { WHOLE_BYTES_MAX } else { FIRST_BYTES };
        self.note(&opened, cached, u64::from(place.bytes.min(most)));
        match opened {
            Err(ReadFailure::Corrupt | ReadFailure::Failed(_)) => self.lose(place),
            Err(ReadFailure::Gone) => drop(self.index.remove(place.key, place.segment, place.at)),
            _ => {}
        }
        opened
    }

    /// Forgets a record that cannot be read: also after the next start, when it might be readable again but outdated.
    pub(crate) fn lose(&self, place: &Place) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if self.index.remove(place.key, place.segment, place.at) && lost.len() < LOST_MAX {
            lost.push(*place);
        }
    }

    /// What was lost since this was asked last.
    pub(crate) fn take_lost(&self) -> Vec<Place> {
        std::mem::take(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a read, and tells the breaker.
    pub(crate) fn note<T>(&self, read: &Result<T, ReadFailure>, cached: bool, bytes: u64) {
        match read {
            Ok(_) => {
                count(if cached { &self.stats.reads_cached } else { &self.stats.reads_waited });
                self.stats.read_bytes.fetch_add(bytes, Ordering::Relaxed);
                if !cached {
                    self.read_succeeded();
                }
            }
            Err(ReadFailure::Corrupt) => {
                count(&self.stats.errors_verify);
            }
            Err(ReadFailure::Failed(error)) => self.read_failed(error),
            Err(ReadFailure::Cold | ReadFailure::Gone) => {}
        }
    }

    pub(crate) fn read_failed(&self, error: &io::Error) {
        count(&self.stats.errors_read);
        let now = self.now();
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        if breaker.failed(now) {
            self.reads_off.store(true, Ordering::Relaxed);
            count(&self.stats.pauses);
            tracing::error!(
                folder = %self.folder.display(), %error,
                "the disk tier cannot read: it serves nothing until a trial read goes well; look at the disk and the kernel's log"
            );
        }
    }

    fn read_succeeded(&self) {
        // Nearly always nothing failed before, and nobody else holds the lock.
        if let Ok(mut breaker) = self.breaker.try_lock()
            && !breaker.is_open()
        {
            breaker.succeeded();
        }
    }

    /// Reads header, meta and table of a large record.
    fn open_head(self: &Arc<Self>, segment: &Arc<Segment>, place: &Place, cached: bool) -> Result<Opened, ReadFailure> {
        let (at, block_bytes) = match segment.solo {
            true => (u64::from(place.at) * SOLO_ALIGN, SOLO_BLOCK_BYTES),
            false => (u64::from(place.at), BLOCK_BYTES),
        };
        let mut bytes = vec![0; place.bytes.min(if segment.solo { u32::MAX } else { FIRST_BYTES }) as usize];
        segment.file.read(&mut bytes, at, cached)?;
        let header = Header::peek(&bytes).ok_or(ReadFailure::Corrupt)?;
        let head_bytes = header.head_bytes(block_bytes).ok_or(ReadFailure::Corrupt)?;
        let fits = match segment.solo {
            true => {
                head_bytes == u64::from(place.bytes)
                    && START_BYTES.checked_add(header.body_bytes).is_some_and(|end| end <= at)
            }
            false => header.record_bytes() == Some(u64::from(place.bytes)),
        };
        if !fits {
            return Err(ReadFailure::Corrupt);
        }
        let head_bytes = usize::try_from(head_bytes).map_err(|_| ReadFailure::Corrupt)?;
        if head_bytes > bytes.len() {
            bytes.resize(head_bytes, 0);
            segment.file.read(&mut bytes, at, cached)?;
        }
        bytes.truncate(head_bytes);
        let bytes = Bytes::from(bytes);
        let meta_end = HEADER_BYTES + header.meta_bytes as usize;
        let meta = checked_meta(&bytes, &header, place)?;
        let table = bytes.get(meta_end..).ok_or(ReadFailure::Corrupt)?;
        let body = DiskBody::new(
            Arc::clone(self),
            Arc::clone(segment),
            *place,
            super::body::Layout {
                at: if segment.solo { START_BYTES } else { at + head_bytes as u64 },
                len: header.body_bytes,
                block_bytes,
                nonce: header.nonce,
                sums: sums(table).collect(),
            },
        );
        Ok(Opened { header, meta, body: OpenedBody::OnDisk(body) })
    }
}

fn sums(table: &[u8]) -> impl Iterator<Item = u32> {
    table.as_chunks::<4>().0.iter().map(|sum| u32::from_le_bytes(*sum))
}

/// The meta of a record, after its checksum, and that it is the record that the index means.
fn checked_meta(bytes: &Bytes, header: &Header, place: &Place) -> Result<Bytes, ReadFailure> {
    let meta_end = HEADER_BYTES + header.meta_bytes as usize;
    let meta = bytes.get(HEADER_BYTES..meta_end).ok_or(ReadFailure::Corrupt)?;
    let is_it = header.kind == Kind::Object && format::index_key(header.hash) == place.key;
    if !is_it || !Header::holds(bytes, meta) {
        return Err(ReadFailure::Corrupt);
    }
    Ok(bytes.slice(HEADER_BYTES..meta_end))
}

/// Reads a small record, all of it.
fn open_whole(buffers: &Buffers, segment: &Segment, place: &Place, cached: bool) -> Result<Opened, ReadFailure> {
    let fill = |buffer: &mut [u8]| segment.file.read(buffer, u64::from(place.at), cached);
    let bytes = buffers.filled(place.bytes as usize, fill)?;
    let header = check_record(&bytes).ok_or(ReadFailure::Corrupt)?;
    let meta = checked_meta(&bytes, &header, place)?;
    let body_at = HEADER_BYTES + header.meta_bytes as usize + 4 * table_len(&header);
    let body = bytes.slice(body_at..body_at + header.body_bytes as usize);
    Ok(Opened { header, meta, body: OpenedBody::Whole(body) })
}

fn table_len(header: &Header) -> usize {
    format::blocks(header.body_bytes, BLOCK_BYTES) as usize
}

/// Checks every byte of a record of a segment against its checksums: `bytes` is all of it.
pub(crate) fn check_record(bytes: &[u8]) -> Option<Header> {
    let header = Header::peek(bytes)?;
    if header.record_bytes()? != bytes.len() as u64 {
        return None;
    }
    let meta_end = HEADER_BYTES + header.meta_bytes as usize;
    let (table, body) = bytes.get(meta_end..)?.split_at_checked(4 * table_len(&header))?;
    let body = body.get(..usize::try_from(header.body_bytes).ok()?)?;
    let blocks = body.chunks(BLOCK_BYTES as usize).zip(sums(table)).enumerate();
    let all =
        blocks.fold(true, |all, (at, (block, sum))| all & (format::block_sum(header.nonce, at as u64, block) == sum));
    (all && Header::holds(bytes, bytes.get(HEADER_BYTES..meta_end)?)).then_some(header)
}
