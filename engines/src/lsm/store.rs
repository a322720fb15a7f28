//! The store: what its parts share, and how a write goes through it.
//!
//! A write:
//!
//! 1. takes the writer's lock, makes sure that there is room in the log (or begins a new log and memtable), and appends one frame;
//! 2. adds the frame's operations to the memtable, and publishes them;
//! 3. lets go of the lock, and in class `sync`, which is the store's or its own, waits until the log is synced up to the frame, together with all other writers.
//!
//! Background work is done by whoever comes: the store's threads, a caller who waits for it in [`Core::work`], or with [`Background::Inline`] the writer. The lock `flushing` sees to it
//! that at most one flush is under way; compactions are on a list, whose lock is held only while one is chosen (`compaction/schedule.rs`).
//!
//! Locks are taken in this order: `writer`, the list of compactions, `flushing`, `manifest`, `tree_changes` or
//! `names_synced`; last of all those within what the store uses: the budget's, and then one of the cache's. Readers take one of the cache's alone, where they need a block that is cached, and nobody does I/O under it.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::budget::{Part, index_bytes_max, memtable_bytes_max};
use super::compaction::picker::debt_bytes;
use super::compaction::run;
use super::compaction::schedule::{Compactions, Progress};
use super::files::{FileNumber, StoreFile};
use super::manifest::{Edit, Manifest};
use super::memtable::{self, LOG_BYTES_MAX, Memtable};
use super::options::{Background, KEY_BYTES_MAX, Options, VALUE_BYTES_MAX, WriteOptions};
use super::range::{KeyRange, key_after};
use super::rate::RateLimit;
use super::retired::Retired;
use super::stats::{Stats, count};
use super::table::Reading;
use super::version::{Tree, Version};
use super::wal::{self, Kind, LogHeader};
use crate::clock::deadline_ms;
use crate::engine::check_sizes;
use crate::log::{GroupCommit, LogWriter, frame};
use crate::storage::{Access, Appender, File, Storage};
use crate::{Direction, Durability, Error, EventKind, Result, WriteBatch, WriteOperation};

/// Bytes that writers may write between two pauses while they are slowed down.
const BYTES_PER_PAUSE: u64 = 64 << 10;
/// The longest of these pauses: 64 KiB per 4 ms are 16 MiB/s.
const PAUSE_MAX: Duration = Duration::from_millis(4);
/// The most that writers are slowed down by: that pause, in thousandths.
const PRESSURE_MAX: u32 = 1_000;
/// A memtable is looked at, while it fills, so many times at least ...
const LOOKS: u64 = 64;
/// ... but not sooner than after so many bytes of its log.
const LOOK_BYTES_MIN: u64 = 64 << 10;
/// The index over a log grows by no more than this for an entry: by 36 if leaves are half full, and something for the nodes above.
const ENTRY_BYTES_MAX: u64 = 40;
/// The same for each byte of the log, of which an entry takes nine at least.
const INDEX_BYTES_PER_LOG_BYTE_MAX: u64 = 5;
/// Writers wait so often, so long, for readers who are about to leave a memtable that has been flushed. Those who stay, such as snapshots, are not waited for.
const MOMENTS: u32 = 300;
const MOMENT: Duration = Duration::from_micros(100);
/// How long background work waits before it tries again on a full device.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(100);

/// What the handle, the sessions and the threads of a store share.
pub(crate) struct Core<S: Storage> {
    pub(crate) storage: S,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) tree: ArcSwap<Tree<S>>,
    pub(crate) retired: Retired<S>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) reading: Arc<Reading>,
    pub(crate) rate: RateLimit,
    /// The store is being closed.
    pub(crate) stop: AtomicBool,
    pub(crate) signals: Signals,
    tree_changes: Mutex<()>,
    writer: Mutex<Writer<S>>,
    manifest: Mutex<Manifest<S>>,
    commit: GroupCommit,
    /// Mirrors `commit`, for a look without a lock.
    poisoned: AtomicBool,
    next_number: AtomicU32,
    /// Files created so far.
    names_created: AtomicU64,
    /// So many of their names are durable. Held while they are made so.
    names_synced: Mutex<u64>,
    pub(crate) flushing: Mutex<()>,
    pub(crate) compactions: Compactions,
    /// The first log of this process. Those before it were found at open.
    first_log: FileNumber,
    /// Logs were found that nobody vouches for: they may be in the cache alone, under names that are in the cache alone.
    found: AtomicBool,
    /// How much writers are slowed down, from 0 to [`PRESSURE_MAX`].
    pressure: AtomicU32,
    /// That part of it for which compactions are the reason.
    compaction_pressure: AtomicU32,
    /// So many bytes of the log that is being flushed are in a table.
    flushed_bytes: AtomicU64,
    /// What scans have paid since the last compaction that was done for them (`compaction/for_scans.rs`).
    pub(crate) scan_cost_ns: AtomicU64,
    _lock: S::Lock,
}

