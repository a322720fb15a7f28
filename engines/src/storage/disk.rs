//! The disk: files that are read through shared mappings.
//!
//! A file with a capacity (a log) has its blocks allocated when it is created and is mapped once, readable and writable. An append is a copy into
//! the mapping followed by a release store of the length: no system call, and the bytes are in the page cache, so
//! they survive the death of the process. Setting the blocks aside beforehand means that a full device is an error of
//! `create`, not a signal at an innocent store instruction.
//!
//! Other files are written with `write(2)` through a buffer, and mapped for reading when they are finished. Who would rather read by calls ([`Access::Calls`]) gets a descriptor, and the mapping, which takes
//! addresses and no memory, is not touched.
//!
//! **Large pages.** A load from a mapping that is larger than what the processor's tables of translations reach costs a walk through the page tables, which under a hypervisor takes longer than the
//! load itself; and each page of a new file costs a fault. File systems that keep pages of 2 MiB (ext4 since Linux 6.16, XFS, tmpfs) do so for what is written in such pieces, and for what is first
//! touched in a mapping that asks for them ([`Access::Filling`]). Elsewhere the advice changes nothing.
//!
//! What mappings cost: if somebody truncates a store's file while it is open, or the device fails to read a page, the process gets SIGBUS.
//! LMDB makes the same choice. A store's files belong to the engine alone while its lock is held.

use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use memmap2::MmapOptions;
use parking_lot::Mutex;
use rustix::fs::FallocateFlags;

use super::disk_appender::{DiskAppender, Kind};
use super::disk_file::{Descriptor, DiskFile, Mapping};
use super::filler::Ahead;
use super::{DirEntry, Storage, memory};
use crate::{Error, Result};

