//! The cache store: it keeps, finds, bounds, purges and collapses; it never decides.
//!
//! Owns the memory tier ([`Store`]), request collapsing ([`Flights`]), bodies that are read while they fill ([`Fill`]) and the purge
//! sequence. What may be stored, reused, revalidated or served stale is decided by the pure functions of `archipel-http` (RFC 9111);
//! their verdicts come in as [`Head::meta`] and as the `pick` closure of [`Store::lookup`].
//!
//! Must never: start a task, read a clock, open a socket or a file, look into a field's meaning, or hold a lock across an `await`.
//! The caller drives every fill.
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
//! Each purge takes a number from one sequence. Each [`Head`] carries the [`PurgeStamp`] taken *before* its fetch began; it is purged
//! by every purge of its key, host, zone or of everything with a later number. Purges of zone, host and everything write one record
//! and touch no object: records are compared on lookup, and only where one was made since the object was last compared. Space comes
//! back on lookup, by eviction and by [`Store::reclaim`].
//!
//! # Where the disk tier goes
//! There is no trait for a tier yet, as there is but one tier. The two seams are: `Store::lookup` returning `None` (the caller asks
//! the disk index before it joins a flight, and reads into a [`Fill`], so that followers stream from disk as from an origin), and
//! `Store::make_room`, the one place where objects are evicted (they go to the disk writer's bounded queue there). [`PurgeStamp`]
//! and [`Purged::sequence`] are what the durable purge log has to persist and to replay.

mod body;
mod fill;
mod flights;
mod groups;
mod hints;
mod journal;
mod key;
mod purge;
mod purge_log;
mod shard;
mod stats;
mod store;
mod store_purge;
mod stored;

pub use body::{Body, BodyCursor};
pub use fill::{Fill, FillBudget, FillError, FillOptions, FillReader, FillWriter};
pub use flights::{Filling, FlightLimits, Flights, Follower, Join, LeaderGuard, Outcome, Turn};
pub use groups::{Groups, PREFIX_SEGMENTS_MAX, PrefixGroup, TAGS_MAX, cache_group, purge_group, tag_group, url_group};
pub use journal::{Journal, JournalState, Recovered, decode as decode_journal, encode as encode_journal};
pub use key::{KeyRef, KeyText, UrlParts};
pub use purge::{PurgeKind, PurgeRecord, PurgeStamp, Purged, PurgesSince, Scope, WindowLost};
pub use purge_log::PurgeTable;
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
mod store_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod thread_tests;
#[cfg(test)]
mod workload;
