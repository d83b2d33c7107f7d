//! The seed of the keys' hashes, which has to outlive the process: with another one nothing on the disk would be found.
//!
//! Must never be readable by others: who knows it can make keys that collide.

use super::files::{Files, SystemFiles};
use super::format::sum;
use std::io;
use std::path::Path;

const NAME: &str = "key.seed";
const BYTES: usize = 20;

/// The seed kept in a folder; `fresh` is kept where there is none, or one that is damaged. What was stored under a lost seed is dropped.
///
/// # Errors
/// The folder cannot be used: go on with `fresh`, and nothing will survive a restart.
pub fn key_seed(folder: &Path, fresh: (u64, u64)) -> io::Result<(u64, u64)> {
    let files = SystemFiles;
    files.make_folder(folder)?;
    let path = folder.join(NAME);
    match read(&files, &path) {
        Ok(Some(seed)) => return Ok(seed),
        Ok(None) => {
            tracing::warn!(file = %path.display(), "the seed of the disk tier is damaged and replaced: what it holds is dropped");
            files.remove(&path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut bytes = [fresh.0.to_le_bytes(), fresh.1.to_le_bytes()].concat();
    bytes.extend_from_slice(&sum(0, &[&bytes]).to_le_bytes());
    match files.create(&path) {
        Ok(file) => {
            file.write(&[&bytes], 0)?;
            file.sync()?;
            Ok(fresh)
        }
        // Another process was faster: its seed it is.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(read(&files, &path)?.unwrap_or(fresh)),
        Err(error) => Err(error),
    }
}

fn read(files: &dyn Files, path: &Path) -> io::Result<Option<(u64, u64)>> {
    let file = files.open(path)?;
    let mut bytes = [0; BYTES];
    if file.len()? != BYTES as u64 {
        return Ok(None);
    }
    file.read(&mut bytes, 0, false)?;
    let Some((checked, crc)) = bytes.split_last_chunk::<4>() else { return Ok(None) };
    let (first, second) = checked.split_at(8);
    let number = |bytes: &[u8]| bytes.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    let whole = sum(0, &[checked]) == u32::from_le_bytes(*crc);
    Ok(number(first).zip(number(second)).filter(|_| whole))
}

/// What segments keep of the seed, to tell that they were made with it.
pub(crate) fn print_of(seed: (u64, u64)) -> u64 {
    let (first, second) = (seed.0.to_le_bytes(), seed.1.to_le_bytes());
    u64::from(sum(0, &[&first, &second])) << 32 | u64::from(sum(1, &[&second, &first]))
}
