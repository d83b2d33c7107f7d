//! What visitors make invalid is gone from the disk, at once and for good, and nothing else is.

use super::faults::Disk;
use super::tier_tests::{Rig, content, options};
use crate::purge::PurgeKind;
use crate::store::Coming;
use crate::testing::{head, key};
use crate::{Body, DiskLookup, PurgeTable, Stored};
use std::sync::Arc;

/// Keys of one URL, and of two others: all of one zone.
const OF_URL: [&str; 3] = ["0 /page", "0 /page deviceAA", "0 /page languageEN "];
const OTHERS: [&str; 2] = ["0 /pace", "0 /pace deviceAA"];

fn filled(memory_bytes_max: u64) -> Rig {
    let rig = Rig::new(&Disk::new(1), options(64 << 20), memory_bytes_max, &PurgeTable::default());
    rig.tier().flush();
    for text in OF_URL.iter().chain(&OTHERS) {
        rig.put(text, "", 1, 1_000);
        rig.put(text, "gzip", 2, 1_000);
    }
    rig.tier().flush();
    rig
}

#[track_caller]
fn check_gone(rig: &Rig) {
    for text in OF_URL {
        assert_eq!((rig.version(text, ""), rig.version(text, "gzip")), (None, None), "{text}");
    }
    for text in OTHERS {
        assert_eq!((rig.version(text, ""), rig.version(text, "gzip")), (Some(1), Some(2)), "{text}");
    }
}

#[test]
fn all_keys_of_a_url_go_from_both_tiers_and_stay_away_after_a_kill() {
    assert!(OF_URL.iter().chain(&OTHERS).all(|text| key(text).zone == 1 || key(text).zone == 0));
    for memory in [0, 1 << 20] {
        let rig = filled(memory);
        let of_zone = |zone| OF_URL.iter().filter(move |text| key(text).zone == zone);
        for text in of_zone(0).take(1).chain(of_zone(1).take(1)) {
            rig.store.invalidate_url(&key(text));
        }
        check_gone(&rig);
        rig.tier().flush();
        let rig = rig.killed(options(64 << 20));
        check_gone(&rig);
        let rig = rig.killed(options(64 << 20));
        check_gone(&rig);
        rig.put(OF_URL[1], "", 3, 10);
        rig.tier().flush();
        assert_eq!(rig.version(OF_URL[1], ""), Some(3));
    }
}

#[test]
fn one_key_alone_may_go() {
    let rig = filled(0);
    rig.store.invalidate_key(&key(OF_URL[1]));
    assert_eq!((rig.version(OF_URL[1], ""), rig.version(OF_URL[1], "gzip")), (None, None));
    assert_eq!((rig.version(OF_URL[0], ""), rig.version(OF_URL[2], "")), (Some(1), Some(1)));
}

#[test]
fn what_was_fetched_before_is_not_written_after() {
    let rig = filled(0);
    let text = OF_URL[1];
    let fetched = Arc::new(head(key(text), "new", 5, rig.store.stamp()));
    let mut writer = rig.store.start_on_disk(&fetched, None).unwrap();
    writer.append(content(text, 5, 10));
    rig.store.invalidate_url(&key(text));
    writer.finish(None);
    rig.tier().flush();
    assert_eq!(rig.version(text, "new"), None);
    assert_eq!(rig.tier().counts().dropped_purged, 1);
}

#[test]
fn what_waits_to_be_written_goes_too() {
    let rig = filled(1 << 20);
    let text = OF_URL[0];
    for round in 0..50 {
        rig.put(text, "", 10 + round, 100_000);
        rig.store.invalidate_url(&key(text));
    }
    rig.tier().flush();
    assert_eq!(rig.version(text, ""), None);
    let rig = rig.killed(options(64 << 20));
    assert_eq!(rig.version(text, ""), None);
}

#[test]
fn what_was_found_before_does_not_enter_memory_after() {
    let rig = filled(1 << 20);
    let small = key(OF_URL[0]);
    let pick = |stored: &Stored<u64>| stored.variant.is_empty();
    rig.store.remove_from_memory(&rig.store.lookup(&small, pick).unwrap().stored);
    assert_eq!(rig.version(OF_URL[0], ""), Some(1), "asked for once");
    let DiskLookup::Found(found) = rig.store.lookup_disk(&small, pick) else { panic!("it is there") };
    rig.store.invalidate_url(&small);
    assert_eq!(rig.store.use_found(found).stored.meta, 1, "who asked before may have it");
    assert_eq!(rig.version(OF_URL[0], ""), None);
}

#[test]
fn what_is_made_invalid_while_the_tier_opens_is_not_found_afterwards() {
    let rig = filled(0);
    let disk = rig.disk.after_kill(3);
    let past = rig.store.purge_table();
    drop(rig);
    for _ in 0..20 {
        let rig = Rig::new(&disk.after_kill(4), options(64 << 20), 0, &past);
        // Before, in the middle of, or after the opening.
        rig.store.invalidate_url(&key(OF_URL[0]));
        rig.tier().flush();
        assert_eq!(rig.version(OF_URL[0], ""), None);
        assert_eq!(rig.version(OTHERS[0], ""), Some(1));
    }
}

#[test]
fn a_flood_costs_nothing_that_is_stored_on_either_tier() {
    let rig = filled(0);
    let in_memory = Rig::new(&Disk::new(2), options(64 << 20), 16 << 20, &PurgeTable::default());
    in_memory.tier().flush();
    OTHERS.iter().for_each(|text| in_memory.put(text, "", 1, 100));
    for number in 0..100_000 {
        let text = format!("0 /{number}");
        rig.store.invalidate_url(&key(&text));
        in_memory.store.invalidate_url(&key(&text));
    }
    check_everything(&rig);
    for text in OTHERS {
        assert!(in_memory.store.lookup(&key(text), |_| true).is_some(), "{text}");
    }
    // What is in memory since before the flood goes to the disk all the same.
    let used = in_memory.store.lookup(&key(OTHERS[0]), |_| true).unwrap().stored;
    in_memory.store.remove_on_disk(&used);
    let again = Arc::new(Stored::new(head(key(OTHERS[0]), "", 7, crate::PurgeStamp(0)), used.body().clone()));
    in_memory.store.insert_in_memory(&again, Coming::Derived).unwrap();
    in_memory.store.offer_used(&again);
    in_memory.tier().flush();
    in_memory.store.remove_from_memory(&again);
    assert!(matches!(in_memory.store.lookup_disk(&key(OTHERS[0]), |_| true), DiskLookup::Found(_)));
    assert_eq!(rig.store.purges_since(0, 10).unwrap().records.len(), 0, "no records");
    let rig = rig.killed(options(64 << 20));
    check_everything(&rig);
}

#[track_caller]
fn check_everything(rig: &Rig) {
    for text in OF_URL.iter().chain(&OTHERS) {
        assert_eq!((rig.version(text, ""), rig.version(text, "gzip")), (Some(1), Some(2)), "{text}");
    }
}

#[test]
fn a_purge_before_and_a_new_fetch_after_are_told_apart() {
    let rig = filled(1 << 20);
    rig.store.purge_url(&key(OTHERS[0]), PurgeKind::Hard);
    rig.store.invalidate_url(&key(OF_URL[0]));
    let stored =
        Stored::new(head(key(OF_URL[0]), "", 9, rig.store.stamp()), Body::from_bytes(content(OF_URL[0], 9, 5)));
    rig.store.insert(stored).unwrap();
    assert_eq!((rig.version(OF_URL[0], ""), rig.version(OTHERS[0], "")), (Some(9), None));
}
