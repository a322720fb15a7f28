//! What the frames of a data file hold.
//!
//! A record, the payload of every frame but the first:
//!
//! ```text
//! offset  size  field
//! 0       1     kind: 1 value, 2 tombstone; plus flags: 0x80 the value expires, 0x40 it is compressed, 0x20 the batch goes on in the next frame
//! 1       2     key length − 1
//! 3       k     key
//! 3+k     0, 8  if the value expires: when, in milliseconds since the Unix epoch
//! …       v     value; empty for a tombstone. If compressed: its length (4), then an LZ4 block
//! ```
//!
//! The preface, the payload of the first frame:
//!
//! ```text
//! offset  size  field
//! 0       1     kind: 3
//! 1       8     magic: "kvdynoBC"
//! 9       2     version: 2
//! 11      4     id of this data file
//! 15      4     id of the data file that was active before this one; 0 if there was none, or it is irrelevant
//! 19      8     final length of that file
//! ```
//!
//! All integers are little-endian. The preface is how a recovery finds out that the file before this one lost its end: see `recovery.rs`. An atomic batch is a run of frames, all but the last of which
//! say that it goes on: it is there if its last frame is. In a file that a merge has written, and in any other whose end is known, that flag has no meaning any more.

use super::segment::FileId;
use crate::log::frame::{self, HEADER_BYTES, Header};
use crate::storage::File;
use crate::{Error, Result};

const KIND_VALUE: u8 = 1;
const KIND_TOMBSTONE: u8 = 2;
const KIND_PREFACE: u8 = 3;
const FLAG_EXPIRES: u8 = 0x80;
const FLAG_COMPRESSED: u8 = 0x40;
const FLAG_CONTINUES: u8 = 0x20;
const KIND_MASK: u8 = !(FLAG_EXPIRES | FLAG_COMPRESSED | FLAG_CONTINUES);

/// Bytes of a record before its key.
pub(crate) const RECORD_HEADER_BYTES: usize = 3;
const EXPIRY_BYTES: usize = 8;
const PREFACE_BYTES: usize = 27;
const MAGIC: [u8; 8] = *b"kvdynoBC";
const VERSION: u16 = 2;

/// Length of a data file that has nothing but its preface.
pub(crate) const PREFACE_FRAME_BYTES: u64 = frame::frame_bytes(PREFACE_BYTES);

/// The longest frame.
pub(crate) const FRAME_BYTES_MAX: u64 = frame::frame_bytes(
    RECORD_HEADER_BYTES + super::KEY_BYTES_MAX + EXPIRY_BYTES + super::VALUE_BYTES_MAX,
);

/// A record, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) key: &'a [u8],
    /// None for a tombstone.
    pub(crate) value: Option<Value<'a>>,
    /// The batch goes on in the next frame.
    pub(crate) continues: bool,
}

/// A value as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) compressed: bool,
    /// When it is gone, in milliseconds since the Unix epoch; None: never.
    pub(crate) expires_ms: Option<u64>,
}

impl<'a> Record<'a> {
    pub(crate) fn tombstone(key: &'a [u8]) -> Self {
        Self { key, value: None, continues: false }
    }

    /// Takes a payload apart; None if it is not a record.
    #[inline]
    pub(crate) fn decode(payload: &'a [u8]) -> Option<Self> {
        let (header, rest) = payload.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let kind = header[0];
        let key_bytes = usize::from(u16::from_le_bytes([header[1], header[2]])) + 1;
        let (key, rest) = rest.split_at_checked(key_bytes)?;
        let continues = kind & FLAG_CONTINUES != 0;
        let value = match kind & KIND_MASK {
            KIND_VALUE => {
                let (bytes, expires_ms) = if kind & FLAG_EXPIRES == 0 {
                    (rest, None)
                } else {
                    let (expiry, bytes) = rest.split_first_chunk::<EXPIRY_BYTES>()?;
                    (bytes, Some(u64::from_le_bytes(*expiry)))
                };
                Some(Value { bytes, compressed: kind & FLAG_COMPRESSED != 0, expires_ms })
            }
            KIND_TOMBSTONE if rest.is_empty() && kind & (FLAG_EXPIRES | FLAG_COMPRESSED) == 0 => {
                None
            }
            _ => return None,
        };
        Some(Self { key, value, continues })
    }

    /// The parts of the payload that are made up here: the bytes before the key, and those between key and value.
    #[inline]
    pub(crate) fn encode(&self) -> Encoded {
        debug_assert!((1..=super::KEY_BYTES_MAX).contains(&self.key.len()));
        let mut kind = match &self.value {
            None => KIND_TOMBSTONE,
            Some(value) if value.compressed => KIND_VALUE | FLAG_COMPRESSED,
            Some(_) => KIND_VALUE,
        };
        let mut expiry = [0; EXPIRY_BYTES];
        let expires_ms = self.value.and_then(|value| value.expires_ms);
        if let Some(expires_ms) = expires_ms {
            kind |= FLAG_EXPIRES;
            expiry = expires_ms.to_le_bytes();
        }
        if self.continues {
            kind |= FLAG_CONTINUES;
        }
        let [low, high] = ((self.key.len() - 1) as u16).to_le_bytes();
        Encoded { header: [kind, low, high], expiry, expires: expires_ms.is_some() }
    }

