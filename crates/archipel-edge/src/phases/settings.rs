//! The settings phase: what rules put in place of the zone's settings for one request. Before all else that looks at it.

use std::ops::ControlFlow;

use archipel_config::{SettingsRule, Zone};
use archipel_transport::message::Reply;

use super::{Overrides, RuleSet, rule_id};
use crate::error_page;
use crate::exchange::Exchange;
use crate::firewall::View;
use crate::zone;

/// The rules of the phase.
pub(crate) struct Settings {
    rules: RuleSet,
    sets: Box<[(Box<str>, Overrides)]>,
}

impl Settings {
    pub(crate) fn new(zone: &Zone) -> Option<Self> {
        let all = zone.phases.settings.iter().enumerate().filter(|(_, rule)| rule.enabled);
        let (mut conditions, mut sets) = (Vec::new(), Vec::new());
        for (at, rule) in all {
            let Some(condition) = &rule.expression else { continue };
            conditions.push(condition);
            sets.push((rule_id(rule.id.as_deref(), "settings_rules", at), overrides(rule)));
        }
        Some(Self { rules: RuleSet::new(conditions)?, sets: sets.into() })
    }

    /// Whether a rule can switch the firewall on.
    pub(crate) fn sets_firewall_mode(&self) -> bool {
        self.sets.iter().any(|(_, set)| set.firewall_mode.is_some())
    }
}

fn overrides(rule: &SettingsRule) -> Overrides {
    Overrides {
        firewall_mode: rule.firewall_mode,
        body_bytes_max: rule.body_bytes_max,
        upgrades: rule.upgrades,
        server_timing: rule.server_timing,
        compression: rule.compression,
        first_byte_timeout: rule.first_byte_timeout,
        between_bytes_timeout: rule.between_bytes_timeout,
    }
}

impl Overrides {
    /// Puts another set over this one.
    fn put(&mut self, other: &Overrides) {
        let Overrides {
            firewall_mode,
            body_bytes_max,
            upgrades,
            server_timing,
            compression,
            first_byte_timeout,
            between_bytes_timeout,
        } = other;
        self.firewall_mode = firewall_mode.or(self.firewall_mode);
        self.body_bytes_max = body_bytes_max.or(self.body_bytes_max);
        self.upgrades = upgrades.or(self.upgrades);
        self.server_timing = server_timing.or(self.server_timing);
        self.compression = compression.or(self.compression);
        self.first_byte_timeout = first_byte_timeout.or(self.first_byte_timeout);
        self.between_bytes_timeout = between_bytes_timeout.or(self.between_bytes_timeout);
    }
}

/// Evaluates the rules about settings. Breaks with 413 where the body announces more than they allow.
pub(crate) fn stage(ex: &mut Exchange) -> ControlFlow<Reply> {
    let Some(zone) = ex.zone.clone() else { return ControlFlow::Continue(()) };
    let Some(settings) = &zone.phases.settings else { return ControlFlow::Continue(()) };
    let (mut found, mut set) = (Vec::new(), Overrides::default());
    {
        let view = View::request(ex);
        let mut from = 0;
        while let Some(at) = settings.rules.first_from(from, &view) {
            let (id, overrides) = &settings.sets[at];
            set.put(overrides);
            found.push(&**id);
            from = at + 1;
        }
    }
    if found.is_empty() {
        return ControlFlow::Continue(());
    }
    ex.note("settings", "set", || found.join(", "));
    ex.decided().settings = set;
    if let Some(bytes_max) = set.body_bytes_max
        && let Err(failure) = zone::limit_body(ex, bytes_max.min(zone.zone.body_bytes_max()))
    {
        return ControlFlow::Break(error_page::reply(ex, &failure));
    }
    ControlFlow::Continue(())
}
