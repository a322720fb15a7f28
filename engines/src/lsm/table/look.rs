//! Looks a table through from outside: its parts, and if wanted each block and each entry.
//!
//! 1. The footer must be whole, as without it nothing is found. Filter, index, ranges of deleted keys and properties must be whole, and lie one behind the other.
//! 2. The blocks that the index names must lie one behind the other from the file's start, and be whole. Keys ascend, within blocks and from one to the next; each block's key in the index
//!    is greater than all keys before, and not greater than the block's first.
//! 3. The filter must let every key pass. Numbers of entries, deletions and values that expire, when they do, the least and the greatest key, and what is pointed to must be what the properties say, and these what the manifest says.
//! 4. The ranges are visited before the entries, which are younger.
//!
//! So every byte of the file is covered. Damage is noted, and the looking goes on behind it.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Deref};

use super::super::codec::Decoder;
use super::super::deadline::{self, Expiring};
use super::super::files::FileNumber;
use super::super::findings::TableFigures;
use super::super::options::KEY_BYTES_MAX;
use super::super::range_set::{RangeSet, Span};
use super::super::value_log::Pointer;
use super::super::wal::Kind;
use super::TableMeta;
use super::block::{self, Layout, Malformed, TRAILER_BYTES};
use super::compression::unpack;
use super::filter::{self, LINE_BYTES, Probe};
use super::footer::{BlockHandle, FOOTER_BYTES, Footer, Handle};
use super::reader::read_ranges;
use crate::storage::File;
use crate::{Error, Result};

/// An entry of a table, or a range of keys that it deletes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    /// Offset of its block.
    pub(crate) block: u64,
    /// Of a range, where it begins.
    pub(crate) key: &'a [u8],
    pub(crate) content: Content<'a>,
    /// Of a value that expires, when it does, in milliseconds since the Unix epoch.
    pub(crate) expires_ms: Option<u64>,
}

/// What a table says of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    Deleted,
    /// So are all keys from this one up to, but without, that one.
    DeletedUpTo(&'a [u8]),
    Value(&'a [u8]),
    /// The value lies in the value log.
    Pointer(Pointer),
}

impl<'a> Content<'a> {
    /// That of an entry, and when it expires.
    fn of(kind: Kind, value: &'a [u8]) -> Option<(Self, Option<u64>)> {
        let pointer = |value| Pointer::decode(value).map(Self::Pointer);
        Some(match kind {
            Kind::Delete => (Self::Deleted, None),
            Kind::DeleteRange => return None,
            Kind::Put => (Self::Value(value), None),
            Kind::Pointer => (pointer(value)?, None),
            Kind::PutExpiring => {
                let (expires_ms, value) = deadline::split(value)?;
                (Self::Value(value), Some(expires_ms))
            }
            Kind::PointerExpiring => {
                let (expires_ms, value) = deadline::split(value)?;
                (pointer(value)?, Some(expires_ms))
            }
        })
    }
}

/// What is done with the entries of a table.
pub(crate) type Visit<'v> = dyn FnMut(Item<'_>) -> Result<ControlFlow<()>> + 'v;

/// What looking a table through has come to.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// What is in the table, if that can be told.
    pub(crate) figures: Option<TableFigures>,
    /// Every entry was visited: whatever is damaged only serves to find them.
    pub(crate) has_all_entries: bool,
}

/// What is done with damage: offset and reason.
pub(crate) type Note<'n> = dyn FnMut(u64, String) + 'n;

/// Looks the table through; without `visit`, its data blocks are left out. `expected` is what the manifest says.
///
/// # Errors
/// What `visit` returns, and errors of the disk; damage is noted instead.
pub(crate) fn look_through<F: File>(
    file: &F,
    number: FileNumber,
    expected: Option<&TableMeta>,
    visit: Option<&mut Visit<'_>>,
    note: &mut Note<'_>,
) -> Result<Looked> {
    let file_bytes = expected.map_or(file.len(), |meta| meta.file_bytes);
    let Some(footer) = noted(Footer::read(file, number, file_bytes), note)? else {
        return Ok(Looked::default());
    };
    let number = footer.number;
    places(&footer, note);
    let filter = noted(named("filter", part(file, number, footer.filter)), note)?;
    if !(footer.filter.bytes as usize).is_multiple_of(LINE_BYTES) {
        note(footer.filter.offset, "the filter does not consist of lines".to_owned());
        return Ok(Looked::default());
    }
    let index = noted(named("index", part(file, number, footer.index)), note)?;
    let index = match &index {
        Some(index) => noted(parsed(file, footer.index.offset, index), note)?.zip(Some(&**index)),
        None => None,
    };
    let stored = noted(named("properties", properties(file, &footer)), note)?;
    let outside = footer.is_from_outside();
    let stored = stored.map(|stored| match expected {
        Some(known) => stored.placed_as(known, outside),
        None => stored,
    });
    let ranges = noted(read_ranges(file, &footer), note)?;
    let mut has_all_entries = false;
    if let (Some(stored), Some(expected)) = (&stored, expected)
        && stored != expected
    {
        let reason = "the properties contradict the manifest".to_owned();
        note(footer.properties.offset, reason);
    }
    if let (Some(visit), Some((layout, index))) = (visit, index) {
        let filter = filter.as_deref();
        let mut walk = Walk { file, number, filter, visit, note, found: Found::default() };
        let has_all_ranges = ranges.is_some();
        let ranges = ranges.unwrap_or_default();
        if walk.ranges(&ranges, &footer)?.is_continue()
            && walk.blocks(layout, index, &footer)?.is_continue()
        {
            let agrees = walk.compare(stored.as_ref().or(expected), &ranges, &footer);
            has_all_entries = agrees && has_all_ranges;
        }
    }
    let figures = stored.as_ref().or(expected).map(|meta| figures(meta, &footer, index));
    Ok(Looked { figures, has_all_entries })
}

