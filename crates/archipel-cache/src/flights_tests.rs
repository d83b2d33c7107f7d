//! Flights: waiting, promotion, pass marks, purges between requests.

use crate::testing::{Version, Woken, head, key, read_now, store, stored};
use crate::{FlightLimits, Flights, Follower, Join, KeyRef, LeaderGuard, Outcome, PurgeKind, Store, Turn};
use bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

fn flights() -> Arc<Flights<Version>> {
    Flights::new(store(1 << 20), FlightLimits { followers_max: 3, hints_max: 64 })
}

fn leader(flights: &Arc<Flights<Version>>, text: &str) -> LeaderGuard<Version> {
    match flights.join(&key(text), 0) {
        Join::Leader(guard) => guard,
        other => panic!("not the leader: {other:?}"),
    }
}

fn follower(flights: &Arc<Flights<Version>>, text: &str) -> Follower<Version> {
    match flights.join(&key(text), 0) {
        Join::Follower(follower) => follower,
        other => panic!("not a follower: {other:?}"),
    }
}

fn poll(follower: &mut Follower<Version>, waker: &Waker) -> Poll<Turn<Version>> {
    Pin::new(follower).poll(&mut Context::from_waker(waker))
}

fn promoted(follower: &mut Follower<Version>) -> LeaderGuard<Version> {
    match poll(follower, Waker::noop()) {
        Poll::Ready(Turn::Promoted(guard)) => guard,
        other => panic!("not promoted: {other:?}"),
    }
}

fn insert(store: &Store<Version>, text: &str) -> Arc<crate::Stored<Version>> {
    store.insert(stored(store, text, "", 1, 10)).unwrap()
}

#[test]
fn followers_wait_for_what_the_leader_finds() {
    let flights = flights();
    let guard = leader(&flights, "/a");
    drop(leader(&flights, "/b"));
    let (woken, waker) = Woken::new();
    let mut followers = [follower(&flights, "/a"), follower(&flights, "/a"), follower(&flights, "/a")];
    assert!(followers.iter_mut().all(|follower| poll(follower, &waker).is_pending()));
    assert!(matches!(flights.join(&key("/a"), 0), Join::Full));
    let object = insert(flights.store(), "/a");
    guard.publish_stored(&object);
    assert_eq!(woken.count(), 3);
    for follower in &mut followers {
        let turn = poll(follower, &waker);
        assert!(matches!(turn, Poll::Ready(Turn::Outcome(Outcome::Stored(stored))) if Arc::ptr_eq(&stored, &object)));
    }
    assert!(flights.is_empty(), "the next request looks into the store");
    let counts = flights.store().counts();
    assert_eq!((counts.flights, counts.followers, counts.followers_overflows), (2, 3, 1));
}

#[test]
fn new_requests_read_the_fill_until_it_is_inserted() {
    let flights = flights();
    let guard = leader(&flights, "/a");
    let mut early = follower(&flights, "/a");
    assert!(poll(&mut early, Waker::noop()).is_pending());
    let (mut writer, _reader) = flights.store().start_fill(head(key("/a"), "", 1, guard.stamp()), None, true);
    let filling = guard.publish_fill(writer.fill());
    writer.append(Bytes::from_static(b"ab"));
    for mut follower in
        [early, follower(&flights, "/a"), follower(&flights, "/a"), follower(&flights, "/a"), follower(&flights, "/a")]
    {
        let Poll::Ready(Turn::Outcome(Outcome::Fill(fill))) = poll(&mut follower, Waker::noop()) else {
            panic!("no fill")
        };
        assert_eq!(read_now(&mut fill.reader().unwrap(), Waker::noop()), "ab|");
    }
    assert!(flights.try_lead(&key("/a")).is_none());
    let object = writer.finish(None).unwrap().unwrap();
    drop(follower(&flights, "/a"));
    flights.store().insert(object).unwrap();
    drop(filling);
    assert!(flights.is_empty());
}

#[test]
fn a_fill_that_cannot_be_read_from_the_start_is_not_joined() {
    for fails in [false, true] {
        let flights = flights();
        let guard = leader(&flights, "/a");
        let (mut writer, _reader) = flights.store().start_fill(head(key("/a"), "", 1, guard.stamp()), None, true);
        let filling = guard.publish_fill(writer.fill());
        if fails {
            drop(writer);
        } else {
            writer.pass_through();
        }
        let second = leader(&flights, "/a");
        drop(filling);
        assert_eq!(flights.len(), 1, "the newer flight stays");
        drop(follower(&flights, "/a"));
        drop(second);
        assert!(flights.is_empty());
    }
}

