//! The store at one point in time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::approximate::approximate_bytes;
use super::cursor::Cursor;
use super::iter::Iter;
use super::memtable;
use super::range::KeyRange;
use super::scan::scan;
use super::session::Lsm;
use super::stats::{Probes, Stats};
use super::version::Tree;
use super::walk::Walk;
use crate::storage::{Disk, Storage};
use crate::{Clock, Direction, Result, Visit};

/// The store as it was at one moment; made by [`Lsm::snapshot`].
///
/// Each write is in it as a whole, or not at all, and so are all writes before it: see [what readers see](super#what-readers-see). Whatever is written, flushed or compacted meanwhile, it
/// shows the same keys and values: what expires later stays in it, too. It may be used by many threads, and cannot outlive the store.
///
/// Beginning or cloning one takes no lock, copies nothing, and costs some tens of nanoseconds. Keeping one costs room, until it is dropped:
///
/// - in memory the memtable that was active, and those that waited to be flushed, each with its log, up to [`Options::memtable_bytes`](super::Options::memtable_bytes) and its index; though flushed, they
///   stay;
/// - on the device the tables that compactions have replaced since, and the logs of those memtables, which have no names any more.
///
/// So one that is kept while everything is overwritten doubles the store. The store's threads remove what is needed no more, within a tenth of a second of the last snapshot's end; with
/// [`Background::Inline`](super::Background::Inline) whoever drops that one does.
///
/// Reading passes over what was written to the memtable since then, in a key's case its later versions, in a range's the later keys too: the most that this can come to is what a memtable holds.
///
/// How many are alive is told by the counter
/// `snapshots_alive` of [`Lsm::metrics`], iterators and cursors among them, as each of them keeps a snapshot.
///
/// ```
/// use kvdyno_engines::lsm::{KeyRange, Lsm, Options};
/// use kvdyno_engines::storage::Disk;
///
/// # fn main() -> kvdyno_engines::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let store = Lsm::open(Disk, dir.path(), Options::default())?;
/// store.put(b"sensor/7/0001", b"21.5")?;
/// store.put(b"sensor/7/0002", b"21.7")?;
/// let snapshot = store.snapshot();
/// store.put(b"sensor/7/0003", b"22.0")?;
/// store.delete(b"sensor/7/0001")?;
///
/// let mut value = Vec::new();
/// assert!(!snapshot.get(b"sensor/7/0003", &mut value)?);
/// let newest_first = snapshot.iter(KeyRange::prefix("sensor/7/")).rev();
/// let values: Vec<Vec<u8>> = newest_first.map(|entry| Ok(entry?.1)).collect::<kvdyno_engines::Result<_>>()?;
/// assert_eq!(values, [b"21.7", b"21.5"]);
/// # Ok(())
/// # }
/// ```
pub struct Snapshot<'s, S: Storage = Disk> {
    stats: &'s Stats,
    tree: Arc<Tree<S>>,
    /// What can be seen of the active memtable.
    active: memtable::Moment,
    /// What time it was; 0 if nothing in it expires.
    now_ms: u64,
}

impl<S: Storage> Clone for Snapshot<'_, S> {
    fn clone(&self) -> Self {
        Self::count(self.stats, Arc::clone(&self.tree), self.active.clone(), self.now_ms)
    }
}

