//! Atomic batches: writes that survive together or not at all.
//!
//! A batch is a run of frames in one data file. All but the last say that the batch goes on, so a recovery that does not find the last one drops the others
//! (`record.rs`, `recovery.rs`). It is written under the writer's lock: iterators see all of it or nothing. Gets of other threads may see a part of it for the
//! moment that it takes to change the keydir.

use std::cell::OnceCell;

use parking_lot::MutexGuard;

use super::entry::Entry;
use super::options::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use super::record::{PREFACE_FRAME_BYTES, Record, Value};
use super::store::{Store, Writer};
use crate::clock::deadline_ms;
use crate::engine::check_sizes;
use crate::storage::Storage;
use crate::{Error, OperationKind, Result, WriteBatch, WriteOperation};

/// A write of a batch, as it will be stored.
struct Packed<'a> {
    hash: u64,
    key: &'a [u8],
    value: Option<PackedValue<'a>>,
}

struct PackedValue<'a> {
    bytes: std::borrow::Cow<'a, [u8]>,
    compressed: bool,
    expires_ms: Option<u64>,
}

impl Packed<'_> {
    fn record(&self, continues: bool) -> Record<'_> {
        let value = self.value.as_ref().map(|value| Value {
            bytes: &value.bytes,
            compressed: value.compressed,
            expires_ms: value.expires_ms,
        });
        Record { key: self.key, value, continues }
    }
}

impl<S: Storage> Store<S> {
    /// Applies a batch. A deletion of what is not there is written all the same.
    pub(crate) fn write(&self, batch: &WriteBatch) -> Result<()> {
        let packed = self.pack(batch)?;
        let Some(last) = packed.len().checked_sub(1) else { return Ok(()) };
        let frame_bytes: u64 = packed.iter().map(|write| write.record(false).frame_bytes()).sum();
        // Places behind the longest file that was thought of at open cannot be addressed.
        let room = self.view.files.layout.segment_bytes_max() - PREFACE_FRAME_BYTES;
        if frame_bytes > room {
            let (len, max) = (frame_bytes as usize, room as usize);
            return Err(Error::BatchTooLong { len, max });
        }
        let mut writer = self.lock_prepared(&packed, frame_bytes)?;
        // All of it is appended before any of it is seen: what fails in the middle is dropped when the store is next opened, and must not be read until then.
        let append = |(number, write): (usize, &Packed<'_>)| {
            self.append(&mut writer, write.hash, &write.record(number < last))
        };
        let entries: Vec<_> = packed.iter().enumerate().map(append).collect::<Result<_>>()?;
        for (write, entry) in packed.iter().zip(entries) {
            self.index_packed(write, entry).map_err(|error| self.view.files.poison(error))?;
        }
        self.acknowledge(writer)
    }

    /// Takes the writer's lock, once what will be looked at is in the cache and nothing is presumed of it.
    fn lock_prepared(
        &self,
        packed: &[Packed<'_>],
        frame_bytes: u64,
    ) -> Result<MutexGuard<'_, Writer<S>>> {
        loop {
            for write in packed {
                self.view.verify_bucket(write.hash)?;
                self.view.find(write.hash, write.key)?;
            }
            let writer = self.lock_with_room(frame_bytes)?;
            let presumed = &self.view.keydir.presumed;
            if presumed.is_empty() || packed.iter().all(|write| presumed.of(write.hash).is_none()) {
                return Ok(writer);
            }
        }
    }

    fn pack<'a>(&self, batch: &'a WriteBatch) -> Result<Vec<Packed<'a>>> {
        let of_store = self.expires_ms(None);
        let now_ms = OnceCell::new();
        let pack = |operation: &'a WriteOperation| {
            let mut expires_ms = of_store;
            let (key, value) = match operation {
                WriteOperation::Put { key, value } => (key, Some(value)),
                WriteOperation::PutExpiring { key, value, ttl } => {
                    let now_ms = *now_ms.get_or_init(|| self.view.clock.now_ms());
                    expires_ms = Some(deadline_ms(now_ms, *ttl));
                    (key, Some(value))
                }
                WriteOperation::Delete { key } => (key, None),
                WriteOperation::DeleteRange { .. } => {
                    return Err(Error::Unsupported(OperationKind::DeleteRange));
                }
            };
            let value_bytes = value.map_or(&[][..], Vec::as_slice);
            check_sizes(key, value_bytes, KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
            let value = value.map(|value| {
                self.stored(value, |bytes, compressed| {
                    // What is not compressed is the caller's own value.
                    let bytes = if compressed { bytes.to_vec().into() } else { value.into() };
                    PackedValue { bytes, compressed, expires_ms }
                })
            });
            Ok(Packed { hash: self.view.hasher.hash(key), key, value })
        };
        batch.operations.iter().map(pack).collect()
    }

    /// Lets the keydir point to a write of a batch; a later one may be of the same key.
    fn index_packed(&self, write: &Packed<'_>, entry: Entry) -> Result<()> {
        let found = self.view.find(write.hash, write.key)?;
        match write.value {
            Some(_) => self.index(write.hash, write.key, found, entry),
            None => self.unindex(write.hash, write.key, found),
        }
    }
}
