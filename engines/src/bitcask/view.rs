//! What reads need: the index, and the files that it points into.
//!
//! A read:
//! 1. The keydir gives the candidates for the key's hash, and under the same lock the segment table is loaded.
//! 2. Without any lock, the record of each candidate is read, its checksum verified, its key compared. The table that is held on to keeps the files.
//! 3. If none is the key's, its entry may have been replaced by a put of another key (`presumed.rs`). Where there ever was such a put, candidates and presumption are looked up together, and the replaced entry is tried like the others.
//!
//! A look-up for writing verifies the presumption instead, and begins anew.

use std::sync::Arc;

use arc_swap::Guard;

use super::entry::Entry;
use super::files::Files;
use super::fingerprint::{Fingerprint, Hasher};
use super::keydir::{Candidates, Keydir};
use super::options::KEY_BYTES_MAX;
use super::presumed::Presumption;
use super::record::{self, Record, Value};
use super::segment::{Segment, Table};
use crate::clock::Clock;
use crate::compression::decompressed;
use crate::engine::check_sizes;
use crate::log::frame;
use crate::storage::{File, Storage};
use crate::{Error, Result};

/// See the module's header.
pub(crate) struct View<S: Storage> {
    pub(crate) keydir: Keydir,
    pub(crate) files: Files<S>,
    pub(crate) hasher: Hasher,
    pub(crate) clock: Clock,
}

/// What the keydir, the hints and the records say about a key that is about to be written.
pub(crate) struct Found<F> {
    pub(crate) candidates: Candidates,
    pub(crate) old: Option<Old>,
    pub(crate) table: Guard<Arc<Table<F>>>,
}

/// What a put finds.
pub(crate) enum Sought<F> {
    /// What was looked at.
    Found(Found<F>),
    /// One entry, which may be presumed to be the key's.
    Presumable,
}

/// What one look-up says.
enum Looked<F> {
    Found(Found<F>),
    /// The key was not found, and may be behind this.
    Behind(Presumption),
}

/// The value that a write replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Old {
    pub(crate) entry: Entry,
    /// Bytes of its frame.
    pub(crate) frame_bytes: u64,
    /// It is one that expires.
    pub(crate) expires: bool,
}

impl<S: Storage> View<S> {
    /// Calls `visit` with the value of `key`, if there is one.
    #[inline]
    pub(crate) fn read<R>(&self, key: &[u8], visit: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        check_sizes(key, &[], KEY_BYTES_MAX, 0)?;
        let hash = self.hasher.hash(key);
        let looked_up = self.keydir.candidates(hash, || self.files.table());
        let mut damage = None;
        let Some((candidates, table)) = looked_up else {
            return if self.keydir.presumed.were_made() {
                self.read_behind(hash, key, visit)
            } else {
                Ok(None)
            };
        };
        for entry in candidates.iter() {
            let (slot, offset) = self.files.layout.place(entry);
            let segment = table.segment(slot);
            match frame::read(&segment.file, segment.id.0, offset) {
                Ok(frame) => match Record::decode(frame.payload()) {
                    Some(Record { key: found, value: Some(value), .. }) if found == key => {
                        return self.visit(value, segment, offset, visit);
                    }
                    Some(_) => {}
                    None => damage = Some(record::not_a_record(&segment.file, offset)),
                },
                Err(error) => damage = Some(error),
            }
        }
        if self.keydir.presumed.were_made() {
            return self.read_behind(hash, key, visit);
        }
        // A damaged record may be the key's, unless the key was found in another one.
        damage.map_or(Ok(None), Err)
    }

