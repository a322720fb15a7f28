//! The order of a memtable: a B+-tree over keys that lie in the log.
//!
//! One writer at a time, any number of readers, who take no lock.
//!
//! 1. A node's range is given by two keys, `low` and `high`. All keys in it begin with what these two have in common, so a node compares
//!    the eight bytes *behind* that, its heads, and looks into the log only when two heads are equal (Graefe, "Modern B-Tree
//!    Techniques", 2011, prefix truncation). A prefix such as `user` costs nothing this way.
//! 2. A reader goes down from the root. It notes each node's version before it looks at it, and once it has the child's version looks
//!    whether the parent has changed meanwhile; if so, it starts again (Leis et al., "The ART of Practical Synchronization", `DaMoN` 2016).
//! 3. The writer goes down likewise and splits each full child on the way, so that there is always room in the parent.
//! 4. Nothing is ever removed. A newer version of a key takes the slot of the older one with a single store, and remembers
//!    where that one is; readers of an earlier point in time follow these links back.
//!
//! The offset of an operation in the log doubles as its age: what lies below an offset was written before it.

use std::cmp::Ordering as Order;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::super::codec::{common_prefix, head};
use super::super::wal::Operation;
use super::chunks::Chunks;
use super::node::{NONE, Node, Slot, WIDTH};
use crate::Result;
use crate::storage::File;

const NODES_PER_CHUNK: usize = 128;
const VERSIONS_PER_CHUNK: usize = 4096;
/// Bytes of a chunk of nodes and one of versions.
pub(super) const CHUNKS_BYTES: usize =
    NODES_PER_CHUNK * size_of::<Node>() + VERSIONS_PER_CHUNK * size_of::<AtomicU64>();
/// Inner nodes are at least half full, so no tree of 2³² entries is higher.
const HEIGHT_MAX: usize = 9;

/// An ordered index of the operations in a log.
#[derive(Debug)]
pub(super) struct Tree<F> {
    file: F,
    nodes: Chunks<Node, NODES_PER_CHUNK>,
    /// Slots that newer versions have replaced.
    older: Chunks<AtomicU64, VERSIONS_PER_CHUNK>,
    root: AtomicU32,
}

/// A reader saw a node in the middle of a change, or the tree has no room.
pub(super) struct Retry;

impl<F: File> Tree<F> {
    /// A tree for at most `entries_max` operations of the log in `file`.
    pub(super) fn new(file: F, entries_max: usize) -> Self {
        // A split in the middle takes half a node's entries to become due again, and one behind a run the entries of the run: at least as many.
        let nodes = Chunks::new(entries_max / (WIDTH / 4) + 2 * HEIGHT_MAX);
        let tree = Self { file, nodes, older: Chunks::new(entries_max), root: AtomicU32::new(0) };
        tree.allocate(0);
        tree
    }

    pub(super) fn file(&self) -> &F {
        &self.file
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.nodes.memory_bytes() + self.older.memory_bytes()
    }

    #[inline]
    pub(super) fn node(&self, id: u32) -> Result<&Node, Retry> {
        self.nodes.get(id).ok_or(Retry)
    }

    /// A node that exists because the writer, who asks, has made it.
    fn own_node(&self, id: u32) -> &Node {
        match self.nodes.get(id) {
            Some(node) => node,
            None => unreachable!("the writer only follows links that it has stored itself"),
        }
    }

    fn allocate(&self, height: u32) -> (u32, &Node) {
        let Some((id, node)) = self.nodes.push() else {
            unreachable!("there are nodes for as many operations as the log can hold")
        };
        node.height.store(height, Ordering::Relaxed);
        for link in [&node.next, &node.previous, &node.low, &node.high] {
            link.store(NONE, Ordering::Relaxed);
        }
        (id, node)
    }

