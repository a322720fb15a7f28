//! Walks a memtable in order, as it was at one moment.

use super::super::wal::{Kind, Operation};
use super::node::Slot;
use super::tree::{LeafCopy, Position};
use super::{Memtable, Moment, View};
use crate::storage::File;
use crate::{Direction, Error, Result};

/// Entries behind the next one that are fetched ahead.
const ENTRIES_AHEAD: usize = 3;
/// So much of each: an operation's header, the key, and the beginning of the value.
const ENTRY_BYTES: usize = 128;

/// A position in a memtable.
pub(crate) struct Cursor<'m, F: File> {
    memtable: &'m Memtable<F>,
    moment: Moment,
    direction: Direction,
    leaf: LeafCopy,
    /// Index in `leaf` of the current entry.
    at: usize,
    current: Option<(Operation, F::Bytes<'m>)>,
}

impl<'m, F: File> Cursor<'m, F> {
    /// At the first key in `direction` that is not before `start`; an empty `start` is the first key of all.
    pub(crate) fn seek(view: View<'m, F>, start: &[u8], direction: Direction) -> Result<Self> {
        let View { memtable, moment } = view.trusted()?;
        let mut leaf = LeafCopy::default();
        let position = match direction {
            _ if !start.is_empty() => Position::At(start),
            Direction::Forward => Position::First,
            Direction::Reverse => Position::Last,
        };
        memtable.tree.leaf(position, &mut leaf)?;
        let at = match direction {
            Direction::Forward => leaf.found,
            // One behind the entry that is wanted, as `step_back` takes one off.
            Direction::Reverse if start.is_empty() => leaf.len,
            Direction::Reverse => leaf.found + usize::from(leaf.exact),
        };
        let mut cursor = Self { memtable, moment, direction, leaf, at, current: None };
        cursor.prefetch_leaf();
        match direction {
            Direction::Forward => cursor.settle_forward()?,
            Direction::Reverse => cursor.step_back()?,
        }
        Ok(cursor)
    }

    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// Goes to the first key in the cursor's direction that is not before `start`.
    pub(crate) fn seek_again(&mut self, start: &[u8]) -> Result<()> {
        let view = self.memtable.view_at(self.moment.clone());
        *self = Self::seek(view, start, self.direction)?;
        Ok(())
    }

    /// The current entry: key, what it holds, value.
    #[inline]
    pub(crate) fn current(&self) -> Option<(&[u8], Kind, &[u8])> {
        let (operation, bytes) = self.current.as_ref()?;
        Some((&bytes[operation.key()], operation.kind(), &bytes[operation.value()]))
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

    /// Moves forward from `at`, itself included, to an entry that can be seen.
    fn settle_forward(&mut self) -> Result<()> {
        loop {
            if self.at >= self.leaf.len {
                self.leaf.go_next(&self.memtable.tree);
                self.at = 0;
                if self.leaf.len == 0 {
                    self.current = None;
                    return Ok(());
                }
                self.prefetch_leaf();
            }
            self.prefetch(self.at + ENTRIES_AHEAD);
            if self.take(self.leaf.slot(self.at))? {
                return Ok(());
            }
            self.at += 1;
        }
    }

    /// Moves back from `at`, itself not included, to an entry that can be seen.
    fn step_back(&mut self) -> Result<()> {
        loop {
            if self.at == 0 {
                self.leaf.go_previous(&self.memtable.tree);
                self.at = self.leaf.len;
                if self.leaf.len == 0 {
                    self.current = None;
                    return Ok(());
                }
                self.prefetch_leaf();
            }
            self.at -= 1;
            self.prefetch(self.at.wrapping_sub(ENTRIES_AHEAD));
            if self.take(self.leaf.slot(self.at))? {
                return Ok(());
            }
        }
    }

    /// Has the first entries that are wanted of a new leaf come from memory, all at once, and the leaf that is next.
    #[inline]
    fn prefetch_leaf(&self) {
        let (tree, leaf) = (&self.memtable.tree, &self.leaf);
        match self.direction {
            Direction::Forward => {
                (self.at..self.at + ENTRIES_AHEAD).for_each(|at| self.prefetch(at));
                leaf.prefetch_next(tree);
            }
            Direction::Reverse => {
                (1..=ENTRIES_AHEAD).for_each(|back| self.prefetch(self.at.wrapping_sub(back)));
                leaf.prefetch_previous(tree);
            }
        }
    }

    /// Has an entry of the leaf come from memory: entries lie in the log in the order in which they were written.
    #[inline]
    fn prefetch(&self, at: usize) {
        if at < self.leaf.len {
            self.memtable.tree.file().prefetch(self.leaf.slot(at).offset.into(), ENTRY_BYTES);
        }
    }

    /// Makes the newest version that can be seen of `slot` current, if there is one that no range of deleted keys covers.
    #[inline]
    fn take(&mut self, slot: Slot) -> Result<bool> {
        let Some(slot) = self.memtable.visible_version(slot, self.moment.visible) else {
            return Ok(false);
        };
        let file = self.memtable.tree.file();
        let operation = Operation::at(file, slot.offset)?;
        let bytes = file.read(slot.offset.into(), operation.bytes())?;
        if self.memtable.is_suspect() {
            let reason = "a sync of this log failed while it was being read: read again";
            return Err(Error::corrupt(file.path(), slot.offset.into(), reason));
        }
        if let Some(ranges) = &self.moment.ranges
            && ranges.delete(&bytes[operation.key()], slot.offset)
        {
            return Ok(false);
        }
        self.current = Some((operation, bytes));
        Ok(true)
    }
}
