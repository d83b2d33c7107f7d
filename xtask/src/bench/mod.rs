//! `cargo xtask bench`: Archipel and the peers that are installed, in turn, one core each, with access log and cache
//! on. The server is pinned to core 0; the load generator and the origin share core 1. Rounds are interleaved
//! (A B C A B C ...), so that a change of the machine's mood meets all of them.

mod handshake;
mod idle;
mod load;
mod peers;
mod report;
mod sweep;
mod volume;
mod waf;

pub use handshake::TakeAny;
pub use idle::raise_file_limit;
pub use report::this_machine;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};

use crate::{edge, process};
use load::Sample;
use peers::{Kind, Material, Server};
use report::{Line, Report};

/// The core of the server under test.
pub const SERVER_CORE: usize = 0;
/// The core of the load generator and of the origin.
pub const LOAD_CORE: usize = 1;
/// Most seconds a round may take: load is bounded.
const SECONDS_MAX: u64 = 60;
/// Most rounds.
const ROUNDS_MAX: usize = 50;

/// What to measure.
#[derive(Debug, Args)]
pub struct Options {
    /// The case; all of them by default
    #[arg(value_enum, default_value_t = Case::All)]
    case: Case,
    /// Seconds of load a round
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds for each server
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// GiB that are fetched through the disk tier, and that it holds (case `cache`)
    #[arg(long, default_value = "10:2", value_parser = volume_of)]
    fill: (u64, u64),
    /// Objects that are stored (case `cache`)
    #[arg(long, default_value_t = 1_000_000)]
    objects: u64,
    /// Only these servers (archipel is always there)
    #[arg(long, value_enum, value_delimiter = ',')]
    peers: Vec<Kind>,
    /// Writes the table into this document, between the markers of `bench`
    #[arg(long)]
    markdown: Option<PathBuf>,
}

/// One thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// Memory hits of 1 KiB, HTTP/1.1
    Hit,
    /// Memory hits of 1 KiB, HTTP/2 by prior knowledge
    H2,
    /// Memory hits of 100 KiB, HTTP/1.1
    Hit100k,
    /// 1 KiB that nobody may store, fetched for each request
    Proxied,
    /// Memory hits of 1 KiB over TLS 1.3 connections that are kept
    Tls,
    /// Full TLS 1.3 handshakes, each with one hit
    Handshake,
    /// 10,000 keep-alive connections that do nothing
    Idle,
    /// Hits of 10 KiB on disk, many different ones
    Disk10k,
    /// Hits of 1 MiB on disk, many different ones
    Disk1m,
    /// The cache: hits in memory and on disk, and what large caches cost
    Cache,
    /// Of the cache, only what large caches cost: no load, no peers
    Volume,
    /// The firewall beside libmodsecurity, its memory, and a thousand custom rules
    Waf,
    /// Everything but `cache`, `volume` and `waf`
    All,
}

/// `FILL:DISK` in GiB.
fn volume_of(text: &str) -> Result<(u64, u64), String> {
    let (fill, disk) = text.split_once(':').ok_or("expected FILL:DISK in GiB, such as 10:2")?;
    match (fill.parse(), disk.parse()) {
        (Ok(fill), Ok(disk)) if fill > 0 && disk > 0 => Ok((fill, disk)),
        _ => Err("expected two numbers of GiB, such as 10:2".to_owned()),
    }
}

/// What has to hold beside nginx.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// Processor time a request, at most so many times nginx's.
    Cpu(f64),
    /// Requests in a second, at least so many times nginx's.
    Rate(f64),
}

impl std::fmt::Display for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu(bar) => write!(f, "at most {bar:.2} x nginx's CPU a request"),
            Self::Rate(bar) => write!(f, "at least {bar:.2} x nginx's requests a second"),
        }
    }
}

impl Case {
    /// The name in tables.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Hit => "hit, 1 KiB, HTTP/1.1",
            Self::H2 => "hit, 1 KiB, HTTP/2",
            Self::Hit100k => "hit, 100 KiB, HTTP/1.1",
            Self::Proxied => "proxied, 1 KiB, HTTP/1.1",
            Self::Tls => "hit, 1 KiB, TLS 1.3 kept",
            Self::Handshake => "full TLS 1.3 handshake",
            Self::Idle => "10,000 idle connections",
            Self::Disk10k => "hit on disk, 10 KiB, HTTP/1.1",
            Self::Disk1m => "hit on disk, 1 MiB, HTTP/1.1",
            Self::Cache => "cache",
            Self::Volume => "large caches",
            Self::Waf => "firewall",
            Self::All => "all",
        }
    }

    /// The path that is asked for.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Hit100k => "/hit/100k",
            Self::Proxied => "/pass/1k",
            _ => "/hit/1k",
        }
    }

    /// The objects of a case that asks for many different ones, and how many of them.
    #[must_use]
    pub fn objects(self) -> Option<(sweep::Objects, u64)> {
        match self {
            Self::Disk10k => Some((sweep::Objects { path: "/disk10k/", bytes: 10 << 10 }, 40_000)),
            Self::Disk1m => Some((sweep::Objects { path: "/disk1m/", bytes: 1 << 20 }, 600)),
            _ => None,
        }
    }

    /// Whether the edge's listener speaks TLS.
    #[must_use]
    pub fn tls(self) -> bool {
        matches!(self, Self::Tls | Self::Handshake)
    }

    /// Whether replies come from memory.
    #[must_use]
    pub fn is_hit(self) -> bool {
        self != Self::Proxied
    }

    /// What has to hold.
    #[must_use]
    pub fn bar(self) -> Bar {
        match self {
            Self::Hit | Self::H2 => Bar::Cpu(0.85),
            Self::Disk1m => Bar::Rate(0.9),
            _ => Bar::Cpu(1.0),
        }
    }

    fn body_bytes(self) -> usize {
        if self == Self::Hit100k { 100 << 10 } else { 1 << 10 }
    }
}

