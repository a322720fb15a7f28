//! See [`crate::fuzzing`]: whole data files, as they are looked through where they may be damaged, and taken in where a store is opened.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::fuzzing::HASHER;
use super::hint::{Hint, HintEntry, HintKey, Summary};
use super::manifest::{MANIFEST_NAME, Manifest, ManifestFile};
use super::options::Options;
use super::record::{PREFACE_FRAME_BYTES, Preface, Record};
use super::recovery::open_for_reading;
use super::report::Recovery;
use super::scan::{End, Found, Gap, Piece, Scan, scan};
use super::segment::{FileId, FileKind, NEVER};
use super::view::View;
use crate::Clock;
use crate::compression::decompressed;
use crate::fuzzing::{ID, Outcome, file, with_frame_checksums};
use crate::log::frame::{self, ALIGNMENT, HEADER_BYTES, Header};
use crate::storage::{SimulatedDisk, Storage};

type SimulatedFile = <SimulatedDisk as Storage>::File;

/// A data file that may be damaged: what is whole is found, what is not is told, and the two side by side are the file.
pub(super) fn scan_through(bytes: &[u8]) -> Outcome {
    let outcome = scan_in(bytes);
    let _ = scan_in(&with_frame_checksums(bytes));
    outcome
}

fn scan_in(bytes: &[u8]) -> Outcome {
    let data = file(bytes).map_err(|error| error.to_string())?;
    let len = bytes.len() as u64;
    let (_, entries) = pieces(&data, bytes, End::Known(len), None)?;
    // No hint tells of anything where a preface has to be.
    if entries.first().map_or(len, |first| first.offset) >= PREFACE_FRAME_BYTES {
        let hint = hint_of(entries.clone(), len.next_multiple_of(ALIGNMENT));
        let (_, hinted) = pieces(&data, bytes, End::Known(len), Some(&hint))?;
        assert_eq!(hinted, entries, "a hint leads to the records that it was made of");
    }
    let (scan, found) = pieces(&data, bytes, End::Open(len), None)?;
    assert_eq!(found, entries, "the same records, whether the end is known or not");
    if scan.unreadable().next().is_none() {
        return Ok(());
    }
    let told =
        |what: &str, gap: &Gap| format!(", {what} at byte {} of {} bytes", gap.offset, gap.len);
    let gaps: String = scan.gaps.iter().map(|gap| told("gap", gap)).collect();
    let tail = scan.tail.iter().filter(|tail| tail.len > 0).map(|tail| told("tail", tail));
    Err(format!("{} records{gaps}{}", found.len(), tail.collect::<String>()))
}

/// The hint of these records.
fn hint_of(entries: Vec<HintEntry>, data_bytes: u64) -> Hint<SimulatedFile> {
    let key = HintKey { id: FileId(ID), data_bytes, hasher: HASHER };
    let hint = Summary { entries, gone_by_ms: NEVER }.encode(key);
    let hint = file(&hint).and_then(|file| Hint::verify(file, key));
    let Ok(Some(hint)) = hint else { panic!("the records that were found make no valid hint") };
    hint
}

/// Scans a file, and holds what is found to the bytes.
fn pieces(
    data: &SimulatedFile,
    bytes: &[u8],
    until: End,
    hint: Option<&Hint<SimulatedFile>>,
) -> Result<(Scan, Vec<HintEntry>), String> {
    let (mut ranges, mut entries) = (Vec::new(), Vec::new());
    let scanned = scan(data, FileId(ID), until, hint, |piece| {
        match piece {
            Piece::Record(Found { offset, record, checked, .. }) => {
                let entry = HintEntry::of(&record, HASHER.fingerprint(record.key), offset);
                is_stored(bytes, offset, &record, checked);
                ranges.push((offset, offset + entry.frame_bytes));
                entries.push(entry);
            }
            Piece::Gap(gap) => ranges.push((gap.offset, gap.offset + gap.len)),
        }
        Ok(())
    });
    let scanned = scanned.map_err(|error| error.to_string())?;
    let mut at = if scanned.preface.is_some() { PREFACE_FRAME_BYTES } else { 0 };
    for (start, end) in ranges {
        assert!(start == at && end > start, "{start} to {end} follows byte {at}");
        at = end;
    }
    let len = bytes.len() as u64;
    match &scanned.tail {
        Some(tail) => {
            assert_eq!(tail.offset, at);
            assert!(tail.offset + tail.len <= len);
            assert!(bytes[(tail.offset + tail.len) as usize..].iter().all(|byte| *byte == 0));
        }
        None => assert!(at >= len, "the file ends at byte {len}, and what was found at {at}"),
    }
    assert!(scanned.end <= at && scanned.torn_at() <= at);
    Ok((scanned, entries))
}

