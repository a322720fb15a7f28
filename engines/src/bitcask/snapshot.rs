//! Snapshots of the keydir: its entries at one point in time, copied shard by shard, and only where they change.
//!
//! 1. A snapshot begins by being registered; nothing is copied. The caller holds the writer's lock, so that no write is half in it, and takes the segment table
//!    in the same moment.
//! 2. Whoever changes a shard (a write, or a merge that swings entries) first *preserves* it, under the shard's write lock: each live snapshot that has
//!    neither a copy of the shard nor is done with it is given one. Snapshots that need a copy at the same moment share it.
//! 3. Whoever walks a snapshot takes shard after shard: the preserved copy, or else a copy that is made then, under the shard's read lock. A shard that was taken is
//!    *done*: nothing is preserved for it any more.
//! 4. Dropping a snapshot unregisters it.
//!
//! Invariants:
//!
//! - A shard that a snapshot has no copy of is as it was when the snapshot began, but for entries that a merge was swinging at that moment.
//! - The segment table that was taken at the beginning resolves all entries of a snapshot. Each of them was in the keydir at the beginning, when its segment was
//!   in the table; or a merge swung it and had not yet seen the snapshot. A merge looks for snapshots ([`Keydir::before_moves`]) after it has published its new
//!   segments: a snapshot that it overlooks began later, and its table has them.
//!
//! Cost: without a snapshot, one relaxed load a change. Each snapshot takes 24 KiB, and eight bytes for every entry of the shards that have changed since it began and are
//! not done. Preserving copies the entries of one shard, a 1024th of all, while that shard is locked; each shard once.
//!
//! Lock order: shard, list of snapshots, a snapshot's copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use super::entry::Entry;
use super::keydir::{Candidates, Keydir, SHARDS, candidates};
use super::tag_table::TagTable;

/// The live snapshots of a keydir. On a cache line of its own, so that their coming and going does not disturb readers.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Snapshots {
    /// Length of the list.
    live: AtomicUsize,
    list: RwLock<Vec<Arc<Copies>>>,
}

/// What has been preserved for a snapshot, by shard.
pub(crate) struct Copies(Box<[Mutex<ShardCopy>]>);

impl Default for Copies {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

/// A shard, as a snapshot sees it.
#[derive(Default)]
enum ShardCopy {
    /// It has not changed since.
    #[default]
    Unchanged,
    Preserved(Arc<Vec<Entry>>),
    Done,
}

impl Snapshots {
    /// How many are alive.
    pub(crate) fn len(&self) -> usize {
        self.list.read().len()
    }

    /// Bytes of the entries that are preserved for them. Copies that several share count several times.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |copy: &Mutex<ShardCopy>| match &*copy.lock() {
            ShardCopy::Preserved(entries) => size_of_val(&entries[..]),
            ShardCopy::Unchanged | ShardCopy::Done => 0,
        };
        self.list.read().iter().flat_map(|copies| &copies.0).map(bytes).sum()
    }

    /// Must be called under a shard's write lock before it is changed.
    #[inline]
    pub(crate) fn before_change(&self, shard: usize, table: &TagTable) {
        // Relaxed: a write sees every snapshot that began before it, as both hold the writer's lock; for merges, see `synchronise`.
        if self.live.load(Ordering::Relaxed) != 0 {
            self.preserve(shard, table);
        }
    }

    #[cold]
    fn preserve(&self, shard: usize, table: &TagTable) {
        let mut preserved = None;
        for copies in self.list.read().iter() {
            let mut copy = copies.0[shard].lock();
            if let ShardCopy::Unchanged = *copy {
                let entries = preserved.get_or_insert_with(|| Arc::new(table.to_vec()));
                *copy = ShardCopy::Preserved(Arc::clone(entries));
            }
        }
    }

    /// Makes sure that the calling thread sees every snapshot that has begun, and that those which begin later see what it has done.
    pub(crate) fn synchronise(&self) {
        drop(self.list.write());
    }

    /// Registers a snapshot, and calls `under_lock` at the moment at which it begins.
    fn begin<R>(&self, copies: Arc<Copies>, under_lock: impl FnOnce() -> R) -> R {
        let mut list = self.list.write();
        list.push(copies);
        self.live.store(list.len(), Ordering::Relaxed);
        under_lock()
    }

    fn end(&self, copies: &Arc<Copies>) {
        let mut list = self.list.write();
        list.retain(|other| !Arc::ptr_eq(other, copies));
        self.live.store(list.len(), Ordering::Relaxed);
    }
}

/// See the module's header.
pub(crate) struct Snapshot<'a> {
    keydir: &'a Keydir,
    copies: Arc<Copies>,
    /// [`Keydir::generation`] at the beginning.
    pub(crate) generation: u64,
}

impl<'a> Snapshot<'a> {
    /// Begins one, and calls `under_lock` at that moment. The writer's lock must be held; `copies` are new, and made before that.
    pub(crate) fn begin<R>(
        keydir: &'a Keydir,
        copies: Arc<Copies>,
        under_lock: impl FnOnce() -> R,
    ) -> (Self, R) {
        let begin = || (keydir.generation(), under_lock());
        let (generation, taken) = keydir.snapshots.begin(Arc::clone(&copies), begin);
        (Self { keydir, copies, generation }, taken)
    }

    /// The entries of one shard, which is then done: a shard can be taken once, and its entries be looked up no more.
    pub(crate) fn take(&self, shard: usize) -> Vec<Entry> {
        let table = self.keydir.table(shard);
        let copy = std::mem::replace(&mut *self.copies.0[shard].lock(), ShardCopy::Done);
        match copy {
            ShardCopy::Unchanged => table.to_vec(),
            ShardCopy::Preserved(entries) => {
                drop(table);
                Arc::unwrap_or_clone(entries)
            }
            ShardCopy::Done => Vec::new(),
        }
    }

