//! One cell, measured in a child process of its own.
//!
//! The parent starts `kvdyno cell` with a [`job::Job`] as one JSON line on its standard input; the child answers with
//! [`job::Message`]s as JSON lines on its standard output. Memory, processor time and page faults of the process then belong to one
//! engine alone, and a panic, a hang or an exhausted memory costs one cell.
//!
//! - [`job`]: what the two say to each other.
//! - [`driver`]: the measuring loop. [`recorder`] and [`clock`] are its instruments.
//! - [`phase`]: load and run, around the loop: warm-up, measure, settle, check.
//! - [`figures`]: what is computed from counters before and after.
//! - [`recovery`]: writing until killed, and reopening.
//! - [`observe`]: what the kernel knows about this process, its store and its device.

pub(crate) mod acknowledgements;
pub(crate) mod check;
pub(crate) mod child;
pub(crate) mod clock;
pub(crate) mod driver;
pub(crate) mod figures;
pub(crate) mod job;
pub(crate) mod observe;
pub(crate) mod pacing;
pub(crate) mod phase;
pub(crate) mod recorder;
pub(crate) mod recovery;
