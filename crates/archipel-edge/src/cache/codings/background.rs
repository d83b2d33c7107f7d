//! What is stored and asked for again is coded again, harder, on threads of the lowest priority.
//!
//! Must never hold up a worker: the queue is bounded, and what finds no place in it is asked for again.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use archipel_cache::{Body, Store, Stored};
use archipel_codings::{Encoder, Options};
use archipel_http::coding::Coding;
use bytes::Bytes;

use super::derived::{self, Kind};
use super::{Form, coder};
use crate::cache::Meta;
use crate::exchange::Exchange;
use crate::live::LiveZone;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);
/// The lowest priority, so that visitors come first.
const NICENESS: i32 = 19;

/// The queue and its threads.
#[derive(Default)]
pub(crate) struct Background {
    queue: Mutex<Queue>,
    work: Condvar,
    done: AtomicU64,
    failed: AtomicU64,
    in_bytes: AtomicU64,
    out_bytes: AtomicU64,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

struct Job {
    source: Arc<Stored<Meta>>,
    form: Form,
    coding: Coding,
    level: u32,
    /// Bytes of what is stored in this form now.
    bytes: u64,
    store: Arc<Store<Meta>>,
}

impl Background {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Name, kind, help and value of each metric.
    pub(crate) fn each(&self, mut f: impl FnMut(&'static str, &'static str, &'static str, u64)) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        f(
            "coding_background_waiting",
            "gauge",
            "Stored replies that wait to be coded again.",
            self.lock().jobs.len() as u64,
        );
        f("coding_background_done", "counter", "Stored replies coded again in the background.", count(&self.done));
        f("coding_background_failed", "counter", "Codings in the background that failed.", count(&self.failed));
        f("coding_background_in_bytes", "counter", "Bytes of replies coded again.", count(&self.in_bytes));
        f("coding_background_out_bytes", "counter", "Bytes of what was made of them.", count(&self.out_bytes));
    }

    /// Queues a job, and starts a thread where all are busy and another is allowed. Gives the job back where it has no place.
    fn push(self: &Arc<Self>, job: Job, threads_max: usize, jobs_max: usize) -> Result<(), Job> {
        let mut queue = self.lock();
        if queue.jobs.len() >= jobs_max {
            return Err(job);
        }
        queue.jobs.push_back(job);
        if queue.idle >= queue.jobs.len() {
            self.work.notify_one();
        } else if queue.threads < threads_max {
            let background = Arc::clone(self);
            let thread = std::thread::Builder::new().name("codings".to_owned());
            if thread.spawn(move || background.run()).is_ok() {
                queue.threads += 1;
            }
        }
        Ok(())
    }

    fn run(&self) {
        // Without this right the threads compete with the workers: slower, not wrong.
        let _ = rustix::process::setpriority_process(None, NICENESS);
        while let Some(job) = self.next() {
            if std::panic::catch_unwind(AssertUnwindSafe(|| self.code(&job))).is_err() {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The next job; `None` when the thread is to end.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            queue.idle += 1;
            let (back, timeout) = self.work.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = back;
            queue.idle -= 1;
            if timeout.timed_out() && queue.jobs.is_empty() {
                queue.threads -= 1;
                return None;
            }
        }
    }

    /// Codes a stored response, and puts the result in the place of what was made for its first visitor.
    fn code(&self, job: &Job) {
        let source = &job.source;
        let is_wanted = || derived::find(&job.store, source.head(), job.form).is_some();
        if !is_wanted() {
            return;
        }
        // What is on the disk is too large to be coded again for good measure.
        let Some(pieces) = source.body().in_memory() else { return };
        let length = source.body().len();
        let options = Options { level: job.level, length: Some(length), window_log_max: Options::WINDOW_LOG_LARGE };
        let mut out = Vec::new();
        let coded = Encoder::new(coder::format(job.coding), options).and_then(|mut encoder| {
            for piece in pieces {
                encoder.write(piece, &mut out)?;
            }
            encoder.finish(&mut out)
        });
        if coded.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        self.in_bytes.fetch_add(length, Ordering::Relaxed);
        self.out_bytes.fetch_add(out.len() as u64, Ordering::Relaxed);
        if (out.len() as u64) < job.bytes && is_wanted() {
            out.shrink_to_fit();
            let head = derived::head(source.head(), Kind { form: job.form, useless: false, background: true });
            // A refusal is counted by the store; what is there stays.
            let stored = Stored::new(head, Body::from_bytes(Bytes::from(out)));
            let _ = job.store.insert_derived(&Arc::new(stored));
        }
    }
}

/// Notes that a form was used again; queues it where that makes it due.
pub(super) fn again(ex: &Exchange, zone: &LiveZone, source: &Arc<Stored<Meta>>, found: &Arc<Stored<Meta>>, form: Form) {
    let (Form::Coded(coding), Some(derived)) = (form, &found.meta.forms.derived) else { return };
    let levels = &zone.zone.compression.background_levels;
    let level = match coding {
        Coding::Gzip => levels.gzip,
        Coding::Brotli => levels.br,
        Coding::Zstd => levels.zstd,
    };
    let settings = &ex.live.snapshot.node.compression;
    let off = level == 0 || settings.background_jobs_max == 0 || ex.conn.is_none();
    if off || source.body().len() > levels.bytes_max || !derived.is_due() {
        return;
    }
    let node = &ex.worker.node;
    let job = Job { source: source.clone(), form, coding, level, bytes: found.body().len(), store: node.store.clone() };
    let background = &node.codings.background;
    if background.push(job, settings.background_jobs_max, settings.background_queue_max).is_err() {
        derived.not_queued();
        ex.worker.metrics.labelled.count("coding_skipped", "background_queue_max");
    }
}
