use super::simulation::{Kind, Outcome, World};
use super::*;

/// Seeds of each scenario; a failing one is in the message and replays alone.
const SEEDS: u64 = 6;

#[track_caller]
fn check(kind: Kind, holds: impl Fn(&Outcome) -> bool) {
    for seed in 1..=SEEDS {
        let outcome = World::new(kind, seed).run(seed);
        assert!(holds(&outcome), "{kind:?}, seed {seed}: {outcome:?}");
    }
}

/// Found within four seconds; hardly a person is hindered; hardly anything passes; the rules go.
fn held_off(outcome: &Outcome) -> bool {
    outcome.seconds.is_some_and(|seconds| seconds <= 4.0)
        && outcome.blocked * 1_000 <= outcome.people
        && outcome.challenged * 100 <= outcome.people
        && outcome.passed * 50 <= outcome.hostile
        && outcome.gone.is_some_and(|seconds| seconds <= 120.0)
}

#[test]
fn attacks_with_a_signature_are_held_off() {
    for kind in [Kind::SinglePath, Kind::CacheBusting, Kind::RotatingAgents, Kind::Logins, Kind::SameNetwork] {
        check(kind, held_off);
    }
}

#[test]
fn a_crowd_of_people_is_let_in() {
    check(Kind::FlashCrowd, |outcome| {
        outcome.blocked == 0 && outcome.challenged == 0 && outcome.states.contains(&State::FlashCrowd)
    });
}

#[test]
fn calm_traffic_stays_calm() {
    check(Kind::Nothing, |outcome| {
        outcome.blocked + outcome.challenged == 0 && outcome.states.iter().all(|s| *s == State::Calm)
    });
}

#[test]
fn what_looks_like_people_is_not_guessed_at() {
    check(Kind::Mimicry, |outcome| outcome.blocked == 0 && outcome.states.contains(&State::Unrecognised));
}

#[test]
fn a_failing_origin_alone_hinders_nobody() {
    let mut detector = Detector::new(Settings::default(), 1);
    let calm = Counts { requests: 250, ..Counts::default() };
    let sick = Counts { health: Health { origin_errors: 1.0, ..Health::default() }, ..calm.clone() };
    let sample = Sample { features: Features::default().with(Feature::UserAgent, 5), address: 1 };
    let samples = vec![sample; 250];
    let mut now = 0;
    for _ in 0..600 {
        detector.tick(now, &calm, &samples);
        now += TICK_MS;
    }
    for _ in 0..60 {
        let state = detector.tick(now, &sick, &samples);
        assert!(matches!(state, State::Calm | State::Suspicious), "{state:?}");
        now += TICK_MS;
    }
    assert!(detector.rules().all().is_empty());
}

#[test]
fn rules_obey_the_operator() {
    let mut rules = Rules::default();
    let attributes = vec![Attribute { feature: Feature::UserAgent, value: 7 }];
    let signature = Signature { attributes, precision: 1.0, baseline_share: 0.0, usual_rps: 0.0, excess_rps: 1000.0 };
    let rule = |id| Rule::new(id, 0, signature.clone(), Action::Block, Alarm::Origin);
    assert!(rules.take(rule(1), 8));
    assert!(!rules.take(rule(2), 8), "the same signature is the same rule");
    let hit = Features::default().with(Feature::UserAgent, 7);
    assert_eq!(rules.active(&hit).map(|rule| rule.id), Some(1));
    assert!(
        rules.decide(1, Some(Decision::Veto), 8).is_ok() && rules.active(&hit).is_none(),
        "a vetoed rule never acts"
    );
    assert_eq!(rules.matching(&hit).map(|rule| rule.id), Some(1), "but what it would do is counted");
    assert!(rules.decide(1, Some(Decision::Pin), 8).is_ok());
    rules.age(10_000_000, &Settings::default(), &[]);
    assert!(rules.active(&hit).is_some(), "a pinned rule stays");
    assert!(rules.decide(1, None, 8).is_ok());
    rules.age(10_000_000, &Settings::default(), &[]);
    assert!(rules.all().is_empty(), "and goes when nobody holds it");
    assert_eq!(rules.decide(9, None, 8), Err(Undecided::NoRule));
}

#[test]
fn what_is_known_outlives_a_restart() {
    let mut detector = Detector::new(Settings::default(), 1);
    let sample = |at: u64| {
        let features = Features::default().with(Feature::UserAgent, at as u32 % 7 + 1).with(Feature::Method, 3);
        Sample { features, address: at }
    };
    let samples: Vec<_> = (0..250).map(sample).collect();
    for tick in 0..300 {
        detector.tick(tick * TICK_MS, &Counts { requests: 250, ..Counts::default() }, &samples);
    }
    let attributes = vec![Attribute { feature: Feature::UserAgent, value: 7 }];
    let signature = Signature { attributes, precision: 1.0, baseline_share: 0.0, usual_rps: 0.0, excess_rps: 1000.0 };
    detector.adopt(9, Alarm::Node, signature);
    detector.name(1, vec!["\"seven\"".into()], "GET /".into());
    assert_eq!(detector.decide(1, Some(Decision::Veto)), Ok(()));
    let mut bytes = Vec::new();
    detector.encode(&mut bytes);
    let again = Detector::decode(Settings::default(), 2, &bytes).expect("what was written");
    assert_eq!(again.rules(), detector.rules());
    assert_eq!(again.usual_rps(0), detector.usual_rps(0));
    assert!(again.usual_rps(0).is_some() && again.baseline().samples().len() == 2_048);
    for cut in (0..bytes.len()).step_by(97) {
        assert!(Detector::decode(Settings::default(), 2, &bytes[..cut]).is_none(), "cut at {cut}");
    }
    // Nothing that a disk may make of them is more than not understood.
    let mut random = 5;
    for _ in 0..2_000 {
        let mut broken = bytes.clone();
        let at = next_random(&mut random) as usize % broken.len();
        broken[at] ^= 1 << (next_random(&mut random) % 8);
        let _ = Detector::decode(Settings::default(), 2, &broken);
    }
}

#[test]
fn a_sample_is_as_large_as_allowed_and_fair() {
    let mut sampler = Sampler::new(5);
    for address in 0..100_000 {
        sampler.observe(|| Sample { features: Features::default(), address });
    }
    let (seen, samples) = sampler.drain();
    assert_eq!((seen, samples.len()), (100_000, 512));
    let late = samples.iter().filter(|sample| sample.address >= 50_000).count();
    assert!((200..=312).contains(&late), "{late} of 512 are of the second half");
    let merged = sample::merge(&[(1_000, samples.clone()), (3_000, samples)], 512);
    assert!(merged.len() <= 512 && merged.len() > 300, "{}", merged.len());
}
