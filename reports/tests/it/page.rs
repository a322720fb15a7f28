//! `report.html` and the files beside it.

use std::collections::BTreeSet;
use std::fs;

use kvdyno_reports::{CellStatus, Phase, ResultFile, RunStatus, report_html, write_report};

use crate::sample;

/// The page over some results.
pub fn page(results: &[ResultFile]) -> String {
    report_html(results).unwrap()
}

/// The section with this id.
pub fn section<'p>(page: &'p str, id: &str) -> &'p str {
    let start = page.find(&format!("<section id=\"{id}\"")).unwrap_or_else(|| panic!("no {id}"));
    let rest = &page[start..];
    &rest[..rest.find("</section>").unwrap()]
}

#[test]
fn same_result_gives_the_same_bytes() {
    let write = || {
        let dir = tempfile::tempdir().unwrap();
        let files = write_report(&[sample::quick()], dir.path()).unwrap();
        files
            .into_iter()
            .map(|file| (file.file_name().unwrap().to_owned(), fs::read(&file).unwrap()))
            .collect::<Vec<_>>()
    };
    let (first, second) = (write(), write());
    assert!(first.len() > 10);
    assert!(first == second);
}

#[test]
fn page_fetches_nothing_and_stays_small() {
    let html = page(&[sample::quick()]);
    for forbidden in
        ["<script", "<iframe", " src=", "url(", "@import", "http:", "https:", "xmlns", "=\"//"]
    {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    assert!(html.len() < 1_000_000, "{} bytes", html.len());
    for reference in html.split("href=\"").skip(1) {
        assert!(reference.starts_with('#') || reference.starts_with("data:,"), "{reference:.40}");
    }
}

#[test]
fn anchors_are_unique_and_links_lead_somewhere() {
    let html = page(&[sample::quick()]);
    let ids: Vec<&str> =
        html.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let unique: BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
    for link in html.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(ids.contains(&link), "#{link} leads nowhere");
    }
    for name in ["throughput", "ycsb-a-percentiles", "ycsb-a-timeline", "bytes-written", "recovery"]
    {
        assert!(ids.contains(&name), "{name}");
    }
}

#[test]
fn founding_table_holds_measured_figures() {
    let html = page(&[sample::quick()]);
    let founding = section(&html, "founding");
    for words in [
        "Read path",
        "Write path",
        "Range queries",
        "Memory",
        "Recovery",
        "Write amplification",
        "read p50",
        "not supported",
        "scan p50",
        "41 B",
        "92 B",
        "after kill -9",
        "1.36×",
        "5.43×",
    ] {
        assert!(founding.contains(words), "{words}");
    }
}

#[test]
fn founding_table_says_what_was_not_measured() {
    let mut result = sample::quick();
    result.cells.retain(|cell| cell.engine == "lsm" && cell.workload == "ycsb-c");
    let html = page(&[result]);
    let founding = section(&html, "founding");
    assert!(founding.contains("not measured in this run"));
    assert!(founding.contains("read p50"));
    let mut result = sample::quick();
    result.cells.retain(|cell| cell.engine == "lmdb");
    assert!(!page(&[result]).contains("id=\"founding\""), "neither of the two took part");
}

/// A run over two data sets: YCSB, then a time series whose workload bitcask does not support.
fn two_data_sets() -> ResultFile {
    let mut result = sample::quick();
    let mut time_series = result.workloads[0].clone();
    time_series.name = "a-series".to_owned();
    time_series.mix = [("insert".to_owned(), 0.9), ("window".to_owned(), 0.1)].into();
    result.workloads.push(time_series);
    let mut cells = Vec::new();
    for cell in &result.cells {
        let name = match (cell.phase, cell.workload.as_str()) {
            (Phase::Load, _) => "a-load",
            (Phase::Run, "ycsb-e") => "a-series",
            _ => continue,
        };
        let mut cell = cell.clone();
        cell.workload = name.to_owned();
        if let Some(measurement) = &mut cell.measurement {
            measurement.amplification.write_settled = Some(77.0);
            measurement.resources.memory_bytes_per_record = Some(77.0);
        }
        cells.push(cell);
    }
    result.cells.extend(cells);
    result
}

