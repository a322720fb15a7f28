//! Merges several sorted sources into one.
//!
//! 1. Each source is a cursor; sources are numbered by age, 0 being the youngest.
//! 2. The cursors that are not at their end are kept in the order of their current keys, a younger one before an older one with the same key.
//! 3. To go on, every cursor that stands at the current key moves: first the older versions, then the current one itself; each is put back
//!    into its place by moving it behind those that now come before it.
//!
//! A sorted list rather than a heap: there are few sources, and mostly the same one stays in front, which then costs a single comparison;
//! with one source there is none. The list has the first sixteen bytes of each key as a number, so that keys are looked at only where these are equal.

use std::cmp::Ordering;
use std::sync::Arc;

use super::compaction::for_scans::cost_ns;
use super::memtable;
use super::shadowed::Shadowed;
use super::table::{self, Purpose, Table};
use super::wal::Kind;
use crate::storage::Storage;
use crate::{Direction, Result};

/// One sorted source.
#[allow(
    clippy::large_enum_variant,
    reason = "a scan has a handful, and a box would cost it an allocation"
)]
pub(crate) enum Cursor<'t, S: Storage> {
    Memtable(memtable::Cursor<'t, S::File>),
    Table(table::Cursor<'t, S>),
    Level(LevelCursor<'t, S>),
    /// One of these, of which younger sources hide something.
    Shadowed(Box<Shadowed<'t, S>>),
}

impl<S: Storage> Cursor<'_, S> {
    #[inline]
    pub(crate) fn current(&self) -> Option<(&[u8], Kind, &[u8])> {
        match self {
            Self::Memtable(cursor) => cursor.current(),
            Self::Table(cursor) => cursor.current(),
            Self::Level(cursor) => cursor.current.as_ref()?.current(),
            Self::Shadowed(shadowed) => shadowed.cursor.current(),
        }
    }

    #[inline]
    pub(crate) fn advance(&mut self) -> Result<()> {
        match self {
            Self::Memtable(cursor) => cursor.advance(),
            Self::Table(cursor) => cursor.advance(),
            Self::Level(cursor) => cursor.advance(),
            Self::Shadowed(shadowed) => shadowed.advance(),
        }
    }

    pub(crate) fn direction(&self) -> Direction {
        match self {
            Self::Memtable(cursor) => cursor.direction(),
            Self::Table(cursor) => cursor.direction(),
            Self::Level(cursor) => cursor.direction,
            Self::Shadowed(shadowed) => shadowed.cursor.direction(),
        }
    }

    /// Goes to the first key in the cursor's direction that is not before `start`.
    pub(crate) fn seek_again(&mut self, start: &[u8]) -> Result<()> {
        match self {
            Self::Memtable(cursor) => cursor.seek_again(start),
            Self::Table(cursor) => cursor.seek_again(start),
            Self::Level(cursor) => {
                *cursor =
                    LevelCursor::seek(cursor.tables, start, cursor.direction, cursor.purpose)?;
                Ok(())
            }
            Self::Shadowed(shadowed) => shadowed.cursor.seek_again(start),
        }
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.current().map_or(&[], |(key, ..)| key)
    }
}

/// The tables of a level that has no overlaps, one after the other; each is looked into when its turn comes.
pub(crate) struct LevelCursor<'t, S: Storage> {
    tables: &'t [Arc<Table<S>>],
    direction: Direction,
    purpose: Purpose,
    /// Index of the current table.
    at: usize,
    current: Option<table::Cursor<'t, S>>,
}

/// Where a walk over a level begins.
pub(crate) struct LevelStart<'t, S: Storage> {
    tables: &'t [Arc<Table<S>>],
    at: usize,
    in_table: Option<table::Start<'t, S>>,
}

impl<'t, S: Storage> LevelStart<'t, S> {
    /// Where the first key in `direction` lies that is not before `start`; an empty `start` is the first key of all.
    pub(crate) fn find(
        tables: &'t [Arc<Table<S>>],
        start: &[u8],
        direction: Direction,
    ) -> Result<Self> {
        let at = match direction {
            Direction::Forward => tables.partition_point(|table| table.meta.ends_before(start)),
            Direction::Reverse if start.is_empty() => tables.len().wrapping_sub(1),
            Direction::Reverse => {
                tables.partition_point(|table| &table.meta.key_min[..] <= start).wrapping_sub(1)
            }
        };
        let in_table = match tables.get(at) {
            Some(table) => Some(table::Start::find(table, start, direction)?),
            None => None,
        };
        Ok(Self { tables, at, in_table })
    }
}

impl<'t, S: Storage> LevelCursor<'t, S> {
    /// At the first key in `direction` that is not before `start`; an empty `start` is the first key of all.
    pub(crate) fn seek(
        tables: &'t [Arc<Table<S>>],
        start: &[u8],
        direction: Direction,
        purpose: Purpose,
    ) -> Result<Self> {
        Self::begin(LevelStart::find(tables, start, direction)?, start, direction, purpose)
    }

    /// The same, where the beginning has been found already.
    pub(crate) fn begin(
        found: LevelStart<'t, S>,
        start: &[u8],
        direction: Direction,
        purpose: Purpose,
    ) -> Result<Self> {
        let LevelStart { tables, at, in_table } = found;
        let current = match in_table {
            Some(found) => Some(table::Cursor::begin(found, start, direction, purpose)?),
            None => None,
        };
        let mut cursor = Self { tables, direction, purpose, at, current };
        // Of a table that has `start` in a range of deleted keys, all entries may come before it.
        cursor.leave_if_at_end()?;
        Ok(cursor)
    }

