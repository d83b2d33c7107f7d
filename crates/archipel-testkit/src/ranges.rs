//! An origin of one large representation that answers ranges, for tests of slices.
//!
//! Its bytes are the checkable [`pattern`], so a reader can tell which representation each of them belongs to. It must never
//! answer better than its manners say: a test chooses what it gets wrong.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use crate::chance::pattern;
use crate::message::{Head, read_head};
use crate::origin::Gate;
use crate::wire::{Stream, Wire};

/// What the origin serves, and what it gets wrong.
#[derive(Clone)]
pub struct Manners {
    /// Seed of the pattern.
    pub seed: u64,
    /// Bytes of the representation.
    pub length: u64,
    /// `ETag`, as sent; none where empty.
    pub etag: String,
    /// Field lines of every reply, each with CRLF.
    pub fields: String,
    /// Ranges are answered with 206.
    pub ranges: bool,
    /// `Accept-Ranges: bytes` is sent.
    pub accept_ranges: bool,
    /// The range in `Content-Range` begins so many bytes late.
    pub shift: u64,
    /// A 206 has at most so many bytes.
    pub part_bytes_max: u64,
    /// Status of every reply instead of 200 and 206; without content.
    pub status: Option<u16>,
    /// The next reply breaks off after so many bytes; then this is `None`.
    pub cut_after: Option<u64>,
    /// Every reply's content waits for it, behind its first `gate_after` bytes.
    pub gate: Option<Gate>,
    /// See `gate`.
    pub gate_after: u64,
}

impl Manners {
    /// An origin that does everything right.
    pub fn good(seed: u64, length: u64) -> Self {
        Self {
            seed,
            length,
            etag: format!("\"{seed}\""),
            fields: "Cache-Control: max-age=600\r\n".to_owned(),
            ranges: true,
            accept_ranges: true,
            shift: 0,
            part_bytes_max: u64::MAX,
            status: None,
            cut_after: None,
            gate: None,
            gate_after: 0,
        }
    }
}

struct State {
    manners: Manners,
    requests: Vec<Head>,
}

/// The origin; it stops when dropped.
pub struct RangeOrigin {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    accepting: JoinHandle<()>,
}

impl Drop for RangeOrigin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl RangeOrigin {
    /// Starts it on a free port of 127.0.0.1.
    pub async fn start(manners: Manners) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State { manners, requests: Vec::new() }));
        let changed = Arc::new(Notify::new());
        let accepting = tokio::spawn(accept(listener, state.clone(), changed.clone()));
        Ok(Self { address, state, changed, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it serves, for requests that come from now on.
    pub fn change(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut lock(&self.state).manners);
    }

    /// The `Range` of each request so far; `-` where it had none, and `HEAD` or the like before other methods than GET.
    pub fn asked(&self) -> Vec<String> {
        let say = |head: &Head| {
            let range = head.get("range").unwrap_or("-");
            if head.method() == "GET" { range.to_owned() } else { format!("{} {range}", head.method()) }
        };
        lock(&self.state).requests.iter().map(say).collect()
    }

    /// The heads of all requests so far.
    pub fn requests(&self) -> Vec<Head> {
        lock(&self.state).requests.clone()
    }

    /// Waits until so many requests have come.
    pub async fn wait_for(&self, wanted: usize) -> anyhow::Result<()> {
        crate::within(&format!("{wanted} requests at the origin"), async {
            loop {
                let next = self.changed.notified();
                tokio::pin!(next);
                next.as_mut().enable();
                if lock(&self.state).requests.len() >= wanted {
                    return;
                }
                next.await;
            }
        })
        .await
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>, changed: Arc<Notify>) {
    let mut tasks = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let _ = tcp.set_nodelay(true);
        let (state, changed) = (state.clone(), changed.clone());
        // A peer that leaves in the middle of a reply is no fault: that is how a fetch is abandoned.
        tasks.spawn(async move { drop(serve(tcp, &state, &changed).await) });
        while tasks.try_join_next().is_some() {}
    }
}

