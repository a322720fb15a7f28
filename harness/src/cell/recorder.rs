//! Latency histograms, recorded without a lock and without an allocation.
//!
//! 1. Each thread owns a [`Recorder`] with one [`Interval`]: a histogram for each [`Slot`] that the workload uses.
//! 2. When an operation ends in a new second, it first hands the interval to the collector and goes on with an empty one. Intervals are made
//!    beforehand and go round; if none has come back yet, the thread goes on with the one that it has.
//! 3. The [`Collector`](super::collector::Collector) adds the intervals up.
//!
//! Histograms count in nanoseconds with 3 significant digits, up to an hour.

use std::sync::mpsc::{Receiver, SyncSender};

use hdrhistogram::Histogram;
use kvdyno_workloads::OperationKind;

use super::clock::{Clock, Ticks};

/// Longest latency that is told apart; longer ones count as this.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
/// Intervals of a thread: one in use, one with the collector, one spare.
pub(crate) const INTERVALS_PER_THREAD: usize = 3;
/// How often an interval is handed over.
pub(crate) const INTERVAL_NS: u64 = 1_000_000_000;

/// What a histogram is for: an operation kind, or one of the two halves of a read-modify-write, which YCSB also counts as a read and an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// A whole operation.
    Operation(OperationKind),
    /// The read of a read-modify-write.
    InnerRead,
    /// The write of a read-modify-write.
    InnerUpdate,
}

impl Slot {
    /// The kind of a whole operation.
    fn operation(self) -> Option<OperationKind> {
        match self {
            Self::Operation(kind) => Some(kind),
            Self::InnerRead | Self::InnerUpdate => None,
        }
    }
}

/// What a thread recorded in about a second.
pub(crate) struct Interval {
    /// Service times.
    pub(crate) histograms: Vec<(Slot, Histogram<u64>)>,
    /// Response times, in an open loop.
    pub(crate) responses: Vec<(OperationKind, Histogram<u64>)>,
    /// Sums beside them.
    pub(crate) counts: Counts,
    /// Number of the second, from the start of the phase, in which its operations ended.
    pub(crate) index: u64,
    /// Thread that it goes back to.
    pub(crate) owner: usize,
}

/// Sums beside the histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Key and value bytes handed to writes.
    pub(crate) user_bytes_written: u64,
    /// Key and value bytes of new records.
    pub(crate) inserted_bytes: u64,
    /// Key and value bytes of records that were deleted or have expired.
    pub(crate) removed_bytes: u64,
    /// Key and value bytes that reads returned.
    pub(crate) user_bytes_read: u64,
    /// Items that scans, windows and multi-gets returned.
    pub(crate) items: u64,
    /// Values and windows that were checked.
    pub(crate) checked: u64,
    /// Time spent on checking them.
    pub(crate) check_ns: u64,
    /// Operations that returned an error.
    pub(crate) errors: u64,
}

impl Counts {
    /// Key and value bytes of live records, of which there were `before` at the beginning.
    pub(crate) fn live_bytes(&self, before: u64) -> u64 {
        (before + self.inserted_bytes).saturating_sub(self.removed_bytes)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.user_bytes_written += other.user_bytes_written;
        self.inserted_bytes += other.inserted_bytes;
        self.removed_bytes += other.removed_bytes;
        self.user_bytes_read += other.user_bytes_read;
        self.items += other.items;
        self.checked += other.checked;
        self.check_ns += other.check_ns;
        self.errors += other.errors;
    }
}

/// An empty histogram with the bounds that all have.
pub(crate) fn histogram() -> Histogram<u64> {
    #[allow(clippy::expect_used, reason = "the bounds are constants that the crate accepts")]
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS)
        .expect("constant bounds are valid")
}

impl Interval {
    /// An empty interval; with response times if operations are due at a pace.
    pub(crate) fn new(slots: &[Slot], paced: bool, owner: usize) -> Self {
        let histograms = slots.iter().map(|slot| (*slot, histogram())).collect();
        let kinds = slots.iter().filter(|_| paced).filter_map(|slot| slot.operation());
        let responses = kinds.map(|kind| (kind, histogram())).collect();
        Self { histograms, responses, counts: Counts::default(), index: 0, owner }
    }

    /// Makes it empty again.
    pub(crate) fn clear(&mut self) {
        for (_, histogram) in &mut self.histograms {
            histogram.reset();
        }
        for (_, histogram) in &mut self.responses {
            histogram.reset();
        }
        self.counts = Counts::default();
    }
}

/// A thread's instrument.
pub(crate) struct Recorder {
    clock: Clock,
    current: Box<Interval>,
    full: SyncSender<Box<Interval>>,
    empty: Receiver<Box<Interval>>,
    start: Ticks,
    next_hand_over_ns: u64,
    /// Sums of the current interval, which the driver adds to.
    pub(crate) counts: Counts,
}

impl Recorder {
    /// A recorder that goes on with the intervals that come from `empty`.
    pub(crate) fn new(
        clock: &Clock,
        first: Interval,
        full: SyncSender<Box<Interval>>,
        empty: Receiver<Box<Interval>>,
    ) -> Self {
        Self {
            clock: clock.clone(),
            current: Box::new(first),
            full,
            empty,
            start: clock.now(),
            next_hand_over_ns: INTERVAL_NS,
            counts: Counts::default(),
        }
    }

    /// Begins the phase: time counts from `start`.
    pub(crate) fn begin(&mut self, start: Ticks) {
        self.start = start;
        self.next_hand_over_ns = INTERVAL_NS;
    }

    /// Records an operation that took from `start` to `end`.
    #[inline]
    pub(crate) fn record(&mut self, slot: Slot, start: Ticks, end: Ticks) {
        let elapsed = self.clock.nanos_between(self.start, end);
        if elapsed >= self.next_hand_over_ns {
            self.hand_over(elapsed);
        }
        let nanos = self.clock.nanos_between(start, end);
        // A workload has a handful of kinds: looking through them is cheaper than a table by kind.
        for (known, histogram) in &mut self.current.histograms {
            if *known == slot {
                histogram.saturating_record(nanos);
                return;
            }
        }
        debug_assert!(false, "the workload issued {slot:?}, which it did not announce");
    }

    /// Records the response time of an operation that was due at `due_ns` from the start of the phase.
    #[inline]
    pub(crate) fn record_response(&mut self, kind: OperationKind, due_ns: u64, end: Ticks) {
        let nanos = self.clock.nanos_between(self.start, end).saturating_sub(due_ns);
        if let Some((_, histogram)) =
            self.current.responses.iter_mut().find(|(known, _)| *known == kind)
        {
            histogram.saturating_record(nanos);
        }
    }

    #[cold]
    fn hand_over(&mut self, elapsed: u64) {
        let Ok(empty) = self.empty.try_recv() else { return };
        let mut full = std::mem::replace(&mut self.current, empty);
        full.counts = std::mem::take(&mut self.counts);
        // The interval was begun in the second before the one that it should have been handed over in.
        full.index = self.next_hand_over_ns / INTERVAL_NS - 1;
        self.next_hand_over_ns = (elapsed / INTERVAL_NS + 1) * INTERVAL_NS;
        // The channel has room for all intervals that exist.
        let _ = self.full.try_send(full);
    }

    /// Hands over what is left, and ends.
    pub(crate) fn end(mut self) {
        self.current.counts = self.counts;
        self.current.index = self.next_hand_over_ns / INTERVAL_NS - 1;
        let _ = self.full.try_send(self.current);
    }
}
