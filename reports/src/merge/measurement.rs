//! Two measurements of one cell, by load generators that worked at the same time, as one.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::latency::{decode_histogram, encode_histogram, encode_latency};
use crate::result::{
    Amplification, Io, Latency, MachineNoise, Measurement, OpenLoop, OperationStats, Resources,
    TimelinePoint,
};

/// Starts of the same interval in two time lines differ by no more than this.
const SAME_START_S: f64 = 0.001;

/// Adds `other` to `sum`; `records` is what the store held.
///
/// # Errors
/// Why the two cannot be added.
pub(super) fn add(sum: &mut Measurement, other: &Measurement, records: u64) -> Result<(), String> {
    if !sum.rates.is_empty() || !other.rates.is_empty() {
        return Err("rates that were swept by each generator on its own cannot be added".to_owned());
    }
    sum.open_loop = match (sum.open_loop, other.open_loop) {
        (Some(a), Some(b)) => Some(open_loop(a, b)?),
        (None, None) => None,
        _ => return Err("one is an open loop, the other is not".to_owned()),
    };
    add_operations(&mut sum.operations, &other.operations)?;
    sum.timeline = timeline(&sum.timeline, &other.timeline)?;
    sum.duration_s = sum.duration_s.max(other.duration_s);
    sum.settle_s = sum.settle_s.max(other.settle_s);
    sum.throughput_ops_per_s += other.throughput_ops_per_s;
    sum.throughput_settled_ops_per_s += other.throughput_settled_ops_per_s;
    sum.events.extend(other.events.iter().cloned());
    sum.events.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
    sum.stall_count = both(sum.stall_count, other.stall_count, |a, b| a + b);
    sum.stall_s = both(sum.stall_s, other.stall_s, |a, b| a + b);
    sum.machine = both(sum.machine, other.machine, noise);
    if sum.resident_share_before != other.resident_share_before {
        sum.resident_share_before = None;
    }
    let operations = sum.operations.iter().find(|s| s.kind == "all").map_or(0, |s| s.operations);
    let check_ns = both(
        sum.check.check_ns_per_operation.zip(share(&other.operations, operations)),
        other.check.check_ns_per_operation.zip(share(&other.operations, operations)),
        |(a, part), (b, _)| (a * (1.0 - part) + b * part, part),
    );
    sum.check.check_ns_per_operation = check_ns.map(|(ns, _)| ns);
    sum.check.records_checked += other.check.records_checked;
    sum.check.records_missing += other.check.records_missing;
    sum.check.records_wrong += other.check.records_wrong;
    sum.check.records_resurrected += other.check.records_resurrected;
    sum.check.reads_checked += other.check.reads_checked;
    add_resources(&mut sum.resources, &other.resources, operations, records);
    add_io(&mut sum.io, &other.io);
    sum.amplification = amplification(&sum.io, &sum.amplification, &other.amplification);
    for (name, value) in &other.counters {
        *sum.counters.entry(name.clone()).or_default() += value;
    }
    Ok(())
}

/// A figure that both have; none where one does not tell.
fn both<T>(a: Option<T>, b: Option<T>, join: impl FnOnce(T, T) -> T) -> Option<T> {
    a.zip(b).map(|(a, b)| join(a, b))
}

/// The operations of a part ÷ those of the whole.
fn share(part: &[OperationStats], whole: u64) -> Option<f64> {
    let all = part.iter().find(|stats| stats.kind == "all")?;
    (whole > 0).then(|| all.operations as f64 / whole as f64)
}

fn open_loop(a: OpenLoop, b: OpenLoop) -> Result<OpenLoop, String> {
    if a.arrivals != b.arrivals {
        return Err("arrivals were spaced in different ways".to_owned());
    }
    Ok(OpenLoop {
        offered_ops_per_s: a.offered_ops_per_s + b.offered_ops_per_s,
        arrivals: a.arrivals,
        due: a.due + b.due,
        reached: a.reached && b.reached,
        backlog_end_s: a.backlog_end_s.max(b.backlog_end_s),
    })
}

