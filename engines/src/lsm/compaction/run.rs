//! Does flushes and compactions, and makes them known.
//!
//! A compaction that merges:
//!
//! 1. is cut into ranges of keys ([`super::split::boundaries`]), which threads work on side by side, or with [`Background::Inline`] one after the other;
//! 2. writes for each range tables that are synced, and makes the names of all durable;
//! 3. makes the manifest say that they take the place of the inputs, shows them to readers, and lets the inputs go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::deadline;
use super::super::files::FileNumber;
use super::super::manifest::Edit;
use super::super::memtable::{self, Memtable};
use super::super::merge::{Cursor, LevelCursor, Merge};
use super::super::options::Background;
use super::super::range_set::{RangeSet, Span};
use super::super::rate::Writes;
use super::super::shadowed::{Deleted, Sources};
use super::super::stats::count;
use super::super::store::Core;
use super::super::table::{self, Purpose, Table, TableMeta};
use super::super::value_log::{Pointer, ValueFile, ValueFiles, WrittenValues};
use super::super::version::{PerLevel, Tree, Version};
use super::super::wal::Kind;
use super::output::{Origin, Output, Written};
use super::relocation;
use super::split::{Cutter, boundaries};
use super::task::{Action, Metas, Task, overlapping};
use crate::storage::{File, Storage};
use crate::{Direction, EventKind, Result};

/// Entries that a flush writes between two notes of how far it is.
const ENTRIES_PER_NOTE: u64 = 1024;

/// What was written, open.
struct Opened<S: Storage> {
    tables: Vec<Arc<Table<S>>>,
    values: Vec<Arc<ValueFile<S>>>,
}

impl<S: Storage> Opened<S> {
    fn new(core: &Core<S>, written: Written<S>) -> Result<Self> {
        let reading = || Arc::clone(&core.reading);
        let open = |(file, meta)| Table::open(core.storage.clone(), file, meta, reading());
        let tables = written.tables.into_iter().map(open).collect::<Result<_>>()?;
        let open = |WrittenValues { number, file, bytes }| {
            ValueFile::open(core.storage.clone(), file, number, bytes, &core.reading)
        };
        let values = written.values.into_iter().map(open).collect::<Result<_>>()?;
        Ok(Self { tables, values })
    }

    fn table_bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.meta.file_bytes).sum()
    }

    fn value_bytes(&self) -> u64 {
        self.values.iter().map(|values| values.bytes()).sum()
    }

    /// The files of values, as an edit names them.
    fn named_values(&self) -> Vec<(FileNumber, u64)> {
        self.values.iter().map(|values| (values.number, values.bytes())).collect()
    }

    /// Makes a change durable, or else lets the files go that it was to bring.
    fn announce(&self, core: &Core<S>, edit: &Edit) -> Result<()> {
        core.change_manifest(edit).inspect_err(|_| {
            // If the store is poisoned, the manifest may or may not name them.
            if core.check_poison().is_ok() {
                self.tables.iter().for_each(|table| table.set_obsolete());
                self.values.iter().for_each(|values| values.set_obsolete());
            }
        })
    }
}

/// Replaces the version of the tree by the next one, and lets the files of values go that it does not need any more.
fn replace<S: Storage>(tree: &mut Tree<S>, next: Version<S>) {
    tree.version.values.set_obsolete_but(&next.values);
    tree.version = Arc::new(next);
}

