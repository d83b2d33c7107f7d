use super::*;

const RATE: Rate = Rate { per_second: 10.0, burst: 20 };

fn granted(taken: Taken) -> bool {
    matches!(taken, Taken::Granted { .. })
}

#[test]
fn a_bucket_gives_its_burst_and_then_its_rate() {
    let buckets = Buckets::new(1_000, RATE);
    assert_eq!(buckets.take(7, 0), Taken::Granted { left: 19 });
    assert_eq!((1..100).filter(|_| granted(buckets.take(7, 0))).count(), 19);
    assert_eq!(buckets.take(7, 0), Taken::Refused { wait_ms: 100 });
    assert_eq!(buckets.take(7, 40), Taken::Refused { wait_ms: 60 });
    assert_eq!(buckets.take(7, 100), Taken::Granted { left: 0 });
    let in_ten_seconds = (1..=1_000).filter(|ms| granted(buckets.take(7, 100 + ms * 10))).count();
    assert!((99..=100).contains(&in_ten_seconds), "{in_ten_seconds}");
    assert!(granted(buckets.take(8, 0)), "another key has its own");
}

#[test]
fn time_may_wrap_and_lag() {
    let buckets = Buckets::new(8, RATE);
    let wrap = u64::from(u32::MAX);
    assert!((0..20).all(|_| granted(buckets.take(1, wrap - 10))));
    assert!(!granted(buckets.take(1, wrap - 50)), "a clock that lags gives nothing");
    assert!(granted(buckets.take(1, wrap + 100)), "a clock that wraps goes on");
}

#[test]
fn a_million_keys_take_no_more_memory_and_free_nobody() {
    let buckets = Buckets::new(10_000, RATE);
    let bytes = buckets.bytes();
    assert_eq!(bytes, 16_384 * 16);
    let offenders: Vec<u64> = (0..200).map(foldhash_of).collect();
    for offender in &offenders {
        while granted(buckets.take(*offender, 0)) {}
    }
    for stranger in 1_000..1_001_000 {
        assert!(granted(buckets.take(foldhash_of(stranger), 0)), "a newcomer is served");
    }
    let freed = offenders.iter().filter(|offender| granted(buckets.take(**offender, 0))).count();
    assert_eq!(freed, 0, "whoever is limited stays limited while others pour in");
    assert_eq!(buckets.bytes(), bytes);
    let counts = buckets.counts();
    assert!(counts.evicted_full + counts.evicted_limited > 900_000, "{counts:?}");
}

#[test]
fn a_table_full_of_the_limited_still_limits_and_counts() {
    let buckets = Buckets::new(8, RATE);
    let keys: Vec<u64> = (1..=9).map(|n| n * 64).collect();
    for key in &keys {
        while granted(buckets.take(*key, 0)) {}
    }
    assert_eq!(buckets.counts().evicted_limited, 1, "one of nine had to go, and is counted");
}

#[test]
fn threads_do_not_get_more_than_there_is() {
    let buckets = Buckets::new(64, Rate { per_second: 0.0, burst: 1_000 });
    let granted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..1_000).filter(|_| matches!(buckets.take(5, 0), Taken::Granted { .. })).count()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    });
    // Each thread may find the place empty at once, and make the bucket anew.
    assert!((1_000..=1_003).contains(&granted), "{granted}");
}

fn foldhash_of(n: u64) -> u64 {
    use std::hash::BuildHasher as _;
    foldhash::quality::FixedState::default().hash_one(n)
}
