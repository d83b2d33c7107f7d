//! `cargo xtask soak`: minutes of mixed load against a fresh edge whose origin dies, stalls, truncates, lies and
//! sends garbage. No panic, no leak, no wrong body, every exchange recorded.

mod client;
mod origin;
pub mod plan;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use archipel_testkit::chance::Chance;
use clap::Args;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::bench::TakeAny;
use crate::edge::{self, Edge, Setup};
use client::World;

/// Growth that is always allowed: allocators keep some of what a peak needed.
const GROWTH_BYTES_FREE: u64 = 16 << 20;

/// How long and how hard.
#[derive(Debug, Args)]
pub struct Options {
    /// Minutes of load, at most 240
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Visitors over HTTP/1.1; half as many come over HTTP/2, and as many again over TLS; at most 64
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=64))]
    visitors: u64,
    /// Milliseconds that a visitor pauses at most between two requests
    #[arg(long, default_value_t = 40)]
    pause_ms: u64,
    /// The seed that replays what is asked
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How a visitor comes.
#[derive(Debug, Clone, Copy)]
enum Way {
    Http1,
    Http2,
    Http1Tls,
    Http2Tls,
}

/// Runs the soak and judges.
///
/// # Errors
/// Anything that must not happen, happened.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    ensure!(options.minutes > 0.0 && options.minutes <= 240.0, "--minutes: more than 0, at most 240");
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let mut edge = Edge::start(root, &setup(listener.local_addr()?)?)?;
    let world =
        World { tally: Arc::default(), origin: Arc::default(), pause_max: Duration::from_millis(options.pause_ms) };
    // One thread for origin and visitors leaves the other core to the edge.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let visitors = start_visitors(&runtime, &edge, options, &world)?;
    let origin = Arc::clone(&world.origin);
    let load = std::thread::spawn(move || {
        runtime.block_on(async move {
            let origin = tokio::spawn(origin::run(tokio::net::TcpListener::from_std(listener)?, origin));
            for visitor in visitors {
                let _ = visitor.await;
            }
            origin.abort();
            anyhow::Ok(())
        })
    });
    let memory = watch_memory(&mut edge, options, &world)?;
    world.tally.stop.store(true, Ordering::Relaxed);
    // Exchanges that are under way end by themselves, each within its own limit.
    load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
    let records = records(&edge)?;
    let stderr = edge.stderr();
    let exit = edge.process.end();
    let lines =
        std::fs::read_to_string(edge.folder.path().join("access.log")).context("the access log")?.lines().count();
    judge(&world, &memory, &Ending { records, lines: lines as u64, exit, panicked: stderr.contains("panicked") })
}

fn setup(origin: SocketAddr) -> Result<Setup> {
    let made = rcgen::generate_simple_self_signed(vec!["soak.test".to_owned()])?;
    let node = format!(
        "{}\n[[listen]]\naddress = \"127.0.0.1:0\"\ntls = true\n\
         [[certificate]]\ncertificate = \"{{folder}}/cert.pem\"\nkey = \"{{folder}}/key.pem\"\n\
         [log]\naccess = \"{{folder}}/access.log\"\n[cache]\nmemory_bytes_max = \"32MiB\"\n",
        edge::NODE
    );
    let zone = format!(
        "hosts = [\"soak.test\"]\n[origin]\nurl = \"http://{origin}\"\nconnect_timeout = \"1s\"\nfirst_byte_timeout = \"2s\"\n\
         between_bytes_timeout = \"2s\"\n[cache]\ncollapse_wait = \"3s\"\n"
    );
    let files = vec![
        ("cert.pem".to_owned(), made.cert.pem().into_bytes()),
        ("key.pem".to_owned(), made.signing_key.serialize_pem().into_bytes()),
    ];
    Ok(Setup { node, zone, core: None, files })
}

fn start_visitors(
    runtime: &tokio::runtime::Runtime,
    edge: &Edge,
    options: &Options,
    world: &World,
) -> Result<Vec<tokio::task::JoinHandle<()>>> {
    let (plain, tls) = (edge.plain()?, edge.tls()?);
    let mut chance = Chance::new(options.seed);
    let many = options.visitors;
    let ways = [
        (Way::Http1, many),
        (Way::Http2, many.div_ceil(2)),
        (Way::Http1Tls, many.div_ceil(2)),
        (Way::Http2Tls, many.div_ceil(2)),
    ];
    let mut started = Vec::new();
    for (way, count) in ways {
        let address = if matches!(way, Way::Http1 | Way::Http2) { plain } else { tls };
        for _ in 0..count {
            let (world, mut chance) = (world.clone(), Chance::new(chance.next_u64()));
            started.push(runtime.spawn(async move {
                while !world.tally.stop.load(Ordering::Relaxed) {
                    if visit(way, address, &world, &mut chance).await.is_err() {
                        // A refused connection is tried again, not in a tight loop.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }));
        }
    }
    Ok(started)
}

async fn visit(way: Way, address: SocketAddr, world: &World, chance: &mut Chance) -> Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    match way {
        Way::Http1 => client::http1(stream, world, chance).await,
        Way::Http2 => client::http2(stream, "http", world, chance).await,
        Way::Http1Tls => client::http1(secure(stream, b"http/1.1").await?, world, chance).await,
        Way::Http2Tls => client::http2(secure(stream, b"h2").await?, "https", world, chance).await,
    }
}

async fn secure(stream: TcpStream, protocol: &[u8]) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakeAny))
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("soak.test")?, stream).await?)
}

