//! A zone's traffic, made up from a seed: people, and attacks of several kinds among them.

use super::*;

/// What an attack is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing happens.
    Nothing,
    /// One path, one kind of client, many addresses.
    SinglePath,
    /// A new query for each request, so that the cache answers none.
    CacheBusting,
    /// A new user agent for each request, on one TLS stack.
    RotatingAgents,
    /// What a browser sends, to all the paths that people ask for.
    Mimicry,
    /// Log-ins.
    Logins,
    /// From the network that a third of the people are in.
    SameNetwork,
    /// Ten times the people.
    FlashCrowd,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Seconds from the beginning until what passed was at most half as much again as usual.
    pub(crate) seconds: Option<f64>,
    /// Requests of people, and of these the ones that rules blocked or challenged.
    pub(crate) people: u64,
    pub(crate) blocked: u64,
    pub(crate) challenged: u64,
    /// Requests of the attack after mitigation, and of these the ones that passed.
    pub(crate) hostile: u64,
    pub(crate) passed: u64,
    /// Seconds after the end until no rule was left.
    pub(crate) gone: Option<f64>,
    pub(crate) states: Vec<State>,
}

pub(crate) struct World {
    random: u64,
    people_rps: f64,
    kind: Kind,
}

const START_MS: u64 = 1_700_000_000_000;
const CALM_TICKS_BEFORE: u64 = 600;
const ATTACK_TICKS: u64 = 60;

impl World {
    pub(crate) fn new(kind: Kind, seed: u64) -> Self {
        Self { random: seed.wrapping_mul(0x9e37_79b9) | 1, people_rps: 500.0, kind }
    }

    fn below(&mut self, bound: u32) -> u32 {
        (next_random(&mut self.random) % u64::from(bound)) as u32
    }

    /// One of `count` values, each less usual than the one before.
    fn zipf(&mut self, count: u32) -> u32 {
        let uniform = (next_random(&mut self.random) >> 11) as f64 / (1u64 << 53) as f64;
        ((f64::from(count) + 1.0).powf(uniform) as u32).clamp(1, count)
    }

    fn person(&mut self) -> Sample {
        let browser = self.zipf(12);
        let network = if self.below(3) == 0 { 7 } else { 100 + self.below(400) };
        let path = self.zipf(200);
        let post = self.below(20) == 0;
        let features = Features::default()
            .with(Feature::Ja4, 1000 + browser)
            .with(Feature::Ja4Ciphers, 2000 + browser / 2)
            .with(Feature::Protocol, 3000 + browser % 3)
            .with(Feature::HeaderOrder, 4000 + browser)
            .with(Feature::UserAgent, 5000 + browser * 10 + self.below(6))
            .with(Feature::Network, network)
            .with(Feature::Country, 1 + self.zipf(20))
            .with(Feature::Manners, 1 + u32::from(self.below(10) < 8))
            .with(Feature::PathTemplate, 6000 + path)
            .with(Feature::QueryShape, 7000 + self.zipf(10))
            .with(Feature::Method, if post { 2 } else { 1 })
            .with(Feature::CacheStatus, 1 + u32::from(self.below(10) < 8));
        Sample { features, address: u64::from(network << 16 | self.below(2_000)) }
    }

    fn attacker(&mut self) -> Sample {
        let mut sample = self.person();
        let bot = sample
            .features
            .with(Feature::Ja4, 99)
            .with(Feature::Ja4Ciphers, 98)
            .with(Feature::HeaderOrder, 97)
            .with(Feature::UserAgent, 96)
            .with(Feature::Protocol, 3000)
            .with(Feature::Manners, 1);
        let any = self.below(1 << 30);
        sample.address = u64::from(self.below(5_000)) << 32;
        sample.features = match self.kind {
            Kind::SinglePath => bot.with(Feature::PathTemplate, 6001).with(Feature::Network, self.below(5_000) + 1_000),
            Kind::CacheBusting => bot.with(Feature::QueryShape, any + 10_000).with(Feature::CacheStatus, 1),
            Kind::RotatingAgents => bot.with(Feature::UserAgent, any + 10_000),
            Kind::Logins => {
                bot.with(Feature::PathTemplate, 9_999).with(Feature::Method, 2).with(Feature::UserAgent, 5_010)
            }
            Kind::SameNetwork => bot.with(Feature::Network, 7),
            Kind::Nothing | Kind::Mimicry | Kind::FlashCrowd => sample.features,
        };
        sample
    }

