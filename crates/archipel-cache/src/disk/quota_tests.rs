//! Quotas of the disk: a zone at its quota gives up its own, and what is counted is what is there, also after a restart.

use super::DiskOptions;
use super::faults::{Disk, Plan};
use super::tier_tests::{Rig, options};
use crate::quota::{TierUse, ZoneQuota};
use crate::testing::{Random, key};
use crate::{PurgeKind, PurgeTable};
use std::collections::BTreeMap;

const BYTES_MAX: u64 = 32 << 20;

/// A text of zone 0 or 1.
fn text(zone: u32, number: u64) -> String {
    let text = format!("z /{number:06}");
    if zone == key(&text).zone { text } else { text + "x" }
}

fn quota(zone: u32, disk_bytes_max: u64) -> ZoneQuota {
    ZoneQuota { zone, memory_bytes_max: 0, disk_bytes_max }
}

fn plain() -> DiskOptions {
    DiskOptions { queue_bytes_max: 256 << 20, ..options(BYTES_MAX) }
}

fn rig(disk: &Disk, past: &PurgeTable, quotas: &[ZoneQuota]) -> Rig {
    let rig = Rig::with_quotas(disk, plain(), 0, past, quotas);
    rig.tier().flush();
    rig
}

fn again(old: Rig, quotas: &[ZoneQuota]) -> Rig {
    let past = old.store.purge_table();
    rig(&old.disk.after_kill(5), &past, quotas)
}

fn of(rig: &Rig, zone: u32) -> TierUse {
    rig.store.zone_uses().into_iter().find(|of| of.zone == zone).map(|of| of.disk).unwrap_or_default()
}

fn put(rig: &Rig, zone: u32, numbers: std::ops::Range<u64>, bytes: usize) {
    for number in numbers {
        let text = text(zone, number);
        // Twice, as a full disk takes what is asked for again.
        rig.put(&text, "", 1, bytes);
        rig.put(&text, "", 1, bytes);
        if number % 16 == 0 {
            rig.tier().flush();
        }
    }
    rig.tier().flush();
}

fn found(rig: &Rig, zone: u32, numbers: std::ops::Range<u64>) -> usize {
    numbers.filter(|number| rig.version(&text(zone, *number), "").is_some()).count()
}

/// The index and the files say what is counted.
#[track_caller]
fn check_counts(rig: &Rig) {
    let mut expected: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let shelf = rig.tier().shelf();
    for (zone, segment) in shelf.segments.owned() {
        expected.entry(zone).or_default().1 += segment;
    }
    for (slot, bytes) in shelf.index.counted() {
        let zone = shelf.quotas.at(slot).unwrap().zone;
        let of_zone = expected.entry(zone).or_default();
        of_zone.0 += 1;
        of_zone.1 += bytes;
    }
    for zone in [0, 1] {
        let expected = expected.get(&zone).copied().unwrap_or_default();
        assert_eq!((of(rig, zone).objects, of(rig, zone).bytes), expected, "zone {zone}");
    }
    let counts = rig.tier().counts();
    assert_eq!(counts.entries, of(rig, 0).objects + of(rig, 1).objects);
    assert!(counts.bytes <= BYTES_MAX, "{counts:?}");
}

#[test]
fn a_zone_at_its_quota_gives_up_its_own() {
    let rig = rig(&Disk::new(1), &PurgeTable::default(), &[quota(1, 4 << 20)]);
    put(&rig, 0, 0..100, 20_000);
    for start in (0..800).step_by(100) {
        put(&rig, 1, start..start + 100, 20_000);
        check_counts(&rig);
        assert!(of(&rig, 1).bytes <= 4 << 20, "{:?}", of(&rig, 1));
    }
    assert_eq!(found(&rig, 0, 0..100), 100);
    assert!(of(&rig, 1).objects > 120 && of(&rig, 1).evicted_quota > 0, "{:?}", of(&rig, 1));
    let rig = again(rig, &[quota(1, 4 << 20)]);
    check_counts(&rig);
    assert_eq!(found(&rig, 0, 0..100), 100);
    assert!(of(&rig, 1).objects > 120 && of(&rig, 1).bytes <= 4 << 20);
}

#[test]
fn others_cannot_push_a_zone_below_its_quota() {
    let rig = rig(&Disk::new(1), &PurgeTable::default(), &[quota(1, 8 << 20)]);
    put(&rig, 1, 0..150, 20_000);
    let before = of(&rig, 1);
    put(&rig, 0, 0..4_000, 20_000);
    assert_eq!(of(&rig, 1), before);
    assert_eq!(found(&rig, 1, 0..150), 150);
    // What the zone does not use is everybody's until it does.
    assert!(of(&rig, 0).bytes > 20 << 20, "{:?}", of(&rig, 0));
    put(&rig, 1, 1_000..1_400, 20_000);
    assert!(of(&rig, 1).bytes > 7 << 20 && of(&rig, 0).bytes > 18 << 20, "{:?} {:?}", of(&rig, 1), of(&rig, 0));
    check_counts(&rig);
}

