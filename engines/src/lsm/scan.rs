//! Range scans: a merge over memtables, level 0 and the levels below, fixed at the moment at which it began.

use super::memtable::{self, View};
use super::merge::{Cursor, LevelCursor, Merge};
use super::table;
use super::version::Tree;
use crate::storage::Storage;
use crate::{Direction, Result, Visit};

/// Visits at most `limit` keys of the tree, as [`crate::Session::scan`] says. What is seen of the active memtable is `active`.
pub(crate) fn scan<S: Storage>(
    tree: &Tree<S>,
    active: View<'_, S::File>,
    start: &[u8],
    direction: Direction,
    limit: usize,
    visit: &mut Visit<'_>,
) -> Result<usize> {
    let mut merge = Merge::new(cursors(tree, active, start, None, direction)?, direction);
    let mut visited = 0;
    while visited < limit
        && let Some((key, deleted, value)) = merge.current()
    {
        if !deleted {
            visited += 1;
            // What comes behind the last one need not be read.
            if visit(key, value).is_break() || visited == limit {
                break;
            }
        }
        merge.advance()?;
    }
    Ok(visited)
}

/// A cursor for each part of the tree that has something between `start` and `far`, where a walk in `direction` is to end, youngest first. Cursors may go beyond `far`.
pub(crate) fn cursors<'t, S: Storage>(
    tree: &'t Tree<S>,
    active: View<'t, S::File>,
    start: &[u8],
    far: Option<&[u8]>,
    direction: Direction,
) -> Result<Vec<Cursor<'t, S>>> {
    let mut cursors = Vec::with_capacity(8);
    let waiting = tree.waiting.iter().map(|memtable| memtable.view());
    for view in std::iter::once(active).chain(waiting) {
        let cursor = memtable::Cursor::seek(view, start, direction)?;
        cursors.push(Cursor::Memtable(cursor));
    }
    for table in &tree.version.levels[0] {
        let (least, greatest) = (&table.meta.key_min[..], &table.meta.key_max[..]);
        let between = match direction {
            Direction::Forward => greatest >= start && far.is_none_or(|far| least <= far),
            Direction::Reverse => {
                (start.is_empty() || least <= start) && far.is_none_or(|far| greatest >= far)
            }
        };
        if between {
            cursors.push(Cursor::Table(table::Cursor::seek(table, start, direction)?));
        }
    }
    for tables in &tree.version.levels[1..] {
        let tables = match (direction, far) {
            (_, None) => &tables[..],
            (Direction::Forward, Some(far)) => {
                &tables[..tables.partition_point(|table| &table.meta.key_min[..] <= far)]
            }
            (Direction::Reverse, Some(far)) => {
                &tables[tables.partition_point(|table| &table.meta.key_max[..] < far)..]
            }
        };
        if !tables.is_empty() {
            cursors.push(Cursor::Level(LevelCursor::seek(tables, start, direction)?));
        }
    }
    Ok(cursors)
}
