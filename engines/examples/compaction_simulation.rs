//! What styles of compaction write and what room they take, simulated over metadata: nothing is stored.
//!
//! ```text
//! cargo run --release -p kvdyno-engines --example compaction_simulation
//! cargo run --release -p kvdyno-engines --example compaction_simulation -- style=levelled,fixed,tiered data_gib=1,10 base_mib=64,256
//! ```
//!
//! Each argument gives one or several values, and every combination is a line. Ratios are to bytes of keys and values. What comes out depends on proportions alone, so large stores are
//! simulated with few large records: `records` says how many there are, whatever they have together.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to people")]

use std::process::ExitCode;

use kvdyno_engines::lsm::compaction_simulation::{Figures, Load, Requests, simulate};
use kvdyno_engines::lsm::{Choice, Fifo, Levelled, Options, Style, Tiered};

const USAGE: &str = "\
arguments, each with one value or several, separated by commas:
  style=levelled,tiered     also fixed (levels of fixed sizes) and fifo (with space as its bound)
  requests=uniform,zipfian  also zipf; zipfian is YCSB's, zipf the true one with the exponent 0.99
  data_gib=1.2              bytes of keys and values, all together
  records=1000000           records that they are
  overwrites=5              times that each record is overwritten, on the average
  memtable_mib=64           length of a memtable's log
  table_mib=64              length of a table
  l0=4                      tables of level 0 that are compacted (levelled, fixed)
  slow=20                   twice the tables at which level 0 waits no longer (levelled, fixed)
  base_mib=256              bytes of the base (levelled), of level 1 (fixed)
  ratio=10                  bytes of a level to those of the one above (levelled, fixed)
  percent=own               per cent of the bytes that it is merged with that level 0 waits for (levelled, fixed)
  choice=overlap            also turn: which table of a level goes first (levelled, fixed)
  width=4                   similar runs that are merged (tiered)
  similar=200               per cent of the younger runs' mean size that a run may have to be similar (tiered)
  runs=12                   runs that there may be (tiered)
  space=100                 per cent of the oldest run's bytes that the younger ones may have (tiered); of the data that is kept (fifo)";

