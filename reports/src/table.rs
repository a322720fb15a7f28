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
use crate::result::{Phase, ResultFile};
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

/// A figure's column: its heading, how it is computed and told, and the width from which it is shown.
struct Column {
    heading: &'static str,
    text: fn(&Series<'_>) -> Option<String>,
    /// Columns of the terminal from which there is room for it.
    from_width: u16,
}

const COLUMNS: [Column; 11] = [
    Column { heading: "ops/s", text: |s| told(s.throughput(), format::rate), from_width: 0 },
    Column { heading: "±", text: |s| s.throughput().and_then(half_range), from_width: 80 },
    Column { heading: "p50", text: |s| latency(s, |l| Some(l.p50_ns)), from_width: 0 },
    Column { heading: "p99", text: |s| latency(s, |l| l.p99_ns), from_width: 0 },
    Column { heading: "p99.9", text: |s| latency(s, |l| l.p999_ns), from_width: 100 },
    Column { heading: "max", text: |s| latency(s, |l| Some(l.max_ns)), from_width: 70 },
    Column {
        heading: "write amp",
        text: |s| told(s.spread(|m| m.amplification.write_settled), format::figure),
        from_width: 70,
    },
    Column {
        heading: "space amp",
        text: |s| told(s.spread(|m| m.amplification.space_settled), format::figure),
        from_width: 80,
    },
    Column {
        heading: "memory",
        text: |s| told(s.spread(|m| m.resources.memory_bytes.map(|b| b as f64)), format::bytes),
        from_width: 80,
    },
    Column {
        heading: "CPU/op",
        text: |s| told(s.spread(|m| Some(m.resources.cpu_us_per_op)), format::microseconds),
        from_width: 100,
    },
    Column {
        heading: "settled ops/s",
        text: |s| told(s.spread(|m| Some(m.throughput_settled_ops_per_s)), format::rate),
        from_width: 125,
    },
];

fn told(spread: Option<Spread>, format: fn(f64) -> String) -> Option<String> {
    spread.map(|spread| format(spread.median))
}

fn latency(series: &Series<'_>, of: fn(&crate::result::Latency) -> Option<u64>) -> Option<String> {
    told(series.service("all", of), format::latency)
}

fn half_range(spread: Spread) -> Option<String> {
    spread.half_range_percent().map(|percent| format!("{percent:.0} %"))
}

/// A result as text for a terminal.
pub fn terminal_table(result: &ResultFile, options: TerminalOptions) -> String {
    let report = Report::new(std::slice::from_ref(result));
    let mut text = String::new();
    for group in &report.groups {
        push_line(&mut text, &format!("{}, {}", group.title(), medians(group)), options.color);
        for contest in &group.contests {
            text.push_str(&contest_block(&report, contest, options));
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

fn contest_block(report: &Report<'_>, contest: &Contest<'_>, options: TerminalOptions) -> String {
    let columns: Vec<&Column> =
        COLUMNS.iter().filter(|column| column.from_width <= options.width).collect();
    let best = winner(report, contest);
    let mut table = new_table();
    table.set_header([""].into_iter().chain(columns.iter().map(|column| column.heading)));
    let mut remarks = Vec::new();
    for entry in &contest.entries {
        let name = name(report, entry);
        if entry.series.outcome() != Outcome::Measured {
            remarks.push(remark(&name, &entry.series));
            continue;
        }
        if entry.series.trials().0 < entry.series.trials().1 {
            remarks.push(remark(&name, &entry.series));
        }
        let mark = if best == Some(entry.engine) { format!("{name} {BEST}") } else { name };
        let figures = columns
            .iter()
            .map(|column| (column.text)(&entry.series).unwrap_or_else(|| "n/a".to_owned()));
        table.add_row([mark].into_iter().chain(figures));
    }
    block(&heading(contest), &mut table, &remarks, options)
}

fn recovery_block(report: &Report<'_>, contest: &Contest<'_>, options: TerminalOptions) -> String {
    let mut table = new_table();
    table.set_header(["", "open after kill", "first read", "clean reopen", "store", "verified"]);
    let mut remarks = Vec::new();
    for entry in &contest.entries {
        let series = &entry.series;
        if series.recovery(|r| r.open_ms).is_none() {
            remarks.push(remark(&name(report, entry), series));
            continue;
        }
        let figure = |of: fn(&crate::result::Recovery) -> f64, format: fn(f64) -> String| {
            told(series.recovery(of), format).unwrap_or_default()
        };
        let lost: u64 = series.recoveries().map(|r| r.records_lost).sum();
        let verified: u64 = series.recoveries().map(|r| r.records_verified).sum();
        table.add_row([
            name(report, entry),
            figure(|r| r.open_ms, format::milliseconds),
            figure(|r| r.first_read_ms, format::milliseconds),
            figure(|r| r.reopen_clean_ms, format::milliseconds),
            figure(|r| r.store_bytes as f64, format::bytes),
            format!(
                "{} of {}",
                format::count(verified - lost.min(verified)),
                format::count(verified)
            ),
        ]);
    }
    block(&heading(contest), &mut table, &remarks, options)
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
    match engine.role {
        Role::UpperBound => format!("{} (no store)", engine.label),
        Role::Store | Role::Harness => engine.label.clone(),
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

fn block(heading: &str, table: &mut Table, remarks: &[String], options: TerminalOptions) -> String {
    let mut text = String::from("\n");
    push_line(&mut text, &one_line(heading), options.color);
    for column in 1..table.column_count() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
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
