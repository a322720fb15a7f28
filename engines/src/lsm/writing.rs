//! How a write goes through the store.
//!
//! 1. It takes the writer's lock, makes sure that there is room in the log (or begins a new log and memtable), and appends one frame;
//! 2. adds the frame's operations to the memtable, and publishes them;
//! 3. lets go of the lock, and in class `sync`, which is the store's or its own, waits until the log is synced up to the frame, together with all other writers.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::budget::{Part, index_bytes_max, memtable_bytes_max};
use super::memtable::{self, LOG_BYTES_MAX};
use super::options::{Background, KEY_BYTES_MAX, VALUE_BYTES_MAX, WriteOptions};
use super::range::{KeyRange, key_after};
use super::stats::count;
use super::store::{Core, Writer, begin_log, create_log};
use super::wal::{self, Kind, LogHeader};
use crate::clock::deadline_ms;
use crate::engine::check_sizes;
use crate::log::frame;
use crate::storage::{File, Storage};
use crate::{Direction, Durability, Error, Result, WriteBatch, WriteOperation};

/// A memtable is looked at, while it fills, so many times at least ...
const LOOKS: u64 = 64;
/// ... but not sooner than after so many bytes of its log.
const LOOK_BYTES_MIN: u64 = 64 << 10;
/// The index over a log grows by no more than this for an entry: by 36 if leaves are half full, and something for the nodes above.
const ENTRY_BYTES_MAX: u64 = 40;
/// The same for each byte of the log, of which an entry takes nine at least.
const INDEX_BYTES_PER_LOG_BYTE_MAX: u64 = 5;

impl<S: Storage> Core<S> {
    /// The class of a write.
    #[inline]
    fn class(&self, options: WriteOptions) -> Durability {
        options.durability.unwrap_or(self.options.durability)
    }

