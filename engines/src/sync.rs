//! The locks and waits of what a model checker runs as well: there, a module of the same name and interface stands in (`tests/schedules/sync.rs`).

use std::time::{Duration, Instant};

pub(crate) use parking_lot::{Condvar, Mutex};

/// Lets other threads go on until `condition` holds, or `patience` is over.
pub(crate) fn wait_until(patience: Duration, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() && began.elapsed() < patience {
        std::thread::yield_now();
    }
}
