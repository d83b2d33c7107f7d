//! What measures and compares the firewall: its decisions beside those of libmodsecurity, and what it catches of labelled
//! sets. The rule set and the data are handed in; nothing of them is kept here.

pub mod archipel;
pub mod compare;
pub mod gotestwaf;
pub mod modsecurity;
pub mod quality;
pub mod request;
pub mod rules;
pub mod sample;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use modsecurity::Outcome;
use request::Request;

/// An engine with a set of rules.
pub trait Engine {
    /// Runs a transaction.
    ///
    /// # Errors
    /// The engine has ended.
    fn run(&mut self, request: &Request) -> Result<Outcome>;
}

/// A directory that was named, or that a variable names, or that lies beside the repository.
///
/// # Errors
/// It is not there.
pub fn directory(root: &Path, named: Option<&Path>, variable: &str, beside: &str) -> Result<PathBuf> {
    let found = named.map(Path::to_owned).or_else(|| std::env::var_os(variable).map(PathBuf::from));
    let found = found.unwrap_or_else(|| root.join("../shared").join(beside));
    found.canonicalize().with_context(|| format!("{}: name a directory, or set {variable}", found.display()))
}

/// Runs the same command in a release build where this is none: figures of a debug build say nothing. `None` where this
/// is one already.
pub fn in_release(root: &Path) -> Option<Result<()>> {
    if !cfg!(debug_assertions) {
        return None;
    }
    let mut command = crate::process::command(env!("CARGO"));
    command
        .current_dir(root)
        .args(["run", "--quiet", "--release", "--package", "xtask", "--"])
        .args(std::env::args().skip(1));
    Some(match command.status().context("cargo") {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(anyhow::anyhow!("the release build says no")),
        Err(error) => Err(error),
    })
}
