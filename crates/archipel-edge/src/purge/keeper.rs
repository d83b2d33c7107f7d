//! The thread that keeps the purge journal: purges are made in memory, written here, and acknowledged when they are on the disk.
//!
//! One thread a node, so that a slow disk holds up nobody but who waits for it, and many purges share one write. Must never be
//! waited for by a visitor's exchange: what visitors invalidate is written when the thread comes to it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use archipel_cache::{Journal, JournalState, PurgeStamp, Store};

use crate::cache::Meta;

/// How long purges that nobody waits for may wait for each other.
const PAUSE: Duration = Duration::from_millis(100);
/// How long after a failed write the next is tried.
const RETRY: Duration = Duration::from_secs(1);
/// How long a purge waits to be acknowledged as durable. It is in force before.
const ACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);
/// Bytes of the journal's file for each scope that the table may hold: four records, twice what a full table needs.
const BYTES_PER_SCOPE: u64 = 256;
/// Bytes of the file whatever the table may hold.
const BYTES_MIN: u64 = 1 << 20;
/// How often a table that is half full is looked through for what nothing needs any more.
const COMPACT: Duration = Duration::from_secs(10);

/// The name of the journal in the state folder.
const FILE: &str = "purges";

/// What the metrics tell.
#[derive(Debug, Default)]
pub(crate) struct JournalCounts {
    /// Writes that failed.
    pub(crate) failures: AtomicU64,
    /// Bytes of the file.
    pub(crate) bytes: AtomicU64,
    /// 1 while what was purged is, or is about to be, on the disk.
    pub(crate) works: AtomicU64,
}

impl JournalCounts {
    /// Works, bytes, failures.
    pub(crate) fn values(&self) -> [u64; 3] {
        [&self.works, &self.bytes, &self.failures].map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// The keeper, as the rest of the node sees it.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    counts: JournalCounts,
}

#[derive(Debug, Default)]
struct State {
    /// The number that somebody waits for.
    wanted: u64,
    /// Purges up to this number are on the disk.
    durable: u64,
    /// Why the last write failed.
    problem: Option<String>,
    /// Another process keeps the journal from now on.
    retired: bool,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    /// Opens the journal in the state folder, takes up what it holds, and begins to keep it. Never fails: without a journal
    /// purges are in force until the node ends, and the log and the metrics say so.
    ///
    /// `follows`: the process before this one still serves for a while.
    pub(crate) fn start(store: &Arc<Store<Meta>>, state_dir: &Path, follows: bool) -> Self {
        let path = state_dir.join(FILE);
        let bytes_max = (store.limits().purge_scopes_max as u64).saturating_mul(BYTES_PER_SCOPE).max(BYTES_MIN);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (mut journal, recovered, problem) =
            Journal::open(&path, bytes_max, u64::try_from(now.as_micros()).unwrap_or(0));
        store.restore_purges(&recovered.table);
        let (path, state, records) = (path.display(), recovered.state.as_str(), recovered.table.records.len());
        match (recovered.state, problem) {
            (JournalState::Damaged, problem) => {
                let problem = problem.map(|error| error.to_string()).unwrap_or_default();
                tracing::error!(%path, problem, "the purge journal is damaged: whatever was stored before counts as purged");
            }
            (JournalState::Missing, _) => tracing::debug!(%path, "a new purge journal is begun"),
            _ => tracing::debug!(%path, state, records, "the purge journal is taken up"),
        }
        if recovered.state == JournalState::Whole {
            // A failure is met again, and told, with the first write.
            let _ = journal.append_start(recovered.table.sequence);
        }
        if follows {
            journal.follow(&recovered);
        }
        let shared = Arc::new(Shared::default());
        // The first write is made here: a start that is not on the disk could give the same numbers again.
        write(store, &mut journal, &shared);
        let (store, of_thread) = (Arc::downgrade(store), shared.clone());
        let thread = std::thread::Builder::new().name("purges".to_owned());
        if let Err(error) = thread.spawn(move || keep(&store, journal, &of_thread)) {
            tracing::error!(%error, "no thread for the purge journal: purges will not outlive this process");
            shared.counts.works.store(0, Ordering::Relaxed);
            shared.lock().ended = true;
        }
        Self { shared }
    }

