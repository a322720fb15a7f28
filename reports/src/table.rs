//! The table that a person sees at the end of a run.
//!
//! One block per contest (workload and phase), engines as rows, columns as wide in all of them, then a block
//! for recovery, then how to read it and what the harness itself costs. Where the terminal is too narrow, it is said how many columns are left out. Figures are medians over the trials; `±` is half their range in per
//! cent of the median. The fastest engine of a block is marked, but only where its trials lie
//! apart from everyone else's.

mod columns;
pub(crate) mod notes;

use comfy_table::{CellAlignment, ColumnConstraint, Table, TableStyle, Width};

use crate::chart::recovery_curve::{Curve, Over, log_curves, slope_ms_per_gib, slope_words};
use crate::format;
use crate::identity::scenario_name;
use crate::model::{Contest, Entry, Group, Report, Role, Study, StudyEntry};
use crate::rates::{points, slo_sentence};
use crate::result::{Phase, ResultFile};
use crate::score::winner;
use crate::series::{Outcome, Series};

use columns::SPREAD;
pub(crate) use columns::{Column, all_columns, recovery_columns};

/// How the table may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalOptions {
    /// Whether the terminal shows colours.
    pub color: bool,
    /// Columns of the terminal.
    pub width: u16,
}

/// Marks the fastest engine of a block.
const BEST: &str = "◀";
/// A result as text for a terminal.
pub fn terminal_table(result: &ResultFile, options: TerminalOptions) -> String {
    let report = Report::new(std::slice::from_ref(result));
    let layouts = Layouts::new(&report, options.width);
    let mut text = String::new();
    if let Some(progress) = notes::progress(result) {
        push_line(&mut text, &progress, options.color);
    }
    for group in &report.groups {
        push_line(
            &mut text,
            &format!("{}, {}", group.title(), medians(group, result)),
            options.color,
        );
        for contest in &group.contests {
            text.push_str(&contest_block(&report, contest, layouts.of(contest), options));
            text.push_str(&rates_block(&report, contest, options));
        }
        for contest in &group.recoveries {
            text.push_str(&recovery_block(&report, contest, &layouts.recoveries, options));
        }
    }
    for study in &report.studies {
        text.push_str(&study_block(&report, study, &layouts.recoveries, options));
    }
    if result.cells.is_empty() {
        text.push_str("nothing was measured\n");
    }
    text.push('\n');
    let lines = layouts
        .left_out()
        .into_iter()
        .chain(legend(&report, &layouts))
        .chain(notes::conditions(result))
        .chain([notes::harness(result)])
        .chain(notes::machine(result))
        .chain(notes::durability(&report));
    for line in lines {
        push_wrapped(&mut text, &line, options.width);
    }
    for warning in &result.run.warnings {
        push_wrapped(&mut text, &format!("warning: {}", one_line(warning)), options.width);
    }
    text
}

/// What the figures of a group are, and of how many trials that were planned.
fn medians(group: &Group<'_>, result: &ResultFile) -> String {
    let planned = result.run.trials as usize;
    let words = match group.trials() {
        0 | 1 => "1 trial".to_owned(),
        trials => format!("medians over {trials} trials"),
    };
    if group.trials() < planned { format!("{words} of {planned} planned") } else { words }
}

fn push_line(text: &mut String, line: &str, color: bool) {
    let (bold, plain) = if color { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
    text.push_str(&format!("{bold}{line}{plain}\n"));
}

/// Adds a line, in several where the terminal is narrower.
fn push_wrapped(text: &mut String, line: &str, width: u16) {
    let mut column = 0;
    for word in line.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > usize::from(width) {
            text.push_str("\n  ");
            column = 2;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}

/// Which columns are shown, and how wide all of them are in every block.
struct Layout {
    columns: Vec<&'static Column>,
    /// Of the names and then of the columns.
    widths: Vec<usize>,
    /// Columns with figures for which there was no room.
    left_out: usize,
}

/// Spaces about the content of a cell.
const PADDING: usize = 2;

impl Layout {
    /// As many of the columns that have a figure as the terminal has room for.
    fn fit(mut columns: Vec<&'static Column>, rows: &[(String, &Series<'_>)], width: u16) -> Self {
        let has_figure =
            |column: &&Column| rows.iter().any(|(_, series)| (column.text)(series).is_some());
        columns.retain(has_figure);
        let wanted = columns.len();
        loop {
            let names = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
            let figures = columns.iter().map(|column| {
                let texts = rows.iter().map(|(_, series)| figure(column, series).chars().count());
                texts.max().unwrap_or(0).max(column.heading.chars().count())
            });
            let widths: Vec<usize> = [names].into_iter().chain(figures).collect();
            // The last column's padding to the right is not printed.
            let total = widths.iter().map(|width| width + PADDING).sum::<usize>() - 1;
            if total <= usize::from(width) || columns.len() <= 2 {
                let left_out = wanted - columns.len();
                return Self { columns, widths, left_out };
            }
            let most = columns.iter().map(|column| column.dispensable).max();
            columns.retain(|column| Some(column.dispensable) != most);
        }
    }

    fn table(&self, rows: impl IntoIterator<Item = Vec<String>>) -> Table {
        let mut table = new_table();
        let headings = self.columns.iter().map(|column| column.heading);
        table.set_header([""].into_iter().chain(headings));
        table.add_rows(rows);
        align_right(&mut table);
        for (at, width) in self.widths.iter().enumerate() {
            if let Some(column) = table.column_mut(at) {
                let width = u16::try_from(width + PADDING).unwrap_or(u16::MAX);
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
            }
        }
        table
    }

    fn row(&self, name: String, series: &Series<'_>) -> Vec<String> {
        let figures = self.columns.iter().map(|column| figure(column, series));
        [name].into_iter().chain(figures).collect()
    }
}

