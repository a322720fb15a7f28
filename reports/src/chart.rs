//! Charts: computed once as marks (`drawing.rs`), drawn by plotters as SVG and PNG (`render.rs`).
//!
//! Every chart belongs to one group of cells, so it never mixes durability classes, thread counts or
//! data sizes. It carries its finding in a sentence that is computed, the numbers behind it as a
//! table, and says how many trials it shows.

mod axis;
mod bytes;
mod drawing;
mod percentiles;
mod rates;
mod recovery;
pub(crate) mod recovery_curve;
mod render;
mod throughput;
mod timeline;
mod tracks;

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::model::{Group, Report};
use crate::palette::{INK, MUTED};
use drawing::Drawing;

/// A chart with everything that is told about it.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// Stable name: the anchor in the page and the stem of the PNG.
    pub(crate) name: String,
    pub(crate) title: String,
    /// What it shows, in one computed sentence.
    pub(crate) finding: String,
    /// How to read it: trials, spread, unit.
    pub(crate) caption: String,
    /// How many of the table's columns hold names; the others hold numbers.
    pub(crate) name_columns: usize,
    /// The numbers behind it.
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) drawing: Drawing,
}

impl Chart {
    /// For the page: an SVG element in the colours of the light theme.
    pub(crate) fn svg(&self) -> Result<String> {
        render::svg(&self.drawing).map_err(|error| self.named(error))
    }

    /// For everywhere else: a PNG with title, finding and caption.
    pub(crate) fn png(&self) -> Result<Vec<u8>> {
        let mut lines = vec![(self.title.clone(), 17.0, INK)];
        lines.extend(wrapped(&self.finding, 13.0).into_iter().map(|line| (line, 13.0, INK)));
        lines.extend(wrapped(&self.caption, 11.0).into_iter().map(|line| (line, 11.0, MUTED)));
        render::png(&self.drawing.headed(&lines)).map_err(|error| self.named(error))
    }

    fn named(&self, error: Error) -> Error {
        match error {
            Error::Chart { reason, .. } => Error::Chart { name: self.name.clone(), reason },
            other => other,
        }
    }
}

/// Text in lines that fit a chart's width.
fn wrapped(text: &str, size: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line)
                if render::text_width(&format!("{line} {word}"), size) < drawing::WIDTH - 32.0 =>
            {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The charts of a report, in the order in which the page shows them.
#[derive(Clone, Debug)]
pub(crate) struct Charts {
    /// Of each group.
    pub(crate) groups: Vec<Vec<Chart>>,
    /// Of each recovery study.
    pub(crate) studies: Vec<Vec<Chart>>,
}

impl Charts {
    /// All charts, one after the other.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Chart> {
        self.groups.iter().chain(&self.studies).flatten()
    }
}

/// The charts of every group and study, each with a name of its own.
pub(crate) fn charts(report: &Report<'_>) -> Charts {
    let mut names = BTreeSet::new();
    let mut all = Charts {
        groups: report.groups.iter().map(|group| charts_of(report, group)).collect(),
        studies: report.studies.iter().map(|study| recovery_curve::charts(report, study)).collect(),
    };
    for chart in all.groups.iter_mut().chain(&mut all.studies).flatten() {
        // Different names of workloads can become the same name of a file.
        while !names.insert(chart.name.clone()) {
            chart.name.push_str("-again");
        }
    }
    all
}

fn charts_of(report: &Report<'_>, group: &Group<'_>) -> Vec<Chart> {
    let mut charts: Vec<Chart> = throughput::chart(report, group).into_iter().collect();
    charts.extend(bytes::chart(report, group));
    for contest in &group.contests {
        charts.extend(percentiles::charts(report, group, contest));
        charts.extend(rates::chart(report, group, contest));
        charts.extend(timeline::chart(report, group, contest));
        charts.extend(tracks::chart(report, group, contest));
    }
    let recoveries = group.recoveries.iter();
    charts.extend(recoveries.filter_map(|contest| recovery::chart(report, group, contest)));
    charts
}

/// A name made safe for anchors and file names, with the group's suffix.
pub(crate) fn anchor(group: &Group<'_>, words: &[&str]) -> String {
    let slug: String = words
        .join("-")
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let suffix = &group.suffix;
    format!("{}{suffix}", slug.trim_matches('-'))
}

/// `median of 3 trials, thin lines from the slowest to the fastest` or `1 trial`.
fn trials_words(group: &Group<'_>, spread: &str) -> String {
    match group.trials() {
        0 | 1 => "1 trial".to_owned(),
        trials => format!("Median of {trials} trials; {spread} from the smallest to the largest"),
    }
}

/// `500 ns`, `2 µs`: ticks are round, so they carry no digits that mean nothing.
fn latency_tick(ns: f64) -> String {
    rounded(&crate::format::latency(ns))
}

/// `20 MB`.
fn bytes_tick(bytes: f64) -> String {
    rounded(&crate::format::bytes(bytes))
}

/// `250 k`.
fn rate_tick(rate: f64) -> String {
    if rate >= 1e6 {
        format!("{} M", plain_tick(rate / 1e6))
    } else if rate >= 1e3 {
        format!("{} k", plain_tick(rate / 1e3))
    } else {
        plain_tick(rate)
    }
}

/// A round number without digits that mean nothing.
fn plain_tick(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A figure with its unit without zeros behind the point.
fn rounded(text: &str) -> String {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    format!("{number} {unit}").trim_end().to_owned()
}
