//! Quotas of memory: who at its quota gives something up, and that every byte is counted.

use crate::quota::{ZoneQuota, ZoneUse};
use crate::shard::Shard;
use crate::testing::{Random, Version, head, key, store, stored};
use crate::{PurgeKind, Refused, Store, StoreLimits, Stored};
use std::sync::Arc;

/// A text of zone 0 or 1.
fn text(zone: u32, number: u64) -> String {
    let text = format!("z /{number:06}");
    if zone == key(&text).zone { text } else { text + "x" }
}

fn quota(zone: u32, memory_bytes_max: u64) -> ZoneQuota {
    ZoneQuota { zone, memory_bytes_max, disk_bytes_max: 0 }
}

fn put(store: &Store<Version>, zone: u32, number: u64, bytes: usize) -> Result<Arc<Stored<Version>>, Refused> {
    store.insert(stored(store, &text(zone, number), "", number, bytes))
}

fn of(store: &Store<Version>, zone: u32) -> ZoneUse {
    store.zone_uses().into_iter().find(|of| of.zone == zone).unwrap_or_default()
}

fn found(store: &Store<Version>, zone: u32, numbers: std::ops::Range<u64>) -> usize {
    numbers.filter(|number| store.lookup(&key(&text(zone, *number)), |_| true).is_some()).count()
}

/// What is counted is what is there.
#[track_caller]
fn check_counts(store: &Store<Version>, numbers: u64) {
    let mut all = 0;
    for zone in [0, 1] {
        let there = (0..numbers).flat_map(|number| store.variants(&key(&text(zone, number))));
        let costs: Vec<u64> = there.map(|stored| Shard::cost(&stored)).collect();
        let counted = of(store, zone).memory;
        assert_eq!((counted.objects, counted.bytes), (costs.len() as u64, costs.iter().sum()), "zone {zone}");
        all += counted.bytes;
    }
    assert_eq!(store.bytes(), all);
    for number in 0..crate::quota::SHARDS {
        let slice = &store.shards[number];
        assert_eq!(slice.held(), slice.lock().shared_bytes());
    }
}

#[test]
fn a_zone_at_its_quota_gives_up_its_own() {
    let store = store(8 << 20);
    store.set_quotas(&[quota(1, 1 << 20)], 0);
    (0..100).for_each(|number| drop(put(&store, 0, number, 10_000).unwrap()));
    for number in 0..1_000 {
        put(&store, 1, number, 10_000).unwrap();
        assert!(of(&store, 1).memory.bytes <= 1 << 20);
    }
    assert_eq!(found(&store, 0, 0..100), 100);
    let counts = of(&store, 1).memory;
    assert!(counts.bytes > (1 << 20) - 12_000 && counts.evicted_quota == 1_000 - counts.objects, "{counts:?}");
    assert_eq!(store.counts().evicted_zone_bytes_max, counts.evicted_quota);
    check_counts(&store, 1_000);
}

#[test]
fn others_cannot_push_a_zone_below_its_quota() {
    let store = store(4 << 20);
    store.set_quotas(&[quota(1, 2 << 20)], 0);
    (0..150).for_each(|number| drop(put(&store, 1, number, 10_000).unwrap()));
    assert!(of(&store, 1).memory.bytes < 2 << 20);
    (0..5_000).for_each(|number| drop(put(&store, 0, number, 10_000).unwrap()));
    assert_eq!(found(&store, 1, 0..150), 150);
    assert!(of(&store, 0).memory.bytes > 2 << 20, "what is not used is everybody's");
    // And the other way round: what is left over is not the zone's.
    (0..5_000).for_each(|number| drop(put(&store, 1, number, 10_000).unwrap()));
    assert!(of(&store, 0).memory.bytes > (2 << 20) - 50_000, "{:?}", of(&store, 0));
    check_counts(&store, 5_000);
}

#[test]
fn quotas_that_do_not_fit_are_shared_in_proportion() {
    let store = store(4 << 20);
    store.set_quotas(&[quota(0, 6 << 20), quota(1, 2 << 20)], 0);
    for number in 0..3_000 {
        put(&store, 0, number, 5_000).unwrap();
        put(&store, 1, number, 5_000).unwrap();
    }
    let (large, small) = (of(&store, 0).memory.bytes, of(&store, 1).memory.bytes);
    assert!(large > small * 27 / 10 && large < small * 33 / 10, "{large} {small}");
    check_counts(&store, 3_000);
}

#[test]
fn what_can_never_fit_pushes_nothing_out() {
    let store = store(8 << 20);
    store.set_quotas(&[quota(1, 100_000)], 0);
    put(&store, 1, 1, 50_000).unwrap();
    assert_eq!(put(&store, 1, 2, 200_000).unwrap_err(), Refused::ZoneBytesMax);
    assert_eq!((found(&store, 1, 1..2), of(&store, 1).memory.refused_quota), (1, 1));
    put(&store, 0, 2, 200_000).unwrap();
}