/// The record, encoded again, must be what lies there.
fn is_stored(bytes: &[u8], offset: u64, record: &Record<'_>, checked: bool) {
    let stored = &bytes[offset as usize..];
    let Some(header) = stored.first_chunk::<HEADER_BYTES>() else {
        panic!("a record at byte {offset} of {} bytes", bytes.len())
    };
    let payload = record.encode().parts(record).concat();
    let again = frame::header(ID, Header::decode(header).watermark, checked, &[&payload]);
    assert_eq!(again, *header);
    assert_eq!(payload, stored[HEADER_BYTES..HEADER_BYTES + payload.len()]);
}

/// A store of one data file, whose end is not known: what is taken in must be whole batches, all that there are before the first damage.
pub(super) fn open(bytes: &[u8]) -> Outcome {
    let outcome = open_in(bytes);
    let _ = open_in(&with_frame_checksums(bytes));
    outcome
}

fn open_in(bytes: &[u8]) -> Outcome {
    let (disk, dir) = (SimulatedDisk::new(), Path::new("/store"));
    let id = FileId(ID);
    let files = vec![ManifestFile { id, sealed: None }];
    let manifest = Manifest { next_id: FileId(ID + 1), seed: HASHER.seed, files };
    disk.create_dir(dir).map_err(|error| error.to_string())?;
    disk.write_all(&dir.join(MANIFEST_NAME), &manifest.encode());
    disk.write_all(&FileKind::Data.path(dir, id), bytes);
    let options = Options { clock: Clock::Manual(Arc::default()), ..Options::default() };
    let (view, recovery) =
        open_for_reading(disk, dir, &options).map_err(|error| error.to_string())?;
    let expected = Expected::of(bytes)?;
    expected.compare(&view, &recovery, bytes);
    match recovery.torn_bytes {
        0 => Ok(()),
        torn => Err(format!("{} keys, {torn} bytes torn", view.keydir.len())),
    }
}

/// What an opening takes in, found in the simplest way.
#[derive(Default)]
struct Expected {
    /// Values as they are stored, whether they are compressed, and when they expire.
    values: BTreeMap<Vec<u8>, (Vec<u8>, bool, Option<u64>)>,
    /// Where the last whole batch ends, and where the frames do.
    whole_until: usize,
    frames_until: usize,
}

impl Expected {
    fn of(bytes: &[u8]) -> Result<Self, String> {
        let data = file(bytes).map_err(|error| error.to_string())?;
        let mut expected = Self::default();
        let preface = frame::read(&data, ID, 0);
        let Ok(preface) = preface else { return Ok(expected) };
        if Preface::decode(preface.payload(), FileId(ID)).is_err() {
            return Ok(expected);
        }
        let (mut at, mut batch) = (preface.end, Vec::new());
        while let Ok(frame) = frame::read(&data, ID, at)
            && let Some(record) = Record::decode(frame.payload())
        {
            is_stored(bytes, at, &record, frame.checked);
            at = frame.end;
            let value = record.value.map(|v| (v.bytes.to_vec(), v.compressed, v.expires_ms));
            batch.push((record.key.to_vec(), value));
            if record.continues {
                continue;
            }
            for (key, value) in batch.drain(..) {
                match value {
                    Some(value) => expected.values.insert(key, value),
                    None => expected.values.remove(&key),
                };
            }
            expected.whole_until = at as usize;
        }
        expected.whole_until = expected.whole_until.max(preface.end as usize);
        expected.frames_until = at as usize;
        Ok(expected)
    }

    fn compare(&self, view: &View<SimulatedDisk>, recovery: &Recovery, bytes: &[u8]) {
        assert_eq!(view.keydir.len(), self.values.len());
        assert_eq!(recovery.records, self.values.len() as u64);
        for (key, (stored, compressed, expires_ms)) in &self.values {
            let value = match (expires_ms, compressed) {
                // The clock stands at 0.
                (Some(0), _) => Ok(None),
                (_, true) => decompressed(stored, <[u8]>::to_vec).map(Some).ok_or(()),
                (_, false) => Ok(Some(stored.clone())),
            };
            assert_eq!(view.read(key, <[u8]>::to_vec).map_err(|_| ()), value);
        }
        if self.frames_until > 0 {
            let behind = bytes.get(self.frames_until..).unwrap_or_default();
            let written = behind.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let torn = self.frames_until - self.whole_until + written;
            assert_eq!(recovery.torn_bytes, torn as u64);
        }
    }
}
