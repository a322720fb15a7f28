//! How far the run is, and how long it will still take: a bar on a terminal, a line a cell otherwise; when quiet, a line for each cell that went wrong.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use kvdyno_reports::{Cell, CellStatus};

use super::cell_key::CellKey;
use super::estimate::{Estimate, in_words};
use crate::cell::job::Message;

/// Tells the user on standard error.
pub(crate) struct Progress {
    display: Display,
    total: u64,
    ended: u64,
    began: Instant,
    /// When the last cell ended.
    last_end: Instant,
    estimate: Estimate,
}

enum Display {
    /// One bar over all cells, with what the cell under way is doing.
    Bar(ProgressBar),
    /// A line when a cell has ended.
    Lines,
    /// Nothing but what went wrong.
    Quiet,
}

impl Progress {
    /// Of a run of `total` cells, of which these are still to come. Chooses by where standard error goes.
    pub(crate) fn new(total: u64, to_come: Vec<CellKey>, quiet: bool) -> Self {
        let ended = total.saturating_sub(to_come.len() as u64);
        let display = if quiet {
            Display::Quiet
        } else if std::io::stderr().is_terminal() {
            Display::Bar(bar(total, ended))
        } else {
            Display::Lines
        };
        let now = Instant::now();
        Self { display, total, ended, began: now, last_end: now, estimate: Estimate::new(to_come) }
    }

    /// A cell begins.
    pub(crate) fn begin(&self, label: &str) {
        if let Display::Bar(bar) = &self.display {
            bar.set_message(label.to_owned());
        }
    }

    /// The cell under way is this far.
    pub(crate) fn update(&self, label: &str, message: &Message) {
        if let (Display::Bar(bar), Message::Progress { stage, operations_per_s, done }) =
            (&self.display, message)
        {
            let rate = operations_per_s
                .map_or_else(String::new, |rate| format!(" {:.0} k ops/s", rate / 1e3));
            let done = done
                .map_or_else(String::new, |done| format!(" {:.0} %", 100.0 * done.clamp(0.0, 1.0)));
            bar.set_prefix(self.left(self.last_end.elapsed()));
            bar.set_message(format!("{label}: {stage}{done}{rate}"));
        }
    }

    /// A cell has ended.
    pub(crate) fn end(&mut self, label: &str, cell: &Cell) {
        self.ended += 1;
        // A cell that never began, or was cut off, says nothing about how long others take.
        let telling = cell.measurement.is_some() || cell.recovery.is_some();
        let took = self.last_end.elapsed();
        self.estimate.end(&CellKey::of(cell), telling.then_some(took));
        self.last_end = Instant::now();
        let left = self.left(Duration::ZERO);
        let line = format!("{label}: {}", in_short(cell));
        match &self.display {
            Display::Bar(bar) => {
                bar.inc(1);
                bar.set_prefix(left);
                bar.println(format!("  {line}"));
            }
            Display::Lines => {
                let separator = if left.is_empty() { "" } else { ", " };
                let _ = writeln!(
                    std::io::stderr().lock(),
                    "[{}/{}, {:.0} s{separator}{left}] {line}",
                    self.ended,
                    self.total,
                    self.began.elapsed().as_secs_f64()
                );
            }
            Display::Quiet if is_error(cell.status) => {
                let _ = writeln!(std::io::stderr().lock(), "kvdyno: {line}");
            }
            Display::Quiet => {}
        }
    }

    /// The time left, in words; nothing when nothing is left.
    fn left(&self, under_way: Duration) -> String {
        if self.ended >= self.total {
            return String::new();
        }
        match self.estimate.left() {
            None => "estimating".into(),
            Some(left) => format!("about {} left", in_words(left.saturating_sub(under_way))),
        }
    }

    /// A line that is not about a cell.
    pub(crate) fn note(&self, text: &str) {
        match &self.display {
            Display::Bar(bar) => bar.println(text),
            Display::Lines => {
                let _ = writeln!(std::io::stderr().lock(), "{text}");
            }
            Display::Quiet => {}
        }
    }

    /// Something that went wrong beside the cells; told when quiet, too.
    pub(crate) fn error(&self, text: &str) {
        match &self.display {
            Display::Quiet => {
                let _ = writeln!(std::io::stderr().lock(), "kvdyno: {text}");
            }
            Display::Bar(_) | Display::Lines => self.note(&format!("note: {text}")),
        }
    }

    /// The run has ended.
    pub(crate) fn finish(&self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: u64, ended: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template(
        "{elapsed_precise} {bar:24.cyan/dim} {pos:>3}/{len} {prefix:.dim} {msg}",
    );
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_position(ended);
    bar.set_prefix("estimating");
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Whether a cell went wrong: what an engine does not have, and what the user stopped, did not.
fn is_error(status: CellStatus) -> bool {
    match status {
        CellStatus::Ok | CellStatus::Unsupported | CellStatus::Interrupted => false,
        CellStatus::Failed
        | CellStatus::Timeout
        | CellStatus::WrongData
        | CellStatus::LostWrite => true,
    }
}

/// A cell in a few words.
fn in_short(cell: &Cell) -> String {
    if cell.status != CellStatus::Ok {
        let status = match cell.status {
            CellStatus::Ok => "",
            CellStatus::Unsupported => "not supported",
            CellStatus::Failed => "FAILED",
            CellStatus::Timeout => "TIMEOUT",
            CellStatus::Interrupted => "interrupted",
            CellStatus::WrongData => "WRONG DATA",
            CellStatus::LostWrite => "LOST WRITE",
        };
        return cell
            .error
            .as_ref()
            .map_or_else(|| status.to_owned(), |error| format!("{status}: {error}"));
    }
    if let Some(recovery) = &cell.recovery {
        let back = recovery
            .to_90_percent_ms
            .map_or_else(String::new, |ms| format!(", 90 % of the read rate after {ms:.1} ms"));
        return format!(
            "open {:.1} ms, first read {:.1} ms{back}, {} records verified",
            recovery.open_ms, recovery.first_read_ms, recovery.records_verified
        );
    }
    cell.measurement.as_ref().map_or_else(String::new, |figures| {
        let p99 = figures.operations.last().and_then(|all| all.service.p99_ns);
        let p99 =
            p99.map_or_else(String::new, |p99| format!(", p99 {:?}", Duration::from_nanos(p99)));
        format!("{:.0} k ops/s{p99}", figures.throughput_ops_per_s / 1e3)
    })
}
