//! The threads of a store, and what wakes them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

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

    fn wait(&self) {
        let mut raised = self.raised.lock();
        while !*raised {
            self.changed.wait(&mut raised);
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

    /// Starts a thread that prepares and seals data files, and one that merges them.
    pub(crate) fn start(store: Arc<Store<S>>, dir: &Path) -> Result<Self> {
        let mut workers = Self::none(store);
        workers.spawn("bitcask-seal", dir, |store| (&store.sealer, Store::maintain))?;
        workers.spawn("bitcask-merge", dir, |store| (&store.merger, Store::merge_due))?;
        Ok(workers)
    }

    fn spawn(
        &mut self,
        name: &str,
        dir: &Path,
        job: impl FnOnce(&Store<S>) -> (&Signal, fn(&Store<S>) -> Result<()>) + Send + 'static,
    ) -> Result<()> {
        let store = Arc::clone(&self.store);
        let run = move || {
            let (signal, work) = job(&store);
            loop {
                signal.wait();
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
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}
