//! Prints hit ratios beside least recently used, the memory an object takes, and what a lookup costs.
//!
//! `cargo run --release -p archipel-cache --example hit_ratio`

#[path = "../src/workload.rs"]
mod workload;

use archipel_cache::{Body, Groups, Head, KeyRef, KeyText as _, PurgeKind, Purged, Store, StoreLimits, Stored};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use std::hint::black_box;
use std::io::{Result, Write, stdout};
use std::time::Instant;
use workload::{Lru, MIXES, Mix, Requests, Seeded, body_bytes};

const KEYS: usize = 100_000;
const REQUESTS: usize = 1_000_000;

fn key(number: u64, text: &str) -> KeyRef<'_> {
    let hash = u128::from(Seeded(number).next()) | u128::from(Seeded(!number).next()) << 64;
    KeyRef { hash, text, zone: 0 }
}

fn stored(store: &Store<u64>, key: KeyRef<'_>, headers: HeaderMap, body: Bytes) -> Stored<u64> {
    let frozen_head: Vec<u8> = headers
        .iter()
        .flat_map(|(name, value)| [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat())
        .collect();
    let head = Head {
        hash: key.hash,
        key: key.text.into(),
        zone: key.zone,
        groups: Groups::of(&key.text.url()),
        stamp: store.stamp(),
        status: StatusCode::OK,
        headers,
        frozen_head: frozen_head.into(),
        variant: Box::default(),
        stored_at: 0,
        meta: 0,
        meta_bytes: 0,
    };
    Stored::new(head, Body::from_bytes(body))
}

/// Hit ratios in percent: ours, and least recently used with the same bytes.
fn ratios(mix: Mix, memory_bytes_max: u64) -> (f64, f64) {
    let store: Store<u64> = Store::new(StoreLimits { memory_bytes_max, ..StoreLimits::default() });
    let (mut lru, mut hits, mut lru_hits) = (Lru::default(), 0_u32, 0_u32);
    let mut requests = Requests::new(mix, KEYS, 1);
    for _ in 0..REQUESTS {
        let number = requests.draw();
        let text = number.to_string();
        let key = key(number, &text);
        // Memory is only counted, hence one static body serves for all.
        let body = Bytes::from_static(&[0; 65_536]).slice(..body_bytes(number));
        let object = stored(&store, key, HeaderMap::new(), body);
        let cost = object.weight() + Store::<u64>::ENTRY_BYTES;
        lru_hits += u32::from(lru.ask(number, cost, memory_bytes_max));
        match store.lookup(&key, |_| true) {
            Some(_) => hits += 1,
            None => drop(store.insert(object)),
        }
    }
    let percent = |hits: u32| 100.0 * f64::from(hits) / REQUESTS as f64;
    (percent(hits), percent(lru_hits))
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4096
}

fn typical_fields() -> HeaderMap {
    let fields = [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "public, max-age=3600"),
        ("etag", "\"0123456789abcdef\""),
        ("last-modified", "Mon, 20 Jul 2026 10:00:00 GMT"),
        ("date", "Mon, 20 Jul 2026 11:00:00 GMT"),
        ("content-length", "1024"),
        ("x-request-id", "8d4f2c6a"),
        ("server", "origin"),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn memory_and_speed(objects: u64, out: &mut impl Write) -> Result<()> {
    let limits = StoreLimits { memory_bytes_max: 64 << 30, ..StoreLimits::default() };
    let store: Store<u64> = Store::new(limits);
    let before = resident_bytes();
    for number in 0..objects {
        let text = format!("https://www.example.com/articles/{number}/index.html");
        let object = stored(&store, key(number, &text), typical_fields(), vec![1; 1024].into());
        let _ = store.insert(object);
    }
    let resident = resident_bytes().saturating_sub(before);
    let counted = store.bytes();
    writeln!(
        out,
        "\n{objects} objects of 1 KiB: {} bytes each resident, {} counted",
        resident / objects,
        counted / objects
    )?;
    let mut random = Seeded(3);
    let numbers: Vec<u64> = (0..1_000_000).map(|_| random.next() % objects).collect();
    let texts: Vec<String> =
        numbers.iter().map(|number| format!("https://www.example.com/articles/{number}/index.html")).collect();
    let measure = |out: &mut dyn Write, name: &str, numbers: &[u64], texts: &[String]| {
        let keys: Vec<_> = numbers.iter().zip(texts).map(|(number, text)| key(*number, text)).collect();
        let start = Instant::now();
        for key in &keys {
            black_box(store.lookup(key, |_| true));
        }
        writeln!(out, "{name}: {:.0} ns", start.elapsed().as_nanos() as f64 / keys.len() as f64)
    };
    measure(out, "lookup, any of them", &numbers, &texts)?;
    let (hot_numbers, hot_texts): (Vec<u64>, Vec<String>) = numbers
        .iter()
        .zip(&texts)
        .take(100)
        .map(|(number, text)| (*number, text.clone()))
        .cycle()
        .take(1_000_000)
        .unzip();
    measure(out, "lookup, a hundred hot ones", &hot_numbers, &hot_texts)?;
    purges(&store, objects, out)
}

/// What each kind of purge takes, and a lookup afterwards, which compares the object with what was recorded.
fn purges(store: &Store<u64>, objects: u64, out: &mut impl Write) -> Result<()> {
    let text = |number: u64| format!("https://www.example.com/articles/{number}/index.html");
    let mut row = |name: &str, purge: &mut dyn FnMut(u64) -> Purged| {
        // Not the first, which makes the table.
        let mut times: Vec<u128> = (0..1_001)
            .map(|number| {
                let start = Instant::now();
                black_box(purge(number * objects / 1_001));
                start.elapsed().as_nanos()
            })
            .skip(1)
            .collect();
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 1_000).copied().unwrap_or_default();
        writeln!(out, "purge {name}: {} ns, 99 in 100 within {} ns", at(500), at(990))
    };
    row("by key", &mut |number| store.purge_key(&key(number, &text(number)), PurgeKind::Hard))?;
    row("by URL", &mut |number| store.purge_url(&key(number, &text(number)), PurgeKind::Hard))?;
    row("by tag", &mut |number| store.purge_tag(0, number, PurgeKind::Soft))?;
    row("by prefix", &mut |number| {
        store.purge_prefix(0, "www.example.com", &format!("/other/{number}"), PurgeKind::Hard)
    })?;
    row("by host", &mut |number| store.purge_host(0, number, PurgeKind::Hard))?;
    let texts: Vec<(u64, String)> = (0..1_000_000).map(|number| number * 7 % objects).map(|n| (n, text(n))).collect();
    let start = Instant::now();
    let found = texts.iter().filter(|(number, text)| store.lookup(&key(*number, text), |_| true).is_some()).count();
    let each = start.elapsed().as_nanos() / texts.len() as u128;
    writeln!(
        out,
        "lookup, each object compared with {} records: {each} ns, {found} found",
        store.counts().purge_scopes
    )?;
    let mut row = |name: &str, purge: &mut dyn FnMut() -> Purged| {
        let start = Instant::now();
        black_box(purge());
        writeln!(out, "purge of {name}: {} ns", start.elapsed().as_nanos())
    };
    row("a zone", &mut || store.purge_zone(0, PurgeKind::Hard))?;
    row("everything", &mut || store.purge_all(PurgeKind::Hard))
}

fn main() -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{:<22} {:>6} {:>8} {:>8}", "mix, hits in percent", "memory", "S3-FIFO", "LRU")?;
    for mix in MIXES {
        for mebibytes in [4, 16, 64] {
            let (ours, lru) = ratios(mix, mebibytes << 20);
            writeln!(out, "{:<22} {:>2} MiB {ours:>8.2} {lru:>8.2}", mix.name, mebibytes)?;
        }
    }
    memory_and_speed(std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1_000_000), &mut out)
}
