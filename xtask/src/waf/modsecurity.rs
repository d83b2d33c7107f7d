//! libmodsecurity 3 as Debian ships it, in a process of its own (`peers/modsecurity.c`), to compare with.

use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use super::Engine;
use super::request::Request;
use super::rules::Rules;
use crate::process::{self, Folder};

const SOURCE: &str = "xtask/peers/modsecurity.c";

/// What the peer says of itself.
#[derive(Debug, Clone, Deserialize)]
pub struct About {
    /// Name and version.
    pub engine: String,
    /// Version of the library that matches its regular expressions.
    pub pcre2: String,
    /// Whether that library can compile them to machine code.
    pub jit: bool,
    /// Bytes of machine code after the rules were loaded: zero says that none is compiled.
    pub jit_bytes: u64,
    /// Rules that were loaded.
    pub rules: u64,
    /// Resident bytes that loading them took.
    pub grown_bytes: u64,
}

/// What an engine did to a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Outcome {
    /// Ids that matched and are logged, in order.
    pub matched: Vec<u64>,
    /// Status of the intervention; 0 where there was none.
    pub status: u16,
    /// The rule that intervened; 0 where none did or it did not say.
    pub rule: u64,
    /// The phase that it intervened in; 0 where none did.
    pub phase: u8,
}

impl Outcome {
    /// Whether the transaction was stopped.
    #[must_use]
    pub fn blocked(&self) -> bool {
        self.status != 0
    }
}

#[derive(Deserialize)]
struct Times {
    ns: Vec<u64>,
}

/// The peer, running with one set of rules. It ends when this is dropped.
#[derive(Debug)]
pub struct ModSecurity {
    child: Child,
    input: Option<BufWriter<ChildStdin>>,
    output: BufReader<ChildStdout>,
    /// What it says of itself.
    pub about: About,
    _rules: Folder,
}

impl ModSecurity {
    /// Compiles the peer where that is needed and starts it with `rules`, pinned to a processor core where one is given.
    ///
    /// # Errors
    /// What it needs is not installed, or the rules do not load.
    pub fn start(root: &Path, rules: &Rules, core: Option<usize>) -> Result<Self> {
        let binary = compiled(root)?;
        let folder = Folder::new("modsecurity")?;
        let main = rules.write(&folder)?;
        let mut command = process::on_core(core, &binary);
        command.arg(&main).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start the peer")?;
        let input = child.stdin.take().map(BufWriter::new);
        let mut output = BufReader::new(child.stdout.take().context("the peer has no standard output")?);
        let about = answer(&mut output).context("libmodsecurity does not load the rules")?;
        Ok(Self { child, input, output, about, _rules: folder })
    }

    /// Runs a transaction `repeat` times: the processor time of each run.
    ///
    /// # Errors
    /// The peer has ended.
    pub fn measure(&mut self, request: &Request, repeat: u32) -> Result<Vec<Duration>> {
        let mut command = b"B".to_vec();
        command.extend(repeat.to_le_bytes());
        self.ask(&command, request)?;
        let times: Times = answer(&mut self.output)?;
        Ok(times.ns.into_iter().map(Duration::from_nanos).collect())
    }

    fn ask(&mut self, command: &[u8], request: &Request) -> Result<()> {
        let input = self.input.as_mut().context("the peer is ending")?;
        input.write_all(command)?;
        request.write_frame(input)?;
        input.flush().context("the peer has ended")
    }
}

impl Engine for ModSecurity {
    fn run(&mut self, request: &Request) -> Result<Outcome> {
        self.ask(b"T", request)?;
        answer(&mut self.output)
    }
}

impl Drop for ModSecurity {
    fn drop(&mut self) {
        // It ends at the end of its input.
        self.input = None;
        let _ = self.child.wait();
    }
}

fn answer<T: for<'de> Deserialize<'de>>(output: &mut BufReader<ChildStdout>) -> Result<T> {
    let mut line = String::new();
    ensure!(output.read_line(&mut line)? > 0, "the peer has ended");
    serde_json::from_str(&line).with_context(|| format!("the peer answers {}", line.trim_end()))
}

/// The peer's program, compiled anew when its source is younger.
fn compiled(root: &Path) -> Result<PathBuf> {
    let source = root.join(SOURCE);
    let folder = root.join("target/peers");
    let binary = folder.join("modsecurity");
    if age(&binary).is_some_and(|binary| age(&source).is_some_and(|source| source < binary)) {
        return Ok(binary);
    }
    process::need(&[("cc", "gcc")])?;
    std::fs::create_dir_all(&folder)?;
    let mut command = process::command("cc");
    command.args(["-O2", "-Wall", "-Wextra", "-o"]).arg(&binary).arg(&source).args(["-lmodsecurity", "-ldl"]);
    let done = command.output().context("cc")?;
    if !done.status.success() {
        eprint!("{}", String::from_utf8_lossy(&done.stderr));
        bail!("the peer does not compile; on Debian: apt-get install gcc libmodsecurity-dev");
    }
    Ok(binary)
}

fn age(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}