#[test]
fn a_dead_leader_is_followed_by_one_only() {
    let flights = flights();
    let guard = leader(&flights, "/a");
    let first_stamp = guard.stamp();
    let wokens = [Woken::new(), Woken::new(), Woken::new()];
    let mut followers = [follower(&flights, "/a"), follower(&flights, "/a"), follower(&flights, "/a")];
    for (follower, (_, waker)) in followers.iter_mut().zip(&wokens) {
        assert!(poll(follower, waker).is_pending());
    }
    flights.store().purge_key(&key("/other"), PurgeKind::Hard);
    drop(guard);
    assert_eq!(wokens.each_ref().map(|(woken, _)| woken.count()), [1, 0, 0], "the one that waited longest");
    let [mut one, mut two, mut three] = followers;
    let guard = promoted(&mut one);
    assert!(guard.stamp() > first_stamp, "its fetch begins now");
    assert!(poll(&mut two, &wokens[1].1).is_pending());
    assert!(matches!(flights.join(&key("/a"), 0), Join::Follower(_)));
    drop(guard);
    assert_eq!(wokens.each_ref().map(|(woken, _)| woken.count()), [1, 1, 0]);
    // The one that was told is cancelled before it hears it.
    drop(two);
    assert_eq!(wokens.each_ref().map(|(woken, _)| woken.count()), [1, 1, 1]);
    promoted(&mut three).publish_uncacheable(None);
    assert!(flights.is_empty());
    assert_eq!(flights.store().counts().promoted, 2);
}

#[test]
fn a_new_request_may_take_over_first() {
    let flights = flights();
    let guard = leader(&flights, "/a");
    let mut waiting = follower(&flights, "/a");
    let (woken, waker) = Woken::new();
    assert!(poll(&mut waiting, &waker).is_pending());
    drop(guard);
    let second = leader(&flights, "/a");
    assert!(poll(&mut waiting, &waker).is_pending());
    second.publish_uncacheable(None);
    assert_eq!(woken.count(), 2);
    assert!(matches!(poll(&mut waiting, &waker), Poll::Ready(Turn::Outcome(Outcome::Uncacheable))));
}

#[test]
fn nobody_left_ends_the_flight() {
    let flights = flights();
    let guard = leader(&flights, "/a");
    let (one, two) = (follower(&flights, "/a"), follower(&flights, "/a"));
    drop(one);
    drop(guard);
    assert_eq!(flights.len(), 1);
    drop(two);
    assert!(flights.is_empty());
    // Promoted, and gone without a word.
    let guard = leader(&flights, "/a");
    let mut only = follower(&flights, "/a");
    drop(guard);
    drop(promoted(&mut only));
    assert!(flights.is_empty());
}

#[test]
fn uncacheable_keys_do_not_queue() {
    let flights = flights();
    leader(&flights, "/a").publish_uncacheable(Some(100));
    let join = |text: &str, now| match flights.join(&key(text), now) {
        Join::Pass => "pass",
        Join::Leader(_) => "lead",
        _ => "wait",
    };
    assert_eq!(
        [join("/a", 0), join("/a", 99), join("/b", 99), join("/a", 100), join("/a", 50)],
        ["pass", "pass", "lead", "lead", "lead"]
    );
    leader(&flights, "/a").publish_uncacheable(Some(100));
    assert_eq!(join("/a", 99), "pass");
    flights.forget_uncacheable(&key("/a"));
    assert_eq!(join("/a", 99), "lead");
    // One mark fits a shard here.
    for number in 0..500 {
        leader(&flights, &format!("/{number}")).publish_uncacheable(Some(100));
    }
    let marked = (0..500).filter(|number| join(&format!("/{number}"), 1) == "pass").count();
    assert!((32..=64).contains(&marked), "{marked}");
    assert_eq!(flights.store().counts().hints_overflows, 500 - marked as u64);
}

#[test]
fn a_purge_parts_what_came_before_from_what_comes_after() {
    type Purge = fn(&Store<Version>) -> crate::Purged;
    let cases: [(&str, Purge, bool); 6] = [
        ("key", |store| store.purge_key(&key("/a"), PurgeKind::Hard), true),
        ("key, softly", |store| store.purge_key(&key("/a"), PurgeKind::Soft), true),
        ("zone", |store| store.purge_zone(key("/a").zone, PurgeKind::Hard), true),
        ("all", |store| store.purge_all(PurgeKind::Soft), true),
        ("other key", |store| store.purge_key(&key("/b"), PurgeKind::Hard), false),
        ("other zone", |store| store.purge_zone(9, PurgeKind::Hard), false),
    ];
    for (name, purge, parts) in cases {
        let flights = flights();
        let old = leader(&flights, "/a");
        let mut before = follower(&flights, "/a");
        purge(flights.store());
        if parts {
            assert!(flights.try_lead(&key("/a")).is_some(), "{name}");
            let new = leader(&flights, "/a");
            let mut after = follower(&flights, "/a");
            old.publish_uncacheable(None);
            assert!(poll(&mut before, Waker::noop()).is_ready(), "{name}");
            assert!(poll(&mut after, Waker::noop()).is_pending(), "{name}");
            drop(new);
            drop(promoted(&mut after));
        } else {
            assert!(flights.try_lead(&key("/a")).is_none(), "{name}");
            drop(follower(&flights, "/a"));
            drop(old);
            drop(promoted(&mut before));
        }
        assert!(flights.is_empty(), "{name}");
    }
}

