//! The cache rules of a zone, compiled, and what they come to for one request: its policy, its key, whether it passes the
//! cache by.
//!
//! Rules are layers: each whose conditions hold replaces what those before it set, setting by setting. A zone without rules
//! evaluates nothing; a request that no rule concerns costs the comparisons alone.
//!
//! Must never look at a reply: what a status means to a rule is in the [`Policy`] that it makes.

use std::sync::Arc;
use std::time::Duration;

use archipel_config::{
    AlwaysOnlineMode, CacheRule, CacheWhen, Directive, FieldTest, HostPattern, Presence, QueryMode, SetCookieMode,
    Skip, TtlMode, Zone,
};
use archipel_http::date::DELTA_SECONDS_MAX;
use archipel_http::key_parts::{KeyParts, cookies};
use archipel_http::path_pattern::PathPattern;
use archipel_http::policy::{AlwaysOnline, BrowserTtl, Disregard, EdgeTtl, SetCookie, StatusTtl, StatusTtls};
use archipel_http::query::{self, NamePattern, QUERY_PARAMETERS_MAX, QueryKeep, QueryKey};
use archipel_http::sink::FieldSink;
use archipel_http::{Policy, device, language};
use archipel_rules::{Fields, Filter};
use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use crate::exchange::{Asked, Exchange};
use crate::firewall::View;
use crate::live::LiveZone;

/// The rules of a zone.
pub(crate) struct Rules {
    rules: Box<[Rule]>,
}

struct Rule {
    /// For explanations: the rule's name or number.
    name: Box<str>,
    when: Condition,
    set: Settings,
}

/// When a rule holds.
enum Condition {
    /// Always.
    Always,
    /// Where each test holds.
    All(Box<[Test]>),
}

/// One condition: holds where one of its entries does.
enum Test {
    Path(Box<[PathPattern]>),
    Extension(Box<[Box<str>]>),
    Host(Box<[HostPattern]>),
    Query(Box<[FieldTest]>),
    Header(Box<[(HeaderName, Presence)]>),
    Cookie(Box<[FieldTest]>),
    Expression(Arc<Filter>),
}

/// What a rule sets, ready to be put over a policy; what is absent stays.
#[derive(Default)]
struct Settings {
    bypass: Option<bool>,
    edge_ttl: Option<EdgeTtl>,
    status_ttl: Option<StatusTtls>,
    disregard: Option<Disregard>,
    error_seconds_max: Option<u32>,
    browser_ttl: Option<BrowserTtl>,
    set_cookie: Option<SetCookie>,
    object_bytes_max: Option<u64>,
    stale_if_error: Option<u32>,
    stale_while_revalidate: Option<u32>,
    always_online: Option<AlwaysOnlineMode>,
    always_online_seconds_max: Option<u32>,
    deception_guard: Option<bool>,
    vary_ignore: Option<Arc<[HeaderName]>>,
    vary_languages: Option<Arc<[Box<str>]>>,
    query: Option<QueryKeep>,
    query_sort: Option<bool>,
    headers: Option<Arc<[HeaderName]>>,
    cookies: Option<Arc<[Box<str>]>>,
    device: Option<bool>,
    languages: Option<Arc<[Box<str>]>>,
}

/// What the rules come to for one request.
#[derive(Debug)]
pub(crate) struct Ruling {
    /// The policy.
    pub(crate) policy: Policy,
    /// Why the request passes the cache by; `None` where it does not.
    pub(crate) bypass: Option<&'static str>,
    /// The path and query of the key, where they are not as received.
    pub(crate) target: Option<Box<str>>,
    /// What the zone adds to the key.
    pub(crate) extra: Box<str>,
    /// Whether the device is in the key.
    device: bool,
    /// The languages of which one is in the key.
    languages: Arc<[Box<str>]>,
}

const ARCHIPEL_DEVICE: HeaderName = HeaderName::from_static("archipel-device");
const ARCHIPEL_LANGUAGE: HeaderName = HeaderName::from_static("archipel-language");

impl Ruling {
    /// Tells the origin what was made of the device and the languages of a request: an origin that draws its own conclusions from
    /// the same fields would answer for one key with what belongs to another.
    pub(crate) fn tell_origin(&self, asked: &HeaderMap, to: &mut impl FieldSink) {
        if self.device {
            to.put_text(&ARCHIPEL_DEVICE, device::classify(asked).as_str());
        }
        if let Some(language) = language::preferred(asked, &self.languages) {
            to.put_text(&ARCHIPEL_LANGUAGE, language);
        }
    }

