//! The handle to an open store: the native interface, and [`Engine`] over it.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::background::Workers;
use super::findings::VerifyReport;
use super::iter::{Iter, Moment};
use super::options::{Background, Options};
use super::recovery;
use super::report::{MergeReport, Recovery};
use super::status::{FileInfo, Status, Sums};
use super::store::Store;
use super::verify::verify;
use crate::backup::{BackupReport, How};
use crate::storage::{Disk, Storage};
use crate::{
    BytesWritten, Capabilities, Direction, Engine, Metrics, Result, Session, Visit, WriteBatch,
};

/// An open store. All methods can be called from many threads at once.
///
/// Dropping the handle is safe for what was acknowledged, but costs the next open a recovery; [`Bitcask::close`] does not.
pub struct Bitcask<S: Storage = Disk> {
    // Before the store, so that the threads have ended when the store goes.
    workers: Workers<S>,
    store: Arc<Store<S>>,
    capabilities: Capabilities,
}

impl<S: Storage> Bitcask<S> {
    /// Opens the store in the folder `dir`, or makes one there if the folder is empty or missing.
    ///
    /// # Errors
    /// - [`crate::Error::Locked`] if somebody has it open.
    /// - [`crate::Error::NotAStore`] if the folder holds something else.
    /// - [`crate::Error::Corrupt`] if data that was safely stored is damaged or missing; [`super::salvage`] saves what is whole. What was being written when power was lost is no error: see [`Bitcask::recovery`].
    pub fn open(storage: S, dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        let dir = dir.as_ref();
        let (background, capabilities) = (options.background, options.capabilities());
        let store = Arc::new(recovery::open(storage, dir, options)?);
        let workers = match background {
            Background::Threads => Workers::start(Arc::clone(&store), dir)?,
            Background::Inline => Workers::none(Arc::clone(&store)),
        };
        // There may be work left from the store's earlier life.
        store.sealer.notify();
        store.merger.notify();
        Ok(Self { workers, store, capabilities })
    }

