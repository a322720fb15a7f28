//! The score table: engines × workloads, ratio to the best in number, word and shade.

use maud::{Markup, html};

use super::verdict::contest_name;
use crate::format;
use crate::model::{Contest, Group, Report, Role};
use crate::score::{ScoreRow, Scores, clearly_faster, ranking, scores, winner};
use crate::series::{Outcome, Series};

pub(super) fn section(report: &Report<'_>, group: &Group<'_>) -> Markup {
    let scores = scores(report, group);
    html! {
        section id=(format!("scores{}", group.suffix)) {
            h2 { "Scores" }
            p.note { (formula(group, &scores)) }
            div.scroll tabindex="0" {
                table {
                    thead {
                        tr {
                            th scope="col" { "engine" }
                            th scope="col" { "mean" small { "geometric" } }
                            @for contest in &group.contests { th scope="col" { (contest_name(contest)) } }
                        }
                    }
                    tbody {
                        @for row in &scores.rows { (store(report, group, row)) }
                        @for engine in group.engines() {
                            @if report.engines[engine].role == Role::UpperBound {
                                (unscored(report, group, engine, "no store"))
                            } @else if !scores.rows.iter().any(|row| row.engine == engine) {
                                (unscored(report, group, engine, "–"))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn formula(group: &Group<'_>, scores: &Scores) -> String {
    let names: Vec<String> =
        scores.in_mean.iter().map(|contest| contest_name(&group.contests[*contest])).collect();
    let left_out: Vec<String> = (0..group.contests.len())
        .filter(|contest| !scores.in_mean.contains(contest))
        .map(|contest| contest_name(&group.contests[contest]))
        .collect();
    let mut text = "Score = median throughput ÷ best median throughput of a store in that workload; 1 is the best. ".to_owned();
    if group.contests.iter().any(|contest| contest.offered.is_some()) {
        text.push_str("Under an offered rate, score = best median p99 of the response time ÷ the engine's own, among those that reached the rate; the two kinds are never averaged together. ");
    }
    match names.len() {
        0 => text.push_str("No workload was measured on all engines, so there is no mean."),
        n => {
            text.push_str(&format!(
                "Mean = (product of the scores)^(1/{n}) over {}",
                format::list(&names)
            ));
            if left_out.is_empty() {
                text.push('.');
            } else {
                let verb = if left_out.len() == 1 { "is" } else { "are" };
                text.push_str(&format!(
                    "; {} {verb} left out because not every engine was measured there.",
                    format::list(&left_out)
                ));
            }
        }
    }
    text
}

fn store(report: &Report<'_>, group: &Group<'_>, row: &ScoreRow) -> Markup {
    html! {
        tr {
            th scope="row" { (super::engine(report, row.engine)) }
            @match row.mean {
                Some(mean) => { td.score style=(shade(mean)) { strong { (two_digits(mean)) } } }
                None => { td { span.none { "–" } } }
            }
            @for (contest, ratio) in group.contests.iter().zip(&row.ratios) {
                @match (ratio, series(contest, row.engine)) {
                    (Some(ratio), Some(series)) => {
                        @let word = word(report, contest, row.engine, *ratio);
                        td.score.best[word == "best"] style=(shade(*ratio)) {
                            (two_digits(*ratio)) " " (word)
                            small { (headline(contest, series)) }
                        }
                    }
                    (_, series) => { (words(series)) }
                }
            }
        }
    }
}

fn unscored(report: &Report<'_>, group: &Group<'_>, engine: usize, instead: &str) -> Markup {
    html! {
        tr.unscored {
            th scope="row" {
                (super::engine(report, engine))
                @if report.engines[engine].role == Role::UpperBound { small { "upper bound, not scored" } }
            }
            td { span.none { (instead) } }
            @for contest in &group.contests {
                @match series(contest, engine).filter(|series| series.throughput().is_some()) {
                    Some(series) => { td { span.none { "–" } small { (headline(contest, series)) } } }
                    None => { (words(series(contest, engine))) }
                }
            }
        }
    }
}

fn series<'g, 'a>(contest: &'g Contest<'a>, engine: usize) -> Option<&'g Series<'a>> {
    contest.entries.iter().find(|entry| entry.engine == engine).map(|entry| &entry.series)
}

/// The figure that the score is made of.
fn headline(contest: &Contest<'_>, series: &Series<'_>) -> String {
    if contest.offered.is_some() {
        let p99 = series.response("all", |l| l.p99_ns);
        return p99.map(|p99| format!("p99 {}", format::latency(p99.median))).unwrap_or_default();
    }
    series
        .throughput()
        .map(|spread| format!("{} ops/s", format::rate(spread.median)))
        .unwrap_or_default()
}

/// What stands where there is no score.
fn words(series: Option<&Series<'_>>) -> Markup {
    let outcome = series.map(Series::outcome);
    let words = match outcome {
        None => "not run",
        Some(Outcome::Measured) if series.and_then(Series::reached) == Some(false) => {
            "target not reached"
        }
        Some(Outcome::Measured) => "n/a",
        Some(outcome) => outcome.words(),
    };
    let bad = outcome.is_some_and(Outcome::is_wrong);
    html! {
        td.words.bad[bad] title=[series.and_then(Series::reason)] { (words) }
    }
}

fn word(report: &Report<'_>, contest: &Contest<'_>, engine: usize, ratio: f64) -> &'static str {
    let ranking = ranking(report, contest);
    if ranking.len() < 2 {
        return "";
    }
    match winner(report, contest) {
        Some(best) if best == engine => return "best",
        Some(_) => {}
        None => {
            let leader = ranking[0];
            let own = ranking.iter().find(|(other, _)| *other == engine);
            if own.is_some_and(|own| !clearly_faster(leader.1, own.1)) {
                return "level";
            }
        }
    }
    match ratio {
        r if r >= 0.9 => "close",
        r if r >= 0.5 => "behind",
        _ => "far behind",
    }
}

fn shade(ratio: f64) -> String {
    format!("--s:{ratio:.2}")
}

fn two_digits(ratio: f64) -> String {
    if ratio < 0.095 { format!("{ratio:.3}") } else { format!("{ratio:.2}") }
}
