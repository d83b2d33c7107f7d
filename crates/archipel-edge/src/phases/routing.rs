//! The route phase: another origin for a request. It is decided before the cache key is made, and is part of it: what two origins
//! answer is never mixed up.

use std::sync::Arc;

use archipel_config::{Skip, Zone, ZoneOrigin};

use super::{RuleSet, rule_id};
use crate::exchange::Exchange;
use crate::firewall::View;
use crate::live::LiveOrigin;

/// The rules of the phase.
pub(crate) struct Routes {
    rules: RuleSet,
    each: Box<[(Box<str>, Arc<LiveOrigin>)]>,
    /// Whether a rule looks at the body.
    pub(crate) reads_body: bool,
}

impl Routes {
    /// Compiles the rules of a zone; `origin` makes an origin ready.
    ///
    /// # Errors
    /// What `origin` gives.
    pub(crate) fn new<E>(
        zone: &Zone,
        mut origin: impl FnMut(&ZoneOrigin) -> Result<LiveOrigin, E>,
    ) -> Result<Option<Self>, E> {
        let all = zone.phases.routes.iter().enumerate().filter(|(_, rule)| rule.enabled);
        let (mut conditions, mut each) = (Vec::new(), Vec::new());
        for (at, rule) in all {
            let (Some(condition), Some(url)) = (&rule.expression, &rule.url) else { continue };
            let mut wanted = zone.origin.clone();
            wanted.url = url.clone();
            wanted.tls_server_name = rule.tls_server_name.clone();
            wanted.host = rule.host.clone().unwrap_or(wanted.host);
            conditions.push(condition);
            each.push((rule_id(rule.id.as_deref(), "routes", at), Arc::new(origin(&wanted)?)));
        }
        let rules = RuleSet::new(conditions);
        Ok(rules.map(|rules| Self { reads_body: rules.reads_body(), rules, each: each.into() }))
    }
}

/// Chooses another origin where a rule says so.
pub(crate) fn stage(ex: &mut Exchange) {
    let Some(zone) = ex.zone.clone() else { return };
    let Some(routes) = &zone.phases.routes else { return };
    if ex.skips(Skip::Routes) {
        ex.note("routes", "skipped", || "a rule of the firewall passes them over".to_owned());
        return;
    }
    let found = {
        let view = View::request(ex);
        let (mut from, mut last) = (0, None);
        while let Some(at) = routes.rules.first_from(from, &view) {
            last = Some(at);
            from = at + 1;
        }
        last
    };
    let Some((id, origin)) = found.and_then(|at| routes.each.get(at)) else { return };
    ex.note("routes", "origin", || format!("{id}: {}://{}", origin.scheme, origin.name));
    ex.decided().route = Some(origin.clone());
}
