//! Writes a table.
//!
//! 1. Entries arrive in ascending order of their keys and fill a data block; at the wished length it goes to the file with its trailer.
//! 2. The index gets for each block the shortest key that is greater than every key before the block and not greater than any in it, with the block's handle; for the first block its first key, as
//!    heads tell much only if the prefix that all keys of the index have in common is as long as that of the table's keys.
//! 3. Behind the last block come the filter (at a multiple of 64, so that its lines are cache lines), the index, the ranges of deleted keys, the properties, the footer.
//! 4. A table that has nothing but such ranges gets the deletion of the first key of the first one, which says nothing new: so no reader needs to know of tables without blocks.

use std::collections::BTreeMap;

use super::super::codec::common_prefix;
use super::super::deadline::{self, Expiring};
use super::super::files::FileNumber;
use super::super::options::Compression;
use super::super::range_set::RangeSet;
use super::super::value_log::Pointer;
use super::super::wal::Kind;
use super::block::{self, BlockBuilder};
use super::compression::pack;
use super::filter;
use super::footer::{BlockHandle, FOOTER_BYTES, Footer, Handle};
use super::meta::TableMeta;
use super::ranges;
use crate::Result;
use crate::storage::{Appender, File};

/// How tables are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableOptions {
    /// Length at which a data block is ended.
    pub(crate) block_bytes: usize,
    /// Bits of the filter per key; 0 for none.
    pub(crate) filter_bits_per_key: usize,
    /// How data blocks are stored.
    pub(crate) compression: Compression,
}

/// A table that is being written.
#[derive(Debug)]
pub(crate) struct TableBuilder<A> {
    appender: A,
    options: TableOptions,
    meta: TableMeta,
    block: BlockBuilder,
    index: BlockBuilder,
    /// The last key that was added.
    last: Vec<u8>,
    /// The key that stands for the current block in the index.
    separator: Vec<u8>,
    hashes: Vec<u64>,
    /// Bytes that were pointed to, by files of values.
    values: BTreeMap<FileNumber, u64>,
    encoded: Vec<u8>,
    /// The same, compressed.
    packed: Vec<u8>,
}

impl<A: Appender> TableBuilder<A> {
    /// A table in `appender`, which is empty. `sequences` are the lowest and the highest number of the writes that may be in it, and `created_ms` is when the youngest of
    /// them was flushed, in milliseconds since the Unix epoch.
    pub(crate) fn new(
        appender: A,
        number: FileNumber,
        level: u8,
        sequences: (u64, u64),
        created_ms: u64,
        options: TableOptions,
    ) -> Self {
        let meta = TableMeta {
            number,
            level,
            file_bytes: 0,
            entries: 0,
            deletions: 0,
            sequence_min: sequences.0,
            sequence_max: sequences.1,
            created_ms,
            range_deletions: 0,
            expiring: Expiring::default(),
            is_open: false,
            key_min: Vec::new(),
            key_max: Vec::new(),
            values: Vec::new(),
        };
        Self {
            appender,
            options,
            meta,
            block: BlockBuilder::default(),
            index: BlockBuilder::default(),
            last: Vec::new(),
            separator: Vec::new(),
            hashes: Vec::new(),
            values: BTreeMap::new(),
            encoded: Vec::new(),
            packed: Vec::new(),
        }
    }

    /// Adds an entry whose key is greater than those before it.
    pub(crate) fn add(&mut self, key: &[u8], kind: Kind, value: &[u8]) -> Result<()> {
        debug_assert!(self.last.is_empty() || &self.last[..] < key, "keys ascend");
        if self.block.is_empty() {
            // The first one is whole: the index can leave out no more than what it has in common with the last.
            let is_first = self.index.is_empty();
            let bytes = if is_first { key.len() } else { common_prefix(&self.last, key) + 1 };
            self.separator.clear();
            self.separator.extend_from_slice(&key[..bytes]);
        }
        if self.meta.entries == 0 {
            self.meta.key_min = key.to_vec();
        }
        self.block.add(key, kind, value);
        self.last.clear();
        self.last.extend_from_slice(key);
        self.meta.entries += 1;
        if kind != Kind::Put {
            self.count(kind, value);
        }
        if self.options.filter_bits_per_key > 0 {
            self.hashes.push(filter::hash(key));
        }
        if self.block.bytes() >= self.options.block_bytes {
            self.end_block()?;
        }
        Ok(())
    }

