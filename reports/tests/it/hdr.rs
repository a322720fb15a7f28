//! Interval logs and distributions, read by a decoder that shares no code with the one that wrote them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;

use base64::Engine as _;
use kvdyno_reports::{IntervalLog, percentile_distribution, summary_csv, write_report};

use crate::sample;

/// A histogram as its format describes it: values in nanoseconds and how often each was counted.
struct Decoded {
    counts: Vec<(u64, u64)>,
}

impl Decoded {
    /// Decodes base64 of a compressed V2 histogram: cookie and length, zlib, cookie, six fields, then counts as
    /// zig-zag LEB128, where a negative number is a run of zeros.
    fn new(text: &str) -> Self {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        let word =
            |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(word(&bytes, 0) & !0xf0, 0x1c84_9304, "cookie of a compressed V2 histogram");
        assert_eq!(word(&bytes, 4) as usize, bytes.len() - 8);
        let mut plain = Vec::new();
        flate2::read::ZlibDecoder::new(&bytes[8..]).read_to_end(&mut plain).unwrap();
        assert_eq!(word(&plain, 0) & !0xf0, 0x1c84_9303, "cookie of a V2 histogram");
        let payload = word(&plain, 4) as usize;
        assert_eq!(word(&plain, 8), 0, "no offset");
        assert_eq!(word(&plain, 12), 3, "significant digits");
        let low = u64::from_be_bytes(plain[16..24].try_into().unwrap());
        assert_eq!(low, 1);
        assert_eq!(plain.len(), 40 + payload);
        let mut counts = Vec::new();
        let (mut at, mut index) = (40, 0);
        while at < plain.len() {
            let number = zig_zag(&plain, &mut at);
            if number < 0 {
                index += number.unsigned_abs();
            } else {
                if number > 0 {
                    counts.push((highest_value(index), number as u64));
                }
                index += 1;
            }
        }
        Self { counts }
    }

    fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    fn at(&self, quantile: f64) -> u64 {
        let wanted = ((quantile * self.count() as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (value, count) in &self.counts {
            seen += count;
            if seen >= wanted {
                return *value;
            }
        }
        0
    }

    fn max(&self) -> u64 {
        self.counts.last().map_or(0, |(value, _)| *value)
    }
}

/// LEB128 of at most nine bytes; the ninth has eight bits of its own.
fn zig_zag(bytes: &[u8], at: &mut usize) -> i64 {
    let mut value = 0_u64;
    for place in 0..9 {
        let byte = bytes[*at];
        *at += 1;
        if place == 8 {
            value |= u64::from(byte) << 56;
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            break;
        }
    }
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// The largest value counted at an index, with 2,048 places in the first bucket and 1,024 in each further one.
fn highest_value(index: u64) -> u64 {
    if index < 2_048 {
        return index;
    }
    let bucket = index / 1_024 - 1;
    let place = index % 1_024 + 1_024;
    ((place + 1) << bucket) - 1
}

/// Rows of `summary.csv` for a trial and an operation.
fn summary_row(csv: &str, about: &serde_json::Value, operation: &str) -> BTreeMap<String, String> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let rows = reader.deserialize().map(Result::unwrap);
    let same = |row: &BTreeMap<String, String>| {
        let text = |column: &str| match &about[column] {
            serde_json::Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        ["run", "workload", "engine", "phase", "trial", "records", "threads"]
            .iter()
            .all(|column| row[*column] == text(column))
            && row["operation"] == operation
            && row["row"] == "operation"
    };
    let rows: Vec<BTreeMap<String, String>> = rows.filter(same).collect();
    assert_eq!(rows.len(), 1, "{about} {operation}");
    rows.into_iter().next().unwrap()
}

#[test]
fn another_decoder_finds_the_figures_of_the_summary_in_every_file() {
    let mut result = sample::at_rate();
    result.cells.retain(|cell| cell.trial < 3 && cell.engine == "lsm" && cell.workload != "ycsb-b");
    let dir = tempfile::tempdir().unwrap();
    write_report(std::slice::from_ref(&result), dir.path()).unwrap();
    let csv = summary_csv(&result);
    let (mut logs, mut distributions) = (0, 0);
    for entry in fs::read_dir(dir.path().join("latency")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        if path.extension().unwrap() == "hlog" {
            check_log(&text, &csv);
            logs += 1;
        } else {
            check_distribution(&text, &csv);
            distributions += 1;
        }
    }
    assert_eq!(logs, 2 * 2, "a load and a workload, two trials");
    // Insert and all of the load; read, update and all of the workload, service and response.
    assert_eq!(distributions, 2 * (2 + 3 * 2));
}

fn check_log(text: &str, csv: &str) {
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "#[Histogram log format version 1.3]");
    let about = lines[1].strip_prefix("# kvdyno: ").unwrap();
    let about: serde_json::Value = serde_json::from_str(about).unwrap();
    assert_eq!(
        lines[3],
        "#[StartTime: 1767323045.000 (seconds since epoch), Fri Jan 02 03:04:05 UTC 2026]"
    );
    assert_eq!(
        lines[4],
        "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
    );
    let row = summary_row(csv, &about, "all");
    assert_eq!(lines.len() - 5, 40);
    let mut end_s = 0.0;
    for line in &lines[5..] {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!((fields.len(), fields[0]), (5, "Tag=ALL"));
        let (start_s, length_s): (f64, f64) =
            (fields[1].parse().unwrap(), fields[2].parse().unwrap());
        assert!((start_s - end_s).abs() < 0.002 && length_s > 0.0, "{line:.60}");
        end_s = start_s + length_s;
        let histogram = Decoded::new(fields[4]);
        let max_ms: f64 = fields[3].parse().unwrap();
        assert!((max_ms - histogram.max() as f64 / 1e6).abs() < 0.0006, "{line:.60}");
        assert!(histogram.max() <= row["service_max_ns"].parse().unwrap());
        assert!(histogram.count() > 0 && histogram.at(0.5) > 0);
    }
}

fn check_distribution(text: &str, csv: &str) {
    let comment = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("#[kvdyno{name}: ")));
        line.unwrap().strip_suffix(']').unwrap()
    };
    let about: serde_json::Value = serde_json::from_str(comment("")).unwrap();
    let row = summary_row(csv, &about, comment(" operation"));
    let which = comment(" latency").strip_suffix(", in ms").unwrap();
    let rows: Vec<Vec<f64>> = text
        .lines()
        .skip(2)
        .take_while(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
        .collect();
    let last = rows.last().unwrap();
    let ns = |row: &[f64]| (row[0] * 1e6).round().to_string();
    assert_eq!((last.len(), last[1]), (3, 1.0));
    assert_eq!(last[2].to_string(), row["operations"]);
    assert_eq!(ns(last), row[&format!("{which}_max_ns")]);
    let median = rows.iter().find(|row| row[1] >= 0.5).unwrap();
    assert_eq!(ns(median), row[&format!("{which}_p50_ns")]);
    assert!(rows.windows(2).all(|pair| pair[0][1] <= pair[1][1] && pair[0][2] <= pair[1][2]));
    assert!(text.contains(&format!("Total count    = {:>12}]", row["operations"])));
    assert!(text.contains("SubBuckets     =         2048]"));
}

