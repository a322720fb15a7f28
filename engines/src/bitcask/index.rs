//! The keydir while it is being built: records are taken in, oldest first, and files' usage is counted along.
//!
//! **Equal hashes.** A hint has a key's fingerprint, not the key, and the keydir has 34 bits of it. The rest is looked up in the hint that the entry came from, or made of the
//! key in the record.
//!
//! **Speed.** Nearly every record of a hint costs a miss of the cache, in the table that it belongs to. So the records of a sealed file are taken in by several threads, each of which owns a part
//! of the shards and passes over what belongs to others; and each looks at the lines of [`AHEAD`] records before it changes the first of them, so that their misses overlap.

use std::hint::black_box;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::entry::{Entry, Layout, Slot};
use super::fingerprint::{Fingerprint, Hasher};
use super::hint::{Hint, HintEntry, Summary};
use super::keydir::{self, Candidates, Keydir, Part};
use super::record;
use super::segment::Segment;
use super::tag_table::TagTable;
use crate::storage::File;
use crate::{Error, Result};

/// Records whose lines are fetched at once.
const AHEAD: usize = 32;
/// Records that are worth a thread.
const RECORDS_PER_THREAD_MIN: usize = 1 << 14;

/// The keydir while it is being built.
pub(crate) struct Index<'a, F: File> {
    pub(crate) layout: Layout,
    pub(crate) keydir: Keydir,
    /// By slot.
    pub(crate) segments: &'a [Arc<Segment<F>>],
    pub(crate) hasher: Hasher,
}

/// The records of a sealed file, in its order.
pub(crate) enum Records<F> {
    /// As its hint tells them.
    Hint(Hint<F>),
    /// As they were found in it.
    Summary(Summary),
}

impl<F: File> Records<F> {
    fn len(&self) -> usize {
        match self {
            Self::Hint(hint) => hint.len(),
            Self::Summary(summary) => summary.entries.len(),
        }
    }

    /// When all values are gone.
    pub(crate) fn gone_by_ms(&self) -> u64 {
        match self {
            Self::Hint(hint) => hint.gone_by_ms,
            Self::Summary(summary) => summary.gone_by_ms,
        }
    }

    fn visit(&self, visit: impl FnMut(HintEntry) -> Result<()>) -> Result<()> {
        match self {
            Self::Hint(hint) => hint.entries()?.iter().try_for_each(visit),
            Self::Summary(summary) => summary.entries.iter().copied().try_for_each(visit),
        }
    }
}

/// How many threads can work at once.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Starts a thread that works on the file at `path`.
pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    path: &Path,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<thread::ScopedJoinHandle<'scope, T>> {
    let spawned = thread::Builder::new().spawn_scoped(scope, work);
    spawned.map_err(Error::io("start a thread to read", path))
}

/// What a thread has found out; its panic becomes one of this thread.
pub(crate) fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// All of an [`Index`] but the keydir.
struct Places<'a, F: File> {
    layout: Layout,
    segments: &'a [Arc<Segment<F>>],
    hasher: Hasher,
}

impl<'a, F: File> Index<'a, F> {
    /// Takes in a record.
    pub(crate) fn apply(&mut self, slot: Slot, record: HintEntry) -> Result<()> {
        let mut added = Added::default();
        let places = self.places();
        places.apply(self.keydir.table_mut(record.print.hash), slot, record, &mut added)?;
        added.count(&self.segments[slot as usize]);
        Ok(())
    }

    /// Takes in the records of a sealed file.
    pub(crate) fn apply_all(&mut self, slot: Slot, records: &Records<F>) -> Result<()> {
        let places = &self.places();
        let threads = processors().min(records.len() / RECORDS_PER_THREAD_MIN).max(1);
        let mut parts = self.keydir.parts_mut(threads);
        let Some(first) = parts.next() else { return Ok(()) };
        thread::scope(|scope| {
            let path = places.segments[slot as usize].file.path();
            let take_in = |part| spawn(scope, path, move || places.apply_part(part, slot, records));
            let others: Vec<_> = parts.map(take_in).collect();
            let first = places.apply_part(first, slot, records);
            others.into_iter().map(|other| other.and_then(join)).fold(first, Result::and)
        })
    }

