//! Reads a table.
//!
//! 1. Opening reads the footer, and verifies filter, index and properties. Data blocks are left alone. The ranges of deleted keys are taken into memory.
//! 2. A get asks the filter, then the index for the one block that can hold the key, then that block; then, if there are any, the ranges.
//! 3. A block's checksum is verified the first time that it is read since the table was opened; a bit for each block remembers that. Tables do not
//!    change, so later reads of it are free.
//!
//! Bytes are used where the file has them; nothing is copied but the value that was asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::codec::Decoder;
use super::super::files::FileNumber;
use super::super::memtable::Lookup;
use super::super::range_set::RangeSet;
use super::super::stats::ReadStats;
use super::super::value_log::Pointer;
use super::super::wal::Kind;
use super::block::{self, Layout, Malformed, TRAILER_BYTES};
use super::filter::{self, LINE_BYTES};
use super::footer::{Footer, Handle};
use super::meta::TableMeta;
use super::ranges;
use crate::storage::{File, Storage};
use crate::{Error, Result};

/// Reads the ranges of keys that a table deletes.
pub(super) fn read_ranges<F: File>(file: &F, footer: &Footer) -> Result<RangeSet> {
    let Handle { offset, bytes } = footer.ranges;
    if bytes == 0 {
        return Ok(RangeSet::default());
    }
    let block = file.read(offset, bytes as usize + TRAILER_BYTES)?;
    block::verify(file.path(), footer.number, offset, &block)?;
    let malformed = |Malformed| {
        let reason = "the ranges of deleted keys are malformed";
        Error::corrupt(file.path(), offset, reason)
    };
    ranges::decode(&block[..bytes as usize]).map_err(malformed)
}

/// An open table.
pub(crate) struct Table<S: Storage> {
    pub(crate) meta: TableMeta,
    storage: S,
    file: S::File,
    /// What its checksums start from.
    number: FileNumber,
    filter: Handle,
    index: Handle,
    index_layout: Layout,
    /// Keys that are deleted of everything older.
    ranges: RangeSet,
    /// A bit for each data block whose checksum has been verified.
    verified: Box<[AtomicU64]>,
    /// Removes the file when nobody uses the table any more.
    obsolete: AtomicBool,
}

impl<S: Storage> Drop for Table<S> {
    fn drop(&mut self) {
        if *self.obsolete.get_mut() {
            // If this fails, the next open finds the file, and that no manifest names it.
            let _ = self.storage.remove(self.file.path());
        }
    }
}

impl<S: Storage> Table<S> {
    /// Opens the table in `file`, about which the manifest says `meta`.
    pub(crate) fn open(storage: S, file: S::File, meta: TableMeta) -> Result<Arc<Self>> {
        let corrupt = |offset, reason: &str| Error::corrupt(file.path(), offset, reason);
        let footer = Footer::read(&file, meta.number, meta.file_bytes)?;
        for part in [footer.filter, footer.index, footer.properties] {
            let bytes = file.read(part.offset, part.bytes as usize + TRAILER_BYTES)?;
            block::verify(file.path(), footer.number, part.offset, &bytes)?;
        }
        {
            let properties = footer.properties;
            let bytes = file.read(properties.offset, properties.bytes as usize)?;
            let stored = TableMeta::decode(&mut Decoder::new(&bytes))
                .filter(|stored| stored.number == footer.number)
                .ok_or_else(|| corrupt(properties.offset, "the properties are malformed"))?;
            if stored.placed_as(&meta, footer.is_from_outside()) != meta {
                return Err(corrupt(properties.offset, "the properties contradict the manifest"));
            }
        }
        let index_layout = {
            let bytes = file.read(footer.index.offset, footer.index.bytes as usize)?;
            Layout::parse(&bytes)
                .map_err(|Malformed| corrupt(footer.index.offset, "the index is malformed"))?
        };
        let ranges = read_ranges(&file, &footer)?;
        if ranges.spans().len() as u64 != meta.range_deletions {
            let reason = "the ranges of deleted keys are not as many as the properties say";
            return Err(corrupt(footer.ranges.offset, reason));
        }
        if !(footer.filter.bytes as usize).is_multiple_of(LINE_BYTES) {
            return Err(corrupt(footer.filter.offset, "the filter does not consist of lines"));
        }
        let words = index_layout.len().div_ceil(64);
        Ok(Arc::new(Self {
            meta,
            storage,
            file,
            number: footer.number,
            filter: footer.filter,
            index: footer.index,
            index_layout,
            ranges,
            verified: (0..words).map(|_| AtomicU64::new(0)).collect(),
            obsolete: AtomicBool::new(false),
        }))
    }

    /// The table's file.
    pub(crate) fn file(&self) -> &S::File {
        &self.file
    }

