//! Fetching slices: one request for a run of missing ones, cut on its way into objects that others read while they fill.
//!
//! A run leads the flight of the slice that it fills and of the one behind, so that whoever reads along finds each slice as it comes.
//! It goes on while somebody wants the next slice: the reader it was begun for (who wants one slice ahead of what it reads), or
//! anybody who waits for it. So a slow reader holds nobody up, and a body that nobody wants is left with its origin.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use archipel_cache::{
    FillError, FillReader, FillWriter, Filling, Follower, Head, Join, KeyRef, LeaderGuard, Outcome, PurgeStamp, Stored,
    Turn,
};
use archipel_http::slices::{self, Verdict};
use archipel_http::storage;
use archipel_http::stored::StoredMeta;
use archipel_http::vary::{VarySpec, VaryValues};
use archipel_transport::body::BodyError;
use archipel_transport::message::{FrozenFields, ReplyBody, StreamBody};
use archipel_transport::origin::OriginError;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::disk::{self, OnDisk};
use super::reply::asked;
use super::slices::{Refused, Sliced, sliced};
use super::{Form, Kind, Meta, Plan};
use crate::body::OneFrame;
use crate::cache::codings::Forms;
use crate::exchange::Exchange;
use crate::firewall::managed;
use crate::live::LiveZone;
use crate::origin;
use crate::reasons;
use crate::route::Route;
use crate::worker::Worker;

/// Slices that one request to the origin asks for at most.
const RUN_SLICES_MAX: u64 = 64;
/// Slices that are fetched ahead of the one that is read.
const AHEAD: u64 = 1;
/// How long a run waits, when its reader went, for others who read along.
const LINGER: Duration = Duration::from_secs(1);
/// How often a slice is looked for before its reader gives up: between two looks it was fetched, and evicted at once.
const LOOKS_MAX: usize = 4;

/// An error that several requests share.
pub(super) type SharedError = Arc<dyn std::error::Error + Send + Sync>;

/// Where the bytes of one slice come from.
pub(super) enum Source {
    /// From the store.
    Stored(Arc<Stored<Meta>>),
    /// From a fetch under way.
    Filling(FillReader<Meta>),
}

/// What it takes to get slices of one response: made for one reader.
pub(super) struct Fetcher {
    /// Asks the origin; carries the fields of the reader's request.
    pub(super) ex: Exchange,
    pub(super) zone: Arc<LiveZone>,
    pub(super) manifest: Arc<Stored<Meta>>,
    /// The run that was begun for this reader.
    pub(super) run: Option<Owner>,
    /// What the origin gives this reader is for nobody else: each slice is asked for when its turn comes, and not kept.
    pub(super) alone: bool,
}

impl Fetcher {
    pub(super) fn sliced(&self) -> Option<&Sliced> {
        sliced(&self.manifest)
    }

    /// A slice that is there, or that the reader's own run has begun.
    pub(super) fn at_hand(&self, number: u64) -> Option<Source> {
        if let Some(reader) = self.handed(number) {
            return Some(Source::Filling(reader));
        }
        let stored = self.stored(number)?;
        self.ex.worker.metrics.slices_hit.add(1);
        Some(Source::Stored(stored))
    }

    /// A slice that is in the store.
    fn stored(&self, number: u64) -> Option<Arc<Stored<Meta>>> {
        stored(&self.ex.worker, &self.manifest, number)
    }

    /// A slice on the disk that has to be waited for.
    async fn waited(&self, number: u64) -> Option<Arc<Stored<Meta>>> {
        let bytes = self.sliced()?.grid.range(number, number).len();
        let (hash, text) = self.key(number);
        let whole =
            move |stored: &Stored<Meta>| matches!(stored.meta.form, Form::Slice) && stored.body().len() == bytes;
        let store = self.ex.worker.node.store.clone();
        disk::wait_for(store, hash, text, self.manifest.zone, whole).await.map(|found| found.stored)
    }

    /// A slice that the reader's own run has begun.
    fn handed(&self, number: u64) -> Option<FillReader<Meta>> {
        self.run.as_ref()?.take(number)
    }

    /// Says which slice is being read, so that the run stays ahead of it.
    pub(super) fn reads(&self, number: u64) {
        if let Some(run) = &self.run {
            run.want(number.saturating_add(AHEAD));
        }
    }

