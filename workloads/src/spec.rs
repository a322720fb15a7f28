//! What a workload is, declared: plain data that a file, a suite or a program fills in.
//!
//! A [`WorkloadSpec`] decides everything but the seed: the records that are loaded, the operations
//! that are drawn, and how they are spread. [`crate::Workload`] resolves it into keys and bytes.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::keys::KeyCodec;
use crate::operation::OperationKind;
use crate::series::KEY_BYTES as SERIES_KEY_BYTES;

/// A workload, declared. Build one with [`builtin`](Self::builtin),
/// [`from_property_file`](Self::from_property_file), or by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSpec {
    /// The name it goes by: `ycsb-a`, `workloada`, `ts-mixed`.
    pub name: String,
    /// One sentence for people.
    pub description: String,
    /// Records that are loaded before the measured phase.
    pub records: u64,
    /// Operations of the measured phase, unless the run gives a duration.
    pub operations: u64,
    /// Logical streams that the operations come from, whatever the number of threads.
    pub streams: u32,
    /// Keys and values.
    pub data: DataSpec,
    /// Kinds of operation and their weights; normalised when the workload is made.
    pub mix: Vec<(OperationKind, f64)>,
    /// Which records are picked.
    pub request_distribution: RequestDistribution,
    /// How many records a scan asks for.
    pub scan_length: LengthDistribution,
    // What follows is left out of the JSON form where it is the default, so that digests of specs
    // that do without are those of before it was there.
    /// How many keys a multi-get asks for.
    #[serde(default = "default_multi_get_keys", skip_serializing_if = "is_default_multi_get_keys")]
    pub multi_get_keys: LengthDistribution,
    /// Own inserts that the streams together keep, as a share of `records`, 0 or more: a delete that
    /// would leave a stream with less than its part is turned into an insert. So a deleted record is
    /// as old as it takes to insert that many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kept_inserts_share: f64,
    /// How long records of [`OperationKind::InsertExpiring`] live, in milliseconds; 0 in specs without.
    #[serde(default, skip_serializing_if = "is_none_ms")]
    pub ttl_ms: u64,
    /// Where the numbers of inserted records come from.
    #[serde(default, skip_serializing_if = "InsertCounter::is_default")]
    pub insert_counter: InsertCounter,
}

fn default_multi_get_keys() -> LengthDistribution {
    MULTI_GET_KEYS
}

// The signatures of the three are those that serde asks for.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_default_multi_get_keys(keys: &LengthDistribution) -> bool {
    *keys == MULTI_GET_KEYS
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(share: &f64) -> bool {
    share.total_cmp(&0.0).is_eq()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none_ms(ttl_ms: &u64) -> bool {
    *ttl_ms == 0
}

/// Keys of a multi-get where a spec does not say.
pub(crate) const MULTI_GET_KEYS: LengthDistribution = LengthDistribution::Constant { value: 10 };

/// Where the numbers of inserted records come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InsertCounter {
    /// Each stream inserts into its own share of the key space and picks only among the loaded records
    /// and its own inserts: its operations depend on spec and seed alone.
    #[default]
    PerStream,
    /// All streams take the next number from one counter and pick among everything that is
    /// acknowledged, as YCSB does: `latest` is the latest of all streams. What is picked depends on
    /// timing, so that such a workload has no digest.
    Shared,
}

impl InsertCounter {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_default(&self) -> bool {
        *self == Self::PerStream
    }
}

/// Keys and values of a workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DataSpec {
    /// Records as YCSB has them.
    Ycsb(YcsbSpec),
    /// Points of many time series.
    TimeSeries(SeriesSpec),
}

/// Records as YCSB has them: a key made from a number, and an opaque value or fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct YcsbSpec {
    /// How keys are made.
    pub key: KeySpec,
    /// What a value is.
    pub value: ValueSpec,
    /// How far values compress: 2.0 means that half of the bytes are random. At least 1.
    pub compression_ratio: f64,
    /// Whether an update writes the whole value rather than one field. An opaque value is always
    /// written whole.
    pub write_all_fields: bool,
}

/// How YCSB keys are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySpec {
    /// Hashed or ordered.
    pub order: KeyOrder,
    /// Least number of digits; shorter numbers get zeros on the left.
    pub zero_padding: u32,
    /// Key number of the first loaded record.
    pub insert_start: u64,
    /// Key numbers left out between the last loaded record and the first inserted one.
    pub insert_skip: u64,
}

impl Default for KeySpec {
    fn default() -> Self {
        Self { order: KeyOrder::Hashed, zero_padding: 1, insert_start: 0, insert_skip: 0 }
    }
}

/// Order of YCSB keys relative to the order of insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOrder {
    /// The number in the key is a hash: consecutive inserts land far apart.
    Hashed,
    /// The number in the key is the key number itself.
    Ordered,
}

