//! The writer thread's life: it opens the folder, does what is asked, and tries a failing disk again.
//!
//! Must never end because of the disk: only [`Job::Close`] ends it.

use super::breaker::Breaker;
use super::queue::{Job, Queue};
use super::recover::{Known, Recovered};
use super::shelf::{Phase, Shelf};
use super::solo::Solo;
use super::writer::{Replaced, WriteFailure, Writer};
use crate::stats::count;
use std::any::Any;
use std::collections::HashSet;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::Duration;

/// The name of the file whose lock says whose folder it is.
const LOCK: &str = "lock";
/// The name of the file that trials write.
const TRIAL: &str = "trial";
/// What a trial writes and reads back.
const TRIAL_BYTES: usize = 64 << 10;
/// How long the writer sleeps where nothing is due: it looks after lost records then.
const IDLE: Duration = Duration::from_secs(1);

/// Keys that may be made invalid while the folder is being opened; with more, what is in it is dropped. About 64 MiB.
const EARLY_MAX: usize = 1 << 20;

/// What happened while it was not known what is on the disk.
#[derive(Default)]
struct Early {
    /// Hashes of keys that were made invalid, or of the plain ones of URLs.
    invalid: HashSet<u128>,
    /// More than could be kept.
    overflown: bool,
    flushed: Vec<mpsc::Sender<()>>,
}

/// Whether to go on.
enum Next {
    On,
    Close,
}

pub(crate) fn run<M>(mut writer: Writer<M>, queue: &Arc<Queue<M>>, breaker: Breaker, known: Known) {
    let _end = End { shelf: Arc::clone(&writer.shelf), queue: Arc::clone(queue) };
    let Some(_lock) = open(&mut writer, queue, &known) else { return };
    let mut life = Life { writer, breaker };
    loop {
        let now = life.writer.shelf.now();
        let due = life.next_trial();
        let wait = due.map_or(IDLE, |due| due.saturating_sub(now).min(IDLE));
        if let Some(job) = queue.pop(wait) {
            let bytes = Queue::weigh(&job);
            let next = life.work(job);
            queue.done(bytes);
            if matches!(next, Next::Close) {
                break;
            }
        }
        if due.is_some_and(|due| life.writer.shelf.now() >= due) {
            life.trial();
        }
        life.note_lost();
        life.note_waiting();
        life.writer.release_read();
    }
    life.writer.seal_all();
}

/// However the thread ends, nobody waits for it afterwards, and nothing is found that it does not look after.
struct End<M> {
    shelf: Arc<Shelf>,
    queue: Arc<Queue<M>>,
}

impl<M> Drop for End<M> {
    fn drop(&mut self) {
        self.shelf.advance(Phase::Closed);
        self.queue.close();
        if std::thread::panicking() {
            tracing::error!(folder = %self.shelf.folder.display(), "the disk tier is off until a restart: its writer panicked");
        }
    }
}

/// Takes the folder and reads what is in it; waits where another process has it or it cannot be used. `None`: closed before that.
fn open<M>(writer: &mut Writer<M>, queue: &Queue<M>, known: &Known) -> Option<Box<dyn Any + Send>> {
    let shelf = Arc::clone(&writer.shelf);
    let (mut told, mut early) = (false, Early::default());
    loop {
        match take(writer, known) {
            Ok(Some(lock)) => {
                if early.overflown {
                    tracing::error!("too much was replaced before the disk tier was open: what is on it is dropped");
                    writer.clear();
                }
                settle_early(writer, queue, &mut early)?;
                shelf.advance(Phase::Ready);
                for done in early.flushed {
                    let _ = done.send(());
                }
                // One that came between is in the queue, and its index entry was removed by who made it.
                return Some(lock);
            }
            Ok(None) if told => {}
            Ok(None) => {
                tracing::info!(folder = %shelf.folder.display(), "another process has the disk tier's folder: waiting for it")
            }
            Err(_) if told => count(&shelf.stats.errors_read),
            Err(error) => {
                count(&shelf.stats.errors_read);
                tracing::error!(
                    folder = %shelf.folder.display(), %error,
                    "the disk tier is off: its folder cannot be used; correct [cache.disk] path or its permissions, it is tried again"
                );
            }
        }
        told = true;
        early.overflown |= writer.replaced.len() > writer.options.replaced_max || early.invalid.len() > EARLY_MAX;
        if early.overflown {
            early.invalid = HashSet::new();
        }
        if let Some(job) = queue.pop(writer.options.open_retry) {
            queue.done(Queue::weigh(&job));
            match job {
                Job::Close => return None,
                // What is on the disk is not known yet: kept until it is.
                Job::Replaced { replaced, .. } => drop(writer.replaced.insert(replaced)),
                Job::Invalidated(hash) => drop(early.invalid.insert(hash)),
                Job::Clear => early.overflown = true,
                Job::Flush(done) => early.flushed.push(done),
                _ => {}
            }
        }
    }
}

