//! Moving data down the tree.
//!
//! | module | what it holds |
//! |---|---|
//! | [`style`] | how a store's tables are kept in order, as the options say it |
//! | [`picker`] | what is due: a pure function over metadata; one module for each style: [`levelled`], [`tiered`], [`fifo`], and [`manual`] |
//! | [`expired`] | tables that are dropped because all in them has expired |
//! | [`for_scans`] | merging the youngest runs, when scans have paid as much for them |
//! | [`relocation`] | which files of values are to be emptied, and by what |
//! | [`task`] | one compaction that is to be done, and which others it excludes |
//! | [`split`] | where its output is cut into tables, and into ranges for several threads |
//! | [`schedule`] | which compactions are under way |
//! | [`run`], [`output`] | doing one |
//! | `simulation` | what a style costs, over metadata alone (feature `simulation`) |

#[cfg(test)]
mod choices;
pub(crate) mod expired;
pub(crate) mod fifo;
#[cfg(test)]
mod fixtures;
pub(crate) mod for_scans;
#[cfg(test)]
mod histories;
pub(crate) mod levelled;
pub(crate) mod manual;
pub(crate) mod output;
pub(crate) mod picker;
pub(crate) mod relocation;
pub(crate) mod run;
pub(crate) mod schedule;
#[cfg(feature = "simulation")]
pub mod simulation;
pub(crate) mod split;
pub(crate) mod style;
pub(crate) mod task;
pub(crate) mod tiered;
