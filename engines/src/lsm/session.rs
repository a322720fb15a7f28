//! The store's handle, its own interface, and the one that all engines share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use super::background;
use super::compaction::for_scans::SHARE_NS;
use super::options::{Background, Compression, Options, WriteOptions, capabilities};
use super::range::KeyRange;
use super::recovery::{self, Recovery};
use super::scan::scan;
use super::stats::{Probes, ReadStats};
use super::store::Core;
use super::value_log::Usage;
use super::wal::Kind;
use crate::storage::{Disk, Storage};
use crate::{Capabilities, Direction, Engine, Level, Metrics, Result, Session, Visit, WriteBatch};

/// An open store. Share it among threads by reference.
///
/// ```
/// use kvdyno_engines::lsm::{Lsm, Options};
/// use kvdyno_engines::storage::Disk;
/// use kvdyno_engines::{Direction, Result};
/// use std::ops::ControlFlow;
///
/// # fn main() -> Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let store = Lsm::open(Disk, dir.path(), Options::default())?;
/// store.put(b"sensor/7/0001", b"21.5")?;
/// store.put(b"sensor/7/0002", b"21.7")?;
///
/// let mut value = Vec::new();
/// assert!(store.get(b"sensor/7/0002", &mut value)?);
/// assert_eq!(value, b"21.7");
///
/// let mut readings = 0;
/// store.scan(b"sensor/7/", Direction::Forward, usize::MAX, &mut |key, _value| {
///     if !key.starts_with(b"sensor/7/") {
///         return ControlFlow::Break(());
///     }
///     readings += 1;
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(readings, 2);
/// store.close()
/// # }
/// ```
pub struct Lsm<S: Storage = Disk> {
    pub(crate) core: Arc<Core<S>>,
    threads: Vec<JoinHandle<()>>,
    capabilities: Capabilities,
    recovery: Recovery,
}

impl<S: Storage> Lsm<S> {
    /// Opens the store in `dir`, or makes one if the folder is empty or not there.
    ///
    /// # Errors
    /// [`crate::Error::NotAStore`] if the folder holds other things, [`crate::Error::Locked`] if the store is open elsewhere,
    /// [`crate::Error::Corrupt`] if what had been synced is damaged, [`crate::Error::InvalidOption`].
    pub fn open(storage: S, dir: impl Into<PathBuf>, options: Options) -> Result<Self> {
        let dir: PathBuf = dir.into();
        let background = options.background;
        let (core, recovery) = recovery::open(storage, &dir, options)?;
        let core = Arc::new(core);
        let mut store = Self { core, threads: Vec::new(), capabilities: capabilities(), recovery };
        if background == Background::Threads {
            background::start(&store.core, &mut store.threads)?;
        }
        Ok(store)
    }

    /// What opening the store found.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The folder of the store.
    pub fn dir(&self) -> &Path {
        &self.core.dir
    }

