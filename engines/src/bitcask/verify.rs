//! Looking a store through from outside: every file, and with [`verify`] every byte.
//!
//! 1. Sealed files must be frames from end to end, each of them a record, compressed values among them whole; their hints must say the same, record for record.
//! 2. Open files end where their frames end, by the rules of a recovery (`recovery.rs`): what is missing at their end is no damage unless something says that it had been synced.
//! 3. What is found goes into a keydir. From this comes what is live and what is dead; the keydir that a close wrote down must say the same.
//!
//! Damage is noted, and the looking goes on behind it.

use std::path::{Path, PathBuf};

use super::entry::{Entry, Slot};
use super::findings::{Damage, DataFigures, VerifiedFile, VerifyReport};
use super::hint::{Hint, HintEntry};
use super::index::Index;
use super::keydir::{Keydir, SHARDS};
use super::keydir_file::{self, KEYDIR_NAME, Written};
use super::manifest::{MANIFEST_NAME, Manifest};
use super::record::{PREFACE_FRAME_BYTES, Record};
use super::scan::{End, Piece, Scan, joined, scan};
use super::segment::{FileId, FileKind, NEVER};
use super::survey::{FileRole, FoundHint, Source, Survey, layout, segments};
use crate::Result;
use crate::storage::{File, Storage};

/// How often a folder is looked through that changes meanwhile, before what seems wrong is taken for damage.
const ATTEMPTS: usize = 3;
/// Differences between the written keydir and the data that are told one by one.
const DIFFERENCES_MAX: usize = 8;

/// Reads every byte of the store in the folder `dir`, and says what is in it and what is damaged. Takes no lock and changes nothing; the store may be open, in this process or another.
///
/// Costs a sequential read of the store, and memory for its keydir and its open data files.
///
/// # Errors
/// - [`crate::Error::NotAStore`] if the folder holds no Bitcask, or one of a version that this build does not know.
/// - [`crate::Error::Io`] if the folder or a file cannot be read. What can be read and is wrong is no error: see [`VerifyReport::damage`].
pub fn verify<S: Storage>(storage: &S, dir: impl AsRef<Path>) -> Result<VerifyReport> {
    look_through(storage, dir.as_ref(), true)
}

/// As [`verify`], but hints stand for the sealed data files that have one. Costs a read of the hints and of the data files without.
///
/// # Errors
/// As [`verify`].
pub fn inspect<S: Storage>(storage: &S, dir: impl AsRef<Path>) -> Result<VerifyReport> {
    look_through(storage, dir.as_ref(), false)
}

fn look_through<S: Storage>(storage: &S, dir: &Path, every_byte: bool) -> Result<VerifyReport> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let survey = Survey::of(storage, dir)?;
        let report = report(&survey, dir, every_byte)?;
        let is_well = report.damage.is_empty() && report.torn_off().next().is_none();
        let settled = is_well || attempts == ATTEMPTS;
        if settled || !survey.is_outdated(storage, dir)? {
            return Ok(report);
        }
    }
}

fn report<F: File>(survey: &Survey<F>, dir: &Path, every_byte: bool) -> Result<VerifyReport> {
    let layout = layout(&survey.sources)?;
    let segments = segments(&survey.sources);
    let index = Index { layout, keydir: Keydir::new(), segments: &segments, hasher: survey.hasher };
    let figures = vec![DataFigures::default(); segments.len()];
    let mut verifier = Verifier { survey, dir, index, figures, damage: Vec::new(), every_byte };
    if let Err(unreadable) = &survey.manifest {
        let path = dir.join(MANIFEST_NAME);
        verifier.note(path, unreadable.offset, unreadable.reason.clone());
    }
    for (id, reason) in &survey.missing {
        verifier.note(FileKind::Data.path(dir, *id), 0, reason.clone());
    }
    verifier.data()?;
    for (slot, (source, segment)) in survey.sources.iter().zip(&segments).enumerate() {
        let figures = &mut verifier.figures[slot];
        figures.id = source.id.0;
        figures.age_rank = slot as u64;
        figures.has_hint = source.hint.valid().is_some();
        figures.live_records = segment.usage.live_records();
        figures.live_bytes = segment.usage.live_bytes();
        figures.gone_by_ms = Some(segment.usage.gone_by_ms()).filter(|ms| *ms != NEVER && *ms > 0);
        let needed = PREFACE_FRAME_BYTES + figures.live_bytes + figures.tombstone_bytes;
        figures.dead_bytes = figures.used_bytes.saturating_sub(needed);
    }
    verifier.keydir()?;
    Ok(verifier.finish())
}

