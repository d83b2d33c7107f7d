//! What the settings of a zone's cache mean together: rules that set nothing, that contradict themselves, or that a later one
//! always replaces.

use std::time::Duration;

use crate::cache::{AlwaysOnlineMode, CacheRule, CacheWhen, TtlMode};
use crate::compile::Part;
use crate::diagnostic::{Code, Diagnostics, Problem};
use crate::host::HostPattern;
use crate::units;
use crate::zone::ZoneConfig;

/// The least quota of the disk tier, in bytes.
const DISK_QUOTA_BYTES_MIN: u64 = 4 << 20;

/// Settings of a rule that a later rule can replace, in the order of the document.
const REPLACEABLE: [&str; 21] = [
    "bypass",
    "edge_ttl",
    "status_ttl",
    "edge_ttl_mode",
    "disregard",
    "error_ttl_max",
    "browser_ttl",
    "browser_ttl_mode",
    "set_cookie",
    "object_bytes_max",
    "stale_if_error",
    "stale_while_revalidate",
    "always_online",
    "always_online_max",
    "deception_guard",
    "vary_ignore",
    "vary_languages",
    "key.headers",
    "key.cookies",
    "key.device",
    "key.languages",
];

pub(crate) fn check_cache(zone: &Part<ZoneConfig>, out: &mut Diagnostics) {
    let cache = &zone.config.cache;
    if cache.always_online == AlwaysOnlineMode::Off
        && zone.given("cache.always_online_max")
        && !cache.rules.iter().any(|rule| matches!(rule.always_online, Some(mode) if mode != AlwaysOnlineMode::Off))
    {
        let problem = Problem::warning(
            Code::NoEffect,
            "`cache.always_online_max` has no effect: `cache.always_online` is \"off\"",
        );
        zone.report(out, "cache.always_online_max", problem);
    }
    if (1..DISK_QUOTA_BYTES_MIN).contains(&cache.disk_bytes_max) {
        let problem = Problem::error(
            Code::Contradiction,
            "`cache.disk_bytes_max` is too little: a disk is written in pieces, of which a zone needs several",
        )
        .help("write at least \"4MiB\", or 0 for no quota of its own");
        zone.report(out, "cache.disk_bytes_max", problem);
    }
    if !cache.enabled && !cache.rules.is_empty() {
        let problem = Problem::warning(Code::NoEffect, "`cache.rules` has no effect: `cache.enabled` is false");
        zone.report(out, "cache.rules[0]", problem);
    }
    for (at, rule) in cache.rules.iter().enumerate() {
        let path = format!("cache.rules[{at}]");
        check_rule(zone, rule, &path, out);
        check_key(zone, rule, &path, out);
        check_hosts(zone, rule, &path, out);
        check_name(zone, at, out);
        check_replaced(zone, at, out);
    }
}

fn check_rule(zone: &Part<ZoneConfig>, rule: &CacheRule, path: &str, out: &mut Diagnostics) {
    let mut no_effect = |key: &str, why: String| {
        let path = format!("{path}.{key}");
        zone.report(out, &path, Problem::warning(Code::NoEffect, format!("`{path}` has no effect: {why}")));
    };
    let lifetimes = rule.edge_ttl.is_some() || rule.status_ttl.as_ref().is_some_and(|ttls| !ttls.is_empty());
    if rule.edge_ttl_mode == Some(TtlMode::Respect) && lifetimes {
        let key = if rule.edge_ttl.is_some() { "edge_ttl" } else { "status_ttl" };
        no_effect(key, "the rule's `edge_ttl_mode` is \"respect\"".to_owned());
    }
    let disregards = rule.disregard.as_ref().is_some_and(|list| !list.is_empty());
    if disregards && rule.edge_ttl_mode != Some(TtlMode::Override) {
        no_effect("disregard", "the rule's `edge_ttl_mode` is not \"override\"".to_owned());
    }
    if rule.browser_ttl_mode == Some(TtlMode::Respect) && rule.browser_ttl.is_some() {
        no_effect("browser_ttl", "the rule's `browser_ttl_mode` is \"respect\"".to_owned());
    }
    let zone_off = zone.config.cache.always_online == AlwaysOnlineMode::Off;
    let off = rule.always_online.map_or(zone_off, |mode| mode == AlwaysOnlineMode::Off);
    let elsewhere = zone.config.cache.rules.iter().any(|r| r.always_online.is_some_and(|m| m != AlwaysOnlineMode::Off));
    if rule.always_online_max.is_some() && off && !elsewhere {
        no_effect("always_online_max", "`always_online` is \"off\"".to_owned());
    }
    let own = zone.config.cache.object_bytes_max;
    if let Some(most) = rule.object_bytes_max.filter(|most| own > 0 && *most > own) {
        no_effect(
            "object_bytes_max",
            format!("{} is above the zone's {}", units::show_bytes(most), units::show_bytes(own)),
        );
    }
    let set = settings_of(zone, path);
    if set.is_empty() {
        let problem = Problem::warning(Code::NoEffect, format!("`{path}` sets nothing"))
            .help("give it a setting, such as `edge_ttl` or `bypass`");
        zone.report(out, path, problem);
    } else if rule.bypass == Some(true)
        && let Some(other) = set.iter().find(|key| **key != "bypass")
    {
        no_effect(other, "the rule's requests pass the cache by".to_owned());
    }
    let mut needs = |mode: Option<TtlMode>, given: bool, key: &str, value: &str| {
        if !given && matches!(mode, Some(TtlMode::Default | TtlMode::Override)) {
            let path = format!("{path}.{key}");
            zone.report(
                out,
                &path,
                Problem::error(Code::Incomplete, format!("`{path}` needs `{value}` in the same rule")),
            );
        }
    };
    needs(rule.edge_ttl_mode, lifetimes, "edge_ttl_mode", "edge_ttl` or `status_ttl");
    needs(rule.browser_ttl_mode, rule.browser_ttl.is_some(), "browser_ttl_mode", "browser_ttl");
    check_lifetimes(zone, rule, path, out);
}

