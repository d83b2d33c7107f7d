//! Tables of token buckets: bounded, shared by all workers, without a lock.

mod buckets;
#[cfg(test)]
mod tests;

pub use buckets::{BucketCounts, Buckets, Rate, Taken};
