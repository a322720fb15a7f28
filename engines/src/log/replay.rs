//! Reads a log back, and tells a torn tail from corruption.
//!
//! A log ends where power was lost, or the process was killed, or it was closed. Bytes that were never synced may be missing, zero or
//! torn after power loss; that is what durability class `os` allows. Bytes that *were* synced and are
//! now different are corruption, and no reason to forget what follows them. From the damaged bytes alone the two
//! cannot be told apart (Alagappan et al., "Protocol-Aware Recovery", FAST 2018), so the log carries what is known:
//!
//! 1. Frames are read from the start until one is invalid, at offset D. One whose checksum leaves the payload out is invalid, too, if who visits it finds it damaged.
//! 2. If the length is known ([`Expected::Exactly`]: a clean close or a rotation recorded it), D below it is corruption.
//! 3. Otherwise every valid frame, before D or after it, may say by its watermark that more than D was synced: corruption. For this the rest of the
//!    log is searched at every possible frame offset.
//! 4. Otherwise D is where the log was torn. What lies behind is dropped, and [`Tail`] says how much that was.

use super::ReadAhead;
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
/// [`Error::Corrupt`] if bytes that had been synced are damaged, and whatever `visit` returns, unless that is [`Error::Corrupt`] for a frame whose checksum leaves the payload out and
/// nothing says that it had been synced.
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
    let mut ahead = ReadAhead::new(start);
    while offset < end {
        ahead.reach(file, offset);
        let damage = match frame::read(file, id, offset) {
            Ok(frame) => {
                watermark = watermark.max(frame.watermark);
                match visit(offset, frame.payload()) {
                    Ok(()) => {
                        offset = frame.end;
                        continue;
                    }
                    // The header is whole, and says nothing about the payload.
                    Err(damage @ Error::Corrupt { .. }) if !frame.checked => damage,
                    Err(other) => return Err(other),
                }
            }
            Err(damage @ Error::Corrupt { .. }) => damage,
            Err(other) => return Err(other),
        };
        if expected != Expected::Torn {
            return Err(damage);
        }
        let tail = torn_tail(file, id, offset, watermark)?;
        return if tail.watermark > offset { Err(damage) } else { Ok(tail) };
    }
    if let Expected::Exactly(len) = expected
        && offset != len
    {
        let reason = format!("the log was closed at byte {len}, but a frame ends at byte {offset}");
        return Err(Error::corrupt(file.path(), offset, reason));
    }
    Ok(Tail { len: offset, torn_bytes: 0, watermark })
}