#[test]
fn equal_hashes_do_not_share_a_flight() {
    let flights = flights();
    let at = |text| KeyRef { hash: 1, text, zone: 0 };
    let Join::Leader(_guard) = flights.join(&at("/a"), 0) else { panic!("not the leader") };
    assert!(matches!(flights.join(&at("/b"), 0), Join::Pass));
}

/// A thousand requests, the first of which dies half-way: two fetches in all, and everyone has the whole body.
#[tokio::test(flavor = "current_thread")]
async fn a_thousand_requests_fetch_once() {
    let flights = Flights::new(store(1 << 20), FlightLimits::default());
    let fetches = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let request = |number: usize| {
        let (flights, fetches) = (Arc::clone(&flights), Arc::clone(&fetches));
        async move {
            let guard = match flights.join(&key("/a"), 0) {
                Join::Leader(guard) => guard,
                Join::Follower(follower) => match follower.await {
                    Turn::Promoted(guard) => guard,
                    Turn::Outcome(Outcome::Fill(fill)) => {
                        let mut reader = fill.reader().expect("storable");
                        let mut bytes = 0;
                        while let Some(piece) = reader.next().await {
                            bytes += piece.expect("whole").len();
                        }
                        return bytes;
                    }
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            };
            fetches.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            tokio::task::yield_now().await;
            if number == 0 {
                return 0;
            }
            let (mut writer, _reader) = flights.store().start_fill(head(key("/a"), "", 1, guard.stamp()), None, true);
            let _filling = guard.publish_fill(writer.fill());
            for _ in 0..10 {
                writer.ready().await.expect("read");
                writer.append(Bytes::from_static(&[1; 1_000]));
                tokio::task::yield_now().await;
            }
            flights.store().insert(writer.finish(None).expect("whole").expect("storable")).expect("room");
            10_000
        }
    };
    let tasks: Vec<_> = (0..1_000).map(|number| tokio::spawn(request(number))).collect();
    let mut whole = 0;
    for task in tasks {
        whole += usize::from(task.await.expect("no panic") == 10_000);
    }
    assert_eq!((whole, fetches.load(std::sync::atomic::Ordering::SeqCst)), (999, 2));
    assert!(flights.is_empty());
    let counts = flights.store().counts();
    assert_eq!((counts.flights, counts.followers, counts.promoted, counts.entries), (1, 999, 1, 1));
}

#[test]
fn a_failure_that_repeats_is_shared() {
    let flights = flights();
    let error = || Arc::new(std::io::Error::other("refused")) as Arc<dyn std::error::Error + Send + Sync>;
    let guard = leader(&flights, "/a");
    let mut followers = [follower(&flights, "/a"), follower(&flights, "/a"), follower(&flights, "/a")];
    guard.fail(error());
    let [second, others @ ..] = &mut followers;
    let guard = promoted(second);
    assert!(others.iter_mut().all(|follower| poll(follower, Waker::noop()).is_pending()));
    guard.fail(error());
    for follower in others {
        let turn = poll(follower, Waker::noop());
        assert!(matches!(&turn, Poll::Ready(Turn::Outcome(Outcome::Failed(error))) if error.to_string() == "refused"));
    }
    assert!(flights.is_empty(), "the next request asks again");
    assert_eq!(flights.store().counts().failures_shared, 1);
    leader(&flights, "/a").fail(error());
    assert!(flights.is_empty(), "nobody waits");
}

#[test]
fn some_follow_and_never_lead() {
    let flights = flights();
    assert!(flights.follow(&key("/a")).is_none());
    let guard = leader(&flights, "/a");
    let (woken, waker) = Woken::new();
    let mut cx = Context::from_waker(&waker);
    assert!(guard.poll_followed(&mut cx).is_pending());
    let mut follower = flights.follow(&key("/a")).unwrap();
    assert!(poll(&mut follower, Waker::noop()).is_pending());
    assert!(guard.poll_followed(&mut cx).is_ready());
    drop(follower);
    assert!(guard.poll_followed(&mut cx).is_pending());
    let joined = self::follower(&flights, "/a");
    assert_eq!(woken.count(), 2, "the leader hears of each follower that it waits for");
    assert!(guard.poll_followed(&mut cx).is_ready());
    drop(guard);
    assert!(flights.follow(&key("/a")).is_none(), "leaderless: those who wait come first");
    drop(joined);
    assert!(flights.is_empty());
}
