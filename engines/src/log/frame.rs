//! A frame: a payload with its length, its checksum, and what was known to be durable when it was written.
//!
//! ```text
//! offset  size  field
//! 0       4     CRC-32 (IEEE) of bytes 4.. of the frame without padding, started from the log's id
//! 4       4     payload length in bytes, at least 1; plus 2³¹ if the checksum covers bytes 4..12 only
//! 8       4     watermark: offset known to be synced in this log, in units of 8 bytes
//! 12      n     payload
//! 12+n    0–7   zeros up to a multiple of 8
//! ```
//!
//! All integers are little-endian. A frame begins at a multiple of 8. The checksum starts from the log's id, so
//! a frame that was copied, or left over from an earlier life of the file, does not pass in another log. A payload has at least one
//! byte, so that a run of zeros is never a frame.
//!
//! A frame whose checksum leaves the payload out shows what checksums cost, for callers who would rather not pay. Its length can be trusted, its payload cannot.

use std::path::Path;

use crate::storage::File;
use crate::{Error, Result};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 12;
/// Frames begin at multiples of this.
pub const ALIGNMENT: u64 = 8;
/// A log's longest possible length: the watermark counts units of 8 bytes in 32 bits.
pub const LOG_BYTES_MAX: u64 = (u32::MAX as u64) * ALIGNMENT;

/// In the length: the payload is not covered by the checksum.
const UNCHECKED: u32 = 1 << 31;

/// Bytes that a frame with a payload of `payload_bytes` takes, padding included.
#[inline]
pub const fn frame_bytes(payload_bytes: usize) -> u64 {
    (HEADER_BYTES as u64 + payload_bytes as u64).next_multiple_of(ALIGNMENT)
}

/// The checksum of a frame: started from the log's id, over `header[4..12]` and the payload.
#[inline]
fn checksum(log_id: u32, header_rest: &[u8], payload: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(log_id);
    hasher.update(header_rest);
    for part in payload {
        hasher.update(part);
    }
    hasher.finalize()
}

/// Encodes the header of a frame whose payload is the concatenation of `payload`. With `checked`, the checksum covers it.
#[inline]
pub(crate) fn header(
    log_id: u32,
    watermark: u64,
    checked: bool,
    payload: &[&[u8]],
) -> [u8; HEADER_BYTES] {
    let payload_bytes: usize = payload.iter().map(|part| part.len()).sum();
    let length = payload_bytes as u32 | if checked { 0 } else { UNCHECKED };
    let mut header = [0; HEADER_BYTES];
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..12].copy_from_slice(&((watermark / ALIGNMENT) as u32).to_le_bytes());
    let crc = checksum(log_id, &header[4..], if checked { payload } else { &[] });
    header[..4].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Whether the checksum of a frame is right, and if not, what it is. `bytes` are the frame without padding.
#[inline]
pub(crate) fn verify(log_id: u32, header: &Header, bytes: &[u8]) -> Result<(), u32> {
    let covered = if header.checked { bytes.len() } else { HEADER_BYTES };
    let crc = checksum(log_id, &bytes[4..covered], &[]);
    if crc == header.crc { Ok(()) } else { Err(crc) }
}

/// The fields of a frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Checksum as stored.
    pub crc: u32,
    /// Payload length in bytes.
    pub payload_bytes: u32,
    /// The checksum covers the payload, too.
    pub checked: bool,
    /// Offset known to be synced when the frame was written, in bytes.
    pub watermark: u64,
}

impl Header {
    /// Takes the fields apart; any bytes give a header, which says nothing about the frame being valid.
    #[inline]
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Self {
        let field = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let length = field(4);
        Self {
            crc: field(0),
            payload_bytes: length & !UNCHECKED,
            checked: length & UNCHECKED == 0,
            watermark: u64::from(field(8)) * ALIGNMENT,
        }
    }
}

/// A frame in a file whose checksum has been verified.
pub struct Frame<B> {
    bytes: B,
    /// The checksum covers the payload, too.
    pub checked: bool,
    /// Offset known to be synced when the frame was written.
    pub watermark: u64,
    /// Offset of the next frame.
    pub end: u64,
}

impl<B: std::ops::Deref<Target = [u8]>> Frame<B> {
    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }
}

