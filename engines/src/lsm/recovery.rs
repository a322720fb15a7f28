//! Opening a store.
//!
//! 1. A folder that is not empty and holds no manifest is not touched. Otherwise the lock is taken.
//! 2. The newest manifest whose first frame is whole says which tables and files of values there are, and which logs count. Each of the former is opened; one that is
//!    missing is corruption.
//! 3. Each log that counts is replayed into a memtable of its own.
//! 4. The logs are judged, oldest first. If one was torn or was cut short, what it lacks was never known to be synced, and so were all logs after
//!    it: logs are synced in their order. They are dropped, so that what is left is a prefix of what was written. But if any later log has
//!    synced bytes, or the manifest or the successor says that the log was whole, this is corruption. So is a log that does not begin with the write
//!    at which its predecessor ended: names of logs become durable in their order, too, so a crash does not take one from the middle. It may do so after a sync of the folder that failed:
//!    so the first log of a process says if nothing of the one before it was known to be synced, and is dropped with it, if nothing of itself was either.
//! 5. A new manifest makes durable what was read: the old one may have been read from the memory of a machine whose process was killed, and not be on disk.
//! 6. The old manifest, dropped logs, and files that nobody names are removed, durably, before a new log is begun, as that could not be told
//!    from a successor of the dropped ones. Dropped logs go one by one, the newest first, so that none outlives the one before it.
//! 7. The memtables wait to be flushed, as if nothing had happened. Their logs are not yet vouched for: content and names may be in the cache alone, and would count as stored after a
//!    sync that failed in the process before. So the first sync waits until they have become tables (`durability.rs`), and a flush verifies what it has read.
//!
//! Each step leaves a store behind that opens to the same content, so an opening that crashes can be repeated.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::{Part, memtable_bytes_max};
use super::files::{FILE_NUMBER_MAX, FileNumber, StoreFile};
use super::manifest::{self, Manifest, State, ValueFileState};
use super::memtable::Memtable;
use super::options::Options;
use super::replay::replay_log;
use super::stats::Stats;
use super::store::{Core, Parts, Writer, begin_log, create_log};
use super::table::{Reading, Table};
use super::value_log::ValueFile;
use super::version::{PerLevel, Tree, Version};
use super::wal::LogHeader;
use crate::log::Expected;
use crate::storage::{DirEntry, File, Storage};
use crate::{Error, Result};

/// What opening a store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The store had been closed cleanly, or is new.
    pub clean: bool,
    /// Logs that were replayed.
    pub logs: u64,
    /// Writes in them.
    pub writes: u64,
    /// Bytes behind the last whole write of a log that was torn; they were not known to be synced.
    pub torn_bytes: u64,
    /// Logs that were dropped, as an earlier one was torn.
    pub logs_dropped: u64,
    /// Writes in them.
    pub writes_dropped: u64,
    /// Files that an earlier crash had left behind, removed.
    pub orphans: u64,
    /// Time that all of it took.
    pub duration: Duration,
}

/// The files of a store's folder.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) manifests: Vec<FileNumber>,
    pub(crate) logs: Vec<FileNumber>,
    pub(crate) tables: Vec<FileNumber>,
    pub(crate) values: Vec<FileNumber>,
    /// Anything that is not ours, by an example.
    foreign: Option<String>,
}

/// Whether a store is opened to go on with it, or looked at while somebody else may be writing to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Read,
}

impl Mode {
    /// Opens a manifest or a log: where another process may be writing to it, as a copy.
    pub(crate) fn open<S: Storage>(self, storage: &S, path: &Path) -> Result<S::File> {
        match self {
            Self::Write => storage.open(path),
            Self::Read => storage.open_copy(path),
        }
    }
}

impl Files {
    fn list<S: Storage>(storage: &S, dir: &Path) -> Result<Self> {
        Ok(Self::among(&storage.list(dir)?))
    }

