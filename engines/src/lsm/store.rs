//! The store: what its parts share. How a write goes through it stands in `writing.rs`.
//!
//! Background work is done by whoever comes: the store's threads, a caller who waits for it in [`Core::work`], or with [`Background::Inline`] the writer. The lock `flushing` sees to it
//! that at most one flush is under way; compactions are on a list, whose lock is held only while one is chosen (`compaction/schedule.rs`).
//!
//! Locks are taken in this order: `writer`, the list of compactions, `flushing`, `manifest`, `tree_changes` or
//! `names_synced`; last of all those within what the store uses: the budget's, and then one of the cache's. Readers take one of the cache's alone, where they need a block that is cached, and nobody does I/O under it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};

use super::compaction::run;
use super::compaction::schedule::{Compactions, Progress};
use super::files::{FileNumber, StoreFile};
use super::manifest::{Edit, Manifest};
use super::memtable::Memtable;
use super::options::{Background, Options};
use super::rate::RateLimit;
use super::retired::Retired;
use super::signals::Signals;
use super::stats::Stats;
use super::table::Reading;
use super::version::Tree;
use super::wal::{self, LogHeader};
use crate::log::{GroupCommit, LogWriter};
use crate::storage::{Access, Appender, File, Storage};
use crate::{Durability, Error, Result};

/// How long background work waits before it tries again on a full device.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(100);

/// What the handle, the sessions and the threads of a store share.
pub(crate) struct Core<S: Storage> {
    pub(crate) storage: S,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) tree: ArcSwap<Tree<S>>,
    pub(crate) retired: Retired<S>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) reading: Arc<Reading>,
    pub(crate) rate: RateLimit,
    /// The store is being closed.
    pub(crate) stop: AtomicBool,
    pub(crate) signals: Signals,
    pub(super) tree_changes: Mutex<()>,
    pub(super) writer: Mutex<Writer<S>>,
    pub(super) manifest: Mutex<Manifest<S>>,
    pub(super) commit: GroupCommit,
    /// Mirrors `commit`, for a look without a lock.
    pub(super) poisoned: AtomicBool,
    next_number: AtomicU32,
    /// Files created so far.
    pub(super) names_created: AtomicU64,
    /// So many of their names are durable. Held while they are made so.
    pub(super) names_synced: Mutex<u64>,
    pub(crate) flushing: Mutex<()>,
    pub(crate) compactions: Compactions,
    /// The first log of this process. Those before it were found at open.
    pub(super) first_log: FileNumber,
    /// Logs were found that nobody vouches for: they may be in the cache alone, under names that are in the cache alone.
    pub(super) found: AtomicBool,
    /// How much writers are slowed down, in thousandths (`back_pressure.rs`).
    pub(super) pressure: AtomicU32,
    /// That part of it for which compactions are the reason.
    pub(super) compaction_pressure: AtomicU32,
    /// So many bytes of the log that is being flushed are in a table.
    pub(super) flushed_bytes: AtomicU64,
    /// What scans have paid since the last compaction that was done for them (`compaction/for_scans.rs`).
    pub(crate) scan_cost_ns: AtomicU64,
    _lock: S::Lock,
}

/// The end of the log, and the memtable above it.
pub(crate) struct Writer<S: Storage> {
    pub(crate) log: LogWriter<S::Appender>,
    pub(crate) memtable: Arc<Memtable<S::File>>,
    /// Payload of a batch.
    pub(super) payload: Vec<u8>,
    /// Bytes written since the last pause.
    pub(super) unpaused_bytes: u64,
    /// Length of the log at which it is looked whether the memtable is full, and how far the flush is.
    pub(super) look_at: u64,
}

impl<S: Storage> Writer<S> {
    pub(crate) fn new(log: LogWriter<S::Appender>, memtable: Arc<Memtable<S::File>>) -> Self {
        Self { log, memtable, payload: Vec::new(), unpaused_bytes: 0, look_at: 0 }
    }
}

