//! The records of a store's tables and logs, one by one, as they are stored.

use std::ops::ControlFlow;
use std::path::Path;

use super::deadline;
use super::files::StoreFile;
use super::findings::{Damage, LostValues};
use super::log_scan::{Write, scan_frames, scan_log};
use super::survey::{FoundLog, FoundTable, FoundValues, Survey};
use super::table::look::{Content, Item, look_through};
use super::value_log::format::Record;
use super::value_log::uncompressed;
use super::wal::{self, Kind};
use crate::storage::{File, Storage};
use crate::{Error, Result};

/// Where a record is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a log, as part of the write with this sequence number; None where that cannot be told.
    Log {
        /// Of the write: how many were made before it.
        sequence: Option<u64>,
    },
    /// In a table of this level; None without a manifest.
    Table {
        /// 0 for what was flushed and not yet merged.
        level: Option<usize>,
    },
    /// In a file of the value log: a value, of which only the tables know whether it is alive.
    Values,
}

/// A record in a table or log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRecord<'a> {
    /// Number of the file.
    pub file: u32,
    /// Where the record begins in a log, or its block in a table, in bytes.
    pub offset: u64,
    /// Where that is in the tree.
    pub place: Place,
    /// The key; of a range, where it begins.
    pub key: &'a [u8],
    /// The value; None for a deletion.
    pub value: Option<&'a [u8]>,
    /// Where the range ends whose keys are deleted, itself not in it; None if this is about one key. In a table, a range comes before the entries, which are younger.
    pub range_end: Option<&'a [u8]>,
    /// Of a record in a table, the file of the value log in which the value lies; None: with its key.
    pub value_file: Option<u32>,
    /// When the value expires, in milliseconds since the Unix epoch; None: never, or that is not known, as in files of the value log.
    pub expires_ms: Option<u64>,
}

