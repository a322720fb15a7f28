//! A file of values: frames as [`crate::log::frame`] describes them, whose log id is the number of the file, and whose watermark is 0.
//!
//! The first frame is the header:
//!
//! ```text
//! offset  size  field
//! 0       8     magic "kvdLSMvl"
//! 8       4     version: 1
//! 12      4     number of this file
//! ```
//!
//! Each further frame holds one value, with the key that it was written for:
//!
//! ```text
//! offset  size  field
//! 0       3     key length k
//! 3       1     compression: 0 none, 1 LZ4
//! 4       k     key
//! 4+k     v     value, up to the end; if compressed, its length (4), then an LZ4 block
//! ```
//!
//! What a table holds in place of the value is a pointer:
//!
//! ```text
//! offset  size  field
//! 0       4     number of the file
//! 4       8     offset of the frame in it
//! 12      4     payload length of the frame
//! ```
//!
//! All integers are little-endian. The key is there to make sure that a pointer leads to the value of its own key, and so that a file can be understood without the tables.

use super::super::codec::Decoder;
use super::super::files::FileNumber;
use super::super::options::KEY_BYTES_MAX;
use crate::log::frame;

const MAGIC: &[u8; 8] = b"kvdLSMvl";
const VERSION: u32 = 1;
/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 16;
/// Bytes that the header's frame takes.
pub(crate) const HEADER_FRAME_BYTES: u64 = frame::frame_bytes(HEADER_BYTES);
/// Bytes of a record before its key.
const RECORD_HEADER_BYTES: usize = 4;

/// The header of the file with this number.
pub(crate) fn header(number: FileNumber) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[12..].copy_from_slice(&number.to_le_bytes());
    out
}

/// Takes a header apart: the number of its file.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn decode_header(payload: &[u8]) -> Result<FileNumber, String> {
    let mut fields = Decoder::new(payload);
    if fields.slice(MAGIC.len()) != Some(MAGIC) {
        return Err("this is not the header of a file of values".to_owned());
    }
    let (version, number) =
        fields.u32().zip(fields.u32()).ok_or("the header of the file of values is cut")?;
    if version != VERSION {
        return Err(format!(
            "the file of values has version {version}, and this build knows version {VERSION}"
        ));
    }
    if !fields.is_empty() {
        return Err("the header of the file of values is too long".to_owned());
    }
    Ok(number)
}

/// A value as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) compressed: bool,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// What comes before the key.
    pub(crate) fn header(&self) -> [u8; RECORD_HEADER_BYTES] {
        (self.key.len() as u32 | u32::from(self.compressed) << 24).to_le_bytes()
    }

    /// Takes a payload apart; `None` if it is no record.
    #[inline]
    pub(crate) fn decode(payload: &'a [u8]) -> Option<Self> {
        let (header, rest) = payload.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let header = u32::from_le_bytes(*header);
        let key_bytes = (header & 0xff_ffff) as usize;
        let compressed = match header >> 24 {
            0 => false,
            1 => true,
            _ => return None,
        };
        let (key, bytes) = rest.split_at_checked(key_bytes)?;
        (1..=KEY_BYTES_MAX).contains(&key_bytes).then_some(Self { key, compressed, bytes })
    }
}

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) file: FileNumber,
    /// Of the frame.
    pub(crate) offset: u64,
    /// Payload length of the frame.
    pub(crate) bytes: u32,
}

impl Pointer {
    /// Bytes of an encoded pointer.
    pub(crate) const BYTES: usize = 16;

    pub(crate) fn encode(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..4].copy_from_slice(&self.file.to_le_bytes());
        out[4..12].copy_from_slice(&self.offset.to_le_bytes());
        out[12..].copy_from_slice(&self.bytes.to_le_bytes());
        out
    }

    /// Takes a pointer apart; `None` if it cannot be one.
    #[inline]
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes);
        let pointer = Self { file: fields.u32()?, offset: fields.u64()?, bytes: fields.u32()? };
        fields.is_empty().then_some(pointer)
    }

    /// Bytes of the file that the value takes.
    pub(crate) fn frame_bytes(self) -> u64 {
        frame::frame_bytes(self.bytes as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layouts_are_the_documented_ones() {
        assert_eq!(&header(258), b"kvdLSMvl\x01\0\0\0\x02\x01\0\0");
        assert_eq!(decode_header(&header(258)), Ok(258));
        let record = Record { key: b"key", compressed: true, bytes: b"value" };
        assert_eq!(record.header(), [3, 0, 0, 1]);
        assert_eq!(Record::decode(b"\x03\0\0\x01keyvalue"), Some(record));
        let pointer = Pointer { file: 7, offset: 4096, bytes: 258 };
        let golden = b"\x07\0\0\0\0\x10\0\0\0\0\0\0\x02\x01\0\0";
        assert_eq!(&pointer.encode(), golden);
        assert_eq!(Pointer::decode(golden), Some(pointer));
    }

    #[test]
    fn impossible_bytes_are_refused() {
        for bytes in [&b""[..], b"\x03\0\0", b"\0\0\0\0value", b"\x04\0\0\0key", b"\x03\0\0\x02key"]
        {
            assert_eq!(Record::decode(bytes), None, "{bytes:?}");
        }
        let long = [vec![1, 0, 1, 0], vec![b'k'; 1 << 17]].concat();
        assert_eq!(Record::decode(&long), None);
        assert_eq!(Pointer::decode(&[0; 15]), None);
        assert_eq!(Pointer::decode(&[0; 17]), None);
        assert!(decode_header(b"kvdLSMvl\x02\0\0\0\x02\x01\0\0").is_err());
        assert!(decode_header(&header(1)[..15]).is_err());
    }
}
