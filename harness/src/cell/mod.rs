//! One cell, measured in a child process of its own.
//!
//! The parent starts `kvdyno cell` with a [`job::Job`] as one JSON line on its standard input; the child answers with
//! [`job::Message`]s as JSON lines on its standard output. Memory, processor time and page faults of the process then belong to one
//! engine alone, and a panic, a hang or an exhausted memory costs one cell.
//!
//! - [`job`]: what the two say to each other.
//! - [`driver`]: the measuring loop of one thread. [`clock`], [`recorder`] and [`pace`] (when operations are due, in an open loop) are its instruments.
//! - [`drive`]: all threads at work; [`collector`] adds up what they record, [`sampler`] looks at process and machine once a second.
//! - [`phase`]: load and run, around the loops: warm-up, measure, settle, check. [`rates`]: after it, a sweep or search over offered rates.
//! - [`figures`]: what is computed from counters before and after.
//! - [`recovery`]: overwriting until closed or killed, and reopening. [`read_rate`] tells when reads are as quick as before, [`acknowledgements`]
//!   what was promised.
//! - [`marks`]: writes between system calls that a tracer recognises.
//! - [`page_cache`]: dropping a store's pages, and seeing which of them are in memory.
//! - [`observe`]: what the kernel knows about this process, its store and its device.

pub(crate) mod acknowledgements;
pub(crate) mod check;
pub(crate) mod child;
pub(crate) mod clock;
mod collector;
mod drive;
pub(crate) mod driver;
pub(crate) mod figures;
mod items;
pub(crate) mod job;
pub(crate) mod marks;
pub(crate) mod observe;
mod pace;
pub(crate) mod pacing;
pub(crate) mod page_cache;
pub(crate) mod phase;
mod rates;
pub(crate) mod read_rate;
pub(crate) mod recorder;
pub(crate) mod recovery;
mod sampler;
