//! A Bloom filter in which all bits of a key lie in one cache line (Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom
//! Filters", WEA 2007).
//!
//! 1. A key is hashed once, with XXH3 (64 bits); that hash serves every filter that is asked.
//! 2. Its high bits choose a line of 64 bytes, by multiplication instead of division (Lemire, 2019).
//! 3. Six groups of 9 bits, of the hash multiplied by an odd constant, choose bits in the line.
//!
//! At ten bits a key, some 1.4 % of absent keys pass; a plain Bloom filter would let 1 % pass, and cost six cache misses.
//!
//! Bits by level (Dayan, Athanassoulis, Idreos, "Monkey: Optimal Navigable Key-Value Store", SIGMOD 2017): a false positive costs as much in a small level as in a large one, while a bit per key
//! costs a tenth. Five bits more divide false positives by more than four, and a level is about a tenth of the next; so in the levelled style all levels but the last get five more. Filters then take 5 % more memory, and with three levels
//! a get of an absent key asks less than half as many tables in vain, one of a key in the last level a quarter as many. (Giving the last level half a bit less would keep the sum, and cost a quarter more false positives there.)
//!
//! An index of two levels is not made: with blocks of 4 KiB an index is 1 % of its table, as the filter is, and both stay in memory. It would spare memory only where data is some fifty times as large as that.
//!
//! On disk a filter is its lines, one after the other, each made of eight little-endian words of 64 bits.

/// Words of 64 bits in a line.
pub(crate) const LINE_WORDS: usize = 8;
/// Bytes of a line.
pub(crate) const LINE_BYTES: usize = LINE_WORDS * 8;
const PROBES: u32 = 6;

/// The hash by which filters know a key.
#[inline]
pub(crate) fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// The bits of one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    hash: u64,
}

impl Probe {
    #[inline]
    pub(crate) fn new(hash: u64) -> Self {
        Self { hash }
    }

    /// The line, of `lines`.
    #[inline]
    pub(crate) fn line(self, lines: usize) -> usize {
        ((u128::from(self.hash) * lines as u128) >> 64) as usize
    }

    /// The bits in the line: index of the word, and the bit in it.
    #[inline]
    pub(crate) fn bits(self) -> impl Iterator<Item = (usize, u64)> {
        let mixed = self.hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..PROBES).map(move |i| {
            let position = (mixed >> (64 - 9 * (i + 1))) & 511;
            ((position >> 6) as usize, 1 << (position & 63))
        })
    }

    /// Whether a line read from disk has all bits of the key: if not, the key is not there.
    #[inline]
    pub(crate) fn maybe_in(self, line: &[u8]) -> bool {
        self.bits().all(|(word, bit)| {
            let word = line.get(word * 8..).and_then(|rest| rest.first_chunk());
            word.is_some_and(|word| u64::from_le_bytes(*word) & bit != 0)
        })
    }
}

/// Builds the filter for keys with these hashes.
pub(crate) fn build(hashes: &[u64], bits_per_key: usize) -> Vec<u8> {
    let lines = (hashes.len() * bits_per_key).div_ceil(LINE_BYTES * 8);
    let mut words = vec![0_u64; lines * LINE_WORDS];
    if lines > 0 {
        for hash in hashes {
            let probe = Probe::new(*hash);
            let line = probe.line(lines) * LINE_WORDS;
            for (word, bit) in probe.bits() {
                words[line + word] |= bit;
            }
        }
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maybe(filter: &[u8], key: &[u8]) -> bool {
        let probe = Probe::new(hash(key));
        let line = probe.line(filter.len() / LINE_BYTES) * LINE_BYTES;
        probe.maybe_in(&filter[line..line + LINE_BYTES])
    }

    #[test]
    fn keys_that_are_there_always_pass_and_others_seldom() {
        let key = |i: u32| i.to_le_bytes();
        let hashes: Vec<u64> = (0..10_000).map(|i| hash(&key(i))).collect();
        let passed = |bits_per_key| {
            let filter = build(&hashes, bits_per_key);
            assert!((0..10_000).all(|i| maybe(&filter, &key(i))));
            (10_000..110_000).filter(|i| maybe(&filter, &key(*i))).count()
        };
        let (ten, fifteen) = (passed(10), passed(15));
        assert!((500..2_500).contains(&ten), "{ten} of 100,000 absent keys passed");
        assert!(fifteen < ten / 4, "{fifteen} instead of {ten}");
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let filter = build(&[hash(b"key")], 10);
        let expected =
            Probe::new(hash(b"key")).bits().fold([0_u8; LINE_BYTES], |mut line, (word, bit)| {
                for (i, byte) in bit.to_le_bytes().into_iter().enumerate() {
                    line[word * 8 + i] |= byte;
                }
                line
            });
        assert_eq!(filter, expected);
        assert_eq!(hash(b"key"), 0xbbea_0d63_a051_65e3, "the hash is part of the format");
    }
}