/// Calls `visit` with every whole record of the store in the folder `dir`, live or not, until it breaks: the deepest level first, each level in the order of its keys, level 0 and the logs oldest first.
/// With `file`, with those of that table, log or file of the value log only; the latter are left out otherwise, as what is alive in them is shown with the tables. Returns what could not be read; not the torn end that a crash leaves a log. Takes no lock and changes nothing.
///
/// # Errors
/// - [`Error::NotAStore`] if the folder holds no LSM tree.
/// - [`Error::NoSuchFile`] if there is no such file.
pub fn records<S: Storage>(
    storage: &S,
    dir: impl AsRef<Path>,
    file: Option<u32>,
    mut visit: impl FnMut(&StoredRecord<'_>) -> ControlFlow<()>,
) -> Result<Vec<Damage>> {
    let dir = dir.as_ref();
    let survey = Survey::of(storage, dir)?;
    let wanted = |number: u32| file.is_none_or(|file| number == file);
    let mut damage = Vec::new();
    if let (None, Some(Error::Corrupt { file, offset, reason })) = (file, &survey.unreadable) {
        // Without it, records of tables that it does not name are shown, or in another order.
        damage.push(Damage { file: file.clone(), offset: *offset, reason: reason.clone() });
    }
    let mut found = false;
    for table in survey.oldest_first().filter(|table| wanted(table.number)) {
        found = true;
        if of_table(&survey, table, &mut visit, &mut damage)?.is_break() {
            return Ok(damage);
        }
    }
    for log in survey.logs.iter().filter(|log| wanted(log.number)) {
        found = true;
        if of_log(dir, log, &mut visit, &mut damage)?.is_break() {
            return Ok(damage);
        }
    }
    for values in survey.values.iter().filter(|values| file == Some(values.number)) {
        found = true;
        if of_values(dir, values, &mut visit, &mut damage)?.is_break() {
            return Ok(damage);
        }
    }
    match file.filter(|_| !found) {
        Some(id) => Err(Error::NoSuchFile { dir: dir.to_owned(), id }),
        None => Ok(damage),
    }
}

fn of_table<F: File>(
    survey: &Survey<F>,
    table: &FoundTable<F>,
    visit: &mut impl FnMut(&StoredRecord<'_>) -> ControlFlow<()>,
    damage: &mut Vec<Damage>,
) -> Result<ControlFlow<()>> {
    let name = StoreFile::Table(table.number);
    let path = name.path(&survey.dir);
    let file = match &table.file {
        Ok(file) => file,
        Err(reason) => {
            damage.push(Damage { file: path, offset: 0, reason: reason.clone() });
            return Ok(ControlFlow::Continue(()));
        }
    };
    let (mut lost, mut of_table) = (LostValues::default(), Vec::new());
    let mut note = |offset, reason| of_table.push(Damage { file: path.clone(), offset, reason });
    let place = Place::Table { level: table.known.as_ref().map(|(level, _)| *level) };
    let mut flow = ControlFlow::Continue(());
    let mut visit_item = |item: Item<'_>| -> Result<ControlFlow<()>> {
        let Item { block: offset, key, content, expires_ms } = item;
        let file = table.number;
        let mut show = |value: Option<&[u8]>, value_file, range_end: Option<&[u8]>| {
            visit(&StoredRecord {
                file,
                offset,
                place,
                key,
                value,
                range_end,
                value_file,
                expires_ms,
            })
        };
        flow = match content {
            Content::Deleted => show(None, None, None),
            Content::DeletedUpTo(end) => show(None, None, Some(end)),
            Content::Value(value) => show(Some(value), None, None),
            Content::Pointer(pointer) => {
                let file = Some(pointer.file);
                match survey.value(key, pointer, |value| show(Some(value), file, None)) {
                    Err(Error::Corrupt { file, offset, reason }) => {
                        lost.add(file, offset, reason);
                        ControlFlow::Continue(())
                    }
                    flow => flow?,
                }
            }
        };
        Ok(flow)
    };
    let meta = table.known.as_ref().map(|(_, meta)| meta);
    look_through(file, table.number, meta, Some(&mut visit_item), &mut note)?;
    damage.extend(of_table);
    damage.extend(lost.told(name).map(|(_, damage)| damage));
    Ok(flow)
}

fn of_values<F: File>(
    dir: &Path,
    values: &FoundValues<F>,
    visit: &mut impl FnMut(&StoredRecord<'_>) -> ControlFlow<()>,
    damage: &mut Vec<Damage>,
) -> Result<ControlFlow<()>> {
    let path = StoreFile::Values(values.number).path(dir);
    let mut note = |offset, reason| damage.push(Damage { file: path.clone(), offset, reason });
    let file = match &values.file {
        Ok(file) => file,
        Err(reason) => {
            note(0, reason.clone());
            return Ok(ControlFlow::Continue(()));
        }
    };
    let mut flow = ControlFlow::Continue(());
    let scan =
        scan_frames(file, values.number, Some(file.len()), |Write { offset, payload, .. }| {
            if offset == 0 || flow.is_break() {
                return Ok(());
            }
            let record = Record::decode(payload);
            let shown = record.and_then(|record| {
                uncompressed(&record, |value| {
                    let (place, value) = (Place::Values, Some(value));
                    let (file, key, value_file) = (values.number, record.key, None);
                    visit(&StoredRecord {
                        file,
                        offset,
                        place,
                        key,
                        value,
                        range_end: None,
                        value_file,
                        expires_ms: None,
                    })
                })
            });
            match shown {
                Some(shown) => flow = shown,
                None => note(offset, "the checksum is right, but this is no value".to_owned()),
            }
            Ok(())
        })?;
    for gap in scan.gaps {
        note(gap.offset, gap.reason);
    }
    Ok(flow)
}

fn of_log<F: File>(
    dir: &Path,
    log: &FoundLog<F>,
    visit: &mut impl FnMut(&StoredRecord<'_>) -> ControlFlow<()>,
    damage: &mut Vec<Damage>,
) -> Result<ControlFlow<()>> {
    let path = StoreFile::Log(log.number).path(dir);
    let note = |offset, reason| Damage { file: path.clone(), offset, reason };
    let file = match &log.file {
        Ok(file) => file,
        Err(reason) => {
            damage.push(note(0, reason.clone()));
            return Ok(ControlFlow::Continue(()));
        }
    };
    let first = wal::LogHeader::read(file, log.number).ok().map(|header| header.sequence);
    let mut writes = 0;
    let mut flow = ControlFlow::Continue(());
    let scan = scan_log(file, log.number, log.closed, |write| {
        // Behind a gap nobody knows how many writes were lost.
        let sequence = first.filter(|_| !write.behind_gap).map(|first| first + writes);
        writes += 1;
        let corrupt = |reason: &str| Error::corrupt(&path, write.offset, reason);
        let visited = wal::operations(write.payload, corrupt, |at, operation| {
            if flow.is_break() {
                return Ok(());
            }
            let bytes = &write.payload[at..at + operation.bytes()];
            let value = &bytes[operation.value()];
            let of_kind = |kind| operation.kind() == kind;
            // That there is a deadline has been checked.
            let expiring = of_kind(Kind::PutExpiring).then(|| deadline::split(value)).flatten();
            let behind = expiring.map(|(_, value)| value);
            flow = visit(&StoredRecord {
                file: log.number,
                offset: u64::from(super::memtable::first_operation(write.offset)) + at as u64,
                place: Place::Log { sequence },
                key: &bytes[operation.key()],
                value: behind.or(of_kind(Kind::Put).then_some(value)),
                range_end: of_kind(Kind::DeleteRange).then_some(value),
                value_file: None,
                expires_ms: expiring.map(|(expires_ms, _)| expires_ms),
            });
            Ok(())
        });
        match visited {
            Err(Error::Corrupt { offset, reason, .. }) => damage.push(note(offset, reason)),
            other => other?,
        }
        Ok(())
    })?;
    let gaps = scan.gaps.iter().filter(|gap| !scan.is_torn_end(gap, log.closed));
    damage.extend(gaps.map(|gap| note(gap.offset, gap.reason.clone())));
    Ok(flow)
}
