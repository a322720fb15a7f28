//! Finds the parts of a table whose footer or index is lost.
//!
//! 1. A part is followed by a checksum over the place where it lies and what it holds: its beginning and its end prove each other. The properties are found first, from the end of the file, as they tell their own length; they
//!    also say with which number the checksums start.
//! 2. From a place at which a part should begin, ends are tried byte by byte, which costs no more than one checksum up to there. Behind a part, or behind zeros up to a multiple of 64, the next one begins.
//! 3. Where there is no end, it is searched behind that place for one at which a block may begin, by what its first bytes would say. The more of this there was in vain, the shorter blocks must be
//!    to be found, so that garbage costs no more than some 64 checksums over the file.
//! 4. A block is the index if it names all blocks that were found, one behind the other from the file's start. With it, everything can be read as if nothing had been lost.

use super::super::codec::Decoder;
use super::super::files::{FILE_NUMBER_MAX, FileNumber};
use super::super::options::{Compression, KEY_BYTES_MAX};
use super::super::wal::Kind;
use super::TableMeta;
use super::block::{self, HEADER_BYTES, Layout, TRAILER_BYTES};
use super::compression::{UNPACKED_BYTES_MAX, unpack};
use super::filter::LINE_BYTES;
use super::footer::{BlockHandle, FOOTER_BYTES, Footer, Handle};
use super::ranges;

/// Properties are searched in so many bytes at the end of a file: two keys, and files of values.
const PROPERTIES_BYTES_MAX: usize = 2 * KEY_BYTES_MAX + (256 << 10);
/// Checksums are computed over so many times the bytes of the file, at most, in vain.
const TIMES_MAX: usize = 64;

/// What was found of a table.
#[derive(Debug, Default)]
pub(super) struct Searched {
    /// As the footer would name them; what was not found has neither place nor bytes.
    pub(super) filter: Handle,
    pub(super) index: Handle,
    pub(super) ranges: Handle,
    pub(super) properties: Option<(Handle, TableMeta)>,
    /// Data blocks, in their order.
    pub(super) blocks: Vec<BlockHandle>,
    /// Offsets and lengths of what is no part, and no padding.
    pub(super) gaps: Vec<Handle>,
    /// Number from which the checksums start.
    number: FileNumber,
}

impl Searched {
    /// A footer that names what was found, of a file of so many bytes.
    pub(super) fn footer(&self, file_bytes: u64) -> Footer {
        let properties = self.properties.as_ref().map_or(Handle::default(), |(at, _)| *at);
        let Self { filter, index, ranges, number, .. } = *self;
        Footer { filter, index, properties, ranges, number, file_bytes }
    }
}

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Data { is_packed: bool },
    Filter,
    Index,
    Ranges,
}

/// Searches the first bytes of a table, or all of them, for parts. `number` is that of its file.
pub(super) fn search(bytes: &[u8], number: FileNumber) -> Searched {
    let properties = find_properties(bytes, number);
    let end = properties.as_ref().map_or(bytes.len(), |(at, _)| at.offset as usize);
    let number = properties.as_ref().map_or(number, |(_, meta)| meta.number);
    let found = Searched { properties, number, ..Searched::default() };
    let budget = TIMES_MAX * (bytes.len() + (1 << 20));
    let mut search = Search { bytes: &bytes[..end], budget, found };
    search.run();
    search.found
}

/// The properties of the table in a file with this number, where its footer is lost: they end near the end of the file.
pub(super) fn find_properties(bytes: &[u8], number: FileNumber) -> Option<(Handle, TableMeta)> {
    let from = bytes.len().saturating_sub(PROPERTIES_BYTES_MAX + FOOTER_BYTES);
    (from..bytes.len()).rev().find_map(|offset| {
        let there = &bytes[offset..];
        let own = Decoder::new(there).u32()?;
        if own != number && own <= FILE_NUMBER_MAX {
            return None;
        }
        let mut fields = Decoder::new(there);
        let meta = TableMeta::decode(&mut fields)?;
        let len = there.len() - fields.len();
        let trailer = there.get(len..len + TRAILER_BYTES)?;
        let expected = block::trailer(own, offset as u64, &there[..len], Compression::None);
        let meta = TableMeta { file_bytes: bytes.len() as u64, ..meta };
        let handle = Handle { offset: offset as u64, bytes: len as u32 };
        (trailer == expected).then_some((handle, meta))
    })
}

