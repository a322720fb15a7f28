//! The interface that every engine offers: synchronous, object-safe, small.
//!
//! An [`Engine`] is an open store. It is shared by threads; each thread takes a [`Session`] for its reads and
//! writes, outside of any timed section, and keeps it. What an engine cannot do is told twice: in
//! [`Capabilities`], so that callers can plan, and by [`Error::Unsupported`], so that callers who did not ask find out.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::{Error, Metrics, Result};

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// A clean close.
    Buffered,
    /// A crash or kill of the process.
    Os,
    /// Power loss.
    Sync,
}

impl Durability {
    /// All classes, weakest first.
    pub const ALL: [Self; 3] = [Self::Buffered, Self::Os, Self::Sync];

    /// The name used on command lines and in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Buffered => "buffered",
            Self::Os => "os",
            Self::Sync => "sync",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Operations that some engines have and others lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationKind {
    /// Look one key up.
    Get,
    /// Look several keys up at once.
    MultiGet,
    /// Store a value under a key.
    Put,
    /// Store a value that disappears after a time.
    PutExpiring,
    /// Remove a key.
    Delete,
    /// Remove all keys of a range.
    DeleteRange,
    /// Apply several writes atomically.
    Write,
    /// Visit keys in ascending order.
    ScanForward,
    /// Visit keys in descending order.
    ScanReverse,
}

impl OperationKind {
    /// The name used in messages and result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::MultiGet => "multi-get",
            Self::Put => "put",
            Self::PutExpiring => "put with expiry",
            Self::Delete => "delete",
            Self::DeleteRange => "range delete",
            Self::Write => "atomic batch",
            Self::ScanForward => "scan",
            Self::ScanReverse => "reverse scan",
        }
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an engine can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Operations that work; all others return [`Error::Unsupported`].
    pub operations: Vec<OperationKind>,
    /// Durability classes that the engine can be opened in. To an engine that is not [`persistent`](Self::persistent) no class applies, as its
    /// writes survive nothing: its list says which classes it may be run beside, as an upper bound.
    pub durability: Vec<Durability>,
    /// Longest key in bytes.
    pub key_bytes_max: usize,
    /// Longest value in bytes.
    pub value_bytes_max: usize,
    /// Data is still there after close and open.
    pub persistent: bool,
    /// What is put can be got back. (`noop` cannot.)
    pub stores_data: bool,
}

impl Capabilities {
    /// Those of a persistent, ordered store: get, put, delete, atomic batch, scans in both directions, and `more`.
    pub fn ordered_store(
        more: &[OperationKind],
        durability: &[Durability],
        key_bytes_max: usize,
        value_bytes_max: usize,
    ) -> Self {
        let operations = [
            OperationKind::Get,
            OperationKind::Put,
            OperationKind::Delete,
            OperationKind::Write,
            OperationKind::ScanForward,
            OperationKind::ScanReverse,
        ];
        Self {
            operations: [&operations, more].concat(),
            durability: durability.to_vec(),
            key_bytes_max,
            value_bytes_max,
            persistent: true,
            stores_data: true,
        }
    }

    /// Whether `kind` works.
    pub fn supports(&self, kind: OperationKind) -> bool {
        self.operations.contains(&kind)
    }

    /// Checks a key and a value against the limits, as every engine does before it writes.
    ///
    /// # Errors
    /// [`Error::EmptyKey`], [`Error::KeyTooLong`] or [`Error::ValueTooLong`].
    #[inline]
    pub fn check_sizes(&self, key: &[u8], value: &[u8]) -> Result<()> {
        check_sizes(key, value, self.key_bytes_max, self.value_bytes_max)
    }
}

/// Checks a key and a value against limits in bytes.
///
/// # Errors
/// [`Error::EmptyKey`], [`Error::KeyTooLong`] or [`Error::ValueTooLong`].
#[inline]
pub(crate) fn check_sizes(
    key: &[u8],
    value: &[u8],
    key_max: usize,
    value_max: usize,
) -> Result<()> {
    if key.is_empty() {
        return Err(Error::EmptyKey);
    }
    if key.len() > key_max {
        return Err(Error::KeyTooLong { len: key.len(), max: key_max });
    }
    if value.len() > value_max {
        return Err(Error::ValueTooLong { len: value.len(), max: value_max });
    }
    Ok(())
}

