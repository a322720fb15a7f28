//! The store: writes and syncs. What reads do is in `view.rs`.
//!
//! A write:
//! 1. The candidates are looked up and their keys compared, which brings them into the cache before the writer's lock is taken.
//! 2. Under the writer's lock this is repeated if the candidates have changed (to what was written a moment ago, and is in the cache), and the record is appended to the active data file.
//! 3. The old entry is replaced by the new one. As only the writer adds and removes keys, the order of the log is that of the keydir; a merge may have moved
//!    the old entry meanwhile, then it is looked up again.
//! 4. In class `sync`, the write waits until a flush covers it; writers share flushes.
//!
//! Syncs go through the data files from old to new, so that what survives power loss is a prefix of what was written. A file that was found at open is written again before it is
//! synced: one of its syncs may have failed, after which another one would answer with success for pages that are on no disk. Until then nothing refers to it as synced.
//!
//! A put to a store that is larger than memory looks at no key where there is one candidate: it presumes that this is the key's, and that is verified later (`presumed.rs`). So it waits for no page of a hint.
//!
//! The writer's lock is not held during I/O: a write that needs another data file lets go of it while that is created (`rotation.rs`), and what is read under it was read before, or
//! written a moment ago. An iteration, which begins under it, therefore waits for no device.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::background::Signal;
use super::entry::Entry;
use super::files::Active;
use super::fingerprint::Fingerprint;
use super::options::{Background, KEY_BYTES_MAX, Options, VALUE_BYTES_MAX};
use super::ordered::OrderedView;
use super::record::{Record, Value};
use super::report::Recovery;
use super::segment::{Ended, Segment};
use super::view::{Found, Sought, View};
use crate::clock::deadline_ms;
use crate::compression::compressed;
use crate::engine::check_sizes;
use crate::log::{Expected, GroupCommit, replay};
use crate::storage::{File, Storage};
use crate::{Durability, Error, Result};

/// An open store, shared by its handle, its sessions and its background threads.
pub(crate) struct Store<S: Storage> {
    pub(crate) options: Options,
    pub(crate) view: View<S>,
    pub(crate) writer: Mutex<Writer<S>>,
    commit: GroupCommit,
    pub(crate) ordered: OrderedView,
    pub(crate) recovery: Recovery,
    /// Sealed data files that were found without a valid hint, with their lengths.
    pub(crate) hintless: Mutex<Vec<Ended<S::File>>>,
    /// Held while full data files are sealed.
    pub(crate) sealing: Mutex<()>,
    /// Held while the next data file is created.
    pub(crate) preparing: Mutex<()>,
    /// Held while data files are merged.
    pub(crate) merging: Mutex<()>,
    /// Held while a batch of presumptions is verified.
    pub(crate) verifying: Mutex<()>,
    pub(crate) sealer: Signal,
    pub(crate) merger: Signal,
    pub(crate) syncer: Signal,
    pub(crate) verifier: Signal,
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
    /// To be finished, unless that has been done.
    pub(crate) log: Option<crate::log::LogWriter<S::Appender>>,
    pub(crate) len: u64,
    /// It was there when the store was opened: what became of the syncs of who wrote it is not known.
    pub(crate) found: bool,
}

impl<S: Storage> Store<S> {
    pub(crate) fn new(
        options: Options,
        mut view: View<S>,
        active: Active<S>,
        full: VecDeque<Full<S>>,
        recovery: Recovery,
        lock: S::Lock,
    ) -> Self {
        if options.ordered_scans {
            view.keydir.track_key_set();
        }
        let writer = Writer { active, spare: None, spare_requested: false, full, writes: 1 };
        Self {
            options,
            view,
            writer: Mutex::new(writer),
            commit: GroupCommit::default(),
            ordered: OrderedView::default(),
            recovery,
            hintless: Mutex::default(),
            sealing: Mutex::default(),
            preparing: Mutex::default(),
            merging: Mutex::default(),
            verifying: Mutex::default(),
            sealer: Signal::default(),
            merger: Signal::default(),
            syncer: Signal::default(),
            verifier: Signal::default(),
            stopping: AtomicBool::new(false),
            background_error: Mutex::default(),
            _lock: lock,
        }
    }

