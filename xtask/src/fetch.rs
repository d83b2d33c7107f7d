//! One GET over a connection of its own, for what the runs ask about themselves: metrics, status pages.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Longest silence.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The whole reply, head and body as they came. Only loopback is asked.
///
/// # Errors
/// No connection, or no reply.
pub fn whole(address: SocketAddr, path: &str) -> Result<String> {
    ensure!(address.ip().is_loopback(), "{address} is not loopback");
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).context("read the reply")?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

/// The body of a reply with status 200; chunk sizes, if any, stay in it.
///
/// # Errors
/// Another status, no connection, or no reply.
pub fn text(address: SocketAddr, path: &str) -> Result<String> {
    let reply = whole(address, path)?;
    let (head, body) = reply.split_once("\r\n\r\n").context("a reply without an end of its head")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {}", head.lines().next().unwrap_or_default());
    Ok(body.to_owned())
}
