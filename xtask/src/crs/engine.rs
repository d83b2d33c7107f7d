//! The firewall under test: CRS as a directory has it, with the settings that its tests ask for, and one transaction a stage.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use archipel_waf::{Budget, Clock, Connection, Files, Match, RuleSet, Scratch, Source};

use super::message::Message;
use super::origin::Reply;

/// What ModSecurity's recommended configuration sets, as far as the rules depend on it.
const BASE: &str = include_str!("../assets/crs-base.conf");
/// What CRS's tests ask for: detection only, level 4, limits low enough to be reached.
const TESTS: &str = include_str!("../assets/crs-tests.conf");

/// A rule that matched and logged, as a line of ModSecurity's error log would show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The rule.
    pub id: u64,
    /// The line.
    pub line: String,
}

/// The rules, loaded.
#[derive(Debug)]
pub struct Engine {
    rules: Arc<RuleSet>,
    scratch: Scratch,
    prefilter: bool,
}

/// Reads the files that rules name, beside the file that names them.
struct Beside;

impl Files for Beside {
    fn read(&self, from: &str, name: &str) -> Result<Vec<u8>, String> {
        let folder = Path::new(from).parent().unwrap_or(Path::new(""));
        std::fs::read(folder.join(name)).map_err(|error| error.to_string())
    }
}

/// A time that stands still: nothing here may depend on it.
struct Stopped;

impl Clock for Stopped {
    fn unix_micros(&self) -> u64 {
        1_800_000_000_000_000
    }
}

/// Where a CRS has what.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The set-up file.
    pub setup: PathBuf,
    /// The folder of rules.
    pub rules: PathBuf,
}

/// Loads the rules.
///
/// # Errors
/// A file that cannot be read, and everything that the engine does not understand.
pub fn load(layout: &Layout) -> Result<Arc<RuleSet>> {
    let mut sources = vec![source("base.conf", BASE.into()), source("tests.conf", TESTS.into())];
    sources.push(read(&layout.setup)?);
    let entries = std::fs::read_dir(&layout.rules).with_context(|| layout.rules.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    paths.sort();
    for path in &paths {
        sources.push(read(path)?);
    }
    match RuleSet::load(&sources, &Beside) {
        Ok(rules) => Ok(Arc::new(rules)),
        Err(errors) => {
            let mut text = format!("{} errors in the rules", errors.len());
            for error in errors.iter().take(50) {
                let _ = write!(text, "\n  {error}");
            }
            bail!(text)
        }
    }
}

impl Engine {
    /// With its own memory, so that each thread has one.
    #[must_use]
    pub fn new(rules: Arc<RuleSet>, prefilter: bool) -> Self {
        Self { rules, scratch: Scratch::default(), prefilter }
    }

    /// Judges a request and its reply in all five phases; what was logged.
    pub fn judge(&mut self, request: &Message, reply: impl FnOnce(&Message) -> Reply) -> Vec<Logged> {
        let scratch = std::mem::take(&mut self.scratch);
        let budget = Budget { micros_max: u64::MAX, rule_micros_max: u64::MAX, ..Budget::default() };
        let mut transaction = self.rules.transaction(scratch, Arc::new(Stopped), budget);
        transaction.set_prefilter(self.prefilter);
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let connection = Connection { client: local, client_port: 40_000, server: local, server_port: 80 };
        transaction.connection(&connection);
        transaction.unique_id(b"crs-test");
        transaction.request_line(&request.method, &request.target, &request.protocol);
        for (name, value) in &request.headers {
            transaction.request_header(name, value);
        }
        // Verdicts are of no interest: the rules only detect, and what they logged is judged.
        let _ = transaction.request_headers();
        let _ = transaction.request_body(&request.body);
        let _ = transaction.request_end();
        let reply = reply(request);
        transaction.response_status(reply.status, b"HTTP/1.1");
        for (name, value) in &reply.headers {
            transaction.response_header(name.as_bytes(), value.as_bytes());
        }
        let _ = transaction.response_headers();
        let _ = transaction.response_body(&reply.body);
        let _ = transaction.response_end();
        transaction.logging();
        let logged = transaction.matches().map(|matched| logged(&matched)).collect();
        self.scratch = transaction.into_scratch();
        logged
    }
}

fn source(name: &str, text: Vec<u8>) -> Source {
    Source { name: name.to_owned(), text }
}

fn read(path: &Path) -> Result<Source> {
    let text = std::fs::read(path).with_context(|| path.display().to_string())?;
    Ok(source(&path.display().to_string(), text))
}

fn logged(matched: &Match<'_>) -> Logged {
    let id = matched.id();
    let mut line = format!("Match at {}. [id \"{id}\"]", printable(matched.variable()));
    let _ = write!(line, " [msg \"{}\"] [data \"{}\"]", printable(matched.message()), printable(matched.data()));
    for tag in matched.tags() {
        let _ = write!(line, " [tag \"{}\"]", printable(tag));
    }
    Logged { id, line }
}

/// One line of printable characters; quotes and backslashes stay what they are.
fn printable(text: &[u8]) -> String {
    let mut shown = String::with_capacity(text.len());
    for &byte in text {
        if byte == b' ' || byte.is_ascii_graphic() {
            shown.push(char::from(byte));
        } else {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}
