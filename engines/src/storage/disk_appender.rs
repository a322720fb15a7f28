//! A file of the disk while it is written: a mapping with room for all of it, or one that grows.

#![allow(
    unsafe_code,
    reason = "shared mappings hand out raw memory; each block states its invariant"
)]

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{Ordering, compiler_fence};

use memmap2::Advice;

use super::disk_file::DiskFile;
use super::{Appender, File};
use crate::{Error, Result};

/// Bytes of a growing file that are written at a time: a large page, which the file system then takes as one.
const WRITE_BYTES: usize = 2 << 20;

/// A file that is being written.
#[derive(Debug)]
pub struct DiskAppender(pub(super) Kind);

#[derive(Debug)]
pub(super) enum Kind {
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
