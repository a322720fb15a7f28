//! The way through the entries of a table, one block after the other, for whoever looks it through.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Deref};

use super::super::deadline::Expiring;
use super::super::files::FileNumber;
use super::super::options::KEY_BYTES_MAX;
use super::super::range_set::{RangeSet, Span};
use super::super::wal::Kind;
use super::TableMeta;
use super::block::{self, Layout, Malformed, TRAILER_BYTES};
use super::compression::unpack;
use super::filter::{self, LINE_BYTES, Probe};
use super::footer::{BlockHandle, Footer, Handle};
use super::look::{Content, Item, Note, Visit, malformed, noted, parsed, part};
use crate::storage::File;
use crate::{Error, Result};

/// A data block as it is when it is not compressed, verified.
enum DataBlock<'f, F: File + 'f> {
    InFile(F::Bytes<'f>),
    Unpacked(Vec<u8>),
}

impl<F: File> Deref for DataBlock<'_, F> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::InFile(bytes) => bytes,
            Self::Unpacked(bytes) => bytes,
        }
    }
}

fn data_block<F: File>(
    file: &F,
    number: FileNumber,
    block: BlockHandle,
) -> Result<DataBlock<'_, F>> {
    let BlockHandle { part: at, is_packed } = block;
    if !is_packed {
        return part(file, number, at).map(DataBlock::InFile);
    }
    let bytes = file.read(at.offset, at.bytes as usize + TRAILER_BYTES)?;
    let compression = block::verify(file.path(), number, at.offset, &bytes)?;
    let block = unpack(compression, &bytes[..at.bytes as usize]);
    block.map(DataBlock::Unpacked).ok_or_else(|| malformed(file, at.offset))
}

/// What was found on the way through a table.
#[derive(Default)]
pub(super) struct Found {
    pub(super) entries: u64,
    deletions: u64,
    expiring: Expiring,
    key_min: Vec<u8>,
    /// The last key so far.
    key_max: Vec<u8>,
    /// Bytes that are pointed to, by files of values.
    values: BTreeMap<FileNumber, u64>,
    /// Something could not be read, so that nothing can be counted.
    pub(super) is_partial: bool,
}

impl Found {
    /// What is not as `meta` says.
    pub(super) fn differences(&self, meta: &TableMeta, ranges: &RangeSet) -> Vec<&'static str> {
        let (mut key_min, mut key_max, mut is_open) = (&self.key_min, &self.key_max, false);
        if let (Some(first), Some(last)) = (ranges.spans().first(), ranges.spans().last()) {
            key_min = key_min.min(&first.start);
            is_open = last.end > *key_max;
            key_max = key_max.max(&last.end);
        }
        let compared = [
            ("number of entries", meta.entries == self.entries),
            ("number of deletions", meta.deletions == self.deletions),
            ("number of values that expire, or their times", meta.expiring == self.expiring),
            ("number of ranges", meta.range_deletions == ranges.spans().len() as u64),
            ("least key", meta.key_min == *key_min),
            ("greatest key", meta.key_max == *key_max && meta.is_open == is_open),
            ("sum of what is pointed to", meta.values.iter().copied().eq(self.values.clone())),
        ];
        let differences = compared.into_iter().filter(|(_, is_same)| !is_same);
        differences.map(|(what, _)| what).collect()
    }
}

/// The way through all blocks.
pub(super) struct Walk<'w, 'v, 'n, F> {
    pub(super) file: &'w F,
    pub(super) number: FileNumber,
    pub(super) filter: Option<&'w [u8]>,
    pub(super) visit: &'w mut Visit<'v>,
    pub(super) note: &'w mut Note<'n>,
    pub(super) found: Found,
}

