//! Files in memory whose operations fail by a seeded plan, and that outlive a "process".

use super::files::{DiskFile, Files};
use crate::testing::Random;
use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// How many of a thousand operations fail, and how.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plan {
    /// Writes that fail after a part of the bytes.
    pub(crate) torn_writes: u64,
    pub(crate) failed_reads: u64,
    /// Reads that come back with one bit changed.
    pub(crate) flipped_reads: u64,
    /// Reads that are not in memory.
    pub(crate) cold_reads: u64,
    pub(crate) failed_syncs: u64,
    pub(crate) failed_removes: u64,
    pub(crate) failed_creates: u64,
    pub(crate) failed_allocates: u64,
    /// Bytes of the whole disk; 0 is no bound.
    pub(crate) capacity: u64,
    /// The folder cannot be used at all.
    pub(crate) no_folder: bool,
}

type Content = Arc<Mutex<Vec<u8>>>;

#[derive(Debug)]
struct State {
    files: Mutex<BTreeMap<PathBuf, Content>>,
    plan: Mutex<Plan>,
    random: Mutex<Random>,
    locked: Arc<AtomicBool>,
}

/// A folder in memory.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<State>);

#[derive(Debug)]
struct OpenFile {
    content: Content,
    disk: Disk,
}

struct Lock(Arc<AtomicBool>);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Random({})", self.0)
    }
}

fn failure() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl Disk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(State {
            files: Mutex::default(),
            plan: Mutex::default(),
            random: Mutex::new(Random(seed)),
            locked: Arc::default(),
        }))
    }

    pub(crate) fn plan(&self, plan: Plan) {
        *self.0.plan.lock().unwrap() = plan;
    }

    fn get(&self) -> Plan {
        *self.0.plan.lock().unwrap()
    }

    fn strikes(&self, of_thousand: u64) -> bool {
        of_thousand > 0 && self.0.random.lock().unwrap().below(1_000) < of_thousand
    }

    fn below(&self, bound: u64) -> u64 {
        self.0.random.lock().unwrap().below(bound.max(1))
    }

    /// What the next process finds after this one was killed now: every byte that was written.
    pub(crate) fn after_kill(&self, seed: u64) -> Self {
        let next = Self::new(seed);
        for (path, content) in self.named() {
            let content = content.lock().unwrap().clone();
            next.0.files.lock().unwrap().insert(path, Arc::new(Mutex::new(content)));
        }
        next
    }

    /// What has a name. The list's lock is not held while a file's is taken: who writes holds a file's and asks for the list.
    fn named(&self) -> Vec<(PathBuf, Content)> {
        let files = self.0.files.lock().unwrap();
        files.iter().map(|(path, content)| (path.clone(), Arc::clone(content))).collect()
    }

    /// Files by name, as they are.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        self.named().into_iter().map(|(path, content)| (name(path), content.lock().unwrap().clone())).collect()
    }

    /// Changes a file's bytes.
    pub(crate) fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let (_, content) = self.named().into_iter().find(|(path, _)| path.ends_with(name)).unwrap();
        edit(&mut content.lock().unwrap());
    }

    /// Bytes of all segments with a name.
    pub(crate) fn bytes(&self) -> u64 {
        self.files().iter().filter(|(name, _)| name.ends_with(".seg")).map(|(_, content)| content.len() as u64).sum()
    }

    fn grow(&self, content: &mut Vec<u8>, len: usize) -> io::Result<()> {
        if len > content.len() {
            let capacity = self.get().capacity;
            if capacity > 0 && self.bytes_but(content) + len as u64 > capacity {
                return Err(full());
            }
            content.resize(len, 0);
        }
        Ok(())
    }

    /// Bytes of all files but the one that is locked by the caller.
    fn bytes_but(&self, own: &[u8]) -> u64 {
        let files = self.0.files.lock().unwrap();
        let others = files.values().filter_map(|content| content.try_lock().ok());
        others.filter(|content| content.as_ptr() != own.as_ptr()).map(|content| content.len() as u64).sum()
    }
}

impl Files for Disk {
    fn make_folder(&self, _: &Path) -> io::Result<()> {
        if self.get().no_folder { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }

    fn names(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(self.files().into_iter().map(|(name, _)| name).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if self.strikes(self.get().failed_creates) {
            return Err(failure());
        }
        let content = Content::default();
        let mut files = self.0.files.lock().unwrap();
        if files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        files.insert(path.to_owned(), Arc::clone(&content));
        Ok(Box::new(OpenFile { content, disk: self.clone() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let content = self.0.files.lock().unwrap().get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(OpenFile { content, disk: self.clone() }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if self.strikes(self.get().failed_removes) {
            return Err(failure());
        }
        let removed = self.0.files.lock().unwrap().remove(path);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
        if self.0.locked.swap(true, Ordering::SeqCst) {
            return Ok(None);
        }
        Ok(Some(Box::new(Lock(Arc::clone(&self.0.locked)))))
    }
}

impl DiskFile for OpenFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().unwrap().len() as u64)
    }

    fn read(&self, buffer: &mut [u8], at: u64, cached: bool) -> io::Result<()> {
        let plan = self.disk.get();
        if cached && self.disk.strikes(plan.cold_reads) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.disk.strikes(plan.failed_reads) {
            return Err(failure());
        }
        let content = self.content.lock().unwrap();
        let from = content.get(at as usize..).and_then(|from| from.get(..buffer.len()));
        buffer.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        if self.disk.strikes(plan.flipped_reads) && !buffer.is_empty() {
            let bit = self.disk.below(buffer.len() as u64 * 8);
            buffer[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        Ok(())
    }

    fn write(&self, parts: &[&[u8]], at: u64) -> io::Result<()> {
        let mut bytes = parts.concat();
        let torn = self.disk.strikes(self.disk.get().torn_writes);
        if torn {
            bytes.truncate(self.disk.below(bytes.len() as u64) as usize);
        }
        let mut content = self.content.lock().unwrap();
        self.disk.grow(&mut content, at as usize + bytes.len())?;
        content[at as usize..][..bytes.len()].copy_from_slice(&bytes);
        if torn { Err(failure()) } else { Ok(()) }
    }

    fn allocate(&self, at: u64, bytes: u64) -> io::Result<()> {
        if self.disk.strikes(self.disk.get().failed_allocates) {
            return Err(full());
        }
        let mut content = self.content.lock().unwrap();
        self.disk.grow(&mut content, (at + bytes) as usize)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.content.lock().unwrap().truncate(bytes as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.disk.strikes(self.disk.get().failed_syncs) { Err(failure()) } else { Ok(()) }
    }
}