    /// Gets slice `number`, from the store, from a fetch under way, or by a request for it and the missing ones behind it up to
    /// `last`.
    pub(super) async fn slice(&mut self, number: u64, last: u64) -> Result<Source, Refused> {
        let node = self.ex.worker.node.clone();
        for _ in 0..LOOKS_MAX {
            if let Some(source) = self.at_hand(number) {
                return Ok(source);
            }
            if let Some(stored) = self.waited(number).await {
                self.ex.worker.metrics.slices_hit.add(1);
                return Ok(Source::Stored(stored));
            }
            let joined = {
                let (hash, text) = self.key(number);
                node.flights.join(&key_ref(&self.manifest, hash, &text), 0)
            };
            let follower = match joined {
                Join::Leader(guard) => {
                    // Another flight may have landed between the look and now.
                    if let Some(stored) = self.stored(number) {
                        guard.publish_stored(&stored);
                        return Ok(Source::Stored(stored));
                    }
                    return self.lead(number, last, Some(guard)).await;
                }
                Join::Follower(follower) => follower,
                Join::Pass | Join::Full => return self.lead(number, last, None).await,
            };
            match self.follow(follower).await {
                None => return self.lead(number, last, None).await,
                Some(Turn::Promoted(guard)) => return self.lead(number, last, Some(guard)).await,
                Some(Turn::Outcome(Outcome::Fill(fill))) => {
                    if let Some(reader) = self.handed(number).or_else(|| fill.reader()) {
                        return Ok(Source::Filling(reader));
                    }
                }
                Some(Turn::Outcome(Outcome::Stored(stored))) => return Ok(Source::Stored(stored)),
                Some(Turn::Outcome(Outcome::Uncacheable)) => return Err(Refused::Changed),
                Some(Turn::Outcome(Outcome::Failed(error))) => return Err(Refused::Failed(error)),
            }
        }
        Err(Refused::Failing)
    }

    async fn follow(&self, follower: Follower<Meta>) -> Option<Turn<Meta>> {
        tokio::time::timeout(self.zone.zone.cache.collapse_wait, follower).await.ok()
    }

    fn key(&self, number: u64) -> (u128, Box<str>) {
        key_of_slice(&self.ex.worker, &self.manifest, number)
    }

    async fn lead(&mut self, number: u64, last: u64, guard: Option<LeaderGuard<Meta>>) -> Result<Source, Refused> {
        let (Some(grid), manifest) = (self.sliced().map(|sliced| sliced.grid), self.manifest.clone()) else {
            return Err(Refused::Changed);
        };
        let last = self.run_end(number, if self.alone { number } else { last });
        let range = grid.range(number, last);
        self.ex.worker.metrics.slice_fetches.add(1);
        let mut reply = match self.ask(range).await {
            Ok(reply) => reply,
            Err(error) => {
                let error: SharedError = Arc::new(error);
                if let Some(guard) = guard {
                    guard.fail(error.clone());
                }
                return Err(Refused::Failed(error));
            }
        };
        if managed::inspect(&mut self.ex, &mut reply).await.is_break() {
            // Who waits asks for itself, and is refused for itself.
            return Err(Refused::Failing);
        }
        let verdict = slices::judge(&manifest.meta.facts, &grid, range, reply.status, &reply.headers);
        let piece = match verdict {
            // The last slice that came in full ends the run.
            Verdict::Piece(piece) if piece.last >= grid.range(number, number).last => piece,
            Verdict::Whole if number == 0 => grid.range(0, u64::MAX),
            // Who waits asks for itself: the lead is passed on.
            Verdict::Denied => return Err(Refused::Failing),
            Verdict::Failing => {
                if let Some(guard) = guard {
                    guard.fail(Arc::new(std::io::Error::other("the origin answers with errors")));
                }
                return Err(Refused::Failing);
            }
            refused => {
                if let Some(guard) = guard {
                    guard.publish_uncacheable(None);
                }
                self.ex.worker.metrics.slices_changed.add(1);
                let changed = refused == Verdict::Changed;
                return Err(if changed { Refused::Changed } else { Refused::Contradiction });
            }
        };
        let may_add = storage::may_add(&asked(&self.ex), reply.status, &reply.headers, self.ex.policy(&self.zone));
        let why = may_add.err().map(|why| why.as_str()).or(self.ex.unjudged.take());
        if let Some(why) = why {
            self.ex.count(reasons::NOT_STORED, why);
        }
        self.alone = why.is_some();
        // Who waits then asks for itself: the lead is passed on.
        let guard = guard.filter(|_| !self.alone);
        let mut run = Run::new(&self.ex.worker, manifest, streamed(reply.body), piece.first, piece.last);
        run.alone = self.alone;
        let (reader, owner) = run.begin(number, guard).ok_or(Refused::Changed)?;
        self.run = Some(owner);
        Ok(Source::Filling(reader))
    }

