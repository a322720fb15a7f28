//! The founding comparison: hash index against LSM tree, each claim with the figure measured here.
//!
//! Both columns tell of the same workloads ([`Sides::telling`]): where there is one that both engines were
//! measured on, of that one. The load is that of the data set on which the writes are told.

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
    figures: fn(&Sides<'_, '_>, usize) -> Vec<Figure>,
}

/// The group of cells that is told of, and the engines of the two columns.
struct Sides<'g, 'a> {
    group: &'g Group<'a>,
    bitcask: Option<usize>,
    lsm: Option<usize>,
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
    let sides = Sides { group, bitcask, lsm };
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
                                (cell(dimension.bitcask, dimension, &sides, bitcask))
                                (cell(dimension.lsm, dimension, &sides, lsm))
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
    sides: &Sides<'_, '_>,
    engine: Option<usize>,
) -> Markup {
    let figures = engine.map(|engine| (dimension.figures)(sides, engine)).unwrap_or_default();
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

impl<'g, 'a> Sides<'g, 'a> {
    /// On how many of the two something was measured in a contest.
    fn measured(&self, contest: &Contest<'_>, is_told: impl Fn(&Series<'_>) -> bool) -> usize {
        let engines = self.bitcask.into_iter().chain(self.lsm);
        engines.filter_map(|engine| series(contest, engine)).filter(|s| is_told(s)).count()
    }

    /// The run that tells the most of these kinds of operations, and the kind. In this order decide: on how
    /// many of the two engines it was measured, which kind comes first in the list, its share.
    fn telling(&self, kinds: &[&'static str]) -> Option<(&'g Contest<'a>, &'static str)> {
        let mut best: Option<((usize, f64), &Contest<'a>, &'static str)> = None;
        for kind in kinds {
            for contest in self.group.contests.iter().filter(|c| c.phase == Phase::Run) {
                let share = contest.info.and_then(|info| info.mix.get(*kind)).copied();
                let Some(share) = share.filter(|share| *share > 0.0) else { continue };
                let measured =
                    self.measured(contest, |s| s.service(kind, |l| Some(l.p50_ns)).is_some());
                let is_better = best.is_none_or(|((most, largest), _, other)| {
                    measured > most || (measured == most && other == *kind && share > largest)
                });
                if is_better {
                    best = Some(((measured, share), contest, *kind));
                }
            }
        }
        best.map(|(_, contest, kind)| (contest, kind))
    }

    /// The run that tells of writing.
    fn writing(&self) -> Option<(&'g Contest<'a>, &'static str)> {
        self.telling(&["update", "read_modify_write", "insert"])
    }

    /// The load of the data set on which writing is told, or else the first.
    fn load(&self) -> Option<&'g Contest<'a>> {
        self.writing()
            .and_then(|(run, _)| self.group.load_of(run))
            .or_else(|| self.group.loads().next().map(|(_, load)| load))
    }
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

fn read_path(sides: &Sides<'_, '_>, engine: usize) -> Vec<Figure> {
    let Some((contest, kind)) = sides.telling(&["read", "get", "latest", "read_absent"]) else {
        return vec![];
    };
    let Some(series) = series(contest, engine) else { return vec![] };
    let mut figures = latencies(series, kind, &contest.name);
    if let Some(cpu) = series.spread(|m| Some(m.resources.cpu_us_per_op)) {
        let is_mixed = contest.info.is_some_and(|info| info.mix.len() > 1);
        let remark = if is_mixed { "all operations" } else { "" };
        let cpu = format!("{}/op", format::microseconds(cpu.median));
        figures.push(figure("CPU", Some(cpu), remark));
    }
    figures
}

fn write_path(sides: &Sides<'_, '_>, engine: usize) -> Vec<Figure> {
    let mut figures = Vec::new();
    if let Some((contest, kind)) = sides.writing()
        && let Some(series) = series(contest, engine)
    {
        figures.extend(latencies(series, kind, &contest.name));
    }
    if let Some((contest, series)) = sides.load().and_then(|c| Some((c, series(c, engine)?))) {
        figures.push(match series.throughput() {
            Some(rate) => {
                let rate = format!("{} ops/s", format::rate(rate.median));
                figure("load", Some(rate), contest.name.as_str())
            }
            None => figure("load", None, words(series)),
        });
    }
    figures
}

fn range_queries(sides: &Sides<'_, '_>, engine: usize) -> Vec<Figure> {
    let Some((contest, kind)) = sides.telling(&["scan", "window"]) else { return vec![] };
    series(contest, engine).map(|series| latencies(series, kind, &contest.name)).unwrap_or_default()
}

fn memory(sides: &Sides<'_, '_>, engine: usize) -> Vec<Figure> {
    let per_key = |series: &Series<'_>| series.spread(|m| m.resources.memory_bytes_per_record);
    // After the load where that is known, else after whatever tells of most engines.
    let measured = |contest: &&Contest<'_>| sides.measured(contest, |s| per_key(s).is_some());
    let contests = sides.load().into_iter().chain(&sides.group.contests).rev();
    let Some(contest) = contests.max_by_key(measured).filter(|c| measured(c) > 0) else {
        return vec![];
    };
    let Some(series) = series(contest, engine) else { return vec![] };
    let Some(bytes) = per_key(series) else {
        return vec![figure("per key", None, words(series))];
    };
    let remark = format!("after {}", contest.name);
    let mut figures = vec![figure("per key", Some(format::bytes(bytes.median)), remark)];
    if let Some(whole) = series.spread(|m| m.resources.memory_bytes.map(|bytes| bytes as f64)) {
        figures.push(figure("in all", Some(format::bytes(whole.median)), ""));
    }
    figures
}

fn recovery(sides: &Sides<'_, '_>, engine: usize) -> Vec<Figure> {
    let killed = |series: &Series<'_>| series.recovery(|r| r.open_ms);
    let contests = sides.group.recoveries.iter().rev();
    let contest = contests.max_by_key(|c| sides.measured(c, |s| killed(s).is_some()));
    let Some((contest, series)) = contest.and_then(|c| Some((c, series(c, engine)?))) else {
        return vec![];
    };
    let Some(killed) = killed(series) else {
        return vec![figure("after kill -9", None, words(series))];
    };
    let remark = if contest.workload == "recovery" { "" } else { contest.workload };
    let mut figures =
        vec![figure("after kill -9", Some(format::milliseconds(killed.median)), remark)];
    if let Some(clean) = series.recovery(|r| r.reopen_clean_ms) {
        figures.push(figure("clean reopen", Some(format::milliseconds(clean.median)), ""));
    }
    figures
}

fn write_amplification(sides: &Sides<'_, '_>, engine: usize) -> Vec<Figure> {
    let settled = |series: &Series<'_>| series.spread(|m| m.amplification.write_settled);
    let contests = sides.load().into_iter().chain(sides.writing().map(|(run, _)| run));
    contests
        .filter(|contest| sides.measured(contest, |s| settled(s).is_some()) > 0)
        .filter_map(|contest| {
            let series = series(contest, engine)?;
            Some(match settled(series) {
                Some(ratio) => {
                    figure(contest.name.as_str(), Some(format::ratio(ratio.median)), "settled")
                }
                None => figure(contest.name.as_str(), None, words(series)),
            })
        })
        .collect()
}