fn figure(column: &Column, series: &Series<'_>) -> String {
    (column.text)(series).unwrap_or_else(|| "n/a".to_owned())
}

/// The layouts of the kinds of blocks.
struct Layouts {
    closed: Layout,
    offered: Layout,
    recoveries: Layout,
}

impl Layouts {
    fn new(report: &Report<'_>, width: u16) -> Self {
        let contests = || report.groups.iter().flat_map(|group| &group.contests);
        let layout = |offered: bool| {
            let contests = || contests().filter(|c| c.offered.is_some() == offered);
            let rows: Vec<_> = contests()
                .flat_map(|contest| measured(contest).map(move |entry| (contest, entry)))
                .map(|(contest, entry)| (marked_name(report, contest, entry), &entry.series))
                .collect();
            let columns = contests().next().map(all_columns).unwrap_or_default();
            Layout::fit(columns, &rows, width)
        };
        let recoveries = report.groups.iter().flat_map(|group| &group.recoveries);
        let studied = report.studies.iter().flat_map(|study| &study.entries);
        let rows: Vec<_> = recoveries
            .flat_map(|contest| &contest.entries)
            .map(|entry| (name(report, entry), &entry.series))
            .chain(studied.map(|entry| (study_name(report, entry), &entry.series)))
            .filter(|(_, series)| series.recovery(|r| r.open_ms).is_some())
            .collect();
        let recoveries = Layout::fit(recovery_columns().iter().collect(), &rows, width);
        Self { closed: layout(false), offered: layout(true), recoveries }
    }

    fn of(&self, contest: &Contest<'_>) -> &Layout {
        if contest.offered.is_some() { &self.offered } else { &self.closed }
    }

    fn left_out(&self) -> Option<String> {
        let most = [&self.closed, &self.offered, &self.recoveries].map(|layout| layout.left_out);
        let most = most.into_iter().max().filter(|most| *most > 0)?;
        let columns = format::plural(most as u64, "column");
        Some(format!("{columns} left out: widen the terminal, or see summary.csv"))
    }

    fn shows(&self, heading: &str) -> bool {
        let layouts = [&self.closed, &self.offered, &self.recoveries];
        layouts.iter().flat_map(|l| &l.columns).any(|column| column.heading == heading)
    }
}

/// The engines that were measured.
fn measured<'c, 'a>(contest: &'c Contest<'a>) -> impl Iterator<Item = &'c Entry<'a>> {
    contest.entries.iter().filter(|entry| entry.series.throughput().is_some())
}

fn contest_block(
    report: &Report<'_>,
    contest: &Contest<'_>,
    layout: &Layout,
    options: TerminalOptions,
) -> String {
    let row = |entry: &Entry<'_>| layout.row(marked_name(report, contest, entry), &entry.series);
    let table = layout.table(measured(contest).map(row));
    let is_remarkable = |entry: &&Entry<'_>| {
        let (good, all) = entry.series.trials();
        entry.series.outcome() != Outcome::Measured || good < all
    };
    let remarks = contest.entries.iter().filter(is_remarkable);
    let remarks = remarks.map(|entry| remark(&name(report, entry), &entry.series));
    let bounds = contest.entries.iter().filter_map(|entry| {
        Some(format!("{} {}", name(report, entry), slo_sentence(&entry.series)?))
    });
    let remarks: Vec<_> = remarks.chain(bounds).collect();
    block(&heading(contest), &table, &remarks, options)
}

/// The engine's name, with a mark where it is the best.
fn marked_name(report: &Report<'_>, contest: &Contest<'_>, entry: &Entry<'_>) -> String {
    let name = name(report, entry);
    if winner(report, contest) == Some(entry.engine) { format!("{name} {BEST}") } else { name }
}

