//! Runs that are cut off go on: what has ended is not run again, and what is left is.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use kvdyno_reports::{Cell, CellStatus, Phase, ResultFile, RunStatus};

use crate::program::{Test, errors_of, expect_status, kvdyno, result_in, signal, wait_until};

pub(crate) const TESTS: &[Test] = &[
    ("a_killed_suite_goes_on_with_what_is_left", a_killed_suite_goes_on_with_what_is_left),
    ("a_chain_that_was_interrupted_goes_on", a_chain_that_was_interrupted_goes_on),
    ("failed_cells_stay_unless_asked_for", failed_cells_stay_unless_asked_for),
    ("what_cannot_go_on_is_refused", what_cannot_go_on_is_refused),
];

const SUITE: &str = r#"
engines = ["bitcask", "lsm", "aborts"]
workloads = ["ycsb-a", "ycsb-c", "ts-mixed"]
records = [1000, 1500]
value_size = 100
operations = 1000
trials = 2
"#;

/// Starts a run, and ends it by a signal once it has written so many cells.
fn cut_off(dir: &Path, arguments: &[&str], sent: &str, cells: usize) -> ResultFile {
    let mut command = kvdyno(dir, arguments);
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let ended = || ResultFile::read(&dir.join("out")).map_or(0, |result| result.cells.len());
    wait_until("the cells", || ended() >= cells);
    signal(sent, run.id());
    run.wait().unwrap();
    result_in(dir)
}

/// A cell's figures, which no second measurement would meet by chance.
fn figures(cell: &Cell) -> String {
    serde_json::to_string(cell).unwrap()
}

/// Every planned cell is there once, those of before as they were.
fn check_went_on(before: &ResultFile, after: &ResultFile) {
    assert_eq!(after.run.status, RunStatus::Complete);
    assert_eq!(after.cells.len() as u64, after.run.cells_planned);
    let kept = before.cells.iter().filter(|cell| cell.status != CellStatus::Interrupted);
    let kept: Vec<_> = kept.map(figures).collect();
    let all: Vec<_> = after.cells.iter().map(figures).collect();
    assert_eq!(all[..kept.len()], kept, "what had ended was measured again or changed");
    let names = |cell: &Cell| {
        (cell.engine.clone(), cell.workload.clone(), cell.records, cell.trial, cell.phase)
    };
    let mut cells: Vec<_> = after.cells.iter().map(names).collect();
    cells.sort();
    cells.dedup();
    assert_eq!(cells.len() as u64, after.run.cells_planned, "a cell is there twice");
    let told = after.run.warnings.iter().any(|warning| warning.contains("was cut off"));
    assert!(told, "{:?}", after.run.warnings);
}

fn a_killed_suite_goes_on_with_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine.toml"), SUITE).unwrap();
    let start = ["run", "mine.toml", "--out", "out", "--set", "aborts.at=1200"];
    let before = cut_off(dir.path(), &start, "-KILL", 14);
    assert_eq!(before.run.status, RunStatus::Running);
    // Killed a second time, while it goes on.
    let again = ["run", "--resume", "out"];
    let between = cut_off(dir.path(), &again, "-KILL", before.cells.len() + 5);
    assert_eq!(between.environment.first_touch, before.environment.first_touch);
    let mut untold = between.clone();
    untold.environment.first_touch = None;
    untold.write(&dir.path().join("out/result.json")).unwrap();
    // The suite file is not needed any more.
    fs::remove_file(dir.path().join("mine.toml")).unwrap();
    expect_status(dir.path(), &again, 1);
    let after = result_in(dir.path());
    check_went_on(&before, &after);
    check_went_on(&between, &after);
    assert!(after.environment.first_touch.is_some(), "memory is not touched when a run goes on");
    assert!(after.run.duration_s > between.run.duration_s);
    for cell in &after.cells {
        let expected = match (cell.engine.as_str(), cell.workload.as_str()) {
            ("bitcask", "ts-mixed") => CellStatus::Unsupported,
            ("aborts", "ycsb-a" | "ts-mixed") if cell.phase == Phase::Run => CellStatus::Failed,
            ("aborts", _) if cell.records == 1500 => CellStatus::Failed,
            _ => CellStatus::Ok,
        };
        assert_eq!(cell.status, expected, "{} {} {:?}", cell.engine, cell.workload, cell.error);
    }
    // The order of the engines is the seed's, whether the run was cut off or not.
    fs::write(dir.path().join("mine.toml"), SUITE).unwrap();
    let whole = ["run", "mine.toml", "--out", "whole", "--quiet", "--set", "aborts.at=1200"];
    expect_status(dir.path(), &whole, 1);
    let order = |result: &ResultFile| -> Vec<String> {
        let cells = result.cells.iter();
        cells.map(|cell| format!("{} {} {}", cell.engine, cell.workload, cell.trial)).collect()
    };
    assert_eq!(order(&after), order(&ResultFile::read(&dir.path().join("whole")).unwrap()));
    let left = fs::read_dir(dir.path()).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(
        !left.iter().any(|name| name.starts_with("kvdyno-stores-")),
        "stores were left behind: {left:?}"
    );
}

