//! The shield stage: what a denial-of-service attack is held off with, before anything that costs more.
//!
//! - [`limits`]: budgets of addresses and networks, which always hold;
//! - [`rates`]: rate limits that a zone's owner wrote;
//! - [`offences`]: who offends again and again, for the kernel.
//!
//! Owns what of an exchange the detector is told, and what its rules become. Must never decide what an attack is: that is
//! `archipel-shield`.

pub(crate) mod limits;
pub(crate) mod offences;
pub(crate) mod rates;

use std::ops::ControlFlow;

use archipel_config::ShieldMode;
use archipel_transport::message::Reply;

use crate::exchange::Exchange;
use crate::firewall;

/// Judges a request.
pub(crate) fn stage(ex: &mut Exchange) -> ControlFlow<Reply> {
    if is_exempt(ex) {
        return ControlFlow::Continue(());
    }
    limits::stage(ex)?;
    under_attack(ex)
}

fn under_attack(ex: &mut Exchange) -> ControlFlow<Reply> {
    let Some(zone) = &ex.zone else { return ControlFlow::Continue(()) };
    match zone.zone.shield.mode {
        ShieldMode::Off | ShieldMode::Automatic => ControlFlow::Continue(()),
        ShieldMode::UnderAttack => ControlFlow::Break(firewall::reply::challenge(ex)),
    }
}

/// Whether the client is one that nothing of the shield may hinder.
pub(crate) fn is_exempt(ex: &Exchange) -> bool {
    ex.live.snapshot.node.shield.exempt.contains(ex.client)
}
