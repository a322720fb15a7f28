//! The set of data files of an open store: which there are, in what order, and how they come and go.
//!
//! 1. [`Structure`] lists them, oldest records first; the manifest is its image on disk and is replaced before the list is.
//! 2. The segment table finds them by slot; readers load it without a lock.
//! 3. A file is created, then named by the manifest, then put into the table, then used. It goes in the opposite order.
//!
//! Locks, in the order in which they may be taken:
//!
//! | lock | held during I/O | taken by |
//! |---|---|---|
//! | merging | yes | merges, backups, [`verify`](super::Bitcask::verify) of an open store |
//! | sealing | yes | sealing, merges of everything, backups; writers only where sealing has fallen far behind |
//! | preparing | yes | who creates the next data file |
//! | writer | no | writers; the beginning of an iteration or an ordered scan; figures |
//! | structure | yes, while the manifest is replaced | who changes the list of files, and backups |
//! | shard of the presumptions | no | in stores larger than memory: writers, gets that find nothing, merges |
//! | shard of the keydir | no | everybody |
//!
//! Hence a read never waits for a lock that is held during I/O, whether by a writer or by a merge: gets, [`contains`](super::Bitcask::contains) and
//! [`len`](super::Bitcask::len) take shards alone (of the keydir and of the presumptions, `presumed.rs`; in a store that is larger than memory, `len` and whoever looks at all keys first take the writer's for a moment and read hints, without a lock); iterations, folds and [`keys`](super::Bitcask::keys) the writer's when they begin, and then shards; figures
//! ([`files`](super::Bitcask::files), [`status`](super::Bitcask::status), metrics) the writer's, and of the list of files they read the last one that was published. An
//! append is a copy into a mapping: the kernel makes it wait where memory is full of pages that are not stored yet, and who waits for the writer then waits, too.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, Guard};
use parking_lot::{Mutex, MutexGuard};

use super::entry::Layout;
use super::manifest::{Manifest, ManifestFile};
use super::metrics::Counters;
use super::segment::{FileId, FileKind, Segment, Table};
use crate::log::LogWriter;
use crate::storage::{Access, Appender, File, Storage};
use crate::{Error, Result};

/// The data files of a store in `dir`.
pub(crate) struct Files<S: Storage> {
    pub(crate) storage: S,
    pub(crate) dir: PathBuf,
    pub(crate) layout: Layout,
    pub(crate) counters: Counters,
    /// Checksums of what is written cover keys and values.
    checksums: bool,
    table: ArcSwap<Table<S::File>>,
    structure: Mutex<Structure<S::File>>,
    /// The files of the structure, for those who only look.
    listed: ArcSwap<Vec<Listed<S::File>>>,
    /// The file that is being written; those after it in the structure wait to be.
    active_id: AtomicU32,
    /// Somebody has asked for a sync since the last data file was created.
    synced: AtomicBool,
    /// From how many bytes of data files on a record that is looked for is probably not in memory.
    memory_bytes: u64,
    /// There are more.
    exceed_memory: AtomicBool,
    poisoned: OnceLock<String>,
}

/// Data files, oldest records first.
#[derive(Debug)]
pub(crate) struct Structure<F> {
    pub(crate) next_id: FileId,
    /// Of the store's hashes.
    pub(crate) seed: u64,
    pub(crate) files: Vec<Listed<F>>,
}

/// A data file in the structure.
#[derive(Debug)]
pub(crate) struct Listed<F> {
    pub(crate) segment: Arc<Segment<F>>,
    /// Length if sealed.
    pub(crate) sealed: Option<u64>,
}

impl<F> Clone for Listed<F> {
    fn clone(&self) -> Self {
        Self { segment: Arc::clone(&self.segment), sealed: self.sealed }
    }
}

impl<F> Structure<F> {
    /// The manifest that names these files.
    pub(crate) fn manifest(&self, files: &[Listed<F>]) -> Manifest {
        let file = |file: &Listed<F>| ManifestFile { id: file.segment.id, sealed: file.sealed };
        let (next_id, seed) = (self.next_id, self.seed);
        Manifest { next_id, seed, files: files.iter().map(file).collect() }
    }

