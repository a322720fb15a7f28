//! Looking a store through from outside: every file, and with [`verify`] every byte.
//!
//! 1. The manifest must be whole as far as anything says that it was synced.
//! 2. Each table that it names must be there, be whole from end to end, and hold what the manifest says (`table/look.rs`).
//! 3. Each file of values that tables point to must be there, and be whole from end to end, and each pointer must lead to a value of its own key.
//! 4. Each log must be whole as far as anything says that it was synced, and go on where the one before it ended, by the rules of a recovery (`recovery.rs`).
//!
//! Damage is noted, and the looking goes on behind it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::Lsm;
use super::files::StoreFile;
use super::findings::{
    Damage, FileRole, LogFigures, LostValues, TableFigures, ValueFigures, VerifiedFile,
    VerifyReport,
};
use super::log_scan::{scan_frames, scan_log};
use super::survey::{FoundLog, FoundTable, FoundValues, Survey};
use super::table::look::{Content, Item, Visit, look_through};
use super::value_log::format::Record;
use super::value_log::{check_header, uncompressed};
use super::wal::{self, Kind};
use crate::storage::{File, Storage};
use crate::{Error, Result};

/// How often a folder is looked through that changes meanwhile, before what seems wrong is taken for damage.
const ATTEMPTS: usize = 5;

/// Reads every byte of the store in the folder `dir`, and says what is in it and what is damaged. Takes no lock and changes nothing; the store may be open, in this process or another. Of a
/// store that compacts all the time, tables may go before they are read: [`Lsm::verify`] keeps them.
///
/// Costs a sequential read of the store, another one of each value in the value log, and memory for its logs.
///
/// # Errors
/// - [`Error::NotAStore`] if the folder holds no LSM tree, or one of a version that this build does not know.
/// - [`Error::Io`] if the folder or the manifest cannot be read. What can be read and is wrong is no error: see [`VerifyReport::damage`].
pub fn verify<S: Storage>(storage: &S, dir: impl AsRef<Path>) -> Result<VerifyReport> {
    look(storage, dir.as_ref(), true)
}

/// As [`verify`], without the data blocks of tables. Costs a read of the logs, and of footer, filter, index and properties of each table.
///
/// # Errors
/// As [`verify`].
pub fn inspect<S: Storage>(storage: &S, dir: impl AsRef<Path>) -> Result<VerifyReport> {
    look(storage, dir.as_ref(), false)
}

impl<S: Storage> Lsm<S> {
    /// Reads every byte of the store while it goes on working, and says what is in it and what is damaged; see [`verify()`]. Once compactions that are under way have ended, flushes and compactions wait while the files are opened and the logs
    /// copied, and then go on: what they remove stays readable until it has been read.
    ///
    /// # Errors
    /// As [`verify()`].
    pub fn verify(&self) -> Result<VerifyReport> {
        // Tables stay, and logs.
        let survey = self.core.while_nothing_compacts(|| {
            let _flushing = self.core.flushing.lock();
            Survey::of(&self.core.storage, &self.core.dir)
        });
        report(&survey?, true)
    }
}

fn look<S: Storage>(storage: &S, dir: &Path, every_byte: bool) -> Result<VerifyReport> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let survey = match Survey::of(storage, dir) {
            // A manifest that gave way to the next one before it was read.
            Err(Error::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound
                    && attempts < ATTEMPTS
                    && storage.list(dir).is_ok() =>
            {
                continue;
            }
            outcome => outcome?,
        };
        let report = report(&survey, every_byte)?;
        let is_well = report.is_complete();
        if is_well || attempts == ATTEMPTS || !survey.is_outdated(storage).unwrap_or(true) {
            return Ok(report);
        }
    }
}