    /// Whether [`Ruling::tell_origin`] says it: what the request has under that name is not passed on.
    pub(crate) fn tells(&self, name: &HeaderName) -> bool {
        (self.device && *name == ARCHIPEL_DEVICE) || (!self.languages.is_empty() && *name == ARCHIPEL_LANGUAGE)
    }
}

/// What the rules say before the request's key is made.
struct Layers {
    policy: Policy,
    key: KeyParts,
    bypass: bool,
    /// Largest object that the zone stores.
    zone_bytes_max: u64,
    always_online: (AlwaysOnlineMode, u32),
    matched: SmallVec<[u16; 8]>,
}

impl Rules {
    /// Compiles a zone's rules; `None` where it has none in force.
    pub(crate) fn new(zone: &Zone) -> Option<Self> {
        let rules = zone.cache.rules.iter().enumerate().filter(|(_, rule)| rule.enabled);
        let rules: Box<[Rule]> = rules.map(|(at, rule)| Rule::new(at, rule)).collect();
        (!rules.is_empty()).then_some(Self { rules })
    }

    /// What the rules come to; `None` where none holds.
    fn layers(&self, zone: &LiveZone, asked: &Asked, view: &dyn Fields) -> Option<Layers> {
        let mut layers: Option<Layers> = None;
        for (at, rule) in self.rules.iter().enumerate() {
            if rule.when.holds(asked, view) {
                let layers = layers.get_or_insert_with(|| Layers::of(zone));
                layers.matched.push(u16::try_from(at).unwrap_or(u16::MAX));
                layers.put(&rule.set);
            }
        }
        layers
    }

    /// All forms that the path and query of a URL can take in keys of this zone, whatever else its requests say: for purges.
    pub(crate) fn targets(&self, zone: &LiveZone, path_and_query: &str) -> Vec<Box<str>> {
        let base = QueryKey { keep: zone_query(zone), sort: false };
        let keeps: Vec<QueryKeep> =
            std::iter::once(base.keep).chain(self.rules.iter().filter_map(|rule| rule.set.query.clone())).collect();
        let sorts = self.rules.iter().any(|rule| rule.set.query_sort == Some(true));
        let mut targets: Vec<Box<str>> = Vec::new();
        for keep in keeps {
            for sort in [false, true].into_iter().take(1 + usize::from(sorts)) {
                let key = QueryKey { keep: keep.clone(), sort };
                let target = query::key_target(path_and_query, &key).ok().flatten();
                let target = target.unwrap_or_else(|| path_and_query.into());
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
        }
        targets
    }
}

fn zone_query(zone: &LiveZone) -> QueryKeep {
    if zone.zone.cache.ignore_query { QueryKeep::None } else { QueryKeep::All }
}

impl Layers {
    fn of(zone: &LiveZone) -> Self {
        let query = QueryKey { keep: zone_query(zone), sort: false };
        Self {
            policy: zone.policy.clone(),
            key: KeyParts { query, ..KeyParts::default() },
            bypass: false,
            zone_bytes_max: zone.policy.object_bytes_max,
            always_online: (zone.zone.cache.always_online, seconds(zone.zone.cache.always_online_max)),
            matched: SmallVec::new(),
        }
    }

    fn put(&mut self, set: &Settings) {
        let policy = &mut self.policy;
        put(&mut self.bypass, set.bypass);
        put(&mut policy.edge_ttl, set.edge_ttl);
        put(&mut policy.status_ttl, set.status_ttl.clone());
        put(&mut policy.disregard, set.disregard);
        put(&mut policy.error_seconds_max, set.error_seconds_max.map(Some));
        put(&mut policy.browser_ttl, set.browser_ttl);
        put(&mut policy.set_cookie, set.set_cookie);
        put(&mut policy.object_bytes_max, set.object_bytes_max.map(|most| most.min(self.zone_bytes_max)));
        put(&mut policy.stale_if_error_default_seconds, set.stale_if_error.map(Some));
        put(&mut policy.stale_while_revalidate_default_seconds, set.stale_while_revalidate.map(Some));
        put(&mut policy.deception_guard, set.deception_guard);
        put(&mut policy.vary.ignore, set.vary_ignore.clone());
        put(&mut policy.vary.languages, set.vary_languages.clone());
        put(&mut self.always_online.0, set.always_online);
        put(&mut self.always_online.1, set.always_online_seconds_max);
        put(&mut self.key.query.keep, set.query.clone());
        put(&mut self.key.query.sort, set.query_sort);
        put(&mut self.key.headers, set.headers.clone());
        put(&mut self.key.cookies, set.cookies.clone());
        put(&mut self.key.device, set.device);
        put(&mut self.key.languages, set.languages.clone());
    }

