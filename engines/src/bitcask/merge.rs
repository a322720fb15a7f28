//! Merging: what is still needed of some data files is written anew, and they are removed.
//!
//! 1. Files are chosen by how much of them is dead (`merge_policy.rs`), and merged in runs of neighbours, so that what takes a run's place is still in the order of age.
//! 2. Each record of the run is read and verified, but for files that nothing is needed of. A value is kept if the keydir points at it, or if a put has replaced it that only presumed that it may (`presumed.rs`). A tombstone is kept unless the run begins at the oldest file
//!    (then no value that it hides can be left behind it) or its key is alive again (then a newer value hides what it hid). A value that has expired is
//!    dropped likewise: unless the run begins at the oldest file a tombstone takes its place, as it hides older values just so.
//! 3. What is kept goes to new files, which are synced and get hints. Everything that was written before this moment is synced, too: a record was
//!    left out because of a newer one, which must now not be lost.
//! 4. The manifest is replaced: the new files stand where the run stood.
//! 5. Entries of the keydir, and of presumptions, that still point to the old places are swung to the new ones; those that have changed meanwhile are left alone.
//! 6. The old files are removed. Readers that hold them go on reading.
//!
//! Until step 4 a crash leaves the old files, afterwards the new ones; the others are orphans. No lock that anybody else waits for is held during I/O, but that of the structure in
//! step 4, for which a writer waits only if it needs a new file at that moment. A long run is merged in groups, so that the memory for step 5 and the
//! room for both old and new files stay bounded.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use parking_lot::MutexGuard;

use super::entry::Entry;
use super::files::Listed;
use super::fingerprint::Fingerprint;
use super::hint::{Hint, HintEntry, HintKey, Summary};
use super::merge_policy::{Choice, FileUsage, choose, group_len};
use super::record::{self, PREFACE_FRAME_BYTES, Preface, Record};
use super::report::MergeReport;
use super::scan::{End, Piece, scan};
use super::segment::{Ended, FileId, FileKind, Segment};
use super::store::{Store, Writer};
use super::view;
use crate::log::{LogWriter, ReadAhead, frame};
use crate::storage::{File, Storage};
use crate::{Error, EventKind, Result};

/// A data file that a merge has written.
struct Output<S: Storage> {
    id: FileId,
    log: LogWriter<S::Appender>,
    summary: Summary,
    moves: Vec<Move>,
}

/// A finished [`Output`].
struct Finished<F> {
    id: FileId,
    file: F,
    len: u64,
    hint: Option<Hint<F>>,
    tombstone_bytes: u64,
    gone_by_ms: u64,
    moves: Vec<Move>,
}

/// What a merge has written.
struct Rewritten<F> {
    files: Vec<Finished<F>>,
    /// Values that had expired, and are not there any more.
    expired: Vec<(u64, Entry)>,
}

/// What becomes of a record.
enum Fate {
    Kept,
    /// It has expired: it goes, and a tombstone takes its place unless there is nothing older.
    Expired,
    Dropped,
}

/// A value that was written anew.
struct Move {
    hash: u64,
    from: Entry,
    offset: u64,
    frame_bytes: u64,
}

/// Whether nothing of a sealed file is needed, as far as that was counted.
fn is_dead<F>(segment: &Segment<F>, from_oldest: bool) -> bool {
    let usage = &segment.usage;
    usage.live_records() == 0 && (from_oldest || usage.tombstone_bytes() == 0)
}

/// How many records there are in a sealed file that goes unread. Without a hint it is read all the same, from end to end; what is damaged in it is passed over, and not counted.
fn records_of<F: File>(segment: &Segment<F>, len: u64) -> Result<u64> {
    if let Some(hint) = segment.hint() {
        return Ok(hint.len() as u64);
    }
    let mut records = 0;
    scan(&segment.file, segment.id, End::Known(len), None, |piece| {
        records += u64::from(matches!(piece, Piece::Record(_)));
        Ok(())
    })?;
    Ok(records)
}

