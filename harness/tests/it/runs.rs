//! Whole runs, small: what they measure, and what they leave.

use std::fs;

use kvdyno_reports::{CellStatus, Phase, RunStatus};

use crate::program::{errors_of, expect_status, result_in};

const SMALL: &[&str] = &["--records", "2k", "--operations", "3k", "--value-size", "100"];

#[test]
fn all_engines_run_all_workloads_and_tell_what_they_cannot_do() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec![
        "run",
        "ycsb-a",
        "ycsb-b",
        "ycsb-c",
        "ycsb-d",
        "ycsb-e",
        "scan-reverse",
        "ycsb-f",
        "uniform",
        "overwrite",
        "absent",
        "ts-mixed",
        "recovery",
    ];
    arguments.extend(["--out", "out", "--quiet"]);
    arguments.extend(SMALL);
    let output = expect_status(dir.path(), &arguments, 0);
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "--quiet printed something");
    let result = result_in(&dir.path().join("out"));
    assert_eq!(result.run.status, RunStatus::Complete);
    assert_eq!(result.cells.len() as u64, result.run.cells_planned);
    for cell in &result.cells {
        let ranges = ["ycsb-e", "scan-reverse", "ts-mixed"].contains(&cell.workload.as_str());
        let expected = if cell.engine == "bitcask" && ranges {
            CellStatus::Unsupported
        } else {
            CellStatus::Ok
        };
        assert_eq!(cell.status, expected, "{} {}: {:?}", cell.engine, cell.workload, cell.error);
        if cell.status == CellStatus::Unsupported {
            assert!(cell.error.as_ref().unwrap().contains("scan"), "{:?}", cell.error);
            continue;
        }
        match cell.phase {
            Phase::Recover => {
                let recovery = cell.recovery.as_ref().unwrap();
                assert_eq!((recovery.records_lost, recovery.records_wrong), (0, 0));
                assert!(recovery.acknowledged_writes > 0);
                assert_eq!(recovery.records_verified, cell.records);
            }
            Phase::Load | Phase::Run => {
                let figures = cell.measurement.as_ref().unwrap();
                let all = figures.operations.last().unwrap();
                assert_eq!(all.kind, "all");
                let expected = if cell.phase == Phase::Load { 2000 } else { 3000 };
                let counted = all.operations;
                assert!(
                    counted == expected || cell.engine == "noop",
                    "{} {counted}",
                    cell.workload
                );
                let in_timeline: u64 = figures.timeline.iter().map(|point| point.operations).sum();
                assert_eq!(in_timeline, counted, "the time line lost operations");
                if cell.engine != "noop" {
                    assert!(figures.check.records_checked >= 2000);
                    assert_eq!(figures.check.records_missing + figures.check.records_wrong, 0);
                }
            }
        }
    }
    let left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["out"], "stores were left behind");
}