    pub(crate) fn run(&mut self, seed: u64) -> Outcome {
        let mut detector = Detector::new(Settings::default(), seed);
        let mut outcome = Outcome::default();
        let mut now = START_MS;
        for _ in 0..CALM_TICKS_BEFORE {
            self.tick(&mut detector, now, 0.0, &mut Outcome::default());
            now += TICK_MS;
        }
        let hostile_rps = match self.kind {
            Kind::Nothing => 0.0,
            Kind::FlashCrowd => self.people_rps * 9.0,
            _ => 20_000.0,
        };
        for tick in 0..ATTACK_TICKS {
            let passed = self.tick(&mut detector, now, hostile_rps, &mut outcome);
            outcome.states.push(detector.state());
            now += TICK_MS;
            if outcome.seconds.is_none() && passed <= self.people_rps * 1.5 {
                outcome.seconds = Some((tick as f64 + 1.0) * TICK_MS as f64 / 1000.0);
                (outcome.hostile, outcome.passed) = (0, 0);
            }
        }
        let end = now;
        while outcome.gone.is_none() && now < end + 600_000 {
            if detector.rules().all().is_empty() {
                outcome.gone = Some((now - end) as f64 / 1000.0);
            }
            self.tick(&mut detector, now, 0.0, &mut Outcome::default());
            now += TICK_MS;
        }
        outcome
    }

    /// One tick; what passed, requests a second.
    fn tick(&mut self, detector: &mut Detector, now: u64, hostile_rps: f64, outcome: &mut Outcome) -> f64 {
        let seconds = TICK_MS as f64 / 1000.0;
        let mut sampler = Sampler::new(self.random);
        let (mut matched, mut held_off, mut passed) = (std::collections::BTreeMap::new(), 0, 0);
        // A little more or less in each tick, as people come.
        let people = (self.people_rps * seconds) as u64 + u64::from(self.below(51)) - 25;
        let hostile = (hostile_rps * seconds) as u64;
        for at in 0..people + hostile {
            let human = at < people || self.kind == Kind::FlashCrowd;
            let sample = if at < people { self.person() } else { self.attacker() };
            if let Some(rule) = detector.rules().matching(&sample.features) {
                *matched.entry(rule.id).or_insert(0) += 1;
            }
            let action = detector.rules().active(&sample.features).map(|rule| rule.action);
            if action.is_none() {
                sampler.observe(|| sample);
            }
            held_off += u64::from(action.is_some());
            passed += u64::from(action.is_none());
            if human {
                outcome.people += 1;
                outcome.blocked += u64::from(action == Some(Action::Block));
                outcome.challenged += u64::from(action == Some(Action::Challenge));
            } else {
                outcome.hostile += 1;
                outcome.passed += u64::from(action.is_none());
            }
        }
        let (_, samples) = sampler.drain();
        let requests = people + hostile;
        let flood = passed as f64 > self.people_rps * seconds * 3.0 && self.kind != Kind::FlashCrowd;
        let health = Health { origin_limited: flood, hit_ratio: if flood { 0.1 } else { 0.8 }, ..Health::default() };
        let counts = Counts {
            requests,
            matched: matched.into_iter().collect(),
            held_off,
            shared_out: 0,
            unusual: false,
            health,
        };
        detector.tick(now, &counts, &samples);
        passed as f64 / seconds
    }
}
