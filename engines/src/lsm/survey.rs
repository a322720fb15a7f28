//! A store as it is found from outside, without a lock: what the manifest says, what there is of it, and what else lies in the folder.
//!
//! Manifest and logs are copied into memory, since another process may be writing to them. Tables and files of values do not change; they are mapped, and stay readable if somebody removes them meanwhile.

use std::path::{Path, PathBuf};

use super::files::{FileNumber, StoreFile};
use super::findings::FileRole;
use super::log_scan::{LogScan, Write, scan_log};
use super::manifest::{self, State, ValueFileState};
use super::recovery::{self, Files, Mode};
use super::table::{TableMeta, look};
use super::value_log::{Pointer, read_value};
use crate::storage::{DirEntry, File, Storage};
use crate::{Error, Result};

/// How often a log is copied anew that grows while it is copied.
const COPIES: usize = 5;

/// See the module's header.
pub(crate) struct Survey<F> {
    pub(crate) dir: PathBuf,
    /// The folder, sorted by name.
    pub(crate) entries: Vec<DirEntry>,
    pub(crate) files: Files,
    /// The manifest that counts.
    pub(crate) manifest: Option<FileNumber>,
    /// Bytes of it that are whole.
    manifest_bytes: u64,
    /// Bytes at its end that are not whole.
    pub(crate) manifest_torn_bytes: u64,
    /// What the manifest says; if it is damaged, as far as it can be read.
    pub(crate) state: State,
    /// Why the manifest does not count, or not to its end.
    pub(crate) unreadable: Option<Error>,
    /// The tables of the store, level 0 first, each level in its order; without a manifest, all that there are, by number.
    pub(crate) tables: Vec<FoundTable<F>>,
    /// The logs of the store, oldest first.
    pub(crate) logs: Vec<FoundLog<F>>,
    /// The files of values of the store, in the order of their numbers; without a manifest, all that there are.
    pub(crate) values: Vec<FoundValues<F>>,
}

/// A file of values of the store.
pub(crate) struct FoundValues<F> {
    pub(crate) number: FileNumber,
    /// What the manifest says of it.
    pub(crate) known: Option<ValueFileState>,
    /// Or why it cannot be read.
    pub(crate) file: Result<F, String>,
}

/// A table of the store.
pub(crate) struct FoundTable<F> {
    pub(crate) number: FileNumber,
    /// Level and metadata by the manifest.
    pub(crate) known: Option<(usize, TableMeta)>,
    /// Or why it cannot be read.
    pub(crate) file: Result<F, String>,
}

impl<F: File> FoundTable<F> {
    /// What the table says about itself.
    fn own_meta(&self) -> Option<TableMeta> {
        let file = self.file.as_ref().ok()?;
        look::own_meta(file, self.number)
    }
}

/// A log of the store.
pub(crate) struct FoundLog<F> {
    pub(crate) number: FileNumber,
    /// Its length, if the manifest says so.
    pub(crate) closed: Option<u64>,
    /// A copy of it, or why it cannot be read.
    pub(crate) file: Result<F, String>,
    /// It grew while it was copied: what is not whole at its end is a write under way.
    pub(crate) grows: bool,
}

impl<F: File> Survey<F> {
    /// Looks at the folder `dir`.
    ///
    /// # Errors
    /// [`Error::NotAStore`] if it holds no manifest, no log and no table, or if the manifest is of another version.
    pub(crate) fn of<S: Storage<File = F>>(storage: &S, dir: &Path) -> Result<Self> {
        let entries = storage.list(dir)?;
        let files = Files::among(&entries);
        if files.manifests.is_empty() && !files.any_data() {
            let reason = "it holds no manifest, no log and no table of one".to_owned();
            return Err(Error::NotAStore { path: dir.to_owned(), reason });
        }
        let mut survey = Self {
            dir: dir.to_owned(),
            entries,
            files,
            manifest: None,
            manifest_bytes: 0,
            manifest_torn_bytes: 0,
            state: State::default(),
            unreadable: None,
            tables: Vec::new(),
            logs: Vec::new(),
            values: Vec::new(),
        };
        survey.read_manifest(storage)?;
        survey.find_tables(storage)?;
        survey.find_logs(storage)?;
        survey.find_values(storage)?;
        if survey.unreadable.is_some() {
            // As far as it can be read, it is of a time long past.
            survey.take_all(storage)?;
        } else {
            survey.doubt_manifest();
        }
        Ok(survey)
    }

