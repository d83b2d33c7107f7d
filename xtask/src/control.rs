//! One call over a node's control socket, as the program's own commands make it, without starting a process for it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Longest silence.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Posts JSON and returns the answer.
///
/// # Errors
/// Nobody listens, or the call is refused.
pub fn post(socket: &Path, path: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).context("read the answer")?;
    let (head, body) = reply.split_once("\r\n\r\n").context("an answer without an end of its head")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {reply}");
    Ok(serde_json::from_str(body)?)
}
