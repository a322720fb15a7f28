//! How far the run is: a bar on a terminal, a line a cell otherwise, nothing when quiet.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use kvdyno_reports::{Cell, CellStatus};

use crate::cell::job::Message;

/// Tells the user on standard error.
pub(crate) enum Progress {
    /// One bar over all cells, with what the cell under way is doing.
    Bar(ProgressBar),
    /// A line when a cell has ended.
    Lines { total: u64, ended: u64, began: Instant },
    /// Nothing.
    Quiet,
}

impl Progress {
    /// Chooses by where standard error goes.
    pub(crate) fn new(total: u64, quiet: bool) -> Self {
        if quiet {
            return Self::Quiet;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines { total, ended: 0, began: Instant::now() };
        }
        let bar = ProgressBar::new(total);
        let style = ProgressStyle::with_template(
            "{elapsed_precise} {bar:24.cyan/dim} {pos:>3}/{len} {msg}",
        );
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(250));
        Self::Bar(bar)
    }

    /// A cell begins.
    pub(crate) fn begin(&self, label: &str) {
        if let Self::Bar(bar) = self {
            bar.set_message(label.to_owned());
        }
    }

    /// The cell under way is this far.
    pub(crate) fn update(&self, label: &str, message: &Message) {
        if let (Self::Bar(bar), Message::Progress { stage, operations_per_s, done }) =
            (self, message)
        {
            let rate = operations_per_s
                .map_or_else(String::new, |rate| format!(" {:.0} k ops/s", rate / 1e3));
            let done = done
                .map_or_else(String::new, |done| format!(" {:.0} %", 100.0 * done.clamp(0.0, 1.0)));
            bar.set_message(format!("{label}: {stage}{done}{rate}"));
        }
    }

    /// A cell has ended.
    pub(crate) fn end(&mut self, label: &str, cell: &Cell) {
        let line = format!("{label}: {}", in_short(cell));
        match self {
            Self::Bar(bar) => {
                bar.inc(1);
                bar.println(format!("  {line}"));
            }
            Self::Lines { total, ended, began } => {
                *ended += 1;
                let mut out = std::io::stderr().lock();
                let _ = writeln!(
                    out,
                    "[{ended}/{total}, {:.0} s] {line}",
                    began.elapsed().as_secs_f64()
                );
            }
            Self::Quiet => {}
        }
    }

    /// A line that is not about a cell.
    pub(crate) fn note(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.println(text),
            Self::Lines { .. } => {
                let _ = writeln!(std::io::stderr().lock(), "{text}");
            }
            Self::Quiet => {}
        }
    }

    /// The run has ended.
    pub(crate) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
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
