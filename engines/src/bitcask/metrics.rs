//! What the store counts while it is open.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::{Event, EventKind, Result, Stalls};

/// Background events that are kept.
const EVENTS_MAX: usize = 4096;

/// Counters since open. Bytes of the log are not among them: they are known from the lengths of the data files.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Bytes of data files that are full.
    pub(crate) log_bytes: AtomicU64,
    pub(crate) merge_bytes: AtomicU64,
    pub(crate) manifest_bytes: AtomicU64,
    pub(crate) hint_bytes: AtomicU64,
    fsyncs: AtomicU64,
    stalls: Mutex<Stalls>,
    events: Mutex<VecDeque<Event>>,
}

impl Counters {
    /// Calls something that flushes, and counts it.
    pub(crate) fn sync<T>(&self, flush: impl FnOnce() -> Result<T>) -> Result<T> {
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        flush()
    }

    pub(crate) fn fsyncs(&self) -> u64 {
        self.fsyncs.load(Ordering::Relaxed)
    }

    pub(crate) fn stalls(&self) -> Stalls {
        *self.stalls.lock()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().iter().copied().collect()
    }

    /// Notes a background event that ends now.
    pub(crate) fn event(&self, kind: EventKind, start: Instant, bytes_written: u64) {
        let mut events = self.events.lock();
        if events.len() == EVENTS_MAX {
            events.pop_front();
        }
        events.push_back(Event { kind, start, end: Instant::now(), bytes_written });
    }

    /// Notes that a writer had to wait since `start`.
    pub(crate) fn stall(&self, start: Instant) {
        let mut stalls = self.stalls.lock();
        stalls.count += 1;
        stalls.time += start.elapsed().max(Duration::from_nanos(1));
        drop(stalls);
        self.event(EventKind::Stall, start, 0);
    }
}
