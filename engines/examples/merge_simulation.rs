//! What merging writes and what room it takes, simulated over metadata: nothing is stored.
//!
//! ```text
//! cargo run --release -p kvdyno-engines --example merge_simulation
//! cargo run --release -p kvdyno-engines --example merge_simulation -- requests=zipfian policy=default,basho trigger=0.3,0.36 speed=2
//! ```
//!
//! Each argument gives one or several values, and every combination is a line. Ratios are to bytes of keys and values; headers, hints and the room that is set aside
//! for new files are counted.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to people")]

use std::process::ExitCode;

use kvdyno_engines::bitcask::MergePolicy;
use kvdyno_engines::bitcask::merge_simulation::{Load, Merger, Requests, simulate};

const USAGE: &str = "\
arguments, each with one value or several, separated by commas:
  requests=uniform,zipfian  also zipf; zipfian is YCSB's, zipf the true one with the exponent 0.99
  policy=default            also basho
  trigger=0.35              the dead share of the store that starts a merge
  target=0.27               the dead share that a merge leaves
  records=1000000           records that are loaded
  overwrites=10             times that each record is overwritten, on the average
  value=1000                bytes of a value; keys have 24
  segment_mib=64            length of a data file
  speed=inf                 bytes that merging reads and writes for each byte that is written; inf: merges take no time";

/// The arguments, with what they say unless they are given. A trigger or target of the policy's own is `own`.
const DEFAULTS: [(&str, &str); 9] = [
    ("requests", "uniform,zipfian"),
    ("policy", "default"),
    ("trigger", "own"),
    ("target", "own"),
    ("records", "1000000"),
    ("overwrites", "10"),
    ("value", "1000"),
    ("segment_mib", "64"),
    ("speed", "inf"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match lines(&arguments) {
        Ok(lines) => {
            println!("{:<60} written  space: mean  most  settled   merges  files", "");
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

fn print(line: &Line) -> Result<(), String> {
    let text = |name: &str| {
        line.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value.as_str())
    };
    let wrong = |name: &str| format!("{name}={}: this value has no meaning", text(name));
    let number =
        |name: &str| text(name).parse::<f64>().ok().filter(|n| *n >= 0.0).ok_or(wrong(name));
    let requests = match text("requests") {
        "uniform" => Requests::Uniform,
        "zipfian" => Requests::Zipfian,
        "zipf" => Requests::Zipf,
        _ => return Err(wrong("requests")),
    };
    let mut policy = match text("policy") {
        "default" => MergePolicy::default(),
        "basho" => MergePolicy::basho(),
        _ => return Err(wrong("policy")),
    };
    if text("trigger") != "own" {
        policy.store_dead_trigger = number("trigger")?;
    }
    if text("target") != "own" {
        policy.store_dead_target = number("target")?;
    }
    let records = number("records")?.max(1.0);
    let load = Load {
        records: records as u32,
        overwrites: (records * number("overwrites")?).max(1.0) as u64,
        key_bytes: 24,
        value_bytes: number("value")? as usize,
        requests,
    };
    let segment_bytes = (number("segment_mib")? * f64::from(1 << 20)) as u64;
    if segment_bytes < load.value_bytes as u64 + 100 {
        return Err(format!("a data file of {segment_bytes} bytes holds no value"));
    }
    let figures = simulate(&load, &Merger { policy, segment_bytes, speed: number("speed")? });
    let shown = line.iter().zip(DEFAULTS).filter(|((name, value), (_, default))| {
        ["requests", "policy"].contains(name) || value != default
    });
    let shown: Vec<_> = shown.map(|((name, value), _)| format!("{name}={value}")).collect();
    println!(
        "{:<60} {:>7.3}  {:>11.3} {:>5.3}  {:>7.3}  {:>7}  {:>5}",
        shown.join(" "),
        figures.write_amplification,
        figures.space_mean,
        figures.space_most,
        figures.space_settled,
        figures.merges,
        figures.files_most
    );
    Ok(())
}
