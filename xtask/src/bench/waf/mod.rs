//! `cargo xtask bench waf`: processor time of a transaction with the Core Rule Set, ours beside libmodsecurity with its
//! regular expressions compiled to machine code; what a loaded set takes in memory; and a thousand custom rules of which
//! none matches. Both engines run on the same core, in turn, request by request.

mod material;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::{Options, SERVER_CORE};
use crate::process;
use crate::waf::archipel::Archipel;
use crate::waf::modsecurity::ModSecurity;
use crate::waf::request::Request;
use crate::waf::rules::{Mode, Rules};
use crate::waf::{self, Engine as _};

/// How long one engine runs one request in a round.
const ROUND: Duration = Duration::from_millis(400);
/// Runs of one request in a round.
const RUNS_MAX: u32 = 4_000;
/// Runs of one request in a round at least: a median needs some.
const RUNS_MIN: u32 = 5;
/// Copies of a rule set, for what one takes in memory.
const COPIES: u32 = 4;
/// Microseconds that a thousand custom rules may cost where none matches.
const CUSTOM_US_MAX: f64 = 5.0;

/// A request to measure, and how much faster we have to be at least.
struct Case {
    title: &'static str,
    request: Request,
    bar: f64,
}

/// What was measured of a case at a level.
struct Line {
    title: &'static str,
    level: u8,
    bar: f64,
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Line {
    /// The median of the ratios, round by round, so that what slowed a round slowed both.
    fn ratio(&self) -> f64 {
        median(&self.theirs.iter().zip(&self.ours).map(|(theirs, ours)| theirs / ours).collect::<Vec<_>>())
    }
}

/// Measures, prints the table, and judges the bars.
///
/// # Errors
/// A bar that does not hold, or anything that keeps it from measuring.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let crs = waf::directory(root, None, "ARCHIPEL_CRS", "crs")?;
    process::need(&[("taskset", "util-linux")])?;
    process::pin_thread(SERVER_CORE)?;
    let cases = [
        Case { title: "GET of a page", request: material::get(), bar: 20.0 },
        Case { title: "POST of 4 KiB JSON", request: material::json(4 << 10), bar: 12.0 },
        Case { title: "POST of a 64 KiB form", request: material::form(64 << 10), bar: 8.0 },
    ];
    // First of all, the small set before the large one: what a set before them left free would be used again.
    let memory = json!({
        "built-in": footprint(&Rules::base(Mode::Block).with_builtin())?,
        "CRS": footprint(&Rules::base(Mode::Block).with_crs(&crs, 1)?)?,
    });
    let (mut missed, mut lines, mut about) = (Vec::new(), Vec::new(), Value::Null);
    for level in [1, 4] {
        // Every phase runs to its end. Level 4 takes spaces in values for attacks, and people write spaces.
        let rules = Rules::base(Mode::Detect).with_crs(&crs, level)?;
        let mut ours = Archipel::load(&rules)?;
        let mut theirs = ModSecurity::start(root, &rules, Some(SERVER_CORE))?;
        ensure!(
            theirs.about.jit && theirs.about.jit_bytes > 0,
            "libmodsecurity's expressions are not compiled: {:?}",
            theirs.about
        );
        about = json!({
            "engine": theirs.about.engine, "pcre2": theirs.about.pcre2, "jit_bytes": theirs.about.jit_bytes,
            "rules": theirs.about.rules, "memory_bytes": theirs.about.grown_bytes,
        });
        for case in &cases {
            let line = measure(case, level, options.rounds, &mut ours, &mut theirs)?;
            if line.ratio() < line.bar {
                missed.push(format!("{}, level {level}: {:.1} x, the bar is {}", line.title, line.ratio(), line.bar));
            }
            lines.push(line);
        }
    }
    let custom = custom_rules(options.rounds)?;
    if median(&custom) >= CUSTOM_US_MAX {
        missed.push(format!("1,000 custom rules: {:.2} us, the bar is {CUSTOM_US_MAX}", median(&custom)));
    }
    print!("{}", table(&lines, &custom));
    println!("peer: {about}\nmemory of a set, one more copy: {memory}");
    let figures: Vec<Value> = lines.iter().map(figures).collect();
    println!(
        "{}",
        json!({
            "command": "bench waf", "peer": about, "cases": figures, "memory": memory,
            "custom_rules_us": (median(&custom) * 100.0).round() / 100.0, "missed": missed,
        })
    );
    if !missed.is_empty() {
        bail!("bench waf: {}", missed.join("; "));
    }
    Ok(())
}

