//! The route stage: which origin, with which limits. The zone's, or the one that a rule has chosen; several, health
//! and steering come here.

use std::ops::ControlFlow;
use std::sync::Arc;

use archipel_transport::message::Reply;
use archipel_transport::origin::OriginTimeouts;
use http::StatusCode;

use crate::error_page::{self, Failure};
use crate::exchange::Exchange;
use crate::live::{LiveOrigin, LiveZone};
use crate::phases::Overrides;
use crate::pool::PoolLimits;

/// How long a 100 (Continue) of the origin is awaited before the body is sent anyway.
const EXPECT_CONTINUE: std::time::Duration = std::time::Duration::from_secs(1);

/// Where a request goes.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) zone: Arc<LiveZone>,
    pub(crate) origin: Arc<LiveOrigin>,
    pub(crate) limits: PoolLimits,
    pub(crate) timeouts: OriginTimeouts,
    pub(crate) retries_max: u32,
}

impl Route {
    pub(crate) fn of(ex: &Exchange, zone: &Arc<LiveZone>) -> Self {
        let origin = &zone.zone.origin;
        let Overrides { first_byte_timeout, between_bytes_timeout, .. } = ex.overrides();
        let chosen = ex.rules.as_ref().and_then(|rules| rules.route.as_ref());
        Self {
            zone: zone.clone(),
            origin: chosen.unwrap_or(&zone.origin).clone(),
            limits: PoolLimits {
                connect_timeout: origin.connect_timeout,
                idle_timeout: origin.idle_timeout,
                idle_max: origin.idle_connections_max,
                open_max: origin.connections_max,
            },
            timeouts: OriginTimeouts {
                first_byte: first_byte_timeout.unwrap_or(origin.first_byte_timeout),
                between_bytes: between_bytes_timeout.unwrap_or(origin.between_bytes_timeout),
                expect_continue: EXPECT_CONTINUE,
            },
            retries_max: origin.retries_max,
        }
    }
}

/// Chooses the origin.
pub(crate) fn stage(ex: &mut Exchange) -> ControlFlow<Reply, Route> {
    let Some(zone) = ex.zone.clone() else {
        return ControlFlow::Break(error_page::reply(ex, &Failure::internal("no_zone")));
    };
    let upgrades = ex.overrides().upgrades.unwrap_or(zone.zone.limits.upgrades);
    if ex.asked.upgrade.is_some() && !upgrades {
        let failure =
            Failure::refusal(StatusCode::FORBIDDEN, "upgrades_off", "Upgrades are switched off for this site.");
        ex.note("route", "refused", || "upgrades are off".to_owned());
        return ControlFlow::Break(error_page::reply(ex, &failure));
    }
    let route = Route::of(ex, &zone);
    ex.note("route", "origin", || format!("{}://{}", route.origin.scheme, route.origin.name));
    ControlFlow::Continue(route)
}
