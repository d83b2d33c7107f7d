//! The program under test as a child process, and the temporary directory it lives in.
//!
//! Owns starting, the readiness line, output kept for failures, signals and the end. A child never outlives its
//! handle. It must never end a process that it did not start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::within;

/// Most output kept of one child, in bytes; what comes later is dropped, since the start tells more.
const OUTPUT_BYTES_MAX: usize = 256 << 10;

/// A directory that is removed when dropped.
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Makes a new directory under the system's temporary one.
    pub fn new(label: &str) -> anyhow::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("archipel-{label}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, making its folders.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Lines that a child wrote, shown when a test fails.
#[derive(Clone, Default)]
pub struct Output {
    text: Arc<Mutex<String>>,
}

impl Output {
    fn push(&self, line: &str) {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if text.len() < OUTPUT_BYTES_MAX {
            text.push_str(line);
            text.push('\n');
        }
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where a running edge can be reached, from its readiness line.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// Process id.
    pub pid: i32,
    /// Listeners with whether they speak TLS, in order of the configuration.
    pub listeners: Vec<(SocketAddr, bool)>,
    /// The admin listener.
    pub admin: Option<SocketAddr>,
    /// The control socket.
    pub control_socket: Option<PathBuf>,
}

impl Announcement {
    /// Reads the JSON that the program announces.
    pub fn parse(json: &str) -> anyhow::Result<Self> {
        let value: serde_json::Value = serde_json::from_str(json).with_context(|| format!("announcement {json:?}"))?;
        let mut listeners = Vec::new();
        for listener in value["listeners"].as_array().context("no listeners announced")? {
            let address = listener["address"].as_str().context("a listener without an address")?.parse()?;
            listeners.push((address, listener["tls"].as_bool().unwrap_or(false)));
        }
        Ok(Self {
            pid: i32::try_from(value["pid"].as_i64().context("no pid announced")?)?,
            listeners,
            admin: value["admin"].as_str().map(str::parse).transpose()?,
            control_socket: value["control_socket"].as_str().map(PathBuf::from),
        })
    }

    /// The first plain listener.
    pub fn plain(&self) -> anyhow::Result<SocketAddr> {
        self.listeners.iter().find(|(_, tls)| !tls).map(|(a, _)| *a).context("no plain listener")
    }

    /// The first TLS listener.
    pub fn tls(&self) -> anyhow::Result<SocketAddr> {
        self.listeners.iter().find(|(_, tls)| *tls).map(|(a, _)| *a).context("no TLS listener")
    }
}

/// A running edge.
pub struct Edge {
    child: Child,
    /// What it announced.
    pub at: Announcement,
    /// What it wrote.
    pub output: Output,
}

/// The word that begins the readiness line.
const READY: &str = "archipel ready ";

impl Edge {
    /// Starts `binary up --config DIR --announce -` with more arguments and waits until it is ready.
    pub async fn start(binary: &Path, config: &Path, more: &[&str]) -> anyhow::Result<Self> {
        let folder = config.display().to_string();
        let arguments: Vec<&str> = ["--config", &folder].into_iter().chain(more.iter().copied()).collect();
        Self::up(binary, &arguments).await
    }

    /// Starts `binary up --announce -` with these arguments and waits until it is ready.
    pub async fn up(binary: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::spawn(Command::new(binary), arguments).await
    }

    /// The same, where the program is started by another, which becomes it (`ip netns exec NAME BINARY`).
    pub async fn spawn(mut command: Command, arguments: &[&str]) -> anyhow::Result<Self> {
        let program = format!("{:?}", command.as_std());
        command.args(["up", "--announce", "-"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("start {program}"))?;
        let output = Output::default();
        let (ready, mut readiness) = watch::channel(None);
        let stdout = child.stdout.take().context("stdout is piped")?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        tokio::spawn(drain(stderr, output.clone(), None));
        tokio::spawn(drain(stdout, output.clone(), Some(ready)));
        let line =
            within("the readiness line", async { readiness.wait_for(Option::is_some).await.map(|line| line.clone()) })
                .await;
        let line = match line {
            Ok(Ok(Some(line))) => line,
            _ => {
                let status = child.try_wait();
                bail!("the edge did not become ready ({status:?}); it wrote:\n{}", output.text());
            }
        };
        let at = Announcement::parse(&line)?;
        Ok(Self { child, at, output })
    }

    /// Sends a signal to the child.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = self.child.id().context("the edge has ended already")?;
        let pid = Pid::from_raw(i32::try_from(id)?).context("a process id of 0")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for the child's end.
    pub async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(within("the edge's end", self.child.wait()).await??)
    }

    /// Asks it to drain and waits for its end, which must be a success.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.wait().await?;
        if !status.success() {
            bail!("the edge ended with {status}; it wrote:\n{}", self.output.text());
        }
        Ok(())
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let id = self.child.id().context("the edge has ended already")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the kernel tells VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
    }
}

async fn drain(pipe: impl AsyncRead + Unpin, output: Output, ready: Option<watch::Sender<Option<String>>>) {
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        output.push(&line);
        if let (Some(ready), Some(json)) = (&ready, line.strip_prefix(READY)) {
            ready.send_replace(Some(json.to_owned()));
        }
    }
}

/// Runs a command of the program to its end; status, standard output and standard error.
pub async fn run(binary: &Path, arguments: &[&str]) -> anyhow::Result<(ExitStatus, String, String)> {
    let work = Command::new(binary).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = within(&format!("{arguments:?}"), work).await??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status, text(&output.stdout), text(&output.stderr)))
}
