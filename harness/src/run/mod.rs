//! A run: from what was typed to a folder of results.
//!
//! - [`suite`]: the built-in suites.
//! - [`plan`]: what was typed, resolved into engines × data sets × workloads.
//! - [`schedule`]: goes through the cells of a plan, trial by trial, engines in random order.
//! - [`durability_check`]: whether a durability class is what it says; [`tracer`] sees the system calls.
//! - [`recovery`]: one recovery experiment, from the copy of a store to the outcome.
//! - [`child_process`]: one cell's process, seen from the parent.
//! - [`stores`]: the folder in which stores live, templates and copies.
//! - [`room`]: whether the device has enough of it.
//! - [`output`]: the result file, written after each cell.
//! - [`environment`], [`progress`], [`interrupt`]: the machine, the bar, Ctrl-C.

pub(crate) mod child_process;
pub(crate) mod durability_check;
pub(crate) mod environment;
pub(crate) mod first_touch;
pub(crate) mod interrupt;
pub(crate) mod memory_group;
pub(crate) mod output;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod recovery;
pub(crate) mod room;
pub(crate) mod schedule;
pub(crate) mod stores;
pub(crate) mod suite;
pub(crate) mod tracer;