/// Latency at each rate that was offered, where several were.
fn rates_block(report: &Report<'_>, contest: &Contest<'_>, options: TerminalOptions) -> String {
    let mut table = new_table();
    let tried = || contest.entries.iter().flat_map(|entry| points(&entry.series));
    let has_bound = tried().any(|point| point.held.is_some());
    let bound = if has_bound { &["bound"][..] } else { &[] };
    let before = ["", "offered", "for", "ops/s", "rate"];
    let times = ["resp p50", "resp p99", "resp max", "serv p99"];
    table.set_header(before.iter().chain(bound).chain(&times));
    for entry in &contest.entries {
        for (at, point) in points(&entry.series).into_iter().enumerate() {
            let name = if at == 0 { name(report, entry) } else { String::new() };
            let told = |ns: Option<u64>| {
                ns.map_or_else(|| "n/a".to_owned(), |ns| format::latency(ns as f64))
            };
            let held = match point.held {
                Some(true) => "held",
                Some(false) => "broken",
                None => "n/a",
            };
            let mut row = vec![
                name,
                format::rate(point.offered_ops_per_s),
                format::seconds(point.duration_s),
                format::rate(point.achieved_ops_per_s),
                if point.reached { "reached" } else { "not reached" }.to_owned(),
            ];
            row.extend(has_bound.then(|| held.to_owned()));
            row.extend([
                told(Some(point.response.p50_ns)),
                told(point.response.p99_ns),
                told(Some(point.response.max_ns)),
                told(point.service.p99_ns),
            ]);
            table.add_row(row);
        }
    }
    if table.row_count() == 0 {
        return String::new();
    }
    align_right(&mut table);
    let confirming = if has_bound {
        " · the rate that held is offered again for longer, to confirm it"
    } else {
        ""
    };
    let heading = format!(
        "{} under rising load · the trial with the median throughput{confirming}",
        contest.name
    );
    block(&heading, &table, &[], options)
}

fn align_right(table: &mut Table) {
    for column in 1..table.column_count() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn recovery_block(
    report: &Report<'_>,
    contest: &Contest<'_>,
    layout: &Layout,
    options: TerminalOptions,
) -> String {
    let entries = contest.entries.iter().map(|entry| (name(report, entry), &entry.series));
    let (rows, remarks) = recovery_rows(entries, layout);
    block(&heading(contest), &layout.table(rows), &remarks, options)
}

/// A block for each scenario, a row for each engine and size.
fn study_block(
    report: &Report<'_>,
    study: &Study<'_>,
    layout: &Layout,
    options: TerminalOptions,
) -> String {
    let mut text = String::from("\n");
    let of = if study.workload == "recovery" { "" } else { &format!(" of {}", study.workload) };
    push_line(&mut text, &one_line(&format!("recovery{of}, {}", study.title())), options.color);
    for scenario in study.scenarios() {
        let entries = || study.entries.iter().filter(move |entry| entry.scenario == scenario);
        let named = entries().map(|entry| (study_name(report, entry), &entry.series));
        let (rows, mut remarks) = recovery_rows(named, layout);
        for (engine, stated) in report.engines.iter().enumerate() {
            let own = entries().filter(|entry| entry.engine == engine);
            if let Some(slope) = slope_ms_per_gib(own, Over::Store) {
                let label = one_line(&stated.label);
                let slope = slope_words(slope);
                remarks.push(format!("{label}: a GiB more costs {slope} until the first read"));
            }
        }
        text.push_str(&block(&scenario_name(scenario), &layout.table(rows), &remarks, options));
    }
    for log in log_curves(study) {
        let told = |curve: &Curve<'_, '_>| {
            let label = one_line(&report.engines[curve.engine].label);
            let slope = slope_words(curve.slope_ms_per_gib(Over::Log)?);
            Some(format!("{label}: a GiB more written costs {slope} until the first read"))
        };
        let remarks: Vec<String> = log.curves.iter().filter_map(told).collect();
        if !remarks.is_empty() {
            let heading = format!("over log size, {}", log.name);
            text.push_str(&block(&heading, &Table::new(), &remarks, options));
        }
    }
    text
}

fn study_name(report: &Report<'_>, entry: &StudyEntry<'_>) -> String {
    let label = one_line(&report.engines[entry.engine].label);
    format!("{label} {}", format::plural(entry.records, "record"))
}

fn recovery_rows<'s, 'a: 's>(
    entries: impl Iterator<Item = (String, &'s Series<'a>)>,
    layout: &Layout,
) -> (Vec<Vec<String>>, Vec<String>) {
    let (mut rows, mut remarks) = (Vec::new(), Vec::new());
    for (name, series) in entries {
        if series.recovery(|r| r.open_ms).is_some() {
            rows.push(layout.row(name, series));
        } else {
            remarks.push(remark(&name, series));
        }
    }
    (rows, remarks)
}