    /// Reads the value of `key` into `value`, replacing what was there, and tells whether the key exists.
    pub fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let now_ms = || self.core.options.clock.now_ms();
        let mut probes = Probes::default();
        let found = self.core.tree.load().get(key, value, &mut probes, now_ms);
        self.core.stats.reads.add(probes);
        found
    }

    /// Stores `value` under `key`.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put_with(key, value, WriteOptions::default())
    }

    /// As [`Lsm::put`], done as `options` say.
    pub fn put_with(&self, key: &[u8], value: &[u8], options: WriteOptions) -> Result<()> {
        self.core.write_one(Kind::Put, key, value, options)
    }

    /// Stores a value that is gone after `ttl`, measured in milliseconds, unless the key is written again: see [values that expire](super#values-that-expire).
    pub fn put_expiring(&self, key: &[u8], value: &[u8], ttl: Duration) -> Result<()> {
        self.put_expiring_with(key, value, ttl, WriteOptions::default())
    }

    /// As [`Lsm::put_expiring`], done as `options` say.
    pub fn put_expiring_with(
        &self,
        key: &[u8],
        value: &[u8],
        ttl: Duration,
        options: WriteOptions,
    ) -> Result<()> {
        self.core.put_expiring(key, value, ttl, options)
    }

    /// Removes `key`; removing what is not there is no error.
    pub fn delete(&self, key: &[u8]) -> Result<()> {
        self.delete_with(key, WriteOptions::default())
    }

    /// As [`Lsm::delete`], done as `options` say.
    pub fn delete_with(&self, key: &[u8], options: WriteOptions) -> Result<()> {
        self.core.write_one(Kind::Delete, key, &[], options)
    }

    /// Removes all keys of a range, in one write whose cost does not depend on how many there are: what is covered is passed over by readers, and dropped by compactions. A range
    /// that holds nothing is no error; one without an end ends behind the greatest key of the store.
    ///
    /// Costs memory for the range until its memtable is flushed, beside a look at each of the tree's parts if the range has no end. Gets look among the ranges of each part of the tree that has any, in
    /// O(log n); scans jump over what is covered in tables.
    ///
    /// # Errors
    /// [`crate::Error::KeyTooLong`] if a bound is longer than a key may be; those of writing.
    ///
    /// ```
    /// # use kvdyno_engines::lsm::{KeyRange, Lsm, Options};
    /// # fn main() -> kvdyno_engines::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Lsm::open(kvdyno_engines::storage::Disk, dir.path(), Options::default())?;
    /// for key in [b"a/1", b"a/2", b"b/1", b"b/2"] {
    ///     store.put(key, b"")?;
    /// }
    /// store.delete_range("a/2".."b/2")?;
    /// assert_eq!(store.iter(..).count(), 2);
    /// store.delete_range(KeyRange::prefix("b/"))?;
    /// assert_eq!(store.iter(..).count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_range(&self, range: impl Into<KeyRange>) -> Result<()> {
        self.delete_range_with(range, WriteOptions::default())
    }

    /// As [`Lsm::delete_range`], done as `options` say.
    ///
    /// # Errors
    /// As [`Lsm::delete_range`].
    pub fn delete_range_with(
        &self,
        range: impl Into<KeyRange>,
        options: WriteOptions,
    ) -> Result<()> {
        self.core.delete_range(&range.into(), options)
    }

    /// Applies a batch: readers, and a recovery, see all of it or nothing.
    pub fn write(&self, batch: &WriteBatch) -> Result<()> {
        self.write_with(batch, WriteOptions::default())
    }

    /// As [`Lsm::write`], done as `options` say.
    pub fn write_with(&self, batch: &WriteBatch, options: WriteOptions) -> Result<()> {
        self.core.write_batch(batch, options)
    }

    /// Visits at most `limit` keys, as [`Session::scan`] does.
    pub fn scan(
        &self,
        start: &[u8],
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<usize> {
        let tree = self.core.tree.load();
        let now_ms = || self.core.options.clock.now_ms();
        let scanned = scan(&tree, tree.active.view(), start, direction, limit, now_ms, visit)?;
        self.core.add_scan_cost(scanned.cost_ns);
        Ok(scanned.visited)
    }

    /// Makes everything acknowledged so far survive power loss.
    pub fn sync(&self) -> Result<()> {
        self.core.sync()
    }

    /// Writes all memtables, the active one included, to tables.
    pub fn flush(&self) -> Result<()> {
        self.core.flush()
    }

    /// Flushes, and merges all tables into a single level, without deletions, overwritten and expired values: [`Self::compact_range`] without bounds.
    pub fn compact(&self) -> Result<()> {
        self.compact_range(None, None)
    }

    /// Flushes, and merges all tables that have keys from `low` to `high`, both included, into a single level, so that no overwritten or expired value and no deletion is left there; `None` is no
    /// bound. What these tables overlap goes with them. Waits until compactions that are under way have ended, and none begins meanwhile: reads and writes go on, but where there
    /// is much to merge, level 0 fills up, and writers are slowed down and in the end wait. In the style [`Fifo`](super::Fifo), in which nothing is merged, it only flushes.
    ///
    /// # Errors
    /// Those of writing: on a full device everything stays as it is.
    pub fn compact_range(&self, low: Option<&[u8]>, high: Option<&[u8]>) -> Result<()> {
        self.core.flush()?;
        self.core.compact_between(low, high)
    }

    /// Waits until the flushes and compactions that are due are done, and helps with them. The active memtable is not due until it is
    /// full: it stays where it is.
    pub fn settle(&self) -> Result<()> {
        self.core.work()
    }

    /// Figures since the store was opened.
    pub fn metrics(&self) -> Metrics {
        let (stats, tree) = (&self.core.stats, self.core.tree.load());
        let probes = stats.probes();
        let levels = tree.version.levels.iter().map(|tables| Level {
            files: tables.len() as u64,
            bytes: tables.iter().map(|table| table.meta.file_bytes).sum(),
        });
        let memtables = || tree.waiting.iter().chain([&tree.active]);
        let memory: u64 = memtables().map(|memtable| memtable.memory_bytes()).sum();
        let logs: u64 = memtables().map(|memtable| memtable.log_bytes()).sum();
        let keys: u64 = memtables().map(|memtable| memtable.entries()).sum();
        let values = || tree.version.values.usage();
        let budget = &self.core.reading.budget;
        let (charged, cache) = budget.figures();
        let tables = tree.version.levels.iter().flatten();
        let tables: u64 = tables.map(|table| table.memory_bytes()).sum();
        let Options { compression, compression_last, .. } = self.core.options;
        let by_calls = self.core.reading.is_by_calls();
        let is_compressed = [compression, compression_last] != [Compression::None; 2];
        // Tables may have been compressed under other options.
        let is_cached = by_calls || is_compressed || cache.misses > 0;
        let (read_calls, bytes_read) = self.core.reading.calls();
        let counters = [
            ("cache_bytes", cache.bytes),
            ("cache_blocks", cache.blocks),
            ("memory_bytes", memory + logs + tables + cache.bytes),
            ("memory_charged_bytes", charged),
            ("table_memory_bytes", tables),
            ("memtable_bytes", memory),
            ("memtable_log_bytes", logs),
            ("memtable_keys", keys),
            ("memtables_waiting", tree.waiting.len() as u64),
            ("snapshots_alive", stats.snapshots_alive.load(Ordering::Relaxed)),
            ("compaction_debt_bytes", self.core.debt_bytes(&tree.version)),
            ("value_log_files", values().count() as u64),
            ("value_log_bytes", values().map(|file| file.bytes).sum()),
            ("value_log_dead_bytes", values().map(Usage::dead_bytes).sum()),
            ("value_log_relocated_bytes", stats.relocated_bytes.load(Ordering::Relaxed)),
        ];
        Metrics {
            bytes_written: Some(stats.bytes_written()),
            bytes_read: by_calls.then_some(bytes_read),
            read_calls: by_calls.then_some(read_calls),
            fsyncs: Some(stats.fsyncs.load(Ordering::Relaxed)),
            cache_hits: is_cached.then_some(cache.hits),
            cache_misses: is_cached.then_some(cache.misses),
            filter_probes: Some(probes.filters),
            filter_false_positives: Some(probes.in_vain),
            levels: levels.collect(),
            stalls: Some(stats.stalls()),
            counters: counters.map(|(name, value)| (name.to_owned(), value as f64)).into(),
            events: stats.events(),
            ..Metrics::default()
        }
    }

    /// Closes the store: ends background work, makes everything durable, and writes down that the logs are whole. Memtables stay in
    /// their logs, and the next open replays them.
    pub fn close(mut self) -> Result<()> {
        self.stop();
        self.core.close()
    }

    /// Ends background work; a compaction under way is given up.
    fn stop(&mut self) {
        self.core.stop.store(true, Ordering::Release);
        self.core.signals.notify();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

impl<S: Storage> Drop for Lsm<S> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<S: Storage> Engine for Lsm<S> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        let stats = self.core.stats.begin_session();
        Ok(Box::new(LsmSession { core: &self.core, stats, value: Vec::new(), scan_cost_ns: 0 }))
    }

    fn sync(&self) -> Result<()> {
        Self::sync(self)
    }

    fn settle(&self) -> Result<()> {
        Self::settle(self)
    }

    fn metrics(&self) -> Metrics {
        Self::metrics(self)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Self::close(*self)
    }
}

