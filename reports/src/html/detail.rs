//! The two wide tables: what each engine costs (the RUM table), and everything else in detail.

use maud::{Markup, html};

use super::verdict::contest_name;
use super::{median, spread};
use crate::chart::anchor;
use crate::format;
use crate::model::{Contest, Group, Report};
use crate::result::{Latency, Measurement};
use crate::series::Series;
use crate::table::mix;

/// A column: heading, unit or remark under it, and how to fill it.
struct Column {
    heading: &'static str,
    remark: &'static str,
    cell: fn(&Series<'_>) -> Markup,
}

const COSTS: [Column; 11] = [
    Column {
        heading: "write amp",
        remark: "engine, settled",
        cell: |s| spread(s.spread(|m| m.amplification.write_settled), format::ratio),
    },
    Column {
        heading: "write amp",
        remark: "device, settled",
        cell: |s| spread(s.spread(|m| m.amplification.write_device_settled), format::ratio),
    },
    Column {
        heading: "read amp",
        remark: "bytes",
        cell: |s| median(s.spread(|m| m.amplification.read), format::ratio),
    },
    Column {
        heading: "read calls",
        remark: "per item",
        cell: |s| median(s.spread(|m| m.amplification.read_calls_per_item), format::figure),
    },
    Column {
        heading: "space amp",
        remark: "settled",
        cell: |s| spread(s.spread(|m| m.amplification.space_settled), format::ratio),
    },
    Column {
        heading: "space amp",
        remark: "peak",
        cell: |s| median(s.spread(|m| m.amplification.space_peak), format::ratio),
    },
    Column {
        heading: "memory",
        remark: "above noop",
        cell: |s| spread(s.spread(|m| m.resources.memory_bytes.map(|b| b as f64)), format::bytes),
    },
    Column {
        heading: "memory",
        remark: "per record",
        cell: |s| median(s.spread(|m| m.resources.memory_bytes_per_record), format::bytes),
    },
    Column {
        heading: "CPU",
        remark: "per operation",
        cell: |s| spread(s.spread(|m| Some(m.resources.cpu_us_per_op)), format::microseconds),
    },
    Column {
        heading: "fsyncs",
        remark: "per million ops",
        cell: |s| median(s.spread(fsyncs_per_million), format::figure),
    },
    Column {
        heading: "writes",
        remark: "per fsync",
        cell: |s| median(s.spread(writes_per_fsync), format::figure),
    },
];

const DETAILS: [Column; 19] = [
    Column { heading: "ops/s", remark: "", cell: |s| spread(s.throughput(), format::rate) },
    Column {
        heading: "settled",
        remark: "ops/s",
        cell: |s| median(s.spread(|m| Some(m.throughput_settled_ops_per_s)), format::rate),
    },
    Column {
        heading: "user data",
        remark: "per second",
        cell: |s| median(s.spread(user_rate), format::bytes),
    },
    Column { heading: "p50", remark: "", cell: |s| latency(s, "all", |l| Some(l.p50_ns)) },
    Column { heading: "p90", remark: "", cell: |s| latency(s, "all", |l| l.p90_ns) },
    Column { heading: "p95", remark: "", cell: |s| latency(s, "all", |l| l.p95_ns) },
    Column { heading: "p99", remark: "", cell: |s| latency(s, "all", |l| l.p99_ns) },
    Column { heading: "p99.9", remark: "", cell: |s| latency(s, "all", |l| l.p999_ns) },
    Column { heading: "p99.99", remark: "", cell: |s| latency(s, "all", |l| l.p9999_ns) },
    Column {
        heading: "max",
        remark: "",
        cell: |s| spread(s.service("all", |l| Some(l.max_ns)), format::latency),
    },
    Column { heading: "errors", remark: "in all", cell: errors },
    Column {
        heading: "read",
        remark: "engine",
        cell: |s| median(s.spread(|m| m.io.engine_bytes_read.map(|b| b as f64)), format::bytes),
    },
    Column {
        heading: "written",
        remark: "engine",
        cell: |s| median(s.spread(bytes_written), format::bytes),
    },
    Column { heading: "stalls", remark: "of time", cell: stalls },
    Column {
        heading: "machine",
        remark: "late by at most",
        cell: |s| median(s.spread(|m| m.machine.map(|m| m.hiccup_max_ns as f64)), format::latency),
    },
    Column {
        heading: "in memory",
        remark: "before",
        cell: |s| median(s.spread(|m| m.resident_share_before), per_cent),
    },
    Column {
        heading: "RSS",
        remark: "anon.",
        cell: |s| median(s.spread(|m| m.resources.rss_anon_bytes.map(|b| b as f64)), format::bytes),
    },
    Column {
        heading: "on disk",
        remark: "settled",
        cell: |s| {
            median(
                s.spread(|m| m.amplification.allocated_bytes_settled.map(|b| b as f64)),
                format::bytes,
            )
        },
    },
    Column { heading: "warm-up", remark: "", cell: warm_up },
];

pub(super) fn costs(report: &Report<'_>, group: &Group<'_>) -> Markup {
    html! {
        section id=(format!("costs{}", group.suffix)) {
            h2 { "Costs" }
            p.note {
                "Write amplification = bytes written ÷ key and value bytes handed to the engine, as the engine tells it and as the block device took it "
                "(the device is shared with the rest of the machine). Read amplification = bytes the engine read ÷ bytes returned. "
                "Space amplification = allocated bytes ÷ live bytes. Settled: after background work has drained."
            }
            (table(report, group, &COSTS))
        }
    }
}

pub(super) fn details(report: &Report<'_>, group: &Group<'_>) -> Markup {
    html! {
        section id=(format!("details{}", group.suffix)) {
            h2 { "Details" }
            p.note {
                "Latency is service time over all operations: from the call to its return. Stalls: how often the engine made writers wait, and for which share of the time; n/a where it does not tell. "
                "Machine: the longest that a sleeping thread woke too late, which is not the engine's doing. In memory: the share of the store's bytes that the page cache held before the phase. "
                "A percentile is told only where at least 100 samples lie above it. Medians over trials; ± is half their range."
            }
            (table(report, group, &DETAILS))
            details {
                summary { "Latency by kind of operation" }
                (kinds(report, group))
            }
        }
    }
}

fn table(report: &Report<'_>, group: &Group<'_>, columns: &[Column]) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table.dense {
                thead {
                    tr {
                        th scope="col" { "engine" }
                        @for column in columns {
                            th scope="col" { (column.heading) @if !column.remark.is_empty() { small { (column.remark) } } }
                        }
                    }
                }
                @for contest in &group.contests {
                    tbody {
                        (group_row(group, contest, columns.len() + 1))
                        @for entry in &contest.entries {
                            tr {
                                th scope="row" { (super::engine(report, entry.engine)) }
                                @if entry.series.throughput().is_some() {
                                    @for column in columns { td { ((column.cell)(&entry.series)) } }
                                } @else {
                                    (reason(&entry.series, columns.len()))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Why an engine has no figures, across all columns.
pub(super) fn reason(series: &Series<'_>, columns: usize) -> Markup {
    let outcome = series.outcome();
    html! {
        td.words.bad[outcome.is_wrong()] colspan=(columns) {
            (outcome.words())
            @if let Some(reason) = series.reason() { ": " (reason) }
        }
    }
}

/// The workload's name and mix, leading to its chart.
fn group_row(group: &Group<'_>, contest: &Contest<'_>, columns: usize) -> Markup {
    let measured = contest.entries.iter().any(|entry| entry.series.throughput().is_some());
    let name = contest_name(contest);
    html! {
        tr {
            th scope="rowgroup" colspan=(columns) {
                @if measured {
                    a href=(format!("#{}", anchor(group, &[&contest.name, "percentiles"]))) { (name) }
                } @else { (name) }
                @if let Some(info) = contest.info {
                    @if !info.mix.is_empty() { span { (mix(&info.mix)) } }
                }
            }
        }
    }
}

fn kinds(report: &Report<'_>, group: &Group<'_>) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table.dense {
                thead {
                    tr {
                        @for name in ["engine", "operation", "operations", "p50", "p90", "p95", "p99", "p99.9", "p99.99", "max"] {
                            th scope="col" { (name) }
                        }
                    }
                }
                @for contest in &group.contests {
                    tbody {
                        (group_row(group, contest, 10))
                        @for entry in &contest.entries {
                            @for kind in entry.series.kinds() {
                                @let series = &entry.series;
                                tr {
                                    th scope="row" { (super::engine(report, entry.engine)) }
                                    td { (kind.replace('_', "-")) }
                                    td { (median(series.service(kind, |l| Some(l.count)), format::figure)) }
                                    td { (latency(series, kind, |l| Some(l.p50_ns))) }
                                    td { (latency(series, kind, |l| l.p90_ns)) }
                                    td { (latency(series, kind, |l| l.p95_ns)) }
                                    td { (latency(series, kind, |l| l.p99_ns)) }
                                    td { (latency(series, kind, |l| l.p999_ns)) }
                                    td { (latency(series, kind, |l| l.p9999_ns)) }
                                    td { (latency(series, kind, |l| Some(l.max_ns))) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn latency(series: &Series<'_>, kind: &str, of: fn(&Latency) -> Option<u64>) -> Markup {
    median(series.service(kind, of), format::latency)
}

fn operations(measurement: &Measurement) -> Option<f64> {
    let all = measurement.operations.iter().find(|stats| stats.kind == "all")?;
    (all.operations > 0).then_some(all.operations as f64)
}

fn fsyncs_per_million(measurement: &Measurement) -> Option<f64> {
    Some(measurement.io.fsyncs? as f64 / operations(measurement)? * 1e6)
}

/// Acknowledged writes that shared a flush: what group commit gains in class `sync`.
fn writes_per_fsync(measurement: &Measurement) -> Option<f64> {
    const READS: [&str; 8] =
        ["all", "read", "scan", "scan_reverse", "latest", "window", "multi_get", "read_absent"];
    let kinds = measurement.operations.iter();
    let writes = kinds.filter(|stats| !READS.contains(&stats.kind.as_str()));
    let writes: u64 = writes.map(|stats| stats.operations).sum();
    let fsyncs = measurement.io.fsyncs.filter(|fsyncs| *fsyncs > 0)?;
    (writes > 0).then(|| writes as f64 / fsyncs as f64)
}

fn user_rate(measurement: &Measurement) -> Option<f64> {
    let bytes = measurement.io.user_bytes_read + measurement.io.user_bytes_written;
    (measurement.duration_s > 0.0).then(|| bytes as f64 / measurement.duration_s)
}

fn bytes_written(measurement: &Measurement) -> Option<f64> {
    let sources = measurement.io.engine_bytes_written_settled.as_ref()?;
    Some(sources.values().sum::<u64>() as f64)
}

/// By which rule the warm-up ended: the first trial's words, as all trials have the same rule.
fn warm_up(series: &Series<'_>) -> Markup {
    html! { (series.measurements().next().map_or("n/a", |m| &m.warm_up)) }
}

fn errors(series: &Series<'_>) -> Markup {
    let errors: u64 = series
        .measurements()
        .filter_map(|m| m.operations.iter().find(|stats| stats.kind == "all"))
        .map(|stats| stats.errors)
        .sum();
    html! { span.bad[errors > 0] { (format::count(errors)) } }
}

/// How often writers were held up, and for what share of the time; n/a where the engine does not tell.
fn stalls(series: &Series<'_>) -> Markup {
    let share = series.spread(|m| {
        (m.duration_s > 0.0).then(|| m.stall_s.map(|stalled| stalled / m.duration_s))?
    });
    html! {
        (median(series.spread(|m| m.stall_count.map(|count| count as f64)), whole))
        @if let Some(share) = share.filter(|share| share.median > 0.0) {
            " " small { (per_cent(share.median)) }
        }
    }
}

fn whole(value: f64) -> String {
    format::count(value.round() as u64)
}

fn per_cent(share: f64) -> String {
    format!("{} %", format::figure(share * 100.0))
}