struct Verifier<'a, F: File> {
    survey: &'a Survey<F>,
    dir: &'a Path,
    index: Index<'a, F>,
    /// By slot.
    figures: Vec<DataFigures>,
    damage: Vec<Damage>,
    every_byte: bool,
}

/// The last file that is part of the store so far.
#[derive(Clone, Copy)]
struct Last {
    id: FileId,
    len: u64,
    is_open: bool,
}

/// Whole records of an open file. One that is part of a batch counts once the batch has its end.
#[derive(Default)]
struct WholeRecords {
    all: u64,
    behind_gap: u64,
    /// Of the batch under way.
    batch: (u64, u64),
    gap_seen: bool,
}

impl WholeRecords {
    fn add(&mut self, piece: &Piece<'_>) {
        let Piece::Record(found) = piece else {
            self.gap_seen = true;
            return;
        };
        self.batch.0 += 1;
        self.batch.1 += u64::from(self.gap_seen);
        if !found.record.continues {
            let (all, behind_gap) = std::mem::take(&mut self.batch);
            self.all += all;
            self.behind_gap += behind_gap;
        }
    }
}

impl<F: File> Verifier<'_, F> {
    fn note(&mut self, file: PathBuf, offset: u64, reason: String) {
        self.damage.push(Damage { file, offset, reason, is_rebuilt: false });
    }

    /// Damage of an aid that an open does not take for whole either.
    fn note_aid(&mut self, file: PathBuf, reason: String) {
        self.damage.push(Damage { file, offset: 0, reason, is_rebuilt: true });
    }

    /// Looks through all data files, oldest first.
    fn data(&mut self) -> Result<()> {
        let mut last: Option<Last> = None;
        let mut given_up = false;
        for (slot, source) in self.survey.sources.iter().enumerate() {
            // Without a manifest it cannot be told which files follow each other.
            let chained = self.survey.manifest.is_ok();
            if let Some(len) = source.sealed.or(source.chained.filter(|_| !chained)) {
                self.sealed(slot, source, len)?;
                last = Some(Last { id: source.id, len, is_open: false });
                continue;
            }
            let before = last.filter(|last| chained && last.is_open);
            let follows = |last: Last| {
                source.preface.is_some_and(|found| found.previous == Some((last.id, last.len)))
            };
            given_up |= before.is_some_and(|last| !follows(last));
            let was_open = self.open(slot, source, last, &mut given_up)?;
            last = was_open.or(last);
        }
        Ok(())
    }

    fn sealed(&mut self, slot: usize, source: &Source<F>, len: u64) -> Result<()> {
        if let FoundHint::Damaged(reason) = &source.hint {
            self.note_aid(FileKind::Hint.path(self.dir, source.id), reason.clone());
        }
        let figures = &mut self.figures[slot];
        figures.used_bytes = len;
        // Of a file that is too short the hint tells more than there is.
        if !self.every_byte
            && source.file.len() >= len
            && let Some(hint) = source.hint.valid()
        {
            self.index.segments[slot].set_hint(hint.clone());
            self.index.segments[slot].usage.lasts_until(Some(hint.gone_by_ms));
            for number in 0..hint.len() {
                let entry = hint.get(number)?;
                figures.add_entry(&entry);
                self.index.apply(slot as Slot, entry)?;
            }
            return Ok(());
        }
        figures.will_be_read();
        let hint = source.hint.valid();
        let (index, hasher) = (&mut self.index, self.survey.hasher);
        let (mut odd_padding, mut differing) = (Vec::new(), Vec::new());
        let scan = scan(&source.file, source.id, End::Known(len), hint, |piece| {
            let Piece::Record(found) = piece else { return Ok(()) };
            odd_padding.extend((!found.clean_padding).then_some(found.offset));
            let entry =
                HintEntry::of(&found.record, hasher.fingerprint(found.record.key), found.offset);
            if let Some(hint) = hint
                && hint.find(found.offset)? != Some(entry)
            {
                differing.push(found.offset);
            }
            figures.add(&found);
            take_in(index, slot, &found.record, entry)
        })?;
        let data = source.file.path().to_owned();
        for gap in joined(scan.lost(len), hint.is_some()) {
            self.note(data.clone(), gap.offset, gap.reason);
        }
        self.note_padding(&data, &scan, odd_padding);
        if let Some(hint) = hint {
            self.hint(slot, source, hint, differing, &scan);
        }
        Ok(())
    }

    fn note_padding(&mut self, data: &Path, scan: &Scan, odd_padding: Vec<u64>) {
        let preface = (!scan.clean_preface).then_some(0);
        for offset in preface.into_iter().chain(odd_padding) {
            let reason = "the record is whole, but the bytes that fill its frame up are not zeros";
            self.note(data.to_owned(), offset, reason.to_owned());
        }
    }

    /// What a hint says must be what was found.
    fn hint(
        &mut self,
        slot: usize,
        source: &Source<F>,
        hint: &Hint<F>,
        differing: Vec<u64>,
        scan: &Scan,
    ) {
        let path = FileKind::Hint.path(self.dir, source.id);
        for offset in differing {
            let number = (0..hint.len())
                .find(|number| hint.get(*number).is_ok_and(|entry| entry.offset >= offset));
            let at = Hint::<F>::offset_of(number.unwrap_or(hint.len()));
            let reason = format!(
                "the hint does not say what the record at byte {offset} of its data file is"
            );
            self.note(path.clone(), at, reason);
        }
        let figures = &self.figures[slot];
        let is_whole = scan.gaps.is_empty() && scan.tail.is_none();
        if is_whole && hint.len() as u64 != figures.records {
            let reason =
                format!("{} records, but the data file has {}", hint.len(), figures.records);
            self.note(path.clone(), 0, reason);
        }
        let gone_by_ms = self.index.segments[slot].usage.gone_by_ms();
        if is_whole && hint.gone_by_ms != gone_by_ms {
            let reason = format!(
                "all values are gone at {}, but by the data at {gone_by_ms}",
                hint.gone_by_ms
            );
            self.note(path, 0, reason);
        }
    }

    /// Looks through an open file. Returns None if it is not part of the store, or not any more.
    fn open(
        &mut self,
        slot: usize,
        source: &Source<F>,
        last: Option<Last>,
        given_up: &mut bool,
    ) -> Result<Option<Last>> {
        let data = source.file.path().to_owned();
        let whole = End::Open(source.open_end);
        let mut behind = WholeRecords::default();
        let found = scan(&source.file, source.id, whole, None, |piece| {
            behind.add(&piece);
            Ok(())
        })?;
        let torn_at = found.torn_at();
        let damaged = found.unreadable().next().is_some_and(|gap| found.is_damage(gap));
        *given_up |= source.preface.is_none() && !damaged;
        if *given_up {
            if found.watermark > 0
                && let Some(last) = last
            {
                let reason = format!(
                    "records are missing from here on, which had been synced when file {} was written",
                    source.id
                );
                self.note(FileKind::Data.path(self.dir, last.id), last.len, reason);
            } else {
                self.figures[slot].records_behind_tear = behind.all;
            }
            let written = found.tail.as_ref().map_or(0, |tail| tail.len);
            self.figures[slot].torn_bytes = found.end + written;
            return Ok(None);
        }
        for gap in found.unreadable().filter(|gap| found.is_damage(gap)) {
            self.note(data.clone(), gap.offset, gap.reason.clone());
        }
        let until = if damaged { whole } else { End::Open(torn_at) };
        let end = if damaged { found.end } else { torn_at };
        let (len, odd_padding) = self.take_in_open(slot, source, until, end)?;
        self.note_padding(&data, &found, odd_padding);
        if len < end && found.was_synced(len) {
            let reason = "a batch begins here that had been synced, but its end is missing";
            self.note(data, len, reason.to_owned());
        }
        let written = found.tail.as_ref().map_or(found.end, |tail| tail.offset + tail.len);
        self.figures[slot].used_bytes = len;
        self.figures[slot].torn_bytes = written.max(found.end) - len;
        // If the next file follows where this one is torn, an earlier open has dropped what is behind it.
        let is_kept = !damaged && source.chained != Some(len);
        self.figures[slot].records_behind_tear = if is_kept { behind.behind_gap } else { 0 };
        Ok(Some(Last { id: source.id, len, is_open: true }))
    }

    /// Takes the records of an open file in, batches as a whole. Returns where the last whole batch ends, and frames with bytes where zeros should be.
    fn take_in_open(
        &mut self,
        slot: usize,
        source: &Source<F>,
        until: End,
        end: u64,
    ) -> Result<(u64, Vec<u64>)> {
        let hasher = self.survey.hasher;
        let (index, figures) = (&mut self.index, &mut self.figures[slot]);
        figures.will_be_read();
        let mut odd_padding = Vec::new();
        // The part of a batch that has been seen, until its end has.
        let mut batch: Vec<(HintEntry, DataFigures)> = Vec::new();
        scan(&source.file, source.id, until, None, |piece| {
            let Piece::Record(found) = piece else { return Ok(()) };
            odd_padding.extend((!found.clean_padding).then_some(found.offset));
            let entry =
                HintEntry::of(&found.record, hasher.fingerprint(found.record.key), found.offset);
            note_expiry(index, slot, &found.record);
            let mut added = DataFigures::default();
            added.add(&found);
            batch.push((entry, added));
            if found.record.continues {
                return Ok(());
            }
            batch.drain(..).try_for_each(|(entry, added)| {
                figures.join(&added);
                index.apply(slot as Slot, entry)
            })
        })?;
        Ok((batch.first().map_or(end, |(first, _)| first.offset), odd_padding))
    }

    /// The keydir that was written down must be that of the data.
    fn keydir(&mut self) -> Result<()> {
        let Some(found) = &self.survey.keydir else { return Ok(()) };
        let path = self.dir.join(KEYDIR_NAME);
        let Some(checksum) = found.manifest_checksum else {
            let reason = "this is no whole keydir, by its magic, version or checksum";
            self.note_aid(path, reason.to_owned());
            return Ok(());
        };
        // With a damaged manifest or data it can neither be used nor judged.
        let Ok(manifest) = &self.survey.manifest else { return Ok(()) };
        if !self.every_byte || checksum != manifest.checksum() || !self.damage.is_empty() {
            return Ok(());
        }
        let (layout, hasher) = (self.index.layout, self.survey.hasher);
        if let Some(written) = keydir_file::load(&found.file, manifest, hasher, layout)? {
            self.compare(&path, manifest, &written);
        } else {
            let reason = "the checksum is right, but its entries cannot be";
            self.note_aid(path, reason.to_owned());
        }
        Ok(())
    }

    fn compare(&mut self, path: &Path, manifest: &Manifest, written: &Written) {
        for (slot, usage) in written.usages.iter().enumerate() {
            let segment = &self.index.segments[slot];
            let found = &segment.usage;
            let told = (usage.live_records, usage.live_bytes, usage.tombstone_bytes);
            let counted =
                (found.live_records(), found.live_bytes(), self.figures[slot].tombstone_bytes);
            // The time may be later than it need be: that of a value that a torn batch has taken along.
            if told != counted || usage.gone_by_ms < found.gone_by_ms() {
                let reason = format!(
                    "of file {} it says {told:?} (live records, their bytes, bytes of tombstones), gone at {}; the data says {counted:?}, gone at {}",
                    segment.id,
                    usage.gone_by_ms,
                    found.gone_by_ms()
                );
                self.note(path.to_owned(), keydir_file::usage_offset(slot), reason);
            }
        }
        let mut differences = Vec::new();
        for shard in 0..SHARDS {
            let entries = |keydir: &Keydir| {
                let mut entries: Vec<Entry> = keydir.table(shard).iter().collect();
                entries.sort_unstable_by_key(|entry| entry.to_bits());
                entries
            };
            let (told, counted) = (entries(&written.keydir), entries(&self.index.keydir));
            let only = |one: &[Entry], other: &[Entry]| -> Vec<Entry> {
                let is_there = |entry: &&Entry| {
                    other.binary_search_by_key(&entry.to_bits(), |other| other.to_bits()).is_ok()
                };
                one.iter().filter(|entry| !is_there(entry)).copied().collect()
            };
            differences.extend(only(&told, &counted).into_iter().map(|entry| (entry, true)));
            differences.extend(only(&counted, &told).into_iter().map(|entry| (entry, false)));
        }
        for (entry, is_extra) in differences.iter().take(DIFFERENCES_MAX) {
            let (slot, offset) = self.index.layout.place(*entry);
            let id = manifest.files[slot as usize].id;
            let what = if *is_extra { "an entry points at" } else { "no entry points at" };
            let which = if *is_extra {
                "where no live record with its tag is"
            } else {
                "where a live record is"
            };
            self.note(path.to_owned(), 0, format!("{what} byte {offset} of file {id}, {which}"));
        }
        if let Some(more) = differences.len().checked_sub(DIFFERENCES_MAX + 1) {
            self.note(
                path.to_owned(),
                0,
                format!("{} more entries differ from the data", more + 1),
            );
        }
    }

    fn finish(self) -> VerifyReport {
        let Self { survey, dir, index, figures, damage, every_byte } = self;
        let by_name = |name: &str| {
            let is = |source: &Source<F>| FileKind::Data.path(dir, source.id).ends_with(name);
            survey.sources.iter().position(is).map(|slot| figures[slot])
        };
        let mut files: Vec<_> = survey
            .entries
            .iter()
            .zip(survey.roles())
            .map(|(entry, role)| {
                let is_data = matches!(role, FileRole::Sealed | FileRole::Open);
                let data = if is_data { by_name(&entry.name) } else { None };
                VerifiedFile { name: entry.name.clone(), role, bytes: entry.len, data }
            })
            .collect();
        for (id, _) in &survey.missing {
            let path = FileKind::Data.path(dir, *id);
            let name = path
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            if !files.iter().any(|file| file.name == name) {
                files.push(VerifiedFile { name, role: FileRole::Missing, bytes: 0, data: None });
            }
        }
        VerifyReport { files, keys: index.keydir.len() as u64, damage, every_byte }
    }
}

fn note_expiry<F: File>(index: &Index<'_, F>, slot: usize, record: &Record<'_>) {
    if let Some(value) = &record.value {
        index.segments[slot].usage.lasts_until(value.expires_ms);
    }
}

/// Takes a record into the keydir.
fn take_in<F: File>(
    index: &mut Index<'_, F>,
    slot: usize,
    record: &Record<'_>,
    entry: HintEntry,
) -> Result<()> {
    note_expiry(index, slot, record);
    index.apply(slot as Slot, entry)
}