    /// Takes an id that no file has had.
    pub(crate) fn take_id(&mut self) -> Result<FileId> {
        let id = self.next_id;
        self.next_id = FileId(id.0.checked_add(1).ok_or_else(|| Error::InvalidOption {
            name: "segment_bytes",
            value: "all 2^32 file numbers used".to_owned(),
            expected: "longer data files, in a new store",
        })?);
        Ok(id)
    }
}

/// A data file that is being written, or waits to be.
pub(crate) struct Active<S: Storage> {
    pub(crate) log: LogWriter<S::Appender>,
    pub(crate) segment: Arc<Segment<S::File>>,
}

impl<S: Storage> Files<S> {
    pub(crate) fn new(
        storage: S,
        dir: PathBuf,
        layout: Layout,
        counters: Counters,
        checksums: bool,
        structure: Structure<S::File>,
    ) -> Self {
        let mut table = Table::default();
        for file in &structure.files {
            table.insert(Arc::clone(&file.segment));
        }
        // The rest is for the keydir, for hints, and for everybody else.
        let memory_bytes = storage.memory_bytes() / 2;
        let files = Self {
            storage,
            dir,
            layout,
            counters,
            checksums,
            table: ArcSwap::from_pointee(table),
            listed: ArcSwap::from_pointee(structure.files.clone()),
            structure: Mutex::new(structure),
            active_id: AtomicU32::new(0),
            synced: AtomicBool::new(false),
            memory_bytes,
            exceed_memory: AtomicBool::new(false),
            poisoned: OnceLock::new(),
        };
        files.weigh(&files.structure());
        files
    }

    /// Whether a record that is looked for is probably not in memory.
    #[inline]
    pub(crate) fn exceed_memory(&self) -> bool {
        self.exceed_memory.load(Ordering::Relaxed)
    }

    fn weigh(&self, structure: &Structure<S::File>) {
        let len = |file: &Listed<S::File>| file.sealed.unwrap_or(file.segment.file.len());
        let bytes: u64 = structure.files.iter().map(len).sum();
        self.exceed_memory.store(bytes > self.memory_bytes, Ordering::Relaxed);
    }

    /// The segment table. Files in it can be read for as long as the guard is held.
    #[inline]
    pub(crate) fn table(&self) -> Guard<Arc<Table<S::File>>> {
        self.table.load()
    }

    /// Must be called when a sync is asked for, or before the first file is created if many will be.
    pub(crate) fn note_sync(&self) {
        self.synced.store(true, Ordering::Relaxed);
    }

    /// The data files as the manifest names them, oldest records first. Takes no lock.
    pub(crate) fn listed(&self) -> Arc<Vec<Listed<S::File>>> {
        self.listed.load_full()
    }

