//! `kvdyno report`: makes the report anew from result files.

use std::path::PathBuf;

use kvdyno_reports::{ResultFile, write_report};

use crate::cli::ReportArguments;
use crate::failure::{ExitStatus, Failure, Result};

/// Reads the results and writes the report.
pub(crate) fn main(arguments: &ReportArguments) -> Result<ExitStatus> {
    let read = |path| ResultFile::read(path).map_err(|error| Failure::usage(error.to_string()));
    let results: Vec<_> = arguments.results.iter().map(|path| read(path)).collect::<Result<_>>()?;
    let same = |path: &PathBuf| {
        let folder = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(path) };
        folder.canonicalize().ok() == arguments.out.canonicalize().ok()
    };
    if arguments.out.join("result.json").exists() && !arguments.results.iter().any(same) {
        return Err(Failure::usage(format!(
            "--out {} holds the results of another run: choose another folder",
            arguments.out.display()
        )));
    }
    std::fs::create_dir_all(&arguments.out)
        .map_err(Failure::io("create the folder", &arguments.out))?;
    let written = write_report(&results, &arguments.out)
        .map_err(|error| Failure::failed(error.to_string()))?;
    let paths: Vec<_> = written.iter().map(|path| path.display().to_string()).collect();
    crate::print(&paths.join("\n"))?;
    Ok(ExitStatus::Ok)
}
