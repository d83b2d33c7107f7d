//! `cargo xtask waf-quality [DIR]`: how much of the attacks in two labelled sets is caught, and how much of what is benign
//! passes: the Core Rule Set at level 1, our own rules, and both.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::archipel::Archipel;
use super::modsecurity::ModSecurity;
use super::rules::{Mode, Rules};
use super::sample::{self, Sample};
use super::{Engine, directory, gotestwaf};

/// What to measure.
#[derive(Debug, Args)]
pub struct Options {
    /// The folder of `gotestwaf/testcases` and `payloads/train.csv`; ARCHIPEL_DATASETS, or ../shared/datasets
    dir: Option<PathBuf>,
    /// The folder of the Core Rule Set; ARCHIPEL_CRS, or ../shared/crs
    #[arg(long)]
    crs: Option<PathBuf>,
    /// The engine: the bars hold for either
    #[arg(long, value_enum, default_value_t = Which::Archipel)]
    engine: Which,
    /// Of the benign values, only each n-th
    #[arg(long, default_value_t = 1)]
    every: usize,
    /// Prints what is judged wrongly by our own rules; of the half that they may be tuned on
    #[arg(long)]
    show: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Archipel,
    Modsecurity,
}

/// Rule sets: title, whether the Core Rule Set is in it, whether our own rules are.
const SETS: [(&str, bool, bool); 3] =
    [("CRS", true, false), ("built-in", false, true), ("CRS and built-in", true, true)];

/// A data set: title, and the rates that have to be reached at least, in percent: those that the Core Rule Set alone has.
struct Data {
    title: &'static str,
    positive_min: f64,
    negative_min: f64,
    samples: Vec<Sample>,
}

/// Rates in percent.
#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    caught: u32,
    attacks: u32,
    passed: u32,
    benign: u32,
}

impl Rates {
    fn add(&mut self, attack: bool, blocked: bool) {
        if attack {
            self.attacks += 1;
            self.caught += u32::from(blocked);
        } else {
            self.benign += 1;
            self.passed += u32::from(!blocked);
        }
    }

    fn positive(self) -> f64 {
        percent(self.caught, self.attacks)
    }

    fn negative(self) -> f64 {
        percent(self.passed, self.benign)
    }

    fn balanced(self) -> f64 {
        f64::midpoint(self.positive(), self.negative())
    }
}

fn percent(part: u32, whole: u32) -> f64 {
    100.0 * f64::from(part) / f64::from(whole.max(1))
}

/// To one digit: the bars are given so.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Measures, prints the table, and judges the bars.
///
/// # Errors
/// A bar that does not hold, or anything that keeps it from measuring.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    if let Some(done) = super::in_release(root) {
        return done;
    }
    let folder = directory(root, options.dir.as_deref(), "ARCHIPEL_DATASETS", "datasets")?;
    let crs = directory(root, options.crs.as_deref(), "ARCHIPEL_CRS", "crs")?;
    let data = [
        Data {
            title: "gotestwaf",
            positive_min: 47.5,
            negative_min: 91.5,
            samples: gotestwaf::load(&folder.join("gotestwaf/testcases"))?,
        },
        Data {
            title: "payloads",
            positive_min: 89.4,
            negative_min: 99.8,
            samples: thinned(sample::load_values(&folder.join("payloads/train.csv"))?, options.every),
        },
    ];
    println!("| data | rules | caught | passed | balanced | held-out half: caught | passed | balanced |");
    println!("|---|---|---|---|---|---|---|---|");
    let (mut figures, mut missed) = (Vec::new(), Vec::new());
    for data in &data {
        for (title, with_crs, with_own) in SETS {
            let mut rules = Rules::base(Mode::Block);
            if with_crs {
                rules = rules.with_crs(&crs, 1)?;
            }
            if with_own {
                rules = rules.with_builtin();
            }
            let (all, held) = measure(root, options, &rules, data, with_own && !with_crs)?;
            print(data, title, all, held);
            figures.push(json!({
                "data": data.title, "rules": title, "attacks": all.attacks, "benign": all.benign,
                "positive": tenth(all.positive()), "negative": tenth(all.negative()), "balanced": tenth(all.balanced()),
                "held_out": [tenth(held.positive()), tenth(held.negative()), tenth(held.balanced())],
            }));
            if tenth(all.positive()) < data.positive_min || tenth(all.negative()) < data.negative_min {
                missed.push(format!("{}, {title}: {:.1}/{:.1}", data.title, all.positive(), all.negative()));
            }
        }
    }
    println!(
        "{}",
        json!({"command": "waf-quality", "engine": format!("{:?}", options.engine), "figures": figures, "missed": missed})
    );
    if !missed.is_empty() {
        bail!("below the bar: {}", missed.join("; "));
    }
    Ok(())
}

fn thinned(samples: Vec<Sample>, every: usize) -> Vec<Sample> {
    let keep = |(at, sample): (usize, Sample)| (sample.attack || at % every.max(1) == 0).then_some(sample);
    samples.into_iter().enumerate().filter_map(keep).collect()
}

fn print(data: &Data, title: &str, all: Rates, held: Rates) {
    println!(
        "| {} | {title} | {:.1} % of {} | {:.1} % of {} | **{:.1}** | {:.1} % | {:.1} % | {:.1} |",
        data.title,
        all.positive(),
        all.attacks,
        all.negative(),
        all.benign,
        all.balanced(),
        held.positive(),
        held.negative(),
        held.balanced(),
    );
}

/// The rates over the whole set, and over the half that no rule was tuned on.
fn measure(root: &Path, options: &Options, rules: &Rules, data: &Data, show: bool) -> Result<(Rates, Rates)> {
    let mut engine: Box<dyn Engine> = match options.engine {
        Which::Archipel => Box::new(Archipel::load(rules)?),
        Which::Modsecurity => Box::new(ModSecurity::start(root, rules, None)?),
    };
    let (mut all, mut held) = (Rates::default(), Rates::default());
    for sample in &data.samples {
        let outcome = engine.run(&sample.request)?;
        all.add(sample.attack, outcome.blocked());
        if sample.held_out() {
            held.add(sample.attack, outcome.blocked());
        } else if show && options.show && sample.attack != outcome.blocked() {
            let kind = if sample.attack { "missed" } else { "refused" };
            println!("{kind} {:?} {}", outcome.matched, String::from_utf8_lossy(&sample.payload));
        }
    }
    Ok((all, held))
}

#[cfg(test)]
mod tests {
    use super::{Rates, tenth};

    #[test]
    fn rates() {
        let mut rates = Rates::default();
        for (attack, blocked) in [(true, true), (true, false), (false, false), (false, false)] {
            rates.add(attack, blocked);
        }
        assert!((rates.positive() - 50.0).abs() < 1e-9);
        assert!((rates.negative() - 100.0).abs() < 1e-9);
        assert!((rates.balanced() - 75.0).abs() < 1e-9);
        assert!((tenth(91.489) - 91.5).abs() < 1e-9);
    }
}
