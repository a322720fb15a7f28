//! The seam between engines and files.
//!
//! Every file that an engine touches, it touches through [`Storage`]. There are two implementations:
//! [`Disk`], and [`SimulatedDisk`], which keeps apart what has been written and what would survive power loss, and can
//! lose power at any operation. Engines are generic over the seam, so calls are dispatched statically.
//!
//! 1. Writing goes in through an [`Appender`]: bytes are appended, in order, by one owner.
//! 2. Reading comes out of a [`File`] as guards over bytes ([`File::Bytes`]): a slice of a mapping on the disk, a copy in the simulation; or into memory of the reader's own ([`File::read_into`]).
//! 3. Nothing is durable until [`File::sync`] (content) *and* [`Storage::sync_dir`] (the name) have returned.
//! 4. A failed sync leaves unknown what is stored; it is never tried again (see [`crate::Error::Poisoned`]). Nor is what an earlier process left behind made durable by a sync
//!    alone, as one of its syncs may have failed: it is written again before ([`File::rewrite`]).
//! 5. Calls that a signal interrupts (EINTR) are repeated below the seam, by [`Disk`], where it is known that nothing has happened yet. An engine never repeats
//!    a call of its own accord: what fails, for this or any other reason, has failed.

mod called;
mod disk;
mod disk_appender;
mod disk_file;
mod filler;
mod memory;
pub mod simulated;

use std::ops::Deref;
use std::path::Path;

pub use disk::{Disk, DiskLock};
pub use disk_appender::DiskAppender;
pub use disk_file::DiskFile;
pub use simulated::SimulatedDisk;

use crate::{Error, Result};

/// A file system, as engines see it. Cloning gives another handle to the same one.
pub trait Storage: Clone + Send + Sync + 'static {
    /// A file that can be read.
    type File: File;
    /// A file that is being written.
    type Appender: Appender<File = Self::File>;
    /// Held while a store is open; released when dropped or when the process dies.
    type Lock: Send + Sync + 'static;

    /// Creates a folder and its parents, durably; no error if it is there.
    fn create_dir(&self, path: &Path) -> Result<()>;

    /// The files and folders in a folder, sorted by name.
    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>>;

    /// Creates a file for appending. With a `capacity`, that many bytes are set aside on the device at once, no more can be appended, and the
    /// bytes can be read through [`Appender::file`] while they are appended (a log). Without, the file grows, and can be read once it is finished.
    ///
    /// # Errors
    /// If the file exists, or the device has no room.
    fn create(&self, path: &Path, capacity: Option<u64>) -> Result<Self::Appender>;

    /// Opens a file for reading. Its length is fixed at this moment.
    fn open(&self, path: &Path) -> Result<Self::File>;

    /// Reads a file into memory of our own. For files that another process is writing at the moment: what is got is what was there while it was read, and stays.
    fn open_copy(&self, path: &Path) -> Result<Self::File>;

    /// Gives a file that is written no more a second name, in this or another folder of the same file system.
    ///
    /// # Errors
    /// If the new name is taken, or the file system cannot do it.
    fn link(&self, from: &Path, to: &Path) -> Result<()>;

    /// A number that nobody can guess, for seeds.
    fn entropy(&self) -> u64;

    /// Bytes of memory that may hold pages of files, at most: the machine's, or what the process is limited to.
    fn memory_bytes(&self) -> u64;

    /// Cuts a file that nobody has open to `len` bytes and syncs it.
    fn truncate(&self, path: &Path, len: u64) -> Result<()>;

    /// Renames a file, replacing what has the new name.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file. Handles that are open keep working.
    fn remove(&self, path: &Path) -> Result<()>;

    /// Makes creations, renames and removals in a folder durable.
    fn sync_dir(&self, dir: &Path) -> Result<()>;

    /// Takes the lock file at `path`, creating it where needed. A lock file that a dead process left is no obstacle.
    ///
    /// # Errors
    /// [`crate::Error::Locked`] while somebody else holds it.
    fn lock(&self, path: &Path) -> Result<Self::Lock>;
}

