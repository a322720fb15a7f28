//! The result file, `result.json`: the one interface between the harness, the reports, and other
//! people's scripts.
//!
//! A [`ResultFile`] describes one run. Its centre is a flat list of [`Cell`]s: one cell is one
//! engine × workload × configuration × trial in one phase (load, run or recover), with what was
//! measured or the reason why nothing was. Around it stand what is needed to read and repeat the
//! figures: the environment, the engines with their options, the resolved workloads with digests,
//! and the harness's own cost.
//!
//! Rules of the format:
//!
//! 1. `schema` names the version; a reader refuses versions that it does not know.
//! 2. Field names carry their unit (`_ns`, `_bytes`, `_s`, `_ops_per_s`). Times are nanoseconds as
//!    integers where they are latencies and seconds as floating point where they are durations.
//! 3. What does not apply is absent or `null`, never zero.
//! 4. A field that this build does not know is an error, like one that is missing: a misspelt name would be a
//!    figure lost without a word.
//! 5. Latency distributions are whole HdrHistograms (V2, compressed, base64), so results can be merged without
//!    loss. The percentiles beside them are there for scripts that do not decode histograms.
//!
//! The JSON Schema of the same format lies in `reports/schema/result.schema.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the format that this crate writes and reads.
pub const SCHEMA: &str = "kvdyno.result/1";

/// One run of kvdyno: what was measured, on what, and how to repeat it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultFile {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Which run this is and how it ended.
    pub run: RunInfo,
    /// The machine, the file system and the build.
    pub environment: Environment,
    /// What measuring itself costs.
    pub harness: HarnessInfo,
    /// Every engine that took part, in the order in which the user named them.
    pub engines: Vec<EngineInfo>,
    /// Every workload that took part, in the order in which the user named them; once for each size in which it ran.
    pub workloads: Vec<WorkloadInfo>,
    /// Every cell, in the order in which the cells ended.
    pub cells: Vec<Cell>,
}

/// Which run this is and how it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunInfo {
    /// Name of the run, unique within an output folder, for instance `quick-20260102-030405`.
    pub id: String,
    /// The suite: `quick`, `ycsb`, …, or `custom` for workloads named one by one.
    pub suite: String,
    /// The command line that repeats the run, program name first.
    pub command: Vec<String>,
    /// When the run began, RFC 3339 in UTC.
    pub started_at: String,
    /// Wall time of the whole run so far.
    pub duration_s: f64,
    /// The seed of every random choice.
    pub seed: u64,
    /// Trials per cell.
    pub trials: u32,
    /// How reads were checked while they were timed: `none`, `sample`, `content` or `versions`.
    pub verify: String,
    /// How the workloads share stores.
    #[serde(default)]
    pub stores: StoreUse,
    /// Memory that a measured process, its page cache included, could use; none: all of the machine's.
    #[serde(default)]
    pub memory_limit_bytes: Option<u64>,
    /// Whether all planned cells have ended.
    pub status: RunStatus,
    /// Cells that the run plans to have, unsupported ones among them.
    pub cells_planned: u64,
    /// What a reader must know before trusting the figures (store on tmpfs, few cores, …).
    pub warnings: Vec<String>,
}

/// How the workloads of a run share stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreUse {
    /// Each workload that writes starts from a fresh copy of the loaded store.
    #[default]
    Copies,
    /// Workloads follow one another on one store, as YCSB's users run them.
    Chain,
}

/// Whether all planned cells have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Still going on, or cut off without a word: more cells were planned than there are.
    Running,
    /// All planned cells have ended, well or badly.
    Complete,
    /// The user stopped the run.
    Interrupted,
}

