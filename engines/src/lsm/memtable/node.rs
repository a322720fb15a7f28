//! A node of the memtable's tree, and the protocol by which readers see it whole without a lock.
//!
//! 1. The writer makes the version odd, changes the node, and makes the version even again (Boehm, "Can Seqlocks Get Along With
//!    Programming Language Memory Models?", MSPC 2012).
//! 2. A reader notes the version, reads, and looks at the version again. If it has moved, what was read is thrown away.
//!
//! All fields are atomic, so a race is a wrong number at worst, never undefined; whoever reads before the check treats every number
//! as possibly wrong.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::prefetch::prefetch;

/// Entries of a node. Two arrays of 32 × 8 bytes are four cache lines each; 16 and 64 were slower.
pub(super) const WIDTH: usize = 32;
/// So many entries that are put one behind the other are a run.
const RUN: u32 = WIDTH as u32 / 2;
/// No node, or no key.
pub(super) const NONE: u32 = u32::MAX;

/// A node: a leaf holds keys, an inner node holds for each child the key at which its range begins.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Node {
    version: AtomicU32,
    /// Height above the leaves; fixed before the node can be seen.
    pub(super) height: AtomicU32,
    len: AtomicU32,
    /// Bytes that all keys between `low` and `high` have in common: heads begin behind them.
    pub(super) prefix: AtomicU32,
    /// Neighbours among the leaves, or [`NONE`].
    pub(super) next: AtomicU32,
    pub(super) previous: AtomicU32,
    /// Log offset of the key at which the node's range begins (included) and ends (excluded), or [`NONE`].
    pub(super) low: AtomicU32,
    pub(super) high: AtomicU32,
    /// Position of the youngest entry, and how many in a row have been put each behind the one before it since the node was made or split. The writer alone asks.
    last: AtomicU32,
    run: AtomicU32,
    /// The eight bytes behind the prefix of each key, as a number.
    heads: [AtomicU64; WIDTH],
    /// See [`Slot`].
    slots: [AtomicU64; WIDTH],
}

/// What a node keeps of a key beside its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Slot {
    /// Log offset of the operation whose key this is.
    pub(super) offset: u32,
    /// In a leaf: where the version that this one replaced is, or [`NONE`]. In an inner node: the child.
    pub(super) link: u32,
}

impl Slot {
    #[inline]
    pub(super) fn from_bits(bits: u64) -> Self {
        Self { offset: (bits >> 32) as u32, link: bits as u32 }
    }

    #[inline]
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.offset) << 32 | u64::from(self.link)
    }
}

impl Node {
    /// The version to give to [`Self::unchanged_since`]; waits while a change is under way.
    #[inline]
    pub(super) fn begin_read(&self) -> u32 {
        let mut spins = 0_u32;
        loop {
            let version = self.version.load(Ordering::Acquire);
            if version.is_multiple_of(2) {
                return version;
            }
            // A change takes some tens of nanoseconds, unless its thread has lost the processor in the middle of it.
            spins += 1;
            if spins < 100 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// Loads the heads into the cache all at once, instead of one line after the other.
    #[inline]
    pub(super) fn load_ahead(&self) {
        let lines = self.heads.chunks(8);
        black_box(lines.fold(0, |sum, line| sum ^ line[0].load(Ordering::Relaxed)));
    }

    /// Has what a walk looks at come from memory.
    #[inline]
    pub(super) fn prefetch_slots(&self) {
        prefetch(std::slice::from_ref(&self.version));
        prefetch(&self.slots);
    }

    /// Whether what was read since `version` is what the node held then.
    #[inline]
    pub(super) fn unchanged_since(&self, version: u32) -> bool {
        fence(Ordering::Acquire);
        self.version.load(Ordering::Relaxed) == version
    }

    /// Changes the node. To be called by one thread at a time.
    #[inline]
    pub(super) fn change<T>(&self, change: impl FnOnce() -> T) -> T {
        let version = self.version.load(Ordering::Relaxed);
        debug_assert!(version.is_multiple_of(2), "changes do not nest");
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let outcome = change();
        self.version.store(version.wrapping_add(2), Ordering::Release);
        outcome
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        (self.len.load(Ordering::Relaxed) as usize).min(WIDTH)
    }

    #[inline]
    pub(super) fn set_len(&self, len: usize) {
        self.len.store(len as u32, Ordering::Relaxed);
    }

    /// Whether an entry at `at` would go on with a run of so many that it is no chance.
    pub(super) fn run_goes_on_at(&self, at: usize) -> bool {
        self.run.load(Ordering::Relaxed) >= RUN
            && at == self.last.load(Ordering::Relaxed) as usize + 1
    }

    /// The node is new, or has been split: a run begins at its end.
    pub(super) fn begin_run(&self) {
        self.last.store(self.len().saturating_sub(1) as u32, Ordering::Relaxed);
        self.run.store(0, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn head(&self, at: usize) -> u64 {
        self.heads[at].load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn slot(&self, at: usize) -> Slot {
        // Acquire: who sees a slot sees the log's bytes at its offset, which were appended before.
        Slot::from_bits(self.slots[at].load(Ordering::Acquire))
    }

    #[inline]
    pub(super) fn set_slot(&self, at: usize, slot: Slot) {
        self.slots[at].store(slot.to_bits(), Ordering::Release);
    }

    #[inline]
    pub(super) fn set(&self, at: usize, head: u64, slot: Slot) {
        self.heads[at].store(head, Ordering::Relaxed);
        self.set_slot(at, slot);
    }

    /// Makes room at `at` and fills it. The node is not full.
    #[inline]
    pub(super) fn insert(&self, at: usize, head: u64, slot: Slot) {
        let len = self.len();
        for i in (at..len).rev() {
            self.set(i + 1, self.head(i), self.slot(i));
        }
        self.set(at, head, slot);
        self.set_len(len + 1);
        let goes_on = at == self.last.load(Ordering::Relaxed) as usize + 1;
        let run = if goes_on { self.run.load(Ordering::Relaxed) + 1 } else { 1 };
        self.last.store(at as u32, Ordering::Relaxed);
        self.run.store(run, Ordering::Relaxed);
    }

    /// The first of the entries `from..` whose head is at least `head`.
    #[inline]
    pub(super) fn lower_bound(&self, from: usize, head: u64) -> usize {
        let len = self.len();
        let heads = &self.heads[from.min(len)..len];
        from + heads.partition_point(|entry| entry.load(Ordering::Relaxed) < head)
    }

    /// The first of the entries `from..` whose head is greater than `head`.
    #[inline]
    pub(super) fn upper_bound(&self, from: usize, head: u64) -> usize {
        let len = self.len();
        (from..len).find(|at| self.head(*at) != head).unwrap_or(len.max(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_keep_both_halves() {
        let slot = Slot { offset: 0x0102_0304, link: NONE };
        assert_eq!(Slot::from_bits(slot.to_bits()), slot);
    }

    #[test]
    fn a_change_is_noticed() {
        let node = Node::default();
        let version = node.begin_read();
        assert!(node.unchanged_since(version));
        node.change(|| node.insert(0, 1, Slot::default()));
        assert!(!node.unchanged_since(version));
    }
}
