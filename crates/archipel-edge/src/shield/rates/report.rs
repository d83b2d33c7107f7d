//! What each rate limit allows and did, for `archipel firewall limits`.

use std::fmt;
use std::time::Instant;

use serde::Serialize;

use crate::live::Live;
use crate::node::Node;

/// A rate limit of a running node.
#[derive(Clone, Debug, Serialize)]
pub struct RateLimitReport {
    /// Zone.
    pub zone: Box<str>,
    /// The rule's id.
    pub rule: Box<str>,
    /// What the rule is for.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: Box<str>,
    /// What happens to requests that are too many.
    pub action: &'static str,
    /// What the requests have in common that are counted together.
    pub characteristics: Vec<Box<str>>,
    /// Most requests in a period.
    pub requests: u32,
    /// The period.
    pub period_ms: u64,
    /// How long requests are refused; 0 is until the period allows another one.
    pub mitigation_timeout_ms: u64,
    /// Requests counted since the rule is what it is.
    pub counted: u64,
    /// Requests that were too many.
    pub exceeded: u64,
    /// Exact counters in use.
    pub counters: u64,
    /// Requests counted by estimate.
    pub estimated: u64,
    /// Counters that are at their limit, or whose requests are refused.
    pub limited_now: u64,
}

impl Node {
    /// The rate limits of all zones, or of one, in the order of the documents.
    pub fn rate_limits(&self, zone: Option<&str>) -> Vec<RateLimitReport> {
        let live = self.live();
        let now_ms = u64::try_from(self.budgets.elapsed(Instant::now()).as_millis()).unwrap_or(u64::MAX);
        let wanted = live.snapshot.zones.iter().filter(|other| zone.is_none_or(|zone| *other.name == *zone));
        wanted.flat_map(|zone| of_zone(&live, &zone.name, now_ms)).collect()
    }
}

fn of_zone(live: &Live, zone: &str, now_ms: u64) -> Vec<RateLimitReport> {
    let Some(rates) = live.zone_by_name(zone).and_then(|zone| zone.rates.as_ref()) else { return Vec::new() };
    let milliseconds = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let rules = rates.rules.iter().map(|rule| {
        let counts = rule.counters.counts();
        RateLimitReport {
            zone: zone.into(),
            rule: rule.id.clone(),
            description: rule.description.clone(),
            action: rule.does.word(),
            characteristics: rule.key.text.lines().map(Into::into).collect(),
            requests: rule.limit.requests,
            period_ms: milliseconds(rule.period),
            mitigation_timeout_ms: milliseconds(rule.limit.mitigation),
            counted: counts.counted,
            exceeded: counts.refused,
            counters: counts.keys,
            estimated: counts.estimated,
            limited_now: rule.counters.limited(&rule.limit, now_ms),
        }
    });
    rules.collect()
}

impl fmt::Display for RateLimitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        write!(f, "{} {}: {} beyond {} requests", self.zone, self.rule, self.action, self.requests)?;
        write!(f, " in {} s by {}", seconds(self.period_ms), self.characteristics.join(", "))?;
        if self.mitigation_timeout_ms > 0 {
            write!(f, ", for {} s", seconds(self.mitigation_timeout_ms))?;
        }
        if !self.description.is_empty() {
            write!(f, " ({})", self.description)?;
        }
        write!(f, "\n  {} counted, {} too many; ", self.counted, self.exceeded)?;
        write!(f, "{} counters, {} at their limit now", self.counters, self.limited_now)?;
        if self.estimated > 0 {
            write!(f, "; {} counted by estimate", self.estimated)?;
        }
        Ok(())
    }
}
