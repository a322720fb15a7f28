//! One file a command.

pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod merge;
pub(crate) mod recover;
pub(crate) mod report;
pub(crate) mod run;
