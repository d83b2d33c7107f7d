//! `cargo xtask collapse`: a thousand clients ask at once for one slow object. The origin must be asked once, and all must get
//! their first byte soon after the one whose request went there. Then the same with a leader that is killed: while it waits for
//! the reply, in the middle of the body, and with the origin's connection cut in the middle of the body.
//!
//! When a first byte came is what the kernel says of the packet that brought it (`SO_TIMESTAMPNS`). Clients that are measured sleep
//! meanwhile: in the field they have computers of their own, and here they would take the edge's cores.

use std::io::{IoSliceMut, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::edge::{self, Edge, Setup};

/// Bytes of the object.
const BODY_BYTES: usize = 64 << 10;
/// Bytes that come with its head; the rest comes later.
const FIRST_BYTES: usize = 1 << 10;
/// How long the origin takes to its head, once everybody has asked.
const SLOW: Duration = Duration::from_millis(1500);
/// How long it takes in the middle of the body.
const PAUSE: Duration = Duration::from_millis(700);
/// Longest time for one scenario.
const SCENARIO_SECONDS_MAX: u64 = 60;

/// What to run and what must hold.
#[derive(Debug, Args)]
pub struct Options {
    /// Clients that ask at once
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// Rounds of the first scenario; the median of their spreads counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds after the leader's in which all must have their first byte
    #[arg(long, default_value_t = 5.0)]
    spread_ms: f64,
}

/// Who dies, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Nobody,
    LeaderBeforeReply,
    LeaderInBody,
    OriginInBody,
}

impl Death {
    fn word(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::LeaderBeforeReply => "leader-before-reply",
            Self::LeaderInBody => "leader-in-body",
            Self::OriginInBody => "origin-in-body",
        }
    }
}

/// What one scenario showed.
#[derive(Debug)]
struct Shown {
    origin_requests: usize,
    /// Clients that got all of it.
    complete: usize,
    /// From the leader's first byte to the last client's, where nobody died.
    spread: Option<Duration>,
    /// Processor time that the edge took from the origin's first bytes until all had them.
    cpu: Duration,
}

/// Runs all scenarios and judges them.
///
/// # Errors
/// A bar that does not hold, or anything that keeps it from running.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    ensure!((2..=10_000).contains(&options.clients), "--clients: 2 to 10000");
    ensure!((1..=50).contains(&options.rounds), "--rounds: 1 to 50");
    crate::bench::raise_file_limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let origin = runtime.block_on(Origin::start())?;
    let setup = Setup { node: edge::NODE.to_owned(), zone: zone(origin.address), ..Setup::default() };
    let edge = Edge::start(root, &setup)?;
    let address = edge.plain()?;
    origin.state.edge.store(edge.process.pid(), Ordering::SeqCst);
    let mut spreads = Vec::new();
    let mut lines = Vec::new();
    let deaths = [Death::LeaderBeforeReply, Death::LeaderInBody, Death::OriginInBody];
    for death in std::iter::repeat_n(Death::Nobody, options.rounds).chain(deaths) {
        let shown = runtime.block_on(async {
            let scenario = async {
                match death {
                    Death::Nobody => burst(&origin, address, options.clients).await,
                    _ => scenario(&origin, address, options.clients, death).await,
                }
            };
            tokio::time::timeout(Duration::from_secs(SCENARIO_SECONDS_MAX), scenario).await.context("too slow")?
        });
        let mut shown = shown.with_context(|| death.word())?;
        shown.cpu = Duration::from_nanos(origin.state.cpu_nanoseconds.load(Ordering::SeqCst));
        let spread = shown.spread.map(|spread| spread.as_secs_f64() * 1e3);
        println!(
            "{:<20} origin requests {:>3}   complete {:>5}   edge's time {:.2} ms{}",
            death.word(),
            shown.origin_requests,
            shown.complete,
            shown.cpu.as_secs_f64() * 1e3,
            spread.map_or_else(String::new, |spread| format!("   last first byte {spread:.2} ms after the leader's"))
        );
        spreads.extend(spread);
        lines.push((death, shown));
    }
    judge(options, spreads, &lines)
}

