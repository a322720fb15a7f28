//! The keydir: from a key's hash to where its record lies, without the key.
//!
//! 1. The high half of the hash chooses one of [`SHARDS`] shards, the low 24 bits are the tag that the [`Entry`] keeps.
//! 2. A shard is a [`TagTable`] of 8-byte entries behind a lock that is held for a few cache lines, never during I/O.
//! 3. Lookups return *candidates*: every entry with the tag. Which of them has the key, the records tell. Two keys with one tag
//!    in one shard are two entries.
//! 4. A put may replace the one entry with its tag without having looked whose it was; until that is known, the old one waits among the presumptions (`presumed.rs`). Who looks at the keydir alone therefore does not see
//!    every key: a key that is not found has to be looked for there, too.
//!
//! Invariant: an entry is in a shard only while the segment that it points into is in the segment table. Hence a table that is loaded under the
//! shard's lock (see `under_lock` below) resolves all candidates, and holding on to that table keeps their files readable.
//!
//! Snapshots (`snapshot.rs`) see the entries of one moment while they change: every change goes through `Keydir::change`, which preserves what they need.
//!
//! Hash bits: with n keys, two of them share shard and tag with a probability of about n / 2³⁴ for each key: at 100 million keys, one
//! lookup in 170 reads a second record.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::entry::Entry;
use super::presumed::Presumptions;
use super::snapshot::Snapshots;
use super::tag_table::TagTable;

/// Shards of a keydir.
pub(crate) const SHARDS: usize = 1024;

/// See the module's header.
pub(crate) struct Keydir {
    shards: Box<[Shard]>,
    pub(crate) snapshots: Snapshots,
    pub(crate) presumed: Presumptions,
    key_set: KeySet,
}

/// Counts changes of the set of keys, where somebody wants to know. On its own cache line, as writers change it.
#[derive(Default)]
#[repr(align(64))]
struct KeySet {
    tracked: bool,
    generation: AtomicU64,
}

/// On its own cache line, so that threads at different shards do not disturb each other.
#[derive(Default)]
#[repr(align(64))]
struct Shard(RwLock<TagTable>);

/// The entries that may belong to a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Candidates {
    first: Option<Entry>,
    more: Vec<Entry>,
}

impl Candidates {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The entry, if there is no other.
    #[inline]
    pub(crate) fn only(&self) -> Option<Entry> {
        self.first.filter(|_| self.more.is_empty())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry> {
        self.first.into_iter().chain(self.more.iter().copied())
    }
}

impl FromIterator<Entry> for Candidates {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut entries = entries.into_iter();
        Self { first: entries.next(), more: entries.collect() }
    }
}