/// What recovery hands over.
pub(crate) struct Parts<S: Storage> {
    pub(crate) storage: S,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) lock: S::Lock,
    pub(crate) stats: Arc<Stats>,
    pub(crate) reading: Arc<Reading>,
    pub(crate) tree: Tree<S>,
    pub(crate) writer: Writer<S>,
    pub(crate) manifest: Manifest<S>,
    pub(crate) next_number: FileNumber,
}

impl<S: Storage> Core<S> {
    pub(crate) fn new(parts: Parts<S>) -> Self {
        let unsynced = |memtable: &Arc<Memtable<_>>| memtable.synced_bytes() < memtable.log_bytes();
        let found = parts.tree.waiting.iter().any(unsynced);
        let first_log = parts.writer.memtable.log;
        let rate = RateLimit::new(parts.options.background_bytes_per_s);
        let core = Self {
            storage: parts.storage,
            dir: parts.dir,
            options: parts.options,
            tree: ArcSwap::from_pointee(parts.tree),
            retired: Retired::default(),
            stats: parts.stats,
            reading: parts.reading,
            rate,
            stop: AtomicBool::new(false),
            signals: Signals::default(),
            tree_changes: Mutex::new(()),
            writer: Mutex::new(parts.writer),
            manifest: Mutex::new(parts.manifest),
            commit: GroupCommit::default(),
            poisoned: AtomicBool::new(false),
            next_number: AtomicU32::new(parts.next_number),
            names_created: AtomicU64::new(1),
            names_synced: Mutex::new(0),
            flushing: Mutex::new(()),
            compactions: Compactions::default(),
            first_log,
            found: AtomicBool::new(found),
            pressure: AtomicU32::new(0),
            compaction_pressure: AtomicU32::new(0),
            flushed_bytes: AtomicU64::new(0),
            scan_cost_ns: AtomicU64::new(0),
            _lock: parts.lock,
        };
        core.update_pressure();
        core
    }

    /// A number for a new file.
    pub(crate) fn take_number(&self) -> FileNumber {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn next_number(&self) -> FileNumber {
        self.next_number.load(Ordering::Relaxed)
    }

    /// The tree between two writes; with it the length of the active log, and the sequence number of the next write.
    pub(crate) fn moment(&self) -> (Arc<Tree<S>>, u64, u64) {
        let writer = self.writer.lock();
        (self.tree.load_full(), writer.memtable.log_bytes(), writer.memtable.next_sequence())
    }

    /// Refuses all later writes.
    pub(crate) fn poison(&self, cause: &Error) {
        self.commit.poison(cause);
        self.poisoned.store(true, Ordering::Release);
        self.signals.notify();
    }

    /// Whether writes are refused, and why.
    pub(crate) fn check_poison(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) { self.commit.check() } else { Ok(()) }
    }

