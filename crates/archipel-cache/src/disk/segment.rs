//! Segments: files that are written from front to back once, read by many, and removed whole.
//!
//! A number is never used for a second file. A reader holds its segment, hence the open file: a segment that is reclaimed meanwhile has
//! lost its name, not its bytes, and nothing else is ever written into it.
//!
//! Must never let the bytes of all files, those without name included, exceed what [`Space`] allows.

use super::files::{DiskFile, Files};
use super::format::Start;
use crate::quota::Line;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// The bytes that segments may take on the disk.
#[derive(Debug)]
pub(crate) struct Space {
    used: AtomicU64,
    bytes_max: u64,
}

impl Space {
    pub(crate) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), bytes_max })
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Takes bytes, if there are so many.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let room = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }

    pub(crate) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One file of records.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: u32,
    pub(crate) solo: bool,
    /// The zone whose log it belongs to; `None` for the shared log.
    pub(crate) log_zone: Option<u32>,
    /// The zone that all of it belongs to, and counts for, as long as it has a name.
    owner: Option<Arc<Line>>,
    /// Bytes that are counted for the owner.
    counted: AtomicU64,
    pub(crate) file: Box<dyn DiskFile>,
    path: PathBuf,
    space: Arc<Space>,
    /// Bytes taken from `space` for it.
    taken: AtomicU64,
    /// The least stamp of its records: purges before it concern none of them.
    oldest_stamp: AtomicU64,
    /// Its readers were cut off to make room.
    cut: AtomicBool,
}

impl Segment {
    /// Makes a new file with a start. `taken` bytes were taken from `space` for it: they are given back where this fails.
    pub(crate) fn create(
        files: &dyn Files,
        folder: &Path,
        start: Start,
        space: &Arc<Space>,
        owner: Option<Arc<Line>>,
        taken: u64,
    ) -> io::Result<Self> {
        let path = path_of(folder, start.id);
        let made = files.create(&path).and_then(|file| {
            file.allocate(0, taken)?;
            file.write(&[&start.encode()], 0)?;
            Ok(file)
        });
        match made {
            Ok(file) => Ok(Self::opened(file, path, start, space, owner, taken)),
            Err(error) => {
                space.give_back(taken);
                let _ = files.remove(&path);
                Err(error)
            }
        }
    }

    /// A file that exists, for which `taken` bytes were taken from `space`.
    pub(crate) fn opened(
        file: Box<dyn DiskFile>,
        path: PathBuf,
        start: Start,
        space: &Arc<Space>,
        owner: Option<Arc<Line>>,
        taken: u64,
    ) -> Self {
        if let Some(line) = &owner {
            line.disk.add(taken);
        }
        Self {
            id: start.id,
            solo: start.solo,
            log_zone: start.zone,
            counted: AtomicU64::new(if owner.is_some() { taken } else { 0 }),
            owner,
            file,
            path,
            space: Arc::clone(space),
            taken: AtomicU64::new(taken),
            oldest_stamp: AtomicU64::new(u64::MAX),
            cut: AtomicBool::new(false),
        }
    }

    /// Whether it is one zone's alone.
    pub(crate) fn is_of(&self, zone: u32) -> bool {
        self.owner.as_ref().is_some_and(|line| line.zone == zone)
    }

    /// Its name goes: who reads it still holds the node's bytes, no longer the zone's.
    pub(crate) fn disown(&self) {
        if let Some(line) = &self.owner {
            line.disk.give_back(self.counted.swap(0, Ordering::Relaxed));
        }
    }

    /// A record of this stamp is in it.
    pub(crate) fn note_stamp(&self, stamp: u64) {
        self.oldest_stamp.fetch_min(stamp, Ordering::Relaxed);
    }

    /// Bytes that it takes on the disk.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes more bytes, if there are so many.
    pub(crate) fn grow(&self, bytes: u64) -> bool {
        let grown = self.space.take(bytes);
        if grown {
            self.taken.fetch_add(bytes, Ordering::Relaxed);
            if let Some(line) = &self.owner {
                line.disk.add(bytes);
                self.counted.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        grown
    }

    /// Ends the file behind `bytes`, and gives back what it does not need.
    pub(crate) fn shrink(&self, bytes: u64) -> io::Result<()> {
        self.file.truncate(bytes)?;
        let before = self.taken.swap(bytes, Ordering::Relaxed);
        self.space.give_back(before.saturating_sub(bytes));
        if let Some(line) = &self.owner {
            let counted = self.counted.fetch_min(bytes, Ordering::Relaxed);
            line.disk.give_back(counted.saturating_sub(bytes));
        }
        Ok(())
    }

    /// Takes the name away; the bytes go when the last reader does.
    pub(crate) fn unlink(&self, files: &dyn Files) -> io::Result<()> {
        files.remove(&self.path)
    }

    /// Takes the bytes away from those who read it still: they see an end of file, and their visitors a broken reply.
    pub(crate) fn cut_off(&self) {
        self.cut.store(true, Ordering::Relaxed);
        // Where even this fails, the bytes stay counted until the readers go.
        let _ = self.shrink(0);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.disown();
        self.space.give_back(self.taken());
    }
}

/// The name of a segment's file.
pub(crate) fn path_of(folder: &Path, id: u32) -> PathBuf {
    folder.join(format!("{id:08x}.seg"))
}

/// The number in a segment's name; `None` for other files, which are left alone.
pub(crate) fn id_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg")?;
    let is_number = digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_number.then(|| u32::from_str_radix(digits, 16).ok())?
}

/// The segments that have a name, by number.
#[derive(Debug, Default)]
pub(crate) struct Segments(RwLock<BTreeMap<u32, Arc<Segment>>>);

impl Segments {
    pub(crate) fn get(&self, id: u32) -> Option<Arc<Segment>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub(crate) fn insert(&self, segment: &Arc<Segment>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(segment.id, Arc::clone(segment));
    }

    pub(crate) fn remove(&self, id: u32) -> Option<Arc<Segment>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }

    /// Bytes of the files that are one zone's alone, by zone.
    #[cfg(test)]
    pub(crate) fn owned(&self) -> Vec<(u32, u64)> {
        let segments = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let owned = segments.values().filter_map(|segment| Some((segment.owner.as_ref()?.zone, segment.taken())));
        owned.collect()
    }

    /// The least stamp of any record.
    pub(crate) fn oldest_stamp(&self) -> Option<u64> {
        let segments = self.0.read().unwrap_or_else(PoisonError::into_inner);
        segments.values().map(|segment| segment.oldest_stamp.load(Ordering::Relaxed)).min()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn clear(&self) -> Vec<Arc<Segment>> {
        let all = std::mem::take(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner));
        all.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_numbers() {
        assert_eq!(path_of(Path::new("d"), 255), Path::new("d/000000ff.seg"));
        let names = [
            ("000000ff.seg", Some(255)),
            ("ffffffff.seg", Some(u32::MAX)),
            ("ff.seg", None),
            ("0000000g.seg", None),
            ("+00000ff.seg", None),
            ("000000ff.seg.bad", None),
            ("lock", None),
        ];
        for (name, id) in names {
            assert_eq!(id_of(name), id, "{name}");
        }
    }

    #[test]
    fn space_is_never_exceeded() {
        let space = Space::new(100);
        assert!(space.take(60) && !space.take(41) && space.take(40));
        space.give_back(1);
        assert!(space.take(1) && !space.take(1) && !space.take(u64::MAX));
        assert_eq!((space.used(), space.bytes_max()), (100, 100));
    }
}
