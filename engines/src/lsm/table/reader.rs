//! Reads a table.
//!
//! 1. Opening reads the footer, and verifies filter, index and properties. Data blocks are left alone. The ranges of deleted keys are taken into memory.
//! 2. A get asks the filter, then the index for the one block that can hold the key, then that block; then, if there are any, the ranges.
//! 3. The checksum of a block that is mapped is verified the first time that it is read since the table was opened; a bit for each block remembers that. Tables do not
//!    change, so later reads of it are free. A block that is read by a call is verified each time.
//!
//! Mapped, bytes are used where the file has them, and nothing is copied but the value that was asked for; else as [`super::fetch`] says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::budget::Charge;
use super::super::cache::{BlockId, Bytes};
use super::super::codec::Decoder;
use super::super::deadline;
use super::super::files::FileNumber;
use super::super::memtable::Lookup;
use super::super::range_set::RangeSet;
use super::super::stats::Probes;
use super::super::value_log::Pointer;
use super::super::wal::Kind;
use super::block::{self, Entry, Layout, Malformed, SEARCHED_BYTES_MAX, TRAILER_BYTES};
use super::compression::unpack;
use super::fetch::{Ahead, Piece, Purpose, Reading, longer, with_part};
use super::filter::{self, LINE_BYTES};
use super::footer::{BlockHandle, Footer, Handle};
use super::guide::Guide;
use super::meta::TableMeta;
use super::ranges;
use crate::storage::{Access, File, Storage};
use crate::{Error, Result};

/// Reads the ranges of keys that a table deletes.
pub(super) fn read_ranges<F: File>(file: &F, footer: &Footer) -> Result<RangeSet> {
    let Handle { offset, bytes } = footer.ranges;
    if bytes == 0 {
        return Ok(RangeSet::default());
    }
    let whole = longer(file, footer.ranges, TRAILER_BYTES)?;
    let mut block = vec![0; whole.bytes as usize];
    file.read_into(offset, &mut block)?;
    block::verify_plain(file.path(), footer.number, offset, &block)?;
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
    reading: Arc<Reading>,
    filter: Handle,
    index: Handle,
    index_layout: Layout,
    guide: Guide,
    /// Keys that are deleted of everything older.
    ranges: RangeSet,
    /// None where the file is mapped, or the budget has no room.
    held: Option<Held>,
    /// Data blocks are read by calls, from the opening on or later.
    by_calls: AtomicBool,
    /// Of a file that was mapped at first, a bit for each data block whose checksum has been verified.
    verified: Box<[AtomicU64]>,
    /// Removes the file when nobody uses the table any more.
    obsolete: AtomicBool,
}

/// Parts of a table in memory.
struct Held {
    filter: Bytes,
    index: Bytes,
    _charge: Charge,
}

impl<S: Storage> Drop for Table<S> {
    fn drop(&mut self) {
        if *self.obsolete.get_mut() {
            self.forget_blocks();
            // If this fails, the next open finds the file, and that no manifest names it.
            let _ = self.storage.remove(self.file.path());
        }
    }
}

