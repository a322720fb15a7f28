//! Checkpoints and backups: a second store with what the first one held at one moment.
//!
//! 1. Between two writes, the tree is taken as it is, with the length of its newest log. Its tables and memtables stay as long as they are held, whatever flushes and compactions do.
//! 2. The tables and the files of values are linked or copied. The logs are copied up to these lengths, and each copy is read back: every frame in it is whole.
//! 3. The new store's manifest, which makes it a store, is written last. It names the logs as closed, so that a byte that is missing later is noticed. A backup that is cut short is
//!    thus no store, and is refused as such.

use std::path::Path;
use std::sync::Arc;

use super::Lsm;
use super::files::{FileNumber, StoreFile};
use super::manifest::{Manifest, State, ValueFileState};
use super::memtable::Memtable;
use super::stats::count;
use super::store::Core;
use super::value_log::Usage;
use super::version::Tree;
use crate::Result;
use crate::backup::{self, BackupReport, How};
use crate::log::{Expected, replay};
use crate::storage::{File, Storage};

impl<S: Storage> Lsm<S> {
    /// Makes a second store in `to`, which must be empty or missing, and on the same file system: hard links to the tables and the value log, which from then on both stores have in common until either
    /// compacts them away, and copies of the logs, of the size of a memtable or three.
    /// It holds what was acknowledged before the call, as it is: tables are not verified ([`super::verify()`] does that). Reads, writes, flushes and compactions go on.
    ///
    /// # Errors
    /// [`crate::Error::NotEmpty`]. After any other error there may be files in `to`, which are no store.
    pub fn checkpoint(&self, to: impl AsRef<Path>) -> Result<BackupReport> {
        self.core.back_up(to.as_ref(), How::Link)
    }

    /// As [`Lsm::checkpoint`], with copies of all files: `to` may be on another file system, and shares nothing.
    ///
    /// # Errors
    /// As [`Lsm::checkpoint`].
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<BackupReport> {
        self.core.back_up(to.as_ref(), How::Copy)
    }
}

fn value_file(Usage { number, bytes, live_bytes }: Usage) -> (FileNumber, ValueFileState) {
    (number, ValueFileState { bytes, live_bytes })
}

/// A log at one moment.
struct Log<S: Storage> {
    memtable: Arc<Memtable<S::File>>,
    bytes: u64,
}

impl<S: Storage> Core<S> {
    fn back_up(&self, to: &Path, how: How) -> Result<BackupReport> {
        let (tree, active_bytes, next_sequence) = self.moment();
        let next_number = self.next_number();
        backup::claim(&self.storage, to)?;
        let waiting = tree.waiting.iter().rev().map(|memtable| (memtable, memtable.log_bytes()));
        let logs: Vec<Log<S>> = waiting
            .chain([(&tree.active, active_bytes)])
            .map(|(memtable, bytes)| Log { memtable: Arc::clone(memtable), bytes })
            .filter(|log| log.memtable.first_sequence < next_sequence)
            .collect();
        let report = self.bring_over(to, how, &tree, &logs)?;
        self.storage.sync_dir(to)?;
        count(&self.stats.fsyncs, 1);
        let number = next_number;
        let sequence = logs.first().map_or(next_sequence, |log| log.memtable.first_sequence);
        let state = State {
            next_number: number + 1,
            logs_from: logs.first().map_or(number, |log| log.memtable.log),
            sequence,
            levels: tree.version.metas().map(|metas| metas.into_iter().cloned().collect()),
            closed_logs: logs.iter().map(|log| (log.memtable.log, log.bytes)).collect(),
            value_files: tree.version.values.usage().map(value_file).collect(),
        };
        Manifest::create(self.storage.clone(), to, Arc::clone(&self.stats), number, state)?;
        Ok(report)
    }

    fn bring_over(
        &self,
        to: &Path,
        how: How,
        tree: &Tree<S>,
        logs: &[Log<S>],
    ) -> Result<BackupReport> {
        let mut report = BackupReport::default();
        let tables = tree.version.levels.iter().flatten();
        let tables = tables.map(|table| (StoreFile::Table(table.meta.number), table.file()));
        let values = tree.version.values.iter();
        let values = values.map(|values| (StoreFile::Values(values.number), values.file()));
        for (name, file) in tables.chain(values) {
            match how {
                How::Link => self.storage.link(&name.path(&self.dir), &name.path(to))?,
                How::Copy => drop(self.copy(file, &name.path(to), file.len())?),
            }
            report.files += 1;
            report.bytes += file.len();
        }
        for Log { memtable, bytes } in logs {
            let number = memtable.log;
            let path = StoreFile::Log(number).path(to);
            let copy = self.copy(memtable.trusted()?.file(), &path, *bytes)?;
            replay(&copy, number, 0, Expected::Exactly(*bytes), |_, _| Ok(()))?;
            report.files += 1;
            report.bytes += bytes;
        }
        Ok(report)
    }

    /// Copies the first `len` bytes of a file, and syncs the copy.
    fn copy(&self, source: &S::File, to: &Path, len: u64) -> Result<S::File> {
        let copy = backup::copy(&self.storage, source, to, len)?;
        copy.sync()?;
        count(&self.stats.fsyncs, 1);
        Ok(copy)
    }
}