    /// The last of the consecutive slices from `number` on that are missing.
    fn run_end(&self, number: u64, last: u64) -> u64 {
        let most = last.min(number.saturating_add(RUN_SLICES_MAX - 1));
        (number + 1..=most).find(|next| is_stored(&self.ex.worker, &self.manifest, *next)).map_or(most, |next| next - 1)
    }

    async fn ask(
        &mut self,
        range: archipel_http::range::ByteRange,
    ) -> Result<archipel_transport::origin::OriginReply, OriginError> {
        let complete = self.sliced().map(|sliced| sliced.grid.length());
        let plan = Plan::of(Kind::Piece(Box::new(self.manifest.meta.facts.clone()), range, complete), &self.ex);
        let route = Route::of(&self.ex, &self.zone);
        let request = origin::request(&mut self.ex, &route, &plan);
        origin::fetch(&mut self.ex, &route, &plan, request).await
    }
}

fn key_ref<'a>(manifest: &Stored<Meta>, hash: u128, text: &'a str) -> KeyRef<'a> {
    KeyRef { hash, text, zone: manifest.zone }
}

fn key_of_slice(worker: &Worker, manifest: &Stored<Meta>, number: u64) -> (u128, Box<str>) {
    let identity = sliced(manifest).map_or(0, |sliced| sliced.identity);
    slices::slice_key(worker.node.key_seed, &manifest.key, identity, number)
}

/// A slice in the store. The one place where slices are looked up.
fn stored(worker: &Worker, manifest: &Stored<Meta>, number: u64) -> Option<Arc<Stored<Meta>>> {
    let bytes = sliced(manifest)?.grid.range(number, number).len();
    let (hash, text) = key_of_slice(worker, manifest, number);
    let whole = |stored: &Stored<Meta>| matches!(stored.meta.form, Form::Slice) && stored.body().len() == bytes;
    // Whether it counts as stale is the manifest's to say: its validator is the slice's.
    let key = key_ref(manifest, hash, &text);
    if let Some(found) = worker.node.store.lookup(&key, whole) {
        worker.node.store.offer_used(&found.stored);
        return Some(found.stored);
    }
    match disk::look_now(&worker.node, &key, whole) {
        OnDisk::Found(found) => Some(found.stored),
        OnDisk::Cold | OnDisk::Missing { .. } => None,
    }
}

/// Whether a slice is in the store, without that being counted as a use of it.
pub(super) fn is_stored(worker: &Worker, manifest: &Stored<Meta>, number: u64) -> bool {
    let (hash, text) = key_of_slice(worker, manifest, number);
    worker.node.store.has_on_disk(hash) || !worker.node.store.variants(&key_ref(manifest, hash, &text)).is_empty()
}

/// A body as a stream, whatever it came as.
pub(super) fn streamed(body: ReplyBody) -> StreamBody {
    match body {
        ReplyBody::Stream { body, .. } => body,
        ReplyBody::Full(bytes) => Box::pin(OneFrame::new(bytes)),
        _ => Box::pin(OneFrame::new(Bytes::new())),
    }
}

/// One reply on its way into slices.
pub(super) struct Run {
    worker: Arc<Worker>,
    manifest: Arc<Stored<Meta>>,
    body: StreamBody,
    /// What came and is not yet placed.
    rest: Bytes,
    /// Position of the next byte.
    at: u64,
    /// Position of the last byte that the reply has.
    last: u64,
    demand: Arc<Demand>,
    /// One slice is passed on to its reader, and nothing is kept.
    alone: bool,
}

/// A slice that is being filled.
struct Open {
    number: u64,
    writer: FillWriter<Meta>,
    filling: Option<Filling<Meta>>,
}

