//! A storage with a bug: what a careless engine would do wrong with its files, done by the storage below a careful one.
//!
//! Whatever the tests ask of an engine, they must find each of these bugs: see [`crate::teeth`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvdyno_engines::Result;
use kvdyno_engines::log::frame::{HEADER_BYTES, Header};
use kvdyno_engines::storage::simulated::SimulatedAppender;
use kvdyno_engines::storage::{Appender, DirEntry, File, SimulatedDisk, Storage};
use parking_lot::Mutex;

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// Logs and data files are not synced.
    SkipsLogSync,
    /// Files that are written in one go, but for manifests, are not synced: what merges and flushes write.
    SkipsOutputSync,
    /// Manifests are not synced.
    SkipsManifestSync,
    /// Every second sync of a file is left out.
    SkipsEverySecondSync,
    /// The folder is not synced after a file was created.
    SkipsFolderSyncAfterCreate,
    /// The folder is not synced after a file was renamed.
    SkipsFolderSyncAfterRename,
    /// A file is renamed before it is synced.
    RenamesBeforeSync,
    /// Files are removed before the manifest that does without them takes its name.
    RemovesBeforeRename,
    /// A new manifest does not take the place of the old one.
    LosesReplacement,
    /// A sync covers the first half of the file.
    SyncsHalf,
    /// A sync returns before it is done: it is done by the next one.
    SyncsLate,
    /// The file that was created last is synced, whichever is meant.
    SyncsTheNewestFile,
    /// A sync that fails is tried again.
    RetriesFailedSync,
    /// A folder whose sync fails is taken for synced.
    IgnoresFailedFolderSync,
    /// The last appends to a log lie in a buffer of the process.
    BuffersAppends,
    /// An append that fails is taken for done.
    IgnoresFailedAppend,
    /// The end of a file is cut off with the room that was set aside.
    FinishesShort,
    /// The lock locks nobody out.
    SharesTheLock,
    /// A removed file stays.
    RemovesNothing,
    /// What an earlier process has written is not written again before it is synced.
    SkipsRewrite,
    /// Nobody verifies the checksums of frames: what is read comes with one that fits.
    SkipsFrameChecksums,
    /// Nobody verifies the checksum of the manifest.
    SkipsManifestChecksum,
    /// Nobody verifies the checksums of hints.
    SkipsHintChecksums,
    /// Nobody verifies the checksum of an index that was written down.
    SkipsKeydirChecksum,
}

impl Bug {
    /// All but [`Bug::SkipsRewrite`], which shows only after a sync has failed.
    pub(crate) const ALL: [Self; 23] = [
        Self::SkipsLogSync,
        Self::SkipsOutputSync,
        Self::SkipsManifestSync,
        Self::SkipsEverySecondSync,
        Self::SkipsFolderSyncAfterCreate,
        Self::SkipsFolderSyncAfterRename,
        Self::RenamesBeforeSync,
        Self::RemovesBeforeRename,
        Self::LosesReplacement,
        Self::SyncsHalf,
        Self::SyncsLate,
        Self::SyncsTheNewestFile,
        Self::RetriesFailedSync,
        Self::IgnoresFailedFolderSync,
        Self::BuffersAppends,
        Self::IgnoresFailedAppend,
        Self::FinishesShort,
        Self::SharesTheLock,
        Self::RemovesNothing,
        Self::SkipsFrameChecksums,
        Self::SkipsManifestChecksum,
        Self::SkipsHintChecksums,
        Self::SkipsKeydirChecksum,
    ];

    /// Whether only an engine can have it that replaces its manifest as a whole, and has such files with one checksum for all that is in them.
    pub(crate) fn needs_rename(self) -> bool {
        matches!(
            self,
            Self::SkipsFolderSyncAfterRename
                | Self::RenamesBeforeSync
                | Self::RemovesBeforeRename
                | Self::LosesReplacement
        ) || self.skips_checksum_of().is_some()
    }

    /// What is in the names of the files whose checksums, one for all that is in a file, are not verified.
    fn skips_checksum_of(self) -> Option<&'static str> {
        match self {
            Self::SkipsManifestChecksum => Some("manifest"),
            Self::SkipsHintChecksums => Some("hint"),
            Self::SkipsKeydirChecksum => Some("keydir"),
            _ => None,
        }
    }
}

/// Syncs of folders, each told by the folder and by the files that had been created in it, or had got their names, since it was synced last.
pub(crate) type FolderSyncs = Arc<Mutex<BTreeSet<String>>>;

