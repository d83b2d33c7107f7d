//! Replies to range requests (RFC 9111 sections 3.3 and 3.4): what of a 206 is stored, and replies made from it.
//!
//! A 206 with a strong entity tag and a known length becomes a manifest and the slices that it holds in full, to which others can
//! be added. Any other one is stored as the part that it is, and answers for what lies within it. One that holds everything is a
//! complete response.

use std::ops::ControlFlow;
use std::sync::Arc;

use archipel_cache::{Body, FillReader, Head, Stored};
use archipel_http::StoredMeta;
use archipel_http::partial::{self, Part, PartAnswer};
use archipel_http::range::{self, ByteRange, RangeSpec};
use archipel_http::storage::{self, Storable};
use archipel_http::validate;
use archipel_transport::message::{Reply, ReplyBody};
use archipel_transport::origin::OriginReply;
use http::header::{CONTENT_RANGE, DATE, RANGE};
use http::{Method, StatusCode};

use super::deliver::{self, Served};
use super::slices_fetch::streamed;
use super::{Form, Kind, Meta, Plan, Ranges, fill, reply, slices};
use crate::body::{FillBody, PartOf};
use crate::cache::codings::Forms;
use crate::exchange::{Exchange, unix};
use crate::live::LiveZone;
use crate::origin;

fn specs(ex: &Exchange, zone: &LiveZone) -> Option<range::RangeSpecs> {
    range::parse_range(&ex.asked.method, &ex.asked.headers, ex.policy(zone).ranges_max).ok()
}

fn answer(ex: &Exchange, zone: &LiveZone, part: &Part) -> Option<PartAnswer> {
    part.answer(&specs(ex, zone)?)
}

/// Whether a stored part answers a request, for as long as it is fresh.
pub(super) fn answers(ex: &Exchange, zone: &LiveZone, facts: &StoredMeta, part: &Part) -> bool {
    facts.is_fresh(ex.now())
        && ex.asked.method == Method::GET
        && validate::if_range_holds(&ex.asked.headers, facts)
        && answer(ex, zone, part).is_some()
}

/// A reply made from a stored part that answers the request.
pub(super) fn stored(
    ex: &mut Exchange,
    zone: &LiveZone,
    stored: &Arc<Stored<Meta>>,
    part: &Part,
    age: u32,
    served: &Served,
) -> Reply {
    let mut reply = deliver::frozen(stored.status, &stored.meta);
    if !deliver::is_not_modified(ex, &mut reply, &stored.meta) {
        let answer = answer(ex, zone, part).unwrap_or_else(|| all_of(part));
        reply.add(CONTENT_RANGE, answer.content_range);
        reply.body = deliver::body_of(stored, answer.offset, answer.len);
    }
    deliver::finish(ex, zone, reply, &stored.meta, age, served)
}

/// A reply made from a part that is still coming in.
pub(super) fn filling(
    ex: &mut Exchange,
    zone: &LiveZone,
    reader: FillReader<Meta>,
    part: &Part,
    served: &Served,
) -> Reply {
    let answer = answer(ex, zone, part).unwrap_or_else(|| all_of(part));
    filling_with(ex, zone, reader, answer, served)
}

fn filling_with(
    ex: &mut Exchange,
    zone: &LiveZone,
    reader: FillReader<Meta>,
    answer: PartAnswer,
    served: &Served,
) -> Reply {
    let head = reader.head().clone();
    let mut reply = deliver::frozen(head.status, &head.meta);
    if !deliver::is_not_modified(ex, &mut reply, &head.meta) {
        reply.add(CONTENT_RANGE, answer.content_range);
        let body = FillBody::part(reader, answer.offset, answer.len);
        reply.body = ReplyBody::Stream { body: Box::pin(body), len: Some(answer.len) };
    }
    let age = head.meta.facts.current_age(ex.now());
    deliver::finish(ex, zone, reply, &head.meta, age, served)
}

fn all_of(part: &Part) -> PartAnswer {
    PartAnswer { offset: 0, len: part.range.len(), content_range: part.range.content_range(part.complete) }
}

