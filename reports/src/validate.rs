//! Whether a result's figures can be: what a schema cannot say.
//!
//! A file that was cut, edited or merged by hand can fit the schema and still hold figures that no run gives. Reading refuses
//! it, naming the field, so that no table, ratio or sum is ever made of them:
//!
//! 1. Rates, times and shares are finite and not negative; a share is at most 1.
//! 2. A histogram can be decoded, and holds as many samples as are said beside it; percentiles are in order.
//! 3. Each operation kind stands once in a measurement, `all` among them, and its latencies are those of its operations.
//! 4. The time line goes forward.
//! 5. No two cells have the same identity and trial; a scenario belongs to a recovery only.

use std::collections::BTreeSet;

use crate::identity::{CellKey, OfferedRate, phase_name};
use crate::latency::decode_histogram;
use crate::result::{
    Cell, Latency, Measurement, OperationStats, Phase, RatePoint, Recovery, ResultFile,
    TimelinePoint,
};

/// What is wrong, and where: `cells[3].measurement.duration_s`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) field: String,
    pub(crate) reason: String,
}

type Checked = Result<(), Fault>;

/// A place in the file while it is looked through.
#[derive(Clone, Debug)]
struct Place(String);

impl Place {
    fn field(&self, name: &str) -> Self {
        Self(if self.0.is_empty() { name.to_owned() } else { format!("{}.{name}", self.0) })
    }

    fn item(&self, name: &str, at: usize) -> Self {
        self.field(&format!("{name}[{at}]"))
    }

    fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault { field: self.0.clone(), reason: reason.into() }
    }

    /// Figures that are finite and at least zero.
    fn not_negative(&self, figures: &[(&str, Option<f64>)]) -> Checked {
        for (name, value) in figures {
            if let Some(value) = value.filter(|value| !value.is_finite() || *value < 0.0) {
                return Err(self
                    .field(name)
                    .fault(format!("{value} cannot be: expected a number from 0 on")));
            }
        }
        Ok(())
    }
}

/// Looks at every figure of a result; decodes every histogram.
pub(crate) fn check(result: &ResultFile) -> Checked {
    let top = Place(String::new());
    top.field("run").not_negative(&[("duration_s", Some(result.run.duration_s))])?;
    let harness = top.field("harness");
    harness.not_negative(&[
        ("clock_read_ns", Some(result.harness.clock_read_ns)),
        ("clock_step_ns", Some(result.harness.clock_step_ns)),
    ])?;
    for (at, noop) in result.harness.noop.iter().enumerate() {
        harness.item("noop", at).not_negative(&[
            ("ns_per_operation", Some(noop.ns_per_operation)),
            ("timed_section_ns", noop.timed_section_ns),
        ])?;
    }
    let mut seen = BTreeSet::new();
    for (at, cell) in result.cells.iter().enumerate() {
        let place = top.item("cells", at);
        if !seen.insert((CellKey::of(cell), cell.trial)) {
            let reason = format!("{} has trial {} twice", CellKey::of(cell), cell.trial);
            return Err(place.field("trial").fault(reason));
        }
        check_cell(cell, &place)?;
    }
    Ok(())
}

fn check_cell(cell: &Cell, place: &Place) -> Checked {
    if cell.trial == 0 {
        return Err(place.field("trial").fault("0 cannot be: trials count from 1"));
    }
    if cell.offered_ops_per_s.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        return Err(place.field("offered_ops_per_s").fault("expected a rate above 0, or none"));
    }
    if cell.scenario.is_some() && cell.phase != Phase::Recover {
        let reason = format!("a scenario cannot be in phase {}", phase_name(cell.phase));
        return Err(place.field("scenario").fault(reason));
    }
    if let Some(measurement) = &cell.measurement {
        let place = place.field("measurement");
        let offered = measurement.open_loop.map(|open| open.offered_ops_per_s.to_bits());
        let promised = OfferedRate::of(cell).map(|rate| rate.ops_per_s().to_bits());
        if offered.is_some() && offered != promised {
            let reason = "it is not the offered_ops_per_s of its cell";
            return Err(place.field("open_loop.offered_ops_per_s").fault(reason));
        }
        check_measurement(measurement, &place)?;
    }
    match &cell.recovery {
        Some(recovery) => check_recovery(recovery, &place.field("recovery")),
        None => Ok(()),
    }
}

