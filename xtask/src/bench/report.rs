//! The tables: medians, spread, ratios against Archipel's peers, and whether the bars hold.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use serde_json::json;

use super::idle::Idle;
use super::load::Sample;
use super::peers::Kind;
use super::volume::Findings;
use super::{Bar, Case};
use crate::tidy::docs;

/// How much more memory than HAProxy idle connections may take.
const IDLE_BAR: f64 = 1.5;

/// One server in one case.
#[derive(Debug)]
pub struct Line {
    kind: Kind,
    samples: Vec<Sample>,
}

impl Line {
    /// A server's samples, in the order of the rounds.
    #[must_use]
    pub fn new(kind: Kind, samples: Vec<Sample>) -> Self {
        Self { kind, samples }
    }

    fn cpu(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.cpu_us).collect()
    }

    fn rate(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.per_second).collect()
    }
}

/// Everything that was measured.
#[derive(Debug)]
pub struct Report {
    cases: Vec<(Case, Vec<Line>)>,
    /// The idle connections.
    pub idle: Vec<Idle>,
    /// What large caches cost.
    pub volume: Option<Findings>,
    /// Bars that do not hold.
    pub missed: Vec<String>,
    machine: String,
    commit: String,
    date: String,
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

fn spread(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, 0.0), |(low, high), value| (value.min(low), value.max(high)))
}

/// The median of the ratios round by round, so that what slowed one round down slowed both.
fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    median(&ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>())
}

#[allow(clippy::cast_precision_loss)]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl Report {
    /// An empty report about this machine and the commit at `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            cases: Vec::new(),
            idle: Vec::new(),
            volume: None,
            missed: Vec::new(),
            machine: machine(root),
            commit: commit(root),
            date: said(root, "date", &["-u", "+%Y-%m-%d"]),
        }
    }

    /// Adds a case and prints its table.
    pub fn add(&mut self, case: Case, lines: Vec<Line>) {
        println!("\n{}", case_table(case, &lines));
        self.cases.push((case, lines));
    }

    /// Prints the idle connections.
    pub fn print_idle(&self) {
        println!("\n{}", idle_table(&self.idle));
    }

    /// Writes all tables into a document, between the markers of `bench`.
    ///
    /// # Errors
    /// The document cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = format!("Machine: {}. Commit {}, {}.\n\n", self.machine, self.commit, self.date);
        for (case, lines) in &self.cases {
            let _ = writeln!(text, "{}", case_table(*case, lines));
        }
        if !self.idle.is_empty() {
            let _ = writeln!(text, "{}", idle_table(&self.idle));
        }
        for line in self.volume.iter().flat_map(|volume| &volume.lines) {
            let _ = writeln!(text, "- {line}");
        }
        let document = std::fs::read_to_string(path).unwrap_or_default();
        std::fs::write(path, docs::replace(&document, "bench", &text))?;
        Ok(())
    }

    /// Prints the JSON line and judges the bars.
    ///
    /// # Errors
    /// A bar that does not hold.
    pub fn finish(&self) -> Result<()> {
        let mut missed = self.missed.clone();
        let mut figures = serde_json::Map::new();
        for (case, lines) in &self.cases {
            let servers = lines.iter().map(|line| {
                let figures = json!({
                    "cpu_us": round(median(&line.cpu()), 3), "per_second": round(median(&line.rate()), 0),
                    "cpu_us_spread": [round(spread(&line.cpu()).0, 3), round(spread(&line.cpu()).1, 3)],
                });
                (line.kind.title().to_owned(), figures)
            });
            let mut entry: serde_json::Map<_, _> = servers.collect();
            if let Some((cpu, rate)) = against_nginx(lines) {
                entry.insert("cpu_ratio_to_nginx".to_owned(), json!(round(cpu, 3)));
                entry.insert("rate_ratio_to_nginx".to_owned(), json!(round(rate, 3)));
                entry.insert("bar".to_owned(), json!(case.bar().to_string()));
                let (found, holds) = match case.bar() {
                    Bar::Cpu(bar) => (cpu, cpu <= bar),
                    Bar::Rate(bar) => (rate, rate >= bar),
                };
                if !holds {
                    missed.push(format!("{}: {found:.2} x nginx, the bar is {}", case.title(), case.bar()));
                }
            }
            figures.insert(case.title().to_owned(), entry.into());
        }
        if let Some((growth, total)) = idle_ratios(&self.idle) {
            figures.insert(
                Case::Idle.title().to_owned(),
                json!({"growth_ratio_to_haproxy": round(growth, 3), "total_ratio_to_haproxy": round(total, 3), "bar": IDLE_BAR}),
            );
            if growth.max(total) > IDLE_BAR {
                missed.push(format!(
                    "idle connections: {growth:.2} x HAProxy's growth, {total:.2} x its total, the bar is {IDLE_BAR}"
                ));
            }
        }
        if let Some(volume) = &self.volume {
            figures.insert("volume".to_owned(), volume.figures.clone().into());
            missed.extend(volume.missed.iter().cloned());
        }
        let line = json!({
            "command": "bench", "machine": self.machine, "commit": self.commit, "cases": figures, "missed": missed,
        });
        println!("{line}");
        if !missed.is_empty() {
            bail!("bench: {}", missed.join("; "));
        }
        Ok(())
    }
}