    /// Those among the entries of a folder.
    pub(crate) fn among(entries: &[DirEntry]) -> Self {
        let mut files = Self::default();
        for entry in entries {
            match StoreFile::parse(&entry.name).filter(|_| entry.is_file) {
                Some(StoreFile::Lock) => {}
                Some(StoreFile::Manifest(number)) => files.manifests.push(number),
                Some(StoreFile::Log(number)) => files.logs.push(number),
                Some(StoreFile::Table(number)) => files.tables.push(number),
                Some(StoreFile::Values(number)) => files.values.push(number),
                None => files.foreign = Some(entry.name.clone()),
            }
        }
        let Self { manifests, logs, tables, values, .. } = &mut files;
        for numbers in [manifests, logs, tables, values] {
            numbers.sort_unstable();
        }
        files
    }

    /// Makes sure that there are numbers left for new files.
    pub(crate) fn check(&self, dir: &Path) -> Result<()> {
        let newest = [
            self.manifests.last().map(|number| (*number, StoreFile::Manifest(*number))),
            self.logs.last().map(|number| (*number, StoreFile::Log(*number))),
            self.tables.last().map(|number| (*number, StoreFile::Table(*number))),
            self.values.last().map(|number| (*number, StoreFile::Values(*number))),
        ];
        for (number, file) in newest.into_iter().flatten() {
            if number > FILE_NUMBER_MAX {
                let reason =
                    format!("no store gets as far as to number {number}: it is not of this one");
                return Err(Error::corrupt(&file.path(dir), 0, reason));
            }
        }
        Ok(())
    }

    /// Whether there is anything but manifests, which come first and go last.
    pub(crate) fn any_data(&self) -> bool {
        [&self.logs, &self.tables, &self.values].iter().any(|numbers| !numbers.is_empty())
    }

    /// The highest number in use.
    fn highest(&self) -> FileNumber {
        let last =
            [self.manifests.last(), self.logs.last(), self.tables.last(), self.values.last()];
        last.into_iter().flatten().max().copied().unwrap_or(0)
    }
}

/// Opens the store in `dir`, or makes one.
pub(crate) fn open<S: Storage>(
    storage: S,
    dir: &Path,
    options: Options,
) -> Result<(Core<S>, Recovery)> {
    let start = Instant::now();
    options.check()?;
    storage.create_dir(dir)?;
    let not_a_store = |files: &Files| match &files.foreign {
        Some(name) if files.manifests.is_empty() => {
            let reason = format!("it holds {name} and no manifest; give an empty folder");
            Err(Error::NotAStore { path: dir.to_owned(), reason })
        }
        _ => Ok(()),
    };
    not_a_store(&Files::list(&storage, dir)?)?;
    let lock = storage.lock(&StoreFile::Lock.path(dir))?;
    let files = Files::list(&storage, dir)?;
    files.check(dir)?;
    let mut state = read_state(&storage, dir, &files, Mode::Write)?;
    let reading = Arc::new(Reading::new(&options, storage.memory_bytes()));
    let version = open_version(&storage, dir, &state, &files, &reading)?;
    let (memtables, mut recovery) = recover_logs(dir, &state, &files, |path| storage.open(path))?;

    let mut next_number = state.next_number.max(files.highest() + 1);
    let mut take_number = || {
        next_number += 1;
        next_number - 1
    };
    let (manifest_number, log_number) = (take_number(), take_number());
    let orphans = orphans(&state, &files, &memtables);
    recovery.orphans = orphans.len() as u64;
    let logs_from = memtables.first().map_or(log_number, |memtable| memtable.log);
    state.logs_from = logs_from;
    state.next_number = next_number;
    let stats = Arc::new(Stats::default());
    let sequence = memtables.last().map_or(state.sequence, Memtable::next_sequence);
    let header = LogHeader {
        number: log_number,
        sequence,
        previous: memtables.last().map_or(0, |memtable| memtable.log),
        previous_bytes: memtables.last().map_or(0, Memtable::log_bytes),
        previous_synced: false,
        previous_found: memtables.last().is_some_and(|memtable| memtable.synced_bytes() == 0),
    };
    let manifest =
        Manifest::create(storage.clone(), dir, Arc::clone(&stats), manifest_number, state)?;
    let mut removed_log = false;
    for file in files.manifests.iter().map(|number| StoreFile::Manifest(*number)).chain(orphans) {
        // Of the logs that would count, should this be cut short, the newest goes first, durably: one that outlived the log before it would pass for what damage has left.
        let counts = matches!(file, StoreFile::Log(number) if number >= logs_from);
        if counts && std::mem::replace(&mut removed_log, true) {
            storage.sync_dir(dir)?;
        }
        storage.remove(&file.path(dir))?;
    }
    storage.sync_dir(dir)?;
    let log_bytes = options.memtable_bytes;
    let appender = create_log(&storage, dir, log_number, log_bytes, options.durability)?;
    let (log, active) = begin_log(appender, &header, log_bytes)?;
    let active = Arc::new(active);
    for memtable in &memtables {
        memtable.count_with(reading.budget.charge(Part::Memtables, 0));
        memtable.freeze();
    }
    let active_bytes = memtable_bytes_max(log_bytes, &options);
    active.count_with(reading.budget.charge(Part::Memtables, active_bytes));
    let tree = Tree {
        active: Arc::clone(&active),
        waiting: memtables.into_iter().rev().map(Arc::new).collect(),
        version: Arc::new(version),
    };
    let core = Core::new(Parts {
        storage,
        dir: dir.to_owned(),
        options,
        lock,
        stats,
        reading,
        tree,
        writer: Writer::new(log, active),
        manifest,
        next_number,
    });
    recovery.duration = start.elapsed();
    Ok((core, recovery))
}

