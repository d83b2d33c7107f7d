//! What the operator sees of the shield, and says to it.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use archipel_config::ShieldMode;
use archipel_shield::detector::{Decision, Rule, State, Undecided};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::node::{BYTES_MAX, Shield, now_ms};
use super::watch::Watch;
use super::zone::ZoneShield;
use crate::metrics::metric;
use crate::node::Node;

/// The shields of all zones.
#[derive(Clone, Debug, Serialize)]
pub struct ShieldStatus {
    /// Percent of the processors' time that the node used in the last half second.
    pub cpu_percent: u32,
    /// Bytes of memory that the detectors take.
    pub bytes: usize,
    /// Bytes that they may take.
    pub bytes_max: usize,
    /// The zones whose shield is not off, by name.
    pub zones: Vec<ZoneShieldStatus>,
}

/// The shield of a zone.
#[derive(Clone, Debug, Serialize)]
pub struct ZoneShieldStatus {
    /// The zone's name.
    pub zone: Box<str>,
    /// Its mode: `log`, `automatic`, `under_attack`.
    pub mode: &'static str,
    /// What the detector thinks: `calm`, `flash_crowd`, `suspicious`, `mitigating`, `unrecognised`.
    pub state: &'static str,
    /// Why, where it is not calm: `origin`, `node`, `volume`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<&'static str>,
    /// Whether enough is known of usual traffic to tell an attack from it.
    pub ready: bool,
    /// Requests a second in the last half second.
    pub rps: f64,
    /// Of these, what mitigation rules held off, or would have.
    pub held_rps: f64,
    /// Requests a second that are usual at this hour of the week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usual_rps: Option<f64>,
    /// Share of the requests, 0 to 1, that were answered without the origin.
    pub hit_ratio: f64,
    /// Share of the origin's replies, 0 to 1, that are errors of its own or did not come.
    pub origin_errors: f64,
    /// The origin's time to first byte, over what is usual.
    pub origin_slowness: f64,
    /// Bytes of memory that the detector takes.
    pub bytes: usize,
    /// The mitigation rules, the oldest first.
    pub rules: Vec<RuleStatus>,
}

/// A mitigation rule.
#[derive(Clone, Debug, Serialize)]
pub struct RuleStatus {
    /// `zone/number`: its name in commands and in the access log.
    pub rule: String,
    /// `active`, `probation`, `pinned` or `vetoed`.
    pub status: &'static str,
    /// `block` or `challenge`.
    pub action: &'static str,
    /// What it matches, by feature.
    pub attributes: Vec<AttributeStatus>,
    /// What it does, what it matches and why, in words.
    pub text: String,
    /// A request that it matched; nothing until there is one.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub example: Box<str>,
    /// When it was made, Unix milliseconds.
    pub born_ms: u64,
    /// When it last matched much.
    pub matched_ms: u64,
    /// Requests that it has matched.
    pub matched: u64,
    /// Addresses that they came from, give or take 3 %.
    pub addresses: u64,
    /// Share of what it matched, 0 to 1, that was more than usual, when it was made.
    pub precision: f64,
    /// Share of usual requests, 0 to 1, that it would hit.
    pub baseline_share: f64,
    /// Requests a second more than usual that it matched when it was made.
    pub excess_rps: f64,
}

/// A feature and its value.
#[derive(Clone, Debug, Serialize)]
pub struct AttributeStatus {
    /// The feature.
    pub feature: &'static str,
    /// Its value; nothing until the rule has met a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<str>>,
}

/// What an operator says of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decide {
    /// It acts, and stays, until this is taken back.
    Pin,
    /// It lives as it finds.
    Relax,
    /// It never acts, until this is taken back.
    Veto,
}

/// Why that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecideError {
    /// The name is not one of a rule.
    #[error("`{0}` is no mitigation rule of this node; `archipel shield status` names them, as ZONE/NUMBER")]
    NoRule(String),
    /// Too many are pinned or vetoed.
    #[error("as many rules of the zone as there may be are pinned or vetoed already: relax one of them first")]
    TooMany,
}

