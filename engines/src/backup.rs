//! What checkpoints and backups have in common, whatever the engine: a second store is made in a folder of its own, of files that change no more.

use std::path::Path;

use crate::storage::{Access, Appender, File, Storage};
use crate::{Error, Result};

/// Bytes that are copied at a time.
const COPY_BYTES: u64 = 1 << 20;

/// What a checkpoint or a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Data files: those of records, tables, logs.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How files get into the new store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// As second names of the same files.
    Link,
    Copy,
}

/// Makes the folder for a new store.
///
/// # Errors
/// [`Error::NotEmpty`] if there is something in it.
pub(crate) fn claim<S: Storage>(storage: &S, to: &Path) -> Result<()> {
    storage.create_dir(to)?;
    match storage.list(to)?.first() {
        Some(entry) => Err(Error::NotEmpty { path: to.to_owned(), entry: entry.name.clone() }),
        None => Ok(()),
    }
}

/// Copies the first `len` bytes of a file, or as many as there are. The copy is not yet synced.
pub(crate) fn copy<S: Storage>(
    storage: &S,
    source: &S::File,
    to: &Path,
    len: u64,
) -> Result<S::File> {
    let len = len.min(source.len());
    let mut copy = storage.create(to, None)?;
    while copy.len() < len {
        let (offset, bytes) = (copy.len(), COPY_BYTES.min(len - copy.len()));
        source.advise(Access::Soon { offset, len: 2 * COPY_BYTES });
        copy.append(&[&source.read(offset, bytes as usize)?])?;
    }
    copy.finish()
}
