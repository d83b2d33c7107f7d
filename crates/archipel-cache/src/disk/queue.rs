//! What waits for the writer thread. Bounded in bytes; never waits for it.
//!
//! Must never make a request wait: what does not fit is refused, notes of replaced objects apart, which are small and must
//! not be lost.

use super::writer::Replaced;
use crate::purge::PurgeStamp;
use crate::stored::{Head, Stored};
use bytes::Bytes;
use http::HeaderMap;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

/// What notes of replaced objects may take beyond the queue's own bound.
const REPLACED_BYTES_MAX: u64 = 64 << 20;

/// One thing to do for the writer.
pub(crate) enum Job<M> {
    /// Write an object that is in memory, and was valid at this number.
    Put(Arc<Stored<M>>, PurgeStamp),
    /// An object is not valid any more: to be noted on the disk where it was there, or is by now.
    Replaced {
        replaced: Replaced,
        was_there: bool,
    },
    /// A key, or all keys of a URL, was made invalid while it was not known what is on the disk.
    Invalidated(u128),
    /// New fields for an object whose body is on the disk.
    Renew(Arc<Stored<M>>),
    /// An object begins that comes in pieces.
    Begin {
        number: u64,
        head: Arc<Head<M>>,
    },
    Piece {
        number: u64,
        bytes: Bytes,
    },
    /// It is complete.
    Finish {
        number: u64,
        trailers: Option<Arc<HeaderMap>>,
    },
    /// It will never be.
    Abandon {
        number: u64,
    },
    /// Other quotas are in force.
    Quotas,
    /// Forget everything.
    Clear,
    /// Tell when everything before this is done.
    Flush(mpsc::Sender<()>),
    /// Write what waits, end the segment, give the folder to another process.
    Close,
}

impl<M> Job<M> {
    fn bytes(&self) -> u64 {
        match self {
            Self::Put(stored, _) => stored.weight(),
            Self::Piece { bytes, .. } => bytes.len() as u64,
            // Their bodies are on the disk, or come in pieces.
            Self::Renew(stored) => stored.weight(),
            Self::Begin { head, .. } => head.weight(),
            Self::Replaced { .. } | Self::Invalidated(_) => size_of::<Self>() as u64,
            _ => 0,
        }
    }
}

struct Inner<M> {
    jobs: VecDeque<Job<M>>,
    is_closed: bool,
}

/// The queue.
pub(crate) struct Queue<M> {
    inner: Mutex<Inner<M>>,
    arrived: Condvar,
    bytes: AtomicU64,
    bytes_max: u64,
}

impl<M> std::fmt::Debug for Queue<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl<M> Queue<M> {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let inner = Mutex::new(Inner { jobs: VecDeque::new(), is_closed: false });
        Self { inner, arrived: Condvar::new(), bytes: AtomicU64::new(0), bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<M>> {
        // No caller's code runs under this lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Adds a job; `false` where it holds bytes and too many wait already, or nobody will do it any more.
    pub(crate) fn push(&self, job: Job<M>) -> bool {
        let bytes = job.bytes();
        let most = match job {
            // These go where nothing else does; the reserve lasts for a million of them.
            Job::Replaced { .. } | Job::Invalidated(_) => self.bytes_max.saturating_add(REPLACED_BYTES_MAX),
            _ if bytes == 0 => u64::MAX,
            _ => self.bytes_max,
        };
        let room = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= most);
        if self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            return false;
        }
        let mut inner = self.lock();
        if inner.is_closed {
            drop(inner);
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        inner.jobs.push_back(job);
        drop(inner);
        self.arrived.notify_one();
        true
    }

    /// The next job; `None` after `wait` without one. Its bytes count until [`Queue::done`].
    pub(crate) fn pop(&self, wait: Duration) -> Option<Job<M>> {
        let mut inner = self.lock();
        if inner.jobs.is_empty() && !wait.is_zero() {
            let waited = self.arrived.wait_timeout_while(inner, wait, |inner| inner.jobs.is_empty());
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.jobs.pop_front()
    }

    /// What a popped job held is free again.
    pub(crate) fn done(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that a job counts for.
    pub(crate) fn weigh(job: &Job<M>) -> u64 {
        job.bytes()
    }

    /// Takes nothing more.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.is_closed = true;
        let left = std::mem::take(&mut inner.jobs);
        drop(inner);
        let bytes: u64 = left.iter().map(Job::bytes).sum();
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
