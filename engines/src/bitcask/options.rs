//! What a store is opened with.

use std::time::Duration;

use crate::clock::Clock;
use crate::compression::UNPACKED_BYTES_MAX;
use crate::log::frame::{ALIGNMENT, LOG_BYTES_MAX};
use crate::{Capabilities, Durability, Error, OperationKind, Result};

/// Longest key in bytes.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// Longest value in bytes.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// Smallest [`Options::segment_bytes`].
pub const SEGMENT_BYTES_MIN: u64 = 4 << 10;
/// Largest [`Options::segment_bytes`]; what is left up to the longest possible log takes one record of any length.
pub const SEGMENT_BYTES_MAX: u64 = 8 << 30;

const _: () = assert!(VALUE_BYTES_MAX <= UNPACKED_BYTES_MAX);
const _: () =
    assert!(SEGMENT_BYTES_MAX < LOG_BYTES_MAX && SEGMENT_BYTES_MIN.is_multiple_of(ALIGNMENT));

/// What a store is opened with. All of it may differ from one opening of a store to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What an acknowledged write survives. An append is a copy into a shared mapping, which is as cheap as a copy into a buffer of our own: class
    /// `buffered` therefore takes the path of class `os`, and keeps more than it promises.
    pub durability: Durability,
    /// Length at which the active data file is full and the next one begins. A longer record gets a file of its own length. So much room is set aside on the device for each file that is
    /// being written, one or two at a time: on a small device, or for a small store, choose less.
    pub segment_bytes: u64,
    /// When merging starts by itself, and what it takes.
    pub merge: MergePolicy,
    /// Whether checksums cover keys and values. Without, a damaged value is read as it is, and after power loss so may be values that were written since the
    /// last sync; what a process wrote before it died stays whole. Applies to what is written from now on.
    pub checksums: bool,
    /// Values longer than this many bytes are compressed (LZ4) where that makes them shorter; None: none are. Applies to what is written from now on.
    pub compress_above_bytes: Option<usize>,
    /// How long values last that are stored without a time of their own; None: for ever. Applies to what is written from now on.
    pub ttl: Option<Duration>,
    /// In classes `buffered` and `os`, how often what was written is synced in the background; None: only when data files are full, and on demand.
    pub sync_interval: Option<Duration>,
    /// Where the time of day comes from.
    pub clock: Clock,
    /// Who does the work that need not be done before a write is acknowledged.
    pub background: Background,
    /// Whether [`Session::scan`](crate::Session::scan) works. A hash index has no order, so this is a feature to measure what order costs rather than one to build on: the
    /// first scan after a key was added or removed reads every record and sorts all keys, which takes O(n log n) time; until the next such change, the memory of all keys and
    /// 16 bytes for each is held on to (more while they are sorted), and scans look their keys up one by one. Overwriting values is no such change. Without this option a
    /// scan returns [`Error::Unsupported`].
    pub ordered_scans: bool,
    /// Bits of a key's hash that count; fewer make collisions frequent, which is for tests.
    #[doc(hidden)]
    pub hash_mask: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Os,
            segment_bytes: 64 << 20,
            merge: MergePolicy::default(),
            checksums: true,
            compress_above_bytes: None,
            ttl: None,
            sync_interval: None,
            clock: Clock::System,
            background: Background::Threads,
            ordered_scans: false,
            hash_mask: u64::MAX,
        }
    }
}

impl Options {
    /// What the engine can do when it is opened with these options.
    pub fn capabilities(&self) -> Capabilities {
        let mut operations = vec![
            OperationKind::Get,
            OperationKind::Put,
            OperationKind::PutExpiring,
            OperationKind::Delete,
            OperationKind::Write,
        ];
        if self.ordered_scans {
            operations.extend([OperationKind::ScanForward, OperationKind::ScanReverse]);
        }
        Capabilities {
            operations,
            durability: Durability::ALL.to_vec(),
            key_bytes_max: KEY_BYTES_MAX,
            value_bytes_max: VALUE_BYTES_MAX,
            persistent: true,
            stores_data: true,
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let fraction = |name, value: f64| match value {
            0.0..=1.0 => Ok(()),
            _ => Err(Error::InvalidOption {
                name,
                value: value.to_string(),
                expected: "a fraction between 0 and 1",
            }),
        };
        fraction("merge.store_dead_trigger", self.merge.store_dead_trigger)?;
        fraction("merge.store_dead_target", self.merge.store_dead_target)?;
        if self.merge.store_dead_target > self.merge.store_dead_trigger {
            return Err(Error::InvalidOption {
                name: "merge.store_dead_target",
                value: self.merge.store_dead_target.to_string(),
                expected: "at most merge.store_dead_trigger",
            });
        }
        fraction("merge.fragmentation_trigger", self.merge.fragmentation_trigger)?;
        fraction("merge.fragmentation_included", self.merge.fragmentation_included)?;
        fraction("merge.tombstones_trigger", self.merge.tombstones_trigger)?;
        if let Some(MergeWindow { from_hour, to_hour }) = self.merge.window
            && (from_hour > 23 || to_hour > 23)
        {
            return Err(Error::InvalidOption {
                name: "merge.window",
                value: format!("{from_hour} to {to_hour}"),
                expected: "hours from 0 to 23",
            });
        }
        let positive = |name, value: Duration| {
            if !value.is_zero() {
                return Ok(());
            }
            let value = "0 s".to_owned();
            Err(Error::InvalidOption { name, value, expected: "a time that passes" })
        };
        positive("merge.poll_interval", self.merge.poll_interval)?;
        positive("sync_interval", self.sync_interval.unwrap_or(Duration::MAX))?;
        positive("ttl", self.ttl.unwrap_or(Duration::MAX))?;
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return Err(Error::InvalidOption {
                name: "segment_bytes",
                value: self.segment_bytes.to_string(),
                expected: "4 KiB to 8 GiB",
            });
        }
        Ok(())
    }
}