#[test]
fn totals_are_decoded_alike_by_both_decoders() {
    for cell in sample::sweep().cells.iter().take(4) {
        let measurement = cell.measurement.as_ref().unwrap();
        let latencies = measurement.operations.iter().map(|stats| &stats.service);
        for latency in latencies.chain(measurement.rates.iter().map(|rate| &rate.response)) {
            let decoded = Decoded::new(&latency.histogram);
            assert_eq!(decoded.count(), latency.count);
            assert_eq!(decoded.max(), latency.max_ns);
            assert_eq!(decoded.at(0.5), latency.p50_ns);
            assert_eq!(Some(decoded.at(0.99)), latency.p99_ns);
        }
    }
}

#[test]
fn distribution_is_the_text_that_other_tools_print() {
    let mut histogram = hdrhistogram::Histogram::<u64>::new(3).unwrap();
    for ms in 1..=4 {
        histogram.record(ms * 1_000_000).unwrap();
    }
    let text = percentile_distribution(&histogram);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
    assert_eq!(lines[1], "");
    assert_eq!(lines[2], "    1.000447 0.000000000000          1           1.00");
    let last = lines.iter().rposition(|line| !line.starts_with('#')).unwrap();
    assert_eq!(lines[last], "    4.001791 1.000000000000          4");
    assert!(lines[last + 1].starts_with("#[Mean    =     2.50"), "{}", lines[last + 1]);
    assert_eq!(lines[last + 2], "#[Max     =     4.001791, Total count    =            4]");
}

#[test]
fn tags_that_a_row_cannot_hold_are_refused() {
    let mut log = IntervalLog::new(Vec::new(), "2026-01-02T03:04:05Z".parse().unwrap()).unwrap();
    let histogram = hdrhistogram::Histogram::new(3).unwrap();
    log.append("READ", 0.0, 1.0, &histogram).unwrap();
    for tag in ["", "a,b", "a b", "a\nb"] {
        assert!(log.append(tag, 0.0, 1.0, &histogram).is_err(), "{tag:?}");
    }
}

#[test]
fn what_an_earlier_report_has_left_is_removed_and_nothing_else() {
    let names = |dir: &tempfile::TempDir| {
        let folder = fs::read_dir(dir.path().join("latency")).unwrap().flatten();
        folder.map(|entry| entry.file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    let (used, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut result = sample::quick();
    result.cells.retain(|cell| cell.trial == 1 && cell.workload == "ycsb-a");
    write_report(&[result.clone()], used.path()).unwrap();
    let theirs = ["theirs.hlog", "theirs.hgrm", "notes.txt"];
    for name in theirs {
        fs::write(used.path().join("latency").join(name), "#[kvdyno is not who wrote this]\n")
            .unwrap();
    }
    fs::create_dir(used.path().join("latency/folder.hlog")).unwrap();
    let before = names(&used).len();
    result.cells.retain(|cell| cell.engine == "lsm");
    for dir in [&used, &fresh] {
        write_report(&[result.clone()], dir.path()).unwrap();
    }
    let mut expected = names(&fresh);
    assert!(!expected.is_empty() && expected.len() < before - 4);
    expected.extend(theirs.into_iter().chain(["folder.hlog"]).map(str::to_owned));
    assert_eq!(names(&used), expected);
    result.cells.clear();
    write_report(&[result], used.path()).unwrap();
    assert_eq!(names(&used).len(), 4, "a report without latencies leaves those of before");
}