impl Node {
    /// What the shield sees and does.
    pub fn shield_status(&self) -> ShieldStatus {
        let shield = &self.shield;
        let modes: Vec<_> = self.snapshot().zones.iter().map(|zone| (zone.id, zone.shield.mode)).collect();
        let mode = |id: u32| modes.iter().find(|(of, _)| *of == id).map(|(_, mode)| *mode);
        let zones = shield.zones();
        let mut zones: Vec<_> = zones.iter().filter_map(|(id, zone)| zone_status(zone, mode(*id)?)).collect();
        zones.sort_by(|a, b| a.zone.cmp(&b.zone));
        ShieldStatus {
            cpu_percent: shield.cpu_percent.load(Ordering::Relaxed),
            bytes: shield.bytes.load(Ordering::Relaxed),
            bytes_max: BYTES_MAX,
            zones,
        }
    }

    /// Takes an operator's word on a rule, by its name; what the rule says now, and why a restart would forget it if it would.
    /// Waits for the disk.
    ///
    /// # Errors
    /// [`DecideError`].
    pub fn decide_rule(&self, name: &str, decide: Decide) -> Result<(RuleStatus, Option<String>), DecideError> {
        let none = || DecideError::NoRule(name.to_owned());
        let (zone, number) = name.rsplit_once('/').ok_or_else(none)?;
        let number = number.parse::<u64>().map_err(|_| none())?;
        let id = self.snapshot().zone_by_name(zone).ok_or_else(none)?.id;
        let zone = self.shield.zone_of(id).ok_or_else(none)?;
        let decision = match decide {
            Decide::Pin => Some(Decision::Pin),
            Decide::Relax => None,
            Decide::Veto => Some(Decision::Veto),
        };
        zone.decide(number, decision).map_err(|error| match error {
            Undecided::NoRule => none(),
            Undecided::TooMany => DecideError::TooMany,
        })?;
        tracing::info!(rule = name, ?decide, "the operator decided on a mitigation rule");
        let problem = self.shield.save().err().map(|error| error.to_string());
        let watch = zone.watch();
        watch
            .rules()
            .iter()
            .find(|rule| rule.id == number)
            .map(|rule| (rule_status(&zone, rule), problem))
            .ok_or_else(none)
    }
}

fn word(mode: ShieldMode) -> &'static str {
    match mode {
        ShieldMode::Off => "off",
        ShieldMode::Log => "log",
        ShieldMode::Automatic => "automatic",
        ShieldMode::UnderAttack => "under_attack",
    }
}

fn zone_status(zone: &ZoneShield, mode: ShieldMode) -> Option<ZoneShieldStatus> {
    let watch = zone.watch();
    let detector = watch.detector.as_deref();
    let last = watch.last;
    Some(ZoneShieldStatus {
        zone: zone.name.clone(),
        mode: Some(mode).filter(|mode| *mode != ShieldMode::Off).map(word)?,
        state: watch.state().as_str(),
        alarm: detector.and_then(|detector| detector.alarm()).map(|alarm| alarm.as_str()),
        ready: detector.is_some_and(|detector| detector.is_ready()),
        rps: last.rps,
        held_rps: last.held_rps,
        usual_rps: detector.and_then(|detector| detector.usual_rps(now_ms())),
        hit_ratio: last.health.hit_ratio,
        origin_errors: last.health.origin_errors,
        origin_slowness: last.health.origin_slowness,
        bytes: watch.bytes() + zone.bytes(),
        rules: watch.rules().iter().map(|rule| rule_status(zone, rule)).collect(),
    })
}

