//! Reads a write-ahead log into a memtable.

use super::files::FileNumber;
use super::memtable::{self, LOG_BYTES_MAX, Memtable};
use super::wal::LogHeader;
use crate::log::frame::frame_bytes;
use crate::log::{Expected, Tail, replay};
use crate::storage::File;
use crate::{Error, Result};

/// A log that was read, and not yet judged.
pub(crate) struct Replayed<F> {
    /// `None` if it has no header that could be read.
    pub(crate) header: Option<LogHeader>,
    pub(crate) tail: Tail,
    /// The writes of all whole frames up to the first that is not.
    pub(crate) memtable: Memtable<F>,
}

/// Reads the log in `file`, whose number is `number`.
///
/// # Errors
/// [`Error::Corrupt`] if what was synced is damaged: by what is expected, or by what the log says itself.
pub(crate) fn replay_log<F: File>(
    file: &F,
    number: FileNumber,
    expected: Expected,
) -> Result<Replayed<F>> {
    if file.len() > LOG_BYTES_MAX {
        return Err(Error::corrupt(file.path(), LOG_BYTES_MAX, "no log is as long as this one"));
    }
    let header = match LogHeader::read(file, number) {
        Ok(header) => Some(header),
        Err(Error::Corrupt { .. }) if expected == Expected::Torn => None,
        Err(error) => return Err(error),
    };
    let sequence = header.map_or(0, |header| header.sequence);
    let memtable = Memtable::new(number, sequence, file.clone(), file.len());
    let tail = replay(file, number, 0, expected, |offset, payload| {
        if offset > 0 && header.is_some() {
            let first = memtable::first_operation(offset);
            let end = offset + frame_bytes(payload.len());
            let corrupt = |reason: &str| Error::corrupt(file.path(), offset, reason);
            memtable.insert_all(first, payload, end, corrupt)?;
            memtable.publish(end);
        }
        Ok(())
    })?;
    Ok(Replayed { header, tail, memtable })
}
