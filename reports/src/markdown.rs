//! A result as Markdown, for an issue, a pull request or a chat: the verdict, then a table per workload.

use crate::compare::escape;
use crate::error::{Error, Result};
use crate::html::verdict::verdict;
use crate::identity::scenario_name;
use crate::model::{Contest, Report};
use crate::result::ResultFile;
use crate::table::notes::{conditions, progress};
use crate::table::{all_columns, heading, recovery_columns, remark_of};

/// The report over one or several results as Markdown. Names from the results cannot become links, tags or cells.
///
/// # Errors
/// [`Error::NoResults`].
pub fn markdown_report(results: &[ResultFile]) -> Result<String> {
    if results.is_empty() {
        return Err(Error::NoResults);
    }
    let report = Report::new(results);
    let mut text = format!("### kvdyno: {}\n", escape(&verdict(&report).headline));
    let notes = |result| progress(result).into_iter().chain(conditions(result));
    for note in results.iter().flat_map(notes) {
        text.push_str(&format!("\n- {}\n", escape(&note)));
    }
    for group in &report.groups {
        text.push_str(&format!("\n**{}**\n", escape(&group.title())));
        for contest in &group.contests {
            contest_table(&mut text, &report, contest);
        }
        for contest in &group.recoveries {
            recovery_table(&mut text, &report, contest);
        }
    }
    for study in &report.studies {
        let title = escape(&format!("recovery of {} · {}", study.workload, study.title()));
        text.push_str(&format!("\n{title}\n\n| scenario | engine | records | "));
        let columns = recovery_columns();
        text.push_str(&columns.iter().map(|column| column.heading).collect::<Vec<_>>().join(" | "));
        text.push_str(&format!(" |\n|---|---|---:|{}\n", "---:|".repeat(columns.len())));
        for entry in &study.entries {
            let figures = if entry.series.recovery(|r| r.open_ms).is_some() {
                columns.iter().map(|c| (c.text)(&entry.series).unwrap_or_default()).collect()
            } else {
                vec![entry.series.outcome().words().to_owned()]
            };
            let names = [
                scenario_name(entry.scenario),
                report.engines[entry.engine].label.clone(),
                crate::format::count(entry.records),
            ];
            row(&mut text, names.into_iter().chain(figures));
        }
    }
    let warnings = results.iter().flat_map(|result| &result.run.warnings);
    for warning in warnings {
        text.push_str(&format!("\n- warning: {}", escape(warning)));
    }
    for result in results {
        let command = result.run.command.join(" ").replace('`', "'").replace(['\n', '\r'], " ");
        text.push_str(&format!("\n\nRepeat it: `{command}`"));
    }
    text.push('\n');
    Ok(text)
}

fn row(text: &mut String, cells: impl Iterator<Item = String>) {
    let cells: Vec<_> = cells.map(|cell| escape(&cell)).collect();
    text.push_str(&format!("| {} |\n", cells.join(" | ")));
}

fn contest_table(text: &mut String, report: &Report<'_>, contest: &Contest<'_>) {
    let columns = all_columns(contest);
    text.push_str(&format!("\n{}\n\n| engine | ", escape(&heading(contest))));
    text.push_str(&columns.iter().map(|column| column.heading).collect::<Vec<_>>().join(" | "));
    text.push_str(&format!(" |\n|---|{}\n", "---:|".repeat(columns.len())));
    for entry in &contest.entries {
        let label = report.engine(entry).label.clone();
        let figures: Vec<String> = if entry.series.throughput().is_some() {
            let told = |column: &&crate::table::Column| {
                (column.text)(&entry.series).unwrap_or_else(|| "n/a".to_owned())
            };
            columns.iter().map(told).collect()
        } else {
            vec![remark_of(&entry.series)]
        };
        row(text, [label].into_iter().chain(figures));
    }
}

fn recovery_table(text: &mut String, report: &Report<'_>, contest: &Contest<'_>) {
    let columns = recovery_columns();
    text.push_str(&format!("\n{}\n\n| engine | ", escape(&heading(contest))));
    text.push_str(&columns.iter().map(|column| column.heading).collect::<Vec<_>>().join(" | "));
    text.push_str(&format!(" |\n|---|{}\n", "---:|".repeat(columns.len())));
    for entry in &contest.entries {
        let label = report.engine(entry).label.clone();
        let figures: Vec<String> = if entry.series.recovery(|r| r.open_ms).is_some() {
            let told = |column: &crate::table::Column| (column.text)(&entry.series);
            columns.iter().map(|c| told(c).unwrap_or_else(|| "n/a".to_owned())).collect()
        } else {
            vec![remark_of(&entry.series)]
        };
        row(text, [label].into_iter().chain(figures));
    }
}
