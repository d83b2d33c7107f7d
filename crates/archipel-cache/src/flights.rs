//! Request collapsing: of many requests that miss the same key, one goes to the origin.
//!
//! A leader that dies hands over to the one that waited longest; the others keep waiting. A follower that is dropped is forgotten.
//! Where one leader's fetch failed and the next one's too, the rest share the failure: a thousand that wait for a dead origin ask it
//! twice, not a thousand times one after the other.
//!
//! Must never let a request that came after a purge wait for a fetch that began before it.

use crate::fill::Fill;
use crate::hints::Hints;
use crate::key::{KeyRef, KeyText};
use crate::purge::PurgeStamp;
use crate::stats::{CacheStats, count};
use crate::store::Store;
use crate::stored::Stored;
use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Shards of the table. A power of two.
const SHARDS: usize = 64;

/// The bounds of [`Flights`]. Flights themselves are bounded by the requests that lead them.
#[derive(Debug, Clone)]
pub struct FlightLimits {
    /// Requests that wait for one leader's response head; more go alone. Default 10,000.
    pub followers_max: usize,
    /// Keys remembered as uncacheable; the oldest is forgotten. Default 65,536.
    pub hints_max: usize,
}

impl Default for FlightLimits {
    fn default() -> Self {
        Self { followers_max: 10_000, hints_max: 65_536 }
    }
}

/// What a request that missed has to do.
#[derive(Debug)]
pub enum Join<M> {
    /// Fetch, and tell the others.
    Leader(LeaderGuard<M>),
    /// Await what the leader finds.
    Follower(Follower<M>),
    /// Fetch alone: the key was uncacheable a moment ago.
    Pass,
    /// Fetch alone: `followers_max` wait already.
    Full,
}

/// What a leader found. A follower checks that it fits its own request (RFC 9111 section 4.1) before it uses it.
#[derive(Debug)]
pub enum Outcome<M> {
    /// A response that is still coming: take a [`Fill::reader`].
    Fill(Arc<Fill<M>>),
    /// A complete one, such as a revalidated one.
    Stored(Arc<Stored<M>>),
    /// One that may not be shared: fetch alone.
    Uncacheable,
    /// Two leaders in a row got no response; this is the second one's error. Do not fetch.
    Failed(Arc<dyn std::error::Error + Send + Sync>),
}

impl<M> Clone for Outcome<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Fill(fill) => Self::Fill(Arc::clone(fill)),
            Self::Stored(stored) => Self::Stored(Arc::clone(stored)),
            Self::Uncacheable => Self::Uncacheable,
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
        }
    }
}

/// What a [`Follower`] awaited.
#[derive(Debug)]
pub enum Turn<M> {
    /// The leader found this.
    Outcome(Outcome<M>),
    /// The leader died: lead.
    Promoted(LeaderGuard<M>),
}

/// The table of fetches under way.
#[derive(Debug)]
pub struct Flights<M> {
    shards: Box<[Mutex<Shard<M>>; SHARDS]>,
    store: Arc<Store<M>>,
    stats: Arc<CacheStats>,
    limits: FlightLimits,
}

#[derive(Debug)]
struct Shard<M> {
    flights: HashMap<u128, Arc<Flight<M>>, foldhash::fast::RandomState>,
    hints: Hints,
}

#[derive(Debug)]
struct Flight<M> {
    hash: u128,
    text: Box<str>,
    stamp: PurgeStamp,
    state: Mutex<State<M>>,
}

#[derive(Debug)]
struct State<M> {
    stage: Stage<M>,
    /// Followers in the order they came.
    waiters: BTreeMap<u64, Option<Waker>>,
    next_waiter: u64,
    /// A leader that waits for somebody to follow.
    leader: Option<Waker>,
    /// A leader's fetch has failed already.
    failed_before: bool,
}

#[derive(Debug)]
enum Stage<M> {
    /// A leader is on its way.
    Led,
    /// The leader died; whoever comes first leads.
    Leaderless,
    Known(Outcome<M>),
}

