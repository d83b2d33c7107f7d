use std::collections::HashMap;
use std::time::Duration;

use super::super::*;
use super::hash_of;

const PERIOD: Duration = Duration::from_secs(10);
/// The period in slices of a second, and the slice under way.
const WINDOW_MS: u64 = 11_000;

fn throttle(requests: u32) -> Limit {
    Limit { requests, mitigation: Duration::ZERO }
}

fn counters() -> Counters {
    Counters::new(PERIOD, 16_384)
}

fn passes(standing: Standing) -> bool {
    !standing.refused
}

/// Numbers that a seed gives (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % n
    }
}

#[test]
fn as_many_pass_as_are_allowed() {
    let counters = counters();
    let limit = throttle(3);
    let left: Vec<u32> = (0..3).map(|_| counters.ask(1, &limit, 500).left).collect();
    assert_eq!(left, [2, 1, 0]);
    let refused = counters.ask(1, &limit, 700);
    assert_eq!(
        refused,
        Standing { refused: true, begins: true, left: 0, wait: Duration::from_millis(WINDOW_MS - 700) }
    );
    let again = counters.ask(1, &limit, 5_000);
    assert_eq!(again, Standing { begins: false, wait: Duration::from_millis(WINDOW_MS - 5_000), ..refused });
    assert!(passes(counters.ask(2, &limit, 5_000)), "another key has its own");
    assert!(!passes(counters.ask(1, &limit, WINDOW_MS - 1)));
    assert!(passes(counters.ask(1, &limit, WINDOW_MS)));
    let counts = counters.counts();
    assert_eq!((counts.counted, counts.refused, counts.estimated, counts.keys), (5, 3, 0, 2));
}

#[test]
fn what_leaves_the_window_makes_room() {
    let counters = counters();
    let limit = throttle(4);
    for now_ms in [100, 1_100, 1_200, 9_900] {
        assert!(passes(counters.ask(1, &limit, now_ms)));
    }
    let refused = counters.ask(1, &limit, 10_500);
    assert_eq!(refused.wait, Duration::from_millis(500), "the first was in the first slice");
    let one = counters.ask(1, &limit, 11_000);
    assert_eq!((one.refused, one.left, one.wait), (false, 0, Duration::from_secs(1)));
    let two = counters.ask(1, &limit, 12_000);
    assert_eq!((two.refused, two.left), (false, 1), "two left at once");
    assert_eq!(
        counters.peek(1, &limit, 100_000),
        Standing { refused: false, begins: false, left: 4, wait: Duration::ZERO }
    );
}

#[test]
fn a_mitigation_lasts_whatever_the_count_is() {
    let counters = counters();
    let limit = Limit { requests: 2, mitigation: Duration::from_secs(60) };
    assert!((0..2).all(|_| passes(counters.ask(1, &limit, 0))));
    let first = counters.ask(1, &limit, 4_000);
    assert_eq!(first, Standing { refused: true, begins: true, left: 0, wait: Duration::from_secs(60) });
    let later = counters.ask(1, &limit, 63_999);
    assert_eq!((later.refused, later.begins, later.wait), (true, false, Duration::from_millis(1)));
    assert_eq!(counters.limited(&limit, 63_999), 1);
    assert_eq!(counters.limited(&limit, 64_000), 0);
    assert!(passes(counters.ask(1, &limit, 64_000)), "refusals do not make it longer");
}

#[test]
fn what_counts_may_be_known_later() {
    let counters = counters();
    let limit = Limit { requests: 3, mitigation: Duration::from_secs(60) };
    for attempt in 0..3 {
        assert_eq!(counters.check(1, &limit, 100).left, 3 - attempt);
        counters.add(1, 200);
    }
    assert!((0..100).all(|_| passes(counters.check(2, &limit, 300))), "nothing of it counted");
    assert_eq!(counters.counts().keys, 1, "who was never counted has no place");
    let refused = counters.check(1, &limit, 300);
    assert_eq!((refused.begins, refused.wait), (true, Duration::from_secs(60)));
    counters.add(1, 60_000);
    assert!(passes(counters.check(1, &limit, 60_300)));
}

