//! Throughput over time: a strip per engine, all on the same scales, with background work behind it.

use super::axis::{Axis, linear_ticks};
use super::drawing::{Anchor, Drawing, WIDTH};
use super::{Chart, anchor};
use crate::format;
use crate::model::{Contest, Engine, Group, Report, Role};
use crate::palette::{AXIS, GRID, MUTED, STALL, WORK, style};
use crate::result::{Cell, Measurement, TimelinePoint};

const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 34.0;
const STRIP: f64 = 62.0;
const HEAD: f64 = 28.0;
/// A last interval shorter than this share of the first one says nothing about throughput.
const SHORTEST_SHARE: f64 = 0.2;

struct Strip<'a> {
    engine: &'a Engine<'a>,
    cell: &'a Cell,
    measurement: &'a Measurement,
    points: Vec<(f64, f64)>,
}

pub(super) fn chart(
    report: &Report<'_>,
    group: &Group<'_>,
    contest: &Contest<'_>,
) -> Option<Chart> {
    let strips: Vec<Strip<'_>> = contest
        .entries
        .iter()
        .filter(|entry| report.engine(entry).role == Role::Store)
        .filter_map(|entry| {
            let (cell, measurement) = entry.series.median_trial()?;
            let points = points(&measurement.timeline);
            let engine = report.engine(entry);
            (!points.is_empty()).then_some(Strip { engine, cell, measurement, points })
        })
        .collect();
    if strips.iter().all(|strip| strip.points.len() < 2) {
        return None;
    }
    Some(Chart {
        name: anchor(group, &[contest.workload, "timeline"]),
        title: format!("{}: throughput over time", contest.workload),
        finding: finding(&strips),
        caption:
            "Of each engine the trial with the median throughput. All strips share both scales."
                .to_owned(),
        name_columns: 1,
        header: ["engine", "trial", "interval starts", "ops/s", "p50", "p99", "max"]
            .map(str::to_owned)
            .to_vec(),
        rows: strips.iter().flat_map(rows).collect(),
        drawing: draw(&strips),
    })
}

/// The middle of each interval, and operations per second in it.
fn points(timeline: &[TimelinePoint]) -> Vec<(f64, f64)> {
    let first = timeline.first().map_or(0.0, |point| point.length_s);
    timeline
        .iter()
        .filter(|point| point.length_s > 0.0 && point.length_s >= first * SHORTEST_SHARE)
        .map(|point| {
            (point.start_s + point.length_s / 2.0, point.operations as f64 / point.length_s)
        })
        .collect()
}

fn finding(strips: &[Strip<'_>]) -> String {
    let dip = |strip: &Strip<'_>| {
        let least = strip.points.iter().map(|(_, rate)| *rate).fold(f64::INFINITY, f64::min);
        let median = strip.measurement.throughput_ops_per_s;
        (median > 0.0).then(|| (least / median * 100.0).min(100.0))
    };
    let stalls = |strip: &Strip<'_>| {
        strip.measurement.events.iter().filter(|event| event.kind == "stall").count()
    };
    let stalled: u64 = strips.iter().map(|strip| stalls(strip) as u64).sum();
    let deepest = strips
        .iter()
        .filter_map(|strip| Some((dip(strip)?, strip.engine.label.as_str())))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let stall_words = match stalled {
        0 => "No engine reported a stall".to_owned(),
        many => format!("{} reported", format::plural(many, "stall")),
    };
    match deepest {
        Some((percent, engine)) => format!(
            "{stall_words}; the deepest dip is {engine}'s, to {percent:.0} % of its mean throughput."
        ),
        None => format!("{stall_words}."),
    }
}

fn rows<'a>(strip: &'a Strip<'a>) -> impl Iterator<Item = Vec<String>> + 'a {
    strip.measurement.timeline.iter().filter(|point| point.length_s > 0.0).map(|point| {
        vec![
            strip.engine.label.clone(),
            strip.cell.trial.to_string(),
            format!("{:.2} s", point.start_s),
            format::count((point.operations as f64 / point.length_s).round() as u64),
            format::latency(point.p50_ns as f64),
            format::latency(point.p99_ns as f64),
            format::latency(point.max_ns as f64),
        ]
    })
}

