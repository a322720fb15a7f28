//! Errors of this crate, and the faults that a check of read data can find.

use std::path::PathBuf;

/// A result whose error is this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with a workload: its file, one of its properties, or the spec as a whole. Each
/// is one line that names the thing and says what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The property file cannot be read.
    #[error("{}: cannot read the workload file: {source}", .path.display())]
    Read {
        /// The file as it was named.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A line of a property file does not have the syntax of Java properties.
    #[error("{}:{line}: {reason}", .file.display())]
    Syntax {
        /// The file as it was named.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A property has a value that it cannot have, or contradicts another.
    #[error("{}:{line}: {key}: {reason}", .file.display())]
    Property {
        /// The file as it was named.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The property.
        key: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// A property that must be there is not.
    #[error("{}: {key} is missing: {reason}", .file.display())]
    MissingProperty {
        /// The file as it was named.
        file: PathBuf,
        /// The property.
        key: String,
        /// What to write.
        reason: String,
    },
    /// A property asks for something that YCSB has and this program does not.
    #[error("{}:{line}: {key}: {what} is not supported: {instead}", .file.display())]
    Unsupported {
        /// The file as it was named.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The property.
        key: String,
        /// What it asks for.
        what: String,
        /// What to use in its place.
        instead: String,
    },
    /// The spec as a whole cannot be run.
    #[error("workload {workload}: {field}: {reason}")]
    Invalid {
        /// The workload's name.
        workload: String,
        /// The field of [`WorkloadSpec`](crate::WorkloadSpec), dotted.
        field: &'static str,
        /// What was found and what was expected.
        reason: String,
    },
}

/// What is wrong with data that was read back, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueFault {
    /// The key is none that this workload could have written.
    #[error("key {key} is not one of this workload's keys")]
    ForeignKey {
        /// The key, escaped.
        key: String,
    },
    /// The value has another length than the workload writes.
    #[error("value of key {key} has {found} bytes, expected {expected}")]
    Length {
        /// The key, escaped.
        key: String,
        /// The length found, in bytes.
        found: usize,
        /// The length that the workload writes, in bytes.
        expected: usize,
    },
    /// The value is whole but was written for another record.
    #[error("value of key {key} belongs to record {record}")]
    OtherRecord {
        /// The key, escaped.
        key: String,
        /// The record number that the value names.
        record: u64,
    },
    /// A byte differs from what the writer of that version wrote.
    #[error("value of key {key} is damaged in the {length} bytes from offset {offset}")]
    Damaged {
        /// The key, escaped.
        key: String,
        /// Where the damaged part (a whole blob, or one field) begins.
        offset: usize,
        /// How long that part is, in bytes.
        length: usize,
    },
    /// The value does not split into its fields.
    #[error("value does not hold {fields} length-prefixed fields: {reason}")]
    Fields {
        /// The number of fields expected.
        fields: u32,
        /// What is wrong.
        reason: &'static str,
    },
    /// An item that the workload has written is not in the answer.
    #[error("key {key} is missing from the answer")]
    Missing {
        /// The key, escaped.
        key: String,
    },
    /// The answer holds an item that is outside of what was asked for, or that was never written.
    #[error("key {key} is in the answer but was {reason}")]
    Surplus {
        /// The key, escaped.
        key: String,
        /// Why it should not be there.
        reason: &'static str,
    },
    /// The value is one that had been replaced before the read began.
    #[error(
        "value of key {key} has version {found}, although version {expected} was acknowledged before \
         the read began"
    )]
    Stale {
        /// The key, escaped.
        key: String,
        /// The version found.
        found: u64,
        /// A version that was acknowledged before the read began.
        expected: u64,
    },
    /// The check does not apply: the stream has no time series.
    #[error("the workload has no time series to check against")]
    NotTimeSeries,
}

/// The key as text for messages: printable ASCII as it is, other bytes as `\xNN`.
pub(crate) fn key_text(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}
