//! Opening what is left of a segment: cut at every byte, and with every byte changed.

use super::faults::{Disk, Plan};
use super::format::START_BYTES;
use super::tier_tests::{Rig, options};
use super::{DiskOptions, format};
use crate::PurgeTable;
use crate::testing::Random;

const FILE: &str = "00000001.seg";
const RECORDS: u64 = 5;

fn plain() -> DiskOptions {
    DiskOptions { threads: 0, ..options(8 << 20) }
}

/// A segment of five records that was being written, and where each record ends.
fn unsealed() -> (Disk, Vec<usize>) {
    let rig = Rig::of(8 << 20);
    let mut ends = Vec::new();
    for number in 0..RECORDS {
        rig.put(&format!("k{number}"), "", number, 40 * number as usize);
        rig.tier().flush();
        ends.push(START_BYTES as usize + rig.tier().counts().written_bytes as usize);
    }
    let disk = rig.disk.after_kill(1);
    assert_eq!(disk.files().iter().filter(|(name, _)| name == FILE).count(), 1);
    (disk, ends)
}

/// Opens a disk; every record that is found must be right. Returns which were.
fn found(disk: &Disk) -> Vec<bool> {
    let rig = Rig::new(disk, plain(), 0, &PurgeTable::default());
    rig.tier().flush();
    let found = (0..RECORDS).map(|number| {
        let version = rig.version(&format!("k{number}"), "");
        assert!(version.is_none_or(|version| version == number));
        version.is_some()
    });
    found.collect()
}

#[test]
fn a_torn_end_costs_what_was_torn() {
    let (disk, ends) = unsealed();
    for cut in 0..=ends[RECORDS as usize - 1] {
        let disk = disk.after_kill(1);
        disk.edit(FILE, |bytes| bytes.truncate(cut));
        let expected: Vec<bool> = ends.iter().map(|end| *end <= cut).collect();
        assert_eq!(found(&disk), expected, "cut at {cut}");
        // It was ended there: the next start finds the same.
        assert_eq!(found(&disk.after_kill(1)), expected, "cut at {cut}, opened again");
    }
}

#[test]
fn a_zeroed_end_costs_what_was_torn() {
    let (disk, ends) = unsealed();
    let original = disk.files().into_iter().find(|(name, _)| name == FILE).unwrap().1;
    for from in (0..=ends[RECORDS as usize - 1]).step_by(3) {
        let disk = disk.after_kill(1);
        disk.edit(FILE, |bytes| bytes[from..].fill(0));
        let found = found(&disk);
        for (record, end) in ends.iter().enumerate() {
            // Some of a record is zero anyway.
            let whole = *end <= from || original[from..*end].iter().all(|byte| *byte == 0);
            assert_eq!(found[record], whole, "zero from {from}: {found:?}");
        }
    }
}

#[test]
fn a_changed_byte_is_a_miss_or_harmless() {
    let (unsealed, ends) = unsealed();
    let sealed = unsealed.after_kill(1);
    assert_eq!(found(&sealed), [true; RECORDS as usize]);
    let sealed = sealed.after_kill(1);
    let mut random = Random(1);
    for disk in [&unsealed, &sealed] {
        let footer = format::ENTRY_BYTES * RECORDS as usize + format::TAIL_BYTES;
        for at in 0..ends[RECORDS as usize - 1] + footer {
            let disk = disk.after_kill(1);
            disk.edit(FILE, |bytes| {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            });
            // Whatever is found is right, which `found` compares.
            found(&disk);
        }
    }
}

#[test]
fn garbage_never_stops_a_start() {
    let mut random = Random(2);
    for round in 0..300 {
        let disk = Disk::new(round);
        for file in 0..random.below(4) {
            let name = format!("d/0000000{file}.seg");
            super::files::Files::create(&disk, name.as_ref()).unwrap();
            let bytes: Vec<u8> = (0..random.below(5_000)).map(|_| random.next() as u8).collect();
            disk.edit(&name[2..], |content| *content = bytes);
        }
        let rig = Rig::new(&disk, plain(), 0, &PurgeTable::default());
        rig.tier().flush();
        rig.put("k", "", 1, 100);
        rig.tier().flush();
        assert_eq!(rig.version("k", ""), Some(1));
    }
}

