//! Checkpoints and backups: a second store with what the first one held at one moment.
//!
//! 1. The active data file is ended and sealed, so that everything acknowledged so far is in files that do not change any more.
//! 2. Those files and their hints are linked or copied, oldest first. Merges wait meanwhile, since they remove files.
//! 3. The new store's manifest, which makes it a store, is written last. A backup that is cut short is thus no store, and is refused as such.

use std::path::Path;

use super::files::Listed;
use super::manifest::Manifest;
use super::segment::FileKind;
use super::store::Store;
use crate::backup::{self, BackupReport, How};
use crate::storage::{File, Storage};
use crate::{Error, Result};

impl<S: Storage> Store<S> {
    /// Makes a second store in `to`.
    pub(crate) fn back_up(&self, to: &Path, how: How) -> Result<BackupReport> {
        let _no_merge = self.merging.lock();
        self.rotate_and_seal()?;
        let files = &self.view.files;
        backup::claim(&files.storage, to)?;
        let manifest = {
            let structure = files.structure();
            let sealed = |file: &&Listed<S::File>| file.sealed.is_some();
            let sealed: Vec<_> = structure.files.iter().filter(sealed).cloned().collect();
            structure.manifest(&sealed)
        };
        let report = self.bring_over(to, how, &manifest)?;
        files.counters.sync(|| files.storage.sync_dir(to))?;
        manifest.write(&files.storage, to, &files.counters)?.commit(&files.counters)?;
        Ok(report)
    }

    fn bring_over(&self, to: &Path, how: How, manifest: &Manifest) -> Result<BackupReport> {
        let files = &self.view.files;
        let mut report = BackupReport::default();
        for named in &manifest.files {
            let len = named.sealed.unwrap_or_default();
            let [data, hint] = [FileKind::Data, FileKind::Hint]
                .map(|kind| (kind.path(&files.dir, named.id), kind.path(to, named.id)));
            match how {
                How::Link => files.storage.link(&data.0, &data.1)?,
                How::Copy => self.copy(&data.0, &data.1, Some(len))?,
            }
            // A hint is an aid: the new store makes its own where there is none.
            let hinted = match how {
                How::Link => files.storage.link(&hint.0, &hint.1),
                How::Copy => self.copy(&hint.0, &hint.1, None),
            };
            if let Err(error @ Error::PowerLost) = hinted {
                return Err(error);
            }
            report.files += 1;
            report.bytes += len;
        }
        Ok(report)
    }

    /// Copies the first `len` bytes of a file, or all of it, and syncs the copy.
    fn copy(&self, from: &Path, to: &Path, len: Option<u64>) -> Result<()> {
        let files = &self.view.files;
        let source = files.storage.open(from)?;
        let len = len.unwrap_or(source.len());
        let copy = backup::copy(&files.storage, &source, to, len)?;
        files.counters.sync(|| copy.sync())
    }
}
