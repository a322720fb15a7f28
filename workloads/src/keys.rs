//! Keys of YCSB records: `user`, then a number in decimal.
//!
//! 1. A record has a key number: YCSB's `insertstart` plus the record number, and beyond the loaded
//!    records plus those key numbers that another load is to fill (`insert_skip`).
//! 2. With hashed order the number in the key is the key number's hash ([`crate::hash`]), with
//!    ordered keys it is the key number itself.
//! 3. It is written in decimal, padded on the left with zeros to `zero_padding` digits. Lengths vary
//!    (89 % of the hashes have 19 digits), so the order of the keys is not the order of the numbers.
//! 4. Beside each record stands an *absent* key, which no record has, loaded or inserted: the last mark is
//!    a letter in place of a digit. With hashed order the rest is the hash of a key number that is
//!    never given out, so that absent keys lie anywhere between those of the records; ordered keys have no
//!    room between them, and there it is the record's own number. Either way absent keys are as long as the
//!    records', and lie among them: neither a file's first and last key nor a key's length tell them apart.
//!
//! Source: `site.ycsb.workloads.CoreWorkload.buildKeyName`. Digits are made eight at a time by
//! arithmetic on the bytes of one word, as Paul Khuong describes in "How to print integers really
//! fast" (2017).

use crate::hash::{FnvHash, fnv_hash};
use crate::spec::{KeyOrder, KeySpec};

const PREFIX: &[u8; 4] = b"user";
/// Digits that one formatting writes: three words of eight.
const DIGITS: usize = 24;
/// Key numbers from here on are those of absent keys: far above those of records.
const ABSENT_START: u64 = 1 << 63;

/// Room for one key, which is built from its last digit to the left.
#[derive(Debug, Clone)]
pub(crate) struct KeyBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl KeyBuffer {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// Turns record numbers into keys and back into the numbers inside them.
#[derive(Debug, Clone)]
pub(crate) struct KeyCodec {
    order: KeyOrder,
    /// Least number of digits, at least 1.
    padding: usize,
    hash: FnvHash,
    records: u64,
    insert_start: u64,
    insert_skip: u64,
}

impl KeyCodec {
    pub(crate) fn new(spec: &KeySpec, records: u64) -> Self {
        let padding = spec.zero_padding.max(1) as usize;
        let hash = FnvHash::up_to(spec.insert_start.saturating_add(records));
        let KeySpec { order, insert_start, insert_skip, .. } = *spec;
        Self { order, padding, hash, records, insert_start, insert_skip }
    }

    pub(crate) fn buffer(&self) -> KeyBuffer {
        KeyBuffer { bytes: vec![b'0'; PREFIX.len() + self.padding.max(DIGITS)], start: 0 }
    }

    #[inline]
    fn key_number_of(&self, record: u64) -> u64 {
        let skipped = if record >= self.records { self.insert_skip } else { 0 };
        self.insert_start + record + skipped
    }

    /// The number that the key of `record` shows.
    #[inline]
    pub(crate) fn number_of(&self, record: u64) -> u64 {
        let key_number = self.key_number_of(record);
        match self.order {
            KeyOrder::Hashed => self.hash.of(key_number),
            KeyOrder::Ordered => key_number,
        }
    }

    /// [`number_of`](Self::number_of) for a record number that may be nonsense.
    pub(crate) fn checked_number_of(&self, record: u64) -> Option<u64> {
        record.checked_add(self.insert_start)?.checked_add(self.insert_skip)?;
        Some(self.number_of(record))
    }

    /// Builds the key that shows `number`.
    #[inline]
    pub(crate) fn write(&self, number: u64, key: &mut KeyBuffer) {
        let end = key.bytes.len();
        let (words, natural) = decimal(number);
        let digits = &mut key.bytes[end - DIGITS..];
        for (place, word) in digits.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let start = end - natural.max(self.padding) - PREFIX.len();
        if self.padding > DIGITS {
            key.bytes[start..end - DIGITS].fill(b'0');
        }
        key.bytes[start..start + PREFIX.len()].copy_from_slice(PREFIX);
        key.start = start;
    }

    /// Builds the absent key beside `record`.
    #[inline]
    pub(crate) fn write_absent(&self, record: u64, key: &mut KeyBuffer) {
        let key_number = self.key_number_of(record);
        let number = match self.order {
            KeyOrder::Hashed => fnv_hash(ABSENT_START | key_number),
            KeyOrder::Ordered => key_number,
        };
        self.write(number, key);
        if let Some(last) = key.bytes.last_mut() {
            *last += b'a' - b'0';
        }
    }

    /// The number that `key` shows, when the key is spelt as this codec spells it.
    pub(crate) fn parse(&self, key: &[u8]) -> Option<u64> {
        let digits = key.strip_prefix(PREFIX)?;
        let mut number = 0u64;
        for &digit in digits {
            if !digit.is_ascii_digit() {
                return None;
            }
            number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        }
        let natural = number.checked_ilog10().map_or(1, |log| log as usize + 1);
        (digits.len() == natural.max(self.padding)).then_some(number)
    }

