//! `cargo xtask slowhttptest`: Debian's slowhttptest in its three modes (slow head, slow body, slow read), bounded,
//! against a fresh edge, while a probe asks once every 100 ms and must be answered within a second throughout.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::edge::{self, Edge, Setup};
use crate::process::{self, Process};
use crate::small_origin::SmallOrigin;

/// Longest time until the probe has its answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Time between two probes.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// How hard to try.
#[derive(Debug, Args)]
pub struct Options {
    /// Slow connections, at most 4000
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=4000))]
    connections: u16,
    /// Seconds for each mode, at most 120
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u16).range(5..=120))]
    seconds: u16,
}

struct Mode {
    name: &'static str,
    flags: &'static [&'static str],
}

/// Interval, rate and sizes as in slowhttptest's own examples.
const MODES: [Mode; 3] = [
    Mode { name: "slow head", flags: &["-H", "-i", "10", "-x", "24"] },
    Mode { name: "slow body", flags: &["-B", "-i", "10", "-s", "8192", "-x", "10"] },
    Mode { name: "slow read", flags: &["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"] },
];

/// Runs the three modes.
///
/// # Errors
/// A probe without an answer, an edge that ends, or anything that keeps it from running.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    process::need(&[("slowhttptest", "slowhttptest")])?;
    let origin = SmallOrigin::start()?;
    let zone = format!("hosts = [\"*\"]\n[origin]\nurl = \"http://{}\"\n", origin.address());
    let mut edge = Edge::start(root, &Setup { node: edge::NODE.to_owned(), zone, ..Setup::default() })?;
    let target = edge.plain()?;
    let mut figures = Vec::new();
    let mut failed = 0;
    for mode in &MODES {
        let found = attack(mode, target, options)?;
        edge.process.must_live()?;
        println!(
            "{:<10} probes {}, failed {}, slowest {} ms",
            mode.name,
            found.probes,
            found.failed,
            found.slowest.as_millis()
        );
        failed += found.failed;
        figures.push(serde_json::json!({
            "mode": mode.name, "probes": found.probes, "failed": found.failed,
            "slowest_ms": u64::try_from(found.slowest.as_millis())?,
        }));
    }
    println!(
        "{}",
        serde_json::json!({"command": "slowhttptest", "connections": options.connections, "modes": figures})
    );
    if failed > 0 {
        bail!("slowhttptest: {failed} probes had no answer within a second");
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Found {
    probes: usize,
    failed: usize,
    slowest: Duration,
}

fn attack(mode: &Mode, target: SocketAddr, options: &Options) -> Result<Found> {
    let mut command = process::command("slowhttptest");
    command.args(mode.flags).args(["-c", &options.connections.to_string(), "-r", "500", "-p", "2"]);
    command.args(["-l", &options.seconds.to_string(), "-u", &format!("http://{target}/")]);
    let mut attacker = Process::start("slowhttptest", command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let mut found = Found::default();
    // It may end early, when every slow connection has been closed.
    let until = Instant::now() + Duration::from_secs(u64::from(options.seconds) + 10);
    while attacker.ended().is_none() && Instant::now() < until {
        let begun = Instant::now();
        let answer = probe(target);
        let took = begun.elapsed();
        found.probes += 1;
        found.slowest = found.slowest.max(took);
        if let Err(error) = answer {
            println!("{}: probe {} failed after {} ms: {error:#}", mode.name, found.probes, took.as_millis());
            found.failed += 1;
        }
        std::thread::sleep(PROBE_EVERY);
    }
    Ok(found)
}

fn probe(target: SocketAddr) -> Result<()> {
    let until = Instant::now() + ANSWER_MAX;
    let mut stream = TcpStream::connect_timeout(&target, ANSWER_MAX).context("connect")?;
    stream.write_all(b"GET /probe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut reply = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let left = until.checked_duration_since(Instant::now()).context("no whole reply in time")?;
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut chunk).context("read")? {
            0 => break,
            count => reply.extend_from_slice(&chunk[..count]),
        }
    }
    if !reply.starts_with(b"HTTP/1.1 200") {
        bail!("{}", String::from_utf8_lossy(&reply).lines().next().unwrap_or("no reply").to_owned());
    }
    Ok(())
}
