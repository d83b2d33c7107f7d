//! The side of the commands: one call over the control socket. Blocking; no runtime is needed for a command.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ErrorAnswer;
use crate::files::CONTROL_SOCKET;

/// How long an answer may take: a reload reads every file of the configuration.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The control socket of one state folder.
pub struct Control {
    state_dir: PathBuf,
}

impl Control {
    /// The one of this state folder.
    pub fn of(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned() }
    }

    /// Whether a node answers there.
    pub fn is_answering(&self) -> bool {
        UnixStream::connect(self.state_dir.join(CONTROL_SOCKET)).is_ok()
    }

    /// Asks without a body.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.call("GET", path, &[])
    }

    /// Asks with a body.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        self.call("POST", path, &serde_json::to_vec(body)?)
    }

    fn call<T: DeserializeOwned>(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<T> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).context("the node does not take the request")?;
        let (status, answer) = read_answer(BufReader::new(stream)).context("the node does not answer")?;
        if status == 200 {
            return serde_json::from_slice(&answer)
                .context("the node answers in a way this version does not understand; is it an older or newer one?");
        }
        match serde_json::from_slice::<ErrorAnswer>(&answer) {
            Ok(answer) => bail!("{}", answer.error),
            Err(_) => {
                bail!("the node answers with status {status} to {method} {path}; is it an older or newer version?")
            }
        }
    }

    fn connect(&self) -> anyhow::Result<UnixStream> {
        let socket = self.state_dir.join(CONTROL_SOCKET);
        let error = match UnixStream::connect(&socket) {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        let folder = self.state_dir.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => bail!(
                "no archipel is running with state folder {folder}\n  start one with `archipel up`, or say which one is meant with --state-dir DIR or --config DIR"
            ),
            io::ErrorKind::PermissionDenied => {
                bail!("{} belongs to another user: run the command as the user that runs the node", socket.display())
            }
            _ => Err(error).context(format!("the control socket {}", socket.display())),
        }
    }
}

/// Reads one answer to a request that said `Connection: close`: status and body.
fn read_answer(stream: impl io::BufRead) -> io::Result<(u16, Vec<u8>)> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut stream = stream.take(ANSWER_BYTES_MAX);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| bad("not an HTTP/1.1 answer"))?;
    let mut length = None;
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(bad("the answer ends in its head"));
        }
        let field = line.trim_end();
        if field.is_empty() {
            break;
        }
        if let Some((name, value)) = field.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse::<usize>().map_err(|_| bad("a length that is no number"))?);
        }
    }
    let mut body = Vec::new();
    stream.read_to_end(&mut body)?;
    match length {
        Some(length) if body.len() < length => Err(bad("the answer ends before its end")),
        Some(length) => {
            body.truncate(length);
            Ok((status, body))
        }
        None => Ok((status, body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &str, expected: Option<(u16, &str)>) {
        let found = read_answer(answer.as_bytes()).ok();
        assert_eq!(found, expected.map(|(status, body)| (status, body.as_bytes().to_vec())), "{answer}");
    }

    #[test]
    fn answers() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Some((200, "{}")));
        check("HTTP/1.1 409 Conflict\r\ncontent-length:2\r\n\r\n{}more", Some((409, "{}")));
        check("HTTP/1.1 200 OK\r\n\r\nuntil the end", Some((200, "until the end")));
        check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", None);
        check("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}", None);
        check("HTTP/1.1 200 OK\r\nContent-", None);
        check("SSH-2.0-OpenSSH\r\n", None);
        check("", None);
    }

    #[test]
    fn nobody_there() {
        let folder = std::env::temp_dir().join("archipel-nobody-is-here");
        let error = Control::of(&folder).get::<ErrorAnswer>("/status").expect_err("nobody listens").to_string();
        assert!(error.contains("no archipel is running with state folder"), "{error}");
        assert!(error.contains("archipel up") && error.contains("--state-dir"), "{error}");
    }
}