/// The machine, the file system and the build.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Model name of the processor.
    pub cpu_model: String,
    /// Processors that the run could use.
    pub cpus: u32,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// Name and release of the operating system's kernel.
    pub kernel: String,
    /// The hypervisor's name where the machine is virtual.
    pub hypervisor: Option<String>,
    /// Frequency governor of the first processor.
    pub cpu_governor: Option<String>,
    /// File system type under the stores, for instance `ext4`.
    pub store_file_system: String,
    /// Block device under the stores, for instance `vda`; none for tmpfs and network file systems.
    pub store_device: Option<String>,
    /// State of the page cache when a measured phase begins: `warm` (as the load or the copy left it) or `cold` (the store's pages dropped).
    pub page_cache: String,
    /// What touching memory for the first time cost, where the run touched it beforehand.
    #[serde(default)]
    pub first_touch: Option<FirstTouch>,
    /// Compiler that built the program.
    pub compiler: String,
    /// `release` or `debug`.
    pub build_profile: String,
    /// Version of kvdyno.
    pub kvdyno_version: String,
    /// Commit of the source that was built, where it was known.
    pub commit: Option<String>,
}

/// What it costs to touch memory that the run will use: a virtual machine's host may back it only then, and whoever came first would pay for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstTouch {
    /// Bytes touched before the first cell.
    pub bytes: u64,
    /// Mean cost of a page in the first round.
    pub first_ns_per_page: f64,
    /// Mean cost of a page in the second round: what cells pay.
    pub again_ns_per_page: f64,
}

/// What measuring itself costs on this machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HarnessInfo {
    /// The clock that times operations: `tsc` or `monotonic`.
    pub clock: String,
    /// Mean cost of one clock read.
    pub clock_read_ns: f64,
    /// Smallest difference seen between two readings that differ.
    pub clock_step_ns: f64,
    /// The whole loop (generate, call, time, record) on an engine that does nothing.
    pub noop: Vec<NoopCost>,
}

/// The whole loop's cost on the engine `noop` under one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoopCost {
    /// Name of the workload.
    pub workload: String,
    /// Threads that ran it.
    pub threads: u32,
    /// Wall time × threads ÷ operations.
    pub ns_per_operation: f64,
    /// Mean service time: what the timed section itself takes around a call that does nothing.
    #[serde(default)]
    pub timed_section_ns: Option<f64>,
    /// Anonymous memory of the child process; other engines' memory is told above this.
    pub rss_anon_bytes: u64,
}

/// An engine that took part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineInfo {
    /// Name as on the command line, with its variant: `lsm`, `bitcask@nocrc`.
    pub name: String,
    /// Version of the crate that was linked.
    pub version: String,
    /// One line for people: what kind of engine this is.
    pub description: String,
    /// Options in effect, by name, as text with units.
    pub options: BTreeMap<String, String>,
    /// The call that gives the durability class of the run, for instance `fdatasync before the acknowledgement`.
    pub durability_call: String,
    /// Operation kinds that the engine cannot do.
    pub unsupported: Vec<String>,
    /// What a check-only cell saw of the durability class, where one ran.
    #[serde(default)]
    pub durability_check: Option<DurabilityCheck>,
}

/// What was seen of a durability class from outside the engine's process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DurabilityCheck {
    /// How it was checked, for instance `system calls traced between acknowledgements`.
    pub method: String,
    /// Writes acknowledged during the check.
    pub acknowledgements: u64,
    /// Calls seen that make data durable: fsync, fdatasync, synchronous msync and writes to files opened for synchronous writing.
    pub sync_calls: Option<u64>,
    /// Flushes that the block device finished meanwhile, the machine otherwise idle.
    pub device_flushes: Option<u64>,
    /// Whether what was seen agrees with the class; none where it could not be checked, and `note` says why.
    pub kept: Option<bool>,
    /// What was found, in one sentence.
    pub note: String,
}

