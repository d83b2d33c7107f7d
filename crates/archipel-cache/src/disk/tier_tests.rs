//! The tier from outside: what goes in comes out, bounds hold, nothing purged returns, a failing disk is left alone.

use super::faults::{Disk, Plan};
use super::files::Files;
use super::tier::DiskTier;
use super::{Codec, DiskLookup, DiskOptions, WireReader, WireWriter};
use crate::key::KeyRef;
use crate::purge::PurgeKind;
use crate::store::Coming;
use crate::testing::{Random, Version, head, key};
use crate::{Body, PurgeTable, Store, StoreLimits, Stored, ZoneQuota};
use bytes::Bytes;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const SEED: (u64, u64) = (3, 4);

#[derive(Debug)]
pub(crate) struct VersionCodec;

impl Codec<Version> for VersionCodec {
    fn encode(&self, meta: &Version, to: &mut WireWriter) -> bool {
        to.u64(*meta);
        true
    }

    fn decode(&self, mut from: WireReader) -> Option<(Version, usize)> {
        from.u64().map(|version| (version, 0))
    }
}

/// A store without memory, so that everything is on the disk, with a disk of a given size.
pub(crate) struct Rig {
    pub(crate) disk: Disk,
    pub(crate) store: Arc<Store<Version>>,
}

pub(crate) fn options(bytes_max: u64) -> DiskOptions {
    DiskOptions {
        threads: 2,
        object_bytes_max: bytes_max / 2,
        pause: Duration::ZERO,
        open_retry: Duration::from_millis(1),
        ..DiskOptions::new("d".into(), bytes_max)
    }
}

impl Rig {
    /// A process that starts after these purges.
    pub(crate) fn new(disk: &Disk, options: DiskOptions, memory_bytes_max: u64, past: &PurgeTable) -> Self {
        Self::with_quotas(disk, options, memory_bytes_max, past, &[])
    }

    pub(crate) fn with_quotas(
        disk: &Disk,
        options: DiskOptions,
        memory_bytes_max: u64,
        past: &PurgeTable,
        quotas: &[ZoneQuota],
    ) -> Self {
        let store = Arc::new(Store::new(StoreLimits { memory_bytes_max, ..StoreLimits::default() }));
        store.set_quotas(quotas, options.bytes_max);
        store.restore_purges(past);
        let (files, codec): (Arc<dyn Files>, _) = (Arc::new(disk.clone()), Arc::new(VersionCodec));
        let tier = DiskTier::start_on(files, options, codec, SEED, &store);
        assert!(store.disk.set(Arc::new(tier)).is_ok());
        Self { disk: disk.clone(), store }
    }

    pub(crate) fn of(bytes_max: u64) -> Self {
        let rig = Self::new(&Disk::new(1), options(bytes_max), 0, &PurgeTable::default());
        rig.tier().flush();
        rig
    }

    pub(crate) fn tier(&self) -> &Arc<DiskTier<Version>> {
        self.store.disk().unwrap()
    }

    pub(crate) fn put(&self, text: &str, variant: &str, version: Version, bytes: usize) {
        let mut made = head(key(text), variant, version, self.store.stamp());
        made.stored_at = version;
        let _ = self.store.insert(Stored::new(made, Body::from_bytes(content(text, version, bytes))));
    }

    pub(crate) fn find(&self, key: &KeyRef<'_>, variant: &str) -> Option<(Arc<Stored<Version>>, bool)> {
        let pick = |stored: &Stored<Version>| *stored.variant == *variant.as_bytes();
        if let Some(found) = self.store.lookup(key, pick) {
            return Some((found.stored, found.soft_purged));
        }
        let found = match self.store.lookup_disk(key, pick) {
            DiskLookup::Found(found) => Some(self.store.use_found(found)),
            DiskLookup::Missing { .. } => None,
            DiskLookup::Cold => wait(self.store.lookup_disk_waiting(key, pick)),
        };
        found.map(|found| (found.stored, found.soft_purged))
    }

