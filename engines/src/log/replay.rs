//! Reads a log back, and tells a torn tail from corruption.
//!
//! A log ends where power was lost, or the process was killed, or it was closed. Bytes that were never synced may be missing, zero or
//! torn after power loss; that is what durability class `os` allows. Bytes that *were* synced and are
//! now different are corruption, and no reason to forget what follows them. From the damaged bytes alone the two
//! cannot be told apart (Alagappan et al., "Protocol-Aware Recovery", FAST 2018), so the log carries what is known:
//!
//! 1. Frames are read from the start until one is invalid, at offset D.
//! 2. If the length is known ([`Expected::Exactly`]: a clean close or a rotation recorded it), D below it is corruption.
//! 3. Otherwise every valid frame, before D or after it, may say by its watermark that more than D was synced: corruption. For this the rest of the
//!    log is searched at every possible frame offset.
//! 4. Otherwise D is where the log was torn. What lies behind is dropped, and [`Tail`] says how much that was.

use super::frame::{self, ALIGNMENT, HEADER_BYTES, Header};
use crate::storage::File;
use crate::{Error, Result};

/// What is known about a log before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It was not closed: it may end anywhere, and may have a torn tail.
    Torn,
    /// It has exactly this many bytes, all of them synced; more may follow, which are not part of it.
    Exactly(u64),
}

/// Where a log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Bytes of valid frames from the start: where the log now ends.
    pub len: u64,
    /// Bytes behind it that were written once and are not part of the log any more; 0 if it ends cleanly.
    pub torn_bytes: u64,
    /// The highest watermark that a valid frame carried.
    pub watermark: u64,
}

/// Calls `visit` with the offset and payload of each frame of the log from `start`, in order.
///
/// Frames are visited before the end is judged; on an error the caller discards what it built from them.
///
/// # Errors
/// [`Error::Corrupt`] if bytes that had been synced are damaged, and whatever `visit` returns.
pub fn replay<F: File>(
    file: &F,
    id: u32,
    start: u64,
    expected: Expected,
    mut visit: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<Tail> {
    let mut watermark = start;
    let mut offset = start;
    let end = match expected {
        Expected::Torn => file.len(),
        Expected::Exactly(len) => len,
    };
    while offset < end {
        match frame::read(file, id, offset) {
            Ok(frame) => {
                watermark = watermark.max(frame.watermark);
                visit(offset, frame.payload())?;
                offset = frame.end;
            }
            Err(damage @ Error::Corrupt { .. }) => {
                if expected != Expected::Torn {
                    return Err(damage);
                }
                let tail = torn_tail(file, id, offset, watermark)?;
                return if tail.watermark > offset { Err(damage) } else { Ok(tail) };
            }
            Err(other) => return Err(other),
        }
    }
    if let Expected::Exactly(len) = expected
        && offset != len
    {
        let reason = format!("the log was closed at byte {len}, but a frame ends at byte {offset}");
        return Err(Error::corrupt(file.path(), offset, reason));
    }
    Ok(Tail { len: offset, torn_bytes: 0, watermark })
}

/// Looks through what follows the first invalid frame at `torn_at`: how much of it was ever written, and the highest watermark in it.
fn torn_tail<F: File>(file: &F, id: u32, torn_at: u64, watermark: u64) -> Result<Tail> {
    let rest = file.read(torn_at, (file.len() - torn_at) as usize)?;
    let written = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut tail = Tail { len: torn_at, torn_bytes: written as u64, watermark };
    // Garbage that passes for a header costs a checksum over the length that it claims. A log full of such headers must not take for ever: past this many bytes the
    // damage is nothing that a crash leaves behind, and refusing it loses nothing.
    let mut budget = 64 * (rest.len() as u64) + (64 << 20);
    let mut at = 0;
    while at + HEADER_BYTES < written {
        let mut bytes = [0; HEADER_BYTES];
        bytes.copy_from_slice(&rest[at..at + HEADER_BYTES]);
        let header = Header::decode(&bytes);
        let frame_end = at + HEADER_BYTES + header.payload_bytes as usize;
        let plausible = header.payload_bytes > 0
            && frame_end <= rest.len()
            && header.watermark <= torn_at + at as u64
            && header.watermark > tail.watermark;
        if plausible {
            budget = budget.checked_sub(header.payload_bytes.into()).ok_or_else(|| {
                Error::corrupt(
                    file.path(),
                    torn_at,
                    "what follows is neither a torn tail nor a log",
                )
            })?;
            if frame::checksum(id, &rest[at + 4..frame_end], &[]) == header.crc {
                tail.watermark = header.watermark;
            }
        }
        at += ALIGNMENT as usize;
    }
    Ok(tail)
}