fn a_chain_that_was_interrupted_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let start = [
        "run",
        "ycsb-chain",
        "--engine",
        "lsm,memory",
        "--records",
        "1000",
        "--duration",
        "300ms",
        "--value-size",
        "100",
        "--trials",
        "1",
        "--out",
        "out",
    ];
    // Both loads of noop and its six workloads; two engines load, and run the first workload.
    let before = cut_off(dir.path(), &start, "-INT", 13);
    assert_eq!(before.run.status, RunStatus::Interrupted);
    expect_status(dir.path(), &["run", "--resume", "out"], 0);
    let after = result_in(dir.path());
    check_went_on(&before, &after);
    assert!(after.cells.iter().all(|cell| cell.status == CellStatus::Ok));
}

fn failed_cells_stay_unless_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut start = vec!["run", "ycsb-a", "ycsb-c", "--engine", "hangs", "--records", "1000"];
    start.extend(["--operations", "2000", "--cell-timeout", "1s", "--out", "out", "--quiet"]);
    start.extend(["--set", "hangs.at=1700"]);
    expect_status(dir.path(), &start, 1);
    let before = result_in(dir.path());
    let output = expect_status(dir.path(), &["run", "--resume", "out"], 2);
    let errors = errors_of(&output);
    assert!(errors.contains("complete") && errors.contains("--retry-failed"), "{errors}");
    expect_status(dir.path(), &["run", "--resume", "out", "--retry-failed", "--quiet"], 1);
    let after = result_in(dir.path());
    assert_eq!(before.cells.len(), after.cells.len());
    let of = |result: &ResultFile, workload: &str| {
        let cells = result.cells.iter();
        let found = cells.filter(|cell| cell.engine == "hangs" && cell.workload == workload);
        found.map(figures).collect::<Vec<_>>()
    };
    assert_eq!(of(&before, "ycsb-c"), of(&after, "ycsb-c"));
    assert_eq!(after.cells.last().unwrap().status, CellStatus::Timeout);
    assert_eq!(after.cells.last().unwrap().workload, "ycsb-a");
}

fn what_cannot_go_on_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine.toml"), SUITE).unwrap();
    let start = ["run", "mine.toml", "--engine", "lsm", "--out", "out"];
    cut_off(dir.path(), &start, "-KILL", 8);
    let refuses = |said: &[&str]| {
        let output = expect_status(dir.path(), &["run", "--resume", "out"], 2);
        let errors = errors_of(&output);
        assert_eq!(errors.trim_end().lines().count(), 1, "{errors}");
        for words in said {
            assert!(errors.contains(words), "'{words}' is missing in: {errors}");
        }
    };
    let record = dir.path().join("out/run.json");
    let result = dir.path().join("out/result.json");
    let (good_record, good_result) =
        (fs::read_to_string(&record).unwrap(), fs::read_to_string(&result).unwrap());
    let with_record = |from: &str, to: &str, said: &[&str]| {
        assert!(good_record.contains(from), "{from} is not in {good_record}");
        fs::write(&record, good_record.replacen(from, to, 1)).unwrap();
        refuses(said);
        fs::write(&record, &good_record).unwrap();
    };
    with_record("{", "[", &["run.json", "damaged"]);
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    with_record(&version, "\"version\": \"0.0.1\"", &["kvdyno 0.0.1", "two builds"]);
    with_record("\"adapter\": \"lsm\"", "\"adapter\": \"gone\"", &["unknown engine 'gone'"]);
    let engine = "\"adapter\": \"lsm\",\n      \"version\": \"";
    with_record(engine, &format!("{engine}9"), &["measured lsm 9", "start the run anew"]);
    with_record("\"run_id\": \"mine-", "\"run_id\": \"other-", &["do not belong together"]);
    fs::write(&result, &good_result[..good_result.len() / 2]).unwrap();
    refuses(&["result.json", "cannot be read"]);
    let machine = good_result.replacen("\"cpus\": ", "\"cpus\": 99", 1);
    fs::write(&result, machine).unwrap();
    refuses(&["processors", "start the run anew"]);
    fs::write(&result, &good_result).unwrap();
    fs::write(dir.path().join("mine.toml"), SUITE.replace("1500", "1600")).unwrap();
    refuses(&["mine.toml has been changed"]);
    fs::write(dir.path().join("mine.toml"), SUITE).unwrap();
    let lock = fs::File::open(&record).unwrap();
    lock.lock().unwrap();
    refuses(&["still going on"]);
    lock.unlock().unwrap();
    fs::remove_file(&record).unwrap();
    refuses(&["no run.json", "folder of a run"]);
}