fn add_operations(sum: &mut Vec<OperationStats>, others: &[OperationStats]) -> Result<(), String> {
    for other in others {
        let Some(stats) = sum.iter_mut().find(|stats| stats.kind == other.kind) else {
            // `all` stays the last one.
            sum.insert(sum.len().saturating_sub(1), other.clone());
            continue;
        };
        let (sampled, added) = (stats.operations > 0, other.operations > 0);
        stats.operations += other.operations;
        stats.errors += other.errors;
        stats.items = both(stats.items, other.items, |a, b| a + b);
        stats.service = latency(&stats.service, &other.service)?;
        stats.response = match (&stats.response, &other.response) {
            (Some(a), Some(b)) => Some(latency(a, b)?),
            (Some(a), None) if !added => Some(a.clone()),
            (None, Some(b)) if !sampled => Some(b.clone()),
            (None, None) => None,
            _ => return Err("only one of them has response times".to_owned()),
        };
    }
    Ok(())
}

/// The distribution of both, and its figures.
pub(super) fn latency(a: &Latency, b: &Latency) -> Result<Latency, String> {
    Ok(encode_latency(&summed(&a.histogram, &b.histogram)?))
}

fn summed(a: &str, b: &str) -> Result<Histogram<u64>, String> {
    let decoded = |text| decode_histogram(text).map_err(|error| error.to_string());
    let (mut sum, other) = (decoded(a)?, decoded(b)?);
    // What was read from a file has the range that its values needed.
    sum.auto(true);
    sum.add(&other).map_err(|error| format!("histograms cannot be added: {error:?}"))?;
    Ok(sum)
}

/// Interval by interval. Empty where a histogram that percentiles would need was not kept.
fn timeline(a: &[TimelinePoint], b: &[TimelinePoint]) -> Result<Vec<TimelinePoint>, String> {
    let mut line = Vec::with_capacity(a.len().max(b.len()));
    for at in 0..a.len().max(b.len()) {
        line.push(match (a.get(at), b.get(at)) {
            (Some(a), Some(b)) => {
                if (a.start_s - b.start_s).abs() > SAME_START_S {
                    return Err("their time lines have intervals of different lengths".to_owned());
                }
                let (Some(x), Some(y)) = (&a.histogram, &b.histogram) else {
                    return Ok(Vec::new());
                };
                point(a, b, &summed(x, y)?)
            }
            (Some(only), None) | (None, Some(only)) => only.clone(),
            (None, None) => break,
        });
    }
    Ok(line)
}

fn point(a: &TimelinePoint, b: &TimelinePoint, histogram: &Histogram<u64>) -> TimelinePoint {
    let add = |a: Option<u64>, b: Option<u64>| both(a, b, |a, b| a + b);
    let largest = |a: Option<u64>, b: Option<u64>| both(a, b, u64::max);
    TimelinePoint {
        start_s: a.start_s,
        length_s: a.length_s.max(b.length_s),
        operations: histogram.len(),
        p50_ns: histogram.value_at_quantile(0.5),
        p99_ns: histogram.value_at_quantile(0.99),
        max_ns: histogram.max(),
        histogram: Some(encode_histogram(histogram)),
        // Percentiles of percentiles are none; of the largest ones the largest is one.
        response_p50_ns: None,
        response_p99_ns: None,
        response_max_ns: largest(a.response_max_ns, b.response_max_ns),
        rss_anon_bytes: add(a.rss_anon_bytes, b.rss_anon_bytes),
        cpu_s: both(a.cpu_s, b.cpu_s, |a, b| a + b),
        engine_bytes_written: add(a.engine_bytes_written, b.engine_bytes_written),
        device_bytes_written: largest(a.device_bytes_written, b.device_bytes_written),
        allocated_bytes: largest(a.allocated_bytes, b.allocated_bytes),
        hiccup_max_ns: largest(a.hiccup_max_ns, b.hiccup_max_ns),
        steal_s: both(a.steal_s, b.steal_s, f64::max),
    }
}

fn noise(a: MachineNoise, b: MachineNoise) -> MachineNoise {
    MachineNoise {
        hiccup_max_ns: a.hiccup_max_ns.max(b.hiccup_max_ns),
        hiccup_p99_ns: a.hiccup_p99_ns.max(b.hiccup_p99_ns),
        steal_s: both(a.steal_s, b.steal_s, f64::max),
    }
}