/// What a YCSB value is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ValueSpec {
    /// One opaque value; an update is a put.
    Blob {
        /// Its length in bytes.
        bytes: u64,
    },
    /// Fields in order in one value, each with its length before it; an update of one field is a
    /// get, a replacement and a put.
    Fields {
        /// Number of fields.
        count: u32,
        /// Length of a field in bytes, without its prefix.
        length: LengthDistribution,
    },
}

/// Points of many time series, keyed by series and then time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesSpec {
    /// Number of series; at least one for each stream.
    pub series: u32,
    /// Timestamp of the first point of each series, in milliseconds since 1970.
    pub start_ms: u64,
    /// Time between two points of a series, in milliseconds.
    pub interval_ms: u64,
    /// Length of a value in bytes: a sample, its revision and a check tag need 16.
    pub value_bytes: u32,
    /// Share of the ingested points that arrive late, 0 to 0.5.
    pub late_share: f64,
    /// The longest delay of a late point, in intervals; less than 1 / `late_share`.
    pub late_steps_max: u32,
    /// Length of a window in points.
    pub window_points: LengthDistribution,
    /// Share of the windows that end at the newest point; the others end anywhere in the series.
    pub window_recent_share: f64,
    /// How many points of a series a [`OperationKind::DeleteRange`] leaves, the newest ones: more than
    /// `late_steps_max`. Where it is absent, as many as are loaded, so that the size of the store stays
    /// about the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_points: Option<u64>,
}

impl SeriesSpec {
    /// The points that a range delete leaves of each series, when `records` points are loaded.
    pub(crate) fn retention_points(&self, records: u64) -> u64 {
        let loaded = records / u64::from(self.series.max(1));
        self.retention_points.unwrap_or(loaded).max(u64::from(self.late_steps_max) + 1)
    }
}

/// Which records the operations pick. `n` is the number of records that the stream can see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RequestDistribution {
    /// Every loaded record alike.
    Uniform,
    /// YCSB's `zipfian`: ranks of 10¹⁰ items hashed onto the records; far less skewed than its name
    /// says.
    Zipfian,
    /// A true Zipf distribution over the loaded records, scrambled by a seeded permutation.
    Zipf {
        /// Exponent, 0 or more: 0 is uniform, 0.99 is usual.
        theta: f64,
    },
    /// The newest record is the most likely, the others follow by Zipf (θ = 0.99).
    Latest,
    /// A hot set takes most of the picks; uniform in the hot set and outside of it.
    Hotspot {
        /// Share of the loaded records that is hot, 0 to 1.
        data_fraction: f64,
        /// Share of the picks that go to the hot set, 0 to 1.
        operation_fraction: f64,
    },
    /// The newest record is the most likely, the others follow exponentially.
    Exponential {
        /// Percentage of the picks that fall into the newest `fraction` of the records, between 0
        /// and 100.
        percentile: f64,
        /// That share of the records, above 0.
        fraction: f64,
    },
    /// The loaded records one after another, shared out over the streams.
    Sequential,
}

/// How a length is drawn; the bounds are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LengthDistribution {
    /// Always the same.
    Constant {
        /// The length.
        value: u64,
    },
    /// Each length from `min` to `max` alike.
    Uniform {
        /// The shortest.
        min: u64,
        /// The longest.
        max: u64,
    },
    /// `min` is the most likely, longer ones follow by Zipf (θ = 0.99).
    Zipfian {
        /// The shortest.
        min: u64,
        /// The longest.
        max: u64,
    },
}

impl LengthDistribution {
    /// The longest length that it can give.
    pub fn max(&self) -> u64 {
        match *self {
            Self::Constant { value } => value,
            Self::Uniform { max, .. } | Self::Zipfian { max, .. } => max,
        }
    }

    /// The shortest length that it can give.
    pub fn min(&self) -> u64 {
        match *self {
            Self::Constant { value } => value,
            Self::Uniform { min, .. } | Self::Zipfian { min, .. } => min,
        }
    }
}

impl WorkloadSpec {
    /// The kinds of operation that its mix can issue, in the order of [`OperationKind`]. Where there are
    /// deletes there are inserts, because a delete that finds nothing to remove is turned into one.
    pub fn operation_kinds(&self) -> Vec<OperationKind> {
        let mut kinds: Vec<_> = self.normalised_mix().into_iter().map(|(kind, _)| kind).collect();
        let deletes = |kind: &OperationKind| {
            matches!(kind, OperationKind::Delete | OperationKind::DeleteRange)
        };
        if kinds.iter().any(deletes) && !kinds.contains(&OperationKind::Insert) {
            kinds.push(OperationKind::Insert);
            kinds.sort();
        }
        kinds
    }

