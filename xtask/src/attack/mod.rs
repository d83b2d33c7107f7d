//! `cargo xtask attack`: bounded floods from thousands of addresses of 127.0.0.0/8 against a fresh edge on loopback, with
//! people beside them whose fate is what counts; and the same floods against nginx and HAProxy. The server is pinned to
//! one core, the generator and the origin share another. It cannot send to anything but loopback, and it ends by itself.

mod addresses;
mod bots;
mod browser;
mod engine;
mod figures;
mod net;
mod origin;
mod people;
mod rate;
mod report;
mod scenario;
mod servers;
mod slow;
mod streams;
mod tally;
mod visit;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum as _};

use crate::bench::{LOAD_CORE, raise_file_limit};
use crate::process;
use crate::tidy::docs;
use engine::{Context, Engine, PEOPLE};
use figures::{Figures, Phases, SECOND_US, Sample};
use net::Poll;
use origin::Origin;
use people::People;
use report::Outcome;
use scenario::Scenario;
use servers::{Kind, Server};
use tally::Tally;

/// How often the server is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
/// How often it is asked for its rules, in samples.
const RULES_EVERY: usize = 4;
/// How long it is watched after an attack at least.
const CALM_MIN_US: u64 = 10 * SECOND_US;
/// Lines of the node's log that are shown of a run.
const SAID_MAX: usize = 40;
/// Open files that a run needs: both ends of the most connections that a scenario opens are in different processes.
const FILES_MIN: u64 = 16_000;
/// The document with the table.
const DOCUMENT: &str = "docs/shield.md";

/// What to send.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The scenario, or `all`
    #[arg(value_parser = which)]
    scenario: Which,
    /// Runs of each scenario, 1 to 20
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=20))]
    runs: u64,
    /// Seconds of attack, 10 to 300; some scenarios have a length of their own
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(10..=300))]
    seconds: u64,
    /// Seconds in which Archipel learns what is usual before the attack, 30 to 3600; it needs 60
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u64).range(30..=3600))]
    warm_up: u64,
    /// Servers that get the same floods beside Archipel
    #[arg(long, value_enum, value_delimiter = ',')]
    peer: Vec<Kind>,
    /// Sends the floods to those alone
    #[arg(long, requires = "peer")]
    peers_only: bool,
    /// Requests of the attack in a second, at most 50,000
    #[arg(long, default_value_t = 20_000.0)]
    rate: f64,
    /// Requests of people in a second, at most 2,000
    #[arg(long, default_value_t = 500.0)]
    people: f64,
    /// The seed of what people and attackers do
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes the table into docs/shield.md, between the markers of `attack`
    #[arg(long)]
    write: bool,
}

/// One scenario, or all.
#[derive(Debug, Clone, Copy)]
enum Which {
    All,
    One(Scenario),
}

fn which(text: &str) -> Result<Which, String> {
    if text == "all" {
        return Ok(Which::All);
    }
    Scenario::from_str(text, true).map(Which::One).map_err(|_| {
        let names = Scenario::value_variants().iter().filter_map(clap::ValueEnum::to_possible_value);
        let names: Vec<String> = names.map(|name| name.get_name().to_owned()).collect();
        format!("expected all, {}", names.join(", "))
    })
}

/// Runs the scenarios, prints the table and the line of JSON, and judges Archipel's figures.
///
/// # Errors
/// A bar that does not hold, or anything that keeps it from running.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    ensure!(options.rate > 0.0 && options.rate <= 50_000.0, "--rate: more than 0, at most 50,000");
    ensure!(options.people > 0.0 && options.people <= 2_000.0, "--people: more than 0, at most 2,000");
    process::need(&[("taskset", "util-linux")])?;
    ensure!(std::thread::available_parallelism()?.get() > LOAD_CORE, "two cores are needed: one for the server alone");
    raise_file_limit()?;
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    ensure!(files >= FILES_MIN, "at most {files} open files: raise the hard limit (ulimit -Hn) to {FILES_MIN}");
    let kinds = kinds(options);
    let scenarios = match options.scenario {
        Which::All => Scenario::value_variants().to_vec(),
        Which::One(scenario) => vec![scenario],
    };
    let mut outcomes = Vec::new();
    for scenario in scenarios {
        for kind in &kinds {
            let mut runs = Vec::new();
            for number in 0..options.runs {
                println!("{}, {}, run {}", scenario.title(), kind.title(), number + 1);
                let figures = once(root, *kind, scenario, options, options.seed + number)
                    .with_context(|| format!("{}, {}", scenario.title(), kind.title()))?;
                println!("{}", report::sentence(&figures));
                runs.push(figures);
            }
            outcomes.push(Outcome { scenario, kind: *kind, runs });
        }
    }
    finish(root, options, &outcomes)
}

