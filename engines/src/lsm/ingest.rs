//! Taking tables into the store that were written outside of it.
//!
//! 1. Each file is read from end to end: nothing damaged, and no table of some store, comes in. Files whose keys overlap are refused, as nobody says which of them is younger.
//! 2. Each gets a name of the store's, by a link or else a copy; content and names are made durable.
//! 3. The memtables that have keys between the tables' bounds are flushed: a table is older than any memtable. Then, with the writer's lock, so that nothing comes in between, the tables get the sequence number of a write of their own, which
//!    does nothing, and is synced: so they are younger than all that was written before, in level 0 as well, and no later write can have the same number.
//! 4. Each table goes as deep as it can without passing by anything that has keys between its bounds, or is being compacted there. One edit of the manifest makes all of them known.
//!
//! A crash before that edit leaves files that no manifest names, which the next open removes. Snapshots keep the tree of their moment, and see nothing of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Lsm;
use super::compaction::task::overlapping;
use super::files::{FileNumber, StoreFile};
use super::manifest::Edit;
use super::options::Style;
use super::stats::count;
use super::store::Core;
use super::table::{Table, TableMeta};
use super::table_file::{open_outside, verify_table};
use super::version::{LEVELS, Version};
use crate::backup;
use crate::storage::{File, Storage};
use crate::{Error, Result};

/// What an ingest has taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngestReport {
    /// Tables.
    pub tables: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that were copied, as they could not be linked.
    pub copied: u64,
    /// The level that each of them went into, in the order of the paths.
    pub levels: Vec<usize>,
}

/// A file that is to be taken in.
struct Arrival<S: Storage> {
    path: PathBuf,
    /// As it says itself.
    table: Arc<Table<S>>,
    /// Its number in the store; 0 as long as it has none.
    number: FileNumber,
}

impl<S: Storage> Lsm<S> {
    /// Takes in tables that [`TableWriter`](super::TableWriter) has written, all at once: what they hold is written by one write, younger than all before, and neither the log nor a memtable sees any of it. Afterwards it is durable, in whichever
    /// class.
    ///
    /// The files stay where they are. On the same file system the store links to them, so that they must not be written to any more; elsewhere it copies them.
    ///
    /// Costs a read of the files, and where memtables have keys between a table's bounds, a flush of these. Writers wait for the rest of that flush, and for a sync of the log and one of the manifest; readers wait for nothing.
    ///
    /// # Errors
    /// - [`Error::Corrupt`] if a file is damaged, or is no table; [`Error::NotOutside`] if it is one of a store.
    /// - [`Error::Overlap`] if two of them have keys between each other's bounds: they can be taken in one after the other.
    /// - Those of writing; on a full device nothing has happened.
    pub fn ingest<P: AsRef<Path>>(
        &self,
        paths: impl IntoIterator<Item = P>,
    ) -> Result<IngestReport> {
        let paths: Vec<PathBuf> = paths.into_iter().map(|path| path.as_ref().to_owned()).collect();
        self.core.ingest(&paths)
    }
}

impl<S: Storage> Core<S> {
    fn ingest(&self, paths: &[PathBuf]) -> Result<IngestReport> {
        self.check_poison()?;
        let mut arrivals = Vec::new();
        for path in paths {
            arrivals.push(self.examine(path)?);
        }
        refuse_overlap(&arrivals)?;
        if arrivals.is_empty() {
            return Ok(IngestReport::default());
        }
        let mut report = IngestReport::default();
        let brought = self.bring_in(&mut arrivals, &mut report);
        let installed = brought.and_then(|()| self.install(&arrivals));
        match installed {
            Ok(levels) => Ok(IngestReport { levels, ..report }),
            Err(error) => {
                // If the store is poisoned, the manifest may or may not name them; the next open knows.
                if self.check_poison().is_ok() {
                    for arrival in arrivals.iter().filter(|arrival| arrival.number > 0) {
                        let _ = self.storage.remove(&self.path_of(arrival.number));
                    }
                }
                Err(error)
            }
        }
    }

    fn path_of(&self, number: FileNumber) -> PathBuf {
        StoreFile::Table(number).path(&self.dir)
    }

    /// Reads every byte of a file.
    fn examine(&self, path: &Path) -> Result<Arrival<S>> {
        let table = open_outside(&self.storage, path)?;
        verify_table(&table)?;
        Ok(Arrival { path: path.to_owned(), table, number: 0 })
    }