    /// As [`View::read`], where the entry of `key` may have been replaced by a put of another key.
    #[cold]
    fn read_behind<R>(
        &self,
        hash: u64,
        key: &[u8],
        visit: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        let look_up = || self.candidates(hash);
        // The table is loaded under the lock that keeps the entry where it is.
        let ((candidates, table), behind) =
            self.keydir.with_presumptions(hash, look_up, |waiting| {
                // What puts of this very key have replaced is not its value.
                let is_own = waiting.are_for(hash, || self.fingerprint(hash, key));
                let olds = waiting.of(hash).map(|its| its.old);
                if is_own { Vec::new() } else { olds.collect() }
            });
        let mut damage = None;
        for entry in candidates.iter().chain(behind) {
            let (slot, offset) = self.files.layout.place(entry);
            let segment = table.segment(slot);
            match frame::read(&segment.file, segment.id.0, offset) {
                Ok(frame) => match Record::decode(frame.payload()) {
                    Some(Record { key: found, value: Some(value), .. }) if found == key => {
                        return self.visit(value, segment, offset, visit);
                    }
                    Some(_) => {}
                    None => damage = Some(record::not_a_record(&segment.file, offset)),
                },
                Err(error) => damage = Some(error),
            }
        }
        damage.map_or(Ok(None), Err)
    }

    /// The entries that may belong to a key with this hash, and the table that resolves them.
    #[inline]
    fn candidates(&self, hash: u64) -> (Candidates, Guard<Arc<Table<S::File>>>) {
        self.keydir
            .candidates(hash, || self.files.table())
            .unwrap_or_else(|| (Candidates::default(), self.files.table()))
    }

    /// Calls `visit` with a value from the record at `offset`, unless it is gone.
    #[inline]
    pub(crate) fn visit<R>(
        &self,
        value: Value<'_>,
        segment: &Segment<S::File>,
        offset: u64,
        visit: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        if value.is_expired(|| self.clock.now_ms()) {
            return Ok(None);
        }
        unpack(value, segment, offset, visit).map(Some)
    }

    /// Looks a key up for writing. Values are not read and checksums not verified. In a store that is larger than memory, not even the record is read where there is a hint, so
    /// that a write does not wait for the device because the value that it replaces is not in memory; in a smaller one a glance at the record costs less.
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Result<Found<S::File>> {
        loop {
            match self.find_once(hash, key)? {
                Looked::Found(found) => return Ok(found),
                Looked::Behind(presumption) => self.verify(presumption)?,
            }
        }
    }

    fn find_once(&self, hash: u64, key: &[u8]) -> Result<Looked<S::File>> {
        // An entry whose key is equal is the key's, whatever is presumed.
        let found = self.find_among(self.candidates(hash), hash, key);
        if found.as_ref().is_ok_and(|found| found.old.is_some())
            || !self.keydir.presumed.were_made()
        {
            return found.map(Looked::Found);
        }
        let look_up = || self.candidates(hash);
        match self.keydir.with_presumptions(hash, look_up, |waiting| waiting.of(hash).next()) {
            (_, Some(presumption)) => Ok(Looked::Behind(presumption)),
            (candidates, None) => self.find_among(candidates, hash, key).map(Looked::Found),
        }
    }

    fn find_among(
        &self,
        (candidates, table): (Candidates, Guard<Arc<Table<S::File>>>),
        hash: u64,
        key: &[u8],
    ) -> Result<Found<S::File>> {
        let (mut old, mut damage) = (None, None);
        for entry in candidates.iter() {
            let (slot, offset) = self.files.layout.place(entry);
            match self.look(table.segment(slot), offset, hash, key) {
                Ok(Some((frame_bytes, expires))) => old = Some(Old { entry, frame_bytes, expires }),
                Ok(None) => {}
                Err(error) => damage = Some(error),
            }
        }
        match damage {
            Some(error) if old.is_none() => Err(error),
            _ => Ok(Found { candidates, old, table }),
        }
    }

    /// Looks a key up for a put, which need not know whose the old entry is.
    pub(crate) fn seek(&self, hash: u64, key: &[u8]) -> Result<Sought<S::File>> {
        if self.is_presumable(hash, key) {
            return Ok(Sought::Presumable);
        }
        self.find(hash, key).map(Sought::Found)
    }

