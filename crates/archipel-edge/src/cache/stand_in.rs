//! Stored responses that stand in for an origin that fails, is down, or has too much to do.

use std::sync::Arc;

use archipel_cache::Stored;
use archipel_http::reuse::{self, OriginFailure, StaleRefused};
use archipel_transport::message::Reply;
use archipel_transport::origin::OriginError;

use super::deliver::{self, Served};
use super::{Form, Meta, Plan, slices};
use crate::clock::SystemTime;
use crate::exchange::{CacheResult, Exchange, unix};
use crate::live::LiveZone;
use crate::reasons;

/// Something stored for a request that got no reply.
pub(super) fn for_failure(
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    plan: &mut Plan,
    error: &OriginError,
) -> Option<Reply> {
    if matches!(error, OriginError::RequestBody(_)) {
        return None;
    }
    let why = match error {
        OriginError::LeftAlone(_) => "origin_down",
        OriginError::Overloaded => "origin_overloaded",
        _ => "origin_unreachable",
    };
    for_error(ex, zone, plan, (OriginFailure::Unreachable, why))
}

/// Whether a stored response may stand in for a failure: its age in seconds, and whether that is because the zone is always online.
fn may_stand_in(
    ex: &Exchange,
    zone: &LiveZone,
    stored: &Stored<Meta>,
    failure: OriginFailure,
) -> Result<(u32, bool), StaleRefused> {
    let now = unix(SystemTime::now());
    let (headers, facts, policy) = (&ex.asked.headers, &stored.meta.facts, ex.policy(zone));
    match reuse::may_serve_stale_on_error(headers, facts, failure, policy, now) {
        Ok(age) => Ok((age, false)),
        Err(refused) => match reuse::may_serve_always_online(headers, facts, failure, policy, now) {
            Ok(age) => Ok((age, true)),
            Err(_) => Err(refused),
        },
    }
}

impl Plan {
    /// Whether something stored answers the request where its origin does not.
    pub(crate) fn has_stand_in(&self, ex: &Exchange, zone: &Arc<LiveZone>) -> bool {
        self.stale().is_some_and(|stored| {
            may_stand_in(ex, zone, stored, OriginFailure::Unreachable).is_ok()
                && (!matches!(stored.meta.form, Form::Sliced(_)) || slices::is_all_stored(ex, zone, stored))
        })
    }
}

/// A stored response that may stand in for a failure (RFC 9111 section 4.2.4, RFC 5861 section 4).
pub(super) fn for_error(
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    plan: &mut Plan,
    (failure, why): (OriginFailure, &'static str),
) -> Option<Reply> {
    let stored = plan.stale()?.clone();
    if matches!(stored.meta.form, Form::Sliced(_)) && !slices::is_all_stored(ex, zone, &stored) {
        return None;
    }
    let (age, always_online) = match may_stand_in(ex, zone, &stored, failure) {
        Ok(served) => served,
        // A reply that is no error needs nobody to stand in for it.
        Err(StaleRefused::NotAnError) => return None,
        Err(refused) => {
            ex.count(reasons::STALE_REFUSED, refused.as_str());
            return None;
        }
    };
    if let Some(guard) = plan.lead.take() {
        guard.publish_stored(&stored);
    }
    let forward_status = match failure {
        OriginFailure::Status(status) => Some(status.as_u16()),
        OriginFailure::Unreachable => None,
    };
    let detail = if always_online { "always_online" } else { why };
    ex.count(reasons::STALE_SERVED, detail);
    let served = Served {
        result: CacheResult::Stale,
        forward: Some(plan.why),
        forward_status,
        is_stored: false,
        collapsed: plan.collapsed,
        detail: Some(detail),
    };
    Some(deliver::stored(ex, zone, &stored, age, &served))
}
