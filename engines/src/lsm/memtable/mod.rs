//! The memtable: an ordered index over one write-ahead log.
//!
//! Keys and values are not copied: they are read where the log has them, in its mapped segment. What is in memory is the [`tree`], some
//! twenty-five bytes per key, and a filter that spares gets the way through the tree for keys that are not there.
//!
//! 1. The writer appends a frame to the log, adds each of its operations to the tree, and then publishes the log's length as
//!    [`Memtable::publish`]: until then nobody sees any of them, so a batch appears as a whole.
//! 2. A reader takes a [`View`]: the memtable up to a length of its log. Whatever is written later lies above it and is skipped, so a view
//!    is one point in time, and no version needs a sequence number of its own.
//! 3. When the segment is full, the memtable is frozen by having no writer any more.
//! 4. Ranges of keys that are deleted are not in the tree: [`ranges`]. What they delete of the memtable itself is passed over by whoever reads it.
//! 5. After a failed sync of the log a copy of it is read, or nothing: `stand_in`.

mod chunks;
mod cursor;
mod node;
mod ranges;
mod stand_in;
mod tree;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
pub(crate) use cursor::Cursor;
use node::Slot;
pub(crate) use ranges::Fragments;
use ranges::Published;
use stand_in::Lost;
use tree::Tree;

use super::budget::Charge;
use super::deadline;
use super::files::FileNumber;
use super::table::filter::{self, LINE_WORDS};
use super::wal::{self, Kind, LOG_HEADER_BYTES, OPERATION_HEADER_BYTES, Operation};
use crate::log::frame::frame_bytes;
use crate::storage::File;
use crate::{Direction, Error, Result, log};

/// A longest log: offsets have 32 bits, and the last is not an offset.
pub(crate) const LOG_BYTES_MAX: u64 = u32::MAX as u64 - 1;

/// The most by which the memory of an index grows for one entry, as it is taken in chunks.
pub(crate) const INDEX_STEP_BYTES: u64 = tree::CHUNKS_BYTES as u64;

/// What a lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Nothing: look in older places.
    Absent,
    /// The key was deleted: there is no need to look further.
    Deleted,
    /// The value.
    Found,
    /// In its place, where it lies in the value log. In tables alone.
    Pointer,
    /// The value, which is there until this time.
    Expiring(u64),
    /// Where the value lies, which is there until this time. In tables alone.
    PointerExpiring(u64),
}

impl Lookup {
    /// Whether there is a value: then it is in `value`, which is empty otherwise. Pointers have been followed.
    #[inline]
    pub(crate) fn is_there(self, value: &mut Vec<u8>, now_ms: impl Fn() -> u64) -> bool {
        match self {
            Self::Found => true,
            Self::Expiring(expires_ms) if now_ms() < expires_ms => true,
            _ => {
                value.clear();
                false
            }
        }
    }
}

/// An ordered index over one log.
#[derive(Debug)]
pub(crate) struct Memtable<F> {
    /// Number of its log.
    pub(crate) log: FileNumber,
    /// Sequence number of the log's first write.
    pub(crate) first_sequence: u64,
    tree: Tree<F>,
    /// One-cache-line Bloom filter of the keys.
    filter: Box<[AtomicU64]>,
    /// What lies below this offset of the log can be seen.
    visible: AtomicU32,
    /// Ranges of keys have been deleted.
    has_ranges: AtomicBool,
    ranges: ArcSwapOption<Published>,
    /// Values have been put that expire.
    expires: AtomicBool,
    /// Keys.
    entries: AtomicU64,
    /// Writes.
    writes: AtomicU64,
    /// Length of the log up to which it is synced.
    synced: AtomicU64,
    /// A sync of the log has failed.
    suspect: AtomicBool,
    /// What is read then.
    stand_in: OnceLock<Result<Box<Memtable<F>>, Lost>>,
    /// For its memory, as long as there is the memtable.
    charge: OnceLock<Charge>,
}

