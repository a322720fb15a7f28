//! Figures of a load or run phase.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::load::{OpenLoop, RatePoint, Slo};

/// Figures of a load or run phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// How the warm-up before it was ended, for instance `1 s`, `none` or `steady after 7 s`.
    pub warm_up: String,
    /// How well the offered rate was kept; none in a closed loop.
    #[serde(default)]
    pub open_loop: Option<OpenLoop>,
    /// Latency at each offered rate that was tried, in the order in which they were tried: a sweep, or the search for the highest rate that holds.
    #[serde(default)]
    pub rates: Vec<RatePoint>,
    /// The highest rate that holds a bound on the response time, where one was looked for.
    #[serde(default)]
    pub slo: Option<Slo>,
    /// From the first operation's start to the last one's acknowledgement; under an offered rate that was kept, at least as long as operations were offered.
    pub duration_s: f64,
    /// Time that background work then took to drain.
    pub settle_s: f64,
    /// Operations ÷ `duration_s`.
    pub throughput_ops_per_s: f64,
    /// Operations ÷ (`duration_s` + `settle_s`).
    pub throughput_settled_ops_per_s: f64,
    /// Per operation kind, and `all`, which comes last.
    pub operations: Vec<OperationStats>,
    /// Consecutive intervals of about a second, from the first operation's start.
    pub timeline: Vec<TimelinePoint>,
    /// Background work of the engine while it was measured and settled.
    pub events: Vec<BackgroundEvent>,
    /// Times that the engine made writers wait; none where it does not tell.
    #[serde(default)]
    pub stall_count: Option<u64>,
    /// How long in all.
    #[serde(default)]
    pub stall_s: Option<f64>,
    /// What the machine did meanwhile that is not the engine's.
    #[serde(default)]
    pub machine: Option<MachineNoise>,
    /// Share of the store's bytes that were in memory when the phase began, where that was looked at.
    #[serde(default)]
    pub resident_share_before: Option<f64>,
    /// Processor and memory.
    pub resources: Resources,
    /// Bytes and calls.
    pub io: Io,
    /// The three amplifications with their terms.
    pub amplification: Amplification,
    /// Engine's own counters that have no field of their own, by name with unit.
    pub counters: BTreeMap<String, f64>,
    /// The untimed check of the data after the phase.
    pub check: DataCheck,
}

/// What the machine did during a phase that must not be taken for the engine's doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineNoise {
    /// The longest that a sleeping thread woke too late.
    pub hiccup_max_ns: u64,
    /// 99th percentile of the same.
    pub hiccup_p99_ns: u64,
    /// Processor time that the hypervisor gave to others, over all processors.
    pub steal_s: Option<f64>,
}

/// Counts and latencies of one operation kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationStats {
    /// `read`, `update`, `insert`, `scan`, `read_modify_write`, `latest`, `window`, …, or `all`.
    pub kind: String,
    /// Operations acknowledged without error.
    pub operations: u64,
    /// Operations that returned an error.
    pub errors: u64,
    /// Items returned, where one operation returns many (scans and windows).
    pub items: Option<u64>,
    /// From the call to its return.
    pub service: Latency,
    /// From the intended start to the return; only under an offered rate.
    pub response: Option<Latency>,
}

/// A latency distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Samples.
    pub count: u64,
    /// Smallest sample.
    pub min_ns: u64,
    /// Arithmetic mean.
    pub mean_ns: f64,
    /// 50th percentile.
    pub p50_ns: u64,
    /// 90th percentile; like those below absent where fewer than 100 samples lie above it.
    pub p90_ns: Option<u64>,
    /// 95th percentile.
    #[serde(default)]
    pub p95_ns: Option<u64>,
    /// 99th percentile.
    pub p99_ns: Option<u64>,
    /// 99.9th percentile.
    pub p999_ns: Option<u64>,
    /// 99.99th percentile.
    pub p9999_ns: Option<u64>,
    /// Largest sample.
    pub max_ns: u64,
    /// The whole distribution: HdrHistogram V2 with DEFLATE, base64, 3 significant digits, in nanoseconds.
    pub histogram: String,
}

/// One interval of the time line, over all operation kinds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimelinePoint {
    /// Start of the interval, from the start of the measured phase.
    pub start_s: f64,
    /// Length of the interval; the last one is mostly shorter than a second.
    pub length_s: f64,
    /// Operations that ended in it.
    pub operations: u64,
    /// Median service time.
    pub p50_ns: u64,
    /// 99th percentile of the service time.
    pub p99_ns: u64,
    /// Largest service time.
    pub max_ns: u64,
    /// The service times of the interval over all kinds, encoded as [`Latency::histogram`] is, where they were kept: interval logs are made from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<String>,
    /// Median response time; like the two below only under an offered rate.
    #[serde(default)]
    pub response_p50_ns: Option<u64>,
    /// 99th percentile of the response time.
    #[serde(default)]
    pub response_p99_ns: Option<u64>,
    /// Largest response time.
    #[serde(default)]
    pub response_max_ns: Option<u64>,
    /// Anonymous memory of the child process at its end.
    pub rss_anon_bytes: Option<u64>,
    /// Processor time of the child process, all threads.
    #[serde(default)]
    pub cpu_s: Option<f64>,
    /// Bytes that the engine says it wrote.
    #[serde(default)]
    pub engine_bytes_written: Option<u64>,
    /// Bytes that the block device took.
    #[serde(default)]
    pub device_bytes_written: Option<u64>,
    /// Bytes of blocks allocated to the store at its end.
    #[serde(default)]
    pub allocated_bytes: Option<u64>,
    /// The longest that a sleeping thread woke too late: a stall of the machine.
    #[serde(default)]
    pub hiccup_max_ns: Option<u64>,
    /// Processor time that the hypervisor gave to others, over all processors.
    #[serde(default)]
    pub steal_s: Option<f64>,
}

