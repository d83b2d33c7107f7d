//! The seam to managed rules: what runs after the custom rules, unless a rule has passed it over.

use std::ops::ControlFlow;

use archipel_config::Skip;
use archipel_transport::message::Reply;

use crate::exchange::Exchange;

/// Evaluates the managed rules of the zone, of which there are none yet.
pub(super) fn stage(ex: &mut Exchange) -> ControlFlow<Reply> {
    if ex.skips(Skip::Managed) {
        return ControlFlow::Continue(());
    }
    ControlFlow::Continue(())
}