/// A moment of a memtable.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// What lies below this offset of the log is seen.
    visible: u32,
    /// The ranges of keys that were deleted by then.
    ranges: Option<Arc<Fragments>>,
}

impl Moment {
    /// Length of the log, as far as it is seen.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.visible.into()
    }
}

/// A memtable at one moment.
#[derive(Debug)]
pub(crate) struct View<'m, F> {
    memtable: &'m Memtable<F>,
    moment: Moment,
}

impl<F> Clone for View<'_, F> {
    fn clone(&self) -> Self {
        Self { memtable: self.memtable, moment: self.moment.clone() }
    }
}

impl<F: File> Memtable<F> {
    /// An index for the log in `file`, which will not be longer than `log_bytes`.
    pub(crate) fn new(log: FileNumber, first_sequence: u64, file: F, log_bytes: u64) -> Self {
        let log_bytes = log_bytes.min(LOG_BYTES_MAX);
        // In a batch, operations follow each other without frames between them.
        let entries_max = log_bytes as usize / (OPERATION_HEADER_BYTES + 1) + 1;
        // Ten bits a key for operations of some 130 bytes; smaller ones make the filter less sharp, no more than that.
        let lines = (log_bytes as usize / 100 / 8 / LINE_WORDS).max(1);
        Self {
            log,
            first_sequence,
            tree: Tree::new(file, entries_max),
            filter: (0..lines * LINE_WORDS).map(|_| AtomicU64::new(0)).collect(),
            visible: AtomicU32::new(LOG_HEADER_BYTES as u32),
            has_ranges: AtomicBool::new(false),
            ranges: ArcSwapOption::empty(),
            expires: AtomicBool::new(false),
            entries: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            suspect: AtomicBool::new(false),
            stand_in: OnceLock::new(),
            charge: OnceLock::new(),
        }
    }