fn draw(strips: &[Strip<'_>]) -> Drawing {
    let bottom = TOP + strips.len() as f64 * (STRIP + HEAD);
    let mut drawing = Drawing::new(bottom + 40.0);
    let longest = strips.iter().map(|s| s.measurement.duration_s).fold(0.0, f64::max);
    let longest =
        strips.iter().filter_map(|s| s.points.last()).map(|p| p.0).fold(longest, f64::max);
    let most = strips.iter().flat_map(|s| &s.points).map(|p| p.1).fold(0.0, f64::max);
    let x = Axis::linear((0.0, longest), (LEFT, RIGHT));
    let rates = linear_ticks(most, 2);
    let ceiling = rates.last().copied().unwrap_or(1.0);
    legend(&mut drawing, strips);
    for (at, strip) in strips.iter().enumerate() {
        let top = TOP + at as f64 * (STRIP + HEAD) + HEAD;
        let y = Axis::linear((0.0, ceiling), (top + STRIP, top));
        let style = style(strip.engine.style);
        events(&mut drawing, strip.measurement, &x, (top, top + STRIP));
        for tick in &rates {
            let color = if *tick == 0.0 { AXIS } else { GRID };
            drawing.line((LEFT, y.at(*tick)), (RIGHT, y.at(*tick)), color, 1.0);
            drawing.muted((LEFT - 8.0, y.at(*tick)), tick_label(*tick), Anchor::Right);
        }
        drawing.mark((LEFT + 6.0, top - 10.0), 4.0, style);
        drawing.text((LEFT + 16.0, top - 10.0), &strip.engine.label, Anchor::Left);
        let rate = format!("{} ops/s", format::rate(strip.measurement.throughput_ops_per_s));
        drawing.muted((RIGHT, top - 10.0), rate, Anchor::Right);
        let points: Vec<_> = strip.points.iter().map(|(at, v)| (x.at(*at), y.at(*v))).collect();
        let mut area = points.clone();
        if let (Some(first), Some(last)) = (points.first(), points.last()) {
            area.extend([(last.0, top + STRIP), (first.0, top + STRIP)]);
        }
        drawing.area(area, style.color, 0.15);
        drawing.curve(&points, crate::palette::Style { dash: &[], ..style });
    }
    let seconds = linear_ticks(longest, 6);
    for tick in seconds.into_iter().filter(|tick| *tick <= longest * 1.001) {
        drawing.line((x.at(tick), bottom), (x.at(tick), bottom + 4.0), AXIS, 1.0);
        drawing.muted((x.at(tick), bottom + 14.0), format!("{} s", short(tick)), Anchor::Middle);
    }
    drawing.muted((LEFT - 52.0, 12.0), "ops/s", Anchor::Left);
    drawing
}

/// Flushes as marks on the base line, other work as bands, stalls as bands in the colour of alarm.
fn events(drawing: &mut Drawing, measurement: &Measurement, x: &Axis, (top, bottom): (f64, f64)) {
    let visible = measurement.events.iter().filter(|e| e.start_s < measurement.duration_s);
    for event in visible {
        let (from, to) =
            (x.at(event.start_s.max(0.0)), x.at(event.end_s.min(measurement.duration_s)));
        let to = to.max(from + 1.0);
        match event.kind.as_str() {
            "flush" => drawing.rect((from, bottom - 7.0), (to, bottom), MUTED, 0.8),
            "stall" => drawing.rect((from, top), (to, bottom), STALL, 0.55),
            _ => drawing.rect((from, top), (to, bottom), WORK, 0.55),
        }
    }
}

fn legend(drawing: &mut Drawing, strips: &[Strip<'_>]) {
    let has = |kinds: &[&str]| {
        strips
            .iter()
            .flat_map(|strip| &strip.measurement.events)
            .any(|event| kinds.contains(&event.kind.as_str()))
    };
    let mut right = RIGHT;
    let mut entry = |word: &str, color, opacity, height| {
        drawing.colored(right, word, color, opacity, height);
        right -= super::render::text_width(word, super::drawing::TEXT) + 40.0;
    };
    if has(&["stall"]) {
        entry("stall", STALL, 0.55, 12.0);
    }
    if has(&["compaction", "merge"]) {
        entry("compaction or merge", WORK, 0.55, 12.0);
    }
    if has(&["flush"]) {
        entry("flush", MUTED, 0.8, 7.0);
    }
}

impl Drawing {
    /// A legend's entry that ends at `right`.
    fn colored(
        &mut self,
        right: f64,
        word: &str,
        color: crate::palette::Color,
        opacity: f64,
        height: f64,
    ) {
        let left = right - super::render::text_width(word, super::drawing::TEXT);
        self.muted((right, 12.0), word, Anchor::Right);
        self.rect((left - 20.0, 18.0 - height), (left - 6.0, 18.0), color, opacity);
    }
}

fn tick_label(rate: f64) -> String {
    if rate >= 1e6 {
        format!("{} M", short(rate / 1e6))
    } else if rate >= 1e3 {
        format!("{} k", short(rate / 1e3))
    } else {
        short(rate)
    }
}

/// A round number without digits that mean nothing.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
