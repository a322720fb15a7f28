//! The keydir: from a key's hash to where its record lies, without the key.
//!
//! 1. The high half of the hash chooses one of [`SHARDS`] shards, the low 24 bits are the tag that the [`Entry`] keeps.
//! 2. A shard is a hash table of 8-byte entries behind a lock that is held for a few cache lines, never during I/O.
//! 3. Tables are indexed by a hash of the tag alone, so growing one reads no record.
//! 4. Lookups return *candidates*: every entry with the tag. Which of them has the key, the records tell. Two keys with one tag
//!    in one shard are two entries.
//! 5. Shards are unequal by design: the largest gets twice the keys of the smallest, with all sizes in between. A table doubles when it is
//!    full; as the shards do so at different times, the memory of the whole stays near its average of about 14 bytes an entry.
//!
//! Invariant: an entry is in a shard only while the segment that it points into is in the segment table. Hence a table that is loaded under the
//! shard's lock (see `under_lock` below) resolves all candidates, and holding on to that table keeps their files readable.
//!
//! Hash bits: with n keys, two of them share shard and tag with a probability of about n / 2³⁴ for each key: at 100 million keys, one
//! lookup in 170 reads a second record.

use hashbrown::HashTable;
use parking_lot::RwLock;

use super::entry::Entry;

/// Shards of a keydir.
pub(crate) const SHARDS: usize = 1024;

/// See the module's header.
pub(crate) struct Keydir {
    shards: Box<[Shard]>,
}

/// On its own cache line, so that threads at different shards do not disturb each other.
#[derive(Default)]
#[repr(align(64))]
struct Shard(RwLock<HashTable<Entry>>);

/// The entries that may belong to a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Candidates {
    first: Option<Entry>,
    more: Vec<Entry>,
}

impl Candidates {
    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry> {
        self.first.into_iter().chain(self.more.iter().copied())
    }
}

impl Keydir {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
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

    /// Adds an entry.
    #[inline]
    pub(crate) fn insert(&self, hash: u64, entry: Entry) {
        self.shard(hash).write().insert_unique(slot_hash(entry.tag()), entry, rehash);
    }

    /// Puts `new` in the place of `old`; false if that is not there any more.
    #[inline]
    pub(crate) fn replace(&self, hash: u64, old: Entry, new: Entry) -> bool {
        match self.shard(hash).write().find_mut(slot_hash(old.tag()), |entry| *entry == old) {
            Some(entry) => {
                *entry = new;
                true
            }
            None => false,
        }
    }

    /// Removes `old`; false if it is not there any more.
    pub(crate) fn remove(&self, hash: u64, old: Entry) -> bool {
        let mut table = self.shard(hash).write();
        match table.find_entry(slot_hash(old.tag()), |entry| *entry == old) {
            Ok(found) => {
                found.remove();
                true
            }
            Err(_) => false,
        }
    }

    /// Whether `entry` is there.
    pub(crate) fn contains(&self, hash: u64, entry: Entry) -> bool {
        self.shard(hash).read().find(slot_hash(entry.tag()), |other| *other == entry).is_some()
    }

    /// Entries in all shards. Takes every shard's lock, one after the other.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.read().len()).sum()
    }

    /// Bytes of memory. Takes every shard's lock, one after the other.
    pub(crate) fn bytes(&self) -> usize {
        let tables: usize = self.shards.iter().map(|shard| shard.0.read().allocation_size()).sum();
        tables + size_of_val(&*self.shards)
    }

    /// A copy of one shard's entries, and what `under_lock` returned while it was made.
    pub(crate) fn shard_entries<R>(
        &self,
        shard: usize,
        under_lock: impl FnOnce() -> R,
    ) -> (Vec<Entry>, R) {
        let table = self.shards[shard].0.read();
        (table.iter().copied().collect(), under_lock())
    }

    #[inline]
    fn shard(&self, hash: u64) -> &RwLock<HashTable<Entry>> {
        &self.shards[shard_of(hash)].0
    }
}

/// The shard of a hash. With x = the high half as a fraction of one, the shard is at x + c·x·(1 − x): its slope falls from 1 + c to 1 − c, so
/// with c = 0.344 the last shards are twice as likely as the first.
#[inline]
fn shard_of(hash: u64) -> usize {
    const CURVE_256THS: u64 = 88;
    let x = hash >> 32;
    let bend = (x * ((1 << 32) - x)) >> 32;
    let curved = x + ((bend * CURVE_256THS) >> 8);
    ((curved * SHARDS as u64) >> 32) as usize
}

/// What the table sees of a tag: multiplied by an odd number, so that the low bits, which choose the bucket, stay as distinct as the tag's, and the
/// high seven, which the table compares first, depend on all of it.
#[inline]
fn slot_hash(tag: u64) -> u64 {
    tag.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn rehash(entry: &Entry) -> u64 {
    slot_hash(entry.tag())
}

#[inline]
fn candidates(table: &HashTable<Entry>, hash: u64) -> Candidates {
    let tag = Entry::new(hash, 0).tag();
    let mut found = table.iter_hash(slot_hash(tag)).copied().filter(|entry| entry.has_tag_of(hash));
    Candidates { first: found.next(), more: found.collect() }
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
        for i in 0..200_000 {
            keydir.insert(hash(i), layout.entry(hash(i), 0, i * 8));
        }
        for i in 0..200_000 {
            assert!(keydir.contains(hash(i), layout.entry(hash(i), 0, i * 8)));
        }
    }

    #[test]
    fn the_last_shards_get_twice_the_keys_of_the_first() {
        let mut counts = vec![0_u32; SHARDS];
        for i in 0..4_000_000 {
            counts[shard_of(hash(i))] += 1;
        }
        let sum = |range: std::ops::Range<usize>| f64::from(counts[range].iter().sum::<u32>());
        let ratio = sum(SHARDS - 64..SHARDS) / sum(0..64);
        assert!((1.8..2.2).contains(&ratio), "the ratio is {ratio}");
        assert_eq!(shard_of(u64::MAX), SHARDS - 1);
        assert_eq!(shard_of(0), 0);
    }

    #[test]
    fn memory_per_entry_stays_near_its_average_while_growing() {
        let (keydir, layout) = (Keydir::new(), Layout::new(1 << 30));
        for i in 0..2_000_000_u64 {
            keydir.insert(hash(i), layout.entry(hash(i), 0, i * 8));
            if i >= 1_000_000 && i.is_multiple_of(100_000) {
                let per_entry = keydir.bytes() as f64 / i as f64;
                assert!((12.0..16.5).contains(&per_entry), "{per_entry} bytes at {i} entries");
            }
        }
    }
}
