//! The manifest: a log of changes to the set of tables and logs.
//!
//! 1. Each change is one frame, an [`Edit`], synced before it takes effect for anybody. What it names was synced before.
//! 2. The first frame is the whole [`State`], as an edit to nothing.
//! 3. Each open, and each manifest that is full, begins a new one: it is written and synced, then its name is synced, then the old one is removed, and that is synced
//!    before anything is added to the new one. So the newest manifest whose first frame is whole is the right one, and an older one that is still there
//!    says the same.
//! 4. A clean close, last of all, writes down how long each log is: what is missing from them later is corruption, not a torn tail.
//!
//! A frame holds fields, one after the other:
//!
//! ```text
//! tag (1 byte)     what follows
//! 1 header         magic "kvdLSMmf", version (4): 4
//! 2 next number    number (4) that the next file gets, at least
//! 3 flushed        number (4) of the first log that counts, sequence number (8) of the first write that is in no table
//! 4 table added    level (1), then as in [`super::table::TableMeta`]
//! 5 table removed  level (1), number (4)
//! 6 log closed     number (4), length (8): the log is whole, synced, and this long
//! 7 values added   number (4), length (8) of a file of values; comes before the tables that point to it
//! ```
//!
//! A file of values that no table points to any more is gone with the edit that removes the last one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::codec::Decoder;
use super::files::{FILE_NUMBER_MAX, FileNumber, StoreFile};
use super::stats::{Stats, count};
use super::table::TableMeta;
use super::version::{PerLevel, sort_level};
use crate::log::{Expected, LogWriter, Tail, frame};
use crate::storage::{File, Storage};
use crate::{Error, Result, log};

const MAGIC: &[u8; 8] = b"kvdLSMmf";
/// Version 1 did not say when tables were created, version 2 knew no ranges of deleted keys and no value log, version 3 no values that expire.
const VERSION: u32 = 4;
/// Room that is set aside for a manifest, at least: for some thirty edits.
const CAPACITY_MIN: u64 = 4 << 10;

/// No store gets to a greater sequence number.
const SEQUENCE_MAX: u64 = 1 << 62;

const TAG_HEADER: u8 = 1;
const TAG_NEXT_NUMBER: u8 = 2;
const TAG_FLUSHED: u8 = 3;
const TAG_ADDED: u8 = 4;
const TAG_REMOVED: u8 = 5;
const TAG_CLOSED: u8 = 6;
const TAG_VALUES_ADDED: u8 = 7;

/// What the manifest knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// All files' numbers are below this.
    pub(crate) next_number: FileNumber,
    /// Logs with lower numbers do not count any more.
    pub(crate) logs_from: FileNumber,
    /// Sequence number of the first write that is in no table.
    pub(crate) sequence: u64,
    pub(crate) levels: PerLevel<Vec<TableMeta>>,
    /// Logs that are whole, with their lengths.
    pub(crate) closed_logs: BTreeMap<FileNumber, u64>,
    /// Files of values that tables point to.
    pub(crate) value_files: BTreeMap<FileNumber, ValueFileState>,
}

/// A file of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ValueFileState {
    /// Its length.
    pub(crate) bytes: u64,
    /// Of these, bytes that tables point to.
    pub(crate) live_bytes: u64,
}

/// A change to the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) next_number: Option<FileNumber>,
    /// The first log that counts, and the sequence number of the first write that is in no table.
    pub(crate) flushed: Option<(FileNumber, u64)>,
    pub(crate) removed: Vec<(usize, FileNumber)>,
    pub(crate) added: Vec<(usize, TableMeta)>,
    pub(crate) closed: Vec<(FileNumber, u64)>,
    /// Files of values with their lengths.
    pub(crate) values: Vec<(FileNumber, u64)>,
}

impl Edit {
    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    fn encode(&self, out: &mut Vec<u8>) {
        if let Some(number) = self.next_number {
            out.push(TAG_NEXT_NUMBER);
            out.extend_from_slice(&number.to_le_bytes());
        }
        if let Some((logs_from, sequence)) = self.flushed {
            out.push(TAG_FLUSHED);
            out.extend_from_slice(&logs_from.to_le_bytes());
            out.extend_from_slice(&sequence.to_le_bytes());
        }
        for (level, number) in &self.removed {
            out.extend_from_slice(&[TAG_REMOVED, *level as u8]);
            out.extend_from_slice(&number.to_le_bytes());
        }
        for (number, bytes) in &self.values {
            out.push(TAG_VALUES_ADDED);
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&bytes.to_le_bytes());
        }
        for (level, meta) in &self.added {
            out.extend_from_slice(&[TAG_ADDED, *level as u8]);
            meta.encode(out);
        }
        for (number, bytes) in &self.closed {
            out.push(TAG_CLOSED);
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&bytes.to_le_bytes());
        }
    }

    pub(super) fn decode(mut fields: Decoder<'_>) -> Option<Self> {
        let mut edit = Self::default();
        while !fields.is_empty() {
            match fields.u8()? {
                TAG_NEXT_NUMBER => edit.next_number = Some(fields.u32()?),
                TAG_FLUSHED => edit.flushed = Some((fields.u32()?, fields.u64()?)),
                TAG_ADDED => {
                    let level = usize::from(fields.u8()?);
                    edit.added.push((level, TableMeta::decode(&mut fields)?));
                }
                TAG_REMOVED => edit.removed.push((fields.u8()?.into(), fields.u32()?)),
                TAG_CLOSED => edit.closed.push((fields.u32()?, fields.u64()?)),
                TAG_VALUES_ADDED => edit.values.push((fields.u32()?, fields.u64()?)),
                _ => return None,
            }
        }
        Some(edit)
    }
}

