//! Hint files: what the keydir needs to know about a data file, so that neither a recovery nor a write has to read the data.
//!
//! ```text
//! offset   size  field
//! 0        8     magic: "kvdynoBH"
//! 8        4     version: 2
//! 12       4     id of the data file
//! 16       8     length of the data file
//! 24       8     seed of the hashes
//! 32       8     bits of the hash that count
//! 40       8     when all its values are gone, in milliseconds since the Unix epoch; 2⁶⁴ − 1: never
//! 48       24·n  the data file's records, in its order
//! 48+24·n  4     CRC-32 (IEEE) of everything before
//!
//! a record:
//! 0        8     hash of the key (see fingerprint.rs)
//! 8        8     check of the key
//! 16       4     offset of its frame in units of 8 bytes
//! 20       4     length of its frame in units of 8 bytes; plus 2³¹ for a tombstone, 2³⁰ for a value that expires
//! ```
//!
//! All integers are little-endian. A hint is an aid and never the truth: one that is missing, damaged, or not about this very length of this file is passed
//! over, and the data file is read instead. Hence hints need no sync of their own.

use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::fingerprint::{Fingerprint, Hasher};
use super::metrics::Counters;
use super::record::{self, Preface, Record};
use super::segment::{FileId, FileKind, NEVER};
use crate::Result;
use crate::log::frame::ALIGNMENT;
use crate::log::{Expected, replay};
use crate::storage::{Access, Appender, File, Storage};

const MAGIC: [u8; 8] = *b"kvdynoBH";
const VERSION: u32 = 2;
const KEY_BYTES: usize = 40;
const HEADER_BYTES: usize = KEY_BYTES + 8;
const ENTRY_BYTES: usize = 24;
const CRC_BYTES: usize = 4;

const TOMBSTONE: u32 = 1 << 31;
const EXPIRES: u32 = 1 << 30;

/// Length of the hint of so many records.
pub(crate) const fn file_bytes(records: u64) -> u64 {
    HEADER_BYTES as u64 + records * ENTRY_BYTES as u64 + CRC_BYTES as u64
}

/// A record, as the keydir sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HintEntry {
    pub(crate) print: Fingerprint,
    /// Offset of its frame in bytes.
    pub(crate) offset: u64,
    /// Length of its frame in bytes.
    pub(crate) frame_bytes: u64,
    pub(crate) tombstone: bool,
    /// It is a value that expires.
    pub(crate) expires: bool,
}

impl HintEntry {
    /// The entry of a record whose frame begins at `offset`.
    pub(crate) fn of(record: &Record<'_>, print: Fingerprint, offset: u64) -> Self {
        let expires = record.value.is_some_and(|value| value.expires_ms.is_some());
        let (frame_bytes, tombstone) = (record.frame_bytes(), record.value.is_none());
        Self { print, offset, frame_bytes, tombstone, expires }
    }

    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let flag = |set, flag| if set { flag } else { 0 };
        let flags = flag(self.tombstone, TOMBSTONE) | flag(self.expires, EXPIRES);
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.print.hash.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.print.check.to_le_bytes());
        bytes[16..20].copy_from_slice(&((self.offset / ALIGNMENT) as u32).to_le_bytes());
        let units = (self.frame_bytes / ALIGNMENT) as u32;
        bytes[20..].copy_from_slice(&(units | flags).to_le_bytes());
        bytes
    }

    #[inline]
    fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let units = u32_at(20);
        Self {
            print: Fingerprint { hash: u64_at(0), check: u64_at(8) },
            offset: u64::from(u32_at(16)) * ALIGNMENT,
            frame_bytes: u64::from(units & !(TOMBSTONE | EXPIRES)) * ALIGNMENT,
            tombstone: units & TOMBSTONE != 0,
            expires: units & EXPIRES != 0,
        }
    }
}

/// What a hint belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HintKey {
    pub(crate) id: FileId,
    pub(crate) data_bytes: u64,
    pub(crate) hasher: Hasher,
}

impl HintKey {
    pub(super) fn encode(&self) -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.data_bytes.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.hasher.seed.to_le_bytes());
        bytes[32..].copy_from_slice(&self.hasher.mask.to_le_bytes());
        bytes
    }

    /// What a hint says that it belongs to; None if it is damaged, or no hint of this version.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(CRC_BYTES)?)?;
        let key = body.first_chunk::<HEADER_BYTES>()?;
        let number = |at: usize, len: usize| {
            key[at..at + len].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let whole = crc32fast::hash(body).to_le_bytes() == crc;
        let ours = key[..8] == MAGIC && number(8, 4) == u64::from(VERSION);
        (whole && ours).then(|| Self {
            id: FileId(number(12, 4) as u32),
            data_bytes: number(16, 8),
            hasher: Hasher { seed: number(24, 8), mask: number(32, 8) },
        })
    }
}

