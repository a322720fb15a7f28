//! Percentile curves: how long the fastest 90, 99, 99.9 … per cent of the operations took.
//!
//! To the right the share of operations that are slower shrinks by equal ratios (log 1/(1−p)), upwards latency
//! grows by equal ratios. A curve is the median over trials at each place, the tint behind it the
//! range; it ends where fewer than 100 samples of a trial lie above it.

use hdrhistogram::Histogram;

use super::axis::{Axis, logarithmic_ticks, spread_labels};
use super::drawing::{Anchor, Drawing, TEXT, WIDTH};
use super::render::text_width;
use super::{Chart, anchor, trials_words};
use crate::format;
use crate::latency::{SAMPLES_ABOVE, decode_histogram};
use crate::model::{Contest, Engine, Group, Report, Role};
use crate::palette::{AXIS, GRID, style};
use crate::result::{Latency, OperationStats};
use crate::series::{Series, Spread, operation};

const HEIGHT: f64 = 330.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = HEIGHT - 44.0;
const LEFT: f64 = 64.0;
/// Places of a curve per factor of ten in 1/(1−p).
const STEPS: u32 = 24;
/// Percentiles with a tick: 1/(1−p), label.
const TICKS: [(f64, &str); 7] = [
    (1.0, "0"),
    (10.0, "90 %"),
    (100.0, "99 %"),
    (1e3, "99.9 %"),
    (1e4, "99.99 %"),
    (1e5, "99.999 %"),
    (1e6, "99.9999 %"),
];

/// Which of the two times a curve shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    Service,
    Response,
}

impl Time {
    fn of(self, stats: &OperationStats) -> Option<&Latency> {
        match self {
            Self::Service => Some(&stats.service),
            Self::Response => stats.response.as_ref(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Service => "service time",
            Self::Response => "response time",
        }
    }
}

/// One engine's curve: 1/(1−p) and the latency there.
struct Curve<'a> {
    engine: &'a Engine<'a>,
    points: Vec<(f64, Spread)>,
}

/// Service time in a closed loop; under an offered rate response time first, and service time beside it.
pub(super) fn charts(report: &Report<'_>, group: &Group<'_>, contest: &Contest<'_>) -> Vec<Chart> {
    let times: &[Time] = match contest.offered {
        Some(_) => &[Time::Response, Time::Service],
        None => &[Time::Service],
    };
    let main = times[0];
    times.iter().filter_map(|time| chart(report, group, contest, *time, *time == main)).collect()
}

fn chart(
    report: &Report<'_>,
    group: &Group<'_>,
    contest: &Contest<'_>,
    time: Time,
    is_main: bool,
) -> Option<Chart> {
    let curves: Vec<Curve<'_>> = contest
        .entries
        .iter()
        .filter_map(|entry| {
            let points = curve(&entry.series, time)?;
            Some(Curve { engine: report.engine(entry), points })
        })
        .collect();
    if curves.is_empty() {
        return None;
    }
    Some(Chart {
        name: anchor(
            group,
            &[&contest.name, if is_main { "percentiles" } else { "service-percentiles" }],
        ),
        title: format!(
            "{}: {} by percentile",
            contest.name,
            if contest.offered.is_some() { time.name() } else { "latency" }
        ),
        finding: finding(&curves),
        caption: format!(
            "{} over all operations. {}. Curves end where fewer than {SAMPLES_ABOVE} samples lie above.",
            match time {
                Time::Service => "Service time, from the call to its return,",
                Time::Response => "Response time, from the intended start to the return,",
            },
            trials_words(group, "the tint reaches")
        ),
        name_columns: 1,
        header: ["engine", "p50", "p90", "p99", "p99.9", "p99.99", "max"]
            .map(str::to_owned)
            .to_vec(),
        rows: contest
            .entries
            .iter()
            .map(|entry| row(&report.engine(entry).label, &entry.series, time))
            .collect(),
        drawing: draw(&curves, time),
    })
}

fn curve(series: &Series<'_>, time: Time) -> Option<Vec<(f64, Spread)>> {
    series.throughput()?;
    let histograms: Vec<Histogram<u64>> = series
        .measurements()
        .filter_map(|measurement| operation(measurement, "all"))
        // A damaged histogram costs its curve, not the report; the figures beside it stay.
        .filter_map(|stats| decode_histogram(&time.of(stats)?.histogram).ok())
        .filter(|histogram| !histogram.is_empty())
        .collect();
    let fewest = histograms.iter().map(Histogram::len).min()?;
    let points: Vec<_> = (0..=6 * STEPS)
        .map(|step| 10_f64.powf(f64::from(step) / f64::from(STEPS)))
        .take_while(|above| *above <= 1.0 || fewest as f64 / above >= SAMPLES_ABOVE as f64)
        .filter_map(|above| {
            let quantile = 1.0 - 1.0 / above;
            let values = histograms.iter().map(|h| h.value_at_quantile(quantile).max(1) as f64);
            Some((above, Spread::of(values)?))
        })
        .collect();
    (points.len() > 1).then_some(points)
}