    /// The version that is found, after its every byte was compared.
    #[track_caller]
    pub(crate) fn version(&self, text: &str, variant: &str) -> Option<Version> {
        let (stored, _) = self.find(&key(text), variant)?;
        assert_eq!((&*stored.key, &*stored.variant), (text, variant.as_bytes()));
        assert_eq!(stored.headers.get("content-type").map(|value| value.as_bytes()), Some(&b"text/plain"[..]));
        let len = stored.body().len();
        let bytes = read(&stored, 0..len)?;
        assert!(bytes == content(text, stored.meta, len as usize), "{text}: wrong bytes of version {}", stored.meta);
        Some(stored.meta)
    }

    /// A process that was killed, and its successor, which has its journal of purges.
    pub(crate) fn killed(self, options: DiskOptions) -> Self {
        let past = self.store.purge_table();
        self.killed_after(options, &past)
    }

    pub(crate) fn killed_after(self, options: DiskOptions, past: &PurgeTable) -> Self {
        let next = Self::new(&self.disk.after_kill(9), options, 0, past);
        next.tier().flush();
        next
    }
}

/// Runs a future to its end on this thread.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// What a version of a key consists of.
pub(crate) fn content(text: &str, version: Version, bytes: usize) -> Bytes {
    let mut random = Random(version ^ text.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte)));
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        out.extend_from_slice(&random.next().to_le_bytes());
    }
    out.truncate(bytes);
    out.into()
}

/// A part of a body; `None` where it broke off.
pub(crate) fn read(stored: &Stored<Version>, range: std::ops::Range<u64>) -> Option<Vec<u8>> {
    let Some(body) = stored.body().on_disk() else {
        return Some(stored.body().cursor(range).collect::<Vec<_>>().concat());
    };
    let mut stream = body.stream(range);
    let mut out = Vec::new();
    wait(async {
        while let Some(piece) = poll_fn(|cx| stream.poll_next(cx)).await {
            out.extend_from_slice(&piece.ok()?);
        }
        Some(out)
    })
}

const SIZES: [usize; 9] = [0, 1, 100, 65_535, 65_536, 65_537, 300_000, 1_000_000, 3_000_000];

fn fill_sizes(rig: &Rig) {
    for (version, bytes) in SIZES.iter().enumerate() {
        rig.put(&format!("size {bytes}"), "", version as u64, *bytes);
    }
    rig.put("both", "a", 1, 100);
    rig.put("both", "b", 2, 100_000);
    rig.tier().flush();
}

#[track_caller]
fn check_sizes(rig: &Rig) {
    for (version, bytes) in SIZES.iter().enumerate() {
        assert_eq!(rig.version(&format!("size {bytes}"), ""), Some(version as u64), "{bytes} bytes");
    }
    assert_eq!(
        (rig.version("both", "a"), rig.version("both", "b"), rig.version("both", "c")),
        (Some(1), Some(2), None)
    );
    assert_eq!(rig.version("nothing", ""), None);
}

#[test]
fn what_goes_in_comes_out_cold_or_not_and_after_a_restart() {
    for cold_reads in [0, 1_000] {
        let rig = Rig::of(64 << 20);
        fill_sizes(&rig);
        rig.disk.plan(Plan { cold_reads, ..Plan::default() });
        check_sizes(&rig);
        let counts = rig.tier().counts();
        assert_eq!((counts.entries, counts.writes, counts.errors_verify), (11, 11, 0));
        assert_eq!(counts.reads_cached == 0, cold_reads > 0);
        assert_eq!(counts.bytes, rig.disk.bytes());
        let rig = rig.killed(options(64 << 20));
        check_sizes(&rig);
        assert_eq!(rig.tier().counts().recovered_scanned, 1);
        rig.tier().close();
        assert_eq!(rig.version("size 1", ""), None, "it is closed");
        let rig = rig.killed(options(64 << 20));
        check_sizes(&rig);
        assert_eq!(rig.tier().counts().recovered_scanned, 0, "it was ended in good order");
    }
}

#[test]
fn ranges_read_what_they_need() {
    let rig = Rig::of(64 << 20);
    fill_sizes(&rig);
    let (stored, _) = rig.find(&key("size 3000000"), "").unwrap();
    let whole = content("size 3000000", stored.meta, 3_000_000);
    let before = rig.tier().counts().read_bytes;
    for range in [0..1, 262_143..262_145, 1_000_000..1_600_000, 2_999_999..3_000_000, 2_999_999..9_000_000, 5..5] {
        let end = (range.end as usize).min(whole.len());
        assert_eq!(read(&stored, range.clone()).unwrap(), whole[range.start as usize..end], "{range:?}");
    }
    let read = rig.tier().counts().read_bytes - before;
    assert!(read < 2_500_000, "{read} bytes for 600 KB and some pieces");
}