impl<S: Storage> Store<S> {
    /// Merges all data files, the active one among them.
    pub(crate) fn merge_all(&self) -> Result<MergeReport> {
        let _one_at_a_time = self.merging.lock();
        self.verify_presumed()?;
        let mut report = self.remove_dead()?;
        self.rotate_and_seal()?;
        let (files, now_ms) = (self.sealed(), self.view.clock.now_ms());
        for (segment, len) in &files {
            let usage = FileUsage::of(segment, *len, now_ms);
            if usage.dead() + usage.tombstones > 0 || self.has_expired(segment, now_ms)? {
                report.add(&self.merge_run(&files, true)?);
                break;
            }
        }
        Ok(report)
    }

    /// Removes the data files that nothing is needed of. Takes no room but that of a manifest, and so makes room where there is none.
    fn remove_dead(&self) -> Result<MergeReport> {
        let mut report = MergeReport::default();
        let files = self.sealed();
        // Once for all, as writers go on meanwhile.
        let dead: Vec<_> = files.iter().map(|(segment, _)| is_dead(segment, false)).collect();
        let mut next = 0;
        for run in dead.chunk_by(bool::eq) {
            let first = next;
            next += run.len();
            if run[0] {
                report.add(&self.merge_run(&files[first..next], false)?);
            }
        }
        Ok(report)
    }

    /// Of which of these files nothing is needed, so that they need not even be readable. Counting says so first, but goes by what records say of themselves; the keydir, which
    /// is then looked through from end to end, has the last word.
    fn dead(&self, files: &[Ended<S::File>], from_oldest: bool) -> Vec<bool> {
        let mut dead: Vec<_> =
            files.iter().map(|(segment, _)| is_dead(segment, from_oldest)).collect();
        if !dead.contains(&true) {
            return dead;
        }
        let slots = files.iter().map(|(segment, _)| segment.slot as usize + 1).max().unwrap_or(0);
        let mut needed = vec![false; slots];
        self.view.keydir.visit_needed(|entry| {
            let (slot, _) = self.view.files.layout.place(entry);
            if let Some(needed) = needed.get_mut(slot as usize) {
                *needed = true;
            }
        });
        for (dead, (segment, _)) in dead.iter_mut().zip(files) {
            *dead &= !needed[segment.slot as usize];
        }
        dead
    }