    /// Adds the operation at `offset` of the log. To be called by one thread at a time, in the order of the log.
    #[inline]
    pub(crate) fn insert(&self, offset: u32, key: &[u8]) -> Result<()> {
        let probe = filter::Probe::new(filter::hash(key));
        let line = probe.line(self.filter.len() / LINE_WORDS) * LINE_WORDS;
        for (word, bit) in probe.bits() {
            let word = &self.filter[line + word];
            // There is one writer, so nothing can come between load and store.
            word.store(word.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
        }
        if self.tree.insert(offset, key)? {
            self.entries.store(self.entries.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Adds the operations of a write whose payload lies at `offset` of the log, and which ends it at `log_bytes`. To be called as [`Self::insert`] is.
    ///
    /// # Errors
    /// What `corrupt` makes of a reason if the payload is not made of operations.
    pub(crate) fn insert_all(
        &self,
        offset: u32,
        payload: &[u8],
        log_bytes: u64,
        corrupt: impl Fn(&str) -> Error,
    ) -> Result<()> {
        let mut ranges = None;
        wal::operations(payload, corrupt, |at, operation| {
            let (offset, bytes) = (offset + at as u32, &payload[at..at + operation.bytes()]);
            let key = &bytes[operation.key()];
            let kind = operation.kind();
            if matches!(kind, Kind::Put | Kind::Delete) {
                return self.insert(offset, key);
            }
            if kind == Kind::PutExpiring {
                // As for ranges: whoever sees the write sees this.
                self.expires.store(true, Ordering::Relaxed);
                return self.insert(offset, key);
            }
            let end = &bytes[operation.value()];
            if key < end {
                let ranges = ranges.get_or_insert_with(|| self.newest_ranges());
                ranges.add(key, end, offset);
            }
            Ok(())
        })?;
        if let Some(ranges) = ranges {
            let published =
                Published::after(self.ranges.load().as_deref(), ranges, log_bytes as u32);
            self.ranges.store(Some(Arc::new(published)));
            // Whoever sees the write sees this: the log's length is published behind it.
            self.has_ranges.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn newest_ranges(&self) -> Fragments {
        let published = self.ranges.load();
        published.as_ref().map_or_else(Fragments::default, |ranges| (*ranges.newest).clone())
    }

    /// Lets everybody see a write that ends the log at `log_bytes`.
    #[inline]
    pub(crate) fn publish(&self, log_bytes: u64) {
        self.visible.store(log_bytes as u32, Ordering::Release);
        // After it: whoever counts a write sees it.
        self.writes.store(self.writes.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// The memtable as it is now.
    #[inline]
    pub(crate) fn view(&self) -> View<'_, F> {
        View { memtable: self, moment: self.moment() }
    }

    /// The memtable as it was at a moment.
    #[inline]
    pub(crate) fn view_at(&self, moment: Moment) -> View<'_, F> {
        View { memtable: self, moment }
    }

    /// What can be seen now.
    #[inline]
    pub(crate) fn moment(&self) -> Moment {
        let visible = self.visible.load(Ordering::Acquire);
        if self.has_ranges.load(Ordering::Relaxed) {
            return self.moment_with_ranges();
        }
        Moment { visible, ranges: None }
    }

    #[cold]
    fn moment_with_ranges(&self) -> Moment {
        loop {
            let visible = self.visible.load(Ordering::Acquire);
            // Nothing that is visible is missing here, but what has been published since may be too much.
            let ranges = self.ranges.load();
            let Some(ranges) = &*ranges else { return Moment { visible, ranges: None } };
            if let Some(moment) = ranges.at(visible) {
                return moment;
            }
        }
    }

    /// Whether anything that can be seen may expire.
    pub(crate) fn expires(&self) -> bool {
        self.expires.load(Ordering::Relaxed)
    }

    /// The ranges of keys that are deleted, the last ones included.
    pub(crate) fn ranges(&self) -> Option<Arc<Fragments>> {
        self.ranges.load().as_ref().map(|ranges| Arc::clone(&ranges.newest))
    }

    /// Length of the log, as far as it can be seen.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.visible.load(Ordering::Acquire).into()
    }

    /// Writes in the log.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }

    /// Sequence number that the write after this memtable's last one has.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.first_sequence + self.writes()
    }

    /// Distinct keys, deleted ones among them.
    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// About which part of the keys, from 0 to 1, comes before `key`, or with `inclusive` up to it.
    pub(crate) fn share_before(&self, key: &[u8], inclusive: bool) -> Result<f64> {
        self.trusted()?.tree.share_before(key, inclusive)
    }

    /// Whether any key from `low` to `high`, both included, has been written or deleted.
    pub(crate) fn has_between(&self, low: &[u8], high: &[u8]) -> Result<bool> {
        let view = self.view();
        let in_range = view.ranges().is_some_and(|ranges| ranges.overlap(low, high));
        let cursor = Cursor::seek(view, low, Direction::Forward)?;
        Ok(in_range || cursor.current().is_some_and(|(key, ..)| key <= high))
    }

    /// Counts its memory from now on.
    pub(crate) fn count_with(&self, charge: Charge) {
        let _ = self.charge.set(charge);
    }

    /// It is written to no more: what it has is all that it will ever have.
    pub(crate) fn freeze(&self) {
        if let Some(charge) = self.charge.get() {
            charge.set(self.log_bytes() + self.memory_bytes());
        }
    }

    /// Memory in use, without the log.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let ranges = self.ranges().map_or(0, |ranges| ranges.memory_bytes());
        (self.tree.memory_bytes() + size_of_val(&*self.filter) + ranges) as u64
    }

    /// The log's file.
    pub(crate) fn file(&self) -> &F {
        self.tree.file()
    }

    /// Length of the log up to which it is known to be synced.
    pub(crate) fn synced_bytes(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Notes that the log is synced up to `log_bytes`.
    pub(crate) fn set_synced(&self, log_bytes: u64) {
        self.synced.fetch_max(log_bytes, Ordering::AcqRel);
    }

    /// The newest version of a key that lies below `visible`.
    #[inline]
    fn visible_version(&self, slot: Slot, visible: u32) -> Option<Slot> {
        let mut version = slot;
        while version.offset >= visible {
            version = self.tree.older(version)?;
        }
        Some(version)
    }
}

impl<F: File> View<'_, F> {
    /// Reads the value of `key` into `value`, which is empty.
    #[inline]
    pub(crate) fn get(&self, key: &[u8], hash: u64, value: &mut Vec<u8>) -> Result<Lookup> {
        let found = self.look_up(key, hash, value);
        if self.memtable.is_suspect() {
            value.clear();
            return self.clone().trusted()?.look_up(key, hash, value);
        }
        found
    }

    /// The ranges of keys that are deleted of everything older than this memtable.
    pub(crate) fn ranges(&self) -> Option<&Arc<Fragments>> {
        self.moment.ranges.as_ref()
    }

    /// What a lookup of `key` finds if there is no version of it that can be seen.
    #[inline]
    fn without_version(&self, key: &[u8]) -> Lookup {
        match &self.moment.ranges {
            Some(ranges) if ranges.find(key).is_some() => Lookup::Deleted,
            _ => Lookup::Absent,
        }
    }

    #[inline]
    fn look_up(&self, key: &[u8], hash: u64, value: &mut Vec<u8>) -> Result<Lookup> {
        if u64::from(self.moment.visible) <= LOG_HEADER_BYTES {
            // Nothing to see: the filter, which is in no cache of the processor, need not be asked.
            return Ok(Lookup::Absent);
        }
        let memtable = self.memtable;
        let probe = filter::Probe::new(hash);
        let line = probe.line(memtable.filter.len() / LINE_WORDS) * LINE_WORDS;
        let maybe = probe
            .bits()
            .all(|(word, bit)| memtable.filter[line + word].load(Ordering::Relaxed) & bit != 0);
        if !maybe {
            return Ok(self.without_version(key));
        }
        let Some(slot) = memtable.tree.get(key)? else { return Ok(self.without_version(key)) };
        let Some(version) = memtable.visible_version(slot, self.moment.visible) else {
            return Ok(self.without_version(key));
        };
        let operation = Operation::at(memtable.file(), version.offset)?;
        let ranges = self.moment.ranges.as_ref();
        if ranges.is_some_and(|ranges| ranges.delete(key, version.offset)) {
            return Ok(Lookup::Deleted);
        }
        if !operation.is_put() {
            return self.look_at(operation, version, value);
        }
        let at = operation.value();
        value.extend_from_slice(
            &memtable.file().read(u64::from(version.offset) + at.start as u64, at.len())?,
        );
        Ok(Lookup::Found)
    }

    /// What an operation says that is no put for ever.
    fn look_at(&self, operation: Operation, version: Slot, value: &mut Vec<u8>) -> Result<Lookup> {
        if operation.kind() != Kind::PutExpiring {
            return Ok(Lookup::Deleted);
        }
        let (at, file) = (operation.value(), self.memtable.file());
        let offset = u64::from(version.offset) + at.start as u64;
        let bytes = file.read(offset, at.len())?;
        let Some((expires_ms, bytes)) = deadline::split(&bytes) else {
            let reason = "a value that expires does not say when";
            return Err(Error::corrupt(file.path(), offset, reason));
        };
        value.extend_from_slice(bytes);
        Ok(Lookup::Expiring(expires_ms))
    }
}

/// Offset of the first operation in the frame that begins at `frame`.
#[inline]
pub(crate) fn first_operation(frame: u64) -> u32 {
    (frame + log::frame::HEADER_BYTES as u64) as u32
}

/// Bytes that a log needs for its header and one write with a payload of `payload_bytes`.
pub(crate) fn log_bytes_for(payload_bytes: usize) -> u64 {
    LOG_HEADER_BYTES + frame_bytes(payload_bytes)
}

#[cfg(test)]
mod tests;
