//! Handles to simulated files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::image::{Change, Inode};
use super::{Fault, Outcome, SimulatedDisk, disk_full};
use crate::storage::{Appender, File};
use crate::{Error, Result};

/// A file of a [`SimulatedDisk`].
#[derive(Clone, Debug)]
pub struct SimulatedFile {
    disk: SimulatedDisk,
    path: PathBuf,
    inode: Arc<Inode>,
    /// Bytes that can be read; grows with the appender where there is one.
    len: Arc<AtomicU64>,
    _handle: Arc<()>,
}

impl SimulatedFile {
    pub(super) fn new(disk: &SimulatedDisk, path: &Path, inode: Arc<Inode>, len: u64) -> Self {
        let handle = Arc::clone(&inode.handles);
        let (disk, path, len) = (disk.clone(), path.to_owned(), Arc::new(len.into()));
        Self { disk, path, inode, len, _handle: handle }
    }
}

impl File for SimulatedFile {
    type Bytes<'a> = Vec<u8>;

    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let _on = self.disk.powered()?;
        let content = self.inode.content.lock();
        let readable = self.len().min(content.current.len());
        match offset.checked_add(len as u64) {
            Some(end) if end <= readable => Ok(content.current.read(offset, len)),
            _ => Err(Error::corrupt(
                &self.path,
                offset,
                format!("{len} bytes are needed here, but the file ends at byte {readable}"),
            )),
        }
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.disk.powered()?;
        match state.begin("sync", &self.path, "")? {
            Outcome::Done(_) => {
                self.inode.content.lock().sync();
                Ok(())
            }
            Outcome::Fails(Fault::Interrupted, error) => Err(error),
            Outcome::Fails(_, error) => {
                self.inode.content.lock().fail_sync(state.sync_failure);
                Err(error)
            }
        }
    }

    fn rewrite(&self, offset: u64, len: u64) -> Result<()> {
        let mut state = self.disk.powered()?;
        let range = format!(" [{offset}, {})", offset.saturating_add(len));
        let number = state.begin("write again", &self.path, &range)?.number()?;
        let mut content = self.inode.content.lock();
        let bytes = content.current.read(offset, len as usize);
        content.apply(number, Change::Write { offset, bytes });
        Ok(())
    }
}

/// A file of a [`SimulatedDisk`] that is being written.
#[derive(Debug)]
pub struct SimulatedAppender {
    file: SimulatedFile,
    /// None for a growing file.
    capacity: Option<u64>,
}

impl SimulatedAppender {
    pub(super) fn new(file: SimulatedFile, capacity: Option<u64>) -> Self {
        Self { file, capacity }
    }
}

impl Appender for SimulatedAppender {
    type File = SimulatedFile;

    fn file(&self) -> SimulatedFile {
        assert!(self.capacity.is_some(), "a growing file is read after it is finished");
        self.file.clone()
    }

    fn len(&self) -> u64 {
        self.file.len()
    }

    fn room(&self) -> u64 {
        self.capacity.unwrap_or(u64::MAX) - self.len()
    }

    fn append(&mut self, parts: &[&[u8]]) -> Result<u64> {
        let mut bytes = parts.concat();
        let (path, start) = (&self.file.path, self.len());
        let mut state = self.file.disk.powered()?;
        if bytes.len() as u64 > self.room() {
            return Err(disk_full("append to", path));
        }
        let range = format!(" [{start}, {})", start + bytes.len() as u64);
        let growth = if self.capacity.is_some() { 0 } else { bytes.len() as u64 };
        let outcome = state.begin("append to", path, &range)?;
        let number = state.operations() - 1;
        // A growing file is written by `write(2)`, which may get the first bytes through. An append to a log is a copy into memory, which writes all or
        // nothing; but the seam allows any prefix, and a short write is where engines are held to that.
        let half = if self.capacity.is_some() { 0 } else { bytes.len() / 2 };
        let (kept, result) = match outcome {
            Outcome::Done(_) if state.has_room(growth) => (bytes.len(), Ok(start)),
            Outcome::Done(_) => (half, Err(disk_full("append to", path))),
            Outcome::Fails(Fault::ShortWrite, error) => (bytes.len() * 2 / 3, Err(error)),
            Outcome::Fails(Fault::Interrupted, error) => (0, Err(error)),
            Outcome::Fails(_, error) => (half, Err(error)),
        };
        bytes.truncate(kept);
        if !bytes.is_empty() {
            let end = start + bytes.len() as u64;
            let change = Change::Write { offset: start, bytes };
            self.file.inode.content.lock().apply(number, change);
            self.file.len.store(end, Ordering::Release);
        }
        result
    }

    fn finish(self) -> Result<SimulatedFile> {
        let (path, len) = (&self.file.path, self.len());
        let mut state = self.file.disk.powered()?;
        let number = state.begin("finish", path, "")?.number()?;
        let mut content = self.file.inode.content.lock();
        content.buffered = false;
        if self.capacity.is_some() {
            content.apply(number, Change::SetLen(len));
        }
        drop((content, state));
        Ok(self.file)
    }
}
