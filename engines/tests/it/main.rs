//! Integration tests of the engines crate.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "sweeps say how large they were")]
#![allow(clippy::print_stderr, reason = "a failed sweep says where it was")]

#[cfg(feature = "bitcask")]
mod bitcask;
mod child;
#[cfg(feature = "lsm")]
mod compaction;
mod conformance;
mod crash;
mod damage;
mod exhaustive;
#[cfg(any(feature = "bitcask", feature = "lsm"))]
mod expiring;
mod faults;
mod full;
#[cfg(any(feature = "bitcask", feature = "lsm"))]
mod gated;
mod group_commit;
#[cfg(any(feature = "bitcask", feature = "lsm"))]
mod hands;
mod histories;
mod history;
mod hostile;
mod killed;
mod leaks;
#[cfg(feature = "lsm")]
mod lsm;
#[cfg(any(feature = "bitcask", feature = "lsm"))]
mod patience;
#[cfg(feature = "bitcask")]
mod readme;
mod replay;
mod simulated;
mod sloppy;
mod storage;
mod subjects;
mod teeth;
mod toy;
