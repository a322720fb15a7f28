//! What went on underneath the throughput: latency, processor, bytes written, size and memory over time, one strip
//! each, all engines in it.
//!
//! A long run has more intervals than a chart has pixels for: then neighbours are told together, latencies by
//! their largest, counts by their sum, sizes by the last.

use super::axis::{Axis, linear_ticks, logarithmic_ticks};
use super::drawing::{Anchor, Drawing, Point, TEXT, WIDTH};
use super::render::text_width;
use super::{Chart, anchor, bytes_tick, latency_tick};
use crate::format;
use crate::model::{Contest, Engine, Group, Report, Role};
use crate::palette::{AXIS, GRID, Style, style};
use crate::result::{Measurement, TimelinePoint};

const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 30.0;
const STRIP: f64 = 64.0;
const HEAD: f64 = 28.0;
/// Places of a curve at most.
const PLACES_MAX: usize = 80;

/// What a strip shows.
struct Track {
    name: &'static str,
    of: fn(&TimelinePoint) -> Option<f64>,
    /// How neighbours are told together.
    join: fn(f64, f64) -> f64,
    /// Whether it is a count that is divided by the length of its interval.
    per_second: bool,
    logarithmic: bool,
    tick: fn(f64) -> String,
}

const TRACKS: [Track; 7] = [
    Track {
        name: "p99 of the service time",
        of: |p| (p.operations > 0).then_some(p.p99_ns as f64),
        join: f64::max,
        per_second: false,
        logarithmic: true,
        tick: latency_tick,
    },
    Track {
        name: "p99 of the response time",
        of: |p| p.response_p99_ns.map(|ns| ns as f64),
        join: f64::max,
        per_second: false,
        logarithmic: true,
        tick: latency_tick,
    },
    Track {
        name: "processors busy",
        of: |p| p.cpu_s,
        join: |a, b| a + b,
        per_second: true,
        logarithmic: false,
        tick: super::plain_tick,
    },
    Track {
        name: "written per second, as the engine tells",
        of: |p| p.engine_bytes_written.map(|bytes| bytes as f64),
        join: |a, b| a + b,
        per_second: true,
        logarithmic: false,
        tick: bytes_tick,
    },
    Track {
        name: "written per second, as the device took it",
        of: |p| p.device_bytes_written.map(|bytes| bytes as f64),
        join: |a, b| a + b,
        per_second: true,
        logarithmic: false,
        tick: bytes_tick,
    },
    Track {
        name: "on disk",
        of: |p| p.allocated_bytes.map(|bytes| bytes as f64),
        join: |_, b| b,
        per_second: false,
        logarithmic: false,
        tick: bytes_tick,
    },
    Track {
        name: "anonymous memory",
        of: |p| p.rss_anon_bytes.map(|bytes| bytes as f64),
        join: |_, b| b,
        per_second: false,
        logarithmic: false,
        tick: bytes_tick,
    },
];

struct Run<'a> {
    engine: &'a Engine<'a>,
    measurement: &'a Measurement,
}

pub(super) fn chart(
    report: &Report<'_>,
    group: &Group<'_>,
    contest: &Contest<'_>,
) -> Option<Chart> {
    let runs: Vec<Run<'_>> = contest
        .entries
        .iter()
        .filter(|entry| report.engine(entry).role == Role::Store)
        .filter_map(|entry| {
            let (_, measurement) = entry.series.median_trial()?;
            let run = Run { engine: report.engine(entry), measurement };
            (measurement.timeline.len() > 1).then_some(run)
        })
        .collect();
    let tracks: Vec<&Track> = TRACKS
        .iter()
        .filter(|track| runs.iter().any(|run| curve(track, run.measurement).len() > 1))
        .collect();
    if tracks.is_empty() {
        return None;
    }
    let mut header = vec!["engine".to_owned()];
    header.extend(tracks.iter().map(|track| format!("largest {}", track.name)));
    Some(Chart {
        name: anchor(group, &[&contest.name, "tracks"]),
        title: format!("{}: what went on underneath", contest.name),
        finding: finding(&runs),
        caption: "All engines in each strip; of each the trial with the median throughput, the slower of two. Intervals that lie too close together are told together: latencies by their largest. An engine or a machine that does not tell a figure has no line."
            .to_owned(),
        name_columns: 1,
        header,
        rows: runs.iter().map(|run| row(&tracks, run)).collect(),
        drawing: draw(&tracks, &runs),
    })
}

