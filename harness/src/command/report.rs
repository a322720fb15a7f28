//! `kvdyno report`: makes the report anew from result files.

use std::io::Write;

use kvdyno_reports::{ResultFile, write_report};

use crate::cli::ReportArguments;
use crate::failure::{ExitStatus, Failure, Result};

/// Reads the results and writes the report.
pub(crate) fn main(arguments: &ReportArguments) -> Result<ExitStatus> {
    let read = |path| ResultFile::read(path).map_err(|error| Failure::usage(error.to_string()));
    let results: Vec<_> = arguments.results.iter().map(|path| read(path)).collect::<Result<_>>()?;
    std::fs::create_dir_all(&arguments.out)
        .map_err(Failure::io("create the folder", &arguments.out))?;
    let written = write_report(&results, &arguments.out)
        .map_err(|error| Failure::failed(error.to_string()))?;
    let mut out = std::io::stdout().lock();
    for path in written {
        let _ = writeln!(out, "{}", path.display());
    }
    Ok(ExitStatus::Ok)
}
