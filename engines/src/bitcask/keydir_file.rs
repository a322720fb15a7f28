//! The keydir, written down when a store is closed, so that the next open reads it in one go instead of building it from hints.
//!
//! ```text
//! offset   size  field
//! 0        8     magic: "kvdynoBK"
//! 8        4     version: 1
//! 12       4     checksum of the manifest that the store was closed with
//! 16       8     bits of the hash that count
//! 24       4     bits of an entry's location that are the offset (see entry.rs)
//! 28       4     f, number of data files
//! 32       32·f  data files, in the manifest's order
//! …        …     the shards of the keydir that are not empty, by their numbers
//! end − 4  4     CRC-32 (IEEE) of everything before
//!
//! a data file:
//! 0        8     values that are needed
//! 8        8     bytes of their frames
//! 16       8     bytes of frames of tombstones
//! 24       8     when all values are gone, in milliseconds since the Unix epoch; 2⁶⁴ − 1: never
//!
//! a shard:
//! 0        4     its number
//! 4        4     n, number of entries
//! 8        4     lines of its table
//! 12       8·n   entries, in the table's order; the slot is the data file's number in the manifest's order
//! ```
//!
//! All integers are little-endian. Like a hint, this file is an aid and never the truth. It is valid for the very manifest that the store was closed with; as every
//! opening for writing replaces the manifest, it is valid once.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::entry::{Entry, Layout, Slot};
use super::files::{Files, Listed};
use super::fingerprint::Hasher;
use super::keydir::{Keydir, SHARDS};
use super::manifest::Manifest;
use super::record::PREFACE_FRAME_BYTES;
use super::segment::Usage;
use super::tag_table::TagTable;
use crate::storage::{Appender, File, Storage};
use crate::{Error, Result};

/// Name of the file in the store's folder.
pub(crate) const KEYDIR_NAME: &str = "KEYDIR";

const MAGIC: [u8; 8] = *b"kvdynoBK";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 32;
const FILE_BYTES: usize = 32;
const ENTRY_BYTES: usize = 8;
const CRC_BYTES: usize = 4;
/// Bytes that are written at a time, about.
const CHUNK_BYTES: usize = 1 << 20;

/// Writes the keydir of a store whose data files are all sealed. That there is no room for it is no failure of the store.
pub(crate) fn write<S: Storage>(
    files: &Files<S>,
    keydir: &Keydir,
    hasher: Hasher,
    manifest: &Manifest,
    listed: &[Listed<S::File>],
) -> Result<()> {
    let path = files.dir.join(KEYDIR_NAME);
    let written = fill(files, &path, keydir, hasher, manifest, listed);
    match written {
        Ok(bytes) => {
            files.counters.hint_bytes.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        }
        Err(error @ Error::PowerLost) => Err(error),
        Err(_) => {
            let _ = files.storage.remove(&path);
            Ok(())
        }
    }
}

fn fill<S: Storage>(
    files: &Files<S>,
    path: &Path,
    keydir: &Keydir,
    hasher: Hasher,
    manifest: &Manifest,
    listed: &[Listed<S::File>],
) -> Result<u64> {
    let slots = listed.iter().map(|file| file.segment.slot).max().map_or(0, |slot| slot + 1);
    let mut numbers = vec![0; slots as usize];
    for (number, file) in listed.iter().enumerate() {
        numbers[file.segment.slot as usize] = number as Slot;
    }
    let usages = listed.iter().map(|file| WrittenUsage::of(&file.segment.usage)).collect();
    let (layout, manifest_checksum) = (files.layout, manifest.checksum());
    let image = Image { keydir, usages, numbers, layout, hasher, manifest_checksum };
    let mut appender = files.storage.create(path, None)?;
    image.encode(|bytes| appender.append(&[bytes]).map(|_| ()))?;
    let bytes = appender.len();
    appender.finish().map(|_| bytes)
}

/// A keydir, and what there is to be written beside it.
pub(super) struct Image<'a> {
    pub(super) keydir: &'a Keydir,
    /// In the manifest's order.
    pub(super) usages: Vec<WrittenUsage>,
    /// By slot: a data file's number in the manifest's order.
    pub(super) numbers: Vec<Slot>,
    pub(super) layout: Layout,
    pub(super) hasher: Hasher,
    pub(super) manifest_checksum: u32,
}

