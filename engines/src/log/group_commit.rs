//! Group commit: many writers share one flush of the device.
//!
//! 1. Each write gets a ticket, a number that grows in the order of the log.
//! 2. A writer that needs durability waits until its ticket is covered.
//! 3. The first to wait becomes the leader: it syncs, which covers all tickets given out before the sync began; the others sleep.
//! 4. When the sync returns, everybody that is covered goes on, and one of the others becomes the next leader.
//!
//! While one sync is under way, writes pile up and the next one covers them all (`DeWitt` et al., SIGMOD 1984). A failed sync
//! poisons the log: every later wait fails, because a repeated fsync may report success for pages that the kernel has dropped.
//!
//! `tests/schedules` runs this very file under a scheduler of its own.

use crate::sync::{Condvar, Mutex};
use crate::{Error, Result};

/// Shares syncs among writers.
#[derive(Debug, Default)]
pub struct GroupCommit {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// All tickets up to this one are durable.
    covered: u64,
    /// Somebody is syncing.
    syncing: bool,
    /// Why no more syncs are tried.
    poisoned: Option<String>,
}

impl GroupCommit {
    /// Returns once `ticket` is durable. If nobody else is syncing, `sync` is called: it makes everything written so far durable and returns
    /// the last ticket that this covers, which must be one that was given out before the sync began.
    ///
    /// # Errors
    /// What `sync` returned, to the writer that called it; [`Error::Poisoned`] to all others whose tickets are not covered, then and later.
    pub fn wait(&self, ticket: u64, sync: impl FnOnce() -> Result<u64>) -> Result<()> {
        let mut state = self.state.lock();
        loop {
            // First of all: what an earlier sync made durable stays so, whatever failed since.
            if state.covered >= ticket {
                return Ok(());
            }
            if let Some(cause) = &state.poisoned {
                return Err(Error::Poisoned { cause: cause.clone() });
            }
            if !state.syncing {
                break;
            }
            self.changed.wait(&mut state);
        }
        state.syncing = true;
        drop(state);
        let outcome = sync();
        let mut state = self.state.lock();
        state.syncing = false;
        let result = match outcome {
            Ok(covered) => {
                debug_assert!(
                    covered >= ticket,
                    "a sync covers the ticket of the writer that asked for it"
                );
                state.covered = state.covered.max(covered);
                Ok(())
            }
            Err(error) => {
                state.poisoned = Some(error.to_string());
                Err(error)
            }
        };
        drop(state);
        self.changed.notify_all();
        result
    }

    /// Whether `ticket` is durable already.
    pub fn is_covered(&self, ticket: u64) -> bool {
        self.state.lock().covered >= ticket
    }

    /// Refuses all later waits.
    pub fn poison(&self, cause: &Error) {
        self.state.lock().poisoned.get_or_insert_with(|| cause.to_string());
        self.changed.notify_all();
    }

    /// The earlier failure, if there was one.
    pub fn check(&self) -> Result<()> {
        match &self.state.lock().poisoned {
            Some(cause) => Err(Error::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }
}
