//! The journal: what is written is read; what is damaged purges more, never less; no state of the file fails a start.

use crate::journal::{JournalState, Recovered, decode, encode};
use crate::testing::{Version, head, key, tags};
use crate::{
    Body, Journal, PrefixGroup, PurgeKind, PurgeRecord, PurgeStamp, PurgeTable, Refused, Scope, Store, StoreLimits,
    Stored, tag_group,
};
use std::path::{Path, PathBuf};

const NOW: u64 = 1_800_000_000_000_000;
const BYTES_MAX: u64 = 1 << 20;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("archipel-journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("purges")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn record(sequence: u64, scope: Scope) -> PurgeRecord {
    let kind = if sequence.is_multiple_of(2) { PurgeKind::Soft } else { PurgeKind::Hard };
    PurgeRecord { sequence, kind, zone: 7, scope }
}

fn table() -> PurgeTable {
    let prefix = PrefixGroup { hash: 5, segments: 31 };
    let scopes = [
        Scope::Everything,
        Scope::Zone,
        Scope::Host(u64::MAX),
        Scope::Prefix(prefix),
        Scope::Url(1),
        Scope::Key(u128::MAX),
        Scope::Tag(9),
    ];
    let records = (NOW + 11..).zip(scopes).map(|(sequence, scope)| record(sequence, scope)).collect();
    PurgeTable { sequence: NOW + 20, floor: NOW + 10, records }
}

#[test]
fn what_is_written_is_read() {
    let Recovered { table: found, state } = decode(&encode(&table()), NOW);
    assert_eq!(state, JournalState::Whole);
    assert_eq!((found.floor, &found.records), (table().floor, &table().records));
    assert!(found.sequence > table().sequence, "a start leaves out what may have been given");
    let none = decode(&[], NOW);
    assert_eq!((none.state, none.table.floor, none.table.sequence), (JournalState::Missing, NOW, NOW));
}

/// Cut anywhere: the records in front of the cut, or everything is purged; never a panic, never a number given twice.
#[test]
fn cut_at_every_byte() {
    let whole = encode(&table());
    for cut in 0..whole.len() {
        let Recovered { table: found, state } = decode(&whole[..cut], NOW);
        match (cut, cut % 64) {
            (0, _) => assert_eq!(state, JournalState::Missing),
            (1..64, _) => assert_eq!(state, JournalState::Damaged, "{cut}"),
            (_, rest) => {
                let expected = if rest == 0 { JournalState::Whole } else { JournalState::Torn };
                assert_eq!((state, &*found.records), (expected, &table().records[..cut / 64 - 1]), "{cut}");
            }
        }
        // The header has the sequence of the time when the file was written: none of that comes again.
        let beyond = if cut < 64 { NOW } else { table().sequence + 1 };
        assert!(found.sequence >= beyond, "{cut}: {found:?}");
    }
}

/// A file that grew but was not filled: what a power cut leaves on some file systems.
#[test]
fn zeros_at_the_end_are_nothing() {
    let mut bytes = encode(&table());
    bytes.resize(bytes.len() + 64 * 3 + 5, 0);
    let found = decode(&bytes, NOW);
    assert_eq!((found.state, found.table.records), (JournalState::Torn, table().records));
}

#[test]
fn every_flipped_bit_purges_everything() {
    let whole = encode(&table());
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            let found = decode(&bytes, NOW);
            assert_eq!((found.state, found.table.records.len()), (JournalState::Damaged, 0), "byte {at}, bit {bit}");
            assert!(found.table.floor > table().sequence, "byte {at}, bit {bit}: everything stored so far is older");
        }
    }
}

#[test]
fn slots_that_are_lost_exchanged_or_foreign() {
    let whole = encode(&table());
    let mut zeroed = whole.clone();
    zeroed[128..192].fill(0);
    let foreign = [whole.clone(), vec![b'x'; 64]].concat();
    let headers = [&whole[..64], &whole[..64]].concat();
    for bytes in [&zeroed, &foreign, &headers, &whole[64..].to_vec(), &vec![1; 4_096]] {
        assert_eq!(decode(bytes, NOW).state, JournalState::Damaged);
    }
    // Order is nothing: two processes may write while one takes over from the other.
    let mut exchanged = whole.clone();
    exchanged[64..192].rotate_left(64);
    assert_eq!(decode(&exchanged, NOW).table.records, table().records);
    // A clock that went back, or a number beyond all sense.
    assert!(decode(&whole, 0).table.sequence > table().sequence);
    assert!(decode(&[1; 64], 0).table.sequence > 0);
    assert!(decode(&[], u64::MAX).table.sequence < 1 << 53);
}

/// A node: its store and its journal.
struct Node {
    store: Store<Version>,
    journal: Journal,
    state: JournalState,
}