struct Search<'b> {
    bytes: &'b [u8],
    /// Bytes over which checksums may still be computed in vain.
    budget: usize,
    found: Searched,
}

impl Search<'_> {
    fn run(&mut self) {
        let mut offset = 0;
        while offset < self.bytes.len() {
            let part = self.part_at(offset).or_else(|| self.part_at(self.behind_zeros(offset)?));
            offset = if let Some((at, part)) = part {
                self.take(at, part)
            } else {
                let may_begin = |at: &usize| may_begin(&self.bytes[*at..]);
                let next = (offset + 1..self.bytes.len()).find(may_begin);
                let next = next.unwrap_or(self.bytes.len());
                self.skip(offset, next);
                next
            };
        }
    }

    /// Where a part begins that lies behind zeros up to a multiple of 64.
    fn behind_zeros(&self, offset: usize) -> Option<usize> {
        let next = (offset + 1).next_multiple_of(LINE_BYTES);
        let zeros = self.bytes.get(offset..next)?.iter().all(|byte| *byte == 0);
        zeros.then_some(next)
    }

    /// Keeps a part, and returns where the next one begins.
    fn take(&mut self, at: Handle, part: Part) -> usize {
        let found = &mut self.found;
        match part {
            Part::Data { is_packed } => found.blocks.push(BlockHandle { part: at, is_packed }),
            Part::Filter => found.filter = at,
            Part::Index => found.index = at,
            Part::Ranges => found.ranges = at,
        }
        at.end() as usize
    }

    /// Leaves bytes out, and joins them with those before.
    fn skip(&mut self, from: usize, to: usize) {
        let bytes = (to - from) as u32;
        match self.found.gaps.last_mut() {
            Some(last) if last.offset + u64::from(last.bytes) == from as u64 => last.bytes += bytes,
            _ => self.found.gaps.push(Handle { offset: from as u64, bytes }),
        }
    }

    /// The part that begins at `offset`.
    fn part_at(&mut self, offset: usize) -> Option<(Handle, Part)> {
        let there = self.bytes.get(offset..)?;
        if !may_begin(there) && !offset.is_multiple_of(LINE_BYTES) {
            return None;
        }
        let looked_at = there.len().min(self.budget / TIMES_MAX);
        let there = &there[..looked_at];
        let mut hasher = crc32fast::Hasher::new_with_initial(self.found.number);
        hasher.update(&(offset as u64).to_le_bytes());
        let mut hashed = 0;
        for end in 0..there.len().saturating_sub(TRAILER_BYTES - 1) {
            let [compression, crc @ ..] = there[end..].first_chunk::<TRAILER_BYTES>()?;
            // Only here can be an end.
            if *compression > 2 {
                continue;
            }
            hasher.update(&there[hashed..end]);
            hashed = end;
            let mut with_compression = hasher.clone();
            with_compression.update(&[*compression]);
            if with_compression.finalize() == u32::from_le_bytes(*crc)
                && let Some(part) = self.part(offset, &there[..end], *compression)
            {
                return Some((Handle { offset: offset as u64, bytes: end as u32 }, part));
            }
        }
        self.budget -= looked_at;
        None
    }

    /// What a part is whose checksum is right.
    fn part(&self, offset: usize, bytes: &[u8], compression: u8) -> Option<Part> {
        let compression = match compression {
            0 => Compression::None,
            1 => Compression::Lz4,
            _ => Compression::Zstd,
        };
        if compression != Compression::None {
            let is_block = unpack(compression, bytes).is_some_and(|block| holds_entries(&block));
            return is_block.then_some(Part::Data { is_packed: true });
        }
        if self.is_index(offset, bytes).unwrap_or(false) {
            return Some(Part::Index);
        }
        if ranges::decode(bytes).is_ok() {
            return Some(Part::Ranges);
        }
        if holds_entries(bytes) {
            return Some(Part::Data { is_packed: false });
        }
        let is_lines = bytes.len().is_multiple_of(LINE_BYTES) && offset.is_multiple_of(LINE_BYTES);
        is_lines.then_some(Part::Filter)
    }

    /// Whether this is the block that names all blocks that were found.
    fn is_index(&self, offset: usize, bytes: &[u8]) -> Option<bool> {
        let layout = Layout::parse(bytes).ok()?;
        let mut found = self.found.blocks.iter().peekable();
        let mut end = 0;
        for at in 0..layout.len() {
            let entry = layout.entry(bytes, at).ok()?;
            let is_handle = entry.kind == Kind::Put && entry.value.len() == Handle::BYTES;
            let handle = BlockHandle::decode(entry.value).filter(|_| is_handle)?;
            if handle.part.offset != end {
                return None;
            }
            end = handle.part.end();
            found.next_if_eq(&&handle);
        }
        Some(found.next().is_none() && end <= offset as u64)
    }
}