/// The state that the newest whole manifest tells.
pub(crate) fn read_state<S: Storage>(
    storage: &S,
    dir: &Path,
    files: &Files,
    mode: Mode,
) -> Result<State> {
    let mut damage = None;
    for number in files.manifests.iter().rev() {
        let file = mode.open(storage, &StoreFile::Manifest(*number).path(dir))?;
        match manifest::read(&file, *number) {
            // The making of this manifest was not finished, if an older one is still there.
            Err(error @ Error::Corrupt { offset: 0, .. }) => damage = damage.or(Some(error)),
            outcome => return outcome,
        }
    }
    match damage {
        // The making of the store was not finished: logs and tables come after the first manifest.
        Some(error) if files.any_data() => Err(error),
        None if files.any_data() => Err(Error::NotAStore {
            path: dir.to_owned(),
            reason: "it holds logs, tables or values, but no manifest".to_owned(),
        }),
        _ => Ok(State::default()),
    }
}

/// Opens the tables and the files of values that the manifest names.
pub(crate) fn open_version<S: Storage>(
    storage: &S,
    dir: &Path,
    state: &State,
    files: &Files,
    reading: &Arc<Reading>,
) -> Result<Version<S>> {
    let of_tables = state.levels.iter().flatten().map(|meta| meta.file_bytes);
    let of_values = state.value_files.values().map(|file| file.bytes);
    reading.outgrow(of_tables.chain(of_values).sum());
    let mut levels = PerLevel::<Vec<_>>::default();
    for (level, metas) in levels.iter_mut().zip(&state.levels) {
        for meta in metas {
            let path = StoreFile::Table(meta.number).path(dir);
            if files.tables.binary_search(&meta.number).is_err() {
                return Err(Error::corrupt(
                    &path,
                    0,
                    "the manifest names this table, but it is missing",
                ));
            }
            let (file, reading) = (storage.open(&path)?, Arc::clone(reading));
            level.push(Table::open(storage.clone(), file, meta.clone(), reading)?);
        }
    }
    let mut values = Vec::new();
    for (number, ValueFileState { bytes, .. }) in &state.value_files {
        let path = StoreFile::Values(*number).path(dir);
        if files.values.binary_search(number).is_err() {
            let reason = "the manifest names this file of values, but it is missing";
            return Err(Error::corrupt(&path, 0, reason));
        }
        let file = storage.open(&path)?;
        values.push(ValueFile::open(storage.clone(), file, *number, *bytes, reading)?);
    }
    Ok(Version::new(levels, values))
}

