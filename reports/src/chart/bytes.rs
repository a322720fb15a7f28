//! Bytes written by source, as a multiple of what the user wrote: where write amplification comes from.
//!
//! Where hardly anything was written, whatever else the device took makes a ratio of any size. So the axis
//! ends at the longest bar within a few times the median one; what lies beyond is drawn at the edge with an
//! arrow and its figure.

use std::collections::BTreeMap;

use super::axis::{Axis, linear_ticks};
use super::drawing::{Anchor, Drawing, TEXT, WIDTH};
use super::render::text_width;
use super::{Chart, anchor};
use crate::format;
use crate::model::{Engine, Group, Report, Role};
use crate::palette::{AXIS, GRID, INK, SOURCES, source, style};
use crate::series::{Series, Spread};

const ROW: f64 = 20.0;
const HEAD: f64 = 24.0;
const LEGEND_LINE: f64 = 20.0;
/// The axis reaches at most this many times the median bar.
const REACH: f64 = 4.0;
/// Below this, what else the device took weighs heavily in its figure.
const LITTLE_BYTES: u64 = 10_000_000;
/// A device's mark this share of the axis behind the bar leaves room for the bar's figure.
const APART: f64 = 0.2;
/// Between a bar and its figure.
const GAP: f64 = 8.0;
/// Width of the arrow that stands for what lies beyond the axis.
const ARROW: f64 = 9.0;

/// The bars of a workload.
struct Panel<'a> {
    workload: &'a str,
    bars: Vec<Bar<'a>>,
}

struct Bar<'a> {
    engine: &'a Engine<'a>,
    /// Ratio to user bytes by source, in the palette's order; empty where the engine does not tell.
    parts: Vec<(&'static str, f64)>,
    /// What the block device took, as a ratio to user bytes.
    device: Option<f64>,
    /// The most that a trial wrote.
    user_bytes: u64,
}

impl Bar<'_> {
    fn total(&self) -> f64 {
        self.parts.iter().map(|(_, ratio)| ratio).sum()
    }

    fn end(&self) -> f64 {
        self.total().max(self.device.unwrap_or(0.0))
    }

    /// The figures beside the bar on an axis that ends at `reach`.
    fn labels(&self, reach: f64) -> Vec<Label> {
        let total = self.total();
        let total_words = format::ratio(total);
        let device =
            self.device.map(|device| (device, format!("{} device", format::ratio(device))));
        let label = |at: f64, text: String, is_total: bool| Label { at, text, is_total };
        match device {
            Some((at, words)) if self.parts.is_empty() => vec![label(at, words, false)],
            Some((at, words)) if at.min(reach) >= total + APART * reach => {
                vec![label(total, total_words, true), label(at, words, false)]
            }
            Some((at, words)) if at > reach => {
                vec![label(at, format!("{total_words}, {words}"), true)]
            }
            _ => vec![label(self.end(), total_words, true)],
        }
    }
}

/// A figure and the ratio behind whose place it stands.
#[derive(Debug, PartialEq)]
struct Label {
    at: f64,
    text: String,
    is_total: bool,
}

pub(super) fn chart(report: &Report<'_>, group: &Group<'_>) -> Option<Chart> {
    let mut panels: Vec<Panel<'_>> = Vec::new();
    for contest in &group.contests {
        let bars: Vec<_> = contest
            .entries
            .iter()
            .filter(|entry| report.engine(entry).role == Role::Store)
            .filter_map(|entry| bar(report.engine(entry), &entry.series))
            .collect();
        if bars.iter().any(|bar| !bar.parts.is_empty()) {
            panels.push(Panel { workload: &contest.name, bars });
        }
    }
    if panels.is_empty() {
        return None;
    }
    Some(Chart {
        name: anchor(group, &["bytes-written"]),
        title: "Bytes written for each byte of user data, by source".to_owned(),
        finding: finding(&panels),
        caption: caption(group, &panels),
        name_columns: 2,
        header: ["workload", "engine"]
            .into_iter()
            .chain(SOURCES.iter().map(|(name, _)| *name))
            .chain(["sum", "device"])
            .map(|name| name.replace('_', " "))
            .collect(),
        rows: panels.iter().flat_map(rows).collect(),
        drawing: draw(&panels),
    })
}