async fn serve(tcp: TcpStream, state: &Mutex<State>, changed: &Notify) -> anyhow::Result<()> {
    let mut wire = Wire::new(Stream::Plain(tcp));
    loop {
        while wire.buffer.is_empty() {
            if !wire.fill_unbounded().await {
                return Ok(());
            }
        }
        let Some(head) = read_head(&mut wire).await? else { return Ok(()) };
        let (manners, cut) = {
            let mut state = lock(state);
            state.requests.push(head.clone());
            changed.notify_waiters();
            (state.manners.clone(), state.manners.cut_after.take())
        };
        let (text, body) = answer(&head, &manners);
        wire.send_unbounded(text.as_bytes()).await?;
        if !send(&mut wire, &manners, body, cut).await? {
            return Ok(());
        }
    }
}

/// The head of the reply, and which bytes follow.
fn answer(asked: &Head, manners: &Manners) -> (String, std::ops::Range<u64>) {
    let mut fields = manners.fields.clone();
    if !manners.etag.is_empty() {
        fields.push_str(&format!("ETag: {}\r\n", manners.etag));
    }
    if manners.accept_ranges {
        fields.push_str("Accept-Ranges: bytes\r\n");
    }
    let length = manners.length;
    if let Some(status) = manners.status {
        return (format!("HTTP/1.1 {status} Status\r\n{fields}Content-Length: 0\r\n\r\n"), 0..0);
    }
    if asked.get("if-none-match").is_some_and(|tag| tag == manners.etag) {
        return (format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n"), 0..0);
    }
    let holds = asked.get("if-range").is_none_or(|tag| tag == manners.etag);
    let range = asked.get("range").filter(|_| manners.ranges && holds).and_then(|value| range(value, length));
    let (text, body) = match range {
        None => (format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n"), 0..length),
        Some(range) if range.is_empty() => {
            let head = "HTTP/1.1 416 Range Not Satisfiable\r\n";
            (format!("{head}{fields}Content-Range: bytes */{length}\r\nContent-Length: 0\r\n\r\n"), 0..0)
        }
        Some(range) => {
            let range = range.start..range.end.min(range.start.saturating_add(manners.part_bytes_max));
            let (first, last) = (range.start + manners.shift, range.end - 1 + manners.shift);
            let shown = format!("Content-Range: bytes {first}-{last}/{length}\r\n");
            let size = range.end - range.start;
            (format!("HTTP/1.1 206 Partial Content\r\n{fields}{shown}Content-Length: {size}\r\n\r\n"), range)
        }
    };
    if asked.method() == "HEAD" { (text, 0..0) } else { (text, body) }
}

/// One range as asked for; `None` where it is to be ignored, empty where there are no such bytes.
fn range(value: &str, length: u64) -> Option<std::ops::Range<u64>> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let count: u64 = last.parse().ok()?;
        return Some(length.saturating_sub(count)..length);
    }
    let first: u64 = first.parse().ok()?;
    let end = if last.is_empty() { length } else { last.parse::<u64>().ok()?.saturating_add(1).min(length) };
    Some(first.min(length)..end.max(first.min(length)))
}

/// Sends bytes of the pattern; false where the connection ends here.
async fn send(
    wire: &mut Wire,
    manners: &Manners,
    body: std::ops::Range<u64>,
    cut: Option<u64>,
) -> anyhow::Result<bool> {
    let stop = cut.map_or(body.end, |cut| body.end.min(body.start + cut));
    let gate_at = body.start.saturating_add(manners.gate_after);
    let mut at = body.start;
    while at < stop {
        if let Some(gate) = manners.gate.as_ref().filter(|_| at >= gate_at) {
            gate.wait().await;
        }
        let until = if at < gate_at { stop.min(gate_at) } else { stop };
        let size = usize::try_from((until - at).min(64 << 10))?;
        wire.send_unbounded(&pattern(manners.seed, at, size)).await?;
        at += size as u64;
    }
    if cut.is_some() {
        let _ = wire.finish().await;
    }
    Ok(cut.is_none())
}