#[test]
fn multi_gets_run_where_an_engine_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec!["run", "multi-get", "--engine", "bitcask,lsm", "--quiet"];
    arguments.extend(["--out", "out"]);
    arguments.extend(SMALL);
    expect_status(dir.path(), &arguments, 0);
    let cells = result_in(&dir.path().join("out")).cells;
    for cell in cells.into_iter().filter(|cell| cell.phase == Phase::Run) {
        let expected = match &cell.engine[..] {
            "bitcask" => CellStatus::Unsupported,
            _ => CellStatus::Ok,
        };
        assert_eq!(cell.status, expected, "{}: {:?}", cell.engine, cell.error);
        if cell.engine == "lsm" {
            let figures = cell.measurement.unwrap();
            let many = figures.operations.iter().find(|figures| figures.kind == "multi_get");
            assert!(many.unwrap().operations > 2_000);
            assert_eq!(figures.check.records_missing + figures.check.records_wrong, 0);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_operations_and_another_seed_others() {
    let dir = tempfile::tempdir().unwrap();
    let digests = |out: &str, threads: &str, seed: &str| {
        let mut arguments = vec!["run", "ycsb-a", "--engine", "memory", "--quiet"];
        arguments.extend(["--out", out, "--threads", threads, "--seed", seed]);
        arguments.extend(SMALL);
        expect_status(dir.path(), &arguments, 0);
        let result = result_in(&dir.path().join(out));
        let written =
            result.cells.last().unwrap().measurement.as_ref().unwrap().io.user_bytes_written;
        (result.workloads[0].stream_digest.clone(), written)
    };
    let one_thread = digests("a", "1", "7");
    assert_eq!(one_thread, digests("b", "2", "7"));
    assert_ne!(one_thread.0, digests("c", "1", "8").0);
}

#[test]
fn variants_of_an_engine_run_side_by_side_under_their_full_names() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec!["run", "ycsb-a", "recovery", "--engine", "lsm,lsm@nofilter"];
    arguments.extend(["--set", "lsm.level_ratio=5", "--write-buffer", "32", "--quiet"]);
    arguments.extend(["--out", "out"]);
    arguments.extend(SMALL);
    expect_status(dir.path(), &arguments, 0);
    let result = result_in(&dir.path().join("out"));
    let names: Vec<_> = result.engines.iter().map(|engine| engine.name.as_str()).collect();
    assert_eq!(names, ["lsm", "lsm@nofilter"]);
    let options = |index: usize, name: &str| result.engines[index].options[name].as_str();
    for (index, filter) in ["10", "0"].into_iter().enumerate() {
        assert_eq!(options(index, "write_buffer_mib"), "32");
        assert_eq!(options(index, "level_ratio"), "5");
        assert_eq!(options(index, "filter_bits_per_key"), filter);
    }
    for name in names {
        let cells = result.cells.iter().filter(|cell| cell.engine == name);
        let ended: Vec<_> = cells.map(|cell| (cell.phase, cell.status)).collect();
        let expected =
            [Phase::Load, Phase::Run, Phase::Recover].map(|phase| (phase, CellStatus::Ok));
        assert_eq!(ended, expected, "{name}");
    }
}

#[test]
fn a_read_modify_write_is_also_a_read_and_an_update() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec!["run", "ycsb-f", "--engine", "lsm", "--quiet", "--out", "out"];
    arguments.extend(SMALL);
    expect_status(dir.path(), &arguments, 0);
    let result = result_in(&dir.path().join("out"));
    let cell =
        result.cells.iter().find(|cell| cell.workload == "ycsb-f" && cell.engine == "lsm").unwrap();
    let operations = |kind: &str| {
        let rows = &cell.measurement.as_ref().unwrap().operations;
        rows.iter().find(|row| row.kind == kind).unwrap().operations
    };
    let whole = operations("read_modify_write");
    assert_eq!(operations("update"), whole);
    assert_eq!(operations("read"), operations("all"));
    assert_eq!(operations("all"), 3000);
}

#[test]
fn a_property_file_of_fields_runs_on_every_engine() {
    let dir = tempfile::tempdir().unwrap();
    let file = "recordcount=500\noperationcount=800\nreadproportion=0.4\nupdateproportion=0.4\n\
                insertproportion=0.2\nfieldcount=4\nfieldlength=25\nrequestdistribution=latest\nsurprise=1\n";
    fs::write(dir.path().join("mine"), file).unwrap();
    let output = expect_status(dir.path(), &["run", "mine", "--out", "out"], 0);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("mine"), "{printed}");
    let result = result_in(&dir.path().join("out"));
    assert_eq!(result.workloads[0].name, "mine");
    assert!(
        result.run.warnings.iter().any(|warning| warning.contains("surprise")),
        "{:?}",
        result.run.warnings
    );
    for engine in ["bitcask", "lsm", "fjall", "lmdb"] {
        let run = result
            .cells
            .iter()
            .find(|cell| cell.engine == engine && cell.phase == Phase::Run)
            .unwrap();
        assert_eq!(run.status, CellStatus::Ok, "{engine}: {:?}", run.error);
        assert_eq!((run.records, run.value_bytes), (500, result.workloads[0].value_bytes));
    }
}