    /// A manifest that has lost its end names tables that have gone since, and not those that have come.
    fn doubt_manifest(&mut self) {
        let any_missing = self.tables.iter().any(|table| !self.has_table(table.number));
        if any_missing && self.any_unnamed() {
            let evidence =
                "tables that it names are missing, and others are there that it does not name";
            self.distrust_manifest(evidence);
        }
    }

    fn distrust_manifest(&mut self, evidence: &str) {
        let Some(number) = self.manifest else { return };
        let path = StoreFile::Manifest(number).path(&self.dir);
        let reason = format!("its end seems to be lost: {evidence}");
        self.unreadable = Some(Error::corrupt(&path, self.manifest_bytes, &reason));
    }

    /// Doubts the manifest if logs do not go on where it says that the tables end, while there are tables that it does not name.
    pub(crate) fn doubt_by_logs(&mut self) -> Result<()> {
        if self.unreadable.is_some() || !self.any_unnamed() {
            return Ok(());
        }
        match self.judge_logs() {
            Err(Error::Corrupt { file, reason, .. }) => {
                self.distrust_manifest(&format!("{}: {reason}", file.display()));
                Ok(())
            }
            other => other,
        }
    }

    /// What a recovery of the logs comes to: whether they go on where they should.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if they do not.
    pub(crate) fn judge_logs(&self) -> Result<()> {
        let judged = recovery::recover_logs(&self.dir, &self.state, &self.files, |path| {
            let is_this = |log: &&FoundLog<F>| path == StoreFile::Log(log.number).path(&self.dir);
            match self.logs.iter().find(is_this).map(|log| &log.file) {
                Some(Ok(file)) => Ok(file.clone()),
                Some(Err(reason)) => Err(Error::corrupt(path, 0, reason.clone())),
                None => Err(Error::corrupt(path, 0, "this log was not there a moment ago")),
            }
        });
        judged.map(drop)
    }

    /// Whether there are tables that the manifest does not name.
    fn any_unnamed(&self) -> bool {
        let named = |number| self.tables.iter().any(|table| table.number == number);
        self.files.tables.iter().any(|number| !named(*number))
    }

    fn has_table(&self, number: FileNumber) -> bool {
        self.files.tables.binary_search(&number).is_ok()
    }

    /// Calls `visit` with the value of `key` that a table points to.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it cannot be read.
    pub(crate) fn value<R>(
        &self,
        key: &[u8],
        pointer: Pointer,
        visit: impl FnOnce(&[u8]) -> R,
    ) -> Result<R> {
        let found = self.values.binary_search_by_key(&pointer.file, |values| values.number);
        if let Ok(at) = found
            && let Ok(file) = &self.values[at].file
        {
            return read_value(file, pointer, key, visit);
        }
        let path = StoreFile::Values(pointer.file).path(&self.dir);
        Err(Error::corrupt(&path, 0, "tables point to this file, which cannot be read"))
    }

    /// Whether tables and logs are known by the manifest; else they are what the folder holds.
    pub(crate) fn is_listed(&self) -> bool {
        self.manifest.is_some()
    }

    fn read_manifest<S: Storage<File = F>>(&mut self, storage: &S) -> Result<()> {
        for number in self.files.manifests.iter().rev().copied() {
            let path = StoreFile::Manifest(number).path(&self.dir);
            let outcome = Mode::Read.open(storage, &path).and_then(|file| {
                self.state = State::default();
                manifest::read_into(&file, number, &mut self.state)
            });
            match outcome {
                Ok(tail) => {
                    self.manifest = Some(number);
                    (self.manifest_bytes, self.manifest_torn_bytes) = (tail.len, tail.torn_bytes);
                    // A newer one whose making was not finished does not count, and is no damage.
                    self.unreadable = None;
                    return Ok(());
                }
                Err(error @ Error::Corrupt { offset: 0, .. }) => {
                    self.unreadable.get_or_insert(error);
                }
                Err(error @ Error::Corrupt { .. }) => {
                    // What it says up to there, if it is not impossible.
                    self.manifest = (self.state != State::default()).then_some(number);
                    self.unreadable = Some(error);
                    return Ok(());
                }
                Err(other) => return Err(other),
            }
        }
        if self.unreadable.is_none() {
            let reason = "there are logs, tables or values, but no manifest";
            self.unreadable = Some(Error::corrupt(&self.dir, 0, reason));
        }
        self.state = State::default();
        Ok(())
    }