#[test]
fn a_lower_quota_shrinks_what_is_there() {
    let store = store(8 << 20);
    store.set_quotas(&[quota(1, 4 << 20)], 0);
    (0..300).for_each(|number| drop(put(&store, 1, number, 10_000).unwrap()));
    store.set_quotas(&[quota(1, 1 << 20)], 0);
    assert_eq!(found(&store, 1, 0..300), 300, "lazily");
    assert_eq!(store.shrink_zones(10), 10);
    while store.shrink_zones(10) > 0 {}
    assert!(of(&store, 1).memory.bytes <= 1 << 20 && of(&store, 1).memory.objects > 80);
    store.set_quotas(&[quota(1, 500_000)], 0);
    put(&store, 1, 999, 10).unwrap();
    assert!(of(&store, 1).memory.bytes <= 500_000, "what comes shrinks it, too");
    check_counts(&store, 1_000);
}

#[test]
fn a_quota_that_comes_or_goes_takes_the_objects_along() {
    let store = store(2 << 20);
    (0..50).for_each(|number| drop(put(&store, 1, number, 10_000).unwrap()));
    (0..50).for_each(|number| drop(put(&store, 0, number, 10_000).unwrap()));
    for quotas in [&[quota(1, 600_000)][..], &[quota(0, 600_000), quota(1, 600_000)], &[quota(0, 600_000)], &[]] {
        store.set_quotas(quotas, 0);
        check_counts(&store, 50);
        assert_eq!((found(&store, 0, 0..50), found(&store, 1, 0..50)), (50, 50));
    }
    store.set_quotas(&[quota(1, 600_000)], 0);
    (100..1_000).for_each(|number| drop(put(&store, 0, number, 10_000).unwrap()));
    assert_eq!(found(&store, 1, 0..50), 50, "what was there before the quota is protected");
    store.set_quotas(&[], 0);
    assert_eq!(store.quotas.own_memory.load(std::sync::atomic::Ordering::Relaxed), 0);
    check_counts(&store, 1_000);
}

fn step(store: &Store<Version>, random: &mut Random, held: &mut Vec<Arc<Stored<Version>>>) {
    let (zone, number) = (random.below(2) as u32, random.below(60));
    match random.below(20) {
        0 => drop(store.purge_zone(zone, PurgeKind::Hard)),
        1 => drop(store.invalidate_url(&key(&text(zone, number)))),
        2 => drop(store.reclaim(40)),
        3 => {
            let mut quotas = Vec::new();
            for zone in [0, 1] {
                if random.below(2) == 0 {
                    quotas.push(quota(zone, 10_000 + random.below(150_000)));
                }
            }
            store.set_quotas(&quotas, 0);
        }
        4 => drop(store.shrink_zones(3)),
        5..8 => {
            if let Some(old) = held.pop() {
                let new = head(old.key_ref(), "", old.meta + 1, store.stamp());
                held.extend(store.replace(&old, new));
            }
        }
        8 => drop(held.pop().map(|old| store.remove(&old))),
        9..12 => drop(store.lookup(&key(&text(zone, number)), |_| true)),
        _ => held.extend(put(store, zone, number, random.below(9_000) as usize)),
    }
    held.truncate(30);
}

#[test]
fn every_byte_is_counted_whatever_happens() {
    for seed in 1..=6 {
        let store = Store::new(StoreLimits { memory_bytes_max: 200_000, ..StoreLimits::default() });
        let (mut random, mut held) = (Random(seed), Vec::new());
        for at in 0..4_000 {
            step(&store, &mut random, &mut held);
            if at % 20 == 0 {
                check_counts(&store, 60);
            }
            assert!(store.bytes() <= 200_000);
        }
        assert!(store.counts().evicted_zone_bytes_max > 20, "the run tests something: {:?}", store.counts());
        store.purge_all(PurgeKind::Hard);
        while store.counts().entries > 0 {
            store.reclaim(1_000);
        }
        assert_eq!((of(&store, 0).memory.bytes, of(&store, 1).memory.bytes), (0, 0));
        assert_eq!(store.quotas.own_memory.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}

#[test]
fn quotas_hold_while_threads_store() {
    let store = store(2 << 20);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let store = &store;
            scope.spawn(move || {
                let mut random = Random(thread);
                for number in 0..2_000 {
                    if thread == 0 && number % 50 == 0 {
                        store.set_quotas(&[quota(1, 200_000 + 100_000 * (number / 50 % 3))], 0);
                    }
                    let zone = random.below(2) as u32;
                    let _ = put(store, zone, random.below(300), random.below(8_000) as usize);
                    assert!(store.bytes() <= 2 << 20);
                }
            });
        }
    });
    check_counts(&store, 300);
}
