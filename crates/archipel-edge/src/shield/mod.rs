//! The shield stage: what a denial-of-service attack is held off with, before anything that costs more.
//!
//! - [`detect`]: mitigation rules judge a request, and the detector is told of it;
//! - [`features`]: what of an exchange the detector is told;
//! - [`zone`]: what is kept of a zone: counters, samples, rules;
//! - [`watch`]: the tick of a zone: from what was counted to rules;
//! - [`node`]: all zones, and the thread that ticks;
//! - [`file`]: what outlives a restart;
//! - [`status`]: what the operator sees and says;
//! - [`limits`]: budgets of addresses and networks, which always hold;
//! - [`rates`]: rate limits that a zone's owner wrote;
//! - [`offences`]: who offends again and again, for the kernel;
//! - [`kernel`]: the thread that hands them to the kernel, with the operator's lists.
//!
//! Must never decide what an attack is: that is `archipel-shield`.

mod detect;
mod features;
mod file;
pub(crate) mod kernel;
pub(crate) mod limits;
mod node;
pub(crate) mod offences;
pub(crate) mod rates;
mod status;
mod watch;
mod zone;

use std::ops::ControlFlow;

use archipel_config::ShieldMode;
use archipel_transport::message::Reply;

use crate::exchange::Exchange;
use crate::firewall;

pub(crate) use node::Shield;
pub use status::{Decide, DecideError, RuleStatus, ShieldStatus, ZoneShieldStatus};
pub(crate) use zone::{UnderWay, ZoneShield};

/// Judges a request.
pub(crate) fn stage(ex: &mut Exchange) -> ControlFlow<Reply> {
    if is_exempt(ex) {
        return ControlFlow::Continue(());
    }
    block_lists(ex)?;
    detect::judge(ex)?;
    limits::stage(ex)?;
    // What is refused by limits is no load that anything has to be found against.
    detect::observe(ex);
    under_attack(ex)
}

/// The operator's lists, which the kernel enforces for those whose own packets it sees, where it may.
fn block_lists(ex: &mut Exchange) -> ControlFlow<Reply> {
    if !ex.live.snapshot.shield.blocked.contains(ex.client) {
        return ControlFlow::Continue(());
    }
    ex.note("shield", "block", || "the address is on a list of `shield.block_lists`".to_owned());
    ControlFlow::Break(firewall::reply::listed(ex))
}

fn under_attack(ex: &mut Exchange) -> ControlFlow<Reply> {
    match ex.zone.as_ref().map(|zone| zone.zone.shield.mode) {
        Some(ShieldMode::UnderAttack) => {
            ex.note("shield", "challenge", || "the mode is \"under_attack\"".to_owned());
            ControlFlow::Break(firewall::reply::challenge(ex))
        }
        _ => ControlFlow::Continue(()),
    }
}

/// What block lists, mitigation rules and the mode would do, without counting anything.
pub(crate) fn explain(ex: &mut Exchange) -> ControlFlow<Reply> {
    if is_exempt(ex) {
        return ControlFlow::Continue(());
    }
    block_lists(ex)?;
    detect::judge(ex)?;
    under_attack(ex)
}

/// Whether the client is one that nothing of the shield may hinder.
pub(crate) fn is_exempt(ex: &Exchange) -> bool {
    ex.live.snapshot.shield.exempt.contains(ex.client)
}
