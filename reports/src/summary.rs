//! `summary.csv`: the flat view of a result for scripts and spreadsheets.
//!
//! One row per cell and operation kind, `all` among them (`row` is `operation`), and one per offered rate that a cell tried
//! (`row` is `rate`; phase `run`, operation `all`, `offered_ops_per_s` set): scripts that want the former only take rows whose
//! `row` is `operation`. Counts, latencies and throughput belong to
//! the row's kind; what belongs to the cell as a whole (amplification, processor time, memory,
//! fsyncs) stands in the row `all` only. What does not apply is empty. Figures have all their digits.
//!
//! Names come from files and from other people. One that a spreadsheet would take for a formula (it begins with `=`, `+`, `-`, `@`)
//! gets an apostrophe before it; control characters become spaces, and spaces at the ends are cut off.

use std::fmt::Display;
use std::path::Path;

use crate::error::Result;
use crate::file::write_atomically;
use crate::identity::{durability_name, ending_word, page_cache_name, phase_name, run_names};
use crate::rates::never_done;
use crate::result::{
    Cell, CellStatus, Latency, Measurement, OperationStats, RatePoint, ResultFile,
};
use crate::table::one_line;

/// The columns in their order. New ones go at the end.
pub const SUMMARY_COLUMNS: [&str; 48] = [
    "suite",
    "workload",
    "engine",
    "durability",
    "threads",
    "records",
    "value_bytes",
    "trial",
    "phase",
    "operation",
    "operations",
    "errors",
    "throughput_ops_per_s",
    "throughput_settled_ops_per_s",
    "service_p50_ns",
    "service_p90_ns",
    "service_p99_ns",
    "service_p999_ns",
    "service_max_ns",
    "response_p50_ns",
    "response_p99_ns",
    "response_max_ns",
    "write_amplification_end",
    "write_amplification_settled",
    "read_amplification",
    "space_amplification_end",
    "space_amplification_settled",
    "cpu_us_per_op",
    "rss_anon_bytes",
    "fsyncs",
    "recovery_ms",
    "status",
    "service_p95_ns",
    "response_p95_ns",
    "response_p999_ns",
    "offered_ops_per_s",
    "target_reached",
    "scenario",
    "page_cache",
    "stall_count",
    "stall_s",
    "run",
    "time_to_first_read_ms",
    "to_90_percent_ms",
    "row",
    "log_size",
    "written_bytes",
    "never_done",
];

/// The summary of a result as CSV with one header row.
pub fn summary_csv(result: &ResultFile) -> String {
    summary_csv_of(std::slice::from_ref(result))
}

/// Writes the summary of a result to `path` atomically.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io); an existing file is then untouched.
pub fn write_summary(result: &ResultFile, path: &Path) -> Result<()> {
    write_summary_of(std::slice::from_ref(result), path)
}

/// Writes the rows of several results under one header to `path` atomically.
pub(crate) fn write_summary_of(results: &[ResultFile], path: &Path) -> Result<()> {
    write_atomically(path, summary_csv_of(results).as_bytes())
}

/// The rows of several results under one header.
#[expect(
    clippy::expect_used,
    reason = "rows of equal length written to memory as UTF-8 do not fail"
)]
fn summary_csv_of(results: &[ResultFile]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(SUMMARY_COLUMNS).expect("writing to memory");
    for (result, run) in results.iter().zip(run_names(results)) {
        for cell in &result.cells {
            for row in rows(&Origin { result, run: &run, cell }) {
                writer.write_record(&row).expect("writing to memory");
            }
        }
    }
    let bytes = writer.into_inner().expect("writing to memory");
    String::from_utf8(bytes).expect("all fields are UTF-8")
}

type Row = [String; SUMMARY_COLUMNS.len()];

/// Where a row comes from.
struct Origin<'a> {
    result: &'a ResultFile,
    run: &'a str,
    cell: &'a Cell,
}

/// What a row is about.
#[derive(Clone, Copy, Default)]
struct Subject<'a> {
    kind: &'a str,
    measurement: Option<&'a Measurement>,
    stats: Option<&'a OperationStats>,
    rate: Option<&'a RatePoint>,
}

fn rows(origin: &Origin<'_>) -> Vec<Row> {
    let whole = Subject { kind: "all", ..Subject::default() };
    let Some(measurement) = &origin.cell.measurement else { return vec![row(origin, whole)] };
    let whole = Subject { measurement: Some(measurement), ..whole };
    let (all, kinds): (Vec<_>, Vec<_>) =
        measurement.operations.iter().partition(|stats| stats.kind == "all");
    let all = Subject { stats: all.first().copied(), ..whole };
    kinds
        .into_iter()
        .map(|stats| Subject { kind: &stats.kind, stats: Some(stats), ..whole })
        .chain([all])
        .chain(measurement.rates.iter().map(|rate| Subject { rate: Some(rate), ..whole }))
        .map(|subject| row(origin, subject))
        .collect()
}

