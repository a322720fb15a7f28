//! A log-structured merge tree: writes go into a log and a sorted memtable; full memtables become sorted tables; tables are merged from level to level
//! (O'Neil, Cheng, Gawlick, O'Neil, "The Log-Structured Merge-Tree", Acta Informatica 1996; LevelDB, 2011).
//!
//! | module | what it holds |
//! |---|---|
//! | [`Lsm`], [`Options`], [`Recovery`] | the store, what it can be told, what opening it found |
//! | [`Snapshot`], [`Iter`], [`Cursor`], [`KeyRange`] | the store at one moment, and ways to walk through it |
//! | `store` | what the parts share, and how a write goes through it |
//! | `wal`, `memtable` | the write-ahead log, and the ordered index over it |
//! | `table` | sorted tables: blocks, filter, index, footer |
//! | `version`, `manifest` | which tables there are, for readers and on disk |
//! | `merge`, `scan`, `walk` | many sorted sources as one |
//! | `approximate` | how many bytes a range takes |
//! | `compaction`, `background` | what is due, doing it, the threads that do it |
//! | `recovery` | opening a store, after a clean close or a crash |
//!
//! # What it promises
//!
//! | class | process killed | power lost |
//! |---|---|---|
//! | `buffered`, `os` | every acknowledged write is there | a prefix of the writes, with everything up to the last [`Lsm::sync`] |
//! | `sync` | every acknowledged write is there | every acknowledged write is there |
//!
//! An append to the log is a copy into a shared mapping, as cheap as one into a buffer in memory, so `buffered` is served as `os`.
//!
//! A failed sync or append refuses all later writes until the store is
//! opened anew; reads go on. On a full device writes that need room fail, reads go on, and writes work again once there is room.
//!
//! # What readers see
//!
//! Writes, of one key or a batch, take effect one after the other, in the order of the log; each at one instant, as a whole. A *moment* is a state between two of them: all writes up to some one, and
//! nothing of those behind it.
//!
//! - Every read sees one moment: a get, a multi-get, a scan, and a [`Snapshot`] with all that is read of it, in whatever way and however long. So do iterators and cursors, which take a snapshot of
//!   their own if they are not made from one.
//! - That moment lies between the call and its return. So every write is seen that was acknowledged before the call, by any thread, and a later read never sees an earlier moment than one that ended before it.
//! - A write can be seen a little before it is acknowledged; in class `sync`, before it is durable, so that power loss may take back what a reader has seen and the writer was never told.
//! - There are no transactions: what is written after a read, and depends on it, may overwrite what others have written meanwhile. Batches keep several keys consistent with each other, for
//!   any reader of one moment; two gets may see two moments.
//!
//! Readers take no lock, wait for no flush, compaction or sync, and keep no write waiting.
//!
//! # Versions
//!
//! A key's versions live only in the memtable, where the offset in the log tells their age. A table holds the newest version
//! of each key that its memtable had; a reader of an earlier moment keeps the memtables and tables of that moment. So neither tables nor merges know
//! sequence numbers, only whose content is younger.

mod approximate;
mod background;
mod codec;
mod compaction;
mod cursor;
mod files;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod iter;
mod manifest;
mod memtable;
mod merge;
mod options;
mod range;
mod recovery;
mod scan;
mod session;
mod snapshot;
mod stats;
mod store;
mod table;
mod version;
mod wal;
mod walk;

pub use cursor::Cursor;
pub use iter::Iter;
pub use options::{Background, KEY_BYTES_MAX, Options, VALUE_BYTES_MAX, capabilities};
pub use range::KeyRange;
pub use recovery::Recovery;
pub use session::Lsm;
pub use snapshot::Snapshot;
