//! `summary.csv`: the flat view of a result for scripts and spreadsheets.
//!
//! One row per cell and operation kind, `all` among them. Counts, latencies and throughput belong to
//! the row's kind; what belongs to the cell as a whole (amplification, processor time, memory,
//! fsyncs) stands in the row `all` only. What does not apply is empty. Figures have all their digits.

use std::fmt::Display;
use std::path::Path;

use crate::error::Result;
use crate::file::write_atomically;
use crate::identity::{durability_name, phase_name};
use crate::result::{Cell, CellStatus, Latency, Measurement, OperationStats, ResultFile};

/// The columns in their order. New ones go at the end.
pub const SUMMARY_COLUMNS: [&str; 32] = [
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
    let cells =
        results.iter().flat_map(|result| result.cells.iter().map(move |cell| (result, cell)));
    for (result, cell) in cells {
        for row in rows(&result.run.suite, cell) {
            writer.write_record(&row).expect("writing to memory");
        }
    }
    let bytes = writer.into_inner().expect("writing to memory");
    String::from_utf8(bytes).expect("all fields are UTF-8")
}

type Row = [String; SUMMARY_COLUMNS.len()];

fn rows(suite: &str, cell: &Cell) -> Vec<Row> {
    let Some(measurement) = &cell.measurement else {
        return vec![row(suite, cell, "all", None, None)];
    };
    let kinds = measurement.operations.iter().filter(|stats| stats.kind != "all");
    let all = measurement.operations.iter().find(|stats| stats.kind == "all");
    kinds
        .map(|stats| row(suite, cell, &stats.kind, Some(measurement), Some(stats)))
        .chain([row(suite, cell, "all", Some(measurement), all)])
        .collect()
}

fn row(
    suite: &str,
    cell: &Cell,
    kind: &str,
    measurement: Option<&Measurement>,
    stats: Option<&OperationStats>,
) -> Row {
    // Figures of the cell as a whole stand in its row `all` only.
    let whole = measurement.filter(|_| kind == "all");
    let amplification = whole.map(|m| &m.amplification);
    let resources = whole.map(|m| &m.resources);
    let service = stats.map(|s| &s.service).filter(|latency| latency.count > 0);
    let response = stats.and_then(|s| s.response.as_ref()).filter(|latency| latency.count > 0);
    let throughput = |settle: bool| {
        let (m, stats) = (measurement?, stats);
        if kind == "all" {
            Some(if settle { m.throughput_settled_ops_per_s } else { m.throughput_ops_per_s })
        } else {
            let seconds = m.duration_s + if settle { m.settle_s } else { 0.0 };
            stats.filter(|_| seconds > 0.0).map(|s| s.operations as f64 / seconds)
        }
    };
    let percentile =
        |latency: Option<&Latency>, of: fn(&Latency) -> Option<u64>| text(latency.and_then(of));
    [
        suite.to_owned(),
        cell.workload.clone(),
        cell.engine.clone(),
        durability_name(cell.durability).to_owned(),
        cell.threads.to_string(),
        cell.records.to_string(),
        cell.value_bytes.to_string(),
        cell.trial.to_string(),
        phase_name(cell.phase).to_owned(),
        kind.to_owned(),
        text(stats.map(|s| s.operations)),
        text(stats.map(|s| s.errors)),
        text(throughput(false)),
        text(throughput(true)),
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
        text(cell.recovery.as_ref().map(|recovery| recovery.open_ms)),
        status_name(cell.status).to_owned(),
    ]
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
