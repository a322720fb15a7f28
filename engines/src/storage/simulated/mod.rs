//! A disk in memory that loses power on demand, and with it whatever an engine forgot to sync.
//!
//! # The model
//!
//! 1. A file has a *durable* content and an ordered list of changes that no [`File::sync`](super::File::sync) has covered: appends, and changes of its
//!    length. Readers see all of them; after power loss, any of them may be missing, sector by sector (512 bytes).
//! 2. A folder has *durable* names and an ordered list of creations, renamings and removals that no [`Storage::sync_dir`](super::Storage::sync_dir) has covered. Syncing a file
//!    does not make its name durable, nor does syncing a folder the content of its files. (Creating a folder is durable at once.)
//! 3. A file with a capacity has its full length, as zeros, from the beginning (`fallocate`). That length is itself a change until it is synced:
//!    after power loss the file may be empty, or as long as its last surviving append makes it.
//! 4. Every call that changes something, and every sync, is a numbered *operation*. Power is lost at the operation that
//!    [`power_off_at`](SimulatedDisk::power_off_at) names: it has no effect, and it and all later calls, reads too, return [`Error::PowerLost`].
//! 5. [`survivor`](SimulatedDisk::survivor) gives the disk as it comes back, for each [`Crash`]: a choice of which unsynced changes are there.
//!    Locks are gone. Nothing depends on time or on an unseeded choice.
//! 6. [`fail_at`](SimulatedDisk::fail_at) makes an operation fail with an error of the operating system. A sync that fails drops what it should have
//!    stored: no later sync makes it durable unless it is written again. What readers see from then on differs from file system to file system: [`SyncFailure`].
//!
//! # A crash loop
//!
//! Run a script until the power is lost, restart under every crash, and compare what is recovered with what was promised:
//!
//! ```
//! use kvdyno_engines::storage::{Appender, File, SimulatedDisk, Storage};
//! use std::path::Path;
//!
//! // Replaces the file `answer` by way of a temporary one.
//! fn replace(disk: &SimulatedDisk, answer: &[u8]) -> kvdyno_engines::Result<()> {
//!     let mut new = disk.create(Path::new("/store/new"), None)?;
//!     new.append(&[answer])?;
//!     new.finish()?.sync()?;
//!     disk.rename(Path::new("/store/new"), Path::new("/store/answer"))?;
//!     disk.sync_dir(Path::new("/store"))
//! }
//!
//! let fresh = || -> kvdyno_engines::Result<SimulatedDisk> {
//!     let disk = SimulatedDisk::new();
//!     disk.create_dir(Path::new("/store"))?;
//!     replace(&disk, b"before")?;
//!     Ok(disk)
//! };
//! let first = fresh()?.operations();
//! for operation in first.. {
//!     let disk = fresh()?;
//!     disk.power_off_at(operation);
//!     let acknowledged = replace(&disk, b"after!").is_ok();
//!     let seed = 1;
//!     for crash in disk.crashes(seed, 8) {
//!         let survivor = disk.survivor(crash);
//!         let answer = survivor.read_all(Path::new("/store/answer"))?;
//!         let whole = answer == b"after!" || (!acknowledged && answer == b"before");
//!         assert!(whole, "operation {operation}, seed {seed}, {crash:?}: {answer:?}");
//!     }
//!     if acknowledged {
//!         break;
//!     }
//! }
//! # Ok::<(), kvdyno_engines::Error>(())
//! ```
//!
//! Leave the `sync` out of `replace`, or the `sync_dir`, and the loop fails.
//!
//! # Looking in from outside
//!
//! Tests read and damage files without the engine: [`files`](SimulatedDisk::files), [`read_all`](SimulatedDisk::read_all),
//! [`write_all`](SimulatedDisk::write_all), [`flip`](SimulatedDisk::flip). [`trace`](SimulatedDisk::trace) lists the operations, for failure messages.

mod crash;
mod file;
mod image;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

pub use crash::Crash;
pub use file::{SimulatedAppender, SimulatedFile};
use image::{Content, Image, Inode};
pub use store::SimulatedLock;

use crate::{Error, Result};

/// Bytes that reach the simulated device together or not at all.
pub const SECTOR_BYTES: u64 = 512;

/// A file system in memory. Cloning gives another handle to the same one. The [module](self) explains the model.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// What the operating system says of an operation that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An input/output error (EIO).
    Io,
    /// No space left on the device (ENOSPC).
    DiskFull,
    /// An append gets the first bytes through and then fails, of a log too; other operations are not affected.
    ShortWrite,
    /// A signal interrupts the call before it has done anything (EINTR). A sync that is interrupted drops nothing.
    Interrupted,
}

