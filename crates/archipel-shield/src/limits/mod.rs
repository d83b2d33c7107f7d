//! Limits: token buckets, which all workers share without a lock, and counters of what happened in a period. Both are bounded in memory,
//! and say what they had to forget.

mod buckets;
mod counters;
mod sketch;
#[cfg(test)]
mod tests;
mod window;

pub use buckets::{BURST_MAX, BucketCounts, Buckets, Rate, Taken};
pub use counters::{CounterCounts, Counters, KEYS_MIN, Limit, Standing};
