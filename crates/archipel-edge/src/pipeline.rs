//! The order of the stages. This file is the only place where it is written.
//!
//! ```text
//! accept -> tls -> http -> zone -> purge -> settings -> shield -> firewall -> redirect -> rewrite -> cache -> route -> origin -> transform -> record
//! ```
//!
//! `accept`, `tls` and `http` are the transport's; `record` is the exchange's end (its `Drop`). `verify` will stand
//! after `firewall`. What changes a request comes after what judges it, and before its key is made.

use std::ops::ControlFlow;

use archipel_transport::message::Reply;

use crate::exchange::Exchange;
use crate::{cache, firewall, origin, phases, purge, route, shield, transform, zone};

/// Answers one exchange.
pub(crate) async fn serve(ex: &mut Exchange) -> Reply {
    let reply = match decide(ex).await {
        ControlFlow::Break(early) => early,
        ControlFlow::Continue(fetched) => fetched,
    };
    firewall::managed::settle(ex);
    let reply = shield::rates::on_reply(ex, reply);
    let reply = phases::response::stage(ex, reply);
    transform::on_deliver(ex, reply)
}

/// A stage that answers early breaks with its reply.
async fn decide(ex: &mut Exchange) -> ControlFlow<Reply, Reply> {
    zone::stage(ex)?;
    purge::stage(ex).await?;
    phases::settings::stage(ex)?;
    shield::stage(ex)?;
    firewall::stage(ex).await?;
    phases::redirect::stage(ex)?;
    phases::rewrite::stage(ex)?;
    // Where a request goes is part of its key.
    phases::routing::stage(ex);
    let plan = cache::look_up(ex)?;
    // What follows takes long and much state: boxed, so that a hit carries none of it.
    Box::pin(fetch(ex, plan)).await
}

async fn fetch(ex: &mut Exchange, plan: cache::Plan) -> ControlFlow<Reply, Reply> {
    let plan = cache::disk::look_up(ex, plan).await?;
    let plan = cache::join(ex, plan).await?;
    from_origin(ex, plan).await
}

/// The stages from `route` on; a revalidation in the background begins here.
pub(crate) async fn from_origin(ex: &mut Exchange, plan: cache::Plan) -> ControlFlow<Reply, Reply> {
    shield::rates::to_origin(ex)?;
    let route = route::stage(ex)?;
    let asked = origin::request(ex, &route, &plan);
    let mut reply = origin::fetch(ex, &route, &plan, asked).await;
    if let Ok(reply) = &mut reply {
        firewall::managed::inspect(ex, reply).await?;
    }
    cache::on_reply(ex, &route, plan, reply).await
}
