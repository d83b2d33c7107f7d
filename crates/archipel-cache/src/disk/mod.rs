//! The disk tier: what does not fit into memory, and what a restart should find again.
//!
//! Owns a folder of segment files, the index of what is in them, one thread that writes and a few that wait for reads. It decides what
//! is written and what leaves; what may be served is decided by those who ask ([`Store::lookup_disk`](crate::Store::lookup_disk)).
//!
//! Must never: make a request wait for a write, serve a byte whose checksum was not compared, use more bytes than `bytes_max`, or fail
//! the start of a node. It knows no async runtime: futures are woken by its threads.
//!
//! ```text
//!            Store::insert ──► offer ──► queue ──► writer ──► segment files, index
//! Store::lookup ─ none ─► lookup_disk ──► index ─► page cache, at once ─► Stored
//!                              └────────► cold ──► reader thread ───────► Stored
//! ```
//! - `format`: bytes of segments and records; `head`, `wire`: meta of a record; `files`: operations on files, for faults in tests
//! - `index`, `segment`, `shelf`: what there is, and how it is read; `body`: bodies that are sent from the disk
//! - `logs`: which file goes where a zone, or the disk, is full; `queue`, `run`, `writer`, `solo`, `reclaim`: the writing side; `recover`: opening; `admission`, `breaker`: when not to write

mod admission;
mod body;
mod breaker;
mod files;
mod format;
mod head;
mod index;
mod logs;
mod pool;
mod queue;
mod reclaim;
mod recover;
mod run;
mod seed;
mod segment;
mod shelf;
mod solo;
mod stats;
mod tier;
mod wire;
mod writer;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod invalid_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod quota_tests;
#[cfg(test)]
mod recover_tests;
#[cfg(test)]
mod tier_tests;

use std::path::PathBuf;
use std::time::Duration;

/// Reads bytes as each part of a file, for fuzzing: nothing must happen.
pub fn fuzz(bytes: &[u8]) {
    let _ = format::Start::decode(bytes);
    if let Some((entries, tail)) = bytes.split_last_chunk() {
        let _ = format::decode_tail(tail).and_then(|(_, crc)| format::decode_entries(entries, crc));
        let _ = format::decode_entries(entries, format::sum(0, &[entries]));
    }
    let _ = shelf::check_record(bytes);
    let _ = head::fuzz(bytes);
}

pub use body::{DiskBody, DiskReadError, DiskStream};
pub use head::Codec;
pub use seed::key_seed;
pub use stats::{DiskCounts, DiskStats};
pub(crate) use tier::Promotable;
pub use tier::{DiskLookup, DiskTier, DiskWriter, Found};
pub use wire::{WireReader, WireWriter};

/// The bounds of a disk tier.
#[derive(Debug, Clone)]
pub struct DiskOptions {
    /// The folder. Made where it is missing; only files named like segments are ever removed.
    pub folder: PathBuf,
    /// Bytes that segment files take, those included that were reclaimed while somebody reads them.
    pub bytes_max: u64,
    /// Bytes of one object's body.
    pub object_bytes_max: u64,
    /// Variants of one key (RFC 9111 section 4.1); the oldest goes. Default 64.
    pub variants_max: usize,
    /// Bytes that wait to be written; beyond, objects are not written. Default 64 MiB.
    pub queue_bytes_max: u64,
    /// Threads that wait for reads. Default 8.
    pub threads: usize,
    /// First reads that wait for a thread; beyond, lookups find nothing. Default 1,024.
    pub reads_waiting_max: usize,
    /// Bytes of bodies that are read but not sent; beyond, each reader holds one block. Default 64 MiB.
    pub ahead_bytes_max: u64,
    /// How long a lookup waits for a read before it counts as failed. For the caller, who has the clock. Default 1 s.
    pub read_wait: Duration,
    /// Notes of replaced objects that wait for a disk that fails; beyond, what is on it is dropped. Default 65,536.
    pub replaced_max: usize,
    /// Failures in a row after which the disk is left alone. Default 3.
    pub failures_max: u32,
    /// How long it is left alone at first; then twice as long, up to a minute. Default 2 s.
    pub pause: Duration,
    /// How often the folder is asked for while another process has it, or it cannot be used. Default 250 ms.
    pub open_retry: Duration,
}

impl DiskOptions {
    /// A tier of `bytes_max` bytes in `folder`; the other bounds have their defaults.
    pub fn new(folder: PathBuf, bytes_max: u64) -> Self {
        Self {
            folder,
            bytes_max,
            object_bytes_max: bytes_max / 8,
            variants_max: 64,
            queue_bytes_max: 64 << 20,
            threads: 8,
            reads_waiting_max: 1_024,
            ahead_bytes_max: 64 << 20,
            read_wait: Duration::from_secs(1),
            replaced_max: 65_536,
            failures_max: 3,
            pause: Duration::from_secs(2),
            open_retry: Duration::from_millis(250),
        }
    }

    /// Bytes of one segment: few enough that reclaiming one is a small step, so many that a large disk has few files.
    fn segment_bytes(&self) -> u64 {
        (self.bytes_max / 256).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX) & !4095
    }
}

/// The largest part of its zone's quota that one object may take on the disk: one in this many.
const QUOTA_OBJECT_PART: u64 = 2;
/// Segments of a zone with a quota: its quota divided by this, ...
const QUOTA_SEGMENTS: u64 = 16;
/// ... but not smaller than this, nor larger than those of the shared log.
const SEGMENT_BYTES_MIN_OF_ZONE: u64 = 64 << 10;
/// Segments are not smaller, ...
const SEGMENT_BYTES_MIN: u64 = 256 << 10;
/// ... and not larger than this.
const SEGMENT_BYTES_MAX: u64 = 256 << 20;
