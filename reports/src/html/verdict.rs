//! The first sentence of the page, and the badges under it.

use maud::{Markup, html};

use crate::format;
use crate::model::{Contest, Group, Report, base_name, durability_name};
use crate::result::{Phase, ResultFile, RunStatus};
use crate::score::{ranking, winner};
use crate::series::Outcome;

/// Who won what, in one sentence that claims no more than was measured.
pub(super) fn verdict(report: &Report<'_>) -> String {
    let wrong = wrong_engines(report);
    let alarm = if wrong.is_empty() {
        String::new()
    } else {
        format!("Wrong or lost data on {}. ", format::list(&wrong))
    };
    let groups: Vec<_> = report.groups.iter().filter(|group| !group.contests.is_empty()).collect();
    let sentences: Vec<_> = groups
        .iter()
        .map(|group| {
            let sentence = group_verdict(report, group);
            if groups.len() > 1 { format!("{}: {sentence}", group.short_title()) } else { sentence }
        })
        .collect();
    if sentences.is_empty() {
        return format!("{alarm}Nothing was measured in this run.");
    }
    // With many groups the sentences would be a page of their own.
    if sentences.len() > 3 {
        return format!(
            "{alarm}{} of conditions were measured; each has its own scores below.",
            format::plural(sentences.len() as u64, "set")
        );
    }
    format!("{alarm}{}", sentences.join(" "))
}

fn group_verdict(report: &Report<'_>, group: &Group<'_>) -> String {
    let measured: Vec<&Contest<'_>> =
        group.contests.iter().filter(|contest| !ranking(report, contest).is_empty()).collect();
    let contested: Vec<_> =
        measured.iter().filter(|contest| ranking(report, contest).len() > 1).collect();
    if measured.is_empty() {
        return "No store was measured.".to_owned();
    }
    if contested.is_empty() {
        let mut engines: Vec<&str> = measured
            .iter()
            .flat_map(|contest| ranking(report, contest))
            .map(|(engine, _)| report.engines[engine].label.as_str())
            .collect();
        engines.dedup();
        let workloads = format::plural(measured.len() as u64, "workload");
        return format!(
            "{} was measured on {workloads}, without a rival to compare it with.",
            engines[0]
        );
    }
    let mut wins: Vec<(usize, Vec<&str>)> = Vec::new();
    let mut open = Vec::new();
    for contest in &contested {
        match winner(report, contest) {
            Some(engine) => match wins.iter_mut().find(|(other, _)| *other == engine) {
                Some((_, workloads)) => workloads.push(contest.workload),
                None => wins.push((engine, vec![contest.workload])),
            },
            None => open.push(contest.workload),
        }
    }
    wins.sort_by_key(|(_, workloads)| std::cmp::Reverse(workloads.len()));
    let all = contested.len();
    let mut words: Vec<String> = Vec::new();
    for (engine, workloads) in &wins {
        let name = &report.engines[*engine].label;
        let which = format!("({})", format::list(workloads));
        words.push(if words.is_empty() && workloads.len() == all {
            format!("{name} had the highest throughput in all {} {which}", workload_count(all))
        } else if words.is_empty() {
            format!(
                "{name} had the highest throughput in {} of {} {which}",
                workloads.len(),
                workload_count(all)
            )
        } else {
            format!("{name} in {} {which}", workloads.len())
        });
    }
    match (wins.is_empty(), open.as_slice()) {
        (true, _) => {
            "No engine was faster than the others beyond the spread of the trials.".to_owned()
        }
        (false, []) => format!("{}.", format::list(&words)),
        (false, open) => {
            format!("{}; {} is too close to call.", format::list(&words), format::list(open))
        }
    }
}

fn workload_count(number: usize) -> String {
    format::plural(number as u64, "workload")
}