    /// Keys that are deleted of everything older.
    pub(crate) fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    /// Whether there are any.
    #[inline]
    pub(crate) fn deletes_ranges(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// Lets the file go once the last user of the table does.
    pub(crate) fn set_obsolete(&self) {
        self.obsolete.store(true, Ordering::Relaxed);
    }

    #[cold]
    pub(super) fn malformed(&self, offset: u64) -> Error {
        Error::corrupt(
            self.file.path(),
            offset,
            "the block's checksum is right, but not its content",
        )
    }

    /// The index, with its layout.
    #[inline]
    pub(super) fn index(&self) -> Result<(<S::File as File>::Bytes<'_>, Layout)> {
        Ok((self.file.read(self.index.offset, self.index.bytes as usize)?, self.index_layout))
    }

    /// Data blocks.
    pub(super) fn blocks(&self) -> usize {
        self.index_layout.len()
    }

    /// The data block in which `key` is if it is anywhere.
    #[inline]
    pub(super) fn block_of(&self, index: &[u8], key: &[u8]) -> Result<usize> {
        let (at, exact) = self
            .index_layout
            .lower_bound(index, key)
            .map_err(|Malformed| self.malformed(self.index.offset))?;
        Ok(if exact { at } else { at.saturating_sub(1) })
    }

    /// Where the data block at position `at` of the index lies.
    #[inline]
    fn handle(&self, index: &[u8], at: usize) -> Result<Handle> {
        let entry = self.index_layout.entry(index, at).ok();
        let handle = entry.and_then(|entry| Handle::decode(entry.value));
        handle.ok_or_else(|| self.malformed(self.index.offset))
    }

    /// Bytes of the data blocks in which keys from `lower` to `upper` can be, by the index alone.
    pub(crate) fn bytes_between(&self, lower: Option<&[u8]>, upper: Option<&[u8]>) -> Result<u64> {
        let (index, _) = self.index()?;
        let first = lower.map_or(Ok(0), |key| self.block_of(&index, key))?;
        let last = upper.map_or(Ok(self.blocks() - 1), |key| self.block_of(&index, key))?;
        let (first, last) = (self.handle(&index, first)?, self.handle(&index, last)?);
        let end = last.offset.saturating_add(u64::from(last.bytes) + TRAILER_BYTES as u64);
        Ok(end.saturating_sub(first.offset))
    }

    /// Reads the data block at position `at` of the index.
    #[inline]
    pub(super) fn block(
        &self,
        index: &[u8],
        at: usize,
    ) -> Result<(<S::File as File>::Bytes<'_>, Layout, u64)> {
        let handle = self.handle(index, at)?;
        let (word, bit) = (&self.verified[at / 64], 1 << (at % 64));
        if word.load(Ordering::Relaxed) & bit == 0 {
            let bytes = self.file.read(handle.offset, handle.bytes as usize + TRAILER_BYTES)?;
            block::verify(self.file.path(), self.number, handle.offset, &bytes)?;
            word.fetch_or(bit, Ordering::Relaxed);
        }
        let block = self.file.read(handle.offset, handle.bytes as usize)?;
        let layout = Layout::parse(&block).map_err(|Malformed| self.malformed(handle.offset))?;
        layout.load_ahead(&block);
        Ok((block, layout, handle.offset))
    }

    /// Makes sure that what stands for a value in the block at `offset` is a pointer into a file of values that the table says it points to.
    pub(super) fn check_pointer(&self, pointer: &[u8], offset: u64) -> Result<()> {
        let known = |file| self.meta.values.binary_search_by_key(&file, |(file, _)| *file).is_ok();
        let pointer = Pointer::decode(pointer).filter(|pointer| known(pointer.file));
        pointer.map(drop).ok_or_else(|| self.malformed(offset))
    }

    /// Reads the value of `key`, whose [`filter::hash`] is `hash`, or where that lies, into `value`, which is empty.
    #[inline]
    pub(crate) fn get(
        &self,
        key: &[u8],
        hash: u64,
        value: &mut Vec<u8>,
        stats: &ReadStats,
    ) -> Result<Lookup> {
        let found = self.get_entry(key, hash, value, stats)?;
        if found == Lookup::Absent && self.deletes_ranges() && self.ranges.find(key).is_some() {
            return Ok(Lookup::Deleted);
        }
        Ok(found)
    }

    #[inline]
    fn get_entry(
        &self,
        key: &[u8],
        hash: u64,
        value: &mut Vec<u8>,
        stats: &ReadStats,
    ) -> Result<Lookup> {
        if self.filter.bytes > 0 {
            stats.filter_probe();
            let probe = filter::Probe::new(hash);
            let line = probe.line(self.filter.bytes as usize / LINE_BYTES) * LINE_BYTES;
            if !probe.maybe_in(&self.file.read(self.filter.offset + line as u64, LINE_BYTES)?) {
                return Ok(Lookup::Absent);
            }
        }
        let (index, _) = self.index()?;
        let at = self.block_of(&index, key)?;
        let (block, layout, offset) = self.block(&index, at)?;
        let mut search = || -> Result<Lookup, Malformed> {
            let (at, exact) = layout.lower_bound(&block, key)?;
            if !exact {
                return Ok(Lookup::Absent);
            }
            let entry = layout.entry(&block, at)?;
            if entry.kind == Kind::Delete {
                return Ok(Lookup::Deleted);
            }
            value.extend_from_slice(entry.value);
            Ok(if entry.kind == Kind::Put { Lookup::Found } else { Lookup::Pointer })
        };
        let found = search().map_err(|Malformed| self.malformed(offset))?;
        match found {
            Lookup::Absent if self.filter.bytes > 0 => stats.filter_false_positive(),
            Lookup::Pointer => self.check_pointer(value, offset)?,
            _ => {}
        }
        Ok(found)
    }
}
