//! The table that a person sees at the end of a run.
//!
//! One block per contest (workload and phase), engines as rows, columns as wide in all of them, then a block
//! for recovery, then how to read it and what the harness itself costs. Figures are medians over the trials; `±` is half their range in per
//! cent of the median. The fastest engine of a block is marked, but only where its trials lie
//! apart from everyone else's.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ColumnConstraint, Table, TableStyle, Width};

use crate::format;
use crate::model::{Contest, Entry, Group, Report, Role};
use crate::result::{Latency, Phase, Recovery, ResultFile};
use crate::score::winner;
use crate::series::{Outcome, Series, Spread};

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
/// Heads the column of half the trials' range.
const SPREAD: &str = "±";

/// A figure's column: its heading, how it is computed and told, and how dispensable it is.
struct Column {
    heading: &'static str,
    text: fn(&Series<'_>) -> Option<String>,
    /// Where the terminal is too narrow, the columns with the largest numbers go first.
    dispensable: u8,
}

const COLUMNS: [Column; 11] = [
    Column { heading: "ops/s", text: |s| told(s.throughput(), format::rate), dispensable: 0 },
    Column { heading: SPREAD, text: |s| s.throughput().and_then(half_range), dispensable: 6 },
    Column { heading: "p50", text: |s| latency(s, |l| Some(l.p50_ns)), dispensable: 1 },
    Column { heading: "p99", text: |s| latency(s, |l| l.p99_ns), dispensable: 2 },
    Column { heading: "p99.9", text: |s| latency(s, |l| l.p999_ns), dispensable: 8 },
    Column { heading: "max", text: |s| latency(s, |l| Some(l.max_ns)), dispensable: 4 },
    Column {
        heading: "write amp",
        text: |s| told(s.spread(|m| m.amplification.write_settled), format::figure),
        dispensable: 3,
    },
    Column {
        heading: "space amp",
        text: |s| told(s.spread(|m| m.amplification.space_settled), format::figure),
        dispensable: 7,
    },
    Column {
        heading: "memory",
        text: |s| told(s.spread(|m| m.resources.memory_bytes.map(|b| b as f64)), format::bytes),
        dispensable: 5,
    },
    Column {
        heading: "CPU/op",
        text: |s| told(s.spread(|m| Some(m.resources.cpu_us_per_op)), format::microseconds),
        dispensable: 9,
    },
    Column {
        heading: "settled ops/s",
        text: |s| told(s.spread(|m| Some(m.throughput_settled_ops_per_s)), format::rate),
        dispensable: 10,
    },
];

fn told(spread: Option<Spread>, format: fn(f64) -> String) -> Option<String> {
    spread.map(|spread| format(spread.median))
}

fn latency(series: &Series<'_>, of: fn(&Latency) -> Option<u64>) -> Option<String> {
    told(series.service("all", of), format::latency)
}

fn half_range(spread: Spread) -> Option<String> {
    spread.half_range_percent().map(|percent| format!("{percent:.0} %"))
}

/// A result as text for a terminal.
pub fn terminal_table(result: &ResultFile, options: TerminalOptions) -> String {
    let report = Report::new(std::slice::from_ref(result));
    let layout = Layout::new(&report, options.width);
    let mut text = String::new();
    for group in &report.groups {
        push_line(&mut text, &format!("{}, {}", group.title(), medians(group)), options.color);
        for contest in &group.contests {
            text.push_str(&contest_block(&report, contest, &layout, options));
        }
        for contest in &group.recoveries {
            text.push_str(&recovery_block(&report, contest, options));
        }
    }
    if result.cells.is_empty() {
        text.push_str("nothing was measured\n");
    }
    text.push('\n');
    for line in legend(&report, &layout.columns).into_iter().chain([harness(result)]) {
        push_wrapped(&mut text, &line, options.width);
    }
    for warning in &result.run.warnings {
        push_wrapped(&mut text, &format!("warning: {}", one_line(warning)), options.width);
    }
    text
}

fn medians(group: &Group<'_>) -> String {
    match group.trials() {
        0 | 1 => "1 trial".to_owned(),
        trials => format!("medians over {trials} trials"),
    }
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
    /// Of the engines' names and then of the columns.
    widths: Vec<usize>,
}

/// Spaces about the content of a cell.
const PADDING: usize = 2;

impl Layout {
    /// As many columns as the terminal has room for.
    fn new(report: &Report<'_>, width: u16) -> Self {
        let contests = || report.groups.iter().flat_map(|group| &group.contests);
        let entries = || contests().flat_map(|contest| &contest.entries);
        let has_spread = entries().any(|entry| entry.series.trials().0 > 1);
        let mut columns: Vec<&'static Column> =
            COLUMNS.iter().filter(|column| has_spread || column.heading != SPREAD).collect();
        loop {
            let mut widths = vec![0];
            widths.extend(columns.iter().map(|column| column.heading.chars().count()));
            for row in contests().flat_map(|contest| rows(report, contest, &columns)) {
                for (width, cell) in widths.iter_mut().zip(row) {
                    *width = cell.chars().count().max(*width);
                }
            }
            // The last column's padding to the right is not printed.
            let total = widths.iter().map(|width| width + PADDING).sum::<usize>() - 1;
            if total <= usize::from(width) || columns.len() <= 2 {
                return Self { columns, widths };
            }
            let most = columns.iter().map(|column| column.dispensable).max();
            columns.retain(|column| Some(column.dispensable) != most);
        }
    }
}

fn contest_block(
    report: &Report<'_>,
    contest: &Contest<'_>,
    layout: &Layout,
    options: TerminalOptions,
) -> String {
    let mut table = new_table();
    let headings = layout.columns.iter().map(|column| column.heading);
    table.set_header([""].into_iter().chain(headings));
    table.add_rows(rows(report, contest, &layout.columns));
    align_right(&mut table);
    for (at, width) in layout.widths.iter().enumerate() {
        if let Some(column) = table.column_mut(at) {
            let width = u16::try_from(width + PADDING).unwrap_or(u16::MAX);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
        }
    }
    let is_remarkable = |entry: &&Entry<'_>| {
        let (good, all) = entry.series.trials();
        entry.series.outcome() != Outcome::Measured || good < all
    };
    let remarkable = contest.entries.iter().filter(is_remarkable);
    let remarks: Vec<_> =
        remarkable.map(|entry| remark(&name(report, entry), &entry.series)).collect();
    block(&heading(contest), &table, &remarks, options)
}

