//! Bodies on their way into the store, and revalidation in the background.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use archipel_cache::{FillError, FillWriter, Filling, Head, KeyRef, LeaderGuard, Store, Stored};
use archipel_http::StoredMeta;
use archipel_http::cache_status::Forward;
use archipel_http::range::ByteRange;
use archipel_http::slices::{self, Grid, Verdict};
use archipel_transport::body::{BodyError, RequestBody};
use archipel_transport::interim::Interim;
use archipel_transport::message::{ReplyBody, StreamBody};
use http::{Method, StatusCode};

use super::disk::Spill;
use super::slices_fetch::streamed;
use super::{Kind, Meta, Plan, key_of};
use crate::exchange::{Asked, Exchange};
use crate::firewall::managed;
use crate::live::LiveZone;
use crate::node::Node;
use crate::reasons;
use crate::route::Route;
use crate::{origin, pipeline};

/// A place among the background revalidations of the node.
struct Place(Arc<Node>);

impl Place {
    fn take(node: &Arc<Node>, places_max: usize) -> Option<Self> {
        let free = |taken: usize| (taken < places_max).then_some(taken + 1);
        let taken = node.revalidations.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free);
        taken.is_ok().then(|| Self(node.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.revalidations.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Revalidates a stale response that was just served (RFC 5861 section 3), unless somebody does already.
pub(super) fn refresh(ex: &Exchange, zone: &LiveZone, stored: &Arc<Stored<Meta>>) {
    if ex.conn.is_none() {
        return;
    }
    // Where nothing is sent there is nothing to begin.
    let origin = ex.rules.as_ref().and_then(|rules| rules.route.as_ref()).unwrap_or(&zone.origin);
    if origin.guard.is_down() {
        ex.count(reasons::BACKGROUND_SKIPPED, "origin_down");
        return;
    }
    let places_max = ex.live.snapshot.node.limits.background_revalidations_max;
    let Some(place) = Place::take(&ex.worker.node, places_max) else {
        ex.count(reasons::BACKGROUND_SKIPPED, "background_revalidations_max");
        return;
    };
    let lead = {
        let key = key_of(ex, zone);
        let node = &ex.worker.node;
        node.flights.try_lead(&KeyRef::new(&key, node.key_seed))
    };
    let Some(lead) = lead else {
        ex.count(reasons::BACKGROUND_SKIPPED, "under_way");
        return;
    };
    ex.worker.metrics.revalidations_in_background.add(1);
    let mut background = background(ex);
    background.for_nobody = true;
    let mut plan = Plan::new(Kind::Whole(Some(stored.clone())), Forward::Stale, lead.stamp());
    plan.lead = Some(lead);
    tokio::spawn(async move {
        let _place = place;
        // What is to be stored is stored by the fill's own task; the reply itself is for nobody.
        drop(Box::pin(pipeline::from_origin(&mut background, plan)).await);
    });
}

/// An exchange that asks the origin what `ex` asks, for nobody in particular: a GET without content.
pub(super) fn background(ex: &Exchange) -> Exchange {
    let asked = Asked {
        method: Method::GET,
        version: ex.asked.version,
        scheme: ex.asked.scheme,
        authority: ex.asked.authority.clone(),
        host_len: ex.asked.host_len,
        path_and_query: ex.asked.path_and_query.clone(),
        received_target: None,
        rewritten_from: ex.asked.rewritten_from.clone(),
        headers: ex.asked.headers.clone(),
        body: RequestBody::empty(),
        upgrade: None,
        interim: Interim::Discard,
    };
    let mut background = crate::worker::imagined(ex.worker.clone(), asked, ex.client);
    background.verdicts = None;
    background.live = ex.live.clone();
    background.zone = ex.zone.clone();
    background.ruling = ex.ruling.clone();
    background.rules = ex.rules.as_ref().map(|rules| Box::new(rules.for_background()));
    background
}

/// What it takes to fetch the rest of a body whose origin breaks off (RFC 9111 section 3.3).
pub(super) struct Rest {
    ex: Exchange,
    zone: Arc<LiveZone>,
    facts: StoredMeta,
    length: u64,
}

impl Rest {
    /// `None` where the rest could not be told from the rest of another representation.
    pub(super) fn of(ex: &Exchange, zone: &Arc<LiveZone>, head: &Head<Meta>, length: Option<u64>) -> Option<Box<Self>> {
        let facts = &head.meta.facts;
        let (true, Some(length)) = (head.status == StatusCode::OK && slices::may_slice(facts), length) else {
            return None;
        };
        Some(Box::new(Self { ex: background(ex), zone: zone.clone(), facts: facts.clone(), length }))
    }

    /// The bytes from `first` on.
    async fn fetch(mut self: Box<Self>, first: u64) -> Option<StreamBody> {
        let grid = Grid::new(self.length, self.length)?;
        let range = ByteRange { first, last: self.length.checked_sub(1).filter(|last| *last >= first)? };
        let plan = Plan::of(Kind::Piece(Box::new(self.facts.clone()), range, Some(self.length)), &self.ex);
        let route = Route::of(&self.ex, &self.zone);
        let request = origin::request(&mut self.ex, &route, &plan);
        let mut reply = origin::fetch(&mut self.ex, &route, &plan, request).await.ok()?;
        if managed::inspect(&mut self.ex, &mut reply).await.is_break() || self.ex.unjudged.is_some() {
            return None;
        }
        let came = match slices::judge(&self.facts, &grid, range, reply.status, &reply.headers) {
            Verdict::Piece(came) => came == range,
            Verdict::Whole => first == 0,
            _ => false,
        };
        self.ex.worker.metrics.fills_resumed.add(u64::from(came));
        came.then(|| streamed(reply.body))
    }
}

/// Carries a body from the origin into a fill, and the fill into the store. Where the origin breaks off, the rest is asked for once.
pub(super) async fn pump(
    mut body: StreamBody,
    mut writer: FillWriter<Meta>,
    mut lead: Option<LeaderGuard<Meta>>,
    store: Arc<Store<Meta>>,
    object_bytes_max: u64,
    mut rest: Option<Box<Rest>>,
) {
    let mut bytes = 0;
    let mut trailers = None;
    let mut spill = Spill::new(store.clone());
    let mut filling = None;
    loop {
        if writer.ready().await.is_err() {
            return;
        }
        let next = std::future::poll_fn(|cx| {
            let polled = body.as_mut().poll_frame(cx);
            if polled.is_pending() {
                tell(&mut lead, &mut filling, &writer);
            }
            polled
        });
        match next.await {
            None => break,
            Some(Err(error)) => {
                tell(&mut lead, &mut filling, &writer);
                let again = match rest.take() {
                    Some(rest) => rest.fetch(bytes).await,
                    None => None,
                };
                match again {
                    Some(again) => body = again,
                    None => {
                        writer.fail(FillError::Failed(word(error)));
                        return;
                    }
                }
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    bytes += data.len() as u64;
                    if bytes > object_bytes_max {
                        spill.give_up();
                        if writer.is_storable() {
                            writer.pass_through();
                        }
                    }
                    spill.next(&writer, &data);
                    writer.append(data);
                    tell(&mut lead, &mut filling, &writer);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    }
    tell(&mut lead, &mut filling, &writer);
    let for_disk = trailers.clone();
    match writer.finish(trailers) {
        // A refusal is counted by the store.
        Ok(Some(stored)) => drop(store.insert(stored)),
        Ok(None) => spill.finish(for_disk.as_ref()),
        Err(_) => {}
    }
    drop(filling);
}

/// Tells those who wait for a leader what it brings: not before the bytes that came with the head are there, so that both go out with
/// one write to each of them.
fn tell(lead: &mut Option<LeaderGuard<Meta>>, filling: &mut Option<Filling<Meta>>, writer: &FillWriter<Meta>) {
    if let Some(guard) = lead.take() {
        *filling = Some(guard.publish_fill(writer.fill()));
    }
}

pub(super) fn word(error: BodyError) -> &'static str {
    match error {
        BodyError::TimedOut => "connection_read_timeout",
        BodyError::Malformed(_) => "http_response_transfer_coding",
        _ => "http_response_incomplete",
    }
}

/// A body that is in memory already; others are to be streamed.
pub(super) fn in_memory(body: ReplyBody) -> Result<bytes::Bytes, ReplyBody> {
    match body {
        ReplyBody::Empty => Ok(bytes::Bytes::new()),
        ReplyBody::Full(bytes) => Ok(bytes),
        other => Err(other),
    }
}