impl Keydir {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            snapshots: Snapshots::default(),
            presumed: Presumptions::default(),
            key_set: KeySet::default(),
        }
    }

    /// Has changes of the set of keys counted from now on.
    pub(crate) fn track_key_set(&mut self) {
        self.key_set.tracked = true;
    }

    /// Changes with every insertion and removal of an entry, and with nothing else: entries that are replaced belong to the same key. Where
    /// [`Keydir::track_key_set`] was not called, it never does.
    pub(crate) fn generation(&self) -> u64 {
        self.key_set.generation.load(Ordering::Relaxed)
    }

    /// A keydir of these shards, all of them in their order.
    pub(crate) fn of(shards: Vec<TagTable>) -> Self {
        assert_eq!(shards.len(), SHARDS, "a keydir has a fixed number of shards");
        let shards = shards.into_iter().map(|table| Shard(RwLock::new(table))).collect();
        Self { shards, ..Self::new() }
    }

    /// The entries that may belong to a key with this hash, and what `under_lock` returned while they were looked up. None if there are no entries.
    #[inline]
    pub(crate) fn candidates<R>(
        &self,
        hash: u64,
        under_lock: impl FnOnce() -> R,
    ) -> Option<(Candidates, R)> {
        let table = self.table(Self::shard_of(hash));
        let candidates = candidates(&table, hash);
        (!candidates.is_empty()).then(|| (candidates, under_lock()))
    }

    /// Whether the entries that may belong to a key with this hash are still `candidates`.
    #[inline]
    pub(crate) fn unchanged(&self, hash: u64, before: &Candidates) -> bool {
        candidates(&self.table(Self::shard_of(hash)), hash) == *before
    }

    /// The table that belongs to a hash, for the only owner: no lock is taken, so the processor can work on several hashes at once.
    #[inline]
    pub(crate) fn table_mut(&mut self, hash: u64) -> &mut TagTable {
        self.shards[Self::shard_of(hash)].0.get_mut()
    }

    /// Divides the shards into so many parts, or a few less, for the only owner.
    pub(crate) fn parts_mut(&mut self, parts: usize) -> impl Iterator<Item = Part<'_>> {
        let shards = SHARDS.div_ceil(parts);
        let part = move |(number, shards_mut)| Part { first: number * shards, shards: shards_mut };
        self.shards.chunks_mut(shards).enumerate().map(part)
    }

    /// Adds an entry.
    #[inline]
    pub(crate) fn insert(&self, hash: u64, entry: Entry) {
        self.change(hash).insert(entry);
        self.key_set_changed();
    }

    /// Puts `new` in the place of `old`; false if that is not there any more.
    #[inline]
    pub(crate) fn replace(&self, hash: u64, old: Entry, new: Entry) -> bool {
        self.change(hash).replace(old, new)
    }

    /// Removes `old`; false if it is not there any more.
    pub(crate) fn remove(&self, hash: u64, old: Entry) -> bool {
        let removed = self.change(hash).remove(old);
        if removed {
            self.key_set_changed();
        }
        removed
    }

    /// Must be called by a merge after its new segments are in the segment table, and before it replaces entries by ones that point into them, and by whoever puts an entry
    /// back that was taken for another key's: those who change entries without the writer's lock would else not be sure to see all snapshots.
    pub(crate) fn before_moves(&self) {
        self.snapshots.synchronise();
    }

    /// Whether `entry` is there.
    pub(crate) fn contains(&self, hash: u64, entry: Entry) -> bool {
        let mut found = false;
        self.table(Self::shard_of(hash)).find(hash, |other| found |= other == entry);
        found
    }

    /// Entries in all shards. Takes every shard's lock, one after the other.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.read().len()).sum()
    }

    /// Bytes of memory. Takes every shard's lock, one after the other.
    pub(crate) fn bytes(&self) -> usize {
        let tables: usize = self.shards.iter().map(|shard| shard.0.read().bytes()).sum();
        tables + size_of_val(&*self.shards) + self.presumed.bytes()
    }

    /// The shard of a hash.
    #[inline]
    pub(crate) fn shard_of(hash: u64) -> usize {
        (hash >> (u64::BITS - SHARDS.ilog2())) as usize
    }

    /// The table of a shard, to be read.
    #[inline]
    pub(crate) fn table(&self, shard: usize) -> RwLockReadGuard<'_, TagTable> {
        self.shards[shard].0.read()
    }

    /// The table that belongs to a hash, to be changed.
    #[inline]
    fn change(&self, hash: u64) -> RwLockWriteGuard<'_, TagTable> {
        let shard = Self::shard_of(hash);
        let table = self.shards[shard].0.write();
        self.snapshots.before_change(shard, &table);
        table
    }

    #[inline]
    fn key_set_changed(&self) {
        if self.key_set.tracked {
            self.key_set.generation.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Some of the shards, for their only owner.
pub(crate) struct Part<'a> {
    first: usize,
    shards: &'a mut [Shard],
}

impl Part<'_> {
    /// The table that belongs to a hash, if it is in this part.
    #[inline]
    pub(crate) fn table_mut(&mut self, hash: u64) -> Option<&mut TagTable> {
        let shard = Keydir::shard_of(hash).wrapping_sub(self.first);
        self.shards.get_mut(shard).map(|shard| shard.0.get_mut())
    }
}

/// The entries of a table that may belong to a key with this hash.
#[inline]
pub(crate) fn candidates(table: &TagTable, hash: u64) -> Candidates {
    let mut found = Candidates::default();
    table.find(hash, |entry| match found.first {
        None => found.first = Some(entry),
        Some(_) => found.more.push(entry),
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bitcask::entry::Layout;

    fn hash(i: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&i.to_le_bytes())
    }

    #[test]
    fn keys_with_one_tag_are_separate_entries() {
        let (keydir, layout) = (Keydir::new(), Layout::new(1 << 20));
        let entries: Vec<_> = (0..100).map(|slot| layout.entry(7, slot, 64)).collect();
        for entry in &entries {
            keydir.insert(7, *entry);
        }
        let (candidates, ()) = keydir.candidates(7, || ()).unwrap();
        assert_eq!(candidates.iter().count(), 100);
        assert!(keydir.unchanged(7, &candidates));
        let moved = layout.entry(7, 200, 8);
        assert!(keydir.replace(7, entries[3], moved) && !keydir.replace(7, entries[3], moved));
        assert!(!keydir.unchanged(7, &candidates));
        assert!(keydir.remove(7, moved) && !keydir.remove(7, moved));
        assert_eq!(keydir.len(), 99);
        assert!(keydir.candidates(8, || ()).is_none());
    }

    #[test]
    fn entries_are_found_after_growing() {
        let (keydir, layout) = (Keydir::new(), Layout::new(1 << 30));
        for i in 1..200_000 {
            keydir.insert(hash(i), layout.entry(hash(i), 0, i * 8));
        }
        for i in 1..200_000 {
            assert!(keydir.contains(hash(i), layout.entry(hash(i), 0, i * 8)));
        }
    }

    #[test]
    fn an_entry_takes_eleven_to_fourteen_bytes() {
        let (keydir, layout) = (Keydir::new(), Layout::new(1 << 30));
        for i in 1..2_000_000_u64 {
            keydir.insert(hash(i), layout.entry(hash(i), 0, i * 8));
            if i >= 1_000_000 && i.is_multiple_of(100_000) {
                let per_entry = keydir.bytes() as f64 / i as f64;
                assert!((11.2..14.3).contains(&per_entry), "{per_entry} bytes at {i} entries");
            }
        }
    }
}
