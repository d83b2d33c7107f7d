//! The words of purging: what is purged, how, and when that was.
//!
//! Must never depend on what is stored: a purge is a record, and records are what is kept, replayed and compared.

use crate::groups::PrefixGroup;

/// Where the purge sequence stood at one moment; taken before a fetch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PurgeStamp(pub(crate) u64);

impl PurgeStamp {
    /// A stamp that was kept with an object ([`PurgeStamp::sequence`]).
    pub fn from_sequence(sequence: u64) -> Self {
        Self(sequence)
    }

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
    /// Objects that a purge by key or URL removed or marked at once; 0 for the others, which touch no object.
    pub objects: usize,
}

/// What a purge covers, within its record's zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Every object of every zone.
    Everything,
    /// Every object of the zone.
    Zone,
    /// A host: see [`purge_group`](crate::purge_group).
    Host(u64),
    /// A host and the beginning of a path.
    Prefix(PrefixGroup),
    /// A URL, whatever else is in the keys: see [`url_group`](crate::url_group).
    Url(u64),
    /// All variants of one key: its hash.
    Key(u128),
    /// A tag or a cache group: see [`tag_group`](crate::tag_group) and [`cache_group`](crate::cache_group).
    Tag(u64),
}

impl Scope {
    /// The word for logs and answers.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Zone => "zone",
            Self::Host(_) => "host",
            Self::Prefix(_) => "prefix",
            Self::Url(_) => "url",
            Self::Key(_) => "key",
            Self::Tag(_) => "tag",
        }
    }
}

/// One purge, as it is kept and replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeRecord {
    /// Its number.
    pub sequence: u64,
    /// What becomes of what it covers.
    pub kind: PurgeKind,
    /// The zone that it was made for: it covers no other's objects. 0 for everything.
    pub zone: u32,
    /// What it covers.
    pub scope: Scope,
}

/// Purges after a number, oldest first: what another node has to make as well. Of purges of the same scope only the last is
/// listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgesSince {
    /// Where the sequence stands.
    pub sequence: u64,
    /// The records.
    pub records: Vec<PurgeRecord>,
    /// There are more: ask again after the last one's number.
    pub more: bool,
}

/// Purges before a number are known no more, or the number is of another sequence: purge everything, and go on from `sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "purges after {after} are not known; from {floor} to {sequence} they are: purge everything and go on from {sequence}"
)]
pub struct WindowLost {
    /// What was asked for.
    pub after: u64,
    /// The oldest number that can be asked for.
    pub floor: u64,
    /// Where the sequence stands.
    pub sequence: u64,
}

/// The last purge of each kind, 0 for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) soft: u64,
    pub(crate) hard: u64,
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

    pub(crate) fn last(self) -> u64 {
        self.soft.max(self.hard)
    }

    /// Forgets what no object that is at least as young as `floor` needs; tells whether anything is left.
    pub(crate) fn forget(&mut self, floor: u64) -> bool {
        for mark in [&mut self.soft, &mut self.hard] {
            if *mark <= floor {
                *mark = 0;
            }
        }
        self.last() > 0
    }

    /// As records. A soft purge that a hard one followed says nothing more.
    pub(crate) fn records(self, zone: u32, scope: Scope) -> impl Iterator<Item = PurgeRecord> {
        let soft = (self.soft > self.hard).then_some((PurgeKind::Soft, self.soft));
        let hard = (self.hard > 0).then_some((PurgeKind::Hard, self.hard));
        hard.into_iter().chain(soft).map(move |(kind, sequence)| PurgeRecord { sequence, kind, zone, scope })
    }
}