/// Opens and replays the logs that count, judges them, and returns the memtables of those that stay and are not empty, oldest first.
pub(crate) fn recover_logs<F: File>(
    dir: &Path,
    state: &State,
    files: &Files,
    open: impl Fn(&Path) -> Result<F>,
) -> Result<(Vec<Memtable<F>>, Recovery)> {
    let mut recovery = Recovery { clean: files.manifests.is_empty(), ..Recovery::default() };
    let numbers: Vec<FileNumber> =
        files.logs.iter().copied().filter(|number| *number >= state.logs_from).collect();
    if let Some(missing) = state.closed_logs.keys().find(|number| !numbers.contains(number)) {
        let path = StoreFile::Log(*missing).path(dir);
        return Err(Error::corrupt(&path, 0, "the manifest names this log, but it is missing"));
    }
    let mut logs = Vec::new();
    for number in numbers {
        let file = open(&StoreFile::Log(number).path(dir))?;
        let closed = state.closed_logs.get(&number);
        let log = replay_log(
            &file,
            number,
            closed.map_or(Expected::Torn, |len| Expected::Exactly(*len)),
        )?;
        let known = closed.map_or(log.tail.watermark, |_| log.tail.len);
        log.memtable.set_synced(known);
        logs.push(log);
    }
    let mut sequence = state.sequence;
    let mut memtables = Vec::new();
    let mut kept = 0;
    for (at, log) in logs.iter().enumerate() {
        let closed = state.closed_logs.contains_key(&log.memtable.log);
        let next = logs.get(at + 1).and_then(|next| next.header);
        let synced_later = logs[at + 1..].iter().any(|later| later.tail.watermark > 0);
        let known_whole = closed
            || synced_later
            || next.is_some_and(|next| next.previous_synced && next.previous == log.memtable.log);
        let path = log.memtable.file().path();
        let Some(header) = log.header else {
            if known_whole || log.tail.watermark > 0 {
                return Err(Error::corrupt(path, 0, "the log's header is damaged"));
            }
            break;
        };
        if header.sequence != sequence {
            let is_there = logs[..at].iter().any(|before| before.memtable.log == header.previous);
            let was_synced = known_whole || log.tail.watermark > 0;
            if header.sequence > sequence && header.previous_found && !is_there && !was_synced {
                break;
            }
            let reason = format!(
                "the log begins with write {}, but the one before it, or the manifest, ends before write {sequence}",
                header.sequence
            );
            return Err(Error::corrupt(path, 0, reason));
        }
        kept = at + 1;
        sequence = log.memtable.next_sequence();
        recovery.torn_bytes += log.tail.torn_bytes;
        // What an earlier recovery has cut off still lies behind the length that the successor names.
        let whole = next.is_none_or(|next| {
            next.previous != log.memtable.log || next.previous_bytes <= log.tail.len
        });
        if !whole {
            if known_whole {
                let reason = "this log ends too early: what follows it was synced";
                return Err(Error::corrupt(path, log.tail.len, reason));
            }
            break;
        }
    }
    recovery.clean |= logs.iter().all(|log| {
        state.closed_logs.contains_key(&log.memtable.log)
            || log.memtable.writes() == 0 && log.tail.torn_bytes == 0
    });
    for (at, log) in logs.into_iter().enumerate() {
        if at >= kept {
            recovery.logs_dropped += 1;
            recovery.writes_dropped += log.memtable.writes();
            recovery.torn_bytes += log.tail.torn_bytes;
        } else if log.memtable.writes() > 0 {
            recovery.logs += 1;
            recovery.writes += log.memtable.writes();
            memtables.push(log.memtable);
        }
    }
    Ok((memtables, recovery))
}

/// Tables, files of values and logs that do not count; of the logs the newest first.
fn orphans<F: File>(state: &State, files: &Files, memtables: &[Memtable<F>]) -> Vec<StoreFile> {
    let named =
        |number: &FileNumber| state.levels.iter().flatten().any(|table| table.number == *number);
    let live = |number: &FileNumber| memtables.iter().any(|memtable| memtable.log == *number);
    let tables = files.tables.iter().filter(|number| !named(number));
    let logs = files.logs.iter().rev().filter(|number| !live(number));
    let values = files.values.iter().filter(|number| !state.value_files.contains_key(*number));
    tables
        .map(|number| StoreFile::Table(*number))
        .chain(values.map(|number| StoreFile::Values(*number)))
        .chain(logs.map(|number| StoreFile::Log(*number)))
        .collect()
}
