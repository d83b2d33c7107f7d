//! Bodies on their way into the store, and revalidation in the background.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use archipel_cache::{FillError, FillWriter, Filling, KeyRef, Store, Stored};
use archipel_http::cache_status::Forward;
use archipel_transport::body::{BodyError, RequestBody};
use archipel_transport::interim::Interim;
use archipel_transport::message::{ReplyBody, StreamBody};
use http::Method;

use super::{Kind, Meta, Plan, key_of};
use crate::exchange::{Asked, Exchange};
use crate::live::LiveZone;
use crate::pipeline;
use crate::reasons;

/// Revalidations in the background at once, in the whole process.
const REFRESHES_MAX: usize = 512;

static REFRESHES: AtomicUsize = AtomicUsize::new(0);

/// A place among the background revalidations.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        if REFRESHES.fetch_add(1, Ordering::Relaxed) >= REFRESHES_MAX {
            REFRESHES.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        REFRESHES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Revalidates a stale response that was just served (RFC 5861 section 3), unless somebody does already.
pub(super) fn refresh(ex: &Exchange, zone: &LiveZone, stored: &Arc<Stored<Meta>>) {
    if ex.conn.is_none() {
        return;
    }
    let Some(place) = Place::take() else {
        ex.count(reasons::BACKGROUND_SKIPPED, "refreshes_max");
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
    let asked = Asked {
        method: Method::GET,
        version: ex.asked.version,
        scheme: ex.asked.scheme,
        authority: ex.asked.authority.clone(),
        host_len: ex.asked.host_len,
        path_and_query: ex.asked.path_and_query.clone(),
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
    let plan = Plan {
        kind: Kind::Whole(Some(stored.clone())),
        why: Forward::Stale,
        stamp: lead.stamp(),
        lead: Some(lead),
        collapsed: false,
    };
    tokio::spawn(async move {
        let _place = place;
        // What is to be stored is stored by the fill's own task; the reply itself is for nobody.
        drop(Box::pin(pipeline::from_origin(&mut background, plan)).await);
    });
}

/// Carries a body from the origin into a fill, and the fill into the store.
pub(super) async fn pump(
    mut body: StreamBody,
    mut writer: FillWriter<Meta>,
    filling: Option<Filling<Meta>>,
    store: Arc<Store<Meta>>,
    object_bytes_max: u64,
) {
    let mut bytes = 0;
    let mut trailers = None;
    loop {
        if writer.ready().await.is_err() {
            return;
        }
        match std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            None => break,
            Some(Err(error)) => {
                writer.fail(FillError::Failed(word(error)));
                return;
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    bytes += data.len() as u64;
                    if bytes > object_bytes_max && writer.is_storable() {
                        writer.pass_through();
                    }
                    writer.append(data);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    }
    if let Ok(Some(stored)) = writer.finish(trailers) {
        // A refusal is counted by the store.
        let _ = store.insert(stored);
    }
    drop(filling);
}

fn word(error: BodyError) -> &'static str {
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
