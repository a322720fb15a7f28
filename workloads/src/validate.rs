//! What a spec must hold to be run.

use crate::error::{Error, Result};
use crate::operation::OperationKind;
use crate::series::late_block;
use crate::spec::{
    DataSpec, InsertCounter, LengthDistribution, RequestDistribution, SeriesSpec, VALUE_BYTES_MAX,
    ValueSpec, WorkloadSpec, YcsbSpec,
};

/// The most records, and the highest key number: far from where arithmetic on them could overflow.
pub(crate) const RECORDS_MAX: u64 = 1 << 56;
/// The most logical streams.
const STREAMS_MAX: u32 = 1 << 20;
/// The most digits of a key.
pub(crate) const ZERO_PADDING_MAX: u32 = 4_096;
/// The most fields of a value.
pub(crate) const FIELDS_MAX: u32 = 65_536;
/// The most keys of a multi-get.
const MULTI_GET_KEYS_MAX: u64 = 65_536;
/// The most own inserts that are kept, as a share of the loaded records.
const KEPT_INSERTS_SHARE_MAX: f64 = 1000.0;
/// The longest time that a record lives before it expires: a hundred years, in milliseconds.
const TTL_MS_MAX: u64 = 3_155_760_000_000;
/// A year, and the year 10,000, in milliseconds.
const INTERVAL_MS_MAX: u64 = 31_536_000_000;
const START_MS_MAX: u64 = 253_402_300_800_000;

