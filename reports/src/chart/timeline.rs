//! Throughput over time: a strip per engine, all on the same scales, with background work behind it.

use super::axis::{Axis, linear_ticks};
use super::drawing::{Anchor, Drawing, TEXT, WIDTH};
use super::render::text_width;
use super::{Chart, anchor};
use crate::format;
use crate::model::{Contest, Engine, Group, Report, Role};
use crate::palette::{AXIS, Color, GRID, INK, MUTED, STALL, WORK, style};
use crate::result::{Cell, Measurement, TimelinePoint};

const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 34.0;
const STRIP: f64 = 62.0;
const HEAD: f64 = 32.0;
/// A last interval shorter than this share of the first one says nothing about throughput by itself.
const SHORTEST_SHARE: f64 = 0.2;
/// A sleeping thread that wakes this much too late tells of a machine that stood still.
const HICCUP_NS: u64 = 1_000_000;
/// And so does a hypervisor that takes this share of a processor's time.
const STEAL_SHARE: f64 = 0.05;
/// Height of the strip of the machine's stalls.
const MACHINE: f64 = 4.0;
/// Room above the highest throughput.
const HEADROOM: f64 = 1.08;
/// An engine whose every interval reaches this share of its mean throughput has no dip to speak of.
const STEADY_PERCENT: f64 = 95.0;

struct Strip<'a> {
    engine: &'a Engine<'a>,
    cell: &'a Cell,
    measurement: &'a Measurement,
    steps: Vec<Step>,
}

/// Throughput of an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    start_s: f64,
    end_s: f64,
    rate: f64,
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
            let steps = steps(&measurement.timeline);
            let engine = report.engine(entry);
            (!steps.is_empty()).then_some(Strip { engine, cell, measurement, steps })
        })
        .collect();
    if strips.iter().all(|strip| strip.steps.len() < 2) {
        return None;
    }
    Some(Chart {
        name: anchor(group, &[&contest.name, "timeline"]),
        title: format!("{}: throughput over time", contest.name),
        finding: finding(&strips),
        caption:
            "Mean of each interval; of each engine the trial with the median throughput, the slower of the two in the middle of an even number. All strips share both scales. The thin strip under each tells when the machine, not the engine, stood still: a sleeping thread woke more than 1 ms too late, or the hypervisor gave processor time to others."
                .to_owned(),
        name_columns: 1,
        header: ["engine", "trial", "interval starts", "length", "operations", "p50", "p99", "max"]
            .map(str::to_owned)
            .to_vec(),
        rows: strips.iter().flat_map(rows).collect(),
        drawing: draw(&strips),
    })
}

/// The intervals; a last one that is too short for a throughput of its own is told with the one before it.
fn steps(timeline: &[TimelinePoint]) -> Vec<Step> {
    let mut intervals: Vec<(f64, f64, u64)> = timeline
        .iter()
        .filter(|point| point.length_s > 0.0)
        .map(|point| (point.start_s, point.length_s, point.operations))
        .collect();
    let least = intervals.first().map_or(0.0, |first| first.1 * SHORTEST_SHARE);
    if let [.., before, last] = intervals.as_mut_slice()
        && last.1 < least
    {
        before.1 += last.1;
        before.2 += last.2;
        intervals.pop();
    }
    let step = |(start_s, length_s, operations)| Step {
        start_s,
        end_s: start_s + length_s,
        rate: operations as f64 / length_s,
    };
    intervals.into_iter().map(step).collect()
}