    fn ruling(mut self, asked: &Asked) -> Ruling {
        self.policy.always_online = always_online(self.always_online.0, self.always_online.1);
        let mut ruling = Ruling {
            policy: self.policy,
            bypass: None,
            target: None,
            extra: Box::default(),
            device: self.key.device,
            languages: self.key.languages.clone(),
        };
        if self.bypass {
            ruling.bypass = Some("rule");
            return ruling;
        }
        let target = self.key.target(&asked.path_and_query);
        let extra = if self.key.adds_nothing() { Ok(Box::default()) } else { self.key.extra(&asked.headers) };
        match (target, extra) {
            (Ok(target), Ok(extra)) => (ruling.target, ruling.extra) = (target, extra),
            (Err(refused), _) | (_, Err(refused)) => ruling.bypass = Some(refused.as_str()),
        }
        ruling
    }
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// What a mode and a bound mean.
pub(crate) fn always_online(mode: AlwaysOnlineMode, seconds_max: u32) -> AlwaysOnline {
    match mode {
        AlwaysOnlineMode::Off => AlwaysOnline::Off,
        AlwaysOnlineMode::Obey => AlwaysOnline::Obey(seconds_max),
        AlwaysOnlineMode::Always => AlwaysOnline::Always(seconds_max),
    }
}

/// What the zone's word on `Set-Cookie` means.
pub(crate) fn set_cookie(mode: SetCookieMode) -> SetCookie {
    match mode {
        SetCookieMode::Refuse => SetCookie::Refuse,
        SetCookieMode::Strip => SetCookie::Strip,
        SetCookieMode::Store => SetCookie::Store,
    }
}

/// A duration in the cache's unit.
pub(crate) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(DELTA_SECONDS_MAX).min(DELTA_SECONDS_MAX)
}

/// Evaluates the rules for an exchange, and says in an explanation which held and what they came to.
pub(crate) fn evaluate(ex: &mut Exchange, zone: &LiveZone) {
    let ruling = match &zone.rules {
        Some(rules) => ruling(ex, zone, rules),
        None => None,
    };
    let Some(origin) = ex.rules.as_ref().and_then(|rules| rules.route.as_ref()) else {
        ex.ruling = ruling.map(Arc::new);
        return;
    };
    // What another origin answers is another object.
    let mut ruling = ruling.unwrap_or_else(|| Layers::of(zone).ruling(&ex.asked));
    let host = origin.authority.as_ref().map_or(&b"-"[..], |host| host.as_bytes());
    let host = String::from_utf8_lossy(host);
    let before = if ruling.extra.is_empty() { String::new() } else { format!("{} ", ruling.extra) };
    ruling.extra = format!("{before}origin={}://{} host={host}", origin.scheme, origin.name).into();
    ex.ruling = Some(Arc::new(ruling));
}

fn ruling(ex: &mut Exchange, zone: &LiveZone, rules: &Rules) -> Option<Ruling> {
    if ex.skips(Skip::CacheRules) {
        ex.note("cache", "rules", || "a rule of the firewall passes them over".to_owned());
        return None;
    }
    let Some(layers) = rules.layers(zone, &ex.asked, &View::request(ex)) else {
        ex.note("cache", "rules", || "none holds".to_owned());
        return None;
    };
    let matched = layers.matched.clone();
    let ruling = layers.ruling(&ex.asked);
    ex.note("cache", "rules", || {
        let names: Vec<&str> =
            matched.iter().filter_map(|at| rules.rules.get(usize::from(*at))).map(|r| &*r.name).collect();
        format!("{}: {ruling}", names.join(", "))
    });
    Some(ruling)
}

impl std::fmt::Display for Ruling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(reason) = self.bypass {
            return write!(f, "bypass ({reason})");
        }
        let policy = &self.policy;
        match policy.edge_ttl {
            EdgeTtl::Respect => f.write_str("edge ttl the origin's")?,
            EdgeTtl::Default(seconds) => write!(f, "edge ttl {seconds} s by default")?,
            EdgeTtl::Override(seconds) => write!(f, "edge ttl {seconds} s")?,
        }
        let means = if policy.status_ttl.overrides { "" } else { " by default" };
        for StatusTtl { first, last, seconds } in policy.status_ttl.entries.iter() {
            write!(f, ", for {} {seconds} s{means}", archipel_config::StatusRange { first: *first, last: *last })?;
        }
        match policy.browser_ttl {
            BrowserTtl::Respect => {}
            BrowserTtl::Default(seconds) => write!(f, ", browser ttl {seconds} s by default")?,
            BrowserTtl::Override(seconds) => write!(f, ", browser ttl {seconds} s")?,
        }
        match policy.always_online {
            AlwaysOnline::Off => {}
            AlwaysOnline::Obey(seconds) => write!(f, ", online for {seconds} s where it may be")?,
            AlwaysOnline::Always(seconds) => write!(f, ", online for {seconds} s")?,
        }
        if let Some(target) = &self.target {
            write!(f, ", key has {target}")?;
        }
        if !self.extra.is_empty() {
            write!(f, ", key adds {}", self.extra)?;
        }
        Ok(())
    }
}

