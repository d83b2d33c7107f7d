//! What large caches cost: memory while much more is fetched than the disk tier holds; a million objects in memory and on disk,
//! purged and started again.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::peers::Material;
use super::sweep::{Objects, sweep};
use crate::control;
use crate::edge::{self, Edge, Setup};
use crate::fetch;
use crate::process::Folder;

/// Objects of the fill.
const LARGE: Objects = Objects { path: "/large/", bytes: 1 << 20 };
/// Objects of the fill that are asked for again before the next ones; together less than the memory tier.
const LARGE_BLOCK: u64 = 32;
/// Objects of which there are a million.
const SMALL: Objects = Objects { path: "/small/", bytes: 100 };
/// Growth that is always allowed: allocators keep some of what a peak needed.
const GROWTH_BYTES_FREE: u64 = 16 << 20;
/// Times that each object is asked for at most until it is on the disk.
const SWEEPS_MAX: usize = 4;
/// Purges that are timed.
const PURGES: u64 = 31;
/// The longest that is waited for the disk's index after a restart, in seconds.
const READABLE_SECONDS_MAX: f64 = 60.0;
/// The longest that a purge may take, in milliseconds.
const PURGE_MS_BAR: f64 = 1.0;
/// The longest from a start to the first hit, in seconds.
const RESTART_SECONDS_BAR: f64 = 5.0;

/// How much.
#[derive(Debug, Clone, Copy)]
pub struct Volume {
    /// GiB that are fetched through the disk tier.
    pub fill_gib: u64,
    /// GiB that it holds.
    pub disk_gib: u64,
    /// Objects.
    pub objects: u64,
}

/// What was found: figures for the JSON line, and which bars do not hold.
#[derive(Debug, Default)]
pub struct Findings {
    /// By name.
    pub figures: serde_json::Map<String, serde_json::Value>,
    /// What falls short.
    pub missed: Vec<String>,
    /// Lines for people.
    pub lines: Vec<String>,
}

impl Findings {
    fn say(&mut self, line: String) {
        println!("{line}");
        self.lines.push(line);
    }

    fn judge(&mut self, good: bool, text: String) {
        if !good {
            self.missed.push(text);
        }
    }
}

/// Measures all of it.
///
/// # Errors
/// The edge does not start, or a reply is wrong.
pub fn run(root: &Path, material: &Material, volume: Volume) -> Result<Findings> {
    let mut findings = Findings::default();
    memory_tier(root, material, volume, &mut findings)?;
    if edge::has_disk_tier() {
        fill(root, material, volume, &mut findings)?;
        disk_tier(root, material, volume, &mut findings)?;
    } else {
        findings.missed.push("this build has no disk tier".to_owned());
    }
    Ok(findings)
}

fn setup(material: &Material, memory: &str, disk: Option<(&Folder, u64)>) -> Setup {
    let disk = disk.map_or_else(String::new, |(folder, gib)| {
        format!("[cache.disk]\npath = \"{}\"\nbytes_max = \"{gib}GiB\"\n", folder.path().display())
    });
    let node = format!(
        "{}\n[log]\naccess = \"{{folder}}/access.log\"\n[cache]\nmemory_bytes_max = \"{memory}\"\n{disk}",
        edge::NODE
    );
    let zone = format!("hosts = [\"*\"]\n[origin]\nurl = \"http://127.0.0.1:{}\"\n", material.origin_port);
    Setup { node, zone, ..Setup::default() }
}

/// Bytes that only this process has: not what the page cache holds of its files.
fn anonymous_bytes(edge: &Edge) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", edge.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
}