/// Takes the lock file at `path`, which must be in a folder, if it is there and can be taken: who only reads a folder, such as one on a medium that cannot be written to, does not need it.
///
/// # Errors
/// [`crate::Error::Locked`] while somebody else holds it.
pub(crate) fn lock_if_there<S: Storage>(storage: &S, path: &Path) -> Result<Option<S::Lock>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    if !storage.list(dir)?.iter().any(|entry| entry.is_file && *name == *entry.name) {
        return Ok(None);
    }
    match storage.lock(path) {
        Ok(lock) => Ok(Some(lock)),
        Err(error @ (Error::Locked { .. } | Error::PowerLost)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// Its name; bytes that are not UTF-8 are replaced, and such a name is never one of ours.
    pub name: String,
    /// Whether it is a regular file.
    pub is_file: bool,
    /// Its length in bytes.
    pub len: u64,
}

/// How a file will be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Here and there: a read that misses the cache reads what was asked for, and nothing around it.
    Random,
    /// These bytes, soon: they can be fetched already.
    Soon {
        /// Of the first byte.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// It is about to be filled from front to back, and rarely synced meanwhile: memory may be taken for it in large pages, which are quicker to take and to read, and
    /// before the writer comes to them. As long as it is being written, each sync of it then stores a large page, of 2 MiB, however little was appended.
    Filling,
    /// By [`File::read_into`]: from now on by calls, unless files that are read so have half of the descriptors that the process may have already, and nothing is read around what is asked for.
    Calls,
}

/// A file that can be read. Cloning gives another handle to the same one; it may be used by many threads.
pub trait File: Clone + Send + Sync + 'static {
    /// Guard over bytes that were read.
    type Bytes<'a>: Deref<Target = [u8]>
    where
        Self: 'a;

    /// Where the file lies, for messages.
    fn path(&self) -> &Path;

    /// Bytes that can be read now.
    fn len(&self) -> u64;

    /// Whether there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes `[offset, offset + len)`.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] if they go past the end, so that a damaged offset or length needs no check of its own.
    fn read(&self, offset: u64, len: usize) -> Result<Self::Bytes<'_>>;

    /// Fills `bytes` with what is in the file from `offset` on. Of a file that was advised to be read so ([`Access::Calls`]), nothing is mapped into memory by that: a device that cannot read
    /// gives an error, and no signal.
    ///
    /// # Errors
    /// As [`File::read`]; [`crate::Error::Io`].
    fn read_into(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        bytes.copy_from_slice(&self.read(offset, bytes.len())?);
        Ok(())
    }

    /// Has the processor fetch bytes that are about to be read, while it goes on with something else. Where they are not in memory, or past the end, nothing happens.
    fn prefetch(&self, _offset: u64, _len: usize) {}

    /// Says how the file will be read. Costs a system call at most, and changes no result.
    fn advise(&self, _access: Access) {}

    /// Makes the content durable, up to what had been appended when this was called.
    fn sync(&self) -> Result<()>;

    /// Writes bytes that are there once more, so that the next [`File::sync`] stores them, whatever became of earlier ones. A sync that failed leaves pages behind that
    /// count as stored and are on no disk, and a process that finds a file cannot know whether one has failed: only what is written again is stored for sure.
    /// The file must not be being written. Costs a read and a write of so many bytes in the cache.
    ///
    /// What was in the cache alone may have left it since it was read last: who needs to know verifies the bytes after the sync.
    fn rewrite(&self, offset: u64, len: u64) -> Result<()>;
}

/// A file that is being written, by one owner.
pub trait Appender: Send + Sync + 'static {
    /// What readers get.
    type File: File;

    /// A handle for reading and syncing.
    fn file(&self) -> Self::File;

    /// Bytes appended so far.
    fn len(&self) -> u64;

    /// Whether nothing has been appended.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that can still be appended, for a file with a capacity.
    fn room(&self) -> u64;

    /// Appends the parts one after the other and returns the offset of the first byte. When this returns, the bytes of a file with a capacity
    /// survive the death of the process (those of a growing file once it is finished). After an error the file may end in any prefix of them.
    fn append(&mut self, parts: &[&[u8]]) -> Result<u64>;

    /// Ends the writing: gives back room that was set aside, and returns the file, readable in its whole length. Not yet synced.
    fn finish(self) -> Result<Self::File>;
}
