//! Recovery: how long opening takes after `kill -9`, and after a clean close.

use super::axis::{Axis, logarithmic_ticks};
use super::drawing::{Anchor, Drawing, TEXT, WIDTH};
use super::render::text_width;
use super::{Chart, anchor, trials_words};
use crate::format;
use crate::model::{Contest, Engine, Group, Report};
use crate::palette::{AXIS, GRID, INK, MUTED, style};
use crate::series::Spread;

const ROW: f64 = 34.0;
const TOP: f64 = 34.0;
/// Width of a figure beside its mark.
const LABEL: f64 = 66.0;

struct Row<'a> {
    engine: &'a Engine<'a>,
    killed: Spread,
    clean: Spread,
}

pub(super) fn chart(
    report: &Report<'_>,
    group: &Group<'_>,
    contest: &Contest<'_>,
) -> Option<Chart> {
    let rows: Vec<Row<'_>> = contest
        .entries
        .iter()
        .filter_map(|entry| {
            Some(Row {
                engine: report.engine(entry),
                killed: entry.series.recovery(|r| r.open_ms)?,
                clean: entry.series.recovery(|r| r.reopen_clean_ms)?,
            })
        })
        .collect();
    if rows.is_empty() {
        return None;
    }
    let name = if group.recoveries.len() > 1 {
        anchor(group, &["recovery", contest.workload])
    } else {
        anchor(group, &["recovery"])
    };
    Some(Chart {
        name,
        title: if contest.workload == "recovery" {
            "Recovery: opening the store".to_owned()
        } else {
            format!("Recovery: opening the store ({})", contest.workload)
        },
        finding: finding(&rows),
        caption: format!(
            "The store is opened after kill -9 while it was being written, and once more after a clean close; every acknowledged write is looked up. {}.",
            trials_words(group, "thin lines reach")
        ),
        name_columns: 1,
        header: [
            "engine",
            "open after kill -9",
            "min",
            "max",
            "first read",
            "clean reopen",
            "store",
            "trials",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: contest
            .entries
            .iter()
            .map(|entry| table_row(&report.engine(entry).label, &entry.series))
            .collect(),
        drawing: draw(&rows),
    })
}

fn finding(rows: &[Row<'_>]) -> String {
    let mut sorted: Vec<_> = rows.iter().collect();
    sorted.sort_by(|a, b| a.killed.median.total_cmp(&b.killed.median));
    let words = |row: &Row<'_>| {
        format!("{} on {}", format::milliseconds(row.killed.median), row.engine.label)
    };
    match sorted.as_slice() {
        [] => String::new(),
        [only] => format!("Opening after kill -9 took {}.", words(only)),
        [first, .., last] => {
            format!("Opening after kill -9 took from {} to {}.", words(first), words(last))
        }
    }
}

fn table_row(label: &str, series: &crate::series::Series<'_>) -> Vec<String> {
    let Some(killed) = series.recovery(|r| r.open_ms) else {
        return vec![label.to_owned(), series.outcome().words().to_owned()];
    };
    let figure = |of: fn(&crate::result::Recovery) -> f64, format: fn(f64) -> String| {
        series.recovery(of).map_or_else(|| "n/a".to_owned(), |spread| format(spread.median))
    };
    vec![
        label.to_owned(),
        format::milliseconds(killed.median),
        format::milliseconds(killed.min),
        format::milliseconds(killed.max),
        figure(|r| r.first_read_ms, format::milliseconds),
        figure(|r| r.reopen_clean_ms, format::milliseconds),
        figure(|r| r.store_bytes as f64, format::bytes),
        killed.trials.to_string(),
    ]
}

fn draw(rows: &[Row<'_>]) -> Drawing {
    let bottom = TOP + rows.len() as f64 * ROW;
    let mut drawing = Drawing::new(bottom + 36.0);
    let label = rows.iter().map(|row| text_width(&row.engine.label, TEXT)).fold(0.0, f64::max);
    // Room for the figures of marks that lie at the ends of the axis.
    let left = 24.0 + label.min(170.0) + 32.0 + LABEL;
    let right = WIDTH - 24.0 - LABEL;
    let spreads = || rows.iter().flat_map(|row| [row.killed, row.clean]);
    let least = spreads().map(|s| s.min).filter(|ms| *ms > 0.0).fold(f64::INFINITY, f64::min);
    let most = spreads().map(|s| s.max).fold(0.0, f64::max);
    let (ends, ticks) = logarithmic_ticks(least, most);
    let x = Axis::logarithmic(ends, (left, right));
    for tick in ticks {
        drawing.line((x.at(tick), TOP), (x.at(tick), bottom), GRID, 1.0);
        drawing.muted((x.at(tick), bottom + 14.0), super::latency_tick(tick * 1e6), Anchor::Middle);
    }
    drawing.line((left, bottom), (right, bottom), AXIS, 1.0);
    drawing.mark(
        (30.0, 12.0),
        5.0,
        crate::palette::Style { color: INK, shape: crate::palette::Shape::Circle, dash: &[] },
    );
    drawing.muted((40.0, 12.0), "after kill -9", Anchor::Left);
    let clean = 52.0 + text_width("after kill -9", TEXT);
    drawing.line((clean + 6.0, 5.0), (clean + 6.0, 19.0), MUTED, 2.0);
    drawing.muted((clean + 14.0, 12.0), "clean reopen", Anchor::Left);
    for (at, row) in rows.iter().enumerate() {
        let y = TOP + (at as f64 + 0.5) * ROW;
        let style = style(row.engine.style);
        drawing.mark((30.0, y), 4.0, style);
        drawing.text((40.0, y), &row.engine.label, Anchor::Left);
        let (killed, clean) = (x.at(row.killed.median), x.at(row.clean.median));
        drawing.line((killed, y), (clean, y), style.color, 2.0);
        drawing.line((clean, y - 7.0), (clean, y + 7.0), MUTED, 2.0);
        drawing.whisker(x.at(row.killed.min), x.at(row.killed.max), y);
        drawing.mark((killed, y), 5.5, style);
        labels(&mut drawing, row, (killed, clean), y);
    }
    drawing
}

/// The two figures, each on the outer side of its mark.
fn labels(drawing: &mut Drawing, row: &Row<'_>, (killed, clean): (f64, f64), y: f64) {
    let outer = |own: f64, other: f64| {
        if own >= other { (10.0, Anchor::Left) } else { (-10.0, Anchor::Right) }
    };
    let (shift, anchor) = outer(killed, clean);
    drawing.text((killed + shift, y), format::milliseconds(row.killed.median), anchor);
    let (shift, anchor) =
        if killed >= clean { (-10.0, Anchor::Right) } else { (10.0, Anchor::Left) };
    drawing.muted((clean + shift, y), format::milliseconds(row.clean.median), anchor);
}