/// Much more than the disk tier holds goes through it: memory must stay as it was.
fn fill(root: &Path, material: &Material, volume: Volume, findings: &mut Findings) -> Result<()> {
    let disk = Folder::new("bench-disk")?;
    let edge = Edge::start(root, &setup(material, "64MiB", Some((&disk, volume.disk_gib))))?;
    let port = edge.plain()?.port();
    let mut samples = Vec::new();
    let begun = Instant::now();
    let all = volume.fill_gib * 1024;
    for block in 0..all.div_ceil(LARGE_BLOCK) {
        let range = block * LARGE_BLOCK..all.min((block + 1) * LARGE_BLOCK);
        // Twice: what is asked for once is not worth the disk.
        for _ in 0..2 {
            sweep(port, LARGE, range.clone(), || Ok(()))?;
        }
        samples.push(anonymous_bytes(&edge)?);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let warm = samples.get(samples.len() / 5).copied().unwrap_or(0);
    let most = samples.iter().skip(samples.len() / 5).copied().max().unwrap_or(0);
    let held = folder_bytes(disk.path())?;
    findings.say(format!(
        "{} GiB through {} GiB of disk in {seconds:.0} s: {} MiB of memory after a fifth, {} MiB at most from there; {} MiB on disk",
        volume.fill_gib, volume.disk_gib, warm >> 20, most >> 20, held >> 20
    ));
    findings.judge(
        most <= warm + warm / 10 + GROWTH_BYTES_FREE,
        format!("filling the disk tier: memory grew from {} to {} MiB", warm >> 20, most >> 20),
    );
    let written = metric(&edge, "archipel_cache_disk_written_bytes_total")?;
    findings.judge(
        written >= volume.fill_gib << 29,
        format!("only {} MiB of {} GiB were written to disk", written >> 20, volume.fill_gib),
    );
    let bound = (volume.disk_gib << 30) + (volume.disk_gib << 30) / 20;
    findings.judge(held <= bound, format!("the disk tier holds {} MiB, more than its bound", held >> 20));
    findings.figures.insert(
        "fill".to_owned(),
        json!({"seconds": seconds, "memory_warm_bytes": warm, "memory_most_bytes": most, "disk_bytes": held,
               "written_bytes": written}),
    );
    Ok(())
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        // Blocks, as files may be sparse.
        sum += if meta.is_dir() { folder_bytes(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(sum)
}

fn memory_tier(root: &Path, material: &Material, volume: Volume, findings: &mut Findings) -> Result<()> {
    let edge = Edge::start(root, &setup(material, "6GiB", None))?;
    let before = anonymous_bytes(&edge)?;
    sweep(edge.plain()?.port(), SMALL, 0..volume.objects, || Ok(()))?;
    let stored = metric(&edge, "archipel_cache_entries")?;
    let each = anonymous_bytes(&edge)?.saturating_sub(before) / stored.max(1);
    let counted = metric(&edge, "archipel_cache_bytes")? / stored.max(1);
    findings.say(format!(
        "{stored} objects of {} bytes in memory: {each} bytes of memory each, {counted} counted",
        SMALL.bytes
    ));
    findings.judge(stored == volume.objects, format!("memory: {stored} objects are stored of {}", volume.objects));
    let (key, all) = time_purges(&edge, volume, findings, "memory")?;
    findings.figures.insert(
        "memory_objects".to_owned(),
        json!({"objects": stored, "bytes_each": each, "counted_bytes_each": counted, "purge_key_ms": key, "purge_everything_ms": all}),
    );
    Ok(())
}

fn disk_tier(root: &Path, material: &Material, volume: Volume, findings: &mut Findings) -> Result<()> {
    let disk = Folder::new("bench-disk")?;
    let setup = setup(material, "16MiB", Some((&disk, 4)));
    let mut edge = Edge::start(root, &setup)?;
    let before = anonymous_bytes(&edge)?;
    let mut stored = 0;
    for _ in 0..SWEEPS_MAX {
        sweep(edge.plain()?.port(), SMALL, 0..volume.objects, || Ok(()))?;
        stored = metric(&edge, "archipel_cache_disk_entries")?;
        if stored >= volume.objects / 100 * 95 {
            break;
        }
    }
    findings.judge(
        stored >= volume.objects / 100 * 95,
        format!("disk: {stored} objects of {} after {SWEEPS_MAX} requests for each", volume.objects),
    );
    let each = anonymous_bytes(&edge)?.saturating_sub(before) as f64 / stored.max(1) as f64;
    let begun = Instant::now();
    edge.restart()?;
    let ready = begun.elapsed().as_secs_f64();
    // Until the index is read, requests are answered by the origin.
    while metric_now(&edge, "archipel_cache_disk_readable")? == 0
        && begun.elapsed().as_secs_f64() < READABLE_SECONDS_MAX
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    let serving = begun.elapsed().as_secs_f64();
    let hits = sample_hits(&edge, volume)?;
    findings.say(format!(
        "{stored} objects of {} bytes on disk, beside 16 MiB of memory: {each:.0} bytes of memory each, those of the memory tier included; stopped and started: answers after \
         {ready:.2} s, from the disk after {serving:.2} s; {hits} of {PURGES} sampled objects are hits",
        SMALL.bytes
    ));
    findings.judge(
        serving <= RESTART_SECONDS_BAR,
        format!("restart to serving took {serving:.1} s, the bar is {RESTART_SECONDS_BAR} s"),
    );
    findings.judge(hits * 2 > PURGES, format!("after a restart only {hits} of {PURGES} objects are hits"));
    let (key, all) = time_purges(&edge, volume, findings, "disk")?;
    findings.figures.insert(
        "disk_objects".to_owned(),
        json!({"objects": stored, "bytes_each": each, "restart_ready_seconds": ready, "restart_disk_seconds": serving,
               "hits_after_restart": hits, "purge_key_ms": key, "purge_everything_ms": all}),
    );
    Ok(())
}

/// Hits among objects from all over, asked for once each.
fn sample_hits(edge: &Edge, volume: Volume) -> Result<u64> {
    let address = SocketAddr::from(([127, 0, 0, 1], edge.plain()?.port()));
    let mut hits = 0;
    for sample in 0..PURGES {
        let reply = fetch::whole(address, &SMALL.path_of(sample * (volume.objects / PURGES)))?;
        hits += u64::from(reply.to_ascii_lowercase().contains("cache-status: archipel; hit"));
    }
    Ok(hits)
}

/// Milliseconds of a purge by URL and of everything, over the control socket and durable, by the median.
fn time_purges(edge: &Edge, volume: Volume, findings: &mut Findings, tier: &str) -> Result<(f64, f64)> {
    let address = edge.plain()?;
    let url = |at: u64| format!("http://localhost{}", SMALL.path_of(at * (volume.objects / PURGES)));
    let key = median((0..PURGES).map(|at| timed(edge, &json!({"urls": [url(at)]}))).collect::<Result<Vec<_>>>()?);
    let reply = fetch::whole(address, &SMALL.path_of(0))?;
    ensure!(!reply.to_ascii_lowercase().contains("archipel; hit"), "a purged object is served: {reply}");
    let tag = |at: u64| json!({"tags": [{"zone": "site", "tag": format!("part-{at}")}]});
    let tag = median((0..PURGES).map(|at| timed(edge, &tag(at))).collect::<Result<Vec<_>>>()?);
    let all = median((0..PURGES).map(|_| timed(edge, &json!({"everything": true}))).collect::<Result<Vec<_>>>()?);
    let reply = fetch::whole(address, &SMALL.path_of(volume.objects / 2))?;
    ensure!(!reply.to_ascii_lowercase().contains("archipel; hit"), "a purged object is served: {reply}");
    findings.say(format!(
        "  purge by URL {key:.2} ms, by tag {tag:.2} ms, of everything {all:.2} ms (median of {PURGES}, {tier}, on the disk's journal)"
    ));
    for (what, ms) in [("by URL", key), ("by tag", tag), ("of everything", all)] {
        findings
            .judge(ms < PURGE_MS_BAR, format!("{tier}: a purge {what} takes {ms:.2} ms, the bar is {PURGE_MS_BAR} ms"));
    }
    Ok((key.max(tag), all))
}

fn timed(edge: &Edge, call: &serde_json::Value) -> Result<f64> {
    let begun = Instant::now();
    control::post(edge.control()?, "/purge", call)?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn metric(edge: &Edge, name: &str) -> Result<u64> {
    // The page is made while objects are still being put in place.
    std::thread::sleep(Duration::from_millis(300));
    metric_now(edge, name)
}

fn metric_now(edge: &Edge, name: &str) -> Result<u64> {
    let admin = edge.ready.admin.context("no admin listener")?;
    let page = fetch::text(admin, "/metrics")?;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(line.with_context(|| format!("no metric {name}"))?.trim().parse::<f64>()? as u64)
}