/// Writes a memtable, which has no writer any more, as a table of level 0, and makes that known.
pub(crate) fn flush<S: Storage>(core: &Core<S>, memtable: &Arc<Memtable<S::File>>) -> Result<()> {
    let start = Instant::now();
    core.set_flushed(0);
    let next = memtable.next_sequence();
    let sequences = (memtable.first_sequence, next.saturating_sub(1));
    let created_ms = core.options.clock.now_ms();
    let origin = Origin { level: 0, sequences, created_ms, is_last: false };
    let ranges = ranges_to_flush(core, memtable);
    let mut output = Output::new(core, origin, Cutter::never(), ranges, Writes::Flush);
    let write = |output: &mut Output<'_, S>| {
        let mut cursor = memtable::Cursor::seek(memtable.view(), &[], Direction::Forward)?;
        let (mut entries, log_bytes) = (0, memtable.log_bytes());
        while let Some((key, kind, value)) = cursor.current() {
            if deadline::is_gone(kind, value, created_ms) {
                output.add(key, Kind::Delete, &[])?;
            } else {
                output.add(key, kind, value)?;
            }
            cursor.advance()?;
            entries += 1;
            if entries % ENTRIES_PER_NOTE == 0 {
                core.set_flushed(log_bytes / memtable.entries() * entries);
            }
        }
        // Pages of the log may have left the cache without having been stored.
        memtable.verify()?;
        output.end()
    };
    if let Err(error) = write(&mut output) {
        return Err(Output::abandon([output], error));
    }
    let opened = Opened::new(core, Output::finish(core, vec![output])?)?;
    let edit = Edit {
        next_number: Some(core.next_number()),
        flushed: Some((memtable.log + 1, next)),
        added: opened.tables.iter().map(|table| (0, table.meta.clone())).collect(),
        values: opened.named_values(),
        ..Edit::default()
    };
    opened.announce(core, &edit)?;
    core.change_tree(|tree| {
        core.set_flushed(0);
        tree.waiting.retain(|waiting| !Arc::ptr_eq(waiting, memtable));
        let added = opened.tables.iter().map(|table| (0, Arc::clone(table)));
        replace(tree, tree.version.with(&[], added, &opened.values));
    });
    // Should this fail, the next open removes the log.
    let _ = core.storage.remove(memtable.file().path());
    let (table_bytes, value_bytes) = (opened.table_bytes(), opened.value_bytes());
    count(&core.stats.flush_bytes, table_bytes);
    count(&core.stats.value_log_bytes, value_bytes);
    core.stats.event(EventKind::Flush, start, table_bytes + value_bytes);
    Ok(())
}

/// The ranges of keys that a memtable deletes, without those in which no table has any key: all tables are older than it, or have nothing in common with it.
fn ranges_to_flush<S: Storage>(core: &Core<S>, memtable: &Memtable<S::File>) -> RangeSet {
    let mut ranges = memtable.ranges().map_or_else(RangeSet::default, |ranges| ranges.set());
    if !ranges.is_empty() {
        let version = Arc::clone(&core.tree.load().version);
        let metas = version.metas();
        ranges.retain(|span| hides_any(&metas, span));
    }
    ranges
}

/// Whether any of these tables may have keys in a range.
fn hides_any(levels: &Metas<'_>, span: &Span) -> bool {
    let begins_before_end = |table: &&TableMeta| table.key_min < span.end;
    let of_0 = levels[0].iter().any(|t| begins_before_end(t) && !t.ends_before(&span.start));
    let deeper = levels[1..].iter().any(|tables| {
        let at = tables.partition_point(|table| table.ends_before(&span.start));
        tables.get(at).is_some_and(begins_before_end)
    });
    of_0 || deeper
}

/// The tables of a task, by level.
type Inputs<S> = PerLevel<Vec<Arc<Table<S>>>>;

