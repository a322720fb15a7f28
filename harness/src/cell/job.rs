//! What parent and child say to each other: one job goes in, messages come out, each a JSON line.

use std::path::PathBuf;
use std::time::Duration;

use kvdyno_engines::Durability;
use kvdyno_reports::{CellStatus, Measurement, PageCache, Recovery, RecoveryScenario};
use kvdyno_workloads::WorkloadSpec;
use serde::{Deserialize, Serialize};

use super::pacing::Pacing;
use crate::options::Options;

/// Everything that a child needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Process id of the parent; a child that finds another one is an orphan and ends.
    pub(crate) parent: u32,
    /// Name of the engine, without a variant: variants are options by now, and those of a suite file are known to the parent alone.
    pub(crate) engine: String,
    /// Its options.
    pub(crate) options: Options,
    /// Durability class.
    #[serde(with = "durability_name")]
    pub(crate) durability: Durability,
    /// Client threads.
    pub(crate) threads: u32,
    /// Seed of the run.
    pub(crate) seed: u64,
    /// The workload.
    pub(crate) spec: WorkloadSpec,
    /// Folder of the store.
    pub(crate) store: PathBuf,
    /// Key and value bytes of the records that the store holds, or after a load will hold.
    pub(crate) loaded_bytes: u64,
    /// Whether values are checked as they are read.
    pub(crate) verify: Verify,
    /// Whether the store's pages are in memory when a measured phase begins.
    pub(crate) page_cache: PageCache,
    /// The most memory that the child may use, page cache included; the parent has set it up.
    pub(crate) memory_limit_bytes: Option<u64>,
    /// What to do.
    pub(crate) task: Task,
}

/// How reads are checked while they are timed, outside the timed section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verify {
    /// Not at all; the check after the phase still takes place.
    None,
    /// One read or scan in 16 (each value must belong to its key and be whole), and each window and latest value (exactly the points that were written).
    Sample,
    /// Every read, scan, window and latest value.
    Content,
    /// As content; and no read may return less than what was acknowledged last before it began.
    Versions,
}

impl Verify {
    /// The name used in result files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sample => "sample",
            Self::Content => "content",
            Self::Versions => "versions",
        }
    }
}

/// What a child does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// Write the records into an empty store.
    Load,
    /// Run the workload's operations.
    Run {
        /// When it ends.
        limit: Limit,
        /// What goes before it, unmeasured.
        warm_up: WarmUp,
        /// How operations are offered.
        pacing: Pacing,
    },
    /// Overwrite records, noting each acknowledgement in the file.
    Overwrite {
        /// Shared memory for the acknowledgements.
        acknowledgements: PathBuf,
        /// Writes over all threads; then the file says so.
        writes: u64,
        /// Whether the rate of reads is taken then.
        reads: bool,
        /// Close the store after that; otherwise write on until killed.
        close: bool,
    },
    /// Reopen the store that an overwriting child left, and look for every acknowledged write.
    Reopen {
        /// Shared memory with the acknowledgements.
        acknowledgements: PathBuf,
        /// How long the child had written.
        written_s: f64,
        /// How it left the store, and whether its pages are to be dropped.
        scenario: RecoveryScenario,
        /// How long reads may take to come at the rate that they had before, where it was taken.
        reads_wait: Duration,
    },
    /// Put records into an empty store on one thread, each between two system calls that a tracer recognises.
    MarkedPuts {
        /// How many.
        puts: u64,
    },
}

/// When a phase ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// After so many operations over all streams.
    Operations(u64),
    /// After so much time.
    Duration(Duration),
}

impl Limit {
    /// Whether there is nothing to do.
    pub(crate) fn is_zero(self) -> bool {
        matches!(self, Self::Operations(0) | Self::Duration(Duration::ZERO))
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Operations(operations) => write!(f, "{operations} operations"),
            Self::Duration(duration) => write!(f, "{} s", duration.as_secs_f64()),
        }
    }
}

/// What goes before a measured phase.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WarmUp {
    /// So much; possibly nothing.
    Limit(Limit),
    /// Until throughput is steady, at most so long.
    Steady(Duration),
}

/// What a child tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Message {
    /// It is alive, and this far.
    Progress {
        /// What it is doing: `loading`, `warming up`, `measuring`, `settling`, `checking`, …
        stage: String,
        /// Operations in the last second, where it measures.
        operations_per_s: Option<f64>,
        /// Part of the stage that is done, from 0 to 1, where that is known.
        done: Option<f64>,
    },
    /// The cell has ended; the last message.
    Ended(Box<Outcome>),
}

/// How a cell ended, with its figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// How it ended.
    pub(crate) status: CellStatus,
    /// Why it did not end well.
    pub(crate) error: Option<String>,
    /// Figures of a load or run.
    pub(crate) measurement: Option<Measurement>,
    /// Figures of a recovery.
    pub(crate) recovery: Option<Recovery>,
    /// Key and value bytes of all records, after a load.
    pub(crate) loaded_bytes: Option<u64>,
}

impl Outcome {
    /// A good end without figures.
    pub(crate) fn well() -> Self {
        Self {
            status: CellStatus::Ok,
            error: None,
            measurement: None,
            recovery: None,
            loaded_bytes: None,
        }
    }

    /// An end without figures.
    pub(crate) fn without_figures(status: CellStatus, error: impl Into<String>) -> Self {
        Self {
            status,
            error: Some(error.into()),
            measurement: None,
            recovery: None,
            loaded_bytes: None,
        }
    }
}

/// A durability class by its name.
pub(crate) mod durability_name {
    use kvdyno_engines::Durability;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's `with` passes a reference")]
    pub(crate) fn serialize<S: Serializer>(
        durability: &Durability,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(durability.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Durability, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = Durability::ALL.into_iter().find(|durability| durability.name() == name);
        found.ok_or_else(|| D::Error::custom(format!("unknown durability class {name}")))
    }
}
