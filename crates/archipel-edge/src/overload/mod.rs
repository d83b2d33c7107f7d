//! Origins that have too much to do, or are down: before a request is sent, whether it is; while many are, who waits.
//!
//! - [`OriginGuard`]: one for all requests that go to the same origin under the same settings, kept over reloads;
//! - [`gate`]: what of it each worker has for itself, so that a request which finds a place touches no line that another core writes;
//! - [`permit`]: a request's place, from its admission to the head of its reply.
//!
//! Must never decide by itself: the limit, the queue's order and the breaker are those of `archipel_shield::overload`.

mod gate;
mod permit;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use archipel_config::{OriginBreaker, OriginConcurrency, ZoneOrigin};
use archipel_shield::overload::{Bounds, Breaker, BreakerSettings, BreakerState, Failure, Priority, Verdict};
use archipel_transport::origin::OriginError;
use http::header::{AUTHORIZATION, COOKIE};
use serde::{Deserialize, Serialize};

use self::gate::{Gate, Place};
pub(crate) use self::permit::Permit;
use crate::exchange::Exchange;
use crate::metrics::metric;

/// What [`OriginGuard::mood`] says: nothing failed lately.
const CALM: u8 = 0;
/// Something failed, and nothing was answered since: the breaker wants to hear of answers.
const FAILING: u8 = 1;
/// The breaker is not closed: it wants to be asked.
const BROKEN: u8 = 2;

macro_rules! refusals {
    ($($name:ident $word:literal;)*) => {
        /// Why a request was not sent.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Shed { $($name,)* }

        impl Shed {
            const WORDS: &'static [&'static str] = &[$($word,)*];
        }
    };
}

refusals! {
    Down "down";
    QueueFull "queue_requests_max";
    QueueWait "queue_wait";
    Displaced "displaced";
    StandIn "stand_in";
}

/// What an origin is spared.
pub(crate) struct OriginGuard {
    /// Scheme, host and port.
    name: Box<str>,
    began: Instant,
    concurrency: OriginConcurrency,
    breaker_enabled: bool,
    breaker: Mutex<Breaker>,
    mood: AtomicU8,
    gates: Box<[OnceLock<Box<Gate>>]>,
    shed: [AtomicU64; Shed::WORDS.len()],
}

impl std::fmt::Debug for OriginGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OriginGuard").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How an origin stands, for the status and the metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginStatus {
    /// Scheme, host and port.
    pub origin: String,
    /// `closed` (requests are sent), `open` (it is left alone) or `half_open` (some are let through).
    pub state: String,
    /// How often it was left alone.
    pub opened: u64,
    /// Requests that it works on at most, of all workers; 0 without a limit.
    pub limit: u64,
    /// Requests that it works on.
    pub in_flight: u64,
    /// Requests that wait for a place.
    pub waiting: u64,
    /// Requests that were not sent, by reason.
    pub shed: BTreeMap<String, u64>,
}