/// The end of the log, and the memtable above it.
pub(crate) struct Writer<S: Storage> {
    pub(crate) log: LogWriter<S::Appender>,
    pub(crate) memtable: Arc<Memtable<S::File>>,
    /// Payload of a batch.
    payload: Vec<u8>,
    /// Bytes written since the last pause.
    unpaused_bytes: u64,
    /// Length of the log at which it is looked whether the memtable is full, and how far the flush is.
    look_at: u64,
}

impl<S: Storage> Writer<S> {
    pub(crate) fn new(log: LogWriter<S::Appender>, memtable: Arc<Memtable<S::File>>) -> Self {
        Self { log, memtable, payload: Vec::new(), unpaused_bytes: 0, look_at: 0 }
    }
}

/// Wakes those who wait for work, and those who wait for it to be done.
#[derive(Default)]
pub(crate) struct Signals {
    state: Mutex<SignalState>,
    changed: Condvar,
}

#[derive(Default)]
struct SignalState {
    /// Grows with everything that could be of interest.
    changes: u64,
    /// Why background work does not get on, while it does not.
    obstacle: Option<String>,
}

impl Signals {
    pub(crate) fn changes(&self) -> u64 {
        self.state.lock().changes
    }

    pub(crate) fn notify(&self) {
        self.state.lock().changes += 1;
        self.changed.notify_all();
    }

    /// Waits until there have been more than `seen` changes, or for a time.
    pub(crate) fn wait(&self, seen: u64, at_most: Duration) {
        let mut state = self.state.lock();
        if state.changes == seen {
            self.changed.wait_for(&mut state, at_most);
        }
    }

    pub(crate) fn set_obstacle(&self, obstacle: Option<String>) {
        self.state.lock().obstacle = obstacle;
        self.notify();
    }

    fn obstacle(&self) -> Option<String> {
        self.state.lock().obstacle.clone()
    }
}

/// What recovery hands over.
pub(crate) struct Parts<S: Storage> {
    pub(crate) storage: S,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) lock: S::Lock,
    pub(crate) stats: Arc<Stats>,
    pub(crate) reading: Arc<Reading>,
    pub(crate) tree: Tree<S>,
    pub(crate) writer: Writer<S>,
    pub(crate) manifest: Manifest<S>,
    pub(crate) next_number: FileNumber,
}

impl<S: Storage> Core<S> {
    pub(crate) fn new(parts: Parts<S>) -> Self {
        let unsynced = |memtable: &Arc<Memtable<_>>| memtable.synced_bytes() < memtable.log_bytes();
        let found = parts.tree.waiting.iter().any(unsynced);
        let first_log = parts.writer.memtable.log;
        let rate = RateLimit::new(parts.options.background_bytes_per_s);
        let core = Self {
            storage: parts.storage,
            dir: parts.dir,
            options: parts.options,
            tree: ArcSwap::from_pointee(parts.tree),
            retired: Retired::default(),
            stats: parts.stats,
            reading: parts.reading,
            rate,
            stop: AtomicBool::new(false),
            signals: Signals::default(),
            tree_changes: Mutex::new(()),
            writer: Mutex::new(parts.writer),
            manifest: Mutex::new(parts.manifest),
            commit: GroupCommit::default(),
            poisoned: AtomicBool::new(false),
            next_number: AtomicU32::new(parts.next_number),
            names_created: AtomicU64::new(1),
            names_synced: Mutex::new(0),
            flushing: Mutex::new(()),
            compactions: Compactions::default(),
            first_log,
            found: AtomicBool::new(found),
            pressure: AtomicU32::new(0),
            compaction_pressure: AtomicU32::new(0),
            flushed_bytes: AtomicU64::new(0),
            scan_cost_ns: AtomicU64::new(0),
            _lock: parts.lock,
        };
        core.update_pressure();
        core
    }

    /// A number for a new file.
    pub(crate) fn take_number(&self) -> FileNumber {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn next_number(&self) -> FileNumber {
        self.next_number.load(Ordering::Relaxed)
    }

    /// The tree between two writes; with it the length of the active log, and the sequence number of the next write.
    pub(crate) fn moment(&self) -> (Arc<Tree<S>>, u64, u64) {
        let writer = self.writer.lock();
        (self.tree.load_full(), writer.memtable.log_bytes(), writer.memtable.next_sequence())
    }

    /// Refuses all later writes.
    pub(crate) fn poison(&self, cause: &Error) {
        self.commit.poison(cause);
        self.poisoned.store(true, Ordering::Release);
        self.signals.notify();
    }

    /// Whether writes are refused, and why.
    pub(crate) fn check_poison(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) { self.commit.check() } else { Ok(()) }
    }

