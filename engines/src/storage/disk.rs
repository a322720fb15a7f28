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

#![allow(
    unsafe_code,
    reason = "shared mappings hand out raw memory; each block states its invariant"
)]

use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use memmap2::{Advice, MmapOptions, MmapRaw};
use parking_lot::Mutex;
use rustix::fs::FallocateFlags;

use super::filler::Ahead;
use super::{Access, Appender, DirEntry, File, Storage, memory};
use crate::prefetch::prefetch;
use crate::{Error, Result};

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 64 << 10;

/// Bytes of a growing file that are written at a time: a large page, which the file system then takes as one.
const WRITE_BYTES: usize = 2 << 20;

/// Bytes of a mapping that the system is asked to fetch at a time.
const WILL_NEED_BYTES: u64 = 128 << 10;

/// Bytes that are written again at a time.
const REWRITE_BYTES: u64 = 1 << 20;

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

/// A mapped file.
#[derive(Clone, Debug)]
pub struct DiskFile(Arc<Mapping>);

#[derive(Debug)]
pub(super) struct Mapping {
    path: PathBuf,
    descriptor: Mutex<Descriptor>,
    /// None for an empty file, which cannot be mapped.
    pub(super) memory: Option<MmapRaw>,
    /// Bytes of `memory`.
    pub(super) capacity: u64,
    /// Bytes that have been written; never more than `capacity`, never less than before. Bytes below it do not change.
    len: AtomicU64,
    pub(super) ahead: Ahead,
    /// For reading by calls.
    called: OnceLock<fs::File>,
}

/// The descriptor of a mapped file. A store may have thousands of files, and a mapping needs none: only a file that is written keeps it, until it is synced after its end.
#[derive(Debug, Default)]
struct Descriptor {
    open: Option<Arc<fs::File>>,
    ended: bool,
}

impl DiskFile {
    #[cfg(test)]
    pub(super) fn mapping(&self) -> &Mapping {
        &self.0
    }

    fn map(file: &fs::File, path: &Path) -> Result<Self> {
        let map = || -> io::Result<Self> {
            let len = file.metadata()?.len();
            let memory = match len {
                0 => None,
                _ => Some(MmapOptions::new().len(len as usize).map_raw_read_only(file)?),
            };
            Ok(Self::of(path, memory, len))
        };
        map().map_err(Error::io("map", path))
    }

    /// A file's content in memory. Pages of zeros, as a log ends in, take none.
    fn copy(mut file: &fs::File, path: &Path) -> io::Result<Self> {
        let len = file.metadata()?.len();
        if len == 0 {
            return Ok(Self::of(path, None, 0));
        }
        let mut memory = MmapOptions::new().len(len as usize).map_anon()?;
        let (mut at, mut chunk) = (0, vec![0; COPY_BYTES]);
        while at < memory.len() {
            let wanted = COPY_BYTES.min(memory.len() - at);
            let read = file.read(&mut chunk[..wanted])?;
            if read == 0 {
                break;
            }
            if chunk[..read].iter().any(|byte| *byte != 0) {
                memory[at..at + read].copy_from_slice(&chunk[..read]);
            }
            at += read;
        }
        // What another process has cut off meanwhile is not there.
        Ok(Self::of(path, Some(MmapRaw::from(memory)), at as u64))
    }

    fn of(path: &Path, memory: Option<MmapRaw>, len: u64) -> Self {
        let path = path.to_owned();
        let (descriptor, ahead, called) = (Mutex::default(), Ahead::new(), OnceLock::new());
        let (capacity, len) = (len, len.into());
        Self(Arc::new(Mapping { path, descriptor, memory, capacity, len, ahead, called }))
    }
}

impl File for DiskFile {
    type Bytes<'a> = &'a [u8];

    fn path(&self) -> &Path {
        &self.0.path
    }

    #[inline]
    fn len(&self) -> u64 {
        self.0.len.load(Ordering::Acquire)
    }

