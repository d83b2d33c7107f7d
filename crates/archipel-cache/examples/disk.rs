//! Prints what the disk tier costs and gives: reads, writes, a restart with many objects, and hit ratios beside least recently used.
//!
//! `cargo run --release -p archipel-cache --example disk -- FOLDER [OBJECTS]`: FOLDER is made and used, and may be removed afterwards.

#[path = "../src/workload.rs"]
mod workload;

use archipel_cache::{
    Body, Codec, DiskLookup, DiskOptions, Groups, Head, KeyRef, KeyText as _, Store, StoreLimits, Stored, WireReader,
    WireWriter,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::future::poll_fn;
use std::io::{Result, Write, stdout};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use workload::{Lru, MIXES, Mix, Requests, Seeded, body_bytes};

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

/// Fields of a usual reply, as the policy would keep them.
const META: &[u8] = &[b'f'; 350];

fn key(number: u64, text: &str) -> KeyRef<'_> {
    let hash = u128::from(Seeded(number).next()) | u128::from(Seeded(!number).next()) << 64;
    KeyRef { hash, text, zone: 0 }
}

fn object(store: &Store<Bytes>, number: u64, body: Bytes) -> Stored<Bytes> {
    let text = format!("7 https://www.shop.example/products/{number}?size=large");
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
    Stored::new(head, Body::from_bytes(body))
}

/// A store with hardly any memory and a disk of `bytes_max`.
fn open(folder: &Path, bytes_max: u64) -> Arc<Store<Bytes>> {
    let store = Arc::new(Store::new(StoreLimits { memory_bytes_max: 0, ..StoreLimits::default() }));
    let options = DiskOptions {
        object_bytes_max: bytes_max / 2,
        queue_bytes_max: 1 << 30,
        ..DiskOptions::new(folder.into(), bytes_max)
    };
    store.open_disk(options, Arc::new(Plain), (1, 2));
    if let Some(disk) = store.disk() {
        disk.flush();
    }
    store
}

fn flush(store: &Store<Bytes>) {
    if let Some(disk) = store.disk() {
        disk.flush();
    }
}

/// Reads an object to its end; its length, if it is there.
fn get(store: &Store<Bytes>, number: u64) -> Option<u64> {
    let text = format!("7 https://www.shop.example/products/{number}?size=large");
    let key = key(number, &text);
    let stored = match store.lookup_disk(&key, |_| true) {
        DiskLookup::Found(found) => store.use_found(found).stored,
        DiskLookup::Missing { .. } => return None,
        DiskLookup::Cold => wait(store.lookup_disk_waiting(&key, |_| true))?.stored,
    };
    let Some(body) = stored.body().on_disk() else {
        return Some(stored.body().len());
    };
    let mut stream = body.stream(0..body.len());
    let mut read = 0;
    while let Some(piece) = wait(poll_fn(|cx| stream.poll_next(cx))) {
        read += piece.ok()?.len() as u64;
    }
    Some(read)
}

