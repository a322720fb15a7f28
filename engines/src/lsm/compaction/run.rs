//! Writes sorted entries out as tables: flushes and compactions.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::files::StoreFile;
use super::super::manifest::Edit;
use super::super::memtable::{self, Memtable};
use super::super::merge::{Cursor, LevelCursor, Merge};
use super::super::stats::count;
use super::super::store::Core;
use super::super::table::{self, Table, TableBuilder, TableMeta, TableOptions};
use super::super::version::Version;
use super::super::wal::Kind;
use super::picker::Task;
use crate::storage::{File, Storage};
use crate::{Direction, Error, EventKind, Result};

/// Tables that are written and synced, and named by no manifest yet.
type Written<S> = Vec<(<S as Storage>::File, TableMeta)>;

/// Writes tables that follow each other in the order of their keys.
struct Output<'c, S: Storage> {
    core: &'c Core<S>,
    level: usize,
    sequences: (u64, u64),
    /// Length at which a table is ended.
    table_bytes: u64,
    current: Option<TableBuilder<S::Appender>>,
    written: Written<S>,
    /// Every file that was created, to be removed should the work fail.
    created: Vec<StoreFile>,
}

impl<'c, S: Storage> Output<'c, S> {
    fn new(core: &'c Core<S>, level: usize, sequences: (u64, u64), table_bytes: u64) -> Self {
        let (written, created) = (Vec::new(), Vec::new());
        Self { core, level, sequences, table_bytes, current: None, written, created }
    }

    fn add(&mut self, key: &[u8], kind: Kind, value: &[u8]) -> Result<()> {
        let table = self.table()?;
        table.add(key, kind, value)?;
        if table.bytes() >= self.table_bytes {
            self.end_table()?;
        }
        Ok(())
    }

    /// The table that is being written, a new one if need be.
    fn table(&mut self) -> Result<&mut TableBuilder<S::Appender>> {
        if self.current.is_none() {
            let number = self.core.take_number();
            let file = StoreFile::Table(number);
            let appender = self.core.storage.create(&file.path(&self.core.dir), None)?;
            self.created.push(file);
            self.core.name_created();
            let options = TableOptions {
                block_bytes: self.core.options.block_bytes,
                filter_bits_per_key: self.core.options.filter_bits_per_key,
            };
            let (level, sequences) = (self.level as u8, self.sequences);
            self.current = Some(TableBuilder::new(appender, number, level, sequences, options));
        }
        match &mut self.current {
            Some(table) => Ok(table),
            None => unreachable!("it has just been made"),
        }
    }

    fn end_table(&mut self) -> Result<()> {
        if let Some(table) = self.current.take() {
            self.written.push(table.finish()?);
            count(&self.core.stats.fsyncs, 1);
        }
        Ok(())
    }

    /// Ends the last table, and makes the names of all durable.
    fn finish(mut self) -> Result<Written<S>> {
        let finish = |output: &mut Self| {
            output.end_table()?;
            if !output.written.is_empty() {
                output.core.sync_names()?;
            }
            Ok(())
        };
        match finish(&mut self) {
            Ok(()) => Ok(self.written),
            Err(error) => Err(self.abandon(error)),
        }
    }

    /// Removes what was written: on a full device, its room is what is missing.
    fn abandon(self, error: Error) -> Error {
        for file in &self.created {
            let _ = self.core.storage.remove(&file.path(&self.core.dir));
        }
        error
    }
}

/// Opens what was written.
fn open<S: Storage>(core: &Core<S>, written: Written<S>) -> Result<Vec<Arc<Table<S>>>> {
    let open = |(file, meta)| Table::open(core.storage.clone(), file, meta);
    written.into_iter().map(open).collect()
}

/// Makes a change durable, or else lets the tables go that it was to bring.
fn announce<S: Storage>(core: &Core<S>, edit: &Edit, tables: &[Arc<Table<S>>]) -> Result<()> {
    core.change_manifest(edit).inspect_err(|_| {
        // If the store is poisoned, the manifest may or may not name them.
        if core.check_poison().is_ok() {
            for table in tables {
                table.set_obsolete();
            }
        }
    })
}

