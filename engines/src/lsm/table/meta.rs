//! What is known about a table without opening it. The manifest and the table's own properties hold the same bytes.
//!
//! ```text
//! offset  size  field
//! 0       4     number
//! 4       1     level that it was written for
//! 5       8     length of the file (0 in the properties, which are written before it is known)
//! 13      8     entries, deletions among them
//! 21      8     deletions
//! 29      8     lowest sequence number of the writes that went into it
//! 37      8     highest
//! 45      8     when the youngest of these writes was flushed, in milliseconds since the Unix epoch
//! 53      8     ranges of keys that it deletes
//! 61      8     entries that expire
//! 69      8     when the first of them does, in milliseconds since the Unix epoch; 0 if there are none
//! 77      8     when the last of them does; 0 if there are none
//! 85      1     1 if the greatest key itself is not in the table, but is where the last of its ranges ends; else 0
//! 86      4+n   least key, with its length before it
//! …       4+n   greatest key, likewise
//! …       4     files of values that the table points to, and for each, in the order of their numbers:
//! …       4       its number
//! …       8       bytes of it that the table points to
//! ```
//!
//! All keys that the table has something to say about lie between the two: those of entries, and those in ranges.

use std::cmp::Ordering;

use super::super::codec::{Decoder, put_bytes};
use super::super::deadline::Expiring;
use super::super::files::FileNumber;
use super::super::options::KEY_BYTES_MAX;
use crate::log::frame::LOG_BYTES_MAX as VALUE_FILE_BYTES_MAX;

/// What is known about a table without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableMeta {
    pub(crate) number: FileNumber,
    pub(crate) level: u8,
    pub(crate) file_bytes: u64,
    pub(crate) entries: u64,
    pub(crate) deletions: u64,
    pub(crate) sequence_min: u64,
    pub(crate) sequence_max: u64,
    pub(crate) created_ms: u64,
    /// Ranges of keys that it deletes of everything older.
    pub(crate) range_deletions: u64,
    pub(crate) expiring: Expiring,
    /// The greatest key itself is not in the table: it is where its last range ends.
    pub(crate) is_open: bool,
    pub(crate) key_min: Vec<u8>,
    pub(crate) key_max: Vec<u8>,
    /// Bytes that it points to in files of values, by their numbers.
    pub(crate) values: Vec<(FileNumber, u64)>,
}

