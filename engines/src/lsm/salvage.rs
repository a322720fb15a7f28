//! Salvage: what can still be read of a damaged store is written to a new one.
//!
//! 1. The tables are taken in the order of age that the manifest gives, the oldest first: the deepest level, then up to level 0, then the logs. If the manifest is damaged behind its first edit, or what is there shows that it
//!    has lost its end, it counts as far as it can be read, and tables that it does not name are taken as if there were none.
//! 2. Without a manifest that order is lost. A table says for which level it was written, and from which writes it was made; a compaction may have moved it deeper since, and what it
//!    was merged into may be there beside it. So tables are taken by that level, then by number (in level 0 by sequence number): nearly the order of age.
//!    Logs whose writes are in tables already, as their sequence numbers say, are left out then.
//! 3. Each block that is whole is taken, and each whole write of a log, those behind a torn spot too; what is not whole is passed over, and told.
//!    Blocks of a table whose footer or index is damaged are found by their checksums (`table/search.rs`); a damaged filter or header of a log costs nothing.
//! 4. A value that lies in the value log is read there; one that cannot be is lost with its entry. Of a block that is lost, the values that it pointed to are lost, too: they are there, but not which of them
//!    are alive ([`super::records()`] shows them).
//! 5. Each entry is written to the new store, deletions too, of a table its ranges of deleted keys first, so that what is younger hides what is older. In the end all is compacted, which drops what is hidden.
//!
//! Nothing is made up: what is written was once written by a user under this key. It may be older than what was lost, and the report says whether that can be.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::Lsm;
use super::deadline;
use super::files::StoreFile;
use super::findings::{Damage, FileRole, LostValues};
use super::log_scan::scan_log;
use super::options::{Background, Options, WriteOptions};
use super::survey::{FoundLog, FoundTable, Survey};
use super::table::look::{Content, Item, look_through};
use super::wal::{self, Kind, LOG_HEADER_BYTES, LogHeader};
use crate::storage::{Storage, lock_if_there};
use crate::{Direction, Durability, Error, Result};

/// What a salvage has saved and lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SalvageReport {
    /// Tables that were read.
    pub tables_read: u64,
    /// Logs that were read.
    pub logs_read: u64,
    /// Keys with their values in the new store.
    pub records_kept: u64,
    /// Entries that were whole and not needed: older values, deletions, and what they deleted.
    pub records_passed_over: u64,
    /// Entries of tables, deletions among them, that are known to be lost.
    pub entries_lost: u64,
    /// More may be lost: nothing tells how many entries a damaged place of a log held, or of a table about which nothing is known any more.
    pub more_may_be_lost: bool,
    /// What could not be read, by the places where it begins.
    pub dropped: Vec<Damage>,
    /// Damage to what serves to find records alone, such as a filter: nothing is lost with it, and the new store has its own.
    pub made_anew: Vec<Damage>,
    /// Bytes behind the last whole writes of logs that had not been closed: never whole, as a crash leaves them.
    pub torn_bytes: u64,
    /// Tables, logs and files of the value log that the manifest names and that could not be opened.
    pub files_missing: Vec<PathBuf>,
    /// Files of the engine that are not part of the store, and were left out.
    pub files_ignored: Vec<PathBuf>,
    /// Why the manifest could not be read, or not to its end; then tables that it does not name were taken by what they say themselves.
    pub manifest_lost: Option<String>,
    /// Keys that had been deleted may be there again: what was lost may have held their deletions.
    pub deleted_may_return: bool,
    /// Keys may have an older value than they had: what was lost may have held newer ones.
    pub older_may_return: bool,
}

impl SalvageReport {
    /// Whether nothing was lost but what a crash may take from any store.
    pub fn is_complete(&self) -> bool {
        self.dropped.is_empty() && self.files_missing.is_empty() && self.manifest_lost.is_none()
    }

    /// Notes that bytes were lost, and with them `entries`, if that is known.
    fn lose(&mut self, (file, offset, reason): (&Path, u64, String), entries: Option<u64>) {
        self.dropped.push(Damage { file: file.to_owned(), offset, reason });
        self.lose_entries(entries);
    }

