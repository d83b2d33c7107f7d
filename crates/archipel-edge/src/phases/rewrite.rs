//! The rewrite phase: path, query and fields of the request, before its cache key is made. Firewall and redirects have seen the
//! request as the visitor sent it; what comes after sees what is made here, and nothing else.

use std::ops::ControlFlow;

use archipel_config::{HeaderChange, HeaderOperation, RewriteRule, Skip, Zone};
use archipel_http::target;
use archipel_transport::message::Reply;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Made, RuleSet, encode, rule_id};
use crate::error_page::{self, Failure};
use crate::exchange::Exchange;
use crate::firewall::View;

/// The rules of the phase.
pub(crate) struct Rewrites {
    rules: RuleSet,
    each: Box<[Rewrite]>,
    /// Whether a rule looks at the body.
    pub(crate) reads_body: bool,
}

struct Rewrite {
    id: Box<str>,
    path: Option<Text>,
    query: Option<Text>,
    changes: Changes,
}

enum Text {
    Fixed(Box<str>),
    Made(Made),
}

/// Changes of header fields, in order.
pub(super) struct Changes(Box<[Change]>);

struct Change {
    name: HeaderName,
    operation: HeaderOperation,
    value: ChangeValue,
}

enum ChangeValue {
    None,
    Fixed(HeaderValue),
    Made(Made),
}

/// A change with its value, worked out for one message.
pub(super) type Ready = (HeaderName, HeaderOperation, Option<HeaderValue>);

impl Changes {
    pub(super) fn new(changes: &[HeaderChange]) -> Self {
        let change = |change: &HeaderChange| {
            let value = match (change.operation, &change.value, &change.value_expression) {
                (HeaderOperation::Remove, ..) => ChangeValue::None,
                (_, Some(value), _) => ChangeValue::Fixed(value.clone()),
                (_, _, Some(made)) => ChangeValue::Made(Made::new(made)?),
                _ => return None,
            };
            Some(Change { name: change.name.clone()?, operation: change.operation, value })
        };
        Self(changes.iter().filter_map(change).collect())
    }

    pub(super) fn reads_body(&self) -> bool {
        self.0.iter().any(|change| matches!(&change.value, ChangeValue::Made(made) if made.reads_body()))
    }

    /// The changes for what a view shows. One whose expression has no result changes nothing.
    pub(super) fn ready(&self, view: &View<'_>) -> Vec<Ready> {
        let ready = |change: &Change| {
            let value = match &change.value {
                ChangeValue::None => None,
                ChangeValue::Fixed(value) => Some(value.clone()),
                ChangeValue::Made(made) => Some(encode::field_value(made.value(view).as_bytes()?)?),
            };
            Some((change.name.clone(), change.operation, value))
        };
        self.0.iter().filter_map(ready).collect()
    }
}

/// Makes changes in a map.
pub(super) fn apply(headers: &mut HeaderMap, changes: Vec<Ready>) {
    for (name, operation, value) in changes {
        match (operation, value) {
            (HeaderOperation::Set, Some(value)) => drop(headers.insert(name, value)),
            (HeaderOperation::Add, Some(value)) => drop(headers.append(name, value)),
            _ => drop(headers.remove(name)),
        }
    }
}

impl Rewrites {
    pub(crate) fn new(zone: &Zone) -> Option<Self> {
        let all = zone.phases.rewrites.iter().enumerate().filter(|(_, rule)| rule.enabled);
        let (mut conditions, mut each) = (Vec::new(), Vec::new());
        for (at, rule) in all {
            let Some(condition) = &rule.expression else { continue };
            conditions.push(condition);
            each.push(Rewrite::new(rule, at));
        }
        let rules = RuleSet::new(conditions)?;
        let reads_body = rules.reads_body() || each.iter().any(Rewrite::reads_body);
        Some(Self { rules, each: each.into(), reads_body })
    }
}

