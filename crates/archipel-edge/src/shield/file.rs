//! What the shields of a node know, kept in the state folder: usual traffic, mitigation rules, what the operator said of them.
//!
//! Must never fail a start: a file that cannot be understood is begun anew, and the log says so.

use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use archipel_shield::detector::{Detector, Settings};
use foldhash::quality::FixedState;

/// The name of the file in the state folder.
const FILE: &str = "shield";
/// What it begins with.
const MAGIC: &[u8; 8] = b"archshld";
/// The form of its bytes.
const VERSION: u32 = 1;
/// A longer file is none of ours: detectors take at most 64 MiB in memory.
const BYTES_MAX: u64 = 128 << 20;
/// Zones of a file.
const ZONES_MAX: usize = 1 << 20;

/// What is read from a file.
#[derive(Default)]
pub(super) struct Known {
    /// The seed of the hashes of features.
    pub(super) seed: u64,
    /// Zones by name, as [`Detector::encode`] wrote them.
    zones: Vec<(Box<str>, Box<[u8]>)>,
}

impl Known {
    /// The detector of a zone.
    pub(super) fn detector(&self, zone: &str, settings: Settings) -> Option<Detector> {
        let (_, bytes) = self.zones.iter().find(|(name, _)| **name == *zone)?;
        Detector::decode(settings, crate::node::random(), bytes)
    }
}

/// The file, which one thread writes at a time.
pub(super) struct StateFile {
    path: PathBuf,
    writing: Mutex<()>,
}

/// A number that is another one where this program hashes in another way than the one that wrote the file.
fn probe(seed: u64) -> u64 {
    let mut hasher = FixedState::with_seed(seed).build_hasher();
    hasher.write(b"what a feature's value is hashed to");
    hasher.finish()
}

impl StateFile {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join(FILE), writing: Mutex::new(()) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it says; nothing where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is not whole.
    pub(super) fn read(&self) -> io::Result<Option<Known>> {
        let file = match std::fs::File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        decode(&bytes).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Writes it anew, beside the old one, which it replaces. Waits for the disk.
    pub(super) fn write<'a>(&self, seed: u64, zones: impl Iterator<Item = (&'a str, Vec<u8>)>) -> io::Result<()> {
        let _one_at_a_time = self.writing.lock();
        let bytes = encode(seed, zones);
        let beside = self.path.with_extension(format!("new-{}", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let written = file.write_all(&bytes).and_then(|()| file.sync_all());
        let renamed = written.and_then(|()| std::fs::rename(&beside, &self.path));
        if renamed.is_err() {
            // A full disk is not to be filled by what could not be written.
            let _ = std::fs::remove_file(&beside);
        }
        renamed
    }
}

fn encode<'a>(seed: u64, zones: impl Iterator<Item = (&'a str, Vec<u8>)>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&seed.to_le_bytes());
    bytes.extend_from_slice(&probe(seed).to_le_bytes());
    for (name, body) in zones {
        for part in [name.as_bytes(), &body] {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Known> {
    let (content, checksum) = bytes.split_last_chunk::<4>()?;
    (crc32fast::hash(content) == u32::from_le_bytes(*checksum)).then_some(())?;
    let rest = content.strip_prefix(MAGIC)?;
    let (version, rest) = rest.split_first_chunk()?;
    let (seed, rest) = rest.split_first_chunk()?;
    let (probed, mut rest) = rest.split_first_chunk()?;
    let seed = u64::from_le_bytes(*seed);
    (u32::from_le_bytes(*version) == VERSION && u64::from_le_bytes(*probed) == probe(seed)).then_some(())?;
    let mut zones = Vec::new();
    while !rest.is_empty() && zones.len() < ZONES_MAX {
        let name = std::str::from_utf8(part(&mut rest)?).ok()?;
        zones.push((name.into(), part(&mut rest)?.into()));
    }
    Some(Known { seed, zones })
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, behind) = rest.split_first_chunk()?;
    let (part, behind) = behind.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    *rest = behind;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_none() {
        let mut body = Vec::new();
        Detector::new(Settings::default(), 1).encode(&mut body);
        let bytes = encode(7, [("a", body.clone()), ("b", body)].into_iter());
        let known = decode(&bytes).expect("what was written");
        assert_eq!(known.seed, 7);
        assert!(known.detector("a", Settings::default()).is_some());
        assert!(known.detector("c", Settings::default()).is_none());
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_none(), "cut at {cut}");
            let mut broken = bytes.clone();
            broken[cut] ^= 1;
            assert!(decode(&broken).is_none(), "broken at {cut}");
        }
    }
}
