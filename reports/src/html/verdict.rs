//! The first sentence of the page, and the badges under it.

use maud::{Markup, html};

use crate::format;
use crate::identity::{durability_name, scenario_name};
use crate::model::{Contest, Group, Report, base_name};
use crate::result::{Phase, RecoveryScenario, ResultFile, RunStatus};
use crate::score::{ranking, winner};
use crate::series::Outcome;
use crate::table::notes;

/// A longer headline is no headline: about two lines of a wide page.
const HEADLINE_CHARS_MAX: usize = 150;

/// What was found: a sentence, and what did not find room in it.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) headline: String,
    pub(crate) details: Vec<String>,
}

/// What was found in a group: as a sentence that names workloads, as one that only counts them, and the names.
struct GroupVerdict {
    sentence: String,
    short: String,
    names: Option<String>,
}

impl GroupVerdict {
    fn plain(sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        Self { short: sentence.clone(), sentence, names: None }
    }
}

/// Who won what, in one sentence that claims no more than was measured.
pub(crate) fn verdict(report: &Report<'_>) -> Verdict {
    let wrong = wrong_engines(report);
    let alarm = if wrong.is_empty() {
        String::new()
    } else {
        format!("Wrong or lost data on {}. ", format::list(&wrong))
    };
    let groups: Vec<_> = report.groups.iter().filter(|group| !group.contests.is_empty()).collect();
    if groups.is_empty() {
        let headline = match studied(report) {
            Some(sentence) => format!("{alarm}{sentence}"),
            None => format!("{alarm}Nothing was measured in this run."),
        };
        return Verdict { headline, details: Vec::new() };
    }
    let titled = |group: &Group<'_>, text: &str| {
        if groups.len() > 1 { format!("{}: {text}", group.short_title()) } else { text.to_owned() }
    };
    let told: Vec<_> = groups.iter().map(|group| group_verdict(report, group)).collect();
    let all = |of: fn(&GroupVerdict) -> &str| -> Vec<String> {
        groups.iter().zip(&told).map(|(group, told)| titled(group, of(told))).collect()
    };
    let fits = |sentences: &[String]| sentences.join(" ").chars().count() <= HEADLINE_CHARS_MAX;
    let (sentences, short) = (all(|told| &told.sentence), all(|told| &told.short));
    if fits(&sentences) {
        return Verdict {
            headline: format!("{alarm}{}", sentences.join(" ")),
            details: Vec::new(),
        };
    }
    if fits(&short) || groups.len() == 1 {
        let names = groups.iter().zip(&told);
        let details =
            names.filter_map(|(group, told)| Some(titled(group, told.names.as_deref()?))).collect();
        return Verdict { headline: format!("{alarm}{}", short.join(" ")), details };
    }
    let sets = format::plural(groups.len() as u64, "set");
    let headline =
        format!("{alarm}{sets} of conditions were measured; each has its own scores below.");
    // With many groups their sentences would be a page of their own.
    Verdict { headline, details: if groups.len() > 4 { Vec::new() } else { short } }
}

/// What recovery was measured over; none where no scenario was.
fn studied(report: &Report<'_>) -> Option<String> {
    let entries = || report.studies.iter().flat_map(|study| &study.entries);
    let distinct = |mut values: Vec<String>| {
        values.sort();
        values.dedup();
        values
    };
    let engines = entries().map(|entry| report.engines[entry.engine].label.clone()).collect();
    let engines = distinct(engines);
    let sizes = distinct(entries().map(|entry| entry.records.to_string()).collect());
    let without_amount = |scenario| RecoveryScenario { written: None, ..scenario };
    let scenarios = entries().map(|entry| scenario_name(without_amount(entry.scenario))).collect();
    let scenarios = distinct(scenarios);
    let amounts = entries().filter_map(|entry| Some(entry.scenario.written?.to_string()));
    let amounts = distinct(amounts.collect());
    (!engines.is_empty()).then(|| {
        format!(
            "Recovery of {} was measured in {} at {}{}.",
            format::list(&engines),
            format::plural(scenarios.len() as u64, "scenario"),
            format::plural(sizes.len() as u64, "size"),
            match amounts.len() {
                0 => String::new(),
                amounts => format!(" and {}", format::plural(amounts as u64, "log size")),
            }
        )
    })
}

fn group_verdict(report: &Report<'_>, group: &Group<'_>) -> GroupVerdict {
    let measured: Vec<&Contest<'_>> =
        group.contests.iter().filter(|contest| !ranking(report, contest).is_empty()).collect();
    let contested: Vec<_> =
        measured.iter().filter(|contest| ranking(report, contest).len() > 1).collect();
    if measured.is_empty() {
        return GroupVerdict::plain("No store was measured.");
    }
    if contested.is_empty() {
        let mut engines: Vec<&str> = measured
            .iter()
            .flat_map(|contest| ranking(report, contest))
            .map(|(engine, _)| report.engines[engine].label.as_str())
            .collect();
        engines.dedup();
        let workloads = format::plural(measured.len() as u64, "workload");
        return GroupVerdict::plain(format!(
            "{} was measured on {workloads}, without a rival to compare it with.",
            engines[0]
        ));
    }
    let mut wins: Vec<(usize, Vec<&str>)> = Vec::new();
    let mut open = Vec::new();
    for contest in &contested {
        match winner(report, contest) {
            Some(engine) => match wins.iter_mut().find(|(other, _)| *other == engine) {
                Some((_, workloads)) => workloads.push(&contest.name),
                None => wins.push((engine, vec![contest.name.as_str()])),
            },
            None => open.push(contest.name.as_str()),
        }
    }
    if wins.is_empty() {
        return GroupVerdict::plain(
            "No engine was faster than the others beyond the spread of the trials.",
        );
    }
    wins.sort_by_key(|(_, workloads)| std::cmp::Reverse(workloads.len()));
    let wins: Vec<(&str, Vec<&str>)> = wins
        .into_iter()
        .map(|(engine, workloads)| (report.engines[engine].label.as_str(), workloads))
        .collect();
    GroupVerdict {
        sentence: sentence(&wins, &open, contested.len(), true),
        short: sentence(&wins, &open, contested.len(), false),
        names: Some(names(&wins, &open)),
    }
}

