//! What looking a store through from outside has found.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::files::StoreFile;
use super::version::LEVELS;

/// What is in a store's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The files of the folder, by their names; behind them files that are missing, with no bytes.
    pub files: Vec<VerifiedFile>,
    /// What is not as it was written, in no order that matters; empty if all is well.
    pub damage: Vec<Damage>,
    /// Every byte was read; else the data blocks of tables were left out.
    pub every_byte: bool,
}

impl VerifyReport {
    /// Whether opening the store loses nothing but what a crash may take from any store: nothing is damaged, and no whole writes lie behind a torn spot.
    pub fn is_complete(&self) -> bool {
        self.damage.is_empty() && self.torn_off().next().is_none()
    }

    /// Logs of which the next open drops whole writes, since they lie behind a torn spot.
    pub fn torn_off(&self) -> impl Iterator<Item = &LogFigures> {
        let logs = self.files.iter().filter_map(|file| file.log.as_ref());
        logs.filter(|log| log.writes_behind_tear > 0)
    }

    /// The tables of the store, as far as they can be read.
    pub fn tables(&self) -> impl Iterator<Item = &TableFigures> {
        self.files.iter().filter_map(|file| file.table.as_ref())
    }

    /// The files of the value log, as far as they can be read.
    pub fn value_files(&self) -> impl Iterator<Item = &ValueFigures> {
        self.files.iter().filter_map(|file| file.values.as_ref())
    }

    /// What is in each level of the tree, level 0 first, without the empty ones at the end.
    pub fn levels(&self) -> Vec<LevelFigures> {
        let mut levels = vec![LevelFigures::default(); LEVELS];
        for table in self.tables() {
            let Some(level) = table.level.and_then(|level| levels.get_mut(level)) else { continue };
            level.tables += 1;
            level.bytes += table.file_bytes;
            level.entries += table.entries;
            level.deletions += table.deletions;
            level.range_deletions += table.range_deletions;
            level.expiring += table.expiring;
            level.filter_bytes += table.filter_bytes;
            level.value_bytes += table.value_bytes;
        }
        let used = levels.iter().rposition(|level| level.tables > 0).map_or(0, |last| last + 1);
        levels.truncate(used);
        levels
    }
}

/// What is in one level of the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelFigures {
    /// Tables.
    pub tables: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Keys of all tables, deletions among them.
    pub entries: u64,
    /// Keys that are said to be deleted.
    pub deletions: u64,
    /// Ranges of keys that are said to be deleted.
    pub range_deletions: u64,
    /// Values that expire, or have expired.
    pub expiring: u64,
    /// Bytes of filters.
    pub filter_bytes: u64,
    /// Bytes in the value log that the tables point to.
    pub value_bytes: u64,
}

/// What a file in a store's folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileRole {
    /// The list of tables and logs.
    Manifest,
    /// A sorted table.
    Table,
    /// The write-ahead log of a memtable.
    Log,
    /// Big values that tables point to: a file of the value log.
    Values,
    /// Keeps a second process out.
    Lock,
    /// One of ours that the manifest does not name, or an older manifest: left by a crash, and removed when the store is next opened; or of a store that is open, and just being made or done with.
    Orphan,
    /// None of ours.
    Foreign,
    /// The manifest names the file, but it is not there.
    Missing,
}

impl FileRole {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Table => "table",
            Self::Log => "log",
            Self::Values => "values",
            Self::Lock => "lock",
            Self::Orphan => "orphan",
            Self::Foreign => "foreign",
            Self::Missing => "missing",
        }
    }
}

/// A file in a store's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedFile {
    /// Its name in the folder.
    pub name: String,
    /// What it is.
    pub role: FileRole,
    /// Its length in bytes, room that was set aside included.
    pub bytes: u64,
    /// Bytes at the end of a manifest or log that a recovery gives up: not whole, and not known to have been synced.
    pub torn_bytes: u64,
    /// What is in it, if it is a table of the store that can be read.
    pub table: Option<TableFigures>,
    /// What is in it, if it is a log of the store that can be read.
    pub log: Option<LogFigures>,
    /// What is in it, if it is a file of the value log that can be read.
    pub values: Option<ValueFigures>,
}

