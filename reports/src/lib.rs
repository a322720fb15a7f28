//! Result files of kvdyno, and the tables, charts, HTML and comparisons made from them.
//!
//! Everything here is a pure function of result files: the same files in, the same bytes out. The
//! crate knows no engine and runs no workload; it never prints and never exits.
//!
//! | in | out | by |
//! |---|---|---|
//! | `result.json` | [`ResultFile`] | [`ResultFile::read`], [`ResultFile::write`] |
//! | a histogram | [`Latency`] and back | [`encode_latency`], [`decode_histogram`] |
//! | one result | `summary.csv` | [`write_summary`], [`summary_csv`] |
//! | one result | a table for the terminal | [`terminal_table`] |
//! | one or several results | `report.html`, `summary.csv`, `*.png`, `latency/*.hlog`, `latency/*.hgrm` | [`write_report`], [`report_html`] |
//! | one or several results | Markdown | [`markdown_report`] |
//! | one result | text as YCSB prints it | [`ycsb_text`] |
//! | several results | one | [`merge()`] |
//! | two results | what changed | [`compare()`] |
//!
//! Inside, results become a `Report` (`model.rs`): groups of cells that may be compared with one
//! another, in them contests (one workload in one phase), in these a series of trials per engine.
//! Tables, charts and the page only read that.

mod caution;
mod chart;
mod compare;
mod error;
mod file;
mod format;
mod hlog;
mod html;
mod identity;
mod latency;
mod markdown;
mod merge;
mod model;
mod palette;
mod rates;
mod report;
mod result;
mod score;
mod series;
mod summary;
mod table;
mod validate;
mod ycsb;

pub use caution::{ONE_TRIAL, shared_processors};
pub use compare::{BrokenCell, Change, CompareOptions, Comparison, Direction, Metric, compare};
pub use error::{Error, Result};
pub use hlog::{IntervalLog, percentile_distribution};
pub use identity::{CellKey, OfferedRate};
pub use latency::{decode_histogram, encode_histogram, encode_latency};
pub use markdown::markdown_report;
pub use merge::{MergeOptions, merge};
pub use report::{report_html, write_report};
pub use result::*;
pub use summary::{SUMMARY_COLUMNS, summary_csv, write_summary};
pub use table::{TerminalOptions, terminal_table};
pub use ycsb::ycsb_text;