const MEASURED: [Case; 6] = [Case::Hit, Case::H2, Case::Hit100k, Case::Proxied, Case::Tls, Case::Handshake];
const ON_DISK: [Case; 2] = [Case::Disk10k, Case::Disk1m];

/// Whether a case was asked for.
fn wanted(asked: Case, case: Case) -> bool {
    let of_cache = matches!(case, Case::Hit | Case::Hit100k) || ON_DISK.contains(&case);
    asked == case
        || match asked {
            Case::All => !ON_DISK.contains(&case),
            Case::Cache => of_cache,
            _ => false,
        }
}

/// Measures, prints the tables, and judges the bars.
///
/// # Errors
/// A bar that does not hold, or anything that keeps it from measuring.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    ensure!((1..=SECONDS_MAX).contains(&options.seconds), "--seconds: 1 to {SECONDS_MAX}");
    ensure!((1..=ROUNDS_MAX).contains(&options.rounds), "--rounds: 1 to {ROUNDS_MAX}");
    if options.case == Case::Waf {
        return crate::waf::in_release(root).unwrap_or_else(|| waf::run(root, options));
    }
    process::need(&[
        ("taskset", "util-linux"),
        ("wrk", "wrk"),
        ("h2load", "nghttp2-client"),
        ("nginx", "nginx-light"),
    ])?;
    idle::raise_file_limit()?;
    let material = Material::new()?;
    let mut report = Report::new(root);
    for case in MEASURED.into_iter().chain(ON_DISK).filter(|case| wanted(options.case, *case)) {
        if case.objects().is_some() && !edge::has_disk_tier() {
            report.missed.push(format!("{}: this build has no disk tier", case.title()));
            continue;
        }
        measure(root, options, case, &material, &mut report)?;
    }
    if matches!(options.case, Case::Cache | Case::Volume) {
        let (fill_gib, disk_gib) = options.fill;
        let volume = volume::Volume { fill_gib, disk_gib, objects: options.objects };
        report.volume = Some(volume::run(root, &material, volume)?);
    }
    if matches!(options.case, Case::Idle | Case::All) {
        report.idle = idle::run(root, options, &material)?;
        report.print_idle();
    }
    if let Some(path) = &options.markdown {
        report.write(path).with_context(|| path.display().to_string())?;
    }
    report.finish()
}

/// The servers that take part in a case: Archipel first.
fn kinds(options: &Options, case: Case) -> Vec<Kind> {
    let chosen = |kind: &Kind| options.peers.is_empty() || options.peers.contains(kind) || *kind == Kind::Archipel;
    let all = [Kind::Archipel, Kind::Nginx, Kind::Haproxy, Kind::Varnish];
    all.into_iter().filter(|kind| chosen(kind) && kind.installed() && kind.can(case)).collect()
}

fn measure(root: &Path, options: &Options, case: Case, material: &Material, report: &mut Report) -> Result<()> {
    let mut servers = Vec::new();
    for kind in kinds(options, case) {
        let mut server = Server::start(root, kind, case, material).with_context(|| format!("start {kind:?}"))?;
        server.warm(case).with_context(|| format!("warm {kind:?} up"))?;
        servers.push(server);
    }
    let mut samples: Vec<Vec<Sample>> = servers.iter().map(|_| Vec::new()).collect();
    // A first round that is not counted: pools, pages and branch predictors fill up.
    for round in 0..=options.rounds {
        for (server, samples) in servers.iter_mut().zip(&mut samples) {
            let seconds = if round == 0 { 1 } else { options.seconds };
            let sample = load::round(server, case, seconds, material, round == 0);
            let sample = sample.with_context(|| format!("{:?}, {}", server.kind, case.title()))?;
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    let lines = servers.iter().zip(samples).map(|(server, samples)| Line::new(server.kind, samples)).collect();
    report.add(case, lines);
    Ok(())
}
