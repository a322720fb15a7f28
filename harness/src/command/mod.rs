//! One file a command.

pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod inspect;
mod inspect_bitcask;
mod inspect_lsm;
pub(crate) mod list;
pub(crate) mod merge;
pub(crate) mod recover;
pub(crate) mod report;
pub(crate) mod run;
