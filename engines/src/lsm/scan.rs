//! Range scans: a merge over memtables, level 0 and the levels below, fixed at the moment at which it began.

use super::memtable;
use super::merge::{Cursor, LevelCursor, Merge};
use super::table;
use super::version::Tree;
use crate::storage::Storage;
use crate::{Direction, Result, Visit};

/// Visits at most `limit` keys of the tree, as [`crate::Session::scan`] says.
pub(crate) fn scan<S: Storage>(
    tree: &Tree<S>,
    start: &[u8],
    direction: Direction,
    limit: usize,
    visit: &mut Visit<'_>,
) -> Result<usize> {
    let mut merge = Merge::new(cursors(tree, start, direction)?, direction);
    let mut visited = 0;
    while visited < limit
        && let Some((key, deleted, value)) = merge.current()
    {
        if !deleted {
            visited += 1;
            if visit(key, value).is_break() {
                break;
            }
        }
        merge.advance()?;
    }
    Ok(visited)
}

/// A cursor for each part of the tree that has something beyond `start`, youngest first.
fn cursors<'t, S: Storage>(
    tree: &'t Tree<S>,
    start: &[u8],
    direction: Direction,
) -> Result<Vec<Cursor<'t, S>>> {
    let mut cursors = Vec::with_capacity(8);
    for memtable in std::iter::once(&tree.active).chain(&tree.waiting) {
        let cursor = memtable::Cursor::seek(memtable.view(), start, direction)?;
        cursors.push(Cursor::Memtable(cursor));
    }
    for table in &tree.version.levels[0] {
        let beyond = match direction {
            Direction::Forward => &table.meta.key_max[..] >= start,
            Direction::Reverse => start.is_empty() || &table.meta.key_min[..] <= start,
        };
        if beyond {
            cursors.push(Cursor::Table(table::Cursor::seek(table, start, direction)?));
        }
    }
    for tables in &tree.version.levels[1..] {
        if !tables.is_empty() {
            cursors.push(Cursor::Level(LevelCursor::seek(tables, start, direction)?));
        }
    }
    Ok(cursors)
}
