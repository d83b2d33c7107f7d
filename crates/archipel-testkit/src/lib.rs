//! The test kit: scripted origins and clients that are exact about bytes.
//!
//! Owns what tests need to stand on both sides of the edge: an origin that
//! does as it is told ([`origin`], [`played`], [`ranges`], [`h2origin`]), clients that read strictly by the
//! framing rules ([`client`], [`h2raw`], [`h2client`]), the child process under test ([`edge`]),
//! hosts of the test's own ([`namespace`]), scenario files ([`case`], [`play`]) and small deterministic helpers ([`chance`]).
//!
//! It must never be a dependency of a crate that ships, never share parsing code with the crates under
//! test (a shared mistake would pass unseen), never wait by sleeping, and never bind anything but
//! loopback where the test itself runs.

pub mod case;
pub mod chance;
pub mod client;
pub mod coded;
pub mod edge;
pub mod h2client;
pub mod h2origin;
pub mod h2raw;
pub mod hpack;
pub mod message;
pub mod mmdb;
pub mod namespace;
pub mod origin;
pub mod play;
pub mod played;
pub mod ranges;
pub mod text;
pub mod tls;
pub mod wire;

use std::future::Future;
use std::time::Duration;

/// How long one awaited event may take before the test fails, in seconds. Generous because it only bites on failure.
pub const STEP_SECONDS_MAX: u64 = 20;

/// Awaits `work`, or fails naming `what` when it takes longer than [`STEP_SECONDS_MAX`].
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(Duration::from_secs(STEP_SECONDS_MAX), work)
        .await
        .map_err(|_| anyhow::anyhow!("nothing happened for {STEP_SECONDS_MAX} s: {what}"))
}
