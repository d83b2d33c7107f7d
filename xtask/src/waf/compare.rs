//! `cargo xtask waf-compare`: what our engine and libmodsecurity 3 block of the Core Rule Set's own test requests, in
//! blocking mode with its own thresholds, at levels 1 and 4. A difference must be explained in `peers/differences.toml`,
//! from which docs/firewall.md derives; an explanation that explains nothing any more is an error, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::archipel::Archipel;
use super::modsecurity::{ModSecurity, Outcome};
use super::request::{Request, Response};
use super::rules::{Mode, Rules};
use super::{Engine, directory};
use crate::crs::message::Message;
use crate::crs::{origin, request, suite};

const EXPLANATIONS: &str = "xtask/peers/differences.toml";

/// What to compare.
#[derive(Debug, Args)]
pub struct Options {
    /// The folder of the Core Rule Set with its tests; ARCHIPEL_CRS, or ../shared/crs
    dir: Option<PathBuf>,
    /// The paranoia levels
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4])]
    levels: Vec<u8>,
    /// Compare only tests whose name begins so; explanations are not judged then
    #[arg(long)]
    only: Option<String>,
    /// Also print which rules matched in one engine only, where the decision is the same
    #[arg(long)]
    matches: bool,
}

/// A reason for differences, and the tests that differ for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    /// A few words.
    title: String,
    /// Whose behaviour differs from what the rule set's authors document, and where that is written.
    because: String,
    /// Names of tests, such as `920100-4`; `LEVEL/NAME` where only one level differs.
    tests: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Explanations {
    #[serde(default)]
    reason: Vec<Reason>,
}

/// One request of a test.
struct Stage {
    name: String,
    request: Request,
}

/// A stage that one engine blocks and the other does not.
struct Difference {
    name: String,
    level: u8,
    ours: Outcome,
    theirs: Outcome,
}

impl Difference {
    /// The names by which an explanation may call it.
    fn keys(&self) -> [String; 2] {
        [self.name.clone(), format!("{}/{}", self.level, self.name)]
    }
}

/// Compares, prints every difference, and judges that each is explained.
///
/// # Errors
/// A difference without an explanation or the other way round, or anything that keeps it from comparing.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let folder = directory(root, options.dir.as_deref(), "ARCHIPEL_CRS", "crs")?;
    let stages = stages(&folder, options.only.as_deref())?;
    let explanations = read(root)?;
    let (mut differences, mut about) = (Vec::new(), String::new());
    let mut blocked = BTreeMap::new();
    for level in &options.levels {
        let rules = Rules::base(Mode::Block).with_crs(&folder, *level)?;
        let mut ours = Archipel::load(&rules)?;
        let mut theirs = ModSecurity::start(root, &rules, None)?;
        about.clone_from(&theirs.about.engine);
        for stage in &stages {
            let difference = Difference {
                name: stage.name.clone(),
                level: *level,
                ours: ours.run(&stage.request)?,
                theirs: theirs.run(&stage.request).with_context(|| stage.name.clone())?,
            };
            let counts: &mut [u32; 2] = blocked.entry(level.to_string()).or_default();
            counts[0] += u32::from(difference.ours.blocked());
            counts[1] += u32::from(difference.theirs.blocked());
            if difference.ours.blocked() != difference.theirs.blocked() {
                differences.push(difference);
            } else if options.matches {
                print_matches(&difference);
            }
        }
    }
    let unexplained = print(&differences, &explanations);
    let stale = if options.only.is_some() { Vec::new() } else { stale(&differences, &explanations) };
    println!(
        "{}",
        json!({
            "command": "waf-compare", "peer": about, "stages": stages.len(), "blocked_by_level_ours_theirs": blocked,
            "differences": differences.len(), "unexplained": unexplained, "explained_but_equal": stale,
        })
    );
    ensure!(unexplained.is_empty(), "{} differences without an explanation", unexplained.len());
    ensure!(stale.is_empty(), "explained, but there is no difference: {}", stale.join(", "));
    Ok(())
}