/// A copy under the last number, as from a backup of another folder: removed, and newer objects stay newer than older ones.
#[test]
fn a_file_from_elsewhere_does_not_turn_time_back() {
    let (disk, _) = unsealed();
    let original = disk.files().into_iter().find(|(name, _)| name == FILE).unwrap().1;
    super::files::Files::create(&disk, "d/ffffffff.seg".as_ref()).unwrap();
    disk.edit("ffffffff.seg", |content| *content = original);
    let rig = Rig::new(&disk, plain(), 0, &PurgeTable::default());
    rig.tier().flush();
    assert_eq!((rig.version("k1", ""), rig.tier().counts().recovered_dropped), (Some(1), 1));
    rig.put("k1", "", 7, 100);
    rig.tier().flush();
    let rig = rig.killed(plain());
    assert_eq!(rig.version("k1", ""), Some(7));
}

/// With a smaller bound, what is older than a segment that goes is older than what that one replaced.
#[test]
fn over_the_bound_nothing_replaced_comes_back() {
    let rig = Rig::of(64 << 20);
    rig.put("k", "", 1, 100);
    rig.tier().flush();
    let rig = rig.killed(options(64 << 20));
    rig.put("k", "", 2, 100);
    for number in 0..3 {
        rig.put(&format!("more {number}"), "", 1, 60_000);
    }
    rig.tier().flush();
    rig.tier().close();
    let disk = rig.disk.after_kill(1);
    let options = DiskOptions { bytes_max: 100_000, ..options(8 << 20) };
    let rig = Rig::new(&disk, options, 0, &PurgeTable::default());
    rig.tier().flush();
    assert_eq!(rig.version("k", ""), None);
}

/// A file of its own is completed while a segment is written whose number is lower: what the segment says of it comes later.
#[test]
fn what_was_replaced_in_an_older_file_stays_away() {
    let rig = Rig::of(64 << 20);
    rig.put("small", "", 1, 100);
    for (text, bytes) in [("invalid", 400_000), ("replaced", 400_000), ("kept", 400_000)] {
        rig.put(text, "", 2, bytes);
    }
    rig.put("replaced", "", 3, 100);
    rig.store.invalidate_url(&crate::testing::key("invalid"));
    rig.tier().flush();
    for _ in 0..2 {
        let again = Rig::new(&rig.disk.after_kill(1), options(64 << 20), 0, &PurgeTable::default());
        again.tier().flush();
        let versions = ["small", "invalid", "replaced", "kept"].map(|text| again.version(text, ""));
        assert_eq!(versions, [Some(1), None, Some(3), Some(2)]);
        again.tier().close();
    }
    // What is reclaimed first after a start is what was written first.
    rig.tier().close();
    let disk = rig.disk.after_kill(1);
    for bytes_max in (100_000..2_000_000).step_by(50_000) {
        let options = DiskOptions { bytes_max, ..options(8 << 20) };
        let rig = Rig::new(&disk.after_kill(2), options, 0, &PurgeTable::default());
        rig.tier().flush();
        assert_eq!(rig.version("invalid", ""), None, "{bytes_max}");
        assert_ne!(rig.version("replaced", ""), Some(2), "{bytes_max}");
    }
}

#[test]
fn a_disk_that_fails_while_it_is_opened_costs_objects_only() {
    for seed in 0..200 {
        let (disk, _) = unsealed();
        let disk = disk.after_kill(seed);
        disk.plan(Plan { failed_reads: 300, torn_writes: 300, failed_removes: 300, ..Plan::default() });
        let rig = Rig::new(&disk, plain(), 0, &PurgeTable::default());
        rig.tier().flush();
        disk.plan(Plan::default());
        for number in 0..RECORDS {
            assert!(rig.version(&format!("k{number}"), "").is_none_or(|version| version == number));
        }
    }
}
