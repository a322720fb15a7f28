//! The threads of a store: one flushes, the others compact, so that a flush never waits for a compaction.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::compaction::schedule::Progress;
use super::store::{Core, RETRY_AFTER};
use crate::storage::Storage;
use crate::{Error, Result};

/// How often it is looked whether readers have left what has been replaced, while they have not.
const READERS_LEFT_AFTER: Duration = Duration::from_millis(100);

/// One step of work; tells whether there was any.
type Step<S> = fn(&Core<S>) -> Result<bool>;

/// Starts the threads, and adds them to `threads`.
pub(crate) fn start<S: Storage>(
    core: &Arc<Core<S>>,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<()> {
    let flushing: (&str, Step<S>) = ("lsm-flush", Core::flush_oldest);
    let compacting: (&str, Step<S>) = ("lsm-compaction", compact);
    let compacting = std::iter::repeat_n(compacting, core.options.compaction_threads);
    for (name, step) in std::iter::once(flushing).chain(compacting) {
        let core = Arc::clone(core);
        let thread = thread::Builder::new().name(name.to_owned());
        let started = thread.spawn(move || work(&core, step));
        threads.push(started.map_err(|source| Error::Io {
            operation: "start a thread for",
            path: name.into(),
            source,
        })?);
    }
    Ok(())
}

fn compact<S: Storage>(core: &Core<S>) -> Result<bool> {
    core.compact_once().map(|progress| progress == Progress::Worked)
}

/// Repeats a step whenever something has changed, until the store is closed or poisoned.
fn work<S: Storage>(core: &Core<S>, step: Step<S>) {
    let mut blocked = false;
    loop {
        // Before it is asked whether to stop: who stops the store notifies afterwards, and that must not count as seen.
        let seen = core.signals.changes();
        if core.stop.load(Ordering::Acquire) {
            return;
        }
        let are_retired = core.retired.let_go();
        match step(core) {
            Ok(worked) => {
                if std::mem::take(&mut blocked) {
                    core.signals.set_obstacle(None);
                }
                if !worked {
                    let at_most =
                        if are_retired { READERS_LEFT_AFTER } else { Duration::from_mins(1) };
                    core.signals.wait(seen, at_most);
                }
            }
            Err(error) if error.is_disk_full() => {
                blocked = true;
                core.signals.set_obstacle(Some(error.to_string()));
                core.signals.wait(core.signals.changes(), RETRY_AFTER);
            }
            // The store is poisoned by now.
            Err(_) => return,
        }
    }
}