    /// Bytes of the record as a payload.
    #[inline]
    pub(crate) fn payload_bytes(&self) -> usize {
        let value = self
            .value
            .map_or(0, |value| value.bytes.len() + value.expires_ms.map_or(0, |_| EXPIRY_BYTES));
        RECORD_HEADER_BYTES + self.key.len() + value
    }

    /// Bytes of the frame that holds the record.
    #[inline]
    pub(crate) fn frame_bytes(&self) -> u64 {
        frame::frame_bytes(self.payload_bytes())
    }
}

/// See [`Record::encode`].
pub(crate) struct Encoded {
    header: [u8; RECORD_HEADER_BYTES],
    expiry: [u8; EXPIRY_BYTES],
    expires: bool,
}

impl Encoded {
    /// The payload in parts, in order.
    #[inline]
    pub(crate) fn parts<'a>(&'a self, record: &Record<'a>) -> [&'a [u8]; 4] {
        let expiry = if self.expires { &self.expiry[..] } else { &[] };
        [&self.header, record.key, expiry, record.value.map_or(&[], |value| value.bytes)]
    }
}

impl Value<'_> {
    /// Whether it is gone at `now_ms`, which is asked for only if it can be.
    #[inline]
    pub(crate) fn is_expired(&self, now_ms: impl FnOnce() -> u64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms())
    }
}

/// A record's key and length, read without its value and without verifying the checksum.
pub(crate) struct Glance<B> {
    bytes: B,
    /// It is a value that expires.
    pub(crate) expires: bool,
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
    let (payload_bytes, key_bytes, kind) = {
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(&file.read(offset, BYTES)?);
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&bytes[..HEADER_BYTES]);
        let key_bytes = usize::from(u16::from_le_bytes([bytes[BYTES - 2], bytes[BYTES - 1]])) + 1;
        (Header::decode(&header).payload_bytes as usize, key_bytes, bytes[HEADER_BYTES])
    };
    if RECORD_HEADER_BYTES + key_bytes > payload_bytes {
        return Err(not_a_record(file, offset));
    }
    Ok(Glance {
        bytes: file.read(offset, BYTES + key_bytes)?,
        expires: kind & FLAG_EXPIRES != 0,
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

    /// The preface that a data file begins with, of its first payload.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is none of this file.
    pub(crate) fn of<F: File>(file: &F, id: FileId, payload: &[u8]) -> Result<Self> {
        Self::decode(payload, id).map_err(|reason| Error::corrupt(file.path(), 0, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8]) -> Value<'_> {
        Value { bytes, compressed: false, expires_ms: None }
    }

    fn bytes(record: &Record<'_>) -> Vec<u8> {
        let bytes = record.encode().parts(record).concat();
        assert_eq!(bytes.len(), record.payload_bytes());
        assert_eq!(Record::decode(&bytes), Some(*record));
        bytes
    }

    #[test]
    fn the_layout_of_records_is_the_documented_one() {
        let plain = Record { key: b"key", value: Some(value(b"v")), continues: false };
        assert_eq!(bytes(&plain), b"\x01\x02\x00keyv");
        let all = Value { bytes: b"v", compressed: true, expires_ms: Some(0x0102) };
        let all = Record { key: b"key", value: Some(all), continues: true };
        assert_eq!(bytes(&all), b"\xe1\x02\x00key\x02\x01\0\0\0\0\0\0v");
        let longest = vec![7; 1 << 16];
        let tombstone = Record { continues: true, ..Record::tombstone(&longest) };
        assert_eq!(bytes(&tombstone)[..4], [0x22, 0xff, 0xff, 7]);
    }

    #[test]
    fn an_empty_value_is_not_a_tombstone() {
        let record = Record::decode(b"\x01\x00\x00k").unwrap();
        assert_eq!(record.value, Some(value(b"")));
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        for bytes in [
            &b""[..],
            b"\x01\x00\x00",
            b"\x01\x02\x00ke",
            b"\x02\x00\x00kv",
            b"\x82\x00\x00k",
            b"\x42\x00\x00k",
            b"\x81\x00\x00k1234567",
            b"\x00\x00\x00k",
            b"\x03\x00\x00k",
            b"\x11\x00\x00k",
        ] {
            assert_eq!(Record::decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn what_expires_does_so_at_its_time() {
        let value = |expires_ms| Value { bytes: b"", compressed: false, expires_ms };
        assert!(!value(None).is_expired(|| unreachable!("the clock is not read without need")));
        assert!(!value(Some(10)).is_expired(|| 9));
        assert!(value(Some(10)).is_expired(|| 10));
    }

    #[test]
    fn the_layout_of_the_preface_is_the_documented_one() {
        let preface = Preface { id: FileId(5), previous: Some((FileId(4), 0x0102)) };
        let bytes = preface.encode();
        assert_eq!(
            bytes,
            *b"\x03kvdynoBC\x02\x00\x05\x00\x00\x00\x04\x00\x00\x00\x02\x01\0\0\0\0\0\0"
        );
        assert_eq!(Preface::decode(&bytes, FileId(5)), Ok(preface));
        assert!(Preface::decode(&bytes, FileId(6)).unwrap_err().contains("file 5"));
        assert!(Preface::decode(&bytes[1..], FileId(5)).is_err());
    }
}