impl Fault {
    /// Whether an operation can fail in this way.
    fn concerns(self, verb: &str) -> bool {
        match self {
            Self::Io | Self::Interrupted => true,
            Self::DiskFull => matches!(verb, "create" | "append to"),
            Self::ShortWrite => verb == "append to",
        }
    }

    /// What the operating system says.
    fn error(self, verb: &'static str, path: &Path) -> Error {
        let code = match self {
            Self::Io => rustix::io::Errno::IO,
            Self::Interrupted => rustix::io::Errno::INTR,
            Self::DiskFull => return disk_full(verb, path),
            Self::ShortWrite => return refused(verb, path, io::ErrorKind::WriteZero),
        };
        let source = io::Error::from_raw_os_error(code.raw_os_error());
        Error::Io { operation: verb, path: path.to_owned(), source }
    }
}

/// What a failed sync leaves behind. In no case does a later sync store what this one should have stored, unless it is written again (Rebello et al., "Can Applications Recover
/// from fsync Failures?", USENIX ATC 2020).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SyncFailure {
    /// The pages count as clean and stay in the cache: readers see what was written until power is lost (ext4, XFS).
    #[default]
    Cached,
    /// The pages count as clean and leave the cache: readers see what was stored before, in a file that keeps its length.
    Dropped,
    /// The file, or the names of the folder, are again what was stored before (Btrfs).
    Reverted,
}

impl SyncFailure {
    /// All models.
    pub const ALL: [Self; 3] = [Self::Cached, Self::Dropped, Self::Reverted];
}

/// How often an injected fault comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// The operation fails once.
    Once,
    /// It fails, and so do all later operations that can fail in this way.
    ForGood,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::with(State::new())
    }

    fn with(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Operations so far, and the number of the next one.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations()
    }

    /// The operations so far, one a line, with their numbers.
    pub fn trace(&self) -> String {
        let state = self.state.lock();
        let line = |(number, what): (usize, &String)| format!("{number:4} {what}\n");
        state.trace.iter().enumerate().map(line).collect()
    }

    /// Power will be lost at the operation with this number.
    pub fn power_off_at(&self, operation: u64) {
        self.state.lock().power_off_at = operation;
    }

    /// Power is lost now.
    pub fn power_off(&self) {
        self.state.lock().off = true;
    }

    /// Whether power has been lost.
    pub fn is_off(&self) -> bool {
        self.state.lock().off
    }

    /// The operation with this number will fail.
    pub fn fail_at(&self, operation: u64, fault: Fault, repeat: Repeat) {
        self.state.lock().fault = Some((operation, fault, repeat));
    }

    /// What syncs that fail leave behind from now on.
    pub fn set_sync_failure(&self, model: SyncFailure) {
        self.state.lock().sync_failure = model;
    }

    /// No operation will fail any more.
    pub fn heal(&self) {
        self.state.lock().fault = None;
    }

    /// Limits the sum of the lengths of all files to so many bytes; `u64::MAX` lifts the limit.
    pub fn limit_to(&self, bytes: u64) {
        self.state.lock().limit = bytes;
    }

    /// All files with their lengths in bytes, sorted by path.
    pub fn files(&self) -> BTreeMap<PathBuf, u64> {
        let state = self.state.lock();
        let len = |inode: &Inode| inode.content.lock().current.len();
        state.names.iter().map(|(path, inode)| (path.clone(), len(inode))).collect()
    }

    /// The content of a file.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn read_all(&self, path: &Path) -> Result<Vec<u8>> {
        let inode = self.state.lock().file("read", path)?;
        let content = inode.content.lock();
        Ok(content.current.read(0, content.current.len() as usize))
    }

    /// Gives a file another content, durably; creates it where needed. Not an operation, and possible without power.
    pub fn write_all(&self, path: &Path, bytes: &[u8]) {
        let mut image = Image::default();
        image.write(0, bytes);
        let content = Content { current: image.clone(), durable: image, ..Content::default() };
        let mut state = self.state.lock();
        if let Some(inode) = state.names.get(path) {
            *inode.content.lock() = content;
        } else {
            let inode = state.inode(content);
            state.names.insert(path.to_owned(), Arc::clone(&inode));
            state.durable_names.insert(path.to_owned(), inode);
        }
    }

    /// Makes durable what was appended to the first `len` bytes of a file: a sync that stops half-way. Not an operation.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn sync_first(&self, path: &Path, len: u64) -> Result<()> {
        let inode = self.powered()?.file("sync", path)?;
        inode.content.lock().sync_below(len);
        Ok(())
    }

    /// Inverts the bits of `mask` in the byte at `offset`, durably. Not an operation, and possible without power.
    ///
    /// # Errors
    /// If there is no such file or no such byte.
    pub fn flip(&self, path: &Path, offset: u64, mask: u8) -> Result<()> {
        let inode = self.state.lock().file("flip a byte of", path)?;
        let mut content = inode.content.lock();
        if offset >= content.current.len() {
            return Err(Error::corrupt(path, offset, "the file ends before the byte to flip"));
        }
        content.sync();
        let flipped = [content.current.read(offset, 1)[0] ^ mask];
        content.current.write(offset, &flipped);
        content.durable = content.current.clone();
        Ok(())
    }

    /// The state, if there is power.
    fn powered(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.off { Err(Error::PowerLost) } else { Ok(state) }
    }
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedDisk").field("operations", &self.operations()).finish()
    }
}