impl Rule {
    fn new(at: usize, rule: &CacheRule) -> Self {
        let name = rule.name.clone().unwrap_or_else(|| format!("rule {}", at + 1));
        Self { name: name.into(), when: Condition::new(&rule.when), set: Settings::new(rule) }
    }
}

impl Condition {
    fn new(when: &CacheWhen) -> Self {
        let header = |test: &FieldTest| {
            let name = HeaderName::from_bytes(test.name.to_string().as_bytes()).ok()?;
            Some((name, test.test.clone()))
        };
        // The cheap ones first.
        let tests = [
            when.extension.as_ref().map(|list| Test::Extension(list.clone().into())),
            when.path.as_ref().map(|list| Test::Path(list.clone().into())),
            when.host.as_ref().map(|list| Test::Host(list.clone().into())),
            when.header.as_ref().map(|list| Test::Header(list.iter().filter_map(header).collect())),
            when.cookie.as_ref().map(|list| Test::Cookie(list.clone().into())),
            when.query.as_ref().map(|list| Test::Query(list.clone().into())),
            when.expression.as_ref().and_then(|expression| expression.compiled()).map(Test::Expression),
        ];
        let tests: Box<[Test]> = tests.into_iter().flatten().collect();
        if tests.is_empty() { Condition::Always } else { Condition::All(tests) }
    }

    fn holds(&self, asked: &Asked, view: &dyn Fields) -> bool {
        match self {
            Condition::Always => true,
            Condition::All(tests) => tests.iter().all(|test| test.holds(asked, view)),
        }
    }
}

impl Test {
    fn holds(&self, asked: &Asked, view: &dyn Fields) -> bool {
        match self {
            Test::Expression(filter) => filter.matches(view),
            Test::Path(patterns) => patterns.iter().any(|pattern| pattern.matches(asked.path())),
            Test::Extension(known) => {
                extension(asked.path()).is_some_and(|found| known.iter().any(|known| known.eq_ignore_ascii_case(found)))
            }
            Test::Host(patterns) => patterns.iter().any(|pattern| host_matches(pattern, asked.host())),
            Test::Query(tests) => {
                let query = asked.path_and_query.split_once('?').map_or("", |(_, query)| query);
                tests.iter().any(|test| {
                    let found = query::parameters(query).take(QUERY_PARAMETERS_MAX);
                    present(&test.test, &test.name, found.map(|p| (p.name.clone(), p.value())))
                })
            }
            Test::Header(tests) => tests.iter().any(|(name, test)| header_holds(&asked.headers, name, test)),
            Test::Cookie(tests) => tests.iter().any(|test| present(&test.test, &test.name, cookies(&asked.headers))),
        }
    }
}

/// What follows the last dot of the last segment.
fn extension(path: &str) -> Option<&str> {
    path.rsplit('/').next()?.rsplit_once('.').map(|(_, extension)| extension)
}

fn host_matches(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(name) => **name == *host,
        HostPattern::Wildcard(suffix) => {
            host.strip_suffix(&**suffix).and_then(|rest| rest.strip_suffix('.')).is_some_and(|name| !name.is_empty())
        }
    }
}

