//! What HdrHistogram's own tools read: interval logs (`.hlog`) and percentile distributions (`.hgrm`).
//!
//! An interval log is text. Lines that begin with `#` say what it is; a legend follows, and a row per interval:
//!
//! ```text
//! #[Histogram log format version 1.3]
//! #[StartTime: 1767323045.000 (seconds since epoch), Fri Jan 02 03:04:05 UTC 2026]
//! "StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"
//! Tag=ALL,0.000,1.000,3.215,HISTFAAAA…
//! ```
//!
//! Times are seconds from the start time, the maximum is in milliseconds, and the histogram is V2 with DEFLATE in base64,
//! in nanoseconds. The writer of the crate `hdrhistogram` leaves out the version and the legend, which
//! other implementations need.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use hdrhistogram::Histogram;
use jiff::Timestamp;

use crate::identity::{durability_name, ending_word, page_cache_name, phase_name};
use crate::latency::{decode_histogram, encode_histogram};
use crate::model::{Contest, Engine, Report};
use crate::result::{Cell, CellStatus, Measurement, Phase, ResultFile};

/// Nanoseconds in a millisecond.
const NS_PER_MS: f64 = 1e6;
/// Rows of a distribution for each halving of what lies above, as HdrHistogram's tools write them.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// Writes an interval log.
#[derive(Debug)]
pub struct IntervalLog<W> {
    writer: W,
}

impl<W: Write> IntervalLog<W> {
    /// Writes the head of a log of intervals that are counted from `started_at`.
    ///
    /// # Errors
    /// The writer's.
    pub fn new(writer: W, started_at: Timestamp) -> io::Result<Self> {
        Self::with_comments(writer, started_at, &[])
    }

    /// The same with lines of comment, which readers skip, before the legend.
    ///
    /// # Errors
    /// The writer's.
    pub fn with_comments(
        mut writer: W,
        started_at: Timestamp,
        comments: &[String],
    ) -> io::Result<Self> {
        writeln!(writer, "#[Histogram log format version 1.3]")?;
        for comment in comments {
            writeln!(writer, "# {}", comment.replace(['\n', '\r'], " "))?;
        }
        writeln!(
            writer,
            "#[StartTime: {:.3} (seconds since epoch), {}]",
            started_at.as_millisecond() as f64 / 1e3,
            started_at.strftime("%a %b %d %H:%M:%S UTC %Y"),
        )?;
        writeln!(
            writer,
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
        )?;
        Ok(Self { writer })
    }

    /// Adds an interval: `start_s` from the start time, `length_s` long, what was recorded in it in nanoseconds.
    ///
    /// # Errors
    /// The writer's; `InvalidInput` for a tag that a row cannot hold.
    pub fn append(
        &mut self,
        tag: &str,
        start_s: f64,
        length_s: f64,
        histogram: &Histogram<u64>,
    ) -> io::Result<()> {
        if tag.is_empty() || tag.contains([',', ' ', '\n', '\r', '\t']) {
            let reason = format!("{tag:?} is no tag: expected text without commas and spaces");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let max_ms = histogram.max() as f64 / NS_PER_MS;
        let text = encode_histogram(histogram);
        writeln!(self.writer, "Tag={tag},{start_s:.3},{length_s:.3},{max_ms:.3},{text}")
    }
}

/// A distribution as text, values in milliseconds with all their digits, as HdrHistogram's tools print and plot it.
///
/// # Panics
/// Never: writing to memory does not fail.
pub fn percentile_distribution(histogram: &Histogram<u64>) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut total = 0;
    for value in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        total += value.count_since_last_iteration();
        let (ms, quantile) =
            (value.value_iterated_to() as f64 / NS_PER_MS, value.quantile_iterated_to());
        let _ = write!(text, "{ms:>12.6} {quantile:.12} {total:>10}");
        if quantile < 1.0 {
            let _ = write!(text, " {:>14.2}", 1.0 / (1.0 - quantile));
        }
        text.push('\n');
    }
    let sub_buckets = (2 * 10_u64.pow(histogram.sigfig().into())).next_power_of_two();
    let _ = write!(
        text,
        "#[Mean    = {:>12.6}, StdDeviation   = {:>12.6}]\n#[Max     = {:>12.6}, Total count    = {:>12}]\n#[Buckets = {:>12}, SubBuckets     = {sub_buckets:>12}]\n",
        histogram.mean() / NS_PER_MS,
        histogram.stdev() / NS_PER_MS,
        histogram.max() as f64 / NS_PER_MS,
        histogram.len(),
        histogram.buckets(),
    );
    text
}

/// A file beside the report: its name and its text.
pub(crate) type Named = (String, Vec<u8>);

/// What this module's files say of themselves, before the cell that they are of.
const OWN_LOG: &str = "\n# kvdyno: {";
const OWN_DISTRIBUTION: &str = "\n#[kvdyno: {";
/// An own file says so in so many bytes at its beginning or end.
const MARK_WITHIN_BYTES: u64 = 16 << 10;

