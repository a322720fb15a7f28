//! The simulated disk as a [`Storage`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{SimulatedAppender, SimulatedFile};
use super::image::{Change, Content};
use super::{Fault, NameChange, Outcome, SimulatedDisk, State, SyncFailure, disk_full, refused};
use crate::storage::{DirEntry, File, Storage};
use crate::{Error, Result};

/// A lock of a [`SimulatedDisk`].
#[derive(Debug)]
pub struct SimulatedLock {
    disk: SimulatedDisk,
    path: PathBuf,
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.disk.state.lock().locks.remove(&self.path);
    }
}

impl Storage for SimulatedDisk {
    type File = SimulatedFile;
    type Appender = SimulatedAppender;
    type Lock = SimulatedLock;

    fn create_dir(&self, path: &Path) -> Result<()> {
        let mut state = self.powered()?;
        if !state.folders.contains(path) {
            if state.names.contains_key(path) {
                return Err(refused("create the folder", path, io::ErrorKind::AlreadyExists));
            }
            state.begin("create the folder", path, "")?.number()?;
            state.folders.extend(path.ancestors().map(Path::to_owned));
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        let state = self.powered()?;
        if !state.folders.contains(dir) {
            return Err(refused("list", dir, io::ErrorKind::NotFound));
        }
        let inside = |path: &&PathBuf| path.parent() == Some(dir);
        let name =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folders = state.folders.iter().filter(inside);
        let folders = folders.map(|path| DirEntry { name: name(path), is_file: false, len: 0 });
        let files = state.names.iter().filter(|(path, _)| inside(path));
        let files = files.map(|(path, inode)| DirEntry {
            name: name(path),
            is_file: true,
            len: inode.content.lock().current.len(),
        });
        let mut entries: Vec<_> = folders.chain(files).collect();
        entries.sort();
        Ok(entries)
    }

    fn create(&self, path: &Path, capacity: Option<u64>) -> Result<SimulatedAppender> {
        let mut state = self.powered()?;
        state.free("create", path)?;
        let number = state.begin("create", path, "")?.number()?;
        if !state.has_room(capacity.unwrap_or(0)) {
            return Err(disk_full("set room aside for", path));
        }
        let mut content = Content { buffered: capacity.is_none(), ..Content::default() };
        if let Some(capacity) = capacity {
            content.apply(number, Change::SetLen(capacity));
        }
        let inode = state.inode(content);
        let created = NameChange::Create { path: path.to_owned(), inode: Arc::clone(&inode) };
        state.change_names(number, created);
        drop(state);
        Ok(SimulatedAppender::new(SimulatedFile::new(self, path, inode, 0), capacity))
    }

    fn open(&self, path: &Path) -> Result<SimulatedFile> {
        let inode = self.powered()?.file("open", path)?;
        let len = inode.content.lock().current.len();
        Ok(SimulatedFile::new(self, path, inode, len))
    }

    fn open_copy(&self, path: &Path) -> Result<SimulatedFile> {
        let mut state = self.powered()?;
        let image = state.file("open", path)?.content.lock().current.clone();
        let len = image.len();
        let content = Content { current: image.clone(), durable: image, ..Content::default() };
        let inode = state.inode(content);
        drop(state);
        Ok(SimulatedFile::new(self, path, inode, len))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.powered()?;
        let inode = state.file("link", from)?;
        state.free("link", to)?;
        let number = state.begin("link", from, &format!(" to {}", to.display()))?.number()?;
        state.change_names(number, NameChange::Create { path: to.to_owned(), inode });
        Ok(())
    }

    /// Always the same number, as everything here must be repeatable.
    fn entropy(&self) -> u64 {
        0x6b76_6479_6e6f
    }

    /// So little that every store is larger: what reads cost then is the path that needs testing.
    fn memory_bytes(&self) -> u64 {
        0
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<()> {
        let mut state = self.powered()?;
        let inode = state.file("truncate", path)?;
        assert!(!inode.is_open(), "{} is truncated while it is open", path.display());
        let number = state.begin("truncate", path, &format!(" to {len}"))?.number()?;
        inode.content.lock().apply(number, Change::SetLen(len));
        drop(state);
        SimulatedFile::new(self, path, inode, len).sync()
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        assert_eq!(from.parent(), to.parent(), "files are renamed within their folder");
        let mut state = self.powered()?;
        let inode = state.file("rename", from)?;
        if state.folders.contains(to) {
            return Err(refused("rename", from, io::ErrorKind::IsADirectory));
        }
        let number = state.begin("rename", from, &format!(" to {}", to.display()))?.number()?;
        let (from, to) = (from.to_owned(), to.to_owned());
        state.change_names(number, NameChange::Rename { from, to, inode });
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let mut state = self.powered()?;
        let inode = state.file("remove", path)?;
        let number = state.begin("remove", path, "")?.number()?;
        state.change_names(number, NameChange::Remove { path: path.to_owned(), inode });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let mut state = self.powered()?;
        if !state.folders.contains(dir) {
            return Err(refused("sync the folder", dir, io::ErrorKind::NotFound));
        }
        let outcome = state.begin("sync the folder", dir, "")?;
        let state = &mut *state;
        let inside = |(_, change): &mut (u64, NameChange)| change.folder() == Some(dir);
        match outcome {
            Outcome::Done(_) => {
                for (_, change) in state.pending_names.extract_if(.., inside) {
                    change.apply(&mut state.durable_names);
                }
                Ok(())
            }
            Outcome::Fails(Fault::Interrupted, error) => Err(error),
            Outcome::Fails(_, error) => {
                // The changes are dropped, as they are for the content of a file.
                state.pending_names.retain_mut(|change| !inside(change));
                if state.sync_failure == SyncFailure::Reverted {
                    let elsewhere = |path: &PathBuf, _: &mut _| path.parent() != Some(dir);
                    state.names.retain(elsewhere);
                    let stored = state.durable_names.iter();
                    let stored = stored.filter(|(path, _)| path.parent() == Some(dir));
                    let stored = stored.map(|(path, inode)| (path.clone(), Arc::clone(inode)));
                    state.names.extend(stored);
                }
                Err(error)
            }
        }
    }

    fn lock(&self, path: &Path) -> Result<SimulatedLock> {
        let mut state = self.powered()?;
        if state.locks.contains(path) {
            return Err(Error::Locked { path: path.to_owned() });
        }
        if !state.names.contains_key(path) {
            state.free("open the lock file", path)?;
            let number = state.begin("create", path, "")?.number()?;
            let inode = state.inode(Content::default());
            state.change_names(number, NameChange::Create { path: path.to_owned(), inode });
        }
        state.locks.insert(path.to_owned());
        drop(state);
        Ok(SimulatedLock { disk: self.clone(), path: path.to_owned() })
    }
}

impl State {
    /// Whether a file can be created there.
    fn free(&self, operation: &'static str, path: &Path) -> Result<()> {
        if self.names.contains_key(path) || self.folders.contains(path) {
            return Err(refused(operation, path, io::ErrorKind::AlreadyExists));
        }
        if !path.parent().is_some_and(|parent| self.folders.contains(parent)) {
            return Err(refused(operation, path, io::ErrorKind::NotFound));
        }
        Ok(())
    }

    fn change_names(&mut self, number: u64, change: NameChange) {
        change.clone().apply(&mut self.names);
        self.pending_names.push((number, change));
    }
}
