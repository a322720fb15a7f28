//! Checks the output folder of a run, for continuous integration:
//! `cargo run -p kvdyno-reports --example check_output -- FOLDER`.
//!
//! 1. `result.json` fits the JSON Schema, its run is complete, its histograms agree with their figures.
//! 2. `summary.csv` has exactly the agreed header, and its figures are those of `result.json`.
//! 3. `report.html` refers to nothing outside itself and holds the figures of every measured cell.
//! 4. The charts are there as PNGs of a readable size, and an interval log for each trial.
//!
//! Ends with status 1 and one clear line at the first thing that is wrong.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to people")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kvdyno_reports::{
    Cell, CellKey, CellStatus, Phase, ResultFile, RunStatus, SUMMARY_COLUMNS, decode_histogram,
};

type Checked<T = ()> = Result<T, Box<dyn Error>>;

const SCHEMA: &str = include_str!("../schema/result.schema.json");
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// A page larger than this is not what a person opens with pleasure.
const PAGE_BYTES_MAX: usize = 1_000_000;

fn main() -> ExitCode {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: check_output FOLDER");
        return ExitCode::from(2);
    };
    match check(&dir) {
        Ok(words) => {
            println!("{}: {words}", dir.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", dir.display());
            ExitCode::FAILURE
        }
    }
}

fn check(dir: &Path) -> Checked<String> {
    let result = check_result(&dir.join("result.json"))?;
    let rows = check_summary(&dir.join("summary.csv"), &result)?;
    let figures = check_page(&dir.join("report.html"), &result)?;
    let charts = check_charts(dir)?;
    let latencies = check_latencies(&dir.join("latency"), &result)?;
    Ok(format!(
        "ok: {} cells, {rows} rows of CSV, {figures} figures in the page, {charts} charts, {latencies} interval logs",
        result.cells.len()
    ))
}

fn read(path: &Path, least: usize) -> Checked<String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if text.len() < least {
        return Err(format!("{} has only {} bytes", path.display(), text.len()).into());
    }
    Ok(text)
}

fn check_result(path: &Path) -> Checked<ResultFile> {
    let value: serde_json::Value = serde_json::from_str(&read(path, 1_000)?)?;
    let schema = jsonschema::validator_for(&serde_json::from_str(SCHEMA)?)?;
    if let Some(error) = schema.iter_errors(&value).next() {
        return Err(format!(
            "result.json does not fit its schema: {error}, at {}",
            error.instance_path()
        )
        .into());
    }
    let result = ResultFile::read(path)?;
    if result.run.status != RunStatus::Complete {
        return Err("result.json: the run is not complete".into());
    }
    if result.cells.len() as u64 != result.run.cells_planned {
        let (is, planned) = (result.cells.len(), result.run.cells_planned);
        return Err(format!("result.json holds {is} cells of {planned} planned").into());
    }
    let mut measured = 0;
    for cell in &result.cells {
        check_cell(cell).map_err(|error| format!("result.json: {}: {error}", name(cell)))?;
        measured += u32::from(cell.status == CellStatus::Ok);
    }
    if measured == 0 {
        return Err("result.json holds no cell that ended well".into());
    }
    Ok(result)
}

fn check_cell(cell: &Cell) -> Checked {
    match cell.status {
        CellStatus::Ok | CellStatus::Unsupported => {}
        status => {
            return Err(
                format!("{status:?}: {}", cell.error.as_deref().unwrap_or("no reason")).into()
            );
        }
    }
    if cell.status == CellStatus::Ok {
        let missing = match cell.phase {
            Phase::Recover => cell.recovery.is_none(),
            Phase::Load | Phase::Run => cell.measurement.is_none(),
        };
        if missing {
            return Err("ended well without figures".into());
        }
    }
    for stats in cell.measurement.iter().flat_map(|measurement| &measurement.operations) {
        let histogram = decode_histogram(&stats.service.histogram)?;
        let latency = &stats.service;
        let same = (histogram.len(), histogram.max()) == (latency.count, latency.max_ns)
            && (latency.count == 0 || histogram.value_at_quantile(0.5) == latency.p50_ns);
        if !same {
            return Err(format!("{}: the histogram disagrees with its figures", stats.kind).into());
        }
        let p99_is_due = latency.count / 100 >= 100;
        if p99_is_due != latency.p99_ns.is_some() {
            return Err(format!(
                "{}: p99 needs 100 samples above it, no more and no less",
                stats.kind
            )
            .into());
        }
    }
    Ok(())
}

fn name(cell: &Cell) -> String {
    format!("{} {} {:?} trial {}", cell.engine, cell.workload, cell.phase, cell.trial)
}

