//! The program: command line, wiring of the crates into a running node, signals, the control socket.
//!
//! Owns what happens before the first and after the last request. Must never decide about a request: that is the edge's.

mod allocator;
mod cli;
mod commands;
mod control;
mod crs;
mod curl;
mod files;
mod firewall;
mod log;
mod rules;
mod sample;
mod say;
mod shield;
mod up;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Up(args) => up::run(&args),
        Command::Check(args) => commands::check(&args),
        Command::Explain(args) => commands::explain(&args),
        Command::Purge(args) => commands::purge(&args),
        Command::Cache(command) => commands::cache(&command),
        Command::Firewall(command) => rules::firewall(&command),
        Command::Shield(command) => shield::run(&command),
        Command::Rules(command) => rules::rules(&command),
        Command::Crs(command) => crs::run(&command),
        Command::Reload(which) => commands::reload(&which),
        Command::Status(which) => commands::status(&which),
        Command::Config(command) => commands::config(&command),
        Command::Completions { shell } => commands::completions(shell),
        Command::Version => commands::version(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            say::error(&error);
            ExitCode::FAILURE
        }
    }
}