    /// Reads the value of `key` into `value`, replacing what was there, and tells whether the key exists.
    #[inline]
    pub fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self.store.view.read(key, |bytes| value.extend_from_slice(bytes))?;
        Ok(found.is_some())
    }

    /// Calls `visit` with the value of `key` where it lies, without a copy; None if there is no such key.
    #[inline]
    pub fn get_with<R>(&self, key: &[u8], visit: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        self.store.view.read(key, visit)
    }

    /// Whether the key exists. Reads and verifies its record.
    pub fn contains(&self, key: &[u8]) -> Result<bool> {
        self.store.view.read(key, |_| ()).map(|found| found.is_some())
    }

    /// Stores `value` under `key`, replacing any earlier value.
    #[inline]
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.store.put(key, value, None)
    }

    /// Stores a value that is gone after `ttl`, measured in milliseconds.
    pub fn put_expiring(&self, key: &[u8], value: &[u8], ttl: Duration) -> Result<()> {
        self.store.put(key, value, Some(ttl))
    }

    /// Applies writes that survive a crash together or not at all.
    ///
    /// # Errors
    /// [`crate::Error::BatchTooLong`], with nothing written, if they do not fit into one data file. Of a length up to [`Options::segment_bytes`], and up to 16 MiB, they always do.
    pub fn write(&self, batch: &WriteBatch) -> Result<()> {
        self.store.write(batch)
    }

    /// Removes `key`, and tells whether it was there. Removing what is not there writes nothing.
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        self.store.delete(key)
    }

    /// Number of keys. Those whose values have expired count until a merge has dropped them.
    ///
    /// In a store that is larger than memory it reads hints of what was overwritten in the last second or so, as does whatever counts keys or bytes.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All keys and values as they are at this moment, in no order; see [`Iter`]. This cannot fail: an error comes first when the iterator is asked.
    pub fn iter(&self) -> Iter<'_, S> {
        let (moment, error) = Moment::begin(&self.store);
        Iter::over(moment, error)
    }

    /// All keys as they are at this moment, in no order. Reads and verifies every record.
    pub fn keys(&self) -> Result<Vec<Vec<u8>>> {
        self.iter().keys_left(self.store.view.keydir.len())
    }

    /// Visits all keys and values as they are at this moment, in no order and without copying them, until `visit` breaks. `visit` may use the
    /// store, and does not see what it changes. Costs what [`Iter`] costs.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] at the first record that is damaged.
    pub fn fold(&self, visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<()> {
        self.iter().visit_rest(visit)
    }

    /// As [`Bitcask::fold`], for keys alone. Values are read nevertheless: a checksum covers key and value.
    pub fn fold_keys(&self, mut visit: impl FnMut(&[u8]) -> ControlFlow<()>) -> Result<()> {
        self.fold(|key, _| visit(key))
    }

    /// Makes everything acknowledged so far survive power loss.
    pub fn sync(&self) -> Result<()> {
        self.store.sync()
    }

    /// Merges all data files: afterwards there are no stale values and no tombstones but those written meanwhile. Reads and writes go on.
    pub fn merge(&self) -> Result<MergeReport> {
        self.store.merge_all()
    }

    /// Merges these data files, given by their numbers; files that are neighbours in age are merged with each other. A merge that does not begin at the oldest file keeps tombstones.
    ///
    /// # Errors
    /// [`crate::Error::NoSuchFile`] if one of them is not there, [`crate::Error::StillWritten`] if it is not sealed; then nothing is merged.
    pub fn merge_files(&self, ids: &[u32]) -> Result<MergeReport> {
        self.store.merge_files(ids)
    }

    /// Makes a second store in `to`, which must be empty or missing, and on the same file system: hard links to the data files, which from then on both stores have in common until either merges them away.
    /// It holds what was acknowledged before the call, as it is: nothing is verified ([`super::verify`] does that). Reads and writes go on; merges wait. Costs a sync, and no copying.
    pub fn checkpoint(&self, to: impl AsRef<Path>) -> Result<BackupReport> {
        self.store.back_up(to.as_ref(), How::Link)
    }

    /// As [`Bitcask::checkpoint`], with copies of the data files: `to` may be on another file system, and shares nothing.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<BackupReport> {
        self.store.back_up(to.as_ref(), How::Copy)
    }

    /// Does the background work that is due, or waits for it.
    ///
    /// # Errors
    /// Also what had ended background work since the last call.
    pub fn settle(&self) -> Result<()> {
        self.store.settle()
    }

    /// What was found when the store was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.store.recovery
    }

    /// What this store can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The data files, oldest records first.
    pub fn files(&self) -> Vec<FileInfo> {
        self.store.files()
    }

    /// The store at a glance. Takes the locks of all shards of the keydir, one after the other.
    pub fn status(&self) -> Status {
        self.store.status()
    }

    /// Reads every byte of the store while it goes on working, and says what is in it and what is damaged; see [`verify()`](super::verify()). Merges wait until it is through.
    pub fn verify(&self) -> Result<VerifyReport> {
        let _files_stay = self.store.merging.lock();
        let files = &self.store.view.files;
        verify(&files.storage, &files.dir)
    }

    /// Puts of which it is not known yet whose value they have replaced, for tests: whatever else counts, finds out first.
    #[doc(hidden)]
    pub fn presumptions(&self) -> u64 {
        self.store.view.keydir.presumed.len() as u64
    }

    /// Figures since the store was opened. Reads no file: what puts have replaced in a store larger than memory counts as a value that is needed for some seconds, until they have made sure whose it was.
    pub fn metrics(&self) -> Metrics {
        let counters = &self.store.view.files.counters;
        let active_bytes = {
            let writer = self.store.writer.lock();
            writer.active.log.len()
        };
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let bytes_written = BytesWritten {
            log: load(&counters.log_bytes) + active_bytes,
            merge: load(&counters.merge_bytes),
            manifest: load(&counters.manifest_bytes),
            hint: load(&counters.hint_bytes),
            ..BytesWritten::default()
        };
        let mut metrics = Metrics {
            bytes_written: Some(bytes_written),
            fsyncs: Some(counters.fsyncs()),
            stalls: Some(counters.stalls()),
            keydir_bytes: Some(self.store.view.keydir.bytes() as u64),
            keydir_entries: Some(self.store.view.keydir.len() as u64),
            events: counters.events(),
            ..Metrics::default()
        };
        let sums = Sums::of(&self.store.files_as_counted());
        for (name, figure) in [
            ("live_bytes", sums.live_bytes),
            ("tombstone_bytes", sums.tombstone_bytes),
            ("sealed_dead_bytes", sums.sealed_dead_bytes),
            ("segments", sums.files),
            ("snapshots", self.store.view.keydir.snapshots.len() as u64),
            ("snapshot_bytes", self.store.view.keydir.snapshots.bytes() as u64),
        ] {
            metrics.counters.insert(name.to_owned(), figure as f64);
        }
        if self.store.options.ordered_scans {
            metrics.counters.extend(self.store.ordered.figures());
        }
        metrics
    }

    /// Closes the store so that the next open finds it clean.
    pub fn close(self) -> Result<()> {
        let Self { workers, store, .. } = self;
        drop(workers);
        // The threads have ended and sessions borrow the handle: this is the last reference.
        Arc::into_inner(store).map_or(Ok(()), Store::close)
    }
}

impl<'a, S: Storage> IntoIterator for &'a Bitcask<S> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;
    type IntoIter = Iter<'a, S>;

    fn into_iter(self) -> Iter<'a, S> {
        self.iter()
    }
}

impl<S: Storage> Engine for Bitcask<S> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(BitcaskSession { store: &self.store }))
    }

    fn sync(&self) -> Result<()> {
        self.store.sync()
    }

    fn settle(&self) -> Result<()> {
        self.store.settle()
    }

    fn metrics(&self) -> Metrics {
        Bitcask::metrics(self)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Bitcask::close(*self)
    }
}

/// A thread's handle to a [`Bitcask`].
struct BitcaskSession<'a, S: Storage> {
    store: &'a Store<S>,
}

impl<S: Storage> Session for BitcaskSession<'_, S> {
    #[inline]
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self.store.view.read(key, |bytes| value.extend_from_slice(bytes))?;
        Ok(found.is_some())
    }

    #[inline]
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.store.put(key, value, None)
    }

    fn put_expiring(&mut self, key: &[u8], value: &[u8], ttl: Duration) -> Result<()> {
        self.store.put(key, value, Some(ttl))
    }

    fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        self.store.write(batch)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.store.delete(key).map(|_| ())
    }
    fn scan(
        &mut self,
        start: &[u8],
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<usize> {
        self.store.scan(start, direction, limit, visit)
    }
}
