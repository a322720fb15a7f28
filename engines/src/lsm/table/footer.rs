//! The end of a table: where everything else is.
//!
//! ```text
//! offset  size  field
//! 0       8     offset of the filter
//! 8       4     length of the filter
//! 12      8     offset of the index
//! 20      4     length of the index
//! 24      8     offset of the properties
//! 32      4     length of the properties
//! 36      8     offset of the ranges of deleted keys; 0 if there are none
//! 44      4     length of these; 0 if there are none
//! 48      4     number of the table: that of its file, or if it was written outside of a store, one that no file of a store has
//! 52      8     length of the file
//! 60      4     zero
//! 64      4     version: 5
//! 68      4     CRC-32 of bytes 0..68
//! 72      8     magic "kvdLSMtb"
//! ```
//!
//! Lengths are without the trailers.

use super::super::codec::Decoder;
use super::super::files::{FILE_NUMBER_MAX, FileNumber};
use super::block::TRAILER_BYTES;
use crate::storage::File;
use crate::{Error, Result};

/// Bytes of a footer.
pub(crate) const FOOTER_BYTES: usize = 80;
/// Bytes that the checksum covers.
const CHECKED_BYTES: usize = 68;
const MAGIC: &[u8; 8] = b"kvdLSMtb";
/// Version 1 did not say in the properties when the table was created; version 2 had no ranges of deleted keys and no value log, and kinds of two bits; versions 3 and, with compressed blocks, 4 had no values that expire.
const VERSION: u32 = 5;

/// A part of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
}

impl Handle {
    /// Bytes of an encoded handle.
    pub(crate) const BYTES: usize = 12;

    pub(crate) fn encode(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..].copy_from_slice(&self.bytes.to_le_bytes());
        out
    }

    #[inline]
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes);
        Some(Self { offset: fields.u64()?, bytes: fields.u32()? })
    }

    /// Where it ends, its trailer included.
    pub(crate) fn end(self) -> u64 {
        self.offset.saturating_add(self.bytes.into()).saturating_add(TRAILER_BYTES as u64)
    }
}

/// A data block, as the index has it: a handle, in which the top bit of the length says that the block is compressed; how, its trailer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHandle {
    pub(crate) part: Handle,
    pub(crate) is_packed: bool,
}

impl BlockHandle {
    const PACKED: u32 = 1 << 31;

    pub(crate) fn encode(self) -> [u8; Handle::BYTES] {
        let bytes = self.part.bytes | if self.is_packed { Self::PACKED } else { 0 };
        Handle { bytes, ..self.part }.encode()
    }

    #[inline]
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let Handle { offset, bytes } = Handle::decode(bytes)?;
        let part = Handle { offset, bytes: bytes & !Self::PACKED };
        Some(Self { part, is_packed: bytes & Self::PACKED != 0 })
    }
}

/// The end of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) filter: Handle,
    pub(crate) index: Handle,
    pub(crate) properties: Handle,
    /// Without bytes if there are none.
    pub(crate) ranges: Handle,
    pub(crate) number: FileNumber,
    pub(crate) file_bytes: u64,
}

