//! What openings and merges tell about themselves.

use std::time::Duration;

/// What was found when the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Data files that make up the store.
    pub files: u64,
    /// Keys that are alive.
    pub records: u64,
    /// The keydir was read as it had been written down at the last close.
    pub keydir_used: bool,
    /// Data files whose hints were used.
    pub hints_used: u64,
    /// Hints that were there, but damaged or out of date.
    pub hints_rejected: u64,
    /// Bytes behind the last whole write that were given up.
    pub torn_bytes: u64,
    /// Data files that were given up because an earlier one had lost its end.
    pub files_dropped: u64,
    /// Files without a use that an earlier life of the store had left.
    pub orphans_removed: u64,
    /// How long it took.
    pub duration: Duration,
}

impl Recovery {
    /// Whether nothing had to be dropped: so it is after a close, and after a crash that tore no write. What power loss took away without a trace is not seen.
    pub fn is_clean(&self) -> bool {
        self.torn_bytes == 0 && self.files_dropped == 0
    }
}

/// What a merge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeReport {
    /// Data files that were merged.
    pub files_before: u64,
    /// Data files that took their place.
    pub files_after: u64,
    /// Records that were carried over, tombstones among them.
    pub records_kept: u64,
    /// Stale values and tombstones that were dropped: with [`MergeReport::records_kept`], all records of the merged files. Of a damaged file that nothing was needed of, and that has no
    /// hint, those count that can be read.
    pub records_reclaimed: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
    /// Bytes by which the data files have become shorter.
    pub bytes_reclaimed: u64,
}

impl MergeReport {
    pub(crate) fn add(&mut self, other: &Self) {
        self.files_before += other.files_before;
        self.files_after += other.files_after;
        self.records_kept += other.records_kept;
        self.records_reclaimed += other.records_reclaimed;
        self.bytes_written += other.bytes_written;
        self.bytes_reclaimed += other.bytes_reclaimed;
    }
}
