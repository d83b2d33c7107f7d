//! The scripted origin: a raw HTTP/1.1 server that answers each path by a script of exact bytes.
//!
//! Owns per-path scripts, gates that a test releases, and the record of every byte received with the connection
//! it came on. It must never answer what it was not told to: an unknown path gets a 404 that says so.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::chance::pattern;
use crate::message::{Framing, Message, read_body, read_head};
use crate::wire::{Stream, Wire};

/// Something a script waits for and a test releases. Cloning gives the same gate.
#[derive(Clone)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { open: Arc::new(watch::Sender::new(false)) }
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through, now and later.
    pub fn release(&self) {
        self.open.send_replace(true);
    }

    /// Waits for the release.
    pub async fn wait(&self) {
        let mut state = self.open.subscribe();
        // The sender lives in `self`, so the wait can only end by the release.
        let _ = state.wait_for(|open| *open).await;
    }
}

/// One act of a script.
#[derive(Clone)]
pub enum Act {
    /// Write exactly these bytes.
    Send(Vec<u8>),
    /// Write `count` bytes of the checkable pattern ([`pattern`]).
    SendPattern {
        /// Seed of the pattern.
        seed: u64,
        /// How many bytes.
        count: u64,
    },
    /// Write `count` zero bytes.
    SendZeros {
        /// How many bytes.
        count: u64,
    },
    /// Wait for the test.
    Wait(Gate),
    /// Tell the test that the script came here.
    Announce(Gate),
    /// Read the request's body now (otherwise it is read after the script).
    ReadBody,
    /// Close the connection.
    Close,
    /// Reset the connection.
    Reset,
    /// Send back every byte that comes, until the end.
    Echo,
}

impl Act {
    /// A whole response with a right Content-Length.
    pub fn reply(status: &str, fields: &str, body: &str) -> Self {
        Self::Send(format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
    }

    /// Exact bytes.
    pub fn send(bytes: impl AsRef<[u8]>) -> Self {
        Self::Send(bytes.as_ref().to_vec())
    }
}

/// One request as it was received.
#[derive(Debug, Clone)]
pub struct Received {
    /// Which connection it came on, counted from 1.
    pub connection: usize,
    /// The message; its head holds the exact bytes.
    pub message: Message,
}

#[derive(Default)]
struct Shared {
    scripts: HashMap<String, Vec<Act>>,
    requests: Vec<Received>,
    /// Every byte of every connection, in order of the connections.
    bytes: Vec<Vec<u8>>,
    faults: Vec<String>,
}

/// The origin; it stops when dropped.
pub struct ScriptedOrigin {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    changed: Arc<Notify>,
    accepting: JoinHandle<()>,
}

impl Drop for ScriptedOrigin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl ScriptedOrigin {
    /// Starts a plain origin on a free port of 127.0.0.1.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(None).await
    }

    /// Starts an origin, over TLS where a configuration is given.
    pub async fn start_with(tls: Option<Arc<ServerConfig>>) -> anyhow::Result<Self> {
        Self::serve(TcpListener::bind("127.0.0.1:0").await?, tls)
    }