fn header_holds(headers: &HeaderMap, name: &HeaderName, test: &Presence) -> bool {
    match test {
        Presence::Present => headers.contains_key(name),
        Presence::Absent => !headers.contains_key(name),
        Presence::Equals(value) => {
            headers.get_all(name).into_iter().any(|found| found.as_bytes().trim_ascii() == value.as_bytes())
        }
    }
}

fn present<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    test: &Presence,
    name: &NamePattern,
    mut found: impl Iterator<Item = (N, V)>,
) -> bool {
    match test {
        Presence::Present => found.any(|(own, _)| name.matches(own.as_ref())),
        Presence::Absent => !found.any(|(own, _)| name.matches(own.as_ref())),
        Presence::Equals(value) => found.any(|(own, is)| name.matches(own.as_ref()) && is.as_ref() == value.as_bytes()),
    }
}

impl Settings {
    fn new(rule: &CacheRule) -> Self {
        let key = &rule.key;
        let overrides = rule.edge_ttl_mode == Some(TtlMode::Override);
        let respects = rule.edge_ttl_mode == Some(TtlMode::Respect);
        let edge_ttl = match rule.edge_ttl.map(seconds) {
            _ if respects => Some(EdgeTtl::Respect),
            Some(seconds) if overrides => Some(EdgeTtl::Override(seconds)),
            other => other.map(EdgeTtl::Default),
        };
        let status_ttl = match &rule.status_ttl {
            _ if respects => Some(StatusTtls::default()),
            ttls => ttls.as_ref().map(|ttls| status_ttls(ttls, overrides)),
        };
        let query = match (&key.query_only, &key.query_except, key.query) {
            (Some(names), ..) => Some(QueryKeep::Only(names.clone().into())),
            (None, Some(names), _) => Some(QueryKeep::Except(names.clone().into())),
            (None, None, mode) => mode.map(|mode| match mode {
                QueryMode::All => QueryKeep::All,
                QueryMode::None => QueryKeep::None,
            }),
        };
        Self {
            bypass: rule.bypass,
            edge_ttl,
            status_ttl,
            disregard: rule.disregard.as_deref().map(disregard),
            error_seconds_max: rule.error_ttl_max.map(seconds),
            browser_ttl: browser_ttl(rule),
            set_cookie: rule.set_cookie.map(set_cookie),
            object_bytes_max: rule.object_bytes_max,
            stale_if_error: rule.stale_if_error.map(seconds),
            stale_while_revalidate: rule.stale_while_revalidate.map(seconds),
            always_online: rule.always_online,
            always_online_seconds_max: rule.always_online_max.map(seconds),
            deception_guard: rule.deception_guard,
            vary_ignore: rule.vary_ignore.clone().map(Into::into),
            vary_languages: rule.vary_languages.clone().map(Into::into),
            query,
            query_sort: key.query_sort,
            headers: key.headers.clone().map(|list| sorted(list, |a, b| a.as_str().cmp(b.as_str()))),
            cookies: key.cookies.clone().map(|list| sorted(list, Ord::cmp)),
            device: key.device,
            languages: key.languages.clone().map(Into::into),
        }
    }
}

fn sorted<T>(mut list: Vec<T>, by: impl FnMut(&T, &T) -> std::cmp::Ordering) -> Arc<[T]> {
    list.sort_by(by);
    list.into()
}

fn disregard(list: &[Directive]) -> Disregard {
    let has = |directive| list.contains(&directive);
    Disregard { no_store: has(Directive::NoStore), private: has(Directive::Private), no_cache: has(Directive::NoCache) }
}

fn browser_ttl(rule: &CacheRule) -> Option<BrowserTtl> {
    match (rule.browser_ttl_mode, rule.browser_ttl.map(seconds)) {
        (Some(TtlMode::Respect), _) => Some(BrowserTtl::Respect),
        (Some(TtlMode::Default), ttl) => ttl.map(BrowserTtl::Default),
        (Some(TtlMode::Override) | None, ttl) => ttl.map(BrowserTtl::Override),
    }
}

/// The narrowest range first.
fn status_ttls(ttls: &[(archipel_config::StatusRange, Duration)], overrides: bool) -> StatusTtls {
    let mut entries: Vec<StatusTtl> = ttls
        .iter()
        .map(|(range, ttl)| StatusTtl { first: range.first, last: range.last, seconds: seconds(*ttl) })
        .collect();
    entries.sort_by_key(|ttl| ttl.last - ttl.first);
    StatusTtls { overrides, entries: entries.into() }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
