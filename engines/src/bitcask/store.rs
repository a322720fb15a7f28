//! The store: reads, writes and syncs.
//!
//! A read:
//! 1. The keydir gives the candidates for the key's hash, and under the same lock the segment table is loaded.
//! 2. Without any lock, the record of each candidate is read, its checksum verified, its key compared. The table that is held on to keeps the files.
//!
//! A write:
//! 1. The candidates are looked up and their keys compared as in a read, which brings them into the cache before the writer's lock is taken.
//! 2. Under the writer's lock this is repeated if the candidates have changed, and the record is appended to the active data file.
//! 3. The old entry is replaced by the new one. As only the writer adds and removes keys, the order of the log is that of the keydir; a merge may have moved
//!    the old entry meanwhile, then it is looked up again.
//! 4. In class `sync`, the write waits until a flush covers it; writers share flushes.
//!
//! Syncs go through the data files from old to new, so that what survives power loss is a prefix of what was written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::Guard;
use parking_lot::{Mutex, MutexGuard};

use super::background::Signal;
use super::entry::Entry;
use super::files::{Active, Files};
use super::hint;
use super::keydir::{Candidates, Keydir};
use super::options::{Background, KEY_BYTES_MAX, Options, VALUE_BYTES_MAX};
use super::ordered::OrderedView;
use super::record::{self, Record};
use super::report::Recovery;
use super::segment::{Ended, Segment, Table};
use crate::engine::check_sizes;
use crate::log::{GroupCommit, frame};
use crate::storage::Storage;
use crate::{Durability, Error, Result};

/// An open store, shared by its handle, its sessions and its background threads.
pub(crate) struct Store<S: Storage> {
    pub(crate) options: Options,
    pub(crate) files: Files<S>,
    pub(crate) keydir: Keydir,
    pub(crate) writer: Mutex<Writer<S>>,
    commit: GroupCommit,
    pub(crate) ordered: OrderedView,
    pub(crate) recovery: Recovery,
    /// Sealed data files that were found without a valid hint, with their lengths.
    pub(crate) hintless: Mutex<Vec<Ended<S::File>>>,
    /// Held while a data file is prepared, and while full ones are sealed.
    pub(crate) sealing: Mutex<()>,
    /// Held while data files are merged.
    pub(crate) merging: Mutex<()>,
    pub(crate) sealer: Signal,
    pub(crate) merger: Signal,
    /// Background work is to end where it is.
    pub(crate) stopping: AtomicBool,
    /// What ended background work; told to the next who waits for it.
    pub(crate) background_error: Mutex<Option<Error>>,
    /// Keeps others out.
    _lock: S::Lock,
}

/// What belongs to whoever writes.
pub(crate) struct Writer<S: Storage> {
    pub(crate) active: Active<S>,
    /// The next data file, if it has been prepared.
    pub(crate) spare: Option<Active<S>>,
    pub(crate) spare_requested: bool,
    /// Data files that are full and not sealed yet, oldest first.
    pub(crate) full: VecDeque<Full<S>>,
    /// Number of the last write; the tickets of the group commit. What was found at open counts as the first.
    writes: u64,
}

/// A data file that is full.
pub(crate) struct Full<S: Storage> {
    pub(crate) segment: Arc<Segment<S::File>>,
    /// To be finished; None for a file that was found at open.
    pub(crate) log: Option<crate::log::LogWriter<S::Appender>>,
    pub(crate) len: u64,
}

/// What the keydir and the records say about a key.
struct Found<F> {
    candidates: Candidates,
    /// Its entry, and the bytes of its frame.
    old: Option<(Entry, u64)>,
    /// Another key with the same hash is alive.
    twin: bool,
    table: Guard<Arc<Table<F>>>,
}