impl<F: File> Walk<'_, '_, '_, F> {
    /// Visits the ranges of deleted keys, whose block lies at the offset `block`.
    pub(super) fn ranges(&mut self, ranges: &RangeSet, block: u64) -> Result<ControlFlow<()>> {
        for Span { start, end } in ranges.spans() {
            let content = Content::DeletedUpTo(end);
            let item = Item { block, key: start, content, expires_ms: None };
            if (self.visit)(item)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Visits the entries of the blocks that the index names.
    pub(super) fn indexed_blocks(
        &mut self,
        layout: Layout,
        index: &[u8],
        footer: &Footer,
    ) -> Result<ControlFlow<()>> {
        let file = self.file;
        let malformed = |Malformed| malformed(file, footer.index.offset);
        let mut separator = noted(layout.prefix(index).map_err(malformed), self.note)?
            .map(<[u8]>::to_vec)
            .unwrap_or_default();
        let mut end = 0;
        for at in 0..layout.len() {
            let block = layout.entry(index, at).and_then(|entry| {
                layout.read_key(index, at, &entry, &mut separator)?;
                BlockHandle::decode(entry.value).ok_or(Malformed)
            });
            let Some(block) = noted(block.map_err(malformed), self.note)? else {
                self.found.is_partial = true;
                continue;
            };
            let handle = block.part;
            if handle.offset != end && !self.found.is_partial {
                let reason = format!(
                    "a block ends at byte {end}, and the next begins at byte {} by the index",
                    handle.offset
                );
                (self.note)(footer.index.offset, reason);
            }
            end = handle.end();
            match noted(self.block(block, Some(&separator)), self.note)? {
                Some(ControlFlow::Continue(())) => {}
                Some(ControlFlow::Break(())) => return Ok(ControlFlow::Break(())),
                None => self.found.is_partial = true,
            }
        }
        if !self.found.is_partial {
            noted(self.padding(end, footer.filter.offset), self.note)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Visits the entries of blocks that a search has found.
    pub(super) fn searched_blocks(&mut self, blocks: &[BlockHandle]) -> Result<ControlFlow<()>> {
        for block in blocks {
            match noted(self.block(*block, None), self.note)? {
                Some(ControlFlow::Continue(())) => {}
                Some(ControlFlow::Break(())) => return Ok(ControlFlow::Break(())),
                None => self.found.is_partial = true,
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Between the last block and the filter there are zeros.
    fn padding(&self, from: u64, to: u64) -> Result<()> {
        let is_short = to >= from && to - from < 64;
        let zeros = is_short && self.file.read(from, (to - from) as usize)?.iter().all(|b| *b == 0);
        let reason = "between the last block and the filter there are not just zeros";
        if zeros { Ok(()) } else { Err(Error::corrupt(self.file.path(), from, reason)) }
    }

    /// Visits the entries of one block, whose key in the index is `separator`.
    fn block(&mut self, handle: BlockHandle, separator: Option<&[u8]>) -> Result<ControlFlow<()>> {
        let offset = handle.part.offset;
        let block = data_block(self.file, self.number, handle)?;
        let layout = parsed(self.file, offset, &block)?;
        let file = self.file;
        let corrupt = |reason: &str| Error::corrupt(file.path(), offset, reason);
        let malformed = |Malformed| malformed(file, offset);
        let mut key = layout.prefix(&block).map_err(malformed)?.to_vec();
        for at in 0..layout.len() {
            let entry = layout.entry(&block, at).map_err(malformed)?;
            layout.read_key(&block, at, &entry, &mut key).map_err(malformed)?;
            let found = &mut self.found;
            if found.entries + u64::from(found.is_partial) > 0 && key <= found.key_max {
                return Err(corrupt("keys do not ascend"));
            }
            if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
                return Err(corrupt("a key has an impossible length"));
            }
            let before = &found.key_max[..];
            let misleads = |separator| separator > &key[..] || separator <= before;
            if at == 0 && separator.is_some_and(misleads) {
                return Err(corrupt("the index has another key for this block than it should"));
            }
            if found.entries == 0 {
                found.key_min.clone_from(&key);
            }
            found.key_max.clone_from(&key);
            found.entries += 1;
            if entry.kind == Kind::DeleteRange {
                return Err(corrupt("a range of deleted keys stands among the entries"));
            }
            found.deletions += u64::from(entry.kind == Kind::Delete);
            let (content, expires_ms) = Content::of(entry.kind, entry.value).ok_or_else(|| {
                corrupt("a pointer into the value log, or a deadline, is malformed")
            })?;
            if let Some(expires_ms) = expires_ms {
                found.expiring.add(expires_ms);
            }
            if let Content::Pointer(pointer) = content {
                *found.values.entry(pointer.file).or_default() += pointer.frame_bytes();
            }
            if !passes(self.filter, &key) {
                return Err(corrupt("the filter denies a key of this block"));
            }
            if (self.visit)(Item { block: offset, key: &key, content, expires_ms })?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Notes what was lost with an index: the `gaps` between the blocks that were found, or if there are none, how many entries are missing of what the properties say.
    pub(super) fn note_lost(&mut self, gaps: &[Handle], meta: Option<&TableMeta>) {
        for Handle { offset, bytes } in gaps {
            (self.note)(*offset, format!("no whole block is found in these {bytes} bytes"));
        }
        if let Some(meta) = meta.filter(|_| gaps.is_empty()) {
            let (found, all) = (self.found.entries, meta.entries);
            let reason = format!("of {all} entries, {found} are in blocks that are found");
            (self.note)(self.file.len(), reason);
        }
    }
}

fn passes(filter: Option<&[u8]>, key: &[u8]) -> bool {
    let Some(filter) = filter.filter(|filter| !filter.is_empty()) else { return true };
    let probe = Probe::new(filter::hash(key));
    let line = probe.line(filter.len() / LINE_BYTES) * LINE_BYTES;
    filter.get(line..line + LINE_BYTES).is_some_and(|line| probe.maybe_in(line))
}
