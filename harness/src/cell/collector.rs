//! What all threads recorded, added up: per second into the time line, and in all into the totals.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use hdrhistogram::Histogram;
use kvdyno_reports::{OperationStats, RatePoint, TimelinePoint, encode_histogram, encode_latency};
use kvdyno_workloads::OperationKind;

use super::clock::Clock;
use super::recorder::{
    Counts, INTERVAL_NS, INTERVALS_PER_THREAD, Interval, Recorder, Slot, histogram,
};
use super::sampler::Sample;

/// Adds up what all threads recorded.
pub(crate) struct Collector {
    full: Receiver<Box<Interval>>,
    /// Where each thread's empty intervals go back to.
    empty: Vec<SyncSender<Box<Interval>>>,
    total: Interval,
    /// What ended in each second, by its number.
    seconds: BTreeMap<u64, Second>,
}

/// Histograms over all kinds.
struct Second {
    service: Histogram<u64>,
    response: Option<Histogram<u64>>,
}

impl Collector {
    /// A collector, and a recorder for each thread; with response times if operations are due at a pace.
    pub(crate) fn new(
        clock: &Clock,
        slots: &[Slot],
        threads: u32,
        paced: bool,
    ) -> (Self, Vec<Recorder>) {
        let capacity = threads as usize * INTERVALS_PER_THREAD;
        let (full_in, full_out) = sync_channel(capacity);
        let mut recorders = Vec::new();
        let mut empty = Vec::new();
        for owner in 0..threads as usize {
            let (empty_in, empty_out) = sync_channel(INTERVALS_PER_THREAD);
            for _ in 1..INTERVALS_PER_THREAD {
                let _ = empty_in.try_send(Box::new(Interval::new(slots, paced, owner)));
            }
            empty.push(empty_in);
            let first = Interval::new(slots, paced, owner);
            recorders.push(Recorder::new(clock, first, full_in.clone(), empty_out));
        }
        let total = Interval::new(slots, paced, 0);
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

    /// All histograms have the same bounds, so adding them cannot fail.
    fn add(&mut self, interval: &Interval) {
        self.total.counts.add(&interval.counts);
        let second = self
            .seconds
            .entry(interval.index)
            .or_insert_with(|| Second { service: histogram(), response: None });
        for ((slot, sum), (_, part)) in self.total.histograms.iter_mut().zip(&interval.histograms) {
            let _ = sum.add(part);
            if matches!(slot, Slot::Operation(_)) {
                let _ = second.service.add(part);
            }
        }
        for ((_, sum), (_, part)) in self.total.responses.iter_mut().zip(&interval.responses) {
            let _ = sum.add(part);
            let _ = second.response.get_or_insert_with(histogram).add(part);
        }
    }

    /// Operations recorded in the newest second that has anything.
    pub(crate) fn latest_second(&self) -> Option<f64> {
        self.seconds.values().next_back().map(|second| second.service.len() as f64)
    }

    /// Operations of the seconds before second `end`, oldest first.
    pub(crate) fn operations_by_second(&self, end: u64) -> Vec<u64> {
        (0..end).map(|index| self.seconds.get(&index).map_or(0, |s| s.service.len())).collect()
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
    pub(crate) fn timeline(&self, duration_s: f64, samples: &[Sample]) -> Vec<TimelinePoint> {
        let interval_s = INTERVAL_NS as f64 / 1e9;
        let seconds = (duration_s / interval_s).ceil() as u64;
        let nothing = Second { service: histogram(), response: None };
        (0..seconds)
            .map(|index| {
                let second = self.seconds.get(&index).unwrap_or(&nothing);
                let sample = samples.get(index as usize).copied().unwrap_or_default();
                let start_s = index as f64 * interval_s;
                let service = &second.service;
                let response = second.response.as_ref();
                TimelinePoint {
                    start_s,
                    length_s: interval_s.min(duration_s - start_s),
                    operations: service.len(),
                    p50_ns: service.value_at_quantile(0.5),
                    p99_ns: service.value_at_quantile(0.99),
                    max_ns: service.max(),
                    histogram: Some(encode_histogram(service)),
                    response_p50_ns: response.map(|histogram| histogram.value_at_quantile(0.5)),
                    response_p99_ns: response.map(|histogram| histogram.value_at_quantile(0.99)),
                    response_max_ns: response.map(Histogram::max),
                    rss_anon_bytes: sample.rss_anon_bytes,
                    cpu_s: sample.cpu_s,
                    engine_bytes_written: sample.engine_bytes_written,
                    device_bytes_written: sample.device_bytes_written,
                    allocated_bytes: sample.allocated_bytes,
                    hiccup_max_ns: sample.hiccup_max_ns,
                    steal_s: sample.steal_s,
                }
            })
            .collect()
    }

    /// Service and response times over all kinds.
    fn over_all_kinds(&self) -> (Histogram<u64>, Option<Histogram<u64>>) {
        let mut service = histogram();
        for (slot, part) in &self.total.histograms {
            if matches!(slot, Slot::Operation(_)) {
                let _ = service.add(part);
            }
        }
        let mut response: Option<Histogram<u64>> = None;
        for (_, part) in &self.total.responses {
            let _ = response.get_or_insert_with(histogram).add(part);
        }
        (service, response)
    }

    /// The response time that a share of the operations stayed below; none in a closed loop.
    pub(crate) fn response_ns_at(&self, quantile: f64) -> Option<u64> {
        let (_, response) = self.over_all_kinds();
        response.map(|histogram| histogram.value_at_quantile(quantile))
    }

    /// Latencies at one offered rate; `held` is told by the caller.
    pub(crate) fn rate_point(
        &self,
        offered_ops_per_s: f64,
        duration_s: f64,
        reached: bool,
    ) -> RatePoint {
        let (service, response) = self.over_all_kinds();
        RatePoint {
            offered_ops_per_s,
            achieved_ops_per_s: super::figures::per_second(service.len(), duration_s),
            duration_s,
            reached,
            held: None,
            settle_s: 0.0,
            response: encode_latency(&response.unwrap_or_else(histogram)),
            service: encode_latency(&service),
        }
    }

    /// Counts and latencies per kind, and over all kinds.
    pub(crate) fn operation_stats(&self) -> Vec<OperationStats> {
        let mut by_kind: Vec<(OperationKind, Histogram<u64>)> = Vec::new();
        for (slot, part) in &self.total.histograms {
            let kind = match slot {
                Slot::Operation(kind) => *kind,
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
        let scanning = by_kind.iter().filter(|(kind, _)| kind.returns_items()).count();
        let stats = |kind: &str,
                     histogram: &Histogram<u64>,
                     response: Option<&Histogram<u64>>,
                     items,
                     errors| OperationStats {
            kind: kind.to_owned(),
            operations: histogram.len(),
            errors,
            items,
            service: encode_latency(histogram),
            response: response.map(encode_latency),
        };
        let mut rows: Vec<_> = by_kind
            .iter()
            .filter(|(_, histogram)| !histogram.is_empty())
            .map(|(kind, histogram)| {
                let items =
                    (kind.returns_items() && scanning == 1).then_some(self.total.counts.items);
                // The halves of a read-modify-write have no due time of their own.
                let response = self.total.responses.iter().find(|(known, _)| known == kind);
                stats(kind.name(), histogram, response.map(|(_, histogram)| histogram), items, 0)
            })
            .collect();
        let (service, response) = self.over_all_kinds();
        rows.push(stats("all", &service, response.as_ref(), None, self.total.counts.errors));
        rows
    }
}
