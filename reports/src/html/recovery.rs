//! Recovery: what happened to acknowledged writes after `kill -9`, engine by engine.

use maud::{Markup, html};

use super::{median, spread};
use crate::format;
use crate::identity::durability_name;
use crate::model::{Contest, Group, Report};
use crate::result::{Durability, Recovery};
use crate::series::Series;

pub(super) fn section(report: &Report<'_>, group: &Group<'_>) -> Markup {
    if group.recoveries.is_empty() {
        return html! {};
    }
    html! {
        section id=(format!("recoveries{}", group.suffix)) {
            h2 { "Recovery" }
            p.note {
                "A process is killed with SIGKILL while it writes; its store is opened again and every record with an acknowledged write is looked up. "
                (promise(group))
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
                    @for contest in &group.recoveries { (rows(report, contest)) }
                }
            }
        }
    }
}

const HEADINGS: [(&str, &str); 8] = [
    ("engine", ""),
    ("open", "after kill -9"),
    ("first read", "after kill -9"),
    ("open", "after clean close"),
    ("store", "when reopened"),
    ("acknowledged", "all trials"),
    ("verified", "all trials"),
    ("lost or wrong", "all trials"),
];

/// What the class promises about a kill.
fn promise(group: &Group<'_>) -> String {
    let class = group.conditions.durability;
    let promise = match class {
        Durability::Buffered => "promises nothing about a kill: losses are told, not judged",
        Durability::Os | Durability::Sync => "promises that none is lost",
    };
    format!("Class {} {promise}.", durability_name(class))
}

fn rows(report: &Report<'_>, contest: &Contest<'_>) -> Markup {
    html! {
        tbody {
            @if contest.workload != "recovery" {
                tr { th scope="rowgroup" colspan=(HEADINGS.len()) { (contest.workload) } }
            }
            @for entry in &contest.entries {
                @let series = &entry.series;
                tr {
                    th scope="row" { (super::engine(report, entry.engine)) }
                    @if series.recovery(|r| r.open_ms).is_some() {
                        td { (spread(series.recovery(|r| r.open_ms), format::milliseconds)) }
                        td { (median(series.recovery(|r| r.first_read_ms), format::milliseconds)) }
                        td { (median(series.recovery(|r| r.reopen_clean_ms), format::milliseconds)) }
                        td { (median(series.recovery(|r| r.store_bytes as f64), format::bytes)) }
                        td { (format::count(sum(series, |r| r.acknowledged_writes))) }
                        td { (format::count(sum(series, |r| r.records_verified))) }
                        td { (format::count(sum(series, |r| r.records_lost + r.records_wrong))) }
                    } @else {
                        (super::detail::reason(series, HEADINGS.len() - 1))
                    }
                }
            }
        }
    }
}

fn sum(series: &Series<'_>, of: fn(&Recovery) -> u64) -> u64 {
    series.recoveries().map(of).sum()
}
