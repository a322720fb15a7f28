//! The founding comparison: hash index against LSM tree, each claim with the figure measured here.

use maud::{Markup, html};

use crate::format;
use crate::model::{Contest, Entry, Group, Report, base_name};
use crate::result::Phase;
use crate::series::{Outcome, Series};

/// A dimension: its name, and what the structure of each side implies.
struct Dimension {
    name: &'static str,
    bitcask: &'static str,
    lsm: &'static str,
    figures: fn(&Group<'_>, usize) -> Vec<Figure>,
}

/// A measured figure: what it is, its value, and where it comes from.
struct Figure {
    name: String,
    value: Option<String>,
    remark: String,
}

const DIMENSIONS: [Dimension; 6] = [
    Dimension {
        name: "Read path",
        bitcask: "Hash lookup, one read: O(1) in the data size",
        lsm: "Memtable, then tables newest first: O(log N) a level",
        figures: read_path,
    },
    Dimension {
        name: "Write path",
        bitcask: "Append, update the hash map",
        lsm: "Append to the log, insert into the sorted memtable",
        figures: write_path,
    },
    Dimension {
        name: "Range queries",
        bitcask: "None: a full scan of the keys is the only way",
        lsm: "Native: a merge over memtable and tables",
        figures: range_queries,
    },
    Dimension {
        name: "Memory",
        bitcask: "An entry for every key",
        lsm: "Memtable, indexes and filters",
        figures: memory,
    },
    Dimension {
        name: "Recovery",
        bitcask: "Scan the data files, or load hint files",
        lsm: "Replay the log: unflushed writes only",
        figures: recovery,
    },
    Dimension {
        name: "Write amplification",
        bitcask: "Low: merge rewrites each live value once",
        lsm: "Higher: values are rewritten from level to level",
        figures: write_amplification,
    },
];

/// Whether one of the two took part in the group.
pub(super) fn is_told(report: &Report<'_>, group: &Group<'_>) -> bool {
    ["bitcask", "lsm"].iter().any(|name| engine(report, group, name).is_some())
}

pub(super) fn section(report: &Report<'_>, group: &Group<'_>) -> Markup {
    if !is_told(report, group) {
        return html! {};
    }
    let bitcask = engine(report, group, "bitcask");
    let lsm = engine(report, group, "lsm");
    let heading = |structure: &str, engine: Option<usize>| {
        html! {
            th scope="col" {
                @match engine {
                    Some(engine) => { (super::engine(report, engine)) }
                    None => { (structure) }
                }
            }
        }
    };
    html! {
        section id=(format!("founding{}", group.suffix)) {
            h2 { "Hash index or LSM tree" }
            p.note { "What the structure promises, and what was measured in this run." }
            div.scroll tabindex="0" {
                table.founding {
                    thead {
                        tr {
                            th scope="col" {}
                            (heading("bitcask", bitcask))
                            (heading("lsm", lsm))
                        }
                    }
                    tbody {
                        @for dimension in &DIMENSIONS {
                            tr {
                                th scope="row" { (dimension.name) }
                                (cell(dimension.bitcask, dimension, group, bitcask))
                                (cell(dimension.lsm, dimension, group, lsm))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The engine of this name in the group, or else its first variant.
fn engine(report: &Report<'_>, group: &Group<'_>, name: &str) -> Option<usize> {
    let present = group.engines();
    let find = |wanted: &dyn Fn(&str) -> bool| {
        present.iter().copied().find(|engine| wanted(report.engines[*engine].name))
    };
    find(&|candidate| candidate == name).or_else(|| find(&|candidate| base_name(candidate) == name))
}

fn cell(
    structure: &str,
    dimension: &Dimension,
    group: &Group<'_>,
    engine: Option<usize>,
) -> Markup {
    let figures = engine.map(|engine| (dimension.figures)(group, engine)).unwrap_or_default();
    html! {
        td {
            p { (structure) }
            @if figures.is_empty() {
                span.none { "not measured in this run" }
            } @else {
                dl {
                    @for figure in &figures {
                        dt { (figure.name) }
                        @match &figure.value {
                            Some(value) => { dd { (value) @if !figure.remark.is_empty() { small { (figure.remark) } } } }
                            None => { dd.none { (figure.remark) } }
                        }
                    }
                }
            }
        }
    }
}

fn series<'g, 'a>(contest: &'g Contest<'a>, engine: usize) -> Option<&'g Series<'a>> {
    let of = |entry: &&Entry<'_>| entry.engine == engine;
    contest.entries.iter().find(of).map(|entry| &entry.series)
}

/// The run with the largest share of these operation kinds, whatever became of it on an engine, so that both
/// columns tell of the same workload; its share and the kind.
fn richest<'g, 'a>(group: &'g Group<'a>, kinds: &[&str]) -> Option<(&'g Contest<'a>, String)> {
    let mut best: Option<(f64, &Contest<'a>, String)> = None;
    for contest in group.contests.iter().filter(|contest| contest.phase == Phase::Run) {
        for kind in kinds {
            let share = contest.info.and_then(|info| info.mix.get(*kind)).copied().unwrap_or(0.0);
            if share > 0.0 && best.as_ref().is_none_or(|(most, ..)| share > *most) {
                best = Some((share, contest, (*kind).to_owned()));
            }
        }
    }
    best.map(|(_, contest, kind)| (contest, kind))
}

fn figure(name: impl Into<String>, value: Option<String>, remark: impl Into<String>) -> Figure {
    Figure { name: name.into(), value, remark: remark.into() }
}

/// `p50`, `p99` of a kind, or the words that stand for them.
fn latencies(series: &Series<'_>, kind: &str, workload: &str) -> Vec<Figure> {
    let Some(p50) = series.service(kind, |l| Some(l.p50_ns)) else {
        return vec![figure(kind.replace('_', "-"), None, words(series))];
    };
    let name = kind.replace('_', "-");
    let mut figures =
        vec![figure(format!("{name} p50"), Some(format::latency(p50.median)), workload)];
    if let Some(p99) = series.service(kind, |l| l.p99_ns) {
        figures.push(figure(format!("{name} p99"), Some(format::latency(p99.median)), ""));
    }
    figures
}

fn words(series: &Series<'_>) -> &'static str {
    match series.outcome() {
        Outcome::Measured => "not measured in this run",
        outcome => outcome.words(),
    }
}

fn read_path(group: &Group<'_>, engine: usize) -> Vec<Figure> {
    let Some((contest, kind)) = richest(group, &["read", "get", "latest"]) else { return vec![] };
    let Some(series) = series(contest, engine) else { return vec![] };
    let mut figures = latencies(series, &kind, contest.workload);
    if let Some(cpu) = series.spread(|m| Some(m.resources.cpu_us_per_op)) {
        figures.push(figure("CPU", Some(format!("{}/op", format::microseconds(cpu.median))), ""));
    }
    figures
}

fn write_path(group: &Group<'_>, engine: usize) -> Vec<Figure> {
    let mut figures = Vec::new();
    let load = group.contests.iter().find(|contest| contest.phase == Phase::Load);
    if let Some((contest, series)) = load.and_then(|c| Some((c, series(c, engine)?))) {
        match series.throughput() {
            Some(rate) => {
                let rate = format!("{} ops/s", format::rate(rate.median));
                figures.push(figure("load", Some(rate), contest.workload));
                if let Some(p50) = series.service("all", |l| Some(l.p50_ns)) {
                    figures.push(figure("load p50", Some(format::latency(p50.median)), ""));
                }
            }
            None => figures.push(figure("load", None, words(series))),
        }
    }
    let updates = richest(group, &["update", "read_modify_write", "insert"]);
    if let Some((contest, kind)) = updates
        && let Some(series) = series(contest, engine)
    {
        figures.extend(latencies(series, &kind, contest.workload));
    }
    figures
}

fn range_queries(group: &Group<'_>, engine: usize) -> Vec<Figure> {
    let Some((contest, kind)) = richest(group, &["scan", "window"]) else { return vec![] };
    series(contest, engine)
        .map(|series| latencies(series, &kind, contest.workload))
        .unwrap_or_default()
}

fn memory(group: &Group<'_>, engine: usize) -> Vec<Figure> {
    let told = group.contests.iter().find_map(|contest| {
        let series = series(contest, engine)?;
        let per_key = series.spread(|m| m.resources.memory_bytes_per_record)?;
        Some((contest, series, per_key))
    });
    let Some((contest, series, per_key)) = told else { return vec![] };
    let mut figures = vec![figure(
        "per key",
        Some(format::bytes(per_key.median)),
        format!("after {}", contest.workload),
    )];
    if let Some(whole) = series.spread(|m| m.resources.memory_bytes.map(|bytes| bytes as f64)) {
        figures.push(figure("in all", Some(format::bytes(whole.median)), ""));
    }
    figures
}

fn recovery(group: &Group<'_>, engine: usize) -> Vec<Figure> {
    let Some((contest, series)) =
        group.recoveries.iter().find_map(|c| Some((c, series(c, engine)?)))
    else {
        return vec![];
    };
    let Some(killed) = series.recovery(|r| r.open_ms) else {
        return vec![figure("after kill -9", None, words(series))];
    };
    let mut figures =
        vec![figure("after kill -9", Some(format::milliseconds(killed.median)), contest.workload)];
    if let Some(clean) = series.recovery(|r| r.reopen_clean_ms) {
        figures.push(figure("clean reopen", Some(format::milliseconds(clean.median)), ""));
    }
    figures
}

fn write_amplification(group: &Group<'_>, engine: usize) -> Vec<Figure> {
    let updates =
        richest(group, &["update", "read_modify_write", "insert"]).map(|(contest, _)| contest);
    let load = group.contests.iter().find(|contest| contest.phase == Phase::Load);
    let mut figures = Vec::new();
    for contest in load.into_iter().chain(updates) {
        let Some(series) = series(contest, engine) else { continue };
        if let Some(ratio) = series.spread(|m| m.amplification.write_settled) {
            figures.push(figure(contest.workload, Some(format::ratio(ratio.median)), "settled"));
        }
    }
    figures
}