impl OriginGuard {
    fn new(name: Box<str>, origin: &ZoneOrigin, workers: usize) -> Self {
        Self {
            name,
            began: Instant::now(),
            concurrency: origin.concurrency.clone(),
            breaker_enabled: origin.breaker.enabled,
            breaker: Mutex::new(Breaker::new(breaker_settings(&origin.breaker))),
            mood: AtomicU8::new(CALM),
            gates: (0..workers.max(1)).map(|_| OnceLock::new()).collect(),
            shed: Default::default(),
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn bounds(&self) -> Bounds {
        Bounds { min: self.concurrency.requests_min, max: self.concurrency.requests_max }
    }

    /// What a worker has of it; made when it first sends something.
    fn gate(&self, worker: usize) -> &Gate {
        self.gates[worker % self.gates.len()].get_or_init(|| Box::new(Gate::new(self.bounds())))
    }

    fn each_gate(&self) -> impl Iterator<Item = &Gate> {
        self.gates.iter().filter_map(|gate| gate.get().map(|gate| &**gate))
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is sent at the moment.
    pub(crate) fn is_down(&self) -> bool {
        self.mood.load(Ordering::Relaxed) == BROKEN && self.breaker().state() == BreakerState::Open
    }

    fn refuse(&self, why: Shed) -> OriginError {
        self.shed[why as usize].fetch_add(1, Ordering::Relaxed);
        OriginError::Overloaded
    }

    /// Lets a request through, or says why not. Waits for a place where there is none, unless `stands_in` says that something else
    /// answers it.
    ///
    /// # Errors
    /// [`OriginError::LeftAlone`] and [`OriginError::Overloaded`].
    pub(crate) async fn admit<'a>(
        self: &'a Arc<Self>,
        ex: &Exchange,
        stands_in: impl FnOnce(&Exchange) -> bool,
    ) -> Result<Permit<'a>, OriginError> {
        let probe = self.mood.load(Ordering::Relaxed) == BROKEN && self.probes()?;
        let gate = self.gate(ex.worker.number);
        if !self.concurrency.enabled {
            return Ok(Permit::new(self, gate, None, probe));
        }
        if let Some(place) = gate.enter() {
            return Ok(Permit::new(self, gate, Some(place), probe));
        }
        if stands_in(ex) {
            return Err(self.refuse(Shed::StandIn));
        }
        // Boxed, as few wait.
        let place = Box::pin(self.wait(gate, ex)).await?;
        Ok(Permit::new(self, gate, Some(place), probe))
    }

    /// Whether a request is one of the few that are let through while the origin is down.
    fn probes(&self) -> Result<bool, OriginError> {
        let verdict = {
            let mut breaker = self.breaker();
            let verdict = breaker.admit(self.now());
            self.tell_mood(&breaker);
            verdict
        };
        match verdict {
            Verdict::Send => Ok(false),
            Verdict::Probe => Ok(true),
            Verdict::Refuse(wait) => {
                self.shed[Shed::Down as usize].fetch_add(1, Ordering::Relaxed);
                Err(OriginError::LeftAlone(wait))
            }
        }
    }

    async fn wait<'a>(self: &'a Arc<Self>, gate: &'a Gate, ex: &Exchange) -> Result<Place<'a>, OriginError> {
        let (queue_max, patience) = (self.concurrency.queue_requests_max, self.concurrency.queue_wait);
        let number = ex.worker.number;
        let waiter = gate.queue(self, number, priority(ex), queue_max).map_err(|_| self.refuse(Shed::QueueFull))?;
        match tokio::time::timeout(patience, waiter).await {
            Ok(Some(granted)) => Ok(granted.accept(gate)),
            Ok(None) => Err(self.refuse(Shed::Displaced)),
            Err(_) => Err(self.refuse(Shed::QueueWait)),
        }
    }

    /// A reply came.
    fn answered(&self) {
        if self.mood.load(Ordering::Relaxed) != CALM {
            let mut breaker = self.breaker();
            let before = breaker.state();
            breaker.answered();
            if before != BreakerState::Closed && breaker.state() == BreakerState::Closed {
                tracing::warn!(origin = &*self.name, "the origin answers again: everything is sent to it");
            }
            self.tell_mood(&breaker);
        }
    }

    /// No reply came, for this reason.
    fn failed(&self, error: &OriginError, probe: bool) {
        let Some(how) = failure_of(error).filter(|_| self.breaker_enabled) else { return };
        let answered = self.each_gate().map(Gate::answered).sum();
        let mut breaker = self.breaker();
        if breaker.failed(self.now(), how, answered, probe) {
            tracing::warn!(origin = &*self.name, %error, "the origin is down: it is left alone but for a few requests");
        }
        self.tell_mood(&breaker);
    }

    fn tell_mood(&self, breaker: &Breaker) {
        let mood = match breaker.state() {
            BreakerState::Closed if !breaker.is_troubled() => CALM,
            BreakerState::Closed => FAILING,
            BreakerState::Open | BreakerState::HalfOpen => BROKEN,
        };
        self.mood.store(mood, Ordering::Relaxed);
    }

    /// Looks at what became of the requests of a worker. To be called four times a second.
    fn tick(&self, worker: usize) {
        let gate = self.gates.get(worker % self.gates.len()).and_then(OnceLock::get);
        if let Some(gate) = gate.filter(|_| self.concurrency.enabled) {
            gate.tick(self.now());
        }
    }

    fn status(&self) -> OriginStatus {
        let (state, opened) = {
            let breaker = self.breaker();
            (breaker.state(), breaker.opened())
        };
        let sum = |of: fn(&Gate) -> u32| self.each_gate().map(|gate| u64::from(of(gate))).sum();
        OriginStatus {
            origin: self.name.to_string(),
            state: word(state).to_owned(),
            opened,
            limit: if self.concurrency.enabled { sum(Gate::limit) } else { 0 },
            in_flight: sum(Gate::in_flight),
            waiting: sum(Gate::waiting),
            shed: Shed::WORDS
                .iter()
                .zip(&self.shed)
                .map(|(word, n)| ((*word).to_owned(), n.load(Ordering::Relaxed)))
                .collect(),
        }
    }
}

fn word(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::HalfOpen => "half_open",
        BreakerState::Open => "open",
    }
}

