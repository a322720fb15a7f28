//! Writes sorted entries out as tables that follow each other in the order of their keys, and big values among them to the value log.

use super::super::deadline;
use super::super::files::StoreFile;
use super::super::options::{Options, Style};
use super::super::range_set::RangeSet;
use super::super::rate::{PIECE_BYTES, Writes};
use super::super::stats::count;
use super::super::store::Core;
use super::super::table::{TableBuilder, TableMeta, TableOptions};
use super::super::value_log::{Pointer, ValueWriter, WrittenValues};
use super::super::wal::Kind;
use super::split::Cutter;
use crate::storage::Storage;
use crate::{Error, Result};

/// Bits that the filters of all levels but the last have more per key ([`super::super::table::filter`] says why).
const FILTER_BITS_MORE: usize = 5;

/// Tables and files of values that are written and synced, and named by no manifest yet.
pub(crate) struct Written<S: Storage> {
    pub(crate) tables: Vec<(S::File, TableMeta)>,
    pub(crate) values: Vec<WrittenValues<S::File>>,
}

impl<S: Storage> Default for Written<S> {
    fn default() -> Self {
        Self { tables: Vec::new(), values: Vec::new() }
    }
}

/// What is the same for all tables of an output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The level that they are written for.
    pub(crate) level: usize,
    /// Lowest and highest sequence number of the writes that may be in them.
    pub(crate) sequences: (u64, u64),
    /// When the youngest of these writes was flushed, in milliseconds since the Unix epoch.
    pub(crate) created_ms: u64,
    /// Nothing older lies below them: theirs is most of the data.
    pub(crate) is_last: bool,
}

impl Origin {
    /// How such tables are written.
    fn options(&self, options: &Options) -> TableOptions {
        let compression = if self.is_last { options.compression_last } else { options.compression };
        let is_small = matches!(options.style, Style::Levelled(_)) && !self.is_last;
        let filter_bits_per_key = match options.filter_bits_per_key {
            0 => 0,
            bits if is_small => bits + FILTER_BITS_MORE,
            bits => bits,
        };
        TableOptions { block_bytes: options.block_bytes, filter_bits_per_key, compression }
    }
}

/// Tables that are being written, one after the other.
pub(crate) struct Output<'c, S: Storage> {
    core: &'c Core<S>,
    origin: Origin,
    cutter: Cutter,
    writes: Writes,
    current: Option<TableBuilder<S::Appender>>,
    /// Bytes of it for which the limit to background writes has been asked.
    asked_bytes: u64,
    /// Keys that are deleted of everything older, as far as they are in no table yet.
    ranges: RangeSet,
    values: Option<ValueWriter<S::Appender>>,
    /// As `asked_bytes`, of the file of values.
    asked_value_bytes: u64,
    written: Written<S>,
    /// Every file that was created, to be removed should the work fail.
    created: Vec<StoreFile>,
}