fn judge(options: &Options, mut spreads: Vec<f64>, lines: &[(Death, Shown)]) -> Result<()> {
    spreads.sort_by(f64::total_cmp);
    let spread = spreads.get(spreads.len() / 2).copied().unwrap_or(f64::MAX);
    let mut cpu: Vec<f64> = lines.iter().map(|(_, shown)| shown.cpu.as_secs_f64() * 1e3).collect();
    cpu.sort_by(f64::total_cmp);
    let cpu = cpu.get(cpu.len() / 2).copied().unwrap_or_default();
    let most = |of: &[Death]| {
        let asked = lines.iter().filter(|(death, _)| of.contains(death)).map(|(_, shown)| shown.origin_requests);
        asked.max().unwrap_or(0)
    };
    let (once, after_death) =
        (most(&[Death::Nobody]), most(&[Death::LeaderBeforeReply, Death::LeaderInBody, Death::OriginInBody]));
    // A leader that is killed does not count among those who must get everything.
    let lost = |(death, shown): &(Death, Shown)| {
        let dead = usize::from(matches!(death, Death::LeaderBeforeReply | Death::LeaderInBody));
        (options.clients - dead).saturating_sub(shown.complete)
    };
    let lost: usize = lines.iter().map(lost).sum();
    let line = serde_json::json!({
        "command": "collapse", "clients": options.clients, "rounds": options.rounds,
        "origin_requests": once, "origin_requests_after_death": after_death, "incomplete": lost,
        "spread_ms": spread, "spread_ms_all": spreads, "spread_ms_bar": options.spread_ms, "edge_cpu_ms": cpu,
    });
    println!("{line}");
    ensure!(once == 1, "the origin was asked {once} times");
    ensure!(after_death <= 2, "the origin was asked {after_death} times where somebody died");
    ensure!(lost == 0, "{lost} clients did not get everything");
    ensure!(spread <= options.spread_ms, "{spread:.2} ms from the leader's first byte to the last one's");
    Ok(())
}

fn zone(origin: SocketAddr) -> String {
    format!("hosts = [\"*\"]\n[origin]\nurl = \"http://{origin}\"\nretries_max = 0\n")
}

/// A slow origin.
struct Origin {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    asked: AtomicUsize,
    /// The next reply is cut in the middle.
    cut: AtomicUsize,
    /// Replies that came to the middle of their body.
    middles: AtomicUsize,
    /// The edge's process.
    edge: AtomicU32,
    /// Its processor time from the first bytes of the last reply to the middle of the pause in it.
    cpu_nanoseconds: AtomicU64,
}

/// Processor time of a process so far, in nanoseconds: what is measured is shorter than a clock tick.
fn cpu_nanoseconds(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("schedstat")).ok();
    tasks.filter_map(of).filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum()
}

impl Origin {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                // The edge may leave in the middle; that shows in what clients get.
                tokio::spawn(async move { drop(answer(stream, &state).await) });
            }
        });
        Ok(Self { address, state })
    }
}

async fn answer(mut stream: TcpStream, state: &State) -> Result<()> {
    stream.set_nodelay(true)?;
    let body = vec![b'x'; BODY_BYTES];
    while let Some(head) = read_head(&mut stream).await? {
        state.asked.fetch_add(1, Ordering::SeqCst);
        let from = range_start(&head);
        if from == 0 {
            tokio::time::sleep(SLOW).await;
        }
        let fields = "Cache-Control: max-age=60\r\nETag: \"v\"\r\nAccept-Ranges: bytes\r\n";
        let (status, shown) = match from {
            0 => ("200 OK", String::new()),
            from => ("206 Partial Content", format!("Content-Range: bytes {from}-{}/{BODY_BYTES}\r\n", BODY_BYTES - 1)),
        };
        let rest = body.get(from..).unwrap_or_default();
        let head = format!("HTTP/1.1 {status}\r\n{fields}{shown}Content-Length: {}\r\n\r\n", rest.len());
        let (first, rest) = rest.split_at(FIRST_BYTES.min(rest.len()));
        let pid = state.edge.load(Ordering::SeqCst);
        let before = cpu_nanoseconds(pid);
        stream.write_all(&[head.as_bytes(), first].concat()).await?;
        state.middles.fetch_add(1, Ordering::SeqCst);
        if from == 0 {
            tokio::time::sleep(PAUSE / 2).await;
            state.cpu_nanoseconds.store(cpu_nanoseconds(pid) - before, Ordering::SeqCst);
            tokio::time::sleep(PAUSE / 2).await;
        }
        if state.cut.swap(0, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        stream.write_all(rest).await?;
    }
    Ok(())
}

fn range_start(head: &str) -> usize {
    let line = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    line.and_then(|value| value.split('-').next()?.parse().ok()).unwrap_or(0)
}

async fn read_head(stream: &mut TcpStream) -> Result<Option<String>> {
    let mut head = Vec::new();
    let mut byte = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await? {
            0 => return Ok(None),
            count => head.extend_from_slice(byte.get(..count).unwrap_or_default()),
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

/// What one client got.
struct Got {
    /// It did not wait for another one's fetch.
    led: bool,
    complete: bool,
}

/// A path that no scenario asked for before.
fn request() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("GET /slow/{} HTTP/1.1\r\nHost: a.example\r\n\r\n", NUMBER.fetch_add(1, Ordering::SeqCst))
}

/// All ask at once, nobody dies, and nobody waits on a socket: the first bytes are read when all have long arrived.
async fn burst(origin: &Origin, edge: SocketAddr, clients: usize) -> Result<Shown> {
    let request = request();
    origin.state.asked.store(0, Ordering::SeqCst);
    origin.state.middles.store(0, Ordering::SeqCst);
    let mut streams = Vec::with_capacity(clients);
    for _ in 0..clients {
        let stream = std::net::TcpStream::connect(edge)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PAUSE * 5))?;
        setsockopt(&stream, sockopt::ReceiveTimestampns, &true).context("SO_TIMESTAMPNS")?;
        streams.push(stream);
    }
    for stream in &mut streams {
        stream.write_all(request.as_bytes())?;
    }
    reach(&origin.state.middles).await;
    tokio::time::sleep(PAUSE / 2).await;
    let firsts = streams.iter().map(first_bytes).collect::<Result<Vec<_>>>()?;
    let rest = |(mut stream, (first, mut whole)): (std::net::TcpStream, (Duration, Vec<u8>))| {
        let mut piece = [0; 16 << 10];
        while !is_over(&whole) {
            let count = stream.read(&mut piece)?;
            ensure!(count > 0, "the connection ended");
            whole.extend_from_slice(&piece[..count]);
        }
        Ok((first, got(&whole)?))
    };
    let reading = move || streams.into_iter().zip(firsts).map(rest).collect::<Result<Vec<_>>>();
    // The origin has the other half of the pause before it, on this thread.
    let seen = tokio::task::spawn_blocking(reading).await??;
    let from = seen.iter().find(|(_, got)| got.led).map(|(first, _)| *first).context("nobody led")?;
    let last = seen.iter().map(|(first, _)| *first).max().unwrap_or(from);
    Ok(Shown {
        origin_requests: origin.state.asked.load(Ordering::SeqCst),
        complete: seen.iter().filter(|(_, got)| got.complete).count(),
        spread: Some(last.saturating_sub(from)),
        cpu: Duration::ZERO,
    })
}

