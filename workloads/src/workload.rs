//! A workload, resolved: a spec and a seed turned into keys, values and streams.

use std::sync::Arc;
use std::time::Duration;

use crate::chooser::Chooser;
use crate::digest::digest_streams;
use crate::error::{Error, Result, ValueFault};
use crate::keys::KeyCodec;
use crate::lengths::Lengths;
use crate::loader::Loader;
use crate::mix::Mix;
use crate::operation::OperationKind;
use crate::series::SeriesCodec;
use crate::shared_counter::SharedCounter;
use crate::skew::Skew;
use crate::spec::{DataSpec, InsertCounter, WorkloadSpec};
use crate::stream::OperationStream;
use crate::values::{Stamp, ValueCodec};

/// A workload, ready to load and to run. Cloning is cheap; any number of threads may share it.
#[derive(Debug, Clone)]
pub struct Workload {
    resolved: Arc<Resolved>,
    seed: u64,
}

/// What all streams of a workload share.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) spec: WorkloadSpec,
    pub(crate) mix: Mix,
    pub(crate) data: Data,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a workload has one of it, behind a pointer already")]
pub(crate) enum Data {
    Ycsb(YcsbData),
    Series(SeriesData),
}

#[derive(Debug)]
pub(crate) struct YcsbData {
    pub(crate) keys: KeyCodec,
    pub(crate) values: ValueCodec,
    pub(crate) chooser: Chooser,
    pub(crate) scan_length: Lengths,
    pub(crate) multi_get_keys: Lengths,
    pub(crate) write_all_fields: bool,
    /// How long records live that are inserted with expiry.
    pub(crate) ttl: Duration,
    /// Whether any are.
    pub(crate) expires: bool,
    /// Where all streams take the numbers of their inserts from; none: each has its own share.
    pub(crate) shared_counter: Option<Arc<SharedCounter>>,
}

#[derive(Debug)]
pub(crate) struct SeriesData {
    pub(crate) codec: SeriesCodec,
    pub(crate) window_points: Lengths,
    pub(crate) window_recent_share: f64,
    /// Points that a range delete leaves of each series; `None` without range deletes.
    pub(crate) retention_points: Option<u64>,
}

impl Workload {
    /// Resolves a spec. Everything random follows from `seed`. Takes a few milliseconds at most.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] as [`WorkloadSpec::validate`] gives it.
    pub fn new(spec: WorkloadSpec, seed: u64) -> Result<Self> {
        spec.validate()?;
        let mix = Mix::new(&spec.normalised_mix()).ok_or_else(|| Error::Invalid {
            workload: spec.name.clone(),
            field: "mix",
            reason: "no kind of operation has a weight above 0".into(),
        })?;
        let issues = |kind| spec.operation_kinds().contains(&kind);
        let data = match &spec.data {
            DataSpec::Ycsb(ycsb) => Data::Ycsb(YcsbData {
                keys: KeyCodec::new(&ycsb.key, spec.records),
                values: ValueCodec::new(ycsb, seed),
                chooser: Chooser::new(&spec, seed),
                scan_length: Lengths::new(spec.scan_length),
                multi_get_keys: Lengths::new(spec.multi_get_keys),
                write_all_fields: ycsb.write_all_fields,
                ttl: Duration::from_millis(spec.ttl_ms),
                expires: issues(OperationKind::InsertExpiring),
                shared_counter: (spec.insert_counter == InsertCounter::Shared)
                    .then(|| Arc::new(SharedCounter::new(spec.records))),
            }),
            DataSpec::TimeSeries(series) => Data::Series(SeriesData {
                codec: SeriesCodec::new(series, spec.records, seed),
                window_points: Lengths::new(series.window_points),
                window_recent_share: series.window_recent_share,
                retention_points: issues(OperationKind::DeleteRange)
                    .then(|| series.retention_points(spec.records)),
            }),
        };
        Ok(Self { resolved: Arc::new(Resolved { spec, mix, data }), seed })
    }

    /// What it was made from.
    pub fn spec(&self) -> &WorkloadSpec {
        &self.resolved.spec
    }

