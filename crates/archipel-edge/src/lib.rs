//! The edge: what happens to a request between the wire and the reply.
//!
//! Owns the order of the stages ([`pipeline`]), one module a stage, the pools of origin connections, the error pages,
//! the metrics and the access log. Must never parse bytes of a protocol (that is `archipel-transport`), decide what a
//! field means (`archipel-http`), or keep objects (`archipel-cache`).

pub mod access_log;
mod body;
mod cache;
mod clock;
pub mod error_page;
pub mod exchange;
pub mod explain;
pub mod firewall;
mod geo;
pub mod hit_table;
pub mod inspect;
pub mod live;
pub mod metrics;
#[cfg(test)]
mod model_tests;
mod node;
mod origin;
mod overload;
mod phases;
mod pipeline;
mod pool;
mod purge;
pub mod reasons;
mod record;
mod resolve;
mod route;
pub mod rule_files;
mod shield;
mod traces;
mod transform;
mod worker;
mod zone;

pub use cache::codec::fuzz as fuzz_stored_meta;
pub use explain::{ExplainRequest, Explanation, Verdict};
pub use firewall::event::FirewallEvent;
pub use firewall::managed::check_managed_rules;
pub use firewall::multipart::fuzz as fuzz_multipart;
pub use firewall::reference::{rules_reference_json, rules_reference_text};
pub use firewall::test::RuleTest;
pub use geo::{GeoError, check_geo};
pub use hit_table::{PathHits, ZoneHits};
pub use inspect::Inspection;
pub use metrics::LiveCounts;
pub use node::{Node, NodeError, TierStored, ZoneStored, server_settings};
pub use overload::OriginStatus;
pub use phases::encode::fuzz as fuzz_encode;
pub use purge::{
    PURGE_RECORDS_MAX, PURGES_PER_CALL_MAX, Purge, PurgeError, PurgeRecordReport, PurgeReport, PurgesMade,
    PurgesSinceReport, TokenError, bearer_token,
};
pub use shield::kernel::End as KernelEnd;
pub use shield::rates::RateLimitReport;
pub use shield::{Decide, DecideError, RuleStatus, ShieldStatus, ZoneShieldStatus};
pub use worker::Edge;
