//! Opening a store.
//!
//! 1. A folder that is not empty and holds no manifest is not touched. Otherwise the lock is taken.
//! 2. The newest manifest whose first frame is whole says which tables there are, and which logs count. Each table is opened; one that is
//!    missing is corruption.
//! 3. Each log that counts is replayed into a memtable of its own.
//! 4. The logs are judged, oldest first. If one was torn or was cut short, what it lacks was never known to be synced, and so were all logs after
//!    it: logs are synced in their order. They are dropped, so that what is left is a prefix of what was written. But if any later log has
//!    synced bytes, or the manifest or the successor says that the log was whole, this is corruption. So is a log that does not begin with the write
//!    at which its predecessor ended: names of logs become durable in their order, too, so a crash does not take one from the middle.
//! 5. A new manifest makes durable what was read: the old one may have been read from the memory of a machine whose process was killed, and not be on disk.
//! 6. The old manifest, dropped logs, and files that nobody names are removed, durably, before a new log is begun, as that could not be told
//!    from a successor of the dropped ones.
//! 7. The memtables wait to be flushed, as if nothing had happened.
//!
//! Each step leaves a store behind that opens to the same content, so an opening that crashes can be repeated.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::files::{FileNumber, StoreFile};
use super::manifest::{self, Manifest, State};
use super::memtable::{self, LOG_BYTES_MAX, Memtable};
use super::options::Options;
use super::stats::Stats;
use super::store::{Core, Parts, Writer, begin_log, create_log};
use super::table::Table;
use super::version::{PerLevel, Tree, Version};
use super::wal::{self, LogHeader};
use crate::log::{Expected, Tail, replay};
use crate::storage::{File, Storage};
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
struct Files {
    manifests: Vec<FileNumber>,
    logs: Vec<FileNumber>,
    tables: Vec<FileNumber>,
    /// Anything that is not ours, by an example.
    foreign: Option<String>,
}

impl Files {
    fn list<S: Storage>(storage: &S, dir: &Path) -> Result<Self> {
        let mut files = Self::default();
        for entry in storage.list(dir)? {
            match StoreFile::parse(&entry.name).filter(|_| entry.is_file) {
                Some(StoreFile::Lock) => {}
                Some(StoreFile::Manifest(number)) => files.manifests.push(number),
                Some(StoreFile::Log(number)) => files.logs.push(number),
                Some(StoreFile::Table(number)) => files.tables.push(number),
                None => files.foreign = Some(entry.name),
            }
        }
        for numbers in [&mut files.manifests, &mut files.logs, &mut files.tables] {
            numbers.sort_unstable();
        }
        Ok(files)
    }

    /// The highest number in use.
    fn highest(&self) -> FileNumber {
        let last = [self.manifests.last(), self.logs.last(), self.tables.last()];
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
    let mut state = read_state(&storage, dir, &files)?;
    let tables = open_tables(&storage, dir, &state, &files)?;
    let (memtables, mut recovery) = recover_logs(&storage, dir, &state, &files)?;

    let mut next_number = state.next_number.max(files.highest().saturating_add(1)).max(1);
    let mut take_number = || {
        next_number += 1;
        next_number - 1
    };
    let (manifest_number, log_number) = (take_number(), take_number());
    let orphans = orphans(&state, &files, &memtables);
    recovery.orphans = orphans.len() as u64;
    state.logs_from = memtables.first().map_or(log_number, |memtable| memtable.log);
    state.next_number = next_number;
    let stats = Arc::new(Stats::default());
    let sequence = memtables.last().map_or(state.sequence, Memtable::next_sequence);
    let header = LogHeader {
        number: log_number,
        sequence,
        previous: memtables.last().map_or(0, |memtable| memtable.log),
        previous_bytes: memtables.last().map_or(0, Memtable::log_bytes),
        previous_synced: false,
    };
    let manifest =
        Manifest::create(storage.clone(), dir, Arc::clone(&stats), manifest_number, state)?;
    for file in files.manifests.iter().map(|number| StoreFile::Manifest(*number)).chain(orphans) {
        storage.remove(&file.path(dir))?;
    }
    storage.sync_dir(dir)?;
    let log_bytes = options.memtable_bytes;
    let appender = create_log(&storage, dir, log_number, log_bytes)?;
    let (log, active) = begin_log(appender, &header, log_bytes)?;
    let active = Arc::new(active);
    let tree = Tree {
        active: Arc::clone(&active),
        waiting: memtables.into_iter().rev().map(Arc::new).collect(),
        version: Arc::new(Version::new(tables)),
    };
    let core = Core::new(Parts {
        storage,
        dir: dir.to_owned(),
        options,
        lock,
        stats,
        tree,
        writer: Writer::new(log, active),
        manifest,
        next_number,
    });
    recovery.duration = start.elapsed();
    Ok((core, recovery))
}

/// The state that the newest whole manifest tells.
fn read_state<S: Storage>(storage: &S, dir: &Path, files: &Files) -> Result<State> {
    let mut damage = None;
    for number in files.manifests.iter().rev() {
        let file = storage.open(&StoreFile::Manifest(*number).path(dir))?;
        match manifest::read(&file, *number) {
            // The making of this manifest was not finished, if an older one is still there.
            Err(error @ Error::Corrupt { offset: 0, .. }) => damage = damage.or(Some(error)),
            outcome => return outcome,
        }
    }
    match damage {
        // The making of the store was not finished: logs and tables come after the first manifest.
        Some(error) if !files.logs.is_empty() || !files.tables.is_empty() => Err(error),
        None if !files.logs.is_empty() || !files.tables.is_empty() => Err(Error::NotAStore {
            path: dir.to_owned(),
            reason: "it holds logs or tables, but no manifest".to_owned(),
        }),
        _ => Ok(State::default()),
    }
}

fn open_tables<S: Storage>(
    storage: &S,
    dir: &Path,
    state: &State,
    files: &Files,
) -> Result<PerLevel<Vec<Arc<Table<S>>>>> {
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
            level.push(Table::open(storage.clone(), storage.open(&path)?, meta.clone())?);
        }
    }
    Ok(levels)
}