#[test]
fn bytes_are_bounded_at_every_step() {
    const BYTES_MAX: u64 = 4 << 20;
    let rig = Rig::of(BYTES_MAX);
    let mut random = Random(5);
    for number in 0..600 {
        let bytes = [50, 5_000, 50_000, 400_000][random.below(4) as usize];
        let text = format!("k{}", random.below(80));
        rig.put(&text, "", number, bytes);
        if number % 7 == 0 {
            rig.tier().flush();
            assert!(rig.tier().counts().bytes <= BYTES_MAX && rig.disk.bytes() <= BYTES_MAX);
        }
    }
    rig.tier().flush();
    let counts = rig.tier().counts();
    assert!(counts.segments_reclaimed > 10 && counts.evictions > 10 && counts.entries > 5, "{counts:?}");
    let found = (0..80).filter(|number| rig.version(&format!("k{number}"), "").is_some()).count();
    assert_eq!(found as u64, counts.entries);
}

#[test]
fn a_reader_keeps_what_was_reclaimed_and_a_slow_one_is_cut() {
    const BYTES_MAX: u64 = 8 << 20;
    let rig = Rig::of(BYTES_MAX);
    rig.put("large", "", 1, 900_000);
    rig.tier().flush();
    let (held, _) = rig.find(&key("large"), "").unwrap();
    let fill = |from: u64| {
        for number in from..from + 200 {
            rig.put(&format!("{from} {number}"), "", number, 60_000);
            rig.put(&format!("{from} {number}"), "", number, 60_000);
        }
        rig.tier().flush();
    };
    fill(0);
    fill(1_000);
    assert_eq!(rig.version("large", ""), None, "it was reclaimed");
    assert!(rig.tier().counts().bytes <= BYTES_MAX);
    let bytes = read(&held, 0..900_000).expect("who holds it still reads it");
    assert!(bytes == content("large", 1, 900_000));

    let mut all = Vec::new();
    for number in 0..6 {
        let text = format!("held {number}");
        rig.put(&text, "", 1, 900_000);
        rig.put(&text, "", 1, 900_000);
        rig.tier().flush();
        all.push(rig.find(&key(&text), "").unwrap().0);
    }
    fill(2_000);
    fill(3_000);
    let counts = rig.tier().counts();
    assert!(counts.readers_cut > 0 && counts.bytes <= BYTES_MAX, "{counts:?}");
    let whole = all.iter().filter_map(|stored| Some((stored, read(stored, 0..900_000)?)));
    let whole = whole.inspect(|(stored, bytes)| assert!(*bytes == content(&stored.key, 1, 900_000))).count();
    assert!(whole < 6, "some were cut");
}

#[test]
fn purges_hold_at_once_and_after_a_kill() {
    let rig = Rig::of(64 << 20);
    for text in ["a1", "a2", "bb3", "bb4", "c5"] {
        rig.put(text, "", 1, 1_000);
    }
    rig.tier().flush();
    rig.store.purge_key(&key("a1"), PurgeKind::Hard);
    rig.store.purge_key(&key("a2"), PurgeKind::Soft);
    rig.store.purge_zone(1, PurgeKind::Hard);
    let check = |rig: &Rig| {
        assert_eq!(rig.version("a1", ""), None);
        assert!(rig.find(&key("a2"), "").unwrap().1, "softly purged");
        assert_eq!((rig.version("bb3", ""), rig.version("bb4", "")), (None, None));
        assert!(!rig.find(&key("c5"), "").unwrap().1);
    };
    assert_eq!(rig.tier().oldest_stamp(), Some(0));
    check(&rig);
    rig.tier().flush();
    let rig = rig.killed(options(64 << 20));
    check(&rig);
    // What is fetched after the purge stays, also after the next kill.
    rig.put("a1", "", 2, 1_000);
    rig.put("bb3", "", 2, 1_000);
    rig.tier().flush();
    let rig = rig.killed(options(64 << 20));
    assert_eq!((rig.version("a1", ""), rig.version("bb3", "")), (Some(2), Some(2)));
    // Where something is newer than the purges that are known, purges were lost: nothing is believed.
    let rig = rig.killed_after(options(64 << 20), &PurgeTable::default());
    assert_eq!((rig.version("a1", ""), rig.version("c5", "")), (None, None));
    rig.put("c5", "", 3, 10);
    rig.tier().flush();
    assert_eq!(rig.version("c5", ""), Some(3));
    rig.store.purge_all(PurgeKind::Hard);
    assert_eq!(rig.version("c5", ""), None);
}

