//! A position in a range, which can be moved both ways.

use std::ops::Bound;

use super::range::KeyRange;
use super::snapshot::Snapshot;
use super::walk::Walk;
use crate::storage::{Disk, Storage};
use crate::{Direction, Result};

/// A key and its value, where they lie.
type Entry<'c> = (&'c [u8], &'c [u8]);

/// A position in a range of keys at one moment: at an entry, before the first, or behind the last; made by [`Lsm::cursor`](super::Lsm::cursor) and
/// [`Snapshot::cursor`]. Where one direction is enough, [`Iter`](super::Iter) is simpler.
///
/// A new cursor stands before the first entry. Every move tells the entry that it has come to; keys and values are shown where they lie, until the next move. From either end the
/// cursor comes back by moving the other way. After an error it stands nowhere, until it seeks.
///
/// It keeps a [`Snapshot`], with what that costs, until it is dropped. A step allocates nothing. To seek, and to turn round, costs a search in each memtable, each table of level 0 that has a part
/// of the range, and one table of each deeper level.
///
/// ```
/// # use kvdyno_engines::lsm::{Lsm, Options};
/// # fn main() -> kvdyno_engines::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = Lsm::open(kvdyno_engines::storage::Disk, dir.path(), Options::default())?;
/// for key in [b"b", b"d", b"f"] {
///     store.put(key, b"")?;
/// }
/// let mut cursor = store.cursor(..);
/// assert_eq!(cursor.seek(b"c")?, Some((&b"d"[..], &b""[..])));
/// assert_eq!(cursor.move_next()?.map(|(key, _)| key), Some(&b"f"[..]));
/// assert_eq!(cursor.move_next()?, None);
/// assert_eq!(cursor.move_prev()?.map(|(key, _)| key), Some(&b"f"[..]));
/// assert_eq!(cursor.seek_back(b"c")?.map(|(key, _)| key), Some(&b"b"[..]));
/// # Ok(())
/// # }
/// ```
pub struct Cursor<'s, S: Storage = Disk> {
    walk: Option<Walk<S>>,
    place: Place,
    range: KeyRange,
    snapshot: Snapshot<'s, S>,
    /// The key at which the cursor turns round.
    turn: Vec<u8>,
}

/// Where a cursor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    BeforeFirst,
    /// Where its walk is.
    AtEntry,
    BehindLast,
    Nowhere,
}

impl<'s, S: Storage> Cursor<'s, S> {
    pub(crate) fn over(snapshot: Snapshot<'s, S>, range: KeyRange) -> Self {
        Self { walk: None, place: Place::BeforeFirst, range, snapshot, turn: Vec::new() }
    }

    /// The range that it moves in.
    pub fn range(&self) -> &KeyRange {
        &self.range
    }

    /// The entry at which the cursor stands.
    #[inline]
    pub fn current(&self) -> Option<(&[u8], &[u8])> {
        self.walk.as_ref()?.current()
    }

    /// Key of that entry.
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        self.current().map(|(key, _)| key)
    }

    /// Value of that entry.
    #[inline]
    pub fn value(&self) -> Option<&[u8]> {
        self.current().map(|(_, value)| value)
    }

    /// Goes to the first entry; behind the last one if there is none.
    pub fn seek_first(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let walk = self.snapshot.walk(&self.range, self.range.lower(), Direction::Forward);
        self.enter(walk)
    }

    /// Goes to the last entry; before the first one if there is none.
    pub fn seek_last(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let walk = self.snapshot.walk(&self.range, self.range.upper(), Direction::Reverse);
        self.enter(walk)
    }

    /// Goes to the first entry at or behind `key`, which need not be in the range; behind the last one if there is none.
    pub fn seek(&mut self, key: &[u8]) -> Result<Option<(&[u8], &[u8])>> {
        self.seek_from(key, Direction::Forward)
    }

    /// Goes to the last entry at or before `key`, which need not be in the range; before the first one if there is none.
    pub fn seek_back(&mut self, key: &[u8]) -> Result<Option<(&[u8], &[u8])>> {
        self.seek_from(key, Direction::Reverse)
    }

    /// Goes to the next entry; from the last one behind it, and from before the first one to that.
    #[inline]
    pub fn move_next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        match self.place {
            Place::AtEntry => self.step(Direction::Forward),
            Place::BeforeFirst => self.seek_first(),
            Place::BehindLast | Place::Nowhere => Ok(None),
        }
    }

    /// Goes to the entry before; from the first one before it, and from behind the last one to that.
    #[inline]
    pub fn move_prev(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        match self.place {
            Place::AtEntry => self.step(Direction::Reverse),
            Place::BehindLast => self.seek_last(),
            Place::BeforeFirst | Place::Nowhere => Ok(None),
        }
    }

    fn seek_from(&mut self, key: &[u8], direction: Direction) -> Result<Option<Entry<'_>>> {
        let start = self.range.start(key, direction);
        let walk = self.snapshot.walk(&self.range, start, direction);
        self.enter(walk)
    }

    /// Moves on from an entry.
    #[inline]
    fn step(&mut self, direction: Direction) -> Result<Option<Entry<'_>>> {
        let Some(walk) = &mut self.walk else { return Ok(None) };
        if walk.direction() == direction {
            let moved = walk.advance(&self.range);
            return self.settle(moved);
        }
        self.turn.clear();
        self.turn.extend_from_slice(walk.current().map_or(&[], |(key, _)| key));
        let walk = self.snapshot.walk(&self.range, Bound::Excluded(&self.turn), direction);
        self.enter(walk)
    }

    /// Goes on with another walk.
    fn enter(&mut self, walk: Result<Walk<S>>) -> Result<Option<Entry<'_>>> {
        let entered = walk.map(|walk| self.walk = Some(walk));
        self.settle(entered)
    }

    /// Notes where the cursor is after a move.
    #[inline]
    fn settle(&mut self, moved: Result<()>) -> Result<Option<Entry<'_>>> {
        if let Err(error) = moved {
            (self.walk, self.place) = (None, Place::Nowhere);
            return Err(error);
        }
        self.place = match &self.walk {
            Some(walk) if walk.current().is_some() => Place::AtEntry,
            Some(walk) if walk.direction() == Direction::Reverse => Place::BeforeFirst,
            _ => Place::BehindLast,
        };
        Ok(self.current())
    }
}