fn report<F: File>(survey: &Survey<F>, every_byte: bool) -> Result<VerifyReport> {
    let mut verifier = Verifier { survey, every_byte, damage: Vec::new(), files: files_of(survey) };
    if let Some(Error::Corrupt { file, offset, reason }) = &survey.unreadable {
        verifier.note(file.clone(), *offset, reason.clone());
    }
    for values in &survey.values {
        verifier.values(values)?;
    }
    for table in &survey.tables {
        verifier.table(table)?;
    }
    for log in &survey.logs {
        verifier.log(log)?;
    }
    if survey.is_listed() && survey.unreadable.is_none() {
        verifier.judge_logs()?;
    }
    let Verifier { damage, files, .. } = verifier;
    Ok(VerifyReport { files, damage, every_byte })
}

/// The files of the folder, and behind them those that are missing; without what is in them.
fn files_of<F: File>(survey: &Survey<F>) -> Vec<VerifiedFile> {
    let file = |name: String, role, bytes| {
        let torn_bytes = if role == FileRole::Manifest { survey.manifest_torn_bytes } else { 0 };
        VerifiedFile { name, role, bytes, torn_bytes, table: None, log: None, values: None }
    };
    let is_there = |name: &String| survey.entries.iter().any(|entry| entry.name == *name);
    let tables = survey.tables.iter().map(|table| StoreFile::Table(table.number));
    let logs = survey.logs.iter().map(|log| StoreFile::Log(log.number));
    let values = survey.values.iter().map(|values| StoreFile::Values(values.number));
    let missing =
        tables.chain(logs).chain(values).map(StoreFile::name).filter(|name| !is_there(name));
    let there = survey.entries.iter();
    let there = there.map(|entry| file(entry.name.clone(), survey.role(entry), entry.len));
    there.chain(missing.map(|name| file(name, FileRole::Missing, 0))).collect()
}

struct Verifier<'a, F> {
    survey: &'a Survey<F>,
    every_byte: bool,
    files: Vec<VerifiedFile>,
    damage: Vec<Damage>,
}

