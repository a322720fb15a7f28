//! Throughput: a panel per workload, a bar per engine, from zero.

use super::axis::{Axis, linear_ticks};
use super::drawing::{Anchor, Drawing, TEXT, WIDTH};
use super::render::text_width;
use super::{Chart, anchor, trials_words};
use crate::format;
use crate::model::{Contest, Group, Report, Role};
use crate::palette::{AXIS, GRID, style};
use crate::score::winner;
use crate::series::Outcome;

const ROW: f64 = 22.0;
const HEAD: f64 = 26.0;
const GAP: f64 = 16.0;
const COLUMNS: usize = 2;

pub(super) fn chart(report: &Report<'_>, group: &Group<'_>) -> Option<Chart> {
    let contests: Vec<&Contest<'_>> = group.contests.iter().filter(|c| measured(c)).collect();
    if contests.is_empty() {
        return None;
    }
    Some(Chart {
        name: anchor(group, &["throughput"]),
        title: "Throughput".to_owned(),
        finding: finding(report, &contests),
        caption: format!(
            "Operations acknowledged per second, each workload on its own scale from zero. {}.",
            trials_words(group, "thin lines reach")
        ),
        name_columns: 2,
        header: ["workload", "engine", "ops/s", "min", "max", "settled ops/s", "trials"]
            .map(str::to_owned)
            .to_vec(),
        rows: contests.iter().flat_map(|contest| rows(report, contest)).collect(),
        drawing: draw(report, &contests),
    })
}

fn measured(contest: &Contest<'_>) -> bool {
    // Under an offered rate throughput is the rate: response time says more.
    contest.offered.is_none()
        && contest.entries.iter().any(|entry| entry.series.throughput().is_some())
}

fn finding(report: &Report<'_>, contests: &[&Contest<'_>]) -> String {
    let mut sentences: Vec<(usize, Vec<&str>)> = Vec::new();
    let mut open = Vec::new();
    for contest in contests {
        match winner(report, contest) {
            Some(engine) => match sentences.iter_mut().find(|(other, _)| *other == engine) {
                Some((_, workloads)) => workloads.push(&contest.name),
                None => sentences.push((engine, vec![contest.name.as_str()])),
            },
            None => open.push(contest.name.as_str()),
        }
    }
    sentences.sort_by_key(|(_, workloads)| std::cmp::Reverse(workloads.len()));
    let mut words: Vec<String> = sentences
        .iter()
        .map(|(engine, workloads)| {
            format!("{} is fastest in {}", report.engines[*engine].label, format::list(workloads))
        })
        .collect();
    let competitors = report.stores().count();
    if !open.is_empty() && competitors > 1 {
        words.push(format!("no clear winner in {}", format::list(&open)));
    }
    if words.is_empty() {
        return "One engine took part, so there is nothing to compare it with.".to_owned();
    }
    format!("{}.", words.join("; "))
}

fn rows(report: &Report<'_>, contest: &Contest<'_>) -> Vec<Vec<String>> {
    contest
        .entries
        .iter()
        .map(|entry| {
            let mut row = vec![contest.name.clone(), report.engine(entry).label.clone()];
            let settled = entry.series.spread(|m| Some(m.throughput_settled_ops_per_s));
            match (entry.series.throughput(), settled) {
                (Some(spread), Some(settled)) => row.extend([
                    format::count(spread.median.round() as u64),
                    format::count(spread.min.round() as u64),
                    format::count(spread.max.round() as u64),
                    format::count(settled.median.round() as u64),
                    spread.trials.to_string(),
                ]),
                _ => row.push(entry.series.outcome().words().to_owned()),
            }
            row
        })
        .collect()
}

fn draw(report: &Report<'_>, contests: &[&Contest<'_>]) -> Drawing {
    let label =
        report.engines.iter().map(|engine| text_width(&engine.label, TEXT)).fold(0.0, f64::max);
    let label = label.min(150.0) + 26.0;
    let columns = COLUMNS.min(contests.len());
    let panel_width = (WIDTH - 24.0 * (columns as f64 + 1.0)) / columns as f64;
    let panel_height = |contest: &Contest<'_>| HEAD + ROW * contest.entries.len() as f64 + GAP;
    let mut drawing = Drawing::default();
    let mut top = 4.0;
    for line in contests.chunks(columns) {
        for (column, contest) in line.iter().enumerate() {
            let left = 24.0 + column as f64 * (panel_width + 24.0);
            panel(&mut drawing, report, contest, (left, top), panel_width, label);
        }
        top += line.iter().map(|contest| panel_height(contest)).fold(0.0, f64::max);
    }
    drawing.height = top;
    drawing
}

fn panel(
    drawing: &mut Drawing,
    report: &Report<'_>,
    contest: &Contest<'_>,
    (left, top): (f64, f64),
    width: f64,
    label: f64,
) {
    let most = contest.entries.iter().filter_map(|entry| entry.series.throughput());
    let most = most.map(|spread| spread.max).fold(0.0, f64::max);
    let ticks = linear_ticks(most, 4);
    let last = ticks.last().copied().unwrap_or(1.0);
    // Room for the figure behind the longest bar.
    let axis = Axis::linear(
        (0.0, most.max(1.0)),
        (left + label, left + width - text_width("1,234 k best", TEXT) - 8.0),
    );
    let bottom = top + HEAD + ROW * contest.entries.len() as f64;
    drawing.text((left, top + 12.0), &contest.name, Anchor::Left);
    for tick in ticks.into_iter().filter(|tick| *tick <= most || last <= 1.0) {
        let x = axis.at(tick);
        let color = if tick == 0.0 { AXIS } else { GRID };
        drawing.line((x, top + HEAD - 2.0), (x, bottom), color, 1.0);
    }
    let best = winner(report, contest);
    for (row, entry) in contest.entries.iter().enumerate() {
        let engine = report.engine(entry);
        let style = style(engine.style);
        let y = top + HEAD + ROW * (row as f64 + 0.5);
        drawing.mark((left + 6.0, y), 4.0, style);
        drawing.text((left + 16.0, y), &engine.label, Anchor::Left);
        let Some(spread) = entry.series.throughput() else {
            let words = match entry.series.outcome() {
                Outcome::Measured => "no figures",
                outcome => outcome.words(),
            };
            drawing.muted((axis.at(0.0) + 6.0, y), words, Anchor::Left);
            continue;
        };
        let opacity = if engine.role == Role::UpperBound { 0.35 } else { 1.0 };
        drawing.rect(
            (axis.at(0.0), y - 6.0),
            (axis.at(spread.median), y + 6.0),
            style.color,
            opacity,
        );
        drawing.whisker(axis.at(spread.min), axis.at(spread.max), y);
        let mark = if best == Some(entry.engine) { " best" } else { "" };
        let place = (axis.at(spread.max) + 6.0, y);
        drawing.text(place, format!("{}{mark}", format::rate(spread.median)), Anchor::Left);
    }
}
