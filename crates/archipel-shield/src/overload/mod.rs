//! What keeps an origin from being asked for more than it can answer: how many requests it works on at a time ([`Limiter`]),
//! who waits for a place and for how long ([`Waiting`]), and when it is left alone altogether ([`Breaker`]).
//!
//! All of it is observations and time in, decisions out.

mod breaker;
mod latencies;
mod limiter;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod waiting;

pub use breaker::{Breaker, BreakerSettings, BreakerState, Failure, Verdict};
pub use latencies::{Latencies, Quartile};
pub use limiter::{Bounds, Limiter, Load};
pub use waiting::{Priority, Refused, Waiting};