    /// The entries of one shard, which can be looked up afterwards.
    pub(crate) fn entries(&self, shard: usize) -> Vec<Entry> {
        self.with_shard(shard, TagTable::to_vec, <[Entry]>::to_vec)
    }

    /// The entries that may belong to a key with this hash. Searches a whole shard if it has changed since the beginning.
    pub(crate) fn candidates(&self, hash: u64) -> Candidates {
        let preserved = |entries: &[Entry]| {
            entries.iter().copied().filter(|entry| entry.has_tag_of(hash)).collect()
        };
        self.with_shard(Keydir::shard_of(hash), |table| candidates(table, hash), preserved)
    }

    fn with_shard<R>(
        &self,
        shard: usize,
        unchanged: impl FnOnce(&TagTable) -> R,
        preserved: impl FnOnce(&[Entry]) -> R,
    ) -> R {
        let table = self.keydir.table(shard);
        let entries = match &*self.copies.0[shard].lock() {
            ShardCopy::Unchanged => return unchanged(&table),
            ShardCopy::Preserved(entries) => Arc::clone(entries),
            ShardCopy::Done => Arc::default(),
        };
        drop(table);
        preserved(&entries)
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        self.keydir.snapshots.end(&self.copies);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::bitcask::entry::Layout;

    fn hash(i: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&i.to_le_bytes())
    }

    fn entry(i: u64, slot: u32) -> Entry {
        Layout::new(1 << 20).entry(hash(i), slot, i * 8)
    }

    /// A keydir with entries 1 to `len` in slot 0.
    fn keydir(len: u64) -> Keydir {
        let keydir = Keydir::new();
        (1..=len).for_each(|i| keydir.insert(hash(i), entry(i, 0)));
        keydir
    }

    fn begin(keydir: &Keydir) -> Snapshot<'_> {
        Snapshot::begin(keydir, Arc::default(), || ()).0
    }

    fn rest(snapshot: &Snapshot<'_>) -> HashSet<u64> {
        let taken = (0..SHARDS).flat_map(|shard| snapshot.take(shard));
        let set: Vec<u64> = taken.map(|entry| entry.tag() << 40 | entry.location()).collect();
        let count = set.len();
        let set: HashSet<u64> = set.into_iter().collect();
        assert_eq!(set.len(), count, "an entry is there twice");
        set
    }

    #[test]
    fn a_snapshot_keeps_what_is_replaced_removed_and_added() {
        let keydir = keydir(5_000);
        let before = rest(&begin(&keydir));
        assert_eq!(before.len(), 5_000);
        let (first, second) = (begin(&keydir), begin(&keydir));
        for i in 1..=5_000 {
            assert!(keydir.replace(hash(i), entry(i, 0), entry(i, 1)));
        }
        let third = begin(&keydir);
        let replaced = rest(&begin(&keydir));
        (1..=2_500).for_each(|i| assert!(keydir.remove(hash(i), entry(i, 1))));
        (5_001..=9_000).for_each(|i| keydir.insert(hash(i), entry(i, 1)));
        assert_eq!(keydir.snapshots.bytes(), 3 * 5_000 * 8);
        assert_eq!((rest(&first), rest(&second)), (before.clone(), before.clone()));
        assert_eq!(rest(&third), replaced);
        assert!(replaced.is_disjoint(&before));
        assert_eq!(rest(&begin(&keydir)).len(), 6_500);
    }

    #[test]
    fn entries_are_looked_up_at_the_beginning() {
        let keydir = keydir(3_000);
        let snapshot = begin(&keydir);
        (1..=1_000).for_each(|i| assert!(keydir.remove(hash(i), entry(i, 0))));
        keydir.insert(hash(3_001), entry(3_001, 0));
        for i in 1..=3_000 {
            assert!(snapshot.candidates(hash(i)).iter().any(|found| found == entry(i, 0)));
        }
        assert!(!snapshot.candidates(hash(3_001)).iter().any(|found| found == entry(3_001, 0)));
        let entries: usize = (0..SHARDS).map(|shard| snapshot.entries(shard).len()).sum();
        assert_eq!((entries, rest(&snapshot).len()), (3_000, 3_000));
    }

    #[test]
    fn nothing_is_preserved_for_what_is_done_and_after_the_end() {
        let keydir = keydir(1_000);
        let snapshot = begin(&keydir);
        assert_eq!(rest(&snapshot).len(), 1_000);
        keydir.insert(hash(1_001), entry(1_001, 0));
        assert_eq!((keydir.snapshots.len(), keydir.snapshots.bytes()), (1, 0));
        drop(snapshot);
        let unused = begin(&keydir);
        keydir.insert(hash(1_002), entry(1_002, 0));
        assert!(keydir.snapshots.bytes() <= 8 * 1_001);
        drop(unused);
        assert_eq!((keydir.snapshots.len(), keydir.snapshots.bytes()), (0, 0));
        assert_eq!(keydir.snapshots.live.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_generation_tells_changes_of_the_key_set_where_it_is_asked_for() {
        let mut keydir = keydir(10);
        keydir.track_key_set();
        let before = begin(&keydir).generation;
        assert!(keydir.replace(hash(1), entry(1, 0), entry(1, 1)));
        assert_eq!(begin(&keydir).generation, before);
        assert!(!keydir.remove(hash(1), entry(1, 0)), "it has been replaced");
        assert_eq!(begin(&keydir).generation, before);
        assert!(keydir.remove(hash(1), entry(1, 1)));
        assert_eq!(begin(&keydir).generation, before + 1);
        keydir.insert(hash(1), entry(1, 2));
        assert_eq!(begin(&keydir).generation, before + 2);
    }
}