#[test]
fn a_purge_between_fetch_and_write_holds() {
    let rig = Rig::of(64 << 20);
    let fetched = head(key("late"), "", 1, rig.store.stamp());
    rig.store.purge_key(&key("late"), PurgeKind::Hard);
    assert!(rig.store.insert(Stored::new(fetched, Body::from_bytes(content("late", 1, 10)))).is_err());
    let fetched = Arc::new(head(key("pieces"), "", 1, rig.store.stamp()));
    let mut writer = rig.store.start_on_disk(&fetched, None).unwrap();
    writer.append(content("pieces", 1, 10));
    rig.store.purge_zone(0, PurgeKind::Hard);
    writer.finish(None);
    rig.tier().flush();
    assert_eq!((rig.version("late", ""), rig.version("pieces", "")), (None, None));
    assert_eq!(rig.tier().counts().dropped_purged, 2);
}

#[test]
fn objects_in_pieces_are_whole_or_not_there() {
    let rig = Rig::of(8 << 20);
    let pieces = |text: &str, bytes: usize| {
        let head = Arc::new(head(key(text), "", 1, rig.store.stamp()));
        let mut writer = rig.store.start_on_disk(&head, None)?;
        let whole = content(text, 1, bytes);
        let taken = whole.chunks(70_001).all(|piece| writer.append(Bytes::copy_from_slice(piece)));
        Some((writer, taken))
    };
    for bytes in [0, 1, 262_144, 2_000_000] {
        let text = format!("pieces {bytes}");
        let (writer, taken) = pieces(&text, bytes).unwrap();
        assert!(taken);
        writer.finish(None);
        rig.tier().flush();
        assert_eq!(rig.version(&text, ""), Some(1));
    }
    let (writer, _) = pieces("dropped", 500_000).unwrap();
    drop(writer);
    let (writer, taken) = pieces("too large", 5_000_000).unwrap();
    assert!(!taken);
    writer.finish(None);
    // This one is still open when the process is killed.
    let (open, _) = pieces("open", 500_000).unwrap();
    rig.tier().flush();
    assert_eq!((rig.version("dropped", ""), rig.version("too large", "")), (None, None));
    assert_eq!(rig.tier().counts().refused_object_bytes_max, 1);
    let next = Rig::new(&rig.disk.after_kill(2), options(8 << 20), 0, &PurgeTable::default());
    next.tier().flush();
    assert_eq!((next.version("open", ""), next.version("pieces 2000000", "")), (None, Some(1)));
    assert_eq!(next.tier().counts().recovered_dropped, 1);
    drop(open);
}

#[test]
fn a_renewed_object_has_new_fields_and_the_old_body() {
    let rig = Rig::of(64 << 20);
    fill_sizes(&rig);
    for (text, bytes) in [("size 300000", 300_000), ("size 3000000", 3_000_000)] {
        let (old, _) = rig.find(&key(text), "").unwrap();
        assert!(old.body().on_disk().is_some());
        let mut new = head(key(text), "", old.meta, rig.store.stamp());
        new.stored_at = 77;
        let new = rig.store.replace(&old, new).unwrap();
        assert_eq!(new.stored_at, 77);
        rig.tier().flush();
        let renewed = rig.find(&key(text), "").unwrap().0;
        assert_eq!((renewed.stored_at, renewed.body().len()), (77, bytes));
        assert!(rig.version(text, "").is_some() && read(&old, 0..bytes).is_some());
    }
    assert_eq!(rig.tier().counts().renewals, 2);
    let rig = rig.killed(options(64 << 20));
    assert_eq!(rig.find(&key("size 3000000"), "").unwrap().0.stored_at, 77);
    check_sizes(&rig);
}

