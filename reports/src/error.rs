//! What can go wrong between a result file and a report.

use std::path::PathBuf;

/// The crate's result type.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong between a result file and a report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, for instance `read`.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is JSON of another format or version, or no JSON object at all.
    #[error("{}: the schema is {found}; expected \"{expected}\", as `kvdyno run` writes it", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The schema that it names, in quotes, or `missing`.
        found: String,
        /// The schema that this build reads.
        expected: &'static str,
    },
    /// The file is damaged, cut off, or does not fit its schema.
    #[error("{}:{line}:{column}: {reason}; expected a file of schema \"{expected}\"", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        reason: String,
        /// The schema that this build reads.
        expected: &'static str,
    },
    /// The file fits its schema, but holds a figure that no run gives.
    #[error("{}: {field}: {reason}; nothing is made of a file whose figures cannot be", path.display())]
    Impossible {
        /// The file.
        path: PathBuf,
        /// Where in the file, for instance `cells[3].measurement.duration_s`.
        field: String,
        /// Why it cannot be.
        reason: String,
    },
    /// A latency histogram cannot be decoded.
    #[error("not a base64 HdrHistogram V2: {reason}")]
    Histogram {
        /// What is wrong with it.
        reason: String,
    },
    /// A chart cannot be drawn or encoded.
    #[error("cannot draw the chart {name}: {reason}")]
    Chart {
        /// Name of the chart.
        name: String,
        /// The drawing library's reason.
        reason: String,
    },
    /// A report over no result at all was asked for.
    #[error("a report needs at least one result file")]
    NoResults,
    /// Results that do not belong together.
    #[error(
        "cannot merge {runs}: {reason}; `kvdyno report` shows results side by side without merging them"
    )]
    NotMergeable {
        /// Ids of the two runs.
        runs: String,
        /// What differs, or cannot be added.
        reason: String,
    },
    /// Base and head have no cell in common.
    #[error(
        "not comparable: base and head share no cell (engine, workload and phase); base has {base}, head has {head}"
    )]
    NothingShared {
        /// What base holds.
        base: String,
        /// What head holds.
        head: String,
    },
    /// The same workload name stands for different operations.
    #[error(
        "not comparable: workload {workload} differs between base (spec digest {base}) and head ({head}); \
         run both with the same records, operations, sizes and seed"
    )]
    SpecDiffers {
        /// The workload's name.
        workload: String,
        /// Digest in base.
        base: String,
        /// Digest in head.
        head: String,
    },
    /// The same workload was run with other operations: another seed, or another generator.
    #[error(
        "not comparable: workload {workload} ran other operations in base ({base}) than in head ({head}); run both with the same seed"
    )]
    OperationsDiffer {
        /// The workload's name.
        workload: String,
        /// Digest and seed in base.
        base: String,
        /// Digest and seed in head.
        head: String,
    },
    /// The same engines and workloads ran under different conditions.
    #[error("not comparable: {cell} has {what} {base} in base and {head} in head; run both alike")]
    ConditionsDiffer {
        /// Engine, workload and phase.
        cell: String,
        /// What differs, for instance `durability`.
        what: &'static str,
        /// Its value in base.
        base: String,
        /// Its value in head.
        head: String,
    },
}

impl Error {
    /// For `map_err` on an operation of the file system.
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }
}
