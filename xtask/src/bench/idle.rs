//! What an idle connection costs: 10,000 keep-alive connections after one request each, from many loopback
//! addresses, and the server's memory before and after.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::peers::{Material, Server};
use super::{Case, Options, kinds};

/// Connections that are held.
const CONNECTIONS: usize = 10_000;
/// Client addresses they come from: 127.0.0.2 and up.
const ADDRESSES: usize = 100;
/// Files that the client needs beside the connections.
const FILES_SPARE: u64 = 200;

/// What one server showed.
#[derive(Debug)]
pub struct Idle {
    /// The server.
    pub kind: super::Kind,
    /// Bytes before.
    pub before_bytes: u64,
    /// Bytes with all connections idle.
    pub after_bytes: u64,
}

impl Idle {
    /// Bytes that the connections cost.
    #[must_use]
    pub fn growth_bytes(&self) -> u64 {
        self.after_bytes.saturating_sub(self.before_bytes)
    }
}

/// Raises the soft limit of open files to the hard one; children inherit it.
///
/// # Errors
/// The system refuses.
pub fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("raise the file limit")
}

/// Measures each server.
///
/// # Errors
/// A server refuses connections, or the machine allows too few files.
pub fn run(root: &Path, options: &Options, material: &Material) -> Result<Vec<Idle>> {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    ensure!(files >= CONNECTIONS as u64 + FILES_SPARE, "at most {files} open files: raise the hard limit (ulimit -Hn)");
    let mut found = Vec::new();
    for kind in kinds(options, Case::Idle) {
        let mut server = Server::start(root, kind, Case::Idle, material)?;
        server.warm(Case::Idle)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let before_bytes = server.memory_bytes();
        let held = runtime.block_on(hold(server.port)).with_context(|| format!("{kind:?}"))?;
        let after_bytes = server.memory_bytes();
        // Only those count that are still there.
        runtime.block_on(all_open(&held)).with_context(|| format!("{kind:?}"))?;
        found.push(Idle { kind, before_bytes, after_bytes });
    }
    Ok(found)
}

async fn hold(port: u16) -> Result<Vec<TcpStream>> {
    let target = SocketAddr::from(([127, 0, 0, 1], port));
    let mut held = Vec::with_capacity(CONNECTIONS);
    for number in 0..CONNECTIONS {
        let last = u8::try_from(number % ADDRESSES + 2)?;
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, last], 0)))?;
        let mut stream = socket.connect(target).await.with_context(|| format!("connection {number}"))?;
        let once = tokio::time::timeout(Duration::from_secs(10), request(&mut stream)).await;
        once.with_context(|| format!("connection {number}: no answer"))?
            .with_context(|| format!("connection {number}"))?;
        held.push(stream);
    }
    // Buffers that are given back after a moment count as given back.
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(held)
}

async fn request(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", Case::Idle.path()).as_bytes()).await?;
    let mut reply = Vec::with_capacity(2048);
    while !(reply.len() > 1 << 10 && reply.windows(4).any(|window| window == b"\r\n\r\n") && whole(&reply)) {
        ensure!(stream.read_buf(&mut reply).await? > 0, "the server closed");
    }
    ensure!(reply.starts_with(b"HTTP/1.1 200"), "not 200");
    Ok(())
}

fn whole(reply: &[u8]) -> bool {
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n");
    end.is_some_and(|end| reply.len() >= end + 4 + (1 << 10))
}

async fn all_open(held: &[TcpStream]) -> Result<()> {
    let closed = held.iter().filter(|stream| matches!(stream.try_read(&mut [0; 1]), Ok(0))).count();
    ensure!(closed == 0, "{closed} of {} connections were closed", held.len());
    Ok(())
}
