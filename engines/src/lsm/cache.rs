//! Data blocks of tables in memory, for tables whose bytes cannot be used where the file has them.
//!
//! S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023):
//!
//! 1. A new block goes to the end of a small queue, a tenth of the room. A hit does no more than count, up to three.
//! 2. A block that comes out of the small queue goes to the main one if it was hit more than once, and else leaves, and its name is remembered for a while. One whose name is still
//!    remembered when it comes back goes to the main queue at once.
//! 3. A block that comes out of the main queue goes to its end again, with a hit less, or leaves if it has none.
//!
//! So what is looked at once, as by a scan, passes through a tenth of the room and leaves the rest alone, which least-recently-used lists do not achieve, and a hit changes no order, so that it needs its lock for
//! some tens of nanoseconds. CLOCK-Pro resists scans as well, and has three hands to keep right; SIEVE, which is simpler, does not resist them.
//!
//! - Blocks are dealt out to shards by the hash of their names, each under a lock of its own, which nobody holds while something is read from a file.
//! - Room is counted in bytes, with what the cache itself takes for a block.
//! - Names that have left are remembered by 32 bits of their hash, in a slot that the rest of the hash chooses and that the next one takes over: about as many as there is room for blocks.
//! - Two threads that miss one block at a time both read it; the first one's copy stays.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::files::FileNumber;

/// Bytes of a block in memory.
pub(crate) type Bytes = Arc<[u8]>;

/// What a block takes in the cache beside its bytes, about: its place in a table with its neighbours' free ones, its place in a queue, two counters, and what the allocator adds.
const BLOCK_OVERHEAD_BYTES: u64 = 128;
/// A shard has at least this room, so that its tenth holds some blocks.
const SHARD_BYTES_MIN: u64 = 1 << 20;
const SHARDS_MAX: u64 = 64;
/// Hits of a block that are counted.
const HITS_MAX: u8 = 3;
/// Hits that a block needs in the small queue to come to the main one.
const HITS_TO_STAY: u8 = 2;
/// One part of so many is the small queue's.
const SMALL_PART: u64 = 10;
/// Blocks that are evicted at a time, when the room gets less: nobody waits longer for the lock.
const EVICTED_AT_A_TIME: usize = 64;

/// The name of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockId {
    pub(crate) table: FileNumber,
    /// Where it lies in the table's file.
    pub(crate) offset: u64,
}

impl BlockId {
    /// A hash of which all bits are good.
    #[inline]
    fn hash(self) -> u64 {
        let mut name = [0; 12];
        name[..4].copy_from_slice(&self.table.to_le_bytes());
        name[4..].copy_from_slice(&self.offset.to_le_bytes());
        xxhash_rust::xxh3::xxh3_64(&name)
    }
}

impl Hash for BlockId {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64((*self).hash());
    }
}

/// Passes on the number that it is given: a [`BlockId`] hashes itself.
#[derive(Default)]
struct Given(u64);

impl Hasher for Given {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a name of a block is hashed as a number")
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// What a cache holds, and has been asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheFigures {
    /// Bytes that it takes, as they count against its room.
    pub(crate) bytes: u64,
    pub(crate) blocks: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

/// Blocks of all tables of a store.
#[derive(Debug)]
pub(crate) struct BlockCache {
    shards: Box<[Shard]>,
}

/// On cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Shard(Mutex<Blocks>);

#[derive(Debug, Default)]
struct Blocks {
    by_id: HashMap<BlockId, Held, BuildHasherDefault<Given>>,
    small: VecDeque<BlockId>,
    main: VecDeque<BlockId>,
    small_bytes: u64,
    bytes: u64,
    bytes_max: u64,
    /// Of those that have left.
    names: Box<[u32]>,
    hits: u64,
    misses: u64,
}

#[derive(Debug)]
struct Held {
    bytes: Bytes,
    hits: u8,
    /// In which queue it is.
    is_small: bool,
}

impl Held {
    fn charge(&self) -> u64 {
        charge(&self.bytes)
    }
}

/// Bytes that a block counts for.
fn charge(block: &Bytes) -> u64 {
    block.len() as u64 + BLOCK_OVERHEAD_BYTES
}

impl BlockCache {
    /// A cache for `bytes_max` bytes, for blocks of about `block_bytes`. With 0 it keeps nothing.
    pub(crate) fn new(bytes_max: u64, block_bytes: usize) -> Self {
        let shards =
            (bytes_max / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX).next_power_of_two() as usize;
        let block_bytes = (block_bytes as u64).max(512);
        let names = (bytes_max / block_bytes / shards as u64).next_power_of_two() as usize;
        let shard = |_| {
            let names = vec![0; names].into_boxed_slice();
            let bytes_max = bytes_max / shards as u64;
            Shard(Mutex::new(Blocks { bytes_max, names, ..Blocks::default() }))
        };
        Self { shards: (0..shards).map(shard).collect() }
    }