/// Reads the frame at `offset` and verifies its checksum.
///
/// # Errors
/// [`Error::Corrupt`] if what lies there is not a frame of this log. Whether that is a torn tail is for [`super::replay`] to say.
pub fn read<F: File>(file: &F, log_id: u32, offset: u64) -> Result<Frame<F::Bytes<'_>>> {
    let header = {
        let bytes = file.read(offset, HEADER_BYTES)?;
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&bytes);
        checked_header(file.path(), offset, &header)?
    };
    let bytes = file.read(offset, HEADER_BYTES + header.payload_bytes as usize)?;
    checked_frame(file.path(), log_id, offset, header, bytes)
}

/// As [`read`], of a frame that has been read from the file at `path`: `bytes` are the frame without padding.
///
/// # Errors
/// As [`read`].
pub(crate) fn parse<'b>(
    path: &Path,
    log_id: u32,
    offset: u64,
    bytes: &'b [u8],
) -> Result<Frame<&'b [u8]>> {
    let header = bytes
        .first_chunk()
        .ok_or_else(|| Error::corrupt(path, offset, "a frame is shorter than its header"))?;
    let header = checked_header(path, offset, header)?;
    if bytes.len() - HEADER_BYTES != header.payload_bytes as usize {
        let (found, expected) = (header.payload_bytes, bytes.len() - HEADER_BYTES);
        let reason = format!("a frame of {found} bytes begins here, and not one of {expected}");
        return Err(Error::corrupt(path, offset, reason));
    }
    checked_frame(path, log_id, offset, header, bytes)
}

fn checked_header(path: &Path, offset: u64, bytes: &[u8; HEADER_BYTES]) -> Result<Header> {
    let header = Header::decode(bytes);
    if header.payload_bytes == 0 {
        let reason = "a frame begins here, but its payload length is 0";
        return Err(Error::corrupt(path, offset, reason));
    }
    if header.watermark > offset {
        let reason = format!(
            "the frame claims that byte {} was synced before it was written",
            header.watermark
        );
        return Err(Error::corrupt(path, offset, reason));
    }
    Ok(header)
}

fn checked_frame<B: std::ops::Deref<Target = [u8]>>(
    path: &Path,
    log_id: u32,
    offset: u64,
    header: Header,
    bytes: B,
) -> Result<Frame<B>> {
    if let Err(crc) = verify(log_id, &header, &bytes) {
        let reason = format!("the checksum is {crc:08x}, but the frame says {:08x}", header.crc);
        return Err(Error::corrupt(path, offset, reason));
    }
    let end = offset + frame_bytes(header.payload_bytes as usize);
    Ok(Frame { bytes, checked: header.checked, watermark: header.watermark, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksums were computed by zlib.
    #[test]
    fn the_layout_is_the_documented_one() {
        let golden = *b"\x2f\xa5\x3f\xdd\x05\0\0\0\0\x02\0\0";
        assert_eq!(header(7, 4096, true, &[b"he", b"llo"]), golden);
        let decoded = Header::decode(&golden);
        let expected =
            Header { crc: 0xdd3f_a52f, payload_bytes: 5, checked: true, watermark: 4096 };
        assert_eq!(decoded, expected);
        assert_eq!(verify(7, &decoded, &[&golden[..], b"hello"].concat()), Ok(()));
        let unchecked = *b"\x86\x68\xe1\x96\x05\0\0\x80\0\0\0\0";
        assert_eq!(header(7, 0, false, &[b"hello"]), unchecked);
    }

    #[test]
    fn a_payload_can_be_left_out_of_the_checksum() {
        let header = header(7, 0, false, &[b"hello"]);
        assert_eq!(header[4..8], [5, 0, 0, 0x80]);
        let decoded = Header::decode(&header);
        assert_eq!((decoded.payload_bytes, decoded.checked), (5, false));
        let mut bytes = [&header[..], b"jello"].concat();
        assert_eq!(verify(7, &decoded, &bytes), Ok(()));
        bytes[5] ^= 1;
        assert!(verify(7, &decoded, &bytes).is_err());
    }

    #[test]
    fn frames_are_padded_to_eight_bytes() {
        assert_eq!(frame_bytes(1), 16);
        assert_eq!(frame_bytes(4), 16);
        assert_eq!(frame_bytes(5), 24);
    }
}
