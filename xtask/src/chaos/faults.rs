//! What is done to the disk that the cache is on: it fills up, its files rot, are cut short, or their folder is not there for a
//! while. The folder is a small file system of its own where that can be mounted; nothing outside of it is touched.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use archipel_testkit::chance::Chance;

use super::World;
use crate::process::Folder;

/// Bytes of the file system.
const DISK_MIB: u64 = 320;
/// What the tier may take of it.
const CACHE_MIB: u64 = 256;
/// How long a fault lasts, and the quiet before the next.
const FAULT: Duration = Duration::from_secs(4);
const QUIET: Duration = Duration::from_secs(3);

/// How often what was done.
#[derive(Debug, Default)]
pub struct Breakages {
    /// The disk was full.
    pub full: u64,
    /// Bytes of files were changed.
    pub rotten: u64,
    /// Files were cut short.
    pub cut: u64,
    /// The folder was moved away.
    pub gone: u64,
}

/// The disk.
pub struct Faults {
    folder: Folder,
    mounted: bool,
}

impl Faults {
    /// Makes it; without the right to mount, a folder like any other, which never fills up.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new() -> Result<Self> {
        let folder = Folder::new("chaos-disk")?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m,mode=0755"), "archipel-chaos"]).arg(folder.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            println!("no right to mount a small file system: the disk will not be full in this run");
        }
        Ok(Self { folder, mounted })
    }

    /// Where the tier keeps its files.
    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// What the tier may take, in MiB.
    pub fn cache_mib(&self) -> u64 {
        CACHE_MIB
    }

    /// Breaks and mends until the run is over.
    pub fn run(self, world: &World, mut chance: Chance) -> Breakages {
        let mut breakages = Breakages::default();
        while !world.stopped() {
            pause(world, QUIET);
            let done = match chance.below(5) {
                0 | 1 => self.fill_up(world).map(|()| breakages.full += u64::from(self.mounted)),
                2 => self.rot(&mut chance).map(|count| breakages.rotten += count),
                3 => self.cut(&mut chance).map(|count| breakages.cut += count),
                _ => self.take_away(world).map(|moved| breakages.gone += u64::from(moved)),
            };
            if let Err(error) = done {
                println!("a fault could not be made: {error:#}");
            }
        }
        breakages
    }

    /// Takes all space that is left, for a while.
    fn fill_up(&self, world: &World) -> Result<()> {
        if !self.mounted {
            return Ok(());
        }
        let path = self.folder.path().join("ballast");
        let ballast = File::create(&path)?;
        let piece = vec![0xaa; 1 << 20];
        let mut at = 0;
        for bytes in [1 << 20, 4096] {
            while ballast.write_all_at(&piece[..bytes], at).is_ok() {
                at += bytes as u64;
            }
        }
        pause(world, FAULT);
        fs::remove_file(&path).context("remove the ballast")
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.cache()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if entry.metadata().is_ok_and(|meta| meta.len() > 0) {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// Changes bytes here and there.
    fn rot(&self, chance: &mut Chance) -> Result<u64> {
        let files = self.files();
        let mut count = 0;
        for _ in 0..if files.is_empty() { 0 } else { 20 } {
            let at = usize::try_from(chance.below(files.len() as u64))?;
            let Ok(file) = OpenOptions::new().read(true).write(true).open(&files[at]) else { continue };
            let offset = chance.below(file.metadata()?.len().max(1));
            let mut byte = [0];
            if file.read_at(&mut byte, offset)? == 1 {
                file.write_all_at(&[byte[0] ^ (1 << chance.below(8))], offset)?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Cuts a file short somewhere.
    fn cut(&self, chance: &mut Chance) -> Result<u64> {
        let files = self.files();
        if files.is_empty() {
            return Ok(0);
        }
        let at = usize::try_from(chance.below(files.len() as u64))?;
        let Ok(file) = OpenOptions::new().write(true).open(&files[at]) else { return Ok(0) };
        file.set_len(chance.below(file.metadata()?.len().max(1)))?;
        Ok(1)
    }

    /// Moves the folder away for a while, and back.
    fn take_away(&self, world: &World) -> Result<bool> {
        let (from, to) = (self.cache(), self.folder.path().join("elsewhere"));
        if !from.is_dir() {
            return Ok(false);
        }
        fs::rename(&from, &to)?;
        pause(world, FAULT);
        if from.exists() {
            // The edge was started meanwhile and made a new one: that is the one it uses.
            fs::remove_dir_all(&to)?;
        } else {
            fs::rename(&to, &from)?;
        }
        Ok(true)
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        if self.mounted {
            unmount(self.folder.path());
        }
    }
}

fn unmount(path: &Path) {
    // Lazily: the edge may still have files open.
    let _ = Command::new("umount").arg("-l").arg(path).output();
}

fn pause(world: &World, time: Duration) {
    let until = std::time::Instant::now() + time;
    while !world.stopped() && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
}
