//! A storage on which an operation takes as long as a test wants: who waits for it, and who does not?

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use kvdyno_engines::Result;
use kvdyno_engines::storage::simulated::{SimulatedAppender, SimulatedFile};
use kvdyno_engines::storage::{Access, Appender, DirEntry, File, SimulatedDisk, Storage};
use parking_lot::{Condvar, Mutex};

/// Longer than any read takes, and shorter than a deadlock.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An operation of the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// The creation of a file with room set aside.
    CreateLog,
    /// The creation of another file.
    CreateOutput,
    /// The replacement of the manifest.
    Rename,
    /// A sync of a file with this extension.
    Sync(&'static str),
    /// A sync of the folder.
    SyncFolder,
    /// A read of a table, by a call.
    ReadTable,
}

#[derive(Default)]
pub(crate) struct Gate {
    held: Mutex<Option<Held>>,
    /// Calls that stand before the gate.
    waiting: Mutex<usize>,
    changed: Condvar,
    /// Names of the threads that have removed files.
    removers: Mutex<Vec<String>>,
    /// Of which file was said how it will be read.
    advice: Mutex<Vec<(PathBuf, Access)>>,
    /// Memory that there is for files.
    memory_bytes: AtomicU64,
}

impl Gate {
    fn pass(&self, what: Held) {
        let mut held = self.held.lock();
        while *held == Some(what) {
            *self.waiting.lock() += 1;
            self.changed.notify_all();
            self.changed.wait(&mut held);
            *self.waiting.lock() -= 1;
        }
    }

    pub(crate) fn close(&self, what: Held) {
        *self.held.lock() = Some(what);
    }

    pub(crate) fn open(&self) {
        *self.held.lock() = None;
        self.changed.notify_all();
    }

    /// Until somebody stands before the gate.
    pub(crate) fn wait(&self) {
        let mut held = self.held.lock();
        while *self.waiting.lock() == 0 {
            let late = self.changed.wait_for(&mut held, PATIENCE).timed_out();
            assert!(!late, "nobody needs the device");
        }
    }

    /// Who has removed files.
    #[cfg(feature = "lsm")]
    pub(crate) fn removers(&self) -> Vec<String> {
        self.removers.lock().clone()
    }

    /// Takes the advice that was given so far.
    #[cfg(feature = "lsm")]
    pub(crate) fn take_advice(&self) -> Vec<(PathBuf, Access)> {
        std::mem::take(&mut self.advice.lock())
    }

    /// Has stores that are opened from now on be told of so much memory.
    #[cfg(feature = "lsm")]
    pub(crate) fn set_memory_bytes(&self, bytes: u64) {
        self.memory_bytes.store(bytes, Ordering::Relaxed);
    }
}

/// A simulated disk with a gate.
#[derive(Clone, Default)]
pub(crate) struct Gated {
    pub(crate) disk: SimulatedDisk,
    pub(crate) gate: Arc<Gate>,
}

impl Gated {
    fn file(&self, file: SimulatedFile) -> GatedFile {
        GatedFile { file, gate: Arc::clone(&self.gate) }
    }

    /// Holds an operation up in the middle of `work`, calls `read` meanwhile, and lets it go on.
    pub(crate) fn reads_go_on_while(
        &self,
        held: Held,
        work: impl FnOnce() + Send,
        read: impl FnOnce() + Send,
    ) {
        self.gate.close(held);
        std::thread::scope(|scope| {
            scope.spawn(work);
            self.gate.wait();
            let (done, outcome) = mpsc::channel();
            scope.spawn(|| {
                read();
                done.send(()).unwrap();
                drop(done);
            });
            let outcome = outcome.recv_timeout(PATIENCE);
            self.gate.open();
            assert!(outcome.is_ok(), "a read waits while {held:?} is under way: {outcome:?}");
        });
    }
}

impl Storage for Gated {
    type File = GatedFile;
    type Appender = GatedAppender;
    type Lock = <SimulatedDisk as Storage>::Lock;

    fn create_dir(&self, path: &Path) -> Result<()> {
        self.disk.create_dir(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        self.disk.list(dir)
    }

    fn create(&self, path: &Path, capacity: Option<u64>) -> Result<GatedAppender> {
        self.gate.pass(if capacity.is_some() { Held::CreateLog } else { Held::CreateOutput });
        let appender = self.disk.create(path, capacity)?;
        Ok(GatedAppender { appender, storage: self.clone() })
    }

    fn open(&self, path: &Path) -> Result<GatedFile> {
        self.disk.open(path).map(|file| self.file(file))
    }

    fn open_copy(&self, path: &Path) -> Result<GatedFile> {
        self.disk.open_copy(path).map(|file| self.file(file))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk.link(from, to)
    }

    fn entropy(&self) -> u64 {
        self.disk.entropy()
    }

    fn memory_bytes(&self) -> u64 {
        self.gate.memory_bytes.load(Ordering::Relaxed)
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<()> {
        self.disk.truncate(path, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.gate.pass(Held::Rename);
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        self.gate.removers.lock().push(name);
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.gate.pass(Held::SyncFolder);
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Self::Lock> {
        self.disk.lock(path)
    }
}

/// A file of a [`Gated`] storage.
#[derive(Clone)]
pub(crate) struct GatedFile {
    file: SimulatedFile,
    gate: Arc<Gate>,
}

impl File for GatedFile {
    type Bytes<'a> = <SimulatedFile as File>::Bytes<'a>;

    fn path(&self) -> &Path {
        self.file.path()
    }

    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read(&self, offset: u64, len: usize) -> Result<Self::Bytes<'_>> {
        self.file.read(offset, len)
    }

    fn read_into(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.gate.pass(Held::ReadTable);
        self.file.read_into(offset, bytes)
    }

    fn advise(&self, access: Access) {
        self.gate.advice.lock().push((self.path().to_owned(), access));
    }

    fn sync(&self) -> Result<()> {
        for kind in ["log", "manifest", "table"] {
            if self.path().extension().is_some_and(|extension| extension == kind) {
                self.gate.pass(Held::Sync(kind));
            }
        }
        self.file.sync()
    }

    fn rewrite(&self, offset: u64, len: u64) -> Result<()> {
        self.file.rewrite(offset, len)
    }
}

/// A file of a [`Gated`] storage that is being written.
pub(crate) struct GatedAppender {
    appender: SimulatedAppender,
    storage: Gated,
}

impl Appender for GatedAppender {
    type File = GatedFile;

    fn file(&self) -> GatedFile {
        self.storage.file(self.appender.file())
    }

    fn len(&self) -> u64 {
        self.appender.len()
    }

    fn room(&self) -> u64 {
        self.appender.room()
    }

    fn append(&mut self, parts: &[&[u8]]) -> Result<u64> {
        self.appender.append(parts)
    }

    fn finish(self) -> Result<GatedFile> {
        let file = self.appender.finish()?;
        Ok(self.storage.file(file))
    }
}
