//! The page `report.html`: one file, no script, nothing fetched.
//!
//! Order: the verdict and badges; for each group of comparable cells the founding comparison, scores, costs,
//! details and charts; then fairness, environment, and how to repeat it.

mod detail;
mod environment;
mod fairness;
mod figure;
mod founding;
mod offered;
mod recovery;
mod score;
mod study;
mod style;
pub(crate) mod verdict;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::chart::{Chart, Charts};
use crate::error::Result;
use crate::model::{Group, Report};
use crate::palette;
use crate::series::Spread;

/// The page over a report; `charts` holds each group's charts.
pub(crate) fn page(report: &Report<'_>, charts: &Charts) -> Result<String> {
    let mut groups = Vec::with_capacity(charts.groups.len());
    for (group, charts) in report.groups.iter().zip(&charts.groups) {
        groups.push(section(report, group, charts)?);
    }
    let mut studies = Vec::with_capacity(charts.studies.len());
    for (study, charts) in report.studies.iter().zip(&charts.studies) {
        studies.push(study::section(report, study, charts)?);
    }
    let verdict = verdict::verdict(report);
    let title = report.results.iter().map(|r| r.run.id.as_str()).collect::<Vec<_>>().join(", ");
    Ok(html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="description" content=(verdict.headline);
                title { "kvdyno: " (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(style::css())) }
            }
            body {
                main {
                    (verdict::header(report, &verdict))
                    (contents(report))
                    @for group in &groups { (group) }
                    @for study in &studies { (study) }
                    (fairness::section(report))
                    (environment::section(report))
                }
                footer { "Made by kvdyno, a dynamometer for key-value storage engines." }
            }
        }
    }
    .into_string())
}

fn contents(report: &Report<'_>) -> Markup {
    html! {
        nav aria-label="Contents" {
            @for group in &report.groups {
                @let name = |word: &str| format!("#{word}{}", group.suffix);
                @if report.groups.len() > 1 { strong { (group.short_title()) } }
                @if !group.contests.is_empty() {
                    @if founding::is_told(report, group) { a href=(name("founding")) { "Hash index or LSM" } }
                    a href=(name("scores")) { "Scores" }
                    @if offered::is_told(group) { a href=(name("offered")) { "Under a rate" } }
                    a href=(name("costs")) { "Costs" }
                    a href=(name("details")) { "Details" }
                }
                @if !group.recoveries.is_empty() { a href=(name("recoveries")) { "Recovery" } }
                a href=(name("charts")) { "Charts" }
            }
            @for study in &report.studies { a href=(format!("#study{}", study.suffix)) { "Recovery over size" } }
            a href="#fairness" { "Fairness" }
            a href="#environment" { "Environment" }
            a href="#repeat" { "Repeat it" }
        }
    }
}

fn section(report: &Report<'_>, group: &Group<'_>, charts: &[Chart]) -> Result<Markup> {
    let mut figures = Vec::with_capacity(charts.len());
    for chart in charts {
        figures.push(figure::figure(chart)?);
    }
    Ok(html! {
        @if report.groups.len() > 1 {
            h2.group { (group.title()) }
        }
        (founding::section(report, group))
        @if !group.contests.is_empty() {
            (score::section(report, group))
            (offered::section(report, group))
            (detail::costs(report, group))
            (detail::details(report, group))
        }
        (recovery::section(report, group))
        section id=(format!("charts{}", group.suffix)) {
            h2 { "Charts" }
            @if figures.is_empty() {
                p { "Nothing was measured that could be drawn." }
            }
            div.charts { @for figure in &figures { (figure) } }
        }
    })
}

/// An engine's mark and name.
fn engine(report: &Report<'_>, engine: usize) -> Markup {
    let engine = &report.engines[engine];
    let (color, shape) = (engine.style % palette::COLORS, engine.style % palette::SHAPES.len());
    html! {
        span class=(format!("engine s{shape}")) style=(format!("--c:var(--e{color})")) { (engine.label) }
    }
}

/// A median with half the trials' range in per cent; the range itself on hovering.
fn spread(spread: Option<Spread>, format: fn(f64) -> String) -> Markup {
    html! {
        @match spread {
            Some(spread) => {
                @if let Some(percent) = spread.half_range_percent().filter(|percent| *percent >= 0.5) {
                    span title=(format!("{} to {}", format(spread.min), format(spread.max))) {
                        (format(spread.median)) " " small { "±" (format!("{percent:.0}")) " %" }
                    }
                } @else { (format(spread.median)) }
            }
            None => { span.none { "n/a" } }
        }
    }
}

/// A median alone.
fn median(spread: Option<Spread>, format: fn(f64) -> String) -> Markup {
    html! {
        @match spread {
            Some(spread) => { (format(spread.median)) }
            None => { span.none { "n/a" } }
        }
    }
}
