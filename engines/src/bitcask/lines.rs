//! Memory of the keydir's tables: lines and their control bytes, in pages of 2 MiB where there are many.
//!
//! 1. A short table is allocated like anything else.
//! 2. A longer one is a piece of a *chunk*: a mapping that asks for large pages, because each look at a small page costs a walk through the page tables as well. A chunk
//!    is handed out piece by piece, all of one length, and unmapped when the last of them is gone; no piece is handed out twice.
//!
//! That suits tables that have few lengths, and all grow at about the same time: a chunk does not stay for long for the sake of its last piece.

#![allow(unsafe_code, reason = "pieces of a mapping are slices; each block states its invariant")]

use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use memmap2::{Advice, MmapMut, MmapRaw};
use parking_lot::Mutex;

use super::control::Control;
use super::entry::Entry;

/// Entries of a line.
pub(crate) const LINE: usize = 8;

/// A cache line of entries; [`Entry::NONE`] is a free place.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Line(pub(crate) [Entry; LINE]);

/// Lines from which on a table is a piece of a chunk.
const PIECE_LINES_MIN: usize = 64;
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

/// The lines of a table, and as many controls.
#[derive(Debug)]
pub(crate) enum Lines {
    Short(Box<[Line]>, Box<[Control]>),
    Piece(Piece),
}

/// A piece of a chunk: lines, their controls, and up to the next multiple of a line nothing.
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
        Self::Short(Box::default(), Box::default())
    }
}

impl Lines {
    /// So many lines of free places.
    pub(crate) fn free(len: usize) -> Self {
        let piece = if len < PIECE_LINES_MIN || cfg!(miri) { None } else { Piece::take(len) };
        let short = || {
            let lines = vec![Line([Entry::NONE; LINE]); len];
            Self::Short(lines.into(), vec![Control::default(); len].into())
        };
        piece.map_or_else(short, Self::Piece)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Short(lines, _) => lines.len(),
            Self::Piece(piece) => piece.len,
        }
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        Piece::bytes(self.len())
    }

    /// The lines and their controls, as many of these as of those.
    #[inline]
    pub(crate) fn parts(&self) -> (&[Line], &[Control]) {
        match self {
            Self::Short(lines, controls) => (lines, controls),
            // SAFETY: the piece is `len` lines and `len` controls behind them, of a mapping that lives as long as it does. It starts a multiple of the size of a line behind
            // the start of a page, and a control needs to be aligned less than a line; the mapping began as zeros, which are free places and their controls, and holds
            // whatever was written since. `take` gave it to nobody else, so that `self` guards it.
            Self::Piece(piece) => unsafe {
                let controls = piece.start.add(piece.len).cast::<Control>();
                (
                    std::slice::from_raw_parts(piece.start.as_ptr(), piece.len),
                    std::slice::from_raw_parts(controls.as_ptr(), piece.len),
                )
            },
        }
    }

    /// The same, to be changed.
    #[inline]
    pub(crate) fn parts_mut(&mut self) -> (&mut [Line], &mut [Control]) {
        match self {
            Self::Short(lines, controls) => (lines, controls),
            // SAFETY: as above; the two do not overlap, and `&mut self` keeps all others out.
            Self::Piece(piece) => unsafe {
                let controls = piece.start.add(piece.len).cast::<Control>();
                (
                    std::slice::from_raw_parts_mut(piece.start.as_ptr(), piece.len),
                    std::slice::from_raw_parts_mut(controls.as_ptr(), piece.len),
                )
            },
        }
    }
}

impl Piece {
    /// Bytes of a piece of so many lines.
    fn bytes(len: usize) -> usize {
        len * size_of::<Line>() + (len * size_of::<Control>()).next_multiple_of(size_of::<Line>())
    }

    /// None if nothing can be mapped.
    fn take(len: usize) -> Option<Self> {
        let bytes = Self::bytes(len);
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

#[cfg(test)]
mod tests {
    use super::super::control::ControlByte;
    use super::*;

    /// Chunks of a length that no other test asks for.
    fn chunks(len: usize) -> usize {
        let bytes = Piece::bytes(len);
        let chunks = CHUNKS.lock();
        let alive = chunks.iter().filter(|current| current.chunk.strong_count() > 0);
        alive.filter(|current| current.piece_bytes == bytes).count()
    }

    fn control(number: usize) -> Control {
        let mut control = Control::default();
        control.set(number % LINE, Some(ControlByte::new(number as u8)));
        control
    }

    #[test]
    fn lines_are_free_and_belong_to_one_table() {
        for len in [0, 1, 63, 64, 1_001, 40_009] {
            let mut tables: Vec<_> = (0..70).map(|_| Lines::free(len)).collect();
            for (number, table) in tables.iter_mut().enumerate() {
                assert_eq!(table.len(), len);
                let (lines, controls) = table.parts_mut();
                assert_eq!((lines.len(), controls.len()), (len, len));
                assert!(lines.iter().all(|line| line.0 == [Entry::NONE; LINE]));
                assert!(controls.iter().all(|control| *control == Control::default()));
                lines.fill(Line([Entry::new(0, 1 + number as u64); LINE]));
                controls.fill(control(number));
            }
            tables.truncate(35);
            for (number, table) in tables.iter().enumerate() {
                let mine = [Entry::new(0, 1 + number as u64); LINE];
                let (lines, controls) = table.parts();
                assert!(lines.iter().all(|line| line.0 == mine));
                assert!(controls.iter().all(|other| *other == control(number)));
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