#[test]
fn large_objects_count_with_their_files() {
    let rig = rig(&Disk::new(1), &PurgeTable::default(), &[quota(1, 4 << 20)]);
    put(&rig, 0, 0..20, 300_000);
    put(&rig, 1, 0..40, 300_000);
    check_counts(&rig);
    assert_eq!(found(&rig, 0, 0..20), 20);
    assert!(of(&rig, 1).objects >= 8 && of(&rig, 1).bytes <= 4 << 20, "{:?}", of(&rig, 1));
    // Larger than half of the quota: it would push out most of the rest.
    let before = of(&rig, 1).objects;
    put(&rig, 1, 100..101, 3 << 20);
    assert_eq!((found(&rig, 1, 100..101), of(&rig, 1).refused_quota > 0), (0, true));
    assert_eq!(of(&rig, 1).objects, before);
    put(&rig, 0, 100..101, 3 << 20);
    assert_eq!(found(&rig, 0, 100..101), 1);
    check_counts(&again(rig, &[quota(1, 4 << 20)]));
}

#[test]
fn a_lower_quota_shrinks_what_is_there() {
    let rig = rig(&Disk::new(1), &PurgeTable::default(), &[quota(1, 12 << 20)]);
    put(&rig, 1, 0..400, 20_000);
    assert!(of(&rig, 1).bytes > 7 << 20);
    rig.store.set_quotas(&[quota(1, 4 << 20)], BYTES_MAX);
    rig.tier().flush();
    assert!(of(&rig, 1).bytes <= 4 << 20 && of(&rig, 1).objects > 50, "{:?}", of(&rig, 1));
    check_counts(&rig);
    let rig = again(rig, &[quota(1, 4 << 20)]);
    assert!(of(&rig, 1).bytes <= 4 << 20);
    // Lowered while the node was down.
    let rig = again(rig, &[quota(1, 2 << 20)]);
    put(&rig, 1, 900..910, 20_000);
    assert!(of(&rig, 1).bytes <= 2 << 20, "{:?}", of(&rig, 1));
    check_counts(&rig);
}

#[test]
fn a_quota_that_comes_or_goes_leaves_nothing_old_behind() {
    let all = [&[][..], &[quota(1, 8 << 20)], &[quota(0, 8 << 20), quota(1, 8 << 20)], &[quota(0, 8 << 20)]];
    for (from, to) in (0..4).flat_map(|from| (0..4).map(move |to| (from, to))) {
        for down in [false, true] {
            let (from, to) = (all[from], all[to]);
            let rig = rig(&Disk::new(1), &PurgeTable::default(), from);
            for zone in [0, 1] {
                put(&rig, zone, 0..30, 20_000);
                put(&rig, zone, 30..33, 300_000);
            }
            let rig = if down {
                again(rig, to)
            } else {
                rig.store.set_quotas(to, BYTES_MAX);
                rig.tier().flush();
                rig
            };
            check_counts(&rig);
            let moved = |zone| from.iter().any(|of| of.zone == zone) != to.iter().any(|of| of.zone == zone);
            for zone in [0, 1] {
                assert_eq!(found(&rig, zone, 0..33), if moved(zone) { 0 } else { 33 }, "{from:?} {to:?} {down}");
                put(&rig, zone, 0..5, 10);
            }
            // What it had before does not come back with its old quotas.
            let rig = again(rig, to);
            check_counts(&rig);
            let rig = again(rig, from);
            for zone in (0..2).filter(|zone| moved(*zone)) {
                assert_eq!(found(&rig, zone, 5..33), 0, "{from:?} {to:?} {down}");
            }
            check_counts(&rig);
        }
    }
}

fn step(rig: &Rig, random: &mut Random) {
    let (zone, number) = (random.below(2) as u32, random.below(40));
    match random.below(40) {
        0 => drop(rig.store.purge_zone(zone, PurgeKind::Hard)),
        1..4 => drop(rig.store.invalidate_url(&key(&text(zone, number)))),
        4 => {
            let mut quotas = Vec::new();
            for zone in [0, 1] {
                if random.below(2) == 0 {
                    quotas.push(quota(zone, (4 << 20) + random.below(8 << 20)));
                }
            }
            rig.store.set_quotas(&quotas, BYTES_MAX);
        }
        5..10 => drop(rig.find(&key(&text(zone, number)), "")),
        10 => rig.disk.plan(Plan { torn_writes: 30, failed_removes: 50, failed_creates: 50, ..Plan::default() }),
        11 => rig.disk.plan(Plan::default()),
        _ => rig.put(&text(zone, number), "", 1, random.below(100_000) as usize),
    }
}

#[test]
fn every_byte_is_counted_whatever_happens() {
    for seed in 1..=6 {
        let mut random = Random(seed);
        let mut rig = rig(&Disk::new(seed), &PurgeTable::default(), &[quota(1, 5 << 20)]);
        for at in 0..1_500 {
            step(&rig, &mut random);
            if at % 50 == 0 {
                rig.tier().flush();
                check_counts(&rig);
            }
            if at % 300 == 299 {
                rig.disk.plan(Plan::default());
                let quotas = [quota(random.below(2) as u32, 4 << 20)];
                rig = again(rig, &quotas);
                check_counts(&rig);
            }
        }
    }
}
