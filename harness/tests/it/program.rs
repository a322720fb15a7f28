//! Starts the program, and reads what it leaves.

use std::path::Path;
use std::process::{Command, Output};

use kvdyno_reports::ResultFile;

/// The program with arguments, in a folder of its own.
pub(crate) fn kvdyno(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvdyno"));
    command.current_dir(dir).args(arguments).env("TMPDIR", dir).env("NO_COLOR", "1");
    command
}

/// Runs it to the end.
pub(crate) fn output_of(dir: &Path, arguments: &[&str]) -> Output {
    kvdyno(dir, arguments).output().unwrap()
}

/// What it printed to standard error.
pub(crate) fn errors_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs it to the end, and fails unless it does so with this status.
pub(crate) fn expect_status(dir: &Path, arguments: &[&str], status: i32) -> Output {
    let output = output_of(dir, arguments);
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = errors_of(&output);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{printed}\n{errors}");
    output
}

/// The result file in a folder.
pub(crate) fn result_in(dir: &Path) -> ResultFile {
    ResultFile::read(dir).unwrap()
}