/// How often a lock that is held is tried again before it is told, and the pause before each time.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Storage for Disk {
    type File = DiskFile;
    type Appender = DiskAppender;
    type Lock = DiskLock;

    fn create_dir(&self, path: &Path) -> Result<()> {
        let create = || -> io::Result<()> {
            let is_missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
            let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
            fs::create_dir_all(path)?;
            // A folder whose name is lost takes everything in it along, synced or not.
            for parent in missing.iter().rev().filter_map(|dir| dir.parent()) {
                let here = parent.as_os_str().is_empty();
                fs::File::open(if here { Path::new(".") } else { parent })?.sync_all()?;
            }
            Ok(())
        };
        create().map_err(Error::io("create the folder", path))
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        let read = || -> io::Result<Vec<DirEntry>> {
            let mut entries = Vec::new();
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                let name = entry.file_name().to_string_lossy().into_owned();
                entries.push(DirEntry { name, is_file: metadata.is_file(), len: metadata.len() });
            }
            entries.sort();
            Ok(entries)
        };
        read().map_err(Error::io("list", dir))
    }

    fn create(&self, path: &Path, capacity: Option<u64>) -> Result<DiskAppender> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(Error::io("create", path))?;
        let Some(capacity) = capacity else {
            let path = path.to_owned();
            return Ok(DiskAppender(Kind::Growing { path, file, buffer: Vec::new(), len: 0 }));
        };
        let map = || -> io::Result<Mapping> {
            // It can take long, so that a signal may well interrupt it; what was set aside until then does no harm.
            rustix::io::retry_on_intr(|| {
                rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, capacity.max(1))
            })?;
            let mapped = MmapOptions::new().len(capacity.max(1) as usize).map_raw(&file)?;
            let (path, len) = (path.to_owned(), AtomicU64::new(0));
            let descriptor = Mutex::new(Descriptor { open: Some(Arc::new(file)), ended: false });
            let (memory, ahead, called) = (Some(mapped), Ahead::new(), OnceLock::new());
            Ok(Mapping { path, descriptor, memory, capacity, len, ahead, called })
        };
        match map() {
            Ok(mapping) => Ok(DiskAppender(Kind::Mapped(DiskFile(Arc::new(mapping))))),
            Err(source) => {
                // Nobody has seen the file; left behind, it would only take room on a device that has none.
                let _ = fs::remove_file(path);
                Err(Error::Io { operation: "set room aside for", path: path.to_owned(), source })
            }
        }
    }

    fn open(&self, path: &Path) -> Result<DiskFile> {
        let file = fs::File::open(path).map_err(Error::io("open", path))?;
        DiskFile::map(&file, path)
    }

    fn open_copy(&self, path: &Path) -> Result<DiskFile> {
        fs::File::open(path)
            .and_then(|file| DiskFile::copy(&file, path))
            .map_err(Error::io("read", path))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        let linked = fs::hard_link(from, to).map_err(|error| match error.kind() {
            io::ErrorKind::CrossesDevices => io::Error::new(
                error.kind(),
                format!("{} is on another file system, and has to be copied", from.display()),
            ),
            _ => error,
        });
        linked.map_err(Error::io("link", to))
    }

    fn entropy(&self) -> u64 {
        // The standard library seeds its hash tables from the operating system's random numbers.
        RandomState::new().hash_one(0)
    }

    fn memory_bytes(&self) -> u64 {
        memory::memory_bytes()
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<()> {
        let cut = || -> io::Result<()> {
            let file = OpenOptions::new().write(true).open(path)?;
            file.set_len(len)?;
            file.sync_all()
        };
        cut().map_err(Error::io("truncate", path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(Error::io("rename", from))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(Error::io("remove", path))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        fs::File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(Error::io("sync the folder", dir))
    }

    fn lock(&self, path: &Path) -> Result<DiskLock> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(Error::io("open the lock file", path))?;
        // A lock outlives its holder for a moment: until the kernel has cleared a killed process away, or until a child that another thread has just
        // forked executes its program and lets go of what it inherited.
        let mut attempts = 0;
        let outcome = loop {
            match file.try_lock() {
                Err(fs::TryLockError::WouldBlock) if attempts < LOCK_ATTEMPTS => {
                    attempts += 1;
                    std::thread::sleep(LOCK_PAUSE);
                }
                outcome => break outcome,
            }
        };
        match outcome {
            Ok(()) => Ok(DiskLock { _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(Error::Locked { path: path.to_owned() }),
            Err(fs::TryLockError::Error(source)) => {
                Err(Error::Io { operation: "lock", path: path.to_owned(), source })
            }
        }
    }
}

/// A lock on a file, which the kernel releases when the process dies.
#[derive(Debug)]
pub struct DiskLock {
    _file: fs::File,
}

#[cfg(test)]
mod tests {
    use super::super::{Appender, File};
    use super::*;

    #[test]
    fn a_log_that_the_device_has_no_room_for_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let error = Disk.create(&path, Some(1 << 60)).unwrap_err();
        assert!(matches!(&error, Error::Io { operation: "set room aside for", .. }), "{error}");
        assert!(Disk.list(folder.path()).unwrap().is_empty());
        Disk.create(&path, Some(1 << 10)).unwrap();
    }

    #[test]
    fn room_is_set_aside_on_the_device_and_given_back() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let allocated = || fs::metadata(&path).unwrap().blocks() * 512;
        let mut log = Disk.create(&path, Some(1 << 20)).unwrap();
        assert!(allocated() >= 1 << 20);
        log.append(&[b"bytes"]).unwrap();
        log.finish().unwrap();
        assert!(allocated() < 1 << 16);
        assert_eq!(fs::read(&path).unwrap(), b"bytes");
    }

    #[test]
    fn a_write_is_in_the_page_cache_when_append_returns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Disk.create(&path, Some(64)).unwrap();
        log.append(&[b"seen by others"]).unwrap();
        assert!(fs::read(&path).unwrap().starts_with(b"seen by others\0"));
    }

    #[test]
    fn a_file_that_has_been_written_keeps_no_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let descriptors = || {
            let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
            links.filter(|link| fs::read_link(link.path()).is_ok_and(|file| file == path)).count()
        };
        let mut log = Disk.create(&path, Some(1 << 10)).unwrap();
        log.append(&[b"bytes"]).unwrap();
        let file = log.file();
        file.sync().unwrap();
        assert_eq!(descriptors(), 1, "it is being written");
        let ended = log.finish().unwrap();
        ended.sync().unwrap();
        assert_eq!(descriptors(), 0);
        file.sync().unwrap();
        assert_eq!((descriptors(), file.read(0, 5).unwrap()), (0, &b"bytes"[..]));
        Disk.remove(&path).unwrap();
        file.sync().unwrap();
    }

    #[test]
    fn readers_see_whole_appends_of_another_thread() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Disk.create(&folder.path().join("log"), Some(1 << 20)).unwrap();
        let file = log.file();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut len = 0;
                while len < 1 << 20 {
                    len = file.len();
                    assert_eq!(len % 16, 0);
                    let seen = file.read(0, len as usize).unwrap();
                    assert!(seen.iter().rev().take(64).all(|byte| *byte == 7));
                }
            });
            while log.room() > 0 {
                log.append(&[&[7; 5], &[7; 11]]).unwrap();
            }
        });
    }

    #[test]
    fn a_folder_is_not_opened_as_a_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Disk.open(folder.path()), Err(Error::Io { .. })));
        let inside = folder.path().join("x");
        fs::write(&inside, "").unwrap();
        assert!(matches!(Disk.create_dir(&inside), Err(Error::Io { .. })));
    }
}