/// What a block of a contest is called.
pub(crate) fn heading(contest: &Contest<'_>) -> String {
    let name = contest.name.as_str();
    match (contest.phase, contest.info) {
        (Phase::Load, _) => format!("{name} · writing the records into an empty store"),
        (Phase::Recover, _) => {
            let name = if name == "recovery" { "" } else { &format!(" of {name}") };
            format!(
                "recovery{name} · killed while writing, reopened, every acknowledged write looked up"
            )
        }
        (Phase::Run, Some(info)) if !info.mix.is_empty() => format!("{name} · {}", mix(&info.mix)),
        (Phase::Run, _) => name.to_owned(),
    }
}

/// `50 % read, 50 % update`, largest share first.
pub(crate) fn mix(mix: &std::collections::BTreeMap<String, f64>) -> String {
    let mut shares: Vec<_> = mix.iter().filter(|(_, share)| **share > 0.0).collect();
    shares.sort_by(|a, b| b.1.total_cmp(a.1));
    let words: Vec<_> = shares
        .into_iter()
        .map(|(kind, share)| format!("{} % {}", trimmed(share * 100.0), kind.replace('_', "-")))
        .collect();
    words.join(", ")
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

fn name(report: &Report<'_>, entry: &Entry<'_>) -> String {
    let engine = report.engine(entry);
    let label = one_line(&engine.label);
    match engine.role {
        Role::UpperBound => format!("{label} (no store)"),
        Role::Store | Role::Harness => label,
    }
}

fn remark(name: &str, series: &Series<'_>) -> String {
    format!("{name}: {}", remark_of(series))
}

/// Why trials have no figures.
pub(crate) fn remark_of(series: &Series<'_>) -> String {
    let outcome = series.outcome();
    let (good, all) = series.trials();
    let words = match outcome {
        Outcome::Measured => format!(
            "{} of {}",
            all - good,
            format::plural(all as u64, "trial") + " did not end well"
        ),
        outcome => outcome.words().to_owned(),
    };
    match series.reason() {
        Some(reason) => format!("{words} ({})", one_line(reason)),
        None => words,
    }
}

/// Control characters would let a name or a reason paint the terminal.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table
}

fn block(heading: &str, table: &Table, remarks: &[String], options: TerminalOptions) -> String {
    let mut text = String::from("\n");
    push_line(&mut text, &one_line(heading), options.color);
    if table.row_count() > 0 {
        for (at, line) in table.lines().enumerate() {
            let line = line.trim_end();
            match (options.color, at) {
                (true, 0) => text.push_str(&format!("\u{1b}[2m{line}\u{1b}[0m\n")),
                (true, _) if line.contains(BEST) => {
                    text.push_str(&format!("\u{1b}[1;32m{line}\u{1b}[0m\n"));
                }
                _ => text.push_str(&format!("{line}\n")),
            }
        }
    }
    for remark in remarks {
        let remark = one_line(remark);
        if options.color {
            text.push_str(&format!(" \u{1b}[33m{remark}\u{1b}[0m\n"));
        } else {
            text.push_str(&format!(" {remark}\n"));
        }
    }
    text
}

/// What the marks and columns mean, as far as they are shown.
fn legend(report: &Report<'_>, layouts: &Layouts) -> Option<String> {
    let contests = || report.groups.iter().flat_map(|group| &group.contests);
    let won = |offered: bool| {
        let contests = contests().filter(|contest| contest.offered.is_some() == offered);
        contests.into_iter().any(|contest| winner(report, contest).is_some())
    };
    let amplifications: Vec<&str> = [("write amp", "write"), ("space amp", "space")]
        .into_iter()
        .filter_map(|(heading, word)| layouts.shows(heading).then_some(word))
        .collect();
    let words = [
        won(false).then(|| format!("{BEST} fastest")),
        won(true).then(|| format!("{BEST} lowest p99 response time at the rate")),
        layouts.shows(SPREAD).then(|| format!("{SPREAD} half the trials' range")),
        layouts
            .shows("resp p99")
            .then(|| "resp: from the intended start · serv: from the call".to_owned()),
        (!amplifications.is_empty())
            .then(|| format!("{} amplification after settling", format::list(&amplifications))),
        layouts.shows("memory").then(|| "memory above the harness's own".to_owned()),
    ];
    let words: Vec<_> = words.into_iter().flatten().collect();
    (contests().next().is_some() && !words.is_empty()).then(|| words.join(" · "))
}