    /// Stores `value` under `key`, for a time if `ttl` or the store's options say so.
    pub(crate) fn put(&self, key: &[u8], value: &[u8], ttl: Option<Duration>) -> Result<()> {
        check_sizes(key, value, KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
        let expires_ms = self.expires_ms(ttl);
        self.stored(value, |bytes, compressed| {
            let value = Value { bytes, compressed, expires_ms };
            self.write_value(&Record { key, value: Some(value), continues: false })
        })
    }

    /// When a value is gone that is stored now.
    pub(crate) fn expires_ms(&self, ttl: Option<Duration>) -> Option<u64> {
        let ttl = ttl.or(self.options.ttl)?;
        Some(deadline_ms(self.view.clock.now_ms(), ttl))
    }

    /// Calls `then` with a value as it is to be stored, and whether that is compressed.
    #[inline]
    pub(crate) fn stored<R>(&self, value: &[u8], then: impl FnOnce(&[u8], bool) -> R) -> R {
        match self.options.compress_above_bytes {
            Some(above) if value.len() > above => {
                compressed(value, |packed| then(packed.unwrap_or(value), packed.is_some()))
            }
            _ => then(value, false),
        }
    }

    /// Stores a value as it is given: packed or not, and with a time of its own or none.
    pub(crate) fn write_value(&self, record: &Record<'_>) -> Result<()> {
        let hash = self.view.hasher.hash(record.key);
        loop {
            let before = self.view.seek(hash, record.key)?;
            let mut writer = self.lock_with_room(record.frame_bytes())?;
            match before {
                Sought::Found(before) => {
                    let again = self.view.find_again(hash, record.key, before)?;
                    let Some(found) = again else { continue };
                    let entry = self.append(&mut writer, hash, record)?;
                    self.index(hash, record.key, found, entry)?;
                }
                Sought::Presumable if self.view.is_presumable(hash, record.key) => {
                    let entry = self.append(&mut writer, hash, record)?;
                    self.presume(hash, record.key, entry)?;
                }
                Sought::Presumable => continue,
            }
            return self.acknowledge(writer);
        }
    }

    /// Makes the keydir say that the newest value of a key lies at `new`, in the place of the one entry that may be the key's. The writer's lock must be held.
    fn presume(&self, hash: u64, key: &[u8], new: Entry) -> Result<()> {
        let print = Fingerprint { hash, check: self.view.hasher.check(key) };
        if self.view.keydir.presume(print, new) {
            self.note_presumption();
            return Ok(());
        }
        // A merge has taken the entry away, as its value had expired.
        let found = self.view.find(hash, key)?;
        self.index(hash, key, found, new)
    }

    /// Makes the keydir say that the newest value of a key lies at `new`. The writer's lock must be held.
    pub(crate) fn index(
        &self,
        hash: u64,
        key: &[u8],
        mut found: Found<S::File>,
        new: Entry,
    ) -> Result<()> {
        while let Some(old) = found.old {
            if self.view.keydir.replace(hash, old.entry, new) {
                self.view.forget(&found, old);
                return Ok(());
            }
            found = self.view.find(hash, key)?;
        }
        self.view.keydir.insert(hash, new);
        Ok(())
    }

    /// Makes the keydir forget a key. The writer's lock must be held.
    pub(crate) fn unindex(&self, hash: u64, key: &[u8], mut found: Found<S::File>) -> Result<()> {
        while let Some(old) = found.old {
            if self.view.keydir.remove(hash, old.entry) {
                self.view.forget(&found, old);
                break;
            }
            found = self.view.find(hash, key)?;
        }
        Ok(())
    }

    /// Removes `key`; tells whether it was there.
    pub(crate) fn delete(&self, key: &[u8]) -> Result<bool> {
        check_sizes(key, &[], KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
        let hash = self.view.hasher.hash(key);
        let record = Record::tombstone(key);
        let (mut writer, found, looked_at, was_gone) = loop {
            let before = self.view.find(hash, key)?;
            if before.old.is_none() {
                let ticket = self.writer.lock().writes;
                return self.was_absent(ticket);
            }
            let (looked_at, was_gone) = (before.old, self.view.is_expired(&before)?);
            let writer = self.lock_with_room(record.frame_bytes())?;
            if let Some(found) = self.view.find_again(hash, key, before)? {
                break (writer, found, looked_at, was_gone);
            }
        };
        if found.old.is_none() {
            let ticket = writer.writes;
            drop(writer);
            return self.was_absent(ticket);
        }
        // A value that has expired is deleted all the same: the clock may be set back.
        let gone = if found.old == looked_at { was_gone } else { self.view.is_expired(&found)? };
        self.append(&mut writer, hash, &record)?;
        self.unindex(hash, key, found)?;
        self.acknowledge(writer)?;
        Ok(!gone)
    }

    /// Nothing is to be deleted. The write that made the key absent, with this ticket at the latest, must be as durable as the answer.
    fn was_absent(&self, ticket: u64) -> Result<bool> {
        self.wait_for(ticket).map(|()| false)
    }

    /// Makes everything written so far survive power loss, because somebody has asked for it.
    pub(crate) fn sync(&self) -> Result<()> {
        self.view.files.note_sync();
        self.sync_all()
    }

    /// Makes everything written so far survive power loss.
    pub(crate) fn sync_all(&self) -> Result<()> {
        let ticket = self.writer.lock().writes;
        self.sync_up_to(ticket)
    }

    /// Makes what was written durable, if anything was since this was last done.
    pub(crate) fn sync_written_since(&self) -> Result<()> {
        let ticket = self.writer.lock().writes;
        if self.commit.is_covered(ticket) {
            return Ok(());
        }
        self.view.files.note_sync();
        self.sync_up_to(ticket)
    }

    fn sync_up_to(&self, ticket: u64) -> Result<()> {
        self.view.files.check()?;
        self.commit
            .wait(ticket, || self.sync_written())
            .map_err(|error| self.view.files.poison(error))
    }

    /// Syncs all data files that may need it, oldest first, and returns the last write that this covers.
    fn sync_written(&self) -> Result<u64> {
        let (covered, active, len, full) = {
            let writer = self.writer.lock();
            let segment = Arc::clone(&writer.active.segment);
            let unsynced =
                writer.full.iter().filter(|full| !full.segment.synced.load(Ordering::Relaxed));
            let full: Vec<_> = unsynced
                .map(|full| (Arc::clone(&full.segment), full.found.then_some(full.len)))
                .collect();
            (writer.writes, segment, writer.active.log.len(), full)
        };
        let counters = &self.view.files.counters;
        for (segment, found) in full {
            match found {
                Some(len) => self.sync_found(&segment, len)?,
                None => counters.sync(|| segment.file.sync())?,
            }
            segment.synced.store(true, Ordering::Relaxed);
        }
        counters.sync(|| active.file.sync())?;
        let mut writer = self.writer.lock();
        if writer.active.segment.id == active.id {
            writer.active.log.advance_watermark(len);
        }
        Ok(covered)
    }

    /// Makes a data file durable that was found at open, of this length: it is written again, synced, and verified, since what was in the cache alone may have left it
    /// after it was read. Costs that, once for each such file: milliseconds for a file of 64 MiB, and what the device takes to store it.
    fn sync_found(&self, segment: &Segment<S::File>, len: u64) -> Result<()> {
        let counters = &self.view.files.counters;
        // The last frame is whole without its padding.
        let written = len.min(segment.file.len());
        segment.file.rewrite(0, written)?;
        counters.log_bytes.fetch_add(written, Ordering::Relaxed);
        counters.sync(|| segment.file.sync())?;
        replay(&segment.file, segment.id.0, 0, Expected::Exactly(len), |_, _| Ok(())).map(drop)
    }

    /// Ends a write: waits for a flush where the durability class asks for one.
    #[inline]
    pub(crate) fn acknowledge(&self, mut writer: MutexGuard<'_, Writer<S>>) -> Result<()> {
        writer.writes += 1;
        let ticket = writer.writes;
        let due = self.options.background == Background::Inline && !writer.full.is_empty();
        drop(writer);
        self.wait_for(ticket)?;
        if self.verifies_inline() {
            self.in_background(Self::verify_presumed);
        }
        if due {
            self.in_background(|store| store.seal().and_then(|()| store.merge_due()));
        }
        Ok(())
    }

    /// Waits until a write is as durable as the class promises.
    #[inline]
    fn wait_for(&self, ticket: u64) -> Result<()> {
        match self.options.durability {
            Durability::Buffered | Durability::Os => self.view.files.check(),
            Durability::Sync => {
                self.view.files.note_sync();
                self.sync_up_to(ticket)
            }
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
        self.verify_presumed()?;
        self.merge_due()?;
        self.background_error.lock().take().map_or(Ok(()), Err)
    }

    /// Takes the writer's lock when `frame_bytes` fit into the active data file.
    ///
    /// # Errors
    /// If the device has no room for another file; the active one then stays, and later writes try again.
    #[inline]
    pub(crate) fn lock_with_room(&self, frame_bytes: u64) -> Result<MutexGuard<'_, Writer<S>>> {
        let mut writer = self.writer.lock();
        self.view.files.check()?;
        if frame_bytes > writer.active.log.room() {
            self.rotate_while(&mut writer, frame_bytes, |writer| {
                frame_bytes > writer.active.log.room()
            })?;
        }
        Ok(writer)
    }

    /// Appends a record to the active data file, which has room for it, and counts it there; returns its entry.
    #[inline]
    pub(crate) fn append(
        &self,
        writer: &mut Writer<S>,
        hash: u64,
        record: &Record<'_>,
    ) -> Result<Entry> {
        let encoded = record.encode();
        let appended = writer.active.log.append(&encoded.parts(record));
        // What a failed append left behind is unknown, and nothing may be written behind it.
        let offset = appended.map_err(|error| self.view.files.poison(error))?;
        if !writer.spare_requested && offset > self.options.segment_bytes / 4 * 3 {
            writer.spare_requested = true;
            self.sealer.notify();
        }
        let segment = &writer.active.segment;
        match record.value {
            Some(value) => {
                segment.usage.add(record.frame_bytes());
                segment.usage.lasts_until(value.expires_ms);
            }
            None => segment.usage.add_tombstone(record.frame_bytes()),
        }
        Ok(self.view.files.layout.entry(hash, segment.slot, offset))
    }
}
