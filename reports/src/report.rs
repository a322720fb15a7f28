//! The report: a folder with the page, the charts as PNG, and the flat summary.

use std::fs;
use std::path::{Path, PathBuf};

use crate::chart::charts;
use crate::error::{Error, Result};
use crate::file::write_atomically;
use crate::model::Report;
use crate::result::ResultFile;
use crate::summary::summary_csv;

/// Writes the report over one or several results into `dir`, which is made if it is missing, and
/// returns the files written. Files of the same names are replaced; no other file is touched.
///
/// # Errors
/// [`Error::NoResults`], [`Error::Io`], [`Error::Chart`].
pub fn write_report(results: &[ResultFile], dir: &Path) -> Result<Vec<PathBuf>> {
    if results.is_empty() {
        return Err(Error::NoResults);
    }
    fs::create_dir_all(dir).map_err(Error::io("create the folder", dir))?;
    let report = Report::new(results);
    let mut files = Vec::new();
    for group in &report.groups {
        for chart in charts(&report, group) {
            let path = dir.join(format!("{}.png", chart.name));
            chart.png(&path)?;
            fs::write(dir.join(format!("{}.svg", chart.name)), chart.svg()?).ok();
            files.push(path);
        }
    }
    let path = dir.join("summary.csv");
    write_atomically(&path, summary_csv(&results[0]).as_bytes())?;
    files.push(path);
    Ok(files)
}
