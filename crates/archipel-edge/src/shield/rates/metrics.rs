//! What rate limits did, by zone and rule.

use std::fmt::Write as _;

use archipel_shield::limits::CounterCounts;

use crate::live::Live;

type Row = (&'static str, &'static str, &'static str, fn(&CounterCounts) -> u64);

const ROWS: [Row; 7] = [
    ("archipel_rate_limit_counted_total", "counter", "Requests that a rate limit counted.", |of| of.counted),
    (
        "archipel_rate_limit_exceeded_total",
        "counter",
        "Requests that a rate limit found to be too many, and refused unless its action is \"log\".",
        |of| of.refused,
    ),
    (
        "archipel_rate_limit_estimated_total",
        "counter",
        "Requests counted by estimate, as all exact counters in reach belonged to keys with more.",
        |of| of.estimated,
    ),
    (
        "archipel_rate_limit_evicted_total",
        "counter",
        "Exact counters that became estimates, as a key with more took their place.",
        |of| of.evicted,
    ),
    (
        "archipel_rate_limit_unremembered_total",
        "counter",
        "Refusals that last only while the estimate is too high, as no place was left to remember them.",
        |of| of.unremembered,
    ),
    ("archipel_rate_limit_counters", "gauge", "Exact counters of a rate limit that are in use.", |of| of.keys),
    ("archipel_rate_limit_bytes", "gauge", "Memory of a rate limit's counters.", |of| of.bytes),
];

/// The families of all rules. Each is there once a zone has a rate limit.
pub(crate) fn metrics(page: &mut String, live: &Live) {
    let rules: Vec<(String, CounterCounts)> = (live.snapshot.zones.iter())
        .filter_map(|zone| live.zone_by_name(&zone.name))
        .filter_map(|zone| Some((&zone.zone.name, zone.rates.as_ref()?)))
        .flat_map(|(zone, rates)| rates.rules.iter().map(move |rule| (zone, rule)))
        .map(|(zone, rule)| (format!("zone=\"{zone}\",rule=\"{}\"", rule.id), rule.counters.counts()))
        .collect();
    if rules.is_empty() {
        return;
    }
    for (name, kind, help, of) in ROWS {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, counts) in &rules {
            let _ = writeln!(page, "{name}{{{labels}}} {}", of(counts));
        }
    }
}