/// Slot by slot the same as a plain list of moments, for many seeds: and never more than allowed in any stretch of a period.
#[test]
fn counts_are_exact_while_there_is_room() {
    for seed in 1..=40 {
        let mut numbers = Numbers(seed);
        let limit = throttle(1 + numbers.below(20) as u32);
        let (counters, mut now_ms) = (counters(), numbers.below(1_000_000));
        let mut granted: HashMap<u64, Vec<u64>> = HashMap::new();
        for _ in 0..5_000 {
            let pause_max = 1 << numbers.below(14);
            now_ms += numbers.below(pause_max);
            let key = numbers.below(30);
            let moments = granted.entry(key).or_default();
            let counted = |from: u64| moments.iter().filter(|at| **at >= from).count();
            let expected = counted((now_ms / 1_000).saturating_sub(10) * 1_000) < limit.requests as usize;
            assert_eq!(passes(counters.ask(hash_of(key), &limit, now_ms)), expected, "seed {seed}, at {now_ms}");
            if expected {
                moments.push(now_ms);
                let in_period = moments.iter().filter(|at| **at + 10_000 >= now_ms).count();
                assert!(in_period <= limit.requests as usize, "seed {seed}");
            }
        }
        assert_eq!(counters.counts().estimated, 0);
    }
}

#[test]
fn a_million_keys_take_no_more_memory_and_free_nobody() {
    let counters = counters();
    let lasting = Limit { requests: 20, mitigation: Duration::from_secs(60) };
    let offenders: Vec<u64> = (0..500).map(hash_of).collect();
    for offender in &offenders {
        while passes(counters.ask(*offender, &lasting, 0)) {}
    }
    let mut refused = 0;
    for stranger in 1_000..1_001_000 {
        refused += u64::from(!passes(counters.ask(hash_of(stranger), &lasting, stranger / 200)));
    }
    assert!(refused < 200, "strangers that come once are served: {refused} of a million were not");
    assert!(offenders.iter().all(|offender| !passes(counters.ask(*offender, &lasting, 5_100))));
    let counts = counters.counts();
    assert_eq!(counts.bytes, counters.bytes_max() as u64);
    assert_eq!(counters.bytes_max(), 16_384 * (64 + 48));
    assert_eq!(counts.keys, 16_384);
    assert!(counts.estimated > 900_000, "{counts:?}");
}

#[test]
fn who_asks_too_often_is_found_among_a_million_others() {
    let counters = counters();
    let limit = throttle(50);
    let (mut passed, mut unlucky) = ([0; 200], 0);
    for stranger in 0..1_000_000_u64 {
        let now_ms = stranger / 100;
        unlucky += u64::from(!passes(counters.ask(hash_of(stranger), &limit, now_ms)));
        if stranger % 5_000 == 0 {
            // 200 times in all, of which 50 may pass in a period.
            for (offender, passed) in passed.iter_mut().enumerate() {
                *passed += u64::from(passes(counters.ask(hash_of(1 << 40 | offender as u64), &limit, now_ms)));
            }
        }
    }
    assert!(passed.iter().all(|passed| (1..=110).contains(passed)), "{passed:?}");
    let mean = passed.iter().sum::<u64>() as f64 / passed.len() as f64;
    assert!((25.0..=75.0).contains(&mean), "{mean} of 50");
    assert!(unlucky < 100, "{unlucky} of a million strangers");
}

#[test]
fn a_table_full_of_the_limited_still_limits_and_counts() {
    let counters = Counters::new(PERIOD, KEYS_MIN);
    let limit = Limit { requests: 5, mitigation: Duration::from_secs(60) };
    for key in (0..10_000).map(hash_of) {
        let passed = (0..5_000).take_while(|_| passes(counters.ask(key, &limit, 0))).count();
        assert!(passed < 5_000, "what shares the sketch with thousands is limited late, but it is");
    }
    let counts = counters.counts();
    assert_eq!(counts.bytes, counters.bytes_max() as u64);
    assert!(counts.unremembered > 9_000, "{counts:?}");
}

#[test]
fn workers_share_what_they_counted() {
    let counters = counters();
    let limit = throttle(1_000);
    let passed: usize = std::thread::scope(|scope| {
        let ask = || (0..1_000).filter(|_| passes(counters.ask(7, &limit, 0))).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    });
    assert_eq!(passed, 1_000);
}

#[test]
fn clocks_may_lag_and_stand_anywhere() {
    let counters = counters();
    let limit = throttle(2);
    let late = u64::MAX / 4;
    assert!(passes(counters.ask(1, &limit, late)) && passes(counters.ask(1, &limit, late - 3_000)));
    assert!(!passes(counters.ask(1, &limit, late - 1)));
    let shortest = Counters::new(Duration::ZERO, 0);
    assert!(passes(shortest.ask(0, &limit, 0)) && passes(shortest.ask(0, &limit, u64::MAX)));
    let longest = Counters::new(Duration::MAX, 0);
    assert!(passes(longest.ask(0, &limit, u64::MAX)));
}
