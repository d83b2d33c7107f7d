//! Unpacking a release archive: only plain files and folders, only below the target, within limits.

use std::fs;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use flate2::read::GzDecoder;

/// Most bytes that come out of an archive.
pub(super) const UNPACKED_BYTES_MAX: u64 = 256 << 20;

/// Most entries of an archive. That of 4.28.0 has 600.
pub(super) const ENTRIES_MAX: usize = 20_000;

/// Unpacks a `.tar.gz` below `target`, without the one folder that release archives have at their top.
///
/// # Errors
/// It is no such archive, an entry leads out of it, or a limit is broken. What was unpacked by then is the caller's to remove.
pub(super) fn unpack(archive: &[u8], target: &Path) -> anyhow::Result<()> {
    ensure!(archive.starts_with(&[0x1f, 0x8b]), "this is no .tar.gz archive: it does not begin like gzip");
    // One more byte than allowed, so that the limit is seen when it is broken.
    let bounded = GzDecoder::new(archive).take(UNPACKED_BYTES_MAX + 1);
    let mut archive = tar::Archive::new(bounded);
    let (mut entries, mut bytes) = (0, 0);
    for entry in archive.entries().context("the archive cannot be read")? {
        let mut entry = entry.context("the archive is damaged, or larger than allowed when unpacked")?;
        entries += 1;
        ensure!(entries <= ENTRIES_MAX, "the archive has more than the {ENTRIES_MAX} entries allowed");
        let path = entry.path().context("an entry without a usable path")?.into_owned();
        let kind = entry.header().entry_type();
        let Some(place) = place(&path, target)? else { continue };
        if kind.is_dir() {
            fs::create_dir_all(&place)?;
        } else if kind.is_file() {
            bytes += entry.size();
            ensure!(
                bytes <= UNPACKED_BYTES_MAX,
                "the archive unpacks to more than the {UNPACKED_BYTES_MAX} bytes allowed"
            );
            fs::create_dir_all(place.parent().unwrap_or(target))?;
            let mut file = fs::File::create_new(&place).with_context(|| format!("{} comes twice", path.display()))?;
            std::io::copy(&mut entry, &mut file)
                .with_context(|| format!("{} cannot be unpacked: the archive is damaged", path.display()))?;
        } else if matches!(kind, tar::EntryType::Link | tar::EntryType::Symlink) {
            bail!("{} is a link: an archive of rules has none", path.display());
        }
    }
    ensure!(entries > 0, "the archive is empty");
    Ok(())
}

/// Where an entry belongs; nothing for what is not below the top folder.
fn place(path: &Path, target: &Path) -> anyhow::Result<Option<PathBuf>> {
    let mut place = target.to_owned();
    let mut components = path.components().filter(|component| *component != Component::CurDir);
    let top = components.next();
    ensure!(matches!(top, None | Some(Component::Normal(_))), "{} leads out of the archive", path.display());
    let mut below = false;
    for component in components {
        let Component::Normal(name) = component else { bail!("{} leads out of the archive", path.display()) };
        place.push(name);
        below = true;
    }
    Ok(below.then_some(place))
}
