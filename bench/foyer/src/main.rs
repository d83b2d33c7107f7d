//! The same workload on foyer and on the disk tier of `archipel-cache`: objects written, a restart, objects read in random order, all
//! of it from the page cache. CPU time is that of the whole process, so that other threads' work counts.
//!
//! `cargo run --release --manifest-path bench/foyer/Cargo.toml -- FOLDER`: FOLDER is made, used and removed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use archipel_cache::{
    Body, Codec, DiskLookup, DiskOptions, Groups, Head, KeyRef, KeyText as _, Store, StoreLimits, Stored, WireReader,
    WireWriter,
};
use bytes::Bytes;
use foyer::{BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, HybridCachePolicy};
use http::{HeaderMap, StatusCode};

type Failure = Box<dyn std::error::Error>;

const BYTES_MAX: u64 = 6 << 30;
const META: &[u8] = &[b'f'; 350];

/// Objects, and how many reads.
const CASES: [(usize, u64, u64); 4] =
    [(1 << 10, 200_000, 400_000), (100 << 10, 10_000, 40_000), (1 << 20, 600, 3_000), (10 << 20, 60, 300)];

/// What one run came to.
struct Run {
    put: Duration,
    put_cpu: Duration,
    restart: Duration,
    get: Duration,
    get_cpu: Duration,
    found: u64,
}

fn cpu() -> Duration {
    // User and system time, in hundredths of a second, behind the program's name.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

async fn open_foyer(folder: &Path) -> Result<HybridCache<u64, Bytes>, Failure> {
    let device = FsDeviceBuilder::new(folder).with_capacity(BYTES_MAX as usize).build()?;
    let engine = BlockEngineConfig::new(device)
        .with_block_size(64 << 20)
        .with_buffer_pool_size(512 << 20)
        .with_submit_queue_size_threshold(2 << 30)
        .with_recover_concurrency(2);
    let cache = HybridCacheBuilder::new()
        .with_policy(HybridCachePolicy::WriteOnInsertion)
        .memory(1 << 20)
        .with_weighter(|_, value: &Bytes| value.len())
        .storage()
        .with_engine_config(engine)
        .build()
        .await?;
    Ok(cache)
}

async fn run_foyer(folder: &Path, (bytes, count, reads): (usize, u64, u64)) -> Result<Run, Failure> {
    // As with fields: what a response has besides its body.
    let value = Bytes::from(vec![7; bytes + META.len()]);
    let cache = open_foyer(folder).await?;
    let (begun, before) = (Instant::now(), cpu());
    for number in 0..count {
        cache.insert(number, value.clone());
        // It drops what comes faster than it writes; both wait, so that both hold the same.
        if number % batch(bytes) == 0 {
            cache.storage().wait().await;
        }
    }
    cache.close().await?;
    let (put, put_cpu) = (begun.elapsed(), cpu() - before);
    drop(cache);
    let begun = Instant::now();
    let cache = open_foyer(folder).await?;
    let restart = begun.elapsed();
    let (begun, before) = (Instant::now(), cpu());
    let (mut state, mut found) = (1, 0);
    for _ in 0..reads {
        if let Some(entry) = cache.get(&(random(&mut state) % count)).await? {
            found += u64::from(entry.value().len() == value.len());
        }
    }
    let (get, get_cpu) = (begun.elapsed(), cpu() - before);
    cache.close().await?;
    Ok(Run { put, put_cpu, restart, get, get_cpu, found })
}

/// Objects between two waits: 32 MiB of them.
fn batch(bytes: usize) -> u64 {
    (32 << 20) / bytes as u64
}

#[derive(Debug)]
struct Plain;

impl Codec<Bytes> for Plain {
    fn encode(&self, meta: &Bytes, to: &mut WireWriter) -> bool {
        to.raw(meta);
        true
    }

    fn decode(&self, from: WireReader) -> Option<(Bytes, usize)> {
        Some((from.rest(), 0))
    }
}

fn open_own(folder: &Path) -> Arc<Store<Bytes>> {
    let store = Arc::new(Store::new(StoreLimits { memory_bytes_max: 0, ..StoreLimits::default() }));
    let options = DiskOptions { queue_bytes_max: 2 << 30, ..DiskOptions::new(folder.into(), BYTES_MAX) };
    store.open_disk(options, Arc::new(Plain), (1, 2));
    store.disk().expect("opened above").flush();
    store
}

fn key(number: u64, text: &str) -> KeyRef<'_> {
    let mut state = number;
    KeyRef { hash: u128::from(random(&mut state)) | u128::from(random(&mut state)) << 64, text, zone: 0 }
}