/// Middle of the interval and value, at most [`PLACES_MAX`] of them.
fn curve(track: &Track, measurement: &Measurement) -> Vec<Point> {
    let points: Vec<&TimelinePoint> =
        measurement.timeline.iter().filter(|point| point.length_s > 0.0).collect();
    let together = points.len().div_ceil(PLACES_MAX).max(1);
    points
        .chunks(together)
        .filter_map(|chunk| {
            let (first, last) = (chunk.first()?, chunk.last()?);
            let end_s = last.start_s + last.length_s;
            let value = chunk.iter().filter_map(|point| (track.of)(point)).reduce(track.join)?;
            let value = if track.per_second { value / (end_s - first.start_s) } else { value };
            Some((f64::midpoint(first.start_s, end_s), value))
        })
        .collect()
}

fn finding(runs: &[Run<'_>]) -> String {
    let slowest = runs
        .iter()
        .flat_map(|run| run.measurement.timeline.iter().map(move |point| (run, point)))
        .filter(|(_, point)| point.operations > 0)
        .max_by_key(|(_, point)| point.response_p99_ns.unwrap_or(point.p99_ns));
    match slowest {
        Some((run, point)) => format!(
            "The highest p99 of an interval is {}'s: {} {} into the phase.",
            run.engine.label,
            format::latency(point.response_p99_ns.unwrap_or(point.p99_ns) as f64),
            format::seconds(point.start_s),
        ),
        None => "No interval has operations in it.".to_owned(),
    }
}

fn row(tracks: &[&Track], run: &Run<'_>) -> Vec<String> {
    let largest = |track: &&&Track| {
        let values = curve(track, run.measurement).into_iter().map(|(_, value)| value);
        values.max_by(f64::total_cmp).map_or_else(|| "n/a".to_owned(), track.tick)
    };
    [run.engine.label.clone()].into_iter().chain(tracks.iter().map(|t| largest(&t))).collect()
}

fn draw(tracks: &[&Track], runs: &[Run<'_>]) -> Drawing {
    let bottom = TOP + tracks.len() as f64 * (STRIP + HEAD);
    let mut drawing = Drawing::new(bottom + 26.0);
    let longest = runs.iter().map(|run| run.measurement.duration_s).fold(0.0, f64::max);
    let x = Axis::linear((0.0, longest), (LEFT, RIGHT));
    legend(&mut drawing, runs);
    for (at, track) in tracks.iter().enumerate() {
        let top = TOP + at as f64 * (STRIP + HEAD) + HEAD;
        let curves: Vec<Vec<Point>> =
            runs.iter().map(|run| curve(track, run.measurement)).collect();
        let values = || curves.iter().flatten().map(|(_, value)| *value);
        let most = values().fold(0.0, f64::max);
        let (y, ticks) = if track.logarithmic {
            let least = values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
            let (ends, ticks) = logarithmic_ticks(least, most);
            let step = ticks.len().div_ceil(4).max(1);
            (
                Axis::logarithmic(ends, (top + STRIP, top)),
                ticks.into_iter().step_by(step).collect::<Vec<_>>(),
            )
        } else {
            let ticks = linear_ticks(most, 2);
            let ceiling = ticks.last().copied().unwrap_or(1.0);
            (Axis::linear((0.0, ceiling), (top + STRIP, top)), ticks)
        };
        drawing.muted((LEFT, top - 11.0), track.name, Anchor::Left);
        for tick in ticks {
            drawing.line((LEFT, y.at(tick)), (RIGHT, y.at(tick)), GRID, 1.0);
            drawing.muted((LEFT - 8.0, y.at(tick)), (track.tick)(tick), Anchor::Right);
        }
        drawing.line((LEFT, top + STRIP), (RIGHT, top + STRIP), AXIS, 1.0);
        for (run, curve) in runs.iter().zip(&curves) {
            let places: Vec<Point> =
                curve.iter().map(|(at, value)| (x.at(*at), y.at(*value))).collect();
            // Whole lines, told apart by colour and by the mark at their end: dashes in every strip would be most of the page.
            let style = Style { dash: &[], ..style(run.engine.style) };
            drawing.curve(&places, style);
            if let Some(end) = places.last() {
                drawing.mark(*end, 3.5, style);
            }
        }
    }
    let seconds = linear_ticks(longest, 6);
    for tick in seconds.into_iter().filter(|tick| *tick <= longest * 1.001) {
        let label = format!("{} s", super::plain_tick(tick));
        drawing.muted((x.at(tick), bottom + 14.0), label, Anchor::Middle);
    }
    drawing
}

fn legend(drawing: &mut Drawing, runs: &[Run<'_>]) {
    let mut left = LEFT;
    for run in runs {
        let style = style(run.engine.style);
        drawing.mark((left + 5.0, 14.0), 4.0, style);
        drawing.text((left + 15.0, 14.0), &run.engine.label, Anchor::Left);
        left += 15.0 + text_width(&run.engine.label, TEXT) + 18.0;
    }
}