/// A simulated disk with a bug.
#[derive(Clone)]
pub(crate) struct Sloppy {
    disk: SimulatedDisk,
    bug: Bug,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Those that there were, or that were left out.
    folder_syncs: FolderSyncs,
    /// The one that is left out.
    without: Option<String>,
    /// What has been created and renamed since the last sync of a folder.
    changes: Mutex<BTreeSet<String>>,
    syncs: AtomicU64,
    /// What the next sync of the folder comes after.
    last_change: Mutex<Option<Change>>,
    /// A renaming that waits.
    renaming: Mutex<Option<(PathBuf, PathBuf)>>,
    newest: Mutex<Option<PathBuf>>,
    /// A file whose sync waits.
    unsynced: Mutex<Option<PathBuf>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Create,
    Rename,
    Remove,
}

/// What a file is, by its name and how it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Log,
    Manifest,
    Output,
}

impl Sloppy {
    pub(crate) fn new(disk: SimulatedDisk, bug: Bug) -> Self {
        Self { disk, bug, state: Arc::default() }
    }

    /// A storage that notes the syncs of folders in `folder_syncs`; with no other bug than that it leaves one of them out, `without`, whenever it comes.
    pub(crate) fn noting(
        disk: SimulatedDisk,
        folder_syncs: &FolderSyncs,
        without: Option<&str>,
    ) -> Self {
        let (folder_syncs, without) = (Arc::clone(folder_syncs), without.map(str::to_owned));
        let state = State { folder_syncs, without, ..State::default() };
        Self { disk, bug: Bug::None, state: Arc::new(state) }
    }

    fn file(&self, file: <SimulatedDisk as Storage>::File, role: Role) -> SloppyFile {
        SloppyFile { storage: self.clone(), file, role, tail: Arc::default() }
    }

    fn note(&self, change: Change, path: &Path) {
        *self.state.last_change.lock() = Some(change);
        let verb = match change {
            Change::Create => "create",
            Change::Rename => "rename",
            Change::Remove => return,
        };
        // A temporary name is nobody's loss.
        if !is(path, ".tmp") {
            self.state.changes.lock().insert(format!("{verb} {}", kind(path)));
        }
    }

    /// Does what was put off.
    fn catch_up(&self) -> Result<()> {
        match self.state.renaming.lock().take() {
            Some((from, to)) => self.disk.rename(&from, &to),
            None => Ok(()),
        }
    }
}

/// A file's name, or its extension alone where the name is a number.
fn kind(path: &Path) -> String {
    let has_number = path
        .file_stem()
        .is_some_and(|stem| stem.to_string_lossy().bytes().all(|byte| byte.is_ascii_hexdigit()));
    let kind = if has_number { path.extension() } else { path.file_name() };
    kind.unwrap_or_default().to_string_lossy().into_owned()
}

fn is(path: &Path, kind: &str) -> bool {
    path.to_string_lossy().to_lowercase().contains(kind)
}

fn role(path: &Path, capacity: Option<u64>) -> Role {
    match capacity {
        _ if is(path, "manifest") => Role::Manifest,
        Some(_) => Role::Log,
        None => Role::Output,
    }
}

impl Storage for Sloppy {
    type File = SloppyFile;
    type Appender = SloppyAppender;
    type Lock = Option<<SimulatedDisk as Storage>::Lock>;

