//! The folder in which stores live while they are measured.
//!
//! A folder belongs to one run at a time: `kvdyno.lock` in it is locked, and marks it as ours. Everything that a run makes lies in `stores/` below
//! it, and nothing else is ever removed. A folder that holds other people's files is refused. Stores that are to be kept lie in `kept-<run>/` instead, which
//! no later run touches.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;

use crate::failure::{Failure, Result};

const LOCK: &str = "kvdyno.lock";
const STORES: &str = "stores";
/// What the lock file begins with; a file of the same name without it is not ours.
const MARK: &str = "kvdyno: ";
/// Folders that are made under the system's temporary folder begin with this.
const TEMPORARY_PREFIX: &str = "kvdyno-stores-";

/// The folder of a run's stores; removed with all that is in `stores/` when dropped.
#[derive(Debug)]
pub(crate) struct Stores {
    root: PathBuf,
    lock: File,
    /// Where the run's stores lie, below `root`.
    dir: PathBuf,
    /// Stores stay where they are.
    keep: bool,
    /// The folder was not there before, and goes with the run.
    made: bool,
}

impl Stores {
    /// Takes `dir`, or a fresh folder under the system's temporary folder.
    ///
    /// # Errors
    /// If another run is using the folder, it holds other people's files, or cannot be written.
    pub(crate) fn take(dir: Option<&Path>, kept_for: Option<&str>) -> Result<Self> {
        let Some(dir) = dir else {
            remove_left_behind(&std::env::temp_dir());
            let temporary = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempdir();
            let root =
                temporary.map_err(Failure::io("create a folder in", &std::env::temp_dir()))?.keep();
            return Self::lock(root, true, kept_for);
        };
        let made = !dir.exists();
        let unusable =
            |failure: Failure| Failure::usage(format!("--dir {}: {failure}", dir.display()));
        fs::create_dir_all(dir).map_err(Failure::io("create the folder", dir)).map_err(unusable)?;
        let mut entries = fs::read_dir(dir).map_err(Failure::io("list", dir)).map_err(unusable)?;
        if entries.next().is_some() && !is_marked(dir) {
            return Err(Failure::usage(format!(
                "--dir {} holds files that kvdyno did not make: choose an empty or a new folder",
                dir.display()
            )));
        }
        Self::lock(dir.to_owned(), made, kept_for)
    }

    fn lock(root: PathBuf, made: bool, kept_for: Option<&str>) -> Result<Self> {
        let path = root.join(LOCK);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        // A link would lead to somebody else's file.
        let file =
            options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()).open(&path);
        let mut lock = file.map_err(|error| {
            Failure::usage(format!("--dir {}: cannot write to it: {error}", root.display()))
        })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = lock.read_to_string(&mut owner);
                return Err(Failure::failed(format!(
                    "{} is in use by another run of kvdyno ({}): wait for it, or choose another --dir",
                    root.display(),
                    owner.trim_start_matches(MARK).trim()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(Failure::io("lock", &path)(error)),
        }
        let mut note = || -> io::Result<()> {
            lock.set_len(0)?;
            write!(lock, "{MARK}process {}", std::process::id())
        };
        note().map_err(Failure::io("write", &path))?;
        // What another run has left behind goes; what one was told to keep has another name.
        let _ = fs::remove_dir_all(root.join(STORES));
        let dir = root.join(kept_for.map_or_else(|| STORES.into(), |run| format!("kept-{run}")));
        fs::create_dir_all(&dir).map_err(Failure::io("create the folder", &dir))?;
        let stores = Self { root, lock, dir, keep: kept_for.is_some(), made };
        Ok(stores)
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A new, empty store.
    pub(crate) fn create(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).map_err(Failure::io("create the folder", &path))?;
        Ok(path)
    }

    /// A copy of a closed store, written back to the device.
    pub(crate) fn copy(&self, template: &Path, name: &str) -> Result<PathBuf> {
        let path = self.create(name)?;
        copy_dir(template, &path).map_err(Failure::io("copy the store to", &path))?;
        let synced = File::open(&path).and_then(|dir| rustix::fs::syncfs(&dir).map_err(Into::into));
        synced.map_err(Failure::io("write back", &path))?;
        Ok(path)
    }

    /// The cells that need a store are done with it: removes it, unless stores are kept.
    pub(crate) fn remove(&self, store: &Path) {
        if !self.keep {
            self.discard(store);
        }
    }

    /// Where stores are kept, if they are.
    pub(crate) fn kept(&self) -> Option<&Path> {
        self.keep.then_some(self.dir.as_path())
    }

    /// Removes a store that nobody wants to keep.
    pub(crate) fn discard(&self, store: &Path) {
        debug_assert!(
            store.starts_with(&self.dir),
            "only what lies in the run's own folder is removed"
        );
        let _ = fs::remove_dir_all(store);
    }

    /// Bytes that can still be written.
    pub(crate) fn available_bytes(&self) -> Result<u64> {
        let status = rustix::fs::statvfs(&self.root);
        let status =
            status.map_err(|error| Failure::io("ask for the room on", &self.root)(error.into()))?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }
}

impl Drop for Stores {
    fn drop(&mut self) {
        if self.keep {
            // The lock file stays as well: it marks the folder as ours.
            let _ = self.lock.unlock();
            return;
        }
        let _ = fs::remove_dir_all(&self.dir);
        let kept = fs::read_dir(&self.root).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("kept-"))
        });
        if !kept {
            let _ = fs::remove_file(self.root.join(LOCK));
        }
        let _ = self.lock.unlock();
        if self.made {
            // Only if nobody else has put something there meanwhile.
            let _ = fs::remove_dir(&self.root);
        }
    }
}

