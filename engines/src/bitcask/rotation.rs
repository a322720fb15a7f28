//! The life of a data file: prepared, active, full, sealed.
//!
//! 1. When the active file is three quarters full, the next one is *prepared* in the background: created, and named by the manifest. There is one such file at a time.
//! 2. A record that does not fit makes the active file *full*. The prepared one becomes active, and its first frame says how long the full one is. If none is prepared, or one that is too
//!    short for a long record, the writer prepares one itself, and lets go of its lock meanwhile.
//! 3. In the background, full files are *sealed*, oldest first: what was set aside for them and not used is given back, they are synced, their hints are written, and
//!    the manifest records their lengths. Where sealing falls behind (short files and a slow device), writers wait for it: a recovery has to read what is not sealed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use parking_lot::MutexGuard;

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

/// Data files that may wait to be sealed before writers wait for that.
const FULL_FILES_MAX: usize = 64;

impl<S: Storage> Store<S> {
    /// Makes other data files the active one as long as `due` asks for it, the last of them with room for a frame of `frame_bytes`. Where none is prepared, or too many wait to be sealed, the
    /// writer's lock is let go of meanwhile: afterwards all that was read under it may have changed.
    ///
    /// # Errors
    /// If the device has no room for another file; the active one then stays, and later writes try again.
    #[cold]
    pub(crate) fn rotate_while(
        &self,
        writer: &mut MutexGuard<'_, Writer<S>>,
        frame_bytes: u64,
        due: impl Fn(&Writer<S>) -> bool,
    ) -> Result<()> {
        let needed = PREFACE_FRAME_BYTES + frame_bytes;
        loop {
            self.view.files.check()?;
            if !due(writer) {
                return Ok(());
            }
            let behind = self.options.background == Background::Threads
                && writer.full.len() >= FULL_FILES_MAX;
            let spare = writer.spare.take_if(|spare| !behind && spare.log.room() >= needed);
            if let Some(next) = spare {
                self.rotate(writer, next)?;
                continue;
            }
            let start = Instant::now();
            MutexGuard::unlocked(
                writer,
                || {
                    if behind { self.seal() } else { self.prepare(needed) }
                },
            )?;
            self.view.files.counters.stall(start);
        }
    }

    /// Makes `next` the active data file.
    fn rotate(&self, writer: &mut Writer<S>, next: Active<S>) -> Result<()> {
        let len = writer.active.log.len();
        let old = std::mem::replace(&mut writer.active, next);
        self.view.files.counters.log_bytes.fetch_add(len, Ordering::Relaxed);
        let previous = Some((old.segment.id, len));
        let full = Full { segment: old.segment, log: Some(old.log), len, found: false };
        writer.full.push_back(full);
        writer.spare_requested = false;
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

    /// Writes the hints that were missing or damaged when the store was opened, and those that were found to be damaged when they were needed. If a merge removes a
    /// file at that moment, its hint is left as an orphan.
    fn renew_hints(&self) -> Result<()> {
        let missing = std::mem::take(&mut *self.hintless.lock());
        for Listed { segment, sealed } in self.view.files.listed().iter() {
            let is_missing = || missing.iter().any(|(missing, _)| missing.id == segment.id);
            let is_due = (segment.has_damaged_hint() || is_missing())
                && !segment.damaged.load(Ordering::Relaxed);
            let Some(len) = sealed.filter(|_| is_due) else { continue };
            match write_hint(&self.view.files, self.view.hasher, segment, len) {
                Err(error @ Error::Corrupt { .. }) => {
                    // The rest of the store is none the worse for it.
                    segment.damaged.store(true, Ordering::Relaxed);
                    self.background_error.lock().get_or_insert(error);
                }
                written => written?,
            }
        }
        Ok(())
    }

    /// Prepares the next data file if a writer has asked for it.
    fn prepare_spare(&self) -> Result<()> {
        let is_due = {
            let writer = self.writer.lock();
            writer.spare_requested && writer.spare.is_none()
        };
        if self.options.background == Background::Inline || !is_due {
            return Ok(());
        }
        match self.prepare(0) {
            // The writer who needs the file tries again, and says so if there still is no room.
            Err(error) if error.is_disk_full() => Ok(()),
            outcome => outcome,
        }
    }

    /// Creates the next data file, unless there is one with room for `needed` bytes.
    fn prepare(&self, needed: u64) -> Result<()> {
        // There is one at a time: its place in the order of age is behind the active one.
        let _one_at_a_time = self.preparing.lock();
        let too_short = {
            let mut writer = self.writer.lock();
            if writer.spare.as_ref().is_some_and(|spare| spare.log.room() >= needed) {
                return Ok(());
            }
            writer.spare.take()
        };
        if let Some(spare) = too_short
            && let Err(error) = self.view.files.dismiss(&spare.segment)
        {
            self.writer.lock().spare = Some(spare);
            return Err(error);
        }
        let spare = self.view.files.create(needed.max(self.options.segment_bytes))?;
        self.writer.lock().spare = Some(spare);
        Ok(())
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
        self.sync_all()?;
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
        self.sync_all()?;
        self.renew_hints()?;
        // The keydir that is written down must have every key.
        self.verify_rest()?;
        let Self { view, writer, .. } = self;
        let View { keydir, files, hasher, .. } = view;
        let Writer { active, spare, mut full, .. } = writer.into_inner();
        let mut unused: Vec<_> = spare.into_iter().map(|spare| spare.segment.id).collect();
        let len = active.log.len();
        if len > PREFACE_FRAME_BYTES {
            let (segment, log) = (active.segment, Some(active.log));
            full.push_back(Full { segment, log, len, found: false });
        } else {
            unused.push(active.segment.id);
        }
        let mut sealed = Vec::new();
        for Full { segment, log, len, .. } in full {
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
    active.log.append_checked(&[&preface.encode()]).map(|_| ())
}