#[test]
fn once_full_only_what_is_asked_for_twice_is_written() {
    let rig = Rig::of(4 << 20);
    for number in 0..400 {
        rig.put(&format!("fill {number}"), "", 1, 20_000);
        rig.tier().flush();
    }
    let before = rig.tier().counts();
    assert!(before.refused_once > 0, "{before:?}");
    rig.put("again", "", 1, 1_000);
    rig.tier().flush();
    assert_eq!(rig.version("again", ""), None);
    rig.put("again", "", 2, 1_000);
    rig.tier().flush();
    assert_eq!(rig.version("again", ""), Some(2));
}

#[test]
fn what_is_used_is_spared_and_a_scan_passes() {
    let rig = Rig::of(4 << 20);
    for number in 0..20 {
        rig.put(&format!("hot {number}"), "", 1, 2_000);
    }
    rig.tier().flush();
    for scan in 0..1_500 {
        let text = format!("scan {scan}");
        rig.put(&text, "", 1, 10_000);
        rig.put(&text, "", 1, 10_000);
        if scan % 10 == 0 {
            rig.tier().flush();
            for number in 0..20 {
                rig.version(&format!("hot {number}"), "");
            }
        }
    }
    rig.tier().flush();
    let hot = (0..20).filter(|number| rig.version(&format!("hot {number}"), "").is_some()).count();
    let counts = rig.tier().counts();
    assert_eq!(hot, 20, "{counts:?}");
    assert!(counts.spared > 0);
}

#[test]
fn memory_takes_what_is_asked_for_again_and_never_the_older_one() {
    let rig = Rig::new(&Disk::new(1), options(64 << 20), 1 << 20, &PurgeTable::default());
    rig.tier().flush();
    let (small, memory) = (key("x"), rig.store.limits().memory_bytes_max);
    rig.put("x", "", 1, 1_000);
    rig.tier().flush();
    let in_memory = rig.store.lookup(&small, |_| true).unwrap().stored;
    assert!(in_memory.is_on_disk() && memory > 0);
    rig.store.remove_from_memory(&in_memory);
    assert_eq!(rig.version("x", ""), Some(1));
    assert!(rig.store.lookup(&small, |_| true).is_none(), "asked for once");
    assert_eq!(rig.version("x", ""), Some(1));
    let promoted = rig.store.lookup(&small, |_| true).expect("asked for twice").stored;
    assert_eq!((promoted.meta, rig.tier().counts().promotions), (1, 1));
    rig.store.remove_from_memory(&promoted);
    // Found on disk, then replaced before it is put to use.
    let DiskLookup::Found(found) = rig.store.lookup_disk(&small, |_| true) else { panic!("it is there") };
    rig.put("x", "", 2, 1_000);
    assert_eq!(rig.store.use_found(found).stored.meta, 1);
    assert_eq!(rig.version("x", ""), Some(2));
    // Used in memory while the disk does not have it.
    rig.tier().flush();
    let newest = rig.store.lookup(&small, |_| true).unwrap().stored;
    rig.store.remove_on_disk(&newest);
    newest_is_offered_again(&rig, &newest);
}

/// What a full memory would have to push out what returns sooner for stays where it is.
#[test]
fn a_full_memory_takes_only_what_returns_soon() {
    const OBJECTS: u64 = 16_000;
    let rig = Rig::new(&Disk::new(1), options(64 << 20), 256 << 10, &PurgeTable::default());
    rig.tier().flush();
    for number in 0..OBJECTS {
        rig.put(&number.to_string(), "", 1, 200);
    }
    rig.tier().flush();
    for number in (0..OBJECTS).chain(0..OBJECTS) {
        assert_eq!(rig.version(&number.to_string(), ""), Some(1), "{number}");
    }
    let counts = rig.tier().counts();
    assert_eq!(counts.promotions, 0, "each was asked for again, but long after");
    for _ in 0..2 {
        assert!(rig.store.lookup(&key("5"), |_| true).is_none());
        assert_eq!(rig.version("5", ""), Some(1));
    }
    let promoted = rig.store.lookup(&key("5"), |_| true).expect("asked for twice in a row").stored;
    assert!(!promoted.body().is_lent(), "it would keep a buffer");
    // A 304 brings another such response into memory.
    let DiskLookup::Found(found) = rig.store.lookup_disk(&key("7"), |_| true) else { panic!("it is there") };
    let stored = rig.store.use_found(found).stored;
    assert!(stored.body().is_lent());
    let renewed = rig.store.replace(&stored, head(key("7"), "", 1, rig.store.stamp())).expect("room");
    assert!(!renewed.body().is_lent(), "it would keep a buffer");
}