/// What a data file holds, as its hint tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Its records, in its order.
    pub(crate) entries: Vec<HintEntry>,
    /// When all its values are gone, in milliseconds since the Unix epoch, or [`NEVER`].
    pub(crate) gone_by_ms: u64,
}

impl Summary {
    /// Adds the record whose frame begins at `offset`.
    pub(crate) fn add(&mut self, record: &Record<'_>, print: Fingerprint, offset: u64) {
        self.entries.push(HintEntry::of(record, print, offset));
        let gone_by_ms = record.value.map_or(0, |value| value.expires_ms.unwrap_or(NEVER));
        self.gone_by_ms = self.gone_by_ms.max(gone_by_ms);
    }

    /// What a sealed data file holds, found by reading it.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] if it is damaged.
    pub(crate) fn gather<F: File>(file: &F, key: HintKey) -> Result<Self> {
        let mut summary = Self::default();
        replay(file, key.id.0, 0, Expected::Exactly(key.data_bytes), |offset, payload| {
            if offset == 0 {
                return Preface::of(file, key.id, payload).map(|_| ());
            }
            let record =
                Record::decode(payload).ok_or_else(|| record::not_a_record(file, offset))?;
            summary.add(&record, key.hasher.fingerprint(record.key), offset);
            Ok(())
        })?;
        Ok(summary)
    }

    pub(super) fn encode(&self, key: HintKey) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(file_bytes(self.entries.len() as u64) as usize);
        bytes.extend_from_slice(&key.encode());
        bytes.extend_from_slice(&self.gone_by_ms.to_le_bytes());
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.encode());
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// Writes the hint of a data file, replacing any earlier one, and opens it.
    pub(crate) fn write<S: Storage>(
        &self,
        storage: &S,
        dir: &Path,
        key: HintKey,
        counters: &Counters,
    ) -> Result<Hint<S::File>> {
        let path = FileKind::Hint.path(dir, key.id);
        let bytes = self.encode(key);
        let mut appender = storage.create(&path, None).or_else(|_| {
            storage.remove(&path)?;
            storage.create(&path, None)
        })?;
        let file = match appender.append(&[&bytes]).and_then(|_| appender.finish()) {
            Ok(file) => file,
            Err(error) => {
                // A part of a hint is no use to anybody, and may be what fills the disk.
                let _ = storage.remove(&path);
                return Err(error);
            }
        };
        counters.hint_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(Hint::of(file, self.entries.len(), self.gone_by_ms))
    }
}

/// A hint that is known to be whole, read in place.
#[derive(Clone, Debug)]
pub(crate) struct Hint<F> {
    file: F,
    len: usize,
    pub(crate) gone_by_ms: u64,
}