    fn places(&self) -> Places<'a, F> {
        Places { layout: self.layout, segments: self.segments, hasher: self.hasher }
    }
}

/// Values and tombstones that were taken in from a file. Counted here first: threads that count in the same place hold each other up.
#[derive(Default)]
struct Added {
    records: u64,
    bytes: u64,
    tombstone_bytes: u64,
}

impl Added {
    fn count<F>(&self, segment: &Segment<F>) {
        segment.usage.add_all(self.records, self.bytes);
        segment.usage.add_tombstone(self.tombstone_bytes);
    }
}

impl<F: File> Places<'_, F> {
    /// Takes in those records that belong to a part of the keydir.
    fn apply_part(&self, mut part: Part<'_>, slot: Slot, records: &Records<F>) -> Result<()> {
        let mut added = Added::default();
        let mut batch = Vec::with_capacity(AHEAD);
        let mut apply = |part: &mut Part<'_>, batch: &mut Vec<HintEntry>| {
            let touch = |sum, record: &HintEntry| {
                sum ^ part
                    .table_mut(record.print.hash)
                    .map_or(0, |table| table.touch(record.print.hash))
            };
            black_box(batch.iter().fold(0, touch));
            batch.drain(..).try_for_each(|record| match part.table_mut(record.print.hash) {
                Some(table) => self.apply(table, slot, record, &mut added),
                None => Ok(()),
            })
        };
        records.visit(|record| {
            if part.table_mut(record.print.hash).is_some() {
                batch.push(record);
            }
            if batch.len() < AHEAD { Ok(()) } else { apply(&mut part, &mut batch) }
        })?;
        apply(&mut part, &mut batch)?;
        added.count(&self.segments[slot as usize]);
        Ok(())
    }

    /// Takes in a record, into the table that it belongs to.
    fn apply(
        &self,
        table: &mut TagTable,
        slot: Slot,
        record: HintEntry,
        added: &mut Added,
    ) -> Result<()> {
        let HintEntry { print, offset, frame_bytes, tombstone, .. } = record;
        let candidates = keydir::candidates(table, print.hash);
        let old = if candidates.is_empty() { None } else { self.same_key(print, &candidates)? };
        if let Some((old, old_bytes)) = old {
            let (slot, _) = self.layout.place(old);
            self.segments[slot as usize].usage.remove(old_bytes);
        }
        let new = self.layout.entry(print.hash, slot, offset);
        if tombstone {
            added.tombstone_bytes += frame_bytes;
        } else {
            added.records += 1;
            added.bytes += frame_bytes;
        }
        match old {
            Some((old, _)) if tombstone => drop(table.remove(old)),
            Some((old, _)) => drop(table.replace(old, new)),
            None if tombstone => {}
            None => table.insert(new),
        }
        Ok(())
    }

    /// The entry of the key with this fingerprint, and the bytes of its frame. See "Equal hashes" above.
    fn same_key(
        &self,
        print: Fingerprint,
        candidates: &Candidates,
    ) -> Result<Option<(Entry, u64)>> {
        for entry in candidates.iter() {
            let (other, frame_bytes) = self.look_up(entry)?;
            if other == print {
                return Ok(Some((entry, frame_bytes)));
            }
        }
        Ok(None)
    }

    /// The fingerprint of an entry's key, and the bytes of its record's frame.
    fn look_up(&self, entry: Entry) -> Result<(Fingerprint, u64)> {
        let (slot, offset) = self.layout.place(entry);
        let segment = &self.segments[slot as usize];
        if let Some(hint) = segment.hint()
            && let Some(found) = hint.find(offset)?
        {
            return Ok((found.print, found.frame_bytes));
        }
        let glance = record::glance(&segment.file, offset)?;
        Ok((self.hasher.fingerprint(glance.key()), glance.frame_bytes))
    }
}