impl<S: Storage> Store<S> {
    pub(crate) fn new(
        options: Options,
        files: Files<S>,
        mut keydir: Keydir,
        active: Active<S>,
        full: VecDeque<Full<S>>,
        recovery: Recovery,
        lock: S::Lock,
    ) -> Self {
        if options.ordered_scans {
            keydir.track_key_set();
        }
        let writer = Writer { active, spare: None, spare_requested: false, full, writes: 1 };
        Self {
            options,
            files,
            keydir,
            writer: Mutex::new(writer),
            commit: GroupCommit::default(),
            ordered: OrderedView::default(),
            recovery,
            hintless: Mutex::default(),
            sealing: Mutex::default(),
            merging: Mutex::default(),
            sealer: Signal::default(),
            merger: Signal::default(),
            stopping: AtomicBool::new(false),
            background_error: Mutex::default(),
            _lock: lock,
        }
    }

    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        hint::hash(key, self.options.hash_mask)
    }

    /// Calls `visit` with the value of `key`, if there is one.
    #[inline]
    pub(crate) fn read<R>(&self, key: &[u8], visit: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        check_sizes(key, &[], KEY_BYTES_MAX, 0)?;
        let (candidates, table) = self.keydir.candidates(self.hash(key), || self.files.table());
        let mut damage = None;
        for entry in candidates.iter() {
            let (slot, offset) = self.files.layout.place(entry);
            let segment = table.segment(slot);
            match frame::read(&segment.file, segment.id.0, offset) {
                Ok(frame) => match Record::decode(frame.payload()) {
                    Some(Record { key: found, value: Some(value), .. }) if found == key => {
                        return Ok(Some(visit(value)));
                    }
                    Some(_) => {}
                    None => damage = Some(record::not_a_record(&segment.file, offset)),
                },
                Err(error) => damage = Some(error),
            }
        }
        // A damaged record may be the key's, unless the key was found in another one.
        damage.map_or(Ok(None), Err)
    }

    /// Stores `value` under `key`.
    pub(crate) fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        check_sizes(key, value, KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
        let hash = self.hash(key);
        let before = self.find(hash, key)?;
        let mut writer = self.writer.lock();
        let mut found = self.find_again(hash, key, before)?;
        let record = Record { key, value: Some(value), twin: found.twin };
        let (offset, frame_bytes) = self.append(&mut writer, &record)?;
        let segment = &writer.active.segment;
        let new = self.files.layout.entry(hash, segment.slot, offset);
        segment.usage.add(frame_bytes);
        loop {
            let Some((old, old_bytes)) = found.old else {
                self.keydir.insert(hash, new);
                break;
            };
            if self.keydir.replace(hash, old, new) {
                self.forget(&found, old, old_bytes);
                break;
            }
            found = self.find(hash, key)?;
        }
        self.acknowledge(writer)
    }

    /// Removes `key`; tells whether it was there.
    pub(crate) fn delete(&self, key: &[u8]) -> Result<bool> {
        check_sizes(key, &[], KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
        let hash = self.hash(key);
        let before = self.find(hash, key)?;
        let mut writer = self.writer.lock();
        let mut found = self.find_again(hash, key, before)?;
        if found.old.is_none() {
            let ticket = writer.writes;
            drop(writer);
            // What made the key absent must be as durable as this answer.
            self.wait_for(ticket)?;
            return Ok(false);
        }
        let record = Record { key, value: None, twin: found.twin };
        let (_, frame_bytes) = self.append(&mut writer, &record)?;
        writer.active.segment.usage.add_tombstone(frame_bytes);
        while let Some((old, old_bytes)) = found.old {
            if self.keydir.remove(hash, old) {
                self.forget(&found, old, old_bytes);
                break;
            }
            found = self.find(hash, key)?;
        }
        self.acknowledge(writer)?;
        Ok(true)
    }

    /// Whether the key is alive.
    pub(crate) fn is_alive(&self, hash: u64, key: &[u8]) -> Result<bool> {
        self.find(hash, key).map(|found| found.old.is_some())
    }

    /// Makes everything written so far survive power loss.
    pub(crate) fn sync(&self) -> Result<()> {
        let ticket = self.writer.lock().writes;
        self.sync_up_to(ticket)
    }

    fn sync_up_to(&self, ticket: u64) -> Result<()> {
        self.files.check()?;
        self.commit.wait(ticket, || self.sync_written()).map_err(|error| self.files.poison(error))
    }

    /// Syncs all data files that may need it, oldest first, and returns the last write that this covers.
    fn sync_written(&self) -> Result<u64> {
        let (covered, active, len, full) = {
            let writer = self.writer.lock();
            let segment = Arc::clone(&writer.active.segment);
            let full = writer.full.iter().map(|full| Arc::clone(&full.segment));
            let full: Vec<_> = full.filter(|full| !full.synced.load(Ordering::Relaxed)).collect();
            (writer.writes, segment, writer.active.log.len(), full)
        };
        for segment in full {
            self.files.counters.sync(|| crate::storage::File::sync(&segment.file))?;
            segment.synced.store(true, Ordering::Relaxed);
        }
        self.files.counters.sync(|| crate::storage::File::sync(&active.file))?;
        let mut writer = self.writer.lock();
        if writer.active.segment.id == active.id {
            writer.active.log.advance_watermark(len);
        }
        Ok(covered)
    }

    /// Ends a write: waits for a flush where the durability class asks for one.
    #[inline]
    fn acknowledge(&self, mut writer: MutexGuard<'_, Writer<S>>) -> Result<()> {
        writer.writes += 1;
        let ticket = writer.writes;
        let due = self.options.background == Background::Inline && !writer.full.is_empty();
        drop(writer);
        self.wait_for(ticket)?;
        if due {
            self.in_background(|store| store.seal().and_then(|()| store.merge_due()));
        }
        Ok(())
    }

    /// Waits until a write is as durable as the class promises.
    #[inline]
    fn wait_for(&self, ticket: u64) -> Result<()> {
        match self.options.durability {
            Durability::Buffered | Durability::Os => self.files.check(),
            Durability::Sync => self.sync_up_to(ticket),
        }
    }

    /// Does work that nobody waits for: its failure is told to the next who does.
    pub(crate) fn in_background(&self, work: impl FnOnce(&Self) -> Result<()>) {
        if let Err(error) = work(self) {
            self.background_error.lock().get_or_insert(error);
        }
    }

    /// Does all background work that is due.
    pub(crate) fn settle(&self) -> Result<()> {
        self.maintain()?;
        self.merge_due()?;
        self.background_error.lock().take().map_or(Ok(()), Err)
    }

    /// Appends a record to the active data file, or to the next one; returns its offset and the bytes of its frame.
    #[inline]
    fn append(&self, writer: &mut Writer<S>, record: &Record<'_>) -> Result<(u64, u64)> {
        self.files.check()?;
        let payload_bytes = record.payload_bytes();
        let frame_bytes = frame::frame_bytes(payload_bytes);
        if !writer.active.log.fits(payload_bytes) {
            self.rotate(writer, frame_bytes)?;
        }
        let parts: [&[u8]; 3] = [&record.header(), record.key, record.value.unwrap_or_default()];
        let appended = writer.active.log.append(&parts);
        // What a failed append left behind is unknown, and nothing may be written behind it.
        let offset = appended.map_err(|error| self.files.poison(error))?;
        if !writer.spare_requested && offset > self.options.segment_bytes / 4 * 3 {
            writer.spare_requested = true;
            self.sealer.notify();
        }
        Ok((offset, frame_bytes))
    }

    /// Looks a key up for writing: values are not read, and checksums not verified.
    fn find(&self, hash: u64, key: &[u8]) -> Result<Found<S::File>> {
        let (candidates, table) = self.keydir.candidates(hash, || self.files.table());
        let (mut old, mut twin, mut damage) = (None, false, None);
        for entry in candidates.iter() {
            let (slot, offset) = self.files.layout.place(entry);
            match record::glance(&table.segment(slot).file, offset) {
                Ok(glance) if glance.key() == key => old = Some((entry, glance.frame_bytes)),
                Ok(glance) => twin |= self.hash(glance.key()) == hash,
                Err(error) => damage = Some(error),
            }
        }
        match damage {
            Some(error) if old.is_none() => Err(error),
            _ => Ok(Found { candidates, old, twin, table }),
        }
    }

    /// Repeats [`Store::find`] if its outcome may have changed. Under the writer's lock, its outcome then stays, but for places that a merge changes.
    #[inline]
    fn find_again(&self, hash: u64, key: &[u8], found: Found<S::File>) -> Result<Found<S::File>> {
        if self.keydir.unchanged(hash, &found.candidates) {
            Ok(found)
        } else {
            self.find(hash, key)
        }
    }

    /// Counts a value as dead.
    #[inline]
    fn forget(&self, found: &Found<S::File>, old: Entry, bytes: u64) {
        let (slot, _) = self.files.layout.place(old);
        found.table.segment(slot).usage.remove(bytes);
    }
}
