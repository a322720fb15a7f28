//! A file of the disk, read through a mapping; why so, and what that costs, `disk.rs` says.

#![allow(
    unsafe_code,
    reason = "shared mappings hand out raw memory; each block states its invariant"
)]

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use memmap2::{Advice, MmapOptions, MmapRaw};
use parking_lot::Mutex;

use super::called::Called;
use super::filler::Ahead;
use super::{Access, File};
use crate::prefetch::prefetch;
use crate::{Error, Result};

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 64 << 10;

/// Bytes of a mapping that the system is asked to fetch at a time.
const WILL_NEED_BYTES: u64 = 128 << 10;

/// Bytes that are written again at a time.
const REWRITE_BYTES: u64 = 1 << 20;

/// A mapped file.
#[derive(Clone, Debug)]
pub struct DiskFile(pub(super) Arc<Mapping>);

#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) path: PathBuf,
    pub(super) descriptor: Mutex<Descriptor>,
    /// None for an empty file, which cannot be mapped.
    pub(super) memory: Option<MmapRaw>,
    /// Bytes of `memory`.
    pub(super) capacity: u64,
    /// Bytes that have been written; never more than `capacity`, never less than before. Bytes below it do not change.
    pub(super) len: AtomicU64,
    pub(super) ahead: Ahead,
    /// For reading by calls.
    pub(super) called: OnceLock<Called>,
}

/// The descriptor of a mapped file. A store may have thousands of files, and a mapping needs none: only a file that is written keeps it, until it is synced after its end.
#[derive(Debug, Default)]
pub(super) struct Descriptor {
    pub(super) open: Option<Arc<fs::File>>,
    pub(super) ended: bool,
}

impl DiskFile {
    #[cfg(test)]
    pub(super) fn mapping(&self) -> &Mapping {
        &self.0
    }

    pub(super) fn map(file: &fs::File, path: &Path) -> Result<Self> {
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
    pub(super) fn copy(mut file: &fs::File, path: &Path) -> io::Result<Self> {
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
        let Some(called) = self.0.called.get() else {
            bytes.copy_from_slice(self.read(offset, bytes.len())?);
            return Ok(());
        };
        called.file().read_exact_at(bytes, offset).map_err(|source| match source.kind() {
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
            Access::Calls => {
                if let Some(called) = Called::open(&self.0.path) {
                    let _ = self.0.called.set(called);
                }
                memory.advise(Advice::Random)
            }
        };
    }
}