fn newest_is_offered_again(rig: &Rig, newest: &Stored<Version>) {
    let again = Arc::new(Stored::new(head(key("x"), "", newest.meta, rig.store.stamp()), newest.body().clone()));
    rig.store.insert_in_memory(&again, Coming::Fetched).unwrap();
    rig.store.offer_used(&again);
    rig.tier().flush();
    assert!(again.is_on_disk());
    rig.store.remove_from_memory(&rig.store.lookup(&key("x"), |_| true).unwrap().stored);
    assert_eq!(rig.version("x", ""), Some(2));
}

#[test]
fn a_failing_disk_is_left_alone_and_tried_again() {
    let disk = Disk::new(3);
    let slow = DiskOptions { pause: Duration::from_secs(3_600), ..options(8 << 20) };
    let rig = Rig::new(&disk, slow, 0, &PurgeTable::default());
    rig.tier().flush();
    rig.put("before", "", 1, 100);
    rig.tier().flush();
    disk.plan(Plan { torn_writes: 1_000, failed_reads: 1_000, ..Plan::default() });
    for number in 0..10 {
        rig.put(&format!("k{number}"), "", 1, 100);
        rig.tier().flush();
    }
    let counts = rig.tier().counts();
    assert_eq!((counts.dropped_error, counts.writable, counts.readable, counts.pauses), (3, 0, 1, 1), "{counts:?}");
    assert_eq!(counts.dropped_off, 7);
    let rig = rig.killed(options(8 << 20));
    assert_eq!(rig.version("before", ""), Some(1));
    // With no pause at all, a trial follows each failure.
    rig.disk.plan(Plan { torn_writes: 1_000, ..Plan::default() });
    for number in 0..5 {
        rig.put(&format!("k{number}"), "", 1, 100);
        rig.tier().flush();
    }
    rig.disk.plan(Plan::default());
    until(|| rig.tier().is_writable());
    rig.put("after", "", 1, 100);
    rig.tier().flush();
    assert_eq!((rig.version("before", ""), rig.version("after", "")), (Some(1), Some(1)));
}

/// Waits for another thread without a clock.
fn until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

#[test]
fn reads_that_fail_or_lie_are_misses() {
    let rig = Rig::of(8 << 20);
    let put = |text: &str| {
        rig.put(text, "", 1, 100);
        rig.tier().flush();
    };
    put("flipped");
    rig.disk.plan(Plan { flipped_reads: 1_000, ..Plan::default() });
    assert_eq!(rig.version("flipped", ""), None);
    rig.disk.plan(Plan::default());
    assert_eq!(rig.version("flipped", ""), None, "it is not trusted any more");
    for number in 0..3 {
        put(&format!("k{number}"));
    }
    rig.disk.plan(Plan { failed_reads: 1_000, ..Plan::default() });
    for number in 0..3 {
        assert_eq!(rig.version(&format!("k{number}"), ""), None);
    }
    rig.disk.plan(Plan::default());
    until(|| rig.tier().is_readable());
    let counts = rig.tier().counts();
    assert_eq!((counts.errors_verify, counts.errors_read, counts.pauses), (1, 3, 1));
    put("new");
    assert_eq!(rig.version("new", ""), Some(1));
}

#[test]
fn a_disk_that_others_fill_costs_objects_only() {
    let disk = Disk::new(4);
    let rig = Rig::new(&disk, options(8 << 20), 0, &PurgeTable::default());
    rig.tier().flush();
    disk.plan(Plan { capacity: 1 << 20, ..Plan::default() });
    for number in 0..200 {
        rig.put(&format!("k{number}"), "", 1, 20_000);
        rig.tier().flush();
        assert!(disk.bytes() <= 1 << 20);
    }
    let counts = rig.tier().counts();
    assert!(counts.errors_full > 0 && counts.entries > 0, "{counts:?}");
    let wrong = (0..200).filter(|number| rig.version(&format!("k{number}"), "").is_some_and(|v| v != 1)).count();
    assert_eq!(wrong, 0);
}

