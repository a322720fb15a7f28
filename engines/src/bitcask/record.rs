//! What the frames of a data file hold.
//!
//! A record, the payload of every frame but the first:
//!
//! ```text
//! offset  size  field
//! 0       1     kind: 1 value, 2 tombstone; plus 0x80 if, when it was written, another key with the same 64-bit hash was alive (a twin)
//! 1       2     key length − 1
//! 3       k     key
//! 3+k     v     value; empty for a tombstone
//! ```
//!
//! The preface, the payload of the first frame:
//!
//! ```text
//! offset  size  field
//! 0       1     kind: 3
//! 1       8     magic: "kvdynoBC"
//! 9       2     version: 1
//! 11      4     id of this data file
//! 15      4     id of the data file that was active before this one; 0 if there was none, or it is irrelevant
//! 19      8     final length of that file
//! ```
//!
//! All integers are little-endian. The preface is how a recovery finds out that the file before this one lost its end: see `recovery.rs`. The twin flag is what lets a
//! recovery take equal hashes for equal keys without reading them: see there, too.

use super::segment::FileId;
use crate::log::frame::{self, HEADER_BYTES, Header};
use crate::storage::File;
use crate::{Error, Result};

const KIND_VALUE: u8 = 1;
const KIND_TOMBSTONE: u8 = 2;
const KIND_PREFACE: u8 = 3;
const FLAG_TWIN: u8 = 0x80;

/// Bytes of a record before its key.
pub(crate) const RECORD_HEADER_BYTES: usize = 3;
const PREFACE_BYTES: usize = 27;
const MAGIC: [u8; 8] = *b"kvdynoBC";
const VERSION: u16 = 1;

/// Length of a data file that has nothing but its preface.
pub(crate) const PREFACE_FRAME_BYTES: u64 = frame::frame_bytes(PREFACE_BYTES);

/// The longest frame.
pub(crate) const FRAME_BYTES_MAX: u64 =
    frame::frame_bytes(RECORD_HEADER_BYTES + super::KEY_BYTES_MAX + super::VALUE_BYTES_MAX);

/// A record, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) key: &'a [u8],
    /// None for a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) twin: bool,
}

impl<'a> Record<'a> {
    /// Takes a payload apart; None if it is not a record.
    #[inline]
    pub(crate) fn decode(payload: &'a [u8]) -> Option<Self> {
        let (header, rest) = payload.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let key_bytes = usize::from(u16::from_le_bytes([header[1], header[2]])) + 1;
        let (key, value) = rest.split_at_checked(key_bytes)?;
        let value = match header[0] & !FLAG_TWIN {
            KIND_VALUE => Some(value),
            KIND_TOMBSTONE if value.is_empty() => None,
            _ => return None,
        };
        Some(Self { key, value, twin: header[0] & FLAG_TWIN != 0 })
    }

    /// The bytes before the key.
    #[inline]
    pub(crate) fn header(&self) -> [u8; RECORD_HEADER_BYTES] {
        debug_assert!((1..=super::KEY_BYTES_MAX).contains(&self.key.len()));
        let kind = if self.value.is_some() { KIND_VALUE } else { KIND_TOMBSTONE };
        let [low, high] = ((self.key.len() - 1) as u16).to_le_bytes();
        [if self.twin { kind | FLAG_TWIN } else { kind }, low, high]
    }

    /// Bytes of the record as a payload.
    #[inline]
    pub(crate) fn payload_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.key.len() + self.value.map_or(0, <[u8]>::len)
    }
}

/// A record's key and length, read without its value and without verifying the checksum.
pub(crate) struct Glance<B> {
    bytes: B,
    /// Bytes of the frame that holds the record.
    pub(crate) frame_bytes: u64,
}

impl<B: std::ops::Deref<Target = [u8]>> Glance<B> {
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES + RECORD_HEADER_BYTES..]
    }
}

