//! The store: variants, bounds, revalidation, purges, accounting.

use crate::testing::{HOSTS, Version, head, host, key, store, stored};
use crate::{
    Body, KeyRef, PurgeKind, Purged, Refused, Store, StoreLimits, Stored, cache_group, purge_group, tag_group,
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use std::sync::Arc;

/// The version that a key answers with, and `~` in front where it was purged softly.
fn get(store: &Store<Version>, text: &str) -> Option<String> {
    let found = store.lookup(&key(text), |_| true)?;
    Some(format!("{}{}", if found.soft_purged { "~" } else { "" }, found.stored.meta))
}

fn get_variant(store: &Store<Version>, text: &str, variant: &str) -> Option<Version> {
    let found = store.lookup(&key(text), |stored| *stored.variant == *variant.as_bytes())?;
    Some(found.stored.meta)
}

#[test]
fn keeps_and_finds_variants() {
    let store = store(1 << 20);
    assert_eq!(get(&store, "/a"), None);
    for (variant, version) in [("gzip", 1), ("br", 2), ("gzip", 3)] {
        store.insert(stored(&store, "/a", variant, version, 10)).unwrap();
    }
    store.insert(stored(&store, "/b", "", 9, 10)).unwrap();
    assert_eq!(get_variant(&store, "/a", "gzip"), Some(3));
    assert_eq!(get_variant(&store, "/a", "br"), Some(2));
    assert_eq!(get_variant(&store, "/a", "zstd"), None);
    assert_eq!(get(&store, "/a"), Some("3".into()), "the newest that matches");
    assert_eq!(get(&store, "/b"), Some("9".into()));
    let versions: Vec<Version> = store.variants(&key("/a")).iter().map(|stored| stored.meta).collect();
    assert_eq!(versions, [3, 2]);
    let counts = store.counts();
    assert_eq!((counts.hits, counts.misses, counts.entries, counts.inserts), (4, 2, 3, 4));
}

#[test]
fn equal_hashes_never_answer_for_each_other() {
    let store = store(1 << 20);
    let at = |text| KeyRef { hash: 42, text, zone: 0 };
    let put = |text, version| {
        let head = head(at(text), "", version, store.stamp());
        store.insert(Stored::new(head, Body::default())).unwrap();
    };
    put("/a", 1);
    assert!(store.lookup(&at("/b"), |_| true).is_none());
    put("/b", 2);
    assert!(store.lookup(&at("/a"), |_| true).is_none());
    assert_eq!(store.lookup(&at("/b"), |_| true).unwrap().stored.meta, 2);
    assert_eq!(store.counts().entries, 1);
    assert_eq!(store.purge_key(&at("/a"), PurgeKind::Hard).objects, 0);
    assert!(store.lookup(&at("/b"), |_| true).is_none(), "a purge is by hash: more goes, never less");
}

#[test]
fn bounds_variants_of_a_key() {
    let store: Store<Version> = Store::new(StoreLimits { variants_max: 3, ..StoreLimits::default() });
    for version in 0..5 {
        store.insert(stored(&store, "/a", &version.to_string(), version, 10)).unwrap();
    }
    let versions: Vec<Version> = store.variants(&key("/a")).iter().map(|stored| stored.meta).collect();
    assert_eq!(versions, [4, 3, 2]);
    assert_eq!(store.counts().evicted_variants_max, 2);
}

#[test]
fn bounds_memory_and_refuses_large_objects() {
    let limits = StoreLimits { memory_bytes_max: 100_000, object_bytes_max: 30_000, ..StoreLimits::default() };
    let store: Store<Version> = Store::new(limits);
    assert_eq!(store.insert(stored(&store, "/big", "", 1, 30_000)).unwrap_err(), Refused::ObjectBytesMax);
    for version in 0..200 {
        let text = format!("/{version}");
        store.insert(stored(&store, &text, "", version, (version as usize * 37) % 20_000)).unwrap();
        assert!(store.bytes() <= 100_000);
        assert_eq!(get(&store, &text), Some(version.to_string()), "what was stored last is there");
    }
    let counts = store.counts();
    assert_eq!(counts.entries + counts.evictions, 200);
    assert_eq!(counts.refused_object_bytes_max, 1);

    let tiny: Store<Version> = Store::new(StoreLimits { memory_bytes_max: 100, ..StoreLimits::default() });
    assert_eq!(tiny.insert(stored(&tiny, "/", "", 1, 1)).unwrap_err(), Refused::ObjectBytesMax);
}

#[test]
fn bytes_return_to_zero() {
    let store = store(1 << 20);
    for round in 0..3 {
        for version in 0..500 {
            store.insert(stored(&store, &format!("/{version}"), "", version + round, 100)).unwrap();
        }
        for version in 0..500 {
            for stored in store.variants(&key(&format!("/{version}"))) {
                assert!(store.remove(&stored));
                assert!(!store.remove(&stored));
            }
        }
        assert_eq!((store.bytes(), store.counts().entries), (0, 0));
    }
}

#[test]
fn revalidation_shares_the_body() {
    let store = store(100_000);
    let old = store.insert(stored(&store, "/a", "", 1, 60_000)).unwrap();
    let before = store.bytes();
    // There is no room for a second body of this size: it is not needed.
    let new = store.replace(&old, head(key("/a"), "", 2, store.stamp())).unwrap();
    assert_eq!(old.body().segments()[0].as_ptr(), new.body().segments()[0].as_ptr());
    assert_eq!((store.bytes(), get(&store, "/a")), (before, Some("2".into())));
    assert_eq!(store.counts().evictions, 0);

    // Vary changed: it leaves its old place, and another of the new variant.
    store.insert(stored(&store, "/a", "br", 3, 10)).unwrap();
    let new = store.replace(&new, head(key("/a"), "br", 4, store.stamp())).unwrap();
    assert_eq!(store.variants(&key("/a")).iter().map(|stored| stored.meta).collect::<Vec<_>>(), [4]);

    // Evicted meanwhile: stored again.
    assert!(store.remove(&new));
    store.replace(&new, head(key("/a"), "br", 5, store.stamp())).unwrap();
    assert_eq!(get(&store, "/a"), Some("5".into()));

    // Purged meanwhile: not.
    let stamp = store.stamp();
    store.purge_key(&key("/a"), PurgeKind::Hard);
    assert_eq!(store.replace(&new, head(key("/a"), "br", 6, stamp)).unwrap_err(), Refused::Purged);
    assert_eq!((get(&store, "/a"), store.bytes()), (None, 0));
}

/// One purge, and what becomes of `/a` (zone 0, host b) and `/bb` (zone 1, host a), stored before and under way.
fn check_purge(purge: impl Fn(&Store<Version>) -> Purged, a: Option<&str>, bb: Option<&str>) {
    let store = store(1 << 20);
    let wanted = |text: Option<&str>| text.map(str::to_owned);
    let before = [stored(&store, "/a", "", 1, 10), stored(&store, "/bb", "", 1, 10)];
    let under_way = [stored(&store, "/a", "", 1, 10), stored(&store, "/bb", "", 1, 10)];
    for object in before {
        store.insert(object).unwrap();
    }
    let sequence = store.stamp().sequence();
    purge(&store);
    assert_eq!(store.stamp().sequence(), sequence + 1);
    assert_eq!((get(&store, "/a"), get(&store, "/bb")), (wanted(a), wanted(bb)), "stored");
    assert_eq!((get(&store, "/a"), get(&store, "/bb")), (wanted(a), wanted(bb)), "stored, a second time");
    for (object, expected) in under_way.into_iter().zip([a, bb]) {
        let text = object.key.clone();
        assert_eq!(store.insert(object).is_ok(), expected.is_some(), "under way {text}");
        assert_eq!(get(&store, &text), wanted(expected), "under way {text}");
    }
    for text in ["/a", "/bb"] {
        store.insert(stored(&store, text, "", 2, 10)).unwrap();
        assert_eq!(get(&store, text), Some("2".into()), "fetched afterwards {text}");
    }
}

#[test]
fn purges() {
    use PurgeKind::{Hard, Soft};
    assert_eq!((key("/a").zone, key("/bb").zone), (0, 1));
    let [host_a, host_b] = HOSTS.map(purge_group);
    assert_eq!((host("/a"), host("/bb")), (host_b, host_a));
    check_purge(|store| store.purge_key(&key("/a"), Hard), None, Some("1"));
    check_purge(|store| store.purge_key(&key("/a"), Soft), Some("~1"), Some("1"));
    check_purge(|store| store.purge_zone(0, Hard), None, Some("1"));
    check_purge(|store| store.purge_zone(1, Soft), Some("1"), Some("~1"));
    check_purge(|store| store.purge_host(1, host_a, Hard), Some("1"), None);
    check_purge(|store| store.purge_host(0, host_b, Soft), Some("~1"), Some("1"));
    check_purge(|store| store.purge_all(Hard), None, None);
    check_purge(|store| store.purge_all(Soft), Some("~1"), Some("~1"));
    check_purge(|store| store.purge_zone(7, Hard), Some("1"), Some("1"));
    check_purge(|store| store.purge_key(&key("/c"), Hard), Some("1"), Some("1"));
    check_purge(|store| store.purge_url(&key("/a"), Hard), None, Some("1"));
    check_purge(|store| store.purge_url(&key("00 /a mobile"), Soft), Some("~1"), Some("1"));
    check_purge(|store| store.purge_url(&key("/a?b"), Hard), Some("1"), Some("1"));
    check_purge(|store| store.purge_prefix(1, "", "/bb", Hard), Some("1"), None);
    check_purge(|store| store.purge_prefix(0, "", "/a/", Soft), Some("~1"), Some("1"));
    check_purge(|store| store.purge_prefix(0, "", "/b", Hard), Some("1"), Some("1"));
    check_purge(|store| store.purge_prefix(0, "a.example", "/a", Hard), Some("1"), Some("1"));
    // Version 1 has the tags a1 and b1.
    check_purge(|store| store.purge_tag(0, tag_group(0, b"A1"), Hard), None, Some("1"));
    check_purge(|store| store.purge_tag(1, tag_group(1, b"b1"), Soft), Some("1"), Some("~1"));
    check_purge(|store| store.purge_tag(0, tag_group(0, b"a2"), Hard), Some("1"), Some("1"));
    check_purge(|store| store.purge_tag(0, cache_group(0, "", "", "a1"), Hard), Some("1"), Some("1"));
}

#[test]
fn soft_then_hard_then_renewed() {
    let store = store(1 << 20);
    let old = store.insert(stored(&store, "/a", "", 1, 10)).unwrap();
    store.purge_all(PurgeKind::Soft);
    assert_eq!(get(&store, "/a"), Some("~1".into()));
    let new = store.replace(&old, head(key("/a"), "", 2, store.stamp())).unwrap();
    assert_eq!(get(&store, "/a"), Some("2".into()), "revalidated after the purge");
    let early = store.stamp();
    store.purge_zone(0, PurgeKind::Soft);
    let newer = store.replace(&new, head(key("/a"), "", 3, early)).unwrap();
    assert_eq!(get(&store, "/a"), Some("~3".into()), "revalidated before the purge");
    store.purge_zone(0, PurgeKind::Hard);
    assert_eq!(get(&store, "/a"), None);
    assert!(!store.remove(&newer));
    let counts = store.counts();
    assert_eq!((counts.entries, counts.bytes, counts.purged_reclaimed, counts.purges_scope), (0, 0, 1, 3));
}

#[test]
fn purge_by_key_counts_objects() {
    let store = store(1 << 20);
    for variant in ["a", "b", "c"] {
        store.insert(stored(&store, "/a", variant, 1, 10)).unwrap();
    }
    let soft = store.purge_key(&key("/a"), PurgeKind::Soft);
    let hard = store.purge_key(&key("/a"), PurgeKind::Hard);
    let none = store.purge_key(&key("/a"), PurgeKind::Hard);
    assert_eq!([soft, hard, none].map(|purged| (purged.sequence, purged.objects)), [(1, 3), (2, 3), (3, 0)]);
    assert_eq!(store.counts().bytes, 0);
}

#[test]
fn full_purge_tables_purge_more_never_less() {
    let store: Store<Version> = Store::new(StoreLimits { purge_scopes_max: 8, ..StoreLimits::default() });
    let put = |text| drop(store.insert(stored(&store, text, "", 1, 10)).unwrap());
    let purge = |zone, tag: u32| store.purge_tag(zone, tag_group(zone, &tag.to_le_bytes()), PurgeKind::Soft);
    ["/a", "/bb", "/seenx"].into_iter().for_each(put);
    // Two zones, six scopes: full.
    purge(1, 100);
    for tag in 0..5 {
        purge(0, tag);
    }
    put("/late");
    assert_eq!(get(&store, "/seenx"), Some("1".into()));
    assert_eq!(store.counts().purge_scopes, 8);
    purge(0, 5);
    let counts = store.counts();
    assert_eq!((counts.purge_scopes_overflows, counts.purge_scopes), (1, 8 - 3 + 1));
    // What is older than the half that was forgotten is gone in that zone; in others nothing is.
    assert_eq!(
        (get(&store, "/a"), get(&store, "/bb"), get(&store, "/late")),
        (None, Some("1".into()), Some("1".into()))
    );
    assert_eq!(get(&store, "/seenx"), Some("1".into()), "it was compared with what was forgotten");

    // Nothing but zones: what is older is gone everywhere.
    let store: Store<Version> = Store::new(StoreLimits { purge_scopes_max: 2, ..StoreLimits::default() });
    store.insert(stored(&store, "/a", "", 1, 10)).unwrap();
    for zone in 100..102 {
        store.purge_zone(zone, PurgeKind::Soft);
    }
    store.insert(stored(&store, "/bb", "", 1, 10)).unwrap();
    store.purge_zone(102, PurgeKind::Soft);
    assert_eq!((get(&store, "/a"), get(&store, "/bb")), (None, Some("1".into())));
    assert_eq!(store.counts().purge_scopes_overflows, 1);
}

#[test]
fn unkept_tags_are_covered_by_any() {
    let store = store(1 << 20);
    // Version 30 has more tags than are kept.
    for text in ["/a", "/bb"] {
        store.insert(stored(&store, text, "", 30, 10)).unwrap();
    }
    store.purge_tag(1, tag_group(1, b"whatever"), PurgeKind::Hard);
    assert_eq!((get(&store, "/a"), get(&store, "/bb")), (Some("30".into()), None));
}

/// A purge that locked a shard would wait here for ever: all of them are locked, by this thread.
#[test]
fn a_purge_touches_no_object() {
    let store = store(1 << 20);
    store.insert(stored(&store, "/a", "", 1, 10)).unwrap();
    {
        let _all: Vec<_> = store.shards.iter().map(|slice| slice.lock()).collect();
        store.purge_all(PurgeKind::Soft);
        store.purge_zone(0, PurgeKind::Soft);
        store.purge_host(0, 1, PurgeKind::Soft);
        store.purge_prefix(0, "", "/a", PurgeKind::Soft);
        store.purge_tag(0, 1, PurgeKind::Soft);
    }
    // By key or URL: one shard, and in it one key.
    let own = std::ptr::from_ref(store.slice(key("/a").hash));
    let _others: Vec<_> =
        store.shards.iter().filter(|slice| !std::ptr::eq(*slice, own)).map(|slice| slice.lock()).collect();
    store.purge_key(&key("/a"), PurgeKind::Soft);
    store.purge_url(&key("/a"), PurgeKind::Hard);
    assert_eq!(get(&store, "/a"), None);
}

#[test]
fn compaction_forgets_only_what_nothing_needs() {
    let store = store(1 << 20);
    store.purge_zone(7, PurgeKind::Hard);
    store.insert(stored(&store, "/a", "", 1, 10)).unwrap();
    let stamp = store.stamp();
    let late = stored(&store, "/a", "late", 1, 10);
    store.purge_tag(0, tag_group(0, b"a1"), PurgeKind::Soft);
    store.purge_tag(0, tag_group(0, b"zzz"), PurgeKind::Soft);
    assert_eq!(store.oldest_stamp(), stamp);
    assert_eq!(store.compact_purges(store.oldest_stamp()), 1, "the purge of zone 7");
    assert_eq!(store.insert(late).unwrap().stamp, stamp, "as old as the floor is not older");
    assert_eq!(get(&store, "/a"), Some("~1".into()));
    // Compared since: the purges have had their effect, and can go.
    assert_eq!(get_variant(&store, "/a", ""), Some(1));
    assert_eq!(store.oldest_stamp(), store.stamp());
    assert_eq!(store.compact_purges(store.oldest_stamp()), 3, "two tags and their zone");
    assert_eq!(get(&store, "/a"), Some("~1".into()));
    let old = Stored::new(head(key("/a"), "old", 1, stamp), Body::default());
    assert_eq!(store.insert(old).unwrap_err(), Refused::Purged, "older than the floor");
}

#[test]
fn reclaims_what_was_purged() {
    let store = store(64 << 20);
    for version in 0..3_000 {
        store.insert(stored(&store, &format!("/{version}"), "", version, 10)).unwrap();
    }
    store.purge_zone(0, PurgeKind::Hard);
    let (mut removed, mut calls) = (0, 0);
    while calls < 1_000 {
        removed += store.reclaim(16);
        calls += 1;
    }
    let kept = (0..3_000).filter(|version| key(&format!("/{version}")).zone == 1).count();
    assert_eq!((removed, store.counts().entries), (3_000 - kept, kept as u64));
    assert!(
        (0..3_000)
            .all(|version| get(&store, &format!("/{version}")).is_some() == (key(&format!("/{version}")).zone == 1))
    );
}

#[test]
fn purged_objects_leave_first_when_room_is_needed() {
    let store = store(200_000);
    for version in 0..100 {
        let text = format!("/{version}");
        store.insert(stored(&store, &text, "", version, 500)).unwrap();
        (0..5).for_each(|_| drop(get(&store, &text)));
    }
    store.purge_all(PurgeKind::Hard);
    for version in 0..1_000 {
        store.insert(stored(&store, &format!("/new{version}"), "", version, 500)).unwrap();
    }
    let counts = store.counts();
    assert_eq!(counts.purged_reclaimed, 100, "{counts:?}");
}

#[test]
fn nothing_is_borrowed_from_a_connection() {
    let mut network = BytesMut::with_capacity(64 * 1024);
    network.extend_from_slice(b"value of a field and a head");
    let network = network.freeze();
    let store = store(1 << 20);
    let mut head = head(key("/a"), "", 1, store.stamp());
    let mut headers = HeaderMap::new();
    for (name, range) in [("x-one", 0..5), ("x-two", 6..8), ("x-one", 9..10)] {
        let mut value = HeaderValue::from_maybe_shared(network.slice(range)).unwrap();
        value.set_sensitive(name == "x-two");
        headers.append(name, value);
    }
    (head.headers, head.frozen_head) = (headers.clone(), network.slice(23..));
    let stored = store.insert(Stored::new(head, Body::default())).unwrap();
    drop(headers);
    assert!(network.is_unique());
    let all: Vec<(&str, &[u8])> =
        stored.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(all, [("x-one", &b"value"[..]), ("x-one", b"a"), ("x-two", b"of")]);
    assert!(stored.headers["x-two"].is_sensitive());
    assert_eq!(stored.frozen_head, Bytes::from_static(b"head"));
}

#[test]
fn a_reader_keeps_what_was_evicted() {
    let store = store(50_000);
    let mine = store.insert(stored(&store, "/mine", "", 7, 1_000)).unwrap();
    for version in 0..500 {
        store.insert(stored(&store, &format!("/{version}"), "", version, 1_000)).unwrap();
    }
    assert!(store.lookup(&key("/mine"), |_| true).is_none());
    assert_eq!(mine.body().cursor(0..u64::MAX).map(|piece| piece.len()).sum::<usize>(), 1_000);
    assert_eq!(Arc::strong_count(&mine), 1);
}

#[test]
fn a_panicking_pick_leaves_the_store_whole() {
    let store = store(1 << 20);
    store.insert(stored(&store, "/a", "", 1, 10)).unwrap();
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.lookup(&key("/a"), |_| std::panic::resume_unwind(Box::new(())));
    }));
    assert!(failed.is_err());
    assert_eq!(get(&store, "/a"), Some("1".into()));
    store.purge_key(&key("/a"), PurgeKind::Hard);
    assert_eq!(store.bytes(), 0);
}
