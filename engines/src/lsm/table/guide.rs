//! A coarse index over the index of a table, in memory as long as the table is open.
//!
//! The index of a large table is in no cache of the processor. A binary search there waits for memory some three times, then for where the entry begins, then for the entry, each time before it knows what to ask for next. The
//! guide has the head of every [`EVERY`]th key and where its entry begins: so little that it stays in the cache. It leads to one group of entries, and all that a search in it may look at is fetched at once.

use std::ops::Range;

use super::block::{Layout, Malformed};

/// Keys of the index for each one of the guide.
const EVERY: usize = 16;

/// The beginnings of the groups of entries into which an index is divided; to be used with the index that it was made from.
#[derive(Debug)]
pub(super) struct Guide {
    /// Heads of the groups' first keys.
    heads: Box<[u64]>,
    /// Where their entries begin, counted from the first one.
    starts: Box<[u32]>,
}

impl Guide {
    /// That of `index`, with 12 bytes for every [`EVERY`] of its entries.
    pub(super) fn of(layout: &Layout, index: &[u8]) -> Result<Self, Malformed> {
        let firsts = || (0..layout.len()).step_by(EVERY);
        let heads = layout.heads(index)?;
        let starts = firsts().map(|at| layout.start(index, at)).collect::<Result<_, _>>()?;
        let heads = firsts().map(|at| u64::from_le_bytes(heads[at])).collect();
        Ok(Self { heads, starts })
    }

    /// The group in whose range of positions the first head is that is at least `head`, or at whose end. The processor fetches it.
    #[inline]
    pub(super) fn group(&self, layout: &Layout, index: &[u8], head: u64) -> Range<usize> {
        let behind = self.heads.partition_point(|first| *first < head);
        // Not even the first key is less.
        let Some(group) = behind.checked_sub(1) else { return 0..0 };
        let start = group * EVERY;
        let range = start..layout.len().min(start + EVERY);
        let end = self.starts.get(behind).copied().unwrap_or(u32::MAX);
        layout.prefetch(index, range.clone(), self.starts[group]..end);
        range
    }
}