#[test]
fn a_second_process_waits_for_the_first() {
    let first = Rig::of(8 << 20);
    first.put("a", "", 1, 100);
    first.tier().flush();
    let second = Rig::new(&first.disk, options(8 << 20), 0, &PurgeTable::default());
    assert!(!second.tier().is_writable() && !second.tier().is_readable());
    assert_eq!(second.version("a", ""), None);
    // A purge while it waits is not forgotten, nor that something was replaced.
    first.put("b", "", 1, 100);
    first.tier().flush();
    second.put("b", "", 2, 100);
    second.store.purge_key(&key("a"), PurgeKind::Hard);
    first.put("c", "", 1, 100);
    first.tier().close();
    second.tier().flush();
    assert_eq!((second.version("a", ""), second.version("b", ""), second.version("c", "")), (None, None, Some(1)));
    second.tier().close();
    assert_eq!(first.tier().counts().readable, 0);
}

#[test]
fn another_seed_an_unusable_folder_and_strange_files() {
    let rig = Rig::of(8 << 20);
    fill_sizes(&rig);
    let disk = rig.disk.after_kill(1);
    disk.edit("00000001.seg", |bytes| bytes[20] ^= 1);
    disk.create("d/other.txt".as_ref()).unwrap();
    disk.create("d/00000099.seg".as_ref()).unwrap();
    disk.plan(Plan { no_folder: true, ..Plan::default() });
    let next = Rig::new(&disk, options(8 << 20), 0, &PurgeTable::default());
    until(|| next.tier().counts().errors_read > 1);
    assert!(!next.tier().is_readable());
    disk.plan(Plan::default());
    next.tier().flush();
    assert!(next.tier().is_readable());
    let counts = next.tier().counts();
    assert_eq!(counts.recovered_dropped, 2, "one of another version, one empty");
    assert!(disk.files().iter().any(|(name, _)| name == "other.txt"), "what is not ours is left alone");
    // More than the bound allows: the oldest goes.
    let small = Rig::new(&rig.disk.after_kill(1), options(2 << 20), 0, &PurgeTable::default());
    small.tier().flush();
    let counts = small.tier().counts();
    assert!(counts.bytes <= 2 << 20 && counts.recovered_dropped > 0, "{counts:?}");
}

#[test]
fn the_queue_is_bounded() {
    let rig =
        Rig::new(&Disk::new(1), DiskOptions { queue_bytes_max: 5_000, ..options(8 << 20) }, 0, &PurgeTable::default());
    rig.tier().flush();
    rig.put("large", "", 1, 10_000);
    assert_eq!(rig.tier().counts().dropped_queue_bytes_max, 1);
    rig.put("small", "", 1, 1_000);
    rig.tier().flush();
    assert_eq!((rig.version("large", ""), rig.version("small", "")), (None, Some(1)));
    assert_eq!(rig.tier().counts().queue_bytes, 0);
}

/// Runs `work` while the writer waits for the file that it writes to.
fn while_writer_waits(rig: &Rig, work: impl FnOnce()) {
    rig.put("first", "", 1, 10);
    rig.tier().flush();
    let active = rig.disk.files().into_iter().map(|(name, _)| name).find(|name| name.ends_with(".seg")).unwrap();
    rig.disk.edit(&active, |_| work());
    rig.tier().flush();
}

#[test]
fn what_was_replaced_before_it_was_written_never_comes() {
    let rig = Rig::of(8 << 20);
    while_writer_waits(&rig, || {
        rig.put("grown", "", 1, 100);
        // Too large for the disk: nothing takes the first one's place there.
        rig.put("grown", "", 2, 5 << 20);
        let gone = Arc::new(Stored::new(head(key("gone"), "", 1, rig.store.stamp()), Body::default()));
        let _ = rig.store.insert_shared(&gone);
        rig.store.remove(&gone);
        rig.put("renewed", "", 1, 100);
        rig.put("renewed", "", 2, 100);
    });
    let versions = |rig: &Rig| ["grown", "gone", "renewed"].map(|text| rig.version(text, ""));
    assert_eq!(versions(&rig), [None, None, Some(2)]);
    assert_eq!(versions(&rig.killed(options(8 << 20))), [None, None, Some(2)]);
}

