//! The scenarios: what each sends when, and which figures have to hold for it.

use clap::ValueEnum;

use super::Options;
use super::addresses::{Side, attacker, neighbour};
use super::bots::{Asks, Bots, Tactics};
use super::engine::{ATTACK, Load};
use super::figures::{Phases, SECOND_US};
use super::people::{Habits, People};
use super::rate::{Rate, Shape};
use super::slow::Slow;
use super::streams::{Streams, Trick};

/// Attackers, each with an address of its own.
const BOTS: u64 = 5_000;
/// Addresses of the scenario with the most of them, each of which asks once.
const MANY_BOTS: u64 = 1_000_000;
/// Requests a second there: each costs both sides a connection.
const MANY_RPS: f64 = 10_000.0;
/// Pulses: on and off.
const PULSE_US: (u64, u64) = (10 * SECOND_US, 20 * SECOND_US);
/// Pulses that are sent at least.
const PULSES: u64 = 4;
/// How long a baseline is poisoned, and up to which share of what people send.
const CREEP_US: u64 = 60 * SECOND_US;
const CREEP_SHARE: f64 = 0.2;
/// How many times the usual number of people a crowd is, and for how long.
const CROWD_FACTOR: f64 = 10.0;
const CROWD_US: u64 = 60 * SECOND_US;
/// Longest time after an attack that a server is watched.
const CALM_US: u64 = 130 * SECOND_US;
/// The same where it has no rules that could go.
const CALM_PEER_US: u64 = 10 * SECOND_US;

/// A scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Scenario {
    /// One page that is made for each visitor, one kind of client
    SinglePath,
    /// A stored page, each time with a query of its own
    CacheBusting,
    /// A user agent of its own for each request, the rest from one program
    RotatingAgents,
    /// The log-in form, each time with another name and password
    Logins,
    /// As `single-path`, from the networks (/24) that a third of the people are in
    SameNetwork,
    /// As `single-path`, 10 s on and 20 s off
    Pulses,
    /// As `single-path`, after a minute in which it rose to a fifth of the people's rate as if it belonged there
    Poisoning,
    /// What people send, to where they send it
    Mimicry,
    /// 10,000 connections whose requests never end
    Slowloris,
    /// HTTP/2 streams that the client resets at once (CVE-2023-44487)
    RapidReset,
    /// HTTP/2 streams that the server is made to reset at once (CVE-2025-8671)
    MadeYouReset,
    /// Ten times the people for a minute: no attack
    FlashCrowd,
    /// As `single-path`, from 1,000,000 addresses that ask once each
    Million,
}

/// Which figures have to hold. Nothing where one says nothing about a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bars {
    /// Seconds to mitigate: the middle and the worst of the runs.
    pub mitigated_s: Option<(f64, f64)>,
    /// Most seconds in all in which the origin's load is too much again after that.
    pub relapses_s: Option<f64>,
    /// Least percentage of people's requests that are served after mitigation.
    pub served_after: Option<f64>,
    /// The same over the first ten seconds.
    pub served_first: Option<f64>,
    /// Largest percentage that is blocked.
    pub blocked: Option<f64>,
    /// Largest percentage that is challenged.
    pub challenged: Option<f64>,
    /// Most microseconds of processor time a refusal.
    pub refusal_cpu_us: Option<f64>,
    /// Most seconds until the rules are gone.
    pub rules_gone_s: Option<f64>,
    /// Most MiB that finding attacks takes.
    pub shield_mib: Option<f64>,
    /// Most MiB that memory grows.
    pub growth_mib: Option<f64>,
    /// Most MiB of that in the second half of the attack.
    pub late_growth_mib: Option<f64>,
}

/// What has to hold where nothing speaks against it.
const ALL: Bars = Bars {
    mitigated_s: Some((2.0, 4.0)),
    relapses_s: Some(4.0),
    served_after: Some(99.0),
    served_first: Some(90.0),
    blocked: Some(0.1),
    challenged: Some(1.0),
    refusal_cpu_us: Some(25.0),
    rules_gone_s: Some(120.0),
    shield_mib: Some(5.0),
    growth_mib: None,
    late_growth_mib: None,
};

