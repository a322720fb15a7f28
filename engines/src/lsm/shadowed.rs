//! Sources of a merge of which younger ones delete ranges of keys.
//!
//! The ranges of a source hide what older sources have, and nothing of its own. So each older source gets a cursor that passes over what is hidden: the merge itself knows of no ranges, and where there are
//! none, nothing is different.
//!
//! Where a range hides many entries in a row, the cursor looks for the range's end instead of going through them.

use std::sync::Arc;

use super::memtable::Fragments;
use super::merge::Cursor;
use super::range_set::RangeSet;
use super::table::Table;
use crate::storage::Storage;
use crate::{Direction, Result};

/// Entries in a row that are passed over one by one: as many cost about as much as a search.
const STEPS_MAX: usize = 8;

/// What one source deletes of all that is older.
pub(crate) enum Deleted<'t, S: Storage> {
    Memtable(Arc<Fragments>),
    Table(&'t RangeSet),
    /// Tables of a level that has no overlaps.
    Level(&'t [Arc<Table<S>>]),
}

impl<S: Storage> Deleted<'_, S> {
    /// Start and end of the range that holds `key`.
    fn find(&self, key: &[u8]) -> Option<(&[u8], &[u8])> {
        let span = match self {
            Self::Memtable(ranges) => {
                return ranges.find(key).map(|fragment| (&*fragment.start, &*fragment.end));
            }
            Self::Table(ranges) => ranges.find(key),
            Self::Level(tables) => {
                let at = tables.partition_point(|table| table.meta.ends_before(key));
                tables.get(at)?.ranges().find(key)
            }
        };
        span.map(|span| (&span.start[..], &span.end[..]))
    }
}

/// Collects the sources of a merge, youngest first.
pub(crate) struct Sources<'t, S: Storage> {
    cursors: Vec<Cursor<'t, S>>,
    /// What sources delete, each with how many sources are not older than it.
    deleted: Vec<(usize, Deleted<'t, S>)>,
}

impl<'t, S: Storage> Sources<'t, S> {
    pub(crate) fn new() -> Self {
        Self { cursors: Vec::with_capacity(8), deleted: Vec::new() }
    }

    /// Adds a source that is older than those before it.
    pub(crate) fn push(&mut self, cursor: Cursor<'t, S>, deleted: Option<Deleted<'t, S>>) {
        self.cursors.push(cursor);
        self.deleted.extend(deleted.map(|deleted| (self.cursors.len(), deleted)));
    }

    /// Cursors for all of them, that show nothing that is hidden.
    pub(crate) fn cursors(self) -> Result<Vec<Cursor<'t, S>>> {
        if self.deleted.is_empty() {
            return Ok(self.cursors);
        }
        let deleted = Arc::new(self.deleted);
        let shadowed = self.cursors.into_iter().enumerate().map(|(at, cursor)| {
            let younger = deleted.partition_point(|(behind, _)| *behind <= at);
            if younger == 0 {
                return Ok(cursor);
            }
            let deleted = Arc::clone(&deleted);
            let mut shadowed = Shadowed { cursor, deleted, younger, bound: Vec::new() };
            shadowed.settle()?;
            Ok(Cursor::Shadowed(Box::new(shadowed)))
        });
        shadowed.collect()
    }
}

/// A cursor that passes over what younger sources delete.
pub(crate) struct Shadowed<'t, S: Storage> {
    pub(crate) cursor: Cursor<'t, S>,
    deleted: Arc<Vec<(usize, Deleted<'t, S>)>>,
    /// So many of these belong to younger sources.
    younger: usize,
    /// Where the cursor goes on.
    bound: Vec<u8>,
}

impl<S: Storage> Shadowed<'_, S> {
    pub(crate) fn advance(&mut self) -> Result<()> {
        self.cursor.advance()?;
        self.settle()
    }

    /// Goes on to an entry that is not hidden.
    fn settle(&mut self) -> Result<()> {
        let Self { cursor, deleted, younger, bound } = self;
        let mut steps = 0;
        while let Some((key, ..)) = cursor.current() {
            let mut ranges = deleted[..*younger].iter().map(|(_, deleted)| deleted.find(key));
            let Some((start, end)) = ranges.find_map(|range| range) else { return Ok(()) };
            steps += 1;
            if steps < STEPS_MAX {
                cursor.advance()?;
                continue;
            }
            steps = 0;
            bound.clear();
            match cursor.direction() {
                Direction::Forward => bound.extend_from_slice(end),
                // It is hidden itself, if it is there.
                Direction::Reverse => bound.extend_from_slice(start),
            }
            cursor.seek_again(bound)?;
        }
        Ok(())
    }
}
