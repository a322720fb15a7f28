//! Reading a store beside another process that writes to it, or where nothing may be changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::files::StoreFile;
use super::memtable::Memtable;
use super::options::Options;
use super::recovery::{self, Files, Mode, Recovery};
use super::scan::scan;
use super::stats::Probes;
use super::table::Reading;
use super::version::Tree;
use crate::storage::{Disk, Storage};
use crate::{Clock, Direction, Error, Result, Visit};

/// How often an opening is tried while another process keeps changing what is being read.
const ATTEMPTS: u32 = 10;
/// Between attempts: longer than it takes to replace a manifest.
const PAUSE: Duration = Duration::from_millis(10);

/// A store that is read as it was at one moment. Any number of readers, in any number of processes, can be open beside one writer, or beside nobody; they take no lock and create and change no file, so a
/// folder that may only be read will do.
///
/// What is written later is not seen until [`LsmReader::refresh`]. Tables that a compaction removes meanwhile stay readable, and keep their room on the device, until then. The manifest and the logs
/// are copied into memory, as the writer goes on writing to them; tables, which do not change, are mapped. What is seen is what was acknowledged before the opening, in whichever
/// durability class, and maybe some of what was written during it, whole writes only.
pub struct LsmReader<S: Storage = Disk> {
    storage: S,
    dir: PathBuf,
    tree: Tree<S>,
    recovery: Recovery,
    clock: Clock,
}

impl<S: Storage> LsmReader<S> {
    /// Opens the store in the folder `dir` for reading. Costs a read of the manifest and the logs, and memory for them, and of filters and indexes; later, where blocks are compressed, or the
    /// store's files have more than half of the memory, up to 64 MiB for those that have been read.
    ///
    /// # Errors
    /// As [`super::Lsm::open`], but for [`Error::Locked`]; [`Error::NotAStore`] also if the folder is empty.
    pub fn open(storage: &S, dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let mut attempt = 1;
        loop {
            match Self::look(storage, dir, attempt == ATTEMPTS) {
                Ok(Some(reader)) => return Ok(reader),
                // A file that was removed, or a frame that was being written.
                Ok(None) => {}
                Err(Error::Io { .. } | Error::Corrupt { .. }) if attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
            attempt += 1;
            thread::sleep(PAUSE);
        }
    }

    /// Looks again: afterwards what the writer had written before this call is seen. Costs as much as opening.
    ///
    /// # Errors
    /// As [`LsmReader::open`]; what was seen before then stays.
    pub fn refresh(&mut self) -> Result<()> {
        *self = Self::open(&self.storage, &self.dir)?.with_clock(self.clock.clone());
        Ok(())
    }

    /// One attempt. None if another process may have flushed a log while it was looked for; on the `last` one that is taken for a log that a crash has taken away.
    fn look(storage: &S, dir: &Path, last: bool) -> Result<Option<Self>> {
        let start = Instant::now();
        let files = Files::among(&storage.list(dir)?);
        let Some(newest) = files.manifests.last() else {
            let reason = "it holds no manifest".to_owned();
            return Err(Error::NotAStore { path: dir.to_owned(), reason });
        };
        files.check(dir)?;
        let state = recovery::read_state(storage, dir, &files, Mode::Read)?;
        let reading = Arc::new(Reading::new(&Options::default(), storage.memory_bytes()));
        let version = recovery::open_version(storage, dir, &state, &files, &reading)?;
        let (mut memtables, mut recovery) =
            recovery::recover_logs(dir, &state, &files, |path| Mode::Read.open(storage, path))?;
        if recovery.logs_dropped > 0 && !last {
            let now = Files::among(&storage.list(dir)?);
            if recovery::read_state(storage, dir, &now, Mode::Read)? != state {
                return Ok(None);
            }
        }
        let active = if let Some(newest) = memtables.pop() {
            newest
        } else {
            // Nothing will ever be in it, so any file will do.
            let file = Mode::Read.open(storage, &StoreFile::Manifest(*newest).path(dir))?;
            Memtable::new(*newest, state.sequence, file, 0)
        };
        let tree = Tree {
            active: Arc::new(active),
            waiting: memtables.into_iter().rev().map(Arc::new).collect(),
            version: Arc::new(version),
        };
        recovery.duration = start.elapsed();
        let (storage, dir) = (storage.clone(), dir.to_owned());
        Ok(Some(Self { storage, dir, tree, recovery, clock: Clock::System }))
    }

    /// The same, with another clock than the system's: for values that expire, which go on to do so while the reader is open.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Reads the value of `key` into `value`, replacing what was there, and tells whether the key exists.
    pub fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        self.tree.get(key, value, &mut Probes::default(), || self.clock.now_ms())
    }

    /// Visits at most `limit` keys, as [`crate::Session::scan`] does.
    pub fn scan(
        &self,
        start: &[u8],
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<usize> {
        let (active, now_ms) = (self.tree.active.view(), || self.clock.now_ms());
        Ok(scan(&self.tree, active, start, direction, limit, now_ms, visit)?.visited)
    }

    /// What was found when the store was opened. What a recovery would give up is left out of what is read, and stays in the files.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The folder of the store.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}