impl<'a> Subject<'a> {
    /// The measurement, where the row is the one of the cell as a whole.
    fn whole(&self) -> Option<&'a Measurement> {
        self.measurement.filter(|_| self.kind == "all" && self.rate.is_none())
    }

    fn service(&self) -> Option<&'a Latency> {
        let latency = self.rate.map(|rate| &rate.service).or(self.stats.map(|s| &s.service));
        latency.filter(|latency| latency.count > 0)
    }

    fn response(&self) -> Option<&'a Latency> {
        let of_stats = self.stats.and_then(|s| s.response.as_ref());
        let latency = self.rate.map(|rate| &rate.response).or(of_stats);
        latency.filter(|latency| latency.count > 0)
    }

    fn operations(&self) -> Option<u64> {
        self.rate.map(|rate| rate.service.count).or(self.stats.map(|stats| stats.operations))
    }

    fn throughput(&self, settle: bool) -> Option<f64> {
        if let Some(rate) = self.rate {
            return (!settle).then_some(rate.achieved_ops_per_s);
        }
        let m = self.measurement?;
        if self.kind == "all" {
            return Some(if settle {
                m.throughput_settled_ops_per_s
            } else {
                m.throughput_ops_per_s
            });
        }
        let seconds = m.duration_s + if settle { m.settle_s } else { 0.0 };
        self.stats.filter(|_| seconds > 0.0).map(|s| s.operations as f64 / seconds)
    }

    fn target_reached(&self) -> Option<bool> {
        let open_loop = self.measurement.and_then(|m| m.open_loop);
        self.rate.map(|rate| rate.reached).or(open_loop.map(|open| open.reached))
    }
}

fn row(origin: &Origin<'_>, subject: Subject<'_>) -> Row {
    let Origin { result, run, cell } = origin;
    // Figures of the cell as a whole stand in its row `all` only.
    let whole = subject.whole();
    let amplification = whole.map(|m| &m.amplification);
    let resources = whole.map(|m| &m.resources);
    let recovery = cell.recovery.as_ref();
    let (service, response) = (subject.service(), subject.response());
    let percentile =
        |latency: Option<&Latency>, of: fn(&Latency) -> Option<u64>| text(latency.and_then(of));
    let offered = subject.rate.map(|rate| rate.offered_ops_per_s).or(cell.offered_ops_per_s);
    let page_cache = cell.scenario.map(|scenario| page_cache_name(scenario.page_cache).to_owned());
    [
        name(&result.run.suite),
        name(&cell.workload),
        name(&cell.engine),
        durability_name(cell.durability).to_owned(),
        cell.threads.to_string(),
        cell.records.to_string(),
        cell.value_bytes.to_string(),
        cell.trial.to_string(),
        phase_name(cell.phase).to_owned(),
        name(subject.kind),
        text(subject.operations()),
        text(subject.stats.filter(|_| subject.rate.is_none()).map(|s| s.errors)),
        text(subject.throughput(false)),
        text(subject.throughput(true)),
        percentile(service, |l| Some(l.p50_ns)),
        percentile(service, |l| l.p90_ns),
        percentile(service, |l| l.p99_ns),
        percentile(service, |l| l.p999_ns),
        percentile(service, |l| Some(l.max_ns)),
        percentile(response, |l| Some(l.p50_ns)),
        percentile(response, |l| l.p99_ns),
        percentile(response, |l| Some(l.max_ns)),
        text(amplification.and_then(|a| a.write_end)),
        text(amplification.and_then(|a| a.write_settled)),
        text(amplification.and_then(|a| a.read)),
        text(amplification.and_then(|a| a.space_end)),
        text(amplification.and_then(|a| a.space_settled)),
        text(resources.map(|r| r.cpu_us_per_op)),
        text(resources.and_then(|r| r.rss_anon_bytes)),
        text(whole.and_then(|m| m.io.fsyncs)),
        text(recovery.map(|recovery| recovery.open_ms)),
        status_name(cell.status).to_owned(),
        percentile(service, |l| l.p95_ns),
        percentile(response, |l| l.p95_ns),
        percentile(response, |l| l.p999_ns),
        text(offered),
        text(subject.target_reached()),
        text(cell.scenario.map(|scenario| ending_word(scenario.ending))),
        page_cache.unwrap_or_else(|| name(&result.environment.page_cache)),
        text(whole.and_then(|m| m.stall_count)),
        text(whole.and_then(|m| m.stall_s)),
        name(run),
        text(recovery.map(|recovery| recovery.first_read_ms)),
        text(recovery.and_then(|recovery| recovery.to_90_percent_ms)),
        if subject.rate.is_some() { "rate" } else { "operation" }.to_owned(),
        text(cell.scenario.and_then(|scenario| scenario.written)),
        text(recovery.and_then(|recovery| recovery.written_bytes)),
        text(whole.and_then(never_done)),
    ]
}

/// A name that no spreadsheet takes for a formula.
fn name(text: &str) -> String {
    let text = one_line(text);
    let text = text.trim();
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() }
}

fn text(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn status_name(status: CellStatus) -> &'static str {
    match status {
        CellStatus::Ok => "ok",
        CellStatus::Unsupported => "unsupported",
        CellStatus::Failed => "failed",
        CellStatus::Timeout => "timeout",
        CellStatus::Interrupted => "interrupted",
        CellStatus::WrongData => "wrong_data",
        CellStatus::LostWrite => "lost_write",
    }
}
