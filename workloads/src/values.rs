//! Values that prove themselves: seeded bytes from which the writer can be told.
//!
//! A value is one *piece* (`blob`), or one piece for each field (`fields`), the fields in order with
//! the length of each before it as a u32, least significant byte first. The longer a piece, the more
//! it tells:
//!
//! | length | offset | size | content |
//! |---|---|---|---|
//! | 24 and more | 0 | 8 | record number, u64 |
//! | | 8 | 8 | version, u64 |
//! | | 16 | 8 | tag over seed, record, field, version and length |
//! | | 24 | … | random bytes, a sequence seeded by the tag |
//! | | … | … | one byte, chosen by the tag, repeated to the end |
//! | 8 to 23 | 0 | 4 | version, its low 32 bits |
//! | | 4 | … | tag bytes over seed, number in the key, field, version and length |
//! | 1 to 7 | 0 | … | tag bytes over seed, number in the key, field and length: no version |
//! | 0 | | | nothing: only the length can be checked |
//!
//! All numbers have the least significant byte first. The random bytes (the tag counts as such) are
//! 1/ratio of the length, so that a block of values compresses by about the ratio. They are computed, not
//! copied from a pool: a pool small enough for the cache would repeat itself within the window of a
//! compressor, and a large one would push the engine's data out of the cache.
//!
//! A check computes the piece again from its stamp and compares every byte.

use crate::error::{ValueFault, key_text};
use crate::keys::KeyCodec;
use crate::lengths::Lengths;
use crate::random::{derive_seed, fold};
use crate::spec::{LengthDistribution, ValueSpec, YcsbSpec};

/// What a checked value told about its writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// The record it belongs to; `None` when the value is too short to hold it (below 24 bytes).
    pub record: Option<u64>,
    /// The version of the write: 0 for loads and inserts. Of fields, the highest. Its low 32 bits
    /// from 8 bytes up; `None` below.
    pub version: Option<u64>,
}

pub(crate) const STAMP_BYTES: usize = 24;
pub(crate) const SHORT_STAMP_BYTES: usize = 8;
const PREFIX_BYTES: usize = 4;

/// Bytes of one piece, as a function of who writes it.
#[derive(Debug, Clone)]
pub(crate) struct PieceCodec {
    seed: u64,
    random_share: f64,
}

/// Whose piece it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) record: u64,
    /// The number that its key shows.
    pub(crate) number: u64,
    pub(crate) field: u32,
}

impl PieceCodec {
    pub(crate) fn new(seed: u64, compression_ratio: f64) -> Self {
        Self { seed: derive_seed(seed, "values", 0), random_share: 1.0 / compression_ratio }
    }

    fn tag(&self, id: u64, field: u32, version: u64, length: usize) -> u64 {
        let shape = (u64::from(field) << 40) ^ length as u64;
        fold(fold(self.seed ^ id, version), shape)
    }

    /// How many bytes after the stamp are random, for a piece of `length` ≥ [`STAMP_BYTES`].
    fn random_bytes(&self, length: usize) -> usize {
        let random = (length as f64 * self.random_share) as usize;
        random.saturating_sub(8).min(length - STAMP_BYTES)
    }

    /// Fills `piece`.
    #[inline]
    pub(crate) fn write(&self, owner: Owner, version: u64, piece: &mut [u8]) {
        let length = piece.len();
        if length < STAMP_BYTES {
            return self.write_short(owner, version, piece);
        }
        let tag = self.tag(owner.record, owner.field, version, length);
        let (stamp, body) = piece.split_at_mut(STAMP_BYTES);
        stamp[..8].copy_from_slice(&owner.record.to_le_bytes());
        stamp[8..16].copy_from_slice(&version.to_le_bytes());
        stamp[16..].copy_from_slice(&tag.to_le_bytes());
        let (random, filler) = body.split_at_mut(self.random_bytes(length));
        write_words(tag, random);
        filler.fill(filler_byte(tag));
    }

    fn write_short(&self, owner: Owner, version: u64, piece: &mut [u8]) {
        let length = piece.len();
        let (version, rest) = if length >= SHORT_STAMP_BYTES {
            let (head, rest) = piece.split_at_mut(4);
            head.copy_from_slice(&(version as u32).to_le_bytes());
            (u64::from(version as u32), rest)
        } else {
            (0, piece)
        };
        write_words(self.tag(owner.number, owner.field, version, length), rest);
    }

