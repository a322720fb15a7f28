//! The engines of this build: our own, and peers behind one Cargo feature each. One file an engine; the file's header says by which call
//! each durability class is given.

mod bitcask;
#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "lmdb")]
mod lmdb;
mod lsm;
mod memory;
mod noop;

use crate::registry::Registry;

/// Engines that were left out of this build: name, feature that adds it, description.
pub(crate) const LEFT_OUT: &[(&str, &str, &str)] = &[
    #[cfg(not(feature = "fjall"))]
    ("fjall", "fjall", "LSM tree in Rust"),
    #[cfg(not(feature = "lmdb"))]
    ("lmdb", "lmdb", "memory-mapped B+tree in C"),
];

/// All engines of this build.
pub fn registry() -> Registry {
    let registry = Registry::empty().with(Box::new(bitcask::Adapter)).with(Box::new(lsm::Adapter));
    #[cfg(feature = "fjall")]
    let registry = registry.with(Box::new(fjall::Adapter));
    #[cfg(feature = "lmdb")]
    let registry = registry.with(Box::new(lmdb::Adapter));
    registry.with(Box::new(memory::Adapter)).with(Box::new(noop::Adapter))
}