/// Whether a block that is not compressed holds entries, and nothing else.
fn holds_entries(block: &[u8]) -> bool {
    let Ok(layout) = Layout::parse(block) else { return false };
    let mut entries = (0..layout.len()).map(|at| layout.entry(block, at));
    entries.all(|entry| entry.is_ok_and(|entry| entry.kind != Kind::DeleteRange))
}

/// Whether these may be the first bytes of a block; seldom wrong about others.
fn may_begin(bytes: &[u8]) -> bool {
    may_be_plain(bytes).unwrap_or(false) || may_be_packed(bytes).unwrap_or(false)
}

fn may_be_plain(bytes: &[u8]) -> Option<bool> {
    let mut header = Decoder::new(bytes.get(..HEADER_BYTES)?);
    let (entries, prefix) = (header.u32()? as usize, header.u32()? as usize);
    let starts = HEADER_BYTES + 8 * entries;
    let fits =
        entries > 0 && prefix <= KEY_BYTES_MAX && starts + 4 * entries + prefix < bytes.len();
    if !fits {
        return Some(false);
    }
    let mut starts = Decoder::new(bytes.get(starts..)?);
    Some(starts.u32()? == 0 && (entries == 1 || starts.u32()? >= 4))
}

fn may_be_packed(bytes: &[u8]) -> Option<bool> {
    const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let (length, body) = bytes.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    let fits = (HEADER_BYTES + 1..=UNPACKED_BYTES_MAX).contains(&length);
    Some(fits && (body.starts_with(&ZSTD_MAGIC) || may_be_lz4(body, length)?))
}

/// Whether a block of so many bytes may be packed so: LZ4 begins with literals, which are its header, or if they are fewer, are repeated from no further back than they go.
fn may_be_lz4(body: &[u8], length: usize) -> Option<bool> {
    /// Then the number of literals goes on in the bytes behind, up to one that is not 255.
    const AND_MORE: usize = 15;
    let (token, mut rest) = body.split_first()?;
    let literals = usize::from(token >> 4);
    if literals == AND_MORE {
        let last = rest.iter().position(|more| *more != u8::MAX)?;
        rest = &rest[last + 1..];
    }
    if literals < HEADER_BYTES {
        let back = u16::from_le_bytes(*rest.get(literals..)?.first_chunk()?);
        return Some((1..=literals).contains(&back.into()));
    }
    let mut header = Decoder::new(rest);
    let (entries, prefix) = (header.u32()? as usize, header.u32()? as usize);
    let fits = HEADER_BYTES + 12 * entries + prefix <= length;
    Some(entries > 0 && prefix <= KEY_BYTES_MAX && fits)
}

#[cfg(test)]
mod tests {
    use super::super::super::options::Compression::{Lz4, None as Plain, Zstd};
    use super::super::block::BlockBuilder;
    use super::super::compression::pack;
    use super::*;

    const NUMBER: FileNumber = 7;

    /// A file of parts, as they are stored and how that is.
    fn file(parts: &[(Vec<u8>, Compression)]) -> (Vec<u8>, Vec<Handle>) {
        let (mut file, mut handles) = (Vec::new(), Vec::new());
        for (part, compression) in parts {
            let offset = file.len() as u64;
            handles.push(Handle { offset, bytes: part.len() as u32 });
            file.extend_from_slice(part);
            file.extend_from_slice(&block::trailer(NUMBER, offset, part, *compression));
        }
        (file, handles)
    }

    fn block(from: u32, value: &[u8]) -> Vec<u8> {
        let (mut builder, mut out) = (BlockBuilder::default(), Vec::new());
        for i in from..from + 9 {
            builder.add(format!("user{i:06}").as_bytes(), Kind::Put, value);
        }
        builder.finish(&mut out);
        out
    }

