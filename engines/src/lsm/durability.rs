//! Making writes, and the names of files, durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::memtable::Memtable;
use super::stats::count;
use super::store::Core;
use super::version::Tree;
use crate::storage::{File, Storage};
use crate::{Error, Result};

impl<S: Storage> Core<S> {
    /// Makes everything that was acknowledged so far durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.store_found()?;
        let ticket = self.writer.lock().memtable.next_sequence();
        // Recovered writes, and the names of logs, may need a sync even if no ticket has been given out since.
        if ticket == 0 {
            return self.fatal(self.sync_logs().map(|_| ()));
        }
        self.wait_durable(ticket)
    }

    /// Makes durable what was found at open, by writing it to tables. To sync those logs would prove nothing: if a sync of the process before has failed, the next one answers with
    /// success for pages, and for names, that are on no disk. Costs a flush for each log, or waits for them, once; on a full device it fails, and may be tried again.
    #[inline]
    pub(super) fn store_found(&self) -> Result<()> {
        if self.found.load(Ordering::Relaxed) { self.flush_found() } else { Ok(()) }
    }

    #[cold]
    fn flush_found(&self) -> Result<()> {
        let is_found = |memtable: &Arc<Memtable<_>>| memtable.log < self.first_log;
        while self.tree.load().waiting.last().is_some_and(is_found) {
            self.flush_oldest()?;
        }
        self.found.store(false, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn wait_durable(&self, ticket: u64) -> Result<()> {
        self.fatal(self.commit.wait(ticket, || self.sync_logs()))
    }

    /// Syncs all logs, older ones first, and returns how many writes since the beginning of the store are durable now. What was found at open must be stored already.
    pub(super) fn sync_logs(&self) -> Result<u64> {
        let (tree, memtable, log_bytes, covered) = {
            let writer = self.writer.lock();
            let covered = writer.memtable.next_sequence();
            (self.tree.load_full(), Arc::clone(&writer.memtable), writer.log.len(), covered)
        };
        self.sync_logs_of(&tree, &memtable, log_bytes, |error| self.distrust_logs(error))?;
        Ok(covered)
    }

    /// Syncs all logs, of which the newest one, that of `active`, has `log_bytes`, and tells `failed` which sync of one has failed.
    pub(super) fn sync_logs_of(
        &self,
        tree: &Tree<S>,
        active: &Arc<Memtable<S::File>>,
        log_bytes: u64,
        failed: impl Fn(&Error),
    ) -> Result<()> {
        self.sync_names()?;
        let waiting = tree.waiting.iter().rev().map(|memtable| (memtable, memtable.log_bytes()));
        for (memtable, log_bytes) in waiting.chain([(active, log_bytes)]) {
            if memtable.synced_bytes() < log_bytes {
                memtable.file().sync().inspect_err(&failed)?;
                memtable.set_synced(log_bytes);
                count(&self.stats.fsyncs, 1);
            }
        }
        Ok(())
    }

    /// The sync of a log has failed: what its pages show from now on may not be what was written. Lets copies be read that have been verified.
    #[cold]
    fn distrust_logs(&self, error: &Error) {
        self.poison(error);
        // Who is writing comes to the end of it; nobody else begins.
        drop(self.writer.lock());
        self.distrust_unsynced();
    }

    pub(super) fn distrust_unsynced(&self) {
        let tree = self.tree.load();
        for memtable in tree.waiting.iter().chain([&tree.active]) {
            if memtable.synced_bytes() < memtable.log_bytes() {
                memtable.distrust(&self.storage);
            }
        }
    }

    /// Notes that the name of a new file is not durable.
    pub(crate) fn name_created(&self) {
        self.names_created.fetch_add(1, Ordering::Release);
    }

    /// Makes the names of all files durable that were created before the call.
    pub(crate) fn sync_names(&self) -> Result<()> {
        let mut synced = self.names_synced.lock();
        let created = self.names_created.load(Ordering::Acquire);
        if *synced < created {
            self.storage.sync_dir(&self.dir)?;
            count(&self.stats.fsyncs, 1);
            *synced = created;
        }
        Ok(())
    }
}
