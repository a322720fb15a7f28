//! Writes files of values.

use super::super::files::FileNumber;
use super::format::{self, Pointer, Record};
use crate::Result;
use crate::compression::compressed;
use crate::log::LogWriter;
use crate::log::frame::frame_bytes;
use crate::storage::{Appender, File};

/// A file of values that is written and synced, and named by no manifest yet.
pub(crate) struct WrittenValues<F> {
    pub(crate) number: FileNumber,
    pub(crate) file: F,
    pub(crate) bytes: u64,
}

/// A file of values that is being written.
pub(crate) struct ValueWriter<A> {
    log: LogWriter<A>,
    number: FileNumber,
    compresses: bool,
}

impl<A: Appender> ValueWriter<A> {
    /// Begins a file in `appender`, which is empty.
    pub(crate) fn begin(appender: A, number: FileNumber, compresses: bool) -> Result<Self> {
        let mut log = LogWriter::new(appender, number);
        log.append(&[&format::header(number)])?;
        Ok(Self { log, number, compresses })
    }

    /// Bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.log.len()
    }

    /// Appends the value of `key`, and tells where it is.
    pub(crate) fn append(&mut self, key: &[u8], value: &[u8]) -> Result<Pointer> {
        let Self { log, number, compresses } = self;
        let mut append = |record: &Record<'_>| {
            let header = record.header();
            let bytes = header.len() + key.len() + record.bytes.len();
            let offset = log.append(&[&header, key, record.bytes])?;
            debug_assert_eq!(log.len(), offset + frame_bytes(bytes));
            Ok(Pointer { file: *number, offset, bytes: bytes as u32 })
        };
        if !*compresses {
            return append(&Record { key, compressed: false, bytes: value });
        }
        compressed(value, |packed| {
            append(&Record { key, compressed: packed.is_some(), bytes: packed.unwrap_or(value) })
        })
    }

    /// Ends the file, and syncs it. Its name is not yet durable.
    pub(crate) fn finish(self) -> Result<WrittenValues<A::File>> {
        let (number, bytes) = (self.number, self.log.len());
        let file = self.log.finish()?;
        file.sync()?;
        Ok(WrittenValues { number, file, bytes })
    }
}
