//! Reading and writing result files.

use std::fs;

use kvdyno_reports::{Cell, Error, Measurement, Phase, ResultFile, encode_latency};

use crate::sample;

fn error_of(text: &str) -> (Error, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result.json");
    fs::write(&path, text).unwrap();
    let error = ResultFile::read(&path).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("result.json"), "{message}");
    assert!(message.contains("kvdyno.result/1"), "{message}");
    (error, message)
}

#[test]
fn result_survives_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result.json");
    let result = sample::quick();
    result.write(&path).unwrap();
    assert_eq!(ResultFile::read(&path).unwrap(), result);
    assert_eq!(ResultFile::read(dir.path()).unwrap(), result, "a folder means its result.json");
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["result.json"], "no temporary file stays behind");
}

#[test]
fn rewriting_replaces_the_file_and_keeps_its_text_stable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result.json");
    sample::without_cells().write(&path).unwrap();
    sample::quick().write(&path).unwrap();
    let read = ResultFile::read(&path).unwrap();
    assert_eq!(read.to_json(), fs::read_to_string(&path).unwrap());
}

#[test]
fn another_schema_is_refused_by_name() {
    let (error, message) = error_of(r#"{"schema": "kvdyno.result/9"}"#);
    assert!(matches!(error, Error::Schema { .. }));
    assert!(message.contains("kvdyno.result/9"), "{message}");
    let (error, message) = error_of(r#"{"name": "something else"}"#);
    assert!(matches!(error, Error::Schema { .. }));
    assert!(message.contains("missing"), "{message}");
}

#[test]
fn damage_is_located() {
    let text = sample::without_cells().to_json();
    let (error, _) = error_of(&text[..text.len() / 2]);
    assert!(matches!(error, Error::Malformed { line, .. } if line > 1), "{error}");
    let (error, message) = error_of(&text.replace("\"seed\": 7", "\"seed\": \"seven\""));
    let line = text.lines().position(|line| line.contains("\"seed\": 7")).unwrap() + 1;
    assert!(matches!(error, Error::Malformed { line: at, .. } if at == line), "{message}");
    let (_, message) = error_of(&text.replace("\"seed\": 7,", ""));
    assert!(message.contains("seed"), "{message}");
}

#[test]
fn missing_file_is_named() {
    let message = ResultFile::read("/nowhere/result.json".as_ref()).unwrap_err().to_string();
    assert!(message.starts_with("cannot read /nowhere/result.json"), "{message}");
}

#[test]
fn failed_write_names_the_file() {
    let error = sample::quick().write("/nowhere/result.json".as_ref()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }));
}

#[test]
fn unknown_field_is_refused_where_it_stands() {
    let text = sample::without_cells().to_json();
    let (error, message) = error_of(&text.replace("\"seed\": 7", "\"sead\": 1, \"seed\": 7"));
    assert!(matches!(error, Error::Malformed { .. }));
    assert!(message.contains("unknown field `sead`"), "{message}");
}

/// Reading the sample after `change` fails and names `field` and what is wrong with it.
fn refused(field: &str, reason: &str, change: impl FnOnce(&mut Vec<Cell>)) {
    let mut result = sample::at_rate();
    result.cells.retain(|cell| cell.trial == 1 && cell.engine == "lsm");
    change(&mut result.cells);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result.json");
    result.write(&path).unwrap();
    let message = ResultFile::read(&path).unwrap_err().to_string();
    let place = format!("{}: {field}: ", path.display());
    assert!(message.starts_with(&place), "{message}, not {field}");
    assert!(message.contains(reason), "{message}");
}

#[test]
fn figures_that_cannot_be_are_refused_by_name() {
    type Change = fn(&mut Measurement);
    let checks: [(&str, &str, Change); 12] = [
        ("duration_s", "-1 cannot be", |m| m.duration_s = -1.0),
        ("throughput_ops_per_s", "-0.5 cannot be", |m| m.throughput_ops_per_s = -0.5),
        ("resident_share_before", "above 1", |m| m.resident_share_before = Some(1.01)),
        ("operations[0].service.histogram", "HdrHistogram", |m| {
            m.operations[0].service.histogram = "AAAA".to_owned();
        }),
        ("operations[1].service.histogram", "count says", |m| {
            m.operations[1].service.count += 1;
        }),
        ("operations[1].service.count", "operations", |m| m.operations[1].operations += 1),
        ("operations[0].service.p99_ns", "is below p95_ns", |m| {
            m.operations[0].service.p99_ns = Some(1);
            m.operations[0].service.min_ns = 0;
        }),
        ("operations[0].response.max_ns", "is below", |m| {
            m.operations[0].response.as_mut().unwrap().max_ns = 1;
        }),
        ("operations[1].kind", "read stands there twice", |m| {
            m.operations[1].kind = "read".to_owned();
        }),
        ("operations", "all kinds is missing", |m| {
            m.operations.pop();
        }),
        ("timeline[3].start_s", "before the end", |m| m.timeline[3].start_s = 0.0),
        ("timeline[2].histogram", "samples", |m| m.timeline[2].operations += 1),
    ];
    for (field, reason, change) in checks {
        refused(&format!("cells[1].measurement.{field}"), reason, |cells| {
            change(cells[1].measurement.as_mut().unwrap());
        });
    }
    refused("cells[1].measurement.open_loop.offered_ops_per_s", "not the offered", |cells| {
        cells[1].offered_ops_per_s = Some(1.0);
    });
    refused("cells[1].offered_ops_per_s", "above 0", |cells| {
        cells[1].offered_ops_per_s = Some(0.0);
    });
    refused("cells[0].trial", "count from 1", |cells| cells[0].trial = 0);
    refused("cells[3].trial", "has trial 1 twice", |cells| cells.push(cells[1].clone()));
    refused("cells[0].scenario", "phase load", |cells| {
        cells[0].scenario = sample::recoveries().cells[0].scenario;
    });
    refused("cells[0].recovery.records_lost", "of 0 looked up", |cells| {
        cells[0].phase = Phase::Recover;
        cells[0].measurement = None;
        cells[0].recovery =
            Some(kvdyno_reports::Recovery { records_lost: 1, ..Default::default() });
    });
}

#[test]
fn empty_histograms_are_no_fault() {
    let mut result = sample::at_rate();
    let empty = encode_latency(&hdrhistogram::Histogram::new(3).unwrap());
    for measurement in result.cells.iter_mut().filter_map(|cell| cell.measurement.as_mut()) {
        for stats in &mut measurement.operations {
            (stats.operations, stats.service) = (0, empty.clone());
        }
    }
    let dir = tempfile::tempdir().unwrap();
    result.write(&dir.path().join("result.json")).unwrap();
    assert!(ResultFile::read(dir.path()).is_ok());
}
