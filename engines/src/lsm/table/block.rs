//! A block: sorted keys with their values, made to be searched without taking it apart.
//!
//! ```text
//! offset    size  field
//! 0         4     number of entries n
//! 4         4     length p of the prefix that all keys have in common
//! 8         8n    heads: the eight bytes behind the prefix of each key, as a number (of big-endian bytes, filled up with zeros)
//! 8+8n      4n    starts: where each entry begins, counted from the first one
//! 8+12n     p     the prefix
//! 8+12n+p   …     entries, each up to the next one's start, the last up to the end of the block
//! ```
//!
//! An entry:
//!
//! ```text
//! offset  size      field
//! 0       3         length s of the key without the prefix
//! 3       1         kind: 1 put, 2 delete, 4 pointer into the value log, 5 put of a value that expires, 6 pointer to one
//! 4       s-8 or 0  the key behind its head
//! …       8 or 0    of what expires: when, in milliseconds since the Unix epoch
//! …       …         the value, or the pointer, up to the end of the entry
//! ```
//!
//! All integers are little-endian. Heads make every entry a restart point: a search is a binary search over numbers that lie side by side, and touches
//! one entry. No byte of a key is stored twice, as its head is part of it, so this takes no more room than prefix compression with restart
//! points every 16 entries does. The index of a table is a block too; its values are where the data blocks lie ([`super::footer::BlockHandle`]). A data block may be compressed ([`super::compression`]).
//!
//! Each block in a file is followed by a trailer, which the checksum covers up to itself:
//!
//! ```text
//! offset  size  field
//! 0       1     compression: 0 none, 1 LZ4, 2 Zstandard
//! 1       4     CRC-32 of the block's offset in the file (8 bytes), the block as it is stored, and the byte before this field; started from the table's number
//! ```

use std::cmp::Ordering;
use std::ops::Range;
use std::path::Path;

use super::super::codec::{common_prefix, head};
use super::super::files::FileNumber;
use super::super::options::Compression;
use super::super::wal::Kind;
use crate::prefetch::prefetch;
use crate::{Error, Result};

/// Bytes behind each block.
pub(crate) const TRAILER_BYTES: usize = 5;
pub(super) const HEADER_BYTES: usize = 8;
/// A search looks at so many bytes from the beginning of a block, at most: at fewer in data blocks of small entries, and a large index is searched in few places.
pub(super) const SEARCHED_BYTES_MAX: usize = 640;
const KIND_SHIFT: u32 = 24;

/// The trailer of a block that is stored as `block`.
pub(crate) fn trailer(
    table: FileNumber,
    offset: u64,
    block: &[u8],
    compression: Compression,
) -> [u8; TRAILER_BYTES] {
    let code = match compression {
        Compression::None => 0,
        Compression::Lz4 => 1,
        Compression::Zstd => 2,
    };
    let crc = checksum(table, offset, block, code).to_le_bytes();
    [code, crc[0], crc[1], crc[2], crc[3]]
}

fn checksum(table: FileNumber, offset: u64, block: &[u8], compression: u8) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(table);
    hasher.update(&offset.to_le_bytes());
    hasher.update(block);
    hasher.update(&[compression]);
    hasher.finalize()
}

/// Verifies a block with its trailer, and tells how it is compressed.
///
/// # Errors
/// [`Error::Corrupt`] naming the file and the block's offset.
pub(crate) fn verify(
    file: &Path,
    table: FileNumber,
    offset: u64,
    bytes: &[u8],
) -> Result<Compression> {
    let Some((block, [compression, crc @ ..])) = bytes.split_last_chunk::<TRAILER_BYTES>() else {
        return Err(Error::corrupt(file, offset, "the block is shorter than its trailer"));
    };
    let (stored, computed) =
        (u32::from_le_bytes(*crc), checksum(table, offset, block, *compression));
    if stored != computed {
        let reason =
            format!("the block's checksum is {computed:08x}, but its trailer says {stored:08x}");
        return Err(Error::corrupt(file, offset, reason));
    }
    match compression {
        0 => Ok(Compression::None),
        1 => Ok(Compression::Lz4),
        2 => Ok(Compression::Zstd),
        _ => {
            let reason = format!("the block's compression {compression} is unknown to this build");
            Err(Error::corrupt(file, offset, reason))
        }
    }
}

/// Verifies a part that is never compressed, with its trailer.
///
/// # Errors
/// As [`verify`].
pub(crate) fn verify_plain(
    file: &Path,
    table: FileNumber,
    offset: u64,
    bytes: &[u8],
) -> Result<()> {
    match verify(file, table, offset, bytes)? {
        Compression::None => Ok(()),
        other => {
            let reason = format!("the index says nothing of a compression, the trailer {other:?}");
            Err(Error::corrupt(file, offset, reason))
        }
    }
}

