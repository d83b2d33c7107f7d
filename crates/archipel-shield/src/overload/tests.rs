use std::time::Duration;

use super::simulation::{Second, Simulation, Weather};
use super::*;

const BOUNDS: Bounds = Bounds { min: 8, max: 1_024 };
const SEEDS: u64 = 12;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Plays a weather with several seeds; a failure names the one that replays it.
#[track_caller]
fn check(seconds: u64, weather: impl Fn(u64) -> Weather + Copy, holds: impl Fn(&[Second]) -> Result<(), String>) {
    for seed in 1..=SEEDS {
        let played = Simulation::new(BOUNDS, seed).run(seconds, weather);
        for (at, second) in played.iter().enumerate() {
            let within = second.limit == 0 || (BOUNDS.min..=BOUNDS.max).contains(&second.limit);
            assert!(within, "seed {seed}: limit {} in second {at}", second.limit);
        }
        if let Err(why) = holds(&played) {
            let lines: Vec<String> = played
                .iter()
                .enumerate()
                .map(|(at, s)| {
                    format!(
                        "{at:4} s: offered {:5} answered {:5} shed {:5} median {:7.1} ms limit {:4} in flight {:4}",
                        s.offered,
                        s.answered,
                        s.shed,
                        s.median_us() / 1e3,
                        s.limit,
                        s.in_flight
                    )
                })
                .collect();
            panic!("seed {seed}: {why}\n{}", lines.join("\n"));
        }
    }
}

fn sum(of: &[Second], what: fn(&Second) -> u32) -> f64 {
    of.iter().map(|second| f64::from(what(second))).sum()
}

fn want(holds: bool, what: &str, value: impl std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{what}: {value:?}")) }
}

fn median_us(of: &[Second]) -> f64 {
    let mut all: Vec<f64> = of.iter().map(Second::median_us).collect();
    all.sort_unstable_by(f64::total_cmp);
    all[all.len() / 2]
}

#[test]
fn a_site_with_room_never_notices() {
    check(
        120,
        |second| Weather::new(if second % 20 == 5 { 2_000.0 } else { 400.0 }, 200, 20_000.0),
        |played| want(sum(played, |s| s.shed) == 0.0, "shed", sum(played, |s| s.shed)),
    );
}

/// What 16 at a time take 20 ms each for is 800 a second.
fn flooded(from: u64, to: u64) -> impl Fn(u64) -> Weather + Copy {
    move |second| Weather::new(if (from..to).contains(&second) { 3_000.0 } else { 300.0 }, 16, 20_000.0)
}

#[test]
fn an_origin_that_slows_down_under_load_is_kept_fast_and_busy() {
    check(120, flooded(40, 90), |played| {
        let flood = &played[45..90];
        want(median_us(flood) <= 3.0 * 20_000.0, "median at the origin", median_us(flood))?;
        let answered = sum(flood, |s| s.answered) / 45.0;
        want(answered >= 0.93 * 800.0, "answered a second", answered)?;
        let after = sum(&played[92..], |s| s.shed);
        want(after == 0.0, "shed after the flood", after)?;
        let before = sum(&played[..40], |s| s.shed);
        want(before == 0.0, "shed before it", before)
    });
}

#[test]
fn an_origin_that_is_met_in_a_flood_is_understood() {
    check(180, flooded(0, 180), |played| {
        let late = &played[90..];
        want(median_us(late) <= 5.0 * 20_000.0, "median at the origin", median_us(late))?;
        let answered = sum(late, |s| s.answered) / late.len() as f64;
        want(answered >= 0.9 * 800.0, "answered a second", answered)
    });
}

#[test]
fn a_step_in_latency_that_is_not_load_becomes_the_norm() {
    let weather = |second| Weather::new(6_000.0, 5_000, if second < 60 { 20_000.0 } else { 100_000.0 });
    check(120, weather, |played| {
        let late = &played[75..];
        want(sum(late, |s| s.shed) == 0.0, "shed 15 s after the step", sum(late, |s| s.shed))?;
        let share = sum(&played[60..75], |s| s.shed) / sum(&played[60..75], |s| s.offered);
        want(share <= 0.2, "share that is shed while it is understood", share)
    });
}

#[test]
fn an_origin_that_hangs_is_asked_no_more_and_recovers() {
    let weather = |second| Weather::new(2_000.0, if (40..70).contains(&second) { 0 } else { 100 }, 20_000.0);
    check(110, weather, |played| {
        let hanging = &played[60..70];
        want(hanging.iter().all(|s| s.limit == BOUNDS.min), "limit while it hangs", hanging[0].limit)?;
        let most = played.iter().map(|s| s.in_flight).max().unwrap_or(0);
        want(most <= BOUNDS.max, "in flight", most)?;
        let after = &played[80..];
        want(sum(after, |s| s.shed) == 0.0, "shed 10 s after it recovered", sum(after, |s| s.shed))
    });
}