    #[inline]
    fn shard(&self, id: BlockId) -> MutexGuard<'_, Blocks> {
        // Other bits than those that choose a place within the shard.
        let shard = (id.hash() >> 40) as usize & (self.shards.len() - 1);
        self.shards[shard].0.lock()
    }

    /// The block, if it is here. Counts a hit or a miss.
    #[inline]
    pub(crate) fn get(&self, id: BlockId) -> Option<Bytes> {
        let mut blocks = self.shard(id);
        if let Some(held) = blocks.by_id.get_mut(&id) {
            held.hits = (held.hits + 1).min(HITS_MAX);
            let bytes = Arc::clone(&held.bytes);
            blocks.hits += 1;
            return Some(bytes);
        }
        blocks.misses += 1;
        None
    }

    /// Keeps a block that was missed, and returns it, or the copy that another thread has brought meanwhile.
    pub(crate) fn insert(&self, id: BlockId, bytes: Bytes) -> Bytes {
        let mut blocks = self.shard(id);
        if let Some(held) = blocks.by_id.get(&id) {
            return Arc::clone(&held.bytes);
        }
        let charge = charge(&bytes);
        if charge > blocks.bytes_max {
            return bytes;
        }
        let is_small = !blocks.has_left(id);
        while blocks.bytes + charge > blocks.bytes_max {
            blocks.evict(if is_small { charge } else { 0 });
        }
        if is_small {
            blocks.small.push_back(id);
            blocks.small_bytes += charge;
        } else {
            blocks.main.push_back(id);
        }
        blocks.bytes += charge;
        blocks.by_id.insert(id, Held { bytes: Arc::clone(&bytes), hits: 0, is_small });
        bytes
    }

    /// Lets go of blocks that nobody will ask for again.
    pub(crate) fn forget(&self, ids: impl Iterator<Item = BlockId>) {
        for id in ids {
            self.shard(id).remove(id);
        }
    }

    /// Changes the room, and lets go of what has none any more.
    pub(crate) fn set_bytes_max(&self, bytes_max: u64) {
        for shard in &self.shards {
            shard.0.lock().bytes_max = bytes_max / self.shards.len() as u64;
            while shard.0.lock().shrink() {}
        }
    }

    /// What is in it, and was asked for.
    pub(crate) fn figures(&self) -> CacheFigures {
        self.shards.iter().fold(CacheFigures::default(), |sum, shard| {
            let blocks = shard.0.lock();
            CacheFigures {
                bytes: sum.bytes + blocks.bytes,
                blocks: sum.blocks + blocks.by_id.len() as u64,
                hits: sum.hits + blocks.hits,
                misses: sum.misses + blocks.misses,
            }
        })
    }
}

impl Blocks {
    /// Whether a block left not long ago; then its name is forgotten.
    fn has_left(&mut self, id: BlockId) -> bool {
        let (slot, name) = self.name(id);
        let has_left = self.names[slot] == name;
        if has_left {
            self.names[slot] = 0;
        }
        has_left
    }

    /// The slot for the name of a block, and the name, which is not 0.
    fn name(&self, id: BlockId) -> (usize, u32) {
        let hash = id.hash();
        (hash as usize & (self.names.len() - 1), (hash >> 32) as u32 | 1)
    }

    /// Lets one block go, or moves one to the other queue, as `coming` bytes are about to come to the small queue. There must be one.
    fn evict(&mut self, coming: u64) {
        let is_full = self.small_bytes + coming > self.bytes_max / SMALL_PART;
        if is_full && !self.small.is_empty() || self.main.is_empty() {
            self.evict_small();
        } else {
            self.evict_main();
        }
    }

    fn evict_small(&mut self) {
        let Some(id) = self.small.pop_front() else { return };
        let Some(held) = self.by_id.get_mut(&id).filter(|held| held.is_small) else { return };
        if held.hits >= HITS_TO_STAY {
            (held.is_small, held.hits) = (false, 0);
            self.small_bytes -= held.charge();
            self.main.push_back(id);
        } else {
            let (slot, name) = self.name(id);
            self.names[slot] = name;
            self.remove(id);
        }
    }

    fn evict_main(&mut self) {
        let Some(id) = self.main.pop_front() else { return };
        let Some(held) = self.by_id.get_mut(&id).filter(|held| !held.is_small) else { return };
        if held.hits > 0 {
            held.hits -= 1;
            self.main.push_back(id);
        } else {
            self.remove(id);
        }
    }