fn figures(meta: &TableMeta, footer: &Footer, index: Option<(Layout, &[u8])>) -> TableFigures {
    let has_expiring = meta.expiring.entries > 0;
    TableFigures {
        number: meta.number,
        level: None,
        file_bytes: footer.file_bytes,
        entries: meta.entries,
        deletions: meta.deletions,
        range_deletions: meta.range_deletions,
        expiring: meta.expiring.entries,
        expires_first_ms: has_expiring.then_some(meta.expiring.first_ms),
        expires_last_ms: has_expiring.then_some(meta.expiring.last_ms),
        key_min: meta.key_min.clone(),
        key_max: meta.key_max.clone(),
        sequence_min: meta.sequence_min,
        sequence_max: meta.sequence_max,
        blocks: index.map_or(0, |(layout, _)| layout.len() as u64),
        index_bytes: footer.index.bytes.into(),
        filter_bytes: footer.filter.bytes.into(),
        value_bytes: meta.value_bytes(),
    }
}

/// Notes damage, and passes all other errors on.
fn noted<T>(result: Result<T>, note: &mut Note<'_>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Corrupt { offset, reason, .. }) => {
            note(offset, reason);
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

/// Says of damage in which part of the table it is.
fn named<T>(name: &str, result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        Error::Corrupt { file, offset, reason } => {
            Error::Corrupt { file, offset, reason: format!("{reason} (of the {name})") }
        }
        other => other,
    })
}

/// Where a part ends, its trailer included.
fn end_of(part: Handle) -> u64 {
    part.offset.saturating_add(part.bytes.into()).saturating_add(TRAILER_BYTES as u64)
}

/// Notes parts that do not follow each other.
fn places(footer: &Footer, note: &mut Note<'_>) {
    let footer_at = footer.file_bytes - FOOTER_BYTES as u64;
    let behind_index = if footer.ranges.bytes > 0 { footer.ranges } else { footer.properties };
    let parts = [
        ("filter", footer.filter, footer.index.offset),
        ("index", footer.index, behind_index.offset),
        ("ranges of deleted keys", footer.ranges, footer.properties.offset),
        ("properties", footer.properties, footer_at),
    ];
    for (name, part, next) in parts {
        if part != Handle::default() && end_of(part) != next {
            let reason = format!(
                "the footer says that the {name} ends at byte {}, and what follows begins at byte {next}",
                end_of(part)
            );
            note(footer_at, reason);
        }
    }
}

/// A part of the file without its trailer, verified.
fn part<F: File>(file: &F, number: FileNumber, part: Handle) -> Result<F::Bytes<'_>> {
    let bytes = file.read(part.offset, part.bytes as usize + TRAILER_BYTES)?;
    block::verify_plain(file.path(), number, part.offset, &bytes)?;
    file.read(part.offset, part.bytes as usize)
}

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

fn parsed<F: File>(file: &F, offset: u64, block: &[u8]) -> Result<Layout> {
    Layout::parse(block).map_err(|Malformed| malformed(file, offset))
}

#[cold]
fn malformed<F: File>(file: &F, offset: u64) -> Error {
    Error::corrupt(file.path(), offset, "the block's checksum is right, but not its content")
}

fn properties<F: File>(file: &F, footer: &Footer) -> Result<TableMeta> {
    let (at, number) = (footer.properties, footer.number);
    let bytes = part(file, number, at)?;
    let meta = TableMeta::decode(&mut Decoder::new(&bytes));
    let meta = meta.filter(|meta| meta.number == number);
    let meta = meta.map(|meta| TableMeta { file_bytes: footer.file_bytes, ..meta });
    meta.ok_or_else(|| Error::corrupt(file.path(), at.offset, "the properties are malformed"))
}

