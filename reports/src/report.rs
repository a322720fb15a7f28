//! The report: a folder with the page, the charts as PNG, and the flat summary.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::chart::charts;
use crate::error::{Error, Result};
use crate::file::{write_atomically, write_derived};
use crate::hlog;
use crate::html::page;
use crate::identity::run_names;
use crate::model::Report;
use crate::result::ResultFile;
use crate::summary::write_summary_of;

/// Folder beside the page for what HdrHistogram's own tools read.
const LATENCY_FOLDER: &str = "latency";

/// The page over one or several results, without the files that lie beside it.
///
/// # Errors
/// [`Error::NoResults`], [`Error::Chart`].
pub fn report_html(results: &[ResultFile]) -> Result<String> {
    if results.is_empty() {
        return Err(Error::NoResults);
    }
    let report = Report::new(results);
    page(&report, &charts(&report))
}

/// Writes the report over one or several results into `dir`, which is made if it is missing, and
/// returns the files written: `report.html`, `summary.csv`, each chart as a PNG, and in the folder `latency` the
/// interval log (`.hlog`) of each trial and the distribution (`.hgrm`) of each of its kinds of operations. Files of
/// the same names are replaced, and those in `latency` that an earlier report has written, and this one has not, are
/// removed; no other file is touched.
///
/// # Errors
/// [`Error::NoResults`], [`Error::Io`], [`Error::Chart`].
pub fn write_report(results: &[ResultFile], dir: &Path) -> Result<Vec<PathBuf>> {
    if results.is_empty() {
        return Err(Error::NoResults);
    }
    fs::create_dir_all(dir).map_err(Error::io("create the folder", dir))?;
    let report = Report::new(results);
    let charts = charts(&report);
    let mut files = vec![dir.join("report.html"), dir.join("summary.csv")];
    write_atomically(&files[0], page(&report, &charts)?.as_bytes())?;
    write_summary_of(results, &files[1])?;
    for chart in charts.all() {
        let path = dir.join(format!("{}.png", chart.name));
        write_derived(&path, &chart.png()?)?;
        files.push(path);
    }
    let latencies = hlog::files(&report, &run_names(results));
    let dir = dir.join(LATENCY_FOLDER);
    if !latencies.is_empty() {
        fs::create_dir_all(&dir).map_err(Error::io("create the folder", &dir))?;
        for (name, text) in latencies {
            let path = dir.join(name);
            write_derived(&path, &text)?;
            files.push(path);
        }
    }
    remove_stale(&dir, &files)?;
    Ok(files)
}

/// Removes what an earlier report has left in the folder of latencies, and this one has not written again.
fn remove_stale(dir: &Path, written: &[PathBuf]) -> Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    let written: HashSet<&PathBuf> = written.iter().collect();
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let path = entry.map_err(Error::io("list", dir))?.path();
        let is_stale =
            !written.contains(&path) && hlog::is_own(&path).map_err(Error::io("read", &path))?;
        if is_stale {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}
