//! The hockey stick: response time over the offered rate, up to saturation.

use super::axis::{Axis, linear_ticks, logarithmic_ticks, spread_labels};
use super::drawing::{Anchor, Drawing, Point, TEXT, WIDTH};
use super::render::text_width;
use super::{Chart, anchor, latency_tick};
use crate::format;
use crate::model::{Contest, Engine, Group, Report};
use crate::palette::{AXIS, GRID, MUTED, Style, style};
use crate::rates::{highest_reached, points, slo_sentence};
use crate::result::RatePoint;

const HEIGHT: f64 = 330.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = HEIGHT - 44.0;
const LEFT: f64 = 64.0;
/// Half the width of the cross on a rate that was not reached.
const CROSS: f64 = 5.0;

struct Curve<'a> {
    engine: &'a Engine<'a>,
    /// Those with a 99th percentile of the response time, lowest rate first.
    points: Vec<(&'a RatePoint, f64)>,
}

pub(super) fn chart(
    report: &Report<'_>,
    group: &Group<'_>,
    contest: &Contest<'_>,
) -> Option<Chart> {
    let curves: Vec<Curve<'_>> = contest
        .entries
        .iter()
        .map(|entry| {
            let told = |point: &RatePoint| point.response.p99_ns.filter(|ns| *ns > 0);
            let points = points(&entry.series).into_iter();
            let points = points.filter_map(|point| Some((point, told(point)? as f64)));
            Curve { engine: report.engine(entry), points: points.collect() }
        })
        .filter(|curve| !curve.points.is_empty())
        .collect();
    if curves.is_empty() {
        return None;
    }
    Some(Chart {
        name: anchor(group, &[&contest.name, "rates"]),
        title: format!("{}: response time under rising load", contest.name),
        finding: finding(report, contest),
        caption: "99th percentile of the response time, from the intended start to the return, at each rate that was offered; of each engine the trial with the median throughput. A search offers the rate that held once more for longer, to confirm it. A cross: the rate was not reached, so waiting times grow for as long as it is offered.".to_owned(),
        name_columns: 1,
        header: ["engine", "offered", "for", "achieved", "reached", "bound held", "response p50", "response p99", "response max", "service p99"]
            .map(str::to_owned)
            .to_vec(),
        rows: contest
            .entries
            .iter()
            .flat_map(|entry| {
                let label = report.engine(entry).label.clone();
                points(&entry.series).into_iter().map(move |point| row(&label, point))
            })
            .collect(),
        drawing: draw(&curves),
    })
}

fn finding(report: &Report<'_>, contest: &Contest<'_>) -> String {
    let sentences: Vec<String> = contest
        .entries
        .iter()
        .filter_map(|entry| {
            let label = &report.engine(entry).label;
            if let Some(sentence) = slo_sentence(&entry.series) {
                return Some(format!("{label} {sentence}."));
            }
            let highest = highest_reached(&entry.series)?;
            Some(format!("{label} reaches {} ops/s.", format::rate(highest.median)))
        })
        .collect();
    if sentences.is_empty() {
        return "No engine reached a rate that was offered.".to_owned();
    }
    sentences.join(" ")
}

fn row(label: &str, point: &RatePoint) -> Vec<String> {
    let told =
        |ns: Option<u64>| ns.map_or_else(|| "n/a".to_owned(), |ns| format::latency(ns as f64));
    vec![
        label.to_owned(),
        format::rate(point.offered_ops_per_s),
        format::seconds(point.duration_s),
        format::rate(point.achieved_ops_per_s),
        if point.reached { "yes" } else { "not reached" }.to_owned(),
        match point.held {
            Some(true) => "yes",
            Some(false) => "no",
            None => "–",
        }
        .to_owned(),
        told(Some(point.response.p50_ns)),
        told(point.response.p99_ns),
        told(Some(point.response.max_ns)),
        told(point.service.p99_ns),
    ]
}

fn draw(curves: &[Curve<'_>]) -> Drawing {
    let mut drawing = Drawing::new(HEIGHT);
    let labels = curves.iter().map(|curve| text_width(&curve.engine.label, TEXT));
    let right = WIDTH - labels.fold(0.0, f64::max).min(170.0) - 36.0;
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let most_rate = all().map(|(point, _)| point.offered_ops_per_s).fold(0.0, f64::max);
    let least = all().map(|(_, ns)| *ns).fold(f64::INFINITY, f64::min);
    let most = all().map(|(_, ns)| *ns).fold(0.0, f64::max);
    let (ends, ticks) = logarithmic_ticks(least, most);
    let y = Axis::logarithmic(ends, (BOTTOM, TOP));
    let x = Axis::linear((0.0, most_rate), (LEFT, right));
    for tick in ticks {
        drawing.line((LEFT, y.at(tick)), (right, y.at(tick)), GRID, 1.0);
        drawing.muted((LEFT - 8.0, y.at(tick)), latency_tick(tick), Anchor::Right);
    }
    for tick in linear_ticks(most_rate, 5).into_iter().filter(|tick| *tick <= most_rate) {
        drawing.line((x.at(tick), TOP), (x.at(tick), BOTTOM), GRID, 1.0);
        drawing.muted((x.at(tick), BOTTOM + 14.0), super::rate_tick(tick), Anchor::Middle);
    }
    drawing.line((LEFT, BOTTOM), (right, BOTTOM), AXIS, 1.0);
    drawing.muted((LEFT - 52.0, 14.0), "p99 of the response time", Anchor::Left);
    drawing.muted((right, BOTTOM + 32.0), "offered operations per second", Anchor::Right);
    if all().any(|(point, _)| !point.reached) {
        let at = right - text_width("not reached", TEXT) - 10.0;
        cross(&mut drawing, (at, 14.0), MUTED);
        drawing.muted((at + 10.0, 14.0), "not reached", Anchor::Left);
    }
    let places = |curve: &Curve<'_>| -> Vec<Point> {
        curve.points.iter().map(|(p, ns)| (x.at(p.offered_ops_per_s), y.at(*ns))).collect()
    };
    let ends: Vec<Point> = curves.iter().filter_map(|c| places(c).last().copied()).collect();
    let heights: Vec<f64> = ends.iter().map(|(_, y)| *y).collect();
    let heights = spread_labels(&heights, 15.0, (TOP, BOTTOM));
    for ((curve, end), height) in curves.iter().zip(ends).zip(heights) {
        let style = style(curve.engine.style);
        let places = places(curve);
        drawing.curve(&places, style);
        for ((point, _), place) in curve.points.iter().zip(places) {
            if point.reached {
                drawing.mark(place, 4.0, style);
            } else {
                cross(&mut drawing, place, style.color);
            }
        }
        drawing.line((end.0 + 5.0, end.1), (right + 14.0, height), GRID, 1.0);
        drawing.mark((right + 18.0, height), 4.0, Style { dash: &[], ..style });
        drawing.text((right + 26.0, height), &curve.engine.label, Anchor::Left);
    }
    drawing
}

fn cross(drawing: &mut Drawing, (x, y): Point, color: crate::palette::Color) {
    drawing.line((x - CROSS, y - CROSS), (x + CROSS, y + CROSS), color, 2.0);
    drawing.line((x - CROSS, y + CROSS), (x + CROSS, y - CROSS), color, 2.0);
}
