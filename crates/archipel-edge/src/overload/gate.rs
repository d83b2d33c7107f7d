//! What one worker has of an origin's limit: how many of its requests are there, how fast they are answered, who waits.
//!
//! A request that finds a place pays for two additions to counters that this worker's core alone writes. What is rare takes the lock.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use archipel_shield::overload::{Bounds, Latencies, Limiter, Load, Priority, Refused, Waiting};
use tokio::sync::oneshot;

use super::OriginGuard;

/// One worker's part.
pub(super) struct Gate {
    limit: AtomicU32,
    in_flight: AtomicU32,
    /// The most of it since the last tick.
    peak: AtomicU32,
    /// How many wait.
    waiting: AtomicU32,
    /// Replies since the last tick that say there is too much to do, and requests without one.
    failed: AtomicU32,
    answered: AtomicU64,
    latencies: Latencies,
    slow: Mutex<Slow>,
}

/// Who is told that a place is theirs, and of which guard and worker it is.
type Turn = (oneshot::Sender<Granted>, Arc<OriginGuard>, usize);

struct Slow {
    limiter: Limiter,
    queue: Waiting<Turn>,
}

/// A request's place among those that the origin works on; given back when dropped.
pub(super) struct Place<'a>(&'a Gate);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A place on its way to one who waited for it: given back where nobody takes it.
pub(super) struct Granted {
    guard: Arc<OriginGuard>,
    worker: usize,
    taken: bool,
}

impl Granted {
    /// The place. `gate` is the one that it is of.
    pub(super) fn accept(mut self, gate: &Gate) -> Place<'_> {
        self.taken = true;
        Place(gate)
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if !self.taken {
            self.guard.gate(self.worker).leave();
        }
    }
}

/// Waits for a place; nothing where another took its turn in the queue. Dropping it leaves the queue.
pub(super) struct Waiter<'a> {
    gate: &'a Gate,
    number: u64,
    turn: oneshot::Receiver<Granted>,
}

impl Future for Waiter<'_> {
    type Output = Option<Granted>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.turn).poll(cx)).ok())
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut slow = self.gate.slow();
        slow.queue.leave(self.number);
        self.gate.tell_waiting(&slow);
    }
}

impl Gate {
    pub(super) fn new(bounds: Bounds) -> Self {
        let limiter = Limiter::new(bounds);
        Self {
            limit: AtomicU32::new(limiter.limit()),
            in_flight: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            failed: AtomicU32::new(0),
            answered: AtomicU64::new(0),
            latencies: Latencies::default(),
            slow: Mutex::new(Slow { limiter, queue: Waiting::default() }),
        }
    }

    fn slow(&self) -> MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if there is one and nobody waits.
    pub(super) fn enter(&self) -> Option<Place<'_>> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        if before < self.limit.load(Ordering::Relaxed) && self.waiting.load(Ordering::Relaxed) == 0 {
            self.see(before + 1);
            return Some(Place(self));
        }
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// A place for a request that is at the origin already.
    pub(super) fn enter_anyway(&self) -> Place<'_> {
        self.see(self.in_flight.fetch_add(1, Ordering::Relaxed) + 1);
        Place(self)
    }

    fn see(&self, in_flight: u32) {
        // No other core writes it: a load and a store instead of a locked instruction.
        if in_flight > self.peak.load(Ordering::Relaxed) {
            self.peak.store(in_flight, Ordering::Relaxed);
        }
    }

    fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.let_in();
        }
    }

    /// Waits in the queue.
    ///
    /// # Errors
    /// [`Refused`]: it is full.
    pub(super) fn queue(
        &self,
        guard: &Arc<OriginGuard>,
        worker: usize,
        priority: Priority,
        queue_max: usize,
    ) -> Result<Waiter<'_>, Refused> {
        let (sender, turn) = oneshot::channel();
        let mut slow = self.slow();
        // Dropping the one who gives way tells it so.
        let (number, _displaced) = slow.queue.enter(priority, (sender, guard.clone(), worker), queue_max)?;
        self.tell_waiting(&slow);
        drop(slow);
        // A place may have become free in between.
        self.let_in();
        Ok(Waiter { gate: self, number, turn })
    }

    fn tell_waiting(&self, slow: &Slow) {
        self.waiting.store(u32::try_from(slow.queue.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Gives the places that are free to those who wait.
    fn let_in(&self) {
        loop {
            let next = {
                let mut slow = self.slow();
                let free = self.in_flight.load(Ordering::Relaxed) < self.limit.load(Ordering::Relaxed);
                let next = if free { slow.queue.pop() } else { None };
                if next.is_some() {
                    self.see(self.in_flight.fetch_add(1, Ordering::Relaxed) + 1);
                }
                self.tell_waiting(&slow);
                next
            };
            // Not under the lock: a place that nobody takes any more comes back at once.
            let Some((sender, guard, worker)) = next else { return };
            drop(sender.send(Granted { guard, worker, taken: false }));
        }
    }

    /// A reply came, after so many microseconds where that says something about the origin.
    pub(super) fn reply(&self, latency_us: Option<u64>) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if let Some(us) = latency_us {
            self.latencies.observe(us);
        }
    }

    /// A request failed, or was answered with a word that there is too much to do.
    pub(super) fn too_much(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Looks at what became of the requests since the last time.
    pub(super) fn tick(&self, now: Duration) {
        let in_flight = self.in_flight();
        let load = Load {
            in_flight,
            peak: self.peak.swap(in_flight, Ordering::Relaxed),
            failed: self.failed.swap(0, Ordering::Relaxed),
        };
        let limit = {
            let mut slow = self.slow();
            slow.limiter.tick(now, load, &self.latencies);
            slow.limiter.limit()
        };
        self.limit.store(limit, Ordering::Relaxed);
        if self.waiting() > 0 {
            self.let_in();
        }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}