fn figures(line: &Line) -> Value {
    json!({
        "case": line.title, "level": line.level, "bar": line.bar,
        "ours_us": tenth(median(&line.ours)), "modsecurity_us": tenth(median(&line.theirs)), "times_faster": tenth(line.ratio()),
    })
}

fn measure(case: &Case, level: u8, rounds: usize, ours: &mut Archipel, theirs: &mut ModSecurity) -> Result<Line> {
    let mut line = Line { title: case.title, level, bar: case.bar, ours: Vec::new(), theirs: Vec::new() };
    let matched = (ours.run(&case.request)?.matched, theirs.run(&case.request)?.matched);
    ensure!(level > 1 || (matched.0.is_empty() && matched.1.is_empty()), "{}: not benign: {matched:?}", case.title);
    // A first round that is not counted; it tells how often a run fits into a round.
    let (mut our_runs, mut their_runs) = (RUNS_MIN, RUNS_MIN);
    for round in 0..=rounds {
        let our = median(&(0..our_runs).map(|_| processor_us(|| ours.cost(&case.request))).collect::<Vec<_>>());
        let their = theirs.measure(&case.request, their_runs)?;
        let their = median(&their.iter().map(|time| time.as_secs_f64() * 1e6).collect::<Vec<_>>());
        if round == 0 {
            (our_runs, their_runs) = (runs(our), runs(their));
        } else {
            line.ours.push(our);
            line.theirs.push(their);
        }
    }
    Ok(line)
}

/// How many runs of so many microseconds a round has.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn runs(microseconds: f64) -> u32 {
    ((ROUND.as_secs_f64() * 1e6 / microseconds.max(1.0)) as u32).clamp(RUNS_MIN, RUNS_MAX)
}

/// Processor time of this thread that `work` takes, in microseconds.
fn processor_us(work: impl FnOnce()) -> f64 {
    let begun = processor_time();
    work();
    processor_time() - begun
}

#[allow(clippy::cast_precision_loss)]
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// What one more copy of a loaded set adds to resident memory, beside the engine's own estimate.
fn footprint(rules: &Rules) -> Result<Value> {
    let first = Archipel::load(rules)?;
    let before = resident_bytes()?;
    let copies = (0..COPIES).map(|_| Archipel::load(rules)).collect::<Result<Vec<_>>>()?;
    let grown = resident_bytes()?.saturating_sub(before) / u64::from(COPIES);
    drop(copies);
    Ok(json!({"rules": first.rules.rules(), "resident_bytes": grown, "estimate_bytes": first.rules.bytes()}))
}

fn resident_bytes() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).context("/proc/self/statm")?;
    Ok(pages * u64::try_from(rustix::param::page_size())?)
}

/// Microseconds that a request pays for a thousand custom rules of which none matches; a sample a round.
fn custom_rules(rounds: usize) -> Result<Vec<f64>> {
    const BATCH: u32 = 2_000;
    let (index, request) = material::custom_rules()?;
    ensure!(index.len() == 1_000, "{} rules", index.len());
    ensure!(index.matches(&request).next().is_none(), "a custom rule matches");
    let batch = || {
        for _ in 0..BATCH {
            std::hint::black_box(index.matches(std::hint::black_box(&request)).next());
        }
    };
    batch();
    Ok((0..rounds).map(|_| processor_us(batch) / f64::from(BATCH)).collect())
}

fn table(lines: &[Line], custom: &[f64]) -> String {
    let mut text = String::from(
        "\n| request | level | Archipel, us | spread | libmodsecurity, us | spread | times faster | bar |\n|---|---|---|---|---|---|---|---|\n",
    );
    for line in lines {
        let ((low, high), (their_low, their_high)) = (spread(&line.ours), spread(&line.theirs));
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} | {low:.1}-{high:.1} | {:.0} | {their_low:.0}-{their_high:.0} | **{:.1}** | {} |",
            line.title,
            line.level,
            median(&line.ours),
            median(&line.theirs),
            line.ratio(),
            line.bar,
        );
    }
    let (low, high) = spread(custom);
    let _ = writeln!(text, "\n1,000 custom rules, none matches: {:.2} us ({low:.2}-{high:.2})", median(custom));
    text
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn spread(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, 0.0), |(low, high), value| (value.min(low), value.max(high)))
}
