//! How runs end early: Ctrl-C keeps what was measured, a killed parent leaves no child, and a folder serves one run at a time.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kvdyno_reports::RunStatus;

use crate::program::{errors_of, kvdyno, output_of, result_in};

const LONG: &[&str] = &[
    "run",
    "ycsb-c",
    "ycsb-a",
    "--engine",
    "lsm,bitcask",
    "--records",
    "2k",
    "--duration",
    "60s",
    "--out",
    "out",
];

fn start(dir: &Path, more: &[&str]) -> Child {
    let mut command = kvdyno(dir, LONG);
    command.args(more).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until `ready`, for at most half a minute.
fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Process ids of the children of a process.
fn children_of(parent: u32) -> Vec<u32> {
    let text =
        fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn is_alive(pid: u32) -> bool {
    // A dead process that nobody has waited for is still listed, as a zombie.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn signal(signal: &str, pid: u32) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Waits until both engines have loaded, after `noop`, and a workload is under way. A load has two rows in the summary.
fn wait_for_cells(dir: &Path) {
    wait_until("the load", || {
        fs::read_to_string(dir.join("out/summary.csv"))
            .is_ok_and(|text| text.matches(",load,").count() >= 6)
    });
}

#[test]
fn ctrl_c_keeps_what_was_measured() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = start(dir.path(), &[]);
    wait_for_cells(dir.path());
    std::thread::sleep(Duration::from_millis(500));
    signal("-INT", run.id());
    assert_eq!(run.wait().unwrap().code(), Some(130));
    let result = result_in(&dir.path().join("out"));
    assert_eq!(result.run.status, RunStatus::Interrupted);
    assert!(result.cells.len() >= 3, "the cells before the interruption are gone");
    assert!((result.cells.len() as u64) < result.run.cells_planned);
    assert!(dir.path().join("out/report.html").exists());
    let left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["out"], "stores were left behind");
}

#[test]
fn a_killed_run_leaves_no_child_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = start(dir.path(), &[]);
    wait_for_cells(dir.path());
    let mut children = Vec::new();
    wait_until("a cell's process", || {
        children = children_of(run.id());
        !children.is_empty()
    });
    signal("-KILL", run.id());
    run.wait().unwrap();
    wait_until("the end of the children", || !children.iter().any(|pid| is_alive(*pid)));
    // What had been measured is there, and says that the run did not end.
    assert_eq!(result_in(&dir.path().join("out")).run.status, RunStatus::Running);
}

#[test]
fn a_second_run_on_the_same_folder_is_refused_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = start(dir.path(), &["--dir", "stores"]);
    wait_for_cells(dir.path());
    let output = output_of(dir.path(), &["run", "ycsb-a", "--dir", "stores", "--out", "second"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = errors_of(&output);
    assert!(
        errors.contains("in use by another run") && errors.contains(&run.id().to_string()),
        "{errors}"
    );
    signal("-INT", run.id());
    assert_eq!(run.wait().unwrap().code(), Some(130), "the first run was harmed");
}

#[test]
fn the_folder_of_a_killed_run_can_be_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = start(dir.path(), &["--dir", "stores"]);
    wait_for_cells(dir.path());
    signal("-KILL", run.id());
    run.wait().unwrap();
    let small = ["--records", "1k", "--operations", "1k", "--engine", "bitcask", "--quiet"];
    let arguments = [&["run", "ycsb-a", "--dir", "stores", "--out", "second"], &small[..]].concat();
    assert_eq!(output_of(dir.path(), &arguments).status.code(), Some(0));
}