fn finding(strips: &[Strip<'_>]) -> String {
    let dip = |strip: &Strip<'_>| {
        let least = strip.steps.iter().map(|step| step.rate).fold(f64::INFINITY, f64::min);
        let median = strip.measurement.throughput_ops_per_s;
        (median > 0.0).then(|| (least / median * 100.0).min(100.0))
    };
    let stalled = strips.iter().filter_map(|strip| stalls(strip.measurement)).reduce(|a, b| a + b);
    let deepest = strips
        .iter()
        .filter_map(|strip| Some((dip(strip)?, strip.engine.label.as_str())))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let stall_words = match stalled {
        None => "No engine tells whether it stalled".to_owned(),
        Some(0) => "No engine reported a stall".to_owned(),
        Some(many) => format!("{} reported", format::plural(many, "stall")),
    };
    match deepest {
        Some((percent, _)) if percent >= STEADY_PERCENT => format!(
            "{stall_words}; no interval lies below {percent:.0} % of its engine's mean throughput."
        ),
        Some((percent, engine)) => format!(
            "{stall_words}; the deepest dip is {engine}'s, to {percent:.0} % of its mean throughput."
        ),
        None => format!("{stall_words}."),
    }
}

/// Stalls that the engine reported; none where it does not tell.
fn stalls(measurement: &Measurement) -> Option<u64> {
    let events = measurement.events.iter().filter(|event| event.kind == "stall").count() as u64;
    measurement.stall_count.or((events > 0).then_some(events))
}

fn rows<'a>(strip: &'a Strip<'a>) -> impl Iterator<Item = Vec<String>> + 'a {
    strip.measurement.timeline.iter().filter(|point| point.length_s > 0.0).map(|point| {
        vec![
            strip.engine.label.clone(),
            strip.cell.trial.to_string(),
            format!("{:.2} s", point.start_s),
            format::seconds(point.length_s),
            format::count(point.operations),
            format::latency(point.p50_ns as f64),
            format::latency(point.p99_ns as f64),
            format::latency(point.max_ns as f64),
        ]
    })
}