    /// Poisons the store after an error that leaves the disk in an unknown state, and passes the error on.
    fn fatal<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| {
            if !matches!(error, Error::Poisoned { .. }) {
                self.poison(error);
            }
        })
    }

    // Writing.

    /// The class of a write.
    #[inline]
    fn class(&self, options: WriteOptions) -> Durability {
        options.durability.unwrap_or(self.options.durability)
    }

    /// Stores or deletes one key.
    #[inline]
    pub(crate) fn write_one(
        &self,
        kind: Kind,
        key: &[u8],
        value: &[u8],
        options: WriteOptions,
    ) -> Result<()> {
        let class = self.class(options);
        check_sizes(key, value, KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
        let header = wal::operation_header(kind, key.len(), value.len());
        let payload_bytes = header.len() + key.len() + value.len();
        let mut writer = self.writer.lock();
        self.admit(&mut writer, payload_bytes, 1, class)?;
        let Writer { log, memtable, .. } = &mut *writer;
        let mut append = || {
            log.advance_watermark(memtable.synced_bytes());
            let at = log.append(&[&header, key, value])?;
            memtable.insert(memtable::first_operation(at), key)
        };
        self.fatal(append())?;
        self.acknowledge(writer, payload_bytes, class)
    }

    /// Applies a batch.
    pub(crate) fn write_batch(&self, batch: &WriteBatch, options: WriteOptions) -> Result<()> {
        let class = self.class(options);
        if batch.operations.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer.lock();
        writer.payload.clear();
        let mut now = None;
        for operation in &batch.operations {
            let payload = &mut writer.payload;
            match operation {
                WriteOperation::Put { key, value } => {
                    add_operation(payload, Kind::Put, key, value)?;
                }
                WriteOperation::PutExpiring { key, value, ttl } => {
                    let now_ms = *now.get_or_insert_with(|| self.options.clock.now_ms());
                    add_expiring(payload, key, value, deadline_ms(now_ms, *ttl))?;
                }
                WriteOperation::Delete { key } => add_operation(payload, Kind::Delete, key, &[])?,
                WriteOperation::DeleteRange { start, end } => {
                    add_operation(payload, Kind::DeleteRange, start, end)?;
                }
            }
        }
        self.write_payload(writer, batch.operations.len(), class)
    }

    /// Stores a value for a time.
    pub(crate) fn put_expiring(
        &self,
        key: &[u8],
        value: &[u8],
        ttl: Duration,
        options: WriteOptions,
    ) -> Result<()> {
        self.put_until(key, value, deadline_ms(self.options.clock.now_ms(), ttl), options)
    }

    /// Stores a value up to a time, in milliseconds since the Unix epoch.
    pub(crate) fn put_until(
        &self,
        key: &[u8],
        value: &[u8],
        expires_ms: u64,
        options: WriteOptions,
    ) -> Result<()> {
        let class = self.class(options);
        let mut writer = self.writer.lock();
        writer.payload.clear();
        add_expiring(&mut writer.payload, key, value, expires_ms)?;
        self.write_payload(writer, 1, class)
    }

    /// Deletes the keys from `start` up to, but without `end`.
    pub(crate) fn delete_between(&self, start: &[u8], end: &[u8]) -> Result<()> {
        let mut writer = self.writer.lock();
        writer.payload.clear();
        add_operation(&mut writer.payload, Kind::DeleteRange, start, end)?;
        self.write_payload(writer, 1, self.options.durability)
    }

    /// Deletes the keys of a range. One that has no end is ended behind the greatest key that there is.
    pub(crate) fn delete_range(&self, range: &KeyRange, options: WriteOptions) -> Result<()> {
        let start = match range.lower() {
            Bound::Unbounded => Vec::new(),
            Bound::Included(key) => key.to_vec(),
            Bound::Excluded(key) => match key_after(key) {
                Some(after) => after,
                None => return Ok(()),
            },
        };
        let mut writer = self.writer.lock();
        let last = match range.upper() {
            Bound::Unbounded => self.greatest_key(&writer)?,
            Bound::Included(key) | Bound::Excluded(key) => Some(key.to_vec()),
        };
        let end = match last {
            Some(last) if matches!(range.upper(), Bound::Excluded(_)) => last,
            // Behind a key that has no successor there is no end that could be written.
            Some(last) => key_after(&last)
                .ok_or(Error::KeyTooLong { len: last.len() + 1, max: KEY_BYTES_MAX })?,
            None => return Ok(()),
        };
        writer.payload.clear();
        add_operation(&mut writer.payload, Kind::DeleteRange, &start, &end)?;
        self.write_payload(writer, 1, self.class(options))
    }

    /// No key of the store is greater than this one, which need not be there. Who holds the lock knows that none is added.
    fn greatest_key(&self, writer: &Writer<S>) -> Result<Option<Vec<u8>>> {
        let tree = self.tree.load();
        let mut greatest: Option<Vec<u8>> = None;
        for memtable in tree.waiting.iter().chain([&writer.memtable]) {
            let cursor = memtable::Cursor::seek(memtable.view(), &[], Direction::Reverse)?;
            greatest = greatest.max(cursor.current().map(|(key, ..)| key.to_vec()));
        }
        let tables = tree.version.levels.iter().flatten();
        Ok(greatest.max(tables.map(|table| table.meta.key_max.clone()).max()))
    }

    /// Writes the operations in the writer's payload, if there are any.
    fn write_payload(
        &self,
        mut guard: MutexGuard<'_, Writer<S>>,
        operations: usize,
        class: Durability,
    ) -> Result<()> {
        let writer = &mut *guard;
        let payload_bytes = writer.payload.len();
        if payload_bytes == 0 {
            return self.check_poison();
        }
        self.admit(writer, payload_bytes, operations, class)?;
        let Writer { log, memtable, payload, .. } = writer;
        let mut append = || {
            log.advance_watermark(memtable.synced_bytes());
            let first = memtable::first_operation(log.append(&[payload])?);
            let malformed =
                |reason: &str| Error::corrupt(memtable.file().path(), first.into(), reason);
            memtable.insert_all(first, payload, log.len(), malformed)
        };
        self.fatal(append())?;
        // A large batch's memory is not worth keeping.
        if payload.capacity() > 1 << 20 {
            *payload = Vec::new();
        }
        self.acknowledge(guard, payload_bytes, class)
    }

    /// Shows a write that has been appended, and makes it as durable as its class promises.
    #[inline]
    fn acknowledge(
        &self,
        writer: MutexGuard<'_, Writer<S>>,
        payload_bytes: usize,
        class: Durability,
    ) -> Result<()> {
        writer.memtable.publish(writer.log.len());
        let ticket = writer.memtable.next_sequence();
        drop(writer);
        count(&self.stats.log_bytes, frame::frame_bytes(payload_bytes));
        if class == Durability::Sync {
            self.wait_durable(ticket)?;
        }
        Ok(())
    }

    /// Lets a write of this class, of so many operations and with a payload of `payload_bytes`, in: afterwards there is room for it.
    #[inline]
    fn admit(
        &self,
        writer: &mut Writer<S>,
        payload_bytes: usize,
        operations: usize,
        class: Durability,
    ) -> Result<()> {
        self.check_poison()?;
        if class == Durability::Sync {
            self.store_found()?;
        }
        let pressure = self.pressure.load(Ordering::Relaxed);
        if pressure > 0 {
            self.slow_down(writer, payload_bytes, pressure);
        }
        if writer.log.fits(payload_bytes)
            && writer.log.len() + payload_bytes as u64 <= writer.look_at
        {
            return Ok(());
        }
        self.look(writer, payload_bytes, operations)
    }

    /// Sees to it that a write has room, in the log and in memory.
    #[cold]
    fn look(&self, writer: &mut Writer<S>, payload_bytes: usize, operations: usize) -> Result<()> {
        let waiting_max = self.options.memtables_waiting_max;
        if self.tree.load().waiting.len() > waiting_max {
            // Only an opening finds so many logs.
            self.wait_for_flushes(waiting_max, 0)?;
        }
        if writer.log.fits(payload_bytes)
            && let Some(look_at) = self.next_look(writer, operations)
        {
            writer.look_at = look_at;
            self.press(writer.log.len());
            return Ok(());
        }
        let log_bytes = self.log_bytes_for(payload_bytes);
        self.wait_for_flushes(waiting_max - 1, memtable_bytes_max(log_bytes, &self.options))?;
        self.rotate(writer, payload_bytes)
    }

    /// Length of the log at which the memtable is to be looked at next; `None` if it has no room for a write of so many operations.
    fn next_look(&self, writer: &Writer<S>, operations: usize) -> Option<u64> {
        let (len, full) = (writer.log.len(), self.options.memtable_bytes);
        let index_bytes = writer.memtable.memory_bytes()
            + memtable::INDEX_STEP_BYTES
            + operations as u64 * ENTRY_BYTES_MAX;
        let log_left =
            index_bytes_max(full).saturating_sub(index_bytes) / INDEX_BYTES_PER_LOG_BYTE_MAX;
        // A memtable to which nothing is written yet will not get emptier.
        let is_full = len >= full || log_left < full / 1024;
        if is_full && writer.memtable.writes() > 0 {
            return None;
        }
        let step = (full / LOOKS).max(LOOK_BYTES_MIN).min(log_left);
        Some((len + step).min(full))
    }

    /// Slows writers down as far as they outrun the flush: by what they would have to wait for, if they went on like that, when the active memtable, whose log has `active_bytes`, is full.
    fn press(&self, active_bytes: u64) {
        let tree = self.tree.load();
        let waiting: u64 = tree.waiting.iter().map(|memtable| memtable.log_bytes()).sum();
        let to_flush = waiting.saturating_sub(self.flushed_bytes.load(Ordering::Relaxed));
        let memtables_left = self.options.memtables_waiting_max + 1 - tree.waiting.len();
        let memtable_bytes = self.options.memtable_bytes;
        let room = (memtables_left as u64 * memtable_bytes).saturating_sub(active_bytes);
        let of_memory = pressure(to_flush.saturating_sub(room), 0, memtable_bytes / 2);
        let of_compaction = self.compaction_pressure.load(Ordering::Relaxed);
        self.pressure.store(of_memory.max(of_compaction), Ordering::Relaxed);
    }

    /// Notes how far the flush is: so many bytes of the log of the oldest memtable are in a table.
    pub(crate) fn set_flushed(&self, bytes: u64) {
        self.flushed_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Length of a log that has room for a first write with a payload of `payload_bytes`.
    fn log_bytes_for(&self, payload_bytes: usize) -> u64 {
        self.options.memtable_bytes.max(memtable::log_bytes_for(payload_bytes))
    }

    /// Makes the writer pause now and then.
    #[cold]
    fn slow_down(&self, writer: &mut Writer<S>, payload_bytes: usize, pressure: u32) {
        writer.unpaused_bytes += payload_bytes as u64;
        if writer.unpaused_bytes >= BYTES_PER_PAUSE
            && self.options.background == Background::Threads
        {
            let start = Instant::now();
            std::thread::sleep(PAUSE_MAX * pressure / PRESSURE_MAX);
            writer.unpaused_bytes = 0;
            self.stats.pause(start);
        }
    }

    /// Waits until no more than `waiting` memtables wait, and there is memory for another one of `bytes`.
    fn wait_for_flushes(&self, waiting: usize, bytes: u64) -> Result<()> {
        let mut stalled_since = None;
        let outcome = loop {
            let seen = self.signals.changes();
            self.check_poison()?;
            let tree = self.tree.load();
            let has_room = tree.waiting.len() <= waiting
                && self.has_memory(&tree, bytes)
                && tree.version.levels[0].len() < self.options.l0_bounds().1;
            drop(tree);
            if has_room {
                break Ok(());
            }
            stalled_since.get_or_insert_with(Instant::now);
            if self.options.background == Background::Inline {
                if let Err(error) = self.work() {
                    break Err(error);
                }
            } else if let Some(obstacle) = self.signals.obstacle() {
                let source = std::io::Error::new(std::io::ErrorKind::StorageFull, obstacle);
                let path = self.dir.clone();
                break Err(Error::Io { operation: "flush memtables in", path, source });
            } else {
                self.signals.wait(seen, Duration::from_secs(1));
            }
        };
        if let Some(start) = stalled_since {
            self.stats.event(EventKind::Stall, start, 0);
        }
        outcome
    }

    /// Whether there is memory for another memtable of `bytes`, or none to be hoped for.
    fn has_memory(&self, tree: &Tree<S>, bytes: u64) -> bool {
        let has_room = || self.reading.budget.has_room_for(bytes);
        for _ in 0..MOMENTS {
            if has_room() {
                return true;
            }
            // What has been flushed, and no reader is at any more.
            self.retired.let_go();
            if has_room() {
                return true;
            }
            if !tree.waiting.is_empty() || self.flushing.is_locked() {
                return false;
            }
            std::thread::sleep(MOMENT);
        }
        true
    }

    /// Begins a new log, with room for a write with a payload of `payload_bytes`, and a memtable above it.
    fn rotate(&self, writer: &mut Writer<S>, payload_bytes: usize) -> Result<()> {
        // The names of logs become durable in their order, so that a log whose predecessor is missing is never the work of a crash. Mostly a flush has seen to
        // that meanwhile.
        self.fatal(self.sync_names())?;
        let old = Arc::clone(&writer.memtable);
        let header = LogHeader {
            number: self.take_number(),
            sequence: old.next_sequence(),
            previous: old.log,
            previous_bytes: writer.log.len(),
            previous_synced: old.synced_bytes() == writer.log.len(),
            previous_found: false,
        };
        let log_bytes = self.log_bytes_for(payload_bytes);
        let memory_bytes = memtable_bytes_max(log_bytes, &self.options);
        let charge = self.reading.budget.charge(Part::Memtables, memory_bytes);
        let appender =
            create_log(&self.storage, &self.dir, header.number, log_bytes, self.options.durability);
        let begun = begin_log(self.unless_full(appender)?, &header, log_bytes);
        let (log, memtable) = self.fatal(begun)?;
        count(&self.stats.log_bytes, log.len());
        self.name_created();
        memtable.count_with(charge);
        old.freeze();
        let memtable = Arc::new(memtable);
        self.change_tree(|tree| {
            tree.waiting.insert(0, old);
            tree.active = Arc::clone(&memtable);
        });
        let finished = std::mem::replace(writer, Writer::new(log, memtable));
        writer.payload = finished.payload;
        self.fatal(finished.log.finish())?;
        if self.options.background == Background::Inline {
            // What was written is safe in the log: that it cannot be flushed for want of room is no failure of this write.
            match self.work() {
                Err(error) if !error.is_disk_full() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    // Durability.

    /// Makes everything that was acknowledged so far durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.store_found()?;
        let ticket = self.writer.lock().memtable.next_sequence();
        // Recovered writes, and the names of logs, may need a sync even if no ticket has been given out since.
        if ticket == 0 {
            return self.fatal(self.sync_logs().map(|_| ()));
        }
        self.wait_durable(ticket)
    }

    /// Makes durable what was found at open, by writing it to tables. To sync those logs would prove nothing: if a sync of the process before has failed, the next one answers with
    /// success for pages, and for names, that are on no disk. Costs a flush for each log, or waits for them, once; on a full device it fails, and may be tried again.
    #[inline]
    fn store_found(&self) -> Result<()> {
        if self.found.load(Ordering::Relaxed) { self.flush_found() } else { Ok(()) }
    }

    #[cold]
    fn flush_found(&self) -> Result<()> {
        let is_found = |memtable: &Arc<Memtable<_>>| memtable.log < self.first_log;
        while self.tree.load().waiting.last().is_some_and(is_found) {
            self.flush_oldest()?;
        }
        self.found.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn wait_durable(&self, ticket: u64) -> Result<()> {
        self.fatal(self.commit.wait(ticket, || self.sync_logs()))
    }

    /// Syncs all logs, older ones first, and returns how many writes since the beginning of the store are durable now. What was found at open must be stored already.
    fn sync_logs(&self) -> Result<u64> {
        let (tree, memtable, log_bytes, covered) = {
            let writer = self.writer.lock();
            let covered = writer.memtable.next_sequence();
            (self.tree.load_full(), Arc::clone(&writer.memtable), writer.log.len(), covered)
        };
        self.sync_logs_of(&tree, &memtable, log_bytes, |error| self.distrust_logs(error))?;
        Ok(covered)
    }

    /// Syncs all logs, of which the newest one, that of `active`, has `log_bytes`, and tells `failed` which sync of one has failed.
    fn sync_logs_of(
        &self,
        tree: &Tree<S>,
        active: &Arc<Memtable<S::File>>,
        log_bytes: u64,
        failed: impl Fn(&Error),
    ) -> Result<()> {
        self.sync_names()?;
        let waiting = tree.waiting.iter().rev().map(|memtable| (memtable, memtable.log_bytes()));
        for (memtable, log_bytes) in waiting.chain([(active, log_bytes)]) {
            if memtable.synced_bytes() < log_bytes {
                memtable.file().sync().inspect_err(&failed)?;
                memtable.set_synced(log_bytes);
                count(&self.stats.fsyncs, 1);
            }
        }
        Ok(())
    }

    /// The sync of a log has failed: what its pages show from now on may not be what was written. Lets copies be read that have been verified.
    #[cold]
    fn distrust_logs(&self, error: &Error) {
        self.poison(error);
        // Who is writing comes to the end of it; nobody else begins.
        drop(self.writer.lock());
        self.distrust_unsynced();
    }

    fn distrust_unsynced(&self) {
        let tree = self.tree.load();
        for memtable in tree.waiting.iter().chain([&tree.active]) {
            if memtable.synced_bytes() < memtable.log_bytes() {
                memtable.distrust(&self.storage);
            }
        }
    }

    /// Notes that the name of a new file is not durable.
    pub(crate) fn name_created(&self) {
        self.names_created.fetch_add(1, Ordering::Release);
    }

    /// Makes the names of all files durable that were created before the call.
    pub(crate) fn sync_names(&self) -> Result<()> {
        let mut synced = self.names_synced.lock();
        let created = self.names_created.load(Ordering::Acquire);
        if *synced < created {
            self.storage.sync_dir(&self.dir)?;
            count(&self.stats.fsyncs, 1);
            *synced = created;
        }
        Ok(())
    }

    /// Makes a change of the tables durable.
    pub(crate) fn change_manifest(&self, edit: &Edit) -> Result<()> {
        self.check_poison()?;
        let mut manifest = self.manifest.lock();
        let next = if manifest.has_room(edit) {
            None
        } else {
            // If there is no room on the device, the old manifest stays, and nothing has happened.
            Some(manifest.create_next(self.take_number(), edit)?)
        };
        self.fatal(manifest.change(edit, next))
    }

    /// Shows a change of the tree to readers.
    pub(crate) fn change_tree(&self, change: impl FnOnce(&mut Tree<S>)) {
        let changes = self.tree_changes.lock();
        let old = self.tree.load_full();
        let mut tree = Tree {
            active: Arc::clone(&old.active),
            waiting: old.waiting.clone(),
            version: Arc::clone(&old.version),
        };
        change(&mut tree);
        self.tree.store(Arc::new(tree));
        // Under the lock, as the last change must have the last word.
        self.update_pressure();
        drop(changes);
        // Without threads there is nobody else who could let go of it.
        if self.options.background == Background::Threads {
            self.retired.add(old);
        }
        self.signals.notify();
    }

    /// Sets how much writers are slowed down: by how near level 0 is to the number of tables at which they wait, or by what compactions are behind by, whichever is more.
    fn update_pressure(&self) {
        let version = Arc::clone(&self.tree.load().version);
        let (slow, stop) = self.options.l0_bounds();
        let of_tables = pressure(version.levels[0].len() as u64, slow as u64, stop as u64);
        let debt = self.debt_bytes(&version);
        let of_debt = pressure(debt, self.options.debt_bytes_slow, self.options.debt_bytes_max);
        let of_compaction = of_tables.max(of_debt);
        self.compaction_pressure.store(of_compaction, Ordering::Relaxed);
        // What the flush is behind by is looked at again soon.
        self.pressure.store(of_compaction, Ordering::Relaxed);
    }

    /// Bytes that compactions are behind by, about.
    pub(crate) fn debt_bytes(&self, version: &Version<S>) -> u64 {
        debt_bytes(&version.metas(), &self.options)
    }

    // Background work.

    /// Flushes the memtable that has waited longest. Tells whether there was one.
    pub(crate) fn flush_oldest(&self) -> Result<bool> {
        let flushing = self.flushing.lock();
        self.check_poison()?;
        let tree = self.tree.load_full();
        let Some(memtable) = tree.waiting.last() else { return Ok(false) };
        self.unless_full(run::flush(self, memtable))?;
        drop(tree);
        // Writers may wait for its memory.
        self.retired.let_go();
        drop(flushing);
        self.signals.notify();
        Ok(true)
    }

    /// Poisons the store after any failure but that of a full device, which background work survives.
    pub(crate) fn unless_full<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Err(error) if !error.is_disk_full() => self.fatal(Err(error)),
            other => other,
        }
    }

    /// Flushes and compacts until nothing is due and nothing is under way.
    pub(crate) fn work(&self) -> Result<()> {
        loop {
            while self.flush_oldest()? {}
            let seen = self.signals.changes();
            match self.compact_once()? {
                Progress::Worked => {}
                Progress::Waits => self.signals.wait(seen, Duration::from_secs(1)),
                Progress::Idle => {
                    self.retired.let_go();
                    return Ok(());
                }
            }
        }
    }

    /// Freezes the active memtable, if anything is in it, and flushes all.
    pub(crate) fn flush(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        self.freeze(&mut writer)?;
        drop(writer);
        while self.flush_oldest()? {}
        Ok(())
    }

    /// As [`Self::flush`], while nobody writes.
    pub(crate) fn flush_with(&self, writer: &mut Writer<S>) -> Result<()> {
        self.freeze(writer)?;
        while self.flush_oldest()? {}
        Ok(())
    }

    fn freeze(&self, writer: &mut Writer<S>) -> Result<()> {
        self.check_poison()?;
        if writer.memtable.writes() > 0 {
            let waiting_max = self.options.memtables_waiting_max;
            let bytes = memtable_bytes_max(self.log_bytes_for(0), &self.options);
            self.wait_for_flushes(waiting_max - 1, bytes)?;
            self.rotate(writer, 0)?;
        }
        Ok(())
    }

    /// Keeps others from writing.
    pub(crate) fn lock_writer(&self) -> MutexGuard<'_, Writer<S>> {
        self.writer.lock()
    }

    /// The same, if nobody is writing.
    pub(crate) fn try_lock_writer(&self) -> Option<MutexGuard<'_, Writer<S>>> {
        self.writer.try_lock()
    }

    /// Takes the sequence number of a write that does nothing, and makes it durable with all before it: no other write will ever have it.
    pub(crate) fn take_sequence(&self, writer: &mut Writer<S>) -> Result<u64> {
        let header = wal::operation_header(Kind::DeleteRange, 1, 1);
        let payload = [&header[..], &[0], &[0]].concat();
        self.store_found()?;
        self.admit(writer, payload.len(), 1, self.options.durability)?;
        let sequence = writer.memtable.next_sequence();
        self.fatal(writer.log.append(&[&payload]))?;
        writer.memtable.publish(writer.log.len());
        count(&self.stats.log_bytes, frame::frame_bytes(payload.len()));
        let (tree, log_bytes) = (self.tree.load_full(), writer.log.len());
        let synced = self.sync_logs_of(&tree, &writer.memtable, log_bytes, |error| {
            self.poison(error);
            self.distrust_unsynced();
        });
        self.fatal(synced)?;
        Ok(sequence)
    }

    /// Writes down, at the very end, that all logs are whole.
    pub(crate) fn close(&self) -> Result<()> {
        self.check_poison()?;
        self.store_found()?;
        self.fatal(self.sync_logs().map(|_| ()))?;
        let tree = self.tree.load();
        let logs = tree.waiting.iter().chain([&tree.active]);
        let logs = logs.filter(|memtable| memtable.writes() > 0);
        let closed = logs.map(|memtable| (memtable.log, memtable.log_bytes())).collect();
        let next_number = Some(self.next_number());
        self.fatal(self.change_manifest(&Edit { next_number, closed, ..Edit::default() }))
    }
}

