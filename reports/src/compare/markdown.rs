//! A comparison as text: a table for the terminal, Markdown for a pull request.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

use super::{CellKey, Change, Comparison, Direction};
use crate::format;
use crate::identity::{durability_name, phase_name, scenario_name};
use crate::result::Phase;

/// Rows of Markdown at most, so that a comment stays within what forges accept.
const MARKDOWN_ROWS_MAX: usize = 300;

const HEADER: [&str; 8] = ["", "workload", "engine", "metric", "base", "head", "change", "trials"];

/// The verdict in one line.
fn verdict(comparison: &Comparison) -> String {
    let count =
        |wanted: fn(&Change) -> bool| comparison.changes.iter().filter(|c| wanted(c)).count();
    let worse = count(Change::is_regression);
    let better = count(|c| c.direction == Direction::Better && c.beyond_threshold);
    let figures = format::plural(comparison.changes.len() as u64, "figure");
    let threshold = comparison.options.threshold_percent;
    let mut words = Vec::new();
    if !comparison.broken.is_empty() {
        words.push(format!("{} broken", format::plural(comparison.broken.len() as u64, "cell")));
    }
    if threshold.is_infinite() && comparison.broken.is_empty() {
        return format!("{figures} side by side");
    }
    words.push(format!("{worse} of {figures} worse by more than {threshold} %"));
    words.push(format!("{better} better"));
    let verdict = if comparison.regressed() { "regressed" } else { "no regression" };
    format!("{verdict}: {}", words.join(", "))
}

fn mark(change: &Change) -> &'static str {
    match (change.direction, change.beyond_threshold) {
        (Direction::Worse, true) => "▼ worse",
        (Direction::Better, true) => "▲ better",
        _ => "",
    }
}

/// The conditions of cells, in words.
type Conditions = [String; 4];

/// Which conditions cells of the same workload and phase have: what differs between rows has to be told.
struct Varied<'a>(BTreeMap<(&'a str, Phase), [BTreeSet<String>; 4]>);

impl<'a> Varied<'a> {
    fn new(comparison: &'a Comparison) -> Self {
        let mut varied: BTreeMap<_, [BTreeSet<String>; 4]> = BTreeMap::new();
        for Change { cell, .. } in &comparison.changes {
            let seen = varied.entry((cell.workload.as_str(), cell.phase)).or_default();
            for (seen, words) in seen.iter_mut().zip(conditions(cell)) {
                seen.insert(words);
            }
        }
        Self(varied)
    }

    /// What a row of the cell must tell: scenario and offered rate, and of the other conditions those that vary.
    fn told(&self, cell: &CellKey) -> String {
        let seen = self.0.get(&(cell.workload.as_str(), cell.phase));
        let varies = |at: usize| seen.is_some_and(|seen| seen[at].len() > 1);
        let words = conditions(cell).into_iter().enumerate();
        let words = words.filter(|(at, _)| varies(*at)).map(|(_, words)| words);
        let rate = cell.offered.map(|rate| format!("at {}/s", format::rate(rate.ops_per_s())));
        let scenario = cell.scenario.map(scenario_name);
        let told: Vec<String> = rate.into_iter().chain(words).chain(scenario).collect();
        told.join(", ")
    }
}

fn conditions(cell: &CellKey) -> Conditions {
    [
        format!("class {}", durability_name(cell.durability)),
        format::plural(cell.threads.into(), "thread"),
        format::plural(cell.records, "record"),
        format!("{} B", format::count(cell.value_bytes)),
    ]
}