    /// Checks a piece that was found under the key that shows `number`. `None` when it is not one
    /// that this codec writes.
    fn check(&self, number: u64, field: u32, piece: &[u8]) -> Option<Stamp> {
        let length = piece.len();
        if let Some((stamp, body)) = piece.split_at_checked(STAMP_BYTES) {
            let (record, version) = (word_at(stamp, 0), word_at(stamp, 8));
            let tag = self.tag(record, field, version, length);
            let (random, filler) = body.split_at(self.random_bytes(length));
            let whole = word_at(stamp, 16) == tag
                && words_match(tag, random)
                && filler_matches(tag, filler);
            return whole.then_some(Stamp { record: Some(record), version: Some(version) });
        }
        let (version, rest) = if length >= SHORT_STAMP_BYTES {
            let (head, rest) = piece.split_first_chunk::<4>()?;
            (Some(u64::from(u32::from_le_bytes(*head))), rest)
        } else {
            (None, piece)
        };
        let tag = self.tag(number, field, version.unwrap_or(0), length);
        words_match(tag, rest).then_some(Stamp { record: None, version })
    }
}

/// The `i`-th word of the random sequence of a tag.
#[inline]
fn random_word(tag: u64, i: usize) -> u64 {
    fold(tag, tag.wrapping_add((i as u64 + 1).wrapping_mul(0xA24B_AED4_963E_E407)))
}

#[inline]
pub(crate) fn write_words(tag: u64, bytes: &mut [u8]) {
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for (i, word) in words.iter_mut().enumerate() {
        *word = random_word(tag, i).to_le_bytes();
    }
    let last = random_word(tag, words.len()).to_le_bytes();
    for (byte, random) in rest.iter_mut().zip(last) {
        *byte = random;
    }
}

/// Whether [`write_words`] would write these bytes. Differences are gathered rather than looked for
/// one by one, which the compiler turns into wide instructions.
pub(crate) fn words_match(tag: u64, bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let differences = words
        .iter()
        .enumerate()
        .fold(0, |found, (i, word)| found | (u64::from_le_bytes(*word) ^ random_word(tag, i)));
    let last = random_word(tag, words.len()).to_le_bytes();
    differences == 0 && *rest == last[..rest.len()]
}

/// Whether all bytes are the one that fills the compressible part.
pub(crate) fn filler_matches(tag: u64, bytes: &[u8]) -> bool {
    let expected = filler_byte(tag);
    bytes.iter().fold(0, |found, byte| found | (byte ^ expected)) == 0
}

/// The byte that fills the compressible part: a small letter, so that parts of two values cannot
/// pass for one.
pub(crate) fn filler_byte(tag: u64) -> u8 {
    b'a' + (tag >> 32) as u8 % 26
}

