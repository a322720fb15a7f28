//! YCSB property files: what the properties of `CoreWorkload` mean for a spec.
//!
//! Defaults for absent properties are those of YCSB's code. Every key is either used, known to
//! belong to another part of YCSB, or unknown; a key that has no effect here is never passed over in
//! silence. Some properties are ours: `requestdistribution=zipf` with the exponent `zipf.theta`
//! (0.99 unless said) is [`RequestDistribution::Zipf`], and `insertcounter=shared` (`stream` unless
//! said) lets all streams insert from one counter, as YCSB's threads do: [`InsertCounter::Shared`];
//! `readabsentproportion` and `scanreverseproportion` (0 unless said) are weights beside YCSB's, of reads of keys
//! that are not there and of scans against the order of keys: [`OperationKind::ReadAbsent`], [`OperationKind::ScanReverse`].

use std::collections::BTreeMap;
use std::path::Path;

use crate::builtin::{COMPRESSION_RATIO, STREAMS};
use crate::error::{Error, Result};
use crate::operation::OperationKind;
use crate::properties::{Property, parse};
use crate::property_keys::{USED, why_unused};
use crate::spec::{
    DataSpec, InsertCounter, KeyOrder, KeySpec, LengthDistribution, MULTI_GET_KEYS,
    RequestDistribution, VALUE_BYTES_MAX, ValueSpec, WorkloadSpec, YcsbSpec,
};
use crate::validate::{FIELDS_MAX, RECORDS_MAX, ZERO_PADDING_MAX};

/// The names that YCSB's core workload has gone by.
const CORE_WORKLOADS: [&str; 2] =
    ["site.ycsb.workloads.CoreWorkload", "com.yahoo.ycsb.workloads.CoreWorkload"];

impl WorkloadSpec {
    /// Reads a YCSB property file. The workload is named after the file, without `.properties`.
    /// Returns with it what a user should know: properties that are unknown, have no effect here, or
    /// stand twice, each in one line with file and line.
    ///
    /// # Errors
    ///
    /// The file cannot be read, a line is malformed, or a property has a value that it cannot have.
    pub fn from_property_file(path: &Path) -> Result<(Self, Vec<String>)> {
        let read = |source| Error::Read { path: path.into(), source };
        let bytes = std::fs::read(path).map_err(read)?;
        // Property files are ISO 8859-1 by Java's definition; newer ones are UTF-8.
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect());
        let name = path.file_name().map_or("workload".into(), |name| name.to_string_lossy());
        let name =
            name.strip_suffix(".properties").filter(|stem| !stem.is_empty()).unwrap_or(&name);
        Self::from_properties(name, path, &text)
    }

    /// Reads the text of a YCSB property file; `file` is only named in messages. See
    /// [`from_property_file`](Self::from_property_file).
    ///
    /// # Errors
    ///
    /// A line is malformed, or a property has a value that it cannot have.
    pub fn from_properties(name: &str, file: &Path, text: &str) -> Result<(Self, Vec<String>)> {
        let (properties, mut warnings) = Properties::new(file, parse(file, text)?);
        let spec = properties.to_spec(name, &mut warnings)?;
        spec.validate()?;
        Ok((spec, warnings))
    }
}

/// The properties of one file by key; the last of a key counts.
struct Properties<'a> {
    file: &'a Path,
    by_key: BTreeMap<String, Property>,
}

impl<'a> Properties<'a> {
    fn new(file: &'a Path, list: Vec<Property>) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let mut by_key = BTreeMap::<String, Property>::new();
        for property in list {
            let (key, line) = (property.key.clone(), property.line);
            let at = format!("{}:{line}", file.display());
            if let Some(earlier) = by_key.get(&key) {
                warnings.push(format!("{at}: {key} stands in line {} already", earlier.line));
            } else if !USED.contains(&key.as_str()) {
                warnings.extend(why_unused(&property).map(|why| format!("{at}: {key} {why}")));
            }
            by_key.insert(key, property);
        }
        (Self { file, by_key }, warnings)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.by_key.get(key).map(|property| property.value.as_str())
    }

    fn line(&self, key: &str) -> usize {
        self.by_key.get(key).map_or(1, |property| property.line)
    }

    fn fault(&self, key: &str, reason: String) -> Error {
        Error::Property { file: self.file.into(), line: self.line(key), key: key.into(), reason }
    }

    fn unsupported(&self, key: &str, instead: &str) -> Error {
        Error::Unsupported {
            file: self.file.into(),
            line: self.line(key),
            key: key.into(),
            what: self.text(key).unwrap_or_default().into(),
            instead: instead.into(),
        }
    }

