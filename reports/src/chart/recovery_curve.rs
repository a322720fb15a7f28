//! Recovery over sizes: how the time to the first read grows with the store, and with what was written since the load.
//!
//! The slope that is told is that of a straight line through all trials of a scenario by least squares, seconds over
//! bytes: a cost per gibibyte that does not depend on the axes' logarithms. One size has no slope.

use std::collections::BTreeSet;

use super::axis::{Axis, logarithmic_ticks, spread_labels};
use super::drawing::{Anchor, Drawing, Point, TEXT, WIDTH};
use super::render::text_width;
use super::{Chart, latency_tick};
use crate::format;
use crate::identity::scenario_name;
use crate::model::{Report, Study, StudyEntry};
use crate::palette::{AXIS, GRID, Style, style};
use crate::result::{Recovery, RecoveryScenario};
use crate::series::Spread;

const HEIGHT: f64 = 330.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = HEIGHT - 44.0;
const LEFT: f64 = 64.0;
const GIB: f64 = 1_073_741_824.0;
/// Differences below this share are noise.
const NOISE_SHARE: f64 = 0.05;
/// Sizes of stores must differ by this much for a cost per gibibyte.
const SPAN_GIB_MIN: f64 = 0.0625;

/// What the time is told over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The bytes of the store.
    Store,
    /// What was written since the load, which a log has to give back.
    Log,
}

impl Over {
    fn bytes(self, recovery: &Recovery) -> Option<f64> {
        match self {
            Self::Store => Some(recovery.store_bytes as f64),
            Self::Log => recovery.written_bytes.map(|bytes| bytes as f64),
        }
    }
}

/// One engine under one scenario.
pub(crate) struct Curve<'s, 'a> {
    /// Index into the report's engines.
    pub(crate) engine: usize,
    /// In the order of their places on the axis.
    pub(crate) entries: Vec<&'s StudyEntry<'a>>,
}

impl Curve<'_, '_> {
    /// Milliseconds to the first read for each gibibyte more.
    pub(crate) fn slope_ms_per_gib(&self, over: Over) -> Option<f64> {
        slope_ms_per_gib(self.entries.iter().copied(), over)
    }
}

/// Engines under one scenario at one size, over several amounts that were written.
pub(crate) struct LogCurves<'s, 'a> {
    /// The scenario and the size, for people.
    pub(crate) name: String,
    records: u64,
    scenario: RecoveryScenario,
    /// In the report's order of engines.
    pub(crate) curves: Vec<Curve<'s, 'a>>,
}

/// Bytes and milliseconds to the first read, median over the trials.
struct Place {
    bytes: f64,
    ms: Spread,
}

/// A chart per scenario that was measured at two sizes or more, and one per scenario and size with two amounts written or more.
pub(super) fn charts(report: &Report<'_>, study: &Study<'_>) -> Vec<Chart> {
    let over_store =
        study.scenarios().into_iter().filter_map(|scenario| chart(report, study, scenario));
    let logs = log_curves(study);
    let over_log = logs.iter().map(|log| log_chart(report, study, log));
    over_store.chain(over_log).collect()
}

/// The curves over what was written, where there are several amounts.
pub(crate) fn log_curves<'s, 'a>(study: &'s Study<'a>) -> Vec<LogCurves<'s, 'a>> {
    let mut logs: Vec<LogCurves<'s, 'a>> = Vec::new();
    for entry in study.entries.iter().filter(|entry| entry.scenario.written.is_some()) {
        let scenario = RecoveryScenario { written: None, ..entry.scenario };
        let same =
            |log: &LogCurves<'_, '_>| (log.scenario, log.records) == (scenario, entry.records);
        let at = logs.iter().position(same).unwrap_or_else(|| {
            let records = format::plural(entry.records, "record");
            let name = format!("{}, {records}", scenario_name(scenario));
            logs.push(LogCurves { name, records: entry.records, scenario, curves: Vec::new() });
            logs.len() - 1
        });
        let curves = &mut logs[at].curves;
        match curves.iter_mut().find(|curve| curve.engine == entry.engine) {
            Some(curve) => curve.entries.push(entry),
            None => curves.push(Curve { engine: entry.engine, entries: vec![entry] }),
        }
    }
    for curve in logs.iter_mut().flat_map(|log| &mut log.curves) {
        let bytes = |entry: &&StudyEntry<'_>| place(entry, Over::Log).map_or(0.0, |p| p.bytes);
        curve.entries.sort_by(|a, b| bytes(a).total_cmp(&bytes(b)));
    }
    for log in &mut logs {
        log.curves.sort_by_key(|curve| curve.engine);
    }
    logs.retain(|log| {
        let amounts: BTreeSet<_> =
            placed(&log.curves, Over::Log).map(|entry| entry.scenario.written).collect();
        amounts.len() > 1
    });
    logs
}