/// A field of the spec and what is wrong with it.
type Fault = (&'static str, String);

impl WorkloadSpec {
    /// Whether it can be run.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the first field that is wrong and what was expected.
    pub fn validate(&self) -> Result<()> {
        self.find_fault().map_err(|(field, reason)| Error::Invalid {
            workload: self.name.clone(),
            field,
            reason,
        })
    }

    fn find_fault(&self) -> Result<(), Fault> {
        within("records", self.records, 1, RECORDS_MAX)?;
        within("operations", self.operations, 1, RECORDS_MAX)?;
        within("streams", u64::from(self.streams), 1, u64::from(STREAMS_MAX))?;
        self.find_mix_fault()?;
        match &self.data {
            DataSpec::Ycsb(ycsb) => {
                ycsb_fault(ycsb)?;
                distribution_fault(&self.request_distribution)?;
                length_fault("scan_length", self.scan_length, 1, u64::from(u32::MAX))?;
                length_fault("multi_get_keys", self.multi_get_keys, 1, MULTI_GET_KEYS_MAX)?;
                self.find_lifetime_fault()
            }
            DataSpec::TimeSeries(series) => {
                if self.request_distribution != RequestDistribution::Uniform {
                    let reason = "time series are picked alike: expected uniform".into();
                    return Err(("request_distribution", reason));
                }
                if self.insert_counter != InsertCounter::PerStream {
                    let reason = "a series belongs to one stream: expected per_stream".into();
                    return Err(("insert_counter", reason));
                }
                series_fault(series, self.streams)
            }
        }
    }

    /// Whether records that are deleted or expire can be told apart from those that may be read.
    fn find_lifetime_fault(&self) -> Result<(), Fault> {
        share("kept_inserts_share", self.kept_inserts_share, KEPT_INSERTS_SHARE_MAX)?;
        let kinds = self.operation_kinds();
        for kind in [OperationKind::Delete, OperationKind::InsertExpiring] {
            if self.insert_counter == InsertCounter::Shared && kinds.contains(&kind) {
                let name = kind.name();
                let reason =
                    format!("shared does not go with {name}: other streams read the record");
                return Err(("insert_counter", reason));
            }
        }
        if kinds.contains(&OperationKind::InsertExpiring) || self.ttl_ms > 0 {
            within("ttl_ms", self.ttl_ms, 1, TTL_MS_MAX)?;
        }
        Ok(())
    }

    fn find_mix_fault(&self) -> Result<(), Fault> {
        let mut sum = 0.0;
        for &(kind, weight) in &self.mix {
            let name = kind.name();
            if !weight.is_finite() || weight < 0.0 {
                let reason = format!("the weight of {name} is {weight}, expected 0 or more");
                return Err(("mix", reason));
            }
            let of_series = matches!(
                kind,
                OperationKind::Latest | OperationKind::Window | OperationKind::DeleteRange
            );
            let fits = match self.data {
                DataSpec::Ycsb(_) => !of_series,
                DataSpec::TimeSeries(_) => of_series || kind == OperationKind::Insert,
            };
            if weight > 0.0 && !fits {
                return Err(("mix", format!("{name} does not go with this kind of data")));
            }
            sum += weight;
        }
        if sum > 0.0 && sum.is_finite() {
            Ok(())
        } else {
            Err(("mix", format!("the weights sum to {sum}, expected more than 0")))
        }
    }
}

fn within(field: &'static str, found: u64, min: u64, max: u64) -> Result<(), Fault> {
    if (min..=max).contains(&found) {
        Ok(())
    } else {
        Err((field, format!("{found} is out of range, expected {min} to {max}")))
    }
}

fn share(field: &'static str, found: f64, max: f64) -> Result<(), Fault> {
    if (0.0..=max).contains(&found) {
        Ok(())
    } else {
        Err((field, format!("{found} is out of range, expected 0 to {max}")))
    }
}

fn length_fault(
    field: &'static str,
    length: LengthDistribution,
    min: u64,
    max: u64,
) -> Result<(), Fault> {
    if length.min() > length.max() {
        let (shortest, longest) = (length.min(), length.max());
        return Err((field, format!("the shortest, {shortest}, is above the longest, {longest}")));
    }
    within(field, length.min(), min, max)?;
    within(field, length.max(), min, max)
}

fn ycsb_fault(ycsb: &YcsbSpec) -> Result<(), Fault> {
    within("data.key.insert_start", ycsb.key.insert_start, 0, RECORDS_MAX)?;
    within("data.key.insert_skip", ycsb.key.insert_skip, 0, RECORDS_MAX)?;
    let padding = u64::from(ycsb.key.zero_padding);
    within("data.key.zero_padding", padding, 0, u64::from(ZERO_PADDING_MAX))?;
    let ratio = ycsb.compression_ratio;
    if !(1.0..=1000.0).contains(&ratio) {
        let reason = format!("{ratio} is out of range, expected 1 to 1000");
        return Err(("data.compression_ratio", reason));
    }
    match &ycsb.value {
        ValueSpec::Blob { bytes } => within("data.value.bytes", *bytes, 0, VALUE_BYTES_MAX),
        ValueSpec::Fields { count, length } => {
            within("data.value.count", u64::from(*count), 1, u64::from(FIELDS_MAX))?;
            length_fault("data.value.length", *length, 0, VALUE_BYTES_MAX)?;
            let total = u64::from(*count) * (length.max() + 4);
            within("data.value.length", total, 0, VALUE_BYTES_MAX)
                .map_err(|(field, reason)| (field, format!("all fields together: {reason}")))
        }
    }
}

fn distribution_fault(distribution: &RequestDistribution) -> Result<(), Fault> {
    const FIELD: &str = "request_distribution";
    match *distribution {
        RequestDistribution::Zipf { theta } if !(0.0..=100.0).contains(&theta) => {
            Err((FIELD, format!("theta {theta} is out of range, expected 0 to 100")))
        }
        RequestDistribution::Hotspot { data_fraction, operation_fraction } => {
            share("request_distribution.data_fraction", data_fraction, 1.0)?;
            share("request_distribution.operation_fraction", operation_fraction, 1.0)
        }
        RequestDistribution::Exponential { percentile, fraction } => {
            if !(percentile > 0.0 && percentile < 100.0) {
                let reason = format!("percentile {percentile}, expected above 0 and below 100");
                return Err((FIELD, reason));
            }
            if !(fraction > 0.0 && fraction.is_finite()) {
                return Err((FIELD, format!("fraction {fraction}, expected above 0")));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn series_fault(series: &SeriesSpec, streams: u32) -> Result<(), Fault> {
    if series.series < streams {
        let count = series.series;
        let reason = format!("{count} series, expected at least one for each of {streams} streams");
        return Err(("data.series", reason));
    }
    within("data.start_ms", series.start_ms, 0, START_MS_MAX)?;
    within("data.interval_ms", series.interval_ms, 1, INTERVAL_MS_MAX)?;
    within("data.value_bytes", u64::from(series.value_bytes), 0, VALUE_BYTES_MAX)?;
    share("data.late_share", series.late_share, 0.5)?;
    if series.late_share > 0.0 {
        let longest = late_block(series.late_share) - 1;
        within("data.late_steps_max", u64::from(series.late_steps_max), 1, longest)?;
    }
    if let Some(points) = series.retention_points {
        // A point that comes late must not arrive behind the cut.
        let least = u64::from(series.late_steps_max) + 1;
        within("data.retention_points", points, least, RECORDS_MAX)?;
    }
    length_fault("data.window_points", series.window_points, 1, u64::from(u32::MAX))?;
    share("data.window_recent_share", series.window_recent_share, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::OperationKind::{Delete, DeleteRange, MultiGet};

    fn refused(name: &str, change: impl FnOnce(&mut WorkloadSpec), expected: &str) {
        let mut spec = WorkloadSpec::builtin(name).unwrap();
        change(&mut spec);
        let error = spec.validate().unwrap_err().to_string();
        let start = format!("workload {name}: {expected}");
        assert!(error.starts_with(&start) && !error.contains('\n'), "{error} is not {start}");
    }

    fn refused_ycsb(change: impl FnOnce(&mut YcsbSpec), expected: &str) {
        let change = |spec: &mut WorkloadSpec| match &mut spec.data {
            DataSpec::Ycsb(ycsb) => change(ycsb),
            DataSpec::TimeSeries(_) => panic!("YCSB records expected"),
        };
        refused("ycsb-a", change, expected);
    }

    fn refused_series(change: impl FnOnce(&mut SeriesSpec), expected: &str) {
        let change = |spec: &mut WorkloadSpec| match &mut spec.data {
            DataSpec::TimeSeries(series) => change(series),
            DataSpec::Ycsb(_) => panic!("time series expected"),
        };
        refused("ts-mixed", change, expected);
    }

    #[test]
    fn builtins_are_valid() {
        for spec in WorkloadSpec::builtins() {
            spec.validate().unwrap();
        }
    }

    #[test]
    fn specs_that_cannot_run_name_the_field() {
        refused("ycsb-a", |spec| spec.records = 0, "records: 0 is out of range");
        refused("ycsb-a", |spec| spec.records = u64::MAX, "records: ");
        refused("ycsb-a", |spec| spec.operations = 0, "operations: ");
        refused("ycsb-a", |spec| spec.streams = 0, "streams: ");
        refused("ycsb-a", |spec| spec.mix.clear(), "mix: the weights sum to 0");
        refused("ycsb-a", |spec| spec.mix[0].1 = -1.0, "mix: the weight of read is -1");
        refused("ycsb-a", |spec| spec.mix[0].1 = f64::NAN, "mix: the weight of read is NaN");
        refused("ycsb-a", |spec| spec.mix[0].0 = OperationKind::Window, "mix: window does not go");
        refused("ts-mixed", |spec| spec.mix[0].0 = OperationKind::Read, "mix: read does not go");
        let empty = LengthDistribution::Uniform { min: 0, max: 5 };
        refused("ycsb-e", |spec| spec.scan_length = empty, "scan_length: 0 is out of range");
        let reversed = LengthDistribution::Zipfian { min: 6, max: 5 };
        refused("ycsb-e", |spec| spec.scan_length = reversed, "scan_length: the shortest, 6");
        refused(
            "multi-get",
            |spec| spec.multi_get_keys = empty,
            "multi_get_keys: 0 is out of range",
        );
        refused("session-churn", |spec| spec.kept_inserts_share = -0.1, "kept_inserts_share: -0.1");
        refused("session-expiry", |spec| spec.ttl_ms = 0, "ttl_ms: 0 is out of range, expected 1");
        refused("ycsb-a", |spec| spec.mix[0].0 = DeleteRange, "mix: delete_range does not go");
        for (kind, name) in [(Delete, "delete"), (MultiGet, "multi_get")] {
            let expected = format!("mix: {name} does not go");
            refused("ts-mixed", |spec| spec.mix[0].0 = kind, &expected);
        }
        let shared = InsertCounter::Shared;
        for (name, kind) in [("session-churn", "delete"), ("session-expiry", "insert_expiring")] {
            let expected = format!("insert_counter: shared does not go with {kind}");
            refused(name, |spec| spec.insert_counter = shared, &expected);
        }
        refused(
            "ts-mixed",
            |spec| spec.insert_counter = shared,
            "insert_counter: a series belongs",
        );
        refused("ts-mixed", |spec| spec.streams = 1_001, "data.series: 1000 series, expected");
        let zipfian = RequestDistribution::Zipfian;
        refused("ts-mixed", |spec| spec.request_distribution = zipfian, "request_distribution: ");
    }

    #[test]
    fn distributions_that_cannot_be_drawn_are_refused() {
        for distribution in [
            RequestDistribution::Zipf { theta: -0.1 },
            RequestDistribution::Zipf { theta: f64::NAN },
            RequestDistribution::Hotspot { data_fraction: 1.1, operation_fraction: 0.5 },
            RequestDistribution::Hotspot { data_fraction: 0.1, operation_fraction: -0.5 },
            RequestDistribution::Exponential { percentile: 0.0, fraction: 0.5 },
            RequestDistribution::Exponential { percentile: 100.0, fraction: 0.5 },
            RequestDistribution::Exponential { percentile: 95.0, fraction: 0.0 },
        ] {
            let change = |spec: &mut WorkloadSpec| spec.request_distribution = distribution;
            refused("ycsb-c", change, "request_distribution");
        }
    }

    #[test]
    fn data_that_cannot_be_made_is_refused() {
        refused_ycsb(|ycsb| ycsb.compression_ratio = 0.5, "data.compression_ratio: ");
        refused_ycsb(|ycsb| ycsb.key.zero_padding = 5_000, "data.key.zero_padding: ");
        refused_ycsb(|ycsb| ycsb.key.insert_start = u64::MAX, "data.key.insert_start: ");
        let huge = ValueSpec::Blob { bytes: VALUE_BYTES_MAX + 1 };
        refused_ycsb(|ycsb| ycsb.value = huge, "data.value.bytes: ");
        let length = LengthDistribution::Constant { value: VALUE_BYTES_MAX / 2 };
        let huge = ValueSpec::Fields { count: 3, length };
        refused_ycsb(|ycsb| ycsb.value = huge, "data.value.length: all fields together: ");
        refused_series(|series| series.interval_ms = 0, "data.interval_ms: ");
        refused_series(|series| series.late_share = 0.6, "data.late_share: ");
        refused_series(|series| series.late_steps_max = 33, "data.late_steps_max: 33 is out");
        refused_series(
            |series| series.retention_points = Some(20),
            "data.retention_points: 20 is out of range, expected 21",
        );
        refused_series(|series| series.window_recent_share = 2.0, "data.window_recent_share: ");
    }
}
