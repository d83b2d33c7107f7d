//! The purge sequence and its records.
//!
//! Must never forget a purge that could still concern a stored object: where the table is full it purges more, not less.

use crate::key::{KeyRef, KeyText};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

/// Where the purge sequence stood at one moment; taken before a fetch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PurgeStamp(pub(crate) u64);

impl PurgeStamp {
    /// The number of the last purge before this moment.
    pub fn sequence(self) -> u64 {
        self.0
    }
}

/// What a purge does to what it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PurgeKind {
    /// Treated as stale from now on: revalidated before use, or served where stale may be served.
    Soft,
    /// Gone.
    Hard,
}

/// A purge that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// Its number: every later purge has a greater one.
    pub sequence: u64,
    /// Objects that a purge by key removed or marked at once; 0 for the others, which touch no object.
    pub objects: usize,
}

/// What one record covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    Zone(u32),
    Host(u64),
}

/// The last purge of each kind, 0 for none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Marks {
    soft: u64,
    hard: u64,
}

impl Marks {
    pub(crate) fn raise(&mut self, kind: PurgeKind, sequence: u64) {
        match kind {
            PurgeKind::Soft => self.soft = self.soft.max(sequence),
            PurgeKind::Hard => self.hard = self.hard.max(sequence),
        }
    }

    /// The strongest purge after a stamp.
    pub(crate) fn since(self, stamp: PurgeStamp) -> Option<PurgeKind> {
        if self.hard > stamp.0 {
            Some(PurgeKind::Hard)
        } else if self.soft > stamp.0 {
            Some(PurgeKind::Soft)
        } else {
            None
        }
    }
}

/// The sequence, and the records of purges that touch no object when they are made.
#[derive(Debug)]
pub(crate) struct PurgeLog {
    /// Number of the last purge of any kind.
    sequence: AtomicU64,
    /// Number of the last purge in `records`: an object compared at this number needs no comparison.
    recorded: AtomicU64,
    records: RwLock<Records>,
    scopes_max: usize,
}

#[derive(Debug, Default)]
struct Records {
    all: Marks,
    scopes: HashMap<Scope, Marks, foldhash::fast::RandomState>,
}

impl PurgeLog {
    pub(crate) fn new(scopes_max: usize) -> Self {
        Self { sequence: AtomicU64::new(0), recorded: AtomicU64::new(0), records: RwLock::default(), scopes_max }
    }

    pub(crate) fn stamp(&self) -> PurgeStamp {
        PurgeStamp(self.sequence.load(Ordering::SeqCst))
    }

    /// Takes the next number for a purge that is recorded elsewhere (by key, in the key's shard).
    pub(crate) fn next(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Number of the last recorded purge.
    pub(crate) fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::SeqCst)
    }

    /// Records a purge; `None` is everything. The second value tells that the table was full and everything older was purged instead.
    pub(crate) fn record(&self, scope: Option<Scope>, kind: PurgeKind) -> (u64, bool) {
        let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
        let sequence = self.next();
        let full =
            scope.is_some_and(|scope| records.scopes.len() >= self.scopes_max && !records.scopes.contains_key(&scope));
        match scope {
            Some(scope) if !full => records.scopes.entry(scope).or_default().raise(kind, sequence),
            // Purging everything supersedes each record made before it, hence the table can start afresh.
            _ => {
                records.all.raise(if full { PurgeKind::Hard } else { kind }, sequence);
                if full || kind == PurgeKind::Hard {
                    records.scopes.clear();
                }
            }
        }
        self.recorded.store(sequence, Ordering::SeqCst);
        (sequence, full)
    }

    /// The strongest recorded purge of this key's zone or host, or of everything, after a stamp.
    pub(crate) fn since<K: KeyText + ?Sized>(&self, key: &KeyRef<'_, K>, stamp: PurgeStamp) -> Option<PurgeKind> {
        if self.recorded() <= stamp.0 {
            return None;
        }
        let records = self.records.read().unwrap_or_else(PoisonError::into_inner);
        let scope = |scope| records.scopes.get(&scope).and_then(|marks| marks.since(stamp));
        records.all.since(stamp).max(scope(Scope::Zone(key.zone))).max(scope(Scope::Host(key.host)))
    }
}

/// Purges by key that may concern a fetch under way.
#[derive(Debug, Default)]
pub(crate) struct PurgedKeys {
    keys: HashMap<u128, Marks, foldhash::fast::RandomState>,
    keys_max: usize,
    /// What was forgotten: every fetch that began before it counts as purged.
    forgotten: Marks,
}

impl PurgedKeys {
    pub(crate) fn new(keys_max: usize) -> Self {
        Self { keys_max, ..Self::default() }
    }

    pub(crate) fn record(&mut self, hash: u128, kind: PurgeKind, sequence: u64) {
        if self.keys.len() >= self.keys_max && !self.keys.contains_key(&hash) {
            self.keys.clear();
            self.forgotten.raise(PurgeKind::Hard, sequence.saturating_sub(1));
        }
        self.keys.entry(hash).or_default().raise(kind, sequence);
    }

    pub(crate) fn since(&self, hash: u128, stamp: PurgeStamp) -> Option<PurgeKind> {
        self.forgotten.since(stamp).max(self.keys.get(&hash).and_then(|marks| marks.since(stamp)))
    }
}
