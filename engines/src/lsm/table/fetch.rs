//! How the bytes of a table come to those who read it.
//!
//! | | mapped ([`Io::Mapped`]) | by calls ([`Io::Calls`]) |
//! |---|---|---|
//! | filter, index | where the file has them | in memory, read and verified when the table is opened, as long as the [`Budget`] has room for them; else where the mapped file has them |
//! | a data block that is asked for | where the file has it, verified the first time | from the cache; else read, verified, and kept in the cache |
//! | one that a scan comes to | likewise | likewise, but read with those that it will come to next, the more the longer it goes on |
//! | one that a compaction comes to | likewise | past the cache, with those behind it, as many as are read by one call |
//! | a value in the value log | where the file has it, verified each time | read and verified each time, and not kept |
//!
//! Once the files of a store are much for the memory that there is, they are read by calls in either case ([`Reading::outgrow`]): what has to come from the device costs half as much so as a fault does, and nothing comes with it that would push out what is needed.

use std::cell::RefCell;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::budget::Budget;
use super::super::cache::Bytes;
use super::super::options::{Io, Options};
use super::super::stats::count;
use super::footer::Handle;
use crate::storage::{Access, File};
use crate::{Direction, Error, Result};

/// Bytes that a compaction reads at a time, and a scan in the end.
const AHEAD_BYTES: u64 = 256 << 10;
/// Blocks that a scan reads when it leaves its first one, about: a few, as most scans end soon.
const SCAN_BLOCKS: u64 = 4;

/// What the tables of a store have in common: how they are read, and where blocks are kept.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) budget: Arc<Budget>,
    /// Files that are opened from now on are read by calls.
    by_calls: AtomicBool,
    /// Bytes of a store's files up to which they are mapped.
    mapped_bytes_max: u64,
    /// Calls in which blocks were read, and their bytes.
    calls: AtomicU64,
    bytes: AtomicU64,
}

impl Reading {
    /// As options say, in so many bytes of memory, the system's cache of files included.
    pub(crate) fn new(options: &Options, memory_bytes: u64) -> Self {
        let (calls, bytes) = Default::default();
        let by_calls = AtomicBool::new(options.io == Io::Calls);
        // The rest is for memtables and their logs, for what is being written, and for everybody else.
        let mapped_bytes_max = options.mapped_bytes_max.unwrap_or(memory_bytes / 2);
        Self { budget: Arc::new(Budget::new(options)), by_calls, mapped_bytes_max, calls, bytes }
    }

    /// Whether files are read by calls.
    #[inline]
    pub(crate) fn is_by_calls(&self) -> bool {
        self.by_calls.load(Ordering::Relaxed)
    }

    /// Takes note that the files of the store have so many bytes together: if that is too much, they are read by calls from now on, also if they become fewer.
    pub(crate) fn outgrow(&self, store_bytes: u64) {
        if store_bytes > self.mapped_bytes_max {
            self.by_calls.store(true, Ordering::Relaxed);
        }
    }

    /// Has a file that was opened before be read as those that are opened now; `by_calls` remembers that.
    pub(crate) fn take_along<F: File>(&self, file: &F, by_calls: &AtomicBool) {
        if self.is_by_calls() && !by_calls.swap(true, Ordering::Relaxed) {
            file.advise(Access::Calls);
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

/// What a walk through a table that is read by calls has read ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) purpose: Purpose,
    direction: Direction,
    /// How many bytes are read next; of a scan, 0 at first.
    next: u64,
    offset: u64,
    bytes: Scratch,
}

impl Ahead {
    pub(super) fn new(purpose: Purpose, direction: Direction) -> Self {
        let next = if purpose == Purpose::Compaction { AHEAD_BYTES } else { 0 };
        Self { purpose, direction, next, offset: 0, bytes: Scratch::take() }
    }

    /// What lies in `file` at `part`. If it has not been read yet, then it is, with what comes next, up to `end` or the start of the file.
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
            Some(at) if at.checked_add(len).is_some_and(|end| end <= self.bytes.0.len()) => at,
            _ => {
                if self.next == 0 {
                    self.next = (SCAN_BLOCKS * u64::from(part.bytes)).min(AHEAD_BYTES);
                }
                let Range { start, end } = self.piece(part, end);
                self.bytes.0.resize((end - start) as usize, 0);
                self.offset = start;
                if let Err(error) = reading.read(file, start, &mut self.bytes.0) {
                    self.bytes.0.clear();
                    return Err(error);
                }
                self.next = (self.next * 2).min(AHEAD_BYTES);
                (part.offset - start) as usize
            }
        };
        Ok(&self.bytes.0[start..start + len])
    }

    /// What is read when `part` is needed, which lies in the file; nothing else that lies behind `end`.
    fn piece(&self, part: Handle, end: u64) -> Range<u64> {
        match self.direction {
            Direction::Forward => {
                part.offset..part.end().max(end.min(part.offset.saturating_add(self.next)))
            }
            Direction::Reverse => part.offset.min(part.end().saturating_sub(self.next))..part.end(),
        }
    }
}

/// Memory to read into, which a thread keeps for later: taken anew each time, it would leave gaps between the blocks that are cached, and these would take more memory than they are charged with.
#[derive(Debug)]
struct Scratch(Vec<u8>);

/// How much a thread keeps: so many, each of so many bytes at most.
const SPARE_MAX: usize = 4;
const SPARE_BYTES_MAX: usize = AHEAD_BYTES as usize;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

impl Scratch {
    /// Empty.
    fn take() -> Self {
        let mut bytes = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        bytes.clear();
        Self(bytes)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.0);
        // A thread that ends keeps nothing any more.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_MAX && (1..=SPARE_BYTES_MAX).contains(&bytes.capacity()) {
                spare.push(bytes);
            }
        });
    }
}

/// Calls `use_bytes` with what lies in `file` at `part`, read into memory that the thread keeps for this. It may come here again.
pub(crate) fn with_part<F: File, T>(
    reading: &Reading,
    file: &F,
    part: Handle,
    use_bytes: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<T> {
    let mut scratch = Scratch::take();
    scratch.0.resize(part.bytes as usize, 0);
    reading.read(file, part.offset, &mut scratch.0)?;
    use_bytes(&scratch.0)
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
