//! The life of a data file: prepared, active, full, sealed.
//!
//! 1. When the active file is three quarters full, the next one is *prepared* in the background: created, and named by the manifest.
//! 2. A record that does not fit makes the active file *full*. The prepared one becomes active, and its first frame says how long the full one is.
//! 3. In the background, full files are *sealed*, oldest first: what was set aside for them and not used is given back, they are synced, their hints are written, and
//!    the manifest records their lengths.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::files::{Active, Files, Listed};
use super::fingerprint::Hasher;
use super::hint::{HintKey, Summary};
use super::keydir_file;
use super::options::Background;
use super::record::{PREFACE_FRAME_BYTES, Preface};
use super::segment::{Ended, FileId, Segment};
use super::store::{Full, Store, Writer};
use super::view::View;
use crate::storage::Storage;
use crate::{Error, Result};

impl<S: Storage> Store<S> {
    /// Makes the next data file the active one, with room for a frame of `frame_bytes`.
    ///
    /// # Errors
    /// If the device has no room for another file; the active one then stays, and later writes try again.
    #[cold]
    pub(crate) fn rotate(&self, writer: &mut Writer<S>, frame_bytes: u64) -> Result<()> {
        let capacity = self.options.segment_bytes.max(PREFACE_FRAME_BYTES + frame_bytes);
        let spare = if capacity == self.options.segment_bytes { writer.spare.take() } else { None };
        let next = if let Some(next) = spare {
            next
        } else {
            let start = Instant::now();
            let next = self.view.files.create(capacity)?;
            self.view.files.counters.stall(start);
            next
        };
        let len = writer.active.log.len();
        let old = std::mem::replace(&mut writer.active, next);
        self.view.files.counters.log_bytes.fetch_add(len, Ordering::Relaxed);
        let previous = Some((old.segment.id, len));
        writer.full.push_back(Full { segment: old.segment, log: Some(old.log), len });
        writer.spare_requested = writer.spare.is_some();
        self.view.files.activate(writer.active.segment.id);
        write_preface(&mut writer.active, previous)
            .map_err(|error| self.view.files.poison(error))?;
        self.sealer.notify();
        Ok(())
    }

    /// What the background does besides merging: prepares the next data file where it is due, and seals those that are full.
    pub(crate) fn maintain(&self) -> Result<()> {
        self.prepare_spare()?;
        self.seal()?;
        self.renew_hints()
    }

    /// Writes the hints that were missing or damaged when the store was opened. If a merge removes a file at that moment, its hint is left as an orphan.
    fn renew_hints(&self) -> Result<()> {
        for (segment, len) in std::mem::take(&mut *self.hintless.lock()) {
            let still_there = |file: &Listed<S::File>| file.segment.id == segment.id;
            if self.view.files.structure().files.iter().any(still_there) {
                write_hint(&self.view.files, self.view.hasher, &segment, len)?;
            }
        }
        Ok(())
    }

    fn prepare_spare(&self) -> Result<()> {
        // A second file that nobody takes would stand between those that are used.
        let _one_at_a_time = self.sealing.lock();
        let due = |writer: &Writer<S>| writer.spare_requested && writer.spare.is_none();
        if self.options.background == Background::Inline || !due(&self.writer.lock()) {
            return Ok(());
        }
        match self.view.files.create(self.options.segment_bytes) {
            Ok(spare) => {
                self.writer.lock().spare = Some(spare);
                Ok(())
            }
            // The writer who needs the file tries again, and says so if there still is no room.
            Err(error) if error.is_disk_full() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Seals all data files that are full.
    pub(crate) fn seal(&self) -> Result<()> {
        let _one_at_a_time = self.sealing.lock();
        let (mut segments, mut logs) = (Vec::new(), Vec::new());
        for full in &mut self.writer.lock().full {
            segments.push((Arc::clone(&full.segment), full.len));
            logs.extend(full.log.take());
        }
        if segments.is_empty() {
            return Ok(());
        }
        for log in logs {
            log.finish()?;
        }
        self.sync()?;
        for (segment, len) in &segments {
            write_hint(&self.view.files, self.view.hasher, segment, *len)?;
        }
        let mut structure = self.view.files.structure();
        let mut files = structure.files.clone();
        mark_sealed(&mut files, &segments);
        self.view.files.restructure(&mut structure, files)?;
        drop(structure);
        self.writer.lock().full.drain(..segments.len());
        self.merger.notify();
        Ok(())
    }

    /// Seals everything and writes the keydir down, so that the next open finds the store clean. The background must have ended.
    pub(crate) fn close(self) -> Result<()> {
        self.sync()?;
        self.renew_hints()?;
        let Self { view, writer, .. } = self;
        let View { keydir, files, hasher, .. } = view;
        let Writer { active, spare, mut full, .. } = writer.into_inner();
        let mut unused: Vec<_> = spare.into_iter().map(|spare| spare.segment.id).collect();
        let len = active.log.len();
        if len > PREFACE_FRAME_BYTES {
            full.push_back(Full { segment: active.segment, log: Some(active.log), len });
        } else {
            unused.push(active.segment.id);
        }
        let mut sealed = Vec::new();
        for Full { segment, log, len } in full {
            if let Some(log) = log {
                log.finish()?;
            }
            write_hint(&files, hasher, &segment, len)?;
            sealed.push((segment, len));
        }
        let mut structure = files.structure();
        let mut listed = structure.files.clone();
        mark_sealed(&mut listed, &sealed);
        listed.retain(|file| !unused.contains(&file.segment.id));
        files.restructure(&mut structure, listed)?;
        for id in unused {
            files.remove(id);
        }
        let manifest = structure.manifest(&structure.files);
        keydir_file::write(&files, &keydir, hasher, &manifest, &structure.files)
    }
}

/// Writes the hint of a data file that is synced. A hint that cannot be written is no loss but of time.
fn write_hint<S: Storage>(
    files: &Files<S>,
    hasher: Hasher,
    segment: &Segment<S::File>,
    len: u64,
) -> Result<()> {
    let key = HintKey { id: segment.id, data_bytes: len, hasher };
    let summary = Summary::gather(&segment.file, key)?;
    match summary.write(&files.storage, &files.dir, key, &files.counters) {
        Ok(hint) => segment.set_hint(hint),
        Err(error @ Error::PowerLost) => return Err(error),
        Err(_) => {}
    }
    Ok(())
}

fn mark_sealed<F>(files: &mut [Listed<F>], sealed: &[Ended<F>]) {
    for (segment, len) in sealed {
        for file in files.iter_mut().filter(|file| file.segment.id == segment.id) {
            file.sealed = Some(*len);
        }
    }
}

/// Writes the first frame of a data file.
pub(crate) fn write_preface<S: Storage>(
    active: &mut Active<S>,
    previous: Option<(FileId, u64)>,
) -> Result<()> {
    let preface = Preface { id: active.segment.id, previous };
    active.log.append(&[&preface.encode()]).map(|_| ())
}