    /// The same on a listener that is there already.
    pub fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let changed = Arc::new(Notify::new());
        let accepting = tokio::spawn(accept(listener, tls, Arc::clone(&shared), Arc::clone(&changed)));
        Ok(Self { address, shared, changed, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the script of a path (with its query); `*` stands for every path without one.
    pub fn on(&self, path: &str, script: Vec<Act>) {
        lock(&self.shared).scripts.insert(path.to_owned(), script);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Received> {
        lock(&self.shared).requests.clone()
    }

    /// How many requests named this target.
    pub fn count(&self, target: &str) -> usize {
        lock(&self.shared).requests.iter().filter(|r| r.message.head.target() == target).count()
    }

    /// Every byte received, a connection each.
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        lock(&self.shared).bytes.clone()
    }

    /// What clients of this origin did wrong, by the rules of framing.
    pub fn faults(&self) -> Vec<String> {
        lock(&self.shared).faults.clone()
    }

    /// Waits until `wanted` requests for `target` have come.
    pub async fn wait_for(&self, target: &str, wanted: usize) -> anyhow::Result<()> {
        crate::within(&format!("{wanted} requests for {target} at the origin"), async {
            loop {
                let next = self.changed.notified();
                tokio::pin!(next);
                next.as_mut().enable();
                if self.count(target) >= wanted {
                    return;
                }
                next.await;
            }
        })
        .await
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Mutex<Shared>>,
    changed: Arc<Notify>,
) {
    let mut tasks = tokio::task::JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let _ = tcp.set_nodelay(true);
        let index = {
            let mut state = lock(&shared);
            state.bytes.push(Vec::new());
            state.bytes.len()
        };
        let (tls, shared, changed) = (tls.clone(), Arc::clone(&shared), Arc::clone(&changed));
        tasks.spawn(async move {
            let stream = match tls {
                None => Stream::Plain(tcp),
                Some(config) => match Stream::accept_tls(tcp, config).await {
                    Ok(stream) => stream,
                    Err(error) => return lock(&shared).faults.push(format!("TLS: {error}")),
                },
            };
            let mut connection = Connection { index, wire: Wire::new(stream), shared, changed };
            if let Err(error) = connection.serve().await {
                let fault = format!("connection {index}: {error:#}");
                lock(&connection.shared).faults.push(fault);
            }
        });
        while tasks.try_join_next().is_some() {}
    }
}

struct Connection {
    index: usize,
    wire: Wire,
    shared: Arc<Mutex<Shared>>,
    changed: Arc<Notify>,
}

impl Connection {
    /// Serves requests until the connection ends. An idle connection waits without a deadline.
    async fn serve(&mut self) -> anyhow::Result<()> {
        loop {
            while self.wire.buffer.is_empty() {
                if !self.wire.fill_unbounded().await {
                    return Ok(());
                }
            }
            let Some(head) = read_head(&mut self.wire).await? else {
                return Ok(());
            };
            self.note();
            let framing = Framing::of_request(&head)?;
            let script = self.script(head.target());
            let mut pending = Some(framing);
            let mut message = Message { head, ..Message::default() };
            let reads_first =
                !script.iter().any(|act| matches!(act, Act::ReadBody | Act::Wait(_) | Act::Echo)) && !early(&message);
            if reads_first {
                message = self.read(message, &mut pending).await?;
            }
            let at = self.record(message.clone());
            for act in script {
                if matches!(act, Act::ReadBody) {
                    message = self.read(message, &mut pending).await?;
                    self.replace(at, message.clone());
                } else if !self.act(act).await? {
                    return Ok(());
                }
            }
            if pending.is_some() {
                message = self.read(message, &mut pending).await?;
                self.replace(at, message);
            }
        }
    }

    async fn read(&mut self, message: Message, pending: &mut Option<Framing>) -> anyhow::Result<Message> {
        let Some(framing) = pending.take() else {
            return Ok(message);
        };
        let whole = read_body(&mut self.wire, message.head, framing).await?;
        self.note();
        Ok(whole)
    }

    fn script(&self, target: &str) -> Vec<Act> {
        let state = lock(&self.shared);
        let script = state.scripts.get(target).or_else(|| state.scripts.get("*"));
        script.cloned().unwrap_or_else(|| {
            vec![Act::reply("404 Not Found", "Cache-Control: no-store\r\n", "no script for this path")]
        })
    }

    fn note(&mut self) {
        let news = std::mem::take(&mut self.wire.received);
        if let Some(bytes) = lock(&self.shared).bytes.get_mut(self.index - 1) {
            bytes.extend(news);
        }
    }

    fn record(&self, message: Message) -> usize {
        let mut state = lock(&self.shared);
        state.requests.push(Received { connection: self.index, message });
        self.changed.notify_waiters();
        state.requests.len() - 1
    }

    fn replace(&self, at: usize, message: Message) {
        if let Some(received) = lock(&self.shared).requests.get_mut(at) {
            received.message = message;
        }
        self.changed.notify_waiters();
    }

    /// Does one act; false where the connection is over.
    async fn act(&mut self, act: Act) -> anyhow::Result<bool> {
        match act {
            Act::Send(bytes) => return Ok(self.wire.send_unbounded(&bytes).await.is_ok()),
            Act::SendPattern { seed, count } => {
                let mut offset = 0;
                while offset < count {
                    let size = usize::try_from((count - offset).min(64 << 10))?;
                    if self.wire.send_unbounded(&pattern(seed, offset, size)).await.is_err() {
                        return Ok(false);
                    }
                    offset += size as u64;
                }
            }
            Act::SendZeros { count } => {
                let zeros = vec![0; 64 << 10];
                let mut left = count;
                while left > 0 {
                    let size = usize::try_from(left.min(zeros.len() as u64))?;
                    if self.wire.send_unbounded(&zeros[..size]).await.is_err() {
                        return Ok(false);
                    }
                    left -= size as u64;
                }
            }
            Act::Wait(gate) => gate.wait().await,
            Act::Announce(gate) => gate.release(),
            Act::ReadBody => {}
            Act::Close => {
                let _ = self.wire.finish().await;
                return Ok(false);
            }
            Act::Reset => {
                let _ = socket2::SockRef::from(self.wire.stream().tcp()).set_linger(Some(std::time::Duration::ZERO));
                return Ok(false);
            }
            Act::Echo => loop {
                let bytes = std::mem::take(&mut self.wire.buffer);
                if (!bytes.is_empty() && self.wire.send(&bytes).await.is_err()) || !self.wire.fill_unbounded().await {
                    return Ok(false);
                }
                self.note();
            },
        }
        Ok(true)
    }
}

/// A request whose body waits for permission is answered by the script, not read first.
fn early(message: &Message) -> bool {
    message.head.get("expect").is_some()
}