/// The entries that have a place on the axis.
fn placed<'c, 'a>(
    curves: &'c [Curve<'c, 'a>],
    over: Over,
) -> impl Iterator<Item = &'c StudyEntry<'a>> {
    let entries = curves.iter().flat_map(|curve| &curve.entries).copied();
    entries.filter(move |entry| place(entry, over).is_some())
}

fn chart(report: &Report<'_>, study: &Study<'_>, scenario: RecoveryScenario) -> Option<Chart> {
    let mut curves: Vec<Curve<'_, '_>> = Vec::new();
    for entry in study.entries.iter().filter(|entry| entry.scenario == scenario) {
        match curves.last_mut() {
            Some(curve) if curve.engine == entry.engine => curve.entries.push(entry),
            _ => curves.push(Curve { engine: entry.engine, entries: vec![entry] }),
        }
    }
    let sizes: BTreeSet<u64> = placed(&curves, Over::Store).map(|entry| entry.records).collect();
    if sizes.len() < 2 {
        return None;
    }
    let name = scenario_name(scenario);
    Some(Chart {
        name: format!("recovery-over-size-{}{}", slug(&name), study.suffix),
        title: format!("Recovery over size: {name}"),
        finding: finding(report, &curves, Over::Store),
        caption: "From the call that opens the store to the first value read, over the bytes of blocks allocated to it; thin lines reach from the smallest to the largest trial. Slope: of a straight line through all trials by least squares, in time per GiB.".to_owned(),
        name_columns: 1,
        header: ["engine", "records", "store", "first read", "min", "max", "trials", "slope per GiB"]
            .map(str::to_owned)
            .to_vec(),
        rows: curves.iter().flat_map(|curve| rows(report, curve, Over::Store)).collect(),
        drawing: draw(report, &curves, Over::Store),
    })
}

fn log_chart(report: &Report<'_>, study: &Study<'_>, log: &LogCurves<'_, '_>) -> Chart {
    Chart {
        name: format!("recovery-over-log-{}{}", slug(&log.name), study.suffix),
        title: format!("Recovery over log size: {}", log.name),
        finding: finding(report, &log.curves, Over::Log),
        caption: "From the call that opens the store to the first value read, over the key and value bytes written since the load; thin lines reach from the smallest to the largest trial. Slope: of a straight line through all trials by least squares, in time per GiB.".to_owned(),
        name_columns: 1,
        header: ["engine", "asked", "written", "first read", "min", "max", "trials", "slope per GiB"]
            .map(str::to_owned)
            .to_vec(),
        rows: log.curves.iter().flat_map(|curve| rows(report, curve, Over::Log)).collect(),
        drawing: draw(report, &log.curves, Over::Log),
    }
}

/// A name made safe for anchors and file names.
fn slug(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { ' ' };
    let words: String = name.chars().map(plain).collect();
    words.split_whitespace().collect::<Vec<_>>().join("-")
}

fn place(entry: &StudyEntry<'_>, over: Over) -> Option<Place> {
    let bytes = entry.series.recovered(|r| over.bytes(r))?.median;
    let ms = entry.series.recovery(|r| r.first_read_ms)?;
    (bytes > 0.0 && ms.median > 0.0).then_some(Place { bytes, ms })
}

