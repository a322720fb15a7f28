//! The operations that a stream hands to its driver.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::batch::KeyBatch;
use crate::error::ValueFault;
use crate::values::replace_field;

/// A kind of operation, as results name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Get one record.
    Read,
    /// Write to a record that is there.
    Update,
    /// Write a record that is new.
    Insert,
    /// Read records in key order from a start.
    Scan,
    /// Read records against key order from a start.
    ScanReverse,
    /// Get one record, then write to it.
    ReadModifyWrite,
    /// Read the newest point of a series.
    Latest,
    /// Read a time range of a series.
    Window,
    /// Get several records at once.
    MultiGet,
    /// Remove one record.
    Delete,
    /// Remove all points of a series that are older than a time.
    DeleteRange,
    /// Write a record that is new and expires.
    InsertExpiring,
    /// Get a record that is not there, and never was.
    ReadAbsent,
}

impl OperationKind {
    /// All kinds, in their order.
    pub const ALL: [Self; 13] = [
        Self::Read,
        Self::Update,
        Self::Insert,
        Self::Scan,
        Self::ScanReverse,
        Self::ReadModifyWrite,
        Self::Latest,
        Self::Window,
        Self::MultiGet,
        Self::Delete,
        Self::DeleteRange,
        Self::InsertExpiring,
        Self::ReadAbsent,
    ];

    /// The name in results: `read`, `read_modify_write`, …
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Update => "update",
            Self::Insert => "insert",
            Self::Scan => "scan",
            Self::ScanReverse => "scan_reverse",
            Self::ReadModifyWrite => "read_modify_write",
            Self::Latest => "latest",
            Self::Window => "window",
            Self::MultiGet => "multi_get",
            Self::Delete => "delete",
            Self::DeleteRange => "delete_range",
            Self::InsertExpiring => "insert_expiring",
            Self::ReadAbsent => "read_absent",
        }
    }

    /// Whether it changes what is stored.
    pub fn writes(self) -> bool {
        !matches!(
            self,
            Self::Read
                | Self::Scan
                | Self::ScanReverse
                | Self::Latest
                | Self::Window
                | Self::MultiGet
                | Self::ReadAbsent
        )
    }

    /// Whether it returns a number of items that varies: a scan, a window, a multi-get.
    pub fn returns_items(self) -> bool {
        matches!(self, Self::Scan | Self::ScanReverse | Self::Window | Self::MultiGet)
    }
}

/// One operation, lent from the buffers of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Get the record.
    Read {
        /// Its key.
        key: &'a [u8],
    },
    /// Write to a record that is there.
    Update {
        /// Its key.
        key: &'a [u8],
        /// What changes.
        change: Change<'a>,
    },
    /// Write a record that is new.
    Insert {
        /// Its key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// Read up to `limit` records in ascending order, beginning with the first key ≥ `start`.
    Scan {
        /// Where to begin; the key of a record.
        start: &'a [u8],
        /// The most records to read.
        limit: usize,
    },
    /// Read up to `limit` records in descending order, beginning with the last key ≤ `start`.
    ScanReverse {
        /// Where to begin; the key of a record.
        start: &'a [u8],
        /// The most records to read.
        limit: usize,
    },
    /// Get the record, then write to it.
    ReadModifyWrite {
        /// Its key.
        key: &'a [u8],
        /// What changes.
        change: Change<'a>,
    },
    /// Read the newest point of a series: the last record ≤ `start`, if it is ≥ `first`.
    Latest {
        /// The least key of the series.
        first: &'a [u8],
        /// Where the reverse scan begins: the greatest key of the series.
        start: &'a [u8],
    },
    /// Read all points of one series with `start` ≤ key < `end`, ascending.
    Window {
        /// The first key, included.
        start: &'a [u8],
        /// The last key, left out.
        end: &'a [u8],
    },
    /// Get all of these records.
    MultiGet {
        /// Their keys.
        keys: KeyBatch<'a>,
    },
    /// Remove a record that is there.
    Delete {
        /// Its key.
        key: &'a [u8],
    },
    /// Remove all points of one series with `start` ≤ key < `end`; at least one is there.
    DeleteRange {
        /// The first key, included: the least key of the series.
        start: &'a [u8],
        /// The last key, left out.
        end: &'a [u8],
    },
    /// Write a record that is new and is gone after a time. No other operation touches it.
    InsertExpiring {
        /// Its key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
        /// How long it lives, from its acknowledgement.
        ttl: Duration,
    },
    /// Get a record that is not there. Finding one is wrong.
    ReadAbsent {
        /// A key that no record has, whatever is inserted
        /// ([`Workload::absent_key_of`](crate::Workload::absent_key_of)).
        key: &'a [u8],
    },
}

impl Operation<'_> {
    /// Its kind.
    pub fn kind(&self) -> OperationKind {
        match self {
            Self::Read { .. } => OperationKind::Read,
            Self::Update { .. } => OperationKind::Update,
            Self::Insert { .. } => OperationKind::Insert,
            Self::Scan { .. } => OperationKind::Scan,
            Self::ScanReverse { .. } => OperationKind::ScanReverse,
            Self::ReadModifyWrite { .. } => OperationKind::ReadModifyWrite,
            Self::Latest { .. } => OperationKind::Latest,
            Self::Window { .. } => OperationKind::Window,
            Self::MultiGet { .. } => OperationKind::MultiGet,
            Self::Delete { .. } => OperationKind::Delete,
            Self::DeleteRange { .. } => OperationKind::DeleteRange,
            Self::InsertExpiring { .. } => OperationKind::InsertExpiring,
            Self::ReadAbsent { .. } => OperationKind::ReadAbsent,
        }
    }
}

/// What a write changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// The whole value: a put is enough.
    Whole(&'a [u8]),
    /// One field: get the value, [`apply`](Self::apply) the change, put it.
    Field {
        /// Which field, from 0.
        index: u32,
        /// Its new bytes, without a length before them.
        bytes: &'a [u8],
    },
}

impl Change<'_> {
    /// Turns the value as read into the value to write. For [`Change::Whole`] what `value` held
    /// before does not matter.
    ///
    /// # Errors
    ///
    /// [`ValueFault::Fields`] when `value` does not hold the field; it is unchanged then.
    pub fn apply(&self, value: &mut Vec<u8>) -> Result<(), ValueFault> {
        match *self {
            Self::Whole(bytes) => {
                value.clear();
                value.extend_from_slice(bytes);
                Ok(())
            }
            Self::Field { index, bytes } => replace_field(value, index, bytes),
        }
    }
}
