//! The keys of property files: which decide a workload, which have no effect here, and which key was
//! probably meant by one that nobody knows.

use crate::properties::Property;

/// Properties that decide the workload.
pub(crate) const USED: &[&str] = &[
    "workload",
    "recordcount",
    "operationcount",
    "insertstart",
    "insertcount",
    "fieldcount",
    "fieldlength",
    "minfieldlength",
    "fieldlengthdistribution",
    "readallfields",
    "writeallfields",
    "readproportion",
    "updateproportion",
    "insertproportion",
    "scanproportion",
    "scanreverseproportion",
    "readmodifywriteproportion",
    "readabsentproportion",
    "requestdistribution",
    "minscanlength",
    "maxscanlength",
    "scanlengthdistribution",
    "insertorder",
    "insertcounter",
    "zeropadding",
    "hotspotdatafraction",
    "hotspotopnfraction",
    "exponential.percentile",
    "exponential.frac",
    "zipf.theta",
    "dataintegrity",
];

/// Properties that YCSB knows and that have no effect here: the values with which they have none in
/// YCSB either, and what to do otherwise.
const UNUSED: &[(&str, &[&str], &str)] = &[
    ("threadcount", &["1"], "give the number of threads on the command line"),
    ("target", &["0"], "give the rate on the command line"),
    ("maxexecutiontime", &["0", ""], "give the duration on the command line"),
    ("warmupexecutiontime", &["0"], "give the warm-up on the command line"),
    ("core_workload_insertion_retry_limit", &["0"], "a failed insert is counted as an error"),
    ("core_workload_insertion_retry_interval", &["3"], "a failed insert is counted as an error"),
    ("table", &["usertable"], "a store has one key space"),
    ("columnfamily", &[""], "a store has one key space"),
    ("fieldnameprefix", &["field"], "fields are told apart by their order"),
    ("fieldlengthhistogram", &["hist.txt"], "set fieldlengthdistribution to another distribution"),
    ("measurementtype", &["histogram", "hdrhistogram"], MEASURES),
    ("measurement.raw.output_file", &[""], MEASURES),
    ("measurement.histogram.verbose", &["false"], MEASURES),
    ("measurement.trackjvm", &["false"], MEASURES),
    ("measurement.interval", &["op"], MEASURES),
    ("histogram.buckets", &["1000"], MEASURES),
    ("histogram.percentiles", &["95,99"], MEASURES),
    ("hdrhistogram.percentiles", &["95,99"], MEASURES),
    ("hdrhistogram.fileoutput", &["false"], MEASURES),
    ("hdrhistogram.output.path", &[""], MEASURES),
    ("timeseries.granularity", &["1000"], MEASURES),
    ("reportlatencyforeacherror", &["false"], MEASURES),
    ("latencytrackederrors", &[""], MEASURES),
    ("status.interval", &["10"], MEASURES),
    ("exporter", &[], MEASURES),
    ("exportfile", &[], MEASURES),
    ("label", &[""], "results are named by the workload"),
    ("db", &[], "give the engines on the command line"),
    ("dotransactions", &["true"], "a run always loads and then measures"),
    ("maxscanrate", &["0"], "scans are not throttled"),
    ("scanoptimelimit", &["0"], "scans have no time limit"),
    ("discardscannedrecord", &["false"], "scanned records are never kept"),
];

const MEASURES: &str = "results always hold all latencies";

/// Why a property that does not decide the workload has no effect; `None` when it would have none in
/// YCSB either. Reads on after the key.
pub(crate) fn why_unused(property: &Property) -> Option<String> {
    if let Some((_, defaults, instead)) = UNUSED.iter().find(|(key, ..)| *key == property.key) {
        let idle = defaults.contains(&property.value.as_str());
        return (!idle).then(|| format!("has no effect: {instead}"));
    }
    Some(match nearest(&property.key) {
        Some(known) => format!("is unknown and has no effect: was {known} meant?"),
        None => "is unknown and has no effect".into(),
    })
}

/// The known key that is spelt most like `key`, if there is one that could have been meant.
fn nearest(key: &str) -> Option<&'static str> {
    let known = USED.iter().copied().chain(UNUSED.iter().map(|(key, ..)| *key));
    let lower = key.to_ascii_lowercase();
    let distances = known.map(|known| (edit_distance(&lower, known), known));
    let (distance, known) = distances.min()?;
    (distance <= key.len().div_ceil(4)).then_some(known)
}

/// How many characters must be put in, taken out or replaced to turn `a` into `b` (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(key: &str, value: &str) -> Option<String> {
        why_unused(&Property { line: 1, key: key.into(), value: value.into() })
    }

    #[test]
    fn unknown_keys_name_the_key_that_was_meant() {
        let meant =
            |key| why(key, "1").and_then(|why| why.split_once("was ").map(|w| w.1.to_string()));
        assert_eq!(meant("readpropotion").as_deref(), Some("readproportion meant?"));
        assert_eq!(meant("recordCount").as_deref(), Some("recordcount meant?"));
        assert_eq!(meant("rocksdb.dir"), None);
        assert!(why("rocksdb.dir", "x").is_some());
    }

    #[test]
    fn known_keys_of_others_warn_only_when_they_would_matter() {
        assert_eq!(why("threadcount", "1"), None);
        assert!(why("threadcount", "8").is_some());
        assert!(why("exporter", "x").is_some());
    }

    #[test]
    fn edit_distance_counts_single_changes() {
        for (a, b, distance) in
            [("", "", 0), ("abc", "abc", 0), ("abc", "ab", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
        }
    }
}
