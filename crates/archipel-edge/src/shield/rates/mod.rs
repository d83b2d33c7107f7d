//! Rate limits of a zone: `[[rate_limits]]`. After the custom rules, before the managed rules; those about requests to the origin where
//! a request goes there.
//!
//! - `key`: which counter a request belongs to;
//! - `fields`: what replies tell of it;
//! - `metrics`, `report`: what rules did.
//!
//! The counters are `archipel-shield`'s. They belong to the rule, not to the configuration: a rule that stays the same over a reload
//! goes on counting. A zone without rate limits pays one branch.

mod fields;
mod key;
mod metrics;
mod report;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use archipel_config::{Condition, FirewallMode, RateLimitAction, RateLimitRule, Skip, Zone};
use archipel_http::proxy_status::ProxyError;
use archipel_rules::Phase;
use archipel_shield::limits::{Counters, Limit, Standing};
use archipel_transport::message::{Reply, ReplyBody};
use http::StatusCode;
use smallvec::SmallVec;

use super::limits::whole_seconds;
use super::offences::{self, Why};
use crate::error_page::Failure;
use crate::exchange::Exchange;
use crate::firewall::event::{self, Finding, Source};
use crate::firewall::reply::{self as answers, Custom};
use crate::firewall::{View, custom_reply};
use crate::phases::{RuleSet, rule_id};

pub(crate) use metrics::metrics;
pub use report::RateLimitReport;

/// A rate limit refused.
pub(crate) const REASON: &str = "rate_limit";

/// The rate limits of a zone.
pub(crate) struct Rates {
    /// Which requests each rule is about, by the rule's number.
    applies: RuleSet,
    /// Which requests rules count that count others than those they are about.
    counts: Option<Numbered>,
    /// Which replies rules count that go by replies.
    counts_replies: Option<Numbered>,
    rules: Box<[Rule]>,
    /// Whether a rule looks at the request's body.
    pub(crate) reads_body: bool,
}

/// Conditions, with the numbers of their rules.
type Numbered = (RuleSet, Box<[usize]>);

struct Rule {
    id: Box<str>,
    description: Box<str>,
    key: key::Key,
    limit: Limit,
    period: Duration,
    counters_max: usize,
    counting: Counting,
    to_origin: bool,
    does: Does,
    told: Option<fields::Told>,
    counters: Arc<Counters>,
}

/// What a rule counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counting {
    /// The requests that it is about.
    Own,
    /// Requests for which another expression holds.
    Requests,
    /// Replies.
    Replies,
}

enum Does {
    Block(StatusCode, Option<Custom>),
    Challenge(&'static str),
    Log,
}

impl Does {
    fn new(rule: &RateLimitRule) -> Self {
        match rule.action {
            RateLimitAction::Block => {
                let status = rule.status.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
                let custom = custom_reply(rule.body.as_deref(), rule.content_type.as_ref());
                Self::Block(status.unwrap_or(StatusCode::TOO_MANY_REQUESTS), custom)
            }
            RateLimitAction::ManagedChallenge => Self::Challenge("managed_challenge"),
            RateLimitAction::JsChallenge => Self::Challenge("js_challenge"),
            RateLimitAction::Challenge => Self::Challenge("challenge"),
            RateLimitAction::Log => Self::Log,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Block(..) => "block",
            Self::Challenge(word) => word,
            Self::Log => "log",
        }
    }
}

impl Rule {
    fn new(rule: &RateLimitRule, at: usize, before: Option<&Rates>) -> Self {
        let id = rule_id(rule.id.as_deref(), "rate_limits", at);
        let requests = rule.requests.unwrap_or(u32::MAX);
        let key = key::Key::new(&rule.characteristics);
        let counting = match &rule.counting_expression {
            None => Counting::Own,
            Some(condition) if of_replies(condition) => Counting::Replies,
            Some(_) => Counting::Requests,
        };
        let same = |other: &&Rule| {
            let shape = |rule: &Rule| (rule.period, rule.counters_max, rule.counting == counting, rule.to_origin);
            other.id == id
                && other.key.text == key.text
                && shape(other) == (rule.period, rule.counters_max, true, rule.requests_to_origin)
        };
        let counters = before.and_then(|before| before.rules.iter().find(same)).map(|rule| rule.counters.clone());
        Self {
            told: rule.ratelimit_headers.then(|| fields::Told::new(&id, requests, rule.period)),
            id,
            description: rule.description.clone().unwrap_or_default(),
            key,
            limit: Limit { requests, mitigation: rule.mitigation_timeout },
            period: rule.period,
            counters_max: rule.counters_max,
            counting,
            to_origin: rule.requests_to_origin,
            does: Does::new(rule),
            counters: counters.unwrap_or_else(|| Arc::new(Counters::new(rule.period, rule.counters_max))),
        }
    }

