//! Looks a log, or another file that is made of frames, through from outside: all whole writes, those behind a torn spot too.
//!
//! 1. Frames are read from the start. Where one is not whole, a gap begins, and it is searched behind it at every possible offset for one that is.
//! 2. What the search costs is bounded: garbage that passes for a header costs a checksum over the length that it claims, so the more of it there was, the smaller frames must be to be
//!    looked at, as in [`crate::log::replay`].

use super::files::FileNumber;
use super::wal::LogHeader;
use crate::log::frame::{self, ALIGNMENT, HEADER_BYTES, Header};
use crate::storage::File;
use crate::{Error, Result};

/// A range that is no whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) reason: String,
}

/// A whole write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write<'a> {
    /// Of its frame.
    pub(crate) offset: u64,
    pub(crate) payload: &'a [u8],
    /// It lies behind a gap.
    pub(crate) behind_gap: bool,
}

/// What a log holds, apart from its writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogScan {
    pub(crate) header: Option<LogHeader>,
    /// Bytes of whole frames from the start.
    pub(crate) used_bytes: u64,
    /// Where the log ends: with its last byte that is not zero, or as it was closed.
    pub(crate) end: u64,
    /// What is not whole.
    pub(crate) gaps: Vec<Gap>,
    /// The highest watermark of a whole frame: so much was synced.
    pub(crate) watermark: u64,
}

impl LogScan {
    /// Bytes from the first gap on.
    pub(crate) fn torn_bytes(&self) -> u64 {
        if self.gaps.is_empty() { 0 } else { self.end - self.used_bytes }
    }

    /// Whether something says that a gap had been synced.
    pub(crate) fn was_synced(&self, gap: &Gap, closed: Option<u64>) -> bool {
        gap.offset < self.watermark.max(closed.unwrap_or(0))
    }

    /// Whether a gap is an end such as a crash leaves: nothing whole follows, and nothing says that it had been synced.
    pub(crate) fn is_torn_end(&self, gap: &Gap, closed: Option<u64>) -> bool {
        gap.offset + gap.bytes >= self.end && !self.was_synced(gap, closed)
    }
}

/// Calls `visit` with every whole write of the log in `file`, in order. If it is `closed`, it is this long, and what follows is no part of it.
pub(crate) fn scan_log<F: File>(
    file: &F,
    number: FileNumber,
    closed: Option<u64>,
    mut visit: impl FnMut(Write<'_>) -> Result<()>,
) -> Result<LogScan> {
    let writes = |write: Write<'_>| if write.offset == 0 { Ok(()) } else { visit(write) };
    let scan = scan_frames(file, number, closed, writes)?;
    Ok(LogScan { header: LogHeader::read(file, number).ok(), ..scan })
}

/// As [`scan_log`] with the payloads of all frames, the header's too, of any file that is made of frames.
pub(crate) fn scan_frames<F: File>(
    file: &F,
    number: FileNumber,
    closed: Option<u64>,
    mut visit: impl FnMut(Write<'_>) -> Result<()>,
) -> Result<LogScan> {
    let written = written(file, closed)?;
    let end = closed.unwrap_or(written);
    let mut scan = LogScan { end, ..LogScan::default() };
    let mut budget = 64 * (written + (1 << 20));
    let mut offset = 0;
    while offset < end {
        match frame::read(file, number, offset) {
            Ok(frame) => {
                scan.watermark = scan.watermark.max(frame.watermark);
                let behind_gap = !scan.gaps.is_empty();
                visit(Write { offset, payload: frame.payload(), behind_gap })?;
                offset = frame.end;
                if scan.gaps.is_empty() {
                    scan.used_bytes = offset;
                }
            }
            Err(Error::Corrupt { reason, .. }) => {
                let next = next_frame(file, number, offset, written, &mut budget)?;
                let next = next.unwrap_or(end.max(offset));
                scan.gaps.push(Gap { offset, bytes: next - offset, reason });
                offset = next;
            }
            Err(other) => return Err(other),
        }
    }
    Ok(scan)
}

/// How far the file is not zeros, without what follows the end of a log that was closed.
fn written<F: File>(file: &F, closed: Option<u64>) -> Result<u64> {
    const CHUNK_BYTES: u64 = 1 << 20;
    let mut end = closed.map_or(file.len(), |len| len.min(file.len()));
    while end > 0 {
        let start = end.saturating_sub(CHUNK_BYTES);
        let bytes = file.read(start, (end - start) as usize)?;
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Where behind `offset` the next whole frame begins.
fn next_frame<F: File>(
    file: &F,
    number: FileNumber,
    offset: u64,
    written: u64,
    budget: &mut u64,
) -> Result<Option<u64>> {
    let mut at = offset + ALIGNMENT;
    while at + HEADER_BYTES as u64 <= written {
        let header = {
            let bytes = file.read(at, HEADER_BYTES)?;
            bytes.first_chunk().map(Header::decode)
        };
        let plausible = header.filter(|header| {
            let payload_bytes = u64::from(header.payload_bytes);
            payload_bytes > 0
                && payload_bytes <= (*budget / 64).min(file.len() - at - HEADER_BYTES as u64)
                && header.watermark <= at
        });
        if let Some(header) = plausible {
            *budget -= u64::from(header.payload_bytes);
            match frame::read(file, number, at) {
                Ok(_) => return Ok(Some(at)),
                Err(Error::Corrupt { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        at += ALIGNMENT;
    }
    Ok(None)
}
