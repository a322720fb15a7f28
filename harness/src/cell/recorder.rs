//! Latency histograms, recorded without a lock and without an allocation.
//!
//! 1. Each thread owns a [`Recorder`] with one [`Interval`]: a histogram for each [`Slot`] that the workload uses.
//! 2. About once a second, between two operations, it hands the interval to the collector and goes on with an empty one. Intervals are made
//!    beforehand and go round; if none has come back yet, the thread goes on with the one that it has.
//! 3. The [`Collector`] adds the intervals up: per second into the time line, and in all into the totals.
//!
//! Histograms count in nanoseconds with 3 significant digits, up to an hour.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use hdrhistogram::Histogram;
use kvdyno_reports::{OperationStats, TimelinePoint, encode_latency};
use kvdyno_workloads::OperationKind;

use super::clock::{Clock, Ticks};

/// Longest latency that is told apart; longer ones count as this.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
/// Intervals of a thread: one in use, one with the collector, one spare.
const INTERVALS_PER_THREAD: usize = 3;
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

/// What a thread recorded in about a second.
pub(crate) struct Interval {
    histograms: Vec<(Slot, Histogram<u64>)>,
    counts: Counts,
    /// Number of the second, from the start of the phase, in which the interval ended.
    index: u64,
    /// Thread that it goes back to.
    owner: usize,
}

/// Sums beside the histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Key and value bytes handed to writes.
    pub(crate) user_bytes_written: u64,
    /// Key and value bytes of new records.
    pub(crate) inserted_bytes: u64,
    /// Key and value bytes that reads returned.
    pub(crate) user_bytes_read: u64,
    /// Items that scans and windows returned.
    pub(crate) items: u64,
    /// Values and windows that were checked.
    pub(crate) checked: u64,
    /// Operations that returned an error.
    pub(crate) errors: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.user_bytes_written += other.user_bytes_written;
        self.inserted_bytes += other.inserted_bytes;
        self.user_bytes_read += other.user_bytes_read;
        self.items += other.items;
        self.checked += other.checked;
        self.errors += other.errors;
    }
}

fn histogram() -> Histogram<u64> {
    #[allow(clippy::expect_used, reason = "the bounds are constants that the crate accepts")]
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS)
        .expect("constant bounds are valid")
}

impl Interval {
    fn new(slots: &[Slot], owner: usize) -> Self {
        let histograms = slots.iter().map(|slot| (*slot, histogram())).collect();
        Self { histograms, counts: Counts::default(), index: 0, owner }
    }