/// A workload that took part, resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadInfo {
    /// Name as on the command line.
    pub name: String,
    /// One sentence for people.
    pub description: String,
    /// Records loaded before the measured phase.
    pub records: u64,
    /// Bytes of one value as loaded.
    pub value_bytes: u64,
    /// Share of each operation kind, summing to 1.
    pub mix: BTreeMap<String, f64>,
    /// Logical streams that the operations come from.
    pub streams: u32,
    /// Digest over the first `digest_operations` operations of every stream, hexadecimal; or `none` and why, where they depend on timing.
    pub stream_digest: String,
    /// Operations of each stream that the digest covers.
    pub digest_operations: u64,
    /// Digest of the resolved spec, hexadecimal.
    pub spec_digest: String,
    /// The resolved spec.
    pub spec: serde_json::Value,
    /// Share of the requests that the hottest key gets, where requests choose keys.
    pub hottest_key_share: Option<f64>,
    /// Share of the requests that the hottest fifth of the keys gets.
    pub top_20_percent_share: Option<f64>,
}

impl WorkloadInfo {
    /// Whether the other one is the same workload in the same size: what tells the entries of a result's list apart.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.name, self.records, self.value_bytes)
            == (&other.name, other.records, other.value_bytes)
    }

    /// Whether the cell ran this workload in this size.
    pub fn is_of(&self, cell: &Cell) -> bool {
        (&self.name, self.records, self.value_bytes)
            == (&cell.workload, cell.records, cell.value_bytes)
    }
}

/// The durability class under which a cell ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// An acknowledged write survives a clean close.
    Buffered,
    /// An acknowledged write survives a crash of the process.
    Os,
    /// An acknowledged write survives power loss.
    Sync,
}

/// The phase that a cell measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Writing the records into an empty store.
    Load,
    /// The workload's operations on a loaded store.
    Run,
    /// Kill while writing, reopen, verify.
    Recover,
}

/// How a cell ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellStatus {
    /// Measured, and the data was right.
    Ok,
    /// The engine cannot do what the workload asks for.
    Unsupported,
    /// The engine or the child process failed; `error` says how.
    Failed,
    /// The cell ran past its time limit and was killed.
    Timeout,
    /// The user stopped the run while the cell was under way.
    Interrupted,
    /// The engine returned a wrong value or lost a record without a crash.
    WrongData,
    /// A write that its durability class promised to keep was gone after the kill.
    LostWrite,
}

/// One engine × workload × configuration × trial in one phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Name of the engine, one of [`ResultFile::engines`].
    pub engine: String,
    /// Name of the workload, one of [`ResultFile::workloads`]. A load that several workloads share carries a
    /// name of its own (`load`, or with what the workloads' names begin, as `load-ycsb`, where a run has several data sets).
    pub workload: String,
    /// Durability class.
    pub durability: Durability,
    /// Client threads.
    pub threads: u32,
    /// Records in the store when the phase began (for a load: when it ended).
    pub records: u64,
    /// Bytes of one value as loaded.
    pub value_bytes: u64,
    /// Rate at which operations were due, over all threads; none in a closed loop.
    #[serde(default)]
    pub offered_ops_per_s: Option<f64>,
    /// What was done to the store, in recovery cells.
    #[serde(default)]
    pub scenario: Option<RecoveryScenario>,
    /// Number of the trial, from 1.
    pub trial: u32,
    /// What was measured.
    pub phase: Phase,
    /// How it ended.
    pub status: CellStatus,
    /// Why it did not end well: one line.
    pub error: Option<String>,
    /// Figures of a load or run; also present where a cell was interrupted after it had measured something.
    pub measurement: Option<Measurement>,
    /// Figures of a recovery experiment.
    pub recovery: Option<Recovery>,
}

/// What was done to a store before it was reopened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryScenario {
    /// How the store was left.
    pub ending: RecoveryEnding,
    /// Whether its pages were in memory when it was reopened.
    pub page_cache: PageCache,
}

/// How a store was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryEnding {
    /// Closed.
    CleanClose,
    /// Killed with SIGKILL while it was written to.
    Kill,
    /// The same, and the files that would make recovery faster (hints, checkpoints of an index) removed.
    KillWithoutHints,
    /// The same, and those files damaged.
    KillDamagedHints,
}

