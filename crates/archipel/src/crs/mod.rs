//! `crs ...`: the OWASP Core Rule Set of this node: installed from a release archive, listed, taken back.
//!
//! Owns the folder `crs` in the state folder: a folder a version, and two links that say which is used and which was before.
//! Must never put a version in use that the engine does not load, nor remove the one in use.

mod download;
mod shelf;
mod unpack;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::cli::{CrsCommand, CrsInstallArgs, WhichNode};
use crate::files;
use crate::say::{self, Style};
use shelf::Shelf;

/// Largest release archive, in bytes. That of 4.28.0 has 0.9 MB.
const ARCHIVE_BYTES_MAX: u64 = 64 << 20;

/// `crs ...`
pub fn run(command: &CrsCommand) -> anyhow::Result<ExitCode> {
    match command {
        CrsCommand::Install(args) => install(args),
        CrsCommand::List(which) => list(which),
        CrsCommand::Rollback(which) => rollback(which),
    }
}

fn shelf_of(which: &WhichNode) -> anyhow::Result<Shelf> {
    let state = files::state_dir(which.state_dir.as_deref(), which.config.as_deref())?;
    Shelf::open(&files::prepare_state_dir(&state)?)
}

fn install(args: &CrsInstallArgs) -> anyhow::Result<ExitCode> {
    let shelf = shelf_of(&args.which)?;
    let archive = if args.source.starts_with("http://") || args.source.starts_with("https://") {
        ensure!(
            args.sha256.is_some(),
            "what comes over the network is only installed with --sha256 HEX, the checksum that the release page states"
        );
        download::get(&args.source, args.ca_file.as_deref(), ARCHIVE_BYTES_MAX)?
    } else {
        read(Path::new(&args.source))?
    };
    let sum = hex(&Sha256::digest(&archive));
    if let Some(expected) = &args.sha256 {
        ensure!(
            expected.eq_ignore_ascii_case(&sum),
            "{} has the checksum {sum}, not {expected}: nothing was installed",
            args.source
        );
    }
    let installed = shelf.install(&archive, &sum)?;
    let Style { green, reset, .. } = Style::of(&std::io::stdout());
    say::out(&format!(
        "{green}installed{reset}: CRS {}, {} rules, sha256 {sum}\n{}",
        installed.version,
        installed.rules,
        after(&shelf)?
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What to do next.
fn after(shelf: &Shelf) -> anyhow::Result<String> {
    let before = shelf.previous()?.map(|version| format!("{version} stays for `archipel crs rollback`\n"));
    Ok(format!(
        "{}zones with \"crs\" in [firewall.managed] rules use it after `archipel reload`\n",
        before.unwrap_or_default()
    ))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut archive = Vec::new();
    file.take(ARCHIVE_BYTES_MAX + 1)
        .read_to_end(&mut archive)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    ensure!(
        archive.len() as u64 <= ARCHIVE_BYTES_MAX,
        "{} is larger than the {ARCHIVE_BYTES_MAX} bytes allowed for an archive",
        path.display()
    );
    Ok(archive)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn list(which: &WhichNode) -> anyhow::Result<ExitCode> {
    let shelf = shelf_of(which)?;
    let (current, previous) = (shelf.current()?, shelf.previous()?);
    let versions = shelf.versions()?;
    if which.json {
        let json = serde_json::json!({"versions": versions, "current": current, "previous": previous});
        say::out(&format!("{json:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for version in &versions {
        let mark = match () {
            () if current.as_ref() == Some(version) => "  in use",
            () if previous.as_ref() == Some(version) => "  before",
            () => "",
        };
        text.push_str(&format!("{version}{mark}\n"));
    }
    if versions.is_empty() {
        text.push_str("none installed: `archipel crs install ARCHIVE` takes a release of the OWASP Core Rule Set\n");
    }
    say::out(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn rollback(which: &WhichNode) -> anyhow::Result<ExitCode> {
    let shelf = shelf_of(which)?;
    let Some(version) = shelf.rollback()? else {
        bail!("there is no version before the one in use; `archipel crs list` shows what is installed")
    };
    say::out(&format!("in use: CRS {version}\n{}", after(&shelf)?))?;
    Ok(ExitCode::SUCCESS)
}