    /// Whether a put may presume that the entry in this bucket is its key's: there is one, of a record that probably is not in memory, and a hint that will tell; and nothing is presumed for another key. Reads no file.
    pub(crate) fn is_presumable(&self, hash: u64, key: &[u8]) -> bool {
        if !self.files.exceed_memory() || self.keydir.presumed.is_closed() {
            return false;
        }
        let look_up = || self.keydir.candidates(hash, || self.files.table());
        let (found, are_for_key) = self.keydir.with_presumptions(hash, look_up, |waiting| {
            waiting.are_for(hash, || self.fingerprint(hash, key))
        });
        let Some((candidates, table)) = found.filter(|_| are_for_key) else { return false };
        candidates.only().is_some_and(|entry| {
            let (slot, _) = self.files.layout.place(entry);
            table.segment(slot).has_verified_hint()
        })
    }

    /// What stands for a key with this hash.
    fn fingerprint(&self, hash: u64, key: &[u8]) -> Fingerprint {
        Fingerprint { hash, check: self.hasher.check(key) }
    }

    /// If the record at `offset` is that of `key`: the bytes of its frame, and whether it expires.
    #[inline]
    fn look(
        &self,
        segment: &Segment<S::File>,
        offset: u64,
        hash: u64,
        key: &[u8],
    ) -> Result<Option<(u64, bool)>> {
        if self.files.exceed_memory()
            && let Some(hint) = segment.hint()
            && let Some(known) = hint.find(offset)?
        {
            let same = known.print.hash == hash && known.print.check == self.hasher.check(key);
            return Ok(same.then_some((known.frame_bytes, known.expires)));
        }
        let glance = record::glance(&segment.file, offset)?;
        Ok((glance.key() == key).then_some((glance.frame_bytes, glance.expires)))
    }

    /// Repeats [`View::find`] if its outcome may have changed. Under the writer's lock, its outcome then stays, but for places that a merge changes. None: a presumption has to be verified
    /// first, which is not to be done under that lock.
    #[inline]
    pub(crate) fn find_again(
        &self,
        hash: u64,
        key: &[u8],
        found: Found<S::File>,
    ) -> Result<Option<Found<S::File>>> {
        // Before the keydir: what goes back there is seen there. Under the writer's lock, no presumption is added.
        let is_known = found.old.is_some() || self.keydir.presumed.of(hash).is_none();
        // Looked at in this order: in another table, what looks the same may be in another file.
        let is_same = self.keydir.unchanged(hash, &found.candidates)
            && Arc::ptr_eq(&found.table, &self.files.table());
        if is_same && is_known {
            return Ok(Some(found));
        }
        Ok(match self.find_once(hash, key)? {
            Looked::Found(found) => Some(found),
            Looked::Behind(_) => None,
        })
    }

    /// Whether the value that a write replaces is gone already.
    pub(crate) fn is_expired(&self, found: &Found<S::File>) -> Result<bool> {
        let Some(old) = found.old.filter(|old| old.expires) else { return Ok(false) };
        let (slot, offset) = self.files.layout.place(old.entry);
        is_expired(found.table.segment(slot), offset, || self.clock.now_ms())
    }

    /// Counts a value as dead.
    #[inline]
    pub(crate) fn forget(&self, found: &Found<S::File>, old: Old) {
        let (slot, _) = self.files.layout.place(old.entry);
        found.table.segment(slot).usage.remove(old.frame_bytes);
    }
}

/// Whether the value of the record at `offset` is gone.
pub(crate) fn is_expired<F: File>(
    segment: &Segment<F>,
    offset: u64,
    now_ms: impl FnOnce() -> u64,
) -> Result<bool> {
    let frame = frame::read(&segment.file, segment.id.0, offset)?;
    let value = Record::decode(frame.payload()).and_then(|record| record.value);
    let value = value.ok_or_else(|| record::not_a_record(&segment.file, offset))?;
    Ok(value.is_expired(now_ms))
}

/// Calls `visit` with a value from the record at `offset`, gone or not.
#[inline]
pub(crate) fn unpack<F: File, R>(
    value: Value<'_>,
    segment: &Segment<F>,
    offset: u64,
    visit: impl FnOnce(&[u8]) -> R,
) -> Result<R> {
    if !value.compressed {
        return Ok(visit(value.bytes));
    }
    decompressed(value.bytes, visit).ok_or_else(|| {
        let reason = "the value of this record cannot be decompressed";
        Error::corrupt(segment.file.path(), offset, reason)
    })
}
