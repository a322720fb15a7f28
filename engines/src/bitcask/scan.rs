//! Reading a data file that may be damaged: what is whole is read, and what is not is told.
//!
//! 1. Frames are read from the start. Where none is valid, a gap begins.
//! 2. A gap ends where the next frame begins. If the file's hint is valid it says where that is, so that a value that holds the bytes of a data file is never
//!    taken for one; else it is looked for at every possible offset.
//! 3. Behind the last valid frame lies the tail.
//!
//! Nothing is judged here. Whether a gap or a tail is damage depends on what had been synced: see [`Scan::was_synced`].

use super::hint::Hint;
use super::record::{FRAME_BYTES_MAX, Preface, Record};
use super::segment::FileId;
use crate::compression::decompressed;
use crate::log::ReadAhead;
use crate::log::frame::{self, ALIGNMENT, HEADER_BYTES, Header};
use crate::storage::File;
use crate::{Error, Result};

/// A range of a data file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) reason: String,
    /// It is a frame whose checksum is right and covers what it holds. That is no record; but no write that was torn leaves it behind.
    pub(crate) is_whole: bool,
}

/// A record that was found.
pub(crate) struct Found<'a> {
    /// Of its frame.
    pub(crate) offset: u64,
    pub(crate) record: Record<'a>,
    /// The checksum covers the payload.
    pub(crate) checked: bool,
    /// The bytes behind the payload are zeros, as they should be.
    pub(crate) clean_padding: bool,
}

/// What follows in a data file.
pub(crate) enum Piece<'a> {
    Record(Found<'a>),
    /// Valid frames follow it.
    Gap(&'a Gap),
}

/// A data file, read through.
#[derive(Debug)]
pub(crate) struct Scan {
    /// None if it cannot be read.
    pub(crate) preface: Option<Preface>,
    /// The bytes behind the preface are zeros, as they should be.
    pub(crate) clean_preface: bool,
    /// In the order of their offsets.
    pub(crate) gaps: Vec<Gap>,
    /// Where the last valid frame ends.
    pub(crate) end: u64,
    /// What follows there, if the file goes on. Its length is that of what was ever written: 0 if only zeros follow.
    pub(crate) tail: Option<Gap>,
    /// The highest watermark of a valid frame.
    pub(crate) watermark: u64,
}

impl Scan {
    /// Gaps and the tail of a file of this length.
    pub(crate) fn lost(&self, len: u64) -> impl Iterator<Item = Gap> {
        let tail = self.tail.iter().map(move |tail| Gap { len: len - tail.offset, ..tail.clone() });
        self.gaps.iter().cloned().chain(tail)
    }

    /// Gaps and the tail: all that was written and cannot be read.
    pub(crate) fn unreadable(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter().chain(self.tail.iter().filter(|tail| tail.len > 0))
    }

    /// Where an open file was torn, if all before the first gap is whole: where its part of the store ends.
    pub(crate) fn torn_at(&self) -> u64 {
        self.unreadable().next().map_or(self.end, |gap| gap.offset)
    }

    /// Whether bytes at this offset had been synced: then it is damage that they cannot be read, and no torn tail.
    pub(crate) fn was_synced(&self, offset: u64) -> bool {
        self.watermark > offset
    }

    /// Whether a gap of an open file is damage, and not what a torn write leaves behind.
    pub(crate) fn is_damage(&self, gap: &Gap) -> bool {
        self.was_synced(gap.offset) || gap.is_whole
    }
}

/// Gaps that touch each other as one, so that a file that was cut off is told in one line and not record by record. With a hint each gap but the preface's is one record.
pub(crate) fn joined(gaps: impl Iterator<Item = Gap>, hinted: bool) -> Vec<Gap> {
    let mut joined: Vec<(Gap, u64)> = Vec::new();
    for gap in gaps {
        let records = u64::from(gap.offset > 0);
        match joined.last_mut() {
            Some((last, count)) if last.offset + last.len == gap.offset => {
                last.len += gap.len;
                *count += records;
            }
            _ => joined.push((gap, records)),
        }
    }
    let least = if hinted { "" } else { "at least " };
    let told = |(gap, records): (Gap, u64)| {
        if records < 2 {
            return gap;
        }
        let end = gap.offset + gap.len;
        let reason = format!(
            "{least}{records} records from here to byte {end} cannot be read; the first: {}",
            gap.reason
        );
        Gap { reason, ..gap }
    };
    joined.into_iter().map(told).collect()
}

/// How far a data file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// So many bytes, all of them frames.
    Known(u64),
    /// To the last frame that begins before this byte.
    Open(u64),
}