/// Background work of an engine, or a stall that it imposed on writers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackgroundEvent {
    /// `flush`, `compaction`, `merge` or `stall`.
    pub kind: String,
    /// Start, from the start of the measured phase (negative: it was under way).
    pub start_s: f64,
    /// End, from the start of the measured phase.
    pub end_s: f64,
    /// Bytes that it wrote, where known.
    pub bytes_written: Option<u64>,
}

/// Processor and memory of the child process during the phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Processor time in user mode, all threads.
    pub cpu_user_s: f64,
    /// Processor time in the kernel, all threads.
    pub cpu_system_s: f64,
    /// Processor time ÷ operations, background threads included.
    pub cpu_us_per_op: f64,
    /// Anonymous resident memory at the end of the phase.
    pub rss_anon_bytes: Option<u64>,
    /// Largest anonymous resident memory seen once a second.
    pub rss_anon_peak_bytes: Option<u64>,
    /// File-backed resident memory at the end: page cache that the engine maps.
    pub rss_file_bytes: Option<u64>,
    /// `rss_anon_bytes` less that of the `noop` cell of the same workload.
    pub memory_bytes: Option<u64>,
    /// `memory_bytes` ÷ records.
    pub memory_bytes_per_record: Option<f64>,
    /// Page faults served without I/O.
    pub minor_faults: u64,
    /// Page faults that waited for I/O.
    pub major_faults: u64,
}

/// Bytes and calls. `_end` is read when the last operation was acknowledged, `_settled` when background work had drained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Io {
    /// Key and value bytes handed to the engine's write calls: the denominator of write amplification.
    pub user_bytes_written: u64,
    /// Key and value bytes that reads and scans returned.
    pub user_bytes_read: u64,
    /// What the engine says it wrote, by source: `log`, `flush`, `compaction`, `merge`, `manifest`, `hint`, `value_log`. Absent where the engine does not tell.
    pub engine_bytes_written_end: Option<BTreeMap<String, u64>>,
    /// The same after settling.
    pub engine_bytes_written_settled: Option<BTreeMap<String, u64>>,
    /// What the block device took, all pending pages written back, until the end of the phase. The device is shared: the machine must be otherwise idle.
    pub device_bytes_written_end: Option<u64>,
    /// The same after settling.
    pub device_bytes_written_settled: Option<u64>,
    /// What the block device delivered during the phase.
    pub device_bytes_read: Option<u64>,
    /// Bytes that the engine says it read, where reads are visible to it.
    pub engine_bytes_read: Option<u64>,
    /// Calls in which it read them.
    pub engine_read_calls: Option<u64>,
    /// fsync, fdatasync and msync calls that the engine says it made, settling included.
    pub fsyncs: Option<u64>,
    /// `write_bytes` of the kernel for this process: pages dirtied, which is neither what the engine nor what the device wrote.
    pub kernel_dirtied_bytes: Option<u64>,
}

/// The three amplifications. None where a term is unknown or the denominator zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amplification {
    /// Bytes that the engine wrote ÷ user bytes, when the last operation was acknowledged.
    pub write_end: Option<f64>,
    /// The same after settling.
    pub write_settled: Option<f64>,
    /// Bytes that the device took ÷ user bytes, when the last operation was acknowledged.
    pub write_device_end: Option<f64>,
    /// The same after settling.
    pub write_device_settled: Option<f64>,
    /// Bytes that the engine read ÷ bytes that reads and scans returned.
    pub read: Option<f64>,
    /// Calls in which the engine read ÷ items returned.
    pub read_calls_per_item: Option<f64>,
    /// Allocated bytes ÷ live bytes when the last operation was acknowledged.
    pub space_end: Option<f64>,
    /// The same after settling.
    pub space_settled: Option<f64>,
    /// The largest ratio seen once a second during the phase.
    pub space_peak: Option<f64>,
    /// Key and value bytes of live records at the end.
    pub live_bytes: u64,
    /// Bytes of blocks allocated to the store at the end.
    pub allocated_bytes_end: Option<u64>,
    /// The same after settling.
    pub allocated_bytes_settled: Option<u64>,
}

/// The untimed check of the data after a phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataCheck {
    /// `all` or `sample`.
    pub scope: String,
    /// Records looked up.
    pub records_checked: u64,
    /// Records that were not found.
    pub records_missing: u64,
    /// Records whose value was not theirs or not whole.
    pub records_wrong: u64,
    /// Records that were found although their removal had been acknowledged.
    #[serde(default)]
    pub records_resurrected: u64,
    /// Reads checked during the timed phase (outside the timed section).
    pub reads_checked: u64,
    /// Time spent on those checks ÷ operations of the phase: what the level of verification costs a thread.
    #[serde(default)]
    pub check_ns_per_operation: Option<f64>,
}
