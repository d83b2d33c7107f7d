//! The firewall stage: access rules, then custom rules, then managed rules. The first that answers ends it.
//!
//! - [`fields`]: what rules see of an exchange; `body`, `multipart` and `pairs` are parts of it;
//! - [`event`]: what is recorded of each decision;
//! - [`reply`]: what is answered;
//! - [`managed`]: built-in rules and the OWASP Core Rule Set;
//! - [`test`]: trying expressions by hand.
//!
//! It judges the request as the visitor sent it, in the one canonical form: rewrites come after it.

mod access;
mod body;
pub mod event;
mod fields;
pub(crate) mod managed;
pub(crate) mod multipart;
mod pairs;
pub mod reference;
pub(crate) mod reply;
pub mod test;

use std::ops::ControlFlow;

use archipel_config::{FirewallAction, FirewallMode, FirewallRule, Skip, Zone};
use archipel_rules::{Field, Fields as _};
use archipel_transport::message::Reply;
use archipel_transport::origin::OriginError;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::error_page::{self, Failure};
use crate::exchange::Exchange;
use crate::phases::{RuleSet, rule_id};
use crate::shield::rates;
use event::{Finding, Source};
use reply::Custom;

pub(crate) use fields::View;

/// The firewall of a zone.
pub(crate) struct Firewall {
    mode: FirewallMode,
    access: Option<access::Access>,
    custom: Option<CustomRules>,
}

/// The custom rules of a zone.
struct CustomRules {
    rules: RuleSet,
    each: Box<[CustomRule]>,
}

struct CustomRule {
    id: Box<str>,
    description: Box<str>,
    does: Does,
    log: bool,
    /// What an event shows as matched: the first field of the expression that holds text.
    shown: Option<Field>,
}

/// What a rule does when it holds.
enum Does {
    Block(StatusCode, Option<Custom>),
    Challenge(&'static str),
    Log,
    Skip { what: u16, rules: Box<[usize]> },
}

impl Firewall {
    /// Compiles the firewall of a zone; `None` where nothing could ever be evaluated. `may_switch` says whether rules about settings
    /// can change its mode.
    pub(crate) fn new(zone: &Zone, may_switch: bool) -> Option<Self> {
        let config = &zone.firewall;
        if config.mode == FirewallMode::Off && !may_switch {
            return None;
        }
        let (access, custom) = (access::Access::new(zone), CustomRules::new(&config.rules));
        if access.is_none() && custom.is_none() {
            return None;
        }
        Some(Self { mode: config.mode, access, custom })
    }