/// Writes a memtable, which has no writer any more, as a table of level 0, and makes that known.
pub(crate) fn flush<S: Storage>(core: &Core<S>, memtable: &Arc<Memtable<S::File>>) -> Result<()> {
    let start = Instant::now();
    let next = memtable.next_sequence();
    let sequences = (memtable.first_sequence, next.saturating_sub(1));
    let mut output = Output::new(core, 0, sequences, u64::MAX);
    let write = |output: &mut Output<'_, S>| {
        let mut cursor = memtable::Cursor::seek(memtable.view(), &[], Direction::Forward)?;
        while let Some((key, deleted, value)) = cursor.current() {
            output.add(key, if deleted { Kind::Delete } else { Kind::Put }, value)?;
            cursor.advance()?;
        }
        // Pages of the log may have left the cache without having been stored.
        memtable.verify()
    };
    if let Err(error) = write(&mut output) {
        return Err(output.abandon(error));
    }
    let written = output.finish()?;
    let bytes = written.iter().map(|(_, meta)| meta.file_bytes).sum();
    let edit = Edit {
        next_number: Some(core.next_number()),
        flushed: Some((memtable.log + 1, next)),
        added: written.iter().map(|(_, meta)| (0, meta.clone())).collect(),
        ..Edit::default()
    };
    let tables = open(core, written)?;
    announce(core, &edit, &tables)?;
    core.change_tree(|tree| {
        tree.waiting.retain(|waiting| !Arc::ptr_eq(waiting, memtable));
        let added = tables.into_iter().map(|table| (0, table));
        tree.version = Arc::new(tree.version.with(&[], added));
    });
    // Should this fail, the next open removes the log.
    let _ = core.storage.remove(memtable.file().path());
    count(&core.stats.flush_bytes, bytes);
    core.stats.event(EventKind::Flush, start, bytes);
    Ok(())
}

/// Does a compaction, and makes it known. Tells whether it was done to its end: the closing of the store ends it early.
pub(crate) fn compact<S: Storage>(
    core: &Core<S>,
    version: &Version<S>,
    task: &Task,
) -> Result<bool> {
    let start = Instant::now();
    let inputs = task.inputs.each_ref().map(|numbers| {
        numbers.iter().filter_map(|number| version.table(*number).cloned()).collect::<Vec<_>>()
    });
    let removed = inputs.iter().enumerate();
    let removed: Vec<_> = removed
        .flat_map(|(level, tables)| tables.iter().map(move |table| (level, table.meta.number)))
        .collect();
    let (written, tables) = if task.is_move {
        (Vec::new(), inputs.iter().flatten().cloned().collect())
    } else {
        match merge(core, &inputs, task)? {
            Some(written) => {
                let metas: Vec<TableMeta> = written.iter().map(|(_, meta)| meta.clone()).collect();
                (metas, open(core, written)?)
            }
            None => return Ok(false),
        }
    };
    let added = tables.iter().map(|table| (task.output, table.meta.clone())).collect();
    let next_number = Some(core.next_number());
    let written_tables = if task.is_move { &[][..] } else { &tables };
    announce(core, &Edit { next_number, removed, added, ..Edit::default() }, written_tables)?;
    core.change_tree(|tree| {
        let added = tables.iter().map(|table| (task.output, Arc::clone(table)));
        tree.version = Arc::new(tree.version.with(&task.numbers(), added));
    });
    if !task.is_move {
        for table in inputs.iter().flatten() {
            table.set_obsolete();
        }
    }
    let bytes = written.iter().map(|meta| meta.file_bytes).sum();
    count(&core.stats.compaction_bytes, bytes);
    core.stats.event(EventKind::Compaction, start, bytes);
    Ok(true)
}

/// Merges the inputs into new tables. `None` if the store is being closed meanwhile.
fn merge<S: Storage>(
    core: &Core<S>,
    inputs: &[Vec<Arc<Table<S>>>],
    task: &Task,
) -> Result<Option<Written<S>>> {
    let metas = || inputs.iter().flatten().map(|table| &table.meta);
    let sequences = (
        metas().map(|meta| meta.sequence_min).min().unwrap_or(0),
        metas().map(|meta| meta.sequence_max).max().unwrap_or(0),
    );
    let mut output = Output::new(core, task.output, sequences, core.options.table_bytes);
    let write = |output: &mut Output<'_, S>| {
        let mut cursors = Vec::new();
        for table in &inputs[0] {
            cursors.push(Cursor::Table(table::Cursor::seek(table, &[], Direction::Forward)?));
        }
        for tables in &inputs[1..] {
            cursors.push(Cursor::Level(LevelCursor::seek(tables, &[], Direction::Forward)?));
        }
        let mut merge = Merge::new(cursors, Direction::Forward);
        while let Some((key, deleted, value)) = merge.current() {
            if !deleted {
                output.add(key, Kind::Put, value)?;
            } else if !task.drops_deletions {
                output.add(key, Kind::Delete, value)?;
            }
            merge.advance()?;
            if core.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    match write(&mut output) {
        Ok(true) => output.finish().map(Some),
        Ok(false) => {
            let Output { created, .. } = output;
            for file in created {
                core.storage.remove(&file.path(&core.dir))?;
            }
            Ok(None)
        }
        Err(error) => Err(output.abandon(error)),
    }
}