    /// Own inserts that each stream keeps.
    pub(crate) fn kept_inserts_per_stream(&self) -> u64 {
        let kept = (self.records as f64 * self.kept_inserts_share) as u64;
        kept / u64::from(self.streams.max(1))
    }

    /// The mix with one entry for each kind that can occur, in the order of [`OperationKind`], and
    /// weights that sum to 1.
    pub fn normalised_mix(&self) -> Vec<(OperationKind, f64)> {
        let total: f64 = self.mix.iter().map(|(_, weight)| weight).sum();
        OperationKind::ALL
            .into_iter()
            .map(|kind| {
                let of_kind = self.mix.iter().filter(|(other, _)| *other == kind);
                (kind, of_kind.map(|(_, weight)| weight).sum::<f64>() / total)
            })
            .filter(|(_, share)| *share > 0.0)
            .collect()
    }

    /// What users call the size of a value, in bytes: an opaque value's length, or the longest
    /// length of a field times their number (1,000 for YCSB's defaults, without the prefixes).
    pub fn value_bytes(&self) -> u64 {
        match &self.data {
            DataSpec::Ycsb(YcsbSpec { value: ValueSpec::Blob { bytes }, .. }) => *bytes,
            DataSpec::Ycsb(YcsbSpec { value: ValueSpec::Fields { count, length }, .. }) => {
                u64::from(*count).saturating_mul(length.max())
            }
            DataSpec::TimeSeries(series) => u64::from(series.value_bytes),
        }
    }

    /// The longest value as it is stored, in bytes, prefixes of fields included.
    pub fn value_bytes_max(&self) -> u64 {
        let prefixes = match &self.data {
            DataSpec::Ycsb(YcsbSpec { value: ValueSpec::Fields { count, .. }, .. }) => {
                u64::from(*count) * 4
            }
            _ => 0,
        };
        self.value_bytes().saturating_add(prefixes)
    }

    /// The longest key, in bytes.
    pub fn key_bytes_max(&self) -> u64 {
        match &self.data {
            DataSpec::Ycsb(ycsb) => KeyCodec::bytes_max(&ycsb.key) as u64,
            DataSpec::TimeSeries(_) => SERIES_KEY_BYTES as u64,
        }
    }

    /// Sets the size of a value as [`value_bytes`](Self::value_bytes) counts it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the value consists of fields and the size does not divide evenly by
    /// their number, or their length varies; or when the size is beyond what a workload can have.
    pub fn set_value_bytes(&mut self, bytes: u64) -> Result<(), Error> {
        let refused = |reason: String| {
            Err(Error::Invalid { workload: self.name.clone(), field: "value_bytes", reason })
        };
        if bytes > VALUE_BYTES_MAX {
            return refused(format!("{bytes} is too long: at most {VALUE_BYTES_MAX}"));
        }
        match &mut self.data {
            DataSpec::Ycsb(YcsbSpec { value: ValueSpec::Blob { bytes: old }, .. }) => *old = bytes,
            DataSpec::Ycsb(YcsbSpec { value: ValueSpec::Fields { count, length }, .. }) => {
                let LengthDistribution::Constant { value } = length else {
                    return refused(
                        "the fields of this workload vary in length: set fieldlength and \
                         minfieldlength in its file"
                            .into(),
                    );
                };
                let count = u64::from(*count).max(1);
                if !bytes.is_multiple_of(count) {
                    return refused(format!(
                        "{bytes} does not divide evenly by the {count} fields of this workload: give \
                         a multiple of {count}"
                    ));
                }
                *value = bytes / count;
            }
            DataSpec::TimeSeries(series) => series.value_bytes = bytes as u32,
        }
        Ok(())
    }
}

/// The longest value that a workload can have: 1 GiB, in bytes.
pub(crate) const VALUE_BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn builtin(name: &str) -> WorkloadSpec {
        WorkloadSpec::builtin(name).unwrap()
    }

    #[test]
    fn specs_survive_json() {
        for spec in WorkloadSpec::builtins() {
            let json = serde_json::to_string(&spec).unwrap();
            let back: WorkloadSpec = serde_json::from_str(&json).unwrap();
            assert_eq!(spec, back);
        }
    }

    #[test]
    fn value_size_of_fields_must_divide_evenly() {
        let mut spec = builtin("ycsb-a");
        let DataSpec::Ycsb(ycsb) = &mut spec.data else { panic!("ycsb-a has YCSB records") };
        let length = LengthDistribution::Constant { value: 100 };
        ycsb.value = ValueSpec::Fields { count: 10, length };
        assert_eq!((spec.value_bytes(), spec.value_bytes_max()), (1000, 1040));
        spec.set_value_bytes(100).unwrap();
        assert_eq!(spec.value_bytes(), 100);
        let error = spec.set_value_bytes(101).unwrap_err().to_string();
        assert!(error.contains("multiple of 10"), "{error}");
    }
}