impl<M> State<M> {
    fn enlist(&mut self) -> u64 {
        let waiter = self.next_waiter;
        self.next_waiter += 1;
        self.waiters.insert(waiter, None);
        waiter
    }
}

impl<M> Flight<M> {
    // No caller's code runs under these locks.
    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Flights<M> {
    /// An empty table beside a store, whose purges and counters it shares.
    pub fn new(store: Arc<Store<M>>, limits: FlightLimits) -> Arc<Self> {
        let shard = |_| Mutex::new(Shard { flights: HashMap::default(), hints: Hints::default() });
        let stats = Arc::clone(store.stats());
        Arc::new(Self { shards: Box::new(std::array::from_fn(shard)), store, stats, limits })
    }

    /// Joins the fetch of a key, or begins one. `now` in seconds, for the expiry of uncacheable marks.
    pub fn join<K: KeyText + ?Sized>(self: &Arc<Self>, key: &KeyRef<'_, K>, now: u64) -> Join<M> {
        let mut shard = self.lock(key.hash);
        if shard.hints.is_marked(key.hash, now) {
            count(&self.stats.passes);
            return Join::Pass;
        }
        let Some(flight) = shard.flights.get(&key.hash).filter(|flight| self.is_current(flight, key)).cloned() else {
            return Join::Leader(self.lead(&mut shard, key));
        };
        if !key.text.matches_text(&flight.text) {
            return Join::Pass;
        }
        let mut state = flight.lock();
        match &state.stage {
            Stage::Leaderless => {
                state.stage = Stage::Led;
                drop(state);
                Join::Leader(self.promote(flight))
            }
            Stage::Led if state.waiters.len() >= self.limits.followers_max => {
                count(&self.stats.followers_overflows);
                Join::Full
            }
            Stage::Led | Stage::Known(_) => {
                let waiter = state.enlist();
                let leader = state.leader.take();
                drop(state);
                count(&self.stats.followers);
                if let Some(leader) = leader {
                    leader.wake();
                }
                Join::Follower(Follower { flights: Arc::clone(self), flight, waiter })
            }
        }
    }

    /// Follows the fetch of a key if one is under way: for requests whose own fetch would be of no use to others. `None`: fetch
    /// alone.
    pub fn follow<K: KeyText + ?Sized>(self: &Arc<Self>, key: &KeyRef<'_, K>) -> Option<Follower<M>> {
        let shard = self.lock(key.hash);
        let flight = shard.flights.get(&key.hash).filter(|flight| self.is_current(flight, key)).cloned()?;
        if !key.text.matches_text(&flight.text) {
            return None;
        }
        let mut state = flight.lock();
        if matches!(state.stage, Stage::Leaderless) || state.waiters.len() >= self.limits.followers_max {
            return None;
        }
        let waiter = state.enlist();
        let leader = state.leader.take();
        drop(state);
        count(&self.stats.followers);
        if let Some(leader) = leader {
            leader.wake();
        }
        Some(Follower { flights: Arc::clone(self), flight, waiter })
    }

    /// Leads the fetch of a key if nobody does: for background revalidation.
    pub fn try_lead<K: KeyText + ?Sized>(self: &Arc<Self>, key: &KeyRef<'_, K>) -> Option<LeaderGuard<M>> {
        let mut shard = self.lock(key.hash);
        match shard.flights.get(&key.hash) {
            Some(flight) if self.is_current(flight, key) => None,
            _ => Some(self.lead(&mut shard, key)),
        }
    }

    /// Forgets that a key was uncacheable, as its response was storable after all.
    pub fn forget_uncacheable<K: KeyText + ?Sized>(&self, key: &KeyRef<'_, K>) {
        self.lock(key.hash).hints.forget(key.hash);
    }

    /// The store whose purges and counters it shares.
    pub fn store(&self) -> &Arc<Store<M>> {
        &self.store
    }

    /// Fetches under way or filling.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).flights.len()).sum()
    }

