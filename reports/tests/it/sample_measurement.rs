//! Invented measurements: figures of a phase that follow from an engine's character.

use super::*;

/// Invented runs are short: points a fortieth of the run apart show what long ones show.
const TIMELINE_POINTS: usize = 40;

pub(super) fn measure(
    character: &Character,
    mix: &[(&str, f64)],
    operations: u64,
    noise: &mut Noise,
) -> Measurement {
    let mut all = Histogram::<u64>::new(3).unwrap();
    let mut stats = Vec::new();
    let mut seconds = 0.0;
    let mut writes = 0;
    for (kind, share) in mix {
        let base = match *kind {
            "read" => character.read_ns,
            "scan" => character.scan_ns.unwrap_or(0.0),
            "read_modify_write" => character.read_ns + character.write_ns,
            _ => character.write_ns,
        };
        let count = (operations as f64 * share) as u64;
        let histogram = latencies(base * noise.around(0.04), character.tail, count);
        seconds += histogram.mean() * count as f64 / 1e9;
        writes += if matches!(*kind, "read" | "scan") { 0 } else { count };
        all.add(&histogram).unwrap();
        stats.push(OperationStats {
            kind: (*kind).to_owned(),
            operations: histogram.len(),
            errors: 0,
            items: (*kind == "scan").then_some(histogram.len() * 50),
            service: encode_latency(&histogram),
            response: None,
        });
    }
    stats.push(OperationStats {
        kind: "all".to_owned(),
        operations: all.len(),
        errors: 0,
        items: None,
        service: encode_latency(&all),
        response: None,
    });
    let settle_s = if writes > 0 { 0.08 * noise.around(0.3) } else { 0.0 };
    let done = all.len() as f64;
    let io = io(character, writes);
    let memory = character.memory_per_record * RECORDS as f64;
    let timeline_noise: Vec<f64> = (0..TIMELINE_POINTS).map(|_| noise.around(0.15)).collect();
    let events = events(character, seconds, writes > 0, noise);
    let stalls = || events.iter().filter(|event| event.kind == "stall");
    let tells_stalls = matches!(character.name, "bitcask" | "lsm" | "fjall");
    Measurement {
        warm_up: "1 s".to_owned(),
        open_loop: None,
        rates: Vec::new(),
        slo: None,
        stall_count: tells_stalls.then(|| stalls().count() as u64),
        stall_s: tells_stalls.then(|| stalls().map(|event| event.end_s - event.start_s).sum()),
        machine: Some(MachineNoise {
            hiccup_max_ns: 3_200_000,
            hiccup_p99_ns: 110_000,
            steal_s: Some(seconds * 0.002),
        }),
        resident_share_before: Some(0.97),
        duration_s: seconds,
        settle_s,
        throughput_ops_per_s: done / seconds,
        throughput_settled_ops_per_s: done / (seconds + settle_s),
        operations: stats,
        timeline: timeline(character, &all, seconds, writes > 0, &timeline_noise),
        events,
        resources: Resources {
            cpu_user_s: seconds * 0.8,
            cpu_system_s: seconds * 0.3,
            cpu_us_per_op: seconds * 1.1 / done * 1e6,
            rss_anon_bytes: Some(memory as u64 + 2_400_000),
            rss_anon_peak_bytes: Some(memory as u64 + 9_400_000),
            rss_file_bytes: Some(4_000_000),
            memory_bytes: Some(memory as u64),
            memory_bytes_per_record: Some(character.memory_per_record),
            minor_faults: 12_345,
            major_faults: 0,
        },
        amplification: amplification(character, &io),
        io,
        counters: BTreeMap::from([("cache_hits".to_owned(), 99_123.0)]),
        check: DataCheck {
            scope: "sample".to_owned(),
            records_checked: 10_000,
            reads_checked: all.len() / 2,
            check_ns_per_operation: Some(14.0),
            ..DataCheck::default()
        },
    }
}

/// Latencies with a median near `base` and a power law for a tail.
pub(super) fn latencies(base: f64, tail: f64, count: u64) -> Histogram<u64> {
    const STEPS: u64 = 20_000;
    let mut histogram = Histogram::new(3).unwrap();
    let each = (count / STEPS).max(1);
    for step in 0..count.min(STEPS) {
        let above = 1.0 - (step as f64 + 0.5) / STEPS as f64;
        let value =
            base * (0.7 + 0.3 * (0.5 / above).powf(tail) + (0.0007 / above).powf(1.1 + tail));
        histogram.record_n(value as u64, each).unwrap();
    }
    histogram
}