impl Node {
    fn start(file: &Path, scopes_max: usize) -> Self {
        Self::start_at(file, scopes_max, NOW)
    }

    fn start_at(file: &Path, scopes_max: usize, now_micros: u64) -> Self {
        let limits = StoreLimits { purge_scopes_max: scopes_max, ..StoreLimits::default() };
        let store = Store::new(limits);
        let (journal, recovered, problem) = Journal::open(file, BYTES_MAX, now_micros);
        assert!(problem.is_none(), "{problem:?}");
        store.restore_purges(&recovered.table);
        let mut node = Self { store, journal, state: recovered.state };
        node.persist();
        node
    }

    fn persist(&mut self) -> u64 {
        self.store.persist_purges(&mut self.journal).unwrap().sequence()
    }

    /// Whether a disk's object of that stamp may still be served.
    fn serves(&self, text: &str, version: Version, stamp: u64) -> bool {
        let numbers: Vec<u64> = tags(version).into_iter().flatten().map(|tag| tag_group(0, tag.as_bytes())).collect();
        self.store.purged_since(&key(text), &numbers, PurgeStamp::from_sequence(stamp)).is_none()
    }
}

#[test]
fn marks_hold_and_numbers_go_on_over_a_crash() {
    let folder = Folder::new("crash");
    let mut node = Node::start(&folder.file(), 100);
    assert_eq!(node.state, JournalState::Missing);
    assert!(!node.serves("/a", 1, NOW - 1), "from before the journal");
    let mut last = node.store.stamp().sequence();
    let start = last;
    assert!(node.serves("/a", 1, start) && node.serves("/b", 2, start) && node.serves("/cc", 3, start));
    for round in 0..4 {
        let purged = match round {
            0 => node.store.purge_url(&key("/a"), PurgeKind::Hard),
            1 => node.store.purge_tag(0, tag_group(0, b"A2"), PurgeKind::Hard),
            2 => node.store.purge_zone(5, PurgeKind::Soft),
            _ => node.store.purge_prefix(1, "", "/cc", PurgeKind::Soft),
        };
        assert!(purged.sequence > last);
        assert!(node.store.has_unwritten_purges());
        assert_eq!(node.persist(), purged.sequence);
        assert!(!node.store.has_unwritten_purges());
        // The process dies here: nothing is flushed at an end.
        drop(node);
        node = Node::start(&folder.file(), 100);
        assert_eq!(node.state, JournalState::Whole);
        assert!(!node.serves("/a", 1, start));
        assert_eq!((node.serves("/b", 2, start), node.serves("/cc", 3, start)), (round < 1, round < 3));
        // An object fetched after that purge, just before the crash.
        assert!(node.serves("/a", 1, purged.sequence) && node.serves("/b", 2, purged.sequence));
        last = node.store.stamp().sequence();
        assert!(last > purged.sequence);
    }
}

/// A purge that was made, not written and not acknowledged may be lost; its number is not given again.
#[test]
fn no_number_is_given_twice() {
    let folder = Folder::new("twice");
    let node = Node::start(&folder.file(), 100);
    let lost = node.store.purge_zone(0, PurgeKind::Hard).sequence;
    drop(node);
    let node = Node::start(&folder.file(), 100);
    assert!(node.store.stamp().sequence() > lost);
    drop(node);
    let node = Node::start(&folder.file(), 100);
    let purged = node.store.purge_zone(0, PurgeKind::Hard).sequence;
    assert!(purged > lost && !node.serves("/a", 1, lost), "what was fetched after the lost one");
}

#[test]
fn damage_never_fails_a_start_and_is_repaired() {
    let folder = Folder::new("damage");
    let mut node = Node::start(&folder.file(), 100);
    let stamp = node.store.purge_zone(9, PurgeKind::Hard).sequence;
    node.persist();
    for (damage, state) in [
        (Box::new(|bytes: &mut Vec<u8>| bytes[70] ^= 1) as Box<dyn Fn(&mut Vec<u8>)>, JournalState::Damaged),
        (Box::new(|bytes: &mut Vec<u8>| bytes.truncate(30)), JournalState::Damaged),
        (Box::new(|bytes: &mut Vec<u8>| bytes.push(1)), JournalState::Torn),
        (Box::new(|bytes: &mut Vec<u8>| bytes.clear()), JournalState::Missing),
    ] {
        let mut bytes = std::fs::read(folder.file()).unwrap();
        damage(&mut bytes);
        std::fs::write(folder.file(), &bytes).unwrap();
        // Later by the clock than any purge before.
        let node = Node::start_at(&folder.file(), 100, NOW * 2);
        assert_eq!(node.state, state);
        assert!(!node.serves("/a", 1, stamp) || state == JournalState::Torn);
        drop(node);
        let node = Node::start(&folder.file(), 100);
        assert_eq!(node.state, JournalState::Whole, "after {state:?}");
    }
}