fn said(root: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).current_dir(root).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn machine(root: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {cores} cores, Linux {}", processor(), said(root, "uname", &["-r"]))
}

fn commit(root: &Path) -> String {
    said(root, "git", &["describe", "--always", "--dirty", "--abbrev=12"])
}

/// Where and of which commit figures are, as a document says it.
#[must_use]
pub fn this_machine(root: &Path) -> String {
    let date = said(root, "date", &["-u", "+%Y-%m-%d"]);
    format!("{}, commit {}, {date}", machine(root), commit(root))
}

fn round(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(": "));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned())
}

fn find(lines: &[Line], kind: Kind) -> Option<&Line> {
    lines.iter().find(|line| line.kind == kind)
}

/// Archipel's processor time and rate as multiples of nginx's.
fn against_nginx(lines: &[Line]) -> Option<(f64, f64)> {
    let (ours, nginx) = (find(lines, Kind::Archipel)?, find(lines, Kind::Nginx)?);
    Some((ratio(&ours.cpu(), &nginx.cpu()), ratio(&ours.rate(), &nginx.rate())))
}

fn case_table(case: Case, lines: &[Line]) -> String {
    let mut text = format!("**{}** (bar: {})\n\n", case.title(), case.bar());
    text.push_str("| server | CPU us/request | spread | requests/s | spread | Archipel's CPU / its |\n|---|---|---|---|---|---|\n");
    let ours = find(lines, Kind::Archipel).map(Line::cpu).unwrap_or_default();
    for line in lines {
        let (cpu, rate) = (line.cpu(), line.rate());
        let ((cpu_low, cpu_high), (low, high)) = (spread(&cpu), spread(&rate));
        let _ = writeln!(
            text,
            "| {} | {:.2} | {cpu_low:.2}-{cpu_high:.2} | {:.0} | {low:.0}-{high:.0} | {:.2} |",
            line.kind.title(),
            median(&cpu),
            median(&rate),
            ratio(&ours, &cpu),
        );
    }
    text
}

/// Archipel's growth and total as multiples of HAProxy's.
fn idle_ratios(idle: &[Idle]) -> Option<(f64, f64)> {
    let of = |kind: Kind| idle.iter().find(|idle| idle.kind == kind);
    let (ours, theirs) = (of(Kind::Archipel)?, of(Kind::Haproxy)?);
    let growth = megabytes(ours.growth_bytes()) / megabytes(theirs.growth_bytes());
    Some((growth, megabytes(ours.after_bytes) / megabytes(theirs.after_bytes)))
}

fn idle_table(idle: &[Idle]) -> String {
    let mut text = format!("**{}** (bar: at most {IDLE_BAR} x HAProxy's memory)\n\n", Case::Idle.title());
    text.push_str(
        "| server | MiB before | MiB with 10,000 idle | growth, MiB | KiB a connection |\n|---|---|---|---|---|\n",
    );
    for line in idle {
        let growth = megabytes(line.growth_bytes());
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {growth:.1} | {:.2} |",
            line.kind.title(),
            megabytes(line.before_bytes),
            megabytes(line.after_bytes),
            growth * 1024.0 / 10_000.0,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{median, ratio, spread};

    #[test]
    fn figures() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!((ratio(&[1.0, 2.0], &[2.0, 4.0]) - 0.5).abs() < f64::EPSILON);
        assert_eq!(spread(&[2.0, 1.0]), (1.0, 2.0));
    }
}
