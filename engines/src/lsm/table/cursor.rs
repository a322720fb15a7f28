//! Walks a table in order.

use std::ops::Range;

use super::super::wal::Kind;
use super::block::{Layout, Malformed};
use super::fetch::{Ahead, Piece, Purpose};
use super::footer::BlockHandle;
use super::reader::Table;
use crate::prefetch::prefetch_near;
use crate::storage::Storage;
use crate::{Direction, Result};

/// A walk has the processor fetch what lies so far ahead, which is the next block at times. Left to itself, it begins anew with each page.
const AHEAD_BYTES: isize = 512;

/// Where a walk in a table begins: in a block that is on its way from memory. To find it in several tables before any is looked into lets the processor wait for all of them at once.
pub(crate) struct Start<'t, S: Storage> {
    table: &'t Table<S>,
    index: Piece<'t, S::File>,
    block_at: usize,
    block: BlockHandle,
}

impl<'t, S: Storage> Start<'t, S> {
    /// Where the first key in `direction` lies that is not before `start`; an empty `start` is the first key of all.
    pub(crate) fn find(table: &'t Table<S>, start: &[u8], direction: Direction) -> Result<Self> {
        let index = table.index()?;
        let block_at = match direction {
            Direction::Reverse if start.is_empty() => table.blocks() - 1,
            Direction::Forward | Direction::Reverse => table.block_of(&index, start)?,
        };
        let block = table.handle(&index, block_at)?;
        table.prefetch_block(block);
        Ok(Self { table, index, block_at, block })
    }
}

/// A position in a table.
pub(crate) struct Cursor<'t, S: Storage> {
    table: &'t Table<S>,
    direction: Direction,
    index: Piece<'t, S::File>,
    /// Position of the current block in the index.
    block_at: usize,
    block: Piece<'t, S::File>,
    block_offset: u64,
    layout: Layout,
    /// Position of the current entry in the block.
    at: usize,
    key: Vec<u8>,
    kind: Kind,
    value: Range<usize>,
    /// False behind the last entry.
    valid: bool,
    /// Of a compaction, and of a scan that has left its first block, where blocks are read by calls.
    ahead: Option<Ahead>,
}

impl<'t, S: Storage> Cursor<'t, S> {
    /// At the first key in `direction` that is not before `start`; an empty `start` is the first key of all.
    pub(crate) fn seek(
        table: &'t Table<S>,
        start: &[u8],
        direction: Direction,
        purpose: Purpose,
    ) -> Result<Self> {
        Self::begin(Start::find(table, start, direction)?, start, direction, purpose)
    }

    /// The same, where the beginning has been found already.
    pub(crate) fn begin(
        found: Start<'t, S>,
        start: &[u8],
        direction: Direction,
        purpose: Purpose,
    ) -> Result<Self> {
        let Start { table, index, block_at, block } = found;
        let is_compaction = purpose == Purpose::Compaction;
        let mut ahead = is_compaction.then(|| Ahead::new(purpose, direction));
        let (block, layout, block_offset) = table.block_at(block_at, block, ahead.as_mut())?;
        let (at, exact) = match direction {
            Direction::Reverse if start.is_empty() => (layout.len(), false),
            Direction::Forward | Direction::Reverse => layout
                .lower_bound(&block, start)
                .map_err(|Malformed| table.malformed(block_offset))?,
        };
        let (key, value) = (Vec::new(), 0..0);
        let (kind, valid) = (Kind::Put, true);
        let mut cursor = Self {
            table,
            direction,
            index,
            block_at,
            block,
            block_offset,
            layout,
            at,
            key,
            kind,
            value,
            valid,
            ahead,
        };
        cursor.take_prefix()?;
        match direction {
            Direction::Forward => cursor.settle_forward()?,
            Direction::Reverse => {
                cursor.at += usize::from(exact);
                cursor.step_back()?;
            }
        }
        Ok(cursor)
    }

    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// Goes to the first key in the cursor's direction that is not before `start`.
    pub(crate) fn seek_again(&mut self, start: &[u8]) -> Result<()> {
        let purpose = self.ahead.as_ref().map_or(Purpose::Query, |ahead| ahead.purpose);
        *self = Self::seek(self.table, start, self.direction, purpose)?;
        Ok(())
    }

    /// The current entry: key, what it holds, and the value, or where that lies.
    #[inline]
    pub(crate) fn current(&self) -> Option<(&[u8], Kind, &[u8])> {
        self.valid.then(|| (&self.key[..], self.kind, &self.block[self.value.clone()]))
    }

    /// Goes to the next entry in the cursor's direction.
    #[inline]
    pub(crate) fn advance(&mut self) -> Result<()> {
        match self.direction {
            Direction::Forward => {
                self.at += 1;
                self.settle_forward()
            }
            Direction::Reverse => self.step_back(),
        }
    }

    #[inline]
    fn settle_forward(&mut self) -> Result<()> {
        if self.at >= self.layout.len() {
            if self.block_at + 1 >= self.table.blocks() {
                self.valid = false;
                return Ok(());
            }
            self.enter_block(self.block_at + 1)?;
            self.at = 0;
        }
        self.take()
    }

    #[inline]
    fn step_back(&mut self) -> Result<()> {
        if self.at == 0 {
            if self.block_at == 0 {
                self.valid = false;
                return Ok(());
            }
            self.enter_block(self.block_at - 1)?;
            self.at = self.layout.len();
        }
        self.at -= 1;
        self.take()
    }

    fn enter_block(&mut self, block_at: usize) -> Result<()> {
        if self.ahead.is_none() && self.table.is_by_calls() {
            self.ahead = Some(Ahead::new(Purpose::Query, self.direction));
        }
        (self.block, self.layout, self.block_offset) =
            self.table.block(&self.index, block_at, self.ahead.as_mut())?;
        self.block_at = block_at;
        self.take_prefix()
    }

    fn take_prefix(&mut self) -> Result<()> {
        let prefix = self.layout.prefix(&self.block);
        let prefix = prefix.map_err(|Malformed| self.table.malformed(self.block_offset))?;
        self.key.clear();
        self.key.extend_from_slice(prefix);
        Ok(())
    }

    /// Makes the entry at `at` current.
    #[inline]
    fn take(&mut self) -> Result<()> {
        let block = &*self.block;
        let mut take = || -> Result<(), Malformed> {
            let entry = self.layout.entry(block, self.at)?;
            self.layout.read_key(block, self.at, &entry, &mut self.key)?;
            self.kind = entry.kind;
            self.value = entry.value_range();
            let ahead = match self.direction {
                Direction::Forward => AHEAD_BYTES,
                Direction::Reverse => -AHEAD_BYTES,
            };
            prefetch_near(block, self.value.end, ahead);
            Ok(())
        };
        take().map_err(|Malformed| self.table.malformed(self.block_offset))?;
        if !matches!(self.kind, Kind::Put | Kind::Delete) {
            let value = &self.block[self.value.clone()];
            self.table.check_entry(self.kind, value, self.block_offset)?;
        }
        Ok(())
    }
}