fn bar<'a>(engine: &'a Engine<'a>, series: &Series<'_>) -> Option<Bar<'a>> {
    let device = series.spread(|m| m.amplification.write_device_settled).map(|s| s.median);
    let mut by_source: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    if !series.outcome().is_wrong() {
        for measurement in series.measurements() {
            let user = measurement.io.user_bytes_written;
            let Some(sources) = &measurement.io.engine_bytes_written_settled else { continue };
            let mut sums: BTreeMap<&'static str, f64> = BTreeMap::new();
            for (name, bytes) in sources.iter().filter(|_| user > 0) {
                *sums.entry(source(name).0).or_default() += *bytes as f64 / user as f64;
            }
            for (name, ratio) in sums {
                by_source.entry(name).or_default().push(ratio);
            }
        }
    }
    let parts: Vec<_> = SOURCES
        .iter()
        .filter_map(|(name, _)| {
            let spread = Spread::of(by_source.remove(name)?)?;
            (spread.median > 0.0).then_some((*name, spread.median))
        })
        .collect();
    let user_bytes = series.measurements().map(|m| m.io.user_bytes_written).max().unwrap_or(0);
    let is_told = !parts.is_empty() || device.is_some();
    is_told.then_some(Bar { engine, parts, device, user_bytes })
}

fn finding(panels: &[Panel<'_>]) -> String {
    let bars =
        panels.iter().flat_map(|panel| panel.bars.iter().map(move |bar| (panel.workload, bar)));
    let mut told: Vec<_> = bars.filter(|(_, bar)| !bar.parts.is_empty()).collect();
    told.sort_by(|a, b| a.1.total().total_cmp(&b.1.total()));
    let words = |(workload, bar): &(&str, &Bar<'_>)| {
        format!("{} bytes ({} on {workload})", format::figure(bar.total()), bar.engine.label)
    };
    match (told.first(), told.last()) {
        (Some(least), Some(most)) if told.len() > 1 => {
            let largest = most.1.parts.iter().max_by(|a, b| a.1.total_cmp(&b.1));
            let largest = largest.map_or("", |(name, _)| *name);
            format!(
                "By their own count engines wrote from {} to {} for each byte of user data; the largest share of the latter is {}.",
                words(least),
                words(most),
                largest.replace('_', " ")
            )
        }
        (Some(only), _) => format!("A byte of user data costs {}.", words(only)),
        _ => String::new(),
    }
}

fn caption(group: &Group<'_>, panels: &[Panel<'_>]) -> String {
    let bars = || panels.iter().flat_map(|panel| &panel.bars);
    let mut text = format!(
        "What the engine says it wrote, after settling, ÷ key and value bytes handed to it; the upright line is what the block device took. Medians over {}.",
        format::plural(group.trials() as u64, "trial")
    );
    let mut silent: Vec<&str> = bars()
        .map(|bar| bar.engine.label.as_str())
        .filter(|label| bars().all(|bar| bar.engine.label != *label || bar.parts.is_empty()))
        .collect();
    silent.sort_unstable();
    silent.dedup();
    if !silent.is_empty() {
        let verb = if silent.len() == 1 { "does" } else { "do" };
        text.push_str(&format!(" {} {verb} not tell.", format::list(&silent)));
    }
    let most = |panel: &Panel<'_>| panel.bars.iter().map(|bar| bar.user_bytes).max().unwrap_or(0);
    let little: Vec<&Panel<'_>> = panels
        .iter()
        .filter(|panel| {
            most(panel) < LITTLE_BYTES && panel.bars.iter().any(|bar| bar.device.is_some())
        })
        .collect();
    if let Some(bytes) = little.iter().map(|panel| most(panel)).max() {
        let names: Vec<&str> = little.iter().map(|panel| panel.workload).collect();
        text.push_str(&format!(
            " Little was written on {} ({} of user data at most), so whatever else the device took weighs heavily there.",
            format::list(&names),
            format::bytes(bytes as f64)
        ));
    }
    let reach = reach(panels);
    if bars().any(|bar| bar.end() > reach) {
        text.push_str(" Arrows: beyond the axis.");
    }
    text
}