    #[inline]
    fn read(&self, offset: u64, len: usize) -> Result<&[u8]> {
        let readable = self.len();
        let end = offset.checked_add(len as u64);
        match (&self.0.memory, end) {
            (Some(memory), Some(end)) if end <= readable => {
                // SAFETY: `[offset, end)` lies below `len`, hence inside the mapping, which lives as long as `self`. The acquire load of `len` pairs with the
                // release store in `append`, so the bytes are initialised and visible, and nobody writes below `len` again: appends go above it, and files are
                // opened for reading only after their writing has ended. What `rewrite` writes is what is there. Another process
                // that reads takes no lock, and reads below the length alone that the manifest gives: such files are sealed, and keep their bytes until they are removed.
                Ok(unsafe { std::slice::from_raw_parts(memory.as_ptr().add(offset as usize), len) })
            }
            (None, Some(0)) => Ok(&[]),
            _ => Err(Error::corrupt(
                &self.0.path,
                offset,
                format!("{len} bytes are needed here, but the file ends at byte {readable}"),
            )),
        }
    }

    #[inline]
    fn prefetch(&self, offset: u64, len: usize) {
        let there = self.len().saturating_sub(offset).min(len as u64);
        if let Ok(bytes) = self.read(offset, there as usize) {
            prefetch(bytes);
        }
    }