fn finding(curves: &[Curve<'_>]) -> String {
    // The highest percentile that every competing curve reaches.
    let stores: Vec<_> = curves.iter().filter(|c| c.engine.role == Role::Store).collect();
    let value = |curve: &Curve<'_>, above: f64| {
        let near = |(x, _): &&(f64, Spread)| (x / above - 1.0).abs() < 0.01;
        curve.points.iter().find(near).map(|(_, spread)| spread.median)
    };
    let common = TICKS.iter().skip(1).rev().find(|(above, _)| {
        !stores.is_empty() && stores.iter().all(|curve| value(curve, *above).is_some())
    });
    let Some((above, name)) = common else {
        return "There are too few samples for a percentile that all engines share.".to_owned();
    };
    let mut ranked: Vec<_> = stores
        .iter()
        .filter_map(|curve| Some((value(curve, *above)?, curve.engine.label.as_str())))
        .collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (lowest, highest) = (ranked[0], ranked[ranked.len() - 1]);
    let of = format!("{name} of operations");
    if ranked.len() == 1 {
        format!("{of} took at most {} on {}.", format::latency(lowest.0), lowest.1)
    } else {
        format!(
            "{of} took at most {} on {} and {} on {}.",
            format::latency(lowest.0),
            lowest.1,
            format::latency(highest.0),
            highest.1,
        )
    }
}

fn row(label: &str, series: &Series<'_>, time: Time) -> Vec<String> {
    let mut row = vec![label.to_owned()];
    if series.throughput().is_none() {
        row.push(series.outcome().words().to_owned());
        return row;
    }
    let figure = |of: fn(&Latency) -> Option<u64>| {
        let spread = match time {
            Time::Service => series.service("all", of),
            Time::Response => series.response("all", of),
        };
        spread.map_or_else(|| "n/a".to_owned(), |s| format::latency(s.median))
    };
    row.extend([
        figure(|l| Some(l.p50_ns)),
        figure(|l| l.p90_ns),
        figure(|l| l.p99_ns),
        figure(|l| l.p999_ns),
        figure(|l| l.p9999_ns),
        figure(|l| Some(l.max_ns)),
    ]);
    row
}

fn draw(curves: &[Curve<'_>], time: Time) -> Drawing {
    let mut drawing = Drawing::new(HEIGHT);
    let labels =
        curves.iter().map(|curve| text_width(&curve.engine.label, TEXT)).fold(0.0, f64::max);
    let right = WIDTH - labels.min(170.0) - 36.0;
    let spreads = || curves.iter().flat_map(|curve| &curve.points).map(|(_, spread)| spread);
    let least = spreads().map(|s| s.min).fold(f64::INFINITY, f64::min);
    let most = spreads().map(|s| s.max).fold(0.0, f64::max);
    let (ends, ticks) = logarithmic_ticks(least, most);
    let y = Axis::logarithmic(ends, (BOTTOM, TOP));
    let last =
        curves.iter().filter_map(|curve| curve.points.last()).map(|(x, _)| *x).fold(10.0, f64::max);
    let x = Axis::logarithmic((1.0, last), (LEFT, right));

    for tick in ticks {
        drawing.line((LEFT, y.at(tick)), (right, y.at(tick)), GRID, 1.0);
        drawing.muted((LEFT - 8.0, y.at(tick)), super::latency_tick(tick), Anchor::Right);
    }
    for (above, label) in TICKS.iter().filter(|(above, _)| *above <= last * 1.001) {
        drawing.line((x.at(*above), TOP), (x.at(*above), BOTTOM), GRID, 1.0);
        drawing.muted((x.at(*above), BOTTOM + 14.0), *label, Anchor::Middle);
    }
    drawing.line((LEFT, BOTTOM), (right, BOTTOM), AXIS, 1.0);
    drawing.muted((LEFT - 52.0, 12.0), time.name(), Anchor::Left);
    drawing.muted(
        (right, BOTTOM + 32.0),
        "share of operations that took at most this long",
        Anchor::Right,
    );

    for curve in curves.iter().filter(|curve| curve.points[0].1.trials > 1) {
        let upper = curve.points.iter().map(|(at, s)| (x.at(*at), y.at(s.max)));
        let lower = curve.points.iter().rev().map(|(at, s)| (x.at(*at), y.at(s.min)));
        drawing.area(upper.chain(lower).collect(), style(curve.engine.style).color, 0.15);
    }
    let ends: Vec<_> = curves
        .iter()
        .filter_map(|curve| curve.points.last())
        .map(|(at, spread)| (x.at(*at), y.at(spread.median)))
        .collect();
    let heights: Vec<f64> = ends.iter().map(|(_, y)| *y).collect();
    let heights = spread_labels(&heights, 15.0, (TOP, BOTTOM));
    for ((curve, end), height) in curves.iter().zip(ends).zip(heights) {
        let style = style(curve.engine.style);
        let points: Vec<_> =
            curve.points.iter().map(|(at, s)| (x.at(*at), y.at(s.median))).collect();
        drawing.curve(&points, style);
        drawing.mark(end, 4.0, style);
        drawing.line((end.0 + 5.0, end.1), (right + 14.0, height), GRID, 1.0);
        drawing.mark((right + 18.0, height), 4.0, style);
        drawing.text((right + 26.0, height), &curve.engine.label, Anchor::Left);
    }
    drawing
}