fn check_summary(path: &Path, result: &ResultFile) -> Checked<usize> {
    let text = read(path, 100)?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
    if header != SUMMARY_COLUMNS {
        return Err(format!("summary.csv has the header {}", header.join(",")).into());
    }
    let rows: Vec<BTreeMap<String, String>> = reader.deserialize().collect::<Result<_, _>>()?;
    let mut whole =
        rows.iter().filter(|row| row["operation"] == "all" && row["row"] == "operation");
    for cell in &result.cells {
        let row = whole.next().ok_or_else(|| format!("summary.csv lacks {}", name(cell)))?;
        let figure = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let measurement = cell.measurement.as_ref();
        let all = measurement.and_then(|m| m.operations.iter().find(|stats| stats.kind == "all"));
        let expected = [
            ("engine", cell.engine.clone()),
            ("workload", cell.workload.clone()),
            ("trial", cell.trial.to_string()),
            ("operations", all.map(|stats| stats.operations.to_string()).unwrap_or_default()),
            ("throughput_ops_per_s", figure(measurement.map(|m| m.throughput_ops_per_s))),
            ("cpu_us_per_op", figure(measurement.map(|m| m.resources.cpu_us_per_op))),
            (
                "write_amplification_settled",
                figure(measurement.and_then(|m| m.amplification.write_settled)),
            ),
            ("recovery_ms", figure(cell.recovery.as_ref().map(|recovery| recovery.open_ms))),
        ];
        for (column, value) in expected {
            if row[column] != value {
                let is = &row[column];
                return Err(format!(
                    "summary.csv: {}: {column} is {is:?}, not {value:?}",
                    name(cell)
                )
                .into());
            }
        }
    }
    if whole.next().is_some() {
        return Err("summary.csv has more cells than result.json".into());
    }
    Ok(rows.len())
}

fn check_page(path: &Path, result: &ResultFile) -> Checked<usize> {
    let page = read(path, 10_000)?;
    if page.len() > PAGE_BYTES_MAX {
        return Err(format!("report.html has {} bytes", page.len()).into());
    }
    check_self_contained(&page)?;
    let mut figures = 0;
    let mut medians: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for cell in result.cells.iter().filter(|cell| cell.engine != "noop") {
        if !page.contains(&escaped(&cell.engine)) || !page.contains(&escaped(&cell.workload)) {
            return Err(format!("report.html does not mention {}", name(cell)).into());
        }
        // Under an offered rate throughput is the rate, and response times stand in its place.
        if let Some(measurement) = cell
            .measurement
            .as_ref()
            .filter(|_| cell.status == CellStatus::Ok && cell.offered_ops_per_s.is_none())
        {
            let key = CellKey::of(cell).to_string();
            medians.entry(key).or_default().push(measurement.throughput_ops_per_s);
        }
    }
    for (cell, mut trials) in medians {
        trials.sort_by(f64::total_cmp);
        let (low, high) = (trials[(trials.len() - 1) / 2], trials[trials.len() / 2]);
        let median = thousands(f64::midpoint(low, high).round() as u64);
        if !page.contains(&format!(">{median}<")) {
            return Err(format!("report.html lacks {median} ops/s of {cell}").into());
        }
        figures += 1;
    }
    Ok(figures)
}

/// No element and no rule of the style sheet may make a browser fetch anything.
fn check_self_contained(page: &str) -> Checked {
    const LOADING: [&str; 9] = [
        "src",
        "srcset",
        "poster",
        "data",
        "action",
        "formaction",
        "background",
        "xlink:href",
        "ping",
    ];
    // In the page's texts `<` is escaped, so each one opens a tag.
    for tag in page.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
        let element = tag.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
        if matches!(element, "script" | "iframe" | "object" | "embed" | "base") {
            return Err(format!("report.html has an element {element}").into());
        }
        for (attribute, value) in attributes(tag) {
            let harmless = value.starts_with('#') || value.starts_with("data:");
            let refers = LOADING.contains(&attribute) || (attribute == "href" && !harmless);
            if refers || attribute.starts_with("on") || attribute == "xmlns" {
                return Err(format!("report.html refers outside itself: <{tag}>").into());
            }
            check_css(value, attribute == "style")?;
        }
    }
    let styles = page.split("<style>").skip(1).filter_map(|rest| rest.split("</style>").next());
    for style in styles {
        check_css(style, true)?;
    }
    Ok(())
}

fn check_css(text: &str, is_css: bool) -> Checked {
    let forbidden = ["url(", "@import", "//", "image-set("];
    match forbidden.iter().find(|word| is_css && text.contains(**word)) {
        Some(word) => Err(format!("report.html: a style holds {word}").into()),
        None => Ok(()),
    }
}

/// Names and values of a tag's attributes, all of which are in double quotes.
fn attributes(tag: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts: Vec<&str> = tag.split('"').collect();
    let pairs: Vec<_> = parts
        .chunks_exact(2)
        .map(|pair| (pair[0].trim_end_matches('=').rsplit(' ').next().unwrap_or_default(), pair[1]))
        .collect();
    pairs.into_iter()
}

fn check_charts(dir: &Path) -> Checked<usize> {
    let mut charts = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "png") {
            continue;
        }
        let bytes = fs::read(&path)?;
        let width = bytes.get(16..20).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        if !bytes.starts_with(PNG_SIGNATURE)
            || bytes.len() < 5_000
            || width.is_none_or(|w| w < 1_000)
        {
            return Err(format!("{} is no chart of a readable size", path.display()).into());
        }
        charts += 1;
    }
    if charts < 2 {
        return Err(format!("{charts} charts as PNG: expected at least 2").into());
    }
    Ok(charts)
}

/// An interval log for each trial that was measured; what is in them is checked by another implementation.
fn check_latencies(dir: &Path, result: &ResultFile) -> Checked<usize> {
    let measured = |cell: &&Cell| {
        cell.engine != "noop" && cell.status == CellStatus::Ok && cell.measurement.is_some()
    };
    let expected = result.cells.iter().filter(measured).count();
    let entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let logs = paths.iter().filter(|path| path.extension().is_some_and(|e| e == "hlog")).count();
    if logs != expected {
        return Err(format!("{logs} interval logs for {expected} measured trials").into());
    }
    Ok(logs)
}

fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