    /// Whether no fetch is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a new request may use what a flight brings: not purged since it began, and readable from the start.
    fn is_current<K: KeyText + ?Sized>(&self, flight: &Flight<M>, key: &KeyRef<'_, K>) -> bool {
        let tags = match &flight.lock().stage {
            Stage::Known(Outcome::Fill(fill)) if !fill.is_joinable() => return false,
            Stage::Known(Outcome::Fill(fill)) => Some(Arc::clone(fill.head())),
            // Before its head is there, a fetch has no tags that are known: whoever waits for it compares them then.
            _ => None,
        };
        let tags = tags.as_ref().map_or(&[][..], |head| &*head.groups.tags);
        self.store.purged_since(key, tags, flight.stamp).is_none()
    }

    fn lead<K: KeyText + ?Sized>(self: &Arc<Self>, shard: &mut Shard<M>, key: &KeyRef<'_, K>) -> LeaderGuard<M> {
        count(&self.stats.flights);
        let stamp = self.store.stamp();
        let waiters = BTreeMap::new();
        let state = State { stage: Stage::Led, waiters, next_waiter: 0, leader: None, failed_before: false };
        let flight = Arc::new(Flight { hash: key.hash, text: key.text.to_text(), stamp, state: Mutex::new(state) });
        shard.flights.insert(key.hash, Arc::clone(&flight));
        LeaderGuard { flights: Arc::clone(self), flight, stamp, published: false }
    }

    fn promote(self: &Arc<Self>, flight: Arc<Flight<M>>) -> LeaderGuard<M> {
        count(&self.stats.promoted);
        LeaderGuard { flights: Arc::clone(self), flight, stamp: self.store.stamp(), published: false }
    }

    fn lock(&self, hash: u128) -> MutexGuard<'_, Shard<M>> {
        let shard = &self.shards[(hash >> 64) as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a flight out of the table, unless a newer one has its place.
    fn remove(shard: &mut Shard<M>, flight: &Arc<Flight<M>>) {
        if shard.flights.get(&flight.hash).is_some_and(|other| Arc::ptr_eq(other, flight)) {
            shard.flights.remove(&flight.hash);
        }
    }

    /// Passes leadership of a flight on, or ends it where nobody waits. A follower passes on only what nobody took meanwhile.
    fn pass_on(&self, flight: &Arc<Flight<M>>, by_leader: bool) {
        let mut shard = self.lock(flight.hash);
        let mut state = flight.lock();
        if !by_leader && !matches!(state.stage, Stage::Leaderless) {
            return;
        }
        state.stage = Stage::Leaderless;
        if state.waiters.is_empty() {
            Self::remove(&mut shard, flight);
            return;
        }
        let next = state.waiters.values_mut().find_map(Option::take);
        drop(state);
        drop(shard);
        if let Some(next) = next {
            next.wake();
        }
    }
}

/// The duty to fetch and tell the others. Dropped without a word, another takes over.
#[derive(Debug)]
#[must_use = "dropping the guard hands the fetch over to another request"]
pub struct LeaderGuard<M> {
    flights: Arc<Flights<M>>,
    flight: Arc<Flight<M>>,
    stamp: PurgeStamp,
    published: bool,
}

impl<M> LeaderGuard<M> {
    /// Where the purge sequence stood before this fetch: for [`Head::stamp`](crate::Head::stamp).
    pub fn stamp(&self) -> PurgeStamp {
        self.stamp
    }

    /// A storable response begins. The others, and new ones until the returned value is dropped, read it while it fills. Drop that
    /// after the insert, so that no request falls between.
    pub fn publish_fill(self, fill: &Arc<Fill<M>>) -> Filling<M> {
        let (flights, flight) = (Arc::clone(&self.flights), Arc::clone(&self.flight));
        self.publish(Outcome::Fill(Arc::clone(fill)), false, None);
        Filling { flights, flight }
    }

