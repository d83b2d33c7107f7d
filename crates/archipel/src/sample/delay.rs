//! `/slow`: an answer that takes as long as it is told to, and may then be cached. Must never wait longer than its bound.

use std::time::Duration;

use archipel_transport::message::Reply;
use http::StatusCode;

use super::{reply, route};

/// Time without `?ms=`, in milliseconds.
const SLOW_DEFAULT_MS: u64 = 800;
/// The longest time, in milliseconds; who asks for more gets this.
const SLOW_MS_MAX: u64 = 10_000;

/// How long a query makes `/slow` take, in milliseconds.
pub(super) fn bounded_ms(query: &[u8]) -> Result<u64, String> {
    Ok(route::number(query, "ms", SLOW_DEFAULT_MS)?.min(SLOW_MS_MAX))
}

/// Waits, then answers.
pub(super) async fn slow(query: &[u8]) -> Reply {
    match bounded_ms(query) {
        Ok(ms) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            reply::text(StatusCode::OK, "public, max-age=60", format!("This took the origin {ms} ms.\n"))
        }
        Err(wrong) => reply::text(StatusCode::BAD_REQUEST, reply::NO_STORE, wrong),
    }
}
