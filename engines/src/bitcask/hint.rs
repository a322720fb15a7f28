//! Hint files: what the keydir needs to know about a data file, so that a recovery need not read the data.
//!
//! ```text
//! offset   size  field
//! 0        8     magic: "kvdynoBH"
//! 8        4     version: 1
//! 12       4     id of the data file
//! 16       8     length of the data file
//! 24       8     bits of the hash that count
//! 32       16·n  the data file's records, in its order
//! 32+16·n  4     CRC-32 (IEEE) of everything before
//!
//! a record:
//! 0        8     hash of the key (XXH3, 64 bits)
//! 8        4     offset of its frame in units of 8 bytes
//! 12       4     length of its frame in units of 8 bytes; plus 2³¹ for a tombstone, 2³⁰ for a twin
//! ```
//!
//! All integers are little-endian. A hint is an aid and never the truth: one that is missing, damaged, or not about this very length of this file is passed
//! over, and the data file is read instead. Hence hints need no sync of their own.

use std::path::Path;
use std::sync::atomic::Ordering;

use xxhash_rust::xxh3::xxh3_64;

use super::metrics::Counters;
use super::record::{self, Record};
use super::segment::{FileId, FileKind};
use crate::Result;
use crate::log::frame::{self, ALIGNMENT};
use crate::log::{Expected, replay};
use crate::storage::{Appender, File, Storage};

const MAGIC: [u8; 8] = *b"kvdynoBH";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 32;
const ENTRY_BYTES: usize = 16;
const CRC_BYTES: usize = 4;

const TOMBSTONE: u32 = 1 << 31;
const TWIN: u32 = 1 << 30;

/// The hash of a key, of which the bits in `mask` count.
#[inline]
pub(crate) fn hash(key: &[u8], mask: u64) -> u64 {
    xxh3_64(key) & mask
}

/// A record, as the keydir sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HintEntry {
    pub(crate) hash: u64,
    /// Offset of its frame in bytes.
    pub(crate) offset: u64,
    /// Length of its frame in bytes.
    pub(crate) frame_bytes: u64,
    pub(crate) tombstone: bool,
    pub(crate) twin: bool,
}

impl HintEntry {
    /// The entry of a record whose frame begins at `offset`.
    pub(crate) fn of(record: &Record<'_>, hash: u64, offset: u64) -> Self {
        let frame_bytes = frame::frame_bytes(record.payload_bytes());
        let tombstone = record.value.is_none();
        Self { hash, offset, frame_bytes, tombstone, twin: record.twin }
    }

    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let flags = if self.tombstone { TOMBSTONE } else { 0 } | if self.twin { TWIN } else { 0 };
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.hash.to_le_bytes());
        bytes[8..12].copy_from_slice(&((self.offset / ALIGNMENT) as u32).to_le_bytes());
        let units = (self.frame_bytes / ALIGNMENT) as u32;
        bytes[12..].copy_from_slice(&(units | flags).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let [h0, h1, h2, h3, h4, h5, h6, h7, o0, o1, o2, o3, u0, u1, u2, u3] = *bytes;
        let units = u32::from_le_bytes([u0, u1, u2, u3]);
        Self {
            hash: u64::from_le_bytes([h0, h1, h2, h3, h4, h5, h6, h7]),
            offset: u64::from(u32::from_le_bytes([o0, o1, o2, o3])) * ALIGNMENT,
            frame_bytes: u64::from(units & !(TOMBSTONE | TWIN)) * ALIGNMENT,
            tombstone: units & TOMBSTONE != 0,
            twin: units & TWIN != 0,
        }
    }
}

/// What a hint belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HintKey {
    pub(crate) id: FileId,
    pub(crate) data_bytes: u64,
    pub(crate) hash_mask: u64,
}

impl HintKey {
    fn header(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.data_bytes.to_le_bytes());
        bytes[24..].copy_from_slice(&self.hash_mask.to_le_bytes());
        bytes
    }
}

