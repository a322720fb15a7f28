//! The folder of results: `result.json` and `summary.csv` are written anew after each cell, so that whatever happens, what was measured is kept.

use std::fs;
use std::path::{Path, PathBuf};

use kvdyno_reports::ResultFile;

use crate::failure::{Failure, Result};

/// Where runs put their folders unless told otherwise.
const DEFAULT_PARENT: &str = "kvdyno-out";

/// A folder of results.
#[derive(Debug)]
pub(crate) struct Output {
    dir: PathBuf,
}

impl Output {
    /// Takes `dir`, which must be new or empty, or a new folder under `kvdyno-out`.
    ///
    /// # Errors
    /// If the folder holds something, or cannot be written.
    pub(crate) fn take(dir: Option<&Path>, run_id: &str) -> Result<Self> {
        let dir =
            dir.map_or_else(|| free_name(&Path::new(DEFAULT_PARENT).join(run_id)), Path::to_owned);
        if fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Failure::usage(format!(
                "--out {} is not empty: choose a new folder, nothing that was measured is overwritten",
                dir.display()
            )));
        }
        fs::create_dir_all(&dir).map_err(Failure::io("create the folder", &dir))?;
        // Only one of two runs that chose the same folder at the same time can create the file.
        let claim = dir.join("result.json");
        match fs::File::create_new(&claim) {
            Ok(_) => Ok(Self { dir }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Failure::usage(format!(
                    "--out {} has just been taken by another run: choose another folder",
                    dir.display()
                )))
            }
            Err(error) => Err(Failure::io("create", &claim)(error)),
        }
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes the result file and the summary, each at once or not at all.
    pub(crate) fn write(&self, result: &ResultFile) -> Result<()> {
        let failed = |error: kvdyno_reports::Error| Failure::failed(error.to_string());
        result.write(&self.dir.join("result.json")).map_err(failed)?;
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
