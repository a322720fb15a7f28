//! `kvdyno report`: makes the report anew from result files.

use std::path::{Path, PathBuf};

use kvdyno_reports::{ResultFile, markdown_report, write_report, ycsb_text};

use crate::cli::{ReportArguments, TextFormat};
use crate::failure::{ExitStatus, Failure, Result};

/// Reads the results and writes the report, prints it as text, or both.
pub(crate) fn main(arguments: &ReportArguments) -> Result<ExitStatus> {
    let results = read_all(&arguments.results)?;
    let mut paths = Vec::new();
    if let Some(out) = out(arguments)? {
        check_out(&out, &arguments.results)?;
        std::fs::create_dir_all(&out).map_err(Failure::io("create the folder", &out))?;
        let written =
            write_report(&results, &out).map_err(|error| Failure::failed(error.to_string()))?;
        paths.extend(written.iter().map(|path| path.display().to_string()));
    }
    match arguments.format {
        Some(format) => crate::print(text(&results, format)?.trim_end())?,
        None => crate::print(&paths.join("\n"))?,
    }
    Ok(ExitStatus::Ok)
}

/// Reads result files, or those in folders.
pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Vec<ResultFile>> {
    let read =
        |path: &PathBuf| ResultFile::read(path).map_err(|error| Failure::usage(error.to_string()));
    paths.iter().map(read).collect()
}

/// Results as text.
pub(crate) fn text(results: &[ResultFile], format: TextFormat) -> Result<String> {
    match format {
        TextFormat::Ycsb => Ok(results.iter().map(ycsb_text).collect()),
        TextFormat::Markdown => {
            markdown_report(results).map_err(|error| Failure::failed(error.to_string()))
        }
    }
}

/// Where the report goes, if it is wanted as files.
fn out(arguments: &ReportArguments) -> Result<Option<PathBuf>> {
    match (&arguments.out, arguments.results.as_slice()) {
        (Some(out), _) => Ok(Some(out.clone())),
        (None, _) if arguments.format.is_some() => Ok(None),
        (None, [result]) if result.is_dir() => Ok(Some(result.clone())),
        (None, _) => Err(Failure::usage(
            "where does the report go? Give --out DIR for page, charts and tables, or --format to print it",
        )),
    }
}

/// A folder with the results of another run is not written to.
fn check_out(out: &Path, results: &[PathBuf]) -> Result<()> {
    let same = |path: &PathBuf| {
        let folder = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(path) };
        folder.canonicalize().ok() == out.canonicalize().ok()
    };
    if out.join("result.json").exists() && !results.iter().any(same) {
        return Err(Failure::usage(format!(
            "--out {} holds the results of another run: choose another folder",
            out.display()
        )));
    }
    Ok(())
}
