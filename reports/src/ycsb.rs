//! A result as YCSB prints it, so that scripts written for YCSB keep working.
//!
//! A block per measured cell, headed by a line of comment that names it: `[OVERALL]` first, then each operation kind
//! by YCSB's name, and under an offered rate the response times as `[Intended-READ]`, as
//! `measurement.interval=both` gives them. Latencies are microseconds with three decimals, where YCSB rounds
//! to whole ones. Percentiles are told however few the samples are, as YCSB does; the other reports leave them out.
//!
//! Reads of what is not there succeed. YCSB counts them under `[READ]` with the status `NOT_FOUND`, and with
//! `reportlatencyforeacherror=true` gives their latencies as `[READ-NOT_FOUND]`: both are what is written here.

use std::fmt::Write as _;

use crate::identity::CellKey;
use crate::latency::decode_histogram;
use crate::result::{Cell, CellStatus, Latency, ResultFile};
use crate::table::one_line;

/// The text, ending in a newline. Cells without figures are comments that say why.
pub fn ycsb_text(result: &ResultFile) -> String {
    let mut text = String::new();
    for cell in result.cells.iter().filter(|cell| cell.engine != "noop") {
        let key = one_line(&CellKey::of(cell).to_string());
        let _ = writeln!(text, "# {key} trial {}", cell.trial);
        if cell.measurement.is_some() && cell.status == CellStatus::Ok {
            block(&mut text, cell);
        } else if cell.recovery.is_none() {
            let reason = one_line(cell.error.as_deref().unwrap_or("no figures"));
            let _ = writeln!(text, "# not measured: {reason}");
        }
    }
    text
}

fn block(text: &mut String, cell: &Cell) {
    let Some(measurement) = &cell.measurement else { return };
    let _ = writeln!(text, "[OVERALL], RunTime(ms), {:.0}", measurement.duration_s * 1e3);
    let _ = writeln!(text, "[OVERALL], Throughput(ops/sec), {}", measurement.throughput_ops_per_s);
    for stats in measurement.operations.iter().filter(|stats| stats.kind != "all") {
        let (name, operation, status) = names(&stats.kind);
        latency(text, &name, stats.operations, &stats.service);
        let _ = writeln!(text, "[{operation}], Return={status}, {}", stats.operations);
        if stats.errors > 0 {
            let _ = writeln!(text, "[{operation}], Return=ERROR, {}", stats.errors);
        }
        if let Some(response) = &stats.response {
            latency(text, &format!("Intended-{name}"), stats.operations, response);
        }
    }
}

/// What YCSB calls the measurement of a kind, the operation, and the status that its calls return.
fn names(kind: &str) -> (String, String, &'static str) {
    if kind == "read_absent" {
        return ("READ-NOT_FOUND".into(), "READ".into(), "NOT_FOUND");
    }
    let name = one_line(&kind.to_uppercase().replace('_', "-"));
    (name.clone(), name, "OK")
}

fn latency(text: &mut String, name: &str, operations: u64, latency: &Latency) {
    let histogram = decode_histogram(&latency.histogram).ok();
    let percentile = |quantile: f64, told: Option<u64>| {
        histogram.as_ref().map(|h| h.value_at_quantile(quantile)).or(told)
    };
    let figures = [
        ("AverageLatency(us)", Some(latency.mean_ns)),
        ("MinLatency(us)", Some(latency.min_ns as f64)),
        ("MaxLatency(us)", Some(latency.max_ns as f64)),
        ("50thPercentileLatency(us)", Some(latency.p50_ns as f64)),
        ("95thPercentileLatency(us)", percentile(0.95, latency.p95_ns).map(|ns| ns as f64)),
        ("99thPercentileLatency(us)", percentile(0.99, latency.p99_ns).map(|ns| ns as f64)),
    ];
    let _ = writeln!(text, "[{name}], Operations, {operations}");
    for (figure, ns) in figures {
        if let Some(ns) = ns {
            let _ = writeln!(text, "[{name}], {figure}, {:.3}", ns / 1e3);
        }
    }
}