fn wrong_engines(report: &Report<'_>) -> Vec<String> {
    let mut names: Vec<String> = report
        .groups
        .iter()
        .flat_map(|group| group.contests.iter().chain(&group.recoveries))
        .flat_map(|contest| &contest.entries)
        .filter(|entry| entry.series.outcome().is_wrong())
        .map(|entry| report.engine(entry).label.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The top of the page.
pub(super) fn header(report: &Report<'_>, verdict: &str) -> Markup {
    html! {
        header {
            p.eyebrow {
                "kvdyno"
                @for result in report.results {
                    " · suite " (result.run.suite) ", " (result.run.started_at.replace('T', " ").replace('Z', " UTC"))
                }
            }
            h1 { (verdict) }
            p.lede { (basis(report)) }
            ul.badges {
                @for (class, text) in badges(report) { li class=(class) { (text) } }
            }
            @if report.results.iter().any(|result| !result.run.warnings.is_empty()) {
                ul.warnings aria-label="Warnings" {
                    @for warning in report.results.iter().flat_map(|result| &result.run.warnings) {
                        li { (warning) }
                    }
                }
            }
        }
    }
}

/// What the verdict rests on.
fn basis(report: &Report<'_>) -> String {
    let Some(group) = report.groups.first() else {
        return "The result holds no cell of any engine.".to_owned();
    };
    let conditions = if report.groups.len() == 1 {
        let title = group.title();
        title.replacen('c', "C", usize::from(title.starts_with('c')))
    } else {
        let sets = format::plural(report.groups.len() as u64, "set");
        format!("{sets} of conditions, never mixed in a table or a chart")
    };
    let trials = match report.groups.iter().map(Group::trials).max().unwrap_or(0) {
        0 | 1 => "One trial a cell: no spread is known, and differences below 5 % are not called"
            .to_owned(),
        trials => format!(
            "Medians over {trials} trials; an engine is called fastest only where its trials lie apart from all others"
        ),
    };
    format!(
        "{conditions}. {trials}. The figures hold for this machine, these workloads and these options."
    )
}

fn badges(report: &Report<'_>) -> Vec<(&'static str, String)> {
    let mut badges: Vec<(&'static str, String)> = Vec::new();
    let engines: Vec<_> = report.engines.iter().map(|engine| engine.label.as_str()).collect();
    if !engines.is_empty() {
        badges.push(("", format::list(&engines)));
    }
    for result in report.results {
        let e = &result.environment;
        let processors = format::plural(e.cpus.into(), "processor");
        badges.push((
            "",
            format!("{}, {processors}, {}", e.cpu_model, format::bytes(e.memory_bytes as f64)),
        ));
        badges.push(("", format!("stores on {}", e.store_file_system)));
    }
    let mut classes: Vec<_> =
        report.groups.iter().map(|group| group.conditions.durability).collect();
    classes.sort_unstable();
    classes.dedup();
    badges.extend(
        classes
            .into_iter()
            .map(|class| ("", format!("durability class {}", durability_name(class)))),
    );
    let mut unique: Vec<(&'static str, String)> = Vec::new();
    for badge in badges {
        if !unique.contains(&badge) {
            unique.push(badge);
        }
    }
    unique.extend(data_badge(report));
    unique.extend(report.results.iter().filter_map(status_badge));
    unique
}

/// Whether the data was looked at, and whether it was right.
fn data_badge(report: &Report<'_>) -> Option<(&'static str, String)> {
    if !wrong_engines(report).is_empty() {
        return Some(("bad", "✗ wrong or lost data".to_owned()));
    }
    let cells = || {
        report
            .results
            .iter()
            .flat_map(|result| &result.cells)
            .filter(|cell| base_name(&cell.engine) != "noop")
    };
    let checked: u64 = cells()
        .filter_map(|cell| cell.measurement.as_ref())
        .map(|m| m.check.records_checked + m.check.reads_checked)
        .chain(cells().filter_map(|cell| cell.recovery.as_ref()).map(|r| r.records_verified))
        .sum();
    (checked > 0)
        .then(|| ("good", format!("✓ {} records checked, none wrong", format::count(checked))))
}

fn status_badge(result: &ResultFile) -> Option<(&'static str, String)> {
    let run = &result.run;
    let bad = result
        .cells
        .iter()
        .map(|cell| Outcome::from(cell.status))
        .filter(|outcome| matches!(outcome, Outcome::Failed | Outcome::Timeout))
        .count();
    match run.status {
        RunStatus::Complete if bad > 0 => {
            Some(("warn", format!("! {} failed or timed out", format::plural(bad as u64, "cell"))))
        }
        RunStatus::Complete => None,
        RunStatus::Running | RunStatus::Interrupted => Some((
            "warn",
            format!("! incomplete: {} of {} cells", result.cells.len(), run.cells_planned),
        )),
    }
}

/// The workload's name with its phase where the name does not say it.
pub(super) fn contest_name(contest: &Contest<'_>) -> String {
    match contest.phase {
        Phase::Load if !contest.workload.starts_with("load") => {
            format!("{} (load)", contest.workload)
        }
        _ => contest.workload.to_owned(),
    }
}
