//! Large objects in slices. A *manifest* stands in the store under the request's key, like any response, and holds the head; each slice is
//! an object of its own under a key that only the manifest leads to ([`archipel_http::slices`]).
//!
//! - this module: what is cut, and replies made from what was cut;
//! - [`super::slices_fetch`]: requests for missing slices;
//! - [`super::slices_body`]: the body that is put together from slices.
//!
//! Must never serve bytes of two representations in one reply.

use std::ops::ControlFlow;
use std::sync::Arc;

use archipel_cache::{Body, FillReader, Head, LeaderGuard, Stored};
use archipel_http::range::{self, ByteRange, RangeSpec};
use archipel_http::slices::{self, Grid};
use archipel_transport::message::{Reply, ReplyBody, StreamBody};
use archipel_transport::origin::OriginError;
use http::header::{ACCEPT_RANGES, AUTHORIZATION, IF_RANGE};
use http::{HeaderMap, StatusCode};

use super::deliver::{self, Content, Served};
use super::slices_body::SlicedBody;
use super::slices_fetch::{Fetcher, Owner, Run, SharedError};
use super::{Form, Kind, Meta, Plan, Ranges, fill, kind_of, reply};
use crate::exchange::Exchange;
use crate::live::LiveZone;

/// How a response was cut.
#[derive(Clone, Debug)]
pub(crate) struct Sliced {
    /// Where the cuts are.
    pub(crate) grid: Grid,
    /// Under which its slices are found.
    pub(crate) identity: u128,
}

/// How a stored response was cut, if it was.
pub(super) fn sliced(stored: &Stored<Meta>) -> Option<&Sliced> {
    match &stored.meta.form {
        Form::Sliced(sliced) => Some(sliced),
        _ => None,
    }
}

/// Why a slice is not to be had.
pub(super) enum Refused {
    /// The origin has another representation now.
    Changed,
    /// The origin's replies do not fit together: it cannot be asked for ranges.
    Contradiction,
    /// The origin answers with errors at the moment.
    Failing,
    /// The origin gave no reply.
    Failed(SharedError),
}

/// What to ask the origin for where a range is wanted of something that is not stored: the slices that the range touches. `None`
/// where the request is to be passed on as it is: several ranges, the last so many bytes (what slices they are depends on the
/// length), a precondition on the range, or a request whose reply is hardly for everybody.
pub(super) fn probe(ex: &Exchange, zone: &LiveZone) -> Option<RangeSpec> {
    let headers = &ex.asked.headers;
    if zone.slicing.slice_bytes == 0 || headers.contains_key(AUTHORIZATION) || headers.contains_key(IF_RANGE) {
        return None;
    }
    match range::parse_range(&ex.asked.method, headers, ex.policy(zone).ranges_max).ok()?.as_slice() {
        [only] => slices::widened(*only, zone.slicing.slice_bytes),
        _ => None,
    }
}

/// Whether a complete response of `len` bytes is cut. The origin must have said that it can be asked for ranges, or what is evicted
/// could not be fetched again by itself.
pub(super) fn applies(zone: &LiveZone, plan: &Plan, status: StatusCode, headers: &HeaderMap, len: Option<u64>) -> bool {
    let ranges = headers.get(ACCEPT_RANGES).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"bytes"));
    let large = len.is_some_and(|len| len >= zone.slicing.object_bytes_min && len > zone.slicing.slice_bytes);
    let answers_ranges = match plan.ranges {
        Ranges::Answered => true,
        Ranges::Ignored => false,
        Ranges::NotAsked => ranges,
    };
    zone.slicing.slice_bytes > 0 && status == StatusCode::OK && large && answers_ranges
}

/// How a response with these facts is to be cut: as the one that it replaces, where that is the same representation.
pub(super) fn cut(
    ex: &Exchange,
    zone: &LiveZone,
    plan: &Plan,
    facts: &archipel_http::StoredMeta,
    variant: &[u8],
    length: u64,
) -> Option<Sliced> {
    let etag =
        facts.etag.as_ref().filter(|_| slices::may_slice(facts) && length <= ex.policy(zone).object_bytes_max)?;
    let grid = Grid::new(zone.slicing.slice_bytes, length)?;
    let before = plan.stale().filter(|old| slices::is_same(&old.meta.facts, facts) && *old.variant == *variant);
    match before.and_then(|old| sliced(old)) {
        Some(old) if old.grid == grid => Some(old.clone()),
        _ => {
            let seed = ex.worker.node.key_seed;
            let identity = slices::identity(seed, etag.as_bytes(), variant, &grid, plan.stamp.sequence());
            Some(Sliced { grid, identity })
        }
    }
}

/// A reply of the origin that is to be cut.
pub(super) struct Arriving {
    /// What came.
    pub(super) body: StreamBody,
    /// The bytes that it has.
    pub(super) range: ByteRange,
    /// Others wait for it.
    pub(super) lead: Option<LeaderGuard<Meta>>,
}

/// Stores the manifest, cuts the body on its way, and makes the reply. Where the store does not take the manifest (it was purged
/// meanwhile), what came is served all the same.
pub(super) fn store(
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    mut head: Head<Meta>,
    sliced: Sliced,
    arriving: Arriving,
    served: &Served,
) -> Reply {
    let grid = sliced.grid;
    head.meta.form = Form::Sliced(Box::new(sliced));
    let manifest = Arc::new(Stored::new(head, Body::default()));
    // A refusal is counted by the store.
    let _ = ex.worker.node.store.insert_shared(&manifest);
    let Arriving { body, range, lead } = arriving;
    let run = Run::new(&ex.worker, manifest.clone(), body, range.first, range.last);
    let number = grid.next_start(range.first);
    // Led before anybody hears of the manifest, so that all who then look for the slice find it on its way.
    let begun = run.lead(number).and_then(|guard| Some((number, run.begin(number, Some(guard))?)));
    if let Some(guard) = lead {
        guard.publish_stored(&manifest);
    }
    let (first, owner) = match begun {
        Some((number, (reader, owner))) => (Some((number, reader)), Some(owner)),
        None => (None, None),
    };
    lazily(ex, zone, &manifest, (first, owner), served)
}