/// Does a compaction, and makes it known. Tells whether it was done to its end: the closing of the store ends it early.
pub(crate) fn compact<S: Storage>(
    core: &Core<S>,
    version: &Version<S>,
    task: &Task,
) -> Result<bool> {
    let start = Instant::now();
    let inputs: Inputs<S> = task.inputs.each_ref().map(|numbers| {
        numbers.iter().filter_map(|number| version.table(*number).cloned()).collect()
    });
    let removed = inputs
        .iter()
        .enumerate()
        .flat_map(|(level, tables)| tables.iter().map(move |table| (level, table.meta.number)));
    let removed = removed.collect();
    let written = match task.action {
        Action::Merge => match merge(core, version, &inputs, task)? {
            Some(written) => written,
            None => return Ok(false),
        },
        Action::Move | Action::Drop => Written::default(),
    };
    let opened = Opened::new(core, written)?;
    let moved = inputs.iter().flatten().filter(|_| task.action == Action::Move);
    let tables: Vec<_> = opened.tables.iter().chain(moved).collect();
    let added = tables.iter().map(|table| (task.output, table.meta.clone())).collect();
    let (next_number, values) = (Some(core.next_number()), opened.named_values());
    opened.announce(core, &Edit { next_number, removed, added, values, ..Edit::default() })?;
    core.change_tree(|tree| {
        let added = tables.iter().map(|table| (task.output, Arc::clone(table)));
        replace(tree, tree.version.with(&task.numbers(), added, &opened.values));
    });
    if task.action != Action::Move {
        for table in inputs.iter().flatten() {
            table.set_obsolete();
        }
    }
    let (table_bytes, value_bytes) = (opened.table_bytes(), opened.value_bytes());
    count(&core.stats.compaction_bytes, table_bytes);
    count(&core.stats.value_log_bytes, value_bytes);
    core.stats.event(EventKind::Compaction, start, table_bytes + value_bytes);
    Ok(true)
}

/// Merges the inputs into new tables. `None` if the store is being closed meanwhile.
fn merge<S: Storage>(
    core: &Core<S>,
    version: &Version<S>,
    inputs: &Inputs<S>,
    task: &Task,
) -> Result<Option<Written<S>>> {
    let metas: Metas<'_> =
        inputs.each_ref().map(|tables| tables.iter().map(|table| &table.meta).collect());
    let all = || metas.iter().flatten();
    let origin = Origin {
        level: task.output,
        sequences: (
            all().map(|meta| meta.sequence_min).min().unwrap_or(0),
            all().map(|meta| meta.sequence_max).max().unwrap_or(0),
        ),
        created_ms: all().map(|meta| meta.created_ms).max().unwrap_or(0),
        is_last: task.drops_deletions,
    };
    let levels = version.metas();
    let emptied = relocation::due(version.values.usage(), &core.options);
    let source = Source { inputs, values: &version.values, emptied: &emptied };
    let (table_bytes, pieces_max) = (core.options.table_bytes, core.options.subcompactions_max);
    let cuts = boundaries(&metas, task.output, table_bytes, pieces_max);
    let ranges = if task.drops_deletions {
        RangeSet::default()
    } else {
        RangeSet::union(inputs.iter().flatten().map(|table| table.ranges()))
    };
    let piece = |at: usize| {
        let from = at.checked_sub(1).map_or(&[][..], |before| &cuts[before]);
        let to = cuts.get(at).map(Vec::as_slice);
        let cutter = cutter(&levels, task, table_bytes);
        let ranges = ranges.within(from, to);
        let mut output = Output::new(core, origin, cutter, ranges, Writes::Compaction);
        match merge_range(core, &source, task, (from, to), &mut output) {
            Ok(ended) => Ok((output, ended)),
            Err(error) => Err(Output::abandon([output], error)),
        }
    };
    let (mut outputs, mut whole, mut failure) = (Vec::new(), true, None);
    for outcome in side_by_side(core.options.background, cuts.len() + 1, &piece) {
        match outcome {
            Ok((output, ended)) => {
                outputs.push(output);
                whole &= ended;
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if let Some(error) = failure {
        return Err(Output::abandon(outputs, error));
    }
    if !whole {
        outputs.into_iter().try_for_each(Output::remove)?;
        return Ok(None);
    }
    Output::finish(core, outputs).map(Some)
}

/// Says where the tables of a task's output end.
fn cutter(levels: &Metas<'_>, task: &Task, table_bytes: u64) -> Cutter {
    let below = levels.get(task.output + 1).map_or(&[][..], Vec::as_slice);
    match task.output {
        0 => Cutter::never(),
        _ => Cutter::new(table_bytes, overlapping(below, &task.low, &task.high)),
    }
}

/// Calls `piece` with each number below `pieces`, and returns the outcomes in their order.
fn side_by_side<T: Send>(
    background: Background,
    pieces: usize,
    piece: &(impl Fn(usize) -> T + Sync),
) -> Vec<T> {
    if background == Background::Inline || pieces == 1 {
        return (0..pieces).map(piece).collect();
    }
    std::thread::scope(|scope| {
        let start = |at| {
            let thread = std::thread::Builder::new().name("lsm-compaction".to_owned());
            thread.spawn_scoped(scope, move || piece(at))
        };
        let others: Vec<_> = (1..pieces).map(start).collect();
        let mut outcomes = vec![piece(0)];
        for (other, at) in others.into_iter().zip(1..) {
            outcomes.push(match other.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                // The system has no thread to give: then this one does it.
                Err(_) => piece(at),
            });
        }
        outcomes
    })
}

/// What a merge reads.
struct Source<'v, S: Storage> {
    inputs: &'v Inputs<S>,
    values: &'v ValueFiles<S>,
    /// Files of values that are to be emptied, by number.
    emptied: &'v [FileNumber],
}

impl<S: Storage> Source<'_, S> {
    /// Hands an entry on, its value if the file in which that lies is to be emptied.
    fn hand_on(
        &self,
        (key, kind, value): (&[u8], Kind, &[u8]),
        output: &mut Output<'_, S>,
    ) -> Result<()> {
        let (expires_ms, pointer) = match kind {
            Kind::Pointer => (None, value),
            Kind::PointerExpiring => match deadline::split(value) {
                Some((expires_ms, pointer)) => (Some(expires_ms), pointer),
                None => return output.add(key, kind, value),
            },
            _ => return output.add(key, kind, value),
        };
        let is_emptied = |pointer: Pointer| self.emptied.binary_search(&pointer.file).is_ok();
        if !Pointer::decode(pointer).is_some_and(is_emptied) {
            return output.add(key, kind, value);
        }
        self.values.read(key, pointer, |value| output.relocate(key, expires_ms, value))?
    }
}