/// Whether a report has written the file: by its name, and by what stands in it. Files of other tools have the same endings.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn is_own(path: &Path) -> io::Result<bool> {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let (mark, at_end) = match name.rsplit_once('.') {
        Some((_, "hlog")) => (OWN_LOG, false),
        Some((_, "hgrm")) => (OWN_DISTRIBUTION, true),
        _ => return Ok(false),
    };
    if !path.symlink_metadata()?.is_file() {
        return Ok(false);
    }
    let mut file = File::open(path)?;
    if at_end {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MARK_WITHIN_BYTES)))?;
    }
    let mut bytes = Vec::new();
    file.take(MARK_WITHIN_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).contains(mark))
}

/// The interval log and the distributions of every trial that was measured, under names that tell them apart.
/// Histograms that cannot be decoded are left out, as they are everywhere in a report.
pub(crate) fn files(report: &Report<'_>, run_names: &[String]) -> Vec<Named> {
    let mut names = BTreeSet::new();
    let mut files = Vec::new();
    for group in &report.groups {
        for contest in &group.contests {
            for entry in &contest.entries {
                let engine = &report.engines[entry.engine];
                for cell in &entry.series.cells {
                    let Some(measurement) = &cell.measurement else { continue };
                    if cell.status != CellStatus::Ok {
                        continue;
                    }
                    let mut stem = stem(contest, engine, &group.suffix);
                    if entry.series.cells.len() > 1 {
                        let _ = write!(stem, "-t{}", cell.trial);
                    }
                    while !names.insert(stem.clone()) {
                        stem.push_str("-again");
                    }
                    let about = about(cell, &report.results[engine.file], &run_names[engine.file]);
                    let started_at = &report.results[engine.file].run.started_at;
                    files.extend(log(measurement, &stem, &about, started_at));
                    files.extend(distributions(measurement, &stem, &about));
                }
            }
        }
    }
    files
}

fn stem(contest: &Contest<'_>, engine: &Engine<'_>, suffix: &str) -> String {
    let load = contest.phase == Phase::Load && !contest.workload.starts_with("load");
    let load = if load { "-load" } else { "" };
    let words = format!("{}{load}-{}", contest.name, engine.label).to_lowercase();
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._@".contains(c) { c } else { '-' };
    let words: String = words.chars().map(safe).collect();
    format!("{}{suffix}", words.trim_matches(['-', '.']))
}

/// Which rows of `summary.csv` the file belongs to, as JSON.
fn about(cell: &Cell, result: &ResultFile, run: &str) -> String {
    serde_json::json!({
        "run": run,
        "suite": result.run.suite,
        "workload": cell.workload,
        "engine": cell.engine,
        "durability": durability_name(cell.durability),
        "threads": cell.threads,
        "records": cell.records,
        "value_bytes": cell.value_bytes,
        "trial": cell.trial,
        "phase": phase_name(cell.phase),
        "offered_ops_per_s": cell.offered_ops_per_s,
        "scenario": cell.scenario.map(|scenario| ending_word(scenario.ending)),
        "page_cache": cell.scenario.map(|scenario| page_cache_name(scenario.page_cache)),
        "log_size": cell.scenario.and_then(|scenario| scenario.written).map(|written| written.to_string()),
    })
    .to_string()
}

/// The interval log, where the run kept the intervals' histograms.
fn log(measurement: &Measurement, stem: &str, about: &str, started_at: &str) -> Option<Named> {
    let intervals: Vec<_> = measurement
        .timeline
        .iter()
        .filter_map(|point| Some((point, decode_histogram(point.histogram.as_deref()?).ok()?)))
        .collect();
    if intervals.is_empty() {
        return None;
    }
    // A time that cannot be read costs the date, not the log.
    let started_at = started_at.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let comments = [
        format!("kvdyno: {about}"),
        "service times in ns, all kinds of operations; counted from the start of the measured phase"
            .to_owned(),
    ];
    let mut log = IntervalLog::with_comments(Vec::new(), started_at, &comments).ok()?;
    for (point, histogram) in &intervals {
        log.append("ALL", point.start_s, point.length_s, histogram).ok()?;
    }
    Some((format!("{stem}.hlog"), log.writer))
}

/// The distribution of each operation kind, of its service and its response times.
fn distributions(measurement: &Measurement, stem: &str, about: &str) -> Vec<Named> {
    let latencies = measurement.operations.iter().flat_map(|stats| {
        let response = stats.response.as_ref().map(|response| (stats, "-response", response));
        [(stats, "", &stats.service)].into_iter().chain(response)
    });
    latencies
        .filter_map(|(stats, suffix, latency)| {
            let histogram = decode_histogram(&latency.histogram).ok().filter(|h| !h.is_empty())?;
            let kind: String = stats
                .kind
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
                .collect();
            let about = format!(
                "#[kvdyno: {about}]\n#[kvdyno operation: {}]\n#[kvdyno latency: {}, in ms]\n",
                stats.kind.replace(['\n', '\r'], " "),
                if suffix.is_empty() { "service" } else { "response" },
            );
            let text = percentile_distribution(&histogram) + &about;
            Some((format!("{stem}-{kind}{suffix}.hgrm"), text.into_bytes()))
        })
        .collect()
}
