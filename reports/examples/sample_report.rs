//! Writes a report over invented figures, for whoever works on tables, charts or the page:
//! `cargo run -p kvdyno-reports --example sample_report -- FOLDER [WHICH]`;
//! `flawless` leaves out the cells that fail, so that `check_output` finds nothing wrong; `rate`, `sweep` and `recoveries` show
//! what is measured under offered rates and of recoveries; `many` has nine engines.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for developers"
)]

#[path = "../tests/it/sample.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests, which use more of it")]
mod sample;

use std::path::PathBuf;

use kvdyno_reports::{TerminalOptions, compare, terminal_table, write_report};

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "sample-report".to_owned()));
    std::fs::create_dir_all(&dir).unwrap();
    let result = match std::env::args().nth(2).as_deref() {
        None => sample::quick(),
        Some("flawless") => sample::flawless(),
        Some("rate") => sample::at_rate(),
        Some("sweep") => sample::sweep(),
        Some("recoveries") => sample::recoveries(),
        Some("log-sizes") => sample::log_sizes(),
        Some("many") => sample::many(),
        Some(word) => {
            panic!("{word}: expected flawless, rate, sweep, recoveries, log-sizes or many")
        }
    };
    result.write(&dir.join("result.json")).unwrap();
    for file in write_report(std::slice::from_ref(&result), &dir).unwrap() {
        println!("{}", file.display());
    }
    let width = std::env::var("COLUMNS").ok().and_then(|width| width.parse().ok()).unwrap_or(120);
    println!("{}", terminal_table(&result, TerminalOptions { color: false, width }));
    let head = sample::changed(|measurement| measurement.throughput_ops_per_s *= 0.8);
    let comparison =
        compare(&sample::quick(), &head, &kvdyno_reports::CompareOptions::default()).unwrap();
    println!("{}", comparison.to_table());
}