/// The order in which a scan visits keys: bytewise, as `[u8]` compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Ascending, from the first key at or after the start.
    Forward,
    /// Descending, from the last key at or before the start.
    Reverse,
}

/// Receives the keys and values that a scan finds, and may end it.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// One write of a [`WriteBatch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOperation {
    /// Store the value under the key.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Store the value under the key, for a time, as [`Session::put_expiring`] does. Only engines that have that take it. What one batch stores for equal times is gone at one instant.
    PutExpiring {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
        /// How long it stays.
        ttl: Duration,
    },
    /// Remove the key.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
    /// Remove the keys from `start` up to `end`, as [`Session::delete_range`] does. Only engines that have that take it.
    DeleteRange {
        /// The first key; an empty one stands for the first of all.
        start: Vec<u8>,
        /// The first key behind them. If it is not greater than `start`, nothing is removed.
        end: Vec<u8>,
    },
}

/// Writes that take effect together or not at all, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    /// The writes; where two concern one key, the later wins.
    pub operations: Vec<WriteOperation>,
}

/// An open store.
pub trait Engine: Send + Sync {
    /// What this engine, opened as it is, can do.
    fn capabilities(&self) -> &Capabilities;

    /// A handle for one thread's reads and writes.
    fn session(&self) -> Result<Box<dyn Session + '_>>;

    /// Makes everything acknowledged so far survive power loss, whatever the durability class. Costs at least one flush of the device.
    fn sync(&self) -> Result<()>;

    /// Waits until background work has drained: flushes, compactions and merges that are due. Afterwards the
    /// engine is idle until the next write.
    fn settle(&self) -> Result<()>;

    /// Figures since the store was opened. Cheap enough to ask for once a second.
    fn metrics(&self) -> Metrics;

    /// Closes the store so that the next open finds it clean. Dropping an engine without this is safe for
    /// acknowledged data, and costs the next open a recovery.
    fn close(self: Box<Self>) -> Result<()>;
}

/// A thread's handle to an [`Engine`].
pub trait Session: Send {
    /// Reads the value of `key` into `value`, replacing what was there, and tells whether the key exists. When it
    /// does not, `value` is left empty.
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool>;

    /// Reads several keys; `visit` gets each key's index and value, in any order.
    fn multi_get(
        &mut self,
        _keys: &[&[u8]],
        _visit: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        Err(Error::Unsupported(OperationKind::MultiGet))
    }

    /// Stores `value` under `key`, replacing any earlier value. Empty values are values.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Stores a value that is gone after `ttl`.
    fn put_expiring(&mut self, _key: &[u8], _value: &[u8], _ttl: Duration) -> Result<()> {
        Err(Error::Unsupported(OperationKind::PutExpiring))
    }

    /// Removes `key`; removing what is not there is no error.
    fn delete(&mut self, key: &[u8]) -> Result<()>;

    /// Removes all keys in `[start, end)`: none, if `end` is not greater than `start`.
    fn delete_range(&mut self, _start: &[u8], _end: &[u8]) -> Result<()> {
        Err(Error::Unsupported(OperationKind::DeleteRange))
    }

    /// Applies a batch atomically.
    fn write(&mut self, _batch: &WriteBatch) -> Result<()> {
        Err(Error::Unsupported(OperationKind::Write))
    }

    /// Visits at most `limit` keys in order, beginning at `start` (included), until `visit` breaks, and returns how many were
    /// visited. An empty `start` means the first key, or with [`Direction::Reverse`] the last one.
    ///
    /// The scan sees one point in time: each write is either before it or after it.
    fn scan(
        &mut self,
        _start: &[u8],
        direction: Direction,
        _limit: usize,
        _visit: &mut Visit<'_>,
    ) -> Result<usize> {
        Err(Error::Unsupported(match direction {
            Direction::Forward => OperationKind::ScanForward,
            Direction::Reverse => OperationKind::ScanReverse,
        }))
    }
}