/// What is in a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableFigures {
    /// Its number.
    pub number: u32,
    /// Its level by the manifest; None without one.
    pub level: Option<usize>,
    /// Its length in bytes.
    pub file_bytes: u64,
    /// Keys, deletions among them.
    pub entries: u64,
    /// Keys that are said to be deleted.
    pub deletions: u64,
    /// Ranges of keys that are said to be deleted.
    pub range_deletions: u64,
    /// Values that expire, or have expired.
    pub expiring: u64,
    /// When the first of them does, in milliseconds since the Unix epoch.
    pub expires_first_ms: Option<u64>,
    /// When the last of them does.
    pub expires_last_ms: Option<u64>,
    /// The least key, of entries and of ranges.
    pub key_min: Vec<u8>,
    /// The greatest key, or where the last range ends, if that is greater.
    pub key_max: Vec<u8>,
    /// Lowest sequence number of the writes that went into it.
    pub sequence_min: u64,
    /// Highest.
    pub sequence_max: u64,
    /// Data blocks.
    pub blocks: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Bytes of the filter.
    pub filter_bytes: u64,
    /// Bytes in the value log that it points to.
    pub value_bytes: u64,
}

impl TableFigures {
    /// Bits of the filter for each key.
    pub fn filter_bits_per_key(&self) -> f64 {
        self.filter_bytes as f64 * 8.0 / self.entries.max(1) as f64
    }
}

/// What is in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFigures {
    /// Its number.
    pub number: u32,
    /// Sequence number of its first write; None if the header cannot be read.
    pub first_sequence: Option<u64>,
    /// The manifest says how long it is: the store was closed, or is a backup.
    pub closed: bool,
    /// Bytes of frames from the start that are whole.
    pub used_bytes: u64,
    /// Writes in them, each of one operation or a batch.
    pub writes: u64,
    /// Values that these store.
    pub values: u64,
    /// Those of them that expire, or have expired.
    pub expiring: u64,
    /// Keys that they delete.
    pub deletions: u64,
    /// Ranges of keys that they delete.
    pub range_deletions: u64,
    /// Whole writes behind the first frame that is not. A recovery drops them if nothing says that they had been synced, and a salvage keeps them.
    pub writes_behind_tear: u64,
}

/// What is in a file of the value log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValueFigures {
    /// Its number.
    pub number: u32,
    /// Its length in bytes.
    pub file_bytes: u64,
    /// Of these, bytes that the manifest's tables point to; None without a manifest.
    pub live_bytes: Option<u64>,
    /// Values, live or not; None if not every byte was read.
    pub values: Option<u64>,
}

/// Bytes that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The damaged file.
    pub file: PathBuf,
    /// Where the damage begins or was noticed, in bytes from the file's start.
    pub offset: u64,
    /// What was expected and what was found.
    pub reason: String,
}

/// Values of one table that cannot be read, by the files in which they lie: a file that is cut would be thousands of damages otherwise.
#[derive(Debug, Default)]
pub(super) struct LostValues(BTreeMap<PathBuf, Vec<(u64, String)>>);

impl LostValues {
    pub(super) fn add(&mut self, file: PathBuf, offset: u64, reason: String) {
        self.0.entry(file).or_default().push((offset, reason));
    }

    /// Forgets those whose places are known to be damaged.
    pub(super) fn without(mut self, known: &[Damage]) -> Self {
        for (file, values) in &mut self.0 {
            let is_known = |offset| known.iter().any(|k| k.file == *file && k.offset == offset);
            values.retain(|(offset, _)| !is_known(*offset));
        }
        self
    }

    /// The damage of each file, where the first of its values lies, and how many there are.
    pub(super) fn told(self, table: StoreFile) -> impl Iterator<Item = (u64, Damage)> {
        self.0.into_iter().filter_map(move |(file, values)| {
            let count = values.len() as u64;
            let (offset, reason) = values.into_iter().min()?;
            let more = match count - 1 {
                0 => String::new(),
                more => format!("; {more} more values of {} from here on", table.name()),
            };
            Some((count, Damage { file, offset, reason: format!("{reason}{more}") }))
        })
    }
}