/// What a table says about itself, if its footer and properties are whole.
pub(crate) fn own_meta<F: File>(file: &F, number: FileNumber) -> Option<TableMeta> {
    let footer = Footer::read(file, number, file.len()).ok()?;
    properties(file, &footer).ok().map(|meta| TableMeta { number, ..meta })
}

/// As [`own_meta`], of a file whose number nobody knows.
///
/// # Errors
/// [`Error::Corrupt`] if it is no table, or damaged.
pub(crate) fn says_itself<F: File>(file: &F) -> Result<TableMeta> {
    let too_short = || Error::corrupt(file.path(), 0, "the file is too short for a table");
    let at = file.len().checked_sub(FOOTER_BYTES as u64).ok_or_else(too_short)?;
    let number = {
        let bytes = file.read(at, FOOTER_BYTES)?;
        let bytes = bytes.first_chunk().ok_or_else(too_short)?;
        let footer = Footer::decode(bytes);
        footer.map_err(|reason| Error::corrupt(file.path(), at, reason))?.number
    };
    properties(file, &Footer::read(file, number, file.len())?)
}

/// What was found on the way through a table.
#[derive(Default)]
struct Found {
    entries: u64,
    deletions: u64,
    expiring: Expiring,
    key_min: Vec<u8>,
    /// The last key so far.
    key_max: Vec<u8>,
    /// Bytes that are pointed to, by files of values.
    values: BTreeMap<FileNumber, u64>,
    /// Something could not be read, so that nothing can be counted.
    is_partial: bool,
}

/// The way through all blocks.
struct Walk<'w, 'v, 'n, F> {
    file: &'w F,
    number: FileNumber,
    filter: Option<&'w [u8]>,
    visit: &'w mut Visit<'v>,
    note: &'w mut Note<'n>,
    found: Found,
}

impl<F: File> Walk<'_, '_, '_, F> {
    fn ranges(&mut self, ranges: &RangeSet, footer: &Footer) -> Result<ControlFlow<()>> {
        for Span { start, end } in ranges.spans() {
            let block = footer.ranges.offset;
            let content = Content::DeletedUpTo(end);
            let item = Item { block, key: start, content, expires_ms: None };
            if (self.visit)(item)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn blocks(&mut self, layout: Layout, index: &[u8], footer: &Footer) -> Result<ControlFlow<()>> {
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
            end = end_of(handle);
            match noted(self.block(block, &separator), self.note)? {
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

    /// Between the last block and the filter there are zeros.
    fn padding(&self, from: u64, to: u64) -> Result<()> {
        let is_short = to >= from && to - from < 64;
        let zeros = is_short && self.file.read(from, (to - from) as usize)?.iter().all(|b| *b == 0);
        let reason = "between the last block and the filter there are not just zeros";
        if zeros { Ok(()) } else { Err(Error::corrupt(self.file.path(), from, reason)) }
    }

    /// Visits the entries of one block, whose key in the index is `separator`.
    fn block(&mut self, handle: BlockHandle, separator: &[u8]) -> Result<ControlFlow<()>> {
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
            if at == 0 && (separator > &key[..] || separator <= before) {
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

    /// Notes what is not as the properties say, and tells whether all entries have been found.
    fn compare(&mut self, meta: Option<&TableMeta>, ranges: &RangeSet, footer: &Footer) -> bool {
        let found = &self.found;
        let Some(meta) = meta.filter(|_| !found.is_partial) else { return !found.is_partial };
        let (mut key_min, mut key_max, mut is_open) = (&found.key_min, &found.key_max, false);
        if let (Some(first), Some(last)) = (ranges.spans().first(), ranges.spans().last()) {
            key_min = key_min.min(&first.start);
            is_open = last.end > *key_max;
            key_max = key_max.max(&last.end);
        }
        let mut agrees = true;
        for (what, is_same) in [
            ("number of entries", meta.entries == found.entries),
            ("number of deletions", meta.deletions == found.deletions),
            ("number of values that expire, or their times", meta.expiring == found.expiring),
            ("number of ranges", meta.range_deletions == ranges.spans().len() as u64),
            ("least key", meta.key_min == *key_min),
            ("greatest key", meta.key_max == *key_max && meta.is_open == is_open),
            ("sum of what is pointed to", meta.values.iter().copied().eq(found.values.clone())),
        ] {
            agrees &= is_same;
            if !is_same {
                (self.note)(
                    footer.properties.offset,
                    format!("the {what} is another than the blocks show"),
                );
            }
        }
        agrees
    }
}

fn passes(filter: Option<&[u8]>, key: &[u8]) -> bool {
    let Some(filter) = filter.filter(|filter| !filter.is_empty()) else { return true };
    let probe = Probe::new(filter::hash(key));
    let line = probe.line(filter.len() / LINE_BYTES) * LINE_BYTES;
    filter.get(line..line + LINE_BYTES).is_some_and(|line| probe.maybe_in(line))
}