/// Who was fastest in how many of `all` workloads, with their names or without.
fn sentence(wins: &[(&str, Vec<&str>)], open: &[&str], all: usize, with_names: bool) -> String {
    let mut words: Vec<String> = Vec::new();
    for (name, workloads) in wins {
        let number = workloads.len();
        let mut text = match words.is_empty() {
            true if number == all => format!("{name} was fastest in all {}", workload_count(all)),
            true => format!("{name} was fastest in {number} of {}", workload_count(all)),
            false => format!("{name} in {number}"),
        };
        if with_names {
            text.push_str(&format!(" ({})", format::list(workloads)));
        }
        words.push(text);
    }
    let words = format::list(&words);
    match open {
        [] => format!("{words}."),
        [one] => format!("{words}; {one} is too close to call."),
        many if with_names => format!("{words}; {} are too close to call.", format::list(many)),
        many => format!("{words}; {} are too close to call.", many.len()),
    }
}

fn names(wins: &[(&str, Vec<&str>)], open: &[&str]) -> String {
    let wins = wins.iter().map(|(name, workloads)| format!("{name}: {}.", format::list(workloads)));
    let open = (open.len() > 1).then(|| format!("Too close to call: {}.", format::list(open)));
    wins.chain(open).collect::<Vec<_>>().join(" ")
}

fn workload_count(number: usize) -> String {
    format::plural(number as u64, "workload")
}

fn wrong_engines(report: &Report<'_>) -> Vec<String> {
    let contests =
        report.groups.iter().flat_map(|group| group.contests.iter().chain(&group.recoveries));
    let studied = report.studies.iter().flat_map(|study| &study.entries);
    let mut names: Vec<String> = contests
        .flat_map(|contest| &contest.entries)
        .map(|entry| (entry.engine, &entry.series))
        .chain(studied.map(|entry| (entry.engine, &entry.series)))
        .filter(|(_, series)| series.outcome().is_wrong())
        .map(|(engine, _)| report.engines[engine].label.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The top of the page.
pub(super) fn header(report: &Report<'_>, verdict: &Verdict) -> Markup {
    html! {
        header {
            p.eyebrow {
                "kvdyno"
                @for result in report.results {
                    " · suite " (result.run.suite) ", " (format::timestamp(&result.run.started_at))
                }
            }
            h1 { (unbroken(&verdict.headline)) }
            @for line in &verdict.details { p.detail { (line) } }
            p.lede { (basis(report)) }
            @for line in report.results.iter().flat_map(notes::conditions) { p.note { (line) } }
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

/// Text whose names, such as `ycsb-a`, are not broken at their hyphens.
fn unbroken(text: &str) -> Markup {
    html! {
        @for (at, word) in text.split(' ').enumerate() {
            @if at > 0 { " " }
            @if word.contains('-') { span.name { (word) } } @else { (word) }
        }
    }
}

/// What the verdict rests on.
fn basis(report: &Report<'_>) -> String {
    let Some(group) = report.groups.first() else {
        if let Some(study) = report.studies.first() {
            return format!("{}.", study.title().replacen('c', "C", 1));
        }
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
    let rated = report.groups.iter().flat_map(|g| &g.contests).any(|c| c.offered.is_some());
    let rated = if rated {
        " Under an offered rate the lowest p99 of the response time counts, among those that reach the rate."
    } else {
        ""
    };
    format!(
        "{conditions}. {trials}.{rated} The figures hold for this machine, these workloads and these options."
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
    let studies = report.studies.iter().map(|study| study.conditions.durability);
    let mut classes: Vec<_> =
        report.groups.iter().map(|group| group.conditions.durability).chain(studies).collect();
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
    unique.extend(class_badge(report));
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

/// Engines that were seen to break the durability class they ran in.
fn class_badge(report: &Report<'_>) -> Option<(&'static str, String)> {
    let broken = |engine: &&crate::model::Engine<'_>| {
        let check = engine.info.and_then(|info| info.durability_check.as_ref());
        check.and_then(|check| check.kept) == Some(false)
    };
    let names: Vec<&str> =
        report.engines.iter().filter(broken).map(|engine| engine.label.as_str()).collect();
    let text = || format!("✗ durability class broken on {}", format::list(&names));
    (!names.is_empty()).then(|| ("bad", text()))
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
            format!(
                "! incomplete: {} of {} cells, in trial {} of {}",
                result.cells.len(),
                run.cells_planned,
                result.cells.iter().map(|cell| cell.trial).max().unwrap_or(0),
                run.trials
            ),
        )),
    }
}

/// The workload's name with its phase where the name does not say it.
pub(super) fn contest_name(contest: &Contest<'_>) -> String {
    match contest.phase {
        Phase::Load if !contest.workload.starts_with("load") => {
            format!("{} (load)", contest.workload)
        }
        _ => contest.name.clone(),
    }
}