impl<S: Storage> Drop for Snapshot<'_, S> {
    fn drop(&mut self) {
        self.stats.snapshots_alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<'s, S: Storage> Snapshot<'s, S> {
    /// This moment of `tree`, which was the store's a moment ago.
    ///
    /// If the memtable has been replaced since, what is seen is the moment at which it was.
    fn begin(stats: &'s Stats, tree: Arc<Tree<S>>, clock: &Clock) -> Self {
        let active = tree.active.moment();
        // After the tree: what flushes and compactions have dropped has expired by then.
        let now_ms = if tree.expires() { clock.now_ms() } else { 0 };
        Self::count(stats, tree, active, now_ms)
    }

    fn count(stats: &'s Stats, tree: Arc<Tree<S>>, active: memtable::Moment, now_ms: u64) -> Self {
        stats.snapshots_alive.fetch_add(1, Ordering::Relaxed);
        Self { stats, tree, active, now_ms }
    }

    fn active(&self) -> memtable::View<'_, S::File> {
        self.tree.active.view_at(self.active.clone())
    }

    /// Reads the value of `key` into `value`, replacing what was there, and tells whether the key exists.
    pub fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let mut probes = Probes::default();
        let found = self.tree.get_at(&self.active(), key, value, &mut probes, || self.now_ms);
        self.stats.reads.add(probes);
        found
    }

    /// Reads several keys; `visit` gets the index and the value of each, in their order.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`]; the keys from there on are not visited.
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        mut visit: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let (keys, now_ms) = (keys.iter().map(AsRef::as_ref), || self.now_ms);
        let (active, mut probes) = (self.active(), Probes::default());
        let read =
            self.tree.multi_get(&active, keys, &mut Vec::new(), &mut probes, now_ms, &mut visit);
        self.stats.reads.add(probes);
        read
    }

    /// Visits at most `limit` keys, as [`crate::Session::scan`] does.
    pub fn scan(
        &self,
        start: &[u8],
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<usize> {
        Ok(scan(&self.tree, self.active(), start, direction, limit, || self.now_ms, visit)?.visited)
    }

    /// The keys and values of a range, in order, from either end; see [`Iter`]. Nothing is read yet.
    pub fn iter(&self, range: impl Into<KeyRange>) -> Iter<'s, S> {
        Iter::over(self.clone(), range.into())
    }

    /// A position in a range, which can be moved both ways; see [`Cursor`]. Nothing is read yet.
    pub fn cursor(&self, range: impl Into<KeyRange>) -> Cursor<'s, S> {
        Cursor::over(self.clone(), range.into())
    }

    /// About how many bytes of files the keys and values of a range take, versions, deletions and expired values that compactions have not dropped yet among them. Reads no data: of a table, the
    /// blocks that may hold keys of the range count, by its index, or the whole file if all its keys lie in the range; of a memtable, its log in proportion to its
    /// entries. So it may be too high by two blocks for each table, and is a rough estimate where a memtable has few or unequal entries. Costs a comparison for each table, and a
    /// search in those at the range's ends. Of values that a table has in the value log, a part counts that is proportional to the blocks.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] if an index is malformed.
    pub fn approximate_bytes(&self, range: impl Into<KeyRange>) -> Result<u64> {
        approximate_bytes(&self.tree, self.active.log_bytes(), &range.into())
    }

    /// A walk through `range` in `direction` from `start`.
    pub(crate) fn walk(
        &self,
        range: &KeyRange,
        start: std::ops::Bound<&[u8]>,
        direction: Direction,
    ) -> Result<Walk<S>> {
        Walk::seek(&self.tree, (&self.active, self.now_ms), range, start, direction)
    }
}

impl<S: Storage> Lsm<S> {
    /// The store as it is at this moment: every write that has been acknowledged is in it. See [`Snapshot`] for what keeping it costs.
    pub fn snapshot(&self) -> Snapshot<'_, S> {
        Snapshot::begin(&self.core.stats, self.core.tree.load_full(), &self.core.options.clock)
    }

    /// Reads several keys at one moment; `visit` gets the index and the value of each, in their order.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`]; the keys from there on are not visited.
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        visit: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        self.snapshot().multi_get(keys, visit)
    }

    /// The keys and values of a range as they are at this moment, in order, from either end; see [`Iter`]. This cannot fail, as nothing is read yet.
    ///
    /// ```
    /// # use kvdyno_engines::lsm::{KeyRange, Lsm, Options};
    /// # fn main() -> kvdyno_engines::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Lsm::open(kvdyno_engines::storage::Disk, dir.path(), Options::default())?;
    /// store.put(b"b/1", b"one")?;
    /// store.put(b"b/2", b"two")?;
    /// for entry in store.iter(KeyRange::prefix("b/")) {
    ///     let (key, value) = entry?;
    ///     println!("{} = {}", key.escape_ascii(), value.escape_ascii());
    /// }
    /// assert_eq!(store.iter("b/2"..).count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn iter(&self, range: impl Into<KeyRange>) -> Iter<'_, S> {
        Iter::over(self.snapshot(), range.into())
    }

    /// A position in a range of the store as it is at this moment, which can be moved both ways; see [`Cursor`]. Nothing is read yet.
    pub fn cursor(&self, range: impl Into<KeyRange>) -> Cursor<'_, S> {
        Cursor::over(self.snapshot(), range.into())
    }

    /// About how many bytes of files a range takes; see [`Snapshot::approximate_bytes`].
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] if an index is malformed.
    pub fn approximate_bytes(&self, range: impl Into<KeyRange>) -> Result<u64> {
        self.snapshot().approximate_bytes(range)
    }
}

impl<'s, S: Storage> IntoIterator for &'s Lsm<S> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;
    type IntoIter = Iter<'s, S>;

    fn into_iter(self) -> Iter<'s, S> {
        self.iter(..)
    }
}

impl<'s, S: Storage> IntoIterator for &Snapshot<'s, S> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;
    type IntoIter = Iter<'s, S>;

    fn into_iter(self) -> Iter<'s, S> {
        self.iter(..)
    }
}
