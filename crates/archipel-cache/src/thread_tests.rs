//! Several threads at once: bounds hold at each moment, and nothing purged comes back.

use crate::testing::{Random, Version, head, host, key, store, stored};
use crate::{FlightLimits, Flights, Join, PurgeKind, Stored, Turn, tag_group};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

const THREADS: u64 = 4;

#[test]
fn memory_is_never_exceeded() {
    let store = store(300_000);
    let threads = |number: u64| {
        let store = Arc::clone(&store);
        move || {
            let mut random = Random(number);
            for version in 0..5_000 {
                let text = format!("/{}", random.below(300));
                match store.lookup(&key(&text), |_| true) {
                    Some(found) => {
                        assert_eq!(*found.stored.key, *text);
                        let body = found.stored.body();
                        let right = body
                            .segments()
                            .iter()
                            .all(|piece| piece.iter().all(|byte| *byte == found.stored.meta as u8));
                        assert!(right, "a body of another object");
                        if random.below(3) == 0 {
                            let _ =
                                store.replace(&found.stored, head(key(&text), "", found.stored.meta, store.stamp()));
                        }
                    }
                    None => drop(store.insert(stored(&store, &text, "", version, random.below(8_000) as usize))),
                }
                if random.below(200) == 0 {
                    store.purge_zone(random.below(2) as u32, PurgeKind::Hard);
                }
                assert!(store.bytes() <= 300_000);
            }
        }
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..THREADS).map(|number| scope.spawn(threads(number))).collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
    store.purge_all(PurgeKind::Hard);
    for number in 0..300 {
        assert!(store.lookup(&key(&format!("/{number}")), |_| true).is_none());
    }
    assert_eq!((store.bytes(), store.counts().entries), (0, 0));
}

#[test]
fn nothing_purged_comes_back() {
    let store = store(64 << 20);
    let stop = AtomicBool::new(false);
    // The origin's content has this number; a purge follows each change, as a publisher does it.
    let content = AtomicU64::new(1);
    std::thread::scope(|scope| {
        let filling = || {
            while !stop.load(Ordering::SeqCst) {
                for text in ["/a", "/b", "/c"] {
                    let stamp = store.stamp();
                    let version = content.load(Ordering::SeqCst);
                    std::thread::yield_now();
                    let _ = store.insert(Stored::new(head(key(text), "", version, stamp), crate::Body::default()));
                }
            }
        };
        (0..THREADS - 1).for_each(|_| drop(scope.spawn(filling)));
        for round in 2..3_000 {
            content.store(round, Ordering::SeqCst);
            let text = ["/a", "/b", "/c"][round as usize % 3];
            match round % 9 {
                0 => store.purge_all(PurgeKind::Hard),
                1 => store.purge_zone(key(text).zone, PurgeKind::Hard),
                2 => store.purge_host(key(text).zone, host(text), PurgeKind::Hard),
                3 => store.purge_url(&key(text), PurgeKind::Hard),
                4 => store.purge_prefix(key(text).zone, "", text, PurgeKind::Hard),
                // Whatever is stored has one of the three.
                5 => (0..3).fold(store.purge_zone(9, PurgeKind::Hard), |_, tag| {
                    let tag = tag_group(key(text).zone, format!("b{tag}").as_bytes());
                    store.purge_tag(key(text).zone, tag, PurgeKind::Hard)
                }),
                6 => store.invalidate_url(&key(text)),
                7 => store.invalidate_key(&key(text)),
                _ => store.purge_key(&key(text), PurgeKind::Hard),
            };
            for _ in 0..20 {
                if let Some(found) = store.lookup(&key(text), |_| true) {
                    assert!(found.stored.meta >= round, "{} after the purge of {round}", found.stored.meta);
                }
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
}

/// Requests on several threads, leaders that die: at each moment at most one fetches, and every request ends.
#[test]
fn one_leader_at_a_time() {
    let flights = Flights::new(store(1 << 20), FlightLimits::default());
    let (leading, led) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let request = |mut random: Random| {
        let (flights, leading, led) = (&flights, &leading, &led);
        async move {
            let mut guard = match flights.join(&key("/a"), 0) {
                Join::Leader(guard) => Some(guard),
                Join::Follower(follower) => match follower.await {
                    Turn::Promoted(guard) => Some(guard),
                    Turn::Outcome(_) => None,
                },
                Join::Pass | Join::Full => None,
            };
            if let Some(guard) = guard.take() {
                assert_eq!(leading.fetch_add(1, Ordering::SeqCst), 0, "two lead");
                led.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                assert_eq!(leading.fetch_sub(1, Ordering::SeqCst), 1);
                match random.below(3) {
                    0 => drop(guard),
                    _ => guard.publish_uncacheable(None),
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let request = &request;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let mut random = Random(thread);
                for _ in 0..500 {
                    let requests = (0..8).map(|_| request(Random(random.next())));
                    runtime.block_on(join_all(requests.collect()));
                }
            });
        }
    });
    assert!(flights.is_empty());
    assert!(led.load(Ordering::SeqCst) > 0);
    let counts = flights_counts(&flights);
    assert!(counts.0 > 0 && counts.1 > 0, "the run tests something: {counts:?}");
}

fn flights_counts(flights: &Flights<Version>) -> (u64, u64) {
    let counts = flights.store().counts();
    (counts.followers, counts.promoted)
}

/// Polls all until all are done, without a task each.
async fn join_all<F: Future<Output = ()>>(futures: Vec<F>) {
    let mut futures: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    std::future::poll_fn(|cx| {
        for slot in &mut futures {
            if slot.as_mut().is_some_and(|future| future.as_mut().poll(cx).is_ready()) {
                *slot = None;
            }
        }
        if futures.iter().all(Option::is_none) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