    fn create_dir(&self, path: &Path) -> Result<()> {
        self.disk.create_dir(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        self.catch_up()?;
        self.disk.list(dir)
    }

    fn create(&self, path: &Path, capacity: Option<u64>) -> Result<SloppyAppender> {
        self.catch_up()?;
        let appender = self.disk.create(path, capacity)?;
        self.note(Change::Create, path);
        *self.state.newest.lock() = Some(path.to_owned());
        let role = role(path, capacity);
        let file = capacity.map(|_| self.file(appender.file(), role));
        let tail = file.as_ref().map_or_else(Arc::default, |file| Arc::clone(&file.tail));
        tail.lock().appender = Some(appender);
        Ok(SloppyAppender { storage: self.clone(), path: path.to_owned(), tail, file, role })
    }

    fn open(&self, path: &Path) -> Result<SloppyFile> {
        self.catch_up()?;
        Ok(self.file(self.disk.open(path)?, role(path, Some(0))))
    }

    fn open_copy(&self, path: &Path) -> Result<SloppyFile> {
        self.catch_up()?;
        Ok(self.file(self.disk.open_copy(path)?, role(path, Some(0))))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.catch_up()?;
        self.disk.link(from, to)
    }

    fn entropy(&self) -> u64 {
        self.disk.entropy()
    }

    fn memory_bytes(&self) -> u64 {
        self.disk.memory_bytes()
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<()> {
        self.disk.truncate(path, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.note(Change::Rename, to);
        match self.bug {
            Bug::RemovesBeforeRename => {
                *self.state.renaming.lock() = Some((from.to_owned(), to.to_owned()));
                Ok(())
            }
            Bug::LosesReplacement if self.disk.files().contains_key(to) => self.disk.remove(from),
            Bug::RenamesBeforeSync => {
                self.disk.rename(from, to)?;
                self.disk.sync_dir(to.parent().unwrap_or(to))?;
                self.disk.open(to)?.sync()
            }
            _ => self.disk.rename(from, to),
        }
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.note(Change::Remove, path);
        if self.bug == Bug::RemovesNothing && self.disk.files().contains_key(path) {
            return Ok(());
        }
        self.disk.remove(path)?;
        self.catch_up()
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let last = self.state.last_change.lock().take();
        let changes = std::mem::take(&mut *self.state.changes.lock());
        let changes: Vec<_> = changes.iter().map(String::as_str).collect();
        let sync = format!("{}: {}", dir.display(), changes.join(", "));
        let is_left_out = self.state.without.as_ref() == Some(&sync);
        self.state.folder_syncs.lock().insert(sync);
        if is_left_out {
            return Ok(());
        }
        match self.bug {
            Bug::SkipsFolderSyncAfterCreate if last == Some(Change::Create) => Ok(()),
            Bug::SkipsFolderSyncAfterRename if last == Some(Change::Rename) => Ok(()),
            Bug::IgnoresFailedFolderSync => {
                let outcome = self.disk.sync_dir(dir);
                if self.disk.is_off() { outcome } else { Ok(()) }
            }
            _ => self.disk.sync_dir(dir),
        }
    }

    fn lock(&self, path: &Path) -> Result<Self::Lock> {
        if self.bug == Bug::SharesTheLock {
            return Ok(self.disk.lock(path).ok());
        }
        self.disk.lock(path).map(Some)
    }
}

/// The end of a file that is being written.
#[derive(Default)]
struct Tail {
    appender: Option<SimulatedAppender>,
    /// What was appended and is not in the file yet.
    held_back: Vec<u8>,
}

impl Tail {
    fn appender(&mut self) -> &mut SimulatedAppender {
        self.appender.as_mut().expect("the file is being written")
    }

    fn flush(&mut self) -> Result<()> {
        let bytes = std::mem::take(&mut self.held_back);
        if bytes.is_empty() { Ok(()) } else { self.appender().append(&[&bytes]).map(drop) }
    }
}

/// A file of a [`Sloppy`] storage.
#[derive(Clone)]
pub(crate) struct SloppyFile {
    storage: Sloppy,
    file: <SimulatedDisk as Storage>::File,
    role: Role,
    tail: Arc<Mutex<Tail>>,
}

impl File for SloppyFile {
    type Bytes<'a> = Vec<u8>;

    fn path(&self) -> &Path {
        self.file.path()
    }

    fn len(&self) -> u64 {
        self.file.len() + self.tail.lock().held_back.len() as u64
    }

    fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = self.read_as_stored(offset, len)?;
        let bug = self.storage.bug;
        if bug == Bug::SkipsFrameChecksums {
            self.mend_frame(offset, &mut bytes);
        }
        let is_whole = offset == 0 && len as u64 == self.file.len();
        if is_whole && bug.skips_checksum_of().is_some_and(|kind| is(self.path(), kind)) {
            mend_file(&mut bytes);
        }
        Ok(bytes)
    }

    fn sync(&self) -> Result<()> {
        let Sloppy { disk, bug, state } = &self.storage;
        if disk.is_off() {
            return self.file.sync();
        }
        self.tail.lock().flush()?;
        let number = state.syncs.fetch_add(1, Ordering::Relaxed);
        let sync_at = |path: Option<PathBuf>| match path.and_then(|path| disk.open(&path).ok()) {
            Some(file) => file.sync(),
            None => Ok(()),
        };
        match bug {
            Bug::SkipsLogSync if self.role == Role::Log => Ok(()),
            Bug::SkipsOutputSync if self.role == Role::Output => Ok(()),
            Bug::SkipsManifestSync | Bug::RenamesBeforeSync if self.role == Role::Manifest => {
                Ok(())
            }
            Bug::SkipsEverySecondSync if number % 2 == 1 => Ok(()),
            Bug::SyncsHalf => disk.sync_first(self.path(), self.len() / 2),
            Bug::SyncsLate => sync_at(state.unsynced.lock().replace(self.path().to_owned())),
            Bug::SyncsTheNewestFile => sync_at(state.newest.lock().clone()),
            Bug::RetriesFailedSync => self.file.sync().or_else(|_| self.file.sync()),
            _ => self.file.sync(),
        }
    }

    fn rewrite(&self, offset: u64, len: u64) -> Result<()> {
        if self.storage.bug == Bug::SkipsRewrite {
            return Ok(());
        }
        self.file.rewrite(offset, len)
    }
}

impl SloppyFile {
    fn read_as_stored(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let held_back = &self.tail.lock().held_back;
        let stored = self.file.len();
        match offset.checked_add(len as u64) {
            Some(end) if end > stored && end <= stored + held_back.len() as u64 => {
                let mut bytes = Vec::new();
                if offset < stored {
                    bytes = self.file.read(offset, (stored - offset) as usize)?;
                }
                let from = offset.saturating_sub(stored) as usize;
                bytes.extend_from_slice(&held_back[from..(end - stored) as usize]);
                Ok(bytes)
            }
            _ => self.file.read(offset, len),
        }
    }

    /// If a frame begins here, gives it a checksum that fits: as if nobody verified it.
    fn mend_frame(&self, offset: u64, bytes: &mut [u8]) {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return };
        let header = Header::decode(header);
        let frame_bytes = HEADER_BYTES + header.payload_bytes as usize;
        let stem = self.path().file_stem().and_then(|stem| stem.to_str());
        let Some(number) = stem.and_then(|stem| stem.parse().ok()) else { return };
        let Ok(frame) = self.read_as_stored(offset, frame_bytes) else { return };
        let covered = if header.checked { frame_bytes } else { HEADER_BYTES };
        let mut crc = crc32fast::Hasher::new_with_initial(number);
        crc.update(&frame[4..covered]);
        bytes[..4].copy_from_slice(&crc.finalize().to_le_bytes());
    }
}

/// Gives a file that ends in a checksum over all that comes before one that fits.
fn mend_file(bytes: &mut [u8]) {
    if let Some((body, crc)) = bytes.split_last_chunk_mut::<4>() {
        *crc = crc32fast::hash(body).to_le_bytes();
    }
}

/// A file of a [`Sloppy`] storage that is being written.
pub(crate) struct SloppyAppender {
    storage: Sloppy,
    path: PathBuf,
    tail: Arc<Mutex<Tail>>,
    /// None for a growing file.
    file: Option<SloppyFile>,
    role: Role,
}

impl Appender for SloppyAppender {
    type File = SloppyFile;