impl Image<'_> {
    /// Calls `append` with the bytes of the file, a piece at a time, and ends with its first error.
    pub(super) fn encode(&self, mut append: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut crc = crc32fast::Hasher::new();
        let mut covered = |bytes: &[u8]| {
            crc.update(bytes);
            append(bytes)
        };
        let mut bytes = self.head();
        for shard in 0..SHARDS {
            if bytes.len() >= CHUNK_BYTES {
                covered(&bytes)?;
                bytes.clear();
            }
            let table = self.keydir.table(shard);
            if table.len() == 0 {
                continue;
            }
            bytes.extend_from_slice(&(shard as u32).to_le_bytes());
            bytes.extend_from_slice(&(table.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&(table.lines() as u32).to_le_bytes());
            for entry in table.iter() {
                let (slot, offset) = self.layout.place(entry);
                let entry = self.layout.moved(entry, self.numbers[slot as usize], offset);
                bytes.extend_from_slice(&entry.to_bits().to_le_bytes());
            }
        }
        covered(&bytes)?;
        append(&crc.finalize().to_le_bytes())
    }

    /// What comes before the shards.
    fn head(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.manifest_checksum.to_le_bytes());
        bytes.extend_from_slice(&self.hasher.mask.to_le_bytes());
        bytes.extend_from_slice(&self.layout.offset_bits().to_le_bytes());
        bytes.extend_from_slice(&(self.usages.len() as u32).to_le_bytes());
        for usage in &self.usages {
            let WrittenUsage { live_records, live_bytes, tombstone_bytes, gone_by_ms } = *usage;
            for number in [live_records, live_bytes, tombstone_bytes, gone_by_ms] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        bytes
    }
}

/// What was written down.
pub(crate) struct Written {
    pub(crate) keydir: Keydir,
    /// In the manifest's order.
    pub(crate) usages: Vec<WrittenUsage>,
}

/// How much of a data file is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrittenUsage {
    pub(crate) live_records: u64,
    pub(crate) live_bytes: u64,
    pub(crate) tombstone_bytes: u64,
    pub(crate) gone_by_ms: u64,
}

impl WrittenUsage {
    fn of(usage: &Usage) -> Self {
        Self {
            live_records: usage.live_records(),
            live_bytes: usage.live_bytes(),
            tombstone_bytes: usage.tombstone_bytes(),
            gone_by_ms: usage.gone_by_ms(),
        }
    }
}

/// Reads the keydir back; None if it is damaged, or not that of this manifest.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn load<F: File>(
    file: &F,
    manifest: &Manifest,
    hasher: Hasher,
    layout: Layout,
) -> Result<Option<Written>> {
    let bytes = file.read(0, file.len() as usize)?;
    Ok(decode(&bytes, manifest, hasher, layout))
}

/// Where what is said about the data file with this number begins.
pub(crate) fn usage_offset(number: usize) -> u64 {
    (HEADER_BYTES + number * FILE_BYTES) as u64
}

/// The checksum of the manifest that a written keydir belongs to, and the bits of the hash that counted; None if it is damaged, or none of this version.
pub(crate) fn identify(bytes: &[u8]) -> Option<(u32, u64)> {
    let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(CRC_BYTES)?)?;
    let header = body.first_chunk::<HEADER_BYTES>()?;
    let ours = header[..8] == MAGIC && header[8..12] == VERSION.to_le_bytes();
    let whole = crc32fast::hash(body).to_le_bytes() == crc;
    let manifest = u32::from_le_bytes([header[12], header[13], header[14], header[15]]);
    let mask = header[16..24].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    (ours && whole).then_some((manifest, mask))
}

pub(super) fn decode(
    bytes: &[u8],
    manifest: &Manifest,
    hasher: Hasher,
    layout: Layout,
) -> Option<Written> {
    let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(CRC_BYTES)?)?;
    let (header, rest) = body.split_first_chunk::<HEADER_BYTES>()?;
    let u32_at = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let files = u32_at(28) as usize;
    let is_ours = header[..8] == MAGIC
        && u32_at(8) == VERSION
        && u32_at(12) == manifest.checksum()
        && header[16..24] == hasher.mask.to_le_bytes()
        && files == manifest.files.len();
    if !is_ours || crc32fast::hash(body).to_le_bytes() != crc {
        return None;
    }
    let written = Layout::from_offset_bits(u32_at(24))?;
    let (usages, mut rest) = rest.split_at_checked(files * FILE_BYTES)?;
    let usages = usages.as_chunks::<FILE_BYTES>().0.iter().map(usage).collect();
    let mut shards: Vec<TagTable> = Vec::with_capacity(SHARDS);
    while let Some((number, after)) = rest.split_first_chunk() {
        let number = u32::from_le_bytes(*number) as usize;
        if number < shards.len() || number >= SHARDS {
            return None;
        }
        let (table, after) = shard(after, manifest, written, layout)?;
        shards.resize_with(number, TagTable::default);
        shards.push(table);
        rest = after;
    }
    shards.resize_with(SHARDS, TagTable::default);
    rest.is_empty().then(|| Written { keydir: Keydir::of(shards), usages })
}

