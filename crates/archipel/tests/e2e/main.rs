//! The end-to-end tests: the real program as a child process between a scripted origin and exact clients.
//!
//! Scenario files (`tests/cases/**/*.txt`) and the tests written in Rust beside this file run under one harness, each
//! by its own name. `cargo test -p archipel --test e2e -- WORD...` runs those whose name contains a word,
//! `--list` names them. Must never sleep, use a fixed port, or leave a process behind.

mod cache;
mod cases;
mod codings;
mod disk;
mod firewall;
mod floods;
mod inspect;
mod kernel;
mod lifecycle;
mod managed;
mod managed_limits;
mod origins;
mod purge;
mod rates;
mod shield;
mod site;
mod slices;
mod streams;
mod visitors;

use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The outcome of one test.
pub type Outcome = anyhow::Result<()>;

/// A test written in Rust.
pub struct Test {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub run: fn() -> Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

/// A table of tests, each by the name of its function.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        /// The tests of this module.
        pub const TESTS: &[$crate::Test] = &[$($crate::Test { name: stringify!($name), run: || Box::pin($name()) }),*];
    };
}

/// How many tests run at a time.
const TESTS_AT_ONCE: usize = 4;

struct Wish {
    words: Vec<String>,
    list: bool,
    exact: bool,
}

impl Wish {
    fn from_arguments() -> Self {
        let mut wish = Self { words: Vec::new(), list: false, exact: false };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => wish.list = true,
                "--exact" => wish.exact = true,
                // What `cargo test` passes to every harness means nothing here, but must not be taken for a name.
                "--test-threads" | "--format" | "--color" | "--skip" => drop(arguments.next()),
                flag if flag.starts_with('-') => {}
                word => wish.words.push(word.to_owned()),
            }
        }
        wish
    }

    fn wants(&self, name: &str) -> bool {
        self.words.is_empty()
            || self.words.iter().any(|w| if self.exact { name == w } else { name.contains(w.as_str()) })
    }
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let failed = runtime.block_on(run(&Wish::from_arguments()))?;
    // Tasks of tests are dropped here, and with them their child processes.
    drop(runtime);
    if failed > 0 {
        anyhow::bail!("{failed} failed");
    }
    Ok(())
}

async fn run(wish: &Wish) -> anyhow::Result<usize> {
    let modules = [
        cache::TESTS,
        codings::TESTS,
        disk::TESTS,
        firewall::TESTS,
        floods::TESTS,
        inspect::TESTS,
        kernel::TESTS,
        lifecycle::TESTS,
        managed::TESTS,
        managed_limits::TESTS,
        origins::TESTS,
        purge::TESTS,
        shield::TESTS,
        rates::TESTS,
        slices::TESTS,
        streams::TESTS,
        visitors::TESTS,
    ];
    let tests: Vec<&Test> = modules.iter().copied().flatten().filter(|t| wish.wants(t.name)).collect();
    let groups = cases::groups(&|name| wish.wants(name))?;
    if wish.list {
        let names = groups.iter().flat_map(cases::Group::names).chain(tests.iter().map(|t| t.name.to_owned()));
        let mut out = std::io::stdout().lock();
        for name in names {
            writeln!(out, "{name}: test")?;
        }
        return Ok(0);
    }
    let begun = Instant::now();
    let permits = Arc::new(Semaphore::new(TESTS_AT_ONCE));
    let mut running = JoinSet::new();
    for group in groups {
        let permits = Arc::clone(&permits);
        running.spawn(async move {
            let _permit = permits.acquire_owned().await;
            group.run().await
        });
    }
    for test in tests {
        let permits = Arc::clone(&permits);
        running.spawn(async move {
            let _permit = permits.acquire_owned().await;
            vec![watch(test.name.to_owned(), (test.run)()).await]
        });
    }
    let mut results = Vec::new();
    while let Some(done) = running.join_next().await {
        results.extend(done?);
    }
    let failures: Vec<_> =
        results.iter().filter_map(|(name, outcome)| outcome.as_ref().err().map(|error| (name, error))).collect();
    let mut out = std::io::stdout().lock();
    for (name, error) in &failures {
        writeln!(out, "\n---- {name} ----\n{error:?}")?;
    }
    if !failures.is_empty() {
        writeln!(out, "\nfailed:")?;
    }
    for (name, _) in &failures {
        writeln!(out, "    {name}")?;
    }
    let passed = results.len() - failures.len();
    writeln!(out, "\n{passed} passed, {} failed in {:.1} s", failures.len(), begun.elapsed().as_secs_f64())?;
    Ok(failures.len())
}

/// Runs one test to its end, a panic included, and says how it went.
pub async fn watch(name: String, test: impl Future<Output = Outcome> + Send + 'static) -> (String, Outcome) {
    let begun = Instant::now();
    let outcome = match tokio::spawn(test).await {
        Ok(outcome) => outcome,
        Err(error) => Err(anyhow::anyhow!("panicked: {error}")),
    };
    let word = if outcome.is_ok() { "ok" } else { "FAILED" };
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "test {name} ... {word} ({} ms)", begun.elapsed().as_millis());
    (name, outcome)
}
