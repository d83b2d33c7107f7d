//! The cache store: it keeps, finds, bounds, purges and collapses; it never decides.
//!
//! Owns the memory tier ([`Store`]), the disk tier below it ([`DiskTier`]), request collapsing ([`Flights`]), bodies that are read
//! while they fill ([`Fill`]), the purge sequence, and the journal that keeps it ([`Journal`]). What may be stored, reused,
//! revalidated or served stale is decided by the pure functions of `archipel-http` (RFC 9111); their verdicts come in as
//! [`Head::meta`] and as the `pick` closure of [`Store::lookup`].
//!
//! Must never: start a task, open a socket, look into a field's meaning, or hold a lock across an `await`. The caller drives every
//! fill, and says when the journal is written. Only the disk tier has threads, files and a clock (for when to try a failing disk
//! again), and the purge journal a file; neither knows an async runtime.
//!
//! # The way of a request
//! ```text
//! lookup ──hit──────────────────────────────────────────────► serve Stored (Body::cursor)
//!    └─miss─► Flights::join ──Leader───► origin ─► Fill::start ─► publish(Fill) ─► append … finish ─► Store::insert ─► drop(Filling)
//!                           ├─Follower─► await ─► FillReader (streams while it fills) │ Stored │ Alone │ Promoted
//!                           ├─Pass─────► origin, alone: this key was uncacheable a moment ago (hit-for-miss)
//!                           └─Full─────► origin, alone: too many wait already
//! ```
//!
//! # Nothing purged is served again
//! Each purge takes a number from one sequence and is one record in one table: `(zone, scope) -> last soft, last hard number`. Each
//! [`Head`] carries the [`PurgeStamp`] taken *before* its fetch began, and the [`Groups`] that purges may name it by; it is purged by
//! every purge of one of its scopes with a later number. A purge touches no object: records are compared on lookup, and only where one
//! was made since the object was last compared (purges by key and URL also remove what they find in memory at once). Space comes back
//! on lookup, by eviction and by [`Store::reclaim`].
//!
//! What is forgotten purges more, never less: a full table takes what is older in the zone with the most records; [`Store::compact_purges`]
//! takes what is older than its floor, which the caller chooses as the oldest stamp that anything still has. The [`Journal`] holds the
//! table over a crash: [`Store::restore_purges`] at the start, [`Store::persist_purges`] before a purge is acknowledged. An object kept
//! elsewhere keeps its stamp ([`PurgeStamp::sequence`]) and tags, and asks [`Store::purged_since`] before it is served.
//!
//! What visitors make invalid (RFC 9111 section 4.4) is no purge: [`Store::invalidate_url`] removes what is stored, in both tiers, and
//! tells fetches that began before by a bounded memory of each zone, which a flood of them costs nothing but such fetches' storing.
//!
//! # Quotas
//! [`Store::set_quotas`] gives zones queues in memory and files on the disk of their own, of so many bytes; [`Store::zone_uses`] tells
//! what each zone has. See the module `quota` for what is promised.
//!
//! # The disk tier
//! [`Store::open_disk`] puts one below the memory. [`Store::insert`] offers to it what was stored; a request that [`Store::lookup`] does
//! not answer asks [`Store::lookup_disk`], which answers at once what the page cache holds, and else [`Store::lookup_disk_waiting`].
//! What is found is a [`Stored`] like any other: small ones with their body, large ones with one that is [on disk](Body::on_disk).
//! [`Store::start_on_disk`] takes bodies that are too large for memory. A record carries its head's stamp and is compared with the
//! purges when it is read, hence purges need not reach the disk; the journal keeps them.

mod body;
mod disk;
mod fill;
mod flights;
mod groups;
mod hints;
mod invalidations;
mod journal;
mod key;
mod purge;
mod purge_log;
mod queues;
mod quota;
mod shard;
mod stats;
mod store;
mod store_disk;
mod store_purge;
mod store_quota;
mod stored;

pub use body::{Body, BodyCursor, BodyReader};
pub use disk::fuzz as fuzz_disk;
pub use disk::{
    Codec, DiskBody, DiskCounts, DiskLookup, DiskOptions, DiskReadError, DiskStats, DiskStream, DiskTier, DiskWriter,
    Found, WireReader, WireWriter, key_seed,
};
pub use fill::{Fill, FillBudget, FillError, FillOptions, FillReader, FillWriter};
pub use flights::{Filling, FlightLimits, Flights, Follower, Join, LeaderGuard, Outcome, Turn};
pub use groups::{Groups, PREFIX_SEGMENTS_MAX, PrefixGroup, TAGS_MAX, cache_group, purge_group, tag_group, url_group};
pub use journal::{Journal, JournalState, Recovered, decode as decode_journal, encode as encode_journal};
pub use key::{KeyRef, KeyText, UrlParts};
pub use purge::{PurgeKind, PurgeRecord, PurgeStamp, Purged, PurgesSince, Scope, WindowLost};
pub use purge_log::PurgeTable;
pub use quota::{TierUse, ZoneQuota, ZoneUse};
pub use stats::{CacheCounts, CacheStats};
pub use store::{Lookup, Refused, Store, StoreLimits};
pub use stored::{Head, Stored};

#[cfg(test)]
mod body_tests;
#[cfg(test)]
mod fill_tests;
#[cfg(test)]
mod flights_tests;
#[cfg(test)]
mod hit_ratio_tests;
#[cfg(test)]
mod journal_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod quota_tests;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod thread_tests;
#[cfg(test)]
mod workload;