/// Has the processor fetch what a search in `block` looks at, all at once: one after the other, each line of a block that is in no cache would be waited for by itself.
#[inline]
pub(super) fn prefetch_searched(block: &[u8]) {
    prefetch(&block[..block.len().min(SEARCHED_BYTES_MAX)]);
}

/// Collects sorted entries, and puts them together as a block.
#[derive(Debug, Default)]
pub(crate) struct BlockBuilder {
    /// Keys and values, one after the other.
    bytes: Vec<u8>,
    entries: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    kind: Kind,
    key_start: usize,
    value_start: usize,
}

impl BlockBuilder {
    /// Adds an entry whose key is greater than that of the entry before it.
    pub(crate) fn add(&mut self, key: &[u8], kind: Kind, value: &[u8]) {
        let key_start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.entries.push(Pending { kind, key_start, value_start: self.bytes.len() });
        self.bytes.extend_from_slice(value);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that the block would have at most.
    pub(crate) fn bytes(&self) -> usize {
        HEADER_BYTES + self.bytes.len() + 16 * self.entries.len()
    }

    fn key(&self, entry: &Pending) -> &[u8] {
        &self.bytes[entry.key_start..entry.value_start]
    }

    /// Appends the block to `out`, and empties the builder.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let prefix = match (self.entries.first(), self.entries.last()) {
            (Some(first), Some(last)) => common_prefix(self.key(first), self.key(last)),
            _ => 0,
        };
        out.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        out.extend_from_slice(&(prefix as u32).to_le_bytes());
        for entry in &self.entries {
            out.extend_from_slice(&head(&self.key(entry)[prefix..]).to_le_bytes());
        }
        let ends = self.entries.iter().skip(1).map(|entry| entry.key_start);
        let mut start = 0_u32;
        for (entry, end) in self.entries.iter().zip(ends.chain([self.bytes.len()])) {
            out.extend_from_slice(&start.to_le_bytes());
            let rest = (entry.value_start - entry.key_start - prefix).saturating_sub(8);
            start += (4 + rest + (end - entry.value_start)) as u32;
        }
        out.extend_from_slice(&self.bytes[..prefix]);
        let ends = self.entries.iter().skip(1).map(|entry| entry.key_start);
        for (entry, end) in self.entries.iter().zip(ends.chain([self.bytes.len()])) {
            let suffix = &self.key(entry)[prefix..];
            let meta = suffix.len() as u32 | (entry.kind as u32) << KIND_SHIFT;
            out.extend_from_slice(&meta.to_le_bytes());
            out.extend_from_slice(suffix.get(8..).unwrap_or_default());
            out.extend_from_slice(&self.bytes[entry.value_start..end]);
        }
        self.bytes.clear();
        self.entries.clear();
    }
}

/// What is wrong with a block whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Where the parts of a block are; to be used with the bytes that it was made from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    len: usize,
    prefix_at: usize,
    entries_at: usize,
    end: usize,
}

/// An entry of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'b> {
    pub(crate) kind: Kind,
    /// Length of the key without the prefix.
    suffix_bytes: usize,
    /// The key behind its head.
    rest: &'b [u8],
    pub(crate) value: &'b [u8],
    /// Where the value ends in the block.
    value_end: usize,
}

impl Entry<'_> {
    /// Where the value lies in the block.
    #[inline]
    pub(crate) fn value_range(&self) -> Range<usize> {
        self.value_end - self.value.len()..self.value_end
    }
}

impl Layout {
    /// The layout of `block`, which has no trailer.
    #[inline]
    pub(crate) fn parse(block: &[u8]) -> Result<Self, Malformed> {
        let (header, _) = block.split_first_chunk::<HEADER_BYTES>().ok_or(Malformed)?;
        let header = u64::from_le_bytes(*header);
        let (len, prefix) = ((header & 0xffff_ffff) as usize, (header >> 32) as usize);
        let prefix_at = HEADER_BYTES + len * 12;
        let entries_at = prefix_at + prefix;
        if len == 0 || entries_at > block.len() {
            return Err(Malformed);
        }
        Ok(Self { len, prefix_at, entries_at, end: block.len() })
    }

