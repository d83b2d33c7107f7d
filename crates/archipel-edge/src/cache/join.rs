//! Waiting for another request's fetch instead of fetching the same thing again.

use std::ops::ControlFlow;
use std::sync::Arc;

use archipel_cache::{Follower, Head, Join, KeyRef, Outcome, Stored, Turn};
use archipel_http::cache_status::Forward;
use archipel_http::reuse::{self, Reuse, Revalidate};
use archipel_transport::message::Reply;
use http::Method;

use super::{Found, Kind, Meta, Plan, Served, deliver, find, key_of};
use crate::exchange::{CacheResult, Exchange};
use crate::live::LiveZone;
use crate::reasons;

/// Breaks with a reply where another request brought one; otherwise the plan goes on, perhaps as the leader of others.
pub(crate) async fn join(ex: &mut Exchange, mut plan: Plan) -> ControlFlow<Reply, Plan> {
    let Some(zone) = ex.zone.clone() else { return ControlFlow::Continue(plan) };
    // What only this client asks for (a reload) is not worth another's wait, and must not be answered with less.
    let shared = plan.asks_for_whole() && ex.asked.method == Method::GET && plan.why != Forward::Request;
    if !zone.zone.cache.collapse || !shared {
        return ControlFlow::Continue(plan);
    }
    let joined = {
        let key = key_of(ex, &zone);
        let node = &ex.worker.node;
        node.flights.join(&KeyRef::new(&key, node.key_seed), u64::try_from(ex.now().0).unwrap_or(0))
    };
    match joined {
        Join::Leader(guard) => {
            ex.count(reasons::COLLAPSES, "led");
            plan.stamp = guard.stamp();
            plan.lead = Some(guard);
            // Another flight may have landed between the look-up and now.
            if let Found::Serve { stored, age, stale, refresh: false } = find(ex, &zone) {
                if let Some(guard) = plan.lead.take() {
                    guard.publish_stored(&stored);
                }
                let served = Served::stored(if stale { CacheResult::Stale } else { CacheResult::Hit });
                return ControlFlow::Break(deliver::stored(ex, &zone, &stored, age, &served));
            }
            ControlFlow::Continue(plan)
        }
        Join::Follower(follower) => follow(ex, &zone, plan, follower).await,
        Join::Pass => {
            ex.count(reasons::COLLAPSES, "hit_for_miss");
            ControlFlow::Continue(plan)
        }
        Join::Full => {
            ex.count(reasons::COLLAPSES, "followers_max");
            ControlFlow::Continue(plan)
        }
    }
}

async fn follow(
    ex: &mut Exchange,
    zone: &LiveZone,
    mut plan: Plan,
    follower: Follower<Meta>,
) -> ControlFlow<Reply, Plan> {
    let Ok(turn) = tokio::time::timeout(zone.zone.cache.collapse_wait, follower).await else {
        ex.count(reasons::COLLAPSES, "wait_exceeded");
        ex.reason = Some("collapse_wait");
        return ControlFlow::Continue(plan);
    };
    match turn {
        Turn::Promoted(guard) => {
            ex.count(reasons::COLLAPSES, "promoted");
            plan.stamp = guard.stamp();
            plan.lead = Some(guard);
        }
        Turn::Outcome(Outcome::Uncacheable) => {
            ex.count(reasons::COLLAPSES, "uncacheable");
            plan.collapsed = true;
        }
        Turn::Outcome(Outcome::Stored(stored)) if fits(ex, zone, &stored) => {
            ex.count(reasons::COLLAPSES, "answered");
            return ControlFlow::Break(serve_stored(ex, zone, &stored, &plan));
        }
        Turn::Outcome(Outcome::Fill(fill)) if fits(ex, zone, fill.head()) => {
            if let Some(reader) = fill.reader() {
                ex.count(reasons::COLLAPSES, "answered");
                let served = Served::collapsed(plan.why);
                return ControlFlow::Break(deliver::filling(ex, zone, reader, fill.length(), &served));
            }
            ex.count(reasons::COLLAPSES, "unfit");
        }
        // Another variant, or one whose start is gone: alone.
        Turn::Outcome(_) => ex.count(reasons::COLLAPSES, "unfit"),
    }
    // It may stand in the store by now.
    if let Found::Serve { stored, age, stale, refresh: false } = find(ex, zone) {
        let served = Served::stored(if stale { CacheResult::Stale } else { CacheResult::Hit });
        return ControlFlow::Break(deliver::stored(ex, zone, &stored, age, &served));
    }
    if let (Kind::Whole(None), Found::Ask { stored, .. }) = (&plan.kind, find(ex, zone)) {
        plan.kind = Kind::Whole(Some(stored));
    }
    ControlFlow::Continue(plan)
}

fn fits(ex: &Exchange, zone: &LiveZone, head: &Head<Meta>) -> bool {
    let meta = &head.meta;
    let decided = || reuse::decide(&ex.asked.headers, &meta.facts, ex.policy(zone), ex.now());
    // What arrived before this request began must be usable by its own rules; what arrived since is the answer to it,
    // unless it is one that each request has to ask for itself.
    let usable = || match decided() {
        Reuse::Revalidate(why) => why != Revalidate::NoCache && meta.facts.response_time >= ex.now(),
        Reuse::OnlyIfCached => false,
        _ => true,
    };
    // A purge of one of its tags may have come while its fetch, and this wait, were under way.
    meta.facts.vary.matches(&meta.vary, &ex.asked.headers, &ex.policy(zone).vary)
        && meta.forms.fit(&zone.zone.compression)
        && usable()
        && ex.worker.node.store.purged(head).is_none()
}

fn serve_stored(ex: &mut Exchange, zone: &LiveZone, stored: &Arc<Stored<Meta>>, plan: &Plan) -> Reply {
    let age = stored.meta.facts.current_age(ex.now());
    deliver::stored(ex, zone, stored, age, &Served::collapsed(plan.why))
}
