//! `kvdyno merge`: joins result files into one.

use kvdyno_reports::{MergeOptions, merge};

use super::report::read_all;
use crate::cli::MergeArguments;
use crate::failure::{ExitStatus, Failure, Result};

/// Reads the results, joins them, and writes the file.
pub(crate) fn main(arguments: &MergeArguments, command: Vec<String>) -> Result<ExitStatus> {
    let results = read_all(&arguments.results)?;
    let out = &arguments.out;
    if out.exists() {
        let message = format!("--out {} is there already: choose another file", out.display());
        return Err(Failure::usage(message));
    }
    let options = MergeOptions { concurrent: arguments.concurrent, command };
    let merged = merge(&results, &options).map_err(|error| Failure {
        status: ExitStatus::NotComparable,
        message: error.to_string(),
    })?;
    merged.write(out).map_err(|error| Failure::failed(error.to_string()))?;
    crate::print(&format!(
        "{}: {} cells of {} results",
        out.display(),
        merged.cells.len(),
        results.len()
    ))?;
    Ok(ExitStatus::Ok)
}
