//! Access rules: who may come in, by address, country or network.

use std::ops::ControlFlow;
use std::sync::Arc;

use archipel_config::{AccessAction, AccessRule, CidrSet, FirewallMode, ListValues, Zone};
use archipel_transport::message::Reply;
use http::StatusCode;

use super::event::{self, Finding, Source};
use super::reply;
use crate::exchange::Exchange;
use crate::phases::rule_id;

/// The access rules of a zone.
pub(super) struct Access(Box<[Rule]>);

struct Rule {
    id: Box<str>,
    description: Box<str>,
    action: AccessAction,
    addresses: CidrSet,
    list: Option<Arc<archipel_rules::List>>,
    countries: Box<[[u8; 2]]>,
    networks: Box<[u32]>,
}

/// What access rules come to, where none answers.
pub(super) enum Verdict {
    /// The firewall goes on.
    Pass,
    /// The request passes by the rest of it, and by the zone's rate limits.
    Allow,
    /// In log mode: one would have answered. What comes after it in the firewall would not have been evaluated.
    Ended,
}

impl Access {
    pub(super) fn new(zone: &Zone) -> Option<Self> {
        let rules = zone.firewall.access.iter().enumerate().filter(|(_, rule)| rule.enabled);
        let rules: Box<[Rule]> = rules.filter_map(|(at, rule)| Rule::new(zone, rule, at)).collect();
        (!rules.is_empty()).then_some(Self(rules))
    }
}

impl Rule {
    fn new(zone: &Zone, rule: &AccessRule, at: usize) -> Option<Self> {
        let list = rule.list.as_ref().and_then(|name| match &**zone.lists.get(name)? {
            ListValues::Values(list) => Some(list.clone()),
            ListValues::Redirects(_) => None,
        });
        Some(Self {
            id: rule_id(rule.id.as_deref(), "firewall.access", at),
            description: rule.description.clone().unwrap_or_default(),
            action: rule.action?,
            addresses: rule.ip.clone().unwrap_or_default(),
            list,
            countries: rule.country.clone().unwrap_or_default().into(),
            networks: rule.asn.clone().unwrap_or_default().into(),
        })
    }

    /// Whether it holds, and by what.
    fn holds(&self, ex: &Exchange) -> Option<(&'static str, String)> {
        if self.addresses.contains(ex.client) || self.list.as_ref().is_some_and(|list| list.contains_address(ex.client))
        {
            return Some(("ip.src", ex.client.to_string()));
        }
        if self.countries.is_empty() && self.networks.is_empty() {
            return None;
        }
        let place = ex.live.geo.place(ex.client);
        let country = place.country();
        if self.countries.iter().any(|own| own == country.as_bytes()) {
            return Some(("ip.src.country", country.to_owned()));
        }
        let asn = place.asn.filter(|asn| self.networks.contains(asn))?;
        Some(("ip.src.asnum", asn.to_string()))
    }
}

fn word(action: AccessAction) -> &'static str {
    match action {
        AccessAction::Allow => "allow",
        AccessAction::Block => "block",
        AccessAction::Log => "log",
        AccessAction::ManagedChallenge => "managed_challenge",
        AccessAction::JsChallenge => "js_challenge",
        AccessAction::Challenge => "challenge",
    }
}

/// Evaluates the access rules, in their order.
pub(super) fn stage(ex: &mut Exchange, access: &Access, mode: FirewallMode) -> ControlFlow<Reply, Verdict> {
    for rule in &access.0 {
        let Some(matched) = rule.holds(ex) else { continue };
        let finding = Finding {
            source: Source::Access,
            rule: &rule.id,
            description: &rule.description,
            action: word(rule.action),
            matched: Some(matched),
            score: None,
            more: event::More::default(),
        };
        event::record(ex, finding, mode);
        match rule.action {
            AccessAction::Allow => return ControlFlow::Continue(Verdict::Allow),
            AccessAction::Log => continue,
            // A log shows what blocking would do: nothing after it would have been evaluated.
            _ if mode == FirewallMode::Log => return ControlFlow::Continue(Verdict::Ended),
            AccessAction::Block => {
                ex.decided().rule = Some(rule.id.clone());
                return ControlFlow::Break(reply::block(ex, reply::ACCESS, StatusCode::FORBIDDEN, None));
            }
            _ => {
                ex.decided().rule = Some(rule.id.clone());
                return ControlFlow::Break(reply::challenge(ex));
            }
        }
    }
    ControlFlow::Continue(Verdict::Pass)
}
