//! Files that are read by calls.
//!
//! Each takes a descriptor, of which a process has few, and a store may have thousands of files. Half of them are left to whatever else the process opens, logs and tables that are written among it: files beyond that are read through their mappings.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Advice, fadvise};
use rustix::process::{Resource, getrlimit};

/// How many are open in this process.
static OPEN: AtomicU64 = AtomicU64::new(0);

/// A file that is open for reading by calls.
#[derive(Debug)]
pub(super) struct Called {
    file: File,
    open: &'static AtomicU64,
}

impl Called {
    /// Opens the file, of which nothing is read but what is asked for. `None` if that cannot be, or would take too many descriptors.
    pub(super) fn open(path: &Path) -> Option<Self> {
        // No limit is a large one.
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self::open_below(path, &OPEN, limit / 2)
    }

    fn open_below(path: &Path, open: &'static AtomicU64, most: u64) -> Option<Self> {
        if open.fetch_add(1, Ordering::Relaxed) < most
            && let Ok(file) = File::open(path)
        {
            // Advice that is not taken changes no result.
            let _ = fadvise(&file, 0, None, Advice::Random);
            return Some(Self { file, open });
        }
        open.fetch_sub(1, Ordering::Relaxed);
        None
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_opened_than_may_be() {
        static OPEN: AtomicU64 = AtomicU64::new(0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        std::fs::write(&path, "bytes").unwrap();
        let open = |path: &Path| Called::open_below(path, &OPEN, 2);
        assert!(open(&folder.path().join("missing")).is_none());
        let (first, second) = (open(&path), open(&path));
        assert!(first.is_some() && second.is_some() && open(&path).is_none());
        drop(first);
        assert!(open(&path).is_some());
        assert_eq!(OPEN.load(Ordering::Relaxed), 1);
        assert_eq!(second.unwrap().file().metadata().unwrap().len(), 5);
    }
}
