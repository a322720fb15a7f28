//! A frame: a payload with its length, its checksum, and what was known to be durable when it was written.
//!
//! ```text
//! offset  size  field
//! 0       4     CRC-32 (IEEE) of bytes 4.. of the frame without padding, started from the log's id
//! 4       4     payload length in bytes, at least 1
//! 8       4     watermark: offset known to be synced in this log, in units of 8 bytes
//! 12      n     payload
//! 12+n    0–7   zeros up to a multiple of 8
//! ```
//!
//! All integers are little-endian. A frame begins at a multiple of 8. The checksum starts from the log's id, so
//! a frame that was copied, or left over from an earlier life of the file, does not pass in another log. A payload has at least one
//! byte, so that a run of zeros is never a frame.

use crate::storage::File;
use crate::{Error, Result};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 12;
/// Frames begin at multiples of this.
pub const ALIGNMENT: u64 = 8;
/// A log's longest possible length: the watermark counts units of 8 bytes in 32 bits.
pub const LOG_BYTES_MAX: u64 = (u32::MAX as u64) * ALIGNMENT;

/// Bytes that a frame with a payload of `payload_bytes` takes, padding included.
#[inline]
pub const fn frame_bytes(payload_bytes: usize) -> u64 {
    (HEADER_BYTES as u64 + payload_bytes as u64).next_multiple_of(ALIGNMENT)
}

/// The checksum of a frame: started from the log's id, over `header[4..12]` and the payload.
#[inline]
pub(crate) fn checksum(log_id: u32, header_rest: &[u8], payload: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(log_id);
    hasher.update(header_rest);
    for part in payload {
        hasher.update(part);
    }
    hasher.finalize()
}

/// Encodes the header of a frame whose payload is the concatenation of `payload`.
#[inline]
pub(crate) fn header(log_id: u32, watermark: u64, payload: &[&[u8]]) -> [u8; HEADER_BYTES] {
    let payload_bytes: usize = payload.iter().map(|part| part.len()).sum();
    let mut header = [0; HEADER_BYTES];
    header[4..8].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
    header[8..12].copy_from_slice(&((watermark / ALIGNMENT) as u32).to_le_bytes());
    let crc = checksum(log_id, &header[4..], payload);
    header[..4].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The fields of a frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Checksum as stored.
    pub crc: u32,
    /// Payload length in bytes.
    pub payload_bytes: u32,
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
        Self { crc: field(0), payload_bytes: field(4), watermark: u64::from(field(8)) * ALIGNMENT }
    }
}

/// A frame in a file whose checksum has been verified.
pub struct Frame<B> {
    bytes: B,
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
        Header::decode(&header)
    };
    if header.payload_bytes == 0 {
        return Err(Error::corrupt(
            file.path(),
            offset,
            "a frame begins here, but its payload length is 0",
        ));
    }
    if header.watermark > offset {
        let reason = format!(
            "the frame claims that byte {} was synced before it was written",
            header.watermark
        );
        return Err(Error::corrupt(file.path(), offset, reason));
    }
    let bytes = file.read(offset, HEADER_BYTES + header.payload_bytes as usize)?;
    let crc = checksum(log_id, &bytes[4..], &[]);
    if crc != header.crc {
        let reason = format!("the checksum is {crc:08x}, but the frame says {:08x}", header.crc);
        return Err(Error::corrupt(file.path(), offset, reason));
    }
    let end = offset + frame_bytes(header.payload_bytes as usize);
    Ok(Frame { bytes, watermark: header.watermark, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_documented_one() {
        let header = header(7, 4096, &[b"he", b"llo"]);
        assert_eq!(header[4..12], [5, 0, 0, 0, 0, 2, 0, 0]);
        let mut hasher = crc32fast::Hasher::new_with_initial(7);
        hasher.update(&[5, 0, 0, 0, 0, 2, 0, 0]);
        hasher.update(b"hello");
        assert_eq!(header[..4], hasher.finalize().to_le_bytes());
        assert_eq!(Header::decode(&header).watermark, 4096);
    }

    #[test]
    fn frames_are_padded_to_eight_bytes() {
        assert_eq!(frame_bytes(1), 16);
        assert_eq!(frame_bytes(4), 16);
        assert_eq!(frame_bytes(5), 24);
    }
}
