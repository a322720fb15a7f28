//! What wakes those who wait for a store's background work, or for something to do.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Wakes those who wait for work, and those who wait for it to be done.
#[derive(Default)]
pub(crate) struct Signals {
    state: Mutex<SignalState>,
    changed: Condvar,
}

#[derive(Default)]
struct SignalState {
    /// Grows with everything that could be of interest.
    changes: u64,
    /// Why background work does not get on, while it does not.
    obstacle: Option<String>,
}

impl Signals {
    pub(crate) fn changes(&self) -> u64 {
        self.state.lock().changes
    }

    pub(crate) fn notify(&self) {
        self.state.lock().changes += 1;
        self.changed.notify_all();
    }

    /// Waits until there have been more than `seen` changes, or for a time.
    pub(crate) fn wait(&self, seen: u64, at_most: Duration) {
        let mut state = self.state.lock();
        if state.changes == seen {
            self.changed.wait_for(&mut state, at_most);
        }
    }

    pub(crate) fn set_obstacle(&self, obstacle: Option<String>) {
        self.state.lock().obstacle = obstacle;
        self.notify();
    }

    pub(super) fn obstacle(&self) -> Option<String> {
        self.state.lock().obstacle.clone()
    }
}
