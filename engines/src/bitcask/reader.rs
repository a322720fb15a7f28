//! Reading a store beside another process that writes to it, or where nothing may be changed.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::iter::{Iter, Moment};
use super::options::Options;
use super::recovery;
use super::report::Recovery;
use super::view::View;
use crate::storage::{Disk, Storage};
use crate::{Error, Result};

/// How often an opening is tried while another process keeps changing what is being read.
const ATTEMPTS: u32 = 5;
/// Between attempts: longer than it takes to replace a manifest.
const PAUSE: Duration = Duration::from_millis(10);

/// A store that is read as it was at one moment. Any number of readers, in any number of processes, can be open beside one writer; they take no lock and change nothing.
///
/// What is written later is not seen until [`BitcaskReader::refresh`]. Files that a merge removes meanwhile stay readable, and keep their room on the device, until then. What the writer's open data files
/// hold is copied into memory; the rest is mapped.
pub struct BitcaskReader<S: Storage = Disk> {
    view: View<S>,
    recovery: Recovery,
    dir: PathBuf,
    options: Options,
}

impl<S: Storage> BitcaskReader<S> {
    /// Opens the store in the folder `dir` for reading. Of the options, those about writing do not matter.
    ///
    /// # Errors
    /// As [`super::Bitcask::open`], but for [`Error::Locked`].
    pub fn open(storage: &S, dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        let dir = dir.as_ref();
        let mut attempt = 1;
        let (view, recovery) = loop {
            match recovery::open_for_reading(storage.clone(), dir, &options) {
                // A file that was removed, or a frame that was being written.
                Err(Error::Io { .. } | Error::Corrupt { .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                    thread::sleep(PAUSE);
                }
                outcome => break outcome?,
            }
        };
        Ok(Self { view, recovery, dir: dir.to_owned(), options })
    }

    /// Looks again: afterwards what the writer had written before this call is seen. Costs as much as opening.
    ///
    /// # Errors
    /// As [`BitcaskReader::open`]; what was seen before then stays.
    pub fn refresh(&mut self) -> Result<()> {
        let storage = self.view.files.storage.clone();
        *self = Self::open(&storage, &self.dir, self.options.clone())?;
        Ok(())
    }

    /// Reads the value of `key` into `value`, replacing what was there, and tells whether the key exists.
    #[inline]
    pub fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self.view.read(key, |bytes| value.extend_from_slice(bytes))?;
        Ok(found.is_some())
    }

    /// Calls `visit` with the value of `key` where it lies, without a copy; None if there is no such key.
    #[inline]
    pub fn get_with<R>(&self, key: &[u8], visit: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        self.view.read(key, visit)
    }

    /// Whether the key exists. Reads and verifies its record.
    pub fn contains(&self, key: &[u8]) -> Result<bool> {
        self.view.read(key, |_| ()).map(|found| found.is_some())
    }

    /// Number of keys. Those whose values have expired count until a merge has dropped them.
    pub fn len(&self) -> usize {
        self.view.keydir.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All keys and values, in no order.
    pub fn iter(&self) -> Iter<'_, S> {
        Iter::over(Moment::of(&self.view), None)
    }

    /// All keys, in no order. Reads and verifies every record.
    ///
    /// # Errors
    /// As [`BitcaskReader::fold`].
    pub fn keys(&self) -> Result<Vec<Vec<u8>>> {
        self.iter().keys_left(self.len())
    }

    /// Visits all keys and values, in no order and without copying them, until `visit` breaks. Costs what [`Iter`] costs.
    ///
    /// # Errors
    /// [`Error::Corrupt`] at the first record that is damaged.
    pub fn fold(&self, visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<()> {
        self.iter().visit_rest(visit)
    }

    /// As [`BitcaskReader::fold`], for keys alone. Values are read nevertheless: a checksum covers key and value.
    ///
    /// # Errors
    /// As [`BitcaskReader::fold`].
    pub fn fold_keys(&self, mut visit: impl FnMut(&[u8]) -> ControlFlow<()>) -> Result<()> {
        self.fold(|key, _| visit(key))
    }

    /// What was found when the store was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }
}

impl<'a, S: Storage> IntoIterator for &'a BitcaskReader<S> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;
    type IntoIter = Iter<'a, S>;

    fn into_iter(self) -> Iter<'a, S> {
        self.iter()
    }
}