fn row(change: &Change, varied: &Varied<'_>) -> [String; 8] {
    let phase = phase_name(change.cell.phase);
    let workload = if change.cell.workload == phase || phase == "run" {
        change.cell.workload.clone()
    } else {
        format!("{} {phase}", change.cell.workload)
    };
    let workload = match varied.told(&change.cell) {
        told if told.is_empty() => workload,
        told => format!("{workload} ({told})"),
    };
    let metric = if change.operation == "all" {
        change.metric.name().to_owned()
    } else {
        format!("{} {}", change.operation, change.metric.name())
    };
    [
        mark(change).to_owned(),
        workload,
        change.cell.engine.clone(),
        metric,
        change.metric.format(change.base),
        change.metric.format(change.head),
        change.change_percent.map_or_else(|| "n/a".to_owned(), format::percent_change),
        if change.base_trials == change.head_trials {
            change.base_trials.to_string()
        } else {
            format!("{} / {}", change.base_trials, change.head_trials)
        },
    ]
}

/// Lines about what is no figure: broken cells, cells of one side only, notes.
fn remarks(comparison: &Comparison) -> Vec<String> {
    let broken = comparison.broken.iter().map(|broken| {
        let reason =
            broken.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("▼ {} in head: {}{reason}", broken.outcome, broken.cell)
    });
    let only = |side: &'static str, keys| {
        let keys: &Vec<CellKey> = keys;
        keys.iter().map(move |key| format!("only in {side}: {key}")).collect::<Vec<_>>()
    };
    broken
        .chain(only("base", &comparison.only_in_base))
        .chain(only("head", &comparison.only_in_head))
        .chain(comparison.notes.iter().map(|note| format!("note: {note}")))
        .collect()
}

pub(crate) fn table(comparison: &Comparison) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─')));
    table.set_header(HEADER);
    let varied = Varied::new(comparison);
    let shown = |change: &&Change| change.operation == "all" || change.beyond_threshold;
    for change in comparison.changes.iter().filter(shown) {
        table.add_row(row(change, &varied));
    }
    for column in 4..HEADER.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = format!("{} → {}\n", comparison.base, comparison.head);
    if !comparison.changes.is_empty() {
        for line in table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    for remark in remarks(comparison) {
        text.push_str(&remark);
        text.push('\n');
    }
    text.push_str(&verdict(comparison));
    text.push('\n');
    text
}

pub(crate) fn markdown(comparison: &Comparison) -> String {
    let (base, head) = (escape(&comparison.base), escape(&comparison.head));
    let mut text = format!("### kvdyno: {}\n\n{base} → {head}\n\n", verdict(comparison));
    for remark in remarks(comparison) {
        text.push_str(&format!("- {}\n", escape(&remark)));
    }
    let (worse, rest): (Vec<_>, Vec<_>) =
        comparison.changes.iter().partition(|change| change.is_regression());
    let varied = Varied::new(comparison);
    if !worse.is_empty() {
        text.push('\n');
        rows(&mut text, &worse, &varied);
    }
    if !rest.is_empty() {
        text.push_str(&format!(
            "\n<details><summary>{}</summary>\n\n",
            format::plural(rest.len() as u64, "other figure")
        ));
        rows(&mut text, &rest, &varied);
        text.push_str("\n</details>\n");
    }
    text
}

fn rows(text: &mut String, changes: &[&Change], varied: &Varied<'_>) {
    text.push_str(&format!("| {} |\n|---|---|---|---|---:|---:|---:|---:|\n", HEADER.join(" | ")));
    for change in changes.iter().take(MARKDOWN_ROWS_MAX) {
        let cells = row(change, varied).map(|cell| escape(&cell));
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    if let Some(more) = changes.len().checked_sub(MARKDOWN_ROWS_MAX).filter(|more| *more > 0) {
        text.push_str(&format!("\nand {}\n", format::plural(more as u64, "more figure")));
    }
}

/// Names come from result files: nothing in them may become a table cell, a link or a tag.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' => escaped.push(' '),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '|' | '`' | '[' | ']' | '*' | '_' | '\\' | '#' | '!' | '@' => {
                escaped.push('\\');
                escaped.push(character);
            }
            _ => escaped.push(character),
        }
    }
    escaped
}
