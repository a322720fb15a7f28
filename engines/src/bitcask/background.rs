//! The threads of a store, and what wakes them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::options::Options;
use super::store::Store;
use crate::storage::Storage;
use crate::{Error, Result};

/// Wakes a thread when there is work.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    pub(crate) fn notify(&self) {
        *self.raised.lock() = true;
        self.changed.notify_one();
    }

    /// Waits until there is work, or for so long.
    pub(crate) fn wait(&self, at_most: Option<Duration>) {
        let mut raised = self.raised.lock();
        while !*raised {
            match at_most {
                None => self.changed.wait(&mut raised),
                Some(time) if self.changed.wait_for(&mut raised, time).timed_out() => break,
                Some(_) => {}
            }
        }
        *raised = false;
    }
}

/// The threads of a store. Dropping them ends them, in the middle of a merge if need be.
pub(crate) struct Workers<S: Storage> {
    store: Arc<Store<S>>,
    threads: Vec<JoinHandle<()>>,
}

impl<S: Storage> Workers<S> {
    pub(crate) fn none(store: Arc<Store<S>>) -> Self {
        Self { store, threads: Vec::new() }
    }

    /// Starts a thread that prepares and seals data files, one that merges them, one that verifies what puts have presumed, and one that syncs where the options ask for it.
    pub(crate) fn start(store: Arc<Store<S>>, dir: &Path) -> Result<Self> {
        let mut workers = Self::none(store);
        let Options { merge, sync_interval, .. } = &workers.store.options;
        let (poll_interval, sync_interval) = (merge.poll_interval, *sync_interval);
        workers.spawn("bitcask-seal", dir, None, |store| &store.sealer, Store::maintain)?;
        let every = Some(poll_interval);
        workers.spawn("bitcask-merge", dir, every, |store| &store.merger, Store::merge_due)?;
        workers.spawn("bitcask-verify", dir, None, |store| &store.verifier, Store::verify_batch)?;
        if sync_interval.is_some() {
            let work = Store::sync_written_since;
            workers.spawn("bitcask-sync", dir, sync_interval, |store| &store.syncer, work)?;
        }
        Ok(workers)
    }

    fn spawn(
        &mut self,
        name: &str,
        dir: &Path,
        every: Option<Duration>,
        signal: fn(&Store<S>) -> &Signal,
        work: fn(&Store<S>) -> Result<()>,
    ) -> Result<()> {
        let store = Arc::clone(&self.store);
        let run = move || {
            loop {
                signal(&store).wait(every);
                if store.stopping.load(Ordering::Relaxed) {
                    return;
                }
                store.in_background(work);
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        let failed = |source: io::Error| Error::io("start a thread for", dir)(source);
        self.threads.push(thread.map_err(failed)?);
        Ok(())
    }
}

impl<S: Storage> Drop for Workers<S> {
    fn drop(&mut self) {
        self.store.stopping.store(true, Ordering::Relaxed);
        self.store.sealer.notify();
        self.store.merger.notify();
        self.store.verifier.notify();
        self.store.syncer.notify();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}