/// Looks at the key of the record whose frame begins at `offset`.
///
/// # Errors
/// [`Error::Corrupt`] if no record can be there.
#[inline]
pub(crate) fn glance<F: File>(file: &F, offset: u64) -> Result<Glance<F::Bytes<'_>>> {
    const BYTES: usize = HEADER_BYTES + RECORD_HEADER_BYTES;
    let (payload_bytes, key_bytes) = {
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(&file.read(offset, BYTES)?);
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&bytes[..HEADER_BYTES]);
        let key_bytes = usize::from(u16::from_le_bytes([bytes[BYTES - 2], bytes[BYTES - 1]])) + 1;
        (Header::decode(&header).payload_bytes as usize, key_bytes)
    };
    if RECORD_HEADER_BYTES + key_bytes > payload_bytes {
        return Err(not_a_record(file, offset));
    }
    Ok(Glance {
        bytes: file.read(offset, BYTES + key_bytes)?,
        frame_bytes: frame::frame_bytes(payload_bytes),
    })
}

/// The error for a frame that is whole, but holds something else than a record.
pub(crate) fn not_a_record<F: File>(file: &F, offset: u64) -> Error {
    Error::corrupt(file.path(), offset, "a record is expected here, but the frame holds none")
}

/// The first payload of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preface {
    pub(crate) id: FileId,
    /// The file that was active before, and its final length.
    pub(crate) previous: Option<(FileId, u64)>,
}

impl Preface {
    pub(crate) fn encode(&self) -> [u8; PREFACE_BYTES] {
        let (previous, len) = self.previous.map_or((0, 0), |(id, len)| (id.0, len));
        let mut bytes = [0; PREFACE_BYTES];
        bytes[0] = KIND_PREFACE;
        bytes[1..9].copy_from_slice(&MAGIC);
        bytes[9..11].copy_from_slice(&VERSION.to_le_bytes());
        bytes[11..15].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[15..19].copy_from_slice(&previous.to_le_bytes());
        bytes[19..].copy_from_slice(&len.to_le_bytes());
        bytes
    }

    /// Takes a payload apart, and says what is wrong with it if it is not the preface of the file with this id.
    pub(crate) fn decode(payload: &[u8], id: FileId) -> Result<Self, String> {
        let bytes: &[u8; PREFACE_BYTES] =
            payload.try_into().map_err(|_| "the first frame is not a preface".to_owned())?;
        let number = |at: usize, len: usize| {
            bytes[at..at + len].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        if bytes[0] != KIND_PREFACE || bytes[1..9] != MAGIC {
            return Err("the first frame is not a preface".to_owned());
        }
        if number(9, 2) != u64::from(VERSION) {
            return Err(format!("the format's version is {}, expected {VERSION}", number(9, 2)));
        }
        if number(11, 4) != u64::from(id.0) {
            return Err(format!("the preface is that of file {}", number(11, 4)));
        }
        let previous = FileId(number(15, 4) as u32);
        Ok(Self { id, previous: (previous.0 != 0).then(|| (previous, number(19, 8))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_of_records_is_the_documented_one() {
        let record = Record { key: b"key", value: Some(b"v"), twin: false };
        assert_eq!(record.header(), [1, 2, 0]);
        assert_eq!(record.payload_bytes(), 7);
        assert_eq!(Record::decode(b"\x01\x02\x00keyv"), Some(record));
        let longest = vec![7; 1 << 16];
        let tombstone = Record { key: &longest, value: None, twin: true };
        assert_eq!(tombstone.header(), [0x82, 0xff, 0xff]);
    }

    #[test]
    fn an_empty_value_is_not_a_tombstone() {
        let record = Record::decode(b"\x01\x00\x00k").unwrap();
        assert_eq!(record.value, Some(&b""[..]));
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        for bytes in [
            &b""[..],
            b"\x01\x00\x00",
            b"\x01\x02\x00ke",
            b"\x02\x00\x00kv",
            b"\x00\x00\x00k",
            b"\x03\x00\x00k",
        ] {
            assert_eq!(Record::decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn the_layout_of_the_preface_is_the_documented_one() {
        let preface = Preface { id: FileId(5), previous: Some((FileId(4), 0x0102)) };
        let bytes = preface.encode();
        assert_eq!(
            bytes,
            *b"\x03kvdynoBC\x01\x00\x05\x00\x00\x00\x04\x00\x00\x00\x02\x01\0\0\0\0\0\0"
        );
        assert_eq!(Preface::decode(&bytes, FileId(5)), Ok(preface));
        assert!(Preface::decode(&bytes, FileId(6)).unwrap_err().contains("file 5"));
        assert!(Preface::decode(&bytes[1..], FileId(5)).is_err());
    }
}