    /// Entries.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The prefix that all keys have in common.
    #[inline]
    pub(crate) fn prefix<'b>(&self, block: &'b [u8]) -> Result<&'b [u8], Malformed> {
        block.get(self.prefix_at..self.entries_at).ok_or(Malformed)
    }

    #[inline]
    pub(super) fn heads<'b>(&self, block: &'b [u8]) -> Result<&'b [[u8; 8]], Malformed> {
        let heads = block.get(HEADER_BYTES..HEADER_BYTES + 8 * self.len).ok_or(Malformed)?;
        Ok(heads.as_chunks().0)
    }

    /// Where the entry at `at` begins, counted from the first one.
    pub(super) fn start(&self, block: &[u8], at: usize) -> Result<u32, Malformed> {
        let start = block.get(HEADER_BYTES + 8 * self.len + 4 * at..self.prefix_at);
        let start = start.and_then(|starts| starts.first_chunk()).ok_or(Malformed)?;
        Ok(u32::from_le_bytes(*start))
    }

    /// Has the processor fetch what a search among the entries in `range` looks at, of which the first begins at `starts.start` and the one behind them at `starts.end`.
    #[inline]
    pub(super) fn prefetch(&self, block: &[u8], range: Range<usize>, starts: Range<u32>) {
        let part = |at: usize, end: usize| {
            let end = end.min(block.len()).min(at.saturating_add(SEARCHED_BYTES_MAX));
            prefetch(block.get(at..end).unwrap_or_default());
        };
        part(HEADER_BYTES + 8 * range.start, HEADER_BYTES + 8 * range.end);
        let starts_at = HEADER_BYTES + 8 * self.len;
        part(starts_at + 4 * range.start, starts_at + 4 * range.end);
        let entry_at = |start: u32| self.entries_at.saturating_add(start as usize);
        part(entry_at(starts.start), entry_at(starts.end));
    }

    /// Where the entry at `at` begins and ends.
    #[inline]
    fn bounds(&self, block: &[u8], at: usize) -> Result<(usize, usize), Malformed> {
        let starts = HEADER_BYTES + 8 * self.len;
        let starts = block.get(starts + 4 * at..self.prefix_at).ok_or(Malformed)?;
        let start_of = |start: &[u8; 4]| self.entries_at + u32::from_le_bytes(*start) as usize;
        match starts.as_chunks::<4>().0 {
            [start, end, ..] => Ok((start_of(start), start_of(end))),
            [start] => Ok((start_of(start), self.end)),
            [] => Err(Malformed),
        }
    }

    /// The entry at `at`.
    #[inline]
    pub(crate) fn entry<'b>(&self, block: &'b [u8], at: usize) -> Result<Entry<'b>, Malformed> {
        let (start, value_end) = self.bounds(block, at)?;
        let entry = block.get(start..value_end).ok_or(Malformed)?;
        let (meta, rest) = entry.split_first_chunk::<4>().ok_or(Malformed)?;
        let meta = u32::from_le_bytes(*meta);
        let kind = Kind::from_tag((meta >> KIND_SHIFT) as u8).ok_or(Malformed)?;
        let suffix_bytes = (meta & ((1 << KIND_SHIFT) - 1)) as usize;
        let (rest, value) =
            rest.split_at_checked(suffix_bytes.saturating_sub(8)).ok_or(Malformed)?;
        Ok(Entry { kind, suffix_bytes, rest, value, value_end })
    }

    /// Makes `key`, which begins with the block's prefix, the key of the entry at `at`.
    #[inline]
    pub(crate) fn read_key(
        &self,
        block: &[u8],
        at: usize,
        entry: &Entry<'_>,
        key: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let head = self.heads(block)?.get(at).ok_or(Malformed)?;
        let head = u64::from_le_bytes(*head).to_be_bytes();
        let prefix = self.entries_at - self.prefix_at;
        // Keys of one length, as most are, need no room made.
        if key.len() == prefix + entry.suffix_bytes
            && let Some((head_of_key, rest_of_key)) = key[prefix..].split_first_chunk_mut()
        {
            *head_of_key = head;
            rest_of_key.copy_from_slice(entry.rest);
            return Ok(());
        }
        key.truncate(prefix);
        key.extend_from_slice(&head[..entry.suffix_bytes.min(8)]);
        key.extend_from_slice(entry.rest);
        Ok(())
    }

    /// The first entry whose key is at least `key`, and whether it is equal.
    #[inline]
    pub(crate) fn lower_bound(&self, block: &[u8], key: &[u8]) -> Result<(usize, bool), Malformed> {
        self.lower_bound_among(block, key, |_| 0..self.len)
    }

    /// The same, where it is known in which range of positions the first head is that is at least some head, or at which range's end.
    #[inline]
    pub(super) fn lower_bound_among(
        &self,
        block: &[u8],
        key: &[u8],
        range_of: impl FnOnce(u64) -> Range<usize>,
    ) -> Result<(usize, bool), Malformed> {
        let prefix = self.prefix(block)?;
        let suffix = match key.strip_prefix(prefix) {
            Some(suffix) => suffix,
            None if key < prefix => return Ok((0, false)),
            None => return Ok((self.len, false)),
        };
        let (heads, head) = (self.heads(block)?, head(suffix));
        let range = range_of(head);
        let among = heads.get(range.clone()).ok_or(Malformed)?;
        let mut low =
            range.start + among.partition_point(|entry| u64::from_le_bytes(*entry) < head);
        if heads.get(low).is_none_or(|entry| u64::from_le_bytes(*entry) != head) {
            return Ok((low, false));
        }
        // Mostly there is one alone: no need to look through all that follow.
        let is_equal = |entry: &[u8; 8]| u64::from_le_bytes(*entry) == head;
        let mut high = low + 1;
        if heads.get(high).is_some_and(is_equal) {
            high += heads[high..].partition_point(is_equal);
        }
        while low < high {
            let middle = usize::midpoint(low, high);
            let entry = self.entry(block, middle)?;
            // Of two keys with one head, of which one is shorter than that, the rest of the other's head is zeros: the longer one is greater.
            let order = entry.suffix_bytes.min(8).cmp(&suffix.len().min(8));
            match order.then_with(|| entry.rest.cmp(suffix.get(8..).unwrap_or_default())) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok((middle, true)),
                Ordering::Greater => high = middle,
            }
        }
        Ok((low, false))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::deadline;
    use super::*;

    fn block(keys: &[&[u8]]) -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        for key in keys {
            builder.add(key, Kind::Put, key);
        }
        let mut out = Vec::new();
        builder.finish(&mut out);
        out
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let mut builder = BlockBuilder::default();
        builder.add(b"user10000000001", Kind::Put, b"one");
        builder.add(b"user2", Kind::Delete, b"");
        builder.add(b"user3", Kind::PutExpiring, &deadline::join(0x0102, b"two"));
        let mut out = Vec::new();
        builder.finish(&mut out);
        let golden: &[u8] = b"\x03\0\0\0\x04\0\0\0\
            00000001\0\0\0\0\0\0\x002\0\0\0\0\0\0\x003\
            \0\0\0\0\x0a\0\0\0\x0e\0\0\0\
            user\
            \x0b\0\0\x01001one\
            \x01\0\0\x02\
            \x01\0\0\x05\x02\x01\0\0\0\0\0\0two";
        assert_eq!(out, golden);
        assert_eq!(trailer(7, 4096, b"block", Compression::None), [0, 0x80, 0x61, 0x52, 0xb6]);
        for (compression, code) in [(Compression::Lz4, 1), (Compression::Zstd, 2)] {
            let crc = checksum(7, 4096, b"block", code).to_le_bytes();
            let trailer = trailer(7, 4096, b"block", compression);
            assert_eq!((trailer[0], &trailer[1..]), (code, &crc[..]));
            let stored = [b"block", &trailer[..]].concat();
            assert!(verify("t".as_ref(), 7, 4096, &stored).is_ok_and(|found| found == compression));
            assert!(verify_plain("t".as_ref(), 7, 4096, &stored).is_err());
        }
    }

    #[test]
    fn every_key_is_found_and_every_gap_has_its_place() {
        let keys: Vec<&[u8]> = vec![
            b"a",
            b"a\0",
            b"a\0\0",
            b"a\0\0\0\0\0\0\0\0",
            b"ab",
            b"abcdefgh",
            b"abcdefgh\0",
            b"abcdefghi",
            b"abcdefghij",
            b"b",
        ];
        for keys in [&keys[..], &keys[..9], &keys[4..9], &keys[9..]] {
            let block = block(keys);
            let layout = Layout::parse(&block).unwrap();
            let mut read = layout.prefix(&block).unwrap().to_vec();
            for (i, key) in keys.iter().enumerate() {
                assert_eq!(layout.lower_bound(&block, key), Ok((i, true)), "{key:?}");
                let entry = layout.entry(&block, i).unwrap();
                layout.read_key(&block, i, &entry, &mut read).unwrap();
                assert_eq!((&read[..], entry.value), (*key, *key));
                let behind = [key, &b"\0"[..]].concat();
                let expected = keys.partition_point(|other| *other < &behind[..]);
                assert_eq!(layout.lower_bound(&block, &behind).unwrap().0, expected);
            }
            assert_eq!(layout.lower_bound(&block, b""), Ok((0, false)));
            assert_eq!(layout.lower_bound(&block, b"z"), Ok((keys.len(), false)));
        }
    }

    #[test]
    fn hostile_bytes_are_malformed_and_nothing_worse() {
        let good = block(&[b"user1", b"user10000000000", b"user2"]);
        for at in 0..good.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                let Ok(layout) = Layout::parse(&bad) else { continue };
                for i in 0..layout.len().min(10) {
                    let _ = layout.entry(&bad, i);
                }
                let _ = layout.lower_bound(&bad, b"user10000000000");
            }
            let _ = Layout::parse(&good[..at]).map(|layout| layout.entry(&good[..at], 0));
        }
    }
}
