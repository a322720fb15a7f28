//! Invented results under offered rates: one rate, and a sweep up to saturation.

use super::*;

/// How much longer than the service time the 99th percentile of the response time is at this share of the capacity.
fn queueing(load: f64) -> f64 {
    if load < 1.0 { 1.0 + load.powi(4) / (1.0 - load) } else { 1.0 + 4_000.0 * (load - 0.97) }
}

/// Each sample this many times as long.
fn stretched(latency: &Latency, factor: f64) -> Latency {
    let mut histogram = Histogram::new(3).unwrap();
    for value in decode_histogram(&latency.histogram).unwrap().iter_recorded() {
        let stretched = (value.value_iterated_to() as f64 * factor) as u64;
        histogram.record_n(stretched, value.count_since_last_iteration()).unwrap();
    }
    encode_latency(&histogram)
}

/// Latencies whose tail grows with the load.
fn under_load(base_ns: f64, tail: f64, load: f64) -> Latency {
    encode_latency(&latencies(base_ns * queueing(load), tail + load.min(1.0) * 0.1, 40_000))
}

/// Every third trial of `ycsb-a` and `ycsb-b` again, each operation due at 300,000 a second; fjall does not keep up.
pub fn at_rate() -> ResultFile {
    static AT_RATE: LazyLock<ResultFile> = LazyLock::new(make_at_rate);
    AT_RATE.clone()
}

fn make_at_rate() -> ResultFile {
    const OFFERED: f64 = 300_000.0;
    let mut result = quick();
    result.run.memory_limit_bytes = Some(4 << 30);
    result.run.stores = StoreUse::Chain;
    result.run.id = "rate-20260104-030405".to_owned();
    result.cells.retain(|cell| {
        cell.phase == Phase::Load || matches!(cell.workload.as_str(), "ycsb-a" | "ycsb-b")
    });
    result.cells.retain(|cell| cell.phase != Phase::Recover);
    for cell in result.cells.iter_mut().filter(|cell| cell.phase == Phase::Run) {
        cell.offered_ops_per_s = Some(OFFERED);
        let Some(measurement) = &mut cell.measurement else { continue };
        let load = OFFERED / measurement.throughput_ops_per_s;
        let reached = load < 1.0;
        let achieved = OFFERED.min(measurement.throughput_ops_per_s);
        let stretch = measurement.throughput_ops_per_s / achieved;
        measurement.throughput_ops_per_s = achieved;
        measurement.throughput_settled_ops_per_s = achieved * 0.99;
        measurement.duration_s *= stretch;
        for stats in &mut measurement.operations {
            stats.response = Some(stretched(&stats.service, queueing(load)));
        }
        for point in &mut measurement.timeline {
            (point.start_s, point.length_s) = (point.start_s * stretch, point.length_s * stretch);
            let more = queueing(load);
            point.response_p50_ns = Some((point.p50_ns as f64 * more) as u64);
            point.response_p99_ns = Some((point.p99_ns as f64 * more) as u64);
            point.response_max_ns = Some((point.max_ns as f64 * more) as u64);
        }
        measurement.open_loop = Some(OpenLoop {
            offered_ops_per_s: OFFERED,
            arrivals: Arrivals::Poisson,
            due: (measurement.operations.last().unwrap().operations as f64 * load.max(1.0)) as u64,
            reached,
            backlog_end_s: if reached { 0.0004 } else { 1.7 },
        });
    }
    result.run.cells_planned = result.cells.len() as u64;
    result
}

/// `ycsb-a` in a closed loop, then at rising rates until each engine is saturated, with a bound on the way.
pub fn sweep() -> ResultFile {
    static SWEEP: LazyLock<ResultFile> = LazyLock::new(make_sweep);
    SWEEP.clone()
}

fn make_sweep() -> ResultFile {
    let mut result = quick();
    result.run.id = "sweep-20260105-030405".to_owned();
    result.cells.retain(|cell| cell.phase == Phase::Run && cell.workload == "ycsb-a");
    for cell in &mut result.cells {
        let Some(measurement) = &mut cell.measurement else { continue };
        let capacity = measurement.throughput_ops_per_s;
        let base = measurement.operations.last().unwrap().service.p50_ns as f64;
        let step = |share: f64| {
            let achieved = capacity * share.min(0.98);
            RatePoint {
                offered_ops_per_s: (capacity * share).round(),
                achieved_ops_per_s: achieved,
                duration_s: 2.0,
                settle_s: 0.1,
                reached: share < 1.0,
                held: Some(share < 0.85),
                service: under_load(base, 0.3, 0.0),
                response: under_load(base, 0.3, share),
            }
        };
        measurement.rates = [0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.97, 1.05].map(step).to_vec();
        // The search ends with the highest rate that held, offered three times as long.
        let confirmed = measurement.rates[4].clone();
        measurement.rates.push(RatePoint { duration_s: 6.0, ..confirmed });
        measurement.slo = Some(Slo {
            bound: "p99<1ms".to_owned(),
            highest_ops_per_s: Some((capacity * 0.8).round()),
            lowest_broken_ops_per_s: Some((capacity * 0.9).round()),
        });
    }
    result.run.cells_planned = result.cells.len() as u64;
    result
}
