//! The disk tier in the pipeline: asked after memory, before anybody else's fetch and the origin.
//!
//! What the page cache holds is found at once, as if it were in memory. What is not is waited for here, at most `read_wait`. What is
//! found is judged as what memory gives: fresh, stale, to be validated. Must never decide about freshness itself.

use std::ops::ControlFlow;
use std::sync::Arc;

use archipel_cache::{DiskLookup, DiskOptions, DiskWriter, FillWriter, Head, KeyRef, KeyText, Lookup, Store, Stored};
use archipel_config::NodeCacheDisk;
use archipel_http::StoredMeta;
use archipel_transport::message::Reply;
use bytes::Bytes;
use http::HeaderMap;
use http::header::DATE;

use super::{Form, Meta, Plan, act, judge, key_of, key_ref, missing};
use crate::exchange::Exchange;
use crate::live::LiveZone;
use crate::node::Node;

/// The detail in Cache-Status, and the tier in the access log.
pub(crate) const DISK: &str = "disk";

/// The bounds of the disk tier that a node's settings describe.
pub(crate) fn options(config: &NodeCacheDisk) -> Option<DiskOptions> {
    Some(DiskOptions {
        object_bytes_max: config.object_bytes_max,
        queue_bytes_max: config.queue_bytes_max,
        read_wait: config.read_wait,
        ..DiskOptions::new(config.path.clone()?, config.bytes_max)
    })
}

/// What the disk has for a key that memory does not have.
pub(super) enum OnDisk {
    Found(Lookup<Meta>),
    /// Something that must be waited for.
    Cold,
    Missing {
        other_variants: bool,
    },
}

pub(super) fn look_now<K: KeyText + ?Sized>(
    node: &Node,
    key: &KeyRef<'_, K>,
    fits: impl FnMut(&Stored<Meta>) -> bool,
) -> OnDisk {
    match node.store.lookup_disk(key, fits) {
        DiskLookup::Found(found) => OnDisk::Found(node.store.use_found(found)),
        DiskLookup::Cold => OnDisk::Cold,
        DiskLookup::Missing { other_variants } => OnDisk::Missing { other_variants },
    }
}

/// Waits for the disk where [`look_now`] said so.
pub(crate) async fn look_up(ex: &mut Exchange, plan: Plan) -> ControlFlow<Reply, Plan> {
    let (true, Some(zone)) = (plan.cold, ex.zone.clone()) else {
        return ControlFlow::Continue(plan);
    };
    let found = match wait(ex, &zone).await {
        Some(found) => judge(ex, &zone, found, true),
        None => missing(ex, &zone, false),
    };
    act(ex, &zone, found)
}

fn wait(ex: &Exchange, zone: &LiveZone) -> impl Future<Output = Option<Lookup<Meta>>> + Send + use<> {
    // Copies: a request cannot be lent to a future that may move to another thread.
    let key = key_of(ex, zone);
    let (hash, text, zone_id) = (key_ref(ex, &key).hash, key.text(), key.zone);
    let (headers, vary) = (ex.asked.headers.clone(), ex.policy(zone).vary.clone());
    let fits = move |stored: &Stored<Meta>| {
        let answers = matches!(stored.meta.form, Form::Whole | Form::Sliced(_));
        answers && stored.meta.facts.vary.matches(&stored.meta.vary, &headers, &vary)
    };
    wait_for(ex.worker.node.store.clone(), hash, text, zone_id, fits)
}

/// Waits for what the disk has of a key, at most `read_wait`.
pub(super) async fn wait_for(
    store: Arc<Store<Meta>>,
    hash: u128,
    text: Box<str>,
    zone: u32,
    fits: impl FnMut(&Stored<Meta>) -> bool + Send,
) -> Option<Lookup<Meta>> {
    let read_wait = store.disk()?.options().read_wait;
    let key = KeyRef { hash, text: &*text, zone };
    match tokio::time::timeout(read_wait, store.lookup_disk_waiting(&key, fits)).await {
        Ok(found) => found,
        Err(_) => {
            store.disk_waited_too_long();
            None
        }
    }
}

/// How long what is on the disk may be older than what was renewed with the same fields, in seconds.
const RENEWED_SECONDS: i64 = 60;

/// Renews a stored response. What is validated with each request is not written with each: the disk has one that differs in its times
/// alone, and by a minute at most.
pub(super) fn renew(
    store: &Store<Meta>,
    old: &Arc<Stored<Meta>>,
    head: Head<Meta>,
) -> Result<Arc<Stored<Meta>>, archipel_cache::Refused> {
    if is_as_good(old, &head) { store.replace_in_memory(old, head) } else { store.replace(old, head) }
}

fn is_as_good(old: &Stored<Meta>, new: &Head<Meta>) -> bool {
    let (facts, renewed) = (&old.meta.facts, &new.meta.facts);
    let minute = |facts: &StoredMeta| facts.response_time.0.div_euclid(RENEWED_SECONDS);
    let same = StoredMeta {
        response_time: renewed.response_time,
        corrected_initial_age: renewed.corrected_initial_age,
        date: renewed.date,
        ..facts.clone()
    };
    // What is served from the disk has only the disk's times: they must not matter.
    let is_served = old.body().on_disk().is_none() || renewed.no_cache || renewed.lifetime.seconds == 0;
    is_served
        && minute(facts) == minute(renewed)
        && same == *renewed
        && (&old.variant, &old.groups, old.status) == (&new.variant, &new.groups, new.status)
        && old.meta.vary == new.meta.vary
        && fields_but_date(old).eq(fields_but_date(new))
}

fn fields_but_date(head: &Head<Meta>) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.meta.fields.iter().filter(|(name, _)| *name != DATE.as_str().as_bytes())
}

/// A body that is too large for memory, on its way to the disk while it is passed on to visitors.
pub(super) struct Spill {
    store: Arc<Store<Meta>>,
    state: State,
}

enum State {
    /// Memory takes it, as far as is known.
    InMemory,
    Writing(DiskWriter<Meta>),
    Off,
}

impl Spill {
    pub(super) fn new(store: Arc<Store<Meta>>) -> Self {
        Self { store, state: State::InMemory }
    }

    /// The next bytes, before the fill gets them.
    pub(super) fn next(&mut self, fill: &FillWriter<Meta>, bytes: &Bytes) {
        if let State::InMemory = self.state
            && fill.outgrows(bytes.len() as u64)
        {
            self.state = self.begin(fill).map_or(State::Off, State::Writing);
        }
        if let State::Writing(writer) = &mut self.state
            && !writer.append(Bytes::copy_from_slice(bytes))
        {
            self.state = State::Off;
        }
    }

    fn begin(&self, fill: &FillWriter<Meta>) -> Option<DiskWriter<Meta>> {
        // What was passed through already is gone.
        let kept = fill.kept()?;
        let mut writer = self.store.start_on_disk(fill.fill().head(), fill.fill().length())?;
        kept.into_iter().all(|bytes| writer.append(bytes)).then_some(writer)
    }

    /// It is too large for the disk, too.
    pub(super) fn give_up(&mut self) {
        self.state = State::Off;
    }

    /// The body is complete.
    pub(super) fn finish(self, trailers: Option<&HeaderMap>) {
        if let State::Writing(writer) = self.state {
            writer.finish(trailers.filter(|fields| !fields.is_empty()).cloned().map(Arc::new));
        }
    }
}
