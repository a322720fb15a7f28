//! Two results side by side: what changed, by how much, and whether beyond a threshold.
//!
//! This is the first, simple form: medians over trials and one threshold for all metrics. It tells
//! differences, not their significance; with few trials or a busy machine it raises false alarms.
//!
//! 1. Workloads that both results know must have the same spec digest, and the same digest of their operations.
//! 2. Cells are matched by their whole identity ([`CellKey`]).
//! 3. For each pair, each metric that both sides have gives a [`Change`].
//! 4. A cell of head whose data is wrong, or that no longer runs where it ran in base, is a
//!    [`BrokenCell`] and counts as a regression whatever the threshold.
//!
//! The engine `noop` is the harness's own cost and takes no part.

mod markdown;
mod pair;

use crate::error::Result;
use crate::identity::CellKey;
use crate::result::ResultFile;

pub(crate) use markdown::{escape, markdown, table};

/// How to compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompareOptions {
    /// A change for the worse beyond this is a regression, in per cent of base.
    pub threshold_percent: f64,
    /// Latencies per operation kind as well, where a workload has several.
    pub per_operation: bool,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self { threshold_percent: 10.0, per_operation: true }
    }
}

/// A figure that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Metric {
    /// Operations acknowledged per second.
    Throughput,
    /// Median service time.
    ServiceP50,
    /// 99th percentile of the service time.
    ServiceP99,
    /// Median response time, under an offered rate.
    ResponseP50,
    /// 99th percentile of the response time.
    ResponseP99,
    /// The highest rate that holds the bound that was looked for.
    HighestRate,
    /// Bytes written ÷ user bytes, after settling.
    WriteAmplification,
    /// Allocated bytes ÷ live bytes, after settling.
    SpaceAmplification,
    /// Anonymous memory above that of the engine that does nothing.
    Memory,
    /// Processor time per operation.
    CpuPerOperation,
    /// Time to open the store after `kill -9`.
    RecoveryOpen,
    /// Time from opening until reads came at 90 % of their rate before.
    RecoveryTo90Percent,
}

impl Metric {
    /// The metric's name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::ServiceP50 => "p50",
            Self::ServiceP99 => "p99",
            Self::ResponseP50 => "response p50",
            Self::ResponseP99 => "response p99",
            Self::HighestRate => "highest rate",
            Self::WriteAmplification => "write amplification",
            Self::SpaceAmplification => "space amplification",
            Self::Memory => "memory",
            Self::CpuPerOperation => "CPU per operation",
            Self::RecoveryOpen => "recovery",
            Self::RecoveryTo90Percent => "recovery to 90 %",
        }
    }

    /// Whether more of it is better.
    pub fn higher_is_better(self) -> bool {
        matches!(self, Self::Throughput | Self::HighestRate)
    }

    /// A value of this metric with its unit.
    pub fn format(self, value: f64) -> String {
        match self {
            Self::Throughput | Self::HighestRate => format!("{}/s", crate::format::rate(value)),
            Self::ServiceP50 | Self::ServiceP99 | Self::ResponseP50 | Self::ResponseP99 => {
                crate::format::latency(value)
            }
            Self::WriteAmplification | Self::SpaceAmplification => crate::format::ratio(value),
            Self::Memory => crate::format::bytes(value),
            Self::CpuPerOperation => crate::format::microseconds(value),
            Self::RecoveryOpen | Self::RecoveryTo90Percent => crate::format::milliseconds(value),
        }
    }
}

/// Which way a figure went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// For the better.
    Better,
    /// For the worse.
    Worse,
    /// By less than can be printed.
    Same,
}

/// One metric of one cell in base and in head.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which cell.
    pub cell: CellKey,
    /// Which figure.
    pub metric: Metric,
    /// Operation kind, or `all`.
    pub operation: String,
    /// Median over base's trials.
    pub base: f64,
    /// Median over head's trials.
    pub head: f64,
    /// Trials in base.
    pub base_trials: usize,
    /// Trials in head.
    pub head_trials: usize,
    /// Head against base in per cent; none where base is zero.
    pub change_percent: Option<f64>,
    /// Which way it went.
    pub direction: Direction,
    /// Whether the change, for better or worse, is larger than the threshold.
    pub beyond_threshold: bool,
}

impl Change {
    /// For the worse and beyond the threshold.
    pub fn is_regression(&self) -> bool {
        self.direction == Direction::Worse && self.beyond_threshold
    }
}

/// A cell of head that counts as a regression without any figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenCell {
    /// Which cell.
    pub cell: CellKey,
    /// What happened to it in head, in words: `wrong data`, `lost writes`, `failed`, ….
    pub outcome: String,
    /// The reason that head's result gives.
    pub reason: Option<String>,
}

/// What changed between two results.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The options that it was made with.
    pub options: CompareOptions,
    /// Id of base's run.
    pub base: String,
    /// Id of head's run.
    pub head: String,
    /// Every metric that both have, in the order of workload, phase and engine.
    pub changes: Vec<Change>,
    /// Cells that head broke.
    pub broken: Vec<BrokenCell>,
    /// Cells that only base has.
    pub only_in_base: Vec<CellKey>,
    /// Cells that only head has.
    pub only_in_head: Vec<CellKey>,
    /// What a reader must know: other machine, other build, other seed, few trials.
    pub notes: Vec<String>,
}

impl Comparison {
    /// Whether anything got worse beyond the threshold, broke, or lost data.
    pub fn regressed(&self) -> bool {
        !self.broken.is_empty() || self.changes.iter().any(Change::is_regression)
    }

    /// A table for the terminal: every metric over all operations, and those of single operation kinds
    /// that changed beyond the threshold.
    pub fn to_table(&self) -> String {
        table(self)
    }

    /// Markdown for a pull request: regressions first, everything else folded away.
    pub fn to_markdown(&self) -> String {
        markdown(self)
    }
}

/// Compares two results.
///
/// # Errors
/// [`Error::SpecDiffers`](crate::Error::SpecDiffers), [`Error::ConditionsDiffer`](crate::Error::ConditionsDiffer) and
/// [`Error::NothingShared`](crate::Error::NothingShared) where the two are not comparable.
pub fn compare(
    base: &ResultFile,
    head: &ResultFile,
    options: &CompareOptions,
) -> Result<Comparison> {
    pair::compare(base, head, options)
}
