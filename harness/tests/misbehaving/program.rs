//! Starts this binary as the program, and reads what it leaves.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use kvdyno_reports::{Cell, Phase, ResultFile};

/// A test's name and body.
pub(crate) type Test = (&'static str, fn());

/// The program with arguments, in a folder of its own.
pub(crate) fn kvdyno(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.current_dir(dir).args(arguments).env("TMPDIR", dir).env("NO_COLOR", "1");
    command.stdin(Stdio::null());
    command
}

/// Runs it to the end, and fails unless it does so with this status.
pub(crate) fn expect_status(dir: &Path, arguments: &[&str], status: i32) -> Output {
    let output = kvdyno(dir, arguments).output().unwrap();
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{printed}\n{errors}");
    output
}

/// What it printed to standard error.
pub(crate) fn errors_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The result file in the folder `out`.
pub(crate) fn result_in(dir: &Path) -> ResultFile {
    ResultFile::read(&dir.join("out")).unwrap()
}

/// The first cell of an engine in a phase.
pub(crate) fn cell<'a>(result: &'a ResultFile, engine: &str, phase: Phase) -> &'a Cell {
    let found = result.cells.iter().find(|cell| cell.engine == engine && cell.phase == phase);
    found.unwrap_or_else(|| panic!("there is no {phase:?} cell of {engine}"))
}

/// Waits until `ready`, for at most a minute.
pub(crate) fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < Duration::from_mins(1), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(signal: &str, pid: u32) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}
