//! Reading documents and the files they name from disk: the only module of the crate that touches files.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::compile::{SingleOrigin, ZONES_MAX, compile};
use crate::diagnostic::{Code, Diagnostics, Problem};
use crate::kind::Files;
use crate::node::Listener;
use crate::snapshot::Snapshot;
use crate::tree::{DOCUMENT_BYTES_MAX, Source};

/// Files on disk.
pub(crate) struct Disk;

impl Files for Disk {
    fn readable(&self, path: &Path) -> Result<(), String> {
        let kind = fs::metadata(path).map_err(|error| error.to_string())?;
        if kind.is_dir() {
            return Err("it is a folder".to_owned());
        }
        // Opening a named pipe would wait for its writer.
        if !kind.is_file() {
            return Err("it is no regular file".to_owned());
        }
        File::open(path).map(drop).map_err(|error| error.to_string())
    }

    fn read(&self, path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, String> {
        self.readable(path)?;
        let mut file = File::open(path).map_err(|error| error.to_string())?;
        let mut content = Vec::new();
        // One byte more than allowed tells "just fits" from "too large".
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        Read::by_ref(&mut file).take(limit).read_to_end(&mut content).map_err(|error| error.to_string())?;
        Ok((content.len() <= bytes_max).then_some(content))
    }
}

impl Snapshot {
    /// Loads `node.toml` and `zones/*.toml` (or `.json`) from a folder. Diagnostics name the documents relative to it.
    ///
    /// # Errors
    /// All problems at once. Beside the snapshot come the warnings.
    pub fn load_dir(folder: &Path) -> Result<(Snapshot, Diagnostics), Diagnostics> {
        let mut out = Diagnostics::new();
        let mut documents = Vec::new();
        let zones = folder.join("zones");
        let mut found = list(folder, folder, &mut out);
        if zones.is_dir() {
            found.extend(list(&zones, folder, &mut out));
        }
        if found.is_empty() && !out.has_errors() {
            let source = Source::new(&folder.to_string_lossy(), "", Path::new(""));
            let problem = Problem::error(Code::NoDocuments, "the folder holds neither node.toml nor zones/*.toml")
                .help("write zones/<name>.toml with `hosts` and `[origin] url`");
            out.report(&source, "", None, problem);
        }
        if found.len() > ZONES_MAX + 2 {
            let source = Source::new(&folder.to_string_lossy(), "", Path::new(""));
            let message = format!("the folder holds {} documents, at most {ZONES_MAX} zones are allowed", found.len());
            out.report(&source, "", None, Problem::error(Code::TooMany, message));
            return Err(out);
        }
        for name in found {
            documents.extend(read_document(folder, &name, &mut out));
        }
        if out.has_errors() && documents.is_empty() {
            return Err(out);
        }
        compile(documents, folder, &Disk, out)
    }

    /// Builds a snapshot from documents given as name and text. The names say what they are (`node.toml`,
    /// `zones/shop.toml`, or `.json`); relative paths in them start at the working folder.
    ///
    /// # Errors
    /// All problems at once. Beside the snapshot come the warnings.
    pub fn from_documents<N: AsRef<str>, T: AsRef<str>>(
        documents: &[(N, T)],
    ) -> Result<(Snapshot, Diagnostics), Diagnostics> {
        Self::from_documents_in(Path::new(""), documents)
    }

    /// As [`Snapshot::from_documents`], with the folder that relative paths start from.
    ///
    /// # Errors
    /// All problems at once. Beside the snapshot come the warnings.
    pub fn from_documents_in<N: AsRef<str>, T: AsRef<str>>(
        folder: &Path,
        documents: &[(N, T)],
    ) -> Result<(Snapshot, Diagnostics), Diagnostics> {
        let sources = documents.iter().map(|(name, text)| Source::new(name.as_ref(), text.as_ref(), folder)).collect();
        compile(sources, folder, &Disk, Diagnostics::new())
    }

    /// A configuration without documents: every host in front of one origin. Without listeners, the node has the usual
    /// two (127.0.0.1:8080 and, with TLS, 127.0.0.1:8443).
    ///
    /// # Errors
    /// Says what is wrong with the URL.
    pub fn single_origin(url: &str, listeners: Vec<Listener>) -> Result<SingleOrigin, Diagnostics> {
        SingleOrigin::new(url, listeners)
    }
}

/// The documents in a folder, by name, relative to the configuration's folder.
fn list(folder: &Path, base: &Path, out: &mut Diagnostics) -> Vec<String> {
    let prefix = folder.strip_prefix(base).unwrap_or(Path::new(""));
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let source = Source::new(&folder.to_string_lossy(), "", Path::new(""));
            let problem = Problem::error(Code::Unreadable, format!("the folder cannot be read: {error}"));
            out.report(&source, "", None, problem);
            return Vec::new();
        }
    };
    let mut names = Vec::new();
    for entry in entries.flatten() {
        let file = entry.file_name();
        let shown = prefix.join(&file).to_string_lossy().into_owned();
        let extension = Path::new(&file).extension().and_then(|extension| extension.to_str());
        let hidden = file.to_string_lossy().starts_with('.');
        match extension {
            _ if hidden || entry.path().is_dir() => {}
            Some("toml") => names.push(shown),
            // Next to node.toml a JSON file may be anything; among the zones it is a zone.
            Some("json") if !prefix.as_os_str().is_empty() || shown == "node.json" => names.push(shown),
            Some("yaml" | "yml") => {
                let problem =
                    Problem::warning(Code::UnknownDocument, "the file is not read").help("documents are TOML or JSON");
                out.report(&Source::new(&shown, "", base), "", None, problem);
            }
            _ => {}
        }
    }
    names.sort();
    names
}

fn read_document(folder: &Path, name: &str, out: &mut Diagnostics) -> Option<Source> {
    let path: PathBuf = folder.join(name);
    let source = Source::new(name, "", folder);
    let problem = match Disk.read(&path, DOCUMENT_BYTES_MAX) {
        Ok(Some(content)) => match String::from_utf8(content) {
            Ok(text) => return Some(Source { text, ..source }),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let line = error.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
                Problem::error(Code::Unreadable, format!("the document is not UTF-8 text (line {line})"))
            }
        },
        Ok(None) => Problem::error(Code::TooLarge, format!("the document has more than {DOCUMENT_BYTES_MAX} bytes")),
        Err(why) => Problem::error(Code::Unreadable, format!("the document cannot be read: {why}")),
    };
    out.report(&source, "", None, problem);
    None
}