/// Looks through what follows the first invalid frame at `torn_at`: how much of it was ever written, and whether a valid frame in it says that
/// more than `torn_at` was synced; if so, its watermark.
fn torn_tail<F: File>(file: &F, id: u32, torn_at: u64, watermark: u64) -> Result<Tail> {
    let rest = file.read(torn_at, (file.len() - torn_at) as usize)?;
    let written = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut tail = Tail { len: torn_at, torn_bytes: written as u64, watermark };
    // Garbage that passes for a header costs a checksum over the length that it claims, and a large log full of garbage holds many such headers. They must neither
    // take for ever nor be an error, as power loss leaves garbage behind. So there is a budget, and no candidate may take more than a part of what is left
    // of it: at first that is any frame, and the more garbage there was, the smaller frames must be to be looked at.
    let mut budget = 64 * (rest.len() + (1 << 20));
    let mut at = 0;
    while at < written && tail.watermark <= torn_at {
        let Some(bytes) = rest[at..].first_chunk::<HEADER_BYTES>() else { break };
        let header = Header::decode(bytes);
        let payload_bytes = header.payload_bytes as usize;
        let plausible = payload_bytes > 0
            && payload_bytes <= (rest.len() - at - HEADER_BYTES).min(budget / 64)
            && header.watermark <= torn_at + at as u64;
        let mut step = ALIGNMENT;
        if plausible {
            budget -= payload_bytes;
            let frame_end = at + HEADER_BYTES + payload_bytes;
            if frame::verify(id, &header, &rest[at..frame_end]).is_ok() {
                tail.watermark = tail.watermark.max(header.watermark);
                step = frame::frame_bytes(payload_bytes);
            }
        }
        at += step as usize;
    }
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::log::LogWriter;
    use crate::storage::{SimulatedDisk, Storage};

    const ID: u32 = 0x1234;
    const START: u64 = 16;

    /// A log's bytes and where each frame begins, made of payloads; `sync` tells the log that all before it is synced.
    struct Log {
        writer: LogWriter<<SimulatedDisk as Storage>::Appender>,
        disk: SimulatedDisk,
        offsets: Vec<u64>,
    }

    impl Log {
        fn new(id: u32) -> Self {
            let disk = SimulatedDisk::new();
            let mut appender = disk.create(Path::new("/log"), Some(1 << 20)).unwrap();
            crate::storage::Appender::append(&mut appender, &[&[0xaa; START as usize]]).unwrap();
            Self { writer: LogWriter::new(appender, id), disk, offsets: Vec::new() }
        }

        fn append(mut self, payload: &[u8]) -> Self {
            self.offsets.push(self.writer.append(&[payload]).unwrap());
            self
        }

        fn sync(mut self) -> Self {
            self.writer.advance_watermark(self.writer.len());
            self
        }

        fn bytes(self) -> (Vec<u8>, Vec<u64>) {
            let mut offsets = self.offsets;
            offsets.push(self.writer.len());
            self.writer.finish().unwrap();
            (self.disk.read_all(Path::new("/log")).unwrap(), offsets)
        }
    }

    /// Frames before and after a sync: a watermark at the third stands for the first two.
    fn half_synced() -> (Vec<u8>, Vec<u64>) {
        Log::new(ID)
            .append(b"one")
            .append(b"second")
            .sync()
            .append(b"number 3")
            .append(b"4")
            .bytes()
    }

    /// Payloads and the tail.
    fn replay_bytes(bytes: &[u8], expected: Expected) -> Result<(Vec<Vec<u8>>, Tail)> {
        let disk = SimulatedDisk::new();
        disk.write_all(Path::new("/log"), bytes);
        let file = disk.open(Path::new("/log"))?;
        let mut payloads = Vec::new();
        let tail = replay(&file, ID, START, expected, |_, payload| {
            payloads.push(payload.to_vec());
            Ok(())
        })?;
        Ok((payloads, tail))
    }

    fn corrupt_at(result: Result<(Vec<Vec<u8>>, Tail)>) -> u64 {
        match result {
            Err(Error::Corrupt { offset, .. }) => offset,
            other => panic!("this should be corruption: {other:?}"),
        }
    }

    #[test]
    fn a_whole_log_is_read_back() {
        let (bytes, offsets) = half_synced();
        let (payloads, tail) = replay_bytes(&bytes, Expected::Torn).unwrap();
        assert_eq!(payloads, [&b"one"[..], b"second", b"number 3", b"4"]);
        assert_eq!(tail, Tail { len: offsets[4], torn_bytes: 0, watermark: offsets[2] });
        let with_room = [bytes, vec![0; 4096]].concat();
        assert_eq!(replay_bytes(&with_room, Expected::Torn).unwrap(), (payloads, tail));
    }

    #[test]
    fn a_log_torn_at_any_byte_keeps_its_whole_frames() {
        let (bytes, offsets) =
            Log::new(ID).append(b"one").append(b"second").append(&[3; 100]).bytes();
        let ends: Vec<usize> = [3, 6, 100]
            .iter()
            .zip(&offsets)
            .map(|(len, at)| *at as usize + HEADER_BYTES + len)
            .collect();
        for cut in START as usize..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let cut_off = bytes[..cut].to_vec();
            let zeroed = [&bytes[..cut], &vec![0; 500]].concat();
            for torn in [cut_off, zeroed] {
                let (payloads, tail) = replay_bytes(&torn, Expected::Torn).unwrap();
                assert_eq!((payloads.len(), tail.len), (whole, offsets[whole]), "cut at {cut}");
                let rest = bytes[..cut].get(tail.len as usize..).unwrap_or_default();
                let written = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                assert_eq!(tail.torn_bytes, written as u64, "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_corruption_below_the_watermark_and_a_torn_tail_above() {
        let (bytes, offsets) = half_synced();
        let (payloads, _) = replay_bytes(&bytes, Expected::Torn).unwrap();
        for at in START..bytes.len() as u64 {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at as usize] ^= 1 << bit;
                let frame = offsets.iter().rposition(|offset| *offset <= at).unwrap();
                let padding = at - offsets[frame] >= (HEADER_BYTES + payloads[frame].len()) as u64;
                let result = replay_bytes(&bytes, Expected::Torn);
                if padding {
                    assert_eq!(result.unwrap().0, payloads);
                } else if at < offsets[2] {
                    assert_eq!(corrupt_at(result), offsets[frame], "byte {at}");
                } else {
                    let (found, tail) = result.unwrap();
                    assert_eq!((&found[..], tail.len), (&payloads[..frame], offsets[frame]));
                    assert!(tail.torn_bytes > 0);
                }
            }
        }
    }

    #[test]
    fn a_frame_of_zeros_is_evidence_too() {
        let log = Log::new(ID).append(b"one").append(b"second").sync().append(&[0; 4]);
        let (mut bytes, offsets) = log.bytes();
        bytes[offsets[1] as usize + HEADER_BYTES] ^= 1;
        assert_eq!(corrupt_at(replay_bytes(&bytes, Expected::Torn)), offsets[1]);
    }

    #[test]
    fn a_zeroed_sector_of_synced_frames_is_corruption() {
        let log = (0..100).fold(Log::new(ID), |log, number| log.append(&[number + 1; 40]));
        let (mut bytes, offsets) = log.sync().append(b"last").bytes();
        bytes[1024..1536].fill(0);
        let damaged = *offsets.iter().rfind(|offset| **offset <= 1024).unwrap();
        assert_eq!(corrupt_at(replay_bytes(&bytes, Expected::Torn)), damaged);
    }

    #[test]
    fn unsynced_frames_behind_damage_are_dropped_and_counted() {
        let (mut bytes, offsets) =
            Log::new(ID).append(b"one").append(&[2; 50]).append(b"3").bytes();
        bytes[offsets[1] as usize..offsets[2] as usize].fill(0);
        let (payloads, tail) = replay_bytes(&bytes, Expected::Torn).unwrap();
        assert_eq!(payloads, [b"one"]);
        let torn_bytes = offsets[2] - offsets[1] + HEADER_BYTES as u64 + 1;
        assert_eq!(tail, Tail { len: offsets[1], torn_bytes, watermark: START });
    }

    #[test]
    fn frames_of_another_log_say_nothing() {
        let (bytes, offsets) = Log::new(ID).append(b"one").bytes();
        let padding = vec![1; offsets[1] as usize - START as usize - HEADER_BYTES];
        let (other, _) =
            Log::new(ID + 1).append(&padding).sync().append(b"stale").append(b"stale").bytes();
        let mixed = [&bytes, &other[bytes.len()..]].concat();
        let (payloads, tail) = replay_bytes(&mixed, Expected::Torn).unwrap();
        assert_eq!((payloads, tail.len), (vec![b"one".to_vec()], offsets[1]));
        assert!(tail.torn_bytes > 0);
    }

    #[test]
    fn hostile_headers_are_torn_tails() {
        let (bytes, offsets) = Log::new(ID).append(b"one").bytes();
        for len in [0, 1, 7, 500, 501, 1 << 20, u32::MAX - 12, u32::MAX] {
            for watermark in [0, 1, offsets[1] as u32 / 8, u32::MAX] {
                let header =
                    [[0xee; 4], u32::to_le_bytes(len), u32::to_le_bytes(watermark)].concat();
                for room in [0, 1, 13, 500] {
                    let log = [&bytes, &header[..], &vec![0; room]].concat();
                    let (payloads, tail) = replay_bytes(&log, Expected::Torn).unwrap();
                    assert_eq!((payloads.len(), tail.len), (1, offsets[1]));
                }
            }
        }
    }

    #[test]
    fn garbage_in_bulk_neither_takes_for_ever_nor_hides_what_follows_soon() {
        let header = [[0xee; 4], u32::to_le_bytes(1 << 18), [0; 4], [0xdd; 4]].concat();
        let garbage = header.repeat((1 << 20) / header.len());
        let (bytes, offsets) = Log::new(ID).append(b"one").bytes();
        let (payloads, tail) = replay_bytes(&[bytes, garbage].concat(), Expected::Torn).unwrap();
        assert_eq!((payloads.len(), tail.len), (1, offsets[1]));

        let (mut bytes, offsets) =
            Log::new(ID).append(&header.repeat(1000)).sync().append(b"synced").bytes();
        bytes[START as usize] ^= 1;
        assert_eq!(corrupt_at(replay_bytes(&bytes, Expected::Torn)), offsets[0]);
    }

    #[test]
    fn a_known_length_allows_no_damage() {
        let (bytes, offsets) = half_synced();
        let len = Expected::Exactly(offsets[4]);
        let (payloads, tail) = replay_bytes(&bytes, len).unwrap();
        assert_eq!((payloads.len(), tail.len, tail.torn_bytes), (4, offsets[4], 0));
        let mut flipped = bytes.clone();
        flipped[offsets[3] as usize] ^= 1;
        assert_eq!(corrupt_at(replay_bytes(&flipped, len)), offsets[3]);
        for cut in START as usize..=offsets[3] as usize + HEADER_BYTES {
            corrupt_at(replay_bytes(&bytes[..cut], len));
        }
        corrupt_at(replay_bytes(&bytes, Expected::Exactly(offsets[3] + 8)));
    }

    #[test]
    fn what_follows_a_known_length_is_no_part_of_the_log() {
        let (bytes, offsets) = half_synced();
        let (payloads, tail) = replay_bytes(&bytes, Expected::Exactly(offsets[2])).unwrap();
        assert_eq!((payloads.len(), tail.len, tail.torn_bytes), (2, offsets[2], 0));
        let garbage = [bytes, vec![0xff; 100]].concat();
        assert_eq!(replay_bytes(&garbage, Expected::Exactly(offsets[4])).unwrap().0.len(), 4);
    }

    #[test]
    fn an_error_of_the_visitor_is_passed_on() {
        let (bytes, _) = half_synced();
        let disk = SimulatedDisk::new();
        disk.write_all(Path::new("/log"), &bytes);
        let file = disk.open(Path::new("/log")).unwrap();
        let outcome = replay(&file, ID, START, Expected::Torn, |_, _| Err(Error::EmptyKey));
        assert!(matches!(outcome, Err(Error::EmptyKey)));
    }
}