/// Reads a data file, and calls `visit` with what is found, in order.
///
/// # Errors
/// If the file cannot be read at all, and whatever `visit` returns.
pub(crate) fn scan<F: File>(
    file: &F,
    id: FileId,
    until: End,
    hint: Option<&Hint<F>>,
    mut visit: impl FnMut(Piece<'_>) -> Result<()>,
) -> Result<Scan> {
    let mut scan = Scan {
        preface: None,
        clean_preface: true,
        gaps: Vec::new(),
        end: 0,
        tail: None,
        watermark: 0,
    };
    let (end, frames_end) = match until {
        End::Known(len) => (len, len.next_multiple_of(ALIGNMENT)),
        End::Open(end) => (end, u64::MAX),
    };
    let mut budget = 64 * (end + (1 << 20));
    let (mut offset, mut ahead) = (0, ReadAhead::new(0));
    while offset < end {
        ahead.reach(file, offset);
        let (whole, reason) = match frame::read(file, id.0, offset) {
            Ok(frame) if frame.end <= frames_end => {
                scan.watermark = scan.watermark.max(frame.watermark);
                let clean_padding = has_clean_padding(file, offset, frame.payload().len())?;
                let at = std::mem::replace(&mut offset, frame.end);
                scan.end = frame.end;
                let reason = if at == 0 {
                    scan.clean_preface = clean_padding;
                    match Preface::decode(frame.payload(), id) {
                        Ok(preface) => {
                            scan.preface = Some(preface);
                            continue;
                        }
                        Err(reason) => reason,
                    }
                } else {
                    match record(frame.payload()) {
                        Ok(record) => {
                            let checked = is_checked(file, at)?;
                            visit(Piece::Record(Found {
                                offset: at,
                                record,
                                checked,
                                clean_padding,
                            }))?;
                            continue;
                        }
                        Err(reason) => reason.to_owned(),
                    }
                };
                offset = at;
                (Some((frame.end, frame.checked)), reason)
            }
            Ok(frame) => {
                let reason = format!("the frame ends at byte {}, the file at {end}", frame.end);
                (None, reason)
            }
            Err(Error::Corrupt { reason, .. }) => (None, reason),
            Err(other) => return Err(other),
        };
        let is_whole = whole.is_some_and(|(_, checked)| checked);
        let next = match whole {
            Some((end, _)) => Some(end),
            None => next_frame(file, id, offset, end, hint, &mut budget)?,
        };
        let Some(next) = next else {
            let len = written(file, offset, end)?;
            scan.tail = Some(Gap { offset, len, reason, is_whole });
            break;
        };
        let gap = Gap { offset, len: next - offset, reason, is_whole };
        visit(Piece::Gap(&gap))?;
        scan.gaps.push(gap);
        offset = next;
    }
    Ok(scan)
}

/// Takes a payload apart; a value that is compressed is tried.
fn record(payload: &[u8]) -> Result<Record<'_>, &'static str> {
    let record =
        Record::decode(payload).ok_or("a record is expected here, but the frame holds none")?;
    match record.value {
        Some(value) if value.compressed && decompressed(value.bytes, |_| ()).is_none() => {
            Err("the value of this record cannot be decompressed")
        }
        _ => Ok(record),
    }
}

fn is_checked<F: File>(file: &F, offset: u64) -> Result<bool> {
    let mut header = [0; HEADER_BYTES];
    header.copy_from_slice(&file.read(offset, HEADER_BYTES)?);
    Ok(Header::decode(&header).checked)
}

/// No checksum covers what fills a frame up, and nobody reads it; but it says something about the device.
fn has_clean_padding<F: File>(file: &F, offset: u64, payload_bytes: usize) -> Result<bool> {
    let end = offset + (HEADER_BYTES + payload_bytes) as u64;
    let padding = rest(file, end, offset + frame::frame_bytes(payload_bytes))?;
    Ok(padding.iter().all(|byte| *byte == 0))
}

/// The bytes from `from` to `end`, as far as the file goes.
fn rest<F: File>(file: &F, from: u64, end: u64) -> Result<F::Bytes<'_>> {
    let from = from.min(file.len());
    file.read(from, end.min(file.len()).saturating_sub(from) as usize)
}

/// Bytes from `offset` on up to the last one before `end` that is not zero.
pub(crate) fn written<F: File>(file: &F, offset: u64, end: u64) -> Result<u64> {
    let rest = rest(file, offset, end)?;
    Ok(rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1))
}

/// The offset of the next frame after the one at `offset`, which is not valid.
///
/// Garbage that passes for a record costs a checksum over the length that it claims. As in [`crate::log::replay`] there is a budget, and no candidate may take more
/// than a part of what is left of it.
fn next_frame<F: File>(
    file: &F,
    id: FileId,
    offset: u64,
    end: u64,
    hint: Option<&Hint<F>>,
    budget: &mut u64,
) -> Result<Option<u64>> {
    if let Some(hint) = hint {
        return hint.next_after(offset);
    }
    let from = offset + ALIGNMENT;
    let rest = rest(file, from, end)?;
    let mut at = 0;
    while let Some(header) = rest.get(at..).and_then(|rest| rest.first_chunk::<HEADER_BYTES>()) {
        let header = Header::decode(header);
        let frame_end = at + HEADER_BYTES + header.payload_bytes as usize;
        let offset = from + at as u64;
        let plausible = header.payload_bytes > 0
            && u64::from(header.payload_bytes) <= FRAME_BYTES_MAX.min(*budget / 64)
            && header.watermark <= offset;
        if plausible
            && let Some(frame) = rest.get(at..frame_end)
            && Record::decode(&frame[HEADER_BYTES..]).is_some()
        {
            *budget -= u64::from(header.payload_bytes);
            if frame::verify(id.0, &header, frame).is_ok() {
                return Ok(Some(offset));
            }
        }
        at += ALIGNMENT as usize;
    }
    Ok(None)
}
