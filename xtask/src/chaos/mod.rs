//! `cargo xtask chaos`: cacheable load whose every byte is checked, while the edge is killed without a word every few seconds and
//! started again on the same disk, its disk fills up, its files rot and vanish, and purges are sent at random. Every byte must be
//! right, nothing purged may come back, and each start must succeed.

mod faults;
mod objects;
mod origin;
mod visitors;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use archipel_testkit::chance::Chance;
use clap::Args;
use serde_json::json;

use crate::edge::{self, Edge, Setup};
use crate::{control, fetch};
use faults::Faults;
use objects::{HOST, OBJECTS, Purge, Truth, ZONE};

/// How long and how hard.
#[derive(Debug, Args)]
pub struct Options {
    /// Minutes, at most 240
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Seconds between two kills
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..=600))]
    kill_seconds: u64,
    /// Visitors at a time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=32))]
    visitors: u64,
    /// Milliseconds that a visitor pauses at most between two requests
    #[arg(long, default_value_t = 8)]
    pause_ms: u64,
    /// The seed of what is asked, purged and broken
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What all threads share.
pub struct World {
    /// Where the edge listens now; 0 while it is down.
    pub port: AtomicU16,
    /// Tells everybody to end.
    pub stop: AtomicBool,
    /// What has been generated and purged.
    pub truth: Truth,
    /// What was counted.
    pub tally: Tally,
    /// Longest pause of a visitor.
    pub pause_max: Duration,
}

impl World {
    /// Whether the run is over.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What was counted.
#[derive(Debug, Default)]
pub struct Tally {
    /// Whole and right replies.
    pub right: AtomicU64,
    /// Of these from the store.
    pub hits: AtomicU64,
    /// Errors that the edge answered.
    pub refused: AtomicU64,
    /// Connections and replies that broke off: the edge was killed.
    pub broken: AtomicU64,
    /// Wrong bytes. None is allowed.
    pub wrong: AtomicU64,
    /// Replies made before a purge that had been acknowledged before they were asked for. None is allowed.
    pub resurrected: AtomicU64,
    /// Purges acknowledged as durable.
    pub purges: AtomicU64,
    /// Purges that were made but not durable, or not answered.
    pub purges_not_durable: AtomicU64,
    /// Counters of the disk tier, summed over all lives of the edge as far as they could be read.
    pub disk: Mutex<BTreeMap<String, u64>>,
}

/// Counts one.
pub fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Runs and judges.
///
/// # Errors
/// Anything that must not happen, happened.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    ensure!(options.minutes > 0.0 && options.minutes <= 240.0, "--minutes: more than 0, at most 240");
    let world = Arc::new(World {
        port: AtomicU16::new(0),
        stop: AtomicBool::new(false),
        truth: Truth::new(),
        tally: Tally::default(),
        pause_max: Duration::from_millis(options.pause_ms),
    });
    let mut chance = Chance::new(options.seed);
    let origin = origin::start(Arc::clone(&world))?;
    let faults = Faults::new()?;
    let mut edge = Edge::start(root, &setup(origin, &faults))?;
    world.port.store(edge.plain()?.port(), Ordering::Relaxed);
    let mut threads = Vec::new();
    for _ in 0..options.visitors {
        let (world, chance) = (Arc::clone(&world), Chance::new(chance.next_u64()));
        threads.push(std::thread::spawn(move || visitors::visit(&world, chance)));
    }
    let purger = {
        let (world, chance) = (Arc::clone(&world), Chance::new(chance.next_u64()));
        let socket = edge.control()?.to_owned();
        std::thread::spawn(move || purge(&world, &socket, chance))
    };
    let breaker = {
        let (world, chance) = (Arc::clone(&world), Chance::new(chance.next_u64()));
        std::thread::spawn(move || faults.run(&world, chance))
    };
    let starts = kill_and_watch(&mut edge, options, &world);
    world.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a visitor panicked"))?;
    }
    purger.join().map_err(|_| anyhow::anyhow!("the purger panicked"))?;
    let breakages = breaker.join().map_err(|_| anyhow::anyhow!("the breaker panicked"))?;
    let (starts, failed) = starts?;
    count_disk(&edge, &world);
    let metrics = edge.ready.admin.map(|admin| fetch::text(admin, "/metrics")).transpose();
    let metrics = metrics.ok().flatten().unwrap_or_default();
    let exit = edge.process.end();
    let panicked = edge.stderr().contains("panicked at")
        || metrics.lines().any(|l| l.starts_with("archipel_panics_total ") && !l.ends_with(" 0"));
    judge(&world, &starts, &failed, &breakages, exit, panicked)
}

fn setup(origin: std::net::SocketAddr, faults: &Faults) -> Setup {
    let disk = if edge::has_disk_tier() {
        format!("[cache.disk]\npath = \"{}\"\nbytes_max = \"{}MiB\"\n", faults.cache().display(), faults.cache_mib())
    } else {
        String::new()
    };
    let node = format!("{}\n[cache]\nmemory_bytes_max = \"16MiB\"\n{disk}", edge::NODE);
    let zone = format!(
        "hosts = [\"{HOST}\"]\n[origin]\nurl = \"http://{origin}\"\nconnect_timeout = \"1s\"\nfirst_byte_timeout = \"5s\"\n\
         between_bytes_timeout = \"5s\"\n[cache]\ncollapse_wait = \"3s\"\n"
    );
    let zone_file = (format!("zones/{ZONE}.toml"), zone.clone().into_bytes());
    // The zone has a name of its own, as purges name it; the other one answers nobody.
    let other = zone.replace(HOST, "nobody.test");
    Setup { node, zone: other, core: None, files: vec![zone_file] }
}

