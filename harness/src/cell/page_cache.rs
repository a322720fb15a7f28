//! The page cache under a store: how much of the store is in memory, and dropping it without privileges.
//!
//! 1. [`drop_pages`] writes every file back (fsync: dirty pages cannot be dropped), then advises the kernel that its pages are not needed
//!    (`posix_fadvise`, `POSIX_FADV_DONTNEED`).
//! 2. The kernel may keep pages that are mapped, locked or being written, and file systems that live in memory keep all. So nothing is believed:
//!    [`residency`] asks for each page (`mincore` on a mapping that is never touched).
//!
//! What stays cached are the file system's own structures: names, inodes and the places of blocks. A store that is opened after a reboot reads those as well.
//!
//! The store must be closed: pages that a process has mapped stay.

#![allow(unsafe_code, reason = "mincore has no safe wrapper; the block states its invariants")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::Advice;

use crate::failure::{Failure, Result};

/// Bytes of a file that are looked at in one go; a multiple of every page size.
const WINDOW_BYTES: u64 = 256 << 20;

/// How much of a store is in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Residency {
    /// Bytes of its pages in the page cache.
    pub(crate) resident_bytes: u64,
    /// Bytes of its files that take up blocks: holes can be in memory, but nothing is read for them.
    pub(crate) store_bytes: u64,
}

impl Residency {
    /// Share of the store that is in memory, from 0 to 1; none of an empty store.
    pub(crate) fn share(self) -> Option<f64> {
        let share = self.resident_bytes as f64 / self.store_bytes as f64;
        (self.store_bytes > 0).then(|| share.min(1.0))
    }
}

/// Writes back and drops the pages of all files below `dir`, and tells what stayed nevertheless.
///
/// # Errors
/// If a file cannot be opened, written back or mapped.
pub(crate) fn drop_pages(dir: &Path) -> Result<Residency> {
    for_each_file(dir, &mut |file, _| {
        rustix::fs::fsync(file)?;
        // Offset 0 and no length: the whole file.
        rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?;
        Ok(())
    })?;
    residency(dir)
}

/// Looks which pages of the files below `dir` are in memory, without touching them. Takes about a microsecond a mebibyte.
///
/// # Errors
/// If a file cannot be opened or mapped.
pub(crate) fn residency(dir: &Path) -> Result<Residency> {
    let mut found = Residency::default();
    for_each_file(dir, &mut |file, metadata| {
        found.store_bytes += metadata.len().min(metadata.blocks() * 512);
        found.resident_bytes += resident_bytes(file, metadata.len())?;
        Ok(())
    })?;
    Ok(found)
}

/// Visits the plain files below a folder; links are not followed.
fn for_each_file(
    dir: &Path,
    visit: &mut dyn FnMut(&File, &fs::Metadata) -> io::Result<()>,
) -> Result<()> {
    let entries = fs::read_dir(dir).map_err(Failure::io("list", dir))?;
    for entry in entries {
        let entry = entry.map_err(Failure::io("list", dir))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(Failure::io("look at", &path))?;
        if kind.is_dir() {
            for_each_file(&path, visit)?;
        } else if kind.is_file() {
            let mut look = || {
                let file = File::open(&path)?;
                let metadata = file.metadata()?;
                visit(&file, &metadata)
            };
            look().map_err(Failure::io("look at the page cache of", &path))?;
        }
    }
    Ok(())
}

/// Bytes of a file of `length` bytes that are in memory; the last page counts only up to the file's end.
fn resident_bytes(file: &File, length: u64) -> io::Result<u64> {
    let page_bytes = rustix::param::page_size() as u64;
    let mut pages = Vec::new();
    let mut resident = 0;
    let mut offset = 0;
    while offset < length {
        let window = (length - offset).min(WINDOW_BYTES);
        let mapping =
            MmapOptions::new().offset(offset).len(window as usize).map_raw_read_only(file)?;
        in_memory(&mapping, &mut pages)?;
        for (index, page) in pages.iter().enumerate() {
            // The lowest bit says whether the page is there; the others are reserved.
            if page & 1 == 1 {
                resident += page_bytes.min(window - index as u64 * page_bytes);
            }
        }
        offset += window;
    }
    Ok(resident)
}

/// Fills `pages` with a byte a page of the mapping, as mincore(2) tells.
fn in_memory(mapping: &MmapRaw, pages: &mut Vec<u8>) -> io::Result<()> {
    let page_bytes = rustix::param::page_size();
    pages.clear();
    pages.resize(mapping.len().div_ceil(page_bytes), 0);
    // SAFETY: the mapping begins at a page, because its offset is a multiple of the page size, and lives until the end of this function; `pages` has a
    // byte for each of its pages. The kernel writes to `pages` alone, and nobody reads or writes the mapped memory.
    let status =
        unsafe { libc::mincore(mapping.as_mut_ptr().cast(), mapping.len(), pages.as_mut_ptr()) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_pages_are_gone_and_read_pages_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("below");
        fs::create_dir(&below).unwrap();
        let length = (8 << 20) + 100;
        fs::write(below.join("data"), vec![7; length]).unwrap();
        fs::write(dir.path().join("empty"), b"").unwrap();
        let written = residency(dir.path()).unwrap();
        assert!(written.share().unwrap() > 0.95, "{written:?}");
        let dropped = drop_pages(dir.path()).unwrap();
        assert_eq!(dropped.store_bytes, length as u64);
        if dropped.resident_bytes == dropped.store_bytes {
            eprintln!("skipped: the file system of {} keeps its pages", dir.path().display());
            return;
        }
        assert!(dropped.share().unwrap() < 0.05, "{dropped:?}");
        assert_eq!(fs::read(below.join("data")).unwrap().len(), length);
        assert!(residency(dir.path()).unwrap().share().unwrap() > 0.95);
    }

    #[test]
    fn an_empty_store_has_no_share() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(drop_pages(dir.path()).unwrap().share(), None);
    }
}