    /// Counts an entry that is no put for ever.
    fn count(&mut self, kind: Kind, value: &[u8]) {
        self.meta.deletions += u64::from(kind == Kind::Delete);
        let mut value = value;
        if matches!(kind, Kind::PutExpiring | Kind::PointerExpiring)
            && let Some((expires_ms, behind)) = deadline::split(value)
        {
            self.meta.expiring.add(expires_ms);
            value = behind;
        }
        if matches!(kind, Kind::Pointer | Kind::PointerExpiring)
            && let Some(pointer) = Pointer::decode(value)
        {
            *self.values.entry(pointer.file).or_default() += pointer.frame_bytes();
        }
    }

    /// When it was created, as its properties say, in milliseconds since the Unix epoch.
    pub(crate) fn created_ms(&self) -> u64 {
        self.meta.created_ms
    }

    /// Length of the file so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.appender.len() + self.block.bytes() as u64
    }

    fn end_block(&mut self) -> Result<()> {
        self.encoded.clear();
        self.block.finish(&mut self.encoded);
        let compression = pack(self.options.compression, &self.encoded, &mut self.packed);
        let is_packed = compression != Compression::None;
        if is_packed {
            std::mem::swap(&mut self.encoded, &mut self.packed);
        }
        let block = BlockHandle { part: self.append_encoded(compression)?, is_packed };
        self.index.add(&self.separator, Kind::Put, &block.encode());
        Ok(())
    }

    /// Appends what is in `encoded`, with a trailer.
    fn append_encoded(&mut self, compression: Compression) -> Result<Handle> {
        let offset = self.appender.len();
        let trailer = block::trailer(self.meta.number, offset, &self.encoded, compression);
        self.appender.append(&[&self.encoded, &trailer])?;
        Ok(Handle { offset, bytes: self.encoded.len() as u32 })
    }

    /// Ends the table, which has at least one entry, or one of the `ranges` of keys that it deletes, and syncs it. Its name is not yet durable.
    pub(crate) fn finish(mut self, ranges: &RangeSet) -> Result<(A::File, TableMeta)> {
        if let Some(first) = ranges.spans().first()
            && self.meta.entries == 0
        {
            self.add(&first.start, Kind::Delete, &[])?;
        }
        debug_assert!(self.meta.entries > 0, "a table has at least one entry");
        if !self.block.is_empty() {
            self.end_block()?;
        }
        let padding = self.appender.len().next_multiple_of(64) - self.appender.len();
        self.appender.append(&[&[0; 64][..padding as usize]])?;
        self.encoded = filter::build(&self.hashes, self.options.filter_bits_per_key);
        let filter = self.append_encoded(Compression::None)?;

        self.encoded.clear();
        self.index.finish(&mut self.encoded);
        let index = self.append_encoded(Compression::None)?;

        self.meta.key_max = std::mem::take(&mut self.last);
        self.meta.values = std::mem::take(&mut self.values).into_iter().collect();
        let ranges = self.append_ranges(ranges)?;
        self.encoded.clear();
        self.meta.encode(&mut self.encoded);
        let properties = self.append_encoded(Compression::None)?;

        let file_bytes = self.appender.len() + FOOTER_BYTES as u64;
        let number = self.meta.number;
        let footer = Footer { filter, index, properties, ranges, number, file_bytes };
        self.appender.append(&[&footer.encode()])?;
        self.meta.file_bytes = file_bytes;
        let file = self.appender.finish()?;
        file.sync()?;
        Ok((file, self.meta))
    }

    /// Appends the ranges, if there are any, and makes the table's bounds take them in.
    fn append_ranges(&mut self, ranges: &RangeSet) -> Result<Handle> {
        let (Some(first), Some(last)) = (ranges.spans().first(), ranges.spans().last()) else {
            return Ok(Handle::default());
        };
        self.meta.range_deletions = ranges.spans().len() as u64;
        if first.start < self.meta.key_min {
            self.meta.key_min.clone_from(&first.start);
        }
        if last.end > self.meta.key_max {
            self.meta.key_max.clone_from(&last.end);
            self.meta.is_open = true;
        }
        self.encoded.clear();
        ranges::encode(ranges, &mut self.encoded);
        self.append_encoded(Compression::None)
    }
}
