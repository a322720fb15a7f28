//! Recovery over sizes and scenarios: a table per scenario, and the curves.

use maud::{Markup, html};

use super::{median, spread};
use crate::chart::Chart;
use crate::chart::recovery_curve::{Over, slope_ms_per_gib, slope_words};
use crate::error::Result;
use crate::format;
use crate::identity::scenario_name;
use crate::model::{Report, Study, StudyEntry};
use crate::result::{Recovery, RecoveryScenario};

const HEADINGS: [(&str, &str); 11] = [
    ("engine", ""),
    ("records", ""),
    ("store", "when reopened"),
    ("written", "since the load"),
    ("open", ""),
    ("first read", ""),
    ("to 90 %", "of the reads before"),
    ("device", "read until then"),
    ("verified", "all trials"),
    ("lost or wrong", "all trials"),
    ("slope", "per GiB of the store"),
];

pub(super) fn section(report: &Report<'_>, study: &Study<'_>, charts: &[Chart]) -> Result<Markup> {
    let mut figures = Vec::with_capacity(charts.len());
    for chart in charts {
        figures.push(super::figure::figure(chart)?);
    }
    Ok(html! {
        section id=(format!("study{}", study.suffix)) {
            h2 { "Recovery over size" @if study.workload != "recovery" { ": " (study.workload) } }
            p.note {
                (study.title()) ". A store is left as the scenario says and opened again; every record with an acknowledged write is looked up. "
                "To 90 %: until reads came at 90 % of the rate that they had before. Device: what the block device delivered from opening until the first read. "
                "Slope: milliseconds to the first read for each GiB more, of a straight line through all trials by least squares."
            }
            div.scroll tabindex="0" {
                table.dense {
                    thead {
                        tr {
                            @for (name, remark) in HEADINGS {
                                th scope="col" { (name) @if !remark.is_empty() { small { (remark) } } }
                            }
                        }
                    }
                    @for scenario in study.scenarios() { (rows(report, study, scenario)) }
                }
            }
            div.charts { @for figure in &figures { (figure) } }
        }
    })
}

fn rows(report: &Report<'_>, study: &Study<'_>, scenario: RecoveryScenario) -> Markup {
    let entries = || study.entries.iter().filter(move |entry| entry.scenario == scenario);
    html! {
        tbody {
            tr { th scope="rowgroup" colspan=(HEADINGS.len()) { (scenario_name(scenario)) } }
            @for entry in entries() {
                tr {
                    th scope="row" { (super::engine(report, entry.engine)) }
                    td { (format::count(entry.records)) }
                    @if entry.series.recovery(|r| r.open_ms).is_some() {
                        @let slope = slope_ms_per_gib(entries().filter(|e| e.engine == entry.engine), Over::Store);
                        (figures(entry, slope))
                    } @else {
                        (super::detail::reason(&entry.series, HEADINGS.len() - 2))
                    }
                }
            }
        }
    }
}

fn figures(entry: &StudyEntry<'_>, slope: Option<f64>) -> Markup {
    let series = &entry.series;
    let bytes = |of: fn(&Recovery) -> Option<u64>| {
        median(series.recovered(|r| of(r).map(|bytes| bytes as f64)), format::bytes)
    };
    let sum = |of: fn(&Recovery) -> u64| series.recoveries().map(of).sum::<u64>();
    let bad = sum(|r| r.records_lost + r.records_wrong);
    html! {
        td { (bytes(|r| Some(r.store_bytes))) }
        td { (bytes(|r| r.written_bytes)) }
        td { (spread(series.recovery(|r| r.open_ms), format::milliseconds)) }
        td { (spread(series.recovery(|r| r.first_read_ms), format::milliseconds)) }
        td { (median(series.recovered(|r| r.to_90_percent_ms), format::milliseconds)) }
        td { (bytes(|r| r.device_bytes_read)) }
        td { (format::count(sum(|r| r.records_verified))) }
        td { span.bad[bad > 0] { (format::count(bad)) } }
        td { (slope.map_or_else(|| "n/a".to_owned(), slope_words)) }
    }
}
