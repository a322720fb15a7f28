//! The store at one point in time, and iteration over it.
//!
//! 1. A [`Moment`] begins under the writer's lock, so that each write is either in it or not: it begins a snapshot of the keydir and takes the segment table.
//!    Everything that puts have presumed is verified before, so that the keydir has every key. It keeps the time of day, so that nothing expires while it is looked at.
//! 2. Entries come from the snapshot, records from the segments of that table. It keeps their files readable though merges remove them, and their slots
//!    although they are used again.
//! 3. An iteration takes shard after shard of the snapshot, sorts its entries by place, so that each file is read from its beginning to its end, and reads the records.
//!    No lock is held while it does, nor while the caller looks at a record.

use std::iter::FusedIterator;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::vec;

use arc_swap::Guard;

use super::entry::Entry;
use super::keydir::SHARDS;
use super::record::{self, Record, Value};
use super::segment::{Segment, Table};
use super::snapshot::{Copies, Snapshot};
use super::store::Store;
use super::view::{View, unpack};
use crate::log::frame;
use crate::storage::Storage;
use crate::{Error, Result};

/// The store as it was at one moment.
pub(crate) struct Moment<'a, S: Storage> {
    view: &'a View<S>,
    pub(crate) snapshot: Snapshot<'a>,
    table: Arc<Table<S::File>>,
    now_ms: u64,
}

impl<'a, S: Storage> Moment<'a, S> {
    /// This moment, and why some keys may be missing from it, if there is anything. Waits for a write that is under way, and verifies what puts have presumed; if nothing was, no file is read.
    pub(crate) fn begin(store: &'a Store<S>) -> (Self, Option<Error>) {
        let copies = Arc::default();
        {
            let _no_write_is_half_done = store.writer.lock();
            if store.view.keydir.presumed.is_empty() {
                return (Self::with(&store.view, copies), None);
            }
        }
        let mut verified = store.verified();
        let _no_write_is_half_done = store.writer.lock();
        (Self::with(&store.view, copies), verified.error.take())
    }

    /// The one moment that a store has that nobody writes to.
    pub(crate) fn of(view: &'a View<S>) -> Self {
        Self::with(view, Arc::default())
    }

    fn with(view: &'a View<S>, copies: Arc<Copies>) -> Self {
        let take = || (Guard::into_inner(view.files.table()), view.clock.now_ms());
        let (snapshot, (table, now_ms)) = Snapshot::begin(&view.keydir, copies, take);
        Self { view, snapshot, table, now_ms }
    }

    /// Calls `visit` with key and value of an entry's record; None if the record was not alive. This is the one place that decides it.
    pub(crate) fn read<R>(
        &self,
        entry: Entry,
        visit: impl FnOnce(&[u8], &[u8]) -> R,
    ) -> Result<Option<R>> {
        self.with_record(entry, |segment, offset, key, value| {
            if value.is_expired(|| self.now_ms) {
                return Ok(None);
            }
            unpack(value, segment, offset, |value| visit(key, value)).map(Some)
        })
    }

