//! The attack detector's part of the stage: its rules judge a request, and what they let pass is observed.

use std::ops::ControlFlow;

use archipel_config::ShieldMode;
use archipel_shield::detector::Action;
use archipel_transport::message::Reply;
use http::StatusCode;

use super::offences::{self, Why};
use super::zone::LiveRule;
use crate::error_page;
use crate::exchange::Exchange;
use crate::firewall::reply::{challenge, denied};

/// A mitigation rule refused.
pub(crate) const BLOCK: &str = "shield_block";

/// Judges a request by the zone's mitigation rules.
pub(super) fn judge(ex: &mut Exchange) -> ControlFlow<Reply> {
    let Some(rule) = ex.zone.as_ref().and_then(|zone| zone.shield.as_ref()?.judge(ex)) else {
        return ControlFlow::Continue(());
    };
    act(ex, &rule)
}

#[inline(never)]
fn act(ex: &mut Exchange, rule: &LiveRule) -> ControlFlow<Reply> {
    let Some(zone) = ex.zone.clone() else { return ControlFlow::Continue(()) };
    let logs = zone.zone.shield.mode == ShieldMode::Log;
    if let (Some(shield), true) = (&zone.shield, ex.conn.is_some()) {
        shield.count_held(ex, (!logs).then_some(rule.action));
        ex.shielded = true;
    }
    ex.note("shield", rule.action.as_str(), || {
        format!("{}mitigation rule {}", if logs { "would, in automatic mode: " } else { "" }, rule.name)
    });
    if logs {
        return ControlFlow::Continue(());
    }
    ex.decided().rule = Some(rule.name.clone());
    ControlFlow::Break(match rule.action {
        Action::Block => {
            offences::note(ex, Why::Attack);
            let message = "This request looks like those of an attack on this site, which is being held off.";
            error_page::reply(ex, &denied(StatusCode::FORBIDDEN, BLOCK, message))
        }
        Action::Challenge => challenge(ex),
    })
}

/// Observes a request that nothing of the shield refused.
pub(super) fn observe(ex: &Exchange) {
    // Nobody sent what is only explained; what a rule would have held off is counted.
    if ex.conn.is_none() || ex.shielded {
        return;
    }
    if let Some(shield) = ex.zone.as_ref().and_then(|zone| zone.shield.as_ref()) {
        shield.observe(ex);
    }
}