/// Whether a folder is one of ours.
fn is_marked(dir: &Path) -> bool {
    let path = dir.join(LOCK);
    let is_file = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file());
    is_file && fs::read_to_string(&path).is_ok_and(|text| text.starts_with(MARK))
}

/// Removes folders of runs that were killed: ours by their name and lock file, and locked by nobody.
fn remove_left_behind(temporary: &Path) {
    let Ok(entries) = fs::read_dir(temporary) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let ours =
            entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) && is_marked(&path);
        let Some(lock) = ours.then(|| File::open(path.join(LOCK)).ok()).flatten() else { continue };
        if lock.try_lock().is_ok() {
            let _ = fs::remove_dir_all(path.join(STORES));
            let _ = fs::remove_file(path.join(LOCK));
            let _ = fs::remove_dir(&path);
        }
    }
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy_dir(&entry.path(), &target)?;
        } else {
            copy_file(&entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Copies a file: shares its blocks where the file system can, else copies what is not a hole.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let target = OpenOptions::new().write(true).create_new(true).open(to)?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    let metadata = source.metadata()?;
    target.set_len(metadata.len())?;
    if metadata.blocks() == 0 {
        return Ok(());
    }
    let mut at = 0;
    // ENXIO: nothing but a hole until the end.
    while let Ok(data) = rustix::fs::seek(&source, SeekFrom::Data(at)) {
        let hole = rustix::fs::seek(&source, SeekFrom::Hole(data))?;
        let (mut read_at, mut write_at) = (data, data);
        while read_at < hole {
            let length = (hole - read_at) as usize;
            let copied = rustix::fs::copy_file_range(
                &source,
                Some(&mut read_at),
                &target,
                Some(&mut write_at),
                length,
            )?;
            if copied == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file became shorter while it was copied",
                ));
            }
        }
        at = hole;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_holes_and_content() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let mut file = File::create(&from).unwrap();
        file.write_all(b"head").unwrap();
        rustix::fs::seek(&file, SeekFrom::Start(64 << 20)).unwrap();
        file.write_all(b"tail").unwrap();
        file.set_len(128 << 20).unwrap();
        drop(file);
        copy_file(&from, &to).unwrap();
        assert_eq!(fs::read(&from).unwrap(), fs::read(&to).unwrap());
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 1 << 20, "the holes were filled");
    }

    #[test]
    fn other_peoples_files_are_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = dir.path().join("theirs");
        fs::write(&theirs, b"precious").unwrap();
        let failure = Stores::take(Some(dir.path()), None).unwrap_err();
        assert_eq!(failure.status, crate::failure::ExitStatus::Usage);
        assert_eq!(fs::read(&theirs).unwrap(), b"precious");
    }

    #[test]
    fn a_folder_serves_one_run_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Stores::take(Some(dir.path()), None).unwrap();
        let store = first.create("a").unwrap();
        fs::write(store.join("data"), b"x").unwrap();
        let failure = Stores::take(Some(dir.path()), None).unwrap_err();
        assert!(failure.message.contains("in use by another run"), "{failure}");
        assert!(store.join("data").exists(), "the second run touched the first one's store");
        drop(first);
        assert!(Stores::take(Some(dir.path()), None).is_ok());
    }
}