    /// Asks and counts; `None` where the rule is not about the request.
    fn ask(&self, asked: &Asked, now_ms: u64) -> Option<Standing> {
        match (asked.applies, asked.counts) {
            (true, true) => Some(self.counters.ask(asked.key, &self.limit, now_ms)),
            (true, false) => Some(self.counters.check(asked.key, &self.limit, now_ms)),
            (false, true) => {
                self.counters.add(asked.key, now_ms);
                None
            }
            (false, false) => None,
        }
    }
}

/// Whether an expression can only be evaluated once there is a reply.
fn of_replies(condition: &Condition) -> bool {
    condition.fields().iter().any(|field| field.spec().phase == Phase::Response)
}

impl Rates {
    /// Compiles the rate limits of a zone; those that are the same as `before` go on counting.
    pub(crate) fn new(zone: &Zone, before: Option<&Self>) -> Option<Self> {
        let kept: Vec<(usize, &RateLimitRule, &Condition)> = (zone.rate_limits.iter().enumerate())
            .filter(|(_, rule)| rule.enabled)
            .filter_map(|(at, rule)| Some((at, rule, rule.expression.as_ref()?)))
            .collect();
        let rules: Box<[Rule]> = kept.iter().map(|(at, rule, _)| Rule::new(rule, *at, before)).collect();
        let numbered = |counting: Counting| -> Option<Numbered> {
            let of_kind = kept.iter().enumerate().filter(|(number, _)| rules[*number].counting == counting);
            let (numbers, conditions): (Vec<usize>, Vec<&Condition>) =
                of_kind.filter_map(|(number, (_, rule, _))| Some((number, rule.counting_expression.as_ref()?))).unzip();
            Some((RuleSet::new(conditions)?, numbers.into()))
        };
        let (counts, counts_replies) = (numbered(Counting::Requests), numbered(Counting::Replies));
        let applies = RuleSet::new(kept.iter().map(|(_, _, condition)| *condition).collect())?;
        let reads = |numbered: &Option<Numbered>| numbered.as_ref().is_some_and(|(rules, _)| rules.reads_body());
        let reads_body = applies.reads_body()
            || reads(&counts)
            || reads(&counts_replies)
            || rules.iter().any(|rule| rule.key.reads_body);
        Some(Self { applies, counts, counts_replies, rules, reads_body })
    }