impl<F: File> Hint<F> {
    /// Verifies a hint; None if it is not a whole and valid one of this very data file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn verify(file: F, key: HintKey) -> Result<Option<Self>> {
        let bytes = file.read(0, file.len() as usize)?;
        let Some((len, gone_by_ms)) = verify(&bytes, key) else { return Ok(None) };
        drop(bytes);
        Ok(Some(Self::of(file, len, gone_by_ms)))
    }

    fn of(file: F, len: usize, gone_by_ms: u64) -> Self {
        // From now on records are looked up here and there, in a store that is larger than memory.
        file.advise(Access::Random);
        Self { file, len, gone_by_ms }
    }

    /// Number of records.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The record with this number, in the order of the data file, which is that of the offsets.
    ///
    /// # Errors
    /// If it cannot be read.
    #[inline]
    pub(crate) fn get(&self, number: usize) -> Result<HintEntry> {
        let bytes = self.file.read((HEADER_BYTES + number * ENTRY_BYTES) as u64, ENTRY_BYTES)?;
        let mut entry = [0; ENTRY_BYTES];
        entry.copy_from_slice(&bytes);
        Ok(HintEntry::decode(&entry))
    }

    /// All records, in order.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn entries(&self) -> Result<Entries<F::Bytes<'_>>> {
        self.file.read(HEADER_BYTES as u64, self.len * ENTRY_BYTES).map(Entries)
    }

    /// The record at `offset`. It is first looked for where it would be if all records had the same length, then in ever wider steps from there:
    /// in most files that touches one or two cache lines, where a plain binary search would touch one for each halving.
    ///
    /// # Errors
    /// If the hint cannot be read.
    pub(crate) fn find(&self, offset: u64) -> Result<Option<HintEntry>> {
        let at = |number: usize| self.get(number).map(|entry| entry.offset);
        let Some(last) = self.len.checked_sub(1) else { return Ok(None) };
        let (first_offset, last_offset) = (at(0)?, at(last)?);
        if offset < first_offset || offset > last_offset {
            return Ok(None);
        }
        let guess = guess(offset, first_offset, last_offset, last);
        let (mut low, mut high, mut step) = (guess, guess, 1);
        while at(low)? > offset {
            low = low.saturating_sub(step);
            step *= 2;
        }
        while at(high)? < offset {
            high = (high + step).min(last);
            step *= 2;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if at(middle)? < offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let found = self.get(low)?;
        Ok((found.offset == offset).then_some(found))
    }

    /// Says that records at these offsets will be looked up, in this order, which is that of the file: their pages can be fetched already, all at once. Where they are, is guessed as by [`Hint::find`].
    ///
    /// # Errors
    /// If the hint cannot be read.
    pub(crate) fn expect(&self, offsets: impl Iterator<Item = u64>) -> Result<()> {
        /// What lies nearer to what is fetched is fetched with it.
        const NEAR: u64 = 32 << 10;
        let Some(last) = self.len.checked_sub(1) else { return Ok(()) };
        let (first_offset, last_offset) = (self.get(0)?.offset, self.get(last)?.offset);
        let tell = |from: u64, to: u64| {
            self.file.advise(Access::Soon { offset: from, len: to - from });
        };
        let mut run: Option<(u64, u64)> = None;
        for offset in offsets {
            let at = Self::offset_of(guess(offset, first_offset, last_offset, last));
            let end = at + ENTRY_BYTES as u64;
            run = match run {
                Some((from, to)) if at <= to + NEAR => Some((from, to.max(end))),
                Some((from, to)) => {
                    tell(from, to);
                    Some((at, end))
                }
                None => Some((at, end)),
            };
        }
        if let Some((from, to)) = run {
            tell(from, to);
        }
        Ok(())
    }

    /// The offset of the first record that begins behind `offset`.
    ///
    /// # Errors
    /// If the hint cannot be read.
    pub(crate) fn next_after(&self, offset: u64) -> Result<Option<u64>> {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle)?.offset > offset {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        if low < self.len { self.get(low).map(|entry| Some(entry.offset)) } else { Ok(None) }
    }

    /// Where the record with this number lies in the hint itself.
    pub(crate) fn offset_of(number: usize) -> u64 {
        (HEADER_BYTES + number * ENTRY_BYTES) as u64
    }
}

/// The number of the record at `offset` if all records had the same length; `last` is the number of the last one.
#[inline]
fn guess(offset: u64, first_offset: u64, last_offset: u64, last: usize) -> usize {
    let offset = offset.clamp(first_offset, last_offset);
    let share = u128::from(offset - first_offset) * last as u128;
    (share / u128::from((last_offset - first_offset).max(1))) as usize
}

/// The records of a hint.
pub(crate) struct Entries<B>(B);

impl<B: Deref<Target = [u8]>> Entries<B> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = HintEntry> {
        self.0.as_chunks().0.iter().map(HintEntry::decode)
    }
}