    /// A complete response is there: a stored one that was revalidated.
    pub fn publish_stored(self, stored: &Arc<Stored<M>>) {
        self.publish(Outcome::Stored(Arc::clone(stored)), true, None);
    }

    /// The response may not be shared: the others fetch alone, and so do new requests until `until` (seconds), if given.
    pub fn publish_uncacheable(self, until: Option<u64>) {
        self.publish(Outcome::Uncacheable, true, until);
    }

    /// The fetch failed. The first time another one tries, as when the guard is dropped; the second time all who wait get the error.
    pub fn fail(self, error: Arc<dyn std::error::Error + Send + Sync>) {
        if std::mem::replace(&mut self.flight.lock().failed_before, true) {
            count(&self.flights.stats.failures_shared);
            self.publish(Outcome::Failed(error), true, None);
        }
    }

    /// Ready once somebody follows. Polled from one task.
    pub fn poll_followed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.flight.lock();
        if !state.waiters.is_empty() {
            return Poll::Ready(());
        }
        match &mut state.leader {
            Some(waker) => waker.clone_from(cx.waker()),
            None => state.leader = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn publish(mut self, outcome: Outcome<M>, last: bool, uncacheable_until: Option<u64>) {
        self.published = true;
        let mut shard = self.flights.lock(self.flight.hash);
        if last {
            Flights::remove(&mut shard, &self.flight);
        }
        if let Some(until) = uncacheable_until {
            let hints_max = (self.flights.limits.hints_max / SHARDS).max(1);
            if shard.hints.mark(self.flight.hash, until, hints_max) {
                count(&self.flights.stats.hints_overflows);
            }
        }
        let wakers: Vec<Waker> = {
            let mut state = self.flight.lock();
            state.stage = Stage::Known(outcome);
            state.waiters.values_mut().filter_map(Option::take).collect()
        };
        drop(shard);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<M> Drop for LeaderGuard<M> {
    fn drop(&mut self) {
        if !self.published {
            self.flights.pass_on(&self.flight, true);
        }
    }
}

/// While it lives, new requests for the key read the published fill.
#[derive(Debug)]
#[must_use = "dropping it ends collapsing: keep it until the response is inserted"]
pub struct Filling<M> {
    flights: Arc<Flights<M>>,
    flight: Arc<Flight<M>>,
}

impl<M> Drop for Filling<M> {
    fn drop(&mut self) {
        let mut shard = self.flights.lock(self.flight.hash);
        Flights::remove(&mut shard, &self.flight);
    }
}

/// A request that waits for another's fetch. A future; safe to drop, and to poll again after a timeout around `&mut` of it.
#[derive(Debug)]
#[must_use = "a follower is a future"]
pub struct Follower<M> {
    flights: Arc<Flights<M>>,
    flight: Arc<Flight<M>>,
    waiter: u64,
}

impl<M> Future for Follower<M> {
    type Output = Turn<M>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn<M>> {
        let mut state = self.flight.lock();
        match &state.stage {
            Stage::Known(outcome) => {
                let outcome = outcome.clone();
                state.waiters.remove(&self.waiter);
                Poll::Ready(Turn::Outcome(outcome))
            }
            Stage::Leaderless => {
                state.stage = Stage::Led;
                state.waiters.remove(&self.waiter);
                drop(state);
                Poll::Ready(Turn::Promoted(self.flights.promote(Arc::clone(&self.flight))))
            }
            Stage::Led => {
                state.waiters.insert(self.waiter, Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl<M> Drop for Follower<M> {
    fn drop(&mut self) {
        let leaderless = {
            let mut state = self.flight.lock();
            // The one that was told to lead may be the one that goes.
            state.waiters.remove(&self.waiter).is_some() && matches!(state.stage, Stage::Leaderless)
        };
        if leaderless {
            self.flights.pass_on(&self.flight, false);
        }
    }
}