type Names = BTreeMap<PathBuf, Arc<Inode>>;

struct State {
    /// What each operation so far did.
    trace: Vec<String>,
    power_off_at: u64,
    off: bool,
    fault: Option<(u64, Fault, Repeat)>,
    sync_failure: SyncFailure,
    /// Most bytes that all files may have together.
    limit: u64,
    folders: BTreeSet<PathBuf>,
    names: Names,
    durable_names: Names,
    /// What leads from `durable_names` to `names`, with the number of the operation, in the order of issue.
    pending_names: Vec<(u64, NameChange)>,
    locks: BTreeSet<PathBuf>,
    next_inode: u64,
}

/// A change of a folder.
#[derive(Clone)]
enum NameChange {
    Create { path: PathBuf, inode: Arc<Inode> },
    Rename { from: PathBuf, to: PathBuf, inode: Arc<Inode> },
    Remove { path: PathBuf, inode: Arc<Inode> },
}

impl NameChange {
    fn folder(&self) -> Option<&Path> {
        let (Self::Create { path, .. } | Self::Rename { to: path, .. } | Self::Remove { path, .. }) =
            self;
        path.parent()
    }
}

/// What the simulation decided about an operation.
enum Outcome {
    /// It takes place, and has this number.
    Done(u64),
    /// It fails in this way.
    Fails(Fault, Error),
}

impl Outcome {
    fn number(self) -> Result<u64> {
        match self {
            Self::Done(number) => Ok(number),
            Self::Fails(_, error) => Err(error),
        }
    }
}

impl State {
    fn new() -> Self {
        Self {
            trace: Vec::new(),
            power_off_at: u64::MAX,
            off: false,
            fault: None,
            sync_failure: SyncFailure::default(),
            limit: u64::MAX,
            folders: BTreeSet::from([PathBuf::from("/")]),
            names: Names::new(),
            durable_names: Names::new(),
            pending_names: Vec::new(),
            locks: BTreeSet::new(),
            next_inode: 0,
        }
    }

    fn operations(&self) -> u64 {
        self.trace.len() as u64
    }

    /// Numbers an operation, and decides whether it takes place.
    ///
    /// # Errors
    /// [`Error::PowerLost`] if power is lost at it.
    fn begin(&mut self, verb: &'static str, path: &Path, detail: &str) -> Result<Outcome> {
        let number = self.operations();
        if number >= self.power_off_at {
            self.off = true;
            return Err(Error::PowerLost);
        }
        let fault = self.fault.filter(|&(at, fault, repeat)| {
            fault.concerns(verb) && (number == at || number > at && repeat == Repeat::ForGood)
        });
        let failed = fault.map_or(String::new(), |(_, fault, _)| format!(": {fault:?}"));
        self.trace.push(format!("{verb} {}{detail}{failed}", path.display()));
        Ok(match fault {
            None => Outcome::Done(number),
            Some((_, fault, _)) => Outcome::Fails(fault, fault.error(verb, path)),
        })
    }

    /// Whether the files may grow by so many bytes together.
    fn has_room(&self, bytes: u64) -> bool {
        let used = || self.names.values().map(|inode| inode.content.lock().current.len()).sum();
        // Room that was set aside stays there, however full the disk is.
        bytes == 0 || self.limit == u64::MAX || bytes.saturating_add(used()) <= self.limit
    }

    fn file(&self, operation: &'static str, path: &Path) -> Result<Arc<Inode>> {
        match self.names.get(path) {
            Some(inode) => Ok(Arc::clone(inode)),
            None if self.folders.contains(path) => {
                Err(refused(operation, path, io::ErrorKind::IsADirectory))
            }
            None => Err(refused(operation, path, io::ErrorKind::NotFound)),
        }
    }

    fn inode(&mut self, content: Content) -> Arc<Inode> {
        self.next_inode += 1;
        Inode::new(self.next_inode, content)
    }
}

fn refused(operation: &'static str, path: &Path, kind: io::ErrorKind) -> Error {
    Error::Io { operation, path: path.to_owned(), source: kind.into() }
}

fn disk_full(operation: &'static str, path: &Path) -> Error {
    refused(operation, path, io::ErrorKind::StorageFull)
}