fn rule_status(zone: &ZoneShield, rule: &Rule) -> RuleStatus {
    let live = zone.rules();
    let met = live.iter().find(|live| live.id == rule.id).map(|live| &live.counts);
    // What it has met since the last tick counts as well.
    let (matched, addresses) =
        met.map_or((0, 0), |met| (met.matched.load(Ordering::Relaxed), met.addresses.estimate()));
    let attribute = |(at, attribute): (usize, &archipel_shield::detector::Attribute)| AttributeStatus {
        feature: attribute.feature.as_str(),
        value: rule.words.get(at).cloned(),
    };
    RuleStatus {
        rule: format!("{}/{}", zone.name, rule.id),
        status: rule.status(),
        action: rule.action.as_str(),
        attributes: rule.attributes.iter().enumerate().map(attribute).collect(),
        text: rule.to_string(),
        example: rule.example.clone(),
        born_ms: rule.born_ms,
        matched_ms: rule.matched_ms,
        matched: rule.matched + matched,
        addresses,
        precision: rule.precision,
        baseline_share: rule.baseline_share,
        excess_rps: rule.excess_rps,
    }
}

impl Shield {
    /// The shield's part of the metrics page.
    pub(crate) fn metrics(&self, page: &mut String) {
        let node = [
            (
                "archipel_shield_bytes",
                "gauge",
                "Memory that the attack detectors take.",
                self.bytes.load(Ordering::Relaxed) as u64,
            ),
            ("archipel_shield_bytes_max", "gauge", "Memory that they may take.", BYTES_MAX as u64),
            (
                "archipel_shield_unwatched_ticks_total",
                "counter",
                "Half seconds in which a zone with requests was not watched, as `archipel_shield_bytes_max` was reached.",
                self.unwatched.load(Ordering::Relaxed),
            ),
            (
                "archipel_shield_file_failures_total",
                "counter",
                "Times that the shield's file could not be written.",
                self.file_failures.load(Ordering::Relaxed),
            ),
            (
                "archipel_shield_halved_total",
                "counter",
                "Times that a calm zone forgot half of what is usual, as `archipel_shield_bytes_max` was reached.",
                self.halved.load(Ordering::Relaxed),
            ),
        ];
        for (name, kind, help, value) in node {
            metric(page, name, kind, help, &[("", value)]);
        }
        self.zone_metrics(page);
    }

    fn zone_metrics(&self, page: &mut String) {
        let mut zones = self.zones();
        zones.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        for (name, kind, help, label, values) in ZONE_METRICS {
            // Writing to a String cannot fail.
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (_, zone) in &zones {
                for (word, value) in values(&zone.watch()) {
                    let label = label.map_or(String::new(), |label| format!(",{label}=\"{word}\""));
                    let _ = writeln!(page, "{name}{{zone=\"{}\"{label}}} {value}", zone.name);
                }
            }
        }
    }
}

type Values = fn(&Watch) -> Vec<(&'static str, u64)>;

/// Metrics of each zone: name, kind, help, label besides the zone, values.
const ZONE_METRICS: &[(&str, &str, &str, Option<&str>, Values)] = &[
    (
        "archipel_shield_state",
        "gauge",
        "1 for what the detector of a zone thinks, 0 for what it does not.",
        Some("state"),
        |watch| {
            let now = watch.state();
            State::ALL.iter().map(|state| (state.as_str(), u64::from(*state == now))).collect()
        },
    ),
    (
        "archipel_shield_rules",
        "gauge",
        "Mitigation rules of a zone, by where they are in their life.",
        Some("status"),
        |watch| {
            let count = |status| watch.rules().iter().filter(|rule| rule.status() == status).count() as u64;
            ["active", "probation", "pinned", "vetoed"].map(|status| (status, count(status))).into()
        },
    ),
    ("archipel_shield_rules_made_total", "counter", "Mitigation rules that were made.", None, |watch| {
        vec![("", watch.totals.rules)]
    }),
    (
        "archipel_shield_requests_total",
        "counter",
        "Requests that mitigation rules acted on; `would_act`: in log mode.",
        Some("action"),
        |watch| {
            let totals = watch.totals;
            vec![("block", totals.blocked), ("challenge", totals.challenged), ("would_act", totals.would)]
        },
    ),
];