fn usage(bytes: &[u8; FILE_BYTES]) -> WrittenUsage {
    let numbers = bytes.as_chunks::<8>().0;
    let number = |at: usize| u64::from_le_bytes(numbers[at]);
    WrittenUsage {
        live_records: number(0),
        live_bytes: number(1),
        tombstone_bytes: number(2),
        gone_by_ms: number(3),
    }
}

/// A shard after its number, and what follows it.
fn shard<'a>(
    bytes: &'a [u8],
    manifest: &Manifest,
    written: Layout,
    layout: Layout,
) -> Option<(TagTable, &'a [u8])> {
    let (count, bytes) = bytes.split_first_chunk()?;
    let (lines, bytes) = bytes.split_first_chunk()?;
    let count = u32::from_le_bytes(*count) as usize;
    let (entries, rest) = bytes.split_at_checked(count.checked_mul(ENTRY_BYTES)?)?;
    let mut table = TagTable::with_lines(u32::from_le_bytes(*lines) as usize, count);
    for bytes in entries.as_chunks::<ENTRY_BYTES>().0 {
        let entry = Entry::from_bits(u64::from_le_bytes(*bytes));
        let (number, offset) = written.place(entry);
        let len = manifest.files.get(number as usize)?.sealed?;
        if !(PREFACE_FRAME_BYTES..len).contains(&offset) {
            return None;
        }
        table.insert(if written == layout { entry } else { layout.moved(entry, number, offset) });
    }
    Some((table, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bitcask::manifest::ManifestFile;
    use crate::bitcask::segment::{FileId, NEVER};

    const HASHER: Hasher = Hasher { seed: 3, mask: u64::MAX };

    fn manifest() -> Manifest {
        let file = |id, len| ManifestFile { id: FileId(id), sealed: Some(len) };
        Manifest { next_id: FileId(3), seed: 3, files: vec![file(1, 0x1000), file(2, 0x2000)] }
    }

    /// Hashes of three keys: two in shard 3 with one tag, one in the last shard.
    const HASHES: [u64; 3] = [3 << 54 | 5, 3 << 54 | 0x7f00_0005, 1023 << 54 | 0x00ab_cdef];

    fn usages() -> Vec<WrittenUsage> {
        vec![
            WrittenUsage { live_records: 1, live_bytes: 24, tombstone_bytes: 16, gone_by_ms: 0x77 },
            WrittenUsage { live_records: 2, live_bytes: 48, tombstone_bytes: 0, gone_by_ms: NEVER },
        ]
    }

    /// The file, of a keydir whose slots are not in the manifest's order.
    fn bytes() -> Vec<u8> {
        let (keydir, layout) = (Keydir::new(), Layout::new(0x2000));
        for (hash, (slot, offset)) in HASHES.into_iter().zip([(1, 40), (0, 0x1ff8), (0, 48)]) {
            keydir.insert(hash, layout.entry(hash, slot, offset));
        }
        let manifest_checksum = manifest().checksum();
        let (usages, numbers) = (usages(), vec![1, 0]);
        let image =
            Image { keydir: &keydir, usages, numbers, layout, hasher: HASHER, manifest_checksum };
        let mut bytes = Vec::new();
        let gather = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        image.encode(gather).unwrap();
        bytes
    }

    /// Both checksums were computed by zlib.
    #[test]
    fn the_layout_is_the_documented_one() {
        let golden = b"kvdynoBK\x01\0\0\0\xf6\x76\x83\x0c\xff\xff\xff\xff\xff\xff\xff\xff\x0a\0\0\0\x02\0\0\0\
            \x01\0\0\0\0\0\0\0\x18\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x77\0\0\0\0\0\0\0\
            \x02\0\0\0\0\0\0\0\x30\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\
            \x03\0\0\0\x02\0\0\0\x01\0\0\0\x05\0\0\0\0\x05\0\0\xff\x07\0\0\0\x05\0\0\
            \xff\x03\0\0\x01\0\0\0\x01\0\0\0\x06\x04\0\0\0\xef\xcd\xab\
            \xae\xca\x85\x41";
        assert_eq!(bytes(), golden);
        let layout = Layout::new(0x2000);
        let written = decode(golden, &manifest(), HASHER, layout).unwrap();
        assert_eq!(written.usages, usages());
        assert_eq!(written.keydir.len(), 3);
        for (hash, (number, offset)) in HASHES.into_iter().zip([(0, 40), (1, 0x1ff8), (1, 48)]) {
            assert!(written.keydir.contains(hash, layout.entry(hash, number, offset)));
        }
        assert_eq!(identify(golden), Some((manifest().checksum(), u64::MAX)));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let bytes = bytes();
        let is_refused =
            |bytes: &[u8]| decode(bytes, &manifest(), HASHER, Layout::new(0x2000)).is_none();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(is_refused(&damaged), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(is_refused(&bytes[..len]), "{len} bytes");
        }
    }
}