impl State {
    /// The state as an edit to nothing, behind the header.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![TAG_HEADER];
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        let levels = self.levels.iter().enumerate();
        let edit = Edit {
            next_number: Some(self.next_number),
            flushed: Some((self.logs_from, self.sequence)),
            removed: Vec::new(),
            added: levels
                .flat_map(|(level, metas)| metas.iter().map(move |meta| (level, meta.clone())))
                .collect(),
            closed: self.closed_logs.iter().map(|(number, bytes)| (*number, *bytes)).collect(),
            values: self.value_files.iter().map(|(number, file)| (*number, file.bytes)).collect(),
        };
        edit.encode(&mut out);
        out
    }

    /// Applies an edit. `None` if it is impossible; the state is then half changed and of no use.
    pub(super) fn apply(&mut self, edit: &Edit) -> Option<()> {
        let counts =
            |(logs_from, sequence)| logs_from <= FILE_NUMBER_MAX && sequence <= SEQUENCE_MAX;
        if edit.next_number.unwrap_or(0) > FILE_NUMBER_MAX || !edit.flushed.is_none_or(counts) {
            return None;
        }
        self.next_number = self.next_number.max(edit.next_number.unwrap_or(0));
        if let Some((logs_from, sequence)) = edit.flushed {
            self.logs_from = logs_from;
            self.sequence = sequence;
            self.closed_logs.retain(|number, _| *number >= logs_from);
        }
        for (level, number) in &edit.removed {
            let tables = self.levels.get_mut(*level)?;
            let table = tables.remove(tables.iter().position(|table| table.number == *number)?);
            self.point(&table, false)?;
        }
        for (number, bytes) in &edit.values {
            let file = ValueFileState { bytes: *bytes, live_bytes: 0 };
            if self.value_files.insert(*number, file).is_some() {
                return None;
            }
        }
        for (level, meta) in &edit.added {
            let known = self.levels.iter().flatten().any(|table| table.number == meta.number);
            if known {
                return None;
            }
            self.levels.get_mut(*level)?.push(meta.clone());
            self.point(meta, true)?;
        }
        self.value_files.retain(|_, file| file.live_bytes > 0);
        for (level, tables) in self.levels.iter_mut().enumerate() {
            sort_level(level, tables, |table| table);
        }
        self.closed_logs.extend(edit.closed.iter().copied());
        self.is_ordered().then_some(())
    }

    /// Counts what a table points to, or did until now. `None` if that cannot be.
    fn point(&mut self, table: &TableMeta, points: bool) -> Option<()> {
        for (number, bytes) in &table.values {
            let file = self.value_files.get_mut(number)?;
            file.live_bytes = if points {
                file.live_bytes.checked_add(*bytes).filter(|live| *live <= file.bytes)?
            } else {
                file.live_bytes.checked_sub(*bytes)?
            };
        }
        Some(())
    }

    /// Whether the tables of each level but 0 have no keys in common.
    fn is_ordered(&self) -> bool {
        self.levels[1..]
            .iter()
            .all(|tables| tables.windows(2).all(|pair| pair[0].ends_before(&pair[1].key_min)))
    }
}

/// Reads the state from the manifest in `file`.
///
/// # Errors
/// [`Error::Corrupt`] if it is damaged, [`Error::NotAStore`] if it is of another version.
pub(crate) fn read<F: File>(file: &F, number: FileNumber) -> Result<State> {
    let mut state = State::default();
    read_into(file, number, &mut state)?;
    Ok(state)
}