/// A hint that has been verified, read in place.
pub(crate) struct Hint<B>(B);

impl<B: std::ops::Deref<Target = [u8]>> Hint<B> {
    /// Verifies a hint; None if it is not a whole and valid one of this very data file.
    pub(crate) fn verify(bytes: B, key: HintKey) -> Option<Self> {
        let body = bytes.len().checked_sub(CRC_BYTES)?;
        let entries = body.checked_sub(HEADER_BYTES)?;
        let crc = crc32fast::hash(&bytes[..body]).to_le_bytes();
        if !entries.is_multiple_of(ENTRY_BYTES)
            || bytes[..HEADER_BYTES] != key.header()
            || bytes[body..] != crc
        {
            return None;
        }
        let hint = Self(bytes);
        let mut end = record::PREFACE_FRAME_BYTES;
        for entry in hint.raw().iter().map(HintEntry::decode) {
            if entry.offset < end || entry.frame_bytes == 0 {
                return None;
            }
            end = entry.offset + entry.frame_bytes;
        }
        (end <= key.data_bytes).then_some(hint)
    }

    /// The record with this number, in the order of the data file, which is that of the offsets.
    #[inline]
    pub(crate) fn get(&self, number: usize) -> Option<HintEntry> {
        self.raw().get(number).map(HintEntry::decode)
    }

    /// The record at `offset`. It is first looked for where it would be if all records had the same length, then in ever wider steps from there:
    /// in most files that touches one or two cache lines, where a plain binary search would touch one for each halving.
    pub(crate) fn find(&self, offset: u64) -> Option<HintEntry> {
        let raw = self.raw();
        let at = |number: usize| HintEntry::decode(&raw[number]).offset;
        let last = raw.len().checked_sub(1)?;
        let (first_offset, last_offset) = (at(0), at(last));
        if offset < first_offset || offset > last_offset {
            return None;
        }
        let share = u128::from(offset - first_offset) * last as u128;
        let guess = (share / u128::from((last_offset - first_offset).max(1))) as usize;
        let (mut low, mut high, mut step) = (guess, guess, 1);
        while at(low) > offset {
            low = low.saturating_sub(step);
            step *= 2;
        }
        while at(high) < offset {
            high = (high + step).min(last);
            step *= 2;
        }
        let found = raw[low..=high]
            .binary_search_by_key(&offset, |raw| HintEntry::decode(raw).offset)
            .ok()?;
        self.get(low + found)
    }

    fn raw(&self) -> &[[u8; ENTRY_BYTES]] {
        self.0[HEADER_BYTES..self.0.len() - CRC_BYTES].as_chunks().0
    }
}

/// Writes the hint of a data file, replacing any earlier one.
pub(crate) fn write<S: Storage>(
    storage: &S,
    dir: &Path,
    key: HintKey,
    entries: &[HintEntry],
    counters: &Counters,
) -> Result<()> {
    let path = FileKind::Hint.path(dir, key.id);
    let fill = |mut appender: S::Appender| -> Result<u64> {
        let mut crc = crc32fast::Hasher::new();
        let mut append = |bytes: &[u8]| {
            crc.update(bytes);
            appender.append(&[bytes])
        };
        append(&key.header())?;
        for entry in entries {
            append(&entry.encode())?;
        }
        appender.append(&[&crc.finalize().to_le_bytes()])?;
        let bytes = appender.len();
        appender.finish().map(|_| bytes)
    };
    let appender = storage.create(&path, None).or_else(|_| {
        storage.remove(&path)?;
        storage.create(&path, None)
    })?;
    match fill(appender) {
        Ok(bytes) => {
            counters.hint_bytes.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        }
        Err(error) => {
            // A part of a hint is no use to anybody, and may be what fills the disk.
            let _ = storage.remove(&path);
            Err(error)
        }
    }
}