    /// A whole number between two bounds.
    fn count(&self, key: &str, default: u64, min: u64, max: u64) -> Result<u64> {
        let Some(text) = self.text(key) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        let reason = || format!("expected a whole number from {min} to {max}, found {text:?}");
        number.ok_or_else(|| self.fault(key, reason()))
    }

    /// A number that `fits`, which `expected` describes.
    fn real(
        &self,
        key: &str,
        default: f64,
        expected: &str,
        fits: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        let Some(text) = self.text(key) else { return Ok(default) };
        let number = text.parse().ok().filter(|&number: &f64| number.is_finite() && fits(number));
        number.ok_or_else(|| self.fault(key, format!("expected {expected}, found {text:?}")))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.text(key) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(self.fault(key, format!("expected true or false, found {text:?}"))),
        }
    }

    /// The meaning of one of a few words; the property is absent or has one of them.
    fn word<T: Clone>(&self, key: &str, meanings: &[(&str, T)], default: T) -> Result<T> {
        let Some(text) = self.text(key) else { return Ok(default) };
        let found = meanings.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        let words = || meanings.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let reason = || format!("expected one of {}; found {text:?}", words());
        found.map(|(_, meaning)| meaning.clone()).ok_or_else(|| self.fault(key, reason()))
    }

    fn to_spec(&self, name: &str, warnings: &mut Vec<String>) -> Result<WorkloadSpec> {
        self.check_workload_class()?;
        let (key, records) = self.keys()?;
        // Its only effect in YCSB is that values can be checked; here they always can.
        self.flag("dataintegrity", false)?;
        if !self.flag("readallfields", true)? {
            let at = format!("{}:{}", self.file.display(), self.line("readallfields"));
            warnings.push(format!(
                "{at}: readallfields has no effect: the fields of a record are one value, which is \
                 read whole"
            ));
        }
        let operations = self.count("operationcount", records, 1, RECORDS_MAX)?;
        if self.text("operationcount").is_none() {
            let file = self.file.display();
            warnings.push(format!(
                "{file}: operationcount is missing: taken to be the number of records, {records}"
            ));
        }
        let counters = [("stream", InsertCounter::PerStream), ("shared", InsertCounter::Shared)];
        let mut spec = WorkloadSpec {
            name: name.into(),
            description: String::new(),
            records,
            operations,
            streams: STREAMS,
            data: DataSpec::Ycsb(YcsbSpec {
                key,
                value: self.fields()?,
                compression_ratio: COMPRESSION_RATIO,
                write_all_fields: self.flag("writeallfields", false)?,
            }),
            mix: self.mix()?,
            request_distribution: self.request_distribution()?,
            scan_length: self.scan_length()?,
            multi_get_keys: MULTI_GET_KEYS,
            kept_inserts_share: 0.0,
            ttl_ms: 0,
            insert_counter: self.word("insertcounter", &counters, InsertCounter::PerStream)?,
        };
        let shares: Vec<_> = spec
            .normalised_mix()
            .into_iter()
            .map(|(kind, share)| format!("{} % {}", (share * 1000.0).round() / 10.0, kind.name()))
            .collect();
        let requests = self.text("requestdistribution").unwrap_or("uniform");
        spec.description =
            format!("{}; {requests} requests; from a YCSB property file.", shares.join(", "));
        Ok(spec)
    }

    fn check_workload_class(&self) -> Result<()> {
        match self.text("workload") {
            None => Ok(()),
            Some(class) if CORE_WORKLOADS.contains(&class) => Ok(()),
            Some(class) if class.ends_with(".TimeSeriesWorkload") => {
                Err(self
                    .unsupported("workload", "use the built-in workload ts-mixed for time series"))
            }
            Some(_) => {
                Err(self.unsupported("workload", &format!("expected {}", CORE_WORKLOADS[0])))
            }
        }
    }

    /// Of `recordcount` key numbers those from `insertstart` are loaded, `insertcount` of them; inserts
    /// go on behind `recordcount`.
    fn keys(&self) -> Result<(KeySpec, u64)> {
        if self.text("recordcount").is_none() {
            return Err(Error::MissingProperty {
                file: self.file.into(),
                key: "recordcount".into(),
                reason: "say how many records to load, such as recordcount=1000".into(),
            });
        }
        let total = self.count("recordcount", 0, 1, RECORDS_MAX)?;
        let insert_start = self.count("insertstart", 0, 0, total - 1)?;
        let rest = total - insert_start;
        let records = self.count("insertcount", rest, 1, rest)?;
        let orders = [("hashed", KeyOrder::Hashed), ("ordered", KeyOrder::Ordered)];
        let key = KeySpec {
            order: self.word("insertorder", &orders, KeyOrder::Hashed)?,
            zero_padding: self.count("zeropadding", 1, 0, u64::from(ZERO_PADDING_MAX))? as u32,
            insert_start,
            insert_skip: rest - records,
        };
        Ok((key, records))
    }

    fn fields(&self) -> Result<ValueSpec> {
        let count = self.count("fieldcount", 10, 1, u64::from(FIELDS_MAX))?;
        let longest = VALUE_BYTES_MAX / count - 4;
        let length = self.count("fieldlength", 100, 0, longest)?;
        if self.text("fieldlengthdistribution") == Some("histogram") {
            let instead = "use constant, uniform or zipfian";
            return Err(self.unsupported("fieldlengthdistribution", instead));
        }
        let constant = LengthDistribution::Constant { value: length };
        let [uniform, zipfian] = self.lengths("minfieldlength", 0, length)?;
        let words = [("constant", constant), ("uniform", uniform), ("zipfian", zipfian)];
        let length = self.word("fieldlengthdistribution", &words, constant)?;
        Ok(ValueSpec::Fields { count: count as u32, length })
    }

    fn scan_length(&self) -> Result<LengthDistribution> {
        let max = self.count("maxscanlength", 1000, 1, u64::from(u32::MAX))?;
        let [uniform, zipfian] = self.lengths("minscanlength", 1, max)?;
        self.word("scanlengthdistribution", &[("uniform", uniform), ("zipfian", zipfian)], uniform)
    }

    /// Uniform and Zipfian lengths up to `max` from a lower bound, which is `least` or more; where it is
    /// absent it is 1, but never above `max`.
    fn lengths(&self, min_key: &str, least: u64, max: u64) -> Result<[LengthDistribution; 2]> {
        let min = self.count(min_key, max.min(1), least, u64::from(u32::MAX))?;
        if min > max {
            return Err(self.fault(min_key, format!("{min} is above the longest length, {max}")));
        }
        Ok([LengthDistribution::Uniform { min, max }, LengthDistribution::Zipfian { min, max }])
    }

    fn mix(&self) -> Result<Vec<(OperationKind, f64)>> {
        let weights = [
            (OperationKind::Read, "readproportion", 0.95),
            (OperationKind::Update, "updateproportion", 0.05),
            (OperationKind::Insert, "insertproportion", 0.0),
            (OperationKind::Scan, "scanproportion", 0.0),
            (OperationKind::ScanReverse, "scanreverseproportion", 0.0),
            (OperationKind::ReadModifyWrite, "readmodifywriteproportion", 0.0),
            (OperationKind::ReadAbsent, "readabsentproportion", 0.0),
        ];
        let mut mix = Vec::new();
        for (kind, key, default) in weights {
            let weight = self.real(key, default, "0 or more", |weight| weight >= 0.0)?;
            if weight > 0.0 {
                mix.push((kind, weight));
            }
        }
        let sum: f64 = mix.iter().map(|(_, weight)| weight).sum();
        if sum > 0.0 && sum.is_finite() {
            return Ok(mix);
        }
        // The sum of nothing is -0.
        let reason = format!("all proportions together are {}, expected more than 0", sum + 0.0);
        Err(self.fault("readproportion", reason))
    }

    fn request_distribution(&self) -> Result<RequestDistribution> {
        let share = |number: f64| (0.0..=1.0).contains(&number);
        let hotspot = RequestDistribution::Hotspot {
            data_fraction: self.real("hotspotdatafraction", 0.2, "0 to 1", share)?,
            operation_fraction: self.real("hotspotopnfraction", 0.8, "0 to 1", share)?,
        };
        let between = |number: f64| number > 0.0 && number < 100.0;
        let exponential = RequestDistribution::Exponential {
            percentile: self.real(
                "exponential.percentile",
                95.0,
                "more than 0 and less than 100",
                between,
            )?,
            fraction: self.real("exponential.frac", 0.857_142_857_1, "more than 0", |f| f > 0.0)?,
        };
        let theta =
            self.real("zipf.theta", 0.99, "0 to 100", |theta| (0.0..=100.0).contains(&theta))?;
        let words = [
            ("uniform", RequestDistribution::Uniform),
            ("zipfian", RequestDistribution::Zipfian),
            ("latest", RequestDistribution::Latest),
            ("hotspot", hotspot),
            ("exponential", exponential),
            ("sequential", RequestDistribution::Sequential),
            ("zipf", RequestDistribution::Zipf { theta }),
        ];
        self.word("requestdistribution", &words, RequestDistribution::Uniform)
    }
}
