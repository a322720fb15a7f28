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

mod environment;
mod load;
mod measurement;
mod recovery;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use environment::*;
pub use load::*;
pub use measurement::*;
pub use recovery::*;

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
    /// What was done to the store, in the cells of a recovery study; none in the phase `recovery` of suites (killed while written to, warm).
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
