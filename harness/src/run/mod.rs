//! A run: from what was typed to a folder of results.
//!
//! - [`suite`]: what a suite file says, the built-in suites among them; [`scalar`]: its values.
//! - [`workloads`]: from names to workloads; [`data_set`]: what is loaded once for several of them.
//! - [`engines`]: from names and variants to adapters with options.
//! - [`plan`]: what was asked for, resolved into engines × data sets × conditions; [`cell_key`]: the cells that follow from it.
//! - [`schedule`]: goes through the cells of a plan, trial by trial, engines in random order.
//! - [`durability_check`]: whether a durability class is what it says; [`tracer`] sees the system calls.
//! - [`recovery`]: one recovery experiment, from the copy of a store to the outcome.
//! - [`child_process`]: one cell's process, seen from the parent.
//! - [`stores`]: the folder in which stores live, templates and copies.
//! - [`room`]: whether the device has enough of it.
//! - [`output`]: the result file, written after each cell.
//! - [`record`], [`resume`]: what a run needs to go on after it was cut off, and whether it may.
//! - [`describe`]: the result file before the first cell.
//! - [`memory_group`], [`first_touch`]: a cell's memory limited; memory touched before the first cell.
//! - [`environment`], [`interrupt`]: the machine, Ctrl-C; [`progress`], [`estimate`]: the bar, the time left.

pub(crate) mod cell_key;
pub(crate) mod child_process;
pub(crate) mod data_set;
pub(crate) mod describe;
pub(crate) mod durability_check;
pub(crate) mod engines;
pub(crate) mod environment;
pub(crate) mod estimate;
pub(crate) mod first_touch;
pub(crate) mod interrupt;
pub(crate) mod memory_group;
pub(crate) mod output;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod record;
pub(crate) mod recovery;
pub(crate) mod resume;
pub(crate) mod room;
pub(crate) mod scalar;
pub(crate) mod schedule;
pub(crate) mod stores;
pub(crate) mod suite;
pub(crate) mod tracer;
pub(crate) mod workloads;