fn kinds(options: &Options) -> Vec<Kind> {
    let mut kinds = if options.peers_only { Vec::new() } else { vec![Kind::Archipel] };
    for kind in &options.peer {
        match kind.absent() {
            Some(reason) => println!("skipped: {reason}"),
            None if kinds.contains(kind) => {}
            None => kinds.push(*kind),
        }
    }
    kinds
}

fn finish(root: &Path, options: &Options, outcomes: &[Outcome]) -> Result<()> {
    let table = report::table(outcomes);
    println!("\n{table}");
    if options.write {
        let path = root.join(DOCUMENT);
        let document = std::fs::read_to_string(&path).with_context(|| DOCUMENT.to_owned())?;
        let runs = if options.runs == 1 { "one run each" } else { "median (worst)" };
        let text = format!("{}, {} runs: {runs}.\n\n{table}", crate::bench::this_machine(root), options.runs);
        std::fs::write(&path, docs::replace(&document, "attack", &text))?;
    }
    let ours = outcomes.iter().filter(|outcome| outcome.kind == Kind::Archipel);
    let missed: Vec<String> = ours.flat_map(report::missed).collect();
    let line = serde_json::json!({
        "command": "attack", "rate": options.rate, "people": options.people, "seconds": options.seconds,
        "outcomes": report::json(outcomes), "missed": missed,
    });
    println!("{line}");
    if !missed.is_empty() {
        bail!("attack: {}", missed.join("; "));
    }
    Ok(())
}

/// One run against a fresh server.
fn once(root: &Path, kind: Kind, scenario: Scenario, options: &Options, seed: u64) -> Result<Figures> {
    let phases = scenario.phases(options, kind == Kind::Archipel);
    let origin = Origin::new()?;
    let mut server = Server::start(root, kind, origin.address)?;
    let people = People::new(scenario::people(options), PEOPLE, seed);
    let (begun, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let load = {
        let (stop, options) = (Arc::clone(&stop), options.clone());
        let (http1, http2) = (server.http1, server.http2);
        std::thread::spawn(move || {
            process::pin_thread(LOAD_CORE)?;
            let cx = Context {
                poll: Poll::new()?,
                now_us: 0,
                tally: Tally::default(),
                buffer: vec![0; 64 << 10],
                http1,
                http2,
            };
            let load = Some(scenario.load(&options, phases, seed));
            Engine { origin, people, load, end_us: phases.end_us }.run(cx, begun, &stop)
        })
    };
    let samples = watch(&mut server, phases, begun, &load);
    stop.store(true, Ordering::Relaxed);
    let tally = load.join().map_err(|_| anyhow::anyhow!("the generator panicked"))??;
    let samples = samples?;
    for line in server.said().iter().take(SAID_MAX) {
        println!("  {line}");
    }
    for (side, reason, count) in tally.reasons() {
        println!("  {side:?}: {count} x {reason}");
    }
    println!(
        "  attack connections: {} at most, {} ended by the server, {} not opened",
        tally.held_max, tally.cut, tally.unconnected
    );
    Ok(Figures::of(&tally, phases, &samples))
}

/// Looks at the server until the run is over: until its rules are gone after the attack, or the time is up.
fn watch(server: &mut Server, phases: Phases, begun: Instant, load: &JoinHandle<Result<Tally>>) -> Result<Vec<Sample>> {
    let own = process::Meter::own();
    let mut samples: Vec<Sample> = Vec::new();
    while !load.is_finished() {
        std::thread::sleep(SAMPLE_EVERY);
        server.must_live()?;
        // Asked for now and then only, as the server pays for the answer.
        let asked = samples.len().is_multiple_of(RULES_EVERY);
        let (rules, shield_bytes) = if asked { server.shield() } else { (None, None) };
        let at_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (cpu, resident_bytes) = (server.meter.cpu(), server.meter.resident_bytes());
        samples.push(Sample { at_us, cpu, load_cpu: own.cpu(), resident_bytes, rules, shield_bytes });
        let gone = asked && rules.is_none_or(|rules| rules == 0);
        if at_us > phases.calm_us + CALM_MIN_US && gone {
            break;
        }
    }
    Ok(samples)
}