/// Milliseconds per gibibyte, by least squares over all trials of all sizes.
pub(crate) fn slope_ms_per_gib<'s, 'a: 's>(
    entries: impl IntoIterator<Item = &'s StudyEntry<'a>>,
    over: Over,
) -> Option<f64> {
    let points: Vec<(f64, f64)> = entries
        .into_iter()
        .filter(|entry| place(entry, over).is_some())
        .flat_map(|entry| entry.series.recoveries())
        .filter_map(|r| Some((over.bytes(r)? / GIB, r.first_read_ms)))
        .collect();
    slope(&points)
}

/// The slope of the line through `points` by least squares; none where all lie above one another, zero where
/// it makes less of a difference over all sizes than noise does.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let number = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / number;
    let (mean_x, mean_y) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let common: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    // Sizes that differ by less than this are one size with the noise of its blocks.
    let differ = spread.sqrt() > mean_x * number.sqrt() * NOISE_SHARE;
    if points.len() < 2 || !differ {
        return None;
    }
    let slope = common / spread;
    let (least, most) = points
        .iter()
        .fold((f64::INFINITY, 0.0_f64), |(least, most), (x, _)| (least.min(*x), most.max(*x)));
    let is_noise = (slope * (most - least)).abs() < mean_y * NOISE_SHARE;
    // More data does not recover faster, and a cost per gibibyte cannot be told from a few megabytes.
    let is_told = slope >= 0.0 && most - least >= SPAN_GIB_MIN;
    match (is_noise, is_told) {
        (true, _) => Some(0.0),
        (false, told) => told.then_some(slope),
    }
}

/// A slope with its unit.
pub(crate) fn slope_words(ms_per_gib: f64) -> String {
    if ms_per_gib == 0.0 {
        return "nothing".to_owned();
    }
    format::milliseconds(ms_per_gib)
}

fn finding(report: &Report<'_>, curves: &[Curve<'_, '_>], over: Over) -> String {
    let words: Vec<String> = curves
        .iter()
        .filter_map(|curve| {
            let slope = curve.slope_ms_per_gib(over)?;
            let label = &report.engines[curve.engine].label;
            Some(format!("{} on {label}", slope_words(slope)))
        })
        .collect();
    if words.is_empty() {
        return match over {
            Over::Store => "No engine was measured at two sizes.",
            Over::Log => "The amounts written lie too near to one another, or their times too far apart, for a slope.",
        }
        .to_owned();
    }
    let more = match over {
        Over::Store => "A GiB more",
        Over::Log => "A GiB more written",
    };
    format!("{more} costs {}.", format::list(&words))
}

fn rows(report: &Report<'_>, curve: &Curve<'_, '_>, over: Over) -> Vec<Vec<String>> {
    let slope = curve.slope_ms_per_gib(over);
    let slope = slope.map_or_else(|| "n/a".to_owned(), slope_words);
    curve
        .entries
        .iter()
        .map(|entry| {
            let varied = match over {
                Over::Store => format::count(entry.records),
                Over::Log => entry.scenario.written.map(|it| it.to_string()).unwrap_or_default(),
            };
            let mut row = vec![report.engines[curve.engine].label.clone(), varied];
            match place(entry, over) {
                Some(place) => row.extend([
                    format::bytes(place.bytes),
                    format::milliseconds(place.ms.median),
                    format::milliseconds(place.ms.min),
                    format::milliseconds(place.ms.max),
                    place.ms.trials.to_string(),
                    slope.clone(),
                ]),
                None => row.push(entry.series.outcome().words().to_owned()),
            }
            row
        })
        .collect()
}

