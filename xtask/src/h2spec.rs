//! `cargo xtask h2spec BIN` and `cargo xtask h2abuse KIT`: HTTP/2 conformance and bounded HTTP/2 floods against a
//! fresh edge. Both tools are handed in; nothing of them is kept here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::edge::{self, Edge, Setup};
use crate::process;
use crate::small_origin::SmallOrigin;

/// What to run.
#[derive(Debug, Args)]
pub struct SpecOptions {
    /// The h2spec program (github.com/summerwind/h2spec)
    binary: PathBuf,
    /// Prior knowledge in plain text instead of TLS. There, one test cannot pass: on a port that also speaks HTTP/1.1,
    /// an invalid preface is an HTTP/1.1 request, and its answer is 400
    #[arg(long)]
    plain: bool,
}

/// What to run.
#[derive(Debug, Args)]
pub struct AbuseOptions {
    /// The kit: a Python program called with port and process id
    kit: PathBuf,
    /// Most kilobytes that all floods together may add to resident memory
    #[arg(long, default_value_t = 5 * 1024)]
    growth_kb_max: i64,
}

fn start(root: &Path, origin: &SmallOrigin) -> Result<Edge> {
    let zone = format!("hosts = [\"*\"]\n[origin]\nurl = \"http://{}\"\n", origin.address());
    let node = format!("{}[[listen]]\naddress = \"127.0.0.1:0\"\ntls = true\n", edge::NODE);
    Edge::start(root, &Setup { node, zone, ..Setup::default() })
}

