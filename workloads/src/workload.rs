//! A workload, resolved: a spec and a seed turned into keys, values and streams.

use std::sync::Arc;

use crate::chooser::Chooser;
use crate::digest::digest_streams;
use crate::error::{Error, Result, ValueFault};
use crate::keys::KeyCodec;
use crate::lengths::Lengths;
use crate::loader::Loader;
use crate::mix::Mix;
use crate::series::SeriesCodec;
use crate::skew::Skew;
use crate::spec::{DataSpec, WorkloadSpec};
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
    pub(crate) write_all_fields: bool,
}

#[derive(Debug)]
pub(crate) struct SeriesData {
    pub(crate) codec: SeriesCodec,
    pub(crate) window_points: Lengths,
    pub(crate) window_recent_share: f64,
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
        let data = match &spec.data {
            DataSpec::Ycsb(ycsb) => Data::Ycsb(YcsbData {
                keys: KeyCodec::new(&ycsb.key, spec.records),
                values: ValueCodec::new(ycsb, seed),
                chooser: Chooser::new(&spec, seed),
                scan_length: Lengths::new(spec.scan_length),
                write_all_fields: ycsb.write_all_fields,
            }),
            DataSpec::TimeSeries(series) => Data::Series(SeriesData {
                codec: SeriesCodec::new(series, spec.records, seed),
                window_points: Lengths::new(series.window_points),
                window_recent_share: series.window_recent_share,
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

    /// The operations of one logical stream.
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
    /// digest issued the same operations.
    pub fn digest(&self, operations_per_stream: u64) -> String {
        digest_streams(self, operations_per_stream)
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