/// When data files are merged without being asked, and which. Fragmentation is counted in bytes, not keys.
///
/// The default looks at the store as a whole; [`MergePolicy::basho`] judges each file, as Basho's Bitcask does. Both can be combined.
#[derive(Clone, Debug, PartialEq)]
pub struct MergePolicy {
    /// Whether merging starts by itself.
    pub automatic: bool,
    /// When merging may start by itself; None: at any time.
    pub window: Option<MergeWindow>,
    /// How often it is looked whether files have expired, or the window has opened. Whenever a data file is full it is looked anyway.
    pub poll_interval: Duration,
    /// When more than this fraction of all data is dead, the deadest files are merged. It bounds space: 0.35 means that files are at most 1.54 times as long as what is alive in them, but for
    /// those that are being written, and for what is written while a merge goes on.
    pub store_dead_trigger: f64,
    /// Then so many files are merged that at most this fraction is dead. The nearer to the trigger, the less is written and the more room is taken on the average.
    pub store_dead_target: f64,
    /// A file of which this fraction is dead starts a merge.
    pub fragmentation_trigger: f64,
    /// A file with this many dead bytes starts a merge.
    pub dead_bytes_trigger: u64,
    /// Once there is a merge, files of which this fraction is dead are taken in.
    pub fragmentation_included: f64,
    /// Once there is a merge, files with this many dead bytes are taken in.
    pub dead_bytes_included: u64,
    /// Once there is a merge, files shorter than this are taken in.
    pub small_file_bytes: u64,
    /// When this fraction of all bytes are tombstones, all files are merged: only a merge that begins at the oldest file can drop a tombstone.
    pub tombstones_trigger: f64,
}

impl Default for MergePolicy {
    fn default() -> Self {
        Self {
            store_dead_trigger: 0.35,
            store_dead_target: 0.27,
            fragmentation_trigger: 1.0,
            dead_bytes_trigger: u64::MAX,
            fragmentation_included: 1.0,
            dead_bytes_included: u64::MAX,
            ..Self::basho()
        }
    }
}

impl MergePolicy {
    /// The thresholds of Basho's Bitcask.
    pub fn basho() -> Self {
        Self {
            automatic: true,
            window: None,
            poll_interval: Duration::from_mins(3),
            store_dead_trigger: 1.0,
            store_dead_target: 1.0,
            fragmentation_trigger: 0.6,
            dead_bytes_trigger: 512 << 20,
            fragmentation_included: 0.4,
            dead_bytes_included: 128 << 20,
            small_file_bytes: 10 << 20,
            tombstones_trigger: 0.3,
        }
    }
}

/// Hours of the day, in UTC: the first included, the last not. 22 to 6 is the night; equal hours are the whole day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeWindow {
    /// The first hour, 0 to 23.
    pub from_hour: u8,
    /// The hour after the last one, 0 to 23.
    pub to_hour: u8,
}

impl MergePolicy {
    /// Whether merging may start by itself at this time, in milliseconds since the Unix epoch.
    pub(crate) fn is_open(&self, now_ms: u64) -> bool {
        let hour = (now_ms / 3_600_000 % 24) as u8;
        self.automatic
            && self.window.is_none_or(|MergeWindow { from_hour, to_hour }| {
                if from_hour < to_hour {
                    (from_hour..to_hour).contains(&hour)
                } else {
                    hour >= from_hour || hour < to_hour
                }
            })
    }
}

/// Who does the work that need not be done before a write is acknowledged: preparing, sealing and merging data files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// Threads of the store: three, and one more with [`Options::sync_interval`].
    Threads,
    /// The writer whose write makes the work due, before it returns. The order of all file operations is then determined by the order of the writes.
    Inline,
}

/// What the engine can do when it is opened with the default options.
pub fn capabilities() -> Capabilities {
    Options::default().capabilities()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_go_through_midnight() {
        let open = |from_hour, to_hour, hour: u64| {
            let window = Some(MergeWindow { from_hour, to_hour });
            MergePolicy { window, ..MergePolicy::default() }.is_open(hour * 3_600_000 + 1)
        };
        let hours = |from, to| (0..24).filter(|hour| open(from, to, *hour)).count();
        assert_eq!((hours(0, 0), hours(7, 7), hours(22, 6), hours(1, 5)), (24, 24, 8, 4));
        assert!(open(22, 6, 23) && open(22, 6, 5) && !open(22, 6, 6) && open(22, 6, 24 * 300 + 22));
    }
}
