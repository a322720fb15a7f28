//! Figures from counters: what two snapshots of the engine, the process and the device say about the time between them.

use std::collections::BTreeMap;
use std::time::Instant;

use kvdyno_engines::{Engine, Metrics, Stalls};
use kvdyno_reports::{BackgroundEvent, Io, Resources};

use super::collector::Collector;
use super::observe::{DeviceUse, Memory, ProcessUse};

/// All counters at one moment.
pub(crate) struct Snapshot {
    /// What the engine tells.
    pub(crate) metrics: Metrics,
    process: ProcessUse,
    memory: Memory,
}

impl Snapshot {
    /// Reads them.
    pub(crate) fn of(engine: &dyn Engine) -> Self {
        Self { metrics: engine.metrics(), process: ProcessUse::now(), memory: Memory::now() }
    }
}

/// A rate; 0 if no time has passed.
pub(crate) fn per_second(operations: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { operations as f64 / seconds } else { 0.0 }
}

/// A ratio; none if the numerator is unknown or the denominator zero.
pub(crate) fn ratio(numerator: Option<u64>, denominator: u64) -> Option<f64> {
    numerator.filter(|_| denominator > 0).map(|numerator| numerator as f64 / denominator as f64)
}

/// Processor and memory of a phase.
pub(crate) fn resources_between(
    before: &Snapshot,
    end: &Snapshot,
    operations: u64,
    peak: Option<u64>,
) -> Resources {
    let user_s = end.process.user_s - before.process.user_s;
    let system_s = end.process.system_s - before.process.system_s;
    Resources {
        cpu_user_s: user_s,
        cpu_system_s: system_s,
        cpu_us_per_op: (end.process.cpu_s - before.process.cpu_s) * 1e6 / operations.max(1) as f64,
        rss_anon_bytes: end.memory.anon_bytes,
        rss_anon_peak_bytes: peak,
        rss_file_bytes: end.memory.file_bytes,
        memory_bytes: None,
        memory_bytes_per_record: None,
        minor_faults: end.process.minor_faults - before.process.minor_faults,
        major_faults: end.process.major_faults - before.process.major_faults,
    }
}

/// Bytes and calls of a phase.
pub(crate) fn io_between(
    before: &Snapshot,
    end: &Snapshot,
    settled: &Snapshot,
    device: [Option<DeviceUse>; 3],
    collector: &Collector,
) -> Io {
    let written = |later: &Snapshot| {
        let (earlier, later) = (before.metrics.bytes_written?, later.metrics.bytes_written?);
        let sources = earlier.by_source().into_iter().zip(later.by_source());
        Some(
            sources
                .map(|((name, earlier), (_, later))| {
                    (name.to_owned(), later.saturating_sub(earlier))
                })
                .filter(|(_, bytes)| *bytes > 0)
                .collect(),
        )
    };
    let grown = |of: fn(&Metrics) -> Option<u64>, later: &Snapshot| {
        Some(of(&later.metrics)?.saturating_sub(of(&before.metrics)?))
    };
    let [device_before, device_end, device_settled] = device;
    let device_grown = |later: Option<DeviceUse>, of: fn(&DeviceUse) -> u64| {
        Some(of(&later?).saturating_sub(of(&device_before?)))
    };
    let counts = collector.counts();
    Io {
        user_bytes_written: counts.user_bytes_written,
        user_bytes_read: counts.user_bytes_read,
        engine_bytes_written_end: written(end),
        engine_bytes_written_settled: written(settled),
        device_bytes_written_end: device_grown(device_end, |device| device.written_bytes),
        device_bytes_written_settled: device_grown(device_settled, |device| device.written_bytes),
        device_bytes_read: device_grown(device_end, |device| device.read_bytes),
        engine_bytes_read: grown(|metrics| metrics.bytes_read, end),
        engine_read_calls: grown(|metrics| metrics.read_calls, end),
        fsyncs: grown(|metrics| metrics.fsyncs, settled),
        kernel_dirtied_bytes: end
            .process
            .dirtied_bytes
            .zip(before.process.dirtied_bytes)
            .map(|(end, before)| end.saturating_sub(before)),
    }
}

/// Background work that had not ended before the phase began.
pub(crate) fn events_since(metrics: &Metrics, began: Instant) -> Vec<BackgroundEvent> {
    let seconds = |at: Instant| match at.checked_duration_since(began) {
        Some(after) => after.as_secs_f64(),
        None => -began.duration_since(at).as_secs_f64(),
    };
    metrics
        .events
        .iter()
        .filter(|event| event.end >= began)
        .map(|event| BackgroundEvent {
            kind: event.kind.name().into(),
            start_s: seconds(event.start),
            end_s: seconds(event.end),
            bytes_written: Some(event.bytes_written),
        })
        .collect()
}

/// Times that writers were made to wait; none where the engine does not tell.
pub(crate) fn stalls_between(before: &Metrics, after: &Metrics) -> Option<Stalls> {
    let (before, after) = (before.stalls?, after.stalls?);
    Some(Stalls { count: after.count - before.count, time: after.time.saturating_sub(before.time) })
}

/// The engine's figures that have no field of their own in the result file.
pub(crate) fn counters(metrics: &Metrics) -> BTreeMap<String, f64> {
    let mut counters = metrics.counters.clone();
    let known = [
        ("cache_hits", metrics.cache_hits),
        ("cache_misses", metrics.cache_misses),
        ("filter_probes", metrics.filter_probes),
        ("filter_false_positives", metrics.filter_false_positives),
        ("keydir_bytes", metrics.keydir_bytes),
        ("keydir_entries", metrics.keydir_entries),
    ];
    counters.extend(
        known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value? as f64))),
    );
    for (number, level) in metrics.levels.iter().enumerate().filter(|(_, level)| level.files > 0) {
        counters.insert(format!("level_{number}_files"), level.files as f64);
        counters.insert(format!("level_{number}_bytes"), level.bytes as f64);
    }
    counters
}