fn breaker_settings(from: &OriginBreaker) -> BreakerSettings {
    BreakerSettings {
        failures_max: from.failures_max,
        failure_ratio: from.failure_ratio,
        window: from.window,
        window_requests_min: from.window_requests_min,
        silence: from.silence,
        pause: from.pause,
        probes_max: from.probes_max,
    }
}

/// Who goes first. A cookie proves nothing: it only tells those who have been here, and some attackers, from the rest.
fn priority(ex: &Exchange) -> Priority {
    if ex.for_nobody {
        Priority::Background
    } else if ex.asked.headers.contains_key(COOKIE) || ex.asked.headers.contains_key(AUTHORIZATION) {
        Priority::Known
    } else {
        Priority::Unknown
    }
}

/// What a failed request says of its origin: nothing, where it is not the origin's doing.
fn failure_of(error: &OriginError) -> Option<Failure> {
    match error {
        // Our own ports are used up.
        OriginError::Unreachable(std::io::ErrorKind::AddrNotAvailable) => None,
        OriginError::Dns(_)
        | OriginError::DnsTimeout
        | OriginError::ConnectionRefused
        | OriginError::ConnectTimeout
        | OriginError::Unreachable(_)
        | OriginError::Tls(_) => Some(Failure::Connection),
        OriginError::Terminated
        | OriginError::Incomplete
        | OriginError::ResponseTimeout
        | OriginError::WriteTimeout
        | OriginError::BadResponse(_)
        | OriginError::Interim
        | OriginError::Http2(_) => Some(Failure::Reply),
        OriginError::RequestBody(_)
        | OriginError::LimitReached
        | OriginError::LeftAlone(_)
        | OriginError::Overloaded => None,
    }
}

/// The guards of a node, by what tells origins and their settings apart.
#[derive(Debug)]
pub(crate) struct Guards {
    by_key: Mutex<HashMap<u64, Arc<OriginGuard>, foldhash::fast::FixedState>>,
    workers: usize,
    next_worker: AtomicUsize,
}