impl<S: Storage> Table<S> {
    /// Opens the table in `file`, about which the manifest says `meta`.
    pub(crate) fn open(
        storage: S,
        file: S::File,
        meta: TableMeta,
        reading: Arc<Reading>,
    ) -> Result<Arc<Self>> {
        let by_calls = reading.is_by_calls();
        if by_calls {
            file.advise(Access::Calls);
        }
        let corrupt = |offset, reason: &str| Error::corrupt(file.path(), offset, reason);
        let footer = Footer::read(&file, meta.number, meta.file_bytes)?;
        let bytes = u64::from(footer.filter.bytes) + u64::from(footer.index.bytes);
        let charge = if by_calls { reading.budget.charge_table(bytes) } else { None };
        let in_memory = charge.is_some();
        let part = |part, in_memory| Self::part(&reading, &file, footer.number, part, in_memory);
        let (filter, index) = (part(footer.filter, in_memory)?, part(footer.index, in_memory)?);
        {
            let properties = footer.properties;
            let stored = TableMeta::decode(&mut Decoder::new(&part(properties, by_calls)?))
                .filter(|stored| stored.number == footer.number)
                .ok_or_else(|| corrupt(properties.offset, "the properties are malformed"))?;
            if stored.placed_as(&meta, footer.is_from_outside()) != meta {
                return Err(corrupt(properties.offset, "the properties contradict the manifest"));
            }
        }
        let (index_layout, guide) = Layout::parse(&index)
            .and_then(|layout| Ok((layout, Guide::of(&layout, &index)?)))
            .map_err(|Malformed| corrupt(footer.index.offset, "the index is malformed"))?;
        let ranges = read_ranges(&file, &footer)?;
        if ranges.spans().len() as u64 != meta.range_deletions {
            let reason = "the ranges of deleted keys are not as many as the properties say";
            return Err(corrupt(footer.ranges.offset, reason));
        }
        if !(footer.filter.bytes as usize).is_multiple_of(LINE_BYTES) {
            return Err(corrupt(footer.filter.offset, "the filter does not consist of lines"));
        }
        let bits = if by_calls { 0 } else { index_layout.len() };
        let held = match (filter, index, charge) {
            (Piece::Kept(filter), Piece::Kept(index), Some(charge)) => {
                Some(Held { filter, index, _charge: charge })
            }
            _ => None,
        };
        Ok(Arc::new(Self {
            meta,
            storage,
            file,
            number: footer.number,
            reading,
            filter: footer.filter,
            index: footer.index,
            index_layout,
            guide,
            ranges,
            held,
            by_calls: AtomicBool::new(by_calls),
            verified: (0..bits.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            obsolete: AtomicBool::new(false),
        }))
    }

    /// A part of a file, verified: where the file has it, or in memory.
    fn part<'f>(
        reading: &Reading,
        file: &'f S::File,
        number: FileNumber,
        part: Handle,
        in_memory: bool,
    ) -> Result<Piece<'f, S::File>> {
        let whole = longer(file, part, TRAILER_BYTES)?;
        let verify = |bytes: &[u8]| block::verify_plain(file.path(), number, part.offset, bytes);
        if in_memory {
            return with_part(reading, file, whole, |bytes| {
                verify(bytes)?;
                Ok(Piece::Kept(bytes[..part.bytes as usize].into()))
            });
        }
        verify(&file.read(whole.offset, whole.bytes as usize)?)?;
        Ok(Piece::InFile(file.read(part.offset, part.bytes as usize)?))
    }

    /// Bytes of memory that are its own.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| (held.filter.len() + held.index.len()) as u64)
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

    /// Takes note that the files of the store have so many bytes together ([`Reading::outgrow`]).
    pub(crate) fn outgrow(&self, store_bytes: u64) {
        self.reading.outgrow(store_bytes);
        self.reading.take_along(&self.file, &self.by_calls);
    }

    /// Whether data blocks are read by calls.
    #[inline]
    pub(super) fn is_by_calls(&self) -> bool {
        self.by_calls.load(Ordering::Relaxed)
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

    /// The index.
    #[inline]
    pub(super) fn index(&self) -> Result<Piece<'_, S::File>> {
        Ok(match &self.held {
            None => Piece::InFile(self.file.read(self.index.offset, self.index.bytes as usize)?),
            Some(held) => Piece::Held(&held.index),
        })
    }

    /// Data blocks.
    pub(super) fn blocks(&self) -> usize {
        self.index_layout.len()
    }

    /// The data block in which `key` is if it is anywhere.
    #[inline]
    pub(super) fn block_of(&self, index: &[u8], key: &[u8]) -> Result<usize> {
        let layout = &self.index_layout;
        let (at, exact) = layout
            .lower_bound_among(index, key, |head| self.guide.group(layout, index, head))
            .map_err(|Malformed| self.malformed(self.index.offset))?;
        Ok(if exact { at } else { at.saturating_sub(1) })
    }

    /// Where the data block at position `at` of the index lies.
    #[inline]
    pub(super) fn handle(&self, index: &[u8], at: usize) -> Result<BlockHandle> {
        let entry = self.index_layout.entry(index, at).ok();
        let handle = entry.and_then(|entry| BlockHandle::decode(entry.value));
        handle.ok_or_else(|| self.malformed(self.index.offset))
    }

    /// Bytes of the data blocks in which keys from `lower` to `upper` can be, by the index alone.
    pub(crate) fn bytes_between(&self, lower: Option<&[u8]>, upper: Option<&[u8]>) -> Result<u64> {
        let index = self.index()?;
        let first = lower.map_or(Ok(0), |key| self.block_of(&index, key))?;
        let last = upper.map_or(Ok(self.blocks() - 1), |key| self.block_of(&index, key))?;
        let (first, last) = (self.handle(&index, first)?.part, self.handle(&index, last)?.part);
        Ok(last.end().saturating_sub(first.offset))
    }

    /// Reads the data block at position `at` of the index; a walk reads `ahead`.
    #[inline]
    pub(super) fn block(
        &self,
        index: &[u8],
        at: usize,
        ahead: Option<&mut Ahead>,
    ) -> Result<(Piece<'_, S::File>, Layout, u64)> {
        self.block_at(at, self.handle(index, at)?, ahead)
    }

    /// The same, where it is known where the block lies.
    #[inline]
    pub(super) fn block_at(
        &self,
        at: usize,
        block: BlockHandle,
        ahead: Option<&mut Ahead>,
    ) -> Result<(Piece<'_, S::File>, Layout, u64)> {
        let (handle, by_calls) = (block.part, self.is_by_calls());
        let block = if by_calls || block.is_packed {
            Piece::Kept(self.kept_block(block, by_calls, ahead)?)
        } else {
            self.mapped_block(at, handle)?
        };
        block::prefetch_searched(&block);
        let layout = Layout::parse(&block).map_err(|Malformed| self.malformed(handle.offset))?;
        Ok((block, layout, handle.offset))
    }

    /// Has the beginning of a data block, in which it is searched, come from memory, if it is mapped.
    #[inline]
    pub(super) fn prefetch_block(&self, block: BlockHandle) {
        if !self.is_by_calls() && !block.is_packed {
            let bytes = (block.part.bytes as usize).min(SEARCHED_BYTES_MAX);
            self.file.prefetch(block.part.offset, bytes);
        }
    }

    #[inline]
    fn mapped_block(&self, at: usize, handle: Handle) -> Result<Piece<'_, S::File>> {
        let (word, bit) = (&self.verified[at / 64], 1 << (at % 64));
        if word.load(Ordering::Relaxed) & bit == 0 {
            let bytes = self.file.read(handle.offset, handle.bytes as usize + TRAILER_BYTES)?;
            let (file, number) = (self.file.path(), self.number);
            block::verify_plain(file, number, handle.offset, &bytes)?;
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(Piece::InFile(self.file.read(handle.offset, handle.bytes as usize)?))
    }

    /// A block from the cache, or else from the file.
    fn kept_block(
        &self,
        block: BlockHandle,
        by_calls: bool,
        ahead: Option<&mut Ahead>,
    ) -> Result<Bytes> {
        let (reading, file, part) = (&*self.reading, &self.file, block.part);
        let unpacked = |bytes: &[u8]| self.unpacked(block, bytes);
        let keeps = ahead.as_ref().is_none_or(|ahead| ahead.purpose == Purpose::Query);
        let id = self.block_id(part);
        if keeps && let Some(block) = reading.budget.cache.get(id) {
            return Ok(block);
        }
        let whole = longer(file, part, TRAILER_BYTES)?;
        let block = match ahead {
            _ if !by_calls => unpacked(&file.read(whole.offset, whole.bytes as usize)?)?,
            Some(ahead) => unpacked(ahead.part(reading, file, whole, self.filter.offset)?)?,
            None => with_part(reading, file, whole, unpacked)?,
        };
        Ok(if keeps { reading.budget.cache.insert(id, block) } else { block })
    }

    /// A data block, which is stored as `bytes` with its trailer.
    fn unpacked(&self, block: BlockHandle, bytes: &[u8]) -> Result<Bytes> {
        let (file, number, offset) = (self.file.path(), self.number, block.part.offset);
        let stored = &bytes[..block.part.bytes as usize];
        if !block.is_packed {
            block::verify_plain(file, number, offset, bytes)?;
            return Ok(stored.into());
        }
        let compression = block::verify(file, number, offset, bytes)?;
        unpack(compression, stored).map(Bytes::from).ok_or_else(|| self.malformed(offset))
    }

    fn block_id(&self, handle: Handle) -> BlockId {
        BlockId { table: self.meta.number, offset: handle.offset }
    }

    /// Lets the cache make room: nobody reads this table any more.
    fn forget_blocks(&self) {
        let Ok(index) = self.index() else { return };
        let handles = (0..self.blocks()).filter_map(|at| self.handle(&index, at).ok());
        let handles = handles.filter(|block| block.is_packed || self.is_by_calls());
        self.reading.budget.cache.forget(handles.map(|block| self.block_id(block.part)));
    }

    /// Makes sure that what stands for a value in the block at `offset` is a pointer into a file of values that the table says it points to.
    fn check_pointer(&self, pointer: &[u8], offset: u64) -> Result<()> {
        let known = |file| self.meta.values.binary_search_by_key(&file, |(file, _)| *file).is_ok();
        let pointer = Pointer::decode(pointer).filter(|pointer| known(pointer.file));
        pointer.map(drop).ok_or_else(|| self.malformed(offset))
    }

    /// Makes sure that what stands for a value in the block at `offset` is what an entry of this kind has there.
    pub(super) fn check_entry(&self, kind: Kind, value: &[u8], offset: u64) -> Result<()> {
        let split = || deadline::split(value).ok_or_else(|| self.malformed(offset));
        match kind {
            Kind::Put | Kind::Delete => Ok(()),
            Kind::DeleteRange => Err(self.malformed(offset)),
            Kind::Pointer => self.check_pointer(value, offset),
            Kind::PutExpiring => split().map(drop),
            Kind::PointerExpiring => self.check_pointer(split()?.1, offset),
        }
    }

    /// Reads the value of `key`, whose [`filter::hash`] is `hash`, or where that lies, into `value`, which is empty.
    #[inline]
    pub(crate) fn get(
        &self,
        key: &[u8],
        hash: u64,
        value: &mut Vec<u8>,
        probes: &mut Probes,
    ) -> Result<Lookup> {
        let found = self.get_entry(key, hash, value, probes)?;
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
        probes: &mut Probes,
    ) -> Result<Lookup> {
        if self.filter.bytes > 0 {
            probes.filters += 1;
            let probe = filter::Probe::new(hash);
            let line = probe.line(self.filter.bytes as usize / LINE_BYTES) * LINE_BYTES;
            let line = match &self.held {
                None => {
                    Piece::InFile(self.file.read(self.filter.offset + line as u64, LINE_BYTES)?)
                }
                Some(held) => Piece::<S::File>::Held(&held.filter[line..line + LINE_BYTES]),
            };
            if !probe.maybe_in(&line) {
                return Ok(Lookup::Absent);
            }
        }
        let index = self.index()?;
        let at = self.block_of(&index, key)?;
        let (block, layout, offset) = self.block(&index, at, None)?;
        let mut search = || -> Result<Lookup, Malformed> {
            let (at, exact) = layout.lower_bound(&block, key)?;
            if !exact {
                return Ok(Lookup::Absent);
            }
            let entry = layout.entry(&block, at)?;
            if entry.kind == Kind::Put {
                value.extend_from_slice(entry.value);
                return Ok(Lookup::Found);
            }
            look_at(&entry, value)
        };
        let found = search().map_err(|Malformed| self.malformed(offset))?;
        match found {
            Lookup::Absent if self.filter.bytes > 0 => probes.in_vain += 1,
            Lookup::Pointer | Lookup::PointerExpiring(_) => self.check_pointer(value, offset)?,
            _ => {}
        }
        Ok(found)
    }
}

/// What an entry says that is no put for ever.
fn look_at(entry: &Entry<'_>, value: &mut Vec<u8>) -> Result<Lookup, Malformed> {
    let (found, shown) = match entry.kind {
        Kind::Put => (Lookup::Found, entry.value),
        Kind::Delete => (Lookup::Deleted, &[][..]),
        Kind::DeleteRange => return Err(Malformed),
        Kind::Pointer => (Lookup::Pointer, entry.value),
        Kind::PutExpiring | Kind::PointerExpiring => {
            let (expires_ms, behind) = deadline::split(entry.value).ok_or(Malformed)?;
            match entry.kind {
                Kind::PutExpiring => (Lookup::Expiring(expires_ms), behind),
                _ => (Lookup::PointerExpiring(expires_ms), behind),
            }
        }
    };
    value.extend_from_slice(shown);
    Ok(found)
}