    fn find_tables<S: Storage<File = F>>(&mut self, storage: &S) -> Result<()> {
        let mut named: Vec<(FileNumber, Option<(usize, TableMeta)>)> = Vec::new();
        if self.is_listed() {
            for (level, metas) in self.state.levels.iter().enumerate() {
                named.extend(metas.iter().map(|meta| (meta.number, Some((level, meta.clone())))));
            }
        } else {
            named.extend(self.files.tables.iter().map(|number| (*number, None)));
        }
        for (number, known) in named {
            let open = || storage.open(&StoreFile::Table(number).path(&self.dir));
            let file = attempt(self.has_table(number), open)?;
            self.tables.push(FoundTable { number, known, file });
        }
        Ok(())
    }

    fn find_values<S: Storage<File = F>>(&mut self, storage: &S) -> Result<()> {
        let mut named: Vec<(FileNumber, Option<ValueFileState>)> = Vec::new();
        if self.is_listed() {
            named
                .extend(self.state.value_files.iter().map(|(number, file)| (*number, Some(*file))));
        } else {
            named.extend(self.files.values.iter().map(|number| (*number, None)));
        }
        for (number, known) in named {
            let is_there = self.files.values.binary_search(&number).is_ok();
            let file =
                attempt(is_there, || storage.open(&StoreFile::Values(number).path(&self.dir)))?;
            self.values.push(FoundValues { number, known, file });
        }
        Ok(())
    }

    fn find_logs<S: Storage<File = F>>(&mut self, storage: &S) -> Result<()> {
        let from = self.state.logs_from;
        let there = self.files.logs.iter().copied().filter(|number| *number >= from);
        let mut numbers: Vec<_> = there.chain(self.state.closed_logs.keys().copied()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let closed = self.state.closed_logs.get(&number).copied();
            let is_there = self.files.logs.binary_search(&number).is_ok();
            let mut grows = false;
            let file = attempt(is_there, || {
                let (file, has_grown) = copy_log(storage, &self.dir, number, closed)?;
                grows = has_grown;
                Ok(file)
            })?;
            self.logs.push(FoundLog { number, closed, file, grows });
        }
        Ok(())
    }

    /// The tables in the order of their age, as far as that is known, the oldest first. Without a manifest each says for which level it was written.
    pub(crate) fn oldest_first(&self) -> impl Iterator<Item = &FoundTable<F>> {
        let mut tables: Vec<_> = self.tables.iter().collect();
        tables.sort_by_cached_key(|table| {
            let (level, meta) = if let Some((level, meta)) = &table.known {
                (*level, Some(meta.clone()))
            } else {
                let meta = table.own_meta();
                (meta.as_ref().map_or(0, |meta| meta.level.into()), meta)
            };
            let age = match meta {
                Some(meta) if level == 0 => (meta.sequence_max, Vec::new()),
                // The tables of a level have no keys in common, unless the manifest is lost; then the newer one is the one that was written later.
                Some(meta) if table.known.is_some() => (0, meta.key_min),
                _ => (table.number.into(), Vec::new()),
            };
            (std::cmp::Reverse(level), age)
        });
        tables.into_iter()
    }

    /// The sequence number of the last write that is in a table, by what the tables say themselves.
    pub(crate) fn sequence_max(&self) -> Option<u64> {
        let metas = self.tables.iter().filter_map(FoundTable::own_meta);
        metas.map(|meta| meta.sequence_max).max()
    }