    /// Poisons the store after an error that leaves the disk in an unknown state, and passes the error on.
    pub(super) fn fatal<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| {
            if !matches!(error, Error::Poisoned { .. }) {
                self.poison(error);
            }
        })
    }

    /// Makes a change of the tables durable.
    pub(crate) fn change_manifest(&self, edit: &Edit) -> Result<()> {
        self.check_poison()?;
        let mut manifest = self.manifest.lock();
        let next = if manifest.has_room(edit) {
            None
        } else {
            // If there is no room on the device, the old manifest stays, and nothing has happened.
            Some(manifest.create_next(self.take_number(), edit)?)
        };
        self.fatal(manifest.change(edit, next))
    }

    /// Shows a change of the tree to readers.
    pub(crate) fn change_tree(&self, change: impl FnOnce(&mut Tree<S>)) {
        let changes = self.tree_changes.lock();
        let old = self.tree.load_full();
        let mut tree = Tree {
            active: Arc::clone(&old.active),
            waiting: old.waiting.clone(),
            version: Arc::clone(&old.version),
        };
        change(&mut tree);
        self.tree.store(Arc::new(tree));
        // Under the lock, as the last change must have the last word.
        self.update_pressure();
        drop(changes);
        // Without threads there is nobody else who could let go of it.
        if self.options.background == Background::Threads {
            self.retired.add(old);
        }
        self.signals.notify();
    }

    /// Flushes the memtable that has waited longest. Tells whether there was one.
    pub(crate) fn flush_oldest(&self) -> Result<bool> {
        let flushing = self.flushing.lock();
        self.check_poison()?;
        let tree = self.tree.load_full();
        let Some(memtable) = tree.waiting.last() else { return Ok(false) };
        self.unless_full(run::flush(self, memtable))?;
        drop(tree);
        // Writers may wait for its memory.
        self.retired.let_go();
        drop(flushing);
        self.signals.notify();
        Ok(true)
    }

    /// Poisons the store after any failure but that of a full device, which background work survives.
    pub(crate) fn unless_full<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Err(error) if !error.is_disk_full() => self.fatal(Err(error)),
            other => other,
        }
    }

    /// Flushes and compacts until nothing is due and nothing is under way.
    pub(crate) fn work(&self) -> Result<()> {
        loop {
            while self.flush_oldest()? {}
            let seen = self.signals.changes();
            match self.compact_once()? {
                Progress::Worked => {}
                Progress::Waits => self.signals.wait(seen, Duration::from_secs(1)),
                Progress::Idle => {
                    self.retired.let_go();
                    return Ok(());
                }
            }
        }
    }

    /// Freezes the active memtable, if anything is in it, and flushes all.
    pub(crate) fn flush(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        self.freeze(&mut writer)?;
        drop(writer);
        while self.flush_oldest()? {}
        Ok(())
    }

    /// As [`Self::flush`], while nobody writes.
    pub(crate) fn flush_with(&self, writer: &mut Writer<S>) -> Result<()> {
        self.freeze(writer)?;
        while self.flush_oldest()? {}
        Ok(())
    }

    /// Keeps others from writing.
    pub(crate) fn lock_writer(&self) -> MutexGuard<'_, Writer<S>> {
        self.writer.lock()
    }

    /// The same, if nobody is writing.
    pub(crate) fn try_lock_writer(&self) -> Option<MutexGuard<'_, Writer<S>>> {
        self.writer.try_lock()
    }

    /// Writes down, at the very end, that all logs are whole.
    pub(crate) fn close(&self) -> Result<()> {
        self.check_poison()?;
        self.store_found()?;
        self.fatal(self.sync_logs().map(|_| ()))?;
        let tree = self.tree.load();
        let logs = tree.waiting.iter().chain([&tree.active]);
        let logs = logs.filter(|memtable| memtable.writes() > 0);
        let closed = logs.map(|memtable| (memtable.log, memtable.log_bytes())).collect();
        let next_number = Some(self.next_number());
        self.fatal(self.change_manifest(&Edit { next_number, closed, ..Edit::default() }))
    }
}

/// Creates the file of a log, with room for `log_bytes`.
pub(crate) fn create_log<S: Storage>(
    storage: &S,
    dir: &Path,
    number: FileNumber,
    log_bytes: u64,
    durability: Durability,
) -> Result<S::Appender> {
    let appender = storage.create(&StoreFile::Log(number).path(dir), Some(log_bytes))?;
    // A sync stores whole pages, and in class `sync` each write asks for one.
    if durability != Durability::Sync {
        appender.file().advise(Access::Filling);
    }
    Ok(appender)
}

/// Begins a log in its file, with an empty memtable above it.
pub(crate) fn begin_log<A: Appender>(
    appender: A,
    header: &LogHeader,
    log_bytes: u64,
) -> Result<(LogWriter<A>, Memtable<A::File>)> {
    let file = appender.file();
    let log = wal::begin(appender, header)?;
    Ok((log, Memtable::new(header.number, header.sequence, file, log_bytes)))
}
