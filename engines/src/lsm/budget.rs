//! One budget for the memory of a store.
//!
//! | part | counts with | is kept in bounds by |
//! |---|---|---|
//! | memtables, with the logs that they are read from | the most that it may come to, from the beginning; once it is full, what it has | [`Options::memtables_waiting_max`]: writers are slowed down as they outrun the flush, and wait in the end |
//! | filters and indexes of tables that are read by calls | what they take | those that would take more than three quarters of what memtables leave are used where the mapped file has them |
//! | the block cache | what blocks take, and the cache itself for them | evicting: it gets what the others leave, up to [`Options::cache_bytes`] |
//!
//! Whoever takes memory charges for it first; the cache makes room before that returns. Not counted is what work under way takes, some MiB for each flush and compaction, nor what a single write takes that is larger than a memtable. A memtable
//! that a snapshot keeps goes on counting: the cache gets less, and writers wait for flushes early, but never for the snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::cache::{BlockCache, CacheFigures};
use super::options::Options;

/// The index over a memtable's log may take this part of the log's length ...
const INDEX_PART: u64 = 4;
/// ... but at least this: what the first few entries take, as memory is taken in chunks.
const INDEX_BYTES_MIN: u64 = 512 << 10;
/// The cache's room changes in steps of one part of so many of the budget.
const STEPS: u64 = 256;

/// Bytes of memory that the index over the log of a memtable may come to before the memtable is full.
pub(crate) fn index_bytes_max(memtable_bytes: u64) -> u64 {
    (memtable_bytes / INDEX_PART).max(INDEX_BYTES_MIN)
}

/// Bytes of memory that a memtable may come to whose log has room for `log_bytes`.
pub(crate) fn memtable_bytes_max(log_bytes: u64, options: &Options) -> u64 {
    log_bytes + index_bytes_max(options.memtable_bytes)
}

/// Bytes of memory that all memtables may come to: one that is written to, and those that wait.
pub(crate) fn memtables_bytes_max(options: &Options) -> u64 {
    let each = memtable_bytes_max(options.memtable_bytes, options);
    each.saturating_mul(options.memtables_waiting_max as u64 + 1)
}

/// What memory is charged for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Memtables,
    Tables,
}

/// The memory of a store.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: u64,
    cache_bytes_max: u64,
    tables_bytes_max: u64,
    memtables: AtomicU64,
    tables: AtomicU64,
    pub(crate) cache: BlockCache,
    /// The cache's room. Held while anything is charged for.
    cache_room: Mutex<u64>,
}

impl Budget {
    /// The budget that options say.
    pub(crate) fn new(options: &Options) -> Self {
        let bytes_max = options.memory_bytes;
        let left = bytes_max.saturating_sub(memtables_bytes_max(options));
        let cache_bytes_max = options.cache_bytes.min(bytes_max);
        Self {
            bytes_max,
            cache_bytes_max,
            tables_bytes_max: left / 4 * 3,
            memtables: AtomicU64::new(0),
            tables: AtomicU64::new(0),
            cache: BlockCache::new(cache_bytes_max, options.block_bytes),
            cache_room: Mutex::new(cache_bytes_max),
        }
    }

    fn part(&self, part: Part) -> &AtomicU64 {
        match part {
            Part::Memtables => &self.memtables,
            Part::Tables => &self.tables,
        }
    }

    /// Bytes that are charged for.
    pub(crate) fn charged(&self, part: Part) -> u64 {
        self.part(part).load(Ordering::Relaxed)
    }

    /// Charges for memory that is about to be taken.
    pub(crate) fn charge(self: &Arc<Self>, part: Part, bytes: u64) -> Charge {
        let charge = Charge { budget: Arc::clone(self), part, bytes: AtomicU64::new(0) };
        charge.set(bytes);
        charge
    }

    /// Charges for a part of a table, if there is room for it.
    pub(crate) fn charge_table(self: &Arc<Self>, bytes: u64) -> Option<Charge> {
        let has_room = |bytes: u64| self.charged(Part::Tables) + bytes <= self.tables_bytes_max;
        if !has_room(bytes) {
            return None;
        }
        let charge = self.charge(Part::Tables, bytes);
        // Others may have come first.
        has_room(0).then_some(charge)
    }

