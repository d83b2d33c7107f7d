//! Rule sets that both engines load: the base configuration, the Core Rule Set of a directory, our own rules.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::process::Folder;

const BASE: &str = include_str!("../assets/waf-base.conf");

/// Files of rules in the order in which they are loaded, and the data that they name.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Name and text.
    pub sources: Vec<(String, Vec<u8>)>,
    /// Name and content.
    pub data: Vec<(String, Vec<u8>)>,
}

/// What a transaction is to suffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What rules say is done.
    Block,
    /// What rules say is only logged.
    Detect,
}

impl Rules {
    /// The base configuration alone.
    #[must_use]
    pub fn base(mode: Mode) -> Self {
        let mode = match mode {
            Mode::Block => "SecRuleEngine On\n",
            Mode::Detect => "SecRuleEngine DetectionOnly\n",
        };
        let text = format!("{mode}{BASE}");
        Self { sources: vec![("base.conf".to_owned(), text.into_bytes())], data: Vec::new() }
    }

    /// Adds a file of rules.
    #[must_use]
    pub fn with(mut self, name: &str, text: impl Into<Vec<u8>>) -> Self {
        self.sources.push((name.to_owned(), text.into()));
        self
    }

    /// Adds our own rules.
    #[must_use]
    pub fn with_builtin(self) -> Self {
        archipel_waf::builtin::FILES
            .iter()
            .fold(self, |rules, (name, text)| rules.with(&format!("builtin-{name}"), *text))
    }

    /// Adds the Core Rule Set of `folder` at a paranoia level, with its own thresholds (5 for requests, 4 for responses).
    ///
    /// # Errors
    /// It is not there.
    pub fn with_crs(mut self, folder: &Path, level: u8) -> Result<Self> {
        let setup = folder.join("crs-setup.conf.example");
        let setup = std::fs::read(&setup).with_context(|| setup.display().to_string())?;
        let level = format!(
            "SecAction \"id:900000,phase:1,pass,t:none,nolog,\
             setvar:tx.blocking_paranoia_level={level},setvar:tx.detection_paranoia_level={level}\"\n"
        );
        self = self.with("crs-setup.conf", setup).with("crs-level.conf", level);
        let before = self.sources.len();
        for path in sorted(&folder.join("rules"))? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let content = std::fs::read(&path).with_context(|| path.display().to_string())?;
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("conf") => self.sources.push((name, content)),
                Some("data") => self.data.push((name, content)),
                _ => {}
            }
        }
        ensure!(self.sources.len() > before, "{}: no rules", folder.display());
        Ok(self)
    }

    /// Writes all files into a folder, and one that includes them in order: its path.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&self, folder: &Folder) -> Result<PathBuf> {
        for (name, content) in &self.data {
            folder.write(name, content)?;
        }
        let mut main = String::new();
        for (name, text) in &self.sources {
            let path = folder.write(name, text)?;
            let _ = writeln!(main, "Include {}", path.display());
        }
        folder.write("main.conf", main)
    }
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