    /// Whether a rule looks at the request's body.
    pub(crate) fn reads_body(&self) -> bool {
        self.custom.as_ref().is_some_and(|custom| custom.rules.reads_body())
    }
}

impl CustomRules {
    fn new(rules: &[FirewallRule]) -> Option<Self> {
        let all = rules.iter().enumerate().filter(|(_, rule)| rule.enabled);
        let (mut conditions, mut kept) = (Vec::new(), Vec::new());
        for (at, rule) in all {
            if let (Some(condition), Some(action)) = (&rule.expression, rule.action) {
                conditions.push(condition);
                kept.push((at, rule, action));
            }
        }
        let place = |id: &str| kept.iter().position(|(_, rule, _)| rule.id.as_deref() == Some(id));
        let rule = |(at, rule, action): &(usize, &FirewallRule, FirewallAction)| CustomRule {
            id: rule_id(rule.id.as_deref(), "firewall.rules", *at),
            description: rule.description.clone().unwrap_or_default(),
            does: Does::new(rule, *action, place),
            log: rule.log,
            shown: rule.expression.as_ref().and_then(shown_field),
        };
        let each = kept.iter().map(rule).collect();
        Some(Self { rules: RuleSet::new(conditions)?, each })
    }
}

impl Does {
    fn new(rule: &FirewallRule, action: FirewallAction, place: impl Fn(&str) -> Option<usize>) -> Self {
        match action {
            FirewallAction::Block => {
                let status = rule.status.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
                let custom = custom_reply(rule.body.as_deref(), rule.content_type.as_ref());
                Self::Block(status.unwrap_or(StatusCode::FORBIDDEN), custom)
            }
            FirewallAction::ManagedChallenge => Self::Challenge("managed_challenge"),
            FirewallAction::JsChallenge => Self::Challenge("js_challenge"),
            FirewallAction::Challenge => Self::Challenge("challenge"),
            FirewallAction::Log => Self::Log,
            FirewallAction::Skip => Self::Skip {
                what: rule.skip.iter().flatten().fold(0, |set, skip| set | skip.bit()),
                rules: rule.skip_rules.iter().flatten().filter_map(|id| place(id)).collect(),
            },
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Block(..) => "block",
            Self::Challenge(word) => word,
            Self::Log => "log",
            Self::Skip { .. } => "skip",
        }
    }
}

/// The answer that a rule brings along.
pub(crate) fn custom_reply(body: Option<&str>, content_type: Option<&HeaderValue>) -> Option<Custom> {
    let content_type = content_type.cloned().unwrap_or(HeaderValue::from_static("text/html; charset=utf-8"));
    body.map(|body| Custom { content_type, body: Bytes::copy_from_slice(body.as_bytes()) })
}

/// The field whose value an event shows: the first of the expression that is one text, number or address.
fn shown_field(condition: &archipel_config::Condition) -> Option<Field> {
    condition.fields().iter().copied().find(|field| field.kind().scalar().is_some())
}

/// Judges a request.
pub(crate) async fn stage(ex: &mut Exchange) -> ControlFlow<Reply> {
    let Some(zone) = &ex.zone else { return ControlFlow::Continue(()) };
    if zone.phases.reads_body && !ex.asked.body.is_empty() && ex.asked.upgrade.is_none() {
        // Boxed, so that no other request carries what reading a body needs.
        Box::pin(read_body(ex)).await?;
    }
    judge(ex)?;
    rates::stage(ex)?;
    managed::stage(ex).await
}

/// Judges a request whose body was read where that is needed.
pub(crate) fn judge(ex: &mut Exchange) -> ControlFlow<Reply> {
    // Asked by reference, so that a zone without rules pays a branch.
    let Some(zone) = ex.zone.as_ref().filter(|zone| zone.firewall.is_some()).cloned() else {
        return ControlFlow::Continue(());
    };
    let Some(firewall) = &zone.firewall else { return ControlFlow::Continue(()) };
    let mode = ex.overrides().firewall_mode.unwrap_or(firewall.mode);
    if mode == FirewallMode::Off {
        ex.note("firewall", "off", || "the mode is \"off\"".to_owned());
        return ControlFlow::Continue(());
    }
    if let Some(access) = &firewall.access {
        match access::stage(ex, access, mode)? {
            access::Verdict::Pass => {}
            access::Verdict::Allow => {
                ex.decided().skip |= Skip::RateLimits.bit() | Skip::Managed.bit();
                return ControlFlow::Continue(());
            }
            access::Verdict::Ended => {
                ex.decided().skip |= Skip::Managed.bit();
                return ControlFlow::Continue(());
            }
        }
    }
    if let Some(custom) = &firewall.custom
        && judge_custom(ex, custom, mode)? == Judged::Ended
    {
        ex.decided().skip |= Skip::Managed.bit();
        return ControlFlow::Continue(());
    }
    ex.note("firewall", "pass", || "no rule answers".to_owned());
    ControlFlow::Continue(())
}

/// What the custom rules came to, where none answered.
#[derive(PartialEq, Eq)]
enum Judged {
    /// The firewall goes on.
    Pass,
    /// In log mode: one would have answered. What comes after it would not have been evaluated.
    Ended,
}

/// Reads the beginning of the body, for the rules of any phase that look at it.
async fn read_body(ex: &mut Exchange) -> ControlFlow<Reply> {
    let bytes_max = ex.zone.as_ref().map_or(0, |zone| zone.zone.firewall.body_bytes_max);
    match ex.asked.body.peek(bytes_max).await {
        Ok(peeked) => {
            ex.decided().body = Some(peeked);
            ControlFlow::Continue(())
        }
        Err(error) => {
            ex.note("firewall", "refused", || format!("the body cannot be read: {error}"));
            ControlFlow::Break(error_page::reply(ex, &Failure::origin(&OriginError::RequestBody(error))))
        }
    }
}

fn judge_custom(ex: &mut Exchange, custom: &CustomRules, mode: FirewallMode) -> ControlFlow<Reply, Judged> {
    let mut passed_over: Vec<usize> = Vec::new();
    let mut from = 0;
    loop {
        let (rule, matched) = {
            let view = View::request(ex);
            let Some(at) = custom.rules.first_from(from, &view) else {
                return ControlFlow::Continue(Judged::Pass);
            };
            from = at + 1;
            if passed_over.contains(&at) {
                continue;
            }
            let rule = &custom.each[at];
            let matched = rule.shown.filter(|_| rule.log).map(|field| (field.name(), shown(&view, field)));
            (rule, matched)
        };
        let does = rule.does.word();
        if rule.log {
            let finding = Finding {
                source: Source::Custom,
                rule: &rule.id,
                description: &rule.description,
                action: does,
                matched,
                score: None,
                more: event::More::default(),
            };
            event::record(ex, finding, mode);
        }
        match &rule.does {
            Does::Log => {}
            Does::Skip { what, rules } => {
                ex.decided().skip |= what;
                passed_over.extend_from_slice(rules);
                if what & Skip::Rules.bit() != 0 {
                    return ControlFlow::Continue(Judged::Pass);
                }
            }
            Does::Block(..) | Does::Challenge(_) if mode == FirewallMode::Log => {
                return ControlFlow::Continue(Judged::Ended);
            }
            Does::Block(status, custom) => {
                ex.decided().rule = Some(rule.id.clone());
                return ControlFlow::Break(reply::block(ex, reply::BLOCK, *status, custom.as_ref()));
            }
            Does::Challenge(_) => {
                ex.decided().rule = Some(rule.id.clone());
                return ControlFlow::Break(reply::challenge(ex));
            }
        }
    }
}

/// The value of a field for an event.
fn shown(view: &View<'_>, field: Field) -> String {
    let value = view.field(field);
    match value.as_bytes() {
        Some(bytes) => event::masked(field.name(), bytes),
        None => event::masked(field.name(), value.to_string().as_bytes()),
    }
}