    /// Whether there is room for a memtable of so many bytes, if tables take all that they may, and the cache gives all of its own.
    pub(crate) fn has_room_for(&self, memtable_bytes: u64) -> bool {
        let taken = self.charged(Part::Memtables) + self.tables_bytes_max;
        taken.saturating_add(memtable_bytes) <= self.bytes_max
    }

    /// Bytes that are charged for by all parts, those of the cache among them, and what is in the cache.
    pub(crate) fn figures(&self) -> (u64, CacheFigures) {
        // While a part takes more, and the cache has not given it yet, they would be too many.
        let room = self.cache_room.lock();
        let taken = self.charged(Part::Memtables) + self.charged(Part::Tables);
        let cache = self.cache.figures();
        drop(room);
        (taken + cache.bytes, cache)
    }

    /// Gives the cache, whose room is `room`, what the others leave.
    fn fit_cache(&self, room: &mut u64) {
        let taken = self.charged(Part::Memtables) + self.charged(Part::Tables);
        let left = self.bytes_max.saturating_sub(taken);
        let step = (self.bytes_max / STEPS).max(1);
        let wanted = (left / step * step).min(self.cache_bytes_max);
        if wanted != *room {
            self.cache.set_bytes_max(wanted);
            *room = wanted;
        }
    }
}

/// Memory that somebody has, and gives back when this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    part: Part,
    bytes: AtomicU64,
}

impl Charge {
    /// It is as much from now on.
    pub(crate) fn set(&self, bytes: u64) {
        let budget = &self.budget;
        let mut room = budget.cache_room.lock();
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        let sum = budget.part(self.part);
        if bytes >= before {
            sum.fetch_add(bytes - before, Ordering::Relaxed);
        } else {
            sum.fetch_sub(before - bytes, Ordering::Relaxed);
        }
        budget.fit_cache(&mut room);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::cache::BlockId;
    use super::*;

    fn budget(memory_bytes: u64, cache_bytes: u64) -> Arc<Budget> {
        let options = Options {
            memtable_bytes: 8 << 20,
            memtables_waiting_max: 1,
            memory_bytes,
            cache_bytes,
            ..Options::default()
        };
        assert_eq!(memtables_bytes_max(&options), 20 << 20);
        Arc::new(Budget::new(&options))
    }

    fn fill(budget: &Budget) -> u64 {
        for offset in 0..20_000 {
            let id = BlockId { table: 1, offset };
            budget.cache.insert(id, vec![0; 4_000].into());
        }
        budget.cache.figures().bytes
    }

    #[test]
    fn the_cache_gets_what_the_others_leave_and_no_more_than_it_may() {
        let budget = budget(32 << 20, 24 << 20);
        let full = fill(&budget);
        assert!((20 << 20..=24 << 20).contains(&full), "{full}");
        let memtable = budget.charge(Part::Memtables, 10 << 20);
        assert!(budget.cache.figures().bytes <= 22 << 20);
        let second = budget.charge(Part::Memtables, 10 << 20);
        let table = budget.charge_table(4 << 20).unwrap();
        assert!(budget.cache.figures().bytes <= 8 << 20);
        assert!(fill(&budget) <= 8 << 20);
        memtable.set(6 << 20);
        drop(second);
        assert_eq!(budget.charged(Part::Memtables), 6 << 20);
        assert!(fill(&budget) > 18 << 20);
        drop((memtable, table));
        assert_eq!(budget.charged(Part::Memtables) + budget.charged(Part::Tables), 0);
    }

    #[test]
    fn tables_leave_memtables_their_room() {
        let budget = budget(28 << 20, 28 << 20);
        let first = budget.charge_table(5 << 20);
        assert!(first.is_some());
        assert!(budget.charge_table(2 << 20).is_none(), "that would be more than 6 MiB");
        assert_eq!(budget.charged(Part::Tables), 5 << 20, "what was refused is not charged");
        assert!(budget.has_room_for(22 << 20));
        assert!(!budget.has_room_for((22 << 20) + 1));
    }
}