/// What a hint of a sealed data file has to say, found by reading the data.
///
/// # Errors
/// [`crate::Error::Corrupt`] if the data file is damaged.
pub(crate) fn gather<F: File>(file: &F, key: HintKey) -> Result<Vec<HintEntry>> {
    let mut entries = Vec::new();
    replay(file, key.id.0, 0, Expected::Exactly(key.data_bytes), |offset, payload| {
        if offset > 0 {
            let record =
                Record::decode(payload).ok_or_else(|| record::not_a_record(file, offset))?;
            entries.push(HintEntry::of(&record, hash(record.key, key.hash_mask), offset));
        }
        Ok(())
    })?;
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HintKey = HintKey { id: FileId(7), data_bytes: 0x100, hash_mask: u64::MAX };

    fn entries() -> [HintEntry; 2] {
        let first = HintEntry {
            hash: 0x0807_0605_0403_0201,
            offset: 0x28,
            frame_bytes: 0x10,
            tombstone: false,
            twin: true,
        };
        [
            first,
            HintEntry { hash: 5, offset: 0x40, frame_bytes: 0xc0, tombstone: true, twin: false },
        ]
    }

    fn encode(key: HintKey, entries: &[HintEntry]) -> Vec<u8> {
        let mut bytes = key.header().to_vec();
        bytes.extend(entries.iter().flat_map(HintEntry::encode));
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = encode(KEY, &entries());
        let golden =
            b"kvdynoBH\x01\0\0\0\x07\0\0\0\0\x01\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\
            \x01\x02\x03\x04\x05\x06\x07\x08\x05\0\0\0\x02\0\0\x40\
            \x05\0\0\0\0\0\0\0\x08\0\0\0\x18\0\0\x80";
        assert_eq!(bytes[..bytes.len() - CRC_BYTES], golden[..]);
        let hint = Hint::verify(&bytes[..], KEY).unwrap();
        let [first, second] = entries();
        assert_eq!((hint.get(0), hint.get(1), hint.get(2)), (Some(first), Some(second), None));
    }

    #[test]
    fn records_are_found_by_offset_whatever_their_lengths() {
        let mut offset = record::PREFACE_FRAME_BYTES;
        let mut entries = Vec::new();
        for i in 0..500_u64 {
            let frame_bytes = if i % 7 == 0 { 8 << (i % 20) } else { 8 };
            entries.push(HintEntry { hash: i, offset, frame_bytes, tombstone: false, twin: false });
            offset += frame_bytes;
        }
        for count in [0, 1, 2, 500] {
            let key = HintKey { data_bytes: offset, ..KEY };
            let bytes = encode(key, &entries[..count]);
            let hint = Hint::verify(&bytes[..], key).unwrap();
            for (i, entry) in entries.iter().enumerate() {
                assert_eq!(hint.find(entry.offset), (i < count).then_some(*entry));
                assert_eq!(hint.find(entry.offset + 4), None);
            }
            assert_eq!(hint.find(0), None);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let bytes = encode(KEY, &entries());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Hint::verify(&damaged[..], KEY).is_none(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Hint::verify(&bytes[..len], KEY).is_none(), "{len} bytes");
        }
    }

    #[test]
    fn a_hint_of_another_file_or_length_is_refused() {
        let bytes = encode(KEY, &entries());
        let refused = |key| Hint::verify(&bytes[..], key).is_none();
        assert!(refused(HintKey { id: FileId(8), ..KEY }));
        assert!(refused(HintKey { data_bytes: 0x108, ..KEY }));
        assert!(refused(HintKey { hash_mask: 7, ..KEY }));
    }

    #[test]
    fn impossible_entries_under_a_valid_checksum_are_refused() {
        let [first, second] = entries();
        for wrong in [
            [second, first],
            [first, first],
            [HintEntry { offset: 0, ..first }, second],
            [first, HintEntry { frame_bytes: 0, ..second }],
            [first, HintEntry { frame_bytes: 0xc8, ..second }],
        ] {
            assert!(Hint::verify(&encode(KEY, &wrong)[..], KEY).is_none(), "{wrong:?}");
        }
    }
}