impl TableMeta {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_le_bytes());
        out.push(self.level);
        let (sequence_min, sequence_max) = (self.sequence_min, self.sequence_max);
        let sizes = [self.file_bytes, self.entries, self.deletions];
        let Expiring { entries, first_ms, last_ms } = self.expiring;
        for field in sizes.into_iter().chain([
            sequence_min,
            sequence_max,
            self.created_ms,
            self.range_deletions,
            entries,
            first_ms,
            last_ms,
        ]) {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.push(u8::from(self.is_open));
        put_bytes(out, &self.key_min);
        put_bytes(out, &self.key_max);
        out.extend_from_slice(&(self.values.len() as u32).to_le_bytes());
        for (file, bytes) in &self.values {
            out.extend_from_slice(&file.to_le_bytes());
            out.extend_from_slice(&bytes.to_le_bytes());
        }
    }

    pub(crate) fn decode(fields: &mut Decoder<'_>) -> Option<Self> {
        let meta = Self {
            number: fields.u32()?,
            level: fields.u8()?,
            file_bytes: fields.u64()?,
            entries: fields.u64()?,
            deletions: fields.u64()?,
            sequence_min: fields.u64()?,
            sequence_max: fields.u64()?,
            created_ms: fields.u64()?,
            range_deletions: fields.u64()?,
            expiring: Expiring {
                entries: fields.u64()?,
                first_ms: fields.u64()?,
                last_ms: fields.u64()?,
            },
            is_open: match fields.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            },
            key_min: fields.bytes()?.to_vec(),
            key_max: fields.bytes()?.to_vec(),
            values: decode_values(fields)?,
        };
        let key_fits = |key: &[u8]| (1..=KEY_BYTES_MAX).contains(&key.len());
        let holds_keys = if meta.is_open {
            meta.range_deletions > 0 && meta.key_min < meta.key_max
        } else {
            meta.key_min <= meta.key_max
        };
        let is_possible = holds_keys && meta.expiring.is_possible();
        (key_fits(&meta.key_min) && key_fits(&meta.key_max) && is_possible).then_some(meta)
    }

    /// What the properties of a table say, as the manifest would say it that says `known`: they do not know what became of the table.
    pub(crate) fn placed_as(self, known: &Self, is_from_outside: bool) -> Self {
        let (level, file_bytes) = (known.level, known.file_bytes);
        let placed = Self { level, file_bytes, ..self };
        if is_from_outside {
            let (number, sequence_min, sequence_max) =
                (known.number, known.sequence_min, known.sequence_max);
            return Self { number, sequence_min, sequence_max, ..placed };
        }
        placed
    }

    /// Bytes that it points to in files of values.
    pub(crate) fn value_bytes(&self) -> u64 {
        self.values.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Whether nothing in it is of any use at `now_ms` but to hide what is older.
    pub(crate) fn is_spent(&self, now_ms: u64) -> bool {
        let Self { expiring, entries, deletions, .. } = self;
        expiring.any_by(now_ms)
            && expiring.all_by(now_ms)
            && expiring.entries.saturating_add(*deletions) >= *entries
    }

    /// Whether any key between `low` and `high`, both included, may be in the table.
    pub(crate) fn overlaps(&self, low: &[u8], high: &[u8]) -> bool {
        &self.key_min[..] <= high && !self.ends_before(low)
    }

    /// Whether all keys that may be in the table come before `key`.
    #[inline]
    pub(crate) fn ends_before(&self, key: &[u8]) -> bool {
        match self.key_max[..].cmp(key) {
            Ordering::Less => true,
            Ordering::Equal => self.is_open,
            Ordering::Greater => false,
        }
    }
}

fn decode_values(fields: &mut Decoder<'_>) -> Option<Vec<(FileNumber, u64)>> {
    let mut values: Vec<(FileNumber, u64)> = Vec::new();
    for _ in 0..fields.u32()? {
        let (file, bytes) = (fields.u32()?, fields.u64()?);
        let ascends = values.last().is_none_or(|(before, _)| *before < file);
        // So that no sum of them is too much for its type.
        if !ascends || !(1..=VALUE_FILE_BYTES_MAX).contains(&bytes) {
            return None;
        }
        values.push((file, bytes));
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_documented_one() {
        let meta = TableMeta {
            number: 9,
            level: 1,
            file_bytes: 258,
            entries: 3,
            deletions: 1,
            sequence_min: 4,
            sequence_max: 6,
            created_ms: 515,
            range_deletions: 1,
            expiring: Expiring { entries: 2, first_ms: 772, last_ms: 773 },
            is_open: true,
            key_min: b"a".to_vec(),
            key_max: b"bc".to_vec(),
            values: vec![(7, 258), (8, 1)],
        };
        let mut out = Vec::new();
        meta.encode(&mut out);
        let golden = b"\x09\0\0\0\x01\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\
            \x04\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x03\x02\0\0\0\0\0\0\
            \x01\0\0\0\0\0\0\0\
            \x02\0\0\0\0\0\0\0\x04\x03\0\0\0\0\0\0\x05\x03\0\0\0\0\0\0\x01\
            \x01\0\0\0a\x02\0\0\0bc\
            \x02\0\0\0\x07\0\0\0\x02\x01\0\0\0\0\0\0\x08\0\0\0\x01\0\0\0\0\0\0\0";
        assert_eq!(out, golden);
        assert_eq!(TableMeta::decode(&mut Decoder::new(&out)), Some(meta));
        for len in 0..out.len() {
            assert_eq!(TableMeta::decode(&mut Decoder::new(&out[..len])), None);
        }
    }
}