fn word_at(bytes: &[u8], offset: usize) -> u64 {
    bytes[offset..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

/// Turns records and versions into YCSB values, and checks values that were read.
#[derive(Debug, Clone)]
pub(crate) struct ValueCodec {
    pieces: PieceCodec,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Blob { bytes: usize },
    Fields { count: u32, lengths: Lengths, bounds: LengthDistribution },
}

impl ValueCodec {
    pub(crate) fn new(spec: &YcsbSpec, seed: u64) -> Self {
        let form = match &spec.value {
            ValueSpec::Blob { bytes } => Form::Blob { bytes: *bytes as usize },
            ValueSpec::Fields { count, length } => {
                Form::Fields { count: *count, lengths: Lengths::new(*length), bounds: *length }
            }
        };
        Self { pieces: PieceCodec::new(seed, spec.compression_ratio), form }
    }

    /// How many fields can be changed by themselves; 0 for an opaque value.
    pub(crate) fn fields(&self) -> u32 {
        match self.form {
            Form::Blob { .. } => 0,
            Form::Fields { count, .. } => count,
        }
    }

    /// Writes the whole value.
    #[inline]
    pub(crate) fn write(&self, record: u64, number: u64, version: u64, value: &mut Vec<u8>) {
        match &self.form {
            Form::Blob { bytes } => {
                value.resize(*bytes, 0);
                self.pieces.write(Owner { record, number, field: 0 }, version, value);
            }
            Form::Fields { count, lengths, .. } => {
                value.clear();
                for field in 0..*count {
                    let owner = Owner { record, number, field };
                    let length = self.field_length(lengths, number, field, version);
                    value.extend_from_slice(&(length as u32).to_le_bytes());
                    let start = value.len();
                    value.resize(start + length, 0);
                    self.pieces.write(owner, version, &mut value[start..]);
                }
            }
        }
    }

    /// Writes one field, without its prefix.
    #[inline]
    pub(crate) fn write_field(&self, owner: Owner, version: u64, bytes: &mut Vec<u8>) {
        if let Form::Fields { lengths, .. } = &self.form {
            bytes.resize(self.field_length(lengths, owner.number, owner.field, version), 0);
            self.pieces.write(owner, version, bytes);
        }
    }

    /// The length of a whole value in bytes, as [`write`](Self::write) writes it. Linear in the number
    /// of fields where their lengths vary.
    pub(crate) fn length(&self, number: u64, version: u64) -> usize {
        match &self.form {
            Form::Blob { bytes } => *bytes,
            Form::Fields { count, lengths: Lengths::Constant(length), .. } => {
                *count as usize * (PREFIX_BYTES + *length as usize)
            }
            Form::Fields { count, lengths, .. } => (0..*count)
                .map(|field| PREFIX_BYTES + self.field_length(lengths, number, field, version))
                .sum(),
        }
    }

    /// A field's length is drawn from the hash of who writes it, so that a check can draw it again.
    fn field_length(&self, lengths: &Lengths, number: u64, field: u32, version: u64) -> usize {
        if let Lengths::Constant(length) = lengths {
            return *length as usize;
        }
        let shape = (u64::from(field) << 40) ^ u64::from(version as u32);
        lengths.draw(fold(fold(self.pieces.seed, number), shape)) as usize
    }

    /// Checks that `value` belongs to `key` and is whole.
    pub(crate) fn check(
        &self,
        keys: &KeyCodec,
        key: &[u8],
        value: &[u8],
    ) -> Result<Stamp, ValueFault> {
        let number =
            keys.parse(key).ok_or_else(|| ValueFault::ForeignKey { key: key_text(key) })?;
        match &self.form {
            Form::Blob { bytes } => {
                if value.len() != *bytes {
                    let (found, expected) = (value.len(), *bytes);
                    return Err(ValueFault::Length { key: key_text(key), found, expected });
                }
                self.check_piece(keys, key, number, 0, value, 0)
            }
            Form::Fields { count, lengths, bounds } => {
                let mut newest = Stamp::default();
                let mut walk = FieldWalk::new(value, *count);
                while let Some(Field { index: field, offset, bytes: piece }) = walk.next()? {
                    let length = piece.len();
                    let damaged = || ValueFault::Damaged { key: key_text(key), offset, length };
                    if !(bounds.min()..=bounds.max()).contains(&(length as u64)) {
                        return Err(damaged());
                    }
                    let stamp = self.check_piece(keys, key, number, field, piece, offset)?;
                    if let Some(version) = stamp.version
                        && self.field_length(lengths, number, field, version) != length
                    {
                        return Err(damaged());
                    }
                    newest.record = newest.record.or(stamp.record);
                    newest.version = newest.version.max(stamp.version);
                }
                Ok(newest)
            }
        }
    }

    fn check_piece(
        &self,
        keys: &KeyCodec,
        key: &[u8],
        number: u64,
        field: u32,
        piece: &[u8],
        offset: usize,
    ) -> Result<Stamp, ValueFault> {
        let Some(stamp) = self.pieces.check(number, field, piece) else {
            let length = piece.len();
            return Err(ValueFault::Damaged { key: key_text(key), offset, length });
        };
        match stamp.record {
            Some(record) if keys.checked_number_of(record) != Some(number) => {
                Err(ValueFault::OtherRecord { key: key_text(key), record })
            }
            _ => Ok(stamp),
        }
    }
}

/// One field of a value: its bytes and where they begin.
struct Field<'a> {
    index: u32,
    offset: usize,
    bytes: &'a [u8],
}

/// Walks over the fields of a value, from the first to the last.
struct FieldWalk<'a> {
    value: &'a [u8],
    offset: usize,
    field: u32,
    fields: u32,
}

impl<'a> FieldWalk<'a> {
    fn new(value: &'a [u8], fields: u32) -> Self {
        Self { value, offset: 0, field: 0, fields }
    }

    /// The next field; `None` after the last, which must be where the value ends.
    fn next(&mut self) -> Result<Option<Field<'a>>, ValueFault> {
        let fault = |reason| Err(ValueFault::Fields { fields: self.fields, reason });
        let rest = &self.value[self.offset..];
        if self.field == self.fields {
            return if rest.is_empty() { Ok(None) } else { fault("bytes follow the last") };
        }
        let Some((prefix, rest)) = rest.split_first_chunk::<PREFIX_BYTES>() else {
            return fault("it ends within a length");
        };
        let Some(bytes) = rest.get(..u32::from_le_bytes(*prefix) as usize) else {
            return fault("a field reaches beyond the end");
        };
        let found = Field { index: self.field, offset: self.offset + PREFIX_BYTES, bytes };
        self.offset += PREFIX_BYTES + bytes.len();
        self.field += 1;
        Ok(Some(found))
    }
}

/// Replaces one field of `value`; on an error it is unchanged.
pub(crate) fn replace_field(
    value: &mut Vec<u8>,
    index: u32,
    bytes: &[u8],
) -> Result<(), ValueFault> {
    let mut walk = FieldWalk::new(value, index + 1);
    let mut last = None;
    for _ in 0..=index {
        last = walk.next()?;
    }
    let Some(Field { offset, bytes: old, .. }) = last else { return Ok(()) };
    let end = offset + old.len();
    if old.len() == bytes.len() {
        value[offset..end].copy_from_slice(bytes);
    } else {
        value[offset - PREFIX_BYTES..offset].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        value.splice(offset..end, bytes.iter().copied());
    }
    Ok(())
}
