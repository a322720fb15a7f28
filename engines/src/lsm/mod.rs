//! A log-structured merge tree: writes go into a log and a sorted memtable; full memtables become sorted tables; tables are merged from level to level
//! (O'Neil, Cheng, Gawlick, O'Neil, "The Log-Structured Merge-Tree", Acta Informatica 1996; LevelDB, 2011).
//!
//! | module | what it holds |
//! |---|---|
//! | [`Lsm`], [`Options`], [`Recovery`] | the store, what it can be told, what opening it found |
//! | [`Snapshot`], [`Iter`], [`Cursor`], [`KeyRange`] | the store at one moment, and ways to walk through it |
//! | `store`, `writing`, `durability`, `back_pressure` | what the parts share; how a write goes through them, is made durable, and is slowed down when compactions are behind |
//! | `wal`, `memtable` | the write-ahead log, and the ordered index over it |
//! | `value_log` | big values, kept apart from the tables |
//! | `table` | sorted tables: blocks, filter, index, footer |
//! | `budget` | how much memory the parts take together |
//! | `rate` | how much flushes and compactions write per second |
//! | `cache` | data blocks in memory, where tables are read by calls |
//! | `version`, `manifest` | which tables there are, for readers and on disk |
//! | `retired` | what has been replaced, until the last reader has left it |
//! | `merge`, `scan`, `walk` | many sorted sources as one |
//! | `deadline` | values that expire |
//! | `range_set`, `shadowed` | deleted ranges of keys, and what they hide |
//! | `approximate` | how many bytes a range takes |
//! | [`Style`], `compaction`, `background` | how tables are kept in order: what is due, doing it, the threads that do it |
//! | `compaction_simulation` | what a style costs, over metadata alone (feature `simulation`) |
//! | `recovery`, `replay` | opening a store, after a clean close or a crash |
//! | [`LsmReader`] | reading beside another process, or where nothing may be changed |
//! | [`TableWriter`], [`TableReader`], [`merge_tables`] | tables outside of a store |
//! | `ingest` | taking such tables in |
//! | `backup` | checkpoints and backups of an open store |
//! | `survey`, `log_scan`, [`verify()`], [`records()`], [`salvage()`] | a store looked at from outside, damaged or not |
//!
//! # What it promises
//!
//! | class | process killed | power lost |
//! |---|---|---|
//! | `buffered`, `os` | every acknowledged write is there | a prefix of the writes, with everything up to the last [`Lsm::sync`] |
//! | `sync` | every acknowledged write is there | every acknowledged write is there |
//!
//! The class is the store's ([`Options::durability`]), or that of a single write ([`WriteOptions`]): what is acknowledged in class `sync` is there, with all that was written before it.
//!
//! An append to the log is a copy into a shared mapping, as cheap as one into a buffer in memory, so `buffered` is served as `os`.
//!
//! A failed sync or append refuses all later writes until the store is opened anew; reads go on, from copies of the logs that have been verified, as their pages may have left the cache unstored. A store that is opened after that, with or without a restart of the
//! machine, is as after a loss of power: what is found in logs becomes tables before anything later counts as synced, which is what the first [`Lsm::sync`] after an unclean end waits for.
//!
//! On a full device writes that need room fail, reads go on, and writes work again once there is room.
//!
//! Synced bytes that change give a typed error that names file and offset, never a wrong value. Of a log that was still being written when the process ended, what lies behind the last write that says so
//! cannot be told from a torn write, and is dropped as one; [`verify()`] says how much, and [`salvage()`] saves what is whole behind it, before the store is opened again.
//!
//! # Beside a running store
//!
//! | | lock | changes | while a writer has the store open |
//! |---|---|---|---|
//! | [`Lsm::open`] | takes it | yes | refused: [`crate::Error::Locked`] |
//! | [`LsmReader::open`] | none | nothing | safe, in any number of processes: what was acknowledged before is seen, as one moment |
//! | [`verify()`], [`inspect`], [`records()`] | none | nothing | safe; tables may go while they are looked for, so that under steady compaction [`Lsm::verify`] is the better one |
//! | [`salvage()`] | none on the old store | a new folder | not to be done: the old store must rest |
//!
//! Tables, files of values and logs are read and written through mappings, unless the former two are read by calls ([`Options::io`], or because there are many for the memory). If somebody else truncates one while it is open, or the device cannot read a page, the system ends the process (SIGBUS).
//!
//! # Reading tables
//!
//! | [`Options::io`] | a block that is in the page cache costs | memory | data larger than memory |
//! |---|---|---|---|
//! | [`Io::Mapped`] | nothing but the look at it | the page cache alone, which the system shares out | from [`Options::mapped_bytes_max`] on by calls |
//! | [`Io::Calls`] | a look into the store's own cache; if it is not there, a call and a copy | [`Options::cache_bytes`] of blocks, and filters and indexes, beside the page cache | a get reads one block, and what scans and compactions read does not push out what gets need |
//!
//! A table or a file of values that is read by calls is not touched through its mapping by gets, scans, iterators, flushes and compactions, so that what the device cannot read is an error ([`crate::Error::Io`]), and a file that is too
//! short is [`crate::Error::Corrupt`]. A value in the value log is read by a call of its own each time: the cache holds the blocks that point to it. Two things are left to mappings: filters and indexes for which [`Options::memory_bytes`] has no room, and files beyond half of the descriptors that the process may have (a table is up to 64 MiB long, a soft limit of 1,024 so enough for 32 GiB). Logs are always mapped, and so are the files that
//! [`verify()`], [`salvage()`] and backups go through.
//!
//! Data blocks can be compressed ([`Options::compression`], [`Options::compression_last`]), and are then cached unpacked, in either way of reading.
//!
//! # Memory
//!
//! [`Options::memory_bytes`] bounds what memtables with their logs, filters and indexes that are held, and the block cache take together, also under load. A memtable counts with the most that it may come to; the cache gets what the others
//! leave. Writers are slowed down as far as they outrun the flush, and wait where there would be more memtables than [`Options::memtables_waiting_max`]. Beyond it goes what cannot be helped: a write that is larger than a memtable, and memtables that
//! a snapshot keeps. The counters `memory_bytes`, `memtable_bytes` (indexes), `memtable_log_bytes`, `table_memory_bytes` and `cache_bytes` of [`Lsm::metrics`] tell the parts, `memory_charged_bytes` what counts against the budget.
//!
//! [`Options::background_bytes_per_s`] bounds what flushes and compactions write per second, to tables and to the value log, flushes first.
//!
//! # What readers see
//!
//! Writes, of one key or a batch, take effect one after the other, in the order of the log; each at one instant, as a whole. A *moment* is a state between two of them: all writes up to some one, and
//! nothing of those behind it.
//!
//! - Every read sees one moment, of writes and of the clock: a get, a multi-get, a scan, and a [`Snapshot`] with all that is read of it, in whatever way and however long. So do iterators and cursors, which take a snapshot of
//!   their own if they are not made from one.
//! - That moment lies between the call and its return. So every write is seen that was acknowledged before the call, by any thread, and a later read never sees an earlier moment than one that ended before it.
//! - A write can be seen a little before it is acknowledged; in class `sync`, before it is durable, so that power loss may take back what a reader has seen and the writer was never told. Nor does a write whose sync
//!   has failed go away again before the store is opened anew.
//! - There are no transactions: what is written after a read, and depends on it, may overwrite what others have written meanwhile. Batches keep several keys consistent with each other, for
//!   any reader of one moment; two gets may see two moments.
//!
//! Readers take no lock, wait for no flush, compaction or sync, and keep no write waiting; nor do they remove what others have replaced.
//!
//! # Compaction
//!
//! | style | what it does | for |
//! |---|---|---|
//! | [`Levelled`] | each level is one sorted run, about `level_ratio` times as large as the one above; one table at a time goes down and is merged with what it overlaps | reads and scans, little room |
//! | [`Tiered`] | runs of similar size are merged into one; everything, when the younger ones outweigh the oldest | few bytes written |
//! | [`Fifo`] | the oldest tables are dropped, by their bytes or their age | time series that may be forgotten |
//!
//! Tables that overlap nothing are moved without being written anew: ascending keys are written once to the log and once to a table. A table that is mostly deletions goes down early.
//! Compactions that have no table and no level's range of keys in common run side by side ([`Options::compaction_threads`]), and one can be cut into ranges
//! ([`Options::subcompactions_max`]). [`Lsm::compact_range`] merges what it is asked to.
//!
//! Scans note what they pay for several runs. When that is as much as it costs to merge the youngest ones, this is done, though nothing is due ([`Options::compact_for_scans`], in the levelled style): a store that is scanned and
//! hardly written to comes to a single run. Iterators and cursors, and what snapshots scan, do not count: they keep the tables of their time.
//!
//! # Deleted ranges
//!
//! [`Lsm::delete_range`] is one write, alone or in a batch, however many keys it removes. What it covers is hidden from reads at once, and dropped by compactions, which do not read what is hidden as a whole.
//! A range lies in the log, in the memtable, and then in tables: each part of the tree hides what is older than itself, and as a memtable leaves out what it has deleted of its own when it is flushed, tables need to know no order
//! between ranges and entries. Where a compaction ends a table it cuts the range there, so that each table says by its least and greatest key which keys it has anything to say about. In the deepest level that has any of
//! the keys, the range itself is dropped. Stores without ranges pay nothing for them.
//!
//! # Values that expire
//!
//! [`Lsm::put_expiring`] stores a value for a time, alone or in a batch ([`crate::WriteOperation::PutExpiring`]; what one batch stores for equal times is gone at one instant), in any class of durability. What is stored is the moment at
//! which the time is over, in milliseconds of the [`Options::clock`]: from then on no read shows the value, nor any older value of its key, as if it had been deleted. A later write to the key, of whatever kind, counts instead.
//!
//! A get, multi-get or scan looks at the clock once, and only where it meets such a value. A [`Snapshot`], and so an iterator or a cursor, stays with the time at which it was taken: what it shows does not expire below it, as with
//! Bitcask's iterators. An [`LsmReader`] looks at the clock at each read, as gets do.
//!
//! Flushes and compactions treat what has expired as deletions, so it goes where these go. A table in which everything has expired, and that hides nothing older, is dropped without being read, in every style; one of which much has
//! expired is compacted as if that were deletions ([`Options::deletions_percent`]), but for the style [`Fifo`], in which nothing is. Until then expired values take their room, which [`Lsm::approximate_bytes`] counts. A clock
//! that is set back brings back what has not been met by then, and never anything older. Big values lie in the value log like others, and their time with the pointer. Stores without such values pay nothing for them.
//!
//! # Tables from outside
//!
//! A [`TableWriter`] writes a table with keys in ascending order, without a store; [`TableReader`] reads it, [`merge_tables`] merges several. [`Lsm::ingest`] takes such tables in, all at once and durably, without writing their content anew: what they hold
//! is younger than everything before. They go as deep as nothing is in the way, so that a sorted load costs one write of each byte.
//!
//! # Value log
//!
//! With [`Options::value_log_min_bytes`], values from that size on lie apart from the tables, in files of their own to which the tables point. A compaction then moves the pointers, of 16 bytes, and a value is
//! written twice: to the log, and once more when its memtable is flushed. What is overwritten or deleted, and that compactions have found to be so, is dead room, until there is more of it than
//! [`Options::value_log_dead_percent`] says; then the values that are alive in the deadest files are moved, and the files removed. A get of such a value costs one read more; scans read the values of keys that were
//! flushed together one behind the other. The option may change from one open to the next, and what compactions meet they put where it belongs by now. The metrics tell the bytes written to the value log, and how many of
//! its bytes are dead. `value_log/mod.rs` says how it works, and why so.
//!
//! # Versions
//!
//! A key's versions live only in the memtable, where the offset in the log tells their age. A table holds the newest version
//! of each key that its memtable had; a reader of an earlier moment keeps the memtables and tables of that moment. So neither tables nor merges know
//! sequence numbers, only whose content is younger.

