//! The workloads that need no file.

use crate::operation::OperationKind::{
    self, Delete, DeleteRange, Insert, InsertExpiring, Latest, MultiGet, Read, ReadAbsent,
    ReadModifyWrite, Scan, ScanReverse, Update, Window,
};
use crate::spec::{
    DataSpec, InsertCounter, KeySpec, LengthDistribution, MULTI_GET_KEYS, RequestDistribution,
    SeriesSpec, ValueSpec, WorkloadSpec, YcsbSpec,
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

    /// All built-in workloads: `ycsb-a` to `ycsb-f`, `scan-reverse`, `multi-get`, the sessions, `uniform`, `overwrite` and
    /// `absent` with opaque values of 1,000 bytes, and time series; each of 1,000,000 records and as many operations.
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
                zipfian.clone(),
            ),
            ts_mixed(),
            ycsb(
                "scan-reverse",
                "ycsb-e backward: 19 scans of 1 to 100 records against their order to each insert: the newest \
                 messages first.",
                &[(ScanReverse, 0.95), (Insert, 0.05)],
                zipfian.clone(),
            ),
            ycsb(
                "multi-get",
                "Lookups of ten keys at a time, one single update to each 19: a page put together \
                 from many objects.",
                &[(MultiGet, 0.95), (Update, 0.05)],
                zipfian.clone(),
            ),
            session_churn(),
            session_expiry(),
            ts_retention(),
            ycsb(
                "uniform",
                "Reads only, of all records alike: what a get costs where no cache helps.",
                &[(Read, 1.0)],
                RequestDistribution::Uniform,
            ),
            ycsb(
                "overwrite",
                "Updates only, without a look at what was there: counters and states that are sent in.",
                &[(Update, 1.0)],
                zipfian,
            ),
            ycsb(
                "absent",
                "Reads of keys that are not there, anywhere between those that are: a check before a \
                 first write.",
                &[(ReadAbsent, 1.0)],
                RequestDistribution::Uniform,
            ),
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
        multi_get_keys: MULTI_GET_KEYS,
        kept_inserts_share: 0.0,
        ttl_ms: 0,
        insert_counter: InsertCounter::PerStream,
    }
}

/// Sessions end about as often as they begin, so that the store keeps its size.
fn session_churn() -> WorkloadSpec {
    WorkloadSpec {
        kept_inserts_share: 0.01,
        ..ycsb(
            "session-churn",
            "Sessions that begin and end: 6 reads to 2 inserts and 2 deletes of the oldest, the \
             newest read most; steady size.",
            &[(Read, 0.6), (Insert, 0.2), (Delete, 0.2)],
            RequestDistribution::Latest,
        )
    }
}

fn session_expiry() -> WorkloadSpec {
    WorkloadSpec {
        // Short enough that sessions expire within a measured phase.
        ttl_ms: 10_000,
        ..ycsb(
            "session-expiry",
            "Long-lived sessions that are read, and one in ten operations begins one that expires \
             after 10 seconds.",
            &[(Read, 0.9), (InsertExpiring, 0.1)],
            RequestDistribution::Zipfian,
        )
    }
}

/// `ts-mixed` with one range delete to about 200 ingested points.
fn ts_retention() -> WorkloadSpec {
    WorkloadSpec {
        name: "ts-retention".into(),
        description:
            "As ts-mixed, and the oldest points of one series after another are dropped by \
                      range deletes; steady size."
                .into(),
        mix: vec![(Insert, 0.60), (Latest, 0.25), (Window, 0.147), (DeleteRange, 0.003)],
        ..ts_mixed()
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
            retention_points: None,
        }),
        mix: vec![(Insert, 0.60), (Latest, 0.25), (Window, 0.15)],
        request_distribution: RequestDistribution::Uniform,
        scan_length: LengthDistribution::Constant { value: 1 },
        multi_get_keys: MULTI_GET_KEYS,
        kept_inserts_share: 0.0,
        ttl_ms: 0,
        insert_counter: InsertCounter::PerStream,
    }
}
