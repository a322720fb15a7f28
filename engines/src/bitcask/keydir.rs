//! The keydir: from a key's hash to where its record lies, without the key.
//!
//! 1. The high half of the hash chooses one of [`SHARDS`] shards, the low 24 bits are the tag that the [`Entry`] keeps.
//! 2. A shard is a [`TagTable`] of 8-byte entries behind a lock that is held for a few cache lines, never during I/O.
//! 3. Lookups return *candidates*: every entry with the tag. Which of them has the key, the records tell. Two keys with one tag
//!    in one shard are two entries.
//!
//! Invariant: an entry is in a shard only while the segment that it points into is in the segment table. Hence a table that is loaded under the
//! shard's lock (see `under_lock` below) resolves all candidates, and holding on to that table keeps their files readable.
//!
//! Hash bits: with n keys, two of them share shard and tag with a probability of about n / 2³⁴ for each key: at 100 million keys, one
//! lookup in 170 reads a second record.

use parking_lot::RwLock;

use super::entry::Entry;
use super::tag_table::TagTable;

/// Shards of a keydir.
pub(crate) const SHARDS: usize = 1024;

/// See the module's header.
#[derive(Debug)]
pub(crate) struct Keydir {
    shards: Box<[Shard]>,
}

/// On its own cache line, so that threads at different shards do not disturb each other.
#[derive(Debug, Default)]
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

    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry> {
        self.first.into_iter().chain(self.more.iter().copied())
    }
}

impl Keydir {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }

    /// A keydir of these shards, all of them in their order.
    pub(crate) fn of(shards: Vec<TagTable>) -> Self {
        assert_eq!(shards.len(), SHARDS, "a keydir has a fixed number of shards");
        Self { shards: shards.into_iter().map(|table| Shard(RwLock::new(table))).collect() }
    }

    /// Calls `visit` with the table of a shard, under its lock.
    pub(crate) fn with_shard(&self, shard: usize, visit: impl FnOnce(&TagTable)) {
        visit(&self.shards[shard].0.read());
    }

    /// The entries that may belong to a key with this hash, and what `under_lock` returned while they were looked up.
    #[inline]
    pub(crate) fn candidates<R>(
        &self,
        hash: u64,
        under_lock: impl FnOnce() -> R,
    ) -> (Candidates, R) {
        let table = self.shard(hash).read();
        let candidates = candidates(&table, hash);
        (candidates, under_lock())
    }

    /// Whether the entries that may belong to a key with this hash are still `candidates`.
    #[inline]
    pub(crate) fn unchanged(&self, hash: u64, before: &Candidates) -> bool {
        candidates(&self.shard(hash).read(), hash) == *before
    }

    /// The table that belongs to a hash, for the only owner: no lock is taken, so the processor can work on several hashes at once.
    #[inline]
    pub(crate) fn table_mut(&mut self, hash: u64) -> &mut TagTable {
        self.shards[shard_of(hash)].0.get_mut()
    }

    /// Adds an entry.
    #[inline]
    pub(crate) fn insert(&self, hash: u64, entry: Entry) {
        self.shard(hash).write().insert(entry);
    }

    /// Puts `new` in the place of `old`; false if that is not there any more.
    #[inline]
    pub(crate) fn replace(&self, hash: u64, old: Entry, new: Entry) -> bool {
        self.shard(hash).write().replace(old, new)
    }

    /// Removes `old`; false if it is not there any more.
    pub(crate) fn remove(&self, hash: u64, old: Entry) -> bool {
        self.shard(hash).write().remove(old)
    }

    /// Whether `entry` is there.
    pub(crate) fn contains(&self, hash: u64, entry: Entry) -> bool {
        let mut found = false;
        self.shard(hash).read().find(hash, |other| found |= other == entry);
        found
    }

    /// Entries in all shards. Takes every shard's lock, one after the other.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.read().len()).sum()
    }

    /// Bytes of memory. Takes every shard's lock, one after the other.
    pub(crate) fn bytes(&self) -> usize {
        let tables: usize = self.shards.iter().map(|shard| shard.0.read().bytes()).sum();
        tables + size_of_val(&*self.shards)
    }

    /// A copy of one shard's entries, and what `under_lock` returned while it was made.
    pub(crate) fn shard_entries<R>(
        &self,
        shard: usize,
        under_lock: impl FnOnce() -> R,
    ) -> (Vec<Entry>, R) {
        let table = self.shards[shard].0.read();
        (table.iter().collect(), under_lock())
    }

    #[inline]
    fn shard(&self, hash: u64) -> &RwLock<TagTable> {
        &self.shards[shard_of(hash)].0
    }
}

#[inline]
fn shard_of(hash: u64) -> usize {
    (hash >> (u64::BITS - SHARDS.ilog2())) as usize
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
        let (candidates, ()) = keydir.candidates(7, || ());
        assert_eq!(candidates.iter().count(), 100);
        assert!(keydir.unchanged(7, &candidates));
        let moved = layout.entry(7, 200, 8);
        assert!(keydir.replace(7, entries[3], moved) && !keydir.replace(7, entries[3], moved));
        assert!(!keydir.unchanged(7, &candidates));
        assert!(keydir.remove(7, moved) && !keydir.remove(7, moved));
        assert_eq!(keydir.len(), 99);
        assert_eq!(keydir.candidates(8, || ()).0, Candidates::default());
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
    fn an_entry_takes_ten_to_fifteen_bytes() {
        let (keydir, layout) = (Keydir::new(), Layout::new(1 << 30));
        for i in 1..2_000_000_u64 {
            keydir.insert(hash(i), layout.entry(hash(i), 0, i * 8));
            if i >= 1_000_000 && i.is_multiple_of(100_000) {
                let per_entry = keydir.bytes() as f64 / i as f64;
                assert!((10.0..15.2).contains(&per_entry), "{per_entry} bytes at {i} entries");
            }
        }
    }
}
