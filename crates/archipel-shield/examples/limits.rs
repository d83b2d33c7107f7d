//! What the limits cost a request: `cargo run --release -p archipel-shield --example limits`.
//!
//! One thread, keys in an order that no cache can foresee; the time is that of the processor, of which others may take a share.

use std::hash::{BuildHasher as _, RandomState};
use std::hint::black_box;
use std::io::{Write as _, stdout};
use std::time::{Duration, Instant};

use archipel_shield::limits::{Buckets, Counters, Limit, Rate};

const ROUNDS: u64 = 2_000_000;

fn measure(name: &str, keys: u64, mut ask: impl FnMut(u64, u64)) -> std::io::Result<()> {
    let mut best = f64::MAX;
    let mut at: u64 = 0;
    for _ in 0..5 {
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            at += 1;
            // A step that is prime to the number of keys, so that all of them come, far from each other.
            ask(at.wrapping_mul(7_919) % keys, at);
        }
        best = best.min(begun.elapsed().as_nanos() as f64 / ROUNDS as f64);
    }
    writeln!(stdout(), "{name:<40} {keys:>9} keys {best:>7.1} ns")
}

fn main() -> std::io::Result<()> {
    let buckets = Buckets::new(262_144);
    let seed = foldhash::quality::RandomState::default();
    let rate = Rate::per_second(1_000_000, 1_000_000);
    for keys in [1, 5_000, 100_000, 1_000_000] {
        measure("token bucket, with its hash", keys, |key, at| {
            black_box(buckets.take(seed.hash_one((0_u64, 1_u8, key)), rate, at * 100));
        })?;
    }
    let seed = RandomState::new();
    let limit = Limit { requests: 1_000_000, mitigation: Duration::ZERO };
    for keys in [1, 5_000, 1_000_000] {
        let counters = Counters::new(Duration::from_secs(60), 16_384);
        measure("counter of a rule, with its hash", keys, |key, at| {
            black_box(counters.ask(seed.hash_one(key), &limit, at / 100));
        })?;
    }
    Ok(())
}