#[test]
fn a_note_that_could_not_be_written_is_written_later() {
    let rig = Rig::of(8 << 20);
    rig.put("gone", "", 1, 100);
    rig.tier().flush();
    rig.disk.plan(Plan { torn_writes: 1_000, ..Plan::default() });
    rig.store.remove(&rig.find(&key("gone"), "").unwrap().0);
    rig.tier().flush();
    rig.disk.plan(Plan::default());
    // The second is answered after what waited was tried again.
    rig.tier().flush();
    rig.tier().flush();
    assert_eq!(rig.killed(options(8 << 20)).version("gone", ""), None);
}

#[test]
fn memory_does_not_answer_with_what_the_disk_has_newer() {
    let disk = Disk::new(1);
    let rig = Rig::new(&disk, options(64 << 20), 1 << 20, &PurgeTable::default());
    rig.tier().flush();
    rig.put("grown", "", 1, 100);
    rig.put("grown", "", 2, 2 << 20);
    assert_ne!(rig.version("grown", ""), Some(1), "too large for memory");
    rig.tier().flush();
    assert_eq!(rig.version("grown", ""), Some(2));
    rig.put("pieces", "", 1, 100);
    let mut newer = head(key("pieces"), "", 2, rig.store.stamp());
    newer.stored_at = 2;
    let mut writer = rig.store.start_on_disk(&Arc::new(newer), None).unwrap();
    writer.append(content("pieces", 2, 3 << 20));
    writer.finish(None);
    rig.tier().flush();
    assert_eq!(rig.version("pieces", ""), Some(2));
}

#[test]
fn large_heads_count_while_they_wait() {
    let rig = Rig::new(
        &Disk::new(1),
        DiskOptions { queue_bytes_max: 100_000, ..options(8 << 20) },
        0,
        &PurgeTable::default(),
    );
    rig.tier().flush();
    while_writer_waits(&rig, || {
        rig.put("waits", "", 1, 10);
        let taken = (0..10).filter(|number| {
            let mut large = head(key("large"), "", *number, rig.store.stamp());
            large.frozen_head = vec![b'x'; 60_000].into();
            rig.store.start_on_disk(&Arc::new(large), None).is_some()
        });
        assert_eq!(taken.count(), 1);
    });
}

#[test]
fn many_variants_are_told_apart_by_their_heads() {
    for cold_reads in [0, 1_000] {
        let rig = Rig::of(64 << 20);
        for number in 0..40 {
            rig.put("many", &format!("v{number}"), number, 200_000);
        }
        rig.tier().flush();
        rig.disk.plan(Plan { cold_reads, ..Plan::default() });
        let read_for = |variant: &str, expected| {
            let before = rig.tier().counts().read_bytes;
            assert_eq!(rig.version("many", variant), expected, "{variant}");
            rig.tier().counts().read_bytes - before
        };
        assert!(read_for("none", None) < 40 * 20_000, "no body is read in vain");
        assert!(read_for("v0", Some(0)) < 40 * 20_000 + 400_000);
    }
}

#[test]
fn renewals_do_not_grow_without_end() {
    let rig = Rig::of(16 << 20);
    rig.put("large", "", 0, 1_000_000);
    rig.tier().flush();
    let mut renewed = 0;
    for number in 1..60 {
        let Some((stored, _)) = rig.find(&key("large"), "") else { break };
        let mut newer = head(key("large"), "", 0, rig.store.stamp());
        (newer.stored_at, newer.frozen_head) = (number, vec![b'x'; 60_000].into());
        let _ = rig.store.replace(&stored, newer);
        rig.tier().flush();
        renewed = number;
        assert!(rig.disk.bytes() < 3_000_000, "after {number}");
    }
    assert!(renewed > 10 && rig.version("large", "").is_none(), "{renewed}");
    assert_eq!(rig.killed(options(16 << 20)).version("large", ""), None);
}

#[test]
fn what_was_purged_is_no_other_variant() {
    let rig = Rig::of(8 << 20);
    rig.put("a", "x", 1, 100);
    rig.tier().flush();
    let other_variants = || match rig.store.lookup_disk(&key("a"), |_| false) {
        DiskLookup::Missing { other_variants } => other_variants,
        found => panic!("{found:?}"),
    };
    assert!(other_variants());
    rig.store.purge_key(&key("a"), PurgeKind::Hard);
    assert!(!other_variants());
}