#[test]
fn an_origin_that_gets_worse_for_good_still_gets_what_it_can_answer() {
    let weather = |second| Weather::new(500.0, if second < 40 { 64 } else { 4 }, 20_000.0);
    check(160, weather, |played| {
        let late = &played[60..];
        let answered = sum(late, |s| s.answered) / late.len() as f64;
        want(answered >= 0.9 * 200.0, "answered a second of 200 possible", answered)?;
        want(median_us(late) <= 5.0 * 20_000.0, "median at the origin", median_us(late))
    });
}

#[test]
fn requests_that_wait_at_the_origin_for_news_are_not_load() {
    // Half of them are answered after five seconds: 200 to 300 are always in flight, whatever the origin has to do.
    let weather = |_| Weather { slow_share: 0.5, slow_us: 5_000_000.0, ..Weather::new(100.0, 5_000, 10_000.0) };
    check(180, weather, |played| want(sum(played, |s| s.shed) == 0.0, "shed", sum(played, |s| s.shed)));
}

#[test]
fn nothing_moves_the_limit_out_of_its_bounds() {
    for seed in 1..200u64 {
        let bounds = Bounds { min: (seed % 5) as u32, max: (seed % 7 * 100) as u32 };
        let mut limiter = Limiter::new(bounds);
        let latencies = Latencies::default();
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut now = Duration::ZERO;
        for _ in 0..500 {
            now += Duration::from_millis(next(2_000));
            for _ in 0..next(100) {
                let octave = next(60);
                latencies.observe(next(1 << octave.max(1)));
            }
            let load = Load { in_flight: next(2_000) as u32, peak: next(4_000) as u32, failed: next(50) as u32 };
            limiter.tick(now, load, &latencies);
            let min = bounds.min.max(1);
            let limit = limiter.limit();
            assert!((min..=bounds.max.max(min)).contains(&limit), "seed {seed}: {limit}");
            assert!(limiter.baseline_us().is_finite(), "seed {seed}");
        }
    }
}

#[test]
fn a_quartile_is_right_to_a_few_per_cent() {
    for us in [1u64, 16, 100, 999, 20_000, 1_000_000, 60_000_000] {
        let latencies = Latencies::default();
        (0..101).for_each(|n| latencies.observe(us * (75 + n) / 100));
        let quartile = latencies.take();
        assert_eq!(quartile.count, 101);
        let expected = us.max(17) as f64;
        assert!((quartile.us / expected - 1.0).abs() < 0.07, "{us}: {quartile:?}");
        assert_eq!(latencies.count(), 0);
    }
    assert_eq!(Latencies::default().take(), Quartile::default());
    let longest = Latencies::default();
    longest.observe(u64::MAX);
    assert!(longest.take().us > 100e6);
}

#[test]
fn those_who_wait_go_by_priority_and_nobody_is_shut_out() {
    let mut waiting = Waiting::default();
    for n in 0..20 {
        assert!(waiting.enter(Priority::Known, ("known", n), 64).is_ok());
        assert!(waiting.enter(Priority::Unknown, ("unknown", n), 64).is_ok());
        assert!(waiting.enter(Priority::Background, ("background", n), 64).is_ok());
    }
    let order: Vec<(&str, i32)> = std::iter::from_fn(|| waiting.pop()).collect();
    assert_eq!(order[..7].iter().filter(|(who, _)| *who == "known").count(), 7);
    assert_eq!(order[7], ("background", 0), "one of eight is the last in rank");
    let last_known = order.iter().rposition(|(who, _)| *who == "known").unwrap_or(0);
    let first_unknown = order.iter().position(|(who, _)| *who == "unknown").unwrap_or(0);
    assert!(last_known < first_unknown);
    assert!(waiting.is_empty());
}

#[test]
fn a_full_queue_takes_who_comes_before_others() {
    let mut waiting = Waiting::default();
    let (first, displaced) = waiting.enter(Priority::Unknown, 'a', 2).expect("room");
    assert_eq!(displaced, None);
    assert!(waiting.enter(Priority::Background, 'b', 2).is_ok());
    assert_eq!(waiting.enter(Priority::Background, 'c', 2), Err(Refused));
    assert!(matches!(waiting.enter(Priority::Unknown, 'd', 2), Ok((_, Some('b')))));
    assert!(matches!(waiting.enter(Priority::Known, 'e', 2), Ok((_, Some('d')))), "the last to come gives way");
    assert_eq!(waiting.len(), 2);
    assert!(waiting.leave(first));
    assert!(!waiting.leave(first));
    assert_eq!(waiting.pop(), Some('e'));
    assert_eq!(waiting.pop(), None);
    assert_eq!(waiting.enter(Priority::Known, 'f', 0), Err(Refused));
}

const BREAKER: BreakerSettings = BreakerSettings {
    failures_max: 5,
    failure_ratio: 0.8,
    window: Duration::from_secs(10),
    window_requests_min: 20,
    silence: Duration::from_secs(3),
    pause: Duration::from_secs(2),
    probes_max: 2,
};

fn opened(times: u32, how: Failure) -> Breaker {
    let mut breaker = Breaker::new(BREAKER);
    for n in 0..times {
        breaker.failed(Duration::from_millis(u64::from(n)), how, 0, false);
    }
    breaker
}

