//! A log-structured merge tree: writes go into a log and a sorted memtable; full memtables become sorted tables; tables are merged from level to level
//! (O'Neil, Cheng, Gawlick, O'Neil, "The Log-Structured Merge-Tree", Acta Informatica 1996; LevelDB, 2011).
//!
//! | module | what it holds |
//! |---|---|
//! | [`Lsm`], [`Options`], [`Recovery`] | the store, what it can be told, what opening it found |
//! | `store` | what the parts share, and how a write goes through it |
//! | `wal`, `memtable` | the write-ahead log, and the ordered index over it |
//! | `table` | sorted tables: blocks, filter, index, footer |
//! | `version`, `manifest` | which tables there are, for readers and on disk |
//! | `merge`, `scan` | many sorted sources as one |
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
//! Readers take no lock, and see each batch as a whole; a scan sees one moment. A failed sync or append refuses all later writes until the store is
//! opened anew; reads go on. On a full device writes that need room fail, reads go on, and writes work again once there is room.
//!
//! # Versions
//!
//! A key's versions live only in the memtable, where the offset in the log tells their age. A table holds the newest version
//! of each key that its memtable had; a reader of an earlier moment keeps the memtables and tables of that moment. So neither tables nor merges know
//! sequence numbers, only whose content is younger.

mod background;
mod codec;
mod compaction;
mod files;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod manifest;
mod memtable;
mod merge;
mod options;
mod recovery;
mod scan;
mod session;
mod stats;
mod store;
mod table;
mod version;
mod wal;

pub use options::{Background, KEY_BYTES_MAX, Options, VALUE_BYTES_MAX, capabilities};
pub use recovery::Recovery;
pub use session::Lsm;