#[test]
fn json_goes_to_standard_output_and_is_the_result_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec!["run", "ycsb-c", "--engine", "bitcask", "--json", "--out", "out"];
    arguments.extend(SMALL);
    let output = expect_status(dir.path(), &arguments, 0);
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let written = fs::read(dir.path().join("out/result.json")).unwrap();
    assert_eq!(printed, serde_json::from_slice::<serde_json::Value>(&written).unwrap());
}

#[test]
fn compare_judges_by_the_threshold_that_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    for out in ["base", "head"] {
        let mut arguments = vec!["run", "ycsb-c", "--engine", "memory", "--quiet", "--out", out];
        arguments.extend(SMALL);
        expect_status(dir.path(), &arguments, 0);
    }
    expect_status(dir.path(), &["compare", "base", "base", "--threshold", "1"], 0);
    // A head that is half as fast, in a file that says so.
    let path = dir.path().join("head/result.json");
    let mut head = result_in(&dir.path().join("head"));
    for cell in &mut head.cells {
        if let Some(figures) = &mut cell.measurement {
            figures.throughput_ops_per_s /= 100.0;
            figures.throughput_settled_ops_per_s /= 100.0;
        }
    }
    head.write(&path).unwrap();
    expect_status(dir.path(), &["compare", "base", "head", "--threshold", "50"], 3);
    expect_status(dir.path(), &["compare", "base", "head"], 0);
    expect_status(dir.path(), &["compare", "base", "nowhere", "--threshold", "50"], 6);
}

#[test]
fn reports_are_made_anew_from_result_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec!["run", "ycsb-a", "--engine", "bitcask,lsm", "--quiet", "--out", "out"];
    arguments.extend(SMALL);
    expect_status(dir.path(), &arguments, 0);
    expect_status(dir.path(), &["report", "out", "-o", "again"], 0);
    let page = |folder: &str| fs::read(dir.path().join(folder).join("report.html")).unwrap();
    assert_eq!(page("out"), page("again"), "the same result gave another page");
}

#[test]
fn list_shows_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let output = expect_status(dir.path(), &["list"], 0);
    let printed = String::from_utf8(output.stdout).unwrap();
    for name in [
        "quick",
        "ycsb-a",
        "overwrite",
        "ts-mixed",
        "recovery",
        "bitcask",
        "lsm",
        "noop",
        "write_amplification",
    ] {
        assert!(printed.contains(name), "{name} is not listed");
    }
    let workloads = expect_status(dir.path(), &["list", "workloads"], 0).stdout;
    let printed = String::from_utf8(workloads).unwrap();
    let expiring = printed.split("session-expiry").nth(1).unwrap().lines().nth(1).unwrap();
    assert!(expiring.contains("not supported by ") && expiring.contains("lmdb (no "), "{expiring}");
    let many = printed.split("\n  multi-get").nth(1).unwrap().lines().nth(1).unwrap();
    assert!(many.contains("bitcask (no ") && !many.contains("lsm"), "{many}");
    let plain = printed.split("ycsb-a ").nth(1).unwrap().lines().nth(1).unwrap();
    assert!(!plain.contains("not supported"), "{plain}");
}

#[test]
fn quiet_runs_tell_what_went_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec!["run", "ycsb-a", "--engine", "bitcask", "--quiet", "--out", "out"];
    arguments.extend(["--cell-timeout", "1ms"]);
    arguments.extend(SMALL);
    let output = expect_status(dir.path(), &arguments, 1);
    let errors = errors_of(&output);
    assert!(output.stdout.is_empty(), "--quiet printed figures");
    assert!(errors.contains("bitcask: TIMEOUT"), "{errors}");
    let wrong = |cell: &&kvdyno_reports::Cell| cell.status != CellStatus::Ok;
    let count = result_in(&dir.path().join("out")).cells.iter().filter(wrong).count();
    assert_eq!(errors.lines().count(), count, "a line for each cell:\n{errors}");
}

#[test]
fn a_run_of_which_no_engine_can_do_anything_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec!["run", "ycsb-e", "--engine", "bitcask", "--quiet", "--out", "out"];
    arguments.extend(SMALL);
    let output = expect_status(dir.path(), &arguments, 2);
    let errors = errors_of(&output);
    assert!(errors.contains("none of the engines can do any of this: bitcask: "), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}
