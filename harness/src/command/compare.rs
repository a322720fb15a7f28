//! `kvdyno compare`: two result files side by side, and the gate.

use std::path::Path;

use kvdyno_reports::{CompareOptions, ResultFile, compare};

use crate::cli::CompareArguments;
use crate::failure::{ExitStatus, Failure, Result};

/// Compares, prints, and judges if there is a threshold.
pub(crate) fn main(arguments: &CompareArguments) -> Result<ExitStatus> {
    let (base, head) = (read(&arguments.base)?, read(&arguments.head)?);
    let threshold_percent = arguments.threshold.unwrap_or(f64::INFINITY);
    let options = CompareOptions { threshold_percent, ..CompareOptions::default() };
    let comparison = compare(&base, &head, &options).map_err(|error| Failure {
        status: ExitStatus::NotComparable,
        message: error.to_string(),
    })?;
    if comparison.changes.is_empty() && comparison.broken.is_empty() {
        let message = format!(
            "{} and {} have no figure in common: there is nothing to compare",
            arguments.base.display(),
            arguments.head.display()
        );
        return Err(Failure { status: ExitStatus::NotComparable, message });
    }
    let text = if arguments.markdown { comparison.to_markdown() } else { comparison.to_table() };
    crate::print(text.trim_end())?;
    if arguments.threshold.is_none() {
        crate::print(
            "No threshold was given, so nothing is judged: add --threshold 5 for 5 per cent.",
        )?;
        return Ok(ExitStatus::Ok);
    }
    Ok(if comparison.regressed() { ExitStatus::Regression } else { ExitStatus::Ok })
}

fn read(path: &Path) -> Result<ResultFile> {
    if !path.exists() {
        let message = format!("{}: there is no such result file", path.display());
        return Err(Failure { status: ExitStatus::NotComparable, message });
    }
    ResultFile::read(path).map_err(|error| Failure::usage(error.to_string()))
}