impl Footer {
    pub(crate) fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut out = [0; FOOTER_BYTES];
        out[..12].copy_from_slice(&self.filter.encode());
        out[12..24].copy_from_slice(&self.index.encode());
        out[24..36].copy_from_slice(&self.properties.encode());
        out[36..48].copy_from_slice(&self.ranges.encode());
        out[48..52].copy_from_slice(&self.number.to_le_bytes());
        out[52..60].copy_from_slice(&self.file_bytes.to_le_bytes());
        out[64..68].copy_from_slice(&VERSION.to_le_bytes());
        let crc = crc32fast::hash(&out[..CHECKED_BYTES]);
        out[68..72].copy_from_slice(&crc.to_le_bytes());
        out[72..].copy_from_slice(MAGIC);
        out
    }

    /// Reads the footer of the table in `file`, which should have this number and length.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not whole, or that of another table. One that comes from outside of the store can be in any file.
    pub(crate) fn read<F: File>(file: &F, number: FileNumber, file_bytes: u64) -> Result<Self> {
        let corrupt = |offset, reason: &str| Error::corrupt(file.path(), offset, reason);
        if file.len() != file_bytes {
            let found = file.len();
            let reason = format!("the table has {found} bytes, but the manifest says {file_bytes}");
            return Err(corrupt(found.min(file_bytes), &reason));
        }
        let Some(at) = file_bytes.checked_sub(FOOTER_BYTES as u64) else {
            return Err(corrupt(file_bytes, "the file is too short for a table"));
        };
        let mut bytes = [0; FOOTER_BYTES];
        file.read_into(at, &mut bytes)?;
        let footer = Self::decode(&bytes).map_err(|reason| corrupt(at, &reason))?;
        let is_this = footer.number == number || footer.is_from_outside();
        if !is_this || footer.file_bytes != file_bytes {
            return Err(corrupt(at, "this is the footer of another table"));
        }
        Ok(footer)
    }

    /// Whether the table was written outside of a store: then its number is not that of its file.
    pub(crate) fn is_from_outside(&self) -> bool {
        self.number > FILE_NUMBER_MAX
    }

    /// Whether a file ends as a table of another version does, as far as its last bytes tell.
    pub(crate) fn claims_other_version(file: &[u8]) -> bool {
        let version = |end: &[u8; 16]| Decoder::new(&end[..4]).u32();
        let end = file.last_chunk().filter(|end: &&[u8; 16]| end.ends_with(MAGIC));
        end.is_some_and(|end| version(end) != Some(VERSION))
    }

    /// Takes a footer apart.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn decode(bytes: &[u8; FOOTER_BYTES]) -> Result<Self, String> {
        if &bytes[72..] != MAGIC {
            return Err("the file does not end as a table does".to_owned());
        }
        // The footer of an older version is shorter, with the same end.
        let older =
            Decoder::new(&bytes[64..]).u32().filter(|version| (1..VERSION).contains(version));
        if let Some(version) = older {
            return Err(of_another_version(version));
        }
        let mut fields = Decoder::new(bytes);
        let mut decode = || {
            let mut handle = || Some(Handle { offset: fields.u64()?, bytes: fields.u32()? });
            let (filter, index, properties) = (handle()?, handle()?, handle()?);
            let ranges = handle()?;
            let (number, file_bytes, zero) = (fields.u32()?, fields.u64()?, fields.u32()?);
            let (version, crc) = (fields.u32()?, fields.u32()?);
            let footer = Self { filter, index, properties, ranges, number, file_bytes };
            Some((footer, zero, version, crc))
        };
        let (footer, zero, version, crc) = decode().ok_or("the footer is too short")?;
        if crc != crc32fast::hash(&bytes[..CHECKED_BYTES]) {
            return Err("the footer's checksum is wrong".to_owned());
        }
        if version != VERSION {
            return Err(of_another_version(version));
        }
        if zero != 0 {
            return Err("the footer is not as this version has it".to_owned());
        }
        Ok(footer)
    }
}

fn of_another_version(version: u32) -> String {
    format!(
        "the table has version {version}, and this build knows version {VERSION}: use the build that wrote it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> Footer {
        Footer {
            filter: Handle { offset: 64, bytes: 128 },
            index: Handle { offset: 197, bytes: 50 },
            properties: Handle { offset: 252, bytes: 60 },
            ranges: Handle { offset: 317, bytes: 40 },
            number: 3,
            file_bytes: 442,
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let golden =
            b"\x40\0\0\0\0\0\0\0\x80\0\0\0\xc5\0\0\0\0\0\0\0\x32\0\0\0\xfc\0\0\0\0\0\0\0\x3c\0\0\0\
            \x3d\x01\0\0\0\0\0\0\x28\0\0\0\
            \x03\0\0\0\xba\x01\0\0\0\0\0\0\0\0\0\0\x05\0\0\0";
        let bytes = footer().encode();
        assert_eq!(bytes[..68], golden[..]);
        assert_eq!(&bytes[72..], b"kvdLSMtb");
        assert_eq!(Footer::decode(&bytes), Ok(footer()));
    }

    #[test]
    fn the_index_says_which_blocks_are_compressed() {
        let part = Handle { offset: 0x0102, bytes: 0x03 };
        for (is_packed, top) in [(false, 0), (true, 0x80)] {
            let block = BlockHandle { part, is_packed };
            let bytes = block.encode();
            assert_eq!(bytes, [2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, top]);
            assert_eq!(BlockHandle::decode(&bytes), Some(block));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for at in 0..FOOTER_BYTES * 8 {
            let mut bytes = footer().encode();
            bytes[at / 8] ^= 1 << (at % 8);
            assert!(Footer::decode(&bytes).is_err(), "bit {at}");
        }
    }
}