/// Whether a store's pages are in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageCache {
    /// As they were left.
    #[default]
    Warm,
    /// Dropped.
    Cold,
}

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
    /// From the first operation's start to the last one's acknowledgement.
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

/// How well an offered rate was kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenLoop {
    /// Operations due per second, over all threads.
    pub offered_ops_per_s: f64,
    /// How arrivals are spaced.
    pub arrivals: Arrivals,
    /// Operations that were due until the end.
    pub due: u64,
    /// Whether all of them were done, and the last one began at most [`backlog_s_max`](Self::backlog_s_max) late.
    pub reached: bool,
    /// How late the last operation began.
    pub backlog_end_s: f64,
}

impl OpenLoop {
    /// The lateness at the end of a phase up to which the rate counts as reached: a hundredth of the phase, but a tenth of a second in any case.
    pub fn backlog_s_max(duration_s: f64) -> f64 {
        (duration_s / 100.0).max(0.1)
    }
}

/// How arrivals are spaced under an offered rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Equal gaps.
    #[default]
    Constant,
    /// Exponentially distributed gaps, as independent clients make them.
    Poisson,
}

/// Latency at one offered rate, over all operation kinds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatePoint {
    /// Operations due per second, over all threads.
    pub offered_ops_per_s: f64,
    /// Operations acknowledged per second.
    pub achieved_ops_per_s: f64,
    /// How long it was offered.
    pub duration_s: f64,
    /// Whether the rate was reached (see [`OpenLoop::reached`]).
    pub reached: bool,
    /// Whether the bound held, in a search.
    pub held: Option<bool>,
    /// Time that background work then took to drain.
    #[serde(default)]
    pub settle_s: f64,
    /// From the call to its return.
    pub service: Latency,
    /// From the intended start to the return.
    pub response: Latency,
}

/// A bound on the response time, and the highest rate that held it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// The bound, for instance `p99<1ms`.
    pub bound: String,
    /// The highest rate tried at which it held; none if it held at no rate that was tried.
    pub highest_ops_per_s: Option<f64>,
    /// The lowest rate tried at which it did not hold; none if it held at all.
    pub lowest_broken_ops_per_s: Option<f64>,
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

/// Figures of a recovery experiment: a child is killed with SIGKILL while it writes, the store is reopened and every acknowledged write looked up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// What was done to the store, for instance `kill -9 while writing`.
    pub scenario: String,
    /// Writes acknowledged before the kill.
    pub acknowledged_writes: u64,
    /// How long the child had written when it was killed.
    pub written_s: f64,
    /// From the call that opens the store to its return.
    pub open_ms: f64,
    /// From the call that opens the store to the first value read.
    pub first_read_ms: f64,
    /// Records looked up afterwards: all that had an acknowledged write.
    pub records_verified: u64,
    /// Records older than their last acknowledged write, or gone.
    pub records_lost: u64,
    /// Records with a value that nobody had written for them.
    pub records_wrong: u64,
    /// Bytes of blocks allocated to the store when it was reopened.
    pub store_bytes: u64,
    /// Opening the same store again after a clean close.
    pub reopen_clean_ms: f64,
    /// From the call that opens the store until reads came at 90 % of the rate that they had before, in any tenth of a second; none also where they did not in the time that was given.
    #[serde(default)]
    pub to_90_percent_ms: Option<f64>,
    /// Reads per second before the store was left.
    #[serde(default)]
    pub reads_before_ops_per_s: Option<f64>,
    /// Bytes that the block device delivered from the call that opens the store until the first value was read.
    #[serde(default)]
    pub device_bytes_read: Option<u64>,
    /// Bytes that were written since the load, which a log has to give back: key and value bytes of acknowledged writes.
    #[serde(default)]
    pub written_bytes: Option<u64>,
    /// Share of the store's bytes that were in memory when it was reopened, where that was looked at.
    #[serde(default)]
    pub resident_share_before: Option<f64>,
}