#[test]
fn what_cannot_be_read_counts_as_damaged() {
    let folder = Folder::new("unreadable");
    std::fs::create_dir(folder.file()).unwrap();
    let (mut journal, recovered, problem) = Journal::open(&folder.file(), BYTES_MAX, NOW);
    assert!(problem.is_some());
    assert_eq!((recovered.state, recovered.table.floor), (JournalState::Damaged, NOW));
    let store: Store<Version> = Store::new(StoreLimits::default());
    store.restore_purges(&recovered.table);
    store.purge_zone(1, PurgeKind::Hard);
    // In force, not on the disk; written as soon as the disk lets it.
    assert!(store.persist_purges(&mut journal).is_err());
    assert!(store.persist_purges(&mut journal).is_err());
    assert!(store.has_unwritten_purges());
    std::fs::remove_dir(folder.file()).unwrap();
    assert_eq!(store.persist_purges(&mut journal).unwrap(), store.stamp());
    assert_eq!(decode(&std::fs::read(folder.file()).unwrap(), NOW).table.records.len(), 1);
    // Too long to be ours.
    let file = std::fs::File::options().append(true).open(folder.file()).unwrap();
    file.set_len(BYTES_MAX * 5).unwrap();
    let (_, recovered, problem) = Journal::open(&folder.file(), BYTES_MAX, NOW);
    assert_eq!((recovered.state, problem.is_some()), (JournalState::Damaged, true));
}

/// Purges without end: the file stays within its bound, and what was forgotten purges more.
#[test]
fn the_file_has_a_bound() {
    let folder = Folder::new("bound");
    let mut node = Node::start(&folder.file(), 50);
    let (start, mut rewritten, mut before) = (node.store.stamp().sequence(), 0, 0);
    for number in 0..30_000_u64 {
        node.store.purge_tag(0, number, PurgeKind::Hard);
        if number % 100 == 99 {
            node.persist();
            assert!(node.journal.bytes() <= BYTES_MAX);
            rewritten += u32::from(node.journal.bytes() < before);
            before = node.journal.bytes();
        }
    }
    assert_eq!(std::fs::metadata(folder.file()).unwrap().len(), node.journal.bytes());
    assert!(rewritten >= 1, "{rewritten}");
    let last = node.store.stamp().sequence();
    drop(node);
    let node = Node::start(&folder.file(), 50);
    let object = |number: u64, stamp| node.store.purged_since(&key("/a"), &[number], PurgeStamp::from_sequence(stamp));
    assert_eq!(object(29_999, start), Some(PurgeKind::Hard));
    assert_eq!(object(29_999, last), None);
    assert!(node.store.counts().purge_scopes <= 50);
    // More waiting than the queue holds: written as a whole.
    let mut node = node;
    for tag in 0..10_000 {
        node.store.purge_tag(0, tag, PurgeKind::Soft);
    }
    node.persist();
    let stamp = PurgeStamp::from_sequence(start);
    assert_eq!(node.store.purged_since(&key("/a"), &[9_999], stamp), Some(PurgeKind::Hard), "forgotten, thus gone");
}

/// A successor reads the file and appends; the node that hands over appends as well, and never writes it anew.
#[test]
fn a_node_that_hands_over_only_appends() {
    let folder = Folder::new("handover");
    let mut old = Node::start(&folder.file(), 100);
    let start = old.store.stamp().sequence();
    let mut new = Node::start(&folder.file(), 100);
    old.journal.retire();
    old.store.purge_tag(0, 1, PurgeKind::Hard);
    new.store.purge_tag(0, 2, PurgeKind::Hard);
    old.persist();
    new.persist();
    // The successor writes it anew, the other finds the new file.
    let table = new.store.purge_table();
    new.journal.rewrite(&table).unwrap();
    old.store.purge_tag(0, 3, PurgeKind::Hard);
    old.persist();
    new.persist();
    std::fs::remove_file(folder.file()).unwrap();
    old.store.purge_tag(0, 4, PurgeKind::Hard);
    assert!(old.store.persist_purges(&mut old.journal).is_err(), "it does not put a file of its own there");
    new.persist();
    let third = Node::start(&folder.file(), 100);
    let purged = |tag| third.store.purged_since(&key("/a"), &[tag], PurgeStamp::from_sequence(start)).is_some();
    assert_eq!([2, 3, 4].map(purged), [true, false, false], "what only the file that was removed held is gone");
}

