//! What a run measured on: the machine, the harness itself, the engines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