    /// Stores or deletes one key.
    #[inline]
    pub(crate) fn write_one(
        &self,
        kind: Kind,
        key: &[u8],
        value: &[u8],
        options: WriteOptions,
    ) -> Result<()> {
        let class = self.class(options);
        check_sizes(key, value, KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
        let header = wal::operation_header(kind, key.len(), value.len());
        let payload_bytes = header.len() + key.len() + value.len();
        let mut writer = self.writer.lock();
        self.admit(&mut writer, payload_bytes, 1, class)?;
        let Writer { log, memtable, .. } = &mut *writer;
        let mut append = || {
            log.advance_watermark(memtable.synced_bytes());
            let at = log.append(&[&header, key, value])?;
            memtable.insert(memtable::first_operation(at), key)
        };
        self.fatal(append())?;
        self.acknowledge(writer, payload_bytes, class)
    }

    /// Applies a batch.
    pub(crate) fn write_batch(&self, batch: &WriteBatch, options: WriteOptions) -> Result<()> {
        let class = self.class(options);
        if batch.operations.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer.lock();
        writer.payload.clear();
        let mut now = None;
        for operation in &batch.operations {
            let payload = &mut writer.payload;
            match operation {
                WriteOperation::Put { key, value } => {
                    add_operation(payload, Kind::Put, key, value)?;
                }
                WriteOperation::PutExpiring { key, value, ttl } => {
                    let now_ms = *now.get_or_insert_with(|| self.options.clock.now_ms());
                    add_expiring(payload, key, value, deadline_ms(now_ms, *ttl))?;
                }
                WriteOperation::Delete { key } => add_operation(payload, Kind::Delete, key, &[])?,
                WriteOperation::DeleteRange { start, end } => {
                    add_operation(payload, Kind::DeleteRange, start, end)?;
                }
            }
        }
        self.write_payload(writer, batch.operations.len(), class)
    }

    /// Stores a value for a time.
    pub(crate) fn put_expiring(
        &self,
        key: &[u8],
        value: &[u8],
        ttl: Duration,
        options: WriteOptions,
    ) -> Result<()> {
        self.put_until(key, value, deadline_ms(self.options.clock.now_ms(), ttl), options)
    }

    /// Stores a value up to a time, in milliseconds since the Unix epoch.
    pub(crate) fn put_until(
        &self,
        key: &[u8],
        value: &[u8],
        expires_ms: u64,
        options: WriteOptions,
    ) -> Result<()> {
        let class = self.class(options);
        let mut writer = self.writer.lock();
        writer.payload.clear();
        add_expiring(&mut writer.payload, key, value, expires_ms)?;
        self.write_payload(writer, 1, class)
    }

    /// Deletes the keys from `start` up to, but without `end`.
    pub(crate) fn delete_between(&self, start: &[u8], end: &[u8]) -> Result<()> {
        let mut writer = self.writer.lock();
        writer.payload.clear();
        add_operation(&mut writer.payload, Kind::DeleteRange, start, end)?;
        self.write_payload(writer, 1, self.options.durability)
    }

    /// Deletes the keys of a range. One that has no end is ended behind the greatest key that there is.
    pub(crate) fn delete_range(&self, range: &KeyRange, options: WriteOptions) -> Result<()> {
        let start = match range.lower() {
            Bound::Unbounded => Vec::new(),
            Bound::Included(key) => key.to_vec(),
            Bound::Excluded(key) => match key_after(key) {
                Some(after) => after,
                None => return Ok(()),
            },
        };
        let mut writer = self.writer.lock();
        let last = match range.upper() {
            Bound::Unbounded => self.greatest_key(&writer)?,
            Bound::Included(key) | Bound::Excluded(key) => Some(key.to_vec()),
        };
        let end = match last {
            Some(last) if matches!(range.upper(), Bound::Excluded(_)) => last,
            // Behind a key that has no successor there is no end that could be written.
            Some(last) => key_after(&last)
                .ok_or(Error::KeyTooLong { len: last.len() + 1, max: KEY_BYTES_MAX })?,
            None => return Ok(()),
        };
        writer.payload.clear();
        add_operation(&mut writer.payload, Kind::DeleteRange, &start, &end)?;
        self.write_payload(writer, 1, self.class(options))
    }

    /// No key of the store is greater than this one, which need not be there. Who holds the lock knows that none is added.
    pub(super) fn greatest_key(&self, writer: &Writer<S>) -> Result<Option<Vec<u8>>> {
        let tree = self.tree.load();
        let mut greatest: Option<Vec<u8>> = None;
        for memtable in tree.waiting.iter().chain([&writer.memtable]) {
            let cursor = memtable::Cursor::seek(memtable.view(), &[], Direction::Reverse)?;
            greatest = greatest.max(cursor.current().map(|(key, ..)| key.to_vec()));
        }
        let tables = tree.version.levels.iter().flatten();
        Ok(greatest.max(tables.map(|table| table.meta.key_max.clone()).max()))
    }

    /// Writes the operations in the writer's payload, if there are any.
    fn write_payload(
        &self,
        mut guard: MutexGuard<'_, Writer<S>>,
        operations: usize,
        class: Durability,
    ) -> Result<()> {
        let writer = &mut *guard;
        let payload_bytes = writer.payload.len();
        if payload_bytes == 0 {
            return self.check_poison();
        }
        self.admit(writer, payload_bytes, operations, class)?;
        let Writer { log, memtable, payload, .. } = writer;
        let mut append = || {
            log.advance_watermark(memtable.synced_bytes());
            let first = memtable::first_operation(log.append(&[payload])?);
            let malformed =
                |reason: &str| Error::corrupt(memtable.file().path(), first.into(), reason);
            memtable.insert_all(first, payload, log.len(), malformed)
        };
        self.fatal(append())?;
        // A large batch's memory is not worth keeping.
        if payload.capacity() > 1 << 20 {
            *payload = Vec::new();
        }
        self.acknowledge(guard, payload_bytes, class)
    }

    /// Shows a write that has been appended, and makes it as durable as its class promises.
    #[inline]
    fn acknowledge(
        &self,
        writer: MutexGuard<'_, Writer<S>>,
        payload_bytes: usize,
        class: Durability,
    ) -> Result<()> {
        writer.memtable.publish(writer.log.len());
        let ticket = writer.memtable.next_sequence();
        drop(writer);
        count(&self.stats.log_bytes, frame::frame_bytes(payload_bytes));
        if class == Durability::Sync {
            self.wait_durable(ticket)?;
        }
        Ok(())
    }

    /// Lets a write of this class, of so many operations and with a payload of `payload_bytes`, in: afterwards there is room for it.
    #[inline]
    fn admit(
        &self,
        writer: &mut Writer<S>,
        payload_bytes: usize,
        operations: usize,
        class: Durability,
    ) -> Result<()> {
        self.check_poison()?;
        if class == Durability::Sync {
            self.store_found()?;
        }
        let pressure = self.pressure.load(Ordering::Relaxed);
        if pressure > 0 {
            self.slow_down(writer, payload_bytes, pressure);
        }
        if writer.log.fits(payload_bytes)
            && writer.log.len() + payload_bytes as u64 <= writer.look_at
        {
            return Ok(());
        }
        self.look(writer, payload_bytes, operations)
    }

    /// Sees to it that a write has room, in the log and in memory.
    #[cold]
    fn look(&self, writer: &mut Writer<S>, payload_bytes: usize, operations: usize) -> Result<()> {
        let waiting_max = self.options.memtables_waiting_max;
        if self.tree.load().waiting.len() > waiting_max {
            // Only an opening finds so many logs.
            self.wait_for_flushes(waiting_max, 0)?;
        }
        if writer.log.fits(payload_bytes)
            && let Some(look_at) = self.next_look(writer, operations)
        {
            writer.look_at = look_at;
            self.press(writer.log.len());
            return Ok(());
        }
        let log_bytes = self.log_bytes_for(payload_bytes);
        self.wait_for_flushes(waiting_max - 1, memtable_bytes_max(log_bytes, &self.options))?;
        self.rotate(writer, payload_bytes)
    }

    /// Length of the log at which the memtable is to be looked at next; `None` if it has no room for a write of so many operations.
    fn next_look(&self, writer: &Writer<S>, operations: usize) -> Option<u64> {
        let (len, full) = (writer.log.len(), self.options.memtable_bytes);
        let index_bytes = writer.memtable.memory_bytes()
            + memtable::INDEX_STEP_BYTES
            + operations as u64 * ENTRY_BYTES_MAX;
        let log_left =
            index_bytes_max(full).saturating_sub(index_bytes) / INDEX_BYTES_PER_LOG_BYTE_MAX;
        // A memtable to which nothing is written yet will not get emptier.
        let is_full = len >= full || log_left < full / 1024;
        if is_full && writer.memtable.writes() > 0 {
            return None;
        }
        let step = (full / LOOKS).max(LOOK_BYTES_MIN).min(log_left);
        Some((len + step).min(full))
    }

    /// Length of a log that has room for a first write with a payload of `payload_bytes`.
    fn log_bytes_for(&self, payload_bytes: usize) -> u64 {
        self.options.memtable_bytes.max(memtable::log_bytes_for(payload_bytes))
    }

    /// Begins a new log, with room for a write with a payload of `payload_bytes`, and a memtable above it.
    fn rotate(&self, writer: &mut Writer<S>, payload_bytes: usize) -> Result<()> {
        // The names of logs become durable in their order, so that a log whose predecessor is missing is never the work of a crash. Mostly a flush has seen to
        // that meanwhile.
        self.fatal(self.sync_names())?;
        let old = Arc::clone(&writer.memtable);
        let header = LogHeader {
            number: self.take_number(),
            sequence: old.next_sequence(),
            previous: old.log,
            previous_bytes: writer.log.len(),
            previous_synced: old.synced_bytes() == writer.log.len(),
            previous_found: false,
        };
        let log_bytes = self.log_bytes_for(payload_bytes);
        let memory_bytes = memtable_bytes_max(log_bytes, &self.options);
        let charge = self.reading.budget.charge(Part::Memtables, memory_bytes);
        let appender =
            create_log(&self.storage, &self.dir, header.number, log_bytes, self.options.durability);
        let begun = begin_log(self.unless_full(appender)?, &header, log_bytes);
        let (log, memtable) = self.fatal(begun)?;
        count(&self.stats.log_bytes, log.len());
        self.name_created();
        memtable.count_with(charge);
        old.freeze();
        let memtable = Arc::new(memtable);
        self.change_tree(|tree| {
            tree.waiting.insert(0, old);
            tree.active = Arc::clone(&memtable);
        });
        let finished = std::mem::replace(writer, Writer::new(log, memtable));
        writer.payload = finished.payload;
        self.fatal(finished.log.finish())?;
        if self.options.background == Background::Inline {
            // What was written is safe in the log: that it cannot be flushed for want of room is no failure of this write.
            match self.work() {
                Err(error) if !error.is_disk_full() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn freeze(&self, writer: &mut Writer<S>) -> Result<()> {
        self.check_poison()?;
        if writer.memtable.writes() > 0 {
            let waiting_max = self.options.memtables_waiting_max;
            let bytes = memtable_bytes_max(self.log_bytes_for(0), &self.options);
            self.wait_for_flushes(waiting_max - 1, bytes)?;
            self.rotate(writer, 0)?;
        }
        Ok(())
    }

    /// Takes the sequence number of a write that does nothing, and makes it durable with all before it: no other write will ever have it.
    pub(crate) fn take_sequence(&self, writer: &mut Writer<S>) -> Result<u64> {
        let header = wal::operation_header(Kind::DeleteRange, 1, 1);
        let payload = [&header[..], &[0], &[0]].concat();
        self.store_found()?;
        self.admit(writer, payload.len(), 1, self.options.durability)?;
        let sequence = writer.memtable.next_sequence();
        self.fatal(writer.log.append(&[&payload]))?;
        writer.memtable.publish(writer.log.len());
        count(&self.stats.log_bytes, frame::frame_bytes(payload.len()));
        let (tree, log_bytes) = (self.tree.load_full(), writer.log.len());
        let synced = self.sync_logs_of(&tree, &writer.memtable, log_bytes, |error| {
            self.poison(error);
            self.distrust_unsynced();
        });
        self.fatal(synced)?;
        Ok(sequence)
    }
}

/// Adds an operation to the payload of a write, if it does anything.
///
/// # Errors
/// If the key, what stands in place of a value, or the payload is too long.
fn add_operation(payload: &mut Vec<u8>, kind: Kind, key: &[u8], value: &[u8]) -> Result<()> {
    let mut key = key;
    if kind == Kind::DeleteRange {
        // What begins with the empty key, which is none, begins with the least one.
        key = if key.is_empty() { &[0] } else { key };
        check_sizes(key, &[], KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
        if value.len() > KEY_BYTES_MAX {
            return Err(Error::KeyTooLong { len: value.len(), max: KEY_BYTES_MAX });
        }
        if key >= value {
            return Ok(());
        }
    } else {
        check_sizes(key, value, KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
    }
    append_operation(payload, kind, key, &[value])
}

/// Adds the put of a value that expires to the payload of a write.
///
/// # Errors
/// As [`add_operation`].
fn add_expiring(payload: &mut Vec<u8>, key: &[u8], value: &[u8], expires_ms: u64) -> Result<()> {
    check_sizes(key, value, KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
    append_operation(payload, Kind::PutExpiring, key, &[&expires_ms.to_le_bytes(), value])
}

/// Appends an operation, whose value is given in parts.
fn append_operation(payload: &mut Vec<u8>, kind: Kind, key: &[u8], value: &[&[u8]]) -> Result<()> {
    let value_bytes = value.iter().map(|part| part.len()).sum();
    payload.extend_from_slice(&wal::operation_header(kind, key.len(), value_bytes));
    payload.extend_from_slice(key);
    for part in value {
        payload.extend_from_slice(part);
    }
    let bytes = memtable::log_bytes_for(payload.len());
    if bytes > LOG_BYTES_MAX {
        return Err(Error::ValueTooLong { len: bytes as usize, max: LOG_BYTES_MAX as usize });
    }
    Ok(())
}