    /// Waits until purges up to a number are on the disk; at most 10 seconds. Blocks.
    ///
    /// # Errors
    /// Why they are not, for the operator. They are in force.
    pub(crate) fn wait(&self, sequence: u64) -> Result<(), String> {
        self.waiting().wait(sequence)
    }

    /// A handle that can wait, for another thread.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting(self.shared.clone())
    }

    /// Another process serves from now on, and keeps the journal: this one only appends to it.
    pub(crate) fn retire(&self) {
        self.shared.lock().retired = true;
    }

    pub(crate) fn counts(&self) -> &JournalCounts {
        &self.shared.counts
    }
}

/// See [`Keeper::waiting`].
pub(crate) struct Waiting(Arc<Shared>);

impl Waiting {
    /// See [`Keeper::wait`].
    pub(crate) fn wait(&self, sequence: u64) -> Result<(), String> {
        let until = Instant::now() + ACKNOWLEDGED_MAX;
        let mut state = self.0.lock();
        state.wanted = state.wanted.max(sequence);
        state.problem = None;
        self.0.changed.notify_all();
        loop {
            if state.durable >= sequence {
                return Ok(());
            }
            if let Some(problem) = &state.problem {
                return Err(problem.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended {
                return Err("the purge journal could not be written in time".to_owned());
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
    }
}

fn keep(store: &Weak<Store<Meta>>, mut journal: Journal, shared: &Shared) {
    let mut compacted = Instant::now();
    let mut pause = PAUSE;
    loop {
        let (asked, ended, retired) = {
            let is_idle = |state: &mut State| state.wanted <= state.durable && !state.ended;
            let waited = shared.changed.wait_timeout_while(shared.lock(), pause, is_idle);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            (state.wanted > state.durable, state.ended, state.retired)
        };
        if retired {
            journal.retire();
        }
        let Some(kept) = store.upgrade() else { return };
        if compacted.elapsed() > COMPACT {
            compacted = Instant::now();
            compact(&kept);
        }
        if asked || ended || journal.follows() || kept.has_unwritten_purges() {
            pause = if write(&kept, &mut journal, shared) { PAUSE } else { RETRY };
        }
        if ended {
            return;
        }
    }
}

/// Forgets purges that nothing stored is old enough for, before the table has to forget others.
fn compact(store: &Store<Meta>) {
    let half = store.limits().purge_scopes_max / 2;
    if store.counts().purge_scopes as usize > half {
        let forgotten = store.compact_purges(oldest(store));
        tracing::debug!(forgotten, "purges that nothing is old enough for are forgotten");
    }
}

/// The oldest stamp of anything stored, in every tier.
fn oldest(store: &Store<Meta>) -> PurgeStamp {
    store.oldest_stamp()
}

fn write(store: &Store<Meta>, journal: &mut Journal, shared: &Shared) -> bool {
    let written = store.persist_purges(journal);
    let mut state = shared.lock();
    let worked = shared.counts.works.swap(u64::from(written.is_ok()), Ordering::Relaxed) == 1;
    shared.counts.bytes.store(journal.bytes(), Ordering::Relaxed);
    match written {
        Ok(durable) => {
            state.durable = state.durable.max(durable.sequence());
            state.problem = None;
        }
        Err(ref error) => {
            shared.counts.failures.fetch_add(1, Ordering::Relaxed);
            if worked || state.durable == 0 {
                tracing::error!(%error, "the purge journal cannot be written: purges are in force, and a crash would forget them");
            }
            state.problem = Some(format!("the purge journal cannot be written: {error}"));
            // Who waits is told; the next one waits anew.
            state.wanted = state.durable;
        }
    }
    shared.changed.notify_all();
    written.is_ok()
}
