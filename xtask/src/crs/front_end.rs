//! The HTTP front end of the tests that are about it: requests that must not reach a firewall at all.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::edge::{self, Edge, Setup};
use crate::small_origin::SmallOrigin;

/// Longest wait for a reply on loopback.
const REPLY_MAX: Duration = Duration::from_secs(10);

/// Longest reply that is read.
const REPLY_BYTES_MAX: usize = 1 << 20;

/// Whoever speaks HTTP with the client.
pub trait FrontEnd {
    /// Sends bytes and reads what comes back until the other side closes; empty where nothing comes.
    ///
    /// # Errors
    /// It cannot be reached, or neither answers nor closes.
    fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>>;
}

/// The program's own listener, before an origin that answers everything.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    _edge: Edge,
}

impl Listener {
    /// Starts it.
    ///
    /// # Errors
    /// It does not build or start.
    pub fn start(root: &Path) -> Result<Self> {
        let origin = SmallOrigin::start()?;
        let zone = format!("hosts = [\"*\"]\n[origin]\nurl = \"http://{}\"\n", origin.address());
        let edge = Edge::start(root, &Setup { node: edge::NODE.to_owned(), zone, ..Setup::default() })?;
        Ok(Self { address: edge.plain()?, _edge: edge })
    }
}

impl FrontEnd for Listener {
    fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(REPLY_MAX))?;
        stream.write_all(request)?;
        let mut reply = Vec::new();
        let mut piece = [0; 4096];
        while !is_whole(&reply) && reply.len() < REPLY_BYTES_MAX {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => reply.extend_from_slice(&piece[..read]),
                // Closed with bytes of the request unread.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => return Err(error).context("no reply, and the connection stays open"),
            }
        }
        Ok(reply)
    }
}

/// Whether a reply is there with all of its body, as far as its `Content-Length` tells. Others end with the connection.
fn is_whole(reply: &[u8]) -> bool {
    let text = String::from_utf8_lossy(reply).to_ascii_lowercase();
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| reply.len() >= head.len() + 4 + length)
}

/// The status code of a reply; `None` for what is no HTTP reply.
#[must_use]
pub fn status(reply: &[u8]) -> Option<u16> {
    let first = reply.split(|&byte| byte == b'\r').next()?;
    let rest = first.strip_prefix(b"HTTP/1.1 ").or_else(|| first.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}
