//! Waiting for what background threads do.

use std::thread;
use std::time::{Duration, Instant};

/// Waits until something is so; fails if it does not come to be.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}