    #[test]
    fn blocks_are_found_whatever_they_hold_and_however_they_are_stored() {
        for compression in [Plain, Lz4, Zstd] {
            let blocks = [(1, &b"v"[..]), (20, b""), (40, &[0; 70]), (60, &[2; 300])].map(
                |(from, value)| {
                    let (plain, mut packed) = (block(from, value), Vec::new());
                    match pack(compression, &plain, &mut packed) {
                        Plain => (plain, Plain),
                        compression => (packed, compression),
                    }
                },
            );
            let (bytes, handles) = file(&blocks);
            let all = search(&bytes, NUMBER);
            let found: Vec<_> = all.blocks.iter().map(|block| block.part).collect();
            assert_eq!((found, all.gaps), (handles.clone(), Vec::new()));
            for lost in 0..handles.len() {
                let mut damaged = bytes.clone();
                damaged[handles[lost].offset as usize + 30] ^= 1;
                let found = search(&damaged, NUMBER);
                let left = handles.iter().enumerate().filter(|(at, _)| *at != lost);
                let left: Vec<_> = left.map(|(_, handle)| *handle).collect();
                let at: Vec<_> = found.blocks.iter().map(|block| block.part).collect();
                assert_eq!(at, left, "{compression:?}, without {lost}");
                let bytes = handles[lost].bytes + TRAILER_BYTES as u32;
                assert_eq!(found.gaps, [Handle { bytes, ..handles[lost] }]);
            }
        }
    }

    /// What a table with another number, or another place, once had there is not taken.
    #[test]
    fn blocks_of_others_are_not_found() {
        let (bytes, _) = file(&[(block(1, b"v"), Plain), (block(20, b"w"), Plain)]);
        assert_eq!(search(&bytes, NUMBER + 1).blocks, []);
        assert_eq!(search(&[&[0; 64], &bytes[..]].concat(), NUMBER).blocks, []);
    }

    /// Values that look like places of blocks do not make an index of a data block, unless they are just those.
    #[test]
    fn the_index_is_the_block_that_names_all_others() {
        let index = |handles: &[Handle]| {
            let (mut builder, mut out) = (BlockBuilder::default(), Vec::new());
            for (at, part) in handles.iter().enumerate() {
                let handle = BlockHandle { part: *part, is_packed: false };
                builder.add(format!("user{at:06}").as_bytes(), Kind::Put, &handle.encode());
            }
            builder.finish(&mut out);
            out
        };
        let data = [(block(1, b"v"), Plain), (block(20, b"w"), Plain)];
        let (_, handles) = file(&data);
        let mut others = handles.clone();
        others[1].bytes -= 1;
        for (named, is_index) in [(&handles[..], true), (&handles[..1], false), (&others, false)] {
            let (bytes, _) = file(&[&data[..], &[(index(named), Plain)]].concat());
            let found = search(&bytes, NUMBER);
            assert_eq!(found.index != Handle::default(), is_index);
            assert_eq!(found.blocks.len(), if is_index { 2 } else { 3 });
        }
    }

    /// A megabyte of noise between blocks takes nothing from the search for those behind it.
    #[test]
    fn noise_hides_nothing() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let noise: Vec<u8> = (0..1 << 20).map(|_| next()).collect();
        for compression in [Plain, Lz4, Zstd] {
            let stored = |from| {
                let (plain, mut packed) = (block(from, &[7; 400]), Vec::new());
                if pack(compression, &plain, &mut packed) == Plain { plain } else { packed }
            };
            let (mut bytes, handles) = file(&[
                (stored(1), compression),
                (noise.clone(), Plain),
                (stored(20), compression),
            ]);
            let behind = handles[1].end() as usize - 1;
            bytes[behind] ^= 1;
            let found = search(&bytes, NUMBER);
            let at: Vec<_> = found.blocks.iter().map(|block| block.part).collect();
            assert_eq!(at, [handles[0], handles[2]], "{compression:?}");
        }
    }

    /// Bytes that begin like blocks everywhere cost no more than the budget.
    #[test]
    fn garbage_ends() {
        let header = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let bytes: Vec<u8> = header.into_iter().cycle().take(200_000).collect();
        let found = search(&bytes, NUMBER);
        assert_eq!(found.blocks, []);
        assert_eq!(found.gaps, [Handle { offset: 0, bytes: 200_000 }]);
    }
}
