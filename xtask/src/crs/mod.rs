//! `cargo xtask crs`: the Core Rule Set's own regression tests against the firewall's engine, judged by the ids that matched.
//!
//! The tests are go-ftw's; `request` completes a request as go-ftw does. A stage that expects a status is also sent, byte for
//! byte, to the program's real listener: what an HTTP front end must refuse is refused there or not at all.

mod engine;
mod front_end;
pub mod message;
pub mod origin;
mod overrides;
pub mod request;
pub mod suite;
#[cfg(test)]
mod tests;
mod verdict;
pub mod yaml;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use archipel_waf::RuleSet;
use clap::Args;

use engine::{Engine, Layout};
use front_end::{FrontEnd, Listener};
use message::Message;
use suite::{Stage, Test};
use verdict::Seen;

/// Where Debian's `modsecurity-crs` puts its rules.
const DEBIAN_RULES: &str = "/usr/share/modsecurity-crs/rules";
const DEBIAN_SETUP: &str = "/etc/modsecurity/crs/crs-setup.conf";

/// Which rules and tests, and how.
#[derive(Debug, Args)]
pub struct Options {
    /// A checkout of the Core Rule Set with its tests; else ARCHIPEL_CRS, else ../shared/crs
    dir: Option<PathBuf>,
    /// Load the rules of Debian's modsecurity-crs instead; tests are run where DIR has some for them
    #[arg(long)]
    debian: bool,
    /// Run tests only whose name begins so: `942100` or `942100-3`
    #[arg(long)]
    only: Option<String>,
    /// Look at every value with every rule
    #[arg(long)]
    without_prefilter: bool,
    /// Judge each stage a second time without the prefilter: what is logged must be the same
    #[arg(long, conflicts_with = "without_prefilter")]
    compare_prefilter: bool,
    /// Print each request of a failed test, and what was logged
    #[arg(long)]
    verbose: bool,
    /// Do not start the program: leave out what only its listener can judge, and fail for it
    #[arg(long)]
    without_listener: bool,
}

/// A test that went wrong.
#[derive(Debug)]
struct Failure {
    name: String,
    text: String,
}

/// Runs the tests.
///
/// # Errors
/// A test that does not pass, rules that do not load, or anything that keeps it from running.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    if options.debian {
        return debian(options);
    }
    let Some(folder) = folder(root, options) else {
        println!("skipped: no Core Rule Set in ../shared/crs, and ARCHIPEL_CRS names none");
        println!("{}", serde_json::json!({"command": "crs", "skipped": "no rules"}));
        return Ok(());
    };
    let begun = Instant::now();
    let mut tests = suite::read(&folder.join("tests/regression/tests"))?;
    let overridden = overrides::apply(&mut tests)?;
    if let Some(only) = &options.only {
        tests.retain(|test| test.name.starts_with(only.as_str()));
    }
    let layout = Layout { setup: folder.join("crs-setup.conf.example"), rules: folder.join("rules") };
    let rules = engine::load(&layout)?;
    let loaded = begun.elapsed();
    let replies = ask_front_end(root, &tests, options.without_listener)?;
    let judged = Instant::now();
    let failures = judge_all(&rules, &tests, &replies, options)?;
    report(&tests, &failures);
    let passed = tests.len() - failures.len();
    println!(
        "{}",
        serde_json::json!({
            "command": "crs", "tests": tests.len(), "passed": passed,
            "stages": tests.iter().map(|test| test.stages.len()).sum::<usize>(),
            "front_end_stages": replies.len(), "overridden": overridden,
            "load_ms": u64::try_from(loaded.as_millis())?, "judge_ms": u64::try_from(judged.elapsed().as_millis())?,
        })
    );
    ensure!(failures.is_empty(), "crs: {passed} of {} tests", tests.len());
    Ok(())
}

fn folder(root: &Path, options: &Options) -> Option<PathBuf> {
    let named = options.dir.clone().or_else(|| std::env::var_os("ARCHIPEL_CRS").map(PathBuf::from));
    named.or_else(|| Some(root.join("../shared/crs")).filter(|folder| folder.join("rules").is_dir()))
}

