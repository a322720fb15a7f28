//! The manifest: which data files make up the store, in the order of their records' age, and how much of each is known to be safely stored.
//!
//! ```text
//! offset   size  field
//! 0        8     magic: "kvdynoBM"
//! 8        4     version: 2
//! 12       4     the next data file's id
//! 16       8     seed of the hashes
//! 24       4     n, number of data files
//! 28       16·n  data files, oldest first
//! 28+16·n  4     CRC-32 (IEEE) of everything before
//!
//! a data file:
//! 0        4     id
//! 4        4     state: 0 open, 1 sealed
//! 8        8     length in bytes if sealed, else 0
//! ```
//!
//! All integers are little-endian. A *sealed* file is synced up to its length and does not change any more: damage in it is corruption. *Open* files come last; they
//! were being written, or not yet synced, when the manifest was, and end where their frames end.
//!
//! The manifest is replaced as a whole: written under another name, synced, renamed, and the folder synced. The names of the data files that it speaks of are
//! durable before it is renamed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::metrics::Counters;
use super::segment::FileId;
use crate::log::frame::LOG_BYTES_MAX;
use crate::storage::{Appender, File, Storage};
use crate::{Error, Result};

/// Name of the manifest in the store's folder.
pub(crate) const MANIFEST_NAME: &str = "MANIFEST";
/// Name under which a new manifest is written.
pub(crate) const MANIFEST_TEMPORARY_NAME: &str = "MANIFEST.tmp";

const MAGIC: [u8; 8] = *b"kvdynoBM";
const VERSION: u32 = 2;
const VERSION_OFFSET: u64 = 8;
/// Bytes of magic and version.
const COMMON_BYTES: usize = 12;
const COUNT_OFFSET: usize = 24;
const HEADER_BYTES: usize = 28;
const FILE_BYTES: usize = 16;
const CRC_BYTES: usize = 4;

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) next_id: FileId,
    /// Drawn when the store was made, and the same ever since.
    pub(crate) seed: u64,
    pub(crate) files: Vec<ManifestFile>,
}

/// A data file in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ManifestFile {
    pub(crate) id: FileId,
    /// Length if sealed, None if open.
    pub(crate) sealed: Option<u64>,
}