/// The engines that were measured, with their figures.
fn rows(report: &Report<'_>, contest: &Contest<'_>, columns: &[&Column]) -> Vec<Vec<String>> {
    let best = winner(report, contest);
    let measured = contest.entries.iter().filter(|entry| entry.series.throughput().is_some());
    let row = |entry: &Entry<'_>| {
        let name = name(report, entry);
        let name = if best == Some(entry.engine) { format!("{name} {BEST}") } else { name };
        let figure =
            |column: &&Column| (column.text)(&entry.series).unwrap_or_else(|| "n/a".to_owned());
        [name].into_iter().chain(columns.iter().map(figure)).collect()
    };
    measured.map(row).collect()
}

fn align_right(table: &mut Table) {
    for column in 1..table.column_count() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Columns of a terminal from which a recovery's dispensable columns are shown.
const WIDE: u16 = 80;

fn recovery_block(report: &Report<'_>, contest: &Contest<'_>, options: TerminalOptions) -> String {
    type Figure = (&'static str, bool, fn(&Recovery) -> f64, fn(f64) -> String);
    let figures: [Figure; 4] = [
        ("open after kill", true, |r| r.open_ms, format::milliseconds),
        ("first read", false, |r| r.first_read_ms, format::milliseconds),
        ("clean reopen", true, |r| r.reopen_clean_ms, format::milliseconds),
        ("store", false, |r| r.store_bytes as f64, format::bytes),
    ];
    let shown = || figures.iter().filter(|(_, always, ..)| *always || options.width >= WIDE);
    let mut table = new_table();
    let headings = shown().map(|(heading, ..)| *heading);
    table.set_header([""].into_iter().chain(headings).chain(["intact"]));
    let mut remarks = Vec::new();
    for entry in &contest.entries {
        let series = &entry.series;
        if series.recovery(|r| r.open_ms).is_none() {
            remarks.push(remark(&name(report, entry), series));
            continue;
        }
        let told = shown()
            .map(|(_, _, of, format)| told(series.recovery(of), *format).unwrap_or_default());
        let sum = |of: fn(&Recovery) -> u64| series.recoveries().map(of).sum::<u64>();
        let verified = sum(|r| r.records_verified);
        let intact = verified.saturating_sub(sum(|r| r.records_lost + r.records_wrong));
        let intact = format!("{} of {}", format::count(intact), format::count(verified));
        table.add_row([name(report, entry)].into_iter().chain(told).chain([intact]));
    }
    align_right(&mut table);
    block(&heading(contest), &table, &remarks, options)
}

fn heading(contest: &Contest<'_>) -> String {
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
        Some(reason) => format!("{name}: {words} ({})", one_line(reason)),
        None => format!("{name}: {words}"),
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
fn legend(report: &Report<'_>, columns: &[&Column]) -> Option<String> {
    let contests = || report.groups.iter().flat_map(|group| &group.contests);
    let has_best = contests().any(|contest| winner(report, contest).is_some());
    let shown = |heading: &str| columns.iter().any(|column| column.heading == heading);
    let amplifications: Vec<&str> = [("write amp", "write"), ("space amp", "space")]
        .into_iter()
        .filter_map(|(heading, word)| shown(heading).then_some(word))
        .collect();
    let words = [
        has_best.then(|| format!("{BEST} fastest")),
        shown(SPREAD).then(|| format!("{SPREAD} half the trials' range")),
        (!amplifications.is_empty())
            .then(|| format!("{} amplification after settling", format::list(&amplifications))),
        shown("memory").then(|| "memory above the harness's own".to_owned()),
    ];
    let words: Vec<_> = words.into_iter().flatten().collect();
    (contests().next().is_some() && !words.is_empty()).then(|| words.join(" · "))
}

/// What the harness itself costs.
fn harness(result: &ResultFile) -> String {
    let harness = &result.harness;
    let costs = harness.noop.iter().map(|noop| noop.ns_per_operation);
    let mut text = match Spread::of(costs) {
        Some(cost) if cost.min < cost.max => format!(
            "harness: {} to {} an operation",
            format::latency(cost.min),
            format::latency(cost.max)
        ),
        Some(cost) => format!("harness: {} an operation", format::latency(cost.max)),
        None => "harness: own cost not measured".to_owned(),
    };
    let _ = write!(
        text,
        " · clock {}: {} a reading, step {}",
        one_line(&harness.clock),
        format::latency(harness.clock_read_ns),
        format::latency(harness.clock_step_ns),
    );
    text
}
