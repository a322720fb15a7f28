//! A list that grows in chunks, so that what is in it never moves: one writer adds, any number of threads read.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A list of at most as many items as it was made for.
#[derive(Debug)]
pub(super) struct Chunks<T, const CHUNK: usize> {
    chunks: Box<[OnceLock<Box<[T]>>]>,
    /// Items given out.
    len: AtomicU32,
}

impl<T: Default, const CHUNK: usize> Chunks<T, CHUNK> {
    pub(super) fn new(items_max: usize) -> Self {
        let chunks = (0..items_max.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect();
        Self { chunks, len: AtomicU32::new(0) }
    }

    /// The item at `index`, if there is room for one: items that have not been given out yet are there too, in their default state.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.chunks.get(index as usize / CHUNK)?.get()?.get(index as usize % CHUNK)
    }

    /// Gives out the next item. To be called by one thread at a time. `None` when all are given out.
    pub(super) fn push(&self) -> Option<(u32, &T)> {
        let index = self.len.load(Ordering::Relaxed);
        let chunk = self.chunks.get(index as usize / CHUNK)?;
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| T::default()).collect());
        self.len.store(index + 1, Ordering::Relaxed);
        Some((index, &chunk[index as usize % CHUNK]))
    }

    /// Bytes of memory in use.
    pub(super) fn memory_bytes(&self) -> usize {
        let items = (self.len.load(Ordering::Relaxed) as usize).next_multiple_of(CHUNK);
        items * size_of::<T>() + size_of_val(&*self.chunks)
    }
}