impl Manifest {
    /// That of an empty store.
    pub(crate) fn new(seed: u64) -> Self {
        Self { next_id: FileId(1), seed, files: Vec::new() }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes =
            Vec::with_capacity(HEADER_BYTES + self.files.len() * FILE_BYTES + CRC_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.next_id.0.to_le_bytes());
        bytes.extend_from_slice(&self.seed.to_le_bytes());
        bytes.extend_from_slice(&(self.files.len() as u32).to_le_bytes());
        for file in &self.files {
            bytes.extend_from_slice(&file.id.0.to_le_bytes());
            bytes.extend_from_slice(&u32::from(file.sealed.is_some()).to_le_bytes());
            bytes.extend_from_slice(&file.sealed.unwrap_or(0).to_le_bytes());
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// Takes a manifest apart; on failure says where it is wrong, and how.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, (u64, String)> {
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let is_short = bytes.len() < HEADER_BYTES + CRC_BYTES;
        let too_short = || (0, format!("the manifest has only {} bytes", bytes.len()));
        // Every version has had these: magic, version, and the checksum at the end.
        if bytes.len() < COMMON_BYTES + CRC_BYTES {
            return Err(too_short());
        }
        let body = bytes.len() - CRC_BYTES;
        if bytes[..8] != MAGIC {
            return Err((0, "the file does not begin like a manifest".to_owned()));
        }
        let crc = crc32fast::hash(&bytes[..body]);
        if crc != u32_at(body) {
            let reason =
                format!("the checksum is {crc:08x}, but the manifest says {:08x}", u32_at(body));
            return Err(if is_short { too_short() } else { (body as u64, reason) });
        }
        if u32_at(8) != VERSION {
            return Err((
                VERSION_OFFSET,
                format!("the format's version is {}, expected {VERSION}", u32_at(8)),
            ));
        }
        if is_short {
            return Err(too_short());
        }
        let count = u32_at(COUNT_OFFSET);
        if body - HEADER_BYTES != count as usize * FILE_BYTES {
            return Err((COUNT_OFFSET as u64, format!("{count} files do not fit its length")));
        }
        let (next_id, seed) = (FileId(u32_at(12)), u64_at(16));
        let mut files = Vec::with_capacity((body - HEADER_BYTES) / FILE_BYTES);
        let mut seen = HashSet::new();
        let mut open = false;
        for at in (HEADER_BYTES..body).step_by(FILE_BYTES) {
            let id = FileId(u32_at(at));
            let sealed = match (u32_at(at + 4), u64_at(at + 8)) {
                (0, 0) => None,
                (1, len) if len <= LOG_BYTES_MAX => Some(len),
                (state, len) => {
                    return Err((at as u64, format!("state {state} with length {len}")));
                }
            };
            if id.0 == 0 || id >= next_id || !seen.insert(id) {
                return Err((at as u64, format!("file {id} cannot be here")));
            }
            if open && sealed.is_some() {
                return Err((at as u64, format!("sealed file {id} follows an open one")));
            }
            open = sealed.is_none();
            files.push(ManifestFile { id, sealed });
        }
        Ok(Self { next_id, seed, files })
    }

    /// Tells manifests apart: the checksum, which covers everything in it.
    pub(crate) fn checksum(&self) -> u32 {
        let bytes = self.encode();
        crc32fast::hash(&bytes[..bytes.len() - CRC_BYTES])
    }

    /// Reads the manifest of the store in `dir`.
    pub(crate) fn load<S: Storage>(storage: &S, dir: &Path) -> Result<Self> {
        let path = dir.join(MANIFEST_NAME);
        let file = storage.open(&path)?;
        let bytes = file.read(0, file.len() as usize)?;
        Self::decode(&bytes).map_err(|(offset, reason)| match offset {
            VERSION_OFFSET => Error::NotAStore { path: path.clone(), reason },
            _ => Error::corrupt(&path, offset, reason),
        })
    }

    /// Writes the manifest under its temporary name. Nothing has changed yet; an error (a full disk, say) leaves things as they were.
    pub(crate) fn write<S: Storage>(
        &self,
        storage: &S,
        dir: &Path,
        counters: &Counters,
    ) -> Result<WrittenManifest<S>> {
        let path = dir.join(MANIFEST_TEMPORARY_NAME);
        let bytes = self.encode();
        let write = || {
            let mut appender = storage.create(&path, None)?;
            appender.append(&[&bytes])?;
            appender.finish()
        };
        let file = write().inspect_err(|_| {
            // It would be in the way of the next attempt. If it cannot be removed either, that attempt says so.
            let _ = storage.remove(&path);
        })?;
        counters.manifest_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(WrittenManifest { storage: storage.clone(), dir: dir.to_owned(), path, file })
    }
}

/// A manifest that waits under its temporary name.
pub(crate) struct WrittenManifest<S: Storage> {
    storage: S,
    dir: PathBuf,
    path: PathBuf,
    file: S::File,
}

impl<S: Storage> WrittenManifest<S> {
    /// Makes it the store's manifest, durably. After an error it is unknown which of the two is: no more may be written.
    pub(crate) fn commit(self, counters: &Counters) -> Result<()> {
        counters.sync(|| self.file.sync())?;
        self.storage.rename(&self.path, &self.dir.join(MANIFEST_NAME))?;
        counters.sync(|| self.storage.sync_dir(&self.dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let files = vec![
            ManifestFile { id: FileId(3), sealed: Some(0x1000) },
            ManifestFile { id: FileId(2), sealed: None },
        ];
        Manifest { next_id: FileId(4), seed: 9, files }
    }

    fn with_crc(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.truncate(bytes.len() - CRC_BYTES);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// The checksum was computed by zlib.
    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = manifest().encode();
        let golden = b"kvdynoBM\x02\0\0\0\x04\0\0\0\x09\0\0\0\0\0\0\0\x02\0\0\0\
            \x03\0\0\0\x01\0\0\0\0\x10\0\0\0\0\0\0\
            \x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
            \x91\x3d\x2b\x0e";
        assert_eq!(bytes, golden);
        assert_eq!(Manifest::decode(&bytes), Ok(manifest()));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let bytes = manifest().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&damaged).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn impossible_fields_under_a_valid_checksum_are_refused() {
        let damage = |at: usize, with: u8| {
            let mut bytes = manifest().encode();
            bytes[at] = with;
            Manifest::decode(&with_crc(bytes)).unwrap_err().0
        };
        assert_eq!(damage(24, 0xff), 24, "a count that does not fit the length");
        assert_eq!(damage(12, 3), 28, "an id that has not been given yet");
        assert_eq!(damage(28, 0), 28, "id 0");
        assert_eq!(damage(44, 3), 44, "a file twice");
        assert_eq!(damage(48, 2), 44, "an unknown state");
        assert_eq!(damage(32, 0), 28, "an open file with a length");
    }
}
