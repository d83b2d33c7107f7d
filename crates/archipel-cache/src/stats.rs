//! What the cache counts. Must never be read to decide anything.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Counters of the cache since it was made, updated without order between them.
        #[derive(Debug, Default)]
        pub struct CacheStats {
            $($(#[doc = $doc])* pub $name: AtomicU64,)*
        }

        /// The values of [`CacheStats`] at one moment.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub struct CacheCounts {
            $($(#[doc = $doc])* pub $name: u64,)*
            /// Lookups that found a variant that was picked.
            pub hits: u64,
            /// Lookups that found nothing.
            pub misses: u64,
            /// Objects stored now (a gauge).
            pub entries: u64,
            /// Bytes of memory that stored objects hold now, index included (a gauge).
            pub bytes: u64,
            /// Bytes of memory that fills in flight hold now (a gauge).
            pub fills_bytes: u64,
            /// Scopes with a recorded purge (a gauge).
            pub purge_scopes: u64,
        }

        impl CacheCounts {
            /// Name, kind (`counter` or `gauge`), help and value of each, for a metrics page.
            pub fn each(&self, mut f: impl FnMut(&'static str, &'static str, &'static str, u64)) {
                $(f(stringify!($name), "counter", concat!($($doc,)*), self.$name);)*
                f("hits", "counter", "Lookups that found a variant that was picked.", self.hits);
                f("misses", "counter", "Lookups that found nothing.", self.misses);
                f("entries", "gauge", "Objects stored now.", self.entries);
                f("bytes", "gauge", "Bytes of memory that stored objects hold now, index included.", self.bytes);
                f("fills_bytes", "gauge", "Bytes of memory that fills in flight hold now.", self.fills_bytes);
                f("purge_scopes", "gauge", "Scopes with a recorded purge.", self.purge_scopes);
            }
        }

        impl CacheStats {
            /// Reads all counters; what the shards count is added by [`Store::counts`](crate::Store::counts).
            pub(crate) fn counts(&self) -> CacheCounts {
                CacheCounts { $($name: self.$name.load(Ordering::Relaxed),)* ..CacheCounts::default() }
            }
        }
    };
}

counters! {
    /// Objects stored.
    inserts,
    /// Objects whose fields were renewed in place by a 304.
    replaced,
    /// Objects evicted to make room.
    evictions,
    /// Objects evicted because their key had `variants_max` variants.
    evicted_variants_max,
    /// Not stored: larger than `object_bytes_max`.
    refused_object_bytes_max,
    /// Not stored: nothing more could be evicted.
    refused_memory_bytes_max,
    /// Objects evicted as their zone was at its `cache.memory_bytes_max`.
    evicted_zone_bytes_max,
    /// Not stored: larger than their zone's `cache.memory_bytes_max`, or nothing more of the zone could be evicted.
    refused_zone_bytes_max,
    /// Not stored: purged or made invalid while they were fetched.
    refused_purged,
    /// Purges by key or URL.
    purges_key,
    /// Purges by tag, cache group, prefix, host, zone or of everything.
    purges_scope,
    /// Keys and URLs that visitors' unsafe requests made invalid.
    invalidations,
    /// Stored objects removed by them.
    invalidated,
    /// Invalidations that were forgotten for newer ones: fetches that began before them are not stored.
    invalidations_overflows,
    /// Purges that took older objects with them as `purge_scopes_max` was reached.
    purge_scopes_overflows,
    /// Objects with more tags than are kept, or unreadable ones: every purge of a tag in their zone covers them.
    tags_max,
    /// Purges of a prefix with more segments than are kept: the prefix of those that are was purged.
    prefix_segments_max,
    /// Objects found purged and removed.
    purged_reclaimed,
    /// Requests that led a flight.
    flights,
    /// Requests that waited for another's fetch, or read it while it filled.
    followers,
    /// Requests that went alone as `followers_max` waited already.
    followers_overflows,
    /// Followers that took over from a leader that died.
    promoted,
    /// Flights whose followers shared a failure, as two fetches in a row failed.
    failures_shared,
    /// Requests that went alone at once, as their key was uncacheable a moment ago.
    passes,
    /// Pass marks dropped as `hints_max` was reached.
    hints_overflows,
    /// Fills that completed.
    fills,
    /// Fills that failed or were dropped before their end.
    fills_failed,
    /// Fills that outgrew `object_bytes_max` and were only passed through.
    fills_object_bytes_max,
    /// Fills that were only passed through as fills in flight held `fills_bytes_max`.
    fills_bytes_max,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
