//! Under an offered rate: response time beside service time, and how far each engine can be driven.

use maud::{Markup, html};

use super::{median, spread};
use crate::format;
use crate::model::{Contest, Entry, Group, Report};
use crate::rates::{highest_reached, never_done_words, points, slo_sentence, target_words};
use crate::result::{Arrivals, Latency, OpenLoop};
use crate::series::Series;

const HEADINGS: [(&str, &str); 15] = [
    ("engine", ""),
    ("rate", ""),
    ("ops/s", "acknowledged"),
    ("backlog", "at the end"),
    ("never done", "of those due, at most"),
    ("p50", "response"),
    ("p95", "response"),
    ("p99", "response"),
    ("p99.9", "response"),
    ("max", "response"),
    ("p50", "service"),
    ("p95", "service"),
    ("p99", "service"),
    ("p99.9", "service"),
    ("max", "service"),
];

/// Whether a rate was offered in the group.
pub(super) fn is_told(group: &Group<'_>) -> bool {
    group.contests.iter().any(|contest| contest.offered.is_some() || has_rates(contest))
}

fn has_rates(contest: &Contest<'_>) -> bool {
    contest.entries.iter().any(|entry| !points(&entry.series).is_empty())
}

pub(super) fn section(report: &Report<'_>, group: &Group<'_>) -> Markup {
    if !is_told(group) {
        return html! {};
    }
    let offered: Vec<_> = group.contests.iter().filter(|c| c.offered.is_some()).collect();
    let swept: Vec<_> = group.contests.iter().filter(|contest| has_rates(contest)).collect();
    html! {
        section id=(format!("offered{}", group.suffix)) {
            h2 { "Under an offered rate" }
            p.note {
                "Response time runs from the moment at which an operation was due to its return, so that whoever waits behind a stall is counted; "
                "service time from the call to its return. "
                "A rate is reached if all operations that were due were done, and the last one began no later than a fiftieth of the phase, or 20 ms, after it was due. "
                "Where it was not reached, the figures are of the operations that were done: those that never began had waited longer."
            }
            @if !offered.is_empty() { (table(report, &offered)) }
            @for contest in swept { (bounds(report, contest)) }
        }
    }
}

fn table(report: &Report<'_>, contests: &[&Contest<'_>]) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table.dense {
                thead {
                    tr {
                        @for (name, remark) in HEADINGS {
                            th scope="col" { (name) @if !remark.is_empty() { small { (remark) } } }
                        }
                    }
                }
                @for contest in contests {
                    tbody {
                        tr {
                            th scope="rowgroup" colspan=(HEADINGS.len()) {
                                (contest.name) span { (arrivals(contest)) }
                            }
                        }
                        @for entry in &contest.entries { (row(report, entry)) }
                    }
                }
            }
        }
    }
}

fn arrivals(contest: &Contest<'_>) -> &'static str {
    let open = |entry: &Entry<'_>| entry.series.measurements().find_map(|m| m.open_loop);
    match contest.entries.iter().find_map(open).map(|open: OpenLoop| open.arrivals) {
        Some(Arrivals::Constant) => "operations due at equal gaps",
        Some(Arrivals::Poisson) => {
            "operations due at random gaps, as independent clients make them"
        }
        None => "",
    }
}

fn row(report: &Report<'_>, entry: &Entry<'_>) -> Markup {
    let series = &entry.series;
    let missed = series.reached() == Some(false);
    html! {
        tr {
            th scope="row" { (super::engine(report, entry.engine)) }
            @if series.throughput().is_some() {
                td { span.bad[missed] { (target_words(series).unwrap_or("n/a")) } }
                td { (spread(series.throughput(), format::rate)) }
                td { (median(series.spread(|m| m.open_loop.map(|o| o.backlog_end_s)), format::seconds)) }
                td { (never_done_words(series).unwrap_or_else(|| "n/a".to_owned())) }
                (latencies(|of| series.response("all", of)))
                (latencies(|of| series.service("all", of)))
            } @else {
                (super::detail::reason(series, HEADINGS.len() - 1))
            }
        }
    }
}

type Figure = fn(&Latency) -> Option<u64>;

fn latencies(spread: impl Fn(Figure) -> Option<crate::series::Spread>) -> Markup {
    let figures: [Figure; 5] =
        [|l| Some(l.p50_ns), |l| l.p95_ns, |l| l.p99_ns, |l| l.p999_ns, |l| Some(l.max_ns)];
    html! { @for figure in figures { td { (median(spread(figure), format::latency)) } } }
}

/// The bound that was looked for, or how far the rates went, one sentence an engine.
fn bounds(report: &Report<'_>, contest: &Contest<'_>) -> Markup {
    let sentence = |series: &Series<'_>| {
        slo_sentence(series).or_else(|| {
            let highest = highest_reached(series)?;
            Some(format!("reaches {} ops/s", format::rate(highest.median)))
        })
    };
    html! {
        h3 { (contest.name) " under rising load" }
        ul.bounds {
            @for entry in &contest.entries {
                @if let Some(sentence) = sentence(&entry.series) {
                    li { (super::engine(report, entry.engine)) " " (sentence) "." }
                }
            }
        }
    }
}