impl Guards {
    /// For a node whose configuration says `workers`; 0 is one a core.
    pub(crate) fn new(workers: usize) -> Self {
        let workers = match workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        Self { by_key: Mutex::default(), workers, next_worker: AtomicUsize::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<OriginGuard>, foldhash::fast::FixedState>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of one more worker.
    pub(crate) fn worker(&self) -> usize {
        self.next_worker.fetch_add(1, Ordering::Relaxed)
    }

    /// The guard of an origin whose connections are those of `pool`: the one that is there already, if its settings are the same.
    pub(crate) fn of(&self, pool: u64, origin: &ZoneOrigin) -> Arc<OriginGuard> {
        let (concurrency, breaker) = (&origin.concurrency, &origin.breaker);
        let key = key_of(pool, concurrency, breaker);
        let scheme = if origin.url.is_https() { "https" } else { "http" };
        let name = || format!("{scheme}://{}:{}", origin.url.host, origin.url.port).into();
        let new = || Arc::new(OriginGuard::new(name(), origin, self.workers));
        self.lock().entry(key).or_insert_with(new).clone()
    }

    /// Forgets the guards that no configuration and no request uses.
    pub(crate) fn forget_unused(&self) {
        self.lock().retain(|_, guard| Arc::strong_count(guard) > 1);
    }

    fn all(&self) -> Vec<Arc<OriginGuard>> {
        self.lock().values().cloned().collect()
    }

    /// To be called four times a second by each worker.
    pub(crate) fn tick(&self, worker: usize) {
        for guard in self.all() {
            guard.tick(worker);
        }
    }

    /// How the origins stand that were ever asked for something, by name. Several guards of one origin are one: the worst state counts.
    pub(crate) fn status(&self) -> Vec<OriginStatus> {
        let mut all: Vec<OriginStatus> =
            self.all().iter().filter(|guard| guard.each_gate().next().is_some()).map(|guard| guard.status()).collect();
        all.sort_by(|a, b| a.origin.cmp(&b.origin));
        all.dedup_by(|next, first| {
            let same = next.origin == first.origin;
            if same {
                first.add(next);
            }
            same
        });
        all
    }

    /// The metrics of all origins.
    pub(crate) fn metrics(&self, page: &mut String) {
        let all = self.status();
        let labelled = |of: fn(&OriginStatus) -> u64| -> Vec<(String, u64)> {
            all.iter().map(|status| (format!("{{origin=\"{}\"}}", status.origin), of(status))).collect()
        };
        let rows: [Row; 5] = [
            (
                "concurrency_limit",
                "gauge",
                "Requests that an origin works on at most, of all workers; 0: no limit.",
                |of| of.limit,
            ),
            ("in_flight", "gauge", "Requests that an origin works on: sent, and without the head of a reply.", |of| {
                of.in_flight
            }),
            ("waiting", "gauge", "Requests that wait for a place at an origin.", |of| of.waiting),
            (
                "state",
                "gauge",
                "0: requests are sent to the origin; 1: some are let through; 2: it is left alone.",
                |of| state_number(&of.state),
            ),
            ("opened_total", "counter", "Times that an origin was left alone as it was down.", |of| of.opened),
        ];
        for (name, kind, help, of) in rows {
            let values = labelled(of);
            let values: Vec<(&str, u64)> = values.iter().map(|(labels, n)| (labels.as_str(), *n)).collect();
            metric(page, &format!("archipel_origin_{name}"), kind, help, &values);
        }
        let name = "archipel_origin_shed_total";
        let _ = writeln!(page, "# HELP {name} Requests that were not sent to an origin.\n# TYPE {name} counter");
        for status in &all {
            for (reason, n) in &status.shed {
                let _ = writeln!(page, "{name}{{origin=\"{}\",reason=\"{reason}\"}} {n}", status.origin);
            }
        }
    }
}

/// Name, kind, help and value of a metric.
type Row = (&'static str, &'static str, &'static str, fn(&OriginStatus) -> u64);

fn state_number(state: &str) -> u64 {
    match state {
        "open" => 2,
        "half_open" => 1,
        _ => 0,
    }
}

impl OriginStatus {
    fn add(&mut self, other: &Self) {
        if state_number(&other.state) > state_number(&self.state) {
            self.state.clone_from(&other.state);
        }
        self.opened += other.opened;
        self.limit += other.limit;
        self.in_flight += other.in_flight;
        self.waiting += other.waiting;
        for (sum, n) in self.shed.values_mut().zip(other.shed.values()) {
            *sum += n;
        }
    }
}

/// All settings count, also those that are yet to come: hence their text.
fn key_of(pool: u64, concurrency: &OriginConcurrency, breaker: &OriginBreaker) -> u64 {
    use std::hash::BuildHasher as _;
    let hasher = foldhash::quality::FixedState::with_seed(0x6775_6172);
    hasher.hash_one((pool, format!("{concurrency:?} {breaker:?}")))
}
