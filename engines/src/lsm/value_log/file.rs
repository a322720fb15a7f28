//! Reads files of values.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::files::FileNumber;
use super::super::table::footer::Handle;
use super::super::table::{Reading, longer, with_part};
use super::format::{self, Pointer, Record};
use crate::compression::decompressed;
use crate::log::frame;
use crate::storage::{Access, File, Storage};
use crate::{Error, Result};

/// An open file of values.
pub(crate) struct ValueFile<S: Storage> {
    pub(crate) number: FileNumber,
    storage: S,
    file: S::File,
    reading: Arc<Reading>,
    /// Read by calls, from the opening on or later.
    by_calls: AtomicBool,
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
        reading: &Arc<Reading>,
    ) -> Result<Arc<Self>> {
        let by_calls = reading.is_by_calls();
        if by_calls {
            file.advise(Access::Calls);
            check_length(&file, bytes)?;
            let header = Handle { offset: 0, bytes: format::HEADER_BYTES as u32 };
            with_part(reading, &file, longer(&file, header, frame::HEADER_BYTES)?, |bytes| {
                check_number(&file, number, frame::parse(file.path(), number, 0, bytes)?.payload())
            })?;
        } else {
            check_header(&file, number, Some(bytes))?;
        }
        let (reading, by_calls) = (Arc::clone(reading), AtomicBool::new(by_calls));
        let obsolete = AtomicBool::new(false);
        Ok(Arc::new(Self { number, storage, file, reading, by_calls, obsolete }))
    }

    /// As [`read_value`]; where tables are read by calls, so is this.
    #[inline]
    pub(crate) fn read<R>(
        &self,
        pointer: Pointer,
        key: &[u8],
        visit: impl FnOnce(&[u8]) -> R,
    ) -> Result<R> {
        if !self.by_calls.load(Ordering::Relaxed) {
            return read_value(&self.file, pointer, key, visit);
        }
        let Pointer { offset, bytes, .. } = pointer;
        let whole = longer(&self.file, Handle { offset, bytes }, frame::HEADER_BYTES)?;
        with_part(&self.reading, &self.file, whole, |bytes| {
            let frame = frame::parse(self.file.path(), self.number, offset, bytes)?;
            value_in(&self.file, pointer, frame.payload(), key, visit)
        })
    }

    pub(crate) fn file(&self) -> &S::File {
        &self.file
    }

    /// Its length in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.len()
    }

    /// Takes note that the files of the store have so many bytes together ([`Reading::outgrow`]).
    pub(crate) fn outgrow(&self, store_bytes: u64) {
        self.reading.outgrow(store_bytes);
        self.reading.take_along(&self.file, &self.by_calls);
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
    if let Some(bytes) = bytes {
        check_length(file, bytes)?;
    }
    check_number(file, number, frame::read(file, number, 0)?.payload())
}

fn check_length<F: File>(file: &F, bytes: u64) -> Result<()> {
    let found = file.len();
    if found == bytes {
        return Ok(());
    }
    let reason = format!("the file has {found} bytes, but the manifest says {bytes}");
    Err(Error::corrupt(file.path(), found.min(bytes), reason))
}

/// Makes sure that the payload of the first frame is the header of the file with this number.
fn check_number<F: File>(file: &F, number: FileNumber, header: &[u8]) -> Result<()> {
    match format::decode_header(header) {
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
    let frame = frame::read(file, pointer.file, pointer.offset)?;
    value_in(file, pointer, frame.payload(), key, visit)
}

/// Calls `visit` with the value of `key` in the frame with this payload, to which `pointer` has led.
#[inline]
fn value_in<F: File, R>(
    file: &F,
    pointer: Pointer,
    payload: &[u8],
    key: &[u8],
    visit: impl FnOnce(&[u8]) -> R,
) -> Result<R> {
    let corrupt = |reason| Error::corrupt(file.path(), pointer.offset, reason);
    if payload.len() != pointer.bytes as usize {
        return Err(corrupt("another value lies here than a table points to"));
    }
    let record = Record::decode(payload).filter(|record| record.key == key);
    let record =
        record.ok_or_else(|| corrupt("this is not a value of the key that points here"))?;
    uncompressed(&record, visit).ok_or_else(|| corrupt("the compressed value is malformed"))
}

/// Calls `visit` with the value of a record; `None` if it is compressed, and that badly.
#[inline]
pub(crate) fn uncompressed<R>(record: &Record<'_>, visit: impl FnOnce(&[u8]) -> R) -> Option<R> {
    if record.compressed { decompressed(record.bytes, visit) } else { Some(visit(record.bytes)) }
}
