//! The table that a person sees at the end of a run.
//!
//! One block per contest (workload and phase), engines as rows, then a block for recovery, then what
//! the harness itself costs. Figures are medians over the trials; `±` is half their range in per
//! cent of the median. The fastest engine of a block is marked, but only where its trials lie
//! apart from everyone else's.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, TableStyle};

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

/// A figure's column: its heading, how it is computed and told, and how dispensable it is.
struct Column {
    heading: &'static str,
    text: fn(&Series<'_>) -> Option<String>,
    /// Where the terminal is too narrow, the columns with the largest numbers go first.
    dispensable: u8,
}

const COLUMNS: [Column; 11] = [
    Column { heading: "ops/s", text: |s| told(s.throughput(), format::rate), dispensable: 0 },
    Column { heading: "±", text: |s| s.throughput().and_then(half_range), dispensable: 6 },
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
    let columns = fitting_columns(&report, options.width);
    let mut text = String::new();
    for group in &report.groups {
        push_line(&mut text, &format!("{}, {}", group.title(), medians(group)), options.color);
        for contest in &group.contests {
            text.push_str(&contest_block(&report, contest, &columns, options));
        }
        for contest in &group.recoveries {
            text.push_str(&recovery_block(&report, contest, options));
        }
    }
    if result.cells.is_empty() {
        text.push_str("nothing was measured\n");
    }
    text.push_str(&footer(result));
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

/// The columns for which every block has room.
fn fitting_columns(report: &Report<'_>, width: u16) -> Vec<&'static Column> {
    let contests = || report.groups.iter().flat_map(|group| &group.contests);
    let mut columns: Vec<&'static Column> = COLUMNS.iter().collect();
    while columns.len() > 2 {
        let fits = |contest| {
            let (table, _) = contest_table(report, contest, &columns);
            table.lines().all(|line| line.trim_end().chars().count() <= usize::from(width))
        };
        if contests().all(fits) {
            break;
        }
        let most = columns.iter().map(|column| column.dispensable).max();
        columns.retain(|column| Some(column.dispensable) != most);
    }
    columns
}

fn contest_block(
    report: &Report<'_>,
    contest: &Contest<'_>,
    columns: &[&Column],
    options: TerminalOptions,
) -> String {
    let (table, remarks) = contest_table(report, contest, columns);
    block(&heading(contest), &table, &remarks, options)
}

/// The engines that were measured as a table, and remarks about those that were not.
fn contest_table(
    report: &Report<'_>,
    contest: &Contest<'_>,
    columns: &[&Column],
) -> (Table, Vec<String>) {
    let best = winner(report, contest);
    let mut table = new_table();
    table.set_header([""].into_iter().chain(columns.iter().map(|column| column.heading)));
    let mut remarks = Vec::new();
    for entry in &contest.entries {
        let name = name(report, entry);
        let (good, all) = entry.series.trials();
        if entry.series.outcome() != Outcome::Measured || good < all {
            remarks.push(remark(&name, &entry.series));
        }
        if entry.series.throughput().is_none() {
            continue;
        }
        let mark = if best == Some(entry.engine) { format!("{name} {BEST}") } else { name };
        let figures = columns
            .iter()
            .map(|column| (column.text)(&entry.series).unwrap_or_else(|| "n/a".to_owned()));
        table.add_row([mark].into_iter().chain(figures));
    }
    align_right(&mut table);
    (table, remarks)
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
    let name = contest.workload;
    match (contest.phase, contest.info) {
        (Phase::Load, _) => format!("{name} · writing the records into an empty store"),
        (Phase::Recover, _) => format!(
            "recovery · {name} · killed while writing, reopened, every acknowledged write looked up"
        ),
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

/// What the harness itself costs, and what a reader must know.
fn footer(result: &ResultFile) -> String {
    let harness = &result.harness;
    let mut text = String::from("\n");
    let costs: Vec<_> = harness.noop.iter().map(|noop| noop.ns_per_operation).collect();
    if let Some(cost) = Spread::of(costs) {
        let range = if cost.min < cost.max {
            format!("{} to {}", format::latency(cost.min), format::latency(cost.max))
        } else {
            format::latency(cost.max)
        };
        let _ = write!(text, "harness: {range} an operation on an engine that does nothing");
    } else {
        text.push_str("harness: own cost not measured");
    }
    let _ = writeln!(
        text,
        "; clock {}, {} a reading, step {}",
        one_line(&harness.clock),
        format::latency(harness.clock_read_ns),
        format::latency(harness.clock_step_ns),
    );
    for warning in &result.run.warnings {
        let _ = writeln!(text, "warning: {}", one_line(warning));
    }
    text
}