/// Watches until the time is over; returns the memory once a second.
fn watch_memory(edge: &mut Edge, options: &Options, world: &World) -> Result<Vec<u64>> {
    let begun = Instant::now();
    let time = Duration::from_secs_f64(options.minutes * 60.0);
    let mut memory = Vec::new();
    while begun.elapsed() < time {
        std::thread::sleep(Duration::from_secs(1));
        edge.process.must_live().with_context(|| edge.stderr())?;
        memory.push(edge.process.memory_bytes());
        if memory.len().is_multiple_of(30) {
            let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            let tally = &world.tally;
            println!(
                "{:>5} s: sent {}, right {}, refused {} ({} of them good), broken {}, left {}, wrong {}, stuck {}, memory {} MiB",
                begun.elapsed().as_secs(),
                of(&tally.sent),
                of(&tally.right),
                of(&tally.refused),
                of(&tally.refused_good),
                of(&tally.broken),
                of(&tally.left),
                of(&tally.wrong),
                of(&tally.stuck),
                memory.last().copied().unwrap_or(0) >> 20,
            );
        }
    }
    Ok(memory)
}

/// What the metrics say when all is quiet.
#[derive(Debug, Default)]
struct Records {
    ended: u64,
    dropped: u64,
    panics: u64,
}

/// Reads the metrics until no exchange has ended for two seconds.
fn records(edge: &Edge) -> Result<Records> {
    const ENDED: &str = "archipel_requests_total";
    let admin = edge.ready.admin.context("the edge has no admin listener")?;
    let mut last = None;
    for _ in 0..60 {
        let text = crate::fetch::text(admin, "/metrics")?;
        ensure!(text.contains(ENDED), "the metrics have no {ENDED}");
        let ended = sum(&text, ENDED);
        if last == Some(ended) {
            return Ok(Records {
                ended,
                dropped: sum(&text, "archipel_log_records_dropped_total"),
                panics: sum(&text, "archipel_panics_total") + sum(&text, "archipel_connection_panics_total"),
            });
        }
        last = Some(ended);
        std::thread::sleep(Duration::from_secs(2));
    }
    bail!("exchanges still end two minutes after the last visitor left")
}

/// The sum over all labels of a metric.
fn sum(text: &str, name: &str) -> u64 {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let values = lines.filter(|rest| rest.starts_with(['{', ' '])).filter_map(|rest| rest.rsplit(' ').next());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    values.filter_map(|value| value.parse::<f64>().ok()).map(|value| value as u64).sum()
}

/// How it ended.
#[derive(Debug)]
struct Ending {
    records: Records,
    lines: u64,
    exit: Option<i32>,
    panicked: bool,
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

fn judge(world: &World, memory: &[u64], ending: &Ending) -> Result<()> {
    let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let tally = &world.tally;
    // After a fifth of the time pools and cache are full; from there on nothing may grow.
    let (warm, late) = (memory.len() / 5, memory.len() * 4 / 5);
    let warm = median(memory.get(warm..warm * 2 + 1).unwrap_or_default());
    let late = median(memory.get(late..).unwrap_or_default());
    let wrong_uploads = of(&world.origin.wrong_uploads);
    let answered = of(&tally.right) + of(&tally.refused) + of(&tally.wrong);
    let line = serde_json::json!({
        "command": "soak", "seconds": memory.len(), "sent": of(&tally.sent), "right": of(&tally.right),
        "refused": of(&tally.refused), "refused_good": of(&tally.refused_good), "broken": of(&tally.broken),
        "left": of(&tally.left), "wrong": of(&tally.wrong), "wrong_uploads": wrong_uploads, "stuck": of(&tally.stuck),
        "origin_requests": of(&world.origin.requests), "origin_deaths": of(&world.origin.deaths),
        "memory_warm_bytes": warm, "memory_end_bytes": late,
        "exchanges": ending.records.ended, "answered": answered, "log_lines": ending.lines, "log_dropped": ending.records.dropped,
        "panics": ending.records.panics, "exit": ending.exit,
    });
    println!("{line}");
    ensure!(of(&tally.right) > 0, "soak: nothing was answered");
    ensure!(
        of(&tally.wrong) + wrong_uploads == 0,
        "soak: {} wrong replies, {wrong_uploads} wrong uploads",
        of(&tally.wrong)
    );
    ensure!(of(&tally.stuck) == 0, "soak: {} exchanges were stuck", of(&tally.stuck));
    ensure!(!ending.panicked && ending.records.panics == 0, "soak: the edge panicked");
    ensure!(ending.exit == Some(0), "soak: the edge ended with {:?}", ending.exit);
    ensure!(
        late <= warm + warm / 10 + GROWTH_BYTES_FREE,
        "soak: memory grew from {} to {} MiB",
        warm >> 20,
        late >> 20
    );
    // Three who count without each other: the log, the metrics, and the visitors. A visitor who left early cannot know
    // whether the edge had read the request, so theirs is a range.
    let recorded = ending.lines + ending.records.dropped;
    ensure!(recorded == ending.records.ended, "soak: {} exchanges, {recorded} recorded", ending.records.ended);
    let sent = of(&tally.sent);
    ensure!((answered..=sent).contains(&recorded), "soak: {answered} answered, {sent} sent, {recorded} recorded");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn metrics_are_summed() {
        let text = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\nab 7\nc 1\n";
        assert_eq!(sum(text, "a"), 5);
        assert_eq!(sum(text, "c"), 1);
        assert_eq!(sum(text, "d"), 0);
    }
}