fn take<M>(writer: &mut Writer<M>, known: &Known) -> io::Result<Option<Box<dyn Any + Send>>> {
    let shelf = Arc::clone(&writer.shelf);
    shelf.files.make_folder(&shelf.folder)?;
    let Some(lock) = shelf.files.lock(&shelf.folder.join(LOCK))? else {
        return Ok(None);
    };
    let recovered = Recovered::read(&shelf, known)?;
    writer.resume(&recovered);
    tracing::info!(
        folder = %shelf.folder.display(), objects = shelf.index.len(), bytes = shelf.space.used(),
        segments = recovered.order.len(), "the disk tier is open"
    );
    if recovered.unknown_stamps > 0 {
        tracing::warn!(
            objects = recovered.unknown_stamps,
            "what is on disk is dropped: some of it is newer than the purges that are known, so purges may have been lost"
        );
        writer.clear();
    }
    Ok(Some(lock))
}

/// What was replaced or made invalid while the folder was being opened. `None` where the tier was closed meanwhile.
fn settle_early<M>(writer: &mut Writer<M>, queue: &Queue<M>, early: &mut Early) -> Option<()> {
    let replaced: Vec<Replaced> = writer.replaced.drain().collect();
    replaced.into_iter().for_each(|replaced| settle(writer, replaced, false));
    early.invalid.drain().for_each(|hash| settle_invalid(writer, hash));
    while let Some(job) = queue.pop(Duration::ZERO) {
        queue.done(Queue::weigh(&job));
        match job {
            Job::Replaced { replaced, was_there } => settle(writer, replaced, was_there),
            Job::Invalidated(hash) => settle_invalid(writer, hash),
            Job::Quotas => writer.take_quotas(),
            Job::Clear => writer.clear(),
            Job::Flush(done) => early.flushed.push(done),
            Job::Close => return None,
            // Nothing else is taken before the tier is ready.
            _ => {}
        }
    }
    Some(())
}

/// Takes what was made invalid out of the index, and notes that on the disk.
fn settle_invalid<M>(writer: &mut Writer<M>, hash: u128) {
    for place in writer.shelf.index.take_hash(hash) {
        writer.note_replaced(Replaced::of(&place));
    }
}

/// Takes what is not valid any more out of the index, where it came into it since, and notes that on the disk.
fn settle<M>(writer: &mut Writer<M>, replaced: Replaced, was_there: bool) {
    if writer.shelf.index.remove_variant(replaced.key, replaced.variant) || was_there {
        writer.note_replaced(replaced);
    }
}

struct Life<M> {
    writer: Writer<M>,
    /// Of writes; that of reads is the shelf's.
    breaker: Breaker,
}

impl<M> Life<M> {
    fn work(&mut self, job: Job<M>) -> Next {
        let off = self.breaker.is_open();
        let done = match job {
            Job::Replaced { replaced, was_there } => {
                settle(&mut self.writer, replaced, was_there);
                return Next::On;
            }
            // Pushed while the tier opened, and reached after it has.
            Job::Invalidated(hash) => {
                settle_invalid(&mut self.writer, hash);
                return Next::On;
            }
            Job::Quotas => {
                self.writer.take_quotas();
                return Next::On;
            }
            Job::Clear => {
                self.writer.clear();
                return Next::On;
            }
            Job::Flush(done) => {
                let _ = done.send(());
                return Next::On;
            }
            Job::Close => return Next::Close,
            Job::Abandon { number } => {
                if let Some(solo) = self.writer.solos.remove(&number) {
                    self.writer.solo_abandon(solo);
                }
                return Next::On;
            }
            Job::Begin { number, head } => {
                self.writer.solos.insert(number, Solo::new(head));
                return Next::On;
            }
            _ if off => {
                count(&self.writer.shelf.stats.dropped_off);
                if let Job::Finish { number, .. } = job
                    && let Some(solo) = self.writer.solos.remove(&number)
                {
                    self.writer.solo_abandon(solo);
                }
                return Next::On;
            }
            Job::Put(stored, valid) => self.writer.put(&stored, valid),
            Job::Renew(stored) => self.writer.renew(&stored),
            Job::Piece { number, bytes } => self.writer.piece(number, bytes),
            Job::Finish { number, trailers } => self.writer.finish(number, trailers.as_deref()),
        };
        self.judge(done);
        Next::On
    }