/// Takes the reply to a GET with a range: a 206 is stored as far as it may be and answered with; any other reply speaks about the
/// whole response, and the plan goes on as if that had been asked for.
pub(super) fn on_reply(
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    mut plan: Plan,
    reply: OriginReply,
) -> ControlFlow<Reply, (Plan, OriginReply)> {
    let asked = match plan.kind {
        Kind::Probe(range) => Some(range),
        Kind::AsAsked(None) if ex.asked.method == Method::GET && ex.asked.headers.contains_key(RANGE) => None,
        _ => return ControlFlow::Continue((plan, reply)),
    };
    match reply.status {
        StatusCode::PARTIAL_CONTENT => on_part(ex, zone, plan, reply, asked),
        StatusCode::OK => {
            (plan.kind, plan.ranges) = (Kind::Whole(None), Ranges::Ignored);
            ControlFlow::Continue((plan, reply))
        }
        // It speaks of this range alone: those who wait ask for theirs, and so does who comes next.
        StatusCode::RANGE_NOT_SATISFIABLE => {
            if let Some(guard) = plan.lead.take() {
                guard.publish_uncacheable(None);
            }
            plan.kind = Kind::AsAsked(None);
            ControlFlow::Continue((plan, reply))
        }
        _ => {
            if asked.is_some() {
                plan.kind = Kind::Whole(None);
            }
            ControlFlow::Continue((plan, reply))
        }
    }
}

fn on_part(
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    mut plan: Plan,
    mut reply: OriginReply,
    asked: Option<RangeSpec>,
) -> ControlFlow<Reply, (Plan, OriginReply)> {
    if let Some(reason) = ex.unjudged {
        return ControlFlow::Break(pass(ex, zone, plan, reply, asked, reason));
    }
    let now = unix(crate::clock::SystemTime::now());
    let decided = partial::may_store_part(&reply::asked(ex), reply.status, &reply.headers, ex.policy(zone), now);
    let (storable, mut part) = match decided {
        Ok(_) if reply::deceives(ex, zone, &reply.headers) => {
            return ControlFlow::Break(pass(ex, zone, plan, reply, asked, "content_type_mismatch"));
        }
        Ok(decided) => decided,
        Err(reason) => return ControlFlow::Break(pass(ex, zone, plan, reply, asked, reason.as_str())),
    };
    if let Some(asked) = asked {
        part.asked = [asked].into_iter().collect();
    }
    // Whose request went to the origin as it was gets the reply as it came.
    let verbatim = reply.headers.get(CONTENT_RANGE).filter(|_| asked.is_none()).cloned();
    let bytes = reply.body.len();
    // What came is what counts, where the message says how much that is.
    let Some(part) = (match bytes {
        Some(bytes) => part.received(bytes),
        None => Some(part),
    }) else {
        return ControlFlow::Break(pass(ex, zone, plan, reply, asked, "partial"));
    };
    if part.complete.is_some_and(|complete| part.range == ByteRange { first: 0, last: complete.saturating_sub(1) }) {
        reply.status = StatusCode::OK;
        reply.headers.remove(CONTENT_RANGE);
        if let ReplyBody::Stream { len, .. } = &mut reply.body {
            *len = part.complete;
        }
        (plan.kind, plan.ranges) = (Kind::Whole(None), Ranges::Answered);
        return ControlFlow::Continue((plan, reply));
    }
    let sliced = zone.slicing.slice_bytes > 0 && archipel_http::slices::may_slice(&storable.meta);
    if let (Some(_), Some(spec), false) = (asked, specs(ex, zone).and_then(|specs| specs.first().copied()), sliced)
        && partial::overlap(part.range, part.complete, spec).is_none()
    {
        return ControlFlow::Break(pass(ex, zone, plan, reply, asked, "partial"));
    }
    let answer = match verbatim {
        Some(content_range) => PartAnswer { offset: 0, len: part.range.len(), content_range },
        None => answer(ex, zone, &part).unwrap_or_else(|| all_of(&part)),
    };
    ControlFlow::Break(store(ex, zone, plan, reply, storable, (part, answer)))
}

/// Stores what came: as slices where that may be, else as a part.
fn store(
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    mut plan: Plan,
    reply: OriginReply,
    storable: Storable,
    (part, answer): (Part, PartAnswer),
) -> Reply {
    let mut headers = storage::fields_to_store(&reply.headers, &storable.control.directives, ex.policy(zone));
    headers.remove(CONTENT_RANGE);
    headers.entry(DATE).or_insert_with(|| reply::received(storable.meta.response_time));
    if zone.zone.headers.via {
        headers.append(http::header::VIA, origin::via(reply.version));
    }
    let mut facts = storable.meta;
    let served = Served::miss(&plan);
    plan.ranges = Ranges::Answered;
    reply::forget_uncacheable(ex, zone);
    if let Some(length) = part.complete.filter(|_| zone.slicing.slice_bytes > 0) {
        // The manifest stands for the complete response.
        facts.status = StatusCode::OK;
        let head =
            reply::head(ex, zone, StatusCode::OK, &headers, (facts.clone(), Form::Whole, Forms::default()), None)(
                plan.stamp,
            );
        if let Some(sliced) = slices::cut(ex, zone, &plan, &facts, &head.variant, length) {
            let begins_in_time = begins_in_time(ex, zone, &plan, &sliced, &part);
            let (body, lead) = (streamed(reply.body), plan.lead.take());
            let arriving = slices::Arriving { body, range: part.range, lead };
            return match begins_in_time {
                true => slices::store(ex, zone, head, sliced, arriving, &served),
                false => remember(ex, zone, head, sliced, arriving, answer, &served),
            };
        }
        facts.status = StatusCode::PARTIAL_CONTENT;
    }
    store_part(ex, zone, plan, reply.body, (headers, facts), (part, answer), &served)
}