/// A lifetime for errors that the cap cuts off.
fn check_lifetimes(zone: &Part<ZoneConfig>, rule: &CacheRule, path: &str, out: &mut Diagnostics) {
    let cap = rule.error_ttl_max.or(zone.config.cache.error_ttl_max);
    let errors = rule.status_ttl.iter().flatten().filter(|(range, _)| range.first >= 400);
    let longest: Option<&Duration> = errors.map(|(_, ttl)| ttl).max();
    if let (Some(cap), Some(longest)) = (cap, longest)
        && longest > &cap
    {
        let message = format!(
            "`{path}.status_ttl` gives errors {}, and `error_ttl_max` is {}",
            units::show_duration(*longest),
            units::show_duration(cap)
        );
        zone.report(out, &format!("{path}.status_ttl"), Problem::warning(Code::NoEffect, message));
    }
}

fn check_key(zone: &Part<ZoneConfig>, rule: &CacheRule, path: &str, out: &mut Diagnostics) {
    let key = &rule.key;
    let given = [
        (key.query.is_some(), "query"),
        (key.query_only.is_some(), "query_only"),
        (key.query_except.is_some(), "query_except"),
    ];
    let mut given = given.iter().filter(|(is_given, _)| *is_given).map(|(_, key)| *key);
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        let path = format!("{path}.key.{second}");
        let problem =
            Problem::error(Code::Contradiction, format!("`{path}` stands beside `{first}`, and both say what counts"))
                .help("keep one of `query`, `query_only` and `query_except`");
        zone.report(out, &path, problem);
    }
    if key.query == Some(crate::cache::QueryMode::None) && key.query_sort == Some(true) {
        let path = format!("{path}.key.query_sort");
        let problem = Problem::warning(Code::NoEffect, format!("`{path}` has no effect: the query is not in the key"));
        zone.report(out, &path, problem);
    }
}

/// Hosts of a condition that the zone does not serve.
fn check_hosts(zone: &Part<ZoneConfig>, rule: &CacheRule, path: &str, out: &mut Diagnostics) {
    for (at, host) in rule.when.host.iter().flatten().enumerate() {
        if !zone.config.hosts.iter().any(|own| meet(own, host)) {
            let path = format!("{path}.when.host[{at}]");
            let problem =
                Problem::warning(Code::NoEffect, format!("`{path}` never holds: the zone does not serve \"{host}\""))
                    .help("the zone's `hosts` say what it serves");
            zone.report(out, &path, problem);
        }
    }
}

/// Whether some host is meant by both.
fn meet(a: &HostPattern, b: &HostPattern) -> bool {
    let below = |name: &str, suffix: &str| name.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    match (a, b) {
        (HostPattern::Any, _) | (_, HostPattern::Any) => true,
        (HostPattern::Exact(a), HostPattern::Exact(b)) => a == b,
        (HostPattern::Exact(name), HostPattern::Wildcard(suffix))
        | (HostPattern::Wildcard(suffix), HostPattern::Exact(name)) => below(name, suffix),
        (HostPattern::Wildcard(a), HostPattern::Wildcard(b)) => a == b || below(a, b) || below(b, a),
    }
}

fn check_name(zone: &Part<ZoneConfig>, at: usize, out: &mut Diagnostics) {
    let rules = &zone.config.cache.rules;
    let Some(name) = rules.get(at).and_then(|rule| rule.name.as_ref()) else { return };
    if let Some(other) = rules.iter().take(at).position(|other| other.name.as_ref() == Some(name)) {
        let other = format!("cache.rules[{other}].name");
        let path = format!("cache.rules[{at}].name");
        let problem = Problem::error(Code::Duplicate, format!("`{path}` is \"{name}\", as another rule's"))
            .related(zone.source.related(zone.span(&other), "which has it here"));
        zone.report(out, &path, problem);
    }
}

/// Settings of a rule that a later one always replaces: it has no conditions, or the same.
fn check_replaced(zone: &Part<ZoneConfig>, at: usize, out: &mut Diagnostics) {
    let rules = &zone.config.cache.rules;
    let Some(rule) = rules.get(at).filter(|rule| rule.enabled) else { return };
    for (later_at, later) in rules.iter().enumerate().skip(at + 1).filter(|(_, later)| later.enabled) {
        if later.when != CacheWhen::default() && later.when != rule.when {
            continue;
        }
        for key in settings_of(zone, &format!("cache.rules[{at}]")) {
            let (path, other) = (format!("cache.rules[{at}].{key}"), format!("cache.rules[{later_at}].{key}"));
            if zone.given(&other) {
                let why =
                    if later.when == CacheWhen::default() { "has no conditions" } else { "has the same conditions" };
                let problem = Problem::warning(
                    Code::NoEffect,
                    format!("`{path}` has no effect: a later rule that {why} replaces it"),
                )
                .help("later rules win: put the general rule before its exceptions")
                .related(zone.source.related(zone.span(&other), "replaced here"));
                zone.report(out, &path, problem);
                return;
            }
        }
    }
}

/// What a rule sets.
fn settings_of(zone: &Part<ZoneConfig>, path: &str) -> Vec<&'static str> {
    let query = ["key.query", "key.query_only", "key.query_except", "key.query_sort"];
    REPLACEABLE.into_iter().chain(query).filter(|key| zone.given(&format!("{path}.{key}"))).collect()
}