    /// Gives the files names in the store, durably.
    fn bring_in(&self, arrivals: &mut [Arrival<S>], report: &mut IngestReport) -> Result<()> {
        for arrival in arrivals.iter_mut() {
            arrival.number = self.take_number();
            let to = self.path_of(arrival.number);
            if self.storage.link(&arrival.path, &to).is_err() {
                report.copied += 1;
                backup::copy(
                    &self.storage,
                    arrival.table.file(),
                    &to,
                    arrival.table.meta.file_bytes,
                )?;
            }
            self.name_created();
            self.storage.open(&to)?.sync()?;
            count(&self.stats.fsyncs, 1);
            report.tables += 1;
            report.bytes += arrival.table.meta.file_bytes;
        }
        self.sync_names()
    }

    /// Makes the tables known, and returns the level of each.
    fn install(&self, arrivals: &[Arrival<S>]) -> Result<Vec<usize>> {
        // Mostly this leaves nothing to be flushed while writers wait.
        if self.memtables_overlap(arrivals)? {
            self.flush()?;
        }
        let mut writer = self.lock_writer();
        if self.memtables_overlap(arrivals)? {
            self.flush_with(&mut writer)?;
        }
        let sequence = self.take_sequence(&mut writer)?;
        let opened = arrivals.iter().map(|arrival| self.open_arrival(arrival, sequence));
        let tables = opened.collect::<Result<Vec<_>>>()?;
        // Nothing is begun to be compacted meanwhile.
        self.while_none_begins(|running| {
            let version = Arc::clone(&self.tree.load().version);
            let is_busy = |meta: &TableMeta| {
                let overlap = |low: &[u8], high: &[u8]| meta.overlaps(low, high);
                running.iter().any(|task| overlap(&task.low, &task.high))
            };
            let level = |table: &Arc<Table<S>>| match self.options.style {
                Style::Fifo(_) => 0,
                _ if is_busy(&table.meta) => 0,
                _ => deepest_free(&version, &table.meta),
            };
            let levels: Vec<usize> = tables.iter().map(level).collect();
            let placed = || levels.iter().copied().zip(&tables);
            let added = placed().map(|(level, table)| (level, table.meta.clone())).collect();
            let next_number = Some(self.next_number());
            self.change_manifest(&Edit { next_number, added, ..Edit::default() })?;
            self.change_tree(|tree| {
                let added = placed().map(|(level, table)| (level, Arc::clone(table)));
                tree.version = Arc::new(tree.version.with(&[], added, &[]));
            });
            Ok(levels)
        })
    }

    fn open_arrival(&self, arrival: &Arrival<S>, sequence: u64) -> Result<Arc<Table<S>>> {
        let meta = TableMeta {
            number: arrival.number,
            sequence_min: sequence,
            sequence_max: sequence,
            ..arrival.table.meta.clone()
        };
        let file = self.storage.open(&self.path_of(arrival.number))?;
        Table::open(self.storage.clone(), file, meta, Arc::clone(&self.reading))
    }

    /// Whether a memtable has keys, or deletes some, between the bounds of any of the tables.
    fn memtables_overlap(&self, arrivals: &[Arrival<S>]) -> Result<bool> {
        let tree = self.tree.load();
        for memtable in tree.waiting.iter().chain([&tree.active]) {
            for arrival in arrivals {
                let meta = &arrival.table.meta;
                if memtable.has_between(&meta.key_min, &meta.key_max)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// The deepest level that a table can go into without passing by what it overlaps.
fn deepest_free<S: Storage>(version: &Version<S>, meta: &TableMeta) -> usize {
    let levels = version.metas();
    let is_taken = |level: usize| match level {
        0 => levels[0].iter().any(|table| table.overlaps(&meta.key_min, &meta.key_max)),
        _ => !overlapping(&levels[level], &meta.key_min, &meta.key_max).is_empty(),
    };
    let taken = (0..LEVELS).find(|level| is_taken(*level)).unwrap_or(LEVELS);
    // Level 0 takes anything.
    taken.saturating_sub(1)
}

/// Refuses files that have keys between each other's bounds.
fn refuse_overlap<S: Storage>(arrivals: &[Arrival<S>]) -> Result<()> {
    let mut in_order: Vec<_> = arrivals.iter().collect();
    in_order.sort_by(|a, b| a.table.meta.key_min.cmp(&b.table.meta.key_min));
    let overlap = in_order
        .windows(2)
        .find(|pair| !pair[0].table.meta.ends_before(&pair[1].table.meta.key_min));
    match overlap {
        Some(pair) => {
            let (first, second) = (pair[0].path.clone(), pair[1].path.clone());
            Err(Error::Overlap { first, second })
        }
        None => Ok(()),
    }
}