/// The number of records of a hint, and when they are gone; None if it is not a whole and valid one of this very data file.
fn verify(bytes: &[u8], key: HintKey) -> Option<(usize, u64)> {
    let body = bytes.len().checked_sub(CRC_BYTES)?;
    let entries = bytes[..body].get(HEADER_BYTES..)?;
    let crc = crc32fast::hash(&bytes[..body]).to_le_bytes();
    let (entries, rest) = entries.as_chunks();
    if !rest.is_empty() || bytes[..KEY_BYTES] != key.encode() || bytes[body..] != crc {
        return None;
    }
    let mut end = record::PREFACE_FRAME_BYTES;
    for entry in entries.iter().map(HintEntry::decode) {
        if entry.offset < end || entry.frame_bytes == 0 {
            return None;
        }
        end = entry.offset + entry.frame_bytes;
    }
    let gone_by_ms = u64::from_le_bytes(*bytes[KEY_BYTES..].first_chunk()?);
    (end <= key.data_bytes).then_some((entries.len(), gone_by_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SimulatedDisk;

    const HASHER: Hasher = Hasher { seed: 3, mask: u64::MAX };
    const KEY: HintKey = HintKey { id: FileId(7), data_bytes: 0x100, hasher: HASHER };

    fn entry(hash: u64, offset: u64, frame_bytes: u64) -> HintEntry {
        let print = Fingerprint { hash, check: 0x1817_1615_1413_1211 };
        HintEntry { print, offset, frame_bytes, tombstone: false, expires: false }
    }

    fn summary() -> Summary {
        let first = HintEntry { expires: true, ..entry(0x0807_0605_0403_0201, 0x28, 0x10) };
        let second = HintEntry { tombstone: true, ..entry(5, 0x40, 0xc0) };
        Summary { entries: vec![first, second], gone_by_ms: 0x77 }
    }

    fn opened(bytes: &[u8], key: HintKey) -> Option<Hint<<SimulatedDisk as Storage>::File>> {
        let disk = SimulatedDisk::new();
        disk.write_all(Path::new("/hint"), bytes);
        Hint::verify(disk.open(Path::new("/hint")).unwrap(), key).unwrap()
    }

    /// The checksum was computed by zlib.
    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = summary().encode(KEY);
        let golden =
            b"kvdynoBH\x02\0\0\0\x07\0\0\0\0\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x77\0\0\0\0\0\0\0\
            \x01\x02\x03\x04\x05\x06\x07\x08\x11\x12\x13\x14\x15\x16\x17\x18\x05\0\0\0\x02\0\0\x40\
            \x05\0\0\0\0\0\0\0\x11\x12\x13\x14\x15\x16\x17\x18\x08\0\0\0\x18\0\0\x80\
            \xf0\x29\x93\xab";
        assert_eq!(bytes, golden);
        let hint = opened(&bytes, KEY).unwrap();
        assert_eq!((hint.len(), hint.gone_by_ms), (2, 0x77));
        assert_eq!([hint.get(0).unwrap(), hint.get(1).unwrap()], summary().entries[..]);
        assert!(hint.get(2).is_err() || hint.len() == 2);
    }

    #[test]
    fn records_are_found_by_offset_whatever_their_lengths() {
        let mut offset = record::PREFACE_FRAME_BYTES;
        let mut entries = Vec::new();
        for i in 0..500_u64 {
            let frame_bytes = if i % 7 == 0 { 8 << (i % 20) } else { 8 };
            entries.push(entry(i, offset, frame_bytes));
            offset += frame_bytes;
        }
        for count in [0, 1, 2, 500] {
            let key = HintKey { data_bytes: offset, ..KEY };
            let summary = Summary { entries: entries[..count].to_vec(), gone_by_ms: NEVER };
            let hint = opened(&summary.encode(key), key).unwrap();
            for (i, entry) in entries.iter().enumerate() {
                assert_eq!(hint.find(entry.offset).unwrap(), (i < count).then_some(*entry));
                assert_eq!(hint.find(entry.offset + 4).unwrap(), None);
            }
            assert_eq!(hint.find(0).unwrap(), None);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let bytes = summary().encode(KEY);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&damaged, KEY).is_none(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(verify(&bytes[..len], KEY).is_none(), "{len} bytes");
        }
    }

    #[test]
    fn a_hint_of_another_file_length_or_store_is_refused() {
        let bytes = summary().encode(KEY);
        let refused = |key| verify(&bytes, key).is_none();
        assert!(refused(HintKey { id: FileId(8), ..KEY }));
        assert!(refused(HintKey { data_bytes: 0x108, ..KEY }));
        assert!(refused(HintKey { hasher: Hasher { seed: 4, ..HASHER }, ..KEY }));
        assert!(refused(HintKey { hasher: Hasher { mask: 7, ..HASHER }, ..KEY }));
    }

    #[test]
    fn impossible_entries_under_a_valid_checksum_are_refused() {
        let (first, second) = (summary().entries[0], summary().entries[1]);
        for wrong in [
            [second, first],
            [first, first],
            [HintEntry { offset: 0, ..first }, second],
            [first, HintEntry { frame_bytes: 0, ..second }],
            [first, HintEntry { frame_bytes: 0xc8, ..second }],
        ] {
            let summary = Summary { entries: wrong.to_vec(), gone_by_ms: 0 };
            assert!(verify(&summary.encode(KEY), KEY).is_none(), "{wrong:?}");
        }
    }
}
