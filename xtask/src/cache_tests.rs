//! `cargo xtask cache-tests DIR`: runs http-tests/cache-tests (the suite behind cache-tests.fyi) against a fresh
//! edge in a neutral setting, and judges by the suite's own rules. The checkout is copied, never changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde::Deserialize;

use crate::edge::{self, Edge, Setup};
use crate::process::{self, Process};

const REPORT: &str = include_str!("assets/cache-tests-report.mjs");
const LOOPBACK: &str = include_str!("assets/loopback-only.cjs");
/// A run takes about 55 s.
const RUN_SECONDS_MAX: u64 = 300;

/// What to run and what must hold.
#[derive(Debug, Args)]
pub struct Options {
    /// A checkout of http-tests/cache-tests
    dir: PathBuf,
    /// Required tests that must pass
    #[arg(long, default_value_t = 160)]
    required: usize,
    /// Optimal tests that must pass
    #[arg(long, default_value_t = 100)]
    optimal: usize,
    /// Run one test only, and print its requests and responses
    #[arg(long)]
    id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Test {
    group: String,
    id: String,
    kind: String,
    verdict: String,
    message: String,
}

/// Runs the suite and prints the table.
///
/// # Errors
/// A bar that does not hold, or anything that keeps the suite from running.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    process::need(&[("node", "nodejs"), ("npm", "npm")])?;
    let suite = prepare(root, &options.dir)?;
    let port = process::free_port()?;
    let mut origin = start_origin(&suite, port)?;
    process::await_port(&mut origin, port)?;
    let edge = Edge::start(root, &neutral(port))?;
    let base = format!("http://{}", edge.plain()?);
    let mut cli = process::command("node");
    cli.current_dir(&suite).args(["--no-warnings", "test-engine/cli.mjs"]);
    cli.env("npm_config_base", &base).env("npm_package_config_id", options.id.as_deref().unwrap_or_default());
    let text = process::output("the suite", &mut cli, Duration::from_secs(RUN_SECONDS_MAX))?;
    if options.id.is_some() {
        println!("{text}");
        return Ok(());
    }
    let results = suite.join("results.json");
    fs::write(&results, &text)?;
    let mut report = process::command("node");
    report.current_dir(&suite).arg("report.mjs").arg(&results);
    let text = process::output("the report", &mut report, Duration::from_secs(60))?;
    let tests: Vec<Test> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("the report")?;
    ensure!(!tests.is_empty(), "the suite reported nothing");
    judge(&tests, options)
}

/// Copies the suite and gives it its one dependency, so that the checkout stays as it is.
fn prepare(root: &Path, dir: &Path) -> Result<PathBuf> {
    ensure!(dir.join("test-engine/cli.mjs").is_file(), "{} is no checkout of cache-tests", dir.display());
    let suite = edge::scratch(root).join("cache-tests");
    fs::create_dir_all(&suite)?;
    for folder in ["test-engine", "tests"] {
        let target = suite.join(folder);
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        copy(&dir.join(folder), &target)?;
    }
    fs::write(suite.join("report.mjs"), REPORT)?;
    fs::write(suite.join("loopback-only.cjs"), LOOPBACK)?;
    if !suite.join("node_modules/undici").is_dir() {
        // The version range is the one that the suite's own package.json asks for.
        fs::write(suite.join("package.json"), r#"{"private": true, "dependencies": {"undici": "^7.4.0"}}"#)?;
        let mut npm = Command::new("npm");
        npm.current_dir(&suite).args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]);
        process::output("npm install", &mut npm, Duration::from_secs(120))?;
        ensure!(suite.join("node_modules/undici").is_dir(), "npm could not install undici in {}", suite.display());
    }
    Ok(suite)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn start_origin(suite: &Path, port: u16) -> Result<Process> {
    let mut command = process::command("node");
    command.current_dir(suite).args(["--require", "./loopback-only.cjs", "test-engine/server/server.mjs"]);
    command.env("npm_config_protocol", "http").env("npm_config_port", port.to_string());
    command.env("npm_config_pidfile", suite.join("origin.pid"));
    Process::start("the suite's origin", command.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// No default lifetime, no retries, no coding, no limits that a test could meet; request directives are honoured, and
/// `Set-Cookie` is what the RFC says it is for a cache: a field like any other.
fn neutral(port: u16) -> Setup {
    let zone = format!(
        r#"
        hosts = ["*"]
        [origin]
        url = "http://127.0.0.1:{port}"
        retries_max = 0
        [cache]
        honour_request_directives = true
        set_cookie = "store"
        [compression]
        enabled = false
        "#
    );
    Setup { node: edge::NODE.to_owned(), zone, ..Setup::default() }
}

fn judge(tests: &[Test], options: &Options) -> Result<()> {
    let count = |kind: &str, verdicts: &[&str]| {
        tests.iter().filter(|test| test.kind == kind && verdicts.contains(&test.verdict.as_str())).count()
    };
    let all = |kind: &str| tests.iter().filter(|test| test.kind == kind).count();
    print_kinds(tests);
    print_groups(tests);
    for kind in ["required", "optimal"] {
        println!("\nnot passed, {kind}:");
        for test in tests.iter().filter(|test| test.kind == kind && test.verdict != "pass") {
            println!("  {:<16} {:<52} {}", test.verdict, test.id, test.message);
        }
    }
    let (required, optimal) = (count("required", &["pass"]), count("optimal", &["pass"]));
    let line = serde_json::json!({
        "command": "cache-tests", "tests": tests.len(),
        "required": required, "required_all": all("required"), "required_hard_fail": count("required", &["fail"]),
        "optimal": optimal, "optimal_all": all("optimal"),
        "check_yes": count("check", &["yes"]), "check_all": all("check"),
        "required_bar": options.required, "optimal_bar": options.optimal,
    });
    println!("{line}");
    if required < options.required || optimal < options.optimal {
        bail!(
            "cache-tests: {required} required and {optimal} optimal, the bar is {} and {}",
            options.required,
            options.optimal
        );
    }
    Ok(())
}

fn print_kinds(tests: &[Test]) {
    let mut table: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for test in tests {
        *table.entry(&test.kind).or_default().entry(&test.verdict).or_default() += 1;
    }
    println!("{:<10} {:>5}  verdicts", "kind", "tests");
    for (kind, verdicts) in table {
        let shown: Vec<String> = verdicts.iter().map(|(verdict, count)| format!("{verdict} {count}")).collect();
        println!("{kind:<10} {:>5}  {}", verdicts.values().sum::<usize>(), shown.join(", "));
    }
}

fn print_groups(tests: &[Test]) {
    let mut groups: Vec<&str> = tests.iter().map(|test| test.group.as_str()).collect();
    groups.dedup();
    println!("\n{:<26} {:>9} {:>9} {:>9}", "group", "required", "optimal", "check");
    for group in groups {
        let of = |kind: &str, good: &str| {
            let all: Vec<_> = tests.iter().filter(|test| test.group == group && test.kind == kind).collect();
            let good = all.iter().filter(|test| test.verdict == good).count();
            if all.is_empty() { "-".to_owned() } else { format!("{good}/{}", all.len()) }
        };
        println!("{group:<26} {:>9} {:>9} {:>9}", of("required", "pass"), of("optimal", "pass"), of("check", "yes"));
    }
}