impl Run {
    /// A reply that holds the bytes `first` to `last`.
    pub(super) fn new(
        worker: &Arc<Worker>,
        manifest: Arc<Stored<Meta>>,
        body: StreamBody,
        first: u64,
        last: u64,
    ) -> Self {
        let (worker, demand) = (worker.clone(), Arc::new(Demand::default()));
        Self { worker, manifest, body, rest: Bytes::new(), at: first, last, demand, alone: false }
    }

    /// Leads the flight of a slice, unless somebody else does or it is there.
    pub(super) fn lead(&self, number: u64) -> Option<LeaderGuard<Meta>> {
        let grid = sliced(&self.manifest)?.grid;
        if number >= grid.count() || grid.range(number, number).last > self.last {
            return None;
        }
        let (hash, text) = key_of_slice(&self.worker, &self.manifest, number);
        let guard = self.worker.node.flights.try_lead(&key_ref(&self.manifest, hash, &text))?;
        match stored(&self.worker, &self.manifest, number) {
            Some(stored) => {
                guard.publish_stored(&stored);
                None
            }
            None => Some(guard),
        }
    }

    /// Begins with slice `number`, whose bytes come first: its reader, and who keeps the run going. The rest happens in a task of
    /// its own, as the leader's client may go while others read.
    pub(super) fn begin(self, number: u64, guard: Option<LeaderGuard<Meta>>) -> Option<(FillReader<Meta>, Owner)> {
        let (open, reader) = self.open(number, guard)?;
        let owner = Owner(self.demand.clone());
        owner.want(number.saturating_add(AHEAD));
        tokio::spawn(self.carry_on(open));
        Some((reader, owner))
    }

    fn open(&self, number: u64, guard: Option<LeaderGuard<Meta>>) -> Option<(Open, FillReader<Meta>)> {
        let stamp = guard.as_ref().map_or_else(|| self.worker.node.store.stamp(), LeaderGuard::stamp);
        let bytes = sliced(&self.manifest)?.grid.range(number, number).len();
        let head = self.head(number, stamp);
        let (mut writer, reader) = self.worker.node.store.start_fill(head, Some(bytes), true);
        if self.alone {
            writer.pass_through();
        }
        let filling = guard.map(|guard| guard.publish_fill(writer.fill()));
        Some((Open { number, writer, filling }, reader))
    }

    fn head(&self, number: u64, stamp: PurgeStamp) -> Head<Meta> {
        let (hash, key) = key_of_slice(&self.worker, &self.manifest, number);
        // Which requests a slice answers is the manifest's to say.
        let facts = StoredMeta { vary: VarySpec::None, ..self.manifest.meta.facts.clone() };
        let meta = Meta {
            facts,
            vary: VaryValues::default(),
            fields: Arc::new(FrozenFields::new(&HeaderMap::new())),
            form: Form::Slice,
            forms: Forms::default(),
        };
        let meta_bytes = meta.fields.heap_bytes();
        Head {
            hash,
            key,
            zone: self.manifest.zone,
            // A purge by any of them takes the slices with it.
            groups: self.manifest.groups.clone(),
            stamp,
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            frozen_head: Bytes::new(),
            variant: Box::default(),
            stored_at: self.manifest.stored_at,
            meta,
            meta_bytes,
        }
    }

    async fn carry_on(mut self, mut open: Open) {
        loop {
            // Led before this one is done, or its readers would find the next one neither stored nor on its way.
            let number = open.number + 1;
            let next = if self.alone { None } else { self.lead(number) };
            if !self.carry(open).await {
                return;
            }
            self.use_manifest();
            let Some(guard) = next else { break };
            if !self.demand.wait(number, &guard).await {
                return;
            }
            match self.open(number, Some(guard)) {
                Some((next, reader)) => {
                    // A slice that is only passed through, as fills hold all the memory they may, lives by its readers.
                    self.demand.hand(number, reader);
                    open = next;
                }
                None => return,
            }
        }
        if self.at > self.last && self.rest.is_empty() {
            // A body that is read to its end gives its connection back.
            let _ = self.next_data().await;
        }
    }

    /// Counts as a use of the manifest, which its own slices would push out of the store otherwise.
    fn use_manifest(&self) {
        let same = |stored: &Stored<Meta>| *stored.variant == *self.manifest.variant;
        let _ = self.worker.node.store.lookup(&self.manifest.key_ref(), same);
    }