/// A log that was replayed and not yet judged.
struct Replayed<F> {
    path: PathBuf,
    /// `None` if it has no header that could be read.
    header: Option<LogHeader>,
    tail: Tail,
    memtable: Memtable<F>,
}

/// Replays the logs that count, judges them, and returns the memtables of those that stay and are not empty, oldest first.
fn recover_logs<S: Storage>(
    storage: &S,
    dir: &Path,
    state: &State,
    files: &Files,
) -> Result<(Vec<Memtable<S::File>>, Recovery)> {
    let mut recovery = Recovery { clean: files.manifests.is_empty(), ..Recovery::default() };
    let numbers: Vec<FileNumber> =
        files.logs.iter().copied().filter(|number| *number >= state.logs_from).collect();
    if let Some(missing) = state.closed_logs.keys().find(|number| !numbers.contains(number)) {
        let path = StoreFile::Log(*missing).path(dir);
        return Err(Error::corrupt(&path, 0, "the manifest names this log, but it is missing"));
    }
    let mut logs = Vec::new();
    for number in numbers {
        logs.push(replay_log(storage, dir, number, &state.closed_logs)?);
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
        let Some(header) = log.header else {
            if known_whole || log.tail.watermark > 0 {
                return Err(Error::corrupt(&log.path, 0, "the log's header is damaged"));
            }
            break;
        };
        if header.sequence != sequence {
            let reason = format!(
                "the log begins with write {}, but the one before it, or the manifest, ends before write {sequence}",
                header.sequence
            );
            return Err(Error::corrupt(&log.path, 0, reason));
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
                return Err(Error::corrupt(&log.path, log.tail.len, reason));
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

fn replay_log<S: Storage>(
    storage: &S,
    dir: &Path,
    number: FileNumber,
    closed: &BTreeMap<FileNumber, u64>,
) -> Result<Replayed<S::File>> {
    let path = StoreFile::Log(number).path(dir);
    let file = storage.open(&path)?;
    if file.len() > LOG_BYTES_MAX {
        return Err(Error::corrupt(&path, LOG_BYTES_MAX, "no log is as long as this one"));
    }
    let expected = closed.get(&number).map_or(Expected::Torn, |len| Expected::Exactly(*len));
    let header = match LogHeader::read(&file, number) {
        Ok(header) => Some(header),
        Err(Error::Corrupt { .. }) if expected == Expected::Torn => None,
        Err(error) => return Err(error),
    };
    let sequence = header.map_or(0, |header| header.sequence);
    let memtable = Memtable::new(number, sequence, file.clone(), file.len());
    let corrupt = |offset: u64| {
        let path = path.clone();
        move |reason: &str| Error::corrupt(&path, offset, reason)
    };
    let tail = replay(&file, number, 0, expected, |offset, payload| {
        if offset > 0 && header.is_some() {
            let first = memtable::first_operation(offset);
            wal::operations(payload, corrupt(offset), |at, operation| {
                let key = operation.key();
                memtable.insert(first + at as u32, &payload[at + key.start..at + key.end])
            })?;
            memtable.publish(crate::log::frame::frame_bytes(payload.len()) + offset);
        }
        Ok(())
    })?;
    if closed.contains_key(&number) {
        memtable.set_synced(tail.len);
    }
    Ok(Replayed { path, header, tail, memtable })
}

/// Tables and logs that do not count.
fn orphans<F: File>(state: &State, files: &Files, memtables: &[Memtable<F>]) -> Vec<StoreFile> {
    let named =
        |number: &FileNumber| state.levels.iter().flatten().any(|table| table.number == *number);
    let live = |number: &FileNumber| memtables.iter().any(|memtable| memtable.log == *number);
    let tables = files.tables.iter().filter(|number| !named(number));
    let logs = files.logs.iter().filter(|number| !live(number));
    tables
        .map(|number| StoreFile::Table(*number))
        .chain(logs.map(|number| StoreFile::Log(*number)))
        .collect()
}
