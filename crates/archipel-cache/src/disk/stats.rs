//! What the disk tier counts. Must never be read to decide anything.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    (counters { $($(#[doc = $doc:literal])* $name:ident,)* } gauges { $($(#[doc = $gdoc:literal])* $gauge:ident,)* }) => {
        /// Counters of the disk tier since it was made.
        #[derive(Debug, Default)]
        pub struct DiskStats {
            $($(#[doc = $doc])* pub $name: AtomicU64,)*
        }

        /// The values of [`DiskStats`] at one moment, and what there is on the disk.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub struct DiskCounts {
            $($(#[doc = $doc])* pub $name: u64,)*
            $($(#[doc = $gdoc])* pub $gauge: u64,)*
        }

        impl DiskCounts {
            /// Name, kind (`counter` or `gauge`), help and value of each, for a metrics page.
            pub fn each(&self, mut f: impl FnMut(&'static str, &'static str, &'static str, u64)) {
                $(f(stringify!($name), "counter", concat!($($doc,)*), self.$name);)*
                $(f(stringify!($gauge), "gauge", concat!($($gdoc,)*), self.$gauge);)*
            }
        }

        impl DiskStats {
            pub(crate) fn counts(&self) -> DiskCounts {
                DiskCounts { $($name: self.$name.load(Ordering::Relaxed),)* ..DiskCounts::default() }
            }
        }
    };
}

counters! {
    counters {
        /// Lookups that a record on disk answered.
        hits,
        /// Lookups that found no record on disk.
        misses,
        /// Reads that were served from the page cache without waiting.
        reads_cached,
        /// Reads that a reader thread made.
        reads_waited,
        /// Bytes read.
        read_bytes,
        /// Objects taken into memory because they were asked for again.
        promotions,
        /// Objects written.
        writes,
        /// Bytes written.
        written_bytes,
        /// Fields renewed by a 304 in place of a whole object.
        renewals,
        /// Objects copied on because they were used when their segment was reclaimed.
        spared,
        /// Objects that left with their segment.
        evictions,
        /// Segments reclaimed.
        segments_reclaimed,
        /// Segments taken from slow readers, whose replies broke off, as they held more than an eighth of the disk's bytes.
        readers_cut,
        /// Objects that left because their key had `variants_max` variants.
        evicted_variants_max,
        /// Objects found purged.
        purged,
        /// Not written: asked for once only, while the disk is full.
        refused_once,
        /// Not written: larger than the disk tier's `object_bytes_max`.
        refused_object_bytes_max,
        /// Not written: `queue_bytes_max` waits to be written already.
        dropped_queue_bytes_max,
        /// Not written: no room could be made within `bytes_max`.
        dropped_bytes_max,
        /// Not written: the disk failed.
        dropped_error,
        /// Not written: the tier is not ready, or leaves the disk alone for a while.
        dropped_off,
        /// Not written: purged before it was.
        dropped_purged,
        /// Not read: `reads_waiting_max` reads wait already.
        dropped_reads_max,
        /// Not read: it took longer than `read_wait`.
        dropped_read_wait,
        /// Bodies that broke off: a piece of them took longer than ten times `read_wait`.
        dropped_body_wait,
        /// Writes that failed because the disk is full.
        errors_full,
        /// Reads that failed.
        errors_read,
        /// Writes and other changes that failed for another reason than a full disk.
        errors_write,
        /// Records whose checksum or content was wrong: dropped, never served.
        errors_verify,
        /// Files dropped when the tier was opened: of another version or key seed, or unreadable.
        recovered_dropped,
        /// Segments that had to be read record by record, as the process before did not end them.
        recovered_scanned,
        /// Times the disk was left alone for a while.
        pauses,
    }
    gauges {
        /// Objects on disk now.
        entries,
        /// Bytes that segments take on the disk now; never above `bytes_max`.
        bytes,
        /// Segment files now.
        segments,
        /// Bytes of memory for the index now.
        index_bytes,
        /// Bytes of memory that wait to be written now.
        queue_bytes,
        /// 1 while objects are read from disk, 0 while the tier is opening, closed or leaves the disk alone.
        readable,
        /// 1 while objects are written to disk, 0 otherwise.
        writable,
    }
}