/// Every stage that is judged by its rules; what only the HTTP front end judges is no business of either engine.
fn stages(folder: &Path, only: Option<&str>) -> Result<Vec<Stage>> {
    let mut stages = Vec::new();
    for test in suite::read(&folder.join("tests/regression/tests"))? {
        if only.is_some_and(|only| !test.name.starts_with(only)) {
            continue;
        }
        let judged = test.stages.iter().filter(|stage| !stage.output.is_of_front_end());
        for (at, stage) in judged.enumerate() {
            let message = Message::read(&request::bytes(&stage.input));
            let name = if at == 0 { test.name.clone() } else { format!("{}+{at}", test.name) };
            stages.push(Stage { name, request: complete(message) });
        }
    }
    ensure!(!stages.is_empty(), "no tests");
    Ok(stages)
}

fn complete(message: Message) -> Request {
    let reply = origin::reply(&message);
    let headers = reply.headers.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect();
    let version = message.protocol.strip_prefix(b"HTTP/").unwrap_or(&message.protocol).to_vec();
    Request {
        method: message.method,
        uri: message.target,
        version,
        headers: message.headers,
        body: message.body,
        response: Some(Response { status: reply.status, headers, body: reply.body }),
    }
}

fn read(root: &Path) -> Result<Explanations> {
    let text = std::fs::read_to_string(root.join(EXPLANATIONS)).context(EXPLANATIONS)?;
    toml::from_str(&text).context(EXPLANATIONS)
}

/// Prints all differences, those without an explanation last; the keys of these.
fn print(differences: &[Difference], explanations: &Explanations) -> Vec<String> {
    let explains = |difference: &Difference| {
        let holds = |reason: &&Reason| reason.tests.iter().any(|test| difference.keys().contains(test));
        explanations.reason.iter().find(holds)
    };
    let mut unexplained = Vec::new();
    for difference in differences {
        match explains(difference) {
            Some(reason) => println!("level {} {}: {}", difference.level, difference.name, reason.title),
            None => unexplained.push(difference),
        }
    }
    for difference in &unexplained {
        println!("level {} {}: NOT EXPLAINED", difference.level, difference.name);
        println!("    ours:   {}", show(&difference.ours));
        println!("    theirs: {}", show(&difference.theirs));
    }
    unexplained.iter().map(|difference| difference.keys()[1].clone()).collect()
}

fn show(outcome: &Outcome) -> String {
    let mut text =
        if outcome.blocked() { format!("{} in phase {}", outcome.status, outcome.phase) } else { "passes".into() };
    let _ = write!(text, ", matched {:?}", outcome.matched);
    text
}

fn print_matches(difference: &Difference) {
    let set = |outcome: &Outcome| outcome.matched.iter().copied().collect::<BTreeSet<_>>();
    let (ours, theirs) = (set(&difference.ours), set(&difference.theirs));
    if ours != theirs {
        let only = |one: &BTreeSet<u64>, other| one.difference(other).copied().collect::<Vec<_>>();
        let (ours, theirs) = (only(&ours, &theirs), only(&theirs, &ours));
        println!("level {} {}: only ours {ours:?}, only theirs {theirs:?}", difference.level, difference.name);
    }
}

/// The tests that are explained and do not differ.
fn stale(differences: &[Difference], explanations: &Explanations) -> Vec<String> {
    let keys: BTreeSet<String> = differences.iter().flat_map(Difference::keys).collect();
    let tests = explanations.reason.iter().flat_map(|reason| &reason.tests);
    tests.filter(|test| !keys.contains(*test)).cloned().collect()
}

/// The explanations for docs/firewall.md.
///
/// # Errors
/// They cannot be read.
pub fn markdown(root: &Path) -> Result<String> {
    let mut text = String::new();
    for reason in read(root)?.reason {
        let tests: Vec<String> = reason.tests.iter().map(|test| format!("`{test}`")).collect();
        let _ = writeln!(text, "- **{}** ({}). {}", reason.title, tests.join(", "), reason.because.trim());
    }
    Ok(text)
}
