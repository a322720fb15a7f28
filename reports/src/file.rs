//! Reading and writing `result.json`.
//!
//! Writing is atomic: the text goes to a temporary file beside the target, is synced, and then
//! takes the target's name, so that a reader (or a run that goes on after a crash) sees the old file
//! or the new one, never half of one.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::result::{ResultFile, SCHEMA};
use crate::validate::{Fault, check};

/// Name of the result file within an output folder.
const FILE_NAME: &str = "result.json";

impl ResultFile {
    /// Reads a result file. A folder means the `result.json` in it.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Schema`] where the file is of another format or version;
    /// [`Error::Malformed`] with line and column where it is damaged, or has a field that this build does not know;
    /// [`Error::Impossible`] where a figure in it cannot be.
    pub fn read(path: &Path) -> Result<Self> {
        let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_path_buf() };
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let malformed = |source: serde_json::Error| malformed(&path, &source);
        let header: serde_json::Value = serde_json::from_str(&text).map_err(malformed)?;
        match header.get("schema") {
            Some(serde_json::Value::String(schema)) if schema == SCHEMA => {}
            found => {
                let found = found.map_or_else(|| "missing".to_owned(), ToString::to_string);
                return Err(Error::Schema { path, found, expected: SCHEMA });
            }
        }
        // From the text again rather than from the value, whose errors know no line.
        let mut deserializer = serde_json::Deserializer::from_str(&text);
        let result = Self::deserialize(&mut deserializer).map_err(malformed)?;
        match check(&result) {
            Ok(()) => Ok(result),
            Err(Fault { field, reason }) => Err(Error::Impossible { path, field, reason }),
        }
    }

    /// Writes the file atomically.
    ///
    /// # Errors
    /// [`Error::Io`]; an existing file is then untouched.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, self.to_json().as_bytes())
    }

    /// The file's text: pretty JSON in the order of the fields, ending in a newline.
    ///
    /// # Panics
    /// Never: only maps with keys that are not text fail to serialise, and there are none.
    #[expect(clippy::expect_used, reason = "only maps with keys that are not text can fail")]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("all keys are text");
        text.push('\n');
        text
    }
}

/// Writes `bytes` to a temporary file beside `path`, syncs it, and renames it to `path`.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, File::sync_data)
}

/// The same without waiting for the device: for files that are made anew from the result at any time.
pub(crate) fn write_derived(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, |_| Ok(()))
}

fn replace(path: &Path, bytes: &[u8], sync: fn(&File) -> std::io::Result<()>) -> Result<()> {
    let temporary = temporary_beside(path);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| sync(&file)))
        .map_err(Error::io("write", path))
        .and_then(|()| fs::rename(&temporary, path).map_err(Error::io("replace", path)));
    if written.is_err() {
        // Best effort: the error that matters is the first one.
        fs::remove_file(&temporary).ok();
    }
    written
}

/// A name beside `path` that no other process writes to.
fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

fn malformed(path: &Path, source: &serde_json::Error) -> Error {
    let (line, column) = (source.line(), source.column());
    let reason = source.to_string();
    let place = format!(" at line {line} column {column}");
    Error::Malformed {
        path: path.to_path_buf(),
        line,
        column,
        reason: reason.strip_suffix(&place).unwrap_or(&reason).to_owned(),
        expected: SCHEMA,
    }
}