fn check_measurement(measurement: &Measurement, place: &Place) -> Checked {
    let m = measurement;
    place.not_negative(&[
        ("duration_s", Some(m.duration_s)),
        ("settle_s", Some(m.settle_s)),
        ("throughput_ops_per_s", Some(m.throughput_ops_per_s)),
        ("throughput_settled_ops_per_s", Some(m.throughput_settled_ops_per_s)),
        ("stall_s", m.stall_s),
        ("resident_share_before", m.resident_share_before),
        ("resources.cpu_user_s", Some(m.resources.cpu_user_s)),
        ("resources.cpu_system_s", Some(m.resources.cpu_system_s)),
        ("resources.cpu_us_per_op", Some(m.resources.cpu_us_per_op)),
        ("open_loop.backlog_end_s", m.open_loop.map(|open| open.backlog_end_s)),
        ("machine.steal_s", m.machine.and_then(|machine| machine.steal_s)),
        ("check.check_ns_per_operation", m.check.check_ns_per_operation),
        ("slo.highest_ops_per_s", m.slo.as_ref().and_then(|slo| slo.highest_ops_per_s)),
        ("slo.lowest_broken_ops_per_s", m.slo.as_ref().and_then(|slo| slo.lowest_broken_ops_per_s)),
    ])?;
    check_amplification(m, &place.field("amplification"))?;
    if m.resident_share_before.is_some_and(|share| share > 1.0) {
        return Err(place.field("resident_share_before").fault("a share cannot be above 1"));
    }
    let mut kinds = BTreeSet::new();
    for (at, stats) in m.operations.iter().enumerate() {
        let place = place.item("operations", at);
        if !kinds.insert(stats.kind.as_str()) {
            return Err(place.field("kind").fault(format!("{} stands there twice", stats.kind)));
        }
        check_operations(stats, &place)?;
    }
    if !kinds.contains("all") {
        return Err(place.field("operations").fault("the entry for all kinds is missing"));
    }
    for (at, point) in m.rates.iter().enumerate() {
        check_rate(point, &place.item("rates", at))?;
    }
    let mut end_s = 0.0;
    for (at, point) in m.timeline.iter().enumerate() {
        let place = place.item("timeline", at);
        check_point(point, &place)?;
        // Boundaries are computed, so that they may miss one another by a rounding.
        if point.start_s < end_s - 1e-6 {
            return Err(place
                .field("start_s")
                .fault("it lies before the end of the last interval"));
        }
        end_s = point.start_s + point.length_s;
    }
    Ok(())
}

fn check_amplification(measurement: &Measurement, place: &Place) -> Checked {
    let a = &measurement.amplification;
    place.not_negative(&[
        ("write_end", a.write_end),
        ("write_settled", a.write_settled),
        ("write_device_end", a.write_device_end),
        ("write_device_settled", a.write_device_settled),
        ("read", a.read),
        ("read_calls_per_item", a.read_calls_per_item),
        ("space_end", a.space_end),
        ("space_settled", a.space_settled),
        ("space_peak", a.space_peak),
    ])
}

fn check_operations(stats: &OperationStats, place: &Place) -> Checked {
    let service = place.field("service");
    check_latency(&stats.service, &service)?;
    if stats.service.count != stats.operations {
        let reason = format!("{} samples for {} operations", stats.service.count, stats.operations);
        return Err(service.field("count").fault(reason));
    }
    match &stats.response {
        Some(response) => check_latency(response, &place.field("response")),
        None => Ok(()),
    }
}

fn check_rate(point: &RatePoint, place: &Place) -> Checked {
    place.not_negative(&[
        ("offered_ops_per_s", Some(point.offered_ops_per_s)),
        ("achieved_ops_per_s", Some(point.achieved_ops_per_s)),
        ("duration_s", Some(point.duration_s)),
        ("settle_s", Some(point.settle_s)),
    ])?;
    check_latency(&point.service, &place.field("service"))?;
    check_latency(&point.response, &place.field("response"))
}

fn check_latency(latency: &Latency, place: &Place) -> Checked {
    place.not_negative(&[("mean_ns", Some(latency.mean_ns))])?;
    let histogram = decode_histogram(&latency.histogram)
        .map_err(|error| place.field("histogram").fault(error.to_string()))?;
    if histogram.len() != latency.count {
        let reason = format!("it holds {} samples, count says {}", histogram.len(), latency.count);
        return Err(place.field("histogram").fault(reason));
    }
    let percentiles = [
        ("p50_ns", Some(latency.p50_ns)),
        ("p90_ns", latency.p90_ns),
        ("p95_ns", latency.p95_ns),
        ("p99_ns", latency.p99_ns),
        ("p999_ns", latency.p999_ns),
        ("p9999_ns", latency.p9999_ns),
        ("max_ns", Some(latency.max_ns)),
    ];
    let mut least = ("min_ns", latency.min_ns);
    for (name, value) in percentiles {
        let Some(value) = value else { continue };
        if value < least.1 {
            let reason = format!("{value} is below {} {}", least.0, least.1);
            return Err(place.field(name).fault(reason));
        }
        least = (name, value);
    }
    Ok(())
}

fn check_point(point: &TimelinePoint, place: &Place) -> Checked {
    place.not_negative(&[
        ("start_s", Some(point.start_s)),
        ("length_s", Some(point.length_s)),
        ("cpu_s", point.cpu_s),
        ("steal_s", point.steal_s),
    ])?;
    let Some(text) = &point.histogram else { return Ok(()) };
    let place = place.field("histogram");
    let histogram = decode_histogram(text).map_err(|error| place.fault(error.to_string()))?;
    if histogram.len() == point.operations {
        Ok(())
    } else {
        let (samples, operations) = (histogram.len(), point.operations);
        Err(place.fault(format!("it holds {samples} samples, operations says {operations}")))
    }
}

fn check_recovery(recovery: &Recovery, place: &Place) -> Checked {
    place.not_negative(&[
        ("written_s", Some(recovery.written_s)),
        ("open_ms", Some(recovery.open_ms)),
        ("first_read_ms", Some(recovery.first_read_ms)),
        ("reopen_clean_ms", Some(recovery.reopen_clean_ms)),
        ("to_90_percent_ms", recovery.to_90_percent_ms),
        ("reads_before_ops_per_s", recovery.reads_before_ops_per_s),
        ("resident_share_before", recovery.resident_share_before),
    ])?;
    let bad = recovery.records_lost.saturating_add(recovery.records_wrong);
    if bad > recovery.records_verified {
        let reason = format!(
            "{bad} records lost or wrong of {} looked up cannot be",
            recovery.records_verified
        );
        return Err(place.field("records_lost").fault(reason));
    }
    Ok(())
}
