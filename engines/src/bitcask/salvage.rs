//! Salvage: what can still be read of a damaged store is written to a new one.
//!
//! 1. The data files are taken in the order of age that the manifest gives. Without a manifest that order is lost, and they are taken by their numbers, which is nearly
//!    the order of age: only files that a merge has written have higher numbers than their records are old.
//! 2. Each is read to its end as the manifest, the next file's preface or, without a manifest, its own hint tells it. Frames that are not whole are passed over (`scan.rs`); those behind
//!    them are kept, though a recovery would give them up if nothing says that they had been synced. A batch without an end is dropped.
//! 3. Of a frame that is not whole the hint may still tell whether it was a tombstone, and of which key: then that key stays deleted.
//! 4. The newest whole value of each key goes to the new store, as it is stored: packed or not, and with its time.
//!
//! Nothing is made up: what is written was once written by a user under this key. It may be older than what was lost, and the report says whether that can be.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::Slot;
use super::hint::HintEntry;
use super::index::Index;
use super::keydir::Keydir;
use super::options::{Background, Options};
use super::record::{PREFACE_FRAME_BYTES, Record};
use super::recovery::{self, LOCK_NAME};
use super::scan::{End, Gap, Piece, Scan, scan};
use super::segment::{FileKind, Segment};
use super::store::Store;
use super::survey::{FileRole, Source, Survey, layout, segments};
use crate::storage::{File, Storage, lock_if_there};
use crate::{Durability, Error, Result};

/// What a salvage has saved and lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SalvageReport {
    /// Data files that were read.
    pub files_read: u64,
    /// Keys with their values in the new store.
    pub records_kept: u64,
    /// Records that were whole and not needed: older values, tombstones, and what they deleted.
    pub records_passed_over: u64,
    /// Records of batches without an end.
    pub batch_records_dropped: u64,
    /// What could not be read.
    pub dropped: Vec<Dropped>,
    /// Bytes behind the last whole frames of files that had not been closed: never whole, as a crash leaves them.
    pub torn_bytes: u64,
    /// Data files that the manifest names and that could not be opened.
    pub files_missing: Vec<PathBuf>,
    /// Files of the engine that are not part of the store, and were left out.
    pub files_ignored: Vec<PathBuf>,
    /// Why the manifest could not be read; then the data files were taken by their numbers.
    pub manifest_lost: Option<String>,
    /// Keys that had been deleted may be there again: what was lost may have held tombstones.
    pub deleted_may_return: bool,
    /// Keys may have an older value than they had: what was lost may have held newer ones.
    pub older_may_return: bool,
}

/// A range of a data file that could not be read; those that touch each other are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The data file.
    pub file: PathBuf,
    /// Of the first byte.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// How many records they were, if the hint tells.
    pub records: Option<u64>,
    /// What was expected and what was found.
    pub reason: String,
}

impl SalvageReport {
    /// Whether nothing was lost but what a crash may take from any store.
    pub fn is_complete(&self) -> bool {
        self.dropped.is_empty() && self.files_missing.is_empty() && self.manifest_lost.is_none()
    }

    /// Notes a range that cannot be read, together with the one before it if they touch.
    fn note<F: File>(&mut self, source: &Source<F>, gap: &Gap, records: Option<u64>) {
        let file = source.file.path();
        if let Some(last) = self.dropped.last_mut()
            && last.file == file
            && last.offset + last.bytes == gap.offset
        {
            last.bytes += gap.len;
            last.records = last.records.zip(records).map(|(before, more)| before + more);
            return;
        }
        self.dropped.push(Dropped {
            file: file.to_owned(),
            offset: gap.offset,
            bytes: gap.len,
            records,
            reason: gap.reason.clone(),
        });
    }
}

/// Writes all that can still be read of the store in the folder `from` to a new one in the folder `to`, which is opened with `options`, made durable and closed. `from` stays as it is, and is locked meanwhile.
///
/// Costs two sequential reads of the store, and memory for its keydir and its open data files.
///
/// # Errors
/// - [`Error::NotAStore`] if `from` holds neither a manifest nor data files.
/// - [`Error::Locked`] if the store is open: close it, or salvage a checkpoint.
/// - [`Error::InvalidOption`] if `to` is not empty, or lies in `from`.
/// - Any error of writing the new store; then what is in `to` is not complete.
pub fn salvage<S: Storage>(
    storage: &S,
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    options: Options,
) -> Result<SalvageReport> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let _lock = lock_if_there(storage, &from.join(LOCK_NAME))?;
    let survey = Survey::of(storage, from)?;
    refuse_target(storage, from, to)?;
    let segments = segments(&survey.sources);
    let layout = layout(&survey.sources)?;
    let index = Index { layout, keydir: Keydir::new(), segments: &segments, hasher: survey.hasher };
    let mut report = SalvageReport::default();
    about_files(&mut report, &survey, from);
    let mut salvager = Salvager { index, report };
    for (slot, source) in survey.sources.iter().enumerate() {
        salvager.gather(slot, source)?;
    }
    let Salvager { index, mut report } = salvager;
    // What is written is durable once the new store is closed; who writes does the background work.
    let durability = Durability::Os;
    let options = Options { durability, background: Background::Inline, ..options };
    let store = recovery::open(storage.clone(), to, options)?;
    for (slot, source) in survey.sources.iter().enumerate() {
        report.records_kept += write(&store, &index, slot, source)?;
    }
    report.records_passed_over -= report.records_kept;
    store.settle()?;
    store.close()?;
    Ok(report)
}

