//! Memory of the keydir's tables: lines, in pages of 2 MiB where there are many.
//!
//! 1. A short table is an allocation like any other.
//! 2. A longer one is a piece of a *chunk*: a mapping that asks for large pages, because each look at a small page costs a walk through the page tables as well. A chunk
//!    is handed out piece by piece, all of one length, and unmapped when the last of them is gone; no piece is handed out twice.
//!
//! That suits tables that have few lengths, and all grow at about the same time: a chunk does not stay for long for the sake of its last piece.

#![allow(unsafe_code, reason = "pieces of a mapping are slices; each block states its invariant")]

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use memmap2::{Advice, MmapMut, MmapRaw};
use parking_lot::Mutex;

use super::entry::Entry;

/// Entries of a line.
pub(crate) const LINE: usize = 8;

/// A cache line of entries; [`Entry::NONE`] is a free place.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Line(pub(crate) [Entry; LINE]);

/// Bytes from which on a table is a piece of a chunk.
const PIECE_BYTES_MIN: usize = 4 << 10;
/// Pieces of a chunk, at least.
const PIECES_MIN: usize = 32;
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// The chunks that pieces are taken from at the moment, one for each length of piece, shared by all keydirs.
static CHUNKS: Mutex<Vec<Current>> = Mutex::new(Vec::new());

struct Current {
    piece_bytes: usize,
    chunk: Weak<MmapRaw>,
    /// What lies before this has been handed out.
    next: usize,
}

/// The lines of a table.
#[derive(Debug)]
pub(crate) enum Lines {
    Short(Box<[Line]>),
    Piece(Piece),
}

/// A piece of a chunk.
#[derive(Debug)]
pub(crate) struct Piece {
    start: NonNull<Line>,
    len: usize,
    /// Keeps the mapping.
    _chunk: Arc<MmapRaw>,
}

// SAFETY: a piece is the only owner of its part of the chunk, like a box.
unsafe impl Send for Piece {}
// SAFETY: shared access only reads.
unsafe impl Sync for Piece {}

impl Default for Lines {
    fn default() -> Self {
        Self::Short(Box::default())
    }
}

impl Lines {
    /// So many lines of free places.
    pub(crate) fn free(len: usize) -> Self {
        let bytes = len * size_of::<Line>();
        let piece = if bytes < PIECE_BYTES_MIN || cfg!(miri) { None } else { Piece::take(len) };
        piece.map_or_else(|| Self::Short(vec![Line([Entry::NONE; LINE]); len].into()), Self::Piece)
    }
}

impl Piece {
    /// None if nothing can be mapped.
    fn take(len: usize) -> Option<Self> {
        let bytes = len * size_of::<Line>();
        let mut chunks = CHUNKS.lock();
        chunks.retain(|current| current.chunk.strong_count() > 0);
        let at = chunks.iter().position(|current| current.piece_bytes == bytes);
        let current = at.and_then(|at| {
            let chunk = chunks[at].chunk.upgrade()?;
            (bytes <= chunk.len() - chunks[at].next).then_some((chunk, chunks[at].next))
        });
        let (chunk, offset) = match current {
            Some(current) => current,
            None => (map(bytes)?, 0),
        };
        let next =
            Current { piece_bytes: bytes, chunk: Arc::downgrade(&chunk), next: offset + bytes };
        match at {
            Some(at) => chunks[at] = next,
            None => chunks.push(next),
        }
        // SAFETY: `offset + bytes <= chunk.len()`, so this points into the mapping, or behind nothing of it.
        let start = unsafe { chunk.as_mut_ptr().add(offset) }.cast();
        Some(Self { start: NonNull::new(start)?, len, _chunk: chunk })
    }
}

/// A chunk for pieces of so many bytes.
fn map(piece_bytes: usize) -> Option<Arc<MmapRaw>> {
    let bytes = (PIECES_MIN * piece_bytes).next_multiple_of(LARGE_PAGE_BYTES);
    let memory = MmapMut::map_anon(bytes).ok()?;
    // Where there are no large pages, small ones do.
    let _ = memory.advise(Advice::HugePage);
    Some(Arc::new(MmapRaw::from(memory)))
}

impl Deref for Lines {
    type Target = [Line];

    #[inline]
    fn deref(&self) -> &[Line] {
        match self {
            Self::Short(lines) => lines,
            // SAFETY: the piece is `len` lines of a mapping that lives as long as it does. Its start is a multiple of the size of a line from the start of a page; the
            // mapping began as zeros, which are free places, and holds whatever lines were written since. `take` gave it to nobody else, so that `self` guards it.
            Self::Piece(piece) => unsafe {
                std::slice::from_raw_parts(piece.start.as_ptr(), piece.len)
            },
        }
    }
}

impl DerefMut for Lines {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Line] {
        match self {
            Self::Short(lines) => lines,
            // SAFETY: as above, and `&mut self` keeps all others out.
            Self::Piece(piece) => unsafe {
                std::slice::from_raw_parts_mut(piece.start.as_ptr(), piece.len)
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chunks of a length that no other test asks for.
    fn chunks(len: usize) -> usize {
        let bytes = len * size_of::<Line>();
        let chunks = CHUNKS.lock();
        let alive = chunks.iter().filter(|current| current.chunk.strong_count() > 0);
        alive.filter(|current| current.piece_bytes == bytes).count()
    }

    #[test]
    fn lines_are_free_and_belong_to_one_table() {
        for len in [0, 1, 63, 64, 1_001, 40_009] {
            let mut tables: Vec<_> = (0..70).map(|_| Lines::free(len)).collect();
            for (number, table) in tables.iter_mut().enumerate() {
                assert_eq!(table.len(), len);
                assert!(table.iter().all(|line| line.0 == [Entry::NONE; LINE]));
                table.fill(Line([Entry::new(0, 1 + number as u64); LINE]));
            }
            tables.truncate(35);
            for (number, table) in tables.iter().enumerate() {
                let mine = [Entry::new(0, 1 + number as u64); LINE];
                assert!(table.iter().all(|line| line.0 == mine));
            }
        }
    }

    #[test]
    fn a_chunk_goes_with_its_last_piece() {
        const LEN: usize = 777;
        let tables: Vec<_> = (0..100).map(|_| Lines::free(LEN)).collect();
        assert_eq!(chunks(LEN), 1);
        let mut last = None;
        for table in tables {
            last = Some(table);
        }
        assert_eq!(chunks(LEN), 1);
        drop(last);
        assert_eq!(chunks(LEN), 0);
    }
}