fn draw(report: &Report<'_>, curves: &[Curve<'_, '_>], over: Over) -> Drawing {
    let mut drawing = Drawing::new(HEIGHT);
    let told: Vec<(usize, Vec<Place>)> = curves
        .iter()
        .map(|curve| {
            let places: Vec<Place> =
                curve.entries.iter().filter_map(|entry| place(entry, over)).collect();
            (curve.engine, places)
        })
        .filter(|(_, places)| !places.is_empty())
        .collect();
    let label = |engine: usize| report.engines[engine].label.as_str();
    let labels = told.iter().map(|(engine, _)| text_width(label(*engine), TEXT));
    let right = WIDTH - labels.fold(0.0, f64::max).min(170.0) - 36.0;
    let all = || told.iter().flat_map(|(_, places)| places);
    let least = |of: fn(&Place) -> f64| all().map(of).fold(f64::INFINITY, f64::min);
    let most = |of: fn(&Place) -> f64| all().map(of).fold(0.0, f64::max);
    let (ends, ticks) = logarithmic_ticks(least(|p| p.ms.min) * 1e6, most(|p| p.ms.max) * 1e6);
    let y = Axis::logarithmic(ends, (BOTTOM, TOP));
    for tick in ticks {
        drawing.line((LEFT, y.at(tick)), (right, y.at(tick)), GRID, 1.0);
        drawing.muted((LEFT - 8.0, y.at(tick)), latency_tick(tick), Anchor::Right);
    }
    let (ends, ticks) = logarithmic_ticks(least(|p| p.bytes), most(|p| p.bytes));
    let x = Axis::logarithmic(ends, (LEFT, right));
    for tick in ticks {
        drawing.line((x.at(tick), TOP), (x.at(tick), BOTTOM), GRID, 1.0);
        drawing.muted((x.at(tick), BOTTOM + 14.0), super::bytes_tick(tick), Anchor::Middle);
    }
    drawing.line((LEFT, BOTTOM), (right, BOTTOM), AXIS, 1.0);
    drawing.muted((LEFT - 52.0, 12.0), "time to the first read", Anchor::Left);
    let axis = match over {
        Over::Store => "bytes of the store",
        Over::Log => "bytes written since the load",
    };
    drawing.muted((right, BOTTOM + 32.0), axis, Anchor::Right);
    let at = |place: &Place| -> Point { (x.at(place.bytes), y.at(place.ms.median * 1e6)) };
    let last: Vec<Point> = told.iter().filter_map(|(_, p)| p.last()).map(at).collect();
    let heights: Vec<f64> = last.iter().map(|(_, y)| *y).collect();
    let heights = spread_labels(&heights, 15.0, (TOP, BOTTOM));
    for (((engine, places), end), height) in told.iter().zip(last).zip(heights) {
        let style = style(report.engines[*engine].style);
        drawing.curve(&places.iter().map(at).collect::<Vec<_>>(), style);
        for place in places {
            let (x, _) = at(place);
            drawing.line(
                (x, y.at(place.ms.min * 1e6)),
                (x, y.at(place.ms.max * 1e6)),
                style.color,
                1.0,
            );
            drawing.mark(at(place), 4.0, style);
        }
        drawing.line((end.0 + 5.0, end.1), (right + 14.0, height), GRID, 1.0);
        drawing.mark((right + 18.0, height), 4.0, Style { dash: &[], ..style });
        drawing.text((right + 26.0, height), label(*engine), Anchor::Left);
    }
    drawing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slope_is_that_of_the_line_through_the_points() {
        let line = [(1.0, 12.0), (2.0, 22.0), (10.0, 102.0)];
        assert!((slope(&line).unwrap() - 10.0).abs() < 1e-9);
        assert_eq!(slope(&[(1.0, 5.0), (2.0, 5.0)]), Some(0.0));
        assert_eq!(slope(&[(1.0, 5.01), (9.0, 5.0), (17.0, 4.99)]), Some(0.0), "noise");
    }

    #[test]
    fn one_size_has_no_slope() {
        assert_eq!(slope(&[]), None);
        assert_eq!(slope(&[(1.0, 5.0)]), None);
        assert_eq!(slope(&[(1.0, 5.0), (1.01, 9.0)]), None);
    }
}