fn draw(strips: &[Strip<'_>]) -> Drawing {
    let bottom = TOP + strips.len() as f64 * (STRIP + HEAD);
    let mut drawing = Drawing::new(bottom + 40.0);
    let steps = || strips.iter().flat_map(|strip| &strip.steps);
    let durations = strips.iter().map(|strip| strip.measurement.duration_s);
    let longest = durations.chain(steps().map(|step| step.end_s)).fold(0.0, f64::max);
    let most = steps().map(|step| step.rate).fold(0.0, f64::max);
    let x = Axis::linear((0.0, longest), (LEFT, RIGHT));
    let ceiling = if most > 0.0 { most * HEADROOM } else { 1.0 };
    let rates: Vec<f64> =
        linear_ticks(most, 3).into_iter().filter(|tick| *tick <= ceiling).collect();
    legend(&mut drawing, strips);
    for (at, strip) in strips.iter().enumerate() {
        let top = TOP + at as f64 * (STRIP + HEAD) + HEAD;
        let y = Axis::linear((0.0, ceiling), (top + STRIP, top));
        let style = style(strip.engine.style);
        events(&mut drawing, strip.measurement, &x, (top, top + STRIP));
        for tick in &rates {
            let color = if *tick == 0.0 { AXIS } else { GRID };
            drawing.line((LEFT, y.at(*tick)), (RIGHT, y.at(*tick)), color, 1.0);
            drawing.muted((LEFT - 8.0, y.at(*tick)), super::rate_tick(*tick), Anchor::Right);
        }
        drawing.mark((LEFT + 6.0, top - 10.0), 4.0, style);
        drawing.text((LEFT + 16.0, top - 10.0), &strip.engine.label, Anchor::Left);
        let rate = format!("{} ops/s", format::rate(strip.measurement.throughput_ops_per_s));
        drawing.muted((RIGHT, top - 10.0), rate, Anchor::Right);
        let points: Vec<_> = strip
            .steps
            .iter()
            .flat_map(|step| [(step.start_s, step.rate), (step.end_s, step.rate)])
            .map(|(at, rate)| (x.at(at), y.at(rate)))
            .collect();
        let mut area = points.clone();
        if let (Some(first), Some(last)) = (points.first(), points.last()) {
            area.extend([(last.0, top + STRIP), (first.0, top + STRIP)]);
        }
        drawing.area(area, style.color, 0.15);
        machine(&mut drawing, strip.measurement, &x, top + STRIP + 2.0);
        drawing.curve(&points, crate::palette::Style { dash: &[], ..style });
    }
    let seconds = linear_ticks(longest, 6);
    for tick in seconds.into_iter().filter(|tick| *tick <= longest * 1.001) {
        drawing.line((x.at(tick), bottom), (x.at(tick), bottom + 4.0), AXIS, 1.0);
        drawing.muted(
            (x.at(tick), bottom + 14.0),
            format!("{} s", super::plain_tick(tick)),
            Anchor::Middle,
        );
    }
    drawing.muted((LEFT - 52.0, 12.0), "ops/s", Anchor::Left);
    drawing
}

/// Whether the machine, not the engine, stood still in an interval.
fn machine_stood_still(point: &TimelinePoint) -> bool {
    let stolen = point.steal_s.is_some_and(|steal| steal > point.length_s * STEAL_SHARE);
    stolen || point.hiccup_max_ns.is_some_and(|hiccup| hiccup > HICCUP_NS)
}

/// A thin strip of its own, so that the machine's stalls are not taken for the engine's.
fn machine(drawing: &mut Drawing, measurement: &Measurement, x: &Axis, top: f64) {
    for point in measurement.timeline.iter().filter(|point| machine_stood_still(point)) {
        let (from, to) = (x.at(point.start_s), x.at(point.start_s + point.length_s));
        drawing.rect((from, top), (to.max(from + 1.0), top + MACHINE), INK, 0.75);
    }
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
    let entries: [(&str, &[&str], Color, f64, f64); 3] = [
        ("flush", &["flush"], MUTED, 0.8, 7.0),
        ("compaction or merge", &["compaction", "merge"], WORK, 0.55, 12.0),
        ("stall", &["stall"], STALL, 0.55, 12.0),
    ];
    let mut left = LEFT + 6.0;
    for (word, _, color, opacity, height) in entries.into_iter().filter(|entry| has(entry.1)) {
        drawing.rect((left, 18.0 - height), (left + 14.0, 18.0), color, opacity);
        drawing.muted((left + 20.0, 12.0), word, Anchor::Left);
        left += text_width(word, TEXT) + 40.0;
    }
    let points = || strips.iter().flat_map(|strip| &strip.measurement.timeline);
    if points().any(machine_stood_still) {
        drawing.rect((left, 14.0), (left + 14.0, 14.0 + MACHINE), INK, 0.75);
        drawing.muted((left + 20.0, 12.0), "machine stood still", Anchor::Left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(start_s: f64, length_s: f64, operations: u64) -> TimelinePoint {
        TimelinePoint {
            start_s,
            length_s,
            operations,
            p50_ns: 1,
            p99_ns: 1,
            max_ns: 1,
            ..TimelinePoint::default()
        }
    }

    fn check(timeline: &[TimelinePoint], expected: &[(f64, f64, f64)]) {
        let step = |&(start_s, end_s, rate)| Step { start_s, end_s, rate };
        assert_eq!(steps(timeline), expected.iter().map(step).collect::<Vec<_>>());
    }

    #[test]
    fn intervals_are_steps_from_their_start_to_their_end() {
        check(&[point(0.0, 0.5, 50)], &[(0.0, 0.5, 100.0)]);
        check(
            &[point(0.0, 1.0, 100), point(1.0, 1.0, 50), point(2.0, 0.5, 10)],
            &[(0.0, 1.0, 100.0), (1.0, 2.0, 50.0), (2.0, 2.5, 20.0)],
        );
    }

    #[test]
    fn short_last_interval_is_told_with_the_one_before() {
        check(
            &[point(0.0, 1.0, 100), point(1.0, 1.0, 99), point(2.0, 0.125, 36)],
            &[(0.0, 1.0, 100.0), (1.0, 2.125, 120.0)],
        );
        check(&[point(0.0, 1.0, 90), point(1.0, 0.125, 9)], &[(0.0, 1.125, 88.0)]);
        check(&[point(0.0, 1.0, 90), point(1.0, 0.0, 0)], &[(0.0, 1.0, 90.0)]);
    }
}
