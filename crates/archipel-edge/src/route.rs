//! The route stage: which origin, with which limits. One origin a zone for now; several, health and steering come here.

use std::ops::ControlFlow;
use std::sync::Arc;

use archipel_transport::message::Reply;
use archipel_transport::origin::OriginTimeouts;
use http::StatusCode;

use crate::error_page::{self, Failure};
use crate::exchange::Exchange;
use crate::live::LiveZone;
use crate::pool::PoolLimits;

/// How long a 100 (Continue) of the origin is awaited before the body is sent anyway.
const EXPECT_CONTINUE: std::time::Duration = std::time::Duration::from_secs(1);

/// Where a request goes.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) zone: Arc<LiveZone>,
    pub(crate) limits: PoolLimits,
    pub(crate) timeouts: OriginTimeouts,
    pub(crate) retries_max: u32,
}

impl Route {
    pub(crate) fn of(zone: &Arc<LiveZone>) -> Self {
        let origin = &zone.zone.origin;
        Self {
            zone: zone.clone(),
            limits: PoolLimits {
                connect_timeout: origin.connect_timeout,
                idle_timeout: origin.idle_timeout,
                idle_max: origin.idle_connections_max,
                open_max: origin.connections_max,
            },
            timeouts: OriginTimeouts {
                first_byte: origin.first_byte_timeout,
                between_bytes: origin.between_bytes_timeout,
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
    if ex.asked.upgrade.is_some() && !zone.zone.limits.upgrades {
        let failure =
            Failure::refusal(StatusCode::FORBIDDEN, "upgrades_off", "Upgrades are switched off for this site.");
        ex.note("route", "refused", || "upgrades are off".to_owned());
        return ControlFlow::Break(error_page::reply(ex, &failure));
    }
    ex.note("route", "origin", || format!("{}://{}", zone.origin.scheme, zone.origin.name));
    ControlFlow::Continue(Route::of(&zone))
}
