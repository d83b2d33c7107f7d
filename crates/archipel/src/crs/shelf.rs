//! The versions that are installed, and which is used. A version is put in use by renaming a link: whoever reads at that moment
//! sees one or the other, also after a crash.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use archipel_edge::rule_files;

use super::unpack;

/// The folder of the installed versions.
pub(super) struct Shelf {
    folder: PathBuf,
}

/// What was installed.
pub(super) struct Installed {
    /// Its version, such as 4.28.0.
    pub version: String,
    /// Rules in it.
    pub rules: usize,
}

/// Link to the version in use.
const CURRENT: &str = "current";
/// Link to the version that was in use before.
const PREVIOUS: &str = "previous";

impl Shelf {
    pub(super) fn open(state: &Path) -> anyhow::Result<Self> {
        let folder = state.join(rule_files::INSTALLED);
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Self { folder })
    }

    /// Unpacks an archive, loads it with the engine, and only then puts it in use.
    pub(super) fn install(&self, archive: &[u8], checksum: &str) -> anyhow::Result<Installed> {
        let fresh = self.folder.join(format!(".fresh-{}", std::process::id()));
        let _ = fs::remove_dir_all(&fresh);
        fs::create_dir(&fresh)?;
        let installed = self.take(archive, checksum, &fresh);
        let _ = fs::remove_dir_all(&fresh);
        installed
    }

    fn take(&self, archive: &[u8], checksum: &str, fresh: &Path) -> anyhow::Result<Installed> {
        unpack::unpack(archive, fresh)?;
        let found = rule_files::inspect(fresh).context("nothing was installed: this is no usable Core Rule Set")?;
        let version = found.version;
        ensure!(
            version.starts_with(|first: char| first.is_ascii_digit())
                && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)),
            "the archive gives its version as {version:?}, which is none"
        );
        // Named by its content as well: what is in use is never written to.
        let name = format!("{version}-{}", checksum.get(..8).unwrap_or(checksum));
        let place = self.folder.join(&name);
        if rule_files::inspect(&place).is_err() {
            let _ = fs::remove_dir_all(&place);
            fs::rename(fresh, &place)?;
            self.sync()?;
        }
        self.put_in_use(&name)?;
        Ok(Installed { version, rules: found.rules })
    }

    /// What was in use before is in use again; nothing where there is none.
    pub(super) fn rollback(&self) -> anyhow::Result<Option<String>> {
        let Some(previous) = self.previous()? else { return Ok(None) };
        rule_files::inspect(&self.folder.join(&previous))
            .with_context(|| format!("CRS {previous} cannot be used any more"))?;
        self.put_in_use(&previous)?;
        Ok(Some(previous))
    }

    fn put_in_use(&self, version: &str) -> anyhow::Result<()> {
        if let Some(current) = self.current()?.filter(|current| current != version) {
            self.link(PREVIOUS, &current)?;
        }
        self.link(CURRENT, version)
    }

    fn link(&self, name: &str, version: &str) -> anyhow::Result<()> {
        let fresh = self.folder.join(format!(".{name}-{}", std::process::id()));
        let _ = fs::remove_file(&fresh);
        symlink(version, &fresh)?;
        fs::rename(&fresh, self.folder.join(name))?;
        self.sync()
    }

    fn sync(&self) -> anyhow::Result<()> {
        fs::File::open(&self.folder)?.sync_all().context("the folder cannot be synced")
    }

    pub(super) fn current(&self) -> anyhow::Result<Option<String>> {
        self.follow(CURRENT)
    }

    /// The version before the one in use, if it is still there.
    pub(super) fn previous(&self) -> anyhow::Result<Option<String>> {
        let previous = self.follow(PREVIOUS)?;
        Ok(previous.filter(|version| self.folder.join(version).is_dir()))
    }

    fn follow(&self, name: &str) -> anyhow::Result<Option<String>> {
        match fs::read_link(self.folder.join(name)) {
            Ok(target) => Ok(target.to_str().map(str::to_owned)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} is no link", self.folder.join(name).display())),
        }
    }

    /// All versions, in the order of their names.
    pub(super) fn versions(&self) -> anyhow::Result<Vec<String>> {
        let mut versions = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() && !name.starts_with('.') {
                versions.push(name);
            }
        }
        versions.sort();
        Ok(versions)
    }
}
