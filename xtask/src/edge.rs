//! Builds and starts the program under test, always a fresh one with its own configuration, on loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use archipel_testkit::edge::Announcement;

use crate::process::{self, Folder, Process};

/// A node on loopback with ports of the system's choice, one plain listener, and no limit that a load from few
/// addresses would meet. A test appends its own tables.
pub const NODE: &str = r#"
state_dir = "{folder}/state"
[[listen]]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[limits]
connections_per_address_max = 100000
requests_per_connection_max = 0
"#;

/// A running edge; it ends when this is dropped.
#[derive(Debug)]
pub struct Edge {
    /// The program.
    pub process: Process,
    /// What it listens on.
    pub ready: Announcement,
    /// Its configuration, state and log.
    pub folder: Folder,
    binary: PathBuf,
    core: Option<usize>,
}

/// What an edge is started with.
#[derive(Debug, Default)]
pub struct Setup {
    /// `node.toml`; `{folder}` stands for the edge's own folder.
    pub node: String,
    /// `zones/site.toml`.
    pub zone: String,
    /// Pins the edge to one core.
    pub core: Option<usize>,
    /// Files beside the configuration: name and content.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Edge {
    /// Builds the release binary and starts it.
    ///
    /// # Errors
    /// It does not build, or it does not announce that it serves.
    pub fn start(root: &Path, setup: &Setup) -> Result<Self> {
        let binary = build(root)?;
        let folder = Folder::new("edge")?;
        let shown = folder.path().to_string_lossy().into_owned();
        for (name, content) in &setup.files {
            folder.write(name, content)?;
        }
        folder.write("node.toml", setup.node.replace("{folder}", &shown))?;
        folder.write("zones/site.toml", setup.zone.replace("{folder}", &shown))?;
        let (process, ready) = launch(&binary, &folder, setup.core)?;
        Ok(Self { process, ready, folder, binary, core: setup.core })
    }

    /// Stops the edge in good order and starts it again with the same configuration and state. Its ports may be others then.
    ///
    /// # Errors
    /// It does not end well, or does not start.
    pub fn restart(&mut self) -> Result<()> {
        let code = self.process.end();
        ensure!(code == Some(0), "the edge ended with {code:?}");
        self.start_again()
    }

    /// Kills the edge without a word and starts it again, as [`Edge::restart`].
    ///
    /// # Errors
    /// It does not start.
    pub fn kill_and_restart(&mut self) -> Result<()> {
        self.process.kill();
        self.start_again()
    }

    fn start_again(&mut self) -> Result<()> {
        (self.process, self.ready) = launch(&self.binary, &self.folder, self.core)?;
        Ok(())
    }

    /// The process id of the program itself, which may stand behind others that pin it.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.ready.pid
    }

    /// The control socket.
    ///
    /// # Errors
    /// It announced none.
    pub fn control(&self) -> Result<&Path> {
        self.ready.control_socket.as_deref().context("no control socket")
    }

    /// The first listener without TLS.
    ///
    /// # Errors
    /// There is none.
    pub fn plain(&self) -> Result<SocketAddr> {
        self.ready.plain()
    }

    /// The first listener with TLS.
    ///
    /// # Errors
    /// There is none.
    pub fn tls(&self) -> Result<SocketAddr> {
        self.ready.tls()
    }

    /// What the edge wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr.log")).unwrap_or_default()
    }
}

fn launch(binary: &Path, folder: &Folder, core: Option<usize>) -> Result<(Process, Announcement)> {
    let stderr = folder.path().join("stderr.log");
    let log = std::fs::OpenOptions::new().create(true).append(true).open(&stderr)?;
    let mut command = process::on_core(core, binary);
    command.arg("up").arg("--config").arg(folder.path()).arg("--announce").arg("-");
    command.current_dir(folder.path()).stdout(Stdio::piped()).stderr(log);
    let mut process = Process::start("archipel", &mut command)?;
    let ready = process::await_line(&mut process, parse_ready);
    let ready = ready.with_context(|| std::fs::read_to_string(&stderr).unwrap_or_default())?;
    Ok((process, ready))
}

/// Whether the settings know a disk tier.
#[must_use]
pub fn has_disk_tier() -> bool {
    archipel_config::settings_markdown().contains("[cache.disk]")
}

fn parse_ready(line: &str) -> Option<Announcement> {
    Announcement::parse(line.strip_prefix("archipel ready ")?).ok()
}

/// Builds the program in release mode and returns where it is. `ARCHIPEL_BINARY` names one that is there already.
///
/// # Errors
/// It does not build.
pub fn build(root: &Path) -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("ARCHIPEL_BINARY") {
        // It is started in a folder of its own.
        return Ok(std::path::absolute(binary)?);
    }
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["build", "--release", "--package", "archipel", "--message-format=json-render-diagnostics"];
    let output = Command::new(program).current_dir(root).args(arguments).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the program does not build");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let executable = text.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let name = message.get("target")?.get("name")?.as_str()?;
        (name == "archipel").then(|| message.get("executable")?.as_str().map(PathBuf::from)).flatten()
    });
    executable.context("cargo built no binary named archipel")
}

/// Where xtask keeps what it need not fetch or build again.
#[must_use]
pub fn scratch(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("xtask")
}

#[cfg(test)]
mod tests {
    use super::parse_ready;

    #[test]
    fn the_announcement_is_read() {
        let line = r#"archipel ready {"pid":7,"listeners":[{"address":"127.0.0.1:1234","tls":false}],"admin":"127.0.0.1:9","more":1}"#;
        let ready = parse_ready(line).expect("an announcement");
        assert_eq!(ready.listeners[0].0.port(), 1234);
        assert!(parse_ready("archipel is starting").is_none());
    }
}
