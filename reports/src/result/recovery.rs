//! Figures of a recovery experiment.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What was done to a store before it was reopened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryScenario {
    /// How the store was left.
    pub ending: RecoveryEnding,
    /// Whether its pages were in memory when it was reopened.
    pub page_cache: PageCache,
    /// What was to be written since the load, where a run tried several amounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<LogSize>,
}

/// What is to be written between a load and a recovery: as much as a log has to give back at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogSize {
    /// Key and value bytes.
    Bytes(u64),
    /// Millionths of the data's key and value bytes.
    DataPpm(u64),
}

impl fmt::Display for LogSize {
    /// `64 MiB` or `12.5 %`. Exact, so that two amounts never look alike.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Bytes(bytes) => {
                let units = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];
                let fits = |size: u32| bytes > 0 && bytes.is_multiple_of(1 << size);
                let (unit, size) =
                    units.into_iter().find(|(_, size)| fits(*size)).unwrap_or(("B", 0));
                write!(f, "{} {unit}", bytes >> size)
            }
            Self::DataPpm(ppm) => {
                let percent = format!("{}.{:04}", ppm / 10_000, ppm % 10_000);
                write!(f, "{} %", percent.trim_end_matches('0').trim_end_matches('.'))
            }
        }
    }
}

/// How a store was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryEnding {
    /// Closed.
    CleanClose,
    /// Killed with SIGKILL while it was written to.
    Kill,
    /// The same, and the files that would make recovery faster (hints, checkpoints of an index) removed.
    KillWithoutHints,
    /// The same, and those files damaged.
    KillDamagedHints,
}

/// Whether a store's pages are in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageCache {
    /// As they were left.
    #[default]
    Warm,
    /// Dropped.
    Cold,
}

/// Figures of a recovery experiment: a child is killed with SIGKILL while it writes, the store is reopened and every acknowledged write looked up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// What was done to the store, for instance `kill -9 while writing`.
    pub scenario: String,
    /// Writes acknowledged before the kill.
    pub acknowledged_writes: u64,
    /// How long the child had written when it was killed.
    pub written_s: f64,
    /// From the call that opens the store to its return.
    pub open_ms: f64,
    /// From the call that opens the store to the first value read.
    pub first_read_ms: f64,
    /// Records looked up afterwards: all that had an acknowledged write.
    pub records_verified: u64,
    /// Records older than their last acknowledged write, or gone.
    pub records_lost: u64,
    /// Records with a value that nobody had written for them.
    pub records_wrong: u64,
    /// Bytes of blocks allocated to the store when it was reopened.
    pub store_bytes: u64,
    /// Opening the same store again after a clean close.
    pub reopen_clean_ms: f64,
    /// From the call that opens the store until reads came at 90 % of the rate that they had before, in any tenth of a second; none also where they did not in the time that was given.
    #[serde(default)]
    pub to_90_percent_ms: Option<f64>,
    /// Reads per second before the store was left.
    #[serde(default)]
    pub reads_before_ops_per_s: Option<f64>,
    /// Bytes that the block device delivered from the call that opens the store until the first value was read.
    #[serde(default)]
    pub device_bytes_read: Option<u64>,
    /// Bytes that were written since the load, which a log has to give back: key and value bytes of acknowledged writes.
    #[serde(default)]
    pub written_bytes: Option<u64>,
    /// Share of the store's bytes that were in memory when it was reopened, where that was looked at.
    #[serde(default)]
    pub resident_share_before: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_told_exactly() {
        for (amount, words) in [
            (LogSize::Bytes(64 << 20), "64 MiB"),
            (LogSize::Bytes((64 << 20) + 1), "67108865 B"),
            (LogSize::Bytes(3 << 30), "3 GiB"),
            (LogSize::DataPpm(500_000), "50 %"),
            (LogSize::DataPpm(125_001), "12.5001 %"),
            (LogSize::DataPpm(1_000_000), "100 %"),
        ] {
            assert_eq!(amount.to_string(), words);
        }
    }
}
