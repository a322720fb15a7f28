//! The locks of what a model checker runs as well: there, a module of the same name and interface stands in (`tests/schedules/sync.rs`).

pub(crate) use parking_lot::{Condvar, Mutex};
