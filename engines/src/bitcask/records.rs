//! The records of a store's data files, one by one, as they are stored.

use std::ops::ControlFlow;
use std::path::Path;

use super::findings::Damage;
use super::scan::{Piece, joined, scan};
use super::segment::{FileId, FileKind};
use super::survey::{Source, Survey};
use crate::compression::decompressed;
use crate::storage::{File, Storage};
use crate::{Error, Result};

/// A record in a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRecord<'a> {
    /// Number of the data file.
    pub file: u32,
    /// Where its frame begins, in bytes.
    pub offset: u64,
    /// Bytes of its frame.
    pub frame_bytes: u64,
    /// The key.
    pub key: &'a [u8],
    /// The value, unpacked; None for a tombstone.
    pub value: Option<&'a [u8]>,
    /// The value is stored compressed.
    pub compressed: bool,
    /// When the value is gone, in milliseconds since the Unix epoch; None: never.
    pub expires_ms: Option<u64>,
    /// It is part of a batch that goes on in the next record.
    pub continues: bool,
}

/// Calls `visit` with every whole record of the store in the folder `dir`, oldest first, live or not, until it breaks; with `file`, with those of that data file only. Returns what
/// could not be read, torn tails among it. Takes no lock and changes nothing.
///
/// # Errors
/// - [`Error::NotAStore`] if the folder holds no Bitcask.
/// - [`Error::NoSuchFile`] if there is no such data file.
pub fn records<S: Storage>(
    storage: &S,
    dir: impl AsRef<Path>,
    file: Option<u32>,
    mut visit: impl FnMut(&StoredRecord<'_>) -> ControlFlow<()>,
) -> Result<Vec<Damage>> {
    let dir = dir.as_ref();
    let survey = Survey::of(storage, dir)?;
    let wanted = |id: FileId| file.is_none_or(|file| id.0 == file);
    let mut damage = Vec::new();
    for (id, reason) in survey.missing.iter().filter(|(id, _)| wanted(*id)) {
        let file = FileKind::Data.path(dir, *id);
        damage.push(Damage { file, offset: 0, reason: reason.clone(), is_rebuilt: false });
    }
    let sources: Vec<_> = survey.sources.iter().filter(|source| wanted(source.id)).collect();
    if let Some(id) = file.filter(|_| sources.is_empty() && damage.is_empty()) {
        return Err(Error::NoSuchFile { dir: dir.to_owned(), id });
    }
    for source in sources {
        if of_file(source, &mut visit, &mut damage)?.is_break() {
            break;
        }
    }
    Ok(damage)
}

fn of_file<F: File>(
    source: &Source<F>,
    visit: &mut impl FnMut(&StoredRecord<'_>) -> ControlFlow<()>,
    damage: &mut Vec<Damage>,
) -> Result<ControlFlow<()>> {
    let mut flow = ControlFlow::Continue(());
    let scan = scan(&source.file, source.id, source.until(), source.hint.valid(), |piece| {
        let found = match piece {
            Piece::Record(found) if flow.is_continue() => found,
            Piece::Record(_) | Piece::Gap(_) => return Ok(()),
        };
        let record = found.record;
        let stored = StoredRecord {
            file: source.id.0,
            offset: found.offset,
            frame_bytes: record.frame_bytes(),
            key: record.key,
            value: record.value.map(|value| value.bytes),
            compressed: record.value.is_some_and(|value| value.compressed),
            expires_ms: record.value.and_then(|value| value.expires_ms),
            continues: record.continues,
        };
        flow = match record.value.filter(|value| value.compressed) {
            None => visit(&stored),
            Some(value) => decompressed(value.bytes, |bytes| {
                visit(&StoredRecord { value: Some(bytes), ..stored })
            })
            // The scan has unpacked it already.
            .unwrap_or(ControlFlow::Continue(())),
        };
        Ok(())
    })?;
    let lost = scan.unreadable().cloned();
    damage.extend(joined(lost, source.hint.valid().is_some()).into_iter().map(|gap| Damage {
        file: source.file.path().to_owned(),
        offset: gap.offset,
        reason: gap.reason,
        is_rebuilt: false,
    }));
    Ok(flow)
}
