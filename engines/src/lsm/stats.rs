//! What the store counts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::{BytesWritten, Event, EventKind, Stalls};

/// Events that are kept.
const EVENTS_MAX: usize = 4096;

/// What a read counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Probes {
    /// Filters that were asked.
    pub(crate) filters: u64,
    /// Of these, how many let pass a key that was not there.
    pub(crate) in_vain: u64,
}

/// What reads have counted; each session has its own, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ReadStats {
    filter_probes: AtomicU64,
    filter_false_positives: AtomicU64,
}

impl ReadStats {
    /// Adds what a read has counted.
    #[inline]
    pub(crate) fn add(&self, probes: Probes) {
        self.filter_probes.fetch_add(probes.filters, Ordering::Relaxed);
        if probes.in_vain > 0 {
            self.filter_false_positives.fetch_add(probes.in_vain, Ordering::Relaxed);
        }
    }

    /// The same, by the one thread that adds anything: the processor need not wait until nobody else does.
    #[inline]
    pub(crate) fn add_alone(&self, probes: Probes) {
        let all = self.get();
        self.filter_probes.store(all.filters + probes.filters, Ordering::Relaxed);
        self.filter_false_positives.store(all.in_vain + probes.in_vain, Ordering::Relaxed);
    }

    #[inline]
    fn get(&self) -> Probes {
        Probes {
            filters: self.filter_probes.load(Ordering::Relaxed),
            in_vain: self.filter_false_positives.load(Ordering::Relaxed),
        }
    }
}

/// The store's counters.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) log_bytes: AtomicU64,
    pub(crate) flush_bytes: AtomicU64,
    pub(crate) compaction_bytes: AtomicU64,
    pub(crate) manifest_bytes: AtomicU64,
    /// Written to files of values, by flushes and compactions.
    pub(crate) value_log_bytes: AtomicU64,
    /// Of values that were moved out of files of values.
    pub(crate) relocated_bytes: AtomicU64,
    pub(crate) fsyncs: AtomicU64,
    /// Snapshots that are alive, those of iterators among them.
    pub(crate) snapshots_alive: AtomicU64,
    stall_count: AtomicU64,
    stall_nanoseconds: AtomicU64,
    events: Mutex<VecDeque<Event>>,
    /// Of the sessions that have ended, and of reads without a session.
    pub(crate) reads: ReadStats,
    sessions: Mutex<Vec<Arc<ReadStats>>>,
}

/// Adds to a counter that is not contended.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Stats {
    /// Counters for a new session.
    pub(crate) fn begin_session(&self) -> Arc<ReadStats> {
        let stats = Arc::new(ReadStats::default());
        self.sessions.lock().push(Arc::clone(&stats));
        stats
    }

    /// Keeps what a session counted.
    pub(crate) fn end_session(&self, stats: &Arc<ReadStats>) {
        let mut sessions = self.sessions.lock();
        sessions.retain(|session| !Arc::ptr_eq(session, stats));
        self.reads.add(stats.get());
    }

    /// Notes background work, or a stall, that began at `start` and has just ended.
    pub(crate) fn event(&self, kind: EventKind, start: Instant, bytes_written: u64) {
        let end = Instant::now();
        if kind == EventKind::Stall {
            count(&self.stall_count, 1);
            count(&self.stall_nanoseconds, (end - start).as_nanos() as u64);
        }
        let mut events = self.events.lock();
        if events.len() == EVENTS_MAX {
            events.pop_front();
        }
        events.push_back(Event { kind, start, end, bytes_written });
    }

    /// Notes a short pause of a writer, which began at `start` and has just ended: counted as a stall, but there are too many of them for events.
    pub(crate) fn pause(&self, start: Instant) {
        count(&self.stall_count, 1);
        count(&self.stall_nanoseconds, start.elapsed().as_nanos() as u64);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().iter().copied().collect()
    }

    pub(crate) fn stalls(&self) -> Stalls {
        Stalls {
            count: self.stall_count.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.stall_nanoseconds.load(Ordering::Relaxed)),
        }
    }

    pub(crate) fn bytes_written(&self) -> BytesWritten {
        BytesWritten {
            log: self.log_bytes.load(Ordering::Relaxed),
            flush: self.flush_bytes.load(Ordering::Relaxed),
            compaction: self.compaction_bytes.load(Ordering::Relaxed),
            manifest: self.manifest_bytes.load(Ordering::Relaxed),
            value_log: self.value_log_bytes.load(Ordering::Relaxed),
            ..BytesWritten::default()
        }
    }

    /// What all reads have counted.
    pub(crate) fn probes(&self) -> Probes {
        let sessions = self.sessions.lock();
        let all = sessions.iter().map(|session| session.get()).chain([self.reads.get()]);
        all.fold(Probes::default(), |sum, probes| Probes {
            filters: sum.filters + probes.filters,
            in_vain: sum.in_vain + probes.in_vain,
        })
    }
}
