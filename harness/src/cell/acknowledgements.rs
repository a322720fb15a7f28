//! Acknowledgements in shared memory: what they say outlives the process that wrote them.
//!
//! ```text
//! cache line   64-bit words
//! 0            notes: 1 once the wanted amount is written; nanoseconds that this took; reads per second then, as bits of a floating point number
//! 1 + t        writes of thread t that have been acknowledged
//! ```
//!
//! What those writes were follows from the counter, because each thread writes a fixed sequence.

#![allow(unsafe_code, reason = "counters in a shared mapping; the blocks state their invariants")]

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapRaw;

use crate::failure::{Failure, Result};

const CACHE_LINE_BYTES: usize = 64;

/// What the writing process notes beside the counters; zero until it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// 1 once the wanted amount is written: the process may be killed.
    Written,
    /// How long that took.
    WrittenNs,
    /// Reads per second then, as the bits of an `f64`.
    ReadsPerS,
}

/// The counters of all threads.
pub(crate) struct Acknowledgements {
    memory: MmapRaw,
    threads: u32,
}

impl Acknowledgements {
    /// Creates the file with all counters at zero.
    pub(crate) fn create(path: &Path, threads: u32) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(Failure::io("create", path))?;
        file.set_len((u64::from(threads) + 1) * CACHE_LINE_BYTES as u64)
            .map_err(Failure::io("write", path))?;
        Self::map(&file, path, threads)
    }

    /// Opens a file that was created for as many threads.
    pub(crate) fn open(path: &Path, threads: u32) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(Failure::io("open", path))?;
        Self::map(&file, path, threads)
    }

    fn map(file: &std::fs::File, path: &Path, threads: u32) -> Result<Self> {
        let expected = (threads as usize + 1) * CACHE_LINE_BYTES;
        let memory = MmapRaw::map_raw(file).map_err(Failure::io("map", path))?;
        if memory.len() != expected {
            let found = memory.len();
            return Err(Failure::failed(format!(
                "{} has {found} bytes, not {expected}",
                path.display()
            )));
        }
        Ok(Self { memory, threads })
    }

    /// The counter of a thread.
    pub(crate) fn of(&self, thread: u32) -> &AtomicU64 {
        assert!(thread < self.threads, "there are {} threads", self.threads);
        self.word((thread as usize + 1) * CACHE_LINE_BYTES)
    }

    /// A note.
    pub(crate) fn note(&self, note: Note) -> &AtomicU64 {
        self.word(note as usize * size_of::<u64>())
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(size_of::<u64>()) && offset < self.memory.len());
        // SAFETY: the mapping begins at a page and is a multiple of 8 bytes long, so the word at a multiple of 8 below its length lies inside it and is
        // aligned; it lives as long as `self`; all accesses, from this process and others, are atomic.
        unsafe { AtomicU64::from_ptr(self.memory.as_mut_ptr().add(offset).cast()) }
    }

    /// Acknowledged writes of all threads.
    pub(crate) fn total(&self) -> u64 {
        (0..self.threads).map(|thread| self.of(thread).load(Ordering::Acquire)).sum()
    }
}
