//! Iteration over a range, from both ends.

use std::iter::FusedIterator;

use super::range::KeyRange;
use super::snapshot::Snapshot;
use super::walk::Walk;
use crate::storage::{Disk, Storage};
use crate::{Direction, Result};

/// The keys and values of a range at one moment, in ascending order, or from the end by [`Iterator::rev`] or [`Iter::next_back_with`]; made by
/// [`Lsm::iter`](super::Lsm::iter) and [`Snapshot::iter`].
///
/// As an [`Iterator`] it gives copies; [`Iter::next_with`] shows key and value where they lie, and allocates nothing for an item. From both ends it goes until they meet.
///
/// It keeps a [`Snapshot`], with what that costs, until it is dropped; of that one it sees the same, though the store is written to, and no write waits for it. The first item from each end costs a search in each memtable, each table of level 0 that
/// has a part of the range, and one table of each deeper level. An error ends it: what a damaged block would have said about the keys behind it is not known.
pub struct Iter<'s, S: Storage = Disk> {
    /// Stands at the entry that was given last from this end; none: nothing was.
    front: Option<Walk<S>>,
    back: Option<Walk<S>>,
    /// Either end has come to the other, or to the end of the range.
    finished: bool,
    range: KeyRange,
    snapshot: Snapshot<'s, S>,
}

impl<'s, S: Storage> Iter<'s, S> {
    pub(crate) fn over(snapshot: Snapshot<'s, S>, range: KeyRange) -> Self {
        Self { front: None, back: None, finished: false, range, snapshot }
    }

    /// Calls `visit` with the next key and value where they lie, without a copy; None at the end.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] if what comes next is damaged; the iteration is then at its end.
    #[inline]
    pub fn next_with<R>(&mut self, visit: impl FnOnce(&[u8], &[u8]) -> R) -> Option<Result<R>> {
        self.step(Direction::Forward, visit)
    }

    /// [`Iter::next_with`] from the other end.
    ///
    /// # Errors
    /// Likewise.
    #[inline]
    pub fn next_back_with<R>(
        &mut self,
        visit: impl FnOnce(&[u8], &[u8]) -> R,
    ) -> Option<Result<R>> {
        self.step(Direction::Reverse, visit)
    }

    #[inline]
    fn step<R>(
        &mut self,
        direction: Direction,
        visit: impl FnOnce(&[u8], &[u8]) -> R,
    ) -> Option<Result<R>> {
        if self.finished {
            return None;
        }
        if let Err(error) = self.advance(direction) {
            self.finish();
            return Some(Err(error));
        }
        let (this, other) = match direction {
            Direction::Forward => (&self.front, &self.back),
            Direction::Reverse => (&self.back, &self.front),
        };
        let current = this.as_ref().and_then(Walk::current);
        let other = other.as_ref().and_then(Walk::current);
        let left = current.filter(|(key, _)| {
            other.is_none_or(|(other, _)| match direction {
                Direction::Forward => *key < other,
                Direction::Reverse => *key > other,
            })
        });
        if let Some((key, value)) = left {
            return Some(Ok(visit(key, value)));
        }
        self.finish();
        None
    }

    /// Moves one end on.
    #[inline]
    fn advance(&mut self, direction: Direction) -> Result<()> {
        let walk = match direction {
            Direction::Forward => &mut self.front,
            Direction::Reverse => &mut self.back,
        };
        if let Some(walk) = walk {
            return walk.advance(&self.range);
        }
        let start = self.range.near(direction);
        *walk = Some(self.snapshot.walk(&self.range, start, direction)?);
        Ok(())
    }

    fn finish(&mut self) {
        self.finished = true;
        (self.front, self.back) = (None, None);
    }
}

fn owned(key: &[u8], value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (key.to_vec(), value.to_vec())
}

impl<S: Storage> Iterator for Iter<'_, S> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_with(owned)
    }
}

impl<S: Storage> DoubleEndedIterator for Iter<'_, S> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.next_back_with(owned)
    }
}

impl<S: Storage> FusedIterator for Iter<'_, S> {}