fn rows<'a>(panel: &'a Panel<'a>) -> impl Iterator<Item = Vec<String>> + 'a {
    panel.bars.iter().map(|bar| {
        let mut row = vec![panel.workload.to_owned(), bar.engine.label.clone()];
        row.extend(SOURCES.iter().map(|(name, _)| {
            let part = bar.parts.iter().find(|(part, _)| part == name);
            part.map_or_else(|| "–".to_owned(), |(_, ratio)| format::figure(*ratio))
        }));
        row.push(if bar.parts.is_empty() {
            "not told".to_owned()
        } else {
            format::figure(bar.total())
        });
        row.push(bar.device.map_or_else(|| "n/a".to_owned(), format::figure));
        row
    })
}

/// Where the axis ends: at the longest bar within [`REACH`] times the median one.
fn reach(panels: &[Panel<'_>]) -> f64 {
    let ends = || panels.iter().flat_map(|panel| &panel.bars).map(Bar::end);
    let limit = Spread::of(ends()).map_or(0.0, |spread| spread.median * REACH);
    ends().filter(|end| *end <= limit).fold(0.0, f64::max).max(1e-9)
}

/// The right end of the axis: as far right as every figure behind its bar allows.
fn right_end(panels: &[Panel<'_>], left: f64, reach: f64) -> f64 {
    let room = |share: f64, label: &str| {
        let free = WIDTH - GAP * 2.0 - text_width(label, TEXT) - left;
        if share > 0.0 { left + free / share } else { f64::INFINITY }
    };
    let bars = panels.iter().flat_map(|panel| &panel.bars);
    bars.flat_map(|bar| bar.labels(reach))
        .map(|label| {
            let arrow = if label.at > reach { ARROW } else { 0.0 };
            room((label.at / reach).min(1.0), &label.text) - arrow
        })
        .fold(WIDTH - 24.0, f64::min)
        .max(left + 100.0)
}

fn draw(panels: &[Panel<'_>]) -> Drawing {
    let bars = || panels.iter().flat_map(|panel| &panel.bars);
    let label = bars().map(|bar| text_width(&bar.engine.label, TEXT)).fold(0.0, f64::max);
    let left = 24.0 + label.min(170.0) + 26.0;
    let reach = reach(panels);
    let x = Axis::linear((0.0, reach), (left, right_end(panels, left, reach)));
    let mut drawing = Drawing::default();
    let top = legend(&mut drawing, panels) + 10.0;
    let bottom = top + bars().count() as f64 * ROW + panels.len() as f64 * HEAD;
    drawing.height = bottom + 36.0;
    for tick in linear_ticks(reach, 6).into_iter().filter(|tick| *tick <= reach * 1.001) {
        let color = if tick == 0.0 { AXIS } else { GRID };
        // Not through the names of workloads, which may reach to the right of zero.
        let mut y = top;
        for panel in panels {
            let end = y + HEAD + panel.bars.len() as f64 * ROW;
            drawing.line((x.at(tick), y + HEAD), (x.at(tick), end), color, 1.0);
            y = end;
        }
        drawing.muted((x.at(tick), bottom + 14.0), format!("{tick}×"), Anchor::Middle);
    }
    let mut y = top;
    for panel in panels {
        drawing.text((24.0, y + HEAD / 2.0 + 2.0), panel.workload, Anchor::Left);
        y += HEAD;
        for bar in &panel.bars {
            let middle = y + ROW / 2.0;
            drawing.mark((30.0, middle), 4.0, style(bar.engine.style));
            drawing.text((40.0, middle), &bar.engine.label, Anchor::Left);
            row(&mut drawing, bar, &x, reach, middle);
            y += ROW;
        }
    }
    drawing
}

fn row(drawing: &mut Drawing, bar: &Bar<'_>, x: &Axis, reach: f64, y: f64) {
    let mut from = 0.0;
    for (name, ratio) in bar.parts.iter().filter(|(_, ratio)| *ratio > 0.0) {
        let (a, b) = (x.at(from), x.at(from + ratio));
        drawing.rect((a, y - 7.0), (b, y + 7.0), source(name).1, 1.0);
        from += ratio;
    }
    if let Some(device) = bar.device.filter(|device| *device <= reach) {
        let at = x.at(device);
        drawing.line((at, y - 9.0), (at, y + 9.0), INK, 2.0);
    }
    for label in bar.labels(reach) {
        let mut at = x.at(label.at);
        if label.at > reach {
            drawing.area(vec![(at, y - 6.0), (at + ARROW, y), (at, y + 6.0)], INK, 1.0);
            at += ARROW;
        }
        if label.is_total {
            drawing.text((at + GAP, y), label.text, Anchor::Left);
        } else {
            drawing.muted((at + GAP, y), label.text, Anchor::Left);
        }
    }
}

/// Draws what the colours mean, in as many lines as it needs, and returns where it ends.
fn legend(drawing: &mut Drawing, panels: &[Panel<'_>]) -> f64 {
    let bars = || panels.iter().flat_map(|panel| &panel.bars);
    let used = |name: &str| bars().flat_map(|bar| &bar.parts).any(|part| part.0 == name);
    let (mut left, mut y) = (24.0, 13.0);
    let mut place = |word: &str| {
        let width = text_width(word, TEXT) + 36.0;
        if left + width - 18.0 > WIDTH {
            (left, y) = (24.0, y + LEGEND_LINE);
        }
        let at = (left, y);
        left += width;
        at
    };
    for (name, color) in SOURCES.iter().filter(|(name, _)| used(name)) {
        let word = name.replace('_', " ");
        let (left, y) = place(&word);
        drawing.rect((left, y - 6.0), (left + 12.0, y + 6.0), *color, 1.0);
        drawing.muted((left + 17.0, y), word, Anchor::Left);
    }
    if bars().any(|bar| bar.device.is_some()) {
        let (left, y) = place("block device");
        drawing.line((left + 6.0, y - 8.0), (left + 6.0, y + 8.0), INK, 2.0);
        drawing.muted((left + 14.0, y), "block device", Anchor::Left);
    }
    y + LEGEND_LINE / 2.0
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::*;
    use crate::chart::drawing::Mark;

    fn engine() -> Engine<'static> {
        Engine {
            label: "lsm".to_owned(),
            name: "lsm",
            file: 0,
            info: None,
            role: Role::Store,
            style: 0,
        }
    }

    fn panels<'a>(engine: &'a Engine<'a>, bars: &[(f64, f64)]) -> Vec<Panel<'a>> {
        let bar = |&(log, device): &(f64, f64)| Bar {
            engine,
            parts: if log > 0.0 { vec![("log", log)] } else { Vec::new() },
            device: (device > 0.0).then_some(device),
            user_bytes: 1,
        };
        vec![Panel { workload: "w", bars: bars.iter().map(bar).collect() }]
    }

    #[test]
    fn one_extreme_figure_does_not_squeeze_the_others() {
        let engine = engine();
        let panels =
            panels(&engine, &[(1.0, 2.0), (0.0, 2.5), (2.0, 3.0), (1.5, 20.0), (0.0, 1e3)]);
        assert_eq!(reach(&panels), 3.0);
        let texts = |bar: usize| -> Vec<String> {
            panels[0].bars[bar].labels(3.0).into_iter().map(|label| label.text).collect()
        };
        assert_eq!(texts(2), ["2.00×", "3.00× device"]);
        assert_eq!(texts(3), ["1.50×", "20.0× device"]);
        assert_eq!(texts(4), ["1,000× device"]);
    }

    #[test]
    fn figure_stands_behind_the_mark_where_there_is_no_room_before_it() {
        let engine = engine();
        let panels = panels(&engine, &[(2.0, 2.2), (4.0, 1.0), (9_999.0, 12_345.0)]);
        let labels = |bar: usize| panels[0].bars[bar].labels(4.0);
        let label = |at, text: &str| vec![Label { at, text: text.to_owned(), is_total: true }];
        assert_eq!(labels(0), label(2.2, "2.00×"));
        assert_eq!(labels(1), label(4.0, "4.00×"));
        assert_eq!(labels(2), label(12_345.0, "9,999×, 12,345× device"));
    }

    #[test]
    fn no_figure_is_cut_off() {
        let engine = engine();
        for bars in [
            vec![(1.0, 0.0)],
            vec![(0.0, 1.0), (0.0, 123_456.0), (0.0, 1.0)],
            vec![(2.0, 2.0), (2.0, 123_456.0), (0.0, 2.0), (1.0, 2.0)],
            vec![(9_999.0, 123_456.0), (1.0, 1.0), (1.0, 1.0)],
        ] {
            for mark in draw(&panels(&engine, &bars)).marks {
                if let Mark::Text { at, text, anchor: Anchor::Left, .. } = mark {
                    assert!(at.0 + text_width(&text, TEXT) <= WIDTH, "{text} at {at:?}: {bars:?}");
                }
            }
        }
    }
}