/// Keeps the manifest of a response of which a part came that does not begin with the slice that the client wants; what came goes to
/// the client alone.
fn remember(
    ex: &mut Exchange,
    zone: &LiveZone,
    mut head: Head<Meta>,
    sliced: slices::Sliced,
    arriving: slices::Arriving,
    answer: PartAnswer,
    served: &Served,
) -> Reply {
    head.meta.form = Form::Sliced(Box::new(sliced));
    let manifest = Arc::new(Stored::new(head, Body::default()));
    // A refusal is counted by the store.
    let _ = ex.worker.node.store.insert_shared(&manifest);
    if let Some(guard) = arriving.lead {
        guard.publish_stored(&manifest);
    }
    let mut reply = deliver::frozen(StatusCode::PARTIAL_CONTENT, &manifest.meta);
    reply.add(CONTENT_RANGE, answer.content_range);
    let body = PartOf::new(arriving.body, answer.offset, answer.len);
    reply.body = ReplyBody::Stream { body: Box::pin(body), len: Some(answer.len) };
    let age = manifest.meta.facts.current_age(ex.now());
    deliver::finish(ex, zone, reply, &manifest.meta, age, served)
}

/// Whether the part begins with the slice that the client wants first, all of it.
fn begins_in_time(ex: &Exchange, zone: &LiveZone, plan: &Plan, sliced: &slices::Sliced, part: &Part) -> bool {
    let grid = sliced.grid;
    let wanted = match (&plan.kind, specs(ex, zone).as_deref()) {
        // What was asked for is what the client wants, widened; where the client wants what does not exist, that is found later.
        (Kind::Probe(RangeSpec::From { first, .. }), _) => *first,
        (_, Some([only])) => match only.resolve(grid.length()) {
            Some(range) => range.first,
            None => return false,
        },
        _ => return false,
    };
    let number = grid.slice_of(wanted);
    number < grid.count() && part.range.contains(&grid.range(number, number))
}

fn store_part(
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    mut plan: Plan,
    body: ReplyBody,
    (headers, facts): (http::HeaderMap, StoredMeta),
    (part, answer): (Part, PartAnswer),
    served: &Served,
) -> Reply {
    let len = part.range.len();
    let form = Form::Part(Box::new(part));
    let head =
        reply::head(ex, zone, StatusCode::PARTIAL_CONTENT, &headers, (facts, form, Forms::default()), None)(plan.stamp);
    let node = ex.worker.node.clone();
    let (writer, reader) = node.store.start_fill(head, Some(len), true);
    let lead = plan.lead.take();
    ex.worker.metrics.parts_stored.add(1);
    let object_bytes_max = reply::object_bytes_max(ex, zone);
    tokio::spawn(fill::pump(streamed(body), writer, lead, node.store.clone(), object_bytes_max, None));
    filling_with(ex, zone, reader, answer, served)
}

/// A 206 that is not stored goes to its client, cut down to what that asked for.
fn pass(
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    plan: Plan,
    mut reply: OriginReply,
    asked: Option<RangeSpec>,
    reason: &'static str,
) -> Reply {
    if asked.is_none() {
        return reply::pass(ex, zone, plan, reply, Some(reason));
    }
    let came = archipel_http::slices::content_range(&reply.headers);
    let spec = specs(ex, zone).and_then(|specs| specs.first().copied());
    let (Some((range, complete)), Some(spec)) = (came, spec) else {
        return reply::pass(ex, zone, plan, reply, Some(reason));
    };
    match partial::overlap(range, complete, spec) {
        Some(wanted) => {
            let body = PartOf::new(streamed(reply.body), wanted.first - range.first, wanted.len());
            reply.body = ReplyBody::Stream { body: Box::pin(body), len: Some(wanted.len()) };
            reply.headers.insert(CONTENT_RANGE, wanted.content_range(complete));
        }
        None => {
            reply.status = StatusCode::RANGE_NOT_SATISFIABLE;
            reply.headers.remove(http::header::CONTENT_TYPE);
            match complete {
                Some(complete) => {
                    reply.headers.insert(CONTENT_RANGE, range::unsatisfied_content_range(complete));
                }
                None => {
                    reply.headers.remove(CONTENT_RANGE);
                }
            }
            reply.body = ReplyBody::Empty;
        }
    }
    reply::pass(ex, zone, plan, reply, Some(reason))
}