/// How a start went: seconds until it served, with how many objects on the disk's word.
type Starts = Vec<f64>;

/// Kills and restarts until the time is over.
fn kill_and_watch(edge: &mut Edge, options: &Options, world: &World) -> Result<(Starts, Vec<String>)> {
    let until = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    let (mut starts, mut failed) = (Vec::new(), Vec::new());
    let mut next_kill = Instant::now() + Duration::from_secs(options.kill_seconds);
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(200));
        if let Some(code) = edge.process.ended() {
            anyhow::bail!("the edge ended by itself with {code}:\n{}", edge.stderr());
        }
        if Instant::now() < next_kill {
            continue;
        }
        count_disk(edge, world);
        world.port.store(0, Ordering::Relaxed);
        let begun = Instant::now();
        if let Err(error) = edge.kill_and_restart() {
            failed.push(format!("{error:#}"));
            break;
        }
        starts.push(begun.elapsed().as_secs_f64());
        world.port.store(edge.plain()?.port(), Ordering::Relaxed);
        next_kill = Instant::now() + Duration::from_secs(options.kill_seconds);
        report(world, &starts);
    }
    Ok((starts, failed))
}

/// Adds what the disk tier of this life counted.
fn count_disk(edge: &Edge, world: &World) {
    let page = edge.ready.admin.and_then(|admin| fetch::text(admin, "/metrics").ok()).unwrap_or_default();
    let mut sums = world.tally.disk.lock().unwrap_or_else(PoisonError::into_inner);
    for line in page.lines() {
        if let Some((name, value)) =
            line.strip_prefix("archipel_cache_disk_").and_then(|line| line.split_once("_total "))
            && let Ok(value) = value.trim().parse::<u64>()
            && value > 0
        {
            *sums.entry(name.to_owned()).or_default() += value;
        }
    }
}

fn report(world: &World, starts: &[f64]) {
    let (tally, of) = (&world.tally, |counter: &AtomicU64| counter.load(Ordering::Relaxed));
    println!(
        "start {:>3} in {:.2} s; right {} ({} hits), refused {}, broken {}, purges {} (+{} not durable), wrong {}, resurrected {}",
        starts.len(),
        starts.last().copied().unwrap_or(0.0),
        of(&tally.right),
        of(&tally.hits),
        of(&tally.refused),
        of(&tally.broken),
        of(&tally.purges),
        of(&tally.purges_not_durable),
        of(&tally.wrong),
        of(&tally.resurrected),
    );
}

/// Sends purges at random, and notes those that were acknowledged.
fn purge(world: &World, socket: &Path, mut chance: Chance) {
    while !world.stopped() {
        std::thread::sleep(Duration::from_millis(20 + chance.below(400)));
        if world.port.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let soft = chance.below(8) == 0;
        let purge = match chance.below(40) {
            0 => Purge::Everything,
            1 => Purge::Zone,
            2 => Purge::Host,
            3..6 => Purge::Prefix,
            6..14 => Purge::Tag(chance.below(objects::TAGS)),
            _ => Purge::Url(chance.below(OBJECTS)),
        };
        let sent = world.truth.now_us();
        // What comes after the purge differs from what was before it.
        world.truth.outdate(&purge);
        let answer = control::post(socket, "/purge", &purge.call(soft));
        match answer {
            Ok(answer) if answer["durable"] == true && !soft => {
                world.truth.acknowledge(&purge, sent);
                add(&world.tally.purges);
            }
            Ok(_) if soft => {}
            _ => add(&world.tally.purges_not_durable),
        }
    }
}

fn judge(
    world: &World,
    starts: &[f64],
    failed: &[String],
    breakages: &faults::Breakages,
    exit: Option<i32>,
    panicked: bool,
) -> Result<()> {
    let (tally, of) = (&world.tally, |counter: &AtomicU64| counter.load(Ordering::Relaxed));
    let disk = tally.disk.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let longest = starts.iter().copied().fold(0.0, f64::max);
    let mean = starts.iter().sum::<f64>() / (starts.len().max(1)) as f64;
    let line = json!({
        "command": "chaos", "disk_tier": edge::has_disk_tier(), "kills": starts.len(), "starts_failed": failed.len(),
        "start_seconds_mean": (mean * 1000.0).round() / 1000.0, "start_seconds_longest": (longest * 1000.0).round() / 1000.0,
        "right": of(&tally.right), "hits": of(&tally.hits), "refused": of(&tally.refused), "broken": of(&tally.broken),
        "purges": of(&tally.purges), "purges_not_durable": of(&tally.purges_not_durable),
        "disk_full": breakages.full, "files_rotten": breakages.rotten, "files_cut": breakages.cut, "folder_gone": breakages.gone,
        "disk": disk, "wrong": of(&tally.wrong), "resurrected": of(&tally.resurrected), "panicked": panicked, "exit": exit,
    });
    println!("{line}");
    ensure!(failed.is_empty(), "chaos: a start failed: {}", failed.join("\n"));
    ensure!(of(&tally.right) > 0 && of(&tally.hits) > 0, "chaos: nothing was answered, or nothing from the store");
    let read = disk.get("hits").copied().unwrap_or(0);
    ensure!(read > 0 || !edge::has_disk_tier(), "chaos: nothing was answered from the disk");
    ensure!(of(&tally.wrong) == 0, "chaos: {} wrong replies", of(&tally.wrong));
    ensure!(of(&tally.resurrected) == 0, "chaos: {} purged replies came back", of(&tally.resurrected));
    ensure!(!panicked, "chaos: the edge panicked");
    ensure!(exit == Some(0), "chaos: the edge ended with {exit:?}");
    Ok(())
}