/// Adds an operation to the payload of a write, if it does anything.
///
/// # Errors
/// If the key, what stands in place of a value, or the payload is too long.
fn add_operation(payload: &mut Vec<u8>, kind: Kind, key: &[u8], value: &[u8]) -> Result<()> {
    let mut key = key;
    if kind == Kind::DeleteRange {
        // What begins with the empty key, which is none, begins with the least one.
        key = if key.is_empty() { &[0] } else { key };
        check_sizes(key, &[], KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
        if value.len() > KEY_BYTES_MAX {
            return Err(Error::KeyTooLong { len: value.len(), max: KEY_BYTES_MAX });
        }
        if key >= value {
            return Ok(());
        }
    } else {
        check_sizes(key, value, KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
    }
    append_operation(payload, kind, key, &[value])
}

/// Adds the put of a value that expires to the payload of a write.
///
/// # Errors
/// As [`add_operation`].
fn add_expiring(payload: &mut Vec<u8>, key: &[u8], value: &[u8], expires_ms: u64) -> Result<()> {
    check_sizes(key, value, KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
    append_operation(payload, Kind::PutExpiring, key, &[&expires_ms.to_le_bytes(), value])
}

/// Appends an operation, whose value is given in parts.
fn append_operation(payload: &mut Vec<u8>, kind: Kind, key: &[u8], value: &[&[u8]]) -> Result<()> {
    let value_bytes = value.iter().map(|part| part.len()).sum();
    payload.extend_from_slice(&wal::operation_header(kind, key.len(), value_bytes));
    payload.extend_from_slice(key);
    for part in value {
        payload.extend_from_slice(part);
    }
    let bytes = memtable::log_bytes_for(payload.len());
    if bytes > LOG_BYTES_MAX {
        return Err(Error::ValueTooLong { len: bytes as usize, max: LOG_BYTES_MAX as usize });
    }
    Ok(())
}

/// How far `value` is on the way from `slow` to `most`, from 0 to [`PRESSURE_MAX`].
fn pressure(value: u64, slow: u64, most: u64) -> u32 {
    let share = value.saturating_sub(slow) as f64 / most.saturating_sub(slow).max(1) as f64;
    (share.min(1.0) * f64::from(PRESSURE_MAX)) as u32
}

/// Creates the file of a log, with room for `log_bytes`.
pub(crate) fn create_log<S: Storage>(
    storage: &S,
    dir: &Path,
    number: FileNumber,
    log_bytes: u64,
    durability: Durability,
) -> Result<S::Appender> {
    let appender = storage.create(&StoreFile::Log(number).path(dir), Some(log_bytes))?;
    // A sync stores whole pages, and in class `sync` each write asks for one.
    if durability != Durability::Sync {
        appender.file().advise(Access::Filling);
    }
    Ok(appender)
}

/// Begins a log in its file, with an empty memtable above it.
pub(crate) fn begin_log<A: Appender>(
    appender: A,
    header: &LogHeader,
    log_bytes: u64,
) -> Result<(LogWriter<A>, Memtable<A::File>)> {
    let file = appender.file();
    let log = wal::begin(appender, header)?;
    Ok((log, Memtable::new(header.number, header.sequence, file, log_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_are_slowed_down_in_proportion() {
        assert_eq!(pressure(0, 20, 36), 0);
        assert_eq!(pressure(20, 20, 36), 0);
        assert_eq!(pressure(24, 20, 36), 250);
        assert_eq!(pressure(28, 20, 36), 500);
        assert_eq!(pressure(36, 20, 36), PRESSURE_MAX);
        assert_eq!(pressure(u64::MAX, 20, 36), PRESSURE_MAX);
        assert_eq!(pressure(1 << 40, u64::MAX - 1, u64::MAX), 0);
    }
}