/// The arguments, with what they say unless they are given.
const DEFAULTS: [(&str, &str); 17] = [
    ("style", "levelled,tiered"),
    ("requests", "uniform,zipfian"),
    ("data_gib", "1.2"),
    ("records", "1000000"),
    ("overwrites", "5"),
    ("memtable_mib", "64"),
    ("table_mib", "64"),
    ("l0", "4"),
    ("base_mib", "256"),
    ("ratio", "10"),
    ("percent", "own"),
    ("slow", "20"),
    ("choice", "overlap"),
    ("width", "4"),
    ("similar", "200"),
    ("runs", "12"),
    ("space", "100"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match lines(&arguments) {
        Ok(lines) => {
            println!(
                "{:<60}   load  written  space: mean  most   runs  tables  merges  moves  largest",
                ""
            );
            for line in &lines {
                if let Err(reason) = print(line) {
                    eprintln!("{reason}\n{USAGE}");
                    return ExitCode::from(2);
                }
            }
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("{reason}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// One value for each argument.
type Line = Vec<(&'static str, String)>;

/// All combinations of what was typed.
fn lines(arguments: &[String]) -> Result<Vec<Line>, String> {
    let mut values: Vec<(&str, &str)> = DEFAULTS.to_vec();
    for argument in arguments {
        let (name, typed) =
            argument.split_once('=').ok_or_else(|| format!("'{argument}' is not NAME=VALUE"))?;
        let found = values.iter_mut().find(|(known, _)| *known == name);
        found.ok_or_else(|| format!("there is no argument '{name}'"))?.1 = typed;
    }
    let mut lines = vec![Line::new()];
    for ((name, _), (_, typed)) in DEFAULTS.iter().zip(values) {
        let with = |line: &Line| {
            let more = typed.split(',').map(|value| (*name, value.to_owned()));
            more.map(|value| [line.as_slice(), &[value]].concat()).collect::<Vec<_>>()
        };
        lines = lines.iter().flat_map(with).collect();
    }
    Ok(lines)
}

fn text<'l>(line: &'l Line, name: &str) -> &'l str {
    line.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value.as_str())
}

fn wrong(line: &Line, name: &str) -> String {
    format!("{name}={}: this value has no meaning", text(line, name))
}

fn number(line: &Line, name: &str) -> Result<f64, String> {
    text(line, name).parse().ok().filter(|n| *n > 0.0).ok_or_else(|| wrong(line, name))
}

/// The load and the store of a line.
fn parse(line: &Line) -> Result<(Load, Options), String> {
    let mib = |name: &str| number(line, name).map(|mib| (mib * f64::from(1 << 20)) as u64);
    let requests = match text(line, "requests") {
        "uniform" => Requests::Uniform,
        "zipfian" => Requests::Zipfian,
        "zipf" => Requests::Zipf,
        _ => return Err(wrong(line, "requests")),
    };
    let choice = match text(line, "choice") {
        "overlap" => Choice::LeastOverlap,
        "turn" => Choice::InTurn,
        _ => return Err(wrong(line, "choice")),
    };
    let records = number(line, "records")?.clamp(1.0, f64::from(u32::MAX));
    let bytes = number(line, "data_gib")? * f64::from(1 << 30);
    let (key_bytes, record_bytes) = (24, (bytes / records) as usize);
    if record_bytes < key_bytes {
        return Err(format!(
            "records of {record_bytes} bytes have no room for keys of {key_bytes}"
        ));
    }
    let load = Load {
        records: records as u32,
        overwrites: (records * number(line, "overwrites")?) as u64,
        key_bytes,
        value_bytes: record_bytes - key_bytes,
        requests,
    };
    let mut levelled = Levelled { choice, ..Levelled::default() };
    if text(line, "percent") != "own" {
        levelled.level_0_percent =
            text(line, "percent").parse().map_err(|_| wrong(line, "percent"))?;
    }
    let tiered = Tiered {
        width: number(line, "width")? as usize,
        similar_percent: number(line, "similar")? as u64,
        runs_max: number(line, "runs")? as usize,
        space_percent: number(line, "space")? as u64,
    };
    let kept = bytes * number(line, "space")? / 100.0;
    let style = match text(line, "style") {
        "levelled" => Style::Levelled(levelled),
        "fixed" => Style::Levelled(Levelled { dynamic: false, ..levelled }),
        "tiered" => Style::Tiered(tiered),
        "fifo" => Style::Fifo(Fifo { bytes_max: Some(kept as u64), ttl: None }),
        _ => return Err(wrong(line, "style")),
    };
    let options = Options {
        style,
        memtable_bytes: mib("memtable_mib")?,
        table_bytes: mib("table_mib")?,
        l0_tables_compact: number(line, "l0")? as usize,
        l0_tables_slow: number(line, "slow")? as usize,
        l0_tables_stop: usize::MAX,
        level_base_bytes: mib("base_mib")?,
        level_ratio: number(line, "ratio")? as u64,
        ..Options::default()
    };
    Ok((load, options))
}

fn print(line: &Line) -> Result<(), String> {
    let (load, options) = parse(line)?;
    let figures = simulate(&load, &options).map_err(|error| error.to_string())?;
    let shown = line.iter().zip(DEFAULTS).filter(|((name, value), (_, default))| {
        ["style", "requests"].contains(name) || value != default
    });
    let shown: Vec<_> = shown.map(|((name, value), _)| format!("{name}={value}")).collect();
    let Figures { load_amplification, write_amplification, space_mean, space_most, .. } = figures;
    println!(
        "{:<60} {load_amplification:>6.2}  {write_amplification:>7.2}  {space_mean:>11.2} {space_most:>5.2}  {:>5.1}  {:>6}  {:>6}  {:>5}  {:>7.2}",
        shown.join(" "),
        figures.runs_mean,
        figures.tables_most,
        figures.merges,
        figures.moves,
        figures.largest_merge,
    );
    Ok(())
}