    /// The manifest is not to be trusted to its end: takes in what it does not name as well, and leaves out what has gone, as others have come from it.
    pub(crate) fn take_all<S: Storage<File = F>>(&mut self, storage: &S) -> Result<()> {
        let Files { tables, values, logs, .. } = &self.files;
        let is_there = |of: &[FileNumber], number| of.binary_search(&number).is_ok();
        self.tables.retain(|table| is_there(tables, table.number));
        self.values.retain(|file| is_there(values, file.number));
        self.logs.retain(|log| is_there(logs, log.number));
        for number in self.files.tables.clone() {
            if self.tables.iter().all(|table| table.number != number) {
                let path = StoreFile::Table(number).path(&self.dir);
                let file = attempt(true, || storage.open(&path))?;
                self.tables.push(FoundTable { number, known: None, file });
            }
        }
        for number in self.files.values.clone() {
            if self.values.iter().all(|values| values.number != number) {
                let path = StoreFile::Values(number).path(&self.dir);
                let file = attempt(true, || storage.open(&path))?;
                self.values.push(FoundValues { number, known: None, file });
            }
        }
        self.values.sort_by_key(|values| values.number);
        Ok(())
    }

    /// Whether the folder or the manifest has changed since: then somebody has the store open, and what seemed wrong may have been a file on its way.
    pub(crate) fn is_outdated<S: Storage<File = F>>(&self, storage: &S) -> Result<bool> {
        if storage.list(&self.dir)? != self.entries {
            return Ok(true);
        }
        let Some(number) = self.manifest else { return Ok(false) };
        let mut state = State::default();
        let file = Mode::Read.open(storage, &StoreFile::Manifest(number).path(&self.dir))?;
        let read = manifest::read_into(&file, number, &mut state);
        Ok(read.is_ok() == self.unreadable.is_some() || state != self.state)
    }

    /// What a file of the folder is.
    pub(crate) fn role(&self, entry: &DirEntry) -> FileRole {
        let is_table = |number| self.tables.iter().any(|table| table.number == number);
        let is_log = |number| self.logs.iter().any(|log| log.number == number);
        let has_values = |number| self.values.iter().any(|values| values.number == number);
        match StoreFile::parse(&entry.name).filter(|_| entry.is_file) {
            None => FileRole::Foreign,
            Some(StoreFile::Lock) => FileRole::Lock,
            // Without one that counts, the newest is the one that is damaged.
            Some(StoreFile::Manifest(number))
                if Some(number) == self.manifest.or(self.files.manifests.last().copied()) =>
            {
                FileRole::Manifest
            }
            Some(StoreFile::Table(number)) if is_table(number) => FileRole::Table,
            Some(StoreFile::Log(number)) if is_log(number) => FileRole::Log,
            Some(StoreFile::Values(number)) if has_values(number) => FileRole::Values,
            Some(_) => FileRole::Orphan,
        }
    }
}

/// Opens a file that is there, or tells why not.
fn attempt<F>(is_there: bool, open: impl FnOnce() -> Result<F>) -> Result<Result<F, String>> {
    if !is_there {
        return Ok(Err("the manifest names this file, but it is missing".to_owned()));
    }
    match open() {
        Ok(file) => Ok(Ok(file)),
        Err(error @ Error::PowerLost) => Err(error),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Copies a log, again if it was being written meanwhile. Tells whether it was.
fn copy_log<S: Storage>(
    storage: &S,
    dir: &Path,
    number: FileNumber,
    closed: Option<u64>,
) -> Result<(S::File, bool)> {
    let path = StoreFile::Log(number).path(dir);
    let scan = |file: &S::File| -> Result<LogScan> {
        scan_log(file, number, closed, |_: Write<'_>| Ok(()))
    };
    let mut file = Mode::Read.open(storage, &path)?;
    let mut found = scan(&file)?;
    let mut grows = false;
    for _ in 1..COPIES {
        if found.gaps.is_empty() {
            break;
        }
        let again = Mode::Read.open(storage, &path)?;
        let later = scan(&again)?;
        let has_grown = later.used_bytes > found.used_bytes;
        grows |= has_grown;
        (file, found) = (again, later);
        if !has_grown {
            break;
        }
    }
    Ok((file, grows))
}