fn timeline(
    character: &Character,
    all: &Histogram<u64>,
    seconds: f64,
    writing: bool,
    noise: &[f64],
) -> Vec<TimelinePoint> {
    let length_s = seconds / TIMELINE_POINTS as f64;
    // A few shapes are enough: encoding one for every interval would take long.
    let mean = all.len() as f64 / TIMELINE_POINTS as f64;
    let shapes = [0.86, 0.93, 1.0, 1.07, 1.14].map(|share| thinned(all, mean * share));
    let texts = shapes.each_ref().map(encode_histogram);
    let shape = |around: f64| (((around - 0.85) / 0.3 * 5.0) as usize).min(4);
    let writes = |ratio: f64| writing.then_some((2_000_000.0 * ratio) as u64);
    noise
        .iter()
        .enumerate()
        .map(|(at, around)| TimelinePoint {
            start_s: at as f64 * length_s,
            length_s,
            operations: shapes[shape(*around)].len(),
            p50_ns: all.value_at_quantile(0.5),
            p99_ns: (all.value_at_quantile(0.99) as f64 * around.powi(3)) as u64,
            max_ns: all.max(),
            histogram: Some(texts[shape(*around)].clone()),
            response_p50_ns: None,
            response_p99_ns: None,
            response_max_ns: None,
            rss_anon_bytes: Some(9_000_000 + at as u64 * 60_000),
            cpu_s: Some(length_s * around.min(1.0)),
            engine_bytes_written: writes(*around).filter(|_| !character.sources.is_empty()),
            device_bytes_written: writes(if at % 10 == 9 { 8.0 } else { 0.2 }),
            allocated_bytes: Some(120_000_000 + at as u64 * 800_000),
            hiccup_max_ns: Some(if at == 21 { 3_200_000 } else { 60_000 }),
            steal_s: Some(if at == 21 { length_s * 0.3 } else { 0.0 }),
        })
        .collect()
}

/// A histogram of about the same shape with about this many samples.
fn thinned(all: &Histogram<u64>, samples: f64) -> Histogram<u64> {
    let share = samples / all.len() as f64;
    let mut thin = Histogram::new(3).unwrap();
    let mut due = 0.0;
    for value in all.iter_recorded() {
        due += value.count_since_last_iteration() as f64 * share;
        thin.record_n(value.value_iterated_to(), due as u64).unwrap();
        due = due.fract();
    }
    thin
}

fn events(
    character: &Character,
    seconds: f64,
    writing: bool,
    noise: &mut Noise,
) -> Vec<BackgroundEvent> {
    let event = |kind: &str, start: f64, length: f64| BackgroundEvent {
        kind: kind.to_owned(),
        start_s: start * seconds,
        end_s: (start + length) * seconds,
        bytes_written: Some(16_777_216),
    };
    match character.name {
        "lsm" | "fjall" if writing => (0..5)
            .flat_map(|at| {
                let start = (f64::from(at) + noise.next()) / 5.0;
                let mut events =
                    vec![event("flush", start, 0.03), event("compaction", start + 0.04, 0.09)];
                if at == 3 {
                    events.push(event("stall", start + 0.02, 0.015));
                }
                events
            })
            .collect(),
        "bitcask" if writing => vec![event("merge", 0.55, 0.2)],
        _ => Vec::new(),
    }
}

fn io(character: &Character, writes: u64) -> Io {
    let user = writes * (VALUE_BYTES + 23);
    let sources: BTreeMap<String, u64> = character
        .sources
        .iter()
        .map(|(source, ratio)| ((*source).to_owned(), (user as f64 * ratio) as u64))
        .collect();
    let told = !character.sources.is_empty() && writes > 0;
    let total: u64 = sources.values().sum();
    Io {
        user_bytes_written: user,
        user_bytes_read: 100_000_000,
        engine_bytes_written_end: told.then(|| sources.clone()),
        engine_bytes_written_settled: told.then_some(sources),
        device_bytes_written_end: (writes > 0).then_some(total.max(user) + 4_096),
        device_bytes_written_settled: (writes > 0).then_some(total.max(user) + 8_192),
        device_bytes_read: Some(0),
        engine_bytes_read: told.then_some(180_000_000),
        engine_read_calls: told.then_some(170_000),
        fsyncs: told.then_some(12),
        kernel_dirtied_bytes: Some(total),
    }
}

fn amplification(character: &Character, io: &Io) -> Amplification {
    let over_user = |bytes: u64| {
        (io.user_bytes_written > 0).then(|| bytes as f64 / io.user_bytes_written as f64)
    };
    let engine = io
        .engine_bytes_written_settled
        .as_ref()
        .and_then(|sources| over_user(sources.values().sum()));
    let live = RECORDS * (VALUE_BYTES + 23);
    Amplification {
        write_end: engine.map(|ratio| ratio * 0.9),
        write_settled: engine,
        write_device_end: io.device_bytes_written_end.and_then(over_user),
        write_device_settled: io.device_bytes_written_settled.and_then(over_user),
        read: io.engine_bytes_read.map(|bytes| bytes as f64 / io.user_bytes_read as f64),
        read_calls_per_item: io.engine_read_calls.map(|calls| calls as f64 / OPERATIONS as f64),
        space_end: Some(character.space * 1.1),
        space_settled: Some(character.space),
        space_peak: Some(character.space * 1.3),
        live_bytes: live,
        allocated_bytes_end: Some((live as f64 * character.space * 1.1) as u64),
        allocated_bytes_settled: Some((live as f64 * character.space) as u64),
    }
}