fn add_resources(sum: &mut Resources, other: &Resources, operations: u64, records: u64) {
    let add = |a: Option<u64>, b: Option<u64>| both(a, b, |a, b| a + b);
    sum.cpu_user_s += other.cpu_user_s;
    sum.cpu_system_s += other.cpu_system_s;
    let cpu_us = (sum.cpu_user_s + sum.cpu_system_s) * 1e6;
    sum.cpu_us_per_op = if operations > 0 { cpu_us / operations as f64 } else { 0.0 };
    sum.rss_anon_bytes = add(sum.rss_anon_bytes, other.rss_anon_bytes);
    sum.rss_anon_peak_bytes = add(sum.rss_anon_peak_bytes, other.rss_anon_peak_bytes);
    sum.rss_file_bytes = add(sum.rss_file_bytes, other.rss_file_bytes);
    sum.memory_bytes = add(sum.memory_bytes, other.memory_bytes);
    let per_record = |bytes: u64| (records > 0).then(|| bytes as f64 / records as f64);
    sum.memory_bytes_per_record = sum.memory_bytes.and_then(per_record);
    sum.minor_faults += other.minor_faults;
    sum.major_faults += other.major_faults;
}

fn add_io(sum: &mut Io, other: &Io) {
    type Sources = Option<BTreeMap<String, u64>>;
    let add = |a: Option<u64>, b: Option<u64>| both(a, b, |a, b| a + b);
    let largest = |a: Option<u64>, b: Option<u64>| both(a, b, u64::max);
    let sources = |a: &mut Sources, b: &Sources| {
        *a = both(a.take(), b.clone(), |mut a, b| {
            for (source, bytes) in b {
                *a.entry(source).or_default() += bytes;
            }
            a
        });
    };
    sum.user_bytes_written += other.user_bytes_written;
    sum.user_bytes_read += other.user_bytes_read;
    sources(&mut sum.engine_bytes_written_end, &other.engine_bytes_written_end);
    sources(&mut sum.engine_bytes_written_settled, &other.engine_bytes_written_settled);
    sum.device_bytes_written_end =
        largest(sum.device_bytes_written_end, other.device_bytes_written_end);
    sum.device_bytes_written_settled =
        largest(sum.device_bytes_written_settled, other.device_bytes_written_settled);
    sum.device_bytes_read = largest(sum.device_bytes_read, other.device_bytes_read);
    sum.engine_bytes_read = add(sum.engine_bytes_read, other.engine_bytes_read);
    sum.engine_read_calls = add(sum.engine_read_calls, other.engine_read_calls);
    sum.fsyncs = add(sum.fsyncs, other.fsyncs);
    sum.kernel_dirtied_bytes = add(sum.kernel_dirtied_bytes, other.kernel_dirtied_bytes);
}

/// From the summed terms where there are terms; of the store's size, the larger.
fn amplification(io: &Io, a: &Amplification, b: &Amplification) -> Amplification {
    let over = |bytes: u64, user: u64| (user > 0).then(|| bytes as f64 / user as f64);
    let engine = |sources: &Option<BTreeMap<String, u64>>| {
        over(sources.as_ref()?.values().sum(), io.user_bytes_written)
    };
    let device = |bytes: Option<u64>| over(bytes?, io.user_bytes_written);
    let larger = |a: Option<f64>, b: Option<f64>| both(a, b, f64::max);
    Amplification {
        write_end: engine(&io.engine_bytes_written_end),
        write_settled: engine(&io.engine_bytes_written_settled),
        write_device_end: device(io.device_bytes_written_end),
        write_device_settled: device(io.device_bytes_written_settled),
        read: io.engine_bytes_read.and_then(|bytes| over(bytes, io.user_bytes_read)),
        // Items returned are not kept for all kinds.
        read_calls_per_item: None,
        space_end: larger(a.space_end, b.space_end),
        space_settled: larger(a.space_settled, b.space_settled),
        space_peak: larger(a.space_peak, b.space_peak),
        live_bytes: a.live_bytes.max(b.live_bytes),
        allocated_bytes_end: both(a.allocated_bytes_end, b.allocated_bytes_end, u64::max),
        allocated_bytes_settled: both(
            a.allocated_bytes_settled,
            b.allocated_bytes_settled,
            u64::max,
        ),
    }
}
