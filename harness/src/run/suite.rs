//! The built-in suites: engines × workloads with sizes that answer one question.

use std::time::Duration;

use crate::cell::job::Limit;

/// Name under which the recovery experiment is asked for among workloads.
pub(crate) const RECOVERY: &str = "recovery";

/// A named set of engines and workloads.
pub(crate) struct Suite {
    /// Name on the command line.
    pub(crate) name: &'static str,
    /// One sentence for people.
    pub(crate) description: &'static str,
    /// Engines; those that are left out of a build are left out of the run, too.
    pub(crate) engines: &'static [&'static str],
    /// Workloads, and [`RECOVERY`].
    pub(crate) workloads: &'static [&'static str],
    /// Records to load; none: as the workload says.
    pub(crate) records: Option<u64>,
    /// Bytes of a value; none: as the workload says.
    pub(crate) value_bytes: Option<u64>,
    /// Length of the measured phase; none: as many operations as the workload says.
    pub(crate) limit: Option<Limit>,
    /// What goes before it; none: a tenth of it.
    pub(crate) warm_up: Option<Limit>,
    /// Trials of each cell.
    pub(crate) trials: u32,
}

/// What most people compare.
pub(crate) const DEFAULT_ENGINES: &[&str] = &["bitcask", "lsm", "fjall", "lmdb"];

/// All suites.
pub(crate) const SUITES: &[Suite] = &[
    Suite {
        name: "quick",
        description: "the first look: point reads, updates, scans, time series and recovery, 1 M records of 100 bytes, about three minutes",
        engines: DEFAULT_ENGINES,
        workloads: &["ycsb-a", "ycsb-c", "ycsb-e", "ts-mixed", RECOVERY],
        records: Some(1_000_000),
        value_bytes: Some(100),
        limit: Some(Limit::Duration(Duration::from_secs(3))),
        warm_up: Some(Limit::Duration(Duration::from_millis(500))),
        trials: 1,
    },
    Suite {
        name: "ycsb",
        description: "YCSB A to F as published: 1 M records of 1,000 bytes",
        engines: DEFAULT_ENGINES,
        workloads: &["ycsb-a", "ycsb-b", "ycsb-c", "ycsb-d", "ycsb-e", "ycsb-f"],
        records: None,
        value_bytes: None,
        limit: None,
        warm_up: None,
        trials: 3,
    },
    Suite {
        name: "timeseries",
        description: "ordered ingest with late points, latest values and time windows",
        engines: DEFAULT_ENGINES,
        workloads: &["ts-mixed"],
        records: None,
        value_bytes: None,
        limit: None,
        warm_up: None,
        trials: 3,
    },
    Suite {
        name: "bitcask-vs-lsm",
        description: "the founding comparison: hash index against tree, on everything that they can do",
        engines: &["bitcask", "lsm"],
        workloads: &[
            "ycsb-a", "ycsb-b", "ycsb-c", "ycsb-d", "ycsb-e", "ycsb-f", "ts-mixed", RECOVERY,
        ],
        records: Some(1_000_000),
        value_bytes: Some(100),
        limit: None,
        warm_up: None,
        trials: 3,
    },
    Suite {
        name: "full",
        description: "every engine of the build on every built-in workload, three trials; more than an hour",
        engines: &[],
        workloads: &[
            "ycsb-a", "ycsb-b", "ycsb-c", "ycsb-d", "ycsb-e", "ycsb-f", "ts-mixed", RECOVERY,
        ],
        records: None,
        value_bytes: None,
        limit: None,
        warm_up: None,
        trials: 3,
    },
];

/// The suite of that name.
pub(crate) fn find(name: &str) -> Option<&'static Suite> {
    SUITES.iter().find(|suite| suite.name == name)
}