impl<'c, S: Storage> Output<'c, S> {
    /// Tables for the entries that are added, which delete `ranges` of everything older.
    pub(crate) fn new(
        core: &'c Core<S>,
        origin: Origin,
        cutter: Cutter,
        ranges: RangeSet,
        writes: Writes,
    ) -> Self {
        Self {
            core,
            origin,
            cutter,
            writes,
            current: None,
            asked_bytes: 0,
            ranges,
            values: None,
            asked_value_bytes: 0,
            written: Written::default(),
            created: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, key: &[u8], kind: Kind, value: &[u8]) -> Result<()> {
        let bytes = self.current.as_ref().map_or(0, TableBuilder::bytes);
        if self.cutter.ends_before(key, bytes) {
            let ranges = self.ranges.take_before(key);
            self.end_table(&ranges)?;
        } else if bytes >= self.asked_bytes + PIECE_BYTES {
            self.ask_for(bytes);
        }
        let is_big = |value: &[u8]| {
            self.core.options.value_log_min_bytes.is_some_and(|min| value.len() >= min)
        };
        match kind {
            Kind::Put if is_big(value) => {
                let pointer = self.separate(key, value)?;
                self.table()?.add(key, Kind::Pointer, &pointer.encode())
            }
            Kind::PutExpiring => match deadline::split(value) {
                Some((expires_ms, value)) if is_big(value) => {
                    let pointer = self.separate(key, value)?.encode();
                    let pointer = deadline::join(expires_ms, &pointer);
                    self.table()?.add(key, Kind::PointerExpiring, &pointer)
                }
                _ => self.table()?.add(key, kind, value),
            },
            _ => self.table()?.add(key, kind, value),
        }
    }

    /// Writes a value to the value log.
    fn separate(&mut self, key: &[u8], value: &[u8]) -> Result<Pointer> {
        let values = self.values()?;
        let pointer = values.append(key, value)?;
        let bytes = values.bytes();
        if bytes >= self.asked_value_bytes + PIECE_BYTES {
            self.ask_for_values(bytes);
        }
        Ok(pointer)
    }

    /// Adds a value that is moved out of a file of values.
    pub(crate) fn relocate(
        &mut self,
        key: &[u8],
        expires_ms: Option<u64>,
        value: &[u8],
    ) -> Result<()> {
        count(&self.core.stats.relocated_bytes, value.len() as u64);
        match expires_ms {
            Some(expires_ms) => {
                self.add(key, Kind::PutExpiring, &deadline::join(expires_ms, value))
            }
            None => self.add(key, Kind::Put, value),
        }
    }

    /// The file of values that is being written, a new one if need be.
    fn values(&mut self) -> Result<&mut ValueWriter<S::Appender>> {
        let is_full = |values: &ValueWriter<_>| values.bytes() >= self.core.options.table_bytes;
        if self.values.as_ref().is_some_and(is_full) {
            self.end_values()?;
        }
        if self.values.is_none() {
            let number = self.core.take_number();
            let appender = self.create(StoreFile::Values(number))?;
            let compresses = self.core.options.value_log_lz4;
            self.values = Some(ValueWriter::begin(appender, number, compresses)?);
        }
        match &mut self.values {
            Some(values) => Ok(values),
            None => unreachable!("it has just been made"),
        }
    }

    fn create(&mut self, file: StoreFile) -> Result<S::Appender> {
        let appender = self.core.storage.create(&file.path(&self.core.dir), None)?;
        self.created.push(file);
        self.core.name_created();
        Ok(appender)
    }

    /// Waits until the table that is being written may have so many bytes.
    fn ask_for(&mut self, bytes: u64) {
        // A block that is compressed at its end makes the table shorter again.
        let more = bytes.saturating_sub(self.asked_bytes);
        self.core.rate.wait(self.writes, more, &self.core.stop);
        self.asked_bytes = bytes;
    }

    /// Waits until the file of values that is being written may have so many bytes.
    fn ask_for_values(&mut self, bytes: u64) {
        let more = bytes - self.asked_value_bytes;
        self.core.rate.wait(self.writes, more, &self.core.stop);
        self.asked_value_bytes = bytes;
    }

    /// The table that is being written, a new one if need be.
    fn table(&mut self) -> Result<&mut TableBuilder<S::Appender>> {
        if self.current.is_none() {
            let number = self.core.take_number();
            let appender = self.create(StoreFile::Table(number))?;
            let options = self.origin.options(&self.core.options);
            let Origin { level, sequences, created_ms, .. } = self.origin;
            let table =
                TableBuilder::new(appender, number, level as u8, sequences, created_ms, options);
            self.current = Some(table);
        }
        match &mut self.current {
            Some(table) => Ok(table),
            None => unreachable!("it has just been made"),
        }
    }

    /// Ends what is being written: there is a table if anything is in it.
    pub(crate) fn end(&mut self) -> Result<()> {
        let ranges = std::mem::take(&mut self.ranges);
        if !ranges.is_empty() {
            self.table()?;
        }
        self.end_table(&ranges)?;
        self.end_values()
    }

    /// Ends the table that is being written, if there is one.
    fn end_table(&mut self, ranges: &RangeSet) -> Result<()> {
        if let Some(table) = self.current.take() {
            let (file, meta) = table.finish(ranges)?;
            self.ask_for(meta.file_bytes);
            self.asked_bytes = 0;
            self.written.tables.push((file, meta));
            count(&self.core.stats.fsyncs, 1);
        }
        Ok(())
    }

    fn end_values(&mut self) -> Result<()> {
        if let Some(values) = self.values.take() {
            let values = values.finish()?;
            self.ask_for_values(values.bytes);
            self.asked_value_bytes = 0;
            self.written.values.push(values);
            count(&self.core.stats.fsyncs, 1);
        }
        Ok(())
    }

    /// What several outputs have written, which have been ended; makes the names durable.
    pub(crate) fn finish(core: &Core<S>, outputs: Vec<Self>) -> Result<Written<S>> {
        let any = outputs.iter().any(|output| !output.written.tables.is_empty());
        if any && let Err(error) = core.sync_names() {
            return Err(Self::abandon(outputs, error));
        }
        let mut all = Written::default();
        for Self { written, .. } in outputs {
            all.tables.extend(written.tables);
            all.values.extend(written.values);
        }
        Ok(all)
    }

    /// Removes what was written: on a full device, its room is what is missing. Passes the error on that is the reason.
    pub(crate) fn abandon(outputs: impl IntoIterator<Item = Self>, error: Error) -> Error {
        for output in outputs {
            // The next open finds what could not be removed, and that no manifest names it.
            let _ = output.remove();
        }
        error
    }

    /// Removes what was written.
    pub(crate) fn remove(self) -> Result<()> {
        let Self { core, created, current, values, .. } = self;
        drop((current, values));
        created.iter().try_for_each(|file| core.storage.remove(&file.path(&core.dir)))
    }
}
