//! Tables outside of a store: written one key after the other, read, merged, and taken in by [`Lsm::ingest`](super::Lsm::ingest).
//!
//! Such a table is in no way different from those of a store but for its number: a store numbers its files from 1 on, and a table outside gets a number that no store comes to, from its path and the time. Checksums start from
//! it, and stay what they are when the table is taken into a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::deadline;
use super::files::{FILE_NUMBER_MAX, FileNumber};
use super::findings::TableFigures;
use super::memtable::Lookup;
use super::merge::{Cursor, Merge};
use super::options::{Compression, KEY_BYTES_MAX, Options, VALUE_BYTES_MAX};
use super::range::{KeyRange, bound_key};
use super::range_set::RangeSet;
use super::shadowed::{Deleted, Sources};
use super::stats::Probes;
use super::table::look::{Item, look_through};
use super::table::{self, Purpose, Reading, Table, TableBuilder, TableOptions, filter};
use super::wal::Kind;
use crate::clock::deadline_ms;
use crate::engine::check_sizes;
use crate::storage::{Disk, File, Storage};
use crate::{Clock, Direction, Error, Result};

/// How a table is written.
#[derive(Clone, Debug)]
pub struct TableWriterOptions {
    /// Length at which a data block is ended. 1 byte to 1 MiB.
    pub block_bytes: usize,
    /// Bits of the filter per key; 0 for no filter. At most 64.
    pub filter_bits_per_key: usize,
    /// What time it is: when the table was created, which the style [`Fifo`](super::Fifo) asks for, and from when on values that expire are counted.
    pub clock: Clock,
}

impl Default for TableWriterOptions {
    fn default() -> Self {
        let Options { block_bytes, filter_bits_per_key, clock, .. } = Options::default();
        Self { block_bytes, filter_bits_per_key, clock }
    }
}

/// Writes a table, key by key in ascending order.
///
/// ```
/// use kvdyno_engines::lsm::{Lsm, Options, TableWriter, TableWriterOptions};
/// use kvdyno_engines::storage::Disk;
///
/// # fn main() -> kvdyno_engines::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("imported.table");
/// let mut writer = TableWriter::create(&Disk, &path, TableWriterOptions::default())?;
/// for number in 0..1_000_u32 {
///     writer.put(&number.to_be_bytes(), b"imported")?;
/// }
/// writer.finish()?;
///
/// let store = Lsm::open(Disk, dir.path().join("store"), Options::default())?;
/// store.ingest([&path])?;
/// assert_eq!(store.iter(..).count(), 1_000);
/// # Ok(())
/// # }
/// ```
pub struct TableWriter<S: Storage = Disk> {
    storage: S,
    path: PathBuf,
    /// None once it is finished.
    builder: Option<TableBuilder<S::Appender>>,
    last: Vec<u8>,
    ranges: Vec<RangeSet>,
    clock: Clock,
}

