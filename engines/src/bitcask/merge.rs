//! Merging: what is still needed of some data files is written anew, and they are removed.
//!
//! 1. Files are chosen by how much of them is dead (`merge_policy.rs`), and merged in runs of neighbours, so that what takes a run's place is still in the order of age.
//! 2. Each record of the run is read and verified. A value is kept if the keydir points at it. A tombstone is kept unless the run begins at the oldest file
//!    (then no value that it hides can be left behind it) or its key is alive again (then a newer value hides what it hid).
//! 3. What is kept goes to new files, which are synced and get hints. Everything that was written before this moment is synced, too: a record was
//!    left out because of a newer one, which must now not be lost.
//! 4. The manifest is replaced: the new files stand where the run stood.
//! 5. Entries of the keydir that still point to the old places are swung to the new ones; those that have changed meanwhile are left alone.
//! 6. The old files are removed. Readers that hold them go on reading.
//!
//! Until step 4 a crash leaves the old files, afterwards the new ones; the others are orphans. No lock is held during I/O but that of the structure in
//! step 4, for which a writer waits only if it needs a new file at that moment. A long run is merged in groups, so that the memory for step 5 and the
//! room for both old and new files stay bounded.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::entry::Entry;
use super::files::Listed;
use super::hint::{self, HintEntry, HintKey};
use super::merge_policy::{FileUsage, choose};
use super::record::{self, PREFACE_FRAME_BYTES, Preface, Record};
use super::report::MergeReport;
use super::segment::{Ended, FileId, FileKind};
use super::store::Store;
use crate::log::{LogWriter, frame};
use crate::storage::{File, Storage};
use crate::{Error, EventKind, Result};

/// A group's live bytes, in lengths of a data file.
const GROUP_SEGMENTS: u64 = 4;

/// A data file that a merge has written.
struct Output<S: Storage> {
    id: FileId,
    log: LogWriter<S::Appender>,
    hints: Vec<HintEntry>,
    moves: Vec<Move>,
}

/// A finished [`Output`].
struct Finished<F> {
    id: FileId,
    file: F,
    len: u64,
    tombstone_bytes: u64,
    moves: Vec<Move>,
}

/// A value that was written anew.
struct Move {
    hash: u64,
    from: Entry,
    offset: u64,
    frame_bytes: u64,
}

impl<S: Storage> Store<S> {
    /// Merges all data files, the active one among them.
    pub(crate) fn merge_all(&self) -> Result<MergeReport> {
        let _one_at_a_time = self.merging.lock();
        {
            let mut writer = self.writer.lock();
            self.files.check()?;
            if writer.active.log.len() > PREFACE_FRAME_BYTES {
                self.rotate(&mut writer, 0)?;
            }
        }
        self.seal()?;
        let files = self.sealed();
        let reclaimable = |(segment, len): &Ended<S::File>| {
            let usage = FileUsage::of(segment, *len);
            usage.dead() + usage.tombstones > 0
        };
        if !files.iter().any(reclaimable) {
            return Ok(MergeReport::default());
        }
        self.merge_run(&files, true)
    }

    /// Merges what is due by the policy.
    pub(crate) fn merge_due(&self) -> Result<()> {
        if !self.options.merge.automatic {
            return Ok(());
        }
        let _one_at_a_time = self.merging.lock();
        loop {
            let files = self.sealed();
            let usages: Vec<_> =
                files.iter().map(|(segment, len)| FileUsage::of(segment, *len)).collect();
            let runs = choose(&self.options.merge, self.options.segment_bytes, &usages);
            if runs.is_empty() || self.stopping.load(Ordering::Relaxed) {
                return Ok(());
            }
            for run in runs {
                self.merge_run(&files[run.clone()], run.start == 0)?;
            }
        }
    }

    fn sealed(&self) -> Vec<Ended<S::File>> {
        let structure = self.files.structure();
        let sealed = |file: &Listed<S::File>| Some((Arc::clone(&file.segment), file.sealed?));
        structure.files.iter().filter_map(sealed).collect()
    }

