//! How the bytes of a table come to those who read it.
//!
//! | | mapped ([`Io::Mapped`]) | by calls ([`Io::Calls`]) |
//! |---|---|---|
//! | filter, index | where the file has them | in memory, read and verified when the table is opened, as long as the [`Budget`] has room for them; else where the mapped file has them |
//! | a data block that is asked for | where the file has it, verified the first time | from the cache; else read, verified, and kept in the cache |
//! | a data block that a compaction comes to | likewise | past the cache, with those behind it, as many as are read by one call |
//! | a value in the value log | where the file has it, verified each time | read and verified each time, and not kept |
//!
//! Where the files of a store are much for the memory that there is, mapped ones are read page by page ([`Reading::suit`]), without what the system would read around each page: that would only push out what is needed. Compactions say beforehand
//! what they come to.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::budget::Budget;
use super::super::cache::Bytes;
use super::super::options::{Io, Options};
use super::super::stats::count;
use super::footer::Handle;
use crate::log::ReadAhead;
use crate::storage::{Access, File};
use crate::{Error, Result};

/// Bytes that a compaction reads at a time.
const AHEAD_BYTES: u64 = 256 << 10;

/// What the tables of a store have in common: how they are read, and where blocks are kept.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) io: Io,
    pub(crate) budget: Arc<Budget>,
    /// Bytes of a store's files up to which the system may read around what is asked for.
    memory_bytes: u64,
    /// Calls in which blocks were read, and their bytes.
    calls: AtomicU64,
    bytes: AtomicU64,
}

impl Reading {
    /// As options say, in so many bytes of memory, the system's cache of files included.
    pub(crate) fn new(options: &Options, memory_bytes: u64) -> Self {
        let (calls, bytes) = Default::default();
        // The rest is for memtables and their logs, for what is being written, and for everybody else.
        let memory_bytes = memory_bytes / 2;
        Self { io: options.io, budget: Arc::new(Budget::new(options)), memory_bytes, calls, bytes }
    }

    /// Has a file be read in the way that suits a store whose files have so many bytes together; `by_page` remembers that.
    pub(crate) fn suit<F: File>(&self, file: &F, by_page: &AtomicBool, store_bytes: u64) {
        let mapped = self.io == Io::Mapped;
        if mapped && store_bytes > self.memory_bytes && !by_page.swap(true, Ordering::Relaxed) {
            file.advise(Access::Random);
        }
    }

    /// Calls so far, and the bytes that they have read.
    pub(crate) fn calls(&self) -> (u64, u64) {
        (self.calls.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// Fills `bytes` from a file.
    pub(super) fn read<F: File>(&self, file: &F, offset: u64, bytes: &mut [u8]) -> Result<()> {
        file.read_into(offset, bytes)?;
        count(&self.calls, 1);
        count(&self.bytes, bytes.len() as u64);
        Ok(())
    }
}

/// Bytes of a table, wherever they are.
pub(super) enum Piece<'t, F: File + 't> {
    InFile(F::Bytes<'t>),
    /// In memory as long as the table is open.
    Held(&'t [u8]),
    /// In memory as long as somebody reads it, or the cache keeps it.
    Kept(Bytes),
}

impl<F: File> Deref for Piece<'_, F> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::InFile(bytes) => bytes,
            Self::Held(bytes) => bytes,
            Self::Kept(bytes) => bytes,
        }
    }
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Somebody who has asked for these keys, and may do so again.
    Query,
    /// A compaction, which reads all there is, once.
    Compaction,
}

/// What a compaction has read ahead.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    offset: u64,
    bytes: Vec<u8>,
    /// Of a mapped file.
    told: Option<ReadAhead>,
}

impl Ahead {
    /// The compaction has come to `offset` of a mapped file.
    pub(super) fn reach<F: File>(&mut self, file: &F, offset: u64) {
        self.told.get_or_insert_with(|| ReadAhead::new(offset)).reach(file, offset);
    }

    /// What lies in `file` at `part`. If it has not been read yet, then it is, with what comes behind it, up to `end`.
    pub(super) fn part<F: File>(
        &mut self,
        reading: &Reading,
        file: &F,
        part: Handle,
        end: u64,
    ) -> Result<&[u8]> {
        let len = part.bytes as usize;
        let there = part.offset.checked_sub(self.offset).map(|at| at as usize);
        let start = match there {
            Some(at) if at.checked_add(len).is_some_and(|end| end <= self.bytes.len()) => at,
            _ => {
                let most = end.saturating_sub(part.offset).min(AHEAD_BYTES);
                self.bytes.resize(len.max(most as usize), 0);
                self.offset = part.offset;
                if let Err(error) = reading.read(file, part.offset, &mut self.bytes) {
                    self.bytes.clear();
                    return Err(error);
                }
                0
            }
        };
        Ok(&self.bytes[start..start + len])
    }
}

/// Calls `use_bytes` with what lies in `file` at `part`, read into memory that the thread keeps for this. It may come here again.
pub(crate) fn with_part<F: File, T>(
    reading: &Reading,
    file: &F,
    part: Handle,
    use_bytes: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<T> {
    thread_local! {
        /// Taken out while it is used.
        static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut scratch = SCRATCH.take();
    let len = part.bytes as usize;
    if scratch.len() < len {
        scratch.resize(len, 0);
    }
    let read = reading.read(file, part.offset, &mut scratch[..len]);
    let outcome = read.and_then(|()| use_bytes(&scratch[..len]));
    // That of a large block is not worth keeping.
    if scratch.len() <= 1 << 20 {
        SCRATCH.set(scratch);
    }
    outcome
}

/// A part of a file that is longer by its trailer or header, if the file is long enough for that: else its length is damage, and no memory is taken for it.
pub(crate) fn longer<F: File>(file: &F, part: Handle, more_bytes: usize) -> Result<Handle> {
    let bytes = part.bytes.checked_add(more_bytes as u32);
    let end = bytes.and_then(|bytes| part.offset.checked_add(bytes.into()));
    match (bytes, end) {
        (Some(bytes), Some(end)) if end <= file.len() => Ok(Handle { bytes, ..part }),
        _ => {
            let needed = u64::from(part.bytes) + more_bytes as u64;
            let end = file.len();
            let reason = format!("{needed} bytes are needed here, but the file ends at byte {end}");
            Err(Error::corrupt(file.path(), part.offset, reason))
        }
    }
}