    fn file(&self) -> SloppyFile {
        self.file.clone().expect("only logs are read while they are written")
    }

    fn len(&self) -> u64 {
        let mut tail = self.tail.lock();
        tail.held_back.len() as u64 + tail.appender().len()
    }

    fn room(&self) -> u64 {
        let mut tail = self.tail.lock();
        let held_back = tail.held_back.len() as u64;
        tail.appender().room() - held_back
    }

    fn append(&mut self, parts: &[&[u8]]) -> Result<u64> {
        let (start, room) = (self.len(), self.room());
        let mut tail = self.tail.lock();
        match self.storage.bug {
            Bug::BuffersAppends if self.file.is_some() && parts.concat().len() as u64 <= room => {
                tail.held_back.extend(parts.concat());
                if tail.held_back.len() > 500 {
                    tail.flush()?;
                }
                Ok(start)
            }
            Bug::IgnoresFailedAppend => {
                let outcome = tail.appender().append(parts);
                if self.storage.disk.is_off() { outcome } else { Ok(start) }
            }
            _ => tail.appender().append(parts),
        }
    }

    fn finish(self) -> Result<SloppyFile> {
        let Self { storage, path, tail, role, .. } = self;
        tail.lock().flush()?;
        let appender = tail.lock().appender.take().expect("a file is finished once");
        let file = appender.finish()?;
        if storage.bug == Bug::FinishesShort && role == Role::Log {
            let bytes = storage.disk.read_all(&path)?;
            storage.disk.write_all(&path, &bytes[..bytes.len().saturating_sub(8)]);
        }
        Ok(storage.file(file, role))
    }
}