impl Rewrite {
    fn new(rule: &RewriteRule, at: usize) -> Self {
        let text = |fixed: &Option<Box<str>>, made: &Option<archipel_config::ValueExpression>| match fixed {
            Some(fixed) => Some(Text::Fixed(fixed.clone())),
            None => made.as_ref().and_then(Made::new).map(Text::Made),
        };
        Self {
            id: rule_id(rule.id.as_deref(), "rewrites", at),
            path: text(&rule.path, &rule.path_expression),
            query: text(&rule.query, &rule.query_expression),
            changes: Changes::new(&rule.headers),
        }
    }

    fn reads_body(&self) -> bool {
        let text = |text: &Option<Text>| matches!(text, Some(Text::Made(made)) if made.reads_body());
        text(&self.path) || text(&self.query) || self.changes.reads_body()
    }

    /// The new target, where there is one; a rule whose expression has no result leaves what was.
    fn target(&self, ex: &Exchange, view: &View<'_>) -> Option<String> {
        if self.path.is_none() && self.query.is_none() {
            return None;
        }
        let path = match &self.path {
            Some(Text::Fixed(path)) => path.to_string(),
            Some(Text::Made(made)) => encode::path(made.value(view).as_bytes()?),
            None => ex.asked.path().to_owned(),
        };
        let query = match &self.query {
            Some(Text::Fixed(query)) => query.to_string(),
            Some(Text::Made(made)) => encode::query(made.value(&View::for_query(ex)).as_bytes()?),
            None => {
                return Some(match ex.asked.path_and_query.split_once('?') {
                    Some((_, query)) => format!("{path}?{query}"),
                    None => path,
                });
            }
        };
        Some(if query.is_empty() { path } else { format!("{path}?{query}") })
    }
}

/// Rewrites the request. Breaks with 500 where a rule makes of it what is no request.
pub(crate) fn stage(ex: &mut Exchange) -> ControlFlow<Reply> {
    let Some(zone) = ex.zone.clone() else { return ControlFlow::Continue(()) };
    let Some(rewrites) = &zone.phases.rewrites else { return ControlFlow::Continue(()) };
    if ex.skips(Skip::Rewrites) {
        ex.note("rewrites", "skipped", || "a rule of the firewall passes them over".to_owned());
        return ControlFlow::Continue(());
    }
    let mut from = 0;
    loop {
        // A new view for each: a rule sees what the ones before it made.
        let (rule, target, changes) = {
            let view = View::request(ex);
            let Some(at) = rewrites.rules.first_from(from, &view) else { return ControlFlow::Continue(()) };
            from = at + 1;
            let rule = &rewrites.each[at];
            (rule, rule.target(ex, &view), rule.changes.ready(&view))
        };
        if let Some(target) = target
            && let Err(reason) = retarget(ex, &target)
        {
            ex.note("rewrites", "refused", || format!("{}: {target} is no target: {reason}", rule.id));
            ex.decided().rule = Some(rule.id.clone());
            return ControlFlow::Break(error_page::reply(ex, &Failure::internal("rewrite_target")));
        }
        ex.note("rewrites", "rewritten", || format!("{}: {}", rule.id, ex_target(&changes)));
        if !changes.is_empty() {
            ex.decided().set_fields.extend(changes.iter().map(|(name, ..)| name.clone()));
            apply(&mut ex.asked.headers, changes);
        }
    }
}

fn ex_target(changes: &[Ready]) -> String {
    let fields: Vec<&str> = changes.iter().map(|(name, ..)| name.as_str()).collect();
    if fields.is_empty() { "target".to_owned() } else { format!("fields {}", fields.join(", ")) }
}

/// Gives the request another target, in the one canonical form.
fn retarget(ex: &mut Exchange, made: &str) -> Result<(), &'static str> {
    if made.len() > target::TARGET_BYTES_MAX {
        return Err("it is too long");
    }
    let parsed = target::parse_path_and_query(made.as_bytes()).map_err(target::TargetError::as_str)?;
    let canonical: Box<str> = match parsed.query {
        Some(query) => format!("{}?{query}", parsed.path).into(),
        None => parsed.path.into(),
    };
    if *canonical != *ex.asked.path_and_query {
        let before = std::mem::replace(&mut ex.asked.path_and_query, canonical);
        ex.asked.rewritten_from.get_or_insert(before);
    }
    Ok(())
}