impl<F: File> Verifier<'_, F> {
    fn note(&mut self, file: PathBuf, offset: u64, reason: String) {
        self.damage.push(Damage { file, offset, reason });
    }

    fn file(&mut self, file: StoreFile) -> Option<&mut VerifiedFile> {
        let name = file.name();
        self.files.iter_mut().find(|file| file.name == name)
    }

    fn table(&mut self, table: &FoundTable<F>) -> Result<()> {
        let name = StoreFile::Table(table.number);
        let path = name.path(&self.survey.dir);
        let file = match &table.file {
            Ok(file) => file,
            Err(reason) => {
                self.note(path, 0, reason.clone());
                return Ok(());
            }
        };
        let mut damage = Vec::new();
        let mut note = |offset, reason| damage.push((offset, reason));
        let (survey, mut lost) = (self.survey, LostValues::default());
        let mut pass = |item: Item<'_>| -> Result<ControlFlow<()>> {
            if let Content::Pointer(pointer) = item.content {
                match survey.value(item.key, pointer, |_| ()) {
                    Err(Error::Corrupt { file, offset, reason }) => {
                        lost.add(file, offset, reason);
                    }
                    other => other?,
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        let visit: Option<&mut Visit<'_>> = if self.every_byte { Some(&mut pass) } else { None };
        let meta = table.known.as_ref().map(|(_, meta)| meta);
        let figures = look_through(file, table.number, meta, visit, &mut note)?.figures;
        for (offset, reason) in damage {
            self.note(path.clone(), offset, reason);
        }
        // What is damaged has been found where it lies.
        let lost = lost.without(&self.damage);
        self.damage.extend(lost.told(name).map(|(_, damage)| damage));
        let level = table.known.as_ref().map(|(level, _)| *level);
        if let Some(found) = self.file(name) {
            found.table = figures.map(|figures| TableFigures { level, ..figures });
        }
        Ok(())
    }

    fn values(&mut self, values: &FoundValues<F>) -> Result<()> {
        let name = StoreFile::Values(values.number);
        let path = name.path(&self.survey.dir);
        let file = match &values.file {
            Ok(file) => file,
            Err(reason) => {
                self.note(path, 0, reason.clone());
                return Ok(());
            }
        };
        let known_bytes = values.known.map(|known| known.bytes);
        let mut damage = Vec::new();
        match check_header(file, values.number, known_bytes) {
            Err(Error::Corrupt { offset, reason, .. }) => damage.push((offset, reason)),
            other => other?,
        }
        let mut count = 0;
        if self.every_byte {
            let scan = scan_frames(file, values.number, Some(file.len()), |write| {
                if write.offset > 0 {
                    let record = Record::decode(write.payload);
                    let is_whole = record.and_then(|record| uncompressed(&record, |_| ()));
                    if is_whole.is_none() {
                        let reason = "the checksum is right, but this is no value".to_owned();
                        damage.push((write.offset, reason));
                    }
                    count += 1;
                }
                Ok(())
            })?;
            damage.extend(scan.gaps.into_iter().map(|gap| (gap.offset, gap.reason)));
        }
        damage.dedup_by_key(|(offset, _)| *offset);
        for (offset, reason) in damage {
            self.note(path.clone(), offset, reason);
        }
        let figures = ValueFigures {
            number: values.number,
            file_bytes: file.len(),
            live_bytes: values.known.map(|known| known.live_bytes),
            values: self.every_byte.then_some(count),
        };
        if let Some(found) = self.file(name) {
            found.values = Some(figures);
        }
        Ok(())
    }

    fn log(&mut self, log: &FoundLog<F>) -> Result<()> {
        let name = StoreFile::Log(log.number);
        let path = name.path(&self.survey.dir);
        let file = match &log.file {
            Ok(file) => file,
            Err(reason) => {
                self.note(path, 0, reason.clone());
                return Ok(());
            }
        };
        let mut figures = LogFigures {
            number: log.number,
            closed: log.closed.is_some(),
            ..LogFigures::default()
        };
        let mut damage = Vec::new();
        let scan = scan_log(file, log.number, log.closed, |write| {
            if write.behind_gap {
                figures.writes_behind_tear += 1;
                return Ok(());
            }
            figures.writes += 1;
            let corrupt = |reason: &str| Error::corrupt(&path, write.offset, reason);
            let counted = wal::operations(write.payload, corrupt, |_, operation| {
                let of_kind = match operation.kind() {
                    Kind::Delete => &mut figures.deletions,
                    Kind::DeleteRange => &mut figures.range_deletions,
                    // A log has no pointers: that is refused before.
                    Kind::Put | Kind::PutExpiring | Kind::Pointer | Kind::PointerExpiring => {
                        figures.expiring += u64::from(operation.kind() == Kind::PutExpiring);
                        &mut figures.values
                    }
                };
                *of_kind += 1;
                Ok(())
            });
            if let Err(Error::Corrupt { offset, reason, .. }) = counted {
                damage.push((offset, reason));
            }
            Ok(())
        })?;
        figures.used_bytes = scan.used_bytes;
        figures.first_sequence = scan.header.map(|header| header.sequence);
        let mut torn_bytes = 0;
        for gap in &scan.gaps {
            if scan.was_synced(gap, log.closed) {
                damage.push((gap.offset, gap.reason.clone()));
            } else if !log.grows {
                torn_bytes = scan.torn_bytes();
            }
        }
        for (offset, reason) in damage {
            self.note(path.clone(), offset, reason);
        }
        if let Some(found) = self.file(name) {
            (found.log, found.torn_bytes) = (Some(figures), torn_bytes);
        }
        Ok(())
    }

    /// Lets a recovery say whether the logs go on where they should; what it finds in a file of which damage is known is known.
    fn judge_logs(&mut self) -> Result<()> {
        match self.survey.judge_logs() {
            Err(Error::Corrupt { file, offset, reason }) => {
                if self.damage.iter().all(|damage| damage.file != file) {
                    self.note(file, offset, reason);
                }
                Ok(())
            }
            other => other,
        }
    }
}