    /// Calls `then` with segment, offset, key and value of an entry's record, alive or not.
    fn with_record<R>(
        &self,
        entry: Entry,
        then: impl FnOnce(&Segment<S::File>, u64, &[u8], Value<'_>) -> Result<R>,
    ) -> Result<R> {
        let (slot, offset) = self.view.files.layout.place(entry);
        let segment = self.table.segment(slot);
        let frame = frame::read(&segment.file, segment.id.0, offset)?;
        match Record::decode(frame.payload()) {
            Some(Record { key, value: Some(value), .. }) => then(segment, offset, key, value),
            // No entry points to a tombstone.
            _ => Err(record::not_a_record(&segment.file, offset)),
        }
    }

    /// Calls `visit` with `key` and its value; None if the key was not there.
    pub(crate) fn get<R>(
        &self,
        key: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> R,
    ) -> Result<Option<R>> {
        let mut damage = None;
        for entry in self.snapshot.candidates(self.view.hasher.hash(key)).iter() {
            match self.read(entry, |found, value| (found == key).then(|| visit(key, value))) {
                Ok(Some(Some(visited))) => return Ok(Some(visited)),
                Ok(_) => {}
                Err(error) => damage = Some(error),
            }
        }
        // A damaged record may be the key's, unless the key was found in another one.
        damage.map_or(Ok(None), Err)
    }

    /// Calls `visit` with the key of every entry, also where the value has expired. They can be looked up afterwards, unlike those that an [`Iter`] has taken.
    pub(crate) fn indexed_keys(&self, mut visit: impl FnMut(&[u8])) -> Result<()> {
        for shard in 0..SHARDS {
            for entry in by_place(self.snapshot.entries(shard)) {
                self.with_record(entry, |_, _, key, _| {
                    visit(key);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}

/// Sorts entries in the order of slots and offsets.
fn by_place(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_unstable_by_key(|entry| entry.location());
    entries
}

/// An iteration over all keys and values of a [`Bitcask`](super::Bitcask) at the moment at which it began; made by [`Bitcask::iter`](super::Bitcask::iter).
///
/// As an [`Iterator`] it gives copies; [`Iter::next_with`] shows a record where it lies. Keys come in no order, each once. An error concerns one record, and the iteration can
/// go on behind it.
///
/// Writes, merges and other iterations go on meanwhile, and block it as little as it blocks them: no lock is held between two items. What it costs them and the memory:
///
/// - While an iteration is alive, the first change of each of 1024 parts of the index, unless the iteration has been there, copies that part: eight bytes for every key in it.
/// - Files that a merge removes keep their descriptors and their room on the device until the iteration is dropped.
///
/// It begins in a microsecond or so, but waits for a write that is under way; in a store that is larger than memory it first reads hints of what was overwritten in the last second or so. Each record is read and verified once; files are read in passes from beginning to end, one for each
/// part of the index. That suits data in memory: from a device, it reads more than once what lies close together.
pub struct Iter<'a, S: Storage> {
    moment: Moment<'a, S>,
    /// The shard that comes next.
    shard: usize,
    /// The rest of the one before.
    entries: vec::IntoIter<Entry>,
    /// To be told first.
    error: Option<Error>,
}

impl<'a, S: Storage> Iter<'a, S> {
    pub(crate) fn over(moment: Moment<'a, S>, error: Option<Error>) -> Self {
        Self { moment, shard: 0, entries: Vec::new().into_iter(), error }
    }

    /// [`Iter::next_with`] until `visit` breaks.
    pub(crate) fn visit_rest(
        mut self,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        while let Some(flow) = self.next_with(&mut visit) {
            if flow?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// All keys that are left, of which there are about so many.
    pub(crate) fn keys_left(self, about: usize) -> Result<Vec<Vec<u8>>> {
        let mut keys = Vec::with_capacity(about);
        self.visit_rest(|key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        Ok(keys)
    }

    /// Calls `visit` with the next key and value where they lie, without a copy; None at the end.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] if the record is damaged; `visit` is not called then.
    pub fn next_with<R>(&mut self, mut visit: impl FnMut(&[u8], &[u8]) -> R) -> Option<Result<R>> {
        if let Some(error) = self.error.take() {
            return Some(Err(error));
        }
        loop {
            let entry = self.next_entry()?;
            if let Some(visited) = self.moment.read(entry, &mut visit).transpose() {
                return Some(visited);
            }
        }
    }

    fn next_entry(&mut self) -> Option<Entry> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Some(entry);
            }
            if self.shard == SHARDS {
                return None;
            }
            self.entries = by_place(self.moment.snapshot.take(self.shard)).into_iter();
            self.shard += 1;
        }
    }
}

impl<S: Storage> Iterator for Iter<'_, S> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_with(|key, value| (key.to_vec(), value.to_vec()))
    }
}

impl<S: Storage> FusedIterator for Iter<'_, S> {}
