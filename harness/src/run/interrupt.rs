//! Ctrl-C: the first asks the run to end and keep what was measured, the second does not wait for the cell.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::{Failure, Result};

/// Counts the user's requests to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// Takes over SIGINT, SIGTERM and SIGHUP (the terminal is gone) for the rest of the process.
    pub(crate) fn listen() -> Result<Self> {
        let interrupt = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
            .map_err(|error| Failure::failed(format!("cannot handle signals: {error}")))?;
        let count = Arc::clone(&interrupt.0);
        std::thread::spawn(move || {
            for _ in &mut signals {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(interrupt)
    }

    /// The user wants the run to end.
    pub(crate) fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// The user does not want to wait for the cell under way.
    pub(crate) fn insisted(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 1
    }
}