#[test]
fn a_successor_takes_up_what_the_node_before_purges() {
    let folder = Folder::new("follow");
    let mut old = Node::start(&folder.file(), 100);
    old.store.purge_tag(0, 1, PurgeKind::Hard);
    old.persist();
    let limits = StoreLimits::default();
    let (mut journal, recovered, _) = Journal::open(&folder.file(), BYTES_MAX, NOW);
    let store: Store<Version> = Store::new(limits);
    store.restore_purges(&recovered.table);
    journal.follow(&recovered);
    let mut new = Node { store, journal, state: recovered.state };
    let stamp = new.persist();
    assert_eq!(stamp, recovered.table.sequence, "nothing is taken up twice");
    let object =
        |node: &Node, tag| node.store.purged_since(&key("/a"), &[tag], PurgeStamp::from_sequence(stamp)).is_some();
    for tag in 2..5 {
        old.store.purge_tag(0, tag, PurgeKind::Hard);
        old.persist();
        assert!(!object(&new, tag));
        new.persist();
        assert!(object(&new, tag), "what the new one stored before the old one's purge");
        assert_eq!(new.persist(), new.store.stamp().sequence());
        assert_eq!(new.store.stamp().sequence() - stamp, tag - 1, "once each");
        if tag == 3 {
            let table = new.store.purge_table();
            new.journal.rewrite(&table).unwrap();
            old.journal.retire();
        }
    }
}

/// The process before appends while its successor writes the file anew: neither's purges are lost.
#[test]
fn nothing_is_lost_between_a_look_and_a_rewrite() {
    let folder = Folder::new("between");
    let mut old = Node::start(&folder.file(), 100);
    old.persist();
    let (mut journal, recovered, _) = Journal::open(&folder.file(), BYTES_MAX, NOW);
    let store: Store<Version> = Store::new(StoreLimits::default());
    store.restore_purges(&recovered.table);
    journal.follow(&recovered);
    let mut new = Node { store, journal, state: recovered.state };
    let stamp = PurgeStamp::from_sequence(new.persist());
    assert_eq!(new.journal.take_foreign(), []);
    old.store.purge_tag(0, 1, PurgeKind::Hard);
    old.persist();
    let table = new.store.purge_table();
    new.journal.rewrite(&table).unwrap();
    new.persist();
    assert!(new.store.purged_since(&key("/a"), &[1], stamp).is_some());
    // Once the file was looked through in vain, it is looked through again.
    old.store.purge_tag(0, 2, PurgeKind::Hard);
    old.persist();
    let aside = folder.file().with_extension("aside");
    std::fs::rename(folder.file(), &aside).unwrap();
    std::fs::create_dir(folder.file()).unwrap();
    assert_eq!(new.journal.take_foreign(), []);
    std::fs::remove_dir(folder.file()).unwrap();
    std::fs::rename(&aside, folder.file()).unwrap();
    new.persist();
    assert!(new.store.purged_since(&key("/a"), &[2], stamp).is_some());
}

#[test]
fn replayed_by_another_node() {
    let store: Store<Version> = Store::new(StoreLimits { purge_scopes_max: 8, ..StoreLimits::default() });
    let told = |after, most| {
        let since = store.purges_since(after, most).map_err(|lost| (lost.floor, lost.sequence));
        since.map(|since| (since.records.iter().map(|r| r.sequence).collect::<Vec<_>>(), since.more))
    };
    assert_eq!(told(0, 10), Ok((vec![], false)));
    store.purge_tag(1, 1, PurgeKind::Hard);
    store.purge_tag(1, 1, PurgeKind::Soft);
    store.purge_host(2, 1, PurgeKind::Soft);
    store.purge_tag(1, 1, PurgeKind::Hard);
    assert_eq!(told(0, 10), Ok((vec![3, 4], false)), "of one scope the last counts");
    assert_eq!(told(0, 1), Ok((vec![3], true)));
    assert_eq!(told(3, 1), Ok((vec![4], false)));
    assert_eq!(told(4, 10), Ok((vec![], false)));
    assert_eq!(told(5, 10), Err((0, 4)), "a number of another sequence");
    store.compact_purges(PurgeStamp::from_sequence(3));
    assert_eq!(told(2, 10), Err((3, 4)));
    assert_eq!(told(3, 10), Ok((vec![4], false)));
    store.purge_all(PurgeKind::Hard);
    assert_eq!(told(3, 10), Ok((vec![5], false)), "it covers the others");

    // Another node replays, and then refuses what this one refuses.
    let other: Store<Version> = Store::new(StoreLimits::default());
    let late = Stored::new(head(key("/a"), "", 1, other.stamp()), Body::default());
    for record in store.purges_since(3, 10).unwrap().records {
        other.purge(record.zone, record.scope, record.kind);
    }
    assert_eq!(other.insert(late).unwrap_err(), Refused::Purged);
}
