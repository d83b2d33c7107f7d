//! Programs that an acceptance run starts: what they cost, and that none is left behind. Every program is ended by
//! its own process id; nothing is ever looked up by name.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// How long a program may take to end after SIGTERM before it is killed.
const END_SECONDS_MAX: u64 = 5;

/// A program that ends, with all its children, when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `command`. Its standard output and error are as the caller set them.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("start {name}"))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process and all that descend from it.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        descendants(self.pid())
    }

    /// Processor time of the whole family so far, children that have ended included.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        self.pids().into_iter().map(|pid| cpu_of(pid, pid == self.pid())).sum()
    }

    /// Resident memory of the whole family, in bytes, each shared page counted once (proportional set size).
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.pids().into_iter().map(memory_of).sum()
    }

    /// What the family costs from now on. Who belongs to it is looked up once, so that each look is cheap.
    #[must_use]
    pub fn meter(&self) -> Meter {
        Meter { pids: self.pids() }
    }

    /// The exit code if the program has ended; a death by signal counts as 128 + signal.
    pub fn ended(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self.child.try_wait().ok().flatten()?;
        Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    /// Fails if the program has ended.
    ///
    /// # Errors
    /// It has ended.
    pub fn must_live(&mut self) -> Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(code) => bail!("{} has ended with code {code}", self.name),
        }
    }

    /// Standard output, if it is a pipe nobody reads yet.
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Kills the program and all its children without a word, and waits for it.
    pub fn kill(&mut self) {
        for pid in self.pids().into_iter().filter(|pid| *pid != self.child.id()) {
            signal(pid, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the program to end, and returns its exit code; kills it when it does not.
    pub fn end(&mut self) -> Option<i32> {
        if let Some(code) = self.ended() {
            return Some(code);
        }
        let family = self.pids();
        signal(self.pid(), Signal::TERM);
        let until = Instant::now() + Duration::from_secs(END_SECONDS_MAX);
        while self.ended().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        let code = self.ended();
        if code.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        for pid in family.into_iter().filter(|pid| *pid != self.child.id() && alive(*pid)) {
            signal(pid, Signal::KILL);
        }
        code
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// A family of processes, as it was at one moment.
#[derive(Debug, Clone)]
pub struct Meter {
    pids: Vec<u32>,
}

impl Meter {
    /// Of this process alone.
    #[must_use]
    pub fn own() -> Self {
        Self { pids: vec![std::process::id()] }
    }

    /// Processor time so far.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        self.pids.iter().map(|pid| cpu_of(*pid, false)).sum()
    }

    /// Resident memory in bytes; pages that several share count for each.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.pids.iter().map(|pid| resident_of(*pid)).sum()
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}

fn alive(pid: u32) -> bool {
    i32::try_from(pid).ok().and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// The fields of /proc/PID/stat after the name, which may hold blanks itself.
fn stat(pid: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(|field| field.trim().parse().unwrap_or(0)).collect())
}

fn descendants(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some(pid) = pid
            && let Some(fields) = stat(pid)
        {
            parents.push((pid, fields.get(1).copied().unwrap_or(0)));
        }
    }
    let mut family = vec![root];
    let mut at = 0;
    while at < family.len() {
        let parent = u64::from(family[at]);
        family.extend(parents.iter().filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    family
}

/// utime + stime, and those of children already waited for. The unit is the clock tick of 10 ms.
fn cpu_of(pid: u32, with_waited: bool) -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let Some(fields) = stat(pid) else {
        return Duration::ZERO;
    };
    let fields = fields.get(11..if with_waited { 15 } else { 13 }).unwrap_or_default();
    let ticks: u64 = fields.iter().sum();
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

fn memory_of(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("Pss:")).map(str::trim);
    let kilobytes = kilobytes.and_then(|rest| rest.split(' ').next()).and_then(|number| number.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

fn resident_of(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// A folder that goes away with this value.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes a new folder in `parent`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new_in(parent: &Path, name: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("archipel-{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    /// Makes a new folder among the temporary files.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        Self::new_in(&std::env::temp_dir(), name)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it and returns the path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.0.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether a program is on the path.
#[must_use]
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).any(|folder| folder.join(program).is_file())
}

/// Fails with what to install where programs are missing.
///
/// # Errors
/// One of `programs` (name and Debian package) is not installed.
pub fn need(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> =
        programs.iter().filter(|(program, _)| !installed(program)).map(|(_, package)| *package).collect();
    ensure!(missing.is_empty(), "missing programs, on Debian: apt-get install {}", missing.join(" "));
    Ok(())
}

/// `program`, which also ends when this process dies in a way that runs no destructors (Ctrl-C, a time limit).
#[must_use]
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if !installed("setpriv") {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(program);
    command
}

/// As [`command`], pinned to a processor core where one is given.
#[must_use]
pub fn on_core(core: Option<usize>, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let Some(core) = core else { return command(program) };
    let mut pinned = command("taskset");
    pinned.arg("-c").arg(core.to_string()).arg(program);
    pinned
}

/// Runs a command to its end, at most for `limit`, and returns its standard output; its error goes to ours.
///
/// # Errors
/// It cannot be started, or it takes longer.
pub fn output(name: &str, command: &mut Command, limit: Duration) -> Result<String> {
    let mut process = Process::start(name, command.stdout(Stdio::piped()))?;
    let stdout = process.stdout().context("no standard output")?;
    let reader = std::thread::spawn(move || std::io::read_to_string(stdout));
    let until = Instant::now() + limit;
    while process.ended().is_none() {
        if Instant::now() > until {
            bail!("{name} took longer than {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let text = reader.join().map_err(|_| anyhow::anyhow!("the reader of {name} panicked"))?;
    text.with_context(|| name.to_owned())
}

/// Calls `line` for each line of the standard output until it returns a value.
///
/// # Errors
/// The output ends first.
pub fn await_line<T>(process: &mut Process, line: impl Fn(&str) -> Option<T>) -> Result<T> {
    let name = process.name.clone();
    let stdout = process.stdout().with_context(|| format!("{name} has no standard output"))?;
    let mut reader = BufReader::new(stdout);
    let mut text = String::new();
    while reader.read_line(&mut text)? > 0 {
        if let Some(value) = line(text.trim_end()) {
            // What it prints later is read and dropped, so that it never blocks on a full pipe.
            std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
            return Ok(value);
        }
        text.clear();
    }
    bail!("{name} ended before it was ready")
}

/// A port of 127.0.0.1 that was free a moment ago, for programs that cannot announce the one they get.
///
/// # Errors
/// No port is free.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until something accepts connections on the port of 127.0.0.1.
///
/// # Errors
/// `process` ends, or nothing accepts within 20 s.
pub fn await_port(process: &mut Process, port: u16) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        process.must_live()?;
        ensure!(Instant::now() < until, "{} does not listen on port {port}", process.name);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Pins the calling thread to one core.
///
/// # Errors
/// There is no such core.
pub fn pin_thread(core: usize) -> Result<()> {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores).with_context(|| format!("pin to core {core}"))
}