fn put(store: &Store<Bytes>, number: u64, body: &Bytes) {
    let text = format!("7 https://www.shop.example/{number}");
    let key = key(number, &text);
    let head = Head {
        hash: key.hash,
        key: key.text.into(),
        zone: 0,
        groups: Groups::of(&key.text.url()),
        stamp: store.stamp(),
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        frozen_head: Bytes::new(),
        variant: Box::default(),
        stored_at: 0,
        meta: Bytes::from_static(META),
        meta_bytes: 0,
    };
    // Memory takes nothing here: the disk does.
    let _ = store.insert(Stored::new(head, Body::from_bytes(body.clone())));
}

/// Bytes of an object's body, all of them read.
async fn get(store: &Store<Bytes>, number: u64) -> Option<u64> {
    let text = format!("7 https://www.shop.example/{number}");
    let key = key(number, &text);
    let stored = match store.lookup_disk(&key, |_| true) {
        DiskLookup::Found(found) => store.use_found(found).stored,
        DiskLookup::Missing { .. } => return None,
        DiskLookup::Cold => store.lookup_disk_waiting(&key, |_| true).await?.stored,
    };
    let Some(body) = stored.body().on_disk() else { return Some(stored.body().len()) };
    let mut stream = body.stream(0..body.len());
    let mut read = 0;
    while let Some(piece) = std::future::poll_fn(|cx| stream.poll_next(cx)).await {
        read += piece.ok()?.len() as u64;
    }
    Some(read)
}

async fn run_own(folder: &Path, (bytes, count, reads): (usize, u64, u64)) -> Result<Run, Failure> {
    let body = Bytes::from(vec![7; bytes]);
    let store = open_own(folder);
    let (begun, before) = (Instant::now(), cpu());
    for number in 0..count {
        put(&store, number, &body);
        if number % batch(bytes) == 0 {
            store.disk().expect("opened above").flush();
        }
    }
    store.disk().expect("opened above").close();
    let (put, put_cpu) = (begun.elapsed(), cpu() - before);
    drop(store);
    let begun = Instant::now();
    let store = open_own(folder);
    let restart = begun.elapsed();
    let (begun, before) = (Instant::now(), cpu());
    let (mut state, mut found) = (1, 0);
    for _ in 0..reads {
        found += u64::from(get(&store, random(&mut state) % count).await == Some(bytes as u64));
    }
    Ok(Run { put, put_cpu, restart, get: begun.elapsed(), get_cpu: cpu() - before, found })
}

fn show(name: &str, (bytes, count, reads): (usize, u64, u64), run: &Run) {
    let us = |time: Duration, of: u64| time.as_secs_f64() * 1e6 / of as f64;
    println!(
        "| {bytes} | {name} | {:.1} | {:.1} | {:.2} | {:.1} | {:.1} | {:.1} |",
        us(run.put, count),
        us(run.put_cpu, count),
        run.restart.as_secs_f64(),
        us(run.get, reads),
        us(run.get_cpu, reads),
        100.0 * run.found as f64 / reads as f64,
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "target/bench".to_owned()));
    println!(
        "| bytes | store | put us | put CPU us | restart s | get us | get CPU us | found % |\n|---|---|---|---|---|---|---|---|"
    );
    for case in CASES {
        for _ in 0..2 {
            std::fs::create_dir_all(folder.join("foyer"))?;
            show("foyer", case, &run_foyer(&folder.join("foyer"), case).await?);
            std::fs::remove_dir_all(&folder)?;
            std::fs::create_dir_all(folder.join("own"))?;
            show("own", case, &run_own(&folder.join("own"), case).await?);
            std::fs::remove_dir_all(&folder)?;
        }
    }
    Ok(())
}
