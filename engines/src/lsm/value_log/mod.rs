//! The value log: files that hold big values apart from the tables.
//!
//! A compaction moves what is in its tables, and in a tree of several levels each byte is moved some ten times. A value that lies apart is moved only when the file that it lies in is to be
//! emptied: what the tables move is a pointer of 16 bytes.
//!
//! 1. A write goes its usual way: value and all into the log and the memtable. So nothing about a write, its durability, or its recovery depends on the value log.
//! 2. A flush, or a compaction that meets such a value in a table, appends each value of at least [`super::Options::value_log_min_bytes`] to a file of values, and gives the table a pointer to it, with its deadline before that if the value expires. The
//!    file is synced with the table, and the manifest names both in one edit. It is never written to again: it has no torn tail, and what is not in it to the byte is damage.
//! 3. Each table says how many bytes of which files it points to. Their sum over the tables of a version is what is alive in a file, the rest is dead: nothing is counted up or down that
//!    could drift, whatever becomes of tables, dropped ones included.
//! 4. A file that no table of the newest version points to is removed, once the last reader has left the versions that did.
//! 5. When too much is dead, the deadest files are emptied ([`super::compaction`], `relocation`): compactions that meet a pointer into one of them write the value to a new file, and where none is due that
//!    does, a table is written anew in its place. The pointer stays where it was in the tree, below all that is younger: a put or a deletion that comes meanwhile wins as it does
//!    over any other entry, and nothing comes back.
//!
//! Values could be separated before the log instead, which would then hold pointers alone (Lu et al., "`WiscKey`: Separating Keys from Values in SSD-conscious Storage", FAST 2016; Badger). That writes each value once
//! instead of twice. This is not done, because:
//!
//! - what is overwritten or deleted while it is in a memtable never gets to the value log here, and is not garbage in it;
//! - values lie in the order of their keys here, file by file, so that scans read forward and not all over the device;
//! - a write would be in two files, whose syncs class `sync` would have to wait for, and which a crash could tear apart; here the files of values are as easy to trust as tables;
//! - a job that moves values there has to write the new places through the log, beside puts that race with it, and look each key up to see whether it is alive; here it is a compaction.
//!
//! `BlobDB` (`RocksDB`) and Titan chose the same. Titan also counts per table what it points to; both drop a file only when all of it is dead, or move on by the age of files alone.
//!
//! | module | what it holds |
//! |---|---|
//! | [`format`] | a file of values, and the pointer into it |
//! | [`file`](self::file) | reading one, and removing it at the end of its life |
//! | [`files`] | those of a version |
//! | [`writer`] | writing them |

mod file;
mod files;
pub(crate) mod format;
mod writer;

pub(crate) use file::{ValueFile, check_header, read_value, uncompressed};
pub(crate) use files::{Usage, ValueFiles};
pub(crate) use format::Pointer;
pub(crate) use writer::{ValueWriter, WrittenValues};
