//! The phases of a reply, at its delivery: error pages by rule, then header fields. What is stored stays as the origin sent it.

use archipel_config::{Skip, Zone};
use archipel_transport::message::{Reply, ReplyBody};
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, EXPIRES, LAST_MODIFIED, TRAILER,
};
use http::{HeaderName, HeaderValue, StatusCode};

use super::rewrite::{Changes, apply};
use super::{RuleSet, rule_id};
use crate::exchange::Exchange;
use crate::firewall::View;

/// The rules of both phases.
pub(crate) struct Response {
    errors: Option<Phase<ErrorReply>>,
    headers: Option<Phase<(Box<str>, Changes)>>,
    /// Whether a rule looks at the request's body.
    pub(crate) reads_body: bool,
}

/// The conditions of a phase, and what each rule does.
type Phase<T> = (RuleSet, Box<[T]>);

struct ErrorReply {
    id: Box<str>,
    status: Option<StatusCode>,
    content_type: HeaderValue,
    body: Bytes,
}

impl Response {
    pub(crate) fn new(zone: &Zone) -> Option<Self> {
        let (errors, headers) = (errors(zone), headers(zone));
        if errors.is_none() && headers.is_none() {
            return None;
        }
        let reads_body = errors.as_ref().is_some_and(|(rules, _)| rules.reads_body())
            || headers.as_ref().is_some_and(|(rules, each)| {
                rules.reads_body() || each.iter().any(|(_, changes)| changes.reads_body())
            });
        Some(Self { errors, headers, reads_body })
    }
}

fn errors(zone: &Zone) -> Option<Phase<ErrorReply>> {
    let (mut conditions, mut each) = (Vec::new(), Vec::new());
    let all = zone.phases.custom_errors.iter().zip(&zone.phases.custom_error_bodies).enumerate();
    for (at, (rule, body)) in all.filter(|(_, (rule, _))| rule.enabled) {
        let Some(condition) = &rule.expression else { continue };
        conditions.push(condition);
        each.push(ErrorReply {
            id: rule_id(rule.id.as_deref(), "custom_errors", at),
            status: rule.status.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok()),
            content_type: rule.content_type.clone(),
            body: body.clone(),
        });
    }
    Some((RuleSet::new(conditions)?, each.into()))
}

fn headers(zone: &Zone) -> Option<Phase<(Box<str>, Changes)>> {
    let (mut conditions, mut each) = (Vec::new(), Vec::new());
    for (at, rule) in zone.phases.response_headers.iter().enumerate().filter(|(_, rule)| rule.enabled) {
        let Some(condition) = &rule.expression else { continue };
        conditions.push(condition);
        each.push((rule_id(rule.id.as_deref(), "response_headers", at), Changes::new(&rule.headers)));
    }
    Some((RuleSet::new(conditions)?, each.into()))
}

/// Changes a reply on its way to the visitor.
pub(crate) fn stage(ex: &mut Exchange, mut reply: Reply) -> Reply {
    let Some(zone) = ex.zone.clone() else { return reply };
    let Some(response) = &zone.phases.response else { return reply };
    // A tunnel's reply is the beginning of another protocol.
    if matches!(reply.body, ReplyBody::Tunnel(_)) {
        return reply;
    }
    if let Some((rules, each)) = &response.errors
        && reply.status.as_u16() >= 400
        && !ex.skips(Skip::CustomErrors)
        && let Some(at) = rules.first_from(0, &View::response(ex, &reply))
    {
        let rule = &each[at];
        ex.note("errors", "served", || rule.id.to_string());
        serve_error(&mut reply, rule);
    }
    if let Some((rules, each)) = &response.headers
        && !ex.skips(Skip::ResponseHeaders)
    {
        let mut from = 0;
        loop {
            let view = View::response(ex, &reply);
            let Some(at) = rules.first_from(from, &view) else { break };
            from = at + 1;
            let (id, changes) = &each[at];
            let changes = changes.ready(&view);
            ex.note("headers", "changed", || id.to_string());
            // What is added at delivery is a field of the reply like any other.
            for (name, ..) in
                changes.iter().filter(|(_, operation, _)| *operation != archipel_config::HeaderOperation::Add)
            {
                reply.added.retain(|(added, _)| added != name);
            }
            apply(reply.headers_mut(), changes);
        }
    }
    reply
}

/// Fields that speak of a content which another takes the place of.
const OF_CONTENT: [HeaderName; 10] = [
    ACCEPT_RANGES,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LOCATION,
    CONTENT_RANGE,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    TRAILER,
    HeaderName::from_static("digest"),
];

fn serve_error(reply: &mut Reply, rule: &ErrorReply) {
    let headers = reply.headers_mut();
    for name in &OF_CONTENT {
        headers.remove(name);
    }
    headers.insert(CONTENT_TYPE, rule.content_type.clone());
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    reply.added.retain(|(name, _)| !OF_CONTENT.contains(name));
    reply.status = rule.status.unwrap_or(reply.status);
    reply.body = ReplyBody::Full(rule.body.clone());
}
