//! The workloads that need no file.

use crate::operation::OperationKind::{
    self, Insert, Latest, Read, ReadModifyWrite, Scan, Update, Window,
};
use crate::spec::{
    DataSpec, KeySpec, LengthDistribution, RequestDistribution, SeriesSpec, ValueSpec,
    WorkloadSpec, YcsbSpec,
};

/// Logical streams of a workload that does not say otherwise.
pub(crate) const STREAMS: u32 = 64;
const RECORDS: u64 = 1_000_000;
const OPERATIONS: u64 = 1_000_000;
const VALUE_BYTES: u64 = 1_000;
/// Half of the bytes are random.
pub(crate) const COMPRESSION_RATIO: f64 = 2.0;

impl WorkloadSpec {
    /// The built-in workload of this name.
    pub fn builtin(name: &str) -> Option<Self> {
        Self::builtins().into_iter().find(|spec| spec.name == name)
    }

    /// All built-in workloads: `ycsb-a` to `ycsb-f`, with opaque values of 1,000 bytes, and
    /// `ts-mixed`; each of 1,000,000 records and as many operations.
    pub fn builtins() -> Vec<Self> {
        let zipfian = RequestDistribution::Zipfian;
        vec![
            ycsb(
                "ycsb-a",
                "Half reads, half updates: a session store.",
                &[(Read, 0.5), (Update, 0.5)],
                zipfian.clone(),
            ),
            ycsb(
                "ycsb-b",
                "19 reads to each update: photo tagging.",
                &[(Read, 0.95), (Update, 0.05)],
                zipfian.clone(),
            ),
            ycsb(
                "ycsb-c",
                "Reads only: a cache of user profiles.",
                &[(Read, 1.0)],
                zipfian.clone(),
            ),
            ycsb(
                "ycsb-d",
                "19 reads to each insert, the newest records read most: status updates.",
                &[(Read, 0.95), (Insert, 0.05)],
                RequestDistribution::Latest,
            ),
            ycsb(
                "ycsb-e",
                "19 scans of 1 to 100 records to each insert: threaded conversations.",
                &[(Scan, 0.95), (Insert, 0.05)],
                zipfian.clone(),
            ),
            ycsb(
                "ycsb-f",
                "Half reads, half read-modify-writes: records that users edit.",
                &[(Read, 0.5), (ReadModifyWrite, 0.5)],
                zipfian,
            ),
            ts_mixed(),
        ]
    }
}

fn ycsb(
    name: &str,
    description: &str,
    mix: &[(OperationKind, f64)],
    request_distribution: RequestDistribution,
) -> WorkloadSpec {
    WorkloadSpec {
        name: name.into(),
        description: description.into(),
        records: RECORDS,
        operations: OPERATIONS,
        streams: STREAMS,
        data: DataSpec::Ycsb(YcsbSpec {
            key: KeySpec::default(),
            value: ValueSpec::Blob { bytes: VALUE_BYTES },
            compression_ratio: COMPRESSION_RATIO,
            write_all_fields: false,
        }),
        mix: mix.to_vec(),
        request_distribution,
        scan_length: LengthDistribution::Uniform { min: 1, max: 100 },
    }
}

fn ts_mixed() -> WorkloadSpec {
    WorkloadSpec {
        name: "ts-mixed".into(),
        description: "Ordered ingest over 1,000 series with 3 % late points, reads of the latest \
                      value and of windows of one series."
            .into(),
        records: RECORDS,
        operations: OPERATIONS,
        streams: STREAMS,
        data: DataSpec::TimeSeries(SeriesSpec {
            series: 1_000,
            start_ms: 1_700_000_000_000,
            interval_ms: 10_000,
            value_bytes: 16,
            late_share: 0.03,
            late_steps_max: 20,
            window_points: LengthDistribution::Uniform { min: 10, max: 200 },
            window_recent_share: 0.8,
        }),
        mix: vec![(Insert, 0.60), (Latest, 0.25), (Window, 0.15)],
        request_distribution: RequestDistribution::Uniform,
        scan_length: LengthDistribution::Constant { value: 1 },
    }
}
