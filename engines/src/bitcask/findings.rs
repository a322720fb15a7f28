//! What looking a store through from outside has found.

use std::path::PathBuf;

use super::hint::HintEntry;
use super::scan::Found;
use super::survey::FileRole;

/// What is in a store's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The files of the folder, by their names; behind them data files that are missing, with no bytes.
    pub files: Vec<VerifiedFile>,
    /// Keys that are alive. Those whose values have expired count until a merge has dropped them.
    pub keys: u64,
    /// What is not as it was written, in no order that matters; empty if all is well.
    pub damage: Vec<Damage>,
    /// Every byte was read; else hints stand for the data where they are valid.
    pub every_byte: bool,
}

impl VerifyReport {
    /// Whether opening the store loses nothing but what a crash may take from any store: no data is damaged, and no whole records lie behind a torn spot.
    pub fn is_complete(&self) -> bool {
        self.damage.iter().all(|damage| damage.is_rebuilt) && self.torn_off().next().is_none()
    }

    /// Data files of which the next open drops whole records, since they lie behind a torn spot.
    pub fn torn_off(&self) -> impl Iterator<Item = &DataFigures> {
        let data = self.files.iter().filter_map(|file| file.data.as_ref());
        data.filter(|data| data.records_behind_tear > 0)
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
    /// What is in it, if it is a data file of the store.
    pub data: Option<DataFigures>,
}

/// What is in a data file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataFigures {
    /// Its number.
    pub id: u32,
    /// Place in the order of age, from 0 for the oldest; by number if there is no manifest.
    pub age_rank: u64,
    /// Whether there is a valid hint.
    pub has_hint: bool,
    /// Bytes of frames that belong to the store.
    pub used_bytes: u64,
    /// Values and tombstones.
    pub records: u64,
    /// Values, live or not.
    pub values: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Bytes of frames of tombstones.
    pub tombstone_bytes: u64,
    /// Values that no newer record hides.
    pub live_records: u64,
    /// Bytes of their frames.
    pub live_bytes: u64,
    /// Bytes of frames of values that newer records hide, and of what cannot be read.
    pub dead_bytes: u64,
    /// Values that expire.
    pub expiring_values: u64,
    /// When all values are gone, in milliseconds since the Unix epoch; None: never, or there are none.
    pub gone_by_ms: Option<u64>,
    /// Values that are compressed; None if the data was not read.
    pub compressed_values: Option<u64>,
    /// Frames whose checksums leave out keys and values; None if the data was not read.
    pub unchecked_frames: Option<u64>,
    /// Bytes at the end that a recovery gives up: not whole, and nothing says that they had been synced. They begin where `used_bytes` end.
    pub torn_bytes: u64,
    /// Whole records among these bytes, as far as they were found: they lie behind what is not whole. A recovery drops them, and a salvage keeps them.
    pub records_behind_tear: u64,
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
    /// The file is an aid to quick opening: a store that needs it makes it anew from the data files, and nothing is lost.
    pub is_rebuilt: bool,
}

impl DataFigures {
    /// Counts what is counted only where the data is read.
    pub(crate) fn will_be_read(&mut self) {
        self.compressed_values = Some(0);
        self.unchecked_frames = Some(0);
    }

    /// Adds a record that was read.
    pub(crate) fn add(&mut self, found: &Found<'_>) {
        let value = found.record.value;
        let bytes = found.record.frame_bytes();
        self.join(&Self {
            records: 1,
            values: u64::from(value.is_some()),
            tombstones: u64::from(value.is_none()),
            tombstone_bytes: if value.is_none() { bytes } else { 0 },
            expiring_values: u64::from(value.is_some_and(|value| value.expires_ms.is_some())),
            compressed_values: Some(u64::from(value.is_some_and(|value| value.compressed))),
            unchecked_frames: Some(u64::from(!found.checked)),
            ..Self::default()
        });
    }

    /// Adds a record of which the hint alone was read.
    pub(crate) fn add_entry(&mut self, entry: &HintEntry) {
        self.records += 1;
        self.values += u64::from(!entry.tombstone);
        self.tombstones += u64::from(entry.tombstone);
        self.tombstone_bytes += if entry.tombstone { entry.frame_bytes } else { 0 };
        self.expiring_values += u64::from(entry.expires);
    }

    /// Adds the figures of further records.
    pub(crate) fn join(&mut self, other: &Self) {
        self.records += other.records;
        self.values += other.values;
        self.tombstones += other.tombstones;
        self.tombstone_bytes += other.tombstone_bytes;
        self.expiring_values += other.expiring_values;
        for (sum, more) in [
            (&mut self.compressed_values, other.compressed_values),
            (&mut self.unchecked_frames, other.unchecked_frames),
        ] {
            *sum = match (*sum, more) {
                (None, None) => None,
                (sum, more) => Some(sum.unwrap_or(0) + more.unwrap_or(0)),
            };
        }
    }
}