/// A thread's handle.
struct LsmSession<'e, S: Storage> {
    core: &'e Core<S>,
    stats: Arc<ReadStats>,
    /// The value that a multi-get shows.
    value: Vec<u8>,
    /// What scans have paid, as far as the store does not know of it yet.
    scan_cost_ns: u64,
}

impl<S: Storage> Drop for LsmSession<'_, S> {
    fn drop(&mut self) {
        self.core.add_scan_cost(self.scan_cost_ns);
        self.core.stats.end_session(&self.stats);
    }
}

impl<S: Storage> Session for LsmSession<'_, S> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let now_ms = || self.core.options.clock.now_ms();
        let mut probes = Probes::default();
        let found = self.core.tree.load().get(key, value, &mut probes, now_ms);
        self.stats.add_alone(probes);
        found
    }

    fn multi_get(
        &mut self,
        keys: &[&[u8]],
        visit: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let (tree, keys) = (self.core.tree.load(), keys.iter().copied());
        let (active, now_ms) = (tree.active.view(), || self.core.options.clock.now_ms());
        let mut probes = Probes::default();
        let read = tree.multi_get(&active, keys, &mut self.value, &mut probes, now_ms, visit);
        self.stats.add_alone(probes);
        read
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.core.write_one(Kind::Put, key, value, WriteOptions::default())
    }

    fn put_expiring(&mut self, key: &[u8], value: &[u8], ttl: Duration) -> Result<()> {
        self.core.put_expiring(key, value, ttl, WriteOptions::default())
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.core.write_one(Kind::Delete, key, &[], WriteOptions::default())
    }

    fn delete_range(&mut self, start: &[u8], end: &[u8]) -> Result<()> {
        self.core.delete_between(start, end)
    }

    fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        self.core.write_batch(batch, WriteOptions::default())
    }

    fn scan(
        &mut self,
        start: &[u8],
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<usize> {
        let tree = self.core.tree.load();
        let now_ms = || self.core.options.clock.now_ms();
        let scanned = scan(&tree, tree.active.view(), start, direction, limit, now_ms, visit)?;
        self.scan_cost_ns += scanned.cost_ns;
        if self.scan_cost_ns >= SHARE_NS {
            self.core.add_scan_cost(std::mem::take(&mut self.scan_cost_ns));
        }
        Ok(scanned.visited)
    }
}