fn fetcher(ex: &Exchange, zone: &Arc<LiveZone>, manifest: &Arc<Stored<Meta>>, run: Option<Owner>) -> Box<Fetcher> {
    let mut background = fill::background(ex);
    background.id = ex.id;
    Box::new(Fetcher { ex: background, zone: zone.clone(), manifest: manifest.clone(), run, alone: false })
}

/// What a reply is made of before its body is at hand.
struct Draft {
    reply: Reply,
    body: Option<SlicedBody>,
}

fn draft(ex: &Exchange, zone: &Arc<LiveZone>, manifest: &Arc<Stored<Meta>>, run: Option<Owner>) -> Option<Draft> {
    let length = sliced(manifest)?.grid.length();
    let mut reply = deliver::frozen(manifest.status, &manifest.meta);
    let content = deliver::shape(ex, zone, &mut reply, &manifest.meta, Some(length), true);
    let pieces = match content {
        Content::None => return Some(Draft { reply, body: None }),
        Content::Whole => vec![deliver::Piece::Bytes(ByteRange { first: 0, last: length - 1 })],
        Content::Pieces(pieces) => pieces,
    };
    Some(Draft { reply, body: Some(SlicedBody::new(fetcher(ex, zone, manifest, run), pieces)) })
}

impl Draft {
    fn finish(self, ex: &mut Exchange, zone: &LiveZone, meta: &Meta, age: u32, served: &Served) -> Reply {
        let mut reply = self.reply;
        if let Some(body) = self.body {
            let len = Some(body.len());
            reply.body = ReplyBody::Stream { body: Box::pin(body), len };
        }
        deliver::finish(ex, zone, reply, meta, age, served)
    }
}

/// A reply whose slices are looked for when their turn comes: for what the origin has confirmed this moment.
pub(super) fn lazily(
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    manifest: &Arc<Stored<Meta>>,
    (first, owner): (Option<(u64, FillReader<Meta>)>, Option<Owner>),
    served: &Served,
) -> Reply {
    let age = manifest.meta.facts.current_age(crate::exchange::unix(crate::clock::SystemTime::now()));
    let Some(mut draft) = draft(ex, zone, manifest, owner) else {
        return crate::error_page::reply(ex, &crate::error_page::Failure::internal("not_sliced"));
    };
    if let Some(body) = &mut draft.body {
        body.begin(first);
    }
    draft.finish(ex, zone, &manifest.meta, age, served)
}

/// A reply that needs nothing from the origin to begin; `None` where it does.
pub(super) fn at_once(
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    manifest: &Arc<Stored<Meta>>,
    age: u32,
    served: &Served,
) -> Option<Reply> {
    let mut draft = draft(ex, zone, manifest, None)?;
    if draft.body.as_mut().is_some_and(|body| !body.begin(None)) {
        return None;
    }
    Some(draft.finish(ex, zone, &manifest.meta, age, served))
}

/// A reply from slices, the first of which is there when this returns. Where the origin turns out to have something else by now, a
/// plan to ask for that.
pub(super) async fn serve(
    ex: &mut Exchange,
    zone: &Arc<LiveZone>,
    manifest: &Arc<Stored<Meta>>,
    age: u32,
    served: &Served,
) -> ControlFlow<Reply, Plan> {
    let Some(mut draft) = draft(ex, zone, manifest, None) else {
        return ControlFlow::Continue(Plan::of(Kind::Whole(None), ex));
    };
    if let Some(body) = &mut draft.body
        && let Err(refused) = body.acquire_first().await
    {
        give_up(ex, zone, manifest, &refused);
        let kind = match refused {
            Refused::Changed => kind_of(ex, zone, None),
            _ => Kind::AsAsked(None),
        };
        let plan = Plan::of(kind, ex);
        return match refused {
            Refused::Failed(error) => match error.downcast_ref::<OriginError>() {
                Some(error) => ControlFlow::Break(reply::failed(ex, zone, plan, error)),
                None => ControlFlow::Continue(plan),
            },
            _ => ControlFlow::Continue(plan),
        };
    }
    ControlFlow::Break(draft.finish(ex, zone, &manifest.meta, age, served))
}

/// Whether all that a request wants of a sliced response is in the store, so that it can be served with the origin down.
pub(super) fn is_all_stored(ex: &Exchange, zone: &Arc<LiveZone>, manifest: &Arc<Stored<Meta>>) -> bool {
    let Some(draft) = draft(ex, zone, manifest, None) else { return false };
    draft.body.is_none_or(|body| body.is_all_stored())
}

/// What a refused slice means for what is stored of its response.
pub(super) fn give_up(ex: &Exchange, zone: &LiveZone, manifest: &Arc<Stored<Meta>>, refused: &Refused) {
    if !matches!(refused, Refused::Changed | Refused::Contradiction) {
        return;
    }
    let node = &ex.worker.node;
    // Unless another one has taken its place by now.
    if !node.store.remove(manifest) {
        return;
    }
    let key = manifest.key_ref();
    // It takes a number of the purge sequence, so that the same entity tag leads to other slices from now on.
    node.store.invalidate_key(&key);
    if matches!(refused, Refused::Contradiction)
        && let Some(guard) = node.flights.try_lead(&key)
    {
        guard.publish_uncacheable(Some(reply::hit_for_miss_until(ex, zone)));
    }
}