    /// The key of the operation at `offset`.
    #[inline]
    fn key(&self, offset: u32) -> Result<F::Bytes<'_>> {
        let operation = Operation::at(&self.file, offset)?;
        let key = operation.key();
        self.file.read(u64::from(offset) + key.start as u64, key.len())
    }

    /// The first of the entries `from..` of `node` whose key is at least `key`, and whether it is equal.
    #[inline]
    fn search(&self, node: &Node, from: usize, key: &[u8]) -> Result<(usize, bool)> {
        node.load_ahead();
        let prefix = node.prefix.load(Ordering::Relaxed) as usize;
        let head = head(key.get(prefix..).unwrap_or_default());
        let mut low = node.lower_bound(from, head);
        let mut high = node.upper_bound(low, head);
        while low < high {
            let middle = usize::midpoint(low, high);
            match (*self.key(node.slot(middle).offset)?).cmp(key) {
                Order::Less => low = middle + 1,
                Order::Equal => return Ok((middle, true)),
                Order::Greater => high = middle,
            }
        }
        Ok((low, false))
    }

    /// Which child of an inner node has `key` in its range.
    #[inline]
    fn child_index(&self, node: &Node, key: &[u8]) -> Result<usize> {
        // The first entry stands for everything below the second: its key is never compared.
        let (at, exact) = self.search(node, 1, key)?;
        Ok(if exact { at } else { at - 1 })
    }

    /// Goes down by `choose` to a leaf, and returns it with its version.
    #[inline]
    fn descend(&self, mut choose: impl FnMut(&Node) -> Result<usize>) -> Result<(u32, &Node, u32)> {
        'restart: loop {
            let mut id = self.root.load(Ordering::Acquire);
            let Ok(mut node) = self.node(id) else { continue };
            let mut version = node.begin_read();
            if self.root.load(Ordering::Acquire) != id {
                continue;
            }
            while node.height.load(Ordering::Relaxed) > 0 {
                let chosen = choose(node);
                let at = match chosen {
                    Ok(at) => at,
                    Err(_) if !node.unchanged_since(version) => continue 'restart,
                    Err(error) => return Err(error),
                };
                id = node.slot(at.min(WIDTH - 1)).link;
                let Ok(child) = self.node(id) else { continue 'restart };
                let child_version = child.begin_read();
                if !node.unchanged_since(version) {
                    continue 'restart;
                }
                (node, version) = (child, child_version);
            }
            return Ok((id, node, version));
        }
    }

    /// The slot of `key`.
    #[inline]
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Slot>> {
        loop {
            let (_, leaf, version) = self.descend(|node| self.child_index(node, key))?;
            let found = self.search(leaf, 0, key);
            let slot = match found {
                Ok((at, true)) => Some(leaf.slot(at.min(WIDTH - 1))),
                _ => None,
            };
            if leaf.unchanged_since(version) {
                return found.map(|_| slot);
            }
        }
    }

    /// Reads the leaf whose range `key` is in, or the first leaf or the last one.
    pub(super) fn leaf(&self, position: Position<'_>, copy: &mut LeafCopy) -> Result<()> {
        loop {
            let (id, leaf, version) = self.descend(|node| match position {
                Position::First => Ok(0),
                Position::At(key) => self.child_index(node, key),
                Position::Last => Ok(node.len().saturating_sub(1)),
            })?;
            let at = match position {
                Position::At(key) => self.search(leaf, 0, key),
                Position::First | Position::Last => Ok((0, false)),
            };
            if copy.fill(id, leaf, version) {
                (copy.found, copy.exact) = at?;
                return Ok(());
            }
        }
    }

    /// About which part of the keys, from 0 to 1, comes before `key`, or with `inclusive` up to it: each node on the way down is taken to have its
    /// keys spread evenly over its grandchildren. Costs a look at all children of each of these nodes.
    pub(super) fn share_before(&self, key: &[u8], inclusive: bool) -> Result<f64> {
        loop {
            // Parts of all keys: what lies before the node, and what lies in it.
            let (mut before, mut within) = (0.0, 1.0);
            let mut height = 0;
            let (_, leaf, version) = self.descend(|node| {
                let at = self.child_index(node, key)?;
                let node_height = node.height.load(Ordering::Relaxed);
                if node_height >= height {
                    // This is the root, perhaps not for the first time.
                    (before, within) = (0.0, 1.0);
                }
                height = node_height;
                let entries = |child| self.node(node.slot(child).link).map_or(0, Node::len);
                let of = |children: std::ops::Range<usize>| children.map(entries).sum::<usize>();
                let all = of(0..node.len()).max(1) as f64;
                before += within * of(0..at.min(WIDTH)) as f64 / all;
                within *= of(at.min(WIDTH)..(at + 1).min(WIDTH)) as f64 / all;
                Ok(at)
            })?;
            let (found, len) = (self.search(leaf, 0, key), leaf.len());
            if leaf.unchanged_since(version) {
                let (at, exact) = found?;
                let at = at + usize::from(exact && inclusive);
                return Ok((before + within * at as f64 / len.max(1) as f64).min(1.0));
            }
        }
    }

    /// The version that `slot` replaced.
    pub(super) fn older(&self, slot: Slot) -> Option<Slot> {
        self.older.get(slot.link).map(|bits| Slot::from_bits(bits.load(Ordering::Acquire)))
    }

    /// Adds the operation at `offset`, whose key is `key`. To be called by one thread at a time, with growing offsets. Tells whether the
    /// key is new.
    pub(super) fn insert(&self, offset: u32, key: &[u8]) -> Result<bool> {
        let mut node = self.own_node(self.root.load(Ordering::Relaxed));
        if node.len() == WIDTH {
            node = self.grow();
        }
        while node.height.load(Ordering::Relaxed) > 0 {
            let at = self.child_index(node, key)?;
            let child = self.own_node(node.slot(at).link);
            if child.len() < WIDTH {
                node = child;
            } else {
                // The split may have put the key's range into the new node: look again.
                self.split(node, at, key)?;
            }
        }
        let (at, exact) = self.search(node, 0, key)?;
        if exact {
            let Some((link, replaced)) = self.older.push() else {
                unreachable!("there is room for as many versions as the log can hold operations")
            };
            replaced.store(node.slot(at).to_bits(), Ordering::Relaxed);
            node.set_slot(at, Slot { offset, link });
            return Ok(false);
        }
        let prefix = node.prefix.load(Ordering::Relaxed) as usize;
        let head = head(key.get(prefix..).unwrap_or_default());
        node.change(|| node.insert(at, head, Slot { offset, link: NONE }));
        Ok(true)
    }

    /// Puts a new root above the old one.
    fn grow(&self) -> &Node {
        let old = self.root.load(Ordering::Relaxed);
        let height = self.own_node(old).height.load(Ordering::Relaxed) + 1;
        let (id, root) = self.allocate(height);
        root.insert(0, 0, Slot { offset: NONE, link: old });
        self.root.store(id, Ordering::Release);
        root
    }

    /// Splits the full child at `at` of `parent`, which has room, because `key` is to go into it.
    fn split(&self, parent: &Node, at: usize, key: &[u8]) -> Result<()> {
        let left_id = parent.slot(at).link;
        let left = self.own_node(left_id);
        let height = left.height.load(Ordering::Relaxed);
        let (low, high) = (left.low.load(Ordering::Relaxed), left.high.load(Ordering::Relaxed));
        // Keys that arrive in order, of all keys or of those between two others, would leave every node half empty: what comes behind them goes over, and they have the rest of the node for themselves.
        let position = self.search(left, usize::from(height > 0), key)?.0;
        let goes_on = left.run_goes_on_at(position) && position > WIDTH / 2;
        let middle = if goes_on { position.min(WIDTH - 1) } else { WIDTH / 2 };
        let separator = left.slot(middle).offset;

        let (right_id, right) = self.allocate(height);
        let prefix = self.prefix(separator, high)?;
        right.prefix.store(prefix, Ordering::Relaxed);
        right.low.store(separator, Ordering::Relaxed);
        right.high.store(high, Ordering::Relaxed);
        for i in middle..WIDTH {
            let head = self.head_in(left, i, prefix)?;
            right.insert(i - middle, head, left.slot(i));
        }
        right.begin_run();
        let next = left.next.load(Ordering::Relaxed);
        right.next.store(next, Ordering::Relaxed);
        right.previous.store(left_id, Ordering::Relaxed);

        let prefix = self.prefix(low, separator)?;
        let mut heads = [0; WIDTH];
        for (i, head) in heads.iter_mut().enumerate().take(middle) {
            *head = self.head_in(left, i, prefix)?;
        }
        let parent_head = {
            let prefix = parent.prefix.load(Ordering::Relaxed) as usize;
            head(self.key(separator)?.get(prefix..).unwrap_or_default())
        };

        parent.change(|| {
            left.change(|| {
                for (i, head) in heads.into_iter().enumerate().take(middle) {
                    left.set(i, head, left.slot(i));
                }
                left.set_len(middle);
                left.begin_run();
                left.prefix.store(prefix, Ordering::Relaxed);
                left.high.store(separator, Ordering::Relaxed);
                if height == 0 {
                    left.next.store(right_id, Ordering::Release);
                }
            });
            parent.insert(at + 1, parent_head, Slot { offset: separator, link: right_id });
        });
        if height == 0 && next != NONE {
            self.own_node(next).previous.store(right_id, Ordering::Release);
        }
        Ok(())
    }

    /// Bytes that all keys between two keys have in common.
    fn prefix(&self, low: u32, high: u32) -> Result<u32> {
        if low == NONE || high == NONE {
            return Ok(0);
        }
        Ok(common_prefix(&self.key(low)?, &self.key(high)?) as u32)
    }

    /// The head of an entry if the node's prefix were `prefix`.
    fn head_in(&self, node: &Node, at: usize, prefix: u32) -> Result<u64> {
        let offset = node.slot(at).offset;
        if prefix == node.prefix.load(Ordering::Relaxed) || offset == NONE {
            return Ok(node.head(at));
        }
        Ok(head(self.key(offset)?.get(prefix as usize..).unwrap_or_default()))
    }
}