    /// Carries the bytes of one slice; false where they did not all come.
    async fn carry(&mut self, open: Open) -> bool {
        let Open { number, mut writer, filling } = open;
        let Some(end) = sliced(&self.manifest).map(|sliced| sliced.grid.range(number, number).last + 1) else {
            return false;
        };
        while self.at < end {
            if writer.ready().await.is_err() {
                return false;
            }
            if self.rest.is_empty() {
                match self.next_data().await {
                    Ok(Some(data)) => self.rest = data,
                    Ok(None) => {
                        writer.fail(FillError::Truncated);
                        return false;
                    }
                    Err(error) => {
                        writer.fail(FillError::Failed(super::fill::word(error)));
                        return false;
                    }
                }
            }
            let take = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(self.rest.len());
            self.at += take as u64;
            writer.append(self.rest.split_to(take));
        }
        if let Ok(Some(stored)) = writer.finish(None)
            && self.worker.node.store.insert(stored).is_ok()
        {
            self.worker.metrics.slices_stored.add(1);
        }
        drop(filling);
        true
    }

    /// The next bytes, none of them empty; trailers are not kept.
    async fn next_data(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            match std::future::poll_fn(|cx| self.body.as_mut().poll_frame(cx)).await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
    }
}

/// What a run has to know of the reader that it was begun for.
#[derive(Default)]
struct Demand(Mutex<Wanted>);

#[derive(Default)]
struct Wanted {
    /// The last slice that is wanted.
    last: u64,
    /// The reader went.
    gone: bool,
    run: Option<Waker>,
    /// A slice that was begun before the reader asked for it.
    handed: Option<(u64, FillReader<Meta>)>,
}

impl Demand {
    fn lock(&self) -> std::sync::MutexGuard<'_, Wanted> {
        // No caller's code runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand(&self, number: u64, reader: FillReader<Meta>) {
        let mut wanted = self.lock();
        let unused = match wanted.gone {
            true => Some((number, reader)),
            false => wanted.handed.replace((number, reader)),
        };
        drop(wanted);
        drop(unused);
    }

    /// Waits until somebody wants a slice; false where nobody will.
    async fn wait(&self, number: u64, guard: &LeaderGuard<Meta>) -> bool {
        if std::future::poll_fn(|cx| self.poll(number, guard, cx)).await {
            return true;
        }
        // The reader went. Who reads along asks when it has read what it has.
        tokio::time::timeout(LINGER, std::future::poll_fn(|cx| guard.poll_followed(cx))).await.is_ok()
    }

    fn poll(&self, number: u64, guard: &LeaderGuard<Meta>, cx: &mut Context<'_>) -> Poll<bool> {
        if guard.poll_followed(cx).is_ready() {
            return Poll::Ready(true);
        }
        let mut wanted = self.lock();
        if !wanted.gone && wanted.last >= number {
            return Poll::Ready(true);
        }
        if wanted.gone {
            return Poll::Ready(false);
        }
        wanted.run = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Held by the reader that a run was begun for.
pub(super) struct Owner(Arc<Demand>);

impl Owner {
    /// The slice that was handed over, if it is this one; one before it is of no use any more.
    fn take(&self, number: u64) -> Option<FillReader<Meta>> {
        let mut wanted = self.0.lock();
        let handed = wanted.handed.take_if(|(handed, _)| *handed <= number);
        drop(wanted);
        handed.filter(|(handed, _)| *handed == number).map(|(_, reader)| reader)
    }

    fn want(&self, last: u64) {
        let run = {
            let mut wanted = self.0.lock();
            wanted.last = wanted.last.max(last);
            wanted.run.take()
        };
        if let Some(run) = run {
            run.wake();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let (run, _handed) = {
            let mut wanted = self.0.lock();
            wanted.gone = true;
            (wanted.run.take(), wanted.handed.take())
        };
        if let Some(run) = run {
            run.wake();
        }
    }
}

/// A slice on its way to a reader, with the fetcher that comes back.
pub(super) type Acquiring = Pin<Box<dyn Future<Output = (Box<Fetcher>, Result<Source, Refused>)> + Send>>;

/// [`Fetcher::slice`] by value, for a body that polls it.
pub(super) fn acquire(mut fetcher: Box<Fetcher>, number: u64, last: u64) -> Acquiring {
    Box::pin(async move {
        let source = fetcher.slice(number, last).await;
        (fetcher, source)
    })
}