/// When the first packet came, since the epoch, and what is there by now. Packets that the kernel joined have the last one's time.
fn first_bytes(stream: &std::net::TcpStream) -> Result<(Duration, Vec<u8>)> {
    let mut bytes = vec![0; 16 << 10];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let time = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
        _ => None,
    });
    let (time, count) = (time.context("a packet without its time")?, message.bytes);
    bytes.truncate(count);
    Ok((time, bytes))
}

async fn scenario(origin: &Origin, edge: SocketAddr, clients: usize, death: Death) -> Result<Shown> {
    let request = request();
    origin.state.asked.store(0, Ordering::SeqCst);
    origin.state.middles.store(0, Ordering::SeqCst);
    origin.state.cut.store(usize::from(death == Death::OriginInBody), Ordering::SeqCst);
    let mut streams = Vec::with_capacity(clients);
    for _ in 0..clients {
        let stream = TcpStream::connect(edge).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let mut streams = streams.into_iter();
    let mut leader = streams.next();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut running = JoinSet::new();
    if let Some(stream) = &mut leader {
        stream.write_all(request.as_bytes()).await?;
        reach(&origin.state.asked).await;
    }
    for mut stream in streams {
        stream.write_all(request.as_bytes()).await?;
        let seen = seen.clone();
        running.spawn(async move {
            if let Ok(one) = read(&mut stream).await {
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(one);
            }
        });
    }
    if death == Death::LeaderBeforeReply {
        kill(leader.take()).await;
    } else if death == Death::LeaderInBody {
        reach(&origin.state.middles).await;
        kill(leader.take()).await;
    } else if let Some(mut stream) = leader.take() {
        let one = read(&mut stream).await?;
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(one);
    }
    while running.join_next().await.is_some() {}
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Shown {
        origin_requests: origin.state.asked.load(Ordering::SeqCst),
        complete: seen.iter().filter(|one| one.complete).count(),
        spread: None,
        cpu: Duration::ZERO,
    })
}

/// Waits until something was counted.
async fn reach(count: &AtomicUsize) {
    while count.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn kill(leader: Option<TcpStream>) {
    // All others have asked by now, and wait.
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(leader);
}

async fn read(stream: &mut TcpStream) -> Result<Got> {
    let mut whole = Vec::with_capacity(BODY_BYTES + (4 << 10));
    while !is_over(&whole) && stream.read_buf(&mut whole).await.unwrap_or(0) > 0 {}
    got(&whole)
}

/// Whether nothing more is to come.
fn is_over(whole: &[u8]) -> bool {
    whole.starts_with(b"HTTP/1.1 5") || end_of_head(whole).is_some_and(|end| whole.len() >= end + BODY_BYTES)
}

fn got(whole: &[u8]) -> Result<Got> {
    let end = end_of_head(whole).context("no head")?;
    let head = String::from_utf8_lossy(whole.get(..end).unwrap_or_default());
    let complete = head.starts_with("HTTP/1.1 200") && whole.len() == end + BODY_BYTES;
    Ok(Got { led: !head.contains("collapsed"), complete })
}

/// Where the head ends.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}