mod approximate;
mod back_pressure;
mod background;
mod backup;
mod budget;
mod cache;
mod codec;
mod compaction;
mod cursor;
mod deadline;
mod durability;
mod files;
mod findings;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod ingest;
mod iter;
mod log_scan;
mod manifest;
mod memtable;
mod merge;
mod options;
mod range;
mod range_set;
mod rate;
mod reader;
mod records;
mod recovery;
mod replay;
mod retired;
mod salvage;
mod scan;
mod session;
mod shadowed;
mod signals;
mod snapshot;
mod stats;
mod store;
mod survey;
mod table;
mod table_file;
mod value_log;
mod verify;
mod version;
mod wal;
mod walk;
mod writing;

pub use crate::backup::BackupReport;
#[cfg(feature = "simulation")]
pub use compaction::simulation as compaction_simulation;
pub use cursor::Cursor;
pub use findings::{
    Damage, FileRole, LevelFigures, LogFigures, TableFigures, ValueFigures, VerifiedFile,
    VerifyReport,
};
pub use ingest::IngestReport;
pub use iter::Iter;
pub use options::{
    Background, Choice, Compression, Fifo, Io, KEY_BYTES_MAX, Levelled, Options, Style, Tiered,
    VALUE_BYTES_MAX, WriteOptions, capabilities,
};
pub use range::KeyRange;
pub use reader::LsmReader;
pub use records::{Place, StoredRecord, records};
pub use recovery::Recovery;
pub use salvage::{SalvageReport, salvage};
pub use session::Lsm;
pub use snapshot::Snapshot;
pub use table_file::{TableEntry, TableReader, TableWriter, TableWriterOptions, merge_tables};
pub use verify::{inspect, verify};
