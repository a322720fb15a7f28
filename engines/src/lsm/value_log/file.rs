//! Reads files of values.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::files::FileNumber;
use super::format::{self, Pointer, Record};
use crate::compression::decompressed;
use crate::log::frame;
use crate::storage::{File, Storage};
use crate::{Error, Result};

/// An open file of values.
pub(crate) struct ValueFile<S: Storage> {
    pub(crate) number: FileNumber,
    storage: S,
    file: S::File,
    /// Removes the file when nobody uses it any more.
    obsolete: AtomicBool,
}

impl<S: Storage> Drop for ValueFile<S> {
    fn drop(&mut self) {
        if *self.obsolete.get_mut() {
            // If this fails, the next open finds the file, and that no manifest names it.
            let _ = self.storage.remove(self.file.path());
        }
    }
}

impl<S: Storage> ValueFile<S> {
    /// Opens the file of values in `file`, which by the manifest has this number and length.
    pub(crate) fn open(
        storage: S,
        file: S::File,
        number: FileNumber,
        bytes: u64,
    ) -> Result<Arc<Self>> {
        check_header(&file, number, Some(bytes))?;
        Ok(Arc::new(Self { number, storage, file, obsolete: AtomicBool::new(false) }))
    }

    pub(crate) fn file(&self) -> &S::File {
        &self.file
    }

    /// Its length in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.len()
    }

    /// Lets the file go once the last user does.
    pub(crate) fn set_obsolete(&self) {
        self.obsolete.store(true, Ordering::Relaxed);
    }
}

/// Makes sure that `file` is the file of values with this number, and if it is known, of this length.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn check_header<F: File>(
    file: &F,
    number: FileNumber,
    bytes: Option<u64>,
) -> Result<()> {
    if let Some(bytes) = bytes.filter(|bytes| *bytes != file.len()) {
        let found = file.len();
        let reason = format!("the file has {found} bytes, but the manifest says {bytes}");
        return Err(Error::corrupt(file.path(), found.min(bytes), reason));
    }
    let header = frame::read(file, number, 0)?;
    match format::decode_header(header.payload()) {
        Ok(found) if found == number => Ok(()),
        Ok(found) => {
            let reason = format!("this is the header of the file of values {found}");
            Err(Error::corrupt(file.path(), 0, reason))
        }
        Err(reason) => Err(Error::corrupt(file.path(), 0, reason)),
    }
}

/// Calls `visit` with the value of `key` that `pointer` leads to in `file`. Costs a read, and its checksum.
///
/// # Errors
/// [`Error::Corrupt`] if it is not there.
#[inline]
pub(crate) fn read_value<F: File, R>(
    file: &F,
    pointer: Pointer,
    key: &[u8],
    visit: impl FnOnce(&[u8]) -> R,
) -> Result<R> {
    let Pointer { file: number, offset, bytes } = pointer;
    let corrupt = |reason| Error::corrupt(file.path(), offset, reason);
    let frame = frame::read(file, number, offset)?;
    if frame.payload().len() != bytes as usize {
        return Err(corrupt("another value lies here than a table points to"));
    }
    let record = Record::decode(frame.payload()).filter(|record| record.key == key);
    let record =
        record.ok_or_else(|| corrupt("this is not a value of the key that points here"))?;
    uncompressed(&record, visit).ok_or_else(|| corrupt("the compressed value is malformed"))
}

/// Calls `visit` with the value of a record; `None` if it is compressed, and that badly.
#[inline]
pub(crate) fn uncompressed<R>(record: &Record<'_>, visit: impl FnOnce(&[u8]) -> R) -> Option<R> {
    if record.compressed { decompressed(record.bytes, visit) } else { Some(visit(record.bytes)) }
}
