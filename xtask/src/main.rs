//! `cargo xtask`: the checks of the house rules, the benchmarks and the acceptance runs. Every acceptance command
//! ends with one line of JSON that holds its figures, and succeeds only where its own bar holds. Nothing here is
//! ever part of the program, and nothing here sends load to anything but loopback.

mod attack;
mod bench;
mod cache_tests;
mod chaos;
mod collapse;
mod conformance;
mod control;
mod crs;
mod edge;
mod fetch;
mod h2spec;
mod licences;
mod process;
mod slow;
mod small_origin;
mod soak;
mod tidy;
mod waf;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks, benchmarks and acceptance runs")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the house rules: floors, lengths, banned calls, module headers, names, documents
    Tidy,
    /// Write what derives from the code into the documents, between its markers
    Docs,
    /// Check licences and duplicate versions of all dependencies
    Licences,
    /// Measure Archipel and its peers side by side
    Bench(bench::Options),
    /// Send bounded floods from many addresses of loopback to a fresh edge, and report the fate of the people beside them
    Attack(attack::Options),
    /// Run h2spec against a fresh edge
    H2spec(h2spec::SpecOptions),
    /// Run bounded HTTP/2 floods against a fresh edge
    H2abuse(h2spec::AbuseOptions),
    /// Run slowhttptest's three modes against a fresh edge, with a probe
    Slowhttptest(slow::Options),
    /// Put mixed load on a fresh edge whose origin misbehaves in every way
    Soak(soak::Options),
    /// Kill the edge under load again and again, with disk faults and purges, and check every byte
    Chaos(chaos::Options),
    /// Let a thousand clients ask at once for one slow object, and kill who leads them
    Collapse(collapse::Options),
    /// Run http-tests/cache-tests against a fresh edge
    CacheTests(cache_tests::Options),
    /// Compare what the firewall and libmodsecurity block of the Core Rule Set's own tests
    WafCompare(waf::compare::Options),
    /// Measure what the firewall catches of labelled sets, and what it lets pass
    WafQuality(waf::quality::Options),
    /// Run the cache's own conformance set, over HTTP/1.1 and HTTP/2
    Conformance,
    /// Run the Core Rule Set's own regression tests against the firewall's engine
    Crs(crs::Options),
}

/// The root of the repository.
pub fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or(manifest.clone(), PathBuf::from)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Tidy => tidy::run(&root()),
        Command::Docs => tidy::docs::write(&root()),
        Command::Licences => licences::run(&root()),
        Command::Bench(options) => bench::run(&root(), &options),
        Command::Attack(options) => attack::run(&root(), &options),
        Command::H2spec(options) => h2spec::spec(&root(), &options),
        Command::H2abuse(options) => h2spec::abuse(&root(), &options),
        Command::Slowhttptest(options) => slow::run(&root(), &options),
        Command::Soak(options) => soak::run(&root(), &options),
        Command::Chaos(options) => chaos::run(&root(), &options),
        Command::Collapse(options) => collapse::run(&root(), &options),
        Command::CacheTests(options) => cache_tests::run(&root(), &options),
        Command::WafCompare(options) => waf::compare::run(&root(), &options),
        Command::WafQuality(options) => waf::quality::run(&root(), &options),
        Command::Conformance => conformance::run(&root()),
        Command::Crs(options) => crs::run(&root(), &options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