fn refuse_target<S: Storage>(storage: &S, from: &Path, to: &Path) -> Result<()> {
    let refused = |expected| {
        let value = to.display().to_string();
        Err(Error::InvalidOption { name: "to", value, expected })
    };
    if to.starts_with(from) {
        return refused("a folder outside of the store that is salvaged");
    }
    match storage.list(to) {
        Ok(entries) if entries.is_empty() => Ok(()),
        Ok(_) => refused("a folder that is empty or missing"),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(other) => Err(other),
    }
}

/// What the folder alone tells.
fn about_files<F: File>(report: &mut SalvageReport, survey: &Survey<F>, from: &Path) {
    if let Err(lost) = &survey.manifest {
        report.manifest_lost = Some(lost.reason.clone());
    }
    report.files_missing =
        survey.missing.iter().map(|(id, _)| FileKind::Data.path(from, *id)).collect();
    let missing: HashSet<&PathBuf> = report.files_missing.iter().collect();
    let ignored = survey.entries.iter().zip(survey.roles());
    let ignored = ignored.filter(|(_, role)| *role == FileRole::Orphan);
    let ignored = ignored.map(|(entry, _)| from.join(&entry.name));
    report.files_ignored = ignored.filter(|path| !missing.contains(path)).collect();
    let out_of_order = survey.manifest.is_err() && survey.sources.len() > 1;
    let lost = out_of_order || !survey.missing.is_empty();
    (report.deleted_may_return, report.older_may_return) = (lost, lost);
}

struct Salvager<'a, F: File> {
    index: Index<'a, F>,
    report: SalvageReport,
}

impl<F: File> Salvager<'_, F> {
    /// Takes the whole records of a data file in.
    fn gather(&mut self, slot: usize, source: &Source<F>) -> Result<()> {
        let until = source.until();
        let (index, report) = (&mut self.index, &mut self.report);
        let hasher = index.hasher;
        // The part of a batch that has been seen, until its end has. If bytes are lost in the middle of it, what follows them still shows that it had an end.
        let mut batch: Vec<HintEntry> = Vec::new();
        let scan = scan(&source.file, source.id, until, source.hint.valid(), |piece| {
            match piece {
                Piece::Record(found) => {
                    let record = &found.record;
                    let entry = HintEntry::of(record, hasher.fingerprint(record.key), found.offset);
                    if until == End::Open(source.open_end) {
                        batch.push(entry);
                        if !record.continues {
                            for entry in batch.drain(..) {
                                report.records_passed_over += 1;
                                index.apply(slot as Slot, entry)?;
                            }
                        }
                    } else {
                        report.records_passed_over += 1;
                        index.apply(slot as Slot, entry)?;
                    }
                }
                Piece::Gap(gap) => note_lost(report, index, slot, source, gap)?,
            }
            Ok(())
        })?;
        self.report.files_read += 1;
        self.report.batch_records_dropped += batch.len() as u64;
        self.tail(slot, source, &scan, until)
    }

    fn tail(&mut self, slot: usize, source: &Source<F>, scan: &Scan, until: End) -> Result<()> {
        let Some(tail) = &scan.tail else { return Ok(()) };
        match until {
            // A crash leaves such a tail, and only what a frame before it says to have been synced is more than that.
            End::Open(_) if !scan.was_synced(tail.offset) => self.report.torn_bytes += tail.len,
            End::Open(_) => note_lost(&mut self.report, &mut self.index, slot, source, tail)?,
            End::Known(len) => {
                let gap = Gap { len: len - tail.offset, ..tail.clone() };
                note_lost(&mut self.report, &mut self.index, slot, source, &gap)?;
            }
        }
        Ok(())
    }
}

/// Takes account of a range that cannot be read, as far as the hint tells what was there.
fn note_lost<F: File>(
    report: &mut SalvageReport,
    index: &mut Index<'_, F>,
    slot: usize,
    source: &Source<F>,
    gap: &Gap,
) -> Result<()> {
    if gap.offset == 0 && gap.len == PREFACE_FRAME_BYTES {
        report.note(source, gap, source.hint.valid().map(|_| 0));
        return Ok(());
    }
    let known = match source.hint.valid() {
        Some(hint) => hint.find(gap.offset)?,
        None => None,
    };
    report.note(source, gap, known.map(|_| 1));
    match known {
        // The gap is this record: by the hint the next one begins where the gap ends.
        Some(entry) if entry.tombstone => index.apply(slot as Slot, entry)?,
        Some(_) => report.older_may_return = true,
        None => (report.deleted_may_return, report.older_may_return) = (true, true),
    }
    Ok(())
}

/// Writes the values of a data file that no newer record hides, and returns how many.
fn write<S: Storage>(
    store: &Store<S>,
    index: &Index<'_, S::File>,
    slot: usize,
    source: &Source<S::File>,
) -> Result<u64> {
    let mut written = 0;
    let segment: &Arc<Segment<S::File>> = &index.segments[slot];
    scan(&source.file, source.id, source.until(), source.hint.valid(), |piece| {
        let Piece::Record(found) = piece else { return Ok(()) };
        let hash = index.hasher.hash(found.record.key);
        let entry = index.layout.entry(hash, segment.slot, found.offset);
        if found.record.value.is_none() || !index.keydir.contains(hash, entry) {
            return Ok(());
        }
        store.write_value(&Record { continues: false, ..found.record })?;
        written += 1;
        Ok(())
    })?;
    Ok(written)
}
