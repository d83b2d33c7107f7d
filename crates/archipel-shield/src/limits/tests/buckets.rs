use std::time::Duration;

use super::super::*;
use super::hash_of;

/// Ten a second, twenty at once.
fn rate() -> Rate {
    Rate::per_second(10, 20)
}

const MS: u64 = 1_000_000;

fn granted(taken: Taken) -> bool {
    taken == Taken::Granted
}

fn refused_ms(wait_ms: u64) -> Taken {
    Taken::Refused { wait: Duration::from_millis(wait_ms) }
}

#[test]
fn a_bucket_gives_its_burst_and_then_its_rate() {
    let buckets = Buckets::new(1_000);
    assert_eq!((0..100).filter(|_| granted(buckets.take(7, rate(), 0))).count(), 20);
    assert_eq!(buckets.take(7, rate(), 0), refused_ms(100));
    assert_eq!(buckets.take(7, rate(), 40 * MS), refused_ms(60));
    assert_eq!(buckets.take(7, rate(), 100 * MS), Taken::Granted);
    assert_eq!(buckets.take(7, rate(), 100 * MS), refused_ms(100));
    let in_ten_seconds = (1..=1_000).filter(|n| granted(buckets.take(7, rate(), (100 + n * 10) * MS))).count();
    assert!((99..=100).contains(&in_ten_seconds), "{in_ten_seconds}");
    assert!(granted(buckets.take(8, rate(), 0)), "another key has its own");
}

#[test]
fn a_clock_that_lags_gives_nothing() {
    let buckets = Buckets::new(8);
    let now = 3_600_000 * MS;
    assert!((0..20).all(|_| granted(buckets.take(1, rate(), now))));
    assert!(!granted(buckets.take(1, rate(), now - 50 * MS)));
    assert!(granted(buckets.take(1, rate(), now + 100 * MS)));
}

#[test]
fn rates_that_differ_share_a_table() {
    let buckets = Buckets::new(8);
    let slow = Rate::per_second(1, 2);
    assert_eq!((0..100).filter(|_| granted(buckets.take(1, rate(), 0))).count(), 20);
    assert_eq!((0..100).filter(|_| granted(buckets.take(2, slow, 0))).count(), 2);
    assert_eq!(buckets.take(2, slow, 0), refused_ms(1_000));
    assert_eq!(buckets.take(1, rate(), 0), refused_ms(100));
    let fastest = Rate::per_second(u32::MAX, u32::MAX);
    assert!(
        (0..1_000_000).all(|_| granted(buckets.take(3, fastest, 0))),
        "the bounds of a rate are within the clock's"
    );
    let hourly = Rate::new(2, Duration::from_secs(3_600), 1);
    assert!(granted(buckets.take(5, hourly, 0)));
    assert_eq!(buckets.take(5, hourly, 0), refused_ms(1_800_000));
    let slowest = Rate::new(0, Duration::MAX, u32::MAX);
    assert!(granted(buckets.take(4, slowest, u64::MAX / 2)));
}

#[test]
fn a_million_keys_take_no_more_memory_and_free_nobody() {
    let buckets = Buckets::new(10_000);
    let bytes = buckets.bytes();
    assert_eq!(bytes, 16_384 * 16);
    let offenders: Vec<u64> = (0..200).map(hash_of).collect();
    for offender in &offenders {
        while granted(buckets.take(*offender, rate(), 0)) {}
    }
    for stranger in 1_000..1_001_000 {
        assert!(granted(buckets.take(hash_of(stranger), rate(), 0)), "a newcomer is served");
    }
    let freed = offenders.iter().filter(|offender| granted(buckets.take(**offender, rate(), 0))).count();
    assert_eq!(freed, 0, "whoever is limited stays limited while others pour in");
    assert_eq!(buckets.bytes(), bytes);
    let counts = buckets.counts();
    assert!(counts.evicted_full + counts.evicted_limited > 900_000, "{counts:?}");
}

#[test]
fn what_is_full_again_goes_before_what_is_not() {
    let buckets = Buckets::new(8);
    let keys: Vec<u64> = (1..=8).map(|n| n * 64).collect();
    for key in &keys[1..] {
        while granted(buckets.take(*key, rate(), 0)) {}
    }
    assert!(granted(buckets.take(keys[0], rate(), 0)));
    assert!(granted(buckets.take(9 * 64, rate(), 200 * MS)));
    assert_eq!(buckets.counts(), BucketCounts { evicted_full: 1, evicted_limited: 0 });
}

#[test]
fn a_table_full_of_the_limited_still_limits_and_counts() {
    let buckets = Buckets::new(8);
    let keys: Vec<u64> = (1..=9).map(|n| n * 64).collect();
    for key in &keys {
        while granted(buckets.take(*key, rate(), 0)) {}
    }
    assert_eq!(buckets.counts().evicted_limited, 1, "one of nine had to go, and is counted");
}

#[test]
fn threads_do_not_get_more_than_there_is() {
    let buckets = Buckets::new(64);
    let rate = Rate::per_second(1, 1_000);
    let granted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..1_000).filter(|_| granted(buckets.take(5, rate, 0))).count())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    });
    // Each thread may find the place empty at once, and make the bucket anew.
    assert!((1_000..=1_003).contains(&granted), "{granted}");
}