    /// Whether a value in the file has expired that no other has replaced. Reads its hint, and of the records those that expire.
    fn has_expired(&self, segment: &Segment<S::File>, now_ms: u64) -> Result<bool> {
        // Without a hint it would have to be read from end to end, as it is by a merge.
        let Some(hint) = segment.hint() else { return Ok(true) };
        for number in 0..hint.len() {
            let HintEntry { print, offset, expires, .. } = hint.get(number)?;
            let entry = self.view.files.layout.entry(print.hash, segment.slot, offset);
            if !expires || !self.view.keydir.contains(print.hash, entry) {
                continue;
            }
            if view::is_expired(segment, offset, || now_ms)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Merges these data files, in runs of neighbours.
    ///
    /// # Errors
    /// [`Error::NoSuchFile`] if one of them is not there, [`Error::StillWritten`] if it is not sealed.
    pub(crate) fn merge_files(&self, ids: &[u32]) -> Result<MergeReport> {
        let _one_at_a_time = self.merging.lock();
        let files = self.sealed();
        let is_sealed = |id: u32| files.iter().any(|(segment, _)| segment.id.0 == id);
        if let Some(id) = ids.iter().copied().find(|id| !is_sealed(*id)) {
            let (dir, listed) = (self.view.files.dir.clone(), self.view.files.listed());
            let is_there = listed.iter().any(|file| file.segment.id.0 == id);
            let refused = if is_there {
                Error::StillWritten { dir, id }
            } else {
                Error::NoSuchFile { dir, id }
            };
            return Err(refused);
        }
        let chosen = |at: usize| ids.contains(&files[at].0.id.0);
        let mut report = MergeReport::default();
        let mut start = 0;
        while start < files.len() {
            let end = (start..files.len()).find(|at| !chosen(*at)).unwrap_or(files.len());
            if end > start {
                report.add(&self.merge_run(&files[start..end], start == 0)?);
            }
            start = end + 1;
        }
        Ok(report)
    }

    /// Makes the active data file one that is written no more, unless it is empty.
    pub(crate) fn rotate_and_seal(&self) -> Result<()> {
        let has_records = |writer: &Writer<S>| writer.active.log.len() > PREFACE_FRAME_BYTES;
        self.rotate_while(&mut self.writer.lock(), 0, has_records)?;
        self.seal()
    }

    /// Merges what is due by the policy. While others write, something may be due again and again: those who wait for their own merge come in between.
    pub(crate) fn merge_due(&self) -> Result<()> {
        loop {
            let one_at_a_time = self.merging.lock();
            let merged = self.merge_once()?;
            MutexGuard::unlock_fair(one_at_a_time);
            if !merged {
                return Ok(());
            }
        }
    }

    /// The sealed files, and what is to be merged of them.
    pub(crate) fn due(&self, now_ms: u64) -> (Vec<Ended<S::File>>, Choice) {
        let files = self.sealed();
        let usages: Vec<_> =
            files.iter().map(|(segment, len)| FileUsage::of(segment, *len, now_ms)).collect();
        let choice = choose(&self.options.merge, self.options.segment_bytes, &usages);
        (files, choice)
    }

    /// Merges what is due at this moment; false if nothing is, or may be.
    fn merge_once(&self) -> Result<bool> {
        let now_ms = self.view.clock.now_ms();
        if !self.options.merge.is_open(now_ms) {
            return Ok(false);
        }
        let (files, Choice { runs, .. }) = self.due(now_ms);
        if runs.is_empty() || self.stopping.load(Ordering::Relaxed) {
            return Ok(false);
        }
        for run in runs {
            self.merge_run(&files[run.clone()], run.start == 0)?;
        }
        Ok(true)
    }

    /// The data files that are written no more, oldest records first.
    pub(crate) fn sealed(&self) -> Vec<Ended<S::File>> {
        let sealed = |file: &Listed<S::File>| Some((Arc::clone(&file.segment), file.sealed?));
        self.view.files.listed().iter().filter_map(sealed).collect()
    }

    /// Merges a run of neighbours, group after group.
    fn merge_run(&self, files: &[Ended<S::File>], from_oldest: bool) -> Result<MergeReport> {
        let mut report = MergeReport::default();
        let mut rest = files;
        while !rest.is_empty() && !self.stopping.load(Ordering::Relaxed) {
            let live = rest.iter().map(|(segment, _)| segment.usage.live_bytes());
            let count = group_len(live, self.options.segment_bytes);
            let (group, after) = rest.split_at(count);
            report.add(&self.merge_group(group, from_oldest)?);
            rest = after;
        }
        Ok(report)
    }

    fn merge_group(&self, inputs: &[Ended<S::File>], from_oldest: bool) -> Result<MergeReport> {
        let start = Instant::now();
        self.verify_replaced_in(inputs)?;
        let mut report = MergeReport { files_before: inputs.len() as u64, ..Default::default() };
        let mut ids = Vec::new();
        let merged = self
            .rewrite(inputs, from_oldest, &mut ids, &mut report)
            .and_then(|outputs| outputs.map_or(Ok(false), |o| self.swap(inputs, o, &mut report)));
        match merged {
            Ok(true) => {
                self.view.files.counters.event(EventKind::Merge, start, report.bytes_written);
                Ok(report)
            }
            Ok(false) => {
                self.view.files.discard(&ids);
                Ok(MergeReport::default())
            }
            Err(error) => {
                self.view.files.discard(&ids);
                Err(error)
            }
        }
    }

    /// Verifies what was presumed of values in these files. They would be carried over else, as they may be needed; those of which it is presumed from now on, are.
    fn verify_replaced_in(&self, files: &[Ended<S::File>]) -> Result<()> {
        let layout = self.view.files.layout;
        let mut slots: Vec<_> = files.iter().map(|(segment, _)| segment.slot).collect();
        slots.sort_unstable();
        let is_in = |entry| slots.binary_search(&layout.place(entry).0).is_ok();
        self.view.verify_all(is_in, || self.stopping.load(Ordering::Relaxed))
    }

    /// Steps 2 and 3. None if the store is being closed. The ids of files that were created are in `ids` in any case.
    fn rewrite(
        &self,
        inputs: &[Ended<S::File>],
        from_oldest: bool,
        ids: &mut Vec<FileId>,
        report: &mut MergeReport,
    ) -> Result<Option<Rewritten<S::File>>> {
        let mut rewritten = Rewritten { files: Vec::new(), expired: Vec::new() };
        let mut output: Option<Output<S>> = None;
        let now_ms = self.view.clock.now_ms();
        for ((segment, len), dead) in inputs.iter().zip(self.dead(inputs, from_oldest)) {
            if dead {
                report.records_reclaimed += records_of(segment, *len)?;
                continue;
            }
            let mut offset = PREFACE_FRAME_BYTES;
            let mut ahead = ReadAhead::new(0);
            while offset < *len {
                if self.stopping.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                ahead.reach(&segment.file, offset);
                let damaged = |_: &Error| segment.damaged.store(true, Ordering::Relaxed);
                let frame =
                    frame::read(&segment.file, segment.id.0, offset).inspect_err(damaged)?;
                let record = Record::decode(frame.payload())
                    .ok_or_else(|| record::not_a_record(&segment.file, offset))
                    .inspect_err(damaged)?;
                let at = std::mem::replace(&mut offset, frame.end);
                let hash = self.view.hasher.hash(record.key);
                let from = self.view.files.layout.entry(hash, segment.slot, at);
                let record = match self.fate(&record, hash, from, from_oldest, now_ms)? {
                    // What was a batch once is complete by now.
                    Fate::Kept => Some(Record { continues: false, ..record }),
                    Fate::Expired => {
                        rewritten.expired.push((hash, from));
                        (!from_oldest).then(|| Record::tombstone(record.key))
                    }
                    Fate::Dropped => None,
                };
                let Some(record) = record else {
                    report.records_reclaimed += 1;
                    continue;
                };
                report.records_kept += 1;
                if let Some(full) = output.take_if(|output| {
                    output.log.len() + record.frame_bytes() > self.options.segment_bytes
                        && output.log.len() > PREFACE_FRAME_BYTES
                }) {
                    rewritten.files.push(self.finish_output(full, report)?);
                }
                let target = match &mut output {
                    Some(target) => target,
                    None => output.insert(self.create_output(ids)?),
                };
                self.carry_over(target, &record, hash, from)?;
            }
        }
        if let Some(last) = output {
            rewritten.files.push(self.finish_output(last, report)?);
        }
        self.sync_all()?;
        self.view.files.sync_names()?;
        Ok(Some(rewritten))
    }

    fn fate(
        &self,
        record: &Record<'_>,
        hash: u64,
        at: Entry,
        from_oldest: bool,
        now_ms: u64,
    ) -> Result<Fate> {
        Ok(match record.value {
            Some(_) if !self.view.keydir.is_needed(hash, at) => Fate::Dropped,
            Some(value) if value.is_expired(|| now_ms) => Fate::Expired,
            None if from_oldest || self.is_known_alive(hash, record.key)? => Fate::Dropped,
            _ => Fate::Kept,
        })
    }

    /// Writes a record to a new file.
    fn carry_over(
        &self,
        target: &mut Output<S>,
        record: &Record<'_>,
        hash: u64,
        from: Entry,
    ) -> Result<()> {
        let offset = target.log.append(&record.encode().parts(record))?;
        let check = self.view.hasher.check(record.key);
        target.summary.add(record, Fingerprint { hash, check }, offset);
        if record.value.is_some() {
            target.moves.push(Move { hash, from, offset, frame_bytes: record.frame_bytes() });
        }
        Ok(())
    }

    /// Whether the key is alive. A value that has expired counts, as it still hides what is older. If what may be the key's record is damaged, it is not known to be.
    fn is_known_alive(&self, hash: u64, key: &[u8]) -> Result<bool> {
        match self.view.find(hash, key) {
            Err(Error::Corrupt { .. }) => Ok(false),
            found => found.map(|found| found.old.is_some()),
        }
    }

    fn create_output(&self, ids: &mut Vec<FileId>) -> Result<Output<S>> {
        let id = self.view.files.structure().take_id()?;
        let path = FileKind::Data.path(&self.view.files.dir, id);
        let appender = self.view.files.storage.create(&path, None)?;
        ids.push(id);
        let mut log = self.view.files.log_writer(appender, id);
        log.append_checked(&[&Preface { id, previous: None }.encode()])?;
        Ok(Output { id, log, summary: Summary::default(), moves: Vec::new() })
    }

    fn finish_output(
        &self,
        output: Output<S>,
        report: &mut MergeReport,
    ) -> Result<Finished<S::File>> {
        let Output { id, log, summary, moves } = output;
        let len = log.len();
        let file = log.finish()?;
        let counters = &self.view.files.counters;
        counters.sync(|| file.sync()).map_err(|error| self.view.files.poison(error))?;
        counters.merge_bytes.fetch_add(len, Ordering::Relaxed);
        let key = HintKey { id, data_bytes: len, hasher: self.view.hasher };
        let (storage, dir) = (&self.view.files.storage, &self.view.files.dir);
        let hint = match summary.write(storage, dir, key, counters) {
            Err(error @ Error::PowerLost) => return Err(error),
            written => written.ok(),
        };
        let tombstones = summary.entries.iter().filter(|entry| entry.tombstone);
        let tombstone_bytes = tombstones.map(|entry| entry.frame_bytes).sum();
        report.files_after += 1;
        report.bytes_written += len;
        Ok(Finished { id, file, len, hint, tombstone_bytes, gone_by_ms: summary.gone_by_ms, moves })
    }

    /// Steps 4 to 6.
    fn swap(
        &self,
        inputs: &[Ended<S::File>],
        rewritten: Rewritten<S::File>,
        report: &mut MergeReport,
    ) -> Result<bool> {
        let Rewritten { files: outputs, expired } = rewritten;
        let mut moved = Vec::with_capacity(outputs.len());
        {
            let mut structure = self.view.files.structure();
            let is_first = |file: &Listed<S::File>| file.segment.id == inputs[0].0.id;
            let at = structure.files.iter().position(is_first).unwrap_or(0);
            let mut files = structure.files.clone();
            files.drain(at..at + inputs.len());
            let mut place = |files: &mut Vec<_>, i: usize, output: Finished<S::File>| {
                let segment = self.view.files.place(output.id, output.file)?;
                self.view.files.publish(&segment);
                segment.usage.restore(0, 0, output.tombstone_bytes, output.gone_by_ms);
                if let Some(hint) = output.hint {
                    segment.set_hint(hint);
                }
                segment.synced.store(true, Ordering::Relaxed);
                let listed = Listed { segment: Arc::clone(&segment), sealed: Some(output.len) };
                files.insert(at + i, listed);
                moved.push((segment, output.moves));
                Ok(())
            };
            let placed: Result<()> =
                outputs.into_iter().enumerate().try_for_each(|(i, o)| place(&mut files, i, o));
            let swapped = placed.and_then(|()| self.view.files.restructure(&mut structure, files));
            if let Err(error) = swapped {
                let segments: Vec<_> = moved.into_iter().map(|(segment, _)| segment).collect();
                self.view.files.withdraw(&segments);
                return Err(error);
            }
        }
        self.view.keydir.before_moves();
        for (segment, moves) in &moved {
            for Move { hash, from, offset, frame_bytes } in moves {
                segment.usage.add(*frame_bytes);
                let to = self.view.files.layout.entry(*hash, segment.slot, *offset);
                if !self.view.keydir.swing(*hash, *from, to) {
                    segment.usage.remove(*frame_bytes);
                }
            }
        }
        for (hash, from) in expired {
            // Unless the key has been written again.
            self.view.keydir.remove_expired(hash, from);
        }
        let (segments, lens): (Vec<_>, Vec<_>) = inputs.iter().cloned().unzip();
        let structure = self.view.files.structure();
        self.view.files.withdraw(&segments);
        drop(structure);
        for segment in &segments {
            self.view.files.remove(segment.id);
        }
        report.bytes_reclaimed = lens.iter().sum::<u64>().saturating_sub(report.bytes_written);
        Ok(true)
    }
}
