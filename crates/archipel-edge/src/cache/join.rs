//! Waiting for another request's fetch instead of fetching the same thing again.

use std::ops::ControlFlow;
use std::sync::Arc;

use archipel_cache::{Follower, Head, Join, Outcome, Stored, Turn};
use archipel_http::cache_status::Forward;
use archipel_http::reuse::{self, Reuse, Revalidate};
use archipel_transport::message::Reply;
use archipel_transport::origin::OriginError;

use super::{Form, Found, Kind, Meta, Plan, Served, deliver, find, key_of, key_ref, parts, reply, slices};
use crate::exchange::{CacheResult, Exchange};
use crate::live::LiveZone;
use crate::reasons;

/// Breaks with a reply where another request brought one; otherwise the plan goes on, perhaps as the leader of others.
pub(crate) async fn join(ex: &mut Exchange, plan: Plan) -> ControlFlow<Reply, Plan> {
    let Some(zone) = ex.zone.clone() else { return ControlFlow::Continue(plan) };
    let mut plan = match plan.kind {
        Kind::Slices(stored, age, served) => slices::serve(ex, &zone, &stored, age, &served).await?,
        kind => Plan { kind, ..plan },
    };
    if !zone.zone.cache.collapse {
        return ControlFlow::Continue(plan);
    }
    if !plan.is_shared() {
        return follow_only(ex, &zone, plan).await;
    }
    let joined = {
        let key = key_of(ex, &zone);
        let node = &ex.worker.node;
        node.flights.join(&key_ref(ex, &key), u64::try_from(ex.now().0).unwrap_or(0))
    };
    match joined {
        Join::Leader(guard) => {
            ex.count(reasons::COLLAPSES, "led");
            plan.stamp = guard.stamp();
            plan.lead = Some(guard);
            // Another flight may have landed between the look-up and now.
            if let Found::Serve { stored, age, stale, refresh: false, .. } = find(ex, &zone) {
                if let Some(guard) = plan.lead.take() {
                    guard.publish_stored(&stored);
                }
                let served = Served::stored(if stale { CacheResult::Stale } else { CacheResult::Hit });
                return answer(ex, &zone, &stored, age, &served).await;
            }
            ControlFlow::Continue(plan)
        }
        Join::Follower(follower) => follow(ex, &zone, plan, follower).await,
        Join::Pass => {
            ex.count(reasons::COLLAPSES, "hit_for_miss");
            alone(&mut plan);
            ControlFlow::Continue(plan)
        }
        Join::Full => {
            ex.count(reasons::COLLAPSES, "followers_max");
            ControlFlow::Continue(plan)
        }
    }
}

/// A HEAD or a range that is asked for as it is would be of no use to others, but may be answered with what others fetch.
async fn follow_only(ex: &mut Exchange, zone: &Arc<LiveZone>, plan: Plan) -> ControlFlow<Reply, Plan> {
    if !matches!(plan.kind, Kind::AsAsked(None)) || plan.why == Forward::Request {
        return ControlFlow::Continue(plan);
    }
    let follower = {
        let key = key_of(ex, zone);
        let node = &ex.worker.node;
        node.flights.follow(&key_ref(ex, &key))
    };
    match follower {
        Some(follower) => follow(ex, zone, plan, follower).await,
        None => ControlFlow::Continue(plan),
    }
}

/// A key whose reply is not for everybody is asked for just what the client wants.
fn alone(plan: &mut Plan) {
    if matches!(plan.kind, Kind::Probe(_)) {
        plan.kind = Kind::AsAsked(None);
    }
}

async fn answer(
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    stored: &Arc<Stored<Meta>>,
    age: u32,
    served: &Served,
) -> ControlFlow<Reply, Plan> {
    match stored.meta.form {
        Form::Sliced(_) => slices::serve(ex, zone, stored, age, served).await,
        _ => ControlFlow::Break(deliver::stored(ex, zone, stored, age, served)),
    }
}

async fn follow(
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    mut plan: Plan,
    follower: Follower<Meta>,
) -> ControlFlow<Reply, Plan> {
    let Ok(turn) = tokio::time::timeout(zone.zone.cache.collapse_wait, follower).await else {
        ex.count(reasons::COLLAPSES, "collapse_wait");
        ex.reason = Some("collapse_wait");
        return ControlFlow::Continue(plan);
    };
    match turn {
        // Who cannot lead passes it on.
        Turn::Promoted(guard) if !plan.is_shared() => drop(guard),
        Turn::Promoted(guard) => {
            ex.count(reasons::COLLAPSES, "promoted");
            plan.stamp = guard.stamp();
            plan.lead = Some(guard);
        }
        Turn::Outcome(Outcome::Uncacheable) => {
            ex.count(reasons::COLLAPSES, "uncacheable");
            plan.collapsed = true;
            alone(&mut plan);
        }
        Turn::Outcome(Outcome::Failed(error)) => {
            ex.count(reasons::COLLAPSES, "failed");
            plan.collapsed = true;
            if let Some(error) = error.downcast_ref::<OriginError>() {
                return ControlFlow::Break(reply::failed(ex, zone, plan, error));
            }
        }
        Turn::Outcome(Outcome::Stored(stored)) if fits(ex, zone, &stored) => {
            ex.count(reasons::COLLAPSES, "answered");
            let age = stored.meta.facts.current_age(ex.now());
            return answer(ex, zone, &stored, age, &Served::collapsed(plan.why)).await;
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
    if let Found::Serve { stored, age, stale, refresh: false, .. } = find(ex, zone) {
        let served = Served::stored(if stale { CacheResult::Stale } else { CacheResult::Hit });
        return answer(ex, zone, &stored, age, &served).await;
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
    let answers = || match &meta.form {
        Form::Whole | Form::Sliced(_) => true,
        Form::Part(part) => parts::answers(ex, zone, &meta.facts, part),
        Form::Slice => false,
    };
    // A purge of one of its tags may have come while its fetch, and this wait, were under way.
    meta.facts.vary.matches(&meta.vary, &ex.asked.headers, &ex.policy(zone).vary)
        && meta.forms.fit(&zone.zone.compression)
        && usable()
        && answers()
        && ex.worker.node.store.outdated(head, head.stamp).is_none()
}
