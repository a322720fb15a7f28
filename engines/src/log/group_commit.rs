//! Group commit: many writers share one flush of the device.
//!
//! 1. Each write gets a ticket, a number that grows in the order of the log.
//! 2. A writer that needs durability waits until its ticket is covered.
//! 3. The first to wait leads: it syncs, which covers all tickets given out before the sync began; the others sleep.
//! 4. When the sync returns, the leader names one of those that it did not cover as the next leader and wakes it first, and then each of those that
//!    it covered. Nobody wakes only to sleep again, and nobody waits for a lock that another sleeper has to be given first.
//! 5. A leader first *gathers*: writers that the last sync let go are probably about to write again. It waits until they have, for
//!    no longer than the last sync took. Without that, the writers fall into two halves that take turns, and each sync serves one of them. Where that was in vain, the
//!    next few syncs begin at once.
//!
//! While one sync is under way, writes pile up and the next one covers them all (`DeWitt` et al., SIGMOD 1984). A failed sync
//! poisons the log: every later wait fails, because a repeated fsync may report success for pages that the kernel has dropped.
//!
//! `tests/schedules` runs this very file under a scheduler of its own.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex, wait_until};
use crate::{Error, Result};

/// Syncs before which nobody gathers, once more than half of the writers have been waited for in vain.
const HASTY_SYNCS: u32 = 16;

/// Shares syncs among writers.
#[derive(Debug, Default)]
pub struct GroupCommit {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// All tickets up to this one are durable.
    covered: u64,
    /// Somebody leads.
    led: bool,
    /// Why no more syncs are tried.
    poisoned: Option<String>,
    /// Those who wait, but for the leader.
    waiting: Vec<Arc<Waiter>>,
    /// How many the last sync covered, but for its leader.
    let_go: usize,
    /// How long it took.
    sync_time: Duration,
    /// How many more syncs begin without gathering.
    hasty_syncs: u32,
}

/// A writer that waits.
#[derive(Debug)]
struct Waiter {
    ticket: u64,
    told: Mutex<Option<Told>>,
    changed: Condvar,
}

/// What a waiter is woken with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Its ticket is durable.
    Covered,
    /// It is the next leader.
    Lead,
    /// The log is poisoned.
    Poisoned,
}

enum Entered {
    Covered,
    Leading,
    Waiting(Arc<Waiter>),
}

impl Waiter {
    fn tell(&self, what: Told) {
        *self.told.lock() = Some(what);
        self.changed.notify_all();
    }

    fn wait(&self) -> Told {
        let mut told = self.told.lock();
        loop {
            if let Some(told) = *told {
                return told;
            }
            self.changed.wait(&mut told);
        }
    }
}

impl GroupCommit {
    /// Returns once `ticket` is durable. If it falls to the caller to lead, `sync` is called: it makes everything written so far durable and returns
    /// the last ticket that this covers, which must be one that was given out before the sync began.
    ///
    /// # Errors
    /// What `sync` returned, to the writer that called it; [`Error::Poisoned`] to all others whose tickets are not covered, then and later.
    ///
    /// # Panics
    /// If `sync` does; for the others that is an error.
    pub fn wait(&self, ticket: u64, sync: impl FnOnce() -> Result<u64>) -> Result<()> {
        match self.enter(ticket)? {
            Entered::Covered => return Ok(()),
            Entered::Leading => {}
            Entered::Waiting(waiter) => match waiter.wait() {
                Told::Covered => return Ok(()),
                Told::Poisoned => return self.check(),
                // Something else may have failed since it was told.
                Told::Lead => self.check()?,
            },
        }
        self.gather();
        let began = Instant::now();
        // Whatever becomes of this thread, the others must not wait for it.
        let outcome = catch_unwind(AssertUnwindSafe(sync));
        self.hand_over(ticket, &outcome, began.elapsed());
        match outcome {
            Ok(synced) => synced.map(|_| ()),
            Err(panic) => resume_unwind(panic),
        }
    }

    fn enter(&self, ticket: u64) -> Result<Entered> {
        let mut state = self.state.lock();
        // First of all: what an earlier sync made durable stays so, whatever failed since.
        if state.covered >= ticket {
            return Ok(Entered::Covered);
        }
        state.check()?;
        if !state.led {
            state.led = true;
            return Ok(Entered::Leading);
        }
        let waiter =
            Arc::new(Waiter { ticket, told: Mutex::default(), changed: Condvar::default() });
        state.waiting.push(Arc::clone(&waiter));
        Ok(Entered::Waiting(waiter))
    }

    /// Waits until those whom the last sync let go are back, or too long.
    fn gather(&self) {
        let (waiting, let_go, patience) = {
            let mut state = self.state.lock();
            if state.let_go == 0 || state.hasty_syncs > 0 {
                state.hasty_syncs = state.hasty_syncs.saturating_sub(1);
                return;
            }
            (state.waiting.len(), state.let_go, state.sync_time)
        };
        wait_until(patience, || self.state.lock().waiting.len() >= waiting + let_go);
        let mut state = self.state.lock();
        // Those who waited have gone if the log was poisoned meanwhile.
        if state.waiting.len().saturating_sub(waiting) * 2 < let_go {
            state.hasty_syncs = HASTY_SYNCS;
        }
    }

    /// Ends the turn of the leader with this ticket.
    fn hand_over(&self, ticket: u64, outcome: &std::thread::Result<Result<u64>>, took: Duration) {
        let mut state = self.state.lock();
        state.led = false;
        let covered = match outcome {
            Ok(Ok(covered)) => *covered,
            Ok(Err(error)) => return state.poison(error.to_string()),
            Err(_) => return state.poison("a sync panicked".to_owned()),
        };
        debug_assert!(
            covered >= ticket,
            "a sync covers the ticket of the writer that asked for it"
        );
        state.covered = state.covered.max(covered);
        state.sync_time = took;
        let is_covered = |waiter: &mut Arc<Waiter>| waiter.ticket <= covered;
        let let_go: Vec<_> = state.waiting.extract_if(.., is_covered).collect();
        state.let_go = let_go.len();
        let next = (!state.waiting.is_empty()).then(|| state.waiting.remove(0));
        state.led = next.is_some();
        drop(state);
        if let Some(next) = next {
            next.tell(Told::Lead);
        }
        for waiter in let_go {
            waiter.tell(Told::Covered);
        }
    }

    /// Whether `ticket` is durable already.
    pub fn is_covered(&self, ticket: u64) -> bool {
        self.state.lock().covered >= ticket
    }

    /// Refuses all later waits.
    pub fn poison(&self, cause: &Error) {
        self.state.lock().poison(cause.to_string());
    }

    /// The earlier failure, if there was one.
    pub fn check(&self) -> Result<()> {
        self.state.lock().check()
    }
}

impl State {
    fn check(&self) -> Result<()> {
        match &self.poisoned {
            Some(cause) => Err(Error::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    fn poison(&mut self, cause: String) {
        self.poisoned.get_or_insert(cause);
        for waiter in self.waiting.drain(..) {
            waiter.tell(Told::Poisoned);
        }
    }
}