    /// Takes a block out. Its place in the queue stays, and is passed over when its turn comes.
    fn remove(&mut self, id: BlockId) {
        let Some(held) = self.by_id.remove(&id) else { return };
        self.bytes -= held.charge();
        if held.is_small {
            self.small_bytes -= held.charge();
        }
        if self.small.len() + self.main.len() > 2 * self.by_id.len() + EVICTED_AT_A_TIME {
            let by_id = &self.by_id;
            self.small.retain(|id| by_id.get(id).is_some_and(|held| held.is_small));
            self.main.retain(|id| by_id.get(id).is_some_and(|held| !held.is_small));
        }
    }

    /// Lets some blocks go while there are too many. Tells whether there still are.
    fn shrink(&mut self) -> bool {
        for _ in 0..EVICTED_AT_A_TIME {
            if self.bytes <= self.bytes_max {
                return false;
            }
            self.evict(0);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = 1_000 - BLOCK_OVERHEAD_BYTES;

    fn id(offset: u64) -> BlockId {
        BlockId { table: 7, offset }
    }

    fn block(offset: u64) -> Bytes {
        (0..BLOCK).map(|at| (at + offset) as u8).collect()
    }

    /// Reads a block through the cache; tells whether it was there.
    fn read(cache: &BlockCache, offset: u64) -> bool {
        let hit = cache.get(id(offset));
        let is_hit = hit.is_some();
        let bytes = hit.unwrap_or_else(|| cache.insert(id(offset), block(offset)));
        assert_eq!(bytes, block(offset));
        is_hit
    }

    #[test]
    fn blocks_stay_within_the_room_and_their_bytes_are_counted() {
        let cache = BlockCache::new(100_000, 1_000);
        for offset in 0..100 {
            assert!(!read(&cache, offset));
        }
        let full = cache.figures();
        assert_eq!(full, CacheFigures { bytes: 100_000, blocks: 100, hits: 0, misses: 100 });
        for offset in 0..10_000 {
            read(&cache, offset * 17 % 1_009);
            assert!(cache.figures().bytes <= 100_000);
        }
        assert!(cache.figures().hits > 0);
        cache.set_bytes_max(30_500);
        assert_eq!((cache.figures().bytes, cache.figures().blocks), (30_000, 30));
        cache.set_bytes_max(0);
        assert_eq!((cache.figures().bytes, cache.figures().blocks), (0, 0));
        assert!(!read(&cache, 1) && !read(&cache, 1), "there is no room");
    }

    #[test]
    fn a_scan_leaves_what_is_used_where_it_is() {
        let cache = BlockCache::new(100_000, 1_000);
        let used = || (0..50).filter(|offset| read(&cache, *offset)).count();
        assert_eq!([used(), used(), used()], [0, 50, 50]);
        for offset in 10_000..20_000 {
            read(&cache, offset);
        }
        assert_eq!(used(), 50, "a hundred times as many blocks were looked at once");
    }

    #[test]
    fn what_comes_back_soon_stays() {
        let cache = BlockCache::new(100_000, 1_000);
        let missed =
            |offsets: std::ops::Range<u64>| offsets.filter(|offset| !read(&cache, *offset)).count();
        assert_eq!(missed(0..100), 100);
        // One that has left a moment ago.
        assert_eq!(missed(100..110), 10);
        assert!(!read(&cache, 0), "it has left");
        assert_eq!(missed(200..1_200), 1_000);
        assert!(read(&cache, 0), "its name was remembered");
    }

    #[test]
    fn what_nobody_needs_makes_room_and_its_places_are_given_back() {
        let cache = BlockCache::new(1_000_000, 1_000);
        for round in 0..100 {
            let ids = || (0..500).map(|offset| BlockId { table: round, offset });
            ids().for_each(|id| drop(cache.insert(id, block(id.offset))));
            assert_eq!(cache.figures().blocks, 500);
            cache.forget(ids());
            assert_eq!((cache.figures().bytes, cache.figures().blocks), (0, 0));
        }
        let blocks = cache.shards[0].0.lock();
        assert!(blocks.small.len() <= 2 * EVICTED_AT_A_TIME, "{}", blocks.small.len());
    }

    #[test]
    fn a_block_that_two_have_read_is_kept_once() {
        let cache = BlockCache::new(100_000, 1_000);
        let (first, second) = (block(1), block(1));
        let kept = cache.insert(id(1), Arc::clone(&first));
        assert!(Arc::ptr_eq(&kept, &first));
        assert!(Arc::ptr_eq(&cache.insert(id(1), second), &first));
        assert_eq!(cache.figures().blocks, 1);
    }

    #[test]
    fn names_are_spread_over_shards_and_slots() {
        let cache = BlockCache::new(64 << 20, 4 << 10);
        assert_eq!(cache.shards.len(), 64);
        let mut used = vec![0; 64];
        for table in 0..64 {
            for block in 0..256 {
                let id = BlockId { table, offset: block * 4_101 };
                used[(id.hash() >> 40) as usize & 63] += 1;
            }
        }
        assert!(used.iter().all(|blocks| (200..312).contains(blocks)), "{used:?}");
    }
}
