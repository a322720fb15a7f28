//! The engines of this build: our own, and peers behind one Cargo feature each. One file an engine; the file's header says by which call
//! each durability class is given, how the engine is tuned, and how it is known to be idle.

mod bitcask;
#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "lmdb")]
mod lmdb;
mod lsm;
mod memory;
mod noop;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sled")]
mod sled;
#[cfg(feature = "sqlite")]
mod sqlite;

use crate::registry::Registry;

/// Engines that were left out of this build: name, feature that adds it, description.
pub(crate) const LEFT_OUT: &[(&str, &str, &str)] = &[
    #[cfg(not(feature = "fjall"))]
    ("fjall", "fjall", "LSM tree in Rust"),
    #[cfg(not(feature = "lmdb"))]
    ("lmdb", "lmdb", "memory-mapped B+tree in C"),
    #[cfg(not(feature = "redb"))]
    ("redb", "redb", "copy-on-write B+tree in Rust"),
    #[cfg(not(feature = "rocksdb"))]
    ("rocksdb", "rocksdb", "LSM tree in C++"),
    #[cfg(not(feature = "sled"))]
    ("sled", "sled", "tree over a log in Rust"),
    #[cfg(not(feature = "sqlite"))]
    ("sqlite", "sqlite", "B-tree with a write-ahead log in C"),
];

/// All engines of this build.
pub fn registry() -> Registry {
    let registry = Registry::empty().with(Box::new(bitcask::Adapter)).with(Box::new(lsm::Adapter));
    #[cfg(feature = "rocksdb")]
    let registry = registry.with(Box::new(rocksdb::Adapter));
    #[cfg(feature = "fjall")]
    let registry = registry.with(Box::new(fjall::Adapter));
    #[cfg(feature = "lmdb")]
    let registry = registry.with(Box::new(lmdb::Adapter));
    #[cfg(feature = "redb")]
    let registry = registry.with(Box::new(redb::Adapter));
    #[cfg(feature = "sqlite")]
    let registry = registry.with(Box::new(sqlite::Adapter));
    #[cfg(feature = "sled")]
    let registry = registry.with(Box::new(sled::Adapter));
    registry.with(Box::new(memory::Adapter)).with(Box::new(noop::Adapter))
}

/// What engines with threads of their own have in common.
#[cfg(any(feature = "fjall", feature = "rocksdb"))]
mod threads {
    use crate::options::{OptionInfo, Options};

    const NAME: &str = "background_threads";

    /// The option that says how many there are.
    pub(super) const OPTION: OptionInfo = OptionInfo::number(
        NAME,
        0,
        0,
        256,
        "threads for flushes and compactions; 0: as many as processors",
    );

    /// How many there are to be.
    pub(super) fn wanted(options: &Options) -> usize {
        match options.get(NAME) {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            number => number as usize,
        }
    }
}