    fn judge(&mut self, done: Result<(), WriteFailure>) {
        let stats = &self.writer.shelf.stats;
        match done {
            Ok(()) => drop(self.breaker.succeeded()),
            Err(WriteFailure::Unfit) => {}
            Err(WriteFailure::Purged) => count(&stats.dropped_purged),
            Err(WriteFailure::NoRoom) => count(&stats.dropped_bytes_max),
            Err(WriteFailure::Failed(error)) => {
                count(&stats.dropped_error);
                self.writer.note_error(&error);
                self.failed(&error);
            }
        }
    }

    fn failed(&mut self, error: &io::Error) {
        let shelf = &self.writer.shelf;
        if self.breaker.failed(shelf.now()) {
            shelf.writes_off.store(true, Ordering::Relaxed);
            count(&shelf.stats.pauses);
            tracing::error!(
                folder = %shelf.folder.display(), %error,
                "the disk tier cannot write: it takes nothing until a trial goes well; look at the disk's free space and the kernel's log"
            );
        }
    }

    /// When a disk that fails is to be tried again.
    fn next_trial(&self) -> Option<Duration> {
        let reads = self.writer.shelf.breaker.lock().unwrap_or_else(PoisonError::into_inner).retry_at();
        let writes = self.breaker.retry_at();
        reads.into_iter().chain(writes).min()
    }

    fn trial(&mut self) {
        let tried = attempt(&self.writer.shelf);
        let shelf = Arc::clone(&self.writer.shelf);
        let mut reads = shelf.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = tried {
            let now = shelf.now();
            for breaker in [&mut *reads, &mut self.breaker] {
                if breaker.is_open() {
                    breaker.failed(now);
                }
            }
            tracing::debug!(%error, "the disk tier's disk fails still");
            return;
        }
        reads.succeeded();
        self.breaker.succeeded();
        drop(reads);
        shelf.reads_off.store(false, Ordering::Relaxed);
        shelf.writes_off.store(false, Ordering::Relaxed);
        tracing::info!(folder = %shelf.folder.display(), "the disk tier works again");
    }

    /// Notes that could not be written are tried again, until one fails again.
    fn note_waiting(&mut self) {
        if self.writer.replaced.is_empty() || self.breaker.is_open() {
            return;
        }
        let mut waiting = self.writer.take_waiting().into_iter();
        for replaced in waiting.by_ref() {
            if let Err(failure) = self.writer.write_replaced(replaced) {
                self.writer.replaced.insert(replaced);
                if let WriteFailure::Failed(error) = failure {
                    self.failed(&error);
                }
                break;
            }
        }
        self.writer.replaced.extend(waiting);
    }

    /// Records that could not be read must not come back with the next start.
    fn note_lost(&mut self) {
        for place in self.writer.shelf.take_lost() {
            self.writer.note_replaced(Replaced::of(&place));
        }
    }
}

/// Writes a file, reads it back and removes it.
fn attempt(shelf: &Shelf) -> io::Result<()> {
    let path = shelf.folder.join(TRIAL);
    let _ = shelf.files.remove(&path);
    let file = shelf.files.create(&path)?;
    let written = vec![0x5a; TRIAL_BYTES];
    let mut read = vec![0; TRIAL_BYTES];
    let tried = file.write(&[&written], 0).and_then(|()| file.sync()).and_then(|()| file.read(&mut read, 0, false));
    let removed = shelf.files.remove(&path);
    tried.and(removed)?;
    if read == written { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}