    /// What it was seeded with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The records to load, as the `part`-th of `parts` loaders gives them: record numbers `part`,
    /// `part` + `parts`, … All parts together give each record once.
    ///
    /// # Panics
    ///
    /// When `part` is not below `parts`.
    pub fn loader(&self, part: u32, parts: u32) -> Loader {
        assert!(part < parts, "part {part} of {parts}");
        Loader::new(self.clone(), part, parts)
    }

    /// The operations of one logical stream. With [`InsertCounter::Shared`] all streams of this workload
    /// and its clones take from one counter; make the workload anew for another run.
    ///
    /// # Panics
    ///
    /// When `index` is not below the number of streams.
    pub fn stream(&self, index: u32) -> OperationStream {
        let streams = self.spec().streams;
        assert!(index < streams, "stream {index} of {streams}");
        OperationStream::new(Arc::clone(&self.resolved), self.seed, index)
    }

    /// How many records are loaded.
    pub fn record_count(&self) -> u64 {
        self.spec().records
    }

    /// Puts the key of a record, loaded or inserted, into `key`.
    pub fn key_of(&self, record: u64, key: &mut Vec<u8>) {
        key.clear();
        match &self.resolved.data {
            Data::Ycsb(data) => {
                let mut buffer = data.keys.buffer();
                data.keys.write(data.keys.number_of(record), &mut buffer);
                key.extend_from_slice(buffer.as_slice());
            }
            Data::Series(data) => {
                key.extend_from_slice(&data.codec.key_of(data.codec.point_of(record)));
            }
        }
    }

    /// Puts into `key` the absent key beside a record: one that no record has, loaded or inserted, and that
    /// lies among theirs. `false`, and `key` is empty, for time series, which have none.
    pub fn absent_key_of(&self, record: u64, key: &mut Vec<u8>) -> bool {
        key.clear();
        let Data::Ycsb(data) = &self.resolved.data else { return false };
        let mut buffer = data.keys.buffer();
        data.keys.write_absent(record, &mut buffer);
        key.extend_from_slice(buffer.as_slice());
        true
    }

    /// Puts into `value` what a writer of that version of the record writes: version 0 is what is
    /// loaded or inserted. Values too short to hold a version ([`Stamp::version`]) are the same in all.
    pub fn value_of(&self, record: u64, version: u64, value: &mut Vec<u8>) {
        match &self.resolved.data {
            Data::Ycsb(data) => {
                data.values.write(record, data.keys.number_of(record), version, value);
            }
            Data::Series(data) => {
                data.codec.write_value(data.codec.point_of(record), version, value);
            }
        }
    }

    /// Checks that a value belongs to the key it was found under and that every byte of it is what
    /// its writer wrote. About as expensive as writing the value.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check_value(&self, key: &[u8], value: &[u8]) -> Result<Stamp, ValueFault> {
        match &self.resolved.data {
            Data::Ycsb(data) => data.values.check(&data.keys, key, value),
            Data::Series(data) => data.codec.check(key, value),
        }
    }

    /// A hash over the first `operations_per_stream` operations of every stream, each acknowledged:
    /// kinds, keys, values, changed fields, lengths of scans. 32 hex digits. Two runs with the same
    /// digest issued the same operations. `None` with [`InsertCounter::Shared`], where the operations
    /// depend on timing.
    pub fn digest(&self, operations_per_stream: u64) -> Option<String> {
        digest_streams(self, operations_per_stream)
    }

    /// The stream that may remove this loaded record and can tell whether it has
    /// ([`OperationStream::fate`]); `None` when nobody removes it.
    pub fn owner_of_loaded(&self, record: u64) -> Option<u32> {
        let streams = u64::from(self.spec().streams);
        match &self.resolved.data {
            Data::Series(data) => {
                let series = u64::from(data.codec.point_of(record).series);
                data.retention_points.map(|_| (series % streams) as u32)
            }
            Data::Ycsb(_) => None,
        }
    }

    /// How unevenly the loaded records are picked before anything is inserted. Takes less than
    /// 100 ms.
    pub fn effective_skew(&self) -> Skew {
        Skew::of(self.spec())
    }

    pub(crate) fn data(&self) -> &Data {
        &self.resolved.data
    }
}
