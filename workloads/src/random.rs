//! Seeded randomness: one named generator, and one way to derive its seeds.
//!
//! Every sequence is a Xoshiro256++ (Blackman & Vigna, "Scrambled linear pseudorandom number
//! generators", TOMS 2021), seeded from the run's seed, the purpose and the stream's index through
//! XXH3, so that no two sequences of a run are the same. Integers are drawn with Lemire's
//! multiply-shift ("Fast random integer generation in an interval", 2019) without its rejection
//! step: the bias is below n / 2⁶⁴. Nothing depends on the platform.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The seed of the sequence that serves `purpose` for the `index`-th user.
pub(crate) fn derive_seed(seed: u64, purpose: &str, index: u64) -> u64 {
    let purpose = xxh3_64_with_seed(purpose.as_bytes(), seed);
    xxh3_64_with_seed(&index.to_le_bytes(), purpose)
}

/// Hashes two words into one: the halves of their 128-bit product, folded (as in wyhash).
#[inline]
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9E37_79B9_7F4A_7C15) * u128::from(b ^ 0xD1B5_4A32_D192_ED03);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A number in `0..n` from 64 random bits; 0 when `n` is 0.
#[inline]
pub(crate) fn scale(bits: u64, n: u64) -> u64 {
    ((u128::from(bits) * u128::from(n)) >> 64) as u64
}

/// A number in `[0, 1)` with 53 random bits.
#[inline]
pub(crate) fn to_unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// A seeded sequence of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(Xoshiro256PlusPlus);

impl Random {
    pub(crate) fn new(seed: u64, purpose: &str, index: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(derive_seed(seed, purpose, index)))
    }

    #[inline]
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `[0, 1)`.
    #[inline]
    pub(crate) fn unit(&mut self) -> f64 {
        to_unit(self.bits())
    }

    /// Uniform in `0..n`; 0 when `n` is 0.
    #[inline]
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        scale(self.bits(), n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_differ_by_seed_purpose_and_index() {
        let first = |mut random: Random| random.bits();
        let base = first(Random::new(1, "stream", 0));
        assert_eq!(base, first(Random::new(1, "stream", 0)));
        assert_ne!(base, first(Random::new(2, "stream", 0)));
        assert_ne!(base, first(Random::new(1, "values", 0)));
        assert_ne!(base, first(Random::new(1, "stream", 1)));
    }

    #[test]
    fn scaled_numbers_stay_in_range() {
        assert_eq!(scale(u64::MAX, 10), 9);
        assert_eq!(scale(0, 10), 0);
        assert_eq!(scale(u64::MAX, 0), 0);
        assert!(to_unit(u64::MAX) < 1.0);
        assert!(to_unit(0).abs() < f64::EPSILON);
    }
}