    /// What the rules have to do with a request.
    fn look_up(&self, ex: &Exchange) -> SmallVec<[Asked; 4]> {
        let view = View::request(ex);
        let mut all: SmallVec<[(bool, bool); 16]> = SmallVec::from_elem((false, false), self.rules.len());
        let mut from = 0;
        while let Some(at) = self.applies.first_from(from, &view) {
            all[at] = (true, self.rules[at].counting == Counting::Own);
            from = at + 1;
        }
        for at in found(self.counts.as_ref(), &view) {
            all[at].1 = true;
        }
        let concerned = all.iter().zip(&self.rules).enumerate();
        let concerned =
            concerned.filter(|(_, (does, rule))| **does != (false, false) || rule.counting == Counting::Replies);
        concerned
            .map(|(at, ((applies, counts), rule))| Asked {
                rule: at,
                key: rule.key.of(ex, &view),
                applies: *applies,
                counts: *counts,
            })
            .collect()
    }
}

/// The rules whose condition holds.
fn found(numbered: Option<&Numbered>, view: &View<'_>) -> SmallVec<[usize; 4]> {
    let mut found = SmallVec::new();
    let Some((conditions, numbers)) = numbered else { return found };
    let mut from = 0;
    while let Some(at) = conditions.first_from(from, view) {
        found.push(numbers[at]);
        from = at + 1;
    }
    found
}

/// What a rule has to do with a request.
#[derive(Clone, Copy)]
struct Asked {
    rule: usize,
    key: u64,
    /// It is about the request.
    applies: bool,
    /// It counts the request.
    counts: bool,
}

/// What is still to be done for an exchange.
#[derive(Default)]
pub(crate) struct Pending {
    /// Rules that are asked where the request goes to the origin.
    to_origin: SmallVec<[Asked; 4]>,
    /// Rules that may count the reply, with their keys.
    replies: SmallVec<[(usize, u64); 2]>,
    /// What the visitor is told.
    standings: SmallVec<[(usize, u64, Standing); 2]>,
    /// A rate limit has answered: its own reply counts for nothing.
    refused: bool,
}

/// The milliseconds of the counters' clock.
fn now_ms(ex: &Exchange, at: Instant) -> u64 {
    u64::try_from(ex.worker.node.budgets.elapsed(at).as_millis()).unwrap_or(u64::MAX)
}

/// The rate limits that hold for an exchange.
fn rates_of(ex: &mut Exchange) -> Option<Arc<crate::live::LiveZone>> {
    // Asked by reference, so that a zone without rules pays a branch.
    let zone = ex.zone.as_ref().filter(|zone| zone.rates.is_some()).cloned()?;
    let passed_over = if ex.skips(Skip::RateLimits) {
        "a rule of the firewall passes them over"
    } else if super::is_exempt(ex) {
        "the address is in `shield.exempt`"
    } else {
        return Some(zone);
    };
    ex.note("rates", "skip", || passed_over.to_owned());
    None
}

/// Judges a request. Breaks where a rule refuses it.
pub(crate) fn stage(ex: &mut Exchange) -> ControlFlow<Reply> {
    let Some(zone) = rates_of(ex) else { return ControlFlow::Continue(()) };
    let Some(rates) = &zone.rates else { return ControlFlow::Continue(()) };
    let asked = rates.look_up(ex);
    if asked.is_empty() {
        return ControlFlow::Continue(());
    }
    let mut pending = Box::<Pending>::default();
    let counts_replies = asked.iter().filter(|asked| rates.rules[asked.rule].counting == Counting::Replies);
    pending.replies = counts_replies.map(|asked| (asked.rule, asked.key)).collect();
    let (to_origin, now): (SmallVec<[Asked; 4]>, SmallVec<[Asked; 4]>) =
        asked.into_iter().partition(|asked| rates.rules[asked.rule].to_origin);
    pending.to_origin = to_origin;
    ex.rates = Some(pending);
    judge(ex, rates, &now)
}

/// Judges a request that goes to the origin.
pub(crate) fn to_origin(ex: &mut Exchange) -> ControlFlow<Reply> {
    let Some(pending) = ex.rates.as_mut().filter(|pending| !pending.to_origin.is_empty()) else {
        return ControlFlow::Continue(());
    };
    let asked = std::mem::take(&mut pending.to_origin);
    let Some(zone) = ex.zone.clone() else { return ControlFlow::Continue(()) };
    let Some(rates) = &zone.rates else { return ControlFlow::Continue(()) };
    judge(ex, rates, &asked)
}

fn judge(ex: &mut Exchange, rates: &Rates, all: &[Asked]) -> ControlFlow<Reply> {
    let now_ms = now_ms(ex, ex.times.begun);
    for asked in all {
        let rule = &rates.rules[asked.rule];
        let Some(standing) = rule.ask(asked, now_ms) else { continue };
        if let Some(pending) = &mut ex.rates {
            pending.standings.push((asked.rule, asked.key, standing));
        }
        if standing.refused
            && let Some(reply) = exceeded(ex, rule, &standing)
        {
            if let Some(pending) = &mut ex.rates {
                pending.refused = true;
            }
            return ControlFlow::Break(reply);
        }
    }
    ControlFlow::Continue(())
}

/// Does what a rule does with a request that is one too many.
#[cold]
fn exceeded(ex: &mut Exchange, rule: &Rule, standing: &Standing) -> Option<Reply> {
    if standing.begins {
        let finding = Finding {
            source: Source::RateLimit,
            rule: &rule.id,
            description: &rule.description,
            action: rule.does.word(),
            matched: None,
            score: None,
            more: event::More::default(),
        };
        event::record(ex, finding, FirewallMode::Block);
    }
    // People meet challenges: being shown one is no offence.
    if rule.key.by_address && matches!(rule.does, Does::Block(..)) {
        offences::note(ex, Why::Limited);
    }
    let reply = match &rule.does {
        Does::Log => return None,
        Does::Challenge(_) => answers::challenge(ex),
        Does::Block(status, custom) => {
            let mut failure = Failure::refusal(*status, REASON, "Too many requests: this site allows fewer.");
            failure.retry_helps = true;
            failure.proxy = Some(ProxyError::HttpRequestDenied);
            failure.retry_after = Some(whole_seconds(standing.wait));
            answers::refuse(ex, &failure, custom.as_ref())
        }
    };
    ex.decided().rule = Some(rule.id.clone());
    Some(reply)
}

/// Counts a reply, and tells the visitor how they stand.
pub(crate) fn on_reply(ex: &mut Exchange, mut reply: Reply) -> Reply {
    let Some(mut pending) = ex.rates.take() else { return reply };
    let Some(zone) = ex.zone.clone() else { return reply };
    let Some(rates) = &zone.rates else { return reply };
    if !pending.refused && !pending.replies.is_empty() {
        count_reply(ex, rates, &mut pending, &reply);
    }
    // A tunnel's reply is the beginning of another protocol.
    if !matches!(reply.body, ReplyBody::Tunnel(_)) {
        let told = pending.standings.iter();
        let told = told.filter_map(|(rule, _, standing)| Some((rates.rules[*rule].told.as_ref()?, *standing)));
        fields::add(&mut reply, told);
    }
    reply
}

fn count_reply(ex: &Exchange, rates: &Rates, pending: &mut Pending, reply: &Reply) {
    let view = View::as_sent(ex, reply);
    let now_ms = now_ms(ex, Instant::now());
    for rule in found(rates.counts_replies.as_ref(), &view) {
        let of_rule = pending.replies.iter().find(|(number, _)| *number == rule);
        let Some((_, key)) = of_rule else { continue };
        let Rule { counters, limit, to_origin, .. } = &rates.rules[rule];
        if *to_origin && ex.times.origin_asked.is_none() {
            continue;
        }
        counters.add(*key, now_ms);
        if let Some((.., standing)) = pending.standings.iter_mut().find(|(number, ..)| *number == rule) {
            *standing = counters.peek(*key, limit, now_ms);
        }
    }
}

/// Says how a request stands with each rule that is about it, and counts nothing.
pub(crate) fn explain(ex: &mut Exchange) -> ControlFlow<Reply> {
    let Some(zone) = rates_of(ex) else { return ControlFlow::Continue(()) };
    let Some(rates) = &zone.rates else { return ControlFlow::Continue(()) };
    let now_ms = now_ms(ex, Instant::now());
    for asked in rates.look_up(ex).iter().filter(|asked| asked.applies) {
        let rule = &rates.rules[asked.rule];
        let standing = rule.counters.peek(asked.key, &rule.limit, now_ms);
        let verdict = if standing.refused { rule.does.word() } else { "pass" };
        ex.note("rates", verdict, || {
            let (left, requests) = (standing.left, rule.limit.requests);
            format!("rule {}: {left} of {requests} left, changes in {} s", rule.id, standing.wait.as_secs())
        });
        // Where the request would be answered by the cache is not known yet.
        if standing.refused
            && !rule.to_origin
            && let Some(reply) = exceeded(ex, rule, &Standing { begins: false, ..standing })
        {
            return ControlFlow::Break(reply);
        }
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests;
