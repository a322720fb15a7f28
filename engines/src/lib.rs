//! Key-value storage engines behind one small interface.
//!
//! | module | what it holds |
//! |---|---|
//! | [`Engine`], [`Session`] | the interface that every engine offers: open, read, write, scan, settle, tell |
//! | [`bitcask`] | a hash index over an append-only log (Sheehy and Smith, 2010) |
//! | [`lsm`] | a log-structured merge tree (O'Neil et al., 1996; LevelDB, 2011) |
//! | [`memory`] | an ordered map in memory: the oracle of the tests and the upper bound of the charts |
//! | [`noop`] | accepts everything and stores nothing: what is left is the caller's own cost |
//! | [`storage`] | the seam through which engines touch files: the disk, or a simulated disk that loses power |
//! | [`log`] | checksummed frames, torn tails, group commit: what the append-only files have in common |
//! | `conformance` | the checks that every engine passes, for tests (feature `conformance`) |
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # std::env::set_current_dir(&folder)?;
//! use kvdyno_engines::bitcask::{Bitcask, Options};
//! use kvdyno_engines::storage::Disk;
//!
//! let store = Bitcask::open(Disk, "sessions", Options::default())?;
//! store.put(b"alice", b"42")?;
//! let mut value = Vec::new();
//! assert!(store.get(b"alice", &mut value)? && value == b"42");
//! store.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! The crate knows no workload and no measurement, and depends on no other engine.

#[cfg(any(feature = "bitcask", feature = "lsm"))]
mod backup;
#[cfg(feature = "bitcask")]
pub mod bitcask;
mod clock;
#[cfg(any(feature = "bitcask", feature = "lsm"))]
mod compression;
#[cfg(feature = "conformance")]
pub mod conformance;
mod engine;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod log;
#[cfg(feature = "lsm")]
pub mod lsm;
pub mod memory;
mod metrics;
pub mod noop;
#[cfg(any(feature = "bitcask", feature = "lsm"))]
mod prefetch;
mod random;
#[cfg(all(feature = "simulation", any(feature = "bitcask", feature = "lsm")))]
mod requests;
pub mod storage;
mod sync;

pub use clock::Clock;
pub use engine::{
    Capabilities, Direction, Durability, Engine, OperationKind, Session, Visit, WriteBatch,
    WriteOperation,
};
pub use error::{Error, Result};
pub use metrics::{BytesWritten, Event, EventKind, Level, Metrics, Stalls};