/// Runs h2spec and judges: every test must pass.
///
/// # Errors
/// A test that fails, or anything that keeps it from running.
pub fn spec(root: &Path, options: &SpecOptions) -> Result<()> {
    let origin = SmallOrigin::start()?;
    let mut edge = start(root, &origin)?;
    let address = if options.plain { edge.plain()? } else { edge.tls()? };
    let mut command = process::command(&options.binary);
    // By name, so that there is an SNI and the edge has a certificate for it.
    command.args(["--host", "localhost", "--port", &address.port().to_string(), "--timeout", "3"]);
    if !options.plain {
        command.args(["--tls", "--insecure"]);
    }
    let text = process::output("h2spec", &mut command, Duration::from_secs(300))?;
    println!("{text}");
    edge.process.must_live()?;
    let counts = read_spec(&text).context("h2spec printed no summary")?;
    let line = serde_json::json!({
        "command": "h2spec", "tests": counts.tests, "passed": counts.passed, "skipped": counts.skipped, "failed": counts.failed,
    });
    println!("{line}");
    ensure!(counts.tests >= 146, "h2spec ran only {} tests", counts.tests);
    if counts.passed != counts.tests {
        bail!("h2spec: {} of {} passed", counts.passed, counts.tests);
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Counts {
    tests: u32,
    passed: u32,
    skipped: u32,
    failed: u32,
}

/// Reads `146 tests, 146 passed, 0 skipped, 0 failed`.
fn read_spec(text: &str) -> Option<Counts> {
    let line = text.lines().rev().find(|line| line.contains(" tests, ") && line.contains(" passed"))?;
    let count = |word: &str| line.split(", ").find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok());
    Some(Counts {
        tests: count("tests")?,
        passed: count("passed")?,
        skipped: count("skipped")?,
        failed: count("failed")?,
    })
}

/// Runs the kit and judges: each flood is cut (GOAWAY or a closed connection) and memory stays.
///
/// # Errors
/// A flood that is not cut, memory that grows, or anything that keeps it from running.
pub fn abuse(root: &Path, options: &AbuseOptions) -> Result<()> {
    let python = python(root)?;
    let origin = SmallOrigin::start()?;
    let mut edge = start(root, &origin)?;
    let mut command = process::command(&python.0);
    if let Some(packages) = &python.1 {
        command.env("PYTHONPATH", packages);
    }
    let kit = fs::canonicalize(&options.kit).with_context(|| options.kit.display().to_string())?;
    command.arg(kit).arg(edge.plain()?.port().to_string()).arg(edge.process.pid().to_string());
    let text = process::output("the kit", &mut command, Duration::from_secs(180))?;
    println!("{text}");
    edge.process.must_live()?;
    let floods: Vec<Flood> =
        text.lines().filter_map(read_flood).filter(|flood| !flood.name.starts_with("baseline")).collect();
    let cut = floods.iter().filter(|flood| flood.cut).count();
    // The baseline, which fills pools and caches as any traffic would, is not a flood.
    let growth_kb: i64 = floods.iter().map(|flood| flood.growth_kb).sum();
    let baseline = text.lines().filter_map(read_flood).find(|flood| flood.name.starts_with("baseline"));
    let answered = baseline.is_some_and(|baseline| baseline.answered >= 99);
    let line = serde_json::json!({
        "command": "h2abuse", "floods": floods.len(), "cut": cut, "memory_growth_kb": growth_kb, "memory_growth_kb_max": options.growth_kb_max, "baseline_answered": answered,
    });
    println!("{line}");
    ensure!(answered, "the baseline of ordinary requests was not answered");
    ensure!(floods.len() >= 7, "the kit reported only {} floods", floods.len());
    for flood in floods.iter().filter(|flood| !flood.cut) {
        println!("not cut: {}", flood.name);
    }
    ensure!(cut == floods.len(), "h2abuse: {cut} of {} cut", floods.len());
    ensure!(growth_kb < options.growth_kb_max, "h2abuse: the floods left {growth_kb} KB in resident memory");
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Flood {
    name: String,
    cut: bool,
    answered: u32,
    growth_kb: i64,
}

/// Reads one line of the kit: `NAME sent N T s goaway=G closed=C hdrs=H rst=R  rss+KKB cpu Cms`.
fn read_flood(line: &str) -> Option<Flood> {
    let (name, rest) = line.split_once(" sent ")?;
    let value = |key: &str| rest.split_whitespace().find_map(|word| word.strip_prefix(key));
    let cut = value("goaway=")? != "None" || value("closed=")? != "None";
    let growth_kb = value("rss+")?.strip_suffix("KB")?.parse().ok()?;
    Some(Flood { name: name.trim().to_owned(), cut, answered: value("hdrs=")?.parse().ok()?, growth_kb })
}

/// A Python with hyperframe and hpack: the system's where it has them, else with packages of our own.
fn python(root: &Path) -> Result<(PathBuf, Option<PathBuf>)> {
    process::need(&[("python3", "python3")])?;
    let has = |packages: Option<&Path>| {
        let mut command = Command::new("python3");
        if let Some(packages) = packages {
            command.env("PYTHONPATH", packages);
        }
        let status =
            command.args(["-c", "import hyperframe.frame, hpack"]).stderr(std::process::Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if has(None) {
        return Ok(("python3".into(), None));
    }
    let packages = edge::scratch(root).join("python");
    if !has(Some(&packages)) {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(&packages)
            .args(["hyperframe==6.1.0", "hpack==4.1.0"]);
        process::output("pip install", &mut pip, Duration::from_secs(120))?;
        ensure!(
            has(Some(&packages)),
            "hyperframe and hpack are missing (on Debian: apt-get install python3-pip, or python3-hyperframe python3-hpack)"
        );
    }
    Ok(("python3".into(), Some(packages)))
}

#[cfg(test)]
mod tests {
    use super::{Counts, Flood, read_flood, read_spec};

    #[test]
    fn reports_are_read() {
        let text = "Finished in 1.2 seconds\n146 tests, 145 passed, 0 skipped, 1 failed\n";
        assert_eq!(read_spec(text), Some(Counts { tests: 146, passed: 145, skipped: 0, failed: 1 }));
        let line =
            "rapid reset (44487)          sent   200    1.2s  goaway=399 closed=EOF hdrs=12 rst=0  rss+120KB cpu 10ms";
        let want = Flood { name: "rapid reset (44487)".into(), cut: true, answered: 12, growth_kb: 120 };
        assert_eq!(read_flood(line), Some(want));
        assert!(!read_flood(&line.replace("399", "None").replace("EOF", "None")).expect("a line").cut);
    }
}