/// As [`read`], into a `state` that is empty; returns how far the manifest goes. If it is damaged behind its first edit, the state is what the edits before the damage say.
pub(crate) fn read_into<F: File>(file: &F, number: FileNumber, state: &mut State) -> Result<Tail> {
    let corrupt = |offset: u64, reason: &str| Error::corrupt(file.path(), offset, reason);
    let tail = log::replay(file, number, 0, Expected::Torn, |offset, payload| {
        let mut fields = Decoder::new(payload);
        if offset == 0 {
            if fields.u8() != Some(TAG_HEADER) || fields.slice(MAGIC.len()) != Some(MAGIC) {
                return Err(corrupt(0, "this is not the header of a manifest"));
            }
            let version = fields.u32().unwrap_or(0);
            if version != VERSION {
                let reason = format!(
                    "its manifest has version {version}, and this build knows version {VERSION}: open it with the build that wrote it"
                );
                return Err(Error::NotAStore { path: file.path().to_owned(), reason });
            }
        }
        let edit = Edit::decode(fields).ok_or_else(|| corrupt(offset, "the edit is malformed"))?;
        if state.apply(&edit).is_none() {
            // It may be half changed.
            *state = State::default();
            return Err(corrupt(offset, "the edit is impossible"));
        }
        Ok(())
    })?;
    if tail.len == 0 {
        return Err(corrupt(0, "the manifest's first frame is damaged"));
    }
    Ok(tail)
}

/// Writes the manifest.
pub(crate) struct Manifest<S: Storage> {
    storage: S,
    dir: PathBuf,
    stats: Arc<Stats>,
    writer: LogWriter<S::Appender>,
    state: State,
}

impl<S: Storage> Manifest<S> {
    /// Begins the manifest with this number, and makes it durable.
    pub(crate) fn create(
        storage: S,
        dir: &Path,
        stats: Arc<Stats>,
        number: FileNumber,
        state: State,
    ) -> Result<Self> {
        let payload = state.encode();
        let writer = create(&storage, dir, number, payload.len())?;
        let mut manifest = Self { storage, dir: dir.to_owned(), stats, writer, state };
        manifest.append(&payload)?;
        manifest.sync_names()?;
        Ok(manifest)
    }

    /// Whether an edit can be added to this file.
    pub(crate) fn has_room(&self, edit: &Edit) -> bool {
        self.writer.fits(edit.encoded().len())
    }

    /// Creates the file of the next manifest, which is to begin with `edit`. Without [`Self::change`] it means nothing.
    pub(crate) fn create_next(
        &self,
        number: FileNumber,
        edit: &Edit,
    ) -> Result<LogWriter<S::Appender>> {
        let bytes = self.state.encode().len() + edit.encoded().len();
        create(&self.storage, &self.dir, number, bytes)
    }

    /// Makes a change durable, in the `next` manifest if there is one.
    ///
    /// # Errors
    /// Any error leaves unknown what the disk says.
    pub(crate) fn change(
        &mut self,
        edit: &Edit,
        next: Option<LogWriter<S::Appender>>,
    ) -> Result<()> {
        if let Some(next) = next {
            self.state.next_number = self.state.next_number.max(next.id() + 1);
            let old = std::mem::replace(&mut self.writer, next);
            self.append(&self.state.encode())?;
            self.sync_names()?;
            self.storage.remove(old.file().path())?;
            self.sync_names()?;
        }
        if self.state.apply(edit).is_none() {
            let reason = "an edit would make the manifest impossible";
            return Err(Error::corrupt(self.writer.file().path(), self.writer.len(), reason));
        }
        self.append(&edit.encoded())
    }

    fn append(&mut self, payload: &[u8]) -> Result<()> {
        self.writer.append(&[payload])?;
        self.writer.file().sync()?;
        self.writer.advance_watermark(self.writer.len());
        count(&self.stats.fsyncs, 1);
        count(&self.stats.manifest_bytes, frame::frame_bytes(payload.len()));
        Ok(())
    }

    fn sync_names(&self) -> Result<()> {
        self.storage.sync_dir(&self.dir)?;
        count(&self.stats.fsyncs, 1);
        Ok(())
    }
}

/// Creates a manifest's file, with room for first frames of `bytes` and many more.
fn create<S: Storage>(
    storage: &S,
    dir: &Path,
    number: FileNumber,
    bytes: usize,
) -> Result<LogWriter<S::Appender>> {
    let capacity = CAPACITY_MIN.max(8 * bytes as u64);
    let appender = storage.create(&StoreFile::Manifest(number).path(dir), Some(capacity))?;
    Ok(LogWriter::new(appender, number))
}

#[cfg(test)]
mod tests {
    use super::super::deadline::Expiring;
    use super::super::version::LEVELS;
    use super::*;