impl Scenario {
    /// The name in tables.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::SinglePath => "single path",
            Self::CacheBusting => "cache-busting queries",
            Self::RotatingAgents => "rotating user agents",
            Self::Logins => "log-ins",
            Self::SameNetwork => "in the networks of people",
            Self::Pulses => "pulses, 10 s on, 20 s off",
            Self::Poisoning => "poisoned baseline",
            Self::Mimicry => "mimicry",
            Self::Slowloris => "slowloris",
            Self::RapidReset => "rapid reset",
            Self::MadeYouReset => "MadeYouReset",
            Self::FlashCrowd => "flash crowd, 10 x",
            Self::Million => "1,000,000 addresses",
        }
    }

    /// What has to hold.
    #[must_use]
    pub fn bars(self) -> Bars {
        let none = Bars { shield_mib: ALL.shield_mib, ..Bars::default() };
        match self {
            // Whoever cannot be told apart may have to prove to be a person; nobody is refused for good.
            Self::Mimicry => Bars { blocked: ALL.blocked, rules_gone_s: ALL.rules_gone_s, ..none },
            // What was taught as usual is not found by its signature.
            Self::Poisoning => Bars { blocked: ALL.blocked, rules_gone_s: ALL.rules_gone_s, ..none },
            Self::Slowloris | Self::RapidReset | Self::MadeYouReset => Bars { refusal_cpu_us: None, ..ALL },
            Self::FlashCrowd => {
                Bars { served_after: ALL.served_after, blocked: Some(0.0), challenged: Some(0.0), ..none }
            }
            // Each refusal is a connection of its own there.
            Self::Million => Bars { refusal_cpu_us: None, growth_mib: Some(64.0), late_growth_mib: Some(8.0), ..ALL },
            _ => ALL,
        }
    }

    /// When it begins and ends. A server that learns nothing needs no long time before, nor after.
    #[must_use]
    pub fn phases(self, options: &Options, learns: bool) -> Phases {
        let warm = if learns { options.warm_up } else { options.warm_up.min(40) };
        let creeps = if self == Self::Poisoning { CREEP_US } else { 0 };
        let attack_us = warm * SECOND_US + creeps;
        let chosen = options.seconds * SECOND_US;
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let lasts = match self {
            Self::Pulses => chosen.max(PULSES * PULSE_US.0 + (PULSES - 1) * PULSE_US.1),
            Self::FlashCrowd => CROWD_US,
            Self::Million => (MANY_BOTS as f64 / MANY_RPS * 1e6) as u64 + 5 * SECOND_US,
            _ => chosen,
        };
        let calm_us = attack_us + lasts;
        Phases { attack_us, calm_us, end_us: calm_us + if learns { CALM_US } else { CALM_PEER_US } }
    }

    /// What it sends.
    #[must_use]
    pub fn load(self, options: &Options, phases: Phases, seed: u64) -> Box<dyn Load> {
        let (from_us, until_us) = (phases.attack_us, phases.calm_us);
        let rate = |shape| Rate { rps: options.rate, from_us, until_us, shape };
        let flood = |asks| Tactics { asks, bots: BOTS, address: attacker, once: false, rate: rate(Shape::Steady) };
        let bots = |tactics| Box::new(Bots::new(tactics, seed)) as Box<dyn Load>;
        let one_page = flood(Asks::OnePage);
        match self {
            Self::SinglePath => bots(one_page),
            Self::CacheBusting => bots(flood(Asks::NewQuery)),
            Self::RotatingAgents => bots(flood(Asks::NewAgent)),
            Self::Logins => bots(flood(Asks::Logins)),
            Self::SameNetwork => bots(Tactics { address: neighbour, ..one_page }),
            Self::Pulses => bots(Tactics { rate: rate(Shape::Pulses(PULSE_US.0, PULSE_US.1)), ..one_page }),
            Self::Poisoning => {
                let creeps = Shape::Creeps(from_us - CREEP_US, CREEP_SHARE * options.people);
                bots(Tactics { rate: rate(creeps), ..one_page })
            }
            Self::Million => bots(Tactics {
                bots: MANY_BOTS,
                once: true,
                rate: Rate { rps: MANY_RPS.min(options.rate), ..rate(Shape::Steady) },
                ..one_page
            }),
            Self::Mimicry => crowd(Side::Attack, options.rate, phases, None, seed),
            Self::FlashCrowd => {
                let more = options.people * (CROWD_FACTOR - 1.0);
                crowd(Side::People, more, phases, Some("/offer"), seed)
            }
            Self::Slowloris => Box::new(Slow::new(BOTS, rate(Shape::Steady), seed)),
            Self::RapidReset => Box::new(Streams::new(Trick::RapidReset, BOTS, rate(Shape::Steady))),
            Self::MadeYouReset => Box::new(Streams::new(Trick::MadeYouReset, BOTS, rate(Shape::Steady))),
        }
    }
}

/// Those who are always there.
#[must_use]
pub fn people(options: &Options) -> Habits {
    Habits {
        side: Side::People,
        rate_rps: options.people,
        from_us: 0,
        until_us: u64::MAX,
        think_us: (SECOND_US, 5 * SECOND_US),
        landing: None,
        addresses: 0,
    }
}

fn crowd(side: Side, rate_rps: f64, phases: Phases, landing: Option<&'static str>, seed: u64) -> Box<dyn Load> {
    let habits = Habits {
        side,
        rate_rps,
        from_us: phases.attack_us,
        until_us: phases.calm_us,
        // Attackers do not read: else there would be more sessions at a time than sockets.
        think_us: if side == Side::Attack { (200_000, SECOND_US) } else { (SECOND_US, 5 * SECOND_US) },
        landing,
        addresses: BOTS,
    };
    Box::new(People::new(habits, ATTACK, seed ^ 0x5eed))
}