    fn clear(&mut self) {
        for (_, histogram) in &mut self.histograms {
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
    /// Begins the phase: time counts from `start`.
    pub(crate) fn begin(&mut self, start: Ticks) {
        self.start = start;
        self.next_hand_over_ns = INTERVAL_NS;
    }

    /// Records an operation that took from `start` to `end`.
    #[inline]
    pub(crate) fn record(&mut self, slot: Slot, start: Ticks, end: Ticks) {
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

    /// Hands the interval over if its second has passed. Called between operations, never inside one.
    #[inline]
    pub(crate) fn tick(&mut self, now: Ticks) {
        let elapsed = self.clock.nanos_between(self.start, now);
        if elapsed >= self.next_hand_over_ns {
            self.hand_over(elapsed);
        }
    }

    #[cold]
    fn hand_over(&mut self, elapsed: u64) {
        let Ok(empty) = self.empty.try_recv() else { return };
        let mut full = std::mem::replace(&mut self.current, empty);
        full.counts = std::mem::take(&mut self.counts);
        // What was recorded up to here belongs to the second that ended last.
        full.index = elapsed / INTERVAL_NS - 1;
        self.next_hand_over_ns = (elapsed / INTERVAL_NS + 1) * INTERVAL_NS;
        // The channel has room for all intervals that exist.
        let _ = self.full.try_send(full);
    }

    /// Hands over what is left, and ends.
    pub(crate) fn end(mut self, end: Ticks) {
        let elapsed = self.clock.nanos_between(self.start, end);
        self.current.counts = self.counts;
        self.current.index = elapsed / INTERVAL_NS;
        let _ = self.full.try_send(self.current);
    }
}

/// Adds up what all threads recorded.
pub(crate) struct Collector {
    full: Receiver<Box<Interval>>,
    /// Where each thread's empty intervals go back to.
    empty: Vec<SyncSender<Box<Interval>>>,
    total: Interval,
    /// Histograms over all kinds of the seconds that are still open, by number.
    seconds: BTreeMap<u64, Histogram<u64>>,
}

impl Collector {
    /// A collector, and a recorder for each thread.
    pub(crate) fn new(clock: &Clock, slots: &[Slot], threads: u32) -> (Self, Vec<Recorder>) {
        let capacity = threads as usize * INTERVALS_PER_THREAD;
        let (full_in, full_out) = sync_channel(capacity);
        let mut recorders = Vec::new();
        let mut empty = Vec::new();
        for owner in 0..threads as usize {
            let (empty_in, empty_out) = sync_channel(INTERVALS_PER_THREAD);
            for _ in 1..INTERVALS_PER_THREAD {
                let _ = empty_in.try_send(Box::new(Interval::new(slots, owner)));
            }
            empty.push(empty_in);
            recorders.push(Recorder {
                clock: clock.clone(),
                current: Box::new(Interval::new(slots, owner)),
                full: full_in.clone(),
                empty: empty_out,
                start: clock.now(),
                next_hand_over_ns: INTERVAL_NS,
                counts: Counts::default(),
            });
        }
        let total = Interval::new(slots, 0);
        (Self { full: full_out, empty, total, seconds: BTreeMap::new() }, recorders)
    }

    /// Takes in what has been handed over so far.
    pub(crate) fn collect(&mut self) {
        while let Ok(mut interval) = self.full.try_recv() {
            self.add(&interval);
            interval.clear();
            let _ = self.empty[interval.owner].try_send(interval);
        }
    }

    fn add(&mut self, interval: &Interval) {
        self.total.counts.add(&interval.counts);
        let second = self.seconds.entry(interval.index).or_insert_with(histogram);
        for ((slot, sum), (_, part)) in self.total.histograms.iter_mut().zip(&interval.histograms) {
            // Both have the same bounds, so adding cannot fail.
            let _ = sum.add(part);
            if matches!(slot, Slot::Operation(_)) {
                let _ = second.add(part);
            }
        }
    }

    /// Operations recorded in the newest second that has anything.
    pub(crate) fn latest_second(&self) -> Option<f64> {
        self.seconds.values().next_back().map(|histogram| histogram.len() as f64)
    }

    /// Operations so far.
    pub(crate) fn operations(&self) -> u64 {
        self.total
            .histograms
            .iter()
            .filter(|(slot, _)| matches!(slot, Slot::Operation(_)))
            .map(|(_, histogram)| histogram.len())
            .sum()
    }

    /// Sums so far.
    pub(crate) fn counts(&self) -> Counts {
        self.total.counts
    }

    /// The time line: `duration_s` is when the last operation ended.
    pub(crate) fn timeline(
        &self,
        duration_s: f64,
        rss_by_second: &[Option<u64>],
    ) -> Vec<TimelinePoint> {
        let interval_s = INTERVAL_NS as f64 / 1e9;
        let seconds = (duration_s / interval_s).ceil() as u64;
        let nothing = histogram();
        (0..seconds)
            .map(|index| {
                let histogram = self.seconds.get(&index).unwrap_or(&nothing);
                let start_s = index as f64 * interval_s;
                TimelinePoint {
                    start_s,
                    length_s: interval_s.min(duration_s - start_s),
                    operations: histogram.len(),
                    p50_ns: histogram.value_at_quantile(0.5),
                    p99_ns: histogram.value_at_quantile(0.99),
                    max_ns: histogram.max(),
                    response_p50_ns: None,
                    response_p99_ns: None,
                    response_max_ns: None,
                    rss_anon_bytes: rss_by_second.get(index as usize).copied().flatten(),
                    cpu_s: None,
                    engine_bytes_written: None,
                    device_bytes_written: None,
                    allocated_bytes: None,
                    hiccup_max_ns: None,
                    steal_s: None,
                }
            })
            .collect()
    }

    /// Counts and latencies per kind, and over all kinds.
    pub(crate) fn operation_stats(&self) -> Vec<OperationStats> {
        let mut all = histogram();
        let mut by_kind: Vec<(OperationKind, Histogram<u64>)> = Vec::new();
        for (slot, part) in &self.total.histograms {
            let kind = match slot {
                Slot::Operation(kind) => {
                    let _ = all.add(part);
                    *kind
                }
                Slot::InnerRead => OperationKind::Read,
                Slot::InnerUpdate => OperationKind::Update,
            };
            match by_kind.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, sum)) => {
                    let _ = sum.add(part);
                }
                None => by_kind.push((kind, part.clone())),
            }
        }
        let many =
            |kind: OperationKind| matches!(kind, OperationKind::Scan | OperationKind::Window);
        let scanning = by_kind.iter().filter(|(kind, _)| many(*kind)).count();
        let stats = |kind: &str, histogram: &Histogram<u64>, items, errors| OperationStats {
            kind: kind.to_owned(),
            operations: histogram.len(),
            errors,
            items,
            service: encode_latency(histogram),
            response: None,
        };
        let mut rows: Vec<_> = by_kind
            .iter()
            .filter(|(_, histogram)| !histogram.is_empty())
            .map(|(kind, histogram)| {
                let items = (many(*kind) && scanning == 1).then_some(self.total.counts.items);
                stats(kind.name(), histogram, items, 0)
            })
            .collect();
        rows.push(stats("all", &all, None, self.total.counts.errors));
        rows
    }
}
