//! Range scans: a merge over memtables, level 0 and the levels below, fixed at the moment at which it began.

use std::cell::OnceCell;

use super::deadline;
use super::memtable::{self, View};
use super::merge::{Cursor, LevelCursor, LevelStart, Merge};
use super::shadowed::{Deleted, Sources};
use super::table::{self, Purpose};
use super::version::{LEVELS, Tree};
use super::wal::Kind;
use crate::storage::Storage;
use crate::{Direction, Result, Visit};

/// What came of a scan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scanned {
    /// Keys that were visited.
    pub(crate) visited: usize,
    /// What it has cost that one run of tables would not have.
    pub(crate) cost_ns: u64,
}

/// Visits at most `limit` keys of the tree, as [`crate::Session::scan`] says. What is seen of the active memtable is `active`; what time it is is asked for once, where a value may have expired.
pub(crate) fn scan<S: Storage>(
    tree: &Tree<S>,
    active: View<'_, S::File>,
    start: &[u8],
    direction: Direction,
    limit: usize,
    now_ms: impl Fn() -> u64,
    visit: &mut Visit<'_>,
) -> Result<Scanned> {
    let now = OnceCell::new();
    let now_ms = || *now.get_or_init(&now_ms);
    let mut merge = Merge::new(cursors(tree, active, start, None, direction)?, direction);
    let mut visited = 0;
    while visited < limit
        && let Some(entry @ (key, kind, value)) = merge.current()
    {
        let flow = if kind == Kind::Put {
            Some(visit(key, value))
        } else {
            show(tree, entry, now_ms, |value| visit(key, value))?
        };
        if let Some(flow) = flow {
            visited += 1;
            // What comes behind the last one need not be read.
            if flow.is_break() || visited == limit {
                break;
            }
        }
        merge.advance()?;
    }
    Ok(Scanned { visited, cost_ns: merge.cost_ns() })
}

/// Calls `visit` with the value of an entry that is no put for ever, if it has one.
pub(crate) fn show<S: Storage, R>(
    tree: &Tree<S>,
    (key, kind, value): (&[u8], Kind, &[u8]),
    now_ms: impl Fn() -> u64,
    visit: impl FnOnce(&[u8]) -> R,
) -> Result<Option<R>> {
    // No cursor shows an entry that expires and does not say when.
    let (expires_ms, behind) = match kind {
        Kind::PutExpiring | Kind::PointerExpiring => deadline::split(value).unwrap_or_default(),
        _ => (u64::MAX, value),
    };
    match kind {
        Kind::Delete | Kind::DeleteRange => Ok(None),
        Kind::PutExpiring | Kind::PointerExpiring if expires_ms <= now_ms() => Ok(None),
        Kind::Put | Kind::PutExpiring => Ok(Some(visit(behind))),
        Kind::Pointer | Kind::PointerExpiring => {
            tree.version.values.read(key, behind, visit).map(Some)
        }
    }
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
    // Where to begin in each of the tables is found first, so that the processor waits for all of them at once.
    let mut in_tables = Vec::with_capacity(8);
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
            in_tables.push((table, table::Start::find(table, start, direction)?));
        }
    }
    let mut in_levels = Vec::with_capacity(LEVELS);
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
            in_levels.push((tables, deletes, LevelStart::find(tables, start, direction)?));
        }
    }
    let mut sources = Sources::new();
    let waiting = tree.waiting.iter().map(|memtable| memtable.view());
    for view in std::iter::once(active).chain(waiting) {
        let deleted = view.ranges().cloned().map(Deleted::Memtable);
        let cursor = memtable::Cursor::seek(view, start, direction)?;
        sources.push(Cursor::Memtable(cursor), deleted);
    }
    for (table, found) in in_tables {
        let deleted = table.deletes_ranges().then(|| Deleted::Table(table.ranges()));
        let cursor = table::Cursor::begin(found, start, direction, Purpose::Query)?;
        sources.push(Cursor::Table(cursor), deleted);
    }
    for (tables, deletes, found) in in_levels {
        let cursor = LevelCursor::begin(found, start, direction, Purpose::Query)?;
        sources.push(Cursor::Level(cursor), deletes.then_some(Deleted::Level(tables)));
    }
    sources.cursors()
}