/// Merges the keys from `from` up to, but without `to`. Tells whether it came to the end: the closing of the store ends it early.
fn merge_range<S: Storage>(
    core: &Core<S>,
    source: &Source<'_, S>,
    task: &Task,
    (from, to): (&[u8], Option<&[u8]>),
    output: &mut Output<'_, S>,
) -> Result<bool> {
    let begins_before_end = |meta: &TableMeta| to.is_none_or(|to| &meta.key_min[..] < to);
    let mut sources = Sources::new();
    for table in &source.inputs[0] {
        if !table.meta.ends_before(from) && begins_before_end(&table.meta) {
            let deleted = table.deletes_ranges().then(|| Deleted::Table(table.ranges()));
            let cursor = table::Cursor::seek(table, from, Direction::Forward, Purpose::Compaction)?;
            sources.push(Cursor::Table(cursor), deleted);
        }
    }
    for tables in &source.inputs[1..] {
        let deletes = tables.iter().any(|table| table.deletes_ranges());
        let cursor = LevelCursor::seek(tables, from, Direction::Forward, Purpose::Compaction)?;
        sources.push(Cursor::Level(cursor), deletes.then_some(Deleted::Level(tables)));
    }
    let mut merge = Merge::new(sources.cursors()?, Direction::Forward);
    while let Some(entry @ (key, kind, value)) = merge.current()
        && to.is_none_or(|to| key < to)
    {
        if !deadline::is_gone(kind, value, task.now_ms) {
            source.hand_on(entry, output)?;
        } else if !task.drops_deletions {
            output.add(key, Kind::Delete, &[])?;
        }
        merge.advance()?;
        if core.stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
    }
    output.end()?;
    Ok(true)
}