    fn read_into(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let Some(file) = self.0.called.get() else {
            bytes.copy_from_slice(self.read(offset, bytes.len())?);
            return Ok(());
        };
        file.read_exact_at(bytes, offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                let reason = format!("{} bytes are needed here, but the file ends", bytes.len());
                Error::corrupt(&self.0.path, offset, reason)
            }
            _ => Error::Io { operation: "read", path: self.0.path.clone(), source },
        })
    }

    fn sync(&self) -> Result<()> {
        // On Linux, fdatasync also writes back pages dirtied through a shared mapping, and through whatever descriptor; a failure to write them
        // that nobody has been told of yet is told to the next descriptor that is opened.
        let open = self.0.descriptor.lock().open.clone();
        let synced = match open {
            Some(file) => file.sync_data(),
            None => match fs::File::open(&self.0.path) {
                // Its name is gone, and nothing of it can survive, however it is synced: the store has removed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                opened => opened.and_then(|file| file.sync_data()),
            },
        };
        synced.map_err(Error::io("sync", &self.0.path))?;
        let mut descriptor = self.0.descriptor.lock();
        if descriptor.ended {
            descriptor.open = None;
        }
        Ok(())
    }

    fn rewrite(&self, offset: u64, len: u64) -> Result<()> {
        let rewrite = || -> io::Result<()> {
            let file = OpenOptions::new().read(true).write(true).open(&self.0.path)?;
            let mut chunk = vec![0; REWRITE_BYTES.min(len) as usize];
            let (mut at, end) = (offset, offset.saturating_add(len));
            while at < end {
                let bytes = &mut chunk[..REWRITE_BYTES.min(end - at) as usize];
                file.read_exact_at(bytes, at)?;
                // The same bytes: readers of the mapping see no change. The pages are dirty from now on, and cannot leave the cache before they are stored.
                file.write_all_at(bytes, at)?;
                at += bytes.len() as u64;
            }
            Ok(())
        };
        rewrite().map_err(Error::io("write again", &self.0.path))
    }

    fn advise(&self, access: Access) {
        let Some(memory) = &self.0.memory else { return };
        // Advice that is not taken changes no result.
        let _ = match access {
            Access::Random => memory.advise(Advice::Random),
            Access::Soon { offset, len } => {
                let start = offset.min(self.0.capacity);
                let end = offset.saturating_add(len).min(self.0.capacity);
                // Of a longer piece, the system fetches the beginning alone.
                (start..end).step_by(WILL_NEED_BYTES as usize).try_for_each(|at| {
                    let len = WILL_NEED_BYTES.min(end - at);
                    memory.advise_range(Advice::WillNeed, at as usize, len as usize)
                })
            }
            Access::Filling => {
                self.0.ahead.start();
                memory.advise(Advice::HugePage)
            }
            // Where the process may open no more files, this one is read through its mapping.
            Access::Calls => fs::File::open(&self.0.path).map(|file| drop(self.0.called.set(file))),
        };
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct DiskAppender(Kind);

#[derive(Debug)]
enum Kind {
    Mapped(DiskFile),
    /// The buffer holds what has not been written yet, less than [`WRITE_BYTES`].
    Growing {
        path: PathBuf,
        file: fs::File,
        buffer: Vec<u8>,
        len: u64,
    },
}

impl Appender for DiskAppender {
    type File = DiskFile;

    fn file(&self) -> DiskFile {
        match &self.0 {
            Kind::Mapped(file) => file.clone(),
            Kind::Growing { .. } => unreachable!("a growing file is read after it is finished"),
        }
    }

    #[inline]
    fn len(&self) -> u64 {
        match &self.0 {
            Kind::Mapped(file) => file.0.len.load(Ordering::Relaxed),
            Kind::Growing { len, .. } => *len,
        }
    }

    #[inline]
    fn room(&self) -> u64 {
        match &self.0 {
            Kind::Mapped(file) => file.0.capacity - self.len(),
            Kind::Growing { .. } => u64::MAX - self.len(),
        }
    }

    #[inline]
    fn append(&mut self, parts: &[&[u8]]) -> Result<u64> {
        let total: u64 = parts.iter().map(|part| part.len() as u64).sum();
        match &mut self.0 {
            Kind::Mapped(DiskFile(mapping)) => {
                let start = mapping.len.load(Ordering::Relaxed);
                let Some(memory) =
                    mapping.memory.as_ref().filter(|_| total <= mapping.capacity - start)
                else {
                    let source = io::Error::new(io::ErrorKind::StorageFull, "the segment is full");
                    return Err(Error::Io {
                        operation: "append to",
                        path: mapping.path.clone(),
                        source,
                    });
                };
                // From back to front, so that a frame's header comes last: a process that is killed in the middle leaves no header behind without all that it speaks of.
                let mut at = (start + total) as usize;
                for part in parts.iter().rev() {
                    at -= part.len();
                    // SAFETY: `start + total <= capacity`, so the copy stays inside the mapping, which is writable because `create` made it. `&mut self` makes this
                    // the only writer, and readers only look below `len`, which still lies at `start`. A caller's slice cannot overlap: safe code has no
                    // reference to bytes above `len`.
                    unsafe {
                        let target = memory.as_mut_ptr().add(at);
                        std::ptr::copy_nonoverlapping(part.as_ptr(), target, part.len());
                    }
                    // Keeps the compiler from copying in another order. The processor's own reordering ends where the process is interrupted.
                    compiler_fence(Ordering::SeqCst);
                }
                let len = start + total;
                mapping.len.store(len, Ordering::Release);
                if mapping.ahead.is_due(len) {
                    mapping.ahead.go_on(mapping, len);
                }
                Ok(start)
            }
            Kind::Growing { path, file, buffer, len } => {
                let start = *len;
                for mut rest in parts.iter().copied() {
                    *len += rest.len() as u64;
                    while buffer.len() + rest.len() >= WRITE_BYTES {
                        let (now, later) = rest.split_at(WRITE_BYTES - buffer.len());
                        buffer.extend_from_slice(now);
                        file.write_all(buffer).map_err(Error::io("append to", path))?;
                        buffer.clear();
                        rest = later;
                    }
                    buffer.extend_from_slice(rest);
                }
                Ok(start)
            }
        }
    }

    fn finish(self) -> Result<DiskFile> {
        match self.0 {
            Kind::Mapped(file) => {
                // The mapping stays longer than the file; reads stop at `len`, so they never touch what was cut off.
                let mut descriptor = file.0.descriptor.lock();
                let cut = descriptor.open.as_ref().map_or(Ok(()), |open| open.set_len(file.len()));
                cut.map_err(Error::io("truncate", &file.0.path))?;
                descriptor.ended = true;
                drop(descriptor);
                if let Some(memory) = &file.0.memory {
                    // What memory pressure takes away is brought back as it is needed, in small pages. Those that are there stay large.
                    let _ = memory.advise(Advice::NoHugePage);
                }
                Ok(file)
            }
            Kind::Growing { path, mut file, buffer, .. } => {
                file.write_all(&buffer).map_err(Error::io("append to", &path))?;
                DiskFile::map(&file, &path)
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