    /// The longest key in bytes.
    pub(crate) fn bytes_max(spec: &KeySpec) -> usize {
        let digits = match spec.order {
            KeyOrder::Hashed => 19,
            KeyOrder::Ordered => 20,
        };
        PREFIX.len() + digits.max(spec.zero_padding as usize)
    }
}

/// `number` as 24 ASCII digits in three words, first digit in the lowest byte, and how many of the
/// digits are not leading zeros.
#[inline]
fn decimal(number: u64) -> ([u64; 3], usize) {
    const WORD: u64 = 100_000_000;
    let upper = number / WORD;
    let words =
        [eight_digits(upper / WORD), eight_digits(upper % WORD), eight_digits(number % WORD)];
    let zeros = match words {
        [0, 0, 0] => DIGITS - 1,
        [0, 0, last] => 16 + last.trailing_zeros() as usize / 8,
        [0, middle, _] => 8 + middle.trailing_zeros() as usize / 8,
        [first, ..] => first.trailing_zeros() as usize / 8,
    };
    (words.map(|word| word | 0x3030_3030_3030_3030), DIGITS - zeros)
}

/// The eight decimal digits of `number` < 10⁸, one a byte, the first in the lowest byte: halves of four
/// digits, then pairs, then single digits, each step on all lanes of the word at once.
#[inline]
fn eight_digits(number: u64) -> u64 {
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    // n · 10486 >> 20 is n / 100 for n < 10⁴; n · 103 >> 10 is n / 10 for n < 100.
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007F_0000_007F;
    let pairs = hundreds | ((halves - 100 * hundreds) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000F_000F_000F_000F;
    tens | ((pairs - 10 * tens) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn codec(order: KeyOrder, zero_padding: u32) -> KeyCodec {
        let spec = KeySpec { order, zero_padding, ..KeySpec::default() };
        KeyCodec::new(&spec, 1000)
    }

    fn spelt(codec: &KeyCodec, number: u64) -> String {
        let mut key = codec.buffer();
        codec.write(number, &mut key);
        String::from_utf8(key.as_slice().to_vec()).unwrap()
    }

    #[test]
    fn keys_are_those_of_ycsb() {
        let hashed = codec(KeyOrder::Hashed, 1);
        assert_eq!(spelt(&hashed, hashed.number_of(0)), "user6284781860667377211");
        assert_eq!(spelt(&hashed, hashed.number_of(4)), "user3232700585171816769");
        let ordered = codec(KeyOrder::Ordered, 8);
        assert_eq!(spelt(&ordered, ordered.number_of(42)), "user00000042");
        assert_eq!(spelt(&codec(KeyOrder::Ordered, 0), 0), "user0");
    }

    #[test]
    fn absent_keys_lie_among_those_of_records_and_are_none_of_them() {
        let absent = |codec: &KeyCodec, record| {
            let mut key = codec.buffer();
            codec.write_absent(record, &mut key);
            String::from_utf8(key.as_slice().to_vec()).unwrap()
        };
        let ordered = codec(KeyOrder::Ordered, 8);
        assert_eq!(absent(&ordered, 42), "user0000004c");
        assert_eq!(absent(&codec(KeyOrder::Ordered, 1), 1_999), "user199j");
        for (order, padding) in [(KeyOrder::Hashed, 1), (KeyOrder::Ordered, 1)] {
            let codec = codec(order, padding);
            let mut records: Vec<_> =
                (0..10_000).map(|record| spelt(&codec, codec.number_of(record))).collect();
            records.sort();
            let mut keys: Vec<_> = (0..10_000).map(|record| absent(&codec, record)).collect();
            let length = |keys: &[String]| keys.iter().map(String::len).sum::<usize>() / 1_000;
            assert_eq!(length(&keys), length(&records), "{order:?}");
            let places: Vec<_> =
                keys.iter().map(|key| records.binary_search(key).unwrap_err()).collect();
            let inside = places.iter().filter(|place| (1..10_000).contains(*place)).count();
            assert!(inside > 9_950, "{order:?}: {inside} lie between records");
            let middle = places.iter().filter(|place| **place < 5_000).count();
            assert!((4_700..5_300).contains(&middle), "{order:?}: {middle} in the lower half");
            assert!(keys.iter().all(|key| codec.parse(key.as_bytes()).is_none()));
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), 10_000, "{order:?}: two records have the same");
        }
    }

    #[test]
    fn inserts_skip_the_key_numbers_of_another_load() {
        let spec = KeySpec {
            order: KeyOrder::Ordered,
            zero_padding: 1,
            insert_start: 100,
            insert_skip: 50,
        };
        let codec = KeyCodec::new(&spec, 10);
        assert_eq!(codec.number_of(9), 109);
        assert_eq!(codec.number_of(10), 160);
    }

    #[test]
    fn foreign_spellings_are_refused() {
        let codec = codec(KeyOrder::Ordered, 3);
        assert_eq!(codec.parse(b"user042"), Some(42));
        for key in [&b"user42"[..], b"user0042", b"User042", b"user04x", b"user", b""] {
            assert_eq!(codec.parse(key), None, "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn keys_spell_their_number_and_parse_back(
            number: u64, shift in 0u32..64, padding in 0u32..40, before: u64,
        ) {
            let number = number >> shift;
            let codec = codec(KeyOrder::Ordered, padding);
            let mut key = codec.buffer();
            codec.write(before, &mut key);
            codec.write(number, &mut key);
            let expected = format!("user{number:0width$}", width = padding as usize);
            prop_assert_eq!(key.as_slice(), expected.as_bytes());
            prop_assert_eq!(codec.parse(key.as_slice()), Some(number));
        }
    }
}
