//! The folder of results: `result.json` and `summary.csv` are written anew after each cell, so that whatever happens, what was measured is kept.
//! `run.json` beside them says how the run goes on, and is locked while it does.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use kvdyno_reports::ResultFile;

use super::record::RunRecord;
use crate::failure::{Failure, Result};

/// Where runs put their folders unless told otherwise.
const DEFAULT_PARENT: &str = "kvdyno-out";

/// The result file within the folder.
const RESULT: &str = "result.json";

/// A folder of results.
#[derive(Debug)]
pub(crate) struct Output {
    dir: PathBuf,
    /// The run's record, locked as long as the run goes on.
    _lock: File,
}

impl Output {
    /// Takes `dir`, which must be new or empty, or a new folder under `kvdyno-out`.
    ///
    /// # Errors
    /// If the folder holds something, or cannot be written.
    pub(crate) fn take(dir: Option<&Path>, record: &RunRecord) -> Result<Self> {
        let dir = dir.map_or_else(
            || free_name(&Path::new(DEFAULT_PARENT).join(&record.run_id)),
            Path::to_owned,
        );
        let shown = dir.display();
        if fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Failure::usage(format!(
                "--out {shown} is not empty: choose a new folder, nothing that was measured is overwritten (--resume goes on with an unfinished run)"
            )));
        }
        let unusable =
            |error| Failure::usage(format!("--out {shown}: cannot write there: {error}"));
        fs::create_dir_all(&dir).map_err(unusable)?;
        // Only one of two runs that chose the same folder at the same time can create the file.
        match File::create_new(dir.join(RESULT)) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Failure::usage(format!(
                    "--out {shown} has just been taken by another run: choose another folder"
                )));
            }
            Err(error) => return Err(unusable(error)),
        }
        let lock = record.write(&dir)?;
        Ok(Self { dir, _lock: lock })
    }

    /// The folder of a run that goes on, with its record's lock.
    pub(crate) fn again(dir: &Path, lock: File) -> Self {
        Self { dir: dir.to_owned(), _lock: lock }
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes the result file and the summary, each at once or not at all.
    pub(crate) fn write(&self, result: &ResultFile) -> Result<()> {
        let failed = |error: kvdyno_reports::Error| Failure::failed(error.to_string());
        result.write(&self.dir.join(RESULT)).map_err(failed)?;
        kvdyno_reports::write_summary(result, &self.dir.join("summary.csv")).map_err(failed)
    }
}

/// The path, or the path with a number if it is taken.
fn free_name(path: &Path) -> PathBuf {
    let numbered = (2..).map(|number| PathBuf::from(format!("{}-{number}", path.display())));
    std::iter::once(path.to_owned())
        .chain(numbered)
        .find(|path| !path.exists())
        .unwrap_or_else(|| path.to_owned())
}
