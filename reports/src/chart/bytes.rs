//! Bytes written by source, as a multiple of what the user wrote: where write amplification comes from.

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
const TOP: f64 = 34.0;
const RIGHT: f64 = WIDTH - 64.0;

struct Bar<'a> {
    engine: &'a Engine<'a>,
    /// Ratio to user bytes by source, in the palette's order; empty where the engine does not tell.
    parts: Vec<(&'static str, f64)>,
    /// What the block device took, as a ratio to user bytes.
    device: Option<Spread>,
}

impl Bar<'_> {
    fn total(&self) -> f64 {
        self.parts.iter().map(|(_, ratio)| ratio).sum()
    }
}

pub(super) fn chart(report: &Report<'_>, group: &Group<'_>) -> Option<Chart> {
    let mut panels: Vec<(&str, Vec<Bar<'_>>)> = Vec::new();
    for contest in &group.contests {
        let bars: Vec<_> = contest
            .entries
            .iter()
            .filter(|entry| report.engine(entry).role == Role::Store)
            .filter_map(|entry| bar(report.engine(entry), &entry.series))
            .collect();
        if bars.iter().any(|bar| !bar.parts.is_empty()) {
            panels.push((contest.workload, bars));
        }
    }
    if panels.is_empty() {
        return None;
    }
    Some(Chart {
        name: anchor(group, &["bytes-written"]),
        title: "Bytes written for each byte of user data, by source".to_owned(),
        finding: finding(&panels),
        caption: format!(
            "What the engine says it wrote, after settling, ÷ key and value bytes handed to it; the upright line is what the block device took. Medians over {}.",
            format::plural(group.trials() as u64, "trial")
        ),
        name_columns: 2,
        header: ["workload", "engine"]
            .into_iter()
            .chain(SOURCES.iter().map(|(name, _)| *name))
            .chain(["sum", "device"])
            .map(|name| name.replace('_', " "))
            .collect(),
        rows: panels.iter().flat_map(|(workload, bars)| rows(workload, bars)).collect(),
        drawing: draw(&panels),
    })
}

fn bar<'a>(engine: &'a Engine<'a>, series: &Series<'_>) -> Option<Bar<'a>> {
    let device = series.spread(|m| m.amplification.write_device_settled);
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
    (!parts.is_empty() || device.is_some()).then_some(Bar { engine, parts, device })
}

fn finding(panels: &[(&str, Vec<Bar<'_>>)]) -> String {
    let bars =
        panels.iter().flat_map(|(workload, bars)| bars.iter().map(move |bar| (*workload, bar)));
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
                "A byte of user data costs between {} and {}, most of it {}.",
                words(least),
                words(most),
                largest.replace('_', " ")
            )
        }
        (Some(only), _) => format!("A byte of user data costs {}.", words(only)),
        _ => String::new(),
    }
}

fn rows<'a>(workload: &'a str, bars: &'a [Bar<'a>]) -> impl Iterator<Item = Vec<String>> + 'a {
    bars.iter().map(move |bar| {
        let mut row = vec![workload.to_owned(), bar.engine.label.clone()];
        row.extend(SOURCES.iter().map(|(name, _)| {
            let part = bar.parts.iter().find(|(part, _)| part == name);
            part.map_or_else(|| "–".to_owned(), |(_, ratio)| format::figure(*ratio))
        }));
        row.push(if bar.parts.is_empty() {
            "not told".to_owned()
        } else {
            format::figure(bar.total())
        });
        row.push(bar.device.map_or_else(|| "n/a".to_owned(), |s| format::figure(s.median)));
        row
    })
}

fn draw(panels: &[(&str, Vec<Bar<'_>>)]) -> Drawing {
    let bars = || panels.iter().flat_map(|(_, bars)| bars);
    let most = bars()
        .map(|bar| bar.total().max(bar.device.map_or(0.0, |device| device.median)))
        .fold(0.0, f64::max);
    let label = bars().map(|bar| text_width(&bar.engine.label, TEXT)).fold(0.0, f64::max);
    let left = 24.0 + label.min(170.0) + 26.0;
    let rows: usize = panels.iter().map(|(_, bars)| bars.len()).sum();
    let bottom = TOP + rows as f64 * ROW + panels.len() as f64 * HEAD;
    let mut drawing = Drawing::new(bottom + 36.0);
    let ticks = linear_ticks(most, 6);
    let x = Axis::linear((0.0, most.max(1e-9)), (left, RIGHT));
    legend(&mut drawing, panels);
    for tick in ticks.into_iter().filter(|tick| *tick <= most * 1.001) {
        let color = if tick == 0.0 { AXIS } else { GRID };
        drawing.line((x.at(tick), TOP), (x.at(tick), bottom), color, 1.0);
        drawing.muted((x.at(tick), bottom + 14.0), format!("{tick}×"), Anchor::Middle);
    }
    let mut y = TOP;
    for (workload, bars) in panels {
        drawing.text((24.0, y + HEAD / 2.0 + 2.0), *workload, Anchor::Left);
        y += HEAD;
        for bar in bars {
            let middle = y + ROW / 2.0;
            drawing.mark((30.0, middle), 4.0, style(bar.engine.style));
            drawing.text((40.0, middle), &bar.engine.label, Anchor::Left);
            row(&mut drawing, bar, &x, middle);
            y += ROW;
        }
    }
    drawing
}

fn row(drawing: &mut Drawing, bar: &Bar<'_>, x: &Axis, y: f64) {
    let mut from = 0.0;
    for (name, ratio) in &bar.parts {
        let (a, b) = (x.at(from), x.at(from + ratio));
        drawing.rect((a, y - 7.0), (b, y + 7.0), source(name).1, 1.0);
        from += ratio;
    }
    let mut end = x.at(from);
    if let Some(device) = bar.device {
        let at = x.at(device.median);
        drawing.line((at, y - 9.0), (at, y + 9.0), INK, 2.0);
        end = end.max(at);
    }
    if bar.parts.is_empty() {
        let words = bar.device.map_or_else(String::new, |device| {
            format!("device {}; the engine does not tell", format::ratio(device.median))
        });
        drawing.muted((end + 8.0, y), words, Anchor::Left);
    } else {
        drawing.text((end + 8.0, y), format::ratio(bar.total()), Anchor::Left);
    }
}

fn legend(drawing: &mut Drawing, panels: &[(&str, Vec<Bar<'_>>)]) {
    let used = |name: &str| {
        panels
            .iter()
            .flat_map(|(_, bars)| bars)
            .flat_map(|bar| &bar.parts)
            .any(|part| part.0 == name)
    };
    let mut left = 24.0;
    for (name, color) in SOURCES.iter().filter(|(name, _)| used(name)) {
        let word = name.replace('_', " ");
        drawing.rect((left, 7.0), (left + 12.0, 19.0), *color, 1.0);
        drawing.muted((left + 17.0, 13.0), word.as_str(), Anchor::Left);
        left += text_width(&word, TEXT) + 36.0;
    }
    if panels.iter().flat_map(|(_, bars)| bars).any(|bar| bar.device.is_some()) {
        drawing.line((left + 6.0, 5.0), (left + 6.0, 21.0), INK, 2.0);
        drawing.muted((left + 14.0, 13.0), "block device", Anchor::Left);
    }
}
