//! Integration tests of the engines crate.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stderr, reason = "a failed sweep says where it was")]

#[cfg(feature = "bitcask")]
mod bitcask;
mod conformance;
mod crash;
mod group_commit;
#[cfg(feature = "lsm")]
mod lsm;
mod simulated;
mod storage;
mod toy;