    pub(crate) fn structure(&self) -> MutexGuard<'_, Structure<S::File>> {
        self.structure.lock()
    }

    /// Notes a failure after which it is unknown what is on the disk.
    pub(crate) fn poison(&self, error: Error) -> Error {
        self.poisoned.get_or_init(|| error.to_string());
        error
    }

    /// # Errors
    /// [`Error::Poisoned`] after such a failure.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        match self.poisoned.get() {
            None => Ok(()),
            Some(cause) => Err(Error::Poisoned { cause: cause.clone() }),
        }
    }

    /// Makes the names of files durable that were created. Must come before the manifest that names them is renamed: either change of
    /// the folder might survive power loss without the other.
    pub(crate) fn sync_names(&self) -> Result<()> {
        let synced = self.counters.sync(|| self.storage.sync_dir(&self.dir));
        synced.map_err(|error| self.poison(error))
    }

    /// Replaces the list of files, on disk first.
    pub(crate) fn restructure(
        &self,
        structure: &mut Structure<S::File>,
        files: Vec<Listed<S::File>>,
    ) -> Result<()> {
        self.check()?;
        structure
            .manifest(&files)
            .write(&self.storage, &self.dir, &self.counters)?
            .commit(&self.counters)
            .map_err(|error| self.poison(error))?;
        self.listed.store(Arc::new(files.clone()));
        structure.files = files;
        self.weigh(structure);
        Ok(())
    }

    /// Creates a data file with room for `capacity` bytes, behind the active one.
    ///
    /// # Errors
    /// If the device is full, say; then nothing has changed, and it can be tried again.
    pub(crate) fn create(&self, capacity: u64) -> Result<Active<S>> {
        let mut structure = self.structure.lock();
        let id = structure.take_id()?;
        let path = FileKind::Data.path(&self.dir, id);
        let appender = self.storage.create(&path, Some(capacity))?;
        // A sync stores whole pages: whoever has asked for one may do so again.
        if !self.synced.swap(false, Ordering::Relaxed) {
            appender.file().advise(Access::Filling);
        }
        let outcome = self.place(id, appender.file()).and_then(|segment| {
            self.sync_names()?;
            let active = FileId(self.active_id.load(Ordering::Relaxed));
            let mut files = structure.files.clone();
            let behind = files.iter().rposition(|file| file.segment.id == active);
            let at = behind.map_or(files.len(), |at| at + 1);
            files.insert(at, Listed { segment: Arc::clone(&segment), sealed: None });
            self.restructure(&mut structure, files)?;
            Ok(segment)
        });
        let segment = outcome.inspect_err(|_| self.discard(&[id]))?;
        self.publish(&segment);
        Ok(Active { log: self.log_writer(appender, id), segment })
    }

    /// Takes a data file away that nothing was written to.
    ///
    /// # Errors
    /// If the manifest cannot be replaced; then the file stays.
    pub(crate) fn dismiss(&self, segment: &Arc<Segment<S::File>>) -> Result<()> {
        let mut structure = self.structure.lock();
        let others = structure.files.iter().filter(|file| file.segment.id != segment.id);
        let others = others.cloned().collect();
        self.restructure(&mut structure, others)?;
        self.withdraw(std::slice::from_ref(segment));
        drop(structure);
        self.remove(segment.id);
        Ok(())
    }

    /// A writer for the data file with this id.
    pub(crate) fn log_writer(&self, appender: S::Appender, id: FileId) -> LogWriter<S::Appender> {
        LogWriter::new(appender, id.0).checked(self.checksums)
    }

    /// Gives a file a slot. The structure's lock must be held until the segment is published.
    pub(crate) fn place(&self, id: FileId, file: S::File) -> Result<Arc<Segment<S::File>>> {
        let slot = self.table.load().free_slot();
        if slot >= self.layout.slots() {
            return Err(Error::InvalidOption {
                name: "segment_bytes",
                value: format!("too small for a store of {slot} data files"),
                expected: "longer data files: the index addresses 8 TiB",
            });
        }
        Ok(Arc::new(Segment::new(id, slot, file)))
    }

    /// Puts a segment into the table. The structure's lock must be held.
    pub(crate) fn publish(&self, segment: &Arc<Segment<S::File>>) {
        let mut table = Table::clone(&self.table.load());
        table.insert(Arc::clone(segment));
        self.table.store(Arc::new(table));
    }

    /// Takes segments that no entry of the keydir points into out of the table. The structure's lock must be held.
    pub(crate) fn withdraw(&self, segments: &[Arc<Segment<S::File>>]) {
        let mut table = Table::clone(&self.table.load());
        for segment in segments {
            table.remove(segment.slot);
        }
        self.table.store(Arc::new(table));
    }

    /// Removes data files that were created and are not to be used after all.
    pub(crate) fn discard(&self, ids: &[FileId]) {
        // After a failure in the middle of it, the manifest may name them or not.
        if self.check().is_ok() {
            for id in ids {
                self.remove(*id);
            }
        }
    }

    /// Removes the files of a segment that the manifest does not name any more. What cannot be removed is an orphan, and goes when the store is next opened.
    pub(crate) fn remove(&self, id: FileId) {
        for kind in [FileKind::Hint, FileKind::Data] {
            let _ = self.storage.remove(&kind.path(&self.dir, id));
        }
    }

    /// Says which file is being written from now on.
    pub(crate) fn activate(&self, id: FileId) {
        self.active_id.store(id.0, Ordering::Relaxed);
    }
}
