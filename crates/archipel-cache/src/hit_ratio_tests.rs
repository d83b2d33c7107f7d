//! Hit ratios beside least recently used, with the same bytes.

use crate::shard::Shard;
use crate::testing::{Version, head, spread};
use crate::workload::{Lru, MIXES, Mix, Requests, body_bytes};
use crate::{Body, KeyRef, Store, StoreLimits, Stored};

const KEYS: usize = 8_000;
const REQUESTS: usize = 60_000;
const MEMORY_BYTES_MAX: u64 = 3 << 20;

/// Hit ratios in percent: ours, and least recently used with the same bytes.
fn measure(mix: Mix) -> (f64, f64) {
    let limits = StoreLimits { memory_bytes_max: MEMORY_BYTES_MAX, ..StoreLimits::default() };
    let store: Store<Version> = Store::new(limits);
    let (mut lru, mut hits, mut lru_hits) = (Lru::default(), 0_u32, 0_u32);
    let mut requests = Requests::new(mix, KEYS, 7);
    for _ in 0..REQUESTS {
        let number = requests.draw();
        let text = number.to_string();
        let key = KeyRef { hash: spread(u128::from(number)), text: text.as_str(), zone: 0 };
        // Memory is only counted, hence one static body serves for all.
        let body = Body::from_bytes(bytes::Bytes::from_static(&[0; 65_536]).slice(..body_bytes(number)));
        let stored = Stored::new(head(key, "", number, store.stamp()), body);
        lru_hits += u32::from(lru.ask(number, Shard::cost(&stored), MEMORY_BYTES_MAX));
        match store.lookup(&key, |_| true) {
            Some(_) => hits += 1,
            None => drop(store.insert(stored).unwrap()),
        }
    }
    let percent = |hits: u32| 100.0 * f64::from(hits) / REQUESTS as f64;
    (percent(hits), percent(lru_hits))
}

#[test]
fn hits_at_least_as_often_as_least_recently_used() {
    for mix in MIXES {
        let (ours, lru) = measure(mix);
        eprintln!("{}: {ours:.2} against {lru:.2}", mix.name);
        // What moves on all the time is where recency is at its best.
        let tolerance = if mix.drifts { 1.0 } else { 0.0 };
        assert!(ours + tolerance >= lru, "{}: {ours:.2} against {lru:.2}", mix.name);
        if mix.scan_percent > 0 {
            assert!(ours > lru + 3.0, "{}: scans pass through, {ours:.2} against {lru:.2}", mix.name);
        }
    }
}
