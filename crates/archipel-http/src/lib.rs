//! HTTP semantics as pure functions over the `http` crate's vocabulary.
//!
//! Owns: what a header field means and what follows from it: dates, cache directives, freshness, storage and reuse
//! decisions, Vary, preconditions, ranges, content codings, invalidation, request targets, cache keys, hop-by-hop fields, forwarding fields,
//! `Cache-Status` and `Proxy-Status`.
//!
//! Must never: open a socket, know an async runtime, read a clock or draw a random number (both are arguments), hold state
//! between calls, or panic on any input.
//!
//! Every refusal, bypass and miss is an enum with `as_str()`, a stable snake_case word for logs and metrics.

pub mod browser;
pub mod cache_control;
pub mod cache_status;
pub mod coding;
pub mod coding_dictionary;
pub mod date;
pub mod deception;
pub mod device;
pub mod fields;
pub mod forwarding;
pub mod freshness;
pub mod fuzz;
pub mod groups;
pub mod hop;
pub mod invalidation;
pub mod key;
pub mod key_parts;
pub mod language;
pub mod list;
pub mod no_vary_search;
pub mod partial;
pub mod path_pattern;
pub mod policy;
pub mod proxy_status;
pub mod query;
pub mod range;
pub mod reuse;
pub mod sink;
mod siphash;
pub mod slices;
pub mod stable_hash;
pub mod storage;
pub mod stored;
mod structured;
pub mod surrogate;
pub mod surrogate_key;
pub mod target;
pub mod targeted;
pub mod validate;
pub mod vary;

pub use date::UnixSeconds;
pub use policy::Policy;
pub use stored::StoredMeta;
