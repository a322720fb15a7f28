//! Range scans: a merge over memtables, level 0 and the levels below, fixed at the moment at which it began.

use super::memtable::{self, View};
use super::merge::{Cursor, LevelCursor, Merge};
use super::shadowed::{Deleted, Sources};
use super::table::{self, Purpose};
use super::version::Tree;
use super::wal::Kind;
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
        && let Some((key, kind, value)) = merge.current()
    {
        if kind != Kind::Delete {
            visited += 1;
            let flow = if kind == Kind::Put {
                visit(key, value)
            } else {
                tree.version.values.read(key, value, |value| visit(key, value))?
            };
            // What comes behind the last one need not be read.
            if flow.is_break() || visited == limit {
                break;
            }
        }
        merge.advance()?;
    }
    Ok(visited)
}

/// A cursor for each part of the tree that has something between `start` and `far`, where a walk in `direction` is to end, youngest first. Cursors may go beyond `far`, where
/// they show what is hidden, too.
pub(crate) fn cursors<'t, S: Storage>(
    tree: &'t Tree<S>,
    active: View<'t, S::File>,
    start: &[u8],
    far: Option<&[u8]>,
    direction: Direction,
) -> Result<Vec<Cursor<'t, S>>> {
    let mut sources = Sources::new();
    let waiting = tree.waiting.iter().map(|memtable| memtable.view());
    for view in std::iter::once(active).chain(waiting) {
        let deleted = view.ranges().cloned().map(Deleted::Memtable);
        let cursor = memtable::Cursor::seek(view, start, direction)?;
        sources.push(Cursor::Memtable(cursor), deleted);
    }
    for table in &tree.version.levels[0] {
        let meta = &table.meta;
        let begins_by = |key: &[u8]| &meta.key_min[..] <= key;
        let between = match direction {
            Direction::Forward => !meta.ends_before(start) && far.is_none_or(begins_by),
            Direction::Reverse => {
                (start.is_empty() || begins_by(start))
                    && far.is_none_or(|far| !meta.ends_before(far))
            }
        };
        if between {
            let deleted = table.deletes_ranges().then(|| Deleted::Table(table.ranges()));
            let cursor = table::Cursor::seek(table, start, direction, Purpose::Query)?;
            sources.push(Cursor::Table(cursor), deleted);
        }
    }
    for (tables, deletes) in tree.version.levels.iter().zip(tree.version.deletes_ranges).skip(1) {
        let tables = match (direction, far) {
            (_, None) => &tables[..],
            (Direction::Forward, Some(far)) => {
                &tables[..tables.partition_point(|table| &table.meta.key_min[..] <= far)]
            }
            (Direction::Reverse, Some(far)) => {
                &tables[tables.partition_point(|table| table.meta.ends_before(far))..]
            }
        };
        if !tables.is_empty() {
            let cursor = LevelCursor::seek(tables, start, direction, Purpose::Query)?;
            sources.push(Cursor::Level(cursor), deletes.then_some(Deleted::Level(tables)));
        }
    }
    sources.cursors()
}