impl<S: Storage> TableWriter<S> {
    /// Begins a table in a new file. Until [`TableWriter::finish`] it is none, and a writer that is dropped before removes it.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]; [`Error::Io`] if there is such a file already.
    pub fn create(
        storage: &S,
        path: impl AsRef<Path>,
        options: TableWriterOptions,
    ) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let TableWriterOptions { block_bytes, filter_bits_per_key, clock } = options;
        Options { block_bytes, filter_bits_per_key, ..Options::default() }.check()?;
        let created_ms = clock.now_ms();
        let number = number_outside(&path, created_ms);
        let appender = storage.create(&path, None)?;
        let options =
            TableOptions { block_bytes, filter_bits_per_key, compression: Compression::None };
        let builder = TableBuilder::new(appender, number, 0, (0, 0), created_ms, options);
        let (storage, last, ranges) = (storage.clone(), Vec::new(), Vec::new());
        Ok(Self { storage, path, builder: Some(builder), last, ranges, clock })
    }

    /// Adds a key with its value. The key is greater than all that were added before.
    ///
    /// # Errors
    /// [`Error::NotAscending`]; [`Error::EmptyKey`], [`Error::KeyTooLong`], [`Error::ValueTooLong`]; then the table goes on as if nothing had been added.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_sizes(key, value, KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
        self.add(key, Kind::Put, value)
    }

    /// Adds a key with a value that is gone after `ttl` from now on, measured in milliseconds, whenever the table is taken into a store: see [values that expire](super#values-that-expire). The key is
    /// greater than all that were added before.
    ///
    /// # Errors
    /// As [`TableWriter::put`].
    pub fn put_expiring(&mut self, key: &[u8], value: &[u8], ttl: Duration) -> Result<()> {
        check_sizes(key, value, KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
        let expires_ms = deadline_ms(self.clock.now_ms(), ttl);
        self.add(key, Kind::PutExpiring, &deadline::join(expires_ms, value))
    }

    /// Adds a deletion: the table hides the key where it is older. The key is greater than all that were added before.
    ///
    /// # Errors
    /// As [`TableWriter::put`].
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        check_sizes(key, &[], KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
        self.add(key, Kind::Delete, &[])
    }

    /// Adds the deletion of a range of keys: the table hides where they are older, and none of its own, whichever was added first. Ranges may come in any order, and overlap. One whose end is not greater than its start does nothing.
    ///
    /// Costs memory for the range.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`].
    pub fn delete_range(&mut self, start: &[u8], end: &[u8]) -> Result<()> {
        let start = if start.is_empty() { &[0] } else { start };
        check_sizes(start, &[], KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
        if start < end {
            check_sizes(end, &[], KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
            let mut range = RangeSet::default();
            range.push(start, end);
            self.ranges.push(range);
        }
        Ok(())
    }

    /// Adds an entry whose sizes are known to be possible.
    fn add(&mut self, key: &[u8], kind: Kind, value: &[u8]) -> Result<()> {
        if key <= &self.last[..] {
            let (key, last) = (key.to_vec(), self.last.clone());
            return Err(Error::NotAscending { file: self.path.clone(), key, last });
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        match &mut self.builder {
            Some(builder) => builder.add(key, kind, value),
            None => unreachable!("it is taken when the writer goes"),
        }
    }

    /// Length of the file so far, about.
    pub fn bytes(&self) -> u64 {
        self.builder.as_ref().map_or(0, TableBuilder::bytes)
    }

    /// Ends the table and makes its content durable, though not its name.
    ///
    /// # Errors
    /// [`Error::EmptyTable`] if nothing was added; the file is removed then.
    pub fn finish(mut self) -> Result<TableFigures> {
        let ranges = RangeSet::union(&self.ranges);
        if self.last.is_empty() && ranges.is_empty() {
            return Err(Error::EmptyTable { file: self.path.clone() });
        }
        let Some(builder) = self.builder.take() else { unreachable!("it is taken once") };
        let finished = builder.finish(&ranges);
        if finished.is_err() {
            // What is there is no table.
            let _ = self.storage.remove(&self.path);
        }
        drop(finished?);
        TableReader::open(&self.storage, &self.path)?.figures()
    }
}

impl<S: Storage> Drop for TableWriter<S> {
    fn drop(&mut self) {
        if self.builder.take().is_some() {
            // What stays if this fails is refused as no table.
            let _ = self.storage.remove(&self.path);
        }
    }
}

/// A number for a table that belongs to no store: one that no store comes to.
fn number_outside(path: &Path, created_ms: u64) -> FileNumber {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(path.as_os_str().as_encoded_bytes());
    hasher.update(&created_ms.to_le_bytes());
    (hasher.finalize() | FILE_NUMBER_MAX).max(FILE_NUMBER_MAX + 1)
}

/// What a table says about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableEntry {
    /// It has this value.
    Value,
    /// It has this value until a time, which may have passed; then it is deleted, by this entry, wherever it is older.
    Expiring {
        /// That time, in milliseconds since the Unix epoch.
        expires_ms: u64,
    },
    /// It is deleted, by itself or in a range, wherever it is older.
    Deleted,
    /// Nothing.
    Absent,
}

/// Reads a table that a [`TableWriter`] has written.
pub struct TableReader<S: Storage = Disk> {
    table: Arc<Table<S>>,
}

impl<S: Storage> TableReader<S> {
    /// Opens a table. Costs a read of its index, filter and ranges; data blocks are verified as they are read.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the file is damaged, or is no table; [`Error::NotOutside`] if it is one of a store.
    pub fn open(storage: &S, path: impl AsRef<Path>) -> Result<Self> {
        let table = open_outside(storage, path.as_ref())?;
        Ok(Self { table })
    }

    /// What is in it.
    ///
    /// # Errors
    /// [`Error::Corrupt`], as for [`TableReader::open`].
    pub fn figures(&self) -> Result<TableFigures> {
        let (file, number) = (self.table.file(), self.table.meta.number);
        let mut damage = None;
        let mut note = |offset, reason: String| damage = Some((offset, reason));
        let looked = look_through(file, number, Some(&self.table.meta), None, &mut note)?;
        match (looked.figures, damage) {
            (Some(figures), None) => Ok(figures),
            (_, damage) => {
                let (offset, reason) = damage.unwrap_or((0, "it cannot be read".to_owned()));
                Err(Error::corrupt(file.path(), offset, reason))
            }
        }
    }

    /// Reads what the table says about `key`, its value into `value`, replacing what was there.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<TableEntry> {
        value.clear();
        let found = self.table.get(key, filter::hash(key), value, &mut Probes::default())?;
        Ok(match found {
            Lookup::Found => TableEntry::Value,
            Lookup::Expiring(expires_ms) => TableEntry::Expiring { expires_ms },
            Lookup::Deleted => TableEntry::Deleted,
            Lookup::Absent => TableEntry::Absent,
            Lookup::Pointer | Lookup::PointerExpiring(_) => {
                return Err(points_somewhere(&self.table));
            }
        })
    }

    /// Calls `visit` with the keys of a range in ascending order, what the table says about each, and the value, which is empty for a deletion, until it returns false. Ranges of deleted keys are not among them: see [`TableReader::ranges`].
    ///
    /// # Errors
    /// [`Error::Corrupt`]; what comes behind the damage is not visited.
    pub fn scan(
        &self,
        range: impl Into<KeyRange>,
        mut visit: impl FnMut(&[u8], TableEntry, &[u8]) -> bool,
    ) -> Result<()> {
        let range = range.into();
        let start = bound_key(range.lower()).unwrap_or_default();
        let mut cursor =
            table::Cursor::seek(&self.table, start, Direction::Forward, Purpose::Query)?;
        while let Some((key, kind, value)) = cursor.current() {
            // No table outside of a store has pointers.
            let (entry, value) = match deadline::split(value) {
                _ if kind == Kind::Delete => (TableEntry::Deleted, value),
                Some((expires_ms, value)) if kind == Kind::PutExpiring => {
                    (TableEntry::Expiring { expires_ms }, value)
                }
                _ => (TableEntry::Value, value),
            };
            if range.is_behind(key, Direction::Forward)
                || range.contains(key) && !visit(key, entry, value)
            {
                break;
            }
            cursor.advance()?;
        }
        Ok(())
    }

    /// The ranges of keys that the table deletes where they are older, in order: start, and end, which is not deleted. They hide nothing of the table's own.
    pub fn ranges(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let spans = self.table.ranges().spans();
        spans.iter().map(|span| (&span.start[..], &span.end[..]))
    }

    /// Reads every byte.
    ///
    /// # Errors
    /// [`Error::Corrupt`], with the first damage.
    pub fn verify(&self) -> Result<()> {
        verify_table(&self.table)
    }
}

/// Opens a table that belongs to no store.
pub(crate) fn open_outside<S: Storage>(storage: &S, path: &Path) -> Result<Arc<Table<S>>> {
    let file = storage.open(path)?;
    let meta = table::look::says_itself(&file)?;
    if meta.number <= FILE_NUMBER_MAX {
        return Err(Error::NotOutside { file: path.to_owned() });
    }
    let reading = Arc::new(Reading::new(&Options::default(), storage.memory_bytes()));
    let table = Table::open(storage.clone(), file, meta, reading)?;
    if table.meta.values.is_empty() { Ok(table) } else { Err(points_somewhere(&table)) }
}

/// A table that belongs to no store has all its values with it.
#[cold]
fn points_somewhere<S: Storage>(table: &Table<S>) -> Error {
    let reason = "the table points to values outside of it, and belongs to no store that has them";
    Error::corrupt(table.file().path(), 0, reason)
}

/// Reads every byte of a table.
pub(crate) fn verify_table<S: Storage>(table: &Table<S>) -> Result<()> {
    let mut damage: Option<(u64, String)> = None;
    let mut note = |offset, reason: String| {
        damage.get_or_insert((offset, reason));
    };
    let mut pass = |_: Item<'_>| Ok(std::ops::ControlFlow::Continue(()));
    look_through(table.file(), table.meta.number, Some(&table.meta), Some(&mut pass), &mut note)?;
    match damage {
        Some((offset, reason)) => Err(Error::corrupt(table.file().path(), offset, reason)),
        None => Ok(()),
    }
}

/// Merges tables into one that says the same as all of them, the youngest first among the inputs: each key once, as the youngest says. What had expired when the writer was created counts as deleted. With `drops_deletions`, deletions and deleted ranges are left out, for a table below which there is
/// nothing. What is written is added to `writer`, which the caller finishes.
///
/// # Errors
/// [`Error::Corrupt`] if an input is damaged; those of [`TableWriter`].
pub fn merge_tables<S: Storage>(
    youngest_first: &[TableReader<S>],
    drops_deletions: bool,
    writer: &mut TableWriter<S>,
) -> Result<()> {
    let mut sources = Sources::new();
    for TableReader { table, .. } in youngest_first {
        let deleted = table.deletes_ranges().then(|| Deleted::Table(table.ranges()));
        let cursor = table::Cursor::seek(table, &[], Direction::Forward, Purpose::Compaction)?;
        sources.push(Cursor::Table(cursor), deleted);
    }
    let mut merge = Merge::new(sources.cursors()?, Direction::Forward);
    let now_ms = writer.builder.as_ref().map_or(0, TableBuilder::created_ms);
    while let Some((key, kind, value)) = merge.current() {
        if !deadline::is_gone(kind, value, now_ms) {
            writer.add(key, kind, value)?;
        } else if !drops_deletions {
            writer.delete(key)?;
        }
        merge.advance()?;
    }
    if !drops_deletions {
        let tables = youngest_first.iter().map(|reader| &reader.table);
        writer.ranges.push(RangeSet::union(tables.map(|table| table.ranges())));
    }
    Ok(())
}