    fn lose_entries(&mut self, entries: Option<u64>) {
        self.entries_lost += entries.unwrap_or(0);
        self.more_may_be_lost |= entries.is_none();
        (self.deleted_may_return, self.older_may_return) = (true, true);
    }
}

/// Writes all that can still be read of the store in the folder `from` to a new one in the folder `to`, which is opened with `options`, made durable, compacted and closed. `from` stays as it is, and is locked
/// meanwhile.
///
/// Costs a read of the store, and what it costs to write all of it anew.
///
/// # Errors
/// - [`Error::NotAStore`] if `from` holds no manifest, no log and no table.
/// - [`Error::Locked`] if the store is open: what is on disk of one that is written to is not one state. Close it, or salvage a checkpoint.
/// - [`Error::InvalidOption`] if `to` is not empty, or lies in `from`.
/// - Any error of writing the new store; then what is in `to` is not complete.
pub fn salvage<S: Storage>(
    storage: &S,
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    mut options: Options,
) -> Result<SalvageReport> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let _lock = lock_if_there(storage, &StoreFile::Lock.path(from))?;
    let mut survey = Survey::of(storage, from)?;
    refuse_target(storage, from, to)?;
    survey.doubt_by_logs()?;
    if survey.unreadable.is_some() {
        survey.take_all(storage)?;
    }
    // What is written is durable once the new store is closed; who writes does the background work.
    options.durability = Durability::Os;
    options.background = Background::Inline;
    let store = Lsm::open(storage.clone(), to, options)?;
    let mut salvager = Salvager { store, from, report: SalvageReport::default(), entries: 0 };
    salvager.about_files(&survey);
    for values in survey.values.iter().filter(|values| values.file.is_err()) {
        // Each entry that points into it is counted where it stands.
        salvager.missing(StoreFile::Values(values.number), Some(0));
    }
    for table in survey.oldest_first() {
        salvager.table(&survey, table)?;
    }
    let flushed = survey.unreadable.is_some().then(|| survey.sequence_max()).flatten();
    for log in &survey.logs {
        salvager.log(log, flushed)?;
    }
    salvager.finish()
}

/// Stores a value, for ever or up to a time. One that has expired is stored as well, as it hides what is older.
fn put<S: Storage>(
    store: &Lsm<S>,
    key: &[u8],
    value: &[u8],
    expires_ms: Option<u64>,
) -> Result<()> {
    match expires_ms {
        Some(expires_ms) => store.core.put_until(key, value, expires_ms, WriteOptions::default()),
        None => store.put(key, value),
    }
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

struct Salvager<'a, S: Storage> {
    store: Lsm<S>,
    from: &'a Path,
    report: SalvageReport,
    /// Entries that were written to the store.
    entries: u64,
}

