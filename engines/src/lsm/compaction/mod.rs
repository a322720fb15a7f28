//! Moving data down the tree: what to do ([`picker`]) and doing it ([`run`]).

pub(crate) mod picker;
pub(crate) mod run;