    fn meta(number: FileNumber, low: &str, high: &str) -> TableMeta {
        TableMeta {
            number,
            level: 0,
            file_bytes: 100,
            entries: 1,
            deletions: 0,
            sequence_min: number.into(),
            sequence_max: number.into(),
            created_ms: 0,
            range_deletions: 0,
            expiring: Expiring::default(),
            is_open: false,
            key_min: low.into(),
            key_max: high.into(),
            values: vec![],
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let edit = Edit {
            next_number: Some(9),
            flushed: Some((5, 258)),
            removed: vec![(1, 7)],
            added: vec![],
            closed: vec![(6, 4096)],
            values: vec![(8, 515)],
        };
        let mut out = Vec::new();
        edit.encode(&mut out);
        let golden = b"\x02\x09\0\0\0\x03\x05\0\0\0\x02\x01\0\0\0\0\0\0\x05\x01\x07\0\0\0\
            \x07\x08\0\0\0\x03\x02\0\0\0\0\0\0\x06\x06\0\0\0\x00\x10\0\0\0\0\0\0";
        assert_eq!(out, golden);
        assert_eq!(Edit::decode(Decoder::new(&out)), Some(edit));
        assert_eq!(State::default().encode()[..13], *b"\x01kvdLSMmf\x04\0\0\0");
    }

    #[test]
    fn a_state_comes_back_from_its_own_edit() {
        let mut state = State { next_number: 20, logs_from: 11, sequence: 5, ..State::default() };
        state.levels[0] = vec![meta(9, "a", "z"), meta(8, "b", "c")];
        state.levels[2] = vec![meta(3, "a", "f"), meta(4, "g", "h")];
        state.closed_logs.insert(12, 480);
        state.levels[0][0].values = vec![(6, 100), (7, 20)];
        state.levels[2][1].values = vec![(7, 30)];
        state.value_files.insert(6, ValueFileState { bytes: 150, live_bytes: 100 });
        state.value_files.insert(7, ValueFileState { bytes: 150, live_bytes: 50 });
        let bytes = state.encode();
        let edit = Edit::decode(Decoder::new(&bytes[13..])).unwrap();
        let mut back = State::default();
        back.apply(&edit).unwrap();
        assert_eq!(back, state);
    }

    #[test]
    fn impossible_edits_are_refused() {
        let refuse = |edit: Edit| {
            let mut state = State::default();
            state.levels[1] = vec![meta(1, "a", "f")];
            assert_eq!(state.apply(&edit), None, "{edit:?}");
        };
        refuse(Edit { removed: vec![(1, 2)], ..Edit::default() });
        refuse(Edit { removed: vec![(LEVELS, 1)], ..Edit::default() });
        refuse(Edit { added: vec![(0, meta(1, "x", "y"))], ..Edit::default() });
        refuse(Edit { added: vec![(1, meta(2, "f", "g"))], ..Edit::default() });
        refuse(Edit { added: vec![(LEVELS, meta(2, "x", "y"))], ..Edit::default() });
        refuse(Edit { next_number: Some(u32::MAX), ..Edit::default() });
        refuse(Edit { flushed: Some((u32::MAX, 1)), ..Edit::default() });
        refuse(Edit { flushed: Some((1, u64::MAX)), ..Edit::default() });
        let pointing = |bytes| TableMeta { values: vec![(7, bytes)], ..meta(2, "x", "y") };
        refuse(Edit { added: vec![(0, pointing(1))], ..Edit::default() });
        let values = vec![(7, 100)];
        refuse(Edit { added: vec![(0, pointing(101))], values: values.clone(), ..Edit::default() });
        refuse(Edit { values: [values.clone(), values].concat(), ..Edit::default() });
    }

    #[test]
    fn a_file_of_values_lasts_as_long_as_a_table_points_to_it() {
        let pointing = |number, low: &str, values| TableMeta { values, ..meta(number, low, "z") };
        let mut state = State::default();
        let live = |state: &State| -> Vec<_> {
            state.value_files.iter().map(|(number, file)| (*number, file.live_bytes)).collect()
        };
        let mut apply = |edit| {
            state.apply(&edit).unwrap();
            live(&state)
        };
        let flushed = Edit {
            values: vec![(10, 100), (11, 200), (12, 50)],
            added: vec![(0, pointing(1, "a", vec![(10, 60), (11, 10)]))],
            ..Edit::default()
        };
        assert_eq!(apply(flushed), [(10, 60), (11, 10)], "nobody points to the third");
        let added = vec![(0, pointing(2, "b", vec![(11, 90)]))];
        assert_eq!(apply(Edit { added, ..Edit::default() }), [(10, 60), (11, 100)]);
        let removed = vec![(0, 1)];
        let moved = vec![(1, pointing(1, "a", vec![(10, 60), (11, 10)]))];
        let moving = Edit { removed, added: moved, ..Edit::default() };
        assert_eq!(apply(moving), [(10, 60), (11, 100)]);
        assert_eq!(apply(Edit { removed: vec![(1, 1)], ..Edit::default() }), [(11, 90)]);
        assert_eq!(apply(Edit { removed: vec![(0, 2)], ..Edit::default() }), []);
    }
}