/// Debian's package has rules and no tests: that they load is what can be seen of it.
fn debian(options: &Options) -> Result<()> {
    if !Path::new(DEBIAN_RULES).is_dir() {
        println!("skipped: Debian's modsecurity-crs is not installed");
        println!("{}", serde_json::json!({"command": "crs --debian", "skipped": "not installed"}));
        return Ok(());
    }
    let layout = Layout { setup: DEBIAN_SETUP.into(), rules: DEBIAN_RULES.into() };
    let mut engine = Engine::new(engine::load(&layout)?, !options.without_prefilter);
    let attack = Message::read(b"GET /?a=<script>alert(1)</script> HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let logged = engine.judge(&attack, origin::reply);
    let ids: Vec<u64> = logged.iter().map(|logged| logged.id).collect();
    println!("{}", serde_json::json!({"command": "crs --debian", "loaded": true, "attack_matched": ids}));
    ensure!(ids.contains(&941_100), "the rules load, but an attack goes through");
    Ok(())
}

/// The front end's replies to the stages that ask for it, by test and stage.
type Replies = BTreeMap<(usize, usize), Vec<u8>>;

fn ask_front_end(root: &Path, tests: &[Test], leave_out: bool) -> Result<Replies> {
    let mut replies = Replies::new();
    let asks =
        |stage: &Stage| stage.output.fails || stage.output.status.is_some() || stage.output.response_contains.is_some();
    let mut listener: Option<Listener> = None;
    for (at, test) in tests.iter().enumerate() {
        for (number, stage) in test.stages.iter().enumerate().filter(|(_, stage)| asks(stage)) {
            let reply = if leave_out {
                Vec::new()
            } else {
                let listener = match &mut listener {
                    Some(listener) => listener,
                    none => none.insert(Listener::start(root)?),
                };
                listener.ask(&request::bytes(&stage.input)).with_context(|| test.name.clone())?
            };
            replies.insert((at, number), reply);
        }
    }
    Ok(replies)
}

/// Judges all tests, with as many threads as there are cores.
fn judge_all(rules: &Arc<RuleSet>, tests: &[Test], replies: &Replies, options: &Options) -> Result<Vec<Failure>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(tests.len().max(1));
    let found: Vec<Result<Vec<(usize, Failure)>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                let mut judge = Judge {
                    engine: Engine::new(Arc::clone(rules), !options.without_prefilter),
                    control: options.compare_prefilter.then(|| Engine::new(Arc::clone(rules), false)),
                    replies,
                    verbose: options.verbose,
                };
                scope.spawn(move || {
                    let mut failures = Vec::new();
                    for (at, test) in tests.iter().enumerate().skip(first).step_by(threads) {
                        let failure = judge.test(at, test);
                        failures.extend(failure.with_context(|| test.name.clone())?.map(|failure| (at, failure)));
                    }
                    Ok(failures)
                })
            })
            .collect();
        let panicked = |_| Err(anyhow::anyhow!("the engine panicked"));
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(panicked)).collect()
    });
    let mut failures = Vec::new();
    for part in found {
        failures.extend(part?);
    }
    failures.sort_by_key(|(at, _)| *at);
    Ok(failures.into_iter().map(|(_, failure)| failure).collect())
}

/// What one thread judges with.
struct Judge<'a> {
    engine: Engine,
    /// The one that looks at everything, where both are compared.
    control: Option<Engine>,
    replies: &'a Replies,
    verbose: bool,
}

impl Judge<'_> {
    fn test(&mut self, at: usize, test: &Test) -> Result<Option<Failure>> {
        let mut text = String::new();
        for (number, stage) in test.stages.iter().enumerate() {
            let bytes = request::bytes(&stage.input);
            let seen = Seen { reply: self.replies.get(&(at, number)).cloned(), log: None };
            let (seen, mut wrong) = self.stage(stage, seen, &bytes);
            wrong.extend(verdict::judge(&stage.output, &seen)?);
            if wrong.is_empty() {
                continue;
            }
            text.push_str(&verdict::show(&wrong, &seen));
            if self.verbose {
                let _ = writeln!(text, "    request: {}", bytes.escape_ascii());
                for logged in seen.log.iter().flatten() {
                    let _ = writeln!(text, "    log: {}", logged.line);
                }
            }
        }
        Ok((!text.is_empty()).then(|| Failure { name: test.name.clone(), text }))
    }

    /// Adds what the rules logged, and what is wrong with that whatever the test expects.
    fn stage(&mut self, stage: &Stage, mut seen: Seen, bytes: &[u8]) -> (Seen, Vec<String>) {
        let mut wrong = Vec::new();
        if stage.output.is_of_front_end() {
            return (seen, wrong);
        }
        // What the front end refuses never comes to the rules.
        let refused = seen.reply.as_deref().is_some_and(|reply| front_end::status(reply) == Some(400));
        let mut log = Vec::new();
        if !refused {
            let request = Message::read(bytes);
            log = self.engine.judge(&request, origin::reply);
            if self.control.as_mut().is_some_and(|control| control.judge(&request, origin::reply) != log) {
                wrong.push("the prefilter makes a difference".to_owned());
            }
        }
        seen.log = Some(log);
        (seen, wrong)
    }
}

fn report(tests: &[Test], failures: &[Failure]) {
    let mut files: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for test in tests {
        let counts = files.entry(&test.file).or_default();
        counts[0] += usize::from(!failures.iter().any(|failure| failure.name == test.name));
        counts[1] += 1;
    }
    for (file, [passed, all]) in &files {
        println!("{passed:>4}/{all:<4} {file}");
    }
    for failure in failures {
        print!("{}\n{}", failure.name, failure.text);
    }
}
