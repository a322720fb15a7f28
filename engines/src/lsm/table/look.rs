//! Looks a table through from outside: its parts, and if wanted each block and each entry.
//!
//! 1. The footer must be whole. Filter, index, ranges of deleted keys and properties must be whole, and lie one behind the other.
//! 2. The blocks that the index names must lie one behind the other from the file's start, and be whole. Keys ascend, within blocks and from one to the next; each block's key in the index
//!    is greater than all keys before, and not greater than the block's first.
//! 3. The filter must let every key pass. Numbers of entries, deletions and values that expire, when they do, the least and the greatest key, and what is pointed to must be what the properties say, and these what the manifest says.
//! 4. The ranges are visited before the entries, which are younger.
//!
//! So every byte of the file is covered. Damage is noted, and the looking goes on behind it. If footer or index are damaged, what they would name is searched ([`super::search`]).

use std::ops::ControlFlow;

use super::super::codec::Decoder;
use super::super::deadline;
use super::super::files::FileNumber;
use super::super::findings::TableFigures;
use super::super::value_log::Pointer;
use super::super::wal::Kind;
use super::TableMeta;
use super::block::{self, Layout, Malformed, TRAILER_BYTES};
use super::filter::LINE_BYTES;
use super::footer::{FOOTER_BYTES, Footer, Handle};
use super::reader::read_ranges;
use super::search::{Searched, find_properties, search};
use super::walk::{Found, Walk};
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
    pub(super) fn of(kind: Kind, value: &'a [u8]) -> Option<(Self, Option<u64>)> {
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
    /// How many were not, if that can be told.
    pub(crate) entries_lost: Option<u64>,
}

/// What is done with damage: offset and reason.
pub(crate) type Note<'n> = dyn FnMut(u64, String) + 'n;

/// Looks the table through; without `visit`, its data blocks are left out, and nothing is searched. `expected` is what the manifest says.
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
    let footer = noted(Footer::read(file, number, file_bytes), note)?;
    let mut searched = None;
    let footer = if let Some(footer) = footer {
        places(&footer, note);
        footer
    } else {
        // Its entries are wanted, or else it is not worth a search.
        let Some(found) = search_all(file, number)?.filter(|_| visit.is_some()) else {
            return Ok(Looked::default());
        };
        searched.insert(found).footer(file.len())
    };
    let number = footer.number;
    let filter = noted(named("filter", part_if_any(file, number, footer.filter)), note)?.flatten();
    if !(footer.filter.bytes as usize).is_multiple_of(LINE_BYTES) {
        note(footer.filter.offset, "the filter does not consist of lines".to_owned());
        return Ok(Looked::default());
    }
    let index = noted(named("index", part_if_any(file, number, footer.index)), note)?.flatten();
    let index = match &index {
        Some(index) => noted(parsed(file, footer.index.offset, index), note)?.zip(Some(&**index)),
        None => None,
    };
    let stored = match &searched {
        Some(searched) => searched.properties.as_ref().map(|(_, meta)| meta.clone()),
        None => noted(named("properties", properties(file, &footer)), note)?,
    };
    let outside = footer.is_from_outside();
    let stored = stored.map(|stored| match expected {
        Some(known) => stored.placed_as(known, outside),
        None => stored,
    });
    let ranges = noted(read_ranges(file, &footer), note)?;
    if let (Some(stored), Some(expected)) = (&stored, expected)
        && stored != expected
    {
        let reason = "the properties contradict the manifest".to_owned();
        note(footer.properties.offset, reason);
    }
    let meta = stored.as_ref().or(expected);
    let figures = meta.map(|meta| figures(meta, &footer, index));
    let mut looked = Looked { figures, ..Looked::default() };
    let Some(visit) = visit else { return Ok(looked) };
    let mut walk =
        Walk { file, number, filter: filter.as_deref(), visit, note, found: Found::default() };
    let has_all_ranges = ranges.is_some();
    let ranges = ranges.unwrap_or_default();
    if walk.ranges(&ranges, footer.ranges.offset)?.is_break() {
        return Ok(looked);
    }
    let flow = if let Some((layout, index)) = index {
        walk.indexed_blocks(layout, index, &footer)?
    } else {
        if searched.is_none() {
            let blocks = noted(file.read(0, footer.filter.offset as usize), walk.note)?;
            searched = blocks.map(|blocks| search(&blocks, number));
        }
        walk.searched_blocks(searched.as_ref().map_or(&[], |searched| &searched.blocks))?
    };
    if flow.is_break() {
        return Ok(looked);
    }
    let differences = meta.map(|meta| walk.found.differences(meta, &ranges));
    let agrees = differences.as_ref().is_none_or(Vec::is_empty);
    looked.has_all_entries = has_all_ranges && !walk.found.is_partial && agrees;
    if index.is_none() {
        // Nothing but the numbers tells whether all blocks were found.
        looked.has_all_entries &= meta.is_some();
        if !looked.has_all_entries {
            let gaps = searched.map_or_else(Vec::new, |searched| searched.gaps);
            walk.note_lost(&gaps, meta);
        }
    } else if !walk.found.is_partial {
        for what in differences.unwrap_or_default() {
            let reason = format!("the {what} is another than the blocks show");
            (walk.note)(footer.properties.offset, reason);
        }
    }
    looked.entries_lost = meta.map(|meta| meta.entries.saturating_sub(walk.found.entries));
    Ok(looked)
}

/// Searches a table for its parts, unless it is of another version.
fn search_all<F: File>(file: &F, number: FileNumber) -> Result<Option<Searched>> {
    let bytes = file.read(0, file.len() as usize)?;
    let searched = search(&bytes, number);
    let is_ours = searched.properties.is_some() || !Footer::claims_other_version(&bytes);
    Ok(is_ours.then_some(searched))
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
pub(super) fn noted<T>(result: Result<T>, note: &mut Note<'_>) -> Result<Option<T>> {
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
        if part != Handle::default() && part.end() != next {
            let reason = format!(
                "the footer says that the {name} ends at byte {}, and what follows begins at byte {next}",
                part.end()
            );
            note(footer_at, reason);
        }
    }
}

/// A part of the file without its trailer, verified, unless there is none.
fn part_if_any<F: File>(file: &F, number: FileNumber, at: Handle) -> Result<Option<F::Bytes<'_>>> {
    if at == Handle::default() { Ok(None) } else { part(file, number, at).map(Some) }
}

/// A part of the file without its trailer, verified.
pub(super) fn part<F: File>(file: &F, number: FileNumber, part: Handle) -> Result<F::Bytes<'_>> {
    let bytes = file.read(part.offset, part.bytes as usize + TRAILER_BYTES)?;
    block::verify_plain(file.path(), number, part.offset, &bytes)?;
    file.read(part.offset, part.bytes as usize)
}

pub(super) fn parsed<F: File>(file: &F, offset: u64, block: &[u8]) -> Result<Layout> {
    Layout::parse(block).map_err(|Malformed| malformed(file, offset))
}

#[cold]
pub(super) fn malformed<F: File>(file: &F, offset: u64) -> Error {
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

/// What a table says about itself, if its properties are whole.
pub(crate) fn own_meta<F: File>(file: &F, number: FileNumber) -> Option<TableMeta> {
    let meta = if let Ok(footer) = Footer::read(file, number, file.len()) {
        properties(file, &footer).ok()
    } else {
        let bytes = file.read(0, file.len() as usize).ok()?;
        find_properties(&bytes, number).map(|(_, meta)| meta)
    };
    meta.map(|meta| TableMeta { number, ..meta })
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
