//! What the program says about engines that lie, and that it believes those that do not.

use std::path::Path;
use std::process::{Command, Output};

use kvdyno_reports::{CellStatus, Phase, ResultFile};

/// All tests by name.
pub(crate) const TESTS: &[(&str, fn())] = &[
    ("an_engine_that_never_syncs_is_caught_in_class_sync", never_syncs),
    ("an_engine_that_acknowledges_early_is_caught_by_a_kill", acknowledges_early),
    ("an_engine_that_forgets_on_close_is_caught_by_a_clean_close", forgets_on_close),
    ("an_honest_engine_keeps_every_class", honest),
    ("a_broken_class_fails_a_run_and_keeps_its_figures", run_fails),
    ("recover_tells_lost_writes_and_ends_with_status_4", recover_fails),
];

fn output_of(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.current_dir(dir).args(arguments).env("TMPDIR", dir).env("NO_COLOR", "1");
    command.output().unwrap()
}

/// Runs to the end, and fails unless it ends with this status. Returns what it printed to standard output.
fn expect_status(dir: &Path, arguments: &[&str], status: i32) -> String {
    let output = output_of(dir, arguments);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{printed}\n{errors}");
    printed
}

/// Checks one class of an engine.
fn check(engine: &str, class: &str, status: i32) -> String {
    let dir = tempfile::tempdir().unwrap();
    expect_status(dir.path(), &["check", "--engine", engine, "--durability", class], status)
}

/// Whether this process may trace its children: not in every container.
fn may_trace() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let output = output_of(dir.path(), &["check", "--engine", "honest", "--durability", "sync"]);
    let printed = String::from_utf8_lossy(&output.stdout);
    if printed.contains("(ptrace: ") {
        eprintln!("skipped: {printed}");
        assert_eq!(output.status.code(), Some(1), "what could not be checked passed");
        return false;
    }
    true
}

fn never_syncs() {
    if !may_trace() {
        return;
    }
    let printed = check("never-syncs", "sync", 4);
    assert!(printed.contains("BROKEN"), "{printed}");
    assert!(printed.contains("before 300 of 300 acknowledgements no call"), "{printed}");
    check("never-syncs", "os", 0);
}

fn acknowledges_early() {
    let printed = check("acknowledges-early", "os", 4);
    assert!(printed.contains("BROKEN") && printed.contains("lost"), "{printed}");
    check("acknowledges-early", "buffered", 0);
}

fn forgets_on_close() {
    let printed = check("forgets-on-close", "buffered", 4);
    assert!(printed.contains("BROKEN") && printed.contains("clean close"), "{printed}");
}

fn honest() {
    check("honest", "buffered,os", 0);
    if may_trace() {
        let printed = check("honest", "sync", 0);
        assert!(printed.contains("before each of 300 acknowledgements"), "{printed}");
    }
}

fn run_fails() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec!["run", "ycsb-c", "--engine", "acknowledges-early,honest"];
    arguments.extend([
        "--check-durability",
        "--records",
        "1k",
        "--operations",
        "1k",
        "--out",
        "out",
    ]);
    let printed = expect_status(dir.path(), &arguments, 4);
    assert!(printed.contains("acknowledges-early does not keep class os"), "{printed}");
    let result = ResultFile::read(&dir.path().join("out")).unwrap();
    let kept = |name: &str| {
        let engine = result.engines.iter().find(|engine| engine.name == name).unwrap();
        engine.durability_check.as_ref().unwrap().kept
    };
    assert_eq!((kept("acknowledges-early"), kept("honest")), (Some(false), Some(true)));
    let measured = |name: &str| {
        result.cells.iter().any(|cell| {
            cell.engine == name && cell.phase == Phase::Run && cell.status == CellStatus::Ok
        })
    };
    assert!(measured("honest"), "a liar cost another engine's figures");
}

fn recover_fails() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec!["recover", "--engine", "acknowledges-early", "--records", "1k"];
    arguments.extend([
        "--written",
        "200%",
        "--reads-wait",
        "1s",
        "--scenario",
        "kill",
        "--cache",
        "warm",
        "--out",
        "out",
    ]);
    let printed = expect_status(dir.path(), &arguments, 4);
    assert!(printed.contains("acknowledges-early"), "{printed}");
    let result = ResultFile::read(&dir.path().join("out")).unwrap();
    let cell = result.cells.iter().find(|cell| cell.phase == Phase::Recover).unwrap();
    assert_eq!(cell.status, CellStatus::LostWrite);
    let recovery = cell.recovery.as_ref().unwrap();
    assert!((1..1400).contains(&recovery.records_lost), "{recovery:?}");
}
