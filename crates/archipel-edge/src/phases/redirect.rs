//! The redirect phase: answers with another URL, after the firewall, on the URL that the visitor asked for.

use std::ops::ControlFlow;
use std::sync::Arc;

use archipel_config::{ListValues, RedirectRule, Skip, Zone};
use archipel_transport::message::Reply;
use http::{HeaderValue, StatusCode};

use super::{Made, RuleSet, encode, rule_id};
use crate::exchange::Exchange;
use crate::firewall::View;

/// The reason in the log of a request that a rule answered with another URL.
const REASON: &str = "redirect_rule";

/// The rules of the phase.
pub(crate) struct Redirects {
    rules: RuleSet,
    each: Box<[Redirect]>,
    /// Whether a rule looks at the body.
    pub(crate) reads_body: bool,
}

struct Redirect {
    id: Box<str>,
    target: Target,
    status: StatusCode,
    preserve_query_string: bool,
}

enum Target {
    Fixed(Box<str>),
    Made(Made),
    Listed(Arc<ListValues>),
}

impl Redirects {
    pub(crate) fn new(zone: &Zone) -> Option<Self> {
        let all = zone.phases.redirects.iter().enumerate().filter(|(_, rule)| rule.enabled);
        let (mut conditions, mut each) = (Vec::new(), Vec::new());
        for (at, rule) in all {
            let Some(redirect) = Redirect::new(zone, rule, at) else { continue };
            conditions.push(rule.expression.as_ref());
            each.push(redirect);
        }
        let rules = RuleSet::with_always(conditions)?;
        let made = each.iter().any(|rule: &Redirect| matches!(&rule.target, Target::Made(made) if made.reads_body()));
        Some(Self { reads_body: rules.reads_body() || made, rules, each: each.into() })
    }
}

impl Redirect {
    fn new(zone: &Zone, rule: &RedirectRule, at: usize) -> Option<Self> {
        let target = match (&rule.target, &rule.target_expression, &rule.list) {
            (Some(target), ..) => Target::Fixed(target.clone()),
            (_, Some(made), _) => Target::Made(Made::new(made)?),
            (_, _, Some(list)) => Target::Listed(zone.lists.get(list)?.clone()),
            _ => return None,
        };
        let id = rule_id(rule.id.as_deref(), "redirects", at);
        let status = StatusCode::from_u16(rule.status).ok()?;
        Some(Self { id, target, status, preserve_query_string: rule.preserve_query_string })
    }

    /// Where to, and with which status; `None` where the rule has no target for this request.
    fn target(&self, ex: &Exchange, view: &View<'_>) -> Option<(String, StatusCode)> {
        let (url, status, keeps) = match &self.target {
            Target::Fixed(url) => (url.to_string(), self.status, false),
            Target::Made(value) => (encode::location(value.value(view).as_bytes()?)?, self.status, false),
            Target::Listed(list) => {
                let ListValues::Redirects(list) = &**list else { return None };
                let found = list.find(ex.asked.scheme, ex.asked.host(), ex.asked.path())?;
                let status = found.status.and_then(|status| StatusCode::from_u16(status).ok());
                (found.location, status.unwrap_or(self.status), found.preserve_query_string)
            }
        };
        let query = ex.asked.path_and_query.split_once('?').map_or("", |(_, query)| query);
        let keeps = keeps || self.preserve_query_string;
        Some((if keeps { encode::with_query(url, query) } else { url }, status))
    }
}

/// Answers with another URL where a rule says so.
pub(crate) fn stage(ex: &mut Exchange) -> ControlFlow<Reply> {
    let Some(zone) = ex.zone.clone() else { return ControlFlow::Continue(()) };
    let Some(redirects) = &zone.phases.redirects else { return ControlFlow::Continue(()) };
    if ex.skips(Skip::Redirects) {
        ex.note("redirects", "skipped", || "a rule of the firewall passes them over".to_owned());
        return ControlFlow::Continue(());
    }
    let Some((rule, url, status)) = find(ex, redirects) else { return ControlFlow::Continue(()) };
    let Ok(location) = HeaderValue::try_from(&url) else { return ControlFlow::Continue(()) };
    ex.note("redirects", "redirect", || format!("{}: {} {url}", rule.id, status.as_u16()));
    ex.reason = Some(REASON);
    ex.decided().rule = Some(rule.id.clone());
    let mut reply = Reply::new(status);
    reply.headers_mut().insert(http::header::LOCATION, location);
    ControlFlow::Break(reply)
}

/// The first rule that holds and leads elsewhere.
fn find<'a>(ex: &Exchange, redirects: &'a Redirects) -> Option<(&'a Redirect, String, StatusCode)> {
    let view = View::request(ex);
    let mut from = 0;
    while let Some(at) = redirects.rules.first_from(from, &view) {
        let rule = &redirects.each[at];
        match rule.target(ex, &view) {
            // A URL that leads to itself would go round for ever.
            Some((url, status)) if !leads_to_itself(ex, &url) => return Some((rule, url, status)),
            _ => from = at + 1,
        }
    }
    None
}

fn leads_to_itself(ex: &Exchange, url: &str) -> bool {
    let own = &*ex.asked.path_and_query;
    let url = url.split('#').next().unwrap_or_default();
    if url.starts_with('/') {
        return url == own;
    }
    let rest = url.strip_prefix(ex.asked.scheme.as_str()).and_then(|rest| rest.strip_prefix("://"));
    let rest = rest.and_then(|rest| rest.strip_prefix(&*ex.asked.authority));
    rest.is_some_and(|rest| rest == own || (rest.is_empty() && own == "/"))
}