    /// Goes on to the next table behind the last entry of this one.
    #[inline]
    fn leave_if_at_end(&mut self) -> Result<()> {
        if self.current.as_ref().is_some_and(|cursor| cursor.current().is_none()) {
            self.at = match self.direction {
                Direction::Forward => self.at + 1,
                Direction::Reverse => self.at.wrapping_sub(1),
            };
            self.current = match self.tables.get(self.at) {
                Some(table) => Some(table::Cursor::seek(table, &[], self.direction, self.purpose)?),
                None => None,
            };
        }
        Ok(())
    }

    #[inline]
    fn advance(&mut self) -> Result<()> {
        let Some(cursor) = &mut self.current else { return Ok(()) };
        cursor.advance()?;
        self.leave_if_at_end()
    }
}

/// A cursor that is not at its end.
#[derive(Clone, Copy)]
struct Place {
    /// Which one.
    cursor: usize,
    /// The first bytes of its current key as a number, which is the less, the sooner the key comes; short keys are filled up with zeros.
    head: u128,
}

impl Place {
    #[inline]
    fn of<S: Storage>(
        cursors: &[Cursor<'_, S>],
        cursor: usize,
        direction: Direction,
    ) -> Option<Self> {
        let (key, ..) = cursors[cursor].current()?;
        let head = u128::from_be_bytes(key.first_chunk().copied().unwrap_or_else(|| {
            let mut head = [0; size_of::<u128>()];
            head[..key.len()].copy_from_slice(key);
            head
        }));
        Some(match direction {
            Direction::Forward => Self { cursor, head },
            Direction::Reverse => Self { cursor, head: !head },
        })
    }
}

/// Several sources as one: each key once, in its youngest version, deletions included.
pub(crate) struct Merge<'t, S: Storage> {
    cursors: Vec<Cursor<'t, S>>,
    direction: Direction,
    /// Cursors that are not at their end, by their current keys.
    order: Vec<Place>,
    /// Steps from one source to another, and over what another source hides.
    switches: u64,
    /// False if the second cursor is known to stand at another key than the first.
    may_tie: bool,
}

impl<'t, S: Storage> Merge<'t, S> {
    /// Merges `cursors`, youngest first, which all go in `direction`.
    pub(crate) fn new(cursors: Vec<Cursor<'t, S>>, direction: Direction) -> Self {
        let places = (0..cursors.len()).filter_map(|at| Place::of(&cursors, at, direction));
        let mut order: Vec<Place> = places.collect();
        order.sort_by(|a, b| compare(&cursors, direction, *a, *b).then(a.cursor.cmp(&b.cursor)));
        Self { cursors, direction, order, switches: 0, may_tie: true }
    }

    /// The current entry: key, what it holds, and the value, or where that lies.
    #[inline]
    pub(crate) fn current(&self) -> Option<(&[u8], Kind, &[u8])> {
        self.cursors[self.order.first()?.cursor].current()
    }

    /// What this has cost so far that one run of tables would not have ([`cost_ns`]).
    pub(crate) fn cost_ns(&self) -> u64 {
        let is_memtable = |cursor: &&Cursor<'_, S>| matches!(cursor, Cursor::Memtable(_));
        let memtables = self.cursors.iter().take_while(is_memtable).count();
        cost_ns(self.cursors.len() - memtables, self.switches)
    }

    /// Goes to the next key.
    #[inline]
    pub(crate) fn advance(&mut self) -> Result<()> {
        while self.may_tie && self.order.len() > 1 {
            let (first, second) = (self.order[0], self.order[1]);
            if compare(&self.cursors, self.direction, first, second) != Ordering::Equal {
                break;
            }
            self.step(1)?;
        }
        if !self.order.is_empty() {
            self.step(0)?;
        }
        Ok(())
    }

    /// Moves the cursor at position `at` of the order, and puts it into its new place.
    #[inline]
    fn step(&mut self, mut at: usize) -> Result<()> {
        let cursor = self.order[at].cursor;
        self.cursors[cursor].advance()?;
        let Some(place) = Place::of(&self.cursors, cursor, self.direction) else {
            self.order.remove(at);
            self.may_tie = true;
            return Ok(());
        };
        while let Some(next) = self.order.get(at + 1) {
            let keys = compare(&self.cursors, self.direction, place, *next);
            self.may_tie = at > 0 || keys != Ordering::Less;
            if keys.then(cursor.cmp(&next.cursor)) == Ordering::Less {
                break;
            }
            self.order[at] = *next;
            at += 1;
        }
        self.switches += u64::from(at > 0);
        self.order[at] = place;
        Ok(())
    }
}

/// The order of the current keys of two cursors.
#[inline]
fn compare<S: Storage>(
    cursors: &[Cursor<'_, S>],
    direction: Direction,
    a: Place,
    b: Place,
) -> Ordering {
    a.head.cmp(&b.head).then_with(|| {
        let keys = cursors[a.cursor].key().cmp(cursors[b.cursor].key());
        match direction {
            Direction::Forward => keys,
            Direction::Reverse => keys.reverse(),
        }
    })
}