/// Which leaf.
#[derive(Clone, Copy, Debug)]
pub(super) enum Position<'k> {
    First,
    At(&'k [u8]),
    Last,
}

/// What a leaf held at one moment.
#[derive(Debug)]
pub(super) struct LeafCopy {
    id: u32,
    next: u32,
    previous: u32,
    pub(super) len: usize,
    slots: [u64; WIDTH],
    /// The first entry that is not below the key that was looked for, and whether it is equal.
    pub(super) found: usize,
    pub(super) exact: bool,
}

impl Default for LeafCopy {
    fn default() -> Self {
        let slots = [0; WIDTH];
        Self { id: NONE, next: NONE, previous: NONE, len: 0, slots, found: 0, exact: false }
    }
}

impl LeafCopy {
    /// Copies the leaf, and tells whether it is still what it was at `version`.
    fn fill(&mut self, id: u32, leaf: &Node, version: u32) -> bool {
        let len = leaf.len();
        for (i, slot) in self.slots[..len].iter_mut().enumerate() {
            *slot = leaf.slot(i).to_bits();
        }
        (self.id, self.len) = (id, len);
        self.next = leaf.next.load(Ordering::Acquire);
        self.previous = leaf.previous.load(Ordering::Acquire);
        leaf.unchanged_since(version)
    }