    /// Merges a run of neighbours, group after group.
    fn merge_run(&self, files: &[Ended<S::File>], from_oldest: bool) -> Result<MergeReport> {
        let mut report = MergeReport::default();
        let mut rest = files;
        while !rest.is_empty() && !self.stopping.load(Ordering::Relaxed) {
            let mut live = 0;
            let fits = |(segment, _): &&Ended<S::File>| {
                live += segment.usage.live_bytes();
                live <= GROUP_SEGMENTS * self.options.segment_bytes
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (group, after) = rest.split_at(count);
            report.add(&self.merge_group(group, from_oldest)?);
            rest = after;
        }
        Ok(report)
    }

    fn merge_group(&self, inputs: &[Ended<S::File>], from_oldest: bool) -> Result<MergeReport> {
        let start = Instant::now();
        let mut report = MergeReport { files_before: inputs.len() as u64, ..Default::default() };
        let mut ids = Vec::new();
        let merged = self
            .rewrite(inputs, from_oldest, &mut ids, &mut report)
            .and_then(|outputs| outputs.map_or(Ok(false), |o| self.swap(inputs, o, &mut report)));
        match merged {
            Ok(true) => {
                self.files.counters.event(EventKind::Merge, start, report.bytes_written);
                Ok(report)
            }
            Ok(false) => {
                self.files.discard(&ids);
                Ok(MergeReport::default())
            }
            Err(error) => {
                self.files.discard(&ids);
                Err(error)
            }
        }
    }

    /// Steps 2 and 3. None if the store is being closed. The ids of files that were created are in `ids` in any case.
    fn rewrite(
        &self,
        inputs: &[Ended<S::File>],
        from_oldest: bool,
        ids: &mut Vec<FileId>,
        report: &mut MergeReport,
    ) -> Result<Option<Vec<Finished<S::File>>>> {
        let mut finished = Vec::new();
        let mut output: Option<Output<S>> = None;
        for (segment, len) in inputs {
            let mut offset = PREFACE_FRAME_BYTES;
            while offset < *len {
                if self.stopping.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let frame = frame::read(&segment.file, segment.id.0, offset)?;
                let record = Record::decode(frame.payload())
                    .ok_or_else(|| record::not_a_record(&segment.file, offset))?;
                let at = std::mem::replace(&mut offset, frame.end);
                let hash = self.hash(record.key);
                let from = self.files.layout.entry(hash, segment.slot, at);
                let needed = match record.value {
                    Some(_) => self.keydir.contains(hash, from),
                    None => !from_oldest && !self.is_alive(hash, record.key)?,
                };
                if !needed {
                    report.records_reclaimed += 1;
                    continue;
                }
                report.records_kept += 1;
                let bytes = frame.end - at;
                if let Some(full) = output.take_if(|output| {
                    output.log.len() + bytes > self.options.segment_bytes
                        && output.log.len() > PREFACE_FRAME_BYTES
                }) {
                    finished.push(self.finish_output(full, report)?);
                }
                let target = match &mut output {
                    Some(target) => target,
                    None => output.insert(self.create_output(ids)?),
                };
                let value = record.value.unwrap_or_default();
                let offset = target.log.append(&[&record.header(), record.key, value])?;
                target.hints.push(HintEntry::of(&record, hash, offset));
                if record.value.is_some() {
                    target.moves.push(Move { hash, from, offset, frame_bytes: bytes });
                }
            }
        }
        if let Some(last) = output {
            finished.push(self.finish_output(last, report)?);
        }
        self.sync()?;
        self.files.sync_names()?;
        Ok(Some(finished))
    }

    fn create_output(&self, ids: &mut Vec<FileId>) -> Result<Output<S>> {
        let id = self.files.structure().take_id()?;
        let path = FileKind::Data.path(&self.files.dir, id);
        let appender = self.files.storage.create(&path, None)?;
        ids.push(id);
        let mut log = LogWriter::new(appender, id.0);
        log.append(&[&Preface { id, previous: None }.encode()])?;
        Ok(Output { id, log, hints: Vec::new(), moves: Vec::new() })
    }

    fn finish_output(
        &self,
        output: Output<S>,
        report: &mut MergeReport,
    ) -> Result<Finished<S::File>> {
        let Output { id, log, hints, moves } = output;
        let len = log.len();
        let file = log.finish()?;
        let counters = &self.files.counters;
        counters.sync(|| file.sync()).map_err(|error| self.files.poison(error))?;
        counters.merge_bytes.fetch_add(len, Ordering::Relaxed);
        let key = HintKey { id, data_bytes: len, hash_mask: self.options.hash_mask };
        let written = hint::write(&self.files.storage, &self.files.dir, key, &hints, counters);
        if let Err(error @ Error::PowerLost) = written {
            return Err(error);
        }
        let tombstones = hints.iter().filter(|hint| hint.tombstone);
        let tombstone_bytes = tombstones.map(|hint| hint.frame_bytes).sum();
        report.files_after += 1;
        report.bytes_written += len;
        Ok(Finished { id, file, len, tombstone_bytes, moves })
    }

    /// Steps 4 to 6.
    fn swap(
        &self,
        inputs: &[Ended<S::File>],
        outputs: Vec<Finished<S::File>>,
        report: &mut MergeReport,
    ) -> Result<bool> {
        let mut moved = Vec::with_capacity(outputs.len());
        {
            let mut structure = self.files.structure();
            let is_first = |file: &Listed<S::File>| file.segment.id == inputs[0].0.id;
            let at = structure.files.iter().position(is_first).unwrap_or(0);
            let mut files = structure.files.clone();
            files.drain(at..at + inputs.len());
            let mut place = |files: &mut Vec<_>, i: usize, output: Finished<S::File>| {
                let segment = self.files.place(output.id, output.file)?;
                self.files.publish(&segment);
                segment.usage.add_tombstone(output.tombstone_bytes);
                segment.synced.store(true, Ordering::Relaxed);
                let listed = Listed { segment: Arc::clone(&segment), sealed: Some(output.len) };
                files.insert(at + i, listed);
                moved.push((segment, output.moves));
                Ok(())
            };
            let placed: Result<()> =
                outputs.into_iter().enumerate().try_for_each(|(i, o)| place(&mut files, i, o));
            let swapped = placed.and_then(|()| self.files.restructure(&mut structure, files));
            if let Err(error) = swapped {
                let segments: Vec<_> = moved.into_iter().map(|(segment, _)| segment).collect();
                self.files.withdraw(&segments);
                return Err(error);
            }
        }
        self.keydir.before_moves();
        for (segment, moves) in &moved {
            for Move { hash, from, offset, frame_bytes } in moves {
                segment.usage.add(*frame_bytes);
                let to = self.files.layout.entry(*hash, segment.slot, *offset);
                if !self.keydir.replace(*hash, *from, to) {
                    segment.usage.remove(*frame_bytes);
                }
            }
        }
        let (segments, lens): (Vec<_>, Vec<_>) = inputs.iter().cloned().unzip();
        let structure = self.files.structure();
        self.files.withdraw(&segments);
        drop(structure);
        for segment in &segments {
            self.files.remove(segment.id);
        }
        report.bytes_reclaimed = lens.iter().sum::<u64>().saturating_sub(report.bytes_written);
        Ok(true)
    }
}