#[test]
fn connections_that_fail_in_a_row_open_it() {
    assert_eq!(opened(4, Failure::Connection).state(), BreakerState::Closed);
    let mut breaker = opened(5, Failure::Connection);
    assert_eq!((breaker.state(), breaker.opened()), (BreakerState::Open, 1));
    assert!(matches!(breaker.admit(secs(1)), Verdict::Refuse(wait) if wait <= secs(2)));
    let mut breaker = opened(4, Failure::Connection);
    breaker.answered();
    assert!(!breaker.is_troubled());
    assert!(!breaker.failed(secs(1), Failure::Connection, 1, false), "an answer between them begins anew");
}

#[test]
fn what_is_asked_for_cannot_open_it_while_others_are_answered() {
    let mut breaker = Breaker::new(BREAKER);
    // Somebody asks a thousand times a second for what breaks; one in a hundred others is answered.
    let mut answered = 0;
    for n in 0..60_000u64 {
        if n % 100 == 0 {
            answered += 1;
            breaker.answered();
        }
        assert!(!breaker.failed(Duration::from_millis(n), Failure::Reply, answered, false), "at {n}");
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn an_origin_that_takes_requests_and_answers_none_opens_it_after_a_while() {
    let mut breaker = opened(100, Failure::Reply);
    assert_eq!(breaker.state(), BreakerState::Closed, "not at once: it may be what they ask for");
    assert!(breaker.failed(secs(3), Failure::Reply, 0, false));
}

#[test]
fn a_share_of_failed_connections_opens_it() {
    let mut breaker = Breaker::new(BREAKER);
    let (mut answered, mut opened_at) = (0, None);
    for n in 0..1_000u64 {
        // Four fail, one is answered by a connection that was there already.
        if n % 5 == 4 {
            answered += 1;
            breaker.answered();
        } else if breaker.failed(Duration::from_millis(n * 10), Failure::Connection, answered, false) {
            opened_at = Some(n);
            break;
        }
    }
    assert!(opened_at.is_some_and(|n| (15..=30).contains(&n)), "{opened_at:?}");
    let mut half = Breaker::new(BREAKER);
    for n in 0..1_000u64 {
        half.answered();
        assert!(!half.failed(Duration::from_millis(n * 10), Failure::Connection, n + 1, false), "half of them is less");
    }
}

#[test]
fn few_are_let_through_until_some_are_answered() {
    let mut breaker = opened(5, Failure::Connection);
    let sent = |breaker: &mut Breaker, at| (0..100).filter(|_| breaker.admit(at) == Verdict::Probe).count();
    assert_eq!(sent(&mut breaker, secs(1)), 0);
    assert_eq!(sent(&mut breaker, secs(3)), 2);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert_eq!(sent(&mut breaker, secs(4)), 0, "no more before the pause is over");
    assert_eq!(sent(&mut breaker, secs(6)), 2, "those that hang keep nobody from trying");
    assert!(!breaker.failed(secs(7), Failure::Connection, 0, true));
    assert_eq!(breaker.state(), BreakerState::Open);
    assert_eq!(sent(&mut breaker, secs(8)), 0);
    assert_eq!(sent(&mut breaker, secs(9)), 2);
    breaker.answered();
    assert_eq!(sent(&mut breaker, secs(9)), 2, "an answer lets two more through at once");
    breaker.answered();
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    breaker.answered();
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(breaker.admit(secs(9)), Verdict::Send);
    assert!(!breaker.is_troubled());
    assert_eq!(breaker.opened(), 1);
}

#[test]
fn what_was_sent_before_it_opened_does_not_keep_it_open() {
    let mut breaker = opened(5, Failure::Connection);
    for n in 0..60 {
        breaker.failed(Duration::from_millis(100 + n * 50), Failure::Reply, 0, false);
    }
    assert_eq!(breaker.admit(secs(3)), Verdict::Probe);
}

#[test]
fn an_origin_that_flaps_is_sent_at_most_what_the_pauses_allow() {
    let mut breaker = Breaker::new(BREAKER);
    let (mut answered, mut failed, mut refused) = (0u64, 0, 0);
    // Up for five seconds, down for five, a hundred requests a second, for five minutes.
    for n in 0..30_000u64 {
        let now = Duration::from_millis(n * 10);
        let up = (n / 500) % 2 == 0;
        match breaker.admit(now) {
            Verdict::Refuse(_) => refused += 1,
            verdict if up => {
                answered += 1;
                breaker.answered();
                assert!(verdict == Verdict::Send || breaker.state() != BreakerState::Open);
            }
            verdict => {
                failed += 1;
                breaker.failed(now, Failure::Connection, answered, verdict == Verdict::Probe);
            }
        }
    }
    // Of 15,000 that met it down nearly all were refused at once; of 15,000 that met it up nearly all were answered.
    assert!(failed <= 30 * (5 + 2 * 3), "{failed}");
    assert!(answered >= 15_000 - 30 * 210, "{answered}, {refused}");
}