#[test]
fn founding_table_tells_of_the_same_workloads_on_both_sides() {
    let html = page(&[two_data_sets()]);
    let founding = section(&html, "founding");
    let count = |words: &str| founding.matches(words).count();
    assert_eq!(count("<dt>update p50</dt>"), 2, "{founding}");
    assert_eq!(count("<dt>load</dt>"), 4, "its throughput and its write amplification");
    assert_eq!(count("<dt>ycsb-a</dt>"), 2, "write amplification of the run with the updates");
    assert_eq!(count("after load<"), 2);
    assert_eq!(count("not supported"), 1, "range queries only");
    assert!(!founding.contains("a-load") && !founding.contains("77.0"));
}

#[test]
fn contests_keep_the_order_of_the_run() {
    let html = page(&[two_data_sets()]);
    let details = section(&html, "details");
    let places: Vec<usize> = ["load", "ycsb-a", "ycsb-f", "a-load", "a-series"]
        .iter()
        .map(|name| details.find(&format!("#{name}-percentiles")).unwrap())
        .collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn long_verdict_counts_and_names_below() {
    let mut result = sample::quick();
    let runs: Vec<_> = result.cells.iter().filter(|c| c.workload == "ycsb-a").cloned().collect();
    for at in 0..12 {
        result.cells.extend(runs.iter().cloned().map(|mut cell| {
            cell.workload = format!("a-rather-long-name-{at}");
            cell
        }));
    }
    let html = page(&[result]);
    let headline = html.split("<h1>").nth(1).unwrap().split("</h1>").next().unwrap();
    assert_eq!(headline, "bitcask was fastest in 18 of 19 workloads and lmdb in 1.");
    assert!(html.contains("a-rather-long-name-10 and a-rather-long-name-11. lmdb: ycsb-e.</p>"));
}

#[test]
fn mean_is_over_the_workloads_that_all_engines_ran() {
    let html = page(&[sample::quick()]);
    let scores = section(&html, "scores");
    assert!(
        scores.contains("^(1/5) over load, ycsb-a, ycsb-b, ycsb-c and ycsb-d;"),
        "{scores:.900}"
    );
    assert!(scores.contains("ycsb-e and ycsb-f are left out"));
}

#[test]
fn noop_and_memory_do_not_compete() {
    let mut result = sample::quick();
    let lsm = result.engines[1].clone();
    result.engines.push(kvdyno_reports::EngineInfo { name: "noop".to_owned(), ..lsm });
    let noop: Vec<_> = result
        .cells
        .iter()
        .filter(|cell| cell.engine == "lsm" && cell.phase == Phase::Run)
        .map(|cell| kvdyno_reports::Cell { engine: "noop".to_owned(), ..cell.clone() })
        .collect();
    result.cells.extend(noop);
    let html = page(&[result]);
    assert!(!section(&html, "scores").contains("noop"));
    assert!(!section(&html, "charts").contains("noop"));
    assert!(section(&html, "scores").contains("upper bound, not scored"));
    assert!(html.contains("<h1>bitcask was fastest in 6 of 7 workloads"));
}

#[test]
fn wrong_data_is_said_first_and_never_scored() {
    let mut result = sample::quick();
    let cell =
        result.cells.iter_mut().find(|c| c.engine == "bitcask" && c.workload == "ycsb-a").unwrap();
    cell.status = CellStatus::WrongData;
    cell.error = Some("key 17 held the value of key 18".to_owned());
    let html = page(&[result]);
    assert!(html.contains("<h1>Wrong or lost data on bitcask."));
    assert!(html.contains("wrong or lost data</li>"));
    assert!(html.contains("key 17 held the value of key 18"));
    assert!(!html.contains("none wrong"));
    assert!(section(&html, "scores").contains("wrong data"));
}

#[test]
fn lost_writes_are_told_where_recovery_is_told() {
    let mut result = sample::quick();
    for cell in result.cells.iter_mut().filter(|cell| cell.phase == Phase::Recover) {
        cell.status = CellStatus::LostWrite;
        cell.error = Some("3 of 98,765 records older than acknowledged".to_owned());
    }
    let html = page(&[result]);
    let recoveries = section(&html, "recoveries");
    assert!(recoveries.contains("lost writes: 3 of 98,765 records older than acknowledged"));
    assert!(recoveries.contains("Class os promises that none is lost."));
    assert!(html.contains("<h1>Wrong or lost data on bitcask, fjall, lmdb and lsm."));
}

#[test]
fn hostile_names_stay_text() {
    let evil = "<script>alert(\"1\")</script>'&</svg>";
    let mut result = sample::quick();
    result.run.id = evil.to_owned();
    result.run.suite = evil.to_owned();
    result.run.command.push(evil.to_owned());
    result.run.warnings.push(evil.to_owned());
    result.environment.cpu_model = evil.to_owned();
    result.engines[0].description = evil.to_owned();
    result.engines[0].options.insert(evil.to_owned(), evil.to_owned());
    result.engines[0].name = evil.to_owned();
    result.workloads[0].name = evil.to_owned();
    result.workloads[0].mix.insert(evil.to_owned(), 0.1);
    for cell in &mut result.cells {
        if cell.engine == "bitcask" {
            cell.engine = evil.to_owned();
            cell.error = Some(evil.to_owned());
        }
        if cell.workload == "ycsb-a" {
            cell.workload = evil.to_owned();
        }
    }
    let html = page(&[result]);
    assert!(!html.contains("<script"));
    assert!(!html.contains("&</svg>"));
    assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
}

#[test]
fn poor_results_read_well() {
    let check = |what: &str, words: &str, change: fn(&mut ResultFile)| {
        let mut result = sample::quick();
        change(&mut result);
        let html = page(&[result]);
        assert!(html.contains(words), "{what}: {:.300}", html.split("<h1>").nth(1).unwrap());
        assert!(!html.contains("NaN") && !html.contains(">inf"), "{what}");
    };
    check("nothing", "Nothing was measured in this run.", |r| {
        r.cells.clear();
        r.engines.clear();
        r.workloads.clear();
        r.harness.noop.clear();
    });
    check("only failures", "No store was measured.", |r| {
        for cell in &mut r.cells {
            cell.status = CellStatus::Failed;
            cell.measurement = None;
            cell.recovery = None;
        }
    });
    check("one engine", "lsm was measured on 7 workloads, without a rival", |r| {
        r.cells.retain(|cell| cell.engine == "lsm");
    });
    check("only recovery", "Nothing was measured in this run.", |r| {
        r.cells.retain(|cell| cell.phase == Phase::Recover);
    });
    check("one trial", "One trial a cell", |r| r.cells.retain(|cell| cell.trial == 1));
    check("interrupted", "incomplete: 20 of 117 cells, in trial 1 of 3", |r| {
        r.run.status = RunStatus::Interrupted;
        r.run.cells_planned = 117;
        r.cells.truncate(20);
    });
    check("zero operations", "No engine was faster", |r| {
        let empty = kvdyno_reports::encode_latency(&hdrhistogram::Histogram::new(3).unwrap());
        for measurement in r.cells.iter_mut().filter_map(|cell| cell.measurement.as_mut()) {
            measurement.duration_s = 0.0;
            measurement.throughput_ops_per_s = 0.0;
            measurement.throughput_settled_ops_per_s = 0.0;
            measurement.timeline.clear();
            for stats in &mut measurement.operations {
                stats.operations = 0;
                stats.service = empty.clone();
            }
        }
    });
    check("damaged histograms", "bitcask was fastest", |r| {
        for measurement in r.cells.iter_mut().filter_map(|cell| cell.measurement.as_mut()) {
            for stats in &mut measurement.operations {
                stats.service.histogram = "damaged".to_owned();
            }
        }
    });
    check("many engines", "no-such-11", |r| {
        let cells = r.cells.clone();
        for at in 0..12 {
            let copies = cells.iter().filter(|cell| cell.engine == "lsm").cloned();
            r.cells.extend(copies.map(|mut cell| {
                cell.engine = format!("no-such-{at}");
                cell
            }));
        }
    });
}

#[test]
fn charts_lie_beside_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let files = write_report(&[sample::quick()], &dir.path().join("new/folder")).unwrap();
    let names: BTreeSet<_> =
        files.iter().map(|f| f.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    for name in
        ["report.html", "summary.csv", "throughput.png", "ycsb-e-percentiles.png", "recovery.png"]
    {
        assert!(names.contains(name), "{name} in {names:?}");
    }
    for file in files.iter().filter(|file| file.extension().unwrap() == "png") {
        let bytes = fs::read(file).unwrap();
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 10_000, "{}", file.display());
    }
    let count = |folder: &str| fs::read_dir(dir.path().join(folder)).unwrap().count();
    let beside = count("new/folder") - 1;
    assert_eq!(beside + count("new/folder/latency"), files.len());
}

#[test]
fn report_without_results_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(write_report(&[], dir.path()).is_err());
}
