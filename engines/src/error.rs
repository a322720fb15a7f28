//! The errors of the crate: each says what was touched and what was found there.

use std::io;
use std::path::{Path, PathBuf};

use crate::OperationKind;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in an engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: `open`, `append to`, `sync`.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Bytes that were known to be safely stored are not what was written.
    #[error("{} is corrupt at byte {offset}: {reason}", file.display())]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where the damage was noticed, in bytes from the file's start.
        offset: u64,
        /// What was expected and what was found.
        reason: String,
    },
    /// A new store is to be made in a folder that holds something.
    #[error("{} holds {entry:?}: a new store needs a folder that is empty or missing", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// One of the names in it.
        entry: String,
    },
    /// The folder holds something that is not a store of this engine, or one of a version that this build does not know.
    #[error("{} is not a store that this engine can open: {reason}", path.display())]
    NotAStore {
        /// The folder or file.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// Another process, or another handle of this one, has the store open.
    #[error("{} is in use, by another process or by this one: close it there first", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The engine has no such operation.
    #[error("the engine does not support {0}")]
    Unsupported(OperationKind),
    /// Keys have at least one byte.
    #[error("the key is empty: a key has at least one byte")]
    EmptyKey,
    /// The key is longer than the engine takes.
    #[error("the key has {len} bytes: at most {max} are possible")]
    KeyTooLong {
        /// Its length in bytes.
        len: usize,
        /// The longest key in bytes.
        max: usize,
    },
    /// The value is longer than the engine takes.
    #[error("the value has {len} bytes: at most {max} are possible")]
    ValueTooLong {
        /// Its length in bytes.
        len: usize,
        /// The longest value in bytes.
        max: usize,
    },
    /// The batch is longer than can be written atomically.
    #[error("the batch takes {len} bytes: at most {max} are possible")]
    BatchTooLong {
        /// Its length in bytes, as it would be stored.
        len: usize,
        /// The longest batch in bytes.
        max: usize,
    },
    /// A table takes its keys in ascending order.
    #[error("{}: the key \"{}\" does not come after \"{}\": add keys in ascending order, each once", file.display(), key.escape_ascii(), last.escape_ascii())]
    NotAscending {
        /// The table that is being written.
        file: PathBuf,
        /// What was to be added.
        key: Vec<u8>,
        /// What was added before it.
        last: Vec<u8>,
    },
    /// A table has at least one key, or one range of keys that it deletes.
    #[error("{}: nothing was added to the table: add a key, or write none", file.display())]
    EmptyTable {
        /// The table that was being written.
        file: PathBuf,
    },
    /// A table that is to be taken into a store belongs to one.
    #[error("{} is a table of a store: only tables that were written outside of one can be read or taken in by themselves", file.display())]
    NotOutside {
        /// The table.
        file: PathBuf,
    },
    /// Tables that are to be taken into a store at once have keys between each other's bounds.
    #[error("the keys of {} and {} overlap: merge the two, or take them in one after the other, the older first", first.display(), second.display())]
    Overlap {
        /// The one that begins first.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The store has no data file with this number.
    #[error("{} has no data file {id}: merges and crashes take files away, so look which there are", dir.display())]
    NoSuchFile {
        /// The store's folder.
        dir: PathBuf,
        /// What was asked for.
        id: u32,
    },
    /// The data file with this number cannot be merged yet.
    #[error("data file {id} of {} is still being written: it can be merged once it is sealed", dir.display())]
    StillWritten {
        /// The store's folder.
        dir: PathBuf,
        /// What was asked for.
        id: u32,
    },
    /// The store was opened for reading only.
    #[error("the store was opened for reading only: open it for writing where it is to be changed")]
    ReadOnly,
    /// An option has a value that the engine cannot work with.
    #[error("option {name} is {value}: expected {expected}")]
    InvalidOption {
        /// Name of the option.
        name: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// An earlier write or sync failed in a way that leaves the state of the disk unknown; the store takes no more
    /// writes until it is opened anew. (Retrying a failed fsync can report success for pages that were dropped:
    /// Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.)
    #[error("the store takes no more writes after an earlier failure: {cause}")]
    Poisoned {
        /// The earlier failure.
        cause: String,
    },
    /// The simulated disk has lost power; nothing works until it is restarted.
    #[error("the simulated disk has lost power")]
    PowerLost,
    /// An error of an engine outside this crate.
    #[error("{0}")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// An [`Error::Io`] as a closure for `map_err`.
    pub fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { operation, path, source }
    }

    /// An [`Error::Corrupt`].
    pub fn corrupt(file: &Path, offset: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), offset, reason: reason.into() }
    }

    /// Whether the cause is that the device is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}