    fn fill_from<F: File>(&mut self, tree: &Tree<F>, id: u32) {
        while let Ok(leaf) = tree.node(id) {
            let version = leaf.begin_read();
            if self.fill(id, leaf, version) {
                return;
            }
        }
        *self = Self::default();
    }

    pub(super) fn slot(&self, at: usize) -> Slot {
        Slot::from_bits(self.slots[at])
    }

    /// Has the leaf after this one come from memory.
    #[inline]
    pub(super) fn prefetch_next<F: File>(&self, tree: &Tree<F>) {
        let _ = tree.node(self.next).map(Node::prefetch_slots);
    }

    /// Has the leaf before this one come from memory.
    #[inline]
    pub(super) fn prefetch_previous<F: File>(&self, tree: &Tree<F>) {
        let _ = tree.node(self.previous).map(Node::prefetch_slots);
    }

    /// Goes to the leaf after this one; without one, the copy is empty afterwards.
    pub(super) fn go_next<F: File>(&mut self, tree: &Tree<F>) {
        // If this leaf was split since it was copied, its upper half was copied too, and what was added to it since is of no concern: it is
        // younger than whoever walks here. So the neighbour at the time of the copy is the right one.
        self.fill_from(tree, self.next);
    }

    /// Goes to the leaf before this one; without one, the copy is empty afterwards.
    pub(super) fn go_previous<F: File>(&mut self, tree: &Tree<F>) {
        let here = self.id;
        self.fill_from(tree, self.previous);
        // That leaf may have been split since, and its upper half lies between it and here.
        while self.len > 0 && self.next != here && self.next != NONE {
            self.fill_from(tree, self.next);
        }
    }
}
