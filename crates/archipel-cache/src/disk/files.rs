//! The few operations on files that the tier needs, behind traits so that tests can make each of them fail.
//!
//! Must never interpret what it reads or decide what a failure means.

use rustix::fs::{FallocateFlags, FlockOperation, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use std::any::Any;
use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// A folder's operations.
pub(crate) trait Files: Debug + Send + Sync {
    /// Makes the folder, and those above it, where it is missing; for its owner alone.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;
    /// The names in a folder; those that are no UTF-8 are left out.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Makes a new file, readable by its owner alone.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file that exists. Fails for a symbolic link.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Takes the lock of a file, held until the value is dropped; `None` where another process has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>>;
}

/// An open file's operations. Positions are given with each call: no state is shared by readers.
pub(crate) trait DiskFile: Debug + Send + Sync {
    fn len(&self) -> io::Result<u64>;
    /// Fills `buffer`, or fails. With `cached`, fails with [`io::ErrorKind::WouldBlock`] rather than wait for the disk.
    fn read(&self, buffer: &mut [u8], at: u64, cached: bool) -> io::Result<()>;
    /// Writes all of `parts`, one behind the other.
    fn write(&self, parts: &[&[u8]], at: u64) -> io::Result<()>;
    /// Takes the blocks from the file system at once, so that a full disk is met here and not in the middle of a record.
    fn allocate(&self, at: u64, bytes: u64) -> io::Result<()>;
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    /// Waits until the data is on the disk: the only way to learn of an error that came after the write.
    fn sync(&self) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug)]
pub(crate) struct SystemFiles;

#[derive(Debug)]
struct SystemFile {
    file: File,
    /// This file system does not say what is in memory (`RWF_NOWAIT`).
    no_nowait: AtomicBool,
}

impl SystemFile {
    fn boxed(file: File) -> Box<dyn DiskFile> {
        Box::new(Self { file, no_nowait: AtomicBool::new(false) })
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // A link is none of ours, and what it leads to is not for us to write.
    options.read(true).write(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits() as i32);
    options
}

impl Files for SystemFiles {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        // What is in the files is nobody else's to read. One that exists keeps its mode: it is the operator's.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(folder)?;
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        options().create_new(true).open(path).map(SystemFile::boxed)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        options().open(path).map(SystemFile::boxed)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send>>> {
        let file = options().create(true).truncate(false).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl DiskFile for SystemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, buffer: &mut [u8], at: u64, cached: bool) -> io::Result<()> {
        if !cached {
            return self.file.read_exact_at(buffer, at);
        }
        if self.no_nowait.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match rustix::io::preadv2(&self.file, &mut [IoSliceMut::new(buffer)], at, ReadWriteFlags::NOWAIT) {
            Ok(read) if read == buffer.len() => Ok(()),
            // Short: the rest is not in memory, or behind the file's end, which the reader thread will find.
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Err(io::ErrorKind::WouldBlock.into()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.no_nowait.store(true, Ordering::Relaxed);
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write(&self, parts: &[&[u8]], mut at: u64) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = slices.as_mut_slice();
        // `advance_slices` also drops empty parts at the front.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let some = left.len().min(PARTS_MAX);
            match rustix::io::pwritev(&self.file, left.get(..some).unwrap_or_default(), at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn allocate(&self, at: u64, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), at, bytes) {
            // Without it, a full disk is met later.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.file.set_len(at + bytes),
            other => Ok(other?),
        }
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Parts of one `pwritev`; Linux takes 1,024.
const PARTS_MAX: usize = 512;
