//! Where the OWASP Core Rule Set is, and reading it: a folder that the operator names, one that `archipel crs install` made, or
//! Debian's package.
//!
//! Owns the choice and the reading of rule files. Must never write them: installing is the program's.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use archipel_waf::{Files, RuleSet, Source};
use thiserror::Error;

/// Folder of the installed rule sets in the state folder; `current` in it leads to the one in use.
pub const INSTALLED: &str = "crs";

/// Where Debian's modsecurity-crs puts the rules.
const DEBIAN_RULES: &str = "/usr/share/modsecurity-crs";
/// Where Debian's modsecurity-crs puts what operators edit.
const DEBIAN_SETUP: &str = "/etc/modsecurity/crs";

/// Largest file of rules or of data for them, in bytes. The largest of CRS 4.28.0 has 0.2 MB.
const RULE_FILE_BYTES_MAX: u64 = 16 << 20;

/// Most errors that are shown; the others are counted.
const ERRORS_SHOWN_MAX: usize = 10;

/// Why a rule set cannot be used. The fault is the operator's.
#[derive(Debug, Error)]
pub enum RuleFilesError {
    /// There is none.
    #[error(
        "the OWASP Core Rule Set is not on this machine: install it with `archipel crs install`, name its folder as \
         firewall.crs_dir in node.toml, or install Debian's modsecurity-crs"
    )]
    NoCoreRuleSet,
    /// A folder is not one of the Core Rule Set.
    #[error("{0} is no folder of the OWASP Core Rule Set: there is no file rules/*.conf in it")]
    NoRules(PathBuf),
    /// A file cannot be read.
    #[error("{file} cannot be read: {problem}")]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        problem: String,
    },
    /// The engine does not take the rules.
    #[error("the rules cannot be used:\n{0}")]
    Rules(String),
}

/// A Core Rule Set that loads.
#[derive(Debug)]
pub struct Inspected {
    /// Its version, such as 4.28.0; empty where it does not say.
    pub version: String,
    /// Rules in it.
    pub rules: usize,
}

/// Loads the Core Rule Set in a folder to see that it can be used.
///
/// # Errors
/// [`RuleFilesError`].
pub fn inspect(folder: &Path) -> Result<Inspected, RuleFilesError> {
    let set = load(&core_rule_set_in(folder)?)?;
    let signature = set.signatures().find_map(|signature| {
        let text = std::str::from_utf8(signature).ok()?;
        text.strip_prefix("OWASP_CRS/").map(str::to_owned)
    });
    Ok(Inspected { version: signature.unwrap_or_default(), rules: set.rules() })
}

/// Compiles rules; what they include is read from beside them.
///
/// # Errors
/// [`RuleFilesError::Rules`] with every problem's file and line, the first few.
pub(crate) fn load(sources: &[Source]) -> Result<RuleSet, RuleFilesError> {
    RuleSet::load(sources, &Beside).map_err(|errors| {
        let mut lines: Vec<String> = errors.iter().take(ERRORS_SHOWN_MAX).map(|error| format!("  {error}")).collect();
        if errors.len() > ERRORS_SHOWN_MAX {
            lines.push(format!("  and {} more", errors.len() - ERRORS_SHOWN_MAX));
        }
        RuleFilesError::Rules(lines.join("\n"))
    })
}

/// The Core Rule Set of a node: the folder that it names, the one installed, or Debian's.
///
/// # Errors
/// [`RuleFilesError`].
pub(crate) fn core_rule_set(named: Option<&Path>, state_dir: &Path) -> Result<Vec<Source>, RuleFilesError> {
    if let Some(folder) = named {
        return core_rule_set_in(folder);
    }
    let installed = state_dir.join(INSTALLED).join("current");
    if installed.is_dir() {
        return core_rule_set_in(&installed);
    }
    if !Path::new(DEBIAN_RULES).join("rules").is_dir() {
        return Err(RuleFilesError::NoCoreRuleSet);
    }
    let setup = Path::new(DEBIAN_SETUP);
    let mut files =
        existing(&[setup.join("crs-setup.conf"), setup.join("REQUEST-900-EXCLUSION-RULES-BEFORE-CRS.conf")]);
    files.extend(rules_in(Path::new(DEBIAN_RULES))?);
    files.extend(existing(&[setup.join("RESPONSE-999-EXCLUSION-RULES-AFTER-CRS.conf")]));
    files.iter().map(|file| source(file)).collect()
}

fn core_rule_set_in(folder: &Path) -> Result<Vec<Source>, RuleFilesError> {
    // As it is shipped the set-up is an example, in which nothing is decided but what must be.
    let setup = existing(&[folder.join("crs-setup.conf"), folder.join("crs-setup.conf.example")]);
    let mut files: Vec<PathBuf> = setup.into_iter().take(1).collect();
    files.extend(rules_in(folder)?);
    files.iter().map(|file| source(file)).collect()
}

fn existing(files: &[PathBuf]) -> Vec<PathBuf> {
    files.iter().filter(|file| file.is_file()).cloned().collect()
}

/// The rule files of a folder, in the order of their names, which is that of their numbers.
fn rules_in(folder: &Path) -> Result<Vec<PathBuf>, RuleFilesError> {
    let rules = folder.join("rules");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&rules).map_err(|_| RuleFilesError::NoRules(folder.to_owned()))? {
        let path = entry.map_err(|error| failed(&rules, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "conf") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() { Err(RuleFilesError::NoRules(folder.to_owned())) } else { Ok(files) }
}

/// Reads one file of rules.
///
/// # Errors
/// [`RuleFilesError::File`].
pub(crate) fn source(file: &Path) -> Result<Source, RuleFilesError> {
    let text = read(file).map_err(|error| failed(file, &error))?;
    Ok(Source { name: file.display().to_string(), text })
}

fn failed(file: &Path, error: &std::io::Error) -> RuleFilesError {
    RuleFilesError::File { file: file.to_owned(), problem: error.to_string() }
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(file)?.take(RULE_FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > RULE_FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("it is larger than the {RULE_FILE_BYTES_MAX} bytes allowed")));
    }
    Ok(text)
}

/// Files that rules name: relative names are meant from the folder of the file that has them.
struct Beside;

impl Beside {
    fn place(from: &str, name: &str) -> PathBuf {
        Path::new(from).parent().unwrap_or(Path::new("")).join(name)
    }
}

impl Files for Beside {
    fn read(&self, from: &str, name: &str) -> Result<Vec<u8>, String> {
        let place = Self::place(from, name);
        read(&place).map_err(|error| format!("{} cannot be read: {error}", place.display()))
    }

    fn expand(&self, from: &str, pattern: &str) -> Result<Vec<String>, String> {
        let place = Self::place(from, pattern);
        let Some((folder, name)) = place.parent().zip(place.file_name().and_then(|name| name.to_str())) else {
            return Err(format!("{pattern} names no file"));
        };
        if folder.to_string_lossy().contains('*') {
            return Err(format!("{pattern}: `*` may stand in the name of a file only, not in that of a folder"));
        }
        let Some((before, behind)) = name.split_once('*') else { return Ok(vec![place.display().to_string()]) };
        let entries =
            std::fs::read_dir(folder).map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
        let matching = |name: &str| {
            name.len() >= before.len() + behind.len() && name.starts_with(before) && name.ends_with(behind)
        };
        let mut found: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(matching))
            .map(|entry| entry.path().display().to_string())
            .collect();
        found.sort();
        if found.is_empty() { Err(format!("{pattern} names no file")) } else { Ok(found) }
    }
}