/// Runs a future to its end on this thread.
fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn throughput(out: &mut impl Write, folder: &Path) -> Result<()> {
    writeln!(out, "object      put/s      get/s    get GB/s")?;
    for (bytes, count) in
        [(1 << 10, 100_000_u64), (10 << 10, 50_000), (100 << 10, 10_000), (1 << 20, 2_000), (10 << 20, 200)]
    {
        let folder = folder.join(format!("t{bytes}"));
        let store = open(&folder, 8 << 30);
        let body = Bytes::from(vec![7; bytes]);
        let begun = Instant::now();
        for number in 0..count {
            let _ = store.insert(object(&store, number, body.clone()));
        }
        flush(&store);
        let puts = count as f64 / begun.elapsed().as_secs_f64();
        let mut random = Seeded(1);
        let begun = Instant::now();
        let found = (0..count).filter(|_| get(&store, random.next() % count).is_some()).count();
        let gets = found as f64 / begun.elapsed().as_secs_f64();
        writeln!(out, "{bytes:>9} {puts:>9.0} {gets:>10.0} {:>10.2}", gets * bytes as f64 / 1e9)?;
        drop(store);
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

fn restart(out: &mut impl Write, folder: &Path, objects: u64) -> Result<()> {
    let folder = folder.join("restart");
    let store = open(&folder, 16 << 30);
    let body = Bytes::from(vec![7; 1 << 10]);
    for number in 0..objects {
        let _ = store.insert(object(&store, number, body.clone()));
        if number % 50_000 == 0 {
            flush(&store);
        }
    }
    flush(&store);
    let counts = store.disk().map(|disk| disk.counts()).unwrap_or_default();
    writeln!(
        out,
        "{} objects of 1 KiB: {:.1} bytes of memory each for the index, {:.0} bytes on the disk each",
        counts.entries,
        counts.index_bytes as f64 / counts.entries as f64,
        counts.bytes as f64 / counts.entries as f64
    )?;
    for (how, ended) in [("after a kill", false), ("after an orderly end", true)] {
        if ended && let Some(disk) = store.disk() {
            disk.close();
        }
        // Another folder with the same files is what a killed process leaves.
        let copy = if ended { folder.clone() } else { folder.with_extension("copy") };
        if !ended {
            std::fs::create_dir_all(&copy)?;
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                std::fs::hard_link(entry.path(), copy.join(entry.file_name()))?;
            }
            std::fs::remove_file(copy.join("lock"))?;
        }
        let begun = Instant::now();
        let next = open(&copy, 16 << 30);
        let took = begun.elapsed();
        let entries = next.disk().map_or(0, |disk| disk.counts().entries);
        writeln!(out, "restart {how}: {entries} objects in {:.2} s", took.as_secs_f64())?;
        drop(next);
        if !ended {
            std::fs::remove_dir_all(&copy)?;
        }
    }
    drop(store);
    std::fs::remove_dir_all(&folder)
}

const KEYS: usize = 60_000;
const REQUESTS: usize = 300_000;

/// Hit ratios in percent, ours and that of least recently used, and the bytes that ours wrote for each byte asked for.
fn ratios(mix: Mix, folder: &Path, bytes_max: u64) -> (f64, f64, f64) {
    let folder = folder.join("ratio");
    let store = open(&folder, bytes_max);
    let body = Bytes::from(vec![7; 65_536]);
    let (mut lru, mut hits, mut lru_hits, mut asked) = (Lru::default(), 0_u32, 0_u32, 0_u64);
    let mut requests = Requests::new(mix, KEYS, 1);
    for _ in 0..REQUESTS {
        let number = requests.draw();
        let bytes = body_bytes(number);
        asked += bytes as u64;
        lru_hits += u32::from(lru.ask(number, bytes as u64 + 500, bytes_max));
        if get(&store, number).is_some() {
            hits += 1;
        } else {
            let _ = store.insert(object(&store, number, body.slice(..bytes)));
            // As slow as an origin: what was just fetched is there when it is asked for again.
            flush(&store);
        }
    }
    let written = store.disk().map_or(0, |disk| disk.counts().written_bytes);
    drop(store);
    let _ = std::fs::remove_dir_all(&folder);
    let percent = |hits: u32| 100.0 * f64::from(hits) / REQUESTS as f64;
    (percent(hits), percent(lru_hits), written as f64 / asked as f64)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "target/disk-example".to_owned()));
    let objects = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let mut out = stdout().lock();
    throughput(&mut out, &folder)?;
    restart(&mut out, &folder, objects)?;
    writeln!(out, "hit ratios        disk   small: ours    lru   written |  large: ours    lru   written")?;
    for mix in MIXES {
        let (ours, lru, written) = ratios(mix, &folder, 16 << 20);
        let (ours2, lru2, written2) = ratios(mix, &folder, 64 << 20);
        writeln!(
            out,
            "{:<24} {ours:>12.1} {lru:>6.1} {written:>9.2} | {ours2:>12.1} {lru2:>6.1} {written2:>9.2}",
            mix.name
        )?;
    }
    std::fs::remove_dir_all(&folder).or(Ok(()))
}