impl<S: Storage> Salvager<'_, S> {
    /// What the folder alone tells.
    fn about_files(&mut self, survey: &Survey<S::File>) {
        let report = &mut self.report;
        if let Some(lost) = &survey.unreadable {
            report.manifest_lost = Some(match lost {
                Error::Corrupt { offset, reason, .. } => format!("{reason}, at byte {offset}"),
                other => other.to_string(),
            });
            let ordered = survey.tables.iter().all(|table| table.known.is_some());
            // One table and the logs behind it have but one order.
            let lost = !ordered && survey.tables.len() > 1 || survey.is_listed();
            (report.deleted_may_return, report.older_may_return) = (lost, lost);
        }
        let ignored = survey.entries.iter();
        let ignored = ignored.filter(|entry| survey.role(entry) == FileRole::Orphan);
        report.files_ignored = ignored.map(|entry| self.from.join(&entry.name)).collect();
    }

    fn missing(&mut self, file: StoreFile, entries: Option<u64>) {
        self.report.files_missing.push(file.path(self.from));
        self.report.lose_entries(entries);
    }

    fn table(&mut self, survey: &Survey<S::File>, table: &FoundTable<S::File>) -> Result<()> {
        let name = StoreFile::Table(table.number);
        let path = name.path(self.from);
        let Ok(file) = &table.file else {
            self.missing(name, table.known.as_ref().map(|(_, meta)| meta.entries));
            return Ok(());
        };
        self.report.tables_read += 1;
        let (store, entries, report) = (&self.store, &mut self.entries, &mut self.report);
        let mut lost = LostValues::default();
        let mut write = |item: Item<'_>| -> Result<ControlFlow<()>> {
            let put = |value: &[u8]| put(store, item.key, value, item.expires_ms);
            let written = match item.content {
                Content::Value(value) => put(value),
                Content::Deleted => store.delete(item.key),
                Content::DeletedUpTo(end) => store.delete_range(item.key..end),
                Content::Pointer(pointer) => match survey.value(item.key, pointer, put) {
                    Err(Error::Corrupt { file, offset, reason }) => {
                        lost.add(file, offset, reason);
                        return Ok(ControlFlow::Continue(()));
                    }
                    written => written?,
                },
            };
            *entries += 1;
            written.map(ControlFlow::Continue)
        };
        let mut damage = Vec::new();
        let mut note = |offset, reason| damage.push((offset, reason));
        let meta = table.known.as_ref().map(|(_, meta)| meta);
        let looked = look_through(file, table.number, meta, Some(&mut write), &mut note)?;
        for (offset, reason) in damage {
            if looked.has_all_entries {
                report.made_anew.push(Damage { file: path.clone(), offset, reason });
            } else {
                report.lose((&path, offset, reason), Some(0));
            }
        }
        if !looked.has_all_entries {
            report.lose_entries(looked.entries_lost);
        }
        for (count, Damage { file, offset, reason }) in lost.told(name) {
            report.lose((&file, offset, reason), Some(count));
        }
        Ok(())
    }

    /// Takes a log in, unless it begins with a write that is in a table: `flushed` is the last of these, where the manifest does not say.
    fn log(&mut self, log: &FoundLog<S::File>, flushed: Option<u64>) -> Result<()> {
        let name = StoreFile::Log(log.number);
        let path = name.path(self.from);
        let Ok(file) = &log.file else {
            self.missing(name, None);
            return Ok(());
        };
        if let (Some(flushed), Ok(header)) = (flushed, LogHeader::read(file, log.number))
            && header.sequence <= flushed
        {
            self.report.files_ignored.push(path);
            return Ok(());
        }
        self.report.logs_read += 1;
        let (store, entries, report) = (&self.store, &mut self.entries, &mut self.report);
        let scan = scan_log(file, log.number, log.closed, |write| {
            let corrupt = |reason: &str| Error::corrupt(&path, write.offset, reason);
            let written = wal::operations(write.payload, corrupt, |at, operation| {
                *entries += 1;
                let bytes = &write.payload[at..at + operation.bytes()];
                let key = &bytes[operation.key()];
                let value = &bytes[operation.value()];
                match operation.kind() {
                    Kind::Delete => store.delete(key),
                    Kind::DeleteRange => store.delete_range(key..value),
                    Kind::PutExpiring => {
                        let (expires_ms, value) = deadline::split(value).unwrap_or_default();
                        put(store, key, value, Some(expires_ms))
                    }
                    // A log has no pointers: that is refused before.
                    Kind::Put | Kind::Pointer | Kind::PointerExpiring => store.put(key, value),
                }
            });
            match written {
                Err(Error::Corrupt { file, offset, reason }) if file == path => {
                    report.lose((&path, offset, reason), None);
                    Ok(())
                }
                other => other,
            }
        })?;
        let report = &mut self.report;
        for gap in &scan.gaps {
            if scan.is_torn_end(gap, log.closed) {
                report.torn_bytes += gap.bytes;
            } else if gap.offset == 0 && gap.bytes == LOG_HEADER_BYTES {
                let (offset, reason) = (gap.offset, gap.reason.clone());
                report.made_anew.push(Damage { file: path.clone(), offset, reason });
            } else {
                report.lose((&path, gap.offset, gap.reason.clone()), None);
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<SalvageReport> {
        let Self { store, mut report, entries, .. } = self;
        store.compact()?;
        let keys = store
            .scan(&[], Direction::Forward, usize::MAX, &mut |_, _| ControlFlow::Continue(()))?;
        report.records_kept = keys as u64;
        report.records_passed_over = entries - report.records_kept;
        store.close()?;
        Ok(report)
    }
}
