//! Bitcask: a hash index over an append-only log.
//!
//! Values lie in data files that are only ever appended to; an index in memory, the keydir, knows where the newest record of each key lies. A get is
//! one look into the keydir and one read; a put is one append. What has been overwritten or deleted is dropped when files are merged.
//!
//! ```
//! use std::time::Duration;
//!
//! use kvdyno_engines::bitcask::{Bitcask, BitcaskReader, Options};
//! use kvdyno_engines::storage::Disk;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # std::env::set_current_dir(&folder)?;
//! let store = Bitcask::open(Disk, "sessions", Options::default())?;
//! store.put(b"user-7", b"logged in")?;
//! store.put_expiring(b"token-7", b"f3a9", Duration::from_mins(30))?;
//! let mut value = Vec::new();
//! assert!(store.get(b"user-7", &mut value)?);
//! assert!(store.delete(b"user-7")?, "it was there");
//! for record in &store {
//!     let (key, value) = record?;
//!     println!("{} has {} bytes", key.escape_ascii(), value.len());
//! }
//! store.sync()?; // from here on, power loss cannot take away what was written
//! store.backup("sessions-backup")?;
//! store.close()?;
//! let reader = BitcaskReader::open(&Disk, "sessions-backup", Options::default())?;
//! assert!(reader.contains(b"token-7")?);
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `view` | reads |
//! | `store`, `batch` | writes, syncs |
//! | `reader` | reading beside another process |
//! | `keydir`, `tag_table`, `control`, `lines`, `entry` | the index: nine bytes an entry, 11 to 14 a key, whatever the key's length |
//! | `presumed`, `verdict` | entries that were replaced before it was known whose they were |
//! | `fingerprint` | the hashes that stand for keys |
//! | `snapshot`, `iter` | the store at one point in time: iteration while writes and merges go on |
//! | `ordered` | an ordered view of the keys, on demand |
//! | `record` | format of data files, `0000000001.data` |
//! | `hint` | format of hint files, `0000000001.hint` |
//! | `keydir_file` | format of the keydir as it is written down at a close, `KEYDIR` |
//! | `manifest` | format of the list of data files, `MANIFEST` |
//! | `segment`, `files` | the data files of an open store |
//! | `rotation`, `merge`, `merge_policy` | how data files come and go |
//! | `merge_simulation` | what a policy costs, over metadata alone (feature `simulation`) |
//! | `recovery`, `index` | opening, after a close or a crash |
//! | `backup` | checkpoints and backups of an open store |
//! | `status` | what is in an open store, file by file |
//! | `survey`, `scan`, `verify`, `findings`, `records`, `salvage` | a store looked at from outside, damaged or not |
//!
//! # What is promised
//!
//! | | class `buffered`, `os` | class `sync` | tests (`engines/tests/it`) |
//! |---|---|---|---|
//! | the process dies | no acknowledged write is lost | the same | `killed`, `bitcask::beside` |
//! | power is lost | writes since the last [`Bitcask::sync`] may be lost, the newest first; what is left is a state that the store was in once | no acknowledged write is lost | `crash`, `exhaustive` |
//! | a batch is under way | all of it is there, or nothing | the same | `bitcask::batches`, `exhaustive` |
//! | a write is torn | it is dropped, and counted in [`Recovery`] | the same | `crash`, `damage` |
//! | synced bytes change | a typed error that names file and offset; never a wrong value, never dropped in silence (of a file that was still being written, as far as a later record says that they were synced) | the same | `damage`, `bitcask::damage` |
//! | the device is full | writes fail and say so, reads go on, and writes work again once there is room | the same | `full` |
//! | a sync fails | the store takes no more writes; it is never tried again. A store that is opened after that, with or without a restart of the machine, is as after a loss of power | the same; nothing is acknowledged any more | `faults` |
//! | a store is read, checkpointed or backed up while it is written and merged | what is found is a state that the store was in, with all that was acknowledged before | the same | `bitcask::beside`, `bitcask::backups` |
//! | a value expires, a key is deleted | an older value never comes back, in no order of merges, crashes and openings | the same | `bitcask::expiry`, `bitcask::basho` |
//!
//! That bytes were synced is said by the records that are written after the sync. What lies behind the last of them in the file that was being written when the process ended cannot be told from a torn write if it is
//! damaged, and is dropped as one; [`verify`] says how much, and [`salvage`] saves what is whole behind it, before the store is opened again.
//!
//! Files are read and written through mappings. If somebody else truncates a data file while the store is open, or the device cannot read a page, the system ends the process (SIGBUS).
//!
//! Class `buffered` takes the path of class `os`, and keeps more than it promises. Without [`Options::checksums`], damage to keys and values goes unnoticed, and after power loss
//! that includes what was written since the last sync. `teeth` shows that the tests would notice: it builds storages with bugs, left-out syncs among them, and each is caught, or shown to do no harm.
//!
//! Source: Sheehy and Smith, "Bitcask: A Log-Structured Hash Table for Fast Key/Value Data", 2010. Different here: the keydir does not hold keys,
//! files are named by a manifest in order of age rather than sorted by number, hints have hashes instead of keys, reads go through mappings.

mod background;
mod backup;
mod batch;
mod control;
mod engine;
mod entry;
mod files;
mod findings;
mod fingerprint;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
#[cfg(feature = "fuzzing")]
mod fuzzing_data;
mod hint;
mod index;
mod iter;
mod keydir;
mod keydir_file;
mod lines;
mod manifest;
mod merge;
mod merge_policy;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod merge_simulation;
mod metrics;
mod options;
mod ordered;
mod presumed;
mod reader;
mod record;
mod records;
mod recovery;
mod report;
mod rotation;
mod salvage;
mod scan;
mod segment;
mod snapshot;
mod status;
mod store;
mod survey;
mod tag_table;
mod verdict;
mod verify;
mod view;

pub use crate::backup::BackupReport;
pub use engine::Bitcask;
pub use findings::{Damage, DataFigures, VerifiedFile, VerifyReport};
pub use iter::Iter;
pub use options::{
    Background, KEY_BYTES_MAX, MergePolicy, MergeWindow, Options, SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN, VALUE_BYTES_MAX, capabilities,
};
pub use reader::BitcaskReader;
pub use records::{StoredRecord, records};
pub use report::{MergeReport, Recovery};
pub use salvage::{Dropped, SalvageReport, salvage};
pub use status::{FileInfo, FileState, MergeState, Status};
pub use survey::FileRole;
pub use verify::{inspect, verify};
